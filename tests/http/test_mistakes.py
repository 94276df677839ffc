"""What programs get wrong is told to them, and what clients send to be costly is not."""

from __future__ import annotations

import enum
import tracemalloc
from collections.abc import Callable

import pytest

from pants.http import HTTPRequest, HTTPServer, Limits
from pants.http._forms import parse_urlencoded
from tests.http.support import CHUNKED, get, post, site


def test_a_handler_that_returns_what_it_should_send(expect_log: Callable[[str], None]) -> None:
    expect_log("returned 'Hello', which is not sent")
    with site() as web:
        web.server.request_handler = lambda request: "Hello"
        web.ask(get() + get())


def test_a_handler_that_answers_may_return_anything() -> None:
    def handler(request: HTTPRequest) -> str:
        request.send_response("Hello")
        return "Hello"

    with site() as web:
        web.server.request_handler = handler
        assert [answer.content for answer in web.ask(get())] == [b"Hello"]


def test_an_async_handler_is_refused(expect_log: Callable[[str], None]) -> None:
    async def handler(request: HTTPRequest) -> None:
        request.send_response("Hello")

    with pytest.raises(TypeError, match="async function"):
        HTTPServer(handler)
    expect_log("async function")
    with site() as web:
        web.server.request_handler = lambda request: handler(request)
        assert [answer.status for answer in web.ask(get())] == [500]


class Sly(str):
    """A str that formats itself as something else."""

    __slots__ = ()

    def __format__(self, spec: str) -> str:
        return "a\r\nSet-Cookie: b"


class Color(str, enum.Enum):  # noqa: UP042 - a StrEnum formats itself as its value
    RED = "red"


@pytest.mark.parametrize("value, sent", [(Sly("plain"), "plain"), (Color.RED, "red")])
def test_what_was_checked_is_what_is_sent(value: str, sent: str) -> None:
    with site(lambda request: request.send_response("", headers={"X": value})) as web:
        [answer] = web.ask(get())
        assert answer.headers["X"] == sent
        assert "Set-Cookie" not in answer.headers


def test_a_charset_that_would_be_costly_is_not_known() -> None:
    """Python's punycode takes quadratic time; and a program may pass on what a client calls its type."""

    def handler(request: HTTPRequest) -> None:
        with pytest.raises(ValueError, match="not known"):
            request.send_response("a", content_type="text/plain; charset=punycode")
        request.send_response("fine")

    with site(handler) as web:
        assert [answer.content for answer in web.ask(get())] == [b"fine"]


@pytest.mark.parametrize("what", [b"\xff", b"%", b"%ff", b"a%", b"%41a"])
def test_a_form_takes_memory_in_proportion(what: bytes) -> None:
    limits = Limits()
    body = (b"a=" + what * (limits.form_memory // len(what)))[: limits.form_memory]
    tracemalloc.start()
    try:
        parse_urlencoded(body, "application/x-www-form-urlencoded", limits)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 20 * len(body)


def test_many_cookies_are_not_all_kept() -> None:
    with site() as web:
        names = [b"%x=" % number for number in range(10_000)]
        fields = [b"Cookie: " + b";".join(names[start : start + 2000]) for start in range(0, 10_000, 2000)]
        web.ask(get(*fields))
        assert 50 <= len(web.requests[0].cookies) <= 300


@pytest.mark.parametrize("chunk", [1, 4096])
def test_a_chunk_that_is_full_of_empty_lines(chunk: int) -> None:
    """RFC 9112 §7.1: they end nothing; nor do lines that begin with 0."""
    with site() as web:
        content = (b"\r\n\r\n0\r\n" * 300) + b"0\r\n"
        data = post(b"%x\r\n%b\r\n0\r\nA: b\r\n\r\n" % (len(content), content), CHUNKED)
        web.ask(data + get(), chunk=chunk)
        first, second = web.requests
        assert (first.body, first.trailers["A"], second.method) == (content, "b", "GET")
