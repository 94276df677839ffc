"""What the kernel holds for a socket."""

from __future__ import annotations

import fcntl
import socket
import struct
import sys
import termios
from typing import Final

_INT: Final = struct.Struct("i")
_LONG: Final = struct.Struct("Q")
# tcp(7). tcpi_bytes_acked stands behind 8 octets, 24 ints and two rates; only Linux has it there.
_TCP_INFO: Final = getattr(socket, "TCP_INFO", None) if sys.platform == "linux" else None
_ACKED: Final = 8 + 24 * 4 + 2 * 8


def unread(sock: socket.socket) -> int:
    """Return how many bytes have been received and not been read; 0 where that cannot be told."""
    return _ask(sock, termios.FIONREAD)


def unacknowledged(sock: socket.socket) -> int:
    """Return how many bytes have been sent, and the other end has not acknowledged; 0 where that cannot be told."""
    return _ask(sock, termios.TIOCOUTQ)


def acknowledged(sock: socket.socket) -> int | None:
    """Return how many bytes the other end has acknowledged so far; None where that cannot be told."""
    if _TCP_INFO is None:
        return None
    try:
        answer: int = _LONG.unpack_from(sock.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, _ACKED + _LONG.size), _ACKED)[0]
    except (OSError, struct.error, NotImplementedError, TypeError):  # of another kind, closed, or of an old kernel
        return None
    return answer


def _ask(sock: socket.socket, request: int) -> int:
    try:
        answer: int = _INT.unpack(fcntl.ioctl(sock, request, bytes(_INT.size)))[0]
    except (OSError, ValueError):  # of another kind, or closed
        return 0
    return answer
