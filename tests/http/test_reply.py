"""`pants.http._reply` and `pants.http._target`: heads of responses (RFC 9112 §4, §6.3), and URLs (RFC 9110 §4.2)."""

from __future__ import annotations

import base64
import importlib.util
import re
import sys
import time
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import unquote

import h11
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from pants.http import ClientLimits
from pants.http._reply import BadReply, Reply, ReplyParser, ReplyReader, ReplyTooLarge
from pants.http._target import Target, parse_target, without_credentials

OK = b"HTTP/1.1 200 OK"


def reply_of(*fields: bytes, line: bytes = OK) -> Reply:
    return Reply(b"\r\n".join([line, *fields, b"", b""]))


# --- The status line (RFC 9112 §4) --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line, status, reason, protocol",
    [
        (b"HTTP/1.1 200 OK", 200, "OK", "HTTP/1.1"),
        (b"HTTP/1.0 404 Not Found", 404, "Not Found", "HTTP/1.0"),
        (b"HTTP/1.1 200 ", 200, "", "HTTP/1.1"),
        (b"HTTP/1.1 299 a\tb  c", 299, "a\tb  c", "HTTP/1.1"),
        (b"HTTP/1.1 500 \xe4\xff", 500, "\xe4\xff", "HTTP/1.1"),
        (b"HTTP/1.1 100 Continue", 100, "Continue", "HTTP/1.1"),
        (b"HTTP/1.1 101 Switching Protocols", 101, "Switching Protocols", "HTTP/1.1"),
        (b"HTTP/1.1 799 Odd", 799, "Odd", "HTTP/1.1"),
    ],
)
def test_status_lines(line: bytes, status: int, reason: str, protocol: str) -> None:
    reply = reply_of(line=line)
    assert (reply.status, reply.reason, reply.protocol) == (status, reason, protocol)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"HTTP/1.1",
        b"HTTP/1.1 ",
        b"HTTP/1.1 20 OK",
        b"HTTP/1.1 2000 OK",
        b"HTTP/1.1 099 OK",
        b"HTTP/1.1 000 OK",
        b"HTTP/1.1 two OK",
        b"HTTP/1.1 -20 OK",
        b"HTTP/1.1 +20 OK",
        b"HTTP/1.1 2\xb20 OK",
        b"HTTP/1.1 200OK",
        b"HTTP/1.1\t200 OK",
        b"HTTP/1.1  200 OK",
        b" HTTP/1.1 200 OK",
        b"http/1.1 200 OK",
        b"HTTP/1.2 200 OK",
        b"HTTP/2.0 200 OK",
        b"HTTP/0.9 200 OK",
        b"HTTP/1 200 OK",
        b"HTTP/01.1 200 OK",
        b"RTSP/1.0 200 OK",
        b"ICE/1.0 200 OK",
        b"ICY 200 OK",
        b"GET / HTTP/1.1",
        b"SSH-2.0-OpenSSH_9.2",
        b"\r\nHTTP/1.1 200 OK",
        b"HTTP/1.1 200 a\rb",
        b"HTTP/1.1 200 a\nb",
    ],
)
def test_status_lines_that_are_none(line: bytes) -> None:
    with pytest.raises(BadReply):
        reply_of(line=line)


# RFC 9112 §4: reason-phrase = 1*( HTAB / SP / VCHAR / obs-text )
@pytest.mark.parametrize("character", [0x00, 0x01, 0x08, 0x0B, 0x0C, 0x1B, 0x7F])
def test_control_characters_in_the_reason(character: int) -> None:
    with pytest.raises(BadReply):
        reply_of(line=b"HTTP/1.1 200 a%cb" % character)


# --- The fields (RFC 9112 §5) -------------------------------------------------------------------------------------


def test_fields_come_as_they_were_sent() -> None:
    reply = reply_of(b"Server: a", b"X:\t b c \t", b"Empty:", b"x: \xff", b"Set-Cookie: a=b", b"Set-Cookie: c=d, e")
    assert reply.fields == [
        (b"server", b"a"),
        (b"x", b"b c"),
        (b"empty", b""),
        (b"x", b"\xff"),
        (b"set-cookie", b"a=b"),
        (b"set-cookie", b"c=d, e"),
    ]
    headers = reply.headers()
    assert headers["SERVER"] == "a"
    assert headers.get_list("set-cookie") == ["a=b", "c=d, e"]
    assert headers.get_list("X") == ["b c", "\xff"]
    headers["Server"] = "changed"
    assert reply.headers()["Server"] == "a"


@pytest.mark.parametrize(
    "field",
    [
        b"spam",
        b": spam",
        b" a: b",
        b"\ta: b",
        b"a : b",
        b"a\t: b",
        b"a b: c",
        b"a(: b",
        b"\xe4: b",
        b"a\0: b",
        b"a: b\0",
        b"a: b\x01c",
        b"a: b\x7f",
        b"a: b\rc",
        b"a: b\nc: d",
        b"a: b\r",
        b"a: b\r\n c",  # RFC 9112 §5.2: obs-fold
        b"a: b\r\n\tc",
        b"a:\r\n b",
    ],
)
def test_fields_that_are_none(field: bytes) -> None:
    with pytest.raises(BadReply):
        reply_of(b"Content-Length: 0", field)
    with pytest.raises(BadReply):
        reply_of(field, b"Content-Length: 0")


# --- How the content is framed (RFC 9112 §6.3) -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields, length, chunked",
    [
        ([], None, False),
        ([b"Content-Length: 0"], 0, False),
        ([b"Content-Length: 5"], 5, False),
        ([b"content-length:\t5 "], 5, False),
        ([b"Content-Length: 005"], 5, False),
        ([b"Content-Length: 999999999999999999"], 999999999999999999, False),
        ([b"Transfer-Encoding: chunked"], None, True),
        ([b"transfer-encoding:CHUNKED "], None, True),
    ],
)
def test_framing(fields: list[bytes], length: int | None, chunked: bool) -> None:
    reply = reply_of(*fields)
    assert (reply.length, reply.chunked, reply.flaw) == (length, chunked, "")


@pytest.mark.parametrize(
    "fields",
    [
        [b"Content-Length:"],
        [b"Content-Length: five"],
        [b"Content-Length: -5"],
        [b"Content-Length: +5"],
        [b"Content-Length: 0x5"],
        [b"Content-Length: 5.0"],
        [b"Content-Length: 5 5"],
        [b"Content-Length: 5, 6"],
        [b"Content-Length: 5;"],
        [b"Content-Length: 5_0"],
        [b"Content-Length: \xb25"],
        [b"Content-Length:\x0b5"],
        [b"Content-Length: " + b"9" * 30],
        [b"Content-Length: 5", b"Content-Length: 6"],
        [b"Content-Length: 5", b"Transfer-Encoding: chunked"],
        [b"Transfer-Encoding: chunked", b"Content-Length: 5"],
        [b"Transfer-Encoding:"],
        [b"Transfer-Encoding: identity"],
        [b"Transfer-Encoding: gzip"],
        [b"Transfer-Encoding: gzip, chunked"],  # which nobody has asked for, by TE
        [b"Transfer-Encoding: chunked, gzip"],
        [b"Transfer-Encoding: chunked, chunked"],
        [b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"],
        [b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity"],
        [b"Transfer-Encoding: chunked;a=b"],
        [b"Transfer-Encoding: xchunked"],
        [b"Transfer-Encoding: chunkedx"],
        [b"Transfer-Encoding: \x0bchunked"],
        [b'Transfer-Encoding: "chunked"'],
    ],
)
def test_framing_that_is_ambiguous_or_malformed(fields: list[bytes]) -> None:
    try:
        reply = reply_of(*fields)
    except BadReply:
        return
    assert reply.flaw


def test_chunks_are_not_of_the_older_protocol() -> None:
    """RFC 9112 §6.1."""
    assert reply_of(b"Transfer-Encoding: chunked", line=b"HTTP/1.0 200 OK").flaw


def test_a_flaw_is_told_apart_from_a_malformed_head() -> None:
    """Where there is no content, as in the answer to CONNECT, the fields are to be ignored (RFC 9110 §9.3.6)."""
    reply = reply_of(b"Transfer-Encoding: gzip, chunked")
    assert (reply.status, "gzip" in reply.flaw) == (200, True)


# --- Whether the connection stays open (RFC 9112 §9.3) --------------------------------------------------------------


@pytest.mark.parametrize(
    "line, connections, keep_alive",
    [
        (b"HTTP/1.1 200 OK", [], True),
        (b"HTTP/1.1 200 OK", [b"keep-alive"], True),
        (b"HTTP/1.1 200 OK", [b"close"], False),
        (b"HTTP/1.1 200 OK", [b"Close"], False),
        (b"HTTP/1.1 200 OK", [b"x, close"], False),
        (b"HTTP/1.1 200 OK", [b"x ,\tCLOSE ,"], False),
        (b"HTTP/1.1 200 OK", [b"keep-alive", b"close"], False),
        (b"HTTP/1.1 200 OK", [b"close", b"keep-alive"], False),
        (b"HTTP/1.1 200 OK", [b"closed"], True),
        (b"HTTP/1.1 200 OK", [b""], True),
        (b"HTTP/1.0 200 OK", [], False),
        (b"HTTP/1.0 200 OK", [b"keep-alive"], True),
        (b"HTTP/1.0 200 OK", [b"Keep-Alive, x"], True),
        (b"HTTP/1.0 200 OK", [b"keep-alive, close"], False),
        (b"HTTP/1.0 200 OK", [b"x"], False),
    ],
)
def test_keep_alive(line: bytes, connections: list[bytes], keep_alive: bool) -> None:
    assert reply_of(*(b"Connection: " + value for value in connections), line=line).keep_alive is keep_alive


# --- What is to be heeded ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 204, 206, 300, 304, 305, 306, 404, 407, 500, 503])
def test_ordinary_replies(status: int) -> None:
    assert reply_of(b"Content-Length: 0", line=b"HTTP/1.1 %d " % status).ordinary


@pytest.mark.parametrize("status", [100, 103, 301, 302, 303, 307, 308, 401])
def test_replies_to_be_heeded(status: int) -> None:
    assert not reply_of(b"Content-Length: 0", line=b"HTTP/1.1 %d " % status).ordinary


@pytest.mark.parametrize("field", [b"Set-Cookie: a=b", b"content-ENCODING: gzip", b"Authentication-Info: a"])
def test_fields_to_be_heeded(field: bytes) -> None:
    assert not reply_of(field).ordinary


# --- Finding the end ---------------------------------------------------------------------------------------------

HEAD = OK + b"\r\nContent-Length: 5\r\nX: y\r\n\r\n"


def parser_of(**limits: int) -> ReplyParser:
    return ReplyParser(ClientLimits(**limits))


def reader_of(interim: int = 20, **limits: int) -> ReplyReader:
    return ReplyReader(parser_of(**limits), interim)


@pytest.mark.parametrize("rest", [b"", b"spam!", b"\r\n\r\n", HEAD])
def test_the_end_is_found_however_it_arrives(rest: bytes) -> None:
    reader = reader_of()
    for cut in range(1, len(HEAD)):
        assert not reader.begun
        assert reader.feed(HEAD[:cut]) is None
        assert reader.begun
        reply = reader.feed(HEAD[cut:] + rest)
        assert reply is not None
        assert (reply.status, reply.length, reader.rest) == (200, 5, rest)
        reader.reset()
    for byte in HEAD[:-1]:
        assert reader.feed(bytes([byte])) is None
    assert reader.feed(HEAD[-1:]) is not None
    assert reader.rest == b""


def test_interim_responses() -> None:
    """RFC 9110 §15.2."""
    interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    for size in (1, 7, 1000):
        reader = reader_of()
        data = interim + HEAD
        for at in range(0, len(data), size):
            reply = reader.feed(data[at : at + size])
            assert (reply is None) == (at + size < len(data))
        assert reply is not None
        assert (reply.status, reader.interim, reader.rest) == (200, 2, b"")


def test_a_change_of_protocol_is_no_interim_response() -> None:
    reader = reader_of()
    reply = reader.feed(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: a\r\nConnection: upgrade\r\n\r\n\x81\x00")
    assert reply is not None
    assert (reply.status, reader.rest) == (101, b"\x81\x00")


@pytest.mark.parametrize("size", [1, 10, 10_000])
def test_too_many_interim_responses(size: int) -> None:
    data = b"HTTP/1.1 100 Continue\r\n\r\n" * 4
    assert reader_of(interim=4).feed(data) is None
    reader = reader_of(interim=3)

    def feed() -> None:
        for at in range(0, len(data), size):
            reader.feed(data[at : at + size])

    with pytest.raises(ReplyTooLarge, match="interim") as caught:
        feed()
    assert caught.value.reply is not None
    assert caught.value.reply.status == 100


def test_a_head_at_the_limit() -> None:
    assert reader_of(headers=len(HEAD)).feed(HEAD + b"spam") is not None
    with pytest.raises(ReplyTooLarge):
        reader_of(headers=len(HEAD) - 1).feed(HEAD + b"spam")
    reader = reader_of(headers=len(HEAD) - 1)
    assert reader.feed(HEAD[:-1]) is None
    with pytest.raises(ReplyTooLarge):
        reader.feed(HEAD[-1:])


def test_a_head_without_an_end_is_refused_at_the_limit() -> None:
    reader = reader_of(headers=1000)
    assert reader.feed(OK + b"\r\nX: ") is None
    for _ in range(1000 - len(OK) - 5):
        assert reader.feed(b"y") is None
    with pytest.raises(ReplyTooLarge):
        reader.feed(b"y")


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\n", b"\n"])
def test_lines_that_do_not_end_with_crlf(end: bytes) -> None:
    """They are refused rather than waited for: the end would never come."""
    with pytest.raises(BadReply):
        reader_of().feed(OK + b"\nX: y\n" + end)
    reader = reader_of()
    data = OK + b"\nX: y\n" + end
    assert reader.feed(data[:-1] if end != b"\n\n" else data[:-2]) is None
    with pytest.raises(BadReply):
        reader.feed(data[-1:] if end != b"\n\n" else data[-2:])
    with pytest.raises(BadReply):
        parser_of().parse(OK + b"\nX: y\r\n\r\n")


def test_a_byte_at_a_time_costs_linear_time() -> None:
    reader = reader_of(headers=1 << 20)
    reader.feed(OK + b"\r\nX: ")
    began = time.thread_time()
    for _ in range(200_000):
        assert reader.feed(b"\r") is None
    # Were all of it looked at each time, that would be 20 GB.
    assert time.thread_time() - began < 3


def test_too_many_fields() -> None:
    assert len(parser_of(header_count=2).parse(HEAD).fields) == 2
    with pytest.raises(ReplyTooLarge, match="too many"):
        parser_of(header_count=1).parse(HEAD)


def test_a_field_that_is_too_long() -> None:
    head = OK + b"\r\nX: " + b"y" * 97 + b"\r\nZ: z\r\n\r\n"
    assert parser_of(header=100).parse(head).fields[1] == (b"z", b"z")
    with pytest.raises(ReplyTooLarge, match="long"):
        parser_of(header=90).parse(head)
    # Together they may be longer.
    assert parser_of(header=100).parse(OK + b"\r\nX: y" * 80 + b"\r\n\r\n").fields == [(b"x", b"y")] * 80


def test_heads_that_come_again_mean_the_same() -> None:
    """And others, which look alike, do not."""
    parser = parser_of()
    for round_ in range(3):
        for number in range(200):
            head = OK + b"\r\nContent-Length: %d\r\n\r\n" % number
            assert parser.parse(head).length == number, round_
            assert parser.parse(bytes(head)).length == number
    for _ in range(2):
        with pytest.raises(BadReply):
            parser.parse(OK + b"\r\nContent-Length: x\r\n\r\n")
    long = OK + b"\r\nX: " + b"y" * 5000 + b"\r\n\r\n"
    assert parser.parse(long).fields == parser.parse(long).fields


# --- h11 as an oracle --------------------------------------------------------------------------------------------

# Behind each head comes what is content in chunks, and by a length, and to the end.
CONTENT: Final = b"5\r\nspam!\r\n0\r\n\r\n"


class Seen(NamedTuple):
    """A response as a parser understood it. Its content is None where there is less of it than there should be."""

    status: int
    reason: bytes
    version: bytes
    fields: list[tuple[bytes, bytes]]
    content: bytes | None
    keeps: bool


def seen_by_h11(head: bytes) -> Seen | str:
    """What h11 understands, or what it has against it."""
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=1_000_000)
    connection.send(h11.Request(method="GET", target="/", headers=[("Host", "a")]))
    connection.send(h11.EndOfMessage())
    try:
        connection.receive_data(head + CONTENT)
        connection.receive_data(b"")
        event = connection.next_event()
        if isinstance(event, h11.InformationalResponse):
            return Seen(event.status_code, event.reason, event.http_version, list(event.headers), b"", True)
        if not isinstance(event, h11.Response):
            return f"no response, but {event!r}"
    except h11.RemoteProtocolError as error:
        return str(error)
    content: bytes | None = b""
    try:
        while isinstance(more := connection.next_event(), h11.Data):
            assert content is not None
            content += more.data
        keeps = connection.their_state is h11.DONE
    except h11.RemoteProtocolError:
        content, keeps = None, False
    return Seen(event.status_code, event.reason, event.http_version, list(event.headers), content, keeps)


def seen_here(head: bytes) -> Seen | str:
    if head.find(b"\r\n\r\n") + 4 != len(head):
        return "another end"
    try:
        reply = parser_of().parse(head)
    except BadReply as error:
        return str(error)
    if reply.status >= 200 and reply.status not in (204, 304) and reply.flaw:
        return reply.flaw
    content: bytes | None = CONTENT
    if reply.status < 200 or reply.status in (204, 304):
        content = b""
    elif reply.chunked:
        content = b"spam!"
    elif reply.length is not None:
        content = CONTENT[: reply.length] if reply.length <= len(CONTENT) else None
    return Seen(
        reply.status,
        reply.reason.encode("latin-1"),
        reply.protocol.removeprefix("HTTP/").encode(),
        reply.fields,
        content,
        reply.keep_alive and content is not None,  # h11 says this of what goes on to the end too
    )


class Difference(NamedTuple):
    """Something that is taken here and not by h11: why, what h11 says, and what has to be in the head."""

    reason: str
    error: str
    head: bytes


DIFFERENCES: Final = [
    Difference(
        "RFC 9110 §9.3.6, §8.6, §15.4.5: what frames no content does not matter there",
        "Content-Length|Transfer-Encoding|Transfer-encoding",
        rb"\AHTTP/1\.[01] (1..|204|304)",
    ),
]


def normal(seen: Seen) -> Seen:
    # h11 writes the names of transfer codings, which are case-insensitive (RFC 9112 §7), in lower case; equal lengths
    # are one to it; and between fields of different names there is no order (RFC 9110 §5.3).
    fields = [(name, value.lower() if name == b"transfer-encoding" else value) for name, value in seen.fields]
    # h11 closes each connection of HTTP/1.0, as it may.
    keeps = seen.keeps and seen.version == b"1.1"
    return seen._replace(fields=sorted(fields, key=lambda field: field[0]), keeps=keeps)


def compare(head: bytes) -> None:
    theirs, ours = seen_by_h11(head), seen_here(head)
    if isinstance(ours, str):
        return  # the stricter one
    if isinstance(theirs, str):
        reasons = [
            difference.reason
            for difference in DIFFERENCES
            if re.search(difference.error, theirs) and re.search(difference.head, head)
        ]
        assert reasons, (theirs, ours)
        return
    one, other = normal(ours), normal(theirs)
    if one.status < 200:
        one, other = one._replace(keeps=True), other._replace(keeps=True)
    assert one == other


def mostly(right: list[bytes], odd: list[bytes], times: int = 12) -> st.SearchStrategy[bytes]:
    """One of those that are right, and now and then one that is wrong or odd."""
    return st.sampled_from(right * (1 + times * len(odd) // len(right)) + odd)


VERSIONS = mostly([b"HTTP/1.1"] * 3 + [b"HTTP/1.0"], [b"HTTP/1.2", b"HTTP/2.0", b"HTTP/1", b"http/1.1", b"", b"ICY"])
SPACES = mostly([b" "], [b"  ", b"\t", b"\x0b", b""])
STATUSES = mostly(
    [b"200", b"404", b"204", b"304", b"100", b"302", b"500"], [b"20", b"2000", b"099", b"999", b"2x0", b""]
)
REASONS = mostly([b"OK", b"", b"Not Found", b"a\tb", b"\xff"], [b" a", b"a\x00b", b"a\x7f", b"a\rb"])
ENDS = mostly([b"\r\n"], [b"\n", b"\r", b"\r\r\n", b"\n\r", b""], times=30)
NAMES = mostly([b"X", b"x-y", b"X_Y", b"!", b"Server", b"Connection"], [b"X Y", b"X(", b"", b"X\x00", b"\xfc"])
COLONS = mostly([b": ", b":", b":\t"], [b" :", b":\r\n ", b" "])
VALUES = mostly(
    [b"", b"a", b"a b", b"a\tb", b"\xff", b"close", b"keep-alive", b"Close, x", b" a ", b"a:b"],
    [b"a\x00b", b"a\x01b", b"a\rb", b"a\x7f", b"a\nb", b"a\r\n b"],
)
FIELDS = st.tuples(NAMES, COLONS, VALUES).map(b"".join)
FRAMINGS: st.SearchStrategy[list[bytes]] = st.one_of(
    st.just(list[bytes]()),
    mostly(
        [b"Content-Length: %d" % len(CONTENT), b"Content-Length: 5", b"content-length:0", b"Content-Length:\t7 "],
        [
            *(b"Content-Length: +5", b"Content-Length: 5, 5", b"Content-Length: 5, 6", b"Content-Length: x"),
            *(b"Content-Length:", b"Content-Length: 5\r\nContent-Length: 5", b"Content-Length: 0x5"),
            *(b"Content-Length : 5", b"Content-Length: 5\r\nContent-Length: 6", b"Content-Length: " + b"9" * 25),
        ],
    ).map(lambda field: [field]),
    mostly(
        [b"Transfer-Encoding: chunked", b"transfer-encoding:CHUNKED"],
        [
            *(b"Transfer-Encoding: gzip, chunked", b"Transfer-Encoding: chunked,", b"Transfer-Encoding:"),
            *(b"Transfer-Encoding: identity", b"Transfer-Encoding: \x0bchunked", b"Transfer-Encoding: chunked;a"),
            *(b"Transfer-Encoding: chunked\r\nContent-Length: 5", b"Transfer-Encoding : chunked"),
        ],
    ).map(lambda field: [field]),
)


def put_together(line: tuple[bytes, ...], fields: list[bytes], framing: list[bytes], ends: list[bytes]) -> bytes:
    lines = [b"".join(line), *fields, *framing]
    ends = [*ends, *[b"\r\n"] * len(lines)]
    return b"".join([part for pair in zip(lines, ends, strict=False) for part in pair]) + b"\r\n"


HEADS = st.builds(
    put_together,
    st.tuples(VERSIONS, SPACES, STATUSES, SPACES, REASONS),
    st.lists(FIELDS, max_size=3),
    FRAMINGS,
    st.one_of(st.just([]), st.lists(ENDS, max_size=4)),
)


@given(HEADS)
@example(b"HTTP/1.1 200 OK\r\n\r\n")
@example(b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n")
@example(b"HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n")
@settings(max_examples=1000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_what_h11_refuses_is_refused_and_the_rest_means_the_same(head: bytes) -> None:
    compare(head)


def test_the_grammar_is_no_heap_of_refusals() -> None:
    taken = refused = 0

    @given(HEADS)
    @settings(max_examples=200, deadline=None, database=None, derandomize=True)
    def count(head: bytes) -> None:
        nonlocal taken, refused
        good = not isinstance(seen_here(head), str)
        taken += good
        refused += not good

    count()
    assert taken > 40
    assert refused > 40


# --- The fuzz target ----------------------------------------------------------------------------------------------


def test_fuzz_target() -> None:
    path = Path(__file__).parents[2] / "fuzz" / "fuzz_reply.py"
    spec = importlib.util.spec_from_file_location("fuzz_reply", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.fuzz(300)


# --- URLs --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url, origin, authority, resource",
    [
        ("http://a", "http://a", "a", "/"),
        ("http://a/", "http://a", "a", "/"),
        ("HTTP://EXAMPLE.test/X", "http://example.test", "example.test", "/X"),
        ("http://a:80/b", "http://a", "a", "/b"),
        ("http://a:/b", "http://a", "a", "/b"),
        ("http://a:0080/b", "http://a", "a", "/b"),
        ("https://a:443/b", "https://a", "a", "/b"),
        ("http://a:443/b", "http://a:443", "a:443", "/b"),
        ("https://a:80/b", "https://a:80", "a:80", "/b"),
        ("http://a:65535/", "http://a:65535", "a:65535", "/"),
        ("http://127.0.0.1:8080/", "http://127.0.0.1:8080", "127.0.0.1:8080", "/"),
        ("http://[::1]/", "http://[::1]", "[::1]", "/"),
        ("http://[::1]:80/", "http://[::1]", "[::1]", "/"),
        ("http://[::1]:8080/", "http://[::1]:8080", "[::1]:8080", "/"),
        ("http://[::ffff:1.2.3.4]/", "http://[::ffff:1.2.3.4]", "[::ffff:1.2.3.4]", "/"),
        ("http://a?b=c", "http://a", "a", "/?b=c"),
        ("http://a/b?c?d/e", "http://a", "a", "/b?c?d/e"),
        ("http://a/b;c=d;e", "http://a", "a", "/b;c=d;e"),
        ("http://a//b//", "http://a", "a", "//b//"),
        ("http://a/b?http://c/", "http://a", "a", "/b?http://c/"),
        ("http://a/b@c:d", "http://a", "a", "/b@c:d"),
        ("http://a.b./", "http://a.b.", "a.b.", "/"),
        ("http://a_b.test/", "http://a_b.test", "a_b.test", "/"),
        (" http://a/b ", "http://a", "a", "/b"),
        # RFC 3987 §3.1, and RFC 5891 for names.
        ("http://b\xfccher.test/", "http://xn--bcher-kva.test", "xn--bcher-kva.test", "/"),
        ("http://B\xdcCHER.test/", "http://xn--bcher-kva.test", "xn--bcher-kva.test", "/"),
        ("http://a/\xfc?\u20ac", "http://a", "a", "/%C3%BC?%E2%82%AC"),
        ("http://a/\U0001f600", "http://a", "a", "/%F0%9F%98%80"),
        ('http://a/b c"<>\\^`{|}', "http://a", "a", "/b%20c%22%3C%3E%5C%5E%60%7B%7C%7D"),
        ("http://a/%20%41%ff?%20", "http://a", "a", "/%20%41%ff?%20"),
    ],
)
def test_urls(url: str, origin: str, authority: str, resource: str) -> None:
    target = parse_target(url)
    assert (target.origin, target.authority, target.resource) == (origin, authority, resource)
    assert target.url == origin + resource
    assert target.secure is origin.startswith("https")
    assert target.resource_bytes == resource.encode("ascii")
    assert target == parse_target(url)
    # The Host of the request is the authority (RFC 9110 §7.2).
    assert target.authority_line == f" HTTP/1.1\r\nHost: {authority}\r\n".encode()


@pytest.mark.parametrize(
    "url",
    [
        "",
        " ",
        "a",
        "/a",
        "//a/b",
        "a.test/b",
        "a.test:80/b",
        "http:",
        "http:/",
        "http://",
        "http:///a",
        "http:a",
        "http://?a",
        "http://#a",
        "http://:80/",
        "http://@/",
        "http://u:p@/",
        "https:///a",
        "ftp://a/",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "data:,a",
        "ws://a/",
        "httpx://a/",
        "http+unix://a/",
        # ports
        "http://a:65536/",
        "http://a:99999999999999999999/",
        "http://a:-1/",
        "http://a:+1/",
        "http://a:8 0/",
        "http://a:8_0/",
        "http://a:x/",
        "http://a:80:80/",
        "http://a:\u0668\u0660/",
        "http://a:0x50/",
        # hosts
        "http://a b/",
        "http://a%20b/",
        "http://a%00b/",
        "http://a\\b/",
        "http://a<b/",
        "http://a|b/",
        "http://a,b/",
        'http://a"b/',
        "http://a..b/",
        "http://.a/",
        "http://" + "a" * 64 + "/",
        "http://a\uff0fb/",
        "http://a\x80/",
        "http://\xad/",
        "http://\ud800/",
        "http://a\u2028b/",
        # addresses
        "http://[/",
        "http://[]/",
        "http://[::1/",
        "http://::1/",
        "http://[::1]x/",
        "http://x[::1]/",
        "http://[::1]:x/",
        "http://[1.2.3.4]/",
        "http://[a]/",
        "http://[::g]/",
        "http://[1:2:3:4:5:6:7:8:9]/",
        # halves of characters
        "http://a/\ud800",
        "http://a/?\udfff",
        "http://a/#\ud800",
        "http://\ud800@a/",
        "http://u:\ud800@a/",
    ],
)
def test_urls_that_are_none(url: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_target(url)


@pytest.mark.parametrize("character", [*map(chr, range(32)), "\x7f"])
@pytest.mark.parametrize(
    "url", ["%shttp://a/", "http://a/%s", "http://a%s/", "http://a/?b%sc", "http://a/#%s", "ht%stp://a/"]
)
def test_control_characters(character: str, url: str) -> None:
    """Python's own functions take some of them out of a URL without a word."""
    with pytest.raises(ValueError, match="control characters"):
        parse_target(url.replace("%s", character))


def test_a_name_beyond_ipv6_in_brackets() -> None:
    """RFC 3986 §3.2.2: what is in brackets is an address, of IPv6 or of what is to come, and no name."""
    with pytest.raises(ValueError, match=r"v1\.a"):
        parse_target("http://[v1.a]/")


@pytest.mark.parametrize("url", [None, 1, b"http://a/", ["http://a/"], Path("a")])
def test_urls_of_the_wrong_type(url: Any) -> None:
    with pytest.raises(TypeError, match="url is a str"):
        parse_target(url)


@pytest.mark.parametrize(
    "url, user",
    [
        ("http://a/", None),
        ("http://u:p@a/", b"u:p"),
        ("http://u@a/", b"u:"),
        ("http://:p@a/", b":p"),
        ("http://u:p:q@a/", b"u:p:q"),
        ("http://u%40:p%3A%2f@a/", b"u@:p:/"),
        ("http://\xfc:\u20ac@a/", "\xfc:\u20ac".encode()),
        ("http://%C3%BC:x@a/", "\xfc:x".encode()),
    ],
)
def test_credentials(url: str, user: bytes | None) -> None:
    target = parse_target(url)
    expected = None if user is None else "Basic " + base64.b64encode(user).decode()
    assert target.credentials == expected
    assert (target.host, target.url) == ("a", "http://a/")
    assert "p" not in repr(target).replace("http", "")


@pytest.mark.parametrize("url", ["http://u%3A:p@a/", "http://u:p%0A@a/", "http://u%00@a/", "http://u%0d%0aX:p@a/"])
def test_credentials_that_cannot_be_sent(url: str) -> None:
    """RFC 7617 §2."""
    with pytest.raises(ValueError, match="colon"):
        parse_target(url)


@pytest.mark.parametrize(
    "url",
    [
        "http://u:secret@a b/",
        "http://u:secret@a:x/",
        "http://u:secret@a:99999/",
        "http://u:secret@[::1/",
        "http://u:secret@/",
        "ftp://u:secret@a/",
        "//u:secret@a/",
        "http://u:secret@a/\n",
        "http://u:sec\tret@a/",
        "http://u:secret@a/\ud800",
        "http://u:secret@a@b:x/",
        "http://u%3A:secret@a/",
        "http:u:secret@a/",
        "http:/u:secret@a/",
        "u:secret@a/",
        "u:secret@a:80",
    ],
)
def test_credentials_are_not_told(url: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        parse_target(url)
    assert "secret" not in str(caught.value)
    assert "ret@" not in str(caught.value)


def test_what_is_shown_of_a_url() -> None:
    assert without_credentials("http://u:p@a/b") == "http://***@a/b"
    assert without_credentials("http://a/b") == "http://a/b"
    assert len(without_credentials("http://a/" + "b" * 10000)) < 300


@pytest.mark.parametrize(
    "url, fragment",
    [("http://a/#b", "b"), ("http://a/#", ""), ("http://a/?#b#c", "b%23c"), ("http://a#b/?c", "b/?c")],
)
def test_fragments(url: str, fragment: str) -> None:
    target = parse_target(url)
    assert unquote(target.fragment) == unquote(fragment)
    assert "#" not in target.url
    assert "#" not in target.resource


def test_targets_with_something_else() -> None:
    target = parse_target("https://u:p@[::1]:8443/a?b#c")
    assert target.host_and_port == "[::1]:8443"
    assert parse_target("https://a/").host_and_port == "a:443"
    assert target.with_fragment("d") == Target("https", "::1", 8443, "/a?b", target.credentials, "d")
    assert target.with_credentials(None).credentials is None
    assert target.with_credentials(None) != target
    assert target != "https://[::1]:8443/a?b"
    assert hash(target) == hash(target.with_fragment("c"))


@given(
    st.text(max_size=40),
    st.sampled_from(["%s", "http://%s", "http://a/%s", "http://a/?%s", "http://%s@a/", "http://a:%s"]),
)
@settings(max_examples=600, deadline=None)
def test_any_text_is_a_url_that_can_be_sent_or_none(text: str, form: str) -> None:
    try:
        target = parse_target(form.replace("%s", text))
    except ValueError:
        return
    assert re.fullmatch(r"/[!-~]*", target.resource)
    assert "#" not in target.resource
    assert re.fullmatch(r"(?:[a-z0-9._\-]+|\[[0-9A-Za-z:.%]+\])(?::[0-9]+)?", target.authority)
    assert 0 <= target.port <= 65535
    assert target.authority_line.count(b"\n") == 2
    if target.credentials is not None:
        assert re.fullmatch(r"Basic [A-Za-z0-9+/=]*", target.credentials)
    # What is sent leads to the same.
    again = parse_target(target.url)
    assert (again.origin, again.resource) == (target.origin, target.resource)
    if form == "http://a/%s" and not re.search("[?#%]|^ | $", text):
        assert unquote(target.resource) == "/" + text


def test_long_urls_are_not_kept() -> None:
    long = "http://a/" + "b" * 5000
    assert parse_target(long) == parse_target(long)
    assert parse_target(long) is not parse_target(long)
    assert sys.getsizeof(parse_target("http://a/")) < 1000
