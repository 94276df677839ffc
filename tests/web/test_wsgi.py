"""`pants.web.WSGIConnector`: what PEP 3333 asks of a server, with the application in the loop and in threads."""

from __future__ import annotations

import collections
import contextlib
import functools
import logging
import re
import sys
import threading
from typing import Any
from wsgiref.simple_server import demo_app
from wsgiref.validate import validator

import pytest

from pants import Engine
from pants.http import HTTPServer
from pants.testing import run_until
from pants.web import WSGIConnector, _wsgi_answer, _wsgi_inline
from pants.web._wsgi_answer import checked_head, send_failure
from pants.web._wsgi_inline import end_all
from tests.http.peers_support import in_thread, serving
from tests.http.support import take_apart
from tests.web.wsgi_support import (
    DEADLINE,
    TEXT,
    App,
    Result,
    answering,
    ask,
    ask_application,
    connect,
    exchange,
    request_line,
    serving_wsgi,
)

WITH_LENGTH = [*TEXT, ("Content-Length", "6")]


@pytest.fixture(params=[0, 2], ids=["inline", "threads"])
def threads(request: pytest.FixtureRequest) -> int:
    return int(request.param)


# --- Arguments --------------------------------------------------------------------------------------------------------


def test_its_arguments_are_checked() -> None:
    make: Any = WSGIConnector
    with pytest.raises(TypeError, match="which can be called, not 5"):
        make(5)

    async def asynchronous(scope: object, receive: object, send: object) -> None: ...

    class Asynchronous:
        async def __call__(self, scope: object, receive: object, send: object) -> None: ...

    for application in (asynchronous, Asynchronous()):
        with pytest.raises(TypeError, match="a WSGI application is a plain one"):
            make(application)
    for name in ("threads", "max_waiting"):
        for value in (True, 1.5, "1", None):
            with pytest.raises(TypeError, match=f"{name} is a number, not {value!r}"):
                make(demo_app, **{name: value})
        with pytest.raises(ValueError, match=f"{name} is 0 or more, not -1"):
            make(demo_app, **{name: -1})


def test_it_tells_whose_it_is() -> None:
    assert repr(WSGIConnector(demo_app)) == "<WSGIConnector wsgiref.simple_server.demo_app>"
    assert repr(WSGIConnector(functools.partial(demo_app))).startswith(
        "<WSGIConnector functools.partial(<function demo_"
    )


# --- Content ----------------------------------------------------------------------------------------------------------


def test_the_program_of_the_manual(threads: int) -> None:
    def hello_app(environ: dict[str, Any], start_response: App) -> list[bytes]:
        start_response("200 OK", {"Content-Type": "text/plain"})
        return [b"Hello, World!"]

    answer = ask_application(hello_app, threads)
    assert (answer.status, answer.content) == (200, b"Hello, World!")
    assert answer.headers["Content-Type"] == "text/plain"
    assert answer.headers["Content-Length"] == "13"


def test_the_demonstration_of_the_standard_library(threads: int) -> None:
    answer = ask_application(demo_app, threads, path="/some/where?and=more")
    assert answer.content.startswith(b"Hello world!\n")
    assert b"PATH_INFO = '/some/where'\n" in answer.content
    assert b"QUERY_STRING = 'and=more'\n" in answer.content


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"])
def test_the_validator_finds_nothing(threads: int, method: str, recwarn: pytest.WarningsRecorder) -> None:
    def application(environ: dict[str, Any], start_response: App) -> list[bytes]:
        stream, errors = environ["wsgi.input"], environ["wsgi.errors"]
        found = [stream.read(3), stream.readline(), *stream.readlines(1), *stream, stream.read(5)]
        errors.flush()
        errors.writelines([])
        write = start_response("200 OK", [*TEXT, ("X-Length", str(sum(map(len, found))))])
        if method == "PUT":
            write(b"written ")
        return [] if method == "HEAD" else [b"".join(found)]

    body = b"one\ntwo\nthree\nfour" if method in ("POST", "PUT") else b""
    answer = ask_application(validator(application), threads, method, "/%C3%A9?q", body)
    assert answer.status == 200
    assert answer.headers["X-Length"] == str(len(body))
    assert answer.content == (b"written " if method == "PUT" else b"") + body
    assert not recwarn.list


@pytest.mark.parametrize(
    "result, content",
    [([], b""), ([b""], b""), ([b"one"], b"one"), ([b"one", b"", b"two"], b"onetwo"), ((b"a",), b"a")],
)
def test_a_list_is_sent_with_its_length(threads: int, result: Any, content: bytes) -> None:
    answer = ask_application(answering(result), threads)
    assert answer.content == content
    assert answer.headers["Content-Length"] == str(len(content))


def test_so_is_whatever_tells_that_it_has_one_block(threads: int) -> None:
    class Single(Result):
        def __len__(self) -> int:
            return 1

    result = Single([b"one"])
    answer = ask_application(answering(result), threads)
    assert (answer.headers["Content-Length"], answer.content) == ("3", b"one")
    run_until(lambda: result.closed == 1)


def test_without_a_length_it_is_chunked(threads: int) -> None:
    """Manual: "and will do so automatically when the WSGI application's response does not contain information"."""
    with serving_wsgi(answering(lambda: Result([b"one", b"", b"two", b"three"])), threads) as server:
        data = exchange(server, request_line() + b"Connection: close\r\n\r\n")
        assert b"\r\nTransfer-Encoding: chunked\r\n" in data
        assert data.endswith(b"\r\n\r\n3\r\none\r\n3\r\ntwo\r\n5\r\nthree\r\n0\r\n\r\n")


def test_to_http_1_0_it_ends_with_the_connection(threads: int) -> None:
    answer = ask_application(answering(lambda: Result([b"one", b"two"])), threads, protocol="HTTP/1.0")
    assert answer.content == b"onetwo"
    assert "Transfer-Encoding" not in answer.headers


def test_a_long_list_is_sent_block_by_block_with_its_length(threads: int) -> None:
    blocks = [bytes([number]) * 300_000 for number in range(6)]
    answer = ask_application(answering(blocks), threads)
    assert answer.headers["Content-Length"] == "1800000"
    assert answer.content == b"".join(blocks)


def test_nothing_is_sent_before_there_is_content(threads: int) -> None:
    """PEP 3333: the head is not sent before the first block that is not empty, so that it can still be another."""

    def application(environ: dict[str, Any], start_response: App) -> Any:
        start_response("200 OK", TEXT)
        yield b""
        try:
            raise LookupError("spam")
        except LookupError:
            start_response("404 Not Found", TEXT, sys.exc_info())
        yield b"none of that"

    answer = ask_application(application, threads)
    assert (answer.status, answer.content) == (404, b"none of that")


def test_empty_blocks_may_be_many(threads: int) -> None:
    answer = ask_application(answering(lambda: Result([b""] * 100 + [b"at last"] + [b""] * 40)), threads)
    assert answer.content == b"at last"
    answer = ask_application(answering(lambda: Result([b""] * 40)), threads)
    assert (answer.content, answer.headers["Content-Length"]) == (b"", "0")


def test_start_response_may_be_called_by_the_first_block(threads: int) -> None:
    def application(environ: dict[str, Any], start_response: App) -> Any:
        start_response("202 Accepted", WITH_LENGTH)
        yield b"spam"
        yield b"!!"

    answer = ask_application(application, threads)
    assert (answer.status, answer.content, answer.headers["Content-Length"]) == (202, b"spam!!", "6")


def test_whatever_can_be_iterated_will_do(threads: int) -> None:
    class Old:
        def __getitem__(self, index: int) -> bytes:
            return [b"one", b"two"][index]

    assert ask_application(answering(Old), threads).content == b"onetwo"
    assert ask_application(answering(lambda: {b"key": 1}), threads).content == b"key"


# --- No content -------------------------------------------------------------------------------------------------------


def test_head_has_the_fields_of_get(threads: int) -> None:
    answer = ask_application(answering([b"spam"]), threads, "HEAD")
    assert (answer.content, answer.headers["Content-Length"]) == (b"", "4")
    answer = ask_application(answering([], headers=WITH_LENGTH), threads, "HEAD")
    assert (answer.content, answer.headers["Content-Length"]) == (b"", "6")
    answer = ask_application(answering([]), threads, "HEAD")
    assert "Content-Length" not in answer.headers  # nobody knows what GET would get


def test_content_for_head_is_dropped(threads: int) -> None:
    endless = Result(iter(lambda: b"spam", None))
    answer = ask_application(answering(endless), threads, "HEAD")
    assert (answer.status, answer.content) == (200, b"")
    run_until(lambda: endless.closed == 1)
    assert endless.taken == 1


def test_so_is_what_is_written_for_it(threads: int) -> None:
    endless = Result(iter(lambda: b"spam", None))

    def application(environ: dict[str, Any], start_response: App) -> Any:
        start_response("200 OK", TEXT)(b"spam")
        return endless

    assert ask_application(application, threads, "HEAD").content == b""
    run_until(lambda: endless.closed == 1)


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified", "205 Reset Content"])
def test_some_statuses_have_no_content(threads: int, status: str) -> None:
    with serving_wsgi(answering([b"none"], status, [("ETag", '"x"')]), threads) as server:
        data = exchange(server, request_line() + b"\r\n" + request_line() + b"Connection: close\r\n\r\n")
        first, second = take_apart(data)
        assert first.status == second.status == int(status[:3])
        assert first.content == second.content == b""
        assert data.count(b"none") == 0


# --- start_response() -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status, code", [("200 OK", 200), ("299", 299), ("404 ", 404), ("599 Odd \xe9", 599)])
def test_good_statuses(threads: int, status: str, code: int) -> None:
    assert ask_application(answering([b""], status), threads).status == code


@pytest.mark.parametrize(
    "status, message",
    [
        (200, "the status is a str like '200 OK', not 200"),
        (b"200 OK", "the status is a str like '200 OK', not b'200 OK'"),
        (["200"], "the status is a str"),
        ("OK", "the status is that of a final answer"),
        ("100 Continue", "200 to 599, not '100 Continue'"),
        ("600 Odd", "200 to 599"),
        ("2000 OK", "200 to 599"),
        ("200 OK\r\nX: y", "200 to 599"),
        ("\uff12\uff10\uff10 OK", "200 to 599"),
        ("", "200 to 599"),
    ],
)
def test_bad_statuses(threads: int, status: Any, message: str, expect_log: Any) -> None:
    expect_log(re.escape(message))
    assert ask_application(answering([b""], status), threads).status == 500


@pytest.mark.parametrize(
    "headers, message",
    [
        ("X-A: b", "a list of tuples of a name and a value, not 'X-A: b'"),
        (None, "a list of tuples of a name and a value, not None"),
        (iter([]), "a list of tuples of a name and a value"),
        (["ab"], "a header is a tuple of a name and a value, not 'ab'"),
        ([("a",)], "a header is a tuple"),
        ([("X-A", 5)], "the name and the value of a header are str, unlike 'X-A': 5"),
        ([("X-A", b"b")], "are str, unlike 'X-A': b'b'"),
        ([(b"X-A", "b")], "are str, unlike b'X-A': 'b'"),
        ([("X-A", ["b"])], "are str, unlike"),
        ({"X-A": None}, "are str, unlike"),
        ([("X A", "b")], "a token .*, not 'X A'"),
        ([("", "b")], "a token .*, not ''"),
        ([("X-A", "b\r\nX-B: c")], "the header X-A has control characters"),
        ([("X-A", "b\0")], "has control characters"),
        ([("X-A", "\u20ac")], "such as Latin-1 does not have"),
        ([("Content-Length", "-1")], "Content-Length is a number of bytes, not '-1'"),
        ([("Content-Length", "\u00b2")], "Content-Length is a number"),
        ([("Content-Length", "1" * 19)], "Content-Length is a number"),
        ([("Content-Length", "1"), ("content-length", "1")], "Content-Length is given twice"),
        *[
            ([(name, "close")], f"the header {name} is hop-by-hop")
            for name in (
                *("Connection", "keep-alive", "Proxy-Authenticate", "Proxy-Authorization", "TE", "Trailer", "Trailers"),
                *("Transfer-Encoding", "UPGRADE"),
            )
        ],
    ],
)
def test_bad_headers(headers: Any, message: str, expect_log: Any) -> None:
    expect_log(message)
    for threads in (0, 1):
        assert ask_application(answering([b"x"], headers=headers), threads).status == 500


def test_headers_are_sent_as_they_are(threads: int) -> None:
    headers = [
        ("X-Odd", "\xe9\t \xff"),
        ("x-lower", ""),
        ("Set-Cookie", "a=b"),
        ["Set-Cookie", "c=d"],
        ("Content-Type", "text/plain; charset=nonsense"),
    ]
    for _ in range(2):
        with serving_wsgi(answering([b"x"], headers=headers), threads) as server:
            data = exchange(server, request_line() + b"Connection: close\r\n\r\n")
            lines = data.partition(b"\r\n\r\n")[0].split(b"\r\n")
        assert lines[3:] == [
            *(b"Connection: close", b"X-Odd: \xe9\t \xff", b"x-lower: ", b"Set-Cookie: a=b", b"Set-Cookie: c=d"),
            *(b"Content-Type: text/plain; charset=nonsense", b"Content-Length: 1"),
        ]


def test_a_charset_that_nobody_knows_is_the_applications_affair(threads: int) -> None:
    headers = [("Content-Type", "text/plain; charset=nonsense")]
    answer = ask_application(answering([b"x"], headers=headers), threads)
    assert (answer.headers["Content-Type"], answer.content) == ("text/plain; charset=nonsense", b"x")


def test_date_and_server_may_be_the_applications(threads: int) -> None:
    headers = [*TEXT, ("Date", "Thu, 01 Jan 1970 00:00:00 GMT"), ("Server", "Spam")]
    answer = ask_application(answering([b"x"], headers=headers), threads)
    assert answer.headers.get_all("Date") == ["Thu, 01 Jan 1970 00:00:00 GMT"]
    assert answer.headers.get_all("Server") == ["Spam"]


def test_it_is_called_once(threads: int, expect_log: Any) -> None:
    def application(environ: dict[str, Any], start_response: App) -> list[bytes]:
        start_response("200 OK", TEXT)
        start_response("201 Created", TEXT)
        return []

    expect_log(r"start_response\(\) has been called already, and may be again with exc_info only")
    assert ask_application(application, threads).status == 500


def test_it_is_called_before_the_first_block(threads: int, expect_log: Any) -> None:
    expect_log(r"calls start_response\(\) before its first block, and this one did not")
    for result in ([b"x"], [], iter([b"x"]), iter([])):
        assert ask_application(lambda environ, start_response, result=result: result, threads).status == 500


def test_with_exc_info_it_may_be_called_first(threads: int) -> None:
    def application(environ: dict[str, Any], start_response: App) -> list[bytes]:
        try:
            raise LookupError
        except LookupError:
            start_response("404 Not Found", TEXT, sys.exc_info())
        start_response("410 Gone", TEXT, (None, None, None))
        return [b"gone"]

    assert ask_application(application, threads).status == 410


def test_with_exc_info_it_raises_once_the_head_is_sent(threads: int, expect_log: Any) -> None:
    seen = []

    def application(environ: dict[str, Any], start_response: App) -> Any:
        start_response("200 OK", TEXT)
        yield b"spam"
        try:
            raise LookupError("too late")
        except LookupError:
            try:
                start_response("500 Oh", TEXT, sys.exc_info())
            except LookupError as error:
                seen.append(error)
                raise

    expect_log("LookupError: too late")
    with serving_wsgi(application, threads) as server:
        data = exchange(server, request_line() + b"\r\n")
        assert data.startswith(b"HTTP/1.1 200 OK\r\n")
        assert data.endswith(b"4\r\nspam\r\n")  # and no last chunk: the client sees that it is not whole
        assert str(seen[0]) == "too late"


# --- write() ----------------------------------------------------------------------------------------------------------


def test_what_is_written_comes_before_what_is_returned(threads: int) -> None:
    def application(environ: dict[str, Any], start_response: App) -> Any:
        write = start_response("200 OK", TEXT)
        write(b"one ")
        write(b"")
        write(b"two ")
        return [b"three"] if environ["PATH_INFO"] == "/list" else iter([b"three", b"!"])

    assert ask_application(application, threads, path="/list").content == b"one two three"
    assert ask_application(application, threads).content == b"one two three!"


def test_what_is_written_leaves_at_once(threads: int) -> None:
    """PEP 3333: a block is passed to the system, or sent on by another thread, before write() returns."""
    arrived = threading.Event()
    waited = []

    def application(environ: dict[str, Any], start_response: App) -> list[bytes]:
        write = start_response("200 OK", TEXT)
        write(b"first")
        waited.append(arrived.wait(DEADLINE))
        return []

    def talk(server: HTTPServer) -> bytes:
        client = connect(server)
        with contextlib.closing(client):
            client.request("GET", "/")
            response = client.getresponse()
            first = response.read(5)
            arrived.set()
            return first + response.read()

    with serving_wsgi(application, threads) as server:
        assert in_thread(lambda: talk(server)) == b"first"
    assert waited == [True]


def test_write_takes_bytes(threads: int, expect_log: Any) -> None:
    def application(environ: dict[str, Any], start_response: App) -> list[bytes]:
        start_response("200 OK", TEXT)("spam")
        return []

    expect_log(r"TypeError: write\(\) takes bytes, not str, as 'spam'; encode it")
    assert ask_application(application, threads).status == 500


# --- What is wrong with a result --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "result, message",
    [
        (["spam"], "yields bytes, not str, as 'spam'; encode it"),
        (("spam",), "yields bytes, not str"),
        (iter(["spam"]), "yields bytes, not str"),
        ([b"", 5], "yields bytes, not int, as 5"),
        (iter([None]), "yields bytes, not None"),
        ([bytearray(b"x")], "yields bytes, not bytearray"),
        ("spam", "returns an iterable of bytes, not str, as 'spam'"),
        (b"spam", "returns an iterable of bytes, not bytes"),
        (None, "returns an iterable of bytes, not None"),
        (5, "returns an iterable of bytes, not int, as 5"),
        (iter(["x" * 1_000_000]), r"not str, as 'x{12}\.\.\.x{13}'"),
    ],
)
def test_bad_results(result: Any, message: str, expect_log: Any) -> None:
    expect_log(f"The WSGI application .*answering.*application failed, on GET /where[^$]*{message}")
    for threads in (0, 1):
        with serving_wsgi(answering(lambda: result), threads) as server:
            answer = ask(server, path="/where")
        if answer.status == 200:  # an iterator that is spent
            continue
        assert answer.status == 500
        assert b"bytes" not in answer.content


def test_a_coroutine_is_no_result(threads: int, expect_log: Any) -> None:
    async def later() -> list[bytes]:
        return []

    expect_log("returns an iterable of bytes, not coroutine")
    assert ask_application(answering(later), threads).status == 500


def test_less_than_the_content_length(threads: int, expect_log: Any) -> None:
    expect_log("had 2 bytes less than its Content-Length; the connection is closed")
    for result in ([b"spam"], Result([b"spam"]), Result([b"sp", b"am"])):
        with serving_wsgi(answering(result, headers=WITH_LENGTH), threads) as server:
            data = exchange(server, request_line() + b"\r\n" + request_line() + b"\r\n")
            assert data.endswith(b"Content-Length: 6\r\n\r\nspam")


def test_more_than_the_content_length(threads: int, expect_log: Any) -> None:
    expect_log("had 2 bytes more than its Content-Length; the connection is closed")
    for result in ([b"spamspam"], Result([b"spamspam"]), Result([b"spam", b"spam"])):
        with serving_wsgi(answering(result, headers=WITH_LENGTH), threads) as server:
            data = exchange(server, request_line() + b"\r\n")
            assert data.endswith((b"Content-Length: 6\r\n\r\n", b"Content-Length: 6\r\n\r\nspam"))


def test_more_behind_a_whole_answer_is_dropped(threads: int, expect_log: Any) -> None:
    expect_log("has more content than its Content-Length, which was not sent, on GET /")
    endless = Result(iter(lambda: b"spam!!", None))
    assert ask_application(answering(endless, headers=WITH_LENGTH), threads).content == b"spam!!"
    run_until(lambda: endless.closed == 1)
    assert endless.taken == 2


# --- Exceptions -------------------------------------------------------------------------------------------------------


class Failure(Exception):
    pass


def test_an_exception_is_a_500(threads: int, expect_log: Any) -> None:
    def application(environ: dict[str, Any], start_response: App) -> list[bytes]:
        start_response("200 OK", TEXT)
        raise Failure("the secret")

    expect_log(r"ERROR pants.web.wsgi: The WSGI application .*application failed, on GET /x\?y=z\n(.*\n)*.*the secret")
    with serving_wsgi(application, threads) as server:
        answer = ask(server, path="/x?y=z")
        assert server.counters.failures == 1
    assert answer.status == 500
    assert answer.headers["Content-Type"] == "text/html; charset=UTF-8"
    assert b"500 Internal Server Error" in answer.content
    assert b"secret" not in answer.content
    assert b"Failure" not in answer.content


def test_it_is_shown_with_debug_only(threads: int, expect_log: Any) -> None:
    """Manual: "Whether or not to display tracebacks and additional debugging information"."""

    def application(environ: dict[str, Any], start_response: App) -> list[bytes]:
        raise Failure("the <secret>")

    expect_log("the <secret>")
    answer = ask_application(application, threads, debug=True)
    assert answer.status == 500
    assert b"Failure" in answer.content
    assert b"the &lt;secret&gt;" in answer.content
    assert b"the <secret>" not in answer.content
    assert b"test_wsgi.py" in answer.content


def test_an_exception_before_the_first_block_is_a_500(threads: int, expect_log: Any) -> None:
    expect_log("Failure: first")
    result = Result([b"", Failure("first")])
    assert ask_application(answering(result), threads).status == 500
    run_until(lambda: result.closed == 1)


def test_one_behind_it_breaks_the_answer_off(threads: int, expect_log: Any) -> None:
    expect_log("Failure: second")
    result = Result([b"spam", Failure("second")])
    with serving_wsgi(answering(result), threads) as server:
        data = exchange(server, request_line() + b"\r\n" + request_line() + b"\r\n")
        assert data.endswith(b"\r\n\r\n4\r\nspam\r\n")
        assert data.count(b"HTTP/1.1") == 1
    run_until(lambda: result.closed == 1)


def test_one_behind_the_whole_content_is_logged(threads: int, expect_log: Any) -> None:
    expect_log("failed behind its answer, on GET /\n(.*\n)*.*Failure: last")
    result = Result([b"spam!!", Failure("last")])
    answer = ask_application(answering(result, headers=WITH_LENGTH), threads)
    assert (answer.status, answer.content) == (200, b"spam!!")
    run_until(lambda: result.closed == 1)


def test_one_out_of_close_is_logged(threads: int, expect_log: Any) -> None:
    class Unclosable(Result):
        def close(self) -> None:
            super().close()
            raise Failure("unclosable")

    expect_log("failed when its result was closed, on GET /")
    result = Unclosable([b"spam"])
    assert ask_application(answering(result), threads).content == b"spam"
    run_until(lambda: result.closed == 1)


def test_a_thread_survives_what_ends_a_process(expect_log: Any) -> None:
    def application(environ: dict[str, Any], start_response: App) -> list[bytes]:
        if environ["PATH_INFO"] == "/exit":
            sys.exit(3)
        start_response("200 OK", TEXT)
        return [b"alive"]

    class Exiting(Result):
        def close(self) -> None:
            super().close()
            raise SystemExit(4)

    expect_log("failed, on GET /exit\n(.*\n)*SystemExit: 3")
    expect_log("failed behind its answer, on GET /\n(.*\n)*SystemExit: 3")
    expect_log("failed behind its answer, on GET /\n(.*\n)*SystemExit: 4")
    with serving_wsgi(application, 1) as server:
        assert ask(server, path="/exit").status == 500
        assert ask(server).content == b"alive"
    for result in (Result([b"spam!!", SystemExit(3)]), Exiting([b"spam!!"])):
        with serving_wsgi(answering(result, headers=WITH_LENGTH), 1) as server:
            assert ask(server).content == b"spam!!"
            run_until(lambda: server.request_handler._pool._idle)  # type: ignore[attr-defined]
            assert result.closed == 1


@pytest.mark.parametrize("blocks", [[b"", SystemExit(3)], [b"spam!!", SystemExit(3)], [b"spa", SystemExit(3)]])
def test_in_the_loop_it_ends_the_process(blocks: list[Any]) -> None:
    result = Result(blocks)
    with serving_wsgi(answering(result, headers=WITH_LENGTH), 0) as server:
        client = connect(server)
        client.request("GET", "/")
        with pytest.raises(SystemExit):
            run_until(lambda: result.closed)
        assert result.closed == 1
        run_until(lambda: len(blocks[0]) == 6 or not server.channels)  # what cannot be completed is closed
        client.close()


def test_close_is_called_after_the_answer(threads: int) -> None:
    """PEP 3333: "upon completion of the current request"; the client does not wait for it."""
    arrived = threading.Event()
    waited = []

    class Slow(Result):
        def close(self) -> None:
            waited.append(arrived.wait(DEADLINE))
            super().close()

    def talk(server: HTTPServer) -> bytes:
        client = connect(server)
        with contextlib.closing(client):
            client.request("GET", "/")
            content = client.getresponse().read()
            arrived.set()
            return content

    result = Slow([b"spam!!"])
    with serving_wsgi(answering(result, headers=WITH_LENGTH), threads) as server:
        assert in_thread(lambda: talk(server)) == b"spam!!"
    run_until(lambda: result.closed == 1)
    assert waited == [True]


def test_a_generator_comes_to_its_end_behind_its_last_block(threads: int) -> None:
    ended = []

    def application(environ: dict[str, Any], start_response: App) -> Any:
        start_response("200 OK", WITH_LENGTH)
        yield b"spam!!"
        ended.append(True)

    assert ask_application(application, threads).content == b"spam!!"
    run_until(lambda: ended)


# --- wsgi.errors ------------------------------------------------------------------------------------------------------


def test_errors_are_logged_line_by_line(threads: int, expect_log: Any, caplog: pytest.LogCaptureFixture) -> None:
    def application(environ: dict[str, Any], start_response: App) -> list[bytes]:
        errors = environ["wsgi.errors"]
        assert errors.write("one\ntwo ") == 8
        errors.write("and\r\n\nthree %s")
        errors.flush()
        errors.flush()
        errors.writelines(["four\n", "five"])
        with pytest.raises(TypeError, match="takes str, not bytes"):
            errors.write(b"six")
        start_response("200 OK", TEXT)
        return []

    for line in ("one", "two and", "three %s", "four", "five"):
        expect_log(f"ERROR pants.web.wsgi: {re.escape(line)}$")
    assert ask_application(application, threads).status == 200
    run_until(lambda: caplog.records[-1].getMessage() == "five")
    lines = [record.getMessage() for record in caplog.records if record.name == "pants.web.wsgi"]
    assert lines == ["one", "two and", "three %s", "four", "five"]


def test_a_line_without_end_is_cut(expect_log: Any, caplog: pytest.LogCaptureFixture) -> None:
    def application(environ: dict[str, Any], start_response: App) -> list[bytes]:
        for _ in range(5):
            environ["wsgi.errors"].write("x" * 5000)
        start_response("200 OK", TEXT)
        return []

    expect_log("xxx")
    ask_application(application, 0)
    lines = [record.getMessage() for record in caplog.records if record.name == "pants.web.wsgi"]
    assert [len(line) for line in lines] == [10000, 10000, 5000]


def test_it_serves_as_a_stream_of_logging(expect_log: Any) -> None:
    def application(environ: dict[str, Any], start_response: App) -> list[bytes]:
        logger = logging.Logger("spam")  # noqa: LOG001 - one that nothing is left of
        logger.addHandler(logging.StreamHandler(environ["wsgi.errors"]))
        logger.warning("eggs")
        start_response("200 OK", TEXT)
        return []

    expect_log("eggs")
    assert ask_application(application, 0).status == 200


def test_the_log_may_lead_to_it(threads: int, expect_log: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """A common configuration: all that is logged is written to wsgi.errors. It goes to standard error then."""
    handlers: list[logging.Handler] = []

    def application(environ: dict[str, Any], start_response: App) -> list[bytes]:
        handlers.append(logging.StreamHandler(environ["wsgi.errors"]))
        logging.getLogger("pants.web.wsgi").addHandler(handlers[0])
        environ["wsgi.errors"].write("spam\n")
        start_response("200 OK", TEXT)
        return []

    expect_log("ERROR pants.web.wsgi: spam")
    try:
        assert ask_application(application, threads).status == 200
    finally:
        logging.getLogger("pants.web.wsgi").removeHandler(handlers[0])
    assert capsys.readouterr().err == "spam\n"


# --- Connections ------------------------------------------------------------------------------------------------------


def test_a_connection_carries_many_requests(threads: int) -> None:
    def application(environ: dict[str, Any], start_response: App) -> Any:
        start_response("200 OK", TEXT)
        return [environ["PATH_INFO"].encode()] if environ["PATH_INFO"] < "/3" else iter([b"it", b"er"])

    with serving_wsgi(application, threads) as server:
        pipelined = b"".join(request_line(path=f"/{number}") + b"\r\n" for number in range(1, 5))
        data = exchange(server, pipelined + request_line(path="/0") + b"Connection: close\r\n\r\n")
        assert [answer.content for answer in take_apart(data)] == [b"/1", b"/2", b"iter", b"iter", b"/0"]


@pytest.mark.parametrize("delay", [-1, 0, 0.005, 5])
def test_answers_of_one_turn_leave_together(delay: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the loop. Each is the right one, and each application comes to its end, be they sent in several batches."""
    monkeypatch.setattr(_wsgi_inline, "_MOST_DELAY", delay)
    results: dict[str, Result] = {}

    def application(environ: dict[str, Any], start_response: App) -> Result:
        path = environ["PATH_INFO"]
        results[path] = Result([path.encode()])
        start_response("200 OK", [*TEXT, ("Content-Length", str(len(path)))])
        return results[path]

    def talk(server: HTTPServer) -> list[bytes]:
        clients = [connect(server) for _ in range(20)]
        for number, client in enumerate(clients):
            client.request("GET", f"/{number}")
        contents = [client.getresponse().read() for client in clients]
        for client in clients:
            client.close()
        return contents

    with serving_wsgi(application, 0) as server:
        assert in_thread(lambda: talk(server)) == [b"/%d" % number for number in range(20)]
        run_until(lambda: all(result.closed == 1 for result in results.values()))


def test_an_answer_outside_the_loop_leaves_at_once() -> None:
    result = Result([b"spam!!"])
    connector = WSGIConnector(answering(result, headers=WITH_LENGTH), threads=0)
    requests: list[Any] = []
    with serving(requests.append) as server:
        client = connect(server)
        client.request("GET", "/")
        run_until(lambda: requests)
        connector(requests[0])
        assert requests[0].finished
        assert result.closed == 1
        assert client.getresponse().read() == b"spam!!"
        client.close()


def test_the_end_of_one_is_no_harm_to_the_rest() -> None:
    """SystemExit out of one application's end: those behind it come to theirs when the engine goes on."""

    class Ending:
        def __init__(self, error: BaseException | None) -> None:
            self.error = error

        def end(self) -> None:
            ended.append(self)
            if self.error is not None:
                raise self.error

    ended: list[Ending] = []
    runs: Any = [Ending(None), Ending(SystemExit(3)), Ending(None)]
    engine = Engine.instance()
    with pytest.raises(SystemExit):
        end_all(engine, collections.deque(runs))
    assert ended == runs[:2]
    engine.poll(0)
    assert ended == runs


def test_many_different_headers(threads: int) -> None:
    """What is kept of them is bounded, and never taken for something else."""
    for number in range(1200):
        length = [("Content-Length", str(number)), ("Content-Type", f"text/{number}")]
        head = checked_head(f"{200 + number % 400} Odd {number}", length)
        assert (head.code, head.length, head.content_type) == (200 + number % 400, number, f"text/{number}")
    assert checked_head("200 OK", [("Set-Cookie", "secret")]).fields == [("Set-Cookie", "secret")]
    assert len(_wsgi_answer._good) <= 512
    assert len(_wsgi_answer._codes) <= 64
    assert ("Set-Cookie", "secret") not in _wsgi_answer._good


def test_an_answer_that_somebody_else_has_given_meanwhile() -> None:
    connector = WSGIConnector(answering([b"late"]), threads=0)

    def handler(request: Any) -> None:
        connector(request)
        request.send_response("first")

    with serving(handler) as server:
        assert ask(server).content == b"first"


def test_what_cannot_be_sent_is_a_500(threads: int, expect_log: Any) -> None:
    """By what others have done to the request: a hook that fails, a cookie that cannot be sent."""
    connector = WSGIConnector(answering([b"x"]), threads=threads)

    def handler(request: Any) -> None:
        if request.path == "/hook":
            request._on_head = lambda code, fields: 1 / 0
        else:
            request.cookies_out["a"] = "b"
            request.cookies_out["a"]["path"] = "c\r\nd"
        connector(request)

    expect_log("ZeroDivisionError")
    expect_log("ValueError: .*cookie")
    with serving(handler) as server:
        assert ask(server, path="/hook").status == 500
        answer = ask(server, path="/cookie")
        assert (answer.status, answer.headers["Set-Cookie"]) == (500, None)
        assert server.counters.failures == 2


def test_a_failure_behind_a_whole_answer_changes_nothing() -> None:
    def handler(request: Any) -> None:
        request.send_response("whole")
        send_failure(request, None)

    with serving(handler) as server:
        assert ask(server).content == b"whole"


def test_compressed_by_the_server(threads: int) -> None:
    for headers in (TEXT, [*TEXT, ("X-A", "b")]):
        with serving_wsgi(answering([b"spam " * 1000], headers=headers), threads, compression=True) as server:
            data = exchange(server, request_line() + b"Accept-Encoding: gzip\r\nConnection: close\r\n\r\n")
            assert b"Content-Encoding: gzip\r\n" in data
            assert ask(server).headers["Content-Length"] == "5000"
    with serving_wsgi(answering([b"spam " * 1000]), threads, compression=True) as server:
        data = exchange(server, request_line() + b"Accept-Encoding: gzip\r\nConnection: close\r\n\r\n")
        assert b"Content-Encoding: gzip\r\n" in data
        assert len(data) < 1000
        assert ask(server).content == b"spam " * 1000


def test_cookies_of_the_server_go_with_it(threads: int) -> None:
    connector = WSGIConnector(answering([b"x"], headers=[("Set-Cookie", "a=b")]), threads=threads)

    def handler(request: Any) -> None:
        request.cookies_out["c"] = "d"
        connector(request)

    with serving(handler) as server:
        assert sorted(ask(server).headers.get_all("Set-Cookie") or []) == ["a=b", "c=d"]
