"""`pants.http._body`: bodies by length and in chunks, whole, byte by byte and with something behind them."""

from __future__ import annotations

import contextlib
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pants.http._body import ChunkedBody, LengthBody
from pants.http._limits import Limits
from pants.http._refused import Refused

PIECES = st.lists(
    st.one_of(
        st.binary(min_size=1, max_size=40), st.sampled_from([b"\r\n\r\n", b"\r", b"\n", b"0\r\n\r\n", b"\r\n\r"])
    ),
    max_size=8,
)


def chunked(pieces: list[bytes], trailers: bytes = b"") -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n" + trailers + b"\r\n"


def kept(limit: int) -> tuple[ChunkedBody, bytearray]:
    """A body in chunks, and where its content goes."""
    content = bytearray()
    return ChunkedBody(limit, content.extend, Limits()), content


def feed(body: ChunkedBody | LengthBody, data: bytes, size: int) -> int:
    """Feed data in pieces of a size; the number of bytes that the body took."""
    taken = 0
    for start in range(0, len(data), size):
        piece = data[start : start + size]
        used = body.feed(piece, 0)
        taken += used
        if body.done:
            break
        assert used == len(piece)
    return taken


@given(PIECES, st.sampled_from([b"", b"A: b\r\n", b"A: b\r\nC: d\r\n"]), st.integers(1, 50), st.booleans(), st.binary())
@settings(max_examples=300, deadline=None)
def test_chunks(pieces: list[bytes], trailers: bytes, size: int, whole: bool, behind: bytes) -> None:
    """RFC 9112 §7.1: what is behind the body is left alone, to the byte."""
    data = chunked(pieces, trailers)
    body, content = kept(10_000)
    assert feed(body, data + behind, 100_000 if whole else size) == len(data)
    assert body.done
    assert content == b"".join(pieces)
    assert body.received == len(data)


@given(st.binary(max_size=60))
@settings(max_examples=300, deadline=None)
def test_only_refused_comes_out_of_chunks(data: bytes) -> None:
    body = kept(10)[0]
    with contextlib.suppress(Refused):
        at = body.feed(data, 0)
        assert body.done or at == len(data)


@pytest.mark.parametrize("at", [0, 5])
def test_a_body_begins_where_it_is_told_to(at: int) -> None:
    data = b"?" * at + b"abc?"
    content = bytearray()
    plain = LengthBody(3, content.extend)
    assert plain.feed(bytearray(data), at) == at + 3
    assert (plain.done, content, plain.received, plain.left) == (True, bytearray(b"abc"), 3, 0)
    assert plain.feed(data, at + 3) == at + 3
    chunks, content = kept(3)
    data = b"?" * at + chunked([b"abc"])
    assert chunks.feed(bytearray(data), at) == len(data)
    assert content == b"abc"


def test_a_body_of_one_byte_chunks_may_be_as_long_as_any() -> None:
    """The limit is on the content; what the framing takes is bounded apart from it."""
    size = 100_000
    body = kept(size)[0]
    body.feed(chunked([b"x"] * size), 0)
    assert body.done
    body = kept(size)[0]
    with pytest.raises(Refused) as caught:
        body.feed(chunked([b"x"] * (size + 1)), 0)
    assert caught.value.status == 413


def test_extensions_cannot_go_on_for_ever() -> None:
    body = kept(10_000_000)[0]

    def extend() -> None:
        for _ in range(10_000):
            body.feed(b"1;" + b"a" * 100 + b"\r\nx\r\n", 0)

    with pytest.raises(Refused) as caught:
        extend()
    assert caught.value.status == 400
    assert body.received < 200_000


def test_time_is_linear_in_what_is_sent() -> None:
    """DESIGN §2: data fed a byte at a time costs linear time; nor do ends that are none cost more."""

    def cost(data: bytes, size: int) -> float:
        best = 1e9
        for _ in range(3):
            body = kept(10_000_000)[0]
            begun = time.process_time()
            feed(body, data, size)
            best = min(best, time.process_time() - begun)
        return best

    for piece, size in ((b"a" * 50_000, 1), (b"\r\n\r\n" * 30_000, 65536)):
        assert cost(chunked([piece * 2]), size) < 4 * cost(chunked([piece]), size) + 0.05
