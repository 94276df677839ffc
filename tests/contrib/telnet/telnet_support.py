"""What the tests of Telnet share: a connection that writes down its hooks, and programs at a terminal."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import signal
import struct
import termios
import warnings
from collections.abc import Iterator
from typing import Any

from pants.contrib.telnet import TelnetConnection
from pants.testing import run_until


class Recorder(TelnetConnection):
    """Writes down the hooks that tell what was received, and does what `TelnetConnection` does besides."""

    def __init__(self, **kwargs: Any) -> None:
        self.events: list[tuple[Any, ...]] = []
        super().__init__(**kwargs)

    def on_read(self, *args: Any) -> None:
        self.events.append(("read", *args))

    def on_command(self, command: bytes) -> None:
        self.events.append(("command", command))

    def on_option(self, command: bytes, option: bytes) -> None:
        self.events.append(("option", command, option))
        super().on_option(command, option)

    def on_subnegotiation(self, option: bytes, data: bytes) -> None:
        self.events.append(("subnegotiation", option, data))
        super().on_subnegotiation(option, data)

    def on_malformed_subnegotiation(self, option: bytes, data: bytes) -> None:
        self.events.append(("malformed", option, data))

    def on_option_changed(self, option: bytes, local: bool, enabled: bool) -> None:
        self.events.append(("changed", option, local, enabled))

    def on_window_size(self, width: int, height: int) -> None:
        self.events.append(("size", width, height))

    def on_terminal_type(self, name: str) -> None:
        self.events.append(("terminal", name))

    def on_charset(self, name: str | None) -> None:
        self.events.append(("charset", name))

    def of(self, kind: str) -> list[Any]:
        """What one hook was called with."""
        return [event[1] if len(event) == 2 else event[1:] for event in self.events if event[0] == kind]

    @property
    def data(self) -> bytes:
        return b"".join(self.of("read"))


class Terminal:
    """A program at a terminal, and someone who types."""

    def __init__(self, *command: str, columns: int = 80, lines: int = 24) -> None:
        self.screen = b""
        with warnings.catch_warnings():  # of threads that the child lacks: it is another program at once
            warnings.simplefilter("ignore", DeprecationWarning)
            self.pid, self.fd = pty.fork()
        if self.pid == 0:  # pragma: no cover - another process
            try:
                fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
                os.execve(command[0], command, {"TERM": "vt220", "HOME": "/nonexistent", "PATH": os.environ["PATH"]})
            finally:
                os._exit(127)

    def resize(self, columns: int, lines: int) -> None:
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def look(self) -> bytes:
        """What has been shown so far. Carriage returns are left out: clients differ in how many they show."""
        with contextlib.suppress(OSError):  # the program has ended
            while select.select([self.fd], [], [], 0)[0] and (piece := os.read(self.fd, 65536)):
                self.screen += piece.replace(b"\r", b"")
        return self.screen

    def wait_for(self, text: bytes) -> None:
        """Run the engine until a text has been shown, and forget all up to it."""
        with contextlib.suppress(AssertionError):
            run_until(lambda: text in self.look(), timeout=10)
        assert text in self.screen
        self.screen = self.screen.partition(text)[2]

    def type(self, text: bytes) -> None:
        os.write(self.fd, text)

    def close(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self.fd)


@contextlib.contextmanager
def terminal(*command: str, **size: int) -> Iterator[Terminal]:
    """A program at a terminal, for the length of a block."""
    started = Terminal(*command, **size)
    try:
        yield started
    finally:
        started.close()
