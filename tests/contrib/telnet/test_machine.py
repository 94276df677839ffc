"""Commands among data (RFC 854, 855), without any I/O."""

from __future__ import annotations

import doctest
import importlib.util
import time
from pathlib import Path
from typing import Any

import pytest

import pants.contrib.telnet._machine
from pants.contrib.telnet import AYT, DM, DO, DONT, ECHO, EXOPL, GMCP, IAC, NAWS, NOP, SB, SE, WILL, WONT
from pants.contrib.telnet._machine import Command, Escaper, Machine, Negotiation, Subnegotiation, subnegotiation
from pants.errors import BufferOverflow


def events(data: bytes, machine: Machine | None = None, chunk: int = 0) -> list[Any]:
    """What comes of data, the pieces of data that follow each other joined."""
    machine = machine or Machine()
    found: list[Any] = []
    for start in range(0, len(data), chunk or max(len(data), 1)):
        machine.feed(data[start : start + chunk] if chunk else data)
        while (event := machine.next_event()) is not None:
            if isinstance(event, bytes) and found and isinstance(found[-1], bytes):
                found[-1] += event
            else:
                found.append(event)
    return found


CASES = [
    (b"", []),
    (b"spam", [b"spam"]),
    (IAC + AYT, [Command(AYT)]),
    (b"a" + IAC + AYT + b"b", [b"a", Command(AYT), b"b"]),
    (IAC + IAC, [b"\xff"]),
    (b"a" + IAC * 5 + NOP + b"b", [b"a\xff\xff", Command(NOP), b"b"]),
    *((IAC + command + ECHO, [Negotiation(command, ECHO)]) for command in (WILL, WONT, DO, DONT)),
    (IAC + DO + EXOPL + b"x", [Negotiation(DO, EXOPL), b"x"]),  # an option of 255 is none of the doubled ones
    (IAC + SB + NAWS + b"\0\x50\0\x18" + IAC + SE + b"x", [Subnegotiation(NAWS, b"\0\x50\0\x18"), b"x"]),
    (IAC + SB + NAWS + b"\0" + IAC + IAC + b"\0\x18" + IAC + SE, [Subnegotiation(NAWS, b"\0\xff\0\x18")]),
    (IAC + SB + GMCP + IAC + SE, [Subnegotiation(GMCP, b"")]),
    (IAC + SB + GMCP + SE + SB + IAC + SE, [Subnegotiation(GMCP, SE + SB)]),
    (IAC + SB + IAC + IAC + b"x" + IAC + SE, [Subnegotiation(EXOPL, b"x")]),
    (IAC + SE + b"x", [Command(SE), b"x"]),  # of nothing
    (IAC + b"x" + b"y", [Command(b"x"), b"y"]),  # no command of Telnet's
    # Broken off (RFC 855: in a subnegotiation IAC is doubled).
    (IAC + SB + GMCP + b"x" + IAC + AYT + b"y", [Subnegotiation(GMCP, b"x", False), Command(AYT), b"y"]),
    (IAC + SB + GMCP + b"x" + IAC + DO + ECHO, [Subnegotiation(GMCP, b"x", False), Negotiation(DO, ECHO)]),
    (
        IAC + SB + GMCP + b"x" + IAC + SB + GMCP + b"y" + IAC + SE,
        [Subnegotiation(GMCP, b"x", False), Subnegotiation(GMCP, b"y")],
    ),
    (IAC + SB + IAC + SE + b"x", [Subnegotiation(b"", b"", False), b"x"]),
    (IAC + SB + IAC + NOP, [Subnegotiation(b"", b"", False), Command(NOP)]),
    # Not complete.
    (b"a" + IAC, [b"a"]),
    (b"a" + IAC + WILL, [b"a"]),
    (b"a" + IAC + SB + NAWS + b"x" + IAC, [b"a"]),
    # The line ends of an NVT (RFC 854).
    (b"a\r\nb\r\0c\rd\n\0\r", [b"a\r\nb\rc\rd\n\0\r"]),
    (b"\r\0\0\r\r\0", [b"\r\0\r\r"]),
    (b"\r" + IAC + NOP + b"\0x", [b"\r", Command(NOP), b"x"]),
    (b"\r" + IAC + IAC + b"\0", [b"\r\xff\0"]),
]


@pytest.mark.parametrize("chunk", [0, 1, 2, 3])
@pytest.mark.parametrize("data, expected", CASES)
def test_what_comes_of_data(data: bytes, expected: list[Any], chunk: int) -> None:
    assert events(data, chunk=chunk) == expected


def test_the_line_ends_are_left_alone_where_it_is_no_nvt() -> None:
    assert events(b"a\r\0b\r\n", Machine(nvt=False), chunk=1) == [b"a\r\0b\r\n"]


def test_whether_it_is_an_nvt_rules_from_the_next_event() -> None:
    machine = Machine()
    machine.feed(b"\r\0" + IAC + NOP + b"\r\0")
    assert machine.next_event() == b"\r"
    machine.nvt = False
    assert machine.next_event() == Command(NOP)
    assert machine.next_event() == b"\r\0"


def test_a_cr_from_before_it_was_an_nvt() -> None:
    for quickly in (True, False):
        machine = Machine(nvt=False)
        if quickly:
            assert machine.passes(b"\r")
        else:
            assert events(b"\r", machine) == [b"\r"]
        machine.nvt = True
        assert events(b"\0", machine) == [b"\0"]


@pytest.mark.parametrize("chunk", [0, 1, 7])
def test_a_subnegotiation_that_is_too_long(chunk: int) -> None:
    machine = Machine(subnegotiation_limit=10)
    within, beyond = IAC + SB + GMCP + b"x" * 9 + IAC + SE, IAC + SB + GMCP + b"x" * 10 + IAC + IAC + b"x" + IAC + SE
    data = within + beyond + b"after" + within
    found: list[Any] = []
    for start in range(0, len(data), chunk or len(data)):
        machine.feed(data[start : start + (chunk or len(data))])
        while True:
            try:
                event = machine.next_event()
            except BufferOverflow:
                found.append("overflow")
                continue
            if event is None:
                break
            found.append(event)
    whole = Subnegotiation(GMCP, b"x" * 9)
    assert [event for event in found if not isinstance(event, bytes)] == [whole, "overflow", whole]
    assert b"".join(event for event in found if isinstance(event, bytes)) == b"after"
    assert machine.pending == 0


def test_without_a_limit() -> None:
    data = b"x" * 100_000
    assert events(subnegotiation(GMCP, data), Machine(subnegotiation_limit=None)) == [Subnegotiation(GMCP, data)]


def test_what_is_pending() -> None:
    machine = Machine()
    machine.feed(b"ab" + IAC + NOP + b"c")
    assert machine.pending == 5
    assert machine.next_event() == b"ab"
    assert machine.pending == 3
    machine.feed(IAC + SB + GMCP + b"xy")
    assert [machine.next_event() for _ in range(3)] == [Command(NOP), b"c", None]
    assert machine.pending == 3
    machine.clear()
    assert machine.pending == 0
    assert events(b"x" + IAC + SE, machine) == [b"x", Command(SE)]


def test_data_that_passes_as_it_is() -> None:
    machine = Machine()
    assert machine.passes(b"a\r\nb")
    assert machine.passes(b"c\r")
    assert machine.passes(b"")
    assert not machine.passes(b"\0d")
    assert events(b"\0d", machine) == [b"d"]
    assert not machine.passes(b"e" + IAC + NOP)
    assert not machine.passes(b"\r\0")
    assert events(IAC, machine) == []
    assert not machine.passes(b"f")


@pytest.mark.parametrize(
    "unit", [IAC + IAC, b"x" + IAC + IAC, IAC + NOP, IAC + DO + ECHO, b"\r\0", IAC + SB + GMCP + IAC + SE, IAC + SB]
)
def test_time_is_linear(unit: bytes) -> None:
    """No assertion about speed: were it quadratic, this would take minutes."""
    machine = Machine(subnegotiation_limit=None)
    data = unit * (1 << 18)
    began = time.monotonic()
    for start in range(0, len(data), 65536):
        machine.feed(data[start : start + 65536])
        while machine.next_event() is not None:
            pass
    assert time.monotonic() - began < 60


def test_a_subnegotiation_byte_by_byte_is_linear() -> None:
    machine = Machine(subnegotiation_limit=None)
    data = bytes(range(250)) * 1000
    assert events(subnegotiation(GMCP, data), machine, chunk=1) == [Subnegotiation(GMCP, data)]


# --- Sending --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data, sent",
    [
        (b"", b""),
        (b"spam", b"spam"),
        (b"a\xffb\xff\xff", b"a\xff\xffb\xff\xff\xff\xff"),
        (b"a\r\nb\n", b"a\r\nb\n"),
        (b"a\rb\r\r\n", b"a\r\0b\r\0\r\n"),
        (b"\r\0", b"\r\0\0"),
        (b"a\r", b"a\r"),
    ],
)
def test_escaping(data: bytes, sent: bytes) -> None:
    assert Escaper().escape(data, nvt=True) == sent
    assert Escaper().escape(data, nvt=False) == data.replace(b"\xff", b"\xff\xff")


def test_a_cr_at_the_end_of_a_piece() -> None:
    escaper = Escaper()
    assert [escaper.escape(piece, True) for piece in (b"a\r", b"", b"\n", b"b\r", b"c", b"\r", b"\r", b"\xff")] == [
        *(b"a\r", b"", b"\n", b"b\r", b"\0c", b"\r", b"\0\r", b"\0\xff\xff")
    ]
    assert escaper.escape(b"\r", True) + escaper.end() + escaper.end() + escaper.escape(b"x", True) == b"\r\0x"
    assert escaper.escape(b"\r", True) + escaper.escape(b"\0", False) == b"\r\0\0"  # the NVT's end


def test_names_are_shown() -> None:
    assert repr(Command(AYT)) == "<IAC AYT>"
    assert repr(Command(b"x")) == "<IAC 120>"
    assert repr(Negotiation(DO, b"\xc8")) == "<IAC DO 200>"
    assert repr(Subnegotiation(NAWS, b"x")) == "<IAC SB NAWS b'x' IAC SE>"
    assert repr(Subnegotiation(b"", b"", False)) == "<IAC SB nothing b'' broken off>"
    assert repr(Command(DM)) == "<IAC DM>"


def test_the_example() -> None:
    results = doctest.testmod(pants.contrib.telnet._machine)
    assert results.attempted > 0
    assert results.failed == 0


def test_fuzz_target() -> None:
    path = Path(__file__).parents[3] / "fuzz" / "fuzz_telnet.py"
    spec = importlib.util.spec_from_file_location("fuzz_telnet", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.fuzz(150)
