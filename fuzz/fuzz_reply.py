"""Fuzz target for `pants.http._reply`: any bytes where the head of a response is expected.

    python fuzz/fuzz_reply.py [EXAMPLES]

What must hold: a head is taken or refused by `BadReply`, whatever it is made of, and however it was cut up on its way;
what is taken is a head by RFC 9112 §4 and §5, of which the fields can be told apart again; and how its content is
framed follows from it in one way (§6.3).
"""

from __future__ import annotations

import re
import sys

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pants.http import ClientLimits
from pants.http._reply import BadReply, Reply, ReplyParser, ReplyReader

LIMITS = ClientLimits(header=120, headers=400, header_count=12)
MOST_INTERIM = 3

RIGHT = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
    b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\n",
    b"HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"HTTP/1.1 204 \r\nX: \xff\r\n\r\n",
    b"HTTP/1.1 302 Found\r\nLocation: /a?b#c\r\nSet-Cookie: a=b; Path=/\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
    b'HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm="a"\r\nConnection: close\r\n\r\n',
]
TOKENS = [
    *(b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2.0", b"HTTP/1", b"RTSP/1.0", b"ICE/1.0", b"ICY", b" 200 OK", b" 200", b" 99"),
    *(b" 1000", b" ", b"  ", b"\t", b"\r\n", b"\r\n", b"\r\n\r\n", b"\r", b"\n", b"\n\n", b"HTTP/1.1 200 OK\r\n"),
    *(b"X: y\r\n", b"X : y\r\n", b"X", b":", b": ", b",", b" y\r\n", b"\0", b"\x0b", b"\x7f", b"\xff", b"x" * 50),
    *(b"Content-Length: 3\r\n", b"Content-Length: ", b"3", b"+3", b"3, 3", b"0", b"9" * 30, b"-", b"\xb3"),
    *(b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: ", b"chunked", b"gzip", b"identity", b"abc"),
    *(b"Connection: close\r\n", b"Connection: keep-alive\r\n", b"Connection: upgrade\r\nUpgrade: h2c\r\n"),
]
_FIELD_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+")
_FIELD_VALUE = re.compile(rb"(?:[!-~\x80-\xff](?:[\t -~\x80-\xff]*[!-~\x80-\xff])?)?")

changes = st.lists(
    st.tuples(st.integers(0, 200), st.integers(0, 3), st.one_of(st.sampled_from(TOKENS), st.binary(max_size=3))),
    max_size=3,
)
parts = st.one_of(
    st.sampled_from(RIGHT),
    st.lists(st.sampled_from(TOKENS), max_size=12).map(b"".join),
    st.lists(st.sampled_from(TOKENS), max_size=8).map(
        lambda tokens: b"HTTP/1.1 200 OK\r\n" + b"".join(tokens) + b"\r\n\r\n"
    ),
    st.binary(max_size=60),
)


def changed(data: bytes, some: list[tuple[int, int, bytes]]) -> bytes:
    """Return data in which some places are others: where, how much goes, and what comes."""
    for place, dropped, added in some:
        place %= len(data) + 1
        data = data[:place] + added + data[place + dropped :]
    return data


def check_reply(reply: Reply, head: bytes) -> None:
    """Raise AssertionError unless a head that was taken is one."""
    assert head.startswith((b"HTTP/1.1 ", b"HTTP/1.0 "))
    assert 100 <= reply.status <= 999
    assert head[9:12] == b"%d" % reply.status
    assert reply.protocol.encode() == head[:8]
    assert "\r" not in reply.reason
    assert "\n" not in reply.reason
    for name, value in reply.fields:
        assert _FIELD_NAME.fullmatch(name), name
        assert _FIELD_VALUE.fullmatch(value), value
    # Each line is a field, and no field is in two lines.
    assert head.endswith(b"\r\n\r\n")
    lines = head.split(b"\r\n\r\n")[0].split(b"\r\n")[1:]
    assert [line.partition(b":")[0].lower() for line in lines] == [name for name, _ in reply.fields]
    # Another copy of the fields each time.
    headers = reply.headers()
    headers["X-Changed"] = "1"
    assert "X-Changed" not in reply.headers() or (b"x-changed" in dict(reply.fields))
    # RFC 9112 §6.3: of chunks, of a length, or to the end.
    names = [name for name, _ in reply.fields]
    assert reply.chunked == (b"transfer-encoding" in names)
    if not reply.flaw:
        if reply.chunked:
            assert (reply.length, reply.protocol) == (None, "HTTP/1.1")
        elif b"content-length" in names:
            assert reply.length == int(dict(reply.fields)[b"content-length"])
            assert names.count(b"content-length") == 1
        else:
            assert reply.length is None
        assert reply.length is None or reply.length >= 0


class CheckingParser(ReplyParser):
    """Notes what it takes, and checks it."""

    def __init__(self) -> None:
        super().__init__(LIMITS)
        self.taken: list[bytes] = []

    def parse(self, head: bytes) -> Reply:
        """See `ReplyParser`."""
        reply = super().parse(head)
        assert len(head) <= LIMITS.headers
        assert len(reply.fields) <= LIMITS.header_count
        assert all(len(name) + len(value) <= LIMITS.header for name, value in reply.fields)
        check_reply(reply, head)
        again = super().parse(bytes(head))
        assert (again.status, again.fields, again.flaw) == (reply.status, reply.fields, reply.flaw)
        self.taken.append(head)
        self.kept.clear()  # of which readers take without asking
        return reply


def read(data: bytes, cuts: list[int]) -> tuple[list[bytes], str]:
    """Read heads from data that arrive in pieces.

    Args:
        data: The data.
        cuts: The lengths of the pieces, over and over.

    Returns:
        Those that were taken; and why the rest was refused, or an empty string.
    """
    parser = CheckingParser()
    reader = ReplyReader(parser, MOST_INTERIM)
    at = turn = 0
    try:
        while at < len(data):
            piece = data[at : at + cuts[turn % len(cuts)]]
            at, turn = at + len(piece), turn + 1
            while (reply := reader.feed(piece)) is not None:
                assert reply.status >= 200 or reply.status == 101
                assert reader.interim <= MOST_INTERIM
                piece = reader.rest
                assert data[:at].endswith(piece)
                reader.reset()
                assert not reader.begun
                if not piece:
                    break
            assert b"".join(parser.taken) == data[: len(b"".join(parser.taken))]
    except BadReply as error:
        return parser.taken, str(error) or repr(error)
    return parser.taken, ""


def try_one(right: list[bytes], part: bytes, some: list[tuple[int, int, bytes]], cuts: list[int]) -> None:
    """Read some heads that are right, and something that was changed; all at once and in pieces."""
    data = b"".join(right) + changed(part, some)
    whole, error = read(data, [len(data) + 1])
    if right.count(RIGHT[5]) <= MOST_INTERIM:
        assert whole[: len(right)] == right
    pieces, other = read(data, cuts)
    # What is refused because its end does not come may be refused sooner, or for another reason.
    assert bool(error) == bool(other)
    assert pieces == whole


def fuzz(examples: int) -> None:
    """Try so many examples."""
    bounded = settings(max_examples=examples, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    given(
        st.lists(st.sampled_from(RIGHT), max_size=2),
        parts,
        changes,
        st.lists(st.integers(1, 60), min_size=1, max_size=6),
    )(bounded(try_one))()


if __name__ == "__main__":
    fuzz(int(sys.argv[1]) if len(sys.argv) > 1 else 20000)
