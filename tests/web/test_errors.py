"""Errors of an application: pages, handlers, and what is logged (manual: "Exceptions", "Helper Functions")."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from pants.http import HTTPRequest, Refused
from pants.web import (
    Application,
    Converter,
    HTTPException,
    HTTPTransparentRedirect,
    Module,
    Response,
    abort,
    all_or_404,
    error,
    redirect,
    register_converter,
)
from tests.conftest import ExpectedLog
from tests.web.support import Answer, asking, connected, fetch

HTML = "text/html; charset=UTF-8"
FAILED = r"The route 'view' \(/\) failed, on <HTTPRequest GET /.*>\n(.|\n)*"


def raising(exception: BaseException | type[BaseException], app: Application | None = None, **options: Any) -> Answer:
    """The answer to a route whose function raises something."""
    app = app or Application()

    @app.route("/")
    def view(request: HTTPRequest) -> None:
        raise exception

    return fetch(app, **options)


# --- HTTPException and abort ------------------------------------------------------------------------------------------


def test_the_default_of_an_exception_is_404() -> None:
    """Manual: HTTPException(status=404, message=None, headers=None), and abort() with the same."""
    exception = HTTPException()
    assert (exception.status, exception.message, list(exception.headers)) == (404, None, [])
    with pytest.raises(HTTPException) as caught:
        abort()
    assert (caught.value.status, caught.value.message) == (404, None)
    with pytest.raises(HTTPException) as caught:
        abort(403, "Not yours", {"X-One": "1"})
    assert (caught.value.status, caught.value.message, caught.value.headers["X-One"]) == (403, "Not yours", "1")


def test_an_exception_is_an_error_page() -> None:
    """Manual: an error page with the status code, message, and any provided headers."""
    answer = raising(HTTPException(403, 'Not <b>yours</b> & "mine"', {"X-Fish": "trout"}))
    assert (answer.status, answer.headers["Content-Type"], answer.headers["X-Fish"]) == (403, HTML, "trout")
    assert b"403 Forbidden" in answer.content
    assert b"Not &lt;b&gt;yours&lt;/b&gt; &amp; " in answer.content
    assert b"<b>" not in answer.content


@pytest.mark.parametrize("code", [400, 401, 402, 404, 409, 410, 418, 422, 451, 499, 500, 503, 599, 301, 200])
def test_an_exception_of_any_status(code: int) -> None:
    """It is no failure, whatever its status: nothing is logged."""
    answer = raising(HTTPException(code))
    assert (answer.status, answer.headers["Content-Type"]) == (code, HTML)
    assert str(code).encode() in answer.content


@pytest.mark.parametrize("code", [204, 304])
def test_an_exception_whose_status_has_no_content(code: int) -> None:
    answer = raising(HTTPException(code, headers={"X-One": "1"}))
    assert (answer.status, answer.content, answer.headers["X-One"]) == (code, b"", "1")


def test_an_exception_with_head() -> None:
    """RFC 9110 §9.3.2."""
    answers = [raising(HTTPException(403), method=method) for method in ("GET", "HEAD")]
    assert [len(answer.content) > 0 for answer in answers] == [True, False]
    assert answers[0].headers["Content-Length"] == answers[1].headers["Content-Length"]


def test_the_headers_of_an_exception_may_come_repeatedly() -> None:
    answer = raising(HTTPException(401, headers=[("WWW-Authenticate", "Basic"), ("WWW-Authenticate", "Bearer")]))
    assert answer.headers.get_all("WWW-Authenticate") == ["Basic", "Bearer"]


@pytest.mark.parametrize(
    "error_class, args",
    [
        (ValueError, (99,)),
        (ValueError, (100,)),
        (ValueError, (600,)),
        (TypeError, ("404 Not Found",)),
        (TypeError, (None,)),
        (TypeError, (404, 5)),
        (TypeError, (404, None, 5)),
        (ValueError, (404, None, {"X-One": "\r\n"})),
    ],
)
def test_a_mistake_raises_at_the_call(error_class: type[Exception], args: Any) -> None:
    for function in (HTTPException, abort):
        with pytest.raises(error_class):
            function(*args)


@pytest.mark.parametrize(
    "error_class, args",
    [
        (ValueError, ("a", 100)),
        (TypeError, ("a", "404")),
        (TypeError, (b"a",)),
        (TypeError, ("a", 404, 5)),
        (ValueError, ("a", 404, {"X-One": "\n"})),
    ],
)
def test_a_mistake_in_an_error_raises_at_the_call(error_class: type[Exception], args: Any) -> None:
    with pytest.raises(error_class):
        error(*args)


def test_an_exception_after_the_head_was_begun_forgets_that() -> None:
    app = Application()

    @app.route("/")
    def view(request: HTTPRequest) -> None:
        request.send_status(201)
        request.send_headers({"X-One": "1"}, end_headers=False)
        abort(403)

    answer = fetch(app)
    assert (answer.status, answer.headers["X-One"]) == (403, None)


def test_an_exception_after_content_closes_the_connection(expect_log: ExpectedLog) -> None:
    """DESIGN §3: a close if the answer has begun."""
    app = Application()

    @app.route("/")
    def view(request: HTTPRequest) -> None:
        request.send("begun")
        raise ZeroDivisionError

    expect_log(FAILED + "ZeroDivisionError")
    with connected(app) as (_, peer):
        peer.send(asking())
        assert peer.received.endswith(b"begun\r\n")
        assert peer.ended


def test_an_exception_after_the_answer_is_logged(expect_log: ExpectedLog) -> None:
    expect_log(FAILED + "ZeroDivisionError")
    app = Application()

    @app.route("/")
    def view(request: HTTPRequest) -> str:
        request.send_response("answered")
        raise ZeroDivisionError

    assert fetch(app).content == b"answered"


def test_an_error_leaves_the_connection_as_it_is(expect_log: ExpectedLog) -> None:
    expect_log(FAILED + "ZeroDivisionError")
    app = Application()

    @app.route("/")
    def view(request: HTTPRequest) -> str:
        raise ZeroDivisionError

    with connected(app) as (_, peer):
        peer.send(asking("/") + asking("/other"))
        assert peer.received.count(b"HTTP/1.1 500 ") == 1
        assert peer.received.count(b"HTTP/1.1 404 ") == 1
        assert not peer.ended


# --- error, all_or_404, redirect --------------------------------------------------------------------------------------


def test_error_by_the_examples_of_the_manual() -> None:
    app = Application()
    app.route("/1", name="one", func=lambda request: error(404))
    app.route("/2", name="two", func=lambda request: error("Some message.", 404))
    app.route("/3", name="three", func=lambda request: error("Blah blah blah.", 403, {"Some-Header": "Fish"}))
    app.route("/4", name="four", func=lambda request: error())
    answers = [fetch(app, f"/{number}") for number in range(1, 5)]
    assert [answer.status for answer in answers] == [404, 404, 403, 404]
    assert {answer.headers["Content-Type"] for answer in answers} == {HTML}
    assert b"404 Not Found" in answers[0].content
    assert b"Some message." in answers[1].content
    assert b"Blah blah blah." in answers[2].content
    assert answers[2].headers["Some-Header"] == "Fish"
    assert b"404 Not Found" in answers[3].content


def test_error_needs_no_request() -> None:
    response = error("<b>", 410)
    assert isinstance(response, Response)
    assert response.status == 410
    assert "&lt;b&gt;" in response.body
    assert "<b>" not in response.body


def test_error_shows_an_exception_only_if_debugging() -> None:
    app = Application()

    def view(request: HTTPRequest, debug: bool | None) -> Response:
        try:
            raise ZeroDivisionError("a secret")
        except ZeroDivisionError:
            return error("Sorry", 500, request=request, debug=debug)

    app.route("/none", name="none", func=lambda request: view(request, None))
    app.route("/false", name="false", func=lambda request: view(request, False))
    app.route("/true", name="true", func=lambda request: view(request, True))
    assert [b"a secret" in fetch(app, path).content for path in ("/none", "/false", "/true")] == [False, False, True]
    app.debug = True
    assert [b"a secret" in fetch(app, path).content for path in ("/none", "/false", "/true")] == [True, False, True]


def test_all_or_404() -> None:
    """Manual: if any of the provided arguments aren't truthy, raise a 404."""
    all_or_404()
    all_or_404(1, "a", [0], True)
    wrong: list[tuple[object, ...]] = [(0,), (1, ""), (None, 1), ([],), (False,)]
    for args in wrong:
        with pytest.raises(HTTPException) as caught:
            all_or_404(*args)
        assert caught.value.status == 404


def test_auto404() -> None:
    """Manual: "auto404": if any argument is not true, a 404 page; the function is not called."""
    app = Application()
    called: list[tuple[int, int]] = []

    @app.route("/<int:a>/<int:b>", auto404=True)
    def view(request: HTTPRequest, a: int, b: int) -> str:
        called.append((a, b))
        return "found"

    answers = [fetch(app, path) for path in ("/1/2", "/0/2", "/1/0")]
    assert [answer.status for answer in answers] == [200, 404, 404]
    assert b"404 Not Found" in answers[1].content
    assert called == [(1, 2)]


def test_without_auto404_what_is_not_true_is_a_value() -> None:
    app = Application()
    app.route("/<int:a>", func=lambda request, a: repr(a))
    assert fetch(app, "/0").content == b"0"


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_redirect(code: int) -> None:
    """Manual: "redirect"; RFC 9110 §15.4: with a note that links there."""
    app = Application()
    app.route("/", func=lambda request: redirect("/a?b=<c>&d", code))
    answer = fetch(app)
    assert (answer.status, answer.headers["Location"]) == (code, "/a?b=%3Cc%3E&d")
    assert answer.headers["Content-Type"] == HTML
    assert b'href="/a?b=%3Cc%3E&amp;d"' in answer.content


def test_redirect_is_302_by_default() -> None:
    assert redirect("/a").status == 302


@pytest.mark.parametrize(
    "url, location",
    [
        ("/a", "http://a/a"),
        ("b", "http://a/x/b"),
        ("?c=d", "http://a/x/y?c=d"),
        ("https://other.example/", "https://other.example/"),
        ("/ä%20b", "http://a/%C3%A4%20b"),
    ],
)
def test_redirect_with_the_request_is_to_a_whole_url(url: str, location: str) -> None:
    app = Application()
    app.route("/x/y", func=lambda request: redirect(url, request=request))
    assert fetch(app, "/x/y?z").headers["Location"] == location


@pytest.mark.parametrize(
    "error_class, args",
    [
        (TypeError, (5,)),
        (TypeError, (None,)),
        (ValueError, ("/a", 200)),
        (ValueError, ("/a", 304)),
        (ValueError, ("/a", 404)),
        (TypeError, ("/a", "302")),
    ],
)
def test_a_mistake_in_a_redirect_raises(error_class: type[Exception], args: Any) -> None:
    with pytest.raises(error_class):
        redirect(*args)


@pytest.mark.parametrize(
    "url, location",
    [("/a b", "/a%20b"), ("/a\r\nX-One: 1", "/a%0D%0AX-One:%201"), ("/\x00", "/%00"), ("/\ud83d", "/?")],
)
def test_a_redirect_to_what_a_visitor_has_sent_is_no_error(url: str, location: str) -> None:
    """It is percent-encoded, and stays within its field (RFC 9110 §10.2.2)."""
    app = Application()
    app.route("/", func=lambda request: redirect(url))
    answer = fetch(app)
    assert (answer.status, answer.headers.get_all("Location"), answer.headers["X-One"]) == (302, [location], None)


# --- Exceptions of the program ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("debug", [True, False])
def test_an_exception_is_500(debug: bool, expect_log: ExpectedLog) -> None:
    """Manual: "debug": only then the page displays additional information."""
    expect_log(FAILED + "ZeroDivisionError")
    app = Application(debug=debug)

    @app.route("/")
    def view(request: HTTPRequest) -> str:
        local = "<fish>in a local</fish>"
        raise ZeroDivisionError(f"<fish>{len(local)}")

    answer = fetch(app, "/?<fish>=<fish>", headers={"X-Fish": "<fish>"})
    assert (answer.status, answer.headers["Content-Type"]) == (500, HTML)
    assert b"500 Internal Server Error" in answer.content
    for shown in (b"ZeroDivisionError", b"in a local", b"test_errors.py"):
        assert (shown in answer.content) is debug
    assert b"<fish>" not in answer.content


def test_debug_is_asked_at_each_error(expect_log: ExpectedLog) -> None:
    expect_log(FAILED)
    app = Application()
    assert b"ZeroDivisionError" not in raising(ZeroDivisionError, app).content
    app.debug = True
    assert b"ZeroDivisionError" in fetch(app).content


def test_what_is_no_exception_is_not_caught() -> None:
    """KeyboardInterrupt and SystemExit end the program."""
    for exception in (KeyboardInterrupt, SystemExit):
        with pytest.raises(exception):
            raising(exception)


def test_on_failure(expect_log: ExpectedLog) -> None:
    """`Application.on_failure`: each exception that becomes a 500, after it was logged."""
    expect_log(FAILED + "ZeroDivisionError")
    app = Application()
    told: list[tuple[str, Exception, int]] = []
    app.on_failure = lambda request, exception: told.append((request.url, exception, len(expect_log.lines)))
    exception = ZeroDivisionError("a")
    assert raising(exception, app).status == 500
    assert told == [("/", exception, 1)]
    fetch(app, "/other")
    assert len(told) == 1


@pytest.mark.parametrize("exception", [HTTPException(500), HTTPException(404), Refused(400, "no")])
def test_on_failure_is_not_called_for_what_the_program_means(exception: Exception) -> None:
    app = Application()
    told: list[Exception] = []
    app.on_failure = lambda request, exception: told.append(exception)
    raising(exception, app)
    assert not told


def test_on_failure_may_fail(expect_log: ExpectedLog) -> None:
    expect_log(FAILED + "ZeroDivisionError")
    expect_log("on_failure(.|\n)*LookupError")
    app = Application()

    def fail(request: HTTPRequest, exception: Exception) -> None:
        raise LookupError

    app.on_failure = fail
    assert raising(ZeroDivisionError, app).status == 500


def test_an_exception_of_a_basic_route(expect_log: ExpectedLog) -> None:
    expect_log(FAILED + "ZeroDivisionError")
    app = Application()

    def view(request: HTTPRequest) -> str:
        raise ZeroDivisionError

    app.basic_route("/", func=view)
    assert fetch(app).status == 500


def test_a_route_of_a_module_is_logged_by_its_whole_name(expect_log: ExpectedLog) -> None:
    expect_log(r"The route 'inner\.view' \(/sea/<int:number>\) failed, on <HTTPRequest GET /sea/5>")
    app, module = Application(), Module("inner")

    @module.route("/<int:number>")
    def view(request: HTTPRequest, number: int) -> str:
        raise ZeroDivisionError

    app.add("/sea", module)
    assert fetch(app, "/sea/5").status == 500


# --- A visitor's bad input --------------------------------------------------------------------------------------------


class Picky(Converter):
    def configure(self) -> None:
        self.regex = "[a-z]+"

    def decode(self, request: HTTPRequest, *values: Any) -> Any:
        (value,) = values
        if value == "gone":
            abort(410)
        if value == "busy":
            raise Refused(503, "Later")
        if value == "elsewhere":
            raise HTTPTransparentRedirect("/picky/else")
        if value == "bad":
            raise ZeroDivisionError
        return value


@pytest.mark.parametrize(
    "value, status", [("good", 200), ("gone", 410), ("busy", 503), ("elsewhere", 200), ("bad", 400)]
)
@pytest.mark.parametrize("debug", [True, False])
def test_what_a_converter_raises(value: str, status: int, debug: bool) -> None:
    """Manual: "decode": abort() or HTTPException for an error page, any other uncaught exception is a 400."""
    register_converter("picky", Picky)
    app = Application(debug=debug)

    @app.route("/picky/<picky:value>")
    def view(request: HTTPRequest, value: str) -> str:
        return value

    answer = fetch(app, f"/picky/{value}")
    assert answer.status == status
    if status == 200:
        assert answer.content in (b"good", b"else")
    elif not debug:
        assert b"ZeroDivisionError" not in answer.content


@pytest.mark.parametrize("path", ["/int/5", "/int/99", "/text/%FF", "/text/%C3%28", "/basic/%FF"])
def test_what_is_out_of_range_or_no_text_is_400(path: str) -> None:
    """Manual: a number out of range is an error and not merely a miss; DESIGN §3: invalid UTF-8 is a 400."""
    app = Application()
    app.route("/int/<int(min=10 max=20):value>", name="int", func=lambda request, value: "found")
    app.route("/text/<value>", name="text", func=lambda request, value: "found")
    app.basic_route("/basic/<value>", name="basic", func=lambda request: request.match.groups()[0])
    answer = fetch(app, path)
    assert answer.status == 400
    assert b"400 Bad Request" in answer.content


@pytest.mark.parametrize(
    "content_type, body",
    [
        ("multipart/form-data; boundary=x", b"not that"),
        ("multipart/form-data", b"--x--"),
        ("application/x-www-form-urlencoded", b"&".join([b"a=1"] * 20000)),
    ],
)
def test_a_malformed_form_is_refused(content_type: str, body: bytes) -> None:
    """A visitor's bad input never gives a 500."""
    app = Application()
    app.route("/", methods=["POST"], func=lambda request: repr(request.post))
    answer = fetch(app, "/", "POST", headers={"Content-Type": content_type}, body=body)
    assert 400 <= answer.status < 500
    assert answer.headers["Content-Type"] == HTML


@pytest.mark.parametrize(
    "content_type, body, status",
    [
        ("application/json", b'{"a": 1}', 200),
        ("application/json", b"{", 400),
        ("application/json", b"", 400),
        ("application/json", b"\xff", 400),
        ("text/plain", b"{}", 415),
    ],
)
def test_malformed_json_is_refused(content_type: str, body: bytes, status: int) -> None:
    app = Application()
    app.route("/", methods=["POST"], func=lambda request: request.json)
    answer = fetch(app, "/", "POST", headers={"Content-Type": content_type}, body=body)
    assert answer.status == status


def test_the_reason_of_a_refusal_is_escaped() -> None:
    answer = raising(Refused(422, "<b> is bold"))
    assert answer.status == 422
    assert b"&lt;b&gt; is bold" in answer.content


def test_the_path_does_not_come_back_in_the_page() -> None:
    for path in ("/<script>", "/a?<script>"):
        assert b"script" not in fetch(Application(), path).content


# --- Error handlers: which --------------------------------------------------------------------------------------------


class Wet(Exception):
    pass


class Wetter(Wet, LookupError):
    pass


class Missing(HTTPException):
    pass


def handled(exception: Exception, *errors: Any) -> str:
    """Which of the handlers answers an exception."""
    app = Application()
    for what in errors:
        app.error_handler(what)(lambda request, exception, what=what: (getattr(what, "__name__", str(what)), 200))
    return raising(exception, app).content.decode()


@pytest.mark.parametrize(
    "exception, errors, chosen",
    [
        (HTTPException(404), (404, 403), "404"),
        (HTTPException(403), (404, 403), "403"),
        (HTTPException(404), (HTTPException,), "HTTPException"),
        (HTTPException(404), (HTTPException, 404), "404"),
        (Missing(404), (HTTPException, Missing), "Missing"),
        (Missing(404), (HTTPException, Missing, 404), "404"),
        (Missing(404), (HTTPException, 403), "HTTPException"),
        (HTTPException(500), (500,), "500"),
        (Wetter(), (Wet, LookupError, Wetter), "Wetter"),
        (Wetter(), (LookupError, Wet), "Wet"),  # by its method resolution order
        (Wetter(), (LookupError, Exception), "LookupError"),
        (Wetter(), (500, LookupError), "LookupError"),
        (Wet(), (Wetter, LookupError, Wet), "Wet"),
        (Refused(400, "no"), (400,), "400"),
        (Refused(400, "no"), (HTTPException,), "HTTPException"),
    ],
)
def test_the_handler_that_is_nearest(exception: Exception, errors: Any, chosen: str) -> None:
    """`Module.error_handler`: by status, then by class, then by its bases."""
    assert handled(exception, *errors) == chosen


def test_a_handler_for_refusals() -> None:
    """`error_handler` takes any class of exceptions."""
    assert handled(Refused(400, "no"), Refused) == "Refused"


@pytest.mark.parametrize("where", ["inner", "outer", "app"])
def test_handlers_of_the_inner_modules_go_first(where: str) -> None:
    app, outer, inner = Application(), Module(), Module()
    inner.route("/", func=lambda request: abort(403))
    outer.add("/b", inner)
    app.add("/a", outer)
    modules = {"inner": inner, "outer": outer, "app": app}
    for name in list(modules)[list(modules).index(where) :]:
        modules[name].error_handler(403)(lambda request, exception, name=name: name)
    answer = fetch(app, "/a/b/")
    assert (answer.status, answer.content.decode()) == (403, where)


def test_a_handler_of_an_inner_module_is_asked_before_a_nearer_one_further_out() -> None:
    app, inner = Application(), Module()

    @inner.route("/")
    def view(request: HTTPRequest) -> None:
        raise Wetter

    app.add("/a", inner)
    inner.error_handler(Exception)(lambda request, exception: ("inner", 200))
    app.error_handler(Wetter)(lambda request, exception: ("app", 200))
    assert fetch(app, "/a/").content == b"inner"


def test_handlers_of_another_module_are_not_asked() -> None:
    app, one, two = Application(), Module(), Module()
    one.route("/", name="one", func=lambda request: abort(403))
    two.route("/", name="two", func=lambda request: abort(403))
    two.error_handler(403)(lambda request, exception: "two")
    two.error_handler(404)(lambda request, exception: "two")
    app.add("/1", one)
    app.add("/2", two)
    assert b"403 Forbidden" in fetch(app, "/1/").content
    assert fetch(app, "/2/").content == b"two"
    assert b"404 Not Found" in fetch(app, "/2/none").content  # no route, so it is of no module


def test_errors_without_a_route_are_for_the_application() -> None:
    app = Application(fix_end_slash=True)
    app.route("/a", func=lambda request: "a")
    app.error_handler(404)(lambda request, exception: f"nothing at {request.path}")
    app.error_handler(405)(lambda request, exception: "not so")
    assert (fetch(app, "/b").status, fetch(app, "/b").content) == (404, b"nothing at /b")
    answer = fetch(app, "/a", "POST")
    assert (answer.status, answer.content) == (405, b"not so")


def test_a_handler_of_405_keeps_allow() -> None:
    """RFC 9110 §15.5.6: the server MUST generate an Allow."""
    app = Application()
    app.route("/", func=lambda request: "a")
    for output in ("not so", ("not so", 405), Response("not so"), {"error": 405}, None, error("not so", 405)):
        app._hooks.by_status.clear()
        app.error_handler(405)(lambda request, exception, output=output: output)
        answer = fetch(app, "/", "POST")
        assert answer.status == 405
        assert {"GET", "HEAD"} <= set(answer.headers["Allow"].split(", "))
        assert len(answer.headers.get_all("Allow") or []) == 1


def test_a_handler_may_replace_the_headers_of_the_exception() -> None:
    app = Application()
    app.error_handler(401)(lambda request, exception: ("in", 401, {"www-authenticate": "Own"}))
    headers = [("WWW-Authenticate", "Basic"), ("X-One", "1")]
    answer = raising(HTTPException(401, headers=headers), app)
    assert answer.headers.get_all("WWW-Authenticate") == ["Own"]
    assert answer.headers["X-One"] == "1"


def test_handlers_may_be_registered_later() -> None:
    app = Application()
    assert raising(HTTPException(403), app).status == 403
    app.error_handler(403)(lambda request, exception: ("later", 200))
    assert fetch(app).content == b"later"


# --- Error handlers: what they return ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "output, status, content",
    [
        ("text", 403, b"text"),
        (b"bytes", 403, b"bytes"),
        ({"a": 1}, 403, b'{"a":1}'),
        (("text", 200), 200, b"text"),
        (("text", "410 Gone"), 410, b"text"),
        (Response("text"), 403, b"text"),
        (Response("text", 200), 200, b"text"),
        (None, 403, b""),
        (iter(["text"]), 403, b"text"),
        (5, 403, b"5"),
    ],
)
def test_a_handler_returns_what_a_view_may(output: Any, status: int, content: bytes) -> None:
    """`error_handler`: the status is that of the error, unless it returns another."""
    app = Application()
    app.error_handler(403)(lambda request, exception: output)
    answer = raising(HTTPException(403), app)
    assert (answer.status, answer.content) == (status, content)


def test_a_handler_gets_the_request_and_the_exception() -> None:
    app = Application()
    got: list[Any] = []

    @app.error_handler(Wet)
    def handler(request: HTTPRequest, exception: Wet) -> Any:
        got.extend([request.url, request.route_name, exception])
        return "handled", 200

    exception = Wet()
    raising(exception, app)
    assert got == ["/", "view", exception]


def test_a_handler_may_answer_by_itself() -> None:
    app = Application()
    app.error_handler(403)(lambda request, exception: request.send_response("by itself", 200))
    assert fetch(app, "/other").status == 404
    assert raising(HTTPException(403), app).content == b"by itself"


def test_a_handler_may_answer_later() -> None:
    app = Application()

    @app.error_handler(403)
    def handler(request: HTTPRequest, exception: HTTPException) -> None:
        request.auto_finish = False
        request.connection.engine.defer(1, request.send_response, "later")

    app.route("/", func=lambda request: abort(403))
    with connected(app) as (engine, peer):
        peer.send(asking())
        engine.advance(1)
        assert Answer(peer.received).content == b"later"


def test_a_handler_does_not_get_what_the_view_has_begun() -> None:
    app = Application()
    app.error_handler(403)(lambda request, exception: "handled")

    @app.route("/", headers={"X-Route": "1"}, content_type="text/css")
    def view(request: HTTPRequest) -> None:
        request.send_status(201)
        request.send_headers({"X-One": "1"}, end_headers=False)
        abort(403)

    answer = fetch(app)
    assert (answer.status, answer.headers["X-One"], answer.content) == (403, None, b"handled")
    assert answer.headers["Content-Type"] == "text/plain; charset=UTF-8"


# --- Error handlers: 500 ----------------------------------------------------------------------------------------------


def test_a_handler_of_500_is_for_all_exceptions_that_have_none(expect_log: ExpectedLog) -> None:
    """`error_handler`: they are logged all the same."""
    expect_log(FAILED + "ZeroDivisionError")
    app = Application()
    told: list[Exception] = []
    app.on_failure = lambda request, exception: told.append(exception)
    app.error_handler(500)(lambda request, exception: f"sorry: {type(exception).__name__}")
    exception = ZeroDivisionError()
    answer = raising(exception, app)
    assert (answer.status, answer.content) == (500, b"sorry: ZeroDivisionError")
    assert told == [exception]


def test_a_handler_of_500_is_not_for_others() -> None:
    app = Application()
    app.error_handler(500)(lambda request, exception: "sorry")
    assert raising(HTTPException(403), app).status == 403
    assert fetch(app, "/other").status == 404


def test_an_exception_that_has_a_handler_is_no_failure() -> None:
    """Nothing is logged, where the handler gives another status than 500."""
    app = Application()
    told: list[Exception] = []
    app.on_failure = lambda request, exception: told.append(exception)
    app.error_handler(Wet)(lambda request, exception: ("dry", 409))
    assert raising(Wet(), app).status == 409
    assert not told


def test_an_exception_that_becomes_a_500_is_logged(expect_log: ExpectedLog) -> None:
    """`on_failure`: called each time that an exception becomes a 500, after it was logged."""
    app = Application()
    told: list[Exception] = []
    app.on_failure = lambda request, exception: told.append(exception)
    app.error_handler(Exception)(lambda request, exception: "sorry")
    exception = ZeroDivisionError()
    assert raising(exception, app).status == 500
    assert told == [exception]
    expect_log(FAILED + "ZeroDivisionError")


@pytest.mark.parametrize("what", [403, HTTPException])
def test_a_handler_may_fail(what: Any, expect_log: ExpectedLog) -> None:
    expect_log(FAILED + "LookupError: the handler's")
    app = Application()
    told: list[Exception] = []
    app.on_failure = lambda request, exception: told.append(exception)

    @app.error_handler(what)
    def handler(request: HTTPRequest, exception: Exception) -> None:
        raise LookupError("the handler's")

    answer = raising(HTTPException(403), app)
    assert (answer.status, answer.headers["Content-Type"]) == (500, HTML)
    assert b"500 Internal Server Error" in answer.content
    assert b"the handler" not in answer.content
    assert [type(exception) for exception in told] == [LookupError]


@pytest.mark.parametrize("what", [500, ZeroDivisionError])
def test_a_handler_of_a_failure_may_fail(what: Any, expect_log: ExpectedLog) -> None:
    """Both exceptions are logged; the handler is not asked again about its own."""
    expect_log(FAILED + "ZeroDivisionError(.|\n)*LookupError: the handler's")
    if what == 500:
        expect_log(FAILED + "ZeroDivisionError: the view's$")
    app = Application()
    asked: list[Exception] = []

    @app.error_handler(what)
    def handler(request: HTTPRequest, exception: Exception) -> None:
        asked.append(exception)
        raise LookupError("the handler's")

    answer = raising(ZeroDivisionError("the view's"), app)
    assert answer.status == 500
    assert len(asked) == 1


@pytest.mark.parametrize("output", [("a", 999), {"a": object()}, ("a", 200, {"X-One": "\n"})])
def test_a_handler_may_return_what_cannot_be_sent(output: Any, expect_log: ExpectedLog) -> None:
    expect_log(FAILED)
    app = Application()
    app.error_handler(403)(lambda request, exception: output)
    assert raising(HTTPException(403), app).status == 500


def test_a_handler_may_fail_in_the_midst_of_its_answer(expect_log: ExpectedLog) -> None:
    expect_log(FAILED + "LookupError")
    app = Application()

    @app.error_handler(403)
    def handler(request: HTTPRequest, exception: Exception) -> None:
        request.send("begun")
        raise LookupError

    app.route("/", func=lambda request: abort(403), name="view")
    with connected(app) as (_, peer):
        peer.send(asking())
        assert peer.ended
        assert not peer.received.endswith(b"0\r\n\r\n")


def test_a_handler_may_raise_an_http_exception() -> None:
    """Manual: raising an HTTPException will cause the Application to render an error page with its status."""
    app = Application()
    app.error_handler(Wet)(lambda request, exception: abort(409))
    assert raising(Wet(), app).status == 409


def test_a_cookie_that_cannot_be_sent_is_an_error(expect_log: ExpectedLog) -> None:
    expect_log(FAILED)
    app = Application()

    @app.route("/")
    def view(request: HTTPRequest) -> str:
        request.cookies_out["a"] = "1"
        request.cookies_out["a"]["path"] = "/\r\nX-One: 1"
        return "a"

    answer = fetch(app)
    assert (answer.status, answer.headers["X-One"]) == (500, None)


def test_debug_shows_the_failure_of_a_handler(expect_log: ExpectedLog) -> None:
    expect_log(FAILED)
    app = Application(debug=True)

    @app.error_handler(403)
    def handler(request: HTTPRequest, exception: Exception) -> None:
        raise LookupError("the handler's")

    assert b"LookupError" in raising(HTTPException(403), app).content


def test_refusals_are_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "pants.web"):
        raising(Refused(400, "no"))
        raising(HTTPException(500))
    assert not caplog.records


# --- Redirects to what visitors have sent -----------------------------------------------------------------------------


def test_no_link_to_a_script() -> None:
    """The page of a redirect, which browsers show where they do not follow, has links to pages only."""
    for url, linked in (("/a", True), ("https://a/", True), ("javascript:alert(1)", False), ("JavaScript:x", False)):
        assert ("<a href" in str(redirect(url).body)) is linked


def test_the_debug_page_is_not_kept(expect_log: ExpectedLog) -> None:
    """RFC 9111 §5.2.2.5: it has in it what nobody else should see."""
    expect_log("failed")
    app = Application(debug=True)
    app.route("/", func=lambda request: 1 / 0)
    assert fetch(app).headers["Cache-Control"] == "no-store"
