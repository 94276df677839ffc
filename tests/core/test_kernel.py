"""What the kernel tells of a socket."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

import pytest

from pants import Stream, _kernel
from pants.testing import connected_pair, run_until


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()) as one,
        listener.accept()[0] as other,
    ):
        yield one, other


def test_unread(pair: tuple[socket.socket, socket.socket]) -> None:
    one, other = pair
    assert _kernel.unread(other) == 0
    one.sendall(b"12345")
    run_until(lambda: _kernel.unread(other) == 5)
    other.recv(2)
    assert _kernel.unread(other) == 3
    other.close()
    assert _kernel.unread(other) == 0


def test_unacknowledged(pair: tuple[socket.socket, socket.socket]) -> None:
    """What the other end's kernel has no room for is not acknowledged; what it has taken is."""
    one, other = pair
    one.setblocking(False)
    sent = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            sent += one.send(bytes(65536))
    waiting = _kernel.unacknowledged(one)
    assert 0 < waiting <= sent
    taken = 0
    while taken < sent:
        taken += len(other.recv(65536))
    run_until(lambda: _kernel.unacknowledged(one) == 0)
    one.close()
    assert _kernel.unacknowledged(one) == 0


class Told(Stream):
    """Counts the calls of `on_write`."""

    def on_connect(self) -> None:
        self.written = 0

    def on_write(self) -> None:
        self.written += 1


@pytest.mark.parametrize("tell", [False, True])
def test_what_is_sent_at_once(tell: bool) -> None:
    with connected_pair(Told, Told) as (one, other):
        received: list[bytes] = []
        other.on_read = received.append
        one._send_at_once(b"now", tell)
        assert one.written == 0  # no hook is called inside
        assert other.socket is not None
        run_until(lambda: received == [b"now"])
        one.write(b"first")
        one._send_at_once(b" second", tell)  # behind what waits
        run_until(lambda: b"".join(received) == b"nowfirst second")
        run_until(lambda: one.written == 1 + tell)


def test_what_is_sent_at_once_and_not_taken_whole() -> None:
    size = 32 * 1024 * 1024
    with connected_pair(Told, Told) as (one, other):
        received = 0
        threads = threading.active_count()

        def count(data: bytes) -> None:
            nonlocal received
            received += len(data)

        other.on_read = count
        other.pause_reading()
        one._send_at_once(bytes(size), True)
        assert 0 < one.queued_bytes < size
        assert one._outstanding() > one.queued_bytes
        other.resume_reading()
        run_until(lambda: received == size and one.written == 1)
        run_until(lambda: one._outstanding() == 0)
        assert threading.active_count() == threads


def test_what_is_sent_at_once_to_a_peer_that_has_gone() -> None:
    with connected_pair(Told, Told) as (one, other):
        other.close(flush=False)
        run_until(lambda: other.closed)
        for _ in range(3):
            if one.connected:
                one._send_at_once(b"nobody", True)
        run_until(lambda: one.closed)
