"""`HTTPRequest.send_response` and `finish` (manual), and what RFC 9110 and 9112 ask of an answer."""

from __future__ import annotations

import email.utils
import re
import time
from typing import Any

import pytest

from pants.http import HTTPRequest
from tests.http.support import Answer, get, post, site, take_apart


def answer_to(data: bytes, *args: Any, method: str = "GET", **kwargs: Any) -> Answer:
    with site(lambda request: request.send_response(*args, **kwargs)) as web:
        [answer] = web.ask(data, method)
        return answer


def test_the_answer_is_complete() -> None:
    """RFC 9110 §6.6.1 Date, §10.2.4 Server, §8.3 Content-Type, §8.6 Content-Length; no more than that."""
    with site() as web:
        peer = web.connect()
        peer.send(get())
        head, _, content = peer.received.partition(b"\r\n\r\n")
    pattern = (
        rb"HTTP/1\.1 200 OK\r\nServer: Pants\r\nDate: ([^\r]*)\r\n"
        rb"Content-Type: text/plain\r\nContent-Length: 13"
    )
    match = re.fullmatch(pattern, head)
    assert match is not None
    assert abs(email.utils.parsedate_to_datetime(match[1].decode()).timestamp() - time.time()) < 60
    assert content == b"Hello, World!"


def test_date_follows_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """RFC 9110 §6.6.1. It is made once a second."""
    now = 1_000_000_000.7
    monkeypatch.setattr(time, "time", lambda: now)
    with site() as web:
        dates = []
        for step in (0, 0.2, 0.2, 0.8, 10):
            now += step
            web.engine.advance(step)
            web.engine.poll(0)
            dates.append(web.ask(get())[0].headers["Date"][-11:-4])
    assert dates == ["1:46:40", "1:46:40", "1:46:41", "1:46:41", "1:46:51"]


@pytest.mark.parametrize("content", [b"\xe4\0", bytearray(b"\xe4\0"), memoryview(b"\xe4\0")])
def test_bytes_are_sent_as_they_are(content: Any) -> None:
    answer = answer_to(get(), content, 200, "application/octet-stream")
    assert answer.content == b"\xe4\0"
    assert answer.headers["Content-Type"] == "application/octet-stream"


@pytest.mark.parametrize(
    "content_type, encoded",
    [
        ("text/plain", "ä".encode()),
        ("text/plain; charset=ISO-8859-1", b"\xe4"),
        ('text/html;CharSet="utf-16-le"', b"\xe4\0"),
        ("text/plain; format=flowed; charset=utf-8", "ä".encode()),
    ],
)
def test_a_str_is_encoded_with_the_charset_of_its_type(content_type: str, encoded: bytes) -> None:
    """DESIGN §3: else UTF-8. The type itself is sent as it was given."""
    answer = answer_to(get(), "ä", content_type=content_type)
    assert answer.content == encoded
    assert answer.headers["Content-Type"] == content_type


class Text(str):
    """A str of another class."""


def test_a_subclass_of_str_is_a_str() -> None:
    assert answer_to(get(), Text("ä")).content == "ä".encode()


def test_the_answer_to_head_has_a_length_and_no_content() -> None:
    """RFC 9110 §9.3.2."""
    with site() as web:
        peer = web.connect()
        peer.send(get(line=b"HEAD / HTTP/1.1") + get())
        assert peer.received.count(b"Content-Length: 13\r\n\r\n") == 2
        assert peer.received.count(b"Hello") == 1
        head, ordinary = take_apart(peer.received, "HEAD", "GET")
        assert (head.content, ordinary.content) == (b"", b"Hello, World!")


@pytest.mark.parametrize("code", [204, 304])
def test_codes_without_content(code: int) -> None:
    """RFC 9110 §8.6: 204 has no Content-Length; §15.4.5: 304 has that of the answer it stands for, or none."""
    answer = answer_to(get(), "ignored", code)
    assert answer.status == code
    assert answer.content == b""
    assert "Content-Length" not in answer.headers
    assert "Content-Type" not in answer.headers


def test_205_says_that_it_has_no_content() -> None:
    """RFC 9110 §15.3.6."""
    answer = answer_to(get(), "ignored", 205)
    assert (answer.content, answer.headers["Content-Length"]) == (b"", "0")


@pytest.mark.parametrize("code, reason", [(200, "OK"), (404, "Not Found"), (418, "I'm a Teapot"), (299, ""), (599, "")])
def test_the_status_line(code: int, reason: str) -> None:
    """RFC 9112 §4: the reason phrase may be empty, the space before it not."""
    with site(lambda request: request.send_response("", code)) as web:
        peer = web.connect()
        peer.send(get())
        assert peer.received.startswith(b"HTTP/1.1 %d %b\r\n" % (code, reason.encode()))


def test_an_answer_has_the_version_of_its_request() -> None:
    """Manual: "send_status"."""
    assert answer_to(get(line=b"GET / HTTP/1.0"), "").version == "HTTP/1.0"


def test_more_headers() -> None:
    answer = answer_to(get(), "a", headers={"X-One": "1", "allow": "GET, HEAD"})
    assert (answer.headers["X-One"], answer.headers["Allow"]) == ("1", "GET, HEAD")
    answer = answer_to(get(), "a", headers=[("Set-Cookie", "a=b"), ("Set-Cookie", "c=d; e=\xe4")])
    assert answer.headers.get_all("Set-Cookie") == ["a=b", "c=d; e=\xe4"]


BAD: dict[str, tuple[type[Exception], str, tuple[Any, ...]]] = {
    "CR LF in the type": (ValueError, "control characters", ("", 200, "text/plain\r\nX: y")),
    "LF in the type": (ValueError, "control characters", ("", 200, "text/plain\n")),
    "NUL in the type": (ValueError, "control characters", ("", 200, "text/\0plain")),
    "a type beyond Latin-1": (ValueError, "Latin-1", ("", 200, "text/☃")),
    "a type that is none": (TypeError, "content_type is a str", ("", 200, b"text/plain")),
    "an interim code": (ValueError, "final answer", ("", 100)),
    "a code too high": (ValueError, "final answer", ("", 600)),
    "a code that is none": (TypeError, "code is an int", ("", "200")),
    "a bool": (TypeError, "code is an int", ("", True)),
    "content that is none": (TypeError, "content is str or bytes, not int", (1,)),
    "no content": (TypeError, "not NoneType", (None,)),
    "an unknown charset": (ValueError, "not known", ("", 200, "text/plain; charset=x-none")),
    "a charset that is no text": (ValueError, "not known", ("", 200, "text/plain; charset=base64")),
    "a charset without the character": (ValueError, "encode", ("☃", 200, "text/plain; charset=ascii")),
    "CR LF in a header": (ValueError, "header X cannot", ("", 200, "text/plain", {"X": "a\r\nSet-Cookie: b"})),
    "LF in a name": (ValueError, "token", ("", 200, "text/plain", {"X\n": "a"})),
    "a colon in a name": (ValueError, "token", ("", 200, "text/plain", {"X:": "a"})),
    "an empty name": (ValueError, "token", ("", 200, "text/plain", {"": "a"})),
    "a name that is none": (TypeError, "name of a header", ("", 200, "text/plain", {1: "a"})),
    "a value that is none": (TypeError, "header X is a str", ("", 200, "text/plain", {"X": 1.5})),
    "a header of the framing": (ValueError, "by the server", ("", 200, "text/plain", {"CONTENT-length": "1"})),
    "a coding": (ValueError, "by the server", ("", 200, "text/plain", {"Transfer-Encoding": "chunked"})),
}


@pytest.mark.parametrize("name", BAD)
def test_what_would_break_the_protocol_raises_at_the_call(name: str) -> None:
    """DESIGN §3: response splitting is impossible. The request can be answered still."""
    error, pattern, args = BAD[name]

    def handler(request: HTTPRequest) -> None:
        with pytest.raises(error, match=pattern):
            request.send_response(*args)
        assert not request.finished
        request.send_response("good")

    with site(handler) as web:
        assert [answer.content for answer in web.ask(get())] == [b"good"]


def test_a_request_is_answered_once() -> None:
    """DESIGN §3: `send` after `finish` is a RuntimeError; `finish` is idempotent."""

    def handler(request: HTTPRequest) -> None:
        assert not request.finished
        request.send_response("one")
        assert request.finished
        with pytest.raises(RuntimeError, match="answered once"):
            request.send_response("two")
        request.finish()
        request.connection.finish()

    with site(handler) as web:
        peer = web.connect()
        peer.send(get())
        peer.send(get())
        assert [answer.content for answer in take_apart(peer.received)] == [b"one", b"one"]
        web.requests[0].finish()
        assert not peer.ended


def test_a_request_finished_without_an_answer_closes_the_connection() -> None:
    """DESIGN §2: a finished message XOR a closed connection. The next answer would be taken for this one's."""
    with site(lambda request: request.finish()) as web:
        peer = web.connect()
        peer.send(get() + get())
        assert peer.ended
        assert peer.received == b""
        assert len(web.requests) == 1


def test_connection_finish_finishes_the_request() -> None:
    """Manual: "HTTPConnection.finish" prepares for closing the connection or reading a new request."""

    def handler(request: HTTPRequest) -> None:
        request.connection.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab")
        request.connection.finish()
        assert request.finished
        assert request.connection.current_request is None

    with site(handler) as web:
        assert [answer.content for answer in web.ask(get() + get())] == [b"ab", b"ab"]


def test_nothing_is_sent_to_a_client_that_has_gone() -> None:
    """DESIGN §3: `send` to a client that has gone is a no-op."""
    with site(lambda request: None) as web:
        peer = web.connect()
        peer.send(get())
        [request] = web.requests
        connection = request.connection
        assert connection.current_request is request
        peer.reset()
        assert connection.closed
        assert connection.current_request is None
        request.send_response("lost")
        assert request.finished
        with pytest.raises(RuntimeError):
            request.send_response("again")


def test_a_request_of_a_client_that_has_gone_can_be_finished() -> None:
    with site(lambda request: None) as web:
        peer = web.connect()
        peer.send(get())
        peer.reset()
        [request] = web.requests
        request.finish()
        assert request.finished


def test_answers_of_many_kinds_are_not_all_kept() -> None:
    def handler(request: HTTPRequest) -> None:
        request.send_response("a", 200, f"text/{len(web.requests)}")

    with site(handler) as web:
        answers = web.ask(get() * 1000)
        assert [answer.headers["Content-Type"] for answer in answers] == [f"text/{n}" for n in range(1, 1001)]
        assert len(web.server._answer_heads._heads) <= 256


def test_the_body_of_a_post_is_there_when_the_handler_is_called() -> None:
    """Manual: "body"."""
    with site(lambda request: request.send_response(request.body[::-1])) as web:
        assert [answer.content for answer in web.ask(post(b"abc") + post(b"") + post(b"de"))] == [b"cba", b"", b"ed"]
