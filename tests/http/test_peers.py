"""The server and real clients: curl, nc, wrk, the standard library's; and a browser's request."""

from __future__ import annotations

import doctest
import http.client
import re
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import pytest

import pants.http._request
import pants.http.server
import pants.http.utils
from pants import Engine
from pants.http import HTTPRequest, HTTPServer
from pants.testing import run_until

DEADLINE = 30.0

T = TypeVar("T")


def handler(request: HTTPRequest) -> None:
    if request.path == "/later":
        request.connection.engine.defer(0.05, request.send_response, "later")
    elif request.method == "GET":
        request.send_response(f"{request.method} {request.path}")
    else:
        request.send_response(request.body, content_type="application/octet-stream")


@pytest.fixture
def port() -> Iterator[int]:
    server = HTTPServer(handler).listen(("127.0.0.1", 0))
    yield server.local_address[1]
    server.close()
    Engine.instance().poll(0)


def run(*command: Any, stdin: bytes | None = None) -> bytes:
    """Run a program to its end, while the server serves it; what it wrote to its output."""
    with ThreadPoolExecutor() as pool:
        future = pool.submit(
            subprocess.run, [str(part) for part in command], input=stdin, capture_output=True, timeout=DEADLINE
        )
        run_until(future.done, DEADLINE)
        done = future.result()
    assert done.returncode == 0, done
    return done.stdout


def test_curl(peer: Callable[[str], str], port: int) -> None:
    url = f"http://127.0.0.1:{port}"
    curl = (peer("curl"), "-sS", "--fail", "--max-time", "20")
    assert run(*curl, f"{url}/a") == b"GET /a"
    assert run(*curl, "--http1.0", f"{url}/a") == b"GET /a"
    assert run(*curl, f"{url}/a", f"{url}/later", f"{url}/b", "-w", "%{num_connects}") == b"GET /a1later0GET /b0"
    assert run(*curl, "-d", "abc", url) == b"abc"
    assert run(*curl, "-H", "Transfer-Encoding: chunked", "-d", "abc", url) == b"abc"
    assert run(*curl, "-T", "-", url, stdin=b"a" * 3_000_000) == b"a" * 3_000_000
    assert run(*curl, "--http2", f"{url}/a") == b"GET /a"  # an upgrade that is ignored
    assert b"HTTP/1.1 200 OK" in run(*curl, "-I", f"{url}/a")
    head = run(*curl, "-i", f"{url}/a").partition(b"\r\n\r\n")[0]
    assert b"\r\nContent-Length: 6" in head


@pytest.mark.parametrize(
    "options, status",
    [
        (["-X", "FOO"], b"501"),
        (["-H", "Host:"], b"400"),
        (["-H", "Content-Length: 11000000", "-d", "a"], b"413"),
        (["-H", "X: " + "a" * 70_000], b"431"),
        (["-d", "a", "-H", "Transfer-Encoding: gzip, chunked"], b"501"),
    ],
)
def test_curl_reads_a_refusal(peer: Callable[[str], str], port: int, options: list[str], status: bytes) -> None:
    out = run(peer("curl"), "-sS", "--max-time", "20", "-o", "/dev/null", "-w", "%{http_code}", *options,
              f"http://127.0.0.1:{port}/")  # fmt: skip
    assert out == status


def test_a_refusal_of_a_large_body_reaches_a_client_that_goes_on_sending(peer: Callable[[str], str], port: int) -> None:
    """RFC 9112 §9.6: the connection is closed in stages, or a reset would take the answer with it."""
    out = run(peer("curl"), "-sS", "--max-time", "20", "-o", "/dev/null", "-w", "%{http_code}", "-H", "Expect:",
              "-T", "-", f"http://127.0.0.1:{port}/", stdin=b"a" * 12_000_000)  # fmt: skip
    assert out == b"413"


def test_nc(peer: Callable[[str], str], port: int) -> None:
    out = run(peer("nc"), "-N", "127.0.0.1", port, stdin=b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n")
    assert out.startswith(b"HTTP/1.1 200 OK\r\n")
    assert out.endswith(b"\r\n\r\nGET /a")
    # By hand the lines end with a bare LF, which is refused at once rather than waited on.
    assert run(peer("nc"), "127.0.0.1", port, stdin=b"GET / HTTP/1.0\n\n").startswith(b"HTTP/1.1 400 ")


def test_wrk(peer: Callable[[str], str], port: int) -> None:
    out = run(peer("wrk"), "-t1", "-c5", "-d1s", f"http://127.0.0.1:{port}/a").decode()
    assert "Non-2xx" not in out
    assert "Socket errors" not in out
    match = re.search(r"(\d+) requests in", out)
    assert match is not None
    assert int(match[1]) > 100


def in_thread(function: Callable[[], T]) -> T:
    with ThreadPoolExecutor() as pool:
        future = pool.submit(function)
        run_until(future.done, DEADLINE)
        return future.result()


def test_the_standard_library(port: int) -> None:
    def ask() -> list[bytes]:
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE)
        found = []
        for method, path, body in [
            ("GET", "/a", None),
            ("POST", "/", b"abc"),
            ("HEAD", "/", None),
            ("PUT", "/", b"a" * 1_000_000),
            ("PUT", "/", iter([b"chunks, ", b"in two"])),
            ("GET", "/later", None),
        ]:
            client.request(method, path, body)
            socket = client.sock
            found.append(client.getresponse().read())
            assert client.sock is socket  # it was kept
        client.close()
        return found

    assert in_thread(ask) == [b"GET /a", b"abc", b"", b"a" * 1_000_000, b"chunks, in two", b"later"]


def test_what_a_browser_sends(port: int) -> None:
    headers = {
        "User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0",
        "Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
        "Accept-Language": "en-US,en;q=0.5",
        "Accept-Encoding": "gzip, deflate, br, zstd",
        "Connection": "keep-alive",
        "Cookie": "session=abcdefghijklmnopqrstuvwxyz0123456789; theme=dark; _ga=GA1.1.12345.67890",
        "Upgrade-Insecure-Requests": "1",
        "Sec-Fetch-Dest": "document",
        "Sec-Fetch-Mode": "navigate",
        "Sec-Fetch-Site": "none",
        "Sec-Fetch-User": "?1",
        "Priority": "u=0, i",
    }

    def ask() -> bytes:
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE)
        client.request("GET", "/page?a=b", headers=headers)
        content = client.getresponse().read()
        client.close()
        return content

    assert in_thread(ask) == b"GET /page"


@pytest.mark.parametrize("module", [pants.http.utils, pants.http.server, pants.http._request])
def test_the_examples(module: Any) -> None:
    result = doctest.testmod(module)
    assert result.attempted
    assert not result.failed
    Engine.instance().poll(0)
