r"""Telnet's way of putting commands among data (RFC 854, 855), without any I/O.

    received bytes -> `Machine` -> data and commands, in order
    data           -> `Escaper` -> bytes to be sent

Both know the line ends of the network virtual terminal (NVT): a carriage return that no line feed follows is sent as
``CR NUL``.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from pants.contrib.telnet._codes import DO, DONT, IAC, SB, SE, WILL, WONT, command_name, option_name
from pants.errors import BufferOverflow

# The longest subnegotiation, in bytes: those of the RFCs have some hundred at most.
SUBNEGOTIATION_LIMIT: Final = 16384

NEGOTIATION: Final = frozenset({DO, DONT, WILL, WONT})

# As numbers, for a number is looked for in bytes far quicker than a byte.
IAC_NUMBER: Final = 0xFF
CR_NUMBER: Final = 0x0D
LF_NUMBER: Final = 0x0A
# Data up to the next command: what is no IAC, and pairs of IAC. Possessive, so that nothing is tried twice.
_DATA: Final = re.compile(rb"(?:[^\xff]++|\xff\xff)*+")
# A CR that is known not to be followed by LF. What follows one at the end is not known yet.
_BARE_CR: Final = re.compile(rb"\r(?=[^\n])")


class Command(NamedTuple):
    """A command without anything behind it: IAC AYT, for example."""

    command: bytes

    def __repr__(self) -> str:
        return f"<IAC {command_name(self.command)}>"


class Negotiation(NamedTuple):
    """IAC and one of DO, DONT, WILL, WONT, and an option."""

    command: bytes
    option: bytes

    def __repr__(self) -> str:
        return f"<IAC {command_name(self.command)} {option_name(self.option)}>"


class Subnegotiation(NamedTuple):
    """What stands between IAC SB and IAC SE; or, where it is not `complete`, before another command, or no option."""

    option: bytes
    data: bytes
    complete: bool = True

    def __repr__(self) -> str:
        name = option_name(self.option) if self.option else "nothing"
        return f"<IAC SB {name} {self.data!r} {'IAC SE' if self.complete else 'broken off'}>"


Instruction = Command | Negotiation | Subnegotiation
Event = bytes | Instruction


class Machine:
    r"""Takes commands out of received bytes.

    What it gives is the same however the bytes were cut up on their way, but that a piece of data may come as several.

        >>> machine = Machine()
        >>> machine.feed(b"spam\xff\xf6 and\xff\xff\xff\xfd\x01")
        >>> list(iter(machine.next_event, None))
        [b'spam', <IAC AYT>, b' and\xff', <IAC DO ECHO>]

    Whoever takes the events may stop after any of them; the rest is kept.
    """

    __slots__ = ("_after_cr", "_data", "_dropping", "_nvt", "_position", "_subnegotiation", "subnegotiation_limit")

    #: The longest subnegotiation, in bytes, its option included; None for no limit.
    subnegotiation_limit: float | None

    def __init__(self, nvt: bool = True, subnegotiation_limit: float | None = SUBNEGOTIATION_LIMIT) -> None:
        self._nvt = nvt
        self.subnegotiation_limit = subnegotiation_limit
        self.clear()

    @property
    def nvt(self) -> bool:
        """Whether ``CR NUL`` stands for a CR. It may change at any time, and rules from the next event."""
        return self._nvt

    @nvt.setter
    def nvt(self, nvt: bool) -> None:
        if nvt and not self._nvt:
            self._after_cr = False  # that one came by other rules, and was complete
        self._nvt = nvt

    def clear(self) -> None:
        """Forget all that was received."""
        self._data = b""
        self._position = 0
        self._after_cr = False  # data has ended with a CR, so that NUL belongs to it
        self._subnegotiation: bytearray | None = None  # what has been received of one
        self._dropping = False  # ... which was too long

    @property
    def pending(self) -> int:
        """How many bytes are held."""
        begun = 0 if self._subnegotiation is None else len(self._subnegotiation)
        return len(self._data) - self._position + begun

    def passes(self, data: bytes) -> bool:
        """Tell whether there is nothing to be done about received bytes: all are data, and they can be taken as such.

        If so they need not be fed; they count as received.
        """
        if self._data or IAC_NUMBER in data or self._subnegotiation is not None:
            return False
        if self._after_cr or CR_NUMBER in data:
            if b"\r\0" in data or (self._after_cr and data.startswith(b"\0")):
                return False  # it may be something, by `nvt`
            if data:
                self._after_cr = data[-1] == CR_NUMBER
        return True

    def feed(self, data: bytes) -> None:
        """Add received bytes."""
        if data:
            self._data = self._data[self._position :] + data
            self._position = 0

    def next_event(self) -> Event | None:
        """Give what comes next.

        Returns:
            Data as bytes; a `Command`, `Negotiation` or `Subnegotiation`; None if nothing is complete.

        Raises:
            BufferOverflow: A subnegotiation is longer than `subnegotiation_limit`. What is left of it is dropped; this
                can be called again.
        """
        while self._position < len(self._data):
            if self._subnegotiation is not None:
                event = self._go_on_with_subnegotiation(self._subnegotiation)
            elif self._data[self._position] != IAC_NUMBER or self._data.startswith(IAC + IAC, self._position):
                event = self._translated(self._run())
            else:
                event = self._command()
            if event is None:
                break
            if event:
                return event
        self._data = self._data[self._position :]
        self._position = 0
        return None

    def _run(self) -> bytes:
        """Take what comes before the next command."""
        match = _DATA.match(self._data, self._position)
        assert match is not None
        self._position = match.end()
        return match.group().replace(IAC + IAC, IAC)

    def _translated(self, data: bytes) -> bytes:
        if not self._nvt:
            self._after_cr = False
            return data
        if self._after_cr and data[0] == 0:
            data = data[1:]
            if not data:
                self._after_cr = False
                return data
        self._after_cr = data[-1] == CR_NUMBER
        return data.replace(b"\r\0", b"\r")

    def _command(self) -> Event | None:
        """Take the command at the position, or give None if it is not complete. Give b"" where it is no event yet."""
        data, position = self._data, self._position
        command = data[position + 1 : position + 2]
        if not command:
            return None
        if command == SB:
            self._position += 2
            self._subnegotiation = bytearray()
            return b""
        if command in NEGOTIATION:
            option = data[position + 2 : position + 3]
            if not option:
                return None
            self._position += 3
            return Negotiation(command, option)
        self._position += 2
        return Command(command)

    def _go_on_with_subnegotiation(self, begun: bytearray) -> Event | None:
        run = self._run()
        if not self._dropping:
            begun += run
            if self.subnegotiation_limit is not None and len(begun) > self.subnegotiation_limit:
                begun.clear()
                self._dropping = True
                raise BufferOverflow(f"a subnegotiation is longer than {self.subnegotiation_limit}")
        end = self._data[self._position : self._position + 2]
        if len(end) < 2:
            return None
        # RFC 855: in here IAC is doubled, and SE ends it. Any other command shows that the SE was left out, or an IAC
        # not doubled. It cannot be known which; so what there is counts as broken off, and the command as one.
        complete = end == IAC + SE
        if complete:
            self._position += 2
        dropped, self._dropping = self._dropping, False
        self._subnegotiation = None
        if dropped:
            return b""
        return Subnegotiation(bytes(begun[:1]), bytes(begun[1:]), complete and bool(begun))


class Escaper:
    """Makes data into bytes to be sent: IAC is doubled, and for an NVT a CR that no LF follows becomes CR NUL.

    What follows a CR at the end of one piece is known with the next; until then it goes out as it is.
    """

    __slots__ = ("after_cr",)

    #: Whether the last piece has ended with a CR, of which it is not known yet how it is to be sent.
    after_cr: bool

    def __init__(self) -> None:
        self.after_cr = False

    def escape(self, data: bytes, nvt: bool) -> bytes:
        """Give the bytes that stand for a piece of data.

        Args:
            data: The data.
            nvt: Whether it is for an NVT; not so where BINARY is in effect.
        """
        if IAC_NUMBER in data:
            data = data.replace(IAC, IAC + IAC)
        if (self.after_cr or CR_NUMBER in data) and data:
            if not nvt:
                return self.end() + data
            if self.after_cr and data[0] != LF_NUMBER:
                data = b"\0" + data
            self.after_cr = data[-1] == CR_NUMBER
            data = _BARE_CR.sub(b"\r\0", data)
        return data

    def end(self) -> bytes:
        """Give what has to be sent before anything that is not passed through here: NUL after a CR, or nothing."""
        owed = self.after_cr
        self.after_cr = False
        return b"\0" if owed else b""


def sequence(*codes: bytes) -> bytes:
    """A command as it is sent."""
    return IAC + b"".join(codes)


def subnegotiation(option: bytes, data: bytes) -> bytes:
    """A subnegotiation as it is sent; data is escaped (RFC 855)."""
    return IAC + SB + (option + data).replace(IAC, IAC + IAC) + IAC + SE
