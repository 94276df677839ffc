"""A WebSocket of a server: how it comes about, what it tells of itself, and how it fits into its server."""

from __future__ import annotations

import copy
import gc
import logging
import pickle
import ssl
import weakref
from typing import Any, ClassVar

import pytest
import trustme

from pants import Engine, Stream
from pants.http import Deflate, EntireMessage, HTTPRequest, HTTPServer, WebSocket, _ws_frames, broadcast
from pants.testing import MemoryEngine, run_until
from tests.conftest import ExpectedLog
from tests.core.support import client_of, descriptors
from tests.http.support import get, take_apart
from tests.http.ws_support import (
    ACCEPT,
    BINARY,
    CLOSE,
    DEFLATE,
    OPENING_FIELDS,
    TEXT,
    Client,
    Echo,
    Frame,
    Recorder,
    StreamClient,
    closing,
    codes,
    frame,
    message,
    opened,
    opening,
    take_frames,
    ws_site,
)

Later = list[HTTPRequest]


# --- As a request handler -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunk", [None, 1])
def test_a_class_is_a_request_handler(chunk: int | None) -> None:
    """Manual: "Listening for Connections"; RFC 6455 §4.2.2 for the answer."""
    with MemoryEngine() as engine:
        peer = engine.accept(HTTPServer(Echo, engine=engine))
        peer.send(opening(), chunk)
        [answer] = take_apart(peer.take())
        assert answer.status == 101
        assert answer.headers["Upgrade"].lower() == "websocket"
        assert answer.headers["Connection"].lower() == "upgrade"
        assert answer.headers["Sec-WebSocket-Accept"] == ACCEPT
        assert "Content-Length" not in answer.headers
        assert "Transfer-Encoding" not in answer.headers  # RFC 9110 §8.6, RFC 9112 §6.1
        peer.send(message("Hello") + message(b"\0\xff"), chunk)
        assert take_frames(peer.take()) == ([Frame(TEXT, b"Hello"), Frame(BINARY, b"\0\xff")], b"")


def test_one_is_made_by_hand_inside_a_handler() -> None:
    """Manual: "If you need to host traditional requests"; also on a connection that has answered some of them."""

    def handler(request: HTTPRequest) -> None:
        if request.path == "/_ws":
            Echo(request)
        else:
            request.send_response("Nothing to see here.")

    with MemoryEngine() as engine:
        peer = engine.accept(HTTPServer(handler, engine=engine))
        peer.send(get())
        peer.send(get() + opening(line=b"GET /_ws HTTP/1.1") + message("a"))
        first, second, rest = peer.take().partition(b"HTTP/1.1 101")
        assert [answer.content for answer in take_apart(first)] == [b"Nothing to see here."] * 2
        assert (second + rest).endswith(b"\r\n\r\n\x81\x01a")


def test_arguments_reach_on_connect() -> None:
    """Manual: "Any additional arguments passed to the constructor will be passed to this method"."""
    with ws_site(Recorder, "name", 7) as site:
        websocket, _ = site.open()
        assert websocket.events[-1] == ("connect", "name", 7)


def later() -> tuple[Later, Any]:
    requests: Later = []
    return requests, requests.append


@pytest.mark.parametrize("how", ["outside the loop", "in the loop"])
@pytest.mark.parametrize("behind", [b"", message("a") + message("b")])
@pytest.mark.parametrize("since", [b"", message("c")])
def test_it_may_be_made_after_the_handler_has_returned(how: str, behind: bytes, since: bytes) -> None:
    requests, handler = later()
    made: list[Echo] = []
    with MemoryEngine() as engine:
        peer = engine.accept(HTTPServer(handler, engine=engine))
        peer.send(opening() + behind)
        engine.advance(5)
        if since:
            peer.send(since)
        assert peer.received == b""

        def make() -> None:
            made.append(Echo(requests[0]))
            assert made[0].events[-1][0] == "handshake"

        if how == "in the loop":
            engine.defer(1, make)
            engine.advance(1)
        else:
            make()
            engine.advance()
        head, _, rest = peer.take().partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 ")
        expected = [frame(TEXT, x, mask=None) for x in (["a", "b"] if behind else []) + (["c"] if since else [])]
        assert rest == b"".join(expected)
        peer.send(message("d"))
        assert peer.take() == frame(TEXT, "d", mask=None)
        assert made[0].names[0] == "connect"


@pytest.mark.parametrize("chunk", [None, 1])
def test_on_connect_comes_after_the_constructor_and_before_all_else(chunk: int | None) -> None:
    """DESIGN: on_connect never runs inside a constructor; the frames come in the same segment as the request."""

    class Kind(Recorder):
        def on_connect(self, *_: Any) -> None:
            assert self.made
            assert self.connected
            self.write("welcome")

    with ws_site(Kind) as site:
        client = site.ask(behind=message("a") + message("b"), chunk=chunk)
        [websocket] = site.sockets
        assert [name for name in websocket.names if name != "write"] == ["connect", "read", "read"]
        assert websocket.reads == ["a", "b"]
        assert client.messages() == ["welcome"]


def test_it_is_not_connected_before() -> None:
    seen: list[Any] = []

    class Kind(Recorder):
        def __init__(self, request: HTTPRequest) -> None:
            super().__init__(request)
            seen.append((self.connected, self.closed))
            calls = [
                *(lambda: self.write("a"), lambda: self.write_fragment("a"), lambda: self.write_packed(1, format="B")),
                *(self.ping, self.flush, lambda: self.write_file(None)),
            ]
            for call in calls:
                with pytest.raises(RuntimeError):
                    call()
            assert "Kind" in repr(self)

    with opened(Kind) as (websocket, _):
        assert seen == [(False, False)]
        assert websocket.connected


@pytest.mark.parametrize("flush", [True, False])
@pytest.mark.parametrize("behind", [b"", message("a")])
def test_it_may_be_closed_before_it_is_open(flush: bool, behind: bytes) -> None:
    class Kind(Recorder):
        def __init__(self, request: HTTPRequest) -> None:
            super().__init__(request)
            self.close(flush, 3000)

    with ws_site(Kind) as site:
        client = site.ask(behind=behind)
        [websocket] = site.sockets
        if flush:
            assert client.status == 101
            assert codes(client.frames()) == [3000]
            assert not websocket.connected
            client.send(closing(3000))
        assert client.ended
        assert websocket.names == ["close"]


@pytest.mark.parametrize("request_", [None, "request", object()])
def test_it_is_made_of_a_request(request_: Any) -> None:
    with pytest.raises(TypeError):
        WebSocket(request_)


@pytest.mark.parametrize(
    "answer",
    [
        lambda request: request.send_response("a"),
        lambda request: request.send_status(200),
        Echo,
    ],
)
def test_a_request_that_was_answered_opens_none(answer: Any) -> None:
    raised: list[Exception] = []

    def handler(request: HTTPRequest) -> None:
        answer(request)
        with pytest.raises(RuntimeError) as info:
            Recorder(request)
        raised.append(info.value)

    with MemoryEngine() as engine:
        engine.accept(HTTPServer(handler, engine=engine)).send(opening())
        assert raised


# --- Requests that open none ----------------------------------------------------------------------------------------

UPGRADE, CONNECTION, KEY_FIELD, VERSION = OPENING_FIELDS
REFUSED: dict[str, tuple[int, bytes]] = {
    "nothing of it": (426, get()),
    "no Upgrade": (426, opening(own=(CONNECTION, KEY_FIELD, VERSION))),
    "another Upgrade": (426, opening(b"Upgrade: h2c", own=(CONNECTION, KEY_FIELD, VERSION))),
    "no Connection": (426, opening(own=(UPGRADE, KEY_FIELD, VERSION))),
    "no version": (426, opening(own=(UPGRADE, CONNECTION, KEY_FIELD))),
    "another version": (426, opening(b"Sec-WebSocket-Version: 8", own=(UPGRADE, CONNECTION, KEY_FIELD))),
    "no key": (400, opening(own=(UPGRADE, CONNECTION, VERSION))),
    "two keys": (400, opening(KEY_FIELD)),
    "a short key": (400, opening(b"Sec-WebSocket-Key: YWJj", own=(UPGRADE, CONNECTION, VERSION))),
    "a key that is none": (400, opening(b"Sec-WebSocket-Key: " + b"!" * 24, own=(UPGRADE, CONNECTION, VERSION))),
    "another method": (405, opening(line=b"POST / HTTP/1.1")),
    "a body": (400, opening(b"Content-Length: 1") + b"a"),
    "a malformed subprotocol": (400, opening(b"Sec-WebSocket-Protocol: a b")),
    "another origin": (403, opening(b"Origin: http://b")),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_request_that_opens_none_is_answered_with_an_error(name: str) -> None:
    """RFC 6455 §4.2.1; and the connection goes on with HTTP."""
    status, request = REFUSED[name]
    with ws_site() as site:
        client = site.connect()
        client.peer.send(request + (b"" if "body" in name else request))
        answers = take_apart(client.peer.take(), request.split(b" ")[0].decode())
        assert {answer.status for answer in answers} == {status}
        assert not client.ended
        if status == 426:
            assert answers[0].headers["Upgrade"] == "websocket"  # RFC 9110 §15.5.22
            assert answers[0].headers["Connection"] == "Upgrade"
        if "version" in name:
            assert answers[0].headers["Sec-WebSocket-Version"] == "13"  # RFC 6455 §4.4
        for websocket in site.sockets:
            assert websocket.closed
            assert not websocket.connected
            assert websocket.names in ([], ["close"])
            websocket.close()
            with pytest.raises(RuntimeError):
                websocket.write("a")


def test_the_older_protocol_opens_none() -> None:
    with ws_site() as site:
        client = site.connect()
        client.peer.send(opening(line=b"GET / HTTP/1.0"))
        assert 400 <= take_apart(client.peer.received)[0].status < 500


# --- on_handshake ---------------------------------------------------------------------------------------------------


def kind_of(handshake: Any, **attributes: Any) -> type[Recorder]:
    """A class whose on_handshake() is a function."""
    return type("Kind", (Recorder,), {"on_handshake": handshake, **attributes})


@pytest.mark.parametrize("result", [True, 1, "yes", object()])
def test_on_handshake_accepts(result: object) -> None:
    """Manual: "expected to return a True value if the request is alright"; it gets the request and an empty dict."""
    with opened(kind_of(lambda self, request, headers: result)) as (websocket, _):
        name, request, headers = websocket.events[0]
        assert name == "handshake"
        assert isinstance(request, HTTPRequest)
        assert request.path == "/chat"
        assert headers == {}
        assert websocket.names == ["connect"]


@pytest.mark.parametrize("result", [False, None, 0, ""])
def test_on_handshake_refuses(result: object) -> None:
    """Manual: "Returning a False value will result in the generation of an error page"."""
    with ws_site(kind_of(lambda self, request, headers: result)) as site:
        client = site.ask()
        [answer] = take_apart(client.peer.take())
        assert answer.status == 403
        assert answer.content
        [websocket] = site.sockets
        assert websocket.closed
        assert "connect" not in websocket.names
        client.peer.send(opening())
        assert take_apart(client.peer.take())[0].status == 403


@pytest.mark.parametrize("accepts", [True, False])
def test_headers_of_on_handshake_are_sent(accepts: bool) -> None:
    """Manual: "Any values set here will be sent as headers when accepting (or rejecting) the connection"."""

    def handshake(_self: Recorder, request: HTTPRequest, headers: dict[str, Any]) -> bool:
        headers["X-Pizza"] = "Margherita"
        headers["X-Number"] = 7
        request.cookies_out["a"] = "b"
        return accepts

    with ws_site(kind_of(handshake)) as site:
        client = site.ask()
        assert client.status == (101 if accepts else 403)
        assert client.header("X-Pizza") == ["Margherita"]
        assert client.header("X-Number") == ["7"]
        assert client.header("Set-Cookie")[0].startswith("a=b")


def test_on_handshake_knows_what_it_needs() -> None:
    """Manual: "Custom Handshakes" (is_secure); and the addresses, cookies and the subprotocol."""
    seen: list[Any] = []

    def handshake(self: Recorder, request: HTTPRequest, headers: dict[str, Any]) -> bool:
        seen.append((self.is_secure, self.subprotocol, request.cookies["a"].value, request.remote_ip, self.connected))
        return True

    with opened(kind_of(handshake, subprotocols=["x"]), b"Cookie: a=b", b"Sec-WebSocket-Protocol: x"):
        assert seen == [(False, "x", "b", "192.0.2.1", False)]


def test_on_handshake_answers_by_itself() -> None:
    def handshake(_self: Recorder, request: HTTPRequest, headers: dict[str, Any]) -> bool:
        request.send_response("Pay first", 402)
        return True

    with ws_site(kind_of(handshake)) as site:
        client = site.ask()
        [answer] = take_apart(client.peer.take())
        assert (answer.status, answer.content) == (402, b"Pay first")
        assert site.sockets[0].closed
        assert "connect" not in site.sockets[0].names
        client.peer.send(opening())
        assert take_apart(client.peer.take())[0].status == 402


BAD_HEADERS: dict[str, tuple[str, Any]] = {
    "a line end": ("X-A", "a\r\nX-B: c"),
    "a name that is none": ("X A", "a"),
    "a value of another type": ("X-A", object()),
    "the challenge": ("Sec-WebSocket-Accept", "a"),
    "the subprotocol": ("sec-websocket-protocol", "a"),
    "the upgrade": ("Upgrade", "h2c"),
    "the framing": ("Content-Length", "5"),
}


@pytest.mark.parametrize("accepts", [True, False])
@pytest.mark.parametrize("name", BAD_HEADERS)
def test_bad_headers_are_an_error_of_the_handler(name: str, accepts: bool, expect_log: ExpectedLog) -> None:
    expect_log("X-A|X A|Sec-|sec-|Upgrade|Content-Length")

    def handshake(_self: Recorder, _request: HTTPRequest, headers: dict[str, Any]) -> bool:
        headers.update([BAD_HEADERS[name]])
        return accepts

    with ws_site(kind_of(handshake)) as site:
        client = site.ask()
        assert take_apart(client.peer.take())[0].status == 500


def test_what_on_handshake_raises_is_an_error_of_the_handler(expect_log: ExpectedLog) -> None:
    expect_log("division by zero")
    made: list[Recorder] = []

    def handshake(self: Recorder, _request: HTTPRequest, _headers: dict[str, Any]) -> object:
        made.append(self)
        return 1 / 0

    with ws_site(kind_of(handshake)) as site:
        client = site.ask()
        assert take_apart(client.peer.take())[0].status == 500
        assert made[0].closed
        assert "connect" not in made[0].names
        assert site.server.counters.failures == 1


def test_nothing_can_be_written_in_on_handshake() -> None:
    def handshake(self: Recorder, _request: HTTPRequest, _headers: dict[str, Any]) -> bool:
        with pytest.raises(RuntimeError):
            self.write("a")
        return True

    with opened(kind_of(handshake)) as (_, client):
        assert client.frames() == []


@pytest.mark.parametrize("flush", [True, False])
def test_what_is_closed_in_on_handshake_is_refused(flush: bool) -> None:
    """`close`: "in on_handshake, it is refused"; at once, without an answer."""

    def handshake(self: Recorder, _request: HTTPRequest, _headers: dict[str, Any]) -> bool:
        self.close(flush, 3000)
        return True

    with ws_site(kind_of(handshake)) as site:
        client = site.ask()
        if flush:
            assert client.status == 403
        else:
            assert client.peer.received == b""
            assert client.ended
        assert site.sockets[0].closed
        assert not site.sockets[0].connected
        assert "connect" not in site.sockets[0].names


def test_on_handshake_may_poll_the_engine() -> None:
    def handshake(self: Recorder, request: HTTPRequest, _headers: dict[str, Any]) -> bool:
        request.connection.engine.poll(0)
        return True

    with ws_site(kind_of(handshake)) as site:
        site.ask(behind=message("a"))
        assert site.sockets[0].names == ["connect", "read"]


# --- Origins (RFC 6455 §10.2) ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "origin, allowed, let_in",
    [
        (None, (), True),
        (b"http://a", (), True),
        (b"https://a", (), True),
        (b"http://A", (), True),
        (b"http://a:80", (), True),
        (b"http://b", (), False),
        (b"http://a.b", (), False),
        (b"http://a:8080", (), False),
        (b"null", (), False),
        (b"", (), False),
        (b"http://b", ["http://b"], True),
        (b"http://a", ["http://b"], True),
        (b"https://b", ["http://b"], False),
        (b"http://B:80", ["http://b"], True),
        (b"http://b", ["HTTP://B:80"], True),
        (b"http://b:81", ["http://b"], False),
        (b"http://c", ["http://b", "http://c"], True),
        (b"http://b", ("*",), True),
        (b"null", ("*",), True),
        (b"null", {"null"}, True),
        (b"http://b", {"null"}, False),
    ],
)
def test_pages_of_other_origins_are_kept_out(origin: bytes | None, allowed: Any, let_in: bool) -> None:
    """`WebSocket.allowed_origins`: besides the server's own; programs name none, and are let in."""
    with ws_site(kind_of(lambda self, request, headers: True, allowed_origins=allowed)) as site:
        client = site.ask(*([] if origin is None else [b"Origin: " + origin]))
        assert client.status == (101 if let_in else 403)
        assert (site.sockets[0].told("handshake") != []) is let_in  # it comes after the checks


@pytest.mark.parametrize("origin, let_in", [(b"https://a", True), (b"http://a", False), (b"https://b", False)])
def test_a_page_without_tls_is_of_another_origin_than_a_server_with_it(origin: bytes, let_in: bool) -> None:
    """RFC 6454 §5: the scheme is a part of the origin."""
    with ws_site(xheaders=True) as site:
        assert site.ask(b"X-Forwarded-Proto: https", b"Origin: " + origin).status == (101 if let_in else 403)


# --- Subprotocols (RFC 6455 §1.9) -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "spoken, offered, chosen",
    [
        ((), b"", None),
        ((), b"Sec-WebSocket-Protocol: a", None),
        (["a"], b"X: y", None),
        (["a"], b"Sec-WebSocket-Protocol: b", None),
        (["a", "b"], b"Sec-WebSocket-Protocol: b, a", "a"),
        (["a", "b"], b"Sec-WebSocket-Protocol: c,b", "b"),
        (["a"], b"Sec-WebSocket-Protocol: c\r\nSec-WebSocket-Protocol: a", "a"),
    ],
)
def test_the_best_subprotocol_is_chosen(spoken: Any, offered: bytes, chosen: str | None) -> None:
    with opened(kind_of(lambda *_: True, subprotocols=spoken), *([offered] if offered else [])) as (websocket, client):
        assert websocket.subprotocol == chosen
        assert client.header("Sec-WebSocket-Protocol") == ([] if chosen is None else [chosen])


@pytest.mark.parametrize("chosen", ["b", None, "z"])
def test_on_handshake_may_choose_another(chosen: str | None, expect_log: ExpectedLog) -> None:
    """`WebSocket.on_handshake`: another that the client offers may be set."""
    if chosen == "z":
        expect_log("'z'")

    def handshake(self: Recorder, _request: HTTPRequest, _headers: dict[str, Any]) -> bool:
        self.subprotocol = chosen
        return True

    with ws_site(kind_of(handshake, subprotocols=["a"])) as site:
        client = site.ask(b"Sec-WebSocket-Protocol: a, b")
        assert client.status == (500 if chosen == "z" else 101)
        assert client.header("Sec-WebSocket-Protocol") == (["b"] if chosen == "b" else [])


# --- What a class sets ----------------------------------------------------------------------------------------------

BAD_ATTRIBUTES: list[tuple[str, Any, type[Exception]]] = [
    ("subprotocols", "chat", TypeError),
    ("subprotocols", [1], TypeError),
    ("subprotocols", ["a", "a"], ValueError),
    ("subprotocols", ["a b"], ValueError),
    ("subprotocols", [""], ValueError),
    ("allowed_origins", "http://a", TypeError),
    ("allowed_origins", [1], TypeError),
    ("compression", 1, TypeError),
    ("compression", None, TypeError),
    ("compression", "deflate", TypeError),
    ("ping_interval", 0, ValueError),
    ("ping_timeout", 0, ValueError),
    *[
        (name, value, error)
        for name in ("ping_interval", "ping_timeout", "close_timeout", "high_water", "connect_timeout")
        for value, error in (("1", TypeError), (True, TypeError), (-1, ValueError), (float("nan"), ValueError))
    ],
]


@pytest.mark.parametrize("name, value, error", BAD_ATTRIBUTES)
def test_attributes_are_checked_where_a_class_is_made(name: str, value: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        type("Kind", (WebSocket,), {name: value})


@pytest.mark.parametrize("name, value, error", BAD_ATTRIBUTES[10:])
def test_settings_are_checked_where_they_are_set(name: str, value: Any, error: type[Exception]) -> None:
    with opened() as (websocket, _):
        with pytest.raises(error):
            setattr(websocket, name, value)
        assert getattr(websocket, name) == getattr(WebSocket, name)


@pytest.mark.parametrize(
    "kwargs, error",
    [
        ({"server_max_window_bits": 8}, ValueError),
        ({"client_max_window_bits": 16}, ValueError),
        ({"level": 10}, ValueError),
        ({"memory_level": 0}, ValueError),
        ({"min_size": -1}, ValueError),
        ({"min_size": "1"}, TypeError),
        ({"server_no_context_takeover": 1}, TypeError),
    ],
)
def test_the_settings_of_compression_are_checked(kwargs: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        Deflate(**kwargs)


@pytest.mark.parametrize("name, value", [("buffer_size", 100), ("read_delimiter", "\n")])
def test_what_is_a_property_is_not_lost_in_silence_where_a_class_sets_it(name: str, value: Any) -> None:
    """Either it holds, or the class is refused."""
    try:
        kind = type("Kind", (Recorder,), {name: value})
    except (TypeError, ValueError, AttributeError):
        return
    with opened(kind) as (websocket, client):
        websocket.on_overflow_error = lambda exception: None
        client.send("x" * 98 + "\nab")
        assert websocket.reads == ([] if name == "buffer_size" else ["x" * 98])


def test_defaults() -> None:
    """Manual: the default delimiter, buffer_size (64kb) and allow_old_handshake."""
    with opened() as (websocket, _):
        assert websocket.read_delimiter is EntireMessage
        assert websocket.buffer_size == 65536
        assert websocket.allow_old_handshake is False
        assert websocket.regex_search is True
        assert (websocket.close_code, websocket.close_reason, websocket.close_error) == (None, "", None)
        assert (websocket.latency, websocket.subprotocol, websocket.response_headers) == (None, None, None)


def test_entire_message_is_unique() -> None:
    """Manual: "EntireMessage is a unique Python object"."""
    assert repr(EntireMessage) == "EntireMessage"
    assert copy.copy(EntireMessage) is copy.deepcopy(EntireMessage) is EntireMessage
    assert pickle.loads(pickle.dumps(EntireMessage)) is EntireMessage


# --- is_secure ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("xheaders", [True, False])
def test_is_secure_behind_a_proxy(xheaders: bool) -> None:
    with opened(Recorder, b"X-Forwarded-Proto: https", xheaders=xheaders) as (websocket, _):
        assert websocket.is_secure is xheaders


def test_over_tls() -> None:
    """Manual: "Secure Connections": as easy as calling the server's startSSL()."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    made: list[Recorder] = []

    class Kind(Echo):
        def __init__(self, request: HTTPRequest) -> None:
            made.append(self)
            super().__init__(request)
            self.buffer_size = 10_000_000

    server = HTTPServer(Kind)
    server.startSSL(context)
    server.listen(("127.0.0.1", 0))
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    stream = Stream()
    client = StreamClient(stream)
    stream.startSSL(trust)
    stream.connect(("localhost", server.local_address[1]))
    run_until(lambda: stream.connected)
    stream.write(opening())
    data = bytes(range(256)) * 20_000
    stream.write(message("small") + message(data))
    got: list[Any] = []

    def complete() -> bool:
        got.extend(client.frames())
        return len(got) == 2

    run_until(complete)
    assert made[0].is_secure
    assert got == [Frame(TEXT, b"small"), Frame(BINARY, data)]
    stream.write(closing())
    run_until(lambda: stream.closed)
    assert made[0].close_code == 1000
    server.close()


# --- Addresses ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, default", [("local_address", ("192.0.2.2", 80)), ("remote_address", ("192.0.2.1", 50000))]
)
def test_addresses_can_be_set_and_are_kept(name: str, default: Any) -> None:
    """Manual: "local_address", "remote_address": deleting returns it to its default; kept after closing."""
    seen: list[Any] = []

    class Kind(Recorder):
        def on_close(self) -> None:
            seen.append(getattr(self, name))

    with opened(Kind) as (websocket, client):
        assert getattr(websocket, name) == default
        setattr(websocket, name, "elsewhere")
        assert getattr(websocket, name) == "elsewhere"
        delattr(websocket, name)
        assert getattr(websocket, name) == default
        setattr(websocket, name, None)
        assert getattr(websocket, name) is None
        delattr(websocket, name)
        delattr(websocket, name)
        client.send(closing())
        assert websocket.closed
        assert seen == [default]
        assert getattr(websocket, name) == default
        setattr(websocket, name, "elsewhere")
        delattr(websocket, name)
        assert getattr(websocket, name) == default


def test_addresses_on_a_real_socket() -> None:
    made: list[Recorder] = []
    server = HTTPServer(lambda request: made.append(Recorder(request))).listen(("127.0.0.1", 0))
    with client_of(server) as peer:
        peer.send(opening())
        run_until(lambda: made and made[0].connected)
        assert made[0].local_address == server.local_address == peer.sock.getpeername()
        assert made[0].remote_address == peer.sock.getsockname()
        peer.reset()
        run_until(lambda: made[0].closed)
        assert made[0].local_address == server.local_address
    server.close()


def test_repr_tells_the_state() -> None:
    with opened() as (websocket, client):
        assert "Recorder" in repr(websocket)
        assert "open" in repr(websocket)
        assert "192.0.2.1" in repr(websocket)
        websocket.close()
        assert "closing" in repr(websocket)
        client.send(closing(4000))
        assert "closed" in repr(websocket)
        assert "4000" in repr(websocket)


# --- Within its server ----------------------------------------------------------------------------------------------


def test_the_access_log_and_the_counters_have_the_switch(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "pants.http.access"), opened(Echo, access_log="%r %s") as (websocket, client):
        lines = [record.getMessage() for record in caplog.records if record.name == "pants.http.access"]
        assert lines == ["GET /chat HTTP/1.1 101"]
        client.send("a", closing())
        assert websocket.closed
        assert [r.getMessage() for r in caplog.records if r.name == "pants.http.access"] == lines
        counters = client.site.server.counters
        assert dict(counters.answers) == {101: 1}
        assert counters.connections == 1
        assert counters.failures == 0
        assert not counters.refused


def test_the_limits_of_http_do_not_hold_any_more() -> None:
    """The time that a connection may be idle, and the sizes of requests."""

    class Kind(Echo):
        ping_interval = None

    with opened(Kind, max_request=10) as (_, client):
        client.engine.advance(1_000_000)
        client.send("x" * 60000)
        client.engine.advance(1_000_000)
        client.send("y")
        assert client.messages() == ["x" * 60000, "y"]
        assert not client.ended


def test_a_frame_may_take_its_time() -> None:
    class Kind(Echo):
        ping_interval = None

    with opened(Kind) as (_, client):
        for byte in message("slow"):
            client.engine.advance(1000)
            client.send(bytes([byte]))
        assert client.messages() == ["slow"]


@pytest.mark.parametrize("field", [b"X: y", b"Connection: close"])
def test_a_server_without_keep_alive_has_them_too(field: bytes) -> None:
    with opened(Echo, field, keep_alive=False) as (_, client):
        client.engine.advance(1)
        client.send("a")
        assert client.messages() == ["a"]


def test_compression_of_the_server_is_no_matter() -> None:
    with opened(Echo, b"Accept-Encoding: gzip", compression=True) as (_, client):
        assert client.header("Content-Encoding") == []
        client.send("a" * 1000)
        assert client.messages() == ["a" * 1000]


def test_an_error_in_one_is_nothing_to_the_others(expect_log: ExpectedLog) -> None:
    expect_log("by zero")

    class Kind(Recorder):
        def on_read(self, data: str) -> None:
            self.write(str(1 // int(data)))

    with ws_site(Kind) as site:
        _, first = site.open()
        _, second = site.open()
        first.send("0")
        second.send("1")
        assert codes(first.frames()) == [1011]
        assert second.messages() == ["1"]


# --- broadcast ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", ["häufig", b"\0\xff", bytearray(b"a"), memoryview(b"ab"), "", "x" * 300_000])
def test_broadcast(data: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Framed once, not once for each; returned is to how many it was written."""
    calls: list[Any] = []
    original = _ws_frames.frame

    def counted(*args: Any, **kwargs: Any) -> Any:
        calls.append(args)
        return original(*args, **kwargs)

    with ws_site() as site:
        pairs = [site.open() for _ in range(5)]
        monkeypatch.setattr(_ws_frames, "frame", counted)
        assert broadcast((websocket for websocket, _ in pairs), data) == 5
        assert len(calls) == 1
        site.engine.advance()
        for websocket, client in pairs:
            assert client.messages() == [data if isinstance(data, str) else bytes(data)]
            assert websocket.names == ["connect", "write"]
        assert broadcast([], data) == 0


def test_broadcast_tells_on_write_of_an_instance_too() -> None:
    """As after write(): hooks may be set on an instance, as those of a stream."""
    with opened(WebSocket) as (websocket, client):
        told: list[int] = []
        websocket.on_write = lambda: told.append(1)
        websocket.write("a")
        client.engine.advance()
        assert told == [1]
        broadcast([websocket], "a")
        client.engine.advance()
        assert told == [1, 1]


def test_a_hook_may_broadcast_in_its_turn() -> None:
    """What is written before it goes out before it."""

    class Kind(Recorder):
        users: ClassVar[set[WebSocket]] = set()

        def on_connect(self, *_: Any) -> None:
            self.users.add(self)

        def on_read(self, data: str) -> None:
            self.write("before")
            broadcast(self.users, data)
            self.write("after")

        def on_close(self) -> None:
            self.users.discard(self)

    with ws_site(Kind) as site:
        (_, one), (_, two), (_, gone) = [site.open() for _ in range(3)]
        gone.peer.reset()
        one.send("hello")
        assert one.messages() == ["before", "hello", "after"]
        assert two.messages() == ["hello"]
        assert len(Kind.users) == 2
        Kind.users.clear()


def test_a_client_that_has_gone_does_not_stop_a_broadcast() -> None:
    """Sending meets the reset: the loop has not seen it yet."""
    with ws_site() as site:
        (first, one), (second, two) = site.open(), site.open()
        one.peer._socket.other.break_()
        broadcast([first, second], "hello")
        site.engine.advance()
        assert first.is_over
        assert first.close_code == 1006
        assert isinstance(first.close_error, ConnectionError)
        assert two.messages() == ["hello"]


def test_broadcast_to_slow_clients() -> None:
    """It does not wait for them; high_water tells which they are."""
    with ws_site() as site:
        (slow, slow_client), (quick, quick_client) = site.open(), site.open()
        slow_client.peer.window = 10
        for _ in range(100):
            broadcast([slow, quick], b"x" * 20_000)
        site.engine.advance()
        assert slow.names.count("high_water") == 1
        assert "high_water" not in quick.names
        assert slow.queued_bytes > 1_000_000
        assert quick_client.messages() == [b"x" * 20_000] * 100
        slow_client.peer.window = None
        site.engine.advance()
        assert slow_client.messages() == [b"x" * 20_000] * 100
        assert slow.names == ["connect", "high_water", "write"]


def test_broadcast_leaves_out_those_that_cannot_take_it() -> None:
    with ws_site() as site:
        (good, good_client), (closing_, closing_client), (closed, _), (busy, busy_client) = [
            site.open() for _ in range(4)
        ]
        closing_.close()
        closed.close(flush=False)
        busy.write_fragment("a")
        site.engine.advance()
        assert broadcast({good, closing_, closed, busy}, "hello") == 1
        site.engine.advance()
        assert good_client.messages() == ["hello"]
        assert [one.opcode for one in closing_client.frames()] == [CLOSE]
        busy.write_fragment("b", last=True)
        site.engine.advance()
        assert busy_client.messages() == ["ab"]


def test_broadcast_to_one_that_has_not_opened_yet() -> None:
    requests, handler = later()
    with MemoryEngine() as engine:
        engine.accept(HTTPServer(handler, engine=engine)).send(opening())
        websocket = Recorder(requests[0])
        assert broadcast([websocket], "a") == 0
        engine.advance()
        assert broadcast([websocket], "a") == 1


def test_broadcast_is_not_compressed() -> None:
    text = "a" * 1000
    with ws_site() as site:
        (one, one_client), (two, two_client) = site.open(DEFLATE), site.open()
        assert broadcast([one, two], text) == 2
        site.engine.advance()
        assert one_client.frames() == two_client.frames() == [Frame(TEXT, text.encode())]
        one.write(text)
        site.engine.advance()
        assert one_client.messages() == [text]


@pytest.mark.parametrize(
    "data, options, error",
    [
        (None, {}, TypeError),
        (1, {}, TypeError),
        (["a"], {}, TypeError),
        ("\ud800", {}, ValueError),
        (b"\xff", {"frame": TEXT}, ValueError),
        ("a", {"frame": BINARY}, TypeError),
        ("a", {"frame": CLOSE}, ValueError),
    ],
)
def test_broadcast_raises_before_anything_is_sent(data: Any, options: Any, error: type[Exception]) -> None:
    with opened() as (websocket, client):
        with pytest.raises(error):
            broadcast([websocket], data, **options)
        client.engine.advance()
        assert client.frames() == []
        assert broadcast([websocket], b"a", frame=TEXT) == 1
        client.engine.advance()
        assert client.messages() == ["a"]


# --- Memory ---------------------------------------------------------------------------------------------------------


class Plain(WebSocket):
    """Without a recorder, which would be a part of what is measured."""

    def on_connect(self, *_: Any) -> None:
        self.write("a" * 1000)

    def on_read(self, data: Any) -> None:
        if data == "fail":
            raise ValueError
        if data == "close":
            self.close()
        if data == "cut":
            self.close(flush=False)
        if data == "poll":
            self.engine.poll(0)
        if data == "pause":
            self.pause_reading()
        if data == "ping":
            self.ping()
        if data == "overflow":
            self.buffer_size = 1
        if data == "lines":
            self.read_delimiter = "\n"
        self.write(data)

    def write(self, data: Any, *args: Any, **kwargs: Any) -> None:
        if self.connected:
            super().write(data, *args, **kwargs)

    def on_error(self, exception: Exception) -> None:
        self.close(reason=1011)

    def on_overflow_error(self, exception: Exception) -> None:
        self.close(reason=1009)


LIVES: dict[str, list[bytes]] = {
    "a message": [message("a"), closing()],
    "many in one": [message("a") * 3 + frame(9, "p") + closing()],
    "fragments": [frame(TEXT, "a" * 100, fin=False), frame(0, "b"), closing()],
    "half a message": [frame(TEXT, "a" * 100, fin=False)],
    "half a frame": [message("a" * 100)[:50]],
    "lines": [message("lines") + message("a\nb"), closing()],
    "no farewell": [message("a")],
    "a protocol error": [frame(3)],
    "too long": [message("overflow") + message("abc")],
    "closed here": [message("close") + message("a"), closing()],
    "cut here": [message("cut")],
    "an error in a hook": [message("fail") + message("a"), closing()],
    "polling": [message("poll") + message("a"), closing()],
    "paused, and cut": [message("pause") + message("a"), b""],
    "a ping": [message("ping"), frame(10, b"nothing"), closing()],
}


@pytest.mark.parametrize("fields", [(), (DEFLATE,)])
@pytest.mark.parametrize("name", LIVES)
def test_none_leaves_a_cycle(name: str, fields: tuple[bytes, ...], caplog: pytest.LogCaptureFixture) -> None:
    """DESIGN §7: its memory is given back when it is over."""
    caplog.set_level(logging.INFO, "pants.http")  # what is logged is kept, with its arguments
    made: list[weakref.ref[Plain]] = []

    def handler(request: HTTPRequest) -> None:
        made.append(weakref.ref(Plain(request)))

    with MemoryEngine() as engine:
        server = HTTPServer(handler, engine=engine)

        def collected(pieces: list[bytes]) -> int:
            gc.collect()
            gc.disable()
            try:
                peer = engine.accept(server)
                for piece in filter(None, pieces):
                    peer.send(piece)
                assert peer.received.startswith(b"HTTP/1.1 101") == bool(pieces)
                if pieces[-1:] == [b""]:
                    next(iter(server.channels.values())).close(flush=False)
                elif not peer.ended:
                    peer.end()
                del peer
                engine.advance(60)
                return gc.collect()
            finally:
                gc.enable()

        pieces = [opening(*fields), *LIVES[name]]
        collected(pieces)  # the first time fills caches
        assert collected(pieces) == collected([])  # what a connection in memory leaves itself
        assert [reference() for reference in made] == [None] * 2
        assert not server.channels
        assert engine.time_to_timer() is None


def test_the_request_is_let_go() -> None:
    """An open WebSocket holds no more than it needs."""
    references: list[weakref.ref[HTTPRequest]] = []
    kept: list[WebSocket] = []

    def handler(request: HTTPRequest) -> None:
        references.append(weakref.ref(request))
        kept.append(WebSocket(request))

    with MemoryEngine() as engine:
        peer = engine.accept(HTTPServer(handler, engine=engine))
        peer.send(opening())
        peer.send(message("a"))
        gc.collect()
        assert kept[0].connected
        assert references[0]() is None


def test_no_descriptor_is_left(tmp_path: Any) -> None:
    """Files that were sent, that were on their way when the client went, and that could not be sent."""
    path = tmp_path / "file"
    path.write_bytes(b"x" * 3_000_000)

    class Kind(WebSocket):
        def on_read(self, how: Any) -> None:
            with path.open("rb") as file:
                self.write_file(file)
                if how == "many":
                    for _ in range(10):
                        self.write_file(file, 10, 5)
                self.write_fragment("a")
                with pytest.raises(RuntimeError):
                    self.write_file(file)
                self.write_fragment("a", last=True)
                with pytest.raises(ValueError):
                    self.write_file(file, 1, 3_000_000)

    server = HTTPServer(Kind).listen(("127.0.0.1", 0))
    Engine.instance().poll(0)
    before = descriptors()
    for how in ("one", "many"):
        for end in ("reset", "read"):
            with client_of(server) as peer:
                peer.send(opening() + message(how))
                peer.receive(1000)
                if end == "reset":
                    peer.reset()
                else:
                    peer.send(closing())
                    peer.receive_to_end()
                run_until(lambda: not server.channels)
    run_until(lambda: descriptors() == before)
    server.close()


def test_clients_of_one_site_are_apart() -> None:
    """What one holds is not another's."""
    with ws_site(Echo) as site:
        clients: list[Client] = [site.open()[1] for _ in range(3)]
        for number, client in enumerate(clients):
            client.send(frame(TEXT, f"a{number}", fin=False))
        for number, client in enumerate(clients):
            client.send(frame(0, f"b{number}"))
        assert [client.messages() for client in clients] == [["a0b0"], ["a1b1"], ["a2b2"]]
