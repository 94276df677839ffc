"""What the tests with real clients and proxies share: a server, its certificate, and ways to have it asked."""

from __future__ import annotations

import contextlib
import hashlib
import json
import ssl
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import trustme

from pants import Engine
from pants.http import HTTPRequest, HTTPServer
from pants.testing import run_until

DEADLINE = 30.0

T = TypeVar("T")

# More than is kept in memory, sent at once or fits into the kernel's buffers; each byte tells where it was.
BINARY = b"".join(number.to_bytes(4, "big") for number in range(1_000_000))
TEXT = "All work and no play makes Jack a dull boy. \u00e4\u20ac\n" * 1000
PIECES = ["first ", "second ", "third ", "fourth"]


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class Application:
    """A site of which each path tries something else. Its files are ``hello.txt`` and ``large.bin``."""

    def __init__(self, root: Path) -> None:
        self.requests: list[HTTPRequest] = []
        self.gone: list[str] = []
        (root / "hello.txt").write_bytes(b"Hello, World!")
        (root / "large.bin").write_bytes(BINARY)

    def __call__(self, request: HTTPRequest) -> None:
        self.requests.append(request)
        name = request.path.split("/")[1]
        answer = getattr(self, f"answer_{name}", None)
        if answer is None:
            request.send_response("There is no such page\n", 404)
        else:
            answer(request)

    def answer_hello(self, request: HTTPRequest) -> None:
        request.send_response("Hello, World!")

    def answer_later(self, request: HTTPRequest) -> None:
        request.connection.engine.defer(0.02, request.send_response, "later")

    def answer_request(self, request: HTTPRequest) -> None:
        """Tell how it was asked."""
        about = {
            "method": request.method,
            "url": request.url,
            "protocol": request.protocol,
            "headers": {name.lower(): value for name, value in request.headers.items()},
            "get": request.get,
            "remote_ip": request.remote_ip,
            "full_url": request.full_url,
            "secure": request.is_secure,
        }
        send_json(request, about)

    def answer_body(self, request: HTTPRequest) -> None:
        send_json(request, {"length": len(request.body), "digest": digest(request.body)})

    def answer_form(self, request: HTTPRequest) -> None:
        files = {
            name: [
                [file["filename"], file["content_type"], len(content := file["file"].read()), digest(content)]
                for file in found
            ]
            for name, found in request.files.items()
        }
        send_json(request, {"post": request.post, "files": files})

    def answer_stream(self, request: HTTPRequest) -> None:
        """Send chunks, one by one."""
        request.send_headers({"Content-Type": "text/plain"})
        pieces = iter(PIECES)

        def send_one() -> None:
            piece = next(pieces, None)
            if piece is None:
                request.finish()
            else:
                request.send(piece)
                request.connection.engine.defer(0.01, send_one)

        send_one()

    def answer_endless(self, request: HTTPRequest) -> None:
        """Send as long as anybody reads."""
        request.send_headers({"Content-Type": "application/octet-stream"})
        request.on_close = lambda: self.gone.append(request.path)
        request.on_drain = lambda: request.send(b"x" * 50_000)
        request.on_drain()

    def answer_text(self, request: HTTPRequest) -> None:
        request.send_response(TEXT, content_type="text/plain; charset=utf-8")

    def answer_file(self, request: HTTPRequest) -> None:
        request.send_file(request.path.removeprefix("/file/"), precompressed="precompressed" in request.get)

    def answer_download(self, request: HTTPRequest) -> None:
        request.send_file("hello.txt", filename="saved \u00e4.txt" if "odd" in request.get else "saved.txt")

    def answer_redirect(self, request: HTTPRequest) -> None:
        request.send_response("", 303, headers={"Location": "/request?redirected=1"})

    def answer_nothing(self, request: HTTPRequest) -> None:
        request.send_response("", 204)

    def answer_set(self, request: HTTPRequest) -> None:
        request.cookies_out["plain"] = "value"
        request.cookies_out["plain"]["path"] = "/"
        request.cookies_out["quoted"] = 'a "b"; c'
        request.set_secure_cookie("signed", {"user": 7})
        request.send_response("set")

    def answer_get(self, request: HTTPRequest) -> None:
        plain = {name: morsel.value for name, morsel in request.cookies.items() if name != "signed"}
        send_json(request, {"cookies": plain, "signed": request.get_secure_cookie("signed")})


def send_json(request: HTTPRequest, value: object) -> None:
    request.send_response(json.dumps(value), content_type="application/json")


@contextlib.contextmanager
def serving(
    handler: Callable[[HTTPRequest], object],
    address: Any = ("127.0.0.1", 0),
    *,
    context: ssl.SSLContext | None = None,
    **kwargs: Any,
) -> Iterator[HTTPServer]:
    """A server that listens. It serves while the engine runs: in `run`, `in_thread` and `run_until`."""
    server = HTTPServer(handler, **kwargs)
    if context is not None:
        server.startSSL(context)
    server.listen(address)
    try:
        yield server
    finally:
        server.close()
        Engine.instance().poll(0)


class Certificate:
    """A certificate for localhost, and the file by which clients know who has issued it."""

    def __init__(self, directory: Path) -> None:
        authority = trustme.CA()
        self.ca = str(directory / "ca.pem")
        self.chain = str(directory / "chain.pem")
        authority.cert_pem.write_to_path(self.ca)
        leaf = authority.issue_cert("localhost", "127.0.0.1")
        leaf.private_key_and_cert_chain_pem.write_to_path(self.chain)
        self.server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        leaf.configure_cert(self.server_context)
        self.client_context = ssl.create_default_context()
        authority.configure_trust(self.client_context)


def in_thread(function: Callable[[], T]) -> T:
    """Call a function that blocks, while the engine runs."""
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(function)
        future.add_done_callback(lambda _: Engine.instance().call_from_thread(bool))  # which ends its waiting
        run_until(future.done, 2 * DEADLINE)
        return future.result()


def run(*command: object, stdin: bytes | None = None, code: int = 0) -> subprocess.CompletedProcess[bytes]:
    """Run a program to its end, while the engine runs. It is to end with this code."""
    arguments = [str(part) for part in command]
    done = in_thread(lambda: subprocess.run(arguments, input=stdin, capture_output=True, timeout=DEADLINE, check=False))
    assert done.returncode == code, done
    return done
