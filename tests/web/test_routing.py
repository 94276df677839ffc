"""Rules with variables (manual: "Routing"), and how a route is found; on a server in memory."""

from __future__ import annotations

import contextlib
import json
import re
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pants.http import HTTPRequest, HTTPServer
from pants.testing import MemoryEngine
from pants.web import Application, Converter, converters, register_converter
from pants.web._patterns import Chain, Variable
from pants.web._rules import Rule
from pants.web.routing import Match, Missing, Route, RouteTable, decoded
from tests.web.support import ask


def shown(request: HTTPRequest, *values: Any) -> str:
    """A view: the values, as JSON."""
    return json.dumps(values)


def captured(rule: str, path: str, **options: Any) -> Any:
    """What a rule's function is given for a path; the status, if that is not 200."""
    app = Application()
    app.route(rule, func=shown, **options)
    answer: Any = ask(app, path)
    return json.loads(answer.content) if answer.status == 200 else answer.status


@pytest.fixture
def own_converters() -> Iterator[None]:
    """Forgets the converters that a test registers."""
    before = dict(converters._registered)
    yield
    converters._registered.clear()
    converters._registered.update(before)


# --- Variables --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "rule, path, values",
    [
        ("/welcome/<name>", "/welcome/Ada", ["Ada"]),
        ("/welcome/<name>", "/welcome/", 404),
        ("/welcome/<name>", "/welcome/Ada/", 404),
        ("/welcome/<name>", "/welcome/Ada/Lovelace", 404),
        ("/welcome/<name>", "/welcome", 404),
        ("/welcome/<name>", "/Welcome/Ada", 404),
        ("/welcome/<name>", "/welcome/Ada?x=y/z", ["Ada"]),
        ("/welcome/<name>", "http://a/welcome/Ada", ["Ada"]),
        ("/<a>/<b>", "/x/y", ["x", "y"]),
        ("/<a>/<b>", "/x", 404),
        ("/<a>/in/<b>/", "/x/in/y/", ["x", "y"]),
        ("/<a>/in/<b>/", "/x/out/y/", 404),
        ("/user/<int:id>", "/user/12", [12]),
        ("/user/<int:id>", "/user/me", 404),
        ("/user/<INT:id>", "/user/12", [12]),
        ("/user/<int:id>.json", "/user/12.json", [12]),
        ("/user/<int:id>.json", "/user/12xjson", 404),  # text in a rule is no expression
        ("/über/<name>", "/%C3%BCber/x", ["x"]),
    ],
)
def test_variables(rule: str, path: str, values: Any) -> None:
    """Manual, "Routing": a variable accepts any character but a slash, and returns the entire captured string; one that
    uses the int converter only matches numbers; the name of a converter is not case-sensitive.
    """
    assert captured(rule, path) == values


@pytest.mark.parametrize(
    "rule, path, values",
    [
        ("/<name>.json", "/a.json", ["a"]),
        ("/<name>.json", "/a.json.json", ["a.json"]),
        ("/<name>.json", "/.json", 404),
        ("/<name>.json", "/a.xml", 404),
        ("/<name>.<ext>", "/archive.tar.gz", ["archive.tar", "gz"]),
        ("/<a>-<b>-<c>", "/x-y-z", ["x", "y", "z"]),
        ("/<a>-<b>-<c>", "/w-x-y-z", ["w-x", "y", "z"]),
        ("/<a>-<b>-<c>", "/x-y", 404),
        ("/<a>-<int:b>", "/x-y-5", ["x-y", 5]),
        ("/<a>-<int:b>", "/x-y-z", 404),
        ("/<int:y>-<int:m>-<int:d>", "/2024-1-31", [2024, 1, 31]),
        ("/<a>--<b>/<c>", "/x--y/z", ["x", "y", "z"]),
        ("/<a><b>", "/xyz", ["xy", "z"]),
        ("/<a><b>", "/x", 404),
        ("/<a>/<path:p>/edit", "/x/y/z/edit", ["x", "y/z"]),
        ("/<path:p>/edit", "/a/edit/b/edit", ["a/edit/b"]),
        ("/<path:p>/edit", "/a/edit/b", 404),
        ("/<path:p>/edit/<int:rev>", "/a/edit/1/edit/2", ["a/edit/1", 2]),
        ("/<path:p>/-/<name>/<path:q>", "/a/b/-/c/d/e", ["a/b", "c", "d/e"]),
        ("/<int:a>/<path:p>.html", "/5/a/b.html", [5, "a/b"]),
        ("/<any(a b):a>-<b>-<c>", "/b-x-y", ["b", "x", "y"]),
        ("/<a>-<any(de en):b>-<c>", "/x-en-y", ["x", "en", "y"]),
        ("/<a>-<any(de en):b>-<c>", "/x-fr-y", 404),
        ("/<string(max=2):a>b<c>", "/aabc", ["aa", "c"]),
        ("/<string(max=2):a>b<c>", "/aaabc", 404),
        ("/<string(min=2):a>-<c>", "/a-b-c", ["a-b", "c"]),
        ("/<string(min=2):a>-<c>", "/a-b", 404),
        ("/<domainpart:a>.<domainpart:b>-<c>", "/x.y-z", ["x", "y", "z"]),
        ("/<domainpart:a>.<c>", "/x.y.z", ["x", "y.z"]),
        ("/<float:x>.json", "/1.5.json", [1.5]),
        ("/<int:id><any('' .json):ext>", "/5.json", [5, ".json"]),
        ("/<int:id><any('' .json):ext>", "/5", [5, ""]),
        ("/<int(digits=4):y><int(digits=2):m>", "/202401", [2024, 1]),
        ("/<a><int(digits=2):b>", "/x123", ["x1", 23]),
    ],
)
def test_variables_beside_one_another(rule: str, path: str, values: Any) -> None:
    """Each takes as much as it can, the first one first, as in a regular expression (manual: "Regex": "the rule's final
    expression").
    """
    assert captured(rule, path) == values


@pytest.mark.parametrize(
    "path, values",
    [
        ("/x/a%20b", ["a b"]),
        ("/x/%C3%A4%E2%98%83", ["ä☃"]),
        ("/x/%2541", ["%41"]),
        ("/x/a%2Fb", ["a/b"]),
        ("/x/a%2fb", ["a/b"]),
        ("/%78/a", ["a"]),
        ("/x%2Fa", 404),
        ("/x/100%", ["100%"]),
        ("/x/%zz", ["%zz"]),
        ("/x/a%0A", ["a\n"]),
        ("/x/%00", ["\0"]),
        ("/x/a+b", ["a+b"]),
        ("/x/%FF", 400),
        ("/x/%C3", 400),
        ("/x/%C0%AF", 400),  # a slash, in too many bytes
        ("/x/%ED%B0%AF", 400),  # half a pair of surrogates
        ("/x/%C3/b", 404),
        ("/%FF/b", 404),
    ],
)
def test_values_are_decoded_once(path: str, values: Any) -> None:
    """DESIGN §3: captured variables are percent-decoded once, invalid UTF-8 is a 400. RFC 3986 §2.2: an encoded slash
    divides nothing.
    """
    assert captured("/x/<name>", path) == values


def test_values_are_decoded_before_they_are_compared() -> None:
    assert captured("/<string(max=2):x>", "/%C3%A4%C3%B6") == ["äö"]
    assert captured("/<any(über):x>", "/%C3%BCber") == ["über"]
    assert captured("/<regex('[a-z] [a-z]'):x>", "/a%20b") == ["a b"]
    assert captured("/<path:x>/edit", "/a%2Fb/edit") == ["a/b"]
    assert captured("/<path:x>/edit", "/a%2Fedit") == 404
    assert captured("/<a>-<b>", "/%FF-b") == 400
    assert decoded("/%2F%FF") == "/\udc2f\udcff"


@pytest.mark.parametrize(
    "rule, path, values",
    [
        ("/page/<path:slug=welcome>", "/page/", ["welcome"]),
        ("/page/<path:slug=welcome>", "/page/a/b", ["a/b"]),
        ("/page/<path:slug=welcome>", "/page", 404),
        ("/page/<int:id=2>/other", "/page/", [2]),
        ("/page/<int:id=2>/other", "/page/5/other", [5]),
        ("/page/<int:id=2>/other", "/page/5", 404),
        ("/page/<int:id=2>/other", "/page/other", 404),
        ("/<a>/<b=x>/<int:c=3>", "/q/", ["q", "x", 3]),
        ("/<a>/<b=x>/<int:c=3>", "/q/r/", ["q", "r", 3]),
        ("/<a>/<b=x>/<int:c=3>", "/q/r/4", ["q", "r", 4]),
        ("/<a>/<b=x>/<int:c=3>", "/q/r", 404),
        ("/<a>-<b=x>", "/q-r-", ["q", "r-"]),
        ("/<a>-<b=x>", "/q-r", ["q", "r"]),
        ("/<a>-<b=x>", "/q-", ["q", "x"]),
        ("/<path:all=>", "/", [""]),
        ("/<a=b=c:d e>", "/", ["b=c:d e"]),
        ("/<any(a b):x=a>", "/", ["a"]),
        ("/<string(max=2):x=welcome>", "/", ["welcome"]),
        ("/<a=%20>", "/", ["%20"]),
    ],
)
def test_defaults(rule: str, path: str, values: Any) -> None:
    """Manual: default values are used if there is no string to capture, are processed via decode(), and allow to omit
    the entirety of the URL following the point at which they are used.
    """
    assert captured(rule, path) == values


# --- Rules without variables, and paths as they are sent --------------------------------------------------------------


def test_the_first_example() -> None:
    """Manual, "Routing": rules in their simplest form will match a static string; a variable captures data directly."""
    app = Application()

    @app.route("/")
    def index(request: HTTPRequest) -> str:
        return "Index Page"

    @app.route("/welcome")
    def welcome(request: HTTPRequest) -> str:
        return "Hello, Programmer!"

    @app.route("/welcome/<name>", name="by_name")
    def by_name(request: HTTPRequest, name: str) -> str:
        return f"Hello, {name}!"

    def content(path: str) -> bytes | int:
        answer: Any = ask(app, path)
        return answer.content if answer.status == 200 else answer.status  # type: ignore[no-any-return]

    assert content("/") == b"Index Page"
    assert content("/welcome") == b"Hello, Programmer!"
    assert content("/welcome/Ada") == b"Hello, Ada!"
    assert content("/Welcome") == content("/welcome/") == content("/other") == 404


@pytest.mark.parametrize(
    "rule, path, status",
    [
        ("/x", "/x", 200),
        ("/x", "/x?y=/z", 200),
        ("/x", "/x?", 200),
        ("/x", "/%78", 200),
        ("/x", "/%2578", 404),  # decoded once
        ("/x", "/x/", 404),
        ("/x", "//x", 404),
        ("/x", "/./x", 404),
        ("/x", "/y/../x", 404),
        ("/x", "/x/.", 404),
        ("/x", "/x%00", 404),
        ("/x", "/x%FF", 404),
        ("/x", "/x%", 404),
        ("/x", "/x;y", 404),
        ("/", "//", 404),
        ("/x//y", "/x//y", 200),
        ("/x//y", "/x/y", 404),
        ("/x/<path:p>", "/x/../y", 404),  # nothing is removed from a path, and no route has dot segments
        ("/x/y", "/x%2Fy", 404),
        ("/x/y", "/x%2fy", 404),
        ("/x y", "/x%20y", 200),
        ("/x y", "/x+y", 404),
        ("/x+y", "/x+y", 200),
        ("/x+y", "/x%2By", 200),
        ("/über", "/%C3%BCber", 200),
        ("/über", "/%c3%bcber", 200),
        ("/über", "/%FCber", 404),
        ("/100%", "/100%25", 200),
        ("/x?y", "/x%3Fy", None),
        ("/x", "http://a/x", 200),
        ("/x", "HTTP://a/x", 200),
        ("/x", "http://a:80/x?y", 200),
        ("/x", "http://a/http://a/x", 404),
        ("/", "http://a", 200),
        ("/", "http://a/", 200),
        ("/", "http://a?x=/y", 200),
        ("/", "http://a/?", 200),
    ],
)
def test_a_static_string(rule: str, path: str, status: int | None) -> None:
    """Docstring of `Module.route`: paths are percent-decoded before they are compared, but an encoded slash is no slash
    to rules; dot segments are for clients to remove (RFC 3986 §5.2.4). RFC 9112 §3.2.2: a target in absolute form.
    """
    app = Application()
    if status is None:
        with pytest.raises(ValueError, match="without query"):
            app.route(rule)
        return
    app.route(rule, func=shown)
    assert ask(app, path).status == status


@pytest.mark.parametrize(
    "rule, path, values",
    [
        ("/<path:p>", "//", ["/"]),
        ("/<path:p>", "//x", ["/x"]),
        ("/<path:p>", "/x//y/", ["x//y/"]),
        ("/<path:p>", "/../x", 404),
        ("/<path:p>", "/%2E%2E/x", 404),
        ("/<path:p>", "/..%2Fx", ["../x"]),
        ("/<path:p>", "/x%5C..%5Cy", ["x\\..\\y"]),
        ("/<path:p>", "/%2F%2Fx", ["//x"]),
        ("/<path:p>", "/x%2500", ["x%00"]),
        ("/<path:p>", "/x%", ["x%"]),
        ("/<path:p>", "/%c3%A4", ["ä"]),
        ("/<path:p>", "/%C3/%A4", 400),
        ("/<path:p>", "/%C3%2F%A4", 400),
        ("/<path:p>", "/%F4%90%80%80", 400),
        ("/<path:p>", "/x%2F%FF", 400),
        ("/<path:p>", "http://a/x/y?z", ["x/y"]),
        ("/<path:p>", "http://a//x", ["/x"]),
        ("/<a>/<b>", "//x", 404),
        ("/<a>/<b>", "/x//y", 404),
        ("/<a>/<b>", "/./..", 404),
        ("/<a>//<b>", "/x//y", ["x", "y"]),
        ("/<a>/<b>", "/x%2Fy/z", ["x/y", "z"]),
        ("/<a>/<b>", "/%2F/%2F", ["/", "/"]),
        ("/<a>/<b>", "/x/%FF", 400),
        ("/<a>/x/<b>", "/%FF/x/y", 400),
        ("/<a>.<b>", "/x%2Ey", ["x", "y"]),
        ("/<string(length=1):a>", "/%2F", ["/"]),
        ("/<string(length=1):a>", "/%C3%A4", ["ä"]),
        ("/<domainpart:a>", "/x%2Fy", ["x/y"]),
        ("/<int:a>", "/%31%32", [12]),
        ("/<any('x/y' z):a>", "/x/y", ["x/y"]),
        ("/<any('x/y' z):a>", "/x%2Fy", 404),
        ("/<regex('[a-z/]+'):a>", "/x/y", ["x/y"]),
        ("/<regex('[^/]+'):a>", "/x%2Fy", ["x/y"]),
        ("/<regex('[^/]+'):a>", "/x/y", 404),
    ],
)
def test_odd_paths(rule: str, path: str, values: Any) -> None:
    assert captured(rule, path) == values


def test_a_target_that_is_no_path() -> None:
    """RFC 9112 §3.2.4: ``*`` asks about the server; there is no route that could be meant."""
    app = Application()
    app.route("/<path:p=>", methods=["GET", "OPTIONS"], func=shown)
    app.route("<h>/<path:p=>", name="domain", func=shown)
    answer = ask(app, "*", "OPTIONS")
    assert (answer.status, answer.headers["Allow"]) == (204, "OPTIONS")
    assert ask(app, "*", "GET").status == 400
    assert ask(app, "x", "GET").status == 400


@pytest.mark.parametrize("raw", ["/x\xc3\xa4", "/x\xff", "/x\x01", "/x y"])
def test_what_is_no_path_is_400(raw: str) -> None:
    """RFC 9112 §3: a request line that is malformed."""
    app = Application()
    app.route("/<path:p=>", func=shown)
    with MemoryEngine() as engine:
        peer = engine.accept(HTTPServer(app, engine=engine))
        peer.send(f"GET {raw} HTTP/1.1\r\nHost: a\r\n\r\n".encode("latin-1"))
        assert peer.received.startswith(b"HTTP/1.1 400 ")


# --- basic_route ------------------------------------------------------------------------------------------------------


def matched(rule: str, path: str) -> Any:
    """What a basic route finds in request.match; the status, if that is not 200."""
    app = Application()
    seen: list[Any] = []

    @app.basic_route(rule)
    def basic(request: HTTPRequest) -> str:
        seen.append((request.match.groups(), request.match.groupdict()))
        return "done"

    status = ask(app, path).status
    assert bool(seen) is (status == 200)
    return seen[0] if seen else status


def test_the_example_of_basic_route() -> None:
    """Manual, "basic_route": the function is given only the request, and through it access to the match."""
    app = Application()

    @app.basic_route("/char/<char>")
    def my_route(request: HTTPRequest) -> str:
        (char,) = request.match.groups()
        return f"The character is {char}!"

    assert ask(app, "/char/x").content == b"The character is x!"  # type: ignore[attr-defined]
    assert ask(app, "/char/").status == 404


@pytest.mark.parametrize(
    "rule, path, groups, by_name",
    [
        ("/x", "/x", (), {}),
        ("/<a>", "/x", ("x",), {"a": "x"}),
        ("/<a>/<b>", "/x/y", ("x", "y"), {"a": "x", "b": "y"}),
        ("/<a>", "/%C3%A4%2F%2541", ("ä/%41",), {"a": "ä/%41"}),
        ("/<int(digits=3):a>", "/005", ("005",), {"a": "005"}),
        ("/<int(min=3):a>", "/2", ("2",), {"a": "2"}),  # no converter has made anything of it
        ("/<float:a>", "/1.50", ("1.50",), {"a": "1.50"}),
        ("/<a=1>/<int:b=2>", "/x/3", ("x", "3"), {"a": "x", "b": "3"}),
        ("/<a=1>/<int:b=2>", "/x/", ("x", None), {"a": "x", "b": None}),
        ("/<a=1>/<int:b=2>", "/", (None, None), {"a": None, "b": None}),
        (r"/<regex('(\d)-(\d)'):a>/<b>", "/1-2/x", ("1", "2", "x"), {"a": ("1", "2"), "b": "x"}),
        (r"/<regex('(\d)(-\d)?'):a>", "/1", ("1", None), {"a": ("1", None)}),
        (r"/<regex('(\d)?x'):a>", "/x", (None,), {"a": None}),
        (r"/<a>/<regex('(\d)-(\d)'):b=0-0>", "/x/", ("x", None, None), {"a": "x", "b": (None, None)}),
    ],
)
def test_groups(rule: str, path: str, groups: Any, by_name: Any) -> None:
    """Docstring of `Match`: percent-decoded once, None for what was left to a default, a tuple for several groups."""
    assert matched(rule, path) == (groups, by_name)


@pytest.mark.parametrize("path", ["/%FF", "/x%C3", "/%2F%FF"])
def test_a_basic_route_is_400_too(path: str) -> None:
    """DESIGN §3: invalid UTF-8 is a 400."""
    assert matched("/<a>", path) == 400


@pytest.mark.usefixtures("own_converters")
def test_a_basic_route_decodes_nothing() -> None:
    """Manual: it does not wrap the function with any argument processing code."""

    @register_converter
    class Never(Converter):
        regex = "[a-z]+"

        def decode(self, request: HTTPRequest, *values: str) -> Any:
            raise AssertionError

    assert matched("/<never:a=x>", "/abc") == (("abc",), {"a": "abc"})
    assert matched("/<never:a=x>", "/") == ((None,), {"a": None})


def test_the_output_of_a_basic_route() -> None:
    """Manual: output is still handled the way it is with a normal route; "headers", "content_type", "methods"."""
    app = Application()
    options: Any = {"headers": {"X-One": "1"}, "content_type": "text/css", "methods": ["put"]}
    assert app.basic_route("/<a>", "name", func=one, **options) is one
    answer: Any = ask(app, "/x", "PUT")
    assert (answer.headers["X-One"], answer.headers["Content-Type"]) == ("1", "text/css; charset=UTF-8")
    assert answer.content == b"name"
    assert ask(app, "/x").status == 405


def one(request: HTTPRequest) -> str:
    """A basic view: the name of its route."""
    return str(request.route_name)


def test_match_of_an_ordinary_route() -> None:
    """It is there for every view."""
    app = Application()
    seen: list[Any] = []

    @app.route("/<int:a>/<b=x>", "name")
    def view(request: HTTPRequest, a: int, b: str) -> str:
        seen.append((a, b, request.match.groups(), request.match.groupdict(), request.route_name, request.path))
        seen.append((request.match.route.name, request.match.route.rule))
        return ""

    assert ask(app, "/%35/").status == 200
    assert seen == [(5, "x", ("5", None), {"a": "5", "b": None}, "name", "/%35/"), ("name", "/<int:a>/<b=x>")]


# --- Which route ------------------------------------------------------------------------------------------------------


def test_the_route_with_more_text_in_front_goes_first() -> None:
    app = Application()
    for rule in ("/<path:p>", "/<a>/<b>", "/x/<b>", "/x/y<b>", "/x/<int:c>", "/<a>/y", "/x/yes", "/x/<d>/<path:e=>"):
        app.route(rule, name=rule, func=lambda request, *values, rule=rule: rule)

    def taken(path: str) -> str:
        return ask(app, path).content.decode()  # type: ignore[attr-defined, no-any-return]

    assert taken("/x/yes") == "/x/yes"
    assert taken("/x/yet") == "/x/y<b>"
    assert taken("/x/5") == "/x/<b>"  # the first of two with as much text
    assert taken("/x/y") == "/x/<b>"
    assert taken("/x/y/") == "/x/<d>/<path:e=>"
    assert taken("/z/y") == "/<path:p>"
    assert taken("/z/") == "/<path:p>"


@pytest.mark.parametrize(
    "method, path, status, content",
    [
        ("GET", "/user/5", 200, b"get [5]"),
        ("HEAD", "/user/5", 200, b""),
        ("POST", "/user/5", 200, b"post [5]"),
        ("PUT", "/user/5", 200, b'put ["5"]'),
        ("PUT", "/user/me", 200, b'put ["me"]'),
        ("PUT", "/user/5/", 404, None),
        ("DELETE", "/user/all", 200, b"delete []"),
        ("PUT", "/user/all", 200, b'put ["all"]'),
    ],
)
def test_methods(method: str, path: str, status: int, content: bytes | None) -> None:
    """A path may match several rules; that one answers which has the method. HEAD is answered as GET, without content
    (RFC 9110 §9.3.2).
    """
    answer: Any = ask(by_methods(), path, method)
    assert answer.status == status
    if content is not None:
        assert answer.content == content


@pytest.mark.parametrize(
    "path, allowed",
    [
        ("/user/5", "GET, HEAD, POST, PUT, OPTIONS"),
        ("/user/me", "PUT, OPTIONS"),
        ("/user/all", "DELETE, PUT, OPTIONS"),
    ],
)
def test_another_method_is_405(path: str, allowed: str) -> None:
    """RFC 9110 §15.5.6: Allow has the methods that the resource supports."""
    answer = ask(by_methods(), path, "PATCH")
    assert (answer.status, answer.headers["Allow"]) == (405, allowed)


def by_methods() -> Application:
    app = Application()
    app.route("/user/<int:id>", "get", func=lambda request, *values: f"get {json.dumps(values)}")
    app.route("/user/<int:id>", "post", ["post"], func=lambda request, *values: f"post {json.dumps(values)}")
    app.route("/user/<name>", "put", ["put"], func=lambda request, *values: f"put {json.dumps(values)}")
    app.route("/user/all", "delete", ["delete"], func=lambda request, *values: f"delete {json.dumps(values)}")
    return app


def test_auto404(expect_log: Any) -> None:
    """Manual: all response handler arguments are checked for truthiness, and if any fail, a 404 page is rendered."""
    assert captured("/<int:a>/<int:b>", "/1/2", auto404=True) == [1, 2]
    assert captured("/<int:a>/<int:b>", "/1/0", auto404=True) == 404
    assert captured("/<int:a>/<int:b>", "/0/1", auto404=True) == 404
    assert captured("/<int:a>/<int:b>", "/0/0", auto404=False) == [0, 0]
    assert captured("/<path:a=>", "/", auto404=True) == 404


@pytest.mark.parametrize(
    "rule, path, location",
    [
        ("/user/<name>/", "/user/x", "/user/x/"),
        ("/user/<name>/", "/user/x?a=b", "/user/x/?a=b"),
        ("/user/<name>/", "/user/%C3%A4%2F", "/user/%C3%A4%2F/"),
        ("/user/<name>/", "/user/x/", None),
        ("/user/<name>/", "/user", None),
        ("/user/<name>", "/user/x", None),
        ("/page/<int:id=1>/other", "/page", "/page/"),
        ("/<path:all>/", "//example.com", "/.//example.com/"),
        ("/<path:all>/", "///example.com", "/.///example.com/"),
        ("/<name>/", "/\\example.com", "/%5Cexample.com/"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_fix_end_slash(rule: str, path: str, location: str | None, method: str) -> None:
    """The redirection leads to this host: ``//name`` would be another (RFC 3986 §4.2), and so would ``/\\name`` to
    browsers.
    """
    app = Application(fix_end_slash=True)
    app.route(rule, func=shown)
    answer = ask(app, path, method)
    assert answer.headers["Location"] == location
    # RFC 9110 §15.4.9: 308 leaves the method as it is
    moved = 301 if method == "GET" else 308
    assert (answer.status == moved) is (location is not None)


def test_the_table_tells_404_from_405() -> None:
    route = Route("name", "/a/b/<c>", shown, None, {}, auto404=False)
    table = RouteTable()
    assert table.find("/a", "GET") == Missing(())
    table.add(Rule(route.rule), route, ["GET"])
    found = table.find("/a/b/x", "GET")
    assert isinstance(found, Match)
    assert (found.route, found.strings) == (route, ("x",))
    for path in ("/a/x/x", "/a/b", "*", "a:80", ""):  # OPTIONS * and CONNECT have no path (RFC 9112 §3.2)
        assert table.find(path, "GET") == Missing(())
    assert table.find("/a/b/x", "PUT") == Missing(("GET",))


# --- Registering ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "rule, pattern",
    [
        ("/<", "'<' is no variable; write <name>"),
        ("/<>", "is no variable"),
        ("/<int:>", "is no variable"),
        ("/<a<b>", "is no variable"),
        ("/<user-name>", "is no variable; .* names of letters, digits and underscores"),
        ("/<regex((a)):x>", "in quotation marks what contains parentheses"),
        ("/a>b", "a > that ends no variable"),
        ("/<a>>", "a > that ends no variable"),
        ("/<a>?b", "without query"),
        ("/<a>/b#c", "without query"),
        ("/a%20b/<c>", "write the character for %20"),
        ("/<a>/<a>", "two variables are named 'a'; rename one"),
        ("/<nope:x>", "there is no converter 'nope', register_converter"),
        ("/<a=1>/<b>", "<b> needs a default too"),
        ("/<int:a>5", "not clear where <a> ends; put a text behind it"),
        ("/<int:a><b>", "not clear where <a> ends"),
        ("/<int:a><int:b>", "not clear where <a> ends"),
        ("/<int:a><any('' a):b>5", "not clear where <a> ends"),
        ("/<int:a><any(1 a):b>", "not clear where <a> ends"),
        ("/<float:a>.<b>", "not clear where <a> ends"),
        ("/<float:a>.5", "not clear where <a> ends"),
        ("/<a><int:b>", "not clear where <b> begins; put a text before it"),
        ("/<a>-1<int:b>", "not clear where <b> begins"),
        ("/<a>-<any(b c):d><int:e>", "not clear where <e> begins"),
        ("/<any(a ab):x>b<y>-<z>", "not clear where <x> ends, since another of its strings begins with 'a'"),
        ("/<a>-<any(a ab):x>-<y>", "not clear where <x> ends"),
        ("/<regex('(?P<n>a)'):a>/<regex('(?P<n>a)'):b>", "do not fit together: redefinition of group name 'n'"),
    ],
)
def test_a_rule_that_cannot_be_served_raises(rule: str, pattern: str) -> None:
    app = Application()
    with pytest.raises(ValueError, match=f"the rule {re.escape(repr(rule))}: (.*){pattern}"):
        app.route(rule)


@pytest.mark.parametrize(
    "rule, same",
    [
        ("/u/<a>", "/u/<string:b>"),
        ("/u/<int:a>", "/u/<integer(min=5):b>"),
        ("/u/<a=1>", "/u/<b=2>"),
    ],
)
def test_a_route_that_could_never_be_taken_raises(rule: str, same: str) -> None:
    app = Application()
    app.route(rule, name="first", func=shown)
    with pytest.raises(ValueError, match="has a route for GET already, named 'first'"):
        app.route(same, func=shown)
    app.route(same, methods=["POST"], name="post", func=lambda request, a: "posted")
    assert ask(app, "/u/5", "POST").content == b"posted"  # type: ignore[attr-defined]


def test_a_name_is_given_to_one_function() -> None:
    """DESIGN §3: the same name twice is refused only for different functions."""
    app = Application()
    app.route("/<a>", func=shown)
    app.route("/<a>/<b>", func=shown)
    with pytest.raises(ValueError, match="the name 'shown' has been given to another function"):
        app.route("/<a>/<b>/<c>", name="shown", func=lambda request: "")
    assert ask(app, "/a/b/c").status == 404


@pytest.mark.parametrize(
    "rule, same", [("/u/<int:a>", "/u/<int(min=5):a>"), ("/u/<a>", "/u/<b>"), ("/u/<a=1>", "/u/<a=2>")]
)
def test_a_route_that_could_never_be_taken_raises_for_the_same_function(rule: str, same: str) -> None:
    """Docstring of `route`: ValueError, "it has a route for that method already"."""
    app = Application()
    app.route(rule, func=shown)
    with pytest.raises(ValueError, match="has a route for GET already"):
        app.route(same, func=shown)


@pytest.mark.parametrize(
    "first, second, path, values",
    [
        ("/u/<int:a>", "/u/<int(min=5):a>", "/u/3", 400),
        ("/u/<int(min=5):a>", "/u/<int:a>", "/u/3", [3]),
        ("/u/<a=1>", "/u/<a=2>", "/u/", ["2"]),
        ("/u/<int:a=1>", "/u/<int:a=2>", "/u/", [2]),
        ("/u/<int:a>", "/u/<regex('-?[0-9]+'):a>", "/u/3", ["3"]),
    ],
)
def test_each_method_has_the_variables_of_its_own_rule(first: str, second: str, path: str, values: Any) -> None:
    """Manual: default values, and min and max, are those that the rule of the route gives."""
    app = Application()
    app.route(first, "first", func=lambda request, *values: "first")
    app.route(second, "second", methods=["POST"], func=shown)
    answer: Any = ask(app, path, "POST")
    assert (json.loads(answer.content) if answer.status == 200 else answer.status) == values


def test_each_method_has_the_names_of_its_own_rule() -> None:
    app = Application()
    seen: list[Any] = []
    app.basic_route("/u/<first>", "first", func=lambda request: "")
    app.basic_route("/u/<second>", "second", ["POST"], func=lambda request: seen.append(request.match.groupdict()))
    assert ask(app, "/u/x", "POST").status == 204
    assert seen == [{"second": "x"}]


@pytest.mark.parametrize(
    "options, error, pattern",
    [
        ({"methods": "GET"}, TypeError, "methods is an iterable of names of methods, not 'GET'"),
        ({"methods": []}, ValueError, "methods is empty"),
        ({"methods": None}, TypeError, "."),
        ({"methods": 5}, TypeError, "."),
        ({"func": 5}, TypeError, "a route calls a function, and 5 cannot be called"),
        ({"func": "shown"}, TypeError, "a route calls a function"),
        ({"headers": {"X-A": "b\r\nc"}}, ValueError, "."),
        ({"headers": {"X A": "b"}}, ValueError, "."),
        ({"content_type": "text/plain\r\nX: y"}, ValueError, "."),
        ({"content_type": "text/plain; charset=nope"}, (ValueError, LookupError), "."),
    ],
)
def test_a_mistake_raises_at_registration(options: dict[str, Any], error: Any, pattern: str) -> None:
    app = Application()
    with pytest.raises(error, match=pattern):
        app.route("/", **{"func": shown, **options})
    with pytest.raises(error, match=pattern):
        app.basic_route("/", **{"func": shown, **options})
    app.route("/", func=shown)


@pytest.mark.parametrize("method, error", [(5, TypeError), (b"GET", TypeError), ("", ValueError), ("GE T", ValueError)])
def test_a_method_is_a_token(method: Any, error: Any) -> None:
    """Docstring of `route`: TypeError, an argument is of the wrong type. RFC 9110 §9.1: a method is a token; a route
    with any other could never be taken.
    """
    with pytest.raises(error, match=r"."):
        Application().route("/", methods=[method], func=shown)


def test_the_rule_is_a_str() -> None:
    with pytest.raises(
        TypeError, match=r"a rule is a str, not .*; is it @app\.route\(\.\.\.\) without its parentheses"
    ):
        Application().route(shown)  # type: ignore[call-overload]


def test_the_function_is_as_it_was() -> None:
    """Manual, "func": specifying the function bypasses the usual decorator-like behavior; it can have many rules."""
    app = Application()

    @app.route("/a/<x>")
    @app.route("/b/<x>", methods=iter(["post"]))
    @app.basic_route("/c/<y>", name="c")
    def view(request: HTTPRequest, x: str = "none") -> str:
        return f"{request.route_name} {x}"

    assert view(type("Fake", (), {"route_name": "direct"})(), "1") == "direct 1"
    assert ask(app, "/a/1").content == b"view 1"  # type: ignore[attr-defined]
    assert ask(app, "/b/1", "POST").content == b"view 1"  # type: ignore[attr-defined]
    assert ask(app, "/b/1").status == 405
    assert ask(app, "/c/1").content == b"c none"  # type: ignore[attr-defined]


# --- Values that are wrong --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("debug", [True, False])
@pytest.mark.usefixtures("own_converters")
def test_an_exception_in_decode_is_400(debug: bool) -> None:
    """Manual, "decode": any other uncaught exceptions will result in a 400 Bad Request page. The client's fault: there
    is no line in the log.
    """

    @register_converter
    class Broken(Converter):
        regex = "[a-z]+"

        def decode(self, request: HTTPRequest, *values: str) -> Any:
            raise ZeroDivisionError("<b>")

    app = Application(debug=debug)
    app.route("/<broken:x>", func=shown)
    answer: Any = ask(app, "/abc")
    assert answer.status == 400
    assert (b"ZeroDivisionError: &lt;b&gt;" in answer.content) is debug
    assert ask(app, "/5").status == 404


# --- Classes as handlers ----------------------------------------------------------------------------------------------


class Socket:
    """Answers in its constructor, as a WebSocket does."""

    def __init__(self, request: HTTPRequest, *values: Any) -> None:
        request.send_response(f"taken over with {values}")

    def to_html(self) -> str:
        raise AssertionError("the instance is not to be sent")

    __str__ = to_html


def test_a_class_is_a_handler() -> None:
    """Manual, "WebSocket and Application": a class is called with the request and the variables; what it returns is no
    output.
    """
    app = Application()
    assert app.route("/ws/<name>")(Socket) is Socket
    assert ask(app, "/ws/Ada").content == b"taken over with ('Ada',)"  # type: ignore[attr-defined]

    @app.route("/also/<int:id>")
    def also(request: HTTPRequest, number: int) -> Socket:
        return Socket(request, number)

    assert ask(app, "/also/5").content == b"taken over with (5,)"  # type: ignore[attr-defined]


def test_a_class_that_leaves_the_request_alone_is_a_mistake(expect_log: Any) -> None:
    expect_log("route 'Idle'(.|\n)*Idle'> has neither answered the request nor taken over")

    class Idle:
        def __init__(self, request: HTTPRequest) -> None:
            pass

    app = Application()
    app.route("/", func=Idle)
    assert ask(app, "/").status == 500


@pytest.mark.parametrize("output", ["twice", b"twice", {"a": 1}, ["a"], ("a", 404)])
def test_content_behind_an_answer_is_a_mistake(output: Any, expect_log: Any) -> None:
    expect_log("The route 'twice'")
    app = Application()

    @app.route("/<x>")
    def twice(request: HTTPRequest, x: str) -> Any:
        request.send_response("once")
        return output

    assert ask(app, "/x").content == b"once"  # type: ignore[attr-defined]


# --- The time that it takes -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "rule, path",
    [
        ("/<a>-<b>-<c>-<d>-<e>-<f>/x", "/" + "-" * 8000 + "/y"),
        ("/<a>-<b>-<c>-<d>-<e>-<f>.x", "/" + "-" * 8000 + ".y"),
        ("/<a>-<b>-<int:c>-<d>-<int:e>-<f>/x<g>", "/" + "-1" * 4000 + "/x"),
        ("/<path:a>/<path:b>/<path:c>/<path:d>/<e>/<f>.x", "/" * 8000 + "a"),
        ("/<path:a>-<b>/<path:c>-<d>-<string(min=2 max=7):e>-<f>.x", "/-" * 4000 + "a"),
        ("/<int:a>/<int:b>-x", "/" + "1" * 4000 + "/" + "1" * 4000),
        ("/<a>x<int:b>.<c>-<float:d>y<e>.z", "/" + "x1.1-1.1y" * 900),
        ("/<a><b><c><d><e>.z", "/" + "a" * 8000),
    ],
)
def test_no_path_takes_long(rule: str, path: str) -> None:
    """An expression that is tried everywhere would take hours for the most of these, and minutes for the rest."""
    before = time.process_time()
    parsed = Rule(rule)
    assert parsed.match(path) is None
    assert time.process_time() - before < 5


SPANS = ["<>", "<string(min=2):>", "<string(max=2):>", "<path:>", "<domainpart:>"]
PIECES = st.sampled_from(["-", "a", "/", "ab.", *SPANS, "<any(a -b):>", "<int:>", "<float:>", "<int(digits=2):>"])


@given(st.lists(PIECES, min_size=1, max_size=7), st.text("ab-/.12", max_size=14))
@example(["a"], "a")
def test_a_chain_finds_what_an_expression_would(pieces: list[str], path: str) -> None:
    """Manual: each variable is a part of "the rule's final expression"."""
    text = "/" + "".join(piece.replace(">", f"v{i}>") for i, piece in enumerate(pieces))
    with contextlib.suppress(ValueError):
        rule = Rule(text)
        parts = [piece.source if isinstance(piece, Variable) else re.escape(piece) for piece in rule.pieces]
        found = re.fullmatch("".join(parts), "/" + path)
        assert rule.match("/" + path) == (None if found is None else found.groups())


def test_a_chain_serves_what_is_open_only() -> None:
    def is_chain(rule: str) -> bool:
        return any(isinstance(getattr(form.match, "__self__", None), Chain) for form in Rule(rule).forms)

    assert is_chain("/<a>-<b>")
    assert is_chain("/<path:a>/edit")
    assert not is_chain("/hello/<name>/<int:id>-<b>/<path:c>")
    assert not is_chain("/<a>-<regex('[a-z]'):b>")
