"""`pants.web.testing.TestClient`: answers that come later or in pieces, and applications that fail."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pants.engine import Engine
from pants.http import HTTPRequest, RequestClosed, RequestTimedOut
from pants.web import Application, Response
from pants.web.events import EventStream, broadcast
from pants.web.testing import TestClient

ExpectLog = Callable[[str], None]


def of(view: Callable[[HTTPRequest], object], **options: Any) -> TestClient:
    """A client of an application with one page."""
    app = Application()
    app.route("/", "page", methods=("GET", "POST"), func=view)
    return app.test_client(**options)


def later(seconds: float) -> Callable[[HTTPRequest], None]:
    def view(request: HTTPRequest) -> None:
        request.auto_finish = False
        request.connection.engine.defer(seconds, request.send_response, "at last")

    return view


# --- Time -------------------------------------------------------------------------------------------------------------


def test_time_passes_where_it_is_waited_for() -> None:
    client = of(later(40))
    began = time.monotonic()
    assert client.get("/").text == "at last"
    assert client.engine.now == 40
    assert time.monotonic() - began < 20
    client.advance(5)
    assert client.engine.now == 45
    assert client.post("/", data=iter([b"content"])).text == "at last"


def test_no_time_passes_where_nothing_is_waited_for() -> None:
    client = of(lambda request: "spam")
    client.get("/")
    client.advance()
    assert client.engine.now == 0


def test_an_answer_that_is_never_finished() -> None:
    ended: list[bool] = []

    def view(request: HTTPRequest) -> None:
        request.auto_finish = False
        request.on_close = lambda: ended.append(True)

    client = of(view)
    with pytest.raises(RequestTimedOut, match=r"not finished within 60.0 seconds.*without an answer so far to GET"):
        client.get("/")
    assert client.engine.now == 60
    assert ended == [True]
    with pytest.raises(RequestTimedOut, match="within 5 seconds"):
        client.get("/", timeout=5)
    assert client.engine.now == 65
    assert not client._server.channels


def test_an_answer_that_is_never_complete() -> None:
    def view(request: HTTPRequest) -> None:
        request.send_headers({"Content-Length": 10})
        request.send("a part")
        request.auto_finish = False

    with pytest.raises(RequestTimedOut, match="TestResponse 200 OK to GET"):
        of(view, timeout=1).get("/")


def test_an_answer_that_comes_too_late() -> None:
    client = of(later(10), timeout=9.5)
    with pytest.raises(RequestTimedOut, match=r"within 9\.5"):
        client.get("/")
    assert client.get("/", timeout=10).text == "at last"


def test_an_answer_at_the_last_moment() -> None:
    client = of(later(60))
    assert client.get("/").text == "at last"


def test_an_application_that_uses_the_global_engine() -> None:
    """As the documentation says: that is another engine, which the test has to run."""

    def view(request: HTTPRequest) -> None:
        request.auto_finish = False
        Engine.instance().callback(request.send_response, "at last")

    client = of(view)
    response = client.get("/", stream=True)
    assert not response.complete
    Engine.instance().poll(0)
    client.advance()
    assert response.text == "at last"


def test_an_answer_without_end() -> None:
    def numbers() -> Iterator[str]:
        while True:
            yield "x" * 1_000_000

    with pytest.raises(RequestTimedOut, match=r"no end of .* stream=True"):
        of(lambda request: numbers()).get("/")


def test_a_connection_that_closes_without_an_answer() -> None:
    def view(request: HTTPRequest) -> None:
        request.finish()

    with pytest.raises(RequestClosed, match="closed without an answer: <TestResponse without an answer so far to GET"):
        of(view).get("/")


def test_an_answer_that_is_broken_off(expect_log: ExpectLog) -> None:
    expect_log("4 bytes less")

    def view(request: HTTPRequest) -> None:
        request.send_headers({"Content-Length": 10})
        request.send("a part")
        request.finish()

    with pytest.raises(RequestClosed, match="before the answer was complete"):
        of(view).get("/")


# --- Pieces -----------------------------------------------------------------------------------------------------------


def test_a_generator_is_waited_for() -> None:
    assert of(lambda request: (f"{i}\n" for i in range(1000))).get("/").text.count("\n") == 1000


def test_long_polling() -> None:
    app = Application()
    waiting: list[HTTPRequest] = []

    @app.route("/poll")
    def poll(request: HTTPRequest) -> None:
        request.auto_finish = False
        waiting.append(request)

    @app.route("/say", methods=["POST"])
    def say(request: HTTPRequest) -> None:
        while waiting:
            waiting.pop().send_response(request.body)

    with app.test_client() as client:
        response = client.get("/poll", stream=True)
        assert repr(response) == "<TestResponse without an answer so far to GET http://localhost/poll>"
        assert not response.complete
        assert response.data == b""
        with pytest.raises(RuntimeError, match=r"without an answer so far.*advance"):
            _ = response.status_code
        assert client.post("/say", data=b"spam").status_code == 204
        assert response.complete
        assert (response.status_code, response.text) == (200, "spam")
        client.advance()
        assert client._streams == {}
        response.close()


def test_an_exception_in_a_block_is_not_covered() -> None:
    client = of(later(5))
    with pytest.raises(ZeroDivisionError), client.get("/", stream=True):
        raise ZeroDivisionError
    assert client._streams == {}


def test_streams_that_are_left_when_the_client_is_closed() -> None:
    client = of(later(5))
    response = client.get("/", stream=True)
    client.close()
    response.close()
    with pytest.raises(RequestClosed):
        response.wait()


def test_events() -> None:
    app = Application()
    streams: set[EventStream] = set()

    @app.route("/events")
    def events(request: HTTPRequest) -> None:
        stream = EventStream(request, keep_alive=30)
        streams.add(stream)
        stream.on_close = lambda: streams.discard(stream)

    @app.route("/say", methods=["POST"])
    def say(request: HTTPRequest) -> list[int]:
        return [broadcast(streams, request.post["text"][0])]

    with app.test_client() as client:
        first, second = (client.get("/events", stream=True) for _ in range(2))
        assert first.mimetype == "text/event-stream"
        assert first.data == b""
        assert client.post("/say", data={"text": "spam"}).json == [2]
        assert first.text == second.text == "data: spam\n\n"
        client.advance(65)
        assert first.text == "data: spam\n\n:\n\n"  # a comment every 30 s, but for the first time there was an event
        first.close()
        assert client.post("/say", data={"text": "eggs"}).json == [1]
        assert second.text.endswith("data: eggs\n\n")
    assert not streams


def test_pieces_that_a_generator_makes_when_they_are_taken() -> None:
    made: list[int] = []

    def view(request: HTTPRequest) -> Iterator[bytes]:
        for i in range(5):
            made.append(i)
            yield b"x" * 70_000

    client = of(view)
    response = client.get("/", stream=True)
    assert made == [0]
    pieces = response.iter_pieces()
    for count in range(1, 6):
        assert len(next(pieces)) == 70_000
        assert made == list(range(count))
    assert list(pieces) == []
    assert response.complete
    assert client._streams == {}
    assert list(response.iter_pieces()) == []
    assert len(response.data) == 350_000


def test_a_generator_without_end() -> None:
    closed: list[bool] = []

    def view(request: HTTPRequest) -> Iterator[bytes]:
        try:
            while True:
                yield b"x" * 70_000
        finally:
            closed.append(True)

    client = of(view)
    with client.get("/", stream=True) as response:
        assert len(response.data) == 70_000
        client.advance()
        assert len(response.data) == 140_000
        client.advance(1)
        assert len(response.data) == 210_000
        assert not closed
    assert closed
    assert len(response.data) == 210_000
    with pytest.raises(RequestClosed):
        response.wait()


def test_pieces_that_come_with_time() -> None:
    def view(request: HTTPRequest) -> None:
        request.auto_finish = False
        request.send_headers({"Content-Type": "text/plain"})
        for seconds in (1, 2, 3):
            request.connection.engine.defer(seconds, request.send, f"{seconds} ")
        request.connection.engine.defer(4, request.finish)

    client = of(view)
    response = client.get("/", stream=True)
    seen = [(piece, client.engine.now) for piece in response.iter_pieces()]
    assert seen == [(b"1 ", 1), (b"2 ", 2), (b"3 ", 3)]
    assert response.complete
    response = client.get("/", stream=True)
    assert response.wait() is response
    assert response.text == "1 2 3 "
    response = client.get("/", stream=True)
    with pytest.raises(RequestTimedOut):
        response.wait(timeout=2.5)
    assert response.text == "1 2 "
    with pytest.raises(RequestTimedOut):
        next(client.get("/", stream=True).iter_pieces(timeout=0.5))
    with pytest.raises(TypeError):
        response.wait(timeout="1")  # type: ignore[arg-type]


def test_a_program_that_sends_on_drain() -> None:
    left = iter(range(3))

    def view(request: HTTPRequest) -> None:
        def send_more() -> None:
            for i in left:
                request.send(f"{i} ")
                return
            request.finish()

        request.auto_finish = False
        request.send_headers({"Content-Type": "text/plain"})
        request.on_drain = send_more

    client = of(view)
    response = client.get("/", stream=True)
    assert response.data == b""
    for expected in ("0 ", "0 1 ", "0 1 2 "):
        client.advance()
        assert response.text == expected


def test_a_stream_that_is_closed_tells_the_application() -> None:
    events: list[str] = []
    app = Application()
    app.request_teardown(lambda request: events.append("teardown"))

    @app.route("/")
    def page(request: HTTPRequest) -> None:
        request.auto_finish = False
        request.on_close = lambda: events.append("close")

    client = app.test_client()
    response = client.get("/", stream=True)
    assert events == []
    response.close()
    assert sorted(events) == ["close", "teardown"]
    response.close()
    client.get("/", stream=True)
    client.close()
    assert sorted(events) == ["close", "close", "teardown", "teardown"]


def test_streams_and_redirects() -> None:
    app = Application()
    app.route("/", "to", func=lambda request: Response("", 302, {"Location": "/page", "Set-Cookie": "a=1"}))
    app.route("/page", "page", func=lambda request: request.headers["Cookie"])
    response = app.test_client().get("/", stream=True, follow_redirects=True)
    assert (response.text, len(response.history)) == ("a=1", 1)


def test_content_that_a_view_does_not_take_at_once(tmp_path: Any) -> None:
    """A body that is paused is not sent on, and its file stays open until it is."""
    received: list[int] = []
    paused: list[HTTPRequest] = []

    def begin(request: HTTPRequest) -> None:
        def take(data: bytes) -> None:
            received.append(len(data))
            if len(received) == 1:
                request.pause_body()
                paused.append(request)
                request.connection.engine.defer(5, request.resume_body)

        request.on_data = take

    path = tmp_path / "file"
    path.write_bytes(bytes(500_000))
    client = of(lambda request: str(sum(received)), head_handler=begin)
    with path.open("rb") as file:
        response = client.post("/", data=file, stream=True)
    assert not response.complete
    assert sum(received) < 500_000
    assert response.wait().text == "500000"
    assert client.engine.now == 5
    assert response.request._body is not None
    assert response.request._body._closed


# --- Failures ---------------------------------------------------------------------------------------------------------


class Failed(Exception):
    pass


def fail(request: HTTPRequest) -> None:
    raise Failed("spam")


def test_an_exception_is_raised_in_the_test() -> None:
    client = of(fail)
    with pytest.raises(Failed, match="spam") as caught:
        client.get("/")
    assert "fail" in [entry.name for entry in caught.traceback]
    assert caught.value.__cause__ is None
    with pytest.raises(Failed):
        client.get("/")


def test_or_becomes_a_page(expect_log: ExpectLog) -> None:
    expect_log("Failed: spam")
    response = of(fail, raise_failures=False).get("/")
    assert response.status_code == 500
    assert response.mimetype == "text/html"


def test_of_any_request_handler(expect_log: ExpectLog) -> None:
    with pytest.raises(Failed):
        TestClient(fail).get("/")
    expect_log("Failed: spam")
    assert TestClient(fail, raise_failures=False).get("/").status_code == 500


def test_the_own_hook_for_failures_is_called_and_put_back() -> None:
    client = of(fail)
    told: list[Exception] = []

    def hook(request: HTTPRequest, exception: Exception) -> None:
        told.append(exception)

    app: Any = client.app
    app.on_failure = hook
    with pytest.raises(Failed):
        client.get("/")
    assert [type(exception) for exception in told] == [Failed]
    assert app.on_failure is hook
    del app.on_failure
    with pytest.raises(Failed):
        client.get("/")
    assert app.on_failure is None


def test_what_is_no_failure_is_not_raised() -> None:
    app = Application()
    app.error_handler(Failed)(lambda request, exception: ("handled", 418))
    app.route("/", "page", func=fail)
    assert app.test_client().get("/").status_code == 418
    assert app.test_client().get("/nothing").status_code == 404
    assert (
        TestClient(lambda request: request.post)
        .request("POST", "/", data="a", content_type="multipart/form-data; boundary=x")
        .status_code
        == 400
    )


def test_a_failure_without_a_log() -> None:
    logging.disable(logging.CRITICAL)
    try:
        for client in (of(fail), TestClient(fail)):
            with pytest.raises(Failed):
                client.get("/")
    finally:
        logging.disable(logging.NOTSET)


def test_a_generator_that_fails() -> None:
    def view(request: HTTPRequest) -> Iterator[str]:
        yield "a"
        raise Failed

    with pytest.raises(Failed):
        of(view).get("/")
    response = of(view).get("/", stream=True)
    pieces = response.iter_pieces()
    assert next(pieces) == b"a"
    with pytest.raises(Failed):
        next(pieces)


def test_a_hook_of_the_request_that_fails() -> None:
    def handler(request: HTTPRequest) -> None:
        def drained() -> None:
            raise Failed

        request.send_headers({})
        request.on_drain = drained

    with pytest.raises(Failed):
        TestClient(handler).get("/")


def test_a_timer_that_fails() -> None:
    def view(request: HTTPRequest) -> str:
        request.connection.engine.defer(5, fail, request)
        return "spam"

    client = of(view)
    assert client.get("/").text == "spam"
    with pytest.raises(Failed):
        client.advance(5)


def test_the_end_of_a_request_that_fails() -> None:
    app = Application()
    app.request_teardown(fail)
    app.route("/", "page", func=lambda request: "spam")
    with pytest.raises(Failed):
        app.test_client().get("/")


def test_a_stream_whose_close_fails() -> None:
    app = Application()
    app.request_teardown(fail)

    @app.route("/")
    def page(request: HTTPRequest) -> None:
        request.auto_finish = False

    client = app.test_client()
    with pytest.raises(Failed), client.get("/", stream=True):
        pass
    client.get("/", stream=True)
    with pytest.raises(Failed), client:
        pass
    assert client.engine.closed


def test_only_the_first_is_raised(expect_log: ExpectLog) -> None:
    expect_log("the second")
    app = Application()

    @app.request_teardown
    def teardown(request: HTTPRequest) -> None:
        raise Failed("the second")

    @app.route("/")
    def page(request: HTTPRequest) -> None:
        raise Failed("the first")

    with pytest.raises(Failed, match="the first"):
        app.test_client().get("/")


def test_other_lines_are_logged(expect_log: ExpectLog) -> None:
    expect_log("a warning")
    expect_log("an error without an exception")
    expect_log("of another thread")

    def log_elsewhere() -> None:
        try:
            raise Failed("of another thread")
        except Failed:
            logging.getLogger("pants.web").exception("of another thread")

    def view(request: HTTPRequest) -> str:
        logging.getLogger("pants.web").warning("a warning")
        logging.getLogger("pants.web").error("an error without an exception")
        thread = threading.Thread(target=log_elsewhere)
        thread.start()
        thread.join()
        return "spam"

    assert of(view).get("/").text == "spam"


def test_a_failure_within_another_client() -> None:
    inner = of(fail)

    def view(request: HTTPRequest) -> str:
        with pytest.raises(Failed):
            inner.get("/")
        return "spam"

    assert of(view).get("/").text == "spam"


def test_what_is_no_exception_of_the_program_goes_through() -> None:
    def view(request: HTTPRequest) -> str:
        if request.get:
            raise KeyboardInterrupt
        return "spam"

    client = of(view)
    with pytest.raises(KeyboardInterrupt):
        client.get("/?a=b")
    assert client.get("/").text == "spam"
    assert not logging.getLogger("pants.web").filters
