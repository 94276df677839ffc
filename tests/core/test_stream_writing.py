"""Streams: what is written (manual: "Writing Data", "write", "write_file", "write_packed", "flush", "on_write")."""

from __future__ import annotations

import array
import ctypes
import errno
import io
import mmap
import os
import re
import socket
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from netstruct import NetStruct

from pants import Engine, Stream
from pants.errors import FileShrunk
from tests.conftest import ExpectedLog
from tests.core.support import (
    Pair,
    Peer,
    Recorder,
    connected,
    descriptors,
    fill,
    manual_engine,
    pattern,
    run_for,
    run_until,
    tcp_pair,
    turns,
    unix_pair,
)

both_kinds = pytest.mark.parametrize("pair", [tcp_pair, unix_pair], ids=["TCP", "UNIX"])

MiB = 1 << 20


class Counting(socket.socket):
    """A socket that writes down what is sent by each system call."""

    sends: list[bytes]

    def send(self, data: Any, *args: Any) -> int:
        sent = super().send(data, *args)
        self.sends.append(bytes(data[:sent]))
        return sent


def counting_pair(buffer: int | None = None) -> tuple[Counting, socket.socket]:
    one, other = tcp_pair(buffer)
    counting = Counting(fileno=one.detach())
    counting.sends = []
    return counting, other


def sends(stream: Stream) -> list[bytes]:
    assert isinstance(stream.socket, Counting)
    return stream.socket.sends


# --- write -----------------------------------------------------------------------------------------------------------


@both_kinds
def test_writes_arrive_in_order(pair: Pair) -> None:
    with connected(Recorder, pair=pair) as (stream, peer):
        pieces = [pattern(size) for size in (1, 100, 70_000, 3, 0, 200_000, 65_536, 1)]
        for piece in pieces:
            stream.write(piece)
        whole = b"".join(pieces)
        assert stream.queued_bytes == len(whole)
        assert peer.receive(len(whole)) == whole
        assert stream.queued_bytes == 0


def test_writing_does_not_send_at_once() -> None:
    """ "Data will not be written immediately, but will be buffered internally"."""
    with connected(Recorder) as (stream, peer):
        stream.write(b"data")
        assert stream.queued_bytes == 4
        assert peer.now() == b""
        turns(1)
        assert peer.now() == b"data"


@pytest.mark.parametrize(
    "data",
    [
        b"data",
        bytearray(b"data"),
        memoryview(b"data"),
        memoryview(bytearray(b"data")),
        memoryview(b"d-a-t-a-")[::2],
        array.array("B", b"data"),
        ctypes.create_string_buffer(b"data", 4),
    ],
    ids=lambda data: type(data).__name__,
)
def test_bytes_like_objects(data: Any) -> None:
    """DESIGN §3: a Stream writes "bytes (any bytes-like object)"."""
    with connected(Recorder) as (stream, peer):
        stream.write(data)
        assert stream.queued_bytes == 4
        assert peer.receive(4) == b"data"


def test_items_of_several_bytes() -> None:
    """Sizes are in bytes, whatever the items of a buffer are."""
    with connected(Recorder) as (stream, peer):
        stream.write(memoryview(array.array("I", [1, 2, 3])))
        size = array.array("I").itemsize * 3
        assert stream.queued_bytes == size
        assert peer.receive(size) == array.array("I", [1, 2, 3]).tobytes()


def test_mapped_memory() -> None:
    with connected(Recorder) as (stream, peer), mmap.mmap(-1, 4096) as memory:
        memory[:4] = b"data"
        stream.write(memory)
        memory.close()
        assert peer.receive(4096) == b"data" + bytes(4092)


def test_mutable_buffers_are_copied() -> None:
    """DESIGN §3: "`write` of a mutable buffer copies it"."""
    buffer = bytearray(b"first")
    with connected(Recorder) as (stream, peer):
        stream.write(buffer)
        buffer[:] = b"other thing"  # a buffer that is still in use could not be resized, either
        view = memoryview(buffer)
        stream.write(view[:5])
        buffer[:5] = b"XXXXX"
        assert peer.receive(10) == b"firstother"


def test_str() -> None:
    """DESIGN §3: "`str` gets a `TypeError` that says to encode it"."""
    with connected(Recorder) as (stream, peer):
        with pytest.raises(TypeError, match="encode"):
            stream.write("text")  # type: ignore[arg-type]
        turns()
        assert peer.now() == b""


@pytest.mark.parametrize("data", [None, 5, [b"list"], object(), ["s"]])
def test_what_is_no_bytes(data: Any) -> None:
    with connected(Recorder) as (stream, peer):
        with pytest.raises(TypeError, match=re.escape(repr(data))):
            stream.write(data)
        turns()
        assert peer.now() == b""


def test_writing_nothing() -> None:
    """Neither is anything sent nor has the queue run empty."""
    with connected(Recorder) as (stream, peer):
        stream.write(b"")
        stream.write(bytearray(), flush=True)
        turns()
        assert stream.names == ["connect"]
        assert peer.now() == b""


WRITES: list[Callable[[Stream], object]] = [
    lambda stream: stream.write(b"data"),
    lambda stream: stream.write(b"data", flush=True),
    lambda stream: stream.write(b""),
    lambda stream: stream.write_file(io.BytesIO(b"data")),
    lambda stream: stream.write_packed(1, format="!L"),
    lambda stream: stream.write_packed(1),
    lambda stream: stream.flush(),
]
NAMES = ["write", "write", "write", "write_file", "write_packed", "write_packed", "flush"]


@pytest.mark.parametrize("call, name", list(zip(WRITES, NAMES, strict=True)))
@pytest.mark.parametrize("state", ["not connected", "connecting", "closing", "closed"])
def test_writing_to_what_is_not_connected(state: str, call: Callable[[Stream], object], name: str) -> None:
    """ "Calling write() on a closed or disconnected channel will raise a RuntimeError." write_file and flush, too."""
    if state == "not connected":
        with pytest.raises(RuntimeError, match=rf"\b{name}\b"):
            call(Stream())
    elif state == "connecting":
        with socket.create_server(("127.0.0.1", 0)) as listener:
            stream = Stream().connect(listener.getsockname())
            with pytest.raises(RuntimeError, match=rf"\b{name}\b"):
                call(stream)
            stream.close(flush=False)
    else:
        with connected(Recorder) as (stream, peer):
            stream.read_delimiter = struct.Struct("!L")
            stream.close()
            if state == "closed":
                run_until(lambda: stream.closed)
            with pytest.raises(RuntimeError, match=rf"\b{name}\b"):
                call(stream)
            assert peer.receive_to_end() == b""


def test_writing_before_on_connect() -> None:
    """A socket that is connected already can be written to at once."""
    one, other = tcp_pair()
    peer = Peer(other)
    stream = Recorder(socket=one)
    stream.write(b"early")
    assert peer.receive(5) == b"early"
    assert stream.names == ["connect", "write"]
    peer.close()


def test_writing_in_on_connect_and_in_on_close() -> None:
    class Eager(Recorder):
        def on_connect(self):
            assert self.connected
            self.write(b"hello")

        def on_close(self):
            assert not self.connected
            with pytest.raises(RuntimeError):
                self.write(b"bye")

    with connected(Eager) as (stream, peer):
        assert peer.receive(5) == b"hello"
        stream.close()
        run_until(lambda: stream.closed)
        assert peer.receive_to_end() == b""


# --- When it is sent (DESIGN §3, "`write()` never sends at once") ----------------------------------------------------


def test_what_a_hook_writes_is_sent_in_one_go() -> None:
    class Chatty(Recorder):
        def on_connect(self):
            self.read_delimiter = b"\n"

        def on_read(self, line):
            for _ in range(10):
                self.write(line)

    with connected(Chatty, pair=counting_pair) as (stream, peer):
        peer.send(b"ab\ncd\nef\n")
        expected = b"ab" * 10 + b"cd" * 10 + b"ef" * 10
        assert peer.receive(60) == expected
        assert sends(stream) == [expected]


def test_what_is_written_elsewhere_is_sent_in_one_go() -> None:
    """By a timer, or by another channel's hook: all of a turn together, before the loop waits again."""

    class Relaying(Recorder):
        def on_read(self, data):
            for piece in data:
                target.write(bytes([piece]))

    with (
        connected(Recorder, pair=counting_pair) as (target, target_peer),
        connected(Relaying) as (_, peer),
    ):
        peer.sock.send(b"relayed")
        turns(1)
        assert target_peer.now() == b"relayed"
        assert sends(target) == [b"relayed"]

        def write():
            for piece in b"timer":
                target.write(bytes([piece]))

        target.engine.callback(write)
        turns(1)
        assert target_peer.now() == b"timer"
        assert sends(target)[1:] == [b"timer"]


def test_channels_that_write_to_each_other_do_not_keep_the_loop() -> None:
    class PingPong(Recorder):
        other: Stream

        def on_write(self):
            self.other.write(b"x")

    with connected(PingPong) as (one, one_peer), connected(PingPong) as (other, other_peer):
        one.other, other.other = other, one
        one.write(b"x")
        turns(20)
        fired: list[bool] = []
        one.engine.callback(fired.append, True)
        turns(1)
        assert fired
        assert len(one_peer.now()) <= 25
        assert len(other_peer.now()) <= 25


def test_writing_outside_the_loop_ends_a_wait() -> None:
    """DESIGN §3: "Whatever is scheduled or written outside `poll()` (from a Qt slot, say) signals" the loop."""
    with connected(Recorder) as (stream, peer):
        turns()
        stream.write(b"data")
        stream.engine.poll(30)
        assert peer.now() == b"data"


def test_no_write_events_in_the_common_case() -> None:
    """DESIGN §3: it "never costs an `epoll_ctl` in the common case"."""
    with connected(Recorder) as (stream, peer):
        changes: list[Any] = []
        stream.engine.watch = stream.engine.rewatch = changes.append  # type: ignore[assignment]
        for _ in range(10):
            stream.write(b"data")
            turns(1)
            peer.send(b"x")
            turns(1)
        del stream.engine.rewatch, stream.engine.watch
        assert peer.now() == b"data" * 10
        assert changes == []


@both_kinds
def test_more_than_the_kernel_takes(pair: Pair) -> None:
    """Only what the kernel did not take waits for a write event; and once it is gone, no more events come."""
    data = pattern(20 * MiB)
    with connected(Recorder, pair=pair) as (stream, peer):
        stream.write(data)
        turns()
        assert 0 < stream.queued_bytes < len(data)
        assert run_for(0.1) <= 5  # nobody reads: nothing to do
        assert peer.receive(len(data)) == data
        run_until(lambda: "write" in stream.names)
        assert stream.names.count("write") == 1
        assert run_for(0.1) <= 5


def test_echo_of_megabytes_through_a_slow_reader() -> None:
    class Echo(Recorder):
        def on_read(self, data):
            self.write(data)

    data = pattern(3 * MiB)
    with connected(Echo, buffer=4096) as (_, peer):
        received = bytearray()
        view = memoryview(data)
        while len(received) < len(data):
            if view:
                try:
                    view = view[peer.sock.send(view[:50_000]) :]
                except BlockingIOError:
                    pass
            turns(1)
            try:
                received += peer.sock.recv(20_000)
            except BlockingIOError:
                pass
        assert received == data


# --- flush -----------------------------------------------------------------------------------------------------------


def test_flush_argument() -> None:
    """ "If True, flush the internal write buffer." """
    with connected(Recorder) as (stream, peer):
        stream.write(b"first ")
        stream.write(b"second", flush=True)
        assert stream.queued_bytes == 0
        assert peer.now() == b"first second"
        stream.write_packed(1, 2, format="!HH", flush=True)
        assert peer.now() == b"\0\1\0\2"
        stream.write_file(io.BytesIO(b"file"), flush=True)
        assert peer.now() == b"file"


def test_flush() -> None:
    """ "... immediately write any internally buffered data to the channel without waiting for a write event"."""
    with connected(Recorder) as (stream, peer):
        stream.flush()  # there is nothing to do, and nothing wrong with that
        stream.write(b"data")
        stream.flush()
        assert peer.now() == b"data"
        stream.flush()
        turns()
        assert stream.names == ["connect", "write"]


def test_flush_inside_on_read() -> None:
    seen = []

    class Flushing(Recorder):
        def on_read(self, data):
            self.write(b"now", flush=True)
            seen.append(peer.now())
            self.write(b"later")
            seen.append(peer.now())

    with connected(Flushing) as (stream, peer):
        peer.send(b"x")
        run_until(lambda: stream.reads)
        assert seen == [b"now", b""]
        assert peer.receive(5) == b"later"
        turns()
        assert stream.names.count("write") == 1


def test_flush_of_more_than_the_kernel_takes() -> None:
    data = pattern(10 * MiB)
    with connected(Recorder) as (stream, peer):
        stream.write(data, flush=True)
        assert 0 < stream.queued_bytes < len(data)
        left = stream.queued_bytes
        stream.flush()
        assert stream.queued_bytes <= left
        assert peer.receive(len(data)) == data
        run_until(lambda: "write" in stream.names)


def test_flush_to_a_peer_that_has_gone() -> None:
    """The failure comes to the hooks from the loop, not out of the call."""
    with connected(Recorder) as (stream, peer):
        peer.reset()
        stream.write(b"data", flush=True)
        if stream.connected:
            stream.flush()
        assert stream.names == ["connect"]
        run_until(lambda: stream.closed)
        assert stream.names == ["connect", "close"]
        assert isinstance(stream.close_error, ConnectionError)


# --- on_write (manual; DESIGN §3: "from the loop, once each time the queue ran empty") -------------------------------


def test_on_write_once_for_many_writes() -> None:
    with connected(Recorder) as (stream, peer):
        for count in range(1, 4):
            for _ in range(5):
                stream.write(b"data")
            assert stream.names.count("write") == count - 1
            turns(1)
            assert stream.names.count("write") == count
        turns()
        assert stream.names.count("write") == 3
        assert peer.now() == b"data" * 15


def test_on_write_waits_until_all_is_sent() -> None:
    with connected(Recorder) as (stream, peer):
        stream.write(bytes(10 * MiB))
        turns(5)
        assert "write" not in stream.names
        peer.receive(10 * MiB)
        turns()
        assert stream.names.count("write") == 1


def test_on_write_after_flush() -> None:
    with connected(Recorder) as (stream, _):
        stream.write(b"data", flush=True)
        assert "write" not in stream.names
        turns(1)
        assert stream.names.count("write") == 1
        turns()
        assert stream.names.count("write") == 1


def test_on_write_comes_with_an_empty_queue() -> None:
    """Manual, "Writing Data": "Once the buffer is completely empty, on_write() will be called"."""
    queued = []

    class Watching(Recorder):
        def on_write(self):
            queued.append(self.queued_bytes)

    with connected(Watching) as (stream, peer):
        stream.write(b"first ", flush=True)
        stream.write(b"second")
        assert peer.receive(12) == b"first second"
        turns()
        assert set(queued) == {0}


def test_write_inside_on_write_lets_others_have_their_turn() -> None:
    """DESIGN §3: "A write inside it waits for the next turn". It is not sent at once, for then it would never end."""
    at_once: list[bytes] = []

    class Endless(Recorder):
        def on_write(self):
            peer.now()
            self.write(b"x" * 1000)
            at_once.append(peer.now())

    with connected(Endless) as (stream, peer), connected(Recorder) as (other, other_peer):
        stream.write(b"x")
        for count in range(1, 20):
            turns(1)
            # The loop looks at what was left to it twice in a turn, before and after the events.
            assert stream.names.count("write") <= 2 * count
        other_peer.send(b"alive")
        run_until(lambda: other.data == b"alive")
        assert stream.names.count("write") > 10
        assert set(at_once) == {b""}


def test_producer_with_on_write() -> None:
    """A producer that writes a piece each time the last has gone: bounded memory, every byte once."""

    class Producer(Recorder):
        left = 200

        def on_connect(self):
            self.on_write()

        def on_write(self):
            if self.left:
                self.left -= 1
                self.write(pattern(16_384))
            else:
                self.close()

    with connected(Producer) as (_, peer):
        assert peer.receive_to_end() == pattern(16_384) * 200


# --- Backpressure (issue 2: "the number of bytes queued and a high-water mark with its hook") ------------------------


def test_queued_bytes() -> None:
    with connected(Recorder) as (stream, peer):
        stream.write(b"12345")
        stream.write_file(io.BytesIO(bytes(1000)), 600)
        stream.write_packed(1, format="!Q")
        assert stream.queued_bytes == 613
        assert len(peer.receive(613)) == 613
        assert stream.queued_bytes == 0
        stream.write(bytes(10 * MiB))
        turns()
        received = len(peer.now())
        assert stream.queued_bytes <= 10 * MiB - received
        stream.close(flush=False)
        run_until(lambda: stream.closed)
        assert stream.queued_bytes == 0


class Marked(Recorder):
    high_water = 100_000


def test_high_water_comes_once_until_on_write() -> None:
    with connected(Marked, buffer=4096) as (stream, peer):
        for _ in range(3):
            stream.events.clear()
            for _ in range(20):
                stream.write(bytes(20_000))
                turns(1)
            assert stream.names == ["high_water"]
            peer.receive(400_000)
            run_until(lambda: "write" in stream.names)
            assert stream.names == ["high_water", "write"]


def test_high_water_is_not_reached() -> None:
    with connected(Marked) as (stream, peer):
        for _ in range(50):
            stream.write(bytes(99_000))
            assert len(peer.receive(99_000)) == 99_000
        stream.write(bytes(50_000))  # more in a turn than the mark, but the kernel takes it
        stream.write(bytes(50_001))
        turns()
        assert "high_water" not in stream.names
        assert stream.queued_bytes == 0


def test_high_water_of_an_echo_whose_client_does_not_read() -> None:
    """The writes come one by one while nothing can be sent: this is what the mark is there for."""

    class Echo(Marked):
        def on_read(self, data):
            self.write(data)

        def on_high_water(self):
            self.pause_reading()

        def on_write(self):
            self.resume_reading()

    with connected(Echo, buffer=4096) as (stream, peer):
        sent = 0
        data = pattern(4 * MiB)
        for _ in range(500):
            try:
                sent += peer.sock.send(data[sent : sent + 10_000])
            except BlockingIOError:
                turns(1)
        turns()
        assert "high_water" in stream.names
        assert stream.queued_bytes < 300_000
        received = b""
        while len(received) < len(data):  # it was only slow, and gets every byte
            try:
                sent += peer.sock.send(data[sent : sent + 10_000])
            except BlockingIOError:
                pass
            turns(1)
            received += peer.now()
        assert received == data


def test_high_water_of_writes_from_elsewhere() -> None:
    with connected(Marked, buffer=4096) as (stream, _):
        stream.write(bytes(90_000))
        turns()
        assert "high_water" not in stream.names

        def write():
            for _ in range(100):
                stream.write(bytes(1000))

        stream.engine.callback(write)
        turns(2)
        assert stream.names.count("high_water") == 1


def test_high_water_of_a_flush() -> None:
    with connected(Marked, buffer=4096) as (stream, _):
        stream.write(bytes(2 * MiB), flush=True)
        assert "high_water" not in stream.names
        turns(2)
        assert stream.names.count("high_water") == 1


def test_high_water_of_a_flush_inside_on_read() -> None:
    class Flushing(Marked):
        def on_read(self, data):
            self.write(bytes(2 * MiB), flush=True)

    with connected(Flushing, buffer=4096) as (stream, peer):
        peer.send(b"x")
        run_until(lambda: stream.reads)
        turns()
        assert stream.names.count("high_water") == 1


def test_high_water_of_files_to_a_stuck_peer() -> None:
    with connected(Marked, buffer=4096) as (stream, _):
        stream.write(bytes(90_000))
        turns()
        assert "high_water" not in stream.names
        for _ in range(5):
            stream.write_file(io.BytesIO(bytes(50_000)))
            turns(1)
        assert stream.names.count("high_water") == 1


def test_high_water_counts_files(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(2 * MiB))
    with connected(Marked, buffer=4096) as (stream, _):
        with path.open("rb") as file:
            stream.write_file(file)
        turns(2)
        assert stream.names.count("high_water") == 1


def test_no_high_water() -> None:
    class Unmarked(Recorder):
        high_water = None

    with connected(Unmarked, buffer=4096) as (stream, _):
        stream.write(bytes(20 * MiB))
        turns()
        assert stream.names == ["connect"]


def test_high_water_by_default() -> None:
    """It is a matter of a writer's choice: nothing is closed, nothing dropped, nothing logged."""
    with connected(Recorder, buffer=4096) as (stream, peer):
        stream.write(pattern(3 * MiB))
        turns()
        assert stream.names == ["connect", "high_water"]
        assert peer.receive(3 * MiB) == pattern(3 * MiB)


@pytest.mark.parametrize("size", [10, 33_000])
def test_writes_to_a_stuck_peer_stay_cheap(size: int) -> None:
    """DESIGN §4: "Nothing may be quadratic". With a high mark, the last of many pieces costs what the first does."""

    class Generous(Recorder):
        high_water = 1 << 40

    count = 2000
    with manual_engine() as engine, connected(Generous, buffer=4096, engine=engine) as (stream, peer):
        stream.write(pattern(MiB))
        turns(1, engine)

        def work() -> int:
            """In the interpreter's own steps: a measure that no other process disturbs."""
            steps = 0

            def step(*_: Any) -> None:
                nonlocal steps
                steps += 1

            sys.setprofile(step)
            try:
                for _ in range(100):
                    stream.write(bytes(size))
                    engine.poll(0)
            finally:
                sys.setprofile(None)
            return steps

        first = work()
        for _ in range(count):
            stream.write(bytes(size))
            engine.poll(0)
        assert work() < 3 * first
        assert "high_water" not in stream.names
        assert stream.queued_bytes >= (count + 200) * size
        assert peer.receive(MiB + 20 * size) == pattern(MiB) + bytes(20 * size)


# --- write_file ------------------------------------------------------------------------------------------------------


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(pattern(5 * MiB))
    return path


@both_kinds
def test_file(file: Path, pair: Pair) -> None:
    """Larger than the kernel's buffers; DESIGN §3: "the caller may close its file at once"."""
    Engine.instance()
    before = descriptors()
    with connected(Recorder, pair=pair) as (stream, peer):
        with file.open("rb") as opened:
            stream.write_file(opened)
        assert stream.queued_bytes == 5 * MiB
        assert peer.receive(5 * MiB) == pattern(5 * MiB)
        run_until(lambda: "write" in stream.names)
        assert stream.names.count("write") == 1
        stream.close()
        peer.close()
        run_until(lambda: stream.closed and not stream.engine.lingering)
    assert descriptors() == before


def test_part_of_a_file(file: Path) -> None:
    with connected(Recorder) as (stream, peer), file.open("rb") as opened:
        opened.seek(777)
        stream.write_file(opened, 1000, 50)
        stream.write_file(opened, offset=5 * MiB - 8)
        stream.write_file(opened, nbytes=8)
        assert peer.receive(1016) == pattern(2000)[50:1050] + pattern(5 * MiB)[-8:] + pattern(8)
        assert opened.tell() == 777


def test_files_and_bytes_in_order(file: Path) -> None:
    with connected(Recorder, buffer=4096) as (stream, peer):
        with file.open("rb") as opened:
            for _ in range(3):
                stream.write(b"before ")
                stream.write_file(opened, 300_000, 8000)
                stream.write(b" between ")
                stream.write_file(io.BytesIO(pattern(100_001)))
                stream.write(b" after")
        data = pattern(5 * MiB)
        expected = (b"before " + data[8000:308_000] + b" between " + pattern(100_001) + b" after") * 3
        assert peer.receive(len(expected)) == expected


def test_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "empty"
    path.touch()
    with connected(Recorder) as (stream, peer):
        in_use = descriptors()
        with path.open("rb") as opened:
            stream.write_file(opened)
        stream.write_file(io.BytesIO())
        assert descriptors() == in_use
        turns()
        assert stream.names == ["connect"]
        stream.write(b"after")
        assert peer.receive(5) == b"after"


def test_object_without_descriptor() -> None:
    """Issue 2: "any file object without a file descriptor too"; it is not read as a whole."""

    class Source(io.BytesIO):
        largest = 0

        def read(self, size: int | None = -1) -> bytes:
            data = super().read(size)
            Source.largest = max(Source.largest, len(data))
            return data

    with connected(Recorder) as (stream, peer):
        stream.write_file(Source(pattern(3 * MiB)))
        assert peer.receive(3 * MiB) == pattern(3 * MiB)
        assert 0 < Source.largest <= 256 * 1024


def test_object_that_cannot_seek() -> None:
    class Unseekable:
        def __init__(self) -> None:
            self.source = io.BytesIO(pattern(200_000))

        def read(self, size: int) -> bytes:
            return self.source.read(min(size, 1000))

    with connected(Recorder) as (stream, peer):
        with pytest.raises(ValueError):
            stream.write_file(Unseekable())
        stream.write_file(Unseekable(), 150_000)
        assert peer.receive(150_000) == pattern(150_000)


@pytest.mark.parametrize(
    "arguments, error",
    [
        ((b"bytes",), TypeError),
        (("/etc/hostname",), TypeError),
        ((7,), TypeError),
        ((io.StringIO("text"),), TypeError),
        ((io.BytesIO(b"data"), "4"), TypeError),
        ((io.BytesIO(b"data"), 4.0), TypeError),
        ((io.BytesIO(b"data"), -1), ValueError),
        ((io.BytesIO(b"data"), 0, -1), ValueError),
        ((io.BytesIO(b"data"), 5), ValueError),
        ((io.BytesIO(b"data"), 2, 3), ValueError),
        ((io.BytesIO(b"data"), 0, 5), ValueError),
    ],
)
def test_wrong_files(arguments: Any, error: type[Exception]) -> None:
    """Issue 2, "Bad input": a wrong argument raises at the call; the channel is none the worse for it."""
    with connected(Recorder) as (stream, peer):
        with pytest.raises(error):
            stream.write_file(*arguments)
        assert stream.queued_bytes == 0
        stream.write(b"fine")
        assert peer.receive(4) == b"fine"


def test_file_that_shrinks(file: Path, expect_log: ExpectedLog) -> None:
    """DESIGN §3: "a file that shrinks meanwhile ends in `on_error` and a close"."""
    expect_log("FileShrunk")
    Engine.instance()
    before = descriptors()
    with connected(Recorder, buffer=4096) as (stream, peer):
        with file.open("rb") as opened:
            stream.write(b"head")
            stream.write_file(opened)
            stream.write(b"never sent")
        turns()
        os.truncate(file, MiB)
        assert peer.receive_to_end() == b"head" + pattern(MiB)
        run_until(lambda: stream.closed)
        assert stream.names == ["connect", "high_water", "error", "close"]
        assert isinstance(stream.first("error"), FileShrunk)
        assert isinstance(stream.close_error, FileShrunk)
        peer.close()
        run_until(lambda: not stream.engine.lingering)
    assert descriptors() == before


def test_file_that_shrinks_and_an_overridden_on_error(file: Path) -> None:
    """The peer waits for bytes that there are not; there is nothing else to do than to close."""

    class Unimpressed(Recorder):
        def on_error(self, exception):
            pass

    with connected(Unimpressed) as (stream, peer):
        with file.open("rb") as opened:
            stream.write_file(opened, 1000, 0)
        os.truncate(file, 10)
        assert peer.receive_to_end() == pattern(10)
        run_until(lambda: stream.closed)
        assert stream.names == ["connect", "error", "close"]


def test_file_that_shrinks_while_closing(file: Path) -> None:
    """on_close comes, and ``close_error`` tells what became of the file."""

    class Quiet(Recorder):
        def on_error(self, exception):
            pass

    with connected(Quiet) as (stream, peer):
        with file.open("rb") as opened:
            stream.write_file(opened, 1000, 0)
        stream.close()
        os.truncate(file, 10)
        assert peer.receive_to_end() == pattern(10)
        run_until(lambda: stream.closed)
        assert isinstance(stream.close_error, FileShrunk)
        assert stream.names[-1] == "close"


def test_object_whose_read_fails(expect_log: ExpectedLog) -> None:
    expect_log("the disk is broken")

    class Broken:
        def read(self, size: int) -> bytes:
            raise OSError(5, "the disk is broken")

    with connected(Recorder) as (stream, peer), connected(Recorder) as (other, other_peer):
        stream.write_file(Broken(), 100)
        assert peer.receive_to_end() == b""
        run_until(lambda: stream.closed)
        assert stream.names == ["connect", "error", "close"]
        other_peer.send(b"alive")
        run_until(lambda: other.data == b"alive")


def test_object_that_is_closed_too_early(expect_log: ExpectedLog) -> None:
    """A file object without a descriptor must be left alone until it is sent."""
    expect_log("closed file")
    with connected(Recorder) as (stream, peer):
        with io.BytesIO(b"data") as source:
            stream.write_file(source)
        assert peer.receive_to_end() == b""
        run_until(lambda: stream.closed)


def test_files_that_are_dropped_give_their_descriptors_back(file: Path) -> None:
    with connected(Recorder, buffer=4096) as (stream, peer):
        before = descriptors()
        with file.open("rb") as opened:
            for _ in range(50):
                stream.write_file(opened)
        assert len(descriptors() - before) == 50
        turns()
        stream.close(flush=False)
        run_until(lambda: stream.closed)
        peer.close()
        run_until(lambda: not stream.engine.lingering)
        assert descriptors() <= before


def test_files_of_many_megabytes_do_not_keep_the_loop(tmp_path: Path) -> None:
    """One channel's large file and a quick reader: others have their turn all the same."""
    path = tmp_path / "large"
    with path.open("wb") as opened:
        opened.truncate(64 * MiB)
    with connected(Recorder) as (stream, peer), connected(Recorder) as (other, other_peer):
        with path.open("rb") as opened:
            stream.write_file(opened)
        other_peer.sock.send(b"x")
        received = 0
        count = 0
        while received < 64 * MiB:
            turns(1)
            count += 1
            received += len(peer.now())
            if count == 2:
                assert other.data == b"x"
                assert received < 64 * MiB


# --- write_packed ----------------------------------------------------------------------------------------------------


def test_packed_with_a_format() -> None:
    """ "A formatting string to pack the provided data with." """
    with connected(Recorder) as (stream, peer):
        stream.write_packed(1, 2, 3, format="!LLH")
        assert peer.receive(10) == struct.pack("!LLH", 1, 2, 3)
        stream.write_packed(5, format=b"<H")
        assert peer.receive(2) == b"\5\0"


def test_packed_with_the_read_delimiter() -> None:
    """ "If the current read_delimiter is an instance of struct.Struct or netstruct.NetStruct the format will be read
    from that Struct".
    """
    with connected(Recorder) as (stream, peer):
        stream.read_delimiter = struct.Struct("!HB")
        stream.write_packed(258, 3)
        assert peer.receive(3) == b"\1\2\3"
        stream.read_delimiter = NetStruct(b"!HB$")
        stream.write_packed(258, b"spam")
        assert peer.receive(7) == b"\1\2\4spam"
        stream.write_packed(7, format="!B")
        assert peer.receive(1) == b"\7"


@pytest.mark.parametrize("format_", ["!HH$", b"!HH$"])
def test_packed_with_a_netstruct_format(format_: str | bytes) -> None:
    with connected(Recorder) as (stream, peer):
        stream.write_packed(1, b"spam", format=format_)
        assert peer.receive(8) == b"\0\1\0\4spam"


@pytest.mark.parametrize("delimiter", [None, b"\n", 8])
def test_packed_without_any_format(delimiter: Any) -> None:
    """ "... otherwise you will need to provide a format"."""
    with connected(Recorder) as (stream, _):
        stream.read_delimiter = delimiter
        with pytest.raises(ValueError, match="format"):
            stream.write_packed(1)


@pytest.mark.parametrize(
    "values, format_", [((1,), "!HH"), ((70_000,), "!H"), (("x",), "!H"), ((1,), "nonsense"), ((1,), "\xe9")]
)
def test_packed_values_that_do_not_fit(values: tuple[Any, ...], format_: str) -> None:
    with connected(Recorder) as (stream, peer):
        with pytest.raises(struct.error):
            stream.write_packed(*values, format=format_)
        turns()
        assert peer.now() == b""


# --- Failing to send -------------------------------------------------------------------------------------------------


@both_kinds
def test_peer_that_is_gone(pair: Pair, expect_log: ExpectedLog) -> None:
    """A broken pipe is the peer's doing: on_close, with ``close_error``, and no line in the log."""

    class HalfOpen(Recorder):
        def on_end(self):
            pass

    with connected(HalfOpen, pair=pair) as (stream, peer):
        peer.close()

        def written_to_nobody():
            if stream.connected:
                stream.write(bytes(100_000))
            return stream.closed

        run_until(written_to_nobody)
        assert isinstance(stream.close_error, ConnectionError)
        assert stream.names[-1] == "close"
        assert "error" not in stream.names
        assert expect_log.lines == []


def test_reset_in_the_middle_of_megabytes() -> None:
    with connected(Recorder, buffer=4096) as (stream, peer):
        stream.write(bytes(10 * MiB))
        turns()
        peer.reset()
        run_until(lambda: stream.closed)
        assert isinstance(stream.close_error, ConnectionError)
        assert stream.queued_bytes == 0
        assert stream.names == ["connect", "high_water", "close"]


@pytest.mark.parametrize("how", ["write", "flush", "file"])
def test_a_reset_that_a_send_meets_first(how: str) -> None:
    """The kernel tells the reset once, to whatever asks first; it is a reset all the same, and no end (DESIGN §3)."""
    with connected(Recorder) as (stream, peer):
        peer.send(b"before")
        peer.reset()
        if how == "file":
            stream.write_file(io.BytesIO(b"to nobody"))
        else:
            stream.write(b"to nobody", flush=how == "flush")
        run_until(lambda: stream.closed)
        assert stream.data == b"before"
        assert stream.names == ["connect", "read", "close"]
        assert isinstance(stream.close_error, ConnectionResetError)


@pytest.mark.parametrize("code", [errno.ETIMEDOUT, errno.EHOSTUNREACH])
def test_a_connection_that_timed_out_is_no_end(code: int) -> None:
    """After such an error the kernel has nothing more to give, and says so by b"": the peer never said that."""

    class Dead(socket.socket):
        def send(self, data: Any, *args: Any) -> int:
            raise OSError(code, os.strerror(code))

    one, other = unix_pair()
    stream = Recorder(socket=Dead(fileno=one.detach()))
    turns(1)
    stream.write(b"data")
    other.send(b"before")
    other.close()
    run_until(lambda: stream.closed)
    assert stream.names == ["connect", "read", "close"]
    assert isinstance(stream.close_error, OSError)
    assert stream.close_error.errno == code


def test_what_the_peer_sent_before_it_went_is_read_though_writing_fails() -> None:
    """Issue 2: never "a lost byte that was acknowledged"."""
    with connected(Recorder, pair=unix_pair) as (stream, peer):
        size = fill(peer)
        peer.close()
        stream.write(b"to nobody", flush=True)
        run_until(lambda: stream.closed)
        assert len(stream.data) == size


def test_write_that_fails_inside_on_read() -> None:
    """The rest of what was received is delivered; and the channel closes, once."""

    class Answering(Recorder):
        def on_connect(self):
            self.read_delimiter = b"\n"

        def on_read(self, line):
            if self.connected:
                self.write(line, flush=True)

    with connected(Answering, pair=unix_pair) as (stream, peer):
        peer.send(b"1\n2\n3\n")
        peer.close()
        run_until(lambda: stream.closed)
        assert stream.reads == [b"1", b"2", b"3"]
        assert stream.names.count("close") == 1


def test_error_of_another_kind_goes_to_on_error(expect_log: ExpectedLog) -> None:
    """One that is not the connection's end is told to on_error (manual), and the channel is closed."""
    expect_log("not what was meant")

    class Odd(socket.socket):
        def send(self, data: Any, *args: Any) -> int:
            raise OSError(22, "not what was meant")

    one, other = tcp_pair()
    stream = Recorder(socket=Odd(fileno=one.detach()))
    turns(1)
    stream.write(b"data")
    assert stream.names == ["connect"]
    run_until(lambda: stream.closed)
    assert stream.names == ["connect", "error", "close"]
    assert stream.first("error").args == (22, "not what was meant")
    other.close()


def test_write_in_another_engine_than_the_global_one() -> None:
    engine = Engine()
    with connected(Recorder, engine=engine) as (stream, peer):
        stream.write(b"data")
        assert peer.receive(4) == b"data"
        stream.close()
        run_until(lambda: stream.closed, engine)
    engine.close()
