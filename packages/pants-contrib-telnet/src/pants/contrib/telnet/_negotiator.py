"""Agreeing on options by the Q method of RFC 1143, without any I/O: whatever the peer says, no loop comes of it."""

from __future__ import annotations

import enum
from typing import Final, NamedTuple

from pants.contrib.telnet._codes import DO, DONT, TM, WILL, WONT


class State(enum.Enum):
    """Where one side of an option stands (RFC 1143 §7). Names with OPPOSITE: the queue holds the contrary wish."""

    NO = enum.auto()
    YES = enum.auto()
    WANT_NO = enum.auto()
    WANT_NO_OPPOSITE = enum.auto()
    WANT_YES = enum.auto()
    WANT_YES_OPPOSITE = enum.auto()


NO, YES = State.NO, State.YES
WANT_NO, WANT_NO_OPPOSITE = State.WANT_NO, State.WANT_NO_OPPOSITE
WANT_YES, WANT_YES_OPPOSITE = State.WANT_YES, State.WANT_YES_OPPOSITE

# The tables of RFC 1143 §7: the state that follows, and what is said: yes (True), no (False), or nothing (None).
Step = tuple[State, bool | None]

# The peer has said yes: WILL, or DO. In state NO it is a request, which may be refused.
_HEARD_YES: Final[dict[State, Step]] = {
    NO: (YES, True),
    YES: (YES, None),
    WANT_NO: (NO, None),  # an error of the peer's: no is to be answered by no
    WANT_NO_OPPOSITE: (YES, None),  # the same
    WANT_YES: (YES, None),
    WANT_YES_OPPOSITE: (WANT_NO, False),
}
# The peer has said no: WONT, or DONT. This cannot be refused.
_HEARD_NO: Final[dict[State, Step]] = {
    NO: (NO, None),
    YES: (NO, False),
    WANT_NO: (NO, None),
    WANT_NO_OPPOSITE: (WANT_YES, True),
    WANT_YES: (NO, None),
    WANT_YES_OPPOSITE: (NO, None),
}
# This end asks for the option to be turned on. What is on already, or asked for, is let be.
_ASKED_YES: Final[dict[State, Step]] = {
    NO: (WANT_YES, True),
    YES: (YES, None),
    WANT_NO: (WANT_NO_OPPOSITE, None),
    WANT_NO_OPPOSITE: (WANT_NO_OPPOSITE, None),
    WANT_YES: (WANT_YES, None),
    WANT_YES_OPPOSITE: (WANT_YES, None),
}
# ... to be turned off.
_ASKED_NO: Final[dict[State, Step]] = {
    NO: (NO, None),
    YES: (WANT_NO, False),
    WANT_NO: (WANT_NO, None),
    WANT_NO_OPPOSITE: (WANT_NO, None),
    WANT_YES: (WANT_YES_OPPOSITE, None),
    WANT_YES_OPPOSITE: (WANT_YES_OPPOSITE, None),
}


class Heard(NamedTuple):
    """What follows from a command of the peer's."""

    #: What to send: DO, DONT, WILL or WONT; or b"".
    answer: bytes
    #: Whether this end is the one that performs the option, or would.
    local: bool
    #: Whether the option has been turned on (True) or off (False), or asked for in vain (False); None for neither.
    settled: bool | None


class Side:
    """One direction: the options of one end, as they stand.

    Args:
        yes: What this end says to turn one on.
        no: ... and off.
    """

    __slots__ = ("_no", "_states", "_yes")

    def __init__(self, yes: bytes, no: bytes) -> None:
        self._yes = yes
        self._no = no
        self._states: dict[bytes, State] = {}

    def state(self, option: bytes) -> State:
        """Where an option stands."""
        return self._states.get(option, NO)

    def ask(self, option: bytes, on: bool) -> bytes:
        """Wish for an option to be turned on or off.

        Returns:
            What to send, or b"": it is so already, or will be once the peer has answered.
        """
        return self._say(self._move(option, (_ASKED_YES if on else _ASKED_NO)[self.state(option)]))

    def hear(self, option: bytes, on: bool, willing: bool) -> tuple[bytes, bool | None]:
        """Take in what the peer has said.

        Args:
            option: The option.
            on: Whether it said yes.
            willing: Whether this end agrees, if that is a request.

        Returns:
            What to send, or b""; and as of `Heard.settled`.
        """
        before = self.state(option)
        if before is NO and on and not willing:
            return self._no, None
        answer = self._say(self._move(option, (_HEARD_YES if on else _HEARD_NO)[before]))
        now = self.state(option)
        settled = now is YES if now is not before and now in (YES, NO) else None
        if option == TM:  # which is a mark, and no state: each request is one of its own (RFC 860)
            self._states.pop(TM, None)
        return answer, settled

    def _move(self, option: bytes, step: Step) -> bool | None:
        state, said = step
        if state is NO:
            self._states.pop(option, None)
        else:
            self._states[option] = state
        return said

    def _say(self, said: bool | None) -> bytes:
        return b"" if said is None else self._yes if said else self._no


class Negotiator:
    r"""All options of a connection, at both ends.

    >>> negotiator = Negotiator()
    >>> negotiator.hear(DO, b"\x03", willing=True)
    Heard(answer=b'\xfb', local=True, settled=True)
    >>> negotiator.hear(DO, b"\x03", willing=True).answer  # it is so already: a second answer might begin a loop
    b''
    """

    __slots__ = ("local", "remote")

    def __init__(self) -> None:
        #: The options that this end performs.
        self.local = Side(WILL, WONT)
        #: Those that the peer performs.
        self.remote = Side(DO, DONT)

    def hear(self, command: bytes, option: bytes, willing: bool) -> Heard:
        """Take in what the peer has said.

        Args:
            command: DO, DONT, WILL or WONT.
            option: The option.
            willing: Whether this end agrees, if that is a request.
        """
        local = command in (DO, DONT)
        side = self.local if local else self.remote
        if option == TM and not local:
            willing = False  # a mark that was not asked for; DO would ask for one more
        answer, settled = side.hear(option, command in (DO, WILL), willing)
        return Heard(answer, local, settled)

    # Telnet's commands take effect where they stand in the data (RFC 854): a WONT that this end has sent at once, but a
    # DONT when the peer's WONT has come in answer.

    def local_enabled(self, option: bytes) -> bool:
        """Whether what is sent from now on goes by an option."""
        return self.local.state(option) is YES

    def remote_enabled(self, option: bytes) -> bool:
        """Whether what is received goes by an option."""
        return self.remote.state(option) in (YES, WANT_NO, WANT_NO_OPPOSITE)
