"""`pants.web.Application` (manual: "pants.web.application"), on a server in memory: output, plain paths, errors."""

from __future__ import annotations

import contextlib
import doctest
from collections.abc import Iterator
from typing import Any

import pytest

import pants.web.application
from pants.http import HTTPRequest, HTTPServer
from pants.testing import MemoryEngine
from pants.web import Application
from pants.web.application import url_of
from tests.web.support import ask


def returning(output: Any, **options: Any) -> Any:
    """The answer to a route whose function returns something."""
    app = Application()
    app.route("/", func=lambda request: output, **options)
    return ask(app, "/")


# --- Output -----------------------------------------------------------------------------------------------------------

OUTPUT: dict[str, tuple[Any, int, str | None, bytes]] = {
    "a str": ("Hello, World!", 200, "text/plain; charset=UTF-8", b"Hello, World!"),
    "a str beyond ASCII": ("ä☃", 200, "text/plain; charset=UTF-8", "ä☃".encode()),
    "an empty str": ("", 200, "text/plain; charset=UTF-8", b""),
    "a document": ("<!DOCTYPE html><p>ä", 200, "text/html; charset=UTF-8", "<!DOCTYPE html><p>ä".encode()),
    "a document in lower case": ("<!doctype html>", 200, "text/html; charset=UTF-8", b"<!doctype html>"),
    "a document without its type": ("<html>", 200, "text/html; charset=UTF-8", b"<html>"),
    "what only looks like it": ("<p>html</p>", 200, "text/plain; charset=UTF-8", b"<p>html</p>"),
    "bytes": (b"a\xff", 200, "text/plain", b"a\xff"),
    "a bytearray": (bytearray(b"a"), 200, "text/plain", b"a"),
    "a document in bytes": (b"<!DOCTYPE html>", 200, "text/html", b"<!DOCTYPE html>"),
    "nothing": (None, 204, None, b""),
}


@pytest.mark.parametrize("name", OUTPUT)
def test_output(name: str) -> None:
    """Manual: "Output Handling", "Response Body"; DESIGN §3: str adds the charset, None is 204."""
    output, status, content_type, content = OUTPUT[name]
    answer = returning(output)
    assert (answer.status, answer.headers["Content-Type"], answer.content) == (status, content_type, content)


@pytest.mark.parametrize(
    "output, content_type, sent, content",
    [
        ("ä", "text/css", "text/css; charset=UTF-8", "ä".encode()),
        ("ä", "text/css; charset=latin-1", "text/css; charset=latin-1", b"\xe4"),
        ("<html>", "text/plain", "text/plain; charset=UTF-8", b"<html>"),
        (b"\xe4", "text/css", "text/css", b"\xe4"),
    ],
)
def test_the_content_type_of_a_route(output: Any, content_type: str, sent: str, content: bytes) -> None:
    """Manual: a unicode string is encoded as the Content-Type says, else in UTF-8, and the type updated."""
    for options in ({"content_type": content_type}, {"headers": {"content-type": content_type}}):
        answer = returning(output, **options)
        assert (answer.headers["Content-Type"], answer.content) == (sent, content)
        assert len(answer.headers.get_all("Content-Type")) == 1


def test_the_headers_of_a_route() -> None:
    """Manual: "headers": always sent with the response from this request handler."""
    assert returning("a", headers={"X-One": "1"}).headers["X-One"] == "1"
    assert returning(None, headers={"X-One": "1"}).headers["X-One"] == "1"


@pytest.mark.parametrize("output", [1, {"a": 1}, ["a"], ("a", 404), object(), True])
def test_other_output_is_an_error_so_far(output: Any, expect_log: Any) -> None:
    """It is not sent as something that it will not be later."""
    expect_log(r"route 'view' \(/\) failed(.|\n)*a view returns str, bytes or None, so far; not ")
    app = Application()

    @app.route("/")
    def view(request: HTTPRequest) -> Any:
        return output

    assert ask(app, "/").status == 500


def test_a_view_may_answer_by_itself() -> None:
    """DESIGN §3: None is nothing at all where the handler sent by itself."""
    app = Application()

    @app.route("/")
    def view(request: HTTPRequest) -> None:
        request.send_response("by itself", 201)

    answer: Any = ask(app, "/")
    assert (answer.status, answer.content) == (201, b"by itself")


def test_a_view_cannot_answer_twice(expect_log: Any) -> None:
    expect_log(r"route 'view' \(/\) failed, on <HTTPRequest GET /\>(.|\n)*answered once")
    app = Application()

    @app.route("/")
    def view(request: HTTPRequest) -> str:
        request.send_response("once")
        return "twice"

    assert ask(app, "/").content == b"once"  # type: ignore[attr-defined]


# --- Routing ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def app() -> Application:
    app = Application("name")

    @app.route("/")
    def index(request: HTTPRequest) -> str:
        return "index"

    @app.route("/über uns/")
    def about(request: HTTPRequest) -> str:
        return "about"

    @app.route("/form", methods=["post", "put"])
    def save(request: HTTPRequest) -> str:
        return "saved"

    @app.route("/form")
    def show(request: HTTPRequest) -> str:
        return "shown"

    return app


@pytest.mark.parametrize(
    "method, path, status, content",
    [
        ("GET", "/", 200, b"index"),
        ("GET", "/?a=b", 200, b"index"),
        ("GET", "http://a/", 200, b"index"),
        ("HEAD", "/", 200, b""),
        ("GET", "/form", 200, b"shown"),
        ("POST", "/form", 200, b"saved"),
        ("PUT", "/form", 200, b"saved"),
        ("GET", "/%C3%BCber%20uns/", 200, b"about"),
        ("GET", "/%66orm", 200, b"shown"),
    ],
)
def test_a_route_is_found(app: Application, method: str, path: str, status: int, content: bytes) -> None:
    answer: Any = ask(app, path, method)
    assert (answer.status, answer.content) == (status, content)


@pytest.mark.parametrize(
    "path", ["/other", "//", "/form/", "/%2Fform", "/%2fform", "/%FF", "/%C3%BCber%20uns", "/%%", "/%20", "/Form"]
)
def test_what_has_no_route_is_404(app: Application, path: str) -> None:
    answer: Any = ask(app, path)
    assert answer.status == 404
    assert answer.headers["Content-Type"] == "text/html; charset=UTF-8"
    assert b"404 Not Found" in answer.content


def test_the_path_does_not_come_back_in_the_page(app: Application) -> None:
    answer: Any = ask(app, "/<script>")
    assert b"script" not in answer.content


@pytest.mark.parametrize(
    "method, path, allowed",
    [("POST", "/", "GET, HEAD"), ("OPTIONS", "/", "GET, HEAD"), ("DELETE", "/form", "POST, PUT, GET, HEAD")],
)
def test_another_method_is_405(app: Application, method: str, path: str, allowed: str) -> None:
    """Manual: "methods": all others will result in a 405. RFC 9110 §15.5.6: with Allow."""
    answer = ask(app, path, method)
    assert answer.status == 405
    assert answer.headers["Allow"] == allowed


@pytest.mark.parametrize("fixed", [True, False])
def test_fix_end_slash(fixed: bool) -> None:
    app = Application(fix_end_slash=fixed)
    app.route("/page/", func=lambda request: "page")
    for path in ("/page", "/page?a=b"):
        answer = ask(app, path)
        assert answer.status == (301 if fixed else 404)
        assert answer.headers["Location"] == (path.replace("/page", "/page/") if fixed else None)
    assert ask(app, "/other").status == 404


# --- Registering ------------------------------------------------------------------------------------------------------


def view(request: HTTPRequest) -> str:
    return "a"


@pytest.mark.parametrize(
    "error, pattern, args, kwargs",
    [
        (ValueError, "domain are not there yet", ("example.com/",), {}),
        (ValueError, "domain are not there yet", ("<user>.example.com/",), {}),
        (ValueError, "begins with a slash", ("",), {}),
        (ValueError, "without query", ("/a?b",), {}),
        (ValueError, "without query", ("/a#b",), {}),
        (TypeError, "without its parentheses", (view,), {}),
        (TypeError, "methods is an iterable", ("/",), {"methods": "GET"}),
        (ValueError, "methods is empty", ("/",), {"methods": ()}),
        (ValueError, "control characters", ("/",), {"headers": {"X": "a\r\nb"}}),
        (ValueError, "by the server", ("/",), {"headers": {"Content-Length": "1"}}),
        (ValueError, "control characters", ("/",), {"content_type": "text/plain\n"}),
        (ValueError, "not known", ("/",), {"headers": {"Content-type": "text/plain; charset=x-none"}}),
        (TypeError, "cannot be called", ("/",), {"func": "view"}),
    ],
)
def test_a_mistake_raises_at_registration(error: type[Exception], pattern: str, args: Any, kwargs: Any) -> None:
    app = Application()
    with pytest.raises(error, match=pattern):
        app.route(*args, **kwargs)
    assert ask(app, "/").status == 404


def test_a_route_is_registered_once() -> None:
    app = Application()
    assert app.route("/a")(view) is view
    assert app.route("/b", func=view) is view
    with pytest.raises(ValueError, match="/a has a route for HEAD already, named 'view'"):
        app.route("/a", methods=["POST", "HEAD"])(view)
    assert ask(app, "/a", "POST").status == 405
    with pytest.raises(ValueError, match="name 'view' has been given to another"):
        app.route("/c", name="view")(lambda request: "c")
    app.route("/c", name="c", auto404=True)(lambda request: "c")
    assert ask(app, "/c").status == 200


def test_any_callable_is_a_view() -> None:
    class View:
        def __call__(self, request: HTTPRequest) -> str:
            return "called"

    app = Application()
    app.route("/", func=View())
    assert ask(app, "/").content == b"called"  # type: ignore[attr-defined]


# --- Errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("debug", [True, False])
def test_an_exception_is_500(debug: bool, expect_log: Any) -> None:
    """Manual: "debug": only then the page displays additional information."""
    expect_log(r"The route 'broken' \(/\) failed, on <HTTPRequest GET /\?<b>>\n(.|\n)*ZeroDivisionError")
    app = Application(debug=debug)

    @app.route("/")
    def broken(request: HTTPRequest) -> str:
        raise ZeroDivisionError("<b>")

    answer: Any = ask(app, "/?<b>")
    assert answer.status == 500
    assert b"500 Internal Server Error" in answer.content
    assert (b"ZeroDivisionError: &lt;b&gt;" in answer.content) is debug
    assert (b"Traceback" in answer.content) is debug
    assert b"<b>" not in answer.content


def test_an_exception_after_the_answer_is_logged(expect_log: Any) -> None:
    expect_log("The route 'broken'")
    app = Application()

    @app.route("/")
    def broken(request: HTTPRequest) -> str:
        request.send_response("answered")
        raise ZeroDivisionError

    assert ask(app, "/").content == b"answered"  # type: ignore[attr-defined]


# --- Running ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "scheme, address, url",
    [
        ("http", ("0.0.0.0", 80), "http://localhost/"),
        ("https", ("0.0.0.0", 443), "https://localhost/"),
        ("https", ("127.0.0.1", 80), "https://127.0.0.1:80/"),
        ("http", ("::", 8080, 0, 0), "http://localhost:8080/"),
        ("http", ("::1", 8080, 0, 0), "http://[::1]:8080/"),
        ("http", "/run/web", "http on '/run/web'"),
    ],
)
def test_the_url_of_an_address(scheme: str, address: Any, url: str) -> None:
    assert url_of(scheme, address) == url


@contextlib.contextmanager
def engine_that(start: Any) -> Iterator[MemoryEngine]:
    """An engine whose `start` is something else."""
    with MemoryEngine() as engine:
        engine.start = start
        yield engine


def test_run_serves_until_the_engine_stops(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """Manual: "run": makes a server, calls listen(), and starts the engine. Port 80 by default."""
    asked: list[tuple[Any, Any]] = []
    closed: list[HTTPServer] = []

    def listen(self: HTTPServer, address: Any = None, *args: Any) -> HTTPServer:
        asked.append((address, self.request_handler))
        self.local_address = ("0.0.0.0", address or 80)
        return self

    monkeypatch.setattr(HTTPServer, "listen", listen)
    monkeypatch.setattr(HTTPServer, "on_close", lambda self: closed.append(self))
    app = Application()
    with engine_that(lambda: None) as engine:
        app.run(engine=engine)
        app.run(8080, engine=engine)

    def interrupted() -> None:
        raise KeyboardInterrupt

    with engine_that(interrupted) as engine:
        app.run(8081, engine=engine)

    def broken() -> None:
        raise MemoryError

    with engine_that(broken) as engine, pytest.raises(MemoryError):
        app.run(8082, engine=engine)
    assert asked == [(None, app), (8080, app), (8081, app), (8082, app)]
    assert len(closed) == 4
    assert [line.split()[1] for line in capsys.readouterr().err.splitlines()] == [
        "http://localhost/",
        *(f"http://localhost:{port}/" for port in (8080, 8081, 8082)),
    ]


def test_an_address_that_cannot_be_had_raises() -> None:
    with pytest.raises(OSError, match="cannot listen on '/no/such/folder/socket'"):
        Application().run("/no/such/folder/socket")


def test_the_examples() -> None:
    result = doctest.testmod(pants.web.application)
    assert result.attempted
    assert not result.failed
