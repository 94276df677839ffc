"""`python -m pants.web.fileserver`, as a program of its own with real clients; and the example with a FileServer."""

from __future__ import annotations

import argparse
import contextlib
import errno
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization

from pants.http import HTTPServer
from pants.web import _fileserver_command as command
from tests.http.peers_support import Certificate

EXAMPLE = Path(__file__).parents[2] / "examples" / "web_files.py"
DEADLINE = 30.0
LARGE = bytes(range(256)) * 20_000


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "below").mkdir(parents=True)
    (root / "hello.txt").write_bytes(b"hello")
    (root / "large.bin").write_bytes(LARGE)
    (root / "program.py").write_bytes(b"import this")
    (root / ".hidden").write_bytes(b"hidden")
    (root / "below" / "home.html").write_bytes(b"home")
    (tmp_path / "outside").write_bytes(b"outside")
    (root / "link").symlink_to(tmp_path / "outside")
    return root


class Program:
    """The command while it runs.

    Attributes:
        banner: What it says first.
        url: Where it says that it can be reached; an empty string behind a UNIX socket.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        assert process.stderr is not None
        self.banner = process.stderr.readline()
        match = re.search(r"https?://\S+?/", self.banner)
        self.url = "" if match is None else match[0]
        if "Serving" not in self.banner:
            pytest.fail(self.banner + process.stderr.read())

    def end(self, signum: int = signal.SIGINT) -> tuple[int, str]:
        """Have it end; return its status, and what it has written since the banner."""
        self.process.send_signal(signum)
        _, errors = self.process.communicate(timeout=DEADLINE)
        return self.process.returncode, errors


@contextlib.contextmanager
def running(*arguments: object, cwd: Path | None = None) -> Iterator[Program]:
    """The command. What Python warns of ends it, and it may be interrupted."""
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "pants.web.fileserver", *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        cwd=cwd,
    ) as process:
        try:
            yield Program(process)
        finally:
            process.kill()


def run(*arguments: object) -> tuple[int, str]:
    """The command where it is not to serve: its status, and what it says."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "pants.web.fileserver", *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        start_new_session=True,  # there is no terminal to ask for a password
    )
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def curl(peer: Callable[[str], str]) -> Callable[..., str]:
    """A function that runs curl, and returns what that writes."""
    program = peer("curl")

    def run_curl(*arguments: object, code: int = 0) -> str:
        done = subprocess.run(
            [program, "--silent", "--show-error", "--noproxy", "*", *map(str, arguments)],
            capture_output=True,
            timeout=DEADLINE,
        )
        assert done.returncode == code, done
        return done.stdout.decode("latin-1")

    return run_curl


# --- Serving ----------------------------------------------------------------------------------------------------


def test_it_serves_the_working_directory(root: Path, curl: Callable[..., str]) -> None:
    """Manual: "in a similar way to the standard library's SimpleHTTPServer"."""
    with running("0", cwd=root) as program:
        assert program.banner == f"Serving {program.url} from {root} - Ctrl-C ends it\n"
        assert re.fullmatch(r"http://127\.0\.0\.1:[0-9]+/", program.url)
        assert curl(program.url + "hello.txt") == "hello"
        assert "Index of /" in curl(program.url)
        assert curl("-o", os.devnull, "-w", "%{http_code}", program.url + "program.py") == "403"
        code, log = program.end()
    assert code == 0
    lines = log.splitlines()
    assert [line.split('"')[1] for line in lines] == [
        "GET /hello.txt HTTP/1.1",
        "GET / HTTP/1.1",
        "GET /program.py HTTP/1.1",
    ]
    assert re.fullmatch(r'127\.0\.0\.1 - - \[.*\] "GET /hello\.txt HTTP/1\.1" 200 5 [0-9]+us', lines[0])


def test_curl(root: Path, tmp_path: Path, curl: Callable[..., str]) -> None:
    """What it does with files: the whole, the head, a part, what is left of a download, what has not changed."""
    with running("-q", "0", root) as program:
        url = program.url + "large.bin"
        assert curl(url) == LARGE.decode("latin-1")
        assert f"Content-Length: {len(LARGE)}\r\n" in curl("--head", url)
        assert curl("--range", "256-259", url) == "\x00\x01\x02\x03"
        part = tmp_path / "part"
        part.write_bytes(LARGE[:1000])
        curl("--continue-at", "-", "--output", part, url)
        assert part.read_bytes() == LARGE
        curl("--remote-time", "--output", part, url)
        assert curl("--time-cond", part, "-w", "%{http_code}", url) == "304"
        assert curl("--location", "-w", "%{url_effective}", program.url + "below").endswith("/below/")
        assert curl("--path-as-is", "-o", os.devnull, "-w", "%{http_code}", program.url + "../outside") == "404"
        assert curl("--request", "DELETE", "-o", os.devnull, "-w", "%{http_code}", url) == "405"
        assert curl("-o", os.devnull, "-w", "%{http_code}", program.url + "link") == "404"
        assert program.end() == (0, "")


def test_indices(root: Path, curl: Callable[..., str]) -> None:
    """Manual: "which filenames should serve as directory indices"; the others do not, then."""
    (root / "index.html").write_bytes(b"index")
    with running("-i", "none.html", "--index", "home.html", "0", root) as program:
        assert curl(program.url + "below/") == "home"
        assert "Index of /" in curl(program.url)
    with running("0", root) as program:
        assert curl(program.url) == "index"
        assert "Index of /below/" in curl(program.url + "below/")


def test_what_is_left_out_otherwise(root: Path, curl: Callable[..., str]) -> None:
    (root / "hello.txt.gz").write_bytes(b"packed")
    with running("--all", "--follow-symlinks", "--precompressed", "--no-listing", "0", root) as program:
        assert curl(program.url + "program.py") == "import this"
        assert curl(program.url + ".hidden") == "hidden"
        assert curl(program.url + "link") == "outside"
        assert curl("-H", "Accept-Encoding: gzip", program.url + "hello.txt") == "packed"
        assert curl("-o", os.devnull, "-w", "%{http_code}", program.url) == "403"
        assert program.end()[0] == 0


@pytest.mark.parametrize("bind", ["127.0.0.1:0", "localhost:0", "[::1]:0"])
def test_an_address_with_a_port(root: Path, bind: str, curl: Callable[..., str]) -> None:
    """Manual: "which address the server should bind to"."""
    if "::1" in bind:
        with contextlib.suppress(OSError), socket.create_server(("::1", 0), family=socket.AF_INET6):
            bind = "::1"
        if bind != "::1":
            pytest.skip("there is no IPv6 here")
        bind = "[::1]:0"
    with running("-b", bind, "-d", root) as program:
        host = "[::1]" if "::1" in bind else "127.0.0.1"
        assert program.url.startswith(f"http://{host}:")
        assert curl("--globoff", program.url + "hello.txt") == "hello"


def test_all_addresses(root: Path, curl: Callable[..., str]) -> None:
    """The banner says so."""
    with running("-b", "0.0.0.0", "0", root) as program:
        assert "and on every address of this machine" in program.banner
        assert curl(program.url.replace("localhost", "127.0.0.1") + "hello.txt") == "hello"
        assert program.end()[0] == 0


def test_a_unix_socket(root: Path, tmp_path: Path, curl: Callable[..., str]) -> None:
    path = tmp_path / "socket"
    with running("-b", f"unix:{path}", "-d", root) as program:
        assert str(path) in program.banner
        assert curl("--unix-socket", path, "http://a/hello.txt") == "hello"
        code, log = program.end(signal.SIGTERM)
    assert code == 0
    assert '"GET /hello.txt HTTP/1.1" 200 5 ' in log
    assert not path.exists()


def test_a_directory_with_an_odd_name(tmp_path: Path) -> None:
    """It does not get at the terminal."""
    odd = tmp_path / "a\n\x1b[31m"
    odd.mkdir()
    with running("0", odd) as program:
        assert "\x1b" not in program.banner
        assert r"a\n\x1b[31m" in program.banner


def test_https(root: Path, tmp_path: Path, curl: Callable[..., str]) -> None:
    """As ``http.server`` of Python 3.14 has it: the key in the same file, in another one, and with a password."""
    certificate = Certificate(tmp_path)
    pem = Path(certificate.chain).read_bytes()
    key = serialization.load_pem_private_key(pem, None)
    (tmp_path / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"the password"),
        )
    )
    (tmp_path / "cert.pem").write_bytes(pem[pem.index(b"-----BEGIN CERT") :])
    (tmp_path / "password").write_text("the password\n")
    with running("--tls-cert", certificate.chain, "0", root) as program:
        assert program.url.startswith("https://")
        assert curl("--cacert", certificate.ca, program.url + "hello.txt") == "hello"
    options = ["--tls-cert", tmp_path / "cert.pem", "--tls-key", tmp_path / "key.pem"]
    with running(*options, "--tls-password-file", tmp_path / "password", "0", root) as program:
        assert curl("--cacert", certificate.ca, program.url + "hello.txt") == "hello"
    (tmp_path / "password").write_text("wrong")
    code, said = run(*options, "--tls-password-file", tmp_path / "password", "0", root)
    assert code == 1
    assert "the certificate cannot be used" in said


@pytest.mark.parametrize("protocol, closes", [("HTTP/1.0", True), ("HTTP/1.1", False)])
def test_the_protocol(root: Path, protocol: str, closes: bool, curl: Callable[..., str]) -> None:
    with running("-p", protocol, "0", root) as program:
        assert ("Connection: close" in curl("--head", program.url + "hello.txt")) == closes


# --- Ending -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_quietly(root: Path, signum: signal.Signals) -> None:
    """Idle connections do not keep it."""
    with running("0", root) as program:
        port = int(program.url.rpartition(":")[2].strip("/"))
        with socket.create_connection(("127.0.0.1", port), DEADLINE):
            assert program.end(signum) == (0, "")


def test_what_is_being_sent_is_sent_to_its_end(root: Path) -> None:
    with running("-q", "0", root) as program:
        port = int(program.url.rpartition(":")[2].strip("/"))
        with socket.create_connection(("127.0.0.1", port), DEADLINE) as client, client.makefile("rb") as file:
            client.sendall(b"GET /large.bin HTTP/1.1\r\nHost: a\r\n\r\n")
            received = file.read(1000)
            program.process.send_signal(signal.SIGTERM)
            assert (received + file.read()).endswith(LARGE)
        assert program.process.wait(DEADLINE) == 0


# --- What it cannot do ------------------------------------------------------------------------------------------


def test_a_port_that_is_in_use(root: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        code, said = run(port, root)
    assert code == 1
    assert said.count("\n") == 1
    assert re.search(rf"fileserver: .*{port}.*: Address already in use; give another port, or 0", said)


def test_no_permission(root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def refuse(self: HTTPServer, address: Any) -> None:
        raise PermissionError(errno.EACCES, f"cannot listen on {address!r}: Permission denied")

    monkeypatch.setattr(HTTPServer, "listen", refuse)
    assert command.main(["80", str(root)]) == 1
    assert "80): Permission denied; give a port from 1024 on" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["-b", "192.0.2.1", "0"], "192.0.2.1"),
        (["-b", "no..name", "0"], "not a valid host name"),
        (["-b", "unix:/none/socket"], "No such file or directory"),
        (["--tls-cert", "/none", "0"], "No such file or directory: '/none'"),
        (["--tls-cert", __file__, "0"], "the certificate cannot be used"),
    ],
)
def test_it_cannot_serve(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main([*arguments, "-d", "/"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("python -m pants.web.fileserver: ")
    assert error.count("\n") == 1
    assert said in error


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["0", "/none"], "'/none' cannot be served: No such file or directory"),
        (["0", __file__], "is not a directory"),
        (["-d", "/none"], "'/none' cannot be served"),
        (["-d", "a\0b"], "null"),
        (["0", "/", "-d", "/"], "are the same; give one of them"),
        (["65536"], "PORT is a number, 0 to 65535, not '65536'"),
        (["99999999999999999999"], "PORT is a number"),
        (["\u0663"], "PORT is a number"),
        (["80", "81"], "'81' cannot be served"),
        (["a", "b"], "PORT is a number, 0 to 65535, not 'a'"),
        (["-1"], "PORT is a number, 0 to 65535, not '-1'"),
        (["80", "/", "x"], "unrecognized arguments: x"),
        (["--none"], "unrecognized arguments: --none"),
        (["--ind", "x"], "unrecognized arguments"),
        (["-b", "http://a/"], "--bind: .* is a URL"),
        (["-b", "a:99999"], "--bind: a port is between 0 and 65535"),
        (["-b", "a:x"], "--bind: 'x' is not a port"),
        (["-b", "a:80", "81"], "--bind says port 80, and PORT is 81"),
        (["-b", "unix:/x", "81"], "has no port; leave PORT out"),
        (["-i", "a/b", "-d", "/"], "defaults are names of files"),
        (["-i", "", "-d", "/"], "defaults are names of files"),
        (["--cgi"], "--cgi is not supported: .* write a pants.web.Application"),
        (["-p", "HTTP/2.0"], r"invalid choice: 'HTTP/2.0'"),
        (["--tls-key", "x", "-d", "/"], "--tls-key goes with --tls-cert"),
        (["--tls-password-file", "x", "-d", "/"], "--tls-password-file goes with --tls-cert"),
        (["--tls-cert", "x", "--tls-password-file", "/none", "-d", "/"], "'/none' cannot be read: No such file"),
        (["--tls-cert", "x", "--tls-password-file", sys.executable, "-d", "/"], "cannot be read: .*codec"),
    ],
)
def test_wrong_arguments(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Status 2, and a line that says what to do."""
    with pytest.raises(SystemExit) as raised:
        command.main(arguments)
    assert raised.value.code == 2
    usage, error = capsys.readouterr().err.splitlines()
    assert usage == "usage: python -m pants.web.fileserver [options] [PORT] [PATH]"
    assert re.search(said, error), error


@pytest.mark.parametrize(
    "arguments, address, path",
    [
        ([], ("127.0.0.1", 8000), None),
        (["8080"], ("127.0.0.1", 8080), None),
        (["8080", "/srv"], ("127.0.0.1", 8080), "/srv"),
        (["/srv"], ("127.0.0.1", 8000), "/srv"),
        (["/srv", "8080"], ("127.0.0.1", 8080), "/srv"),
        (["-b", "0.0.0.0"], ("0.0.0.0", 8000), None),
        (["-b", "0.0.0.0", "8080"], ("0.0.0.0", 8080), None),
        (["-b", "::"], ("::", 8000), None),
        (["-b", "localhost:81"], ("localhost", 81), None),
        (["-b", "localhost:81", "81"], ("localhost", 81), None),
        (["-b", "[::1]:8080", "/srv"], ("::1", 8080), "/srv"),
        (["-b", ":8080"], ("", 8080), None),
        (["-b", "8080"], ("127.0.0.1", 8080), None),
        (["-b", "localhost:0"], ("localhost", 0), None),
        (["-b", "unix:/run/web"], "/run/web", None),
        (["-b", "/run/web", "-d", "/srv"], "/run/web", None),
    ],
)
def test_addresses(arguments: list[str], address: Any, path: str | None) -> None:
    parser = command._make_parser()
    options: argparse.Namespace = parser.parse_args(arguments)
    assert command._find_address(parser, options) == address
    assert options.path == path


def test_help() -> None:
    """With examples, and all that there is to say."""
    code, said = run("--help")
    assert code == 0
    for option in (
        "PORT",
        "PATH",
        "--bind",
        "--index",
        "--directory",
        "--all",
        "--tls-cert",
        "--protocol",
        "--no-listing",
    ):
        assert option in said
    assert "examples:" in said
    assert "default: 8000" in said
    assert "--cgi not supported: CGI scripts are not run" in " ".join(said.split())
    assert max(map(len, said.splitlines())) <= 110


def test_what_http_server_takes() -> None:
    """Python 3.14, ``python -m http.server --help``; but that there is no CGI."""
    parser = command._make_parser()
    tls = ["--tls-cert", "a", "--tls-key", "b", "--tls-password-file", "c"]
    options = parser.parse_args(["-b", "127.0.0.1", "-d", "/", "-p", "HTTP/1.1", *tls, "8000"])
    assert (options.bind, options.directory, options.port) == ("127.0.0.1", "/", "8000")
    for name in ("bind", "directory", "protocol"):
        assert getattr(parser.parse_args([f"--{name}", "HTTP/1.0"]), name) == "HTTP/1.0"


# --- The example ------------------------------------------------------------------------------------------------


def test_the_example(root: Path, curl: Callable[..., str]) -> None:
    with subprocess.Popen(
        [sys.executable, EXAMPLE, root], stderr=subprocess.PIPE, text=True, env=os.environ | {"PORT": "0"}
    ) as process:
        try:
            program = Program(process)
            page = curl(program.url)
            assert '<li><a href="/files/hello.txt">hello.txt</a>' in page
            assert curl(program.url + "files/hello.txt") == "hello"
            assert "Cache-Control: max-age=60" in curl("--head", program.url + "files/hello.txt")
            assert "Index of /files/" in curl("--location", program.url + "files")
            assert curl("-o", os.devnull, "-w", "%{http_code}", program.url + "files/program.py") == "403"
        finally:
            process.kill()
