"""The converters of rules (manual: "Rule Variable Converters"), one by one, and those of a program."""

from __future__ import annotations

import doctest
from collections import namedtuple
from collections.abc import Iterator
from typing import Any

import pytest

import pants.web.converters
from pants.http import HTTPRequest, Refused
from pants.web import (
    Application,
    Converter,
    HTTPException,
    HTTPTransparentRedirect,
    abort,
    application,
    converters,
    register_converter,
)
from pants.web._rules import Rule
from pants.web.converters import find_converter, read_options
from tests.web.support import ask

REQUEST: Any = None  # Pants' own converters do not look at it


@pytest.fixture(autouse=True)
def own_converters() -> Iterator[None]:
    """Forgets the converters that a test registers."""
    before = dict(converters._registered)
    yield
    converters._registered.clear()
    converters._registered.update(before)


def taken(variable: str, text: str) -> Any:
    """What a variable makes of a string; `...` if it does not match."""
    rule = Rule(f"/<{variable}>")
    strings = rule.match("/" + text)
    return ... if strings is None else rule.decode(REQUEST, strings)[0]


# --- Pants' own -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "variable, text, value",
    [
        ("string:x", "ab c", "ab c"),
        ("string:x", "a/b", ...),
        ("string:x", "a\n", "a\n"),
        ("string(min=2):x", "a", ...),
        ("string(min=2):x", "ab", "ab"),
        ("string(max=2):x", "ab", "ab"),
        ("string(max=2):x", "abc", ...),
        ("string(2 3):x", "abc", "abc"),
        ("string(2 3):x", "abcd", ...),
        ("string(min=0):x", "", ""),
        ("string(length=2):x", "ab", "ab"),
        ("string(length=2):x", "a", ...),
        ("string(length=2):x", "abc", ...),
        ("string(min=5 max=9 length=2):x", "ab", "ab"),
        ("string(min=none max=None):x", "a", "a"),
        ("domainpart:x", "ab", "ab"),
        ("DomainPart:x", "a.b", ...),
        ("domainpart:x", "a/b", ...),
        ("domainpart(max=1):x", "ab", ...),
        ("path:x", "a/b\n/c", "a/b\n/c"),
        ("path:x", "", ...),
        ("int:x", "12", 12),
        ("int:x", "-12", -12),
        ("integer:x", "0012", 12),
        ("int:x", "+12", ...),
        ("int:x", "1.0", ...),
        ("int:x", "1_0", ...),
        ("int:x", "-", ...),
        ("int:x", "\u0661", ...),
        ("int:x", "12\n", ...),
        ("int(digits=3):x", "012", 12),
        ("int(digits=3):x", "-012", -12),
        ("int(digits=3):x", "12", ...),
        ("int(3):x", "1234", ...),
        ("int(min=3 max=4):x", "3", 3),
        ("int(min=3 max=4):x", "4", 4),
        ("int(min=2.5):x", "3", 3),
        ("float:x", "12", 12.0),
        ("float:x", "-12.5", -12.5),
        ("float:x", ".5", 0.5),
        ("float:x", "5.", ...),
        ("float:x", "1.2.3", ...),
        ("float:x", ".", ...),
        ("float:x", "1e5", ...),
        ("float:x", "nan", ...),
        ("float(min=1.5 max=2):x", "1.5", 1.5),
        ("float(-1 1):x", "-1", -1.0),
        ("any(call text im):x", "text", "text"),
        ("any(call text im):x", "texts", ...),
        ("any(call text im):x", "Text", ...),
        ("any(a.b):x", "axb", ...),
        ("any(007 1.50 true none):x", "007", "007"),
        ("any(007 1.50 true none):x", "1.50", "1.50"),
        ("any(007 1.50 true none):x", "true", "true"),
        ("any(007 1.50 true none):x", "none", "none"),
        ("any('a b' \"c'd\"):x", "a b", "a b"),
        ("any('a b' \"c'd\"):x", "c'd", "c'd"),
        ("any(a ab):x", "ab", "ab"),
        ("any('a/b'):x", "a/b", "a/b"),
        (r"regex('(\d{3}-\d{4})'):x", "555-1234", "555-1234"),
        (r"regex('(\d{3}-\d{4})') :x", "555-1234", "555-1234"),
        (r"regex('(\d{3}-\d{4})'):x", "555-123", ...),
        (r"regex('(\d{3})-(\d{4})'):x", "555-1234", ("555", "1234")),
        (r"regex('\d{3}'):x", "555", "555"),
        (r"regex('id-(\d+)'):x", "id-5", "5"),
        (r"regex(match='a|b'):x", "b", "b"),
        (r"regex('(?P<a>.)(?P=a)'):x", "bb", "b"),
        (r"regex('a(b)?'):x", "a", None),
        (r"regex(\d+):x", "5", "5"),
        (r"regex('a.*'):x", "a/b", "a/b"),
    ],
)
def test_values(variable: str, text: str, value: Any) -> None:
    """Manual: "Any", "DomainPart", "Float", "Integer", "Path", "Regex", "String"."""
    found = taken(variable, text)
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    "variable, text",
    [
        ("int(min=3):x", "2"),
        ("int(max=3):x", "4"),
        ("int(min=0):x", "-1"),
        ("int(digits=4 min=200):x", "0199"),
        ("float(min=1.5):x", "1.4"),
        ("float(max=1.5):x", "1.6"),
        ("float:x", "9" * 400),
        ("int:x", "9" * 5000),
    ],
)
def test_out_of_range_is_an_error(variable: str, text: str) -> None:
    """Manual: values outside of the range will result in an error, and not merely the rule not matching the URL."""
    with pytest.raises(ValueError, match=r"number|digits"):
        taken(variable, text)
    app = Application()
    app.route(f"/<{variable}>", "first", func=lambda request, x: "first")
    app.route("/<y>", "second", func=lambda request, y: "second")
    assert ask(app, "/" + text).status == 400


@pytest.mark.parametrize(
    "variable, pattern",
    [
        ("int(foo=1):x", "unexpected keyword argument 'foo'"),
        ("int(1 2 3 4):x", "positional arguments"),
        ("int(1 digits=2):x", "multiple values"),
        ("int(digits=2 digits=2):x", "the option digits is there twice"),
        ("int(1, 2):x", "spaces between them, not commas"),
        ("int(digits='2'):x", "digits is an int, not '2'"),
        ("int(digits=true):x", "digits is an int, not True"),
        ("int(digits=0):x", "digits is 1 or more, not 0"),
        ("int(digits=99999999999):x", "no regular expression"),
        ("int(min=a):x", "min is a number, not 'a'"),
        ("int(min=true):x", "min is a number, not True"),
        ("int(min=2 max=1):x", "min 2 is more than max 1"),
        ("int:x=abc", "the default 'abc' is none that it would match"),
        ("int:x=", "the default '' is none"),
        ("int(min=3):x=2", "the number is below 3"),
        ("float(max=3):x=3.5", "the number is above 3"),
        ("string(max=0):x", "max is 1 or more"),
        ("string(min=-1):x", "min is 0 or more"),
        ("string(length=0):x", "length is 1 or more"),
        ("string(min=3 max=2):x", "min 3 is more than max 2"),
        ("string(min=1.5):x", "min is an int, not 1.5"),
        ("path(1):x", "it takes no options"),
        ("any:x", "it needs the strings to choose from"),
        ("any():x", "it needs the strings to choose from"),
        ("any(a'b'):x", "options are values with spaces between them, not \"a'b'\""),
        ("any('a'b):x", "options are values with spaces between them"),
        ("regex:x", "missing 1 required positional argument: 'match'"),
        ("regex(5):x", "match is a string, not 5; put it in quotation marks"),
        ("regex(a 5):x", "namegen is a string, not 5"),
        ("regex('(a'):x", "no regular expression that can be a part of another: missing"),
        ("regex('a)(b'):x", "no regular expression that can be a part of another: unbalanced"),
        ("regex('(?i)a'):x", "can be a part of another: global flags"),
        (r"regex('(a)\1'):x", r"refer to a group by its name, as in \(\?P=name\)"),
        (r"regex('(a)?(?(1)b|c)'):x", "refer to a group by its name"),
    ],
)
def test_options_that_do_not_serve_raise(variable: str, pattern: str) -> None:
    with pytest.raises(ValueError, match=f"^the rule '/<.*{pattern}|^the rule \"/<.*{pattern}"):
        Application().route(f"/<{variable}>")


@pytest.mark.parametrize(
    "text, args, kwargs",
    [
        ("", [], {}),
        ("  ", [], {}),
        ("digits=4 min=200", [], {"digits": 4, "min": 200}),
        (" a  b ", ["a", "b"], {}),
        ("1 -2 +3 1.5 -.5 1. 1e3", [1, -2, 3, 1.5, -0.5, 1.0, 1000.0], {}),
        ("true false none True FALSE None", [True, False, None, True, False, None], {}),
        ("'1' \"true\" a='none'", ["1", "true"], {"a": "none"}),
        ("'a b' \"it's\" ''", ["a b", "it's", ""], {}),
        (r"'\d \\'", [r"\d \\"], {}),
        ("1_0 nan inf ١ a=b=c ü", ["1_0", "nan", "inf", "١", "ü"], {"a": "b=c"}),
        ("a 'b)<>(' c=d", ["a", "b)<>("], {"c": "d"}),
    ],
)
def test_options(text: str, args: list[Any], kwargs: dict[str, Any]) -> None:
    """Manual: separate values are separated by spaces, strings may be enclosed within quotation marks, true, false and
    none are converted, and so are integers and floats; arguments may be passed by order or by key.
    """
    found = read_options(text)
    assert found == (args, kwargs)
    assert list(map(type, found[0])) == list(map(type, args))
    assert list(map(type, found[1].values())) == list(map(type, kwargs.values()))


@pytest.mark.parametrize(
    "variable, value, text",
    [
        ("string", "a b", "a b"),
        ("any(a b)", "a", "a"),
        ("int", -5, "-5"),
        ("int", True, "1"),
        ("int(digits=3)", 5, "005"),
        ("int(digits=3)", -5, "-005"),
        ("float", 1.5, "1.5"),
        ("regex(a)", "a", "a"),
        (r"regex('(\d+)-(\d+)' '%03d-%d')", (5, 6), "005-6"),
        (r"regex('id-(\d+)' namegen='id-%s')", 5, "id-5"),
    ],
)
def test_encode(variable: str, value: Any, text: str) -> None:
    """Manual: encode() encodes a value into a URL-friendly string; "namegen": the string format to use."""
    converter = Rule(f"/<{variable}:x>").variables[0].converter
    assert converter.encode(REQUEST, value) == text


# --- A program's own --------------------------------------------------------------------------------------------------

PhoneNumber = namedtuple("PhoneNumber", ["npa", "nxx", "subscriber", "ext"])

PHONE_NUMBER = (
    r"(?:1[ -]*)?(?:\(? *([2-9][0-9]{2}) *\)?[ -]*)?([2-9](?:1[02-9]|[02-9][0-9]))[ -]*(\d{4})(?:[ -]*e?xt?[ -]*(\d+))?"
)


def test_the_converter_of_the_manual() -> None:
    """Manual: "Writing a Variable Converter", its three steps with its own expressions."""

    @register_converter
    class Telephone(Converter):
        regex = r"(\d{3})-(\d{4})"

    assert taken("telephone:number", "555-1234") == ("555", "1234")

    class Converted(Converter):
        regex = PHONE_NUMBER

        def decode(self, request: HTTPRequest, *values: Any) -> PhoneNumber:
            return PhoneNumber(*(int(x) if x else None for x in values))

    assert register_converter("Telephone", Converted) is Converted
    app = Application()

    @app.route("/tel/<telephone:number>")
    def tel(request: HTTPRequest, number: PhoneNumber) -> str:
        return repr(number)

    for path, values in {
        "/tel/555-234-5678x115": (555, 234, 5678, 115),
        "/tel/234-5678": (None, 234, 5678, None),
        "/tel/1(555)%20234-5678": (555, 234, 5678, None),
    }.items():
        assert ask(app, path).content.decode() == repr(PhoneNumber(*values))  # type: ignore[attr-defined]
    assert ask(app, "/tel/234").status == 404


def test_configure() -> None:
    """Manual, "configure": receives the options as positional and keyword arguments, and saves a regular expression as
    the instance's regex. "default": the string provided with the variable declaration.
    """
    seen: list[Any] = []

    @register_converter("Two")
    class Pair(Converter):
        def configure(self, *args: Any, **kwargs: Any) -> None:
            seen.append((self.default, args, kwargs))
            self.regex = "([a-z])([a-z])" if args else "[a-z]"

    assert taken("two(1 'a b' key=none):x=yz", "ab") == ("a", "b")
    assert taken("TWO:x", "a") == "a"
    assert seen == [("yz", (1, "a b"), {"key": None}), (None, (), {})]


def test_the_options_of_the_manual() -> None:
    """Manual: ``<id(digits=4 min=200):id>``, with a converter of the program's; out of its range it is an error."""
    register_converter("Id", find_converter("int"))
    assert taken("id(digits=4 min=200):id", "0200") == 200
    assert taken("ID(digits=4 min=200):id", "200") is ...
    with pytest.raises(ValueError, match="below 200"):
        taken("id(digits=4 min=200):id", "0199")


def test_any_before_an_integer() -> None:
    """Manual, "Any": URLs starting with /call/, /text/ or /im/, followed by an integer."""
    app = Application()
    app.route("/<any(call text im):action>/<int:id>", func=lambda request, action, number: f"{action} {number + 1}")
    for action in ("call", "text", "im"):
        assert ask(app, f"/{action}/5").content == f"{action} 6".encode()  # type: ignore[attr-defined]
    for path in ("/fax/5", "/call/x", "/call/", "/call", "/calltext/5"):
        assert ask(app, path).status == 404


def test_defaults_are_decoded_each_time() -> None:
    """Manual: default values "are processed via the converter's decode() method each time the rule is matched"."""
    seen: list[Any] = []

    @register_converter
    class Tags(Converter):
        regex = "[a-z+]+"

        def decode(self, request: HTTPRequest, *values: Any) -> list[str]:
            seen.append((request.path, values))
            return str(values[0]).split("+")

    app = Application()

    @app.route("/x/<tags:tags=a+b>/<int:page=1>")
    def view(request: HTTPRequest, tags: list[str], page: int) -> str:
        tags.append("more")  # which is for this request alone
        return f"{tags} {page}"

    for path in ("/x/", "/x/c/", "/x/", "/x/c/2"):
        assert ask(app, path).status == 200
    assert seen == [("/x/", ("a+b",)), ("/x/c/", ("c",)), ("/x/", ("a+b",)), ("/x/c/2", ("c",))]
    assert ask(app, "/x/").content == b"['a', 'b', 'more'] 1"  # type: ignore[attr-defined]


def failing(exception: BaseException) -> Application:
    """An application with a route, whose converter raises."""

    @register_converter
    class Failing(Converter):
        regex = "[a-z]+"

        def decode(self, request: HTTPRequest, *values: Any) -> Any:
            raise exception

    app = Application()
    app.route("/x/<failing:a=b>", "first", func=lambda request, a: "first")
    app.route("/x/<a>", "second", func=lambda request, a: "second")
    app.route("/to/<a>", "to", func=lambda request, a: f"to {a}")
    return app


@pytest.mark.parametrize("path", ["/x/abc", "/x/"])
@pytest.mark.parametrize(
    "exception, status",
    [
        (ValueError("x"), 400),
        (KeyError("x"), 400),
        (ZeroDivisionError(), 400),
        (RecursionError(), 400),
        (OSError(), 400),
        (StopIteration(), 400),
        (HTTPException(403, "Nobody's business"), 403),
        (HTTPException(), 404),
        (HTTPException(503), 503),
        (Refused(413, "Too much"), 413),
    ],
)
def test_exceptions_in_decode(exception: Exception, status: int, path: str) -> None:
    """Manual, "decode": use abort() or raise an HTTPException to display an error page; any other uncaught exceptions
    will result in a 400 Bad Request page. No other rule is tried, and nothing is logged.
    """
    answer: Any = ask(failing(exception), path)
    assert answer.status == status
    assert b"first" not in answer.content
    assert b"second" not in answer.content


def test_abort_in_decode() -> None:
    @register_converter
    class Known(Converter):
        regex = "[a-z]+"

        def decode(self, request: HTTPRequest, *values: Any) -> Any:
            return values[0] if values[0] == "ada" else abort(410, "Gone & forgotten", {"X-Why": "time"})

    app = Application()
    app.route("/<known:name>", func=lambda request, name: name)
    assert ask(app, "/ada").content == b"ada"  # type: ignore[attr-defined]
    answer: Any = ask(app, "/bob")
    assert (answer.status, answer.headers["X-Why"]) == (410, "time")
    assert b"Gone &amp; forgotten" in answer.content


def test_a_transparent_redirect_in_decode() -> None:
    """Manual, "HTTPTransparentRedirect": silently redirect a request to a new URL."""
    assert ask(failing(HTTPTransparentRedirect("/to/5")), "/x/abc").content == b"to 5"  # type: ignore[attr-defined]


def test_the_request_is_given_to_decode() -> None:
    """Docstring of `request_started`: it runs before values are made, so that converters may use what it has set."""

    @register_converter
    class Mine(Converter):
        regex = "[a-z]+"

        def decode(self, request: HTTPRequest, *values: Any) -> Any:
            return f"{request.user} {values[0]} {request.match.groups()}"  # type: ignore[attr-defined]

    app = Application()
    app.request_started(lambda request: setattr(request, "user", "ada"))
    app.route("/<mine:a>/<b>", func=lambda request, a, b: a)
    assert ask(app, "/x/y").content == b"ada x ('x', 'y')"  # type: ignore[attr-defined]


def test_one_that_is_out_of_range_is_an_error_behind_others_that_match() -> None:
    """DESIGN §3: out of range is an error only for min and max; digits and the lengths are part of the match."""
    app = Application()
    app.route("/<int(digits=2):a>", "digits", func=lambda request, a: f"digits {a}")
    app.route("/<string(length=3):a>", "length", func=lambda request, a: f"length {a}")
    app.route("/<float(min=1 max=2000):a>", "range", func=lambda request, a: f"range {a}")
    app.route("/<a>", "rest", func=lambda request, a: f"rest {a}")
    contents = {path: ask(app, path) for path in ("/12", "/123", "/1234", "/abcd", "/5678", "/0", "/-1")}
    assert {path: answer.content if answer.status == 200 else answer.status for path, answer in contents.items()} == {  # type: ignore[attr-defined]
        "/12": b"digits 12",
        "/123": b"length 123",
        "/1234": b"range 1234.0",
        "/abcd": b"rest abcd",
        "/5678": 400,
        "/0": 400,
        "/-1": 400,
    }


def test_a_default_is_taken_apart_as_what_is_captured() -> None:
    """Manual: defaults are processed via decode(), which receives an argument for each group."""

    @register_converter
    class Pair(Converter):
        regex = "([a-z])([a-z])"

    def default(variable: str) -> Any:
        rule = Rule(f"/<{variable}>/<int:y=5>")
        return rule.decode(REQUEST, rule.match("/") or ())

    assert default("pair:x=yz") == [("y", "z"), 5]
    assert default("pair:x=other") == ["other", 5]


def test_what_is_known_of_pants_own_is_not_believed_of_a_subclass() -> None:
    @register_converter
    class Slug(find_converter("string")):  # type: ignore[misc]
        def configure(self) -> None:
            self.regex = "[a-z]+"

    rule = Rule("/<slug:x>-<y>")
    assert rule.match("/a-b-c") == ("a", "b-c")
    assert rule.match("/A-b") is None


@pytest.mark.parametrize("how", ["bare", "empty", "name", "keyword", "function"])
def test_registering(how: str) -> None:
    """Manual, "register_converter": if a name is not provided, the class name is converted to lowercase."""

    class Mine(Converter):
        regex = "[0-9]"

    name = "mine"
    if how == "bare":
        assert register_converter(Mine) is Mine
    elif how == "empty":
        assert register_converter()(Mine) is Mine
    elif how == "name":
        name = "my_own"
        assert register_converter("My_Own")(Mine) is Mine
    elif how == "keyword":
        assert register_converter(klass=Mine) is Mine
    else:
        name = "yours"
        assert register_converter("yours", Mine) is Mine
    assert taken(f"{name}:x", "5") == "5"
    assert find_converter(name.upper()) is Mine


class NoRegex(Converter):
    pass


def test_a_mistake_raises_at_registration() -> None:
    with pytest.raises(TypeError, match=r"a subclass of pants\.web\.Converter, not 'a'"):
        register_converter("name", "a")  # type: ignore[call-overload]
    with pytest.raises(TypeError, match=r"a subclass of pants\.web\.Converter, not <class 'int'>"):
        register_converter(int)  # type: ignore[type-var]
    with pytest.raises(TypeError, match=r"a subclass of pants\.web\.Converter"):
        register_converter("name")(lambda: None)  # type: ignore[type-var]
    with pytest.raises(TypeError, match="the name of a converter is a str, not 5"):
        register_converter(5)  # type: ignore[call-overload]
    with pytest.raises(ValueError, match="letters, digits and underscores, unlike 'a-b'"):
        register_converter("a-b", NoRegex)
    with pytest.raises(ValueError, match="'int' is one of Pants' own converters; register yours by another name"):
        register_converter("Int", NoRegex)
    register_converter(NoRegex)
    with pytest.raises(ValueError, match="<noregex:x>: NoRegex has no regex"):
        Rule("/<noregex:x>")
    with pytest.raises(ValueError, match="it takes no options"):
        Rule("/<noregex(a):x>")


def test_the_names_of_the_manual() -> None:
    """Manual: `pants.web.Converter`, `pants.web.application.register_converter` and so on."""
    assert application.Converter is Converter
    assert application.register_converter is register_converter


def test_the_examples() -> None:
    result = doctest.testmod(pants.web.converters)
    assert result.attempted
    assert not result.failed
