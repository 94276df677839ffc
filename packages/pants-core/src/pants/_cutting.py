"""How each kind of delimiter cuts: the inside of `pants.delimiter`, which says what the delimiters mean.

    Whatever        None                     what is there, as it came
    Separator       bytes, or str for text   up to the separator
    Sized           int                      that many bytes, or characters
    Packed          struct.Struct            its size, unpacked
    NetPacked       netstruct.NetStruct      as long as its fields announce, unpacked
    BoundedSearch   re.Pattern               up to a match that cannot be longer than some width
    Rescan          re.Pattern               up to any other match, or the match itself (`regex_search` off)

Two things keep the work linear in the data, however it arrives. Data is cut by position, so that many frames in
one piece cost no copies of the rest. An incomplete frame is collected, and of that only what was added is looked
at.
"""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Callable
from typing import Any, Final, Protocol

from pants.errors import BufferOverflow, DelimiterError

# A separator is looked for by splitting this much at a time: far quicker than a find for each frame. It is bounded
# because the rest of the split is thrown away when the delimiter changes at a frame.
WINDOW: Final = 4096

# How many times `limit` a pattern may scan for one frame, when it is tried again from the frame's start.
BUDGET: Final = 64

STANDSTILL: Final = "the read delimiter matches an empty string, so that it would match for ever"


class Sink(Protocol):
    """What takes the frames. The method is looked up for each frame, so that one frame may change who gets the next."""

    @property
    def on_read(self) -> Callable[..., object]:
        """Called with the frame, or with its values where it is unpacked."""


class Buffer:
    """The data that a framer holds, and what is known about it.

    `_data` is immutable and cut from `_position` on; it is empty when all complete frames have been delivered.
    An incomplete frame waits in `_tail`, where adding to it costs no copy of it.
    """

    __slots__ = (
        "_data",
        "_position",
        "_tail",  # what came after _data; when that is empty: one frame, known to have been incomplete
        "_searched",  # how much of _tail was searched in vain
        "_scanned",  # how much a pattern was run over for this frame, counting repetitions
        "_limit",
        "_text",
        "_interrupted",  # the one flag checked at each frame: something that rules the cutting has changed
    )

    def __init__(self, limit: int, text: bool) -> None:
        self._limit = limit
        self._text = text
        self.clear()

    @property
    def pending(self) -> int:
        """How many bytes (characters) are held, including complete frames that were not delivered yet."""
        return len(self._data) - self._position + (0 if self._tail is None else len(self._tail))

    def clear(self) -> None:
        """Drop all that is held."""
        self._data: Any = "" if self._text else b""
        self._position = 0
        self._tail: bytearray | Characters | None = None
        self._searched = self._scanned = 0
        self._interrupted = True

    def feed(self, data: Any) -> None:
        """Add received data; nothing is delivered yet.

        Args:
            data: bytes, or str if the framer is for text.
        """
        tail = self._tail
        if not data:
            return
        if tail is None:
            if self._data:
                self._collect(data, searched=0)
            else:
                self._data = data
        elif self._data or len(data) < len(tail):
            tail.extend(data)
        else:  # a piece at least as long as the tail pays for copying it and for searching it again
            self._data = self._collected(tail) + data
            self._tail = None

    def _set_aside(self) -> bool:
        """Put away the incomplete frame at the end of `_data`. Tell whether more came behind it meanwhile."""
        rest = self._data[self._position :]
        tail = self._tail
        self._position = 0
        if tail is not None:
            self._data = rest + self._collected(tail)
            self._tail = None
            return True
        self._data = rest[:0]
        self._collect(rest, searched=len(rest))
        return False

    def _collect(self, data: Any, searched: int) -> None:
        self._tail = Characters(data) if self._text else bytearray(data)
        self._searched = searched
        self._scanned = 0

    def _collected(self, tail: Any) -> Any:
        return tail.getvalue() if self._text else bytes(tail)


class Characters(io.StringIO):
    """What bytearray is to bytes, as far as a tail needs it: many small pieces of text in little memory."""

    def __init__(self, data: str) -> None:
        super().__init__()
        self.write(data)

    extend = io.StringIO.write

    def __len__(self) -> int:
        return self.tell()  # each method leaves the position at the end

    def __getitem__(self, part: slice) -> str:
        self.seek(part.start)
        found = self.read(None if part.stop is None else part.stop - part.start)
        self.seek(0, io.SEEK_END)
        return found


class Strategy:
    """One kind of delimiter. It holds nothing of a connection, so that all connections share it."""

    size = 0  # what an int or Struct needs the limit to be
    unpacks = False  # whether a frame is several values

    def cut(self, buffer: Buffer, sink: Sink, batch: int) -> None:
        """Deliver the complete frames in `_data`, which is not used up, moving `_position` past each before.

        Args:
            buffer: What to cut.
            sink: Gets each frame.
            batch: How many frames may be cut ahead of their delivery.

        Raises:
            BufferOverflow: The frame at `_position` is too long.
            DelimiterError: It cannot be cut without standing still.

        Returns when no complete frame is left, or after a frame whose receiver left `_interrupted` set.
        """
        raise NotImplementedError

    def completes(self, buffer: Buffer, tail: Any) -> bool:
        """Tell whether `tail`, which is all there is, holds a complete frame.

        Raises:
            BufferOverflow: It will not be one, however it goes on.
        """
        raise NotImplementedError


class Whatever(Strategy):
    """None: there are no frames, hence no limit to them."""

    def cut(self, buffer: Buffer, sink: Sink, batch: int) -> None:
        """See `Strategy`."""
        frame = buffer._data[buffer._position :]
        buffer._position = len(buffer._data)
        sink.on_read(frame)

    def completes(self, buffer: Buffer, tail: Any) -> bool:
        """See `Strategy`."""
        return True


class Separator(Strategy):
    """bytes or str: a frame is what comes before it."""

    def __init__(self, separator: Any) -> None:
        self.separator = separator
        self.width = len(separator)

    def cut(self, buffer: Buffer, sink: Sink, batch: int) -> None:
        """See `Strategy`."""
        separator, width = self.separator, self.width
        data, limit = buffer._data, buffer._limit
        # What is complete within limit + width cannot be too long, so the frames of a split need no check.
        window = min(WINDOW, limit + width)
        while (position := buffer._position) < len(data):
            frames = data[position : position + window].split(separator, batch)
            frames.pop()
            if not frames:
                end = data.find(separator, position, position + limit + width)
                if end < 0:
                    return self.check(len(data) - position, limit)
                frames.append(data[position:end])
            for frame in frames:
                buffer._position += len(frame) + width
                sink.on_read(frame)
                if buffer._interrupted:
                    return

    def completes(self, buffer: Buffer, tail: Any) -> bool:
        """See `Strategy`."""
        if self.separator in tail[max(buffer._searched - self.width + 1, 0) :]:
            return True
        buffer._searched = len(tail)
        self.check(len(tail), buffer._limit)
        return False

    def check(self, incomplete: int, limit: int) -> None:
        """Refuse a frame that is too long even if its end is the beginning of the separator."""
        if incomplete - (self.width - 1) > limit:
            raise BufferOverflow(f"no separator within {limit}")


class Sized(Strategy):
    """int: a frame is so many bytes or characters."""

    def __init__(self, size: int) -> None:
        self.size = size

    def cut(self, buffer: Buffer, sink: Sink, batch: int) -> None:
        """See `Strategy`."""
        size, data, start = self.size, buffer._data, buffer._position
        self.check(buffer)
        for end in range(start + size, len(data) + 1, size):
            buffer._position = end
            sink.on_read(data[start:end])
            if buffer._interrupted:
                return
            start = end

    def completes(self, buffer: Buffer, tail: Any) -> bool:
        """See `Strategy`."""
        self.check(buffer)
        return len(tail) >= self.size

    def check(self, buffer: Buffer) -> None:
        """Refuse any frame if the limit was lowered after the delimiter had been set."""
        if self.size > buffer._limit:
            raise BufferOverflow(f"frames of {self.size} are longer than {buffer._limit}")


class Packed(Sized):
    """struct.Struct: a frame is its size, unpacked."""

    unpacks = True

    def __init__(self, packed: struct.Struct) -> None:
        super().__init__(packed.size)
        self.packed = packed

    def cut(self, buffer: Buffer, sink: Sink, batch: int) -> None:
        """See `Strategy`."""
        size, data, start = self.size, buffer._data, buffer._position
        self.check(buffer)
        complete = (len(data) - start) // size * size
        for values in self.packed.iter_unpack(memoryview(data)[start : start + complete]):
            buffer._position += size
            sink.on_read(*values)
            if buffer._interrupted:
                return


class NetPacked(Strategy):
    """netstruct.NetStruct: a frame is as long as its fields announce, unpacked.

    NetStruct unpacks complete frames. It is not used to find their end: fed piece by piece, it copies what it
    holds with every piece, and a length below zero it takes for one counted from the end.
    """

    unpacks = True

    def __init__(self, packed: Any) -> None:
        self.packed = packed
        self.minimum: int = packed.minimum_size
        self.heads = heads(packed)

    def cut(self, buffer: Buffer, sink: Sink, batch: int) -> None:
        """See `Strategy`."""
        data = buffer._data
        while (position := buffer._position) < len(data):
            end = position + self.measure(data, position, buffer._limit)
            if end > len(data):
                return
            buffer._position = end
            sink.on_read(*self.packed.unpack(data[position:end]))
            if buffer._interrupted:
                return

    def completes(self, buffer: Buffer, tail: Any) -> bool:
        """See `Strategy`."""
        return self.measure(tail, 0, buffer._limit) <= len(tail)

    def measure(self, data: Any, start: int, limit: int) -> int:
        """Return how long the frame is as far as is known: more than there is, until it is complete."""
        length, head_at = self.minimum, start
        for head in self.heads:
            if head_at + head.size > len(data):
                break
            announced = head.unpack_from(data, head_at)[-1]
            if announced < 0:
                raise BufferOverflow(f"a length of {announced} was announced")
            length += announced
            head_at += head.size + announced
        if length > limit:
            raise BufferOverflow(f"a frame of {length} was announced; the limit is {limit}")
        return length


def heads(packed: Any) -> tuple[struct.Struct, ...]:
    """Return what comes before each variable field of a NetStruct, its last value being that field's length."""
    order, fields = packed.format[:1], packed.format[1:]
    if order not in (b"@", b"=", b"<", b">", b"!"):
        order, fields = b"!", packed.format
    return tuple(struct.Struct(order + head) for head in fields.split(b"$")[:-1])


class BoundedSearch(Strategy):
    """re.Pattern of bounded width, searched for: a frame is what comes before the match."""

    def __init__(self, pattern: re.Pattern[Any], anchored: bool, slack: int) -> None:
        self.pattern = pattern
        # Whether what is before the frame has to be kept from the pattern: it might take it for a line before, say.
        # Otherwise a part of its own is not needed for each frame, which of text would be a copy.
        self.anchored = anchored
        # After a search in vain: how far before the end a match may still start.
        self.slack = slack

    def cut(self, buffer: Buffer, sink: Sink, batch: int) -> None:
        """See `Strategy`."""
        search, anchored, slack = self.pattern.search, self.anchored, self.slack
        data, limit = buffer._data, buffer._limit
        view = data if buffer._text else memoryview(data)
        reach = min(limit + slack + 2, len(data))
        while (position := buffer._position) < len(data):
            stop = position + reach
            match = search(view[position:stop]) if anchored else search(data, position, stop)
            if match is None:
                return self.check(len(data) - position, limit)
            start, end = match.span()
            if anchored:
                start, end = start + position, end + position
            if end == position:
                raise DelimiterError(STANDSTILL)
            if start - position > limit:
                raise BufferOverflow(f"no match within {limit}")
            buffer._position = end
            sink.on_read(data[position:start])
            if buffer._interrupted:
                return

    def completes(self, buffer: Buffer, tail: Any) -> bool:
        """See `Strategy`."""
        before = max(buffer._searched - self.slack - 1, 0)
        # One more than what is searched, because (?m)^ and \b look back at it.
        if self.pattern.search(tail[before:], min(before, 1)):
            return True
        buffer._searched = len(tail)
        self.check(len(tail), buffer._limit)
        return False

    def check(self, incomplete: int, limit: int) -> None:
        """Refuse a frame that is too long even if its end is the beginning of a match."""
        if incomplete - self.slack > limit:
            raise BufferOverflow(f"no match within {limit}")


class Rescan(Strategy):
    """re.Pattern tried from the frame's start each time: of unbounded width, or not searched but matched."""

    def __init__(self, pattern: re.Pattern[Any], anchored: bool, search: bool) -> None:
        self.pattern = pattern
        self.anchored = anchored  # see BoundedSearch
        self.search = search
        self.find = pattern.search if search else pattern.match

    def cut(self, buffer: Buffer, sink: Sink, batch: int) -> None:
        """See `Strategy`."""
        find, anchored = self.find, self.anchored
        data, limit = buffer._data, buffer._limit
        view = data if buffer._text else memoryview(data)
        # Seeing more than this, the pattern might match what overflows when less has arrived.
        reach = min(limit + 1, len(data))
        while (position := buffer._position) < len(data):
            stop = position + reach
            match = find(view[position:stop]) if anchored else find(data, position, stop)
            if match is None:
                return self.check(len(data) - position, limit)
            start, end = match.span()
            if anchored:
                start, end = start + position, end + position
            if end == position:
                raise DelimiterError(STANDSTILL)
            if end - position > limit:
                raise BufferOverflow(f"no match within {limit}")
            buffer._position = end
            sink.on_read(data[position:start] if self.search else self.detached(match, data, position, end, stop))
            if buffer._interrupted:
                return

    def completes(self, buffer: Buffer, tail: Any) -> bool:
        """See `Strategy`."""
        limit = buffer._limit
        if self.find(tail[0 : min(limit + 1, len(tail))]):
            return True
        self.check(len(tail), limit)
        buffer._scanned += len(tail)
        if buffer._scanned > BUDGET * limit:
            raise BufferOverflow(f"no match within {len(tail)}, and {buffer._scanned} scanned for it")
        return False

    def check(self, length: int, limit: int) -> None:
        """Refuse a frame, match included, that is too long."""
        if length > limit:
            raise BufferOverflow(f"no match within {limit}")

    def detached(self, match: re.Match[Any], data: Any, position: int, end: int, stop: int) -> Any:
        """Return the same match on a copy of the frame, so that it counts from there and does not keep all data."""
        own = self.pattern.match(data[position:end])
        if own is not None and (own.regs == match.regs or not self.anchored):
            return own
        return self.pattern.match(data[position:stop])  # it looks beyond its end
