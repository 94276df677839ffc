"""What the tests of pants.web share: requests to an application, on a server in memory."""

from __future__ import annotations

import contextlib
import http.client
import io
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pants.http import HTTPRequest, HTTPServer
from pants.testing import MemoryEngine, Peer
from pants.web import Application


class Received(io.BytesIO):
    """What http.client takes for a socket."""

    def makefile(self, _mode: str) -> Received:
        return self


class Answer(http.client.HTTPResponse):
    """One answer, read by the standard library's client.

    Attributes:
        content: Its content, all of it.
    """

    content: bytes

    def __init__(self, data: bytes, method: str = "GET") -> None:
        super().__init__(Received(data), method=method)  # type: ignore[arg-type]
        self.begin()
        self.content = self.read()
        if not self.chunked:
            assert data.endswith(self.content)

    def __repr__(self) -> str:
        return f"<{self.status} {self.headers.items()} {self.content!r}>"


def asking(
    path: str = "/",
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
    version: str = "1.1",
) -> bytes:
    """A request, as it is sent."""
    fields = {"Host": "a"} | dict(headers or {})
    if body:
        fields["Content-Length"] = str(len(body))
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"{method} {path} HTTP/{version}\r\n{head}\r\n".encode("latin-1") + body


@contextlib.contextmanager
def connected(handler: Callable[[HTTPRequest], object], **options: Any) -> Iterator[tuple[MemoryEngine, Peer]]:
    """A connection to a server of a request handler, as an `Application` is; and the engine of both."""
    with MemoryEngine() as engine:
        yield engine, engine.accept(HTTPServer(handler, engine=engine, **options))


def fetch(app: Callable[[HTTPRequest], object], path: str = "/", method: str = "GET", **options: Any) -> Answer:
    """One request to an application, with more options as of `asking`; its answer."""
    with connected(app) as (_, peer):
        peer.send(asking(path, method, **options))
        return Answer(peer.received, method)


def ask(app: Application, path: str, method: str = "GET") -> http.client.HTTPResponse:
    """One request to an application; its answer, the content of which is in ``content``."""
    return fetch(app, path, method)
