"""WSGI applications with real programs at the other end; and the manual's own program, `examples/web_wsgi.py`."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest

from pants.http import HTTPServer
from pants.testing import run_until
from pants.web import Application, WSGIConnector
from tests.http.nginx_support import Nginx, accepts, free_port
from tests.http.peers_support import in_thread, run, serving
from tests.web.wsgi_support import DEADLINE, TEXT, App

EXAMPLE = pathlib.Path(__file__).parents[2] / "examples" / "web_wsgi.py"

# What is in the manual, but for what Python 3 wants otherwise: content of bytes.
MANUAL = """
from pants import Engine
from pants.http import HTTPServer
from pants.web import WSGIConnector

def hello_app(environ, start_response):
    start_response("200 OK", {"Content-Type": "text/plain"})
    return [b"Hello, World!"]

connector = WSGIConnector(hello_app)
HTTPServer(connector).listen()
Engine.instance().start()
"""

# Makes the manual's port, 80, another one.
ON_ANOTHER_PORT = """
import os
from pants.http import HTTPServer
listen = HTTPServer.listen
HTTPServer.listen = lambda self: listen(self, ("127.0.0.1", int(os.environ["PORT"])))
"""


@pytest.mark.parametrize("arguments", [[str(EXAMPLE)], ["-c", ON_ANOTHER_PORT + MANUAL]], ids=["example", "manual"])
def test_the_program_of_the_manual(arguments: list[str]) -> None:
    port = free_port()
    with subprocess.Popen([sys.executable, *arguments], env={**os.environ, "PORT": str(port)}) as program:
        try:
            run_until(lambda: accepts(port), DEADLINE)
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=DEADLINE) as response:
                assert response.read() == b"Hello, World!"
                assert response.headers["Content-Type"] == "text/plain"
                assert response.headers["Content-Length"] == "13"
        finally:
            program.kill()


def test_the_example_is_the_program_of_the_manual() -> None:
    types = ": WSGIEnvironment", ": StartResponse", " -> list[bytes]"
    program = EXAMPLE.read_text()
    for annotation in types:
        program = program.replace(annotation, "")
    here = [line for line in program.splitlines() if line.strip()]
    there = [line for line in MANUAL.splitlines() if line.strip()]
    there[4] = there[4].replace('{"Content-Type": "text/plain"}', '[("Content-Type", "text/plain")]')
    there[7] = there[7].replace(".listen()", '.listen(int(os.environ.get("PORT", "8080")))')
    assert here[:3] == ['"""The manual\'s WSGI application, on the port that PORT names, 8080 if none."""', *here[1:3]]
    assert [line for line in here[1:] if line not in there] == ["import os", here[2]]
    assert [line for line in there if line not in here] == []


def about(environ: dict[str, Any], start_response: App) -> list[bytes]:
    """Tells what it was asked."""
    content = environ["wsgi.input"].read()
    keys = ("REQUEST_METHOD", "SCRIPT_NAME", "PATH_INFO", "REMOTE_ADDR", "HTTP_HOST", "wsgi.url_scheme")
    start_response("200 OK", TEXT)
    return [" ".join([*(environ[key] for key in keys), str(len(content))]).encode()]


@pytest.mark.parametrize("threads", [0, 2])
def test_curl(threads: int, peer: Callable[[str], str], tmp_path: pathlib.Path) -> None:
    curl = peer("curl")
    (tmp_path / "upload").write_bytes(b"x" * 3_000_000)
    with serving(WSGIConnector(about, threads=threads)) as server:
        url = f"http://127.0.0.1:{server.local_address[1]}/path"
        host = url[7:-5]
        get = run(curl, "-sS", "--fail", url, url)
        assert get.stdout.decode() == f"GET  /path 127.0.0.1 {host} http 0" * 2
        assert run(curl, "-sS", "--fail", "--head", url).stdout.startswith(b"HTTP/1.1 200 OK\r\n")
        put = run(curl, "-sS", "--fail", "-T", tmp_path / "upload", url)
        assert put.stdout.decode() == f"PUT  /path 127.0.0.1 {host} http 3000000"
        chunked = run(curl, "-sS", "--fail", "-H", "Transfer-Encoding: chunked", "--data-binary", "spam", url)
        assert chunked.stdout.decode() == f"POST  /path 127.0.0.1 {host} http 4"
        form = run(curl, "-sS", "--fail", "-F", f"file=@{tmp_path / 'upload'}", url)
        assert int(form.stdout.split()[-1]) > 3_000_000


@pytest.fixture
def nginx(peer: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory) -> Nginx:
    return Nginx(peer("nginx"), tmp_path_factory.mktemp("nginx"))


BEHIND = """
location / {{
    proxy_pass http://127.0.0.1:{port};
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    proxy_set_header Host $http_host;
    proxy_set_header X-Forwarded-For $remote_addr;
    proxy_set_header X-Forwarded-Proto https;
    proxy_set_header Proxy http://evil;
}}
"""


@pytest.mark.parametrize("threads", [0, 2])
def test_behind_nginx(threads: int, nginx: Nginx) -> None:
    """Who the client is, and how it has asked, comes from the proxy."""
    app = Application()
    WSGIConnector(about, threads=threads).attach(app, "/app")

    def ask(path: str, data: bytes | None = None) -> str:
        request = urllib.request.Request(f"http://127.0.0.1:{nginx.port}{path}", data)
        with urllib.request.urlopen(request, timeout=DEADLINE) as response:
            return str(response.read().decode())

    with serving(app, xheaders=["X-Forwarded-For", "X-Forwarded-Proto"]) as server, behind(nginx, server):
        host = f"127.0.0.1:{nginx.port}"
        assert in_thread(lambda: ask("/app/x%20y")) == f"GET /app /x y 127.0.0.1 {host} https 0"
        assert in_thread(lambda: ask("/app", b"x" * 2_000_000)) == f"POST /app  127.0.0.1 {host} https 2000000"


def behind(nginx: Nginx, server: HTTPServer) -> Any:
    return nginx.configured(BEHIND.format(port=server.local_address[1]))
