"""Content codings undone (RFC 9110 §8.4.1) as the content arrives: gzip, deflate, br and zstd. Sans-IO.

Each coding is a stage that pulls what it needs out of the one before it: of a few bytes that stand for gigabytes no
more is ever decoded than was asked for, however many codings are stacked.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import math
import sys
import zlib
from collections import deque
from collections.abc import Callable, Generator
from typing import Any, Final

# How much input a codec is given at once, in bytes: what it has no use for yet, zlib and brotli copy at each call.
_SLICE: Final = 16384
# How much zlib makes of it in one step, in bytes; and brotli, which may pass a limit by far unless its first buffer, of
# 32 KiB, is enough.
_STEP: Final = 65536
_BROTLI_STEP: Final = 16384

# RFC 8878 §3.1.1 and §3.1.2: the numbers that frames begin with. The lowest 4 bits of the second may be any.
_ZSTD_FRAME: Final = 0xFD2FB528
_ZSTD_SKIPPABLE: Final = 0x184D2A50
# RFC 9659 §3: the largest window of the content coding, as a power of two, in bytes.
_ZSTD_WINDOW: Final = 23
# RFC 8878 §3.1.1.2.4: no block is larger, neither as it is sent nor decoded. In bytes.
_ZSTD_BLOCK: Final = 128 * 1024

# Hardly anybody stacks two. Each takes memory for its window: 32 KiB for gzip and deflate, 8 MiB for zstd, 16 for br.
_MOST_CODINGS: Final = 5
# Steps by which nothing comes out: so many, more for each byte that was fed, and one more for so many that came out.
_BARREN: Final = 10_000
_BARREN_PER_FED: Final = 4
_DECODED_PER_BARREN: Final = 256


class DecodingError(Exception):
    """The content is malformed: corrupt, cut off, or followed by something that does not belong to it."""


class DecodedTooLarge(DecodingError):
    """More comes out of the content than is allowed."""


class _Codec:
    """Undoes one coding, in steps of bounded size."""

    wanted = _SLICE  # how many bytes of input it can take; 0 where it first has to be called without any
    is_complete = True  # whether the content may end here; so it may where there is none
    error: type[Exception] = zlib.error  # what `decode` raises for malformed content, besides DecodingError

    def decode(self, data: bytes) -> bytes:
        """Return what could be decoded: 128 KiB at most, and often nothing."""
        raise NotImplementedError


class _Inflating(_Codec):
    """What gzip and deflate share."""

    _inflater: Any = None
    _rest = b""  # input that it has taken and not used

    def _inflate(self, data: bytes) -> bytes:
        inflater = self._inflater
        decoded: bytes = inflater.decompress(data, _STEP)
        self.is_complete = inflater.eof
        self._rest = inflater.unused_data if inflater.eof else inflater.unconsumed_tail
        # Behind a step that is full, zlib may hold more that comes without input.
        is_pending = len(decoded) == _STEP and not inflater.eof
        self.wanted = 0 if self._rest or is_pending else _SLICE
        return decoded


class _Gzip(_Inflating):
    """RFC 1952. Several members are one content (§2.2). Zeros may follow them: some writers fill up their blocks."""

    _is_padded = False

    def decode(self, data: bytes) -> bytes:
        data = data or self._rest
        if self.is_complete:
            if self._is_padded or (self._inflater is not None and data.startswith(b"\0")):
                if data.strip(b"\0"):
                    raise DecodingError("something follows the zeros behind the gzip content")
                self._is_padded = True
                self._rest, self.wanted = b"", _SLICE
                return b""
            self._inflater = zlib.decompressobj(16 + zlib.MAX_WBITS)  # 16 is for gzip; it tells whether it is
        return self._inflate(data)


class _Deflate(_Inflating):
    """The zlib format (RFC 1950), which this coding is, or bare deflate (RFC 1951): RFC 9110 §8.4.1.2 has a note."""

    def decode(self, data: bytes) -> bytes:
        if self._inflater is None:
            self.is_complete = False
            data = self._rest + data
            if len(data) < 2:
                self._rest = data
                return b""
            # RFC 1950 §2.2: the method, 8, a window of 32 KiB at most, and a check. A deflate stream that looks like
            # it would begin with a stored block, and with other bits than zeros up to the next byte.
            is_zlib = data[0] & 0x8F == 8 and int.from_bytes(data[:2], "big") % 31 == 0
            self._inflater = zlib.decompressobj(zlib.MAX_WBITS if is_zlib else -zlib.MAX_WBITS)
        elif self.is_complete:
            raise DecodingError("something follows the deflate content")
        return self._inflate(data or self._rest)


class _Brotli(_Codec):
    """RFC 7932, by a ``brotli.Decompressor``."""

    def __init__(self, decompressor: Any, error: type[Exception]) -> None:
        self.error = error
        self._decompressor = decompressor

    def decode(self, data: bytes) -> bytes:
        decoded: bytes = self._decompressor.process(data, output_buffer_limit=_BROTLI_STEP)
        self.is_complete = self._decompressor.is_finished()  # then more data is an error of brotli's
        # It can accept more while it still has something to give out: that comes without input, until nothing does.
        is_pending = decoded or not self._decompressor.can_accept_more_data()
        self.wanted = 0 if is_pending and not self.is_complete else _SLICE
        return decoded


class _Zstd(_Codec):
    """RFC 8878. Several frames are one content (§3). For each, ``start`` returns what decodes its pieces."""

    def __init__(self, start: Callable[[], Callable[[bytes], bytes]], error: type[Exception]) -> None:
        self.error = error
        self._start = start
        self._unit = bytearray()
        self._begin()

    def _begin(self) -> None:
        self._frame = _zstd_frame(self._start)
        self.wanted, _ = next(self._frame)
        self.is_complete = True

    def decode(self, data: bytes) -> bytes:
        self.is_complete = False
        self._unit += data
        self.wanted -= len(data)
        decoded = b""
        if not self.wanted:
            unit, self._unit = bytes(self._unit), bytearray()
            try:
                self.wanted, decoded = self._frame.send(unit)
            except StopIteration:
                self._begin()
        return decoded


def _zstd_frame(start: Callable[[], Callable[[bytes], bytes]]) -> Generator[tuple[int, bytes], bytes, None]:
    """Read a frame block by block, which bounds each step: zstandard has no limit for what comes out.

    Yields:
        How many bytes are to be sent next, and what has been decoded.
    """
    head = yield 4, b""
    magic = int.from_bytes(head, "little")
    if magic & ~0xF == _ZSTD_SKIPPABLE:
        left = int.from_bytes((yield 4, b""), "little")
        while left:
            left -= len((yield min(left, _SLICE), b""))
        return
    if magic != _ZSTD_FRAME:
        raise DecodingError("the content is not zstd, or something follows it")
    # The frame header (§3.1.1.1): window, dictionary and content size, as far as the flags have them.
    flags = yield 1, b""
    is_single = bool(flags[0] & 0x20)  # a "single segment": the content is the window
    size_length = (int(is_single), 2, 4, 8)[flags[0] >> 6]
    fields = yield (not is_single) + (0, 1, 2, 4)[flags[0] & 3] + size_length, b""
    if is_single:
        window = int.from_bytes(fields[-size_length:], "little") + (256 if size_length == 2 else 0)
    else:
        window = (8 + (fields[0] & 7)) << ((fields[0] >> 3) + 7)
    if window > 1 << _ZSTD_WINDOW:
        raise DecodingError("the window of the zstd content is larger than 8 MiB (RFC 9659 §3)")
    decompress = start()
    decompress(head + flags + fields)
    is_last = 0
    while not is_last:
        head = yield 3, b""
        number = int.from_bytes(head, "little")
        is_last, kind, size = number & 1, number >> 1 & 3, number >> 3
        if size > _ZSTD_BLOCK:
            raise DecodingError("a block of the zstd content is larger than 128 KiB")
        block = yield 1 if kind == 1 else size, b""  # one byte, repeated (§3.1.1.2.2)
        yield 0, decompress(head + block)
    if flags[0] & 4:  # a checksum
        decompress((yield 4, b""))


def _br() -> Callable[[], _Codec]:
    import brotli

    if not hasattr(brotli.Decompressor, "can_accept_more_data"):
        raise ImportError("before brotli 1.2 there is no limit for what comes out")
    return lambda: _Brotli(brotli.Decompressor(), brotli.error)


def _zstd() -> Callable[[], _Codec]:
    if sys.version_info >= (3, 14):
        from compression import zstd

        options = {zstd.DecompressionParameter.window_log_max: _ZSTD_WINDOW}
        return lambda: _Zstd(lambda: zstd.ZstdDecompressor(options=options).decompress, zstd.ZstdError)
    import zstandard

    def new() -> _Codec:
        # One for all the frames of a content, for it takes long to make; not one for all, for they use its memory.
        decompressor = zstandard.ZstdDecompressor(max_window_size=1 << _ZSTD_WINDOW)
        return _Zstd(lambda: decompressor.decompressobj().decompress, zstandard.ZstdError)

    return new


# How to make a codec for each coding that is installed.
_CODECS: Final[dict[str, Callable[[], _Codec]]] = {"gzip": _Gzip, "deflate": _Deflate}
for _coding, _find in (("br", _br), ("zstd", _zstd)):
    with contextlib.suppress(ImportError):
        _CODECS[_coding] = _find()


@functools.cache
def accept_encoding() -> str:
    """Return a value for Accept-Encoding (RFC 9110 §12.5.3): the codings that this installation can decode."""
    return ", ".join(_CODECS)


class _Input:
    """What has been fed and not been decoded."""

    def __init__(self) -> None:
        self.pieces: deque[bytes] = deque()
        self.fed = 0  # in all
        self._at = 0  # in the first piece

    def read(self, size: int, _allowed: float) -> bytes:
        """Return the next ``size`` bytes, or as many as there are."""
        parts = []
        while size and self.pieces:
            piece = self.pieces[0]
            parts.append(piece[self._at : self._at + size])
            self._at += size
            size -= len(parts[-1])
            if self._at >= len(piece):
                self.pieces.popleft()
                self._at = 0
        return b"".join(parts)


class _Stage:
    """One coding, undone: reads what it needs from the input or the stage before it."""

    def __init__(self, coding: str, source: _Input | _Stage) -> None:
        self.coding = coding
        self.codec = _CODECS[coding]()
        self.root: _Input = source.root if isinstance(source, _Stage) else source
        self._source = source
        self._decoded = 0
        self._barren = 0  # steps by which nothing came out
        self._held = memoryview(b"")  # what has been decoded and not been given out

    def read(self, size: int, allowed: float) -> bytes:
        """Return at most ``size`` bytes, and ``allowed`` in all; none where more input is needed."""
        while not self._held:
            wanted = self.codec.wanted
            data = self._source.read(wanted, allowed) if wanted else b""
            if wanted and not data:
                return b""
            try:
                self._held = memoryview(self.codec.decode(data))
            except self.codec.error as error:
                raise DecodingError(f"the {self.coding} content is malformed: {error}") from None
            if not self._held:
                self._count_barren()
        # All that is allowed is given out before there is an error, in whatever pieces it is read.
        room = allowed - self._decoded
        if room < 1:
            raise DecodedTooLarge(f"the {self.coding} content decodes to more than the allowed {self._decoded} bytes")
        piece = bytes(self._held[: int(min(size, room))])
        self._held = self._held[len(piece) :]
        self._decoded += len(piece)
        return piece

    def _count_barren(self) -> None:
        """A step has taken time, and nothing has come of it: empty frames, say, made short by another coding."""
        self._barren += 1
        if self._barren > _BARREN + _BARREN_PER_FED * self.root.fed + self._decoded // _DECODED_PER_BARREN:
            raise DecodingError(f"there is next to nothing in the {self.coding} content")


class Decoder:
    """Decodes one content as it arrives: `feed` it, then `read` until nothing comes. `make_decoder` makes it.

    It holds what it was fed and has not decoded, and besides, for each coding, some 500 KiB at most and the window.

    Attributes:
        raw: How many bytes have been fed.
        decoded: How many bytes have been given out.
    """

    def __init__(self, codings: list[str], max_size: int | None, max_ratio: float, free: int) -> None:
        self.raw = 0
        self.decoded = 0
        self._max_size = math.inf if max_size is None else max_size
        self._max_ratio = max_ratio
        self._free = free
        self._input = _Input()
        self._stages: list[_Stage] = []
        for coding in reversed(codings):  # they are named in the order in which they were applied
            self._stages.append(_Stage(coding, self._stages[-1] if self._stages else self._input))
        self._failure: DecodingError | None = None

    def feed(self, data: bytes) -> None:
        """Take more of the content. It is neither decoded nor copied yet."""
        if data:
            self.raw += len(data)
            self._input.fed = self.raw
            self._input.pieces.append(data)

    def read(self, size: int) -> bytes:
        """Return at most ``size`` decoded bytes, 1 or more; none where more input is needed, or the content is over.

        Raises:
            DecodingError: The content is malformed. Every call from then on raises it.
            DecodedTooLarge: More comes out than is allowed, all of which has been given out.
        """
        if self._failure is not None:
            raise copy.copy(self._failure)
        try:
            piece = self._stages[-1].read(size, min(self._max_size, max(self._free, self._max_ratio * self.raw)))
        except DecodingError as error:
            # A copy, for the traceback of that one refers to this decoder.
            self._failure = copy.copy(error)
            raise
        self.decoded += len(piece)
        return piece

    def finish(self) -> None:
        """Say that no more comes, when `read` has returned nothing. No content at all is complete, whatever its coding.

        Raises:
            DecodingError: The content is cut off, or malformed as `read` has told before.
        """
        if self._failure is not None:
            raise copy.copy(self._failure)
        for stage in self._stages:
            if not stage.codec.is_complete:
                raise DecodingError(f"the {stage.coding} content is cut off")


def make_decoder(content_encoding: str, *, max_size: int | None, max_ratio: float, free: int) -> Decoder | None:
    """Return what decodes a content. Where it has several codings, the limits hold for what comes out of each.

    Args:
        content_encoding: The value of Content-Encoding (RFC 9110 §8.4).
        max_size: How many bytes may come out; None for any number.
        max_ratio: How many bytes may come out for each that was fed.
        free: How many bytes may come out whatever the ratio.

    Returns:
        The decoder. None where the content is taken as it is: where it has no coding, or one that is not installed.

    Raises:
        DecodingError: There are more than 5 codings.
    """
    named = [name.strip(" \t").lower() for name in content_encoding.split(",")]
    # RFC 9110 §8.4.1.3: x-gzip is another name of gzip.
    codings = ["gzip" if name == "x-gzip" else name for name in named if name not in ("", "identity")]
    if len(codings) > _MOST_CODINGS:
        raise DecodingError(f"the content has {len(codings)} codings; {_MOST_CODINGS} at most are undone")
    if not codings or not all(name in _CODECS for name in codings):
        return None
    return Decoder(codings, max_size, max_ratio, free)
