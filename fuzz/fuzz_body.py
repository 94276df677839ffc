"""Fuzz target for `pants.http._body` and the connection around it: any bytes where a body is expected.

    python fuzz/fuzz_body.py [EXAMPLES]

What must hold is told in `http_verdict`. A body that is right arrives as it was sent, and so does the request behind
it; what is too short is waited for.
"""

from __future__ import annotations

import sys

from http_verdict import BEHIND, MAX_REQUEST, changed, check
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

HEAD = b"POST /body HTTP/1.1\r\nHost: a\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
SIZES = [b"%x", b"%X", b"0%x", b"%x;a", b"%x;a=b", b'%x;a="\\";"']
TOKENS = [
    *(
        b"0\r\n",
        b"\r\n",
        b"\r\n\r\n",
        b"0\r\n\r\n",
        b"3\r\nabc\r\n",
        b"3",
        b"ffffffffffffffff",
        b"a" * 150,
        b";",
        b"=",
        b'"',
    ),
    *(
        b"\r",
        b"\n",
        b" ",
        b"\t",
        b"-",
        b"+",
        b"0x",
        b"X: y\r\n",
        b"Content-Length: 1\r\n",
        b" z\r\n",
        b"\0",
        b"\xff",
        BEHIND,
    ),
]

contents = st.one_of(
    st.binary(min_size=1, max_size=20),
    st.sampled_from([b"\r\n\r\n", b"0\r\n\r\n", b"\r\n", b"a" * 100, BEHIND, b"HEAD "]),
)
chunks = st.lists(st.tuples(st.sampled_from(SIZES), contents), max_size=4)
trailers = st.sampled_from([b"", b"", b"X: y\r\n", b"X: y\r\nHost: b\r\n", b"Connection: close\r\n"])
changes = st.lists(
    st.tuples(st.integers(0, 300), st.integers(0, 3), st.one_of(st.sampled_from(TOKENS), st.binary(max_size=3))),
    max_size=3,
)


def try_chunks(
    pieces: list[tuple[bytes, bytes]], trailer: bytes, some: list[tuple[int, int, bytes]], cuts: list[int]
) -> None:
    """Send a body in chunks, changed or not."""
    content = b"".join(piece for _, piece in pieces)
    body = b"".join(size % len(piece) + b"\r\n" + piece + b"\r\n" for size, piece in pieces)
    found = check(CHUNKED + changed(body + b"0\r\n" + trailer + b"\r\n", some) + BEHIND, cuts)
    if not some and len(content) <= MAX_REQUEST:
        assert [(request.url, request.body) for request in found.served] == [("/body", content), ("/behind", b"")]
        assert not found.ended
    elif not some:
        assert (found.served, found.refused) == ([], 413)


def try_bytes(method: bytes, tokens: list[bytes], cuts: list[int]) -> None:
    """Send anything instead of chunks."""
    found = check(CHUNKED.replace(b"POST", method) + b"".join(tokens), cuts)
    assert all(request.url in ("/body", "/behind") for request in found.served)


def try_length(body: bytes, short: int, again: bool, cuts: list[int]) -> None:
    """Send a body by its length, and some more, or less."""
    data = HEAD + b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
    if short:
        found = check(data[: len(data) - min(short, len(body))], cuts)
        assert len(found.served) == (not body)
        assert not found.ended
    else:
        found = check(data * (1 + again) + BEHIND, cuts)
        assert [request.body for request in found.served] == [body] * (1 + again) + [b""]
        assert found.served[-1].url == "/behind"


def fuzz(examples: int) -> None:
    """Try so many examples of each."""
    bounded = settings(max_examples=examples, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    cuts = st.lists(st.integers(1, 60), min_size=1, max_size=6)
    given(chunks, trailers, changes, cuts)(bounded(try_chunks))()
    anything = st.lists(st.one_of(st.sampled_from(TOKENS), st.binary(max_size=4)), max_size=10)
    given(st.sampled_from([b"POST", b"POST", b"GET", b"HEAD"]), anything, cuts)(bounded(try_bytes))()
    bodies = st.one_of(st.binary(max_size=MAX_REQUEST), contents)
    given(bodies, st.integers(0, 5), st.booleans(), cuts)(bounded(try_length))()


if __name__ == "__main__":
    fuzz(int(sys.argv[1]) if len(sys.argv) > 1 else 7000)
