"""Timers: what is run on the next turn, on every turn, after a time, and again and again.

The delayed ones wait in a heap of ``(deadline, number, timer)`` tuples. A cancelled one stays in it, emptied, until
its time comes or until such entries are more than half of the heap, which is then rebuilt: cancelling costs O(1)
amortised, scheduling and firing O(log n).
"""

from __future__ import annotations

import heapq
import logging
import math
from collections import deque
from collections.abc import Callable
from typing import Any

log = logging.getLogger("pants")

_heappush = heapq.heappush

# Seconds: some 30 million years. It keeps NaN, infinities and integers too large for a float out of the heap.
LONGEST = 1e15

# Below this many entries a rebuild saves nothing worth having.
_SMALL_HEAP = 64


def check_callable(function: object) -> None:
    """Raise the TypeError of every method that takes a function to call later."""
    if not callable(function):
        raise TypeError(f"a callable is needed, not {function!r}; pass the function itself, uncalled")


def check_seconds(value: float, name: str, *, zero: bool) -> None:
    """Raise unless ``value`` is a finite number of seconds, above zero or (with ``zero``) not below it."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} is a number of seconds, not {value!r}")
    if not 0 <= value <= LONGEST or (value == 0 and not zero):
        limit = "0 or more" if zero else "above 0"
        raise ValueError(f"{name} is a finite number of seconds, {limit}, not {value!r}")


class Timer:
    """A scheduled call. Calling the timer cancels it; doing so again, or after it has run, does nothing."""

    __slots__ = ("args", "function", "kwargs", "timers")

    def __init__(
        self, timers: Timers | None, function: Callable[..., object], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        self.timers = timers  # only the delayed ones have a heap to count in
        self.function: Callable[..., object] | None = function
        self.args = args
        self.kwargs = kwargs

    def __call__(self) -> None:
        """Cancel, and let go of the function and its arguments at once."""
        if self.function is not None:
            timers = self.timers
            self.finish()
            if timers is not None:
                timers.count_cancelled()

    def finish(self) -> None:
        """Let go of everything; the timer will not run (again)."""
        self.function = self.timers = None
        self.args = self.kwargs = ()  # type: ignore[assignment]

    def run(self) -> None:
        """Make the call; what it raises is logged."""
        function = self.function
        if function is not None:
            try:
                function(*self.args, **self.kwargs)
            except Exception:
                log.exception("A timer failed: %r", function)


class Loop(Timer):
    """A timer that is run again and again. While its function polls the engine, it is not entered anew."""

    __slots__ = ("running",)

    def __init__(
        self, timers: Timers | None, function: Callable[..., object], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        super().__init__(timers, function, args, kwargs)
        self.running = False

    def run(self) -> None:
        """Make the call, unless it is being made."""
        if not self.running:
            self.running = True
            try:
                super().run()
            finally:
                self.running = False


class Cycle(Loop):
    """A loop that goes into the heap for each run, ``interval`` seconds after its last deadline."""

    __slots__ = ("interval",)

    def __init__(
        self,
        timers: Timers,
        interval: float,
        function: Callable[..., object],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> None:
        super().__init__(timers, function, args, kwargs)
        self.interval = interval


class Timers:
    """All timers of one engine."""

    __slots__ = ("_cancelled", "_clock", "_count", "callbacks", "halted", "heap", "loops")

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.heap: list[tuple[float, int, Timer]] = []
        self._count = 0  # the second item of each entry: equal deadlines run in the order of scheduling
        self._cancelled = 0
        self.halted = False  # set to leave run_callbacks() after the call that is being made
        self.callbacks: deque[Timer] = deque()
        self.loops: list[Loop] = []

    def callback(self, function: Callable[..., object], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Timer:
        """Run once, on the next turn."""
        check_callable(function)
        timer = Timer(None, function, args, kwargs)
        self.callbacks.append(timer)
        return timer

    def loop(self, function: Callable[..., object], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Timer:
        """Run on every turn."""
        check_callable(function)
        timer = Loop(None, function, args, kwargs)
        self.loops.append(timer)
        return timer

    def defer(
        self, delay: float, function: Callable[..., object], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Timer:
        """Run once, ``delay`` seconds from now."""
        # The common case in one comparison; whatever fails it is looked at closely.
        if not (delay.__class__ is float and 0.0 <= delay <= LONGEST):
            check_seconds(delay, "delay", zero=True)
        if not callable(function):
            check_callable(function)
        timer = Timer(self, function, args, kwargs)
        self._count = count = self._count + 1
        _heappush(self.heap, (self._clock() + delay, count, timer))
        return timer

    def cycle(
        self, interval: float, function: Callable[..., object], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Timer:
        """Run every ``interval`` seconds, first ``interval`` seconds from now."""
        check_seconds(interval, "interval", zero=False)
        check_callable(function)
        timer = Cycle(self, interval, function, args, kwargs)
        self._push(self._clock() + interval, timer)
        return timer

    def _push(self, deadline: float, timer: Timer) -> None:
        self._count += 1
        _heappush(self.heap, (deadline, self._count, timer))

    def count_cancelled(self) -> None:
        """Note that an entry of the heap is empty now; drop all such where they are the greater part."""
        self._cancelled = cancelled = self._cancelled + 1
        if cancelled > _SMALL_HEAP and cancelled * 2 > len(self.heap):
            # In place, for run_due() may be at work on this very list.
            self.heap[:] = [entry for entry in self.heap if entry[2].function is not None]
            heapq.heapify(self.heap)
            self._cancelled = 0

    def run_callbacks(self) -> None:
        """Run the callbacks that were scheduled before this call."""
        callbacks = self.callbacks
        for _ in range(len(callbacks)):
            if callbacks and not self.halted:  # a nested poll() may have taken the rest
                timer = callbacks.popleft()
                timer.run()
                timer.finish()

    def run_loops(self) -> None:
        """Run the loops."""
        for timer in tuple(self.loops):
            if not self.halted:
                timer.run()
        self.loops[:] = [timer for timer in self.loops if timer.function is not None]

    def run_due(self, now: float) -> None:
        """Run the delayed timers whose deadline is not after ``now``."""
        heap = self.heap
        pop = heapq.heappop
        while heap and heap[0][0] <= now and not self.halted:
            deadline, _, timer = pop(heap)
            function = timer.function
            if function is None:
                self._cancelled -= 1
            elif isinstance(timer, Cycle):
                self._run_cycle(deadline, timer, now)
            else:
                args, kwargs = timer.args, timer.kwargs
                timer.finish()  # first: to cancel it from inside is to do nothing
                try:
                    function(*args, **kwargs)
                except Exception:
                    log.exception("A timer failed: %r", function)

    def _run_cycle(self, deadline: float, timer: Cycle, now: float) -> None:
        # Back into the heap before the call, so that it stays scheduled whatever leaves the call, and so that a cancel
        # from inside finds it in the heap like any other. Deadlines that have passed meanwhile are skipped, the rhythm
        # is kept.
        interval = timer.interval
        now = max(self._clock(), now)
        following = deadline + interval * ((now - deadline) // interval + 1)
        if following <= now:  # by rounding
            following += interval
        if not now < following <= now + 2 * interval:  # the interval is less than the clock can tell apart
            following = math.nextafter(now, math.inf)
        self._push(following, timer)
        timer.run()

    def next_in(self) -> float | None:
        """Seconds until something is to run; 0 if it is due, None if nothing is scheduled.

        Loops do not count: they run on each turn, but do not cause one.
        """
        callbacks, heap = self.callbacks, self.heap
        while callbacks:
            if callbacks[0].function is not None:
                return 0.0
            callbacks.popleft()
        while heap:
            if heap[0][2].function is not None:
                return max(0.0, heap[0][0] - self._clock())
            heapq.heappop(heap)
            self._cancelled -= 1
        return None

    def clear(self) -> None:
        """Drop everything."""
        for timer in [*self.callbacks, *self.loops, *(entry[2] for entry in self.heap)]:
            timer.finish()
        self.callbacks.clear()
        self.loops.clear()
        self.heap.clear()
        self._cancelled = 0
