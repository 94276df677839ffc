"""`pants.web.Application` (manual: "Application", "Module"): plain paths, methods, registering, running."""

from __future__ import annotations

import contextlib
import doctest
from collections.abc import Iterator
from typing import Any

import pytest

import pants.web
import pants.web._hooks
import pants.web._output
import pants.web._urls
import pants.web.application
import pants.web.errors
import pants.web.module
from pants.http import HTTPRequest, HTTPServer
from pants.testing import MemoryEngine
from pants.web import Application, Module, ResponseHead
from tests.web.support import fetch

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
    answer = fetch(app, path, method)
    assert (answer.status, answer.content) == (status, content)


@pytest.mark.parametrize(
    "path", ["/other", "//", "/form/", "/%2Fform", "/%2fform", "/%FF", "/%C3%BCber%20uns", "/%%", "/%20", "/Form"]
)
def test_what_has_no_route_is_404(app: Application, path: str) -> None:
    answer = fetch(app, path)
    assert answer.status == 404
    assert answer.headers["Content-Type"] == "text/html; charset=UTF-8"
    assert b"404 Not Found" in answer.content


def test_the_path_does_not_come_back_in_the_page(app: Application) -> None:
    answer = fetch(app, "/<script>")
    assert b"script" not in answer.content


@pytest.mark.parametrize(
    "method, path, allowed",
    [
        ("POST", "/", {"GET", "HEAD"}),
        ("PATCH", "/", {"GET", "HEAD"}),
        ("DELETE", "/form", {"POST", "PUT", "GET", "HEAD"}),
    ],
)
def test_another_method_is_405(app: Application, method: str, path: str, allowed: set[str]) -> None:
    """Manual: "methods": all others will result in a 405. RFC 9110 §15.5.6: with Allow."""
    answer = fetch(app, path, method)
    assert answer.status == 405
    assert set(answer.headers["Allow"].split(", ")) - {"OPTIONS"} == allowed
    assert b"405 Method Not Allowed" in answer.content


@pytest.mark.parametrize(
    "path, allowed",
    [
        ("/", {"GET", "HEAD", "OPTIONS"}),
        ("/form", {"POST", "PUT", "GET", "HEAD", "OPTIONS"}),
        ("http://a/form", {"POST", "PUT", "GET", "HEAD", "OPTIONS"}),
    ],
)
def test_options_is_answered_by_itself(app: Application, path: str, allowed: set[str]) -> None:
    """RFC 9110 §9.3.7; the view is not called for it."""
    answer = fetch(app, path, "OPTIONS")
    assert answer.status == 204
    assert answer.content == b""
    assert "Content-Length" not in answer.headers  # RFC 9110 §8.6
    assert set(answer.headers["Allow"].split(", ")) == allowed


def test_options_of_the_server(app: Application) -> None:
    """RFC 9110 §9.3.7: the asterisk is the server as a whole, so no path of it."""
    assert fetch(app, "*", "OPTIONS").status < 300


def test_options_where_there_is_nothing_is_404(app: Application) -> None:
    assert fetch(app, "/other", "OPTIONS").status == 404


def test_options_may_have_a_route_of_its_own(app: Application) -> None:
    app.route("/form", methods=["OPTIONS"], func=lambda request: "own", name="own")
    answer = fetch(app, "/form", "OPTIONS")
    assert (answer.status, answer.content) == (200, b"own")


def test_head_is_answered_where_get_is() -> None:
    """RFC 9110 §9.1: GET and HEAD go together."""
    app = Application()
    app.route("/", methods=["GET"], func=lambda request: "four")
    answer = fetch(app, "/", "HEAD")
    assert (answer.status, answer.headers["Content-Length"]) == (200, "4")
    assert "HEAD" in fetch(app, "/", "POST").headers["Allow"]


def test_head_is_not_answered_where_get_is_not() -> None:
    app = Application()
    app.route("/", methods=["POST"], func=lambda request: "posted")
    answer = fetch(app, "/", "HEAD")
    assert answer.status == 405
    assert set(answer.headers["Allow"].split(", ")) - {"OPTIONS"} == {"POST"}


def test_what_is_allowed_is_that_of_all_routes_for_a_path() -> None:
    """RFC 9110 §10.2.1: the set of methods that the target resource supports."""
    app = Application()
    app.route("/<name>", methods=["PUT"], func=lambda request, name: "put", name="put")
    app.route("/a", methods=["POST"], func=lambda request: "posted", name="post")
    assert fetch(app, "/a", "PUT").content == b"put"
    assert set(fetch(app, "/a", "DELETE").headers["Allow"].split(", ")) - {"OPTIONS"} == {"PUT", "POST"}


@pytest.mark.parametrize("fixed", [True, False])
def test_fix_end_slash(fixed: bool) -> None:
    app = Application(fix_end_slash=fixed)
    app.route("/page/", func=lambda request: "page")
    for path in ("/page", "/page?a=b", "/page?a=b%2F&c"):
        answer = fetch(app, path)
        assert answer.status == (301 if fixed else 404)
        assert answer.headers["Location"] == (path.replace("/page", "/page/") if fixed else None)
    assert fetch(app, "/other").status == 404
    assert fetch(app, "/page/").status == 200


@pytest.mark.parametrize("path", ["//evil.example", "//evil.example/x", "/\\evil.example", "/%5Cevil.example"])
def test_fix_end_slash_stays_on_the_host(path: str) -> None:
    """RFC 3986 §4.2: what follows two slashes is a host; a visitor's link must not lead elsewhere by this site."""
    app = Application(fix_end_slash=True)
    app.route("/<path:rest>/", func=lambda request, rest: rest)
    app.route("/<rest>/", name="one", func=lambda request, rest: rest)
    answer = fetch(app, path)
    location = answer.headers["Location"] or ""
    assert answer.status < 500
    assert not location.startswith(("//", "/\\", "\\", "http"))


# --- Registering ------------------------------------------------------------------------------------------------------


def view(request: HTTPRequest) -> str:
    return "a"


async def async_view(request: HTTPRequest) -> str:
    return "a"


@pytest.mark.parametrize(
    "error, pattern, args, kwargs",
    [
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
        (TypeError, "async", ("/",), {"func": async_view}),
        (TypeError, "name of a route is a str", ("/",), {"name": 5}),
        (ValueError, "name of a route", ("/",), {"name": ""}),
    ],
)
def test_a_mistake_raises_at_registration(error: type[Exception], pattern: str, args: Any, kwargs: Any) -> None:
    app = Application()
    with pytest.raises(error, match=pattern):
        app.route(*args, **kwargs)
    assert fetch(app, "/").status == 404


def test_a_path_and_a_name_belong_to_one_function() -> None:
    """DESIGN §3: the same name twice is refused only for different functions."""
    app = Application()
    assert app.route("/a")(view) is view
    assert app.route("/b", func=view) is view
    with pytest.raises(ValueError, match="/a has a route for HEAD already, named 'view'"):
        app.route("/a", name="other", methods=["POST", "HEAD"])(lambda request: "other")
    assert fetch(app, "/a", "POST").status == 405
    assert app.route("/a", methods=["POST"])(view) is view
    assert fetch(app, "/a", "POST").status == 200
    with pytest.raises(ValueError, match="name 'view' has been given to another"):
        app.route("/c", name="view")(lambda request: "c")
    app.route("/c", name="c", auto404=True)(lambda request: "c")
    assert fetch(app, "/c").status == 200


def test_any_callable_is_a_view() -> None:
    class View:
        def __call__(self, request: HTTPRequest) -> str:
            return "called"

    app = Application()
    app.route("/", func=View())
    assert fetch(app).content == b"called"


@pytest.mark.parametrize(
    "register", ["request_started", "request_finished", "request_teardown", "after", "before", "error"]
)
@pytest.mark.parametrize("function", ["a str", None, async_view])
def test_a_hook_is_a_function(register: str, function: Any) -> None:
    app = Application()
    decorator: Any = app.error_handler(404) if register == "error" else getattr(app, register)
    with pytest.raises(TypeError):
        decorator(function)
    assert fetch(app, "/").status == 404


def test_hooks_are_returned_as_they_are() -> None:
    app = Application()
    decorators: list[Any] = [
        app.request_started, app.request_finished, app.request_teardown, app.after, app.before, app.error_handler(404)
    ]  # fmt: skip

    def hook(request: HTTPRequest, *what: Any) -> None:
        pass

    for decorator in decorators:
        assert decorator(hook) is hook


def test_a_function_of_other_arguments_is_refused() -> None:
    """A programmer's mistake raises at registration where it can."""
    app = Application()
    of_one: list[Any] = [app.request_started, app.request_teardown, app.before]
    of_two: list[Any] = [app.request_finished, app.after, app.error_handler(404)]
    for decorator, hook in [(one, lambda: None) for one in of_one] + [(two, lambda request: None) for two in of_two]:
        with pytest.raises(TypeError, match="takes others"):
            decorator(hook)
    for rule, view in (("/<x>", lambda request: ""), ("/", lambda: ""), ("/<x>", lambda request, x, y: "")):
        with pytest.raises(TypeError, match="takes others"):
            app.route(rule, func=view)
    app.basic_route("/<x>", func=lambda request: "")
    module = Module()
    module.route("/<x>", name="inner", func=lambda request, user, x: f"{user} {x}")
    with pytest.raises(TypeError, match="takes others"):
        app.add("/user", module)
    app.add("/user/<user>", module)
    assert fetch(app, "/user/ada/1").content == b"ada 1"


@pytest.mark.parametrize(
    "error, what",
    [
        (TypeError, "404"),
        (TypeError, True),
        (TypeError, None),
        (TypeError, KeyboardInterrupt),
        (TypeError, ValueError("an instance")),
        (TypeError, str),
        (ValueError, 399),
        (ValueError, 600),
        (ValueError, 200),
    ],
)
def test_an_error_handler_is_for_an_error(error: type[Exception], what: Any) -> None:
    with pytest.raises(error):
        Application().error_handler(what)


def test_an_error_has_one_handler() -> None:
    module = Module()
    for what in (404, ValueError):
        module.error_handler(what)(lambda request, exception: "one")
        with pytest.raises(ValueError, match="handler"):
            module.error_handler(what)(lambda request, exception: "two")


def test_the_default_arguments() -> None:
    """Manual: Application(name=None, debug=False, fix_end_slash=False)."""
    app = Application()
    assert (app.name, app.debug, app.fix_end_slash) == (None, False, False)
    assert Application("a", True, True).name == "a"
    assert "ResponseHead" in repr(ResponseHead(200, {}))  # type: ignore[arg-type]


# --- Running ----------------------------------------------------------------------------------------------------------


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
    lines = capsys.readouterr().err.splitlines()
    assert [line.split()[1] for line in lines if line.startswith("Serving")] == [
        "http://localhost/",
        *(f"http://localhost:{port}/" for port in (8080, 8081, 8082)),
    ]


def test_an_address_that_cannot_be_had_raises() -> None:
    with pytest.raises(OSError, match="cannot listen on '/no/such/folder/socket'"):
        Application().run("/no/such/folder/socket")


@pytest.mark.parametrize(
    "module",
    [pants.web.application, pants.web.errors, pants.web.module, pants.web._hooks, pants.web._urls, pants.web._output],
)
def test_the_examples(module: Any) -> None:
    result = doctest.testmod(module)
    assert result.attempted
    assert not result.failed
