"""The program `examples/irc_bot.py`, run as such, at a server of the test's."""

from __future__ import annotations

import os
import pathlib
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest

from pants.testing import run_until
from tests.contrib.irc.client_support import DEADLINE, Host, Seat

PROGRAM = pathlib.Path(__file__).parents[3] / "examples" / "irc_bot.py"
JANE = "jane!j@jane.test"

# Runs the program without the pauses that it owes to real servers.
WITHOUT_PAUSES = """
import runpy, sys
from pants.contrib.irc import IRCClient
IRCClient.flood_interval = None
IRCClient.reconnect_delay = 0.05
runpy.run_path(sys.argv[1], run_name="__main__")
"""


@pytest.fixture
def host() -> Iterator[Host]:
    host = Host()
    yield host
    host.close()


@pytest.fixture
def seat(host: Host) -> Iterator[Seat]:
    """The server's end of the bot's connection, which has joined its channel."""
    environment = {**os.environ, "SERVER": "127.0.0.1", "PORT": str(host.port), "CHANNEL": "#spam", "NICK": "bot"}
    with subprocess.Popen(
        [sys.executable, "-c", WITHOUT_PAUSES, PROGRAM], env=environment, stdout=subprocess.PIPE
    ) as program:
        try:
            run_until(lambda: host.seats and host.seats[0].asked("JOIN"), DEADLINE)
            yield host.seats[0]
        finally:
            program.kill()


def answer(seat: Seat, command: str) -> list[str]:
    """Wait for a command from the bot, and forget all that it has sent."""
    run_until(lambda: seat.asked(command), DEADLINE)
    found = seat.asked(command)[0]
    seat.lines.clear()
    return found


def test_bot(seat: Seat) -> None:
    assert seat.asked("NICK") == [["bot"]]
    assert seat.asked("JOIN") == [["#spam"]]
    seat.send_command("JOIN", "#spam", _prefix=JANE)
    assert answer(seat, "PRIVMSG") == ["#spam", "Hello, jane!"]
    seat.message("#spam", "Is there anyone?", _prefix=JANE)
    seat.message("#spam", "!echo one two", _prefix=JANE)
    assert answer(seat, "PRIVMSG") == ["#spam", "jane: one two"]
    seat.message("bot", "!time", _prefix=JANE)
    destination, time = answer(seat, "PRIVMSG")
    assert destination == "jane"
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC", time)
    seat.message("bot", "\x01VERSION\x01", _prefix=JANE)
    assert answer(seat, "NOTICE") == ["jane", "\x01VERSION a bot built on Pants\x01"]
    seat.message("bot", "\x01PING 1 2\x01", _prefix=JANE)
    assert answer(seat, "NOTICE") == ["jane", "\x01PING 1 2\x01"]


def test_bot_cannot_be_put_down(seat: Seat) -> None:
    """What it cannot answer costs nothing but the answer."""
    seat.send_command("PRIVMSG", "bot", "\x01VERSION\x01")  # of a server
    seat.send_command("PRIVMSG", "bot", f"\x01PING {'x' * 450}\x01", _prefix=JANE)
    seat.message("bot", "!echo", _prefix=JANE)
    seat.message("bot", "!echo still here", _prefix=JANE)
    assert answer(seat, "PRIVMSG") == ["jane", "still here"]


def test_bot_comes_back(host: Host, seat: Seat) -> None:
    seat.close()
    run_until(lambda: len(host.seats) == 2 and host.seats[1].asked("JOIN"), DEADLINE)
    assert host.seats[1].asked("JOIN") == [["#spam"]]
