"""Hooks of modules and applications (manual: "request_started", "request_finished", "request_teardown"; DESIGN §3)."""

from __future__ import annotations

import gc
import gzip
import pathlib
import weakref
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest

from pants.http import HTTPRequest, HTTPServer, Refused, WebSocket
from pants.testing import MemoryEngine, Peer
from pants.web import (
    Application,
    Converter,
    HTTPException,
    HTTPTransparentRedirect,
    Module,
    Response,
    ResponseHead,
    abort,
    redirect,
    register_converter,
    url_for,
)
from pants.web._urls import current_application, current_request
from tests.conftest import ExpectedLog
from tests.web.support import Answer, asking, connected, fetch

# RFC 6455 §1.3.
OPENING = (
    b"GET %b HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)

KINDS = ["started", "finished", "after", "teardown"]


def note_hooks(module: Module, name: str, seen: list[str]) -> None:
    """Have a module's hooks note that they are called."""

    @module.request_started
    def started(request: HTTPRequest) -> None:
        seen.append(f"started {name}")

    @module.request_finished
    def finished(request: HTTPRequest, output: Any) -> Any:
        seen.append(f"finished {name}")
        return output

    @module.request_teardown
    def teardown(request: HTTPRequest) -> None:
        seen.append(f"teardown {name}")

    @module.after
    def after(request: HTTPRequest, head: ResponseHead) -> None:
        seen.append(f"after {name}")


class Noting:
    """An application, two modules in one another, and what their hooks have noted; the view is told."""

    def __init__(self, view: Callable[..., Any], rule: str = "/", **options: Any) -> None:
        self.seen: list[str] = []
        self.app, self.outer, self.inner = Application(), Module(), Module()

        def noting(request: HTTPRequest, *values: Any) -> Any:
            self.seen.append("view")
            return view(request, *values)

        self.inner.route(rule, name="view", func=noting, **options)
        for name in ("app", "outer", "inner"):
            note_hooks(getattr(self, name), name, self.seen)
        self.outer.add("/b", self.inner)
        self.app.add("/a", self.outer)

    def fetch(self, path: str = "/a/b/", method: str = "GET", **options: Any) -> Answer:
        return fetch(self.app, path, method, **options)

    def of(self, kind: str) -> list[str]:
        return [line.removeprefix(f"{kind} ") for line in self.seen if line.startswith(kind)]


# --- Order ------------------------------------------------------------------------------------------------------------


def test_the_order_of_hooks() -> None:
    """DESIGN §3: started from the outer module to the inner, finished and teardown back out."""
    noting = Noting(lambda request: "a")
    assert noting.fetch().content == b"a"
    assert noting.seen == [
        *["started app", "started outer", "started inner", "view"],
        *["finished inner", "finished outer", "finished app"],
        *["after inner", "after outer", "after app"],
        *["teardown inner", "teardown outer", "teardown app"],
    ]


def test_hooks_of_one_module_are_called_in_their_order() -> None:
    app = Application()
    seen: list[int] = []
    for number in range(3):
        app.request_started(lambda request, number=number: seen.append(number))
    app.route("/", func=lambda request: "a")
    fetch(app)
    assert seen == [0, 1, 2]


def test_hooks_may_be_registered_after_the_routes_and_the_modules() -> None:
    app, outer, inner = Application(), Module(), Module()
    app.add("/a", outer)
    outer.add("/b", inner)
    inner.route("/", func=lambda request: "a")
    assert fetch(app, "/a/b/").content == b"a"
    seen: list[str] = []
    for name, module in (("inner", inner), ("outer", outer), ("app", app)):
        note_hooks(module, name, seen)
        seen.clear()
        fetch(app, "/a/b/")
        assert f"teardown {name}" in seen
    assert len(seen) == 12


def test_hooks_are_for_the_routes_of_their_module() -> None:
    """Manual: hooks of a Module; those of the application are for all."""
    app, one, two = Application(), Module(), Module()
    seen: list[str] = []
    note_hooks(one, "one", seen)
    note_hooks(two, "two", seen)
    one.route("/", name="one", func=lambda request: "one")
    two.route("/", name="two", func=lambda request: "two")
    app.route("/", func=lambda request: "none", name="none")
    app.add("/1", one)
    app.add("/2", two)
    for path, expected in (("/1/", 4), ("/", 0)):
        seen.clear()
        fetch(app, path)
        assert seen == [f"{kind} one" for kind in KINDS][:expected]


def test_a_module_in_two_applications() -> None:
    module = Module()
    seen: list[str] = []
    module.route("/", name="view", func=lambda request: "a")
    note_hooks(module, "module", seen)
    for name in ("one", "two"):
        app = Application()
        note_hooks(app, name, seen)
        app.add("/a", module)
        seen.clear()
        fetch(app, "/a/")
        assert [line for line in seen if line.startswith("started")] == [f"started {name}", "started module"]


def test_hooks_without_a_rule_that_matches() -> None:
    """Manual: hooks are not executed if there is no matching rule; `after` of an application is, by its own words."""
    noting = Noting(lambda request: "a")
    noting.app.fix_end_slash = True
    for path, method, status in (
        ("/none", "GET", 404),
        ("/a/b/", "POST", 405),
        ("/a/b/", "OPTIONS", 204),
        ("/a/b", "GET", 301),
    ):
        noting.seen.clear()
        assert noting.fetch(path, method).status == status
        assert noting.seen == ["after app"]


# --- Started ----------------------------------------------------------------------------------------------------------


def test_started_comes_when_the_request_has_been_routed() -> None:
    """Manual: "request_started", as in its example: request.route_name is there."""
    app = Application()
    seen: list[Any] = []
    app.request_started(lambda request: seen.append((request.route_name, request.match.groups(), request.match.route)))
    app.route("/<name>", name="hello", func=lambda request, name: name)
    fetch(app, "/a%20b")
    ((name, groups, route),) = seen
    assert (name, groups, route.name) == ("hello", ("a b",), "hello")


class Translated(Converter):
    regex = "[a-z]+"

    def configure(self) -> None:
        pass

    def decode(self, request: HTTPRequest, *values: Any) -> Any:
        return request.dictionary[values[0]]  # type: ignore[attr-defined]


def test_started_may_set_what_views_and_converters_use() -> None:
    """Manual: for sessions, a database connection, or other details; DESIGN §3: the request takes attributes."""
    register_converter("translated", Translated)
    app = Application()

    @app.request_started
    def started(request: HTTPRequest) -> None:
        request.dictionary = {"fish": "Fisch"}  # type: ignore[attr-defined]

    app.route("/<translated:word>", func=lambda request, word: f"{word}, {request.dictionary}")
    assert fetch(app, "/fish").content == b"Fisch, {'fish': 'Fisch'}"


def test_started_may_raise_an_error_page() -> None:
    noting = Noting(lambda request: "a")
    noting.outer.request_started(lambda request: abort(403))
    assert noting.fetch().status == 403
    assert "view" not in noting.seen
    assert noting.of("started") == ["app", "outer"]
    assert noting.of("finished") == []
    assert noting.of("teardown") == ["inner", "outer", "app"]


# --- Finished ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "output", ["a", b"a", None, {"a": 1}, ("a", 404), ("a", 404, {"X": "1"}), Response("a"), 5, object()]
)
def test_finished_gets_what_the_view_returned_before_it_is_processed(output: Any) -> None:
    """Manual: "immediately after the request handler and before the output is processed"."""
    app = Application()
    got: list[Any] = []

    @app.request_finished
    def finished(request: HTTPRequest, output: Any) -> str:
        got.append(output)
        return "replaced"

    app.route("/", func=lambda request: output)
    answer = fetch(app)
    assert got[0] is output
    assert (answer.status, answer.content) == (200, b"replaced")


def test_finished_transforms_the_output_of_the_one_before() -> None:
    noting = Noting(lambda request: "a")
    for name in ("inner", "outer", "app"):
        getattr(noting, name).request_finished(lambda request, output, name=name: f"{output} {name}")
    assert noting.fetch().content == b"a inner outer app"


def test_finished_that_returns_nothing_has_none_as_output() -> None:
    """DESIGN §3: finished returns the output; None is 204."""
    app = Application()
    app.request_finished(lambda request, output: None)
    app.route("/", func=lambda request: "a")
    assert fetch(app).status == 204


def test_finished_is_not_called_for_a_view_that_answers_by_itself() -> None:
    """Nor where auto_finish is False, as the manual says."""

    def later(request: HTTPRequest) -> str:
        request.auto_finish = False
        request.connection.engine.callback(request.send_response, "later")
        return "not this"

    def pieces(request: HTTPRequest) -> None:
        request.send("a")
        request.finish()

    for view in (lambda request: request.send_response("a"), later, pieces):
        noting = Noting(view)
        assert noting.fetch().status == 200
        assert noting.of("finished") == []
        assert noting.of("after") == noting.of("teardown") == ["inner", "outer", "app"]


def test_finished_is_not_called_for_an_exception(expect_log: ExpectedLog) -> None:
    """Manual: "These hooks are not run ... if there is an exception while running the request handler"."""
    expect_log("The route 'view'(.|\n)*ZeroDivisionError")
    for exception in (ZeroDivisionError(), HTTPException(403), Refused(400, "no")):

        def view(request: HTTPRequest, exception: Exception = exception) -> None:
            raise exception

        noting = Noting(view)
        noting.fetch()
        assert noting.of("finished") == []


def test_finished_is_called_for_error_pages_that_are_returned() -> None:
    noting = Noting(lambda request: ("This does not exist.", 404))
    assert noting.fetch().status == 404
    assert noting.of("finished") == ["inner", "outer", "app"]


# --- Teardown ---------------------------------------------------------------------------------------------------------


def failing(*args: Any) -> Any:
    raise ZeroDivisionError


def unsendable(request: HTTPRequest) -> Any:
    return "a", 999


def endless(request: HTTPRequest) -> Any:
    yield "begun"
    raise ZeroDivisionError


@pytest.mark.parametrize("stage", ["started", "finished", "after"])
@pytest.mark.parametrize("name", ["app", "outer", "inner"])
def test_teardown_runs_whatever_hook_fails(stage: str, name: str, expect_log: ExpectedLog) -> None:
    """Manual: "always run if there was a matching rule, even if the request handler or other hooks have exceptions"."""
    expect_log(r"The route 'view' \(/a/b/\) failed, on <HTTPRequest GET /a/b/>(.|\n)*ZeroDivisionError")
    noting = Noting(lambda request: "a")
    module = getattr(noting, name)
    getattr(module, "after" if stage == "after" else f"request_{stage}")(failing)
    answer = noting.fetch()
    assert (answer.status, answer.headers["Content-Type"]) == (500, "text/html; charset=UTF-8")
    assert noting.of("teardown") == ["inner", "outer", "app"]


@pytest.mark.parametrize("name", ["app", "outer", "inner"])
def test_teardown_runs_although_another_teardown_fails(name: str, expect_log: ExpectedLog) -> None:
    expect_log(r"'view' \(/a/b/\)(.|\n)*ZeroDivisionError")
    noting = Noting(lambda request: "a")
    module = getattr(noting, name)
    module._hooks.teardown.insert(0, failing)
    assert noting.fetch().content == b"a"
    assert noting.of("teardown") == ["inner", "outer", "app"]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("view", [failing, unsendable, endless])
def test_teardown_runs_whatever_the_view_does(
    view: Any, method: str, request: pytest.FixtureRequest, expect_log: ExpectedLog
) -> None:
    if (view, method) != (endless, "HEAD"):
        expect_log("The route 'view'")
    noting = Noting(view)
    with connected(noting.app) as (_, peer):
        peer.send(asking("/a/b/", method))
        assert noting.of("teardown") == ["inner", "outer", "app"]


def test_teardown_runs_if_a_handler_of_errors_fails(expect_log: ExpectedLog) -> None:
    expect_log("The route 'view'")
    noting = Noting(failing)
    noting.app.error_handler(500)(failing)
    assert noting.fetch().status == 500
    assert noting.of("teardown") == ["inner", "outer", "app"]


@pytest.mark.parametrize("exception", [KeyboardInterrupt, SystemExit])
def test_teardown_runs_if_the_program_ends(exception: type[BaseException]) -> None:
    def view(request: HTTPRequest) -> None:
        raise exception

    noting = Noting(view)
    with connected(noting.app) as (engine, peer):
        with pytest.raises(exception):
            peer.send(asking("/a/b/"))
        engine.advance()
    assert noting.of("teardown") == ["inner", "outer", "app"]


@pytest.mark.parametrize(
    "rule, options, path, status",
    [
        ("/<int(max=5):number>", {}, "/a/b/6", 400),
        ("/<value>", {}, "/a/b/%FF", 400),
        ("/<int:number>", {"auto404": True}, "/a/b/0", 404),
    ],
)
def test_teardown_runs_if_the_view_is_not_called(rule: str, options: Any, path: str, status: int) -> None:
    noting = Noting(lambda request, value: "a", rule, **options)
    assert noting.fetch(path).status == status
    assert noting.of("started") == ["app", "outer", "inner"]
    assert noting.of("finished") == []
    assert noting.of("teardown") == ["inner", "outer", "app"]
    assert "view" not in noting.seen


def test_teardown_waits_for_an_answer_that_comes_later() -> None:
    """Manual: "after the output ... has been processed and has begun being transmitted to the client"."""
    held: list[HTTPRequest] = []

    def view(request: HTTPRequest) -> None:
        request.auto_finish = False
        held.append(request)

    noting = Noting(view)
    with connected(noting.app) as (engine, peer):
        peer.send(asking("/a/b/"))
        engine.advance(5)
        assert noting.of("teardown") == []
        held[0].send("a")
        assert noting.of("teardown") == []
        held[0].finish()
        assert noting.of("teardown") == ["inner", "outer", "app"]
        held[0].finish()
        peer.reset()
        engine.advance()
        assert noting.of("teardown") == ["inner", "outer", "app"]


@pytest.mark.parametrize("way", ["end", "reset", "close"])
def test_teardown_runs_if_the_client_goes_away(way: str) -> None:
    held: list[HTTPRequest] = []

    def view(request: HTTPRequest) -> None:
        request.auto_finish = False
        held.append(request)

    noting = Noting(view)
    with connected(noting.app) as (engine, peer):
        peer.send(asking("/a/b/"))
        getattr(peer, way)()
        engine.advance(600)
        assert noting.of("teardown") == ["inner", "outer", "app"]
        held[0].send_response("too late")
        engine.advance()
    assert noting.of("teardown") == ["inner", "outer", "app"]


def test_teardown_runs_if_the_client_has_gone_before_the_view_returns() -> None:
    noting = Noting(lambda request: request.connection.close(flush=False))
    with connected(noting.app) as (engine, peer):
        peer.send(asking("/a/b/"))
        engine.advance()
    assert noting.of("teardown") == ["inner", "outer", "app"]


def test_teardown_runs_if_the_server_is_closed() -> None:
    def view(request: HTTPRequest) -> None:
        request.auto_finish = False

    noting = Noting(view)
    with connected(noting.app) as (_, peer):
        peer.send(asking("/a/b/"))
        assert noting.of("teardown") == []
    assert noting.of("teardown") == ["inner", "outer", "app"]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_teardown_runs_when_a_stream_has_ended(method: str) -> None:
    def view(request: HTTPRequest) -> Any:
        for piece in "abc":
            noting.seen.append(piece)
            yield piece

    noting = Noting(view)
    noting.fetch(method=method)
    assert noting.seen[-3:] == ["teardown inner", "teardown outer", "teardown app"]
    assert [line for line in noting.seen if len(line) == 1] == (list("abc") if method == "GET" else [])


def test_teardown_runs_when_a_stream_is_aborted() -> None:
    """What a generator does in the end comes before: it may use what teardown takes away."""

    def view(request: HTTPRequest) -> Any:
        try:
            while True:
                yield b"a" * 1000
        finally:
            noting.seen.append("generator's end")

    noting = Noting(view)
    with connected(noting.app) as (_, peer):
        peer.window = 5000
        peer.send(asking("/a/b/"))
        assert noting.of("teardown") == []
        peer.reset()
        assert noting.seen[-4:] == ["generator's end", "teardown inner", "teardown outer", "teardown app"]


def test_teardown_sees_the_request() -> None:
    app = Application()
    seen: list[Any] = []

    @app.request_teardown
    def teardown(request: HTTPRequest) -> None:
        seen.append(
            (request.url, request.route_name, request.code, request.finished, url_for("view"), current_request())
        )
        seen.append(request)

    app.route("/", name="view", func=lambda request: ("a", 201))
    with connected(app) as (_, peer):
        peer.send(asking("/?a"))
        (facts, request) = seen
        assert facts == ("/?a", "view", 201, True, "/", request)


def test_teardown_runs_once_for_each_request_of_a_connection() -> None:
    noting = Noting(lambda request: "a")
    with connected(noting.app) as (_, peer):
        peer.send(asking("/a/b/") * 3)
        assert noting.seen == noting.seen[:13] * 3


# --- WebSocket --------------------------------------------------------------------------------------------------------


class Socket(WebSocket):
    def on_connect(self, *values: Any) -> None:
        self.write("hi")


def test_the_hooks_of_a_websocket() -> None:
    """Manual: "WebSocket and Application"; teardown runs when it is over, and finished has no output to get."""
    app = Application()
    seen: list[str] = []
    app.request_started(lambda request: seen.append("started"))
    app.request_finished(lambda request, output: seen.append("finished"))
    app.request_teardown(lambda request: seen.append("teardown"))
    app.route("/ws", func=Socket)
    with connected(app) as (_, peer):
        peer.send(OPENING % b"/ws")
        assert peer.take().startswith(b"HTTP/1.1 101 ")
        assert [line for line in seen if line != "teardown"] == ["started"]
        peer.reset()
        assert seen == ["started", "teardown"]


def test_a_websocket_opens_where_there_is_an_after_hook() -> None:
    """`after`: called before the head of every answer, so for 101 too, whose Connection field is the handshake's."""
    app = Application()

    @app.after
    def after(request: HTTPRequest, head: ResponseHead) -> None:
        head.headers["X-Status"] = str(head.status)

    app.route("/ws", func=Socket)
    with connected(app) as (_, peer):
        peer.send(OPENING % b"/ws")
        head = peer.take().partition(b"\r\n\r\n")[0]
        assert head.startswith(b"HTTP/1.1 101 ")
        assert b"\r\nConnection: Upgrade" in head
        assert b"\r\nX-Status: 101" in head


def test_an_upgrade_of_the_program_s_own_with_an_after_hook() -> None:
    app = Application()
    app.after(lambda request, head: None)

    @app.route("/")
    def view(request: HTTPRequest) -> None:
        request.send_status(101)
        request.send_headers({"Upgrade": "own", "Connection": "Upgrade"})
        request.connection.take_over()

    with connected(app) as (_, peer):
        peer.send(asking("/", headers={"Connection": "Upgrade", "Upgrade": "own"}))
        assert peer.take().startswith(b"HTTP/1.1 101 ")


# --- HTTPTransparentRedirect ------------------------------------------------------------------------------------------


@pytest.fixture
def redirecting() -> tuple[Application, list[str]]:
    """An application whose /from leads to /to, with a module of its own for each; and what its hooks note."""
    app, source, target = Application(), Module("source"), Module("target")
    seen: list[str] = []
    for name, module in (("app", app), ("source", source), ("target", target)):
        note_hooks(module, name, seen)

    @source.route("/<path:where>")
    def start(request: HTTPRequest, where: str) -> None:
        seen.append("start")
        raise HTTPTransparentRedirect(quote(where))

    @target.route("/<value>", methods=["GET", "POST"])
    def end(request: HTTPRequest, value: str) -> Any:
        return [request.method, request.url, request.path, request.query, request.get, value, request.route_name,
                request.match.groups(), request.body.decode()]  # fmt: skip

    app.add("/from", source)
    app.add("/to", target)
    return app, seen


def test_a_transparent_redirect(redirecting: tuple[Application, list[str]]) -> None:
    """Manual: silently redirect a request to a new URL."""
    app, seen = redirecting
    answer = fetch(app, "/from//to/a%20b?c=d&old=1")
    assert answer.status == 200
    assert "Location" not in answer.headers
    assert answer.content == b'["GET","/to/a%20b","/to/a%20b","",{},"a b","target.end",["a b"],""]'
    assert [line for line in seen if line.startswith("started")] == [
        *["started app", "started source"],
        *["started app", "started target"],
    ]
    assert [line for line in seen if line.startswith("finished")] == ["finished target", "finished app"]
    assert [line for line in seen if line.startswith("after")] == ["after target", "after app"]
    assert sorted(line for line in seen if line.startswith("teardown")) == [
        *["teardown app", "teardown app"],
        *["teardown source", "teardown target"],
    ]


@pytest.mark.parametrize(
    "start, target, url",
    [
        ("/d/start", "/end?x=1", "/end?x=1"),
        ("/d/start?old=1", "/end", "/end"),
        ("/d/start", "end", "/d/end"),
        ("/d/start", "../end", "/end"),
        ("/d/start", "?x=1", "/d/start?x=1"),
        ("/d/start", "/ä", "/%C3%A4"),
        ("/d/start", "/%41", "/%41"),
        ("http://a/d/start", "/end", "http://a/end"),
        ("/d/start", "http://other.example/end", "http://other.example/end"),
    ],
)
def test_where_a_transparent_redirect_leads(start: str, target: str, url: str) -> None:
    """RFC 3986 §5: relative to the URL of the request."""
    app = Application()

    @app.route("/d/start")
    def from_here(request: HTTPRequest) -> Any:
        if "x=1" in request.query:
            return request.url
        raise HTTPTransparentRedirect(target)

    app.route("/<path:rest>", name="rest", func=lambda request, rest: request.url)
    assert fetch(app, start).content.decode() == url


def test_a_transparent_redirect_to_another_domain() -> None:
    app = Application()

    @app.route("/")
    def start(request: HTTPRequest) -> None:
        raise HTTPTransparentRedirect("http://other.example/x")

    app.route("other.example/x", name="other", func=lambda request: f"{request.host} {request.hostname}")
    assert fetch(app, "/").content == b"other.example other.example"


def test_a_transparent_redirect_from_a_path_with_two_slashes() -> None:
    """RFC 9112 §3.2.1: the origin form is a path; issue: a visitor's bad input never gives a 500."""
    app = Application()

    @app.route("/<path:rest>")
    def start(request: HTTPRequest, rest: str) -> None:
        raise HTTPTransparentRedirect("/other")

    app.route("/other", func=lambda request: "other", name="other")
    assert fetch(app, "/x").content == b"other"
    assert fetch(app, "//evil/x").content == b"other"


@pytest.mark.parametrize("where", ["view", "before"])
def test_a_transparent_redirect_to_what_is_no_url(where: str, expect_log: ExpectedLog) -> None:
    """A programmer's mistake raises at the call, or gives a 500 with a log entry that names the route."""
    app = Application()

    def leave(request: HTTPRequest) -> None:
        raise HTTPTransparentRedirect("http://[/x")

    if where == "before":
        app.before(leave)
    app.route("/", name="view", func=leave)
    answer = fetch(app)
    assert (answer.status, answer.headers["Content-Type"]) == (500, "text/html; charset=UTF-8")
    expect_log("HTTPTransparentRedirect|URL")
    if where == "view":
        expect_log("The route 'view'")


def test_a_transparent_redirect_to_nothing_is_404(redirecting: tuple[Application, list[str]]) -> None:
    app, seen = redirecting
    assert fetch(app, "/from//none").status == 404
    assert [line for line in seen if line.startswith("teardown")] == ["teardown source", "teardown app"]


def test_a_transparent_redirect_to_what_takes_other_methods_is_405() -> None:
    app = Application()

    @app.route("/", methods=["POST"])
    def start(request: HTTPRequest) -> None:
        raise HTTPTransparentRedirect("/end")

    app.route("/end", func=lambda request: "end")
    assert fetch(app, "/", "POST").status == 405


def test_a_transparent_redirect_keeps_the_method_and_the_content() -> None:
    app = Application()

    @app.route("/", methods=["POST"])
    def start(request: HTTPRequest) -> None:
        assert request.body == b"content"
        raise HTTPTransparentRedirect("/end")

    app.route("/end", methods=["POST"], func=lambda request: request.body)
    assert fetch(app, "/", "POST", body=b"content").content == b"content"


def test_a_transparent_redirect_with_head() -> None:
    app = Application()

    @app.route("/")
    def start(request: HTTPRequest) -> None:
        raise HTTPTransparentRedirect("/end")

    app.route("/end", func=lambda request: "four")
    answer = fetch(app, "/", "HEAD")
    assert (answer.status, answer.headers["Content-Length"], answer.content) == (200, "4", b"")


def test_transparent_redirects_that_lead_round_in_a_circle_end(expect_log: ExpectedLog) -> None:
    expect_log("circle")
    app = Application()
    seen: list[str] = []
    app.request_started(lambda request: seen.append("started"))
    app.request_teardown(lambda request: seen.append("teardown"))

    @app.route("/<name>")
    def start(request: HTTPRequest, name: str) -> None:
        raise HTTPTransparentRedirect("/b" if name == "a" else "/a")

    assert fetch(app, "/a").status == 500
    assert seen.count("started") == seen.count("teardown") > 1


def test_a_transparent_redirect_forgets_what_was_begun() -> None:
    app = Application()

    @app.route("/")
    def start(request: HTTPRequest) -> None:
        request.send_status(404)
        request.send_headers({"X-One": "1"}, end_headers=False)
        raise HTTPTransparentRedirect("/end")

    app.route("/end", func=lambda request: "end")
    answer = fetch(app)
    assert (answer.status, answer.headers["X-One"], answer.content) == (200, None, b"end")


@pytest.mark.parametrize("part", [True, False])
def test_a_transparent_redirect_behind_an_answer_is_an_error(part: bool, expect_log: ExpectedLog) -> None:
    """DESIGN §3: a close if the answer has begun."""
    expect_log(r"The route 'start' \(/\) failed(.|\n)*HTTPTransparentRedirect")
    app = Application()

    @app.route("/")
    def start(request: HTTPRequest) -> None:
        if part:
            request.send("begun")
        else:
            request.send_response("answered")
        raise HTTPTransparentRedirect("/end")

    app.route("/end", func=lambda request: "end")
    with connected(app) as (_, peer):
        peer.send(asking())
        assert peer.ended is part
        assert b"end" not in peer.received.partition(b"\r\n\r\n")[2]


def test_a_transparent_redirect_of_a_view_that_would_have_answered_later() -> None:
    app = Application()

    @app.route("/")
    def start(request: HTTPRequest) -> None:
        request.auto_finish = False
        raise HTTPTransparentRedirect("/end")

    app.route("/end", func=lambda request: "end")
    with connected(app) as (_, peer):
        peer.send(asking())
        assert peer.received.endswith(b"end")


@pytest.mark.parametrize("where", ["started", "finished", "generator"])
def test_a_transparent_redirect_of_a_hook(where: str) -> None:
    app, module = Application(), Module()

    def leave(*args: Any) -> Any:
        raise HTTPTransparentRedirect("/end")

    def generator(request: HTTPRequest) -> Any:
        yield ""
        leave()

    if where != "generator":
        getattr(module, f"request_{where}")(leave)
    module.route("/", name="start", func=generator if where == "generator" else lambda request: "start")
    app.add("/start", module)
    app.route("/end", func=lambda request: "end")
    assert fetch(app, "/start/").content == b"end"


@pytest.mark.parametrize("error, url", [(TypeError, None), (TypeError, b"/a"), (ValueError, "http://[/")])
def test_a_mistake_in_a_transparent_redirect_raises_at_the_call(error: type[Exception], url: Any) -> None:
    with pytest.raises(error):
        HTTPTransparentRedirect(url)


# --- After ------------------------------------------------------------------------------------------------------------


def send_pieces(request: HTTPRequest) -> None:
    request.send_status(200)
    request.send_headers({"X-One": "1"})
    request.send("pieces")
    request.finish()


def send_head_late(request: HTTPRequest) -> None:
    request.send_headers({"Content-Length": "2"}, end_headers=False)
    request.send("ab")
    request.finish()


def send_no_content(request: HTTPRequest) -> None:
    request.send_status(204)
    request.finish()


def send_hint_first(request: HTTPRequest) -> str:
    request.send_status(103)
    request.send_headers({"Link": "</a>; rel=preload"})
    return "a"


def answer_later(request: HTTPRequest) -> None:
    request.auto_finish = False
    request.connection.engine.callback(request.send_response, "later")


def stream(request: HTTPRequest) -> Any:
    yield "a"
    yield "b"


ANSWERS: dict[str, tuple[Any, int]] = {
    "a str": (lambda request: "a", 200),
    "bytes": (lambda request: b"a", 200),
    "JSON": (lambda request: {}, 200),
    "nothing": (lambda request: None, 204),
    "a status": (lambda request: ("a", 418, {"X-One": "1"}), 418),
    "a response": (lambda request: Response("a", 201), 201),
    "a redirect": (lambda request: redirect("/a"), 302),
    "not modified": (lambda request: ("", 304), 304),
    "send_response": (lambda request: request.send_response("a", 201, headers={"X-One": "1"}), 201),
    "pieces": (send_pieces, 200),
    "a head that comes late": (send_head_late, 200),
    "no content": (send_no_content, 204),
    "an interim answer before": (send_hint_first, 200),
    "an answer that comes later": (answer_later, 200),
    "a stream": (stream, 200),
    "abort": (lambda request: abort(403), 403),
    "a failure": (failing, 500),
    "what cannot be sent": (unsendable, 500),
}


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("name", ANSWERS)
def test_after_is_called_for_every_kind_of_answer(name: str, method: str, expect_log: ExpectedLog) -> None:
    """`after`: before the head of every answer is sent, whoever sends it; once."""
    view, status = ANSWERS[name]
    if status == 500:
        expect_log("The route 'view'")
    app = Application()
    heads: list[int] = []

    @app.after
    def after(request: HTTPRequest, head: ResponseHead) -> None:
        heads.append(head.status)
        head.headers["X-After"] = "set"

    app.route("/", name="view", func=view)
    with connected(app) as (_, peer):
        peer.send(asking("/", method))
        final = peer.received[peer.received.rindex(b"HTTP/1.1 ") :]
        answer = Answer(final, method)
        assert (answer.status, answer.headers.get_all("X-After")) == (status, ["set"])
        assert heads == [status]
        assert b"X-After" not in peer.received[: -len(final)]


@pytest.mark.parametrize(
    "path, method, headers, status",
    [
        ("/none", "GET", {}, 404),
        ("/small", "POST", {}, 405),
        ("/small", "OPTIONS", {}, 204),
        ("/folder", "GET", {}, 301),
        ("/small", "GET", {}, 200),
        ("/small", "HEAD", {}, 200),
        ("/large", "GET", {}, 200),
        ("/large", "GET", {"Range": "bytes=1-2"}, 206),
        ("/large", "GET", {"Range": "bytes=9999999-"}, 416),
        ("/small", "GET", {"If-Modified-Since": "Fri, 31 Dec 2100 23:59:59 GMT"}, 304),
        ("/no-file", "GET", {}, 404),
    ],
)
def test_after_is_called_for_what_has_no_view_and_for_files(
    path: str, method: str, headers: dict[str, str], status: int, tmp_path: pathlib.Path
) -> None:
    app = Application(fix_end_slash=True)
    (tmp_path / "small").write_bytes(b"a")
    (tmp_path / "large").write_bytes(b"a" * 300_000)
    for name in ("small", "large", "no-file"):
        app.route(f"/{name}", name=name, func=lambda request, name=name: request.send_file(tmp_path / name))
    app.route("/folder/", name="folder", func=lambda request: "folder")
    heads: list[int] = []

    @app.after
    def after(request: HTTPRequest, head: ResponseHead) -> None:
        heads.append(head.status)
        head.headers["X-After"] = "set"

    answer = fetch(app, path, method, headers=headers)
    assert (answer.status, answer.headers.get_all("X-After")) == (status, ["set"])
    assert heads == [status]


def test_after_for_small_files_is_not_kept_from_one_answer_to_the_next(tmp_path: pathlib.Path) -> None:
    app = Application()
    (tmp_path / "small").write_bytes(b"a")
    app.route("/", func=lambda request: request.send_file(tmp_path / "small"), name="small")
    assert fetch(app).headers["X-Number"] is None
    numbers = iter(range(3))

    @app.after
    def after(request: HTTPRequest, head: ResponseHead) -> None:
        head.headers["X-Number"] = str(next(numbers))

    with connected(app) as (_, peer):
        peer.send(asking() * 3)
        for number in range(3):
            assert peer.received.count(b"X-Number: %d\r\n" % number) == 1


def test_after_of_a_module_is_for_its_routes() -> None:
    """`after`: of the application, for all answers; of a module, for its routes, errors among them."""
    noting = Noting(lambda request: abort(403))
    noting.app.route("/", func=lambda request: "a", name="index")
    assert noting.fetch().status == 403
    assert noting.of("after") == ["inner", "outer", "app"]
    noting.seen.clear()
    noting.fetch("/")
    assert noting.of("after") == ["app"]


def test_after_sees_and_changes_the_head() -> None:
    app = Application()
    seen: list[Any] = []

    @app.after
    def after(request: HTTPRequest, head: ResponseHead) -> None:
        seen.append((request.url, head.status, head.headers["x-one"], head.headers.get_list("Set-Cookie")))
        del head.headers["X-One"]
        head.headers["Content-Type"] = "text/x-own"
        head.headers.add("Set-Cookie", "c=3")
        head.headers["X-Number"] = 5  # type: ignore[assignment]

    app.route("/", func=lambda request: ("a", 201, [("X-One", "1"), ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")]))
    answer = fetch(app)
    assert seen == [("/", 201, "1", ["a=1", "b=2"])]
    assert answer.headers["X-One"] is None
    assert answer.headers.get_all("Content-Type") == ["text/x-own"]
    assert answer.headers.get_all("Set-Cookie") == ["a=1", "b=2", "c=3"]
    assert answer.headers["X-Number"] == "5"


def test_after_hooks_see_what_those_before_have_changed() -> None:
    noting = Noting(lambda request: "a")
    for name in ("inner", "outer", "app"):

        def after(request: HTTPRequest, head: ResponseHead, name: str = name) -> None:
            head.headers["X-Trace"] = f"{head.headers.get('X-Trace', '')} {name}".strip()

        getattr(noting, name).after(after)
    assert noting.fetch().headers["X-Trace"] == "inner outer app"


@pytest.mark.parametrize(
    "view", [ANSWERS[name][0] for name in ("a str", "send_response", "pieces", "a stream", "abort")]
)
@pytest.mark.parametrize("what", ["raises", "sets the framing", "sets a header that cannot be sent"])
def test_after_that_fails_is_a_500(view: Any, what: str, expect_log: ExpectedLog) -> None:
    expect_log(r"The route 'view' \(/\) failed")
    app = Application()

    @app.after
    def after(request: HTTPRequest, head: ResponseHead) -> None:
        if what == "raises":
            raise ZeroDivisionError
        if what == "sets the framing":
            head.headers["Content-Length"] = "5"
        else:
            head.headers["X-One"] = "1\r\nX-Two: 2"

    app.route("/", name="view", func=view)
    answer = fetch(app)
    assert (answer.status, answer.headers["X-Two"]) == (500, None)
    assert b"500 Internal Server Error" in answer.content


def test_after_that_fails_where_there_is_no_route(expect_log: ExpectedLog) -> None:
    expect_log("ZeroDivisionError")
    app = Application()
    app.route("/a", func=lambda request: "a")
    app.after(failing)
    for path, method in (("/none", "GET"), ("/a", "POST"), ("/a", "OPTIONS")):
        answer = fetch(app, path, method)
        assert answer.status == 500
        assert b"500 Internal Server Error" in answer.content


def test_after_that_fails_where_the_answer_comes_later(expect_log: ExpectedLog) -> None:
    """DESIGN §3: 500, or a close: no client is left waiting by an exception."""
    expect_log("ZeroDivisionError")
    app = Application()
    app.after(failing)
    app.route("/", name="view", func=answer_later)
    with connected(app) as (engine, peer):
        peer.send(asking())
        engine.advance(10)
        assert peer.received.startswith(b"HTTP/1.1 500 ") or peer.ended


def test_after_that_fails_has_a_stream_closed(expect_log: ExpectedLog) -> None:
    expect_log("The route 'view'")
    app = Application()
    seen: list[str] = []

    def view(request: HTTPRequest) -> Any:
        try:
            yield "a"
        finally:
            seen.append("closed")

    app.after(failing)
    app.route("/", name="view", func=view)
    assert fetch(app).status == 500
    assert seen == ["closed"]


def test_after_may_use_url_for() -> None:
    app = Application()

    @app.after
    def after(request: HTTPRequest, head: ResponseHead) -> None:
        head.headers["Link"] = url_for("view", 7)

    app.route("/<int:number>", name="view", func=lambda request, number: "a")
    app.route("/later", name="later", func=answer_later)
    assert fetch(app, "/5").headers["Link"] == "/7"
    assert fetch(app, "/later").headers["Link"] == "/7"
    assert fetch(app, "/none").headers["Link"] == "/7"


def test_after_keeps_cookies() -> None:
    app = Application()
    app.after(lambda request, head: head.headers.__setitem__("X-After", "set"))

    @app.route("/")
    def view(request: HTTPRequest) -> str:
        request.cookies_out["a"] = "1"
        return "a"

    answer = fetch(app)
    assert (answer.headers["X-After"], answer.headers["Set-Cookie"]) == ("set", "a=1")


@pytest.mark.parametrize("name", ["a str", "a stream", "pieces", "send_response"])
def test_after_may_set_a_cookie(name: str) -> None:
    """Manual: "cookies_out": the cookies to send with the answer, whose head is not sent yet."""
    app = Application()

    @app.after
    def after(request: HTTPRequest, head: ResponseHead) -> None:
        request.cookies_out["a"] = "1"

    app.route("/", func=ANSWERS[name][0], name="view")
    assert fetch(app).headers["Set-Cookie"] == "a=1"


def test_after_with_http_1_0() -> None:
    app = Application()
    app.after(lambda request, head: head.headers.__setitem__("X-After", "set"))
    app.route("/", func=lambda request: "a", name="view")
    answer = fetch(app, version="1.0")
    assert (answer.headers["X-After"], answer.content) == ("set", b"a")


# --- Before -----------------------------------------------------------------------------------------------------------


def test_before_is_called_with_every_request() -> None:
    """`Application.before`: before it is routed, whether there is a route or not."""
    app = Application()
    seen: list[Any] = []
    app.before(lambda request: seen.append((request.method, request.url, request.route_name, request.match)))
    app.route("/", func=lambda request: "a", name="view")
    for method, path in (("GET", "/"), ("GET", "/none"), ("POST", "/"), ("OPTIONS", "/")):
        fetch(app, path, method)
    assert seen == [("GET", "/", None, None), ("GET", "/none", None, None), ("POST", "/", None, None),
                    ("OPTIONS", "/", None, None)]  # fmt: skip


@pytest.mark.parametrize(
    "output, status, content",
    [
        ("a", 200, b"a"),
        (b"a", 200, b"a"),
        ({"a": 1}, 200, b'{"a":1}'),
        (("a", 403), 403, b"a"),
        (Response(None, 204), 204, b""),
        (redirect("/login"), 302, None),
        (iter(["a", "b"]), 200, b"ab"),
        (0, 200, b"0"),
        ("", 200, b""),
    ],
)
def test_before_may_answer(output: Any, status: int, content: bytes | None) -> None:
    app = Application()
    seen: list[str] = []
    note_hooks(app, "app", seen)
    app.before(lambda request: None)
    app.before(lambda request: output)
    app.before(lambda request: seen.append("before"))
    app.route("/", func=lambda request: seen.append("view"), name="view")
    answer = fetch(app)
    assert answer.status == status
    assert content is None or answer.content == content
    assert seen == ["after app"]


def test_before_may_answer_by_itself() -> None:
    app = Application()
    app.before(lambda request: request.send_response("by itself", 403))
    app.route("/", func=lambda request: "view", name="view")
    assert fetch(app).content == b"by itself"
    assert fetch(app, "/none").content == b"by itself"


@pytest.mark.parametrize(
    "exception, status", [(HTTPException(403), 403), (Refused(400, "no"), 400), (ZeroDivisionError(), 500)]
)
def test_before_may_raise(exception: Exception, status: int, expect_log: ExpectedLog) -> None:
    if status == 500:
        expect_log("on <HTTPRequest GET />(.|\n)*ZeroDivisionError")
    app = Application()

    @app.before
    def before(request: HTTPRequest) -> None:
        raise exception

    app.route("/", func=lambda request: "view", name="view")
    app.after(lambda request, head: head.headers.__setitem__("X-After", "set"))
    answer = fetch(app)
    assert (answer.status, answer.headers["X-After"]) == (status, "set")
    assert f"{status} ".encode() in answer.content


def test_before_that_raises_is_for_the_handlers_of_the_application() -> None:
    app = Application()
    app.before(lambda request: abort(403))
    app.error_handler(403)(lambda request, exception: "handled")
    assert (fetch(app).status, fetch(app).content) == (403, b"handled")


def test_before_may_redirect() -> None:
    app = Application()

    @app.before
    def before(request: HTTPRequest) -> None:
        if request.path == "/old":
            raise HTTPTransparentRedirect("/new?a=b")

    app.route("/new", func=lambda request: request.query)
    assert fetch(app, "/old").content == b"a=b"


def test_before_is_not_called_again_for_a_redirect() -> None:
    app = Application()
    seen: list[str] = []
    app.before(lambda request: seen.append(request.path))

    @app.route("/")
    def start(request: HTTPRequest) -> None:
        raise HTTPTransparentRedirect("/end")

    app.route("/end", func=lambda request: "end")
    assert fetch(app).content == b"end"
    assert seen == ["/"]


def test_before_may_use_url_for_and_set_attributes() -> None:
    app = Application()

    @app.before
    def before(request: HTTPRequest) -> None:
        request.home = url_for("view")  # type: ignore[attr-defined]

    app.route("/", func=lambda request: request.home, name="view")
    assert fetch(app).content == b"/"


def test_an_error_handler_that_fails_leaves_the_after_hooks_in_place(expect_log: ExpectedLog) -> None:
    """`after`: for every answer, that to a mistake in a handler among them."""
    expect_log("ZeroDivisionError")
    app = Application()
    app.after(lambda request, head: head.headers.__setitem__("X-After", "set"))
    app.error_handler(404)(failing)
    answer = fetch(app, "/none")
    assert (answer.status, answer.headers["X-After"]) == (500, "set")


def test_a_module_may_be_added_twice() -> None:
    app, module = Application(), Module()
    seen: list[str] = []
    note_hooks(module, "module", seen)
    module.route("/", name="view", func=lambda request: request.path)
    app.add("/a", module)
    app.add("/b", module)
    for path in ("/a/", "/b/"):
        seen.clear()
        assert fetch(app, path).content == path.encode()
        assert seen == [f"{kind} module" for kind in KINDS]


# --- Memory -----------------------------------------------------------------------------------------------------------


def endless_stream(request: HTTPRequest) -> Any:
    while True:
        yield b"a" * 1000


def hold(request: HTTPRequest) -> None:
    request.auto_finish = False


def lead_on(request: HTTPRequest) -> None:
    raise HTTPTransparentRedirect("/none")


VIEWS: dict[str, Any] = {
    **{name: view for name, (view, status) in ANSWERS.items() if status != 500},
    "a transparent redirect": lead_on,
    "a client that goes away": hold,
    "a stream that is aborted": endless_stream,
}


@pytest.mark.parametrize("name", VIEWS)
@pytest.mark.parametrize("with_hooks", [True, False])
def test_no_request_leaves_a_cycle(name: str, with_hooks: bool) -> None:
    """DESIGN §7: its memory is given back when it is over, not when the garbage is collected."""
    app = Application()
    app.route("/", name="view", func=VIEWS[name])
    if with_hooks:
        note_hooks(app, "app", [])
    requests: list[weakref.ref[HTTPRequest]] = []

    def noting(request: HTTPRequest) -> None:
        requests.append(weakref.ref(request))
        app(request)

    with connected(noting) as (engine, peer):
        gc.disable()
        try:
            peer.window = 5000
            peer.send(asking())
            engine.advance(1)
            peer.reset()
            engine.advance(1)
            assert requests[0]() is None
        finally:
            gc.enable()


# --- Wrappers, and requests within requests ---------------------------------------------------------------------------


def test_an_application_may_be_wrapped() -> None:
    """Manual: "wrap the Application in another method"."""
    app = Application()
    app.route("/", func=lambda request: request.session)

    def wrapper(request: HTTPRequest) -> None:
        request.session = "a session"
        app(request)

    assert fetch(wrapper).content == b"a session"


def test_the_current_request_is_there_while_it_is_served() -> None:
    app = Application()
    app.route("/<int:number>", name="view", func=lambda request, number: url_for(".view", number + 1))
    assert fetch(app, "/5").content == b"/6"
    assert current_request() is None
    with pytest.raises(RuntimeError):
        url_for("view", 5)


def test_a_request_that_is_served_within_another(expect_log: ExpectedLog) -> None:
    """A view may run the engine; the request is the current one again when that returns."""
    expect_log("The route 'broken'")
    app = Application()
    seen: list[Any] = []
    made: list[tuple[MemoryEngine, Peer]] = []

    @app.route("/outer")
    def outer(request: HTTPRequest) -> str:
        engine, peer = made[0]
        for path in ("/inner", "/broken", "/none"):
            peer.send(asking(path))
            engine.poll(0)
        seen.append((current_request() is request, current_application() is app, request.route_name))
        return url_for(".outer")

    @app.route("/inner")
    def inner(request: HTTPRequest) -> str:
        seen.append((current_request() is request, current_application() is app, request.route_name))
        return url_for(".inner")

    app.route("/broken", name="broken", func=failing)
    with MemoryEngine() as engine:
        server = HTTPServer(app, engine=engine)
        first, second = engine.accept(server), engine.accept(server)
        made.append((engine, second))
        first.send(asking("/outer"))
        assert first.received.endswith(b"\r\n\r\n/outer")
        assert b"\r\n\r\n/inner" in second.received
        assert b"HTTP/1.1 500 " in second.received
        assert b"HTTP/1.1 404 " in second.received
    assert seen == [(True, True, "inner"), (True, True, "outer")]
    assert current_request() is None


# --- Before, and redirects --------------------------------------------------------------------------------------------


def test_a_redirect_out_of_before_leaves_none_of_the_others_out() -> None:
    """`Application.before`: "the other functions are called nevertheless"."""
    app = Application()

    @app.before
    def rewrite(request: HTTPRequest) -> None:
        if request.path == "/old":
            raise HTTPTransparentRedirect("/secret")

    @app.before
    def guard(request: HTTPRequest) -> Any:
        return ("not you", 403) if request.path == "/secret" else None

    app.route("/secret", func=lambda request: "the secret")
    for path in ("/secret", "/old"):
        answer = fetch(app, path)
        assert (answer.status, answer.content) == (403, b"not you")


def test_the_headers_of_a_route_do_not_go_with_another() -> None:
    """Manual: "headers": "to always send with the response from this request handler"."""
    app = Application()

    @app.route("/a", headers={"X-A": "a", "Cache-Control": "max-age=999"})
    def leave(request: HTTPRequest) -> str:
        raise HTTPTransparentRedirect(request.query or "/b")

    app.route("/b", name="b", headers={"X-B": "b"}, func=lambda request: "b")
    answer = fetch(app, "/a")
    assert (answer.headers["X-A"], answer.headers["Cache-Control"], answer.headers["X-B"]) == (None, None, "b")
    answer = fetch(app, "/a?/nothing")
    assert (answer.status, answer.headers["X-A"], answer.headers["Cache-Control"]) == (404, None, None)


@pytest.mark.parametrize("with_hooks", [True, False])
def test_the_headers_of_a_route_go_with_what_its_view_sends(with_hooks: bool) -> None:
    """Manual: they are always sent; those set within the request handler override them. Not with error pages."""
    app = Application()
    if with_hooks:
        app.after(lambda request, head: None)

    @app.route("/<what>", headers={"X-A": "fixed", "X-B": "fixed"})
    def view(request: HTTPRequest, what: str) -> None:
        if what == "error":
            abort(403)
        request.send_response(what, headers={"X-B": "own"})

    answer = fetch(app, "/x")
    assert (answer.content, answer.headers["X-A"], answer.headers["X-B"]) == (b"x", "fixed", "own")
    answer = fetch(app, "/error")
    assert (answer.status, answer.headers["X-A"], answer.headers["X-B"]) == (403, None, None)


def test_an_application_with_before_is_not_added() -> None:
    """`Module.add`: it raises; what guards an application is not lost in silence."""
    inner, outer = Application("inner"), Application()
    inner.route("/x", func=lambda request: "x")
    inner.before(lambda request: None)
    with pytest.raises(ValueError, match="before a route is found"):
        outer.add("/inner", inner)
    assert fetch(outer, "/inner/x").status == 404
    another = Application()
    another.route("/x", func=lambda request: "x")
    outer.add("/another", another)
    assert fetch(outer, "/another/x").content == b"x"
    with pytest.raises(ValueError, match="added to another"):
        another.before(lambda request: None)


def test_an_application_in_the_view_of_another() -> None:
    """`after`: the hooks of both see the answer."""
    inner, outer = Application(), Application()
    inner.route("/<path:rest>", func=lambda request, rest: "inner")
    inner.after(lambda request, head: head.headers.__setitem__("X-Inner", "1"))
    outer.after(lambda request, head: head.headers.__setitem__("X-Outer", "1"))

    @outer.route("/<path:rest>", headers={"X-Fixed": "1"})
    def view(request: HTTPRequest, rest: str) -> None:
        inner(request)

    answer = fetch(outer, "/x")
    assert answer.content == b"inner"
    assert [answer.headers[name] for name in ("X-Inner", "X-Outer", "X-Fixed")] == ["1", "1", "1"]


def test_the_status_is_only_told() -> None:
    """`ResponseHead`: what cannot be changed refuses to be set."""
    failures: list[Exception] = []

    def change(request: HTTPRequest, head: ResponseHead) -> None:
        for name, value in (("status", 500), ("headers", {})):
            try:
                setattr(head, name, value)
            except AttributeError as error:
                failures.append(error)

    app = Application()
    app.after(change)
    app.route("/", func=lambda request: "x")
    assert fetch(app).status == 200
    assert len(failures) == 2


def test_after_that_fails_on_a_compressed_stream(expect_log: ExpectedLog) -> None:
    """The page that tells of it is whole, and not compressed with what was begun for another."""
    expect_log("The route 'view'")
    app = Application()

    @app.after
    def fail(request: HTTPRequest, head: ResponseHead) -> None:
        if head.status == 200:
            raise ZeroDivisionError

    @app.route("/", content_type="text/plain")
    def view(request: HTTPRequest) -> Any:
        yield "a" * 5000

    with connected(app, compression=True) as (_, peer):
        peer.send(asking(headers={"Accept-Encoding": "gzip"}))
        answer = Answer(peer.received)
    content = gzip.decompress(answer.content) if answer.headers["Content-Encoding"] else answer.content
    assert (answer.status, b"500 Internal Server Error" in content) == (500, True)


@pytest.mark.parametrize("error", [HTTPException(403), Refused(400, "bad"), ValueError("bad")])
@pytest.mark.parametrize("whole", [True, False])
def test_an_exception_behind_an_answer_is_logged(error: Exception, whole: bool, expect_log: ExpectedLog) -> None:
    """It cannot become a page any more, and is not lost."""
    expect_log("The route 'view'")
    told: list[Exception] = []
    app = Application()
    app.on_failure = lambda request, exception: told.append(exception)

    @app.route("/")
    def view(request: HTTPRequest) -> None:
        if whole:
            request.send_response("sent")
        else:
            request.send("sent")
        raise error

    with connected(app) as (_, peer):
        peer.send(asking())
        assert b"sent" in peer.received
        assert peer.ended is not whole
    assert told == [error]


# --- Failures behind failures -----------------------------------------------------------------------------------------


def failing_hooks(app: Application, count: int) -> None:
    for _ in range(count):

        @app.after
        def fail(request: HTTPRequest, head: ResponseHead) -> None:
            if request.query:
                raise ZeroDivisionError


@pytest.mark.parametrize("count", [1, 2, 5, 12])
@pytest.mark.parametrize("kind", ["str", "stream", "late", "nested poll"])
def test_whatever_hooks_fail_there_is_an_answer(count: int, kind: str, expect_log: ExpectedLog) -> None:
    """DESIGN §2: a finished message, or a closed connection."""
    expect_log("ZeroDivisionError")
    app = Application()
    failing_hooks(app, count)

    @app.route("/")
    def view(request: HTTPRequest) -> Any:
        if kind == "stream":
            return iter(["a", "b"])
        if kind in ("late", "nested poll"):
            request.auto_finish = False
            request.connection.engine.callback(request.send_response, "late")
            if kind == "nested poll":
                request.connection.engine.poll(0)
            return None
        return "x"

    with connected(app) as (engine, peer):
        peer.send(asking("/?1"))
        engine.advance(1)
        answer = Answer(peer.take())
        assert (answer.status, b"500 Internal Server Error" in answer.content) == (500, True)
        peer.send(asking("/"))
        engine.advance(1)
        assert Answer(peer.received).status == 200


@pytest.mark.parametrize("late", [True, False])
def test_a_hook_that_sets_a_cookie_which_cannot_be_sent(late: bool, expect_log: ExpectedLog) -> None:
    expect_log("cookie")
    app = Application()

    @app.after
    def spoil(request: HTTPRequest, head: ResponseHead) -> None:
        request.cookies_out["a"] = "1"
        request.cookies_out["a"]["path"] = "\r\n"

    @app.route("/")
    def view(request: HTTPRequest) -> Any:
        if late:
            request.auto_finish = False
            request.connection.engine.callback(request.send_response, "late")
        return "x"

    with connected(app) as (engine, peer):
        peer.send(asking())
        engine.advance(1)
        answer = Answer(peer.received)
    assert (answer.status, answer.headers["Set-Cookie"]) == (500, None)


def test_a_hook_that_fails_to_encode_is_a_failure(expect_log: ExpectedLog) -> None:
    """It is not taken for content that cannot be encoded, and left out in silence."""
    expect_log("The route 'view'(.|\n)*UnicodeEncodeError")
    app = Application()
    app.after(lambda request, head: head.headers.__setitem__("X-Frame-Options", "\udc80".encode().decode()))

    @app.route("/")
    def view(request: HTTPRequest) -> str:
        return "x"

    assert fetch(app).status == 500


def test_an_abort_in_a_handler_leaves_no_cycle() -> None:
    """DESIGN §7."""
    app = Application()
    app.error_handler(LookupError)(lambda request, exception: abort(404))
    requests: list[weakref.ref[HTTPRequest]] = []

    @app.route("/")
    def view(request: HTTPRequest) -> str:
        requests.append(weakref.ref(request))
        raise LookupError

    gc.disable()
    try:
        assert fetch(app).status == 404
        assert requests[0]() is None
    finally:
        gc.enable()
