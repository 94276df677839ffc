"""Cross-origin requests (`pants.web.cors`; Fetch Standard, section "CORS protocol")."""

from __future__ import annotations

import doctest
from pathlib import Path
from typing import Any

import pytest

import pants.web.cors
from pants.http import HTTPRequest
from pants.web import Application, HTTPException, Module, Response
from pants.web.cors import CORS
from tests.conftest import ExpectedLog
from tests.web.visitor_support import Answer, Visitor, visitor

ORIGIN = "https://example.com"
ALLOWING = [
    "Access-Control-Allow-Origin",
    "Access-Control-Allow-Credentials",
    "Access-Control-Allow-Methods",
    "Access-Control-Allow-Headers",
    "Access-Control-Max-Age",
    "Access-Control-Allow-Private-Network",
    "Access-Control-Expose-Headers",
]


class Site(Application):
    """An application with a few routes; it writes down which views were called."""

    def __init__(self) -> None:
        super().__init__()
        self.called: list[str] = []
        self.route("/thing/<int:number>", methods=["GET", "PUT"], func=self.thing)
        self.route("/broken", func=self.broken)
        self.route("/forbidden", func=self.forbidden)
        self.route("/pieces", func=self.pieces)
        self.route("/file", func=self.file)
        self.route("/own", methods=["GET", "OPTIONS"], func=self.own)

    def thing(self, request: HTTPRequest, number: int) -> str:
        self.called.append(request.method)
        return str(number)

    def broken(self, request: HTTPRequest) -> str:
        raise LookupError("broken")

    def forbidden(self, request: HTTPRequest) -> str:
        raise HTTPException(403)

    def pieces(self, request: HTTPRequest) -> None:
        request.send_status(200)
        request.send_headers({"Content-Type": "text/plain"})
        request.send("a")
        request.finish()

    def file(self, request: HTTPRequest) -> None:
        request.send_file(Path(__file__))

    def own(self, request: HTTPRequest) -> Response:
        self.called.append(request.method)
        return Response("own", 200, {"Access-Control-Allow-Origin": "https://own.example"})


def preflight(client: Visitor, path: str, origin: str | None = ORIGIN, method: str = "PUT", **fields: str) -> Answer:
    headers = {"Access-Control-Request-Method": method} | ({} if origin is None else {"Origin": origin})
    headers |= {name.replace("_", "-"): value for name, value in fields.items()}
    return client.ask(path, headers, "OPTIONS")


def allowing(answer: Answer) -> dict[str, str]:
    """The fields of an answer by which a browser is told what is allowed."""
    return {name: answer.all(name) for name in ALLOWING if name in answer.headers}


def test_docstrings() -> None:
    assert doctest.testmod(pants.web.cors).failed == 0


# --- Requests that are sent at once --------------------------------------------------------------------------------


def test_any_origin() -> None:
    """Fetch §3.2.3: the asterisk is for all, so that the answer is the same for all, and caches need not vary it."""
    app = Site()
    CORS().attach(app)
    with visitor(app) as client:
        for headers in ({"Origin": ORIGIN}, {"Origin": "null"}, {}):
            answer = client.ask("/thing/5", headers)
            assert answer.text == "5"
            assert allowing(answer) == {"Access-Control-Allow-Origin": "*"}
            assert "Vary" not in answer.headers


@pytest.mark.parametrize(
    "path, status", [("/thing/5", 200), ("/forbidden", 403), ("/none", 404), ("/pieces", 200), ("/file", 200)]
)
def test_every_answer_tells(path: str, status: int) -> None:
    app = Site()
    CORS([ORIGIN]).attach(app)
    with visitor(app) as client:
        answer = client.ask(path, {"Origin": ORIGIN})
        assert answer.status == status
        assert allowing(answer) == {"Access-Control-Allow-Origin": ORIGIN}
        assert answer.all("Vary") == "Origin"
        other = client.ask(path, {"Origin": "https://example.org"})
        assert other.status == status
        assert allowing(other) == {}
        assert other.all("Vary") == "Origin", "or a cache would give it to the one that is allowed"
        assert client.ask(path).all("Vary") == "Origin"


def test_errors_tell(expect_log: ExpectedLog) -> None:
    expect_log("LookupError: broken")
    app = Site()
    CORS([ORIGIN]).attach(app)
    with visitor(app) as client:
        answer = client.ask("/broken", {"Origin": ORIGIN})
        assert (answer.status, allowing(answer)) == (500, {"Access-Control-Allow-Origin": ORIGIN})
        answer = client.ask("/thing/5", {"Origin": ORIGIN}, "DELETE")
        assert (answer.status, allowing(answer)) == (405, {"Access-Control-Allow-Origin": ORIGIN})


@pytest.mark.parametrize(
    "origin, allowed",
    [
        ("https://example.com", True),
        ("http://localhost:8080", True),
        ("https://sub.example.org", True),
        ("http://example.com", False),
        ("https://example.com:444", False),
        ("https://example.com.evil.example", False),
        ("https://evilexample.com", False),
        ("https://www.example.com", False),
        ("https://example.org", False),
        ("http://localhost", False),
        ("HTTPS://EXAMPLE.COM", False),  # no browser writes it like that
        ("https://example.com/", False),
        ("https://example.com, https://example.org", False),
        ("null", False),
        ("*", False),
        ("", False),
    ],
)
def test_origins_are_compared_as_a_whole(origin: str, allowed: bool) -> None:
    app = Site()
    CORS(["https://Example.com:443", "http://localhost:8080", "https://sub.example.org"]).attach(app)
    with visitor(app) as client:
        answer = client.ask("/thing/1", {"Origin": origin})
        assert allowing(answer) == ({"Access-Control-Allow-Origin": origin} if allowed else {})


def test_one_origin_and_none() -> None:
    for origins, allowed in ((ORIGIN, True), ([], False), (iter([ORIGIN]), True), ({"null"}, False)):
        app = Site()
        CORS(origins).attach(app)
        with visitor(app) as client:
            for _ in range(2):
                assert bool(allowing(client.ask("/thing/1", {"Origin": ORIGIN}))) is allowed


def test_the_origin_null() -> None:
    """Which has to be listed: any page can make its origin null."""
    app = Site()
    CORS([ORIGIN, "null"], credentials=True).attach(app)
    with visitor(app) as client:
        assert allowing(client.ask("/thing/1", {"Origin": "null"})) == {
            "Access-Control-Allow-Origin": "null",
            "Access-Control-Allow-Credentials": "true",
        }


def test_a_function_for_origins() -> None:
    asked: list[str] = []

    def may(origin: str) -> bool:
        asked.append(origin)
        return origin.endswith(".example.com")

    app = Site()
    CORS(may, credentials=True).attach(app)
    with visitor(app) as client:
        answer = client.ask("/thing/1", {"Origin": "https://a.example.com"})
        assert allowing(answer) == {
            "Access-Control-Allow-Origin": "https://a.example.com",
            "Access-Control-Allow-Credentials": "true",
        }
        assert answer.all("Vary") == "Origin"
        assert allowing(client.ask("/thing/1", {"Origin": "https://a.example.org"})) == {}
        assert allowing(client.ask("/thing/1", {"Origin": "nonsense .example.com"})) == {}
        assert allowing(client.ask("/thing/1")) == {}
    assert asked == ["https://a.example.com", "https://a.example.org"], "it is asked for what is an origin"


def test_fields_that_pages_may_read() -> None:
    app = Site()
    CORS(expose_headers=["X-Total", "ETag"]).attach(app)
    with visitor(app) as client:
        answer = client.ask("/thing/1", {"Origin": ORIGIN})
        assert answer.headers["Access-Control-Expose-Headers"] == "X-Total, ETag"
        assert "Access-Control-Expose-Headers" not in preflight(client, "/thing/1").headers


def test_a_view_decides_for_itself() -> None:
    app = Site()
    CORS([ORIGIN], credentials=True).attach(app)
    with visitor(app) as client:
        answer = client.ask("/own", {"Origin": ORIGIN})
        assert allowing(answer) == {"Access-Control-Allow-Origin": "https://own.example"}


def test_vary_keeps_what_is_there() -> None:
    app = Application()
    app.route("/one", "one", func=lambda request: Response("", 200, {"Vary": "Accept"}))
    app.route("/origin", "origin", func=lambda request: Response("", 200, {"Vary": "accept, ORIGIN"}))
    app.route("/all", "all", func=lambda request: Response("", 200, {"Vary": "*"}))
    CORS([ORIGIN]).attach(app)
    with visitor(app) as client:
        assert client.ask("/one").all("Vary") == "Accept, Origin"
        assert client.ask("/origin").all("Vary") == "accept, ORIGIN"
        assert client.ask("/all").all("Vary") == "*"


# --- Preflights -------------------------------------------------------------------------------------------------


def test_a_preflight() -> None:
    """Fetch §3.2.2: it is answered with an ok status, and what is allowed; no view is called."""
    app = Site()
    CORS([ORIGIN]).attach(app)
    with visitor(app) as client:
        answer = preflight(client, "/thing/5", Access_Control_Request_Headers="content-type,x-own")
        assert (answer.status, answer.content) == (204, b"")
        assert allowing(answer) == {
            "Access-Control-Allow-Origin": ORIGIN,
            "Access-Control-Allow-Methods": "GET, PUT",
            "Access-Control-Allow-Headers": "content-type, x-own",
            "Access-Control-Max-Age": "600",
        }
        assert answer.all("Vary") == "Origin"
        assert "Content-Type" not in answer.headers
        assert "Access-Control-Allow-Headers" not in preflight(client, "/thing/5").headers
    assert app.called == []


def test_a_preflight_calls_no_view_that_takes_options() -> None:
    app = Site()
    CORS([ORIGIN]).attach(app)
    with visitor(app) as client:
        answer = preflight(client, "/own")
        assert (answer.status, answer.headers["Access-Control-Allow-Origin"]) == (204, ORIGIN)
        assert app.called == []
        assert client.ask("/own", {"Origin": ORIGIN}, "OPTIONS").text == "own", "that is no preflight"
        assert client.ask("/own", {"Access-Control-Request-Method": "PUT"}, "OPTIONS").text == "own", "nor is this"
    assert app.called == ["OPTIONS", "OPTIONS"]


def test_a_preflight_for_what_is_not_there() -> None:
    for cors in (CORS(), CORS([ORIGIN], credentials=True)):
        app = Site()
        cors.attach(app)
        with visitor(app) as client:
            answer = preflight(client, "/none")
            assert (answer.status, allowing(answer)) == (404, {})


def test_a_preflight_of_another_origin() -> None:
    app = Site()
    CORS([ORIGIN]).attach(app)
    with visitor(app) as client:
        answer = preflight(client, "/thing/5", "https://example.org")
        assert allowing(answer) == {}
        assert answer.all("Vary") == "Origin"
    assert app.called == []


def test_a_preflight_without_an_origin() -> None:
    """Which is none: it is an OPTIONS request as others."""
    app = Site()
    CORS([ORIGIN]).attach(app)
    with visitor(app) as client:
        answer = preflight(client, "/thing/5", None)
        assert (answer.status, allowing(answer)) == (204, {})
        assert "PUT" in answer.headers["Allow"]


def test_what_is_allowed_can_be_listed() -> None:
    app = Site()
    CORS(methods=["put", "PATCH"], headers=["X-One", "X-Two"], max_age=None).attach(app)
    with visitor(app) as client:
        answer = preflight(client, "/thing/5", Access_Control_Request_Headers="x-other")
        assert allowing(answer) == {
            "Access-Control-Allow-Origin": "*",
            "Access-Control-Allow-Methods": "PUT, PATCH",
            "Access-Control-Allow-Headers": "X-One, X-Two",
        }


def test_nothing_may_be_allowed() -> None:
    app = Site()
    CORS(methods=[], headers=[], max_age=0).attach(app)
    with visitor(app) as client:
        assert allowing(preflight(client, "/thing/5", Access_Control_Request_Headers="x-other")) == {
            "Access-Control-Allow-Origin": "*",
            "Access-Control-Allow-Methods": "",
            "Access-Control-Max-Age": "0",
        }


def test_credentials() -> None:
    """Fetch §3.2.5: with credentials the origin is named, and so are methods and fields."""
    app = Site()
    CORS([ORIGIN], credentials=True).attach(app)
    with visitor(app) as client:
        answer = preflight(client, "/thing/5", Access_Control_Request_Headers="authorization")
        assert allowing(answer) == {
            "Access-Control-Allow-Origin": ORIGIN,
            "Access-Control-Allow-Credentials": "true",
            "Access-Control-Allow-Methods": "GET, PUT",
            "Access-Control-Allow-Headers": "authorization",
            "Access-Control-Max-Age": "600",
        }


def test_fields_that_are_none_are_not_repeated() -> None:
    app = Site()
    CORS().attach(app)
    with visitor(app) as client:
        answer = preflight(client, "/thing/5", Access_Control_Request_Headers='x-a, ,"b" c,x-d;,,x-e')
        assert answer.headers["Access-Control-Allow-Headers"] == "x-a, x-e"
        answer = preflight(client, "/thing/5", method='"nonsense"')
        assert answer.headers["Access-Control-Allow-Methods"] == "GET, PUT"


@pytest.mark.parametrize("allowed", [False, True])
def test_private_networks(allowed: bool) -> None:
    app = Site()
    CORS(private_network=allowed).attach(app)
    with visitor(app) as client:
        answer = preflight(client, "/thing/5", Access_Control_Request_Private_Network="true")
        assert answer.headers.get("Access-Control-Allow-Private-Network") == ("true" if allowed else None)
        assert "Access-Control-Allow-Private-Network" not in preflight(client, "/thing/5").headers


def test_a_route_of_a_domain() -> None:
    app = Application()
    app.route("api.example.com/x", "fixed", methods=["DELETE"], func=lambda request: "")
    app.route("<name>.example.org/x", "variable", methods=["PUT"], func=lambda request, name: "")
    CORS().attach(app)
    with visitor(app) as client:
        for host, methods in (("api.example.com", "DELETE"), ("a.example.org", "PUT"), ("example.net", None)):
            answer = preflight(client, "/x", Host=host)
            assert answer.headers.get("Access-Control-Allow-Methods") == methods


# --- Modules ----------------------------------------------------------------------------------------------------


def test_a_module_alone() -> None:
    api, app = Module("api"), Application()
    api.route("/open", methods=["GET", "DELETE"], func=lambda request: "open")
    app.route("/api/open", name="create", methods=["PUT"], func=lambda request: "closed")
    app.route("/closed", methods=["PUT"], func=lambda request: "closed")
    app.add("/api", api)
    CORS([ORIGIN]).attach(app, api)
    with visitor(app) as client:
        assert allowing(client.ask("/api/open", {"Origin": ORIGIN})) == {"Access-Control-Allow-Origin": ORIGIN}
        assert preflight(client, "/api/open").headers["Access-Control-Allow-Methods"] == "GET, DELETE"
        for answer in (
            client.ask("/api/open", {"Origin": ORIGIN}, "PUT"),
            client.ask("/closed", {"Origin": ORIGIN}, "PUT"),
            preflight(client, "/closed"),
        ):
            assert answer.status < 300
            assert allowing(answer) == {}
            assert "Vary" not in answer.headers


def test_a_module_and_the_application() -> None:
    """What was attached first is asked first."""
    api, app = Module("api"), Application()
    api.route("/x", func=lambda request: "")
    app.route("/y", func=lambda request: "")
    app.add("/api", api)
    CORS([ORIGIN], credentials=True).attach(app, api)
    CORS().attach(app)
    with visitor(app) as client:
        for ask in (lambda path: client.ask(path, {"Origin": ORIGIN}), lambda path: preflight(client, path)):
            assert ask("/api/x").headers["Access-Control-Allow-Origin"] == ORIGIN
            assert ask("/y").headers["Access-Control-Allow-Origin"] == "*"


# --- Mistakes ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        {"origins": [ORIGIN + "/"]},
        {"origins": ["example.com"]},
        {"origins": [""]},
        {"origins": ["https://*.example.com"]},
        {"origins": ["https://b\u00fccher.example"]},
        {"origins": ["https://example.com\r\nX: y"]},
        {"methods": ["GET, PUT"]},
        {"headers": ["X Y"]},
        {"expose_headers": ["X\r\nY"]},
        {"max_age": -1},
        {"credentials": True},
        {"origins": ["*", ORIGIN], "credentials": True},
        {"origins": [ORIGIN], "credentials": True, "methods": ["*"]},
        {"origins": [ORIGIN], "credentials": True, "headers": ["X-A", "*"]},
        {"origins": [ORIGIN], "credentials": True, "expose_headers": ["*"]},
    ],
)
def test_values_that_cannot_be(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        CORS(**arguments)


async def is_allowed(origin: str) -> bool:
    return True


@pytest.mark.parametrize(
    "arguments",
    [
        {"origins": None},
        {"origins": 5},
        {"origins": b"https://example.com"},
        {"origins": [5]},
        {"origins": is_allowed},
        {"methods": "GET"},
        {"methods": [5]},
        {"headers": "X-A"},
        {"expose_headers": "X-A"},
        {"max_age": "600"},
        {"max_age": True},
        {"max_age": 1.5},
    ],
)
def test_types_that_cannot_be(arguments: dict[str, Any]) -> None:
    with pytest.raises(TypeError):
        CORS(**arguments)


def test_it_is_attached_to_an_application() -> None:
    with pytest.raises(TypeError, match=r"attach\(app, module\)"):
        CORS().attach(Module())  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="Module"):
        CORS().attach(Application(), "api")  # type: ignore[arg-type]
