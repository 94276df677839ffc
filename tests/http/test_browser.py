"""A page in a real browser, Chromium, whose script tries what pages do, and says what it has found.

The browser is started once, with all that there is to try, and each test looks at one of the verdicts.
"""

from __future__ import annotations

import gzip
import io
import wave
from collections.abc import Callable
from typing import Any

import pytest

from pants import Engine
from pants.http import HTTPRequest, HTTPServer
from tests.http.peers_support import BINARY, PIECES, TEXT, Application, browse, digest

PAGE = """<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>Pants in a browser</title>
<style>body { font: 14px sans-serif } .bad { color: red }</style></head>
<body><h1>Pants in a browser</h1><img id="image" src="/file/image.svg" alt="a square"><ol id="list"></ol>
<pre id="verdicts"></pre><img src="/barrier" alt="The page is not loaded as long as this is not.">
<script>
const trials = {
    async json() {
        const answer = await fetch("/request?a=1&a=\\u00e4%20b");
        const about = await answer.json();
        return [answer.status, answer.headers.get("Content-Type"), about.method, about.get];
    },
    async stream() {
        const reader = (await fetch("/stream")).body.pipeThrough(new TextDecoderStream()).getReader();
        const pieces = [];
        for (let piece; !(piece = await reader.read()).done;) pieces.push(piece.value);
        return pieces.join("");
    },
    async upload() {
        const bytes = new Uint8Array(await (await fetch("/file/large.bin")).arrayBuffer());
        const form = new FormData();
        form.append("field", "a \\u00e4\\u20ac\\n\\"b\\"");
        form.append("field", "second");
        form.append('odd "name"', "");
        form.append("file", new Blob([bytes], {type: "application/x-test"}), 'odd "\\u00e4\\u20ac".bin');
        form.append("file", new Blob([]), "empty");
        return (await fetch("/form", {method: "POST", body: form})).json();
    },
    async urlencoded() {
        const form = new URLSearchParams([["a", "1"], ["a", "\\u00e4 &="], ["b", ""]]);
        return (await fetch("/form", {method: "PUT", body: form})).json();
    },
    async progress() {  // an XMLHttpRequest that watches how its body is taken
        return await new Promise((resolve, reject) => {
            const request = new XMLHttpRequest();
            let seen = 0;
            request.upload.onprogress = event => { seen = event.loaded; };
            request.onload = () => resolve([request.status, seen, JSON.parse(request.responseText).length]);
            request.onerror = reject;
            request.open("POST", "/body");
            request.send(new Uint8Array(3000000));
        });
    },
    async range() {
        const answer = await fetch("/file/large.bin", {headers: {Range: "bytes=4-11"}});
        const bytes = new Uint8Array(await answer.arrayBuffer());
        return [answer.status, answer.headers.get("Content-Range"), [...bytes]];
    },
    async media() {  // the browser's own ranges
        return await new Promise((resolve, reject) => {
            const audio = new Audio("/file/sound.wav");
            audio.onloadedmetadata = () => resolve(audio.duration);
            audio.onerror = () => reject(audio.error.message);
        });
    },
    async image() {
        const image = document.getElementById("image");
        await image.decode();
        return [image.naturalWidth, image.naturalHeight];
    },
    async cookies() {
        await fetch("/set");
        return [document.cookie, await (await fetch("/get")).json()];
    },
    async revalidation() {
        const found = [];
        for (const cache of ["reload", "no-cache", "no-cache"]) {
            const answer = await fetch("/file/hello.txt", {cache});
            found.push([answer.status, await answer.text()]);
        }
        return found;
    },
    async compression() {
        const answer = await fetch("/text");
        return [answer.headers.get("Content-Encoding"), answer.headers.get("Vary"), (await answer.text()).length];
    },
    async precompressed() {
        const answer = await fetch("/file/packed.txt?precompressed=1");
        return [answer.headers.get("Content-Encoding"), await answer.text()];
    },
    async methods() {
        const found = [];
        for (const method of ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]) {
            const answer = await fetch("/request", {method});
            const text = await answer.text();
            found.push([method, answer.status, text && JSON.parse(text).method]);
        }
        return found;
    },
    async statuses() {
        const found = [];
        for (const path of ["/nothing", "/nowhere", "/redirect", "/file/none"]) {
            const answer = await fetch(path);
            found.push([answer.status, answer.redirected, new URL(answer.url).pathname]);
        }
        return found;
    },
    async abort() {
        const controller = new AbortController();
        const answer = await fetch("/endless", {signal: controller.signal});
        const first = await answer.body.getReader().read();
        controller.abort();
        return first.value.length > 0;
    },
    async events() {
        return await new Promise((resolve, reject) => {
            const source = new EventSource("/events");
            const found = [];
            source.onmessage = event => {
                found.push(event.data);
                if (found.length == 3) { source.close(); resolve(found); }
            };
            source.onerror = () => reject("the stream of events has broken");
        });
    },
    async parallel() {
        const answers = await Promise.all([...Array(60).keys()].map(number => fetch("/later?" + number)));
        return (await Promise.all(answers.map(answer => answer.text()))).every(text => text == "later");
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

IMAGE = (
    '<svg xmlns="http://www.w3.org/2000/svg" width="30" height="20"><rect width="30" height="20" fill="green"/></svg>'
)


def sound(seconds: int) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(44100)
        writer.writeframes(bytes(2 * 44100 * seconds))
    return file.getvalue()


class Site(Application):
    barrier: HTTPRequest
    done = False

    def answer_(self, request: HTTPRequest) -> None:
        request.send_response(PAGE, content_type="text/html; charset=utf-8")

    def answer_events(self, request: HTTPRequest) -> None:
        """Server-sent events: one for each piece, until the browser has enough."""
        request.send_headers({"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
        cancel = request.connection.engine.cycle(0.01, lambda: request.send("data: event\n\n"))
        request.on_close = cancel

    def answer_barrier(self, request: HTTPRequest) -> None:
        """Keep the browser from taking the page for complete, until its script says so."""
        self.barrier = request
        self.open_barrier()

    def answer_done(self, request: HTTPRequest) -> None:
        request.send_response("")
        self.done = True
        self.open_barrier()

    def open_barrier(self) -> None:
        if self.done:
            self.barrier.send_file("image.svg")


class Found:
    """What the browser has found, and the server that it has talked to."""

    def __init__(self, verdicts: dict[str, Any], title: str, site: Site, server: HTTPServer) -> None:
        self.verdicts = verdicts
        self.title = title
        self.site = site
        self.answers = dict(server.counters.answers)
        self.refused = dict(server.counters.refused)
        self.failures = server.counters.failures
        self.connections = server.counters.connections

    def requests(self, path: str) -> list[HTTPRequest]:
        return [request for request in self.site.requests if request.path == path]


@pytest.fixture(scope="module")
def found(peer: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory) -> Found:
    """The browser, run to its end, on an engine of this module's own: those of the tests live no longer than they."""
    program = peer("chromium")
    folder = tmp_path_factory.mktemp("browser")
    site = Site(folder)
    (folder / "image.svg").write_text(IMAGE)
    (folder / "sound.wav").write_bytes(sound(30))
    (folder / "packed.txt").write_bytes(b"not packed")
    (folder / "packed.txt.gz").write_bytes(gzip.compress(b"packed"))
    engine = Engine()
    server = HTTPServer(site, file_root=folder, cookie_secret="secret", compression=True, engine=engine)
    server.listen(("127.0.0.1", 0))
    try:
        url = f"http://127.0.0.1:{server.local_address[1]}/"
        verdicts, title = browse(program, folder, url, engine, lambda: not server.channels)
        return Found(verdicts, title, site, server)
    finally:
        server.close()
        engine.poll(0)
        engine.close()


def test_the_page_has_come_to_its_end(found: Found) -> None:
    assert found.title == "done"
    assert [verdict for verdict in found.verdicts.values() if str(verdict).startswith("failed")] == []
    assert (found.failures, found.refused) == (0, {})


def test_json(found: Found) -> None:
    assert found.verdicts["json"] == [200, "application/json", "GET", {"a": ["1", "\u00e4 b"]}]


def test_chunks(found: Found) -> None:
    assert found.verdicts["stream"] == "".join(PIECES)


def test_a_form_with_files(found: Found) -> None:
    """HTML, "multipart/form-data encoding algorithm": line ends are CRLF, a quote in a name is %22."""
    assert found.verdicts["upload"] == {
        "post": {"field": ['a \u00e4\u20ac\r\n"b"', "second"], 'odd "name"': [""]},
        "files": {
            "file": [
                ['odd "\u00e4\u20ac".bin', "application/x-test", len(BINARY), digest(BINARY)],
                ["empty", "application/octet-stream", 0, digest(b"")],
            ]
        },
    }


def test_a_form_without(found: Found) -> None:
    """Manual: with keep_blank_values set to False."""
    assert found.verdicts["urlencoded"] == {"post": {"a": ["1", "\u00e4 &="]}, "files": {}}


def test_the_progress_of_an_upload(found: Found) -> None:
    assert found.verdicts["progress"] == [200, 3_000_000, 3_000_000]


def test_a_range(found: Found) -> None:
    assert found.verdicts["range"] == [206, "bytes 4-11/4000000", list(BINARY[4:12])]


def test_a_sound_is_fetched_by_ranges(found: Found) -> None:
    assert found.verdicts["media"] == 30
    assert found.requests("/file/sound.wav")[0].headers["Range"].startswith("bytes=")
    assert found.requests("/file/sound.wav")[0].code == 206


def test_an_image(found: Found) -> None:
    """Which is shown only if its type is told."""
    assert found.verdicts["image"] == [30, 20]


def test_cookies(found: Found) -> None:
    """Manual: "set_secure_cookie" is not for scripts (``HttpOnly``); the server gets it back."""
    told, got = found.verdicts["cookies"]
    assert "plain=value" in told
    assert "signed" not in told
    assert got == {"cookies": {"plain": "value", "quoted": 'a "b"; c'}, "signed": {"user": 7}}


def test_what_has_not_changed_is_not_sent_again(found: Found) -> None:
    """RFC 9110 §15.4.5: the script sees the 200 of the cache, and the server has answered 304."""
    assert found.verdicts["revalidation"] == [[200, "Hello, World!"]] * 3
    asked = found.requests("/file/hello.txt")
    assert [request.code for request in asked] == [200, 304, 304]
    assert all("If-None-Match" in request.headers for request in asked[1:])


def test_compression(found: Found) -> None:
    coding, vary, length = found.verdicts["compression"]
    assert coding in ("gzip", "br", "zstd", "deflate")
    assert coding in found.requests("/text")[0].headers["Accept-Encoding"]
    assert vary == "Accept-Encoding"
    assert length == len(TEXT)


def test_a_precompressed_file(found: Found) -> None:
    assert found.verdicts["precompressed"] == ["gzip", "packed"]


def test_methods(found: Found) -> None:
    methods = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
    assert found.verdicts["methods"] == [[method, 200, "" if method == "HEAD" else method] for method in methods]


def test_statuses(found: Found) -> None:
    assert found.verdicts["statuses"] == [
        [204, False, "/nothing"],
        [404, False, "/nowhere"],
        [200, True, "/request"],
        [404, False, "/file/none"],
    ]


def test_what_is_aborted_ends_at_the_server(found: Found) -> None:
    assert found.verdicts["abort"] is True
    assert found.site.gone == ["/endless"]


def test_events(found: Found) -> None:
    assert found.verdicts["events"] == ["event"] * 3


def test_connections_are_kept(found: Found) -> None:
    """A browser has six to a host at most (and some that it opens ahead), and there were a hundred requests."""
    assert found.verdicts["parallel"] is True
    assert len(found.site.requests) > 90
    assert found.connections < 30
