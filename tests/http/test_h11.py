"""h11 as an oracle: an independent and strict parser of HTTP/1.1, by its public interface.

Requests are made from a grammar, with mutations. What h11 refuses is refused here, but for a list of differences; what
both take means the same to both: method, target, version, fields, body, trailers, and where the next request begins.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

import h11
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.http.support import CHUNKED, get, post, site
from tests.http.test_served import SERVED

BEHIND = get(line=b"GET /behind HTTP/1.1")


class Seen(NamedTuple):
    """A request as a parser understood it."""

    method: bytes
    target: bytes
    version: bytes
    fields: list[tuple[bytes, bytes]]
    body: bytes
    trailers: list[tuple[bytes, bytes]]


def seen_by_h11(data: bytes) -> tuple[list[Seen], str]:
    """The requests in the data, and what h11 has against what follows; "" where it waits for more or is through."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1_000_000)
    connection.receive_data(data)
    found: list[Seen] = []
    try:
        while True:
            request = connection.next_event()
            if not isinstance(request, h11.Request):
                return found, ""
            body = b""
            while isinstance(event := connection.next_event(), h11.Data):
                body += event.data
            if not isinstance(event, h11.EndOfMessage):
                return found, ""
            fields = list(request.headers)
            found.append(Seen(request.method, request.target, request.http_version, fields, body, list(event.headers)))
            connection.send(h11.Response(status_code=404, headers=[("Content-Length", "0")]))
            connection.send(h11.EndOfMessage())
            if connection.our_state is not h11.DONE or connection.their_state is not h11.DONE:
                return found, ""
            connection.start_next_cycle()
    except h11.RemoteProtocolError as error:
        return found, str(error)


def seen_here(data: bytes) -> tuple[list[Seen], bool]:
    """The requests that are served, and whether what follows is refused."""
    with site() as web:
        peer = web.connect()
        peer.send(data)
        found = [
            Seen(
                request.method.encode(),
                request.url.encode("latin-1"),
                request.protocol.removeprefix("HTTP/").encode(),
                pairs(request.headers),
                request.body,
                pairs(request.trailers),
            )
            for request in web.requests
        ]
        return found, sum(web.server.counters.refused.values()) > 0


def pairs(headers: object) -> list[tuple[bytes, bytes]]:
    """The fields with the names in lower case."""
    return [
        (name.lower().encode(), value.encode("latin-1"))
        for name in headers  # type: ignore[attr-defined]
        for value in headers.get_list(name)  # type: ignore[attr-defined]
    ]


def normal(seen: Seen) -> Seen:
    """The same, less what means nothing."""

    def by_name(fields: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        # Between fields of different names there is no order (RFC 9110 §5.3), and h11 writes the names of transfer
        # codings, which are case-insensitive (RFC 9112 §7), in lower case.
        lower = [(name, value.lower() if name == b"transfer-encoding" else value) for name, value in fields]
        return sorted(lower, key=lambda field: field[0])

    return seen._replace(fields=by_name(seen.fields), trailers=by_name(seen.trailers))


class Difference(NamedTuple):
    """Something that Pants serves and h11 does not.

    Attributes:
        reason: The RFC's word for it.
        error: What h11 says, a pattern; empty where it closes the connection instead.
        data: What has to be in what was sent, a pattern.
    """

    reason: str
    error: str
    data: bytes


DIFFERENCES: Final = [
    Difference(
        "RFC 9112 §2.2: a server ought to ignore at least one CRLF before a request line",
        "no request line received",
        rb"\r\n",
    ),
    Difference(
        "RFC 9112 §7.1: a chunk size may have any number of leading zeros; h11 takes 20 digits",
        "illegal chunk header",
        rb"\r\n0{10,}",
    ),
    Difference(
        "RFC 9112 §9.3: a server may keep a connection of HTTP/1.0 that asks for it; h11 never does",
        "",
        rb"HTTP/1\.0\r\n",
    ),
]


def compare(data: bytes) -> None:
    """Hold what is served here against what h11 takes."""
    theirs, error = seen_by_h11(data)
    ours, refused = seen_here(data)
    for one, other in zip(theirs, ours, strict=False):
        assert normal(one) == normal(other)
    if len(ours) < len(theirs):
        assert refused  # Pants is the stricter, but says so
    elif len(ours) > len(theirs):
        reasons = [
            difference.reason
            for difference in DIFFERENCES
            if (re.search(difference.error, error) if difference.error else not error)
            and re.search(difference.data, data, re.DOTALL)
        ]
        assert reasons, (error, ours[len(theirs)])


# --- The grammar ----------------------------------------------------------------------------------------------------


def mostly(right: list[bytes], odd: list[bytes], times: int = 15) -> st.SearchStrategy[bytes]:
    """One of those that are right, and now and then one that is wrong or odd."""
    return st.sampled_from(right * (1 + times * len(odd) // len(right)) + odd)


METHODS = mostly([b"GET", b"POST", b"PUT", b"HEAD", b"OPTIONS"], [b"FOO", b"get", b"CONNECT", b"G@T", b""])
TARGETS = mostly(
    [b"/", b"/a?b=c", b"http://a/b", b"/%20", b"/|", b"/a#b"],
    [b"*", b"a:80", b"/\xfc", b"/\x7f", b"", b"/ /", b"a", b"ftp://a/"],
)
VERSIONS = mostly(
    [b"HTTP/1.1"] * 4 + [b"HTTP/1.0"], [b"HTTP/1.2", b"HTTP/2.0", b"HTTP/0.9", b"HTTP/1", b"http/1.1", b"HTTP/11", b""]
)
SPACES = mostly([b" "], [b"  ", b"\t", b"\x0b", b""])
ENDS = mostly([b"\r\n"], [b"\n", b"\r", b"\r\r\n", b"\n\r", b""], times=30)
COLONS = mostly([b": ", b":", b":\t"], [b" :", b":\r\n ", b" "])
HOSTS = mostly(
    [b"a", b"", b"a:80", b"[::1]", b"a_b", b"%41"], [b"a b", b"a,b", b"u@a", b"a/b", b"\xe4", b"a\0", b"[::"]
)
NAMES = mostly(
    [b"X", b"x-y", b"X_Y", b"!", b"Cookie", b"Connection", b"Upgrade"], [b"X Y", b"X(", b"", b"X\x00", b"\xfc"]
)
VALUES = mostly(
    [b"", b"a", b"a b", b"a\tb", b"\xff", b"close", b"keep-alive", b"upgrade, x", b" a ", b"a:b"],
    [b"a\x00b", b"a\x01b", b"a\rb", b"a\x7f", b"a\nb", b"a\r\n b"],
)
PLAIN = st.tuples(NAMES, COLONS, VALUES).map(b"".join)
HOST = st.tuples(st.sampled_from([b"Host", b"hOST"]), COLONS, HOSTS).map(b"".join)

SIZES = mostly(
    [b"%x", b"%X", b"0%x", b"%x;a=b", b'%x;a="b c"', b"%x;a;b"],
    [b"%x ", b" %x", b"+%x", b"%x;", b"0x%x", b"%x ;a", b"%x;;"],
)
CONTENTS = st.sampled_from([b"a", b"abc\r\n", b"0\r\n\r\n", b"0123456789abcdef", BEHIND])
CHUNKS = st.builds(
    lambda size, content, first, second: size % len(content) + first + content + second, SIZES, CONTENTS, ENDS, ENDS
)
TRAILERS = mostly(
    [b"", b"X: y\r\n", b"X: y\r\nZ:\r\n", b"Host: b\r\n", b"Connection: close\r\n"],
    [b"X\r\n", b"X: a\r\n b\r\n", b"X : y\r\n", b"Content-Length: 1\r\n", b": y\r\n"],
)
LAST = st.tuples(mostly([b"0", b"00", b"0;a"], [b"-0", b"", b"0 "]), ENDS, TRAILERS, ENDS).map(b"".join)
CHUNKED_BODIES = st.builds(lambda pieces, last: b"".join(pieces) + last, st.lists(CHUNKS, max_size=3), LAST)
CODINGS = mostly(
    [CHUNKED, b"Transfer-Encoding:CHUNKED", b"transfer-encoding:\tchunked "],
    [
        b"Transfer-Encoding: %b" % value
        for value in (b"gzip, chunked", b"chunked,", b"x", b"", b"\x0bchunked", b"chunked;a")
    ]
    + [b"Transfer-Encoding : chunked", CHUNKED + b"\r\n" + CHUNKED, CHUNKED + b"\r\nContent-Length: 5"],
)
LENGTHS = mostly(
    [b"%d", b"0%d", b" %d "], [b"+%d", b"%d, %d", b"%da", b"-%d", b"0x%d", b"%d\r\nContent-Length: %d", b""]
)


def by_length(length: bytes, content: bytes) -> tuple[list[bytes], bytes]:
    size = (len(content),) * length.count(b"%d")
    return [b"Content-Length: " + length % size], content


FRAMINGS: st.SearchStrategy[tuple[list[bytes], bytes]] = st.one_of(
    st.just((list[bytes](), b"")),
    st.builds(by_length, LENGTHS, CONTENTS),
    st.builds(lambda coding, content: ([coding], content), CODINGS, CHUNKED_BODIES),
)


def put_together(
    line: tuple[bytes, ...],
    hosts: list[bytes],
    fields: list[bytes],
    framing: tuple[list[bytes], bytes],
    ends: list[bytes],
) -> bytes:
    lines = [b"".join(line), *hosts, *fields, *framing[0], b""]
    ends = [*ends, *[b"\r\n"] * len(lines)]
    return b"".join([part for pair in zip(lines, ends, strict=False) for part in pair]) + framing[1]


REQUESTS = st.builds(
    put_together,
    st.tuples(METHODS, SPACES, TARGETS, SPACES, VERSIONS),
    st.one_of(*[HOST.map(lambda field: [field])] * 5, st.lists(HOST, max_size=2)),
    st.lists(PLAIN, max_size=3),
    FRAMINGS,
    st.one_of(st.just([]), st.lists(ENDS, max_size=4)),
)

# What is right but for a change: these get further than the above.
RIGHT = st.sampled_from(
    [
        get(),
        get(b"X: y", b"Connection: close"),
        get(line=b"GET / HTTP/1.0"),
        post(b"abc"),
        post(b'3;a="b"\r\nabc\r\n0\r\nX: y\r\n\r\n', CHUNKED),
        post(b"a\r\n0123456789\r\n3\r\nabc\r\n0\r\n\r\n", CHUNKED),
        get(b"Connection: upgrade", b"Upgrade: websocket"),
    ]
)


def mutated(data: bytes, changes: list[tuple[int, int, bytes]]) -> bytes:
    for place, dropped, added in changes:
        place %= len(data) + 1
        data = data[:place] + added + data[place + dropped :]
    return data


MUTATED = st.builds(
    mutated,
    st.one_of(RIGHT, REQUESTS),
    st.lists(
        st.tuples(
            st.integers(0, 200),
            st.integers(0, 2),
            st.one_of(
                st.binary(max_size=2),
                st.sampled_from(
                    [b"\r\n", b"\n", b"\r", b":", b";", b",", b" ", b"\t", b"\0", b'"', b"\x0b", b"0", b"a"]
                ),
            ),
        ),
        min_size=1,
        max_size=3,
    ),
)


# --- The comparison ---------------------------------------------------------------------------------------------


@given(st.one_of(REQUESTS, REQUESTS, MUTATED))
@example(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n\r")
@example(get(b"Connection: keep-alive", line=b"GET / HTTP/1.0"))
@example(b"\r\n" + get())
@settings(max_examples=800, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_what_h11_refuses_is_not_served_and_the_rest_means_the_same(data: bytes) -> None:
    compare(data)
    compare(data + BEHIND)


@pytest.mark.parametrize("name", SERVED)
def test_what_is_served_means_the_same_to_h11(name: str) -> None:
    """So that the comparison is about more than refusals."""
    data = SERVED[name][0]
    compare(data)
    compare(data + BEHIND)
    if name not in ("empty lines before it (RFC 9112 §2.2)", "a chunk size of many digits"):
        assert len(seen_by_h11(data)[0]) == len(seen_here(data)[0]) == 1


def test_the_grammar_is_no_heap_of_refusals() -> None:
    """A part of what it makes is served, a part refused."""
    served = refused = 0

    @given(REQUESTS)
    @settings(max_examples=200, deadline=None, database=None, derandomize=True)
    def count(data: bytes) -> None:
        nonlocal served, refused
        found, bad = seen_here(data)
        served += bool(found)
        refused += bad

    count()
    assert served > 40
    assert refused > 40
