"""Real clients: curl, requests and aiohttp. (`test_peers` has those that need no more than a line or two.)"""

from __future__ import annotations

import asyncio
import email.parser
import email.policy
import http.client
import io
import json
import os
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import requests

from pants.http import HTTPServer
from pants.testing import run_until
from tests.http.peers_support import (
    BINARY,
    DEADLINE,
    PIECES,
    TEXT,
    Application,
    Certificate,
    digest,
    in_thread,
    run,
    serving,
)

HELLO = b"Hello, World!"
ODD_NAME = 'a "b" \u00e4\u20ac.bin'
SENT = {"length": len(BINARY), "digest": digest(BINARY)}


@pytest.fixture
def application(tmp_path: Path) -> Application:
    (tmp_path / "root").mkdir()
    return Application(tmp_path / "root")


@pytest.fixture
def server(application: Application, tmp_path: Path) -> Iterator[HTTPServer]:
    with serving(
        application, file_root=tmp_path / "root", compression=True, cookie_secret="secret", max_request=20_000_000
    ) as server:
        yield server


@pytest.fixture
def url(server: HTTPServer) -> str:
    return f"http://127.0.0.1:{server.local_address[1]}"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return Certificate(tmp_path_factory.mktemp("certificate"))


# --- curl -------------------------------------------------------------------------------------------------------


@pytest.fixture
def curl(peer: Callable[[str], str]) -> tuple[str, ...]:
    """The beginning of a command: no configuration and no proxy of the user's, no progress, and an end in time."""
    return (peer("curl"), "-q", "-sS", "--noproxy", "*", "--max-time", str(DEADLINE - 5))


def test_curl_uploads_a_form(curl: tuple[str, ...], url: str, tmp_path: Path) -> None:
    """RFC 7578. What is larger than ``limits.spool_size`` goes through a file."""
    (tmp_path / "large").write_bytes(BINARY)
    (tmp_path / ODD_NAME).write_bytes(b"\0\r\n--odd")
    done = run(
        *curl, "-F", "field=a \u00e4\u20ac", "-F", "field=b", "-F", "empty=",
        "-F", f"file=@{tmp_path}/large;filename=large.bin;type=application/x-test",
        "-F", f'file=@"{tmp_path}/{ODD_NAME.replace(chr(34), chr(92) + chr(34))}"', f"{url}/form",
    )  # fmt: skip
    form = json.loads(done.stdout)
    assert form["post"]["field"] == ["a \u00e4\u20ac", "b"]
    large, odd = form["files"]["file"]
    assert large == ["large.bin", "application/x-test", len(BINARY), digest(BINARY)]
    # A quote in a name is sent as %22 (HTML, "multipart/form-data encoding algorithm"), or with a backslash before it.
    assert odd[0].replace("%22", '"') == ODD_NAME
    assert odd[2:] == [8, digest(b"\0\r\n--odd")]


def test_curl_posts_an_urlencoded_form(curl: tuple[str, ...], url: str) -> None:
    done = run(*curl, "-d", "a=1", "--data-urlencode", "b=c d&\u00e4", "-d", "a=2", f"{url}/form")
    assert json.loads(done.stdout) == {"post": {"a": ["1", "2"], "b": ["c d&\u00e4"]}, "files": {}}


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_curl_uploads_a_file(curl: tuple[str, ...], url: str, tmp_path: Path, chunked: bool) -> None:
    """RFC 9110 §10.1.1: curl waits for 100 (Continue) before it sends so much."""
    (tmp_path / "large").write_bytes(BINARY)
    framing = ["-H", "Transfer-Encoding: chunked"] if chunked else []
    done = run(*curl, "-v", "--expect100-timeout", "20", "-T", tmp_path / "large", *framing, f"{url}/body")
    assert json.loads(done.stdout) == SENT
    assert b"< HTTP/1.1 100 Continue" in done.stderr
    assert (b"> Transfer-Encoding: chunked" in done.stderr) == chunked


def test_curl_need_not_send_a_body_that_is_refused(curl: tuple[str, ...], url: str, tmp_path: Path) -> None:
    """RFC 9110 §10.1.1: the final answer comes at once, instead of 100 (Continue)."""
    with open(tmp_path / "huge", "wb") as file:
        file.truncate(20_000_001)
    done = run(*curl, "--expect100-timeout", "20", "-T", tmp_path / "huge", "-o", os.devnull,
               "-w", "%{http_code} %{size_upload}", f"{url}/body")  # fmt: skip
    assert done.stdout == b"413 0"


@pytest.mark.parametrize(
    "value, status, content",
    [
        ("0-4", b"206", BINARY[:5]),
        ("5-", b"206", BINARY[5:]),
        ("-5", b"206", BINARY[-5:]),
        ("1000000-2999999", b"206", BINARY[1000000:3000000]),
        ("3999999-9999999", b"206", BINARY[-1:]),
        ("4000000-", b"416", b""),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_curl_fetches_a_range(curl: tuple[str, ...], url: str, value: str, status: bytes, content: bytes) -> None:
    done = run(*curl, "--range", value, "-w", "%{stderr}%{http_code}", f"{url}/file/large.bin")
    assert done.stderr == status
    assert done.stdout == content


def test_curl_fetches_several_ranges(curl: tuple[str, ...], url: str) -> None:
    done = run(*curl, "-i", "--range", "0-3,8-11,-4", f"{url}/file/large.bin")
    head, _, body = done.stdout.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 206 ")
    message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(
        head.partition(b"\r\n")[2] + b"\r\n\r\n" + body
    )
    assert message.get_content_type() == "multipart/byteranges"
    assert int(str(message["Content-Length"])) == len(body)
    parts = list(message.iter_parts())
    assert [part["Content-Range"] for part in parts] == [
        "bytes 0-3/4000000", "bytes 8-11/4000000", "bytes 3999996-3999999/4000000"
    ]  # fmt: skip
    assert [part.get_payload(decode=True) for part in parts] == [BINARY[:4], BINARY[8:12], BINARY[-4:]]


@pytest.mark.parametrize("have", [0, 1, 1_500_000, len(BINARY)])
def test_curl_resumes(curl: tuple[str, ...], url: str, tmp_path: Path, have: int) -> None:
    """It asks for the range from what it has on; for one behind the end if it has everything, which is a 416."""
    out = tmp_path / "large.bin"
    out.write_bytes(BINARY[:have])
    run(*curl, "-C", "-", "-o", out, f"{url}/file/large.bin")
    assert out.read_bytes() == BINARY


def test_curl_fetches_what_has_changed_only(curl: tuple[str, ...], url: str, tmp_path: Path) -> None:
    """By the entity tag, and by the date (RFC 9110 §13.1.2, §13.1.3)."""
    out, tag = tmp_path / "out", tmp_path / "tag"
    same = ("-o", os.devnull, "-w", "%{http_code} %{size_download}", f"{url}/file/hello.txt")
    run(*curl, "--etag-save", tag, "-R", "-o", out, f"{url}/file/hello.txt")
    assert out.read_bytes() == HELLO
    assert int(out.stat().st_mtime) == int((tmp_path / "root" / "hello.txt").stat().st_mtime)
    assert run(*curl, "--etag-compare", tag, *same).stdout == b"304 0"
    assert run(*curl, "-z", out, *same).stdout == b"304 0"
    later = out.stat().st_mtime + 10
    os.utime(out, (later - 20, later - 20))
    assert run(*curl, "-z", out, *same).stdout == b"200 13"


def test_curl_decodes(curl: tuple[str, ...], url: str) -> None:
    plain = run(*curl, f"{url}/text", "-w", "%{size_download}").stdout
    assert plain == TEXT.encode() + b"%d" % len(TEXT.encode())
    decoded, _, size = run(*curl, "--compressed", f"{url}/text", "-w", "\n%{size_download}").stdout.rpartition(b"\n")
    assert decoded == TEXT.encode()
    assert int(size) < 1000
    # RFC 9110 §10.1.4: a transfer coding need not be used
    assert run(*curl, "--tr-encoding", f"{url}/text").stdout == TEXT.encode()


def test_curl_asks_for_the_head(curl: tuple[str, ...], url: str) -> None:
    """RFC 9110 §9.3.2: the fields are those of GET, and there is no content: the second URL has the connection."""
    for path in ("hello", "file/hello.txt", "file/large.bin", "nothing", "request", "stream"):
        done = run(*curl, "-I", f"{url}/{path}", f"{url}/hello", "-w", "%{num_connects}")
        head, second, count = done.stdout.split(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 20")
        assert second.startswith(b"1HTTP/1.1 200 OK\r\n")
        assert count == b"0"
    assert b"\r\nContent-Length: 4000000" in run(*curl, "-I", f"{url}/file/large.bin").stdout


def test_curl_saves_under_the_name_it_is_told(curl: tuple[str, ...], url: str, tmp_path: Path) -> None:
    """Manual: "as a download with the given filename as the default name to save it with" (RFC 6266)."""
    run(*curl, "-OJ", "--output-dir", tmp_path, f"{url}/download")
    assert (tmp_path / "saved.txt").read_bytes() == HELLO


def test_curl_keeps_cookies(curl: tuple[str, ...], url: str, tmp_path: Path) -> None:
    jar = tmp_path / "jar"
    run(*curl, "-c", jar, f"{url}/set")
    found = json.loads(run(*curl, "-b", jar, f"{url}/get").stdout)
    assert found == {"cookies": {"plain": "value", "quoted": 'a "b"; c'}, "signed": {"user": 7}}
    forged = jar.read_text().replace("signed\t", "signed\t1")
    jar.write_text(forged)
    assert json.loads(run(*curl, "-b", jar, f"{url}/get").stdout)["signed"] is None


def test_curl_speaks_http_1_0(curl: tuple[str, ...], url: str) -> None:
    """RFC 9112 §6.3: what has no length ends with the connection; §6.1: no chunks are sent to HTTP/1.0."""
    done = run(*curl, "--http1.0", "-i", f"{url}/stream")
    head, _, body = done.stdout.partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in head.lower()
    assert body == "".join(PIECES).encode()
    assert run(*curl, "--http1.0", f"{url}/file/large.bin").stdout == BINARY
    assert json.loads(run(*curl, "--http1.0", "-F", "a=b", f"{url}/form").stdout)["post"] == {"a": ["b"]}


def test_curl_reuses_a_connection(curl: tuple[str, ...], server: HTTPServer, url: str) -> None:
    paths = ["hello", "later", "stream", "text", "file/large.bin", "file/none", "nothing", "file/hello.txt", "hello"]
    done = run(*curl, *[f"{url}/{path}" for path in paths], "-o", os.devnull, *["-o", os.devnull] * 8,
               "-w", "%{http_code}\\n")  # fmt: skip
    assert done.stdout.split() == [b"200"] * 5 + [b"404", b"204", b"200", b"200"]
    assert server.counters.connections == 1


def test_curl_in_parallel(curl: tuple[str, ...], url: str, tmp_path: Path) -> None:
    run(*curl, "-Z", "--parallel-max", "10", f"{url}/file/large.bin?[1-12]", "-o", tmp_path / "#1")
    assert [(tmp_path / str(number)).read_bytes() == BINARY for number in range(1, 13)] == [True] * 12


def test_curl_by_https(
    curl: tuple[str, ...], application: Application, certificate: Certificate, tmp_path: Path
) -> None:
    (tmp_path / "large").write_bytes(BINARY)
    with serving(application, context=certificate.server_context, file_root=tmp_path / "root") as server:
        url = f"https://localhost:{server.local_address[1]}"
        curl = (*curl, "--cacert", certificate.ca)
        done = run(*curl, f"{url}/request", f"{url}/file/large.bin", "-w", "%{stderr}%{num_connects}")
        about = json.loads(done.stdout[: -len(BINARY)])
        assert (about["secure"], about["full_url"]) == (True, f"{url}/request")
        assert done.stdout[-len(BINARY) :] == BINARY
        assert done.stderr == b"10"
        assert json.loads(run(*curl, "-T", tmp_path / "large", f"{url}/body").stdout) == SENT


def test_curl_over_a_unix_socket(curl: tuple[str, ...], application: Application, tmp_path: Path) -> None:
    path = os.path.relpath(tmp_path / "socket")
    with serving(application, str(tmp_path / "socket"), file_root=tmp_path / "root"):
        assert run(*curl, "--unix-socket", path, "http://a/file/large.bin").stdout == BINARY


def test_curl_speaks_the_proxy_protocol(curl: tuple[str, ...], application: Application) -> None:
    """As a proxy that is its own client, once for each connection."""
    with serving(application, proxy_protocol=True) as server:
        url = f"http://127.0.0.1:{server.local_address[1]}/request"
        done = run(*curl, "--haproxy-protocol", "--interface", "127.0.0.2", url, url, "-w", "%{stderr}%{num_connects}")
        assert done.stdout.count(b'"remote_ip": "127.0.0.2"') == 2
        assert done.stderr == b"10"


def test_curl_goes_away(curl: tuple[str, ...], application: Application, server: HTTPServer, url: str) -> None:
    """What is sent without an end ends when nobody reads it any more."""
    run(*curl, "--max-filesize", "1000", f"{url}/file/large.bin", code=63)
    run(*curl, "-m", "0.2", "-o", os.devnull, f"{url}/endless", code=28)
    assert run(*curl, f"{url}/hello").stdout == HELLO
    assert run_until(lambda: application.gone, DEADLINE) == ["/endless"]
    assert server.counters.failures == 0


# --- requests ---------------------------------------------------------------------------------------------------


def with_requests(function: Callable[[requests.Session], Any]) -> Any:
    """Call a function with a session, while the server runs."""

    def call() -> Any:
        with requests.Session() as session:
            session.trust_env = False  # no proxy of the user's
            return function(session)

    return in_thread(call)


def test_requests(server: HTTPServer, url: str) -> None:
    def ask(session: requests.Session) -> None:
        def get(path: str, **kwargs: Any) -> requests.Response:
            return session.get(url + path, timeout=DEADLINE, **kwargs)

        assert get("/hello").content == HELLO
        about = get("/request", params={"a": ["1", "\u00e4 b"]}).json()
        assert about["get"] == {"a": ["1", "\u00e4 b"]}
        assert about["full_url"] == f"{url}/request?a=1&a=%C3%A4+b"
        text = get("/text")
        assert text.text == TEXT
        assert text.headers["Content-Encoding"] in ("gzip", "br", "zstd", "deflate")
        assert get("/text", headers={"Accept-Encoding": "identity"}).text == TEXT
        stream = get("/stream", stream=True)
        assert stream.headers["Transfer-Encoding"] == "chunked"
        assert b"".join(stream.iter_content(None)) == "".join(PIECES).encode()
        assert session.head(f"{url}/file/large.bin", timeout=DEADLINE).headers["Content-Length"] == "4000000"
        assert session.post(f"{url}/redirect", data="a", timeout=DEADLINE).json()["method"] == "GET"
        assert get("/nothing").status_code == 204
        assert get("/nowhere").status_code == 404
        assert session.delete(f"{url}/request", timeout=DEADLINE).json()["method"] == "DELETE"
        assert session.options(f"{url}/request", timeout=DEADLINE).json()["method"] == "OPTIONS"

    with_requests(ask)
    assert server.counters.connections == 1


def test_requests_uploads(url: str) -> None:
    def ask(session: requests.Session) -> None:
        def post(path: str, **kwargs: Any) -> Any:
            return session.post(url + path, timeout=DEADLINE, **kwargs).json()

        assert post("/form", data={"a": ["1", "\u00e4"], "b": "c&d"}) == {
            "post": {"a": ["1", "\u00e4"], "b": ["c&d"]},
            "files": {},
        }
        form = post(
            "/form",
            data={"a": "\u00e4"},
            files=[("f", ("\u00e4.bin", BINARY, "application/x-test")), ("f", ("b", b"", "text/plain"))],
        )
        assert form["post"] == {"a": ["\u00e4"]}
        assert form["files"]["f"] == [
            ["\u00e4.bin", "application/x-test", len(BINARY), digest(BINARY)],
            ["b", "text/plain", 0, digest(b"")],
        ]
        assert post("/body", data=BINARY) == SENT
        assert post("/body", data=iter([BINARY[:1], BINARY[1:100000], BINARY[100000:]])) == SENT  # chunked
        assert post("/body", json={"a": 1})["length"] == len('{"a": 1}')

    with_requests(ask)


def test_requests_conditions_and_ranges(server: HTTPServer, url: str) -> None:
    def ask(session: requests.Session) -> None:
        def get(**headers: str) -> requests.Response:
            fields = {name.replace("_", "-"): value for name, value in headers.items()}
            return session.get(f"{url}/file/large.bin", headers=fields, timeout=DEADLINE)

        whole = get()
        assert (whole.status_code, whole.content) == (200, BINARY)
        tag, date = whole.headers["ETag"], whole.headers["Last-Modified"]
        assert (get(If_None_Match=tag).status_code, get(If_Modified_Since=date).status_code) == (304, 304)
        part = get(Range="bytes=4-7", If_Range=tag)
        assert (part.status_code, part.content, part.headers["Content-Range"]) == (
            206, BINARY[4:8], "bytes 4-7/4000000",
        )  # fmt: skip
        assert get(Range="bytes=4-7", If_Range='"another"').content == BINARY
        assert get(If_Match='"another"').status_code == 412

    with_requests(ask)
    assert server.counters.connections == 1


def test_requests_keeps_cookies(url: str) -> None:
    def ask(session: requests.Session) -> Any:
        session.get(f"{url}/set", timeout=DEADLINE)
        return session.get(f"{url}/get", timeout=DEADLINE).json()

    found = with_requests(ask)
    assert found["cookies"]["plain"] == "value"
    assert found["signed"] == {"user": 7}


def test_requests_by_https(application: Application, certificate: Certificate, tmp_path: Path) -> None:
    def ask(session: requests.Session) -> None:
        session.verify = certificate.ca
        assert session.get(f"{url}/request", timeout=DEADLINE).json()["secure"] is True
        assert session.get(f"{url}/file/large.bin", timeout=DEADLINE).content == BINARY
        assert session.post(f"{url}/body", data=BINARY, timeout=DEADLINE).json() == SENT

    with serving(application, context=certificate.server_context, file_root=tmp_path / "root") as server:
        url = f"https://localhost:{server.local_address[1]}"
        with_requests(ask)
        assert server.counters.connections == 1


# --- aiohttp ----------------------------------------------------------------------------------------------------


def with_aiohttp(function: Callable[[aiohttp.ClientSession], Any], limit: int = 100) -> Any:
    """Run a coroutine function with a session, in an event loop of its own, while the server runs."""

    async def call() -> Any:
        timeout = aiohttp.ClientTimeout(DEADLINE)
        # The jar takes cookies from an address too.
        jar = aiohttp.CookieJar(unsafe=True)
        connector = aiohttp.TCPConnector(limit=limit)
        async with aiohttp.ClientSession(timeout=timeout, cookie_jar=jar, connector=connector) as session:
            return await function(session)

    return in_thread(lambda: asyncio.run(call()))


async def fetch(session: aiohttp.ClientSession, method: str, url: str, **kwargs: Any) -> tuple[int, bytes]:
    async with session.request(method, url, **kwargs) as answer:
        return answer.status, await answer.read()


def test_aiohttp(server: HTTPServer, url: str) -> None:
    async def ask(session: aiohttp.ClientSession) -> None:
        assert await fetch(session, "GET", f"{url}/hello") == (200, HELLO)
        assert await fetch(session, "HEAD", f"{url}/hello") == (200, b"")
        assert await fetch(session, "GET", f"{url}/stream") == (200, "".join(PIECES).encode())
        assert await fetch(session, "GET", f"{url}/text") == (200, TEXT.encode())
        assert await fetch(session, "GET", f"{url}/nothing") == (204, b"")
        assert await fetch(session, "GET", f"{url}/file/large.bin") == (200, BINARY)
        assert await fetch(session, "GET", f"{url}/file/large.bin", headers={"Range": "bytes=-4"}) == (206, BINARY[-4:])
        async with session.post(f"{url}/redirect") as answer:
            assert (await answer.json())["get"] == {"redirected": ["1"]}
        await fetch(session, "GET", f"{url}/set")
        async with session.get(f"{url}/get") as answer:
            found = await answer.json()
        assert found["cookies"]["plain"] == "value"
        assert found["signed"] == {"user": 7}

    with_aiohttp(ask)
    assert server.counters.connections == 1


def test_aiohttp_uploads(url: str) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(BINARY), 700_000):
            yield BINARY[start : start + 700_000]

    async def ask(session: aiohttp.ClientSession) -> None:
        async def post(path: str, **kwargs: Any) -> Any:
            async with session.post(url + path, **kwargs) as answer:
                return await answer.json()

        form = aiohttp.FormData(quote_fields=False)  # it would send the name percent-encoded (RFC 7578 §2)
        form.add_field("a", "\u00e4")
        form.add_field("f", io.BytesIO(BINARY), filename="\u00e4.bin", content_type="application/x-test")
        assert await post("/form", data=form) == {
            "post": {"a": ["\u00e4"]},
            "files": {"f": [["\u00e4.bin", "application/x-test", len(BINARY), digest(BINARY)]]},
        }
        assert (await post("/form", data={"a": "b c"}))["post"] == {"a": ["b c"]}
        assert await post("/body", data=io.BytesIO(BINARY)) == SENT
        assert await post("/body", data=pieces()) == SENT  # chunked
        assert await post("/body", data=io.BytesIO(BINARY), expect100=True) == SENT

    with_aiohttp(ask)


def test_aiohttp_many_at_once(server: HTTPServer, url: str) -> None:
    """Two hundred requests over ten connections, which are used again and again."""
    paths = ["/hello", "/later", "/stream", "/file/hello.txt", "/text"] * 40

    async def ask(session: aiohttp.ClientSession) -> list[tuple[int, bytes]]:
        return await asyncio.gather(*[fetch(session, "GET", url + path) for path in paths])

    contents = {
        "/hello": HELLO,
        "/later": b"later",
        "/stream": "".join(PIECES).encode(),
        "/file/hello.txt": HELLO,
        "/text": TEXT.encode(),
    }
    assert with_aiohttp(ask, limit=10) == [(200, contents[path]) for path in paths]
    assert server.counters.connections <= 10


def test_aiohttp_by_https(application: Application, certificate: Certificate, tmp_path: Path) -> None:
    with serving(application, context=certificate.server_context, file_root=tmp_path / "root") as server:
        url = f"https://localhost:{server.local_address[1]}"

        async def ask(session: aiohttp.ClientSession) -> None:
            trust = certificate.client_context
            assert await fetch(session, "GET", f"{url}/file/large.bin", ssl=trust) == (200, BINARY)
            async with session.post(f"{url}/body", data=io.BytesIO(BINARY), ssl=trust) as answer:
                assert await answer.json() == SENT

        with_aiohttp(ask)
        assert server.counters.connections == 1


def test_the_standard_library_by_https(application: Application, certificate: Certificate, tmp_path: Path) -> None:
    with serving(application, context=certificate.server_context, file_root=tmp_path / "root") as server:

        def ask() -> list[bytes]:
            client = http.client.HTTPSConnection(
                "localhost", server.local_address[1], context=certificate.client_context, timeout=DEADLINE
            )
            found = []
            for path in ("/hello", "/file/large.bin", "/stream"):
                client.request("GET", path)
                found.append(client.getresponse().read())
            client.close()
            return found

        assert in_thread(ask) == [HELLO, BINARY, "".join(PIECES).encode()]
        assert server.counters.connections == 1
