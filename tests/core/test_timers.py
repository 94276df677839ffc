"""Timers: callbacks, loops, deferreds and cycles (manual: "Timers"), in a time that the tests set."""

from __future__ import annotations

import gc
import math
import tracemalloc
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pants.engine import Engine

ExpectLog = Callable[[str], None]


class Clockwork(Engine):
    """An engine whose clock stands still unless it is moved."""

    now = 1000.0

    def clock(self) -> float:
        return self.now

    def later(self, seconds: float) -> None:
        """Let time pass, and make one turn."""
        self.now += seconds
        self.poll(0)


@pytest.fixture
def engine() -> Iterator[Clockwork]:
    engine = Clockwork()
    yield engine
    engine.close()


# Each schedules a function and its arguments so that it runs on the next turn.
KINDS: dict[str, Callable[..., Callable[[], None]]] = {
    "callback": lambda engine, *args, **kwargs: engine.callback(*args, **kwargs),
    "loop": lambda engine, *args, **kwargs: engine.loop(*args, **kwargs),
    "defer": lambda engine, *args, **kwargs: engine.defer(1.0, *args, **kwargs),
    "cycle": lambda engine, *args, **kwargs: engine.cycle(1.0, *args, **kwargs),
}
ONCE = ["callback", "defer"]
REPEATED = ["loop", "cycle"]


@pytest.fixture(params=list(KINDS))
def schedule(request: pytest.FixtureRequest, engine: Clockwork) -> Callable[..., Callable[[], None]]:
    kind = KINDS[request.param]
    return lambda *args, **kwargs: kind(engine, *args, **kwargs)


# --- What each kind is ---------------------------------------------------------------------------------------------


def test_a_callback_runs_once_on_the_next_turn(engine: Clockwork) -> None:
    calls: list[str] = []
    engine.callback(calls.append, "spam")
    assert calls == []
    engine.poll(0)
    assert calls == ["spam"]
    engine.poll(0)
    assert calls == ["spam"]


def test_a_loop_runs_on_each_turn(engine: Clockwork) -> None:
    calls: list[str] = []
    engine.loop(calls.append, "spam")
    for turns in range(1, 4):
        engine.poll(0)
        assert calls == ["spam"] * turns


def test_a_deferred_runs_once_after_its_delay(engine: Clockwork) -> None:
    calls: list[str] = []
    engine.defer(2.5, calls.append, "spam")
    engine.poll(0)
    engine.later(2.4)
    assert calls == []
    engine.later(0.2)
    assert calls == ["spam"]
    engine.later(100)
    assert calls == ["spam"]


def test_a_cycle_runs_at_regular_intervals(engine: Clockwork) -> None:
    calls: list[float] = []
    engine.cycle(2.0, lambda: calls.append(engine.now))
    for _ in range(14):
        engine.later(0.5)
    assert calls == [1002.0, 1004.0, 1006.0]


def test_a_delay_of_0_runs_on_the_next_turn(engine: Clockwork) -> None:
    calls: list[int] = []
    engine.defer(0, calls.append, 1)
    engine.defer(0.0, calls.append, 2)
    assert calls == []
    engine.poll(0)
    assert calls == [1, 2]


def test_positional_and_keyword_arguments_are_passed_on(schedule: Any, engine: Clockwork) -> None:
    calls: list[Any] = []

    def function(*args: Any, **kwargs: Any) -> None:
        calls.append((args, kwargs))

    schedule(function, 1, 2, foo="bar")
    schedule(function)
    engine.later(1.0)
    assert calls == [((1, 2), {"foo": "bar"}), ((), {})]


def test_arguments_may_have_the_names_of_the_methods_own(engine: Clockwork) -> None:
    seen: list[Any] = []
    engine.callback(lambda **kwargs: seen.append(kwargs), delay=1, interval=2, args=3, kwargs=4)
    engine.poll(0)
    assert seen == [{"delay": 1, "interval": 2, "args": 3, "kwargs": 4}]


def test_any_callable_will_do(schedule: Any, engine: Clockwork) -> None:
    class Callable_:
        calls = 0

        def __call__(self) -> None:
            self.calls += 1

        def __eq__(self, other: object) -> bool:
            raise AssertionError("timers must not be told apart by equality")

        __hash__ = None  # type: ignore[assignment]

    function = Callable_()
    schedule(function)
    engine.later(1.0)
    assert function.calls == 1


# --- Order ---------------------------------------------------------------------------------------------------------


def test_equal_deadlines_run_in_the_order_of_scheduling(engine: Clockwork) -> None:
    calls: list[int] = []
    for number in range(100):
        engine.defer(1.0, calls.append, number)
    engine.later(1.0)
    assert calls == list(range(100))


def test_different_deadlines_run_in_the_order_of_time(engine: Clockwork) -> None:
    calls: list[int] = []
    for delay in (5, 1, 4, 2, 3):
        engine.defer(delay, calls.append, delay)
    engine.later(10)
    assert calls == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("kind", ["callback", "loop"])
def test_those_of_each_turn_run_in_the_order_of_scheduling(kind: str, engine: Clockwork) -> None:
    calls: list[int] = []
    for number in range(10):
        KINDS[kind](engine, calls.append, number)
    engine.poll(0)
    assert calls == list(range(10))


def test_a_callback_made_by_a_callback_waits_for_the_next_turn(engine: Clockwork) -> None:
    turns: list[int] = []

    def again() -> None:
        turns.append(len(turns))
        engine.callback(again)

    engine.callback(again)
    engine.poll(0)
    assert turns == [0]
    engine.poll(0)
    assert turns == [0, 1]


def test_a_loop_made_by_a_loop_waits_for_the_next_turn(engine: Clockwork) -> None:
    calls: list[str] = []

    def outer() -> None:
        if not calls:
            engine.loop(calls.append, "inner")
        calls.append("outer")

    engine.loop(outer)
    engine.poll(0)
    assert calls == ["outer"]
    engine.poll(0)
    assert calls == ["outer", "outer", "inner"]


def test_time_to_timer(engine: Clockwork) -> None:
    assert engine.time_to_timer() is None
    cancel_loop = engine.loop(int)
    assert engine.time_to_timer() is None  # loops do not count
    cancel_far = engine.defer(30, int)
    cancel_near = engine.cycle(10, int)
    engine.now += 4
    assert engine.time_to_timer() == 6.0
    cancel_near()
    assert engine.time_to_timer() == 26.0
    engine.now += 100
    assert engine.time_to_timer() == 0.0
    cancel_far()
    assert engine.time_to_timer() is None
    cancel = engine.callback(int)
    assert engine.time_to_timer() == 0.0
    cancel_loop()
    cancel()


def test_time_to_timer_knows_no_cancelled_callback(engine: Clockwork) -> None:
    cancel = engine.callback(int)
    cancel()
    assert engine.time_to_timer() is None


# --- Cancelling ----------------------------------------------------------------------------------------------------


def test_cancelled_it_does_not_run(schedule: Any, engine: Clockwork) -> None:
    calls: list[int] = []
    cancel = schedule(calls.append, 1)
    assert cancel() is None
    engine.later(1.0)
    assert calls == []


def test_cancelled_twice_it_does_not_mind(schedule: Any, engine: Clockwork) -> None:
    calls: list[int] = []
    others = [schedule(calls.append, 0)]
    cancel = schedule(calls.append, 1)
    others.append(schedule(calls.append, 2))
    cancel()
    cancel()
    engine.later(1.0)
    assert calls == [0, 2]
    cancel()
    for other in others:
        other()
        other()


@pytest.mark.parametrize("kind", REPEATED)
def test_what_repeats_is_cancelled_between_two_runs(kind: str, engine: Clockwork) -> None:
    calls: list[int] = []
    cancel = KINDS[kind](engine, calls.append, 1)
    engine.later(1.0)
    engine.later(1.0)
    cancel()
    engine.later(1.0)
    assert calls == [1, 1]
    assert engine.time_to_timer() is None


def test_cancelled_from_inside_itself(schedule: Any, engine: Clockwork) -> None:
    calls: list[int] = []

    def function() -> None:
        calls.append(1)
        cancel()
        cancel()

    cancel = schedule(function)
    for _ in range(3):
        engine.later(1.0)
    assert calls == [1]
    assert engine.time_to_timer() is None


def test_cancelled_from_inside_another_in_the_same_turn(schedule: Any, engine: Clockwork) -> None:
    calls: list[str] = []
    cancels: list[Callable[[], None]] = []
    schedule(lambda: [cancel() for cancel in cancels])
    cancels.append(schedule(calls.append, "cancelled"))
    schedule(calls.append, "left")
    engine.later(1.0)
    assert calls == ["left"]


def test_cancelled_after_it_ran_it_leaves_others_alone(engine: Clockwork) -> None:
    calls: list[int] = []
    cancels = [engine.defer(1.0, calls.append, number) for number in range(10)]
    engine.later(1.0)
    engine.defer(1.0, calls.append, 10)
    for cancel in cancels:
        cancel()
    engine.later(1.0)
    assert calls == list(range(11))


# --- References ----------------------------------------------------------------------------------------------------


class Thing:
    """Something that a weak reference can be made to."""

    def method(self, *_: object) -> None: ...


def test_references_are_kept_until_it_has_run(engine: Clockwork) -> None:
    for kind in ONCE:
        thing, argument = Thing(), Thing()
        references = [weakref.ref(thing), weakref.ref(argument)]
        KINDS[kind](engine, thing.method, argument)
        del thing, argument
        gc.collect()
        assert all(reference() is not None for reference in references)
        engine.later(1.0)
        assert all(reference() is None for reference in references)


def test_references_are_let_go_when_it_is_cancelled(schedule: Any) -> None:
    thing, argument, named = Thing(), Thing(), Thing()
    references = [weakref.ref(each) for each in (thing, argument, named)]
    cancel = schedule(thing.method, argument, name=named)
    del thing, argument, named
    gc.disable()
    try:
        assert all(reference() is not None for reference in references)
        cancel()
        assert all(reference() is None for reference in references)  # at once, and though `cancel` is kept
    finally:
        gc.enable()


def test_references_are_let_go_when_it_ran_though_cancel_is_kept(engine: Clockwork) -> None:
    for kind in ONCE:
        thing = Thing()
        reference = weakref.ref(thing)
        cancel = KINDS[kind](engine, thing.method)
        del thing
        engine.later(1.0)
        assert reference() is None
        cancel()


def test_references_are_let_go_when_the_engine_closes(schedule: Any, engine: Clockwork) -> None:
    thing = Thing()
    reference = weakref.ref(thing)
    cancel = schedule(thing.method)
    del thing
    engine.close()
    assert reference() is None
    cancel()


def test_cancelling_many_gives_their_memory_back(engine: Clockwork) -> None:
    calls: list[int] = []
    engine.defer(3600, calls.append, 1)
    tracemalloc.start()
    try:
        base = tracemalloc.get_traced_memory()[0]
        cancels = [engine.defer(3600, calls.append, 2) for _ in range(100_000)]
        full = tracemalloc.get_traced_memory()[0] - base
        for cancel in cancels:
            cancel()
        del cancels, cancel
        assert tracemalloc.get_traced_memory()[0] - base < full / 20
    finally:
        tracemalloc.stop()
    engine.later(3600)
    assert calls == [1]


def test_many_set_and_cancelled_in_turn_do_not_pile_up(engine: Clockwork) -> None:
    """As connections do whose deadlines are put off again and again."""
    cancels = [engine.defer(3600, int) for _ in range(100)]
    tracemalloc.start()
    try:
        for number in range(50_000):
            cancels[number % 100]()
            cancels[number % 100] = engine.defer(3600, int)
        assert tracemalloc.get_traced_memory()[0] < 1 << 18
    finally:
        tracemalloc.stop()


def test_cancelling_many_from_inside_one_that_is_due_with_them(engine: Clockwork) -> None:
    """The heap may be rebuilt while it is being run."""
    calls: list[int] = []
    cancels: list[Callable[[], None]] = []

    def cancel_most() -> None:
        calls.append(-1)
        for cancel in cancels[: 2 * len(cancels) // 3]:
            cancel()

    engine.defer(1.0, cancel_most)
    cancels += [engine.defer(1.0, calls.append, number) for number in range(3000)]
    engine.later(1.0)
    assert calls == [-1, *range(2000, 3000)]
    assert engine.time_to_timer() is None


@given(st.lists(st.tuples(st.integers(0, 20), st.booleans()), max_size=300), st.randoms(use_true_random=False))
@settings(max_examples=50, deadline=None)
def test_what_is_not_cancelled_runs_in_order(timers: list[tuple[int, bool]], random: Any) -> None:
    engine = Clockwork()
    calls: list[tuple[int, int]] = []
    cancels = []
    for number, (delay, cancelled) in enumerate(timers):
        cancel = engine.defer(delay, calls.append, (delay, number))
        if cancelled:
            cancels.append(cancel)
    random.shuffle(cancels)
    for cancel in cancels:
        cancel()
    for _ in range(21):
        engine.later(1.0)
    assert calls == sorted((delay, number) for number, (delay, cancelled) in enumerate(timers) if not cancelled)
    engine.close()


# --- Cycles keep their rhythm ----------------------------------------------------------------------------------------


def test_a_cycle_does_not_drift(engine: Clockwork) -> None:
    """Each run is a little late; the deadlines stay where they were."""
    calls: list[float] = []
    engine.cycle(1.0, lambda: calls.append(engine.now))
    for number in range(1, 50):
        engine.now = 1000.0 + number + 0.3
        engine.poll(0)
        assert engine.time_to_timer() == pytest.approx(0.7)
    assert len(calls) == 49


def test_a_cycle_that_takes_long_keeps_its_rhythm(engine: Clockwork) -> None:
    calls: list[float] = []

    def slow() -> None:
        calls.append(engine.now)
        engine.now += 2.5

    engine.cycle(1.0, slow)
    engine.later(1.0)
    engine.poll(0)  # at 1003.5: those of 1002 and 1003 are late, and run as one
    assert calls == [1001.0, 1003.5]


def test_a_cycle_does_not_catch_up(engine: Clockwork) -> None:
    calls: list[float] = []
    engine.cycle(1.0, lambda: calls.append(engine.now))
    engine.later(10.25)
    assert calls == [1010.25]
    engine.poll(0)
    assert calls == [1010.25]
    assert engine.time_to_timer() == 0.75
    engine.later(0.75)
    assert calls == [1010.25, 1011.0]


def test_a_cycle_runs_once_a_turn_whatever_rounding_does(engine: Clockwork) -> None:
    engine.now = 0.0
    calls: list[float] = []
    engine.cycle(0.7, lambda: calls.append(engine.now))
    engine.now = 5.6  # 8 * 0.7, and (5.6 - 0.7) // 0.7 is 6
    engine.poll(0)
    assert calls == [5.6]


@given(
    interval=st.floats(1e-6, 1e6, allow_nan=False),
    start=st.floats(0, 1e7),
    steps=st.lists(st.integers(0, 50), min_size=1, max_size=20),
)
@settings(max_examples=200, deadline=None)
def test_a_cycle_runs_at_most_once_a_turn(interval: float, start: float, steps: list[int]) -> None:
    engine = Clockwork()
    engine.now = start
    calls: list[float] = []

    def function() -> None:
        calls.append(engine.now)
        if len(calls) > 100:
            raise SystemExit("it runs for ever")

    engine.cycle(interval, function)
    for step in steps:
        before = len(calls)
        engine.later(step * interval)
        assert len(calls) - before <= 1
        if step > 1:
            assert len(calls) - before == 1
        left = engine.time_to_timer()
        assert left is not None
        assert 0 <= left <= interval + math.ulp(engine.now) * 4
    engine.close()


@pytest.mark.parametrize("interval", [1e-9, 1e-12, 1e-15, 1e-300, 5e-324])
@pytest.mark.parametrize("now", [0.0, 1.0, 1e6, 1e9])
def test_a_tiny_interval_does_not_keep_the_loop(interval: float, now: float, engine: Clockwork) -> None:
    engine.now = now
    calls: list[float] = []

    def function() -> None:
        calls.append(engine.now)
        if len(calls) > 100:
            raise SystemExit("it runs for ever")

    engine.cycle(interval, function)
    for turns in range(1, 4):
        engine.later(1.0)
        assert len(calls) == turns


# --- Errors --------------------------------------------------------------------------------------------------------


def test_an_exception_is_logged_and_the_others_run(schedule: Any, engine: Clockwork, expect_log: ExpectLog) -> None:
    expect_log("ZeroDivisionError")
    calls: list[int] = []
    schedule(lambda: 1 // 0)
    schedule(calls.append, 1)
    engine.later(1.0)
    assert calls == [1]


@pytest.mark.parametrize("kind", REPEATED)
def test_what_repeats_stays_scheduled_after_an_exception(kind: str, engine: Clockwork, expect_log: ExpectLog) -> None:
    expect_log("spam in my function")
    calls: list[int] = []

    def my_function() -> None:
        calls.append(1)
        raise LookupError("spam in my function")

    cancel = KINDS[kind](engine, my_function)
    for _ in range(3):
        engine.later(1.0)
    assert calls == [1, 1, 1]
    cancel()
    engine.later(1.0)
    assert calls == [1, 1, 1]


def test_the_log_names_the_function(schedule: Any, engine: Clockwork, expect_log: ExpectLog) -> None:
    def my_failing_function() -> None:
        raise ValueError

    expect_log("ERROR.*my_failing_function")
    schedule(my_failing_function)
    engine.later(1.0)


def test_what_is_no_exception_leaves_poll_and_loses_no_timer(schedule: Any, engine: Clockwork) -> None:
    calls: list[str] = []
    failing = [True]

    def leave() -> None:
        calls.append("leave")
        if failing:
            failing.clear()
            raise SystemExit

    schedule(calls.append, "before")
    schedule(leave)
    schedule(calls.append, "after")
    with pytest.raises(SystemExit):
        engine.later(1.0)
    assert calls == ["before", "leave"]
    engine.later(0)
    assert "after" in calls


@pytest.mark.parametrize("kind", REPEATED)
def test_what_repeats_stays_scheduled_after_what_is_no_exception(kind: str, engine: Clockwork) -> None:
    calls: list[int] = []

    def leave() -> None:
        calls.append(1)
        raise KeyboardInterrupt

    KINDS[kind](engine, leave)
    for turns in range(1, 4):
        with pytest.raises(KeyboardInterrupt):
            engine.later(1.0)
        assert len(calls) == turns


# --- Wrong arguments -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [None, 17, "spam", object()], ids=repr)
def test_what_cannot_be_called_is_refused_at_once(schedule: Any, value: Any, engine: Clockwork) -> None:
    with pytest.raises(TypeError) as caught:
        schedule(value)
    assert repr(value) in str(caught.value)
    assert engine.time_to_timer() is None


@pytest.mark.parametrize("method", ["defer", "cycle"])
@pytest.mark.parametrize("value", ["1", None, b"1", 1j, [1], True], ids=repr)
def test_a_time_that_is_no_number_is_refused_at_once(method: str, value: Any, engine: Clockwork) -> None:
    with pytest.raises(TypeError) as caught:
        getattr(engine, method)(value, int)
    assert repr(value) in str(caught.value)
    assert ("delay" if method == "defer" else "interval") in str(caught.value)
    assert engine.time_to_timer() is None


@pytest.mark.parametrize("method", ["defer", "cycle"])
@pytest.mark.parametrize("value", [-1, -0.001, math.inf, -math.inf, math.nan, 10**400], ids=repr)
def test_a_time_that_cannot_be_is_refused_at_once(method: str, value: Any, engine: Clockwork) -> None:
    with pytest.raises(ValueError) as caught:
        getattr(engine, method)(value, int)
    assert repr(value) in str(caught.value)
    assert ("delay" if method == "defer" else "interval") in str(caught.value)
    assert engine.time_to_timer() is None


@pytest.mark.parametrize("value", [0, 0.0, -0.0])
def test_an_interval_of_0_is_refused(value: float, engine: Clockwork) -> None:
    with pytest.raises(ValueError, match=r"interval .* above 0"):
        engine.cycle(value, int)


def test_the_function_is_wanted(engine: Clockwork) -> None:
    for call in (engine.callback, engine.loop, lambda: engine.defer(1), lambda: engine.cycle(1)):  # type: ignore[call-arg]
        with pytest.raises(TypeError):
            call()  # type: ignore[call-arg]


def test_methods_can_be_named_in_keywords(engine: Clockwork) -> None:
    calls: list[int] = []
    engine.defer(delay=1.0, function=lambda: calls.append(1))
    engine.cycle(interval=1.0, function=lambda: calls.append(2))
    engine.callback(function=lambda: calls.append(3))
    engine.loop(function=lambda: calls.append(4))
    engine.later(1.0)
    assert sorted(calls) == [1, 2, 3, 4]
