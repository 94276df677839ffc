"""What the tests with real clients and proxies share: a server, its certificate, and ways to have it asked."""

from __future__ import annotations

import contextlib
import hashlib
import html
import json
import os
import re
import ssl
import subprocess
import sys
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


# A browser has a great deal to load, and the machine may be busy.
BROWSER_DEADLINE = 90.0


def browse(chromium: str, folder: Path, url: str, engine: Engine, is_over: Callable[[], object]) -> tuple[Any, str]:
    """Load a page in Chromium, and wait until that has come to its end.

    Args:
        chromium: The program.
        folder: A place for its files.
        url: The page, whose script writes what it finds, as JSON, into the element ``verdicts``.
        engine: The engine of the server.
        is_over: Whether the server has nothing left to do.

    Returns:
        What the script has found, and the title of the page.
    """
    command = [
        chromium,
        "--headless",
        "--no-sandbox",  # which root cannot have
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-background-networking",
        "--no-first-run",
        "--no-proxy-server",
        f"--user-data-dir={folder / 'profile'}",
        "--dump-dom",  # when the page is loaded
        url,
    ]
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(
            subprocess.run,
            command,
            capture_output=True,
            timeout=BROWSER_DEADLINE,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        future.add_done_callback(lambda _: engine.call_from_thread(bool))
        run_until(future.done, 2 * BROWSER_DEADLINE, engine)
        done = future.result()
    run_until(is_over, engine=engine)
    page = done.stdout.decode()
    told = re.search(r'<pre id="verdicts">(.*?)</pre>', page, re.DOTALL)
    title = re.search("<title>(.*?)</title>", page)
    assert told is not None, done
    assert title is not None, done
    return json.loads(html.unescape(told[1]) or "{}"), title[1]


EXAMPLES = Path(__file__).parents[2] / "examples"


class Program:
    """An example that serves.

    Attributes:
        url: The URL that it names, with an address in the place of the name.
        address: The same for a socket.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        assert process.stdout is not None
        banner = process.stdout.readline()
        match = re.fullmatch(r"Serving on (https?|wss?)://localhost:([0-9]+)/\n", banner)
        assert match is not None, banner
        self.url = f"{match[1]}://127.0.0.1:{match[2]}/"
        self.address = ("127.0.0.1", int(match[2]))

    def end(self) -> tuple[int, str]:
        """Wait until it ends; return its status and what it has written to the standard error."""
        _, errors = self.process.communicate(timeout=DEADLINE)
        return self.process.returncode, errors


@contextlib.contextmanager
def running(name: str, *arguments: object) -> Iterator[Program]:
    """An example, on a free port."""
    with subprocess.Popen(
        [sys.executable, EXAMPLES / name, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PORT": "0"},
    ) as process:
        try:
            yield Program(process)
        finally:
            process.kill()
