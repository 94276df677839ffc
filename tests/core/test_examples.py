"""The programs for pants-core, of the manual, `examples/` and the READMEs, each run as such with real clients."""

from __future__ import annotations

import contextlib
import os
import pathlib
import pty
import select
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest

from tests.readme_support import blocks

EXAMPLES = pathlib.Path(__file__).parents[2] / "examples"
DEADLINE = 30.0

# Letter by letter what is on the first page of the manual.
FIRST_PAGE = """
from pants import Engine, Server, Stream

class Echo(Stream):
    def on_read(self, data):
        self.write(data)

Server(Echo).listen(4040)
Engine.instance().start()
"""

# Runs a program that listens on port 4040 on a free port instead, and writes down which.
ON_A_FREE_PORT = """
import sys
from pants import Server
listen = Server.listen
def listen_on_a_free_port(self, address):
    assert address == 4040
    listen(self, ("127.0.0.1", 0))
    print(self.local_address[1], flush=True)
Server.listen = listen_on_a_free_port
exec(compile(sys.stdin.read(), "program", "exec"))
"""


@contextlib.contextmanager
def running(source: str) -> Iterator[int]:
    """A program that serves; the port it serves on."""
    program = subprocess.Popen(
        [sys.executable, "-c", ON_A_FREE_PORT],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with program:
        try:
            assert program.stdin is not None
            assert program.stdout is not None
            assert program.stderr is not None
            program.stdin.write(source)
            program.stdin.close()
            port = program.stdout.readline()
            assert port, program.stderr.read()
            yield int(port)
            assert program.poll() is None
        finally:
            program.kill()


@contextlib.contextmanager
def client(port: int) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), DEADLINE) as sock:
        yield sock


def receive(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size and (piece := sock.recv(size - len(data))):
        data += piece
    return data


def source(name: str) -> str:
    return (EXAMPLES / name).read_text()


@pytest.mark.parametrize(
    "program",
    [
        pytest.param(FIRST_PAGE, id="first page"),
        pytest.param(source("echo.py"), id="echo"),
        pytest.param(source("tutorial_echo.py"), id="tutorial_echo"),
        pytest.param(blocks("README.md")[0], id="README"),
        *[pytest.param(program, id="README of pants-core") for program in blocks("packages/pants-core/README.md")],
    ],
)
def test_echo(program: str) -> None:
    """Manual: whatever is entered gets echoed right back."""
    with running(program) as port, client(port) as one, client(port) as other:
        for sock in (one, other, one):
            sock.sendall(b"some data\r\n")
            assert receive(sock, 11) == b"some data\r\n"


def test_block_echo() -> None:
    """Manual: data is passed on in blocks of 8 bytes."""
    with running(source("tutorial_block_echo.py")) as port, client(port) as sock:
        sock.sendall(b"1234")
        sock.sendall(b"5678abcdefgh!")
        assert receive(sock, 20) == b"12345678\r\nabcdefgh\r\n"
        sock.sendall(b"1234567")
        assert receive(sock, 10) == b"!1234567\r\n"


def test_chat() -> None:
    """Manual: "Taking it to another level"."""
    with running(source("tutorial_chat.py")) as port, client(port) as one:
        assert receive(one, 22) == b"Connected: 127.0.0.1\r\n"
        with client(port) as other:
            assert receive(one, 22) == receive(other, 22) == b"Connected: 127.0.0.1\r\n"
            other.sendall(b"hello\r\nyou")
            assert receive(one, 18) == receive(other, 18) == b"127.0.0.1: hello\r\n"
            one.sendall(b"hi\r\n")
            assert receive(one, 15) == receive(other, 15) == b"127.0.0.1: hi\r\n"
        assert receive(one, 25) == b"Disconnected: 127.0.0.1\r\n"


class Terminal:
    """A program at a terminal, and someone who types."""

    def __init__(self, *command: str) -> None:
        self.screen = b""
        self.pid, self.fd = pty.fork()
        if self.pid == 0:  # pragma: no cover - another process
            os.execv(command[0], command)

    def wait_for(self, text: bytes) -> None:
        end = time.monotonic() + DEADLINE
        while text not in self.screen:
            left = end - time.monotonic()
            assert left > 0, self.screen
            if select.select([self.fd], [], [], left)[0]:
                self.screen += os.read(self.fd, 4096)

    def type(self, text: bytes) -> None:
        os.write(self.fd, text)

    def close(self) -> None:
        os.close(self.fd)
        os.waitpid(self.pid, 0)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_telnet(peer: Callable[[str], str]) -> None:
    """Manual: "in another terminal, connect to the server using telnet"."""
    telnet = peer("telnet")
    with running(source("tutorial_chat.py")) as port, client(port) as other:
        assert receive(other, 22) == b"Connected: 127.0.0.1\r\n"
        terminal = Terminal(telnet, "127.0.0.1", str(port))
        try:
            terminal.wait_for(b"Connected: 127.0.0.1")
            assert receive(other, 22) == b"Connected: 127.0.0.1\r\n"
            terminal.type(b"hello\n")
            terminal.wait_for(b"127.0.0.1: hello")
            assert receive(other, 18) == b"127.0.0.1: hello\r\n"
        finally:
            terminal.close()
        assert receive(other, 25) == b"Disconnected: 127.0.0.1\r\n"
