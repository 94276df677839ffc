"""The engine's loop: turns, starting and stopping, errors, nested polls, other threads, the end (manual: "Engine")."""

from __future__ import annotations

import contextlib
import doctest
import gc
import itertools
import math
import os
import socket
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

import pytest

import pants
import pants.engine
from pants import Server, Stream
from pants.engine import READ, Engine, Select
from pants.testing import MemoryEngine, connected_pair, run_until
from tests.core.support import give_up

ExpectLog = Callable[[str], None]

# How long something that must happen may take, in seconds; only a failing test waits as long as this.
LONG = 20.0


# --- The global engine -----------------------------------------------------------------------------------------------


def test_the_global_engine() -> None:
    assert isinstance(Engine.instance(), Engine)
    assert Engine.instance() is Engine.instance()


def test_the_package_exports_what_the_manual_says() -> None:
    assert pants.Engine is Engine
    assert pants.Stream is Stream
    assert pants.Server is Server


def test_the_global_engine_is_one_for_subclasses_too() -> None:
    class MyEngine(Engine):
        pass

    mine = MyEngine.instance()
    assert isinstance(mine, MyEngine)
    assert Engine.instance() is mine


def test_a_closed_global_engine_is_replaced() -> None:
    first = Engine.instance()
    first.close()
    second = Engine.instance()
    assert second is not first
    second.poll(0)


def test_making_an_engine_leaves_the_global_one_alone(engine: Engine) -> None:
    assert Engine.instance() is not engine


def test_channels_are_added_to_the_global_engine() -> None:
    with connected_pair() as (first, second):
        assert first.engine is Engine.instance()
        assert second.engine is Engine.instance()
    server = Server()
    assert server.engine is Engine.instance()


def test_channels_are_added_to_the_engine_given(engine: Engine) -> None:
    server = Server(engine=engine).listen(("127.0.0.1", 0))
    client = Stream(engine=engine).connect(server.local_address)
    run_until(lambda: server.channels and client.connected, engine=engine)
    [accepted] = server.channels.values()
    assert server.engine is client.engine is accepted.engine is engine


@pytest.mark.parametrize("make", [Stream, Server])
def test_what_is_no_engine_is_refused(make: Any) -> None:
    with pytest.raises(TypeError, match="not 'spam'"):
        make(engine="spam")


def test_several_engines_do_not_mix(engine: Engine) -> None:
    calls: list[str] = []
    other = Engine()
    engine.callback(calls.append, "first")
    other.callback(calls.append, "second")
    engine.poll(0)
    assert calls == ["first"]
    other.poll(0)
    assert calls == ["first", "second"]
    other.close()


def test_an_engine_in_an_engine(engine: Engine) -> None:
    inner = Engine()
    inner.defer(0, inner.stop)
    seen: list[str] = []

    def run_inner() -> None:
        inner.start()
        seen.append("inner has stopped")
        engine.stop()

    engine.callback(run_inner)
    engine.start(LONG)
    assert seen == ["inner has stopped"]
    inner.close()


def test_an_engine_of_another_thread() -> None:
    seen: list[Any] = []

    def work() -> None:
        engine = Engine()
        engine.callback(lambda: seen.append(threading.get_ident()))
        engine.defer(0.01, engine.stop)
        engine.start(None)
        engine.close()
        seen.append("done")

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(LONG)
    assert seen == [thread.ident, "done"]


def test_the_poller_is_optional_and_can_be_named(engine: Engine) -> None:
    other = Engine(poller=Select())
    assert "Select" in repr(other)
    other.close()


def test_an_engine_is_collected(engine: Engine) -> None:
    other = Engine()
    other.defer(1000, int)
    reference = weakref.ref(other)
    other.close()
    del other
    gc.collect()
    assert reference() is None


# --- Starting and stopping -------------------------------------------------------------------------------------------


def test_start_blocks_until_stop(engine: Engine) -> None:
    calls: list[int] = []
    engine.cycle(0.001, calls.append, 1)
    engine.loop(lambda: engine.stop() if len(calls) > 3 else None)
    engine.start()
    assert len(calls) > 3


def test_start_runs_turns_without_any_event(engine: Engine) -> None:
    """By default there are several a second, for loops; poll_timeout is what is between two of them."""
    turns: list[float] = []

    def turn() -> None:
        turns.append(time.monotonic())
        if len(turns) == 4:
            engine.stop()

    engine.loop(turn)
    engine.start(0.01)
    assert all(later - earlier >= 0.01 for earlier, later in itertools.pairwise(turns[1:]))


def test_the_default_of_start_is_a_fifth_of_a_second(engine: Engine) -> None:
    turns: list[float] = []

    def turn() -> None:
        turns.append(time.monotonic())
        if len(turns) == 3:
            engine.stop()

    engine.loop(turn)
    engine.start()
    assert turns[-1] - turns[-2] >= 0.2 or turns[1] - turns[0] >= 0.2


def test_stop_lets_the_turn_end(engine: Engine) -> None:
    calls: list[str] = []
    engine.callback(engine.stop)
    engine.callback(calls.append, "callback")
    engine.defer(0, calls.append, "deferred")
    engine.loop(calls.append, "loop")
    engine.start(None)
    assert sorted(calls) == ["callback", "deferred", "loop"]


def test_stop_twice_is_as_good_as_once(engine: Engine) -> None:
    engine.callback(engine.stop)
    engine.callback(engine.stop)
    engine.start(None)


def test_stop_without_start_does_nothing(engine: Engine) -> None:
    calls: list[int] = []
    engine.stop()
    engine.poll(0)
    engine.callback(engine.stop)  # in poll(), which nobody has started
    engine.poll(0)
    engine.defer(0.01, calls.append, 1)
    engine.defer(0.02, engine.stop)
    engine.start(None)
    assert calls == [1]


def test_it_can_be_started_again(engine: Engine) -> None:
    calls: list[int] = []
    for number in range(3):
        engine.defer(0.001, calls.append, number)
        engine.defer(0.002, engine.stop)
        engine.start()
    assert calls == [0, 1, 2]


def test_what_is_scheduled_survives_a_stop(engine: Engine) -> None:
    calls: list[str] = []
    engine.defer(0.01, calls.append, "deferred")
    engine.cycle(0.01, calls.append, "cycle")
    engine.callback(engine.stop)
    engine.start()
    assert calls == []
    engine.defer(0.015, engine.stop)
    engine.start()
    assert {"deferred", "cycle"} <= set(calls)


def test_stop_from_a_hook(engine: Engine) -> None:
    class Stopper(Stream):
        def on_read(self, data: bytes) -> None:
            self.engine.stop()

    with connected_pair(Stopper, engine=engine) as (_, client):
        client.write(b"stop")
        engine.start(None)


def test_start_inside_start_is_refused(engine: Engine) -> None:
    caught: list[BaseException] = []

    def nested() -> None:
        try:
            engine.start()
        except RuntimeError as error:
            caught.append(error)
        engine.stop()

    engine.callback(nested)
    engine.start()
    assert "running" in str(caught[0])
    engine.callback(engine.stop)
    engine.start()  # and the refusal has left no trace


def test_start_inside_poll_is_refused(engine: Engine, expect_log: ExpectLog) -> None:
    expect_log("RuntimeError.*running")
    engine.callback(engine.start)
    engine.poll(0)


BAD_TIMEOUTS = [
    (-1, ValueError),
    (-1.0, ValueError),
    (-1e-9, ValueError),
    (math.nan, ValueError),
    (math.inf, ValueError),
    (-math.inf, ValueError),
    (10**400, ValueError),
    (1e300, ValueError),
    ("1", TypeError),
    (b"", TypeError),
    ((), TypeError),
    (True, TypeError),
    (1j, TypeError),
]


@pytest.mark.parametrize("method", ["start", "poll"])
@pytest.mark.parametrize("value,error", BAD_TIMEOUTS, ids=repr)
def test_a_wrong_timeout_is_refused(method: str, value: Any, error: type[Exception], engine: Engine) -> None:
    calls: list[int] = []
    engine.callback(calls.append, 1)
    engine.call_from_thread(engine.stop)
    with pytest.raises(error, match="poll_timeout") as caught:
        getattr(engine, method)(value)
    assert repr(value) in str(caught.value)
    assert calls == []
    engine.poll(0)
    assert calls == [1]


@pytest.mark.parametrize("value", [0, 0.0, 0.001, 1, None])
def test_timeouts(value: Any, engine: Engine) -> None:
    engine.callback(engine.stop)
    engine.start(value)
    engine.callback(int)
    engine.call_from_thread(int)
    engine.poll(value)


def test_the_names_of_the_arguments(engine: Engine) -> None:
    engine.callback(engine.stop)
    engine.start(poll_timeout=0.1)
    engine.poll(poll_timeout=0)


def test_repr(engine: Engine) -> None:
    assert "idle" in repr(engine)
    seen: list[str] = []
    engine.callback(lambda: seen.append(repr(engine)))
    engine.callback(engine.stop)
    engine.start()
    assert "running" in seen[0]
    with connected_pair(engine=engine):
        assert "2 descriptors" in repr(engine)
    engine.close()
    assert "closed" in repr(engine)


# --- Turns -----------------------------------------------------------------------------------------------------------


def test_poll_0_does_not_wait(engine: Engine) -> None:
    began = time.monotonic()
    engine.poll(0)
    assert time.monotonic() - began < LONG / 2


def test_poll_waits_no_longer_than_told(engine: Engine) -> None:
    engine.defer(3600, int)
    engine.poll(0)
    began = time.monotonic()
    engine.poll(0.02)
    assert 0.02 <= time.monotonic() - began < LONG


def test_a_scheduled_callback_ends_no_more_than_one_wait(engine: Engine) -> None:
    """What wakes the loop is not left behind, or the loop would spin."""
    for _ in range(3):
        engine.callback(int)
    engine.poll(0)
    began = time.monotonic()
    engine.poll(0.02)
    engine.poll(0.02)
    assert time.monotonic() - began >= 0.02


def test_timers_run_before_events(engine: Engine) -> None:
    order: list[str] = []

    class Reader(Stream):
        def on_read(self, data: bytes) -> None:
            order.append("event")

    with connected_pair(Reader, engine=engine) as (_, client):
        client.write(b"spam", flush=True)
        engine.callback(order.append, "callback")
        run_until(lambda: len(order) == 2, engine=engine)
    assert order == ["callback", "event"]


def test_events_are_passed_on_while_timers_keep_coming(engine: Engine) -> None:
    """A callback that always schedules itself does not keep the loop to itself."""
    received: list[bytes] = []

    class Reader(Stream):
        def on_read(self, data: bytes) -> None:
            received.append(data)

    def again() -> None:
        engine.callback(again)

    with connected_pair(Reader, engine=engine) as (_, client):
        again()
        engine.loop(again)
        client.write(b"spam")
        run_until(lambda: received == [b"spam"], engine=engine)


def test_timers_run_while_events_keep_coming(engine: Engine) -> None:
    class Echo(Stream):
        def on_read(self, data: bytes) -> None:
            self.write(data)

    calls: list[int] = []
    with connected_pair(Echo, Echo, engine=engine) as (first, _):
        first.write(b"spam")
        cancel = engine.cycle(0.001, calls.append, 1)
        run_until(lambda: len(calls) > 5, engine=engine)
        cancel()


def test_two_that_always_answer_let_others_have_their_turn(engine: Engine) -> None:
    class Echo(Stream):
        def on_read(self, data: bytes) -> None:
            self.write(data)

        def on_write(self) -> None:
            self.write(b"more")

    received: list[bytes] = []

    class Reader(Stream):
        def on_read(self, data: bytes) -> None:
            received.append(data)

    with connected_pair(Echo, Echo, engine=engine) as (first, _), connected_pair(Reader, engine=engine) as (_, client):
        first.write(b"spam")
        client.write(b"eggs")
        run_until(lambda: received, engine=engine)


def test_the_time_of_a_turn(engine: Engine) -> None:
    engine.poll(0)
    before = time.monotonic()
    engine.poll(0.001)
    assert before <= engine.time <= time.monotonic()


def test_attention_is_given_before_the_wait(engine: Engine) -> None:
    order: list[str] = []
    engine.attend(lambda: order.append("attended"))
    assert engine.time_to_timer() == 0.0
    engine.poll(None)
    assert order == ["attended"]


def test_attention_asked_for_meanwhile_is_given_without_a_wait(engine: Engine) -> None:
    order: list[int] = []

    def attend() -> None:
        order.append(1)
        if len(order) < 5:
            engine.attend(attend)

    engine.attend(attend)
    while len(order) < 5:
        engine.poll(None)
    assert order == [1] * 5


def test_a_handler_may_take_out_another_of_the_same_batch(engine: Engine) -> None:
    pipes = [os.pipe() for _ in range(2)]
    seen: list[int] = []

    def handler(_events: int) -> None:
        seen.append(1)
        for reader, _ in pipes:
            engine.unwatch(reader)

    for reader, writer in pipes:
        engine.watch(reader, READ, handler)
        os.write(writer, b"x")
    engine.poll(LONG)
    engine.poll(0)
    assert seen == [1]
    for fd in itertools.chain(*pipes):
        os.close(fd)


# --- Errors ----------------------------------------------------------------------------------------------------------


def test_an_exception_in_a_hook_harms_nobody_else(engine: Engine, expect_log: ExpectLog) -> None:
    expect_log("ZeroDivisionError")

    class Bad(Stream):
        def on_read(self, data: bytes) -> None:
            raise ZeroDivisionError

    received: list[bytes] = []

    class Good(Stream):
        def on_read(self, data: bytes) -> None:
            received.append(data)

    with (
        connected_pair(Bad, engine=engine) as (bad, to_bad),
        connected_pair(Good, engine=engine) as (_, to_good),
    ):
        to_bad.write(b"spam")
        to_good.write(b"eggs")
        run_until(lambda: bad.closed and received, engine=engine)
    assert received == [b"eggs"]


def test_an_uncontained_exception_leaves_start(engine: Engine) -> None:
    """What a handler of `watch` raises, since no channel is there to contain it."""
    reader, writer = os.pipe()

    def handler(_events: int) -> None:
        raise LookupError("spam")

    engine.watch(reader, READ, handler)
    os.write(writer, b"x")
    with pytest.raises(LookupError, match="spam"):
        engine.start(None)
    with pytest.raises(LookupError, match="spam"):
        engine.poll(0)
    engine.unwatch(reader)
    os.close(reader)
    os.close(writer)
    engine.callback(engine.stop)
    engine.start()


class Leaving(Stream):
    """Leaves the loop by SystemExit in the hooks named in `leave_in`, once each."""

    leave_in: tuple[str, ...] = ()

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.left = list(self.leave_in)
        self.life: list[Any] = []

    def happened(self, hook: str, *args: Any) -> None:
        self.life.append((hook, *args))
        if hook in self.left:
            self.left.remove(hook)
            raise SystemExit(hook)

    def on_connect(self) -> None:
        self.happened("on_connect")

    def on_read(self, data: bytes) -> None:
        self.write(data.upper())
        self.happened("on_read", data)

    def on_write(self) -> None:
        self.happened("on_write")

    def on_end(self) -> None:
        self.close()
        self.happened("on_end")

    def on_close(self) -> None:
        self.happened("on_close")


@pytest.mark.parametrize("hook", ["on_connect", "on_read", "on_write", "on_end", "on_close"])
def test_what_is_no_exception_leaves_start_and_nothing_is_lost(hook: str, engine: Engine) -> None:
    mine, other = socket.socketpair()
    other.settimeout(LONG)
    other.sendall(b"spam\neggs\nham\n")
    other.shutdown(socket.SHUT_WR)

    class Mine(Leaving):
        leave_in = (hook,)

    stream = Mine(engine=engine, socket=mine)
    stream.read_delimiter = b"\n"
    with pytest.raises(SystemExit, match=hook):
        engine.start(None)
    with contextlib.suppress(AssertionError):  # told below by what is missing
        run_until(lambda: stream.closed, engine=engine, timeout=2.0)
    hooks = [name for name, *_ in stream.life]
    assert [rest for name, *rest in stream.life if name == "on_read"] == [[b"spam"], [b"eggs"], [b"ham"]]
    assert hooks.count("on_connect") == hooks.count("on_end") == hooks.count("on_close") == 1
    assert hooks[-1] == "on_close"
    received = b""
    while data := other.recv(100):
        received += data
    assert received == b"SPAMEGGSHAM"
    other.close()
    run_until(lambda: not engine.lingering, engine=engine)


def test_what_is_no_exception_loses_no_other_channel_s_events(engine: Engine) -> None:
    received: list[bytes] = []

    class Reader(Stream):
        def on_read(self, data: bytes) -> None:
            received.append(data)
            if len(received) == 1:
                raise SystemExit

    with contextlib.ExitStack() as stack:
        pairs = [stack.enter_context(connected_pair(Reader, engine=engine)) for _ in range(5)]
        for number, (_, client) in enumerate(pairs):
            client.write(b"%d" % number, flush=True)
        with pytest.raises(SystemExit):
            engine.start(None)
        assert len(received) == 1
        run_until(lambda: len(received) == 5, engine=engine)
        assert sorted(received) == [b"0", b"1", b"2", b"3", b"4"]


def test_what_is_no_exception_loses_no_call_from_a_thread(engine: Engine) -> None:
    calls: list[int] = []
    engine.call_from_thread(give_up)
    engine.call_from_thread(calls.append, 1)
    engine.call_from_thread(engine.stop)
    with pytest.raises(SystemExit):
        engine.start(None)
    engine.start(None)
    assert calls == [1]


def test_a_timer_that_leaves_start_leaves_it_startable(engine: Engine) -> None:
    calls: list[int] = []
    engine.callback(give_up)
    engine.callback(calls.append, 1)
    engine.callback(engine.stop)
    with pytest.raises(SystemExit):
        engine.start()
    engine.start()
    assert calls == [1]


# --- Nested polls ----------------------------------------------------------------------------------------------------


def test_a_hook_may_wait_for_another_channel(engine: Engine) -> None:
    """As a blocking fetch inside a request handler does."""
    answers: list[bytes] = []

    class Backend(Stream):
        def on_read(self, data: bytes) -> None:
            self.write(data.upper())

    class Fetcher(Stream):
        def on_read(self, data: bytes) -> None:
            answers.append(data)

    with connected_pair(Backend, Fetcher, engine=engine) as (_, fetcher):

        class Front(Stream):
            def on_read(self, data: bytes) -> None:
                fetcher.write(data)
                while not answers:
                    self.engine.poll(None)
                self.write(answers.pop())

        received: list[bytes] = []

        class Client(Stream):
            def on_read(self, data: bytes) -> None:
                received.append(data)

        with connected_pair(Front, Client, engine=engine) as (_, client):
            client.write(b"spam")
            run_until(lambda: received == [b"SPAM"], engine=engine)


def test_the_channel_whose_hook_polls_is_not_entered_again(engine: Engine) -> None:
    life: list[str] = []

    class Busy(Stream):
        def on_read(self, data: bytes) -> None:
            life.append(f"in {data.decode()}")
            if data == b"1":
                client.write(b"2")
                done: list[int] = []
                engine.defer(0.02, done.append, 1)
                while not done:
                    engine.poll(None)
            life.append(f"out {data.decode()}")

        def on_end(self) -> None:
            life.append("end")
            self.close()

    with connected_pair(Busy, engine=engine) as (busy, client):
        client.write(b"1")
        run_until(lambda: "out 2" in life, engine=engine)
        client.close()
        run_until(lambda: busy.closed, engine=engine)
    assert life == ["in 1", "out 1", "in 2", "out 2", "end"]


def test_what_was_written_before_a_nested_poll_goes_out_in_it(engine: Engine) -> None:
    answers: list[bytes] = []

    class Asking(Stream):
        def on_read(self, data: bytes) -> None:
            self.write(b"a question")
            while not answers:
                engine.poll(None)

    class Answering(Stream):
        def on_read(self, data: bytes) -> None:
            answers.append(data)

    with connected_pair(Asking, Answering, engine=engine) as (_, client):
        client.write(b"go")
        run_until(lambda: answers, engine=engine)
        assert answers == [b"a question"]


def test_other_events_of_the_batch_are_handled_once(engine: Engine) -> None:
    received: list[bytes] = []

    class Reader(Stream):
        def on_read(self, data: bytes) -> None:
            received.append(data)
            if len(received) == 1:
                while len(received) < 5:
                    engine.poll(None)

    with contextlib.ExitStack() as stack:
        pairs = [stack.enter_context(connected_pair(Reader, engine=engine)) for _ in range(5)]
        for number, (_, client) in enumerate(pairs):
            client.write(b"%d" % number, flush=True)
        run_until(lambda: len(received) == 5, engine=engine)
        for _ in range(3):
            engine.poll(0)
        assert sorted(received) == [b"0", b"1", b"2", b"3", b"4"]


def test_a_channel_closed_in_a_nested_poll(engine: Engine) -> None:
    life: list[str] = []

    class Busy(Stream):
        def on_read(self, data: bytes) -> None:
            engine.callback(self.close)
            for _ in range(3):
                engine.poll(0)
            life.append("out of on_read")

        def on_close(self) -> None:
            life.append("on_close")

    with connected_pair(Busy, engine=engine) as (busy, client):
        client.write(b"spam")
        run_until(lambda: busy.closed, engine=engine)
    assert life == ["out of on_read", "on_close"]


def test_a_hook_may_wait_for_a_timer(engine: Engine) -> None:
    life: list[str] = []

    class Slow(Stream):
        def on_read(self, data: bytes) -> None:
            engine.defer(0.02, life.append, "timer")
            while "timer" not in life:
                engine.poll(None)
            life.append("read")

    with connected_pair(Slow, engine=engine) as (_, client):
        client.write(b"spam")
        run_until(lambda: "read" in life, engine=engine)
    assert life == ["timer", "read"]


@pytest.mark.parametrize("hook", ["on_connect", "on_read", "on_write", "on_end", "on_close", "a timer"])
def test_a_hook_that_waits_does_not_spin(hook: str, engine: Engine) -> None:
    polls: list[int] = []
    done: list[int] = []

    def wait() -> None:
        for delay in (0.02, 0.04, 0.06):
            engine.defer(delay, done.append, 1)
        while len(done) < 3:
            polls.append(1)
            engine.poll(None)

    class Waiting(Stream):
        def on_read(self, data: bytes) -> None:
            self.write(data)

        def on_end(self) -> None:
            self.close()

    if hook == "a timer":
        engine.defer(0.01, wait)
        run_until(lambda: done, engine=engine)
    else:
        mine, other = socket.socketpair()
        other.send(b"spam")
        other.shutdown(socket.SHUT_WR)
        stream = Waiting(engine=engine, socket=mine)
        usual = getattr(stream, hook)

        def waiting(*args: Any) -> None:
            wait()
            usual(*args)

        setattr(stream, hook, waiting)
        run_until(lambda: stream.closed and done, engine=engine)
        other.close()
        run_until(lambda: not engine.lingering, engine=engine)
    assert len(polls) <= 12


@pytest.mark.parametrize("delay", [0, 0.02])
def test_a_timer_may_be_waited_for(delay: float, engine: Engine) -> None:
    done: list[int] = []
    engine.defer(delay, done.append, 1)
    while not done:
        engine.poll(None)


def test_timers_run_in_a_nested_poll(engine: Engine) -> None:
    order: list[str] = []

    def outer() -> None:
        order.append("outer in")
        engine.defer(0, order.append, "deferred")
        while "deferred" not in order:
            engine.poll(None)
        order.append("outer out")

    engine.callback(outer)
    engine.callback(order.append, "next callback")
    engine.poll(0)
    engine.poll(0)
    assert order == ["outer in", "next callback", "deferred", "outer out"]


def test_due_timers_behind_one_that_polls_run_once(engine: Engine) -> None:
    order: list[int] = []

    def outer() -> None:
        order.append(0)
        engine.poll(0)

    engine.defer(0, outer)
    for number in range(1, 4):
        engine.defer(0, order.append, number)
    engine.poll(0)
    engine.poll(0)
    assert order == [0, 1, 2, 3]


@pytest.mark.parametrize("kind", ["loop", "cycle"])
def test_what_repeats_is_not_entered_again_while_it_polls(kind: str) -> None:
    engine = MemoryEngine()
    depth = 0
    depths: list[int] = []

    def function() -> None:
        nonlocal depth
        depth += 1
        depths.append(depth)
        if depth < 5:
            for _ in range(3):
                engine.poll(1.0)
        depth -= 1

    if kind == "loop":
        engine.loop(function)
    else:
        engine.cycle(1.0, function)
    for _ in range(6):
        engine.poll(1.0)
    assert set(depths) == {1}
    assert len(depths) >= 2
    engine.close()


def test_attention_behind_one_that_polls_is_given_once(engine: Engine) -> None:
    order: list[int] = []

    def outer() -> None:
        order.append(0)
        engine.poll(0)

    engine.attend(outer)
    engine.attend(lambda: order.append(1))
    engine.poll(0)
    engine.poll(0)
    assert order == [0, 1]


def test_a_call_from_a_thread_may_wait_for_the_next_one(engine: Engine) -> None:
    calls: list[int] = []

    def waits() -> None:
        while not calls:
            engine.poll(None)
        calls.append(2)

    engine.call_from_thread(waits)
    engine.call_from_thread(calls.append, 1)
    engine.poll(None)
    run_until(lambda: calls == [1, 2], engine=engine)


def test_stop_in_a_nested_poll(engine: Engine) -> None:
    order: list[str] = []

    def outer() -> None:
        engine.callback(engine.stop)
        engine.poll(None)
        order.append("out")

    engine.callback(outer)
    engine.start(None)
    assert order == ["out"]


def test_an_error_in_a_nested_poll_comes_out_of_it(engine: Engine) -> None:
    reader, writer = os.pipe()

    def handler(_events: int) -> None:
        engine.unwatch(reader)
        raise LookupError("spam")

    engine.watch(reader, READ, handler)
    caught: list[Exception] = []

    def outer() -> None:
        os.write(writer, b"x")
        try:
            engine.poll(LONG)
        except LookupError as error:
            caught.append(error)

    engine.callback(outer)
    engine.poll(0)
    assert len(caught) == 1
    os.close(reader)
    os.close(writer)


# --- Other threads ---------------------------------------------------------------------------------------------------


def test_call_from_thread_runs_in_the_engine_s_thread(engine: Engine) -> None:
    seen: list[Any] = []

    def function(*args: int) -> None:
        seen.append((threading.get_ident(), args))
        engine.stop()

    thread = threading.Thread(target=engine.call_from_thread, args=[function, 1, 2])
    engine.callback(thread.start)
    engine.start(None)  # which would hang if it were not woken
    thread.join()
    assert seen == [(threading.get_ident(), (1, 2))]


def test_calls_from_several_threads_are_made_in_order(engine: Engine) -> None:
    threads_, each = 8, 500
    asked: list[tuple[int, int]] = []
    made: list[tuple[int, int]] = []
    lock = threading.Lock()

    def made_one(call: tuple[int, int]) -> None:
        made.append(call)
        if len(made) == threads_ * each:
            engine.stop()

    def work(thread: int) -> None:
        for number in range(each):
            with lock:
                asked.append((thread, number))
                engine.call_from_thread(made_one, (thread, number))

    threads = [threading.Thread(target=work, args=[number]) for number in range(threads_)]
    for thread in threads:
        thread.start()
    engine.start(None)
    for thread in threads:
        thread.join()
    assert made == asked


def test_each_call_from_a_thread_wakes_it(engine: Engine) -> None:
    """One at a time, each asked for when the loop has gone back to waiting, or is about to."""
    answered = threading.Semaphore(0)

    def work() -> None:
        for _ in range(2000):
            engine.call_from_thread(answered.release)
            if not answered.acquire(timeout=LONG):
                break
        engine.call_from_thread(engine.stop)

    thread = threading.Thread(target=work)
    thread.start()
    engine.start(None)
    thread.join()


def test_an_exception_in_a_call_from_a_thread_is_logged(engine: Engine, expect_log: ExpectLog) -> None:
    expect_log("ZeroDivisionError")
    engine.call_from_thread(lambda: 1 // 0)
    engine.call_from_thread(engine.stop)
    engine.start(None)


def test_a_call_from_a_thread_that_asks_for_another(engine: Engine) -> None:
    """The next one waits for the next turn, so that other things have theirs."""
    calls: list[int] = []

    def again() -> None:
        calls.append(1)
        engine.call_from_thread(again)

    engine.call_from_thread(again)
    for _ in range(5):
        engine.poll(0)
    assert 2 <= len(calls) <= 10


@pytest.mark.parametrize("value", [None, "spam", 17], ids=repr)
def test_call_from_thread_wants_a_callable(value: Any, engine: Engine) -> None:
    with pytest.raises(TypeError) as caught:
        engine.call_from_thread(value)
    assert repr(value) in str(caught.value)


def test_many_calls_without_a_turn(engine: Engine) -> None:
    """More than a pipe holds bytes."""
    calls: list[int] = []
    for number in range(100_000):
        engine.call_from_thread(calls.append, number)
    run_until(lambda: len(calls) == 100_000, engine=engine)
    assert calls == list(range(100_000))


# --- The end ---------------------------------------------------------------------------------------------------------


def test_close_gives_all_descriptors_back() -> None:
    before = set(os.listdir("/dev/fd"))
    engine = Engine()
    server = Server(engine=engine).listen(("127.0.0.1", 0))
    client = Stream(engine=engine).connect(server.local_address)
    run_until(lambda: client.connected and server.channels, engine=engine)
    engine.close()
    assert set(os.listdir("/dev/fd")) == before


def test_close_twice(engine: Engine) -> None:
    engine.close()
    engine.close()


@pytest.mark.parametrize(
    "use",
    [
        lambda engine: engine.poll(0),
        lambda engine: engine.start(),
        lambda engine: engine.call_from_thread(int),
        lambda engine: engine.add_signal_handler(10, int),
    ],
    ids=["poll", "start", "call_from_thread", "add_signal_handler"],
)
def test_a_closed_engine_says_so(use: Callable[[Engine], Any], engine: Engine) -> None:
    engine.close()
    with pytest.raises(RuntimeError, match="closed"):
        use(engine)


def test_close_while_it_runs_is_refused(engine: Engine) -> None:
    caught: list[str] = []

    def close() -> None:
        try:
            engine.close()
        except RuntimeError as error:
            caught.append(str(error))
        engine.stop()

    engine.callback(close)
    engine.start()
    assert "stop()" in caught[0]
    engine.poll(0)  # nothing has been closed


class Recorder(Stream):
    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.life: list[str] = []

    def on_connect(self) -> None:
        self.life.append("connect")

    def on_close(self) -> None:
        self.life.append("close")


def _idle(stream: Recorder, peer: socket.socket) -> None:
    pass


def _blocked(stream: Recorder, peer: socket.socket) -> None:
    stream.write(bytes(1 << 24))
    stream.engine.poll(0)
    assert stream.queued_bytes


def _unsent(stream: Recorder, peer: socket.socket) -> None:
    stream.write(b"spam")


def _closing(stream: Recorder, peer: socket.socket) -> None:
    stream.write(bytes(1 << 24))
    stream.close()
    stream.engine.poll(0)
    assert not stream.closed


def _paused(stream: Recorder, peer: socket.socket) -> None:
    stream.pause_reading()
    stream.engine.poll(0)


def _paused_and_hung_up(stream: Recorder, peer: socket.socket) -> None:
    stream.pause_reading()
    peer.sendall(b"last words")
    peer.close()
    for _ in range(3):
        stream.engine.poll(0)
    assert not stream.closed


def _half_closed(stream: Recorder, peer: socket.socket) -> None:
    stream.on_end = lambda: None
    peer.shutdown(socket.SHUT_WR)
    stream.engine.poll(0)
    stream.engine.poll(0)


@pytest.mark.parametrize(
    "state",
    [_idle, _blocked, _unsent, _closing, _paused, _paused_and_hung_up, _half_closed],
    ids=lambda state: state.__name__.strip("_"),
)
def test_close_closes_each_channel(state: Callable[[Recorder, socket.socket], None], engine: Engine) -> None:
    mine, peer = socket.socketpair()
    stream = Recorder(engine=engine, socket=mine)
    engine.poll(0)
    state(stream, peer)
    engine.close()
    assert stream.life == ["connect", "close"]
    assert stream.closed
    assert mine.fileno() == -1
    peer.close()


def test_close_closes_a_channel_that_the_loop_has_not_seen(engine: Engine) -> None:
    mine, peer = socket.socketpair()
    stream = Recorder(engine=engine, socket=mine)
    engine.close()
    assert stream.life[-1] == "close"
    assert mine.fileno() == -1
    peer.close()


def test_close_closes_a_channel_that_is_connecting(engine: Engine) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        stream = Recorder(engine=engine).connect(listener.getsockname())
        engine.close()
        assert stream.closed
        assert stream.life == ["close"]


def test_close_closes_servers(engine: Engine) -> None:
    life: list[str] = []

    class MyServer(Server):
        def on_close(self) -> None:
            life.append("close")

    server = MyServer(engine=engine).listen(("127.0.0.1", 0))
    engine.close()
    assert life == ["close"]
    with socket.socket() as sock:
        assert sock.connect_ex(server.local_address) != 0


def test_close_drops_what_is_scheduled(engine: Engine) -> None:
    calls: list[int] = []
    engine.callback(calls.append, 1)
    engine.defer(0, calls.append, 2)
    engine.loop(calls.append, 3)
    engine.cycle(1, calls.append, 4)
    engine.call_from_thread(calls.append, 5)
    engine.close()
    assert calls == []


def test_a_closed_engine_writes_nowhere(engine: Engine) -> None:
    """Its descriptors may have become those of other files."""
    number = engine._wake_writer
    engine.close()
    reader, writer = os.pipe()
    if writer != number:
        os.dup2(writer, number)
    os.set_blocking(reader, False)
    for schedule in (
        lambda: engine.callback(int),
        lambda: engine.loop(int),
        lambda: engine.defer(1, int),
        lambda: engine.cycle(1, int),
        lambda: engine.attend(int),
        lambda: engine.call_from_thread(int),
    ):
        with contextlib.suppress(RuntimeError):
            schedule()
    with pytest.raises(BlockingIOError):
        os.read(reader, 1)
    for fd in {reader, writer, number}:
        os.close(fd)


def test_an_on_close_that_fails_does_not_stop_the_closing(engine: Engine, expect_log: ExpectLog) -> None:
    expect_log("ZeroDivisionError")

    class Bad(Recorder):
        def on_close(self) -> None:
            super().on_close()
            raise ZeroDivisionError

    streams = []
    peers = []
    for _ in range(3):
        mine, peer = socket.socketpair()
        streams.append(Bad(engine=engine, socket=mine))
        peers.append(peer)
    engine.poll(0)
    engine.close()
    assert [stream.life for stream in streams] == [["connect", "close"]] * 3
    for peer in peers:
        peer.close()


def test_channels_that_are_made_while_it_closes_are_closed_too(engine: Engine) -> None:
    peers: list[socket.socket] = []
    closed: list[int] = []

    class Reconnecting(Stream):
        def on_close(self) -> None:
            closed.append(1)
            if len(peers) < 4:
                make()

    def make() -> None:
        mine, peer = socket.socketpair()
        peers.append(peer)
        Reconnecting(engine=engine, socket=mine)

    make()
    engine.poll(0)
    engine.close()
    assert len(closed) == len(peers) == 4
    for peer in peers:
        peer.close()


def test_attention_that_is_always_asked_for_anew_does_not_keep_it_from_closing(engine: Engine) -> None:
    def again() -> None:
        engine.attend(again)

    again()
    engine.close()


def test_the_examples() -> None:
    results = doctest.testmod(pants.engine)
    assert results.attempted > 0
    assert results.failed == 0


# --- Several threads ----------------------------------------------------------------------------------------------


def test_the_thread_that_runs_an_engine(engine: Engine) -> None:
    seen: list[int | None] = [engine.thread]
    engine.callback(lambda: seen.append(engine.thread))
    engine.poll(0)
    seen.append(engine.thread)
    engine.callback(lambda: seen.append(engine.thread))
    engine.callback(engine.stop)
    engine.start()
    seen.append(engine.thread)
    me = threading.get_ident()
    assert seen == [None, me, None, me, None]


def waiting(engine: Engine, over: threading.Event) -> threading.Thread:
    """A thread that polls an engine, as whoever waits for something in a thread does, until it is told to stop."""

    def wait() -> None:
        with contextlib.suppress(RuntimeError):  # start() has taken over
            while not over.is_set():
                engine.poll(None)

    thread = threading.Thread(target=wait)
    thread.start()
    while engine.thread is None:
        pass
    return thread


def test_start_takes_over_from_a_thread_that_polls(engine: Engine) -> None:
    over = threading.Event()
    thread = waiting(engine, over)
    me = threading.get_ident()

    def look() -> None:
        if engine.thread == me:
            over.set()
            engine.stop()

    engine.call_from_thread(engine.cycle, 0.01, look)
    engine.start()
    thread.join(30)
    assert not thread.is_alive()


def test_poll_takes_over_from_a_thread_that_polls(engine: Engine) -> None:
    over = threading.Event()
    thread = waiting(engine, over)
    over.set()
    engine.poll(0)
    thread.join(30)
    assert not thread.is_alive()


def test_poll_does_not_take_over_from_start(engine: Engine) -> None:
    raised: list[Exception] = []

    def intrude() -> None:
        try:
            engine.poll(0)
        except RuntimeError as error:
            raised.append(error)
        engine.call_from_thread(engine.stop)

    thread = threading.Thread(target=intrude)
    engine.callback(thread.start)
    engine.start()
    thread.join(30)
    assert "call_from_thread" in str(raised[0])


def test_a_call_inside(engine: Engine) -> None:
    """What it does is done as if the engine had called it, unless another thread runs the engine."""
    seen: list[Any] = []

    def call() -> None:
        seen.append(engine.thread == threading.get_ident())
        engine.poll(0)
        engine.run_inside(lambda: seen.append("again"))
        with pytest.raises(RuntimeError):
            engine.start()

    assert engine.run_inside(call)
    assert seen == [True, "again"]
    assert engine.thread is None
    over = threading.Event()
    thread = waiting(engine, over)
    assert not engine.run_inside(lambda: seen.append("never"))
    over.set()
    engine.poll(0)
    thread.join(30)
    assert seen == [True, "again"]


def test_a_nested_poll_waits_though_the_engine_was_stopped(engine: Engine) -> None:
    """stop() makes start() return; what a hook waits for by polling is still waited for."""
    turns = 0

    def hook() -> None:
        nonlocal turns
        engine.stop()
        done: list[bool] = []
        engine.defer(0.05, done.append, True)
        while not done:
            engine.poll(None)
            turns += 1

    engine.callback(hook)
    engine.start()
    assert turns < 5
