"""How a `pants.web.testing.TestClient` raises what goes wrong in the application, in the place of the log line."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterator
from contextvars import ContextVar
from types import TracebackType
from typing import Any, Final

from pants.http import HandshakeError, HTTPClientException

# Where Pants logs exceptions of the program.
_LOGGERS: Final = ("pants", "pants.http", "pants.web")
_watching: ContextVar[Failures | None] = ContextVar("_watching", default=None)


class Failures(logging.Filter):
    """The exceptions of an application, while a client runs it.

    They are told by the application's ``on_failure``, by the connection, and by the log: what Pants would have logged
    as an error, with an exception, is held back.

    Args:
        app: The application.
    """

    def __init__(self, app: Any) -> None:
        super().__init__()
        self._app = app
        self._found: list[tuple[Exception, TracebackType | None]] = []
        self._held: list[logging.LogRecord] = []
        self._thread = 0

    def note(self, exception: Exception, traceback: TracebackType | None) -> None:
        """Take an exception."""
        if all(found is not exception for found, _ in self._found):
            self._found.append((exception, traceback))

    def filter(self, record: logging.LogRecord) -> bool:
        """Hold a record back if it tells an exception."""
        if _watching.get() is not self or record.thread != self._thread or record.levelno < logging.ERROR:
            return True
        exception = record.exc_info[1] if record.exc_info else None
        if not isinstance(exception, Exception):
            return True
        self._held.append(record)
        self.note(exception, exception.__traceback__)
        return False

    @contextlib.contextmanager
    def raised(self) -> Iterator[None]:
        """Raise, at the end of the block, the first exception that came up in it.

        What the client itself raises then, for it has got no answer or none in time, is due to that.
        """
        self._found.clear()
        self._held.clear()
        try:
            with self._listening():
                yield
        except (HTTPClientException, HandshakeError):
            if not self._found:
                raise
        finally:
            found, self._found = self._found, []
            held, self._held = self._held, []
            for record in held:  # but for what is raised
                if record.exc_info and not (found and record.exc_info[1] is found[0][0]):
                    logging.getLogger(record.name).handle(record)
        if found:
            exception, traceback = found[0]
            raise exception.with_traceback(traceback)

    @contextlib.contextmanager
    def _listening(self) -> Iterator[None]:
        app, missing = self._app, object()
        previous = getattr(app, "on_failure", missing)
        if previous is not missing:
            app.on_failure = _Both(self, previous)
        self._thread = threading.get_ident()
        token = _watching.set(self)
        for name in _LOGGERS:
            logging.getLogger(name).addFilter(self)
        try:
            yield
        finally:
            for name in _LOGGERS:
                logging.getLogger(name).removeFilter(self)
            _watching.reset(token)
            if previous is not missing:
                app.on_failure = previous


class _Both:
    """Tells a failure to the client and to the program's own ``on_failure``."""

    def __init__(self, failures: Failures, own: Any) -> None:
        self._failures = failures
        self._own = own

    def __call__(self, request: Any, exception: Exception) -> None:
        self._failures.note(exception, exception.__traceback__)
        if self._own is not None:
            self._own(request, exception)
