"""What a server tells on standard error: what it logs, a line for each request, and where it can be reached."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Iterator
from typing import Any, Final

from pants.http import AccessLog, HTTPRequest

#: The format of the access log where none is given: "common", and how long it took.
ACCESS_FORMAT: Final = '%h %l %u %t "%r" %>s %b %Dus'

_ACCESS: Final = "pants.http.access"


class _WhereSeen:
    def __repr__(self) -> str:
        return "<where standard error is a terminal>"


#: Writes an access log only where somebody may be looking.
WHERE_SEEN: Final[Any] = _WhereSeen()


def tell(text: str) -> None:
    """Write a text to standard error, if there is one that takes it; a line, or several."""
    with contextlib.suppress(OSError, ValueError, AttributeError):  # gone, closed, or None
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()


@contextlib.contextmanager
def logged() -> Iterator[None]:
    """Have what Pants logs, from INFO on, written to standard error, unless the program has configured logging."""
    # Both are asked before either changes, for the one is above the other.
    formats = {
        name: text
        for name, text in ((_ACCESS, "%(message)s"), ("pants", "%(asctime)s %(levelname)s %(name)s: %(message)s"))
        if sys.stderr is not None and not logging.getLogger(name).hasHandlers()
    }
    with contextlib.ExitStack() as undo:
        for name, text in formats.items():
            undo.enter_context(_written(logging.getLogger(name), text))
        yield


@contextlib.contextmanager
def _written(logger: logging.Logger, text: str) -> Iterator[None]:
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter(text))
    level, propagates = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.propagate = False
    if level == logging.NOTSET:
        logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.setLevel(level)
        logger.propagate = propagates
        logger.removeHandler(handler)


class ConsoleLog(AccessLog):
    """An access log that goes to standard error directly: the lines of one turn of the engine in one piece.

    A third of what it costs by way of the logging module, which makes a record of each line and flushes it.
    """

    __slots__ = ("_lines",)

    def __init__(self, format: str = ACCESS_FORMAT) -> None:  # noqa: A002 - as its base has it
        super().__init__(format)
        self._lines: list[str] = []

    def log(self, request: HTTPRequest) -> None:
        """Write the line of a request before the engine waits again."""
        if not self._lines:
            request.connection.engine.attend(self._write)
        self._lines.append(self.line(request))

    def _write(self) -> None:
        text = "\n".join(self._lines)
        self._lines.clear()
        tell(text)


def access_log(wanted: Any) -> Any:
    """Return what an `HTTPServer` takes as its ``access_log``.

    Args:
        wanted: `WHERE_SEEN`; True for one in the usual format, False or None for none; a format; or an `AccessLog`.

    Raises:
        ValueError: Something in the format is not known.
    """
    if wanted is WHERE_SEEN:
        wanted = sys.stderr is not None and sys.stderr.isatty()
    if wanted is True:
        wanted = ACCESS_FORMAT
    if isinstance(wanted, str):
        is_configured = sys.stderr is None or logging.getLogger(_ACCESS).hasHandlers()
        return AccessLog(wanted) if is_configured else ConsoleLog(wanted)
    return None if wanted is False else wanted
