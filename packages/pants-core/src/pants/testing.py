"""For testing what is built on Pants: protocols, servers, timers.

With real sockets: `connected_pair` makes two streams that talk to each other, `run_until` runs the engine until
something has happened.

Without: a `MemoryEngine` runs the same streams and servers on sockets that exist in this process only, in a time that
passes when the test says so. The test is the other end, a `Peer`. Each run is the same as the last.
"""

from __future__ import annotations

import contextlib
import errno
import linecache
import select
import socket as _socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from types import CodeType
from typing import Any, Final, Self, TypeVar, overload

from pants._pollers import ERROR, HANGUP, READ, WRITE
from pants._timers import check_callable, check_seconds
from pants.engine import LONGEST_WAIT, Engine
from pants.server import Server
from pants.stream import Stream

__all__ = ["MemoryEngine", "Peer", "connected_pair", "run_until"]

Value = TypeVar("Value")
First = TypeVar("First", bound=Stream)
Second = TypeVar("Second", bound=Stream)

# Seconds for which a condition goes unasked: what another thread does may not give the engine anything to do.
ASKING_INTERVAL: Final = 0.05
# The numbers of memory sockets begin where the kernel's descriptors do not come (Linux ends them at 1 << 30).
FIRST_NUMBER: Final = 1 << 30
# Turns without any time passing after which a test is taken to run in a circle.
MOST_TURNS: Final = 100_000

# From the blocks that are kept for documentation (RFC 5737).
PEER_ADDRESS: Final = ("192.0.2.1", 50000)
LOCAL_ADDRESS: Final = ("192.0.2.2", 80)


def run_until(condition: Callable[[], Value], timeout: float = 10.0, engine: Engine | None = None) -> Value:
    """Run an engine until a condition holds.

    Args:
        condition: Called before the first turn and after each one, until it returns something true.
        timeout: The seconds that this may take, on the engine's clock.
        engine: By default the global one.

    Returns:
        What the condition returned.

    Raises:
        AssertionError: It did not hold in time. The message tells the condition, by its source if it is a lambda.
        TypeError, ValueError: An argument is of the wrong type or out of range.

    Example:
        >>> from pants import Engine
        >>> from pants.testing import run_until
        >>> seen = []
        >>> cancel = Engine.instance().defer(0.01, seen.append, "spam")
        >>> run_until(lambda: seen)
        ['spam']
        >>> run_until(lambda: len(seen) > 1, timeout=0.01)
        Traceback (most recent call last):
        AssertionError: not within 0.01 seconds: run_until(lambda: len(seen) > 1, timeout=0.01)
    """
    check_callable(condition)
    check_seconds(timeout, "timeout", zero=True)
    if engine is None:
        engine = Engine.instance()
    end = engine.clock() + timeout
    while not (value := condition()):
        left = end - engine.clock()
        if left <= 0:
            raise AssertionError(f"not within {timeout} seconds: {_source(condition)}")
        engine.poll(min(left, ASKING_INTERVAL))
    return value


def _source(condition: Callable[[], object]) -> str:
    """A name for a condition, to be told in an error."""
    code = getattr(condition, "__code__", None)
    if isinstance(code, CodeType) and code.co_name == "<lambda>":
        return linecache.getline(code.co_filename, code.co_firstlineno).strip() or repr(condition)
    return getattr(condition, "__qualname__", None) or repr(condition)


@overload
def connected_pair(
    first_class: Callable[..., First], second_class: Callable[..., Second], engine: Engine | None = None, **kwargs: Any
) -> AbstractContextManager[tuple[First, Second]]: ...
@overload
def connected_pair(
    first_class: Callable[..., First], *, engine: Engine | None = None, **kwargs: Any
) -> AbstractContextManager[tuple[First, Stream]]: ...
@overload
def connected_pair(
    *, second_class: Callable[..., Second], engine: Engine | None = None, **kwargs: Any
) -> AbstractContextManager[tuple[Stream, Second]]: ...
@overload
def connected_pair(*, engine: Engine | None = None, **kwargs: Any) -> AbstractContextManager[tuple[Stream, Stream]]: ...
def connected_pair(
    first_class: Callable[..., Stream] = Stream,
    second_class: Callable[..., Stream] = Stream,
    engine: Engine | None = None,
    **kwargs: Any,
) -> AbstractContextManager[tuple[Stream, Stream]]:
    """Two streams that are connected to each other, for the length of a ``with`` block.

    Inside it, `pants.Stream.on_connect` has been called on both. At its end both are closed, without sending what is
    queued, and the engine runs until nothing is left of them.

    Args:
        first_class: What makes the first stream: a subclass of `Stream`, or a function that passes its keyword
            arguments on to one.
        second_class: What makes the second.
        engine: The engine of both, by default the global one. They have a real socket pair (`socket.socketpair`), but
            on a `MemoryEngine` two of its sockets.
        **kwargs: Further arguments for both.

    Yields:
        The two streams.

    Example:
        >>> from pants import Stream
        >>> from pants.testing import connected_pair, run_until
        >>> class Echo(Stream):
        ...     def on_read(self, data):
        ...         self.write(data)
        >>> class Client(Stream):
        ...     answer = b""
        ...     def on_read(self, data):
        ...         self.answer += data
        >>> with connected_pair(Echo, Client) as (echo, client):
        ...     client.write(b"spam")
        ...     run_until(lambda: client.answer == b"spam")
        True
    """
    return _connected_pair((first_class, second_class), Engine.instance() if engine is None else engine, kwargs)


@contextlib.contextmanager
def _connected_pair(
    factories: tuple[Callable[..., Stream], ...], engine: Engine, kwargs: dict[str, Any]
) -> Iterator[tuple[Stream, Stream]]:
    streams: list[Stream] = []
    numbers: set[int] = set()
    ends = engine.socketpair() if isinstance(engine, MemoryEngine) else _socket.socketpair()
    try:
        for factory, sock in zip(factories, ends, strict=True):
            streams.append(factory(engine=engine, socket=sock, **kwargs))
            numbers.add(sock.fileno())
        engine.poll(0)
        run_until(lambda: all(stream.connected or stream.closed for stream in streams), engine=engine)
        yield streams[0], streams[1]
    finally:
        for sock in ends[len(streams) :]:
            sock.close()
        for stream in streams:
            stream.close(flush=False)
        run_until(
            lambda: all(stream.closed for stream in streams) and not numbers & engine.lingering.keys(), engine=engine
        )


class MemoryEngine(Engine):
    r"""An engine without a network and without a clock: what it runs is a test's to decide, to the last byte.

    Its streams are made by `connect`, `accept` and `connected_pair`. Time passes only where the engine would wait: by
    `advance`, or in `poll` and `start`, and none of it in reality. It begins at 0.

    There are no descriptors of the kernel here, so no TLS and no `Stream.connect`; `watch` refuses them. A wait without
    limit that nothing can end is a RuntimeError.

    Example:
        >>> from pants import Stream
        >>> from pants.testing import MemoryEngine
        >>> class Login(Stream):
        ...     def on_connect(self):
        ...         self.read_delimiter = b"\n"
        ...         self.write(b"Name? ")
        ...         self.cancel = self.engine.defer(30, self.too_late)
        ...     def on_read(self, name):
        ...         self.cancel()
        ...         self.write(b"Hello, " + name)
        ...     def too_late(self):
        ...         self.write(b"Too late.")
        ...         self.close()
        >>> with MemoryEngine() as engine:
        ...     stream, peer = engine.connect(Login)
        ...     peer.send(b"spam\n", chunk=1)
        ...     print(peer.received)
        ...     stream, peer = engine.connect(Login)
        ...     engine.advance(30)
        ...     print(peer.received, peer.ended)
        b'Name? Hello, spam'
        b'Name? Too late.' True
    """

    def __init__(self) -> None:
        self._memory = _MemoryPoller()
        super().__init__(self._memory)
        self._memory.next_in = self._timers.next_in

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def clock(self) -> float:
        """The same as `now`."""
        return self._memory.now

    @property
    def now(self) -> float:
        """Seconds that have passed here since the engine was made."""
        return self._memory.now

    def advance(self, seconds: float = 0.0) -> None:
        """Let time pass, and everything happen that happens meanwhile; by 0 seconds, all that is due now.

        Raises:
            RuntimeError: Something is always due: a callback that schedules itself, two streams that always answer.
            TypeError, ValueError: ``seconds`` is not a number of seconds, 0 or more.
        """
        check_seconds(seconds, "seconds", zero=True)
        end = self.now + seconds
        turns = 0
        while True:
            before = self.now
            # Less than the longest wait: that means without limit, and is refused where nothing can end it.
            self.poll(min(max(0.0, end - before), LONGEST_WAIT / 2))
            if self.now >= end and not self._busy():
                return
            turns = turns + 1 if self.now == before else 0
            if turns > MOST_TURNS:
                raise RuntimeError(f"no end of things to do at {self.now} seconds, after {MOST_TURNS} turns")

    def _busy(self) -> bool:
        # The stream whose hook is running asks for attention after each poll in it, so that is nothing to go by there.
        due = self._timers.next_in() if self._turning else self.time_to_timer()
        return due == 0.0 or bool(self._memory.ready())

    def _settle(self) -> None:
        """Run what is due, unless a hook is running; then the loop will get there."""
        if not self._turning:
            self.advance()

    def socketpair(
        self, first_address: Any = LOCAL_ADDRESS, second_address: Any = PEER_ADDRESS
    ) -> tuple[_socket.socket, _socket.socket]:
        """Two sockets in memory that are connected to each other, for a `Stream` each."""
        return self._memory.pair(first_address, second_address)

    def connect(
        self,
        stream_class: Callable[..., First],
        *,
        local_address: Any = LOCAL_ADDRESS,
        remote_address: Any = PEER_ADDRESS,
        **kwargs: Any,
    ) -> tuple[First, Peer]:
        """A stream, connected to a peer that is the test's. Its `on_connect` has been called.

        Args:
            stream_class: A subclass of `Stream`, or a function that passes its keyword arguments on to one.
            local_address: What the stream sees as its own address.
            remote_address: What it sees as the peer's.
            **kwargs: Further arguments for it.

        Returns:
            The stream and the peer.
        """
        sock, other = self._memory.pair(local_address, remote_address)
        stream = stream_class(engine=self, socket=sock, **kwargs)
        self._settle()
        return stream, Peer(self, other)

    def accept(self, server: Server, *, remote_address: Any = PEER_ADDRESS) -> Peer:
        """Have a server accept a connection: its `on_accept` is called. It need not listen.

        A server with ``proxy_protocol`` does what it would: the peer is to send a header first.

        Args:
            server: A server of this engine.
            remote_address: The address that the connection comes from.

        Returns:
            The peer. The stream is the last in ``server.channels``, if the server kept it.
        """
        if server.engine is not self:
            raise ValueError(f"{server!r} belongs to another engine; make it with engine={self!r}")
        sock, other = self._memory.pair(server.local_address or LOCAL_ADDRESS, remote_address)
        server._accepted(sock, remote_address)
        self._settle()
        return Peer(self, other)


class Peer:
    """The other end of a stream that a `MemoryEngine` runs.

    What is done here is seen by the stream before the call returns, but in a hook: then after the hook.
    """

    def __init__(self, engine: MemoryEngine, sock: _MemorySocket) -> None:
        self._engine = engine
        self._socket = sock
        self._received = bytearray()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._socket.getsockname()}, {len(self.received)} bytes received>"

    def send(self, data: bytes, chunk: int | None = None) -> None:
        """Send data to the stream.

        Args:
            data: Bytes; the stream gets them in pieces of up to 64 KiB.
            chunk: The size of the pieces in which they arrive instead, 1 to send a byte at a time.

        Raises:
            ConnectionError: The stream has closed, or this end was ended.
            ValueError: ``chunk`` is below 1.
        """
        if chunk is not None and chunk < 1:
            raise ValueError(f"chunk is a number of bytes, 1 or more, not {chunk!r}")
        size = chunk or len(data) or 1
        for start in range(0, len(data), size):
            self._socket.send(data[start : start + size])
            self._engine._settle()

    @property
    def received(self) -> bytes:
        """All that has arrived from the stream since the last `take`."""
        self._received += self._socket.inbox
        self._socket.inbox.clear()
        return bytes(self._received)

    def take(self) -> bytes:
        """What has arrived from the stream since the last call."""
        data = self.received
        self._received.clear()
        return data

    @property
    def window(self) -> int | None:
        """The number of bytes that are still accepted from the stream; None, the default, for no limit.

        It shrinks by what arrives. The stream keeps the rest queued until it is set anew.
        """
        return self._socket.other.window

    @window.setter
    def window(self, size: int | None) -> None:
        self._socket.other.window = size
        self._engine._settle()

    @property
    def ended(self) -> bool:
        """Whether the stream has ended its side: it has closed, and all it sent is in `received`."""
        return self._socket.ended

    @property
    def was_reset(self) -> bool:
        """Whether the stream's end dropped the connection, with something unread in it."""
        return self._socket.broken is not None

    def end(self) -> None:
        """Send no more: the stream gets what was sent, then the end (`Stream.on_end`).

        Raises:
            ConnectionError: The stream has reset the connection.
        """
        self._socket.shutdown(_socket.SHUT_WR)
        self._engine._settle()

    def close(self) -> None:
        """Be done with the connection: the stream gets its end, and what it sends from now on fails with EPIPE.

        What has arrived and was not taken answers the stream with a reset, as in TCP. Closing again does nothing.
        """
        self._socket.close()
        self._engine._settle()

    def reset(self) -> None:
        """Break the connection: whatever the stream reads or writes from now on fails with ECONNRESET."""
        self._socket.other.break_()
        self._socket.close()
        self._engine._settle()


class _MemorySocket(_socket.socket):
    """What a stream needs of a socket, without the kernel's. It has a number, which only a `_MemoryPoller` knows."""

    other: _MemorySocket

    def __init__(self, poller: _MemoryPoller, number: int, address: Any) -> None:
        # Not the base's constructor, which would make a descriptor; without it the base stands for a closed socket.
        self._poller = poller
        self._number = number
        self._address = address
        self.inbox = bytearray()  # arrived, and not read
        self.window: int | None = None  # what the other end still accepts
        self.ended = False  # nothing more will arrive
        self.shut = False  # nothing more will be sent
        self.broken: OSError | None = None

    family = _socket.AF_INET
    type = _socket.SOCK_STREAM

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._address}>"

    def fileno(self) -> int:
        return self._number

    def setblocking(self, _flag: bool, /) -> None:
        pass

    def setsockopt(self, *_: Any) -> None:
        pass

    def getsockopt(self, _level: int, option: int, *_: Any) -> int:  # type: ignore[override]
        if option == _socket.SO_TYPE:  # asked for by the ssl module only
            raise NotImplementedError("a MemoryEngine has no TLS; use connected_pair() with another engine")
        return errno.ECONNRESET if self.broken is not None else 0

    def getsockname(self) -> Any:
        return self._address

    def getpeername(self) -> Any:
        return self.other._address

    def recv(self, size: int, flags: int = 0, /) -> bytes:
        if self.broken is not None:
            raise self.broken
        data = bytes(self.inbox[:size])
        if not data and not self.ended:
            raise BlockingIOError(errno.EAGAIN, "nothing has arrived")
        if not flags & _socket.MSG_PEEK:
            del self.inbox[:size]
        return data

    def send(self, data: Any, _flags: int = 0, /) -> int:
        if self.broken is not None:
            raise self.broken
        if self.shut or self.other._number < 0:
            raise BrokenPipeError(errno.EPIPE, "the connection was ended")
        size = len(data) if self.window is None else min(self.window, len(data))
        if data and not size:
            raise BlockingIOError(errno.EAGAIN, "the other end accepts no more")
        self.other.inbox += data[:size]
        if self.window is not None:
            self.window -= size
        return size

    def shutdown(self, _how: int, /) -> None:
        if self.broken is not None:
            raise self.broken
        self.shut = self.other.ended = True

    def break_(self) -> None:
        self.broken = ConnectionResetError(errno.ECONNRESET, "the peer has reset the connection")

    def close(self) -> None:
        if self._number >= 0:
            if self.inbox:  # as in TCP: what nobody will read is answered with a reset
                self.other.break_()
            self.shut = self.other.ended = True
            self.other.window = None  # nobody is there to wait for: what is sent fails
            self._poller.sockets.pop(self._number)
            self._number = -1

    def events(self, wanted: int) -> int:
        """Which of the conditions that are waited for hold."""
        found = wanted & READ if self.inbox or self.ended else 0
        if self.window is None or self.window > 0:
            found |= wanted & WRITE
        if self.broken is not None:
            found |= wanted | ERROR | HANGUP
        elif self.ended and self.shut:
            found |= HANGUP
        return found


class _MemoryPoller:
    """Waits for memory sockets, and passes the time."""

    def __init__(self) -> None:
        self.now = 0.0
        self.next_in: Callable[[], float | None] = lambda: None  # seconds until a timer of the engine's
        self.sockets: dict[int, _MemorySocket] = {}
        self._watched: dict[int, int] = {}
        self._next = FIRST_NUMBER
        # The one descriptor of the kernel: that by which an engine is woken. It is the first to be added.
        self._waker = -1
        self._kernel = select.poll()

    def pair(self, *addresses: Any) -> tuple[_MemorySocket, _MemorySocket]:
        first, second = (_MemorySocket(self, self._next + i, address) for i, address in enumerate(addresses))
        first.other, second.other = second, first
        self.sockets.update({self._next: first, self._next + 1: second})
        self._next += 2
        return first, second

    def add(self, fd: int, events: int) -> None:
        if fd not in self.sockets:
            if self._waker >= 0:
                raise OSError(errno.EBADF, f"a MemoryEngine watches its own sockets only, not descriptor {fd}")
            self._waker = fd
            self._kernel.register(fd, select.POLLIN)
        self._watched[fd] = events

    def modify(self, fd: int, events: int) -> None:
        self._watched[fd] = events

    def remove(self, fd: int) -> None:
        del self._watched[fd]
        if fd == self._waker:
            self._kernel.unregister(fd)

    def ready(self) -> list[tuple[int, int]]:
        found = [(fd, READ) for fd, _ in self._kernel.poll(0)]
        for fd, wanted in self._watched.items():
            if fd != self._waker and (events := self.sockets[fd].events(wanted)):
                found.append((fd, events))
        return found

    def poll(self, timeout: float | None) -> list[tuple[int, int]]:
        found = self.ready()
        if not found:
            if timeout is None or (timeout >= LONGEST_WAIT and self.next_in() is None):
                raise RuntimeError("nothing is left that could happen: no timer, and nothing that a peer has sent")
            self.now += timeout
        return found

    def fileno(self) -> int | None:
        return None

    def close(self) -> None:
        for sock in list(self.sockets.values()):
            sock.close()
