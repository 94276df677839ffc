"""Sessions in a signed cookie (`pants.web.sessions`)."""

from __future__ import annotations

import base64
import doctest
import gc
import json
import weakref
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import Any

import pytest

import pants.web.sessions
from pants.http import HTTPHeaders, HTTPRequest
from pants.http._cookies import SecureCookies
from pants.web import Application, HTTPException, HTTPTransparentRedirect, Module, Response
from pants.web.sessions import Session, Sessions
from tests.conftest import ExpectedLog
from tests.web.visitor_support import Visitor, visitor

SECRET = "a secret"
DAY = 24 * 3600


class Clock:
    """Stands for the module `time`."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def time(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(pants.web.sessions, "time", clock)
    return clock


def app_of(view: Callable[[HTTPRequest], object], sessions: Sessions | None = None) -> Application:
    """An application with one page."""
    app = Application()
    (sessions or Sessions(SECRET)).attach(app)
    app.route("/", "page", methods=["GET", "POST"], func=view)
    return app


def count(request: Any) -> str:
    request.session["visits"] = request.session.get("visits", 0) + 1
    return str(request.session["visits"])


def show(request: Any) -> str:
    return json.dumps(dict(request.session))


def pages(**views: Callable[[Any], object]) -> Application:
    """An application with several pages."""
    app = Application()
    Sessions(SECRET).attach(app)
    for name, view in {"show": show, **views}.items():
        app.route(f"/{name}", name, func=view)
    return app


def test_docstrings() -> None:
    assert doctest.testmod(pants.web.sessions).failed == 0


# --- From one request to the next -----------------------------------------------------------------------------------


def test_a_session() -> None:
    with visitor(app_of(count)) as client:
        assert [client.ask("/").text for _ in range(3)] == ["1", "2", "3"]
        client.cookies.clear()
        assert client.ask("/").text == "1"


def test_the_cookie() -> None:
    with visitor(app_of(count)) as client:
        answer = client.ask("/")
        (line,) = answer.headers.get_all("Set-Cookie") or []
        pair, *attributes = line.split("; ")
        assert pair.startswith("session=j.")
        expires = attributes.pop(0)
        assert attributes == ["Max-Age=2678400", "Path=/", "HttpOnly", "SameSite=Lax"]
        end = parsedate_to_datetime(expires.removeprefix("Expires="))
        begin = parsedate_to_datetime(answer.headers["Date"])
        assert abs((end - begin).total_seconds() - 31 * DAY) <= 2


def test_its_attributes() -> None:
    sessions = Sessions(
        SECRET,
        name="s",
        expires=60,
        path="/app",
        domain="example.com",
        secure=True,
        httponly=False,
        samesite="None",
    )
    with visitor(app_of(count, sessions)) as client:
        line = client.ask("/").headers["Set-Cookie"]
        assert line.startswith("s=j.")
        assert line.endswith("; Max-Age=60; Path=/app; Domain=example.com; SameSite=None; Secure")
        assert client.ask("/").text == "2"


def test_without_samesite() -> None:
    with visitor(app_of(count, Sessions(SECRET, samesite=None))) as client:
        assert client.ask("/").headers["Set-Cookie"].endswith("; Path=/; HttpOnly")


@pytest.mark.parametrize(
    "secure, scheme, expected", [(None, "http", False), (None, "https", True), (False, "https", False)]
)
def test_secure_follows_the_request(secure: bool | None, scheme: str, expected: bool) -> None:
    with visitor(app_of(count, Sessions(SECRET, secure=secure)), xheaders=True) as client:
        line = client.ask("/", {"X-Forwarded-Proto": scheme}).headers["Set-Cookie"]
        assert line.endswith("; Secure") is expected


def test_prefixes_of_names() -> None:
    """RFC 6265bis §4.1.3."""
    with visitor(app_of(count, Sessions(SECRET, name="__Host-session", secure=True))) as client:
        assert client.ask("/").headers["Set-Cookie"].endswith("; Path=/; HttpOnly; SameSite=Lax; Secure")
        assert client.ask("/").text == "2"


def test_what_it_can_hold() -> None:
    value = {"a": [1, 2.5, None, True, {"b": '\u00e4\u20ac\U0001f600;,"\r\n'}], "": {}}

    def view(request: Any) -> str:
        if "value" not in request.session:
            request.session["value"] = value
            return ""
        return json.dumps(request.session["value"])

    with visitor(app_of(view)) as client:
        client.ask("/")
        assert json.loads(client.ask("/").text) == value


def test_it_is_a_dictionary() -> None:
    found: list[object] = []

    def view(request: Any) -> None:
        session = request.session
        session.update(a=1, b=2, c=3)
        del session["a"]
        found.extend([list(session), len(session), "b" in session, "a" in session, session.get("a", 5), bool(session)])
        found.extend([session.pop("b"), session.setdefault("d", []), session == {"c": 3, "d": []}, repr(session)])
        session.setdefault("d", None).append(4)
        with pytest.raises(KeyError):
            session["a"]
        with pytest.raises(KeyError):
            del session["a"]

    with visitor(pages(view=view)) as client:
        client.ask("/view")
        assert found == [["b", "c"], 2, True, False, 5, True, 2, [4], True, "<Session ['c', 'd']>"]
        assert client.ask("/show").text == '{"c": 3, "d": [4]}'


# --- When it is written -----------------------------------------------------------------------------------------


def test_who_does_not_look_pays_nothing() -> None:
    with visitor(pages(count=count, blind=lambda request: "")) as client:
        client.ask("/count")
        answer = client.ask("/blind")
        assert not {"Set-Cookie", "Vary", "Cache-Control"} & set(answer.headers)


def test_who_looks_varies() -> None:
    """RFC 9110 §12.5.5; also where there was no cookie."""
    with visitor(pages(count=count)) as client:
        for _ in range(2):
            answer = client.ask("/show")
            assert answer.headers["Vary"] == "Cookie"
            assert not {"Set-Cookie", "Cache-Control"} & set(answer.headers)
            client.ask("/count")


def test_who_writes_keeps_it_from_caches() -> None:
    with visitor(pages(count=count)) as client:
        answer = client.ask("/count")
        assert (answer.headers["Vary"], answer.headers["Cache-Control"]) == ("Cookie", "private")


def test_the_program_knows_better() -> None:
    def view(request: Any) -> Response:
        count(request)
        return Response("", 200, {"Cache-Control": "no-store", "Vary": "Accept"})

    with visitor(app_of(view)) as client:
        answer = client.ask("/")
        assert (answer.headers["Cache-Control"], answer.all("Vary")) == ("no-store", "Accept, Cookie")


def test_nothing_is_written_that_is_as_it_was() -> None:
    def view(request: Any) -> None:
        request.session["visits"] = 1
        request.session["more"] = 2
        del request.session["more"]

    with visitor(pages(count=count, view=view)) as client:
        client.ask("/count")
        assert "Set-Cookie" not in client.ask("/view").headers
        client.cookies.clear()
        assert "Set-Cookie" in client.ask("/view").headers


def test_a_change_deep_inside() -> None:
    def begin(request: Any) -> None:
        request.session["basket"] = {"items": [1]}

    def add(request: Any) -> None:
        request.session["basket"]["items"].append(2)

    with visitor(pages(begin=begin, add=add)) as client:
        client.ask("/begin")
        client.ask("/add")
        assert client.ask("/show").text == '{"basket": {"items": [1, 2]}}'


def test_what_is_changed_after_it_was_set() -> None:
    def view(request: Any) -> None:
        items: list[int] = []
        request.session["items"] = items
        items.append(1)

    with visitor(pages(view=view)) as client:
        client.ask("/view")
        assert client.ask("/show").text == '{"items": [1]}'


def test_the_cookie_of_an_empty_session_is_removed() -> None:
    for empty in (lambda request: request.session.clear(), lambda request: request.session.__delitem__("visits")):
        with visitor(pages(count=count, empty=empty)) as client:
            client.ask("/count")
            line = client.ask("/empty").headers["Set-Cookie"]
            assert line == (
                "session=; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age=0; Path=/; HttpOnly; SameSite=Lax"
            )
            assert client.cookies == {}
            assert client.ask("/show").text == "{}"
            assert (
                "Set-Cookie" not in client.ask("/empty" if empty.__code__.co_names[-1] == "clear" else "/show").headers
            )


def test_the_old_cookie_counts_until_its_time_is_over(clock: Clock) -> None:
    """As the module's documentation warns."""
    with visitor(pages(count=count, clear=lambda request: request.session.clear())) as client:
        client.ask("/count")
        old = dict(client.cookies)
        client.ask("/clear")
        client.cookies = old
        assert client.ask("/show").text == '{"visits": 1}'


# --- Its time -----------------------------------------------------------------------------------------------------


def test_it_ends(clock: Clock) -> None:
    with visitor(app_of(count, Sessions(SECRET, expires=10))) as client:
        client.ask("/")
        clock.now += 9.9
        assert client.ask("/").text == "2"
        clock.now += 10.1
        assert client.ask("/").text == "1"


def test_it_is_renewed_when_half_of_its_time_is_over(clock: Clock) -> None:
    with visitor(pages(count=count)) as client:
        client.ask("/count")
        clock.now += 15 * DAY
        assert "Set-Cookie" not in client.ask("/show").headers
        clock.now += 1 * DAY
        answer = client.ask("/show")
        assert answer.text == '{"visits": 1}'
        assert (answer.headers["Cache-Control"], "Max-Age=2678400" in answer.headers["Set-Cookie"]) == ("private", True)
        assert "Set-Cookie" not in client.ask("/show").headers
        clock.now += 30 * DAY
        assert client.ask("/show").text == '{"visits": 1}'


def test_a_shorter_time_holds_for_old_cookies(clock: Clock) -> None:
    with visitor(app_of(count)) as client:
        client.ask("/")
        cookies = client.cookies
    clock.now += 3600
    with visitor(app_of(show, Sessions(SECRET, expires=3600))) as client:
        client.cookies = cookies
        assert client.ask("/").text == "{}"


# --- Cookies that do not count ------------------------------------------------------------------------------------


def cookie_of(client: Visitor) -> str:
    client.ask("/count")
    return client.cookies["session"]


def test_cookies_that_were_altered() -> None:
    with visitor(pages(count=count)) as client:
        token = cookie_of(client)
        kind, end, value, signature = token.split(".")
        more = base64.urlsafe_b64encode(json.dumps([1_900_000_000, {"visits": 1000}]).encode()).decode().rstrip("=")
        for altered in (
            f"{kind}.{end}.{more}.{signature}",
            f"{kind}.{int(end) + 1}.{value}.{signature}",
            f"s.{end}.{value}.{signature}",
            token[:-1],
            token + "x",
            value,
            "",
            "x" * 3000,
            '"' + token + '"x',
            "j.99999999999999999999999999." + value + "." + signature,
        ):
            client.cookies = {"session": altered}
            answer = client.ask("/show")
            assert (answer.status, answer.text) == (200, "{}"), altered
        client.cookies = {"session": token}
        assert client.ask("/show").text == '{"visits": 1}'


def test_cookies_of_others() -> None:
    """With another secret or name; or made by set_secure_cookie() with the same ones."""
    now = 1_800_000_000
    for token in (
        SecureCookies("another").sign("session", [now, {"a": 1}], 10**9, now),
        SecureCookies(SECRET).sign("other", [now, {"a": 1}], 10**9, now),
        *(
            SecureCookies(SECRET).sign("session", value, 10**9, now)
            for value in ("text", b"data", {"a": 1}, [now], [now, [1]], ["x", {"a": 1}], [now, {"a": 1}, 1], [])
        ),
    ):
        with visitor(pages()) as client:
            client.cookies = {"session": token}
            assert client.ask("/show").text == "{}"


def test_one_that_holds() -> None:
    """The same as above, as it should be."""
    now = 1_800_000_000
    with visitor(pages()) as client:
        client.cookies = {"session": SecureCookies(SECRET).sign("session", [now, {"a": 1}], 10**9, now)}
        assert client.ask("/show").text == '{"a": 1}'


def test_secrets_are_replaced() -> None:
    with visitor(app_of(count, Sessions("old"))) as client:
        client.ask("/")
        cookies = client.cookies
    with visitor(app_of(count, Sessions(["new", "old"]))) as client:
        client.cookies = cookies
        assert client.ask("/").text == "2"
        cookies = client.cookies
    with visitor(app_of(count, Sessions([b"new"]))) as client:
        client.cookies = cookies
        assert client.ask("/").text == "3"
    with visitor(app_of(count, Sessions("third"))) as client:
        client.cookies = cookies
        assert client.ask("/").text == "1"


# --- Whoever answers ----------------------------------------------------------------------------------------------


def send_response(request: Any) -> None:
    count(request)
    request.send_response("")


def send_pieces(request: Any) -> None:
    request.send_status(200)
    request.send_headers({"Content-Type": "text/plain"}, end_headers=False)
    count(request)  # still in time
    request.send("a")
    request.finish()


def send_file(request: Any) -> None:
    count(request)
    request.send_file(__file__)


def generate(request: Any) -> object:
    count(request)
    yield "a"
    yield "b"


def abort(request: Any) -> None:
    count(request)
    raise HTTPException(403)


def with_another_cookie(request: Any) -> str:
    count(request)
    request.cookies_out["theme"] = "dark"
    return ""


@pytest.mark.parametrize(
    "view",
    [send_response, send_pieces, send_file, generate, abort, with_another_cookie, lambda request: count(request)],
)
def test_it_is_written_whoever_answers(view: Callable[[Any], object]) -> None:
    with visitor(pages(view=view)) as client:
        client.ask("/view")
        client.ask("/view")
        assert client.ask("/show").text == '{"visits": 2}'


def test_an_answer_that_is_given_later() -> None:
    def view(request: Any) -> None:
        request.auto_finish = False
        request.connection.engine.callback(send_response, request)

    with visitor(pages(view=view)) as client:
        client.ask("/view")
        assert client.ask("/show").text == '{"visits": 1}'


def test_hooks() -> None:
    app = pages(view=lambda request: "view")
    seen: list[object] = []

    def finished(request: HTTPRequest, output: object) -> object:
        seen.append(count(request))
        return output

    app.before(lambda request: seen.append(count(request)))
    app.request_started(lambda request: seen.append(count(request)))
    app.request_finished(finished)
    app.request_teardown(lambda request: seen.append(request.session["visits"]))
    with visitor(app) as client:
        client.ask("/view")
        assert seen == ["1", "2", "3", 3]
        assert client.ask("/show").text == '{"visits": 5}'


def test_error_handlers(expect_log: ExpectedLog) -> None:
    expect_log("LookupError")

    def fail(request: Any) -> None:
        request.session["tried"] = True
        raise LookupError

    app = pages(fail=fail)
    app.error_handler(404)(lambda request, error: count(request))
    app.error_handler(500)(lambda request, error: count(request))
    with visitor(app) as client:
        answers = [client.ask("/none"), client.ask("/fail")]
        assert [(answer.status, answer.text) for answer in answers] == [(404, "1"), (500, "2")]
        assert json.loads(client.ask("/show").text) == {"visits": 2, "tried": True}


def test_a_request_that_is_served_for_another_path() -> None:
    def away(request: Any) -> None:
        request.session["away"] = True
        raise HTTPTransparentRedirect("/show")

    with visitor(pages(away=away)) as client:
        assert client.ask("/away").text == '{"away": true}'
        assert client.ask("/show").text == '{"away": true}'


def test_an_application_in_another() -> None:
    """As by hand: a view passes the request on."""
    inner = app_of(count, Sessions(SECRET, name="inner"))

    def outer(request: Any) -> None:
        count(request)
        inner(request)

    def again(request: Any) -> None:
        count(request)
        request._retarget("/show")
        app(request)

    app = pages(again=again, count=count)
    app.route("/", "outer", func=outer)
    with visitor(app) as client:
        assert client.ask("/again").text == '{"visits": 1}'
        assert [client.ask("/").text for _ in range(2)] == ["1", "2"]


def test_a_hook_that_answers_before_sessions_begin() -> None:
    app = Application()
    app.before(lambda request: "closed" if request.path == "/closed" else None)
    Sessions(SECRET).attach(app)
    app.route("/", func=show)
    with visitor(app) as client:
        assert client.ask("/closed").text == "closed"
        assert client.ask("/").text == "{}"


def test_too_late() -> None:
    def view(request: Any) -> None:
        request.send_status(200)
        request.send_headers({"Content-Type": "text/plain"})
        session = request.session
        for change in (
            lambda: session.__setitem__("a", 1),
            lambda: session.__delitem__("visits"),
            session.clear,
            lambda: session.pop("visits"),
            lambda: session.update(a=1),
        ):
            with pytest.raises(RuntimeError, match="the head of the answer was sent"):
                change()
        request.send(json.dumps(dict(session)))
        request.finish()

    with visitor(pages(count=count, view=view)) as client:
        client.ask("/count")
        assert client.ask("/view").text == '{"visits": 1}', "it can be read all the same"


def test_it_is_written_once() -> None:
    """Another head, of a page for an error, would be the second."""

    def view(request: Any) -> None:
        count(request)
        fields = [HTTPHeaders(), HTTPHeaders()]
        for headers in fields:
            request.session._finish(headers)
        assert ["Set-Cookie" in headers for headers in fields] == [True, False]

    with visitor(app_of(view)) as client:
        assert client.ask("/").status == 204


def test_a_session_that_becomes_too_large(expect_log: ExpectedLog) -> None:
    """Browsers would not keep the cookie, and nobody would know why."""
    expect_log(r"the session of <HTTPRequest GET /view> takes [0-9]+ bytes as a cookie.*elsewhere")

    def view(request: Any) -> str:
        request.session["text"] = "x" * size
        return "view"

    with visitor(pages(view=view, count=count)) as client:
        client.ask("/count")
        size = 2800
        assert client.ask("/view").status == 200
        assert len(client.cookies["session"]) > 3800
        client.cookies.clear()
        client.ask("/count")
        size = 3000
        answer = client.ask("/view")
        assert answer.status == 500
        assert "Set-Cookie" not in answer.headers
        assert client.ask("/show").text == '{"visits": 1}'


@pytest.mark.parametrize("value", [{1}, b"data", object(), float("nan"), "\ud800", [["\udcff"]], {(1, 2): 3}])
def test_what_json_cannot_tell(value: object) -> None:
    def view(request: Any) -> None:
        with pytest.raises(TypeError, match="'key'"):
            request.session["key"] = value

    with visitor(pages(view=view)) as client:
        assert client.ask("/view").status == 204
        assert client.ask("/show").text == "{}"


def test_what_json_cannot_tell_deep_inside(expect_log: ExpectedLog) -> None:
    expect_log("TypeError: the session of <HTTPRequest GET /view> holds what JSON cannot tell")

    def view(request: Any) -> None:
        request.session["items"] = []
        request.session["items"].append({1})

    with visitor(pages(view=view)) as client:
        assert client.ask("/view").status == 500


def test_half_a_surrogate_pair_deep_inside(expect_log: ExpectedLog) -> None:
    expect_log("surrogates not allowed")

    def view(request: Any) -> None:
        request.session["items"] = []
        request.session["items"].append("\ud800")

    with visitor(pages(view=view)) as client:
        assert client.ask("/view").status == 500


def test_keys_are_str() -> None:
    def view(request: Any) -> None:
        with pytest.raises(TypeError, match="keys of a session are str"):
            request.session[5] = "value"

    with visitor(pages(view=view)) as client:
        assert client.ask("/view").status == 204


def test_debug_pages_do_not_tell_it(expect_log: ExpectedLog) -> None:
    expect_log("LookupError")

    def view(request: Any) -> None:
        session = request.session
        assert session["hidden"]
        raise LookupError

    def hide(request: Any) -> None:
        request.session["hidden"] = "hunter" + "2"

    app = pages(hide=hide, view=view)
    app.debug = True
    with visitor(app) as client:
        client.ask("/hide")
        page = client.ask("/view").text
        assert "&lt;Session [&#x27;hidden&#x27;]&gt;" in page
        assert "hunter2" not in page
        assert client.cookies["session"] not in page


# --- Mistakes ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        {"secret": ""},
        {"secret": []},
        {"secret": ["new", ""]},
        {"expires": 0},
        {"expires": -1},
        {"expires": float("inf")},
        {"expires": float("nan")},
        {"name": ""},
        {"name": "a b"},
        {"name": "a;b"},
        {"name": "path"},
        {"path": "/;x"},
        {"path": "/\r\n"},
        {"domain": "a;b"},
        {"samesite": "lax"},
        {"samesite": "None"},
        {"samesite": "None", "secure": False},
        {"name": "__Host-a"},
        {"name": "__Host-a", "secure": True, "path": "/a"},
        {"name": "__Host-a", "secure": True, "domain": "example.com"},
        {"name": "__secure-a"},
    ],
)
def test_values_that_cannot_be(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        Sessions(**{"secret": SECRET, **arguments})


@pytest.mark.parametrize(
    "arguments",
    [{"secret": None}, {"secret": 5}, {"expires": "1"}, {"expires": True}, {"name": 5}, {"path": None}, {"domain": 5}],
)
def test_types_that_cannot_be(arguments: dict[str, Any]) -> None:
    with pytest.raises(TypeError):
        Sessions(**{"secret": SECRET, **arguments})


def test_they_are_attached_to_an_application() -> None:
    with pytest.raises(TypeError, match="attached to an Application"):
        Sessions(SECRET).attach(Module())  # type: ignore[arg-type]


def test_an_application_has_one_kind() -> None:
    app = Application()
    Sessions(SECRET).attach(app)
    with pytest.raises(ValueError, match="has sessions already"):
        Sessions(SECRET, name="another").attach(app)


def test_nothing_shows_the_secret() -> None:
    sessions = Sessions([SECRET, "another"], name="visit")
    assert repr(sessions) == "<Sessions visit>"
    assert SECRET not in str(vars(sessions))
    assert repr(Session(sessions, sessions)) == "<Session not read>"  # type: ignore[arg-type]


# --- Memory -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("looks", [True, False])
def test_no_request_leaves_a_cycle(looks: bool) -> None:
    """DESIGN §7: its memory is given back when it is over, not when the garbage is collected."""
    app = Application()
    Sessions(SECRET).attach(app)
    requests: list[weakref.ref[HTTPRequest]] = []

    @app.route("/")
    def view(request: HTTPRequest) -> str:
        requests.append(weakref.ref(request))
        if looks:
            request.session["a"] = 1
        return "x"

    gc.disable()
    try:
        with visitor(app) as someone:
            someone.ask("/")
            assert requests[0]() is None
    finally:
        gc.enable()


def test_a_session_that_outlives_its_request() -> None:
    app = Application()
    Sessions(SECRET).attach(app)
    kept: list[Session] = []
    app.route("/", func=lambda request: kept.append(request.session))
    with visitor(app) as someone:
        someone.ask("/")
    with pytest.raises(RuntimeError, match="is over"):
        kept[0].get("a")


def test_half_a_second_is_not_nothing() -> None:
    """RFC 6265 §5.2.2: Max-Age of 0 removes the cookie."""
    app = Application()
    Sessions(SECRET, expires=0.5).attach(app)
    app.route("/", func=lambda request: request.session.update(a=1))
    with visitor(app) as someone:
        assert "Max-Age=1" in someone.ask("/").headers["Set-Cookie"]


def test_a_key_that_cannot_be_kept_raises_at_once() -> None:
    app = Application()
    Sessions(SECRET).attach(app)
    raised: list[TypeError] = []

    @app.route("/")
    def view(request: HTTPRequest) -> str:
        try:
            request.session["\ud800"] = 1
        except TypeError as error:
            raised.append(error)
        return "x"

    with visitor(app) as someone:
        assert someone.ask("/").status == 200
    assert raised
