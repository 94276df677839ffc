"""What the tests of the WSGI connector share: applications, and ways to ask them."""

from __future__ import annotations

import contextlib
import http.client
import socket
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from pants.http import HTTPServer
from pants.web import WSGIConnector
from tests.http.peers_support import in_thread, serving
from tests.http.support import Answer, take_apart

DEADLINE = 30.0

App = Callable[..., Any]
Headers = list[tuple[str, str]]

TEXT: Headers = [("Content-Type", "text/plain")]


def answering(result: Any, status: Any = "200 OK", headers: Any = TEXT) -> App:
    """An application that gives this answer to everything."""

    def application(_environ: dict[str, Any], start_response: App) -> Any:
        start_response(status, headers)
        return result() if callable(result) else result

    return application


class Result:
    """Blocks to be iterated, one of which may be an exception; it notes whether it was closed."""

    def __init__(self, blocks: Iterable[Any]) -> None:
        self.blocks = iter(blocks)
        self.taken = 0
        self.closed = 0

    def __iter__(self) -> Result:
        return self

    def __next__(self) -> Any:
        block = next(self.blocks)
        if isinstance(block, BaseException):
            raise block
        self.taken += 1
        return block

    def close(self) -> None:
        self.closed += 1


@contextlib.contextmanager
def serving_wsgi(application: App, threads: int, debug: bool = False, **kwargs: Any) -> Iterator[HTTPServer]:
    connector = WSGIConnector(application, debug, threads=threads)
    with serving(connector, **kwargs) as server:
        yield server


def connect(server: HTTPServer) -> http.client.HTTPConnection:
    host, port = server.local_address[:2]
    return http.client.HTTPConnection(host, port, DEADLINE)


def request_line(method: str = "GET", path: str = "/", protocol: str = "HTTP/1.1") -> bytes:
    return f"{method} {path} {protocol}\r\nHost: a\r\n".encode()


def exchange(server: HTTPServer, data: bytes) -> bytes:
    """Send something on a connection of its own, and return all that comes until that is closed."""
    address = server.local_address

    def talk() -> bytes:
        with socket.create_connection(address, DEADLINE) as sock:
            sock.sendall(data)
            pieces = []
            with contextlib.suppress(ConnectionResetError):
                while piece := sock.recv(65536):
                    pieces.append(piece)
            return b"".join(pieces)

    return in_thread(talk)


def ask(
    server: HTTPServer, method: str = "GET", path: str = "/", body: bytes = b"", protocol: str = "HTTP/1.1"
) -> Answer:
    """Make one request, and return its answer."""
    framing = b"Content-Length: %d\r\n" % len(body) if body else b""
    data = request_line(method, path, protocol) + framing + b"Connection: close\r\n\r\n" + body
    return take_apart(exchange(server, data), method)[0]


def ask_application(application: App, threads: int, *args: Any, debug: bool = False, **kwargs: Any) -> Answer:
    with serving_wsgi(application, threads, debug) as server:
        return ask(server, *args, **kwargs)
