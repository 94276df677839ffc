"""What the tests of pants-contrib-qt share."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
import textwrap
from collections.abc import Callable
from typing import Any

import pytest

from pants import Stream
from pants.engine import Engine, Epoll

ROOT = pathlib.Path(__file__).parents[3]

# How long something that must happen may take, in seconds; only a failing test waits as long as this.
LONG = 20.0

BINDINGS = ("pyside6", "pyqt6")

both_bindings = pytest.mark.parametrize("binding", BINDINGS)


class Echo(Stream):
    def on_read(self, data: bytes) -> None:
        self.write(data)


class Collector(Stream):
    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.received = b""

    def on_read(self, data: bytes) -> None:
        self.received += data


class Counting(Epoll):
    """Counts the turns of its engine."""

    polls = 0

    def poll(self, timeout: float | None) -> list[tuple[int, int]]:
        self.polls += 1
        return super().poll(timeout)


def run_qt(condition: Callable[[], object], seconds: float = LONG) -> None:
    """Run Qt's loop, and no turn of any engine besides those that Qt makes, until a condition holds."""
    from qtpy.QtCore import QElapsedTimer, QEventLoop, QTimer

    loop, elapsed, timer = QEventLoop(), QElapsedTimer(), QTimer()

    def look() -> None:
        if condition() or elapsed.elapsed() > seconds * 1000:
            loop.quit()

    elapsed.start()
    timer.timeout.connect(look)
    timer.start(2)
    loop.exec()
    assert condition(), f"not within {seconds} seconds"


def run_qt_for(seconds: float) -> None:
    """Run Qt's loop for some time, to see that something does not happen."""
    from qtpy.QtCore import QEventLoop, QTimer

    loop = QEventLoop()
    QTimer.singleShot(int(seconds * 1000), loop.quit)
    loop.exec()


def settle(engine: Engine) -> None:
    """Run Qt's loop until the engine has nothing to do."""
    poller = engine._poller
    assert isinstance(poller, Counting)
    seen = -1
    while seen != poller.polls:
        seen = poller.polls
        run_qt_for(0.03)


def environment(binding: str) -> dict[str, str]:
    return os.environ | {"QT_API": binding, "QT_QPA_PLATFORM": "offscreen"}


# What programs begin with.
HEAD = """
import os, signal, sys
from qtpy.QtCore import QCoreApplication, QEventLoop, QObject, QTimer
from pants import Engine, Server, Stream
from pants.contrib.qt import install
engine = Engine.instance()
"""


def start_program(source: str, binding: str) -> subprocess.Popen[str]:
    """Start a program of several lines in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", HEAD + textwrap.dedent(source)],
        env=environment(binding),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run_program(source: str, binding: str, *, code: int = 0) -> str:
    """Run a program to its end. It has to leave that code, and nothing on its standard error; what it prints."""
    with start_program(source, binding) as program:
        try:
            out, err = program.communicate(timeout=LONG)
        finally:
            program.kill()
    assert (program.returncode, err) == (code, ""), err
    return out
