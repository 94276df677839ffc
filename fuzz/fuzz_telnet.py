"""Fuzz target for the machine and the negotiator of `pants.contrib.telnet`: any bytes, cut up anyhow.

    python fuzz/fuzz_telnet.py [EXAMPLES]

What must hold. Machine: the events are those of `expected`, which looks at one byte at a time; nothing but
BufferOverflow is raised; what is escaped comes back as it was. Negotiator: two of them that ask each other for anything
come to rest after a bounded number of messages, and agree then; against a peer that says anything, each command has at
most one answer.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterator
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pants.contrib.telnet import DO, DONT, IAC, SB, SE, WILL, WONT
from pants.contrib.telnet._machine import Command, Escaper, Machine, Negotiation, Subnegotiation, subnegotiation
from pants.contrib.telnet._negotiator import Negotiator
from pants.errors import BufferOverflow

NEGOTIATION = (DO, DONT, WILL, WONT)

received = st.lists(
    st.sampled_from([IAC, IAC, SB, SE, DO, WONT, b"\xf6", b"\r", b"\n", b"\0", b"a", b"\x01", b"ab\r\n"]), max_size=60
).map(b"".join)
pieces = st.lists(st.tuples(received, st.booleans()), max_size=8)


def tokens(data: bytes) -> Iterator[bytes]:
    """Give each byte of data (a doubled IAC as one), and each command: IAC and one byte, or two where it negotiates.

    The last of those may lack its option.
    """
    place = 0
    while place < len(data):
        if data[place : place + 1] != IAC:
            size = 1
        else:
            size = 3 if data[place + 1 : place + 2] in NEGOTIATION else 2
        if place + min(size, 2) > len(data):
            return
        token = data[place : place + size]
        yield IAC if token == IAC + IAC else token
        place += size


def expected(data: bytes, nvt: bool, limit: int) -> list[Any]:
    """Give all events, each byte of data as one, and each overflow as None. The slow and simple way."""
    events: list[Any] = []
    after_cr = False
    begun: bytes | None = None
    for token in tokens(data):
        if begun is not None and len(token) == 1:
            begun += token
            if len(begun) == limit + 1:
                events.append(None)
        elif len(token) == 1:
            if not (nvt and after_cr and token == b"\0"):
                events.append(token)
            after_cr = token == b"\r"
        else:
            if begun is not None and len(begun) <= limit:
                events.append(Subnegotiation(begun[:1], begun[1:], token == IAC + SE and begun != b""))
            if token == IAC + SB:
                begun = b""
                continue
            if token[1:] not in NEGOTIATION and (begun is None or token != IAC + SE):
                events.append(Negotiation(token[1:2], token[2:]) if len(token) == 3 else Command(token[1:]))
            begun = None
    return events


def in_pieces(data: bytes, draw: st.DataObject) -> list[bytes]:
    """Cut data up anyhow."""
    found = []
    while data:
        size = draw.draw(st.integers(1, 12))
        found.append(data[:size])
        data = data[size:]
    return found


def taken(machine: Machine, data: bytes, quickly: bool) -> list[Any]:
    """Give what comes of a piece, each byte of data as one."""
    events: list[Any] = []
    if quickly and machine.passes(data):
        return [data[index : index + 1] for index in range(len(data))]
    machine.feed(data)
    while True:
        try:
            event = machine.next_event()
        except BufferOverflow:
            events.append(None)
            continue
        if event is None:
            return events
        events += [event[index : index + 1] for index in range(len(event))] if isinstance(event, bytes) else [event]


def receive_in_pieces(data: bytes, nvt: bool, limit: int, quickly: bool, draw: st.DataObject) -> None:
    """Hold what the machine gives against what was expected."""
    machine = Machine(nvt, limit)
    events: list[Any] = []
    for piece in in_pieces(data, draw):
        events += taken(machine, piece, quickly)
    assert events == expected(data, nvt, limit)
    assert machine.pending <= limit + 2


def come_back(pieces: list[tuple[bytes, bool]], nvt: bool, draw: st.DataObject) -> None:
    """Escape data and subnegotiations by turns, and take them apart again."""
    escaper, machine = Escaper(), Machine(nvt)
    sent = b""
    wanted: list[Any] = []
    for data, is_subnegotiation in pieces:
        if is_subnegotiation:
            sent += subnegotiation(b"\xff", data)
            wanted.append(Subnegotiation(b"\xff", data))
        else:
            sent += escaper.escape(data, nvt)
            wanted += [data[index : index + 1] for index in range(len(data))]
    events: list[Any] = []
    for piece in in_pieces(sent, draw):
        events += taken(machine, piece, quickly=True)
    assert events == wanted


def agree(draw: st.DataObject) -> None:
    """Let two ends ask each other for one option, and hear each other, in any order."""
    ends = (Negotiator(), Negotiator())
    queues: tuple[deque[bytes], deque[bytes]] = (deque(), deque())  # to each of the two
    asked = sent = 0

    def hear(number: int) -> None:
        nonlocal sent
        willing = draw.draw(st.booleans())
        answer = ends[number].hear(queues[number].popleft(), b"\x01", willing).answer
        if answer:
            sent += 1
            queues[1 - number].append(answer)

    for number, local, on, listen in draw.draw(
        st.lists(st.tuples(st.integers(0, 1), st.booleans(), st.booleans(), st.booleans()), max_size=12)
    ):
        if listen:
            if queues[number]:
                hear(number)
            continue
        side = ends[number].local if local else ends[number].remote
        asked += 1
        if command := side.ask(b"\x01", on):
            sent += 1
            queues[1 - number].append(command)
    while queues[0] or queues[1]:
        hear(0 if queues[0] else 1)
        assert sent <= 4 * asked
    for one, other in (ends, ends[::-1]):
        assert one.local_enabled(b"\x01") == other.remote_enabled(b"\x01")


def answer_anything(commands: list[tuple[bytes, bytes, bool]]) -> None:
    """Be told anything: an end that has asked for nothing changes its mind only where it is told to."""
    negotiator = Negotiator()
    for command, option, willing in commands:
        local, on = command in (DO, DONT), command in (DO, WILL)
        enabled = negotiator.local_enabled if local else negotiator.remote_enabled
        before = enabled(option)
        heard = negotiator.hear(command, option, willing)
        assert heard.local is local
        assert enabled(option) is (on and (before or willing))
        if before is enabled(option):
            refused = (WONT if local else DONT) if on and not before else b""
            assert heard.answer == refused
            assert heard.settled is None
        else:
            assert (
                heard.answer
                == {(True, True): WILL, (True, False): WONT, (False, True): DO, (False, False): DONT}[local, on]
            )
            assert heard.settled is on


def fuzz(examples: int) -> None:
    """Try so many examples of each."""
    bounded = settings(
        max_examples=examples, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
    )
    given(received, st.booleans(), st.integers(1, 10), st.booleans(), st.data())(bounded(receive_in_pieces))()
    given(pieces, st.booleans(), st.data())(bounded(come_back))()
    given(st.data())(bounded(agree))()
    commands = st.tuples(st.sampled_from(NEGOTIATION), st.sampled_from([b"\x00", b"\x01"]), st.booleans())
    given(st.lists(commands, max_size=30))(bounded(answer_anything))()


if __name__ == "__main__":
    fuzz(int(sys.argv[1]) if len(sys.argv) > 1 else 20000)
