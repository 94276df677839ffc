"""Fuzz target for `pants.http._head` and the connection around it: any bytes where requests are expected.

    python fuzz/fuzz_head.py [EXAMPLES]

What must hold is told in `http_verdict`; and requests that are right are all served, whatever is behind them.
"""

from __future__ import annotations

import sys

from http_verdict import BEHIND, changed, check
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

RIGHT = [
    BEHIND,
    b"HEAD /a?b HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nhost:\r\nX: \xff\r\n\r\n",
    b"POST http://a/b HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
    b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\na",
]
TOKENS = [
    *(
        b"GET",
        b"HEAD",
        b"POST",
        b"CONNECT",
        b"TRACE",
        b"FOO",
        b" ",
        b"  ",
        b"\t",
        b"/",
        b"/a?b#c",
        b"*",
        b"http://a/",
        b"a:80",
    ),
    *(
        b"HTTP/1.1",
        b"HTTP/1.0",
        b"HTTP/2.0",
        b"HTTP/1",
        b"GET / HTTP/1.1\r\n",
        b"\r\n",
        b"\r\n",
        b"\r\n\r\n",
        b"\r",
        b"\n",
    ),
    *(
        b"Host: a\r\n",
        b"Host: a",
        b"Host",
        b":",
        b": ",
        b",",
        b"X: y\r\n",
        b"x" * 50,
        b" y\r\n",
        b"\0",
        b"\x7f",
        b"\xff",
    ),
    *(
        b"Content-Length: 3\r\n",
        b"Content-Length: ",
        b"3",
        b"0",
        b"Transfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: ",
    ),
    *(b"chunked", b"Connection: close\r\n", b"Connection: keep-alive\r\n", b"Connection: upgrade\r\nUpgrade: h2c\r\n"),
    *(b"Expect: 100-continue\r\n", b"Expect: x\r\n", b"Cookie: a=b; c\r\n", b"abc"),
]

changes = st.lists(
    st.tuples(st.integers(0, 300), st.integers(0, 3), st.one_of(st.sampled_from(TOKENS), st.binary(max_size=3))),
    min_size=1,
    max_size=3,
)
parts = st.one_of(
    st.sampled_from(RIGHT),
    st.lists(st.sampled_from(TOKENS), max_size=12).map(b"".join),
    st.lists(st.sampled_from(TOKENS), max_size=8).map(
        lambda tokens: b"GET / HTTP/1.1\r\nHost: a\r\n" + b"".join(tokens)
    ),
    st.binary(max_size=60),
)


def try_one(
    right: list[bytes], part: bytes, some: list[tuple[int, int, bytes]], behind: bytes, cuts: list[int]
) -> None:
    """Send some requests that are right, something that was changed, and something else."""
    found = check(b"".join(right) + changed(part, some) + behind, cuts)
    assert len(found.served) >= len(right)


def fuzz(examples: int) -> None:
    """Try so many examples."""
    bounded = settings(max_examples=examples, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    given(
        st.lists(st.sampled_from(RIGHT), max_size=2),
        parts,
        st.one_of(st.just([]), changes),
        st.sampled_from([b"", BEHIND, b"\r\n\r\n"]),
        st.lists(st.integers(1, 60), min_size=1, max_size=6),
    )(bounded(try_one))()


if __name__ == "__main__":
    fuzz(int(sys.argv[1]) if len(sys.argv) > 1 else 20000)
