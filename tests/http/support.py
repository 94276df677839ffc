"""What the tests of the HTTP server share: a server and its clients in memory, and answers taken apart."""

from __future__ import annotations

import contextlib
import http.client
import io
from collections.abc import Callable, Iterator
from typing import Any

from pants.http import HTTPRequest, HTTPServer
from pants.testing import MemoryEngine, Peer

Handler = Callable[[HTTPRequest], object]


class Answer:
    """One answer, read by the standard library's client."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.version = {10: "HTTP/1.0", 11: "HTTP/1.1"}[response.version]
        self.headers = response.headers
        self.content = response.read()

    def __repr__(self) -> str:
        return f"<{self.status} {dict(self.headers)} {self.content!r}>"


class _Received:
    """The socket that http.client thinks it reads from."""

    def __init__(self, stream: io.BufferedIOBase) -> None:
        self.stream = stream

    def makefile(self, _mode: str) -> Any:
        return self.stream


class _Unclosable(io.BytesIO):
    def close(self) -> None:
        """Several answers are read from it, and http.client closes it after each."""


def take_apart(data: bytes, *methods: str) -> list[Answer]:
    """The answers that a client has received, to requests with these methods; GET where none is named."""
    stream = _Unclosable(data)
    found: list[Answer] = []
    while stream.tell() < len(data):
        method = methods[len(found)] if len(found) < len(methods) else "GET"
        response = http.client.HTTPResponse(_Received(stream), method=method)  # type: ignore[arg-type]
        response.begin()
        found.append(Answer(response))
    return found


class Site:
    """A server in memory. It writes down the requests that reach its handler, and says hello unless told otherwise."""

    def __init__(self, engine: MemoryEngine, handler: Handler | None, **kwargs: Any) -> None:
        self.engine = engine
        self.requests: list[HTTPRequest] = []
        self._handler = handler or (lambda request: request.send_response("Hello, World!"))
        self.server = HTTPServer(self.handle, engine=engine, **kwargs)

    def handle(self, request: HTTPRequest) -> None:
        self.requests.append(request)
        self._handler(request)

    def connect(self) -> Peer:
        return self.engine.accept(self.server)

    def ask(self, data: bytes, *methods: str, chunk: int | None = None) -> list[Answer]:
        """Send something on a connection of its own, and return the answers."""
        peer = self.connect()
        with contextlib.suppress(ConnectionError):  # refused before all of it was sent
            peer.send(data, chunk)
        return take_apart(peer.received, *methods)


@contextlib.contextmanager
def site(handler: Handler | None = None, **kwargs: Any) -> Iterator[Site]:
    with MemoryEngine() as engine:
        yield Site(engine, handler, **kwargs)


def get(*fields: bytes, line: bytes = b"GET / HTTP/1.1", host: bytes | None = b"a") -> bytes:
    """A request without a body."""
    lines = [line, *([] if host is None else [b"Host: " + host]), *fields, b"", b""]
    return b"\r\n".join(lines)


def post(body: bytes, *fields: bytes) -> bytes:
    """A request with a body, whose framing is in ``fields`` or else its length."""
    fields = fields or (b"Content-Length: %d" % len(body),)
    return get(*fields, line=b"POST / HTTP/1.1") + body


CHUNKED = b"Transfer-Encoding: chunked"
