"""The programs `examples/http_*.py`, each run as a program with real clients."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import http.client
import itertools
import os
import pathlib
import re
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Callable

import pytest
import requests
import trustme

from tests.http.peers_support import DEADLINE, EXAMPLES, running

# Letter by letter what is in the manual, "The Server".
FIRST_PROGRAM = """
from pants.http import HTTPServer
from pants import Engine

def my_handler(request):
    request.send_response("Hello World.")

server = HTTPServer(my_handler)
server.listen()
Engine.instance().start()
"""


def wait_until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end, condition
        time.sleep(0.01)


@pytest.mark.parametrize("name", ["http_hello.py", "http_upload.py", "http_stream.py", "http_files.py"])
def test_the_port_is_8080_by_default(name: str) -> None:
    assert '"PORT", "8080"' in (EXAMPLES / name).read_text()


# --- http_hello.py ---------------------------------------------------------------------------------------------------


def test_hello(peer: Callable[[str], str]) -> None:
    """Manual: "a brief example"."""
    curl = peer("curl")
    with running("http_hello.py") as program:
        done = subprocess.run([curl, "-si", program.url], capture_output=True, timeout=DEADLINE, check=True)
        head, _, content = done.stdout.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b"\r\nContent-Type: text/plain\r\n" in head
        assert content == b"Hello World."


def test_hello_is_the_program_of_the_manual() -> None:
    def essence(program: str) -> set[str]:
        lines = program.replace(": HTTPRequest", "").replace("HTTPRequest, ", "").replace(" -> None", "").splitlines()
        return {line for line in lines if line and not line.startswith(('"""', "import os", "print", "server.listen"))}

    assert essence((EXAMPLES / "http_hello.py").read_text()) == essence(FIRST_PROGRAM)


# --- http_upload.py --------------------------------------------------------------------------------------------------


def test_upload_shows_a_form() -> None:
    with running("http_upload.py") as program:
        answer = requests.get(program.url, timeout=DEADLINE)
        assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
        assert '<form method="post" enctype="multipart/form-data">' in answer.text
        assert requests.head(program.url, timeout=DEADLINE).status_code == 200
        assert requests.get(program.url + "nothing", timeout=DEADLINE).status_code == 404
        refused = requests.put(program.url, b"", timeout=DEADLINE)
        assert (refused.status_code, refused.headers["Allow"]) == (405, "GET, HEAD, POST")


def test_upload_tells_what_came() -> None:
    """Manual, "files" and "post": fields and files of a form. What a client says is nothing that a page may run."""
    large = os.urandom(3_000_000)  # more than is kept in memory
    with running("http_upload.py") as program:
        answer = requests.post(
            program.url,
            data={"about": "<b>me</b>"},
            files=[
                ("files", ("a.txt", b"Hello", "text/plain")),
                ("files", ("<i>.bin", large, "application/octet-stream")),
            ],
            timeout=DEADLINE,
        )
        assert answer.status_code == 200
        assert re.findall("<li>(.*?)</li>", answer.text) == [
            "about = &lt;b&gt;me&lt;/b&gt;",
            "files: a.txt, text/plain, 5 bytes",
            "files: &lt;i&gt;.bin, application/octet-stream, 3000000 bytes",
        ]


def test_upload_by_the_command_that_it_names(peer: Callable[[str], str]) -> None:
    curl = peer("curl")
    source = (EXAMPLES / "http_upload.py").read_text()
    match = re.search("curl (-F .*) http://localhost:8080/\n", source)
    assert match is not None
    with running("http_upload.py") as program:
        done = subprocess.run(
            [curl, "-sS", *match[1].split(), program.url],
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=True,
            cwd=EXAMPLES.parent,
        )
        size = (EXAMPLES.parent / "README.md").stat().st_size
        found = re.findall("<li>(.*?)</li>", done.stdout)
        assert found[0] == "about = me"
        assert re.fullmatch(rf"files: README.md, .*, {size} bytes", found[1])


# --- http_stream.py --------------------------------------------------------------------------------------------------


def test_stream_answers_in_pieces() -> None:
    with running("http_stream.py") as program:
        answer = requests.get(program.url, timeout=DEADLINE)
        assert answer.headers["Transfer-Encoding"] == "chunked"
        assert answer.content == b"".join(b"%d\n" % number for number in range(1_000_000))
        assert requests.head(program.url, timeout=DEADLINE).headers["Content-Type"] == "text/plain"
        assert requests.delete(program.url, timeout=DEADLINE).status_code == 405
        # Others are served meanwhile.
        with requests.get(program.url, stream=True, timeout=DEADLINE) as slow:
            assert next(slow.iter_lines()) == b"0"
            assert requests.delete(program.url, timeout=DEADLINE).status_code == 405


@pytest.mark.parametrize("size", [0, 1, 5_000_000])
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_stream_keeps_an_upload(size: int, chunked: bool, tmp_path: pathlib.Path) -> None:
    content = os.urandom(size)
    body = (content[at : at + 70_000] for at in range(0, max(size, 1), 70_000)) if chunked else content
    with running("http_stream.py", tmp_path) as program:
        answer = requests.put(program.url + "kept.bin", body, timeout=DEADLINE)
        assert (answer.status_code, answer.text) == (201, "Thank you.\n")
        assert (tmp_path / "kept.bin").read_bytes() == content


def test_stream_takes_a_file_from_curl(peer: Callable[[str], str], tmp_path: pathlib.Path) -> None:
    """RFC 9110 §10.1.1: with such a body, curl waits for 100 Continue."""
    curl = peer("curl")
    source = tmp_path / "source"
    source.write_bytes(os.urandom(5_000_000))
    with running("http_stream.py", tmp_path) as program:
        command = [curl, "-sS", "-w", "%{http_code}", "-T", str(source), program.url + "kept"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE, check=True)
        assert done.stdout == "Thank you.\n201"
        assert (tmp_path / "kept").read_bytes() == source.read_bytes()
        done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE, check=True)
        assert done.stdout.endswith("\n409")


@pytest.mark.parametrize("name", ["", "a/b", "..%2fa", "a%00", ".hidden", "-", "a" * 101, "%C3%A4"])
def test_stream_refuses_odd_names(name: str, tmp_path: pathlib.Path) -> None:
    with running("http_stream.py", tmp_path) as program:
        assert requests.put(program.url + name, b"abc", timeout=DEADLINE).status_code == 400
        assert requests.put(program.url + name, b"", timeout=DEADLINE).status_code == 400
    assert list(tmp_path.iterdir()) == []


def test_stream_overwrites_nothing(tmp_path: pathlib.Path) -> None:
    (tmp_path / "mine").write_text("precious")
    with running("http_stream.py", tmp_path) as program:
        assert requests.put(program.url + "mine", b"abc", timeout=DEADLINE).status_code == 409
    assert (tmp_path / "mine").read_text() == "precious"


def test_stream_removes_what_is_not_whole(tmp_path: pathlib.Path) -> None:
    with running("http_stream.py", tmp_path) as program:
        with socket.create_connection(program.address, DEADLINE) as client:
            client.sendall(b"PUT /half HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n" + bytes(500_000))
            wait_until((tmp_path / "half").exists)
        wait_until(lambda: not (tmp_path / "half").exists())


@pytest.mark.skipif(not pathlib.Path("/dev/full").exists(), reason="no device that is full")
def test_stream_tells_of_a_full_disk(tmp_path: pathlib.Path) -> None:
    # A preloaded module lets every file of the example be that device.
    (tmp_path / "sitecustomize.py").write_text(
        "import pathlib\n"
        "opened = pathlib.Path.open\n"
        "def full(self, mode='r', *args, **kwargs):\n"
        "    return opened(self, mode) if mode != 'xb' else (opened(self, mode).close(), open('/dev/full', 'wb'))[1]\n"
        "pathlib.Path.open = full\n"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(tmp_path))
        with running("http_stream.py", tmp_path) as program:
            answer = requests.put(program.url + "name", bytes(5_000_000), timeout=DEADLINE)
            assert answer.status_code == 507
            assert "No space left" in answer.text
            wait_until(lambda: not (tmp_path / "name").exists())


# --- http_files.py ---------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> pathlib.Path:
    folder = tmp_path / "files"
    (folder / "sub").mkdir(parents=True)
    (folder / "index.html").write_text("<!DOCTYPE html>")
    (folder / "sub" / "a b.txt").write_text("0123456789")
    (folder / "style.css").write_text("body {}")
    (folder / "style.css.gz").write_bytes(gzip.compress(b"body {}"))
    (tmp_path / "secret").write_text("secret")
    return folder


def test_files(folder: pathlib.Path) -> None:
    with running("http_files.py", folder) as program:
        with requests.Session() as client:
            page = client.get(program.url, timeout=DEADLINE)
            assert (page.text, page.headers["Content-Type"]) == ("<!DOCTYPE html>", "text/html")
            part = client.get(program.url + "sub/a%20b.txt", headers={"Range": "bytes=2-4"}, timeout=DEADLINE)
            assert (part.status_code, part.text) == (206, "234")
            style = client.get(program.url + "style.css", timeout=DEADLINE)
            assert (style.headers["Content-Encoding"], style.text) == ("gzip", "body {}")
            plain = client.get(program.url + "style.css", headers={"Accept-Encoding": "identity"}, timeout=DEADLINE)
            assert ("Content-Encoding" in plain.headers, plain.text) == (False, "body {}")
            etag = {"If-None-Match": plain.headers["ETag"], "Accept-Encoding": "identity"}
            assert client.get(program.url + "style.css", headers=etag, timeout=DEADLINE).status_code == 304
            assert client.get(program.url + "nothing", timeout=DEADLINE).status_code == 404
            assert client.post(program.url, b"", timeout=DEADLINE).status_code == 405
        program.process.send_signal(signal.SIGTERM)
        status, log = program.end()
    assert status == 0
    lines = log.splitlines()
    assert len(lines) == 7
    assert re.fullmatch(r'127\.0\.0\.1 - - \[.*\] "GET / HTTP/1\.1" 200 15 "-" "python-requests/.*"', lines[0])


@pytest.mark.parametrize("path", ["/../secret", "/%2e%2e/secret", "/sub/..%2f../secret", "//secret", "/sub", "/sub/"])
def test_files_stay_below_the_folder(path: str, folder: pathlib.Path) -> None:
    with running("http_files.py", folder) as program:
        client = http.client.HTTPConnection(*program.address, timeout=DEADLINE)
        with contextlib.closing(client):
            client.request("GET", path)
            assert client.getresponse().status == 404


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_files_are_sent_to_their_end(signum: signal.Signals, folder: pathlib.Path) -> None:
    """Who is being served is served; who waits is let go; nobody comes in."""
    content = os.urandom(50_000_000)  # more than the kernel takes at once
    (folder / "large.bin").write_bytes(content)
    with running("http_files.py", folder) as program:
        client = http.client.HTTPConnection(*program.address, timeout=DEADLINE)
        with contextlib.closing(client), socket.create_connection(program.address, DEADLINE) as idle:
            client.request("GET", "/large.bin")
            answer = client.getresponse()
            program.process.send_signal(signum)
            assert idle.recv(1) == b""
            with socket.socket() as late:
                assert late.connect_ex(program.address) != 0
            assert hashlib.sha256(answer.read()).digest() == hashlib.sha256(content).digest()
        status, log = program.end()
    assert status == 0
    assert '"GET /large.bin HTTP/1.1" 200 50000000' in log


def test_a_second_signal_ends_it(folder: pathlib.Path) -> None:
    (folder / "large.bin").write_bytes(bytes(50_000_000))
    with running("http_files.py", folder) as program:
        client = http.client.HTTPConnection(*program.address, timeout=DEADLINE)
        with contextlib.closing(client), socket.create_connection(program.address, DEADLINE) as idle:
            client.request("GET", "/large.bin")
            answer = client.getresponse()
            program.process.send_signal(signal.SIGINT)
            assert idle.recv(1) == b""
            program.process.send_signal(signal.SIGINT)
            status, _ = program.end()
            with contextlib.suppress(OSError, http.client.IncompleteRead):
                assert len(answer.read()) < 50_000_000
    assert status == 0


def test_files_over_https(folder: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """SIGHUP: the certificate is read again; one that cannot be read changes nothing."""
    authority = trustme.CA()
    context = ssl.create_default_context()
    authority.configure_trust(context)
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"

    def renew() -> bytes:
        issued = authority.issue_cert("127.0.0.1")
        issued.private_key_pem.write_to_path(str(key))
        issued.cert_chain_pems[0].write_to_path(str(cert))
        return ssl.PEM_cert_to_DER_cert(cert.read_text())

    first = renew()
    with running("http_files.py", folder, "--cert", cert, "--key", key) as program:
        assert program.url.startswith("https://")

        def presented() -> bytes:
            with (
                socket.create_connection(program.address, DEADLINE) as sock,
                context.wrap_socket(sock, server_hostname="127.0.0.1") as client,
            ):
                found = client.getpeercert(True)
                assert found is not None
                client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
                received = b"".join(iter(lambda: client.recv(65536), b""))
                assert received.endswith(b"<!DOCTYPE html>")
                return found

        assert presented() == first
        second = renew()
        assert presented() == first
        program.process.send_signal(signal.SIGHUP)
        wait_until(lambda: presented() == second)
        cert.write_text("nonsense")
        program.process.send_signal(signal.SIGHUP)
        assert program.process.stderr is not None
        log = iter(program.process.stderr.readline, "")
        assert any("reload_ssl" in line for line in itertools.islice(log, 1000))
        assert presented() == second
