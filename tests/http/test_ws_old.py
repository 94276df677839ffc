"""WebSockets of clients that speak draft 76 (draft-hixie-thewebsocketprotocol-76; manual: "allow_old_handshake")."""

from __future__ import annotations

import gc
import io
import logging
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from pants.http import HTTPRequest, HTTPServer, WebSocketError, broadcast
from pants.testing import MemoryEngine
from tests.conftest import ExpectedLog
from tests.http.support import take_apart
from tests.http.ws_support import (
    DEFLATE,
    TEXT,
    Client,
    Echo,
    Frame,
    Recorder,
    WsSite,
    closing,
    frame,
    message,
    opened,
    ws_site,
)

# The example of the draft, §1.3.
FIELDS = (
    b"Host: example.com",
    b"Connection: Upgrade",
    b"Sec-WebSocket-Key2: 12998 5 Y3 1  .P00",
    b"Upgrade: WebSocket",
    b"Sec-WebSocket-Key1: 4 @1  46546xW%0l 1 5",
    b"Origin: http://example.com",
)
BODY = b"^n:ds[4U"
RESPONSE = b"8jKS'y:G*Co,Wxa-"
END = b"\xff\x00"


def old_opening(*fields: bytes, own: tuple[bytes, ...] = FIELDS, body: bytes = BODY) -> bytes:
    return b"\r\n".join([b"GET /demo HTTP/1.1", *own, *fields, b"", body])


def text(*messages: str | bytes) -> bytes:
    """Frames of text, as they go either way."""
    return b"".join(b"\0%b\xff" % (one.encode() if isinstance(one, str) else one) for one in messages)


class Old(Recorder):
    allow_old_handshake = True


class OldEcho(Echo):
    allow_old_handshake = True


class OldClient:
    """A client in memory."""

    def __init__(
        self, site: WsSite, *fields: bytes, behind: bytes = b"", chunk: int | None = None, origin: str = "http"
    ) -> None:
        self.engine = site.engine
        self.peer = site.engine.accept(site.server)
        own = (*FIELDS[:5], f"Origin: {origin}://example.com".encode())
        self.peer.send(old_opening(*fields, own=own) + behind, chunk)
        self.head, _, rest = self.peer.take().partition(b"\r\n\r\n")
        assert self.head.startswith(b"HTTP/1.1 101 ")
        assert rest.startswith(RESPONSE)
        self.rest = rest[16:]

    def send(self, data: bytes, chunk: int | None = None) -> None:
        self.peer.send(data, chunk)

    def take(self) -> bytes:
        self.engine.advance()
        data, self.rest = self.rest + self.peer.take(), b""
        return data


@contextmanager
def old(
    kind: type[Recorder] = Old, *fields: bytes, behind: bytes = b"", **kwargs: Any
) -> Iterator[tuple[Any, OldClient]]:
    with ws_site(kind, **kwargs) as site:
        client = OldClient(site, *fields, behind=behind)
        yield site.sockets[-1], client


# --- The handshake --------------------------------------------------------------------------------------------------


def test_it_is_off_by_default() -> None:
    """Manual: "By default, this is set to False"."""
    with ws_site() as site:
        peer = site.engine.accept(site.server)
        peer.send(old_opening(body=b""))
        assert 400 <= take_apart(peer.received)[0].status < 500
        assert site.sockets[0].closed


@pytest.mark.parametrize("chunk", [None, 1])
@pytest.mark.parametrize("secure", [False, True])
def test_the_handshake(chunk: int | None, secure: bool) -> None:
    """Draft 76, §5.2: the fields, and the answer to the challenge."""

    class Kind(Old):
        subprotocols = ("sample",)

    fields = [b"Sec-WebSocket-Protocol: sample", *([b"X-Forwarded-Proto: https"] if secure else [])]
    scheme = "https" if secure else "http"
    with ws_site(Kind, xheaders=True) as site:
        client = OldClient(site, *fields, chunk=chunk, origin=scheme)
        [websocket] = site.sockets
        lines = client.head.decode().split("\r\n")[1:]
        found = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        assert found["upgrade"] == "WebSocket"
        assert found["connection"] == "Upgrade"
        assert found["sec-websocket-location"] == f"ws{'s' if secure else ''}://example.com/demo"
        assert found["sec-websocket-origin"] == f"{scheme}://example.com"
        assert found["sec-websocket-protocol"] == "sample"
        assert "content-length" not in found
        assert "transfer-encoding" not in found
        assert websocket.names == ["connect"]
        assert websocket.is_secure is secure
        assert websocket.subprotocol == "sample"


@pytest.mark.parametrize("at", [0, 1, 7])
@pytest.mark.parametrize("behind", [b"", text("a")])
def test_the_eight_bytes_may_come_later(at: int, behind: bytes) -> None:
    with ws_site(OldEcho) as site:
        peer = site.engine.accept(site.server)
        peer.send(old_opening(body=BODY[:at]))
        [websocket] = site.sockets
        assert peer.received == b""
        assert not websocket.connected
        assert websocket.names == []
        with pytest.raises(RuntimeError):
            websocket.write("a")
        site.engine.advance(5)
        peer.send(BODY[at:] + behind)
        assert peer.take().partition(b"\r\n\r\n")[2] == RESPONSE + behind
        assert websocket.names[0] == "connect"
        peer.send(text("b"), chunk=1)
        assert peer.take() == text("b")


def test_frames_in_the_same_segment() -> None:
    """on_connect() comes before they are passed on."""

    class Kind(Old):
        def on_connect(self, *_: Any) -> None:
            self.write("welcome")

    with old(Kind, behind=text("a", "b")) as (websocket, client):
        assert [name for name in websocket.names if name != "write"] == ["connect", "read", "read"]
        assert websocket.reads == ["a", "b"]
        assert client.take() == text("welcome")


def test_it_may_be_made_later() -> None:
    requests: list[HTTPRequest] = []
    with MemoryEngine() as engine:
        peer = engine.accept(HTTPServer(requests.append, engine=engine))
        peer.send(old_opening() + text("a"))
        engine.advance(5)
        websocket = OldEcho(requests[0])
        engine.advance()
        assert peer.take().endswith(RESPONSE + text("a"))
        assert websocket.names[:2] == ["connect", "read"]


@pytest.mark.parametrize("body", [b"", BODY[:7]])
def test_where_the_eight_bytes_do_not_come_it_ends(body: bytes) -> None:
    with ws_site(Old) as site:
        peer = site.engine.accept(site.server)
        peer.send(old_opening(body=body))
        site.engine.advance(100)
        assert peer.ended
        [websocket] = site.sockets
        assert websocket.closed
        assert "connect" not in websocket.names
        assert site.engine.time_to_timer() is None


@pytest.mark.parametrize("how", ["end", "reset", "close", "cut", "server", "shutdown", "engine"])
def test_an_end_before_the_eight_bytes(how: str) -> None:
    with ws_site(Old) as site:
        peer = site.engine.accept(site.server)
        peer.send(old_opening(body=BODY[:3]))
        [websocket] = site.sockets
        if how == "end":
            peer.end()
        elif how == "reset":
            peer.reset()
        elif how == "server":
            site.server.close()
        elif how == "shutdown":
            site.server.shutdown(5)
        elif how == "engine":
            site.engine.close()
        else:
            websocket.close(flush=how == "close")
        if how != "engine":
            site.engine.advance(60)
        assert websocket.closed
        assert "connect" not in websocket.names
        assert websocket.names.count("close") <= 1
        assert not site.server.channels


@pytest.mark.parametrize("arrives", [True, False])
def test_closing_before_the_eight_bytes(arrives: bool) -> None:
    """As with other WebSockets that are not open yet."""
    with ws_site(Old) as site:
        peer = site.engine.accept(site.server)
        peer.send(old_opening(body=b""))
        [websocket] = site.sockets
        websocket.close()
        if arrives and not peer.ended:
            peer.send(BODY + text("a"))
        site.engine.advance(60)
        assert peer.ended
        assert websocket.closed
        assert websocket.reads == []


BAD_KEYS: dict[str, tuple[bytes, bytes]] = {
    "no spaces": (b"4@146546xW%0l15", FIELDS[2].partition(b": ")[2]),
    "no digits": (b"a b c", FIELDS[2].partition(b": ")[2]),
    "not to be divided": (b"5 a b", FIELDS[2].partition(b": ")[2]),
    "beyond 32 bits": (FIELDS[4].partition(b": ")[2], b"99999999999999999999 "),
    "very long": (b"1" * 5000 + b" 1", FIELDS[2].partition(b": ")[2]),
}


@pytest.mark.parametrize("name", BAD_KEYS)
def test_malformed_keys_are_refused(name: str) -> None:
    """Draft 76, §5.2."""
    first, second = BAD_KEYS[name]
    own = (*FIELDS[:2], FIELDS[3], FIELDS[5], b"Sec-WebSocket-Key1: " + first, b"Sec-WebSocket-Key2: " + second + b"x")
    with ws_site(Old) as site:
        peer = site.engine.accept(site.server)
        peer.send(old_opening(own=own))
        site.engine.advance(60)
        assert take_apart(peer.received)[0].status == 400
        assert peer.ended
        [websocket] = site.sockets
        assert websocket.closed
        assert "connect" not in websocket.names


@pytest.mark.parametrize("accepts", [True, False])
def test_on_handshake_and_its_headers(accepts: bool) -> None:
    class Kind(Old):
        def on_handshake(self, request: Any, headers: dict[str, Any]) -> bool:
            headers["X-Pizza"] = "Margherita"
            request.cookies_out["a"] = "b"
            return accepts

    with ws_site(Kind) as site:
        peer = site.engine.accept(site.server)
        peer.send(old_opening(body=BODY if accepts else b""))
        assert peer.received.startswith(b"HTTP/1.1 101 " if accepts else b"HTTP/1.1 403 ")
        assert b"X-Pizza: Margherita\r\n" in peer.received
        assert b"Set-Cookie: a=b" in peer.received


def test_other_origins_are_kept_out() -> None:
    with ws_site(Old) as site:
        peer = site.engine.accept(site.server)
        peer.send(old_opening(own=(*FIELDS[:5], b"Origin: http://elsewhere"), body=b""))
        assert take_apart(peer.received)[0].status == 403


def test_clients_of_today_are_served_as_well() -> None:
    with opened(OldEcho, DEFLATE) as (websocket, client):
        client.send("a" * 1000, message(b"\0"))
        assert client.messages() == ["a" * 1000, b"\0"]
        websocket.ping(b"p")
        client.engine.advance()
        assert client.frames() == [Frame(9, b"p")]
        client.send(closing(4000))
        assert websocket.close_code == 4000


def test_no_extension_is_agreed_on() -> None:
    with old(OldEcho, DEFLATE) as (_, client):
        assert b"permessage-deflate" not in client.head
        client.send(text("a" * 1000))
        assert client.take() == text("a" * 1000)


def test_the_access_log_and_the_counters() -> None:
    with ws_site(Old) as site:
        OldClient(site)
        assert dict(site.server.counters.answers) == {101: 1}


# --- Text -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunk", [None, 1])
def test_text_goes_both_ways(chunk: int | None) -> None:
    messages = ["a", "", "κόσμε😀", "x" * 60_000]
    with old(OldEcho) as (websocket, client):
        client.send(text(*messages[: 3 if chunk else 4]), chunk)
        assert websocket.reads == messages[: 3 if chunk else 4]
        assert client.take() == text(*messages[: 3 if chunk else 4])
        assert websocket.names.count("write") >= 1


@pytest.mark.parametrize(
    "delimiter, messages, expected",
    [("\n", ["a\nb", "c\n"], ["a", "bc"]), (2, ["abc", "d"], ["ab", "cd"]), (None, ["ab"], ["ab"])],
)
def test_delimiters(delimiter: Any, messages: list[str], expected: list[str]) -> None:
    with old() as (websocket, client):
        websocket.read_delimiter = delimiter
        client.send(text(*messages))
        assert websocket.reads == expected


def test_a_delimiter_of_bytes() -> None:
    """Manual: a protocol error, for all that comes is text."""
    with old() as (websocket, client):
        websocket.read_delimiter = b"\n"
        client.send(text("a\n"))
        assert websocket.reads == []
        assert websocket.is_over
        assert client.peer.ended
        assert websocket.close_code == 1003


def test_a_pause() -> None:
    with old() as (websocket, client):
        websocket.pause_reading()
        client.send(text("a", "b"))
        assert websocket.reads == []
        websocket.resume_reading()
        client.engine.advance()
        assert websocket.reads == ["a", "b"]


@pytest.mark.parametrize("ends", [True, False])
@pytest.mark.parametrize("chunk", [None, 1])
def test_the_longest_message(ends: bool, chunk: int | None, expect_log: ExpectedLog) -> None:
    expect_log("which is buffer_size")
    with old() as (websocket, client):
        websocket.buffer_size = 100
        client.send(text("x" * 100), chunk)
        assert websocket.reads == ["x" * 100]
        client.send(text("y" * 101)[: None if ends else -1], chunk)
        assert websocket.reads == ["x" * 100]
        assert "overflow_error" in websocket.names
        client.engine.advance(60)
        assert websocket.is_over
        assert websocket.close_code == 1009
        assert client.peer.ended


def test_a_message_that_is_too_long_may_be_dropped() -> None:
    class Kind(Old):
        def on_overflow_error(self, exception: Exception) -> None:
            pass

    with old(Kind) as (websocket, client):
        websocket.buffer_size = 100
        client.send(text("a", "y" * 101, "b"), 1)
        assert websocket.reads == ["a", "b"]
        assert websocket.names.count("overflow_error") == 1


# --- What there is not (manual: "significantly reduced functionality") ----------------------------------------------

WITHOUT: dict[str, tuple[type[Exception], Callable[[Any], object]]] = {
    "bytes": (TypeError, lambda websocket: websocket.write(b"a")),
    "bytes as binary": (TypeError, lambda websocket: websocket.write(b"a", 2)),
    "a file": (RuntimeError, lambda websocket: websocket.write_file(io.BytesIO(b"a"))),
    "a struct": (TypeError, lambda websocket: websocket.write_packed(1, format="B")),
    "a fragment": (RuntimeError, lambda websocket: websocket.write_fragment("a")),
    "a ping": (RuntimeError, lambda websocket: websocket.ping()),
    "a ping with a payload": (RuntimeError, lambda websocket: websocket.ping(b"a")),
}


@pytest.mark.parametrize("name", WITHOUT)
def test_what_there_is_not_raises_at_the_call(name: str) -> None:
    error, call = WITHOUT[name]
    with old() as (websocket, client):
        with pytest.raises(error):
            call(websocket)
        assert client.take() == b""
        websocket.write("good")
        websocket.write(b"good", TEXT)
        websocket.write("good", flush=True)
        assert client.take() == text(*["good"] * 3)


@pytest.mark.parametrize("data", [b"\x80\x01a", b"\x01", b"\xff\x01a", b"a"])
def test_frames_of_other_kinds_end_it(data: bytes) -> None:
    with old() as (websocket, client):
        client.send(text("a") + data)
        assert websocket.reads == ["a"]
        assert websocket.is_over
        assert client.peer.ended
        assert websocket.close_code == 1003
        assert isinstance(websocket.close_error, WebSocketError)


def test_text_that_is_none_ends_it() -> None:
    with old() as (websocket, client):
        client.send(text("a", b"\xc3\x28"))
        assert websocket.reads == ["a"]
        assert websocket.is_over
        assert client.peer.ended
        assert websocket.close_code == 1007


def test_nobody_is_asked_whether_he_is_there() -> None:
    with old() as (websocket, client):
        client.engine.advance(10_000)
        assert client.take() == b""
        assert websocket.connected


# --- Closing --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kwargs", [{}, {"reason": 4000, "message": "bye"}])
def test_closing(kwargs: dict[str, Any]) -> None:
    """Manual: "it will flush the buffer and then, once the buffer empties, close the connection immediately"."""
    with old() as (websocket, client):
        client.peer.window = 10
        websocket.write("x" * 1000)
        websocket.close(**kwargs)
        assert not websocket.connected
        client.engine.advance(5)
        assert not client.peer.ended
        client.peer.window = None
        assert client.take().removesuffix(END) == text("x" * 1000)
        assert client.peer.ended
        assert websocket.is_over
        assert websocket.close_code in (1005, 1006)


def test_closing_at_once() -> None:
    with old() as (websocket, client):
        client.peer.window = 0
        websocket.write("x" * 1000)
        websocket.close(flush=False)
        client.peer.window = None
        assert client.take() == b""
        assert client.peer.ended
        assert websocket.is_over


@pytest.mark.parametrize("chunk", [None, 1])
def test_the_client_closes(chunk: int | None) -> None:
    """Draft 76, §5.3: 0xFF 0x00 is answered with the same."""
    with old() as (websocket, client):
        client.send(text("a") + END, chunk)
        assert websocket.reads == ["a"]
        assert client.take() == END
        assert client.peer.ended
        assert not client.peer.was_reset
        assert websocket.is_over
        assert websocket.close_code == 1005
        assert websocket.close_reason == ""
        assert websocket.close_error is None


def test_nothing_is_taken_after_that() -> None:
    with old() as (websocket, client):
        client.send(text("a") + END + text("b"))
        assert websocket.reads == ["a"]
        assert websocket.is_over


@pytest.mark.parametrize("how", ["end", "reset"])
def test_the_client_goes(how: str) -> None:
    with old() as (websocket, client):
        client.send(text("a") + b"\0b")
        if how == "end":
            client.peer.end()
        else:
            client.peer.reset()
        assert websocket.reads == ["a"]
        assert websocket.is_over
        assert websocket.close_code == 1006


@pytest.mark.parametrize("how", ["close", "shutdown"])
def test_the_server_closes(how: str) -> None:
    with ws_site(Old) as site:
        client = OldClient(site)
        if how == "close":
            site.server.close()
        else:
            site.server.shutdown(5)
        assert client.take() == END
        assert client.peer.ended
        assert site.sockets[0].is_over
        site.engine.advance(5)
        assert site.server.closed


def test_an_error_in_a_hook(expect_log: ExpectedLog) -> None:
    expect_log("by zero")

    class Kind(Old):
        def on_read(self, data: str) -> None:
            self.write(str(1 // int(data)))

    with old(Kind) as (websocket, client):
        client.send(text("1", "0", "1"))
        assert client.take().removesuffix(END) == text("1")
        client.engine.advance(60)
        assert websocket.is_over
        assert client.peer.ended


# --- Among others ---------------------------------------------------------------------------------------------------


def test_broadcast_reaches_all() -> None:
    with ws_site(Old) as site:
        old_client = OldClient(site)
        client = site.open()[1]
        assert broadcast(site.sockets, "häufig") == 2
        assert old_client.take() == text("häufig")
        assert client.messages() == ["häufig"]
        assert broadcast(site.sockets, b"text", frame=TEXT) == 2
        assert old_client.take() == text("text")
        assert client.messages() == ["text"]


def test_a_broadcast_of_bytes_does_not_depend_on_who_comes_first() -> None:
    """Either it is refused before anything is sent, or those that cannot take it are left out."""
    got: list[list[str | bytes]] = []
    with ws_site(Old) as site:
        clients: list[Client] = [site.open()[1]]
        OldClient(site)
        clients.append(site.open()[1])
        try:
            broadcast(site.sockets, b"\0")
        except TypeError:
            pass
        site.engine.advance()
        got = [client.messages() for client in clients]
    assert got in ([[], []], [[b"\0"], [b"\0"]])


def test_high_water() -> None:
    class Kind(OldEcho):
        high_water = 10_000

    with old(Kind) as (websocket, client):
        client.peer.window = 0
        for _ in range(200):
            client.send(text("x" * 1000))
        assert websocket.queued_bytes < 100_000
        client.peer.window = None
        assert client.take() == text(*["x" * 1000] * 200)


@pytest.mark.parametrize("pieces", [[BODY, text("a"), END], [BODY + text("a")], [BODY[:3]], [BODY, b"\x80"], [b""]])
def test_none_leaves_a_cycle(pieces: list[bytes], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "pants.http")  # what is logged is kept, with its arguments

    class Plain(OldEcho):
        def __getattribute__(self, name: str) -> Any:  # without what is written down
            return object.__getattribute__(self, name)

    made: list[weakref.ref[Plain]] = []

    def handler(request: HTTPRequest) -> None:
        made.append(weakref.ref(Plain(request)))

    with MemoryEngine() as engine:
        server = HTTPServer(handler, engine=engine)

        def collected(pieces: list[bytes]) -> int:
            gc.collect()
            gc.disable()
            try:
                peer = engine.accept(server)
                for piece in pieces:
                    peer.send(piece)
                if not peer.ended:
                    peer.end()
                del peer
                engine.advance(60)
                return gc.collect()
            finally:
                gc.enable()

        sent = [old_opening(body=b""), *pieces]
        collected(sent)  # the first time fills caches
        assert collected(sent) == collected([])
        assert [reference() for reference in made] == [None] * 2
        assert not server.channels
        assert engine.time_to_timer() is None


def test_frames_of_today_are_none_of_then() -> None:
    with old() as (websocket, client):
        client.send(frame(TEXT, "a"))
        assert websocket.reads == []
        assert websocket.is_over
