"""``wsgi.file_wrapper`` (PEP 3333, "Optional Platform-Specific File Handling"): what the kernel sends, and the rest."""

from __future__ import annotations

import gzip
import io
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import pytest

from pants import Engine
from pants.http import HTTPConnection
from pants.testing import run_until
from pants.web._wsgi_streams import FileWrapper
from tests.http.support import Answer, take_apart
from tests.web.wsgi_support import TEXT, App, Result, ask, exchange, request_line, serving_wsgi

LARGE = b"".join(number.to_bytes(4, "big") for number in range(100_000))
SMALL = LARGE[:1000]


@pytest.fixture(params=[0, 1], ids=["inline", "threads"])
def threads(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture
def by_kernel(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """The parts of files that the kernel is told to send: offset and size."""
    found = []
    write_file = HTTPConnection.write_file

    def noted(self: HTTPConnection, sfile: Any, nbytes: int = 0, offset: int = 0, flush: bool = False) -> None:
        found.append((offset, nbytes))
        write_file(self, sfile, nbytes, offset, flush)

    monkeypatch.setattr(HTTPConnection, "write_file", noted)
    return found


class Sender:
    """An application that sends a file.

    Args:
        make: Opens it.
        headers: More headers.
        status: The status.
        wrap: Puts something around the wrapper.
    """

    def __init__(
        self,
        make: Callable[[], Any],
        headers: Any = (),
        status: str = "200 OK",
        wrap: Callable[[Any], Any] = lambda wrapper: wrapper,
    ) -> None:
        self.make = make
        self.headers = [*TEXT, *headers]
        self.status = status
        self.wrap = wrap
        self.file: Any = None

    def __call__(self, environ: dict[str, Any], start_response: App) -> Any:
        self.file = self.make()
        start_response(self.status, self.headers)
        return self.wrap(environ["wsgi.file_wrapper"](self.file, 4096))

    def ask(self, threads: int, *args: Any, **kwargs: Any) -> Answer:
        with serving_wsgi(self, threads, **kwargs) as server:
            answer = ask(server, *args)
        if hasattr(self.file, "closed"):
            run_until(lambda: self.file.closed)
        return answer


@pytest.fixture
def large(tmp_path: Path) -> Path:
    path = tmp_path / "large"
    path.write_bytes(LARGE)
    return path


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "small"
    path.write_bytes(SMALL)
    return path


def test_the_kernel_sends_a_file(threads: int, large: Path, by_kernel: list[Any]) -> None:
    answer = Sender(lambda: large.open("rb")).ask(threads)
    assert answer.content == LARGE
    assert answer.headers["Content-Length"] == str(len(LARGE))
    assert by_kernel == [(0, len(LARGE))]


def test_a_small_one_goes_with_its_head(threads: int, small: Path, by_kernel: list[Any]) -> None:
    answer = Sender(lambda: small.open("rb", buffering=0)).ask(threads)
    assert (answer.content, answer.headers["Content-Length"]) == (SMALL, "1000")
    assert not by_kernel


def test_it_begins_where_the_file_is_positioned(threads: int, large: Path, small: Path, by_kernel: list[Any]) -> None:
    for path, content in ((large, LARGE), (small, SMALL)):

        def positioned(path: Path = path) -> IO[bytes]:
            file = path.open("rb")
            file.read(5)
            file.seek(2, os.SEEK_CUR)
            return file

        answer = Sender(positioned).ask(threads)
        assert answer.content == content[7:]
        assert answer.headers["Content-Length"] == str(len(content) - 7)
    assert by_kernel == [(7, len(LARGE) - 7)]


@pytest.mark.parametrize("count", [0, 5, 100_000])
def test_a_content_length_limits_it(threads: int, large: Path, count: int, by_kernel: list[Any]) -> None:
    answer = Sender(lambda: large.open("rb"), [("Content-Length", str(count))]).ask(threads)
    assert answer.content == LARGE[:count]
    assert by_kernel == ([(0, count)] if count == 100_000 else [])


def test_a_content_length_beyond_its_end(threads: int, small: Path, expect_log: Any) -> None:
    expect_log("had 1 bytes less than its Content-Length")
    with serving_wsgi(Sender(lambda: small.open("rb"), [("Content-Length", "1001")]), threads) as server:
        data = exchange(server, request_line() + b"\r\n")
        assert data.endswith(b"\r\n\r\n" + SMALL)


@pytest.mark.parametrize("position", [1000, 5000])
def test_at_its_end_or_beyond(threads: int, small: Path, position: int) -> None:
    def ended() -> IO[bytes]:
        file = small.open("rb")
        file.seek(position)
        return file

    answer = Sender(ended).ask(threads)
    assert (answer.content, answer.headers["Content-Length"]) == (b"", "0")


def test_head(threads: int, large: Path, by_kernel: list[Any]) -> None:
    answer = Sender(lambda: large.open("rb")).ask(threads, "HEAD")
    assert (answer.content, answer.headers["Content-Length"]) == (b"", str(len(LARGE)))
    answer = Sender(lambda: large.open("rb"), [("Content-Length", "7")]).ask(threads, "HEAD")
    assert (answer.content, answer.headers["Content-Length"]) == (b"", "7")
    answer = Sender(lambda: large.open("rb"), status="304 Not Modified").ask(threads)
    assert (answer.status, answer.content) == (304, b"")
    assert not by_kernel


def test_to_http_1_0_and_on_the_same_connection(threads: int, large: Path) -> None:
    sender = Sender(lambda: large.open("rb"))
    with serving_wsgi(sender, threads) as server:
        assert ask(server, protocol="HTTP/1.0").content == LARGE
        data = exchange(server, (request_line() + b"\r\n") * 2 + request_line() + b"Connection: close\r\n\r\n")
        assert [answer.content for answer in take_apart(data)] == [LARGE] * 3


def test_a_file_that_is_written_to_is_whole(threads: int, by_kernel: list[Any]) -> None:
    def written() -> IO[bytes]:
        file = tempfile.TemporaryFile()  # noqa: SIM115 - the server closes it
        file.write(LARGE)
        file.seek(4)
        file.write(b"spam")
        file.seek(0)
        file.seek(len(LARGE))
        file.write(b"!")
        file.seek(0)
        return file

    assert Sender(written).ask(threads).content == LARGE[:4] + b"spam" + LARGE[8:] + b"!"
    assert len(by_kernel) == 1
    assert Sender(lambda: tempfile.NamedTemporaryFile()).ask(threads).content == b""  # noqa: SIM115


class Reader:
    """No file, but it can be read."""

    def __init__(self, content: bytes) -> None:
        self.stream = io.BytesIO(content)

    def read(self, size: int) -> bytes:
        assert size == 4096
        return self.stream.read(size)


def test_what_is_no_file_is_read_in_blocks(threads: int, tmp_path: Path, by_kernel: list[Any]) -> None:
    packed = tmp_path / "packed.gz"
    packed.write_bytes(gzip.compress(LARGE))

    def pipe() -> IO[bytes]:
        reader, writer = os.pipe()
        os.write(writer, SMALL)
        os.close(writer)
        return os.fdopen(reader, "rb")

    for make, content in (
        (lambda: io.BytesIO(LARGE), LARGE),
        (lambda: Reader(SMALL), SMALL),
        (lambda: gzip.GzipFile(packed), LARGE),
        (pipe, SMALL),
    ):
        answer = Sender(make).ask(threads)
        assert answer.content == content
        assert answer.headers["Transfer-Encoding"] == "chunked"
    assert not by_kernel


def test_a_wrapper_that_something_is_put_around(threads: int, large: Path, by_kernel: list[Any]) -> None:
    """PEP 3333: middleware that changes the content gets to see it."""
    wrapped = Sender(lambda: large.open("rb"), wrap=lambda wrapper: (block[::-1] for block in wrapper))
    with serving_wsgi(wrapped, threads) as server:
        content = ask(server).content
    wrapped.file.close()
    assert content == b"".join(LARGE[at : at + 4096][::-1] for at in range(0, len(LARGE), 4096))
    assert not by_kernel


def test_behind_what_was_written(threads: int, large: Path, by_kernel: list[Any]) -> None:
    def application(environ: dict[str, Any], start_response: App) -> Any:
        start_response("200 OK", TEXT)(b"written")
        return environ["wsgi.file_wrapper"](large.open("rb"))

    with serving_wsgi(application, threads) as server:
        assert ask(server).content == b"written" + LARGE
    assert not by_kernel


def test_compressed_by_the_server(threads: int, tmp_path: Path, by_kernel: list[Any]) -> None:
    path = tmp_path / "text"
    path.write_bytes(b"spam " * 100_000)
    odd = ("Content-Encoding", "odd")
    for headers, kernel in (([], 0), ([odd], 1)):
        with serving_wsgi(Sender(lambda: path.open("rb"), headers), threads, compression=True) as server:
            data = exchange(server, request_line() + b"Accept-Encoding: gzip\r\nConnection: close\r\n\r\n")
            assert (b"Content-Encoding: gzip\r\n" in data) is (not headers)
        assert len(by_kernel) == kernel


@pytest.mark.parametrize("closed", [False, True])
def test_what_cannot_be_read(threads: int, tmp_path: Path, closed: bool, expect_log: Any) -> None:
    def make() -> Any:
        file: Any = (tmp_path / "written").open("w+b" if closed else "wb")
        if closed:
            file.close()
        return file

    expect_log("ValueError: .* closed file" if closed else "not readable|read")
    assert Sender(make).ask(threads).status == 500


def test_a_file_that_shrinks(threads: int, small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not there any more by the time it is read is not announced."""

    class Shrinking(Sender):
        def __call__(self, environ: dict[str, Any], start_response: App) -> Any:
            wrapper = super().__call__(environ, start_response)
            whole = FileWrapper.slice(wrapper)
            monkeypatch.setattr(FileWrapper, "slice", lambda _self: whole)
            os.truncate(small, 10)
            return wrapper

    assert Shrinking(lambda: small.open("rb")).ask(threads).content == SMALL[:10]


def test_without_close() -> None:
    wrapper = FileWrapper(Reader(b"x" * 5000), 4096)
    assert not hasattr(wrapper, "close")
    assert [len(block) for block in wrapper] == [4096, 904]
    file = Result([])
    FileWrapper(file).close()
    assert file.closed == 1


def test_descriptors_are_given_back(threads: int, large: Path) -> None:
    sender = Sender(lambda: large.open("rb"))
    with serving_wsgi(sender, threads) as server:
        exchange(server, request_line() + b"Connection: close\r\n\r\n")
        before = len(os.listdir("/dev/fd"))
        for _ in range(5):
            exchange(server, request_line() + b"Connection: close\r\n\r\n")
        run_until(lambda: sender.file.closed and len(os.listdir("/dev/fd")) <= before)
        Engine.instance().poll(0)
