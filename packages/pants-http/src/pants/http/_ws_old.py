"""Draft 76 of the WebSocket protocol ("hixie-76"), which browsers spoke before RFC 6455. Sans-IO.

It has frames of text, and a closing handshake without a code: nothing else.
"""

from __future__ import annotations

from typing import Final

from pants.http._ws_frames import CLOSE, TEXT, Received, WebSocketError

#: The closing handshake.
OLD_CLOSE: Final = b"\xff\x00"


def old_frame(payload: bytes) -> bytes:
    """Return a frame of text, which contains no byte 0xFF if it is UTF-8."""
    return b"\x00%b\xff" % payload


class OldFrameReader(Received):
    """Takes frames apart; the same for a `WebSocket` as `pants.http._ws_frames.FrameReader`."""

    __slots__ = ("_inside", "begins", "ends", "length", "opcode")

    compressed: Final = False

    def __init__(self) -> None:
        super().__init__()
        self._inside = False  # a frame of text
        self.opcode = TEXT
        self.length = 0
        self.begins = self.ends = False

    @property
    def idle(self) -> bool:
        """Whether nothing of a frame has arrived."""
        return not (self._inside or self._data)

    def take(self) -> bytes | None:
        """Return the next piece of text, or an empty one that stands for the closing handshake; None if none is left.

        Raises:
            WebSocketError: The peer breaks the protocol; or it sends a frame of another kind, which no client does.
        """
        data, at = self._data, self._at
        self.begins = not self._inside
        if not self._inside and at < len(data):
            if data[at] == 0xFF:
                return self._take_close(data, at)
            if data[at]:
                raise WebSocketError(1003, "Draft 76 has frames of text only")
            self._inside = True
            at += 1
        if at == len(data):
            self.clear()
            return None if not self._inside or not self.begins else self._piece(b"", False)
        end = data.find(b"\xff", at)
        self.ends = end >= 0
        piece = data[at:end] if self.ends else data[at:]
        self._at = end + 1 if self.ends else len(data)
        return self._piece(piece, self.ends)

    def _piece(self, piece: bytes, ends: bool) -> bytes:
        self.opcode = TEXT
        self.ends = ends
        self._inside = not ends
        self.length = len(piece)
        return piece

    def _take_close(self, data: bytes, at: int) -> bytes | None:
        if len(data) - at < 2:
            return None
        if data[at + 1]:
            raise WebSocketError(1003, "Draft 76 has frames of text only")
        self._at = at + 2
        self.opcode = CLOSE
        self.length = 0
        return b""
