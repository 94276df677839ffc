"""The pollers, each held against the same protocol, alone and under an engine (manual: "Pollers").

kqueue is missing on Linux. There `Kqueue` runs on a stand-in below that behaves as kqueue(2) says, so that what the
poller makes of masks and kernel events is tried everywhere; on macOS the real one is used.
"""

from __future__ import annotations

import doctest
import fcntl
import math
import os
import resource
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import pants._pollers
from pants import Stream
from pants.engine import ERROR, HANGUP, READ, WRITE, Engine, Epoll, Kqueue, Poller, Select

ExpectLog = Callable[[str], None]
MakePoller = Callable[[], Poller]

# How long something that must happen may take, in seconds; only a failing test waits as long as this.
LONG = 10.0

# The module without types: what it has depends on the platform.
kernel: Any = select


# --- A stand-in for kqueue -------------------------------------------------------------------------------------------

KQ_FILTER_READ, KQ_FILTER_WRITE = -1, -2
KQ_EV_ADD, KQ_EV_DELETE, KQ_EV_ERROR, KQ_EV_EOF = 0x0001, 0x0002, 0x4000, 0x8000


class FakeKevent:
    """struct kevent, with the defaults that `select.kevent` has."""

    def __init__(
        self, ident: int, filter_: int = KQ_FILTER_READ, flags: int = KQ_EV_ADD, fflags: int = 0, data: int = 0
    ) -> None:
        self.ident, self.filter, self.flags, self.fflags, self.data = ident, filter_, flags, fflags, data


class FakeKqueue:
    """kqueue(2) as far as sockets and pipes go, on top of epoll.

    It differs from epoll where kqueue does: a filter is one direction of one descriptor, is added and deleted by
    itself, and is reported by an event of its own. Deleting one that is not there fails with ENOENT. The end of file
    is the flag EV_EOF, beside which fflags holds the socket's error, if there is one. What is closed is forgotten.
    """

    def __init__(self) -> None:
        self._epoll = kernel.epoll()
        self._filters: dict[int, set[int]] = {}

    def control(self, changes: Any, max_events: int, timeout: float | None = None, /) -> list[FakeKevent]:
        for change in changes or ():
            self._change(change)
        if not max_events:  # kevent(2): returns at once then, even with a timeout
            return []
        events = [
            event
            for fd, mask in self._epoll.poll(timeout, max_events)
            for filter_ in sorted(self._filters[fd], reverse=True)
            if (event := self._event(fd, filter_, mask)) is not None
        ]
        return events[:max_events]  # level-triggered: what does not fit comes with the next call

    def _change(self, change: FakeKevent) -> None:
        filters = self._filters.setdefault(change.ident, set())
        known = bool(filters)
        if change.flags & KQ_EV_ADD:
            filters.add(change.filter)
        elif change.flags & KQ_EV_DELETE:
            if change.filter not in filters:
                raise FileNotFoundError(2, "ENOENT: no such filter")
            filters.remove(change.filter)
        mask = kernel.EPOLLRDHUP if KQ_FILTER_READ in filters else 0
        mask |= kernel.EPOLLIN if KQ_FILTER_READ in filters else 0
        mask |= kernel.EPOLLOUT if KQ_FILTER_WRITE in filters else 0
        if not filters:
            del self._filters[change.ident]
            self._epoll.unregister(change.ident)
        elif known:
            self._epoll.modify(change.ident, mask)
        else:
            self._epoll.register(change.ident, mask)

    @staticmethod
    def _event(fd: int, filter_: int, mask: int) -> FakeKevent | None:
        gone = kernel.EPOLLERR | kernel.EPOLLHUP
        if filter_ == KQ_FILTER_READ:
            ready, ended = mask & (kernel.EPOLLIN | gone), mask & (kernel.EPOLLRDHUP | gone)
        else:
            ready, ended = mask & (kernel.EPOLLOUT | gone), mask & gone
        if not ready:
            return None
        # The error itself stays where it is: asking Linux for it would take it away from the socket.
        error = 104 if mask & kernel.EPOLLERR else 0
        return FakeKevent(fd, filter_, KQ_EV_EOF if ended else 0, error)

    def fileno(self) -> int:
        return int(self._epoll.fileno())

    def close(self) -> None:
        self._epoll.close()


@pytest.fixture
def kqueue(monkeypatch: pytest.MonkeyPatch) -> None:
    """Has `Kqueue` work, with the system's kqueue or the stand-in."""
    if not hasattr(select, "kqueue"):
        monkeypatch.setattr(select, "kqueue", FakeKqueue, raising=False)
        monkeypatch.setattr(select, "kevent", FakeKevent, raising=False)
        for name in ("KQ_FILTER_READ", "KQ_FILTER_WRITE", "KQ_EV_ADD", "KQ_EV_DELETE", "KQ_EV_ERROR", "KQ_EV_EOF"):
            monkeypatch.setattr(select, name, globals()[name], raising=False)


# --- A poller of a user's --------------------------------------------------------------------------------------------


class UsersPoller:
    """Written after the documentation of `Poller`: poll(2), which Pants does not bring."""

    def __init__(self) -> None:
        self._poll = select.poll()

    @staticmethod
    def _mask(events: int) -> int:
        return (select.POLLIN if events & READ else 0) | (select.POLLOUT if events & WRITE else 0)

    def add(self, fd: int, events: int) -> None:
        self._poll.register(fd, self._mask(events))

    def modify(self, fd: int, events: int) -> None:
        self._poll.modify(fd, self._mask(events))

    def remove(self, fd: int) -> None:
        self._poll.unregister(fd)

    def poll(self, timeout: float | None) -> list[tuple[int, int]]:
        milliseconds = None if timeout is None else min(math.ceil(timeout * 1000), 2**31 - 1)
        meanings = [
            (select.POLLIN, READ),
            (select.POLLOUT, WRITE),
            (select.POLLERR, ERROR),
            (select.POLLHUP, HANGUP),
        ]
        return [(fd, sum(bit for mask, bit in meanings if found & mask)) for fd, found in self._poll.poll(milliseconds)]

    def fileno(self) -> int | None:
        return None

    def close(self) -> None:
        pass


@pytest.fixture(params=["epoll", "kqueue", "select", "user"])
def make_poller(request: pytest.FixtureRequest) -> MakePoller:
    """Each of the pollers in turn: what makes one."""
    made: dict[str, MakePoller] = {"epoll": Epoll, "kqueue": Kqueue, "select": Select, "user": UsersPoller}
    if request.param == "epoll" and not hasattr(select, "epoll"):
        pytest.skip("no epoll on this platform")
    if request.param == "kqueue":
        request.getfixturevalue("kqueue")
    return made[request.param]


@pytest.fixture
def poller(make_poller: MakePoller) -> Iterator[Poller]:
    poller = make_poller()
    yield poller
    poller.close()


@pytest.fixture
def engine(make_poller: MakePoller) -> Iterator[Engine]:
    engine = Engine(make_poller())
    yield engine
    engine.close()


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    first, second = socket.socketpair()
    for sock in (first, second):
        sock.setblocking(False)
    yield first, second
    first.close()
    second.close()


def until(engine: Engine, condition: Callable[[], object]) -> None:
    end = time.monotonic() + LONG
    while not condition():
        assert time.monotonic() < end
        engine.poll(0.5)


# --- The protocol ----------------------------------------------------------------------------------------------------


def test_it_follows_the_protocol(poller: Poller) -> None:
    assert isinstance(poller, Poller)


def test_nothing_watched_nothing_reported(poller: Poller) -> None:
    assert poller.poll(0) == []


def test_readable(poller: Poller, pair: Any) -> None:
    first, second = pair
    poller.add(first.fileno(), READ)
    assert poller.poll(0) == []
    second.send(b"spam")
    assert poller.poll(LONG) == [(first.fileno(), READ)]
    assert poller.poll(LONG) == [(first.fileno(), READ)]  # level-triggered
    first.recv(2)
    assert poller.poll(LONG) == [(first.fileno(), READ)]
    first.recv(100)
    assert poller.poll(0) == []


def test_writable(poller: Poller, pair: Any) -> None:
    first, _ = pair
    poller.add(first.fileno(), WRITE)
    assert poller.poll(LONG) == [(first.fileno(), WRITE)]
    assert poller.poll(LONG) == [(first.fileno(), WRITE)]
    fill(first)
    assert poller.poll(0) == []


def fill(sock: socket.socket) -> None:
    while True:
        try:
            sock.send(bytes(65536))
        except BlockingIOError:
            return


def test_both_ways_at_once_is_one_entry(poller: Poller, pair: Any) -> None:
    first, second = pair
    second.send(b"spam")
    poller.add(first.fileno(), READ | WRITE)
    assert poller.poll(LONG) == [(first.fileno(), READ | WRITE)]


def test_several_descriptors(poller: Poller, pair: Any) -> None:
    first, second = pair
    poller.add(first.fileno(), READ | WRITE)
    poller.add(second.fileno(), READ)
    first.send(b"spam")
    assert sorted(poller.poll(LONG)) == sorted([(first.fileno(), WRITE), (second.fileno(), READ)])


@pytest.mark.parametrize("old", [0, READ, WRITE, READ | WRITE])
@pytest.mark.parametrize("new", [0, READ, WRITE, READ | WRITE])
def test_modify(old: int, new: int, poller: Poller, pair: Any) -> None:
    first, second = pair
    second.send(b"spam")  # ready both ways
    poller.add(first.fileno(), old)
    assert poller.poll(0) == ([(first.fileno(), old)] if old else [])
    poller.modify(first.fileno(), new)
    assert poller.poll(0) == ([(first.fileno(), new)] if new else [])
    poller.modify(first.fileno(), old)
    assert poller.poll(0) == ([(first.fileno(), old)] if old else [])


@pytest.mark.parametrize("events", [0, READ, WRITE, READ | WRITE])
def test_remove(events: int, poller: Poller, pair: Any) -> None:
    first, second = pair
    second.send(b"spam")
    poller.add(first.fileno(), events)
    poller.remove(first.fileno())
    assert poller.poll(0) == []
    poller.add(first.fileno(), READ)  # and it can be watched again
    assert poller.poll(0) == [(first.fileno(), READ)]


def test_the_end_of_file_is_readable(poller: Poller, pair: Any) -> None:
    first, second = pair
    poller.add(first.fileno(), READ)
    second.shutdown(socket.SHUT_WR)
    [(fd, events)] = poller.poll(LONG)
    assert fd == first.fileno()
    assert events & READ
    assert not events & ERROR


def test_a_peer_that_is_gone(poller: Poller, pair: Any) -> None:
    first, second = pair
    poller.add(first.fileno(), READ)
    second.close()
    [(fd, events)] = poller.poll(LONG)
    assert fd == first.fileno()
    assert events & (READ | HANGUP)


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        first = socket.create_connection(listener.getsockname())
        second, _ = listener.accept()
    return first, second


def test_a_reset(poller: Poller) -> None:
    first, second = tcp_pair()
    with first:
        poller.add(first.fileno(), READ)
        second.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        second.close()
        [(fd, events)] = poller.poll(LONG)
        assert fd == first.fileno()
        assert events & (READ | ERROR | HANGUP)
        with pytest.raises(ConnectionResetError):  # which the poller has not taken away
            first.recv(1)
        poller.remove(first.fileno())


def test_a_refused_connection(poller: Poller) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
    with socket.socket() as sock:
        sock.setblocking(False)
        with pytest.raises(BlockingIOError):
            sock.connect(address)
        poller.add(sock.fileno(), WRITE)
        [(fd, events)] = poller.poll(LONG)
        assert fd == sock.fileno()
        assert events & (WRITE | ERROR | HANGUP)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        poller.remove(sock.fileno())


def test_a_pipe(poller: Poller) -> None:
    reader, writer = os.pipe()
    poller.add(reader, READ)
    assert poller.poll(0) == []
    os.write(writer, b"spam")
    assert poller.poll(LONG) == [(reader, READ)]
    poller.remove(reader)
    os.close(reader)
    os.close(writer)


def test_each_poll_gives_a_list_of_its_own(poller: Poller, pair: Any) -> None:
    first, _ = pair
    poller.add(first.fileno(), WRITE)
    found = poller.poll(0)
    found.clear()  # as the engine does when it is interrupted
    assert poller.poll(0) == [(first.fileno(), WRITE)]


def test_more_descriptors_than_fit_one_call(poller: Poller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pants._pollers, "MAX_EVENTS", 3)
    pairs = [socket.socketpair() for _ in range(8)]
    waiting = {first.fileno(): first for first, _ in pairs}
    for first, second in pairs:
        poller.add(first.fileno(), READ)
        second.send(b"spam")
    for _ in range(8):
        for fd, events in poller.poll(LONG):
            assert events == READ
            waiting.pop(fd).recv(100)
        if not waiting:
            break
    assert not waiting
    assert poller.poll(0) == []
    for first, second in pairs:
        poller.remove(first.fileno())
        first.close()
        second.close()


# --- Waiting ---------------------------------------------------------------------------------------------------------


def test_none_waits_without_end(poller: Poller, pair: Any) -> None:
    first, second = pair
    poller.add(first.fileno(), READ)
    waker = threading.Timer(0.05, second.send, [b"spam"])
    waker.start()
    assert poller.poll(None) == [(first.fileno(), READ)]
    waker.join()


def test_an_event_ends_the_wait(poller: Poller, pair: Any) -> None:
    first, second = pair
    poller.add(first.fileno(), READ)
    waker = threading.Timer(0.05, second.send, [b"spam"])
    waker.start()
    began = time.monotonic()
    assert poller.poll(60) == [(first.fileno(), READ)]
    assert time.monotonic() - began < 30
    waker.join()


@pytest.mark.parametrize("timeout", [1e-9, 0.0001, 0.0004, 0.0015, 0.0205])
def test_a_timeout_is_not_undercut(timeout: float, poller: Poller) -> None:
    for _ in range(5):
        began = time.monotonic()
        assert poller.poll(timeout) == []
        assert time.monotonic() - began >= timeout


@pytest.mark.parametrize("timeout", [1, 60.0, 86400.0])
def test_a_timeout_may_be_long(timeout: float, poller: Poller, pair: Any) -> None:
    first, _ = pair
    poller.add(first.fileno(), WRITE)
    assert poller.poll(timeout) == [(first.fileno(), WRITE)]


def test_its_descriptor_tells_of_events(poller: Poller, pair: Any) -> None:
    fd = poller.fileno()
    if fd is None:
        pytest.skip("this poller has none")
    first, second = pair
    poller.add(first.fileno(), READ)
    assert select.select([fd], [], [], 0)[0] == []
    second.send(b"spam")
    assert select.select([fd], [], [], LONG)[0] == [fd]
    first.recv(100)
    assert select.select([fd], [], [], 0)[0] == []
    first.send(b"spam")
    poller.modify(first.fileno(), WRITE)
    assert select.select([fd], [], [], LONG)[0] == [fd]


def test_which_have_a_descriptor(make_poller: MakePoller) -> None:
    poller = make_poller()
    assert (poller.fileno() is None) == (make_poller in (Select, UsersPoller))
    poller.close()


# --- Under an engine -------------------------------------------------------------------------------------------------


class Echo(Stream):
    def on_read(self, data: bytes) -> None:
        self.write(data)


class Collector(Stream):
    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.received = bytearray()
        self.life: list[str] = []

    def on_connect(self) -> None:
        self.life.append("connect")

    def on_read(self, data: bytes) -> None:
        self.received += data

    def on_end(self) -> None:
        self.life.append("end")
        self.close()

    def on_close(self) -> None:
        self.life.append("close")


def test_an_engine_takes_it(make_poller: MakePoller) -> None:
    poller = make_poller()
    engine = Engine(poller)
    assert engine.fileno() == poller.fileno()
    assert type(poller).__name__ in repr(engine)
    engine.close()


def test_a_conversation(engine: Engine, pair: Any) -> None:
    echo = Echo(engine=engine, socket=pair[0])
    client = Collector(engine=engine, socket=pair[1])
    until(engine, lambda: client.life == ["connect"])
    for number in range(20):
        client.write(b"%d " % number)
        until(engine, lambda number=number: client.received.endswith(b"%d " % number))  # type: ignore[misc]
    assert client.received == b"".join(b"%d " % number for number in range(20))
    echo.close()
    until(engine, lambda: client.life == ["connect", "end", "close"])


def test_more_than_the_kernel_takes_at_once(engine: Engine, pair: Any) -> None:
    data = os.urandom(1 << 20) * 8
    echo = Echo(engine=engine, socket=pair[0])
    client = Collector(engine=engine, socket=pair[1])
    until(engine, lambda: client.connected)
    client.write(data)
    until(engine, lambda: len(client.received) == len(data))
    assert client.received == data
    echo.close()
    client.close()
    until(engine, lambda: echo.closed and client.closed and not engine.lingering)


def test_a_peer_that_goes_away(engine: Engine, pair: Any) -> None:
    client = Collector(engine=engine, socket=pair[0])
    pair[1].send(b"last words")
    pair[1].close()
    until(engine, lambda: client.closed)
    assert client.received == b"last words"
    assert client.life == ["connect", "end", "close"]


def test_timers_end_a_wait(engine: Engine) -> None:
    engine.defer(0.02, engine.stop)
    engine.start(None)
    engine.defer(0.02, engine.stop)
    engine.start(3600)


def test_a_timer_may_be_further_away_than_the_kernel_can_wait(engine: Engine) -> None:
    for delay in (1e7, 1e10, 1e15):
        cancel = engine.defer(delay, int)
        engine.call_from_thread(engine.stop)
        engine.start(None)
        cancel()
    engine.call_from_thread(engine.stop)
    engine.start(1e15)


def test_timers_do_not_make_it_spin(engine: Engine) -> None:
    """A wait that ends before a timer is due, by rounding, is followed by many turns that do nothing."""
    turns = 0

    def count() -> None:
        nonlocal turns
        turns += 1

    engine.loop(count)
    began = time.monotonic()
    for delay in (0.0107, 0.0213, 0.0308, 0.0409, 0.0511):
        engine.defer(delay, int)
    engine.defer(0.06, engine.stop)
    engine.start(None)
    assert time.monotonic() - began >= 0.06
    assert turns <= 2 * 6 + 1  # a wait for each timer; and half of them may find the clock an instant behind


def test_a_call_from_a_thread_wakes_it_at_once(engine: Engine) -> None:
    thread = threading.Thread(target=engine.call_from_thread, args=[engine.stop])
    waiting = threading.Timer(0.05, thread.start)
    waiting.start()
    engine.start(None)
    waiting.join()
    thread.join()


def test_a_foreign_descriptor(engine: Engine) -> None:
    reader, writer = os.pipe()
    seen: list[tuple[int, bytes]] = []
    engine.watch(reader, READ, lambda events: seen.append((events, os.read(reader, 100))))
    engine.poll(0)
    os.write(writer, b"spam")
    until(engine, lambda: seen)
    assert seen == [(READ, b"spam")]
    others: list[bytes] = []
    engine.rewatch(reader, handler=lambda _events: others.append(os.read(reader, 100)))
    os.write(writer, b"eggs")
    until(engine, lambda: others)
    assert others == [b"eggs"]
    engine.rewatch(reader, 0)
    os.write(writer, b"ham")
    engine.poll(0)
    engine.rewatch(reader, READ)
    until(engine, lambda: len(others) == 2)
    os.write(writer, b"toast")
    engine.unwatch(reader)
    engine.unwatch(reader)  # left alone
    engine.poll(0)
    assert others == [b"eggs", b"ham"]
    os.close(reader)
    os.close(writer)


def test_a_user_may_extend_a_poller(make_poller: MakePoller, pair: Any) -> None:
    """By a subclass, as the documentation of `Poller` shows."""
    calls: list[str] = []

    class Extended(make_poller):  # type: ignore[misc, valid-type]
        def add(self, fd: int, events: int) -> None:
            calls.append("add")
            super().add(fd, events)

        def modify(self, fd: int, events: int) -> None:
            calls.append("modify")
            super().modify(fd, events)

        def remove(self, fd: int) -> None:
            calls.append("remove")
            super().remove(fd)

        def poll(self, timeout: float | None) -> Any:
            calls.append("poll")
            return super().poll(timeout)

        def close(self) -> None:
            calls.append("close")
            super().close()

    engine = Engine(Extended())
    fd = pair[0].fileno()
    seen: list[int] = []
    pair[1].send(b"spam")
    calls.clear()
    engine.watch(fd, WRITE, seen.append)
    engine.rewatch(fd, READ)
    engine.poll(0)
    engine.unwatch(fd)
    engine.close()
    assert set(calls) == {"add", "modify", "poll", "remove", "close"}
    assert seen == [READ]


# --- Single pollers --------------------------------------------------------------------------------------------------


def test_select_refuses_what_it_cannot_watch() -> None:
    poller = Select()
    with pytest.raises(OSError, match=r"1024.*1023"):
        poller.add(1024, READ)
    assert poller.poll(0) == []
    reader, writer = os.pipe()
    highest = fcntl.fcntl(reader, fcntl.F_DUPFD, 1023) if _has_room(1024) else -1
    if highest == 1023:
        os.write(writer, b"spam")
        poller.add(highest, READ)
        assert poller.poll(0) == [(highest, READ)]
    for fd in {reader, writer, highest} - {-1}:
        os.close(fd)


def _has_room(descriptors: int) -> bool:
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0] > descriptors


def test_a_stream_beyond_what_select_can_watch_fails_alone(expect_log: ExpectLog, pair: Any) -> None:
    if not _has_room(1600):
        pytest.skip("too few descriptors are allowed here")
    expect_log("select cannot watch descriptor")
    engine = Engine(Select())
    first, second = socket.socketpair()
    far = socket.socket(fileno=fcntl.fcntl(first.fileno(), fcntl.F_DUPFD, 1500))
    first.close()
    beyond = Collector(engine=engine, socket=far)
    echo = Echo(engine=engine, socket=pair[0])
    client = Collector(engine=engine, socket=pair[1])
    until(engine, lambda: beyond.closed)
    assert beyond.life[-1] == "close"
    assert isinstance(beyond.close_error, OSError)
    client.write(b"spam")
    until(engine, lambda: client.received == b"spam")
    echo.close(flush=False)
    client.close(flush=False)
    until(engine, lambda: not engine.lingering and echo.closed and client.closed)
    second.close()
    engine.close()


def test_kqueue_s_events(kqueue: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the kernel may report, and what is made of it."""
    poller = Kqueue()
    reported: list[Any] = []

    class Reporting:
        def control(self, changes: Any, max_events: int, timeout: float | None = None) -> list[Any]:
            return reported

        def close(self) -> None: ...

    poller.close()
    monkeypatch.setattr(poller, "_kqueue", Reporting())
    read, write = kernel.KQ_FILTER_READ, kernel.KQ_FILTER_WRITE
    eof, error = kernel.KQ_EV_EOF, kernel.KQ_EV_ERROR

    def event(fd: int, filter_: int, flags: int = 0, fflags: int = 0) -> Any:
        return FakeKevent(fd, filter_, flags, fflags)

    reported[:] = [event(5, write), event(7, read), event(5, read)]
    assert sorted(poller.poll(0)) == [(5, READ | WRITE), (7, READ)]
    # An end of file alone is no error; with the socket's error beside it, it is.
    reported[:] = [event(5, read, eof), event(6, read, eof, 104), event(7, write, eof, 111)]
    assert poller.poll(0) == [(5, READ), (6, READ | ERROR | HANGUP), (7, WRITE | ERROR | HANGUP)]
    reported[:] = [event(5, read, error)]
    [(fd, events)] = poller.poll(0)
    assert fd == 5
    assert events & ERROR


def test_kqueue_changes_no_more_than_it_must(kqueue: None, monkeypatch: pytest.MonkeyPatch) -> None:
    poller = Kqueue()
    changes: list[tuple[int, int, int]] = []

    class Recording:
        def control(self, wanted: Any, max_events: int, timeout: float | None = None) -> list[Any]:
            changes.extend((change.ident, change.filter, change.flags) for change in wanted)
            assert max_events == 0
            return []

        def close(self) -> None: ...

    poller.close()
    monkeypatch.setattr(poller, "_kqueue", Recording())
    read, write = kernel.KQ_FILTER_READ, kernel.KQ_FILTER_WRITE
    add, delete = kernel.KQ_EV_ADD, kernel.KQ_EV_DELETE

    def changed(function: Callable[..., None], *args: int) -> list[tuple[int, int, int]]:
        changes.clear()
        function(*args)
        return list(changes)

    assert changed(poller.add, 5, READ) == [(5, read, add)]
    assert changed(poller.modify, 5, READ) == []
    assert changed(poller.modify, 5, READ | WRITE) == [(5, write, add)]
    assert changed(poller.modify, 5, WRITE) == [(5, read, delete)]
    assert changed(poller.modify, 5, READ) == [(5, read, add), (5, write, delete)]
    assert changed(poller.modify, 5, 0) == [(5, read, delete)]
    assert changed(poller.add, 6, 0) == []
    assert changed(poller.remove, 6) == []
    assert changed(poller.modify, 5, READ | WRITE) == [(5, read, add), (5, write, add)]
    assert changed(poller.remove, 5) == [(5, read, delete), (5, write, delete)]


def test_the_best_poller_of_a_platform(kqueue: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def best() -> str:
        engine = Engine()
        name = type(engine._poller).__name__
        engine.close()
        return name

    if hasattr(select, "epoll"):
        assert best() == "Epoll"
        monkeypatch.delattr(select, "epoll")
        # The stand-in needs the epoll that has just been taken away.
        monkeypatch.setattr(select, "kqueue", UsersKqueue)
    assert best() == "Kqueue"
    monkeypatch.delattr(select, "kqueue")
    assert best() == "Select"


class UsersKqueue:
    """Accepts all changes."""

    def control(self, *_: Any) -> list[Any]:
        return []

    def close(self) -> None: ...


class WithoutFileno:
    """Has all methods of a poller but one."""

    add = modify = remove = poll = close = lambda self, *args: None


@pytest.mark.parametrize("value", ["epoll", 17, object(), WithoutFileno(), select.poll()], ids=repr)
def test_what_is_no_poller_is_refused(value: Any) -> None:
    with pytest.raises(TypeError, match="Poller") as caught:
        Engine(value)
    assert repr(value) in str(caught.value)


def test_the_examples() -> None:
    results = doctest.testmod(pants._pollers)
    assert results.attempted > 0
    assert results.failed == 0
