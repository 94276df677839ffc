"""How workers share the connections evenly.

The kernel gives a connection to any of the sockets that listen on an address: at random on Linux, so that of 50
connections one of two workers often has 30; elsewhere to one of them, always. So a worker that accepts a connection
while it has more of them than another hands it to that one, by a pair of UNIX sockets (SCM_RIGHTS, unix(7)). How many
each has stands in memory that all of them share. A request costs nothing of this, nor does a connection that stays.
"""

from __future__ import annotations

import mmap
import os
import socket
import struct
from typing import Any, Final

from pants.engine import READ
from pants.http import HTTPServer

# What a descriptor goes with: a byte, so that none is ever cut in two.
_MESSAGE: Final = b"\0"
_CELL: Final = struct.calcsize("q")
# The cells of a worker, behind the one for what is open; those of the others' hands are the last.
_TAKEN: Final = 1
_BEGUN: Final = 2
_HANDED: Final = 3

# What a worker is said to have when it cannot take any.
_NONE: Final = 1 << 60
# A worker to which so many were handed that it has not taken yet is held up, and gets no more.
_MOST_UNTAKEN: Final = 64
# Connections taken in one go, before others have their turn.
_TAKEN_PER_TURN: Final = 64


class Board:
    """What the workers know of each other, and the sockets by which they hand over connections.

    It is made before the workers are forked. The memory has for each worker the number of connections that are open,
    the number of those it has taken that were handed to it, how often one in its place has begun to serve, and how many
    each of the others has handed to it so far; what has been handed over and not taken is on its way. Each cell is
    written by one process only, or by one after another, so there is nothing to lock.

    Args:
        count: The number of workers.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._width = _HANDED + count
        self._memory = mmap.mmap(-1, max(1, count * self._width) * _CELL)
        self._cells = memoryview(self._memory).cast("q")
        self._pairs = [socket.socketpair() for _ in range(count)]
        for pair in self._pairs:
            for end in pair:
                end.setblocking(False)
        for worker in range(count):
            self.withdraw(worker)

    def close(self) -> None:
        """Close the sockets."""
        for pair in self._pairs:
            for end in pair:
                end.close()

    def withdraw(self, worker: int) -> None:
        """Have a worker get no connections: there is none, or it ends."""
        self.set_open(worker, _NONE)

    def set_open(self, worker: int, count: int) -> None:
        """Tell how many connections a worker has; it does so itself."""
        self._cells[worker * self._width] = count

    def note_beginning(self, worker: int) -> None:
        """Tell that a worker serves now; it does so itself."""
        self._cells[worker * self._width + _BEGUN] += 1

    def beginnings(self, worker: int) -> int:
        """Return how often a worker has begun to serve; it is replaced now and then."""
        return self._cells[worker * self._width + _BEGUN]

    def find_lighter(self, worker: int) -> int | None:
        """Return the worker that has the fewest connections, those on their way to it included.

        Returns:
            None if no other has fewer than ``worker``.
        """
        cells, width = self._cells, self._width
        at = worker * width
        fewest = cells[at] + sum(cells[at + _HANDED : at + width]) - cells[at + _TAKEN]
        found = None
        for other in range(self.count):
            at = other * width
            if cells[at] < fewest:
                load = cells[at] + sum(cells[at + _HANDED : at + width]) - cells[at + _TAKEN]
                if load < fewest and load - cells[at] < _MOST_UNTAKEN:
                    fewest, found = load, other
        return found

    def hand_over(self, worker: int, other: int, sock: socket.socket) -> bool:
        """Hand a connection from one worker to another.

        Returns:
            Whether it has been; if not, it is still this worker's.
        """
        try:
            socket.send_fds(self._pairs[other][1], [_MESSAGE], [sock.fileno()])
        except OSError:  # there is no room, or too many descriptors are on their way
            return False
        self._cells[other * self._width + _HANDED + worker] += 1
        return True

    def inbox(self, worker: int) -> socket.socket:
        """Return the socket that can be read when there is something for a worker."""
        return self._pairs[worker][0]

    def take(self, worker: int) -> socket.socket | None:
        """Return a connection that was handed to a worker; None for one that could not be taken.

        Raises:
            BlockingIOError: There is no other.
        """
        message, fds, _, _ = socket.recv_fds(self._pairs[worker][0], len(_MESSAGE), 1)
        self._cells[worker * self._width + _TAKEN] += len(message)
        if not fds:
            return None
        os.set_inheritable(fds[0], False)  # unlike those that Python makes, it is (PEP 446)
        return socket.socket(fileno=fds[0])


class SharingServer(HTTPServer):
    """The server of one worker.

    Args:
        board: What the workers know of each other.
        worker: Which of them this is.
        **kwargs: For `pants.http.HTTPServer`.
    """

    def __init__(self, *args: Any, board: Board, worker: int, **kwargs: Any) -> None:
        self._board = board
        self._worker = worker
        super().__init__(*args, **kwargs)

    def begin_sharing(self) -> None:
        """Take what other workers hand over, from now on."""
        self._note_open()
        self._board.note_beginning(self._worker)
        self.engine.watch(self._board.inbox(self._worker).fileno(), READ, self._on_handed)

    def stop_listening(self) -> None:
        """Accept no more connections, and take none but those that have been handed over already."""
        if self.listening:
            self._on_handed(READ)
        self._withdraw()
        super().stop_listening()

    def close(self) -> None:
        """Close the server at once."""
        self._withdraw()
        super().close()

    def _withdraw(self) -> None:
        self._board.withdraw(self._worker)
        self.engine.unwatch(self._board.inbox(self._worker).fileno())

    def _note_open(self) -> None:
        if self.listening:
            self._board.set_open(self._worker, len(self.channels) + len(self._header_readers))

    def _accepted(self, sock: socket.socket, addr: Any, header: Any = None) -> None:
        if header is None:
            self._note_open()  # nobody has told of those that have gone before their PROXY header was there
            lighter = self._board.find_lighter(self._worker)
            if lighter is not None and self._board.hand_over(self._worker, lighter, sock):
                sock.close()
                return
        self._keep(sock, addr, header)

    def _keep(self, sock: socket.socket, addr: Any, header: Any = None) -> None:
        super()._accepted(sock, addr, header)
        self._note_open()

    def _forget(self, fd: int, channel: Any) -> None:
        super()._forget(fd, channel)
        self._note_open()

    def _on_handed(self, _events: int) -> None:
        for _ in range(_TAKEN_PER_TURN):
            try:
                sock = self._board.take(self._worker)
            except OSError:  # there is no other, most likely
                return
            if sock is None:
                continue
            try:
                addr = sock.getpeername()
            except OSError:  # it has gone already
                sock.close()
                continue
            self._keep(sock, addr)
            if not self.listening:
                return
