"""`pants.http._decoding`: what is encoded comes out as it was, what is malformed is found out, and no bomb goes off."""

from __future__ import annotations

import functools
import gc
import gzip
import importlib.util
import math
import random
import subprocess
import sys
import tracemalloc
import types
import weakref
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path

import brotli
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from pants.http import _decoding
from pants.http._decoding import DecodedTooLarge, Decoder, DecodingError, accept_encoding, make_decoder


def encode_raw(data: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return compressor.compress(data) + compressor.flush()


def encode_zstd(data: bytes) -> bytes:
    return zstandard.ZstdCompressor(write_checksum=True).compress(data)


#: By a name of its own: the coding, and how it is applied.
ENCODERS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": ("gzip", gzip.compress),
    "zlib": ("deflate", zlib.compress),
    "raw": ("deflate", encode_raw),
    "br": ("br", brotli.compress),
    "zstd": ("zstd", encode_zstd),
}
ENCODE = {"gzip": gzip.compress, "deflate": zlib.compress, "br": brotli.compress, "zstd": encode_zstd}

TEXT = b"".join(b"%d squared is %d. " % (number, number * number) for number in range(300))
NOISE = random.Random(1).randbytes(60_000)
CONTENTS = {"nothing": b"", "a byte": b"a", "text": TEXT, "noise": NOISE, "run": bytes(1_000_000), "all": NOISE + TEXT}


def decoder_of(coding: str, *, max_size: int | None = None, max_ratio: float = math.inf, free: int = 0) -> Decoder:
    decoder = make_decoder(coding, max_size=max_size, max_ratio=max_ratio, free=free)
    assert decoder is not None
    return decoder


def drain(decoder: Decoder, size: int = 65536) -> bytes:
    pieces = []
    while piece := decoder.read(size):
        assert len(piece) <= size
        pieces.append(piece)
    return b"".join(pieces)


def decode(decoder: Decoder | str, pieces: Iterable[bytes], size: int = 65536) -> bytes:
    """Feed it all of the pieces, and read after each."""
    if isinstance(decoder, str):
        decoder = decoder_of(decoder)
    decoded = b""
    raw = 0
    for piece in pieces:
        decoder.feed(piece)
        decoded += drain(decoder, size)
        raw += len(piece)
        assert (decoder.raw, decoder.decoded) == (raw, len(decoded))
    decoder.finish()
    return decoded


def by_bytes(data: bytes) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


def cut(data: bytes, sizes: list[int]) -> list[bytes]:
    """Cut it up in pieces of these sizes, over and over."""
    pieces = []
    at = number = 0
    while at < len(data):
        size = sizes[number % len(sizes)]
        pieces.append(data[at : at + size])
        at += size
        number += 1
    return pieces


@pytest.fixture(params=ENCODERS)
def encoder(request: pytest.FixtureRequest) -> tuple[str, Callable[[bytes], bytes]]:
    return ENCODERS[request.param]


# --- What is encoded comes out as it was --------------------------------------------------------------------------


@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS)
@pytest.mark.parametrize("size", [100, 65536, 10_000_000])
def test_whole(encoder: tuple[str, Callable[[bytes], bytes]], content: bytes, size: int) -> None:
    coding, encode = encoder
    assert decode(coding, [encode(content)], size) == content


@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS)
def test_byte_by_byte(encoder: tuple[str, Callable[[bytes], bytes]], content: bytes) -> None:
    coding, encode = encoder
    assert decode(coding, by_bytes(encode(content))) == content


def test_all_of_the_bytes_are_fed_before_any_is_read(encoder: tuple[str, Callable[[bytes], bytes]]) -> None:
    coding, encode = encoder
    decoder = decoder_of(coding)
    for piece in by_bytes(encode(NOISE)):
        decoder.feed(piece)
    assert decoder.decoded == 0
    assert drain(decoder, 1000) == NOISE
    decoder.finish()


def test_nothing_is_decoded_that_is_not_asked_for(encoder: tuple[str, Callable[[bytes], bytes]]) -> None:
    coding, encode = encoder
    decoder = decoder_of(coding)
    decoder.feed(encode(TEXT))
    assert decoder.read(5) == TEXT[:5]
    assert decoder.decoded == 5
    assert decoder.read(0) == b""
    decoder.feed(b"")
    assert drain(decoder, 1) == TEXT[5:]


contents = st.one_of(
    st.binary(max_size=300),
    st.sampled_from([TEXT, NOISE[:40_000], bytes(100_000), TEXT * 30]),
    st.lists(st.tuples(st.binary(min_size=1, max_size=5), st.integers(1, 50_000)), max_size=4).map(
        lambda runs: b"".join(piece * count for piece, count in runs)
    ),
)
cuts = st.lists(st.one_of(st.integers(1, 20), st.integers(1, 40_000)), min_size=1, max_size=5)
stacks = st.lists(st.sampled_from(sorted(ENCODERS)), min_size=1, max_size=3)


@given(stacks, contents, cuts, st.integers(1, 100_000))
@settings(max_examples=150, deadline=None)
def test_any_codings_any_cuts_any_sizes(names: list[str], content: bytes, sizes: list[int], size: int) -> None:
    """RFC 9110 §8.4: the codings are named in the order in which they were applied."""
    encoded = content
    for name in names:
        encoded = ENCODERS[name][1](encoded)
    value = ", ".join(ENCODERS[name][0] for name in names)
    assert decode(value, cut(encoded, sizes), max(size, len(content) // 1000)) == content


@pytest.mark.parametrize("level", [0, 1, 9])
@pytest.mark.parametrize("wbits", [9, 15])
def test_settings_of_zlib(level: int, wbits: int) -> None:
    for coding, way in (("deflate", wbits), ("deflate", -wbits), ("gzip", wbits + 16)):
        compressor = zlib.compressobj(level, zlib.DEFLATED, way)
        encoded = compressor.compress(TEXT) + compressor.flush()
        assert decode(coding, by_bytes(encoded)) == decode(coding, [encoded]) == TEXT


@pytest.mark.parametrize("quality", range(0, 12, 3))
@pytest.mark.parametrize("window", [10, 18, 24])
def test_settings_of_brotli(quality: int, window: int) -> None:
    encoded = brotli.compress(NOISE + TEXT * 100, quality=quality, lgwin=window)
    assert decode("br", [encoded]) == NOISE + TEXT * 100


@pytest.mark.parametrize("level", [-5, 1, 3, 19])
@pytest.mark.parametrize("window", [10, 17, 23])
@pytest.mark.parametrize("checksum", [False, True])
@pytest.mark.parametrize("sized", [False, True])
def test_settings_of_zstd(level: int, window: int, checksum: bool, sized: bool) -> None:
    parameters = zstandard.ZstdCompressionParameters.from_level(
        level, window_log=window, write_checksum=checksum, write_content_size=sized
    )
    content = (NOISE + bytes(300_000)) * 2
    compressor = zstandard.ZstdCompressor(compression_params=parameters)
    stream = compressor.compressobj()
    for encoded in (compressor.compress(content), stream.compress(content) + stream.flush()):
        assert decode("zstd", [encoded]) == decode("zstd", cut(encoded, [1, 7, 5000])) == content


@pytest.mark.parametrize("size", [0, 1, 255, 256, 257, 65_535, 65_536, 65_791, 65_792, 131_072, 131_073])
def test_content_sizes_of_zstd(size: int) -> None:
    """RFC 8878 §3.1.1.1.4: the field that has the size of the content has 0, 1, 2, 4 or 8 bytes."""
    content = random.Random(size).randbytes(size)
    assert decode("zstd", by_bytes(encode_zstd(content))) == content


def test_what_was_flushed_can_be_read_at_once() -> None:
    """A server-sent event does not wait for the next one."""
    gzips, zlibs = zlib.compressobj(wbits=31), zlib.compressobj()
    brotlis = brotli.Compressor()
    zstds = zstandard.ZstdCompressor().compressobj()
    flushed: dict[str, Callable[[bytes], bytes]] = {
        "gzip": lambda data: gzips.compress(data) + gzips.flush(zlib.Z_SYNC_FLUSH),
        "deflate": lambda data: zlibs.compress(data) + zlibs.flush(zlib.Z_SYNC_FLUSH),
        "br": lambda data: brotlis.process(data) + brotlis.flush(),
        "zstd": lambda data: zstds.compress(data) + zstds.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK),
    }
    for coding, encode in flushed.items():
        decoder = decoder_of(coding)
        for event in (b"data: 1\n\n", TEXT, NOISE, bytes(131_072), bytes(65_536), b"end"):
            decoder.feed(encode(event))
            assert drain(decoder) == event
        with pytest.raises(DecodingError, match="cut off"):
            decoder.finish()


# --- What is named ------------------------------------------------------------------------------------------------


def test_accept_encoding() -> None:
    assert accept_encoding() == "gzip, deflate, br, zstd"


@pytest.mark.parametrize(
    "value", ["gzip", "GZip", "x-gzip", "X-GZIP", " gzip\t", "identity, gzip", ",gzip,, identity,"]
)
def test_names_of_gzip(value: str) -> None:
    """RFC 9110 §8.4.1: their case does not matter; §8.4.1.3: x-gzip is the same; §5.6.1.2: nor do empty members."""
    assert decode(value, [gzip.compress(b"abc")]) == b"abc"


@pytest.mark.parametrize(
    "value", ["", " ", ",", "identity", "Identity, identity", "compress", "gzip, foo", "foo, gzip", "gzip;q=1", "gz ip"]
)
def test_nothing_is_decoded_where_there_is_no_coding_or_one_that_is_not_known(value: str) -> None:
    assert make_decoder(value, max_size=None, max_ratio=1, free=0) is None


def test_many_codings() -> None:
    encoded = b"abc"
    for _ in range(5):
        encoded = gzip.compress(encoded)
    assert decode("gzip, gzip, gzip, identity, gzip,, gzip", by_bytes(encoded)) == b"abc"
    for value in ("gzip, " * 6, "gzip, deflate, br, zstd, foo, bar", "a," * 1000):
        with pytest.raises(DecodingError, match="codings"):
            make_decoder(value, max_size=None, max_ratio=1, free=0)


class _OldDecompressor:
    """That of brotli before 1.2: it has no limit for what comes out."""

    def is_finished(self) -> bool:
        return True

    def process(self, data: bytes) -> bytes:
        return data


def reloaded(monkeypatch: pytest.MonkeyPatch, **modules: types.ModuleType | None) -> types.ModuleType:
    """The module, as it is where other modules are installed, or none."""
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    spec = importlib.util.spec_from_file_location("_decoding_again", _decoding.__file__)
    assert spec is not None
    assert spec.loader is not None
    again = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(again)
    return again


def test_without_the_optional_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    again = reloaded(monkeypatch, brotli=None, zstandard=None, compression=None)
    assert again.accept_encoding() == "gzip, deflate"
    assert again.make_decoder("br", max_size=None, max_ratio=1, free=0) is None
    assert again.make_decoder("gzip, zstd", max_size=None, max_ratio=1, free=0) is None


def test_a_brotli_without_limits_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    old = types.ModuleType("brotli")
    old.Decompressor = _OldDecompressor  # type: ignore[attr-defined]
    old.error = ValueError  # type: ignore[attr-defined]
    again = reloaded(monkeypatch, brotli=old)
    assert again.accept_encoding() == "gzip, deflate, zstd"


# --- Where the content ends ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [*ENCODE, "gzip, br", "zstd, deflate, gzip"])
def test_no_content_at_all(value: str) -> None:
    """As in the answer to a HEAD, or a 304, that names the coding."""
    decoder = decoder_of(value)
    assert decoder.read(10) == b""
    decoder.finish()
    assert decode(value, [b"", b""]) == b""


@pytest.mark.parametrize("data", [b"", b"abc", TEXT[:200], bytes(300_000)], ids=len)
def test_cut_off_anywhere(encoder: tuple[str, Callable[[bytes], bytes]], data: bytes) -> None:
    coding, encode = encoder
    encoded = encode(data)
    for length in range(1, len(encoded)):
        decoder = decoder_of(coding)
        decoder.feed(encoded[:length])
        assert data.startswith(drain(decoder))
        with pytest.raises(DecodingError, match="cut off"):
            decoder.finish()


@pytest.mark.parametrize("coding", ENCODE)
def test_cut_off_within_another_coding(coding: str) -> None:
    inner = ENCODE[coding](TEXT)[:-1]
    with pytest.raises(DecodingError, match=f"{coding} content is cut off"):
        decode(f"{coding}, gzip", [gzip.compress(inner)])
    with pytest.raises(DecodingError, match="gzip content is cut off"):
        decode(f"{coding}, gzip", [gzip.compress(ENCODE[coding](TEXT))[:-1]])


@pytest.mark.parametrize("behind", [b"x", b"\0x", b"\r\n", b"\x1f\x8b", TEXT])
def test_something_behind_the_end(encoder: tuple[str, Callable[[bytes], bytes]], behind: bytes) -> None:
    """RFC 1952 §2.2, for one: members follow one another "with no additional information before, between, or after"."""
    coding, encode = encoder
    encoded = encode(b"abc") + behind
    for pieces in ([encoded], by_bytes(encoded), [encode(b"abc"), behind]):
        with pytest.raises(DecodingError):
            decode(coding, pieces)


@pytest.mark.parametrize("coding", ["deflate", "br", "zstd"])
def test_zeros_behind_the_end(coding: str) -> None:
    with pytest.raises(DecodingError):
        decode(coding, [ENCODE[coding](b"abc") + bytes(4)])


@pytest.mark.parametrize("count", [1, 7, 100_000])
def test_zeros_behind_gzip(count: int) -> None:
    """Files that come from tapes have them, and every gzip takes them."""
    encoded = gzip.compress(b"abc") + bytes(count)
    assert decode("gzip", [encoded]) == decode("gzip", cut(encoded, [13, 1, 3000])) == b"abc"
    for behind in (b"x", gzip.compress(b"def")):
        with pytest.raises(DecodingError, match="zeros"):
            decode("gzip", cut(encoded + behind, [50, 1000]))
    with pytest.raises(DecodingError):
        decode("gzip", [bytes(count)])


def test_members_of_gzip() -> None:
    """RFC 1952 §2.2."""
    parts = [b"abc", b"", TEXT, b"", b"", bytes(200_000), b"z"]
    encoded = b"".join(map(gzip.compress, parts))
    assert decode("gzip", [encoded]) == decode("gzip", by_bytes(encoded)) == b"".join(parts)
    with pytest.raises(DecodingError, match="cut off"):
        decode("gzip", [encoded[:-1]])
    assert decode("gzip", [gzip.compress(b"") * 10_000]) == b""


def test_fields_of_a_gzip_header() -> None:
    """RFC 1952 §2.3: extra field, name, comment, and a check of the header."""
    body = gzip.compress(TEXT)[10:]
    head = b"\x1f\x8b\x08\x1e" + bytes(6) + b"\x03\x00abc" + b"name\0" + b"comment\0"
    encoded = head + (zlib.crc32(head) & 0xFFFF).to_bytes(2, "little") + body
    assert decode("gzip", [encoded]) == decode("gzip", by_bytes(encoded)) == TEXT


def test_frames_of_zstd() -> None:
    """RFC 8878 §3: frames, skippable ones too (§3.1.2), follow one another, and are one content."""
    parts = [b"abc", b"", TEXT, bytes(200_000), b"z"]
    skippable = [
        (0x184D2A50 + number).to_bytes(4, "little") + size.to_bytes(4, "little") + NOISE[:size]
        for number, size in enumerate([0, 1, 4, 50_000, 0, *[3] * 11])
    ]
    encoded = b"".join(map(encode_zstd, parts)) + b"".join(skippable)
    assert decode("zstd", [encoded]) == decode("zstd", by_bytes(encoded)) == b"".join(parts)
    assert decode("zstd", [skippable[3] + encoded]) == b"".join(parts)
    assert decode("zstd", skippable) == b""
    for bad in (encoded[:-1], skippable[3][:-1], skippable[0][:-1]):
        with pytest.raises(DecodingError, match="cut off"):
            decode("zstd", [bad])


# --- What is malformed --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("coding", ENCODE)
@pytest.mark.parametrize("data", [b"<html>", b"\xff" * 50, b"\x1f\x8b\x08\xff" + b"\xff" * 50, b"\x28\xb5\x2f\xfd\xff"])
def test_what_is_not_in_that_coding(coding: str, data: bytes) -> None:
    for pieces in ([data], by_bytes(data)):
        with pytest.raises(DecodingError):
            decode(coding, pieces)


@pytest.mark.parametrize("coding", ["gzip", "deflate", "zstd"])
def test_any_byte_that_is_changed_is_found_out(coding: str) -> None:
    """They have a check of the content; RFC 7932 has none. Of a gzip header, little says more than when it was made."""
    content = NOISE[:40]
    encoded = ENCODE[coding](content)
    for at in range(10 if coding == "gzip" else 0, len(encoded)):
        bad = bytearray(encoded)
        bad[at] ^= 0xFF
        with pytest.raises(DecodingError):
            decode(coding, [bytes(bad)])


def test_an_error_stays() -> None:
    for coding, encode in ENCODE.items():
        decoder = decoder_of(f"gzip, {coding}")
        decoder.feed(encode(b"this is no gzip"))
        for _ in range(2):
            with pytest.raises(DecodingError, match="gzip content is malformed"):
                decoder.read(10)
        decoder.feed(gzip.compress(b"abc"))
        with pytest.raises(DecodingError, match="gzip content is malformed"):
            decoder.read(10)
        with pytest.raises(DecodingError, match="gzip content is malformed"):
            decoder.finish()


@pytest.mark.parametrize("coding", ENCODE)
@pytest.mark.parametrize("is_bad", [False, True])
def test_a_decoder_goes_with_its_last_reference(coding: str, is_bad: bool) -> None:
    """Its window is not kept until there is time for a collection."""
    gc.disable()
    try:
        decoder = decoder_of(f"gzip, {coding}", max_size=200 if is_bad else None)
        decoder.feed(ENCODE[coding](gzip.compress(bytes(5000))))
        assert decoder.read(200) == bytes(200)
        if is_bad:
            with pytest.raises(DecodedTooLarge):
                decoder.read(100)
        gone = weakref.ref(decoder)
        del decoder
        assert gone() is None
    finally:
        gc.enable()


def test_deflate_with_a_preset_dictionary() -> None:
    """RFC 1950 §2.2, FDICT: there is nothing that says which."""
    compressor = zlib.compressobj(zdict=TEXT)
    with pytest.raises(DecodingError):
        decode("deflate", [compressor.compress(TEXT) + compressor.flush()])


def test_zstd_with_a_dictionary() -> None:
    """RFC 8878 §3.1.1.1.3: without the dictionary that it names, a frame cannot be decoded."""
    samples: list[bytes | bytearray | memoryview] = [TEXT[at : at + 200] for at in range(0, 5000, 7)]
    dictionary = zstandard.train_dictionary(1024, samples)
    encoded = zstandard.ZstdCompressor(dict_data=dictionary).compress(TEXT)
    with pytest.raises(DecodingError):
        decode("zstd", [encoded])


@pytest.mark.parametrize("first", range(256))
def test_deflate_is_told_from_zlib_by_two_bytes(first: int) -> None:
    """RFC 1950 §2.2: 8 for the method, at most 7 for the window, and the two bytes divide by 31."""
    for second in range(256):
        is_zlib = first & 15 == 8 and first >> 4 <= 7 and (first * 256 + second) % 31 == 0
        reference = zlib.decompressobj() if is_zlib else zlib.decompressobj(-15)
        rest = zlib.compress(b"abc")[2:] if is_zlib else bytes(20)
        try:
            expected = reference.decompress(bytes([first, second]) + rest)
            bad = not reference.eof or bool(reference.unused_data)
        except zlib.error:
            expected, bad = b"", True
        for pieces in ([bytes([first, second]), rest], by_bytes(bytes([first, second]) + rest)):
            if bad:
                with pytest.raises(DecodingError):
                    decode("deflate", pieces)
            else:
                assert decode("deflate", pieces) == expected


# --- Frames of zstd made by hand ----------------------------------------------------------------------------------


def block(kind: int, size: int, content: bytes, last: bool = False) -> bytes:
    """RFC 8878 §3.1.1.2: a block. The kinds are 0, raw; 1, one byte repeated; 2, compressed; 3, reserved."""
    return (size << 3 | kind << 1 | last).to_bytes(3, "little") + content


def frame(window: int, *blocks: bytes) -> bytes:
    """A frame with a Window_Descriptor (§3.1.1.1.2)."""
    return b"\x28\xb5\x2f\xfd\x00" + bytes([window]) + b"".join(blocks)


END = block(0, 0, b"", last=True)
LARGEST = (23 - 10) << 3  # 8 MiB


def test_blocks() -> None:
    encoded = frame(LARGEST, block(0, 3, b"abc"), block(1, 131_072, b"z"), block(1, 0, b"y"), block(0, 0, b""), END)
    for pieces in ([encoded], by_bytes(encoded)):
        assert decode("zstd", pieces) == b"abc" + b"z" * 131_072


def test_the_window_of_zstd() -> None:
    """RFC 9659 §3: 8 MiB at most."""
    assert decode("zstd", [frame(LARGEST, END)]) == b""
    for window in (LARGEST + 1, (24 - 10) << 3, 255):
        with pytest.raises(DecodingError, match="window"):
            decode("zstd", [frame(window, END)])


def test_a_single_segment_is_its_own_window() -> None:
    """RFC 8878 §3.1.1.1.1.2, "Single_Segment_flag"."""
    head = b"\x28\xb5\x2f\xfd\xa0"  # with a size of 4 bytes
    blocks = block(1, 131_072, b"z") * 63 + block(1, 131_072, b"z", last=True)
    assert decode("zstd", [head + (8 << 20).to_bytes(4, "little") + blocks]) == b"z" * (8 << 20)
    with pytest.raises(DecodingError, match="window"):
        decode("zstd", [head + ((8 << 20) + 1).to_bytes(4, "little") + blocks])
    with pytest.raises(DecodingError, match="window"):
        decode("zstd", [b"\x28\xb5\x2f\xfd\xe0" + b"\xff" * 8 + blocks])


@pytest.mark.parametrize(
    "bad",
    [
        frame(LARGEST, block(3, 1, b"x"), END),
        frame(LARGEST, block(0, 131_073, bytes(131_073)), END),
        frame(LARGEST, block(1, 131_073, b"x"), END),
        frame(LARGEST, block(1, (1 << 21) - 1, b"x"), END),
        frame(LARGEST, block(2, (1 << 21) - 1, b"x"), END),
        frame(LARGEST, block(2, 20, bytes(20)), END),
        frame(0, block(0, 1025, bytes(1025)), END),
        b"\x28\xb5\x2f\xfd\x20\x05" + block(0, 4, b"abcd", last=True),
        b"\x28\xb5\x2f\xfd\x20\x05" + block(0, 6, b"abcdef", last=True),
        b"\x28\xb5\x2f\xfd\x08\x00" + END,
        b"\x27\xb5\x2f\xfd\x00\x00" + END,
    ],
    ids=[
        *("reserved kind", "large raw block", "large run", "very large run", "very large block", "no block"),
        *("larger than the window", "too short", "too long", "reserved bit", "old format"),
    ],
)
def test_malformed_zstd(bad: bytes) -> None:
    for pieces in ([bad], by_bytes(bad)):
        with pytest.raises(DecodingError):
            decode("zstd", pieces)


# --- Limits -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 7, 1000, 65536, 10_000_000])
@pytest.mark.parametrize("content", [TEXT, bytes(200_000)], ids=len)
def test_the_edge_of_max_size(encoder: tuple[str, Callable[[bytes], bytes]], content: bytes, size: int) -> None:
    coding, encode = encoder
    encoded = encode(content)
    size = max(size, len(content) // 10_000)
    assert decode(decoder_of(coding, max_size=len(content)), [encoded], size) == content
    decoder = decoder_of(coding, max_size=len(content) - 1)
    decoder.feed(encoded)
    read = b""
    while len(read) < len(content) - 1:
        read += decoder.read(size)
    assert read == content[:-1]
    assert decoder.decoded == len(content) - 1
    with pytest.raises(DecodedTooLarge, match=str(len(content) - 1)):
        decoder.read(size)
    with pytest.raises(DecodedTooLarge):
        decoder.finish()


def test_nothing_at_all_may_come_out(encoder: tuple[str, Callable[[bytes], bytes]]) -> None:
    coding, encode = encoder
    assert decode(decoder_of(coding, max_size=0), [encode(b"")]) == b""
    with pytest.raises(DecodedTooLarge):
        decode(decoder_of(coding, max_size=0), [encode(b"a")])


@pytest.mark.parametrize("size", [1000, 65536])
def test_the_edge_of_max_ratio(encoder: tuple[str, Callable[[bytes], bytes]], size: int) -> None:
    coding, encode = encoder
    content = TEXT * 10
    encoded = encode(content)
    ratio = len(content) / len(encoded)
    # A float may miss the number by a little.
    assert decode(decoder_of(coding, max_ratio=ratio * 1.000001), [encoded], size) == content
    decoder = decoder_of(coding, max_ratio=(len(content) - 1) / len(encoded))
    decoder.feed(encoded)
    with pytest.raises(DecodedTooLarge):
        drain(decoder, size)
    assert decoder.decoded in (len(content) - 1, len(content) - 2)


def test_the_edge_of_what_is_free(encoder: tuple[str, Callable[[bytes], bytes]]) -> None:
    coding, encode = encoder
    content = bytes(100_000)
    encoded = encode(content)
    assert decode(decoder_of(coding, max_ratio=1, free=len(content)), [encoded]) == content
    with pytest.raises(DecodedTooLarge):
        decode(decoder_of(coding, max_ratio=1, free=len(content) - 1), [encoded])
    # What is free is no excuse for what is too large.
    with pytest.raises(DecodedTooLarge):
        decode(decoder_of(coding, max_size=10, max_ratio=1, free=len(content)), [encoded])


def test_the_ratio_is_that_of_what_was_fed_so_far() -> None:
    encoded = gzip.compress(bytes(50_000)) + gzip.compress(NOISE)
    assert decode(decoder_of("gzip", max_ratio=2), [encoded]) == bytes(50_000) + NOISE
    with pytest.raises(DecodedTooLarge):
        decode(decoder_of("gzip", max_ratio=2), cut(encoded, [200]))
    assert decode(decoder_of("gzip", max_ratio=2, free=100_000), cut(encoded, [200])) == bytes(50_000) + NOISE


def test_limits_hold_between_two_codings() -> None:
    """What comes out at the end may be little: here it is nothing, of 10 MB of zeros behind a gzip content."""
    encoded = gzip.compress(gzip.compress(b"") + bytes(10_000_000))
    assert decode("gzip, gzip", [encoded]) == b""
    for limits in ({"max_size": 9_000_000}, {"max_ratio": 100.0}):
        decoder = decoder_of("gzip, gzip", **limits)
        with pytest.raises(DecodedTooLarge, match="gzip content"):
            decode(decoder, [encoded])
        assert decoder.decoded == 0


# --- Bombs --------------------------------------------------------------------------------------------------------

MANY = 64 << 20
ZEROS = bytes(1 << 20)


def stream(compress: Callable[[bytes], bytes], flush: Callable[[], bytes]) -> bytes:
    return b"".join([*(compress(ZEROS) for _ in range(MANY >> 20)), flush()])


@functools.cache
def gzip_bomb() -> bytes:
    compressor = zlib.compressobj(9, wbits=31)
    return stream(compressor.compress, compressor.flush)


@functools.cache
def zlib_bomb() -> bytes:
    compressor = zlib.compressobj(9)
    return stream(compressor.compress, compressor.flush)


@functools.cache
def brotli_bomb() -> bytes:
    compressor = brotli.Compressor(quality=5)
    return stream(compressor.process, compressor.finish)


BOMBS: dict[str, tuple[str, Callable[[], bytes]]] = {
    "gzip": ("gzip", gzip_bomb),
    "deflate": ("deflate", zlib_bomb),
    "br": ("br", brotli_bomb),
    "zstd": ("zstd", lambda: frame(LARGEST, block(1, 131_072, b"\0") * (MANY >> 17), END)),
    "gzip in gzip": ("gzip, gzip", lambda: gzip.compress(gzip_bomb())),
    "gzip in gzip in gzip": ("gzip, gzip, gzip", lambda: gzip.compress(gzip.compress(gzip_bomb()))),
    "gzip in zstd": ("gzip, zstd", lambda: encode_zstd(gzip_bomb())),
    "zstd in br in gzip": (
        "zstd, br, gzip",
        lambda: gzip.compress(brotli.compress(frame(LARGEST, block(1, 131_072, b"\0") * (MANY >> 17), END))),
    ),
    "zeros behind gzip in zstd": ("gzip, zstd", lambda: encode_zstd(gzip.compress(b"") + bytes(MANY))),
}


@pytest.mark.parametrize("coding, bomb", BOMBS.values(), ids=BOMBS)
@pytest.mark.parametrize("size", [1000, 65536])
def test_bombs_take_little_memory(coding: str, bomb: Callable[[], bytes], size: int) -> None:
    """Python's own, that is: of the windows, which libraries allocate, it knows nothing."""
    encoded = bomb()
    decoder = decoder_of(coding)
    tracemalloc.start()
    try:
        decoder.feed(encoded)
        for _ in range(300):
            if len(decoder.read(size)) == 0:
                break
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1 << 20
    assert decoder.decoded <= 300 * size


_MEASURE = """
import resource, sys
from pants.http._decoding import make_decoder

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> (10 if sys.platform == "darwin" else 0)

encoded = sys.stdin.buffer.read()
# Once, that what is loaded and kept anyway does not count.
for part in (encoded[:1000], encoded):
    before = peak()
    decoder = make_decoder(sys.argv[1], max_size=None, max_ratio=float("inf"), free=0)
    decoder.feed(part)
    while decoder.read(65536):
        pass
print(peak() - before, decoder.decoded)
"""


@pytest.mark.parametrize("name", ["gzip", "br", "zstd", "gzip in gzip in gzip", "zstd in br in gzip"])
def test_bombs_take_little_memory_of_the_system(name: str) -> None:
    """A window may be 16 MiB for brotli and 8 MiB for zstd, which buffers its input besides; the bombs have 64 MiB."""
    coding, bomb = BOMBS[name]
    found = subprocess.run(
        [sys.executable, "-c", _MEASURE, coding], input=bomb(), capture_output=True, check=True, timeout=120
    )
    grown, decoded = map(int, found.stdout.split())
    assert decoded == MANY
    assert grown < 40 << 10


def test_bombs_are_stopped(encoder: tuple[str, Callable[[bytes], bytes]]) -> None:
    coding, encode = encoder
    decoder = decoder_of(coding, max_ratio=10, free=1000)
    decoder.feed(encode(bytes(5_000_000)))
    with pytest.raises(DecodedTooLarge):
        drain(decoder)
    assert decoder.decoded <= max(1000, 10 * decoder.raw)


def test_what_was_fed_is_not_copied() -> None:
    encoded = zlib.compress(random.Random(2).randbytes(4_000_000))
    decoder = decoder_of("deflate")
    tracemalloc.start()
    try:
        decoder.feed(encoded)
        while decoder.read(100_000):
            pass
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1 << 20


# --- The fuzz target ----------------------------------------------------------------------------------------------


def test_fuzz_target() -> None:
    path = Path(__file__).parents[2] / "fuzz" / "fuzz_decoding.py"
    spec = importlib.util.spec_from_file_location("fuzz_decoding", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.fuzz(200)
