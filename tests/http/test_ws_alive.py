"""How a WebSocket finds out whether its peer is still there (ping_interval, ping_timeout), in virtual time."""

from __future__ import annotations

import contextlib
import socket
import time
from typing import Any

import pytest

from pants import Engine
from pants.http import HTTPServer
from pants.testing import run_until
from tests.http.ws_support import (
    CLOSE,
    PING,
    PONG,
    Client,
    Frame,
    Recorder,
    closing,
    frame,
    message,
    opened,
    opening,
    take_frames,
)


class Kind(Recorder):
    """With other times than the default, so that nothing rests on these by chance."""

    ping_interval = 20.0
    ping_timeout = 7.0


def with_times(interval: float | None, timeout: float | None) -> type[Recorder]:
    return type("Kind", (Recorder,), {"ping_interval": interval, "ping_timeout": timeout})


def pings(client: Client) -> list[bytes]:
    """The payloads of the pings that have come; nothing else has."""
    frames = client.frames()
    assert all(one.opcode == PING for one in frames)
    return [one.payload for one in frames]


# --- Silence --------------------------------------------------------------------------------------------------------


def test_after_a_silence_the_peer_is_asked() -> None:
    """`ping_interval`: seconds without anything received after which the peer is sent a ping."""
    with opened(Kind) as (websocket, client):
        client.engine.advance(19.9)
        assert pings(client) == []
        client.engine.advance(0.1)
        [first] = pings(client)
        client.engine.advance(1)
        client.send(frame(PONG, first))
        assert websocket.latency == pytest.approx(1)
        assert websocket.names == ["connect"]  # on_pong() is for pings of the program's
        again: list[bytes] = []
        while not again:
            client.engine.advance(1)
            again = pings(client)
        assert again != [first]
        client.send(frame(PONG, again[0]))
        assert websocket.connected


def test_a_peer_that_answers_is_never_cut() -> None:
    with opened(Kind) as (websocket, client):
        for _ in range(2000):
            client.engine.advance(5)
            for payload in pings(client):
                client.send(frame(PONG, payload))
        assert websocket.connected
        assert websocket.names == ["connect"]


def test_a_dead_peer_is_cut() -> None:
    """`ping_timeout`: seconds within which it has to show that it is there, or is cut off."""
    with opened(Kind) as (websocket, client):
        client.engine.advance(26.9)
        assert websocket.connected
        client.engine.advance(0.2)
        assert websocket.is_over
        assert websocket.close_code == 1006
        assert isinstance(websocket.close_error, TimeoutError)
        assert client.ended
        assert [one.opcode for one in client.frames()] == [PING]


@pytest.mark.parametrize(
    "sign", [frame(PONG, "unasked"), frame(PING, "p"), message("a"), message("a")[:1], frame(1, "a", fin=False)]
)
def test_any_sign_of_life_will_do(sign: bytes) -> None:
    """`ping_timeout`: anything that it sends will do."""
    with opened(Kind) as (websocket, client):
        client.engine.advance(21)
        assert len(pings(client)) == 1
        client.send(sign)
        client.engine.advance(15)
        assert websocket.connected
        client.engine.advance(60)
        assert websocket.is_over


def test_where_something_comes_nobody_is_asked() -> None:
    with opened(Kind) as (websocket, client):
        for _ in range(100):
            client.engine.advance(9)
            client.send("a")
        assert pings(client) == []
        assert len(websocket.reads) == 100


@pytest.mark.parametrize("after", [1, 10, 19])
def test_the_interval_counts_from_what_was_received_last(after: float) -> None:
    """`ping_interval`: seconds without anything received."""
    with opened(Kind) as (_, client):
        client.engine.advance(after)
        client.send("a")
        client.engine.advance(19.9)
        assert pings(client) == []
        client.engine.advance(0.2)
        assert len(pings(client)) == 1


def test_what_is_written_is_no_sign_of_the_peer() -> None:
    """The kernel takes it; the peer may be dead all the same."""
    with opened(Kind) as (websocket, client):
        for _ in range(100):
            if websocket.connected:
                websocket.write("tick")
                client.engine.advance(1)
        assert websocket.is_over
        assert isinstance(websocket.close_error, TimeoutError)


# --- Off ------------------------------------------------------------------------------------------------------------


def test_without_an_interval_nobody_is_asked() -> None:
    with opened(with_times(None, 5)) as (websocket, client):
        client.engine.advance(1_000_000)
        assert pings(client) == []
        assert websocket.connected


def test_without_a_timeout_nobody_is_cut() -> None:
    with opened(with_times(20, None)) as (websocket, client):
        client.engine.advance(1001)
        assert 20 <= len(pings(client)) <= 50
        assert websocket.connected


@pytest.mark.parametrize("before", [30.0, None])
def test_an_interval_of_an_instance(before: float | None) -> None:
    """`ping_interval`: to be set in on_connect at the latest."""

    class Own(Recorder):
        ping_interval = before

        def on_connect(self, *_: Any) -> None:
            self.ping_interval = 3

    with opened(Own) as (_, client):
        client.engine.advance(3.5)
        assert len(pings(client)) == 1


def test_an_interval_that_is_taken_away() -> None:
    class Own(Recorder):
        def on_connect(self, *_: Any) -> None:
            self.ping_interval = None

    with opened(Own) as (websocket, client):
        client.engine.advance(10_000)
        assert pings(client) == []
        assert websocket.connected


def test_the_defaults() -> None:
    with opened() as (websocket, client):
        assert (websocket.ping_interval, websocket.ping_timeout, websocket.close_timeout) == (30, 30, 10)
        client.engine.advance(30.5)
        assert len(pings(client)) == 1
        client.engine.advance(30)
        assert websocket.is_over


# --- Long transfers -------------------------------------------------------------------------------------------------


def test_a_long_message_that_comes_slowly() -> None:
    """Nothing of it is complete for an hour."""

    class Long(Kind):
        def on_connect(self, *_: Any) -> None:
            self.buffer_size = 1_000_000

    data = message("x" * 100_000)
    with opened(Long) as (websocket, client):
        for at in range(0, len(data), 500):
            client.send(data[at : at + 500])
            client.engine.advance(18)
        assert websocket.reads == ["x" * 100_000]
        assert pings(client) == []


@pytest.mark.parametrize("pause", [5, 15, 19])
@pytest.mark.parametrize("what", ["a message", "a file"])
def test_a_long_message_that_is_taken_slowly(pause: float, what: str, tmp_path: Any) -> None:
    """The peer says nothing, for it gets no ping behind what it is taking; it takes a little now and then."""
    with opened(with_times(20, 20)) as (websocket, client):
        client.peer.window = 0
        if what == "a file":
            (tmp_path / "file").write_bytes(b"x" * 100_000)
            with (tmp_path / "file").open("rb") as file:
                websocket.write_file(file)
        else:
            websocket.write(b"x" * 100_000)
        for _ in range(99):
            client.engine.advance(pause)
            client.peer.window = 1000
        assert websocket.connected
        client.peer.window = None
        client.engine.advance(1)
        frames = client.frames()
        assert len(frames[0].payload) == 100_000
        assert {one.opcode for one in frames[1:]} <= {PING}


class LeapingEngine(Engine):
    """An engine that can be made to believe that time has passed; its sockets are real."""

    ahead = 0.0

    def clock(self) -> float:
        return time.monotonic() + self.ahead

    def leap(self, seconds: float) -> None:
        self.ahead += seconds
        for _ in range(4):
            self.poll(0)


@pytest.mark.parametrize("closes", [False, True])
def test_what_the_kernel_holds_is_a_transfer_too(closes: bool) -> None:
    """The kernel takes megabytes before it says that it takes no more, and then for long says nothing."""

    class Sender(Recorder):
        ping_interval = ping_timeout = close_timeout = 30

        def on_connect(self) -> None:
            made.append(self)
            self.write(bytes(8_000_000))
            if closes:
                self.close()

    made: list[Any] = []
    engine = LeapingEngine()
    try:
        server = HTTPServer(Sender, engine=engine).listen(("127.0.0.1", 0))
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32768)
            client.connect(server.local_address)
            client.sendall(opening())
            run_until(lambda: bool(made), engine=engine)
            client.setblocking(False)
            for _ in range(6):  # some 10 kB in each second that it believes in
                taken = 0
                while taken < 300_000:
                    engine.poll(0)
                    with contextlib.suppress(BlockingIOError):
                        taken += len(client.recv(65536))
                engine.leap(31)
                assert not made[0].closed
            for _ in range(3):
                engine.leap(31)
            assert made[0].closed
            assert made[0].close_code == 1006
            assert isinstance(made[0].close_error, TimeoutError)
            if closes:
                assert "has not taken" in str(made[0].close_error)
    finally:
        engine.close()


def test_a_transfer_that_stalls() -> None:
    with opened(Kind) as (websocket, client):
        client.peer.window = 1000
        websocket.write(b"x" * 100_000)
        client.engine.advance(100)
        assert websocket.is_over
        assert isinstance(websocket.close_error, TimeoutError)


@pytest.mark.parametrize("interval, timeout, taken_at", [(10, 60, 30), (10, 60, 55), (60, 10, 65), (20, 20, 21)])
def test_what_is_taken_within_the_timeout_shows_life(interval: float, timeout: float, taken_at: float) -> None:
    """`ping_timeout`: and so will taking something of what waits to be sent."""
    with opened(with_times(interval, timeout)) as (websocket, client):
        client.peer.window = 10
        websocket.write(b"x" * 100_000)
        client.engine.advance(taken_at)
        client.peer.window = 10
        client.engine.advance(interval + timeout + 0.5 - taken_at)
        assert websocket.connected
        client.engine.advance(2 * (interval + timeout))
        assert websocket.is_over


def test_a_client_that_sends_and_reads_nothing_is_not_waited_for_for_ever() -> None:
    """on_high_water() has stopped reading from it, and that is no excuse for a peer that takes nothing."""

    class Choked(Kind):
        high_water = 1000

        def on_read(self, data: str) -> None:
            self.write("x" * 2000)

    with opened(Choked) as (websocket, client):
        client.peer.window = 0
        client.send("a", "b")
        client.engine.advance(200)
        assert websocket.is_over


def test_a_client_that_is_choked_and_moves() -> None:
    class Choked(Kind):
        high_water = 1000
        ping_timeout = 20

        def on_read(self, data: str) -> None:
            self.write("x" * 50_000)

    with opened(Choked) as (websocket, client):
        client.peer.window = 0
        client.send("a")
        for _ in range(48):
            client.engine.advance(18)
            client.peer.window = 1000
        assert websocket.connected


# --- The program's own doing ----------------------------------------------------------------------------------------


def test_a_pause_of_the_program_is_not_the_peer_s_silence() -> None:
    """`pause_reading`: its pongs are not read."""
    with opened(Kind) as (websocket, client):
        websocket.pause_reading()
        client.engine.advance(10_000)
        assert websocket.connected
        websocket.resume_reading()
        client.engine.advance(10)
        assert websocket.connected
        client.send("a")
        assert websocket.reads == ["a"]
        client.engine.advance(60)
        assert websocket.is_over


@pytest.mark.parametrize("paused_at", [1, 19.5, 20.5, 26.5])
def test_a_pause_at_any_time(paused_at: float) -> None:
    """Also where a ping is under way: its answer waits with the rest."""
    with opened(Kind) as (websocket, client):

        def live(times: int) -> None:
            for _ in range(times):
                client.engine.advance(5)
                for payload in pings(client):
                    client.send(frame(PONG, payload))

        client.engine.advance(paused_at)
        websocket.pause_reading()
        live(40)
        websocket.resume_reading()
        live(40)
        assert websocket.connected


def test_a_hook_that_polls_for_long_is_not_the_peer_s_silence() -> None:
    class Busy(Kind):
        def on_read(self, data: str) -> None:
            end = self.engine.clock() + 500
            while self.engine.clock() < end:
                self.engine.poll(1)

    with opened(Busy) as (websocket, client):
        client.send("a")
        assert websocket.connected
        client.engine.advance(10)
        assert websocket.connected


# --- The end --------------------------------------------------------------------------------------------------------


def test_none_is_sent_while_it_closes() -> None:
    class Patient(Kind):
        close_timeout = None

    with opened(Patient) as (websocket, client):
        client.engine.advance(21)
        assert len(pings(client)) == 1
        websocket.close()
        client.engine.advance(1000)
        assert [one.opcode for one in client.frames()] == [CLOSE]
        client.send(closing())
        assert websocket.is_over


@pytest.mark.parametrize("end", ["closed", "cut", "reset", "by the peer", "failed"])
def test_no_timer_is_left(end: str) -> None:
    with opened(Kind) as (websocket, client):
        client.engine.advance(5)
        if end == "closed":
            websocket.close()
            client.send(closing())
        elif end == "cut":
            websocket.close(flush=False)
        elif end == "reset":
            client.peer.reset()
        else:
            client.send(closing() if end == "by the peer" else frame(3))
        client.engine.advance(5)
        assert websocket.is_over
        assert client.engine.time_to_timer() is None
        frames, rest = take_frames(client._take())
        assert all(isinstance(one, Frame) for one in frames)
        assert not rest
