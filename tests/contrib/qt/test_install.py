"""`install` and `Installation`: arguments, ends in any order, errors."""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from typing import Any

import pytest

from pants.contrib.qt import Installation, install
from pants.engine import READ, Engine, Epoll
from pants.testing import connected_pair

from .support import Collector, Echo, run_qt, run_qt_for


@pytest.fixture
def engine() -> Iterator[Engine]:
    engine = Engine()
    yield engine
    engine.close()


@pytest.fixture
def installation(app: Any, engine: Engine) -> Iterator[Installation]:
    installation = install(app, 0.02, engine)
    yield installation
    installation.stop()


class Wrong(BaseException):
    pass


# --- Arguments -------------------------------------------------------------------------------------------------------


def test_by_default_the_global_engine_and_the_application_that_is_there(app: Any) -> None:
    installation = install()
    assert installation.engine is Engine.instance()
    assert installation.app is app
    assert installation.timeout == 0.02
    assert "active" in repr(installation)
    installation.stop()
    assert "stopped" in repr(installation)


@pytest.mark.parametrize(
    "arguments, error",
    [
        ({"app": 1}, TypeError),
        ({"engine": 1}, TypeError),
        ({"timeout": "1"}, TypeError),
        ({"timeout": True}, TypeError),
        ({"timeout": 0}, ValueError),
        ({"timeout": -1.0}, ValueError),
        ({"timeout": float("nan")}, ValueError),
    ],
)
def test_wrong_arguments(app: Any, arguments: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        install(**arguments)
    Engine.instance().poll(0)


def test_a_closed_engine(app: Any, engine: Engine) -> None:
    engine.close()
    with pytest.raises(RuntimeError, match="closed"):
        install(app, engine=engine)


def test_a_running_engine(app: Any, engine: Engine) -> None:
    errors: list[Exception] = []

    def attempt() -> None:
        try:
            install(app, engine=engine)
        except RuntimeError as error:
            errors.append(error)
        engine.stop()

    engine.callback(attempt)
    engine.start()
    assert "running" in str(errors[0])


def test_another_thread(app: Any, engine: Engine) -> None:
    errors: list[BaseException] = []

    def attempt() -> None:
        try:
            install(app, engine=engine)
        except RuntimeError as error:
            errors.append(error)

    thread = threading.Thread(target=attempt)
    thread.start()
    thread.join()
    assert "thread" in str(errors[0])


# --- Ends ------------------------------------------------------------------------------------------------------------


def test_engine_stop_ends_exec_which_can_be_called_again(app: Any, installation: Installation, engine: Engine) -> None:
    with connected_pair(Echo, Collector, engine=engine) as (_, client):
        for _ in range(3):
            engine.defer(0.01, engine.stop)
            assert app.exec() == 0
        client.write(b"spam")

        def stop_when_answered() -> None:
            if client.received:
                engine.stop()

        engine.cycle(0.005, stop_when_answered)
        assert app.exec() == 0
        assert client.received == b"spam"


def test_engine_stop_ends_a_dialog_s_loop_as_well(app: Any, installation: Installation, engine: Engine) -> None:
    from qtpy.QtWidgets import QDialog

    done: list[str] = []

    def ask() -> None:
        engine.defer(0.02, engine.stop)
        QDialog().exec()
        done.append("dialog")

    engine.callback(ask)
    assert app.exec() == 0
    assert done == ["dialog"]


def test_start_while_installed(installation: Installation, engine: Engine) -> None:
    with pytest.raises(RuntimeError, match="another loop"):
        engine.start()
    installation.stop()
    engine.callback(engine.stop)
    engine.start()


def test_after_stop_qt_leaves_the_engine_alone(app: Any, installation: Installation, engine: Engine) -> None:
    done: list[int] = []
    installation.stop()
    installation.stop()
    engine.callback(done.append, 1)
    run_qt_for(0.05)
    assert not done
    engine.poll(0)
    assert done


def test_stop_in_a_hook(app: Any, installation: Installation, engine: Engine) -> None:
    done: list[int] = []
    engine.callback(installation.stop)
    engine.callback(done.append, 1)
    run_qt(lambda: done)
    engine.callback(done.append, 2)
    run_qt_for(0.05)
    assert done == [1]


def test_stop_in_a_loop_inside_a_hook(app: Any, installation: Installation, engine: Engine) -> None:
    """The turn of the outer loop's ends after the installation."""
    from qtpy.QtCore import QTimer

    done: list[int] = []

    def wait() -> None:
        QTimer.singleShot(30, installation.stop)
        QTimer.singleShot(40, lambda: done.append(1))
        run_qt(lambda: done)
        run_qt_for(0.05)

    engine.callback(wait)
    run_qt(lambda: done)
    assert engine.thread is None


def test_stop_in_a_hook_inside_a_hook(app: Any, engine: Engine) -> None:
    """Qt leaves the engine alone from then on, and nothing of it stays with the application."""
    run_qt_for(0.01)  # what earlier tests have left is deleted
    before = len(app.children())
    installation = install(app, 0.01, engine)
    done: list[int] = []

    def wait() -> None:
        engine.callback(installation.stop)
        run_qt(lambda: "stopped" in repr(installation))
        engine.callback(done.append, 1)
        run_qt_for(0.05)

    engine.callback(wait)
    run_qt(lambda: "stopped" in repr(installation))
    run_qt_for(0.05)
    assert not done
    assert len(app.children()) == before


def test_installed_anew_it_replaces_the_former(app: Any, installation: Installation, engine: Engine) -> None:
    again: list[Installation] = []
    done: list[int] = []
    again.append(install(app, 0.01, engine))
    assert "stopped" in repr(installation)
    engine.callback(lambda: again.append(install(app, 0.01, engine)))
    engine.callback(lambda: engine.defer(0.01, done.append, 1))
    run_qt(lambda: done)
    installation.stop()
    again[0].stop()
    engine.callback(done.append, 2)
    run_qt(lambda: len(done) == 2)
    again[1].stop()


def test_closing_the_engine(app: Any, installation: Installation, engine: Engine) -> None:
    with connected_pair(Echo, Collector, engine=engine) as (echo, client):
        client.write(b"spam")
        engine.close()
        assert echo.closed
        assert client.closed
    # The descriptor has a new owner, whom nobody watches.
    reader, writer = os.pipe()
    os.write(writer, b"x")
    run_qt_for(0.03)
    os.close(reader)
    os.close(writer)
    assert "stopped" in repr(installation)
    installation.stop()


def test_an_engine_s_end_in_a_slot_of_its_own(app: Any, installation: Installation, engine: Engine) -> None:
    """An engine cannot be closed in a turn; its application can have that done."""
    from qtpy.QtCore import QTimer

    engine.callback(lambda: QTimer.singleShot(0, engine.close))
    run_qt(lambda: engine.closed)


def test_an_engine_that_is_closed_is_let_go_of(app: Any) -> None:
    engine = Engine()
    gone = weakref.ref(engine)
    install(app, engine=engine)
    install(app, engine=engine)
    engine.close()
    del engine
    gc.collect()
    assert gone() is None


def test_it_lasts_without_being_kept(app: Any, installation: Installation) -> None:
    """Nor by a handler for Ctrl-C, which the first one has."""
    done: list[Engine] = []
    engine = Engine()
    install(app, engine=engine)
    engine.defer(0.01, done.append, engine)
    del engine
    gc.collect()
    run_qt(lambda: done)
    done[0].close()


# --- Errors ----------------------------------------------------------------------------------------------------------


def test_errors_in_timers_and_hooks(app: Any, installation: Installation, engine: Engine, expect_log: Any) -> None:
    class Failing(Collector):
        def on_read(self, data: bytes) -> None:
            raise ValueError("a hook's")

    def fail() -> None:
        raise ValueError("a timer's")

    expect_log("a timer's")
    expect_log("a hook's")
    done: list[int] = []
    with connected_pair(Failing, Collector, engine=engine) as (failing, peer):
        engine.callback(fail)
        peer.write(b"x")
        run_qt(lambda: failing.closed)
        engine.callback(done.append, 1)
        run_qt(lambda: done)


def test_an_error_that_leaves_the_turn(app: Any, installation: Installation, engine: Engine, expect_log: Any) -> None:
    """It is logged, no more often than the pace has it, and everything else goes on."""
    calls: list[float] = []

    def fail(events: int) -> None:
        calls.append(time.monotonic())
        raise ValueError("a handler's")

    expect_log("a handler's")
    reader, writer = os.pipe()
    os.write(writer, b"x")
    with connected_pair(Echo, Collector, engine=engine) as (_, client):
        engine.watch(reader, READ, fail)
        client.write(b"spam")
        run_qt(lambda: client.received and len(calls) >= 5)
        assert calls[-1] - calls[0] >= 0.015 * (len(calls) - 1)
        engine.unwatch(reader)
        client.write(b"more")
        run_qt(lambda: client.received == b"spammore")
    os.close(reader)
    os.close(writer)


def test_a_poller_that_fails(app: Any, expect_log: Any) -> None:
    times: list[float] = []

    class Failing(Epoll):
        def poll(self, timeout: float | None) -> list[tuple[int, int]]:
            times.append(time.monotonic())
            if len(times) <= 5:
                raise OSError("the poller's")
            return super().poll(timeout)

    expect_log("the poller's")
    engine = Engine(Failing())
    install(app, 0.02, engine)
    done: list[int] = []
    engine.callback(engine.defer, 0.01, done.append, 1)
    run_qt(lambda: done)
    assert times[5] - times[0] >= 5 * 0.015
    engine.close()


def test_an_error_after_stop(app: Any, installation: Installation, engine: Engine, expect_log: Any) -> None:
    reader, writer = os.pipe()

    def fail(events: int) -> None:
        installation.stop()
        raise ValueError("a handler's")

    expect_log("a handler's")
    engine.watch(reader, READ, fail)
    os.write(writer, b"x")
    run_qt(lambda: "stopped" in repr(installation))
    engine.unwatch(reader)
    os.close(reader)
    os.close(writer)


@pytest.mark.parametrize(
    "error, code",
    [
        (SystemExit(), 0),
        (SystemExit(3), 3),
        (SystemExit(True), 1),
        (SystemExit(1 << 40), -1),
        (SystemExit("the reason"), 1),
        (KeyboardInterrupt(), 130),
        (Wrong("what is none"), 1),
    ],
    ids=repr,
)
def test_what_is_no_exception_has_the_application_exit(
    app: Any, installation: Installation, engine: Engine, error: BaseException, code: int, capsys: Any, expect_log: Any
) -> None:
    def leave() -> None:
        raise error

    if isinstance(error, Wrong):
        expect_log("what is none")
    engine.defer(0.01, leave)
    assert app.exec() == code
    assert (capsys.readouterr().err == "the reason\n") is (error.args == ("the reason",))
    done: list[int] = []
    engine.callback(done.append, 1)
    run_qt(lambda: done)


def test_what_is_no_exception_in_a_dialog(app: Any, installation: Installation, engine: Engine) -> None:
    from qtpy.QtWidgets import QDialog

    done: list[str] = []

    def ask() -> None:
        engine.defer(0.02, sys.exit, 4)
        QDialog().exec()
        done.append("dialog")

    engine.callback(ask)
    assert app.exec() == 4
    assert done == ["dialog"]


# --- Threads, signals ------------------------------------------------------------------------------------------------


def test_other_threads_are_refused(installation: Installation, engine: Engine) -> None:
    errors: list[str] = []

    def attempt() -> None:
        for action in (lambda: engine.poll(0), engine.start, lambda: engine.embed(None)):
            try:
                action()
            except RuntimeError as error:
                errors.append(str(error))

    thread = threading.Thread(target=attempt)
    thread.start()
    thread.join()
    assert len(errors) == 3


def test_ctrl_c_is_listened_to_only_while_it_lasts(app: Any, engine: Engine) -> None:
    before = signal.getsignal(signal.SIGINT)
    installation = install(app, engine=engine)
    assert signal.getsignal(signal.SIGINT) is not before
    installation.stop()
    assert signal.getsignal(signal.SIGINT) is before
    wakeup_fd = signal.set_wakeup_fd(-1)
    assert wakeup_fd == -1


def test_other_signals(app: Any, installation: Installation, engine: Engine) -> None:
    done: list[int] = []
    cancel = engine.add_signal_handler(signal.SIGUSR1, done.append, 1)
    threading.Timer(0.02, os.kill, [os.getpid(), signal.SIGUSR1]).start()
    run_qt(lambda: done)
    cancel()
