"""Answers in a content coding (RFC 9110 §8.4): gzip, br (RFC 7932) and zstd (RFC 8878, RFC 9659). Sans-IO.

`Compression` says what is compressed and how; `may_compress` and `encoded_fields` say what that means for the header
fields of an answer.
"""

from __future__ import annotations

import dataclasses
import functools
import sys
import zlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Final, NamedTuple

from pants.http._negotiation import choose_coding

#: What is worth compressing: text of any kind, and the few binary formats that are not compressed by themselves.
COMPRESSIBLE: Final = (
    *("text/*", "+json", "+xml", "+yaml", "+text"),
    *("application/json", "application/json-seq", "application/jsonl", "application/x-ndjson", "application/yaml"),
    *("application/javascript", "application/x-javascript", "application/ecmascript", "application/wasm"),
    *("application/xml", "application/xml-dtd", "application/rtf", "application/sql", "application/toml"),
    *("application/graphql", "application/x-sh", "application/x-tex", "application/postscript", "application/cbor"),
    *("application/vnd.ms-fontobject", "application/x-www-form-urlencoded"),
    *("font/ttf", "font/otf", "font/collection", "image/bmp", "image/x-icon", "image/vnd.microsoft.icon"),
)

# The window, as a power of two: 256 KiB. It costs content of a few MiB next to nothing, and an encoder, of which each
# answer in pieces has one, takes some 1 MiB of memory instead of several. RFC 9659 §3 allows zstd 8 MiB at most.
_WINDOW: Final = 18

# zlib's way to ask for gzip with its largest window.
_GZIP: Final = 16 + zlib.MAX_WBITS

# Fields that speak of the very bytes that the program made, or of a coding that it has applied by itself: a part
# (RFC 9110 §14.4), a digest (RFC 9530 §2 and §3, and those before it), a signature (RFC 9421 §4.1), which may cover any
# of the fields besides. Without a digest that the program has set, a client may not believe the answer.
_SETTLED: Final = frozenset(
    {"content-encoding", "content-range", "content-digest", "repr-digest", "digest", "content-md5", "signature-input"}
)


class Encoder:
    """Compresses one answer that is sent in pieces. `Compression.encoder` makes it."""

    __slots__ = ("_compress", "_flush", "finish")

    def __init__(
        self, compress: Callable[[bytes], bytes], flush: Callable[[], bytes], finish: Callable[[], bytes]
    ) -> None:
        self._compress = compress
        self._flush = flush
        #: Returns what is to be sent last. Nothing can be fed after it.
        self.finish = finish

    def feed(self, data: bytes) -> bytes:
        """Return what is to be sent for ``data``, so that the client can decode all of it at once."""
        return self._compress(data) + self._flush() if data else b""


class _Codec(NamedTuple):
    """How a coding is applied."""

    levels: range
    level: int  # sensible for content that is made for one answer
    compress: Callable[[bytes, int], bytes]
    start: Callable[[int], Encoder]


def _gzip() -> _Codec:
    def start(level: int) -> Encoder:
        compressor = zlib.compressobj(level, zlib.DEFLATED, _GZIP)
        return Encoder(compressor.compress, functools.partial(compressor.flush, zlib.Z_SYNC_FLUSH), compressor.flush)

    return _Codec(range(1, 10), 5, functools.partial(zlib.compress, wbits=_GZIP), start)


def _br() -> _Codec:
    import brotli

    def start(level: int) -> Encoder:
        compressor = brotli.Compressor(quality=level, lgwin=_WINDOW)
        return Encoder(compressor.process, compressor.flush, compressor.finish)

    def compress(data: bytes, level: int) -> bytes:
        compressed: bytes = brotli.compress(data, quality=level, lgwin=_WINDOW)
        return compressed

    return _Codec(range(12), 4, compress, start)


if sys.version_info >= (3, 14):

    def _zstd() -> _Codec:
        from compression import zstd

        parameter = zstd.CompressionParameter

        def options(level: int) -> dict[int, int]:
            return {parameter.compression_level: level, parameter.window_log: _WINDOW}

        def start(level: int) -> Encoder:
            compressor = zstd.ZstdCompressor(options=options(level))
            flush = functools.partial(compressor.flush, zstd.ZstdCompressor.FLUSH_BLOCK)
            return Encoder(compressor.compress, flush, compressor.flush)

        def compress(data: bytes, level: int) -> bytes:
            return zstd.compress(data, options=options(level))

        return _Codec(range(1, 23), 3, compress, start)

else:

    def _zstd() -> _Codec:
        import zstandard

        @functools.cache
        def parameters(level: int) -> zstandard.ZstdCompressionParameters:
            return zstandard.ZstdCompressionParameters.from_level(level, window_log=_WINDOW)

        def start(level: int) -> Encoder:
            compressor = zstandard.ZstdCompressor(compression_params=parameters(level)).compressobj()
            flush = functools.partial(compressor.flush, zstandard.COMPRESSOBJ_FLUSH_BLOCK)
            return Encoder(compressor.compress, flush, compressor.flush)

        def compress(data: bytes, level: int) -> bytes:
            # Not one compressor for all: that would not be safe with engines in several threads.
            return zstandard.ZstdCompressor(compression_params=parameters(level)).compress(data)

        return _Codec(range(1, 23), 3, compress, start)


# In the order in which the server prefers them.
_MAKERS: Final[Mapping[str, Callable[[], _Codec]]] = {"br": _br, "zstd": _zstd, "gzip": _gzip}


def _find_codecs() -> dict[str, _Codec]:
    """Return the codings that are installed."""
    codecs = {}
    for coding, make in _MAKERS.items():
        try:
            codecs[coding] = make()
        except ImportError:
            pass
    return codecs


_CODECS: Final = _find_codecs()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Compression:
    """Which answers of a server are compressed, and how.

    Compressing what is secret together with what an attacker can choose gives the secret away by the length of the
    answer, HTTPS or not (the BREACH attack). A page that shows a token and echoes parameters should mask the token, or
    keep out of this by ``Cache-Control: no-transform``.

    Attributes:
        min_size: Content shorter than this many bytes is sent as it is.
        codings: Names of codings, the one that the server prefers first: of ``br``, ``zstd`` and ``gzip``. All that are
            installed, unless given: br needs the package brotli (``pants-http[brotli]``); zstd needs Python 3.14, or
            zstandard (``pants-http[zstd]``).
        levels: How hard each coding tries, by its name: gzip 1 to 9, br 0 to 11, zstd 1 to 22. Those that are not given
            have one that suits content made for a single answer: gzip 5, br 4, zstd 3.
        types: The content types that are compressed: ``type/subtype``, ``type/*`` or ``+suffix``.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: A coding is not known or not installed, or there is none; a size, level or type is out of bounds.

    Example:
        >>> from pants.http import Compression, HTTPServer
        >>> server = HTTPServer(lambda request: request.send_response("Hi"), compression=Compression(min_size=500))
    """

    min_size: int = 1024
    codings: Sequence[str] = dataclasses.field(default_factory=lambda: tuple(_CODECS))
    levels: Mapping[str, int] = dataclasses.field(default_factory=dict, hash=False)
    types: Collection[str] = COMPRESSIBLE
    _is_compressible: Callable[[str], bool] = dataclasses.field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if isinstance(self.min_size, bool) or not isinstance(self.min_size, int):
            raise TypeError(f"Compression.min_size is an int, not {self.min_size!r}")
        if self.min_size < 0:
            raise ValueError(f"Compression.min_size is at least 0, not {self.min_size}")
        codings = _names("codings", self.codings)
        types = tuple(kind.lower() for kind in _names("types", self.types))
        for kind in types:
            if not kind.startswith("+") and kind.count("/") != 1:
                raise ValueError(f"Compression.types has type/subtype, type/* or +suffix, not {kind!r}")
        object.__setattr__(self, "codings", codings)
        object.__setattr__(self, "levels", _check_levels(codings, self.levels))
        object.__setattr__(self, "types", types)
        # What is asked for is what handlers send: a few types. But some may repeat what a client has sent.
        cached = functools.lru_cache(maxsize=256)(functools.partial(_is_among, frozenset(types)))
        object.__setattr__(self, "_is_compressible", cached)

    def is_compressible(self, content_type: str) -> bool:
        """Return whether content of that type is worth compressing. Parameters and case do not matter."""
        return self._is_compressible(content_type)

    def choose(self, accept_encoding: str | None, content_type: str) -> str | None:
        """Return the coding for an answer, or None to send it as it is.

        Args:
            accept_encoding: The value of Accept-Encoding in the request (RFC 9110 §12.5.3); None where it has none.
            content_type: The value of Content-Type in the answer.
        """
        return choose_coding(accept_encoding, self.codings) if self._is_compressible(content_type) else None

    def compress(self, coding: str, data: bytes) -> bytes:
        """Return the whole of ``data``, compressed.

        It takes some 10 to 40 ms for 1 MiB, more at higher levels, during which the engine does nothing else.
        """
        return _CODECS[coding].compress(data, self.levels[coding])

    def encoder(self, coding: str) -> Encoder:
        """Return what compresses an answer that is sent in pieces. It takes up to 1 MiB of memory while it is kept."""
        return _CODECS[coding].start(self.levels[coding])


def _names(what: str, names: Iterable[str]) -> tuple[str, ...]:
    if isinstance(names, str):
        raise TypeError(f"Compression.{what} is a sequence of names, as in ({names!r},), not a str")
    return tuple(names)


def _check_levels(codings: tuple[str, ...], levels: Mapping[str, int]) -> Mapping[str, int]:
    """Return the level of each coding."""
    if not codings:
        raise ValueError("Compression.codings is empty; to compress nothing, do without Compression")
    for coding in (*codings, *levels):
        if coding not in _MAKERS:
            raise ValueError(f"Compression knows the codings {', '.join(_MAKERS)}, not {coding!r}")
    for coding in codings:
        if coding not in _CODECS:
            extra = {"br": "brotli"}.get(coding, coding)
            raise ValueError(f"the coding {coding} is not installed: pip install 'pants-http[{extra}]'")
    checked = {}
    for coding in codings:
        codec = _CODECS[coding]
        checked[coding] = level = levels.get(coding, codec.level)
        if isinstance(level, bool) or not isinstance(level, int):
            raise TypeError(f"Compression.levels has an int for {coding}, not {level!r}")
        if level not in codec.levels:
            allowed = f"{codec.levels[0]} to {codec.levels[-1]}"
            raise ValueError(f"Compression.levels has {allowed} for {coding}, not {level}")
    return MappingProxyType(checked)


def _is_among(types: frozenset[str], content_type: str) -> bool:
    name = content_type.partition(";")[0].strip(" \t").lower()
    kind, slash, _ = name.partition("/")
    _, plus, suffix = name.rpartition("+")
    return name in types or f"{kind}{slash}*" in types or (plus != "" and plus + suffix in types)


def may_compress(method: str, code: int, fields: Iterable[tuple[str, str]]) -> bool:
    """Return whether the content of an answer may be compressed.

    Not where there is none, nor where it is a part (RFC 9110 §15.3.7); nor where the program has settled it, by a
    Content-Encoding, a digest or signature, or by ``Cache-Control: no-transform`` (RFC 9111 §5.2.2.6).

    Args:
        method: That of the request. HEAD is treated as GET (RFC 9110 §9.3.2).
        code: That of the answer. For a 304, ask with the 200 that it stands for.
        fields: Names and values of the answer's header fields.
    """
    if code < 200 or code in (204, 205, 206, 304) or (method == "CONNECT" and code < 300):
        return False
    for name, value in fields:
        lower = name.lower()
        if lower in _SETTLED or (lower == "cache-control" and "no-transform" in _members(value)):
            return False
    return True


def encoded_fields(
    code: int, fields: Iterable[tuple[str, str]], coding: str | None, length: int | None
) -> list[tuple[str, str]]:
    """Return the header fields of an answer which is compressed, or would be for another client.

    - Vary names Accept-Encoding in any case, so that caches keep both (RFC 9110 §12.5.5). That is due in a 206 and in
      a 304 too, if the 200 would have it (§15.3.7, §15.4.5).
    - Content-Encoding is added, but for a 304, which does not describe its content (§15.4.5).
    - A strong ETag becomes a weak one: bytes differ from one coding to another, and perhaps from one release of a
      compressor to the next (§8.8.1, §8.8.3.3). That is so in a 304 as well, or caches would not know which answer of
      theirs it is about (RFC 9111 §4.3.4).
    - Content-Length becomes ``length``; and Accept-Ranges goes, for ranges are those of the bytes as they are.

    Args:
        code: The status code.
        fields: Names and values, as they would be without compression.
        coding: The coding; None if the content is sent as it is, as in a 206.
        length: The length of the compressed content in bytes; None if it is not known, as with content sent in pieces,
            or in an answer to HEAD whose content nobody has made (§8.6). Without a coding it is not looked at.
    """
    result = []
    for name, value in fields:
        lower = name.lower()
        if coding is not None:
            if lower in ("content-length", "accept-ranges"):
                continue
            if lower == "etag" and value.startswith('"'):
                value = f"W/{value}"
        result.append((name, value))
    if coding is not None and code != 304:
        result.append(("Content-Encoding", coding))
        if length is not None:
            result.append(("Content-Length", str(length)))
    _add_vary(result)
    return result


def _add_vary(fields: list[tuple[str, str]]) -> None:
    values = [value for name, value in fields if name.lower() == "vary" and value.strip(" \t")]
    if not _members(",".join(values)) & {"*", "accept-encoding"}:
        fields[:] = [pair for pair in fields if pair[0].lower() != "vary"]
        fields.append(("Vary", ", ".join([*values, "Accept-Encoding"])))


def _members(value: str) -> set[str]:
    """Return the members of a list (RFC 9110 §5.6.1) in lower case."""
    return {member.strip(" \t").lower() for member in value.split(",")} - {""}
