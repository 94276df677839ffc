"""What `WebSocket.read_delimiter` makes of the messages that arrive. Sans-IO: parts of messages in, frames out.

By default a frame (in the sense of `pants.delimiter`) is a message. With the other delimiters messages do not matter:
their content is one flow, of text or of bytes, which is cut as a stream's is.
"""

from __future__ import annotations

import codecs
import struct
from typing import Any, Final

from pants import delimiter as _delimiter
from pants._delivery import Delivery
from pants.delimiter import DEFAULT_LIMIT, Framer
from pants.http._ws_frames import WebSocketError

# Pieces are put together up to this size, in bytes or characters: a message may come a byte at a time.
_SMALL: Final = 65536

_utf8_decoder = codecs.getincrementaldecoder("utf-8")


class _EntireMessage:
    def __repr__(self) -> str:
        return "EntireMessage"

    def __reduce__(self) -> str:
        return "EntireMessage"


#: As `WebSocket.read_delimiter`: whole messages are passed to `WebSocket.on_read` (manual: "EntireMessage").
EntireMessage: Final = _EntireMessage()


class Inbox:
    """Puts messages together, or cuts them up.

    What it is told of a message: `begin`, then `add` for each part of it.
    """

    __slots__ = (
        "_decoder",
        "_delimiter",
        "_discards",
        "_due",
        "_framer",
        "_halted",
        "_limit",
        "_open",
        "_pieces",
        "_regex_search",
        "_size",
        "_text",
        "_wants_text",
    )

    def __init__(self) -> None:
        self._delimiter: Any = EntireMessage
        self._wants_text: bool | None = None  # None: either
        self._limit = DEFAULT_LIMIT
        self._regex_search = True
        self._framer: Framer | None = None
        self._halted = False
        self._pieces: list[Any] = []  # of a message that is not complete
        self._size = 0  # of these, in bytes
        self._open = False  # a message has begun, and is not complete
        self._text = False  # whether it, or the one before, is of text
        self._decoder: Any = None
        self._discards = False  # the rest of the message is dropped
        self._due = False  # a whole message is to be handed out

    # --- Settings -------------------------------------------------------------------------------------------------

    @property
    def delimiter(self) -> Any:
        """See `WebSocket.read_delimiter`."""
        return self._delimiter

    @delimiter.setter
    def delimiter(self, delimiter: Any) -> None:
        wants_text = _delimiter.wants_text(delimiter)
        if delimiter is not EntireMessage:
            try:
                _delimiter.check(delimiter, text=bool(wants_text))
            except TypeError:
                raise TypeError(
                    "the read delimiter must be EntireMessage, None, str, bytes, int, re.Pattern, struct.Struct or "
                    f"netstruct.NetStruct, not {type(delimiter).__name__}"
                ) from None
        self._delimiter = delimiter
        self._wants_text = wants_text
        if isinstance(delimiter, struct.Struct):
            self._limit = max(self._limit, delimiter.size)
        elif isinstance(delimiter, int):
            self._limit = max(self._limit, delimiter)
        framer = self._framer
        if framer is not None:
            if self._fits_framer():
                framer.limit = self._limit
                framer.delimiter = delimiter
                framer.halted = self._halted
            else:
                framer.halted = True  # what it holds is taken over once it is not at work

    @property
    def regex_search(self) -> bool:
        """See `WebSocket.regex_search`."""
        return self._regex_search

    @regex_search.setter
    def regex_search(self, value: bool) -> None:
        self._regex_search = bool(value)
        if self._framer is not None:
            self._framer.regex_search = self._regex_search

    @property
    def limit(self) -> int:
        """See `WebSocket.buffer_size`."""
        return self._limit

    @limit.setter
    def limit(self, limit: int) -> None:
        _delimiter.check_limit(limit)
        self._limit = limit
        if self._framer is not None:
            self._framer.limit = limit

    @property
    def halted(self) -> bool:
        """While true, nothing is handed out."""
        return self._halted

    @halted.setter
    def halted(self, value: bool) -> None:
        self._halted = value
        if self._framer is not None:
            self._framer.halted = value or not self._fits_framer()

    def _fits_framer(self) -> bool:
        """Whether the framer, which is for what the last message was made of, can cut by the present delimiter."""
        return self._delimiter is not EntireMessage and self._wants_text in (None, self._text)

    # --- State ----------------------------------------------------------------------------------------------------

    @property
    def idle(self) -> bool:
        """Whether whole messages are wanted, and nothing is held."""
        return self._delimiter is EntireMessage and self._framer is None and not (self._open or self.pending)

    @property
    def pending(self) -> bool:
        """Whether something is held."""
        return self._due or bool(self._pieces) or (self._framer is not None and bool(self._framer.pending))

    # --- Messages -------------------------------------------------------------------------------------------------

    def begin(self, text: bool) -> None:
        """A message begins.

        Args:
            text: Whether it is of text, or else of bytes.

        Raises:
            WebSocketError: It is not of the type that is wanted, or than that of what is held (manual: "Unicode Strings
                and Byte Strings").
        """
        if text is not self._text:
            if self.pending:
                raise WebSocketError(1003, f"{_name(text)} behind {_name(self._text)} that is not complete")
            self._framer = None
            self._text = text
        self._check_type()
        self._open = True
        self._discards = False
        self._decoder = _utf8_decoder() if text else None

    def _check_type(self) -> None:
        if self._wants_text not in (None, self._text):
            raise WebSocketError(1003, f"{_name(bool(self._wants_text))} was expected, not {_name(self._text)}")

    def fits(self, size: int) -> bool:
        """Whether the message may have so many bytes more."""
        return self._delimiter is not EntireMessage or self._discards or self._size + size <= self._limit

    def discard(self) -> None:
        """Drop the message that has begun, and what comes of it."""
        self._discards = True
        self._pieces.clear()
        self._size = 0

    def add(self, data: bytes, last: bool) -> None:
        """Take the next part of the message that has begun.

        Args:
            data: The part.
            last: Whether it is the last.

        Raises:
            WebSocketError: It is text, and not UTF-8 (RFC 6455 §8.1).
        """
        piece: Any = data
        if self._decoder is not None:
            try:
                piece = self._decoder.decode(data, last)
            except UnicodeDecodeError:
                raise WebSocketError(1007, "The text is not UTF-8") from None
            # Python waits for the third byte of a surrogate, of which the second tells.
            if (begun := self._decoder.getstate()[0]) and begun[0] == 0xED and begun[1:2] >= b"\xa0":
                raise WebSocketError(1007, "The text is not UTF-8")
        if last:
            self._open = False
            self._decoder = None
        if self._discards:
            return
        self._due = last
        self._size += len(data)
        if piece:
            pieces = self._pieces
            pieces.append(piece)
            while len(pieces) > 1 and len(pieces[-2]) <= len(pieces[-1]) < _SMALL:
                piece = pieces.pop()
                pieces[-1] += piece
            self._check_type()

    def deliver(self, sink: Delivery) -> None:
        """Hand out what is complete.

        Raises:
            WebSocketError: What is held is not of the type that is wanted.
        """
        while not self._halted:
            self._check_held()
            if self._delimiter is EntireMessage:
                if self._due:
                    self._hand_over(sink)
                return
            self._feed()
            framer = self._framer
            if framer is None:
                return
            sink._deliver(framer)
            if self._halted or self._fits_framer():
                return

    def _hand_over(self, sink: Delivery) -> None:
        pieces, self._pieces = self._pieces, []
        self._due = False
        self._size = 0
        message = (pieces[0] if len(pieces) == 1 else "".join(pieces)) if self._text else b"".join(pieces)
        del pieces
        try:
            sink.on_read(message)
        except Exception as exception:  # noqa: BLE001 - hooks are contained
            sink._contain(exception)

    def _check_held(self) -> None:
        """Take what a framer holds that cannot cut by the present delimiter."""
        framer = self._framer
        if framer is None or self._fits_framer():
            return
        if framer.pending:
            framer.halted = False
            framer.delimiter = None
            rest = []
            while framer.pending:
                rest.append(framer.take())
            self._pieces[:0] = rest
            self._size += sum([len(piece.encode()) if self._text else len(piece) for piece in rest])
            self._due = not self._open
            self._check_type()
        self._framer = None

    def _feed(self) -> None:
        """Have the framer cut the pieces."""
        pieces = self._pieces
        self._due = False
        self._size = 0
        if pieces:
            framer = self._framer
            if framer is None:
                framer = self._framer = Framer(
                    self._delimiter, limit=self._limit, regex_search=self._regex_search, text=self._text
                )
            for piece in pieces:
                framer.feed(piece)
            pieces.clear()


def _name(text: bool) -> str:
    return "Text" if text else "Binary data"
