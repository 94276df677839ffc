"""WebSocket frames (RFC 6455 §5): how messages lie on the wire, for both ends. Sans-IO: bytes in, payload out.

There are two ways in, to the same verdict. `whole_masked` and `whole_unmasked` take what most messages are: one short
frame that arrived by itself. For all else, refusing included, there is `FrameReader`.
"""

from __future__ import annotations

import os
from typing import Final

try:
    from websockets.speedups import apply_mask as apply_mask
except ImportError:  # there is no wheel with it for this platform
    from websockets.utils import apply_mask as apply_mask

from pants.errors import PantsError

# RFC 6455 §5.2: opcodes.
CONTINUATION: Final = 0x0
TEXT: Final = 0x1
BINARY: Final = 0x2
CLOSE: Final = 0x8
PING: Final = 0x9
PONG: Final = 0xA

_FIN: Final = 0x80
_RSV1: Final = 0x40
_RSV2_RSV3: Final = 0x30
_MASK: Final = 0x80
_WHOLE_TEXT: Final = 0x81
_WHOLE_BINARY: Final = 0x82
#: RFC 6455 §5.5: the longest payload of a control frame, in bytes.
LONGEST_CONTROL: Final = 125
# Empty fragments of one message in a row: a peer that sends more of them has no message to send.
_MOST_EMPTY: Final = 1000

# RFC 6455 §7.4.1, and the registry of §11.7: the codes that may be sent in a frame, and what they say.
REASONS: Final = {
    1000: "Normal closure",
    1001: "Going away",
    1002: "Protocol error",
    1003: "Unsupported data",
    1007: "Invalid payload data",
    1008: "Policy violation",
    1009: "Message too big",
    1010: "Mandatory extension",
    1011: "Internal error",
    1012: "Service restart",
    1013: "Try again later",
    1014: "Bad gateway",
}
#: RFC 6455 §7.1.5: these stand for a Close frame without a code, and for none at all. They are never sent.
NO_STATUS: Final = 1005
ABNORMAL: Final = 1006

# Beyond this many bytes a payload is not copied to put a header before it: the copy would cost more than it saves.
LARGE: Final = 262144


class WebSocketError(PantsError):
    """What a peer has done that ends a WebSocket (RFC 6455 §7.1.7).

    Attributes:
        code: The code of the Close frame that the peer is sent (§7.4.1).
        reason: What is wrong, in a few words.
    """

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"{reason} ({code})")
        self.code = code
        self.reason = reason


# --- Reading ----------------------------------------------------------------------------------------------------------


def whole_masked(data: bytes, limit: int) -> str | bytes | None:
    """Take a message that is all of ``data``, in one frame, as a server receives it.

    Args:
        data: What was received.
        limit: The longest message, in bytes.

    Returns:
        The message; or None, which says nothing but that `FrameReader` is to decide.
    """
    size = len(data)
    if size < 6:
        return None
    length = data[1]
    if length < 254:
        if size != length - 122 or size > limit + 6:
            return None
        payload = apply_mask(data[6:], data[2:6])
    elif length == 254:
        if size < 134 or size != 8 + (data[2] << 8 | data[3]) or size > limit + 8:
            return None
        payload = apply_mask(data[8:], data[4:8])
    else:
        if size < 65550 or size != 14 + int.from_bytes(data[2:10], "big") or size > limit + 14:
            return None
        payload = apply_mask(memoryview(data)[14:], data[10:14])
    first = data[0]
    if first == _WHOLE_BINARY:
        return payload
    return _text(payload) if first == _WHOLE_TEXT else None


def whole_unmasked(data: bytes, limit: int) -> str | bytes | None:
    """As `whole_masked`, as a client receives it."""
    size = len(data)
    if size < 2:
        return None
    length = data[1]
    if length < 126:
        if size != length + 2 or size > limit + 2:
            return None
        payload = data[2:]
    elif length == 126:
        if size < 130 or size != 4 + (data[2] << 8 | data[3]) or size > limit + 4:
            return None
        payload = data[4:]
    else:
        if length > 127 or size < 65546 or size != 10 + int.from_bytes(data[2:10], "big") or size > limit + 10:
            return None
        payload = data[10:]
    first = data[0]
    if first == _WHOLE_BINARY:
        return payload
    return _text(payload) if first == _WHOLE_TEXT else None


def _text(payload: bytes) -> str | None:
    try:
        return payload.decode()
    except UnicodeDecodeError:
        return None


class Received:
    """What has been received, and how much of it was taken."""

    __slots__ = ("_at", "_data")

    def __init__(self) -> None:
        self._data = b""
        self._at = 0

    def feed(self, data: bytes) -> None:
        """Add what has been received."""
        self._data = self._data[self._at :] + data if self._data else data
        self._at = 0

    def clear(self) -> None:
        """Drop what has been received and not been taken."""
        self._data = b""
        self._at = 0

    def _used_up(self) -> None:
        """Do not hold on to what was taken."""
        if self._at:
            self._data = self._data[self._at :]
            self._at = 0


class FrameReader(Received):
    """Takes frames apart. What they carry comes in pieces, as it arrives: a long frame is not waited for.

    Args:
        masked: Whether the peer has to mask its frames: clients do, servers must not (RFC 6455 §5.1).
        compression: Whether messages may be compressed (RFC 7692 §6).

    What the attributes say is of the last piece that `take` returned.
    """

    __slots__ = (
        "_continued",
        "_empty",
        "_fin",
        "_key",
        "_left",
        "_masked",
        "_more",
        "begins",
        "compressed",
        "compression",
        "ends",
        "length",
        "opcode",
    )

    #: `TEXT` or `BINARY`, of the whole message; or `CLOSE`, `PING`, `PONG`, whose payload always comes in one piece.
    opcode: int
    #: Whether the message is compressed.
    compressed: bool
    #: Whether the piece begins a message.
    begins: bool
    #: Whether it ends one.
    ends: bool
    #: Where the piece begins a frame, how long that is, in bytes; else 0.
    length: int

    def __init__(self, *, masked: bool, compression: bool = False) -> None:
        super().__init__()
        self._masked = masked
        self.compression = compression
        self._left = 0  # of the payload of a data frame
        self._more = False  # a data frame has begun, and is not over
        self._fin = False
        self._key = b""
        self._continued = 0  # the opcode of a message that is not over
        self._empty = 0
        self.opcode = self.length = 0
        self.compressed = self.begins = self.ends = False

    @property
    def idle(self) -> bool:
        """Whether nothing of a frame, and no part of a message, has arrived."""
        return not (self._more or self._continued or self._data)

    def take(self) -> bytes | None:
        """Return the next piece: what has arrived of a data frame's payload, or the payload of a control frame.

        Returns:
            The piece, which is empty where no more than a frame's head has arrived; None if nothing is left.

        Raises:
            WebSocketError: The peer breaks the protocol.
        """
        if self._more:
            if self._at == len(self._data):
                self._used_up()
                return None
            self.begins = False
            self.length = 0
            return self._take_payload()
        head = self._take_head()
        if self._more:
            return self._take_payload()
        if head is None:
            self._used_up()
        return head

    def _take_head(self) -> bytes | None:
        """Take the head of a frame.

        Returns:
            The payload of a control frame; None if too little has arrived, or a data frame has begun.
        """
        data, at = self._data, self._at
        if len(data) - at < 2:
            return None
        first, second = data[at], data[at + 1]
        opcode = first & 0x0F
        self._check_first(first, opcode)
        if (second >= _MASK) is not self._masked:
            raise WebSocketError(1002, "Clients mask their frames" if self._masked else "Servers do not mask frames")
        length = second & 0x7F
        if opcode >= CLOSE and (length > LONGEST_CONTROL or not first & _FIN):
            raise WebSocketError(1002, "Control frames are short, and not fragmented")
        at += 2
        if length >= 126:
            width = 2 if length == 126 else 8
            if len(data) - at < width:
                return None
            length = int.from_bytes(data[at : at + width], "big")
            if length < (126 if width == 2 else 65536) or length >= 1 << 63:
                raise WebSocketError(1002, "A length has one form only, the shortest")
            at += width
        if self._masked:
            if len(data) - at < 4:
                return None
            self._key = data[at : at + 4]
            at += 4
        if opcode >= CLOSE:
            return self._take_control(opcode, at, length)
        self._begin_frame(first, opcode, length)
        self._at = at
        return None

    def _check_first(self, first: int, opcode: int) -> None:
        if first & _RSV2_RSV3 or (first & _RSV1 and not (self.compression and opcode in (TEXT, BINARY))):
            raise WebSocketError(1002, "A reserved bit is set")
        if opcode not in (CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG):
            raise WebSocketError(1002, "The opcode is not known")
        if opcode < CLOSE and (opcode == CONTINUATION) is not bool(self._continued):
            raise WebSocketError(1002, "Nothing to continue" if opcode == CONTINUATION else "A message is not complete")

    def _take_control(self, opcode: int, at: int, length: int) -> bytes | None:
        data = self._data
        if len(data) - at < length:
            return None
        payload = data[at : at + length]
        self._at = at + length
        self.opcode = opcode
        self.begins = self.ends = True
        return apply_mask(payload, self._key) if self._masked else payload

    def _begin_frame(self, first: int, opcode: int, length: int) -> None:
        self.begins = opcode != CONTINUATION
        if self.begins:
            self.compressed = bool(first & _RSV1)
            self._continued = opcode
            self._empty = 0
        self._fin = first >= _FIN
        if length or self._fin:
            self._empty = 0
        else:
            self._empty += 1
            if self._empty > _MOST_EMPTY:
                raise WebSocketError(1008, "There are too many empty fragments")
        self.length = self._left = length
        self._more = True

    def _take_payload(self) -> bytes:
        """Take what is there of the payload of the frame that has begun."""
        data, at = self._data, self._at
        end = min(at + self._left, len(data))
        if self._masked:
            key = self._key
            piece = apply_mask(memoryview(data)[at:end], key)
            if turn := len(piece) & 3:
                self._key = key[turn:] + key[:turn]
        else:
            piece = data[at:end]
        self._at = end
        self._left -= len(piece)
        self._more = self._left > 0
        self.opcode = self._continued
        self.ends = self._fin and not self._more
        if self.ends:
            self._continued = 0
        return piece


# --- Writing ----------------------------------------------------------------------------------------------------------

# The heads of unmasked frames with less than 126 bytes in them, by opcode and length: most frames are such.
SHORT_HEADS: Final = {opcode: [bytes((_FIN | opcode, length)) for length in range(126)] for opcode in (TEXT, BINARY)}


def head(opcode: int, length: int, key: bytes = b"", *, fin: bool = True, compressed: bool = False) -> bytes:
    """Return the head of a frame (RFC 6455 §5.2).

    Args:
        opcode: The opcode.
        length: The length of the payload, in bytes.
        key: The masking key; none, where the payload is not masked.
        fin: Whether the frame ends its message.
        compressed: Whether it begins a compressed message.
    """
    first = opcode | (_FIN if fin else 0) | (_RSV1 if compressed else 0)
    mask = _MASK if key else 0
    if length < 126:
        return b"%c%c%b" % (first, mask | length, key)
    if length < 65536:
        return b"%c%c%b%b" % (first, mask | 126, length.to_bytes(2, "big"), key)
    return b"%c%c%b%b" % (first, mask | 127, length.to_bytes(8, "big"), key)


def frame(
    opcode: int, payload: bytes, *, masked: bool, fin: bool = True, compressed: bool = False
) -> tuple[bytes, ...]:
    """Return a frame, in one piece unless it is large.

    Args:
        opcode: The opcode.
        payload: What it carries.
        masked: Whether to mask it.
        fin: Whether it ends its message.
        compressed: Whether it begins a compressed message.
    """
    key = next_key() if masked else b""
    first = head(opcode, len(payload), key, fin=fin, compressed=compressed)
    if masked:
        payload = apply_mask(payload, key)
    return (first, payload) if len(payload) > LARGE else (first + payload,)


_keys: list[bytes] = []
os.register_at_fork(after_in_child=_keys.clear)


def next_key() -> bytes:
    """Return a masking key, which nobody can foresee (RFC 6455 §10.3)."""
    try:
        return _keys.pop()
    except IndexError:
        # Many at a time, for each fetching is a system call.
        fresh = os.urandom(4096)
        _keys.extend([fresh[at : at + 4] for at in range(0, 4096, 4)])
        return _keys.pop()


# --- Close frames -----------------------------------------------------------------------------------------------------


def is_sendable(code: int) -> bool:
    """Whether a code may stand in a Close frame (RFC 6455 §7.4)."""
    return code in REASONS or 3000 <= code <= 4999


def close_payload(code: int, message: str | None) -> bytes:
    """Return the payload of a Close frame (RFC 6455 §5.5.1).

    Args:
        code: The code.
        message: What to say; None for what the code says by itself.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: The code is not one that may be sent, or the message is longer than 123 bytes.
    """
    if isinstance(code, bool) or not isinstance(code, int):
        raise TypeError(f"reason is a status code, an int, not {code!r}; what it means is said by message")
    if not is_sendable(code):
        raise ValueError(
            f"{code} is no status code that may be sent (RFC 6455 §7.4); those of applications are 3000 to 4999"
        )
    if message is None:
        message = REASONS.get(code, "")
    elif not isinstance(message, str):
        raise TypeError(f"message is a str, not {message!r}")
    encoded = message.encode()
    if len(encoded) > LONGEST_CONTROL - 2:
        raise ValueError(f"message takes {len(encoded)} bytes, and a Close frame holds {LONGEST_CONTROL - 2} at most")
    return code.to_bytes(2, "big") + encoded


def parse_close(payload: bytes) -> tuple[int, str]:
    """Return the code and the message of a Close frame (RFC 6455 §5.5.1).

    Raises:
        WebSocketError: It is malformed.
    """
    if not payload:
        return NO_STATUS, ""
    if len(payload) < 2:
        raise WebSocketError(1002, "A Close frame has a code of two bytes, or none")
    code = int.from_bytes(payload[:2], "big")
    if not is_sendable(code):
        raise WebSocketError(1002, "The code of a Close frame may not be sent")
    try:
        return code, payload[2:].decode()
    except UnicodeDecodeError:
        raise WebSocketError(1007, "The message of a Close frame is not UTF-8") from None
