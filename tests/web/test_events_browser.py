"""Streams of events, cross-origin requests and sessions in a real browser, Chromium.

The browser is started once, with all that there is to try, and each test looks at one of the verdicts.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pants import Engine
from pants.http import HTTPRequest, HTTPServer
from pants.web import Application, HTTPException, Response
from pants.web.cors import CORS
from pants.web.events import EventStream, event
from pants.web.sessions import Sessions
from tests.http.peers_support import browse

PAGE = """<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>Pants in a browser</title></head>
<body><pre id="verdicts"></pre><img src="/barrier" alt="The page is not loaded as long as this is not.">
<script>
const there = "http://127.0.0.1:OTHER_PORT";  // another origin, for its port is another

function listen(path, count, ...types) {  // the events of a stream, until there are so many
    return new Promise((resolve, reject) => {
        const source = new EventSource(path);
        const found = [];
        const take = event => {
            found.push([event.type, event.data, event.lastEventId]);
            if (found.length == count) { source.close(); resolve(found); }
        };
        for (const type of ["message", ...types]) source.addEventListener(type, take);
        source.onerror = () => { if (source.readyState == EventSource.CLOSED) resolve([...found, "closed"]); };
    });
}
async function cross(path, options = {}) {
    try {
        const answer = await fetch(there + path, options);
        return [answer.status, await answer.text(), answer.headers.get("X-Exposed"), answer.headers.get("X-Hidden")];
    } catch (error) {
        return error.name;
    }
}
const trials = {
    events: () => listen("/events", 7, "greeting"),
    reconnection: () => listen("/counting", 4),
    end: () => listen("/counting-to-the-end", 100),
    generator: () => listen("/generator", 2),
    compressed: () => listen("/compressed", 2),
    simple: () => cross("/open"),
    error: () => cross("/forbidden"),
    unknown: () => cross("/none"),
    preflighted: () => cross("/thing", {method: "PUT", headers: {"X-Own": "1"}, body: "x"}),
    other_method: () => cross("/thing", {method: "DELETE"}),
    preflight_of_nothing: () => cross("/none", {method: "PUT"}),
    closed: () => cross("/closed"),
    async credentials() {
        const options = {credentials: "include"};
        return [await cross("/count", options), await cross("/count", options), await cross("/count")];
    },
    async credentials_that_are_not_taken() { return await cross("/closed", {credentials: "include"}); },
    async session() {
        const found = [];
        for (let number = 0; number < 3; number++) found.push(await (await fetch("/count")).text());
        await fetch("/forget");
        found.push(await (await fetch("/count")).text());
        return [...found, document.cookie];
    },
};
async function all() {
    const verdicts = {};
    for (const [name, trial] of Object.entries(trials)) {
        try {
            const deadline = new Promise((_, reject) => setTimeout(reject, 20000, "it takes too long"));
            verdicts[name] = await Promise.race([trial(), deadline]);
        } catch (error) {
            verdicts[name] = "failed: " + error;
        }
    }
    document.getElementById("verdicts").textContent = JSON.stringify(verdicts);
    document.title = "done";
    fetch("/done");
}
all();
</script></body></html>
"""


class Site(Application):
    """The site of the page."""

    def __init__(self) -> None:
        super().__init__()
        self.page = ""
        self.barrier: HTTPRequest | None = None
        self.is_done = False
        self.told: list[str | None] = []
        Sessions("a secret").attach(self)
        for view in (
            self.events,
            self.counting,
            self.counting_to_the_end,
            self.compressed,
            self.wait,
            self.done,
            self.count,
            self.forget,
        ):
            self.route(f"/{view.__name__.replace('_', '-').replace('wait', 'barrier')}", view.__name__, func=view)
        self.route("/", func=self.index)
        self.route("/generator", content_type="text/event-stream", func=self.generator)
        self.route("/favicon.ico", func=lambda request: None)

    def index(self, request: HTTPRequest) -> str:
        return self.page

    def wait(self, request: HTTPRequest) -> None:
        """Keep the browser from taking the page for complete, until its script says so."""
        request.auto_finish = False
        self.barrier = request
        self.open_barrier()

    def done(self, request: HTTPRequest) -> None:
        self.is_done = True
        self.open_barrier()

    def open_barrier(self) -> None:
        if self.is_done and self.barrier is not None and not self.barrier.finished:
            self.barrier.send_response("", 404)

    def events(self, request: HTTPRequest) -> None:
        stream = EventStream(request, keep_alive=0.01)
        later = request.connection.engine.defer
        stream.send("text")
        stream.send("two\r\nlines", id=1)
        stream.send("", id="")
        stream.send("hello", event="greeting")
        later(0.05, stream.send, {"json": ["\u00e4\u20ac\U0001f600", None]}, id="\u00e4")
        later(0.05, stream.send, " spaces and : colons ")
        later(0.1, stream.send, "x" * 1_000_000)

    def counting(self, request: HTTPRequest, end: int = 1000) -> None:
        """Two events, and the connection ends; the browser comes back, and tells how far it has come."""
        stream = EventStream(request, retry=10)
        self.told.append(stream.last_event_id)
        number = int(stream.last_event_id or 0)
        stream.send("a", id=number + 1)
        stream.send("b", id=number + 2)
        stream.close()

    def counting_to_the_end(self, request: HTTPRequest) -> None:
        if request.headers.get("Last-Event-ID") != "4":  # otherwise it is answered with 204
            self.counting(request)

    def generator(self, request: HTTPRequest) -> Iterator[str]:
        yield event("one", id=1)
        yield event("two", id=2)

    def compressed(self, request: HTTPRequest) -> None:
        stream = EventStream(request, headers={"Cache-Control": "no-cache"})
        stream.send("x" * 5000)
        request.connection.engine.defer(0.05, stream.send, "second")

    def count(self, request: Any) -> str:
        request.session["visits"] = request.session.get("visits", 0) + 1
        return str(request.session["visits"])

    def forget(self, request: Any) -> None:
        request.session.clear()


class Elsewhere(Application):
    """A site of another origin, which lets the page read most of it."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[str, str]] = []
        self.before(lambda request: self.asked.append((request.method, request.path)))
        Sessions("a secret", name="elsewhere").attach(self)
        self.route("/open", func=self.open)
        self.route("/forbidden", func=self.forbidden)
        self.route("/thing", methods=["GET", "PUT"], func=self.thing)
        self.route("/count", func=self.count)
        self.route("/closed", func=self.closed)

    def open(self, request: HTTPRequest) -> Response:
        return Response("open", 200, {"X-Exposed": "seen", "X-Hidden": "not seen"})

    def forbidden(self, request: HTTPRequest) -> None:
        raise HTTPException(403)

    def thing(self, request: HTTPRequest) -> str:
        return f"{request.method} {request.headers['X-Own']}"

    def count(self, request: Any) -> str:
        request.session["visits"] = request.session.get("visits", 0) + 1
        return str(request.session["visits"])

    def closed(self, request: HTTPRequest) -> Response:
        return Response("closed", 200, {"Access-Control-Allow-Origin": "https://example.com"})


class Found:
    """What the browser has found, and the sites that it has talked to."""

    def __init__(self, verdicts: dict[str, Any], title: str, site: Site, elsewhere: Elsewhere) -> None:
        self.verdicts = verdicts
        self.title = title
        self.site = site
        self.elsewhere = elsewhere


@pytest.fixture(scope="module")
def found(peer: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory) -> Found:
    """The browser, run to its end, on an engine of this module's own: those of the tests live no longer than they."""
    program = peer("chromium")
    engine = Engine()
    site, elsewhere = Site(), Elsewhere()
    server = HTTPServer(site, compression=True, engine=engine).listen(("127.0.0.1", 0))
    other = HTTPServer(elsewhere, engine=engine).listen(("127.0.0.1", 0))
    try:
        url = f"http://127.0.0.1:{server.local_address[1]}"
        site.page = PAGE.replace("OTHER_PORT", str(other.local_address[1]))
        CORS([url], credentials=True, expose_headers=["X-Exposed"]).attach(elsewhere)
        folder = tmp_path_factory.mktemp("browser")
        verdicts, title = browse(program, folder, f"{url}/", engine, lambda: not (server.channels or other.channels))
        return Found(verdicts, title, site, elsewhere)
    finally:
        server.close()
        other.close()
        engine.poll(0)
        engine.close()


def test_the_page_has_come_to_its_end(found: Found) -> None:
    assert found.title == "done"
    assert [verdict for verdict in found.verdicts.values() if str(verdict).startswith("failed")] == []


# --- Events -----------------------------------------------------------------------------------------------------


def test_events(found: Found) -> None:
    assert found.verdicts["events"] == [
        ["message", "text", ""],
        ["message", "two\nlines", "1"],
        ["message", "", ""],
        ["greeting", "hello", ""],
        [
            "message",
            json.dumps({"json": ["\u00e4\u20ac\U0001f600", None]}, ensure_ascii=False, separators=(",", ":")),
            "\u00e4",
        ],
        ["message", " spaces and : colons ", "\u00e4"],
        ["message", "x" * 1_000_000, "\u00e4"],
    ]


def test_the_browser_comes_back(found: Found) -> None:
    """HTML, "reestablish the connection": with the id of the last event."""
    assert found.verdicts["reconnection"] == [["message", "ab"[number % 2], str(number + 1)] for number in range(4)]
    assert found.site.told[:2] == [None, "2"]


def test_the_browser_does_not_come_back_after_204(found: Found) -> None:
    assert [verdict[1] if verdict != "closed" else verdict for verdict in found.verdicts["end"]] == [*"abab", "closed"]


def test_a_generator(found: Found) -> None:
    assert found.verdicts["generator"] == [["message", "one", "1"], ["message", "two", "2"]]


def test_compressed_events_are_not_delayed(found: Found) -> None:
    assert found.verdicts["compressed"] == [["message", "x" * 5000, ""], ["message", "second", ""]]


# --- Cross-origin requests ----------------------------------------------------------------------------------------


def test_answers_can_be_read(found: Found) -> None:
    assert found.verdicts["simple"] == [200, "open", "seen", None]
    assert found.verdicts["error"][0] == 403
    assert found.verdicts["unknown"][0] == 404


def test_preflights(found: Found) -> None:
    assert found.verdicts["preflighted"] == [200, "PUT 1", None, None]
    asked = found.elsewhere.asked
    assert asked[asked.index(("PUT", "/thing")) - 1] == ("OPTIONS", "/thing")


def test_what_the_preflight_does_not_allow_is_not_sent(found: Found) -> None:
    assert (found.verdicts["other_method"], found.verdicts["preflight_of_nothing"]) == ("TypeError", "TypeError")
    assert ("DELETE", "/thing") not in found.elsewhere.asked
    assert ("PUT", "/none") not in found.elsewhere.asked


def test_what_is_for_others_cannot_be_read(found: Found) -> None:
    assert found.verdicts["closed"] == "TypeError"
    assert found.verdicts["credentials_that_are_not_taken"] == "TypeError"


def test_cookies_go_along(found: Found) -> None:
    assert [answer[:2] for answer in found.verdicts["credentials"]] == [[200, "1"], [200, "2"], [200, "1"]]


# --- Sessions ---------------------------------------------------------------------------------------------------


def test_a_session(found: Found) -> None:
    """It is kept, it is hidden from scripts, and it can be forgotten."""
    assert found.verdicts["session"] == ["1", "2", "3", "1", ""]
