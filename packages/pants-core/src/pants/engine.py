"""Asynchronous event processing and timer scheduling (manual: "pants.engine").

One turn of an engine (`Engine.poll`): callbacks and loops, a wait in the poller, the events found there, each handed to
the handler of its descriptor, then the timers that are due. What channels left for the loop (`Engine.attend`) is done
before the wait and at the end.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from types import FrameType
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable
from weakref import WeakSet

from pants._pollers import ERROR, HANGUP, READ, WRITE, Epoll, Kqueue, Poller, Select, best_poller
from pants._timers import Timer, Timers, check_callable, check_seconds

if TYPE_CHECKING:
    from pants._channel import Channel
    from pants._linger import Linger

__all__ = ["ERROR", "HANGUP", "READ", "WRITE", "Engine", "Epoll", "Host", "Kqueue", "Poller", "Select"]

# Seconds. What goes beyond is more than the kernel's call can take; a turn a day for nothing costs nothing.
LONGEST_WAIT = 86400.0

# Seconds between two times that a thread is asked to leave the engine to this one.
_CLAIM_PACE = 0.01

# How often close() looks for channels that are left, those included that hooks have made meanwhile.
CLOSING_ROUNDS = 10

Handler = Callable[[int], object]
SignalHandler = Callable[[int, FrameType | None], Any] | int | None


@runtime_checkable
class Suspendable(Protocol):
    """What has handlers, and is left alone while one of them polls."""

    def _suspend(self) -> None:
        """Be left alone from now on."""

    def _resume(self) -> None:
        """Go on."""


@runtime_checkable
class Closable(Protocol):
    """What owns a watched descriptor and ends with the engine."""

    def _abort(self) -> None:
        """Close at once."""


class Host(Protocol):
    """Another loop that runs an engine inside it, a toolkit's for example (see `Engine.embed`).

    It calls ``poll(0)`` when `Engine.fileno` turns readable and when `Engine.time_to_timer` has passed. Its methods
    are called in the thread that called `Engine.embed`.
    """

    def turn_begins(self) -> None:
        """A turn begins, in which a hook may run the host's loop anew (a dialog).

        What is scheduled in that hook does not make the descriptor readable, and what the hook's own channel receives
        keeps it readable. So until `turn_ends`, ``poll(0)`` is to be called every so often instead.
        """

    def turn_ends(self) -> None:
        """The turn is over, whoever called `Engine.poll`: a timer may be due at another time than before."""

    def failed(self, error: Exception) -> None:
        """A handler given to `Engine.watch` raised this. The turn goes on; the next may well fail in the same way."""

    def stop(self) -> None:
        """`Engine.stop` was called: leave the loop."""

    def release(self) -> None:
        """The engine is closing, or was taken back by `Engine.embed`: call it no more, and forget its descriptor."""


class Engine:
    """The asynchronous engine: an event loop with timers (manual: "Engine").

    Most programs use the global engine, `Engine.instance`. Others can be made, one for each thread at most that runs
    one; a channel belongs to the engine given to its constructor. All methods but `call_from_thread` are for the
    engine's own thread.

    Args:
        poller: What to wait with, an object that follows the `Poller` protocol. By default the best of epoll, kqueue
            and select that the platform has.

    Raises:
        TypeError: ``poller`` does not follow the protocol.

    Example:
        >>> from pants import Engine
        >>> engine = Engine()
        >>> cancel = engine.defer(0.01, print, "this is printed")
        >>> cancel = engine.defer(0.02, engine.stop)
        >>> engine.start()
        this is printed
        >>> engine.close()
    """

    _instance: ClassVar[Engine | None] = None
    #: The time now, in seconds since some moment; `time` is that of the turn.
    clock: Callable[[], float] = staticmethod(time.monotonic)

    def __init__(self, poller: Poller | None = None) -> None:
        if poller is not None and not isinstance(poller, Poller):
            raise TypeError(f"poller is an object with the methods of pants.engine.Poller, not {poller!r}")
        self._poller = best_poller() if poller is None else poller
        self._wait = self._poller.poll
        self._timers = Timers(self.clock)
        # What there is to run, looked at in each turn. Timers keeps to these very objects.
        self._heap = self._timers.heap
        self._callbacks = self._timers.callbacks
        self._loops = self._timers.loops
        self._handlers: dict[int, Handler] = {}
        self._attention: deque[Callable[[], object]] = deque()
        self._postponed: list[tuple[Channel, Callable[[], object]]] = []
        self._thread_calls: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()
        self._batch: list[tuple[int, int]] = []
        # The channel one of whose hooks is running: what it writes is sent right after its event, and a nested poll()
        # keeps out of it.
        self.current: Channel | None = None
        # And the handler of the socket event being dealt with; a channel does not name itself then, to save the time.
        self._handler: Handler | None = None
        self.lingering: dict[int, Linger] = {}
        # Channels that hold a socket which is not being watched: to be closed with the engine nevertheless.
        self.dormant: set[Channel] = set()
        # The same for what may be forgotten: channels of which nobody may ever make use, clients.
        self.unused: WeakSet[Closable] = WeakSet()
        # The time of this turn, on the engine's clock, in seconds: for what need not be more exact than a turn.
        self.time = self.clock()
        #: The identifier (`threading.get_ident`) of the thread in which `start`, `poll` or a host is running, or None.
        self.thread: int | None = None
        self._host: Host | None = None
        self._host_thread: int | None = None
        self._host_resources = contextlib.ExitStack()
        self._lock_of_turns = threading.Lock()  # held by the thread that runs the engine
        self._turning = False
        self._started = False
        self._stopped = False
        self._interrupted = False
        self._presses = 0  # of Ctrl-C, since start() was called
        self._closed = False
        self._signalled = False
        # By signal: what there was before Pants, then what was given to add_signal_handler(), the last of which is run.
        self._signals: dict[int, list[SignalHandler]] = {}
        # Held by close() and call_from_thread(). Reentrant, for a signal may come in the middle of either.
        self._lock = threading.RLock()
        self._wake_reader, self._wake_writer = os.pipe()
        os.set_blocking(self._wake_reader, False)
        os.set_blocking(self._wake_writer, False)
        self.watch(self._wake_reader, READ, self._on_wake)

    def __repr__(self) -> str:
        state = "closed" if self._closed else "running" if self._started else "idle"
        return f"<{type(self).__name__} {state}, {type(self._poller).__name__}, {len(self._handlers) - 1} descriptors>"

    @classmethod
    def instance(cls) -> Engine:
        """Return the global engine, made when first asked for (manual: "Engine.instance")."""
        engine = Engine._instance
        if engine is None or engine._closed:
            engine = Engine._instance = cls()
        return engine

    # --- The loop ---------------------------------------------------------------------------------------------

    def start(self, poll_timeout: float | None = 0.2) -> None:
        """Run until `stop` is called, or until something is raised that is no `Exception` (manual: "Engine.start").

        In the main thread, Ctrl-C raises KeyboardInterrupt from here once the running hook has returned; pressed again
        it raises inside the hook. The engine can be started again after either.

        Args:
            poll_timeout: The longest wait of one turn, in seconds, and so the longest pause between two runs of a
                `loop`; None for no limit. Events and timers end a wait whatever it is.

        Raises:
            RuntimeError: The engine is running already, inside another loop for example (see `embed`), or closed.
        """
        self._check_open()
        if self._host is not None:
            raise RuntimeError("The engine runs inside another loop, which is to be run in its place (a Qt app.exec())")
        poll_timeout = _checked_timeout(poll_timeout)
        thread = threading.get_ident()
        if self._started or self.thread == thread or (self.thread is None and self._turning):
            raise RuntimeError("The engine is running already; to wait inside a hook, call poll() repeatedly")
        self._claim()
        try:
            self._started = True
            self.thread = thread
            self._run(poll_timeout)
        finally:
            self.thread = None
            self._lock_of_turns.release()

    def _claim(self) -> None:
        """Wait until no other thread polls the engine, and keep others from it.

        Raises:
            RuntimeError: Another thread has started it.
        """
        while not self._lock_of_turns.acquire(timeout=_CLAIM_PACE):
            if self._started:
                raise RuntimeError("The engine is running in another thread, which call_from_thread() reaches")
            self._wake()

    def run_inside(self, function: Callable[[], object]) -> bool:
        """Call a function in this thread as if the engine called it, unless another thread is running the engine.

        Returns:
            Whether it was called; if not, there is `call_from_thread`.

        Raises:
            Exception: Whatever it raises.
        """
        thread = threading.get_ident()
        if self.thread == thread:
            function()
            return True
        if self._host is not None or not self._lock_of_turns.acquire(blocking=False):
            return False
        self.thread = thread
        try:
            function()
        finally:
            self.thread = None
            self._lock_of_turns.release()
        return True

    def _run(self, poll_timeout: float) -> None:
        self._stopped = False
        self._forget_interrupt()
        try:
            with self._listening_to_signals():
                self._turning = True
                while not (self._stopped or self._interrupted):
                    self._turn(poll_timeout)
            if self._interrupted:
                raise KeyboardInterrupt
        finally:
            self._started = self._stopped = self._turning = False
            self.current = self._handler = None
            self._forget_interrupt()

    def stop(self) -> None:
        """Make `start` return when the turn under way is over; without a running `start`, do nothing.

        Inside another loop (see `embed`), that loop is asked to end.
        """
        if self._started:
            self._stopped = True
        elif self._host is not None:
            self._host.stop()

    def poll(self, poll_timeout: float | None) -> None:
        """Make one turn: wait for events, pass them on, run the timers that are due (manual: "Engine.poll").

        It may be called inside a hook, to wait there for something: the channel whose hook is running is not entered
        again before that hook returns.

        Args:
            poll_timeout: The longest time to wait for an event, in seconds; 0 does not wait, None has no limit.

        Raises:
            RuntimeError: The engine is closed, or runs in another thread.
            TypeError, ValueError: ``poll_timeout`` is not a number of seconds, 0 or more.
            KeyboardInterrupt: Ctrl-C was pressed while a hook was waiting like this, or a host ran the engine.
        """
        poll_timeout = _checked_timeout(poll_timeout)
        self._check_open()
        thread, host = threading.get_ident(), self._host
        if host is not None and thread != self._host_thread:
            raise RuntimeError("The engine runs inside a loop of another thread, which call_from_thread() reaches")
        is_inside = self._turning or self.current is not None or self._handler is not None
        if host is None and self.thread is not None:  # with a host, it is known between two turns as well
            is_inside = self.thread == thread
        if is_inside:
            self._poll_nested(poll_timeout)
        elif host is not None:
            self._poll_for_host(host, poll_timeout)
        else:
            self._poll_alone(poll_timeout)

    def _poll_alone(self, poll_timeout: float) -> None:
        self._claim()
        try:
            self._turning = True
            self.thread = threading.get_ident()
            self._turn(poll_timeout)
        finally:
            self._turning = False
            self.thread = self._host_thread
            self.current = self._handler = None
            self._lock_of_turns.release()

    def _poll_for_host(self, host: Host, poll_timeout: float) -> None:
        """Poll inside another loop, be it that which asks for it or some part of the program."""
        host.turn_begins()
        try:
            self._poll_alone(poll_timeout)
            if self._interrupted:
                raise KeyboardInterrupt
        finally:
            self._forget_interrupt()
            if self._host is not None:  # a hook may have taken the engine back
                self._host.turn_ends()

    def _turn(self, poll_timeout: float) -> None:  # noqa: C901 - the hot path: a part of it elsewhere is a call a turn
        # What is run before the wait may be what a hook is waiting for by polling, so then this turn does not wait.
        wait = poll_timeout
        if self._callbacks or self._loops or self._thread_calls or self._postponed:
            wait = self._run_before_wait(wait)
        if self._attention:
            self._attend_all()
            wait = 0.0
        if self._stopped or self._interrupted:
            wait = 0.0
        elif self._heap and wait:
            delay = self._timers.next_in()
            if delay is not None and delay < wait:
                wait = delay
        batch = self._batch = self._wait(wait)
        self.time = self.clock()
        if self._interrupted:
            return
        handlers = self._handlers
        for fd, events in batch:
            handler = handlers.get(fd)
            if handler is not None:
                self._handler = handler
                try:
                    handler(events)
                except Exception as error:  # noqa: BLE001 - most of them are raised again
                    self._handler_failed(error)
        self._handler = None
        if self._heap and self._heap[0][0] <= self.time:
            self._timers.run_due(self.time)
        if self._postponed:
            self._resume_postponed()
        if self._attention:
            self._attend_all()

    def _handler_failed(self, error: Exception) -> None:
        # Left early, a turn in another loop would leave out what follows it each time.
        if self._host is None:
            raise error
        self._host.failed(error)

    def _run_before_wait(self, wait: float) -> float:
        if self._thread_calls:
            self._make_thread_calls()
            wait = 0.0
        if self._callbacks:
            self._timers.run_callbacks()
            wait = 0.0
        if self._loops:
            self._timers.run_loops()
        if self._postponed:
            self._resume_postponed()
        return wait

    def _poll_nested(self, poll_timeout: float) -> None:
        handler, batch, turning = self._handler, self._batch, self._turning
        channel: Suspendable | None = self.current
        if channel is None and isinstance(owner := getattr(handler, "__self__", None), Suspendable):
            channel = owner
        self._turning = True
        if channel is not None:
            channel._suspend()
        outer, self.current, self._handler = self.current, None, None
        stopped, self._stopped = self._stopped, False  # that is for the outermost turn; this one may wait
        try:
            if not self._interrupted:
                self._turn(poll_timeout)
            if self._interrupted:
                raise KeyboardInterrupt
        finally:
            # What is left of it is out of date: a descriptor may have a new owner. Pollers are level-triggered, so what
            # still holds is reported again.
            batch.clear()
            self._batch = batch
            self._stopped = self._stopped or stopped
            self._turning = turning
            self.current, self._handler = outer, handler
            if channel is not None:
                channel._resume()

    def _attend_all(self) -> None:
        # Only what was left so far: what is added meanwhile waits for the next turn, or two channels that write to
        # each other would keep the loop here.
        attention = self._attention
        for _ in range(len(attention)):
            if attention and not self._interrupted:  # a nested poll() may have taken the rest
                attention.popleft()()

    # --- Timers -----------------------------------------------------------------------------------------------

    def callback(self, function: Callable[..., object], *args: Any, **kwargs: Any) -> Callable[[], None]:
        """Run ``function(*args, **kwargs)`` once, on the next turn (manual: "Engine.callback").

        Returns:
            A callable that cancels the callback.

        Raises:
            TypeError: ``function`` is not callable.
        """
        self._check_open()
        timer = self._timers.callback(function, args, kwargs)
        if not self._turning:
            self._wake()
        return timer

    def loop(self, function: Callable[..., object], *args: Any, **kwargs: Any) -> Callable[[], None]:
        """Run ``function(*args, **kwargs)`` on every turn (manual: "Engine.loop").

        A loop does not cause turns: where nothing else happens, they are ``poll_timeout`` apart (see `start`).

        Returns:
            A callable that cancels the loop.

        Raises:
            TypeError: ``function`` is not callable.
        """
        self._check_open()
        timer = self._timers.loop(function, args, kwargs)
        if not self._turning:
            self._wake()
        return timer

    def defer(self, delay: float, function: Callable[..., object], *args: Any, **kwargs: Any) -> Callable[[], None]:
        """Run ``function(*args, **kwargs)`` once, after a time (manual: "Engine.defer").

        Args:
            delay: Seconds, 0 or more.

        Returns:
            A callable that cancels it.

        Raises:
            TypeError: ``function`` is not callable, or ``delay`` is not a number.
            ValueError: ``delay`` is negative or not finite.
        """
        if self._closed:
            self._check_open()
        timer = self._timers.defer(delay, function, args, kwargs)
        if not self._turning:
            self._wake()
        return timer

    def cycle(self, interval: float, function: Callable[..., object], *args: Any, **kwargs: Any) -> Callable[[], None]:
        """Run ``function(*args, **kwargs)`` every ``interval`` seconds (manual: "Engine.cycle").

        A cycle keeps its rhythm. Where the loop was held up longer than an interval, the runs that were missed are
        skipped, not made up for.

        Args:
            interval: Seconds, above 0.

        Returns:
            A callable that cancels the cycle.

        Raises:
            TypeError: ``function`` is not callable, or ``interval`` is not a number.
            ValueError: ``interval`` is not above 0, or not finite.
        """
        self._check_open()
        timer = self._timers.cycle(interval, function, args, kwargs)
        if not self._turning:
            self._wake()
        return timer

    # --- Threads, signals, other loops --------------------------------------------------------------------------

    def call_from_thread(self, function: Callable[..., object], *args: Any) -> None:
        """Run ``function(*args)`` in the engine's thread, at once; for any thread, and for signal handlers.

        Calls are made in the order in which they were asked for. What one raises is logged, as with a timer.

        Raises:
            TypeError: ``function`` is not callable.
            RuntimeError: The engine is closed.
        """
        check_callable(function)
        with self._lock:  # close() may be at work in the engine's thread
            self._check_open()
            self._thread_calls.append((function, args))
            self._wake()

    def add_signal_handler(self, signum: int, function: Callable[..., object], *args: Any) -> Callable[[], None]:
        """Run ``function(*args)`` in the loop when the process gets the signal ``signum``.

        Unlike in a handler of the `signal` module, everything may be done there. The last one given for a signal is the
        one that is run.

        Returns:
            A callable that takes it back; then the one given before it is run again, or what there was before Pants.

        Raises:
            ValueError: This is not the main thread, or there is no such signal.
            TypeError: ``function`` is not callable.
        """
        check_callable(function)
        self._check_open()

        def arrived(_signum: int, _frame: FrameType | None) -> None:
            if not self._closed and arrived in handlers:
                self.call_from_thread(function, *args)

        previous = signal.signal(signum, arrived)
        if previous == self._on_interrupt:  # of a start() that may be over when it is put back
            previous = signal.default_int_handler
        handlers = self._signals.setdefault(signum, [previous])
        handlers.append(arrived)

        def cancel() -> None:
            if arrived in handlers:
                handlers.remove(arrived)
                if signal.getsignal(signum) is arrived:
                    signal.signal(signum, handlers[-1])

        return cancel

    @property
    def closed(self) -> bool:
        """Whether `close` has been called."""
        return self._closed

    def fileno(self) -> int | None:
        """A descriptor that turns readable when `poll` has events to pass on, for another loop to watch.

        That loop calls ``poll(0)`` when it turns readable, and when `time_to_timer` has passed. Whatever is scheduled
        or written outside `poll` makes it readable too. None where the poller has no such descriptor (select): then
        ``poll(0)`` is to be called by a timer. `embed` tells the engine of the loop, for what else concerns both.
        """
        return self._poller.fileno()

    def time_to_timer(self) -> float | None:
        """Seconds until a timer is due, 0.0 if one is due now, None if none is scheduled.

        Loops do not count: with any (see `has_loops`), the turns are as far apart as the loop that calls `poll` wants.
        """
        return 0.0 if self._attention or self._postponed else self._timers.next_in()

    @property
    def has_loops(self) -> bool:
        """Whether there are functions to run on every turn (see `loop`)."""
        return bool(self._loops)

    def embed(self, host: Host | None) -> None:
        """Be run by another loop from now on, in the present thread; or, with None, by itself again.

        `start` and other threads are refused then, and `stop` ends the other loop. In the main thread, Ctrl-C and other
        signals make `fileno` readable, and Ctrl-C raises KeyboardInterrupt from ``poll(0)`` rather than anywhere in the
        program; unless the program has a `signal.set_wakeup_fd` of its own, or a handler of its own for SIGINT.

        Args:
            host: The loop. It takes the place of a former one, which is told by `Host.release`.

        Raises:
            RuntimeError: The engine is closed, was started, or runs in another thread.
            KeyboardInterrupt: Ctrl-C was pressed after the last turn of the host that is taken away.
        """
        self._check_open()
        thread = threading.get_ident()
        in_run_inside = self._lock_of_turns.locked() and not self._turning
        if self._started or in_run_inside or self.thread not in (None, thread):
            raise RuntimeError("The engine is running already; embed it before that")
        former, self._host = self._host, None
        if former is not None:
            self._host_resources.close()
            former.release()
        self._host, self._host_thread = host, None if host is None else thread
        if not self._turning:
            self.thread = self._host_thread
        if host is None:
            if self._interrupted and not self._turning:
                self._forget_interrupt()
                raise KeyboardInterrupt
            return
        if threading.current_thread() is threading.main_thread():
            wakeup_fd = signal.set_wakeup_fd(-1)
            signal.set_wakeup_fd(wakeup_fd)
            if wakeup_fd == -1:
                self._host_resources.enter_context(self._listening_to_signals())
        if self._turning:
            host.turn_begins()

    def _wake(self) -> None:
        """Make the poller return, now or the next time."""
        if not self._signalled and not self._closed:
            self._signalled = True
            # A full pipe wakes as well; a closed one belongs to a closed engine.
            with contextlib.suppress(OSError):
                os.write(self._wake_writer, b"\0")

    def _on_wake(self, _events: int) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._wake_reader, 4096)
        self._signalled = False  # before the calls are taken: one that is added now wakes again
        self._make_thread_calls()

    def _make_thread_calls(self) -> None:
        calls = self._thread_calls
        for _ in range(len(calls)):
            if calls and not self._interrupted:  # a nested poll() may have taken the rest
                function, args = calls.popleft()
                Timer(None, function, args, {}).run()

    @contextlib.contextmanager
    def _listening_to_signals(self) -> Iterator[None]:
        """Let a signal end the wait whichever thread it hits, and Ctrl-C leave the loop between two hooks."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        ours = signal.getsignal(signal.SIGINT) is signal.default_int_handler
        previous = signal.set_wakeup_fd(self._wake_writer, warn_on_full_buffer=False)
        if ours:
            signal.signal(signal.SIGINT, self._on_interrupt)
        try:
            yield
        finally:
            if ours and signal.getsignal(signal.SIGINT) == self._on_interrupt:
                signal.signal(signal.SIGINT, signal.default_int_handler)
            replaced = signal.set_wakeup_fd(previous)
            if replaced != self._wake_writer:  # the program has set one meanwhile
                signal.set_wakeup_fd(replaced)

    def _forget_interrupt(self) -> None:
        self._interrupted = self._timers.halted = False
        self._presses = 0

    def _on_interrupt(self, _signum: int, frame: FrameType | None) -> None:
        self._presses += 1
        # Raised in the middle of the loop's own work it could tear that in two (data sent, and not yet taken out of the
        # queue). The loop leaves by itself; only a hook may not. A third press does not ask any more.
        if self._interrupted and (self._presses > 2 or _in_hook(frame)):
            raise KeyboardInterrupt
        self._interrupted = self._timers.halted = True
        # Ends the loop over the events after the one being handled; pollers are level-triggered, so none is lost.
        self._batch.clear()

    # --- For channels -------------------------------------------------------------------------------------------

    def watch(self, fd: int, events: int, handler: Handler) -> None:
        """Call ``handler(events)`` from the loop whenever the descriptor ``fd`` is ready.

        Channels do this for themselves; it is here for descriptors that are none of Pants'. What a handler raises
        leaves `poll` and `start`; inside another loop, it goes to `Host.failed`. A handler must stand being called when
        there is nothing to do.

        Args:
            fd: The descriptor. It must be taken out with `unwatch` before it is closed.
            events: `READ`, `WRITE` or both; 0 to wait only for errors and hang-ups.
            handler: Called with a mask of `READ`, `WRITE`, `ERROR`, `HANGUP`.

        Raises:
            OSError: The poller cannot watch it.
        """
        self._check_open()
        self._poller.add(fd, events)
        self._handlers[fd] = handler

    def rewatch(self, fd: int, events: int | None = None, handler: Handler | None = None) -> None:
        """Change what a watched descriptor is watched for, its handler, or both; what is None stays as it is."""
        if events is not None:
            self._poller.modify(fd, events)
        if handler is not None:
            self._handlers[fd] = handler

    def unwatch(self, fd: int) -> None:
        """Watch a descriptor no more; one that is not watched is left alone."""
        if self._handlers.pop(fd, None) is not None:
            self._poller.remove(fd)

    def attend(self, function: Callable[[], object]) -> None:
        """Have ``function()`` called by the loop before it waits again; the function contains its own errors."""
        self._attention.append(function)
        if not self._turning:
            self._wake()

    def postpone(self, channel: Channel, function: Callable[[], object]) -> None:
        """As `attend`, once the hook of that channel which polls at the moment has returned."""
        self._postponed.append((channel, function))

    def _resume_postponed(self) -> None:
        postponed, self._postponed = self._postponed, []
        for channel, function in postponed:
            if channel._hook_polls:
                self._postponed.append((channel, function))
            else:
                self._attention.append(function)

    def close(self) -> None:
        """Close the channels and give back all resources; pending timers are dropped. Closing again does nothing.

        Each channel is closed without sending what it had queued; its ``on_close()`` is called before this returns.

        Raises:
            RuntimeError: The engine is running.
            KeyboardInterrupt: As from `embed`, of which this is a case; the engine is still open then.
        """
        if self._closed:
            return
        if self._turning:
            raise RuntimeError("A running engine cannot be closed; call stop() and close it once start() has returned")
        if self._host is not None:
            self.embed(None)
        self._turning = True
        try:
            for _ in range(CLOSING_ROUNDS):  # a hook may make new channels, but not for ever
                owners = [getattr(handler, "__self__", None) for handler in self._handlers.values()]
                for owner in (*owners, *self.dormant, *self.unused):
                    if isinstance(owner, Closable):
                        owner._abort()
                self._resume_postponed()
                if not self._attention:
                    break
                self._attend_all()
        finally:
            self._turning = False
        with self._lock:
            self._closed = True
            self._thread_calls.clear()
            self.unwatch(self._wake_reader)
            os.close(self._wake_reader)
            os.close(self._wake_writer)
        for signum, (previous, *ours) in self._signals.items():
            if signal.getsignal(signum) in ours:
                signal.signal(signum, previous)
        self._signals.clear()
        self._timers.clear()
        self._handlers.clear()
        self._poller.close()

    def _check_open(self) -> None:
        if self._closed:
            raise RuntimeError("This engine is closed; make a new one")


def _in_hook(frame: FrameType | None) -> bool:
    """Whether code of the program's is running, called by the loop, or by something the loop has called."""
    while frame is not None and frame.f_code is not Engine._turn.__code__:
        if frame.f_globals.get("__name__", "").partition(".")[0] not in ("pants", "ssl", "socket"):
            return True
        frame = frame.f_back
    return False


def _checked_timeout(value: float | None) -> float:
    """The longest wait that ``value`` stands for; it has to be None or a number of seconds, 0 or more."""
    if value is None:
        return LONGEST_WAIT
    check_seconds(value, "poll_timeout", zero=True)
    return min(value, LONGEST_WAIT)
