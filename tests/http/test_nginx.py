"""Behind a real nginx (manual: "Using HTTPServer Behind a Proxy"): who the client is, files that nginx sends, and how
the two get along."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pants.http import HTTPRequest, HTTPServer
from pants.testing import run_until
from tests.http import nginx_support, support
from tests.http.nginx_support import free_port
from tests.http.peers_support import BINARY, DEADLINE, PIECES, Application, Certificate, digest, in_thread, serving


class Answer(support.Answer):
    @property
    def json(self) -> Any:
        return json.loads(self.content)


# Not the address by which nginx itself connects to Pants.
CLIENT = "127.0.0.2"

# Pants, for nginx: the connections that it keeps, and what it asks there.
UPSTREAM = "upstream pants {{ server {where}; keepalive 8; }}"
LOCATION = "location / {{ proxy_pass http://pants; {location} }}"

KEEP_ALIVE = 'proxy_http_version 1.1; proxy_set_header Connection "";'
TELL_CLIENT = """
    proxy_set_header Host $http_host;
    proxy_set_header X-Real-IP $remote_addr;
    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    proxy_set_header X-Forwarded-Proto $scheme;
    proxy_set_header X-Forwarded-Host $http_host;
"""


class Nginx(nginx_support.Nginx):
    """An nginx in front of a server."""

    @contextlib.contextmanager
    def running(self, upstream: HTTPServer, *, server: str = "", location: str = "", **parts: str) -> Iterator[None]:
        """Run it for the length of a block; the parts go into the configuration."""
        address = upstream.local_address
        where = f"unix:{address}" if isinstance(address, str) else f"127.0.0.1:{address[1]}"
        asking = server + LOCATION.format(location=location)
        with self.configured(asking, http=UPSTREAM.format(where=where), **parts):
            yield

    def ask(self, *args: Any, port: int | None = None, source: str = CLIENT, **kwargs: Any) -> Answer:
        """Ask it something, on a connection of its own; the arguments are those of http.client's request()."""

        def ask() -> Answer:
            client = http.client.HTTPConnection("127.0.0.1", port or self.port, DEADLINE, (source, 0))
            with contextlib.closing(client):
                client.request(*args, **kwargs)
                return Answer(client.getresponse())

        return in_thread(ask)


@pytest.fixture
def nginx(peer: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory) -> Nginx:
    # A folder of a short name: that of a UNIX socket has 107 bytes.
    return Nginx(peer("nginx"), tmp_path_factory.mktemp("nginx"))


@pytest.fixture
def application(tmp_path: Path) -> Application:
    return Application(tmp_path)


@contextlib.contextmanager
def behind(
    nginx: Nginx,
    application: Callable[[HTTPRequest], object],
    *,
    unix: bool = False,
    options: dict[str, Any] | None = None,
    **parts: str,
) -> Iterator[HTTPServer]:
    """A server behind nginx: by default it keeps connections, and tells who the client is."""
    parts.setdefault("location", KEEP_ALIVE + TELL_CLIENT)
    address = str(nginx.folder / "pants.sock") if unix else ("127.0.0.1", 0)
    with serving(application, address, **(options or {})) as server, nginx.running(server, **parts):
        yield server


# --- Who the client is ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("unix", [False, True], ids=["TCP", "UNIX socket"])
@pytest.mark.parametrize("trusted", [False, True], ids=["whoever connects", "trusted_proxies"])
@pytest.mark.parametrize("xheaders", [True, ["X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host"]], ids=repr)
def test_the_client_is_who_asks_nginx(
    nginx: Nginx, application: Application, unix: bool, trusted: bool, xheaders: Any
) -> None:
    """Manual: "to set the HTTPRequest's remote_ip and scheme". What the client says itself does not count."""
    options: dict[str, Any] = {"xheaders": xheaders}
    if trusted:
        options["trusted_proxies"] = ["unix" if unix else "127.0.0.1"]
    spoofed = {
        "Host": "a.example:81",
        "X-Forwarded-For": "192.0.2.9",
        "X-Real-IP": "192.0.2.9",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": "evil.example",
        "Forwarded": "for=192.0.2.9;proto=https;host=evil.example",
    }
    with behind(nginx, application, unix=unix, options=options):
        for headers in ({"Host": "a.example:81"}, spoofed):
            about = nginx.ask("GET", "/request?a=b", headers=headers).json
            assert about["remote_ip"] == CLIENT
            assert about["full_url"] == "http://a.example:81/request?a=b"
            assert about["secure"] is False


def test_without_xheaders_nginx_is_the_client(nginx: Nginx, application: Application) -> None:
    with behind(nginx, application):
        assert nginx.ask("GET", "/request").json["remote_ip"] == "127.0.0.1"


def test_x_real_ip_alone(nginx: Nginx, application: Application) -> None:
    location = KEEP_ALIVE + "proxy_set_header X-Real-IP $remote_addr;"
    with behind(nginx, application, options={"xheaders": ["X-Real-IP"]}, location=location):
        headers = {"X-Real-IP": "192.0.2.9", "X-Forwarded-For": "192.0.2.9"}
        assert nginx.ask("GET", "/request", headers=headers).json["remote_ip"] == CLIENT


def test_forwarded(nginx: Nginx, application: Application) -> None:
    """RFC 7239 §4: nginx adds its element to those that the client has sent."""
    element = 'for=$remote_addr;proto=$scheme;host=\\"$http_host\\"'
    location = (
        KEEP_ALIVE
        + f"""
        set $before "";
        if ($http_forwarded) {{ set $before "$http_forwarded, "; }}
        proxy_set_header Forwarded "${{before}}{element}";"""
    )
    with behind(nginx, application, options={"xheaders": ["Forwarded"]}, location=location):
        for spoofed in ({}, {"Forwarded": "for=192.0.2.9;proto=https;host=evil.example"}):
            about = nginx.ask("GET", "/request", headers={"Host": "a.example:81", **spoofed}).json
            assert about["remote_ip"] == CLIENT
            assert about["full_url"] == "http://a.example:81/request"


def test_two_proxies(nginx: Nginx, application: Application) -> None:
    """Each adds whom it was connected to; those that are trusted are skipped, from the right on."""
    options = {"xheaders": ["X-Forwarded-For"], "trusted_proxies": ["127.0.0.1", "127.0.0.2"]}
    with behind(nginx, application, options=options):
        about = nginx.ask("GET", "/request", headers={"X-Forwarded-For": "192.0.2.9, 192.0.2.1"}).json
        assert about["remote_ip"] == "192.0.2.1"


def test_who_is_no_trusted_proxy_is_not_believed(nginx: Nginx, application: Application) -> None:
    """A client that gets around nginx."""
    options = {"xheaders": True, "trusted_proxies": ["127.0.0.1"]}
    headers = {"Host": "a.example", "X-Forwarded-For": "192.0.2.9", "X-Forwarded-Proto": "https"}
    with behind(nginx, application, options=options) as server:
        around = nginx.ask("GET", "/request", port=server.local_address[1], headers=headers).json
        assert around["remote_ip"] == CLIENT
        assert around["full_url"] == "http://a.example/request"


def test_nginx_ends_tls(nginx: Nginx, application: Application) -> None:
    """Manual: "X-Forwarded-Proto may override scheme"."""
    certificate = Certificate(nginx.folder)
    port = free_port()
    tls = f"listen 127.0.0.1:{port} ssl; ssl_certificate {certificate.chain}; ssl_certificate_key {certificate.chain};"

    def ask() -> Any:
        client = http.client.HTTPSConnection("localhost", port, timeout=DEADLINE, context=certificate.client_context)
        with contextlib.closing(client):
            client.request("GET", "/request")
            return json.loads(client.getresponse().read())

    with behind(nginx, application, options={"xheaders": True}, server=tls):
        about = in_thread(ask)
        assert about["secure"] is True
        assert about["full_url"] == f"https://localhost:{port}/request"
        assert nginx.ask("GET", "/request").json["secure"] is False


def stream_module(program: str) -> str:
    """What a configuration begins with so that there can be a stream block. Skips the test if there cannot."""
    built = subprocess.run([program, "-V"], capture_output=True, check=True, text=True).stderr
    if re.search(r"--with-stream(?!\S)", built):
        return ""
    found = re.search(r"--modules-path=(\S+)", built)
    path = Path(found[1] if found else "/usr/lib/nginx/modules") / "ngx_stream_module.so"
    if path.exists():
        return f"load_module {path};"
    if os.environ.get("PANTS_REQUIRE_PEERS"):
        pytest.fail(f"{path} is not there, and PANTS_REQUIRE_PEERS asks for every peer", pytrace=False)
    pytest.skip("this nginx has no stream module")


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS behind it"])
def test_proxy_protocol(nginx: Nginx, application: Application, tls: bool) -> None:
    modules = stream_module(nginx.program)
    certificate = Certificate(nginx.folder)
    port = free_port()
    options: dict[str, Any] = {"proxy_protocol": True, "trusted_proxies": ["127.0.0.1"]}
    if tls:
        options["context"] = certificate.server_context

    def ask() -> list[Any]:
        source = (CLIENT, 0)
        if tls:
            client: http.client.HTTPConnection = http.client.HTTPSConnection(
                "localhost", port, timeout=DEADLINE, source_address=source, context=certificate.client_context
            )
        else:
            client = http.client.HTTPConnection("localhost", port, DEADLINE, source)
        found = []
        with contextlib.closing(client):
            for _ in range(2):
                client.request("GET", "/request")
                found.append(json.loads(client.getresponse().read()))
        return found

    with serving(application, **options) as server:
        upstream = f"127.0.0.1:{server.local_address[1]}"
        stream = f"stream {{ server {{ listen 127.0.0.1:{port}; proxy_pass {upstream}; proxy_protocol on; }} }}"
        with nginx.running(server, modules=modules, behind=stream):
            assert [(about["remote_ip"], about["secure"]) for about in in_thread(ask)] == [(CLIENT, tls)] * 2
        assert server.counters.connections == 1


# --- X-Accel-Redirect -------------------------------------------------------------------------------------------

AWKWARD = [
    "plain.txt",
    "with a space.txt",
    "\u00e4\u20ac\U0001f600.txt",
    "100%.txt",
    "%20.txt",
    "%2e%2e.txt",
    "a?b#c&d=e.txt",
    "a+b;c,d!$'()*@:.txt",
    'quoted "name".txt',
    "back\\slash.txt",
    "..hidden.txt",
    "two  spaces ..txt",
    "deep/er/file.txt",
    os.fsdecode(b"latin \xe4.txt"),
]
STATIC = "location /_static/ {{ internal; alias {root}/; types {{ text/plain txt; }} }}"


@pytest.mark.parametrize("prefix", ["/_static/", "/_static"])
def test_nginx_sends_the_file(nginx: Nginx, prefix: str) -> None:
    """Manual: "insert the appropriate content and headers". Whatever it is called, it is found."""
    root = nginx.folder / "root"
    names = iter(AWKWARD)
    for name in AWKWARD:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.fsencode(f"This is {name}"))
    options = {"sendfile": "X-Accel-Redirect", "sendfile_prefix": prefix, "file_root": root}
    with behind(
        nginx, lambda request: request.send_file(next(names)), options=options, server=STATIC.format(root=root)
    ):
        for name in AWKWARD:
            answer = nginx.ask("GET", "/")
            assert (answer.status, answer.content) == (200, os.fsencode(f"This is {name}"))
            assert answer.headers["Content-Type"] == "text/plain"
            assert answer.headers["X-Accel-Redirect"] is None
            assert answer.headers["Content-Length"] == str(len(answer.content))


def test_nginx_honours_ranges_and_conditions(nginx: Nginx) -> None:
    root = nginx.folder / "root"
    root.mkdir()
    (root / "large.bin").write_bytes(BINARY)
    options = {"sendfile": "X-Accel-Redirect", "sendfile_prefix": "/_static", "file_root": root}

    def handler(request: HTTPRequest) -> None:
        request.cookies_out["seen"] = "1"
        request.send_file("large.bin", filename="saved \u00e4.bin", headers={"Cache-Control": "max-age=60"})

    with behind(nginx, handler, options=options, server=STATIC.format(root=root)) as server:
        whole = nginx.ask("GET", "/")
        assert (whole.status, whole.content) == (200, BINARY)
        assert whole.headers["Content-Type"] == "application/octet-stream"
        assert whole.headers["Content-Disposition"] == (
            "attachment; filename=\"saved _.bin\"; filename*=UTF-8''saved%20%C3%A4.bin"
        )
        assert whole.headers["Cache-Control"] == "max-age=60"
        assert whole.headers["Set-Cookie"].startswith("seen=1")
        part = nginx.ask("GET", "/", headers={"Range": "bytes=4-11"})
        assert (part.status, part.content) == (206, BINARY[4:12])
        same = nginx.ask("GET", "/", headers={"If-None-Match": whole.headers["ETag"]})
        assert (same.status, same.content) == (304, b"")
        head = nginx.ask("HEAD", "/")
        assert (head.status, head.headers["Content-Length"], head.content) == (200, str(len(BINARY)), b"")
        assert nginx.ask("GET", "/_static/large.bin").status == 404  # it is internal
        assert server.counters.connections == 1


def test_a_file_that_is_missing(nginx: Nginx) -> None:
    root = nginx.folder / "root"
    root.mkdir()
    options = {"sendfile": "X-Accel-Redirect", "sendfile_prefix": "/_static/", "file_root": root}
    paths = iter(["none.txt", "../nginx.conf"])
    with behind(
        nginx, lambda request: request.send_file(next(paths)), options=options, server=STATIC.format(root=root)
    ):
        assert nginx.ask("GET", "/").status == 404
        assert nginx.ask("GET", "/").status == 404


# --- How they get along -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("unix", [False, True], ids=["TCP", "UNIX socket"])
def test_connections_are_kept(nginx: Nginx, application: Application, unix: bool, tmp_path: Path) -> None:
    """One connection of nginx serves the requests of many."""
    with behind(nginx, application, unix=unix, options={"file_root": tmp_path}) as server:
        for _ in range(3):
            assert nginx.ask("GET", "/hello").content == b"Hello, World!"
            assert nginx.ask("HEAD", "/hello").headers["Content-Length"] == "13"
            assert nginx.ask("GET", "/stream").content == "".join(PIECES).encode()
            assert nginx.ask("GET", "/nothing").status == 204
            assert nginx.ask("POST", "/body", BINARY).json == {"length": len(BINARY), "digest": digest(BINARY)}
            assert nginx.ask("GET", "/file/large.bin").content == BINARY
            whole = nginx.ask("GET", "/file/hello.txt")
            assert nginx.ask("GET", "/file/hello.txt", headers={"If-None-Match": whole.headers["ETag"]}).status == 304
            assert nginx.ask("GET", "/file/hello.txt", headers={"Range": "bytes=-6"}).content == b"World!"
        assert {request.protocol for request in application.requests} == {"HTTP/1.1"}
        assert server.counters.connections == 1


def test_http_1_0_to_the_server(nginx: Nginx, application: Application, tmp_path: Path) -> None:
    """What nginx speaks by default, with ``Connection: close``."""
    with behind(nginx, application, options={"file_root": tmp_path}, location="") as server:
        assert nginx.ask("GET", "/hello").content == b"Hello, World!"
        assert nginx.ask("GET", "/stream").content == "".join(PIECES).encode()
        assert nginx.ask("GET", "/file/large.bin").content == BINARY
        assert nginx.ask("POST", "/body", BINARY).json["digest"] == digest(BINARY)
        assert {request.protocol for request in application.requests} == {"HTTP/1.0"}
        assert server.counters.connections == 4


def test_bodies_go_through_as_they_come(nginx: Nginx, application: Application) -> None:
    """Without proxy_request_buffering chunks stay chunks."""
    location = KEEP_ALIVE + "proxy_request_buffering off; proxy_buffering off;"
    with behind(nginx, application, location=location) as server:
        for _ in range(2):
            pieces = (BINARY[start : start + 300_000] for start in range(0, len(BINARY), 300_000))
            answer = nginx.ask("POST", "/body", pieces, encode_chunked=True, headers={"Transfer-Encoding": "chunked"})
            assert answer.json == {"length": len(BINARY), "digest": digest(BINARY)}
        assert application.requests[-1].headers["Transfer-Encoding"] == "chunked"
        assert server.counters.connections == 1


def test_a_body_that_is_refused(nginx: Nginx, application: Application) -> None:
    """nginx passes the answer on, though its body was not taken (RFC 9112 §9.6)."""
    with behind(nginx, application, options={"max_request": 100_000}):
        assert nginx.ask("POST", "/body", BINARY).status == 413


def test_a_server_that_goes_away_and_comes_back(nginx: Nginx, application: Application) -> None:
    """nginx keeps connections, and finds them closed; it takes another one then (proxy_next_upstream)."""
    with behind(nginx, application, unix=True) as server:
        assert nginx.ask("GET", "/hello").content == b"Hello, World!"
        server.shutdown()
        run_until(lambda: server.closed)
        assert nginx.ask("GET", "/hello").status == 502
        (nginx.folder / "pants.sock").unlink(missing_ok=True)
        with serving(application, str(nginx.folder / "pants.sock")):
            for _ in range(12):  # it waits 10 seconds by default, but for an upstream with one server only
                assert nginx.ask("GET", "/hello").content == b"Hello, World!"
