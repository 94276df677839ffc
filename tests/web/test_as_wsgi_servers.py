"""Applications of Pants under real WSGI servers: that of the standard library, and waitress with several threads."""

from __future__ import annotations

import contextlib
import http.client
import threading
from collections.abc import Callable, Iterator
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server
from wsgiref.validate import validator

import pytest
import waitress.server  # type: ignore[import-untyped]
from waitress import wasyncore

from pants.http import HTTPRequest, WebSocket
from pants.web import Application, url_for

Client = Callable[[], contextlib.AbstractContextManager[http.client.HTTPConnection]]

TIMEOUT = 30.0
LONG = 3_000_000


class Quiet(WSGIRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


def make_app() -> Application:
    app = Application()
    barrier = threading.Barrier(2, timeout=TIMEOUT)

    @app.route("/hello/<name>")
    def hello(request: HTTPRequest, name: str) -> str:
        return f"{name} {request.remote_ip} {request.host} {url_for('hello', 'a b')}"

    @app.route("/echo", methods=["POST"])
    def echo(request: HTTPRequest) -> bytes:
        return request.body

    @app.route("/form", methods=["POST"])
    def form(request: HTTPRequest) -> Any:
        return request.post

    @app.route("/pieces")
    def pieces(request: HTTPRequest) -> Iterator[bytes]:
        for i in range(30):
            yield b"%d" % (i % 10) * 100_000

    @app.route("/file")
    def file(request: HTTPRequest) -> None:
        request.send_file(__file__)

    @app.route("/together")
    def together(request: HTTPRequest) -> str:
        """Answered when two threads have come here."""
        barrier.wait()
        return "both"

    @app.route("/later")
    def later(request: HTTPRequest) -> None:
        request.auto_finish = False

    app.route("/websocket", "websocket", func=WebSocket)
    return app


@contextlib.contextmanager
def under_wsgiref(app: Application) -> Iterator[int]:
    server = make_server("127.0.0.1", 0, validator(app.wsgi), handler_class=Quiet)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join(TIMEOUT)
        server.server_close()


@contextlib.contextmanager
def under_waitress(app: Application) -> Iterator[int]:
    sockets: dict[int, Any] = {}
    server = waitress.server.create_server(
        validator(app.wsgi), map=sockets, host="127.0.0.1", port=0, threads=4, channel_request_lookahead=1
    )
    over = threading.Event()

    def run() -> None:
        while not over.is_set():
            wasyncore.loop(timeout=0.01, map=sockets, count=1)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield server.effective_port
    finally:
        over.set()
        thread.join(TIMEOUT)
        server.task_dispatcher.shutdown(timeout=TIMEOUT)
        wasyncore.close_all(sockets)


@pytest.fixture(params=[under_wsgiref, under_waitress], ids=["wsgiref", "waitress"])
def client(request: pytest.FixtureRequest) -> Iterator[Client]:
    """Makes connections to an application under a server."""
    with request.param(make_app()) as port:

        @contextlib.contextmanager
        def connect() -> Iterator[http.client.HTTPConnection]:
            with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)) as connection:
                yield connection

        yield connect


def ask(client: Client, path: str, method: str = "GET", body: Any = None, **headers: str) -> Any:
    with client() as connection:
        connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        response = connection.getresponse()
        response.content = response.read()  # type: ignore[attr-defined]
        return response


def test_an_answer(client: Client) -> None:
    response = ask(client, "/hello/J%C3%BCrgen")
    assert (response.status, response.reason) == (200, "OK")
    name, ip, host, url = response.content.decode().split(" ")
    assert (name, ip, url) == ("Jürgen", "127.0.0.1", "/hello/a%20b")
    assert host.startswith("127.0.0.1:")
    assert response.headers["Content-Type"] == "text/plain; charset=UTF-8"
    assert len(response.headers.get_all("Date")) == len(response.headers.get_all("Server")) == 1


def test_errors(client: Client) -> None:
    assert ask(client, "/nothing").status == 404
    response = ask(client, "/hello/a", "DELETE")
    assert (response.status, response.headers["Allow"]) == (405, "GET, HEAD, OPTIONS")


def test_content(client: Client) -> None:
    body = bytes(range(256)) * (LONG // 256)
    assert ask(client, "/echo", "POST", body).content == body
    assert ask(client, "/echo", "POST", b"").content == b""
    assert ask(client, "/form", "POST", b"a=b", Content_Type="application/x-www-form-urlencoded").content == (
        b'{"a":["b"]}'
    )


def test_pieces(client: Client) -> None:
    response = ask(client, "/pieces")
    assert len(response.content) == LONG
    assert response.content[99_999:100_001] == b"01"


def test_a_client_that_goes_away(client: Client) -> None:
    for _ in range(5):
        with client() as connection:
            connection.request("GET", "/pieces")
            assert connection.getresponse().read(10) == b"0" * 10
    assert len(ask(client, "/pieces").content) == LONG


def test_files(client: Client) -> None:
    with open(__file__, "rb") as file:
        content = file.read()
    response = ask(client, "/file")
    assert response.content == content
    response = ask(client, "/file", Range="bytes=10-19")
    assert (response.status, response.content) == (206, content[10:20])
    response = ask(client, "/file", If_None_Match=response.headers["ETag"])
    assert (response.status, response.content) == (304, b"")


def test_head(client: Client) -> None:
    response = ask(client, "/hello/a", "HEAD")
    assert (response.status, response.content) == (200, b"")
    assert int(response.headers["Content-Length"]) > 0


def test_what_cannot_be_done(client: Client, expect_log: Callable[[str], None]) -> None:
    expect_log("would be answered later")
    assert ask(client, "/later").status == 501
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec_WebSocket_Version": "13"}
    response = ask(client, "/websocket", **upgrade, Sec_WebSocket_Key="dGhlIHNhbXBsZSBub25jZQ==")
    assert response.status == 501
    assert b"WebSocket" in response.content


def test_several_threads() -> None:
    with under_waitress(make_app()) as port:
        answers: list[bytes] = []

        def run(path: str) -> None:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
            with contextlib.closing(connection):
                connection.request("GET", path)
                answers.append(connection.getresponse().read())

        threads = [threading.Thread(target=run, args=(path,)) for path in ["/together", "/pieces", "/together"]]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(TIMEOUT)
        assert sorted(map(len, answers)) == [4, 4, LONG]
