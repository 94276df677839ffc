"""One process that serves: it runs its engine until it is told to end, and ends without cutting anybody off.

It is told by SIGINT or SIGTERM, or by the end of a pipe whose other end is with the process that looks after this one.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import select
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Final

from pants.engine import READ, _in_hook
from pants.http import HTTPServer
from pants.web._console import tell
from pants.web._signals import TerminalWatch, handled, ignore

log = logging.getLogger("pants.web")

# Seconds in which requests are read that have arrived when the process is told to end.
_SETTLING: Final = 0.02
# So many times as many connections are accepted then as the server accepts in one go: all that may wait.
_LAST_ACCEPTS: Final = 16
# Seconds between two looks at whether all connections have closed.
_LOOK_INTERVAL: Final = 0.02
# Seconds until those at a terminal are told what is being waited for.
_PATIENCE: Final = 0.5
# Seconds, beyond those of the grace, until the engine is stopped whatever there is left.
_MARGIN: Final = 3.0
# Seconds for which clients that have not closed their end, when all is answered, may still read what they got.
_LINGER: Final = 0.25


class Serving:
    """A server that runs until its engine stops, or the process is told to end.

    The first signal shuts the server down gracefully; the second closes it at once. Both are dealt with by the loop; a
    hook that holds the loop up is interrupted by the second.

    Args:
        server: A server that listens.
        grace: Seconds after which connections are closed whose requests are not answered then; None for never.
        life: A descriptor that can be read when the process that looks after this one has ended; where there is such a
            process, Ctrl-C is dealt with by that.
    """

    def __init__(self, server: HTTPServer, grace: float | None, life: int | None = None) -> None:
        self.server = server
        self.grace = grace
        self.life = life
        self._engine = server.engine
        self._asked = 0  # to end, by signals
        self._taken = 0  # by the loop
        self._is_ending = False
        self._overdue = math.inf  # on the engine's clock
        self._terminal = TerminalWatch() if life is None else None
        self._undo = contextlib.ExitStack()

    def run(self, begin: Callable[[], object] | None = None) -> None:
        """Serve. Afterwards the server is closed.

        Args:
            begin: Called when signals are dealt with already, and the engine is not running yet.

        Raises:
            RuntimeError: The engine is running already.
        """
        try:
            with self._undo:
                if threading.current_thread() is threading.main_thread():
                    self._undo.enter_context(handled(self._handlers()))
                if self.life is not None:
                    self._engine.watch(self.life, READ, self._on_life)
                    self._undo.callback(self._engine.unwatch, self.life)
                if begin is not None:
                    begin()
                self._engine.start()
        except KeyboardInterrupt:
            pass
        finally:
            self.server.close()
            if not self._engine.closed:
                self._engine.poll(0)  # the connections are closed

    def _handlers(self) -> dict[int, Callable[[int, FrameType | None], object]]:
        return {
            # A terminal sends it to all processes, and one of them is enough to decide what it means.
            signal.SIGINT: self._on_end if self.life is None else ignore,
            signal.SIGTERM: self._on_end,
            signal.SIGHUP: self._on_hang_up,
        }

    # --- In the middle of whatever is running -------------------------------------------------------------------

    def _on_end(self, _signum: int, frame: FrameType | None) -> None:
        held_up = self._asked - self._taken
        self._asked += 1
        if held_up > 1 or (held_up and _in_hook(frame)):
            raise KeyboardInterrupt
        self._call(self.end)

    def _on_hang_up(self, _signum: int, _frame: FrameType | None) -> None:
        self._call(self._hang_up)

    def _call(self, function: Callable[[], object]) -> None:
        with contextlib.suppress(RuntimeError):  # the engine has closed
            self._engine.call_from_thread(function)

    # --- In the loop --------------------------------------------------------------------------------------------

    def end(self) -> None:
        """End, gracefully; called again, at once."""
        self._taken += 1
        if self._is_ending:
            self.server.close()
            self._engine.stop()
            return
        self._is_ending = True
        self._accept_the_last()
        self._undo.callback(self._engine.defer(_SETTLING, self.server.shutdown, self.grace))
        now = self._engine.time
        if self.grace is not None:
            self._overdue = now + self.grace + _SETTLING + _MARGIN
        self._undo.callback(self._engine.cycle(_LOOK_INTERVAL, self._look))
        if self.life is None:
            self._undo.callback(self._engine.defer(_PATIENCE, self._tell_what_is_left))
        self._look()

    def _accept_the_last(self) -> None:
        """Take the connections that wait, whose requests may have arrived, and listen no more."""
        server = self.server
        server.keep_alive = False
        for _ in range(_LAST_ACCEPTS):
            if server.listening and server._cancel_back_off is None:  # else descriptors have run out
                server._on_socket_events(READ)
        server.stop_listening()

    def _look(self) -> None:
        """Stop the engine if nobody is left who waits for an answer, or has not received all of it."""
        server, engine = self.server, self._engine
        if server.closed and not server.channels:
            self._overdue = min(self._overdue, engine.time + (_LINGER if engine.lingering else 0.0))
        if engine.time >= self._overdue:
            engine.stop()

    def _tell_what_is_left(self) -> None:
        count = len(self.server.channels)
        if count:
            connections = "a connection" if count == 1 else f"{count} connections"
            tell(f"Waiting for {connections} whose requests are being answered - Ctrl-C closes at once")

    def _on_life(self, _events: int) -> None:
        assert self.life is not None
        if not has_ended(self.life):
            return
        self._engine.unwatch(self.life)
        if not self._is_ending:
            self.end()

    def _hang_up(self) -> None:
        if self._terminal is not None and self._terminal.has_hung_up:
            self.end()
        else:
            reload_certificates(self.server)


def has_ended(life: int) -> bool:
    """Whether there is nobody any more at the other end of a pipe or a pair of sockets that can be read."""
    poller = select.poll()
    poller.register(life, select.POLLIN)
    if not poller.poll(0):
        return False
    try:
        return not os.read(life, 512)
    except OSError:
        return True


def reload_certificates(server: HTTPServer) -> bool:
    """Have a server read its certificate anew; if that fails it goes on with what it has.

    Returns:
        Whether it has another now.
    """
    if server._tls_settings is None:
        log.info("SIGHUP is for reading the certificate again; this server has no TLS")
        return False
    try:
        server.reload_ssl()
    except Exception as error:  # noqa: BLE001 - a function that tells the password may raise anything
        log.error("The certificate could not be read again, so the one before stays in use: %s", error)
        return False
    log.info("The certificate has been read again")
    return True
