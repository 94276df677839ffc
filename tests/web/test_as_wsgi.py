"""Applications of Pants as applications of WSGI (PEP 3333): `Application.wsgi`, under `wsgiref.validate`."""

from __future__ import annotations

import doctest
import gc
import io
import json
import os
import pathlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import pytest

import pants.testing
import pants.web._as_wsgi
from pants.engine import Engine
from pants.http import HTTPRequest, WebSocket
from pants.web import Application, Module, Response, url_for
from pants.web._as_wsgi import WSGIApplication
from pants.web.wsgi import WSGIConnector

ExpectLog = Callable[[str], None]


class Answer:
    """What a WSGI server would send."""

    def __init__(self, status: str, headers: list[tuple[str, str]], pieces: list[bytes]) -> None:
        self.status = status
        self.code = int(status[:3])
        self.pairs = headers
        self.headers = {name.lower(): value for name, value in headers}
        self.pieces = pieces
        self.content = b"".join(pieces)

    def __repr__(self) -> str:
        return f"<{self.status} {self.pairs} {self.content[:200]!r}>"


def environ_of(path: str = "/", content: bytes | None = None, **given: Any) -> dict[str, Any]:
    """An environ; keyword arguments are keys of it, where ``wsgi_`` stands for ``wsgi.``."""
    environ: dict[str, Any] = {"wsgi.errors": sys.stderr}
    path, _, query = path.partition("?")
    environ.update({"PATH_INFO": path, "SCRIPT_NAME": "", "QUERY_STRING": query, "REMOTE_ADDR": "192.0.2.7"})
    if content is not None:
        environ.update({"CONTENT_LENGTH": str(len(content)), "REQUEST_METHOD": "POST"})
        environ["wsgi.input"] = io.BytesIO(content + b"what is none of its")
    environ.update({name.replace("wsgi_", "wsgi."): value for name, value in given.items()})
    setup_testing_defaults(environ)
    return environ


def begin(app: Any, environ: dict[str, Any]) -> tuple[str, list[tuple[str, str]], Any]:
    """Call an application; its status, its headers, and what it returned."""
    begun: list[tuple[str, list[tuple[str, str]]]] = []

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], object]:
        begun.append((status, headers))
        return begun.append  # type: ignore[return-value]

    returned = app(environ, start_response)
    ((status, headers),) = begun
    return status, headers, returned


def ask(app: Any, path: str = "/", content: bytes | None = None, **given: Any) -> Answer:
    """One request, checked by `wsgiref.validate`."""
    wsgi = app if isinstance(app, WSGIApplication) else WSGIApplication(app)
    status, headers, returned = begin(validator(wsgi), environ_of(path, content, **given))
    try:
        return Answer(status, headers, list(returned))
    finally:
        returned.close()


def echo(request: HTTPRequest) -> dict[str, Any]:
    return {
        "method": request.method,
        "url": request.url,
        "full_url": request.full_url,
        "headers": dict(request.headers),
        "body": request.body.decode("latin-1"),
        "ip": request.remote_ip,
        "script": request.script_name,
        "secure": request.is_secure,
        "local": request.connection.local_address,
    }


METHODS = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"]


@pytest.fixture
def app() -> Application:
    app = Application()
    app.route("/<path:rest=>", "echo", methods=METHODS, func=lambda request, rest: echo(request))
    return app


def seen(app: Application, path: str = "/", content: bytes | None = None, **given: Any) -> dict[str, Any]:
    """What the application has seen of a request."""
    answer = ask(app, path, content, **given)
    assert answer.code == 200, answer
    found: dict[str, Any] = json.loads(answer.content)
    return found


def test_docstrings() -> None:
    assert doctest.testmod(pants.web._as_wsgi).failed == 0


# --- The request ------------------------------------------------------------------------------------------------------


def test_a_request(app: Application) -> None:
    found = seen(app, "/a?b=c", HTTP_X_ONE="1", HTTP_HOST="example.com", HTTP_COOKIE="a=1; b=2")
    assert found == {
        "method": "GET",
        "url": "/a?b=c",
        "full_url": "http://example.com/a?b=c",
        "headers": {"Host": "example.com", "X-One": "1", "Cookie": "a=1; b=2"},
        "body": "",
        "ip": "192.0.2.7",
        "script": "",
        "secure": False,
        "local": ["127.0.0.1", 80],
    }


def test_the_property_of_an_application(app: Application) -> None:
    assert ask(app.wsgi).code == 200
    assert app.wsgi is app.wsgi
    assert repr(app.wsgi) == f"<WSGIApplication of {app!r}>"


def test_any_request_handler() -> None:
    assert ask(lambda request: request.send_response("spam")).content == b"spam"


def test_https(app: Application) -> None:
    found = seen(app, wsgi_url_scheme="https", HTTP_HOST="", SERVER_NAME="example.com", SERVER_PORT="443")
    assert (found["secure"], found["full_url"]) == (True, "https://example.com/")


@pytest.mark.parametrize(
    "environ, host",
    [
        ({"HTTP_HOST": "a.example:81"}, "a.example:81"),
        ({"HTTP_HOST": "", "SERVER_NAME": "b.example", "SERVER_PORT": "80"}, "b.example"),
        ({"HTTP_HOST": "", "SERVER_NAME": "b.example", "SERVER_PORT": "8080"}, "b.example:8080"),
        ({"HTTP_HOST": "", "SERVER_NAME": "::1", "SERVER_PORT": "8080"}, "[::1]:8080"),
    ],
)
def test_the_host(app: Application, environ: dict[str, Any], host: str) -> None:
    """PEP 3333, "URL Reconstruction"."""
    assert seen(app, **environ)["headers"]["Host"] == host


def test_the_client(app: Application) -> None:
    assert seen(app, REMOTE_ADDR="2001:db8::1", REMOTE_PORT="4711")["ip"] == "2001:db8::1"
    assert seen(app, REMOTE_ADDR="")["ip"] == ""  # as behind a UNIX socket
    wsgi = WSGIApplication(app, xheaders=["X-Forwarded-For"], trusted_proxies=iter(["127.0.0.1"]))
    for _ in range(2):
        assert b'"ip":"192.0.2.9"' in ask(wsgi, REMOTE_ADDR="127.0.0.1", HTTP_X_FORWARDED_FOR="192.0.2.9").content


def test_what_is_of_the_connection_is_left_out(app: Application) -> None:
    """RFC 9110 §7.6.1."""
    names = ("CONNECTION", "KEEP_ALIVE", "PROXY_CONNECTION", "TE", "TRAILER", "UPGRADE", "EXPECT")
    given: dict[str, Any] = {f"HTTP_{name}": "100-continue" for name in names}
    found = seen(app, **given)
    assert set(found["headers"]) == {"Host"}


# --- The path ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "environ, script, url",
    [
        ({"PATH_INFO": "/caf\xc3\xa9/a b"}, "", "/caf%C3%A9/a%20b"),  # UTF-8 in Latin-1, as PEP 3333 has it
        ({"PATH_INFO": "/a%2Fb?c#d"}, "", "/a%252Fb%3Fc%23d"),
        ({"PATH_INFO": "", "SCRIPT_NAME": "/below"}, "/below", "/"),
        ({"PATH_INFO": "/a", "SCRIPT_NAME": "/be low"}, "/be%20low", "/a"),
        ({"PATH_INFO": "/", "SCRIPT_NAME": "/"}, "", "/"),
        ({"PATH_INFO": "//evil.example/x"}, "", "//evil.example/x"),
        ({"PATH_INFO": "/a", "QUERY_STRING": "b=%20c&d=e+f?"}, "", "/a?b=%20c&d=e+f?"),
        ({"PATH_INFO": "/a", "QUERY_STRING": "b=\xc3\xa9 #"}, "", "/a?b=%C3%A9%20%23"),
        # As it was sent, where the server tells.
        ({"PATH_INFO": "/a/b", "RAW_URI": "/a%2Fb?c"}, "", "/a%2Fb"),
        ({"PATH_INFO": "/a/b", "REQUEST_URI": "/a%2fb"}, "", "/a%2fb"),
        ({"PATH_INFO": "/a/b", "SCRIPT_NAME": "/x y", "RAW_URI": "/x%20y/a%2Fb"}, "/x%20y", "/a%2Fb"),
        ({"PATH_INFO": "", "SCRIPT_NAME": "/x", "RAW_URI": "/x"}, "/x", "/"),
        # Unless it is not the same.
        ({"PATH_INFO": "/a/b", "RAW_URI": "/a%2Fc"}, "", "/a/b"),
        ({"PATH_INFO": "/a/b", "RAW_URI": "http://localhost/a%2Fb"}, "", "/a/b"),
        ({"PATH_INFO": "/b", "SCRIPT_NAME": "/a", "RAW_URI": "/a%2Fb"}, "/a", "/b"),
        ({"PATH_INFO": "/a", "RAW_URI": "/a HTTP/1.1\r\nX-Evil: 1\r\n\r\n"}, "", "/a"),
        ({"PATH_INFO": "/a", "RAW_URI": b"/a"}, "", "/a"),
    ],
)
def test_paths(app: Application, environ: dict[str, Any], script: str, url: str) -> None:
    status, _, returned = begin(WSGIApplication(app), environ_of(**environ))
    content = b"".join(returned)
    assert status == "200 OK"
    assert f'"url":"{url}"'.encode() in content
    assert f'"script":"{script}"'.encode() in content


def test_urls_below_the_place_of_the_application() -> None:
    app = Application(fix_end_slash=True)
    app.route("/page/<name>/", "page", func=lambda request, name: url_for("page", "b c"))
    answer = ask(app, "/page/a/", SCRIPT_NAME="/below")
    assert answer.content == b"/below/page/b%20c/"
    assert ask(app, "/page/a", SCRIPT_NAME="/below").headers["location"] == "/below/page/a/"


def test_options_of_the_server_itself() -> None:
    """RFC 9110 §9.3.7."""
    status, _, returned = begin(WSGIApplication(Application()), environ_of("*", REQUEST_METHOD="OPTIONS"))
    assert (status, list(returned)) == ("204 No Content", [])


@pytest.mark.parametrize("method", ["CONNECT", "TRACE"])
def test_methods_that_are_refused(app: Application, method: str) -> None:
    status, _, returned = begin(WSGIApplication(app), environ_of(REQUEST_METHOD=method))
    assert (status, len(list(returned))) == ("501 Not Implemented", 1)


# --- Whatever is in an environ, it is one request -------------------------------------------------------------------

EVIL = "a\r\nX-Evil: 1\r\n\r\nGET /evil HTTP/1.1\r\nHost: evil\r\n\r\n"


@pytest.mark.parametrize(
    "environ",
    [
        {"HTTP_X_A": EVIL},
        {"HTTP_X_A": "a\n"},
        {"HTTP_X_A": "a\0"},
        {"HTTP_X_A": "\u2603"},
        {"HTTP_HOST": EVIL},
        {"HTTP_HOST": "", "SERVER_NAME": EVIL},
        {"HTTP_COOKIE": EVIL},
        {"CONTENT_TYPE": EVIL},
        {"CONTENT_LENGTH": EVIL},
        {"CONTENT_LENGTH": "-1"},
        {"CONTENT_LENGTH": "1_0"},
        {"CONTENT_LENGTH": "9" * 30},
        {"REQUEST_METHOD": EVIL},
        {"REQUEST_METHOD": ""},
        {"REQUEST_METHOD": "GET /evil HTTP/1.1\r\n"},
        {"PATH_INFO": "/\u2603"},
        {"HTTP_X: Y": "a"},
        {"HTTP_X\r\nX-EVIL": "a"},
        {"HTTP_": "a"},
    ],
)
def test_values_that_cannot_be_sent(environ: dict[str, Any]) -> None:
    asked: list[HTTPRequest] = []
    status, _, returned = begin(WSGIApplication(asked.append), environ_of(**environ))
    assert status.startswith("400 ")
    assert b"".join(returned).startswith(b"400 Bad Request: ")
    assert not asked


@pytest.mark.parametrize(
    "environ",
    [
        {"PATH_INFO": f"/{EVIL}"},
        {"QUERY_STRING": EVIL},
        {"SCRIPT_NAME": f"/{EVIL}"},
        {"REMOTE_ADDR": EVIL},
        {"RAW_URI": f"/{EVIL}", "PATH_INFO": f"/{EVIL}"},
        {"wsgi_url_scheme": EVIL},
        {"SERVER_PROTOCOL": EVIL},
        {"SERVER_NAME": EVIL},
        {"SERVER_PORT": EVIL},
        {"HTTP_UPGRADE": EVIL},
        {"HTTP_TRANSFER-ENCODING": "chunked"},
        {"HTTP_transfer_encoding": "chunked"},
        {"HTTP_Content_Length": "100"},
    ],
)
def test_values_that_are_escaped_or_not_sent(environ: dict[str, Any]) -> None:
    asked: list[HTTPRequest] = []

    def handler(request: HTTPRequest) -> None:
        asked.append(request)
        assert set(request.headers) == {"Host"}
        request.send_response("spam")

    status, _, returned = begin(WSGIApplication(handler), environ_of(**{"HTTP_HOST": "a", **environ}))
    assert status == "200 OK"
    assert b"".join(returned) == b"spam"
    assert len(asked) == 1


def test_a_malformed_host_is_refused_as_elsewhere(app: Application) -> None:
    assert ask(app, HTTP_HOST="a b").code == 400


def test_an_environ_that_is_none(app: Application) -> None:
    with pytest.raises(TypeError, match=r"HTTP_X_A in the environ is a str"):
        begin(app.wsgi, environ_of(HTTP_X_A=b"a"))


# --- Content ----------------------------------------------------------------------------------------------------------


class Input(io.RawIOBase):
    """Content that is made up as it is read; it keeps the sizes that were asked for."""

    def __init__(self, size: int) -> None:
        self.left = size
        self.asked: list[int] = []

    def read(self, size: int = -1) -> bytes:
        self.asked.append(size)
        given = min(self.left, size, 50_000)
        self.left -= given
        return b"x" * given


def test_content(app: Application) -> None:
    found = seen(app, "/", b"spam", CONTENT_TYPE="text/weird")
    assert found["body"] == "spam"
    assert (found["headers"]["Content-Length"], found["headers"]["Content-Type"]) == ("4", "text/weird")
    assert seen(app, "/", b"")["headers"]["Content-Length"] == "0"
    assert "Content-Length" not in seen(app, REQUEST_METHOD="POST")["headers"]


def test_forms_and_files() -> None:
    app = Application()

    @app.route("/", methods=["POST"])
    def page(request: HTTPRequest) -> list[Any]:
        return [request.post, [file["filename"] for file in request.files.get("f", [])]]

    assert (
        ask(app, "/", b"a=1&a=2", CONTENT_TYPE="application/x-www-form-urlencoded").content == b'[{"a":["1","2"]},[]]'
    )
    form = (
        b'--x\r\nContent-Disposition: form-data; name="f"; filename="a"\r\n\r\n' + b"y" * 3_000_000 + b"\r\n--x--\r\n"
    )
    assert ask(app, "/", form, CONTENT_TYPE="multipart/form-data; boundary=x").content == b'[{},["a"]]'


def test_long_content_is_read_in_pieces() -> None:
    def handler(request: HTTPRequest) -> None:
        store: Any = request._store
        with request.body_file as file:
            size = sum(map(len, iter(lambda: file.read(65536), b"")))
        request.send_response(f"{size} {store._spool is not None}")

    source = Input(3_000_000)
    answer = ask(handler, CONTENT_LENGTH="3000000", REQUEST_METHOD="PUT", wsgi_input=source)
    assert answer.content == b"3000000 True"
    assert max(source.asked) <= 65536
    assert source.left == 0


def test_content_that_is_too_long_is_not_read() -> None:
    wsgi = WSGIApplication(lambda request: request.send_response("spam"), max_request=1000)
    source = Input(10_000_000)
    answer = ask(wsgi, CONTENT_LENGTH="10000000", REQUEST_METHOD="POST", wsgi_input=source)
    assert answer.code == 413
    assert source.asked == []


def test_content_that_is_not_complete(app: Application) -> None:
    ended: list[bool] = []
    app.request_teardown(lambda request: ended.append(True))
    answer = ask(app, CONTENT_LENGTH="100", REQUEST_METHOD="POST", wsgi_input=Input(50))
    assert answer.code == 400
    assert not ended


def test_an_input_that_fails(app: Application) -> None:
    class Broken(io.RawIOBase):
        def read(self, size: int = -1) -> bytes:
            raise ConnectionResetError

    wsgi = app.wsgi
    with pytest.raises(ConnectionResetError):
        ask(wsgi, CONTENT_LENGTH="100", REQUEST_METHOD="POST", wsgi_input=Broken())
    assert len(wsgi._idle) == 1


@pytest.mark.parametrize("given, error", [("text", TypeError), (b"x" * 200, ValueError)])
def test_an_input_that_is_none(app: Application, given: Any, error: type[Exception]) -> None:
    """What is more than was asked for may not become another request."""

    class Wrong:
        def read(self, size: int = -1) -> Any:
            return given

    with pytest.raises(error, match=r"wsgi\.input gave"):
        begin(app.wsgi, environ_of(CONTENT_LENGTH="100", REQUEST_METHOD="POST", wsgi_input=Wrong()))


def test_chunked_content(app: Application) -> None:
    given: dict[str, Any] = {"REQUEST_METHOD": "POST", "HTTP_TRANSFER_ENCODING": "chunked"}
    assert ask(app, **given).code == 411
    found = seen(app, **given, wsgi_input=Input(120_000), wsgi_input_terminated=True)
    assert len(found["body"]) == 120_000
    assert found["headers"]["Transfer-Encoding"] == "chunked"
    found = seen(app, REQUEST_METHOD="POST", wsgi_input=Input(7), wsgi_input_terminated=True)
    assert found["body"] == "xxxxxxx"
    found = seen(app, REQUEST_METHOD="POST", wsgi_input=Input(0), wsgi_input_terminated=True)
    assert found["headers"]["Content-Length"] == "0"
    source = Input(7)
    assert seen(app, wsgi_input=source, wsgi_input_terminated=True)["body"] == ""
    assert source.asked == []
    found = seen(app, "/", b"spam", wsgi_input_terminated=True)
    assert found["headers"]["Content-Length"] == "4"


def test_content_that_is_taken_as_it_comes() -> None:
    """With a head_handler; the answer may begin before the content is complete."""

    def begin(request: HTTPRequest) -> None:
        request.on_data = lambda data: request.send(f"{len(data)} ")

    wsgi = WSGIApplication(lambda request: request.finish(), head_handler=begin)
    source = Input(200_000)
    status, _, returned = wsgi_begin(wsgi, source)
    assert source.left > 0
    assert status == "200 OK"
    assert b"".join(returned) == b"50000 50000 50000 50000 "
    returned.close()


def wsgi_begin(wsgi: WSGIApplication, source: Input) -> tuple[str, list[tuple[str, str]], Any]:
    return begin(wsgi, environ_of(CONTENT_LENGTH=str(source.left), REQUEST_METHOD="POST", wsgi_input=source))


def test_content_that_is_paused_for_ever(expect_log: ExpectLog) -> None:
    expect_log("would be answered later")
    source = Input(10_000_000)

    def pause(request: HTTPRequest) -> None:
        request.on_data = lambda data: request.pause_body()

    wsgi = WSGIApplication(lambda request: request.send_response("spam"), head_handler=pause, max_request=1 << 30)
    status, _, _ = wsgi_begin(wsgi, source)
    assert status == "501 Not Implemented"
    assert source.left > 9_000_000


# --- Answers ----------------------------------------------------------------------------------------------------------


def test_an_answer() -> None:
    app = Application()

    @app.route("/")
    def page(request: HTTPRequest) -> Response:
        return Response("spam", 418, [("X-A", "1"), ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"), ("ETag", '"x"')])

    answer = ask(app)
    assert answer.status == "418 I'm a Teapot"
    assert answer.content == b"spam"
    assert sorted(answer.pairs) == [
        ("Content-Length", "4"),
        ("Content-Type", "text/plain; charset=UTF-8"),
        ("Etag", '"x"'),
        ("Set-Cookie", "a=1"),
        ("Set-Cookie", "b=2"),
        ("X-A", "1"),
    ]  # neither Date nor Server, which are the server's


def test_fields_of_the_program_are_passed_on() -> None:
    def handler(request: HTTPRequest) -> None:
        request.send_headers({"Date": "Thu, 01 Jan 1970 00:00:00 GMT", "Server": "own", "Connection": "close"})
        request.finish()

    answer = ask(handler)
    assert answer.headers["date"].startswith("Thu, 01 Jan 1970")
    assert answer.headers["server"] == "own"
    assert "connection" not in answer.headers
    assert ask(WSGIApplication(handler, server_name="given")).headers["server"] == "own"


def test_a_status_that_has_no_name() -> None:
    assert ask(lambda request: request.send_response("", 299)).status == "299 Unknown"


@pytest.mark.parametrize("code", [204, 304])
def test_answers_without_content(code: int) -> None:
    def handler(request: HTTPRequest) -> None:
        request.send_status(code)
        request.send_headers({"Content-Type": "text/plain", "X-A": "1"})
        request.finish()

    answer = ask(handler)
    assert (answer.code, answer.pairs, answer.pieces) == (code, [("X-A", "1")], [])


def test_head(app: Application) -> None:
    app.route("/pieces/", "pieces", func=lambda request: iter(["a", "b"]))
    length = ask(app, "/").headers["content-length"]
    answer = ask(app, "/", REQUEST_METHOD="HEAD")
    assert answer.pieces == []
    assert int(answer.headers["content-length"]) == int(length) + 1  # "HEAD" is longer than "GET"
    answer = ask(app, "/pieces/", REQUEST_METHOD="HEAD")
    assert (answer.code, answer.pieces) == (200, [])
    assert ask(lambda request: request.send_headers({}), REQUEST_METHOD="HEAD").code == 200


def test_a_type_that_is_not_told(tmp_path: pathlib.Path) -> None:
    """RFC 9110 §8.3."""
    path = tmp_path / "file"
    path.write_bytes(b"content")
    answer = ask(lambda request: request.send_file(path))
    assert (answer.content, answer.headers["content-type"]) == (b"content", "application/octet-stream")


def test_cookies_and_sessions(app: Application) -> None:
    def handler(request: HTTPRequest) -> None:
        user = request.get_secure_cookie("user")
        request.set_secure_cookie("user", "ann")
        request.send_response(str(user))

    wsgi = WSGIApplication(handler, cookie_secret="a secret")
    answer = ask(wsgi)
    assert answer.content == b"None"
    cookie = answer.headers["set-cookie"].partition(";")[0]
    assert ask(wsgi, HTTP_COOKIE=cookie).content == b"ann"


def test_compression() -> None:
    wsgi = WSGIApplication(lambda request: request.send_response("x" * 10_000), compression=True)
    answer = ask(wsgi, HTTP_ACCEPT_ENCODING="gzip")
    assert answer.headers["content-encoding"] == "gzip"
    assert answer.content.startswith(b"\x1f\x8b")


def test_files_and_ranges(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "large.bin"
    path.write_bytes(os.urandom(3_000_000))
    wsgi = WSGIApplication(lambda request: request.send_file(path))
    answer = ask(wsgi)
    assert answer.content == path.read_bytes()
    assert answer.headers["content-length"] == "3000000"
    assert max(map(len, answer.pieces)) <= 65536
    part = ask(wsgi, HTTP_RANGE="bytes=1000000-1999999")
    assert (part.code, part.content) == (206, path.read_bytes()[1_000_000:2_000_000])
    assert ask(wsgi, HTTP_IF_NONE_MATCH=answer.headers["etag"]).code == 304


def test_an_answer_until_the_connection_ends() -> None:
    def handler(request: HTTPRequest) -> None:
        request.connection.write(b"HTTP/1.1 200 OK\r\nContent-Type: a/b\r\n\r\nold")
        request.connection.close()

    assert ask(handler).content == b"old"


def test_errors_have_their_pages(app: Application, expect_log: ExpectLog) -> None:
    expect_log("ZeroDivisionError")

    @app.route("/broken/")
    def broken(request: HTTPRequest) -> None:
        raise ZeroDivisionError

    answer = ask(app, "/broken/")
    assert answer.code == 500
    assert answer.headers["content-type"].startswith("text/html")
    assert b"ZeroDivisionError" not in answer.content
    assert ask(Application()).code == 404


# --- Pieces -----------------------------------------------------------------------------------------------------------


def test_a_generator_is_asked_when_the_server_asks() -> None:
    made: list[int] = []

    def view(request: HTTPRequest) -> Iterator[bytes]:
        for i in range(4):
            made.append(i)
            yield b"x" * 70_000

    app = Application()
    app.route("/", "page", func=view)
    _, headers, returned = begin(app.wsgi, environ_of())
    assert not {name.lower() for name, _ in headers} & {"content-length", "transfer-encoding"}
    assert made == [0]
    received = 0
    for count in (1, 2, 3, 4):
        while received < 70_000 * count:
            received += len(next(returned))
        assert made == list(range(count))
    assert list(returned) == []
    returned.close()
    assert received == 280_000


def test_pieces_that_take_their_time_are_passed_on_at_once() -> None:
    """PEP 3333, "Buffering and Streaming"."""

    def view(request: HTTPRequest) -> Iterator[str]:
        for i in range(3):
            yield f"{i}\n"
            time.sleep(0.02)

    app = Application()
    app.route("/", "page", func=view)
    assert ask(app).pieces == [b"0\n", b"1\n", b"2\n"]


def test_pieces_that_are_empty() -> None:
    def view(request: HTTPRequest) -> Iterator[str]:
        yield "a"
        for _ in range(3):
            yield ""
        yield "b"

    app = Application()
    app.route("/", "page", func=view)
    assert ask(app).content == b"ab"


def test_a_program_that_sends_on_drain() -> None:
    def handler(request: HTTPRequest) -> None:
        left = iter("abc")

        def send_more() -> None:
            for piece in left:
                request.send(piece)
                return
            request.finish()

        request.send_headers({"Content-Type": "text/plain"})
        request.on_drain = send_more

    assert ask(handler).pieces == [b"a", b"b", b"c"]


def test_a_client_that_goes_away() -> None:
    events: list[str] = []
    app = Application()
    app.request_teardown(lambda request: events.append("teardown"))

    @app.route("/")
    def view(request: HTTPRequest) -> Iterator[bytes]:
        request.on_close = lambda: events.append("close")
        try:
            while True:
                yield b"x" * 70_000
        finally:
            events.append("finally")

    wsgi = app.wsgi
    _, _, returned = begin(wsgi, environ_of())
    next(returned)
    assert events == []
    assert wsgi._idle == []
    returned.close()
    assert sorted(events) == ["close", "finally", "teardown"]
    returned.close()
    assert len(wsgi._idle) == 1
    assert list(returned) == []
    _, _, returned = begin(wsgi, environ_of())
    del returned  # a server that does not call close()
    gc.collect()
    assert len(events) == 6


def test_an_answer_that_is_broken_off(expect_log: ExpectLog) -> None:
    expect_log("ZeroDivisionError")

    def view(request: HTTPRequest) -> Iterator[str]:
        yield "a"
        raise ZeroDivisionError

    app = Application()
    app.route("/", "page", func=view)
    _, _, returned = begin(app.wsgi, environ_of())
    assert next(returned) == b"a"
    with pytest.raises(RuntimeError, match="broken off; the log tells why"):
        next(returned)
    assert len(app.wsgi._idle) == 1


def test_a_hook_of_the_request_that_fails(expect_log: ExpectLog) -> None:
    expect_log("ZeroDivisionError")

    def handler(request: HTTPRequest) -> None:
        def drained() -> None:
            raise ZeroDivisionError

        request.send_headers({"Content-Type": "text/plain"})
        request.send("a part")
        request.on_drain = drained

    _, _, returned = begin(WSGIApplication(handler), environ_of())
    assert next(returned) == b"a part"
    with pytest.raises(RuntimeError, match="broken off"):
        next(returned)


def test_a_long_head() -> None:
    def handler(request: HTTPRequest) -> None:
        request.send_response("spam", headers={"X-Long": "x" * 200_000})

    answer = ask(handler)
    assert (len(answer.headers["x-long"]), answer.content) == (200_000, b"spam")


def test_an_engine_that_has_always_something_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pants.testing, "MOST_TURNS", 1000)

    def handler(request: HTTPRequest) -> None:
        def again() -> None:
            request.connection.engine.callback(again)

        again()

    wsgi = WSGIApplication(handler)
    with pytest.raises(RuntimeError, match="no end of things to do"):
        begin(wsgi, environ_of())
    assert wsgi._idle == []


def test_no_answer_at_all(expect_log: ExpectLog) -> None:
    expect_log("has got no answer")
    assert ask(lambda request: request.finish()).code == 500


def test_a_start_response_that_fails() -> None:
    wsgi = WSGIApplication(lambda request: request.send_response("x" * 1_000_000))

    def start_response(status: str, headers: list[tuple[str, str]]) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        wsgi(environ_of(), start_response)
    assert len(wsgi._idle) == 1


def test_what_is_no_exception_of_the_program_goes_through() -> None:
    def handler(request: HTTPRequest) -> None:
        raise KeyboardInterrupt

    wsgi = WSGIApplication(handler)
    with pytest.raises(KeyboardInterrupt):
        begin(wsgi, environ_of())


# --- What cannot be done ----------------------------------------------------------------------------------------------


def test_an_answer_that_comes_later(expect_log: ExpectLog) -> None:
    expect_log("(GET|HEAD) /> would be answered later, which cannot be done under WSGI")
    ended: list[str] = []

    def handler(request: HTTPRequest) -> None:
        request.on_close = lambda: ended.append("close")
        request.connection.engine.defer(5, request.send_response, "at last")

    wsgi = WSGIApplication(handler)
    answer = ask(wsgi)
    assert answer.code == 501
    assert b"later" in answer.content
    assert ended == ["close"]
    assert wsgi._idle == []  # a timer is left, which is nothing to the next request
    assert ask(wsgi, REQUEST_METHOD="HEAD").pieces == []


def test_an_answer_that_another_engine_gives(expect_log: ExpectLog) -> None:
    expect_log("would be answered later")

    def handler(request: HTTPRequest) -> None:
        Engine.instance().callback(request.send_response, "at last")

    assert ask(handler).code == 501


def test_an_answer_whose_content_comes_later(expect_log: ExpectLog) -> None:
    expect_log("would be answered later")

    def handler(request: HTTPRequest) -> None:
        request.send_headers({"Content-Type": "text/plain"})
        request.connection.flush()

    assert ask(handler).code == 501


def test_an_answer_whose_end_comes_later() -> None:
    def handler(request: HTTPRequest) -> None:
        request.send_headers({"Content-Type": "text/plain"})
        request.send("a part")

    wsgi = WSGIApplication(handler)
    status, _, returned = begin(wsgi, environ_of())
    assert (status, next(returned)) == ("200 OK", b"a part")
    with pytest.raises(RuntimeError, match="would come later"):
        next(returned)
    assert len(wsgi._idle) == 1


def test_an_answer_that_is_only_postponed() -> None:
    def handler(request: HTTPRequest) -> None:
        request.connection.engine.callback(request.send_response, "soon")

    assert ask(handler).content == b"soon"


def test_websockets() -> None:
    opened: list[bool] = []

    class Chat(WebSocket):
        def on_connect(self) -> None:
            opened.append(True)

    app = Application()
    app.route("/", "chat", func=Chat)
    asking: dict[str, Any] = {
        "HTTP_CONNECTION": "Upgrade",
        "HTTP_UPGRADE": "websocket",
        "HTTP_SEC_WEBSOCKET_KEY": "dGhlIHNhbXBsZSBub25jZQ==",
        "HTTP_SEC_WEBSOCKET_VERSION": "13",
    }
    answer = ask(app, **asking)
    assert answer.code == 501
    assert b"WebSocket" in answer.content
    assert not opened
    assert ask(app).code == 426  # without the wish, it is told what the place is for
    app.route("/page", "page", func=lambda request: "spam")
    assert ask(app, "/page", **asking).content == b"spam"


def test_another_protocol() -> None:
    def handler(request: HTTPRequest) -> None:
        request.send_status(101)
        request.send_headers({"Upgrade": "other", "Connection": "Upgrade"})

    assert ask(handler).code == 501


# --- Servers in memory ------------------------------------------------------------------------------------------------


def test_they_are_used_again() -> None:
    engines: list[Engine] = []

    def handler(request: HTTPRequest) -> None:
        engines.append(request.connection.engine)
        request.send_response("spam")

    wsgi = WSGIApplication(handler)
    for _ in range(10):
        ask(wsgi)
    assert len(set(engines)) == 1
    assert not engines[0]._memory.sockets  # type: ignore[attr-defined]
    assert Engine._instance is None


def test_time_is_real_there() -> None:
    times: list[float] = []

    def handler(request: HTTPRequest) -> None:
        time.sleep(0.01)
        times.append(request.time)
        request.send_response("spam")

    ask(handler)
    assert times[0] >= 0.01


def test_requests_at_the_same_time() -> None:
    """Several threads may ask at once, and one request may go on in another thread."""
    barrier = threading.Barrier(4, timeout=30)

    def view(request: HTTPRequest) -> Iterator[str]:
        yield request.path
        barrier.wait()
        yield "!"

    app = Application()
    app.route("/<path:rest>", "page", func=lambda request, rest: view(request))
    wsgi = app.wsgi
    answers: dict[int, bytes] = {}

    def run(i: int) -> None:
        _, _, returned = begin(wsgi, environ_of(f"/{i}"))
        answers[i] = b"".join(returned)
        returned.close()

    threads = [threading.Thread(target=run, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert answers == {i: f"/{i}!".encode() for i in range(4)}
    assert 1 <= len(wsgi._idle) <= 4
    _, _, returned = begin(WSGIApplication(lambda request: request.send_response("x" * 200_000)), environ_of())
    pieces: list[bytes] = []
    thread = threading.Thread(target=lambda: pieces.extend(returned))
    thread.start()
    thread.join(30)
    assert len(b"".join(pieces)) == 200_000


def test_no_more_are_kept_than_are_of_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pants.web._as_wsgi, "_MOST_IDLE", 2)
    wsgi = WSGIApplication(lambda request: request.send_response("x" * 200_000))
    returned = [begin(wsgi, environ_of())[2] for _ in range(5)]
    for one in returned:
        one.close()
    assert len(wsgi._idle) == 2


def test_nothing_is_left_behind() -> None:
    gc.collect()
    before = len(os.listdir("/dev/fd"))
    wsgi = WSGIApplication(lambda request: request.send_response("x" * 200_000))
    returned = [begin(wsgi, environ_of())[2] for _ in range(3)]
    assert len(os.listdir("/dev/fd")) > before
    del wsgi, returned
    gc.collect()
    assert len(os.listdir("/dev/fd")) == before


@pytest.mark.parametrize(
    "handler, options, error, message",
    [
        ("app", {}, TypeError, "called with each request"),
        (print, {"engine": None}, TypeError, "engine of its own"),
        (print, {"cookie_sekret": "x"}, TypeError, "no option"),
        (print, {"max_request": -1}, ValueError, "max_request"),
        (print, {"server_name": "\n"}, ValueError, "server_name"),
    ],
)
def test_bad_arguments(handler: Any, options: dict[str, Any], error: type[Exception], message: str) -> None:
    before = len(os.listdir("/dev/fd"))
    with pytest.raises(error, match=message):
        WSGIApplication(handler, **options)
    gc.collect()
    assert len(os.listdir("/dev/fd")) == before


# --- Programs ---------------------------------------------------------------------------------------------------------


def test_modules_and_hooks() -> None:
    app, module = Application(), Module()
    module.route("/page", "page", func=lambda request: "spam")
    app.add("/below", module)
    app.after(lambda request, head: head.headers.add("X-After", str(head.status)))
    answer = ask(app, "/below/page")
    assert (answer.content, answer.headers["x-after"]) == (b"spam", "200")


def test_within_an_application_of_pants(app: Application) -> None:
    """There and back again: an application under WSGI under an application."""
    outer = Application()
    WSGIConnector(app.wsgi, threads=0).attach(outer, "/inner")
    response = outer.test_client().post("/inner/a%2Fb?c", data=b"spam")
    assert response.json["body"] == "spam"
    assert response.json["script"] == "/inner"
    assert response.json["url"].endswith("?c")


def test_timers_that_go_on_and_on_are_not_waited_for(expect_log: ExpectLog) -> None:
    """ "An answer finished later" is a 501, be there something to do meanwhile or not."""
    expect_log("would be answered later")

    def handler(request: HTTPRequest) -> None:
        request.auto_finish = False
        request.connection.engine.cycle(0.005, lambda: None)

    seen: list[str] = []
    environ: dict[str, Any] = {}
    setup_testing_defaults(environ)
    result: Any = WSGIApplication(handler)(environ, lambda status, *_: seen.append(status))
    b"".join(result)
    assert seen == ["501 Not Implemented"]
