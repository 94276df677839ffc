"""URLs for routes (manual: "url_for"); on a server in memory."""

from __future__ import annotations

import contextlib
import json
from collections import namedtuple
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any
from urllib.parse import parse_qsl, urljoin, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pants.http import HTTPRequest
from pants.web import Application, Converter, Module, application, converters, register_converter, url_for
from tests.web.support import ask, fetch

# What the next views are to do.
TASKS: list[Callable[[HTTPRequest], object]] = []


def asked(request: HTTPRequest, *values: Any) -> str:
    """A view that does the next task."""
    if TASKS:
        TASKS.pop(0)(request)
    return json.dumps(values)


def site(**rules: str) -> Application:
    """An application with routes by name, and one more, which is called "here"."""
    app = Application()
    for name, rule in rules.items():
        app.route(rule, name, func=asked)
    app.route("/here", "here", func=asked)
    return app


def run(app: Application, function: Callable[[HTTPRequest], Any], at: str = "/here") -> Any:
    """What a function returns, or raises, while a request is served."""
    future: Future[Any] = Future()

    def task(request: HTTPRequest) -> None:
        try:
            future.set_result(function(request))
        except Exception as error:
            future.set_exception(error)

    TASKS.append(task)
    assert ask(app, at).status == 200
    return future.result(timeout=0)


def url(app: Application, name: str, /, *values: Any, at: str = "/here", **keywords: Any) -> Any:
    """What url_for returns in a view, or raises."""
    return run(app, lambda request: url_for(name, *values, **keywords), at)


def routed(app: Application, reference: str, base: str = "http://a/here") -> Any:
    """What a view is given when a client follows a reference (RFC 3986 §5); the status, if that is not 200."""
    # urljoin() drops a semicolon with nothing behind it, which a client does not.
    answer: Any = ask(app, urljoin(base, reference.replace(";", "%3B")))
    return json.loads(answer.content) if answer.status == 200 else answer.status


@pytest.fixture
def own_converters() -> Iterator[None]:
    """Forgets the converters that a test registers."""
    before = dict(converters._registered)
    yield
    converters._registered.clear()
    converters._registered.update(before)


# --- Values -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "rule, values, keywords, expected",
    [
        ("/", (), {}, "/"),
        ("/x", (), {}, "/x"),
        ("/x/", (), {}, "/x/"),
        ("/<a>/<b>", ("1", "2"), {}, "/1/2"),
        ("/<a>/<b>", (), {"b": "2", "a": "1"}, "/1/2"),
        ("/<a>/<b>", ("1",), {"b": "2"}, "/1/2"),
        ("/<name>", ("x",), {}, "/x"),
        ("/<name>", (), {"name": "x"}, "/x"),
        ("/<values>/<self>/<rule>", (), {"values": 1, "self": 2, "rule": 3}, "/1/2/3"),
        ("/<int:a>", (5,), {}, "/5"),
        ("/<int:a>", ("5",), {}, "/5"),
        ("/<int:a>", (0,), {}, "/0"),
        ("/<int(digits=4):a>", (5,), {}, "/0005"),
        ("/<int(digits=4):a>", (-5,), {}, "/-0005"),
        ("/<float:a>", (1.5,), {}, "/1.5"),
        ("/<float:a>", (2,), {}, "/2"),
        ("/<any(call text):a>", ("call",), {}, "/call"),
        ("/<any('a b' c):a>", ("a b",), {}, "/a%20b"),
        (r"/<regex('(\d{3})-(\d{4})' '%03d-%04d'):a>", ((5, 6),), {}, "/005-0006"),
        (r"/<regex('(\d{3}-\d{4})'):a>", ("555-1234",), {}, "/555-1234"),
        (r"/<regex('\d+'):a>", (5,), {}, "/5"),
        ("/a-<b>.html", ("x",), {}, "/a-x.html"),
        # Manual, "default": placed in URLs if no other value is provided.
        ("/<a>/<b=2>", ("1",), {}, "/1/2"),
        ("/<a>/<b=2>", ("1", None), {}, "/1/2"),
        ("/<a>/<b=2>", ("1",), {"b": None}, "/1/2"),
        ("/<a>/<b=2>", ("1", "3"), {}, "/1/3"),
        ("/<a=1>/<b=2>", (), {"b": "3"}, "/1/3"),
        ("/<a=1>/<b=2>", (), {}, "/1/2"),
        ("/page/<int:id=2>/other", (), {}, "/page/2/other"),
        ("/page/<path:slug=a/b c>", (), {}, "/page/a/b%20c"),
        ("/page/<a=x/y>", (), {}, "/page/x%2Fy"),
        # Manual: any unknown keyword arguments will be appended as query arguments.
        ("/x", (), {"a": 1, "b": "c d&e=ü/"}, "/x?a=1&b=c+d%26e%3D%C3%BC%2F"),
        ("/<a>", ("1",), {"b": "2"}, "/1?b=2"),
        ("/<a>", (), {"b": "2", "a": "1"}, "/1?b=2"),
        ("/x", (), {"a": None, "b": ""}, "/x?b="),
        ("/x", (), {"a": None}, "/x"),
        ("/x", (), {"a": 0, "b": False}, "/x?a=0&b=False"),
    ],
)
def test_values(rule: str, values: tuple[Any, ...], keywords: dict[str, Any], expected: str) -> None:
    assert url(site(it=rule), "it", *values, **keywords) == expected


@pytest.mark.parametrize(
    "rule, values, keywords",
    [
        ("/<a>/<b>", (), {}),
        ("/<a>/<b>", ("1",), {}),
        ("/<a>/<b>", (), {"b": "1"}),
        ("/<a>/<b>", ("1", None), {}),
        ("/<a>/<b>", (None, "1"), {}),
        ("/<a>/<b>", ("1", "2", "3"), {}),
        ("/<a>/<b>", ("1", "2"), {"a": "3"}),
        ("/<a>/<b>", ("1",), {"a": "3", "b": "2"}),
        ("/<a=1>", ("1",), {"a": "1"}),
        ("/x", ("1",), {}),
        ("<a>.example/", (), {}),
    ],
)
def test_missing_values_and_too_many(rule: str, values: tuple[Any, ...], keywords: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match="these are not the values for the variables of 'it'"):
        url(site(it=rule), "it", *values, **keywords)


@pytest.mark.parametrize(
    "rule, value",
    [
        ("/<a>", ""),
        ("/<string(max=2):a>", "abc"),
        ("/<string(min=2):a>", "a"),
        ("/<domainpart:a>", "a.b"),
        ("/<path:a>", ""),
        ("/<int:a>", "x"),
        ("/<int(digits=2):a>", 100),
        ("/<float:a>", float("nan")),
        ("/<float:a>", float("inf")),
        ("/<float:a>", "x"),
        ("/<any(a b):a>", "c"),
        ("/<any(a b):a>", ""),
        (r"/<regex('\d+'):a>", "x"),
        (r"/<regex('\d+'):a>", "5\n"),
        (r"/<regex('(\d+)-(\d+)'):a>", ("1", "2")),
        ("<a>.example/", "x.y"),
        ("<any(a b):a>.example/", "c"),
        ("/<a>", "\udcff"),
    ],
)
def test_a_value_that_the_rule_would_not_match_raises(rule: str, value: Any) -> None:
    with pytest.raises(ValueError, match=r"."):
        url(site(it=rule), "it", value)


@pytest.mark.parametrize(
    "variable, value, text",
    [
        ("a", "ä☃", "%C3%A4%E2%98%83"),
        ("a", "a/b", "a%2Fb"),
        ("a", "100%", "100%25"),
        ("a", "%41", "%2541"),
        ("a", "a?b", "a%3Fb"),
        ("a", "a#b", "a%23b"),
        ("a", "a b", "a%20b"),
        ("a", "a+b", "a+b"),
        ("a", "a\\b", "a%5Cb"),
        ("a", "a\"<b>'", "a%22%3Cb%3E'"),
        ("a", "\r\nX-Evil: 1", "%0D%0AX-Evil:%201"),
        ("a", "\0", "%00"),
        ("a", "a..b", "a..b"),
        ("a", "-._~!$&'()*+,;=:@", "-._~!$&'()*+,;=:@"),
        ("path:a", "a/b c/", "a/b%20c/"),
        ("path:a", "a?b/#", "a%3Fb/%23"),
        ("path:a", "a%2Fb", "a%252Fb"),
        ("path:a", "a//b", "a//b"),
        ("any('a/b' c):a", "a/b", "a/b"),
        ("regex('a/b'):a", "a/b", "a/b"),
    ],
)
def test_quoting(variable: str, value: str, text: str) -> None:
    """DESIGN §3: url_for quotes what encode() gives, and path keeps its slashes. RFC 3986 §3.3 tells what is quoted."""
    app = site(it=f"/x/<{variable}>")
    assert url(app, "it", value) == f"/x/{text}"
    assert routed(app, f"/x/{text}") == [value]


def test_the_text_of_a_rule_is_quoted() -> None:
    app = site(plain="/ü b/100%/;p", variable="/ü b/<a>;x")
    assert url(app, "plain") == "/%C3%BC%20b/100%25/;p"
    assert url(app, "variable", "c") == "/%C3%BC%20b/c;x"
    assert routed(app, url(app, "plain")) == []
    assert routed(app, url(app, "variable", "c")) == ["c"]


@pytest.mark.parametrize("value", ["x", "/x", "//x", "//evil.example/x", "/\\evil.example", "\\\\evil.example", "///"])
def test_a_path_stays_on_this_host(value: str) -> None:
    """RFC 3986 §4.2: a reference that begins with two slashes names another host; to browsers a backslash is one."""
    app = site(it="/<path:a>")
    made = url(app, "it", value)
    assert not made.startswith("//")
    assert "\\" not in made
    assert urlsplit(urljoin("http://a/here", made)).netloc == "a"
    assert routed(app, made) == [value]


@pytest.mark.parametrize(
    "rule, value",
    [
        ("/x/<a>", ".."),
        ("/x/<a>", "."),
        ("/x/<a>/y", ".."),
        ("/x/<path:a>", "../../y"),
        ("/x/<path:a>", "a/../b"),
        ("/x/<path:a>", "a/./b"),
        ("/x/<path:a>", "a/.."),
    ],
)
def test_dot_segments_lead_nowhere_else(rule: str, value: str) -> None:
    """RFC 3986 §5.2.4: clients remove them from a reference, so that it would lead to another route."""
    app = site(it=rule)
    try:
        made = url(app, "it", value)
    except ValueError:  # no URL serves all clients, some of which decode periods first
        return
    assert routed(app, made) == [value]


def check_round_trip(variable: str, value: Any) -> None:
    app = site(it=f"/x/<{variable}>", within=f"/y/<{variable}>/end")
    assert routed(app, url(app, "it", value)) == [value]
    assert routed(app, url(app, "within", value)) == [value]


TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
SLASHES = st.text("a/%?# .ä\\", min_size=1)


def has_dots(text: str) -> bool:
    return any(segment in (".", "..") for segment in text.split("/"))


@settings(max_examples=60, deadline=None)
@given(st.one_of(TEXT, SLASHES))
def test_the_round_trip_of_text(value: str) -> None:
    """What url_for has made of a value is routed back to it; but for dot segments, see above."""
    if value not in (".", ".."):
        check_round_trip("a", value)
    if not has_dots(value):
        check_round_trip("path:a", value)


@settings(max_examples=30, deadline=None)
@given(st.integers(-(10**50), 10**50))
def test_the_round_trip_of_integers(value: int) -> None:
    check_round_trip("int:a", value)
    if abs(value) < 10**6:
        check_round_trip("int(digits=6):a", value)


@settings(max_examples=30, deadline=None)
@given(st.integers(-(10**14), 10**14).map(lambda n: n / 1000))
def test_the_round_trip_of_floats(value: float) -> None:
    check_round_trip("float:a", value)


@pytest.mark.parametrize("value", [1e16, 1.5e22, -1e300, 1e-5, 2.5e-10, 5e-324])
def test_the_round_trip_of_large_and_small_floats(value: float) -> None:
    """Docstring of `Converter.encode`: a string which `decode` would make ``value`` of. A visitor can ask for these."""
    check_round_trip("float:a", value)


@pytest.mark.usefixtures("own_converters")
@settings(max_examples=30, deadline=None)
@given(st.one_of(TEXT, SLASHES).filter(lambda text: "/" not in text and not has_dots(text)))
def test_the_round_trip_of_a_converter(value: str) -> None:
    @register_converter
    class Marked(Converter):
        regex = "(?s:<(.+)>)"

        def encode(self, request: HTTPRequest, value: Any) -> str:
            return f"<{value}>"

    check_round_trip("marked:a", value)


def test_the_round_trip_of_an_encoded_slash() -> None:
    """Docstring of `Module.route`: "an encoded slash is no slash to rules; the function gets it as one"."""
    app = site(it="/x/<regex('[^/]+'):a>")
    assert routed(app, "/x/a%2Fb") == ["a/b"]
    assert url(app, "it", "a/b") == "/x/a%2Fb"


@pytest.mark.parametrize(
    "variable, path", [("float:a", "/0.00001"), ("float:a", "/99999999999999999"), ("regex('[^/]+'):a", "/x%2Fy")]
)
def test_a_visitor_has_no_500_of_the_url_of_the_same_page(variable: str, path: str) -> None:
    """What a rule has captured serves for a URL of that rule."""
    app = Application()
    made: list[str] = []

    @app.route(f"/<{variable}>", "it")
    def it(request: HTTPRequest, value: Any) -> str:
        with contextlib.suppress(ValueError):
            made.append(url_for("it", value))
        return ""

    assert ask(app, path).status == 200
    assert made


@pytest.mark.parametrize(
    "rule, values", [("/<path:a=>/x", [""]), ("/<string(max=2):a=welcome>", ["welcome"]), ("/<a=>/x", [""])]
)
def test_a_default_that_the_variable_would_not_match(rule: str, values: list[str]) -> None:
    """Manual: defaults allow to omit the URL from where they are used, so there is a URL that the rule does match."""
    app = site(it=rule)
    assert routed(app, "/") == values
    assert routed(app, url(app, "it")) == values


# --- Rules of the program's own ---------------------------------------------------------------------------------------

PhoneNumber = namedtuple("PhoneNumber", ["npa", "nxx", "subscriber", "ext"])


@pytest.mark.usefixtures("own_converters")
def test_the_telephone_of_the_manual() -> None:
    """Manual, "Writing a Variable Converter", to the letter."""

    @register_converter
    class Telephone(Converter):
        regex = (
            r"(?:1[ -]*)?(?:\(? *([2-9][0-9]{2}) *\)?[ -]*)?([2-9](?:1[02-9]|[02-9][0-9]))[ -]*(\d{4})"
            r"(?:[ -]*e?xt?[ -]*(\d+))?"
        )

        def decode(self, request: HTTPRequest, *values: Any) -> PhoneNumber:
            return PhoneNumber(*(int(x) if x else None for x in values))

        def encode(self, request: HTTPRequest, value: Any) -> str:
            out = "%03d-%03d-%04d" % (value.npa, value.nxx, value.subscriber)  # noqa: UP031 - the manual's own
            if value.ext:
                out += "-ext%d" % value.ext  # noqa: UP031
            return out

    app = site(route="/tel/<telephone:number>")
    number = PhoneNumber(npa=555, nxx=234, subscriber=5678, ext=115)
    assert routed(app, "/tel/555-234-5678x115") == [list(number)]
    assert url(app, "route", number) == "/tel/555-234-5678-ext115"
    assert url(app, "route", PhoneNumber(555, 234, 5678, None)) == "/tel/555-234-5678"
    assert routed(app, "/tel/555-234-5678-ext115") == [list(number)]
    with pytest.raises(ValueError, match="none that <number> would match"):
        url(app, "route", PhoneNumber(100, 234, 5678, None))


@pytest.mark.usefixtures("own_converters")
def test_encode_is_given_the_request() -> None:
    """Manual: encode(request, value)."""
    seen: list[HTTPRequest] = []

    @register_converter
    class Shouting(Converter):
        regex = "(?i:[A-Z]+)"

        def encode(self, request: HTTPRequest, value: Any) -> str:
            seen.append(request)
            return str(value).upper()

    app = site(it="<shouting:b>.example/<shouting:a>")
    requests: list[HTTPRequest] = []

    def task(request: HTTPRequest) -> str:
        requests.append(request)
        return url_for("it", "xy", "z")

    assert run(app, task) == "http://xy.example/Z"
    assert len(seen) == 2
    assert all(request is requests[0] for request in seen)


@pytest.mark.usefixtures("own_converters")
def test_encode_that_returns_no_str_is_a_mistake() -> None:
    @register_converter
    class Wrong(Converter):
        regex = "[0-9]+"

        def encode(self, request: HTTPRequest, value: Any) -> str:
            return value  # type: ignore[no-any-return]

    with pytest.raises(TypeError, match=r"encode\(\) of the converter of <a> returns a str, not 5"):
        url(site(it="/<wrong:a>"), "it", 5)


# --- Several rules of one name ----------------------------------------------------------------------------------------


def test_several_rules_of_one_name() -> None:
    """DESIGN §3: the same name twice is refused only for different functions. The rule that takes most is chosen."""
    app = site(other="/other")
    for rule in ("/", "/<int:year>", "/<int:year>/<int:month>", "/tag/<tag>"):
        app.route(rule, "it", func=asked)
    assert url(app, "it") == "/"
    assert url(app, "it", 2024) == "/2024"
    assert url(app, "it", 2024, 5) == "/2024/5"
    assert url(app, "it", 2024, month=5) == "/2024/5"
    assert url(app, "it", month=5, year=2024) == "/2024/5"
    assert url(app, "it", year=2024, page=2) == "/2024?page=2"
    assert url(app, "it", month=5) == "/?month=5"
    assert url(app, "it", tag="x") == "/tag/x"
    assert url(app, "it", year=None) == "/"
    with pytest.raises(TypeError, match=r"'/' or '/<int:year>' or '/<int:year>/<int:month>' or '/tag/<tag>'"):
        url(app, "it", 1, 2, 3)


# --- Names ------------------------------------------------------------------------------------------------------------


def nested() -> Application:
    """A tree of modules: shop, in it shop.cart and a module without a name."""
    app, shop, cart, nameless = Application("app"), Module("shop"), Module("cart"), Module()
    for module in (app, shop, cart):
        module.route("/index", "index", func=asked)
        module.route("/show", "show", func=asked)
    nameless.route("/more", "more", func=asked)
    cart.route("/only", "only", func=asked)
    app.add("/s", shop)
    shop.add("/c", cart)
    cart.add("/n", nameless)
    return app


@pytest.mark.parametrize(
    "at, name, expected",
    [
        ("/index", "show", "/show"),
        ("/index", ".show", "/show"),
        ("/index", "shop.show", "/s/show"),
        ("/index", ".shop.show", "/s/show"),
        ("/index", "shop.cart.only", "/s/c/only"),
        ("/s/index", "show", "/show"),
        ("/s/index", ".show", "/s/show"),
        ("/s/index", "..show", "/show"),
        ("/s/index", ".cart.only", "/s/c/only"),
        ("/s/index", "..shop.cart.only", "/s/c/only"),
        ("/s/c/index", ".show", "/s/c/show"),
        ("/s/c/index", "..show", "/s/show"),
        ("/s/c/index", "...show", "/show"),
        ("/s/c/index", "...shop.index", "/s/index"),
        ("/s/c/n/more", ".show", "/s/c/show"),
        ("/s/c/n/more", "..show", "/s/show"),
        ("/s/c/index", ".more", "/s/c/n/more"),
        ("/s/c/index", ".index", "/s/c/index"),
    ],
)
def test_names(at: str, name: str, expected: str) -> None:
    """Manual: an absolute name; or a period for one relative to the current route, several to traverse up the tree."""
    assert url(nested(), name, at=at) == expected


@pytest.mark.parametrize(
    "at, name, pattern",
    [
        ("/index", "..show", "'..show' leads out of the names of the application, from 'index'"),
        ("/s/index", "...show", "leads out of the names"),
        ("/s/c/index", "....show", "leads out of the names"),
        ("/index", "nope", "there is no route named 'nope'"),
        ("/index", "", "there is no route named ''"),
        ("/index", "shop", "there is no route named 'shop'"),
        ("/index", "app.index", "there is no route named 'app.index'"),
        ("/s/index", ".only", "there is no route named 'shop.only'"),
        ("/s/index", ".", "there is no route named"),
        ("/s/index", "..shop", "there is no route named 'shop'"),
        ("/index", "shop.cart.ony", r"there is no route named 'shop\.cart\.ony'; there are 'shop\.cart\.only'"),
    ],
)
def test_names_that_are_none(at: str, name: str, pattern: str) -> None:
    with pytest.raises(LookupError, match=pattern):
        url(nested(), name, at=at)


@pytest.mark.parametrize("name", [None, 5, asked])
def test_a_name_is_a_str(name: Any) -> None:
    with pytest.raises(TypeError, match="the name of a route is a str, not"):
        url(site(), name)


def test_a_module_that_is_there_twice() -> None:
    """Relative names lead to one of the routes of that name; the values of the prefix belong to the rule."""
    app, module = Application(), Module("m")
    module.route("/x/<a>", "x", func=asked)
    module.route("/y", "y", func=asked)
    app.add("/p/<lang>", module)
    assert url(app, ".x", "de", "1", at="/p/de/y") == "/p/de/x/1"
    assert url(app, "m.x", a="1", lang="de", at="/p/de/y") == "/p/de/x/1"
    app.add("/q", module)
    assert url(app, ".x", "1", at="/q/y") == "/q/x/1"
    assert url(app, ".x", "de", "1", at="/q/y") == "/p/de/x/1"


# --- The whole URL ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "at, keywords, expected",
    [
        ("http://h/here", {}, "/x"),
        ("http://h/here", {"_external": True}, "http://h/x"),
        ("http://h:8080/here", {"_external": True}, "http://h:8080/x"),
        ("http://[::1]:8080/here", {"_external": True}, "http://[::1]:8080/x"),
        ("http://[::1]/here", {"_external": True}, "http://[::1]/x"),
        ("http://h/here", {"_scheme": "http"}, "/x"),
        ("http://h/here", {"_scheme": "https"}, "https://h/x"),
        ("http://h:8080/here", {"_scheme": "https"}, "https://h/x"),  # where TLS listens is not known
        ("http://[::1]:8080/here", {"_scheme": "https"}, "https://[::1]/x"),
        ("http://h:8080/here", {"_scheme": "http", "_external": True}, "http://h:8080/x"),
        ("http://h/here", {"_scheme": "ws"}, "ws://h/x"),
        ("http://h/here", {"_anchor": "a"}, "/x#a"),
        ("http://h/here", {"_anchor": "a b#ü/?%"}, "/x#a%20b%23%C3%BC/?%25"),
        ("http://h/here", {"_anchor": ""}, "/x"),
        ("http://h/here", {"_anchor": None}, "/x"),
        ("http://h/here", {"_anchor": "a", "q": 1}, "/x?q=1#a"),
        ("http://h/here", {"_anchor": "a", "q": 1, "_external": True}, "http://h/x?q=1#a"),
        # Manual, "_doseq": for urlencode, True by default.
        ("http://h/here", {"q": [1, 2]}, "/x?q=1&q=2"),
        ("http://h/here", {"q": ["a b", "ü"]}, "/x?q=a+b&q=%C3%BC"),
        ("http://h/here", {"q": "ab"}, "/x?q=ab"),
        ("http://h/here", {"q": [1, 2], "_doseq": False}, "/x?q=%5B1%2C+2%5D"),
    ],
)
def test_special_keywords(at: str, keywords: dict[str, Any], expected: str) -> None:
    """Manual: "url_for", its special keyword arguments."""
    assert url(site(it="/x"), "it", at=at, **keywords) == expected


def test_a_sequence_without_items_is_no_query() -> None:
    assert url(site(it="/x"), "it", q=[]) == "/x"


@pytest.mark.parametrize(
    "at, keywords, expected",
    [
        ("http://h/here", {}, "http://ada.example/x"),
        ("http://ada.example/here", {}, "/x"),
        ("http://ADA.Example./here", {}, "/x"),
        ("http://ada.example:8080/here", {}, "/x"),
        ("http://ada.example:8080/here", {"_external": True}, "http://ada.example:8080/x"),
        ("http://ada.example/here", {"_external": True}, "http://ada.example/x"),
        ("http://bob.example:8080/here", {}, "http://ada.example:8080/x"),
        ("http://bob.example:8080/here", {"_scheme": "https"}, "https://ada.example/x"),
        ("http://ada.example:8080/here", {"_scheme": "https"}, "https://ada.example/x"),
        ("http://[::1]:8080/here", {}, "http://ada.example:8080/x"),
        ("http://[::1]/here", {}, "http://ada.example/x"),
        ("http://h/here", {"q": 1, "_anchor": "a"}, "http://ada.example/x?q=1#a"),
    ],
)
def test_domains(at: str, keywords: dict[str, Any], expected: str) -> None:
    """Docstring: a whole URL, where the route has another domain than the request that is being served."""
    app = site(fixed="Ada.example/x", it="<user>.example/x")
    assert url(app, "fixed", at=at, **keywords) == expected
    assert url(app, "it", "ada", at=at, **keywords) == expected
    assert url(app, "it", user="Ada", at=at, **keywords) == expected


def test_several_variables_in_a_domain() -> None:
    app = site(it="<a>.<int(digits=2):b>.example/<c>")
    assert url(app, "it", "x", 5, "z") == "http://x.05.example/z"
    assert url(app, "it", c="z", b=5, a="x", d=1) == "http://x.05.example/z?d=1"
    assert routed(app, "http://x.05.example/z") == ["x", 5, "z"]


@pytest.mark.parametrize(
    "value",
    [
        "evil/",
        "evil%2eexample#",
        "2130706433#",
        "evil?",
        "evil\\",
        "evil@x",
        "user:pass@evil#",
        "a:80",
        "[::1]",
        "a b",
        "ü",
        "a\nb",
    ],
)
def test_a_value_stays_in_its_part_of_the_domain(value: str) -> None:
    """RFC 3986 §3.2.2: what a host is made of; anything else leads to another host, or is no URL ("in plain
    characters") at all.
    """
    try:
        made = url(site(it="<user>.site.example/x"), "it", value)
    except ValueError:
        return
    assert made.isascii()
    assert urlsplit(made.replace("\\", "/")).netloc.endswith(".site.example")
    assert not set(made.removeprefix("http://")) & set(" @:[]\\#?\n")
    assert made.endswith(".site.example/x")


def test_https() -> None:
    """Manual, "_scheme": by default the scheme of the current request."""
    app = site(it="/x", there="b.example/x")

    def task(request: HTTPRequest) -> Any:
        request.scheme = "https"
        return [
            url_for("it"),
            url_for("it", _external=True),
            url_for("there"),
            url_for("it", _scheme="http"),
            url_for("it", _scheme="https"),
        ]

    made = run(app, task, "http://h:8443/here")
    assert made == ["/x", "https://h:8443/x", "https://b.example:8443/x", "http://h/x", "/x"]


def test_below_a_prefix() -> None:
    """`HTTPRequest.script_name` is what precedes each path."""
    app = site(it="/x/<a>", root="/", there="b.example/x")

    def task(request: HTTPRequest) -> Any:
        request.script_name = "/app"
        return [url_for("it", "1", q=2), url_for("root"), url_for("it", "1", _external=True), url_for("there")]

    assert run(app, task) == ["/app/x/1?q=2", "/app/", "http://a/app/x/1", "http://b.example/app/x"]


# --- When there is a request, and when there is none ------------------------------------------------------------------


def test_outside_of_a_request() -> None:
    """DESIGN §3: it finds the current request in a ContextVar, else RuntimeError."""
    app = site(it="/x")
    with pytest.raises(RuntimeError, match=r"needs the request that is being served, .* give it _request="):
        url_for("it")
    assert url(app, "it") == "/x"
    with pytest.raises(RuntimeError, match="needs the request that is being served"):
        url_for("it")


def test_after_the_view_has_returned() -> None:
    app = site(it="/x", there="b.example/<a>")
    module = Module("m")
    module.route("/here", "here", func=asked)
    module.route("/there", "there", func=asked)
    app.add("/m", module)
    requests: list[HTTPRequest] = []
    run(app, requests.append, "http://h:8080/m/here")
    assert url_for("it", _request=requests[0]) == "/x"
    assert url_for(".there", _request=requests[0]) == "/m/there"
    assert url_for("there", "1", _request=requests[0], q=2) == "http://b.example:8080/1?q=2"


def test_a_request_that_no_view_has_seen() -> None:
    app = Application()
    requests: list[HTTPRequest] = []
    app.before(requests.append)
    assert ask(app, "/x").status == 404
    with pytest.raises(RuntimeError, match=r"_request=\.\.\.\) is for a request that a view was called with"):
        url_for("it", _request=requests[0])


def test_another_request_than_the_current_one() -> None:
    """Each with its own application."""
    one, two = site(it="/one"), site(it="/two")
    requests: list[HTTPRequest] = []
    run(one, requests.append)
    assert run(two, lambda request: [url_for("it"), url_for("it", _request=requests[0])]) == ["/two", "/one"]


def test_an_application_that_is_called_by_another() -> None:
    """When the inner one has answered, the outer one is the current one again."""
    inner, outer = site(it="/inner"), site(it="/outer")
    seen: list[str] = []

    @outer.route("/call")
    def call(request: HTTPRequest) -> None:
        seen.append(url_for("it"))
        request.url = "/here"
        request._parts = None
        TASKS.append(lambda request: seen.append(url_for("it")))
        inner(request)
        seen.append(url_for("it"))

    assert ask(outer, "/call").status == 200
    assert seen == ["/outer", "/inner", "/outer"]


def test_in_hooks_handlers_and_generators(expect_log: Any) -> None:
    """Wherever a request is being served."""
    expect_log("ZeroDivisionError")
    app, module = site(it="/x"), Module("m")
    seen: dict[str, Any] = {}

    def note(where: str, name: str = ".here") -> None:
        try:
            seen.setdefault(where, []).append(url_for(name))
        except LookupError as error:
            seen.setdefault(where, []).append(type(error))

    @app.before
    def before(request: HTTPRequest) -> None:
        note("before", "it")
        note("before")

    @module.request_started
    def started(request: HTTPRequest) -> None:
        note("started")

    @module.request_finished
    def finished(request: HTTPRequest, output: Any) -> Any:
        note("finished")
        return output

    @module.request_teardown
    def teardown(request: HTTPRequest) -> None:
        note("teardown")

    @module.after
    def after(request: HTTPRequest, head: Any) -> None:
        note("after")

    @module.error_handler(ZeroDivisionError)
    def failed(request: HTTPRequest, exception: Exception) -> str:
        note("error")
        raise exception

    @app.error_handler(404)
    def missing(request: HTTPRequest, exception: Exception) -> str:
        note("missing", "it")
        note("missing")
        return "missing"

    @module.route("/here")
    def here(request: HTTPRequest) -> Iterator[str]:
        note("generator")
        yield "a"
        note("generator")

    @module.route("/fail")
    def fail(request: HTTPRequest) -> float:
        return 1 / 0

    @module.route("/object")
    def an_object(request: HTTPRequest) -> Any:
        class Page:
            def to_html(self) -> str:
                note("to_html")
                return "<p>"

        return Page()

    app.add("/m", module)
    assert ask(app, "/m/here").content == b"a"  # type: ignore[attr-defined]
    one = ["/m/here"]
    assert seen == {
        "before": ["/x", LookupError],
        "started": one,
        "finished": one,
        "generator": one * 2,
        "after": one,
        "teardown": one,
    }
    seen.clear()
    assert ask(app, "/m/object").content == b"<p>"  # type: ignore[attr-defined]
    assert seen["to_html"] == one
    assert ask(app, "/m/fail").status == 500
    assert seen["error"] == one
    assert ask(app, "/nowhere").status == 404
    assert seen["missing"] == ["/x", LookupError]


def test_the_query_is_read_back() -> None:
    """Whatever is in it."""
    app = site(it="/x")
    pairs = {"a b": "c&d", "e": "=+%", "ü": "☃", "": "x"}
    made = url(app, "it", **pairs)
    assert dict(parse_qsl(urlsplit(made).query, keep_blank_values=True)) == pairs


def test_the_name_of_the_manual() -> None:
    assert application.url_for is url_for


# --- What is no URL ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["ht tp", "http://evil/", "", "1http", "java\nscript"])
def test_a_scheme_that_is_none_is_a_mistake(scheme: str) -> None:
    """RFC 3986 §3.1."""
    with pytest.raises(ValueError, match="_scheme is a scheme"):
        run(site(it="/x"), lambda request: url_for("it", _scheme=scheme))


def test_an_argument_that_there_is_not_is_a_mistake() -> None:
    """It does not get into the query."""
    with pytest.raises(TypeError, match="no argument _externl"):
        run(site(it="/x"), lambda request: url_for("it", _externl=True))


@pytest.mark.parametrize("host", ["a'b", "a&b", "a;b", "a,b", "a(b)", "%61", "a*b"])
def test_a_host_that_is_no_name_does_not_get_into_urls(host: str) -> None:
    """A page may put the URL between single quotes. It is the client's fault: a 400."""
    app = Application()
    app.route("/", func=lambda request: url_for("<lambda>", _external=True))
    assert fetch(app, headers={"Host": host}).status == 400
    assert fetch(app, headers={"Host": "[::1]:8080"}).content == b"http://[::1]:8080/"


@pytest.mark.parametrize("rule, path", [("/x/<a>", "/x/.."), ("/x/<path:p>", "/x/a/../b"), ("/x/<path:p>", "/x/%2e/y")])
def test_a_visitor_cannot_have_dot_segments_in_urls(rule: str, path: str) -> None:
    """What url_for() refuses no route captures, so that it does not fail for a visitor's sake."""
    app = Application()
    app.route(rule, "it", func=lambda request, value: url_for("it", value))
    assert fetch(app, path).status == 404


def test_an_encoded_slash_beside_dots() -> None:
    """What can be captured can be put into a URL again."""
    app = Application()
    app.route("/x/<path:p>", "it", func=lambda request, value: url_for("it", value))
    assert fetch(app, "/x/..%2Fa").content == b"/x/..%2Fa"
