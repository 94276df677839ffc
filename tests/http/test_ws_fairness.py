"""What one peer may cost the others: the loop's time, memory and descriptors."""

from __future__ import annotations

import os
import select
import socket
import ssl
import time
from pathlib import Path
from typing import Any

import pytest

from pants import Engine
from pants.http import Deflate, HandshakeError, HTTPRequest, HTTPServer, WebSocket
from pants.http._target import without_credentials
from pants.http._ws_handshake import is_allowed_origin
from pants.testing import run_until
from tests.http.peers_support import serving
from tests.http.ws_support import DEFLATE, RSV1, TEXT, Recorder, deflated, frame, message, opened, opening

MANY = 1000


# --- Answers that pile up -------------------------------------------------------------------------------------------


class Generous(Recorder):
    """Answers whatever comes with far more than that."""

    size = 100_000
    compression = Deflate(min_size=10**9)

    def on_read(self, *data: Any) -> None:
        self.write(bytes(self.size))


class GenerousToLines(Generous):
    def on_connect(self) -> None:
        self.read_delimiter = "\n"


class GenerousToBytes(Generous):
    def on_connect(self) -> None:
        self.read_delimiter = 1


@pytest.mark.parametrize(
    "kind, data",
    [
        (Generous, message("") * MANY),
        (GenerousToLines, message("\n" * MANY)),
        (GenerousToLines, message("\n") * MANY),
        (GenerousToBytes, message(b"x" * MANY)),
        (GenerousToLines, frame(TEXT, deflated(b"\n" * MANY), rsv=RSV1)),
    ],
    ids=["messages", "lines of one", "lines of many", "bytes", "compressed lines"],
)
def test_answers_that_nobody_takes_do_not_pile_up(kind: type[Generous], data: bytes) -> None:
    """`high_water`: by default nothing more is read from a client until it has taken what it was sent."""
    with opened(kind, *[DEFLATE] * (data[0] == 0xC1)) as (websocket, client):
        client.peer.window = 0
        client.send(data)
        client.engine.advance()
        most = websocket.high_water + 2 * websocket.size
        assert websocket.queued_bytes <= most
        client.engine.advance(1)
        assert websocket.queued_bytes <= most
        assert websocket.names.count("high_water") == 1
        client.peer.window = None
        client.engine.advance(1)
        assert len(websocket.reads) == MANY
        assert websocket.queued_bytes == 0


def test_small_files_hold_no_descriptors(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 1000)

    class Files(Recorder):
        def on_read(self, data: Any) -> None:
            with path.open("rb") as file:
                self.write_file(file)

    with opened(Files) as (_, client):
        before = len(os.listdir("/dev/fd"))
        client.peer.window = 0
        client.send(message("") * MANY)
        assert len(os.listdir("/dev/fd")) == before
        client.peer.window = None
        client.engine.advance(1)
        assert client.messages() == [b"x" * 1000] * MANY


# --- The loop's time ------------------------------------------------------------------------------------------------


class Clocked(Engine):
    """Believes that time passes where the test says so."""

    ahead = 0.0

    def clock(self) -> float:
        return time.monotonic() + self.ahead


class Slow(WebSocket):
    """Takes a millisecond for each thing it reads."""

    events: list[str]

    def on_connect(self, delimiter: Any = None) -> None:
        if delimiter is not None:
            self.read_delimiter = delimiter

    def on_read(self, *data: Any) -> None:
        self.engine.ahead += 0.001  # type: ignore[attr-defined]
        self.events.append("other" if data == ("other",) else "one")


@pytest.mark.parametrize(
    "delimiter, data",
    [
        (None, message("x") * MANY),
        ("\n", message("x\n" * MANY)),
        (2, message("x\n" * MANY)),
        ("\n", frame(TEXT, deflated(b"\n" * MANY), rsv=RSV1)),
        (None, frame(TEXT, deflated(b"x"), rsv=RSV1) * MANY),
    ],
    ids=["messages", "lines", "sizes", "compressed lines", "compressed messages"],
)
def test_others_have_their_turn(delimiter: Any, data: bytes) -> None:
    """Much that came at once from one peer is handed out in turns of some milliseconds."""
    engine = Clocked()
    Slow.events = []

    def handler(request: HTTPRequest) -> None:
        Slow(request, *[delimiter] * (request.path == "/one" and delimiter is not None))

    try:
        server = HTTPServer(handler, engine=engine).listen(("127.0.0.1", 0))
        with (
            socket.create_connection(server.local_address) as one,
            socket.create_connection(server.local_address) as other,
        ):
            one.sendall(opening(*[DEFLATE] * (data[0] == 0xC1), line=b"GET /one HTTP/1.1"))
            other.sendall(opening(line=b"GET /other HTTP/1.1"))
            run_until(lambda: len(server.channels) == 2, engine=engine)
            for client in (one, other):
                run_until(lambda client=client: select.select([client], [], [], 0)[0], engine=engine)  # type: ignore[misc]
                assert client.recv(4096).startswith(b"HTTP/1.1 101")
            one.sendall(data)
            other.sendall(message("other"))
            run_until(lambda: Slow.events.count("one") == MANY and "other" in Slow.events, engine=engine)
        assert Slow.events.index("other") < 100
    finally:
        engine.close()


@pytest.mark.parametrize("piles_up", [False, True])
def test_what_waits_for_its_turn_is_not_incomplete(piles_up: bool) -> None:
    """Manual: only "an existing string still in the buffer" forbids one of the other type, and here all is complete."""

    class Sized(Recorder):
        def on_connect(self) -> None:
            self.read_delimiter = 1

        def on_read(self, data: Any) -> None:
            clock[0] += 0.001
            if piles_up:
                self.write(bytes(100_000))

    clock = [0.0]
    with opened(Sized) as (websocket, client):
        client.engine.clock = lambda: client.engine.now + clock[0]
        client.peer.window = 0 if piles_up else None
        client.send("x" * 100, message(b"y" * 100), "z" * 100)
        client.engine.advance(1)
        client.peer.window = None
        client.engine.advance(1)
        assert websocket.connected
        assert websocket.reads == ["x"] * 100 + [b"y"] * 100 + ["z"] * 100


# --- Others' places -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("secure", [False, True])
@pytest.mark.parametrize("scheme", ["chrome-extension", "capacitor", "ws", "evil"])
def test_an_origin_of_another_scheme_is_another(scheme: str, secure: bool) -> None:
    """RFC 6454 §5: the scheme belongs to it."""
    assert not is_allowed_origin(f"{scheme}://app.example", "app.example", secure, frozenset())
    assert is_allowed_origin("https://app.example", "app.example", secure, frozenset())


@pytest.mark.parametrize(
    "url, shown",
    [
        ("ws://user:secret@host/path", "ws://***@host/path"),
        ("ws://user:se@cret@host/", "ws://***@host/"),
        ("ws://user:secret#@host/", "ws://***@host/"),
        ("ws://host/path", "ws://host/path"),
        ("ws://host/" + "x" * 1000, "ws://host/" + "x" * 190),
    ],
)
def test_what_is_shown_of_a_url(url: str, shown: str) -> None:
    assert without_credentials(url) == shown


class Opener(WebSocket):
    """Writes down why it could not be opened."""

    error: Exception | None = None

    def on_connect_error(self, exception: Exception) -> None:
        self.error = exception


def test_an_ssl_context_does_not_go_to_another_origin() -> None:
    """It may hold a certificate of the client's, which is for the server that was asked."""
    with serving(lambda request: request.send_response("elsewhere")) as elsewhere:
        location = f"ws://127.0.0.1:{elsewhere.local_address[1]}/"
        with serving(lambda request: request.send_response("", 302, headers={"Location": location})) as server:
            url = f"ws://127.0.0.1:{server.local_address[1]}/"
            opener = Opener.connect(url, ssl_options=ssl.create_default_context())
            run_until(lambda: opener.closed)
            assert isinstance(opener.error, HandshakeError)
            assert "SSLContext" in str(opener.error)
            opener = Opener.connect(url)
            run_until(lambda: opener.closed)
            assert isinstance(opener.error, HandshakeError)
            assert opener.error.status == 200  # that of the other


def test_an_answer_whose_lines_end_with_lf() -> None:
    """RFC 9112 §2.2"""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        opener = Opener.connect(f"ws://127.0.0.1:{listener.getsockname()[1]}/")
        run_until(lambda: opener._opening is not None and opener._opening._connection is not None)
        with listener.accept()[0] as server:
            server.sendall(b"HTTP/1.1 101 Switching Protocols\nUpgrade: websocket\n\n")
            run_until(lambda: opener.closed)
        assert isinstance(opener.error, HandshakeError)
