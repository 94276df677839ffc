"""An nginx of a test's own, and a well-behaved site that it is for the tests of the HTTP client."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import random
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

from pants.testing import run_until

DEADLINE = 30.0

CONFIGURATION = """
{modules}
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/error.log notice;
events {{ worker_connections 128; }}
http {{
    access_log off;
    client_max_body_size 100m;
    client_body_temp_path {folder}/temp;
    proxy_temp_path {folder}/temp;
    fastcgi_temp_path {folder}/temp;
    uwsgi_temp_path {folder}/temp;
    scgi_temp_path {folder}/temp;
    {http}
    server {{
        listen 127.0.0.1:{port};
        {server}
    }}
}}
{behind}
"""


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def accepts(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


class Nginx:
    """An nginx.

    Args:
        program: Its path, from the fixture ``peer``.
        folder: An empty one, for its files.

    Attributes:
        port: Where it listens, on 127.0.0.1.
    """

    def __init__(self, program: str, folder: Path) -> None:
        self.program = program
        self.folder = folder
        self.port = free_port()
        (folder / "temp").mkdir()

    @contextlib.contextmanager
    def configured(self, server: str, *, http: str = "", modules: str = "", behind: str = "") -> Iterator[None]:
        """Run it for the length of a block.

        Args:
            server: What goes into the server's part of the configuration.
            http: What goes before that.
            modules: What goes to the beginning of all.
            behind: What goes to the end of all.
        """
        configuration = self.folder / "nginx.conf"
        configuration.write_text(
            CONFIGURATION.format(
                folder=self.folder, port=self.port, server=server, http=http, modules=modules, behind=behind
            ),
            encoding="utf-8",
        )
        log = self.folder / "error.log"
        command: list[str | Path] = [self.program, "-p", self.folder, "-c", configuration, "-e", log]
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
            try:
                run_until(lambda: process.poll() is not None or accepts(self.port), DEADLINE)
                assert process.poll() is None, log.read_text()
                yield
            finally:
                process.terminate()
                assert process.stderr is not None
                process.stderr.read()


# --- A well-behaved site ----------------------------------------------------------------------------------------

MIB = 1024 * 1024

# nginx knows it of chunked bodies too, when it has read them.
LENGTH = 'map $content_length $body_length { "" 0; default $content_length; }'
# An upload is written to a file; then a request without a body tells its size, and where it is.
SITE = """
keepalive_timeout {keepalive_timeout};
keepalive_requests {keepalive_requests};
default_type application/octet-stream;
root {root};
{server}
location = / {{
    default_type text/plain;
    return 200 "Hello, World!";
}}
location /upload {{
    client_max_body_size 2g;
    client_body_in_file_only {in_file_only};
    proxy_pass_request_body off;
    proxy_set_header Content-Length "";
    proxy_set_header Content-Type "";
    proxy_set_header X-Method $request_method;
    proxy_set_header X-Length $body_length;
    proxy_set_header X-Type $content_type;
    proxy_set_header X-File $request_body_file;
    proxy_method GET;
    proxy_pass http://127.0.0.1:{port}/uploaded;
}}
location = /uploaded {{
    default_type application/json;
    return 200 '{{"method": "$http_x_method", "length": $http_x_length, "file": "$http_x_file"}}';
}}
"""


def _large(size: int) -> Iterator[bytes]:
    """Bytes of which each MiB differs from every other one."""
    block = random.Random(size).randbytes(MIB)
    for start in range(0, size, MIB):
        piece = start.to_bytes(8, "big") + block[8:]
        yield piece[: size - start]


@functools.cache
def large_digest(size: int = 100 * MIB) -> str:
    """The SHA-256 of what `Site.write_large` writes."""
    found = hashlib.sha256()
    for piece in _large(size):
        found.update(piece)
    return found.hexdigest()


class Site:
    """What `site` runs.

    Attributes:
        url: Its base URL, without a slash at the end.
        root: The folder whose files it serves.
    """

    def __init__(self, nginx: Nginx, root: Path) -> None:
        self.nginx = nginx
        self.root = root
        self.url = f"http://127.0.0.1:{nginx.port}"

    def write_large(self, size: int = 100 * MIB) -> Path:
        """Put ``/large.bin`` there, of that many bytes. Its SHA-256 is ``large_digest(size)``."""
        path = self.root / "large.bin"
        with path.open("wb") as file:
            for piece in _large(size):
                file.write(piece)
        return path


@contextlib.contextmanager
def site(
    program: str,
    folder: Path,
    *,
    keepalive_timeout: str = "75s",
    keepalive_requests: int = 1000,
    keep_uploads: bool = False,
    server: str = "",
    http: str = "",
) -> Iterator[Site]:
    """Run an nginx that says hello at ``/``, serves the files in `Site.root`, and takes up to 2 GiB at ``/upload``.

    An upload is answered with JSON: the request's ``method``, the body's ``length`` in bytes, and the ``file`` that
    it was written to.

    Args:
        program: The path of nginx, from the fixture ``peer``.
        folder: An empty one, for its files.
        keepalive_timeout: nginx's, ``0`` to close each connection after its first answer.
        keepalive_requests: nginx's: so many, and the connection is closed.
        keep_uploads: Whether the files of uploads outlive their answers. They are in the folder.
        server: More of the server's part of the configuration: locations, or ``listen`` for TLS.
        http: What goes before that part.
    """
    nginx = Nginx(program, folder)
    root = folder / "root"
    root.mkdir()
    configuration = SITE.format(
        port=nginx.port,
        root=root,
        server=server,
        keepalive_timeout=keepalive_timeout,
        keepalive_requests=keepalive_requests,
        in_file_only="on" if keep_uploads else "clean",
    )
    with nginx.configured(configuration, http=LENGTH + http):
        yield Site(nginx, root)
