"""An application behind a real nginx (manual: "Using HTTPServer Behind a Proxy")."""

from __future__ import annotations

import contextlib
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pants import Engine
from pants.http import HTTPRequest, HTTPServer, WebSocket
from pants.testing import run_until
from pants.web import Application, EventStream, FileServer, redirect, url_for
from tests.http.nginx_support import DEADLINE, Nginx
from tests.http.peers_support import in_thread

LOCATIONS = """
location / {{
    proxy_pass http://127.0.0.1:{port};
    proxy_http_version 1.1;
    proxy_buffering off;
    proxy_set_header Host shop.example:8443;
    proxy_set_header X-Forwarded-Proto https;
    proxy_set_header X-Real-IP 203.0.113.7;
    proxy_set_header Upgrade $http_upgrade;
    proxy_set_header Connection $connection_upgrade;
}}
location /_files/ {{ internal; alias {root}/; types {{ text/css css; }} }}
"""
UPGRADE = 'map $http_upgrade $connection_upgrade { default upgrade; "" ""; }'


class Echo(WebSocket):
    def on_read(self, data: str | bytes) -> None:
        self.write(data)


def application(root: Path) -> Application:
    app = Application()
    FileServer(root).attach(app, "/files/")

    @app.route("/who/<name>")
    def who(request: HTTPRequest, name: str) -> dict[str, Any]:
        return {"ip": request.remote_ip, "url": url_for(".who", name, _external=True), "host": request.hostname}

    @app.route("/old")
    def old(request: HTTPRequest) -> Any:
        return redirect(url_for("who", "ada"), request=request)

    @app.route("/numbers")
    def numbers(request: HTTPRequest) -> Iterator[str]:
        for number in range(20000):
            yield f"{number}\n"

    @app.route("/events")
    def events(request: HTTPRequest) -> None:
        stream = EventStream(request)
        stream.send("hello")
        stream.close()

    app.route("/ws", func=Echo)
    app.route("shop.example/here", name="here", func=lambda request: "the shop")
    return app


class Fetched:
    """An answer that has come through nginx."""

    def __init__(self, answer: Any) -> None:
        with answer:
            self.status = answer.status
            self.headers = answer.headers
            self.content = answer.read()


class Unredirected(urllib.request.HTTPErrorProcessor):
    """Neither follows redirects nor raises for errors."""

    def http_response(self, request: Any, response: Any) -> Any:
        return response


@pytest.fixture
def site(peer: Callable[[str], str], tmp_path: Path) -> Iterator[tuple[Callable[..., Fetched], int]]:
    """Fetches a path through nginx; and nginx's port."""
    root = tmp_path / "root"
    root.mkdir()
    (root / "style.css").write_text("body { color: red }")
    (root / "ä b.css").write_text("p { color: blue }")
    (root / "secret.py").write_text("")
    folder = tmp_path / "nginx"
    folder.mkdir()
    nginx = Nginx(peer("nginx"), folder)
    server = HTTPServer(
        application(root),
        xheaders=["X-Real-IP", "X-Forwarded-Proto"],
        sendfile="X-Accel-Redirect",
        sendfile_prefix="/_files",
        file_root=root,
    ).listen(("127.0.0.1", 0))
    opener = urllib.request.build_opener(Unredirected, urllib.request.ProxyHandler({}))

    def fetch(path: str, **headers: str) -> Fetched:
        request = urllib.request.Request(f"http://127.0.0.1:{nginx.port}{path}", headers=headers)
        return in_thread(lambda: Fetched(opener.open(request, timeout=DEADLINE)))

    try:
        with nginx.configured(LOCATIONS.format(port=server.local_address[1], root=root), http=UPGRADE):
            yield fetch, nginx.port
    finally:
        server.close()
        with contextlib.suppress(AssertionError):
            run_until(lambda: not server.channels, DEADLINE)
        Engine.instance().poll(0)


def test_urls_are_those_outside(site: Any) -> None:
    """Manual: "xheaders"; `url_for`: "the scheme of the current request"."""
    fetch, _ = site
    assert fetch("/who/ada").content == (
        b'{"ip":"203.0.113.7","url":"https://shop.example:8443/who/ada","host":"shop.example"}'
    )
    answer = fetch("/old")
    assert (answer.status, answer.headers["Location"]) == (302, "https://shop.example:8443/who/ada")
    assert fetch("/here").content == b"the shop"


def test_files_are_sent_by_nginx(site: Any) -> None:
    """Manual: "FileServer": "it supports caching headers, as well as X-Sendfile"."""
    fetch, _ = site
    for path, content in (
        ("/files/style.css", b"body { color: red }"),
        ("/files/%C3%A4%20b.css", b"p { color: blue }"),
    ):
        answer = fetch(path)
        assert (answer.status, answer.content) == (200, content)
        assert answer.headers["Content-Type"] == "text/css"
        assert answer.headers["X-Accel-Redirect"] is None
        assert fetch(path, **{"If-None-Match": answer.headers["ETag"]}).status == 304
    assert fetch("/files/style.css", Range="bytes=0-3").content == b"body"
    assert fetch("/files/secret.py").status == 403
    assert fetch("/files/none.css").status == 404
    assert fetch("/_files/style.css").status == 404
    assert b"style.css" in fetch("/files/").content


def test_streams_come_through(site: Any) -> None:
    fetch, _ = site
    assert fetch("/numbers").content == b"".join(b"%d\n" % number for number in range(20000))
    answer = fetch("/events")
    assert (answer.headers["Content-Type"], answer.content) == ("text/event-stream", b"data: hello\n\n")


def test_a_websocket_comes_through(site: Any) -> None:
    _, port = site
    received: list[str | bytes] = []

    class Client(WebSocket):
        def on_connect(self) -> None:
            self.write("hello")

        def on_read(self, data: str | bytes) -> None:
            received.append(data)

    client = Client.connect(f"ws://127.0.0.1:{port}/ws", proxy=None)
    run_until(lambda: received, DEADLINE)
    client.close()
    run_until(lambda: client.closed, DEADLINE)
    assert received == ["hello"]
