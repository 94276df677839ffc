"""What a framework on top of pants.http uses of a request: its JSON, its end, its head, another URL."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Callable
from typing import Any

import pytest

from pants.http import HTTPRequest, HTTPServer, Limits, Refused
from pants.http.utils import HTTPHeaders
from pants.testing import MemoryEngine, Peer
from tests.conftest import ExpectedLog

Handler = Callable[[HTTPRequest], object]


def asking(method: str, body: bytes = b"", content_type: str | None = None, path: str = "/") -> bytes:
    """A request, as it is sent."""
    fields = "Host: a\r\n"
    if content_type is not None:
        fields += f"Content-Type: {content_type}\r\n"
    if body:
        fields += f"Content-Length: {len(body)}\r\n"
    return f"{method} {path} HTTP/1.1\r\n{fields}\r\n".encode() + body


def answer_to(handler: Handler, data: bytes, **options: Any) -> bytes:
    """What is answered to bytes."""
    with MemoryEngine() as engine:
        peer = engine.accept(HTTPServer(handler, engine=engine, **options))
        peer.send(data)
        return peer.received


def json_of(body: bytes, content_type: str | None = "application/json", **options: Any) -> Any:
    """The JSON of a request; or the status of the error that it is."""
    got: list[Any] = []

    def handler(request: HTTPRequest) -> None:
        got.append(request.json)
        request.send_response("")

    received = answer_to(handler, asking("POST", body, content_type), **options)
    if got:
        assert received.startswith(b"HTTP/1.1 200 ")
        return got[0]
    return int(received.split()[1])


# --- JSON -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [{}, [], None, True, 0, -1.5e300, "", "ä☃\U0001f41f", {"a": [1, {"b": None}]}, 10**300, {"": ""}, "\u2028", "\0"],
)
@pytest.mark.parametrize("ascii_only", [True, False])
def test_json(value: Any, ascii_only: bool) -> None:
    """`HTTPRequest.json`: the body, as what it says in JSON (RFC 8259)."""
    assert json_of(json.dumps(value, ensure_ascii=ascii_only).encode()) == value


@pytest.mark.parametrize("body", [b' \t\r\n{"a" : 1}\n', b'\xef\xbb\xbf{"a":1}'])
def test_json_with_blanks_and_a_byte_order_mark(body: bytes) -> None:
    """RFC 8259 §2; §8.1: a parser may ignore the mark rather than treat it as an error."""
    assert json_of(body) == {"a": 1}


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "application/json; charset=utf-8",
        "application/json;charset=UTF-8",
        "Application/JSON",
        "application/problem+json",
        "application/vnd.api+json; version=1",
    ],
)
def test_types_that_are_json(content_type: str) -> None:
    """RFC 9110 §8.3.1: case-insensitive, with parameters; RFC 6839 §3.1: +json."""
    assert json_of(b"[1]", content_type) == [1]


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "",
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=application/json",
        "application/jsonp",
        "application/x-json+xml",
        "text/plain; application/json",
    ],
)
def test_types_that_are_not_json(content_type: str | None) -> None:
    """415 (RFC 9110 §15.5.16): so that no page elsewhere can have a browser send it without asking (Fetch: CORS)."""
    assert json_of(b"[1]", content_type) == 415


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"{",
        b'{"a":1,}',
        b"[1,]",
        b"'a'",
        b"{a:1}",
        b'{"a":1}x',
        b"[1] [2]",
        b"01",
        b"+1",
        b".5",
        b"1.",
        b"True",
        b"undefined",
        b'"a\nb"',
        b'"\\x41"',
        b'"\\ud83"',
        b"\xff",
        b'"\xc3\x28"',
        b'"\xe4"',
        # RFC 8259 §6: numeric values that cannot be represented are not permitted.
        b"NaN",
        b"[Infinity]",
        b'{"a":-Infinity}',
        # What would take much to read.
        b"[" * 100_000,
        b"[" * 100_000 + b"]" * 100_000,
        b'{"a":' * 100_000,
        b"1" * 100_000,
    ],
)
def test_malformed_json_is_refused(body: bytes) -> None:
    """400, which an HTTPServer and an Application answer; nothing is logged."""
    assert json_of(body) == 400


@pytest.mark.parametrize("body", [b'"\xed\xa0\x80"', b'{"\xed\xb0\x80":1}'])
def test_json_that_is_no_utf_8_is_refused(body: bytes) -> None:
    """RFC 8259 §8.1: UTF-8; RFC 3629 §3 prohibits these bytes."""
    assert json_of(body) == 400


def test_a_refusal_can_be_caught() -> None:
    codes: list[int] = []

    def handler(request: HTTPRequest) -> None:
        try:
            assert request.json is None
        except Refused as refused:
            codes.append(refused.status)
        request.send_response("mine")

    assert answer_to(handler, asking("POST", b"{", "application/json")).endswith(b"mine")
    assert codes == [400]


def test_json_of_a_long_body_that_lies_on_disk() -> None:
    value = ["a" * 1000] * 200
    assert json_of(json.dumps(value).encode(), limits=Limits(spool_size=1000)) == value


def test_json_may_be_asked_for_again_and_by_any_method() -> None:
    def handler(request: HTTPRequest) -> None:
        assert request.json == request.json == {"a": 1}
        assert request.post == {}
        request.send_response(request.method)

    for method in ("POST", "PUT", "PATCH", "DELETE"):
        assert answer_to(handler, asking(method, b'{"a":1}', "application/json")).endswith(method.encode())


# --- Attributes of a framework ----------------------------------------------------------------------------------------


def test_the_attributes_of_a_framework() -> None:
    """DESIGN §3: the request object has auto_finish, route_name, match; and takes attributes."""
    seen: list[Any] = []

    def handler(request: HTTPRequest) -> None:
        seen.append((request.auto_finish, request.route_name, request.match, request.script_name))
        request.auto_finish, request.route_name, request.match, request.script_name = False, "a", object(), "/a"
        request.session = "a session"
        request.send_response("")

    answer_to(handler, asking("GET") * 2)
    assert seen == [(True, None, None, "")] * 2


@pytest.mark.parametrize(
    "url, path, query, get",
    [
        ("/new", "/new", "", {}),
        ("/new?x=1&x=2", "/new", "x=1&x=2", {"x": ["1", "2"]}),
        ("/new%20one?", "/new%20one", "", {}),
        ("http://other.example/new?x=1", "/new", "x=1", {"x": ["1"]}),
    ],
)
def test_retarget(url: str, path: str, query: str, get: dict[str, list[str]]) -> None:
    """`HTTPRequest._retarget`: nothing of the old URL is left, be it asked for before or not."""
    seen: list[Any] = []

    def handler(request: HTTPRequest) -> None:
        for asked_before in (True, False):
            if asked_before:
                assert (request.path, request.query, request.get) == ("/old", "y=1", {"y": ["1"]})
            request._retarget(url)
            seen.append((request.url, request.path, request.query, request.get))
        assert url in repr(request)
        assert request.full_url.endswith(url.removeprefix("http://"))
        request.send_response("")

    assert answer_to(handler, asking("GET", path="/old?y=1")).startswith(b"HTTP/1.1 200 ")
    assert seen == [(url, path, query, get)] * 2


# --- The end of a request ---------------------------------------------------------------------------------------------


class Ends:
    """A server whose requests wait for an answer; notes what is called at their ends."""

    def __init__(self, engine: MemoryEngine, **options: Any) -> None:
        self.seen: list[str] = []
        self.requests: list[HTTPRequest] = []
        self.server = HTTPServer(self.handle, engine=engine, **options)

    def handle(self, request: HTTPRequest) -> None:
        self.requests.append(request)
        request._call_at_end(lambda: self.seen.append(f"end of {request.path}"))


def send_all(request: HTTPRequest) -> None:
    request.send_response("a")


def send_pieces(request: HTTPRequest) -> None:
    request.send("a")
    request.finish()


def give_up(request: HTTPRequest) -> None:
    request.finish()


@pytest.mark.parametrize("end", [send_all, send_pieces, give_up])
def test_a_function_is_called_when_the_request_is_finished(end: Handler) -> None:
    """`_call_at_end`: once, when it is over."""
    with MemoryEngine() as engine:
        ends = Ends(engine)
        peer = engine.accept(ends.server)
        peer.send(asking("GET", path="/a"))
        engine.advance(1)
        assert ends.seen == []
        end(ends.requests[0])
        assert ends.seen == ["end of /a"]
        ends.requests[0].finish()
        engine.advance(600)
    assert ends.seen == ["end of /a"]


def test_a_function_is_called_when_a_file_is_sent(tmp_path: pathlib.Path) -> None:
    for size in (1, 300_000):
        (tmp_path / "file").write_bytes(b"a" * size)
        with MemoryEngine() as engine:
            ends = Ends(engine)
            engine.accept(ends.server).send(asking("GET", path="/a"))
            ends.requests[0].send_file(tmp_path / "file")
            assert ends.seen == ["end of /a"]


@pytest.mark.parametrize("way", ["reset", "close"])
def test_a_function_is_called_when_the_connection_closes(way: str) -> None:
    with MemoryEngine() as engine:
        ends = Ends(engine)
        peer = engine.accept(ends.server)
        peer.send(asking("GET", path="/a"))
        getattr(peer, way)()
        engine.advance(600)
        assert ends.seen == ["end of /a"]
        ends.requests[0].send_response("too late")
        engine.advance(1)
    assert ends.seen == ["end of /a"]


def test_a_function_is_called_when_the_server_closes() -> None:
    with MemoryEngine() as engine:
        ends = Ends(engine)
        engine.accept(ends.server).send(asking("GET", path="/a"))
        ends.server.close()
        engine.advance(1)
        assert ends.seen == ["end of /a"]


@pytest.mark.parametrize("how", ["finished", "closed"])
def test_a_function_is_called_at_once_where_the_request_is_over(how: str) -> None:
    with MemoryEngine() as engine:
        ends = Ends(engine)
        peer = engine.accept(ends.server)
        peer.send(asking("GET", path="/a"))
        request = ends.requests[0]
        if how == "finished":
            request.send_response("a")
        else:
            peer.reset()
        request._call_at_end(lambda: ends.seen.append("late"))
        assert ends.seen == ["end of /a", "late"]


def test_functions_are_called_in_their_order_and_may_add_more() -> None:
    seen: list[str] = []

    def handler(request: HTTPRequest) -> None:
        request._call_at_end(lambda: seen.append("one"))
        request._call_at_end(lambda: request._call_at_end(lambda: seen.append("more")))
        request._call_at_end(lambda: seen.append("two"))
        request.send_response("a")
        seen.append("sent")

    answer_to(handler, asking("GET"))
    assert seen[0] == "one"
    assert sorted(seen) == ["more", "one", "sent", "two"]


def test_a_function_that_fails_is_logged(expect_log: ExpectedLog) -> None:
    """The others are called all the same, and the connection goes on."""
    expect_log("<HTTPRequest GET /a>(.|\n)*ZeroDivisionError")
    seen: list[str] = []

    def fail() -> None:
        raise ZeroDivisionError

    def handler(request: HTTPRequest) -> None:
        for function in (fail, lambda: seen.append(request.path)):
            request._call_at_end(function)
        request.send_response("a")
        request._call_at_end(fail)

    received = answer_to(handler, asking("GET", path="/a") * 2)
    assert received.count(b"HTTP/1.1 200 ") == 2
    assert seen == ["/a", "/a"]


def test_each_request_of_a_connection_has_its_own_end() -> None:
    with MemoryEngine() as engine:
        ends = Ends(engine)
        peer = engine.accept(ends.server)
        peer.send(asking("GET", path="/a") + asking("GET", path="/b"))
        ends.requests[0].send_response("a")
        engine.advance(1)
        assert ends.seen == ["end of /a"]
        ends.requests[1].send_response("b")
        assert ends.seen == ["end of /a", "end of /b"]


# --- The head of an answer --------------------------------------------------------------------------------------------


def headed(answer: Handler, data: bytes = asking("GET"), **options: Any) -> tuple[bytes, list[Any]]:
    """What is answered by a handler, where a hook adds a field to each head; and with what the hook was called."""
    calls: list[Any] = []

    def handler(request: HTTPRequest) -> None:
        def on_head(code: int, fields: list[tuple[str, str]]) -> list[tuple[str, str]]:
            calls.append((code, list(fields)))
            return [*fields, ("X-Head", "set")]

        request._on_head = on_head
        answer(request)

    return answer_to(handler, data, **options), calls


def send_in_pieces(request: HTTPRequest) -> None:
    request.send_status(201)
    request.send_headers({"X-One": "1"}, end_headers=False)
    request.send_headers({"X-Two": "2"})
    request.send("a")
    request.finish()


def send_at_last(request: HTTPRequest) -> None:
    request.send_headers({"X-One": "1"}, end_headers=False)
    request.finish()


def refuse(request: HTTPRequest) -> None:
    raise Refused(422, "no")


@pytest.mark.parametrize(
    "answer, code, fields",
    [
        (lambda request: request.send_response("a"), 200, {"Content-Type": "text/plain"}),
        (lambda request: request.send_response("a", 404, "text/css", {"X-One": "1"}), 404, {"X-One": "1"}),
        (lambda request: request.send_response("", 204), 204, {}),
        (lambda request: request.send_response("", 304), 304, {}),
        (send_in_pieces, 201, {"X-One": "1", "X-Two": "2"}),
        (send_pieces, 200, {}),
        (send_at_last, 200, {"X-One": "1"}),
        (refuse, 422, {}),
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("compression", [True, False])
def test_a_hook_is_called_for_each_head(
    answer: Handler, code: int, fields: dict[str, str], method: str, compression: bool
) -> None:
    """`_on_head`: with the code and the fields of a final answer, right before; the fields it returns are sent."""
    received, calls = headed(answer, asking(method), compression=compression)
    assert [call[0] for call in calls] == [code]
    assert fields.items() <= dict(calls[0][1]).items()
    head = received.partition(b"\r\n\r\n")[0]
    assert head.startswith(b"HTTP/1.1 %d " % code)
    assert head.count(b"\r\nX-Head: set") == 1
    for name, value in fields.items():
        assert f"\r\n{name}: {value}".encode() in head


def test_a_hook_is_not_called_for_an_interim_answer() -> None:
    def answer(request: HTTPRequest) -> None:
        request.send_status(103)
        request.send_headers({"Link": "</a>"})
        request.send_response("a")

    received, calls = headed(answer)
    assert [code for code, _ in calls] == [200]
    assert received.count(b"X-Head") == 1
    assert b"X-Head" not in received.partition(b"\r\n\r\n")[0]


@pytest.mark.parametrize("size", [0, 1, 300_000])
@pytest.mark.parametrize("more", ["", "Range: bytes=0-0\r\n", "If-None-Match: *\r\n"])
def test_a_hook_is_called_for_files(size: int, more: str, tmp_path: pathlib.Path) -> None:
    (tmp_path / "file").write_bytes(b"a" * size)
    data = f"GET / HTTP/1.1\r\nHost: a\r\n{more}\r\n".encode()
    received, calls = headed(lambda request: request.send_file(tmp_path / "file"), data)
    ((code, fields),) = calls
    head = received.partition(b"\r\n\r\n")[0]
    assert head.startswith(b"HTTP/1.1 %d " % code)
    assert head.count(b"\r\nX-Head: set") == 1
    assert "ETag" in HTTPHeaders(fields) or code == 416


def test_a_hook_is_called_for_another_protocol() -> None:
    """RFC 9110 §15.2.2: 101 is the last answer of HTTP's own, whose Connection field the program sets."""

    def answer(request: HTTPRequest) -> None:
        request.send_status(101)
        request.send_headers({"Upgrade": "own", "Connection": "Upgrade"})
        request.connection.take_over()

    received, calls = headed(answer)
    assert [code for code, _ in calls] == [101]
    assert b"\r\nX-Head: set\r\n" in received


def test_a_hook_is_of_one_request() -> None:
    calls: list[int] = []

    def on_head(code: int, fields: list[tuple[str, str]]) -> list[tuple[str, str]]:
        calls.append(code)
        return [*fields, ("X-Head", "set")]

    def handler(request: HTTPRequest) -> None:
        if not calls:
            request._on_head = on_head
        request.send_response("a")

    assert answer_to(handler, asking("GET") * 3).count(b"X-Head") == 1


@pytest.mark.parametrize("answer", [send_all, send_in_pieces, send_at_last])
def test_a_hook_that_fails_leaves_the_answer_unsent(answer: Handler) -> None:
    """Another answer can be given then, without the hook."""
    failures: list[Exception] = []

    def handler(request: HTTPRequest) -> None:
        def on_head(code: int, fields: list[tuple[str, str]]) -> list[tuple[str, str]]:
            raise ZeroDivisionError

        request._on_head = on_head
        try:
            answer(request)
        except ZeroDivisionError as exception:
            failures.append(exception)
        assert request._take_back()
        request.send_response("another", 500)

    received = answer_to(handler, asking("GET"))
    assert len(failures) == 1
    assert received.startswith(b"HTTP/1.1 500 ")
    assert received.endswith(b"another")
    assert received.count(b"HTTP/1.1 ") == 1


def test_a_hook_is_not_called_when_the_client_has_gone() -> None:
    """Nothing is sent then; and the request lets go of it."""
    calls: list[int] = []
    held: list[HTTPRequest] = []

    def on_head(code: int, fields: list[tuple[str, str]]) -> list[tuple[str, str]]:
        calls.append(code)
        return fields

    def handler(request: HTTPRequest) -> None:
        request._on_head = on_head
        held.append(request)

    with MemoryEngine() as engine:
        peer: Peer = engine.accept(HTTPServer(handler, engine=engine))
        peer.send(asking("GET"))
        peer.reset()
        held[0].send_response("too late")
    assert calls == []


# --- JSON that is no use ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", [b"1e999", b"-1e999", b'{"a": [1e400]}', b"1E+309"])
def test_numbers_beyond_what_a_float_holds(body: bytes) -> None:
    """RFC 8259 §6: they are for the receiver to limit; they would be infinities, which JSON has not."""
    assert json_of(body) == 400


@pytest.mark.parametrize("body", [rb'"\ud800"', rb'{"\udfff": 1}', rb'"\ud83dx"', rb'"\udc00\ud800"'])
def test_half_of_a_surrogate_pair(body: bytes) -> None:
    """RFC 8259 §8.2: what comes of it is unpredictable."""
    assert json_of(body) == 400


def test_a_whole_surrogate_pair() -> None:
    assert json_of(rb'"\ud83d\ude00 \\ud800"') == "\U0001f600 \\ud800"


@pytest.mark.parametrize("opening, closing", [(b"[", b"]"), (b'{"a":', b"}")])
def test_deep_json(opening: bytes, closing: bytes) -> None:
    """RFC 8259 §9: a parser may limit the depth. What is taken can be sent back."""
    for depth, status in ((500, None), (501, 400), (5000, 400), (100_000, 400)):
        found = json_of(opening * depth + b"1" + closing * depth)
        if status is None:
            json.dumps(found)
        else:
            assert found == status


def test_many_brackets_are_not_deep() -> None:
    value: Any = [[], {}] * 5000 + ["[" * 1000, '"]{' * 1000, "\\"]
    assert json_of(json.dumps(value).encode()) == value


def test_json_has_a_limit_of_its_own() -> None:
    """`Limits.form_memory`: "the most of a body that is parsed as JSON"."""
    body = json.dumps("x" * 3000).encode()
    assert json_of(body, limits=Limits(spool_size=100, form_memory=3000)) == 413
    assert json_of(body, limits=Limits(spool_size=100, form_memory=4000)) == "x" * 3000


def test_json_is_parsed_once() -> None:
    """ "parsed when it is first asked for": what a handler changes in it stays."""

    def handler(request: HTTPRequest) -> None:
        request.json["a"] = 2
        request.send_response(str(request.json))

    assert answer_to(handler, asking("POST", b'{"a":1}', "application/json")).endswith(b"{'a': 2}")


# --- What is done to the head -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        lambda request: request.send_response("nested"),
        lambda request: request.send("nested"),
        lambda request: request.send_status(201),
        lambda request: request.send_headers({"X-One": "1"}),
        lambda request: request.send_file(__file__),
        lambda request: request.finish(),
    ],
)
@pytest.mark.parametrize("pieces", [True, False])
def test_nothing_is_sent_while_the_head_is_made(answer: Any, pieces: bool) -> None:
    """DESIGN §2: a finished message, one for each request."""
    raised: list[RuntimeError] = []

    def on_head(code: int, fields: list[tuple[str, str]]) -> list[tuple[str, str]]:
        try:
            answer(requests[0])
        except RuntimeError as error:
            raised.append(error)
        return fields

    requests: list[HTTPRequest] = []

    def handler(request: HTTPRequest) -> None:
        requests.append(request)
        request._on_head = on_head
        if pieces:
            request.send("body")
            request.finish()
        else:
            request.send_response("body")

    data = answer_to(handler, asking("GET"))
    assert data.count(b"HTTP/1.1") == 1
    assert b"body" in data
    assert b"nested" not in data
    assert len(raised) == 1
    assert "answer" in str(raised[0])


def test_cookies_that_change_while_the_head_is_made() -> None:
    """RFC 6265 §4.1.1: no two Set-Cookie fields of the same name; one that was taken back is not sent."""

    def on_head(code: int, fields: list[tuple[str, str]]) -> list[tuple[str, str]]:
        cookies = requests[0].cookies_out
        cookies["changed"] = "2"
        del cookies["removed"]
        cookies["added"] = "1"
        return fields

    requests: list[HTTPRequest] = []

    def handler(request: HTTPRequest) -> None:
        requests.append(request)
        request.cookies_out["changed"] = request.cookies_out["removed"] = request.cookies_out["kept"] = "1"
        request._on_head = on_head
        request.send_response("body")

    data = answer_to(handler, asking("GET"))
    lines = sorted(line for line in data.split(b"\r\n") if line.startswith(b"Set-Cookie"))
    assert lines == [b"Set-Cookie: added=1", b"Set-Cookie: changed=2", b"Set-Cookie: kept=1"]


def test_brackets_and_strings_without_end_take_no_time_to_speak_of() -> None:
    """DESIGN §4: nothing is quadratic in what a peer sends. At that, this would take hours."""
    for body in (b"[" * 501 + b'"' + rb"\"" * 1_000_000, (b"[" * 501 + b'"' * 1_000_001), b'["' * 500_000):
        assert json_of(body) == 400


def test_a_cookie_that_cannot_be_sent_is_not_forgotten() -> None:
    """It raises at the call; the request can be answered without it."""

    def handler(request: HTTPRequest) -> None:
        request._on_head = lambda code, fields: 1 / 0  # type: ignore[assignment,return-value]
        try:
            request.send_response("body")
        except ZeroDivisionError:
            assert request.code == 0
            request.send_response("another")

    assert answer_to(handler, asking("GET")).endswith(b"another")
