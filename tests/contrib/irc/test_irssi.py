"""`examples/irc_server.py`, run as such, with irssi as one of its users and an `IRCClient` as another."""

from __future__ import annotations

import contextlib
import os
import pathlib
import pty
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pants.contrib.irc import BaseIRC
from pants.testing import run_until
from tests.contrib.irc.client_support import DEADLINE, Noting

PROGRAM = pathlib.Path(__file__).parents[3] / "examples" / "irc_server.py"

CONFIGURATION = """
servers = ({{ address = "127.0.0.1"; port = {port}; autoconnect = "yes"; use_tls = "no"; }});
settings = {{
  core = {{ real_name = "Jane"; user_name = "jane"; nick = "jane"; }};
  "irc/core" = {{ cmd_queue_speed = "10msec"; cmds_max_at_once = "100"; }};
}};
"""
# What places text on the screen, and colours it; and spaces.
NO_TEXT = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[()]?.|[\0-\x20]")


@pytest.fixture
def port() -> Iterator[int]:
    """The port of the server."""
    environment = {**os.environ, "HOST": "127.0.0.1", "PORT": "0"}
    with subprocess.Popen([sys.executable, PROGRAM], env=environment, stdout=subprocess.PIPE, text=True) as program:
        try:
            assert program.stdout is not None
            found = re.search(r"port (\d+)", program.stdout.readline())
            assert found
            yield int(found[1])
            assert program.poll() is None
        finally:
            program.kill()


class Irssi:
    """An irssi at a terminal, and someone who types."""

    def __init__(self, program: str, folder: pathlib.Path, port: int) -> None:
        folder.joinpath("config").write_text(CONFIGURATION.format(port=port))
        self.drawn = b""
        self.terminal, end = pty.openpty()
        os.set_blocking(self.terminal, False)
        self.process = subprocess.Popen(
            [program, f"--home={folder}"],
            stdin=end,
            stdout=end,
            stderr=end,
            start_new_session=True,
            env={**os.environ, "TERM": "vt100", "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8"},
        )
        os.close(end)

    def type(self, line: str) -> None:
        os.write(self.terminal, f"{line}\r".encode())

    def shows(self, text: str) -> bool:
        """Whether it has drawn a text, spaces aside."""
        self.draw()
        return text.replace(" ", "") in NO_TEXT.sub("", self.drawn.decode(errors="replace"))

    def draw(self) -> None:
        with contextlib.suppress(OSError):
            while data := os.read(self.terminal, 65536):
                self.drawn += data

    def gone(self) -> bool:
        self.draw()
        return self.process.poll() is not None

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.terminal)


@pytest.fixture
def irssi(peer: Callable[[str], str], tmp_path: pathlib.Path, port: int) -> Iterator[Irssi]:
    irssi = Irssi(peer("irssi"), tmp_path, port)
    yield irssi
    irssi.close()


def replies(client: Noting) -> list[str]:
    """The numbers of the replies that it has got, with what they are about."""
    return [f"{command} {args[1]}" for command, args, *_ in client.commands if command.isdigit()]


def test_server(port: int) -> None:
    joe = Noting(nick="joe").connect("127.0.0.1", port)
    run_until(lambda: "422 There is no message of the day" in replies(joe), DEADLINE)
    joe.commands.clear()
    other = BaseIRC().connect(("127.0.0.1", port))
    run_until(lambda: other.connected, DEADLINE)
    other.send_command("PRIVMSG", "joe", "Hello")
    other.send_command("NICK", "JOE")
    other.send_command("NICK", "1")
    run_until(lambda: other.received and other.received.args == ["*", "1", "Erroneous nickname"], DEADLINE)
    other.close()
    for command, *args in (
        ("NICK", "a b"),
        ("NICK", ""),
        ("JOIN", ":"),
        ("TOPIC", "a b"),
        ("PRIVMSG", "#" + "a" * 400, "b"),
        ("SPAM",),
        ("JOIN",),
        ("JOIN", "spam"),
        ("JOIN", "#spam"),
        ("TOPIC", "#spam"),
        ("TOPIC", "#spam", "Snakes"),
        ("TOPIC", "#spam"),
        ("MODE", "#spam"),
        ("MODE", "#spam", "b"),
        ("MODE", "#spam", "+o", "joe"),
        ("MODE", "JOE", "+i"),
        ("WHO", "#spam"),
        ("PRIVMSG", "jane", "Hello"),
        ("PRIVMSG", "#eggs", "Hello"),
        ("PRIVMSG", "joe"),
        ("NOTICE", "jane", "Hello"),
        ("PRIVMSG", "joe", "\x01" + "a" * 480 + "\x01"),
        ("USER", "a", 0, "*", "b"),
        ("PART", "#spam,#SPAM", "a b"),
        ("PART", "#spam"),
    ):
        joe.send_command(command, *args)
    run_until(lambda: "403 #spam" in replies(joe), DEADLINE)
    too_long = "417 a line of 517 bytes, with CR LF, is longer than the 512 of RFC 2812"
    assert replies(joe) == [
        *("432 a_b", "432 *", "405 _", "403 a_b", "403 #" + "a" * 49, "421 SPAM", "421 JOIN", "405 spam"),
        *("353 =", "366 #spam", "331 #spam", "332 #spam", "324 #spam", "368 #spam", "324 #spam", "221 +", "315 #spam"),
        *("401 jane", "403 #eggs", "421 PRIVMSG", too_long, "421 USER", "403 #spam"),
    ]
    joe.quit()
    run_until(lambda: joe.closed, DEADLINE)


def test_server_and_a_nick_that_is_taken(port: int) -> None:
    clients = [Noting(nick="joe").connect("127.0.0.1", port) for _ in range(2)]
    run_until(lambda: all(client.registered for client in clients), DEADLINE)
    assert sorted(client.nick for client in clients) == ["joe", "joe_"]
    assert [reply for client in clients for reply in replies(client) if reply.startswith("433")] == ["433 joe"]
    for client in clients:
        client.quit()
    run_until(lambda: all(client.closed for client in clients), DEADLINE)


def test_server_and_clients_that_have_not_registered(port: int) -> None:
    """They can do nothing but register, ask for a sign of life, and go."""
    stranger = Noting(nick="joe")
    stranger.on_connect = lambda: None
    stranger.connect("127.0.0.1", port)
    run_until(lambda: stranger.connected, DEADLINE)
    for command, *args in (("JOIN", "#spam"), ("SPAM",), ("USER",), ("NOTICE", "joe", "b"), ("PING", "a"), ("QUIT",)):
        stranger.send_command(command, *args)
    run_until(lambda: stranger.closed, DEADLINE)
    assert [command for command, *_ in stranger.commands] == ["451", "451", "451", "PONG", "ERROR"]


def test_server_and_too_many_channels(port: int) -> None:
    joe = Noting(nick="joe").connect("127.0.0.1", port)
    run_until(lambda: joe.registered, DEADLINE)
    joe.send_command("JOIN", ",".join(f"#{number}" for number in range(25)))
    run_until(lambda: "405 #20" in replies(joe), DEADLINE)
    assert len(joe.channels) == 20
    joe.quit()
    run_until(lambda: joe.closed, DEADLINE)


def test_server_and_a_client_that_takes_nothing(port: int) -> None:
    joe = Noting(nick="joe").connect("127.0.0.1", port)
    joe.join("#spam")
    run_until(lambda: joe.take("names"), DEADLINE)
    with socket.create_connection(("127.0.0.1", port)) as lazy:
        lazy.sendall(b"NICK lazy\r\nUSER a 0 * b\r\nJOIN #spam\r\n")
        run_until(lambda: joe.take("join"), DEADLINE)

        def has_gone() -> bool:
            if joe.queued_bytes < 65536:
                for _ in range(500):
                    joe.message("#spam", "spam " * 70)
            return bool(joe.take("quit"))

        run_until(has_gone, DEADLINE)
    joe.quit()
    run_until(lambda: joe.closed, DEADLINE)


def test_irssi(irssi: Irssi, port: int) -> None:
    joe = Noting(nick="joe").connect("127.0.0.1", port)
    joe.join("#spam")
    run_until(lambda: joe.take("names"), DEADLINE)

    def told(name: str) -> tuple[Any, ...]:
        """The next such event."""
        irssi.draw()  # it waits, if nobody looks
        found = next((event for event in joe.events if event[0] == name), None)
        if found is None:
            return ()
        joe.events.remove(found)
        return found[1:]

    run_until(lambda: irssi.shows("There is no message of the day"), DEADLINE)
    irssi.type("/join #spam")
    assert run_until(lambda: told("join"), DEADLINE) == ("#spam", "jane", "jane", "127.0.0.1")
    run_until(lambda: irssi.shows("#spam: Total of 2 nicks"), DEADLINE)
    irssi.type("Hello, World! \N{SNAKE}")
    source = ("jane", "jane", "127.0.0.1")
    assert run_until(lambda: told("message_channel"), DEADLINE) == ("#spam", "Hello, World! \N{SNAKE}", *source)
    joe.message("#spam", "Hello, Jane! \N{SNAKE}")
    run_until(lambda: irssi.shows("<joe> Hello, Jane! \N{SNAKE}"), DEADLINE)
    irssi.type("/me opens C:\\temp")
    assert run_until(lambda: told("action"), DEADLINE) == ("#spam", "opens C:\\temp", *source)
    joe.action("#spam", "waves a \\")
    run_until(lambda: irssi.shows("* joe waves a \\"), DEADLINE)
    irssi.type("/topic Snakes")
    assert run_until(lambda: told("topic_changed"), DEADLINE) == ("#spam", "Snakes")
    joe.message("jane", "secret")
    irssi.type("/window goto joe")
    run_until(lambda: irssi.shows("<joe> secret"), DEADLINE)
    irssi.type("/msg joe whispered")
    assert run_until(lambda: told("message_private"), DEADLINE) == ("jane", "whispered", "jane", "127.0.0.1")
    irssi.type("/ctcp joe version")
    assert run_until(lambda: told("ctcp"), DEADLINE) == ("jane", "VERSION", "jane", "127.0.0.1")
    joe.ctcp_reply("jane", "VERSION", "spam 1.0")
    run_until(lambda: irssi.shows("CTCP VERSION reply from joe: spam 1.0"), DEADLINE)
    irssi.type("/nick janet")
    assert run_until(lambda: told("nick"), DEADLINE)[:2] == ("jane", "janet")
    irssi.type("/quit Bye")
    assert run_until(lambda: told("quit"), DEADLINE)[:2] == ("janet", "Bye")
    run_until(irssi.gone, DEADLINE)
    joe.quit()
    run_until(lambda: joe.closed, DEADLINE)
