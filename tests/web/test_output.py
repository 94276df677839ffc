"""What views return, and what is sent for it (manual: "Output Handling"; DESIGN §3)."""

from __future__ import annotations

import datetime as dt
import json
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import pytest

from pants.http import HTTPRequest
from pants.web import Application, Response, abort, redirect
from pants.web.application import Response as ResponseOfTheManual
from tests.conftest import ExpectedLog
from tests.web.support import Answer, asking, connected, fetch

TEXT = "text/plain; charset=UTF-8"
HTML = "text/html; charset=UTF-8"
JSON = "application/json"

# What is logged of a view that has returned what cannot be sent: issue and DESIGN ask for the route's name.
FAILED = r"The route 'view' \(/\) failed, on <HTTPRequest GET /\>\n(.|\n)*"


def returning(
    output: Any, method: str = "GET", json_default: Callable[[Any], Any] | None = None, **route: Any
) -> Answer:
    """The answer to a route whose function returns something."""
    app = Application()
    app.json_default = json_default

    def view(request: HTTPRequest) -> Any:
        return output

    app.route("/", **route)(view)
    return fetch(app, "/", method)


def summary(answer: Answer) -> tuple[int, str | None, bytes]:
    return answer.status, answer.headers["Content-Type"], answer.content


# --- Bodies -----------------------------------------------------------------------------------------------------------


def test_the_example_of_the_manual() -> None:
    """Manual: 200 OK, text/plain and Content-Length: 13; DESIGN §3: str adds the charset."""
    answer = returning("Hello, World!")
    assert (answer.status, answer.reason) == (200, "OK")
    assert answer.headers["Content-Type"].startswith("text/plain")
    assert answer.headers["Content-Length"] == "13"
    assert answer.content == b"Hello, World!"


class Page:
    def __init__(self, html: Any) -> None:
        self.html = html

    def to_html(self) -> Any:
        return self.html

    def __str__(self) -> str:
        return "not this"


class Pages(dict[str, str]):
    def to_html(self) -> str:
        return "<p>pages"


class Fish:
    def __str__(self) -> str:
        return "<!DOCTYPE fish> ☃"


class Text(str):
    """A str of the program's own, as template engines return."""


OUTPUT: dict[str, tuple[Any, int, str | None, bytes]] = {
    # Manual: "Strings work well"; in UTF-8 by default, and the type updated.
    "a str": ("Hello, World!", 200, TEXT, b"Hello, World!"),
    "a str beyond ASCII": ("ä☃", 200, TEXT, "ä☃".encode()),
    "a str beyond the BMP": ("\U0001f41f", 200, TEXT, "\U0001f41f".encode()),
    "an empty str": ("", 200, TEXT, b""),
    "a subclass of str": (Text("a"), 200, TEXT, b"a"),
    "a subclass of str, a document": (Text("<html>"), 200, HTML, b"<html>"),
    # Manual: "begins with <!DOCTYPE or <html"; in HTML their case does not matter, nor do blanks before them.
    "a document": ("<!DOCTYPE html><p>ä", 200, HTML, "<!DOCTYPE html><p>ä".encode()),
    "a document in lower case": ("<!doctype html>", 200, HTML, b"<!doctype html>"),
    "a document without its type": ("<html>", 200, HTML, b"<html>"),
    "a document with attributes": ('<HTML lang="en">', 200, HTML, b'<HTML lang="en">'),
    "a document behind blanks": ("\n  \t<!DOCTYPE html>", 200, HTML, b"\n  \t<!DOCTYPE html>"),
    "a document in bytes": (b"<!DOCTYPE html>", 200, "text/html", b"<!DOCTYPE html>"),
    "a document in bytes, behind blanks": (b"\r\n<html>", 200, "text/html", b"\r\n<html>"),
    "what only looks like it": ("<p>html</p>", 200, TEXT, b"<p>html</p>"),
    "another tag": ("<htmlx>", 200, TEXT, b"<htmlx>"),
    "a document further on": ("a <!DOCTYPE html>", 200, TEXT, b"a <!DOCTYPE html>"),
    "blanks": ("   ", 200, TEXT, b"   "),
    "a less-than sign": ("<", 200, TEXT, b"<"),
    # bytes are sent as they are; nobody knows their charset.
    "bytes": (b"a\xff", 200, "text/plain", b"a\xff"),
    "no bytes": (b"", 200, "text/plain", b""),
    "a bytearray": (bytearray(b"a"), 200, "text/plain", b"a"),
    "a memoryview": (memoryview(b"abcd")[::2], 200, "text/plain", b"ac"),
    "a memoryview of a document": (memoryview(b"<html>"), 200, "text/html", b"<html>"),
    # Manual: "Dictionaries, lists, and tuples will be automatically converted into JSON"; RFC 8259 §11: no charset.
    "a dict": ({"a": [1, None, True, 1.5]}, 200, JSON, b'{"a":[1,null,true,1.5]}'),
    "an empty dict": ({}, 200, JSON, b"{}"),
    "a subclass of dict": (OrderedDict(a=1), 200, JSON, b'{"a":1}'),
    "a list": (["ä", "☃"], 200, JSON, '["ä","☃"]'.encode()),
    "an empty list": ([], 200, JSON, b"[]"),
    "a tuple": (("a", "b"), 200, JSON, b'["a","b"]'),
    "an empty tuple": ((), 200, JSON, b"[]"),
    "a tuple of one": (("a",), 200, JSON, b'["a"]'),
    "a tuple of four": (("a", 404, {}, 1), 200, JSON, b'["a",404,{},1]'),
    "a list of text and a status": (["a", 404], 200, JSON, b'["a",404]'),
    # Manual: "any other object": str() of it.
    "an int": (5, 200, TEXT, b"5"),
    "nought": (0, 200, TEXT, b"0"),
    "a float": (1.5, 200, TEXT, b"1.5"),
    "a bool": (False, 200, TEXT, b"False"),
    "a set": ({1}, 200, TEXT, b"{1}"),
    "a range": (range(2), 200, TEXT, b"range(0, 2)"),
    # Manual: to_html() is called rather than str(), and the type is text/html.
    "to_html": (Page("<p>ä"), 200, HTML, "<p>ä".encode()),
    "to_html in bytes": (Page(b"<p>"), 200, "text/html", b"<p>"),
    "to_html of a dict": (Pages(a="b"), 200, HTML, b"<p>pages"),
    # DESIGN §3: None is 204.
    "nothing": (None, 204, None, b""),
}


@pytest.mark.parametrize("name", OUTPUT)
def test_output(name: str) -> None:
    """Manual: "Output Handling", "Response Body"; DESIGN §3: str adds the charset, None is 204."""
    output, status, content_type, content = OUTPUT[name]
    answer = returning(output)
    assert summary(answer) == (status, content_type, content)
    assert answer.headers["Content-Length"] == (None if status == 204 else str(len(content)))


@pytest.mark.parametrize("name", OUTPUT)
def test_output_by_the_other_ways(name: str) -> None:
    """A Response with the same body, and a tuple with it, are the same answer, but for the status of the tuple."""
    output, status, content_type, content = OUTPUT[name]
    assert summary(returning(Response(output))) == (status, content_type, content)
    answer = returning((output, 203))
    assert (answer.status, answer.content) == (203, content)
    if output is not None:
        assert answer.headers["Content-Type"] == content_type


@pytest.mark.parametrize("name", OUTPUT)
def test_output_for_head(name: str) -> None:
    """RFC 9110 §9.3.2: the same fields as with GET, and no content."""
    output, status, content_type, content = OUTPUT[name]
    answer = returning(output, "HEAD")
    assert summary(answer) == (status, content_type, b"")
    assert answer.headers["Content-Length"] == (None if status == 204 else str(len(content)))


def test_other_objects_are_sent_as_str() -> None:
    """Manual: "attempt to cast it into a byte string using str(object)"."""
    assert returning(Fish()).content == "<!DOCTYPE fish> ☃".encode()
    assert returning(dt.date(2013, 1, 2)).content == b"2013-01-02"


# --- JSON -------------------------------------------------------------------------------------------------------------


def test_json_is_not_escaped_without_need() -> None:
    """RFC 8259 §8.1: UTF-8."""
    value = {"ä": "☃\U0001f41f", "<": '"\\\n\x00', "1": [[], {}]}
    answer = returning(value)
    assert json.loads(answer.content) == value
    assert "ä".encode() in answer.content


def test_json_of_half_a_surrogate_pair() -> None:
    """A visitor can send one; RFC 8259 §8.2: JSON has an escape for it, and UTF-8 none."""
    answer = returning({"a": "\ud83d ä"})
    assert answer.status == 200
    assert json.loads(answer.content.decode("utf-8")) == {"a": "\ud83d ä"}


@pytest.mark.parametrize(
    "output, error",
    [
        ({"a": float("nan")}, "ValueError"),  # RFC 8259 §6
        ([float("inf")], "ValueError"),
        ([float("-inf")], "ValueError"),
        ({"a": dt.date(2013, 1, 2)}, "TypeError"),
        ({("a", "b"): 1}, "TypeError"),
        ([{1}], "TypeError"),
        ([b"a"], "TypeError"),
        ([object()], "TypeError"),
    ],
)
def test_what_json_has_not_is_an_error(output: Any, error: str, expect_log: ExpectedLog) -> None:
    """A return value that can't be sent gives a 500 with a log entry that names the route."""
    expect_log(FAILED + error)
    assert returning(output).status == 500


def test_json_that_contains_itself_is_an_error(expect_log: ExpectedLog) -> None:
    expect_log(FAILED)
    output: list[Any] = []
    output.append(output)
    assert returning(output).status == 500


def test_json_default() -> None:
    """`Application.json_default`: makes something that JSON has of what it has not."""
    output = {"day": dt.date(2013, 1, 2), "other": 1}
    answer = returning(output, json_default=lambda value: value.isoformat())
    assert json.loads(answer.content) == {"day": "2013-01-02", "other": 1}


def test_json_default_that_does_not_know_either(expect_log: ExpectedLog) -> None:
    expect_log(FAILED + "TypeError: what is this")

    def default(value: Any) -> Any:
        raise TypeError("what is this")

    assert returning([object()], json_default=default).status == 500


def test_json_default_of_a_class() -> None:
    class Mine(Application):
        def json_default(self, value: Any) -> Any:
            return str(value)

    app = Mine()
    app.route("/", func=lambda request: [dt.date(2013, 1, 2)])
    assert fetch(app).content == b'["2013-01-02"]'


# --- Status and headers -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "output, status, reason, content",
    [
        # The manual's own.
        (("This does not exist.", 404), 404, "Not Found", b"This does not exist."),
        (("a", 201), 201, "Created", b"a"),
        # Manual: "an integer or a byte string"; DESIGN §3: or a str like "404 Not Found".
        (("a", b"404 Not Found"), 404, "Not Found", b"a"),
        (("a", "404 Not Found"), 404, "Not Found", b"a"),
        (("a", b"404"), 404, "Not Found", b"a"),
        (("a", "404"), 404, "Not Found", b"a"),
        (("a", 404, None), 404, "Not Found", b"a"),
        (("a", 404, {}), 404, "Not Found", b"a"),
        (("a", 404, []), 404, "Not Found", b"a"),
        (((1, 2), 200), 200, "OK", b"[1,2]"),
        ((["a", 404], 500), 500, "Internal Server Error", b'["a",404]'),
        (({}, 418), 418, "I'm a Teapot", b"{}"),
        ((5, 202), 202, "Accepted", b"5"),
        ((None, 200), 200, "OK", b""),
        ((None, 404), 404, "Not Found", b""),
        ((None, 201, {"Location": "/a"}), 201, "Created", b""),
        # No status, so JSON (DESIGN §3).
        (("a", True), 200, "OK", b'["a",true]'),
        (("a", None), 200, "OK", b'["a",null]'),
        (("a", 404.0), 200, "OK", b'["a",404.0]'),
        (("a", {"X-One": "1"}), 200, "OK", b'["a",{"X-One":"1"}]'),
        (("a", "b"), 200, "OK", b'["a","b"]'),
        (("a", "b", "c"), 200, "OK", b'["a","b","c"]'),
        (("a", "4040"), 200, "OK", b'["a","4040"]'),
        (("a", "404Not"), 200, "OK", b'["a","404Not"]'),
        (("a", ""), 200, "OK", b'["a",""]'),
        (("a", " 404"), 200, "OK", b'["a"," 404"]'),
        (("a", "\uff14\uff10\uff14"), 200, "OK", '["a","\uff14\uff10\uff14"]'.encode()),
    ],
)
def test_a_status(output: Any, status: int, reason: str, content: bytes) -> None:
    answer = returning(output)
    assert (answer.status, answer.reason.lower(), answer.content) == (status, reason.lower(), content)


@pytest.mark.parametrize("code", [200, 202, 226, 299, 300, 307, 400, 418, 451, 499, 500, 511, 599])
def test_all_codes_can_be_sent_by_their_numbers(code: int) -> None:
    """Manual: "All valid HTTP response codes may be sent simply by using their numbers"."""
    for output in (("a", code), Response("a", code)):
        answer = returning(output)
        assert (answer.status, answer.content) == (code, b"a")


@pytest.mark.parametrize("code", [204, 205, 304])
def test_a_code_without_content(code: int) -> None:
    """RFC 9110 §15.3.5, §15.3.6, §15.4.5."""
    answer = returning(("a", code, {"X-One": "1"}))
    assert (answer.status, answer.content, answer.headers["X-One"]) == (code, b"", "1")
    assert answer.headers["Content-Length"] == ("0" if code == 205 else None)


@pytest.mark.parametrize("code", [0, 7, 99, 100, 101, 199, 600, 1000, -1])
def test_a_code_that_is_none_is_an_error(code: Any, expect_log: ExpectedLog) -> None:
    expect_log(FAILED)
    assert returning(("a", code)).status == 500


@pytest.mark.parametrize(
    "headers, sent",
    [
        ({"X-One": "1", "X-Two": "2"}, [("X-One", "1"), ("X-Two", "2")]),
        ([("X-One", "1"), ("X-Two", "2")], [("X-One", "1"), ("X-Two", "2")]),
        ((("X-One", "1"),), [("X-One", "1")]),
        ([("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")], [("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")]),
        ({"Set-Cookie": ["a=1", "b=2"]}, [("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")]),
        ({"X-Number": 5}, [("X-Number", "5")]),
        ({"X-Empty": ""}, [("X-Empty", "")]),
        ({"X-Latin": "\xe4"}, [("X-Latin", "\xe4")]),
    ],
)
def test_headers(headers: Any, sent: list[tuple[str, str]]) -> None:
    """Manual: "either a dictionary, or a list of tuples containing key/value pairs"."""
    for output in (("a", 200, headers), Response("a", headers=headers), Response("a", 200, headers)):
        answer = returning(output)
        assert answer.status == 200
        names = {name.lower() for name, _ in sent}
        assert [(name, value) for name, value in answer.getheaders() if name.lower() in names] == sent


@pytest.mark.parametrize(
    "headers",
    [
        "X-One: 1",
        5,
        ["X-One"],
        [("X-One",)],
        [("X-One", "1", "2")],
        {"X-One": None},
        {"X-One": object()},
        {5: "1"},
        {"X-One": "1\r\nX-Two: 2"},
        {"X-One\r\n": "1"},
        {"X One": "1"},
        {"X-One": "\u2603"},
        {"": "1"},
        {"Content-Length": "1"},  # the server's (RFC 9112 §6)
        {"Transfer-Encoding": "chunked"},
        {"Content-Type": "text/plain\n"},
        {"Content-Type": "text/plain; charset=x-none"},
    ],
)
def test_headers_that_cannot_be_sent_are_an_error(headers: Any, expect_log: ExpectedLog) -> None:
    expect_log(FAILED + "(TypeError|ValueError|LookupError)")
    answer = returning(("a", 200, headers))
    assert answer.status == 500
    assert "X-Two" not in answer.headers


# --- Content-Type -----------------------------------------------------------------------------------------------------

TYPES = [
    ("ä", "text/css", "text/css; charset=UTF-8", "ä".encode()),
    ("ä", "text/css; charset=latin-1", "text/css; charset=latin-1", b"\xe4"),
    ("ä", "text/css;Charset=ISO-8859-1", "text/css;Charset=ISO-8859-1", b"\xe4"),
    ("ä", 'text/css; charset="iso-8859-1"', 'text/css; charset="iso-8859-1"', b"\xe4"),
    ("ä", "text/css; x=y; charset=utf-16-le", "text/css; x=y; charset=utf-16-le", b"\xe4\0"),
    ("<html>", "text/plain", TEXT, b"<html>"),
    (b"<html>", "text/plain", "text/plain", b"<html>"),
    (b"\xe4", "text/css", "text/css", b"\xe4"),
    (b"\xe4", "text/css; charset=utf-8", "text/css; charset=utf-8", b"\xe4"),
    ({"a": 1}, "application/problem+json", "application/problem+json", b'{"a":1}'),
    (Page("<p>"), "application/xhtml+xml", "application/xhtml+xml; charset=UTF-8", b"<p>"),
    (5, "text/x-number", "text/x-number; charset=UTF-8", b"5"),
]


@pytest.mark.parametrize("output, content_type, sent, content", TYPES)
def test_a_content_type(output: Any, content_type: str, sent: str, content: bytes) -> None:
    """Manual: a unicode string is encoded as the Content-Type says, else in UTF-8, and the type updated."""
    answers = [
        returning(output, content_type=content_type),
        returning(output, headers={"content-type": content_type}),
        returning((output, 200, {"CONTENT-TYPE": content_type})),
        returning((output, 200, [("content-Type", content_type)])),
        returning(Response(output, headers={"Content-Type": content_type})),
    ]
    for answer in answers:
        assert summary(answer) == (200, sent, content)
        assert answer.headers.get_all("Content-Type") == [sent]


def test_what_a_view_sets_goes_before_what_its_route_sets() -> None:
    """Manual: "Any headers set within the request handler will override these headers"; the same of content_type."""
    route: Any = {"headers": {"X-One": "1", "X-Two": "2"}, "content_type": "text/css"}
    answer = returning("a", **route)
    assert (answer.headers["X-One"], answer.headers["X-Two"]) == ("1", "2")
    output = Response("a", headers=[("x-one", "own"), ("X-One", "more"), ("Content-type", "text/x-own; charset=utf-8")])
    answer = returning(output, **route)
    assert answer.headers.get_all("X-One") == ["own", "more"]
    assert answer.headers.get_all("X-Two") == ["2"]
    assert answer.headers.get_all("Content-Type") == ["text/x-own; charset=utf-8"]


def test_the_headers_of_a_route() -> None:
    """Manual: "headers": always sent with the response from this request handler."""
    for output in ("a", b"a", None, {"a": 1}, ("a", 404), Response("a"), Page("<p>"), 5, iter(["a"])):
        assert returning(output, headers={"X-One": "1"}).headers["X-One"] == "1"


def test_a_character_that_the_charset_lacks_is_an_error(expect_log: ExpectedLog) -> None:
    expect_log(FAILED + "UnicodeEncodeError")
    assert returning("☃", content_type="text/plain; charset=latin-1").status == 500


@pytest.mark.parametrize(
    "output", ["a\ud83d", ("a\ud83d", 201), Response("a\ud83d"), Page("<p>\ud83d"), [Text("\ud83d")]]
)
def test_half_a_surrogate_pair_is_no_error(output: Any) -> None:
    """A visitor's bad input never gives a 500; JSON that was sent may contain one, and UTF-8 may not."""
    answer = returning(output)
    assert answer.status in (200, 201)
    answer.content.decode("utf-8")


# --- Response ---------------------------------------------------------------------------------------------------------


def test_a_response_is_what_the_manual_calls_it() -> None:
    """Manual: "pants.web.application.Response"."""
    assert ResponseOfTheManual is Response


def test_the_attributes_of_a_response() -> None:
    response = Response("a", "404 Not Found", {"x-one": "1"})
    assert (response.body, response.status, response.headers["X-One"]) == ("a", 404, "1")
    response.body, response.status = {"b": 2}, 202
    response.headers["X-Two"] = "2"
    answer = returning(response)
    assert summary(answer) == (202, JSON, b'{"b":2}')
    assert (answer.headers["X-One"], answer.headers["X-Two"]) == ("1", "2")
    empty = Response()
    assert (empty.body, empty.status, list(empty.headers)) == (None, None, [])
    assert returning(empty).status == 204
    assert "Response" in repr(empty)


@pytest.mark.parametrize(
    "error, args",
    [
        (TypeError, ("a", 4.5)),
        (ValueError, ("a", "Not Found")),
        (ValueError, ("a", 100)),
        (ValueError, ("a", 600)),
        (TypeError, ("a", 200, 5)),
        (ValueError, ("a", 200, {"X-One": "\n"})),
    ],
)
def test_a_mistake_in_a_response_raises_at_the_call(error: type[Exception], args: Any) -> None:
    with pytest.raises(error):
        Response(*args)


def test_a_response_can_be_sent_again() -> None:
    app = Application()
    response = Response("a", 201, {"X-One": "1"})
    app.route("/", func=lambda request: response)
    assert summary(fetch(app)) == summary(fetch(app)) == (201, TEXT, b"a")


def test_a_response_in_a_response_is_an_error(expect_log: ExpectedLog) -> None:
    expect_log(FAILED + "TypeError")
    assert returning(Response(Response("a"))).status == 500


@pytest.mark.parametrize(
    "output", [(Response("own"), 404), (redirect("/a"), 303), (Response("own"), 404, {"X-One": "1"})]
)
def test_a_response_in_a_tuple(output: Any, expect_log: ExpectedLog) -> None:
    """It is an error; it is not sent as what repr() says of it."""
    expect_log(FAILED + "TypeError")
    answer = returning(output)
    assert b"<Response" not in answer.content


# --- What cannot be sent ----------------------------------------------------------------------------------------------


class Broken:
    def __str__(self) -> str:
        raise ZeroDivisionError


class Failing:
    def to_html(self) -> str:
        raise ZeroDivisionError


async def coroutine() -> str:
    return "a"


async def async_generator() -> Any:
    yield "a"


@pytest.mark.parametrize(
    "make, error",
    [
        (Broken, "ZeroDivisionError"),
        (Failing, "ZeroDivisionError"),
        (lambda: Page(5), "TypeError: to_html"),
        (lambda: Page(None), "TypeError: to_html"),
        (lambda: Page({}), "TypeError: to_html"),
        (coroutine, "TypeError"),
        (async_generator, "TypeError"),
    ],
)
def test_what_cannot_be_sent_is_an_error(make: Any, error: str, expect_log: ExpectedLog) -> None:
    """A return value that can't be sent gives a 500 with a log entry that names the route."""
    expect_log(FAILED + error)
    answer = returning(make())
    assert answer.status == 500
    assert b"500 Internal Server Error" in answer.content
    assert error.encode() not in answer.content


# --- Views that answer by themselves ----------------------------------------------------------------------------------


def test_a_view_may_answer_by_itself() -> None:
    """DESIGN §3: None is nothing at all where the handler sent by itself."""
    app = Application()

    @app.route("/")
    def view(request: HTTPRequest) -> None:
        request.send_response("by itself", 201)

    answer = fetch(app)
    assert (answer.status, answer.content) == (201, b"by itself")


def test_a_view_may_begin_to_answer_by_itself() -> None:
    app = Application()

    @app.route("/")
    def view(request: HTTPRequest) -> None:
        request.send_status(201)
        request.send_headers({"X-One": "1"})
        request.send("a")
        request.connection.engine.defer(1, request.finish)

    with connected(app) as (engine, peer):
        peer.send(asking())
        assert peer.received.endswith(b"\r\na\r\n")
        engine.advance(1)
        answer = Answer(peer.received)
    assert (answer.status, answer.content, answer.headers["X-One"]) == (201, b"a", "1")


@pytest.mark.parametrize("output", ["twice", b"twice", {"a": 1}, ("twice", 200), Response("twice")])
def test_a_view_cannot_answer_twice(output: Any, expect_log: ExpectedLog) -> None:
    expect_log(r"route 'view' \(/\) failed, on <HTTPRequest GET /\>(.|\n)*answered once")
    app = Application()

    @app.route("/")
    def view(request: HTTPRequest) -> Any:
        request.send_response("once")
        return output

    assert fetch(app).content == b"once"


def test_a_view_cannot_go_on_with_what_it_has_begun(expect_log: ExpectedLog) -> None:
    """DESIGN §3: a close if the answer has begun."""
    expect_log(FAILED)
    app = Application()

    @app.route("/")
    def view(request: HTTPRequest) -> str:
        request.send("begun")
        return "and ended"

    with connected(app) as (_, peer):
        peer.send(asking())
        assert peer.received.endswith(b"begun\r\n")
        assert peer.ended


def test_auto_finish_false_leaves_the_answer_to_the_view() -> None:
    """Manual: "request.auto_finish"; DESIGN §3: nothing at all where auto_finish is False."""
    app = Application()

    @app.route("/")
    def view(request: HTTPRequest) -> str:
        request.auto_finish = False
        request.connection.engine.defer(2, request.send_response, "later", 202)
        return "not this"

    with connected(app) as (engine, peer):
        peer.send(asking())
        engine.advance(1)
        assert peer.received == b""
        engine.advance(1)
        answer = Answer(peer.received)
        assert (answer.status, answer.content) == (202, b"later")
        peer.take()
        peer.send(asking("/other"))
        assert Answer(peer.received).status == 404


@pytest.mark.parametrize("output", [None, object(), iter([b"a"]), {"a": 1}])
def test_auto_finish_false_leaves_any_output_alone(output: Any) -> None:
    app = Application()

    @app.route("/")
    def view(request: HTTPRequest) -> Any:
        request.auto_finish = False
        request.connection.engine.callback(request.send_response, "later")
        return output

    assert fetch(app).content == b"later"


def test_auto_finish_is_of_one_request() -> None:
    app = Application()
    app.route("/", func=lambda request: repr(request.auto_finish))

    @app.route("/later")
    def later(request: HTTPRequest) -> None:
        request.auto_finish = False
        request.send_response("later")

    with connected(app) as (_, peer):
        peer.send(asking("/later") + asking("/"))
        assert peer.received.endswith(b"True")


def test_an_error_after_auto_finish_false_is_answered() -> None:
    app = Application()

    @app.route("/")
    def view(request: HTTPRequest) -> None:
        request.auto_finish = False
        abort(403)

    assert fetch(app).status == 403
