"""What a WebSocket sends: messages, fragments, files, pings; and how much of it may wait."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from netstruct import NetStruct

from pants.errors import FileShrunk
from pants.http import FRAME_BINARY, FRAME_TEXT, Deflate, HTTPServer, WebSocket
from pants.testing import run_until
from tests.conftest import ExpectedLog
from tests.core.support import client_of, pattern
from tests.http.ws_support import (
    BINARY,
    CLOSE,
    CONTINUATION,
    DEFLATE,
    PING,
    PONG,
    RSV1,
    TEXT,
    Client,
    Echo,
    Frame,
    Recorder,
    closing,
    codes,
    frame,
    message,
    opened,
    opening,
    take_frames,
)


def sent(client: Client) -> list[Frame]:
    """What has been sent, when the loop has had its turn."""
    client.engine.advance()
    return client.frames()


# --- write ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data, expected",
    [
        ("héllo", Frame(TEXT, "héllo".encode())),
        ("", Frame(TEXT, b"")),
        (b"\0\xff", Frame(BINARY, b"\0\xff")),
        (b"", Frame(BINARY, b"")),
        (bytearray(b"ab"), Frame(BINARY, b"ab")),
        (memoryview(b"abcd")[::2], Frame(BINARY, b"ac")),
        (type("Text", (str,), {})("a"), Frame(TEXT, b"a")),
        (type("Data", (bytes,), {})(b"a"), Frame(BINARY, b"a")),
    ],
)
@pytest.mark.parametrize("fields", [(), (DEFLATE,)])
def test_the_type_decides_the_opcode(data: Any, expected: Frame, fields: tuple[bytes, ...]) -> None:
    """Manual: "If data is a unicode string, the data will be sent as text", a byte string as binary data."""
    with opened(Recorder, *fields) as (websocket, client):
        websocket.write(data)
        assert sent(client) == [expected]


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65535, 65536, 262_144, 262_145, 1_000_000])
def test_every_length(size: int) -> None:
    """Manual: "An appropriate header for the data will be generated"; the parser of the tests checks its form."""
    with opened() as (websocket, client):
        websocket.write(pattern(size))
        websocket.write("x" * size)
        websocket.write("end")
        assert sent(client) == [Frame(BINARY, pattern(size)), Frame(TEXT, b"x" * size), Frame(TEXT, b"end")]


def test_what_can_change_is_copied() -> None:
    data = bytearray(b"before")
    with opened() as (websocket, client):
        websocket.write(data)
        websocket.write(memoryview(data))
        websocket.write_fragment(data, last=True)
        data[:] = b"after!"
        assert sent(client) == [Frame(BINARY, b"before")] * 3


@pytest.mark.parametrize(
    "data, opcode, expected",
    [
        (b"text", FRAME_TEXT, Frame(TEXT, b"text")),
        (bytearray("é".encode()), FRAME_TEXT, Frame(TEXT, "é".encode())),
        ("text", FRAME_TEXT, Frame(TEXT, b"text")),  # DESIGN §3
        (b"data", FRAME_BINARY, Frame(BINARY, b"data")),
    ],
)
def test_the_opcode_may_be_given(data: Any, opcode: int, expected: Frame) -> None:
    with opened() as (websocket, client):
        websocket.write(data, frame=opcode)
        websocket.write(data, opcode, True)
        assert client.frames() == [expected] * 2


BAD_WRITES: list[tuple[Any, Any, type[Exception]]] = [
    (None, None, TypeError),
    (1, None, TypeError),
    (1.5, None, TypeError),
    (["a"], None, TypeError),
    ({"a": 1}, None, TypeError),
    ("\ud800", None, ValueError),
    (b"\xff", FRAME_TEXT, ValueError),
    (b"a\xe2\x82", FRAME_TEXT, ValueError),
    ("a", FRAME_BINARY, TypeError),
    *[(b"a", opcode, ValueError) for opcode in (0, 3, CLOSE, PING, PONG, -1, 16, True)],
]


@pytest.mark.parametrize("data, opcode, error", BAD_WRITES)
def test_bad_messages_raise_at_the_call(data: Any, opcode: Any, error: type[Exception]) -> None:
    with opened() as (websocket, client):
        with pytest.raises(error):
            websocket.write(data, opcode)
        assert sent(client) == []
        websocket.write("good")
        assert sent(client) == [Frame(TEXT, b"good")]


@pytest.mark.parametrize("how", ["write", "write_fragment", "write_packed", "write_file", "flush()"])
def test_flush_sends_now(how: str, tmp_path: Path) -> None:
    """Manual: "If True, flush the internal write buffer"; without it nothing is sent before the hook has returned."""
    seen: list[bytes] = []

    class Kind(Recorder):
        def on_read(self, data: str) -> None:
            self.write("a")
            seen.append(client.peer.received)
            if how == "write":
                self.write("b", flush=True)
            elif how == "write_fragment":
                self.write_fragment("b", last=True, flush=True)
            elif how == "write_packed":
                self.write_packed(98, format="B", flush=True)
            elif how == "write_file":
                self.write_file(io.BytesIO(b"b"), flush=True)
            else:
                self.write("b")
                self.flush()
            seen.append(client.peer.received)

    with opened(Kind) as (websocket, client):
        client.send("go")
        assert seen[0] == b""
        assert [one.payload for one in take_frames(seen[1])[0]] == [b"a", b"b"]
        assert websocket.names.count("write") == 1


def test_queued_bytes() -> None:
    """`WebSocket.queued_bytes`: those of files and of frames' heads included."""
    with opened() as (websocket, client):
        assert websocket.queued_bytes == 0
        client.peer.window = 0
        websocket.write("x" * 10)
        websocket.write("x" * 200)
        assert websocket.queued_bytes == 12 + 204
        websocket.write_file(io.BytesIO(b"y" * 100_000))
        assert websocket.queued_bytes == 12 + 204 + 100_010
        client.peer.window = 50
        assert websocket.queued_bytes == 12 + 204 + 100_010 - 50
        client.peer.window = None
        assert websocket.queued_bytes == 0
        websocket.close(flush=False)
        client.engine.advance()
        assert websocket.queued_bytes == 0


WRITERS: dict[str, Callable[[Any], object]] = {
    "write": lambda websocket: websocket.write("a"),
    "write with a frame": lambda websocket: websocket.write(b"a", FRAME_TEXT),
    "write of a wrong type": lambda websocket: websocket.write(None),
    "write_fragment": lambda websocket: websocket.write_fragment("a"),
    "write_file": lambda websocket: websocket.write_file(io.BytesIO(b"a")),
    "write_packed": lambda websocket: websocket.write_packed(1, format="B"),
    "ping": lambda websocket: websocket.ping(),
    "flush": lambda websocket: websocket.flush(),
}


def close_and_answer(websocket: Any, client: Client) -> None:
    websocket.close()
    client.send(closing())


ENDS: dict[str, Callable[[Any, Client], object]] = {
    "closing": lambda websocket, client: websocket.close(),
    "closed": lambda websocket, client: close_and_answer(websocket, client),
    "closed at once": lambda websocket, client: websocket.close(flush=False),
    "closed by the peer": lambda websocket, client: client.send(closing()),
    "reset": lambda websocket, client: client.peer.reset(),
    "failed": lambda websocket, client: client.send(frame(3)),
}


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("end", ENDS)
def test_nothing_is_written_to_one_that_is_closed(writer: str, end: str) -> None:
    """Manual: "Calling write() on a closed or disconnected WebSocket will raise a RuntimeError"."""
    with opened() as (websocket, client):
        ENDS[end](websocket, client)
        assert not websocket.connected
        for _ in range(2):
            with pytest.raises(RuntimeError):
                WRITERS[writer](websocket)
            client.engine.advance(60)
        assert websocket.is_over
        assert [one for one in client.frames() if one.opcode != CLOSE] == []


# --- on_write -------------------------------------------------------------------------------------------------------


def test_on_write_tells_that_all_was_sent() -> None:
    """Manual: "Called after the WebSocket has finished writing data"."""
    with opened() as (websocket, client):
        websocket.write("a")
        websocket.write("b")
        assert websocket.names == ["connect"]
        client.engine.advance()
        assert websocket.names == ["connect", "write"]
        client.peer.window = 0
        websocket.write("c" * 100)
        client.peer.window = 50
        assert websocket.names == ["connect", "write"]
        client.peer.window = 100
        assert websocket.names == ["connect", "write", "write"]
        client.send(frame(PING))  # what the program has not written is no matter
        client.engine.advance(29)
        assert websocket.names == ["connect", "write", "write"]
        websocket.write("")
        client.engine.advance()
        assert websocket.names.count("write") == 3


def test_a_write_in_on_write_waits_for_the_next_turn() -> None:
    class Kind(Recorder):
        def on_write(self) -> None:
            if len(self.events) < 10:
                self.write("more")

    with opened(Kind) as (websocket, client):
        websocket.write("first")
        client.engine.advance()
        assert client.messages() == ["first", *["more"] * 7]
        assert websocket.names == ["connect", *["write"] * 8]


# --- write_fragment -------------------------------------------------------------------------------------------------


def test_a_message_in_fragments() -> None:
    """RFC 6455 §5.4."""
    with opened() as (websocket, client):
        websocket.write_fragment("a")
        websocket.write_fragment("")
        websocket.ping(b"p")
        client.send(frame(PING, "q"))
        websocket.write_fragment("é", last=True)
        websocket.write_fragment(b"\0", last=True)
        websocket.write("c")
        assert sent(client) == [
            Frame(TEXT, b"a", fin=False),
            Frame(CONTINUATION, b"", fin=False),
            Frame(PING, b"p"),
            Frame(PONG, b"q"),
            Frame(CONTINUATION, "é".encode()),
            Frame(BINARY, b"\0"),
            Frame(TEXT, b"c"),
        ]


def test_a_compressed_message_in_fragments() -> None:
    """RFC 7692 §6.1: the bit is set in the first fragment only."""
    with opened(Recorder, DEFLATE) as (websocket, client):
        for _ in range(2):
            websocket.write_fragment("a" * 500)
            websocket.write_fragment("b" * 500)
            websocket.write_fragment("", last=True)
        client.engine.advance()
        assert client.messages() == ["a" * 500 + "b" * 500] * 2
        websocket.write_fragment(b"a" * 500)
        websocket.write_fragment(b"a", last=True)
        assert [(one.opcode, one.rsv, one.fin) for one in sent(client)] == [
            (BINARY, RSV1, False),
            (CONTINUATION, 0, True),
        ]


@pytest.mark.parametrize("data, error", [(None, TypeError), (1, TypeError), (b"a", TypeError), ("\ud800", ValueError)])
@pytest.mark.parametrize("fields", [(), (DEFLATE,)])
def test_bad_fragments_raise_at_the_call(data: Any, error: type[Exception], fields: tuple[bytes, ...]) -> None:
    with opened(Recorder, *fields) as (websocket, client):
        websocket.write_fragment("a")
        with pytest.raises(error):
            websocket.write_fragment(data)
        with pytest.raises(error):
            websocket.write_fragment(data, last=True)
        websocket.write_fragment("b", last=True)
        client.engine.advance()
        assert client.messages() == ["ab"]


def test_messages_are_not_mixed() -> None:
    """RFC 6455 §5.4: fragments of one message must not be interleaved with another's."""
    with opened() as (websocket, client):
        websocket.write_fragment("a")
        for writer in ("write", "write with a frame", "write_file", "write_packed"):
            with pytest.raises(RuntimeError):
                WRITERS[writer](websocket)
        websocket.close()
        assert sent(client) == [
            Frame(TEXT, b"a", fin=False),
            Frame(CLOSE, (1000).to_bytes(2, "big") + b"Normal closure"),
        ]


# --- write_file -----------------------------------------------------------------------------------------------------

SIZE = 200_000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    found = tmp_path / "file"
    found.write_bytes(pattern(SIZE))
    return found


@pytest.mark.parametrize("fields", [(), (DEFLATE,)])
@pytest.mark.parametrize("kind", ["file", "unbuffered", "object"])
@pytest.mark.parametrize(
    "nbytes, offset", [(0, 0), (1000, 0), (0, 1000), (70_000, 99_999), (125, SIZE - 125), (0, SIZE)]
)
def test_a_file_is_one_binary_frame(nbytes: int, offset: int, kind: str, fields: tuple[bytes, ...], path: Path) -> None:
    """Manual: "sends an entire file as one huge binary frame"; wherever the file's own position is."""
    with opened(Recorder, *fields) as (websocket, client):
        if kind == "object":
            file: Any = io.BytesIO(path.read_bytes())
        else:
            file = path.open("rb", buffering=-1 if kind == "file" else 0)
        file.seek(77)
        websocket.write("before")
        websocket.write_file(file, nbytes, offset)
        websocket.write("after")
        if kind != "object":
            assert file.tell() == 77
            file.close()  # the caller may close it at once
        expected = pattern(SIZE)[offset : offset + nbytes if nbytes else SIZE]
        assert sent(client) == [Frame(TEXT, b"before"), Frame(BINARY, expected), Frame(TEXT, b"after")]
        assert websocket.names.count("write") == 1


def test_an_empty_file_is_an_empty_message(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    with opened() as (websocket, client), (tmp_path / "empty").open("rb") as file:
        websocket.write_file(file)
        assert sent(client) == [Frame(BINARY, b"")]


@pytest.mark.parametrize(
    "make, nbytes, offset, error",
    [
        (lambda path: path.open(), 0, 0, TypeError),
        (lambda path: io.StringIO("a"), 0, 0, TypeError),
        (lambda path: None, 0, 0, TypeError),
        (lambda path: b"a", 0, 0, TypeError),
        (lambda path: path.open("rb"), "1", 0, TypeError),
        (lambda path: path.open("rb"), 0, 1.5, TypeError),
        (lambda path: path.open("rb"), -1, 0, ValueError),
        (lambda path: path.open("rb"), 0, -1, ValueError),
        (lambda path: path.open("rb"), SIZE + 1, 0, ValueError),
        (lambda path: path.open("rb"), 1, SIZE, ValueError),
        (lambda path: path.open("rb"), 0, SIZE + 1, ValueError),
        (lambda path: path.open("ab"), 0, 0, ValueError),
    ],
)
def test_bad_files_raise_at_the_call(
    make: Callable[[Path], Any], nbytes: Any, offset: Any, error: type[Exception], path: Path
) -> None:
    """And nothing of a frame is sent, not even its head."""
    with opened() as (websocket, client):
        file = make(path)
        with pytest.raises(error):
            websocket.write_file(file, nbytes, offset)
        if hasattr(file, "close"):
            file.close()
            with pytest.raises((ValueError, TypeError)):
                websocket.write_file(file)
        websocket.write("good")
        assert sent(client) == [Frame(TEXT, b"good")]


def test_a_file_that_shrinks_ends_the_websocket(path: Path, expect_log: ExpectedLog) -> None:
    """DESIGN §3: in on_error() and a close. The frame has promised more, so nothing can follow in it."""
    expect_log("bytes before the size that it had")
    with opened() as (websocket, client):
        client.peer.window = 100_010
        with path.open("rb") as file:
            websocket.write_file(file)
        websocket.write("behind it")
        client.engine.advance()
        path.write_bytes(pattern(150_000))
        client.peer.window = None
        client.engine.advance(60)
        assert isinstance(websocket.told("error")[0], FileShrunk)
        assert websocket.is_over
        assert isinstance(websocket.close_error, FileShrunk)
        assert client.ended
        assert client.frames() == []
        assert 100_000 <= len(client.rest) - 10 <= 150_000
        assert client.rest[10:] == pattern(SIZE)[: len(client.rest) - 10]


def test_a_file_on_a_real_socket(path: Path) -> None:
    """The kernel sends from it; the client reads slowly."""
    path.write_bytes(pattern(5_000_000))

    class Kind(WebSocket):
        def on_read(self, data: Any) -> None:
            with path.open("rb") as file:
                self.write_file(file)
                self.write_file(file, 10, 5)
            self.write("end")

    server = HTTPServer(Kind).listen(("127.0.0.1", 0))
    with client_of(server) as peer:
        peer.send(opening() + message("go") + closing())
        _, _, data = peer.receive_to_end().partition(b"\r\n\r\n")
        frames, rest = take_frames(data)
        assert frames[:3] == [Frame(BINARY, pattern(5_000_000)), Frame(BINARY, pattern(15)[5:]), Frame(TEXT, b"end")]
        assert (codes(frames), rest) == ([1000], b"")
    run_until(lambda: not server.channels)
    server.close()


# --- write_packed ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "delimiter, values, options, expected",
    [
        (struct.Struct("!HB"), (1, 2), {}, b"\0\1\2"),
        (NetStruct(b"B$H"), (b"abc", 1), {}, b"\3abc\0\1"),
        (struct.Struct("!HB"), (7,), {"format": "!I"}, b"\0\0\0\7"),
        (None, (7,), {"format": b"!I"}, b"\0\0\0\7"),
        ("\n", (b"ab",), {"format": "B$"}, b"\2ab"),
    ],
)
def test_write_packed(delimiter: Any, values: Any, options: Any, expected: bytes) -> None:
    """Manual: the format of the read_delimiter, or one that is given; the message is binary."""
    with opened() as (websocket, client):
        websocket.read_delimiter = delimiter
        websocket.write_packed(*values, **options)
        assert sent(client) == [Frame(BINARY, expected)]


@pytest.mark.parametrize(
    "delimiter, values, options, error",
    [
        (None, (1,), {}, ValueError),
        ("\n", (1,), {}, ValueError),
        (struct.Struct("!H"), ("a",), {}, struct.error),
        (struct.Struct("!H"), (1, 2), {}, struct.error),
        (None, (1,), {"format": "nonsense"}, struct.error),
    ],
)
def test_bad_values_raise_at_the_call(delimiter: Any, values: Any, options: Any, error: type[Exception]) -> None:
    with opened() as (websocket, client):
        websocket.read_delimiter = delimiter
        with pytest.raises(error):
            websocket.write_packed(*values, **options)
        assert sent(client) == []
        assert websocket.connected


# --- Pings (manual: "ping", "on_pong") ------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [b"payload", b"", bytearray(b"ab"), memoryview(b"c"), b"x" * 125])
def test_a_ping_with_a_payload(data: Any) -> None:
    """Manual: "that byte string will be provided to on_pong"."""
    with opened() as (websocket, client):
        websocket.ping(data)
        assert sent(client) == [Frame(PING, bytes(data))]
        client.engine.advance(2)
        client.send(frame(PONG, bytes(data)))
        assert websocket.told("pong") == [bytes(data)]
        assert websocket.latency == 2


def test_a_ping_without_a_payload_measures_the_time() -> None:
    """Manual: "Otherwise, on_pong will be called with the elapsed time"."""
    with opened() as (websocket, client):
        websocket.ping()
        [ping] = sent(client)
        client.engine.advance(0.25)
        client.send(frame(PONG, ping.payload))
        assert websocket.told("pong") == [pytest.approx(0.25)]
        assert websocket.latency == pytest.approx(0.25)


def test_pings_are_told_apart() -> None:
    with opened() as (websocket, client):
        websocket.ping()
        client.engine.advance(1)
        websocket.ping()
        first, second = sent(client)
        assert first.payload != second.payload
        client.engine.advance(1)
        client.send(frame(PONG, first.payload), frame(PONG, second.payload))
        assert websocket.told("pong") == [2, 1]
        websocket.ping(b"same")
        websocket.ping(b"same")
        client.send(frame(PONG, "same"), frame(PONG, "same"), frame(PONG, "same"))
        assert websocket.told("pong") == [2, 1, b"same", b"same"]


def test_a_pong_may_answer_the_newest_only() -> None:
    """RFC 6455 §5.5.3; what answers an earlier one after that says nothing new."""
    with opened() as (websocket, client):
        websocket.ping(b"a")
        websocket.ping(b"b")
        client.send(frame(PONG, "b"), frame(PONG, "a"))
        assert websocket.told("pong") == [b"b"]


@pytest.mark.parametrize("pong", [b"", b"unasked", b"x" * 125])
def test_pongs_that_answer_nothing_mean_nothing(pong: bytes) -> None:
    """RFC 6455 §5.5.3: they are heartbeats. Manual: on_pong is called "in response to an earlier ping"."""
    with opened() as (websocket, client):
        client.send(frame(PONG, pong))
        websocket.ping(b"p")
        client.send(frame(PONG, pong), frame(PONG, "p"), frame(PONG, "p"))
        assert websocket.told("pong") == [b"p"]
        assert websocket.connected


@pytest.mark.parametrize("data, error", [("a", TypeError), (1, TypeError), ([1], TypeError), (b"x" * 126, ValueError)])
def test_bad_pings_raise_at_the_call(data: Any, error: type[Exception]) -> None:
    with opened() as (websocket, client):
        with pytest.raises(error):
            websocket.ping(data)
        assert sent(client) == []


def test_pings_that_nobody_answers_do_not_pile_up() -> None:
    with opened() as (websocket, client):
        for number in range(1000):
            websocket.ping(b"%d" % number)
        assert len(sent(client)) == 1000
        client.send(frame(PONG, "999"))
        assert websocket.told("pong") == [b"999"]
        assert not websocket._pings


def test_pings_of_the_peer_are_answered_in_order() -> None:
    """RFC 6455 §5.5.2."""
    with opened(Echo) as (_, client):
        client.send("a", frame(PING, "1"), "b", frame(PING), frame(PING, b"\xff" * 125))
        assert client.frames() == [
            *(Frame(TEXT, b"a"), Frame(PONG, b"1"), Frame(TEXT, b"b")),
            *(Frame(PONG, b""), Frame(PONG, b"\xff" * 125)),
        ]


# --- How much may wait ----------------------------------------------------------------------------------------------


def test_a_flood_of_pings_is_bounded() -> None:
    """RFC 6455 §5.5.3: of pings that have not been answered yet only the newest need be."""
    with opened() as (websocket, client):
        client.peer.window = 10
        for number in range(2000):
            client.send(frame(PING, b"x" * 100 + b"%4d" % number))
        assert websocket.queued_bytes < 1000
        client.peer.window = None
        client.engine.advance()
        pongs = client.frames()
        assert len(pongs) < 5
        assert pongs[-1] == Frame(PONG, b"x" * 100 + b"1999")
        client.send(frame(PING, "again"))
        assert client.frames() == [Frame(PONG, b"again")]


def test_a_pong_that_waits_does_not_come_behind_a_newer_one() -> None:
    """Pongs come in the order of their pings, also where a hook polls, and all that waited goes meanwhile."""

    class Kind(Recorder):
        def on_read(self, data: str) -> None:
            client.peer.window = None
            self.engine.poll(0)

    with opened(Kind) as (websocket, client):
        client.peer.window = 0
        websocket.write("x" * 10)
        client.engine.advance()
        client.send(frame(PING, "1"))
        client.send("open", frame(PING, "2"))
        pongs = [one.payload for one in client.frames() if one.opcode == PONG]
        assert pongs in ([b"1", b"2"], [b"2"])


def test_a_flood_of_pings_in_one_go() -> None:
    """All of them come before anything can be sent."""
    with opened() as (websocket, client):
        client.peer.window = 0
        client.send(frame(PING, b"x" * 100) * 10_000)
        client.send(frame(PING, b"x" * 100) * 10_000)
        assert websocket.queued_bytes < 100_000


def test_high_water_is_told_once_until_all_was_sent() -> None:
    class Kind(Recorder):
        high_water = 1000

    with opened(Kind) as (websocket, client):
        client.peer.window = 0
        websocket.write("x" * 900)
        client.engine.advance()
        assert "high_water" not in websocket.names
        for _ in range(5):
            websocket.write("x" * 900)
            client.engine.advance()
        assert websocket.names == ["connect", "high_water"]
        client.peer.window = None
        assert websocket.names == ["connect", "high_water", "write"]
        client.peer.window = 0
        websocket.write("x" * 2000)
        client.engine.advance()
        assert websocket.names == ["connect", "high_water", "write", "high_water"]


@pytest.mark.parametrize("fields", [(), (DEFLATE,)])
@pytest.mark.parametrize("delimiter", [None, 10_000])
def test_an_echo_to_a_client_that_reads_nothing_is_bounded(fields: tuple[bytes, ...], delimiter: int | None) -> None:
    """`WebSocket.on_high_water`: by default a server reads nothing more from that client until then."""

    class Kind(Echo):
        high_water = 100_000
        compression = Deflate(min_size=1_000_000)

        def on_connect(self, *_: Any) -> None:
            if delimiter:
                self.read_delimiter = delimiter

    with opened(Kind, *fields) as (websocket, client):
        client.peer.window = 0
        for _ in range(500):
            client.send(message(b"x" * 10_000))
        assert 100_000 < websocket.queued_bytes < 400_000
        client.peer.window = 200_000
        client.engine.advance()
        assert websocket.queued_bytes < 400_000
        client.peer.window = None
        client.engine.advance()
        assert client.messages() == [b"x" * 10_000] * 500
        client.send(message(b"y" * 10_000))
        assert client.messages() == [b"y" * 10_000]


def test_many_small_messages_in_one_segment_are_bounded() -> None:
    """A thousand of them arrive at once, and each is answered with a hundred times its size."""

    class Kind(Recorder):
        high_water = 100_000

        def on_read(self, data: str) -> None:
            self.write("x" * 1000)

    with opened(Kind) as (websocket, client):
        client.peer.window = 0
        for _ in range(20):
            client.send(message("a") * 1000)
        assert websocket.queued_bytes < 1_200_000  # high_water, and what one segment makes
        client.peer.window = None
        client.engine.advance()
        assert len(client.messages()) == 20_000


def test_where_on_high_water_is_overridden_reading_goes_on() -> None:
    class Kind(Echo):
        high_water = 1000

        def on_high_water(self) -> None:
            pass

    with opened(Kind) as (websocket, client):
        client.peer.window = 0
        for _ in range(10):
            client.send("x" * 1000)
        assert len(websocket.reads) == 10
        assert websocket.names.count("high_water") == 1


def test_no_high_water() -> None:
    class Kind(Recorder):
        high_water = None

    with opened(Kind) as (websocket, client):
        client.peer.window = 0
        for _ in range(30):
            websocket.write("x" * 100_000)
            client.engine.advance()
        client.send("a")
        assert websocket.names == ["connect", "read"]


def test_high_water_of_an_instance() -> None:
    """`high_water`: to be set in on_connect at the latest."""

    class Kind(Recorder):
        def on_connect(self, *_: Any) -> None:
            self.high_water = 100

    with opened(Kind) as (websocket, client):
        client.peer.window = 0
        websocket.write("x" * 200)
        client.engine.advance()
        assert websocket.names == ["connect", "high_water"]


def test_a_pause_and_high_water_do_not_undo_each_other() -> None:
    class Kind(Recorder):
        high_water = 100

    with opened(Kind) as (websocket, client):
        client.peer.window = 0
        websocket.write("x" * 200)
        client.engine.advance()
        websocket.pause_reading()
        client.peer.window = None
        client.send("a")
        assert websocket.reads == []
        client.peer.window = 0
        websocket.write("x" * 200)
        client.engine.advance()
        websocket.resume_reading()
        client.send("b")
        assert websocket.reads == []
        client.peer.window = None
        assert websocket.reads == ["a", "b"]


def test_an_echo_on_a_real_socket_is_bounded() -> None:
    """As above, with the kernel's buffers between."""
    made: list[Echo] = []

    class Kind(Echo):
        high_water = 200_000

        def on_connect(self, *_: Any) -> None:
            made.append(self)

    server = HTTPServer(Kind).listen(("127.0.0.1", 0))
    with client_of(server) as peer:
        peer.send(opening())
        run_until(lambda: bool(made))
        data = message(b"x" * 60_000)
        taken = 0
        while "high_water" not in made[0].names:
            try:
                taken += peer.sock.send(data[taken % len(data) :])
            except BlockingIOError:
                server.engine.poll(0)
        for _ in range(20):
            server.engine.poll(0)
        assert made[0].queued_bytes < 1_000_000
        assert taken > 200_000
    run_until(lambda: not server.channels)
    server.close()
