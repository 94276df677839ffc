"""What the tests of streams and servers share: recorded hooks, plain peers, time that passes when a test says so.

The peer of a channel is a bare socket, here in the same thread: so a test decides when it reads and what it sends, and
nothing depends on how two event loops take turns.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import stat
import struct
import termios
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import pytest

from pants import Engine, Server, Stream
from pants._pollers import best_poller

# Seconds after which a condition that has not come true is a failure. Nothing waits this long but a failing test.
DEADLINE = 15.0

S = TypeVar("S", bound=Stream)


def run_until(condition: Callable[[], object], engine: Engine | None = None) -> None:
    """As `pants.testing.run_until`, but by real time, whatever the engine's clock says."""
    engine = engine or Engine.instance()
    end = time.monotonic() + DEADLINE
    while not condition():
        if time.monotonic() > end:
            pytest.fail("the condition did not come true")
        engine.poll(0.01)


def turns(count: int = 3, engine: Engine | None = None) -> None:
    """Make some turns that do not wait: for what must have happened, or not have happened, by now."""
    engine = engine or Engine.instance()
    for _ in range(count):
        engine.poll(0)


def run_for(seconds: float, engine: Engine | None = None) -> int:
    """Let the engine run for a time; the number of turns that took. Only for what must not happen meanwhile."""
    engine = engine or Engine.instance()
    count = 0
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        engine.poll(left)
        count += 1
    return count


class ManualEngine(Engine):
    """An engine whose time passes when the test says so, while it waits; its sockets are real."""

    def __init__(self) -> None:
        self._waiter = _Waiter()
        super().__init__(self._waiter)

    def clock(self) -> float:
        return self._waiter.now

    def advance(self, seconds: float) -> None:
        """Let time pass, and what is due then happen."""
        self._waiter.passing = seconds
        turns(4, self)


class _Waiter:
    """The best poller there is, but that time passes in it."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.passing = 0.0
        self._poller = best_poller()
        self.add = self._poller.add
        self.modify = self._poller.modify
        self.remove = self._poller.remove
        self.fileno = self._poller.fileno
        self.close = self._poller.close

    def poll(self, timeout: float | None) -> list[tuple[int, int]]:
        if self.passing:
            self.now += self.passing
            self.passing = 0.0
            timeout = 0.0
        return self._poller.poll(timeout)


@contextlib.contextmanager
def manual_engine() -> Iterator[ManualEngine]:
    engine = ManualEngine()
    try:
        yield engine
    finally:
        engine.close()


class Peer:
    """The other end of a channel: a plain socket that sends and receives while the engine runs."""

    def __init__(self, sock: socket.socket, engine: Engine | None = None) -> None:
        self.sock = sock
        self.engine = engine or Engine.instance()
        sock.setblocking(False)

    def send(self, data: bytes) -> None:
        """Send all of it, while the engine makes room."""
        view = memoryview(data)

        def sent_all() -> bool:
            nonlocal view
            with contextlib.suppress(BlockingIOError):
                view = view[self.sock.send(view) :]
            return not view

        run_until(sent_all, self.engine)

    def now(self) -> bytes:
        """What has arrived by now, without running the engine; it may be nothing."""
        pieces = []
        with contextlib.suppress(BlockingIOError):
            while piece := self.sock.recv(1 << 20):
                pieces.append(piece)
        return b"".join(pieces)

    def receive(self, size: int) -> bytes:
        """Exactly so many bytes, or fewer if the channel ends before."""
        data = bytearray()

        def complete() -> bool:
            with contextlib.suppress(BlockingIOError):
                piece = self.sock.recv(min(1 << 20, size - len(data)))
                data.extend(piece)
                return not piece or len(data) == size
            return False

        run_until(complete, self.engine)
        return bytes(data)

    def receive_to_end(self) -> bytes:
        """Everything until the channel ends its side. A reset raises."""
        pieces: list[bytes] = []

        def ended() -> bool:
            with contextlib.suppress(BlockingIOError):
                pieces.append(self.sock.recv(1 << 20))
                return not pieces[-1]
            return False

        run_until(ended, self.engine)
        return b"".join(pieces)

    def end(self) -> None:
        """Send no more, but go on receiving."""
        self.sock.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Go with a reset instead of an orderly end."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def close(self) -> None:
        self.sock.close()


def tcp_pair(buffer: int | None = None) -> tuple[socket.socket, socket.socket]:
    """Two sockets connected over the loopback, with small buffers in the kernel if ``buffer`` says so."""
    with socket.socket() as listener:
        if buffer is not None:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer)
        listener.bind(("127.0.0.1", 0))
        listener.listen(1)
        one = socket.socket()
        if buffer is not None:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer)
        one.connect(listener.getsockname())
        other, _ = listener.accept()
    return one, other


def unix_pair(buffer: int | None = None) -> tuple[socket.socket, socket.socket]:
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)


Pair = Callable[..., tuple[socket.socket, socket.socket]]


class Recorder(Stream):
    """Writes down each hook that is called. By default each does what `Stream` does besides."""

    events: list[tuple[Any, ...]]

    def __init__(self, **kwargs: Any) -> None:
        self.events = []
        super().__init__(**kwargs)

    def __getattribute__(self, name: str) -> Any:
        # Every hook, those of subclasses and instances included, without each having to say so.
        value = super().__getattribute__(name)
        if not name.startswith("on_"):
            return value
        events = self.events

        def hook(*args: Any) -> Any:
            events.append((name.removeprefix("on_"), *args))
            return value(*args)

        return hook

    @property
    def names(self) -> list[str]:
        return [event[0] for event in self.events]

    @property
    def reads(self) -> list[Any]:
        return [event[1] if len(event) == 2 else event[1:] for event in self.events if event[0] == "read"]

    @property
    def data(self) -> bytes:
        return b"".join(self.reads)

    def first(self, name: str) -> Any:
        """The argument with which a hook was first called."""
        return next(event[1] for event in self.events if event[0] == name)


@contextlib.contextmanager
def connected(
    kind: Callable[..., S], *, pair: Pair = tcp_pair, buffer: int | None = None, **kwargs: Any
) -> Iterator[tuple[S, Peer]]:
    """A channel of a class, connected (its ``on_connect`` has been called), and its peer."""
    one, other = pair(buffer)
    channel = kind(socket=one, **kwargs)
    peer = Peer(other, channel.engine)
    try:
        turns(1, channel.engine)
        yield channel, peer
    finally:
        peer.close()


@contextlib.contextmanager
def client_of(server: Server, address: Any = None) -> Iterator[Peer]:
    """A plain client of a server."""
    assert server.socket is not None
    address = server.local_address if address is None else address
    family = server.socket.family if not isinstance(address, tuple) or len(address) == 4 else socket.AF_INET
    sock = socket.socket(family)
    peer = Peer(sock, server.engine)
    try:
        sock.setblocking(True)
        sock.settimeout(DEADLINE)
        sock.connect(address)
        sock.setblocking(False)
        yield peer
    finally:
        peer.close()


def descriptors() -> set[str]:
    """The open descriptors of this process, each with what it leads to."""
    found = set()
    for name in os.listdir("/dev/fd"):
        with contextlib.suppress(OSError):  # the descriptor that listed them
            status = os.fstat(int(name))
            found.add(f"{name} {stat.S_IFMT(status.st_mode):o} {status.st_dev} {status.st_ino}")
    return found


_pattern = b""


def pattern(size: int) -> bytes:
    """Bytes in which any loss, repetition or exchange shows."""
    global _pattern
    if len(_pattern) < size:
        _pattern = b"".join(struct.pack("!Q", number) for number in range(size // 8 + 1))
    return _pattern[:size]


def fill(peer: Peer) -> int:
    """Send as much as the kernel takes while the channel does not read; the number of bytes."""
    sent = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            sent += peer.sock.send(pattern(1 << 20)[sent % 8 :])
    return sent


def unsent(sock: socket.socket) -> int:
    """How many bytes the other end's kernel has not acknowledged yet."""
    return int(struct.unpack("i", fcntl.ioctl(sock, termios.TIOCOUTQ, bytes(4)))[0])


def give_up() -> None:
    """Leave the loop by what is no exception."""
    raise SystemExit("nothing else has ended this wait")
