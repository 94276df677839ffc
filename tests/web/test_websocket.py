"""WebSockets as handlers of an application's routes (manual: "WebSocket and Application"), with Pants' own client."""

from __future__ import annotations

import contextlib
import os
import pathlib
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pants import Engine
from pants.http import HandshakeError, HTTPRequest, HTTPServer, WebSocket
from pants.testing import MemoryEngine, run_until
from pants.web import Application
from tests.conftest import ExpectedLog
from tests.web.support import ask

EXAMPLE = pathlib.Path(__file__).parents[2] / "examples" / "ws_hello_web.py"
DEADLINE = 30.0

# The program of the manual, "WebSocket and Application".
PROGRAM = """
from pants.http import WebSocket
from pants.web import Application

app = Application()

@app.route("/ws/<name>")
class EchoSocket(WebSocket):
    def on_connect(self, name):
        self.write(u"Hello, {name}!".format(name=name))

    def on_read(self, data):
        self.write(data)

app.run(8080)
"""

# RFC 6455 §1.3, and the frame of "Hello" in §5.7.
OPENING = (
    b"GET %b HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
ACCEPTED = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
HELLO_MASKED = b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"
HELLO = b"\x81\x05Hello"


class Client(WebSocket):
    """Keeps what it gets, and why it could not be opened."""

    error: Exception | None = None

    def __init__(self, *args: Any) -> None:
        self.received: list[Any] = []
        super().__init__(*args)

    def on_connect_error(self, exception: Exception) -> None:
        self.error = exception

    def on_read(self, data: str | bytes) -> None:
        self.received.append(data)


@contextlib.contextmanager
def serving(app: Application) -> Iterator[Callable[..., Client]]:
    """A function that opens a WebSocket to a path of an application; or fails to."""
    server = HTTPServer(app).listen(("127.0.0.1", 0))

    def connect(path: str, **kwargs: Any) -> Client:
        client = Client.connect(f"ws://127.0.0.1:{server.local_address[1]}{path}", proxy=None, **kwargs)
        run_until(lambda: client.connected or client.closed)
        return client

    try:
        yield connect
    finally:
        server.close()
        run_until(lambda: not server.channels)
        Engine.instance().poll(0)


def received(client: Client, count: int = 1) -> list[Any]:
    run_until(lambda: len(client.received) >= count or client.closed)
    found, client.received = client.received, []
    return found


def refusal(client: Client) -> tuple[int, Any]:
    """The status of the answer that opens no WebSocket, and its fields."""
    assert client.closed
    assert isinstance(client.error, HandshakeError)
    return client.error.status, client.error.headers


def telling(rule: str, path: str, **options: Any) -> Any:
    """What `on_connect` is called with for a path, where a rule's handler is a WebSocket; or the status."""
    app = Application()

    class Telling(WebSocket):
        def on_connect(self, *values: Any) -> None:
            self.write(repr(values))

    app.route(rule, func=Telling, **options)
    with serving(app) as connect:
        client = connect(path)
        return received(client)[0] if client.error is None else refusal(client)[0]


def answer_to(app: Application, data: bytes) -> bytes:
    """What an application answers to bytes."""
    with MemoryEngine() as engine:
        peer = engine.accept(HTTPServer(app, engine=engine))
        peer.send(data)
        return peer.received


# --- Variables --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "rule, path, values",
    [
        ("/ws", "/ws", "()"),
        ("/ws", "/ws?name=Ada", "()"),
        ("/ws/<name>", "/ws/Ada", "('Ada',)"),
        ("/ws/<name>", "/ws/Ada%20L%C3%A4%2F", "('Ada L\u00e4/',)"),
        ("/ws/<int:id>", "/ws/12", "(12,)"),
        ("/ws/<int:id>", "/ws/-12", "(-12,)"),
        ("/ws/<float:a>/<any(x y):b>/<path:c>", "/ws/1.5/y/z/z", "(1.5, 'y', 'z/z')"),
        ("/ws/<path:page=welcome>", "/ws/", "('welcome',)"),
        ("/ws/<int:id>", "/ws/me", "404"),
        ("/ws/<name>", "/ws/", "404"),
        ("/ws/<name>", "/ws/%FF", "400"),
        ("/ws/<int(max=9):id>", "/ws/10", "400"),
    ],
)
def test_variables(rule: str, path: str, values: str) -> None:
    """Manual: "variables captured from the URL by Application will be made accessible to ... on_connect()"."""
    assert str(telling(rule, path)) == values


def test_auto404() -> None:
    """Manual, "Module.route": auto404; the class is not called then."""
    assert telling("/ws/<int:id>", "/ws/0", auto404=True) == 404
    assert telling("/ws/<int:id>", "/ws/1", auto404=True) == "(1,)"


def test_the_program_of_the_manual() -> None:
    app = Application()

    @app.route("/ws/<name>")
    class EchoSocket(WebSocket):
        def on_connect(self, name: str) -> None:
            self.write(f"Hello, {name}!")

        def on_read(self, data: str | bytes) -> None:
            self.write(data)

    assert isinstance(EchoSocket, type)  # the decorator returns it as it was
    with serving(app) as connect:
        ada, bob = connect("/ws/Ada"), connect("/ws/Bob")
        assert received(ada) == ["Hello, Ada!"]
        assert received(bob) == ["Hello, Bob!"]
        ada.write("\u20ac")
        ada.write(b"\xff")
        assert received(ada, 2) == ["\u20ac", b"\xff"]
        ada.close(reason=3000)
        run_until(lambda: ada.closed)
        assert ada.close_code == 3000
        assert bob.connected


def test_a_class_at_several_routes() -> None:
    app = Application()

    class Telling(WebSocket):
        def on_connect(self, *values: Any) -> None:
            self.write(repr(values))

    app.route("/a/<int:id>", func=Telling)
    app.route("/b/<name>", name="other")(Telling)
    with serving(app) as connect:
        assert received(connect("/a/1")) == ["(1,)"]
        assert received(connect("/b/1")) == ["('1',)"]


def test_arguments_that_do_not_fit(expect_log: ExpectedLog) -> None:
    """RFC 6455 §7.4.1: 1011, an unexpected condition."""
    app = Application()

    @app.route("/ws/<name>")
    class NoArguments(WebSocket):
        def on_connect(self) -> None:
            """Takes none."""

    expect_log("TypeError.*on_connect")
    with serving(app) as connect:
        client = connect("/ws/Ada")
        run_until(lambda: client.closed)
        assert client.close_code == 1011


# --- Requests that open none ------------------------------------------------------------------------------------------


class Echo(WebSocket):
    def on_connect(self, *_: Any) -> None:
        """Takes any variables."""

    def on_read(self, data: str | bytes) -> None:
        self.write(data)


def echoing() -> Application:
    app = Application()
    app.route("/ws/<name>", func=Echo)
    app.route("/page", func=lambda request: "A page", name="page")
    return app


def test_an_ordinary_request() -> None:
    """RFC 9110 §15.5.22: 426 has an Upgrade, and §7.8 that is named in Connection."""
    answer: Any = ask(echoing(), "/ws/Ada")
    assert answer.status == 426
    assert answer.headers["Upgrade"] == "websocket"
    assert answer.headers["Connection"] == "Upgrade"
    assert answer.content
    head: Any = ask(echoing(), "/ws/Ada", "HEAD")
    assert (head.status, head.headers["Upgrade"], head.content) == (426, "websocket", b"")


def test_an_ordinary_request_that_is_the_last() -> None:
    """RFC 9112 §9.6: a server that gets ``close`` closes, and SHOULD say so in its last answer, whatever else is there.

    RFC 9110 §15.5.22 and §7.8 ask for the other option beside it.
    """
    answer = answer_to(echoing(), b"GET /ws/Ada HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 426 ")
    options = b",".join(re.findall(rb"\r\nConnection: ([^\r]*)", answer)).lower()
    assert sorted(option.strip() for option in options.split(b",")) == [b"close", b"upgrade"]


def test_another_method() -> None:
    answer = ask(echoing(), "/ws/Ada", "POST")
    assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD, OPTIONS")


def test_another_version() -> None:
    """RFC 6455 §4.4."""
    answer = answer_to(echoing(), (OPENING % b"/ws/Ada").replace(b"Version: 13", b"Version: 8"))
    assert answer.startswith(b"HTTP/1.1 426 ")
    assert b"\r\nSec-WebSocket-Version: 13\r\n" in answer


def test_a_malformed_key() -> None:
    """RFC 6455 §4.2.1, item 5, and §4.2.2: 400."""
    answer = answer_to(echoing(), (OPENING % b"/ws/Ada").replace(b"dGhlIHNhbXBsZSBub25jZQ==", b"c2hvcnQ="))
    assert answer.startswith(b"HTTP/1.1 400 ")


def test_another_route() -> None:
    with serving(echoing()) as connect:
        assert refusal(connect("/nowhere"))[0] == 404
        assert refusal(connect("/page"))[0] == 200  # an Upgrade that is not taken up is ignored (RFC 9110 §7.8)


def test_another_origin() -> None:
    """RFC 6455 §10.2."""
    with serving(echoing()) as connect:
        assert refusal(connect("/ws/Ada", origin="https://example.com"))[0] == 403


def test_the_handshake_is_refused() -> None:
    """Manual, "on_handshake": its headers go with either answer."""
    app = Application()

    @app.route("/ws/<name>")
    class Choosy(WebSocket):
        def on_handshake(self, request: HTTPRequest, headers: dict[str, Any]) -> bool:
            headers["X-Path"] = request.path
            return "X-Pizza" in request.headers

        def on_connect(self, name: str) -> None:
            self.write(name)

    with serving(app) as connect:
        status, fields = refusal(connect("/ws/Ada"))
        assert (status, fields["X-Path"]) == (403, "/ws/Ada")
        client = connect("/ws/Ada", headers={"X-Pizza": "Funghi"})
        assert client.response_headers["X-Path"] == "/ws/Ada"
        assert received(client) == ["Ada"]


def test_the_handshake_is_answered() -> None:
    """`WebSocket.on_handshake` may also answer the request itself."""
    app = Application()

    @app.route("/ws")
    class Answering(WebSocket):
        def on_handshake(self, request: HTTPRequest, headers: dict[str, Any]) -> None:
            request.send_response("Who are you?", 401, headers={"WWW-Authenticate": "Basic"})

    with serving(app) as connect:
        status, fields = refusal(connect("/ws"))
        assert (status, fields["WWW-Authenticate"]) == (401, "Basic")


def test_the_handshake_fails(expect_log: ExpectedLog) -> None:
    """An exception of a view: 500."""
    app = Application()

    @app.route("/ws")
    class Failing(WebSocket):
        def on_handshake(self, request: HTTPRequest, headers: dict[str, Any]) -> bool:
            raise RuntimeError("what nobody expects")

    expect_log("what nobody expects")
    with serving(app) as connect:
        assert refusal(connect("/ws"))[0] == 500


def test_a_connection_goes_on() -> None:
    """A refusal is an answer as any other; the next request may open one, and its first frame come with it."""
    app = echoing()
    plain = b"GET /ws/Ada HTTP/1.1\r\nHost: a\r\n\r\n"
    page = b"GET /page HTTP/1.1\r\nHost: a\r\n\r\n"
    answer = answer_to(app, plain + page + OPENING % b"/ws/Ada" + HELLO_MASKED)
    assert re.findall(rb"HTTP/1\.1 ([0-9]+) ", answer) == [b"426", b"200", b"101"]
    assert b"\r\nSec-WebSocket-Accept: " + ACCEPTED + b"\r\n" in answer
    assert answer.endswith(b"\r\n\r\n" + HELLO)


# --- Made by hand -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("returns", [False, True], ids=["nothing", "the instance"])
def test_a_function_makes_one(returns: bool) -> None:
    """Manual, "WebSocket": its arguments after the request are those of on_connect."""
    app = Application()

    class Greeter(WebSocket):
        def on_connect(self, greeting: str, name: str) -> None:
            self.write(f"{greeting}, {name}!")

    @app.route("/ws/<name>")
    def view(request: HTTPRequest, name: str) -> WebSocket | None:
        websocket = Greeter(request, "Hello", name)
        return websocket if returns else None

    with serving(app) as connect:
        assert received(connect("/ws/Ada")) == ["Hello, Ada!"]
    assert ask(app, "/ws/Ada").status == 426


def test_a_function_makes_one_or_a_page() -> None:
    app = Application()

    @app.route("/<name>")
    def view(request: HTTPRequest, name: str) -> str | None:
        if "Upgrade" not in request.headers:
            return f"A page for {name}"
        Echo(request)
        return None

    with serving(app) as connect:
        client = connect("/Ada")
        client.write("Hello")
        assert received(client) == ["Hello"]
    answer: Any = ask(app, "/Ada")
    assert (answer.status, answer.content) == (200, b"A page for Ada")


def test_a_function_that_answers_besides(expect_log: ExpectedLog) -> None:
    """The program is told, and the WebSocket is not disturbed."""
    app = Application()

    @app.route("/ws")
    def view(request: HTTPRequest) -> str:
        Echo(request)
        return "and a page"

    expect_log("finished")
    with serving(app) as connect:
        client = connect("/ws")
        client.write("Hello")
        assert received(client) == ["Hello"]


def test_cookies_and_subprotocols() -> None:
    app = Application()

    class Speaking(WebSocket):
        subprotocols = ("b", "a")

        def on_connect(self) -> None:
            self.write(str(self.subprotocol))

    @app.route("/ws")
    def view(request: HTTPRequest) -> None:
        request.cookies_out["visited"] = "yes"
        Speaking(request)

    with serving(app) as connect:
        client = connect("/ws", subprotocols=["a", "b"])
        assert received(client) == ["b"]
        assert client.subprotocol == "b"
        assert client.response_headers["Set-Cookie"].startswith("visited=yes")


# --- Draft 76 ---------------------------------------------------------------------------------------------------------

# The example of draft-ietf-hybi-thewebsocketprotocol-00 (which is draft 76), §1.3.
OLD_OPENING = (
    b"GET %b HTTP/1.1\r\nHost: example.com\r\nConnection: Upgrade\r\nSec-WebSocket-Key2: 12998 5 Y3 1  .P00\r\n"
    b"Upgrade: WebSocket\r\nSec-WebSocket-Key1: 4 @1  46546xW%%0l 1 5\r\nOrigin: http://example.com\r\n\r\n"
)
OLD_BODY = b"^n:ds[4U"
OLD_ANSWER = b"8jKS'y:G*Co,Wxa-"


class Old(WebSocket):
    allow_old_handshake = True

    def on_connect(self, *values: Any) -> None:
        self.write(f"Hello, {values!r}!")

    def on_read(self, data: str) -> None:
        self.write(data)


@pytest.mark.parametrize("together", [True, False], ids=["at once", "body later"])
@pytest.mark.parametrize("by_hand", [False, True], ids=["class", "function"])
def test_the_old_handshake(by_hand: bool, together: bool) -> None:
    """Manual: "allow_old_handshake"; the last eight bytes of the request may come later than its head."""
    app = Application()
    if by_hand:

        @app.route("/ws/<name>")
        def view(request: HTTPRequest, name: str) -> None:
            Old(request, name)

    else:
        app.route("/ws/<name>", func=Old)
    with MemoryEngine() as engine:
        peer = engine.accept(HTTPServer(app, engine=engine))
        if together:
            peer.send(OLD_OPENING % b"/ws/Ada" + OLD_BODY)
        else:
            peer.send(OLD_OPENING % b"/ws/Ada")
            peer.send(OLD_BODY)
        head, _, rest = peer.received.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 ")
        assert b"\r\nSec-WebSocket-Location: ws://example.com/ws/Ada" in head
        assert rest == OLD_ANSWER + b"\x00Hello, ('Ada',)!\xff"
        peer.send(b"\x00spam\xff")
        assert peer.received.endswith(b"\x00spam\xff")


# --- The example ------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def running(program: pathlib.Path) -> Iterator[str]:
    """A program that serves, on a free port; the URL that it names."""
    with subprocess.Popen(
        [sys.executable, program], stderr=subprocess.PIPE, text=True, env=os.environ | {"PORT": "0"}
    ) as process:
        try:
            assert process.stderr is not None
            banner = process.stderr.readline()
            match = re.search(r"http://localhost:[0-9]+/", banner)
            assert match is not None, banner + process.stderr.read()
            yield match[0]
        finally:
            process.kill()


def test_the_example() -> None:
    with running(EXAMPLE) as url:
        address = url.replace("http://localhost", "ws://127.0.0.1")
        client = Client.connect(f"{address}ws/B%C3%A4r", proxy=None)
        run_until(lambda: client.connected or client.closed, DEADLINE)
        client.write("Hello")
        client.write(b"\x00")
        run_until(lambda: len(client.received) == 3 or client.closed, DEADLINE)
        assert client.received == ["Hello, B\u00e4r!", "Hello", b"\x00"]
        other = Client.connect(f"{address}ws/", proxy=None)
        run_until(lambda: other.closed, DEADLINE)
        assert refusal(other)[0] == 404
        client.close()
        run_until(lambda: client.closed, DEADLINE)


def test_the_example_is_the_program_of_the_manual() -> None:
    def essence(program: str) -> list[str]:
        program = re.sub(r'^""".*?"""', "", program, flags=re.DOTALL)
        program = program.replace(": str | bytes", "").replace(": str", "").replace(" -> None", "")
        return [line for line in program.splitlines() if line and not line.startswith(("import os", "app.run"))]

    there = PROGRAM.replace('u"Hello, {name}!".format(name=name)', 'f"Hello, {name}!"')
    assert essence(EXAMPLE.read_text()) == essence(there)


def test_the_port_is_8080_by_default() -> None:
    assert '"PORT", "8080"' in EXAMPLE.read_text()
