"""The page for whoever debugs a program (`pants.web._pages.debug_page`)."""

# ruff: noqa: F841, RUF059 - variables are there to be shown

from __future__ import annotations

import dataclasses
import functools
import html
import os
import re
import time
import traceback
from collections.abc import Callable
from http.cookies import SimpleCookie
from types import CodeType, SimpleNamespace
from typing import Any

import pytest

from pants.http import HTTPHeaders, HTTPRequest, HTTPServer
from pants.testing import MemoryEngine
from pants.web import _debug_page, _debug_values
from pants.web._pages import debug_page
from tests.web.test_pages import Reader

REQUEST = b"GET /path?a=1&b=%3Ci%3E HTTP/1.1\r\nHost: example.com\r\n\r\n"


def page_of(function: Callable[[HTTPRequest], object], data: bytes = REQUEST, status: int = 500) -> str:
    """The page for what a function raises, which is called with a request."""
    pages = []

    def handler(request: HTTPRequest) -> None:
        try:
            function(request)
        except BaseException as exception:
            pages.append(debug_page(request, exception, status))
        request.send_response("")

    with MemoryEngine() as engine:
        engine.accept(HTTPServer(handler, engine=engine)).send(data)
    (page,) = pages
    assert len(page.encode()) <= 512 * 1024
    Reader(page)  # it is well-formed
    return page


def text_of(page: str) -> str:
    """What is to be read on a page, in one line."""
    body = page.partition("<body>")[2]
    return " ".join(html.unescape(re.sub("</?(?!mark)[^>]+>", " ", body)).split())


def headings(page: str) -> list[str]:
    return [" ".join(text.split()) for text in Reader(page).texts.get("h2", [])]


def divide(request: HTTPRequest) -> float:
    numerator = 7
    nothing = 0
    return numerator / nothing


# --- The exception ----------------------------------------------------------------------------------------------


def test_the_exception_and_its_source() -> None:
    page = page_of(divide)
    reader = Reader(page)
    assert reader.text("title") == "ZeroDivisionError: division by zero"
    assert reader.text("h1") == "ZeroDivisionError"
    assert "500 Internal Server Error · GET /path" in text_of(page)
    (line,) = re.findall('<span class="on"><i>[0-9]+</i>(.*?)</span>', page)[:1]
    assert line == "    return <mark>numerator / nothing</mark>"
    assert "def divide(request: HTTPRequest) -&gt; float:" in page, "what is around it"
    assert __file__ in page


def test_another_status() -> None:
    assert "503 Service Unavailable" in page_of(divide, status=503)


def test_the_variables() -> None:
    page = page_of(divide)
    assert "<tr><th>numerator</th><td>7</td></tr>" in page
    assert "<tr><th>request</th><td>&lt;HTTPRequest GET /path?a=1&amp;b=%3Ci%3E&gt;</td></tr>" in page


def test_the_last_call_comes_first_and_is_open() -> None:
    page = page_of(lambda request: divide(request))
    assert page.index("<b>divide</b>") < page.index("&lt;lambda&gt;</b>")
    assert page.count("<details open>") == 1
    assert page.index("<details open>") < page.index("<b>divide</b>")


def test_all_is_escaped() -> None:
    def fail(request: HTTPRequest) -> None:
        markup = "<script>alert(1)</script>"  # <script>
        raise LookupError(markup, '"')

    page = page_of(fail, b"GET /a?%3Cscript%3E=%3Cscript%3E HTTP/1.1\r\nHost: a\r\nX-A: <script>\r\n\r\n")
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page


def test_a_name_with_its_module() -> None:
    class CustomError(Exception):
        pass

    def fail(request: HTTPRequest) -> None:
        raise CustomError("why")

    reader = Reader(page_of(fail))
    assert reader.text("h1") == f"{__name__}.test_a_name_with_its_module.<locals>.CustomError"
    assert reader.texts["pre"][0] == "why"


def test_an_exception_without_a_message() -> None:
    def fail(request: HTTPRequest) -> None:
        raise KeyboardInterrupt

    assert Reader(page_of(fail)).text("h1") == "KeyboardInterrupt"


def test_notes() -> None:
    def fail(request: HTTPRequest) -> None:
        error = ValueError("wrong")
        error.add_note("the first note\nhas two lines")
        raise error

    assert "wrong the first note has two lines" in text_of(page_of(fail))


def test_a_cause() -> None:
    def fail(request: HTTPRequest) -> None:
        try:
            divide(request)
        except ZeroDivisionError as error:
            raise ValueError("no number") from error

    text = text_of(page_of(fail))
    assert text.index("ValueError no number") < text.index("Caused by ZeroDivisionError division by zero")
    assert "<b>divide</b>" in page_of(fail)


def test_a_context() -> None:
    def fail(request: HTTPRequest) -> None:
        try:
            divide(request)
        except ZeroDivisionError:
            raise ValueError("no number")  # noqa: B904 - as it happens

    assert "Raised while this was being handled ZeroDivisionError" in text_of(page_of(fail))


def test_a_context_that_was_suppressed() -> None:
    def fail(request: HTTPRequest) -> None:
        try:
            divide(request)
        except ZeroDivisionError:
            raise ValueError("no number") from None

    assert headings(page_of(fail)) == ["Request", "To be copied"]


def test_causes_in_a_circle() -> None:
    def fail(request: HTTPRequest) -> None:
        first, second = ValueError("first"), ValueError("second")
        first.__cause__, second.__cause__ = second, first
        raise first

    page = page_of(fail)
    assert headings(page)[:-2] == ["Caused byValueError"]
    assert "It was not raised, so that it has no traceback." in page


def test_a_long_chain_of_causes() -> None:
    def fail(request: HTTPRequest) -> None:
        error: Exception | None = None
        for number in range(200):
            try:
                raise ValueError(number) from error
            except ValueError as another:
                error = another
        assert error is not None
        raise error

    assert headings(page_of(fail))[:-2] == ["Caused byValueError"] * 19


def test_a_group() -> None:
    def fail(request: HTTPRequest) -> None:
        errors: list[Exception] = []
        for function in (divide, lambda _: int("x")):
            try:
                function(request)
            except Exception as error:
                errors.append(error)
        raise ExceptionGroup("two things", [ExceptionGroup("inside", errors)])

    text = text_of(page_of(fail))
    assert "ExceptionGroup two things" in text
    assert "1 of 1 in the group ExceptionGroup inside" in text
    assert "1 of 2 in the group ZeroDivisionError division by zero" in text
    assert "2 of 2 in the group ValueError invalid literal for int() with base 10: 'x'" in text


def test_a_large_group() -> None:
    def fail(request: HTTPRequest) -> None:
        raise ExceptionGroup("many", [ValueError(number) for number in range(10_000)])

    text = text_of(page_of(fail))
    assert "19 of 10000 in the group ValueError 18" in text
    assert "The rest of the group is left out." in text


def test_a_deep_group() -> None:
    def fail(request: HTTPRequest) -> None:
        group: ExceptionGroup[Exception] = ExceptionGroup("innermost", [ValueError()])
        for _ in range(50):
            group = ExceptionGroup("around", [group])
        raise group

    assert "The rest of the group is left out." in text_of(page_of(fail))


def test_a_syntax_error_of_a_text() -> None:
    """As a template's is."""

    def fail(request: HTTPRequest) -> None:
        compile("a = 1\nb = (2\n", "<a template>", "exec")

    page = page_of(fail)
    assert "File \"<a template>\", line 2 b = (2 ^ SyntaxError: '(' was never closed" in text_of(page)
    assert "\n        ^\n" in Reader(page).texts["pre"][0], "where it is"


def test_code_without_source() -> None:
    def fail(request: HTTPRequest) -> None:
        exec(compile("\n\n1 / 0", "<made up>", "exec"), {"__name__": "made_up", "__made__": 1, "plain": 5})

    page = page_of(fail)
    assert "&lt;made up&gt;:3" in page
    assert "(there is no source)" in page
    assert "<th>plain</th>" in page
    assert "<th>__made__</th>" not in page, "the globals of a module"


def run(code: CodeType, request: HTTPRequest) -> None:
    exec(code, {})


def test_source_that_is_not_as_it_was(tmp_path: Any) -> None:
    """An editor has saved it since then; and it was no Python, or not in UTF-8."""
    for number, content in enumerate([b"", b"\xff\xfe\n", b"x", "ä\n\n\t1 / 0 + 'ä'\n".encode()]):
        path = tmp_path / f"changed{number}.py"
        path.write_text("if True:\n\n    x = 1 / 0\n")
        code = compile(path.read_text(), str(path), "exec")
        path.write_bytes(content)
        page = page_of(functools.partial(run, code))
        assert f"changed{number}.py:3" in page


def test_a_line_with_letters_beyond_ascii() -> None:
    def fail(request: HTTPRequest) -> object:
        empty: dict[str, str] = {}
        return "äöü€" + empty["ß"]

    assert "        return &quot;äöü€&quot; + <mark>empty[&quot;ß&quot;]</mark>" in page_of(fail)


def test_frames_of_pants_are_folded() -> None:
    def fail(request: HTTPRequest) -> None:
        request.send_response(5)  # type: ignore[arg-type]

    page = page_of(fail)
    (group,) = re.findall('<details class="own".*?</details>', page, re.DOTALL)
    assert "2 frames of Pants" in group
    assert "ResponseWriter.send_response" in group
    assert "raise TypeError" in group, "the line itself"
    assert "<th>" not in group, "what they hold is the request as it was sent"
    assert " open" not in group.partition(">")[0] or page.count("<details open>") == 1
    assert "<b>test_frames_of_pants_are_folded.&lt;locals&gt;.fail</b>" in page


def test_deep_recursion() -> None:
    def down(depth: int) -> int:
        return down(depth + 1)

    page = page_of(lambda request: down(0))
    assert "RecursionError" in Reader(page).text("h1")
    assert re.search(r"… [0-9]{3,} frames are left out here …", text_of(page))
    assert page.count("<details") < 50
    assert "&lt;lambda&gt;</b>" in page, "where it began"


def test_recursion_of_several_functions() -> None:
    def even(depth: int) -> int:
        return odd(depth + 1)

    def odd(depth: int) -> int:
        return even(depth + 1)

    assert "frames are left out here" in page_of(lambda request: even(0))


def test_the_traceback_as_text() -> None:
    page = page_of(divide)
    (plain,) = re.findall('<pre class="plain">(.*?)</pre>', page, re.DOTALL)
    assert plain.startswith("Traceback (most recent call last):")
    assert plain.endswith("ZeroDivisionError: division by zero\n")


# --- Variables --------------------------------------------------------------------------------------------------


def test_values_are_bounded() -> None:
    def fail(request: HTTPRequest) -> None:
        text = "x" * 1_000_000
        numbers = list(range(1_000_000))
        nested: list[Any] = []
        for _ in range(1000):
            nested = [nested]
        made_of_itself: list[Any] = []
        made_of_itself.append(made_of_itself)
        table = dict.fromkeys(range(1000), "x" * 1000)
        huge = 10**10_000
        data = bytes(10_000_000)
        raise LookupError

    page = page_of(fail)
    assert len(page) < 60_000
    for name in ("text", "numbers", "nested", "made_of_itself", "table", "huge", "data"):
        assert f"<th>{name}</th>" in page


def test_many_variables() -> None:
    def fail(request: HTTPRequest) -> None:
        exec("\n".join([f"variable{number} = {number}" for number in range(100)] + ["1 / 0"]), {}, {})

    page = page_of(fail)
    assert "<th>variable39</th>" in page
    assert "<th>variable40</th>" not in page
    assert "<th>…</th><td>and 60 more</td>" in page


class Failing:
    def __repr__(self) -> str:
        raise RuntimeError("in a representation")


class Endless:
    def __repr__(self) -> str:
        return repr(self)


class Wrong:
    def __repr__(self) -> str:
        return 5  # type: ignore[return-value]


class Long:
    def __repr__(self) -> str:
        return "long " * 100_000


class Slow:
    def __repr__(self) -> str:
        time.sleep(0.03)
        return "after a while"


def test_representations_that_fail() -> None:
    def fail(request: HTTPRequest) -> None:
        failing, endless, wrong, within = Failing(), Endless(), Wrong(), [1, Failing()]
        long = Long()
        surrogate = "\udcff"
        raise LookupError(failing, surrogate)

    page = page_of(fail)
    assert "&lt;Failing, whose representation has failed: RuntimeError&gt;" in page
    assert "&lt;Endless, whose representation has failed: RecursionError&gt;" in page
    assert "&lt;Wrong, whose representation has failed: TypeError&gt;" in page
    assert len(page) < 60_000


def test_representations_that_are_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_debug_values, "_PATIENCE", 0.05)

    def fail(request: HTTPRequest) -> None:
        slow = [Slow() for _ in range(30)]
        first, second, third, fourth, fifth, sixth, seventh, eighth = slow[:8]
        del slow
        raise LookupError

    page = page_of(fail)
    assert 0 < page.count("<td>after a while</td>") < 8
    assert "(not shown, since the others have taken too long)" in page


@dataclasses.dataclass
class User:
    name: str
    password: str


SECRETS = ["hunter2", "s3cr3t", "opensesame"]


def test_secrets_are_masked() -> None:
    def fail(request: HTTPRequest) -> None:
        password, api_key, cookie_secret = (text.lower() for text in ("HUNTER2", "S3CR3T", "OPENSESAME"))
        user = User("ada", password)
        settings = {
            "theme": "dark",
            "DB_PASSWORD": password,
            b"token": api_key.encode(),
            "deep": {"secret": "s3cr3t"[:]},
        }
        headers = HTTPHeaders({"Cookie": f"a={api_key}; b=c", "Authorization": f"Bearer {api_key}", "Accept": "text/x"})
        jar = SimpleCookie({"session": api_key})
        url = f"https://example.com/?access_token={api_key}&page=2"
        arguments = SimpleNamespace(session_id=api_key, plain="shown")
        raise LookupError

    page = page_of(fail)
    table = page[page.index("<table>") : page.index("</table>")]
    for secret in SECRETS:
        assert secret not in table
    for shown in ("ada", "dark", "text/x", "page=2", "shown", "&lt;SimpleCookie with session&gt;"):
        assert shown in table


def test_secrets_are_masked_where_their_names_are_cut_out() -> None:
    def fail(request: HTTPRequest) -> None:
        secret = "hunter2"[::-1][::-1]
        url = f"https://example.com/?{'x' * 1000}&access_token={secret * 20}"
        data = bytearray(url.encode())
        user = User("x" * 1000, secret * 20)
        config = {"long": "x" * 1000, "password": secret * 20}
        config_in_a_list = [config]
        raise LookupError

    page = page_of(fail)
    table = page[page.index("<table>") : page.index("</table>")]
    assert "hunter2" not in table
    assert "https://example.com/?xxx" in table
    assert "bytearray(b&#x27;https://example.com/?xxx" in table


# --- The request ------------------------------------------------------------------------------------------------


def test_the_request() -> None:
    text = text_of(page_of(divide))
    assert "Line GET /path?a=1&b=%3Ci%3E HTTP/1.1" in text
    assert "Route none" in text
    assert "From 192.0.2.1" in text
    assert "Host example.com" in text
    assert "Query a 1 b <i>" in text


def test_the_name_of_the_route() -> None:
    def fail(request: HTTPRequest) -> None:
        request.route_name = "shop.basket"
        raise LookupError

    assert "Route shop.basket" in text_of(page_of(fail))


def test_secrets_of_the_request_are_masked() -> None:
    data = (
        b"GET /path?token=hunter2&plain=shown HTTP/1.1\r\nHost: a\r\nCookie: a=hunter2\r\n"
        b"Authorization: Basic hunter2\r\nProxy-Authorization: hunter2\r\nX-API-Key: hunter2\r\nReferer: http://a/?reset_token=hunter2\r\n\r\n"
    )
    page = page_of(divide, data)
    assert "hunter2" not in page
    assert "&lt;HTTPRequest GET /path?token=•••&amp;plain=shown&gt;" in page
    assert "X-Api-Key" in page


def test_a_form_is_shown_by_its_names() -> None:
    body = b"name=hunter2&other=hunter2"
    head = (
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n"
    )
    page = page_of(divide, head % len(body) + body)
    assert "hunter2" not in page
    assert "Form name a field other a field" in text_of(page)


def test_a_form_with_a_file() -> None:
    body = (
        b'--x\r\nContent-Disposition: form-data; name="upload"; filename="a"\r\n\r\nhunter2\r\n'
        b'--x\r\nContent-Disposition: form-data; name="<b>"\r\n\r\nhunter2\r\n--x--\r\n'
    )
    head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Type: multipart/form-data; boundary=x\r\nContent-Length: %d\r\n\r\n"
    page = page_of(divide, head % len(body) + body)
    assert "hunter2" not in page
    assert "Form <b> a field upload a file" in text_of(page)


def test_a_malformed_form_and_query() -> None:
    body = b"--x\r\nnonsense"
    query = b"&".join([b"a=1"] * 2000)
    head = (
        b"POST /?%b HTTP/1.1\r\nHost: a\r\nContent-Type: multipart/form-data; boundary=x\r\nContent-Length: %d\r\n\r\n"
    )
    text = text_of(page_of(divide, head % (query, len(body)) + body))
    assert text.count("cannot be read:") == 2


def test_large_requests() -> None:
    head = b"GET /%b?%b HTTP/1.1\r\nHost: a\r\n" % (b"p" * 4000, b"&".join([b"%%3C%d=%%3C" % n for n in range(300)]))
    fields = b"".join(b"X-%d: %b\r\n" % (number, b"&" * 1000) for number in range(50))
    assert len(page_of(divide, head + fields + b"\r\n")) < 512 * 1024


# --- Whatever happens -------------------------------------------------------------------------------------------


def test_a_page_of_much_is_bounded() -> None:
    """Every bound is reached at once."""

    def fail(request: HTTPRequest) -> None:
        values = ["\U0001f600<&>" * 300 for _ in range(40)]
        source = "\n".join([f"v{number} = values[{number}]  # {'&' * 500}" for number in range(39)])
        errors: list[Exception] = []
        for number in range(30):
            try:
                exec(compile(f"{source}\nfunction({number})", "<text>", "exec"), {"values": values, "function": down})
            except Exception as error:
                errors.append(error)
        raise ExceptionGroup("<" * 10_000, errors)

    def down(depth: int) -> int:
        one, two, three, four, five, six, seven = ["<" * 100_000] * 7
        eight, nine, ten = [{"<" * number: "&" * 1000 for number in range(100)}] * 3
        return down(depth + 1) if depth < 100 else 1 // 0

    page = page_of(fail)
    assert "More frames would make this page too large." in page
    assert "Request" in Reader(page).texts["h2"]


def test_a_page_that_fails_is_a_plain_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> str:
        raise RuntimeError("in the page itself")

    monkeypatch.setattr(_debug_page, "make_page", broken)
    page = page_of(divide)
    reader = Reader(page)
    assert reader.text("title") == "500 Internal Server Error"
    assert "ZeroDivisionError: division by zero" in reader.text("p")
    assert "in the page itself" not in page

    monkeypatch.setattr(traceback, "format_exception", broken)
    assert Reader(page_of(divide)).text("h1") == "500 Internal Server Error"


def test_a_request_that_cannot_be_shown() -> None:
    """Not one of HTTPServer's."""
    try:
        divide(SimpleNamespace())  # type: ignore[arg-type]
    except ZeroDivisionError as error:
        page = debug_page(SimpleNamespace(), error)  # type: ignore[arg-type]
    assert "division by zero" in page


def test_an_exception_whose_text_fails() -> None:
    class BadError(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    def fail(request: HTTPRequest) -> None:
        raise BadError

    assert "BadError" in page_of(fail)


def test_the_folder_is_gone(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What linecache asks the system for fails."""

    def gone(*_: object, **__: object) -> Any:
        raise OSError

    monkeypatch.setattr(os, "stat", gone)
    assert "division by zero" in page_of(divide)


def test_the_stack_is_nearly_full() -> None:
    """The page is made where the exception was caught, which may be deep; the one for visitors takes less."""

    def down(request: HTTPRequest) -> str:
        try:
            return down(request)
        except RecursionError as error:
            return debug_page(request, error)

    pages: list[str] = []

    def handler(request: HTTPRequest) -> None:
        pages.append(down(request))
        request.send_response("")

    with MemoryEngine() as engine:
        engine.accept(HTTPServer(handler, engine=engine)).send(REQUEST)
    assert pages[0].startswith("<!DOCTYPE html>")
