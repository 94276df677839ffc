"""An engine in Qt's event loop: what wakes it, and how Qt learns what has left it.

A `QSocketNotifier` watches the engine's own descriptor, and one timer is set to when the engine's next one is due. In
three cases the timer keeps a steady pace instead: where the poller has no descriptor, where there are loops to run, and
in a loop of Qt's inside a turn (a dialog). In that last case the descriptor stays readable for as long as there is
something to read for the channel whose hook has opened the dialog, and to go by it would take all of a processor.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import math
import sys
import threading
from typing import Any, Final

from pants.engine import LONGEST_WAIT, Engine

log = logging.getLogger("pants")

# What a shell reports of a program that Ctrl-C has ended: 128 and the number of the signal.
INTERRUPTED: Final = 130


class QtHost:
    """A Qt application as a `pants.engine.Host`.

    Args:
        core: The module QtCore.
        app: The application.
        engine: The engine.
        pace: The time between two turns where it is steady, in seconds.
    """

    def __init__(self, core: Any, app: Any, engine: Engine, pace: float) -> None:
        self.released = False
        self._app = app
        self._engine = engine
        self._pace = _milliseconds(pace)
        self._in_turn = False
        self._has_failed = False
        self._slots = 0  # how many calls of _serve() are under way
        self._timer = core.QTimer()
        self._timer.setSingleShot(True)
        self._timer.setTimerType(core.Qt.TimerType.PreciseTimer)
        self._timer.timeout.connect(self._serve)
        self._notifier: Any = None
        engine.embed(self)
        # Children of the application: Python lets go of them in a slot of theirs perhaps, where they must not end.
        self._timer.setParent(app)
        if (fd := engine.fileno()) is not None:
            self._notifier = core.QSocketNotifier(fd, core.QSocketNotifier.Type.Read, app)
            self._notifier.activated.connect(self._serve)
        app.destroyed.connect(self._end)
        # It is also what keeps this and the engine: for the methods connected to a signal, Qt's bindings keep nothing.
        # Both have the application end at exit, so they have to have been imported before.
        atexit.register(self._end)
        self._arm()

    # --- For the engine -----------------------------------------------------------------------------------------

    def turn_begins(self) -> None:
        """See `Host.turn_begins`: have the timer go on in a loop of Qt's inside this turn."""
        self._in_turn = True
        self._timer.start(self._pace)

    def turn_ends(self) -> None:
        """See `Host.turn_ends`."""
        self._in_turn = False
        self._arm()

    def failed(self, error: Exception) -> None:
        """See `Host.failed`: some time will pass before the next turn."""
        log.error("A turn of %r failed: %s", self._engine, error, exc_info=error)
        self._has_failed = True

    def stop(self) -> None:
        """See `Host.stop`."""
        self._app.quit()

    def release(self) -> None:
        """See `Host.release`."""
        self.released = True
        atexit.unregister(self._end)
        self._timer.stop()
        if self._notifier is not None:
            self._notifier.setEnabled(False)
        if not self._slots:
            self._delete()

    def _delete(self) -> None:
        self._timer.deleteLater()
        if self._notifier is not None:
            self._notifier.deleteLater()

    def _end(self, *_args: object) -> None:
        """Leave the engine alone: the application is at its end, or the program."""
        if self.released or self._engine.thread != threading.get_ident():  # another thread's may be at work still
            return
        with contextlib.suppress(KeyboardInterrupt):
            self._engine.embed(None)

    # --- For Qt -------------------------------------------------------------------------------------------------

    def _serve(self, *_args: object) -> None:
        self._slots += 1
        self._turn()
        self._slots -= 1
        # Not before: a loop of Qt's inside one of these calls destroys what is told in there to be deleted later.
        if self.released and not self._slots:
            self._delete()

    def _turn(self) -> None:
        """Have the engine make a turn. Nothing is raised: Qt would end the process, or go on as if nothing had been."""
        is_nested = self._in_turn
        if is_nested:
            self._arm()  # before the turn, in which a hook may open a dialog as well
        try:
            self._engine.poll(0)
        except Exception as error:  # noqa: BLE001 - the poller's
            self.failed(error)
            self._arm()
        except BaseException as error:  # noqa: BLE001 - all of them end the program
            self._exit(error)
        if is_nested:
            self._arm()

    def _arm(self) -> None:
        """Wait for what the engine has to do next."""
        if self.released:
            return
        notifier, at_the_pace = self._notifier, self._in_turn or self._has_failed
        self._has_failed = False
        if notifier is not None and notifier.isEnabled() is at_the_pace:
            notifier.setEnabled(not at_the_pace)
        wait = self._next_wait(at_the_pace)
        if wait is None:
            self._timer.stop()
        else:
            self._timer.start(wait)

    def _next_wait(self, at_the_pace: bool) -> int | None:
        """The milliseconds until the timer is to make a turn, or None."""
        delay = self._engine.time_to_timer()
        wait = None if delay is None else _milliseconds(delay)
        if not at_the_pace and self._notifier is not None and not self._engine.has_loops:
            return wait
        # Inside a turn, 0 may stand for what has to wait for the end of that turn.
        if wait is None or (wait == 0 and at_the_pace):
            return self._pace
        return min(wait, self._pace)

    def _exit(self, error: BaseException) -> None:
        """Have the application exit, as the program would."""
        code: Any = 1
        if isinstance(error, KeyboardInterrupt):
            code = INTERRUPTED
        elif not isinstance(error, SystemExit):
            log.critical("A turn of %r was left by what is no Exception", self._engine, exc_info=error)
        elif error.code is None or isinstance(error.code, int):
            code = error.code or 0
            if code.bit_length() > 31:  # Qt takes a C int
                code = -1
        else:
            print(error.code, file=sys.stderr)  # noqa: T201 - as the interpreter does
        self._app.exit(code)


def _milliseconds(seconds: float) -> int:
    """Rounded up, for a timer that goes off early would have to go off again."""
    return math.ceil(min(seconds, LONGEST_WAIT) * 1000)
