"""The chats of `examples/`, the manual's and that of Telnet, each run as such with real clients at terminals."""

from __future__ import annotations

import contextlib
import pathlib
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from tests.contrib.telnet.telnet_support import Terminal, terminal
from tests.contrib.telnet.test_peers import COMMANDS
from tests.readme_support import blocks

EXAMPLES = pathlib.Path(__file__).parents[3] / "examples"
DEADLINE = 20.0

# Runs a program with its server on a free port of 127.0.0.1, and writes down which.
ON_A_FREE_PORT = """
import sys
from pants import Server
listen = Server.listen
def listen_on_a_free_port(self, address):
    listen(self, ("127.0.0.1", 0))
    print(self.local_address[1], flush=True)
Server.listen = listen_on_a_free_port
exec(compile(open(sys.argv[1]).read(), sys.argv[1], "exec"))
"""


@contextlib.contextmanager
def running(name: str, **environment: str) -> Iterator[int]:
    """A program of `examples/`; the port it serves on."""
    command = [sys.executable, "-c", ON_A_FREE_PORT, str(EXAMPLES / name)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as program:
        try:
            assert program.stdout is not None
            yield int(program.stdout.readline())
            assert program.poll() is None
        finally:
            program.kill()


@contextlib.contextmanager
def guest(path: str, port: int) -> Iterator[Terminal]:
    """A client at a terminal."""
    arguments = [argument.format(port=port) for argument in COMMANDS[pathlib.Path(path).name]]
    with terminal(path, *arguments, columns=40) as shown:
        yield shown


@pytest.mark.parametrize("program", COMMANDS)
def test_the_chat_of_the_manual(peer: Callable[[str], str], program: str) -> None:
    """Manual: "Taking it to another level". PuTTY's client ends its lines by CR alone, unless told otherwise."""
    path, second = peer(program), peer("telnet")
    with running("tutorial_chat.py") as port, guest(path, port) as one:
        one.wait_for(b"Connected: 127.0.0.1")
        with guest(second, port) as other:
            one.wait_for(b"Connected: 127.0.0.1")
            other.wait_for(b"Connected: 127.0.0.1")
            other.type(b"hello\r")
            one.wait_for(b"127.0.0.1: hello")
            other.wait_for(b"127.0.0.1: hello")
            if program != "plink":
                one.type(b"hi\r")
                other.wait_for(b"127.0.0.1: hi")
        one.wait_for(b"Disconnected: 127.0.0.1")


def enter(shown: Terminal, name: bytes) -> None:
    shown.wait_for(b"Password: ")
    shown.type(b"swordfish\r")
    shown.wait_for(b"Your name: ")
    assert b"swordfish" not in shown.screen
    shown.type(name + b"\r")
    shown.wait_for(b"Here are: ")


def test_the_chat_of_telnet(peer: Callable[[str], str]) -> None:
    paths = [peer(program) for program in COMMANDS]
    with (
        running("telnet_chat.py", PASSWORD="swordfish") as port,
        guest(paths[0], port) as ada,
        guest(paths[1], port) as bob,
        guest(paths[2], port) as cyd,
    ):
        enter(ada, b"Ada")
        enter(bob, b"Bob")
        ada.wait_for(b"Bob has come.\n")
        enter(cyd, b"Cyd")
        bob.wait_for(b"Cyd has come.\n")
        for one, name, others in ((ada, b"Ada", (bob, cyd)), (bob, b"Bob", (ada, cyd)), (cyd, b"Cyd", (ada, bob))):
            one.type(b"All work and no play makes Jack a dull boy.\r")
            for other in others:  # of 40 columns
                other.wait_for(name + b": All work and no play makes Jack a\n  dull boy.\n")
        ada.type(b"/quit\r")
        bob.wait_for(b"Ada has gone.\n")


def test_the_readme(peer: Callable[[str], str], tmp_path: pathlib.Path) -> None:
    (source,) = blocks("packages/pants-contrib-telnet/README.md")
    (tmp_path / "login.py").write_text(source)
    with running(str(tmp_path / "login.py")) as port, guest(peer("telnet"), port) as shown:
        shown.wait_for(b"Your window has 40 columns.\n")
        shown.type(b"secret\r")
        shown.wait_for(b"You typed 6 bytes.\n")
        assert b"secret" not in shown.screen
        shown.type(b"\x1d")
        shown.wait_for(b"telnet> ")
        shown.type(b"send ayt\r")
        shown.wait_for(b"Yes.\n")


def received(sock: socket.socket, end: bytes) -> bytes:
    data = b""
    while not data.endswith(end) and (piece := sock.recv(4096)):
        data += piece
    return data


def test_whoever_does_not_know_the_password() -> None:
    with (
        running("telnet_chat.py", PASSWORD="swordfish") as port,
        socket.create_connection(("127.0.0.1", port), DEADLINE) as sock,
    ):
        received(sock, b"Password: ")
        sock.sendall(b"haddock\n")
        assert received(sock, b"\0").endswith(b"No.\r\n")


@pytest.mark.parametrize("end", [b"\r\n", b"\r\0", b"\n"])
def test_however_a_line_ends(end: bytes) -> None:
    with running("telnet_chat.py") as port, socket.create_connection(("127.0.0.1", port), DEADLINE) as one:
        received(one, b"Your name: ")
        one.sendall(b"Ada" + end)
        assert b"Here are: Ada." in received(one, b"/quit.\r\n")
        with socket.create_connection(("127.0.0.1", port), DEADLINE) as other:
            received(other, b"Your name: ")
            other.sendall(b"Ada" + end)
            received(other, b"Another name, please: ")
            other.sendall(b"Bob\x1b[2J" + end)
            received(other, b"/quit.\r\n")
            assert received(one, b"\r\n") == b"Bob[2J has come.\r\n"
            one.sendall(b"\xff\xf6")
            assert received(one, b"\r\n") == b"[Yes]\r\n"
        assert received(one, b"\r\n") == b"Bob[2J has gone.\r\n"
