"""Requests that are looked at before their body arrives, and bodies that are taken as they come (head_handler)."""

from __future__ import annotations

import contextlib
import http.client
import random
import ssl
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import trustme
from hypothesis import given, settings
from hypothesis import strategies as st

from pants import Engine, Stream
from pants.http import HTTPRequest, HTTPServer, Limits, Refused
from pants.testing import Peer, run_until
from tests.core.support import client_of, fill, pattern, turns
from tests.http.support import CHUNKED, Handler, Site, get, post, site, take_apart

EXPECT = b"Expect: 100-continue"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
LARGE = 100_000  # more than is dropped where nobody wants it


class Taker:
    """Takes bodies as they come, and writes down what happens in which order."""

    def __init__(self, pause: bool = False) -> None:
        self.pieces: list[bytes] = []
        self.events: list[str] = []
        self.requests: list[HTTPRequest] = []
        self.pause = pause

    def on_head(self, request: HTTPRequest) -> None:
        self.events.append(f"head {request.path}")
        self.requests.append(request)
        request.on_data = self.on_data
        request.on_close = lambda: self.events.append("close")
        if self.pause:
            request.pause_body()

    def on_data(self, data: bytes) -> None:
        if not self.events[-1].startswith("data"):
            self.events.append("data")
        self.pieces.append(data)

    def handle(self, request: HTTPRequest) -> None:
        self.events.append(f"handle {request.path}")
        request.send_response(f"{len(self.data)}")

    @property
    def data(self) -> bytes:
        return b"".join(self.pieces)


@contextlib.contextmanager
def taking(handler: Handler | None = None, pause: bool = False, **kwargs: Any) -> Iterator[tuple[Site, Taker]]:
    """A server whose requests are taken by a `Taker`."""
    taker = Taker(pause)
    with site(handler or taker.handle, head_handler=taker.on_head, **kwargs) as web:
        yield web, taker


def in_chunks(data: bytes, size: int = 1000) -> bytes:
    """A body as RFC 9112 §7.1 has it."""
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def send(body: bytes, *fields: bytes, chunked: bool = False, path: bytes = b"/", protocol: bytes = b"1.1") -> bytes:
    """A request with a body of either framing."""
    framing = CHUNKED if chunked else b"Content-Length: %d" % len(body)
    line = b"POST %b HTTP/%b" % (path, protocol)
    return get(framing, *fields, line=line) + (in_chunks(body) if chunked else body)


def statuses(data: bytes) -> list[int]:
    return [answer.status for answer in take_apart(data)]


both_framings = pytest.mark.parametrize("chunked", [False, True])


# --- The head ---------------------------------------------------------------------------------------------------


@both_framings
def test_the_head_comes_before_the_body(chunked: bool) -> None:
    """`HTTPServer`: head_handler: called with each request that has a body, before that arrives."""
    seen: list[Any] = []

    def head_handler(request: HTTPRequest) -> None:
        assert request.connection.current_request is request
        seen.append((request.method, request.url, request.headers["X"], request.remote_ip, request.get))

    with site(head_handler=head_handler) as web:
        peer = web.connect()
        data = send(b"abc", b"X: y", chunked=chunked, path=b"/a?b=c")
        head = data.index(b"\r\n\r\n") + 4
        peer.send(data[:head])
        assert seen == [("POST", "/a?b=c", "y", "192.0.2.1", {"b": ["c"]})]
        assert not web.requests
        peer.send(data[head:])
        assert len(seen) == 1
        assert [request.body for request in web.requests] == [b"abc"]


@pytest.mark.parametrize(
    "data", [get(), post(b"", b"Content-Length: 0"), post(b"", b"X: no length"), get(line=b"OPTIONS * HTTP/1.1")]
)
def test_a_request_without_a_body_is_not_shown_in_advance(data: bytes) -> None:
    with taking() as (web, taker):
        web.connect().send(data)
        assert len(web.requests) == 1
        assert not [event for event in taker.events if event.startswith("head")]


@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"PUT", b"PATCH", b"DELETE", b"OPTIONS"])
@both_framings
def test_any_method_may_have_a_body(method: bytes, chunked: bool) -> None:
    """RFC 9110 §9.3: some have no use for it, but its framing does not depend on the method (RFC 9112 §6.3)."""
    with taking() as (web, taker):
        web.connect().send(send(b"abc", chunked=chunked).replace(b"POST", method, 1) + get(line=b"GET /2 HTTP/1.1"))
        assert taker.events == ["head /", "data", "handle /", "handle /2"]
        assert taker.data == b"abc"


def test_the_request_is_the_same_one() -> None:
    """It takes attributes (DESIGN §3), for the handler to find."""

    def head_handler(request: HTTPRequest) -> None:
        request.user = "spam"  # type: ignore[attr-defined]

    with site(head_handler=head_handler) as web:
        web.ask(send(b"abc"))
        assert web.requests[0].user == "spam"  # type: ignore[attr-defined]


@both_framings
@pytest.mark.parametrize(
    "max_request, max_body, size, status",
    [
        (10, None, 10, 200),
        (10, None, 11, 413),
        (10, 20, 20, 200),
        (10, 20, 21, 413),
        (10, 5, 5, 200),
        (10, 5, 6, 413),
        (10, 0, 1, 413),
        (0, 5, 5, 200),
    ],
)
@pytest.mark.parametrize("taken", [False, True])
def test_max_body(max_request: int, max_body: int | None, size: int, status: int, chunked: bool, taken: bool) -> None:
    """`HTTPRequest.max_body`: the longest body to take of this request, in bytes, instead of max_request."""
    taker = Taker()

    def head_handler(request: HTTPRequest) -> None:
        if taken:
            taker.on_head(request)
        if request.path == "/":
            request.max_body = max_body

    with site(head_handler=head_handler, max_request=max_request) as web:
        answers = web.ask(send(b"a" * size, chunked=chunked))
        assert [answer.status for answer in answers] == [status]
        assert len(web.requests) == (status == 200)
        assert len(taker.data) <= (size if max_body is None else max_body)
        if status == 413:
            assert answers[0].headers["Connection"] == "close"
        # It was for that request only.
        assert [answer.status for answer in web.ask(send(b"a" * (max_request + 1), path=b"/next"))] == [413]


# --- The body, as it comes --------------------------------------------------------------------------------------


@both_framings
@pytest.mark.parametrize("size", [1, 1000, 300_000])
@pytest.mark.parametrize("cut", [None, 7, 10_000])
def test_pieces_come_in_order_and_the_handler_behind_them(chunked: bool, size: int, cut: int | None) -> None:
    """`HTTPRequest.on_data`: called with each piece as it arrives; request_handler behind the last."""
    if size == 300_000 and cut == 7:
        cut = 70_001
    with taking() as (web, taker):
        [answer] = web.ask(send(pattern(size), chunked=chunked), chunk=cut)
        assert taker.data == pattern(size)
        assert all(type(piece) is bytes and piece for piece in taker.pieces)
        assert taker.events == ["head /", "data", "handle /"]
        assert answer.content == b"%d" % size
        assert len(taker.pieces) > size // 200_000  # not kept until it is all there


@both_framings
def test_each_piece_is_passed_on_at_once(chunked: bool) -> None:
    with taking() as (web, taker):
        peer = web.connect()
        data = send(pattern(1000), chunked=chunked)
        at = len(data) - 600
        peer.send(data[:at])
        before = len(taker.data)
        assert before >= 350
        peer.send(data[at : at + 100])
        assert len(taker.data) == before + 100
        assert not web.requests


@both_framings
def test_what_is_taken_is_not_kept(chunked: bool) -> None:
    """`HTTPRequest.on_data`: then it is not kept, and body stays empty."""

    def handler(request: HTTPRequest) -> None:
        assert request.body == b""
        assert request.body_file.read() == b""
        request.send_response("")

    with taking(handler) as (web, taker):
        assert [answer.status for answer in web.ask(send(b"abc", chunked=chunked))] == [200]
        assert taker.data == b"abc"


def test_a_form_that_is_taken_is_not_looked_at() -> None:
    """So it may be malformed, and longer than any limit of forms."""
    form = b"Content-Type: multipart/form-data"
    with taking(limits=Limits(spool_size=10, form_memory=10)) as (web, taker):
        assert [answer.status for answer in web.ask(send(b"x" * 1000, form))] == [200]
        assert taker.data == b"x" * 1000


@both_framings
def test_an_empty_body_has_no_pieces(chunked: bool) -> None:
    with taking() as (web, taker):
        web.ask(send(b"", chunked=chunked))
        assert taker.pieces == []
        assert taker.events[-1] == "handle /"


def test_trailers_are_there_behind_the_last_piece() -> None:
    """RFC 9110 §6.5: they may tell what is known at the end only."""
    trailers: list[Any] = []

    def handler(request: HTTPRequest) -> None:
        trailers.append(dict(request.trailers))
        request.send_response("")

    with taking(handler) as (web, taker):
        web.ask(post(b"3\r\nabc\r\n0\r\nX-Checksum: 1\r\n\r\n", CHUNKED))
        assert taker.data == b"abc"
        assert trailers == [{"X-Checksum": "1"}]


@both_framings
@pytest.mark.parametrize("cut", [None, 1, 50])
def test_requests_behind_it(chunked: bool, cut: int | None) -> None:
    """RFC 9112 §9.3.2: pipelined requests are answered in order. Nothing of one is taken for another's body."""
    data = b"".join(
        [
            send(b"abc", chunked=chunked, path=b"/1"),
            get(line=b"GET /2 HTTP/1.1"),
            send(b"\r\n\r\nGET /not HTTP/1.1\r\n\r\n", chunked=chunked, path=b"/3"),
            send(b"x" * 3000, chunked=not chunked, path=b"/4"),
            get(line=b"GET /5 HTTP/1.1"),
        ]
    )
    with taking() as (web, taker):
        assert [answer.status for answer in web.ask(data, chunk=cut)] == [200] * 5
        assert [event for event in taker.events if event.startswith("handle")] == [f"handle /{n}" for n in range(1, 6)]
        assert taker.data == b"abc\r\n\r\nGET /not HTTP/1.1\r\n\r\n" + b"x" * 3000


def test_http_1_0() -> None:
    """RFC 9112 §6.3: a body with a length is the same there; the connection closes behind the answer (§9.3)."""
    with taking() as (web, taker):
        peer = web.connect()
        peer.send(send(b"abcdef", protocol=b"1.0"), 3)
        assert taker.data == b"abcdef"
        assert statuses(peer.received) == [200]
        assert peer.ended


def test_only_some_requests_are_taken() -> None:
    """on_data is for the request it was set on."""
    taken: list[bytes] = []

    def head_handler(request: HTTPRequest) -> None:
        if request.path == "/taken":
            request.on_data = taken.append

    with site(head_handler=head_handler) as web:
        web.ask(send(b"abc", path=b"/taken") + send(b"def") + send(b"ghi", path=b"/taken"))
        assert taken == [b"abc", b"ghi"]
        assert [request.body for request in web.requests] == [b"", b"def", b""]


@both_framings
def test_an_answer_may_begin_meanwhile(chunked: bool) -> None:
    """An echo: what arrives goes out again, before the rest is there."""

    def head_handler(request: HTTPRequest) -> None:
        request.on_data = request.send

    def handler(request: HTTPRequest) -> None:
        request.send_response("") if request.path == "/next" else request.finish()

    with site(handler, head_handler=head_handler) as web:
        peer = web.connect()
        data = send(pattern(3000), chunked=chunked)
        peer.send(data[:2000])
        assert b"HTTP/1.1 200 OK\r\n" in peer.received
        assert len(peer.received) > 1500
        peer.send(data[2000:] + get(line=b"GET /next HTTP/1.1"))
        first, *rest = take_apart(peer.received)
        assert first.content == pattern(3000)
        # It could have been finished before the body was there: then the server may have said that it would close.
        closes = first.headers["Connection"] == "close"
        assert peer.ended is closes
        assert len(rest) == (not closes)
        assert closes <= chunked


def test_a_program_that_takes_no_more_than_it_can_pass_on() -> None:
    """An echo to a client that is slow to read: paused while something is queued, resumed by on_drain."""
    body = pattern(3_000_000)
    most = largest = 0

    def head_handler(request: HTTPRequest) -> None:
        connection = request.connection
        request.send_status(200)
        request.send_headers({"Content-Length": len(body)})
        request.on_drain = request.resume_body

        def on_data(data: bytes) -> None:
            nonlocal most, largest
            request.send(data)
            largest = max(largest, len(data))
            connection.flush()
            most = max(most, connection.queued_bytes)
            if connection.queued_bytes:
                request.pause_body()

        request.on_data = on_data

    with site(lambda request: request.finish(), head_handler=head_handler) as web:
        peer = web.connect()
        peer.window = 1000
        peer.send(send(body))
        for _ in range(1000):
            if web.requests and not web.requests[0].connection.queued_bytes:
                break
            peer.window = 10_000
            web.engine.advance(0)
        assert [answer.content for answer in take_apart(peer.received)] == [body]
        assert 0 < most <= largest < len(body)


@both_framings
def test_a_hook_may_poll_the_engine(chunked: bool) -> None:
    """What arrives meanwhile is passed on behind, for the channel is not entered again (DESIGN §3)."""
    with taking() as (web, taker):
        data = send(pattern(3000), chunked=chunked)
        inside: list[int] = []

        def on_data(piece: bytes) -> None:
            inside.append(len(inside))
            if len(inside) == 1:
                peer.send(data[2000:] + get(line=b"GET /next HTTP/1.1"))
                web.engine.poll(0)
                web.engine.poll(0)
                assert len(inside) == 1
            taker.on_data(piece)

        def head_handler(request: HTTPRequest) -> None:
            taker.on_head(request)
            request.on_data = on_data

        web.server.head_handler = head_handler
        peer = web.connect()
        peer.send(data[:2000])
        web.engine.advance(0)
        assert taker.data == pattern(3000)
        assert [request.path for request in web.requests] == ["/", "/next"]
        assert len(take_apart(peer.received)) == 2


# --- Expect -----------------------------------------------------------------------------------------------------


@both_framings
@pytest.mark.parametrize("taken", [False, True])
def test_the_client_is_told_to_go_on(chunked: bool, taken: bool) -> None:
    """RFC 9110 §10.1.1, where the body is wanted: once, after the head has been looked at."""
    taker = Taker()
    head_handler = taker.on_head if taken else lambda request: None
    with site(head_handler=head_handler) as web:
        peer = web.connect()
        data = send(b"abc", EXPECT, chunked=chunked)
        head = data.index(b"\r\n\r\n") + 4
        peer.send(data[:head])
        assert peer.take() == CONTINUE
        peer.send(data[head:], 1)
        assert statuses(peer.take()) == [200]
        assert taker.data == (b"abc" if taken else b"")


@pytest.mark.parametrize(
    "how, chunked",
    [
        *((how, chunked) for how in ("answered", "refused", "failed", "closed") for chunked in (False, True)),
        ("too long", False),
    ],
)
def test_the_client_is_not_told_to_go_on_in_vain(how: str, chunked: bool, expect_log: Callable[[str], None]) -> None:
    """RFC 9110 §10.1.1: a final answer instead, and not both. What the client does then is not known: it closes."""

    def head_handler(request: HTTPRequest) -> None:
        if how == "answered":
            request.send_response("", 403)
        elif how == "refused":
            raise Refused(403, "Not you")
        elif how == "failed":
            raise ZeroDivisionError
        elif how == "closed":
            request.connection.close()

    if how == "failed":
        expect_log("ZeroDivisionError")
    with site(head_handler=head_handler, max_request=1 if how == "too long" else 10) as web:
        peer = web.connect()
        data = send(b"abc", EXPECT, chunked=chunked)
        peer.send(data[: data.index(b"\r\n\r\n") + 4])
        expected = {"answered": [403], "refused": [403], "failed": [500], "closed": [], "too long": [413]}[how]
        answers = take_apart(peer.received)
        assert [answer.status for answer in answers] == expected
        assert [answer.headers["Connection"] for answer in answers] == ["close"] * len(expected)
        assert peer.ended
        assert not web.requests


@both_framings
def test_the_client_is_told_to_go_on_when_the_program_is_ready(chunked: bool) -> None:
    """A pause in head_handler: the body is not wanted yet."""
    with taking(pause=True) as (web, taker):
        peer = web.connect()
        data = send(b"abc", EXPECT, chunked=chunked)
        head = data.index(b"\r\n\r\n") + 4
        peer.send(data[:head])
        web.engine.advance(1000)
        assert peer.received == b""
        web.engine.defer(1, taker.requests[0].resume_body)
        web.engine.advance(1)
        assert peer.take() == CONTINUE
        peer.send(data[head:])
        assert statuses(peer.take()) == [200]


@both_framings
def test_the_client_is_refused_when_the_program_has_decided(chunked: bool) -> None:
    """As above, but the body is not wanted at all. What the client sends next may be the body, or another request."""
    with taking(pause=True) as (web, taker):
        peer = web.connect()
        data = send(b"abc", EXPECT, chunked=chunked)
        peer.send(data[: data.index(b"\r\n\r\n") + 4])
        web.engine.defer(1, taker.requests[0].send_response, "", 403)
        web.engine.advance(1)
        [answer] = take_apart(peer.received)
        assert (answer.status, answer.headers["Connection"]) == (403, "close")
        assert peer.ended


@pytest.mark.parametrize("pause", [False, True])
@both_framings
def test_the_client_is_not_told_to_go_on_within_an_answer(pause: bool, chunked: bool) -> None:
    """RFC 9110 §15.2: interim answers come before the final one. Behind its head they would be taken for content."""

    def begin(request: HTTPRequest) -> None:
        request.send_status(200)
        request.send_headers({"Content-Length": 40})

    def head_handler(request: HTTPRequest) -> None:
        requests.append(request)
        if pause:
            request.pause_body()
        else:
            begin(request)

    requests: list[HTTPRequest] = []
    with site(head_handler=head_handler) as web:
        peer = web.connect()
        data = send(b"abc", EXPECT, chunked=chunked)
        peer.send(data[: data.index(b"\r\n\r\n") + 4])
        if pause:
            begin(requests[0])
            requests[0].resume_body()
        web.engine.advance(1)
        assert peer.received.startswith(b"HTTP/1.1 200 ")
        assert b"100 Continue" not in peer.received


# --- Pauses -----------------------------------------------------------------------------------------------------


@both_framings
@pytest.mark.parametrize("cut", [None, 1, 100])
def test_nothing_comes_during_a_pause_at_the_head(chunked: bool, cut: int | None) -> None:
    """`pause_body`: receive no more of the body until `resume_body`. What came together with the head waits too."""
    with taking(pause=True) as (web, taker):
        peer = web.connect()
        peer.send(send(pattern(3000), chunked=chunked) + get(line=b"GET /next HTTP/1.1"), cut)
        web.engine.advance(1000)
        assert taker.events == ["head /"]
        taker.requests[0].resume_body()
        web.engine.advance(0)
        assert taker.data == pattern(3000)
        assert taker.events == ["head /", "data", "handle /", "handle /next"]
        assert statuses(peer.received) == [200, 200]


@both_framings
def test_a_pause_without_on_data(chunked: bool) -> None:
    """A program may also wait with a body that is kept for it."""
    requests: list[HTTPRequest] = []

    def head_handler(request: HTTPRequest) -> None:
        requests.append(request)
        request.pause_body()

    with site(head_handler=head_handler) as web:
        peer = web.connect()
        peer.send(send(b"abc", chunked=chunked))
        assert not web.requests
        requests[0].resume_body()
        web.engine.advance(0)
        assert [request.body for request in web.requests] == [b"abc"]


@both_framings
def test_a_pause_at_each_piece(chunked: bool) -> None:
    """Resumed by a timer, as by whatever takes the pieces and is not so quick."""
    body = pattern(500_000)
    with taking() as (web, taker):
        paused = [False]

        def resume() -> None:
            paused[0] = False
            taker.requests[0].resume_body()

        def on_data(data: bytes) -> None:
            assert not paused[0]
            paused[0] = True
            taker.on_data(data)
            taker.requests[0].pause_body()
            web.engine.defer(40, resume)  # longer than any deadline

        def head_handler(request: HTTPRequest) -> None:
            taker.on_head(request)
            request.on_data = on_data

        web.server.head_handler = head_handler
        peer = web.connect()
        peer.send(send(body, chunked=chunked) + get(line=b"GET /next HTTP/1.1"))
        assert len(taker.pieces) == 1
        web.engine.advance(1000)
        assert taker.data == body
        assert taker.events == ["head /", "data", "handle /", "handle /next"]
        assert statuses(peer.received) == [200, 200]


def test_a_pause_that_is_undone_at_once_or_twice() -> None:
    """The last word counts, and saying it again changes nothing."""
    with taking() as (web, taker):
        peer = web.connect()
        data = send(pattern(5000))
        peer.send(data[:1000])
        [request] = taker.requests
        request.pause_body()
        request.resume_body()
        peer.send(data[1000:2000])
        count = len(taker.data)
        assert count > 1000
        request.resume_body()
        request.pause_body()
        request.pause_body()
        peer.send(data[2000:3000])
        assert len(taker.data) == count
        request.resume_body()
        request.pause_body()
        web.engine.advance(0)
        assert len(taker.data) == count
        request.resume_body()
        request.resume_body()
        web.engine.advance(0)
        assert len(taker.data) == count + 1000
        peer.send(data[3000:])
        assert taker.data == pattern(5000)
        assert statuses(peer.received) == [200]


def test_a_pause_at_the_head_that_is_undone_and_taken_back() -> None:
    with taking(pause=True) as (web, taker):
        peer = web.connect()
        peer.send(send(b"abc"))
        [request] = taker.requests
        request.resume_body()
        request.pause_body()
        web.engine.advance(0)
        assert taker.pieces == []
        request.resume_body()
        web.engine.advance(0)
        assert taker.data == b"abc"
        assert statuses(peer.received) == [200]


@pytest.mark.parametrize("when", ["in the handler", "behind the answer"])
def test_a_pause_without_a_body(when: str) -> None:
    """There is nothing to receive of it, so nothing is held up."""

    def handler(request: HTTPRequest) -> None:
        if when == "in the handler":
            request.pause_body()
        request.send_response("")
        if when == "behind the answer":
            request.pause_body()
        request.resume_body()

    with site(handler) as web:
        assert [answer.status for answer in web.ask(get() + send(b"abc") + get())] == [200] * 3


@both_framings
def test_a_pause_at_the_last_piece(chunked: bool) -> None:
    """The handler is called, now or when it is resumed; and the next request is served."""
    with taking() as (web, taker):

        def on_data(data: bytes) -> None:
            taker.on_data(data)
            taker.requests[0].pause_body()

        def head_handler(request: HTTPRequest) -> None:
            taker.on_head(request)
            request.on_data = on_data

        web.server.head_handler = head_handler
        peer = web.connect()
        peer.send(send(b"abc", chunked=chunked) + get(line=b"GET /next HTTP/1.1"))
        web.engine.advance(0)
        taker.requests[0].resume_body()
        web.engine.advance(0)
        assert taker.events == ["head /", "data", "handle /", "handle /next"]
        assert statuses(peer.received) == [200, 200]


@pytest.mark.parametrize("pause", ["at the head", "at a piece"])
def test_deadlines_do_not_run_during_a_pause(pause: str) -> None:
    """`pause_body`: the client's time to send it does not run. Afterwards it begins anew."""
    limits = Limits(header_timeout=5, body_timeout=10, body_rate=100, keep_alive_timeout=5)
    with taking(pause=pause == "at the head", limits=limits) as (web, taker):
        peer = web.connect()
        data = send(pattern(5000))
        peer.send(data[:1000])
        [request] = taker.requests
        web.engine.advance(4)
        request.pause_body()
        web.engine.advance(1000)
        assert not peer.ended
        request.resume_body()
        web.engine.advance(9)
        assert not peer.ended
        web.engine.advance(30)
        assert statuses(peer.received) == [408]
        assert peer.ended
        assert not web.requests


def test_a_client_that_resets_during_a_pause() -> None:
    """The program is told, for it may have something to undo."""
    with taking() as (web, taker):
        peer = web.connect()
        peer.send(send(pattern(5000))[:1000])
        taker.requests[0].pause_body()
        peer.reset()
        web.engine.advance(0)
        taker.requests[0].resume_body()
        web.engine.advance(0)
        assert taker.events == ["head /", "data", "close"]
        assert not web.server.channels
        assert not web.requests


@both_framings
@pytest.mark.parametrize("pause", ["at the head", "at a piece"])
@pytest.mark.parametrize("cut", [None, 100_000])
def test_a_client_that_ends_during_a_pause(chunked: bool, pause: str, cut: int | None) -> None:
    """It has sent everything, so it gets its answer (DESIGN §3: HTTP keeps answering what it owes)."""
    body = pattern(300_000)
    with taking(pause=pause == "at the head") as (web, taker):
        peer = web.connect()
        data = send(body, chunked=chunked)
        peer.send(data[:1000])
        [request] = taker.requests
        request.pause_body()
        peer.send(data[1000:], cut)
        peer.end()
        web.engine.advance(1000)
        assert len(taker.data) < 1000
        assert not peer.ended
        request.resume_body()
        web.engine.advance(0)
        assert taker.data == body
        assert statuses(peer.received) == [200]
        assert peer.ended
        assert "close" not in taker.events


@both_framings
def test_a_client_that_ends_too_early_during_a_pause(chunked: bool) -> None:
    """RFC 9112 §8: the request is incomplete, so it is not served; the program is told."""
    with taking() as (web, taker):
        peer = web.connect()
        peer.send(send(pattern(5000), chunked=chunked)[:1000])
        taker.requests[0].pause_body()
        peer.end()
        taker.requests[0].resume_body()
        web.engine.advance(0)
        assert taker.events == ["head /", "data", "close"]
        assert peer.ended
        assert not web.requests


@both_framings
@pytest.mark.parametrize("resumed", ["one by one", "at once"])
def test_several_requests_and_the_end_during_a_pause(chunked: bool, resumed: str) -> None:
    """Each of them pauses at its head, and all have arrived: all are answered, in order."""
    with taking(pause=True) as (web, taker):
        if resumed == "at once":

            def head_handler(request: HTTPRequest) -> None:
                taker.on_head(request)
                web.engine.callback(request.resume_body)

            web.server.head_handler = head_handler
        peer = web.connect()
        peer.send(b"".join(send(pattern(500), chunked=chunked, path=b"/%d" % number) for number in range(3)))
        if not peer.ended:
            peer.end()
        for number in range(3):
            web.engine.advance(0)
            if resumed == "one by one":
                taker.requests[number].resume_body()
        web.engine.advance(0)
        assert [event for event in taker.events if event.startswith("handle")] == [
            "handle /0",
            "handle /1",
            "handle /2",
        ]
        assert taker.data == pattern(500) * 3
        assert statuses(peer.received) == [200] * 3
        assert peer.ended
        assert "close" not in taker.events


@both_framings
@pytest.mark.parametrize("size", [1, 300_000])
def test_the_end_of_a_client_whose_request_waits(size: int, chunked: bool) -> None:
    """All of it is there, behind another one; its program pauses when its turn comes. It is answered all the same."""
    with taking(pause=True) as (web, taker):

        def handler(request: HTTPRequest) -> None:
            if request.path == "/":
                web.engine.defer(5, request.send_response, "")
            else:
                taker.handle(request)

        web._handler = handler
        peer = web.connect()
        peer.send(get() + send(pattern(size), chunked=chunked, path=b"/2"))
        peer.end()
        web.engine.advance(10)
        assert taker.events == ["head /2"]
        taker.requests[0].resume_body()
        web.engine.advance(0)
        assert taker.data == pattern(size)
        assert statuses(peer.received) == [200, 200]
        assert peer.ended


def test_a_request_resumes_nobody_else() -> None:
    """Its timer may come when it is answered long since, and the next one waits for something else."""
    with taking(pause=True) as (web, taker):
        peer = web.connect()
        peer.send(send(b"abc"))
        [first] = taker.requests
        first.send_response("", 403)
        web.engine.advance(0)
        peer.send(send(b"def", path=b"/2"))
        assert taker.events == ["head /", "head /2"]
        first.resume_body()
        web.engine.advance(0)
        assert taker.pieces == []
        taker.requests[1].resume_body()
        web.engine.advance(0)
        assert taker.data == b"def"
        assert taker.events[-1] == "handle /2"


@pytest.mark.parametrize("when", ["before", "behind"])
def test_a_request_that_is_answered_pauses_nobody(when: str) -> None:
    """What is left of its body is dropped, and the deadline for that runs; nor does it hold up the next request."""
    with taking() as (web, taker):

        def on_data(_data: bytes) -> None:
            request = taker.requests[0]
            if when == "before":
                request.pause_body()
            answer_403(request)
            if when == "behind":
                request.pause_body()

        def head_handler(request: HTTPRequest) -> None:
            taker.on_head(request)
            if request.path == "/":
                request.on_data = on_data

        web.server.head_handler = head_handler
        data = send(pattern(1000))
        peer = web.connect()
        peer.send(data[:500])
        assert statuses(peer.received) == [403]
        peer.send(data[500:] + send(b"abc", path=b"/2")[:-1])
        assert taker.data == b"ab"
        taker.requests[0].pause_body()
        peer.send(b"c")
        assert statuses(peer.received) == [403, 200]
        peer = web.connect()
        taker.requests.clear()
        peer.send(data[:500])
        web.engine.advance(1000)
        assert statuses(peer.received) == [403]
        assert peer.ended


@both_framings
def test_an_answer_during_a_pause_is_the_end_of_it(chunked: bool) -> None:
    """The rest is not wanted, so there is nothing to wait for."""
    with taking() as (web, taker):
        peer = web.connect()
        peer.send(send(pattern(5000), chunked=chunked)[:1000])
        [request] = taker.requests
        request.pause_body()
        count = len(taker.data)
        request.send_response("", 403)
        with contextlib.suppress(ConnectionError):
            peer.send(send(pattern(5000), chunked=chunked)[1000:] + get(line=b"GET /next HTTP/1.1"))
        web.engine.advance(0)
        assert len(taker.data) == count
        answers = take_apart(peer.received)
        assert answers[0].status == 403
        if answers[0].headers["Connection"] == "close":
            assert len(answers) == 1
            assert peer.ended
        else:
            assert [request.path for request in web.requests] == ["/next"]


@both_framings
def test_an_answer_during_a_pause_at_the_head(chunked: bool) -> None:
    """As above; and what came with the head is dropped, or the connection closes."""
    with taking(pause=True) as (web, taker):
        peer = web.connect()
        peer.send(send(b"abc", chunked=chunked) + get(line=b"GET /next HTTP/1.1"))
        assert taker.pieces == []
        taker.requests[0].send_response("", 403)
        web.engine.advance(0)
        answers = take_apart(peer.received)
        assert answers[0].status == 403
        if answers[0].headers["Connection"] == "close":
            assert len(answers) == 1
            assert peer.ended
        else:
            assert [request.path for request in web.requests] == ["/next"]
        assert taker.pieces == []


# --- Answers before the end -------------------------------------------------------------------------------------


def answer_403(request: HTTPRequest) -> None:
    request.send_response("no", 403)


def refuse_403(_request: HTTPRequest) -> None:
    raise Refused(403, "Not you")


@both_framings
@pytest.mark.parametrize("answer", [answer_403, refuse_403])
@pytest.mark.parametrize("where", ["head", "data"])
@pytest.mark.parametrize("size", [1000, LARGE, 10_000_000])
@pytest.mark.parametrize("cut", [None, 600])
def test_an_early_answer(answer: Handler, chunked: bool, where: str, size: int, cut: int | None) -> None:
    """One answer, and not another; the rest of the body is dropped where it is short, or the connection closes.

    RFC 9112 §9.6: a server that closes says so in its last answer.
    """
    if cut and size > LARGE:
        cut = 100_000
    calls: list[HTTPRequest] = []

    def head_handler(request: HTTPRequest) -> None:
        def on_data(_data: bytes) -> None:
            calls.append(request)
            answer(request)

        request.on_data = on_data
        if where == "head":
            answer(request)

    with site(head_handler=head_handler) as web:
        data = send(b"x" * size, chunked=chunked) + get(line=b"GET /next HTTP/1.1")
        peer = web.connect()
        with contextlib.suppress(ConnectionError):
            peer.send(data, cut)
        web.engine.advance(0)
        answers = take_apart(peer.received)
        assert answers[0].status == 403
        assert len(calls) == (where == "data")
        if size >= 1_000_000:
            assert peer.ended
        if peer.ended:
            assert answers[0].headers["Connection"] == "close"
            assert len(answers) == 1
            assert not web.requests
        else:
            assert [answer.status for answer in answers] == [403, 200]
            assert [request.path for request in web.requests] == ["/next"]
        if size <= 1000 and not chunked:
            assert not peer.ended


@pytest.mark.parametrize("where", ["head", "data"])
def test_an_early_answer_and_a_body_that_never_comes(where: str) -> None:
    """There is one answer to each request (RFC 9112 §9.2): the deadline closes the connection without another."""

    def head_handler(request: HTTPRequest) -> None:
        request.on_data = lambda data: answer_403(request)
        if where == "head":
            answer_403(request)

    with site(head_handler=head_handler) as web:
        peer = web.connect()
        peer.send(send(b"x" * 1000)[:-10])
        assert statuses(peer.received) == [403]
        web.engine.advance(100)
        assert statuses(peer.received) == [403]
        assert peer.ended


@pytest.mark.parametrize("where", ["head", "data"])
def test_an_early_answer_and_a_client_that_ends(where: str) -> None:
    def head_handler(request: HTTPRequest) -> None:
        request.on_data = lambda data: answer_403(request)
        if where == "head":
            answer_403(request)

    with site(head_handler=head_handler) as web:
        peer = web.connect()
        peer.send(send(b"x" * 1000)[:-10])
        peer.end()
        assert statuses(peer.received) == [403]
        assert peer.ended


def test_an_early_answer_on_http_1_0() -> None:
    with site(head_handler=answer_403) as web:
        peer = web.connect()
        peer.send(send(b"abc", protocol=b"1.0"))
        assert statuses(peer.received) == [403]
        assert peer.ended
        assert not web.requests


def test_an_answer_that_begins_at_the_head() -> None:
    """It may be finished by the handler, behind the body."""

    def head_handler(request: HTTPRequest) -> None:
        request.send_status(200)
        request.send_headers({"Content-Length": 5})
        request.send("ab")

    def handler(request: HTTPRequest) -> None:
        request.send(request.body)
        request.finish()

    with site(handler, head_handler=head_handler) as web:
        peer = web.connect()
        data = send(b"cde")
        peer.send(data[:-3])
        assert peer.received.endswith(b"ab")
        peer.send(data[-3:])
        assert [answer.content for answer in take_apart(peer.received)] == [b"abcde"]


@pytest.mark.parametrize("where", ["head", "data"])
def test_a_connection_that_is_closed_early(where: str) -> None:
    with taking() as (web, taker):

        def head_handler(request: HTTPRequest) -> None:
            taker.on_head(request)
            request.on_data = lambda data: request.connection.close()
            if where == "head":
                request.connection.close()

        web.server.head_handler = head_handler
        peer = web.connect()
        with contextlib.suppress(ConnectionError):
            peer.send(send(b"abc") + get())
        web.engine.advance(0)
        assert peer.ended or peer.was_reset
        assert taker.events == ["head /", "close"]
        assert not web.requests
        assert peer.received == b""


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["kept", "taken", "refused at the head", "refused midway", "answered later"]),
            st.booleans(),  # in chunks
            st.sampled_from([1, 10, 900, 5000, 70_000]),
        ),
        min_size=1,
        max_size=6,
    ),
    st.integers(0, 2**32),
)
@settings(max_examples=60, deadline=None)
def test_whatever_happens_when(plan: list[tuple[str, bool, int]], seed: int) -> None:
    """Requests are taken and answered in order, however they are cut up, paused and resumed, until one closes."""
    chance = random.Random(seed)
    taken: dict[str, list[bytes]] = {}
    seen: list[str] = []
    with site(None) as web:

        def maybe_pause(request: HTTPRequest) -> None:
            if chance.random() < 0.4:
                request.pause_body()
                if chance.random() < 0.2:
                    request.resume_body()
                    request.pause_body()
                web.engine.defer(chance.choice([0.01, 1, 50]), request.resume_body)

        def head_handler(request: HTTPRequest) -> None:
            what = plan[int(request.path[1:])][0]
            taken[request.path] = []

            def on_data(data: bytes) -> None:
                taken[request.path].append(data)
                if what == "refused midway" and not request.code:
                    request.send_response("", 403)
                maybe_pause(request)

            if what in ("taken", "refused midway"):
                request.on_data = on_data
            maybe_pause(request)
            if what == "refused at the head":
                request.send_response("", 403)

        def handler(request: HTTPRequest) -> None:
            what, _, size = plan[int(request.path[1:])]
            seen.append(request.path)
            body = b"".join(taken[request.path]) if what == "taken" else request.body
            assert body == pattern(size)
            if what == "answered later":
                web.engine.defer(chance.choice([0.01, 10]), request.send_response, "")
            else:
                request.send_response("")

        web.server.head_handler = head_handler
        web._handler = handler
        data = b"".join(
            send(pattern(size), chunked=chunked, path=b"/%d" % number) for number, (_, chunked, size) in enumerate(plan)
        )
        peer = web.connect()
        at = 0
        with contextlib.suppress(ConnectionError):
            while at < len(data):
                size = chance.choice([1, 10, 100, 1000, 60_000])
                peer.send(data[at : at + size])
                at += size
                if chance.random() < 0.2:
                    web.engine.advance(chance.choice([0, 0.5]))
            if chance.random() < 0.5:
                peer.end()
        web.engine.advance(10_000)
        answers = take_apart(peer.received)
        expected = [403 if what.startswith("refused") else 200 for what, _, _ in plan]
        assert [answer.status for answer in answers] == expected[: len(answers)]
        closing = [answer.headers["Connection"] == "close" for answer in answers]
        assert closing == [False] * (len(closing) - 1) + closing[-1:]
        assert len(answers) == len(plan) or closing[-1:] == [True]
        assert peer.ended  # if not by what was said, then for it was idle
        assert seen == [f"/{number}" for number, status in enumerate(expected[: len(answers)]) if status == 200]


# --- Failures ---------------------------------------------------------------------------------------------------


@both_framings
@pytest.mark.parametrize("where", ["head", "data"])
@pytest.mark.parametrize("size", [10, 1000, 10_000_000])
def test_an_exception(where: str, size: int, chunked: bool, expect_log: Callable[[str], None]) -> None:
    """DESIGN §3: a handler's exception: 500. The rest of the request is dropped, or the connection closes."""
    expect_log("ZeroDivisionError")
    calls: list[int] = []

    def head_handler(request: HTTPRequest) -> None:
        def on_data(data: bytes) -> None:
            calls.append(len(data))
            raise ZeroDivisionError

        request.on_data = on_data
        if where == "head":
            raise ZeroDivisionError

    with site(head_handler=head_handler) as web:
        peer = web.connect()
        with contextlib.suppress(ConnectionError):
            data = send(b"x" * size, chunked=chunked) + get(line=b"GET /next HTTP/1.1")
            peer.send(data, 700 if size < 10_000 else None)
        answers = take_apart(peer.received)
        assert answers[0].status == 500
        assert len(calls) == (where == "data")
        assert web.server.counters.failures == 1
        if peer.ended:
            assert len(answers) == 1
            assert not web.requests
        else:
            assert size <= 1000
            assert [answer.status for answer in answers] == [500, 200]
            assert [request.path for request in web.requests] == ["/next"]


@both_framings
@pytest.mark.parametrize("where", ["head", "data"])
def test_an_exception_in_an_answer_that_has_begun(where: str, chunked: bool, expect_log: Callable[[str], None]) -> None:
    """DESIGN §3: "or a close if the answer has begun": the client has to see that it is not complete."""
    expect_log("ZeroDivisionError")

    def fail(request: HTTPRequest) -> None:
        request.send_status(200)
        request.send_headers({"Content-Length": 5})
        request.send("ab")
        raise ZeroDivisionError

    def head_handler(request: HTTPRequest) -> None:
        request.on_data = lambda data: fail(request)
        if where == "head":
            fail(request)

    with site(head_handler=head_handler) as web:
        peer = web.connect()
        with contextlib.suppress(ConnectionError):
            peer.send(send(b"abc", chunked=chunked) + get())
        web.engine.advance(0)
        assert peer.ended or peer.was_reset
        assert peer.received.count(b"HTTP/1.1") <= 1
        assert not web.requests


@pytest.mark.parametrize("where", ["head", "data"])
def test_what_is_no_exception_leaves_the_engine(where: str) -> None:
    """DESIGN §3; and it leaves no connection behind that nobody serves."""

    def head_handler(request: HTTPRequest) -> None:
        def on_data(data: bytes) -> None:
            raise SystemExit

        request.on_data = on_data
        if where == "head":
            raise SystemExit

    with site(head_handler=head_handler) as web:
        peer = web.connect()
        with pytest.raises(SystemExit):
            peer.send(send(b"abc"))
        web.engine.advance(0)
        assert peer.ended or peer.was_reset
        assert not web.requests


@pytest.mark.parametrize("value", ["10", 1.5, True, -1])
def test_a_limit_that_is_none(value: Any) -> None:
    """What is wrong raises where it is written, with a name in it, rather than when the next client comes."""
    raised: list[Exception] = []

    def head_handler(request: HTTPRequest) -> None:
        try:
            request.max_body = value
        except (TypeError, ValueError) as error:
            raised.append(error)

    with site(head_handler=head_handler) as web:
        assert [answer.status for answer in web.ask(send(b"abc"))] == [200]
        assert "max_body" in str(raised[0])


@pytest.mark.parametrize("content_type", [b"application/x-www-form-urlencoded", b"multipart/form-data; boundary=b"])
def test_a_form_is_not_there_before_the_body(content_type: bytes) -> None:
    """Who asks for it in head_handler is told so, and it is there later all the same."""
    body = b"a=1"
    if content_type.startswith(b"multi"):
        body = b"--b\r\nContent-Disposition: form-data; name=a\r\n\r\n1\r\n--b--"

    def head_handler(request: HTTPRequest) -> None:
        for name in ("post", "files"):
            with contextlib.suppress(RuntimeError):
                assert getattr(request, name) == {}

    found: list[Any] = []

    def handler(request: HTTPRequest) -> None:
        found.append(request.post)
        request.send_response("")

    with site(handler, head_handler=head_handler) as web:
        assert [answer.status for answer in web.ask(send(body, b"Content-Type: " + content_type))] == [200]
        assert found == [{"a": ["1"]}]


@pytest.mark.parametrize(
    "data, status",
    [
        (send(b"x" * 100, chunked=True)[:-5] + b"no chunk\r\n", 400),
        (send(b"x" * 3000, chunked=True), 413),
        (send(b"x" * 100)[:-10], 408),
        (send(b"x" * 100, chunked=True)[:-10], 408),
    ],
)
def test_a_body_that_is_refused_midway(data: bytes, status: int) -> None:
    """The program has taken a part of it: it is told that there will be no more (`HTTPRequest.on_close`)."""
    with taking(max_request=2000) as (web, taker):
        peer = web.connect()
        with contextlib.suppress(ConnectionError):
            peer.send(data, 50)
        web.engine.advance(100)
        assert statuses(peer.received) == [status]
        assert peer.ended
        assert not web.requests
        assert taker.events == ["head /", "data", "close"]


@pytest.mark.parametrize(
    "data",
    [
        send(b"x" * 100, chunked=True)[:-5] + b"no chunk\r\n",
        send(b"x" * 3000, chunked=True),
        send(b"x" * 100)[:-10],
        send(b"x" * 100, chunked=True)[:-10],
    ],
)
@pytest.mark.parametrize("length", [True, False])
def test_a_body_that_is_refused_midway_when_the_answer_has_begun(data: bytes, length: bool) -> None:
    """There is no place for another answer, so the connection closes; and what has been sent does not look complete."""

    def head_handler(request: HTTPRequest) -> None:
        request.send_status(200)
        request.send_headers({"Content-Length": 5000} if length else {})
        request.on_data = request.send

    with site(head_handler=head_handler, max_request=2000) as web:
        peer = web.connect()
        with contextlib.suppress(ConnectionError):
            peer.send(data, 50)
        web.engine.advance(100)
        assert peer.received.startswith(b"HTTP/1.1 200 ")
        assert peer.received.count(b"HTTP/1.1 ") == 1
        assert peer.ended or peer.was_reset
        with pytest.raises(http.client.IncompleteRead):
            take_apart(peer.received)
        assert not web.requests


# --- Deadlines --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("taken", [False, True])
@pytest.mark.parametrize("header_timeout", [3, 30, 300])
def test_body_timeout(taken: bool, header_timeout: float) -> None:
    """`Limits.body_timeout`: the seconds after which a body that has not arrived is looked at."""
    taker = Taker()
    limits = Limits(body_timeout=10, body_rate=100, header_timeout=header_timeout)
    with site(head_handler=taker.on_head if taken else None, limits=limits) as web:
        peer = web.connect()
        peer.send(send(b"x" * 2000)[:-1100])  # less than 10 x 100 bytes of it
        web.engine.advance(9.9)
        assert peer.received == b""
        web.engine.advance(0.2)
        assert statuses(peer.received) == [408]
        assert peer.ended
        assert web.server.counters.refused == {408: 1}


@both_framings
@pytest.mark.parametrize("taken", [False, True])
def test_body_rate(taken: bool, chunked: bool) -> None:
    """`Limits.body_rate`: a body may take longer than that, as long as so many bytes a second arrive."""
    taker = Taker()
    limits = Limits(body_timeout=10, body_rate=100)
    body = pattern(10_000)
    with site(head_handler=taker.on_head if taken else None, limits=limits) as web:
        peer = web.connect()
        data = send(body, chunked=chunked)
        for at in range(0, 8000, 200):  # over 40 seconds
            peer.send(data[at : at + 200])
            web.engine.advance(1)
            assert not peer.ended
        web.engine.advance(25)  # two looks, with nothing between them
        assert statuses(peer.received) == [408]


def test_a_deadline_is_not_carried_over_to_the_next_body() -> None:
    limits = Limits(body_timeout=10, header_timeout=5, body_rate=100)
    with taking(limits=limits) as (web, taker):
        peer = web.connect()
        data = send(b"x" * 100)
        for _ in range(5):
            peer.send(data[:-10])
            web.engine.advance(8)
            peer.send(data[-10:])
            assert statuses(peer.take()) == [200]
        assert len(taker.data) == 500


# --- Real sockets -----------------------------------------------------------------------------------------------


@contextlib.contextmanager
def serving(taker: Taker, **kwargs: Any) -> Iterator[HTTPServer]:
    server = HTTPServer(taker.handle, head_handler=taker.on_head, max_request=1 << 30, **kwargs)
    server.listen(("127.0.0.1", 0))
    try:
        yield server
    finally:
        server.close()
        run_until(lambda: server.closed)


def test_a_client_blocks_while_nothing_is_taken() -> None:
    """`pause_body` pushes back: beyond what the kernels hold, the client cannot send any more."""
    taker = Taker(pause=True)
    size = 64 << 20
    with serving(taker) as server, client_of(server) as client:
        client.send(post(b"", b"Content-Length: %d" % size))
        run_until(lambda: taker.requests)
        sent = fill(client)
        for _ in range(20):
            turns(10)
            sent += fill(client)
        assert sent < size / 2
        assert taker.pieces == []
        assert fill(client) == 0
        [request] = taker.requests
        request.resume_body()
        run_until(lambda: taker.pieces)
        request.pause_body()
        turns(10)
        count = len(taker.data)
        turns(10)
        assert len(taker.data) == count < sent
    run_until(lambda: "close" in taker.events)


@pytest.mark.parametrize("secure", [False, True])
@both_framings
def test_a_large_body_with_many_pauses(secure: bool, chunked: bool) -> None:
    """Nothing is lost, doubled or exchanged, nor left in the buffers of TLS."""
    body = pattern(4 << 20)
    taker = Taker()
    pauses = 0

    def on_data(data: bytes) -> None:
        nonlocal pauses
        taker.on_data(data)
        if len(taker.pieces) % 3 == 0:
            pauses += 1
            taker.requests[0].pause_body()
            Engine.instance().defer(0.0005, taker.requests[0].resume_body)

    on_head = taker.on_head

    def head_handler(request: HTTPRequest) -> None:
        on_head(request)
        request.on_data = on_data

    taker.on_head = head_handler
    received: list[bytes] = []

    class Client(Stream):
        def on_connect(self) -> None:
            self.write(send(body, b"Connection: close", chunked=chunked))

        def on_read(self, data: bytes) -> None:
            received.append(data)

    authority = trustme.CA()
    client = Client()
    kwargs: dict[str, Any] = {}
    if secure:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("localhost").configure_cert(context)
        kwargs["ssl_options"] = context
        trust = ssl.create_default_context()
        authority.configure_trust(trust)
        client.startSSL(trust)
    with serving(taker, **kwargs) as server:
        client.connect(("localhost", server.local_address[1]))
        run_until(lambda: client.closed, 30)
    assert taker.data == body
    assert [answer.content for answer in take_apart(b"".join(received))] == [b"%d" % len(body)]
    assert pauses > 3
    assert taker.events == ["head /", "data", "handle /"]


def test_a_client_that_resets_during_a_pause_over_a_real_socket() -> None:
    taker = Taker(pause=True)
    with serving(taker) as server, client_of(server) as client:
        client.send(send(pattern(1000))[:-10])
        run_until(lambda: taker.requests)
        client.reset()
        turns(5)
        taker.requests[0].resume_body()
        run_until(lambda: "close" in taker.events)
        assert "handle /" not in taker.events


@pytest.mark.parametrize("size", [1000, 400_000])
@pytest.mark.parametrize("pause", [False, True])
def test_a_client_that_ends_during_a_pause_over_a_real_socket(size: int, pause: bool) -> None:
    """RFC 9112 §9.6 does not keep a client from closing its half once it has sent all; the answer is still owed."""
    taker = Taker(pause)
    with serving(taker) as server, client_of(server) as client:
        data = send(pattern(size))
        client.send(data[:500])
        run_until(lambda: taker.requests)
        [request] = taker.requests
        request.pause_body()
        client.send(data[500:])
        client.end()
        turns(10)
        assert len(taker.data) < 500
        request.resume_body()
        assert statuses(client.receive_to_end()) == [200]
        assert taker.data == pattern(size)
        assert "close" not in taker.events


def test_an_early_answer_reaches_a_client_that_goes_on_sending() -> None:
    """RFC 9112 §9.6: the server lingers, or a reset could take the answer away before the client has read it."""
    taker = Taker()
    taker.on_head = answer_403
    with serving(taker) as server, client_of(server) as client:
        client.send(post(b"", b"Content-Length: %d" % (50 << 20)))
        with contextlib.suppress(ConnectionError):
            client.send(pattern(1 << 20))
        answers = take_apart(client.receive_to_end())
        assert [(answer.status, answer.headers["Connection"]) for answer in answers] == [(403, "close")]


def test_a_peer_in_memory_is_what_this_is_tested_with() -> None:
    """One request taken on both, to see that they do the same."""
    body = pattern(100_000)
    taker = Taker()
    with serving(taker) as server, client_of(server) as client:
        client.send(send(body, b"Connection: close"))
        over_sockets = [answer.content for answer in take_apart(client.receive_to_end())]
    with taking() as (web, other):
        peer = web.connect()
        assert isinstance(peer, Peer)
        peer.send(send(body, b"Connection: close"))
        assert [answer.content for answer in take_apart(peer.received)] == over_sockets
        assert other.data == taker.data
        assert other.events == taker.events
