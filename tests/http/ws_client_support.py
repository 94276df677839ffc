"""What the tests of the WebSocket client share: certificates, servers and proxies that can misbehave, a client.

The peers run in threads, on blocking sockets, and know nothing of Pants: frames and heads are made and read here by
hand, as RFC 6455 §5.2 and RFC 9112 have them.
"""

from __future__ import annotations

import atexit
import base64
import contextlib
import datetime as dt
import functools
import hashlib
import os
import select
import shutil
import socket
import ssl
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import trustme

from pants import Engine
from pants.http import HTTPServer, WebSocket
from pants.testing import run_until
from tests.http.peers_support import DEADLINE, serving

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10

# RFC 6455 §1.3
GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


# --- Certificates -----------------------------------------------------------------------------------------------


class Certificates:
    """Contexts of servers, by what is wrong with their certificates; ``ca`` is the file of the authority."""

    def __init__(self, folder: Path) -> None:
        authority, stranger = trustme.CA(), trustme.CA()
        self.ca = str(folder / "ca.pem")
        authority.cert_pem.write_to_path(self.ca)
        past = dt.datetime.now(dt.UTC) - dt.timedelta(days=30)
        names = ("localhost", "127.0.0.1", "::1")
        self.good = _server_context(authority.issue_cert(*names))
        self.wrong_host = _server_context(authority.issue_cert("elsewhere.example"))
        self.expired = _server_context(
            authority.issue_cert(*names, not_before=past, not_after=past + dt.timedelta(days=1))
        )
        self.unknown = _server_context(stranger.issue_cert(*names))
        self.trusting = _server_context(authority.issue_cert(*names))  # which wants a certificate of the client
        self.trusting.verify_mode = ssl.CERT_REQUIRED
        authority.configure_trust(self.trusting)
        self.client = str(folder / "client.pem")
        authority.issue_cert("client@example.org").private_key_and_cert_chain_pem.write_to_path(self.client)

    def client_context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.ca)


def _server_context(leaf: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    leaf.configure_cert(context)
    return context


@functools.cache
def certificates() -> Certificates:
    folder = tempfile.mkdtemp(prefix="pants-ws-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Certificates(Path(folder))


# --- Frames -----------------------------------------------------------------------------------------------------


class Frame(NamedTuple):
    """A frame as it lay on the wire; ``payload`` is unmasked."""

    first: int
    masked: bool
    key: bytes
    payload: bytes

    @property
    def opcode(self) -> int:
        return self.first & 15

    @property
    def fin(self) -> bool:
        return bool(self.first & 0x80)

    @property
    def compressed(self) -> bool:
        return bool(self.first & 0x40)


def mask(payload: bytes, key: bytes) -> bytes:
    """RFC 6455 §5.3."""
    keys = int.from_bytes((key * (len(payload) // 4 + 1))[: len(payload)], "big")
    return (int.from_bytes(payload, "big") ^ keys).to_bytes(len(payload), "big")


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0, key: bytes = b"") -> bytes:
    """A frame, masked where there is a key."""
    size = len(payload)
    first = opcode | (0x80 if fin else 0) | rsv
    bit = 0x80 if key else 0
    if size < 126:
        head = bytes((first, bit | size))
    elif size < 65536:
        head = bytes((first, bit | 126)) + size.to_bytes(2, "big")
    else:
        head = bytes((first, bit | 127)) + size.to_bytes(8, "big")
    return head + key + (mask(payload, key) if key else payload)


def close_frame(code: int, reason: str = "") -> bytes:
    return frame(CLOSE, code.to_bytes(2, "big") + reason.encode())


# --- Servers in threads -----------------------------------------------------------------------------------------


class Caller:
    """A connection that a `RawServer` has accepted."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.head = b""
        self.line = ""
        self.fields: list[tuple[str, str]] = []  # names in lower case

    def read_head(self) -> bytes:
        """Read the head of a request, and not a byte more."""
        head = bytearray()
        while not head.endswith(b"\r\n\r\n"):
            piece = self.sock.recv(1)
            assert piece, f"the client has gone in the middle of {bytes(head)!r}"
            head += piece
        self.head = bytes(head)
        self.line, *lines = self.head.decode("latin-1").split("\r\n")[:-2]
        self.fields = [(name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]
        return self.head

    def all(self, name: str) -> list[str]:
        return [value for found, value in self.fields if found == name.lower()]

    def __getitem__(self, name: str) -> str:
        """The field that comes once."""
        (value,) = self.all(name)
        return value

    def __contains__(self, name: str) -> bool:
        return bool(self.all(name))

    @property
    def accept_key(self) -> str:
        """RFC 6455 §4.2.2, 5.4."""
        digest = hashlib.sha1((self["Sec-WebSocket-Key"] + GUID).encode()).digest()
        return base64.b64encode(digest).decode()

    def answer(self, *fields: str, accept: str | None = None) -> bytes:
        """The head that opens a WebSocket, with more fields."""
        lines = [
            "HTTP/1.1 101 Switching Protocols",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Accept: {self.accept_key if accept is None else accept}",
            *fields,
        ]
        return ("\r\n".join(lines) + "\r\n\r\n").encode()

    def open(self, *fields: str, rest: bytes = b"") -> Caller:
        """Make the handshake; ``rest`` goes into the same segment."""
        self.read_head()
        return self.send(self.answer(*fields) + rest)

    def send(self, data: bytes) -> Caller:
        self.sock.sendall(data)
        return self

    def read(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            piece = self.sock.recv(min(size - len(data), 1 << 20))
            assert piece, f"the connection ended after {len(data)} of {size} bytes"
            data += piece
        return bytes(data)

    def read_frame(self) -> Frame:
        first, second = self.read(2)
        size = second & 127
        if size > 125:
            size = int.from_bytes(self.read(2 if size == 126 else 8), "big")
        masked = bool(second & 128)
        key = self.read(4) if masked else b""
        payload = self.read(size)
        return Frame(first, masked, key, mask(payload, key) if masked else payload)

    def read_rest(self) -> bytes:
        """Read to the end of the connection, be it a reset."""
        pieces = []
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            while piece := self.sock.recv(65536):
                pieces.append(piece)
        return b"".join(pieces)

    def wait_for_close(self, code: int | None = 1000) -> Frame:
        """Skip what comes before a Close frame, answer it, and close as a server does."""
        while (received := self.read_frame()).opcode != CLOSE:
            pass
        assert code is None or int.from_bytes(received.payload[:2], "big") == code
        self.send(frame(CLOSE, received.payload))
        return received

    def reset(self) -> None:
        """Have the connection reset when it is closed."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


Talk = Callable[[Caller], object]


def polite(caller: Caller) -> None:
    """Open a WebSocket, and close it when the client does."""
    caller.open()
    caller.wait_for_close()


def answering(data: bytes) -> Talk:
    """A talk that answers the request with that, and waits for the client to go."""

    def talk(caller: Caller) -> None:
        caller.read_head()
        with contextlib.suppress(ConnectionError):  # it may have had enough of it
            caller.send(data)
        caller.read_rest()

    return talk


def status(code: str, *fields: str, content: bytes = b"") -> bytes:
    """A whole answer."""
    lines = [f"HTTP/1.1 {code}", f"Content-Length: {len(content)}", *fields]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + content


def redirecting(location: str, *fields: str, code: str = "302 Found") -> Talk:
    return answering(status(code, f"Location: {location}", *fields))


class RawServer:
    """Accepts connections in a thread, one after the other, and has a talk on each. To be used in a ``with`` block.

    At the end of the block the engine runs until the thread has ended, and what it raised is raised.

    Args:
        *talks: One for each connection.
        context: For TLS.
        host: Where to listen.
        family: Of which address family.
    """

    def __init__(
        self,
        *talks: Talk,
        context: ssl.SSLContext | None = None,
        host: str = "127.0.0.1",
        family: socket.AddressFamily = socket.AF_INET,
    ) -> None:
        self.callers: list[Caller] = []
        self.errors: list[BaseException] = []
        self._talks: Iterable[Talk] = talks
        self._context = context
        self._listener = socket.socket(family, socket.SOCK_STREAM)
        self._listener.bind((host, 0))
        self._listener.listen(16)
        self._listener.settimeout(DEADLINE)
        self.port: int = self._listener.getsockname()[1]
        self.host = f"[{host}]" if ":" in host else host
        self._done = threading.Event()
        self._engine = Engine.instance()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    @property
    def origin(self) -> str:
        return f"{'ws' if self._context is None else 'wss'}://{self.host}:{self.port}"

    @property
    def url(self) -> str:
        return f"{self.origin}/"

    @property
    def caller(self) -> Caller:
        """The one that has called."""
        (caller,) = self.callers
        return caller

    def _serve(self) -> None:
        try:
            for talk in self._talks:
                connection, _ = self._listener.accept()
                with connection:
                    connection.settimeout(DEADLINE)
                    self._talk(connection, talk)
        except BaseException as error:
            self.errors.append(error.with_traceback(None))
        finally:
            self._done.set()
            with contextlib.suppress(RuntimeError):  # the engine is closed
                self._engine.call_from_thread(bool)  # which ends its waiting

    def _talk(self, connection: socket.socket, talk: Talk) -> None:
        if self._context is None:
            caller = Caller(connection)
            self.callers.append(caller)
            talk(caller)
            return
        try:
            secured = self._context.wrap_socket(connection, server_side=True)
        except (OSError, ssl.SSLError):  # the client does not like the certificate
            return
        with secured:
            caller = Caller(secured)
            self.callers.append(caller)
            talk(caller)

    def __enter__(self) -> RawServer:
        self._thread.start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            if kind is None:
                run_until(self._done.is_set, DEADLINE)
        finally:
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            for caller in self.callers if kind is not None else ():
                with contextlib.suppress(OSError):
                    caller.sock.shutdown(socket.SHUT_RDWR)
            self._thread.join(DEADLINE)
            self._listener.close()
        if kind is None and self.errors:
            raise self.errors[0]


# --- Proxies ----------------------------------------------------------------------------------------------------


def relay(caller: Caller, port: int | None = None) -> Caller:
    """Be a proxy: connect to where CONNECT says (or to a port of this machine), and pass on everything."""
    host, _, asked = caller.line.split()[1].rpartition(":")
    address = (host.strip("[]"), int(asked)) if port is None else ("127.0.0.1", port)
    with socket.create_connection(address, DEADLINE) as other:
        caller.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
        ends = {caller.sock: other, other: caller.sock}
        while ends:
            for end in select.select(list(ends), [], [], DEADLINE)[0]:
                try:
                    piece = end.recv(65536)
                    if piece:
                        ends[end].sendall(piece)
                        continue
                    ends[end].shutdown(socket.SHUT_WR)
                except OSError:
                    return caller
                del ends[end]
    return caller


def proxying(caller: Caller) -> None:
    caller.read_head()
    assert caller.line.startswith("CONNECT ")
    relay(caller)


# --- The client -------------------------------------------------------------------------------------------------


class Client(WebSocket):
    """Notes its hooks in ``hooks`` (repeated ones once), and what they were called with."""

    ping_interval: float | None = None
    made: list[Client] = []  # noqa: RUF012 - all of a test's

    def __init__(self, request: Any, *arguments: Any) -> None:
        self.hooks: list[str] = []
        self.messages: list[Any] = []
        self.errors: list[Exception] = []
        self.pongs: list[Any] = []
        self.arguments: tuple[Any, ...] | None = None
        super().__init__(request, *arguments)
        self.made.append(self)

    def note(self, hook: str) -> None:
        if self.hooks[-1:] != [hook]:
            self.hooks.append(hook)

    def on_connect(self, *arguments: Any) -> None:
        self.note("on_connect")
        self.arguments = arguments

    def on_connect_error(self, exception: Exception) -> None:
        self.hooks.append("on_connect_error")
        self.errors.append(exception)

    def on_read(self, *data: Any) -> None:
        self.note("on_read")
        self.messages.append(data[0] if len(data) == 1 else data)

    def on_pong(self, data: Any) -> None:
        self.note("on_pong")
        self.pongs.append(data)

    def on_error(self, exception: Exception) -> None:
        self.hooks.append("on_error")
        self.errors.append(exception)
        self.close(reason=1011)

    def on_close(self) -> None:
        self.hooks.append("on_close")

    @property
    def error(self) -> Exception:
        (error,) = self.errors
        return error


FAILED = ["on_connect_error", "on_close"]


class EchoSocket(WebSocket):
    """As a server: sends back what it gets. ``made`` are all of a test's."""

    ping_interval: float | None = None
    buffer_size_wanted = 16 * 1024 * 1024
    made: list[Any] = []  # noqa: RUF012 - all of a test's

    def __init__(self, request: Any, *arguments: Any) -> None:
        self.request = request
        self.pongs: list[Any] = []
        self.messages: list[Any] = []
        super().__init__(request, *arguments)
        self.made.append(self)

    def on_connect(self) -> None:
        self.buffer_size = self.buffer_size_wanted

    def on_read(self, data: Any) -> None:
        self.messages.append(data)
        self.write(data)

    def on_pong(self, data: Any) -> None:
        self.pongs.append(data)


@contextlib.contextmanager
def isolated(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A test without proxies of the user's, that leaves nothing behind."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    yield
    for client in Client.made:
        client.close(flush=False)
    run_until(lambda: all(client.closed for client in Client.made), DEADLINE)
    Client.made.clear()
    EchoSocket.made.clear()


@contextlib.contextmanager
def echoing(handler: Any = EchoSocket, **kwargs: Any) -> Iterator[HTTPServer]:
    """A server of Pants' own."""
    with serving(handler, **kwargs) as server:
        yield server


def url_of(server: HTTPServer, path: str = "/") -> str:
    return f"ws://127.0.0.1:{server.local_address[1]}{path}"


def connected(url: str, client: Any = Client, *arguments: Any, **kwargs: Any) -> Any:
    """Open a WebSocket, and run the engine until it is open."""
    websocket = client.connect(url, *arguments, **kwargs)
    run_until(lambda: websocket.connected or websocket.closed, DEADLINE)
    assert websocket.connected, websocket.errors
    return websocket


def refused(url: str, client: Any = Client, **kwargs: Any) -> Exception:
    """Try to open a WebSocket, and return why it could not be opened."""
    websocket = client.connect(url, **kwargs)
    run_until(lambda: websocket.closed or websocket.connected, DEADLINE)
    assert websocket.hooks == FAILED, websocket
    assert websocket.close_error is websocket.error
    assert not websocket.connected
    (error,) = websocket.errors
    assert isinstance(error, Exception)
    return error


def until_closed(*websockets: WebSocket) -> None:
    run_until(lambda: all(websocket.closed for websocket in websockets), DEADLINE)


def close(websocket: WebSocket) -> None:
    """Close a WebSocket in order."""
    websocket.close()
    until_closed(websocket)


def until_received(client: Client, count: int = 1) -> list[Any]:
    run_until(lambda: len(client.messages) >= count or client.closed, DEADLINE)
    return client.messages


def nobody_has_called(listener: socket.socket) -> bool:
    return not select.select([listener], [], [], 0)[0]


def run_turns(count: int = 10) -> None:
    """For what must not happen to get its chance."""
    for _ in range(count):
        Engine.instance().poll(0)
