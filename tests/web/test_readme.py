"""The README of pants-web: its programs, run one after another as it says, and what it says that they do."""

from __future__ import annotations

import os
import threading
from typing import Any

import pytest

from pants import Engine
from pants.http import HTTPClient, HTTPServer
from pants.testing import run_until
from pants.web import Application, _wsgi_pool
from pants.web.testing import TestClient
from tests.readme_support import ROOT, blocks

README = "packages/pants-web/README.md"


@pytest.fixture(scope="module")
def tour() -> Any:
    """The global variables of the programs, once all have run."""
    names: dict[str, Any] = {"__name__": "hello"}
    before = os.getcwd()
    os.chdir(ROOT)
    try:
        for program in blocks(README):
            exec(compile(program, README, "exec"), names)
    finally:
        os.chdir(before)
    return names


@pytest.fixture
def app(tour: Any) -> Application:
    app = tour["app"]
    assert isinstance(app, Application)
    return app


@pytest.fixture
def client(app: Application) -> TestClient:
    return app.test_client()


def test_all_of_them_are_there(tour: Any) -> None:
    assert len(blocks(README)) == 9
    tour["test_hello"]()


def test_routes(client: TestClient) -> None:
    assert client.get("/").text == "Hello, World!"
    assert client.get("/welcome/Ada%20L").text == "Hello, Ada L!"
    assert client.get("/user/7").json == {"id": 7, "next": "/user/8"}
    assert client.get("/user/0").status_code == 404
    assert client.get("/page/").text == "The page welcome"
    assert client.get("/page/a/b").text == "The page a/b"
    assert client.get("http://Ada.Example.com:8080/blog/2026").text == "What ada wrote in 2026"
    assert client.get("http://ada.example.com/blog/26").status_code == 404
    assert client.head("/welcome/Ada").status_code == 200
    answer = client.options("/made")
    assert (answer.status_code, answer.headers["Allow"]) == (204, "POST, OPTIONS")
    answer = client.post("/")
    assert (answer.status_code, answer.headers["Allow"]) == (405, "GET, HEAD, OPTIONS")


def test_output(client: TestClient) -> None:
    answer = client.post("/made", json={"id": 7, "name": "Ada"})
    assert (answer.status_code, answer.json, answer.location) == (201, {"id": 7, "name": "Ada"}, "/user/7")
    wrong: Any
    for wrong in ({}, [], 5, {"id": "7", "name": "Ada"}, {"id": 0, "name": "Ada"}):
        answer = client.post("/made", json=wrong)
        assert (answer.status_code, "It needs an id and a name." in answer.text) == (422, True)
    assert client.post("/made", data=b"{", content_type="application/json").status_code == 400
    assert client.post("/made", data={"name": "Ada"}).status_code == 415
    answer = client.get("/nowhere")
    assert (answer.status_code, answer.text) == (404, "This does not exist.")
    answer = client.get("/old")
    assert (answer.status_code, answer.location) == (301, "/")
    answer = client.get("/numbers")
    assert answer.content_type == "text/csv; charset=UTF-8"
    assert answer.text.splitlines()[-1] == "99999,9999800001"


def test_errors(client: TestClient) -> None:
    answer = client.get("/not/there")
    assert (answer.status_code, answer.text) == (404, "There is nothing at /not/there.")
    answer = client.post("/tell")
    assert (answer.status_code, answer.json) == (400, {"missing": "'text'"})


def test_modules_and_hooks(client: TestClient) -> None:
    answer = client.get("/shop/bread")
    assert answer.text == "bread, see also /shop/fish"
    for path in ("/shop/bread", "/", "/not/there", "/files/"):
        assert client.get(path).headers["X-Frame-Options"] == "DENY"


def test_files(client: TestClient) -> None:
    assert "ws_chat.html" in client.get("/files/").text
    answer = client.get("/files/ws_chat.html", headers={"Range": "bytes=0-14"})
    assert (answer.status_code, answer.data) == (206, b"<!DOCTYPE html>")
    assert client.get("/files/web_chat.py").status_code == 403


def test_wsgi(app: Application, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a real server, and in a thread, which ends with the test."""
    monkeypatch.setattr(_wsgi_pool, "IDLE_TIME", 0)
    engine = Engine()
    server = HTTPServer(app, engine=engine).listen(("127.0.0.1", 0))
    try:
        exchange = HTTPClient(engine=engine, proxy=None).get(f"http://127.0.0.1:{server.local_address[1]}/wsgi/x")
        assert exchange.wait(30).text == "Hello from /wsgi!"
        run_until(lambda: not any(thread.name.startswith("pants-wsgi") for thread in threading.enumerate()), 30)
    finally:
        engine.close()


def test_sessions_and_cors(client: TestClient) -> None:
    assert client.get("/visits").text == "You were here 1 times."
    assert client.get("/visits").text == "You were here 2 times."
    answer = client.get("/", headers={"Origin": "https://example.com"})
    assert answer.headers["Access-Control-Allow-Origin"] == "https://example.com"


def test_events(client: TestClient) -> None:
    with client:
        stream = client.get("/events", stream=True)
        assert stream.content_type == "text/event-stream"
        client.post("/tell", data={"text": "hello"})
        assert stream.data == b"data: hello\n\n"
