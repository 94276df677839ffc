"""What the tests share that run programs: a process whose standard error is read as it comes, and requests to it."""

from __future__ import annotations

import contextlib
import http.client
import os
import pathlib
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

# How long something that must happen may take, in seconds; only a failing test waits as long as this.
DEADLINE = 30.0

# A handler that tells the process, and one that answers /held once there is a file named "release".
HANDLER = """
import os, sys, time
from pants import Engine
from pants.web import _running, _serving, _workers

_serving._PATIENCE = _workers._QUIET = 0.1

def answer_if_released(request):
    if os.path.exists("release"):
        cancel[request]()
        request.send_response(f"released {os.getpid()}")

cancel = {}

def handler(request):
    if request.path == "/held":
        cancel[request] = Engine.instance().cycle(0.01, answer_if_released, request)
        sys.stderr.write(f"held {os.getpid()}\\n")
    elif request.path == "/spin":
        sys.stderr.write("spinning\\n")
        try:
            while True:
                time.sleep(0.01)
        finally:
            sys.stderr.write("interrupted\\n")
    else:
        request.send_response(str(os.getpid()))
"""


class Program:
    """A program that is running. A context manager, which kills it in the end, and whatever it has started.

    Args:
        *arguments: What Python is called with.
        directory: Where it runs.
        **options: For `subprocess.Popen`.
    """

    def __init__(self, *arguments: str, directory: pathlib.Path, **options: Any) -> None:
        environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", **options.pop("environment", {})}
        self.process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=directory,
            env=environment,
            stderr=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
            **options,
        )
        self.lines: list[str] = []
        self._seen = 0
        self._is_over = False
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._changed:
                self.lines.append(line)
                self._changed.notify_all()
        with self._changed:
            self._is_over = True
            self._changed.notify_all()

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *exception: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self._reader.join()
        assert self.process.stderr is not None
        assert self.process.stdout is not None
        self.process.stderr.close()
        self.process.stdout.close()

    def expect(self, pattern: str, seconds: float = DEADLINE) -> re.Match[str]:
        """Wait for a line in which a regular expression is found, behind those that were waited for before."""
        deadline = time.monotonic() + seconds
        with self._changed:
            while True:
                while self._seen < len(self.lines):
                    self._seen += 1
                    if found := re.search(pattern, self.lines[self._seen - 1]):
                        return found
                if self._is_over or not self._changed.wait(deadline - time.monotonic()):
                    raise AssertionError(f"no {pattern!r} in {self.errors}")

    def expect_port(self) -> int:
        """Wait until the program says where it serves, and return the port."""
        return int(self.expect(r"Serving https?://\S+:(\d+)/")[1])

    @property
    def errors(self) -> str:
        """What it has written to standard error so far."""
        return "".join(self.lines)

    def send(self, signum: int) -> None:
        """Send the process a signal."""
        self.process.send_signal(signum)

    def wait(self) -> int:
        """Wait until it has ended, and return its exit status."""
        status = self.process.wait(DEADLINE)
        self._reader.join(DEADLINE)
        return status

    def output(self) -> str:
        """Return what it has written to standard output, when it has ended."""
        assert self.process.stdout is not None
        text: str = self.process.stdout.read()
        return text


def run_program(directory: pathlib.Path, text: str, *arguments: str, **options: Any) -> Program:
    """Start a program whose text is given."""
    (directory / "program.py").write_text(text)
    return Program("program.py", *arguments, directory=directory, **options)


def get(port: int, path: str = "/", host: str = "127.0.0.1") -> str:
    """Return the content of an answer."""
    connection = http.client.HTTPConnection(host, port, timeout=DEADLINE)
    with contextlib.closing(connection):
        connection.request("GET", path)
        return connection.getresponse().read().decode()


@contextlib.contextmanager
def asking(port: int, path: str) -> Iterator[Callable[[], str]]:
    """A request that is under way; the function waits for its answer, and returns the content."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE)
    with contextlib.closing(connection):
        connection.request("GET", path)
        yield lambda: connection.getresponse().read().decode()


def connects(port: int) -> bool:
    """Whether somebody listens on a port."""
    try:
        socket.create_connection(("127.0.0.1", port), DEADLINE).close()
    except (ConnectionRefusedError, ConnectionResetError):  # the second, for it was closed that very moment
        return False
    return True


def wait_until(condition: Callable[[], object]) -> None:
    """Wait until something is true."""
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def is_alive(pid: int) -> bool:
    """Whether there is such a process; one that has ended, and that nobody has asked for yet, is none."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return os.path.exists("/proc/self/stat") is False


def certificate_of(port: int) -> bytes:
    """Return the certificate that a server shows."""
    return ssl.PEM_cert_to_DER_cert(ssl.get_server_certificate(("127.0.0.1", port), timeout=DEADLINE))
