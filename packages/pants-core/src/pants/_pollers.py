"""The system calls an engine can wait with, behind one protocol.

An engine talks to its poller in numbers: file descriptors, and masks of `READ`, `WRITE`, `ERROR` and `HANGUP`. The
values are those of epoll, so that on Linux nothing is translated on the hot path.

Pollers are level-triggered: a condition that still holds is reported again by the next `poll`. The engine counts on
it; it drops what is left of a batch when it is interrupted.
"""

from __future__ import annotations

import errno
import math
import select
from typing import Any, Final, Protocol, runtime_checkable

__all__ = ["ERROR", "HANGUP", "READ", "WRITE", "Epoll", "Kqueue", "Poller", "Select", "best_poller"]

READ: Final = 0x001
WRITE: Final = 0x004
ERROR: Final = 0x008
HANGUP: Final = 0x010

# The module again, without types: what it has depends on the platform, and mypy knows of one at a time.
_kernel: Any = select

# Descriptors reported by one call. More only make the array larger that the kernel is handed each turn; what does not
# fit is reported by the next turn.
MAX_EVENTS: Final = 512


@runtime_checkable
class Poller(Protocol):
    """What an `Engine` asks of the object passed to it as ``poller`` (manual: "Pollers").

    Every method is called from the engine's thread only. A descriptor that is watched with a mask of 0 may still be
    reported with `ERROR` or `HANGUP`.

    Example:
        >>> import select
        >>> from pants.engine import Engine, Select
        >>> class Counting(Select):
        ...     calls = 0
        ...     def poll(self, timeout):
        ...         self.calls += 1
        ...         return super().poll(timeout)
        >>> poller = Counting()
        >>> engine = Engine(poller)
        >>> engine.poll(0)
        >>> poller.calls
        1
        >>> engine.close()
    """

    def add(self, fd: int, events: int) -> None:
        """Begin to watch ``fd`` for the conditions in ``events`` (of `READ` and `WRITE`)."""

    def modify(self, fd: int, events: int) -> None:
        """Watch ``fd``, which is watched already, for ``events`` from now on."""

    def remove(self, fd: int) -> None:
        """Watch ``fd`` no more."""

    def poll(self, timeout: float | None) -> list[tuple[int, int]]:
        """Wait for events.

        Args:
            timeout: The longest time to wait, in seconds; 0 does not wait, None waits without end. It must not be
                undercut by rounding, or timers make the engine spin.

        Returns:
            A new list of ``(fd, events)``, each descriptor at most once. Where `READ` is watched, an error or a
            hang-up may be reported as such or as `READ`.
        """

    def fileno(self) -> int | None:
        """A descriptor that turns readable when `poll` would report something, or None where there is no such thing."""

    def close(self) -> None:
        """Give back all resources. The poller is not used again."""


class Epoll:
    """epoll(7), on Linux."""

    def __init__(self) -> None:
        self._epoll = _kernel.epoll()
        if type(self) is Epoll:  # a call less on each turn, where no subclass has a say
            self.poll = self._epoll.poll  # type: ignore[method-assign]

    def add(self, fd: int, events: int) -> None:
        """See `Poller.add`."""
        self._epoll.register(fd, events)

    def modify(self, fd: int, events: int) -> None:
        """See `Poller.modify`."""
        self._epoll.modify(fd, events)

    def remove(self, fd: int) -> None:
        """See `Poller.remove`."""
        self._epoll.unregister(fd)

    def poll(self, timeout: float | None) -> list[tuple[int, int]]:
        """See `Poller.poll`. The kernel's resolution is a millisecond; `select.epoll` rounds up."""
        found: list[tuple[int, int]] = self._epoll.poll(timeout)
        return found

    def fileno(self) -> int | None:
        """See `Poller.fileno`."""
        fd: int = self._epoll.fileno()
        return fd

    def close(self) -> None:
        """See `Poller.close`."""
        self._epoll.close()


class Kqueue:
    """kqueue(2), on macOS and the BSDs.

    kqueue has one filter for each direction, so the mask last asked for is kept to know which to add and delete.
    """

    def __init__(self) -> None:
        self._kqueue = _kernel.kqueue()
        self._masks: dict[int, int] = {}

    def _change(self, fd: int, old: int, new: int) -> None:
        changes = [
            _kernel.kevent(fd, filter_, _kernel.KQ_EV_ADD if new & bit else _kernel.KQ_EV_DELETE)
            for bit, filter_ in ((READ, _kernel.KQ_FILTER_READ), (WRITE, _kernel.KQ_FILTER_WRITE))
            if (old ^ new) & bit
        ]
        if changes:
            self._kqueue.control(changes, 0)
        self._masks[fd] = new

    def add(self, fd: int, events: int) -> None:
        """See `Poller.add`."""
        self._change(fd, 0, events)

    def modify(self, fd: int, events: int) -> None:
        """See `Poller.modify`."""
        self._change(fd, self._masks[fd], events)

    def remove(self, fd: int) -> None:
        """See `Poller.remove`."""
        self._change(fd, self._masks[fd], 0)
        del self._masks[fd]

    def poll(self, timeout: float | None) -> list[tuple[int, int]]:
        """See `Poller.poll`. A descriptor that is ready both ways comes as two kernel events, merged here."""
        found: dict[int, int] = {}
        for event in self._kqueue.control(None, MAX_EVENTS, timeout):
            bits = READ if event.filter == _kernel.KQ_FILTER_READ else WRITE
            if event.flags & _kernel.KQ_EV_ERROR:
                bits |= ERROR
            elif event.flags & _kernel.KQ_EV_EOF and event.fflags:
                bits |= ERROR | HANGUP  # fflags carries the socket's error; a mere end of file has none
            found[event.ident] = found.get(event.ident, 0) | bits
        return list(found.items())

    def fileno(self) -> int | None:
        """See `Poller.fileno`."""
        fd: int = self._kqueue.fileno()
        return fd

    def close(self) -> None:
        """See `Poller.close`."""
        self._kqueue.close()


class Select:
    """select(2), everywhere. The kernel's limit of 1,024 descriptors holds for it."""

    # FD_SETSIZE, which Python does not export. Beyond it every later poll would fail, so it is refused at add().
    LIMIT: Final = 1024

    def __init__(self) -> None:
        self._readers: set[int] = set()
        self._writers: set[int] = set()

    def add(self, fd: int, events: int) -> None:
        """See `Poller.add`.

        Raises:
            OSError: ``fd`` is beyond what select can watch.
        """
        if fd >= self.LIMIT:
            reason = f"select cannot watch descriptor {fd}: it ends at {self.LIMIT - 1}; use epoll or kqueue"
            raise OSError(errno.EMFILE, reason)
        self.modify(fd, events)

    def modify(self, fd: int, events: int) -> None:
        """See `Poller.modify`."""
        (self._readers.add if events & READ else self._readers.discard)(fd)
        (self._writers.add if events & WRITE else self._writers.discard)(fd)

    def remove(self, fd: int) -> None:
        """See `Poller.remove`."""
        self.modify(fd, 0)

    def poll(self, timeout: float | None) -> list[tuple[int, int]]:
        """See `Poller.poll`."""
        if timeout is not None:
            timeout = math.ceil(timeout * 1e6) / 1e6
        # A failed connection attempt is among the writable on POSIX, so the exceptional set is not asked for.
        readable, writable, _ = select.select(self._readers, self._writers, (), timeout)
        found = dict.fromkeys(readable, READ)
        for fd in writable:
            found[fd] = found.get(fd, 0) | WRITE
        return list(found.items())

    def fileno(self) -> int | None:
        """None: select has no descriptor of its own."""
        return None

    def close(self) -> None:
        """See `Poller.close`."""
        self._readers.clear()
        self._writers.clear()


def best_poller() -> Poller:
    """The quickest poller that this platform has."""
    if hasattr(select, "epoll"):
        return Epoll()
    if hasattr(select, "kqueue"):
        return Kqueue()
    return Select()
