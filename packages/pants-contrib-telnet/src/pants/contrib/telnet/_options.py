"""What stands in the subnegotiations of options: NAWS, TTYPE, CHARSET; without any I/O.

What is decoded comes from the peer, so what does not fit is None and nothing more.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final

# RFC 1091 and RFC 2978 §2.3 give terminal types and character sets at most so many characters.
NAME_LIMIT: Final = 40
# The most terminal types that one client is asked for.
TYPES_LIMIT: Final = 16

# --- Names ------------------------------------------------------------------------------------------------------------


def decode_name(data: bytes) -> str | None:
    """The name of a terminal type or a character set: printable ASCII, and not long. None if it is none."""
    if not 0 < len(data) <= NAME_LIMIT or not data.isascii():
        return None
    name = data.decode("ascii")
    return name if name.isprintable() else None


def encode_name(name: str) -> bytes:
    """The same the other way round.

    Raises:
        TypeError: It is not str.
        ValueError: It is empty, too long, or not of printable ASCII.
    """
    if not isinstance(name, str):
        raise TypeError(f"a name is a str, not {name!r}")
    if not 0 < len(name) <= NAME_LIMIT or not name.isascii() or not name.isprintable():
        raise ValueError(f"a name is 1 to {NAME_LIMIT} printable characters of ASCII, not {name[:80]!r}")
    return name.encode("ascii")


def check_names(names: Sequence[str], what: str) -> None:
    """Raise unless a value is a sequence of names.

    Raises:
        TypeError: It is no sequence of str, or a str by itself.
        ValueError: One is no name.
    """
    if isinstance(names, str) or not isinstance(names, Sequence):
        raise TypeError(f"{what} is a sequence of names, such as ({'UTF-8'!r},), not {names!r}")
    for name in names:
        encode_name(name)


# --- NAWS (RFC 1073) --------------------------------------------------------------------------------------------------

_WINDOW_SIZE: Final = struct.Struct("!HH")


def encode_window_size(width: int, height: int) -> bytes:
    """The data of NAWS.

    Args:
        width: The number of columns, 0 for unknown.
        height: The number of lines.

    Raises:
        TypeError: One is no int.
        ValueError: One is below 0 or above 65535.
    """
    for number in (width, height):
        if isinstance(number, bool) or not isinstance(number, int):
            raise TypeError(f"a window's width and height are ints, not {number!r}")
        if not 0 <= number <= 0xFFFF:
            raise ValueError(f"a window's width and height are 0 to 65535, not {number}")
    return _WINDOW_SIZE.pack(width, height)


def decode_window_size(data: bytes) -> tuple[int, int] | None:
    """Width and height."""
    if len(data) != _WINDOW_SIZE.size:
        return None
    width, height = _WINDOW_SIZE.unpack(data)
    return width, height


# --- TTYPE (RFC 1091) -------------------------------------------------------------------------------------------------

TTYPE_IS: Final = b"\x00"
TTYPE_SEND: Final = b"\x01"


class TypeList:
    """The client's end: the types it can be, one for each SEND; the last once more, and then the first again."""

    __slots__ = ("_next",)

    def __init__(self) -> None:
        self._next = 0

    def give(self, names: Sequence[str]) -> bytes:
        """The data that answers SEND, by these names."""
        place, self._next = self._next, self._next + 1
        if place < len(names):
            return TTYPE_IS + encode_name(names[place])
        self._next = 0
        return TTYPE_IS + encode_name(names[-1] if names else "UNKNOWN")


class TypeQuery:
    """The server's end: asks until a type comes again.

    A client acts as the type that it named last. So where there are several it is asked once more, which makes it begin
    again with the one that it likes best.
    """

    __slots__ = ("_asked", "_names")

    def __init__(self) -> None:
        self._asked = False
        self._names: set[str] = set()

    def start(self) -> None:
        """SEND is being sent, and nothing is known."""
        self._asked = True
        self._names.clear()

    def take(self, data: bytes) -> tuple[str | None, bool]:
        """Take in what the client has sent.

        Returns:
            The type, if it is a new one. Whether to send SEND.
        """
        name = decode_name(data[1:]) if data.startswith(TTYPE_IS) else None
        if name is None or not self._asked:
            return None, False
        if name in self._names or len(self._names) >= TYPES_LIMIT:
            self._asked = False
            return None, len(self._names) > 1
        self._names.add(name)
        return name, True


# --- CHARSET (RFC 2066) -----------------------------------------------------------------------------------------------

CHARSET_REQUEST: Final = b"\x01"
CHARSET_ACCEPTED: Final = b"\x02"
CHARSET_REJECTED: Final = b"\x03"
# A peer may offer translation tables besides, by this and their version, one byte. Nobody does, and none is taken.
_TTABLE: Final = b"[TTABLE ]"
# The most names that are looked at in one request.
_OFFERS_LIMIT: Final = 64


def encode_charset_request(names: Sequence[str]) -> bytes:
    """The data that offers character sets, the best first.

    Raises:
        TypeError, ValueError: As of `check_names`; or there is none, or a ";" in one.
    """
    check_names(names, "an offer of character sets")
    if not names or any(";" in name for name in names):
        raise ValueError(f"character sets to offer are one name or more, without a ';', not {names!r}")
    return b"".join([CHARSET_REQUEST, *(b";" + encode_name(name) for name in names)])


def decode_charset_request(data: bytes) -> list[str]:
    """The character sets that are offered. Those whose names are none are left out."""
    data = data.removeprefix(CHARSET_REQUEST)
    if data.startswith(_TTABLE):
        data = data[len(_TTABLE) + 1 :]
    offers = data[1:].split(data[:1], _OFFERS_LIMIT)[:_OFFERS_LIMIT] if data else []
    return [name for name in map(decode_name, offers) if name is not None]


def choose_charset(offered: Sequence[str], known: Sequence[str]) -> str | None:
    """The first that is offered and known. Names of character sets are the same in upper and lower case."""
    folded = {name.lower() for name in known}
    return next((name for name in offered if name.lower() in folded), None)
