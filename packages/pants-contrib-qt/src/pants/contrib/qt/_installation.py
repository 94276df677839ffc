"""What `pants.contrib.qt.install` makes: an engine and an application that belong together."""

from __future__ import annotations

import sys
from typing import Any

from pants._timers import check_seconds
from pants.contrib.qt._host import QtHost
from pants.engine import Engine


class Installation:
    """An engine that runs inside a Qt application; made by `pants.contrib.qt.install`.

    While it lasts, ``app.exec()`` runs the engine, each time that it is called. `pants.Engine.stop` asks the
    application to quit (``QCoreApplication.quit()``), and `pants.Engine.start` raises RuntimeError. It ends with
    `stop`, `pants.Engine.close`, the application object or the program, whichever comes first.

    What would leave `pants.Engine.start` can not leave Qt's loop:

    - What is no `Exception` has the application exit, and ``exec()`` return a code: that of a SystemExit; 130 for
      KeyboardInterrupt; 1 for anything else, which is logged.
    - An `Exception`, of a handler given to `pants.Engine.watch`, is logged. The next turn is `timeout` seconds later.

    Ctrl-C does the same, between two hooks, also where Qt waits; pressed again before that, it raises
    KeyboardInterrupt in what is running. That is so for an application in the main thread, and a program that has
    neither a handler for SIGINT nor a `signal.set_wakeup_fd` of its own.

    Attributes:
        app: The application, a ``QCoreApplication``.
        engine: The engine.
        timeout: The longest pause between two turns where Qt cannot tell when one is needed, in seconds.
    """

    def __init__(self, app: Any, timeout: float, engine: Engine) -> None:
        check_seconds(timeout, "timeout", zero=False)
        if not isinstance(engine, Engine):
            raise TypeError(f"engine is a pants.engine.Engine, not {engine!r}")
        core = _qt_core()
        if app is None:
            app = core.QCoreApplication.instance() or core.QCoreApplication(sys.argv)
        elif not isinstance(app, core.QCoreApplication):
            raise TypeError(f"app is a QCoreApplication of {core.QCoreApplication.__module__}, not {app!r}")
        if app.thread() != core.QThread.currentThread():
            raise RuntimeError("This is not the application's thread, in which the engine is to run; install it there")
        self.app = app
        self.engine = engine
        self.timeout = timeout
        self._host = QtHost(core, app, engine, timeout)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {'stopped' if self._host.released else 'active'}, {self.engine!r}>"

    def stop(self) -> None:
        """Take the engine out of the application, which goes on without it; doing so again does nothing.

        To be called in the application's thread. The engine can be started then, or installed anew.

        Raises:
            RuntimeError: This is another thread.
            KeyboardInterrupt: Ctrl-C was pressed after the last turn.
        """
        if not self._host.released:
            self.engine.embed(None)


def _qt_core() -> Any:
    """The module QtCore of the binding that qtpy has chosen.

    Raises:
        ImportError: There is none.
    """
    try:
        from qtpy import QtCore
    except ImportError as error:
        remedy = "install PySide6 or PyQt6, or pants-contrib-qt[pyside6]"
        raise ImportError(f"pants.contrib.qt needs a binding of Qt: {remedy} ({error})") from error
    return QtCore
