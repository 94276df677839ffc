"""Listings of large directories: how the turns of an engine are shared among them, and what clients share of them."""

from __future__ import annotations

import errno
import gc
import gzip
import os
import tracemalloc
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pants import Engine
from pants.http import Compression, HTTPRequest, HTTPServer
from pants.testing import MemoryEngine, Peer
from pants.web import Application, _fileserver_listings, _listing
from pants.web._fileserver_listings import Listings
from pants.web.fileserver import FileServer
from tests.web.support import Answer, asking, connected, fetch
from tests.web.test_fileserver_listing import MODIFIED, Page, attached, listing, make


@pytest.fixture(autouse=True)
def no_descriptor_is_left() -> Iterator[None]:
    before = set(os.listdir("/dev/fd"))
    yield
    assert set(os.listdir("/dev/fd")) == before


def many(root: Path, count: int = 60) -> None:
    """Make a directory of files that has not been changed for long."""
    root.mkdir(exist_ok=True)
    make(root, *(f"file {number}" for number in range(count)))
    os.utime(root, (MODIFIED, MODIFIED))


def count_turns(monkeypatch: pytest.MonkeyPatch, then: Callable[[int], object] = lambda count: None) -> list[int]:
    """Have each turn make one step of a listing, and that a short one; count them."""
    monkeypatch.setattr(_fileserver_listings, "_MOST_TIME", 0.0)
    monkeypatch.setattr(_listing, "_STRIDE", 5)
    monkeypatch.setattr(_listing, "_RUN", 20)
    turns = [0]
    go_on = Listings._run

    def counting(self: Listings, engine: Engine) -> None:
        turns[0] += 1
        then(turns[0])
        go_on(self, engine)

    monkeypatch.setattr(Listings, "_run", counting)
    return turns


def count_readings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Note each time that a directory is read."""
    readings: list[str] = []
    genuine = _listing.make_page

    def counting(descriptor: int, place: _listing.Place, *args: Any) -> Any:
        def steps() -> Any:
            try:
                yield
                readings.append("/".join(place.names))
                return (yield from inner)
            finally:
                inner.close()

        inner = genuine(descriptor, place, *args)
        outer = steps()
        next(outer)
        return outer

    monkeypatch.setattr(_listing, "make_page", counting)
    return readings


def at_once(engine: MemoryEngine, peers: list[Peer], *requests: bytes) -> None:
    """Have all send a request in the same turn; the last one given, where there are fewer."""

    def send() -> None:
        for number, peer in enumerate(peers):
            peer.send(requests[min(number, len(requests) - 1)])

    engine.callback(send)
    engine.advance()


# --- Turns ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("in_application", [False, True])
def test_a_large_directory_takes_several_turns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_application: bool
) -> None:
    """Others are served meanwhile; an application does not take it for answered."""
    many(tmp_path)
    with MemoryEngine() as engine:
        handler = attached(tmp_path, "/") if in_application else FileServer(tmp_path)
        web = HTTPServer(handler, engine=engine)
        one, other = engine.accept(web), engine.accept(web)
        received = []

        def then(turn: int) -> None:
            if turn == 3:
                other.send(asking("/file%2059"))
            received.append((turn, bool(other.received), bool(one.received)))

        turns = count_turns(monkeypatch, then)
        one.send(asking("/") + asking("/file%201"))
        assert turns[0] > 10
        assert received[-1][1:] == (True, False)
        head, _, rest = one.received.partition(b"</html>\n")
        assert len(Page(Answer(head + b"</html>\n")).rows) == 60
        assert Answer(rest).status == 200


@pytest.mark.parametrize("how", ["reset", "close"])
def test_a_client_that_goes_away_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    many(tmp_path)
    before = set(os.listdir("/dev/fd"))
    peers: list[Peer] = []
    with MemoryEngine() as engine:
        opened = set(os.listdir("/dev/fd"))
        web = HTTPServer(FileServer(tmp_path), engine=engine)

        def then(turn: int) -> None:
            if turn == 3 and how == "reset":
                peers[0].reset()
            elif turn == 3:
                web.close()

        turns = count_turns(monkeypatch, then)
        peers.append(engine.accept(web))
        peers[0].send(asking("/"))
        assert turns[0] < 10
        assert set(os.listdir("/dev/fd")) == opened
    assert set(os.listdir("/dev/fd")) == before


def test_a_client_that_has_gone_before(tmp_path: Path) -> None:
    make(tmp_path, "file")
    server = FileServer(tmp_path)
    with MemoryEngine() as engine:

        def handler(request: HTTPRequest) -> None:
            engine.defer(5, server, request)

        web = HTTPServer(handler, engine=engine)
        before = set(os.listdir("/dev/fd"))
        for path in ("/", "/file", "/none"):
            peer = engine.accept(web)
            peer.send(asking(path))
            peer.reset()
        engine.advance(10)
        assert set(os.listdir("/dev/fd")) == before


def test_a_directory_that_changes_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = tmp_path / "directory"
    many(directory)

    def then(turn: int) -> None:
        if turn == 3:
            for file in directory.iterdir():
                file.unlink()
            directory.rmdir()

    count_turns(monkeypatch, then)
    page = listing(tmp_path, "/directory/")
    assert 0 < len(page.rows) < 62


@pytest.mark.parametrize("turn", [1, 3])
def test_a_directory_that_cannot_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, expect_log: Any, turn: int
) -> None:
    """At its beginning, or further on."""
    expect_log("Input/output error")
    many(tmp_path)
    turns = count_turns(monkeypatch)
    genuine = os.scandir

    class Failing:
        def __init__(self, descriptor: int) -> None:
            self.found = genuine(descriptor)

        def __enter__(self) -> Any:
            return self

        def __exit__(self, *_: object) -> None:
            self.found.close()

        def __iter__(self) -> Any:
            for item in self.found:
                if turns[0] >= turn:
                    raise OSError(errno.EIO, os.strerror(errno.EIO))
                yield item

    monkeypatch.setattr(os, "scandir", Failing)
    assert fetch(FileServer(tmp_path), "/").status == 503


def test_a_mistake_of_ours_is_no_request_that_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, expect_log: Any
) -> None:
    """At once, or in a later turn; for each that waits."""
    expect_log("ZeroDivisionError")
    many(tmp_path)

    def failing(entry: object, links_all: bool) -> str:
        raise ZeroDivisionError

    monkeypatch.setattr(_listing, "_row", failing)
    assert fetch(FileServer(tmp_path), "/").status == 500
    count_turns(monkeypatch)
    with MemoryEngine() as engine:
        web = HTTPServer(FileServer(tmp_path), engine=engine)
        peers = [engine.accept(web) for _ in range(3)]
        at_once(engine, peers, asking("/"))
        assert [Answer(peer.received).status for peer in peers] == [500] * 3


def test_an_interrupt_is_no_request_that_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, expect_log: Any
) -> None:
    """Ctrl-C leaves the loop; when it goes on, so do the others."""
    expect_log("was interrupted")
    many(tmp_path)
    many(tmp_path / "other")
    count_turns(monkeypatch)
    genuine = _listing._row

    def interrupted(*args: Any) -> str:
        monkeypatch.setattr(_listing, "_row", genuine)
        raise KeyboardInterrupt

    monkeypatch.setattr(_listing, "_row", interrupted)
    with MemoryEngine() as engine:
        web = HTTPServer(FileServer(tmp_path), engine=engine)
        peers = [engine.accept(web) for _ in range(2)]
        with pytest.raises(KeyboardInterrupt):
            at_once(engine, peers, asking("/"), asking("/other/"))
        engine.advance()
        assert [Answer(peer.received).status for peer in peers] in ([500, 200], [200, 500])


class Steps:
    """Pages that are made in steps of 1 ms each, on a clock of their own.

    Attributes:
        now: Seconds on the clock.
        running: The names of those that are begun and not finished.
        most: How many that was at most.
        spent: For each turn, how long pages were made in it, in ms.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, lengths: dict[str, int]) -> None:
        self.now = 0.0
        self.running: set[str] = set()
        self.most = 0
        self.spent: list[float] = []
        self._lengths = lengths
        monkeypatch.setattr(_fileserver_listings, "time", SimpleNamespace(perf_counter=lambda: self.now))
        monkeypatch.setattr(_listing, "make_page", self._make_page)

    def _make_page(self, descriptor: int, place: _listing.Place, *_: object) -> Any:
        os.close(descriptor)
        return self._make(place.names[0])

    def _make(self, name: str) -> Any:
        for _ in range(self._lengths[name]):
            self.running.add(name)
            self.most = max(self.most, len(self.running))
            self.now += 0.001
            yield
        self.running.discard(name)
        return name.encode()

    def watch(self, engine: MemoryEngine) -> None:
        """Note how much of each turn is taken."""
        before = self.now

        def look() -> None:
            nonlocal before
            self.spent.append(round((self.now - before) * 1000))
            before = self.now

        engine.loop(look)


def test_all_listings_together_have_a_part_of_each_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And no more than a few are being made at the same time."""
    names = [f"d{number}" for number in range(30)]
    make(tmp_path, *(f"{name}/" for name in names))
    steps = Steps(monkeypatch, dict.fromkeys(names, 20))
    with MemoryEngine() as engine:
        web = HTTPServer(FileServer(tmp_path), engine=engine)
        peers = [engine.accept(web) for _ in names]
        steps.watch(engine)
        at_once(engine, peers, *(asking(f"/{name}/") for name in names))
        assert [Answer(peer.received).content.decode() for peer in peers] == names
        assert sum(steps.spent) == 600
        # In one of them, some were begun by the turn itself, and then by what was left for it.
        assert max(steps.spent) <= 11
        assert len([spent for spent in steps.spent if spent > 6]) <= 1
        assert steps.most <= 5


def test_a_short_listing_does_not_wait_for_a_long_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "long/", "short/")
    Steps(monkeypatch, {"long": 1000, "short": 30})
    with MemoryEngine() as engine:
        web = HTTPServer(FileServer(tmp_path), engine=engine)
        long, short = engine.accept(web), engine.accept(web)
        turns = 0

        def look() -> None:
            nonlocal turns
            if not short.received:
                turns += 1
                assert not long.received

        engine.loop(look)
        at_once(engine, [long, short], asking("/long/"), asking("/short/"))
        assert Answer(long.received).content == b"long"
        assert turns < 20


def test_a_small_listing_is_answered_at_once(tmp_path: Path) -> None:
    """So that it can be had where nothing can be answered later, and is always up to date."""
    many(tmp_path, 3)
    server = FileServer(tmp_path)
    answered = []

    def handler(request: HTTPRequest) -> None:
        server(request)
        answered.append(request.finished)

    with connected(handler) as (_, peer):
        for size in (1, 2):
            (tmp_path / "file 0").write_bytes(bytes(size))
            os.utime(tmp_path, (MODIFIED, MODIFIED))
            peer.take()
            peer.send(asking("/"))
            assert ["file 0", f"{size} B"] in [row[:2] for row in Page(Answer(peer.received)).rows]
    assert answered == [True, True]


def test_a_large_listing_under_wsgi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes turns, but nothing else is waited for."""
    turns = count_turns(monkeypatch)
    many(tmp_path)
    started: list[Any] = []
    environ: dict[str, Any] = {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/static/",
        "SERVER_NAME": "a",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi.url_scheme": "http",
        "wsgi.input": None,
    }
    app = attached(tmp_path, "/static/")
    output: Any = app.wsgi(environ, lambda *args: started.append(args))
    assert b"file 59" in b"".join(output)
    output.close()
    assert started[0][0] == "200 OK"
    assert turns[0] > 10


# --- Pages that are shared --------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_page_is_made_once_for_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    """While it is being made, and for a second more."""
    many(tmp_path)
    count_turns(monkeypatch)
    readings = count_readings(monkeypatch)
    with MemoryEngine() as engine:
        web = HTTPServer(attached(tmp_path, "/"), engine=engine)
        peers = [engine.accept(web) for _ in range(20)]
        at_once(engine, peers, asking("/", method))
        answers = [Answer(peer.take(), method) for peer in peers]
        assert len({answer.content for answer in answers}) == 1
        if method == "GET":
            assert len(Page(answers[0]).rows) == 60
        assert {answer.headers["Content-Length"] for answer in answers} == {
            fetch(FileServer(tmp_path), "/").headers["Content-Length"]
        }
        del readings[1:]
        engine.advance(0.9)
        peers[0].send(asking("/", method))
        assert Answer(peers[0].take(), method).content == answers[0].content
        assert len(readings) == 1
        engine.advance(0.2)
        peers[0].send(asking("/", method))
        assert Answer(peers[0].take(), method).content == answers[0].content
        assert len(readings) == 2


def test_a_page_is_not_shared_where_the_directory_has_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither while the page is being made, nor afterwards."""
    many(tmp_path)
    with MemoryEngine() as engine:
        web = HTTPServer(FileServer(tmp_path), engine=engine)
        first, second, third = (engine.accept(web) for _ in range(3))

        def then(turn: int) -> None:
            if turn == 3:
                (tmp_path / "second").touch()
                second.send(asking("/"))

        count_turns(monkeypatch, then)
        first.send(asking("/"))
        assert "second" in Page(Answer(second.received)).names
        (tmp_path / "third").touch()
        third.send(asking("/"))
        assert "third" in Page(Answer(third.received)).names
        # Changed at the very same time as far as the system tells.
        (tmp_path / "fourth").touch()
        third.take()
        third.send(asking("/"))
        assert "fourth" in Page(Answer(third.received)).names


def test_different_pages_are_not_shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another order, another place, another FileServer."""
    many(tmp_path, 30)
    (tmp_path / "link").symlink_to(".")
    os.utime(tmp_path, (MODIFIED, MODIFIED))
    count_turns(monkeypatch)
    app = Application()
    FileServer(tmp_path).attach(app, "/a/")
    FileServer(tmp_path).attach(app, "/<name>/")
    FileServer(tmp_path, blacklist=["file 1"]).attach(app, "/c/")
    paths = ["/a/", "/a/?sort=-name", "/a/?sort=size", "/a/link/", "/b/", "/c/", "/d/"]
    with MemoryEngine() as engine:
        web = HTTPServer(app, engine=engine)
        peers = [engine.accept(web) for _ in paths]
        at_once(engine, peers, *map(asking, paths))
        alone = [fetch(app, path).content for path in paths]
        assert [Answer(peer.received).content for peer in peers] == alone
        assert len(set(alone)) == len(paths)


def test_hooks_and_headers_are_each_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    many(tmp_path)
    count_turns(monkeypatch)
    app = attached(tmp_path, "/files/", headers={"X-Files": "yes"})

    @app.after
    def after(request: HTTPRequest, head: Any) -> None:
        head.headers["X-Name"] = request.headers["X-Name"]

    with MemoryEngine() as engine:
        web = HTTPServer(app, engine=engine)
        peers = [engine.accept(web) for _ in range(3)]
        at_once(engine, peers, *(asking("/files/", headers={"X-Name": str(number)}) for number in range(3)))
        for number, peer in enumerate(peers):
            answer = Answer(peer.received)
            assert (answer.headers["X-Name"], answer.headers["X-Files"]) == (str(number), "yes")
            assert answer.headers["Content-Type"] == "text/html; charset=utf-8"


def test_memory_does_not_grow_with_the_clients(tmp_path: Path) -> None:
    """They take nothing yet of what they have asked for."""
    many(tmp_path, 600)
    with MemoryEngine() as engine:
        web = HTTPServer(FileServer(tmp_path), engine=engine)
        peers = [engine.accept(web) for _ in range(50)]
        peers[0].send(asking("/"))  # what is made on the first occasion
        page = Answer(peers[0].take()).content
        assert len(page) > 70_000
        engine.advance(2)
        for peer in peers:
            peer.window = 0
        tracemalloc.start()
        try:
            at_once(engine, peers, asking("/"))
            grown, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert len(page) < grown < 3 * len(page)
        assert most < 12 * len(page)
        for peer in peers:
            peer.window = None
            assert Answer(peer.take()).content == page


def test_pages_are_kept_up_to_a_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    many(tmp_path)
    many(tmp_path / "other")
    os.utime(tmp_path, (MODIFIED, MODIFIED))
    count_turns(monkeypatch)
    readings = count_readings(monkeypatch)
    monkeypatch.setattr(_fileserver_listings, "_MOST_KEPT", 15_000)  # enough for one
    with connected(FileServer(tmp_path)) as (_, peer):
        for path in ("/", "/", "/other/", "/other/", "/"):
            peer.take()
            peer.send(asking(path))
            assert 8_000 < len(peer.received) < 15_000
    assert readings == ["", "other", ""]


@pytest.mark.parametrize("count", [20, 600])
def test_a_compressed_page_is_shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """By those who take it; it is compressed in steps if it is large."""
    many(tmp_path, count)
    plain = fetch(FileServer(tmp_path), "/").content
    turns = count_turns(monkeypatch)
    made = []
    genuine = _fileserver_listings._compress

    def counting(*args: Any) -> Any:
        steps = genuine(*args)

        def outer() -> Any:
            made.append(args[1])
            return (yield from steps)

        return outer()

    monkeypatch.setattr(_fileserver_listings, "_compress", counting)
    accept = {"Accept-Encoding": "gzip"}
    with MemoryEngine() as engine:
        web = HTTPServer(FileServer(tmp_path), engine=engine, compression=Compression(codings=["gzip"]))
        peers = [engine.accept(web) for _ in range(4)]
        requests = [asking("/", headers=accept), asking("/"), asking("/", "HEAD", headers=accept)]
        at_once(engine, peers, *requests, requests[0])
        coded, uncoded, head, again = (
            Answer(peer.received, method) for peer, method in zip(peers, ("GET", "GET", "HEAD", "GET"), strict=True)
        )
        assert made == ["gzip"]
        assert turns[0] > len(plain) // 65536
        assert uncoded.content == plain
        assert gzip.decompress(coded.content) == gzip.decompress(again.content) == plain
        for answer in (coded, again, head):
            assert answer.headers["Content-Encoding"] == "gzip"
            assert answer.headers.get_all("Content-Type") == ["text/html; charset=utf-8"]
        assert {answer.headers["Vary"] for answer in (coded, uncoded, head)} == {"Accept-Encoding"}
        assert head.headers["Content-Length"] is None


# --- Clients that go away ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["end", "close", "reset"])
def test_what_nobody_waits_for_is_not_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    """Who ends its side while it waits is taken for one that has gone away; the connection is closed."""
    many(tmp_path)
    with MemoryEngine() as engine:
        web = HTTPServer(attached(tmp_path, "/"), engine=engine)
        peer = engine.accept(web)

        def then(turn: int) -> None:
            if turn == 3:
                getattr(peer, how)()

        turns = count_turns(monkeypatch, then)
        opened = set(os.listdir("/dev/fd"))
        peer.send(asking("/"))
        assert turns[0] < 10
        assert set(os.listdir("/dev/fd")) == opened
        assert not web.channels
        if how != "close":
            assert not peer.received


def test_what_somebody_waits_for_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For the others, and those who wait for other pages."""
    many(tmp_path)
    many(tmp_path / "other", 30)
    os.utime(tmp_path, (MODIFIED, MODIFIED))
    readings = count_readings(monkeypatch)
    with MemoryEngine() as engine:
        web = HTTPServer(FileServer(tmp_path), engine=engine)
        peers = [engine.accept(web) for _ in range(4)]

        def then(turn: int) -> None:
            if turn == 3:
                peers[0].end()
                peers[1].reset()

        count_turns(monkeypatch, then)
        at_once(engine, peers, asking("/"), asking("/?sort=size"), asking("/"), asking("/other/"))
        assert len(Page(Answer(peers[2].received)).rows) == 61
        assert len(Page(Answer(peers[3].received)).rows) == 31
        assert not peers[0].received
        assert sorted(readings) in (["", "", "other"], ["", "other"])


def test_an_application_that_wants_to_know_of_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It decides by itself."""
    many(tmp_path)
    app = attached(tmp_path, "/")
    told = []

    @app.before
    def before(request: HTTPRequest) -> None:
        request.on_end = lambda: told.append(request.path)

    with connected(app) as (_, peer):

        def then(turn: int) -> None:
            if turn == 3:
                peer.end()

        count_turns(monkeypatch, then)
        peer.send(asking("/"))
        assert told == ["/"]
        assert len(Page(Answer(peer.received)).rows) == 60


# --- Engines ----------------------------------------------------------------------------------------------------


def test_each_engine_has_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    many(tmp_path)
    count_turns(monkeypatch)
    readings = count_readings(monkeypatch)
    server = FileServer(tmp_path)
    pages = {fetch(server, "/").content for _ in range(3)}
    assert (len(pages), len(readings)) == (1, 3)


def test_an_engine_that_is_closed_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of it is left, nor of the pages that were being made or kept."""
    many(tmp_path)
    count_turns(monkeypatch)
    server = FileServer(tmp_path)
    engine = MemoryEngine()
    web = HTTPServer(server, engine=engine)
    peers = [engine.accept(web) for _ in range(3)]
    peers[0].send(asking("/"))
    assert Answer(peers[0].received).status == 200
    for peer in peers:
        engine.callback(peer.send, asking("/?sort=size"))
    for _ in range(4):
        engine.poll(0)
    assert not any(peer.take() for peer in peers[1:])
    engine.close()
    listings = _fileserver_listings.listings_of(engine)
    assert (listings._work, list(listings._ready)) == ({}, [])
    left: list[weakref.ref[object]] = [weakref.ref(engine), weakref.ref(web)]
    del engine, web, peers, peer, listings
    gc.collect()
    assert [reference() for reference in left] == [None, None]


def test_a_request_that_waited_leaves_no_cycle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    many(tmp_path)
    turns = count_turns(monkeypatch)
    server = FileServer(tmp_path)
    requests: list[weakref.ref[HTTPRequest]] = []

    def handler(request: HTTPRequest) -> None:
        requests.append(weakref.ref(request))
        server(request)

    with connected(handler) as (_, peer):
        gc.collect()
        gc.disable()
        try:
            peer.send(asking("/"))
            assert Answer(peer.received).status == 200
            assert [reference() for reference in requests] == [None]
        finally:
            gc.enable()
    assert turns[0] > 10
