"""What RFC 9110 and RFC 9112 ask of a server beyond the verdict on one request: see test_refused.py and test_served.py.

What a refusal looks like, what trailers and an expectation change and what they do not, what becomes of a request that
stays incomplete, and of methods that a server refuses unless it is told otherwise.
"""

from __future__ import annotations

import contextlib
import email.utils
import importlib.util
import re
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pants import Engine
from pants.http import HTTPRequest, HTTPServer
from pants.testing import run_until
from tests.http.support import CHUNKED, get, post, site, take_apart

HOST = b"\r\nHost: a\r\n\r\n"
BEHIND = get(line=b"GET /behind HTTP/1.1")
DEADLINE = 30.0


# --- Refusals -------------------------------------------------------------------------------------------------------

EACH_STATUS: dict[int, bytes] = {
    400: get(b"X"),
    408: b"GET / HTTP/1.1\r\n",
    413: post(b"", b"Content-Length: 1001"),
    414: b"GET /" + b"a" * 10_000 + b" HTTP/1.1" + HOST,
    417: post(b"a", b"Content-Length: 1", b"Expect: x"),
    431: get(b"X: " + b"y" * 20_000),
    501: b"FOO / HTTP/1.1" + HOST,
    505: b"GET / HTTP/1.2" + HOST,
}


@pytest.mark.parametrize("status", EACH_STATUS)
def test_a_refusal_is_a_whole_answer(status: int) -> None:
    """RFC 9110 §6.6.1: Date; §8.3: Content-Type; RFC 9112 §6.2: a length; §9.6: close."""
    with site(max_request=1000) as web:
        peer = web.connect()
        peer.send(EACH_STATUS[status])
        web.engine.advance(40)
        assert re.match(rb"HTTP/1\.1 %d [ -~]+\r\n" % status, peer.received)
        [answer] = take_apart(peer.received)
        assert answer.status == status
        assert answer.headers["Connection"] == "close"
        assert answer.headers["Transfer-Encoding"] is None
        assert int(answer.headers["Content-Length"]) == len(answer.content)
        assert answer.headers["Content-Type"] == "text/plain"
        date = answer.headers["Date"]
        assert email.utils.format_datetime(email.utils.parsedate_to_datetime(date), usegmt=True) == date
        assert peer.ended
        assert not web.requests
        assert web.server.counters.refused == {status: 1}


@pytest.mark.parametrize("data", [get(b"X"), post(b"", b"Content-Length: 100000000"), post(b"x\r\n", CHUNKED)])
def test_the_answer_can_be_read_whatever_the_client_goes_on_sending(data: bytes) -> None:
    """RFC 9112 §9.6: were it closed at once, a reset might take the answer with it."""
    served: list[HTTPRequest] = []
    server = HTTPServer(served.append).listen(("127.0.0.1", 0))

    def ask(address: tuple[str, int]) -> bytes:
        with socket.create_connection(address, DEADLINE) as client:
            client.sendall(data)
            with contextlib.suppress(ConnectionError):  # the server need not take all of that
                client.sendall(BEHIND * 30_000)
            answer = b""
            while piece := client.recv(65536):
                answer += piece
            return answer

    with ThreadPoolExecutor() as pool:
        future = pool.submit(ask, server.local_address)
        run_until(future.done, DEADLINE)
    [answer] = take_apart(future.result())
    assert answer.status in (400, 413)
    assert not served
    server.close()
    Engine.instance().poll(0)


def test_a_refusal_comes_behind_the_answers_that_are_owed() -> None:
    """RFC 9112 §9.3.2: answers come in the order of the requests."""
    waiting: list[HTTPRequest] = []
    with site(waiting.append) as web:
        peer = web.connect()
        peer.send(get() + get(b"X") + BEHIND)
        web.engine.advance(10)
        assert peer.received == b""
        assert not peer.ended
        waiting[0].send_response("first")
        web.engine.advance()
        assert [answer.status for answer in take_apart(peer.received)] == [200, 400]
        assert peer.ended
        assert len(waiting) == 1


@pytest.mark.parametrize("behind", [b"", BEHIND])
@pytest.mark.parametrize("data", [get(b"X"), post(b"a" * 1001), post(b"x\r\n", CHUNKED)])
def test_a_refused_client_that_stays_is_let_go(data: bytes, behind: bytes) -> None:
    """RFC 9112 §9.6: the server closes its side, and later the rest."""
    with site(max_request=1000) as web:
        peer = web.connect()
        peer.send(data + behind)
        web.engine.advance(200)
        assert not web.server.channels
        assert not web.engine.lingering
        with pytest.raises(ConnectionError):
            peer.send(BEHIND)
        assert not web.requests


HEAD = b"HEAD / HTTP/1.1"


@pytest.mark.parametrize("chunk", [None, 1])
@pytest.mark.parametrize(
    "data",
    [
        get(b"X", line=HEAD),
        get(b"X", line=b"\r\n" + HEAD),
        get(b"Content-Length: 1001", line=HEAD),
        get(CHUNKED, line=HEAD) + b"x\r\n",
        get(CHUNKED, line=HEAD) + b"3\r\nabcd",
        get(CHUNKED, line=HEAD) + b"3e9\r\n" + b"a" * 1001,
        get(b"Content-Length: 1", b"Expect: x", line=HEAD) + b"a",
        get(b"Content-Length: 2", line=HEAD) + b"a",  # the rest does not come in time
        get(line=HEAD)[:-2],
    ],
)
def test_a_refusal_of_head_has_no_content(data: bytes, chunk: int | None) -> None:
    """RFC 9110 §9.3.2."""
    with site(max_request=1000) as web:
        peer = web.connect()
        with contextlib.suppress(ConnectionError):
            peer.send(data, chunk)
        web.engine.advance(40)
        [answer] = take_apart(peer.received, "HEAD")
        assert answer.status >= 400
        assert peer.received.endswith(b"\r\n\r\n")
        assert peer.ended


@pytest.mark.parametrize(
    "pieces", [(b"HEAD \r\n",), (b"5\r\nabcdeHEAD ",), (b"5\r\nabcde", b"HEAD \r\n"), (b"4\r\n", b"HEAD x")]
)
def test_a_refusal_of_another_method_has_content_whatever_the_body_looks_like(pieces: tuple[bytes, ...]) -> None:
    with site() as web:
        for first in ([post(b"", CHUNKED)], [post(b"", CHUNKED)[:9], post(b"", CHUNKED)[9:]]):
            for sent in ([*first, *pieces], [b"".join([*first, *pieces])]):
                peer = web.connect()
                for piece in sent:
                    with contextlib.suppress(ConnectionError):
                        peer.send(piece)
                [answer] = take_apart(peer.received, "POST")
                assert answer.status == 400
                assert answer.content.startswith(b"400 ")


@pytest.mark.parametrize("chunk", [None, 1])
@pytest.mark.parametrize(
    "data", [get(), get(line=b"POST / HTTP/1.1"), post(b""), post(b"a"), post(b"0\r\n\r\n", CHUNKED)]
)
@pytest.mark.parametrize("behind", [b"X" + BEHIND, b" " + BEHIND, b"0\r\n\r\n", b"abc\r\n\r\n", b"\0"])
def test_what_is_behind_a_request_is_not_skipped(data: bytes, behind: bytes, chunk: int | None) -> None:
    """RFC 9112 §6.3: a request without framing has no body; what is behind it is the next request, right or wrong."""
    with site() as web:
        peer = web.connect()
        with contextlib.suppress(ConnectionError):
            peer.send(data + behind + b"\r\n\r\n", chunk)
        answers = take_apart(peer.received)
        assert answers[0].status == 200
        assert [answer.status for answer in answers[1:]] in ([400], [501])
        assert peer.ended
        assert len(web.requests) == 1


# --- Requests that stay incomplete ----------------------------------------------------------------------------------

INCOMPLETE: dict[str, tuple[bytes, int | None]] = {
    # The status is that of the answer when the time is over; where nothing has begun, none is owed.
    "nothing": (b"", None),
    "an empty line": (b"\r\n", None),
    "a part of a request line": (b"GET / HT", 408),
    "a request line": (b"GET / HTTP/1.1\r\n", 408),
    "a part of a field": (b"GET / HTTP/1.1\r\nHost: a", 408),
    "all but the empty line": (b"GET / HTTP/1.1\r\nHost: a\r\n", 408),
    "all but the last byte": (get()[:-1], 408),
    "a body that has not begun (RFC 9112 §6.2)": (post(b"", b"Content-Length: 3"), 408),
    "a body shorter than its length": (post(b"ab", b"Content-Length: 3"), 408),
    "a GET whose body is missing": (get(b"Content-Length: 3"), 408),
    "chunks that have not begun (RFC 9112 §7.1)": (post(b"", CHUNKED), 408),
    "a part of a chunk size": (post(b"1", CHUNKED), 408),
    "chunks without the last": (post(b"3\r\nabc\r\n", CHUNKED), 408),
    "a last chunk without its line end": (post(b"3\r\nabc\r\n0", CHUNKED), 408),
    "a last chunk without the empty line": (post(b"3\r\nabc\r\n0\r\n", CHUNKED), 408),
    "a trailer without the empty line": (post(b"0\r\nX: y\r\n", CHUNKED), 408),
    "all but the last byte of chunks": (post(b"0\r\n\r", CHUNKED), 408),
}


@pytest.mark.parametrize("name", INCOMPLETE)
@pytest.mark.parametrize("chunk", [None, 1])
@pytest.mark.parametrize("ends", [False, True])
def test_an_incomplete_request_is_never_served(name: str, chunk: int | None, ends: bool) -> None:
    """RFC 9112 §8. After its time, or when the client has ended, the connection is closed."""
    data, status = INCOMPLETE[name]
    with site() as web:
        peer = web.connect()
        peer.send(data, chunk)
        assert not peer.ended
        if ends:
            peer.end()
        else:
            web.engine.advance(100)
        assert peer.ended
        assert not web.requests
        statuses = [answer.status for answer in take_apart(peer.received)]
        assert statuses in ([], [400], [408]) if ends else statuses == [status] * (status is not None)


@pytest.mark.parametrize("chunk", [None, 1, 70])
def test_a_line_feed_behind_a_body_that_ends_with_cr_is_a_bare_one(chunk: int | None) -> None:
    """RFC 9112 §2.2: the CR is the body's."""
    for framing, body in (
        (b"Content-Length: 1", b"\r"),
        (b"Content-Length: 4", b"\r\n\r\r"),
        (b"Content-Length: 2", b"a\r"),
    ):
        with site() as web:
            answers = web.ask(post(body, framing) + b"\n", "POST", chunk=chunk)
            assert [answer.status for answer in answers] == [200, 400]
            assert [request.body for request in web.requests] == [body]


# --- Trailers -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunk", [None, 1])
def test_trailers_are_kept_apart(chunk: int | None) -> None:
    """RFC 9110 §6.5.1: they must not be merged into the header section unless it is known to be safe."""
    trailers = b"Host: b\r\nX-A: trailer\r\nx-a:  2\t\r\nAuthorization: x\r\nConnection: close\r\nCookie: c=d\r\n"
    with site() as web:
        peer = web.connect()
        peer.send(post(b"1\r\nz\r\n0\r\n" + trailers + b"\r\n", CHUNKED, b"X-A: header"), chunk)
        [request] = web.requests
        assert request.trailers.get_list("x-a") == ["trailer", "2"]
        assert request.trailers["Authorization"] == "x"
        assert set(request.trailers) == {"Host", "X-A", "Authorization", "Connection", "Cookie"}
        assert dict(request.headers) == {"Host": "a", "Transfer-Encoding": "chunked", "X-A": "header"}
        assert request.host == "a"
        assert not request.cookies
        assert not peer.ended
        peer.send(BEHIND)
        assert web.requests[1].path == "/behind"
        assert not web.requests[1].trailers


# --- Expect: 100-continue -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("framing", [b"Content-Length: %d" % len(BEHIND), CHUNKED])
def test_what_follows_an_expectation_is_the_body_whatever_it_looks_like(framing: bytes) -> None:
    """RFC 9110 §10.1.1: the interim answer ends nothing; a client may send the body without waiting for it."""
    body = BEHIND if framing != CHUNKED else b"%x\r\n%b\r\n0\r\n\r\n" % (len(BEHIND), BEHIND)
    head = post(b"", framing, b"Expect: 100-continue")
    for pieces in ([head + body], [head, body], [head[:-1], head[-1:] + body], [head, body[:1], body[1:]]):
        with site() as web:
            peer = web.connect()
            for piece in pieces:
                peer.send(piece)
            peer.send(get(line=b"GET /last HTTP/1.1"))
            assert [(request.method, request.path) for request in web.requests] == [("POST", "/"), ("GET", "/last")]
            assert web.requests[0].body == BEHIND
            assert [answer.status for answer in take_apart(peer.received)] == [200, 200]
            assert peer.received.count(b"HTTP/1.1 100 ") <= 1


def test_a_refused_expectation_leaves_no_body_to_be_taken_for_a_request() -> None:
    """RFC 9110 §10.1.1: a server that answers at once either reads the body or closes."""
    for data in (
        post(b"", b"Content-Length: %d" % len(BEHIND), b"Expect: x"),
        post(b"", b"Content-Length: 1001", b"Expect: 100-continue"),
    ):
        with site(max_request=1000) as web:
            peer = web.connect()
            peer.send(data)
            assert b"HTTP/1.1 100 " not in peer.received
            assert peer.ended
            with contextlib.suppress(ConnectionError):
                peer.send(BEHIND)
            assert len(take_apart(peer.received)) == 1
            assert not web.requests


# --- Methods --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data, status",
    [
        (get(line=b"TRACE / HTTP/1.1"), 200),  # RFC 9110 §9.3.8
        (get(line=b"CONNECT a.example:443 HTTP/1.1"), 200),  # RFC 9112 §3.2.3
        (get(line=b"CONNECT [::1]:443 HTTP/1.1"), 200),
        (get(line=b"CONNECT a.example HTTP/1.1"), 400),
        (get(line=b"CONNECT a.example: HTTP/1.1"), 400),
        (get(line=b"CONNECT :443 HTTP/1.1"), 400),
        (get(line=b"CONNECT a:b HTTP/1.1"), 400),
        (get(line=b"CONNECT u@a:443 HTTP/1.1"), 400),
        (get(line=b"CONNECT [:::::]:443 HTTP/1.1"), 400),
        (get(line=b"CONNECT / HTTP/1.1"), 400),
        (get(line=b"CONNECT * HTTP/1.1"), 400),
        (get(line=b"CONNECT http://a:443 HTTP/1.1"), 400),
        (get(b"Content-Length: 1", line=b"CONNECT a:443 HTTP/1.1") + b"a", 400),  # RFC 9110 §9.3.6
        (get(CHUNKED, line=b"CONNECT a:443 HTTP/1.1") + b"0\r\n\r\n", 400),
    ],
)
def test_a_server_that_refuses_no_method(data: bytes, status: int) -> None:
    with site(refused_methods=()) as web:
        for chunk in (None, 1):
            web.requests.clear()
            peer = web.connect()
            with contextlib.suppress(ConnectionError):
                peer.send(data, chunk)
            assert re.match(rb"HTTP/1\.1 %d " % status, peer.received)
            assert len(web.requests) == (status == 200)


def test_a_server_may_refuse_any_method() -> None:
    """RFC 9110 §9.1: an origin server that does not implement a method answers with 501."""
    refused = {"GET", "PUT", "REPORT"}
    with site(refused_methods=refused) as web:
        for method in ("GET", "HEAD", "POST", "PUT", "DELETE", "REPORT", "TRACE"):
            for _ in range(2):
                [answer] = web.ask(get(line=b"%b / HTTP/1.1" % method.encode()), method)
                assert answer.status == (501 if method in refused else 200)


# --- Answers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fields", [(b"Content-Length: %d" % len(BEHIND),), (b"Connection: close",), ()])
def test_an_answer_to_head_ends_with_its_head(fields: tuple[bytes, ...]) -> None:
    """RFC 9110 §9.3.2; with whatever body the request has."""
    body = BEHIND if fields and b"Length" in fields[0] else b""
    with site() as web:
        peer = web.connect()
        peer.send(get(*fields, line=b"HEAD / HTTP/1.1") + body)
        assert peer.received.endswith(b"\r\n\r\n")
        assert peer.received.count(b"\r\n\r\n") == 1
        assert len(web.requests) == 1


@pytest.mark.parametrize("upgrade", [b"websocket", b"h2c", b"TLS/1.0", b"a, b", b""])
@pytest.mark.parametrize("connection", [b"upgrade", b"Upgrade, close", b"keep-alive"])
def test_nobody_is_upgraded(upgrade: bytes, connection: bytes) -> None:
    """RFC 9110 §7.8: a server may ignore Upgrade, and the connection goes on as it was."""
    with site() as web:
        peer = web.connect()
        peer.send(get(b"Connection: " + connection, b"Upgrade: " + upgrade, b"HTTP2-Settings: a"))
        [answer] = take_apart(peer.received)
        assert answer.status == 200
        assert answer.headers["Upgrade"] is None
        assert peer.ended is (b"close" in connection)


@pytest.mark.parametrize("code", [204, 304])
def test_what_follows_an_answer_without_content_is_the_next_answer(code: int) -> None:
    """RFC 9110 §8.6: no Content-Length with 204; RFC 9112 §6.3: neither has a body."""
    with site(lambda request: request.send_response("ignored", code)) as web:
        answers = web.ask(get() + get() + post(b"a"))
        assert [answer.status for answer in answers] == [code] * 3
        assert code == 304 or all(answer.headers["Content-Length"] is None for answer in answers)
        assert all(answer.headers["Transfer-Encoding"] is None for answer in answers)


# --- The fuzz targets -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["fuzz_head", "fuzz_body"])
def test_fuzz_target(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(__file__).parents[2] / "fuzz"
    monkeypatch.syspath_prepend(folder)  # for what the two share
    spec = importlib.util.spec_from_file_location(name, folder / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.fuzz(60)
