"""The pages that list directories: what they say, in which order, and how a browser shows them.

When they are made, and for whom, is in `test_fileserver_turns`.
"""

from __future__ import annotations

import contextlib
import functools
import html.parser
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes, urljoin, urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pants import Engine
from pants.http import HTTPRequest, HTTPServer
from pants.web import Application, _listing
from pants.web.fileserver import FileServer
from tests.http.peers_support import browse
from tests.web.support import Answer, fetch

MODIFIED = 1_700_000_000  # 2023-11-14 22:13:20 UTC

# What a name may be made of, and a page has to get over.
ODD_NAMES = [
    "#anchor?query=1&a=%41+b",
    "%2e%2e",
    "100%",
    "a:b",
    "javascript:alert(1)",
    "a\\b",
    "a b",
    "<script>alert(1)<script>",
    "\"double\" 'single' `back`",
    "&amp;",
    "new\nline\ttab",
    "\x01\x7f control",
    "   spaces   ",
    "\u202eltr\u202d\u2066",
    "\u00e4\u00f6\u00fc \u20ac \U0001f600",
    "e\u0301 combined",
    "a...",
    "-rf",
    "~",
    "{braces} {title}",
    "plain",
]


class Page(html.parser.HTMLParser):
    """A listing, as it is read.

    Attributes:
        title: Its title.
        text: What is outside of the table.
        rows: The cells of each row in its table, as text.
        links: The references in these rows.
        crumbs: Those before the table.
        columns: Those in the head of the table.
    """

    def __init__(self, answer: Answer) -> None:
        super().__init__()
        self.title = self.text = ""
        self.rows: list[list[str]] = []
        self.links: list[str | None] = []
        self.crumbs: list[str | None] = []
        self.columns: list[str | None] = []
        self.tags: list[str] = []
        self.open: list[str] = []
        self.feed(answer.content.decode())
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in ("meta", "wbr"):
            self.open.append(tag)
        if tag == "tr" and "tbody" in self.open:
            self.rows.append([])
        if tag == "td":
            self.rows[-1].append("")
        if tag == "a":
            place = self.links if "tbody" in self.open else self.columns if "thead" in self.open else self.crumbs
            place.append(dict(attrs)["href"])

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "title" in self.open:
            self.title += data
        elif "td" in self.open:
            self.rows[-1][-1] += data
        elif "main" in self.open and "table" not in self.open:
            self.text += data

    @property
    def names(self) -> list[str]:
        return [row[0] for row in self.rows]


def make(root: Path, *names: str | bytes, size: int = 0, modified: int = MODIFIED) -> None:
    """Make files; directories of the names with a slash at their end."""
    for name in names:
        path = os.path.join(os.fsencode(root), os.fsencode(name))
        if path.endswith(b"/"):
            os.makedirs(path)
        else:
            with open(path, "wb") as file:
                file.truncate(size)
        os.utime(path, (modified, modified))


def attached(root: Path, path: str = "/files/", **options: Any) -> Application:
    app = Application()
    FileServer(root, **options).attach(app, path)
    return app


def listing(root: Path, path: str = "/", **options: Any) -> Page:
    answer = fetch(FileServer(root, **options), path)
    assert answer.status == 200
    return Page(answer)


# --- The answer -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_the_answer(tmp_path: Path, method: str) -> None:
    make(tmp_path, "file")
    answer = fetch(attached(tmp_path), "/files/", method)
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert answer.headers["Cache-Control"] == "no-cache"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert int(answer.headers["Content-Length"]) > 500
    assert bool(answer.content) == (method == "GET")


def test_the_page_needs_nothing_else(tmp_path: Path) -> None:
    """No script, and nothing to load."""
    make(tmp_path, *ODD_NAMES)
    answer = fetch(FileServer(tmp_path), "/")
    page = Page(answer)
    assert {"script", "link", "img", "iframe", "form", "object"}.isdisjoint(page.tags)
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert b"@import" not in answer.content
    assert b"url(" not in answer.content
    assert answer.content.startswith(b"<!DOCTYPE html>")


def test_what_is_said_of_files(tmp_path: Path) -> None:
    make(tmp_path, "file.txt", size=1536)
    make(tmp_path, "directory/")
    page = listing(tmp_path)
    assert page.rows == [["directory/", "", "2023-11-14 22:13"], ["file.txt", "1.5 KiB", "2023-11-14 22:13"]]
    assert page.links == ["directory/", "file.txt"]
    assert "1 directory, 1 file of 1.5 KiB" in page.text


def test_an_empty_directory(tmp_path: Path) -> None:
    page = listing(tmp_path)
    assert page.rows == []
    assert "This directory is empty." in page.text


def test_the_way_up(tmp_path: Path) -> None:
    """A row, and each directory of the path; all of them relative, whatever stands before the path outside."""
    make(tmp_path, "a/b <c>/d/")
    for handler, prefix in ((FileServer(tmp_path), ""), (attached(tmp_path), "/files")):
        answer = fetch(handler, f"{prefix}/a/b%20%3Cc%3E/d/")
        page = Page(answer)
        assert page.title == f"Index of {prefix}/a/b <c>/d/"
        assert page.text.startswith(f"\n{prefix}/a/b <c>/d/\n")
        assert page.links == ["../"]
        assert page.crumbs == ["../../../", "../../", "../"]
        here = f"http://a{prefix}/a/b%20%3Cc%3E/d/"
        assert [urljoin(here, str(crumb)) for crumb in page.crumbs] == [
            f"http://a{prefix}/", f"http://a{prefix}/a/", f"http://a{prefix}/a/b%20%3Cc%3E/"
        ]  # fmt: skip
    page = Page(fetch(attached(tmp_path), "/files/"))
    assert (page.links, page.crumbs) == (["a/"], [])  # nothing leads out


def test_what_is_not_shown(tmp_path: Path) -> None:
    """The blacklist, hidden files, links that lead out or nowhere, and what is neither a file nor a directory."""
    root = tmp_path / "root"
    make(root, ".git/", ".well-known/", "package.py/", "directory/")
    make(root, "shown", "a.py", "a.pyc", ".hidden")
    make(tmp_path, "outside")
    os.mkfifo(root / "fifo")
    for name, target in {
        "inside": "shown",
        "inside_directory": "directory",
        "out": "../outside",
        "out_directory": "..",
        "dangling": "none",
        "loop": "loop",
        "device": "/dev/null",
        "to_fifo": "fifo",
    }.items():
        (root / name).symlink_to(target)
    assert listing(root).names == [".well-known/", "directory/", "inside_directory/", "inside", "shown"]
    assert {".git/", ".hidden", "a.py", "package.py/"} <= set(listing(root, hidden=True, blacklist=()).names)
    assert {"out", "out_directory/"} <= set(listing(root, follow_symlinks=True).names)


def test_the_blacklist_of_paths(tmp_path: Path) -> None:
    make(tmp_path, "a/b/", "b/")
    make(tmp_path / "a", "c")
    blacklist = ["^a/b/", "/a/c$"]
    assert listing(tmp_path, "/", blacklist=blacklist).names == ["a/", "b/"]
    assert listing(tmp_path, "/a/", blacklist=blacklist).names == ["../"]


@pytest.mark.parametrize("follow_symlinks", [False, True])
def test_links_to_what_is_not_shown(tmp_path: Path, follow_symlinks: bool) -> None:
    """By any name of theirs."""
    make(tmp_path, "a/b/", ".git/", "a/b/c", "program.py", "shown")
    for name, target in {
        "a/innocent": "../program.py",
        "a/git": "../.git",
        "a/b/link": "c",
        "a/good": "../shown",
        "b": "a/b",
        "listed": "a",
    }.items():
        (tmp_path / name).symlink_to(target)
    options = {"blacklist": [r"\.py$", "^a/b/c"], "follow_symlinks": follow_symlinks}
    for path in ("/a/", "/listed/"):
        assert listing(tmp_path, path, **options).names == ["../", "b/", "good"]
    # Whatever the way, it is the same directory.
    for path in ("/a/b/", "/b/", "/listed/b/"):
        assert listing(tmp_path, path, **options).names == ["../"]
    assert listing(tmp_path, "/b/", follow_symlinks=follow_symlinks).names == ["../", "c", "link"]
    assert listing(tmp_path, "/a/", hidden=True, blacklist=()).names == ["../", "b/", "git/", "good", "innocent"]


# --- Names ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ODD_NAMES, ids=ascii)
def test_odd_names(tmp_path: Path, name: str) -> None:
    """A link leads to the file, and nowhere else; the text is that, and no tag."""
    for place in (tmp_path, tmp_path / name):
        place.mkdir(exist_ok=True)
    (tmp_path / name / name).write_bytes(b"content")
    for handler, prefix in ((FileServer(tmp_path), ""), (attached(tmp_path), "/files")):
        here = f"http://a{prefix}/"
        for _ in range(2):
            page = Page(fetch(handler, urlsplit(here).path))
            link = page.links[-1]
            assert link is not None
            assert page.names[-1].rstrip("/") == _listing.shown(name)
            here = urljoin(here, link)
            parts = urlsplit(here)
            assert (parts.scheme, parts.netloc, parts.query, parts.fragment) == ("http", "a", "", "")
        answer = fetch(handler, parts.path)
        assert (answer.status, answer.content) == (200, b"content")
        assert unquote_to_bytes(parts.path).endswith(os.fsencode(f"/{name}/{name}"))


NAMES = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=40).filter(
    lambda name: name[0] != "." and len(name.encode()) <= 255
)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(NAMES)
def test_any_name(tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    file.write_bytes(b"content")
    try:
        server = FileServer(tmp_path, blacklist=())
        page = Page(fetch(server, "/"))
        assert page.names == [_listing.shown(name)]
        assert fetch(server, urljoin("/", str(page.links[0]))).content == b"content"
    finally:
        file.unlink()


@pytest.mark.parametrize("name", [b"\xff\xfe.bin", b"latin \xe4", b"\xed\xa0\x80"])
def test_a_name_that_is_no_utf8(tmp_path: Path, name: bytes) -> None:
    """Served without an application; below one, where no such path is taken, shown without a link."""
    make(tmp_path, name, size=3)
    page = listing(tmp_path)
    assert "\ufffd" in page.names[0]
    assert fetch(FileServer(tmp_path), urljoin("/", str(page.links[0]))).content == bytes(3)
    app = attached(tmp_path)
    inside = Page(fetch(app, "/files/"))
    assert (inside.names, inside.links) == (page.names, [])
    assert fetch(app, urljoin("/files/", str(page.links[0]))).status == 400


@pytest.mark.parametrize(
    "name, text",
    [
        ("plain", "plain"),
        ("a\nb\x00\x7f", "a\u240ab\u2400\u2421"),
        ("\x85\u2028", "\ufffd\ufffd"),
        ("exe.\u202egpj", "exe.\ufffdgpj"),
        ("\udcff", "\ufffd"),
        ("\u00e4\U0001f600", "\u00e4\U0001f600"),
    ],
)
def test_shown(name: str, text: str) -> None:
    assert _listing.shown(name) == text


# --- Sizes and dates --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "size, text",
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 KiB"),
        (1024, "1.0 KiB"),
        (1536, "1.5 KiB"),
        (10 * 1024 - 1, "10 KiB"),
        (1023 * 1024, "1.0 MiB"),
        (1 << 20, "1.0 MiB"),
        (5 << 30, "5.0 GiB"),
        (123 << 40, "123 TiB"),
        (1 << 62, "4.0 EiB"),
        ((1 << 63) - 1, "8.0 EiB"),
        (1 << 73, "8192 EiB"),
    ],
)
def test_readable_size(size: int, text: str) -> None:
    assert _listing.readable_size(size) == text


@pytest.mark.parametrize(
    "seconds, text",
    [
        (0, "1970-01-01 00:00"),
        (MODIFIED + 0.999, "2023-11-14 22:13"),
        (253402300799.9, "9999-12-31 23:59"),
        (-1, ""),
        (253402300800, ""),
        (1e300, ""),
        (float("nan"), ""),
    ],
)
def test_readable_date(seconds: float, text: str) -> None:
    """ISO 8601, in UTC; nothing where there is no such date."""
    assert _listing.readable_date(seconds) == text


def test_dates_beyond_the_calendar(tmp_path: Path) -> None:
    """As far as the file system has them."""
    make(tmp_path, "old", modified=-(2**31))
    assert listing(tmp_path).rows == [["old", "0 B", ""]]
    assert listing(tmp_path, "/?sort=date").names == ["old"]


# --- Order ------------------------------------------------------------------------------------------------------


def sized(root: Path) -> None:
    for size, name in enumerate(["b10", "B9", "a", "B09", "b1", "ä", "_", "10", "9", "b"]):
        make(root, name, size=1000 - size * 10, modified=MODIFIED + size * 60)
    make(root, "z/", "Y/", "x2/", "x10/")


def test_directories_first_then_names(tmp_path: Path) -> None:
    """Numbers by what they are, letters without their case."""
    sized(tmp_path)
    names = ["x2/", "x10/", "Y/", "z/", "9", "10", "_", "a", "b", "b1", "B09", "B9", "b10", "ä"]
    for query in ("", "?", "?sort=name", "?sort=", "?sort=none", "?sort=namex", "?x=1&sort=name&y", "?sort=%6eame"):
        assert listing(tmp_path, f"/{query}").names == names


@pytest.mark.parametrize(
    "query, first, last",
    [
        ("sort=-name", "ä", "9"),
        ("sort=size", "b", "b10"),
        ("sort=-size", "b10", "b"),
        ("sort=date", "b10", "b"),
        ("sort=-date", "b", "b10"),
    ],
)
def test_sorting(tmp_path: Path, query: str, first: str, last: str) -> None:
    """Directories stay first."""
    sized(tmp_path)
    names = listing(tmp_path, f"/?{query}").names
    assert {name for name in names if name.endswith("/")} == set(names[:4])
    assert (names[4], names[-1]) == (first, last)


def test_equal_ones_are_sorted_by_name(tmp_path: Path) -> None:
    make(tmp_path, "b", "c", "a")
    for query in ("size", "-size", "date", "-date"):
        assert listing(tmp_path, f"/?sort={query}").names == ["a", "b", "c"]


def test_the_columns_sort(tmp_path: Path) -> None:
    """By a link each, and the other way round where that is done already."""
    assert listing(tmp_path).columns == ["?sort=-name", "?sort=-size", "?sort=-date"]
    assert listing(tmp_path, "/?sort=-size").columns == ["?sort=name", "?sort=size", "?sort=-date"]
    assert b'aria-sort="descending"><a href="?sort=size">Size' in fetch(FileServer(tmp_path), "/?sort=-size").content


def test_name_keys() -> None:
    """Whatever there is in a name, there is an order."""
    names = ["1" * 5000, "1" * 4999, "\u0663", "\u00b2", "", "a1b", "a1c", "a01b", "\ud800"]
    assert sorted(names, key=_listing.name_key).index("1" * 4999) < sorted(names, key=_listing.name_key).index(
        "1" * 5000
    )


@pytest.mark.parametrize("query", ["", "?sort=-name", "?sort=size", "?sort=-date"])
def test_sorting_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, query: str) -> None:
    """As few, although that is done in steps."""
    for number in range(60):
        make(tmp_path, f"file {number * 7 % 60}", size=number % 7, modified=MODIFIED + number % 11 * 60)
    few = listing(tmp_path, f"/{query}")
    assert len(few.names) == 60
    for run in (1, 2, 7, 59, 60):
        monkeypatch.setattr(_listing, "_RUN", run)
        many = listing(tmp_path, f"/{query}")
        assert (many.rows, many.links) == (few.rows, few.links)


# --- Many -------------------------------------------------------------------------------------------------------


def test_a_large_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says that it is not all."""
    make(tmp_path, *(f"file {number}" for number in range(120)))
    monkeypatch.setattr(_listing, "make_page", functools.partial(_listing.make_page, most=100))
    page = listing(tmp_path)
    assert len(page.rows) == 100
    assert "There is more in this directory: these are only 100 of its entries." in page.text
    for path in list(tmp_path.iterdir())[:20]:
        path.unlink()
    page = listing(tmp_path)
    assert len(page.rows) == 100
    assert "100 files" in page.text


def test_entries_that_vanish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the name and the look at what it is."""
    make(tmp_path, "stays", "vanishes")
    genuine = os.scandir

    class Vanishing:
        def __init__(self, descriptor: int) -> None:
            self.found = genuine(descriptor)

        def __enter__(self) -> Any:
            return self

        def __exit__(self, *_: object) -> None:
            self.found.close()

        def __iter__(self) -> Any:
            for item in self.found:
                with contextlib.suppress(FileNotFoundError):
                    (tmp_path / "vanishes").unlink()
                yield item

    monkeypatch.setattr(os, "scandir", Vanishing)
    assert listing(tmp_path).names == ["stays"]


# --- In a browser -----------------------------------------------------------------------------------------------

PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Listings in a browser</title></head>
<body><iframe id="wide" width="900" height="600"></iframe><iframe id="narrow" width="360" height="600"></iframe>
<pre id="verdicts"></pre><img src="/barrier" alt="The page is not loaded as long as this is not.">
<script>
function load(id, url) {
    const frame = document.getElementById(id);
    return new Promise(resolve => { frame.onload = () => resolve(frame.contentDocument); frame.src = url; });
}
async function look() {
    const verdicts = {};
    const wide = await load("wide", "/files/");
    const style = (element) => wide.defaultView.getComputedStyle(element);
    const rows = [...wide.querySelectorAll("tbody tr")];
    verdicts.margin = style(wide.body).marginTop;
    verdicts.display = style(rows[0]).display;
    verdicts.links = [];
    for (const row of rows) {
        const link = row.querySelector("a");
        const answer = await fetch(link.href);
        verdicts.links.push([link.textContent, answer.status, (await answer.text()).slice(0, 100)]);
    }
    verdicts.scripts = wide.defaultView.alerted || 0;
    const narrow = await load("narrow", "/files/");
    const page = narrow.documentElement;
    verdicts.overflow = [page.scrollWidth, page.clientWidth];
    verdicts.narrow = narrow.defaultView.getComputedStyle(narrow.querySelector("tbody tr")).display;
    const heights = [...narrow.querySelectorAll("tbody tr")].map(row => row.getBoundingClientRect().height);
    verdicts.tall = Math.min(...heights);
    const sorted = await load("wide", wide.querySelectorAll("th a")[1].href);
    verdicts.largest = sorted.querySelector("tr:not(.d) td").textContent;
    const below = await load("wide", sorted.querySelector("tbody .d a").href);
    verdicts.below = [below.title, below.querySelector("h1").innerText];
    const above = await load("wide", below.querySelector("h1 a").href);
    verdicts.above = above.title;
    return verdicts;
}
look().catch(error => ({failed: String(error)})).then(verdicts => {
    document.getElementById("verdicts").textContent = JSON.stringify(verdicts);
    document.title = "done";
    fetch("/done");
});
</script></body></html>
"""


@pytest.fixture(scope="module")
def found(peer: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the browser has found."""
    program = peer("chromium")
    folder = tmp_path_factory.mktemp("browser")
    root = folder / "root"
    root.mkdir()
    for name in ODD_NAMES:
        (root / name).write_bytes(os.fsencode(name))
    make(root, "below <i>/", "n" * 200, "largest.bin", size=0)
    (root / "largest.bin").write_bytes(bytes(5000))
    app = Application()
    FileServer(root, blacklist=(), hidden=True).attach(app, "/files/")
    app.route("/")(lambda request: PAGE)
    waiting: list[HTTPRequest] = []
    done: list[HTTPRequest] = []

    def open_barrier() -> None:
        while done and waiting:
            waiting.pop().send_response("", 404)

    @app.route("/barrier")
    def barrier(request: HTTPRequest) -> None:
        request.auto_finish = False
        waiting.append(request)
        open_barrier()

    @app.route("/done")
    def end(request: HTTPRequest) -> None:
        done.append(request)
        open_barrier()

    engine = Engine()
    server = HTTPServer(app, engine=engine)
    server.listen(("127.0.0.1", 0))
    try:
        url = f"http://127.0.0.1:{server.local_address[1]}/"
        verdicts, title = browse(program, folder, url, engine, lambda: not server.channels)
        assert title == "done", json.dumps(verdicts)
        return dict(verdicts)
    finally:
        server.close()
        engine.poll(0)
        engine.close()


def test_its_links_work_in_a_browser(found: dict[str, Any]) -> None:
    assert "failed" not in found
    by_text = {text: (status, content) for text, status, content in found["links"]}
    for name in ODD_NAMES:
        assert by_text[_listing.shown(name)] == (200, name.replace("\r\n", "\n"))
    assert by_text["below <i>/"][0] == 200


def test_its_style_is_applied(found: dict[str, Any]) -> None:
    """Which its own policy has to allow."""
    assert (found["margin"], found["display"], found["narrow"]) == ("0px", "table-row", "flex")


def test_it_fits_a_phone(found: dict[str, Any]) -> None:
    """Nothing is wider than the screen, and each line is high enough for a finger."""
    assert found["overflow"][0] <= found["overflow"][1] <= 360
    assert found["tall"] >= 36


def test_it_is_walked_through_in_a_browser(found: dict[str, Any]) -> None:
    assert found["largest"] == "largest.bin"
    assert found["below"] == ["Index of /files/below <i>/", "/files/below <i>/"]
    assert found["above"] == "Index of /files/"
