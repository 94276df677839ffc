"""The programs of `examples/` that are the manual's, each run as such, with real clients."""

from __future__ import annotations

import importlib.util
import pathlib
import subprocess
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from pants.http import HTTPServer
from pants.testing import run_until
from pants.web import converters
from tests.conftest import ExpectedLog
from tests.web.test_examples import DEADLINE, fetch, free_port, running

EXAMPLES = pathlib.Path(__file__).parents[2] / "examples"


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """Imports an example, which then does not run; its converters are forgotten afterwards."""
    monkeypatch.setattr(converters, "_registered", dict(converters._registered))

    def loaded(name: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return loaded


# --- web_routes.py: "Routing", "Rule Variable Converters", "Writing a Variable Converter" ----------------------------


@pytest.mark.parametrize(
    "url, status, content",
    [
        ("/", 200, "Index Page"),
        ("/welcome/Ada", 200, "Hello, Ada!"),
        ("/welcome/", 404, None),
        ("/welcome/Ada/L", 404, None),
        ("/user/2", 200, "grace"),
        ("/user/9", 404, "There is no such user."),
        ("/user/0", 404, None),
        ("/user/me", 404, None),
        ("/page/", 200, "Welcome!"),
        ("/page/about/us", 200, "About us"),
        ("/call/5", 200, '{"action":"call","id":5}'),
        ("/im/5", 200, '{"action":"im","id":5}'),
        ("/fax/5", 404, None),
        ("http://ada.localhost/blog/1843/notes", 200, "ada wrote notes in 1843"),
        ("http://localhost/blog/1843/notes", 404, None),
        # The manual's own URL.
        ("/tel/555-234-5678x115", 200, '{"npa":555,"nxx":234,"subscriber":5678,"ext":115}'),
        ("/tel/1%20(555)%20234%205678", 200, '{"npa":555,"nxx":234,"subscriber":5678,"ext":null}'),
        ("/tel/234-5678", 200, '{"npa":null,"nxx":234,"subscriber":5678,"ext":null}'),
        ("/tel/none", 404, None),
    ],
)
def test_routes(load: Any, url: str, status: int, content: str | None) -> None:
    answer = load("web_routes").app.test_client().get(url)
    assert answer.status_code == status
    if content is not None:
        assert answer.text == content


def test_the_url_of_a_telephone_number(load: Any) -> None:
    """Manual: "we can use url_for(...) and get a nice and readable" URL back."""
    client = load("web_routes").app.test_client()
    answer = client.get("/office")
    assert (answer.status_code, answer.location) == (302, "/tel/555-234-5678-ext115")
    assert client.get(answer.location).json["ext"] == 115


def test_routes_run() -> None:
    port = free_port()
    with running(str(EXAMPLES / "web_routes.py"), PORT=port):
        assert fetch(f"http://127.0.0.1:{port}/welcome/Ada") == (200, b"Hello, Ada!")


# --- web_modules.py: "Module" ----------------------------------------------------------------------------------------


def test_modules(load: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Manual: the rules of the module are those with that prefix; the hook is run for what has a route, the wrapper
    for all requests.
    """
    module = load("web_modules")
    from pants.web.testing import TestClient

    client = TestClient(module.wrapper)
    assert client.get("/pie/fish").text == "This is fish."
    assert client.get("/pie/fish?loud=1").text == "THIS IS FISH."
    assert client.get("/pie/trout").text == "There is no trout. Try /pie/fish."
    assert client.get("/nowhere").status_code == 404
    told = [record.getMessage() for record in caplog.records if record.name == "my_site"]
    assert [line for line in told if "matched" in line] == [
        "Request matched route: fish.fish",
        "Request matched route: fish.fish",
        "Request matched route: fish.other",
    ]
    assert [line.split()[-1] for line in told if "asks" in line] == ["/pie/fish", "/pie/fish", "/pie/trout", "/nowhere"]


def test_modules_run() -> None:
    port = free_port()
    with subprocess.Popen(
        [sys.executable, EXAMPLES / "web_modules.py"],
        env={"PORT": port, "PATH": ""},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as program:
        try:
            assert program.stdout is not None
            assert program.stdout.readline() == f"Serving on http://localhost:{port}/\n"
            assert fetch(f"http://127.0.0.1:{port}/pie/fish") == (200, b"This is fish.")
        finally:
            program.kill()


# --- web_chat.py ------------------------------------------------------------------------------------------------------


def test_the_chat(load: Any) -> None:
    chat = load("web_chat")
    ada, grace = chat.app.test_client(), chat.app.test_client()
    assert ada.get("/").location == "/in"
    assert ada.get("/ws").status_code == 403
    assert ada.post("/in", data={"name": ""}).status_code == 400
    assert ada.post("/in", data={"name": "<Ada>"}).location == "/"
    assert "<strong>&lt;Ada&gt;</strong>" in ada.get("/").text
    assert grace.get("/").location == "/in"
    assert ada.post("/out").location == "/in"
    assert ada.get("/").location == "/in"


def test_the_chat_in_a_browser(load: Any, peer: Callable[[str], str], expect_log: ExpectedLog) -> None:
    """Two of them, in one Chromium: both see what one says."""
    from pants.http import WebSocket

    chat = load("web_chat")
    heard: list[str] = []

    class Listener(WebSocket):
        def on_read(self, data: str | bytes) -> None:
            heard.append(str(data))

    client = chat.app.test_client()
    client.post("/in", data={"name": "Grace"})
    server = HTTPServer(chat.app).listen(("127.0.0.1", 0))
    url = f"http://localhost:{server.local_address[1]}/"
    script = (
        "<script>ws.onopen=()=>{text.value='Hello, all';document.getElementById('talk').requestSubmit()};"
        "setInterval(()=>{if(list.textContent.includes('Hello, all'))document.title='heard'},20)</script></html>"
    )
    chat.PAGE = chat.PAGE.replace("</html>", script)
    page = "<form method=post action=/in><input name=name value=Ada></form><script>document.forms[0].submit()</script>"
    chat.app.route("/start", name="start", func=lambda request: f"<!DOCTYPE html>{page}")
    cookie = client.get_cookie("session")
    assert cookie is not None
    Listener.connect(url.replace("http", "ws") + "ws", headers={"Cookie": f"session={cookie.value}"}, proxy=None)
    command = [peer("chromium"), "--headless=new", "--no-sandbox", "--disable-gpu", f"{url}start"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as browser:
        try:
            run_until(lambda: "Ada: Hello, all" in heard, DEADLINE)
        finally:
            browser.kill()
            server.close()
    assert heard[:2] == ["Grace has come; now there are 1", "Ada has come; now there are 2"]
