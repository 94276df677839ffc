"""The body of a message: how it is framed (RFC 9112 §6), and where it is kept. Sans-IO but for temporary files.

A framing is fed what was received, from a position on, returns the position up to which it was the body's, and passes
the content on to its ``sink``: a `BodyStore`, the parser of a form, or the program itself.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import IO, Final, cast

from httptools import HttpParserError, HttpRequestParser

from pants.http._head import HEAD_END
from pants.http._limits import FieldLimits
from pants.http._refused import Refused
from pants.http._spool import Spool, Window

# The bytes that chunk sizes, extensions and trailers may take: these, and as many again for each byte of content.
MAX_FRAMING: Final = 16384
FRAMING_PER_BYTE: Final = 8

# llhttp takes chunks as a part of a message only. It is told that the connection closes after this one, so that
# whatever follows is an error rather than another message.
_CHUNKED_MESSAGE: Final = b"POST / HTTP/1.1\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"

# Pieces shorter than this are put together: an object for each would take more memory than they do.
_SMALL: Final = 4096

# What `keep_freed_memory` allocates.
_BLOCK: Final = 2 * 1024 * 1024

Sink = Callable[[bytes], object]


class _Framing:
    """What both framings have.

    Args:
        sink: Called with each piece of the content.
    """

    __slots__ = ("_seen", "received", "sink")

    #: The bytes received so far, those of the framing included.
    received: int

    def __init__(self, sink: Sink) -> None:
        self.received = self._seen = 0
        self.sink = sink

    def take_progress(self) -> int:
        """Return the number of bytes that were received since this was called before."""
        progress = self.received - self._seen
        self._seen = self.received
        return progress


class LengthBody(_Framing):
    """A body whose length was told in advance (RFC 9112 §6.2).

    Args:
        length: Its length, in bytes.
        sink: Called with each piece of it.
    """

    __slots__ = ("left", "trailers")

    #: The bytes that are still to come.
    left: int
    #: There are none.
    trailers: tuple[tuple[str, str], ...]

    def __init__(self, length: int, sink: Sink) -> None:
        super().__init__(sink)
        self.left = length
        self.trailers = ()

    @property
    def done(self) -> bool:
        """Whether the body is complete."""
        return not self.left

    def feed(self, data: bytes | bytearray, at: int) -> int:
        """Take what belongs to the body out of ``data``, beginning at ``at``; return where that ends."""
        taken = bytes(data[at : at + self.left])
        count = len(taken)
        self.left -= count
        self.received += count
        if count:
            self.sink(taken)
        return at + count


class ChunkedBody(_Framing):
    """A body in chunks (RFC 9112 §7.1).

    Args:
        limit: The longest content to take, in bytes.
        sink: Called with the content of each piece that is fed.
        limits: What the trailer fields may be.
    """

    __slots__ = (
        "_barren",
        "_content",
        "_ends",
        "_limit",
        "_limits",
        "_may_end",
        "_parser",
        "_size",
        "_tail",
        "_trailers_seen",
        "trailers",
    )

    #: The fields behind the last chunk (RFC 9112 §7.1.2).
    trailers: list[tuple[str, str]]
    #: How many bytes are still to come is not known.
    left: None = None

    def __init__(self, limit: int, sink: Sink, limits: FieldLimits) -> None:
        super().__init__(sink)
        self._limits = limits
        self.trailers = []
        self._content = bytearray()  # of what is being fed
        self._ends: list[bool] = []
        self._limit = limit
        self._size = 0  # of the content
        self._tail = b"\n"  # the last bytes that were taken, in which HEAD_END may have begun; behind the head
        self._trailers_seen = 0
        self._barren = 0  # the bytes since the last content
        self._may_end = False  # a line that begins with 0 has come, which may be the last chunk
        trailers, most = self.trailers, limits.header_count

        def add_trailer(name: bytes, value: bytes) -> None:  # knows nothing of this object: it would be a cycle
            if len(trailers) <= most:
                trailers.append((name.decode("latin-1"), value.strip(b" \t").decode("latin-1")))

        events = SimpleNamespace(on_body=self._content.extend, on_message_complete=partial(self._ends.append, True))
        events.on_header = add_trailer
        self._parser = HttpRequestParser(events)
        self._parser.feed_data(_CHUNKED_MESSAGE)
        self.trailers.clear()

    @property
    def done(self) -> bool:
        """Whether the body is complete."""
        return bool(self._ends)

    def feed(self, data: bytes | bytearray, at: int) -> int:
        """Take what belongs to the body out of ``data``, beginning at ``at``; return where that ends.

        Raises:
            Refused: It is malformed, or longer than the limit.
        """
        while at < len(data) and not self._ends:
            # llhttp cannot be stopped, nor does it tell where it found the end; but with the empty line after the last
            # chunk or the trailers a body ends as a head does. So it is fed up to each place that looks like it.
            end = self._possible_end(data, at)
            piece = bytes(data[at:end])
            before = len(self._content)
            try:
                self._parser.feed_data(piece)
            except HttpParserError as error:
                self._check()  # what is before the error may be too long already
                raise Refused(400, str(error)) from None
            at = end
            self._tail = (self._tail + piece[-3:])[-3:]
            self.received += len(piece)
            self._barren = 0 if len(self._content) > before else self._barren + len(piece)
            self._check()
        if self._content:
            content = bytes(self._content)
            self._content.clear()
            self._size += len(content)
            self.sink(content)
        return at

    def _check(self) -> None:
        """Raise Refused if a limit is crossed."""
        size = self._size + len(self._content)
        if size > self._limit:
            raise Refused(413, "The body is too large")
        if len(self.trailers) != self._trailers_seen:
            self._check_trailers()
        if self.received - size > MAX_FRAMING + FRAMING_PER_BYTE * size:
            raise Refused(400, "The body is too small for its chunks, extensions and trailers")
        if self._barren > self._limits.headers:  # what llhttp keeps of a field that is not complete
            raise Refused(400, "The body goes on without content")

    def _check_trailers(self) -> None:
        self._trailers_seen = len(self.trailers)
        if len(self.trailers) > self._limits.header_count:
            raise Refused(431, "There are too many trailer fields")
        if sum(len(name) + len(value) + 4 for name, value in self.trailers) > self._limits.headers:
            raise Refused(431, "The trailer section is too large")
        if any(len(name) + len(value) + 2 > self._limits.header for name, value in self.trailers):
            raise Refused(431, "A trailer field is too large")

    def _possible_end(self, data: bytes | bytearray, at: int) -> int:
        """Find the next place where the body may end: an empty line, behind a line that begins with 0."""
        tail, begin = self._tail, at
        if self._may_end:
            begun = (tail + data[at : at + 3]).find(HEAD_END)
            if begun >= 0:
                self._may_end = False
                return at + begun + len(HEAD_END) - len(tail)
        elif not (tail.endswith(b"\n") and data.startswith(b"0", at)):
            begin = data.find(b"\n0", at) + 1
            if not begin:
                return len(data)
        found = data.find(HEAD_END, begin)
        self._may_end = found < 0
        return len(data) if found < 0 else found + len(HEAD_END)


class BodyToEnd(_Framing):
    """The body of a response that goes on until the connection ends (RFC 9112 §6.3, item 8).

    Args:
        sink: Called with each piece of it.
    """

    __slots__ = ()

    #: Never before the connection has ended.
    done: Final = False

    def feed(self, data: bytes | bytearray, at: int) -> int:
        """Take all of ``data``, beginning at ``at``; return where it ends."""
        if at < len(data):
            self.received += len(data) - at
            self.sink(bytes(data[at:]))
        return len(data)


def add_piece(pieces: list[bytes | bytearray], data: bytes) -> None:
    """Add a piece to others; small ones are put together."""
    if len(data) >= _SMALL:
        pieces.append(data)
    elif pieces and isinstance(pieces[-1], bytearray):
        pieces[-1] += data
    else:
        pieces.append(bytearray(data))


class BodyStore:
    """Keeps a body: in memory, and on disk where it is long.

    Args:
        spool_size: The longest body to keep in memory, in bytes.
    """

    __slots__ = ("_content", "_pieces", "_spool", "_spool_size", "size")

    #: The bytes that are kept.
    size: int

    def __init__(self, spool_size: int) -> None:
        self.size = 0
        self._spool_size = spool_size
        self._pieces: list[bytes | bytearray] = []
        self._content: bytes | None = None
        self._spool: Spool | None = None  # once it is long

    def add(self, data: bytes) -> None:
        """Keep another piece."""
        self.size += len(data)
        if self._spool is not None:
            self._spool.append(data)
        elif self.size > self._spool_size:
            self._spool = Spool(0)
            for piece in self.take_pieces():
                self._spool.append(piece)
            self._spool.append(data)
        else:
            add_piece(self._pieces, data)

    def flush(self) -> None:
        """Write to the disk what is still to be written.

        Raises:
            OSError: There is no space.
        """
        if self._spool is not None:
            self._spool.flush()

    def take_pieces(self) -> list[bytes | bytearray]:
        """Hand over what is in memory, and forget it."""
        pieces, self._pieces = self._pieces, []
        return pieces

    @property
    def content(self) -> bytes:
        """All of the body, in memory."""
        if self._spool is not None:
            return self._spool.read(0, self.size)
        if self._content is None:
            self._content = b"".join(self._pieces)
            self._pieces = []
        return self._content

    def open(self) -> IO[bytes]:
        """Return a file with the body, at its start."""
        if self._spool is not None:
            return cast("IO[bytes]", io.BufferedReader(Window(self._spool, 0, self.size)))
        return io.BytesIO(self.content)

    @property
    def closed(self) -> bool:
        """Whether the body lay on disk, and is gone."""
        return self._spool is not None and self._spool.closed

    def close(self) -> None:
        """Give the file back; what is in memory stays."""
        if self._spool is not None:
            self._spool.close()


def keep_freed_memory() -> None:
    """Have the process keep some MiB of the memory that it frees, for the next body.

    glibc hands the end of its heap back to the kernel once 128 KiB of it are free, so that each long body would begin
    with hundreds of page faults, which take longer than to receive it. It keeps more, twice as much as the largest
    block, after a block has been freed that it had from the kernel directly (mallopt(3), M_MMAP_THRESHOLD). The block
    is never touched, so this takes microseconds. Elsewhere it does nothing.
    """
    block = bytearray(_BLOCK)
    del block
