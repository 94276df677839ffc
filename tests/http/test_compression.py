"""`pants.http._compression`: what is compressed, that it can be read, and what the header fields say about it."""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable
from typing import Any

import brotli
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from pants.http import _compression
from pants.http._compression import Compression, encoded_fields, may_compress

CODINGS = ["br", "zstd", "gzip"]

Fields = list[tuple[str, str]]


def new_decoder(coding: str) -> Callable[[bytes], bytes]:
    """What a client decodes an answer with, piece by piece."""
    if coding == "br":
        decompressor = brotli.Decompressor()
        # It gives what there is bit by bit.
        return lambda data: b"".join([decompressor.process(data), *iter(lambda: decompressor.process(b""), b"")])
    if coding == "zstd":
        return zstandard.ZstdDecompressor().decompressobj().decompress
    return zlib.decompressobj(16 + zlib.MAX_WBITS).decompress


@pytest.fixture(params=CODINGS)
def coding(request: pytest.FixtureRequest) -> str:
    return str(request.param)


# --- The content --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [b"", b"a", b"abc" * 10_000, bytes(range(256)) * 4000], ids=len)
def test_what_is_compressed_can_be_read(coding: str, data: bytes) -> None:
    compressed = Compression().compress(coding, data)
    assert new_decoder(coding)(compressed) == data
    assert len(compressed) < len(data) or len(data) < 10


@given(st.sampled_from(CODINGS), st.lists(st.binary(max_size=300), max_size=8))
@settings(max_examples=100, deadline=None)
def test_each_piece_can_be_read_as_soon_as_it_was_sent(coding: str, pieces: list[bytes]) -> None:
    """A server-sent event must not wait in the compressor for the next one."""
    encoder = Compression().encoder(coding)
    decode = new_decoder(coding)
    for piece in pieces:
        assert decode(encoder.feed(piece)) == piece
    assert decode(encoder.finish()) == b""


def test_the_end_of_what_is_sent_in_pieces_is_the_end_of_the_coding(coding: str) -> None:
    """A client tells a complete answer from one that was cut off."""
    encoder = Compression().encoder(coding)
    sent = encoder.feed(b"abc") + encoder.feed(b"def")
    whole = sent + encoder.finish()
    if coding == "br":
        decoder = brotli.Decompressor()
        decoder.process(sent)
        assert not decoder.is_finished()
        decoder.process(whole[len(sent) :])
        assert decoder.is_finished()
    elif coding == "zstd":
        zstd = zstandard.ZstdDecompressor().decompressobj()
        zstd.decompress(sent)
        assert not zstd.eof
        zstd.decompress(whole[len(sent) :])
        assert zstd.eof
    else:
        gzip = zlib.decompressobj(16 + zlib.MAX_WBITS)
        gzip.decompress(sent)
        assert not gzip.eof
        gzip.decompress(whole[len(sent) :])
        assert gzip.eof


def test_nothing_is_sent_for_nothing(coding: str) -> None:
    """In chunked framing an empty chunk would be the last (RFC 9112 §7.1), and others would be a waste."""
    encoder = Compression().encoder(coding)
    assert encoder.feed(b"") == b""
    encoder.feed(b"a")
    assert encoder.feed(b"") == b""


@pytest.mark.parametrize("level", [1, 22])
def test_the_window_of_zstd_is_one_that_browsers_take(level: int) -> None:
    """RFC 9659 §3: no more than 8 MiB."""
    compression = Compression(levels={"zstd": level})
    encoder = compression.encoder("zstd")
    for data in (compression.compress("zstd", bytes(10_000_000)), encoder.feed(bytes(100_000)) + encoder.finish()):
        window = zstandard.get_frame_parameters(data).window_size
        assert window <= 8 * 1024 * 1024


@pytest.mark.parametrize("level", [1, 9])
def test_levels(coding: str, level: int) -> None:
    data = b" ".join(str(number * number).encode() for number in range(20_000))
    compression = Compression(levels={coding: level})
    assert compression.levels[coding] == level
    assert compression.compress(coding, data) != Compression().compress(coding, data)
    encoder = compression.encoder(coding)
    assert new_decoder(coding)(encoder.feed(data)) == data


def test_the_same_content_gives_the_same_answer(coding: str) -> None:
    """Nothing of a file's time or name is in it: two workers of a server answer alike."""
    compression = Compression()
    assert compression.compress(coding, b"abc" * 1000) == compression.compress(coding, b"abc" * 1000)


# --- Which coding -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "codings, accepted, expected",
    [
        (CODINGS, "gzip, deflate, br, zstd", "br"),
        (CODINGS, "gzip;q=1, br;q=0.5", "gzip"),
        (CODINGS, "deflate", None),
        (CODINGS, None, None),
        (CODINGS, "", None),
        (["gzip"], "br, gzip;q=0.1", "gzip"),
        (["zstd", "br"], "*", "zstd"),
    ],
)
def test_choosing(codings: list[str], accepted: str | None, expected: str | None) -> None:
    """RFC 9110 §12.5.3; among equals the server's order counts."""
    assert Compression(codings=codings).choose(accepted, "text/html") == expected
    assert Compression(codings=codings).choose(accepted, "image/png") is None


@pytest.mark.parametrize(
    "content_type",
    [
        *("text/plain", "text/html; charset=utf-8", "TEXT/HTML", " text/css ;x", "text/event-stream", "text/markdown"),
        *("application/json", "application/javascript", "text/javascript", "application/xml", "application/wasm"),
        *("application/problem+json", "application/xhtml+xml", "application/atom+xml; charset=utf-8", "image/svg+xml"),
        *("application/vnd.api+json", "application/ld+json", "font/ttf", "application/manifest+json"),
    ],
)
def test_types_that_are_compressed(content_type: str) -> None:
    assert Compression().is_compressible(content_type)


@pytest.mark.parametrize(
    "content_type",
    [
        *("image/png", "image/jpeg", "image/webp", "image/avif", "video/mp4", "audio/mpeg", "application/zip"),
        *("application/gzip", "application/zstd", "application/pdf", "font/woff2", "font/woff", "application/x-7z"),
        *("application/octet-stream", "multipart/byteranges; boundary=text/plain", "application/epub+zip"),
        *("", "text", "json", "application/jsonx", "x/text/*", "application/json+", "image/svg+xmlx", "application/"),
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    ],
)
def test_types_that_are_not(content_type: str) -> None:
    assert not Compression().is_compressible(content_type)


def test_types_of_ones_own() -> None:
    compression = Compression(types=["Image/*", "application/x-own", "+own"])
    for content_type in ("image/png", "application/X-OWN", "application/a+own", "image/"):
        assert compression.is_compressible(content_type)
    for content_type in ("text/plain", "application/own", "application/x-own2"):
        assert not compression.is_compressible(content_type)


def test_what_is_remembered_of_types_is_bounded() -> None:
    compression = Compression()
    for number in range(1000):
        compression.is_compressible(f"text/a{number}")
    remembered: Any = compression._is_compressible
    assert remembered.cache_info().currsize <= 256


# --- What the program asks for ------------------------------------------------------------------------------------


def test_defaults() -> None:
    compression = Compression()
    assert (compression.min_size, compression.codings) == (1024, ("br", "zstd", "gzip"))
    assert compression.levels == {"br": 4, "zstd": 3, "gzip": 5}
    assert compression == Compression()
    assert hash(compression) == hash(Compression())
    assert compression != Compression(min_size=1)


@pytest.mark.parametrize(
    "arguments, error, match",
    [
        ({"codings": ["brotli"]}, ValueError, "br, zstd, gzip, not 'brotli'"),
        ({"codings": ["gzip", "deflate"]}, ValueError, "not 'deflate'"),
        ({"codings": []}, ValueError, "empty"),
        ({"codings": "gzip"}, TypeError, r"\('gzip',\)"),
        ({"levels": {"x": 1}}, ValueError, "not 'x'"),
        ({"levels": {"gzip": 10}}, ValueError, "1 to 9 for gzip, not 10"),
        ({"levels": {"gzip": 0}}, ValueError, "1 to 9"),
        ({"levels": {"br": 12}}, ValueError, "0 to 11"),
        ({"levels": {"zstd": 23}}, ValueError, "1 to 22"),
        ({"levels": {"zstd": 3.0}}, TypeError, "int for zstd"),
        ({"levels": {"zstd": True}}, TypeError, "int for zstd"),
        ({"min_size": -1}, ValueError, "min_size"),
        ({"min_size": 1.5}, TypeError, "min_size"),
        ({"min_size": True}, TypeError, "min_size"),
        ({"types": "text/html"}, TypeError, r"\('text/html',\)"),
        ({"types": ["html"]}, ValueError, "type/subtype.*'html'"),
        ({"types": ["a/b/c"]}, ValueError, "type/subtype"),
    ],
)
def test_what_cannot_be_asked_for(arguments: dict[str, Any], error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        Compression(**arguments)


def test_without_the_extras(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not installed is passed over in the default, and refused where it was asked for."""
    for module in ("brotli", "zstandard", "compression"):
        monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setattr(_compression, "_CODECS", _compression._find_codecs())
    assert Compression().codings == ("gzip",)
    assert Compression().choose("br, zstd, gzip;q=0.1", "text/html") == "gzip"
    assert Compression(levels={"br": 5}).levels == {"gzip": 5}
    with pytest.raises(ValueError, match=r"pip install 'pants-http\[brotli\]'"):
        Compression(codings=["gzip", "br"])
    with pytest.raises(ValueError, match=r"pip install 'pants-http\[zstd\]'"):
        Compression(codings=["zstd"])


# --- The header fields --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "method, code, expected",
    [
        *(("GET", 200, True), ("HEAD", 200, True), ("POST", 201, True), ("GET", 404, True), ("GET", 500, True)),
        *(("GET", 100, False), ("GET", 101, False), ("GET", 103, False)),  # RFC 9110 §15.2: no content
        *(("GET", 204, False), ("GET", 205, False), ("GET", 304, False)),  # §15.3.5, §15.3.6, §15.4.5: none either
        ("GET", 206, False),  # §15.3.7: a part of what would be compressed as a whole
        *(("CONNECT", 200, False), ("CONNECT", 407, True)),  # §9.3.6: a tunnel follows
    ],
)
def test_codes_and_methods(method: str, code: int, expected: bool) -> None:
    assert may_compress(method, code, [("Content-Type", "text/plain")]) is expected


@pytest.mark.parametrize(
    "field, expected",
    [
        (("Content-Encoding", "gzip"), False),  # RFC 9110 §8.4: it has been done
        (("content-encoding", "identity"), False),
        (("Content-Range", "bytes */10"), False),  # §14.4
        (("Cache-Control", "no-transform"), False),  # RFC 9111 §5.2.2.6
        (("cache-control", 'max-age=1 ,\tNo-Transform, x="y"'), False),
        (("Cache-Control", "no-cache, no-transformation"), True),
        (("X", "no-transform"), True),
        (("Content-Digest", "sha-256=:AA==:"), False),  # RFC 9530 §2: of the content as it is sent
        (("Repr-Digest", "sha-256=:AA==:"), False),  # RFC 9530 §3: of the representation, which the coding is part of
        (("Digest", "md5=AA=="), False),
        (("Content-MD5", "AA=="), False),
        (("Signature-Input", 'a=("etag" "content-length")'), False),  # RFC 9421 §2: covers other fields
        (("ETag", '"a"'), True),
    ],
)
def test_fields_that_settle_it(field: tuple[str, str], expected: bool) -> None:
    assert may_compress("GET", 200, [("Content-Type", "text/plain"), field]) is expected


@pytest.mark.parametrize(
    "code, coding, fields, expected",
    [
        pytest.param(
            200,
            "gzip",
            [("Content-Type", "text/plain"), ("Content-Length", "5000"), ("Accept-Ranges", "bytes"), ("X", "y")],
            [("Content-Type", "text/plain"), ("X", "y"), ("Content-Encoding", "gzip"), ("Content-Length", "70"),
             ("Vary", "Accept-Encoding")],
            id="RFC 9110 §8.4, §8.6, §14.3",
        ),
        pytest.param(
            200,
            None,
            [("Content-Length", "5000"), ("Accept-Ranges", "bytes"), ("ETag", '"a"')],
            [("Content-Length", "5000"), ("Accept-Ranges", "bytes"), ("ETag", '"a"'), ("Vary", "Accept-Encoding")],
            id="another client would get it compressed (RFC 9110 §12.5.5)",
        ),
        pytest.param(
            206,
            None,
            [("Content-Range", "bytes 0-1/5"), ("ETag", '"a"')],
            [("Content-Range", "bytes 0-1/5"), ("ETag", '"a"'), ("Vary", "Accept-Encoding")],
            id="a part tells Vary as the whole would (RFC 9110 §15.3.7)",
        ),
        pytest.param(
            304, "br", [("ETag", '"a"')], [("ETag", 'W/"a"'), ("Vary", "Accept-Encoding")],
            id="the same ETag and Vary as in the 200, and no more (RFC 9110 §15.4.5)",
        ),
    ],
)  # fmt: skip
def test_the_fields_of_an_answer(code: int, coding: str | None, fields: Fields, expected: Fields) -> None:
    before = list(fields)
    assert encoded_fields(code, fields, coding, 70) == expected
    assert fields == before


def test_a_length_that_is_not_known_is_not_told() -> None:
    """RFC 9110 §8.6: not even in an answer to HEAD, if it were not that of the answer to GET."""
    assert encoded_fields(200, [("content-length", "5000")], "br", None) == [
        ("Content-Encoding", "br"),
        ("Vary", "Accept-Encoding"),
    ]


@pytest.mark.parametrize("tag, expected", [('"a"', 'W/"a"'), ('W/"a"', 'W/"a"'), ('""', 'W/""')])
def test_an_etag_is_weak(tag: str, expected: str) -> None:
    """RFC 9110 §8.8.1: a strong one would be that of one representation only."""
    assert ("etag", expected) in encoded_fields(200, [("etag", tag)], "gzip", 1)


@pytest.mark.parametrize(
    "values, expected",
    [
        ([], ["Accept-Encoding"]),
        (["Cookie"], ["Cookie, Accept-Encoding"]),
        (["Cookie", "Origin, Accept"], ["Cookie, Origin, Accept, Accept-Encoding"]),
        (["*"], ["*"]),
        (["Cookie", "*"], ["Cookie", "*"]),
        (["Accept, accept-encoding"], ["Accept, accept-encoding"]),
        (["Accept-Encoding", "Cookie"], ["Accept-Encoding", "Cookie"]),
        ([""], ["Accept-Encoding"]),
        (["", "Cookie"], ["Cookie, Accept-Encoding"]),
        (["X-Accept-Encoding"], ["X-Accept-Encoding, Accept-Encoding"]),
    ],
)
@pytest.mark.parametrize("coding", ["gzip", None])
def test_vary(values: list[str], expected: list[str], coding: str | None) -> None:
    """RFC 9110 §12.5.5. An asterisk says more than any name."""
    fields = encoded_fields(200, [("vary", value) for value in values], coding, 1)
    assert [value for name, value in fields if name.lower() == "vary"] == expected
