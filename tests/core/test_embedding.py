"""An engine inside another loop: `Engine.fileno` and `Engine.time_to_timer`, and what wakes that loop."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from pants import Server, Stream
from pants.engine import READ, Engine, Select
from pants.testing import connected_pair

# How long something that must happen may take, in seconds; only a failing test waits as long as this.
LONG = 20.0


class Echo(Stream):
    def on_read(self, data: bytes) -> None:
        self.write(data)


class Collector(Stream):
    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.received = b""

    def on_read(self, data: bytes) -> None:
        self.received += data


def readable(engine: Engine, timeout: float = 0.0) -> bool:
    fd = engine.fileno()
    assert fd is not None
    return bool(select.select([fd], [], [], timeout)[0])


def quiet(engine: Engine) -> None:
    """Let the engine do what there is to do, until it has nothing."""
    end = time.monotonic() + LONG
    while readable(engine) or engine.time_to_timer() == 0.0:
        engine.poll(0)
        assert time.monotonic() < end


# --- The descriptor --------------------------------------------------------------------------------------------------


def test_the_descriptor(engine: Engine) -> None:
    assert isinstance(engine.fileno(), int)
    quiet(engine)
    assert not readable(engine)


def test_select_has_no_descriptor() -> None:
    engine = Engine(Select())
    assert engine.fileno() is None
    engine.close()


def test_events_make_it_readable(engine: Engine) -> None:
    mine, other = socket.socketpair()
    with other:
        collector = Collector(engine=engine, socket=mine)
        quiet(engine)
        other.send(b"spam")
        assert readable(engine, LONG)
        engine.poll(0)
        assert collector.received == b"spam"
        assert not readable(engine)
        other.shutdown(socket.SHUT_WR)
        assert readable(engine, LONG)
        quiet(engine)
        assert collector.closed


ACTIONS: dict[str, Callable[[Engine, Stream], object]] = {
    "callback": lambda engine, stream: engine.callback(int),
    "loop": lambda engine, stream: engine.loop(int),
    "defer": lambda engine, stream: engine.defer(60, int),
    "cycle": lambda engine, stream: engine.cycle(60, int),
    "call_from_thread": lambda engine, stream: engine.call_from_thread(int),
    "attend": lambda engine, stream: engine.attend(lambda: None),
    "write": lambda engine, stream: stream.write(b"spam"),
    "write_packed": lambda engine, stream: stream.write_packed(1, format="!H"),
    "flush, on_write being due": lambda engine, stream: stream.write(b"spam", flush=True),
    "close": lambda engine, stream: stream.close(),
    "idle_timeout": lambda engine, stream: setattr(stream, "idle_timeout", 60.0),
}


@pytest.mark.parametrize("action", ACTIONS.values(), ids=ACTIONS)
def test_what_is_done_outside_makes_it_readable(action: Callable[[Engine, Stream], object], engine: Engine) -> None:
    with connected_pair(engine=engine) as (stream, _):
        quiet(engine)
        assert not readable(engine)
        action(engine, stream)
        assert readable(engine, LONG)
        action(engine, stream)
        quiet(engine)
        assert not readable(engine)


def test_a_new_channel_makes_it_readable(engine: Engine) -> None:
    quiet(engine)
    mine, other = socket.socketpair()
    stream = Stream(engine=engine, socket=mine)
    assert readable(engine, LONG)
    quiet(engine)
    other.close()
    quiet(engine)
    assert stream.closed


def test_connecting_makes_it_readable(engine: Engine) -> None:
    server = Server(Echo, engine=engine).listen(("127.0.0.1", 0))
    quiet(engine)
    client = Stream(engine=engine).connect(server.local_address)
    end = time.monotonic() + LONG
    while not client.connected:
        assert readable(engine, LONG)
        engine.poll(0)
        assert time.monotonic() < end
    engine.close()


def test_reading_resumed_makes_it_readable(engine: Engine) -> None:
    with connected_pair(Collector, engine=engine) as (collector, client):
        collector.read_delimiter = b"\n"
        collector.pause_reading()
        client.write(b"spam\n")
        quiet(engine)
        assert collector.received == b""
        collector.resume_reading()
        assert readable(engine, LONG)
        quiet(engine)
        assert collector.received == b"spam"


def test_a_changed_delimiter_makes_it_readable(engine: Engine) -> None:
    with connected_pair(Collector, engine=engine) as (collector, client):
        collector.read_delimiter = b"\n"
        client.write(b"spam")
        quiet(engine)
        assert collector.received == b""
        collector.read_delimiter = 4
        assert readable(engine, LONG) or engine.time_to_timer() == 0.0
        quiet(engine)
        assert collector.received == b"spam"


def test_a_thread_makes_it_readable(engine: Engine) -> None:
    quiet(engine)
    calls: list[int] = []
    thread = threading.Timer(0.02, engine.call_from_thread, [calls.append, 1])
    thread.start()
    assert readable(engine, LONG)
    engine.poll(0)
    assert calls == [1]
    thread.join()
    assert not readable(engine)


# --- A loop of select's ----------------------------------------------------------------------------------------------


class SelectLoop:
    """The least loop that an engine can be embedded in, written after the documentation of `Engine.fileno`."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.turns = 0

    def run_until(self, condition: Callable[[], object]) -> None:
        end = time.monotonic() + LONG
        while not condition():
            assert time.monotonic() < end
            self.turn()

    def turn(self) -> None:
        self.turns += 1
        fd = self.engine.fileno()
        assert fd is not None
        wait = self.engine.time_to_timer()
        ready = select.select([fd], [], [], LONG if wait is None else wait)[0]
        assert ready or wait is not None, "nothing has woken the loop"
        self.engine.poll(0)


def test_a_conversation_in_another_loop(engine: Engine) -> None:
    loop = SelectLoop(engine)
    server = Server(Echo, engine=engine).listen(("127.0.0.1", 0))
    client = Collector(engine=engine).connect(server.local_address)
    loop.run_until(lambda: client.connected)
    for number in range(10):
        client.write(b"%d" % number)  # from outside
        loop.run_until(lambda number=number: client.received.endswith(b"%d" % number))  # type: ignore[misc]
    big = bytes(1 << 22)
    client.write(big)
    loop.run_until(lambda: len(client.received) == 10 + len(big))
    client.close()
    loop.run_until(lambda: client.closed and not server.channels)
    server.close()
    loop.run_until(lambda: not engine.lingering)


def test_a_hook_that_writes_in_on_write_goes_on_in_another_loop(engine: Engine) -> None:
    """What waits for the next turn counts as due."""
    loop = SelectLoop(engine)

    class Producer(Stream):
        left = 20

        def on_write(self) -> None:
            if self.left:
                self.left -= 1
                self.write(b"x")

    with connected_pair(Producer, Collector, engine=engine) as (producer, collector):
        producer.write(b"x")
        loop.run_until(lambda: len(collector.received) == 21)


def test_timers_in_another_loop(engine: Engine) -> None:
    loop = SelectLoop(engine)
    order: list[str] = []
    engine.defer(0.03, order.append, "later")
    engine.defer(0.01, order.append, "sooner")
    engine.callback(order.append, "callback")
    loop.run_until(lambda: len(order) == 3)
    assert order == ["callback", "sooner", "later"]
    cancel = engine.cycle(0.002, order.append, "cycle")
    loop.run_until(lambda: len(order) == 8)
    cancel()


def test_an_embedded_engine_does_not_spin(engine: Engine) -> None:
    loop = SelectLoop(engine)
    done: list[int] = []
    quiet(engine)
    for delay in (0.011, 0.023, 0.031, 0.047):
        engine.defer(delay, done.append, 1)
    loop.run_until(lambda: len(done) == 4)
    assert loop.turns <= 2 * 4 + 2


def test_a_timer_set_from_outside_shortens_the_wait(engine: Engine) -> None:
    """The loop is waiting for a far-away timer when another part of the program sets a near one."""
    done: list[int] = []
    engine.defer(3600, int)
    quiet(engine)
    wait = engine.time_to_timer()
    assert wait is not None
    assert wait > 3000
    engine.defer(0.01, done.append, 1)
    assert readable(engine, LONG)
    SelectLoop(engine).run_until(lambda: done)


def test_without_a_descriptor_a_timer_does(engine: Engine) -> None:
    embedded = Engine(Select())
    with connected_pair(Echo, Collector, engine=embedded) as (_, client):
        client.write(b"spam")
        end = time.monotonic() + LONG
        while client.received != b"spam":
            embedded.poll(0)
            time.sleep(0.001)
            assert time.monotonic() < end
    embedded.close()


def test_an_engine_in_an_engine(engine: Engine) -> None:
    """The one watches the other's descriptor."""
    inner = Engine()
    done: list[str] = []
    fd = inner.fileno()
    assert fd is not None
    engine.watch(fd, READ, lambda _events: inner.poll(0))
    with connected_pair(Echo, Collector, engine=inner) as (_, client):
        inner.callback(done.append, "callback")
        inner.callback(engine.stop)
        engine.start(LONG)
        assert done == ["callback"]
        client.write(b"spam")
        end = time.monotonic() + LONG
        while client.received != b"spam":
            engine.poll(LONG)
            assert time.monotonic() < end
    engine.unwatch(fd)
    inner.close()


# --- A host ----------------------------------------------------------------------------------------------------------


class Recorder(SelectLoop):
    """A host that writes down what it is told."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self.told: list[str] = []

    def turn_begins(self) -> None:
        self.told.append("begins")

    def turn_ends(self) -> None:
        self.told.append("ends")

    def failed(self, error: Exception) -> None:
        self.told.append(str(error))

    def stop(self) -> None:
        self.told.append("stop")

    def release(self) -> None:
        self.told.append("release")


@pytest.fixture
def host(engine: Engine) -> Recorder:
    host = Recorder(engine)
    engine.embed(host)
    return host


def test_a_host_is_told_of_turns_whoever_makes_them(engine: Engine, host: Recorder) -> None:
    def wait() -> None:
        host.told.append("hook")
        engine.poll(0)

    engine.callback(wait)
    engine.poll(0)
    assert host.told == ["begins", "hook", "ends"]


def test_stop_is_for_the_host(engine: Engine, host: Recorder) -> None:
    engine.stop()
    assert host.told == ["stop"]
    engine.embed(None)
    engine.stop()
    assert host.told == ["stop", "release"]


def test_a_host_rules_out_start(engine: Engine, host: Recorder) -> None:
    with pytest.raises(RuntimeError, match="another loop"):
        engine.start()
    engine.embed(None)
    engine.callback(engine.stop)
    engine.start()


def test_a_running_engine_is_not_embedded(engine: Engine) -> None:
    def attempt() -> None:
        with pytest.raises(RuntimeError, match="running"):
            engine.embed(Recorder(engine))
        engine.stop()

    engine.callback(attempt)
    engine.start()
    engine.run_inside(attempt)
    engine.close()
    with pytest.raises(RuntimeError, match="closed"):
        engine.embed(Recorder(engine))


def test_a_host_s_engine_is_its_thread_s(engine: Engine, host: Recorder) -> None:
    """Also in between two turns, when another thread could have it otherwise."""
    refused: list[str] = []
    called: list[int] = []

    def attempt() -> None:
        for action in (lambda: engine.poll(0), lambda: engine.embed(None)):
            try:
                action()
            except RuntimeError as error:
                refused.append(str(error))
        assert not engine.run_inside(lambda: called.append(0))
        engine.call_from_thread(called.append, 1)

    assert engine.thread == threading.get_ident()
    thread = threading.Thread(target=attempt)
    thread.start()
    thread.join()
    assert len(refused) == 2
    host.run_until(lambda: called)
    assert called == [1]
    assert engine.thread == threading.get_ident()
    assert engine.run_inside(lambda: called.append(2))
    engine.embed(None)
    assert engine.thread is None


def test_another_host_takes_the_place_of_the_former(engine: Engine, host: Recorder) -> None:
    other = Recorder(engine)
    engine.embed(other)
    engine.poll(0)
    assert host.told == ["release"]
    assert other.told == ["begins", "ends"]


def test_hosts_change_in_a_hook(engine: Engine, host: Recorder) -> None:
    other = Recorder(engine)
    engine.callback(engine.embed, other)
    engine.poll(0)
    assert host.told == ["begins", "release"]
    assert other.told == ["begins", "ends"]
    threads: list[int | None] = []
    engine.callback(engine.embed, None)
    engine.callback(lambda: threads.append(engine.thread))
    engine.poll(0)
    assert other.told == ["begins", "ends", "begins", "release"]
    assert threads == [threading.get_ident()]
    assert engine.thread is None


def test_closing_releases_the_host_before_the_descriptor_goes(engine: Engine) -> None:
    fd = engine.fileno()

    class Careful(Recorder):
        def release(self) -> None:
            super().release()
            self.told.append(str(engine.fileno() == fd))

    host = Careful(engine)
    engine.embed(host)
    engine.close()
    assert host.told == ["release", "True"]


def test_a_failing_handler_does_not_end_a_host_s_turn(engine: Engine, host: Recorder) -> None:
    """Or what comes after it among the events would never have its turn."""

    def fail(_events: int) -> None:
        raise ValueError("spam")

    reader, writer = os.pipe()
    os.write(writer, b"x")
    engine.watch(reader, READ, fail)
    with connected_pair(Echo, Collector, engine=engine) as (_, client):
        client.write(b"spam")
        host.run_until(lambda: client.received == b"spam")
    assert "spam" in host.told
    engine.unwatch(reader)
    os.close(reader)
    os.close(writer)


def test_a_host_asks_for_loops(engine: Engine) -> None:
    assert not engine.has_loops
    cancel = engine.loop(int)
    assert engine.has_loops
    cancel()
    engine.poll(0)
    assert not engine.has_loops


def wakeup_fd() -> int:
    fd = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(fd)
    return fd


def test_ctrl_c_reaches_a_host_through_poll(engine: Engine) -> None:
    before = signal.getsignal(signal.SIGINT)
    host = Recorder(engine)
    engine.embed(host)
    done: list[int] = []
    quiet(engine)
    engine.callback(signal.raise_signal, signal.SIGINT)
    engine.callback(done.append, 1)
    with pytest.raises(KeyboardInterrupt):
        engine.poll(0)
    assert not done
    assert host.told[-1] == "ends"
    quiet(engine)
    assert done
    signal.raise_signal(signal.SIGINT)  # while the host waits
    assert readable(engine, LONG)
    with pytest.raises(KeyboardInterrupt):
        engine.poll(0)
    engine.embed(None)
    assert signal.getsignal(signal.SIGINT) is before
    assert wakeup_fd() == -1


def test_ctrl_c_that_no_turn_follows(engine: Engine, host: Recorder) -> None:
    quiet(engine)
    signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        engine.embed(None)
    assert host.told[-1] == "release"
    done: list[int] = []
    engine.callback(done.append, 1)
    engine.poll(0)
    assert done


def test_signals_wake_a_host(engine: Engine, host: Recorder) -> None:
    done: list[int] = []
    cancel = engine.add_signal_handler(signal.SIGUSR1, done.append, 1)
    quiet(engine)
    signal.raise_signal(signal.SIGUSR1)
    host.run_until(lambda: done)
    cancel()


def test_a_wake_up_descriptor_of_the_program_s_stays(engine: Engine) -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    host = Recorder(engine)
    try:
        signal.set_wakeup_fd(writer)
        engine.embed(host)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        engine.embed(None)
        assert wakeup_fd() == writer
        signal.set_wakeup_fd(-1)
        engine.embed(host)
        signal.set_wakeup_fd(writer)  # in place of the engine's
        engine.embed(None)
        assert wakeup_fd() == writer
    finally:
        signal.set_wakeup_fd(-1)
        os.close(reader)
        os.close(writer)


def test_a_host_in_another_thread_leaves_signals_alone(engine: Engine) -> None:
    before = signal.getsignal(signal.SIGINT)
    done: list[int] = []

    def run() -> None:
        host = Recorder(engine)
        engine.embed(host)
        engine.callback(done.append, 1)
        host.run_until(lambda: done)
        engine.embed(None)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert done
    assert signal.getsignal(signal.SIGINT) is before


# --- asyncio ---------------------------------------------------------------------------------------------------------


class InAsyncio:
    """Runs an engine in asyncio's loop, without polling."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.loop = asyncio.get_running_loop()
        self.timer: asyncio.TimerHandle | None = None
        self.turns = 0
        fd = engine.fileno()
        assert fd is not None
        self.fd = fd
        self.loop.add_reader(fd, self.turn)
        self.turn()

    def turn(self) -> None:
        self.turns += 1
        self.engine.poll(0)
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        delay = self.engine.time_to_timer()
        if delay is not None:
            self.timer = self.loop.call_later(delay, self.turn)

    def close(self) -> None:
        self.loop.remove_reader(self.fd)
        if self.timer is not None:
            self.timer.cancel()


def test_in_asyncio(engine: Engine) -> None:
    async def main() -> None:
        embedded = InAsyncio(engine)
        loop = asyncio.get_running_loop()
        answered: asyncio.Future[bytes] = loop.create_future()

        class Client(Stream):
            def on_connect(self) -> None:
                self.write(b"spam")

            def on_read(self, data: bytes) -> None:
                answered.set_result(data)

        server = Server(Echo, engine=engine).listen(("127.0.0.1", 0))
        Client(engine=engine).connect(server.local_address)
        assert await asyncio.wait_for(answered, LONG) == b"spam"
        embedded.close()

    asyncio.run(main())


def test_what_asyncio_s_own_tasks_do_wakes_the_engine(engine: Engine) -> None:
    async def main() -> None:
        embedded = InAsyncio(engine)
        loop = asyncio.get_running_loop()
        with connected_pair(Echo, Collector, engine=engine) as (_, client):
            for number in range(5):
                await asyncio.sleep(0)
                client.write(b"%d" % number)
                arrived: asyncio.Future[None] = loop.create_future()
                client.on_read = lambda data, arrived=arrived: arrived.set_result(None)  # type: ignore[misc]
                await asyncio.wait_for(arrived, LONG)
            fired: asyncio.Future[None] = loop.create_future()
            engine.defer(0.02, fired.set_result, None)
            await asyncio.wait_for(fired, LONG)
            called: asyncio.Future[None] = loop.create_future()
            await asyncio.to_thread(engine.call_from_thread, called.set_result, None)
            await asyncio.wait_for(called, LONG)
        embedded.close()

    asyncio.run(main())


def test_in_asyncio_it_does_not_spin(engine: Engine) -> None:
    async def main() -> None:
        embedded = InAsyncio(engine)
        await asyncio.sleep(0.02)
        before = embedded.turns
        fired: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        engine.defer(0.05, fired.set_result, None)
        await asyncio.wait_for(fired, LONG)
        # Woken when it was scheduled, and run when it was due; asyncio's clock may be early by its resolution.
        assert embedded.turns - before <= 4
        embedded.close()

    asyncio.run(main())
