"""Pants inside a Qt application (manual: "pants.contrib.qt").

`install` has Qt's event loop run a Pants engine: `QApplication.exec` takes the place of `pants.Engine.start`, and hooks
may use Qt's objects, slots may use Pants's. The binding is PySide6 or PyQt6, as qtpy chooses.
"""

from __future__ import annotations

from typing import Any

from pants.contrib.qt._installation import Installation
from pants.engine import Engine

__all__ = ["Installation", "install"]


def install(app: Any = None, timeout: float = 0.02, engine: Engine | None = None) -> Installation:
    """Have Qt's event loop run an engine (manual: "pants.contrib.qt.install").

    Sockets are served as soon as they are ready, timers when they are due, and nothing is done where there is nothing
    to do. What the engine does is done in the thread of the application; from other threads there is
    `pants.Engine.call_from_thread`.

    Args:
        app: The ``QCoreApplication``. By default the one that there is, or else a new one, which has no windows: a
            program with windows makes its ``QApplication`` first.
        timeout: The longest pause between two turns, in seconds, where Qt cannot tell when one is needed: with
            functions that `pants.Engine.loop` runs on every turn, with the poller `pants.engine.Select`, and while
            one of Pants's hooks runs Qt's loop itself, by a dialog's ``exec()``.
        engine: By default the global one. Each may be installed; one that was installed before is installed anew.

    Returns:
        The installation, which lasts until `Installation.stop`, and need not be kept.

    Raises:
        ImportError: There is no binding of Qt.
        TypeError, ValueError: An argument is of the wrong type or out of range.
        RuntimeError: This is not the application's thread; or the engine is closed, or running already.

    Example:
        >>> from pants import Engine
        >>> from pants.contrib.qt import install
        >>> installation = install()
        >>> cancel = Engine.instance().defer(0.01, print, "this is printed")
        >>> cancel = Engine.instance().defer(0.02, Engine.instance().stop)
        >>> installation.app.exec()
        this is printed
        0
        >>> installation.stop()
    """
    return Installation(app, timeout, Engine.instance() if engine is None else engine)
