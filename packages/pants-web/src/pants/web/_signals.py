"""Signals: which of them a process that serves takes, and a queue of them for one that only looks after others.

What handler the program has set, or whoever has started it, is left alone: a signal that is ignored stays so, as SIGINT
is in what a shell script starts in the background.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
from collections.abc import Callable, Iterator, Mapping
from types import FrameType
from typing import Any, Final, Self

SignalHandler = Callable[[int, FrameType | None], Any]

#: What asks a server to end.
ENDING: Final = frozenset({signal.SIGINT, signal.SIGTERM})


def ignore(_signum: int, _frame: FrameType | None) -> None:
    """Do nothing on a signal. Unlike SIG_IGN, programs that this process starts do not inherit it."""


class Postponed:
    """A handler that only notes a signal, for whoever is to deal with it is not ready yet."""

    def __init__(self) -> None:
        self._signums: set[int] = set()

    def __call__(self, signum: int, _frame: FrameType | None) -> None:
        """Note it."""
        self._signums.add(signum)

    def deliver(self) -> None:
        """Raise again what has arrived."""
        while self._signums:
            signal.raise_signal(self._signums.pop())


def is_free(signum: int) -> bool:
    """Whether a signal may be taken, for nobody has decided what happens on it."""
    handler = signal.getsignal(signum)
    if signum in (signal.SIGHUP, signal.SIGCHLD) and handler == signal.SIG_IGN:
        return True  # the first is nohup's: the process is not to end with its terminal, and will not
    return handler in (signal.SIG_DFL, signal.default_int_handler) or isinstance(handler, Postponed)


@contextlib.contextmanager
def handled(handlers: Mapping[int, SignalHandler]) -> Iterator[None]:
    """Have signals handled, those of them that are free; afterwards by whatever did so before. In the main thread."""
    previous: list[tuple[int, SignalHandler, Any]] = []
    try:
        for signum, handler in handlers.items():
            if is_free(signum):
                previous.append((signum, handler, signal.signal(signum, handler)))
        yield
    finally:
        for signum, ours, before in previous:
            if signal.getsignal(signum) == ours:
                signal.signal(signum, before)


class TerminalWatch:
    """Tells a SIGHUP that a terminal sends which goes away from one that somebody sends on purpose."""

    def __init__(self) -> None:
        self._counts = signal.getsignal(signal.SIGHUP) != signal.SIG_IGN and _has_terminal()

    @property
    def has_hung_up(self) -> bool:
        """Whether there was a terminal, and is none any more."""
        return self._counts and not _has_terminal()


def _has_terminal() -> bool:
    try:
        os.close(os.open(os.ctermid(), os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True


class SignalQueue:
    """The signals that arrive, one after another. A context manager, for the main thread.

    Args:
        signums: Those that are waited for.
    """

    def __init__(self, *signums: int) -> None:
        self._signums = frozenset(signums)
        self._taken = contextlib.ExitStack()
        self.reader = self.writer = -1

    def __enter__(self) -> Self:
        self.reader, self.writer = os.pipe()
        os.set_blocking(self.reader, False)
        os.set_blocking(self.writer, False)
        self._taken.callback(self._close)
        previous = signal.set_wakeup_fd(self.writer, warn_on_full_buffer=False)
        self._taken.callback(signal.set_wakeup_fd, previous)
        # Python writes the number of a signal to the descriptor only where it has a handler of its own.
        self._taken.enter_context(handled(dict.fromkeys(self._signums, ignore)))
        return self

    def __exit__(self, *exception: object) -> None:
        self._taken.close()

    def _close(self) -> None:
        os.close(self.reader)
        os.close(self.writer)

    def leave_in_child(self) -> None:
        """Undo it all in a child that was forked, where every signal has its usual effect from then on."""
        signal.set_wakeup_fd(-1)
        for signum in self._signums:
            if signal.getsignal(signum) is ignore:
                signal.signal(signum, signal.default_int_handler if signum == signal.SIGINT else signal.SIG_DFL)
        self._close()

    def wait(self, timeout: float | None, *fds: int) -> list[int]:
        """Wait until a signal arrives, one of the descriptors can be read, or the time is over.

        Args:
            timeout: Seconds; None for no limit.
            fds: Descriptors.

        Returns:
            The signals that have arrived.
        """
        poller = select.poll()
        for fd in (self.reader, *fds):
            poller.register(fd, select.POLLIN)
        # The kernel counts in milliseconds; rounded down, the last of them would be spent in asking again and again.
        poller.poll(None if timeout is None else max(0.0, timeout) * 1000 + 1)
        try:
            arrived = os.read(self.reader, 512)
        except BlockingIOError:
            return []
        return [signum for signum in arrived if signum in self._signums]
