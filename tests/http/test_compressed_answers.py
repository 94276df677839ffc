"""`HTTPServer(compression=...)`: answers in a content coding (RFC 9110 §8.4), as clients see them.

Which of them are compressed, and what the fields say then, is decided by pants.http._compression, which
test_compression.py tests by itself.
"""

from __future__ import annotations

import socket
import zlib
from collections.abc import Callable
from typing import Any

import brotli
import pytest
import zstandard

from pants.http import Compression, HTTPRequest, HTTPServer
from pants.testing import run_until
from tests.http.support import Answer, Handler, get, post, site, take_apart

TEXT = b"All work and no play makes Jack a dull boy. " * 100
TYPE = "text/html; charset=utf-8"
CODINGS = ["gzip", "br", "zstd"]
HEAD = b"HEAD / HTTP/1.1"


def decoder(coding: str | None) -> Callable[[bytes], bytes]:
    """What decodes an answer as it arrives, by somebody else's code."""
    if coding is None:
        return bytes
    if coding == "gzip":
        return zlib.decompressobj(31).decompress
    if coding == "zstd":
        return zstandard.ZstdDecompressor().decompressobj().decompress
    assert coding == "br"
    process = brotli.Decompressor().process
    # It may give a part only of what there is; the rest comes of further calls.
    return lambda data: process(data) + b"".join(iter(lambda: process(b""), b""))


def decoded(answer: Answer) -> bytes:
    """The content of a complete answer. It has to end where its coding does."""
    coding = answer.headers["Content-Encoding"]
    if coding == "gzip":
        gzip = zlib.decompressobj(31)
        content = gzip.decompress(answer.content)
        assert gzip.eof
        assert gzip.unused_data == b""
        return content
    if coding == "br":
        plain: bytes = brotli.decompress(answer.content)
        return plain
    if coding == "zstd":
        zstd = zstandard.ZstdDecompressor().decompressobj()
        content = zstd.decompress(answer.content)
        assert zstd.eof
        assert zstd.unused_data == b""
        return content
    assert coding is None
    return answer.content


def accepting(*codings: str, line: bytes = b"GET / HTTP/1.1", fields: tuple[bytes, ...] = ()) -> bytes:
    """A request for an answer in one of some codings."""
    return get(b"Accept-Encoding: " + ", ".join(codings).encode(), *fields, line=line)


def whole(
    request: HTTPRequest, content: Any = TEXT, code: int = 200, content_type: str = TYPE, headers: Any = ()
) -> None:
    request.send_response(content, code, content_type, headers)


def in_pieces(
    *headers: tuple[str, Any], pieces: tuple[bytes, ...] = (TEXT[:1000], TEXT[1000:]), code: int = 200
) -> Handler:
    """A handler that sends an answer piece by piece."""

    def handler(request: HTTPRequest) -> None:
        request.send_status(code)
        request.send_headers([("Content-Type", TYPE), *headers])
        for piece in pieces:
            request.send(piece)
        request.finish()

    return handler


declared = in_pieces(("Content-Length", len(TEXT)))
undeclared = in_pieces()
WAYS: dict[str, Handler] = {"send_response": whole, "declared": declared, "undeclared": undeclared}


def answer(handler: Handler, data: bytes, method: str = "GET", compression: Any = True) -> Answer:
    with site(handler, compression=compression) as web:
        [one] = web.ask(data, method)
        return one


# --- The codings ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("coding", CODINGS)
def test_a_client_gets_the_coding_that_it_takes(coding: str, way: str) -> None:
    """RFC 9110 §12.5.3, §8.4."""
    one = answer(WAYS[way], accepting(coding))
    assert one.headers.get_all("Content-Encoding") == [coding]
    assert len(one.content) < len(TEXT) / 4
    assert decoded(one) == TEXT
    assert one.headers["Content-Type"] == TYPE
    assert one.headers["Vary"] == "Accept-Encoding"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "fields", [(), (b"Accept-Encoding:",), (b"Accept-Encoding: identity",), (b"Accept-Encoding: gzip;q=0, x-none",)]
)
def test_a_client_that_takes_none_gets_it_as_it_is(fields: tuple[bytes, ...], way: str) -> None:
    """And caches are told that it is not the same for all (§12.5.5)."""
    one = answer(WAYS[way], get(*fields))
    assert one.headers["Content-Encoding"] is None
    assert one.headers["Vary"] == "Accept-Encoding"
    assert one.content == TEXT


@pytest.mark.parametrize("way", WAYS)
def test_the_client_decides_which(way: str) -> None:
    """§12.4.2, §12.5.3: what it wants most."""
    one = answer(WAYS[way], accepting("gzip;q=1", "br;q=0.5", "zstd;q=0.1"))
    assert one.headers["Content-Encoding"] == "gzip"
    one = answer(WAYS[way], accepting(*CODINGS), compression=Compression(codings=["zstd", "gzip"]))
    assert one.headers["Content-Encoding"] == "zstd"
    one = answer(WAYS[way], accepting("br"), compression=Compression(codings=["gzip"]))
    assert (one.headers["Content-Encoding"], one.content) == (None, TEXT)


@pytest.mark.parametrize("way", WAYS)
def test_without_compression_nothing_is_changed(way: str) -> None:
    one = answer(WAYS[way], accepting(*CODINGS), compression=False)
    assert (one.headers["Content-Encoding"], one.headers["Vary"], one.content) == (None, None, TEXT)


# --- Framing --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("coding", CODINGS)
def test_the_length_is_that_of_what_is_sent(coding: str) -> None:
    """RFC 9110 §8.6: of the content, which is the coded one."""
    one = answer(whole, accepting(coding))
    assert int(one.headers["Content-Length"]) == len(one.content)
    assert one.headers.get_all("Transfer-Encoding") is None


@pytest.mark.parametrize("way", ["declared", "undeclared"])
@pytest.mark.parametrize("coding", CODINGS)
def test_pieces_are_chunked(coding: str, way: str) -> None:
    """How long it will be nobody knows; the declared length is that of something else."""
    one = answer(WAYS[way], accepting(coding))
    assert one.headers["Transfer-Encoding"] == "chunked"
    assert one.headers["Content-Length"] is None


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("coding", CODINGS)
def test_http_1_0(coding: str, way: str) -> None:
    """RFC 9112 §6.1: no chunks there; it lasts until the close, but where the length is known."""
    data = accepting(coding, line=b"GET / HTTP/1.0", fields=(b"Connection: keep-alive",))
    with site(WAYS[way], compression=True) as web:
        peer = web.connect()
        peer.send(data)
        [one] = take_apart(peer.received)
        assert decoded(one) == TEXT
        assert one.headers["Content-Encoding"] == coding
        assert one.headers["Transfer-Encoding"] is None
        assert peer.ended is (way != "send_response")
        assert one.headers["Connection"] == ("keep-alive" if way == "send_response" else "close")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("coding", CODINGS)
def test_answers_behind_each_other(coding: str, way: str) -> None:
    with site(WAYS[way], compression=True) as web:
        data = accepting(coding)
        answers = web.ask(data + get() + data + post(b"abc", b"Content-Length: 3", b"Accept-Encoding: gzip"))
        assert [decoded(one) for one in answers] == [TEXT] * 4
        assert [one.headers["Content-Encoding"] for one in answers] == [coding, None, coding, "gzip"]


@pytest.mark.parametrize("coding", CODINGS)
def test_sent_bytes_are_those_on_the_wire(coding: str) -> None:
    """As the access log has them."""
    for way in WAYS.values():
        with site(way, compression=True) as web:
            [one] = web.ask(accepting(coding))
            assert web.requests[0].sent_bytes == len(one.content)


# --- HEAD, and codes without content --------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("coding", CODINGS)
def test_head(coding: str, way: str) -> None:
    """RFC 9110 §9.3.2: the fields of a GET, but for a length that nobody has computed (§8.6); nothing behind them."""
    with site(WAYS[way], compression=True) as web:
        peer = web.connect()
        peer.send(accepting(coding, line=HEAD))
        assert peer.received.endswith(b"\r\n\r\n")
        assert peer.received.count(b"\r\n\r\n") == 1
        [one] = take_apart(peer.take(), "HEAD")
        peer.send(accepting(coding))
        [other] = take_apart(peer.take())
        for name in ("Content-Encoding", "Vary", "Content-Type"):
            assert one.headers[name] == other.headers[name]
        assert one.headers["Content-Length"] in (None, other.headers["Content-Length"])
        assert web.requests[0].sent_bytes == 0


@pytest.mark.parametrize("way", ["send_response", "declared"])
def test_head_of_what_is_not_compressed_has_the_length(way: str) -> None:
    one = answer(WAYS[way], get(line=HEAD), "HEAD")
    assert (one.headers["Content-Encoding"], one.headers["Vary"]) == (None, "Accept-Encoding")
    assert one.headers["Content-Length"] == str(len(TEXT))


@pytest.mark.parametrize("code", [204, 205, 304])
@pytest.mark.parametrize("way", ["whole", "in pieces"])
def test_codes_without_content(way: str, code: int) -> None:
    """RFC 9110 §15.3.5, §15.3.6, §15.4.5."""
    handler = in_pieces(code=code) if way == "in pieces" else lambda request: whole(request, code=code)
    with site(handler, compression=True) as web:
        peer = web.connect()
        peer.send(accepting("gzip") * 2)
        assert peer.received.count(b"\r\n\r\n") == 2
        assert peer.received.endswith(b"\r\n\r\n")
        for one in take_apart(peer.received):
            assert one.headers["Content-Encoding"] is None
            assert one.headers["Content-Length"] == ("0" if code == 205 else None)


@pytest.mark.parametrize("way", ["whole", "in pieces"])
def test_a_304_speaks_of_the_answer_that_it_stands_for(way: str) -> None:
    """§15.4.5: the Vary and the ETag that the 200 would have, so that a cache finds it (RFC 9111 §4.3.4)."""

    def handler(request: HTTPRequest) -> None:
        code = 304 if request.headers.get("If-None-Match") else 200
        if way == "whole":
            whole(request, b"" if code == 304 else TEXT, code, headers={"ETag": '"a"'})
        else:
            in_pieces(("ETag", '"a"'), code=code, pieces=() if code == 304 else (TEXT,))(request)

    ok = answer(handler, accepting("gzip"))
    unchanged = answer(handler, accepting("gzip", fields=(b"If-None-Match: x",)))
    assert unchanged.status == 304
    assert unchanged.headers["ETag"] == ok.headers["ETag"] == 'W/"a"'
    assert unchanged.headers["Vary"] == ok.headers["Vary"] == "Accept-Encoding"


# --- Fields ---------------------------------------------------------------------------------------------------------


def with_field(way: str, name: str, value: str) -> Handler:
    if way == "send_response":
        return lambda request: whole(request, headers={name: value})
    return in_pieces((name, value))


FIELDS_BY = pytest.mark.parametrize("way", ["send_response", "in pieces"])


@FIELDS_BY
@pytest.mark.parametrize("etag, weak", [('"a"', 'W/"a"'), ('W/"a"', 'W/"a"')])
def test_an_etag_becomes_weak(etag: str, weak: str, way: str) -> None:
    """RFC 9110 §8.8.1: a strong one stands for the very bytes, which differ from coding to coding."""
    handler = with_field(way, "ETag", etag)
    assert answer(handler, accepting("gzip")).headers.get_all("ETag") == [weak]
    assert answer(handler, get()).headers.get_all("ETag") == [etag]


@FIELDS_BY
@pytest.mark.parametrize(
    "vary, expected",
    [
        ("Cookie", {"cookie", "accept-encoding"}),
        ("accept-encoding", {"accept-encoding"}),
        ("Cookie, Accept-Encoding", {"cookie", "accept-encoding"}),
        ("*", {"*"}),
    ],
)
def test_vary_keeps_what_it_has(vary: str, expected: set[str], way: str) -> None:
    """§12.5.5."""
    for data in (accepting("gzip"), get()):
        one = answer(with_field(way, "Vary", vary), data)
        names = [name.strip().lower() for name in ",".join(one.headers.get_all("Vary", [])).split(",")]
        assert sorted(names) == sorted(expected)


@FIELDS_BY
@pytest.mark.parametrize(
    "name, value",
    [
        ("Content-Encoding", "deflate"),
        ("content-encoding", "gzip"),
        ("Cache-Control", "no-transform"),
        ("Cache-Control", "max-age=5, No-Transform"),
        ("Content-Range", "bytes 0-9/10"),
        ("Repr-Digest", "sha-256=:a:"),
        ("Digest", "sha-256=a"),
    ],
)
def test_what_the_program_has_settled_is_sent_as_it_is(name: str, value: str, way: str) -> None:
    """§8.4 a coding of its own; RFC 9111 §5.2.2.6 no-transform; RFC 9530 a digest of the very bytes."""
    with site(with_field(way, name, value), compression=True) as web:
        [one] = web.ask(accepting(*CODINGS))
        assert one.content == TEXT
        assert one.headers.get_all(name) == [value]


@FIELDS_BY
def test_ranges_are_not_of_what_is_compressed(way: str) -> None:
    """§14.3: a range of the coded content would be of other bytes the next time."""
    assert answer(with_field(way, "Accept-Ranges", "bytes"), accepting("gzip")).headers["Accept-Ranges"] is None
    assert answer(with_field(way, "Accept-Ranges", "bytes"), get()).headers["Accept-Ranges"] == "bytes"


@FIELDS_BY
def test_cookies_and_other_fields_stay(way: str) -> None:
    def handler(request: HTTPRequest) -> None:
        request.cookies_out["a"] = "b"
        with_field(way, "X", "y")(request)

    one = answer(handler, accepting("gzip"))
    assert (one.headers["X"], one.headers.get_all("Set-Cookie"), decoded(one)) == ("y", ["a=b"], TEXT)


def test_a_part_is_sent_as_it_is() -> None:
    """§15.3.7: 206 is of the bytes that the client has some of."""
    handler = in_pieces(("Content-Range", f"bytes 0-999/{len(TEXT)}"), pieces=(TEXT[:1000],), code=206)
    one = answer(handler, accepting("gzip"))
    assert (one.content, one.headers["Content-Encoding"]) == (TEXT[:1000], None)


# --- What is not worth it -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size, compressed", [(0, False), (1, False), (1023, False), (1024, True)])
def test_small_bodies_are_sent_as_they_are(size: int, compressed: bool) -> None:
    """Compression.min_size, 1024 by default: of a whole answer, and of a declared length."""
    content = TEXT[:size]
    for handler in (
        lambda request: whole(request, content),
        in_pieces(("Content-Length", size), pieces=(content,)),
    ):
        one = answer(handler, accepting("gzip"))
        assert (one.headers["Content-Encoding"] == "gzip") is compressed
        assert decoded(one) == content
        if not compressed:
            assert one.headers["Content-Length"] == str(size)


def test_the_smallest_size_can_be_set() -> None:
    one = answer(lambda request: whole(request, b""), accepting("gzip"), compression=Compression(min_size=0))
    assert (one.headers["Content-Encoding"], decoded(one)) == ("gzip", b"")
    one = answer(whole, accepting("gzip"), compression=Compression(min_size=len(TEXT) + 1))
    assert one.headers["Content-Encoding"] is None


@pytest.mark.parametrize(
    "kind", ["image/png", "application/octet-stream", "video/mp4", "application/zip", "font/woff2"]
)
def test_what_is_compressed_by_itself_is_sent_as_it_is(kind: str) -> None:
    def pieces(request: HTTPRequest) -> None:
        request.send_headers({"Content-Type": kind})
        request.send(TEXT)
        request.finish()

    for handler in (pieces, lambda request: whole(request, content_type=kind)):
        one = answer(handler, accepting(*CODINGS))
        assert (one.headers["Content-Encoding"], one.headers["Vary"], one.content) == (None, None, TEXT)


def test_without_a_type_nothing_is_known_of_the_content() -> None:
    def handler(request: HTTPRequest) -> None:
        request.send(TEXT)
        request.finish()

    one = answer(handler, accepting("gzip"))
    assert (one.headers["Content-Encoding"], one.content) == (None, TEXT)


@pytest.mark.parametrize("kind", ["text/plain", "application/json", "image/svg+xml", "TEXT/HTML; charset=utf-8"])
def test_what_is_text_is_compressed(kind: str) -> None:
    one = answer(lambda request: whole(request, content_type=kind), accepting("gzip"))
    assert (one.headers["Content-Encoding"], decoded(one)) == ("gzip", TEXT)


def test_only_the_types_that_are_named() -> None:
    compression = Compression(types=["application/x-mine"])
    one = answer(
        lambda request: whole(request, content_type="application/x-mine"), accepting("gzip"), "GET", compression
    )
    assert one.headers["Content-Encoding"] == "gzip"
    assert answer(whole, accepting("gzip"), "GET", compression).headers["Content-Encoding"] is None


def test_nothing_sent_is_nothing_compressed() -> None:
    one = answer(in_pieces(pieces=()), accepting("gzip"))
    assert decoded(one) == b""


@pytest.mark.parametrize("coding", CODINGS)
def test_a_str_is_encoded_before_it_is_compressed(coding: str) -> None:
    def handler(request: HTTPRequest) -> None:
        request.send_headers({"Content-Type": "text/plain; charset=iso-8859-1"})
        request.send("ä" * 2000)
        request.finish()

    for way in (handler, lambda request: whole(request, "ä" * 2000, content_type="text/plain; charset=iso-8859-1")):
        assert decoded(answer(way, accepting(coding))) == b"\xe4" * 2000


# --- Errors of the program ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("declared", [len(TEXT) - 1, 1024])
def test_more_than_was_declared_closes_the_connection(declared: int, coding: str, expect_log: Any) -> None:
    """As without compression (RFC 9112 §8): a program's mistake shows whoever asks."""
    expect_log("more than its Content-Length")
    with site(in_pieces(("Content-Length", declared)), compression=True) as web:
        peer = web.connect()
        peer.send(accepting(coding) * 2)
        assert peer.ended
        assert not peer.received.endswith(b"0\r\n\r\n")
        assert len(web.requests) == 1


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("declared", [len(TEXT) + 1, 10 * len(TEXT)])
def test_less_than_was_declared_closes_the_connection(declared: int, coding: str, expect_log: Any) -> None:
    expect_log("less than its Content-Length")
    with site(in_pieces(("Content-Length", declared)), compression=True) as web:
        peer = web.connect()
        peer.send(accepting(coding) * 2)
        assert peer.ended
        assert not peer.received.endswith(b"0\r\n\r\n")
        assert len(web.requests) == 1


def test_a_declared_length_of_0_has_no_content(expect_log: Any) -> None:
    expect_log("more than its Content-Length")
    handler = in_pieces(("Content-Length", 0), pieces=(b"a",))
    with site(handler, compression=Compression(min_size=0)) as web:
        peer = web.connect()
        peer.send(accepting("gzip"))
        assert peer.ended


def test_more_in_several_pieces(expect_log: Any) -> None:
    """Also behind a length that was kept so far."""
    expect_log("1 bytes more than its Content-Length")
    handler = in_pieces(("Content-Length", len(TEXT)), pieces=(TEXT, b"a", b"b"))
    with site(handler, compression=True) as web:
        peer = web.connect()
        peer.send(accepting("gzip"))
        assert peer.ended


def test_an_exception_in_the_middle_closes_the_connection(expect_log: Any) -> None:
    expect_log("handler failed")

    def handler(request: HTTPRequest) -> None:
        request.send_headers({"Content-Type": TYPE})
        request.send(TEXT)
        raise ValueError

    with site(handler, compression=True) as web:
        peer = web.connect()
        peer.send(accepting("gzip"))
        assert peer.ended
        assert not peer.received.endswith(b"0\r\n\r\n")


def test_a_client_that_goes_in_the_middle() -> None:
    def handler(request: HTTPRequest) -> None:
        request.send_headers({"Content-Type": TYPE})
        request.send(TEXT)

    with site(handler, compression=True) as web:
        peer = web.connect()
        peer.send(accepting("gzip"))
        peer.reset()
        web.requests[0].send(TEXT)
        web.requests[0].finish()
        assert web.requests[0].finished


def test_errors_of_the_server_are_answered_too(expect_log: Any) -> None:
    expect_log("handler failed")
    with site(lambda request: request.no_such_thing, compression=Compression(min_size=0)) as web:  # type: ignore[attr-defined]
        [one] = web.ask(accepting("gzip"))
        assert (one.status, decoded(one)) == (500, b"500 Internal Server Error\n")


# --- Pieces, one by one ---------------------------------------------------------------------------------------------


def unchunked(data: bytes) -> bytes:
    """The content of the chunks in ``data``, which is whole chunks."""
    content = b""
    while data:
        size, _, data = data.partition(b"\r\n")
        content += data[: int(size, 16)]
        assert data[int(size, 16) :][:2] == b"\r\n"
        data = data[int(size, 16) + 2 :]
    return content


@pytest.mark.parametrize("protocol", [b"HTTP/1.1", b"HTTP/1.0"])
@pytest.mark.parametrize("coding", CODINGS)
def test_each_piece_can_be_decoded_at_once(coding: str, protocol: bytes) -> None:
    """A stream of events must not wait in the encoder until there are more."""
    with site(lambda request: None, compression=True) as web:
        peer = web.connect()
        peer.send(accepting(coding, line=b"GET / " + protocol))
        [request] = web.requests
        request.send_headers({"Content-Type": "text/event-stream"})
        web.engine.advance()
        assert peer.take().endswith(b"\r\n\r\n")
        decode = decoder(coding)
        for piece in (b"data: one\n\n", b"a", b"", TEXT * 20, bytes(range(256)), b"data: last\n\n"):
            request.send(piece)
            web.engine.advance()
            data = peer.take()
            assert bool(data) is bool(piece)
            assert decode(unchunked(data) if protocol == b"HTTP/1.1" else data) == piece
        request.finish()
        web.engine.advance()
        assert peer.ended is (protocol == b"HTTP/1.0")


# --- Real sockets ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("coding", CODINGS)
def test_compressed_answers_over_tcp(coding: str) -> None:
    content = TEXT * 200

    def handler(request: HTTPRequest) -> None:
        if request.path == "/pieces":
            in_pieces(pieces=tuple(content[at : at + 50_000] for at in range(0, len(content), 50_000)))(request)
        else:
            whole(request, content)

    server = HTTPServer(handler, compression=True).listen(("127.0.0.1", 0))
    received: list[bytes] = []
    with socket.create_connection(server.local_address) as client:
        client.sendall(
            accepting(coding, line=b"GET /pieces HTTP/1.1") + accepting(coding, fields=(b"Connection: close",))
        )
        client.setblocking(False)

        def ended() -> bool:
            try:
                received.append(client.recv(65536))
            except BlockingIOError:
                return False
            return not received[-1]

        run_until(ended)
    answers = take_apart(b"".join(received))
    assert [one.headers["Content-Encoding"] for one in answers] == [coding, coding]
    assert [decoded(one) for one in answers] == [content, content]
    server.close()
