"""Bodies and forms that are too long for memory (manual: "body", "files"): on disk as they arrive, and off it again."""

from __future__ import annotations

import contextlib
import gc
import os
import random
import re
import stat
import subprocess
import sys
import tempfile
import textwrap
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pants.http import HTTPRequest, Limits
from pants.testing import Peer
from tests.http.support import CHUNKED, Site, get, post, site, take_apart

URLENCODED = b"Content-Type: application/x-www-form-urlencoded"
MULTIPART = b"Content-Type: multipart/form-data; boundary=b"
SPOOL = 5000
LIMITS = Limits(spool_size=SPOOL)
# Sizes around the longest body that is kept in memory.
SIZES = [0, 1, SPOOL - 1, SPOOL, SPOOL + 1, 3 * SPOOL]

DATA = random.Random(1).randbytes(4 * SPOOL)  # with line ends and all else in it


def temporary_files() -> int:
    """How many files this process has open that are in no directory (any more)."""
    count = 0
    for name in os.listdir("/dev/fd"):
        with contextlib.suppress(OSError):  # the descriptor that listed them
            status = os.fstat(int(name))
            count += stat.S_ISREG(status.st_mode) and status.st_nlink == 0
    return count


@pytest.fixture(autouse=True)
def no_leaked_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fails the test if it leaves a temporary file open, or in its directory.

    One that was dropped without being closed is found as well: it gives a ResourceWarning when it is collected.
    """
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = temporary_files()
    yield
    assert temporary_files() == before
    assert not list(tmp_path.iterdir())


def whole(request: HTTPRequest) -> None:
    """Answer with the body."""
    request.send_response(request.body, content_type="application/octet-stream")


def in_chunks(data: bytes, size: int = 1000) -> bytes:
    """A body as RFC 9112 §7.1 has it."""
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def upload(body: bytes, *fields: bytes, chunked: bool = False, method: bytes = b"POST") -> bytes:
    """A request with a body of either framing."""
    framing = CHUNKED if chunked else b"Content-Length: %d" % len(body)
    return get(framing, *fields, line=method + b" / HTTP/1.1") + (in_chunks(body) if chunked else body)


def part(name: bytes, content: bytes, filename: bytes | None = None) -> bytes:
    """A part of a multipart form whose boundary is b."""
    file = b"" if filename is None else b'; filename="%b"\r\nContent-Type: image/png' % filename
    return b'--b\r\nContent-Disposition: form-data; name="%b"%b\r\n\r\n%b\r\n' % (name, file, content)


def multipart(*parts: bytes) -> bytes:
    return b"".join(parts) + b"--b--\r\n"


# A form longer than SPOOL, and what is in it.
LONG_FORM = multipart(
    part(b"field", b"before"),
    part(b"file", DATA, b"a.png"),
    part(b"file", b"small", b"b.png"),
    part(b"field", b"behind"),
)


def current(web: Site) -> HTTPRequest:
    """The request that is arriving."""
    [connection] = web.server.channels.values()
    request: HTTPRequest | None = connection.current_request  # type: ignore[attr-defined]
    assert request is not None
    return request


both_framings = pytest.mark.parametrize("chunked", [False, True])


# --- Bodies -----------------------------------------------------------------------------------------------------


@both_framings
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("cut", [None, 7])
def test_a_body_is_what_was_sent(size: int, chunked: bool, cut: int | None) -> None:
    """Manual: "body": the entire request body, not processed in any way."""
    with site(whole, limits=LIMITS) as web:
        [answer] = web.ask(upload(DATA[:size], chunked=chunked), chunk=cut)
        assert answer.content == DATA[:size]


@both_framings
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("fields", [(), (URLENCODED,)])
def test_beyond_a_size_it_is_on_disk_as_it_arrives(size: int, chunked: bool, fields: tuple[bytes, ...]) -> None:
    """`Limits.spool_size`: a body longer than this many bytes is kept on disk instead of in memory."""
    on_disk: list[int] = []

    def handler(request: HTTPRequest) -> None:
        on_disk.append(temporary_files())
        assert request.body == request.body_file.read() == DATA[:size]
        request.send_response("")

    before = temporary_files()
    with site(handler, limits=LIMITS) as web:
        peer = web.connect()
        data = upload(DATA[:size], *fields, chunked=chunked)
        peer.send(data[:-6], chunk=500)  # without the end of either framing
        meanwhile = temporary_files()
        peer.send(data[-6:])
        assert [count - before for count in on_disk] == [int(size > SPOOL)]
        if size > SPOOL + 6:
            assert meanwhile - before == 1
        assert temporary_files() == before  # the request is finished
        assert not list(Path(tempfile.gettempdir()).iterdir())


@pytest.mark.parametrize("size", [0, 10, 2 * SPOOL])
def test_body_file(size: int) -> None:
    """It is at the start each time, and can be read piece by piece."""

    def handler(request: HTTPRequest) -> None:
        file = request.body_file
        assert file.read(3) == DATA[:3][:size]
        assert request.body == DATA[:size]
        assert file.read(3) == DATA[3:6][: max(0, size - 3)]  # that has not moved it
        assert request.body_file.read() == DATA[:size]
        file = request.body_file
        assert file.seek(0, os.SEEK_END) == size
        request.send_response("")

    with site(handler, limits=LIMITS) as web:
        assert [answer.status for answer in web.ask(upload(DATA[:size]))] == [200]


@pytest.mark.parametrize("size", [10, 2 * SPOOL])
def test_body_file_may_be_closed(size: int) -> None:
    """As a program does that opens files by `with`. The body is there all the same, wherever it is kept."""

    def handler(request: HTTPRequest) -> None:
        with request.body_file as file:
            assert file.read() == DATA[:size]
        with request.body_file as file:
            assert file.read() == DATA[:size]
        assert request.body == DATA[:size]
        request.send_response("")

    with site(handler, limits=LIMITS) as web:
        assert [answer.status for answer in web.ask(upload(DATA[:size]))] == [200]


def test_a_body_in_memory_outlives_the_request() -> None:
    with site(limits=LIMITS) as web:
        web.ask(upload(DATA[:SPOOL]))
        assert web.requests[0].body == DATA[:SPOOL]


def test_a_body_on_disk_is_removed_with_the_request() -> None:
    """And whoever asks for it too late is told so."""
    with site(limits=LIMITS) as web:
        web.ask(upload(DATA))
        for name in ("body", "body_file"):
            with pytest.raises(RuntimeError, match="finished"):
                getattr(web.requests[0], name)


def test_each_request_of_a_connection_has_its_own_body() -> None:
    bodies = [DATA[:10], DATA, b"", DATA[5:], DATA[: SPOOL + 1]]
    with site(whole, limits=LIMITS) as web:
        for chunked in (False, True):
            answers = web.ask(b"".join(upload(body, chunked=chunked) for body in bodies))
            assert [answer.content for answer in answers] == bodies


def test_a_body_is_on_disk_until_the_answer_is_given() -> None:
    """Manual: it is not required to finish responding to a request within the request handler."""
    before = temporary_files()
    with site(lambda request: None, limits=LIMITS) as web:
        peer = web.connect()
        peer.send(upload(DATA))
        assert temporary_files() == before + 1
        [request] = web.requests
        web.engine.callback(whole, request)
        web.engine.advance(0)
        assert temporary_files() == before
        assert [answer.content for answer in take_apart(peer.received)] == [DATA]


def test_a_default_is_used_for_ordinary_bodies() -> None:
    """`Limits.spool_size`: 1 MiB by default."""
    on_disk: list[int] = []

    def handler(request: HTTPRequest) -> None:
        on_disk.append(temporary_files())
        request.send_response("")

    before = temporary_files()
    with site(handler) as web:
        for size in (1 << 20, (1 << 20) + 1):
            web.ask(upload(b"a" * size))
        assert [count - before for count in on_disk] == [0, 1]


@both_framings
def test_max_request(chunked: bool) -> None:
    """Manual: "max_request": the maximum allowed length of a body; a default of 10 MiB."""
    with site(max_request=SPOOL * 2, limits=LIMITS) as web:
        assert [answer.status for answer in web.ask(upload(DATA[: SPOOL * 2], chunked=chunked))] == [200]
        assert [answer.status for answer in web.ask(upload(DATA[: SPOOL * 2 + 1], chunked=chunked))] == [413]
        assert len(web.requests) == 1
        assert web.server.counters.refused == {413: 1}
    with site() as web:
        head = post(b"", b"Content-Length: %d")
        peer = web.connect()
        peer.send(head % 10485761)
        assert peer.received.startswith(b"HTTP/1.1 413 ")  # before any of it has come
        peer = web.connect()
        peer.send(head % 10485760)
        assert peer.received == b""


# --- Forms ------------------------------------------------------------------------------------------------------


@both_framings
@pytest.mark.parametrize("method", [b"POST", b"PUT"])
@pytest.mark.parametrize("cut", [None, 1, 1000])
def test_a_long_form_is_taken_apart_as_it_arrives(chunked: bool, method: bytes, cut: int | None) -> None:
    """Manual: "files": "stored to disk as temporary files as they're received to reduce memory utilization"."""
    found: list[Any] = []

    def handler(request: HTTPRequest) -> None:
        files = request.files["file"]
        found.append(
            [(file["filename"], file["content_type"], file["file"].read(), file["body"]) for file in files],
        )
        found.append(request.post)
        assert list(request.files) == ["file"]
        request.send_response("")

    before = temporary_files()
    with site(handler, limits=LIMITS) as web:
        peer = web.connect()
        data = upload(LONG_FORM, MULTIPART, chunked=chunked, method=method)
        peer.send(data[:-40], cut)
        assert temporary_files() == before + 1  # one, however many files there are
        peer.send(data[-40:], cut)
        assert temporary_files() == before
        assert peer.received.startswith(b"HTTP/1.1 200 ")
    assert found == [
        [("a.png", "image/png", DATA, DATA), ("b.png", "image/png", b"small", b"small")],
        {"field": ["before", "behind"]},
    ]


@both_framings
def test_the_body_of_a_long_form_is_not_kept(chunked: bool) -> None:
    """It is taken apart; and the error names the remedy."""
    raised: list[str] = []

    def handler(request: HTTPRequest) -> None:
        for name in ("body", "body_file"):
            with pytest.raises(RuntimeError) as caught:
                getattr(request, name)
            raised.append(str(caught.value))
        request.send_response("")

    with site(handler, limits=LIMITS) as web:
        web.ask(upload(LONG_FORM, MULTIPART, chunked=chunked))
    assert len(raised) == 2
    for text in raised:
        assert "spool_size" in text
        assert "files" in text


@both_framings
def test_the_body_of_a_short_form_is_kept(chunked: bool) -> None:
    """Manual: "body": entire, not processed in any way; up to the size from which on it is taken apart."""
    body = multipart(part(b"file", b"x" * 1000, b"a"), part(b"field", b"1"))
    body = body.replace(b"x" * 1000, b"x" * (1000 + SPOOL - len(body)))
    assert len(body) == SPOOL

    def handler(request: HTTPRequest) -> None:
        assert request.body == body
        assert request.files["file"][0]["body"].strip(b"x") == b""
        assert request.post == {"field": ["1"]}
        assert request.body == body
        request.send_response("")

    with site(handler, limits=LIMITS) as web:
        assert [answer.status for answer in web.ask(upload(body, MULTIPART, chunked=chunked))] == [200]


@pytest.mark.parametrize("method", [b"PATCH", b"DELETE", b"GET"])
def test_other_methods_have_bodies_and_no_forms(method: bytes) -> None:
    """Manual: "For security, this variable is only populated if the method is POST or PUT"."""

    def handler(request: HTTPRequest) -> None:
        assert request.files == {}
        assert request.post == {}
        request.send_response(request.body)

    with site(handler, limits=LIMITS) as web:
        [answer] = web.ask(upload(LONG_FORM, MULTIPART, method=method))
        assert answer.content == LONG_FORM
        [answer] = web.ask(upload(b"malformed" * SPOOL, MULTIPART, method=method))
        assert answer.content == b"malformed" * SPOOL


@both_framings
def test_a_long_urlencoded_form(chunked: bool) -> None:
    """It has no files, so it is parsed when it is asked for, as far as `Limits.form_memory` allows."""
    body = b"a=" + b"b" * 2 * SPOOL + b"&c=d"

    def handler(request: HTTPRequest) -> None:
        assert request.post == {"a": ["b" * 2 * SPOOL], "c": ["d"]}
        assert request.body == body
        request.send_response("")

    with site(handler, limits=LIMITS) as web:
        assert [answer.status for answer in web.ask(upload(body, URLENCODED, chunked=chunked))] == [200]


@both_framings
def test_a_urlencoded_form_that_is_too_long(chunked: bool) -> None:
    """Its fields would be in memory: 413 where it is asked for, and the connection goes on."""
    limits = Limits(spool_size=SPOOL, form_memory=2 * SPOOL)
    with site(lambda request: request.post.get("a"), limits=limits) as web:
        body = b"a=" + b"b" * 2 * SPOOL
        answers = web.ask(upload(body, URLENCODED, chunked=chunked) * 2)
        assert [answer.status for answer in answers] == [413, 413]


def test_files_are_closed_when_the_request_is_finished() -> None:
    """A file of a form can be read until then."""
    with site(lambda request: request.send_response(str(len(request.files["file"]))), limits=LIMITS) as web:
        web.ask(upload(LONG_FORM, MULTIPART))
        first, second = web.requests[0].files["file"]
        with pytest.raises(RuntimeError, match="removed"):
            first["file"].read()
        with pytest.raises(RuntimeError, match="removed"):
            second["body"]


def test_a_short_form_can_be_read_later() -> None:
    """Nothing of it is on disk, so that it is as good as `body`."""

    def handler(request: HTTPRequest) -> None:
        request.files["file"][0]["file"].read(1)
        request.send_response("")

    with site(handler, limits=LIMITS) as web:
        web.ask(upload(multipart(part(b"file", b"content", b"a")), MULTIPART))
        [file] = web.requests[0].files["file"]
        assert (file["file"].read(), file["body"]) == (b"ontent", b"content")


@both_framings
def test_a_short_form_that_is_asked_for_behind_the_answer(chunked: bool) -> None:
    """Its body is in memory and outlives the request; then there is nothing that anyone would have to close."""
    with site(limits=LIMITS) as web:
        web.ask(upload(multipart(part(b"file", b"content", b"a"), part(b"b", b"c")), MULTIPART, chunked=chunked))
        [request] = web.requests
        assert request.post == {"b": ["c"]}
        assert request.files["file"][0]["body"] == b"content"
    del request
    web.requests.clear()
    gc.collect()


def test_a_body_that_the_program_has_set() -> None:
    """By decoding it, say. It is in memory already, and leaves nothing that would have to be closed."""

    def handler(request: HTTPRequest) -> None:
        request.body = request.body[::-1]
        assert request.body_file.read() == DATA
        request.send_response("")
        assert request.body_file.read() == request.body == DATA

    with site(handler, limits=LIMITS) as web:
        assert [answer.status for answer in web.ask(upload(DATA[::-1]))] == [200]
    web.requests.clear()
    gc.collect()


@both_framings
@pytest.mark.parametrize("size", [10, SPOOL - 200])
def test_a_form_that_nobody_asks_for(chunked: bool, size: int) -> None:
    body = multipart(part(b"file", b"x" * size, b"a"))
    with site(limits=LIMITS) as web:
        for data in (upload(body, MULTIPART, chunked=chunked), upload(LONG_FORM, MULTIPART, chunked=chunked)):
            assert [answer.status for answer in web.ask(data * 2)] == [200, 200]


# What is malformed, and the status. Each begins with a long file, so that it is taken apart as it arrives.
FILE = part(b"file", DATA, b"a")
REFUSED: dict[str, tuple[bytes, Limits, int]] = {
    "headers of a part": (FILE + b"--b\r\nno header\r\n\r\n", LIMITS, 400),
    "a part without a name": (FILE + b"--b\r\nContent-Disposition: form-data\r\n\r\n", LIMITS, 400),
    "garbage behind a boundary": (FILE + b"--bgarbage\r\n\r\n", LIMITS, 400),
    "too many parts": (FILE + part(b"a", b"", b"b") * 3, Limits(spool_size=SPOOL, multipart_parts=3), 413),
    "too many fields": (FILE + part(b"a", b"") * 3, Limits(spool_size=SPOOL, form_fields=2), 413),
    "fields that are too long": (FILE + part(b"a", b"b" * 100), Limits(spool_size=SPOOL, form_memory=99), 413),
    "headers of a part that are too long": (
        FILE + part(b"a" * 100, b""),
        Limits(spool_size=SPOOL, part_headers=99),
        431,
    ),
}


@both_framings
@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("cut", [None, 3])
def test_a_long_form_is_refused_while_it_arrives(name: str, chunked: bool, cut: int | None) -> None:
    """As soon as it is known to be bad, however much is still to come; nothing of it stays."""
    body, limits, status = REFUSED[name]
    before = temporary_files()
    with site(limits=limits) as web:
        peer = web.connect()
        with contextlib.suppress(ConnectionError):
            peer.send(upload(body + part(b"rest", b"r" * 10000), MULTIPART, chunked=chunked)[:-10000], cut)
        assert [answer.status for answer in take_apart(peer.received)] == [status]
        assert peer.ended
        assert not web.requests
        assert web.server.counters.refused == {status: 1}
        assert temporary_files() == before


@both_framings
def test_a_long_form_that_has_no_end(chunked: bool) -> None:
    """RFC 2046 §5.1.1: the last part is followed by the boundary and two hyphens."""
    with site(limits=LIMITS) as web:
        peer = web.connect()
        peer.send(upload(FILE, MULTIPART, chunked=chunked))
        assert [answer.status for answer in take_apart(peer.received)] == [400]
        assert not web.requests


def test_a_long_form_without_a_boundary_is_refused_by_its_head() -> None:
    """So a client that waits for 100 (RFC 9110 §10.1.1) need not send it."""
    head = get(
        b"Content-Length: 10000",
        b"Expect: 100-continue",
        b"Content-Type: multipart/form-data",
        line=b"POST / HTTP/1.1",
    )
    with site(limits=LIMITS) as web:
        assert [answer.status for answer in web.ask(head)] == [400]
        assert not web.requests


# --- Ends -------------------------------------------------------------------------------------------------------

BODIES = {
    "a body": upload(DATA),
    "a body in chunks": upload(DATA, chunked=True),
    "a form": upload(LONG_FORM, MULTIPART),
    "a form in chunks": upload(LONG_FORM, MULTIPART, chunked=True),
    "a short form in chunks": upload(multipart(part(b"f", b"x" * 3000, b"a")), MULTIPART, chunked=True),
}

any_body = pytest.mark.parametrize("name", BODIES)


@any_body
@pytest.mark.parametrize("way", ["end", "reset"])
@pytest.mark.parametrize("left", [20, 2000])
def test_a_connection_that_dies_midway(name: str, way: str, left: int) -> None:
    """Nothing of the request is left then, not even where the program keeps it."""
    told: list[int] = []
    before = temporary_files()

    def head_handler(request: HTTPRequest) -> None:
        kept.append(request)
        request.on_close = lambda: told.append(temporary_files())

    kept: list[HTTPRequest] = []
    with site(limits=LIMITS, head_handler=head_handler) as web:
        peer = web.connect()
        peer.send(BODIES[name][:-left])
        getattr(peer, way)()
        web.engine.advance(0)
        assert temporary_files() == before
        assert told == [before]
        assert not web.requests
        assert not web.server.channels


@any_body
def test_a_connection_that_dies_before_the_answer(name: str) -> None:
    def later(request: HTTPRequest) -> None:
        assert request.post is not None

    before = temporary_files()
    with site(later, limits=LIMITS) as web:
        peer = web.connect()
        peer.send(BODIES[name])
        peer.reset()
        web.engine.advance(0)
        assert temporary_files() == before
        web.requests[0].send_response("too late")  # DESIGN §3: to a client that has gone, a no-op


@any_body
def test_a_server_that_closes(name: str) -> None:
    before = temporary_files()
    with site(limits=LIMITS) as web:
        peer = web.connect()
        peer.send(BODIES[name][:-30])
        web.server.close()
        web.engine.advance(0)
        assert temporary_files() == before


@any_body
def test_an_engine_that_closes(name: str) -> None:
    before = temporary_files()
    with site(limits=LIMITS) as web:
        web.connect().send(BODIES[name][:-30])
    assert temporary_files() == before


@any_body
def test_a_body_that_stalls(name: str) -> None:
    """It is refused with 408, and what has come is given up."""
    before = temporary_files()
    with site(limits=LIMITS) as web:
        peer = web.connect()
        peer.send(BODIES[name][:-30])
        web.engine.advance(100)
        assert [answer.status for answer in take_apart(peer.received)] == [408]
        assert temporary_files() == before


@any_body
def test_a_handler_that_fails(name: str, expect_log: Callable[[str], None]) -> None:
    expect_log("ZeroDivisionError")

    def handler(request: HTTPRequest) -> None:
        assert request.files is not None
        raise ZeroDivisionError

    before = temporary_files()
    with site(handler, limits=LIMITS) as web:
        assert [answer.status for answer in web.ask(BODIES[name] * 2)] == [500, 500]
        assert temporary_files() == before


@any_body
def test_a_program_that_polls_while_it_reads(name: str) -> None:
    """The connection may go in the meantime, and the files with it."""
    with site(limits=LIMITS) as web:
        peer: Peer

        def handler(request: HTTPRequest) -> None:
            peer.reset()
            web.engine.poll(0)
            web.engine.poll(0)
            request.send_response("")

        web._handler = handler
        peer = web.connect()
        peer.send(BODIES[name])
        web.engine.advance(0)
        assert not web.server.channels


@pytest.mark.parametrize("body, fields", [(DATA, ()), (LONG_FORM, (MULTIPART,))])
def test_a_body_that_comes_with_another_protocol(body: bytes, fields: tuple[bytes, ...]) -> None:
    """RFC 9110 §7.8: the request that asks for an upgrade may have content; the connection outlives it."""
    before = temporary_files()
    with site(lambda request: request.connection.take_over(), limits=LIMITS) as web:
        peer = web.connect()
        peer.send(upload(body, b"Connection: upgrade", b"Upgrade: x", *fields))
        assert temporary_files() == before + 1
        peer.reset()
        web.engine.advance(0)
        assert temporary_files() == before


@pytest.mark.parametrize("body, fields", [(DATA, ()), (LONG_FORM, (MULTIPART,))])
@both_framings
def test_no_room_on_the_disk(
    body: bytes,
    fields: tuple[bytes, ...],
    chunked: bool,
    monkeypatch: pytest.MonkeyPatch,
    expect_log: Callable[[str], None],
) -> None:
    """It costs that request only, and the client is told as of any other failure of the server (RFC 9110 §15.6)."""
    expect_log("No such file or directory")
    with site(limits=LIMITS) as web:
        monkeypatch.setattr(tempfile, "tempdir", "/nowhere")
        [answer] = web.ask(upload(body, *fields, chunked=chunked))
        assert answer.status in (500, 503, 507)
        assert answer.headers["Connection"] == "close"
        assert not web.requests
        assert [answer.status for answer in web.ask(get())] == [200]


# --- Memory -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fields", [(), (MULTIPART,)])
@pytest.mark.parametrize("size", [1, 3, 4097])
def test_a_body_in_small_pieces_takes_no_more_memory(fields: tuple[bytes, ...], size: int) -> None:
    """A chunk of one byte costs its sender five more; it must not cost the server an object."""
    content = b"x" * 200_000
    body = multipart(part(b"file", content, b"a")) if fields else content
    with site(lambda request: request.send_response("")) as web:
        peer = web.connect()
        peer.send(get(CHUNKED, *fields, line=b"POST / HTTP/1.1"))
        data = in_chunks(body, size)
        tracemalloc.start()
        try:
            for at in range(0, len(data), 10_000):
                peer.send(data[at : at + 10_000])
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert len(take_apart(peer.received)) == 1
        assert peak < 4 * len(body) + 500_000


SERVER = """
import sys
from pants import Engine
from pants.http import HTTPServer

def memory(request):
    with open("/proc/self/status") as status:
        lines = [line for line in status if line.startswith(("VmHWM", "VmRSS"))]
    request.send_response("".join(lines))

def digest(request):
    # As a program does with what may be large: piece by piece.
    file = request.files["file"][0]["file"] if request.files else request.body_file
    total = 0
    while piece := file.read(1 << 16):
        total += len(piece)
    request.send_response(f"{total} {request.post.get('field')}")

server = HTTPServer(lambda request: (memory if request.method == "GET" else digest)(request), max_request=2**31)
server.listen(("127.0.0.1", 0))
print(server.local_address[1], flush=True)
Engine.instance().start()
"""

CLIENT = """
import socket, sys
port, size, kind = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
head, tail = b"", b""
if kind != "plain":
    head = b'--b\\r\\nContent-Disposition: form-data; name="file"; filename="a"\\r\\n\\r\\n'
    tail = b'\\r\\n--b\\r\\nContent-Disposition: form-data; name="field"\\r\\n\\r\\nspam\\r\\n--b--\\r\\n'
piece = bytes(range(256)) * 1024
assert size % len(piece) == 0
with socket.create_connection(("127.0.0.1", port)) as sock:
    fields = b"Content-Type: multipart/form-data; boundary=b\\r\\n" if head else b""
    if kind == "chunked":
        fields += b"Transfer-Encoding: chunked\\r\\n"
        frame = lambda data: b"%x\\r\\n%b\\r\\n" % (len(data), data)
    else:
        fields += b"Content-Length: %d\\r\\n" % (len(head) + size + len(tail))
        frame = bytes
    sock.sendall(b"POST / HTTP/1.1\\r\\nHost: a\\r\\nConnection: close\\r\\n" + fields + b"\\r\\n")
    if head:
        sock.sendall(frame(head))
    framed = frame(piece)
    for _ in range(size // len(piece)):
        sock.sendall(framed)
    if tail:
        sock.sendall(frame(tail))
    if kind == "chunked":
        sock.sendall(b"0\\r\\n\\r\\n")
    while data := sock.recv(65536):
        sys.stdout.buffer.write(data)
"""


@pytest.fixture
def upload_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a server in a process of its own, whose temporary files go where there is room."""
    environment = {**os.environ, "TMPDIR": str(tmp_path_factory.mktemp("uploads"))}
    with subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.kill()


def resident(port: int) -> dict[str, int]:
    """The memory of the server, now and at most so far, in bytes."""
    text = client(
        textwrap.dedent(
            """
            import socket, sys
            with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as sock:
                sock.sendall(b"GET / HTTP/1.1\\r\\nHost: a\\r\\nConnection: close\\r\\n\\r\\n")
                while data := sock.recv(65536):
                    sys.stdout.buffer.write(data)
            """
        ),
        port,
    )
    return {name: int(size) * 1024 for name, size in re.findall(r"(Vm\w+):\s+(\d+) kB", text)}


def client(program: str, *arguments: object) -> str:
    command = [sys.executable, "-c", program, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, timeout=120, check=True)
    return done.stdout.decode()


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
@pytest.mark.parametrize("kind", ["plain", "multipart", "chunked"])
def test_memory_does_not_grow_with_an_upload(upload_server: int, kind: str) -> None:
    """256 MiB over a real socket; the limit of a body itself is the program's (manual: "max_request")."""
    size = 256 << 20
    small = 4 << 20  # what there is to import and to allocate once is over then
    client(CLIENT, upload_server, small, kind)
    before = resident(upload_server)
    answer = client(CLIENT, upload_server, size, kind)
    after = resident(upload_server)
    field = "None" if kind == "plain" else "['spam']"
    assert answer.endswith(f"\r\n\r\n{size} {field}")
    assert after["VmHWM"] - before["VmHWM"] < 4 << 20
    assert after["VmRSS"] - before["VmRSS"] < 4 << 20
