"""What the tests of pants.web share: one request to an application, on a server in memory."""

from __future__ import annotations

import http.client
import io

from pants.http import HTTPServer
from pants.testing import MemoryEngine
from pants.web import Application


class Received(io.BytesIO):
    """What http.client takes for a socket."""

    def makefile(self, _mode: str) -> Received:
        return self


def ask(app: Application, path: str, method: str = "GET") -> http.client.HTTPResponse:
    """One request to an application; its answer, the content of which is in ``content``."""
    with MemoryEngine() as engine:
        peer = engine.accept(HTTPServer(app, engine=engine))
        peer.send(f"{method} {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        response = http.client.HTTPResponse(Received(peer.received), method=method)  # type: ignore[arg-type]
        response.begin()
        response.content = response.read()  # type: ignore[attr-defined]
        assert peer.received.endswith(response.content)  # type: ignore[attr-defined]
        return response
