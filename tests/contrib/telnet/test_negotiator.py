"""The Q method of RFC 1143, without any I/O."""

from __future__ import annotations

import doctest

import pytest

import pants.contrib.telnet._negotiator
from pants.contrib.telnet import DO, DONT, ECHO, SGA, TM, WILL, WONT
from pants.contrib.telnet._negotiator import Negotiator, Side, State

NO, YES = State.NO, State.YES
WANT_NO, WANT_NO_OPPOSITE = State.WANT_NO, State.WANT_NO_OPPOSITE
WANT_YES, WANT_YES_OPPOSITE = State.WANT_YES, State.WANT_YES_OPPOSITE

# How a side gets into each state: asked (True, False), or told ("yes", "no").
WAYS: dict[State, list[bool | str]] = {
    NO: [],
    YES: [True, "yes"],
    WANT_NO: [True, "yes", False],
    WANT_NO_OPPOSITE: [True, "yes", False, True],
    WANT_YES: [True],
    WANT_YES_OPPOSITE: [True, False],
}


def side_in(state: State) -> Side:
    side = Side(DO, DONT)
    for step in WAYS[state]:
        if isinstance(step, bool):
            side.ask(ECHO, step)
        else:
            side.hear(ECHO, step == "yes", willing=False)
    assert side.state(ECHO) is state
    return side


# RFC 1143 §7: "Upon receipt of WILL" and "of WONT"; the answer, and whether the option has come to be on, or off.
@pytest.mark.parametrize(
    "before, on, willing, after, answer, settled",
    [
        (NO, True, True, YES, DO, True),
        (NO, True, False, NO, DONT, None),
        (YES, True, False, YES, b"", None),
        (WANT_NO, True, True, NO, b"", False),
        (WANT_NO_OPPOSITE, True, False, YES, b"", True),
        (WANT_YES, True, False, YES, b"", True),
        (WANT_YES_OPPOSITE, True, True, WANT_NO, DONT, None),
        (NO, False, True, NO, b"", None),
        (YES, False, True, NO, DONT, False),
        (WANT_NO, False, True, NO, b"", False),
        (WANT_NO_OPPOSITE, False, False, WANT_YES, DO, None),
        (WANT_YES, False, True, NO, b"", False),
        (WANT_YES_OPPOSITE, False, True, NO, b"", False),
    ],
)
def test_what_is_heard(
    before: State, on: bool, willing: bool, after: State, answer: bytes, settled: bool | None
) -> None:
    side = side_in(before)
    assert side.hear(ECHO, on, willing) == (answer, settled)
    assert side.state(ECHO) is after
    assert side.state(SGA) is NO


# RFC 1143 §7: "If we decide to ask him to enable" and "to disable".
@pytest.mark.parametrize(
    "before, on, after, said",
    [
        (NO, True, WANT_YES, DO),
        (YES, True, YES, b""),
        (WANT_NO, True, WANT_NO_OPPOSITE, b""),
        (WANT_NO_OPPOSITE, True, WANT_NO_OPPOSITE, b""),
        (WANT_YES, True, WANT_YES, b""),
        (WANT_YES_OPPOSITE, True, WANT_YES, b""),
        (NO, False, NO, b""),
        (YES, False, WANT_NO, DONT),
        (WANT_NO, False, WANT_NO, b""),
        (WANT_NO_OPPOSITE, False, WANT_NO, b""),
        (WANT_YES, False, WANT_YES_OPPOSITE, b""),
        (WANT_YES_OPPOSITE, False, WANT_YES_OPPOSITE, b""),
    ],
)
def test_what_is_asked(before: State, on: bool, after: State, said: bytes) -> None:
    side = side_in(before)
    assert side.ask(ECHO, on) == said
    assert side.state(ECHO) is after


def test_both_directions() -> None:
    negotiator = Negotiator()
    assert negotiator.hear(DO, ECHO, True) == (WILL, True, True)
    assert negotiator.hear(WILL, ECHO, True) == (DO, False, True)
    assert negotiator.hear(DONT, ECHO, True) == (WONT, True, False)
    assert negotiator.hear(WONT, ECHO, True) == (DONT, False, False)
    assert negotiator.hear(DO, ECHO, False) == (WONT, True, None)
    assert negotiator.local.ask(SGA, True) == WILL
    assert negotiator.remote.ask(SGA, True) == DO


def test_when_an_option_rules() -> None:
    """A command takes effect where it stands in the data (RFC 854)."""
    negotiator = Negotiator()
    for command in (DO, WILL):
        negotiator.hear(command, ECHO, True)
    negotiator.local.ask(ECHO, False)
    negotiator.remote.ask(ECHO, False)
    assert not negotiator.local_enabled(ECHO)
    assert negotiator.remote_enabled(ECHO)
    negotiator.hear(WONT, ECHO, True)
    assert not negotiator.remote_enabled(ECHO)
    negotiator.remote.ask(ECHO, True)
    assert not negotiator.remote_enabled(ECHO)


def test_a_timing_mark() -> None:
    """RFC 860: each request for one is answered, and each answer is one mark."""
    negotiator = Negotiator()
    for _ in range(3):
        assert negotiator.hear(DO, TM, True) == (WILL, True, True)
        assert negotiator.hear(DO, TM, False) == (WONT, True, None)
        for command, on in ((WILL, True), (WONT, False)):
            assert negotiator.remote.ask(TM, True) == DO
            assert negotiator.remote.ask(TM, True) == b""  # the first is on its way
            assert negotiator.hear(command, TM, False) == (b"", False, on)
        assert not negotiator.local_enabled(TM)
        assert not negotiator.remote_enabled(TM)
    assert negotiator.hear(WILL, TM, True) == (DONT, False, None)  # nobody has asked; DO would


def test_the_example() -> None:
    results = doctest.testmod(pants.contrib.telnet._negotiator)
    assert results.attempted > 0
    assert results.failed == 0
