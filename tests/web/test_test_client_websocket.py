"""WebSockets of a `pants.web.testing.TestClient`."""

from __future__ import annotations

from typing import Any

import pytest

from pants.http import HandshakeError, HTTPRequest, RequestClosed, RequestTimedOut, WebSocket
from pants.web import Application
from pants.web.testing import TestClient
from tests.conftest import ExpectedLog


class Chat(WebSocket):
    """Passes what one says on to all."""

    users: set[Chat]
    subprotocols = ("chat.v2", "chat.v1")

    def on_handshake(self, request: HTTPRequest, headers: dict[str, Any]) -> bool:
        headers["X-Seen"] = f"{request.cookies['user'].value if 'user' in request.cookies else None} {request.scheme}"
        headers["Set-Cookie"] = "seen=1"
        return True

    def on_connect(self, name: str) -> None:
        self.name = name
        self.users.add(self)

    def on_read(self, message: Any) -> None:
        if message == "quit":
            self.close(reason=4000, message="as you like")
        elif message == "fail":
            raise ZeroDivisionError
        elif message == "later":
            self.engine.defer(10, self.write, "at last")
        else:
            for user in self.users:
                user.write(f"{self.name}: {message}" if isinstance(message, str) else message)

    def on_close(self) -> None:
        self.users.discard(self)


@pytest.fixture
def app() -> Application:
    Chat.users = set()
    app = Application()
    app.route("/chat/<name>", "chat", func=Chat)
    app.route("/page", "page", func=lambda request: request.headers.get("Cookie", ""))
    return app


@pytest.fixture
def client(app: Application) -> TestClient:
    return app.test_client()


def test_a_chat(client: TestClient) -> None:
    with client.websocket("/chat/ann") as ann, client.websocket("/chat/ben") as ben:
        ann.send("hi")
        assert ann.receive() == ben.receive() == "ann: hi"
        ben.send(b"\0\xff")
        assert (ann.pending, ann.receive(), ben.receive(), ann.pending) == (1, b"\0\xff", b"\0\xff", 0)
        assert len(Chat.users) == 2
        assert repr(ann) == "<TestWebSocket open, http://localhost/chat/ann>"
    assert not Chat.users
    assert (ann.connected, ann.close_code) == (False, 1000)
    assert repr(ann) == "<TestWebSocket closed (1000), http://localhost/chat/ann>"
    assert client._streams == {}
    assert not client._server.channels


def test_long_messages(client: TestClient) -> None:
    with client.websocket("/chat/ann") as websocket:
        websocket.send("x" * 50_000)
        assert websocket.receive() == "ann: " + "x" * 50_000


def test_what_the_handshake_tells(client: TestClient) -> None:
    client.set_cookie("user", "ann")
    websocket = client.websocket("/chat/ann", query={"a": "b"}, subprotocols=["chat.v1", "chat.v2"])
    assert websocket.subprotocol == "chat.v2"
    assert websocket.headers["X-Seen"] == "ann http"
    assert client.get("/page").text == "user=ann"
    assert client.get("/chat/x").status_code == 426
    cookie = client.get_cookie("seen", path="/chat/ann")
    assert cookie is not None
    websocket = client.websocket("https://localhost/chat/ann", headers={"Cookie": "user=other", "X-A": "1"})
    assert websocket.headers["X-Seen"] == "other https"
    assert websocket.subprotocol is None
    client.close()
    assert not Chat.users


def test_a_client_of_a_secure_host(app: Application) -> None:
    seen = []

    @app.route("/secure")
    class Secure(WebSocket):
        def on_connect(self) -> None:
            seen.append((self.is_secure, self.remote_address))

    client = app.test_client(base_url="https://example.com", remote_address=("192.0.2.9", 7))
    client.websocket("/secure", headers={"Origin": "https://example.com"}).close()
    assert seen == [(True, ("192.0.2.9", 7))]
    with pytest.raises(HandshakeError) as caught:
        client.websocket("/secure", headers={"Origin": "https://example.org"})
    assert caught.value.status == 403


def test_the_application_closes(client: TestClient) -> None:
    websocket = client.websocket("/chat/ann")
    websocket.send("last words")
    websocket.send("quit")
    assert not websocket.connected
    assert (websocket.close_code, websocket.close_reason) == (4000, "as you like")
    assert websocket.receive() == "ann: last words"
    with pytest.raises(RequestClosed, match="4000 'as you like'"):
        websocket.receive()
    with pytest.raises(RequestClosed):
        websocket.send("more")
    websocket.close()
    assert client._streams == {}


def test_the_client_closes(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    codes: list[tuple[Any, str]] = []
    monkeypatch.setattr(Chat, "on_close", lambda self: codes.append((self.close_code, self.close_reason)))
    client.websocket("/chat/ann").close(4001, "bye")
    assert codes == [(4001, "bye")]
    websocket = client.websocket("/chat/ann")
    with pytest.raises(ValueError, match="code"):
        websocket.close(99)
    client.close()  # which has no Close frame
    assert codes == [(4001, "bye"), (1006, "")]
    websocket.close()


def test_messages_that_take_time(client: TestClient) -> None:
    websocket = client.websocket("/chat/ann")
    websocket.send("later")
    assert websocket.pending == 0
    assert websocket.receive() == "at last"
    assert client.engine.now == 10
    with pytest.raises(RequestTimedOut, match="no message within 5 seconds"):
        websocket.receive(timeout=5)
    assert client.engine.now == 15
    client.advance(1000)  # the pings of the application are answered
    assert websocket.connected
    with pytest.raises(TypeError):
        websocket.receive(timeout="5")  # type: ignore[arg-type]


def test_messages_of_the_wrong_type(client: TestClient) -> None:
    with client.websocket("/chat/ann") as websocket, pytest.raises(TypeError):
        websocket.send(1)  # type: ignore[arg-type]


def test_what_opens_no_websocket(app: Application, client: TestClient, expect_log: ExpectedLog) -> None:
    for path, status in (("/nothing", 404), ("/page", 200)):
        with pytest.raises(HandshakeError) as caught:
            client.websocket(path)
        assert caught.value.status == status
    with pytest.raises(ValueError, match="Connection"):
        client.websocket("/chat/ann", headers={"Connection": "close"})
    with pytest.raises(ValueError, match=r"(?i)sec-websocket-key"):
        client.websocket("/chat/ann", headers={"Sec-WebSocket-Key": "x"})
    with pytest.raises(ValueError, match="slash"):
        client.websocket("chat/ann")
    with pytest.raises(TypeError, match="subprotocols"):
        client.websocket("/chat/ann", subprotocols="chat")
    assert not client._server.channels


def test_an_application_that_fails(app: Application, expect_log: ExpectedLog) -> None:
    @app.route("/broken")
    class Broken(WebSocket):
        def on_handshake(self, request: HTTPRequest, headers: dict[str, Any]) -> bool:
            raise ZeroDivisionError

    @app.route("/refusing")
    def refusing(request: HTTPRequest) -> None:
        raise ZeroDivisionError

    client = app.test_client()
    for path in ("/broken", "/refusing"):
        with pytest.raises(ZeroDivisionError):
            client.websocket(path)
    websocket = client.websocket("/chat/ann")
    with pytest.raises(ZeroDivisionError):
        websocket.send("fail")
    assert websocket.close_code == 1011
    expect_log("ZeroDivisionError")
    client = app.test_client(raise_failures=False)
    with pytest.raises(HandshakeError) as caught:
        client.websocket("/refusing")
    assert caught.value.status == 500
    websocket = client.websocket("/chat/ann")
    websocket.send("fail")
    assert websocket.close_code == 1011


def test_a_handshake_that_is_never_answered(app: Application) -> None:
    @app.route("/later")
    def later(request: HTTPRequest) -> None:
        request.auto_finish = False

    client = app.test_client()
    with pytest.raises(RequestTimedOut, match="was not opened within 30 seconds"):
        client.websocket("/later", timeout=30)
    assert client.engine.now == 30
    assert not client._server.channels


def test_a_handler_that_is_a_websocket() -> None:
    class Echo(WebSocket):
        def on_read(self, message: Any) -> None:
            self.write(message)

    with TestClient(Echo).websocket("/") as websocket:
        websocket.send("spam")
        assert websocket.receive() == "spam"


def test_an_exception_in_a_block_is_not_covered(client: TestClient) -> None:
    with pytest.raises(ZeroDivisionError), client.websocket("/chat/ann"):
        raise ZeroDivisionError
