"""The README of pants-http: its programs, run one after another as it says, and what it says that they do."""

from __future__ import annotations

import contextlib
import dataclasses
import gzip
import hashlib
import io
import logging
import os
import re
import signal
import ssl
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests

from pants import Engine
from pants.http import ClientLimits, HTTPClient, HTTPRequest, HTTPServer, Limits
from pants.http.client import RequestCancelled
from pants.testing import run_until
from tests.http.peers_support import Certificate, in_thread
from tests.http.test_nginx import Nginx
from tests.readme_support import ROOT, blocks

README = "packages/pants-http/README.md"
TEXT = (ROOT / README).read_text()
DEADLINE = 30.0
UNITS = {"": 1, "s": 1, "bytes/s": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}


class Tour:
    """What the programs have made.

    Attributes:
        names: Their global variables, at the end.
        servers: The servers, in the order in which they were made.
    """

    def __init__(self) -> None:
        self.names: dict[str, Any] = {}
        self.servers: list[HTTPServer] = []

    def run(self, program: str) -> None:
        before = self.names.get("server")
        exec(compile(program, README, "exec"), self.names)
        if self.names["server"] is not before:
            self.servers.append(self.names["server"])

    def server(self, about: str) -> HTTPServer:
        """The server whose program, and no other, has these words in it."""
        (program,) = [program for program in blocks(README) if about in program]
        made = [program for program in blocks(README) if re.search("^server = ", program, re.MULTILINE)]
        return self.servers[made.index(program)]


@pytest.fixture
def tour(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Tour:
    """The programs, run in a folder of their own; ports are free ones, and nothing waits for the loop's end."""
    monkeypatch.chdir(tmp_path)
    certificate = Certificate(tmp_path)
    os.rename(certificate.chain, "cert.pem")
    (tmp_path / "key.pem").write_text((tmp_path / "cert.pem").read_text())
    (tmp_path / "static").mkdir()
    (tmp_path / "static" / "a b.css").write_text("body {}")
    (tmp_path / "static" / "a b.css.gz").write_bytes(gzip.compress(b"body {}"))
    (tmp_path / "outside").write_text("secret")
    listen = HTTPServer.listen
    made = Tour()
    with monkeypatch.context() as patch:
        patch.setattr(Engine, "start", lambda self: None)
        patch.setattr(HTTPServer, "listen", lambda self, address=None: listen(self, ("127.0.0.1", 0)))
        for program in blocks(README):
            made.run(program)
    return made


def ask(server: HTTPServer, method: str = "GET", path: str = "/", **kwargs: Any) -> requests.Response:
    if not server.listening:
        server.listen(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{server.local_address[1]}{path}"
    return in_thread(lambda: requests.request(method, url, timeout=DEADLINE, **kwargs))


def test_the_first_program_is_that_of_the_manual(tour: Tour) -> None:
    assert [line for line in blocks(README)[0].splitlines() if line] == [
        *["from pants.http import HTTPServer", "from pants import Engine"],
        *["def my_handler(request):", '    request.send_response("Hello World.")'],
        *["server = HTTPServer(my_handler)", "server.listen()", "Engine.instance().start()"],
    ]
    answer = ask(tour.server("def my_handler"))
    assert (answer.text, answer.headers["Content-Type"]) == ("Hello World.", "text/plain")


def test_no_program_is_left_out() -> None:
    """A program that is added here needs a test below."""
    assert len(blocks(README)) == 18


def test_requests_and_answers(tour: Tour) -> None:
    server = tour.server("def handler")
    assert ask(server, path="/nothing").status_code == 404
    assert ask(server).text == "Hello, nobody!\n"
    answer = ask(server, path="/?name=W%C3%B6rld")
    assert answer.content.decode() == "Hello, W\u00f6rld!\n"
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.cookies["greeted"] == "yes"
    assert ask(server, "TRACE").status_code == 501


def test_limits(tour: Tour) -> None:
    server = tour.server("import Limits")
    assert (server.limits.header_timeout, server.limits.form_fields) == (10, 20)
    assert ask(server, "POST", data=bytes(100_000)).status_code == 200
    assert ask(server, "POST", data=bytes(100_001)).status_code == 413
    assert ask(server, path=f"/?{'a=b&' * 21}").status_code == 414


def told_limits(text: str) -> dict[str, float]:
    rows = re.findall(r"^\| `(\w+)` \| ([0-9.]+) ?(\S*) \|", text, re.MULTILINE)
    return {name: float(value) * UNITS[unit] for name, value, unit in rows}


def test_the_tables_of_limits_are_those_of_the_classes() -> None:
    server, client = TEXT.split("### The client")
    max_request = HTTPServer(lambda request: None).max_request
    assert told_limits(server) == {"max_request": max_request} | dataclasses.asdict(Limits())
    assert told_limits(client) == dataclasses.asdict(ClientLimits())


def watched(server: HTTPServer) -> list[tuple[str, str]]:
    """Have a server write down who its clients are, and which host they ask for."""
    seen: list[tuple[str, str]] = []

    def handle(request: HTTPRequest) -> None:
        seen.append((request.remote_ip, request.host))
        request.send_response("")

    server.request_handler = handle
    return seen


def test_behind_a_proxy(tour: Tour) -> None:
    server = tour.server("xheaders")
    seen = watched(server)
    ask(server, headers={"X-Forwarded-For": "192.0.2.1, 192.0.2.2, 10.1.1.1"})
    ask(server, headers={"X-Real-IP": "192.0.2.1", "Forwarded": "for=192.0.2.1"})
    assert [address for address, _ in seen] == ["192.0.2.2", "127.0.0.1"]


def test_behind_nginx(tour: Tour, peer: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory) -> None:
    """What the client has put into the header is not believed."""
    (settings,) = blocks(README, "nginx")
    server = tour.server("xheaders").listen(("127.0.0.1", 0))
    seen = watched(server)
    nginx = Nginx(peer("nginx"), tmp_path_factory.mktemp("nginx"))
    forged = [{}, {"X-Forwarded-For": "192.0.2.1"}, {"X-Real-IP": "192.0.2.1"}, {"Forwarded": "for=192.0.2.1"}]
    with nginx.running(server, location=settings):
        for headers in forged:
            nginx.ask("GET", "/", headers={"Host": "example.org", **headers}, source="127.0.0.2")
    assert seen == [("127.0.0.2", "example.org")] * len(forged)


def test_the_other_settings_behind_a_proxy() -> None:
    for settings in re.findall("`((?:proxy_protocol|sendfile)=[^`]*)`", TEXT):
        eval(f"HTTPServer(print, {settings})", {"HTTPServer": HTTPServer})


def test_tls(tour: Tour, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The certificate is renewed without a restart; where it is nonsense, the old one stays."""
    server = tour.server("ssl_options={")
    port = server.local_address[1]

    def presented() -> str:
        return in_thread(lambda: ssl.get_server_certificate(("127.0.0.1", port), timeout=DEADLINE))

    first = (tmp_path / "cert.pem").read_text()
    assert presented() in first
    (tmp_path / "new").mkdir()
    os.replace(Certificate(tmp_path / "new").chain, "cert.pem")
    (tmp_path / "key.pem").write_text((tmp_path / "cert.pem").read_text())
    assert presented() in first
    os.kill(os.getpid(), signal.SIGHUP)
    run_until(lambda: presented() not in first, DEADLINE)
    assert presented() in (tmp_path / "cert.pem").read_text()


def test_a_certificate_that_cannot_be_read(tour: Tour, tmp_path: Path, expect_log: Callable[[str], None]) -> None:
    expect_log("reload_ssl")
    server = tour.server("ssl_options={")
    (tmp_path / "cert.pem").write_text("nonsense")
    told: list[logging.LogRecord] = []
    watcher = logging.Handler()
    watcher.emit = told.append  # type: ignore[assignment]
    logging.getLogger("pants").addHandler(watcher)
    try:
        os.kill(os.getpid(), signal.SIGHUP)
        run_until(lambda: told, DEADLINE)
    finally:
        logging.getLogger("pants").removeHandler(watcher)
    assert in_thread(lambda: ssl.get_server_certificate(server.local_address[:2], timeout=DEADLINE))


def test_forms(tour: Tour, tmp_path: Path) -> None:
    photo = os.urandom(3_000_000)
    server = tour.server("def keep_photo")
    answer = ask(server, "POST", data={"about": "me"}, files={"photo": ("../a.jpg", photo, "image/jpeg")})
    assert answer.text == "About: me"
    assert (tmp_path / "photo.jpg").read_bytes() == photo


def test_a_body_as_it_comes(tour: Tour) -> None:
    server = tour.server("head_handler=begin")
    body = os.urandom(11_000_000)  # more than max_request
    assert ask(server, "PUT", data=body).text == hashlib.sha256(body).hexdigest()
    assert ask(server).text == "There was no body.\n"


def test_answers_in_pieces(tour: Tour) -> None:
    answer = ask(tour.server("def count"))
    assert answer.headers["Transfer-Encoding"] == "chunked"
    assert answer.text == "".join(f"{number}\n" * 1000 for number in range(1000))


def test_files(tour: Tour) -> None:
    server = tour.server("file_root=")
    answer = ask(server, path="/a%20b.css")
    assert (answer.text, answer.headers["Content-Encoding"]) == ("body {}", "gzip")
    assert ask(server, path="/..%2Foutside").status_code == 404


def test_compression(tour: Tour) -> None:
    server = tour.server("import Compression")
    name = "a" * 1000
    answer = ask(server, path=f"/?name={name}", headers={"Accept-Encoding": "gzip"})
    assert (answer.headers["Content-Encoding"], answer.text) == ("gzip", f"Hello, {name}!\n")
    assert "Content-Encoding" not in ask(server, headers={"Accept-Encoding": "gzip"}).headers


def test_websockets(tour: Tour, capsys: pytest.CaptureFixture[str]) -> None:
    server = tour.server("broadcast(self.users, text)").listen(("127.0.0.1", 0))
    url = f"ws://127.0.0.1:{server.local_address[1]}/"
    users = tour.names["Chat"].users
    first, second = (tour.names["listen"](url) for _ in range(2))
    run_until(lambda: len(users) == 2 and first.connected and second.connected, DEADLINE)
    first.write("to all")
    said = io.StringIO()
    run_until(lambda: said.write(capsys.readouterr().out) * 0 or said.getvalue().count("to all") == 2, DEADLINE)
    assert "Jane is here" in said.getvalue()
    first.close()
    second.close(reason=4000, message="enough")
    run_until(lambda: first.closed and second.closed and not users, DEADLINE)
    assert "Closed: 4000 enough" in capsys.readouterr().out
    server.close()
    run_until(lambda: server.closed)


def test_a_websocket_that_cannot_be_opened(tour: Tour, capsys: pytest.CaptureFixture[str]) -> None:
    listener = tour.names["listen"]("ws://127.0.0.1:1/")
    run_until(lambda: listener.closed, DEADLINE)
    assert "It could not be opened:" in capsys.readouterr().out


@contextlib.contextmanager
def site(handler: Callable[[HTTPRequest], object]) -> Iterator[str]:
    server = HTTPServer(handler).listen(("127.0.0.1", 0))
    yield f"http://127.0.0.1:{server.local_address[1]}"
    server.close()
    run_until(lambda: server.closed, DEADLINE)


def test_the_client(tour: Tour, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"a photo" * 1000)
    asked: list[tuple[str, str, Any, dict[str, Any], str]] = []

    def handle(request: HTTPRequest) -> None:
        files = {name: [file["body"] for file in found] for name, found in request.files.items()}
        content = request.body.decode() if not files else ""
        asked.append((request.method, request.url, files, request.post, content))
        request.send_response("Hello, World!")

    with site(handle) as base:
        tour.names["ask"](base)
        said = io.StringIO()
        run_until(lambda: said.write(capsys.readouterr().out) * 0 or said.getvalue().count("\n") == 4, DEADLINE)
        tour.names["client"].close_idle()
    assert sorted(asked, key=lambda one: (one[1], one[4])) == [
        ("GET", "/commits?since=2013-11-01", {}, {}, ""),
        ("POST", "/greetings", {}, {"greeting": ["Hello"]}, "greeting=Hello"),
        ("POST", "/greetings", {}, {}, '{"greeting":"Hello"}'),
        ("POST", "/photos", {"photo": [b"a photo" * 1000]}, {"about": ["me"]}, ""),
    ]
    assert said.getvalue().count("200 OK") == 4
    assert f"{base}/commits?since=2013-11-01 13" in said.getvalue()


def test_sessions_of_the_client(tour: Tour) -> None:
    asked: list[tuple[str, str | None, str | None]] = []

    def handle(request: HTTPRequest) -> None:
        asked.append((request.url, request.headers.get("Cookie"), request.headers.get("Accept-Language")))
        if request.url == "/login":
            request.cookies_out["user"] = request.post["user"][0]
        request.send_response("")

    client: HTTPClient = tour.names["client"]
    with site(handle) as base:
        tour.names["log_in"](base).wait(DEADLINE)
        client.get(base + "/outside").wait(DEADLINE)
        run_until(lambda: len(asked) == 4, DEADLINE)
        client.close_idle()
    account = ("/account", "user=jane", "fr")
    assert asked == [("/login", None, "fr"), account, account, ("/outside", None, None)]


def test_content_as_it_comes(tour: Tour, capsys: pytest.CaptureFixture[str]) -> None:
    with site(lambda request: request.send_response(b"x" * 300_000)) as base:
        file = io.BytesIO()
        tour.names["copy"](base, file).wait(DEADLINE)
        assert file.getvalue() == b"x" * 300_000
        assert " 300000 300000\n" in capsys.readouterr().out
        refused = tour.names["copy"](base, file, 299_999)
        with pytest.raises(RequestCancelled):
            refused.wait(DEADLINE)
        tour.names["client"].close_idle()


def test_access_log_and_counters(tour: Tour, caplog: pytest.LogCaptureFixture) -> None:
    ask(tour.server("access_log"))
    ask(tour.server("access_log"), path="/nothing")
    lines = [record.message for record in caplog.records if record.name == "pants.http.access"]
    assert re.fullmatch(r'127\.0\.0\.1 - - \[.*\] "GET / HTTP/1\.1" 200 15 "-" "python-requests/.*"', lines[0])
    assert ask(tour.names["monitor"]).text.splitlines() == [
        'http_answers_total{code="200"} 1',
        'http_answers_total{code="404"} 1',
        "http_connections_total 2",
        "http_failures_total 0",
    ]


def test_ending(tour: Tour) -> None:
    """SIGTERM ends the loop, once those that are served have been served."""
    engine = Engine.instance()
    server = tour.names["server"]

    def serve(request: HTTPRequest) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        run_until(lambda: server.draining, DEADLINE)
        request.send_response("late")

    server.request_handler = serve
    url = f"http://127.0.0.1:{server.listen(('127.0.0.1', 0)).local_address[1]}/"
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(requests.get, url, timeout=DEADLINE)
        engine.start()
        assert answer.result().text == "late"
    assert server.closed
