"""Names to addresses, off the loop.

`getaddrinfo` blocks, sometimes for half a minute, so it runs in a few threads of this module's own. They are daemons: a
name server that does not answer must not keep the process from ending, as the threads of `concurrent.futures` would.
"""

from __future__ import annotations

import contextlib
import errno
import os
import queue
import socket
import threading
from collections.abc import Callable
from typing import Any, Final

from pants.engine import Engine

# An address as connect() takes it, with its family.
Resolved = tuple[int, Any]
Result = list[Resolved] | OSError

MAX_THREADS: Final = 8
# Seconds after which a thread with nothing to do ends.
IDLE_TIME: Final = 10.0


class Lookup:
    """One look-up under way.

    Args:
        engine: In whose loop ``on_done`` is called, never before this constructor has returned.
        on_done: Called with the addresses (at least one), or with the OSError that getaddrinfo raised.
    """

    __slots__ = ("_on_done", "engine", "query")

    def __init__(self, engine: Engine, host: str, port: int, family: int, on_done: Callable[[Result], object]) -> None:
        self.engine = engine
        self.query = (host, port, family)
        self._on_done: Callable[[Result], object] | None = on_done
        numeric = look_up(host, port, family, socket.AI_NUMERICHOST)
        if isinstance(numeric, OSError):
            _threads.submit(self)
        else:
            engine.attend(lambda: self.finish(numeric))

    @property
    def wanted(self) -> bool:
        """Whether somebody still waits for the result."""
        return self._on_done is not None

    def cancel(self) -> None:
        """Forget it; ``on_done`` is not called."""
        self._on_done = None

    def finish(self, result: Result) -> None:
        """Tell the result, in the engine's thread."""
        if self._on_done is not None:
            on_done, self._on_done = self._on_done, None
            on_done(result)


def look_up(host: str, port: int, family: int, flags: int = 0) -> Result:
    """Ask getaddrinfo. Whatever it raises for a bad name is an OSError in the result."""
    try:
        found = socket.getaddrinfo(host, port, family, socket.SOCK_STREAM, 0, flags)
    except OSError as error:
        return error.with_traceback(None)
    except MemoryError:
        return socket.gaierror(socket.EAI_MEMORY, "out of memory")
    except ValueError as error:  # a label too long or empty, in Python's IDNA codec
        return socket.gaierror(socket.EAI_NONAME, f"not a valid host name ({error})")
    addresses = [(int(entry[0]), entry[4]) for entry in found if entry[0] in (socket.AF_INET, socket.AF_INET6)]
    return addresses or socket.gaierror(socket.EAI_NONAME, "the name has no address")


class _Threads:
    """A few threads that take look-ups from one queue, started when there is more to do than they can take."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._queue: queue.SimpleQueue[Lookup] = queue.SimpleQueue()
        self._running = 0
        self._unfinished = 0

    def submit(self, lookup: Lookup) -> None:
        with self._lock:
            self._queue.put(lookup)
            self._unfinished += 1
            if self._unfinished <= self._running or self._running == MAX_THREADS:
                return
            self._running += 1
        try:
            threading.Thread(target=self._work, name="pants-resolver", daemon=True).start()
        except RuntimeError as error:  # there are too many threads already
            with self._lock:
                self._running -= 1
                alone = not self._running
            if alone:
                failure = OSError(errno.EAGAIN, str(error))
                lookup.engine.attend(lambda: lookup.finish(failure))

    def _work(self) -> None:
        while True:
            try:
                lookup = self._queue.get(timeout=IDLE_TIME)
            except queue.Empty:
                with self._lock:
                    if self._queue.empty():
                        self._running -= 1
                        return
                continue
            result = look_up(*lookup.query) if lookup.wanted else None
            with self._lock:
                self._unfinished -= 1
            if result is not None:
                with contextlib.suppress(RuntimeError):  # the engine has closed meanwhile
                    lookup.engine.call_from_thread(lookup.finish, result)
            del lookup, result


_threads = _Threads()


def _start_anew() -> None:
    """A forked child has none of its parent's threads, whatever was counted."""
    global _threads
    _threads = _Threads()


os.register_at_fork(after_in_child=_start_anew)
