"""A WebSocket as a client once it is open, and how it ends: frames on the wire, closing, deadlines, nothing left."""

from __future__ import annotations

import contextlib
import errno
import gc
import hashlib
import io
import itertools
import select
import socket
import ssl
import threading
import weakref
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pants import Engine
from pants.errors import ConnectTimeout, FileShrunk
from pants.http import FRAME_TEXT, Deflate, HandshakeError, WebSocket, WebSocketError, broadcast
from pants.testing import run_until
from tests.http.peers_support import DEADLINE
from tests.http.ws_client_support import (
    BINARY,
    CLOSE,
    CONTINUATION,
    FAILED,
    PING,
    PONG,
    TEXT,
    Caller,
    Certificates,
    Client,
    EchoSocket,
    RawServer,
    answering,
    certificates,
    close,
    close_frame,
    connected,
    echoing,
    frame,
    isolated,
    polite,
    redirecting,
    refused,
    run_turns,
    status,
    until_closed,
    until_received,
    url_of,
)


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with isolated(monkeypatch):
        yield


@pytest.fixture(scope="module")
def certs() -> Certificates:
    return certificates()


class Impatient(Client):
    connect_timeout = 0.05
    close_timeout = 0.05


class Hasty(Client):
    connect_timeout = 0


class Plain(Client):
    compression = False


# --- Frames that are sent -----------------------------------------------------------------------------------------


def test_frames_are_masked_with_fresh_keys() -> None:
    """RFC 6455 §5.1, §5.3: all of them, control frames too, each with a key that cannot be foreseen."""
    frames = []

    def talk(caller: Caller) -> None:
        caller.open()
        caller.send(frame(PING, b"are you there"))
        while True:
            frames.append(received := caller.read_frame())
            if received.opcode == CLOSE:
                caller.send(frame(CLOSE, received.payload))
                return

    with RawServer(talk) as server:
        client = connected(server.url, Plain)
        run_until(lambda: any(one.opcode == PONG for one in frames), DEADLINE)
        for number in range(300):
            client.write(f"number {number}")
        client.write(b"")
        client.write_fragment("a")
        client.write_fragment("b", last=True)
        client.write(b"x" * 70_000)
        client.ping(b"ping")
        close(client)
    assert all(one.masked for one in frames)
    assert len({one.key for one in frames}) > len(frames) - 3  # 4 bytes may come twice by chance, but hardly
    assert b"\0\0\0\0" not in [one.key for one in frames[:3]]
    assert [one.payload for one in frames if one.opcode == PONG] == [b"are you there"]
    assert [one.payload for one in frames if one.opcode == PING] == [b"ping"]
    texts = [one.payload.decode() for one in frames if one.opcode == TEXT]
    assert texts == [*(f"number {number}" for number in range(300)), "a"]
    assert [one.payload for one in frames if one.opcode == BINARY] == [b"", b"x" * 70_000]
    assert [(one.payload, one.fin) for one in frames if one.opcode == CONTINUATION] == [(b"b", True)]
    assert frames[-1].payload[:2] == (1000).to_bytes(2, "big")


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65535, 65536, 300_000, 3_000_001])
def test_lengths(size: int) -> None:
    """RFC 6455 §5.2: each in its shortest form, which the other end would refuse otherwise."""
    message = bytes(range(251)) * (size // 251 + 1)
    message = message[:size]

    class Large(Plain):
        buffer_size_wanted = 4_000_000

        def on_connect(self, *arguments: Any) -> None:
            super().on_connect(*arguments)
            self.buffer_size = self.buffer_size_wanted

    with echoing() as server:
        client = connected(url_of(server), Large)
        client.write(message)
        assert until_received(client) == [message]
        close(client)


def test_frame_text_and_broadcast() -> None:
    frames = []

    def talk(caller: Caller) -> None:
        caller.open()
        frames.extend([caller.read_frame() for _ in range(2)])
        caller.wait_for_close()

    with RawServer(talk) as server:
        client = connected(server.url)
        client.write(b"bytes", frame=FRAME_TEXT)
        assert broadcast([client], "to all") == 1
        close(client)
    assert [(one.opcode, one.payload, one.masked) for one in frames] == [
        (TEXT, b"bytes", True),
        (TEXT, b"to all", True),
    ]


@pytest.mark.parametrize("secure", [False, True])
def test_files_are_masked(certs: Certificates, tmp_path: Path, secure: bool) -> None:
    """One binary message in one frame; not compressed, and not read as a whole."""
    content = b"".join(number.to_bytes(4, "big") for number in range(1_500_000))
    path = tmp_path / "large.bin"
    path.write_bytes(content)
    digests = []

    def talk(caller: Caller) -> None:
        caller.open()
        for _ in range(4):
            received = caller.read_frame()
            assert (received.opcode, received.masked, received.fin, received.compressed) == (BINARY, True, True, False)
            digests.append((len(received.payload), hashlib.sha256(received.payload).hexdigest()))
        caller.wait_for_close()

    with RawServer(talk, context=certs.good if secure else None) as server:
        client = connected(server.url, ssl_options={"ca_certs": certs.ca})
        with path.open("rb") as file:
            client.write_file(file)
            client.write_file(file, nbytes=1_000_003, offset=5)
            client.write_file(file, offset=len(content) - 3)
        client.write(b"behind them")
        assert client.queued_bytes > 1_000_000
        close(client)
        assert client.close_error is None
    parts = [content, content[5 : 5 + 1_000_003], content[-3:], b"behind them"]
    assert digests == [(len(part), hashlib.sha256(part).hexdigest()) for part in parts]


def test_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "empty").write_bytes(b"")
    with echoing() as server:
        client = connected(url_of(server))
        with (tmp_path / "empty").open("rb") as file:
            client.write_file(file)
        assert until_received(client) == [b""]
        close(client)


def test_a_file_without_a_descriptor() -> None:
    content = bytes(range(256)) * 1000
    with echoing() as server:
        client = connected(url_of(server), Plain)
        client.buffer_size = len(content)
        client.write_file(io.BytesIO(content), offset=3)
        assert until_received(client) == [content[3:]]
        close(client)


def test_a_file_that_shrinks(tmp_path: Path) -> None:
    """The frame cannot be completed any more, so no Close frame can be sent either."""
    path = tmp_path / "shrinking"
    path.write_bytes(b"x" * 3_000_000)
    sent = []

    def talk(caller: Caller) -> None:
        caller.open()
        sent.append(caller.read_rest())

    with RawServer(talk) as server:
        client = connected(server.url, Plain)
        with path.open("r+b") as file:
            client.write_file(file)
            file.truncate(1000)
        until_closed(client)
    assert isinstance(client.error, FileShrunk)
    assert client.hooks == ["on_connect", "on_error", "on_close"]
    assert client.close_code == 1006
    assert len(sent[0]) <= 14 + 1000


def test_on_write_comes_when_all_is_sent() -> None:
    class Writing(Client):
        writes = 0

        def on_write(self) -> None:
            self.writes += 1

    with echoing() as server:
        client = connected(url_of(server), Writing)
        run_turns()
        assert client.writes == 0  # the handshake is not the program's
        client.write("x" * 1_000_000)
        run_until(lambda: client.writes == 1, DEADLINE)
        close(client)


# --- Messages both ways -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("compression", [True, False])
def test_big_messages_both_ways(compression: bool) -> None:
    class Large(Client):
        def on_connect(self, *arguments: Any) -> None:
            self.buffer_size = 16 * 1024 * 1024

    Large.compression = compression
    text = "All work and no play \u00e4\u20ac\U0001f600\n" * 50_000
    data = b"".join(number.to_bytes(4, "big") for number in range(500_000))
    with echoing() as server:
        client = connected(url_of(server), Large)
        client.write(text)
        client.write(data)
        assert until_received(client, 2) == [text, data]
        assert EchoSocket.made[0].messages == [text, data]
        close(client)


def test_fragments_both_ways() -> None:
    """RFC 6455 §5.4: control frames may stand between them; UTF-8 may be cut anywhere."""
    euro = "\u20ac".encode()

    def talk(caller: Caller) -> None:
        caller.open(rest=frame(TEXT, b"a" + euro[:1], fin=False))
        caller.send(frame(PING, b"1") + frame(CONTINUATION, euro[1:2], fin=False) + frame(CONTINUATION, b"", fin=False))
        caller.send(frame(CONTINUATION, euro[2:] + b"z"))
        assert (caller.read_frame()).opcode == PONG
        pieces = [caller.read_frame() for _ in range(3)]
        assert [(piece.opcode, piece.payload, piece.fin) for piece in pieces] == [
            (BINARY, b"one", False),
            (CONTINUATION, b"", False),
            (CONTINUATION, b"two", True),
        ]
        caller.wait_for_close()

    with RawServer(talk) as server:
        client = connected(server.url)
        assert until_received(client) == ["a\u20acz"]
        for piece in (b"one", b""):
            client.write_fragment(piece)
        client.write_fragment(b"two", last=True)
        close(client)


def test_read_delimiter_as_a_client() -> None:
    class Lines(Client):
        def on_connect(self, *arguments: Any) -> None:
            self.read_delimiter = "\n"

    with RawServer(
        lambda caller: (caller.open(rest=frame(TEXT, b"one\ntw") + frame(TEXT, b"o\n")), caller.wait_for_close())
    ) as server:
        client = connected(server.url, Lines)
        assert until_received(client, 2) == ["one", "two"]
        close(client)


def test_a_message_that_is_too_long(expect_log: Any) -> None:
    expect_log("buffer_size")

    def talk(caller: Caller) -> None:
        caller.open(rest=frame(BINARY, b"x" * 65_537))
        caller.wait_for_close(1009)

    with RawServer(talk) as server:
        client = Client.connect(server.url)
        until_closed(client)
    assert client.messages == []


def test_reading_paused_from_the_start() -> None:
    class Paused(Client):
        def on_connect(self, *arguments: Any) -> None:
            super().on_connect(*arguments)
            self.pause_reading()

    def talk(caller: Caller) -> None:
        caller.open(rest=frame(TEXT, b"one"))
        caller.send(frame(TEXT, b"two"))
        caller.wait_for_close()

    with RawServer(talk) as server:
        client = connected(server.url, Paused)
        run_turns()
        assert client.messages == []
        client.resume_reading()
        assert until_received(client, 2) == ["one", "two"]
        close(client)


def test_a_client_does_not_stop_reading_at_high_water() -> None:
    """Two ends that both waited would wait for ever."""

    class Low(Client):
        high_water = 1000

    release = threading.Event()

    def talk(caller: Caller) -> None:
        caller.open()
        caller.read(2)
        caller.send(frame(TEXT, b"still here"))
        assert release.wait(DEADLINE)
        caller.reset()

    with RawServer(talk) as server:
        client = connected(server.url, Low)
        client.write(b"x" * 10_000_000)
        assert until_received(client) == ["still here"]
        assert client.queued_bytes
        client.close(flush=False)
        release.set()


# --- Pings ----------------------------------------------------------------------------------------------------------


def test_pings_both_ways() -> None:
    with echoing() as server:
        client = connected(url_of(server))
        client.ping(b"mine")
        client.ping()
        (other,) = EchoSocket.made
        other.ping(b"yours")
        run_until(lambda: len(client.pongs) == 2 and other.pongs, DEADLINE)
        assert client.pongs[0] == b"mine"
        assert client.pongs[1] == client.latency
        assert client.latency is not None
        assert client.latency >= 0
        assert other.pongs == [b"yours"]
        close(client)


def test_pings_that_the_program_did_not_ask_for() -> None:
    """One each time that nothing has been received for ping_interval, however long an answer may take."""

    class Pinging(Client):
        ping_interval = 0.01
        ping_timeout = 3600.0

    pings = []

    def talk(caller: Caller) -> None:
        caller.open()
        while (received := caller.read_frame()).opcode != CLOSE:
            pings.append(received)
            caller.send(frame(PONG, received.payload))
        caller.send(frame(CLOSE, received.payload))

    with RawServer(talk) as server:
        client = connected(server.url, Pinging)
        run_until(lambda: client.latency is not None, DEADLINE)
        with contextlib.suppress(AssertionError):
            run_until(lambda: len(pings) >= 3, 3.0)
        close(client)
    assert client.pongs == []
    assert all((ping.opcode, ping.masked) == (PING, True) for ping in pings)
    assert len(pings) >= 3


def test_a_server_that_shows_no_life() -> None:
    class Pinging(Client):
        ping_interval = 0.01
        ping_timeout = 0.01

    def talk(caller: Caller) -> None:
        caller.open()
        caller.read_rest()

    with RawServer(talk) as server:
        client = connected(server.url, Pinging)
        until_closed(client)
    assert client.close_code == 1006
    assert isinstance(client.close_error, TimeoutError)
    assert client.hooks[-1] == "on_close"


# --- What a server does wrong ---------------------------------------------------------------------------------------

INVALID = {
    "masked": (frame(TEXT, b"hello", key=b"abcd"), 1002),
    "masked and empty": (frame(TEXT, b"", key=b"abcd"), 1002),
    "a masked ping": (frame(PING, b"", key=b"abcd"), 1002),
    "a masked Close frame": (frame(CLOSE, b"", key=b"abcd"), 1002),
    "a reserved bit": (frame(TEXT, b"a", rsv=0x20), 1002),
    "compressed, though that was not agreed on": (frame(TEXT, b"a", rsv=0x40), 1002),
    "an unknown opcode": (frame(3, b"a"), 1002),
    "an unknown control opcode": (frame(11, b"a"), 1002),
    "nothing to continue": (frame(CONTINUATION, b"a"), 1002),
    "another message in between": (frame(TEXT, b"a", fin=False) + frame(TEXT, b"b"), 1002),
    "a ping in fragments": (frame(PING, b"a", fin=False), 1002),
    "a long ping": (frame(PING, b"x" * 126), 1002),
    "a length in too long a form": (b"\x81\x7e\x00\x05hello", 1002),
    "a length beyond 63 bits": (b"\x82\x7f" + b"\xff" * 8, 1002),
    "no UTF-8": (frame(TEXT, b"\xff"), 1007),
    "half a character": (frame(TEXT, b"\xe2\x82"), 1007),
    "a code of one byte": (frame(CLOSE, b"\x03"), 1002),
    "a code that may not be sent": (close_frame(1005), 1002),
    "a reason that is no UTF-8": (frame(CLOSE, b"\x03\xe8\xff"), 1007),
}


@pytest.mark.parametrize("name", INVALID)
@pytest.mark.parametrize("with_handshake", [True, False])
def test_what_a_server_may_not_send(name: str, with_handshake: bool) -> None:
    """RFC 6455 §5, §7.1.7, §8.1: the client fails the WebSocket, and says why by a Close frame."""
    data, code = INVALID[name]

    def talk(caller: Caller) -> None:
        caller.open(rest=data if with_handshake else b"")
        if not with_handshake:
            caller.send(data)
        received = caller.read_frame()
        assert (received.opcode, received.masked) == (CLOSE, True)
        assert int.from_bytes(received.payload[:2], "big") == code
        assert caller.read_rest() == b""

    with RawServer(talk) as server:
        client = Client.connect(server.url)
        until_closed(client)
    assert client.hooks == ["on_connect", "on_close"]
    assert client.close_code == code
    assert isinstance(client.close_error, WebSocketError)
    assert client.close_error.code == code


# --- Closing --------------------------------------------------------------------------------------------------------


def test_closing_by_the_client() -> None:
    """RFC 6455 §7.1.1: the server closes the connection first, the client waits for that."""
    release = threading.Event()

    def talk(caller: Caller) -> None:
        caller.open()
        received = caller.read_frame()
        assert (received.opcode, received.payload) == (CLOSE, (4001).to_bytes(2, "big") + b"enough")
        caller.send(frame(CLOSE, received.payload))
        assert not select.select([caller.sock], [], [], 0)[0]
        assert release.wait(DEADLINE)
        assert not select.select([caller.sock], [], [], 0)[0]  # it has not closed, and sends nothing more
        caller.sock.shutdown(socket.SHUT_WR)
        assert caller.read_rest() == b""

    with RawServer(talk) as server:
        client = connected(server.url)
        client.close(reason=4001, message="enough")
        assert not client.connected
        assert "on_close" not in client.hooks
        run_until(lambda: client.close_code is not None, DEADLINE)
        run_turns(50)
        assert not client.closed
        release.set()
        until_closed(client)
    assert (client.close_code, client.close_reason, client.close_error) == (4001, "enough", None)
    assert client.hooks == ["on_connect", "on_close"]


def test_closing_by_the_server() -> None:
    """RFC 6455 §5.5.1: the code is echoed."""
    release = threading.Event()

    def talk(caller: Caller) -> None:
        caller.open(rest=frame(TEXT, b"bye") + close_frame(4321, "w\u00e4r's"))
        received = caller.read_frame()
        assert (received.opcode, received.masked, received.payload[:2]) == (CLOSE, True, (4321).to_bytes(2, "big"))
        assert release.wait(DEADLINE)
        assert not select.select([caller.sock], [], [], 0)[0]
        caller.sock.shutdown(socket.SHUT_WR)
        assert caller.read_rest() == b""

    with RawServer(talk) as server:
        client = Client.connect(server.url)
        run_until(lambda: client.close_code is not None, DEADLINE)
        run_turns(50)
        assert not client.connected
        assert not client.closed
        release.set()
        until_closed(client)
    assert client.messages == ["bye"]
    assert (client.close_code, client.close_reason, client.close_error) == (4321, "w\u00e4r's", None)


def test_closing_without_a_code() -> None:
    """RFC 6455 §7.1.5."""

    def closing(caller: Caller) -> None:
        caller.open(rest=frame(CLOSE))
        received = caller.read_frame()
        assert (received.opcode, received.payload) == (CLOSE, b"")

    with RawServer(closing) as server:
        client = Client.connect(server.url)
        until_closed(client)
    assert (client.close_code, client.close_reason, client.close_error) == (1005, "", None)


def test_both_close_at_once() -> None:
    go, both = threading.Event(), threading.Event()

    def talk(caller: Caller) -> None:
        caller.open()
        assert go.wait(DEADLINE)
        caller.send(close_frame(1001))
        both.set()
        assert caller.read_frame().opcode == CLOSE
        caller.sock.shutdown(socket.SHUT_WR)
        assert caller.read_rest() == b""  # no second Close frame (RFC 6455 §5.5.1)

    with RawServer(talk) as server:
        client = connected(server.url)
        go.set()
        assert both.wait(DEADLINE)
        client.close()
        until_closed(client)
    assert (client.close_code, client.close_error) == (1001, None)


def test_what_was_written_goes_before_the_close_frame() -> None:
    def talk(caller: Caller) -> None:
        caller.open()
        assert len(caller.read_frame().payload) == 5_000_000
        caller.wait_for_close()

    with RawServer(talk) as server:
        client = connected(server.url, Plain)
        client.write(b"x" * 5_000_000)
        close(client)
    assert (client.close_code, client.close_error) == (1000, None)


def test_messages_that_come_after_close_are_dropped() -> None:
    """`on_read` is not called any more, and the peer's Close frame is still found behind them."""

    def talk(caller: Caller) -> None:
        caller.open()
        received = caller.read_frame()
        caller.send(frame(TEXT, b"late") + frame(BINARY, b"x" * 200_000) + frame(CLOSE, received.payload))

    with RawServer(talk) as server:
        client = connected(server.url)
        close(client)
    assert client.messages == []
    assert (client.close_code, client.close_error) == (1000, None)


def test_a_server_that_does_not_answer_the_close_frame() -> None:
    """The client gives up after close_timeout."""

    def talk(caller: Caller) -> None:
        caller.open()
        caller.read_rest()

    with RawServer(talk) as server:
        client = connected(server.url, Impatient)
        close(client)
    assert client.close_code == 1006
    assert isinstance(client.close_error, TimeoutError)
    assert client.hooks == ["on_connect", "on_close"]


@pytest.mark.parametrize("who", ["the client", "the server"])
def test_a_server_that_does_not_close_the_connection(who: str) -> None:
    """RFC 6455 §7.1.1: after a time the client may close it."""

    def talk(caller: Caller) -> None:
        caller.open(rest=b"" if who == "the client" else close_frame(1000))
        received = caller.read_frame()
        if who == "the client":
            caller.send(frame(CLOSE, received.payload))
        assert caller.read_rest() == b""

    with RawServer(talk) as server:
        client = Impatient.connect(server.url)
        run_until(lambda: client.hooks, DEADLINE)
        client.close()
        until_closed(client)
    assert client.close_code == 1000


@pytest.mark.parametrize("how", ["end", "reset"])
def test_a_server_that_vanishes(how: str) -> None:
    """RFC 6455 §7.1.5: 1006."""

    def talk(caller: Caller) -> None:
        caller.open(rest=frame(TEXT, b"hello") + b"\x81\x05hal")
        caller.read_frame()
        if how == "reset":
            caller.reset()

    with RawServer(talk) as server:
        client = connected(server.url)
        assert until_received(client) == ["hello"]
        client.write("x")
        until_closed(client)
    assert client.hooks == ["on_connect", "on_read", "on_close"]
    assert (client.close_code, client.close_reason) == (1006, "")
    assert client.messages == ["hello"]
    if how == "reset":
        assert isinstance(client.close_error, ConnectionError)


def test_closing_at_once() -> None:
    """No Close frame is sent."""

    def talk(caller: Caller) -> None:
        caller.open()
        assert caller.read_rest() == b""

    with RawServer(talk) as server:
        client = connected(server.url)
        client.write("dropped")
        client.close(flush=False)
        assert not client.connected
        until_closed(client)
    assert client.close_code == 1006
    assert client.hooks == ["on_connect", "on_close"]


@pytest.mark.parametrize("flush", [True, False])
@pytest.mark.parametrize(
    "rest",
    [
        b"",
        frame(TEXT, b"hello"),
        close_frame(1001),
        frame(PING, b"x") + close_frame(1001),
        frame(TEXT, b"x", key=b"abcd"),
    ],
)
def test_closing_in_on_connect(flush: bool, rest: bytes) -> None:
    """Whatever came with the server's answer; nothing is logged."""

    class Closing(Client):
        def on_connect(self, *arguments: Any) -> None:
            super().on_connect(*arguments)
            self.close(flush=flush)

    def talk(caller: Caller) -> None:
        caller.open(rest=rest)
        if flush:
            received = caller.read_frame()
            assert received.opcode == CLOSE
            with contextlib.suppress(OSError):
                caller.send(frame(CLOSE, received.payload))
                caller.sock.shutdown(socket.SHUT_WR)
        # Behind the Close frame there is nothing but the answer to a ping (RFC 6455 §5.5.1, §5.5.2).
        left = caller.read_rest()
        assert left == b"" or (left[0] & 15 == PONG and rest[0] & 15 == PING and flush)

    with RawServer(talk) as server:
        client = Closing.connect(server.url)
        until_closed(client)
    assert client.hooks == ["on_connect", "on_close"]
    assert client.errors == []


@pytest.mark.parametrize("where", ["on_connect", "on_read", "on_pong", "on_write"])
def test_a_hook_that_raises(where: str, expect_log: Any) -> None:
    """It is logged, and the WebSocket closed with 1011."""
    expect_log("ZeroDivisionError")

    class Raising(Client):
        on_error = WebSocket.on_error

        def on_connect(self, *arguments: Any) -> None:
            super().on_connect(*arguments)
            if where == "on_connect":
                raise ZeroDivisionError
            self.write("x")
            self.ping()

    def fail(self: Any, *_: Any) -> None:
        raise ZeroDivisionError

    if where != "on_connect":
        setattr(Raising, where, fail)

    def talk(caller: Caller) -> None:
        caller.open()
        caller.send(frame(TEXT, b"hello"))
        while (received := caller.read_frame()).opcode != CLOSE:
            if received.opcode == PING:
                caller.send(frame(PONG, received.payload))
        assert received.payload[:2] == (1011).to_bytes(2, "big")
        caller.send(frame(CLOSE, received.payload))

    with RawServer(talk) as server:
        client = Raising.connect(server.url)
        until_closed(client)
    assert client.hooks[-1] == "on_close"
    assert client.close_code == 1011


def test_on_connect_error_raises(expect_log: Any) -> None:
    """on_close() is called all the same, once and last."""
    expect_log("ZeroDivisionError")

    class Raising(Client):
        on_error = WebSocket.on_error

        def on_connect_error(self, exception: Exception) -> None:
            super().on_connect_error(exception)
            raise ZeroDivisionError

    with RawServer(answering(status("404 Not Found"))) as server:
        client = Raising.connect(server.url)
        until_closed(client)
        run_turns()
    assert client.hooks == FAILED


@pytest.mark.parametrize("flush", [True, False])
def test_closing_in_on_connect_error(flush: bool) -> None:
    class Closing(Client):
        def on_connect_error(self, exception: Exception) -> None:
            super().on_connect_error(exception)
            self.close(flush=flush)

    with RawServer(answering(status("404 Not Found"))) as server:
        client = Closing.connect(server.url)
        until_closed(client)
        run_turns()
    assert client.hooks == FAILED


def test_connecting_anew_in_on_close() -> None:
    """As a client does that wants to stay connected."""
    made: list[Client] = []

    class Stubborn(Client):
        def on_close(self) -> None:
            super().on_close()
            if len(made) < 3:
                made.append(Stubborn.connect(server.url))

    with RawServer(answering(status("503 Later")), lambda caller: caller.read_head(), polite) as server:
        made.append(Stubborn.connect(server.url))
        run_until(lambda: made[-1].connected, DEADLINE)
        close(made[-1])
    assert [client.hooks for client in made] == [FAILED, FAILED, ["on_connect", "on_close"]]


# --- Closing while it is being opened -----------------------------------------------------------------------------


STAGES: dict[str, tuple[Callable[[Caller], object] | None, bool]] = {
    "at the call": (None, False),
    "while it waits for the answer": (lambda caller: (caller.read_head(), caller.read_rest()), False),
    "in the middle of the answer": (
        lambda caller: (caller.read_head(), caller.send(b"HTTP/1.1 101 Switching"), caller.read_rest()),
        False,
    ),
    "while TLS is made": (lambda caller: caller.read_rest(), True),
}


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("flush", [True, False])
def test_closing_while_it_is_being_opened(stage: str, flush: bool) -> None:
    """on_close() is called, from the loop, and nothing else."""
    talk, secure = STAGES[stage]
    with RawServer(*([] if talk is None else [talk])) as server:
        client = Client.connect(server.url.replace("ws:", "wss:") if secure else server.url)
        if talk is not None:
            run_until(lambda: server.callers, DEADLINE)
            run_turns()
        client.close(flush=flush)
        assert client.hooks == []
        client.close()
        until_closed(client)
        run_turns()
    assert client.hooks == ["on_close"]
    assert not client.connected
    assert client.close_code == 1006


def test_closing_checks_its_arguments_before_it_is_open_too() -> None:
    client = Client.connect("ws://127.0.0.1:1/")
    with pytest.raises(ValueError, match="1005"):
        client.close(reason=1005)
    with pytest.raises(TypeError):
        client.close(message=b"bytes")  # type: ignore[arg-type]
    client.close()
    until_closed(client)
    assert client.hooks == ["on_close"]


def test_it_cannot_be_written_to_before_it_is_open() -> None:
    client = Client.connect("ws://127.0.0.1:1/")
    for call in (lambda: client.write("x"), client.ping, client.flush, lambda: client.write_fragment("x")):
        with pytest.raises(RuntimeError, match="on_connect"):
            call()
    assert client.queued_bytes == 0
    assert (client.local_address, client.remote_address) == (None, None)
    assert (client.close_code, client.close_error) == (None, None)
    until_closed(client)
    assert client.hooks == FAILED
    client.close()  # closing again does nothing
    client.close(flush=False)
    run_turns()
    assert client.hooks == FAILED


# --- Deadlines ------------------------------------------------------------------------------------------------------


class SlowNames:
    """A getaddrinfo that does not answer for one name before it is let go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.go = threading.Event()
        self.asked = threading.Event()
        self.answered = threading.Event()
        self._real = socket.getaddrinfo
        monkeypatch.setattr(socket, "getaddrinfo", self.look_up)

    def look_up(self, host: Any, *args: Any) -> Any:
        if host != "slow.invalid" or socket.AI_NUMERICHOST in args:
            return self._real(host, *args)
        self.asked.set()
        self.go.wait(DEADLINE)
        self.answered.set()
        raise socket.gaierror(socket.EAI_NONAME, "no such name")


@pytest.fixture
def slow_names(monkeypatch: pytest.MonkeyPatch) -> Iterator[SlowNames]:
    names = SlowNames(monkeypatch)
    yield names
    names.go.set()
    if names.asked.is_set():
        assert names.answered.wait(DEADLINE)


def test_the_deadline_covers_the_look_up(slow_names: SlowNames) -> None:
    error = refused("ws://slow.invalid/", Impatient)
    assert isinstance(error, ConnectTimeout)
    assert error.errno == errno.ETIMEDOUT
    assert "slow.invalid" in str(error)


def test_closing_during_the_look_up(slow_names: SlowNames) -> None:
    client = Client.connect("ws://slow.invalid/")
    run_until(slow_names.asked.is_set, DEADLINE)
    client.close()
    until_closed(client)
    slow_names.go.set()
    run_until(slow_names.answered.is_set, DEADLINE)
    run_turns(20)
    assert client.hooks == ["on_close"]


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port at which nobody answers: the backlog is full, so the kernel drops what asks for a connection."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        for _ in range(64):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            if filler.connect_ex(address) == errno.EINPROGRESS and not select.select([], [filler], [], 0.2)[1]:
                break
        else:
            raise AssertionError("the backlog did not fill up")
        yield address[1]


def test_the_deadline_covers_connecting(silent_port: int) -> None:
    assert isinstance(refused(f"ws://127.0.0.1:{silent_port}/", Impatient), ConnectTimeout)
    error = refused("ws://nowhere.invalid/", Impatient, proxy=f"http://127.0.0.1:{silent_port}")
    assert isinstance(error, ConnectTimeout)


def test_closing_while_it_connects(silent_port: int) -> None:
    client = Client.connect(f"ws://127.0.0.1:{silent_port}/")
    run_turns()
    client.close()
    until_closed(client)
    assert client.hooks == ["on_close"]


SLOW = {
    "TLS": lambda caller: caller.read_rest(),
    "the answer": lambda caller: (caller.read_head(), caller.read_rest()),
    "half of the answer": lambda caller: (
        caller.read_head(),
        caller.send(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: "),
        caller.read_rest(),
    ),
    "interim answers": lambda caller: (
        caller.read_head(),
        caller.send(b"HTTP/1.1 102 Processing\r\n\r\n"),
        caller.read_rest(),
    ),
    "the proxy": lambda caller: (caller.read_head(), caller.read_rest()),
    "what is behind the proxy": lambda caller: (
        caller.read_head(),
        caller.send(b"HTTP/1.1 200 OK\r\n\r\n"),
        caller.read_rest(),
    ),
}


@pytest.mark.parametrize("what", SLOW)
def test_the_deadline_covers_all_else(what: str) -> None:
    with RawServer(SLOW[what]) as server:
        if "proxy" in what:
            error = refused("wss://nowhere.invalid/", Impatient, proxy=f"http://127.0.0.1:{server.port}")
        else:
            error = refused(server.url.replace("ws:", "wss:") if what == "TLS" else server.url, Impatient)
    assert isinstance(error, ConnectTimeout)


def test_the_deadline_is_one_for_all_redirects() -> None:
    """Each would be in time, and they never end."""
    ended = threading.Event()

    def redirect(caller: Caller) -> None:
        with contextlib.suppress(AssertionError, OSError):
            redirecting("/")(caller)

    class Brief(Client):
        connect_timeout = 0.2

    server = RawServer()
    server._talks = itertools.takewhile(lambda _: not ended.is_set(), itertools.repeat(redirect))
    with server:
        error = refused(server.url, Brief, max_redirects=1_000_000)
        ended.set()
        socket.create_connection(("127.0.0.1", server.port)).close()  # which ends its waiting
    assert isinstance(error, ConnectTimeout)
    assert len(server.callers) > 1


def test_no_deadline_is_left_once_it_is_open() -> None:
    class Quick(Client):
        connect_timeout = 0.5

    with RawServer(polite) as server:
        client = connected(server.url, Quick)
        passed: list[int] = []
        client.engine.defer(0.6, passed.append, 1)
        run_until(lambda: passed, DEADLINE)
        assert client.connected
        close(client)


def test_without_a_deadline() -> None:
    class Patient(Client):
        connect_timeout = None
        close_timeout = None

    with RawServer(polite) as server:
        close(connected(server.url, Patient))


def test_a_deadline_of_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        assert isinstance(refused(f"ws://127.0.0.1:{listener.getsockname()[1]}/", Hasty), ConnectTimeout)


# --- Compression ----------------------------------------------------------------------------------------------------

SETTINGS = [
    Deflate(),
    Deflate(server_no_context_takeover=False),
    Deflate(client_no_context_takeover=False),
    Deflate(server_no_context_takeover=False, client_no_context_takeover=False),
    Deflate(server_max_window_bits=9),
    Deflate(client_max_window_bits=9),
    Deflate(server_max_window_bits=12, client_max_window_bits=10, client_no_context_takeover=False),
    Deflate(level=9, memory_level=9, min_size=0),
    Deflate(level=0, memory_level=1, min_size=10),
]
MESSAGES: list[Any] = ["spam " * 200, b"eggs " * 5000, "", b"x", "spam " * 200, "\u20ac" * 1000, b"eggs " * 5000]


@pytest.mark.parametrize("ours", SETTINGS, ids=range(len(SETTINGS)))
@pytest.mark.parametrize("theirs", [True, False, *SETTINGS[3:7]], ids=["on", "off", *range(3, 7)])
def test_compression_with_pants(ours: Deflate, theirs: bool | Deflate) -> None:
    client_class = type("Compressing", (Client,), {"compression": ours})
    server_class = type("Server", (EchoSocket,), {"compression": theirs})
    with echoing(server_class) as server:
        client = connected(url_of(server), client_class)
        for message in MESSAGES:
            client.write(message)
        client.write_fragment("frag")
        client.write_fragment("ment" * 1000, last=True)
        assert until_received(client, len(MESSAGES) + 1) == [*MESSAGES, "frag" + "ment" * 1000]
        close(client)
        assert (client.close_code, client.close_error) == (1000, None)


def extension(caller: Caller) -> tuple[str, dict[str, str | None]]:
    """The one that was offered, and its parameters (RFC 7692 §5.1)."""
    name, *parameters = (part.strip() for part in caller["Sec-WebSocket-Extensions"].split(";"))
    found = {}
    for parameter in parameters:
        key, _, value = parameter.partition("=")
        found[key] = value or None
    return name, found


@pytest.mark.parametrize(
    "settings, expected",
    [
        (Deflate(server_no_context_takeover=True), {"server_no_context_takeover": None}),
        (Deflate(client_no_context_takeover=True), {"client_no_context_takeover": None}),
        (Deflate(server_max_window_bits=11), {"server_max_window_bits": "11"}),
        (Deflate(client_max_window_bits=12), {"client_max_window_bits": "12"}),
    ],
)
def test_what_is_offered(settings: Deflate, expected: dict[str, str | None]) -> None:
    client_class = type("Compressing", (Client,), {"compression": settings})
    with RawServer(polite) as server:
        close(connected(server.url, client_class))  # the server need not take it
    name, parameters = extension(server.caller)
    assert name == "permessage-deflate"
    assert expected.items() <= parameters.items()


@pytest.mark.parametrize("takeover", [False, True])
@pytest.mark.parametrize("bits", [None, 15, 10, 9])
def test_compressed_messages_on_the_wire(takeover: bool, bits: int | None) -> None:
    """RFC 7692 §7.2, by zlib itself. §7.1.2.2: a server may limit the window of a client that heeds that."""
    settings = Deflate(
        server_no_context_takeover=not takeover, client_no_context_takeover=not takeover, client_max_window_bits=15
    )
    client_class = type("Compressing", (Client,), {"compression": settings})
    chosen = "permessage-deflate"
    if not takeover:
        chosen += "; server_no_context_takeover; client_no_context_takeover"
    if bits is not None:
        chosen += f"; client_max_window_bits={bits}"
    text = "".join(f"{number} " for number in range(3000))
    sizes = []

    def talk(caller: Caller) -> None:
        caller.read_head()
        assert "client_max_window_bits" in extension(caller)[1]
        caller.send(caller.answer(f"Sec-WebSocket-Extensions: {chosen}"))
        inflater = zlib.decompressobj(-(bits or 15))
        for _ in range(2):
            received = caller.read_frame()
            assert received.compressed
            if not takeover:
                inflater = zlib.decompressobj(-(bits or 15))
            assert inflater.decompress(received.payload + b"\0\0\xff\xff").decode() == text
            sizes.append(len(received.payload))
        deflater = zlib.compressobj(wbits=-15)
        for _ in range(2):
            if not takeover:
                deflater = zlib.compressobj(wbits=-15)
            compressed = deflater.compress(text.encode()) + deflater.flush(zlib.Z_SYNC_FLUSH)
            caller.send(frame(TEXT, compressed[:-4], rsv=0x40))
        caller.send(frame(TEXT, b"not compressed"))
        caller.wait_for_close()

    with RawServer(talk) as server:
        client = connected(server.url, client_class)
        client.write(text)
        client.write(text)
        assert until_received(client, 3) == [text, text, "not compressed"]
        close(client)
    if takeover and bits in (None, 15):
        assert sizes[1] < sizes[0] / 10
    if not takeover:
        assert sizes[0] == sizes[1]


def test_a_window_that_zlib_does_not_have() -> None:
    """RFC 7692 §5.1: a client that cannot do what a server has chosen fails the handshake; it sends nothing wrong."""

    def talk(caller: Caller) -> None:
        caller.open(
            "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; client_max_window_bits=8"
        )
        assert caller.read_rest() == b""

    with RawServer(talk) as server:
        assert isinstance(refused(server.url), HandshakeError)


def test_short_messages_are_not_compressed() -> None:
    client_class = type("Compressing", (Client,), {"compression": Deflate(min_size=100)})
    frames = []

    def talk(caller: Caller) -> None:
        caller.open("Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover")
        frames.extend([caller.read_frame() for _ in range(2)])
        caller.wait_for_close()

    with RawServer(talk) as server:
        client = connected(server.url, client_class)
        client.write(b"x" * 99)
        client.write(b"x" * 100)
        close(client)
    assert [one.compressed for one in frames] == [False, True]


def test_a_message_that_inflates_to_too_much(expect_log: Any) -> None:
    """A compressed message counts as what it inflates to."""
    expect_log("buffer_size")
    deflater = zlib.compressobj(wbits=-15)
    bomb = (deflater.compress(b"\0" * 50_000_000) + deflater.flush(zlib.Z_SYNC_FLUSH))[:-4]

    def talk(caller: Caller) -> None:
        caller.open("Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover")
        caller.send(frame(BINARY, bomb, rsv=0x40))
        caller.wait_for_close(1009)

    with RawServer(talk) as server:
        client = Client.connect(server.url)
        until_closed(client)
    assert client.messages == []


# --- Nothing is left ------------------------------------------------------------------------------------------------


def succeeds(url: str) -> Client:
    client: Client = connected(url)
    client.write("hello")
    client.ping()
    run_until(lambda: client.messages and client.pongs, DEADLINE)
    close(client)
    return client


def is_refused(url: str) -> Client:
    client = Client.connect(url + "refused")
    until_closed(client)
    assert client.hooks == FAILED
    return client


def is_redirected(url: str) -> Client:
    client: Client = connected(url + "redirect")
    close(client)
    return client


def fails_to_connect(_url: str) -> Client:
    client = Client.connect("ws://127.0.0.1:1/")
    until_closed(client)
    assert client.hooks == FAILED
    return client


def closes_at_once(url: str) -> Client:
    client = Client.connect(url)
    client.close()
    until_closed(client)
    return client


def closes_after_a_turn(url: str) -> Client:
    client = Client.connect(url)
    Engine.instance().poll(0)
    client.close()
    until_closed(client)
    return client


def fails_tls(url: str) -> Client:
    client = Client.connect(url.replace("ws:", "wss:"))
    until_closed(client)
    assert client.hooks == FAILED
    return client


def is_too_late(url: str) -> Client:
    client = Hasty.connect(url)
    until_closed(client)
    assert client.hooks == FAILED
    return client


def breaks_the_protocol(url: str) -> Client:
    client = Client.connect(url + "wrong")
    until_closed(client)
    assert client.close_code == 1003
    return client


class Wrong(EchoSocket):
    def on_connect(self) -> None:
        self.close(reason=1003)


def site(request: Any) -> None:
    if request.path == "/refused":
        request.send_response("No", 403)
    elif request.path == "/redirect":
        request.send_response("", 302, headers={"Location": "/"})
    elif request.path == "/wrong":
        Wrong(request)
    else:
        EchoSocket(request)


@pytest.mark.parametrize(
    "scenario",
    [
        succeeds,
        is_refused,
        is_redirected,
        fails_to_connect,
        closes_at_once,
        closes_after_a_turn,
        fails_tls,
        is_too_late,
        breaks_the_protocol,
    ],
)
def test_no_client_is_kept(scenario: Callable[[str], Client]) -> None:
    """Without the garbage collector: there are no cycles, and no timer holds on to it."""
    with echoing(site) as server:
        url = url_of(server)

        def run() -> Any:
            client = scenario(url)
            kept = weakref.ref(client)
            Client.made.clear()
            EchoSocket.made.clear()
            del client
            run_turns()
            return kept

        run()
        gc.collect()
        gc.disable()
        try:
            assert run()() is None
        finally:
            gc.enable()
            gc.collect()


TALKS: dict[str, list[Callable[[Caller], object]]] = {
    "opened": [polite],
    "redirected": [redirecting("/"), polite],
    "refused": [answering(status("404 Not Found"))],
    "cut off": [lambda caller: caller.read_head()],
    "a server that vanishes": [lambda caller: caller.open()],
    "a protocol error": [lambda caller: (caller.open(rest=b"\xff\xff"), caller.read_rest())],
}


@pytest.mark.parametrize("talks", TALKS)
def test_no_timer_is_left(talks: str) -> None:
    """The engine has nothing more to do, now or later."""

    class Pinging(Client):
        ping_interval = 30.0

    with RawServer(*TALKS[talks]) as server:
        client = Pinging.connect(server.url)
        run_until(lambda: client.hooks, DEADLINE)
        client.close()
        until_closed(client)
    engine = Engine.instance()
    run_turns()
    assert engine.time_to_timer() is None
    assert "0 descriptors" in repr(engine) or "1 descriptors" in repr(engine)


def test_errors_that_are_kept_hold_nothing_else() -> None:
    """A program may keep `close_error`; it does not keep the WebSocket."""
    with RawServer(answering(status("404 Not Found"))) as server:
        client = Client.connect(server.url)
        until_closed(client)
    error, kept = client.close_error, weakref.ref(client)
    Client.made.clear()
    gc.collect()
    gc.disable()
    try:
        del client
        run_turns()
        assert kept() is None
    finally:
        gc.enable()
    assert isinstance(error, HandshakeError)


def test_an_engine_that_is_closed_before_it_opened() -> None:
    engine = Engine()
    Client.connect("ws://127.0.0.1:1/", engine=engine)
    Client.made.clear()
    engine.close()


def test_a_tls_connection_that_ends_without_notice(certs: Certificates) -> None:
    """As many servers do it once the closing handshake is over."""

    def talk(caller: Caller) -> None:
        caller.open()
        received = caller.read_frame()
        caller.send(frame(CLOSE, received.payload))
        assert isinstance(caller.sock, ssl.SSLSocket)

    with RawServer(talk, context=certs.good) as server:
        client = connected(server.url, ssl_options={"ca_certs": certs.ca})
        close(client)
    assert (client.close_code, client.close_error) == (1000, None)
