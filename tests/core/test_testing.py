"""`pants.testing`: what it promises to those who test with it."""

from __future__ import annotations

import contextlib
import doctest
import functools
import io
import math
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

import pants.testing
from pants import Server, Stream
from pants.engine import READ, Engine
from pants.errors import BufferOverflow
from pants.testing import MemoryEngine, Peer, connected_pair, run_until

ExpectLog = Callable[[str], None]

LONG = 20.0


@pytest.fixture
def engine() -> Iterator[MemoryEngine]:
    with MemoryEngine() as engine:
        yield engine


class Echo(Stream):
    def on_read(self, data: bytes) -> None:
        self.write(data)


class Recorder(Stream):
    """Writes down all that happens to it."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.life: list[Any] = []

    def on_connect(self) -> None:
        self.life.append("connect")

    def on_read(self, data: bytes) -> None:
        self.life.append(data)

    def on_write(self) -> None:
        self.life.append("write")

    def on_end(self) -> None:
        self.life.append("end")
        self.close()

    def on_close(self) -> None:
        self.life.append("close")


def test_the_examples() -> None:
    results = doctest.testmod(pants.testing)
    assert results.attempted > 0
    assert results.failed == 0


def test_pytest_collects_nothing_of_it() -> None:
    assert not [name for name in dir(pants.testing) if name.lower().startswith("test")]


# --- run_until -------------------------------------------------------------------------------------------------------


def test_run_until_runs_the_global_engine() -> None:
    seen: list[str] = []
    Engine.instance().defer(0.01, seen.append, "spam")
    run_until(lambda: seen)
    assert seen == ["spam"]


def test_run_until_runs_the_engine_given() -> None:
    engine = Engine()
    seen: list[str] = []
    engine.defer(0.01, seen.append, "spam")
    run_until(lambda: seen, engine=engine)
    engine.close()


def test_run_until_gives_what_the_condition_gave() -> None:
    assert run_until(lambda: "spam") == "spam"


def test_run_until_makes_no_turn_where_the_condition_holds() -> None:
    calls: list[int] = []
    Engine.instance().callback(calls.append, 1)
    run_until(lambda: True)
    run_until(lambda: True, timeout=0)
    assert calls == []


def test_run_until_asks_after_each_turn() -> None:
    engine = Engine.instance()
    turns: list[int] = []
    asked: list[int] = []
    engine.loop(lambda: turns.append(1))

    def condition() -> bool:
        asked.append(len(turns))
        engine.callback(int)
        return len(turns) == 5

    run_until(condition)
    assert asked == [0, 1, 2, 3, 4, 5]


def test_run_until_does_not_spin() -> None:
    asked: list[int] = []
    began = time.monotonic()
    with pytest.raises(AssertionError):
        run_until(lambda: asked.append(1), timeout=0.2)
    assert time.monotonic() - began >= 0.2
    assert len(asked) < 20


def test_run_until_notices_what_another_thread_does() -> None:
    done: list[int] = []
    thread = threading.Timer(0.01, done.append, [1])
    thread.start()
    run_until(lambda: done)
    thread.join()


def my_condition() -> bool:
    return False


class MyCondition:
    def __call__(self) -> bool:
        return False

    def __repr__(self) -> str:
        return "<my condition>"

    def method(self) -> bool:
        return False


@pytest.mark.parametrize(
    "condition,told",
    [
        (my_condition, "my_condition"),
        (MyCondition(), "<my condition>"),
        (MyCondition().method, "MyCondition.method"),
        (lambda: 1 > 2, "lambda: 1 > 2"),
        (functools.partial(my_condition), "my_condition"),
        (eval("lambda: 0", {}), "<lambda>"),  # has no source
    ],
    ids=["function", "object", "method", "lambda", "partial", "no source"],
)
def test_run_until_tells_which_condition_did_not_hold(condition: Any, told: str) -> None:
    with pytest.raises(AssertionError) as caught:
        run_until(condition, timeout=0.01)
    assert told in str(caught.value)
    assert "0.01 seconds" in str(caught.value)


def test_run_until_with_a_timeout_of_0() -> None:
    with pytest.raises(AssertionError):
        run_until(my_condition, timeout=0)


def test_run_until_lets_errors_out() -> None:
    def condition() -> bool:
        raise LookupError

    with pytest.raises(LookupError):
        run_until(condition)


@pytest.mark.parametrize("value", [True, None, "spam"], ids=repr)
def test_run_until_wants_a_callable(value: Any) -> None:
    with pytest.raises(TypeError) as caught:
        run_until(value)
    assert repr(value) in str(caught.value)


@pytest.mark.parametrize(
    "value,error", [(-1, ValueError), (math.nan, ValueError), (math.inf, ValueError), ("1", TypeError)]
)
def test_run_until_wants_a_time(value: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="timeout"):
        run_until(my_condition, timeout=value)


def test_run_until_in_virtual_time(engine: MemoryEngine) -> None:
    seen: list[str] = []
    engine.defer(3600, seen.append, "spam")
    with pytest.raises(AssertionError):
        run_until(lambda: seen, timeout=3599, engine=engine)
    run_until(lambda: seen, timeout=2, engine=engine)
    assert engine.now >= 3600


def test_run_until_inside_a_hook() -> None:
    received: list[bytes] = []

    class Waiting(Stream):
        def on_read(self, data: bytes) -> None:
            self.write(data)
            run_until(lambda: received)
            self.write(b" and more")

    class Reader(Stream):
        def on_read(self, data: bytes) -> None:
            received.append(data)

    with connected_pair(Waiting, Reader) as (_, reader):
        reader.write(b"spam")
        run_until(lambda: b"".join(received) == b"spam and more")


# --- connected_pair --------------------------------------------------------------------------------------------------


@pytest.fixture(params=["sockets", "memory"])
def any_engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    engine = Engine() if request.param == "sockets" else MemoryEngine()
    yield engine
    engine.close()


def test_a_pair_talks(any_engine: Engine) -> None:
    with connected_pair(Echo, Recorder, engine=any_engine) as (echo, recorder):
        assert isinstance(echo, Echo)
        assert isinstance(recorder, Recorder)
        recorder.write(b"spam")
        run_until(lambda: b"spam" in recorder.life, engine=any_engine)


def test_a_pair_is_connected(any_engine: Engine) -> None:
    with connected_pair(Recorder, Recorder, engine=any_engine) as pair:
        for stream in pair:
            assert stream.connected
            assert stream.engine is any_engine
            assert stream.life == ["connect"]


def test_a_pair_is_closed_in_the_end(any_engine: Engine) -> None:
    with connected_pair(Recorder, Recorder, engine=any_engine) as pair:
        pass
    for stream in pair:
        assert stream.closed
        assert stream.life[-1] == "close"
    assert not any_engine.lingering


@pytest.mark.parametrize("which", [0, 1])
def test_one_of_a_pair_closes_by_itself(which: int, any_engine: Engine) -> None:
    with connected_pair(Recorder, Recorder, engine=any_engine) as pair:
        pair[which].close()
        run_until(lambda: pair[which].closed, engine=any_engine)
    assert [stream.life.count("close") for stream in pair] == [1, 1]
    assert not any_engine.lingering


def test_a_pair_with_something_unsent(any_engine: Engine) -> None:
    with connected_pair(engine=any_engine) as pair:
        pair[1].pause_reading()
        pair[0].write(bytes(1 << 22))
        any_engine.poll(0)
        pair[1].write(b"spam")
    assert all(stream.closed for stream in pair)


def test_a_pair_is_closed_after_an_error(any_engine: Engine) -> None:
    def fail() -> None:
        with connected_pair(engine=any_engine) as pair:
            pairs.append(pair)
            raise LookupError("spam")

    pairs: list[tuple[Stream, Stream]] = []
    with pytest.raises(LookupError, match="spam"):
        fail()
    assert all(stream.closed for stream in pairs[0])


@pytest.mark.parametrize("which", [0, 1])
def test_a_class_that_fails_leaves_no_socket(which: int, any_engine: Engine) -> None:
    made: list[Recorder] = []

    def recorder(**kwargs: Any) -> Recorder:
        made.append(Recorder(**kwargs))
        return made[-1]

    def failing(**kwargs: Any) -> Stream:
        raise LookupError("spam")

    factories = [recorder, recorder]
    with pytest.raises(LookupError, match="spam"), connected_pair(*[*factories[:which], failing], engine=any_engine):
        pass
    assert len(made) == which
    assert all(stream.closed for stream in made)


def test_a_pair_whose_engine_is_closed() -> None:
    engine = Engine()
    with connected_pair(engine=engine) as pair:
        engine.close()
    assert all(stream.closed for stream in pair)


def test_the_default_is_two_streams_on_the_global_engine() -> None:
    with connected_pair() as (first, second):
        assert type(first) is type(second) is Stream
        assert first.engine is second.engine is Engine.instance()
    with connected_pair(second_class=Echo) as (first, second):
        assert type(first) is Stream
        assert type(second) is Echo


def test_further_arguments_are_for_both() -> None:
    class Named(Stream):
        def __init__(self, *, name: str, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.name = name

    with connected_pair(Named, Named, name="spam") as (first, second):
        assert first.name == second.name == "spam"


def test_a_pair_that_speaks_tls(tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = tmp_path / "certificate.pem"
    authority.issue_cert("example.org").private_key_and_cert_chain_pem.write_to_path(str(certificate))
    trusted = tmp_path / "trusted.pem"
    authority.cert_pem.write_to_path(str(trusted))
    server_side = {"certfile": str(certificate), "server_side": True}
    client_side = {"ca_certs": str(trusted), "server_hostname": "example.org"}
    with connected_pair(
        functools.partial(Echo, ssl_options=server_side), functools.partial(Recorder, ssl_options=client_side)
    ) as (echo, recorder):
        assert echo.secure
        assert recorder.secure
        assert recorder.life == ["connect"]
        recorder.write(b"spam")
        run_until(lambda: b"spam" in recorder.life)


# --- MemoryEngine: time ----------------------------------------------------------------------------------------------


def test_time_stands_still(engine: MemoryEngine) -> None:
    assert engine.now == 0
    calls: list[int] = []
    engine.defer(0.000001, calls.append, 1)
    engine.advance()
    engine.poll(0)
    time.sleep(0.001)
    engine.poll(0)
    assert engine.now == 0
    assert calls == []


def test_time_passes_when_told(engine: MemoryEngine) -> None:
    calls: list[float] = []
    for delay in (1, 2.5, 3, 100):
        engine.defer(delay, lambda: calls.append(engine.now))
    began = time.monotonic()
    engine.advance(3)
    assert calls == [1, 2.5, 3]
    assert engine.now == 3
    engine.advance(86400 * 365)
    assert engine.now == 3 + 86400 * 365
    assert calls == [1, 2.5, 3, 100]
    assert time.monotonic() - began < LONG


def test_cycles_run_as_often_as_they_should(engine: MemoryEngine) -> None:
    calls: list[float] = []
    engine.cycle(0.5, lambda: calls.append(engine.now))
    engine.advance(10)
    assert calls == [0.5 * number for number in range(1, 21)]


def test_what_a_timer_schedules_happens_meanwhile(engine: MemoryEngine) -> None:
    calls: list[float] = []

    def again() -> None:
        calls.append(engine.now)
        engine.defer(1, again)

    engine.callback(again)
    engine.advance(4.5)
    assert calls == [0, 1, 2, 3, 4]


def test_start_takes_no_time_at_all(engine: MemoryEngine) -> None:
    engine.defer(3600, engine.stop)
    began = time.monotonic()
    engine.start()
    assert engine.now == 3600
    engine.defer(3600, engine.stop)
    engine.start(None)
    assert engine.now == 7200
    assert time.monotonic() - began < LONG


def test_what_happens_for_ever_is_told(engine: MemoryEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pants.testing, "MOST_TURNS", 50)

    def again() -> None:
        engine.callback(again)

    again()
    with pytest.raises(RuntimeError, match="50 turns"):
        engine.advance()
    with pytest.raises(RuntimeError, match="50 turns"):
        engine.advance(10)


def test_waiting_for_nothing_is_told(engine: MemoryEngine) -> None:
    engine.advance()
    with pytest.raises(RuntimeError, match="nothing is left"):
        engine.poll(None)
    with pytest.raises(RuntimeError, match="nothing is left"):
        engine.start(None)
    assert engine.now == 0


def test_waiting_without_a_limit(engine: MemoryEngine) -> None:
    calls: list[int] = []
    engine.defer(5, calls.append, 1)
    engine.defer(86400 * 30, calls.append, 2)
    for number in (1, 2):
        while len(calls) < number:
            engine.poll(None)
    assert engine.now >= 86400 * 30


def test_loops_run_each_turn(engine: MemoryEngine) -> None:
    calls: list[int] = []
    engine.loop(calls.append, 1)
    engine.poll(0)
    engine.poll(0)
    assert calls == [1, 1]


@pytest.mark.parametrize("value,error", [(-1, ValueError), (math.nan, ValueError), (None, TypeError), ("1", TypeError)])
def test_advance_wants_a_time(value: Any, error: type[Exception], engine: MemoryEngine) -> None:
    with pytest.raises(error, match="seconds"):
        engine.advance(value)


def test_a_call_from_a_thread_is_made(engine: MemoryEngine) -> None:
    calls: list[int] = []
    thread = threading.Thread(target=engine.call_from_thread, args=[calls.append, 1])
    thread.start()
    thread.join()
    engine.advance()
    assert calls == [1]


def test_advance_in_a_hook(engine: MemoryEngine) -> None:
    order: list[str] = []

    class Waiting(Stream):
        def on_read(self, data: bytes) -> None:
            engine.advance(5)
            order.append("read")

    engine.defer(3, order.append, "timer")
    _, peer = engine.connect(Waiting)
    peer.send(b"spam")
    assert order == ["timer", "read"]
    assert engine.now == 5


def test_two_engines_have_a_time_each(engine: MemoryEngine) -> None:
    with MemoryEngine() as other:
        other.advance(10)
        assert (engine.now, other.now) == (0, 10)


def test_no_descriptor_of_the_kernel_is_used(engine: MemoryEngine) -> None:
    before = set(os.listdir("/dev/fd"))
    _, peer = engine.connect(Echo)
    peer.send(b"spam")
    assert peer.received == b"spam"
    assert set(os.listdir("/dev/fd")) == before
    assert engine.fileno() is None


def test_descriptors_of_the_kernel_are_refused(engine: MemoryEngine) -> None:
    reader, writer = os.pipe()
    with pytest.raises(OSError, match=str(reader)):
        engine.watch(reader, READ, int)
    os.close(reader)
    os.close(writer)


def test_closing_the_engine(engine: MemoryEngine) -> None:
    stream, peer = engine.connect(Recorder)
    engine.close()
    assert stream.life == ["connect", "close"]
    assert peer.ended
    engine.close()


# --- MemoryEngine: streams -------------------------------------------------------------------------------------------


def test_a_stream_lives(engine: MemoryEngine) -> None:
    stream, peer = engine.connect(Recorder)
    assert isinstance(stream, Recorder)
    assert isinstance(peer, Peer)
    assert stream.life == ["connect"]
    peer.send(b"spam")
    assert stream.life == ["connect", b"spam"]
    stream.write(b"eggs")
    engine.advance()
    assert stream.life == ["connect", b"spam", "write"]
    assert peer.received == b"eggs"
    assert not peer.ended
    peer.end()
    assert stream.life == ["connect", b"spam", "write", "end", "close"]
    assert peer.ended
    assert not peer.was_reset


def test_further_arguments_are_the_stream_s(engine: MemoryEngine) -> None:
    server = Server(engine=engine)
    stream, _ = engine.connect(Stream, server=server)
    assert stream.server is server


def test_received_adds_up_and_take_takes(engine: MemoryEngine) -> None:
    _, peer = engine.connect(Echo)
    peer.send(b"spam ")
    assert peer.received == b"spam "
    peer.send(b"eggs ")
    assert peer.received == b"spam eggs "
    assert peer.received == b"spam eggs "
    assert peer.take() == b"spam eggs "
    assert peer.received == b""
    peer.send(b"ham")
    assert peer.take() == b"ham"
    assert peer.take() == b""


@pytest.mark.parametrize(
    "chunk,pieces",
    [
        (None, [b"abcdefg"]),
        (1, [b"a", b"b", b"c", b"d", b"e", b"f", b"g"]),
        (3, [b"abc", b"def", b"g"]),
        (100, [b"abcdefg"]),
    ],
)
def test_the_pieces_in_which_data_arrives(chunk: int | None, pieces: list[bytes], engine: MemoryEngine) -> None:
    stream, peer = engine.connect(Recorder)
    peer.send(b"abcdefg", chunk=chunk)
    assert stream.life[1:] == pieces


@pytest.mark.parametrize("chunk", [0, -1])
def test_a_piece_has_a_size(chunk: int, engine: MemoryEngine) -> None:
    _, peer = engine.connect(Echo)
    with pytest.raises(ValueError, match=f"chunk.*{chunk}"):
        peer.send(b"spam", chunk=chunk)


def test_nothing_can_be_sent(engine: MemoryEngine) -> None:
    stream, peer = engine.connect(Recorder)
    peer.send(b"")
    peer.send(b"", chunk=1)
    assert stream.life == ["connect"]


def test_frames_and_their_limit(engine: MemoryEngine) -> None:
    errors: list[Exception] = []

    class Lines(Recorder):
        def on_connect(self) -> None:
            self.read_delimiter = b"\r\n"
            self.buffer_size = 10

        def on_overflow_error(self, exception: Exception) -> None:
            errors.append(exception)
            self.close()

    stream, peer = engine.connect(Lines)
    peer.send(b"one\r\ntwo\r\nthr", chunk=1)
    assert stream.life == [b"one", b"two"]
    peer.send(b"ee\r\n" + b"x" * 20)
    assert stream.life[2] == b"three"
    assert isinstance(errors[0], BufferOverflow)
    assert stream.closed


def test_large_data(engine: MemoryEngine) -> None:
    data = os.urandom(1 << 20)
    _, peer = engine.connect(Echo)
    peer.send(data)
    assert peer.received == data


def test_the_window(engine: MemoryEngine) -> None:
    stream, peer = engine.connect(Recorder)
    assert peer.window is None
    peer.window = 4
    stream.write(b"spam and eggs")
    engine.advance()
    assert peer.received == b"spam"
    assert peer.window == 0
    assert stream.queued_bytes == 9
    assert "write" not in stream.life
    engine.advance(1)
    assert stream.queued_bytes == 9
    peer.window = 5
    assert peer.received == b"spam and "
    peer.window = None
    assert peer.received == b"spam and eggs"
    assert stream.life == ["connect", "write"]


def test_a_peer_that_takes_nothing_while_the_stream_closes(engine: MemoryEngine) -> None:
    stream, peer = engine.connect(Recorder)
    peer.window = 0
    stream.write(b"spam")
    stream.close()
    assert stream.close_timeout is not None
    engine.advance(stream.close_timeout - 1)
    assert not stream.closed
    engine.advance(2)
    assert stream.closed
    assert peer.received == b""


def test_the_high_water_mark(engine: MemoryEngine) -> None:
    class Producer(Recorder):
        high_water = 10

        def on_high_water(self) -> None:
            self.life.append("high")

    stream, peer = engine.connect(Producer)
    peer.window = 0
    stream.write(bytes(11))
    engine.advance()
    assert stream.life == ["connect", "high"]
    peer.window = None
    assert stream.life == ["connect", "high", "write"]


def test_the_idle_timeout(engine: MemoryEngine) -> None:
    class Idle(Recorder):
        def on_idle_timeout(self) -> None:
            self.life.append(engine.now)
            self.close()

    stream, peer = engine.connect(Idle)
    stream.idle_timeout = 30
    engine.advance(29)
    peer.send(b"spam")
    engine.advance(29)
    assert not stream.closed
    engine.advance(2)
    assert stream.life == ["connect", b"spam", 59.0, "close"]


def test_a_stream_that_closes(engine: MemoryEngine) -> None:
    stream, peer = engine.connect(Recorder)
    stream.write(b"goodbye")
    stream.close()
    engine.advance()
    assert stream.closed
    assert peer.received == b"goodbye"
    assert peer.ended
    peer.send(b"more")  # which lingers, and is dropped
    peer.end()
    assert not peer.was_reset
    assert not engine.lingering
    with pytest.raises(ConnectionError):
        peer.send(b"still more")


def test_a_stream_that_closes_and_a_peer_that_does_not(engine: MemoryEngine) -> None:
    stream, peer = engine.connect(Recorder)
    stream.close()
    engine.advance(60)
    assert not engine.lingering
    with pytest.raises(ConnectionError):
        peer.send(b"spam")


def test_a_stream_that_closes_with_something_unread(engine: MemoryEngine) -> None:
    stream, peer = engine.connect(Recorder)
    stream.pause_reading()
    peer.send(b"spam")
    assert stream.life == ["connect"]
    engine.close()
    assert peer.was_reset
    with pytest.raises(ConnectionResetError):
        peer.send(b"spam")
    with pytest.raises(ConnectionResetError):
        peer.end()


def test_a_half_open_stream(engine: MemoryEngine) -> None:
    class Answering(Recorder):
        def on_end(self) -> None:
            self.life.append("end")

    stream, peer = engine.connect(Answering)
    peer.send(b"spam")
    peer.end()
    assert stream.life == ["connect", b"spam", "end"]
    assert stream.connected
    stream.write(b"an answer")
    engine.advance(100)
    assert peer.received == b"an answer"
    stream.close()
    engine.advance()
    assert peer.ended
    assert stream.life[-1] == "close"


def test_the_data_comes_before_the_end(engine: MemoryEngine) -> None:
    stream, peer = engine.connect(Recorder)
    stream.pause_reading()
    peer.send(b"last words")
    peer.end()
    assert stream.life == ["connect"]
    stream.resume_reading()
    engine.advance()
    assert stream.life == ["connect", b"last words", "end", "close"]


def test_a_reset(engine: MemoryEngine) -> None:
    stream, peer = engine.connect(Recorder)
    peer.reset()
    assert stream.life == ["connect", "close"]
    assert isinstance(stream.close_error, ConnectionResetError)
    with pytest.raises(ConnectionError):
        peer.send(b"spam")


def test_a_reset_while_reading_is_paused(engine: MemoryEngine) -> None:
    stream, peer = engine.connect(Recorder)
    stream.pause_reading()
    peer.reset()
    assert stream.closed
    assert isinstance(stream.close_error, ConnectionResetError)


def test_a_reset_while_something_is_queued(engine: MemoryEngine) -> None:
    stream, peer = engine.connect(Recorder)
    peer.window = 0
    stream.write(b"spam")
    engine.advance()
    peer.reset()
    assert stream.life == ["connect", "close"]


def test_a_peer_that_closes(engine: MemoryEngine) -> None:
    stream, peer = engine.connect(Recorder)
    stream.write(b"spam")
    engine.advance()
    assert peer.take() == b"spam"
    peer.close()
    assert stream.life == ["connect", "write", "end", "close"]
    assert stream.close_error is None
    assert not engine._memory.sockets
    with pytest.raises(ConnectionError):
        peer.send(b"spam")
    peer.close()


def test_a_peer_that_closes_with_something_unread(engine: MemoryEngine) -> None:
    stream, peer = engine.connect(Recorder)
    stream.write(b"spam")
    engine.advance()
    peer.close()
    assert isinstance(stream.close_error, ConnectionResetError)
    assert not engine._memory.sockets


def test_a_peer_that_closes_and_took_nothing(engine: MemoryEngine) -> None:
    stream, peer = engine.connect(Recorder)
    peer.window = 0
    stream.write(b"spam")
    engine.advance()
    peer.close()
    assert stream.closed
    assert engine.now == 0
    assert not engine._memory.sockets


def test_a_write_after_the_peer_has_gone(engine: MemoryEngine) -> None:
    class Stubborn(Recorder):
        def on_end(self) -> None:
            self.life.append("end")

    stream, peer = engine.connect(Stubborn)
    peer.end()
    peer.reset()
    stream.write(b"spam") if stream.connected else None
    engine.advance()
    assert stream.life == ["connect", "end", "close"]


def test_an_exception_in_a_hook(engine: MemoryEngine, expect_log: ExpectLog) -> None:
    expect_log("ZeroDivisionError")

    class Bad(Recorder):
        def on_read(self, data: bytes) -> None:
            raise ZeroDivisionError

    stream, peer = engine.connect(Bad)
    peer.send(b"spam")
    assert stream.life == ["connect", "close"]
    assert peer.ended


def test_what_a_peer_does_in_a_hook_is_seen_after_it(engine: MemoryEngine) -> None:
    life: list[str] = []

    class Talking(Stream):
        def on_connect(self) -> None:
            if peers:
                peers[0].send(b"spam")
                peers[0].end()
                life.append("out of on_connect")

    class Listening(Recorder):
        def on_read(self, data: bytes) -> None:
            life.append("on_read")

        def on_end(self) -> None:
            life.append("on_end")
            self.close()

    peers: list[Peer] = []
    _, peer = engine.connect(Listening)
    peers.append(peer)
    engine.connect(Talking)
    assert life == ["out of on_connect", "on_read", "on_end"]


def test_addresses(engine: MemoryEngine) -> None:
    stream, peer = engine.connect(Stream)
    assert stream.local_address == ("192.0.2.2", 80)
    assert stream.remote_address == ("192.0.2.1", 50000)
    stream, peer = engine.connect(Stream, local_address="/run/spam", remote_address=("203.0.113.7", 12))
    assert stream.local_address == "/run/spam"
    assert stream.remote_address == ("203.0.113.7", 12)
    assert "203.0.113.7" in repr(peer)
    assert "203.0.113.7" in repr(stream)
    assert "/run/spam" in repr(stream.socket)


def test_files_are_sent(engine: MemoryEngine, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(range(256)) * 1000)
    stream, peer = engine.connect(Recorder)
    with path.open("rb") as file:
        stream.write_file(file)
        stream.write_file(file, nbytes=10, offset=5)
    stream.write_file(io.BytesIO(b"spam"))
    engine.advance()
    assert peer.received == path.read_bytes() + bytes(range(5, 15)) + b"spam"


def test_there_is_no_tls(engine: MemoryEngine) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with pytest.raises(NotImplementedError, match="no TLS"):
        engine.connect(functools.partial(Stream, ssl_options=context))


def test_there_is_no_connecting(engine: MemoryEngine) -> None:
    errors: list[Exception] = []

    class Client(Stream):
        def on_connect_error(self, exception: Exception) -> None:
            errors.append(exception)
            self.close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        Client(engine=engine).connect(listener.getsockname())
        with contextlib.suppress(RuntimeError):  # nothing is left to wait for
            engine.advance(100)
        assert errors


def test_sockets_by_themselves(engine: MemoryEngine) -> None:
    first, second = engine.socketpair()
    with pytest.raises(BlockingIOError):
        first.recv(1)
    assert second.send(b"spam") == 4
    assert first.recv(3) == b"spa"
    assert first.recv(3) == b"m"
    assert first.fileno() != second.fileno()
    second.close()
    second.close()
    assert second.fileno() == -1
    assert first.recv(3) == b""
    with pytest.raises(BrokenPipeError):
        first.send(b"spam")
    first.close()


def test_it_is_the_same_each_time() -> None:
    def play() -> list[Any]:
        with MemoryEngine() as engine:
            stream, peer = engine.connect(Recorder)
            engine.cycle(0.3, stream.write, b"tick")
            for number in range(10):
                peer.window = number
                peer.send(b"%d" % number * 3, chunk=2)
                engine.advance(0.7)
            return [stream.life, peer.received, engine.now]

    assert play() == play()


# --- MemoryEngine: servers -------------------------------------------------------------------------------------------


def test_a_server_accepts(engine: MemoryEngine) -> None:
    server = Server(Echo, engine=engine)
    first = engine.accept(server)
    second = engine.accept(server, remote_address=("203.0.113.7", 12))
    first.send(b"spam")
    second.send(b"eggs")
    assert (first.received, second.received) == (b"spam", b"eggs")
    streams = list(server.channels.values())
    assert [stream.remote_address for stream in streams] == [("192.0.2.1", 50000), ("203.0.113.7", 12)]
    assert all(stream.server is server for stream in streams)
    first.end()
    assert list(server.channels.values()) == streams[1:]
    server.close()
    engine.advance()
    assert second.ended
    assert not server.channels


def test_a_server_that_refuses(engine: MemoryEngine) -> None:
    class Picky(Server):
        def on_accept(self, socket: socket.socket, addr: Any) -> None:
            socket.close()

    server = Picky(Echo, engine=engine)
    peer = engine.accept(server)
    assert peer.ended
    assert peer.received == b""
    assert not server.channels


def test_a_server_whose_connections_fail(engine: MemoryEngine, expect_log: ExpectLog) -> None:
    expect_log("ZeroDivisionError")

    class Bad(Stream):
        def __init__(self, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            raise ZeroDivisionError

    server = Server(Bad, engine=engine)
    peer = engine.accept(server)
    assert peer.ended
    assert not server.channels


def test_a_server_of_another_engine_is_refused(engine: MemoryEngine) -> None:
    with pytest.raises(ValueError, match="another engine"):
        engine.accept(Server(Echo))


def test_a_client_and_a_server_in_memory(engine: MemoryEngine) -> None:
    """Two streams of the same program, in virtual time."""

    class Heartbeat(Recorder):
        def on_connect(self) -> None:
            self.engine.cycle(10, self.write, b"beat")

    with connected_pair(Heartbeat, Recorder, engine=engine) as (_, recorder):
        engine.advance(35)
        assert recorder.life == ["connect", b"beat", b"beat", b"beat"]
        engine.close()
