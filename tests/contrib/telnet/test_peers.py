"""Telnet with programs of others: the clients of inetutils (Debian's telnet), busybox and PuTTY, and telnetlib3."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pants.contrib.telnet import AYT, BINARY, CHARSET, DM, ECHO, IP, NAWS, SGA, TTYPE, TelnetServer
from pants.testing import run_until
from tests.contrib.telnet.telnet_support import Recorder, Terminal, terminal

COMMANDS = {
    "telnet": ["127.0.0.1", "{port}"],
    "busybox": ["telnet", "127.0.0.1", "{port}"],
    "plink": ["-telnet", "-P", "{port}", "127.0.0.1"],
}


class House(Recorder):
    """Greets, and agrees to what clients usually do."""

    local_options = frozenset({ECHO, SGA})
    remote_options = frozenset({NAWS, TTYPE, SGA})

    def on_connect(self) -> None:
        self.write(b"Welcome\r\n")
        self.enable_remote(NAWS)
        self.enable_remote(TTYPE)


@contextlib.contextmanager
def client(peer: Callable[[str], str], program: str) -> Iterator[tuple[House, Terminal]]:
    """A program that is connected, at a terminal of 100 x 30."""
    path = peer(program)
    server = TelnetServer(House).listen(("127.0.0.1", 0))
    port = str(server.local_address[1])
    arguments = [argument.format(port=port) for argument in COMMANDS[program]]
    with terminal(path, *arguments, columns=100, lines=30) as shown:
        shown.wait_for(b"Welcome")
        (connection,) = server.channels.values()
        assert isinstance(connection, House)
        run_until(lambda: connection.of("terminal"))
        yield connection, shown
    server.close()
    run_until(lambda: connection.closed)


@pytest.mark.parametrize("program", COMMANDS)
def test_a_client(peer: Callable[[str], str], program: str) -> None:
    with client(peer, program) as (connection, shown):
        assert connection.of("size") == [(100, 30)]
        assert connection.of("terminal")[0].lower() == {"plink": "xterm"}.get(program, "vt220")
        shown.type(b"spam\r")
        run_until(lambda: connection.data.startswith(b"spam\r"))
        connection.write(b"eggs \xff\r\n")
        shown.wait_for(b"eggs \xff\n")
        if program != "busybox":  # which tells the size once
            shown.resize(90, 20)
            run_until(lambda: connection.of("size")[1:] == [(90, 20)])


@pytest.mark.parametrize("program", COMMANDS)
def test_a_password(peer: Callable[[str], str], program: str) -> None:
    """What is typed is not shown while this end is to echo (RFC 857)."""
    with client(peer, program) as (connection, shown):
        connection.enable_local(ECHO)
        run_until(lambda: connection.local_enabled(ECHO))
        connection.write(b"Password: ")
        shown.wait_for(b"Password: ")
        shown.type(b"secret\r")
        run_until(lambda: b"secret" in connection.data)
        connection.write(b"Thanks.\r\n")
        run_until(lambda: b"Thanks." in shown.look())
        assert b"secret" not in shown.screen
        connection.disable_local(ECHO)
        connection.write(b"Name: ")
        shown.wait_for(b"Name: ")
        shown.type(b"Ada\r")
        shown.wait_for(b"Ada")


@pytest.mark.parametrize("program", COMMANDS)
def test_single_characters(peer: Callable[[str], str], program: str) -> None:
    with client(peer, program) as (connection, shown):
        connection.enable_local(ECHO)
        connection.enable_local(SGA)
        run_until(lambda: connection.local_enabled(ECHO) and connection.local_enabled(SGA))
        connection.write(b"Press: ")
        shown.wait_for(b"Press: ")
        for key in (b"q", b"\x03"):
            shown.type(key)
            run_until(lambda: connection.data)
            assert connection.data == key
            connection.events.clear()
        shown.type(b"\r")  # CR NUL, or CR LF (RFC 854)
        run_until(lambda: connection.data in (b"\r", b"\r\n"))


def test_commands_of_a_client(peer: Callable[[str], str]) -> None:
    with client(peer, "telnet") as (connection, shown):
        shown.type(b"\x03")
        run_until(lambda: connection.of("command") == [IP])
        connection.write(b"Stopped.\r\n")
        shown.wait_for(b"Stopped.")
        for name, command in (("ayt", AYT), ("synch", DM)):
            shown.type(b"\x1d")
            shown.wait_for(b"telnet> ")
            shown.type(b"send %b\r" % name.encode())
            run_until(lambda: connection.of("command")[-1] in (AYT, DM))
            assert connection.of("command")[-1] == command
            connection.events.append(("command", b""))
        shown.type(b"spam\r")
        run_until(lambda: connection.data == b"spam\r\n")


# --- telnetlib3 -----------------------------------------------------------------------------------------------------

LIB_CLIENT = """
import asyncio, sys, telnetlib3
async def shell(reader, writer):
    print(await reader.readline(), flush=True)
    writer.write("spam \\u20ac\\r\\n")
    print(await reader.readline(), flush=True)
    writer.close()
async def main():
    reader, writer = await telnetlib3.open_connection(
        "127.0.0.1", int(sys.argv[1]), shell=shell, term="vt220", cols=132, rows=43, encoding="utf8")
    await writer.protocol.waiter_closed
asyncio.run(main())
"""

LIB_SERVER = """
import asyncio, telnetlib3
async def shell(reader, writer):
    writer.write("Name? ")
    await writer.drain()
    name = await reader.readline()
    term, cols = writer.get_extra_info("TERM"), writer.get_extra_info("cols")
    writer.write(f"Hello {name.strip()} at {term} of {cols}\\r\\n")
    await writer.drain()
    writer.close()
async def main():
    server = await telnetlib3.create_server("127.0.0.1", 0, shell=shell, connect_maxwait=0.5, encoding="utf8")
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.wait_closed()
asyncio.run(main())
"""


@contextlib.contextmanager
def program(source: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen([sys.executable, "-c", source, *arguments], stdout=subprocess.PIPE, text=True) as running:
        try:
            yield running
        finally:
            running.kill()


@pytest.fixture
def telnetlib3(peer: Callable[[str], str]) -> None:
    """Skips the test where telnetlib3 is not installed, as `peer` does."""
    try:
        import telnetlib3  # noqa: F401
    except ModuleNotFoundError:
        peer("telnetlib3")


@pytest.mark.usefixtures("telnetlib3")
def test_a_client_of_telnetlib3() -> None:
    class Hall(Recorder):
        local_options = remote_options = frozenset({NAWS, TTYPE, CHARSET, BINARY, SGA})
        charsets = ("UTF-8",)

        def on_connect(self) -> None:
            self.read_delimiter = b"\r\n"
            for option in (TTYPE, NAWS, BINARY, CHARSET):
                self.enable_remote(option)
            self.enable_local(BINARY)

        def on_option_changed(self, option: bytes, local: bool, enabled: bool) -> None:
            super().on_option_changed(option, local, enabled)
            if option == CHARSET and enabled:
                self.request_charset("UTF-8")

        def on_charset(self, name: str | None) -> None:
            super().on_charset(name)
            self.write(b"Welcome\r\n")

        def on_read(self, line: bytes) -> None:
            super().on_read(line)
            self.write(b"You said: %b\r\n" % line)

    server = TelnetServer(Hall).listen(("127.0.0.1", 0))
    with program(LIB_CLIENT, str(server.local_address[1])) as running:
        run_until(lambda: server.channels, timeout=20)
        (connection,) = server.channels.values()
        assert isinstance(connection, Hall)
        run_until(lambda: connection.of("read"), timeout=20)
        run_until(lambda: connection.closed, timeout=20)
        assert connection.of("read") == ["spam \u20ac".encode()]
        assert connection.of("terminal")[0].lower() == "vt220"
        assert connection.of("size")[0] == (132, 43)
        assert connection.of("charset") == ["UTF-8"]
        assert running.stdout is not None
        assert running.stdout.read().split() == ["Welcome", "You", "said:", "spam", "\u20ac"]
    server.close()


@pytest.mark.usefixtures("telnetlib3")
def test_a_server_of_telnetlib3() -> None:
    class Visitor(Recorder):
        local_options = frozenset({NAWS, TTYPE, CHARSET, BINARY, SGA})
        remote_options = frozenset({ECHO, SGA, BINARY})
        terminal_types = ("vt220",)
        charsets = ("UTF-8",)
        answered = False

        def on_connect(self) -> None:
            self.window_size = (132, 43)
            self.enable_local(TTYPE)
            self.enable_local(NAWS)

        def on_read(self, *args: Any) -> None:
            super().on_read(*args)
            if b"Name?" in self.data and not self.answered:
                self.answered = True
                self.write(b"Ada\r\n")

    with program(LIB_SERVER) as running:
        assert running.stdout is not None
        visitor = Visitor().connect(("127.0.0.1", int(running.stdout.readline())))
        run_until(lambda: visitor.closed, timeout=20)
        assert b"Hello Ada at vt220 of 132" in visitor.data
