"""`examples/hello_web.py`, the manual's own program and those of the READMEs, each run as such with real clients."""

from __future__ import annotations

import contextlib
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator

import pytest

from tests.readme_support import blocks

EXAMPLE = pathlib.Path(__file__).parents[2] / "examples" / "hello_web.py"
DEADLINE = 30.0

# Letter by letter what is on the first page of the manual.
FIRST_PAGE = """
from pants.web import Application

app = Application()

@app.route('/')
def hello(request):
    return "Hello, World!"

app.run()
"""

# Makes the page's port, 80 or 8080, any free one.
ON_A_FREE_PORT = """
from pants.http import HTTPServer
listen = HTTPServer.listen
HTTPServer.listen = lambda self, address: listen(self, ("127.0.0.1", 0))
"""


@contextlib.contextmanager
def running(*args: str, **environment: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A program that serves, and the URL that it names."""
    program = subprocess.Popen([sys.executable, *args], stderr=subprocess.PIPE, text=True, env=os.environ | environment)
    with program:
        try:
            assert program.stderr is not None
            banner = program.stderr.readline()
            match = re.search(r"http://\S+", banner)
            assert match is not None, banner + program.stderr.read()
            yield program, match[0]
        finally:
            program.kill()


def fetch(url: str, method: str = "GET") -> tuple[int, bytes]:
    request = urllib.request.Request(url, method=method)
    try:
        with urllib.request.urlopen(request, timeout=DEADLINE) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def test_hello_web() -> None:
    """What `make hello` runs: it serves on PORT, and says where."""
    port = free_port()
    with running(str(EXAMPLE), PORT=port) as (_, url):
        assert url == f"http://localhost:{port}/"
        url = url.replace("localhost", "127.0.0.1")
        assert fetch(url) == (200, b"Hello, World!")
        assert fetch(url, "HEAD") == (200, b"")
        assert fetch(url, "POST")[0] == 405
        assert fetch(url + "nowhere")[0] == 404


def test_ctrl_c_ends_it_without_a_traceback() -> None:
    with running(str(EXAMPLE), PORT=free_port()) as (program, _):
        program.send_signal(signal.SIGINT)
        assert program.wait(DEADLINE) == 0
        assert program.stderr is not None
        assert program.stderr.read() == ""


def test_the_port_is_8080_by_default() -> None:
    assert '"PORT", "8080"' in EXAMPLE.read_text()


@pytest.mark.parametrize(
    "program",
    [
        pytest.param(FIRST_PAGE, id="first page"),
        pytest.param(blocks("README.md")[1], id="README"),
        pytest.param(blocks("packages/pants-web/README.md")[0], id="README of pants-web"),
    ],
)
def test_the_first_page_of_the_manual(program: str, peer: Callable[[str], str]) -> None:
    """The program as it stands there; only its port is another."""
    curl = peer("curl")
    with running("-c", ON_A_FREE_PORT + program) as (_, url):
        out = subprocess.run([curl, "-si", url], capture_output=True, timeout=DEADLINE, check=True).stdout
        head, _, content = out.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b"\r\nContent-Type: text/plain; charset=UTF-8\r\n" in head
        assert content == b"Hello, World!"


def test_the_variable_in_the_readme() -> None:
    program = blocks("packages/pants-web/README.md")[0]
    with running("-c", ON_A_FREE_PORT + program) as (_, url):
        assert fetch(url + "welcome/Ada%20L") == (200, b"Hello, Ada L!")


def test_the_example_is_the_program_of_the_manual() -> None:
    def essence(program: str) -> list[str]:
        lines = program.replace(": HTTPRequest", "").replace(" -> str", "").replace('"', "'").splitlines()
        return [line for line in lines if line.strip() and not line.startswith(("import os", "from pants.http", "'''"))]

    here, there = essence(EXAMPLE.read_text()), essence(FIRST_PAGE)
    assert here[:-1] == there[:-1]
    assert (here[-1][:7], there[-1]) == ("app.run", "app.run()")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may listen on port 80")
def test_port_80_needs_a_privilege() -> None:
    done = subprocess.run([sys.executable, "-c", FIRST_PAGE], capture_output=True, text=True, timeout=DEADLINE)
    assert "cannot listen on 80" in done.stderr
