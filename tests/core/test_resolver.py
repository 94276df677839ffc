"""Names are looked up off the loop (DESIGN.md §3 "Names"): by a few daemon threads, and not at all for addresses."""

from __future__ import annotations

import contextlib
import functools
import queue
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from pants import Engine, _resolver
from pants._resolver import MAX_THREADS, Lookup, Result, look_up
from pants.errors import ConnectTimeout, ResolveError
from tests.core.tls_support import DEADLINE, Recorder, run_turns, run_until, run_until_closed, serve


def resolver_threads() -> list[threading.Thread]:
    """The test's own; those of earlier tests wait for work a while longer."""
    return [thread for thread in _all_threads() if thread not in _earlier]


def _all_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "pants-resolver"]


_earlier: set[threading.Thread] = set()


@pytest.fixture(autouse=True)
def threads(monkeypatch):
    """Threads of the test's own, which end as soon as they have nothing to do."""
    monkeypatch.setattr(_resolver, "IDLE_TIME", 0.05)
    monkeypatch.setattr(_resolver, "_threads", _resolver._Threads())
    _earlier.clear()
    _earlier.update(_all_threads())
    yield
    deadline = time.monotonic() + DEADLINE
    while resolver_threads():
        assert time.monotonic() < deadline, "the threads do not end"
        time.sleep(0.005)


class SlowNames:
    """A getaddrinfo that waits until it is let go, for names; addresses are answered at once."""

    def __init__(self, monkeypatch) -> None:
        self.gate = threading.Event()
        self.asked: list[str] = []
        self.running = self.most = 0
        self.threads: set[threading.Thread] = set()
        self.lock = threading.Lock()
        self.answer: Callable[[str], str | Exception] = lambda _: "127.0.0.1"
        self._real = socket.getaddrinfo
        monkeypatch.setattr(socket, "getaddrinfo", self.look_up)

    def look_up(self, host, port, family=0, type=0, proto=0, flags=0):  # noqa: A002
        numeric = flags | socket.AI_NUMERICHOST
        with contextlib.suppress(socket.gaierror):
            return self._real(host, port, family, type, proto, numeric)
        if flags == numeric:
            raise socket.gaierror(socket.EAI_NONAME, "not an address")
        with self.lock:
            self.asked.append(host)
            self.threads.add(threading.current_thread())
            self.running += 1
            self.most = max(self.most, self.running)
        try:
            assert self.gate.wait(DEADLINE)
        finally:
            with self.lock:
                self.running -= 1
        answer = self.answer(host)
        if isinstance(answer, BaseException):
            raise answer
        return self._real(answer, port, family, type, proto, socket.AI_NUMERICHOST)


@pytest.fixture
def slow(monkeypatch):
    names = SlowNames(monkeypatch)
    yield names
    names.gate.set()


# --- Off the loop --------------------------------------------------------------------------------------------------


def test_a_slow_look_up_does_not_hold_the_loop(slow):
    server = serve()
    client = Recorder().connect(("slow.test", server.local_address[1]))
    run_until(lambda: slow.asked == ["slow.test"])
    ticks: list[int] = []
    Engine.instance().cycle(0.001, ticks.append, 1)
    other = Recorder().connect(server.local_address)
    run_until(lambda: len(ticks) > 10 and other.connected)
    assert client.hooks == []
    assert threading.main_thread() not in slow.threads
    slow.gate.set()
    run_until(lambda: client.connected)
    assert client.remote_address == server.local_address


def test_a_result_wakes_the_loop_at_once(slow):
    """The loop may be waiting without a limit when the answer comes."""
    server = serve()
    engine = Engine.instance()

    class Client(Recorder):
        def on_connect(self) -> None:
            super().on_connect()
            engine.stop()

    client = Client().connect(("slow.test", server.local_address[1]))
    engine.defer(0.02, slow.gate.set)
    engine.defer(DEADLINE, engine.stop)
    begun = time.monotonic()
    engine.start(poll_timeout=None)
    assert client.connected
    assert time.monotonic() - begun < DEADLINE


def test_hooks_run_in_the_loops_thread(slow):
    seen: list[threading.Thread] = []

    class Client(Recorder):
        def on_connect_error(self, exception: Exception) -> None:
            seen.append(threading.current_thread())
            super().on_connect_error(exception)

    slow.gate.set()
    slow.answer = lambda _: socket.gaierror(socket.EAI_NONAME, "no such name")
    client = Client().connect(("none.test", 80))
    run_until(lambda: client.closed)
    assert seen == [threading.current_thread()]


@pytest.mark.parametrize(
    "address", [("127.0.0.1", 1), ("::1", 1), ("::1", 1, 0, 0), ("", 1), 1, ("127.1", 1), "/nowhere"]
)
def test_addresses_need_no_thread(address, slow):
    client = Recorder()
    client.connect(address)
    run_until(lambda: client.closed)
    assert slow.asked == []
    assert resolver_threads() == []


# --- The threads ---------------------------------------------------------------------------------------------------


def test_threads_are_bounded(slow):
    names = [f"host-{number}.test" for number in range(4 * MAX_THREADS)]
    server = serve()
    clients = [Recorder().connect((name, server.local_address[1])) for name in names]
    run_until(lambda: slow.running == MAX_THREADS)
    assert len(resolver_threads()) == MAX_THREADS
    assert all(thread.daemon for thread in resolver_threads())
    slow.gate.set()
    run_until(lambda: all(client.connected for client in clients))
    assert sorted(slow.asked) == sorted(names)
    assert slow.most == MAX_THREADS


def test_in_order(slow, monkeypatch):
    """Look-ups that wait for a thread get one in the order in which they came."""
    monkeypatch.setattr(_resolver, "MAX_THREADS", 1)
    names = [f"{number}.test" for number in range(10)]
    clients = [Recorder().connect((name, 1)) for name in names]
    slow.gate.set()
    run_until(lambda: all(client.closed for client in clients))
    assert slow.asked == names


def test_a_thread_is_used_again(slow):
    slow.gate.set()
    for number in range(5):
        client = Recorder().connect((f"{number}.test", 1))
        run_until_closed(client)
    assert len(slow.asked) == 5


def test_threads_end_and_begin_again(slow):
    slow.gate.set()
    for _ in range(2):
        client = Recorder().connect(("some.test", 1))
        run_until_closed(client)
        run_until(lambda: not resolver_threads())
    assert len(slow.asked) == 2


def test_submitting_while_threads_end(slow, monkeypatch):
    """A look-up that comes just when the last thread gives up waiting is not forgotten."""
    monkeypatch.setattr(_resolver, "IDLE_TIME", 0.0)
    slow.gate.set()
    for number in range(200):
        client = Recorder().connect((f"{number}.test", 1))
        run_until_closed(client)
    assert len(slow.asked) == 200


def test_a_hanging_look_up_does_not_keep_the_process():
    """Daemon threads: a name server that does not answer must not keep the process from ending."""
    program = """
import socket, threading
from pants import Engine, Stream
begun = threading.Event()
def hang(*args):
    if args[-1] & socket.AI_NUMERICHOST:
        raise socket.gaierror(socket.EAI_NONAME, "no address")
    begun.set()
    threading.Event().wait()
socket.getaddrinfo = hang
stream = Stream().connect(("slow.test", 80))
assert begun.wait(20)
Engine.instance().poll(0)
print("done")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=DEADLINE, check=False)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, b"done", b"")


def test_no_thread_can_be_started(slow, monkeypatch):
    """The system is out of threads: on_connect_error, and the next look-up is tried anew."""
    slow.gate.set()

    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as context:
        context.setattr(threading.Thread, "start", refuse)
        client = Recorder().connect(("some.test", 1))
        run_until(lambda: client.closed)
    assert client.hooks == ["on_connect_error", "on_close"]
    assert isinstance(client.error, ResolveError)
    later = Recorder().connect(("other.test", 1))
    run_until(lambda: later.closed)
    assert slow.asked[-1] == "other.test"


def test_no_further_thread_can_be_started(slow, monkeypatch):
    """Then the threads that there are do it, one after another."""
    first = Recorder().connect(("first.test", 1))
    run_until(lambda: slow.running == 1)

    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as context:
        context.setattr(threading.Thread, "start", refuse)
        second = Recorder().connect(("second.test", 1))
        run_turns()
    assert second.hooks == []
    slow.gate.set()
    run_until_closed(first, second)
    assert slow.asked == ["first.test", "second.test"]


def test_a_look_up_comes_just_as_a_thread_gives_up(slow, monkeypatch):
    """Between the end of its wait and its going: the look-up counts on the thread."""
    monkeypatch.setattr(_resolver, "MAX_THREADS", 1)
    slow.gate.set()

    class Unlucky(queue.SimpleQueue[Lookup]):
        given_up = threading.Event()
        go_on = threading.Event()

        def get(self, *args: Any, **kwargs: Any) -> Lookup:
            if not self.given_up.is_set() and "first.test" in slow.asked:
                self.given_up.set()
                assert self.go_on.wait(DEADLINE)
                raise queue.Empty
            return super().get(*args, **kwargs)

    _resolver._threads._queue = Unlucky()
    first = Recorder().connect(("first.test", 1))
    run_until_closed(first)
    run_until(Unlucky.given_up.is_set)
    second = Recorder().connect(("second.test", 1))
    run_turns()
    Unlucky.go_on.set()
    run_until_closed(second)
    assert slow.asked == ["first.test", "second.test"]


def test_getaddrinfo_raises_what_it_should_not(slow):
    """Whatever it raises reaches on_connect_error, and the threads survive it."""
    slow.gate.set()
    slow.answer = lambda _: MemoryError("no memory")
    clients = [Recorder().connect((f"{number}.test", 1)) for number in range(2 * MAX_THREADS)]
    run_until(lambda: all(client.closed for client in clients))
    assert all(isinstance(client.error, ResolveError) for client in clients)
    slow.answer = lambda _: "127.0.0.1"
    client = Recorder().connect(("some.test", 1))
    run_until(lambda: client.closed)
    assert not isinstance(client.error, ResolveError)


# --- Given up meanwhile --------------------------------------------------------------------------------------------


def test_closing_while_resolving(slow):
    server = serve()
    client = Recorder().connect(("slow.test", server.local_address[1]))
    run_until(lambda: slow.asked)
    client.close()
    run_until(lambda: client.closed)
    assert client.hooks == ["on_close"]
    slow.gate.set()
    run_until(lambda: slow.running == 0)
    run_until(lambda: not resolver_threads())
    run_turns()
    assert client.hooks == ["on_close"]
    assert server.made == []
    run_until(lambda: Engine.instance().time_to_timer() is None)


def test_what_was_given_up_is_not_looked_up(slow):
    """Names that wait for a thread, whose connections are closed meanwhile, do not hold up later ones."""
    blocking = [Recorder().connect((f"{number}.test", 1)) for number in range(MAX_THREADS)]
    run_until(lambda: slow.running == MAX_THREADS)
    given_up = [Recorder().connect((f"given-up-{number}.test", 1)) for number in range(20)]
    for client in given_up:
        client.close()
    run_until(lambda: all(client.closed for client in given_up))
    wanted = Recorder().connect(("wanted.test", 1))
    slow.gate.set()
    run_until(lambda: wanted.closed and all(client.closed for client in blocking))
    assert [name for name in slow.asked if name.startswith("given-up")] == []
    assert "wanted.test" in slow.asked


def test_timeout_while_resolving(slow):
    client = Recorder()
    client.connect_timeout = 0.02
    client.connect(("slow.test", 80))
    run_until(lambda: client.closed)
    assert client.hooks == ["on_connect_error", "on_close"]
    assert isinstance(client.error, ConnectTimeout)
    assert "slow.test" in str(client.error)
    assert client.error.address == ("slow.test", 80)
    slow.gate.set()
    run_until(lambda: not resolver_threads())
    assert client.hooks == ["on_connect_error", "on_close"]


def test_timeout_with_a_socket_of_the_users_own(slow):
    client = Recorder(socket=socket.socket())
    client.connect_timeout = 0.02
    client.connect(("slow.test", 80))
    run_until(lambda: client.closed)
    assert isinstance(client.error, ConnectTimeout)


def test_the_engine_closes_while_resolving(slow):
    engine = Engine()
    client = Recorder(engine=engine).connect(("slow.test", 80))
    run_until(lambda: slow.asked, engine)
    engine.close()
    assert client.hooks == ["on_close"]
    slow.gate.set()
    deadline = time.monotonic() + DEADLINE
    while resolver_threads():
        assert time.monotonic() < deadline
        time.sleep(0.005)
    assert client.hooks == ["on_close"]


def test_several_engines(slow):
    slow.gate.set()
    server = serve()
    engines = [Engine(), Engine()]
    clients = [Recorder(engine=engine).connect(("some.test", server.local_address[1])) for engine in engines]
    for engine, client in zip(engines, clients, strict=True):
        run_until(functools.partial(getattr, client, "connected"), engine)
    for engine in engines:
        engine.close()
    assert all(client.closed for client in clients)


# --- Lookup and look_up themselves ---------------------------------------------------------------------------------


def test_lookup():
    """It tells its result in the loop, once; cancelled, not at all."""
    engine = Engine.instance()
    results: list[Result] = []
    Lookup(engine, "127.0.0.1", 80, socket.AF_UNSPEC, results.append)
    cancelled = Lookup(engine, "127.0.0.1", 80, socket.AF_UNSPEC, results.append)
    cancelled.cancel()
    cancelled.cancel()
    assert results == []
    run_until(lambda: results)
    run_turns()
    assert results == [[(socket.AF_INET, ("127.0.0.1", 80))]]


@pytest.mark.parametrize("family", [socket.AF_UNSPEC, socket.AF_INET, socket.AF_INET6])
def test_look_up(family):
    result = look_up("localhost", 80, family)
    if isinstance(result, OSError):
        assert family == socket.AF_INET6, "localhost has an IPv4 address everywhere"
        return
    assert result
    for found, address in result:
        assert found in (socket.AF_INET, socket.AF_INET6)
        assert family in (socket.AF_UNSPEC, found)
        assert address[:2] in [("127.0.0.1", 80), ("::1", 80)]


@pytest.mark.parametrize("host", ["a..b", "x" * 300, ".x.", "\udc80"])
def test_look_up_of_what_is_no_name(host):
    """Python's IDNA codec raises UnicodeError for some; here each is an OSError, and not raised but returned."""
    result = look_up(host, 80, socket.AF_UNSPEC)
    assert isinstance(result, OSError)
    assert result.errno
    assert result.__traceback__ is None


def test_look_up_tells_what_the_system_tells(monkeypatch):
    def refuse(*_: Any) -> Any:
        raise socket.gaierror(socket.EAI_FAIL, "it is so")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    result = look_up("some.test", 80, socket.AF_UNSPEC)
    assert isinstance(result, socket.gaierror)
    assert (result.errno, result.strerror) == (socket.EAI_FAIL, "it is so")


def test_localhost_in_earnest():
    """With the system's own getaddrinfo."""
    server = serve()
    client = Recorder().connect(("localhost", server.local_address[1]))
    run_until(lambda: client.connected)
    with contextlib.suppress(OSError):
        assert client.remote_address == server.local_address
