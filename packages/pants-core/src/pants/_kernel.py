"""What the kernel holds for a socket."""

from __future__ import annotations

import fcntl
import socket
import struct
import termios
from typing import Final

_INT: Final = struct.Struct("i")


def unread(sock: socket.socket) -> int:
    """Return how many bytes have been received and not been read; 0 where that cannot be told."""
    return _ask(sock, termios.FIONREAD)


def unacknowledged(sock: socket.socket) -> int:
    """Return how many bytes have been sent, and the other end has not acknowledged; 0 where that cannot be told."""
    return _ask(sock, termios.TIOCOUTQ)


def _ask(sock: socket.socket, request: int) -> int:
    try:
        answer: int = _INT.unpack(fcntl.ioctl(sock, request, bytes(_INT.size)))[0]
    except OSError:  # closed, or of another kind
        return 0
    return answer
