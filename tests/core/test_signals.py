"""Signals: `Engine.add_signal_handler`; Ctrl-C, which leaves `start` between two hooks, and pressed twice at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pants import Stream
from pants.engine import Engine
from pants.testing import connected_pair, run_until

ExpectLog = Callable[[str], None]

# How long something that must happen may take, in seconds; only a failing test waits as long as this.
LONG = 20.0


@pytest.fixture(autouse=True)
def signals_as_they_were() -> Iterator[None]:
    """Fails the test if it leaves a handler behind, and makes SIGUSR1 harmless where nobody handles it."""
    usual = signal.signal(signal.SIGUSR1, _ignore)
    before = signal.getsignal(signal.SIGINT)
    assert before is signal.default_int_handler
    yield
    left = signal.signal(signal.SIGUSR1, usual)
    assert left is _ignore
    assert signal.getsignal(signal.SIGINT) is before
    assert signal.set_wakeup_fd(-1) == -1


ignored: list[int] = []


def _ignore(signum: int, _frame: Any) -> None:
    ignored.append(signum)


# --- add_signal_handler ----------------------------------------------------------------------------------------------


def test_a_signal_runs_its_handler_in_the_loop(engine: Engine) -> None:
    seen: list[Any] = []

    def handler(*args: int) -> None:
        seen.append((args, engine._turning))
        engine.stop()

    cancel = engine.add_signal_handler(signal.SIGUSR1, handler, 1, 2)
    signal.raise_signal(signal.SIGUSR1)
    assert seen == []  # not in the middle of whatever is running
    engine.start(None)
    assert seen == [((1, 2), True)]
    cancel()


def test_a_signal_ends_the_wait(engine: Engine) -> None:
    cancel = engine.add_signal_handler(signal.SIGUSR1, engine.stop)
    sender = threading.Timer(0.05, os.kill, [os.getpid(), signal.SIGUSR1])
    sender.start()
    engine.start(None)
    sender.join()
    cancel()


def test_a_signal_that_hits_another_thread_ends_the_wait(engine: Engine) -> None:
    cancel = engine.add_signal_handler(signal.SIGUSR1, engine.stop)
    go = threading.Event()

    def hit_myself() -> None:
        go.wait(LONG)
        signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)

    thread = threading.Thread(target=hit_myself)
    thread.start()
    engine.defer(0.05, go.set)
    engine.start(None)
    thread.join()
    cancel()


def test_a_signal_in_a_hook_is_handled_after_it(engine: Engine) -> None:
    life: list[str] = []

    class Busy(Stream):
        def on_read(self, data: bytes) -> None:
            life.append("in")
            signal.raise_signal(signal.SIGUSR1)
            life.append("out")

    cancel = engine.add_signal_handler(signal.SIGUSR1, life.append, "signal")
    with connected_pair(Busy, engine=engine) as (_, client):
        client.write(b"spam")
        run_until(lambda: "signal" in life, engine=engine)
    assert life == ["in", "out", "signal"]
    cancel()


def test_an_exception_in_a_signal_handler_is_logged(engine: Engine, expect_log: ExpectLog) -> None:
    expect_log("ZeroDivisionError")
    calls: list[int] = []

    def handler() -> None:
        calls.append(1)
        raise ZeroDivisionError

    cancel = engine.add_signal_handler(signal.SIGUSR1, handler)
    for turns in range(1, 3):
        signal.raise_signal(signal.SIGUSR1)
        engine.poll(0)
        assert len(calls) == turns
    cancel()


def test_cancel_puts_back_what_was_there(engine: Engine) -> None:
    ignored.clear()
    calls: list[int] = []
    cancel = engine.add_signal_handler(signal.SIGUSR1, calls.append, 1)
    cancel()
    assert signal.getsignal(signal.SIGUSR1) is _ignore
    cancel()
    signal.raise_signal(signal.SIGUSR1)
    engine.poll(0)
    assert calls == []
    assert ignored == [signal.SIGUSR1]


def test_the_last_handler_is_run_then_the_one_before(engine: Engine) -> None:
    calls: list[int] = []
    cancels = [engine.add_signal_handler(signal.SIGUSR1, calls.append, number) for number in range(3)]

    def raised() -> list[int]:
        calls.clear()
        signal.raise_signal(signal.SIGUSR1)
        engine.poll(0)
        return list(calls)

    assert raised() == [2]
    cancels[2]()
    assert raised() == [1]
    cancels[0]()
    assert raised() == [1]
    cancels[0]()
    cancels[1]()
    assert raised() == []
    assert signal.getsignal(signal.SIGUSR1) is _ignore
    cancel = engine.add_signal_handler(signal.SIGUSR1, calls.append, 9)
    assert raised() == [9]
    cancel()
    assert signal.getsignal(signal.SIGUSR1) is _ignore


def test_cancel_leaves_a_handler_alone_that_came_after(engine: Engine) -> None:
    cancel = engine.add_signal_handler(signal.SIGUSR1, int)

    def mine(*_: Any) -> None: ...

    signal.signal(signal.SIGUSR1, mine)
    cancel()
    assert signal.getsignal(signal.SIGUSR1) is mine
    signal.signal(signal.SIGUSR1, _ignore)


def test_closing_the_engine_puts_back_what_was_there(engine: Engine) -> None:
    cancels = [engine.add_signal_handler(signal.SIGUSR1, int) for _ in range(2)]
    engine.close()
    assert signal.getsignal(signal.SIGUSR1) is _ignore
    for cancel in cancels:
        cancel()
    assert signal.getsignal(signal.SIGUSR1) is _ignore


def test_closing_the_engine_leaves_a_handler_alone_that_came_after(engine: Engine) -> None:
    engine.add_signal_handler(signal.SIGUSR1, int)

    def mine(*_: Any) -> None: ...

    signal.signal(signal.SIGUSR1, mine)
    engine.close()
    assert signal.getsignal(signal.SIGUSR1) is mine
    signal.signal(signal.SIGUSR1, _ignore)


def test_a_handler_that_passes_on_to_that_of_a_closed_engine(engine: Engine) -> None:
    """As programs do that handle a signal and then call the handler they have found."""
    calls: list[str] = []
    engine.add_signal_handler(signal.SIGUSR1, calls.append, "engine's")
    found = signal.getsignal(signal.SIGUSR1)
    assert callable(found)

    def mine(signum: int, frame: Any) -> None:
        calls.append("mine")
        found(signum, frame)

    signal.signal(signal.SIGUSR1, mine)
    engine.close()
    signal.raise_signal(signal.SIGUSR1)
    assert calls == ["mine"]
    signal.signal(signal.SIGUSR1, _ignore)


@pytest.mark.parametrize("signum", [0, -1, 10_000])
def test_no_such_signal(signum: int, engine: Engine) -> None:
    with pytest.raises(ValueError):
        engine.add_signal_handler(signum, int)


def test_a_signal_that_cannot_be_handled(engine: Engine) -> None:
    with pytest.raises((OSError, ValueError)):
        engine.add_signal_handler(signal.SIGKILL, int)


@pytest.mark.parametrize("value", [None, "spam", 17], ids=repr)
def test_a_handler_is_a_callable(value: Any, engine: Engine) -> None:
    with pytest.raises(TypeError) as caught:
        engine.add_signal_handler(signal.SIGUSR1, value)
    assert repr(value) in str(caught.value)


def test_signals_belong_to_the_main_thread(engine: Engine) -> None:
    caught: list[BaseException] = []

    def work() -> None:
        try:
            engine.add_signal_handler(signal.SIGUSR1, int)
        except ValueError as error:
            caught.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert len(caught) == 1


# --- Ctrl-C ----------------------------------------------------------------------------------------------------------


def test_ctrl_c_leaves_start_after_the_hook(engine: Engine) -> None:
    life: list[str] = []

    class Busy(Stream):
        def on_read(self, data: bytes) -> None:
            if not life:
                signal.raise_signal(signal.SIGINT)
            life.append("read")

    with (
        connected_pair(Busy, engine=engine) as (_, first),
        connected_pair(Busy, engine=engine) as (_, second),
    ):
        first.write(b"spam", flush=True)
        second.write(b"eggs", flush=True)
        with pytest.raises(KeyboardInterrupt):
            engine.start(None)
        assert life == ["read"]  # the whole of one hook, and none of the other
        run_until(lambda: life == ["read", "read"], engine=engine)


def test_ctrl_c_leaves_start_after_the_timer(engine: Engine) -> None:
    calls: list[str] = []

    def interrupted() -> None:
        signal.raise_signal(signal.SIGINT)
        calls.append("interrupted")

    engine.callback(interrupted)
    engine.callback(calls.append, "callback")
    engine.loop(calls.append, "loop")
    engine.defer(0, calls.append, "deferred")
    engine.attend(lambda: calls.append("attended"))
    engine.call_from_thread(calls.append, "from a thread")
    with pytest.raises(KeyboardInterrupt):
        engine.start(None)
    assert set(calls) <= {"interrupted", "from a thread"}  # that may come first
    engine.poll(0)
    assert sorted(calls) == ["attended", "callback", "deferred", "from a thread", "interrupted", "loop"]


@pytest.mark.parametrize("kind", ["callback", "loop", "defer", "attend", "call_from_thread"])
def test_ctrl_c_loses_nothing_of_the_same_kind(kind: str, engine: Engine) -> None:
    calls: list[int] = []

    def function(number: int) -> None:
        if not calls:
            signal.raise_signal(signal.SIGINT)
        calls.append(number)

    schedule: dict[str, Callable[[int], object]] = {
        "callback": lambda number: engine.callback(function, number),
        "loop": lambda number: engine.loop(function, number),
        "defer": lambda number: engine.defer(0, function, number),
        "attend": lambda number: engine.attend(lambda: function(number)),
        "call_from_thread": lambda number: engine.call_from_thread(function, number),
    }
    for number in range(3):
        schedule[kind](number)
    with pytest.raises(KeyboardInterrupt):
        engine.start(None)
    assert calls == [0]
    engine.callback(engine.stop)
    engine.start(None)
    assert {1, 2} <= set(calls)


def test_a_second_ctrl_c_leaves_at_once(engine: Engine) -> None:
    life: list[str] = []

    class Busy(Stream):
        def on_read(self, data: bytes) -> None:
            signal.raise_signal(signal.SIGINT)
            life.append("after the first")
            signal.raise_signal(signal.SIGINT)
            life.append("after the second")

    with connected_pair(Busy, engine=engine) as (busy, client):
        client.write(b"spam")
        with pytest.raises(KeyboardInterrupt):
            engine.start(None)
        assert life == ["after the first"]
        assert not busy.closed


def test_it_can_be_started_again_after_ctrl_c(engine: Engine) -> None:
    for presses in (1, 2, 1, 2):

        def press(presses: int = presses) -> None:
            for _ in range(presses):
                signal.raise_signal(signal.SIGINT)

        engine.callback(press)
        with pytest.raises(KeyboardInterrupt):
            engine.start(None)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        engine.defer(0.001, engine.stop)
        engine.start(None)


def test_ctrl_c_while_a_hook_waits_in_a_nested_poll(engine: Engine) -> None:
    """A nested poll is a boundary between hooks; else the hook would wait in vain, for nothing is passed on."""
    life: list[str] = []

    class Waiting(Stream):
        def on_read(self, data: bytes) -> None:
            signal.raise_signal(signal.SIGINT)
            for _ in range(1000):
                life.append("polls")
                engine.poll(None)

    class Other(Stream):
        def on_read(self, data: bytes) -> None:
            life.append("other")

    with (
        connected_pair(Waiting, engine=engine) as (waiting, first),
        connected_pair(Other, engine=engine) as (_, second),
    ):
        first.write(b"spam", flush=True)
        second.write(b"eggs", flush=True)
        with pytest.raises(KeyboardInterrupt):
            engine.start(None)
        assert life.count("polls") == 1
        assert not waiting.closed
        run_until(lambda: "other" in life, engine=engine)


def test_ctrl_c_after_stop_is_not_lost(engine: Engine) -> None:
    def stop() -> None:
        engine.stop()
        signal.raise_signal(signal.SIGINT)

    engine.callback(stop)
    with pytest.raises(KeyboardInterrupt):
        engine.start(None)


def test_ctrl_c_while_start_returns_is_not_lost(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes after the loop's last turn, and before Python's own handler is back."""
    install = signal.signal

    def late(signum: int, handler: Any) -> Any:
        if handler is signal.default_int_handler:
            signal.raise_signal(signal.SIGINT)
        return install(signum, handler)

    engine.callback(engine.stop)
    monkeypatch.setattr(signal, "signal", late)
    with pytest.raises(KeyboardInterrupt):
        engine.start(None)
    monkeypatch.undo()
    engine.callback(engine.stop)
    engine.start(None)


def test_a_handler_of_the_program_s_own_is_left_alone(engine: Engine) -> None:
    pressed: list[int] = []
    usual = signal.signal(signal.SIGINT, lambda *_: pressed.append(1))
    try:
        engine.callback(signal.raise_signal, signal.SIGINT)
        engine.callback(signal.raise_signal, signal.SIGINT)
        engine.callback(engine.stop)
        engine.start(None)
        assert pressed == [1, 1]
    finally:
        signal.signal(signal.SIGINT, usual)


def test_ctrl_c_can_be_given_to_a_handler(engine: Engine) -> None:
    """As a server does that wants to shut down in order."""
    cancel = engine.add_signal_handler(signal.SIGINT, engine.stop)
    engine.callback(signal.raise_signal, signal.SIGINT)
    engine.start(None)
    cancel()


def test_a_handler_given_while_it_runs_is_kept(engine: Engine) -> None:
    pressed: list[int] = []

    def mine(*_: Any) -> None:
        pressed.append(1)

    engine.callback(signal.signal, signal.SIGINT, mine)
    engine.callback(engine.stop)
    engine.start(None)
    assert signal.getsignal(signal.SIGINT) is mine
    signal.signal(signal.SIGINT, signal.default_int_handler)


def test_the_wakeup_descriptor_of_another_loop_is_put_back(engine: Engine) -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer)
    engine.callback(engine.stop)
    engine.start(None)
    assert signal.set_wakeup_fd(-1) == writer
    os.close(reader)
    os.close(writer)


# --- Ctrl-C in a process of its own ----------------------------------------------------------------------------------

PROGRAM = """
import os
from pants import Engine

engine = Engine.instance()

def say(*words):
    print(*words, flush=True)

def hook():
    # Blocks until the other end has pressed Ctrl-C as often as it wants to, and then writes a line.
    say("in the hook")
    try:
        os.read(0, 100)
    except KeyboardInterrupt:
        say("at once")
        raise
    say("end of the hook")

def start(what):
    try:
        engine.start(None)
    except KeyboardInterrupt:
        say("interrupted", what)
    else:
        say("stopped")

engine.callback(say, "waiting")
start("waiting")

engine.callback(hook)
engine.callback(say, "the next hook")
start("in a hook")

engine.callback(engine.stop)
start("never")

engine.callback(hook)
start("in a hook, twice")

engine.callback(engine.stop)
start("never")
say("the end")
"""


def test_ctrl_c_in_a_process_of_its_own() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        killer = threading.Timer(60, process.kill)
        killer.start()

        def read() -> str:
            return process.stdout.readline().decode().strip()  # type: ignore[union-attr]

        assert read() == "waiting"
        process.send_signal(signal.SIGINT)
        assert read() == "interrupted waiting"

        assert read() == "in the hook"
        process.send_signal(signal.SIGINT)
        process.stdin.write(b"go on\n")
        process.stdin.flush()
        assert read() == "end of the hook"
        assert read() == "interrupted in a hook"

        assert read() == "the next hook"  # kept for the next start
        assert read() == "stopped"

        assert read() == "in the hook"
        process.send_signal(signal.SIGINT)
        # Two that are pending at once are one, so the second waits until the first has been seen to be taken.
        wait_until_taken(process.pid)
        process.send_signal(signal.SIGINT)
        assert read() == "at once"
        assert read() == "interrupted in a hook, twice"

        assert read() == "stopped"
        assert read() == "the end"
        assert process.stderr.read() == b""
        assert process.wait(LONG) == 0
        killer.cancel()
        killer.join()


def wait_until_taken(pid: int) -> None:
    """Waits until the process has no signal pending, and sleeps again in its system call."""
    if not os.path.exists(f"/proc/{pid}/status"):
        threading.Event().wait(0.5)
        return
    for _ in range(2000):
        with open(f"/proc/{pid}/status") as file:
            status = dict(line.split(":", 1) for line in file)
        pending = int(status["SigPnd"], 16) | int(status["ShdPnd"], 16)
        if not pending and status["State"].split()[0] == "S":
            return
        threading.Event().wait(0.005)
    raise AssertionError("the signal was not taken")
