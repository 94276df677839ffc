"""Flask, Django with its admin, and httpbin under the WSGI connector, with the standard library's client."""

from __future__ import annotations

import contextlib
import hashlib
import http.cookiejar
import io
import json
import os
import re
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import flask
import pytest

from pants.http import Limits
from pants.web import Application, WSGIConnector
from tests.http.peers_support import in_thread, serving

SERVING = Path(__file__).parent / "wsgi_apps" / "serving.py"
DEADLINE = 60.0
BOUNDARY = "between-two-parts-of-a-form"


class Answer:
    def __init__(self, response: Any) -> None:
        self.status = response.status
        self.headers = response.headers
        self.url = response.url
        self.content = response.read()
        self.text = self.content.decode("utf-8", "replace")

    @property
    def json(self) -> Any:
        return json.loads(self.content)


class Client:
    """A client that keeps cookies, and follows redirects."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.cookies = http.cookiejar.CookieJar()
        self._opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(self.cookies))

    def ask(self, path: str, data: Any = None, method: str | None = None, **headers: str) -> Answer:
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        body = urllib.parse.urlencode(data).encode() if isinstance(data, dict) else data
        request = urllib.request.Request(self.url + path, body, fields, method=method)
        try:
            with self._opener.open(request, timeout=DEADLINE) as response:
                return Answer(response)
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error)


def multipart(**parts: str | tuple[str, bytes]) -> tuple[bytes, str]:
    """A form of fields and files, and its Content-Type."""
    body = io.BytesIO()
    for name, part in parts.items():
        filename = f'; filename="{part[0]}"' if isinstance(part, tuple) else ""
        content = part[1] if isinstance(part, tuple) else part.encode()
        body.write(
            f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{filename}\r\n\r\n'.encode()
            + content
            + b"\r\n"
        )
    body.write(f"--{BOUNDARY}--\r\n".encode())
    return body.getvalue(), f"multipart/form-data; boundary={BOUNDARY}"


@contextlib.contextmanager
def running(name: str, threads: int, **environment: str) -> Iterator[Client]:
    """An application in a process of its own."""
    command = [sys.executable, str(SERVING), name, str(threads)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, env=os.environ | environment) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            line = process.stdout.readline().decode().strip()
            assert line, process.stderr.read().decode()
            yield Client(line)
            process.stdin.close()
            errors = process.stderr.read().decode()
            assert process.wait(DEADLINE) == 0
            assert "Traceback" not in errors, errors
        finally:
            process.kill()


# --- Flask ------------------------------------------------------------------------------------------------------------


def make_flask(folder: Path) -> flask.Flask:
    app = flask.Flask("flask_under_pants", root_path=str(folder))
    app.secret_key = "a secret of this test"
    app.logger.addHandler(flask.logging.default_handler)  # as it does by itself, but under pytest

    @app.route("/hello/<name>")
    def hello(name: str) -> str:
        return f"Hello, {name}! {flask.request.url} {flask.request.script_root} {flask.url_for('hello', name='x y')}"

    @app.route("/form", methods=["POST"])
    def form() -> Any:
        files = {
            name: [file.filename, hashlib.sha256(file.read()).hexdigest()] for name, file in flask.request.files.items()
        }
        return {"form": flask.request.form.to_dict(False), "files": files}

    @app.route("/raw", methods=["PUT"])
    def raw() -> Any:
        return {"length": len(flask.request.get_data()), "json": flask.request.get_json(silent=True)}

    @app.route("/stream")
    def stream() -> flask.Response:
        return flask.Response((f"{number}\n" for number in range(1000)), mimetype="text/plain")

    @app.route("/context")
    def context() -> flask.Response:
        return flask.Response(flask.stream_with_context(iter([flask.request.path, " and ", "more"])))

    @app.route("/file")
    def file() -> flask.Response:
        return flask.send_file(folder / "file.bin", conditional=True)

    @app.route("/session")
    def session() -> str:
        flask.session["count"] = flask.session.get("count", 0) + 1
        return str(flask.session["count"])

    @app.route("/fail")
    def fail() -> str:
        raise LookupError("Flask's own")

    @app.after_request
    def mark(response: flask.Response) -> flask.Response:
        response.headers.add("X-Mark", "1")
        response.headers.add("X-Mark", "2")
        return response

    return app


CONTENT = bytes(range(256)) * 1000


@pytest.fixture(params=[(0, ""), (4, ""), (4, "/prefix")], ids=["inline", "threads", "attached"])
def flask_client(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Client]:
    threads, prefix = request.param
    (tmp_path / "file.bin").write_bytes(CONTENT)
    connector = WSGIConnector(make_flask(tmp_path), threads=threads)
    handler: Any = connector
    if prefix:
        handler = Application()
        connector.attach(handler, prefix)
    with serving(handler, limits=Limits(spool_size=10_000)) as server:
        yield Client(f"http://127.0.0.1:{server.local_address[1]}{prefix}")


def test_flask(flask_client: Client) -> None:
    def talk() -> None:
        ask, prefix = flask_client.ask, urllib.parse.urlsplit(flask_client.url).path
        answer = ask("/hello/Ad%C3%A4?q=%20")
        url = f"{flask_client.url}/hello/Ad\xe4?q=%20"
        assert answer.text.split(" ")[1:] == ["Ad\xe4!", url, prefix, f"{prefix}/hello/x%20y"]
        assert answer.headers.get_all("X-Mark") == ["1", "2"]
        assert ask("/hello/x", method="HEAD").content == b""
        assert ask("/nothing").status == 404
        assert ask("/form").status == 405
        assert ask("/hello/x", method="OPTIONS").headers["Allow"]
        assert ask("/form", {"a": "b", "c": "\xe9"}).json == {"form": {"a": ["b"], "c": ["\xe9"]}, "files": {}}
        assert ask("/raw", b'{"a": 1}', "PUT", Content_Type="application/json").json == {"length": 8, "json": {"a": 1}}
        assert ask("/raw", CONTENT, "PUT").json["length"] == len(CONTENT)
        assert ask("/raw", iter([b"x" * 100] * 300), "PUT").json["length"] == 30_000  # chunked
        assert ask("/stream").text == "".join(f"{number}\n" for number in range(1000))
        assert ask("/context").text == "/context and more"
        assert [ask("/session").text for _ in range(3)] == ["1", "2", "3"]

    in_thread(talk)


def test_flask_files(flask_client: Client) -> None:
    def talk() -> None:
        ask = flask_client.ask
        answer = ask("/file")
        assert (answer.content, answer.headers["Content-Length"]) == (CONTENT, str(len(CONTENT)))
        assert ask("/file", If_None_Match=answer.headers["ETag"]).status == 304
        part = ask("/file", Range="bytes=1000-1999")
        assert (part.status, part.content) == (206, CONTENT[1000:2000])
        for size in (10, 1_000_000):
            content = os.urandom(size)
            body, kind = multipart(title="spam", upload=("x.bin", content))
            answer = ask("/form", body, Content_Type=kind)
            digest = hashlib.sha256(content).hexdigest()
            assert answer.json == {"form": {"title": ["spam"]}, "files": {"upload": ["x.bin", digest]}}

    in_thread(talk)


def test_what_flask_logs_of_an_error(flask_client: Client, expect_log: Any) -> None:
    for line in ("", r".*Exception on /fail \[GET\]", "Traceback", "LookupError: Flask's own"):
        expect_log(f"^ERROR pants.web.wsgi: {line}")
    assert in_thread(lambda: flask_client.ask("/fail")).status == 500


# --- Django -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=[0, 4], ids=["inline", "threads"])
def django(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    folder = tmp_path_factory.mktemp("django")
    with running("django_site", request.param, DJANGO_FOLDER=str(folder)) as client:
        yield client


def test_django(django: Client) -> None:
    assert django.ask("/hello/Ad%C3%A4").text == "Hello, Ad\xe4!"
    assert django.ask("/nothing").status == 404
    assert django.ask("/stream").text == "".join(f"{number}\n" for number in range(1000))
    answer = django.ask("/file")
    assert answer.content == (SERVING.parent / "django_site.py").read_bytes()
    assert answer.headers["Content-Disposition"] == 'attachment; filename="site.py"'
    assert django.ask("/upload", {"a": "b"}).json["post"] == {"a": ["b"]}
    assert django.ask("/upload", iter([b"x" * 1000] * 30)).json["body"] == 30_000  # chunked
    body, kind = multipart(a="b", upload=("x.bin", os.urandom(4_000_000)))
    answer = django.ask("/upload", body, Content_Type=kind)
    assert answer.json == {"post": {"a": ["b"]}, "files": {"upload": ["x.bin", 4_000_000]}, "body": None}


def token_of(answer: Answer) -> str:
    found = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', answer.text)
    assert found is not None, answer.text
    return found[1]


def test_the_admin_of_django(django: Client) -> None:
    """One logs in, makes something, sees it listed, and logs out."""
    client = Client(django.url)
    login = client.ask("/admin/")
    assert urllib.parse.urlsplit(login.url).path == "/admin/login/"
    style = re.search(r'href="(/static/admin/css/base[^"]*)"', login.text)
    assert style is not None
    sheet = client.ask(style[1])
    assert (sheet.status, sheet.headers["Content-Type"]) == (200, "text/css")
    assert len(sheet.content) == int(sheet.headers["Content-Length"]) > 1000
    assert client.ask("/static/nothing.css").status == 404

    form = {"username": "admin", "password": "wrong", "next": "/admin/", "csrfmiddlewaretoken": token_of(login)}
    refused = client.ask("/admin/login/", form)
    assert "errornote" in refused.text
    form |= {"password": "open sesame", "csrfmiddlewaretoken": token_of(refused)}
    assert "Site administration" in client.ask("/admin/login/", form).text

    page = client.ask("/admin/auth/group/add/")
    made = client.ask("/admin/auth/group/add/", {"name": "Sp\xe4m <eggs>", "csrfmiddlewaretoken": token_of(page)})
    assert urllib.parse.urlsplit(made.url).path == "/admin/auth/group/"
    assert "was added successfully" in made.text
    listing = client.ask("/admin/auth/group/?q=eggs")
    assert "Sp\xe4m &lt;eggs&gt;" in listing.text
    assert "1 group" in listing.text

    client.ask("/admin/logout/", {"csrfmiddlewaretoken": token_of(listing)})
    assert urllib.parse.urlsplit(client.ask("/admin/").url).path == "/admin/login/"
    assert client.ask("/admin/auth/group/add/", {"name": "forged"}).status == 403


# --- httpbin ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=[0, 4], ids=["inline", "threads"])
def httpbin(request: pytest.FixtureRequest) -> Iterator[Client]:
    with running("httpbin", request.param) as client:
        yield client


def test_httpbin(httpbin: Client) -> None:
    ask = httpbin.ask
    answer = ask("/get?a=1&a=2", X_Spam="eggs").json
    assert answer["args"] == {"a": ["1", "2"]}
    assert answer["headers"]["X-Spam"] == "eggs"
    assert answer["origin"] == "127.0.0.1"
    assert answer["url"] == f"{httpbin.url}/get?a=1&a=2"
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        assert ask(f"/{method.lower()}", {"a": "b"}, method).json["form"] == {"a": "b"}
    body, kind = multipart(a="b", upload=("x.txt", b"spam" * 500_000))
    posted = ask("/post", body, Content_Type=kind).json
    assert posted["form"] == {"a": "b"}
    assert posted["files"] == {"upload": "spam" * 500_000}
    assert ask("/post", iter([b"chunk"] * 10), Content_Type="text/plain").json["data"] == "chunk" * 10
    assert len(ask("/stream/20").text.splitlines()) == 20
    assert ask("/bytes/1000?seed=1").content == ask("/stream-bytes/1000?seed=1&chunk_size=7").content
    assert ask("/range/1000", Range="bytes=10-19").status == 206
    for status in (200, 204, 304, 404, 418, 500, 503):
        assert ask(f"/status/{status}").status == status
    assert ask("/redirect/3").url == f"{httpbin.url}/get"
    assert ask("/cookies/set?spam=eggs").json == {"cookies": {"spam": "eggs"}}
    assert ask("/gzip").content[:2] == b"\x1f\x8b"
    assert ask("/image/png").content[:8] == b"\x89PNG\r\n\x1a\n"
    assert ask("/drip?numbytes=5&duration=0.05&delay=0").content == b"*****"
    assert ask("/response-headers?X-A=1&X-A=2").headers.get_all("X-A") == ["1", "2"]
    assert ask("/get", method="HEAD").content == b""
    assert "HTTP Request &amp; Response Service" in ask("/").text
