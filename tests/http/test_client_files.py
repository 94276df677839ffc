"""Responses that are kept on disk, and what long downloads and uploads cost: memory, descriptors."""

from __future__ import annotations

import contextlib
import gc
import gzip
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pants import Engine
from pants.http import ClientLimits, Exchange, HTTPClient, HTTPRequest, HTTPResponse
from pants.http.client import ConnectionFailed, RequestCancelled, RequestClosed, RequestTimedOut
from pants.testing import run_until
from tests.http.nginx_support import MIB, free_port, large_digest
from tests.http.nginx_support import site as nginx_site
from tests.http.peers_support import DEADLINE, serving

SPOOL = 1000
# Longer than that, with characters and line ends at the borders of all that is read at once.
TEXT = "".join(f"{number} gr\u00fcn \u20ac \U0001f600" + ("\r\n" if number % 3 else "\n") for number in range(20_000))


class Site:
    """A site that sends what the test says, when the test says so.

    Attributes:
        requests: What it was asked.
    """

    def __init__(self) -> None:
        self.requests: list[HTTPRequest] = []

    def __call__(self, request: HTTPRequest) -> None:
        self.requests.append(request)
        _, name, *rest = request.path.split("/")
        getattr(self, "do_" + name)(request, *rest)

    def do_bytes(self, request: HTTPRequest, size: str) -> None:
        request.send_response(content_of(int(size)))

    def do_text(self, request: HTTPRequest) -> None:
        request.send_response(TEXT, content_type="text/plain; charset=utf-8")

    def do_gzip(self, request: HTTPRequest, size: str) -> None:
        request.send_response(gzip.compress(bytes(int(size))), headers={"Content-Encoding": "gzip"})

    def do_slowly(self, request: HTTPRequest) -> None:
        """Send the head, and the first piece."""
        request.send_headers({"Content-Type": "text/plain"})
        request.send("piece 0\n")

    def do_half(self, request: HTTPRequest) -> None:
        request.send_headers({"Content-Length": "100000"})
        request.send(bytes(50_000))

    def do_cut(self, request: HTTPRequest) -> None:
        self.do_half(request)
        request.connection.close(flush=True)

    def do_redirect(self, request: HTTPRequest, size: str) -> None:
        request.send_response(bytes(int(size)), 307, headers={"Location": "/upload"})

    def do_upload(self, request: HTTPRequest) -> None:
        request.send_response(str(sum(len(file["body"]) for files in request.files.values() for file in files)))

    def do_never(self, request: HTTPRequest) -> None:
        pass

    def forget(self) -> None:
        """Close the connections, on which answers may be owed."""
        requests, self.requests = self.requests, []
        for request in requests:
            request.connection.close()


def content_of(size: int) -> bytes:
    return bytes(range(251)) * (size // 251) + bytes(range(size % 251))


@pytest.fixture
def site() -> Site:
    return Site()


@pytest.fixture
def url(site: Site) -> Iterator[str]:
    with serving(site, max_request=20_000_000) as server:
        yield f"http://127.0.0.1:{server.local_address[1]}"


@pytest.fixture
def client(url: str) -> Iterator[HTTPClient]:
    """A client that keeps little in memory, closed before the server is."""
    client = HTTPClient(proxy=False, limits=ClientLimits(spool_size=SPOOL))
    yield client
    client.close()
    Engine.instance().poll(0)


def descriptors() -> int:
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


def temporary_files() -> int:
    """The files of this process that have no name any more."""
    count = 0
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            count += os.readlink(f"/proc/self/fd/{name}").endswith("(deleted)")
    return count


def fetched(client: HTTPClient, url: str, **kwargs: Any) -> HTTPResponse:
    return client.get(url, **kwargs).wait(DEADLINE)


@contextlib.contextmanager
def no_resource_warnings() -> Iterator[None]:
    """Fail at the end of the block if something was left for the garbage collector to close."""
    gc.collect()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
        gc.collect()
    assert [str(warning.message) for warning in caught if issubclass(warning.category, ResourceWarning)] == []


# --- Where content is kept --------------------------------------------------------------------------------------


@pytest.mark.parametrize("size, on_disk", [(1, 0), (SPOOL - 1, 0), (SPOOL, 0), (SPOOL + 1, 1), (500_000, 1)])
def test_the_threshold(client: HTTPClient, url: str, size: int, on_disk: int) -> None:
    """Docstring of ClientLimits: "Content longer than this many bytes is kept on disk"."""
    before = temporary_files()
    response = fetched(client, f"{url}/bytes/{size}")
    assert temporary_files() - before == on_disk
    assert response.length == size
    assert response.content == content_of(size)
    assert response.file is not None
    assert response.file.read() == content_of(size)
    assert temporary_files() - before == on_disk
    response.file.close()
    assert temporary_files() == before


@pytest.mark.parametrize("size, on_disk", [(SPOOL, 0), (SPOOL + 1, 1), (3_000_000, 1)])
def test_the_threshold_is_for_what_is_decoded(client: HTTPClient, url: str, size: int, on_disk: int) -> None:
    before = temporary_files()
    response = fetched(client, f"{url}/gzip/{size}")
    assert response.length < size
    assert temporary_files() - before == on_disk
    assert response.content == bytes(size)
    response.close()


def test_the_default_threshold(url: str) -> None:
    """Docstring of ClientLimits: 1 MiB."""
    client = HTTPClient(proxy=False)
    before = temporary_files()
    fetched(client, f"{url}/bytes/{MIB}")
    assert temporary_files() == before
    response = fetched(client, f"{url}/bytes/{MIB + 1}")
    assert temporary_files() == before + 1
    response.close()
    client.close()


@pytest.mark.parametrize("chunk_size", [1, 7, 512, 65_535, 65_536, 65_537, 10_000_000])
def test_content_on_disk_is_what_it_is_in_memory(client: HTTPClient, url: str, chunk_size: int) -> None:
    response = fetched(client, f"{url}/text")
    content = TEXT.encode()
    if chunk_size >= 512:
        pieces = list(response.iter_content(chunk_size))
        assert b"".join(pieces) == content
        assert {len(piece) for piece in pieces[:-1]} <= {chunk_size}
    else:
        assert b"".join(response.iter_content(chunk_size)) == content
    assert "".join(response.iter_content(chunk_size, decode_unicode=True)) == TEXT
    assert list(response.iter_lines(chunk_size)) == content.splitlines()
    assert list(response.iter_lines(chunk_size, decode_unicode=True)) == TEXT.splitlines()
    assert (response.content, response.text) == (content, TEXT)
    response.close()


def test_json_on_disk(client: HTTPClient, url: str, site: Site) -> None:
    value = {"list": list(range(10_000)), "text": "\u20ac" * 1000}
    site.do_json = lambda request: request.send_response(json.dumps(value))  # type: ignore[attr-defined]
    response = fetched(client, f"{url}/json")
    assert response.json() == value
    response.close()


@pytest.mark.parametrize("size", [SPOOL, 300_000], ids=["memory", "disk"])
def test_reading_moves_no_position_but_its_own(client: HTTPClient, url: str, size: int) -> None:
    """Docstring of file: "at its start at first"; then it is where the program has left it."""
    content = content_of(size)
    response = fetched(client, f"{url}/bytes/{size}")
    assert response.content == content
    pieces = response.iter_content(100)
    assert next(pieces) == content[:100]
    file = response.file
    assert file is not None
    assert file.tell() == 0
    assert file.read(10) == content[:10]
    assert response.content == content
    assert next(pieces) == content[100:200]
    assert list(response.iter_lines()) == content.splitlines()
    assert response.file is file
    assert file.tell() == 10
    other = response.iter_content(150)
    assert (next(other), next(pieces)) == (content[:150], content[200:300])
    assert file.read() == content[10:]
    assert b"".join(pieces) == content[300:]
    assert file.seek(-5, os.SEEK_END) == size - 5
    assert file.read() == content[-5:]
    file.close()


@pytest.mark.parametrize("size", [SPOOL, 300_000], ids=["memory", "disk"])
def test_the_file_is_one_for_programs_that_take_files(client: HTTPClient, url: str, size: int) -> None:
    response = fetched(client, f"{url}/bytes/{size}")
    assert response.file is not None
    with response.file as file:
        assert hashlib.file_digest(file, "md5").digest() == hashlib.md5(content_of(size)).digest()
        file.seek(0)
        assert b"".join(file) == content_of(size)


# --- While it is arriving ---------------------------------------------------------------------------------------


def arriving(client: HTTPClient, url: str, site: Site, count: int, look: Callable[[HTTPResponse, int], None]) -> str:
    """Fetch so many pieces, of which each is sent when the one before has been looked at. Return all of them."""
    seen = []

    def on_progress(response: HTTPResponse, received: int, total: int) -> None:
        look(response, received)
        seen.append(received)
        request = site.requests[-1]
        if len(seen) < count:
            request.send(f"piece {len(seen)}\n")
        else:
            request.finish()

    response = client.get(f"{url}/slowly", on_progress=on_progress).wait(DEADLINE)
    expected = "".join([f"piece {number}\n" for number in range(count)])
    assert response.text == expected
    assert seen[-1] == len(expected)
    return expected


@pytest.mark.parametrize("count", [50, 400], ids=["memory", "disk"])
def test_what_has_arrived_so_far(client: HTTPClient, url: str, site: Site, count: int) -> None:
    """Manual, "content": "None if no data has been received"; what has been is there."""
    responses: list[HTTPResponse] = []

    def look(response: HTTPResponse, received: int) -> None:
        responses[:] = [response]
        assert response.length == received
        content = response.content
        assert content is not None
        assert len(content) == received
        assert content.endswith(b"\n")
        assert b"".join(response.iter_content(100)) == content

    arriving(client, url, site, count, look)
    responses[0].close()


@pytest.mark.parametrize("count", [50, 400], ids=["memory", "disk"])
def test_the_file_is_read_while_it_arrives(client: HTTPClient, url: str, site: Site, count: int) -> None:
    """Docstring of file: "at its start at first ... It is the same file each time"."""
    read: list[bytes] = []
    files: list[Any] = []

    def look(response: HTTPResponse, received: int) -> None:
        assert response.file is not None
        read.append(response.file.read())
        files[:] = [response.file]

    expected = arriving(client, url, site, count, look)
    files[0].close()
    assert b"".join(read).decode() == expected


@pytest.mark.parametrize("count", [50, 400], ids=["memory", "disk"])
def test_the_file_stays_the_same(client: HTTPClient, url: str, site: Site, count: int) -> None:
    """Docstring of file: "It is the same file each time, in memory unless the content is long"."""
    held: list[Any] = []
    closed: list[int] = []

    def look(response: HTTPResponse, received: int) -> None:
        if not held:
            held.append(response.file)
        elif held[0].closed:
            closed.append(received)
        held.append(response.file)

    arriving(client, url, site, count, look)
    different = len(set(map(id, held)))
    for file in held:
        file.close()
    assert (closed[:1], different) == ([], 1)


def test_seeking_while_it_arrives(client: HTTPClient, url: str, site: Site) -> None:
    """Wherever a program leaves the file, what arrives goes to its end."""
    files: list[Any] = []

    def look(response: HTTPResponse, received: int) -> None:
        if received > 2 * SPOOL:
            file = response.file
            assert file is not None
            files[:] = [file]
            assert file.seek(0, os.SEEK_END) == received
            file.seek(received // 2)

    arriving(client, url, site, 400, look)
    files[0].close()


# --- The end of it ----------------------------------------------------------------------------------------------


def test_closing_what_is_on_disk(client: HTTPClient, url: str) -> None:
    """Docstring of close: "Remove what is kept of the content on disk"; of content: RuntimeError then."""
    before = temporary_files()
    response = fetched(client, f"{url}/bytes/100000")
    assert temporary_files() == before + 1
    response.close()
    assert temporary_files() == before
    response.close()
    for read in (lambda: response.content, lambda: response.text, lambda: response.file, response.json,
                 lambda: list(response.iter_content(10)), lambda: list(response.iter_lines())):  # fmt: skip
        with pytest.raises(RuntimeError, match="closed"):
            read()
    assert (response.status_code, response.length) == (200, 100_000)


def test_closing_what_is_in_memory(client: HTTPClient, url: str) -> None:
    """Docstring of close: "What is in memory stays"."""
    response = fetched(client, f"{url}/bytes/100")
    response.close()
    assert response.content == content_of(100)
    assert list(response.iter_content(100)) == [content_of(100)]
    empty = client.head(f"{url}/bytes/100").wait(DEADLINE)
    empty.close()
    assert empty.content is None


def test_closing_while_it_arrives(client: HTTPClient, url: str) -> None:
    """Nobody wants the rest; that ends the request once, and leaves nothing behind."""
    before = temporary_files()
    ends: list[Any] = []
    exchange = client.get(
        f"{url}/bytes/3000000",
        on_progress=lambda response, received, total: response.close(),
        on_response=ends.append,
        on_error=lambda response, error: ends.append(error),
    )
    run_until(lambda: exchange.done, DEADLINE)
    assert len(ends) == 1
    assert isinstance(ends[0], Exception)
    assert temporary_files() == before


def test_a_disk_that_cannot_be_written(
    client: HTTPClient, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told by on_error, and the client goes on."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    errors: list[Exception] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # see below
        exchange = client.get(f"{url}/bytes/100000", on_error=lambda response, error: errors.append(error))
        run_until(lambda: exchange.done, DEADLINE)
        with pytest.raises(FileNotFoundError):
            exchange.wait(DEADLINE)
        assert [type(error) for error in errors] == [FileNotFoundError]
        assert fetched(client, f"{url}/bytes/100").length == 100
        exchange = client.get(f"{url}/bytes/100")  # the other one is let go of
        run_until(lambda: exchange.done, DEADLINE)
        errors.clear()
        gc.collect()


# --- Nothing is left --------------------------------------------------------------------------------------------


def test_a_response_on_disk_that_nobody_closes(client: HTTPClient, url: str) -> None:
    """Docstring of close: content "is gone with the response". A program that reads `content` has opened no file."""
    before = temporary_files()
    with no_resource_warnings():
        assert fetched(client, f"{url}/bytes/100000").content == content_of(100_000)
    assert temporary_files() == before


def test_the_file_of_a_short_response(client: HTTPClient, url: str) -> None:
    """Whoever closes the response has closed its file."""
    with no_resource_warnings():
        response = fetched(client, f"{url}/bytes/100")
        assert response.file is not None
        assert response.file.read() == content_of(100)
        response.close()
        del response


@pytest.mark.parametrize("path, kind", [("half", RequestTimedOut), ("cut", RequestClosed)])
def test_a_request_that_fails_half_way(client: HTTPClient, url: str, path: str, kind: type[Exception]) -> None:
    before = temporary_files()
    with no_resource_warnings():
        exchange = client.get(f"{url}/{path}", timeout=0.2)
        with pytest.raises(kind):
            exchange.wait(DEADLINE)
        del exchange
    assert temporary_files() == before


def test_a_disk_that_could_not_be_written(
    client: HTTPClient, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    with no_resource_warnings():
        with pytest.raises(FileNotFoundError):
            fetched(client, f"{url}/bytes/100000")
        gc.collect()


def test_a_request_that_is_cancelled_half_way(client: HTTPClient, url: str) -> None:
    before = temporary_files()
    with no_resource_warnings():
        lengths: list[int] = []
        exchange = client.get(f"{url}/half", on_progress=lambda response, received, total: lengths.append(received))
        run_until(lambda: lengths and lengths[-1] > SPOOL, DEADLINE)
        exchange.cancel()
        with pytest.raises(RequestCancelled):
            exchange.wait(DEADLINE)
        del exchange
    assert temporary_files() == before


def test_no_descriptor_is_left_by_downloads(url: str, site: Site) -> None:
    before = descriptors()
    client = HTTPClient(proxy=False, limits=ClientLimits(spool_size=SPOOL))
    responses = [client.get(f"{url}/bytes/{size}") for size in (0, 100, 10_000, 1_000_000) for _ in range(5)]
    for exchange in responses:
        exchange.wait(DEADLINE).close()
    for path, kind in (("half", RequestTimedOut), ("cut", RequestClosed)):
        exchange = client.get(f"{url}/{path}", timeout=0.2)
        with pytest.raises(kind):
            exchange.wait(DEADLINE)
        assert exchange.response is not None
        exchange.response.close()
    client.close()
    site.forget()
    run_until(lambda: descriptors() <= before, DEADLINE)
    assert descriptors() == before


def upload(client: HTTPClient, url: str, path: Path, **kwargs: Any) -> Exchange:
    """Upload a file, and close it at once."""
    with path.open("rb") as file:
        return client.post(url, files={"file": file}, **kwargs)


def test_no_descriptor_is_left_by_uploads(url: str, site: Site, tmp_path: Path) -> None:
    """However they end. That the caller closes its file does not matter."""
    path = tmp_path / "file"
    path.write_bytes(content_of(3_000_000))
    before = descriptors()
    client = HTTPClient(proxy=False)
    for _ in range(5):
        assert upload(client, f"{url}/upload", path).wait(DEADLINE).content == b"3000000"
    redirected = upload(client, f"{url}/redirect/10", path).wait(DEADLINE)
    assert (redirected.content, len(redirected.history)) == (b"3000000", 1)
    with pytest.raises(RequestTimedOut):
        upload(client, f"{url}/never", path, timeout=0.2).wait(DEADLINE)
    with pytest.raises(ConnectionFailed):
        upload(client, f"http://127.0.0.1:{free_port()}/", path).wait(DEADLINE)
    cancelled = [upload(client, f"{url}/upload", path) for _ in range(3)]
    cancelled[0].cancel()
    Engine.instance().poll(0)
    for exchange in cancelled:
        exchange.cancel()
    client.close()
    site.forget()
    run_until(lambda: descriptors() <= before, DEADLINE)
    assert descriptors() == before


@pytest.mark.parametrize("size", [0, 10, 60_000, 300_000])
def test_a_redirect_with_content_of_its_own(client: HTTPClient, url: str, size: int) -> None:
    """It is followed all the same, however long that is; and nothing of it is left."""
    before = temporary_files()
    with no_resource_warnings():
        response = client.post(f"{url}/redirect/{size}", files={"file": b"content"}).wait(DEADLINE)
        assert response.content == b"7"
        assert response.history[0].status_code == 307
        if size in (10, 60_000):
            assert response.history[0].content == bytes(size)
        del response
    assert temporary_files() == before


def test_a_response_refers_to_nothing_that_refers_to_it(client: HTTPClient, url: str) -> None:
    """What is on disk goes when the response goes, and not when the garbage is collected."""
    gc.collect()
    before = temporary_files()
    gc.disable()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            responses = [fetched(client, f"{url}/bytes/100000") for _ in range(5)]
            assert temporary_files() == before + 5
            del responses
            assert temporary_files() == before
    finally:
        gc.enable()


# --- Long content -----------------------------------------------------------------------------------------------

SIZE = 100 * MIB
# More than anything of a client needs, and much less than the content.
ALLOWED = 12 * MIB

PROGRAM = """
import contextlib, hashlib, json, os, sys
from pathlib import Path
from pants.http import ClientLimits, HTTPClient
from pants.testing import run_until

def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))

def digest(pieces):
    found = hashlib.sha256()
    for piece in pieces:
        found.update(piece)
    return found.hexdigest()

def files():
    return len(os.listdir("/proc/self/fd"))

url, what, path, size = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
client = HTTPClient(proxy=False, limits=ClientLimits(content=2 * size))
descriptors = files()
client.post(url + "/upload", files={"file": b"first"}).wait(30)
client.get(url + "/").wait(30)
before = peak()
told = {}
if what == "file":
    response = client.get(url + "/large.bin").wait(60)
    file = response.file
    told["digest"] = digest(iter(lambda: file.read(65536), b""))
    told["length"] = response.length
    told["size"] = file.seek(0, 2)
    response.close()
elif what == "iter_content":
    response = client.get(url + "/large.bin").wait(60)
    told["digest"] = digest(response.iter_content(65536))
    response.close()
elif what == "on_data":
    found = hashlib.sha256()
    response = client.get(url + "/large.bin", on_data=lambda response, data: found.update(data)).wait(60)
    told["digest"] = found.hexdigest()
elif what == "files":
    with open(path, "rb") as file:
        exchange = client.post(url + "/upload", data={"field": "value"}, files={"file": file})
    response = exchange.wait(60)
    told["answer"], told["length"] = response.json(), int(response.request.headers["Content-Length"])
elif what == "data":
    with open(path, "rb") as file:
        response = client.put(url + "/upload", file).wait(60)
    told["answer"], told["length"] = response.json(), int(response.request.headers["Content-Length"])
elif what == "pieces":
    with open(path, "rb") as file:
        response = client.put(url + "/upload", iter(lambda: file.read(65536), b"")).wait(60)
    told["answer"], told["length"] = response.json(), size
told["grown"] = peak() - before
client.close_idle()
with contextlib.suppress(AssertionError):
    run_until(lambda: files() <= descriptors)
told["left"] = files() - descriptors
print(json.dumps(told))
"""


def measure(url: str, what: str, path: Path) -> dict[str, Any]:
    """Run the program above, in a process of its own. Its warnings are errors."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM, url, what, str(path), str(SIZE)],
        capture_output=True,
        text=True,
        timeout=4 * DEADLINE,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    told: dict[str, Any] = json.loads(done.stdout)
    return told


@pytest.mark.parametrize("what", ["file", "iter_content", "on_data"])
def test_a_long_download(peer: Callable[[str], str], tmp_path: Path, what: str) -> None:
    """Manual: "saving large responses to temporary files to decrease memory usage"."""
    with nginx_site(peer("nginx"), tmp_path) as site:
        path = site.write_large(SIZE)
        told = measure(site.url, what, path)
        path.unlink()
    assert told["digest"] == large_digest(SIZE)
    if what == "file":
        assert told["length"] == told["size"] == SIZE
    assert told["grown"] < ALLOWED
    assert told["left"] == 0


@pytest.mark.parametrize("what", ["files", "data", "pieces"])
def test_a_long_upload(peer: Callable[[str], str], tmp_path: Path, what: str) -> None:
    """Docstring of Session.request: "They are not read into memory"."""
    with nginx_site(peer("nginx"), tmp_path, keep_uploads=True) as site:
        path = site.write_large(SIZE)
        told = measure(site.url, what, path)
        path.unlink()
        arrived = Path(told["answer"]["file"])
        assert arrived.stat().st_size == told["length"]
        if what != "pieces":  # nginx need not know the length of what comes in chunks
            assert told["answer"]["length"] == told["length"]
        with arrived.open("rb") as file:
            if what == "files":
                head = file.read(2000)
                file.seek(head.index(b"\r\n\r\n", head.index(b"filename=")) + 4)
            found = hashlib.sha256()
            for _ in range(SIZE // MIB):
                found.update(file.read(MIB))
            rest = file.read()
        arrived.unlink()
    assert found.hexdigest() == large_digest(SIZE)
    assert rest.endswith(b"--\r\n") if what == "files" else rest == b""
    assert told["answer"]["method"] == ("POST" if what == "files" else "PUT")
    assert told["grown"] < ALLOWED
    assert told["left"] == 0
