"""Answers that a generator makes up piece by piece, in chunks (RFC 9112 §7.1), as fast as the client takes them."""

from __future__ import annotations

import http.client
import io
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pants.http import HTTPRequest, HTTPServer, Refused
from pants.testing import MemoryEngine
from pants.web import Application, Response, abort, url_for
from pants.web._urls import current_request
from tests.conftest import ExpectedLog
from tests.web.support import Answer, asking, connected, fetch

TEXT = "text/plain; charset=UTF-8"
FAILED = r"The route 'view' \(/\) failed, on <HTTPRequest GET /\>\n(.|\n)*"
MEGABYTE = 1 << 20


def streaming(view: Callable[..., Any], **route: Any) -> Application:
    """An application whose / is a view."""
    app = Application()
    app.route("/", name="view", func=view, **route)
    return app


def yielding(*pieces: Any) -> Callable[[HTTPRequest], Iterator[Any]]:
    """A view that yields some pieces; an exception among them is raised."""

    def view(request: HTTPRequest) -> Iterator[Any]:
        for piece in pieces:
            if isinstance(piece, Exception):
                raise piece
            yield piece

    return view


# --- Pieces -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "pieces, content_type, content",
    [
        (["a", "ä", "☃"], TEXT, "aä☃".encode()),
        ([b"a", b"\xff"], "text/plain", b"a\xff"),
        (["a", b"\xff"], TEXT, b"a\xff"),
        ([b"a", "ä"], "text/plain", "aä".encode()),
        (["<!DOCTYPE html>", "<p>"], "text/html; charset=UTF-8", b"<!DOCTYPE html><p>"),
        ([b"<html>", b"<p>"], "text/html", b"<html><p>"),
        (["", "", "<html>"], "text/html; charset=UTF-8", b"<html>"),
        (["a" * 200_000, "b"], TEXT, b"a" * 200_000 + b"b"),
    ],
)
def test_what_a_generator_yields_is_sent_in_chunks(pieces: list[Any], content_type: str, content: bytes) -> None:
    """Streaming a generator (sync) as chunks."""
    answer = fetch(streaming(yielding(*pieces)))
    assert (answer.status, answer.content) == (200, content)
    assert answer.headers["Content-Type"] == content_type
    assert answer.headers["Transfer-Encoding"] == "chunked"
    assert "Content-Length" not in answer.headers


@pytest.mark.parametrize("pieces", [[], [""], [b"", ""]])
def test_a_generator_that_yields_nothing(pieces: list[Any]) -> None:
    """The answer is complete, and without content."""
    app = streaming(yielding(*pieces))
    with connected(app) as (_, peer):
        peer.send(asking() + asking())
        assert peer.received.count(b"HTTP/1.1 200 OK") == 2
    answer = fetch(app)
    assert (answer.status, answer.content) == (200, b"")


def test_pieces_without_content_do_not_end_the_answer() -> None:
    """RFC 9112 §7.1: a chunk without content is the last one."""
    with connected(streaming(yielding("a", "", b"", "b", ""))) as (engine, peer):
        peer.send(asking() + asking("/none"))
        engine.advance(10)
        stream, end, rest = peer.received.partition(b"0\r\n\r\n")
        assert Answer(stream + end).content == b"ab"
        assert rest.startswith(b"HTTP/1.1 404 ")


def test_a_generator_of_many_pieces() -> None:
    count = 5000
    answer = fetch(streaming(lambda request: (f"{number}\n" for number in range(count))))
    assert answer.content == b"".join(b"%d\n" % number for number in range(count))


def test_iterators_of_every_kind(tmp_path: pathlib.Path) -> None:
    (tmp_path / "file").write_bytes(b"one\ntwo\n")
    files: list[io.BufferedReader] = []

    def opened(request: HTTPRequest) -> io.BufferedReader:
        files.append((tmp_path / "file").open("rb"))
        return files[0]

    class Counting:
        left = 3

        def __iter__(self) -> Counting:
            return self

        def __next__(self) -> str:
            if not self.left:
                raise StopIteration
            self.left -= 1
            return str(self.left)

    views: list[tuple[Callable[[HTTPRequest], Any], bytes]] = [
        (lambda request: iter(["a", "b"]), b"ab"),
        (lambda request: map(str, [1, 2]), b"12"),
        (lambda request: reversed(["a", "b"]), b"ba"),
        (lambda request: Counting(), b"210"),
        (opened, b"one\ntwo\n"),
    ]
    for view, content in views:
        assert fetch(streaming(view)).content == content
    assert files[0].closed


def test_the_status_and_headers_of_a_stream() -> None:
    """Manual: "Status and Headers": the body may be anything that a view may return."""
    headers = [("X-One", "1"), ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")]
    for output in (lambda: (iter(["a"]), 206, headers), lambda: Response(iter(["a"]), 206, headers)):
        answer = fetch(streaming(lambda request, output=output: output()))
        assert (answer.status, answer.content, answer.headers["X-One"]) == (206, b"a", "1")
        assert answer.headers.get_all("Set-Cookie") == ["a=1", "b=2"]


def test_the_content_type_of_a_stream() -> None:
    """Manual: str is encoded as the Content-Type says."""
    answer = fetch(streaming(yielding("ä", b"\xff", "ö"), content_type="text/csv; charset=latin-1"))
    assert (answer.headers["Content-Type"], answer.content) == ("text/csv; charset=latin-1", b"\xe4\xff\xf6")
    answer = fetch(streaming(yielding("ä"), content_type="text/csv"))
    assert (answer.headers["Content-Type"], answer.content) == ("text/csv; charset=UTF-8", "ä".encode())
    answer = fetch(streaming(yielding(b"\xe4"), content_type="text/csv"))
    assert (answer.headers["Content-Type"], answer.content) == ("text/csv", b"\xe4")
    answer = fetch(streaming(lambda request: (iter([b"a"]), 200, {"content-type": "image/x-own"})))
    assert answer.headers.get_all("Content-Type") == ["image/x-own"]


def test_a_stream_of_a_length_that_is_declared() -> None:
    answer = fetch(streaming(lambda request: (iter(["ab", "c"]), 200, {"Content-Length": "3"})))
    assert (answer.headers["Content-Length"], answer.headers["Transfer-Encoding"]) == ("3", None)
    assert answer.content == b"abc"


@pytest.mark.parametrize("length, what", [("2", "more than|more"), ("4", "less than")])
def test_a_stream_of_another_length_than_declared(length: str, what: str, expect_log: ExpectedLog) -> None:
    expect_log(what)
    app = streaming(lambda request: (iter(["ab", "c"]), 200, {"Content-Length": length}))
    with connected(app) as (_, peer):
        peer.send(asking())
        assert peer.ended


def test_cookies_of_a_stream() -> None:
    def view(request: HTTPRequest) -> Any:
        request.cookies_out["a"] = "1"
        yield "a"

    assert fetch(streaming(view)).headers["Set-Cookie"] == "a=1"


def test_a_stream_leaves_the_connection_for_the_next_request() -> None:
    app = streaming(yielding("a", "b"))
    app.route("/next", name="next", func=lambda request: "next")
    with connected(app) as (_, peer):
        peer.window = 0
        peer.send(asking() + asking("/next"))
        peer.window = None
        stream, _, rest = peer.received.partition(b"0\r\n\r\n")
        assert Answer(stream + b"0\r\n\r\n").content == b"ab"
        assert Answer(rest).content == b"next"
        assert not peer.ended


def test_a_stream_to_a_client_of_http_1_0() -> None:
    """RFC 9112 §6.3: the end is that of the connection."""
    with connected(streaming(yielding("a", "b"))) as (_, peer):
        peer.send(asking(version="1.0"))
        answer = Answer(peer.received)
        assert (answer.status, answer.content, answer.headers["Transfer-Encoding"]) == (200, b"ab", None)
        assert peer.ended


def test_a_generator_is_asked_in_the_view_s_own_request() -> None:
    """`url_for` finds the request after the view has returned, and nothing of it is left behind."""
    seen: list[bool] = []

    def view(request: HTTPRequest) -> Any:
        for _ in range(3):
            seen.append(current_request() is request)
            yield url_for(".view")
            yield "a" * 1000

    app = streaming(view)
    with connected(app) as (_, peer):
        peer.window = 200
        peer.send(asking())
        assert current_request() is None
        while not peer.received.endswith(b"0\r\n\r\n"):
            peer.window = 500
            assert current_request() is None
        assert Answer(peer.received).content == (b"/" + b"a" * 1000) * 3
    assert seen == [True] * 3


def test_finished_gets_the_generator() -> None:
    app = streaming(yielding("a", "b"))
    app.request_finished(lambda request, output: (piece.upper() for piece in output))
    assert fetch(app).content == b"AB"


# --- HEAD, and answers without content --------------------------------------------------------------------------------


def test_a_stream_for_head() -> None:
    """RFC 9110 §9.3.2: no content; and none is made."""
    seen: list[str] = []

    def view(request: HTTPRequest) -> Any:
        seen.append("asked")
        yield "a"

    app = streaming(lambda request: (view(request), 201, {"X-One": "1"}))
    with connected(app) as (_, peer):
        peer.send(asking("/", "HEAD") + asking("/none", "HEAD"))
        assert peer.received.startswith(b"HTTP/1.1 201 ")
        assert b"\r\nX-One: 1\r\n" in peer.received
        assert b"HTTP/1.1 404 " in peer.received
        assert peer.received.endswith(b"\r\n\r\n")
    assert not seen


def test_a_stream_for_head_is_closed() -> None:
    class Source:
        closed = False

        def __iter__(self) -> Source:
            return self

        def __next__(self) -> str:
            return "a"

        def close(self) -> None:
            self.closed = True

    source = Source()
    fetch(streaming(lambda request: source), method="HEAD")
    assert source.closed


@pytest.mark.parametrize("piece", ["a", "<!DOCTYPE html>", b"<html>"])
def test_the_content_type_of_a_stream_for_head(piece: Any) -> None:
    """RFC 9110 §9.3.2: the same fields as with GET, but what is found out while the content is made may be left out."""
    app = streaming(yielding(piece))
    told = fetch(app, method="HEAD").headers["Content-Type"]
    assert told in (None, fetch(app).headers["Content-Type"])


def test_a_content_type_that_is_told_is_told_for_head_too() -> None:
    app = streaming(yielding(b"a"), content_type="image/x-own")
    assert fetch(app, method="HEAD").headers["Content-Type"] == "image/x-own"


@pytest.mark.parametrize("code", [204, 205, 304])
def test_a_stream_in_an_answer_without_content(code: int) -> None:
    with connected(streaming(lambda request: (iter(["a", "b"]), code))) as (engine, peer):
        peer.send(asking() + asking("/none"))
        engine.advance(5)
        head, _, rest = peer.received.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 %d " % code)
        assert rest.startswith(b"HTTP/1.1 404 ")


@pytest.mark.parametrize("code", [204, 304])
def test_a_stream_without_end_in_an_answer_without_content(code: int) -> None:
    """RFC 9110 §15.3.5: the answer is complete with its head, so that nobody waits for what the generator makes."""
    seen: list[str] = []

    def view(request: HTTPRequest) -> Any:
        try:
            for _ in range(2000):
                yield "a" * 1000
        finally:
            seen.append("closed")

    app = streaming(lambda request: (view(request), code))
    app.request_teardown(lambda request: seen.append("teardown"))
    with connected(app) as (_, peer):
        peer.send(asking())
        assert seen[-1:] == ["teardown"]


# --- Exceptions -------------------------------------------------------------------------------------------------------


def test_an_exception_before_the_first_piece_is_an_error_page(expect_log: ExpectedLog) -> None:
    expect_log(FAILED + "ZeroDivisionError")
    for pieces in ([ZeroDivisionError("a")], ["", ZeroDivisionError("a")]):
        answer = fetch(streaming(yielding(*pieces)))
        assert (answer.status, answer.headers["Transfer-Encoding"]) == (500, None)
        assert b"500 Internal Server Error" in answer.content


def test_an_error_before_the_first_piece_is_its_page() -> None:
    def view(request: HTTPRequest) -> Any:
        abort(403)
        yield "a"

    app = streaming(view)
    assert fetch(app).status == 403
    app.error_handler(403)(lambda request, exception: "handled")
    assert fetch(app).content == b"handled"
    assert fetch(streaming(yielding(Refused(400, "no")))).status == 400


@pytest.mark.parametrize("version", ["1.1", "1.0"])
def test_an_exception_later_cuts_the_connection(version: str, expect_log: ExpectedLog) -> None:
    """DESIGN §3: a close if the answer has begun; RFC 9112 §8: the client sees that it is not complete."""
    expect_log(FAILED + "ZeroDivisionError")
    app = streaming(yielding("begun", ZeroDivisionError("a")))
    told: list[Exception] = []
    seen: list[str] = []
    app.on_failure = lambda request, exception: told.append(exception)
    app.request_teardown(lambda request: seen.append("teardown"))
    with connected(app) as (_, peer):
        peer.send(asking(version=version) + (asking("/none") if version == "1.1" else b""))
        assert peer.ended or peer.was_reset
        assert b"404" not in peer.received
        if version == "1.1":
            with pytest.raises(http.client.IncompleteRead):
                Answer(peer.received)
            assert b"begun" in peer.received
    assert [type(exception) for exception in told] == [ZeroDivisionError]
    assert seen == ["teardown"]


def test_an_http_exception_later_cuts_the_connection(expect_log: ExpectedLog) -> None:
    expect_log(FAILED + "HTTPException")

    def view(request: HTTPRequest) -> Any:
        yield "begun"
        abort(403)

    with connected(streaming(view)) as (_, peer):
        peer.send(asking())
        assert peer.ended
        assert peer.received.endswith(b"begun\r\n")


@pytest.mark.parametrize("piece", [5, None, ["a"], {"a": 1}, object(), bytearray(b"a")])
def test_a_piece_that_is_none(piece: Any, expect_log: ExpectedLog) -> None:
    """A return value that can't be sent gives a 500 with a log entry that names the route."""
    expect_log(FAILED + "TypeError: a generator that answers yields str or bytes")
    seen: list[str] = []

    def view(request: HTTPRequest, *pieces: Any) -> Any:
        try:
            for piece in pieces:
                yield piece
                seen.append("asked for more")
        finally:
            seen.append("closed")

    assert fetch(streaming(lambda request: view(request, piece, "b"))).status == 500
    assert seen == ["closed"]
    seen.clear()
    with connected(streaming(lambda request: view(request, "a", piece, "b"))) as (_, peer):
        peer.send(asking())
        assert peer.ended
        assert peer.received.endswith(b"a\r\n")
    assert seen == ["asked for more", "closed"]


@pytest.mark.parametrize("piece", [5, ZeroDivisionError()])
def test_an_exception_later_to_a_client_that_takes_its_time(piece: Any, expect_log: ExpectedLog) -> None:
    """What was made before arrives; what ends the answer does not, nor what would come behind the exception."""
    expect_log(FAILED)
    with connected(streaming(yielding("a", "b" * 30_000, piece, "after"))) as (_, peer):
        peer.window = 400
        peer.send(asking())
        for _ in range(100):
            peer.window = 1000
        assert peer.ended
        assert peer.received.endswith(b"b\r\n")
        with pytest.raises(http.client.IncompleteRead):
            Answer(peer.received)


def test_teardown_comes_behind_the_end_of_a_generator_that_fails(expect_log: ExpectedLog) -> None:
    expect_log(FAILED)
    seen: list[str] = []

    def view(request: HTTPRequest) -> Any:
        try:
            yield "a"
            yield 5
        finally:
            seen.append("closed")

    app = streaming(view)
    app.request_teardown(lambda request: seen.append("teardown"))
    with connected(app) as (_, peer):
        peer.send(asking())
    assert seen == ["closed", "teardown"]


def test_a_generator_that_fails_while_it_is_closed(expect_log: ExpectedLog) -> None:
    expect_log("ZeroDivisionError")
    seen: list[str] = []

    def view(request: HTTPRequest) -> Any:
        try:
            while True:
                yield "a" * 1000
        finally:
            raise ZeroDivisionError

    app = streaming(view)
    app.request_teardown(lambda request: seen.append("teardown"))
    with MemoryEngine() as engine:
        server = HTTPServer(app, engine=engine)
        peer = engine.accept(server)
        peer.window = 3000
        peer.send(asking())
        peer.reset()
        assert seen == ["teardown"]
        other = engine.accept(server)
        other.send(asking("/none"))
        assert Answer(other.received).status == 404


def test_a_charset_that_lacks_a_character_is_an_error(expect_log: ExpectedLog) -> None:
    expect_log(FAILED + "UnicodeEncodeError")
    assert fetch(streaming(yielding("☃"), content_type="text/plain; charset=latin-1")).status == 500
    with connected(streaming(yielding("a", "☃"), content_type="text/plain; charset=latin-1")) as (_, peer):
        peer.send(asking())
        assert peer.ended


def test_what_cannot_be_a_head_is_an_error_and_closes_the_generator(expect_log: ExpectedLog) -> None:
    expect_log(FAILED)
    seen: list[str] = []

    def view(request: HTTPRequest) -> Any:
        try:
            yield "a"
        finally:
            seen.append("closed")

    def streamed(request: HTTPRequest) -> Any:
        return view(request), 200, {"Transfer-Encoding": "chunked"}

    assert fetch(streaming(streamed)).status == 500
    assert seen == ["closed"]


@pytest.mark.parametrize("first", [True, False])
def test_half_a_surrogate_pair_in_a_piece_is_no_error(first: bool) -> None:
    """A visitor's bad input never gives a 500; a str may contain one, and UTF-8 may not."""

    def view(request: HTTPRequest) -> Any:
        if not first:
            yield "begun"
        yield "\ud83d"
        yield "end"

    answer = fetch(streaming(view), "/")
    assert answer.status == 200
    assert answer.content.decode().endswith("end")


# --- Clients ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["reset", "close"])
def test_a_client_that_leaves_has_the_generator_closed(way: str) -> None:
    seen: list[str] = []

    def view(request: HTTPRequest) -> Any:
        try:
            while True:
                yield b"a" * 1000
        except GeneratorExit:
            seen.append("left")
            raise
        finally:
            seen.append("closed")

    with connected(streaming(view)) as (engine, peer):
        peer.window = 5000
        peer.send(asking())
        engine.advance(1)
        assert not seen
        getattr(peer, way)()
        engine.advance(1)
        assert seen == ["left", "closed"]


def test_a_client_that_sends_nothing_more_gets_its_answer() -> None:
    """The end of what it sends is not that of what it receives (RFC 9293 §3.6)."""
    with connected(streaming(yielding(*["a" * 1000] * 50))) as (_, peer):
        peer.window = 500
        peer.send(asking())
        peer.end()
        for _ in range(100):
            peer.window = 1000
        assert Answer(peer.received).content == b"a" * 50_000
        assert peer.ended


def test_a_client_that_has_left_before_the_first_piece() -> None:
    seen: list[str] = []

    def view(request: HTTPRequest) -> Any:
        try:
            request.connection.close(flush=False)
            yield "a"
            seen.append("asked for more")
            yield "b"
        finally:
            seen.append("closed")

    app = streaming(view)
    app.request_teardown(lambda request: seen.append("teardown"))
    with connected(app) as (engine, peer):
        peer.send(asking())
        engine.advance(1)
    assert sorted(seen) == ["closed", "teardown"]


def test_a_gigabyte_to_a_slow_client_takes_no_memory() -> None:
    """A generator is asked for more only when the client has taken what there was."""
    made = 0
    piece = bytes(MEGABYTE)

    def view(request: HTTPRequest) -> Any:
        nonlocal made
        for _ in range(1024):
            made += len(piece)
            yield piece

    with connected(streaming(view)) as (_, peer):
        taken = 0
        peer.window = 0
        peer.send(asking())
        for _ in range(200):
            peer.window = 100_000
            taken += len(peer.take())
            assert made - taken < 4 * MEGABYTE
        assert taken > 10 * MEGABYTE
        peer.reset()


def test_small_pieces_to_a_slow_client_take_no_memory() -> None:
    made = 0

    def view(request: HTTPRequest) -> Any:
        nonlocal made
        while True:
            made += 10
            yield "0123456789"

    with connected(streaming(view)) as (engine, peer):
        taken = 0
        peer.window = 0
        peer.send(asking())
        engine.advance(1)
        for _ in range(20):
            peer.window = 20_000
            taken += len(peer.take())
            assert made - taken < MEGABYTE
        assert taken > 200_000
        peer.reset()


def test_the_first_piece_is_sent_while_the_next_is_not_made_yet() -> None:
    """What a generator has yielded does not wait for what it has not."""
    sent: list[bytes] = []

    def view(request: HTTPRequest) -> Any:
        yield "first"
        sent.append(peer.received)
        yield "second"

    with connected(streaming(view)) as (_, peer):
        peer.send(asking())
        assert b"first" in sent[0]
        assert b"second" in peer.received


def test_streams_to_several_clients_take_turns() -> None:
    """One that never ends does not keep the others from their answers."""
    order: list[str] = []

    def view(request: HTTPRequest, name: str) -> Any:
        for _ in range(300 if name == "long" else 2):
            order.append(name)
            yield b"a" * 10_000

    app = Application()
    app.route("/<name>", name="view", func=view)
    with MemoryEngine() as engine:
        server = HTTPServer(app, engine=engine)
        peers = {name: engine.accept(server) for name in ("long", "short")}

        def ask() -> None:
            for name, peer in peers.items():
                peer.send(asking(f"/{name}"))

        engine.callback(ask)
        engine.advance(1)
        assert peers["short"].received.endswith(b"0\r\n\r\n")
        assert peers["long"].received.endswith(b"0\r\n\r\n")
    last = len(order) - 1 - order[::-1].index("short")
    assert "long" in order[last:]
    assert order.count("long") == 300


@pytest.mark.parametrize("leaves", [True, False])
def test_a_generator_that_runs_the_engine(leaves: bool) -> None:
    """It is not asked for more while it is running, and is closed once, even if the client has left meanwhile."""
    seen: list[str] = []

    def view(request: HTTPRequest) -> Any:
        try:
            yield "a"
            if leaves:
                peer.reset()
            for _ in range(3):
                engine.poll(0)
            yield "b"
        finally:
            seen.append("closed")

    app = streaming(view)
    app.request_teardown(lambda request: seen.append("teardown"))
    with connected(app) as (engine, peer):
        peer.send(asking())
        engine.advance(1)
        if not leaves:
            assert Answer(peer.received).content == b"ab"
    assert sorted(seen) == ["closed", "teardown"]


def test_a_generator_that_finishes_the_request_itself() -> None:
    seen: list[str] = []

    def view(request: HTTPRequest) -> Any:
        try:
            yield "a"
            request.finish()
            yield "b"
            seen.append("asked for more")
        finally:
            seen.append("closed")

    assert fetch(streaming(view)).content == b"a"
    assert seen == ["closed"]


def test_a_generator_that_fails_at_its_end(expect_log: ExpectedLog) -> None:
    """The client has gone; the log names the route, and on_failure is told."""
    expect_log("The route 'view'(.|\n)*ZeroDivisionError")
    told: list[Exception] = []
    app = Application()
    app.on_failure = lambda request, exception: told.append(exception)

    @app.route("/")
    def view(request: HTTPRequest) -> Any:
        try:
            while True:
                yield "x" * 10000
        finally:
            raise ZeroDivisionError

    with connected(app) as (engine, peer):
        peer.window = 5000
        peer.send(asking())
        peer.reset()
        engine.advance(1)
    assert [type(error) for error in told] == [ZeroDivisionError]
