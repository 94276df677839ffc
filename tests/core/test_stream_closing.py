"""Streams: how they end (manual: "Closing", "close", "on_close"; DESIGN §3, "Order, re-entrancy, ends")."""

from __future__ import annotations

import errno
import io
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from pants import Engine, Server, Stream
from pants._linger import LINGER_BYTES, LINGER_SOCKETS, LINGER_TIME
from tests.core.support import (
    Pair,
    Peer,
    Recorder,
    client_of,
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


# --- close() ---------------------------------------------------------------------------------------------------------


@both_kinds
@pytest.mark.parametrize("flush", [True, False])
def test_close(flush: bool, pair: Pair) -> None:
    """ "`connected` turns false [...] at once; `on_close` comes later from the loop, never inside the call"."""
    with connected(Recorder, pair=pair) as (stream, peer):
        stream.close(flush)
        assert not stream.connected
        assert not stream.closed
        assert stream.names == ["connect"]
        run_until(lambda: stream.closed)
        assert stream.names == ["connect", "close"]
        assert stream.socket is None
        assert stream.fileno() == -1
        assert stream.close_error is None
        assert peer.receive_to_end() == b""


def test_closing_again_does_nothing() -> None:
    with connected(Recorder) as (stream, peer):
        stream.close()
        stream.close()
        turns(2)
        stream.close()
        stream.close(flush=False)
        turns()
        assert stream.names == ["connect", "close"]
        assert peer.receive_to_end() == b""


def test_a_closed_stream_is_not_used_again() -> None:
    """ "Once a stream has been closed it should not be reused." "connect() on a closed channel [...] RuntimeError"."""
    with connected(Recorder) as (stream, _):
        stream.close()
        for _ in range(2):
            with pytest.raises(RuntimeError, match="closed"):
                stream.connect(("127.0.0.1", 1))
            with pytest.raises(RuntimeError, match="closed"):
                stream.startSSL()
            turns()


def test_connecting_twice() -> None:
    """ "... or a channel that is already connected will raise a RuntimeError"."""
    with connected(Recorder) as (stream, _), pytest.raises(RuntimeError):
        stream.connect(("127.0.0.1", 1))
    one, other = tcp_pair()
    unopened = Recorder(socket=one)
    with pytest.raises(RuntimeError):
        unopened.connect(("127.0.0.1", 1))
    other.close()


def test_settings_can_be_changed_after_close() -> None:
    """A protocol's own methods need not ask whether it is still open, if they write nothing."""
    with connected(Recorder) as (stream, _):
        stream.close()
        for _ in range(2):
            stream.read_delimiter = b"\n"
            stream.regex_search = False
            stream.buffer_size = 100
            stream.pause_reading()
            stream.resume_reading()
            stream.idle_timeout = 10
            stream.idle_timeout = None
            assert stream.queued_bytes == 0
            turns()
        assert stream.names == ["connect", "close"]


class ClosingIn(Recorder):
    """Closes itself in one hook."""

    high_water = 1000

    def __init__(self, hook: str, flush: bool, **kwargs: Any) -> None:
        self.hook = hook
        self.flush_it = flush
        super().__init__(**kwargs)
        self.read_delimiter = b"\n"
        self.buffer_size = 100

    def act(self, name: str) -> None:
        if name == self.hook:
            count = len(self.events)
            self.close(self.flush_it)
            assert not self.connected
            assert not self.closed
            assert len(self.events) == count

    def on_connect(self) -> None:
        self.act("connect")

    def on_read(self, data: bytes) -> None:
        self.act("read")
        if self.hook == "error":
            raise ValueError

    def on_write(self) -> None:
        self.act("write")

    def on_high_water(self) -> None:
        self.act("high_water")

    def on_end(self) -> None:
        self.act("end")

    def on_idle_timeout(self) -> None:
        self.act("idle_timeout")

    def on_overflow_error(self, exception: Exception) -> None:
        self.act("overflow_error")

    def on_error(self, exception: Exception) -> None:
        self.act("error")

    def on_close(self) -> None:
        self.close()
        self.close(flush=False)


@pytest.mark.parametrize("flush", [True, False])
@pytest.mark.parametrize(
    "hook", ["connect", "read", "write", "high_water", "end", "idle_timeout", "overflow_error", "error", "close"]
)
def test_close_inside_each_hook(hook: str, flush: bool) -> None:
    """ "`close()` inside a hook: [...] delivery stops at once; `on_close` comes later"; once, last."""
    one, other = tcp_pair(4096)
    peer = Peer(other)
    stream = ClosingIn(hook, flush, socket=one)
    peer.send(bytes(200) if hook == "overflow_error" else b"line\nline\nline\n")
    if hook != "connect":
        turns(1)
        if hook == "idle_timeout":
            stream.idle_timeout = 0.01
        elif hook == "write":
            stream.write(b"data")
        elif hook == "high_water":
            stream.write(bytes(MiB))
        elif hook == "end":
            peer.end()
        elif hook == "close":
            stream.close()
        run_until(lambda: hook in stream.names)
        peer.now()

    def closed():
        peer.now()  # what is queued has to go somewhere
        return stream.closed

    run_until(closed)
    turns()
    assert stream.names.count("close") == 1
    assert stream.names[-1] == "close"
    if hook in ("read", "error"):
        assert stream.names.count("read") == 1
    elif hook in ("connect", "overflow_error"):
        assert "read" not in stream.names
    peer.close()


def test_close_while_iterating_over_the_channels_of_a_server() -> None:
    """ "... so that iterating over `server.channels` is safe"."""
    server = Server(Recorder).listen(("127.0.0.1", 0))
    clients = [socket.create_connection(server.local_address) for _ in range(20)]
    run_until(lambda: len(server.channels) == 20)
    channels = list(server.channels.values())
    for number, channel in enumerate(server.channels.values()):
        channel.write(b"bye")
        channel.close(flush=bool(number % 2))
    assert len(server.channels) == 20
    run_until(lambda: not server.channels)
    assert all(channel.closed for channel in channels)
    for client in clients:
        client.close()


def test_close_of_another_from_on_close() -> None:
    class Twin(Recorder):
        twin: Stream

        def on_close(self):
            self.twin.close()

    with connected(Twin) as (one, _), connected(Twin) as (other, _):
        one.twin, other.twin = other, one
        one.close()
        run_until(lambda: one.closed and other.closed)
        turns()
        assert one.names == other.names == ["connect", "close"]


def test_close_in_the_constructor() -> None:
    class Stillborn(Recorder):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.close()

    server = Server(Stillborn).listen(("127.0.0.1", 0))
    with client_of(server) as peer:
        assert peer.receive_to_end() == b""
    run_until(lambda: not server.channels)


# --- What was written before (DESIGN §3: "`close(flush=True)` has a deadline") ---------------------------------------


@both_kinds
def test_flushing_close_delivers_megabytes_to_a_slow_reader(pair: Pair) -> None:
    data = pattern(3 * MiB)
    with connected(Recorder, pair=pair, buffer=4096) as (stream, peer):
        stream.write(data)
        stream.close()
        received = bytearray()
        while True:
            turns(1)
            try:
                piece = peer.sock.recv(30_000)
            except BlockingIOError:
                continue
            if not piece:
                break
            received += piece
            assert not stream.connected
        assert received == data
        run_until(lambda: stream.closed)
        assert stream.names[-1] == "close"
        assert stream.close_error is None


@pytest.mark.parametrize("when", ["on_connect", "before the loop", "on_read", "on_end", "on_write", "timer", "paused"])
@both_kinds
def test_written_and_closed_at_once(when: str, pair: Pair) -> None:
    """A server that sends a file and is done: wherever it does so, all of it arrives."""
    data = pattern(20 * MiB)

    def act(stream: Stream) -> None:
        stream.write(data)
        stream.close()

    class Sending(Recorder):
        def on_connect(self):
            if when == "on_connect":
                act(self)

        def on_read(self, data):
            if when == "on_read":
                act(self)

        def on_end(self):
            act(self)

        def on_write(self):
            if when == "on_write":
                act(self)

    one, other = pair()
    peer = Peer(other)
    stream = Sending(socket=one)
    if when == "before the loop":
        act(stream)
    elif when != "on_connect":
        turns(1)
        if when == "on_read":
            peer.send(b"question")
        elif when == "on_end":
            peer.end()
        elif when == "on_write":
            stream.write(b"", flush=True)
            stream.write(b"first")
            assert peer.receive(5) == b"first"
        elif when == "paused":
            stream.pause_reading()
            peer.send(b"unread")
            turns()
            act(stream)
        else:
            stream.engine.callback(act, stream)
    assert peer.receive_to_end() == data
    run_until(lambda: stream.closed)
    assert stream.close_error is None
    peer.close()


def test_written_and_closed_in_on_accept() -> None:
    class Greeting(Server):
        def on_accept(self, sock, addr):
            super().on_accept(sock, addr)
            [channel] = self.channels.values()
            channel.write(pattern(10 * MiB))
            channel.close()

    server = Greeting().listen(("127.0.0.1", 0))
    with client_of(server) as peer:
        assert peer.receive_to_end() == pattern(10 * MiB)


def test_file_and_close(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(pattern(10 * MiB))
    Engine.instance()
    before = descriptors()
    with connected(Recorder, buffer=4096) as (stream, peer):
        with path.open("rb") as file:
            stream.write_file(file)
        stream.write_file(io.BytesIO(b"the end"))
        stream.close()
        assert peer.receive_to_end() == pattern(10 * MiB) + b"the end"
        run_until(lambda: stream.closed)
        peer.close()
        run_until(lambda: not stream.engine.lingering)
    assert descriptors() == before


@both_kinds
def test_close_without_flush_drops_what_is_queued(pair: Pair) -> None:
    with connected(Recorder, pair=pair) as (stream, peer):
        stream.write(b"never sent")
        stream.close(flush=False)
        assert peer.receive_to_end() == b""
        run_until(lambda: stream.closed)


def test_close_without_flush_after_one_with() -> None:
    with connected(Recorder, buffer=4096) as (stream, peer):
        stream.write(bytes(10 * MiB))
        stream.close()
        turns(5)
        assert not stream.closed
        stream.close(flush=False)
        run_until(lambda: stream.closed)
        assert len(peer.receive_to_end()) < 10 * MiB
        assert stream.names.count("close") == 1


def test_no_on_write_while_closing() -> None:
    """A writer that goes on in on_write must not be called when it cannot write any more."""

    class Producer(Recorder):
        def on_write(self):
            self.write(b"more")

    with connected(Producer) as (stream, peer):
        stream.write(b"data")
        stream.close()
        assert peer.receive_to_end() == b"data"
        run_until(lambda: stream.closed)
        assert stream.names == ["connect", "close"]


def test_reading_stops_while_closing() -> None:
    with connected(Recorder, buffer=4096) as (stream, peer):
        stream.write(bytes(MiB))
        stream.close()
        peer.send(b"too late")
        assert peer.receive_to_end() == bytes(MiB)
        run_until(lambda: stream.closed)
        assert stream.reads == []
        assert "end" not in stream.names


def test_closing_does_not_turn_the_loop() -> None:
    """While the peer takes nothing, though there is something to read."""
    with connected(Recorder, buffer=4096) as (stream, peer):
        stream.write(bytes(10 * MiB))
        stream.close()
        peer.send(b"too late")
        turns(5)
        assert run_for(0.3) <= 5
        assert not stream.closed


def test_deadline_for_a_stuck_reader() -> None:
    """A peer that takes nothing for `close_timeout` seconds is waited for no longer."""

    class Short(Recorder):
        close_timeout = 10.0

    with manual_engine() as engine, connected(Short, buffer=4096, engine=engine) as (stream, _):
        stream.write(bytes(10 * MiB))
        stream.close()
        turns(5, engine)
        engine.advance(9.5)
        assert not stream.closed
        engine.advance(1)
        assert stream.closed
        assert stream.names[-1] == "close"
        assert isinstance(stream.close_error, TimeoutError)
        assert stream.close_error.errno == errno.ETIMEDOUT


def test_deadline_moves_while_the_peer_takes_something() -> None:
    class Short(Recorder):
        close_timeout = 10.0

    data = pattern(400_000)
    with manual_engine() as engine, connected(Short, buffer=4096, engine=engine) as (stream, peer):
        stream.write(data)
        stream.close()
        received = b""
        while len(received) < len(data):
            engine.advance(6)
            received += peer.receive(min(30_000, len(data) - len(received)))
        assert received == data
        run_until(lambda: stream.closed, engine)
        assert stream.close_error is None


def test_closing_again_does_not_move_the_deadline() -> None:
    class Short(Recorder):
        close_timeout = 10.0

    with manual_engine() as engine, connected(Short, buffer=4096, engine=engine) as (stream, _):
        stream.write(bytes(10 * MiB))
        turns(3, engine)
        for _ in range(4):
            stream.close()
            engine.advance(3)
        assert stream.closed


def test_reset_while_closing() -> None:
    with connected(Recorder, buffer=4096) as (stream, peer):
        stream.write(bytes(10 * MiB))
        stream.close()
        turns()
        peer.reset()
        run_until(lambda: stream.closed)
        assert isinstance(stream.close_error, ConnectionError)
        assert stream.names == ["connect", "close"] or stream.names == ["connect", "high_water", "close"]


def test_peers_end_while_closing() -> None:
    """A half-open peer still gets what was written for it."""
    with connected(Recorder, buffer=4096) as (stream, peer):
        stream.write(pattern(MiB))
        stream.close()
        peer.end()
        assert peer.receive_to_end() == pattern(MiB)
        run_until(lambda: stream.closed)
        assert "end" not in stream.names


# --- Lingering (DESIGN §3: "the kernel's RST would take the last answer with it") ------------------------------------


class Refusing(Recorder):
    """Answers the first bytes it reads, and closes: an HTTP server that does not want the body that follows."""

    answer = b"413 Content Too Large\r\n" + pattern(200_000)

    def on_read(self, data: bytes) -> None:
        self.write(self.answer)
        self.close()


@pytest.mark.parametrize("size", [100_000, 2 * MiB])
def test_the_last_answer_reaches_a_peer_that_still_sends(size: int) -> None:
    """The peer sends all that it has before it reads, as simple clients do, and gets the whole answer, and no reset."""
    with connected(Refusing) as (stream, peer):
        peer.send(bytes(size))
        assert peer.receive_to_end() == Refusing.answer
        assert stream.closed
        assert stream.names == ["connect", "read", "close"]


def test_the_last_answer_with_input_that_is_unread_in_the_kernel() -> None:
    with connected(Recorder) as (stream, peer):
        stream.pause_reading()
        turns()
        fill(peer)
        stream.write(b"enough of that")
        stream.close()
        run_until(lambda: stream.closed)
        assert peer.receive_to_end() == b"enough of that"


def test_the_last_answer_to_a_peer_that_sends_later() -> None:
    with connected(Recorder) as (stream, peer):
        stream.write(b"bye")
        stream.close()
        run_until(lambda: stream.closed)
        peer.send(b"what do you mean, bye?")
        turns()
        assert peer.receive_to_end() == b"bye"


def test_lingering_ends_with_the_peer() -> None:
    """The channel is over at once; its socket a little later, when the peer has ended too."""
    Engine.instance()
    before = descriptors()
    with connected(Recorder) as (stream, peer):
        stream.close()
        run_until(lambda: stream.closed)
        assert peer.receive_to_end() == b""
        peer.close()
        run_until(lambda: descriptors() == before)


def test_lingering_ends_with_a_reset() -> None:
    Engine.instance()
    before = descriptors()
    with connected(Recorder) as (stream, peer):
        stream.close()
        run_until(lambda: stream.closed)
        peer.reset()
        run_until(lambda: descriptors() == before)


def test_lingering_ends_with_time() -> None:
    """A peer that does nothing keeps the socket for a little while only."""
    with manual_engine() as engine, connected(Recorder, engine=engine) as (stream, peer):
        before = descriptors()
        stream.close()
        turns(3, engine)
        engine.advance(LINGER_TIME / 2)
        assert descriptors() == before
        engine.advance(LINGER_TIME)
        assert len(descriptors()) == len(before) - 1
        assert peer.receive_to_end() == b""


def test_lingering_ends_with_too_much_data() -> None:
    """A peer that sends without end is not read without end."""
    with manual_engine() as engine, connected(Recorder, engine=engine) as (stream, peer):
        before = len(descriptors())
        stream.close()
        turns(3, engine)

        def flood(size: int) -> None:
            while size > 0:
                try:
                    size -= peer.sock.send(bytes(65536))
                except BlockingIOError:
                    engine.poll(0)

        with pytest.raises(ConnectionError):
            flood(20 * LINGER_BYTES)
        assert len(descriptors()) == before - 1


def test_too_many_lingering_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest goes, or a flood of peers that never end would use up the descriptors."""
    assert LINGER_SOCKETS <= 10_000
    monkeypatch.setattr("pants._linger.LINGER_SOCKETS", 5)
    engine = Engine.instance()
    pairs = [unix_pair() for _ in range(8)]
    for one, _ in pairs:
        stream = Stream(socket=one)
        turns(1)
        stream.close()
        while not stream.closed:
            turns(1)
    assert len(engine.lingering) == 5
    for number, (_, other) in enumerate(pairs):
        other.setblocking(False)
        assert other.recv(1) == b""
        if number < 3:
            with pytest.raises(ConnectionError):
                other.send(b"x")  # gone altogether
        else:
            other.send(b"x")
        other.close()
    run_until(lambda: not engine.lingering)


def test_no_lingering_where_the_peer_has_ended() -> None:
    Engine.instance()
    before = len(descriptors())
    with connected(Recorder) as (stream, peer):
        peer.end()
        run_until(lambda: stream.closed)
        assert len(descriptors()) == before + 1  # the peer's


def test_an_aborted_stream_lets_the_peer_read_too() -> None:
    """close(flush=False) drops what is queued, not what the kernel has taken already."""
    with connected(Recorder) as (stream, peer):
        stream.write(b"sent already", flush=True)
        peer.send(b"unread")
        stream.close(flush=False)
        run_until(lambda: stream.closed)
        assert peer.receive_to_end() == b"sent already"


def test_a_client_that_writes_first_and_reads_then() -> None:
    """As `test_the_last_answer_reaches_...`, with a client that blocks, in a thread of its own."""
    server = Server(Refusing).listen(("127.0.0.1", 0))
    outcome: list[bytes | OSError] = []

    def run() -> None:
        try:
            with socket.create_connection(server.local_address, timeout=20) as client:
                client.sendall(bytes(3 * MiB))
                received = b""
                while piece := client.recv(65536):
                    received += piece
            outcome.append(received)
        except OSError as error:
            outcome.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    run_until(lambda: outcome)
    thread.join()
    assert outcome == [Refusing.answer]
