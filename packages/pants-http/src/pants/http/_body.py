"""The body of a request: how it is framed (RFC 9112 §6). Sans-IO.

Both classes are fed what was received, from a position on, and return the position up to which it was theirs.
"""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace
from typing import Final

from httptools import HttpParserError, HttpRequestParser

from pants.http._head import HEAD_END
from pants.http._refused import Refused

# The bytes that chunk sizes, extensions and trailers may take: these, and as many again for each byte of content.
MAX_FRAMING: Final = 65536
FRAMING_PER_BYTE: Final = 8

# llhttp takes chunks as a part of a message only. It is told that the connection closes after this one, so that
# whatever follows is an error rather than another message.
_CHUNKED_MESSAGE: Final = b"POST / HTTP/1.1\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"


class LengthBody:
    """A body whose length was told in advance (RFC 9112 §6.2)."""

    __slots__ = ("_data", "_left")

    def __init__(self, length: int) -> None:
        self._data = bytearray()
        self._left = length

    @property
    def done(self) -> bool:
        """Whether the body is complete."""
        return not self._left

    @property
    def received(self) -> int:
        """The bytes received so far."""
        return len(self._data)

    def feed(self, data: bytes | bytearray, at: int) -> int:
        """Take what belongs to the body out of ``data``, beginning at ``at``; return where that ends."""
        taken = data[at : at + self._left]
        self._data += taken
        self._left -= len(taken)
        return at + len(taken)

    def content(self) -> bytes:
        """Return the body."""
        return bytes(self._data)


class ChunkedBody:
    """A body in chunks (RFC 9112 §7.1). Trailers are dropped, as §7.1.2 allows.

    Args:
        limit: The longest content to take, in bytes.
    """

    __slots__ = ("_data", "_ends", "_limit", "_parser", "_tail", "received")

    #: The bytes received so far, those of the framing included.
    received: int

    def __init__(self, limit: int) -> None:
        self._data = bytearray()
        self._ends: list[bool] = []
        self._limit = limit
        self._tail = b""  # the last bytes that were taken, in which HEAD_END may have begun
        self.received = 0
        events = SimpleNamespace(on_body=self._data.extend, on_message_complete=partial(self._ends.append, True))
        self._parser = HttpRequestParser(events)
        self._parser.feed_data(_CHUNKED_MESSAGE)

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
            try:
                self._parser.feed_data(piece)
            except HttpParserError as error:
                raise Refused(400, str(error)) from None
            at = end
            self._tail = (self._tail + piece[-3:])[-3:]
            self.received += len(piece)
            size = len(self._data)
            if size > self._limit:
                raise Refused(413, "The body is too large")
            if self.received - size > MAX_FRAMING + FRAMING_PER_BYTE * size:
                raise Refused(400, "The body is too small for its chunks, extensions and trailers")
        return at

    def _possible_end(self, data: bytes | bytearray, at: int) -> int:
        tail = self._tail
        begun = (tail + data[at : at + 3]).find(HEAD_END)
        if begun >= 0:
            return at + begun + len(HEAD_END) - len(tail)
        found = data.find(HEAD_END, at)
        return len(data) if found < 0 else found + len(HEAD_END)

    def content(self) -> bytes:
        """Return the body."""
        return bytes(self._data)
