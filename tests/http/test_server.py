"""`HTTPServer` and `HTTPConnection`: the order of answers, keep-alive, deadlines, ends, errors."""

from __future__ import annotations

import gc
import socket
import ssl
import weakref
from typing import Any

import pytest
import trustme

from pants import Engine, Server, Stream
from pants.http import HTTPConnection, HTTPRequest, HTTPServer
from pants.testing import run_until
from tests.http.support import CHUNKED, Site, get, post, site, take_apart


def later(request: HTTPRequest) -> None:
    """A handler that answers later."""


# --- Making one -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error, args, kwargs",
    [
        (TypeError, (None,), {}),
        (TypeError, (later, "1"), {}),
        (TypeError, (later, True), {}),
        (ValueError, (later, -1), {}),
        (TypeError, (later,), {"no_such_argument": 1}),
        (TypeError, (later,), {"ConnectionClass": 1}),
    ],
)
def test_wrong_arguments_raise_at_the_call(error: type[Exception], args: Any, kwargs: Any) -> None:
    with pytest.raises(error):
        HTTPServer(*args, **kwargs)


def test_a_connection_belongs_to_an_http_server() -> None:
    one, other = socket.socketpair()
    with one, other:
        for server in (None, Server()):
            with pytest.raises(TypeError, match="HTTPServer"):
                HTTPConnection(socket=one, server=server)


def test_the_ports_are_those_of_the_protocol(monkeypatch: pytest.MonkeyPatch) -> None:
    """Manual: "HTTPServer.listen": port 443 if SSL has been enabled prior to the call, otherwise port 80."""
    asked: list[Any] = []
    monkeypatch.setattr(Server, "listen", lambda self, *args: asked.append(args))
    HTTPServer(later).listen()
    server = HTTPServer(later)
    server.startSSL(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
    server.listen()
    HTTPServer(later, ssl_options=ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)).listen(backlog=5, slave=False)
    HTTPServer(later).listen(8080, 5, False)
    assert asked == [(80, 1024, True), (443, 1024, True), (443, 5, False), (8080, 5, False)]


def test_a_server_with_a_socket_of_its_own_listens_on_that() -> None:
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    server = HTTPServer(later, socket=sock).listen()
    assert server.local_address == sock.getsockname()
    server.close()


def test_a_connection_class_can_be_given() -> None:
    """Manual: "HTTPConnection": of use when implementing another protocol on top of HTTP."""

    class Connection(HTTPConnection):
        pass

    with site(ConnectionClass=Connection) as web:
        web.ask(get())
        assert type(web.requests[0].connection) is Connection


def test_no_name_of_a_stream_is_taken_twice() -> None:
    """`HTTPConnection` overrides hooks only; a private name of Stream's that it used too would break both."""
    own = {name for name in [*vars(HTTPConnection), *HTTPConnection.__slots__] if not name.startswith("__")}
    inherited = {name for name in dir(Stream) if not name.startswith("__")}
    assert {name for name in own & inherited if not name.startswith("on_")} == {"server", "high_water"} & own
    own = {name for name in [*vars(HTTPServer), *HTTPServer.__slots__] if not name.startswith("__")}
    assert own & set(dir(Server)) == {"ConnectionClass", "listen", "startSSL", "start_ssl", "close"}


# --- Keep-alive -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "protocol, fields, keeps",
    [
        (b"1.1", [], True),
        (b"1.1", [b"Connection: keep-alive"], True),
        (b"1.1", [b"Connection: close"], False),
        (b"1.1", [b"Connection: Foo, CLOSE ,bar"], False),
        (b"1.1", [b"Connection: foo", b"Connection: close"], False),
        (b"1.1", [b"Connection: keep-alive, close"], False),
        (b"1.1", [b"Connection: closed"], True),
        (b"1.1", [b"Proxy-Connection: close"], True),
        (b"1.1", [b"Connection: upgrade", b"Upgrade: h2c"], True),
        (b"1.0", [], False),
        (b"1.0", [b"Connection: Keep-Alive"], True),
        (b"1.0", [b"Connection: keep-alive, close"], False),
    ],
)
def test_persistence(protocol: bytes, fields: list[bytes], keeps: bool) -> None:
    """RFC 9112 §9.3."""
    with site() as web:
        peer = web.connect()
        peer.send(get(*fields, line=b"GET / HTTP/" + protocol))
        [answer] = take_apart(peer.received)
        assert peer.ended is not keeps
        if not keeps:
            assert answer.headers["Connection"] == "close"
        elif protocol == b"1.0":
            assert answer.headers["Connection"] == "keep-alive"
        else:
            assert answer.headers["Connection"] is None


@pytest.mark.parametrize("behind", [b"", get()])
@pytest.mark.parametrize("data", [get(), post(b"a"), get(b"Connection: keep-alive", line=b"GET / HTTP/1.0")])
def test_without_keep_alive_each_request_has_its_connection(data: bytes, behind: bytes) -> None:
    """Manual: "keep_alive": whether or not multiple requests are allowed over a single connection."""
    with site(keep_alive=False) as web:
        peer = web.connect()
        peer.send(data + behind)
        assert [answer.headers["Connection"] for answer in take_apart(peer.received)] == ["close"]
        assert peer.ended
        assert len(web.requests) == 1


def test_nothing_after_connection_close_is_served() -> None:
    """RFC 9112 §9.6: a server must not process any further requests received on that connection."""
    with site() as web:
        assert len(web.ask(get(b"Connection: close") + get())) == 1
        assert len(web.requests) == 1


# --- Answering later, and pipelining --------------------------------------------------------------------------------


def test_a_request_can_be_answered_later() -> None:
    """Manual: it is not required to finish responding to a request within the request handler."""
    with site(later) as web:
        peer = web.connect()
        peer.send(get())
        [request] = web.requests
        assert request.connection.current_request is request
        web.engine.advance(1000)  # no deadline is on the handler
        request.send_response("late")
        assert request.connection.current_request is None
        web.engine.advance()
        assert [answer.content for answer in take_apart(peer.take())] == [b"late"]
        peer.send(get())
        web.requests[1].send_response("again")
        web.engine.advance()
        assert [answer.content for answer in take_apart(peer.take())] == [b"again"]


@pytest.mark.parametrize("chunk", [None, 1, 7])
def test_one_request_is_served_at_a_time_and_answered_in_order(chunk: int | None) -> None:
    """RFC 9112 §9.3.2."""
    with site(later) as web:
        peer = web.connect()
        paths = ["/0", "/1", "/2", "/3"]
        stream = b"".join(
            get(line=f"GET {path} HTTP/1.1".encode()) if path != "/2" else post(b"abc").replace(b" / ", b" /2 ")
            for path in paths
        )
        peer.send(stream, chunk)
        for number, path in enumerate(paths):
            assert [request.path for request in web.requests] == paths[: number + 1]
            web.requests[-1].send_response(path)
            assert len(web.requests) == number + 1  # the next is begun by the loop, not inside this call
            web.engine.advance()
        assert [answer.content.decode() for answer in take_apart(peer.received)] == paths


def test_what_is_held_back_is_bounded() -> None:
    """DESIGN §3 and issue 3: pipelining in order and bounded."""
    with site(later) as web:
        peer = web.connect()
        peer.send(get())
        connection = web.requests[0].connection
        count = 5000
        peer.send(get() * count)
        assert len(connection._held or b"") <= 65536 * 2
        web._handler = lambda request: request.send_response("quick")
        web.requests[0].send_response("slow")
        web.engine.advance()
        assert len(take_apart(peer.received)) == count + 1
        assert connection._held is None


@pytest.mark.parametrize("size", [100, 100_000])
def test_a_client_that_takes_no_answers_gets_no_more(size: int) -> None:
    """A client that sends and sends must not fill the memory with answers."""
    content = b"a" * size
    with site(lambda request: request.send_response(content)) as web:
        peer = web.connect()
        peer.window = 10_000
        count = 3000
        peer.send(get() * count)
        served = len(web.requests)
        assert served < 200
        connection = web.requests[0].connection
        assert connection.queued_bytes < 2_000_000
        peer.window = 10_000
        web.engine.advance()
        assert len(web.requests) < 400
        peer.window = None
        web.engine.advance()
        assert len(web.requests) == count
        assert len(take_apart(peer.received)) == count


def test_a_client_that_takes_no_answers_one_by_one() -> None:
    """The same for one that waits a moment between its requests."""
    with site(lambda request: request.send_response(b"a" * 100_000)) as web:
        peer = web.connect()
        peer.window = 0
        for _ in range(100):
            peer.send(get())
        assert len(web.requests) < 20
        peer.window = None
        web.engine.advance()
        assert len(take_apart(peer.received)) == len(web.requests) == 100
        peer.send(get())
        assert len(web.requests) == 101


def test_a_client_that_takes_no_answer_while_one_is_owed() -> None:
    with site(later) as web:
        peer = web.connect()
        peer.send(get())
        peer.window = 0
        web.requests[0].send_response(b"a" * 2_000_000)
        web.engine.advance()
        peer.send(get())
        assert len(web.requests) == 1
        peer.window = None
        web.engine.advance()
        assert len(web.requests) == 2
        assert web.requests[0].connection.current_request is web.requests[1]


@pytest.mark.parametrize("behind", [b"", get(line=b"GET /2 HTTP/1.1"), post(b"abc") + get()])
@pytest.mark.parametrize("answered", ["before", "after", "later"])
def test_a_handler_may_poll_the_engine(answered: str, behind: bytes) -> None:
    """DESIGN §3: nested poll() inside a hook. What arrives meanwhile is served after it, in order."""
    nested: list[int] = []

    def handler(request: HTTPRequest) -> None:
        if len(web.requests) > 1:
            request.send_response(f"{len(web.requests)}")
            return
        if answered == "before":
            request.send_response("1")
        peer.send(get(line=b"GET /meanwhile HTTP/1.1"))
        for _ in range(3):
            web.engine.poll(0)
        nested.append(len(web.requests))
        if answered == "after":
            request.send_response("1")

    with site(handler) as web:
        peer = web.connect()
        peer.send(get() + behind)
        if answered == "later":
            assert len(web.requests) == 1
            web.requests[0].send_response("1")
            web.engine.advance()
        expected = len(web.requests)
        assert expected == 2 + behind.count(b"HTTP/1.1")
        assert [int(answer.content) for answer in take_apart(peer.received)] == list(range(1, expected + 1))
        assert web.requests[-1].path == "/meanwhile"
        assert nested == [1]


@pytest.mark.parametrize(
    "behind, meanwhile, paths",
    [
        (b"", get(line=b"GET /a HTTP/1.1"), ["/a"]),
        (get(line=b"GET /a HTTP/1.1"), get(line=b"GET /b HTTP/1.1"), ["/a", "/b"]),
        (b"GET /", b"a HTTP/1.1\r\nHost: a\r\n\r\n", ["/a"]),
        (
            get(b"Content-Length: 4", line=b"PUT /a HTTP/1.1") + b"ab",
            b"cd" + get(line=b"GET /b HTTP/1.1"),
            ["/a", "/b"],
        ),
        (b"GET /", b"a HTTP/1.1\r\n", []),
    ],
)
def test_a_handler_run_from_a_callback_may_poll_too(behind: bytes, meanwhile: bytes, paths: list[str]) -> None:
    """The second request is begun by the loop, where the channel is not kept out of a nested poll()."""

    def handler(request: HTTPRequest) -> None:
        if request.path == "/polls":
            peer.send(meanwhile)
            request.send_response("2")
            web.engine.poll(0)
            web.engine.poll(0)
        elif request.path != "/":
            request.send_response(request.path)

    with site(handler) as web:
        peer = web.connect()
        peer.send(get() + get(line=b"GET /polls HTTP/1.1") + behind)
        web.requests[0].send_response("1")
        web.engine.advance()
        assert [answer.content.decode() for answer in take_apart(peer.received)] == ["1", "2", *paths]


def test_a_handler_may_close_the_connection() -> None:
    with site(lambda request: request.connection.close()) as web:
        peer = web.connect()
        peer.send(get() + get())
        assert peer.ended
        assert peer.received == b""
        assert len(web.requests) == 1


def test_a_connection_closed_behind_an_answer_serves_nothing_more() -> None:
    with site(later) as web:
        peer = web.connect()
        peer.send(get() + get())
        [request] = web.requests
        request.send_response("the last")
        request.connection.close()
        web.engine.advance()
        assert [answer.content for answer in take_apart(peer.received)] == [b"the last"]
        assert len(web.requests) == 1


# --- Expect ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fields", [(b"Content-Length: 3",), (CHUNKED,)])
def test_an_interim_answer_is_sent_where_it_is_waited_for(fields: tuple[bytes, ...]) -> None:
    """RFC 9110 §10.1.1."""
    body = b"3\r\nabc\r\n0\r\n\r\n" if fields == (CHUNKED,) else b"abc"
    with site() as web:
        peer = web.connect()
        peer.send(post(b"", *fields, b"Expect: 100-Continue"))
        assert peer.take() == b"HTTP/1.1 100 Continue\r\n\r\n"
        assert not web.requests
        peer.send(body)
        assert web.requests[0].body == b"abc"
        assert [answer.status for answer in take_apart(peer.received)] == [200]


def test_no_interim_answer_where_the_body_is_there_already() -> None:
    """RFC 9110 §10.1.1: a server may omit it if it has received some of the content."""
    with site() as web:
        assert [a.status for a in web.ask(post(b"abc", b"Content-Length: 3", b"Expect: 100-continue"))] == [200]


def test_no_interim_answer_on_http_1_0() -> None:
    """RFC 9110 §10.1.1: it must be ignored there."""
    with site() as web:
        peer = web.connect()
        peer.send(get(b"Content-Length: 1", b"Expect: 100-continue", line=b"POST / HTTP/1.0"))
        assert peer.received == b""
        peer.send(b"a")
        assert [answer.status for answer in take_apart(peer.received)] == [200]


# --- Deadlines ------------------------------------------------------------------------------------------------------


def test_an_idle_connection_is_closed() -> None:
    with site() as web:
        peer, never = web.connect(), web.connect()
        peer.send(get())
        peer.take()
        web.engine.advance(74)
        assert not peer.ended
        assert not never.ended
        web.engine.advance(2)
        assert peer.ended
        assert never.ended
        assert peer.received == never.received == b""


def test_a_busy_connection_is_not_idle() -> None:
    with site() as web:
        peer = web.connect()
        for _ in range(10):
            peer.send(get())
            web.engine.advance(60)
        assert not peer.ended
        assert len(take_apart(peer.received)) == 10


def trickle(web: Site, data: bytes, seconds: float, pause: float) -> list[int]:
    """Send a byte now and then, for a time; the codes of the answers."""
    peer = web.connect()
    end = web.engine.now + seconds
    at = 0
    while web.engine.now < end and not peer.ended:
        peer.send(data[at : at + 1])
        at += 1
        web.engine.advance(pause)
    assert peer.ended == (web.engine.now < end)
    return [answer.status for answer in take_apart(peer.received)]


def test_a_slow_head_is_refused() -> None:
    """RFC 9110 §15.5.9. Bytes that trickle in are no excuse."""
    with site() as web:
        assert trickle(web, get(*[b"X: y"] * 20), 100, 1) == [408]
        assert 29 <= web.engine.now <= 32
        assert trickle(web, get(), 25, 0.5) == [200]


def test_the_time_for_a_head_begins_with_its_first_byte() -> None:
    with site() as web:
        peer = web.connect()
        for _ in range(5):  # each takes 20 seconds, the connection longer than any one may
            peer.send(get()[:5])
            web.engine.advance(20)
            peer.send(get()[5:])
            web.engine.advance(7)
        assert len(take_apart(peer.received)) == 5
        assert not peer.ended


def test_a_deadline_is_not_carried_over_to_an_answer() -> None:
    """The timer that a slow request has started finds nothing to do later."""
    with site(later) as web:
        peer = web.connect()
        peer.send(get()[:5])
        web.engine.advance(1)
        peer.send(get()[5:])
        web.engine.advance(60)
        web.requests[0].send_response("late")
        web.engine.advance()
        assert [answer.content for answer in take_apart(peer.received)] == [b"late"]
        assert not peer.ended


def test_a_slow_body_is_refused() -> None:
    with site() as web:
        head = post(b"", b"Content-Length: 10000")
        peer = web.connect()
        peer.send(head)
        web.engine.advance(20)
        for _ in range(1000):
            peer.send(b"a")
            web.engine.advance(0.1)
            if peer.ended:
                break
        assert [answer.status for answer in take_apart(peer.received)] == [408]
        assert 29 < web.engine.now < 33


def test_a_large_body_may_take_longer() -> None:
    with site() as web:
        peer = web.connect()
        peer.send(post(b"", b"Content-Length: 100000"))
        for _ in range(100):  # 1,000 bytes a second
            peer.send(b"a" * 1000)
            web.engine.advance(1)
        assert [answer.status for answer in take_apart(peer.received)] == [200]
        assert not peer.ended


@pytest.mark.parametrize("fields", [(), (b"Connection: close",)])
def test_a_client_that_takes_too_little_is_cut_off(fields: tuple[bytes, ...]) -> None:
    """Limits.write_rate, 500 bytes a second, over write_timeout, 75 seconds."""
    with site(lambda request: request.send_response(b"a" * 1_000_000)) as web:
        peer = web.connect()
        peer.window = 10_000
        peer.send(get(*fields))
        for _ in range(10):  # a slow one is served
            web.engine.advance(50)
            peer.window = 50_000
        assert not peer.ended
        connection = web.requests[0].connection
        taken = len(peer.received)
        assert taken > 500_000
        begun = web.engine.now
        while not connection.closed and web.engine.now < 100_000:
            web.engine.advance(20)
            peer.window = 100  # some traffic there is
        assert 0 < web.engine.now - begun <= 150 + 20
        assert web.server.counters.slow_readers == 1


def test_a_connection_that_closes_has_no_deadline_any_more() -> None:
    with site() as web:
        peer = web.connect()
        peer.send(b"GET / ")
        peer.window = 0
        [connection] = web.server.channels.values()
        connection.write(b"something")
        connection.close()
        web.engine.advance(40)
        assert connection.closed


# --- Ends -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [b"", b"GET /", post(b"abc")[:-1], get() + b"GET"])
def test_the_end_of_a_client_closes_an_idle_connection(data: bytes) -> None:
    """DESIGN §3: complete frames are delivered first, an incomplete tail is dropped."""
    with site() as web:
        peer = web.connect()
        peer.send(data)
        peer.end()
        assert peer.ended
        assert len(web.requests) == data.count(b"\r\n\r\n") - (b"POST" in data)


@pytest.mark.parametrize("tail", [b"", b"GET / HT"])
def test_a_client_that_has_ended_still_gets_its_answers(tail: bytes) -> None:
    """DESIGN §3: HTTP keeps answering what it owes."""
    with site(later) as web:
        peer = web.connect()
        peer.send(get() + get() + tail)
        peer.end()
        for number in (1, 2):
            assert not peer.ended
            web.requests[-1].send_response(str(number))
            web.engine.advance()
        assert peer.ended
        assert [answer.content for answer in take_apart(peer.received)] == [b"1", b"2"]


def test_a_client_that_has_ended_gets_the_one_answer_it_is_owed() -> None:
    with site(later) as web:
        peer = web.connect()
        peer.send(get())
        peer.end()
        web.requests[0].send_response("1")
        web.engine.advance()
        assert peer.ended
        assert [answer.content for answer in take_apart(peer.received)] == [b"1"]


def test_a_closed_server_closes_its_connections() -> None:
    """DESIGN §3: `HTTPServer.close()` is immediate."""
    with site(later) as web:
        busy, idle = web.connect(), web.connect()
        busy.send(get())
        web.server.close()
        web.engine.advance()
        assert busy.ended
        assert idle.ended
        web.requests[0].send_response("too late")


# --- Errors ---------------------------------------------------------------------------------------------------------


def test_an_exception_in_the_handler_gives_500(expect_log: Any) -> None:
    """DESIGN §3. The connection can go on, for the answer is complete."""
    expect_log(r"request handler failed, on <HTTPRequest GET /bad>\n(.|\n)*ZeroDivisionError")

    def handler(request: HTTPRequest) -> None:
        request.send_response(str(1 / (request.path != "/bad")))

    with site(handler) as web:
        answers = web.ask(get(line=b"GET /bad HTTP/1.1") + get())
        assert [answer.status for answer in answers] == [500, 200]
        assert b"ZeroDivision" not in answers[0].content


def test_an_exception_after_the_answer_is_logged(expect_log: Any) -> None:
    expect_log("request handler failed")

    def handler(request: HTTPRequest) -> None:
        request.send_response("good")
        raise ValueError

    with site(handler) as web:
        assert [answer.content for answer in web.ask(get() + get())] == [b"good", b"good"]


@pytest.mark.parametrize("data", [get(), post(b"a")])
def test_what_is_no_exception_leaves_the_engine(data: bytes) -> None:
    """DESIGN §3: what is no `Exception` leaves `start()`. The client is not left waiting."""

    def handler(request: HTTPRequest) -> None:
        raise KeyboardInterrupt

    with site(handler) as web:
        peer = web.connect()
        with pytest.raises(KeyboardInterrupt):
            peer.send(data)
        web.engine.advance()
        assert peer.ended


def test_a_request_is_let_go_when_it_is_over() -> None:
    """No cycle keeps a connection, its requests and their bodies in memory (DESIGN §7)."""
    gc.collect()
    gc.disable()
    try:
        with site() as web:
            refs: list[weakref.ref[Any]] = []
            for data in (get(), post(b"abc"), post(b"0\r\n\r\n", CHUNKED), post(b"1\r\n", CHUNKED), b"GET", get(b"X")):
                peer = web.connect()
                refs += [weakref.ref(connection) for connection in web.server.channels.values()]
                peer.send(data)
                refs += [weakref.ref(request) for request in web.requests]
                web.requests.clear()
                peer.reset() if not peer.ended else None
                web.engine.advance(100)
            assert [ref() for ref in refs] == [None] * len(refs)
            assert len(refs) == 9
    finally:
        gc.enable()


# --- Real sockets ---------------------------------------------------------------------------------------------------


def test_https() -> None:
    """Manual: "startSSL": when the server has been secured, the scheme of all requests is https."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    requests: list[HTTPRequest] = []

    def handler(request: HTTPRequest) -> None:
        requests.append(request)
        request.send_response("secure")

    server = HTTPServer(handler)
    server.startSSL(context)
    server.listen(("127.0.0.1", 0))
    received: list[bytes] = []

    class Client(Stream):
        def on_connect(self) -> None:
            self.write(get() + post(b"a", b"Content-Length: 1", b"Connection: close"))

        def on_read(self, data: bytes) -> None:
            received.append(data)

    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    client = Client()
    client.startSSL(trust)
    client.connect(("localhost", server.local_address[1]))
    run_until(lambda: client.closed)
    assert [answer.content for answer in take_apart(b"".join(received))] == [b"secure"] * 2
    assert [(request.scheme, request.is_secure, request.remote_ip) for request in requests] == [
        ("https", True, "127.0.0.1")
    ] * 2
    server.close()


def test_a_unix_socket_has_no_address(tmp_path: Any) -> None:
    server = HTTPServer(lambda request: request.send_response(request.remote_ip)).listen(str(tmp_path / "socket"))
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(tmp_path / "socket"))
        client.sendall(get(b"Connection: close"))
        client.setblocking(False)
        pieces = []

        def ended() -> bool:
            try:
                pieces.append(client.recv(65536))
            except BlockingIOError:
                return False
            return not pieces[-1]

        run_until(ended)
    assert [answer.content for answer in take_apart(b"".join(pieces))] == [b""]
    server.close()
    Engine.instance().poll(0)
