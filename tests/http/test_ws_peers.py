"""WebSockets with foreign peers at the other end: `websockets` and aiohttp, as clients and as servers."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
import threading
from collections.abc import Callable, Iterator
from typing import Any

import aiohttp
import aiohttp.web
import pytest
import websockets.exceptions
import websockets.sync.client
import websockets.sync.server

from pants import Engine
from pants.http import Deflate, HandshakeError, HTTPServer
from pants.testing import run_until
from tests.http.peers_support import DEADLINE, in_thread
from tests.http.ws_client_support import (
    Certificates,
    Client,
    EchoSocket,
    certificates,
    close,
    connected,
    echoing,
    isolated,
    refused,
    until_closed,
    until_received,
)

LARGE_TEXT = "All work and no play \u00e4\u20ac\U0001f600\n" * 32_000  # more than 1 MiB
LARGE = b"".join(number.to_bytes(4, "big") for number in range(1 << 18))
MESSAGES: list[Any] = ["text \u20ac", b"bytes \xff", "", b"", "x" * 125, b"y" * 126, "z" * 65_536, LARGE, LARGE_TEXT]
COMPRESSIBLE: list[Any] = ["spam " * 1000, *MESSAGES[:-2], LARGE[:100_000], "spam " * 1000]
LIMIT = 8 * 1024 * 1024


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    logging.getLogger("websockets").setLevel(logging.CRITICAL)
    with isolated(monkeypatch):
        yield


@pytest.fixture(scope="module")
def certs() -> Certificates:
    return certificates()


# --- Pants as a server --------------------------------------------------------------------------------------------


class Obedient(EchoSocket):
    """Does what some messages say, and sends back the others."""

    subprotocols = ("v2", "v1")

    def on_read(self, data: Any) -> None:
        if data == "fragments":
            for piece in ("one ", "", "two \u20ac "):
                self.write_fragment(piece)
            self.write_fragment("three", last=True)
        elif data == "ping":
            self.ping(b"from the server")
        elif data == "close":
            self.close(reason=4001, message="as you \u20acsh")
        elif data == "abort":
            self.close(flush=False)
        else:
            super().on_read(data)

    def on_pong(self, data: Any) -> None:
        super().on_pong(data)
        self.write(b"ponged: " + data)


SETTINGS = [
    False,
    True,
    Deflate(server_no_context_takeover=False, client_no_context_takeover=False),
    Deflate(server_max_window_bits=9, client_max_window_bits=10),
]


def server_class(compression: bool | Deflate) -> type[Obedient]:
    return type("Server", (Obedient,), {"compression": compression})


@pytest.fixture(params=["ws", "wss"])
def server(request: pytest.FixtureRequest, certs: Certificates) -> Iterator[tuple[HTTPServer, str]]:
    """A server, and its URL."""
    secure = request.param == "wss"
    with echoing(Obedient, **({"context": certs.good} if secure else {})) as http_server:
        yield http_server, f"{request.param}://localhost:{http_server.local_address[1]}/"


def the_one() -> Any:
    (websocket,) = EchoSocket.made
    return websocket


Sync = websockets.sync.client.ClientConnection


def with_websockets(url: str, function: Callable[[Sync], Any], certs: Certificates, **kwargs: Any) -> Any:
    """Call a function with a connection of `websockets`, while the server runs."""

    def call() -> Any:
        context = certs.client_context() if url.startswith("wss:") else None
        if context is not None:
            # It reads and writes in two threads, which Python 3.11 does not lock: with TLS 1.3 there are tickets to be
            # read while the request is written, and now and then that got lost.
            context.maximum_version = ssl.TLSVersion.TLSv1_2
        with websockets.sync.client.connect(
            url, ssl=context, proxy=None, open_timeout=DEADLINE, close_timeout=DEADLINE, max_size=LIMIT, **kwargs
        ) as client:
            return function(client)

    return in_thread(call)


def test_websockets_as_client(server: tuple[HTTPServer, str], certs: Certificates) -> None:
    def talk(client: Sync) -> None:
        for message in MESSAGES:
            client.send(message)
            assert client.recv(DEADLINE) == message
        client.send(iter(["one ", "", "two \u20ac ", "three"]))
        assert client.recv(DEADLINE) == "one two \u20ac three"
        client.send(iter([LARGE, b"", LARGE]))
        assert client.recv(DEADLINE) == LARGE * 2
        client.send("fragments")
        assert list(client.recv_streaming()) == ["one ", "", "two \u20ac ", "three"]
        assert client.ping(b"from the client").wait(DEADLINE)
        assert client.ping().wait(DEADLINE)
        client.send("ping")
        assert client.recv(DEADLINE) == b"ponged: from the server"
        client.close(4321, "enough \u20ac")

    with_websockets(server[1], talk, certs)
    until_closed(the_one())
    assert (the_one().close_code, the_one().close_reason, the_one().close_error) == (4321, "enough \u20ac", None)


def test_websockets_as_client_is_closed(server: tuple[HTTPServer, str], certs: Certificates) -> None:
    def talk(client: Sync) -> tuple[int, str]:
        client.send("close")
        with pytest.raises(websockets.exceptions.ConnectionClosed) as raised:
            client.recv(DEADLINE)
        assert raised.value.rcvd is not None
        return raised.value.rcvd.code, raised.value.rcvd.reason

    assert with_websockets(server[1], talk, certs) == (4001, "as you \u20acsh")
    until_closed(the_one())
    assert (the_one().close_code, the_one().close_error) == (4001, None)


def test_websockets_as_client_is_cut_off(server: tuple[HTTPServer, str], certs: Certificates) -> None:
    def talk(client: Sync) -> None:
        client.send("abort")
        with pytest.raises(websockets.exceptions.ConnectionClosedError) as raised:
            client.recv(DEADLINE)
        assert raised.value.rcvd is None

    with_websockets(server[1], talk, certs)
    until_closed(the_one())
    assert the_one().close_code == 1006


@pytest.mark.parametrize("compression", SETTINGS, ids=["off", "on", "with takeover", "small windows"])
@pytest.mark.parametrize("theirs", ["deflate", None])
def test_websockets_as_client_compresses(compression: bool | Deflate, theirs: str | None, certs: Certificates) -> None:
    def talk(client: Sync) -> list[str]:
        for message in COMPRESSIBLE:
            client.send(message)
            assert client.recv(DEADLINE) == message
        client.send(iter(["spam " * 1000, "eggs " * 1000]))
        assert client.recv(DEADLINE) == "spam " * 1000 + "eggs " * 1000
        assert client.response is not None
        return client.response.headers.get_all("Sec-WebSocket-Extensions")

    with echoing(server_class(compression)) as http_server:
        url = f"ws://127.0.0.1:{http_server.local_address[1]}/"
        extensions = with_websockets(url, talk, certs, compression=theirs)
    assert bool(extensions) == (compression is not False and theirs is not None)


@pytest.mark.parametrize("offered, chosen", [(["v1"], "v1"), (["v1", "v2"], "v2"), (["other"], None), (None, None)])
def test_websockets_as_client_with_subprotocols(
    server: tuple[HTTPServer, str], certs: Certificates, offered: Any, chosen: str | None
) -> None:
    assert with_websockets(server[1], lambda client: client.subprotocol, certs, subprotocols=offered) == chosen
    assert the_one().subprotocol == chosen


def test_websockets_as_client_is_refused(certs: Certificates) -> None:
    class Refusing(EchoSocket):
        def on_handshake(self, request: Any, headers: dict[str, Any]) -> bool:
            return False

    with echoing(Refusing) as http_server:
        url = f"ws://127.0.0.1:{http_server.local_address[1]}/"
        with pytest.raises(websockets.exceptions.InvalidStatus) as raised:
            with_websockets(url, lambda client: None, certs)
    assert raised.value.response.status_code == 403


def with_aiohttp(url: str, function: Any, certs: Certificates, **kwargs: Any) -> Any:
    """Run a coroutine function with a WebSocket of aiohttp, in a loop of its own, while the server runs."""

    async def call() -> Any:
        context = certs.client_context() if url.startswith("wss:") else True
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(DEADLINE)) as session,
            session.ws_connect(url, ssl=context, max_msg_size=LIMIT, **kwargs) as client,
        ):
            result = await function(client)
        # aiohttp does not wait for TLS to end before it says that it is closed.
        loop: Any = asyncio.get_running_loop()
        async with asyncio.timeout(DEADLINE):
            while len(loop._selector.get_map()) > 1:  # what is left is the loop's own
                await asyncio.sleep(0.01)
        return result

    return in_thread(lambda: asyncio.run(call()))


async def receive(client: Any) -> Any:
    return (await client.receive(DEADLINE)).data


def test_aiohttp_as_client(server: tuple[HTTPServer, str], certs: Certificates) -> None:
    async def talk(client: aiohttp.ClientWebSocketResponse) -> None:
        for message in MESSAGES:
            await (client.send_str(message) if isinstance(message, str) else client.send_bytes(message))
            assert await receive(client) == message
        await client.send_str("fragments")
        assert await receive(client) == "one two \u20ac three"
        await client.ping(b"from the client")
        await client.send_str("ping")
        assert await receive(client) == b"ponged: from the server"
        await client.close(code=4321, message="enough \u20ac".encode())

    with_aiohttp(server[1], talk, certs)
    until_closed(the_one())
    assert (the_one().close_code, the_one().close_reason, the_one().close_error) == (4321, "enough \u20ac", None)


def test_aiohttp_as_client_is_closed(server: tuple[HTTPServer, str], certs: Certificates) -> None:
    async def talk(client: aiohttp.ClientWebSocketResponse) -> tuple[Any, Any, Any]:
        await client.send_str("close")
        received = await client.receive(DEADLINE)
        return received.type, received.data, received.extra

    assert with_aiohttp(server[1], talk, certs) == (aiohttp.WSMsgType.CLOSE, 4001, "as you \u20acsh")
    until_closed(the_one())
    assert (the_one().close_code, the_one().close_error) == (1000, None)  # it answers any code with that


def test_aiohttp_as_client_with_a_heartbeat(server: tuple[HTTPServer, str], certs: Certificates) -> None:
    async def talk(client: aiohttp.ClientWebSocketResponse) -> Any:
        received = asyncio.create_task(client.receive(DEADLINE))
        await asyncio.wait([received], timeout=0.3)
        assert not received.done()  # each ping was answered, or it would have been closed
        await client.send_str("hello")
        return (await received).data

    assert with_aiohttp(server[1], talk, certs, heartbeat=0.1) == "hello"


@pytest.mark.parametrize("compression", SETTINGS, ids=["off", "on", "with takeover", "small windows"])
@pytest.mark.parametrize("theirs", [0, 15, 10])
def test_aiohttp_as_client_compresses(compression: bool | Deflate, theirs: int, certs: Certificates) -> None:
    async def talk(client: aiohttp.ClientWebSocketResponse) -> int:
        for message in COMPRESSIBLE:
            await (client.send_str(message) if isinstance(message, str) else client.send_bytes(message))
            assert await receive(client) == message
        return client.compress

    with echoing(server_class(compression)) as http_server:
        url = f"ws://127.0.0.1:{http_server.local_address[1]}/"
        compresses = with_aiohttp(url, talk, certs, compress=theirs)
    assert bool(compresses) == (compression is not False and theirs != 0)


@pytest.mark.parametrize("offered, chosen", [(["v1"], "v1"), (["v1", "v2"], "v2"), (["other"], None), ([], None)])
def test_aiohttp_as_client_with_subprotocols(
    server: tuple[HTTPServer, str], certs: Certificates, offered: list[str], chosen: str | None
) -> None:
    async def talk(client: aiohttp.ClientWebSocketResponse) -> str | None:
        return client.protocol

    assert with_aiohttp(server[1], talk, certs, protocols=offered) == chosen


# --- Pants as a client --------------------------------------------------------------------------------------------


class Large(Client):
    def on_connect(self, *arguments: Any) -> None:
        super().on_connect(*arguments)
        self.buffer_size = LIMIT


def client_class(compression: bool | Deflate) -> type[Large]:
    return type("Compressing", (Large,), {"compression": compression})


class Ended:
    """How the server has seen the end."""

    def __init__(self) -> None:
        self.codes: list[tuple[int | None, str]] = []
        self.pings: list[bool] = []


@contextlib.contextmanager
def websockets_server(ended: Ended, **kwargs: Any) -> Iterator[int]:
    """A server of `websockets` in a thread; its port."""

    def handle(connection: websockets.sync.server.ServerConnection) -> None:
        try:
            for message in connection:
                if message == "fragments":
                    connection.send(iter(["one ", "", "two \u20ac ", "three"]))
                elif message == "ping":
                    ended.pings.append(connection.ping(b"from the server").wait(DEADLINE))
                    connection.send("ponged")
                elif message == "close":
                    connection.close(4001, "as you \u20acsh")
                else:
                    connection.send(message)
        except websockets.exceptions.ConnectionClosed:
            pass
        protocol = connection.protocol
        ended.codes.append((protocol.close_code, protocol.close_reason or ""))

    server = websockets.sync.server.serve(
        handle, "127.0.0.1", 0, max_size=LIMIT, close_timeout=DEADLINE, open_timeout=DEADLINE, **kwargs
    )
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.socket.getsockname()[1]
    finally:
        server.shutdown()
        thread.join(DEADLINE)


@contextlib.contextmanager
def aiohttp_server(
    ended: Ended, protocols: tuple[str, ...] = (), compress: bool = True, ssl: Any = None
) -> Iterator[int]:
    """A server of aiohttp in a thread; its port."""

    async def handle(request: aiohttp.web.Request) -> aiohttp.web.WebSocketResponse:
        connection = aiohttp.web.WebSocketResponse(
            protocols=protocols, compress=compress, max_msg_size=LIMIT, timeout=DEADLINE
        )
        await connection.prepare(request)
        async for message in connection:
            if message.data == "ping":
                await connection.ping(b"from the server")
                await connection.send_str("pinged")
            elif message.data == "close":
                await connection.close(code=4001, message="as you \u20acsh".encode())
            elif message.type is aiohttp.WSMsgType.TEXT:
                await connection.send_str(message.data)
            else:
                await connection.send_bytes(message.data)
        ended.codes.append((connection.close_code, ""))
        return connection

    ready, done, engine = threading.Event(), threading.Event(), Engine.instance()
    ports: list[int] = []
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    async def serve() -> None:
        application = aiohttp.web.Application()
        application.router.add_get("/", handle)
        runner = aiohttp.web.AppRunner(application, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        site = aiohttp.web.TCPSite(runner, "127.0.0.1", 0, ssl_context=ssl)
        await site.start()
        ports.append(runner.addresses[0][1])
        ready.set()
        await stop.wait()
        await runner.cleanup()

    def run() -> None:
        try:
            loop.run_until_complete(serve())
        finally:
            ready.set()
            loop.close()
            done.set()
            engine.call_from_thread(bool)  # which ends its waiting

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert ready.wait(DEADLINE)
    try:
        yield ports[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        run_until(done.is_set, DEADLINE)
        thread.join()


SERVERS = {"websockets": websockets_server, "aiohttp": aiohttp_server}


@pytest.fixture(params=["websockets", "aiohttp"])
def foreign(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("secure", [False, True])
def test_pants_as_client(foreign: str, secure: bool, certs: Certificates) -> None:
    ended = Ended()
    with SERVERS[foreign](ended, **({"ssl": certs.good} if secure else {})) as port:  # type: ignore[operator]
        client = connected(
            f"{'wss' if secure else 'ws'}://127.0.0.1:{port}/", Large, ssl_options={"ca_certs": certs.ca}
        )
        for message in MESSAGES:
            client.write(message)
        assert until_received(client, len(MESSAGES)) == MESSAGES
        client.messages.clear()
        for piece in ("one ", "", "two \u20ac "):
            client.write_fragment(piece)
        client.write_fragment("three", last=True)
        client.write_fragment(LARGE)
        client.write_fragment(LARGE, last=True)
        assert until_received(client, 2) == ["one two \u20ac three", LARGE * 2]
        client.ping(b"from the client")
        run_until(lambda: client.pongs == [b"from the client"], DEADLINE)
        client.write("ping")
        assert until_received(client, 3)[2] in ("ponged", "pinged")
        client.close(reason=4321, message="enough \u20ac")
        until_closed(client)
        # aiohttp answers any code with 1000.
        assert (client.close_code, client.close_error) == (4321 if foreign == "websockets" else 1000, None)
        run_until(lambda: ended.codes, DEADLINE)
    assert [code for code, _ in ended.codes] == [4321]
    if foreign == "websockets":
        assert ended.codes == [(4321, "enough \u20ac")]
        assert ended.pings == [True]


def test_pants_as_client_gets_fragments() -> None:
    with websockets_server(Ended()) as port:
        client = connected(f"ws://127.0.0.1:{port}/")
        client.write("fragments")
        assert until_received(client) == ["one two \u20ac three"]
        close(client)


def test_pants_as_client_is_closed(foreign: str) -> None:
    with SERVERS[foreign](Ended()) as port:  # type: ignore[operator]
        client = connected(f"ws://127.0.0.1:{port}/")
        client.write("close")
        until_closed(client)
    assert (client.close_code, client.close_reason, client.close_error) == (4001, "as you \u20acsh", None)


@pytest.mark.parametrize("compression", SETTINGS, ids=["off", "on", "with takeover", "small windows"])
@pytest.mark.parametrize("theirs", [True, False])
def test_pants_as_client_compresses(foreign: str, compression: bool | Deflate, theirs: bool) -> None:
    kwargs: dict[str, Any] = (
        {"compress": theirs} if foreign == "aiohttp" else {"compression": "deflate" if theirs else None}
    )
    with SERVERS[foreign](Ended(), **kwargs) as port:  # type: ignore[operator]
        client = connected(f"ws://127.0.0.1:{port}/", client_class(compression))
        for message in COMPRESSIBLE:
            client.write(message)
        client.write_fragment("spam " * 1000)
        client.write_fragment("eggs " * 1000, last=True)
        assert until_received(client, len(COMPRESSIBLE) + 1) == [*COMPRESSIBLE, "spam " * 1000 + "eggs " * 1000]
        assert ("Sec-WebSocket-Extensions" in client.response_headers) == (compression is not False and theirs)
        close(client)
        assert (client.close_code, client.close_error) == (1000, None)


@pytest.mark.parametrize("offered, chosen", [(["v1"], "v1"), (["v2", "v1"], None), ([], None)])
def test_pants_as_client_with_subprotocols(foreign: str, offered: list[str], chosen: str | None) -> None:
    kwargs: dict[str, Any] = {"protocols": ("v1",)} if foreign == "aiohttp" else {"subprotocols": ["v1"]}
    if foreign == "websockets" and not offered:  # it insists on one where it has some
        kwargs = {}
    with SERVERS[foreign](Ended(), **kwargs) as port:  # type: ignore[operator]
        client = connected(f"ws://127.0.0.1:{port}/", subprotocols=offered)
        assert client.subprotocol == (chosen or ("v1" if "v1" in offered else None))
        close(client)


def test_pants_as_client_is_refused_by_websockets() -> None:
    with websockets_server(Ended(), origins=["https://good.example"]) as port:
        error = refused(f"ws://127.0.0.1:{port}/", origin="https://bad.example")
        assert isinstance(error, HandshakeError)
        assert error.status == 403
        close(connected(f"ws://127.0.0.1:{port}/", origin="https://good.example"))


def test_pants_as_client_is_refused_by_aiohttp() -> None:
    with aiohttp_server(Ended()) as port:
        error = refused(f"ws://127.0.0.1:{port}/nowhere")
    assert isinstance(error, HandshakeError)
    assert error.status == 404
