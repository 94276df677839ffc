"""The programs in the README of pants-contrib-irc, each run as such."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
from collections.abc import Iterator

from pants.testing import run_until
from tests.contrib.irc.client_support import DEADLINE, Host, Noting
from tests.readme_support import blocks

BOT, PARROT = blocks("packages/pants-contrib-irc/README.md")


@contextlib.contextmanager
def running(source: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.PIPE, text=True) as program:
        try:
            yield program
            assert program.poll() is None
        finally:
            program.kill()


def test_bot() -> None:
    host = Host()
    address, begin = '"irc.example.org"', "class Bot(IRCClient):\n"
    assert address in BOT
    source = BOT.replace(address, f'"127.0.0.1", {host.port}').replace(begin, f"{begin}    flood_interval = None\n")
    with running(source):
        run_until(lambda: host.seats and host.seats[0].asked("JOIN"), DEADLINE)
        seat = host.seats[0]
        seat.send_command("353", "spambot", "=", "#pants", "spambot jane")
        seat.message("#pants", "!who", _prefix="jane!j@h")
        run_until(lambda: seat.asked("PRIVMSG"), DEADLINE)
        seat.send_command("JOIN", "#pants", _prefix="joe!j@h")
        seat.message("spambot", "Hi", _prefix="joe!j@h")
        run_until(lambda: len(seat.asked("PRIVMSG")) == 3, DEADLINE)
        assert seat.asked("PRIVMSG") == [
            ["#pants", "Here are spambot, jane"],
            ["#pants", "Hello, joe!"],
            ["joe", "I do not talk to strangers."],
        ]
    host.close()


def test_parrot() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    assert "listen(6667)" in PARROT
    source = PARROT.replace("listen(6667)", f'listen(("127.0.0.1", {port}))')
    with running(
        source.replace("Engine.instance().start()", "print(flush=True)\nEngine.instance().start()")
    ) as program:
        assert program.stdout is not None
        program.stdout.readline()
        client = Noting(nick="jane").connect("127.0.0.1", port)
        run_until(lambda: client.registered, DEADLINE)
        client.message("parrot", "Hello, World!")
        (heard,) = run_until(lambda: client.take("message_private"), DEADLINE)
        assert heard == ("message_private", "parrot", "Hello, World!", "parrot", "example.org")
        client.quit()
        run_until(lambda: client.closed, DEADLINE)
