"""How a request is answered: the methods of `HTTPRequest` that begin with ``send``, `finish`, and what can go wrong.

Sentences in quotation marks are the manual's. test_answers.py is about `send_response` alone, test_send_file.py about
`send_file`.
"""

from __future__ import annotations

import email.utils
import socket
import time
from collections.abc import Callable
from http.cookies import CookieError, SimpleCookie
from typing import Any

import pytest

from pants.http import HTTPConnection, HTTPHeaders, HTTPRequest, HTTPServer, Limits, Refused
from pants.testing import MemoryEngine, Peer, run_until
from tests.http.support import CHUNKED, Answer, Handler, Site, get, post, site, take_apart

HTTP_1_0 = get(line=b"GET / HTTP/1.0")
HEAD = get(line=b"HEAD / HTTP/1.1")
SECRET = "a secret of the test"


def later(request: HTTPRequest) -> None:
    """A handler that answers later."""


def received(handler: Handler, data: bytes = get(), **kwargs: Any) -> tuple[bytes, bool]:
    """What a client gets on the wire, and whether the connection is closed behind it."""
    with site(handler, **kwargs) as web:
        peer = web.connect()
        peer.send(data)
        return peer.received, peer.ended


def answers(handler: Handler, data: bytes = get(), *methods: str, **kwargs: Any) -> list[Answer]:
    return take_apart(received(handler, data, **kwargs)[0], *methods)


def answer(handler: Handler, data: bytes = get(), *methods: str, **kwargs: Any) -> Answer:
    [only] = answers(handler, data, *methods, **kwargs)
    return only


def the_connection(web: Site) -> HTTPConnection:
    """The one connection of a server."""
    [connection] = web.server.channels.values()
    assert isinstance(connection, HTTPConnection)
    return connection


def head_of(data: bytes) -> list[bytes]:
    """The lines of the first head."""
    return data.partition(b"\r\n\r\n")[0].split(b"\r\n")


# --- Piece by piece ---------------------------------------------------------------------------------------------


def manual_example(request: HTTPRequest) -> None:
    """Manual: "send_response": "Basically, rather than: ..."."""
    output = "Hello, World!"
    request.send_status(200)
    request.send_headers({"Content-Type": "text/plain", "Content-Length": len(output)})
    request.send(output)
    request.finish()


def test_the_example_of_the_manual() -> None:
    """ "You can simply: request.send_response("Hello, World!")": both give the same."""
    pieces, ended = received(manual_example)
    whole, _ = received(lambda request: request.send_response("Hello, World!"))
    assert not ended
    kept = [sorted(line for line in head_of(data) if not line.startswith(b"Date")) for data in (pieces, whole)]
    assert kept[0] == kept[1]
    assert pieces.endswith(b"\r\n\r\nHello, World!")


def test_the_status_line() -> None:
    """ "request.send_status(404) would result in HTTP/1.1 404 Not Found being sent", "using the same HTTP protocol
    version as the request"."""

    def handler(request: HTTPRequest) -> None:
        request.send_status(404)
        request.send_headers({})
        request.finish()

    assert received(handler)[0].startswith(b"HTTP/1.1 404 Not Found\r\n")
    assert received(handler, HTTP_1_0)[0].startswith(b"HTTP/1.0 404 Not Found\r\n")


@pytest.mark.parametrize("code", [299, 499, 599])
def test_a_code_that_nobody_knows_has_an_empty_reason(code: int) -> None:
    """RFC 9112 §4: the space before it stays. "If one is available", the manual says."""

    def handler(request: HTTPRequest) -> None:
        request.send_status(code)
        request.finish()

    assert received(handler)[0].startswith(b"HTTP/1.1 %d \r\n" % code)


def by(*steps: tuple[Any, ...]) -> Handler:
    """A handler that calls methods of the request: each step is a name and arguments."""

    def handler(request: HTTPRequest) -> None:
        for name, *args in steps:
            kwargs = args.pop() if args and isinstance(args[-1], Keywords) else {}
            getattr(request, name)(*args, **kwargs)

    return handler


class Keywords(dict[str, Any]):
    """Marks keyword arguments in the steps of `by`."""


ORDERS: dict[str, tuple[list[tuple[Any, ...]], int, bytes]] = {
    "finish alone after the status": ([("send_status", 404), ("finish",)], 404, b""),
    "status, headers, finish": ([("send_status", 404), ("send_headers", {"X": "y"}), ("finish",)], 404, b""),
    "no status": ([("send_headers", {"X": "y"}), ("send", "a"), ("finish",)], 200, b"a"),
    "the default of the status": ([("send_status",), ("send", "a"), ("finish",)], 200, b"a"),
    "nothing but content": ([("send", "a"), ("send", b"b"), ("finish",)], 200, b"ab"),
    "no headers": ([("send_status", 201), ("send", "a"), ("finish",)], 201, b"a"),
    "headers in several calls": (
        [("send_headers", {"X": "y"}, False), ("send_headers", {"Z": "z"}, False), ("send", "a"), ("finish",)],
        200,
        b"a",
    ),
    "headers that are left open": ([("send_headers", {"X": "y"}, False), ("finish",)], 200, b""),
    "no headers at all": ([("send_headers", {}), ("send", "a"), ("finish",)], 200, b"a"),
    "empty pieces": ([("send", ""), ("send", b""), ("send", "a"), ("send", ""), ("finish",)], 200, b"a"),
    "an empty piece alone": ([("send", ""), ("finish",)], 200, b""),
    "cookies alone": ([("send_cookies",), ("finish",)], 200, b""),
    "cookies that end the head": ([("send_cookies", None, True), ("send", "a"), ("finish",)], 200, b"a"),
    "a length in another call": (
        [("send_headers", {"Content-Length": 1}, False), ("send_headers", {}), ("send", "a"), ("finish",)],
        200,
        b"a",
    ),
    "a length of nothing": ([("send_headers", {"Content-Length": 0}), ("finish",)], 200, b""),
    "bytes of other classes": ([("send", bytearray(b"a")), ("send", memoryview(b"b")), ("finish",)], 200, b"ab"),
    "a large piece": ([("send", b"a" * 100_000), ("send", b"b"), ("finish",)], 200, b"a" * 100_000 + b"b"),
}


@pytest.mark.parametrize("protocol", [b"HTTP/1.1", b"HTTP/1.0"])
@pytest.mark.parametrize("name", ORDERS)
def test_orders_that_make_an_answer(name: str, protocol: bytes) -> None:
    """And the next request on the connection is answered too, where it may carry one."""
    steps, code, content = ORDERS[name]
    with site(by(*steps)) as web:
        peer = web.connect()
        data = get(b"Connection: keep-alive", line=b"GET / " + protocol)
        peer.send(data)
        [first] = take_apart(peer.take())
        assert (first.status, first.content) == (code, content)
        if protocol == b"HTTP/1.1" or not peer.ended:
            peer.send(data)
            [second] = take_apart(peer.take())
            assert second.content == content


WRONG_ORDERS: dict[str, list[tuple[Any, ...]]] = {
    "two statuses": [("send_status",), ("send_status",)],
    "a status behind headers": [("send_headers", {}, False), ("send_status",)],
    "a status behind content": [("send", "a"), ("send_status",)],
    "headers behind the head": [("send_headers", {}), ("send_headers", {})],
    "headers behind content": [("send", "a"), ("send_headers", {})],
    "cookies behind the head": [("send_headers", {}), ("send_cookies",)],
    "a whole answer behind a status": [("send_status",), ("send_response", "a")],
    "a whole answer behind the head": [("send_headers", {}), ("send_response", "a")],
    "a whole answer behind content": [("send", "a"), ("send_response", "b")],
    "a file behind content": [("send", "a"), ("send_file", "/dev/null")],
    "content of an interim answer": [("send_status", 103), ("send", "a")],
    **{
        f"{name} behind finish": [("send", "a"), ("finish",), (name, *args)]
        for name, args in {
            "send_status": (),
            "send_headers": ({},),
            "send_cookies": (),
            "send": ("a",),
            "send_response": ("a",),
            "send_file": ("/dev/null",),
        }.items()
    },
    **{
        f"{name} behind a whole answer": [("send_response", "a"), (name, *args)]
        for name, args in {"send_status": (), "send_headers": ({},), "send_cookies": (), "send": ("",)}.items()
    },
    **{
        f"{name} behind finish alone": [("finish",), (name, *args)]
        for name, args in {"send_status": (), "send_headers": ({},), "send_cookies": (), "send": ("",)}.items()
    },
}


@pytest.mark.parametrize("name", WRONG_ORDERS)
def test_orders_that_raise(name: str) -> None:
    """DESIGN: whatever would break the protocol raises at the call, with what to do in the message."""
    *before, (method, *args) = WRONG_ORDERS[name]

    def handler(request: HTTPRequest) -> None:
        by(*before)(request)
        with pytest.raises(RuntimeError, match=method):
            getattr(request, method)(*args)

    with site(handler) as web:
        peer = web.connect()
        peer.send(get())
        assert len(web.requests) == 1


def test_finish_is_idempotent() -> None:
    with site(by(("send", "a"), ("finish",), ("finish",), ("finish",))) as web:
        peer = web.connect()
        peer.send(get() + get())
        web.requests[0].finish()
        peer.send(get())
        assert [one.content for one in take_apart(peer.received)] == [b"a"] * 3
        assert web.server.counters.answers == {200: 3}


def test_a_status_is_not_sent_before_the_head_is_complete() -> None:
    """What the head says of the framing is known at its end only."""
    with site(by(("send_status", 404), ("send_headers", {"X": "y"}, False))) as web:
        peer = web.connect()
        peer.send(get())
        assert peer.received == b""
        web.requests[0].send_headers({"Z": "z"})
        web.engine.advance()
        assert peer.received.endswith(b"X: y\r\nZ: z\r\nTransfer-Encoding: chunked\r\n\r\n")


def test_pieces_are_sent_when_they_are_there() -> None:
    """ "Note: It is not required to finish responding to a request within the request handler"."""
    with site(later) as web:
        peer = web.connect()
        peer.send(get())
        [request] = web.requests
        request.send("one")
        web.engine.advance()
        assert peer.received.endswith(b"\r\n\r\n3\r\none\r\n")
        peer.take()
        request.send("twelve bytes")
        web.engine.advance()
        assert peer.take() == b"c\r\ntwelve bytes\r\n"
        request.finish()
        web.engine.advance()
        assert peer.take() == b"0\r\n\r\n"
        assert not peer.ended


def test_a_piece_that_changes_later_is_sent_as_it_was() -> None:
    piece = bytearray(b"one")

    def handler(request: HTTPRequest) -> None:
        request.send_headers({"Content-Length": 3})
        request.send(piece)
        piece[:] = b"two"
        request.finish()

    assert answer(handler).content == b"one"


# --- Framing ----------------------------------------------------------------------------------------------------


def test_without_a_length_content_is_chunked() -> None:
    """RFC 9112 §6.1, §7.1: and has no Content-Length (§6.2)."""
    data, ended = received(by(("send", "abc"), ("send", b"d" * 16), ("finish",)))
    assert data.endswith(b"\r\n\r\n3\r\nabc\r\n10\r\n" + b"d" * 16 + b"\r\n0\r\n\r\n")
    lines = head_of(data)
    assert b"Transfer-Encoding: chunked" in lines
    assert not [line for line in lines if line.lower().startswith(b"content-length")]
    assert not ended


def test_an_empty_piece_is_no_last_chunk() -> None:
    """RFC 9112 §7.1: a chunk of size 0 ends the content."""
    data, _ = received(by(("send", "a"), ("send", ""), ("send", b""), ("send", "b"), ("finish",)))
    assert data.endswith(b"1\r\na\r\n1\r\nb\r\n0\r\n\r\n")
    assert data.count(b"0\r\n\r\n") == 1


@pytest.mark.parametrize("fields", [(), (b"Connection: keep-alive",)])
def test_without_a_length_http_1_0_is_told_the_end_by_the_close(fields: tuple[bytes, ...]) -> None:
    """RFC 9112 §6.1: no Transfer-Encoding to HTTP/1.0; §6.3: the content lasts until the close, which is announced."""
    data, ended = received(by(("send", "abc"), ("send", "d"), ("finish",)), get(*fields, line=b"GET / HTTP/1.0"))
    assert data.endswith(b"\r\n\r\nabcd")
    lines = head_of(data)
    assert b"Connection: close" in lines
    assert b"Connection: keep-alive" not in lines
    assert not [line for line in lines if line.lower().startswith((b"content-length", b"transfer-encoding"))]
    assert ended


def test_with_a_length_http_1_0_can_keep_the_connection() -> None:
    """RFC 9112 §9.3, §C.2.2."""
    data, ended = received(manual_example, get(b"Connection: keep-alive", line=b"GET / HTTP/1.0"))
    assert b"Connection: keep-alive" in head_of(data)
    assert not ended


@pytest.mark.parametrize("length", [3, "3", "003"])
@pytest.mark.parametrize("name", ["Content-Length", "content-length", "CONTENT-LENGTH"])
def test_a_declared_length_is_sent_once(name: str, length: int | str) -> None:
    data, ended = received(by(("send_headers", {name: length}), ("send", "ab"), ("send", "c"), ("finish",)))
    lines = [line.lower() for line in head_of(data)]
    assert [int(line.partition(b":")[2]) for line in lines if line.startswith(b"content-length")] == [3]
    assert not [line for line in lines if line.startswith(b"transfer-encoding")]
    assert data.endswith(b"\r\n\r\nabc")
    assert not ended


@pytest.mark.parametrize("code", [200, 404])
def test_no_content_at_all_has_the_length_0(code: int) -> None:
    """RFC 9110 §8.6: "A server SHOULD send Content-Length when the content's length is known before the head"."""
    one = answer(by(("send_status", code), ("finish",)))
    assert (one.headers["Content-Length"], one.headers["Transfer-Encoding"], one.content) == ("0", None, b"")


@pytest.mark.parametrize(
    "steps, length",
    [
        ([("send_headers", {"Content-Length": 5}), ("send", "abcde")], "5"),
        ([("send_headers", {"Content-Length": 5})], "5"),
        ([("send", "abc")], None),
        ([("send_status", 404)], None),
        ([("send_response", "abcde")], "5"),
    ],
)
def test_head_is_answered_without_content(steps: list[tuple[Any, ...]], length: str | None) -> None:
    """RFC 9110 §9.3.2; §8.6: a Content-Length is that of the answer to a GET, or is left out."""
    data, ended = received(by(*steps, ("finish",)), HEAD + HEAD)
    assert data.count(b"\r\n\r\n") == 2
    assert data.endswith(b"\r\n\r\n")
    assert not ended
    for one in take_apart(data, "HEAD", "HEAD"):
        assert one.headers["Content-Length"] == length


def test_head_counts_no_content() -> None:
    with site(by(("send", "abc"), ("finish",))) as web:
        web.ask(HEAD, "HEAD")
        assert web.requests[0].sent_bytes == 0


@pytest.mark.parametrize("extra", [{}, {"Content-Length": 5}])
@pytest.mark.parametrize("code", [204, 205, 304])
def test_codes_without_content(code: int, extra: dict[str, Any]) -> None:
    """RFC 9110 §15.3.5, §15.3.6, §15.4.5: none is sent, whatever is passed; §8.6: 204 has no Content-Length, and 304
    that of the answer it stands for; RFC 9112 §6.1: no Transfer-Encoding either."""
    steps = [("send_status", code), ("send_headers", extra), ("send", "abcde"), ("finish",)]
    data, ended = received(by(*steps), get() + get())
    assert data.count(b"\r\n\r\n") == 2
    assert data.endswith(b"\r\n\r\n")
    assert not ended
    for one in take_apart(data):
        assert one.headers["Transfer-Encoding"] is None
        assert one.headers["Content-Length"] == {204: None, 205: "0", 304: "5" if extra else None}[code]


@pytest.mark.parametrize("code", [204, 205, 304])
def test_codes_without_content_need_no_close_on_http_1_0(code: int) -> None:
    """RFC 9112 §6.3: their length is known to be 0."""
    data, ended = received(
        by(("send_status", code), ("send", ""), ("finish",)), get(b"Connection: keep-alive", line=b"GET / HTTP/1.0")
    )
    assert b"Connection: keep-alive" in head_of(data)
    assert not ended


@pytest.mark.parametrize("code", [200, 299])
@pytest.mark.parametrize("steps", [[("send_response", "abc")], [("send_headers", {"Content-Length": 3}), ("send", "")]])
def test_connect_has_no_length_where_it_succeeds(code: int, steps: list[tuple[Any, ...]]) -> None:
    """RFC 9110 §9.3.6: no Transfer-Encoding and no Content-Length in a 2xx answer to CONNECT."""
    if steps[0][0] == "send_response":
        steps = [("send_response", "", code)]
    else:
        steps = [("send_status", code), *steps, ("finish",)]
    data, _ = received(by(*steps), get(line=b"CONNECT a:443 HTTP/1.1"), refused_methods=())
    assert data.startswith(b"HTTP/1.1 %d " % code)
    assert not [line for line in head_of(data) if line.lower().startswith((b"content-length", b"transfer-encoding"))]


def test_connect_has_a_length_where_it_fails() -> None:
    one = answer(
        lambda request: request.send_response("no", 403), get(line=b"CONNECT a:443 HTTP/1.1"), refused_methods=()
    )
    assert one.content == b"no"


# --- A declared length that is not kept ---------------------------------------------------------------------------


def test_more_than_was_declared_closes_the_connection(expect_log: Any) -> None:
    """RFC 9112 §6.3, §8: the client must not take the excess for the next answer, nor this one for complete."""
    expect_log("2 bytes more than its Content-Length")

    def handler(request: HTTPRequest) -> None:
        request.send_headers({"Content-Length": 3})
        request.send("ab")
        request.send("cde")
        request.send("f")
        request.finish()

    with site(handler) as web:
        peer = web.connect()
        peer.send(get() + get())
        assert peer.ended
        content = peer.received.partition(b"\r\n\r\n")[2]
        assert len(content) < 3
        assert len(web.requests) == 1
        assert web.requests[0].finished


@pytest.mark.parametrize("data", [get() + get(), get(b"Connection: close"), HTTP_1_0])
def test_less_than_was_declared_closes_the_connection(data: bytes, expect_log: Any) -> None:
    """RFC 9112 §8: the client sees by the close that the answer is incomplete."""
    expect_log("1 bytes less than its Content-Length")
    with site(by(("send_headers", {"Content-Length": 3}), ("send", "ab"), ("finish",))) as web:
        peer = web.connect()
        peer.send(data)
        assert peer.ended
        assert len(peer.received.partition(b"\r\n\r\n")[2]) < 3
        assert len(web.requests) == 1


def test_what_is_declared_is_counted_in_bytes(expect_log: Any) -> None:
    """RFC 9110 §8.6: in octets; the manual's ``len(output)`` fits ASCII only."""
    expect_log("1 bytes more than its Content-Length")
    received(by(("send_headers", {"Content-Length": 1}), ("send", "ä"), ("finish",)))


def test_a_broken_answer_is_no_answer_to_those_behind_it(expect_log: Any) -> None:
    """The answers that were complete before it arrive all the same, or else are not half of one."""
    expect_log("more than its Content-Length")

    def handler(request: HTTPRequest) -> None:
        if request.path == "/":
            request.send_response("good")
        else:
            by(("send_headers", {"Content-Length": 1}), ("send", "ab"), ("finish",))(request)

    with site(handler) as web:
        peer = web.connect()
        peer.send(get())
        assert [one.content for one in take_apart(peer.take())] == [b"good"]
        peer.send(get(line=b"GET /bad HTTP/1.1"))
        assert peer.ended


def test_nothing_is_logged_where_the_client_went_away() -> None:
    """A short answer is not the program's fault then."""
    with site(later) as web:
        peer = web.connect()
        peer.send(get())
        [request] = web.requests
        request.send_headers({"Content-Length": 3})
        peer.reset()
        request.send("too much")
        request.finish()
        assert request.finished


# --- Interim answers, and 101 -------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [100, 102, 103, 110, 199])
def test_an_interim_answer_has_another_behind_it(code: int) -> None:
    """RFC 9110 §15.2, RFC 8297: it ends with its head, and has no framing of its own."""

    def handler(request: HTTPRequest) -> None:
        request.send_status(code)
        request.send_headers({"Link": "</a.css>; rel=preload"})
        assert not request.finished
        request.send_response("final")

    with site(handler) as web:
        peer = web.connect()
        peer.send(get() + get())
        data = peer.received
    assert data.startswith(b"HTTP/1.1 %d " % code)
    assert head_of(data)[1:] == [b"Link: </a.css>; rel=preload"]
    finals = data.split(b"HTTP/1.1 ")
    assert [part[:3] for part in finals[1:]] == [b"%d" % code, b"200"] * 2
    assert data.count(b"Link") == 2
    assert data.count(b"final") == 2


@pytest.mark.parametrize(
    "final",
    [
        [("send_response", "final")],
        [("send_status", 200), ("send_headers", {}), ("send", "final"), ("finish",)],
        [("send", "final"), ("finish",)],
        [("send_headers", {"Content-Length": 5}, False), ("send", "final"), ("finish",)],
    ],
)
def test_every_kind_of_answer_can_stand_behind_interim_ones(final: list[tuple[Any, ...]]) -> None:
    hint = [("send_status", 103), ("send_headers", {"Link": "</a.css>"})]
    interim, again, last = answers(by(*hint, *hint, *final))
    assert (interim.status, again.status, last.status) == (103, 103, 200)
    assert last.content == b"final"
    assert last.headers["Link"] is None


def test_an_interim_answer_is_sent_at_once() -> None:
    with site(by(("send_status", 103), ("send_headers", {"Link": "</a>"}))) as web:
        peer = web.connect()
        peer.send(get())
        assert peer.take() == b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
        [request] = web.requests
        assert request.code == 0  # no answer yet
        request.send_response("final")
        web.engine.advance()
        assert [one.content for one in take_apart(peer.received)] == [b"final"]


def test_a_client_that_takes_no_interim_answer_gets_the_final_one() -> None:
    with site(by(("send_status", 103), ("send_headers", {"Link": "</a>"}))) as web:
        peer = web.connect()
        peer.window = 5
        peer.send(get())
        web.requests[0].send_response("final")
        web.engine.advance(1)
        peer.window = None
        assert [one.status for one in take_apart(peer.received)] == [103, 200]
        peer.send(get())
        web.requests[1].send_response("final")
        web.engine.advance()
        assert peer.received.endswith(b"final")


def test_http_1_0_gets_no_interim_answer() -> None:
    """RFC 9110 §15.2: a server must not send one there."""
    one = answer(by(("send_status", 103), ("send_headers", {"Link": "</a>"}), ("send_response", "final")), HTTP_1_0)
    assert (one.status, one.content, one.headers["Link"]) == (200, b"final", None)


@pytest.mark.parametrize("name", ["Content-Length", "Connection"])
def test_an_interim_answer_has_no_framing(name: str) -> None:
    """RFC 9110 §8.6: no Content-Length in a 1xx answer; RFC 9112 §9.6: "close" belongs to the final one."""
    value = {"Content-Length": "3", "Connection": "close"}[name]

    def handler(request: HTTPRequest) -> None:
        request.send_status(103)
        try:
            request.send_headers({name: value})
        except ValueError:
            request.send_headers({})
        request.send_response("final")

    interim, final = answers(handler)
    assert (interim.status, final.status) == (103, 200)
    assert interim.headers[name] is None


def test_an_interim_answer_is_none_to_be_finished_with() -> None:
    """The client would wait for the final one for ever."""
    data, ended = received(by(("send_status", 103), ("send_headers", {}), ("finish",)), get() + get())
    assert data == b"HTTP/1.1 103 Early Hints\r\n\r\n"
    assert ended
    data, ended = received(by(("send_status", 103), ("finish",)), get() + get())
    assert ended


def test_cookies_stay_for_the_final_answer() -> None:
    """RFC 8297 §2: an interim answer is no place for what the client is to keep."""

    def handler(request: HTTPRequest) -> None:
        request.cookies_out["a"] = "b"
        request.send_status(103)
        request.send_headers({"Link": "</a>"})
        request.send_response("final")

    interim, final = answers(handler)
    assert interim.headers["Set-Cookie"] is None
    assert final.headers.get_all("Set-Cookie") == ["a=b"]


def test_switching_protocols() -> None:
    """RFC 9110 §15.2.2, §7.8: Connection and Upgrade are the program's; there is no framing."""
    steps = [("send_status", 101), ("send_headers", {"Connection": "Upgrade", "Upgrade": "foo"})]
    with site(by(*steps)) as web:
        peer = web.connect()
        peer.send(get(b"Connection: upgrade", b"Upgrade: foo"))
        lines = head_of(peer.received)
        assert lines[0] == b"HTTP/1.1 101 Switching Protocols"
        assert {b"Connection: Upgrade", b"Upgrade: foo"} <= set(lines)
        assert len([line for line in lines if line.lower().startswith(b"connection")]) == 1
        names = {line.partition(b":")[0].lower() for line in lines}
        assert not names & {b"content-length", b"transfer-encoding"}
        assert peer.received.endswith(b"\r\n\r\n")
        assert web.requests[0].code == 101


# --- Headers ------------------------------------------------------------------------------------------------------


def test_date_and_server_are_the_servers() -> None:
    """RFC 9110 §6.6.1, §10.2.4."""
    one = answer(by(("send", "a"), ("finish",)))
    assert abs(email.utils.parsedate_to_datetime(one.headers["Date"]).timestamp() - time.time()) < 60
    assert one.headers.get_all("Server") == ["Pants"]


def test_date_and_server_can_be_the_programs() -> None:
    own = {"DATE": "Sun, 06 Nov 1994 08:49:37 GMT", "server": "Mine/1.0"}
    one = answer(by(("send_headers", own), ("send", "a"), ("finish",)))
    assert one.headers.get_all("Date") == ["Sun, 06 Nov 1994 08:49:37 GMT"]
    assert one.headers.get_all("Server") == ["Mine/1.0"]


@pytest.mark.parametrize("name, expected", [(None, None), ("Mine", ["Mine"]), ("", [""])])
@pytest.mark.parametrize("steps", [[("send_response", "a")], [("send", "a"), ("finish",)]])
def test_the_name_of_the_server(steps: list[tuple[Any, ...]], name: str | None, expected: list[str] | None) -> None:
    one = answer(by(*steps), server_name=name)
    assert one.headers.get_all("Server") == expected
    assert one.headers["Date"] is not None
    [bad] = answers(by(*steps), get(b"Host: b"), server_name=name)
    assert bad.status == 400
    assert bad.headers.get_all("Server") == expected


@pytest.mark.parametrize("value", ["close", "Close", " close"])
@pytest.mark.parametrize("data", [get(), get(b"Connection: keep-alive", line=b"GET / HTTP/1.0")])
def test_the_program_can_close_the_connection(data: bytes, value: str) -> None:
    """RFC 9112 §9.6."""
    steps = [("send_headers", {"Connection": value, "Content-Length": 1}), ("send", "a"), ("finish",)]
    with site(by(*steps)) as web:
        peer = web.connect()
        peer.send(data + data)
        [one] = take_apart(peer.received)
        assert one.headers.get_all("Connection") == ["close"]
        assert one.content == b"a"
        assert peer.ended
        assert len(web.requests) == 1


def test_the_connection_closes_when_the_program_is_done() -> None:
    """Not before, though all of the answer has been sent."""
    with site(by(("send_headers", {"Connection": "close", "Content-Length": 1}), ("send", "a"))) as web:
        peer = web.connect()
        peer.send(get())
        web.engine.advance(10)
        assert [one.content for one in take_apart(peer.received)] == [b"a"]
        assert not peer.ended
        web.requests[0].finish()
        web.engine.advance()
        assert peer.ended


def test_the_program_cannot_keep_what_the_client_closes() -> None:
    """RFC 9112 §9.3."""
    data, ended = received(by(("send_headers", {"connection": "keep-alive"}), ("finish",)), get(b"Connection: close"))
    assert [line for line in head_of(data) if line.lower().startswith(b"connection")] == [b"Connection: close"]
    assert ended


LISTS: list[Any] = [
    {"X": ["a", "b"]},
    {"X": ("a", "b")},
    [("X", "a"), ("X", "b")],
    [("x", "a"), ("X", "b")],
    [("X", ["a", "b"])],
    HTTPHeaders([("x", "a"), ("X", "b")]),
    iter([("X", "a"), ("X", "b")]),
]


@pytest.mark.parametrize("headers", LISTS, ids=range(len(LISTS)))
@pytest.mark.parametrize("method", ["send_headers", "send_response"])
def test_several_values_of_one_name(method: str, headers: Any) -> None:
    """RFC 9110 §5.3: a line each, in order; for Set-Cookie nothing else would do."""
    if not isinstance(headers, (dict, list, HTTPHeaders)):
        headers = iter([("X", "a"), ("X", "b")])  # not the one that the other case has used up
    if method == "send_headers":
        one = answer(by(("send_headers", headers), ("finish",)))
    else:
        one = answer(by(("send_response", "", 200, "text/plain", headers)))
    assert one.headers.get_all("X") == ["a", "b"]


def test_values_can_be_numbers() -> None:
    """Manual: the example has 'Content-Length': len(output)."""
    one = answer(by(("send_headers", {"X": 1, "Y": [2, "3"]}), ("finish",)))
    assert (one.headers["X"], one.headers.get_all("Y")) == ("1", ["2", "3"])
    one = answer(by(("send_response", "", 200, "text/plain", {"Age": 0})))
    assert one.headers["Age"] == "0"


def test_an_empty_list_is_no_header() -> None:
    one = answer(by(("send_headers", {"X": []}), ("finish",)))
    assert one.headers["X"] is None


def test_values_are_latin_1() -> None:
    """RFC 9110 §5.5; what is beyond has to be encoded by the program."""
    assert b"X: \xe4\tb" in head_of(received(by(("send_headers", {"X": "ä\tb"}), ("finish",)))[0])


@pytest.mark.parametrize(
    "content_type, encoded",
    [
        ("text/html", "ä".encode()),
        ("text/html; charset=iso-8859-1", b"\xe4"),
        ('text/html;charset="UTF-16-LE"', b"\xe4\0"),
        (None, "ä".encode()),
    ],
)
def test_a_str_has_the_charset_of_the_type(content_type: str | None, encoded: bytes) -> None:
    """DESIGN: else UTF-8."""
    headers = {} if content_type is None else {"CONTENT-type": content_type}
    one = answer(by(("send_headers", headers), ("send", "ä"), ("send", b"\xff"), ("send", "ä"), ("finish",)))
    assert one.content == encoded + b"\xff" + encoded
    assert one.headers["Content-Type"] == content_type


# --- What raises at the call -----------------------------------------------------------------------------------------

BAD_HEADERS: dict[str, tuple[type[Exception], Any]] = {
    "a name that is none": (TypeError, {1: "a"}),
    "a name of bytes": (TypeError, {b"X": "a"}),
    "a value of bytes": (TypeError, {"X": b"a"}),
    "a value that is none": (TypeError, {"X": None}),
    "a value that is a bool": (TypeError, {"X": True}),
    "a fraction": (TypeError, {"X": 1.5}),
    "a list in a list": (TypeError, {"X": [["a"]]}),
    "None": (TypeError, None),
    "an empty name": (ValueError, {"": "a"}),
    "a name with a space": (ValueError, {"X ": "a"}),
    "a name with a colon": (ValueError, {"X:": "a"}),
    "a name beyond ASCII": (ValueError, {"Ä": "a"}),
    "a value beyond Latin-1": (ValueError, {"X": "☃"}),
    "CR LF in the last of several values": (ValueError, {"X": ["a", "b\r\nY: z"]}),
    "CR LF in HTTPHeaders": (ValueError, HTTPHeaders({"X": "a\r\nY: z"})),
    "a good one and a bad one": (ValueError, {"Y": "a", "X": "a\nb"}),
}

BAD_FRAMING: dict[str, tuple[type[Exception], Any]] = {
    "Transfer-Encoding": (ValueError, {"transfer-Encoding": "chunked"}),
    "Transfer-Encoding with a length": (ValueError, {"Content-Length": 1, "Transfer-Encoding": "identity"}),
    "a length that is no number": (ValueError, {"Content-Length": "a"}),
    "an empty length": (ValueError, {"Content-Length": ""}),
    "a negative length": (ValueError, {"Content-Length": -1}),
    "a length with a sign": (ValueError, {"Content-Length": "+1"}),
    "a length with a space": (ValueError, {"Content-Length": " 1"}),
    "a length in other digits": (ValueError, {"Content-Length": "²"}),
    "a length that is a list": (ValueError, {"Content-Length": "1, 1"}),
    "a length of too many digits": (ValueError, {"Content-Length": "9" * 5000}),
    "two lengths": (ValueError, {"Content-Length": [1, 1]}),
    "two spellings of the length": (ValueError, [("Content-Length", 1), ("content-length", 1)]),
    "another option of the connection": (ValueError, {"Connection": "upgrade"}),
    "several options of the connection": (ValueError, {"Connection": "close, upgrade"}),
}


def bad_headers_raise(method: str, error: type[Exception], headers: Any) -> None:
    args = ("bad", 200, "text/plain", headers) if method == "send_response" else (headers,)

    def handler(request: HTTPRequest) -> None:
        with pytest.raises(error):
            getattr(request, method)(*args)
        assert not request.finished
        request.send_response("good")

    assert [one.content for one in answers(handler, get() + get())] == [b"good"] * 2


@pytest.mark.parametrize("name", BAD_HEADERS)
@pytest.mark.parametrize("method", ["send_headers", "send_response"])
def test_bad_headers_raise_at_the_call(method: str, name: str) -> None:
    """RFC 9110 §5.1, §5.5. What has raised has changed nothing: the request can be answered still."""
    if (method, name) != ("send_response", "None"):  # there it is the same as none
        bad_headers_raise(method, *BAD_HEADERS[name])


@pytest.mark.parametrize("name", BAD_FRAMING)
@pytest.mark.parametrize("method", ["send_headers", "send_response"])
def test_bad_framing_raises_at_the_call(method: str, name: str) -> None:
    """RFC 9112 §6: how the content is framed has to be unambiguous."""
    bad_headers_raise(method, *BAD_FRAMING[name])


CONTROLS = [chr(code) for code in (*range(32), 127) if code != 9] + ["\r\n", "\r\n\r\n"]


def injecting(payload: str) -> dict[str, Callable[[HTTPRequest], object]]:
    """Every way there is for a program to pass on what it was given."""

    def cookie(request: HTTPRequest, **parts: str) -> None:
        request.cookies_out[parts.get("name", "a")] = parts.get("value", "b")
        for attribute in ("path", "domain", "samesite", "expires", "max-age", "comment", "version"):
            if attribute in parts:
                request.cookies_out["a"][attribute] = parts[attribute]

    def by_cookie(send: Callable[[HTTPRequest], object], **parts: str) -> Callable[[HTTPRequest], object]:
        def run(request: HTTPRequest) -> None:
            cookie(request, **parts)
            send(request)

        return run

    sends: dict[str, Callable[[HTTPRequest], object]] = {
        "send_response": lambda request: request.send_response("a"),
        "send_headers": lambda request: request.send_headers({}),
        "send_cookies": lambda request: request.send_cookies(end_headers=True),
        "send": lambda request: request.send("a"),
        "send_file": lambda request: request.send_file(__file__),
    }
    return {
        "a header's name": lambda request: request.send_headers({f"X{payload}Y": "a"}),
        "a header's value": lambda request: request.send_headers({"X": f"a{payload}Injected: b"}),
        "a value's end": lambda request: request.send_headers({"X": f"a{payload}"}),
        "a value's beginning": lambda request: request.send_headers({"X": f"{payload}a"}),
        "an interim header": lambda request: (
            request.send_status(103),
            request.send_headers({"X": f"a{payload}Injected: b"}),
        ),
        "a length": lambda request: request.send_headers({"Content-Length": f"1{payload}"}),
        "the connection": lambda request: request.send_headers({"Connection": f"close{payload}X"}),
        "the connection of 101": lambda request: (
            request.send_status(101),
            request.send_headers({"Connection": f"upgrade{payload}X"}),
        ),
        "a whole answer's header": lambda request: request.send_response("a", headers={"X": f"a{payload}Injected: b"}),
        "a whole answer's name": lambda request: request.send_response("a", headers={f"X{payload}Injected": "b"}),
        "a type": lambda request: request.send_response("a", 200, f"text/html{payload}Injected: b"),
        "a file's header": lambda request: request.send_file(__file__, headers={"X": f"a{payload}Injected: b"}),
        "a signed cookie's path": lambda request: request.set_secure_cookie("a", "b", path=f"/{payload}"),
        "a signed cookie's domain": lambda request: request.set_secure_cookie(
            "a", "b", domain=f"a{payload}Injected: b"
        ),
        "a signed cookie's name": lambda request: request.set_secure_cookie(f"a{payload}", "b"),
        **{
            f"a cookie's {part} by {name}": by_cookie(send, **{part: f"a{payload}Injected: b"})
            for part in ("path", "domain", "samesite", "expires", "max-age", "comment", "version")
            for name, send in sends.items()
        },
        **{f"a cookie's name by {name}": by_cookie(send, name=f"a{payload}") for name, send in sends.items()},
    }


@pytest.mark.parametrize("how", injecting(""))
def test_nothing_that_a_program_passes_on_can_split_an_answer(how: str) -> None:
    """CWE-113. CR and LF above all, but no other control character goes out either (RFC 9110 §5.5)."""

    def handler(request: HTTPRequest) -> None:
        payload = CONTROLS[int(request.query)]
        with pytest.raises((ValueError, CookieError)):
            injecting(payload)[how](request)

    with site(handler, cookie_secret=SECRET) as web:
        for number in range(len(CONTROLS)):
            peer = web.connect()
            peer.send(get(line=b"GET /?%d HTTP/1.1" % number))
            assert b"njected" not in peer.received
            assert peer.received == b""
            peer.reset()
        assert len(web.requests) == len(CONTROLS)


def test_the_value_of_a_cookie_cannot_split_an_answer() -> None:
    """`http.cookies` escapes it, which is as good as an error."""
    for payload in CONTROLS:

        def handler(request: HTTPRequest, payload: str = payload) -> None:
            try:
                request.cookies_out["a"] = f"b{payload}Injected: c"
                request.send_response("a")
            except Exception:
                request.cookies_out.clear()
                request.send_response("a")

        [one] = answers(handler)
        assert one.headers["Injected"] is None
        assert one.content == b"a"
        assert not any(ord(character) < 32 for character in one.headers.get("Set-Cookie", ""))


@pytest.mark.parametrize(
    "error, code",
    [
        (TypeError, "200"),
        (TypeError, None),
        (TypeError, True),
        (TypeError, 200.0),
        (ValueError, 0),
        (ValueError, 99),
        (ValueError, 600),
        (ValueError, -200),
        (TypeError, "200 OK\r\nX: y"),
    ],
)
def test_a_bad_status_raises_at_the_call(error: type[Exception], code: Any) -> None:
    """RFC 9110 §15: 100 to 599."""

    def handler(request: HTTPRequest) -> None:
        for method, args in (("send_status", (code,)), ("send_response", ("", code))):
            with pytest.raises(error):
                getattr(request, method)(*args)
        request.send_response("good")

    assert answer(handler).content == b"good"


@pytest.mark.parametrize("error, data", [(TypeError, None), (TypeError, 1), (TypeError, ["a"]), (ValueError, "\ud800")])
def test_bad_content_raises_at_the_call(error: type[Exception], data: Any) -> None:
    """And changes nothing: the request can be answered still."""

    def handler(request: HTTPRequest) -> None:
        with pytest.raises(error):
            request.send(data)
        request.send_response("good")

    assert answer(handler).content == b"good"


@pytest.mark.parametrize("charset", ["x-none", "base64", "ascii"])
def test_a_charset_that_cannot_do_it_raises_at_the_call(charset: str) -> None:
    def handler(request: HTTPRequest) -> None:
        request.send_headers({"Content-Type": f"text/plain; charset={charset}"})
        with pytest.raises(ValueError, match=r"char|encode"):
            request.send("ä")
        request.send(b"good")
        request.finish()

    assert answer(handler).content == b"good"


def test_headers_that_raise_leave_those_before() -> None:
    def handler(request: HTTPRequest) -> None:
        request.send_headers({"X": "a", "Content-Length": 1}, end_headers=False)
        for bad in ({"Y": "a\n"}, {"Z": "a", "Content-Length": 1}, {"Z": "a", "Transfer-Encoding": "chunked"}):
            with pytest.raises(ValueError, match=r"cannot contain|twice|set by"):
                request.send_headers(bad)
        request.send("b")
        request.finish()

    one = answer(handler)
    assert (one.headers["X"], one.headers["Y"], one.headers["Z"], one.content) == ("a", None, None, b"b")


def test_a_cookie_that_raises_leaves_the_headers() -> None:
    """What has raised can be called again, once it is mended."""

    def handler(request: HTTPRequest) -> None:
        request.cookies_out["a"] = "b"
        request.cookies_out["a"]["path"] = "/\r\n"
        for _ in range(2):
            with pytest.raises(ValueError, match="path"):
                request.send_headers({"X": "y", "Content-Length": 1})
        request.cookies_out["a"]["path"] = "/"
        request.send_headers({"X": "y", "Content-Length": 1})
        request.send("c")
        request.finish()

    one = answer(handler)
    assert (one.headers.get_all("X"), one.headers["Set-Cookie"], one.content) == (["y"], "a=b; Path=/", b"c")


# --- A client that has gone -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ORDERS)
@pytest.mark.parametrize("how", ["reset", "closed by the program"])
def test_answering_a_client_that_has_gone_does_nothing(how: str, name: str) -> None:
    """DESIGN: `send` to a client that has gone is a no-op, and so are the others."""
    steps = ORDERS[name][0]
    with site(later) as web:
        peer = web.connect()
        peer.send(get())
        [request] = web.requests
        if how == "reset":
            peer.reset()
        else:
            request.connection.close()
        by(*steps)(request)
        assert request.finished
        web.engine.advance()
        assert peer.received == b""
        with pytest.raises(RuntimeError):
            request.send("a")
        assert request.connection.closed


@pytest.mark.parametrize("name", ORDERS)
def test_a_client_that_goes_in_the_middle(name: str) -> None:
    steps = ORDERS[name][0]
    for gone in range(len(steps) + 1):
        with site(later) as web:
            peer = web.connect()
            peer.send(get())
            [request] = web.requests
            by(*steps[:gone])(request)
            web.engine.advance()
            peer.reset()
            by(*steps[gone:])(request)
            web.engine.advance()
            assert request.finished


def test_bad_arguments_raise_though_the_client_has_gone() -> None:
    """A mistake is the program's, whoever is listening."""
    with site(later) as web:
        peer = web.connect()
        peer.send(get())
        peer.reset()
        [request] = web.requests
        with pytest.raises(ValueError, match="X"):
            request.send_headers({"X": "a\r\nb"})
        with pytest.raises(TypeError):
            request.send_response(1)  # type: ignore[arg-type]
        request.send_response("a")


def test_bytes_are_counted_that_are_passed_to_the_connection() -> None:
    with site(later) as web:
        peer = web.connect()
        peer.send(get())
        [request] = web.requests
        assert (request.code, request.sent_bytes) == (0, 0)
        request.send("äb")
        assert (request.code, request.sent_bytes) == (200, 3)
        web.engine.advance()
        peer.reset()
        request.send("lost")
        request.finish()
        assert request.sent_bytes == 3


def test_a_whole_answer_that_is_lost_is_not_counted() -> None:
    with site(later) as web:
        peer = web.connect()
        peer.send(get())
        peer.reset()
        web.requests[0].send_response("lost")
        assert web.requests[0].sent_bytes == 0


# --- What a request tells of its answer ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "steps, code, count",
    [
        ([("send_response", "abc", 404)], 404, 3),
        ([("send_response", "abc", 404, "text/plain", {"X": "y"})], 404, 3),
        ([("send_response", "abc", 204)], 204, 0),
        ([("send_status", 201), ("send", "äb"), ("send", "c"), ("finish",)], 201, 4),
        ([("send_headers", {"Content-Length": 70_000}), ("send", b"a" * 70_000), ("finish",)], 200, 70_000),
        ([("send", b"a" * 70_000), ("finish",)], 200, 70_000),
        ([("send_status", 304), ("send", "a"), ("finish",)], 304, 0),
        ([("send_status", 103), ("send_headers", {"X": "y"}), ("send_response", "a")], 200, 1),
        ([("finish",)], 0, 0),
    ],
)
def test_code_and_sent_bytes(steps: list[tuple[Any, ...]], code: int, count: int) -> None:
    """The content, without framing and head."""
    with site(by(*steps)) as web:
        peer = web.connect()
        peer.send(get())
        [request] = web.requests
        assert (request.code, request.sent_bytes, request.finished) == (code, count, True)


def test_the_time_of_a_request() -> None:
    """Seconds since it was received; those it took, once it is finished."""
    with site(later) as web:
        web.engine.advance(10)
        peer = web.connect()
        peer.send(get())
        [request] = web.requests
        assert request.time == 0
        web.engine.advance(2)
        assert request.time == 2
        request.send("a")
        web.engine.advance(1)
        request.finish()
        web.engine.advance(10)
        assert request.time == 3


@pytest.mark.parametrize("answered", [True, False])
def test_the_time_of_a_request_whose_client_has_gone(answered: bool) -> None:
    with site(later) as web:
        peer = web.connect()
        peer.send(get())
        [request] = web.requests
        web.engine.advance(2)
        peer.reset()
        web.engine.advance(1)
        if answered:
            request.send_response("lost")
        else:
            request.finish()
        taken = request.time
        assert 2 <= taken <= 3
        web.engine.advance(10)
        assert request.time == taken


# --- Exceptions in handlers ------------------------------------------------------------------------------------------


def test_an_exception_before_the_answer_gives_500(expect_log: Any) -> None:
    """DESIGN: a handler's exception: 500, or a close if the answer has begun."""
    expect_log("ZeroDivisionError")

    def handler(request: HTTPRequest) -> None:
        request.cookies_out["a"] = "b"
        1 / 0  # noqa: B018 - it raises

    with site(handler) as web:
        first, second = web.ask(get() + get())
        assert (first.status, second.status) == (500, 500)
        assert b"Zero" not in first.content
        assert web.server.counters.failures == 2


def test_an_exception_that_a_bad_cookie_gives_is_answered(expect_log: Any) -> None:
    """It must not be raised again by the answer that tells of it."""
    expect_log("path")

    def handler(request: HTTPRequest) -> None:
        request.cookies_out["a"] = "b"
        request.cookies_out["a"]["path"] = "/\r\nX: y"
        request.send_response("a")

    [one] = answers(handler)
    assert one.status == 500


@pytest.mark.parametrize(
    "steps",
    [
        [("send_status", 404)],
        [("send_headers", {"X": "y"}, False)],
        [("send_cookies",)],
        [("send_status", 103), ("send_headers", {"Link": "</a>"})],
        [("send", 1)],
        [("send_headers", {"X": "a\n"})],
    ],
)
def test_an_exception_before_anything_was_sent_gives_500(steps: list[tuple[Any, ...]], expect_log: Any) -> None:
    """Of the answer that had begun nothing has gone out, so the client can be told."""
    expect_log("handler failed")

    def handler(request: HTTPRequest) -> None:
        by(*steps)(request)
        raise ValueError

    final = answers(handler)[-1]
    assert final.status == 500
    assert final.headers["X"] is None


@pytest.mark.parametrize(
    "steps",
    [
        [("send_headers", {})],
        [("send", "abc")],
        [("send_headers", {"Content-Length": 3}), ("send", "ab")],
        [("send_headers", {"Content-Length": 3}), ("send", "abc")],
        [("send_status", 204), ("send_headers", {})],
    ],
)
def test_an_exception_in_the_middle_of_an_answer_closes_the_connection(steps: Any, expect_log: Any) -> None:
    """The client has to see that what it got is not all; nothing behind it is served."""
    expect_log("handler failed")

    def handler(request: HTTPRequest) -> None:
        by(*steps)(request)
        raise ValueError

    with site(handler) as web:
        peer = web.connect()
        peer.send(get() + get())
        assert peer.ended
        assert b"0\r\n\r\n" not in peer.received
        assert b"500" not in peer.received
        assert len(web.requests) == 1
        assert web.server.counters.failures == 1


@pytest.mark.parametrize("steps", [[("send_response", "a")], [("send", "a"), ("finish",)]])
def test_an_exception_after_the_answer_harms_nobody(steps: Any, expect_log: Any) -> None:
    expect_log("handler failed")

    def handler(request: HTTPRequest) -> None:
        by(*steps)(request)
        raise ValueError

    assert [one.content for one in answers(handler, get() + get())] == [b"a", b"a"]


def test_an_exception_with_a_client_that_has_gone(expect_log: Any) -> None:
    expect_log("handler failed")

    def handler(request: HTTPRequest) -> None:
        request.connection.close()
        raise ValueError

    data, ended = received(handler)
    assert (data, ended) == (b"", True)


def refuses(request: HTTPRequest) -> None:
    raise Refused(422, "not so")


def test_a_handler_can_refuse_a_request() -> None:
    """As `request.post` does it for a malformed form: no mistake of the program's, so nothing is logged."""
    with site(refuses) as web:
        [one] = web.ask(get())
        assert (one.status, b"not so" in one.content) == (422, True)
        assert web.server.counters.failures == 0
        [one] = web.ask(HEAD, "HEAD")
        assert (one.status, one.content) == (422, b"")


def test_a_handler_cannot_refuse_what_it_has_begun_to_answer(expect_log: Any) -> None:
    expect_log("Refused")

    def handler(request: HTTPRequest) -> None:
        request.send("a")
        raise Refused(422, "not so")

    data, ended = received(handler)
    assert ended
    assert b"422" not in data


# --- on_drain, on_close ---------------------------------------------------------------------------------------------


def test_on_drain_is_the_moment_to_send_more() -> None:
    """Called each time the client has taken all that was sent."""
    drained: list[int] = []

    def more() -> None:
        drained.append(len(drained))
        [request] = web.requests
        if len(drained) < 5:
            request.send(b"a" * 100_000)
        else:
            request.finish()

    def handler(request: HTTPRequest) -> None:
        request.on_drain = more
        request.send(b"a" * 100_000)

    with site(handler) as web:
        peer = web.connect()
        peer.window = 50_000
        peer.send(get())
        assert drained == []
        [request] = web.requests
        while not request.finished:
            assert request.connection.queued_bytes < 110_000
            peer.window = 50_000
        peer.window = None
        [one] = take_apart(peer.received)
        assert len(one.content) == 500_000
        assert len(drained) == 5


def test_on_drain_is_for_the_request_that_is_being_answered() -> None:
    drained: list[str] = []

    def handler(request: HTTPRequest) -> None:
        path = request.path
        request.on_drain = lambda: drained.append(path)
        if path == "/1":
            request.send_response("a")

    with site(handler) as web:
        peer = web.connect()
        peer.send(get(line=b"GET /1 HTTP/1.1"))
        assert drained == []  # it is finished
        peer.send(get(line=b"GET /2 HTTP/1.1"))
        web.requests[1].send("a")
        web.engine.advance()
        assert drained == ["/2"]


@pytest.mark.parametrize(
    "data, steps",
    [
        (HEAD, [("send_headers", {"Content-Length": 100})]),
        (HEAD, []),
        (get(), [("send_status", 204)]),
    ],
)
def test_on_drain_comes_where_nothing_is_sent_too(data: bytes, steps: list[tuple[Any, ...]]) -> None:
    """A program that sends the next piece there would never come to its end otherwise."""
    pieces: list[bytes] = []

    def more() -> None:
        [request] = web.requests
        if len(pieces) < 10:
            pieces.append(b"a" * 10)
            request.send(pieces[-1])
        else:
            request.finish()

    def handler(request: HTTPRequest) -> None:
        request.on_drain = more
        by(*steps)(request)
        more()

    with site(handler) as web:
        peer = web.connect()
        peer.send(data)
        web.engine.advance(1)
        assert web.requests[0].finished
        assert len(pieces) == 10
        assert peer.received.endswith(b"\r\n\r\n")
        assert not peer.ended


@pytest.mark.parametrize("how", ["finished", "reset", "not wanted"])
def test_on_drain_is_not_called_behind_the_end(how: str) -> None:
    drained: list[int] = []
    with site(later) as web:
        peer = web.connect()
        peer.send(HEAD)
        [request] = web.requests
        request.send_headers({})
        web.engine.advance()
        request.on_drain = lambda: drained.append(1)
        request.send("a")
        if how == "finished":
            request.finish()
        elif how == "reset":
            peer.reset()
        else:
            request.on_drain = None
        web.engine.advance(1)
        assert drained == []


def test_an_exception_in_on_drain_where_nothing_is_sent(expect_log: Any) -> None:
    expect_log("ZeroDivisionError")
    with site(later) as web:
        peer = web.connect()
        peer.send(HEAD)
        [request] = web.requests
        request.on_drain = lambda: 1 / 0
        request.send("a")
        web.engine.advance(1)
        assert peer.ended


def test_an_exception_in_on_drain_closes_the_connection(expect_log: Any) -> None:
    expect_log("ZeroDivisionError")
    with site(later) as web:
        peer, other = web.connect(), web.connect()
        peer.send(get())
        [request] = web.requests
        request.on_drain = lambda: 1 / 0
        request.send("a")
        web.engine.advance()
        assert peer.ended
        other.send(get())
        assert len(web.requests) == 2


def gone_in(web: Site, peer: Peer, phase: str) -> None:
    """Take a connection to some point of a request."""
    if phase == "body":
        peer.send(post(b"abc")[:-1])
        return
    peer.send(post(b"abc"))
    [request] = web.requests
    if phase == "head sent":
        request.send_headers({})
    elif phase == "answered in part":
        request.send("a")
    elif phase == "slow":
        peer.window = 10
        request.send(b"a" * 100_000)
    elif phase == "status only":
        request.send_status(404)
    web.engine.advance()


PHASES = ["body", "handled", "status only", "head sent", "answered in part", "slow"]


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("how", ["reset", "closed by the program", "cut by the program", "server closed"])
def test_on_close_tells_that_the_client_has_gone(how: str, phase: str) -> None:
    """Called when the connection closes before the request is finished: once, in each phase."""
    told: list[HTTPRequest] = []

    def head_handler(request: HTTPRequest) -> None:
        request.on_close = lambda: told.append(request)

    with site(later, head_handler=head_handler) as web:
        peer = web.connect()
        connection = the_connection(web)
        gone_in(web, peer, phase)
        request = connection.current_request
        assert request is not None
        assert told == []
        if how == "reset":
            peer.reset()
        elif how == "server closed":
            web.server.close()
        else:
            connection.close(flush=how == "closed by the program")
        if how != "reset":
            peer.window = None  # what was queued can be sent
        web.engine.advance()
        assert told == [request]
        assert not request.finished
        request.finish()
        web.engine.advance()
        assert told == [request]
        assert connection.current_request is None


def test_on_close_is_not_called_of_what_is_finished() -> None:
    told: list[int] = []

    def handler(request: HTTPRequest) -> None:
        request.on_close = lambda: told.append(1)
        request.send_response("a")

    with site(handler) as web:
        peer = web.connect()
        peer.send(get())
        peer.reset()
        peer = web.connect()
        peer.window = 10
        peer.send(get(b"Connection: close"))
        peer.reset()
        assert told == []


def test_on_close_is_not_called_at_half_a_close() -> None:
    """A client that sends no more may still wait for the answer."""
    told: list[int] = []

    def handler(request: HTTPRequest) -> None:
        request.on_close = lambda: told.append(1)

    with site(handler) as web:
        peer = web.connect()
        peer.send(get())
        peer.end()
        assert told == []
        web.requests[0].send_response("a")
        web.engine.advance()
        assert [one.content for one in take_apart(peer.received)] == [b"a"]
        assert told == []


def test_an_exception_in_on_close_is_contained(expect_log: Any) -> None:
    expect_log("ZeroDivisionError")
    with site(later) as web:
        peer, other = web.connect(), web.connect()
        peer.send(get())
        [request] = web.requests
        request.on_close = lambda: 1 / 0
        peer.reset()
        assert request.connection.closed
        other.send(get())
        assert len(web.requests) == 2


def test_on_close_may_answer() -> None:
    """In vain, but it does no harm."""

    def handler(request: HTTPRequest) -> None:
        request.on_close = lambda: request.send_response("too late")

    with site(handler) as web:
        peer = web.connect()
        peer.send(get())
        peer.reset()
        assert web.requests[0].finished


# --- HTTPConnection.finish ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [get() + get(), get(b"Connection: close")])
@pytest.mark.parametrize(
    "steps",
    [
        [("send", "abc")],
        [("send_headers", {"Content-Length": 3}), ("send", "abc")],
        [("send_status", 200), ("send", "abc")],
    ],
)
def test_the_connection_can_be_told_that_the_answer_is_complete(steps: list[tuple[Any, ...]], data: bytes) -> None:
    """ "This method should be called when the response to the current request has been completed"."""

    def handler(request: HTTPRequest) -> None:
        by(*steps)(request)
        request.connection.finish()
        assert request.finished
        request.finish()

    assert [one.content for one in answers(handler, data)] == [b"abc"] * data.count(b"GET")


def test_the_connection_without_a_request_has_nothing_to_finish() -> None:
    with site() as web:
        peer = web.connect()
        connection = the_connection(web)
        connection.finish()
        peer.send(get())
        connection.finish()
        assert not peer.ended
        assert connection.current_request is None


# --- Cookies --------------------------------------------------------------------------------------------------------

ANSWERS: dict[str, list[tuple[Any, ...]]] = {
    "send_response": [("send_response", "a")],
    "send_response with headers": [("send_response", "a", 200, "text/plain", {"X": "y"})],
    "send_response 204": [("send_response", "", 204)],
    "send_headers": [("send_headers", {}), ("send", "a"), ("finish",)],
    "send_headers in several calls": [("send_headers", {}, False), ("send_headers", {}), ("finish",)],
    "send_headers, left open": [("send_headers", {}, False), ("finish",)],
    "send_status": [("send_status", 404), ("finish",)],
    "send": [("send", "a"), ("finish",)],
    "send_cookies": [("send_cookies",), ("send", "a"), ("finish",)],
    "send_cookies at the end": [("send_headers", {}, False, False), ("send_cookies", None, True), ("finish",)],
    "send_cookies twice": [("send_cookies",), ("send_cookies",), ("finish",)],
    "send_cookies before send_headers": [("send_cookies",), ("send_headers", {}), ("finish",)],
    "send_cookies one by one": [("send_cookies", ["c"]), ("send_cookies", ["a"]), ("send_headers", {}), ("finish",)],
    "send_cookies, the others later": [("send_cookies", ["c"]), ("send_headers", {}), ("finish",)],
    "send_cookies before an interim answer": [
        ("send_status", 103),
        ("send_cookies",),
        ("send_headers", {}),
        ("send_response", "a"),
    ],
    "a file": [("send_file", __file__)],
    "a file that is not there": [("send_file", "/no/such/file")],
}


@pytest.mark.parametrize("name", ANSWERS)
def test_each_way_of_answering_sends_the_cookies_once(name: str) -> None:
    """ "cookies that should be sent with the response"."""

    def handler(request: HTTPRequest) -> None:
        request.cookies_out["a"] = "b"
        request.cookies_out["c"] = "d"
        request.cookies_out["c"]["path"] = "/"
        by(*ANSWERS[name])(request)

    final = answers(handler)[-1]
    assert sorted(final.headers.get_all("Set-Cookie") or []) == ["a=b", "c=d; Path=/"]


def test_cookies_are_not_for_the_next_request() -> None:
    def handler(request: HTTPRequest) -> None:
        if request.path == "/1":
            request.cookies_out["a"] = "b"
        assert len(request.cookies_out) == (request.path == "/1")
        request.send_response("a")

    first, second = answers(handler, get(line=b"GET /1 HTTP/1.1") + get())
    assert first.headers["Set-Cookie"] == "a=b"
    assert second.headers["Set-Cookie"] is None


def test_only_the_cookies_with_the_specified_keys() -> None:
    """ "If any keys are specified, only the cookies with the specified keys will be transmitted"."""

    def handler(request: HTTPRequest) -> None:
        for name in "abc":
            request.cookies_out[name] = "x"
        request.send_cookies(["c", "a"])
        request.send_headers({}, cookies=False)
        request.finish()

    assert answer(handler).headers.get_all("Set-Cookie") == ["c=x", "a=x"]


def test_a_cookie_that_is_not_there_raises() -> None:
    def handler(request: HTTPRequest) -> None:
        with pytest.raises(KeyError):
            request.send_cookies(["a"])
        with pytest.raises(TypeError):
            request.send_cookies("a")
        request.send_response("good")

    assert answer(handler).content == b"good"


def test_headers_without_cookies() -> None:
    """ "cookies: If this is set to True, HTTP cookies will be sent along with the headers"."""

    def handler(request: HTTPRequest) -> None:
        request.cookies_out["a"] = "b"
        request.send_headers({}, cookies=False)
        request.send("c")
        request.finish()

    assert answer(handler).headers["Set-Cookie"] is None


def test_end_headers_of_send_cookies() -> None:
    """ "a double CRLF sequence will be written at the end of the cookie headers"."""
    with site(later) as web:
        peer = web.connect()
        peer.send(get())
        [request] = web.requests
        request.cookies_out["a"] = "b"
        request.send_cookies()
        web.engine.advance()
        assert peer.received == b""
        request.send_cookies(end_headers=True)
        web.engine.advance()
        assert b"\r\nSet-Cookie: a=b\r\n" in peer.received
        assert peer.received.endswith(b"\r\n\r\n")


def test_cookies_out_is_a_simple_cookie() -> None:
    """ "An instance of Cookie.SimpleCookie to populate"; another can take its place."""

    def handler(request: HTTPRequest) -> None:
        assert type(request.cookies_out) is SimpleCookie
        assert request.cookies_out is request.cookies_out
        with pytest.raises(TypeError, match="SimpleCookie"):
            request.cookies_out = {"a": "b"}  # type: ignore[assignment]
        request.cookies_out = SimpleCookie({"a": "b"})
        request.send_response("a")

    assert answer(handler).headers["Set-Cookie"] == "a=b"


# --- Secure cookies -------------------------------------------------------------------------------------------------


def cookie_of(one: Answer) -> bytes:
    """The cookies of an answer, as a client sends them back."""
    pairs = [value.partition(";")[0] for value in one.headers.get_all("Set-Cookie", [])]
    return b"Cookie: " + "; ".join(pairs).encode("latin-1")


def setting(*args: Any, **kwargs: Any) -> Handler:
    def handler(request: HTTPRequest) -> None:
        request.set_secure_cookie(*args, **kwargs)
        request.send_response("set")

    return handler


def set_cookie(*args: Any, cookie_secret: Any = SECRET, **kwargs: Any) -> Answer:
    return answer(setting(*args, **kwargs), cookie_secret=cookie_secret)


def get_cookie(name: str, field: bytes, cookie_secret: Any = SECRET) -> Any:
    found: list[Any] = []

    def handler(request: HTTPRequest) -> None:
        found.append(request.get_secure_cookie(name))
        request.send_response("got")

    answer(handler, get(field), cookie_secret=cookie_secret)
    return found[0]


@pytest.mark.parametrize(
    "value",
    ["text", "", "ä☃\n;\0", b"bytes", b"", b"\0\xff", {"a": [1, None, 2.5, "ä"]}, [], [1, {"b": True}], {}],
)
def test_a_secure_cookie_comes_back_as_it_was(value: Any) -> None:
    """ "Cookies set with this function may be read with get_secure_cookie()"."""
    assert get_cookie("a", cookie_of(set_cookie("a", value))) == value


def test_a_tuple_comes_back_as_a_list() -> None:
    """ "a dictionary, list, or tuple ... will be serialized into JSON", which knows no tuples."""
    assert get_cookie("a", cookie_of(set_cookie("a", (1, (2,))))) == [1, [2]]


def test_a_secure_cookie_is_there_only_with_a_valid_signature() -> None:
    """ "if it exists and has a valid signature. Otherwise, return None"."""
    field = cookie_of(set_cookie("a", "value"))
    assert get_cookie("b", field) is None
    assert get_cookie("a", b"X: y") is None
    assert get_cookie("a", b"Cookie: a=value") is None
    assert get_cookie("b", field.replace(b" a=", b" b=")) is None
    assert get_cookie("a", field, "another secret") is None
    for at in range(len(b"Cookie: a="), len(field)):
        forged = field[:at] + (b"A" if field[at : at + 1] != b"A" else b"B") + field[at + 1 :]
        assert get_cookie("a", forged) is None


def test_a_secret_can_be_replaced() -> None:
    """Of several secrets the first signs and all verify."""
    old = cookie_of(set_cookie("a", "old", cookie_secret=SECRET))
    assert get_cookie("a", old, ["new", SECRET]) == "old"
    new = cookie_of(set_cookie("a", "new", cookie_secret=["new", SECRET]))
    assert get_cookie("a", new, ["new", SECRET]) == "new"
    assert get_cookie("a", new, b"new") == "new"
    assert get_cookie("a", new, SECRET) is None
    assert get_cookie("a", old, "new") is None


def test_a_secure_cookie_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """ "How long, in seconds, the cookie should last ... The default value is equivalent to 30 days"."""
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now)
    short, default = cookie_of(set_cookie("a", "b", 10)), cookie_of(set_cookie("a", "b"))
    now += 9
    assert get_cookie("a", short) == "b"
    now += 2
    assert get_cookie("a", short) is None
    now += 2592000 - 13
    assert get_cookie("a", default) == "b"
    now += 3
    assert get_cookie("a", default) is None


def test_the_attributes_of_a_secure_cookie() -> None:
    """The client forgets it when it ends; scripts do not see it, unless they are to."""
    _, *attributes = set_cookie("a", "b").headers["Set-Cookie"].split("; ")
    by_name = dict(part.partition("=")[::2] for part in attributes)
    assert by_name.pop("Max-Age") == "2592000"
    expires = email.utils.parsedate_to_datetime(by_name.pop("Expires")).timestamp()
    assert abs(expires - time.time() - 2592000) < 60
    assert by_name == {"Path": "/", "HttpOnly": ""}


def test_the_attributes_can_be_given() -> None:
    kwargs = {"path": "/b", "domain": "a.example", "secure": True, "httponly": False, "samesite": "Lax"}
    _, *attributes = set_cookie("a", "b", expires=60, **kwargs).headers["Set-Cookie"].split("; ")
    by_name = dict(part.partition("=")[::2] for part in attributes)
    assert by_name.pop("Expires")
    assert by_name == {"Path": "/b", "Domain": "a.example", "Secure": "", "SameSite": "Lax", "Max-Age": "60"}
    assert "Path" not in set_cookie("a", "b", path=None).headers["Set-Cookie"]


def test_an_attribute_may_have_an_underscore() -> None:
    """Keyword arguments cannot have a hyphen."""
    assert "; Max-Age=5" in set_cookie("a", "b", max_age=5).headers["Set-Cookie"]


@pytest.mark.parametrize("expires", [0, -1, -1000])
def test_a_secure_cookie_can_be_removed(expires: int) -> None:
    """RFC 6265 §3.1: by an expiry in the past."""
    cookie = set_cookie("a", "", expires).headers["Set-Cookie"]
    parts = dict(part.partition("=")[::2] for part in cookie.split("; "))
    assert int(parts["Max-Age"]) <= 0
    assert email.utils.parsedate_to_datetime(parts["Expires"]).timestamp() <= time.time() + 1


@pytest.mark.parametrize(
    "error, args, kwargs",
    [
        (TypeError, ("a", 1), {}),
        (TypeError, ("a", None), {}),
        (TypeError, ("a", {1, 2}), {}),
        (TypeError, ("a", [object()]), {}),
        (TypeError, ("a", "b", "10"), {}),
        (TypeError, ("a", "b", True), {}),
        (TypeError, (1, "b"), {}),
        (TypeError, ("a", "b"), {"no_such_attribute": 1}),
        (TypeError, ("a", "b"), {"path": 1.5}),
        (ValueError, ("a b", "c"), {}),
        (ValueError, ("", "c"), {}),
        (ValueError, ("ä", "c"), {}),
        (ValueError, ("path", "c"), {}),  # which Morsel keeps for itself
        (ValueError, ("a", "b"), {"path": "/;x"}),
        (ValueError, ("a", "b", float("nan")), {}),
        (ValueError, ("a", "b", float("inf")), {}),
        (ValueError, ("a", "b", 10**15), {}),
    ],
)
def test_a_bad_secure_cookie_raises_at_the_call(error: type[Exception], args: Any, kwargs: Any) -> None:
    """ "All other types will result in a TypeError". Nothing is left of it."""

    def handler(request: HTTPRequest) -> None:
        with pytest.raises(error):
            request.set_secure_cookie(*args, **kwargs)
        assert not request.cookies_out
        request.send_response("good")

    one = answer(handler, cookie_secret=SECRET)
    assert (one.content, one.headers["Set-Cookie"]) == (b"good", None)


def test_secure_cookies_need_a_secret() -> None:
    """ "To use this, the HTTPServer must have a cookie_secret set"."""

    def handler(request: HTTPRequest) -> None:
        with pytest.raises(RuntimeError, match=r"set_secure_cookie.*cookie_secret"):
            request.set_secure_cookie("a", "b")
        with pytest.raises(RuntimeError, match=r"get_secure_cookie.*cookie_secret"):
            request.get_secure_cookie("a")
        request.send_response("good")

    assert answer(handler).content == b"good"


# --- Behind other things --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunk", [None, 1])
@pytest.mark.parametrize("name", ORDERS)
def test_answers_of_each_kind_are_pipelined(name: str, chunk: int | None) -> None:
    """RFC 9112 §9.3.2: in order, each framed by itself."""
    steps, _, content = ORDERS[name]
    data = get() + post(b"abc") + post(b"3\r\nabc\r\n0\r\n\r\n", CHUNKED) + get()
    with site(by(*steps)) as web:
        assert [one.content for one in web.ask(data, chunk=chunk)] == [content] * 4


def test_a_slow_client_gets_all_of_an_answer_in_pieces() -> None:
    def handler(request: HTTPRequest) -> None:
        for _ in range(10):
            request.send(b"a" * 100_000)
        request.finish()

    with site(handler, limits=Limits(write_timeout=1000)) as web:
        peer = web.connect()
        peer.window = 1000
        peer.send(get() + get(line=b"GET /2 HTTP/1.1"))
        assert len(web.requests) == 1  # who does not take one answer gets no other
        peer.window = None
        web.engine.advance()
        assert [len(one.content) for one in take_apart(peer.received)] == [1_000_000] * 2


# --- Real sockets ---------------------------------------------------------------------------------------------------


def ask(server: HTTPServer, data: bytes) -> bytes:
    """Ask a server over TCP, and return what it sends until it closes."""
    pieces: list[bytes] = []
    with socket.create_connection(server.local_address) as client:
        client.sendall(data)
        client.setblocking(False)

        def ended() -> bool:
            try:
                pieces.append(client.recv(65536))
            except BlockingIOError:
                return False
            return not pieces[-1]

        run_until(ended)
    return b"".join(pieces)


def test_answers_over_tcp() -> None:
    def handler(request: HTTPRequest) -> None:
        if request.path == "/chunks":
            request.send_status(103)
            request.send_headers({"Link": "</a>"})
            request.cookies_out["a"] = "b"
            for _ in range(20):
                request.send(b"c" * 50_000)
            request.finish()
        else:
            manual_example(request)

    server = HTTPServer(handler).listen(("127.0.0.1", 0))
    hints, chunks, whole = take_apart(
        ask(server, get(line=b"GET /chunks HTTP/1.1") + get(b"Connection: close", line=b"GET /whole HTTP/1.1"))
    )
    assert (hints.status, hints.headers["Link"]) == (103, "</a>")
    assert (chunks.content, chunks.headers["Set-Cookie"]) == (b"c" * 1_000_000, "a=b")
    assert whole.content == b"Hello, World!"
    server.close()


def test_on_drain_and_on_close_over_tcp() -> None:
    """A client that takes much, and goes away in the middle."""
    events: list[str] = []
    sent = 0

    def handler(request: HTTPRequest) -> None:
        def more() -> None:
            nonlocal sent
            events.append("drain")
            sent += 1
            request.send(b"a" * 100_000)

        request.on_drain = more
        request.on_close = lambda: events.append("close")
        more()

    server = HTTPServer(handler).listen(("127.0.0.1", 0))
    client = socket.create_connection(server.local_address)
    client.sendall(get())
    client.setblocking(False)

    def has_much() -> bool:
        try:
            client.recv(1_000_000)
        except BlockingIOError:
            pass
        return sent > 30

    run_until(has_much)
    client.close()
    run_until(lambda: "close" in events)
    assert events.count("close") == 1
    server.close()


def test_a_broken_answer_over_tcp(expect_log: Any) -> None:
    """RFC 9112 §8: the client can tell that it is not all."""
    expect_log("less than its Content-Length")
    server = HTTPServer(by(("send_headers", {"Content-Length": 100}), ("send", "abc"), ("finish",)))
    server.listen(("127.0.0.1", 0))
    try:
        data = ask(server, get() + get())
    except ConnectionResetError:
        data = b""
    assert len(data.partition(b"\r\n\r\n")[2]) < 100
    server.close()


def test_an_engine_that_stops_leaves_nothing() -> None:
    """A request that is not answered when the engine closes is told."""
    told: list[int] = []

    def handler(request: HTTPRequest) -> None:
        request.on_close = lambda: told.append(1)

    with MemoryEngine() as engine:
        web = Site(engine, handler)
        web.connect().send(get())
    assert told == [1]
