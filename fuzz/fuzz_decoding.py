"""Fuzz target for `pants.http._decoding`: any bytes, and content that was encoded and changed.

    python fuzz/fuzz_decoding.py [EXAMPLES]

What must hold: nothing but a DecodingError is raised; what comes out does not depend on how the bytes were cut up and
how much was read at once; it is the content where nothing was changed; where zlib decodes the whole, so does this, to
the same; and no more comes out than is allowed.
"""

from __future__ import annotations

import gzip
import math
import sys
import zlib
from collections.abc import Callable

import brotli
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pants.http._decoding import DecodedTooLarge, DecodingError, make_decoder

ENCODE: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": brotli.compress,
    "zstd": zstandard.ZstdCompressor(write_checksum=True).compress,
}
TOKENS = [
    *(
        b"\x1f\x8b\x08\0\0\0\0\0\0\xff",
        b"\x78\x9c",
        b"\x03\0",
        b"\0\0\0\xff\xff",
        b"\x01\0\0\xff\xff",
        b"\x4b\x4c\x04\0",
    ),
    *(
        b"\x28\xb5\x2f\xfd",
        b"\x28\xb5\x2f\xfd\0\x58",
        b"\x28\xb5\x2f\xfd\x20\x05",
        b"\x01\0\0",
        b"\x02\0\x10a",
        b"\x03\0\x10a",
    ),
    *(b"\x50\x2a\x4d\x18\x03\0\0\0abc", b"\x5f\x2a\x4d\x18\0\0\0\0", b"\x06", b"\x3b", b"\0", bytes(8), b"\xff"),
    *(encode(content) for encode in ENCODE.values() for content in (b"", b"abc", bytes(70_000))),
]

codings = st.lists(st.sampled_from(sorted(ENCODE)), min_size=1, max_size=3)
contents = st.one_of(
    st.binary(max_size=100), st.builds(bytes.__mul__, st.binary(max_size=5), st.sampled_from([1, 100, 20_000]))
)
changes = st.lists(
    st.tuples(st.integers(0, 300), st.integers(0, 3), st.one_of(st.sampled_from(TOKENS), st.binary(max_size=3))),
    max_size=3,
)
cuts = st.lists(st.one_of(st.integers(1, 5), st.integers(1, 1000)), min_size=1, max_size=5)


def run(value: str, data: bytes, cuts: list[int], size: int, max_size: int | None = None) -> tuple[bytes, str]:
    """Decode it, and return what came out and how that ended."""
    decoder = make_decoder(value, max_size=max_size, max_ratio=math.inf, free=0)
    assert decoder is not None
    decoded = bytearray()
    at = number = 0
    try:
        while at < len(data):
            step = cuts[number % len(cuts)]
            decoder.feed(data[at : at + step])
            at += step
            number += 1
            while piece := decoder.read(size):
                assert len(piece) <= size
                decoded += piece
                assert decoder.decoded == len(decoded)
        assert decoder.raw == len(data)
        decoder.finish()
    except DecodedTooLarge:
        return bytes(decoded), "too large"
    except DecodingError:
        return bytes(decoded), "malformed"
    return bytes(decoded), ""


def check(value: str, data: bytes, cuts: list[int], size: int, limit: int) -> tuple[bytes, str]:
    """Decode it in several ways, and return what comes out."""
    size = max(size, len(data) // 100)
    decoded, end = run(value, data, [len(data) or 1], 1 << 20)
    again, its_end = run(value, data, cuts, size)
    assert its_end == end
    # In front of an error more or less is seen.
    assert again == decoded or (end and (again.startswith(decoded) or decoded.startswith(again)))
    limited, its_end = run(value, data, cuts, size, limit)
    assert len(limited) <= limit
    if "," not in value:
        assert its_end == end or (its_end == "too large" and limited == again[:limit]) or (end and len(again) <= limit)
        assert again.startswith(limited)
    return decoded, end


def try_changed(
    names: list[str], content: bytes, some: list[tuple[int, int, bytes]], cuts: list[int], size: int, limit: int
) -> None:
    """Encode it, and change it or not."""
    data = content
    for name in names:
        data = ENCODE[name](data)
    for place, length, new in some:
        place = min(place, len(data))
        data = data[:place] + new + data[place + length :]
    found = check(", ".join(names), data, cuts, size, limit)
    if not some:
        assert found == (content, "")


def try_bytes(names: list[str], tokens: list[bytes], cuts: list[int], size: int, limit: int) -> None:
    """Decode anything."""
    data = b"".join(tokens)
    decoded, end = check(", ".join(names), data, cuts, size, limit)
    if names == ["deflate"] and data:
        expected = set()
        for wbits in (zlib.MAX_WBITS, -zlib.MAX_WBITS):
            reference = zlib.decompressobj(wbits)
            try:
                content = reference.decompress(data)
            except zlib.error:
                continue
            if reference.eof and not reference.unused_data:
                expected.add(content)
        assert (decoded in expected) if expected else end
    elif names == ["gzip"]:
        try:
            content = gzip.decompress(data)
        except (OSError, EOFError, zlib.error):
            assert end or not data.strip(b"\0")
        else:
            # Python's goes on behind zeros.
            assert (decoded, end) == (content, "") or (b"\0\x1f\x8b" in data and end)


def fuzz(examples: int) -> None:
    """Try so many examples of each."""
    bounded = settings(max_examples=examples, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    sizes = st.one_of(st.integers(1, 10), st.integers(1, 100_000))
    limits = st.one_of(st.integers(0, 10), st.integers(0, 200_000))
    given(codings, contents, changes, cuts, sizes, limits)(bounded(try_changed))()
    anything = st.lists(st.one_of(st.sampled_from(TOKENS), st.binary(max_size=4)), max_size=8)
    given(codings, anything, cuts, sizes, limits)(bounded(try_bytes))()


if __name__ == "__main__":
    fuzz(int(sys.argv[1]) if len(sys.argv) > 1 else 7000)
