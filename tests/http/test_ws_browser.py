"""A page in a real browser, Chromium, whose script opens WebSockets, and says what it has found.

The browser is started once, with all that there is to try, and each test looks at one of the verdicts.
"""

from __future__ import annotations

import json
import logging
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pants import Engine
from pants.http import Deflate, HTTPRequest, HTTPServer, WebSocket, broadcast
from tests.http.peers_support import EXAMPLES, browse

PAGE = """<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>Pants in a browser</title>
<style>body { font: 14px sans-serif } .bad { color: red }</style></head>
<body><h1>WebSockets in a browser</h1><ol id="list"></ol>
<pre id="verdicts"></pre><img src="/barrier" alt="The page is not loaded as long as this is not.">
<script>
const base = "ws://" + location.host;
const elsewhere = "ws://127.0.0.1:OTHER_PORT";

function open(path, protocols = [], kind = "arraybuffer") {
    const ws = new WebSocket(path.startsWith("ws:") ? path : base + path, protocols);
    ws.binaryType = kind;
    const arrived = [], waiting = [];
    let failed = false;
    ws.onmessage = event => { waiting.length ? waiting.shift()(event.data) : arrived.push(event.data); };
    ws.onerror = () => { failed = true; };
    const closed = new Promise(resolve => {
        ws.onclose = event => resolve([event.code, event.reason, event.wasClean, failed]);
    });
    const opened = new Promise((resolve, reject) => {
        ws.onopen = resolve;
        closed.then(end => reject("it is not opened, but closed: " + end));
    });
    opened.catch(() => {});
    const next = () => new Promise(resolve => { arrived.length ? resolve(arrived.shift()) : waiting.push(resolve); });
    return {ws, opened, closed, next};
}
async function opened(...args) {
    const socket = open(...args);
    await socket.opened;
    return socket;
}
const bytesOf = data => [...new Uint8Array(data)];
const same = (a, b) => a.length == b.length && a.every((byte, at) => byte == b[at]);
function noise(length) {
    const bytes = new Uint8Array(length);
    for (let at = 0; at < length; at += 65536) crypto.getRandomValues(bytes.subarray(at, at + 65536));
    return bytes;
}
const frame = async path => {
    const element = document.createElement("iframe");
    const loaded = new Promise(resolve => { element.onload = resolve; });
    element.src = path;
    document.body.append(element);
    await loaded;
    return element;
};
const until = async condition => {
    while (!condition()) await new Promise(resolve => setTimeout(resolve, 5));
};

const trials = {
    async text() {
        const {ws, next} = await opened("/echo");
        const found = [];
        for (const text of ["Hello", "", "\\u00e4\\u20ac\\u{1f600}", "\\0\\r\\n", "\\ud83d"]) {
            ws.send(text);
            found.push(await next());
        }
        ws.close();
        return found;
    },
    async binary() {
        const {ws, next} = await opened("/echo");
        const found = [];
        for (const bytes of [Uint8Array.of(0, 128, 255), new Uint8Array(), Uint8Array.of(7, 8, 9).subarray(1)]) {
            ws.send(bytes);
            const echo = await next();
            found.push([echo instanceof ArrayBuffer, bytesOf(echo)]);
        }
        ws.close();
        return found;
    },
    async blob() {
        const {ws, next} = await opened("/echo", [], "blob");
        ws.send(new Blob([Uint8Array.of(0, 255), "text"]));
        const echo = await next();
        ws.close();
        return [echo instanceof Blob, bytesOf(await echo.arrayBuffer())];
    },
    async large() {
        const found = [];
        for (const path of ["/echo", "/plain"]) {
            const {ws, next} = await opened(path);
            const text = "\\u00e4\\u20ac\\u{1f600} all work and no play ".repeat(40000);
            ws.send(text);
            found.push(await next() == text);
            const bytes = noise(1048576);
            ws.send(bytes);
            found.push(same(bytes, new Uint8Array(await next())));
            ws.close();
        }
        return found;
    },
    async lengths() {  // about where the forms of a frame's head change
        const {ws, next} = await opened("/plain");
        const found = [];
        for (const length of [125, 126, 127, 65535, 65536, 65537]) {
            ws.send("x".repeat(length));
            found.push((await next()).length == length);
        }
        ws.close();
        return found;
    },
    async order() {
        const {ws, next} = await opened("/echo");
        for (let number = 0; number < 2000; number++) ws.send(String(number));
        for (let number = 0; number < 2000; number++) if (await next() != number) return number;
        ws.close();
        return "in order";
    },
    async paused() {  // the server reads nothing for a while
        const {ws, next} = await opened("/paused");
        const bytes = noise(65536);
        for (let number = 0; number < 100; number++) ws.send(bytes);
        const before = await (await fetch("/resume")).text();
        const after = await next();
        ws.close();
        return [before, after];
    },
    async fragments() {
        const {ws, next} = await opened("/fragments");
        const found = [await next(), bytesOf(await next())];
        ws.close();
        return found;
    },
    async file() {
        const {ws, next} = await opened("/file");
        const bytes = new Uint8Array(await next());
        const fetched = new Uint8Array(await (await fetch("/page.html")).arrayBuffer());
        ws.close();
        return same(bytes, fetched);
    },
    async packed() {
        const {ws, next} = await opened("/packed");
        const message = new DataView(new ArrayBuffer(6));
        message.setUint32(0, 123456789);
        message.setInt16(4, -2);
        ws.send(message.buffer.slice(0, 1));  // messages do not matter to it
        ws.send(message.buffer.slice(1));
        const answer = new DataView(await next());
        ws.close();
        return [answer.byteLength, answer.getUint32(0), answer.getInt16(4)];
    },
    async server_closes() {
        const found = [];
        for (const [code, reason] of [[1000, ""], [1001, "leaving"], [3000, "\\u00e4"], [4001, "bye"], [4999, "x"]]) {
            found.push(await open(`/close?code=${code}&reason=${encodeURIComponent(reason)}`).closed);
        }
        return found;
    },
    async page_closes() {
        const found = [];
        for (const args of [[3000, "done \\u00e4"], [1000], []]) {
            const socket = await opened("/leaving?" + args.length);
            socket.ws.close(...args);
            found.push(await socket.closed);
        }
        return found;
    },
    async failures() {
        const found = [];
        for (const [path, message] of [["/raises", "x"], ["/short", "x".repeat(101)], ["/lines", Uint8Array.of(1)]]) {
            const socket = await opened(path);
            socket.ws.send(message);
            found.push(await socket.closed);
        }
        return found;
    },
    async broken() {
        return await open("/broken").closed;
    },
    async last_words() {  // what was written before close() arrives
        const socket = open("/last");
        const found = [(await socket.next()).length, await socket.closed];
        return found;
    },
    async subprotocols() {
        const chosen = await opened("/speaks", ["other", "chat.v1", "chat.v2"]);
        const none = await opened("/speaks");
        const found = [chosen.ws.protocol, await chosen.next(), none.ws.protocol, await none.next()];
        chosen.ws.close();
        none.ws.close();
        // WHATWG, "WebSockets": an answer that chooses none of those offered is a failure.
        found.push(await open("/speaks", ["other"]).closed);
        return found;
    },
    async extensions() {
        const found = [];
        for (const path of ["/echo", "/plain", "/context"]) {
            const {ws} = await opened(path);
            found.push(ws.extensions);
            ws.close();
        }
        return found;
    },
    async compression() {
        const {ws, next} = await opened("/sizes");
        const found = [];
        for (const message of ["a".repeat(200000), new Uint8Array(100000), noise(50000)]) {
            ws.send(message);
            await next();
            found.push([message.length, ...JSON.parse(await next())]);
        }
        ws.close();
        return found;
    },
    async context() {  // a window that is kept: noise can be compressed only by what came before
        const {ws, next} = await opened("/context");
        const bytes = noise(2000);
        const found = [];
        for (let number = 0; number < 3; number++) {
            ws.send(bytes);
            const echo = new Uint8Array(await next());
            found.push([...JSON.parse(await next()), same(bytes, echo)]);
        }
        ws.close();
        return found;
    },
    async window() {  // the smallest
        const {ws, next} = await opened("/window");
        const text = [...Array(20000).keys()].join(" ");
        ws.send(text);
        const found = [ws.extensions, await next() == text];
        ws.close();
        return found;
    },
    async cookies() {
        document.cookie = "page=1";
        const first = await opened("/cookies");
        const found = [JSON.parse(await first.next()), document.cookie];
        first.ws.close();
        const second = await opened("/cookies");
        found.push(JSON.parse(await second.next()));
        second.ws.close();
        return found;
    },
    async request() {
        const {ws, next} = await opened("/request?a=1&a=%C3%A4");
        const about = JSON.parse(await next());
        ws.close();
        return [about, location.origin];
    },
    async foreign() {
        const refused = await open(elsewhere + "/echo").closed;
        const {ws, next} = await opened(elsewhere + "/allowed");
        ws.send("Hello");
        const echo = await next();
        ws.close();
        return [refused, echo];
    },
    async sandboxed() {  // a page without an origin
        const told = new Promise(resolve => { addEventListener("message", event => resolve(event.data)); });
        const element = document.createElement("iframe");
        element.sandbox = "allow-scripts";
        element.srcdoc = `<script>
            const found = [origin];
            function attempt(path, then) {
                const ws = new WebSocket("${base}" + path);
                ws.onopen = () => { found.push("opened"); ws.onclose = then; ws.close(); };
                ws.onclose = () => { found.push("refused"); then(); };
            }
            attempt("/echo", () => attempt("/null", () => parent.postMessage(found, "*")));
            </` + "script>";
        document.body.append(element);
        return await told;
    },
    async no_websocket() {
        const found = [];
        for (const path of ["/echo", "/nowhere"]) {
            const answer = await fetch(path);
            found.push([answer.status, await open("/nowhere").closed]);
        }
        return found;
    },
    async ping() {
        const {ws, next} = await opened("/ping");
        const found = [JSON.parse(await next()), JSON.parse(await next())];
        ws.close();
        return found;
    },
    async broadcast() {
        const sockets = await Promise.all([1, 2, 3].map(() => opened("/all")));
        sockets[1].ws.send("Hello \\u20ac");
        const found = await Promise.all(sockets.map(socket => socket.next()));
        sockets[1].ws.send(Uint8Array.of(1, 2));
        for (const socket of sockets) found.push(bytesOf(await socket.next()));
        sockets[0].ws.close();
        await sockets[0].closed;
        sockets[1].ws.send("count");
        found.push(await sockets[2].next());
        sockets[1].ws.close();
        sockets[2].ws.close();
        return found;
    },
    async many() {
        const sockets = await Promise.all([...Array(40).keys()].map(() => opened("/echo")));
        sockets.forEach((socket, number) => socket.ws.send(String(number)));
        const found = await Promise.all(sockets.map(socket => socket.next()));
        sockets.forEach(socket => socket.ws.close());
        return found.every((text, number) => text == number);
    },
    async unload() {  // a page that goes away
        const element = await frame("/nothing");
        const script = element.contentDocument.createElement("script");
        script.textContent = `new WebSocket("${base}/unload").onopen = () => { document.title = "opened"; }`;
        element.contentDocument.body.append(script);
        await until(() => element.contentDocument.title == "opened");
        element.remove();
        const {ws, next} = await opened("/unloaded");
        const found = JSON.parse(await next());
        ws.close();
        return found;
    },
    async shutdown() {
        const socket = await opened(elsewhere + "/allowed");
        await fetch("/shutdown");
        return await socket.closed;
    },
    async lines_page() {  // of the examples
        const element = await frame("/ws_lines.html");
        const find = id => element.contentDocument.getElementById(id);
        await until(() => !find("send").disabled);
        find("editor").value = "Hello\\nWorld";
        find("send").click();
        await until(() => find("answers").textContent.endsWith("World]\\n"));
        const found = find("answers").textContent;
        element.remove();
        return found;
    },
    async chat_page() {
        const element = await frame("/ws_chat.html");
        const find = id => element.contentDocument.getElementById(id);
        find("name").value = "Ada &";
        find("join").requestSubmit();
        await until(() => !find("talk").hidden);
        find("text").value = "<b>Hello</b>";
        find("talk").requestSubmit();
        const items = () => [...element.contentDocument.querySelectorAll("li")].map(item => item.textContent);
        await until(() => items().length == 1);
        find("text").value = "close";
        find("talk").requestSubmit();
        await until(() => items().length == 2);
        const found = [...items(), find("talk").hidden, find("join").hidden];
        element.remove();
        return found;
    },
};
async function all() {
    const verdicts = {};
    for (const [name, trial] of Object.entries(trials)) {
        const line = document.createElement("li");
        try {
            const deadline = new Promise((_, reject) => setTimeout(reject, 20000, "it takes too long"));
            verdicts[name] = await Promise.race([trial(), deadline]);
        } catch (error) {
            verdicts[name] = "failed: " + error;
            line.className = "bad";
        }
        line.textContent = name + ": " + JSON.stringify(verdicts[name]).slice(0, 120);
        document.getElementById("list").append(line);
    }
    document.getElementById("verdicts").textContent = JSON.stringify(verdicts);
    document.title = "done";
    fetch("/done", {method: "POST"});
}
all();
</script></body></html>
"""


# --- The server -------------------------------------------------------------------------------------------------------


class Socket(WebSocket):
    """One that remembers its request, and writes down how it ends."""

    def on_handshake(self, request: HTTPRequest, headers: dict[str, Any]) -> bool:
        self.request = request
        return True

    def __init__(self, request: HTTPRequest, site: Site) -> None:
        self.site = site
        super().__init__(request)

    def on_close(self) -> None:
        self.site.ends.setdefault(self.request.url, []).append((self.close_code, self.close_reason))


class Echo(Socket):
    def on_connect(self) -> None:
        self.buffer_size = 4_000_000

    def on_read(self, data: str | bytes) -> None:
        self.write(data)


class Plain(Echo):
    compression = False


class Allowed(Echo):
    allowed_origins = ("*",)


class Null(Echo):
    allowed_origins = ("null",)


class Sizes(Echo):
    """Answers, and tells how long the message and the answer were on the wire."""

    arrived = 0

    def _connection_read(self, data: bytes) -> None:
        self.arrived += len(data)
        super()._connection_read(data)

    def on_read(self, data: str | bytes) -> None:
        before = self.queued_bytes
        self.write(data)
        sent = self.queued_bytes - before
        self.write(json.dumps([self.arrived, sent]))
        self.arrived = 0


class Context(Sizes):
    compression = Deflate(server_no_context_takeover=False, client_no_context_takeover=False, min_size=1000)


class Window(Echo):
    compression = Deflate(server_max_window_bits=9, client_max_window_bits=9)


class Paused(Socket):
    def on_connect(self) -> None:
        self.count = 0
        self.site.paused = self
        self.pause_reading()

    def on_read(self, data: bytes) -> None:
        self.count += len(data)
        if self.count == 6_553_600:
            self.write(str(self.count))


class Fragments(Socket):
    def on_connect(self) -> None:
        for text in ("a\u00e4", "", "\U0001f600" * 1000):
            self.write_fragment(text)
        self.write_fragment("z", last=True)
        self.write_fragment(b"\x00")
        self.ping()  # RFC 6455 §5.4: control frames may come in between
        self.write_fragment(b"\xff", last=True)


class File(Socket):
    def on_connect(self) -> None:
        with (self.site.folder / "page.html").open("rb") as file:
            self.write_file(file)


class Packed(Socket):
    def on_connect(self) -> None:
        self.read_delimiter = struct.Struct("!Ih")

    def on_read(self, number: int, other: int) -> None:
        self.write_packed(number + 1, other - 1)


class Close(Socket):
    def on_connect(self) -> None:
        self.close(reason=int(self.request.get["code"][0]), message=self.request.get.get("reason", [""])[0])


class Raises(Socket):
    def on_read(self, data: str) -> None:
        raise RuntimeError("nothing for others to see")


class Short(Socket):
    def on_connect(self) -> None:
        self.buffer_size = 100


class Lines(Socket):
    def on_connect(self) -> None:
        self.read_delimiter = "\n"

    def on_read(self, line: str) -> None:
        self.write(f"[{line}]")


class Broken(Socket):
    def on_connect(self) -> None:
        self.close(flush=False)


class Last(Socket):
    def on_connect(self) -> None:
        self.write("x" * 1_000_000)
        self.close(reason=4000, message="the end")


class Speaks(Socket):
    subprotocols = ("chat.v2", "chat.v1")

    def on_connect(self) -> None:
        self.write(str(self.subprotocol))


class Cookies(Socket):
    def on_handshake(self, request: HTTPRequest, headers: dict[str, Any]) -> bool:
        request.cookies_out["out"] = "2"
        headers["Set-Cookie"] = "header=3; HttpOnly"
        return super().on_handshake(request, headers)

    def on_connect(self) -> None:
        self.write(json.dumps({name: morsel.value for name, morsel in self.request.cookies.items()}))


class About(Socket):
    def on_connect(self) -> None:
        request = self.request
        about = {"origin": request.headers["Origin"], "get": request.get, "secure": self.is_secure}
        self.write(json.dumps(about))


class Ping(Socket):
    def on_connect(self) -> None:
        self.ping()

    def on_pong(self, data: float | bytes) -> None:
        if isinstance(data, bytes):
            self.write(json.dumps(data.decode()))
        else:
            self.write(json.dumps([data, data == self.latency]))
            self.ping(b"payload")


class All(Socket):
    def on_connect(self) -> None:
        self.site.all.append(self)

    def on_read(self, data: str | bytes) -> None:
        count = broadcast(self.site.all, data if data != "count" else str(len(self.site.all)))
        assert count == len(self.site.all)

    def on_close(self) -> None:
        self.site.all.remove(self)
        super().on_close()


class Unloaded(Socket):
    """Tells how another has ended, once it has."""

    def on_connect(self) -> None:
        if (ends := self.site.ends.get("/unload")) is not None:
            self.write(json.dumps(ends))
        else:
            self.engine.defer(0.01, self.on_connect)


class Chat(Socket):
    """What the page of the example talks to."""

    def on_read(self, text: str) -> None:
        if text == "close":
            self.close(reason=4000, message="enough")
        else:
            self.write(f"{self.request.get['name'][0]}: {text}")


SOCKETS: dict[str, type[Socket]] = {
    "/echo": Echo,
    "/plain": Plain,
    "/null": Null,
    "/allowed": Allowed,
    "/sizes": Sizes,
    "/context": Context,
    "/window": Window,
    "/paused": Paused,
    "/fragments": Fragments,
    "/file": File,
    "/packed": Packed,
    "/close": Close,
    "/leaving": Echo,
    "/unload": Echo,
    "/unloaded": Unloaded,
    "/raises": Raises,
    "/short": Short,
    "/lines": Lines,
    "/broken": Broken,
    "/last": Last,
    "/speaks": Speaks,
    "/cookies": Cookies,
    "/request": About,
    "/ping": Ping,
    "/all": All,
}


class Site:
    """A server whose WebSockets each try something else, and another server, on another port and so another origin."""

    barrier: HTTPRequest
    paused: Paused
    done = False

    def __init__(self, engine: Engine, folder: Path) -> None:
        self.folder = folder
        self.requests: list[HTTPRequest] = []
        self.ends: dict[str, list[tuple[int | None, str]]] = {}
        self.all: list[WebSocket] = []
        self.server = HTTPServer(self, engine=engine, file_root=folder).listen(("127.0.0.1", 0))
        self.other = HTTPServer(self, engine=engine).listen(("127.0.0.1", 0))
        (folder / "page.html").write_text(PAGE.replace("OTHER_PORT", str(self.other.local_address[1])))
        for name in ("ws_lines.html", "ws_chat.html"):
            (folder / name).write_bytes((EXAMPLES / name).read_bytes())

    def __call__(self, request: HTTPRequest) -> None:
        self.requests.append(request)
        path = request.path
        if path == "/ws":
            kind: type[Socket] = Chat if "name" in request.get else Lines
            kind(request, self)
        elif path in SOCKETS:
            SOCKETS[path](request, self)
        elif path == "/":
            request.send_file("page.html")
        elif path == "/nothing":
            request.send_response("<!DOCTYPE html><title></title>", content_type="text/html")
        elif path == "/resume":
            request.send_response(str(self.paused.count))
            self.paused.resume_reading()
        elif path == "/shutdown":
            self.other.shutdown(10)
            request.send_response("")
        elif path == "/barrier":
            self.barrier = request
            self.open_barrier()
        elif path == "/done":
            request.send_response("")
            self.done = True
            self.open_barrier()
        else:
            request.send_file(path.removeprefix("/"))

    def open_barrier(self) -> None:
        """Let the browser take the page for complete, once its script says so."""
        if self.done:
            self.barrier.send_response("<svg xmlns='http://www.w3.org/2000/svg'/>", content_type="image/svg+xml")


class Recorder(logging.Handler):
    """Keeps what Pants logs at WARNING or above."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


class Found:
    """What the browser has found, and the server that it has talked to."""

    def __init__(self, verdicts: dict[str, Any], title: str, site: Site, log: list[str]) -> None:
        self.verdicts = verdicts
        self.title = title
        self.site = site
        self.log = log
        self.failures = site.server.counters.failures + site.other.counters.failures


@pytest.fixture(scope="module")
def found(peer: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory) -> Found:
    """The browser, run to its end, on an engine of this module's own: those of the tests live no longer than they."""
    program = peer("chromium")
    folder = tmp_path_factory.mktemp("browser")
    recorder = Recorder()
    logger = logging.getLogger("pants")
    logger.addHandler(recorder)
    engine = Engine()
    site = Site(engine, folder)
    try:
        url = f"http://127.0.0.1:{site.server.local_address[1]}/"
        channels = site.server.channels, site.other.channels
        verdicts, title = browse(program, folder, url, engine, lambda: not any(channels))
        return Found(verdicts, title, site, recorder.lines)
    finally:
        site.server.close()
        site.other.close()
        engine.poll(0)
        engine.close()
        logger.removeHandler(recorder)


# --- Verdicts ---------------------------------------------------------------------------------------------------------


def test_the_page_has_come_to_its_end(found: Found) -> None:
    assert found.title == "done"
    failed = {name: verdict for name, verdict in found.verdicts.items() if str(verdict).startswith("failed")}
    assert failed == {}
    assert found.failures == 0


def test_text(found: Found) -> None:
    """Half of a pair of surrogates cannot be sent; browsers put U+FFFD in its place."""
    assert found.verdicts["text"] == ["Hello", "", "\u00e4\u20ac\U0001f600", "\0\r\n", "\ufffd"]


def test_binary_data(found: Found) -> None:
    assert found.verdicts["binary"] == [[True, [0, 128, 255]], [True, []], [True, [8, 9]]]


def test_blobs(found: Found) -> None:
    assert found.verdicts["blob"] == [True, [0, 255, *b"text"]]


def test_large_messages(found: Found) -> None:
    """Of more than 1 MB, compressed and not."""
    assert found.verdicts["large"] == [True] * 4


def test_lengths(found: Found) -> None:
    """RFC 6455 §5.2: the length is in 7 bits, 7 and 16, or 7 and 64."""
    assert found.verdicts["lengths"] == [True] * 6


def test_messages_come_in_order(found: Found) -> None:
    assert found.verdicts["order"] == "in order"


def test_a_server_that_does_not_read(found: Found) -> None:
    """Until it is told to, while more is sent than it takes at once."""
    assert found.verdicts["paused"] == ["0", "6553600"]


def test_fragments(found: Found) -> None:
    """RFC 6455 §5.4: the page sees whole messages."""
    assert found.verdicts["fragments"] == ["a\u00e4" + "\U0001f600" * 1000 + "z", [0, 255]]


def test_a_file(found: Found) -> None:
    """Manual: "This method sends an entire file as one huge binary frame"."""
    assert found.verdicts["file"] is True


def test_packed_data(found: Found) -> None:
    """Manual: "write_packed", and a Struct as "read_delimiter"."""
    assert found.verdicts["packed"] == [6, 123456790, -3]


def test_the_server_closes(found: Found) -> None:
    """Manual: "close"; the page sees the code and the reason, and that there was a closing handshake."""
    assert found.verdicts["server_closes"] == [
        [1000, "", True, False],
        [1001, "leaving", True, False],
        [3000, "\u00e4", True, False],
        [4001, "bye", True, False],
        [4999, "x", True, False],
    ]


def test_the_page_closes(found: Found) -> None:
    """RFC 6455 §5.5.1: the answer typically has the code that was received. §7.4.1: 1005 means that there was none."""
    assert found.verdicts["page_closes"] == [
        [3000, "done \u00e4", True, False],
        [1000, "", True, False],
        [1005, "", True, False],
    ]
    assert [found.site.ends[f"/leaving?{count}"] for count in (2, 1, 0)] == [
        [(3000, "done \u00e4")],
        [(1000, "")],
        [(1005, "")],
    ]


def test_failures(found: Found) -> None:
    """RFC 6455 §7.4.1: an unexpected condition, a message too big, data of a type that cannot be accepted."""
    assert [(code, clean) for code, _, clean, _ in found.verdicts["failures"]] == [
        (1011, True),
        (1009, True),
        (1003, True),
    ]
    assert "nothing for others to see" not in str(found.verdicts["failures"])
    assert len(found.log) == 2
    assert any("nothing for others to see" in line for line in found.log)
    assert any("longer than 100 bytes" in line for line in found.log)


def test_a_connection_that_is_cut(found: Found) -> None:
    """RFC 6455 §7.1.5: 1006, where no Close frame has come."""
    code, _, clean, _ = found.verdicts["broken"]
    assert (code, clean) == (1006, False)


def test_what_is_written_before_close_arrives(found: Found) -> None:
    assert found.verdicts["last_words"] == [1_000_000, [4000, "the end", True, False]]


def test_subprotocols(found: Found) -> None:
    """RFC 6455 §4.2.2: the server chooses, or chooses none; a page that wants one refuses the latter."""
    chosen, told, none, told_none, refused = found.verdicts["subprotocols"]
    assert (chosen, told) == ("chat.v2", "chat.v2")
    assert (none, told_none) == ("", "None")
    assert refused[0] == 1006
    assert refused[3] is True


def test_extensions(found: Found) -> None:
    """RFC 7692 §7; by default no window is kept."""
    by_default, off, context = found.verdicts["extensions"]
    assert {part.strip() for part in by_default.split(";")} == {
        "permessage-deflate",
        "server_no_context_takeover",
        "client_no_context_takeover",
    }
    assert off == ""
    assert context.split(";")[0] == "permessage-deflate"
    assert "no_context_takeover" not in context


def test_messages_are_compressed(found: Found) -> None:
    """Both ways; here are the length of a message, and what it and its answer took on the wire."""
    text, zeros, random = found.verdicts["compression"]
    for length, arrived, sent in (text, zeros):
        assert arrived < length / 100
        assert sent < length / 100
    assert 50_000 < random[1] < 51_000
    assert 50_000 < random[2] < 51_000


def test_a_window_that_is_kept(found: Found) -> None:
    """RFC 7692 §7.2.3.2: the second time, the message is in the window."""
    first, *others = found.verdicts["context"]
    assert first[2] is True
    assert min(first[:2]) > 2000
    for arrived, sent, same in others:
        assert same is True
        assert max(arrived, sent) < 200


def test_small_windows(found: Found) -> None:
    """RFC 7692 §7.1.2."""
    extensions, same = found.verdicts["window"]
    assert "server_max_window_bits=9" in extensions
    assert "client_max_window_bits=9" in extensions
    assert same is True


def test_cookies(found: Found) -> None:
    """RFC 6455 §4.1, §4.2.2, §10.5: cookies come with the request, and may go with the answer."""
    before, scripts, after = found.verdicts["cookies"]
    assert before == {"page": "1"}
    assert set(scripts.split("; ")) == {"page=1", "out=2"}  # those that are HttpOnly are not for scripts
    assert after == {"page": "1", "out": "2", "header": "3"}


def test_the_request(found: Found) -> None:
    """Manual: "on_handshake" has it."""
    about, origin = found.verdicts["request"]
    assert about == {"origin": origin, "get": {"a": ["1", "\u00e4"]}, "secure": False}


def test_pages_of_other_origins(found: Found) -> None:
    """RFC 6455 §10.2: 403 where they are not allowed. The page learns no more than that it failed."""
    refused, echo = found.verdicts["foreign"]
    assert refused == [1006, "", False, True]
    assert echo == "Hello"
    answers = {request.path: request.code for request in found.site.requests if request.host.endswith(port_of(found))}
    assert answers == {"/echo": 403, "/allowed": 101}


def port_of(found: Found) -> str:
    match = re.search(r'elsewhere = "ws://127.0.0.1(:[0-9]+)"', (found.site.folder / "page.html").read_text())
    assert match is not None
    return match[1]


def test_pages_without_an_origin(found: Found) -> None:
    assert found.verdicts["sandboxed"] == ["null", "refused", "opened"]


def test_what_is_no_websocket(found: Found) -> None:
    """RFC 9110 §15.5.22: 426 where only a WebSocket is spoken; and any answer but 101 fails the WebSocket."""
    (upgrade, failed), (missing, _) = found.verdicts["no_websocket"]
    assert (upgrade, missing) == (426, 404)
    assert failed == [1006, "", False, True]


def test_pings_are_answered(found: Found) -> None:
    """Manual: "on_pong" gets the round-trip time, or what the ping had."""
    (seconds, is_latency), payload = found.verdicts["ping"]
    assert seconds > 0
    assert is_latency is True
    assert payload == "payload"


def test_broadcast(found: Found) -> None:
    assert found.verdicts["broadcast"] == ["Hello \u20ac"] * 3 + [[1, 2]] * 3 + ["2"]


def test_many_at_once(found: Found) -> None:
    assert found.verdicts["many"] is True


def test_a_page_that_goes_away(found: Found) -> None:
    """RFC 6455 §7.4.1: 1001, "a browser having navigated away from a page"."""
    assert found.verdicts["unload"] == [[1001, ""]]


def test_shutdown(found: Found) -> None:
    """RFC 6455 §7.4.1: 1001, "a server going down"."""
    code, _, clean, failed = found.verdicts["shutdown"]
    assert (code, clean, failed) == (1001, True, False)


def test_the_page_of_the_lines(found: Found) -> None:
    assert found.verdicts["lines_page"] == "[Hello]\n[World]\n"


def test_the_page_of_the_chat(found: Found) -> None:
    """What others say is shown as it is."""
    assert found.verdicts["chat_page"] == [
        "Ada &: <b>Hello</b>",
        "The connection is closed: enough",
        True,
        False,
    ]
