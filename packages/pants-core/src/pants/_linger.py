"""Closing a socket so that the peer gets to read the last answer.

A socket that is closed while unread input waits in it, or arrives later, answers with a reset; a reset makes the peer's
kernel throw away what it had received and its program had not read yet. So a socket whose peer has not ended is shut
down for sending, and what still arrives is dropped for a little while, until the peer's end comes (RFC 9112 §9.6 asks
this of an HTTP server). The channel is over by then; only this small object holds the socket.
"""

from __future__ import annotations

import socket
from typing import Final

from pants.engine import READ, Engine

# Seconds, bytes, and sockets of one engine: the most that is spent on peers that do not end.
LINGER_TIME: Final = 2.0
LINGER_BYTES: Final = 4 * 1024 * 1024
LINGER_SOCKETS: Final = 1024


class Linger:
    """A socket that waits for its peer's end.

    Args:
        engine: The engine to watch it.
        sock: A connected socket in clear, watched by nobody; it is closed in the end.
    """

    __slots__ = ("_cancel", "_engine", "_left", "_sock")

    def __init__(self, engine: Engine, sock: socket.socket) -> None:
        self._engine = engine
        self._sock = sock
        self._left = LINGER_BYTES
        others = engine.lingering
        if len(others) >= LINGER_SOCKETS:
            next(iter(others.values()))._abort()  # the oldest
        try:
            sock.shutdown(socket.SHUT_WR)
            engine.watch(sock.fileno(), READ, self._on_events)
        except OSError:  # the peer has gone altogether, or the poller is full
            sock.close()
            return
        others[sock.fileno()] = self
        self._cancel = engine.defer(LINGER_TIME, self._abort)

    def _on_events(self, _events: int) -> None:
        try:
            data = self._sock.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self._left -= len(data)
        if not data or self._left <= 0:
            self._abort()

    def _abort(self) -> None:
        """Close the socket now."""
        fd = self._sock.fileno()
        if fd >= 0:
            self._cancel()
            self._engine.unwatch(fd)
            self._engine.lingering.pop(fd, None)
            self._sock.close()
