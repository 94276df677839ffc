"""A visitor in memory: requests to an application with any headers, and the answers taken apart."""

from __future__ import annotations

import contextlib
import http.client
from collections.abc import Iterator, Mapping
from typing import Any

from pants.http import HTTPServer
from pants.testing import MemoryEngine, Peer
from pants.web import Application
from tests.web.support import Received


class Answer:
    """One answer, read by the standard library's client."""

    def __init__(self, data: bytes, method: str) -> None:
        response = http.client.HTTPResponse(Received(data), method=method)  # type: ignore[arg-type]
        response.begin()
        self.status = response.status
        self.headers = response.headers
        self.content = response.read()

    def __repr__(self) -> str:
        return f"<{self.status} {self.headers.items()} {self.content!r}>"

    @property
    def text(self) -> str:
        return self.content.decode()

    def all(self, name: str) -> str:
        """All values of a field, in one."""
        return ", ".join(self.headers.get_all(name) or [])


class Visitor:
    """Asks an application, and keeps its cookies as a browser does, if asked to."""

    def __init__(self, engine: MemoryEngine, app: Application, **options: Any) -> None:
        self.engine = engine
        self.server = HTTPServer(app, engine=engine, **options)
        self.cookies: dict[str, str] = {}

    def connect(self) -> Peer:
        return self.engine.accept(self.server)

    def begin(self, path: str, headers: Mapping[str, str] | None = None, method: str = "GET") -> Peer:
        """Ask, and return the connection."""
        peer = self.connect()
        fields = {"Host": "example.com"} | dict(headers or {})
        if self.cookies:
            fields["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        peer.send(f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode("latin-1"))
        return peer

    def ask(self, path: str, headers: Mapping[str, str] | None = None, method: str = "GET") -> Answer:
        answer = Answer(self.begin(path, headers, method).received, method)
        for line in answer.headers.get_all("Set-Cookie") or []:
            name, _, value = line.partition(";")[0].partition("=")
            if "Max-Age=0" in line:
                self.cookies.pop(name, None)
            else:
                self.cookies[name] = value
        return answer


@contextlib.contextmanager
def visitor(app: Application, **options: Any) -> Iterator[Visitor]:
    with MemoryEngine() as engine:
        yield Visitor(engine, app, **options)
