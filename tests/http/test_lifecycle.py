"""The life of an `HTTPServer` and its connections: how they end, what is counted, logged and let go, who takes over."""

from __future__ import annotations

import gc
import logging
import re
import socket
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from pants import Stream
from pants.http import AccessLog, Compression, HTTPConnection, HTTPRequest, HTTPServer, Limits, Refused
from pants.testing import run_until
from tests.http.support import CHUNKED, Handler, Site, get, post, site, take_apart

EXPECT = b"Expect: 100-continue"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
SMALL, LARGE = 1000, 1_000_000  # bodies that are dropped where nobody wants them, and that are not


def later(request: HTTPRequest) -> None:
    """A handler that answers later."""


def hello(request: HTTPRequest) -> None:
    request.send_response("Hello")


def the_connection(web: Site) -> HTTPConnection:
    """The one connection of a server."""
    [connection] = web.server.channels.values()
    assert isinstance(connection, HTTPConnection)
    return connection


# --- Arguments ------------------------------------------------------------------------------------------------------

BAD_ARGUMENTS: dict[str, tuple[type[Exception], dict[str, Any]]] = {
    "no handler": (TypeError, {"request_handler": None}),
    "a handler by name": (TypeError, {"request_handler": "hello"}),
    "a head_handler that is none": (TypeError, {"head_handler": 1}),
    "max_request as a str": (TypeError, {"max_request": "1"}),
    "max_request as a bool": (TypeError, {"max_request": True}),
    "max_request as a fraction": (TypeError, {"max_request": 1.5}),
    "max_request below 0": (ValueError, {"max_request": -1}),
    "limits as a dict": (TypeError, {"limits": {"header": 1}}),
    "an empty secret": (ValueError, {"cookie_secret": ""}),
    "no secrets": (ValueError, {"cookie_secret": []}),
    "an empty secret among others": (ValueError, {"cookie_secret": ["a", b""]}),
    "a secret that is a number": (TypeError, {"cookie_secret": 1}),
    "secrets that are numbers": (TypeError, {"cookie_secret": ["a", 1]}),
    "sendfile as a number": (TypeError, {"sendfile": 1}),
    "sendfile with a line end": (ValueError, {"sendfile": "X\r\nY"}),
    "sendfile that is no token": (ValueError, {"sendfile": "X Sendfile"}),
    "sendfile for the framing": (ValueError, {"sendfile": "Content-Length"}),
    "a prefix with a line end": (ValueError, {"sendfile": True, "sendfile_prefix": "/a\r\nX: y"}),
    "a prefix that is none": (TypeError, {"sendfile_prefix": 1}),
    "a root that is none": (TypeError, {"file_root": 1}),
    "an unknown name of a log": (ValueError, {"access_log": "%!"}),
    "a log that is none": (TypeError, {"access_log": 1}),
    "a log that is True": (TypeError, {"access_log": True}),
    "a coding as compression": (TypeError, {"compression": "gzip"}),
    "compression that is a number": (TypeError, {"compression": 9}),
    "methods as a str": (TypeError, {"refused_methods": "TRACE"}),
    "methods that are none": (TypeError, {"refused_methods": 1}),
    "a name that is none": (TypeError, {"server_name": 1}),
    "a name with a line end": (ValueError, {"server_name": "Pants\r\nX: y"}),
    "a name beyond Latin-1": (ValueError, {"server_name": "☃"}),
    "xheaders as a number": (TypeError, {"xheaders": 1}),
    "xheaders by one name": (TypeError, {"xheaders": "X-Real-IP"}),
    "xheaders that nobody knows": (ValueError, {"xheaders": ["X-No-Such"]}),
    "proxies as a str": (TypeError, {"xheaders": True, "trusted_proxies": "10.0.0.1"}),
    "proxies that are none": (ValueError, {"xheaders": True, "trusted_proxies": ["here"]}),
    "proxies for nothing": (ValueError, {"trusted_proxies": ["10.0.0.1"]}),
    "proxy_protocol as a list": (TypeError, {"proxy_protocol": ["10.0.0.1"]}),
    "an argument that nobody knows": (TypeError, {"no_such": 1}),
    "another class of connections": (TypeError, {"ConnectionClass": "HTTPConnection"}),
}


@pytest.mark.parametrize("name", BAD_ARGUMENTS)
def test_bad_arguments_raise_at_the_call(name: str) -> None:
    error, kwargs = BAD_ARGUMENTS[name]
    with pytest.raises(error):
        HTTPServer(**{"request_handler": hello, **kwargs})


@pytest.mark.parametrize(
    "kwargs",
    [
        {"max_request": 0},
        {"cookie_secret": b"a"},
        {"cookie_secret": ["a", b"b"]},
        {"sendfile": "X-Accel-Redirect", "sendfile_prefix": "/static/"},
        {"file_root": "/"},
        {"access_log": "%h"},
        {"access_log": AccessLog("common")},
        {"compression": Compression(min_size=0)},
        {"refused_methods": []},
        {"server_name": None},
        {"xheaders": ["X-Real-IP"]},
        {"xheaders": True, "trusted_proxies": ["10.0.0.0/8", "unix"]},
        {"limits": Limits(header_timeout=1)},
    ],
)
def test_good_arguments(kwargs: dict[str, Any]) -> None:
    with site(hello, **kwargs) as web:
        assert [one.content for one in web.ask(get())] == [b"Hello"]


# --- Shutting down --------------------------------------------------------------------------------------------------


class Down:
    """A server in memory that is about to be shut down."""

    def __init__(self, web: Site) -> None:
        self.web = web
        self.closed_at: list[float] = []
        original = web.server.on_close

        def on_close() -> None:
            self.closed_at.append(web.engine.now)
            original()

        web.server.on_close = on_close


def test_shutdown_of_a_server_without_connections() -> None:
    with site(hello) as web:
        down = Down(web)
        web.server.shutdown()
        assert down.closed_at == []  # never inside the call
        web.engine.advance()
        assert down.closed_at == [0]
        assert web.server.closed
        assert web.server.draining


def test_shutdown_closes_idle_connections_at_once() -> None:
    with site(hello) as web:
        down = Down(web)
        never, used = web.connect(), web.connect()
        used.send(get())
        web.server.shutdown()
        web.engine.advance()
        assert never.ended
        assert used.ended
        assert never.received == b""
        assert [one.content for one in take_apart(used.received)] == [b"Hello"]
        web.engine.advance(1)
        assert down.closed_at[0] < 0.2
        assert not web.server.channels


@pytest.mark.parametrize("chunk", [None, 1])
@pytest.mark.parametrize(
    "before, after",
    [
        (get(), b""),
        (get()[:1], get()[1:]),
        (get()[:-1], get()[-1:]),
        (post(b"abc")[:-3], b"abc"),
        (post(b"abc")[:-1], b"c"),
        (post(b"3\r\nab", CHUNKED), b"c\r\n0\r\n\r\n"),
        (post(b"", b"Content-Length: 3", EXPECT), b"abc"),
        (post(b"a" * (LARGE - 1), b"Content-Length: %d" % LARGE), b"a"),
        (get(b"Connection: keep-alive", line=b"GET / HTTP/1.0"), b""),
    ],
)
def test_shutdown_lets_requests_finish(before: bytes, after: bytes, chunk: int | None) -> None:
    """Those that run and those that are arriving are answered, and told that the connection closes (RFC 9112 §9.6)."""
    with site(later) as web:
        down = Down(web)
        peer = web.connect()
        peer.send(before)
        web.server.shutdown()
        web.engine.advance(1)
        assert not peer.ended
        assert not down.closed_at
        peer.send(after, chunk)
        [request] = web.requests
        web.engine.advance(1)
        request.send_response("done")
        web.engine.advance()
        [one] = take_apart(peer.received.removeprefix(CONTINUE))
        assert (one.content, one.headers["Connection"]) == (b"done", "close")
        assert peer.ended
        web.engine.advance(1)
        assert 2 <= down.closed_at[0] < 2.2


def test_shutdown_lets_an_answer_in_pieces_finish() -> None:
    """Its head has been sent, so that the client is not told in advance."""
    with site(later) as web:
        down = Down(web)
        peer = web.connect()
        peer.send(get())
        [request] = web.requests
        request.send("one, ")
        web.engine.advance()
        web.server.shutdown()
        web.engine.advance(5)
        request.send("two")
        request.finish()
        web.engine.advance()
        assert [one.content for one in take_apart(peer.received)] == [b"one, two"]
        assert peer.ended
        web.engine.advance(1)
        assert len(down.closed_at) == 1


def test_shutdown_lets_a_slow_client_take_its_answer() -> None:
    with site(lambda request: request.send_response(b"a" * 100_000)) as web:
        down = Down(web)
        peer = web.connect()
        peer.window = 10
        peer.send(get())
        web.server.shutdown()
        web.engine.advance(5)
        assert not down.closed_at
        peer.window = None
        web.engine.advance(1)
        assert [len(one.content) for one in take_apart(peer.received)] == [100_000]
        assert peer.ended
        assert len(down.closed_at) == 1


def test_shutdown_serves_nothing_behind_a_last_answer() -> None:
    """RFC 9112 §9.6: nothing is processed after "close" was sent."""
    with site(later) as web:
        Down(web)
        peer = web.connect()
        peer.send(get() + get())
        web.server.shutdown()
        web.requests[0].send_response("last")
        web.engine.advance(1)
        assert [one.headers["Connection"] for one in take_apart(peer.received)] == ["close"]
        assert len(web.requests) == 1
        assert web.server.closed


def test_shutdown_serves_what_has_arrived_behind_an_answer_that_had_begun() -> None:
    with site(later) as web:
        down = Down(web)
        peer = web.connect()
        peer.send(get() + get() + get())
        web.requests[0].send("one")
        web.server.shutdown()
        web.requests[0].finish()
        web.engine.advance()
        web.requests[1].send_response("two")
        web.engine.advance(1)
        answers = take_apart(peer.received)
        assert [one.content for one in answers] == [b"one", b"two"]
        assert answers[1].headers["Connection"] == "close"
        assert peer.ended
        assert len(down.closed_at) == 1


@pytest.mark.parametrize("timeout", [0, 0.0, 2.5, 30])
@pytest.mark.parametrize("phase", ["head", "body", "running", "answered in part", "slow"])
def test_the_deadline_of_shutdown_cuts_the_rest(phase: str, timeout: float) -> None:
    told: list[int] = []

    def head_handler(request: HTTPRequest) -> None:
        request.on_close = lambda: told.append(1)

    with site(later, head_handler=head_handler) as web:
        down = Down(web)
        peer = web.connect()
        peer.send({"head": post(b"abc")[:20], "body": post(b"abc")[:-1]}.get(phase, post(b"abc")))
        if phase == "answered in part":
            web.requests[0].send("a")
        elif phase == "slow":
            peer.window = 1
            web.requests[0].send(b"a" * 100_000)
        web.engine.advance()
        web.server.shutdown(timeout)
        if timeout:
            web.engine.advance(timeout - 0.1)
            assert not down.closed_at
            assert not peer.ended
        web.engine.advance(0.2)
        peer.window = None
        assert peer.ended
        assert len(down.closed_at) == 1
        assert not web.server.channels
        assert told == [1] * (phase != "head")


def test_shutdown_without_a_deadline() -> None:
    with site(later) as web:
        down = Down(web)
        peer = web.connect()
        peer.send(get())
        web.server.shutdown(None)
        web.engine.advance(500)
        assert not down.closed_at
        web.requests[0].send_response("done")
        web.engine.advance(1)
        assert peer.ended
        assert len(down.closed_at) == 1


def test_shutdown_by_default_waits_for_30_seconds() -> None:
    with site(later) as web:
        down = Down(web)
        web.connect().send(get())
        web.server.shutdown()
        web.engine.advance(29)
        assert not down.closed_at
        web.engine.advance(1.1)
        assert 30 <= down.closed_at[0] < 30.1


@pytest.mark.parametrize("behind", [0, 1])
def test_close_during_shutdown_is_immediate(behind: float) -> None:
    with site(later) as web:
        down = Down(web)
        peer = web.connect()
        peer.send(get())
        web.server.shutdown()
        web.engine.advance(behind)
        web.server.close()
        web.engine.advance()
        assert peer.ended
        assert down.closed_at == [behind]
        web.engine.advance(100)
        assert len(down.closed_at) == 1


def test_shutdown_twice() -> None:
    """The earlier deadline holds: it can be brought forward, not put off."""
    with site(later) as web:
        down = Down(web)
        web.connect().send(get())
        web.server.shutdown(5)
        web.engine.advance(1)
        web.server.shutdown(100)
        web.server.shutdown(2)
        web.server.shutdown(None)
        web.engine.advance(1.8)
        assert not down.closed_at
        web.engine.advance(0.4)
        assert len(down.closed_at) == 1
        web.server.shutdown()
        web.engine.advance(100)
        assert len(down.closed_at) == 1


def test_shutdown_of_a_closed_server() -> None:
    with site(hello) as web:
        down = Down(web)
        web.server.close()
        web.server.shutdown()
        web.engine.advance(1)
        assert len(down.closed_at) == 1


@pytest.mark.parametrize(
    "error, timeout",
    [(TypeError, "1"), (TypeError, True), (TypeError, [1]), (ValueError, -1), (ValueError, float("nan"))],
)
def test_a_bad_timeout_raises_at_the_call(error: type[Exception], timeout: Any) -> None:
    """And the server goes on."""
    with site(hello) as web:
        with pytest.raises(error, match="timeout"):
            web.server.shutdown(timeout)
        assert not web.server.draining
        assert [one.content for one in web.ask(get() + get())] == [b"Hello"] * 2


def test_shutdown_within_a_handler() -> None:
    def handler(request: HTTPRequest) -> None:
        web.server.shutdown()
        request.send_response("the last")

    with site(handler) as web:
        down = Down(web)
        peer = web.connect()
        peer.send(get() + get())
        web.engine.advance(1)
        [one] = take_apart(peer.received)
        assert (one.content, one.headers["Connection"]) == (b"the last", "close")
        assert peer.ended
        assert len(down.closed_at) == 1


def test_shutdown_within_a_handler_that_has_answered() -> None:
    def handler(request: HTTPRequest) -> None:
        request.send_response("the last")
        web.server.shutdown()

    with site(handler) as web:
        peer = web.connect()
        peer.send(get())
        web.engine.advance(1)
        assert [one.content for one in take_apart(peer.received)] == [b"the last"]
        assert peer.ended
        assert web.server.closed


def test_shutdown_cuts_connections_of_another_class_at_the_deadline() -> None:
    """What such a connection still owes, nobody knows."""
    with site(hello, ConnectionClass=Stream) as web:
        peer = web.connect()
        web.server.shutdown(5)
        web.engine.advance(4)
        assert not peer.ended
        web.engine.advance(2)
        assert peer.ended
        assert web.server.closed


def test_shutdown_cuts_a_protocol_that_has_taken_over_at_the_deadline() -> None:
    with site(lambda request: request.connection.take_over()) as web:
        peer = web.connect()
        peer.send(get())
        web.server.shutdown(5)
        web.engine.advance(4)
        assert not peer.ended
        web.engine.advance(2)
        assert peer.ended
        assert web.server.closed


# --- Counters -------------------------------------------------------------------------------------------------------


def test_connections_are_counted() -> None:
    with site(hello) as web:
        for expected in (1, 2, 3):
            peer = web.connect()
            peer.send(get() + get())
            peer.end()
            assert web.server.counters.connections == expected


def test_answers_are_counted_by_status() -> None:
    def handler(request: HTTPRequest) -> None:
        code = int(request.query)
        if code == 0:
            request.finish()
        elif code % 2:
            request.send_status(103)
            request.send_headers({"X": "y"})
            request.send_status(code)
            request.send("a")
            request.finish()
        else:
            request.send_response("a", code)

    with site(handler) as web:
        for code in (200, 200, 201, 204, 404, 404, 503, 0):
            web.ask(get(line=b"GET /?%d HTTP/1.1" % code))
        assert dict(web.server.counters.answers) == {200: 2, 201: 1, 204: 1, 404: 2, 503: 1, 0: 1}


def test_refusals_are_counted_by_status() -> None:
    with site(hello, max_request=10) as web:
        web.ask(get(b"Host: b"))
        web.ask(get(b"Host: b"))
        web.ask(post(b"", b"Content-Length: 11"))
        web.ask(get(line=b"TRACE / HTTP/1.1"))
        web.connect().send(b"GET")
        web.engine.advance(100)
        assert dict(web.server.counters.refused) == {400: 2, 413: 1, 501: 1, 408: 1}
        assert web.server.counters.failures == 0


def test_failures_are_counted(expect_log: Any) -> None:
    """Handlers that raised an exception; Refused is none."""
    expect_log("handler failed")

    def handler(request: HTTPRequest) -> None:
        if request.path == "/refused":
            raise Refused(400, "not so")
        if request.path != "/":
            1 / 0  # noqa: B018 - it raises
        request.send_response("a")

    with site(handler) as web:
        for path in (b"/", b"/bad", b"/refused", b"/worse"):
            web.ask(get(line=b"GET " + path + b" HTTP/1.1"))
        assert web.server.counters.failures == 2
        assert web.server.counters.answers[500] == 2


def test_slow_readers_are_counted() -> None:
    with site(lambda request: request.send_response(b"a" * 100_000)) as web:
        for _ in range(2):
            peer = web.connect()
            peer.window = 10
            peer.send(get())
        web.engine.advance(200)
        assert web.server.counters.slow_readers == 2


def test_want_of_descriptors_is_told_once_a_second(expect_log: Any) -> None:
    """Each request may meet it, and the log must not fill the rest of the disk."""
    expect_log("No space left")
    with site(hello) as web:
        for _ in range(3):
            web.server._note_shortage(OSError(28, "No space left on device"))
        assert len(expect_log.lines) == 1
        web.engine.advance(1)
        web.server._note_shortage(OSError(28, "No space left on device"))
        assert len(expect_log.lines) == 2


# --- Slow readers ---------------------------------------------------------------------------------------------------


def in_pieces(request: HTTPRequest) -> None:
    request.send(b"a" * 50_000)
    request.send(b"a" * 50_000)
    request.finish()


def unfinished(request: HTTPRequest) -> None:
    request.send(b"a" * 100_000)


@pytest.mark.parametrize("data", [get(), get(b"Connection: close"), get() + get(), post(b"abc")])
@pytest.mark.parametrize("handler", [in_pieces, unfinished, lambda request: request.send_response(b"a" * 100_000)])
def test_a_client_that_takes_nothing_is_cut_off(handler: Handler, data: bytes) -> None:
    """Limits.write_timeout."""
    with site(handler, limits=Limits(write_timeout=10)) as web:
        peer = web.connect()
        peer.window = 100
        peer.send(data)
        connection = web.requests[0].connection
        web.engine.advance(9)
        assert not connection.closed
        web.engine.advance(2)
        assert connection.closed
        assert web.server.counters.slow_readers == 1


@pytest.mark.parametrize("rate, cut", [(1100, False), (800, True)])
def test_a_client_has_to_take_so_much_a_second(rate: int, cut: bool) -> None:
    """Limits.write_rate."""
    with site(in_pieces, limits=Limits(write_timeout=10, write_rate=1000)) as web:
        peer = web.connect()
        peer.window = 0
        peer.send(get())
        connection = web.requests[0].connection
        for _ in range(50):
            peer.window = rate
            web.engine.advance(1)
        assert connection.closed is cut


def test_a_client_that_takes_what_comes_now_and_then_is_not_slow() -> None:
    """A stream of events may have long pauses."""
    with site(later, limits=Limits(write_timeout=10)) as web:
        peer = web.connect()
        peer.send(get())
        for _ in range(10):
            web.requests[0].send("event\n")
            web.engine.advance(100)
        web.requests[0].finish()
        web.engine.advance()
        assert [one.content for one in take_apart(peer.received)] == [b"event\n" * 10]
        assert not peer.ended


def test_a_client_that_becomes_slow_is_not_forgotten() -> None:
    """The time begins when it falls behind, and again each time."""
    with site(later, limits=Limits(write_timeout=10)) as web:
        peer = web.connect()
        peer.send(get())
        [request] = web.requests
        for _ in range(3):
            peer.window = 10
            request.send(b"a" * 100)
            web.engine.advance(9)
            peer.window = None
            web.engine.advance(5)
        peer.window = 10
        request.send(b"a" * 100)
        web.engine.advance(9)
        assert not request.connection.closed
        web.engine.advance(2)
        assert request.connection.closed


# --- Clients that end their side ------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 3, 40])
@pytest.mark.parametrize("handler", [hello, in_pieces])
def test_a_client_that_has_sent_all_gets_all(handler: Handler, count: int) -> None:
    """DESIGN: HTTP keeps answering what it owes; then it closes too."""
    with site(handler) as web:
        peer = web.connect()
        peer.window = 100
        peer.send(get() * count)
        peer.end()
        peer.window = None
        web.engine.advance()
        assert len(take_apart(peer.received)) == count
        assert peer.ended


def test_a_client_that_ends_during_an_answer_in_pieces() -> None:
    with site(later) as web:
        peer = web.connect()
        peer.send(get())
        web.requests[0].send("one")
        peer.end()
        web.requests[0].send("two")
        web.requests[0].finish()
        web.engine.advance()
        assert [one.content for one in take_apart(peer.received)] == [b"onetwo"]
        assert peer.ended


# --- Answers before the body ------------------------------------------------------------------------------------------


def answer_early(request: HTTPRequest) -> None:
    request.send_response("early")


def answer_early_in_pieces(request: HTTPRequest) -> None:
    request.send("ear")
    request.send("ly")
    request.finish()


def answer_early_with_length(request: HTTPRequest) -> None:
    request.send_status(200)
    request.send_headers({"Content-Length": 5})
    request.send("early")
    request.finish()


EARLY = [answer_early, answer_early_in_pieces, answer_early_with_length]


@pytest.mark.parametrize("cut", [None, 1, 100])
@pytest.mark.parametrize("handler", EARLY)
def test_behind_an_early_answer_a_small_body_is_dropped(handler: Handler, cut: int | None) -> None:
    """DESIGN: `finish()` drops up to 64 KiB of unread body. What looks like a request in it is none."""
    body = get().ljust(SMALL)
    with site(hello, head_handler=handler) as web:
        answers = web.ask(post(body) + get() + post(body) + get(), chunk=cut)
        assert [one.content for one in answers] == [b"early", b"Hello", b"early", b"Hello"]
        assert [request.method for request in web.requests] == ["GET", "GET"]


@pytest.mark.parametrize("handler", EARLY)
def test_behind_an_early_answer_a_large_body_is_not_waited_for(handler: Handler) -> None:
    """DESIGN: else closes. RFC 9112 §9.6: the client is told."""
    with site(hello, head_handler=handler) as web:
        peer = web.connect()
        peer.send(post(b"", b"Content-Length: %d" % LARGE))
        [one] = take_apart(peer.received)
        assert (one.content, one.headers["Connection"]) == (b"early", "close")
        assert peer.ended
        assert web.requests == []


@pytest.mark.parametrize("handler", EARLY)
@pytest.mark.parametrize("fields", [(b"Content-Length: %d" % SMALL, EXPECT), (CHUNKED, EXPECT)])
def test_behind_an_early_answer_a_client_that_waits_need_not_go_on(handler: Handler, fields: tuple[bytes, ...]) -> None:
    """RFC 9110 §10.1.1: a final answer instead of 100. Nobody knows whether the body comes, hence the close."""
    with site(hello, head_handler=handler) as web:
        peer = web.connect()
        peer.send(post(b"", *fields))
        [one] = take_apart(peer.received)
        assert (one.status, one.content, one.headers["Connection"]) == (200, b"early", "close")
        assert peer.ended


@pytest.mark.parametrize("handler", EARLY)
def test_an_early_answer_to_chunks_closes(handler: Handler) -> None:
    """How much is left of them nobody knows."""
    with site(hello, head_handler=handler) as web:
        peer = web.connect()
        peer.send(post(b"1\r\na\r\n", CHUNKED))
        [one] = take_apart(peer.received)
        assert (one.content, one.headers["Connection"]) == (b"early", "close")
        assert peer.ended


def test_a_head_handler_may_refuse_or_fail(expect_log: Any) -> None:
    expect_log("ZeroDivisionError")

    def head_handler(request: HTTPRequest) -> None:
        if request.path == "/refused":
            raise Refused(415, "not so")
        1 / 0  # noqa: B018 - it raises

    with site(hello, head_handler=head_handler) as web:
        data = post(b"abc").replace(b" / ", b" /refused ", 1) + post(b"abc") + get()
        assert [one.status for one in web.ask(data)] == [415, 500, 200]


@pytest.mark.parametrize("fields", [(b"Content-Length: 11",), (b"Content-Length: 11", EXPECT)])
def test_a_body_may_be_judged_after_a_pause(fields: tuple[bytes, ...]) -> None:
    """The program asks somebody else how much this client may send."""
    heads: list[HTTPRequest] = []

    def head_handler(request: HTTPRequest) -> None:
        request.pause_body()
        heads.append(request)

    with site(hello, head_handler=head_handler) as web:
        peer = web.connect()
        peer.send(post(b"", *fields))
        heads[0].max_body = 10
        heads[0].resume_body()
        web.engine.advance()
        assert [one.status for one in take_apart(peer.received)] == [413]
        assert peer.ended
        assert web.server.counters.refused == {413: 1}
        assert web.requests == []


def test_a_program_may_lose_interest_in_a_body() -> None:
    """``on_data`` is taken away in the middle: the rest is neither passed on nor kept."""
    pieces: list[bytes] = []

    def head_handler(request: HTTPRequest) -> None:
        def first(data: bytes) -> None:
            pieces.append(data)
            request.on_data = None

        request.on_data = first

    with site(hello, head_handler=head_handler) as web:
        assert [one.content for one in web.ask(post(b"abc"), chunk=1)] == [b"Hello"]
        assert pieces == [b"a"]
        assert web.requests[0].body == b""


def test_an_answer_that_the_head_handler_gives_later() -> None:
    """Before the body is there, after it has returned."""
    for size, keeps in ((SMALL, True), (LARGE, False)):
        early: list[HTTPRequest] = []
        with site(hello, head_handler=early.append) as web:
            peer = web.connect()
            peer.send(post(b"a", b"Content-Length: %d" % size))
            early[0].send_response("early")
            web.engine.advance()
            [one] = take_apart(peer.take())
            assert one.content == b"early"
            assert (one.headers["Connection"] is None) is keeps
            assert peer.ended is not keeps
            if keeps:
                peer.send(b"a" * (size - 1) + get())
                assert [one.content for one in take_apart(peer.received)] == [b"Hello"]


# --- Another protocol -------------------------------------------------------------------------------------------------


class Upgraded(HTTPConnection):
    """A connection that speaks something else after ``GET /up``: it sends back what it gets, in capitals."""

    pieces: list[bytes]
    ends: list[str]
    delimiter: Any = None

    def upgrade(self) -> None:
        self.pieces, self.ends = [], []
        request = self.current_request
        assert request is not None
        request.send_status(101)
        request.send_headers({"Connection": "upgrade", "Upgrade": "shout"})
        self.take_over()
        self.upgraded = True
        self.read_delimiter = self.delimiter

    upgraded = False

    def on_read(self, data: bytes) -> None:
        if not self.upgraded:
            super().on_read(data)
            return
        self.pieces.append(data)
        self.write(data.upper())

    def on_end(self) -> None:
        if self.upgraded:
            self.ends.append("end")
        super().on_end()

    def on_close(self) -> None:
        if self.upgraded:
            self.ends.append("close")
        super().on_close()


UPGRADE = get(b"Connection: upgrade", b"Upgrade: shout", line=b"GET /up HTTP/1.1")


def shouting(web_class: type[Upgraded] = Upgraded, answers: str = "at once") -> Any:
    """A site whose handler upgrades, at once or when `upgrade` is called."""

    def handler(request: HTTPRequest) -> None:
        if request.path != "/up":
            request.send_response("Hello")
        elif answers == "at once":
            assert isinstance(request.connection, Upgraded)
            request.connection.upgrade()

    return site(handler, ConnectionClass=web_class)


class Lines(Upgraded):
    """The same, with lines."""

    delimiter = b"\n"


@pytest.mark.parametrize("answers", ["at once", "later", "later, from a callback"])
@pytest.mark.parametrize("chunk", [None, 1])
@pytest.mark.parametrize("before", [b"", get()])
@pytest.mark.parametrize("behind", [b"", b"spam\neggs\nha", get() + b"\n", b"\r\n\r\n\n"])
@pytest.mark.parametrize("web_class", [Upgraded, Lines])
def test_what_arrives_behind_the_request_is_for_the_other_protocol(
    web_class: type[Upgraded], behind: bytes, before: bytes, chunk: int | None, answers: str
) -> None:
    """RFC 9110 §7.8: the new protocol begins right behind the head."""
    with shouting(web_class, answers) as web:
        peer = web.connect()
        peer.send(before + UPGRADE + behind, chunk)
        connection = the_connection(web)
        assert isinstance(connection, Upgraded)
        if answers != "at once":
            assert not connection.upgraded
            connection.upgrade() if answers == "later" else web.engine.callback(connection.upgrade)
            web.engine.advance()
        peer.send(b"m\n")
        data = behind + b"m\n"
        if web_class is Lines:
            assert connection.pieces == data.split(b"\n")[:-1]
            data = data.replace(b"\n", b"")
        assert b"".join(connection.pieces) == data
        assert peer.received.count(b"HTTP/1.1 101") == 1
        assert peer.received.endswith(b"\r\n\r\n" + data.upper())
        assert len(web.requests) == 1 + bool(before)
        assert connection.idle_timeout is None
        web.engine.advance(10_000)
        assert not peer.ended


def test_much_behind_the_request_is_for_the_other_protocol_too() -> None:
    """More than is held back before reading is paused."""
    with shouting(answers="later") as web:
        peer = web.connect()
        data = b"spam" * 100_000
        peer.send(UPGRADE + data)
        connection = the_connection(web)
        assert isinstance(connection, Upgraded)
        connection.upgrade()
        web.engine.advance()
        assert b"".join(connection.pieces) == data
        peer.send(b"eggs")
        assert connection.pieces[-1] == b"eggs"


def test_what_arrives_between_the_two_comes_in_order() -> None:
    with shouting(answers="later") as web:
        peer = web.connect()
        peer.send(UPGRADE + b"one")
        connection = the_connection(web)
        assert isinstance(connection, Upgraded)

        def both() -> None:
            connection.upgrade()
            peer.send(b"two")

        web.engine.callback(both)
        web.engine.advance()
        assert b"".join(connection.pieces) == b"onetwo"


@pytest.mark.parametrize("behind", [b"", b"spam", get(), post(b"abc")])
@pytest.mark.parametrize("finishes", [False, True])
@pytest.mark.parametrize("when", ["in the handler", "later"])
def test_the_instance_can_take_over(when: str, finishes: bool, behind: bytes) -> None:
    """``on_read`` is overridden in a subclass or on the instance; the request may be finished or not."""
    pieces: list[bytes] = []

    def upgrade(request: HTTPRequest) -> None:
        request.send_status(101)
        request.send_headers({"Connection": "upgrade", "Upgrade": "x"})
        request.connection.on_read = pieces.append  # type: ignore[assignment]
        request.connection.take_over()
        if finishes:
            request.finish()

    with site(upgrade if when == "in the handler" else later) as web:
        peer = web.connect()
        peer.send(UPGRADE + behind)
        if when == "later":
            upgrade(web.requests[0])
            web.engine.advance()
        peer.send(get())
        assert b"".join(pieces) == behind + get()
        assert len(web.requests) == 1
        assert not peer.ended
        assert peer.received.count(b"HTTP/1.1") == 1


def test_a_protocol_may_follow_a_request_with_a_body() -> None:
    pieces: list[bytes] = []

    def handler(request: HTTPRequest) -> None:
        assert request.body == b"abc"
        request.connection.on_read = pieces.append  # type: ignore[assignment]
        request.connection.take_over()

    with site(handler) as web:
        peer = web.connect()
        peer.send(post(b"abc") + b"behind")
        peer.send(b"more")
        assert b"".join(pieces) == b"behindmore"


def test_taking_over_needs_a_request() -> None:
    with site(hello) as web:
        peer = web.connect()
        connection = the_connection(web)
        with pytest.raises(RuntimeError, match="take_over"):
            connection.take_over()
        peer.send(get())
        with pytest.raises(RuntimeError, match="take_over"):
            connection.take_over()
        peer.send(get())
        assert len(web.requests) == 2


def test_taking_over_needs_the_body() -> None:
    raised: list[int] = []

    def head_handler(request: HTTPRequest) -> None:
        with pytest.raises(RuntimeError, match="take_over"):
            request.connection.take_over()
        raised.append(1)

    with site(hello, head_handler=head_handler) as web:
        assert [one.content for one in web.ask(post(b"abc"))] == [b"Hello"]
        assert raised == [1]


def test_a_connection_that_has_closed_cannot_be_taken_over() -> None:
    with site(later) as web:
        peer = web.connect()
        peer.send(get())
        connection = web.requests[0].connection
        peer.reset()
        with pytest.raises(RuntimeError, match="take_over"):
            connection.take_over()


def test_the_ends_of_a_protocol_that_has_taken_over() -> None:
    """`on_end` and `on_close` are for the subclass too."""
    with shouting() as web:
        peer = web.connect()
        peer.send(UPGRADE + b"a")
        connection = the_connection(web)
        assert isinstance(connection, Upgraded)
        peer.end()
        web.engine.advance()
        assert connection.ends[0] == "end"
        connection.close()
        web.engine.advance()
        assert connection.ends == ["end", "close"]
        assert connection.pieces == [b"a"]


def test_a_client_that_has_ended_before_the_upgrade() -> None:
    """The other protocol is told that, behind what has arrived."""
    for behind in (b"", b"spam"):
        with shouting(answers="later") as web:
            peer = web.connect()
            peer.send(UPGRADE + behind)
            peer.end()
            connection = the_connection(web)
            assert isinstance(connection, Upgraded)
            connection.upgrade()
            web.engine.advance()
            assert connection.ends == ["end", "close"]
            assert b"".join(connection.pieces) == behind
            assert peer.ended
            assert peer.received.endswith(b"\r\n\r\n" + behind.upper())


def test_a_connection_that_is_closed_right_after_the_upgrade() -> None:
    with shouting(answers="later") as web:
        peer = web.connect()
        peer.send(UPGRADE + b"spam")
        connection = the_connection(web)
        assert isinstance(connection, Upgraded)
        connection.upgrade()
        connection.close()
        web.engine.advance()
        assert connection.pieces == []
        assert connection.ends == ["close"]
        assert peer.ended


@pytest.mark.parametrize("behind", [b"", b"spam"])
def test_a_client_that_is_slow_when_the_upgrade_comes(behind: bytes) -> None:
    """HTTP watches it, and reads nothing; the other protocol begins anew."""
    with shouting(answers="later") as web:
        peer = web.connect()
        peer.window = 1
        peer.send(UPGRADE + behind)
        connection = the_connection(web)
        assert isinstance(connection, Upgraded)
        request = web.requests[0]
        request.send_status(103)
        request.send_headers({"Link": "</a>"})
        web.engine.advance(10)
        connection.upgrade()
        web.engine.advance(1000)
        peer.send(b"eggs")
        assert b"".join(connection.pieces) == behind + b"eggs"
        peer.window = None
        web.engine.advance()
        peer.send(b"ham")
        assert peer.received.endswith((behind + b"eggsham").upper())
        assert web.server.counters.slow_readers == 0


def test_a_client_that_goes_right_after_the_upgrade() -> None:
    with shouting(answers="later") as web:
        peer = web.connect()
        peer.send(UPGRADE + b"a")
        connection = the_connection(web)
        assert isinstance(connection, Upgraded)
        connection.upgrade()
        peer.reset()
        web.engine.advance()
        assert connection.closed
        assert connection.pieces in ([], [b"a"])


@pytest.mark.parametrize("window", [10, 100_000])
def test_a_slow_client_of_another_protocol_is_not_cut_off(window: int) -> None:
    """The deadline for answers is HTTP's, and so is that nothing is read from a client that takes nothing."""
    with shouting(answers="later") as web:
        peer = web.connect()
        peer.window = window
        peer.send(UPGRADE + b"spam")
        connection = the_connection(web)
        assert isinstance(connection, Upgraded)
        connection.upgrade()
        web.engine.advance(10)
        connection.write(b"a" * 3_000_000)
        web.engine.advance(1000)
        assert not connection.closed
        peer.send(b"eggs")
        assert connection.pieces[-1] == b"eggs"
        peer.window = None
        web.engine.advance()
        assert peer.received.endswith(b"EGGS")
        assert web.server.counters.slow_readers == 0


def test_a_client_of_another_protocol_that_has_gone_is_not_kept() -> None:
    """Nothing else would close the connection, where the subclass has no `on_end` of its own."""
    with site(taking_over) as web:
        peer = web.connect()
        peer.send(get())
        peer.end()
        web.engine.advance()
        assert peer.ended
        assert not web.server.channels


def test_a_client_that_did_not_take_the_answer_before() -> None:
    """Reading was paused for that, and is not any more."""

    def handler(request: HTTPRequest) -> None:
        if request.path == "/up":
            assert isinstance(request.connection, Upgraded)
            request.connection.upgrade()
        else:
            request.send_response(b"a" * 100_000)

    with site(handler, ConnectionClass=Upgraded) as web:
        peer = web.connect()
        peer.window = 10
        peer.send(get() + UPGRADE + b"spam")
        peer.window = None
        web.engine.advance()
        peer.send(b"eggs")
        assert peer.received.endswith(b"SPAMEGGS")


# --- Nothing is left --------------------------------------------------------------------------------------------------


def finishing(request: HTTPRequest) -> None:
    request.send_status(103)
    request.send_headers({"X": "y"})
    request.cookies_out["a"] = "b"
    request.set_secure_cookie("c", "d")
    request.send("abc")
    request.finish()


def broken(request: HTTPRequest) -> None:
    request.send_headers({"Content-Length": 10})
    request.send("abc")


def taking_over(request: HTTPRequest) -> None:
    request.connection.take_over()


def refusing(request: HTTPRequest) -> None:
    raise Refused(422, "not so")


@pytest.mark.parametrize("data", [get(), post(b"abc"), post(b"3\r\nabc\r\n0\r\n\r\n", CHUNKED), get() + get() + b"GET"])
@pytest.mark.parametrize("handler", [hello, finishing, broken, taking_over, refusing, later])
def test_nothing_is_left_of_a_connection(handler: Handler, data: bytes) -> None:
    """DESIGN §7: no cycle keeps a connection or its requests, so that they go at once, by their reference counts."""
    gc.collect()
    gc.disable()
    try:
        with site(handler, cookie_secret="a", compression=True, access_log="common") as web:
            peer = web.connect()
            connection = weakref.ref(the_connection(web))
            peer.send(data)
            requests = [weakref.ref(request) for request in web.requests]
            assert requests
            web.requests.clear()
            if not peer.ended:
                peer.reset()
            web.engine.advance(200)
            assert connection() is None
            assert [request() for request in requests] == [None] * len(requests)
    finally:
        gc.enable()


def test_nothing_is_left_of_a_server() -> None:
    gc.collect()
    gc.disable()
    try:
        with site(hello) as web:
            server = weakref.ref(web.server)
            peer = web.connect()
            peer.send(get())
            web.server.shutdown()
            web.engine.advance(1)
            web.requests.clear()
            del web.server
            web.engine.advance(1)
            assert server() is None
    finally:
        gc.enable()


def test_no_timer_is_left_of_a_connection() -> None:
    """A server with many connections that come and go must not collect timers."""
    with site(later) as web:
        for _ in range(10):
            peer = web.connect()
            peer.send(post(b"abc")[:-1])
            peer.send(b"c")
            peer.reset()
        web.engine.advance()
        assert web.engine.time_to_timer() is None


# --- The access log ---------------------------------------------------------------------------------------------------


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """The lines of the access log so far."""
    caplog.set_level(logging.INFO, "pants.http.access")
    return lambda: [record.getMessage() for record in caplog.records if record.name == "pants.http.access"]


COMBINED = re.compile(
    r"192\.0\.2\.1 - - \[\d\d/\w{3}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\] "
    r'"(?P<line>[^"]*)" (?P<status>\d{3}|-) (?P<size>\d+|-) "(?P<referer>[^"]*)" "(?P<agent>[^"]*)"'
)


def logged(lines: list[str]) -> list[tuple[str, str, str]]:
    """What lines in the format "combined" tell: the request line, the status, the size."""
    found = [COMBINED.fullmatch(line) for line in lines]
    assert None not in found, lines
    return [(match["line"], match["status"], match["size"]) for match in found if match]


def test_each_answer_is_logged(lines: Callable[[], list[str]]) -> None:
    def handler(request: HTTPRequest) -> None:
        if request.path == "/pieces":
            finishing(request)
        elif request.path == "/none":
            request.send_response("", 204)
        elif request.path == "/later":
            return
        else:
            request.send_response("Hello", headers={"X": "y"} if request.path == "/fields" else {})

    with site(handler, access_log="combined", cookie_secret="a") as web:
        for path in (b"/", b"/fields", b"/pieces", b"/none", b"/?a"):
            web.ask(get(line=b"GET " + path + b" HTTP/1.1"))
        web.ask(get(line=b"HEAD / HTTP/1.1"), "HEAD")
        peer = web.connect()
        peer.send(get(line=b"GET /later HTTP/1.1") + post(b"abc"))
        assert len(lines()) == 6
        web.requests[-1].send_response("later")
        web.engine.advance()
        assert logged(lines()) == [
            ("GET / HTTP/1.1", "200", "5"),
            ("GET /fields HTTP/1.1", "200", "5"),
            ("GET /pieces HTTP/1.1", "200", "3"),
            ("GET /none HTTP/1.1", "204", "-"),
            ("GET /?a HTTP/1.1", "200", "5"),
            ("HEAD / HTTP/1.1", "200", "-"),
            ("GET /later HTTP/1.1", "200", "5"),
            ("POST / HTTP/1.1", "200", "5"),
        ]


def test_who_asks_is_logged(lines: Callable[[], list[str]]) -> None:
    with site(hello, access_log="combined") as web:
        web.ask(get(b"Referer: http://a/", b'User-Agent: a "b"'))
        assert lines()[0].endswith(r'"http://a/" "a \"b\""')


def test_each_refusal_is_logged(lines: Callable[[], list[str]]) -> None:
    """Of what is malformed there may be no request line to tell."""
    with site(hello, access_log="combined", max_request=10) as web:
        web.ask(get(b"Host: b"))
        web.ask(post(b"", b"Content-Length: 11"))
        web.ask(post(b"x", CHUNKED))
        web.connect().send(b"GET /slow")
        web.engine.advance(100)
        found = logged(lines())
        assert [status for _, status, _ in found] == ["400", "413", "400", "408"]
        assert [line for line, _, _ in found][1:3] == ["POST / HTTP/1.1"] * 2


def test_each_broken_connection_is_logged(lines: Callable[[], list[str]]) -> None:
    """Once, though the program may answer later; what never asked for anything is no line."""
    with site(later, access_log="combined") as web:
        for data in (b"", b"GET /", get(), post(b"abc")[:-1], get()):
            peer = web.connect()
            peer.send(data)
            if web.requests and len(web.requests) == 2:
                web.requests[-1].send("abc")
                web.engine.advance()
            peer.reset()
        assert logged(lines()) == [
            ("GET / HTTP/1.1", "-", "-"),
            ("POST / HTTP/1.1", "-", "-"),
            ("GET / HTTP/1.1", "200", "3"),
        ]
        for request in web.requests:
            request.finish()
        assert len(lines()) == 3


def test_what_was_finished_without_an_answer_is_logged(lines: Callable[[], list[str]]) -> None:
    with site(lambda request: request.finish(), access_log="combined") as web:
        web.ask(get())
        assert logged(lines()) == [("GET / HTTP/1.1", "-", "-")]


def test_what_failed_is_logged(lines: Callable[[], list[str]], expect_log: Any) -> None:
    expect_log(r"less than its|handler failed")

    def handler(request: HTTPRequest) -> None:
        if request.path == "/short":
            broken(request)
            request.finish()
        elif request.path == "/middle":
            request.send("ab")
            1 / 0  # noqa: B018 - it raises
        elif request.path == "/refused":
            refusing(request)
        else:
            1 / 0  # noqa: B018 - it raises

    with site(handler, access_log="combined") as web:
        for path in (b"/short", b"/middle", b"/refused", b"/"):
            peer = web.connect()
            peer.send(get(line=b"GET " + path + b" HTTP/1.1"))
            web.engine.advance()
        found = logged(lines())
        assert [(line.split()[1], status) for line, status, _ in found] == [
            ("/short", "200"),
            ("/middle", "200"),
            ("/refused", "422"),
            ("/", "500"),
        ]


def test_without_an_access_log_nothing_is_logged(lines: Callable[[], list[str]]) -> None:
    with site(hello) as web:
        web.ask(get() + get(b"Host: b"))
        assert lines() == []


# --- Real sockets -----------------------------------------------------------------------------------------------------


class Client(Stream):
    """A client that writes down what it receives."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.received = b""

    def on_read(self, data: bytes) -> None:
        self.received += data

    def on_end(self) -> None:
        self.close()


def connected(server: HTTPServer) -> Client:
    client = Client().connect(server.local_address)
    run_until(lambda: client.connected)
    return client


def test_shutdown_over_tcp() -> None:
    """No connection is accepted any more; what runs is answered, and then the server is closed."""
    requests: list[HTTPRequest] = []
    server = HTTPServer(requests.append).listen(("127.0.0.1", 0))
    idle, busy = connected(server), connected(server)
    busy.write(get())
    run_until(lambda: requests)
    server.shutdown()
    with socket.socket() as late:
        late.settimeout(5)
        with pytest.raises(OSError):
            late.connect(server.local_address)
    run_until(lambda: idle.closed)
    assert not server.closed
    requests[0].send_response("done")
    run_until(lambda: busy.closed and server.closed)
    [one] = take_apart(busy.received)
    assert (one.content, one.headers["Connection"]) == (b"done", "close")


def test_the_deadline_over_tcp() -> None:
    requests: list[HTTPRequest] = []
    server = HTTPServer(requests.append).listen(("127.0.0.1", 0))
    busy = connected(server)
    busy.write(get())
    run_until(lambda: requests)
    server.shutdown(0.1)
    run_until(lambda: busy.closed and server.closed)
    assert busy.received == b""


def test_another_protocol_over_tcp() -> None:
    def handler(request: HTTPRequest) -> None:
        assert isinstance(request.connection, Upgraded)
        request.connection.upgrade()

    server = HTTPServer(handler, ConnectionClass=Upgraded).listen(("127.0.0.1", 0))
    client = connected(server)
    client.write(UPGRADE + b"spam")
    run_until(lambda: client.received.endswith(b"SPAM"))
    client.write(b"eggs")
    run_until(lambda: client.received.endswith(b"SPAMEGGS"))
    client.close()
    run_until(lambda: not server.channels)
    server.close()
    run_until(lambda: server.closed)


def test_a_half_closing_client_over_tcp() -> None:
    requests: list[HTTPRequest] = []
    server = HTTPServer(requests.append).listen(("127.0.0.1", 0))
    with socket.create_connection(server.local_address) as client:
        client.sendall(get() + get())
        client.shutdown(socket.SHUT_WR)
        run_until(lambda: len(requests) == 1)
        requests[0].send_response("1")
        run_until(lambda: len(requests) == 2)
        requests[1].send_response("2")
        run_until(lambda: not server.channels)
        client.settimeout(5)
        data = b""
        while piece := client.recv(65536):
            data += piece
    assert [one.content for one in take_apart(data)] == [b"1", b"2"]
    server.close()
