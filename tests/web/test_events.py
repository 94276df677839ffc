"""Server-sent events (`pants.web.events`; HTML Standard, section "Server-sent events")."""

from __future__ import annotations

import doctest
import gc
import json
import socket
import weakref
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import pants.web.events
from pants.http import Compression, HTTPRequest, HTTPServer
from pants.testing import MemoryEngine, Peer, run_until
from pants.web import Application
from pants.web.events import EventStream, broadcast, event
from tests.conftest import ExpectedLog
from tests.web.visitor_support import Answer, Visitor, visitor


class Source:
    """What a browser does with a stream (HTML, "Interpreting an event stream")."""

    def __init__(self, stream: str) -> None:
        self.events: list[tuple[str, str, str]] = []  # type, data, last id
        self.retry: int | None = None
        self.comments = 0
        self.last_id = ""
        kind, data = "", ""
        lines = stream.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n").split("\n")
        self.rest = lines.pop()
        for line in lines:
            if not line:
                if data:
                    self.events.append((kind or "message", data.removesuffix("\n"), self.last_id))
                kind, data = "", ""
                continue
            name, colon, value = line.partition(":")
            value = value.removeprefix(" ")
            if not name and colon:
                self.comments += 1
            elif name == "event":
                kind = value
            elif name == "data":
                data += value + "\n"
            elif name == "id" and "\0" not in value:
                self.last_id = value
            elif name == "retry" and value.isascii() and value.isdigit():
                self.retry = int(value)
        self.incomplete = data or kind


class Streams(Application):
    """An application with a stream; it keeps those that were made, and tells of those that have ended."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.options = options
        self.made: list[EventStream] = []
        self.ended: list[EventStream] = []
        self.route("/events", func=self.events)

    def events(self, request: HTTPRequest) -> None:
        stream = EventStream(request, **self.options)
        stream.on_close = lambda: self.ended.append(stream)
        self.made.append(stream)


def content(peer: Peer) -> str:
    """The content that a client has got so far, taken out of its chunks."""
    _, found, rest = peer.received.partition(b"\r\n\r\n")
    assert found
    pieces = []
    while rest:
        size, found, rest = rest.partition(b"\r\n")
        if not found or len(rest) < int(size, 16) + 2:
            break
        pieces.append(rest[: int(size, 16)])
        rest = rest[int(size, 16) + 2 :]
    return b"".join(pieces).decode()


def source(peer: Peer) -> Source:
    return Source(content(peer))


def opened(client: Visitor, app: Streams, headers: dict[str, str] | None = None) -> tuple[Peer, EventStream]:
    peer = client.begin("/events", headers)
    return peer, app.made[-1]


def test_docstrings() -> None:
    assert doctest.testmod(pants.web.events).failed == 0


# --- One event --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data, arrives",
    [
        ("text", "text"),
        ("", ""),
        ("two\nlines", "two\nlines"),
        ("two\r\nlines", "two\nlines"),
        ("two\rlines", "two\nlines"),
        ("\n", "\n"),
        ("\r\n\r\n", "\n\n"),
        ("\n\r", "\n\n"),
        (" leading space", " leading space"),
        ("data: x\n\nevent: y", "data: x\n\nevent: y"),
        (": no comment", ": no comment"),
        ("\u2028\x85\x0b\x0c\x1c", "\u2028\x85\x0b\x0c\x1c"),
        ("\u00e4\u20ac\U0001f600\0", "\u00e4\u20ac\U0001f600\0"),
    ],
)
def test_text_arrives(data: str, arrives: str) -> None:
    assert Source(event(data)).events == [("message", arrives, "")]


@given(
    st.text(), st.none() | st.text("ab :\u00e4"), st.none() | st.text("ab :\u00e4"), st.none() | st.integers(0, 10**12)
)
def test_whatever_is_sent_arrives(data: str, kind: str | None, id: str | None, retry: int | None) -> None:  # noqa: A002
    """Two of them, so that nothing is left over for the second."""
    got = Source(event(data, kind, id, retry) + event("second"))
    text = data.replace("\r\n", "\n").replace("\r", "\n")
    assert got.events == [(kind or "message", text, id or ""), ("message", "second", id or "")]
    assert (got.retry, got.rest, got.incomplete) == (retry, "", "")


def test_other_data_is_json() -> None:
    values = [{"a": ["\u00e4", 1, None], "b": "x\ny"}, [1, 2], (1, 2), 5, 1.5, True, None]
    for value in values:
        ((kind, data, _),) = Source(event(value)).events
        assert (kind, json.loads(data)) == ("message", json.loads(json.dumps(value)))


def test_the_fields() -> None:
    assert event("x", event="greeting", id="7", retry=1500) == "event: greeting\nid: 7\nretry: 1500\ndata: x\n\n"
    assert event("x", id=7) == "id: 7\ndata: x\n\n"
    assert Source(event("x", id=7) + event("y", id="")).events[-1] == ("message", "y", ""), "it is forgotten"


@pytest.mark.parametrize(
    "arguments",
    [
        {"event": "a\nb"},
        {"event": "a\rdata: b"},
        {"event": "\r\n"},
        {"id": "a\nb"},
        {"id": "a\r"},
        {"id": "a\0b"},  # browsers would ignore it
        {"retry": -1},
        {"data": float("nan")},
        {"data": [float("inf")]},
        {"data": "\ud800"},
        {"data": ["\udcff"]},
        {"event": "\ud800"},
    ],
)
def test_values_that_cannot_be_sent(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        event(**{"data": "x", **arguments})


@pytest.mark.parametrize(
    "arguments",
    [
        {"event": 5},
        {"event": b"a"},
        {"id": True},
        {"id": 1.5},
        {"id": b"a"},
        {"retry": "5"},
        {"retry": 1.5},
        {"retry": True},
        {"data": b"bytes"},
        {"data": {1}},
        {"data": object()},
    ],
)
def test_types_that_cannot_be_sent(arguments: dict[str, Any]) -> None:
    with pytest.raises(TypeError):
        event(**{"data": "x", **arguments})


# --- A stream ---------------------------------------------------------------------------------------------------


def test_the_head_goes_out_at_once() -> None:
    app = Streams()
    with visitor(app) as client:
        peer, stream = opened(client, app)
        head = peer.received.decode()
        assert head.startswith("HTTP/1.1 200 OK\r\n")
        for line in (
            "Content-Type: text/event-stream",
            "Cache-Control: no-cache, no-transform",
            "X-Accel-Buffering: no",
            "Transfer-Encoding: chunked",
        ):
            assert f"{line}\r\n" in head
        assert head.endswith("\r\n\r\n")
        assert not stream.closed
        assert repr(stream) == "<EventStream /events>"


def test_each_event_goes_out_at_once() -> None:
    app = Streams()
    with visitor(app) as client:
        peer, stream = opened(client, app)
        for number in range(3):
            assert stream.send(number, event="count", id=number) is True
            client.engine.advance()
            assert len(source(peer).events) == number + 1
        assert source(peer).events == [("count", "0", "0"), ("count", "1", "1"), ("count", "2", "2")]


def test_its_own_retry() -> None:
    app = Streams(retry=500)
    with visitor(app) as client:
        peer, _ = opened(client, app)
        assert source(peer).retry == 500


def test_it_is_closed() -> None:
    app = Streams()
    with visitor(app) as client:
        peer, stream = opened(client, app)
        stream.send("last")
        stream.close()
        assert stream.closed
        assert app.ended == [], "on_close is not called inside the call"
        assert stream.send("more") is False
        stream.close()
        client.engine.advance()
        assert app.ended == [stream]
        assert repr(stream) == "<EventStream /events (closed)>"
        answer = Answer(peer.received, "GET")
        assert Source(answer.text).events == [("message", "last", "")]
        peer.send(b"GET /events HTTP/1.1\r\nHost: a\r\n\r\n")
        assert len(app.made) == 2, "the connection goes on"


@pytest.mark.parametrize("end", [Peer.reset, Peer.end])
def test_the_client_goes_away(end: Callable[[Peer], None]) -> None:
    app = Streams()
    with visitor(app) as client:
        peer, stream = opened(client, app)
        end(peer)
        client.engine.advance()
        if end is Peer.end:  # which may mean that it listens still
            assert source(peer).comments == 1
            assert stream.send("are you there")
            peer.reset()
            client.engine.advance()
        assert stream.closed
        assert stream.send("x") is False
        assert app.ended == [stream]
        client.engine.advance(100)
        assert app.ended == [stream]


@pytest.mark.parametrize("keep_alive", [None, 1000.0])
def test_a_client_that_has_closed_is_noticed_at_once(keep_alive: float | None) -> None:
    """With a real socket: its system answers the comment with a reset (RFC 9293 §3.10.7.1)."""
    app = Streams(keep_alive=keep_alive)
    server = HTTPServer(app).listen(("127.0.0.1", 0))
    with socket.create_connection(server.local_address, timeout=10) as client:
        client.sendall(b"GET /events HTTP/1.1\r\nHost: a\r\n\r\n")
        run_until(lambda: app.made)
        assert client.recv(10000).endswith(b"\r\n\r\n")  # with something unread, it would reset by itself
    run_until(lambda: app.ended)
    server.close()


def test_a_program_may_watch_the_end_itself() -> None:
    ends: list[str] = []
    app = Application()

    @app.route("/events")
    def events(request: HTTPRequest) -> None:
        request.on_end = lambda: ends.append("end")
        EventStream(request)

    with visitor(app) as client:
        peer = client.begin("/events")
        peer.end()
        client.engine.advance()
        assert (ends, content(peer)) == (["end"], "")


def test_the_connection_is_closed_by_the_program() -> None:
    app = Streams()
    with visitor(app) as client:
        _, stream = opened(client, app)
        stream.request.connection.close()
        assert stream.closed, "at once"
        assert stream.send("x") is False
        client.engine.advance()
        assert app.ended == [stream]


def test_the_engine_is_closed() -> None:
    app = Streams()
    with visitor(app) as client:
        _, stream = opened(client, app)
    assert (stream.closed, app.ended) == (True, [stream])


def test_on_close_is_set_too_late() -> None:
    ended: list[str] = []
    app = Streams()
    with visitor(app) as client:
        _, stream = opened(client, app)
        stream.close()
        client.engine.advance()
        stream.on_close = lambda: ended.append("closed")
        assert ended == []
        client.engine.advance()
        assert ended == ["closed"]
        assert stream.on_close is None
        stream.on_close = None


def test_on_close_is_changed() -> None:
    ended: list[str] = []
    app = Streams()
    with visitor(app) as client:
        _, stream = opened(client, app)
        stream.on_close = None
        stream.close()
        client.engine.advance()
        _, stream = opened(client, app)
        stream.on_close = lambda: ended.append("second")
        stream.close()
        client.engine.advance()
    assert (app.ended, ended) == ([], ["second"])


@pytest.mark.parametrize("close", [lambda stream, peer: stream.close(), lambda stream, peer: peer.reset()])
def test_on_close_fails(close: Callable[[EventStream, Peer], None], expect_log: ExpectedLog) -> None:
    expect_log("ZeroDivisionError")
    app = Streams()
    with visitor(app) as client:
        peer, stream = opened(client, app)
        stream.on_close = lambda: 1 / 0
        close(stream, peer)
        client.engine.advance()
        assert opened(client, app)[1].closed is False


def test_head() -> None:
    """RFC 9110 §9.3.2: the same fields, and nothing else."""
    app = Streams(retry=100)
    with visitor(app) as client:
        answer = client.ask("/events", method="HEAD")
        assert (answer.status, answer.headers["Content-Type"], answer.content) == (200, "text/event-stream", b"")
        (stream,) = app.made
        assert stream.closed
        assert stream.send("x") is False
        client.engine.advance()
        assert app.ended == [stream]


def test_http_1_0() -> None:
    app = Streams()
    with visitor(app) as client:
        peer = client.connect()
        peer.send(b"GET /events HTTP/1.0\r\n\r\n")
        app.made[0].send("x")
        client.engine.advance()
        assert peer.received.endswith(b"\r\n\r\ndata: x\n\n")
        app.made[0].close()
        client.engine.advance()
        assert peer.ended


@pytest.mark.parametrize(
    "sent, told",
    [
        (None, None),
        ("7", "7"),
        ("", ""),
        ("\u00e4\u20ac".encode().decode("latin-1"), "\u00e4\u20ac"),
        ("\xff", "\ufffd"),
    ],
)
def test_the_last_event_id(sent: str | None, told: str | None) -> None:
    """HTML: it is sent in UTF-8."""
    app = Streams()
    with visitor(app) as client:
        _, stream = opened(client, app, {} if sent is None else {"Last-Event-ID": sent})
        assert stream.last_event_id == told


def test_what_was_missed_is_sent_again() -> None:
    """As a program would do it."""
    log = [f"event {number}" for number in range(5)]
    app = Application()

    @app.route("/events")
    def events(request: HTTPRequest) -> None:
        stream = EventStream(request)
        for number in range(int(stream.last_event_id or -1) + 1, len(log)):
            stream.send(log[number], id=number)

    with visitor(app) as client:
        assert [data for _, data, _ in source(client.begin("/events", {"Last-Event-ID": "2"})).events] == log[3:]


def test_more_headers() -> None:
    app = Streams(headers={"cache-control": "no-store", "X-Own": "1"})
    with visitor(app) as client:
        head = opened(client, app)[0].received.decode()
        assert "cache-control: no-store\r\n" in head
        assert "X-Own: 1\r\n" in head
        assert "no-cache" not in head
        assert "X-Accel-Buffering: no\r\n" in head


def test_hooks_see_it() -> None:
    app = Streams()
    app.after(lambda request, head: head.headers.setdefault("X-After", str(head.status)))
    finished: list[object] = []
    app.request_finished(lambda request, output: finished.append(output))
    torn_down: list[object] = []
    app.request_teardown(lambda request: torn_down.append(request))
    with visitor(app) as client:
        peer, stream = opened(client, app)
        assert b"X-After: 200\r\n" in peer.received
        assert (finished, torn_down) == ([], [])
        stream.close()
        client.engine.advance()
        assert torn_down == [stream.request]


# --- Clients that are slow, or silent ----------------------------------------------------------------------------


def test_comments_keep_it_alive() -> None:
    app = Streams(keep_alive=10)
    with visitor(app) as client:
        peer, stream = opened(client, app)
        client.engine.advance(10)
        assert content(peer) == ":\n\n"
        client.engine.advance(5)
        stream.send("x")
        client.engine.advance(5)
        assert source(peer).comments == 1, "there was an event"
        client.engine.advance(10)
        assert (source(peer).comments, source(peer).events) == (2, [("message", "x", "")])


def test_without_comments() -> None:
    app = Streams(keep_alive=None)
    with visitor(app) as client:
        peer, stream = opened(client, app)
        client.engine.advance(1000)
        assert content(peer) == ""
        assert not stream.closed


def test_no_timer_is_left() -> None:
    app = Streams(keep_alive=10)
    with visitor(app) as client:
        peer, stream = opened(client, app)
        stream.close()
        client.engine.advance()
        peer.end()
        client.engine.advance()
        assert client.engine.time_to_timer() is None


def test_a_client_that_does_not_read_is_cut_off() -> None:
    app = Streams(max_queued=10_000, keep_alive=None)
    with visitor(app) as client:
        peer, stream = opened(client, app)
        peer.window = 0
        sent = 0
        while stream.send("x" * 100):
            client.engine.advance()
            sent += 1
            assert sent < 1000
        assert 90 <= sent <= 94
        assert stream.closed
        client.engine.advance()
        assert app.ended == [stream]
        assert stream.send("x") is False


def test_a_client_that_reads_is_not() -> None:
    app = Streams(max_queued=1000)
    with visitor(app) as client:
        peer, stream = opened(client, app)
        for _ in range(1000):
            assert stream.send("x" * 100)
            client.engine.advance()
        assert len(source(peer).events) == 1000


def test_a_client_that_reads_in_the_end_is_not() -> None:
    app = Streams(max_queued=1000, keep_alive=None)
    with visitor(app) as client:
        peer, stream = opened(client, app)
        for _ in range(20):
            peer.window = 0
            for _ in range(5):
                assert stream.send("x" * 100)
            peer.window = None
            client.engine.advance()
        assert len(source(peer).events) == 100


def test_a_single_event_may_be_longer() -> None:
    app = Streams(max_queued=0)
    with visitor(app) as client:
        peer, stream = opened(client, app)
        assert stream.send("x" * 100_000)
        client.engine.advance()
        assert stream.send("y" * 100_000)
        client.engine.advance()
        assert [data[0] for _, data, _ in source(peer).events] == ["x", "y"]


# --- Many streams -----------------------------------------------------------------------------------------------


def test_broadcast() -> None:
    app = Streams()
    with visitor(app) as client:
        peers = [client.begin("/events") for _ in range(5)]
        app.made[1].close()
        peers[2].reset()
        client.engine.advance()
        assert broadcast(app.made, {"a": 1}, "news", 7, 100) == 3
        client.engine.advance()
        for number in (0, 3, 4):
            assert source(peers[number]).events == [("news", '{"a":1}', "7")]
            assert source(peers[number]).retry == 100
        assert broadcast([], "x") == 0


def test_broadcast_while_streams_end() -> None:
    """A set may be walked through although on_close takes out of it."""
    streams: set[EventStream] = set()
    app = Application()

    @app.route("/events")
    def events(request: HTTPRequest) -> None:
        stream = EventStream(request, max_queued=100, keep_alive=None)
        streams.add(stream)
        stream.on_close = lambda: streams.discard(stream)

    with visitor(app) as client:
        peers = [client.begin("/events") for _ in range(10)]
        for peer in peers[:5]:
            peer.window = 0
        assert broadcast(streams, "x" * 60) == 10
        client.engine.advance()
        assert broadcast(streams, "x" * 60) == 5
        client.engine.advance()
        assert len(streams) == 5


def test_broadcast_raises_before_anything_is_sent() -> None:
    app = Streams()
    with visitor(app) as client:
        peer, _ = opened(client, app)
        with pytest.raises(TypeError):
            broadcast(app.made, {1})
        client.engine.advance()
        assert content(peer) == ""


# --- Generators -------------------------------------------------------------------------------------------------


def test_a_generator() -> None:
    app = Application()

    @app.route("/events", content_type="text/event-stream")
    def events(request: HTTPRequest) -> Iterator[str]:
        yield event("first", id=1)
        yield event("two\nlines", id=2)

    with visitor(app) as client:
        answer = client.ask("/events")
        assert answer.headers.get_content_type() == "text/event-stream"
        assert Source(answer.text).events == [("message", "first", "1"), ("message", "two\nlines", "2")]


# --- Compression ------------------------------------------------------------------------------------------------

GZIP = {"Accept-Encoding": "gzip"}


def test_events_are_not_compressed() -> None:
    app = Streams()
    with visitor(app, compression=True) as client:
        peer, stream = opened(client, app, GZIP)
        stream.send("x" * 10_000)
        client.engine.advance()
        assert b"Content-Encoding" not in peer.received
        assert len(source(peer).events) == 1


def test_events_can_be_compressed_and_are_not_delayed() -> None:
    app = Streams(headers={"Cache-Control": "no-cache"}, keep_alive=10)
    with visitor(app, compression=Compression(codings=["gzip"])) as client:
        peer, stream = opened(client, app, GZIP)
        assert b"Content-Encoding: gzip\r\n" in peer.received
        decompressor = zlib.decompressobj(31)
        for number in range(3):
            peer.take()
            stream.send(number)
            client.engine.advance()
            size, _, data = peer.take().partition(b"\r\n")
            assert Source(decompressor.decompress(data[: int(size, 16)]).decode()).events == [
                ("message", str(number), "")
            ]


def test_a_generator_is_compressed_and_not_delayed() -> None:
    app = Application()

    @app.route("/events", content_type="text/event-stream")
    def events(request: HTTPRequest) -> Iterator[str]:
        yield event("first")
        waiting.append(request)
        yield event("second")

    waiting: list[HTTPRequest] = []
    with visitor(app, compression=Compression(codings=["gzip"])) as client:
        answer = client.ask("/events", GZIP)
        assert answer.headers["Content-Encoding"] == "gzip"
        decompressor = zlib.decompressobj(31)
        assert len(Source(decompressor.decompress(answer.content).decode()).events) == 2


# --- Mistakes ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments, error",
    [
        ({"keep_alive": 0}, ValueError),
        ({"keep_alive": -1}, ValueError),
        ({"keep_alive": float("inf")}, ValueError),
        ({"keep_alive": "15"}, TypeError),
        ({"keep_alive": True}, TypeError),
        ({"retry": -1}, ValueError),
        ({"retry": 1.5}, TypeError),
        ({"max_queued": -1}, ValueError),
        ({"max_queued": 1.5}, TypeError),
        ({"max_queued": True}, TypeError),
        ({"headers": {"Content-Type": "text/plain"}}, ValueError),
        ({"headers": {"content-length": "5"}}, ValueError),
        ({"headers": {"Transfer-Encoding": "chunked"}}, ValueError),
        ({"headers": {"X": "a\r\nb"}}, ValueError),
        ({"headers": {"X": None}}, TypeError),
    ],
)
def test_arguments_that_cannot_be(arguments: dict[str, Any], error: type[Exception]) -> None:
    """Nothing has been sent then."""

    def handler(request: HTTPRequest) -> None:
        with pytest.raises(error):
            EventStream(request, **arguments)
        request.send_response("it can be answered still")

    with MemoryEngine() as engine:
        peer = engine.accept(HTTPServer(handler, engine=engine))
        peer.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert peer.received.endswith(b"it can be answered still")


def test_on_close_is_a_function() -> None:
    app = Streams()
    with visitor(app) as client:
        _, stream = opened(client, app)
        with pytest.raises(TypeError, match="on_close is a function"):
            stream.on_close = 5  # type: ignore[assignment]


def test_a_request_that_is_answered() -> None:
    def handler(request: HTTPRequest) -> None:
        request.send_response("")
        with pytest.raises(RuntimeError):
            EventStream(request)

    with MemoryEngine() as engine:
        engine.accept(HTTPServer(handler, engine=engine)).send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")


def test_an_event_that_cannot_be_sent_leaves_the_stream_as_it_is() -> None:
    app = Streams()
    with visitor(app) as client:
        peer, stream = opened(client, app)
        with pytest.raises(ValueError, match="line end"):
            stream.send("x", event="a\nb")
        stream.send("y")
        client.engine.advance()
        assert source(peer).events == [("message", "y", "")]


def test_no_stream_leaves_a_cycle() -> None:
    """DESIGN §7: its memory is given back when it is over, not when the garbage is collected."""
    app = Application()
    streams: list[EventStream] = []
    requests: list[weakref.ref[HTTPRequest]] = []

    @app.route("/")
    def view(request: HTTPRequest) -> None:
        requests.append(weakref.ref(request))
        streams.append(EventStream(request))

    gc.disable()
    try:
        with visitor(app) as someone:
            someone.begin("/")
            streams.pop().close()
            someone.engine.advance(1)
            assert requests[0]() is None
    finally:
        gc.enable()
