"""The manual's section "pants.http.client", sentence by sentence. (`test_client_httpbin` has more of what it sends.)"""

from __future__ import annotations

import contextlib
import gzip
import inspect
import itertools
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from decimal import Decimal
from http.cookiejar import CookieJar
from http.cookies import Morsel, SimpleCookie
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import Any
from urllib.parse import urlparse

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pants.http.client
from pants import Engine, Server, Stream
from pants.http import (
    AuthBase,
    CertificateError,
    ClientLimits,
    Exchange,
    HTTPClient,
    HTTPClientException,
    HTTPHeaders,
    HTTPRequest,
    HTTPResponse,
    MalformedResponse,
    RequestClosed,
    RequestTimedOut,
    Session,
)
from pants.http.client import ConnectionFailed, RequestCancelled
from pants.testing import run_until
from tests.http.httpbin_support import httpbin
from tests.http.nginx_support import free_port
from tests.http.peers_support import DEADLINE, EXAMPLES, Certificate, serving
from tests.http.rogue_support import RogueServer, replying
from tests.http.ws_client_support import status

HOOKS = ["on_response", "on_headers", "on_progress", "on_error", "on_ssl_error"]


class Site:
    """A site of which each path does something else."""

    def __init__(self) -> None:
        self.requests: list[HTTPRequest] = []

    def __call__(self, request: HTTPRequest) -> None:
        self.requests.append(request)
        getattr(self, "do_" + request.path.split("/")[1])(request)

    def do_(self, request: HTTPRequest) -> None:
        request.send_response("Hello, World!")

    def do_headers(self, request: HTTPRequest) -> None:
        request.send_response(json.dumps(dict(request.headers.items())), content_type="application/json")

    def do_echo(self, request: HTTPRequest) -> None:
        """Send the content back, with the type that it came with."""
        request.send_response(request.body, content_type=request.headers["Content-Type"])

    def do_status(self, request: HTTPRequest) -> None:
        request.send_response("content", int(request.path.split("/")[2]))

    def do_chunks(self, request: HTTPRequest) -> None:
        request.send_headers({"Content-Type": "text/plain"})
        for number in range(int(request.path.split("/")[2])):
            request.send(b"%04d" % number)
        request.finish()

    def do_gzip(self, request: HTTPRequest) -> None:
        request.send_response(gzip.compress(b"spam" * 10_000), headers={"Content-Encoding": "gzip"})

    def do_cookies(self, request: HTTPRequest) -> None:
        request.send_response(
            "", headers=[("Set-Cookie", "cake=lie; Path=/"), ("Set-Cookie", "pie=yummy; HttpOnly; Max-Age=60")]
        )

    def do_redirect(self, request: HTTPRequest) -> None:
        left = int(request.path.split("/")[2])
        place = f"/redirect/{left - 1}" if left > 1 else "/"
        request.send_response("moved", 301, headers={"Location": place})

    def do_elsewhere(self, request: HTTPRequest) -> None:
        request.send_response("", 302, headers={"Location": "mailto:a@b.example"})

    def do_secret(self, request: HTTPRequest) -> None:
        request.send_response("who?", 401, headers={"WWW-Authenticate": 'Digest realm="a", nonce="b", qop="auth"'})

    def do_late(self, request: HTTPRequest) -> None:
        request.connection.engine.defer(0.05, request.send_response, "late")

    def do_never(self, request: HTTPRequest) -> None:
        pass

    def do_cut(self, request: HTTPRequest) -> None:
        """Promise more than what comes."""
        request.send_headers({"Content-Length": "100"})
        request.send(b"cut off")
        request.connection.close(flush=True)

    def do_half(self, request: HTTPRequest) -> None:
        """Send something, and then nothing."""
        request.send_headers({"Content-Length": "100"})
        request.send(b"half")


@pytest.fixture
def site() -> Site:
    return Site()


@pytest.fixture
def url(site: Site) -> Iterator[str]:
    with serving(site) as server:
        yield f"http://127.0.0.1:{server.local_address[1]}"


@pytest.fixture
def client() -> Iterator[HTTPClient]:
    with closing(HTTPClient(proxy=False)) as client:
        yield client


@contextlib.contextmanager
def closing(client: HTTPClient) -> Iterator[HTTPClient]:
    try:
        yield client
    finally:
        client.close()


@pytest.fixture
def junk() -> Iterator[str]:
    """The URL of a server that does not speak HTTP."""

    class Junk(Stream):
        def on_read(self, data: bytes) -> None:
            self.write(b"220 mail.example ESMTP\r\n\r\n")

    server = Server(Junk).listen(("127.0.0.1", 0))
    yield f"http://127.0.0.1:{server.local_address[1]}"
    server.close()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return Certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture
def secure(site: Site, certificate: Certificate) -> Iterator[str]:
    with serving(site, context=certificate.server_context) as server:
        yield f"https://127.0.0.1:{server.local_address[1]}"


def echoed(client: HTTPClient, url: str, content: bytes | str, content_type: str = "text/plain") -> HTTPResponse:
    return client.post(f"{url}/echo", content, headers={"Content-Type": content_type}).wait(DEADLINE)


class Told:
    """Hooks that remember what they were called with.

    Attributes:
        calls: The name of each hook that was called, and its arguments.
    """

    def __init__(self, **returned: Any) -> None:
        self.calls: list[tuple[str, tuple[Any, ...]]] = []
        self.returned = returned

    def __call__(self, name: str) -> Callable[..., Any]:
        def hook(*args: Any) -> Any:
            self.calls.append((name, args))
            result = self.returned.get(name)
            if isinstance(result, Exception):
                raise result
            return result

        return hook

    @property
    def hooks(self) -> dict[str, Any]:
        return {name: self(name) for name in HOOKS}

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.calls]

    @property
    def ends(self) -> list[str]:
        return [name for name in self.names if name in ("on_response", "on_error")]


def settle(exchange: Exchange) -> None:
    """Run the engine until an exchange is over, and what it left behind has been told."""
    run_until(lambda: exchange.done, DEADLINE)
    for _ in range(3):
        Engine.instance().poll(0)


# --- Making requests --------------------------------------------------------------------------------------------


def test_a_handler_is_given_the_response(url: str) -> None:
    """Manual: "the easiest way is to pass it to your HTTPClient during initialization"."""
    responses: list[HTTPResponse] = []
    with closing(HTTPClient(responses.append)) as client:
        client.get(f"{url}/status/404")
        (response,) = run_until(lambda: responses, DEADLINE)
    assert isinstance(response, HTTPResponse)
    assert response.status_code == 404


def test_making_a_request_calls_nothing(url: str) -> None:
    """Manual: "The Pants HTTP client is asynchronous": hooks are called from the loop, what fails at once included."""
    told = Told()
    with closing(HTTPClient(**told.hooks)) as client:
        exchange = client.get(url)
        refused = client.get(f"http://127.0.0.1:{free_port()}/")
        assert (told.calls, exchange.done, refused.done) == ([], False, False)
        settle(exchange)
        settle(refused)
    assert sorted(told.ends) == ["on_error", "on_response"]


def test_a_client_needs_no_arguments(url: str) -> None:
    """Manual: ``client = HTTPClient()``."""
    with closing(HTTPClient()) as client:
        settle(client.get(url))


def test_it_can_be_imported_from_both_places() -> None:
    assert pants.http.client.HTTPClient is HTTPClient
    for name in ("CertificateError", "HTTPClientException", "MalformedResponse", "RequestClosed", "RequestTimedOut",
                 "HTTPResponse", "Session"):  # fmt: skip
        assert getattr(pants.http.client, name) is getattr(pants.http, name)


def test_params_show_in_the_url(client: HTTPClient, url: str) -> None:
    """Manual: ``response.url`` is ``'https://...?since=2013-11-01'``."""
    response = client.get(f"{url}/", params={"since": "2013-11-01"}).wait(DEADLINE)
    assert response.url == f"{url}/?since=2013-11-01"


SIGNATURES = {
    "get": ["url", "params"],
    "head": ["url", "params"],
    "options": ["url"],
    "delete": ["url"],
    "trace": ["url"],
    "patch": ["url", "data"],
    "put": ["url", "data"],
    "post": ["url", "data", "files"],
}


@pytest.mark.parametrize("name", SIGNATURES)
@pytest.mark.parametrize("owner", [HTTPClient, Session])
def test_signatures_of_the_methods(owner: Any, name: str) -> None:
    """Manual: ``post(url, data=None, files=None, **kwargs)`` and so on."""
    parameters = list(inspect.signature(getattr(owner, name)).parameters.values())
    assert [parameter.name for parameter in parameters[1:-1]] == SIGNATURES[name]
    assert [parameter.default for parameter in parameters[2:-1]] == [None] * (len(SIGNATURES[name]) - 1)
    assert parameters[-1].kind is inspect.Parameter.VAR_KEYWORD


def test_signatures_of_sessions() -> None:
    """Manual: the order of the arguments of "Session" and "Session.request"."""

    def positional(function: Any) -> list[str]:
        parameters = list(inspect.signature(function).parameters.values())
        return [one.name for one in parameters if one.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD]

    assert positional(Session)[:14] == [
        "client", "on_response", "on_headers", "on_progress", "on_ssl_error", "on_error", "timeout", "max_redirects",
        "keep_alive", "auth", "headers", "cookies", "verify_ssl", "ssl_options",
    ]  # fmt: skip
    assert positional(Session.request)[1:] == [
        "method", "url", "params", "data", "headers", "cookies", "files", "auth", "timeout", "max_redirects",
        "keep_alive",
    ]  # fmt: skip
    assert positional(pants.http.client.HTTPRequest) == [
        "session", "method", "path", "url", "headers", "cookies", "body", "timeout", "max_redirects", "keep_alive",
        "auth",
    ]  # fmt: skip
    assert positional(HTTPResponse) == ["request"]
    assert positional(HTTPResponse.iter_content)[1:] == ["chunk_size", "decode_unicode"]
    assert positional(HTTPResponse.iter_lines)[1:] == ["chunk_size", "decode_unicode"]


def test_arguments_of_the_client_are_those_of_its_session(url: str) -> None:
    """Manual: "All arguments passed to HTTPClient are used to initialize the default session"."""
    with closing(
        HTTPClient(None, None, None, None, None, 12.5, 3, False, ("a", "b"), {"X-One": "1"}, {"c": "d"})
    ) as client:
        request = client.get(url).request
        assert (request.timeout, request.max_redirects, request.keep_alive) == (12.5, 3, False)
        assert request.headers["X-One"] == "1"
        assert request.cookies["c"].value == "d"
        assert isinstance(request.auth, AuthBase)


def test_the_defaults(client: HTTPClient, url: str) -> None:
    """Manual, "Session": timeout 30, max_redirects 10, keep_alive True, auth None."""
    session = client.session()
    assert (session.timeout, session.max_redirects, session.keep_alive, session.auth) == (30, 10, True, None)
    request = client.get(url).wait(DEADLINE).request
    assert (request.timeout, request.max_redirects, request.keep_alive, request.auth) == (30, 10, True, None)
    # Docstring: "They are by default, unlike in Pants 1", and in the manual.
    assert session.verify_ssl is True


# --- Reading responses ------------------------------------------------------------------------------------------


def test_status(client: HTTPClient, url: str) -> None:
    """Manual: 200, 'OK', '200 OK'."""
    response = client.get(url).wait(DEADLINE)
    assert (response.status_code, response.status_text, response.status) == (200, "OK", "200 OK")
    response = client.get(f"{url}/status/404").wait(DEADLINE)
    assert (response.status_code, response.status_text, response.status) == (404, "Not Found", "404 Not Found")
    assert response.http_version == "HTTP/1.1"


def test_there_is_no_raise_for_status(client: HTTPClient, url: str) -> None:
    """Manual: "Unlike with requests, there is no raise_for_status() method available"."""
    assert not hasattr(client.get(url).wait(DEADLINE), "raise_for_status")


def test_headers(client: HTTPClient, url: str) -> None:
    """Manual: "HTTP headers are case-insensitive"."""
    response = client.get(url).wait(DEADLINE)
    assert isinstance(response.headers, HTTPHeaders)
    assert response.headers["content-length"] == response.headers["CONTENT-LENGTH"] == "13"
    assert "content-LENGTH" in response.headers
    assert "Content-Length" in list(response.headers)
    assert repr(response.headers).startswith("HTTPHeaders({")
    with pytest.raises(KeyError):
        response.headers["X-None"]


def test_cookies(client: HTTPClient, url: str) -> None:
    """Manual: ``response.cookies['cake']`` is a Morsel of a SimpleCookie."""
    response = client.get(f"{url}/cookies").wait(DEADLINE)
    assert isinstance(response.cookies, SimpleCookie)
    assert sorted(response.cookies) == ["cake", "pie"]
    morsel = response.cookies["cake"]
    assert isinstance(morsel, Morsel)
    assert (morsel.key, morsel.value, morsel["path"]) == ("cake", "lie", "/")
    assert (response.cookies["pie"]["httponly"], response.cookies["pie"]["max-age"]) == (True, "60")
    assert client.get(url).wait(DEADLINE).cookies == {}


def test_redirects(client: HTTPClient, url: str) -> None:
    """Manual: "the redirecting responses are stored in the HTTPResponse.history list"."""
    response = client.get(f"{url}/redirect/2").wait(DEADLINE)
    assert response.url == f"{url}/"
    assert isinstance(response.history, list)
    assert [one.url for one in response.history] == [f"{url}/redirect/2", f"{url}/redirect/1"]
    assert [one.content for one in response.history] == [b"moved", b"moved"]
    assert repr(response.history[0]).startswith("<HTTPResponse [301 Moved Permanently] at 0x")
    assert client.get(url).wait(DEADLINE).history == []


def test_max_redirects(client: HTTPClient, url: str) -> None:
    """Manual: "By default, Pants will follow up to 10 redirects"."""
    assert client.get(f"{url}/redirect/10").wait(DEADLINE).status_code == 200
    response = client.get(f"{url}/redirect/11").wait(DEADLINE)
    assert (response.status_code, len(response.history)) == (301, 10)
    response = client.get(f"{url}/redirect/1", max_redirects=0).wait(DEADLINE)
    assert (response.status_code, response.history, response.content) == (301, [], b"moved")


def test_nothing_was_received(client: HTTPClient, url: str) -> None:
    """Manual, "content", "text", "file": "None if no data has been received"."""
    for response in (echoed(client, url, b""), client.head(url).wait(DEADLINE)):
        assert (response.content, response.text, response.file, response.length) == (None, None, None, 0)
        assert list(response.iter_content()) == list(response.iter_lines()) == []
        assert list(response.iter_content(decode_unicode=True)) == []
        with pytest.raises(ValueError):
            response.json()


def test_content_and_length(client: HTTPClient, url: str) -> None:
    """Manual: "content" is a byte string, "length" that of the raw response."""
    response = echoed(client, url, b"spam\xff\0")
    assert (response.content, response.length) == (b"spam\xff\0", 6)
    assert type(response.content) is bytes
    response = client.get(f"{url}/gzip").wait(DEADLINE)
    assert response.content == b"spam" * 10_000
    assert response.length == int(response.headers["Content-Length"]) < 1000


@pytest.mark.parametrize(
    "content_type, encoding",
    [
        ("text/plain; charset=utf-8", "utf-8"),
        ("text/plain; charset=ISO-8859-1", "ISO-8859-1"),
        ('text/plain; format=flowed; charset="koi8-r"', "koi8-r"),
        ("text/plain;CHARSET=cp1252", "cp1252"),
        ("text/plain", None),
        ("application/octet-stream", None),
    ],
)
def test_encoding(client: HTTPClient, url: str, content_type: str, encoding: str | None) -> None:
    """Manual: "Pants will attempt to fill this value from the Content-Type response header"."""
    response = echoed(client, url, "\u20ac".encode(), content_type)
    assert response.encoding == encoding
    assert response.text == "\u20ac".encode().decode(encoding or "utf-8", "replace")


@pytest.mark.parametrize(
    "charset", ["nonsense", "base64", "rot13", "hex", "\u00e4", "idna", "undefined", "", "x" * 999]
)
def test_an_encoding_that_there_is_not(client: HTTPClient, charset: str) -> None:
    """What a server names is no reason for `text` to raise."""
    answer = status("200 OK", f"Content-Type: text/plain; charset={charset}", content=b"spam")
    with RogueServer(replying(answer)) as server:
        response = client.get(server.url).wait(DEADLINE)
        client.close()
    assert response.text == "spam"
    assert response.encoding is None


def test_encoding_can_be_set(client: HTTPClient, url: str) -> None:
    """Manual: "You can also set this to a specific character set to have text decoded properly"."""
    response = echoed(client, url, "gr\u00fcn".encode("latin-1"), "text/plain; charset=utf-8")
    assert response.text == "gr\ufffdn"
    response.encoding = "latin-1"
    assert response.encoding == "latin-1"
    assert response.text == "gr\u00fcn"
    assert "".join(response.iter_content(1, decode_unicode=True)) == "gr\u00fcn"
    response.encoding = None
    assert response.text == "gr\ufffdn"
    response.encoding = "utf-16-le"
    assert response.text == "gr\u00fcn".encode("latin-1").decode("utf-16-le")
    response.encoding = "nonsense"
    with pytest.raises(LookupError):
        _ = response.text


def test_text_is_utf8_by_default(client: HTTPClient, url: str) -> None:
    """Manual: "If encoding is None, this will default to UTF-8"."""
    response = echoed(client, url, "gr\u00fcn \u20ac \U0001f600")
    assert (response.encoding, response.text) == (None, "gr\u00fcn \u20ac \U0001f600")


def test_json(client: HTTPClient, url: str) -> None:
    """Manual: "Any provided keyword arguments will be passed to json.loads()"; UTF-8 unless there is an encoding."""
    response = echoed(client, url, '{"price": 1.10, "currency": "\u20ac"}', "application/json")
    assert response.json() == {"price": 1.1, "currency": "\u20ac"}
    assert response.json(parse_float=Decimal)["price"] == Decimal("1.10")
    assert response.json(object_pairs_hook=list) == [("price", 1.1), ("currency", "\u20ac")]
    response = echoed(client, url, '"\u00fc"'.encode("latin-1"), "application/json; charset=latin-1")
    assert response.json() == "\u00fc"
    response = echoed(client, url, '"\u00fc"'.encode("utf-16"), "application/json")
    response.encoding = "utf-16"
    assert response.json() == "\u00fc"
    with pytest.raises(ValueError):
        echoed(client, url, "no JSON").json()


def test_file(client: HTTPClient, url: str) -> None:
    """Manual: "The content of the response as a tempfile.SpooledTemporaryFile"."""
    response = echoed(client, url, b"one\ntwo\n")
    file = response.file
    assert isinstance(file, SpooledTemporaryFile)
    assert file.read() == b"one\ntwo\n"
    assert response.file is file
    file.seek(4)
    assert list(file) == [b"two\n"]
    assert response.content == b"one\ntwo\n"
    file.close()


def test_iter_content(client: HTTPClient, url: str) -> None:
    """Manual: ``iter_content(chunk_size=1, decode_unicode=False)``."""
    response = echoed(client, url, b"spam, eggs")
    assert list(response.iter_content()) == [b"s", b"p", b"a", b"m", b",", b" ", b"e", b"g", b"g", b"s"]
    assert list(response.iter_content(4)) == [b"spam", b", eg", b"gs"]
    assert list(response.iter_content(chunk_size=100)) == [b"spam, eggs"]
    assert "".join(response.iter_content(4, True)) == "spam, eggs"
    assert next(response.iter_content(3)) == b"spa"
    assert list(response.iter_content(10)) == [b"spam, eggs"]
    for size in (0, -1):
        with pytest.raises(ValueError):
            response.iter_content(size)
    for wrong in (None, 1.5, "1"):
        with pytest.raises(TypeError):
            response.iter_content(wrong)  # type: ignore[arg-type]


ENCODINGS = ["utf-8", "utf-16", "utf-32-be", "utf-7", "shift_jis", "gb18030", "iso2022_jp", "big5", "latin-1"]


@pytest.mark.parametrize("spool_size", [4, 1_000_000], ids=["disk", "memory"])
def test_characters_across_chunks(url: str, spool_size: int) -> None:
    """Manual: "decode the bytes into unicode using the response's encoding", however the chunks cut characters up."""
    with closing(HTTPClient(proxy=False, limits=ClientLimits(spool_size=spool_size))) as client:

        @settings(max_examples=60, deadline=None)
        # ESC, SO and SI begin what switches character sets in some of them; alone they cannot be decoded.
        @given(
            st.text(st.characters(exclude_characters="\x0e\x0f\x1b", exclude_categories=["Cs"]), max_size=30),
            st.sampled_from(ENCODINGS),
            st.integers(1, 9),
        )
        def check(text: str, encoding: str, size: int) -> None:
            content = text.encode(encoding, "replace")
            response = echoed(client, url, content, f"text/plain; charset={encoding}")
            if encoding not in ("utf-7", "iso2022_jp"):  # which stateful decoders may have no name for
                assert response.encoding == encoding
            response.encoding = encoding
            assert (response.text or "") == content.decode(encoding)
            pieces = list(response.iter_content(size, decode_unicode=True))
            assert "".join(pieces) == content.decode(encoding)
            assert all(isinstance(piece, str) and piece for piece in pieces)
            assert b"".join(response.iter_content(size)) == content
            response.close()

        check()


@pytest.mark.parametrize("spool_size", [4, 1_000_000], ids=["disk", "memory"])
def test_malformed_characters_across_chunks(url: str, spool_size: int) -> None:
    """Docstring of text: "What is malformed becomes U+FFFD"; so it does in pieces."""
    with closing(HTTPClient(proxy=False, limits=ClientLimits(spool_size=spool_size))) as client:
        letters = st.sampled_from(
            [b"\xf0", b"\x9f", b"\x98", b"\x80", b"\xc3", b"\xa4", b"\xe2", b"\x82", b"\xac", b"a"]
        )

        @settings(max_examples=60, deadline=None)
        @given(st.lists(letters, max_size=20).map(b"".join), st.integers(1, 5))
        def check(content: bytes, size: int) -> None:
            response = echoed(client, url, content)
            assert (response.text or "") == content.decode("utf-8", "replace")
            assert "".join(response.iter_content(size, decode_unicode=True)) == content.decode("utf-8", "replace")
            response.close()

        check()


def test_iter_lines(client: HTTPClient, url: str) -> None:
    """Manual: "Iterate over the content of the response, one line at a time"."""
    response = echoed(client, url, "one\r\ntw\u00f6\n\nthree\rfour")
    assert list(response.iter_lines()) == [b"one", "tw\u00f6".encode(), b"", b"three", b"four"]
    assert list(response.iter_lines(1)) == [b"one", "tw\u00f6".encode(), b"", b"three", b"four"]
    assert list(response.iter_lines(decode_unicode=True)) == ["one", "tw\u00f6", "", "three", "four"]
    assert inspect.signature(response.iter_lines).parameters["chunk_size"].default == 512


@pytest.mark.parametrize("spool_size", [4, 1_000_000], ids=["disk", "memory"])
def test_lines_are_those_of_splitlines(url: str, spool_size: int) -> None:
    """All line ends, wherever the borders of the chunks are."""
    ends = "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"
    with closing(HTTPClient(proxy=False, limits=ClientLimits(spool_size=spool_size))) as client:

        @settings(max_examples=150, deadline=None)
        @given(st.text(st.sampled_from("a\u00e4\u20ac\n\r\r\n" + ends), max_size=25), st.integers(1, 8))
        def check(text: str, size: int) -> None:
            response = echoed(client, url, text)
            assert list(response.iter_lines(size)) == text.encode().splitlines()
            assert list(response.iter_lines(size, decode_unicode=True)) == text.splitlines()
            response.close()

        check()


def test_long_lines(client: HTTPClient, url: str) -> None:
    """A line that is made of many chunks costs no more than linear time."""
    content = b"x" * 400_000 + b"\r\n" + b"y" * 400_000
    response = echoed(client, url, content)
    assert list(response.iter_lines()) == content.splitlines()
    assert [len(line) for line in response.iter_lines(1, decode_unicode=True)] == [400_000, 400_000]
    response.close()


# --- Hooks, at all levels ---------------------------------------------------------------------------------------

EXPECTED = ["on_headers", "on_progress", "on_response"]


def test_hooks_of_the_constructor(url: str) -> None:
    told = Told()
    with closing(HTTPClient(**told.hooks)) as client:
        settle(client.get(url))
    assert told.names == EXPECTED
    assert {type(args[0]) for _, args in told.calls} == {HTTPResponse}
    assert len({id(args[0]) for _, args in told.calls}) == 1


def test_hooks_of_a_subclass(url: str) -> None:
    told = Told()

    class Client(HTTPClient):
        def on_response(self, response: HTTPResponse) -> None:
            told("on_response")(self, response)

        def on_headers(self, response: HTTPResponse) -> None:
            told("on_headers")(self, response)

        def on_progress(self, response: HTTPResponse, received: int, total: int) -> None:
            told("on_progress")(self, response, received, total)

        def on_error(self, response: HTTPResponse, exception: Exception) -> None:
            told("on_error")(self, response, exception)

    with closing(Client()) as client:
        settle(client.get(url))
        settle(client.get(f"{url}/cut"))
        assert all(args[0] is client for _, args in told.calls)
    assert told.names == [*EXPECTED, "on_headers", "on_progress", "on_error"]


def test_hooks_that_are_assigned(client: HTTPClient, url: str) -> None:
    told = Told()
    for name, hook in told.hooks.items():
        setattr(client, name, hook)
    settle(client.get(url))
    settle(client.get(f"{url}/cut"))
    assert told.names == [*EXPECTED, "on_headers", "on_progress", "on_error"]


def test_a_hook_that_is_assigned_while_a_request_is_under_way(client: HTTPClient, url: str) -> None:
    told = Told()
    exchange = client.get(url)
    client.on_response = told("on_response")
    settle(exchange)
    assert told.names == ["on_response"]


@pytest.mark.parametrize("path", ["/", "/cut"])
@pytest.mark.parametrize("levels", [n for k in (1, 2, 3) for n in itertools.combinations(range(1, 5), k)])
def test_the_nearest_hook_is_called(url: str, path: str, levels: tuple[int, ...]) -> None:
    """Manual, "Session": "rather than the HTTPClient's own"; the request's before the inner session's, and so on."""
    told = {level: Told() for level in (*levels, 0)}
    given: list[dict[str, Any]] = [told[level].hooks if level in told else {} for level in range(5)]
    with closing(HTTPClient(**given[0])) as client:
        with client.session(**given[1]), client.session(**given[2]), client.session(**given[3]):
            exchange = client.get(url + path, **given[4])
        settle(exchange)
        settle(client.get(url + path))
    expected = EXPECTED if path == "/" else ["on_headers", "on_progress", "on_error"]
    for level in levels:
        assert told[level].names == (expected if level == max(levels) else [])
    assert told[0].names == expected


@pytest.mark.parametrize("name", ["on_response", "on_headers", "on_progress"])
def test_each_hook_by_itself(url: str, name: str) -> None:
    """What is not given is taken from where it is."""
    outer, inner = Told(), Told()
    with closing(HTTPClient(**outer.hooks)) as client:
        settle(client.get(url, **{name: inner(name)}))
        settle(client.session(**{name: inner(name)}).get(url))
    assert inner.names == [name] * 2
    assert outer.names == [one for one in EXPECTED if one != name] * 2


@pytest.mark.parametrize("name", HOOKS)
def test_hooks_are_callable(client: HTTPClient, url: str, name: str) -> None:
    wrong: dict[str, Any] = {name: "print"}
    with pytest.raises(TypeError, match=name):
        HTTPClient(**wrong)
    with pytest.raises(TypeError, match=name):
        client.session(**wrong)
    with pytest.raises(TypeError, match=name):
        client.get(url, **wrong)


def test_hooks_may_be_false(url: str) -> None:
    """A hook is what is not None. An empty list can be called, if somebody makes it so."""

    class Collected(list[Any]):
        def __call__(self, *args: Any) -> None:
            self.append(args)

    for_client, for_session, for_request = Collected(), Collected(), Collected()
    with closing(HTTPClient(for_client)) as client:
        settle(client.get(url))
        settle(client.session(for_session).get(url))
        settle(client.get(url, on_response=for_request))
        assert (len(for_client), len(for_session), len(for_request)) == (1, 1, 1)


def test_on_headers(client: HTTPClient, url: str) -> None:
    """Manual: "Called when we've received headers for a request": and nothing else is there yet."""
    seen: list[Any] = []

    def on_headers(response: HTTPResponse) -> None:
        seen.append((response.status, response.headers["Content-Length"], response.content, response.length))

    settle(client.get(f"{url}/status/404", on_headers=on_headers))
    assert seen == [("404 Not Found", "7", None, 0)]


def test_on_headers_may_abort(site: Site, url: str) -> None:
    """Manual: "You can abort a request at this time by returning False from this function"."""
    told = Told(on_headers=False)
    with closing(HTTPClient(**told.hooks)) as client:
        exchange = client.get(url)
        settle(exchange)
        assert told.names == ["on_headers"]
        assert isinstance(exchange.error, RequestCancelled)
        with pytest.raises(RequestCancelled):
            exchange.wait(DEADLINE)
        told.returned = {}
        assert client.get(url).wait(DEADLINE).content == b"Hello, World!"


@pytest.mark.parametrize("value", [None, "", 0, 0.0, [], (), True, b""], ids=repr)
def test_what_does_not_abort(url: str, value: object) -> None:
    """Manual: "It must be False, and not simply a false-like value, such as an empty string"."""
    told = Told(on_headers=value)
    with closing(HTTPClient(**told.hooks)) as client:
        settle(client.get(url))
    assert told.names == EXPECTED


def test_on_headers_is_not_called_for_head(url: str) -> None:
    """Manual: "This function isn't called for HTTP HEAD requests"."""
    told = Told(on_headers=False)
    with closing(HTTPClient(**told.hooks)) as client:
        settle(client.head(url))
        settle(client.head(f"{url}/redirect/1"))
    assert told.names == ["on_response"] * 2


def test_hooks_are_not_called_for_what_is_followed(url: str) -> None:
    """Docstring of on_headers: "Redirects that are followed ... are not told"."""
    told = Told()
    with closing(HTTPClient(**told.hooks)) as client:
        settle(client.get(f"{url}/redirect/3"))
        assert told.names == EXPECTED
        assert {args[0].url for _, args in told.calls} == {f"{url}/"}
        settle(client.get(f"{url}/redirect/3", max_redirects=1))
    assert told.names == EXPECTED * 2


def test_on_progress(url: str) -> None:
    """Manual: "The number of bytes received thus far", "The total number of bytes expected for the response"."""
    told = Told()
    content = os.urandom(3_000_000)
    with closing(HTTPClient(**told.hooks)) as client:
        response = echoed(client, url, content, "application/octet-stream")
    assert response.content == content
    response.close()
    progress = [args for name, args in told.calls if name == "on_progress"]
    received = [args[1] for args in progress]
    assert len(received) > 1
    assert received == sorted(set(received))
    assert received[-1] == len(content)
    assert {args[2] for args in progress} == {len(content)}
    assert all(args[0] is response for args in progress)
    assert told.names == ["on_headers", *["on_progress"] * len(progress), "on_response"]


def test_progress_when_the_total_is_not_known(url: str) -> None:
    """Manual: "This will be 0 if we don't know how much to expect"."""
    told = Told()
    with closing(HTTPClient(**told.hooks)) as client:
        settle(client.get(f"{url}/chunks/10"))
    progress = [args[1:] for name, args in told.calls if name == "on_progress"]
    assert progress[-1] == (40, 0)
    assert {total for _, total in progress} == {0}


def test_progress_of_what_is_decoded(url: str) -> None:
    """Docstring: "The bytes received so far, before they are decoded"; that is what the total counts."""
    told = Told()
    with closing(HTTPClient(**told.hooks)) as client:
        response = client.get(f"{url}/gzip").wait(DEADLINE)
    assert told.calls[-2][1][1:] == (response.length, response.length)


def test_no_progress_without_content(url: str) -> None:
    told = Told()
    with closing(HTTPClient(**told.hooks)) as client:
        settle(client.post(f"{url}/echo", b"", headers={"Content-Type": "text/plain"}))
        settle(client.head(url))
    assert told.names == ["on_headers", "on_response", "on_response"]


def test_on_error_is_given_what_has_arrived(url: str) -> None:
    """Docstring: "The response, as far as it has arrived"."""
    told = Told()
    with closing(HTTPClient(**told.hooks)) as client:
        settle(client.get(f"{url}/cut"))
        ((_, (response, error)),) = [call for call in told.calls if call[0] == "on_error"]
        assert isinstance(error, RequestClosed)
        assert (response.status_code, response.content, response.length) == (200, b"cut off", 7)
        settle(client.get(f"http://127.0.0.1:{free_port()}/x"))
        _, (response, error) = told.calls[-1]
        assert isinstance(error, ConnectionFailed)
        assert (response.status_code, response.content, response.request.path) == (0, None, "/x")


def test_the_default_on_error_writes_a_log(client: HTTPClient, url: str, expect_log: Any) -> None:
    """Docstring: "By default that is logged, unless somebody is told by Exchange.wait"."""
    with pytest.raises(RequestClosed):
        client.get(f"{url}/cut").wait(DEADLINE)
    assert expect_log.lines == []
    expect_log("GET .*/cut.* failed")
    settle(client.get(f"{url}/cut"))
    assert len(expect_log.lines) == 1


# --- Each request ends once -------------------------------------------------------------------------------------


def ways_to_end(url: str, junk: str) -> list[tuple[str, dict[str, Any], type[Exception] | None]]:
    """What is asked, and by which exception that ends."""
    return [
        (f"{url}/", {}, None),
        (f"{url}/", {"method": "HEAD"}, None),
        (f"{url}/status/500", {}, None),
        (f"{url}/chunks/100", {}, None),
        (f"{url}/gzip", {}, None),
        (f"{url}/late", {}, None),
        (f"{url}/redirect/5", {}, None),
        (f"{url}/redirect/5", {"max_redirects": 2}, None),
        (f"{url}/secret", {"auth": ("a", "b")}, None),
        (f"{url}/", {"keep_alive": False}, None),
        (f"{url}/elsewhere", {}, pants.http.client.RedirectRefused),
        (f"{url}/cut", {}, RequestClosed),
        (f"{url}/never", {"timeout": 0.1}, RequestTimedOut),
        (f"{url}/half", {"timeout": 0.1}, RequestTimedOut),
        (junk, {}, MalformedResponse),
        (f"http://127.0.0.1:{free_port()}/", {}, ConnectionFailed),
    ]


def test_each_request_ends_once(url: str, junk: str) -> None:
    """By exactly one of on_response and on_error, and `wait` tells the same."""
    with closing(HTTPClient(proxy=False)) as client:
        under_way = []
        for place, kwargs, kind in ways_to_end(url, junk):
            told = Told()
            method = kwargs.pop("method", "GET")
            under_way.append((client.request(method, place, **kwargs, **told.hooks), told, kind))
        run_until(lambda: all(exchange.done for exchange, _, _ in under_way), DEADLINE)
        for _ in range(10):
            Engine.instance().poll(0.01)
        for exchange, told, kind in under_way:
            assert told.ends == ["on_response" if kind is None else "on_error"], exchange.request
            assert told.names[-1] == told.ends[0]
            if kind is None:
                assert told.calls[-1][1] == (exchange.wait(),)
            else:
                _, (response, error) = told.calls[-1]
                assert type(error) is kind
                assert isinstance(response, HTTPResponse)
                assert error is exchange.error
                with pytest.raises(kind):
                    exchange.wait()


@pytest.mark.parametrize("name", ["on_headers", "on_progress"])
def test_an_exception_in_a_hook(url: str, name: str) -> None:
    """Docstrings: it goes to on_error."""
    raised: dict[str, Any] = {name: ZeroDivisionError("by a hook")}
    told = Told(**raised)
    with closing(HTTPClient(**told.hooks)) as client:
        exchange = client.get(url)
        settle(exchange)
        assert told.ends == ["on_error"]
        assert told.calls[-1][1][1] is told.returned[name]
        with pytest.raises(ZeroDivisionError):
            exchange.wait(DEADLINE)
        told.returned = {}
        settle(client.get(url))
    assert told.ends == ["on_error", "on_response"]


@pytest.mark.parametrize("name, path", [("on_response", "/"), ("on_error", "/cut")])
def test_an_exception_in_the_last_hook(url: str, name: str, path: str, expect_log: Any) -> None:
    """Docstring of on_response: "What is raised here, or in on_error, is logged"."""
    expect_log(f"(?s){name} .*ZeroDivisionError: by a hook")
    raised: dict[str, Any] = {name: ZeroDivisionError("by a hook")}
    told = Told(**raised)
    with closing(HTTPClient(**told.hooks)) as client:
        settle(client.get(url + path))
        assert told.ends == [name]
        told.returned = {}
        settle(client.get(url))
    assert told.ends == [name, "on_response"]


@pytest.mark.parametrize("name", EXPECTED)
def test_what_is_no_exception_leaves_the_loop(url: str, name: str) -> None:
    """As of every hook of the engine's: it is for whoever runs the loop."""

    def leave(*args: Any) -> None:
        raise SystemExit(3)

    with closing(HTTPClient(**{name: leave})) as client:  # type: ignore[arg-type]
        client.get(url)
        with pytest.raises(SystemExit):
            run_until(lambda: False, DEADLINE)


def test_cancelling_tells_nobody(url: str) -> None:
    """Docstring of cancel: "Neither on_response nor on_error is called any more"."""
    told = Told()
    with closing(HTTPClient(**told.hooks)) as client:
        at_once, later = client.get(url), client.get(f"{url}/half")
        at_once.cancel()
        run_until(lambda: "on_progress" in told.names, DEADLINE)
        later.cancel()
        for exchange in (at_once, later):
            settle(exchange)
            with pytest.raises(RequestCancelled):
                exchange.wait(DEADLINE)
    assert told.ends == []


@pytest.mark.parametrize("name", EXPECTED)
def test_cancelling_in_a_hook(url: str, name: str) -> None:
    told = Told()
    with closing(HTTPClient(**told.hooks)) as client:
        under_way: list[Exchange] = []
        exchange = client.get(url, **{name: lambda *args: under_way[0].cancel()})
        under_way.append(exchange)
        settle(exchange)
    assert told.ends == []
    assert isinstance(exchange.error, RequestCancelled) == (name != "on_response")


def test_requests_in_hooks(url: str) -> None:
    """What answers one request may make the next."""
    told = Told()

    def on_response(response: HTTPResponse) -> None:
        told("on_response")(response)
        if len(told.calls) < 5:
            asking.get(url)

    with closing(HTTPClient(on_response)) as asking:
        asking.get(url)
        run_until(lambda: len(told.calls) == 5, DEADLINE)


def test_waiting_in_another_thread(client: HTTPClient, url: str) -> None:
    """Docstring of Exchange: "given up by cancel, and waited for by wait, both from any thread"."""
    results: list[Any] = []
    engine = Engine.instance()

    def work() -> None:
        results.append(client.get(url).wait(DEADLINE).content)
        exchange = client.get(f"{url}/never")
        exchange.cancel()
        try:
            exchange.wait(DEADLINE)
        except RequestCancelled as error:
            results.append(type(error))
        engine.call_from_thread(engine.stop)

    thread = threading.Thread(target=work)
    engine.callback(thread.start)
    engine.start()
    thread.join(DEADLINE)
    assert results == [b"Hello, World!", RequestCancelled]


# --- Exceptions -------------------------------------------------------------------------------------------------


def test_the_exceptions() -> None:
    """Manual: "The base exception for all the exceptions used by the HTTP client, aside from CertificateError"."""
    for kind in (MalformedResponse, RequestClosed, RequestTimedOut):
        assert issubclass(kind, HTTPClientException)
    assert issubclass(CertificateError, Exception)
    assert not issubclass(CertificateError, HTTPClientException)
    named = [getattr(pants.http.client, name) for name in pants.http.client.__all__]
    kinds = [kind for kind in named if isinstance(kind, type) and issubclass(kind, Exception)]
    assert all(issubclass(kind, HTTPClientException) for kind in kinds if kind is not CertificateError)


# --- on_ssl_error -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", ["client", "session", "request", "subclass"])
def test_on_ssl_error(secure: str, level: str, expect_log: Any) -> None:
    """Manual: "If this method returns True, the certificate will be accepted"."""
    expect_log("alert unknown ca")  # by the server
    told = Told(on_ssl_error=True)
    hooks = told.hooks

    class Client(HTTPClient):
        def on_ssl_error(self, response: HTTPResponse, certificate: dict[str, Any], exception: CertificateError) -> Any:
            return hooks["on_ssl_error"](response, certificate, exception)

    client = Client(proxy=False) if level == "subclass" else HTTPClient(**hooks if level == "client" else {})
    with closing(client):
        session = client.session(**hooks) if level == "session" else client.session()
        exchange = session.get(f"{secure}/status/404", **hooks if level == "request" else {})
        settle(exchange)
        assert exchange.wait(DEADLINE).status_code == 404
    assert told.names.count("on_ssl_error") == 1
    response, certificate, exception = told.calls[0][1]
    assert response.request.url.hostname == "127.0.0.1"
    assert (response.status_code, response.content) == (0, None)
    assert isinstance(exception, CertificateError)
    assert isinstance(certificate, dict)
    assert ("IP Address", "127.0.0.1") in certificate["subjectAltName"]


@pytest.mark.parametrize("value", [False, None, 1, "yes"], ids=repr)
def test_a_certificate_that_is_not_accepted(secure: str, site: Site, value: object, expect_log: Any) -> None:
    """Manual: "otherwise, the connection will be closed and on_error() will be called"."""
    expect_log("alert unknown ca")  # by the server
    told = Told(on_ssl_error=value)
    with closing(HTTPClient(**told.hooks)) as client:
        settle(client.get(secure))
    assert told.names == ["on_ssl_error", "on_error"]
    assert isinstance(told.calls[-1][1][1], CertificateError)
    assert told.calls[0][1][2] is told.calls[-1][1][1]
    assert site.requests == []


def test_an_exception_in_on_ssl_error(secure: str, expect_log: Any) -> None:
    expect_log("alert unknown ca")  # by the server
    told = Told(on_ssl_error=ZeroDivisionError("by a hook"))
    with closing(HTTPClient(**told.hooks)) as client:
        settle(client.get(secure))
    assert told.names == ["on_ssl_error", "on_error"]
    assert isinstance(told.calls[-1][1][1], ZeroDivisionError)


def test_verified_and_not_verified(secure: str, certificate: Certificate) -> None:
    """Manual, "verify_ssl", "ssl_options"."""
    told = Told()
    with closing(HTTPClient(**told.hooks)) as client:
        settle(client.get(secure, verify_ssl=False))
        settle(client.get(secure, ssl_options={"ca_certs": certificate.ca}))
        with client.session(ssl_options={"ca_certs": certificate.ca}):
            settle(client.get(secure))
        with client.session(verify_ssl=False):
            settle(client.get(secure))
    assert told.names == EXPECTED * 4


# --- Sessions ---------------------------------------------------------------------------------------------------


def sent(client: HTTPClient | Session, url: str, **kwargs: Any) -> Any:
    return client.get(f"{url}/headers", **kwargs).wait(DEADLINE).json()


def test_a_session_is_active_within_its_block(client: HTTPClient, url: str) -> None:
    """Manual: "sharing state between multiple requests, and enabling the use of with syntax"."""
    with client.session(headers={"X-Who": "outer"}) as outer:
        assert isinstance(outer, Session)
        assert sent(client, url)["X-Who"] == "outer"
        with client.session(headers={"X-Who": "inner"}) as inner:
            assert sent(client, url)["X-Who"] == "inner"
            assert sent(outer, url)["X-Who"] == "outer"
            assert client.get(url).request.session is inner
        assert sent(client, url)["X-Who"] == "outer"
        assert sent(inner, url)["X-Who"] == "inner"
    assert "X-Who" not in sent(client, url)
    assert outer.client is inner.client is client


def test_a_session_is_left_by_an_exception_too(client: HTTPClient, url: str) -> None:
    with pytest.raises(ZeroDivisionError), client.session(headers={"X-Who": "session"}):
        raise ZeroDivisionError
    assert "X-Who" not in sent(client, url)


def test_a_session_can_be_entered_again(client: HTTPClient, url: str) -> None:
    session = client.session(headers={"X-Who": "session"})
    for _ in range(2):
        with session:
            assert sent(client, url)["X-Who"] == "session"
            with session:
                assert sent(client, url)["X-Who"] == "session"
            assert sent(client, url)["X-Who"] == "session"
    assert "X-Who" not in sent(client, url)


@pytest.mark.parametrize("method", ["get", "head", "post", "put", "patch", "delete", "options"])
def test_a_session_has_the_methods_of_the_client(client: HTTPClient, url: str, site: Site, method: str) -> None:
    session = client.session(headers={"X-Who": "session"})
    for owner in (client, session):
        getattr(owner, method)(f"{url}/status/200").wait(DEADLINE)
        owner.request(method.upper(), f"{url}/status/200").wait(DEADLINE)
    assert [request.method for request in site.requests] == [method.upper()] * 4
    assert [request.headers.get("X-Who") for request in site.requests] == [None, None, "session", "session"]


def test_a_request_keeps_its_session(client: HTTPClient, url: str) -> None:
    """The block may be over when the response comes: that is how the manual's example ends."""
    told = Told()
    with client.session(told("on_response"), cookies={"pie": "yummy"}) as session:
        exchange = client.get(f"{url}/redirect/2")
    settle(exchange)
    assert told.names == ["on_response"]
    response = told.calls[0][1][0]
    assert response.request.session is session
    assert response.request.cookies["pie"].value == "yummy"


VALUES: list[tuple[str, Any, Any]] = [
    ("timeout", 12.5, 7.0),
    ("max_redirects", 3, 0),
    ("keep_alive", False, True),
]


@pytest.mark.parametrize("name, outer, inner", VALUES)
def test_what_is_not_given_is_inherited(client: HTTPClient, url: str, name: str, outer: Any, inner: Any) -> None:
    def asked(owner: HTTPClient | Session, **kwargs: Any) -> Any:
        exchange = owner.get(url, **kwargs)
        exchange.cancel()
        return getattr(exchange.request, name)

    with client.session(**{name: outer}) as first:
        with client.session() as second:
            assert asked(client) == outer
            assert asked(client, **{name: inner}) == inner
            assert asked(second.session(**{name: inner}).session()) == inner
        with client.session(**{name: inner}):
            assert asked(client) == inner
            assert asked(client, **{name: outer}) == outer
        assert getattr(first, name) == getattr(second, name) == outer


def test_headers_are_inherited_one_by_one(client: HTTPClient, url: str) -> None:
    with client.session(headers={"X-One": "1", "X-Two": "2"}), client.session(headers={"x-two": "3", "X-Four": "4"}):
        told = sent(client, url, headers={"X-FOUR": "5"})
    assert (told["X-One"], told["X-Two"], told["X-Four"]) == ("1", "3", "5")


def test_auth_is_inherited(client: HTTPClient, url: str) -> None:
    class Auth(AuthBase):
        def __init__(self, value: str) -> None:
            self.value = value

        def __call__(self, request: pants.http.client.HTTPRequest) -> None:
            request.headers["Authorization"] = self.value

    with client.session(auth=Auth("outer")), client.session():
        assert sent(client, url)["Authorization"] == "outer"
        assert sent(client, url, auth=Auth("own"))["Authorization"] == "own"
        with client.session(auth=Auth("inner")):
            assert sent(client, url)["Authorization"] == "inner"
    assert "Authorization" not in sent(client, url)


def test_a_jar_can_be_shared(client: HTTPClient, url: str) -> None:
    """Docstring: "a http.cookiejar.CookieJar, to be used by this session"."""
    jar = CookieJar()
    with client.session(cookies=jar) as session:
        client.get(f"{url}/cookies").wait(DEADLINE)
    assert session.cookies is jar
    assert {cookie.name: cookie.value for cookie in jar} == {"cake": "lie", "pie": "yummy"}
    assert "Cookie" not in sent(client, url)
    with closing(HTTPClient(cookies=jar)) as other:
        assert set(sent(other, url)["Cookie"].split("; ")) == {"cake=lie", "pie=yummy"}


def test_cookies_go_to_their_own_domain_only(client: HTTPClient, url: str) -> None:
    """Manual: "Pants has logic to prevent sending cookies to the wrong domains"."""
    client.get(f"{url}/cookies").wait(DEADLINE)
    assert "Cookie" in sent(client, url)
    assert "Cookie" not in sent(client, url.replace("127.0.0.1", "localhost"))


# --- HTTPRequest ------------------------------------------------------------------------------------------------


def test_the_attributes_of_a_request(client: HTTPClient, url: str) -> None:
    """Manual: "HTTPRequest"."""
    with client.session(headers={"X-One": "1"}) as session:
        exchange = client.post(
            f"{url}/echo?a=b#c", "content", cookies={"d": "e"}, timeout=9, max_redirects=3, keep_alive=False,
            headers={"Content-Type": "text/plain"},
        )  # fmt: skip
    response = exchange.wait(DEADLINE)
    request = response.request
    assert isinstance(request, pants.http.client.HTTPRequest)
    assert exchange.request is request
    assert request.response is response
    assert request.session is session
    assert request.method == "POST"
    assert request.path == "/echo?a=b"
    assert request.url == urlparse(f"{url}/echo?a=b#c")
    assert isinstance(request.url, tuple)
    assert (request.headers["x-one"], request.headers["content-type"]) == ("1", "text/plain")
    assert request.headers["Content-Length"] == "7"
    assert isinstance(request.cookies, SimpleCookie)
    assert request.cookies["d"].value == "e"
    assert isinstance(request.body, list)
    assert b"".join(request.body) == b"content"
    assert (request.timeout, request.max_redirects, request.keep_alive, request.auth) == (9, 3, False, None)


def test_the_body_of_a_request(client: HTTPClient, url: str, tmp_path: Path) -> None:
    """Manual, "body": "A list of strings and files sent as this request's body"."""
    (tmp_path / "file").write_bytes(b"content")
    with open(tmp_path / "file", "rb") as file:
        request = client.post(url, {"a": "b"}, {"file": file}).wait(DEADLINE).request
        assert file in request.body
        assert all(part is file or isinstance(part, bytes) for part in request.body)
    assert client.get(url).wait(DEADLINE).request.body == []


def test_redirects_count_down(client: HTTPClient, url: str) -> None:
    """Manual, "max_redirects": "The maximum remaining number of redirects before not automatically redirecting"."""
    response = client.get(f"{url}/redirect/3", max_redirects=5).wait(DEADLINE)
    assert [one.request.max_redirects for one in [*response.history, response]] == [5, 4, 3, 2]
    assert all(one.request.response is one for one in [*response.history, response])


def test_auth_of_a_request(client: HTTPClient, url: str) -> None:
    """Manual, "auth": "Either a tuple of (username, password) or an instance of AuthBase"."""
    exchange = client.get(f"{url}/headers", auth=("user", "pass"))
    assert isinstance(exchange.request.auth, (tuple, AuthBase))
    assert exchange.wait(DEADLINE).json()["Authorization"].startswith("Basic ")


def test_what_was_sent_does_not_change_afterwards(client: HTTPClient, url: str) -> None:
    """Manual, "headers", "cookies": those "sent with this request"."""
    session = client.session()
    first = session.get(f"{url}/cookies").wait(DEADLINE)
    assert "Cookie" not in first.request.headers
    assert first.request.cookies == {}


# --- handle_301, handle_401 -------------------------------------------------------------------------------------


def test_handle_301(client: HTTPClient, url: str) -> None:
    """Manual: "Handle the different redirect codes"; docstring: "The request to be made next"."""
    response = client.get(f"{url}/redirect/2", max_redirects=1).wait(DEADLINE)
    assert response.handle_301(client) is None  # no more redirects are to be followed
    (first,) = response.history
    following = first.handle_301(client)
    assert following is not None
    assert following.path == "/redirect/1"
    assert client.get(url).wait(DEADLINE).handle_301(client) is None


def test_handle_401(client: HTTPClient, url: str) -> None:
    """Manual: "Handle authorization, if we know how"."""
    response = client.get(f"{url}/secret").wait(DEADLINE)
    assert (response.status_code, response.content) == (401, b"who?")
    assert response.handle_401(client) is None
    response = client.get(f"{url}/secret", auth=pants.http.DigestAuth("a", "b")).wait(DEADLINE)
    assert (response.status_code, len(response.history)) == (401, 1)
    assert response.request.headers["Authorization"].startswith('Digest username="a"')
    assert "Authorization" not in response.history[0].request.headers


# --- Wrong arguments --------------------------------------------------------------------------------------------

WRONG: list[tuple[dict[str, Any], type[Exception]]] = [
    ({"method": "GE T"}, ValueError),
    ({"method": "GET\r\nX: 1"}, ValueError),
    ({"method": 7}, TypeError),
    ({"url": "/path"}, ValueError),
    ({"url": "ftp://a/"}, ValueError),
    ({"url": "http://a/\r\nX: 1"}, ValueError),
    ({"url": "http://a:b/"}, ValueError),
    ({"url": b"http://a/"}, TypeError),
    ({"params": 7}, TypeError),
    ({"headers": {"X": "a\r\nb"}}, ValueError),
    ({"headers": {"X Y": "a"}}, ValueError),
    ({"headers": "X: a"}, TypeError),
    ({"cookies": {"a": "b;c"}}, ValueError),
    ({"cookies": {"a b": "c"}}, ValueError),
    ({"cookies": "a=b"}, TypeError),
    ({"files": {"a": ("b\r\nc", b"d")}}, ValueError),
    ({"files": {"a": 7}}, TypeError),
    ({"data": "a", "files": {"a": b"b"}}, TypeError),
    ({"data": 7}, TypeError),
    ({"data": "a", "json": {}}, ValueError),
    ({"json": {1, 2}}, TypeError),
    ({"auth": "user"}, TypeError),
    ({"auth": ("a:b", "c")}, ValueError),
    ({"timeout": 0}, ValueError),
    ({"timeout": "1"}, TypeError),
    ({"max_redirects": -1}, ValueError),
    ({"max_redirects": "1"}, TypeError),
    ({"keep_alive": 1}, TypeError),
    ({"unknown": 1}, TypeError),
]


@pytest.mark.parametrize("given, kind", WRONG, ids=lambda value: repr(value)[:40] if isinstance(value, dict) else "")
def test_wrong_arguments_raise_at_the_call(url: str, given: dict[str, Any], kind: type[Exception]) -> None:
    """Docstring of Session.request, "Raises"; and nothing comes of it later."""
    told = Told()
    with closing(HTTPClient(**told.hooks)) as client:
        with pytest.raises(kind):
            client.request(**{"method": "POST", "url": url, **given})
        settle(client.get(url))
    assert told.names == EXPECTED


# --- The manual's programs --------------------------------------------------------------------------------------

# Letter by letter what is in the manual, "HTTPClient", but for print's parentheses.
FIRST_PROGRAM = """
from pants.http import HTTPClient
from pants.engine import Engine

def response_handler(response):
    Engine.instance().stop()
    print(response.content)

client = HTTPClient(response_handler)
client.get("http://httpbin.org/ip")
Engine.instance().start()
"""
SECOND_PROGRAM = """
from pants.http import HTTPClient
from pants.engine import Engine

def response_handler(response):
    Engine.instance().stop()
    print(response.content)

def other_handler(response):
    print(response.content)

client = HTTPClient(response_handler)
client.get("http://httpbin.org/cookies")

with client.session(cookies={'pie': 'yummy'}):
    client.get("http://httpbin.org/cookies")

Engine.instance().start()
"""


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a Python program to its end. Warnings are errors."""
    return subprocess.run(
        [sys.executable, "-W", "error", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
        env=os.environ | {"NO_PROXY": "*"},
    )


def test_the_first_program() -> None:
    done = run("-c", FIRST_PROGRAM.replace("http://httpbin.org", httpbin()))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == repr(b'{\n  "origin": "127.0.0.1"\n}\n') + "\n"


def test_the_second_program() -> None:
    """The engine stops at the first answer; the second may have come by then, or not."""
    done = run("-c", SECOND_PROGRAM.replace("http://httpbin.org", httpbin()))
    assert (done.returncode, done.stderr) == (0, "")
    assert set(done.stdout.splitlines()) <= {
        repr(b'{\n  "cookies": {}\n}\n'),
        repr(b'{\n  "cookies": {\n    "pie": "yummy"\n  }\n}\n'),
    }
    assert done.stdout


@pytest.mark.parametrize("name", ["get", "sessions", "post"])
def test_the_examples_ask_httpbin_by_default(name: str) -> None:
    assert '"http://httpbin.org' in (EXAMPLES / f"http_client_{name}.py").read_text()


def test_example_get(url: str) -> None:
    done = run(EXAMPLES / "http_client_get.py", f"{httpbin()}/ip")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == {"origin": "127.0.0.1"}
    place = f"http://127.0.0.1:{free_port()}/"
    done = run(EXAMPLES / "http_client_get.py", place)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"{place}: ")
    assert len(done.stderr.splitlines()) == 1


def test_example_sessions() -> None:
    done = run(EXAMPLES / "http_client_sessions.py", httpbin())
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(done.stdout.splitlines()) == ["in the session: {'pie': 'yummy'}", "without a session: {}"]


def test_example_post(tmp_path: Path) -> None:
    (tmp_path / "test.txt").write_text("content")
    done = run(EXAMPLES / "http_client_post.py", "--url", f"{httpbin()}/post", tmp_path / "test.txt")
    told = json.loads(done.stdout)
    assert (told["form"], told["files"]) == ({"greeting": "Hello"}, {"file0": "content"})
    first, *progress = done.stderr.splitlines()
    assert first == "200 OK application/json"
    size = len(done.stdout.encode())
    assert progress[-1] == f"{size} of {size} bytes"
    assert done.returncode == 0
    done = run(EXAMPLES / "http_client_post.py", "--url", f"{httpbin()}/post")
    assert json.loads(done.stdout)["headers"]["Content-Type"] == "application/x-www-form-urlencoded"
    done = run(EXAMPLES / "http_client_post.py", "--url", f"{httpbin()}/status/404")
    assert (done.returncode, done.stderr.splitlines()[-1]) == (1, "There was a problem!")
    done = run(EXAMPLES / "http_client_post.py", tmp_path / "nothing")
    assert done.returncode == 2
    assert "No such file" in done.stderr
