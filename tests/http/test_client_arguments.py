"""What the HTTP client does not take: it raises at the call, says what to do instead, and leaves nothing behind."""

from __future__ import annotations

import contextlib
import gc
import io
import math
import os
import queue
import re
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

import h11
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from pants import Engine
from pants.http import HTTPClient
from pants.http.client import ClientLimits, ResponseTooLarge, Retries, Timeout
from tests.http.client_support import client_of
from tests.http.peers_support import DEADLINE
from tests.http.rogue_support import Request, RogueServer, chunked, head, replying
from tests.http.ws_client_support import status

OK: Final = status("200 OK", content=b"spam")
# Nobody is to be asked there.
URL: Final = "http://127.0.0.1:1/"


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


@pytest.fixture
def client() -> Iterator[HTTPClient]:
    """A client that is left as it was: no exchange, no connection, no descriptor, no session."""
    with client_of(on_error=lambda *_: pytest.fail("on_error was called")) as made:
        made.engine.poll(0)
        gc.collect()
        before = len(os.listdir("/dev/fd"))
        yield made
        assert made._exchanges == set()
        assert not made._pools
        assert len(os.listdir("/dev/fd")) == before
        for _ in range(3):
            made.engine.poll(0)


def asked(method: str = "GET", path: str = "/", **kwargs: Any) -> Request:
    """What arrives at a server."""
    with RogueServer(replying(OK)) as server, client_of() as client:
        client.request(method, server.origin + path, **kwargs).wait(DEADLINE)
    (request,) = server.requests
    return request


# --- Methods ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "method",
    [
        *("", " ", "GET ", " GET", "G T", "GET\r\n", "GET\r\nX: y", "GET / HTTP/1.1\r\nX: y\r\n\r\n", "G\0T", "G\tT"),
        *("GE/T", "GE:T", "G@T", "(GET)", "G\xcbT", "GET\u2028", "\uff27ET", "CONNECT", "connect"),
    ],
)
def test_methods_that_cannot_be_sent(client: HTTPClient, method: str) -> None:
    with pytest.raises(ValueError, match=r"token|proxy"):
        client.request(method, URL)
    with pytest.raises(ValueError, match=r"token|proxy"):
        client.session().request(method, URL, data=b"x")


@pytest.mark.parametrize("method", [None, 1, b"GET", ["GET"], True])
def test_methods_of_the_wrong_type(client: HTTPClient, method: Any) -> None:
    with pytest.raises(TypeError, match="method is a str"):
        client.request(method, URL)


@pytest.mark.parametrize(
    "method, on_the_wire", [("get", "GET"), ("Patch", "PATCH"), ("PURGE", "PURGE"), ("M-SEARCH", "M-SEARCH")]
)
def test_methods(method: str, on_the_wire: str) -> None:
    assert asked(method).line == f"{on_the_wire} / HTTP/1.1"


# --- URLs ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url, message",
    [
        ("", "http://"),
        ("/a", "http://"),
        ("a.test/b", "http://"),
        ("//a.test/b", "http://"),
        ("ftp://a.test/", "http://"),
        ("file:///etc/passwd", "http://"),
        ("javascript:alert(1)", "http://"),
        ("ws://a.test/", "http://"),
        ("http://", "host"),
        ("http:///b", "host"),
        ("http://:80/", "host"),
        ("http://a.test:x/", "port"),
        ("http://a.test:65536/", "port"),
        ("http://a.test:-1/", "port"),
        ("http://a b.test/", "host name"),
        ("http://a..test/", "host name"),
        ("http://" + "a" * 64 + ".test/", "host name"),
        ("http://a<b>/", "host name"),
        ("http://[::1/", "host"),
        ("http://[spam]/", "host"),
        ("http://\ud800.test/", "host name"),
        ("http://a.test/\ud800", "surrogate"),
        ("http://u%3A:p@a.test/", "colon"),
        ("http://u:p%0d%0aX@a.test/", "control"),
        *((f"http://a.test/{character}", "control characters") for character in "\r\n\t\0\x1b\x7f"),
        *((f"http://a{character}.test/", "control characters") for character in "\r\n\t\0\x1b\x7f"),
        ("http://a.test/ HTTP/1.1\r\nX: y\r\n\r\n", "control characters"),
        ("http://a.test\r\nX: y/", "control characters"),
        ("\nhttp://a.test/", "control characters"),
        ("http://a.test/?b=\r\nX: y", "control characters"),
        ("http://a.test/#\r\nX: y", "control characters"),
    ],
)
def test_urls_that_cannot_be_asked(client: HTTPClient, url: str, message: str) -> None:
    for call in (client.get, client.post, client.head, client.delete, client.session().get):
        with pytest.raises(ValueError, match=message):
            call(url)
    with pytest.raises(ValueError, match=message):
        client.get(url, params={})


@pytest.mark.parametrize("url", [None, 1, b"http://a.test/", Path("a"), ["http://a.test/"]])
def test_urls_of_the_wrong_type(client: HTTPClient, url: Any) -> None:
    with pytest.raises(TypeError, match="url is a str"):
        client.get(url)
    with pytest.raises(TypeError, match="url is a str"):
        client.get(url, params={"a": "b"})


@pytest.mark.parametrize(
    "url",
    ["http://u:secret@a b/", "http://u:secret@a.test:x/", "http://u:secret@a.test/\r\n", "ftp://u:secret@a.test/"],
)
def test_credentials_are_not_told(client: HTTPClient, url: str) -> None:
    with pytest.raises(ValueError, match=r"\*\*\*@|host name") as caught:
        client.get(url)
    assert "secret" not in str(caught.value)


def test_credentials_are_not_told_of_what_was_asked() -> None:
    with RogueServer(replying(OK)) as server, client_of() as client:
        exchange = client.get(server.url.replace("//", "//u:secret@"))
        response = exchange.wait(DEADLINE)
        for shown in (exchange, exchange.request, response, response.url, exchange.request.url, client):
            assert "secret" not in repr(shown)


@pytest.mark.parametrize(
    "path, target",
    [
        ("/a b", "/a%20b"),
        ("/a b?c d#e f", "/a%20b?c%20d"),
        ("/\xe4\u20ac", "/%C3%A4%E2%82%AC"),
        ("?a", "/?a"),
        ("#a", "/"),
        ("/%41%2f", "/%41%2f"),
        ('/<">', "/%3C%22%3E"),
    ],
)
def test_what_is_quoted(path: str, target: str) -> None:
    assert asked(path=path).target == target


# --- Parameters -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "params, target",
    [
        ({}, "/a?z=1"),
        ({"b": "c"}, "/a?z=1&b=c"),
        ({"b": ["c", "d"], "e": None, "f": 1}, "/a?z=1&b=c&b=d&f=1"),
        ([("b", "c"), ("b", "d")], "/a?z=1&b=c&b=d"),
        ("b=c&d", "/a?z=1&b=c&d"),
        ({"b": "c d&e=\xe4\r\n"}, "/a?z=1&b=c+d%26e%3D%C3%A4%0D%0A"),
        ({"b": b"\xff"}, "/a?z=1&b=%FF"),
    ],
)
def test_params(params: Any, target: str) -> None:
    assert asked(path="/a?z=1#f", params=params).target == target


@pytest.mark.parametrize("params", [1, 1.5, True, b"a=b", ["a"], ["ab"], [("a", "b", "c")], object(), [1]])
def test_params_of_the_wrong_type(client: HTTPClient, params: Any) -> None:
    with pytest.raises(TypeError, match="params are a dict"):
        client.get(URL, params=params)
    with pytest.raises(TypeError, match="params are a dict"):
        client.request("POST", URL, params)


@pytest.mark.parametrize("params", ["a\r\nX: y", "a=b\n", "\0", {"a": "\ud800"}, {"\ud800": "a"}, "\ud800"])
def test_params_that_cannot_be_sent(client: HTTPClient, params: Any) -> None:
    with pytest.raises(ValueError, match=r"control|surrogate"):
        client.get(URL, params=params)


# --- Headers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        {"": "a"},
        {"A B": "c"},
        {"A:": "b"},
        {"A\r\nB": "c"},
        {"A\n": "b"},
        {"\xc4": "a"},
        {"A\0": "b"},
        {"(A)": "b"},
        {"A": "b\r\nC: d"},
        {"A": "b\n"},
        {"A": "b\rc"},
        {"A": "\0"},
        {"A": "\x1b[0m"},
        {"A": "\x7f"},
        {"A": "\u20ac"},
        {"A": "\ud800"},
        {"A": ["b", "c\r\nD: e"]},
        [("A", "b"), ("C", "d\r\n")],
        {"User-Agent": "a\r\nb"},
        {"Host": "a\r\nb"},
        {"Cookie": "a\r\nb"},
    ],
)
def test_headers_that_cannot_be_sent(client: HTTPClient, headers: Any) -> None:
    for call in (
        lambda: client.get(URL, headers=headers),
        lambda: client.session(headers=headers),
        lambda: HTTPClient(headers=headers),
        lambda: client.post(URL, data=b"a", headers=headers),
    ):
        with pytest.raises(ValueError, match="header"):
            call()


@pytest.mark.parametrize(
    "headers",
    [
        *(1, "A: b", b"A: b", ["A: b"], [("A",)], [("A", "b", "c")], {1: "a"}, {b"A": "b"}, {"A": b"b"}, {"A": 1.5}),
        *({"A": True}, {"A": object()}, {None: "a"}, object()),
    ],
)
def test_headers_of_the_wrong_type(client: HTTPClient, headers: Any) -> None:
    with pytest.raises(TypeError, match="header"):
        client.get(URL, headers=headers)
    with pytest.raises(TypeError, match="header"):
        client.session(headers=headers)


@pytest.mark.parametrize(
    "name, remedy",
    [
        ("Content-Length", "body"),
        ("Transfer-Encoding", "iterator"),
        ("Connection", "keep_alive"),
        ("Keep-Alive", "keep_alive"),
        ("Upgrade", "WebSocket"),
        ("Proxy-Authorization", "proxy"),
    ],
)
@pytest.mark.parametrize("spelling", [str, str.lower, str.upper])
def test_headers_that_the_client_sets_itself(
    client: HTTPClient, name: str, remedy: str, spelling: Callable[[str], str]
) -> None:
    for headers in ({spelling(name): "1"}, [("A", "b"), (spelling(name), "1")]):
        with pytest.raises(ValueError, match=remedy) as caught:
            client.post(URL, data=b"a", headers=headers)
        assert spelling(name) in str(caught.value)
        with pytest.raises(ValueError, match=remedy):
            client.session(headers=headers)


@pytest.mark.parametrize("name", ["TE", "Trailer", "Expect"])
def test_headers_that_make_promises(name: str) -> None:
    """They may be refused, or arrive as they are; the request is well-formed either way."""
    value = {"TE": "gzip", "Trailer": "X", "Expect": "100-continue"}[name]
    try:
        request = asked("POST", data=b"eggs", headers={name: value})
    except ValueError:
        return
    assert request.body == b"eggs"
    assert request[name] == value


def test_headers_that_are_left_out() -> None:
    headers = {"User-Agent": None, "accept": None, "X": "y", "Missing": None}
    request = asked(headers=headers)
    assert "User-Agent" not in request
    assert "Accept" not in request
    assert request["X"] == "y"
    with RogueServer(replying(OK)) as server, client_of(headers={"A": "1", "B": "2"}) as client:
        client.get(server.url, headers={"a": None, "C": "3"}).wait(DEADLINE)
        with client.session(headers={"B": None}):
            client.get(server.url).wait(DEADLINE)
        client.get(server.url).wait(DEADLINE)
    found = [{name: value for name, value in request.fields if name in "abc"} for request in server.requests]
    assert found == [{"b": "2", "c": "3"}, {"a": "1"}, {"a": "1", "b": "2"}]


def test_a_host_cannot_be_left_out() -> None:
    """RFC 9112 §3.2: each request has one."""
    try:
        request = asked(headers={"Host": None})
    except ValueError:
        return
    assert len(request.all("Host")) == 1


@pytest.mark.parametrize("hosts", [["a.test", "b.test"], [("Host", "a.test"), ("host", "b.test")]])
def test_several_hosts(client: HTTPClient, hosts: Any) -> None:
    """RFC 9112 §3.2: a server refuses them."""
    with pytest.raises(ValueError, match="Host"):
        client.get(URL, headers={"Host": hosts} if isinstance(hosts[0], str) else hosts)


def test_the_values_of_headers() -> None:
    request = asked(headers={"A": 1, "B": ["c", "d"], "E": "\xe4\tf", "G": ""})
    assert (request["A"], request.all("B"), request["E"], request["G"]) == ("1", ["c", "d"], "\xe4\tf", "")


def test_a_session_whose_headers_were_changed_to_what_cannot_be_sent() -> None:
    session = HTTPClient().session(headers={"A": "b"})

    def change(name: str, value: str) -> None:
        """It is refused here or there."""
        session.headers[name] = value
        try:
            session.get(URL)
        finally:
            del session.headers[name]

    with pytest.raises(ValueError, match="header"):
        change("C", "d\r\nE: f")
    with pytest.raises(ValueError, match="header"):
        change("C\r\n", "d")
    with pytest.raises(ValueError, match="Content-Length"):
        change("Content-Length", "5")
    session.get(URL).cancel()


# --- Bodies ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments, error",
    [
        ({"data": "a", "files": {"f": b"x"}}, (TypeError, ValueError)),
        ({"data": b"a", "files": {"f": b"x"}}, (TypeError, ValueError)),
        ({"data": b"a", "json": {}}, ValueError),
        ({"json": {}, "files": {"f": b"x"}}, ValueError),
        ({"data": {}, "json": 1}, ValueError),
        ({"data": 1}, TypeError),
        ({"data": 1.5}, TypeError),
        ({"data": object()}, TypeError),
        ({"data": {"a": object()}}, TypeError),
        ({"data": [1, 2]}, TypeError),
        ({"data": [("a", "b"), 1]}, TypeError),
        ({"data": "\ud800"}, ValueError),
        ({"data": {"a": "\ud800"}}, ValueError),
        ({"json": object()}, TypeError),
        ({"json": math.nan}, ValueError),
        ({"json": {"a": math.inf}}, ValueError),
        ({"json": {"a": "\ud800"}}, ValueError),
        ({"files": 1}, TypeError),
        ({"files": "f"}, TypeError),
        ({"files": {"f": 1}}, TypeError),
        ({"files": {"f": ()}}, (TypeError, ValueError)),
        ({"files": {"f": ("n", b"x", "t", {}, 1)}}, (TypeError, ValueError)),
        ({"files": {"f\r\nX: y": b"x"}}, ValueError),
        ({"files": {"f": ("n\r\nX: y", b"x")}}, ValueError),
        ({"files": {"f": ("n\0", b"x")}}, ValueError),
        ({"files": {"f": ("n", b"x", "text/plain\r\nX: y")}}, ValueError),
        ({"files": {"f": ("n", b"x", "text/plain", {"X": "y\r\nZ: a"})}}, ValueError),
        ({"files": {"f": ("n", b"x", "text/plain", {"X\r\n": "y"})}}, ValueError),
        ({"files": {"f": ("n", b"x", "text/plain", {"Content-Length": "1"})}}, ValueError),
        ({"data": {"a\r\nb": "c"}, "files": {"f": b"x"}}, ValueError),
    ],
)
def test_bodies_that_are_none(client: HTTPClient, arguments: dict[str, Any], error: Any) -> None:
    with pytest.raises(error):
        client.request("POST", URL, **arguments)
    with pytest.raises(error):
        client.session().request("PUT", URL, **arguments)


def test_files_that_are_closed_or_not_to_be_read(client: HTTPClient, tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"spam")
    with path.open("rb") as file, path.open("rb") as other:
        other.close()
        for files in ({"f": file, "g": other}, {"f": file, "g": 1}):
            with pytest.raises((TypeError, ValueError)):
                client.post(URL, files=files)
        # Nothing of them is used up.
        assert file.read() == b"spam"
    with path.open("ab") as appended, pytest.raises((TypeError, ValueError, OSError)):
        client.post(URL, data=appended)
    memory = io.BytesIO(b"spam")
    memory.close()
    with pytest.raises(ValueError, match="closed"):
        client.post(URL, data=memory)


def test_an_error_behind_the_body_closes_what_was_opened_for_it(tmp_path: Path) -> None:
    """The other arguments are wrong, or the client is closed."""
    path = tmp_path / "a"
    path.write_bytes(b"spam")
    client = HTTPClient()
    client.close()
    client.engine.poll(0)
    with path.open("rb") as file:
        before = len(os.listdir("/dev/fd"))
        for _ in range(3):
            with pytest.raises(RuntimeError, match="closed"):
                client.post(URL, data=file)
            with pytest.raises(RuntimeError, match="closed"):
                client.post(URL, files={"f": file})
        gc.collect()
        assert len(os.listdir("/dev/fd")) == before


def test_trace_has_no_content(client: HTTPClient) -> None:
    """RFC 9110 §9.3.8."""
    bodies: list[dict[str, Any]] = [{"data": b"a"}, {"json": {}}, {"files": {"f": b"x"}}]
    for arguments in bodies:
        with pytest.raises(ValueError, match="TRACE"):
            client.trace(URL, **arguments)


def test_trace() -> None:
    assert asked("TRACE").line == "TRACE / HTTP/1.1"


# --- Settings --------------------------------------------------------------------------------------------------------

SETTINGS: Final[list[tuple[str, Any, Any, str]]] = [
    *(("auth", value, TypeError, "auth") for value in ("u:p", b"u:p", 1, object(), {"u": "p"})),
    *(("auth", value, TypeError, "auth|user|password") for value in (("u", 1), (b"u", b"p"), (None, "p"))),
    *(("auth", value, (TypeError, ValueError), "auth") for value in (("u",), ("u", "p", "q"), ())),
    ("auth", ("u:v", "p"), ValueError, "colon"),
    ("auth", ("u\r\nX: y", "p"), ValueError, "control"),
    ("auth", ("u", "p\0"), ValueError, "control"),
    *(("timeout", value, TypeError, "timeout|Timeout") for value in ("1", b"1", True, [1, 2], object(), ("1", 2))),
    *(("timeout", value, (TypeError, ValueError), "timeout|Timeout") for value in ((1, 2, 3), (), (1,))),
    *(("timeout", value, ValueError, "timeout|Timeout") for value in (0, -1, math.nan, (1, 0), (-1, 1))),
    *(("max_redirects", value, TypeError, "max_redirects") for value in ("1", 1.0, True, object())),
    ("max_redirects", -1, ValueError, "max_redirects"),
    *(("keep_alive", value, TypeError, "keep_alive") for value in (0, 1, "yes", object())),
    *(("verify_ssl", value, TypeError, "verify_ssl.*ca_certs") for value in (0, 1, "/ca.pem", object())),
    *(("ssl_options", value, TypeError, "ssl_options") for value in ("/ca.pem", 1, {"ca": 1}, {"cafile": "a"})),
    ("ssl_options", {"ca_certs": "/nowhere/ca.pem"}, OSError, "nowhere"),
    ("ssl_options", {"ciphers": "SPAM"}, (ValueError, OSError), "cipher|CIPHER"),
    *(("retries", value, TypeError, "retries") for value in ("1", 1.5, True, object())),
    ("retries", -1, ValueError, "retries"),
    *(("proxy", value, TypeError, "proxy") for value in (1, b"http://a.test", object(), {"http": "a"})),
    *(
        ("proxy", value, ValueError, "proxy|URL")
        for value in ("socks5://a.test", "https://a.test", "http://", "http://a:x")
    ),
    *(
        (name, value, TypeError, name)
        for name in ("on_response", "on_headers", "on_progress", "on_ssl_error", "on_error", "on_data")
        for value in (1, "print", ["a"], object())
    ),
]


@pytest.mark.parametrize("name, value, error, message", SETTINGS)
def test_settings(client: HTTPClient, name: str, value: Any, error: Any, message: str) -> None:
    for call in (client.get, client.session().get):
        with pytest.raises(error, match=message):
            call(URL, **{name: value})
    with pytest.raises(error, match=message):
        client.session(**{name: value})
    with pytest.raises(error, match=message):
        HTTPClient(**{name: value})


@pytest.mark.parametrize("name", ["on_response", "on_headers", "on_progress", "on_ssl_error", "on_error", "on_data"])
@pytest.mark.parametrize("value", [0, "", [], {}, False], ids=repr)
def test_hooks_that_are_false(name: str, value: Any) -> None:
    with client_of() as client:
        with pytest.raises(TypeError, match=name):
            client.session(**{name: value})
        with pytest.raises(TypeError, match=name):
            client.get(URL, **{name: value}).cancel()


@pytest.mark.parametrize(
    "name, value, error",
    [
        ("timeout", "1", TypeError),
        ("timeout", 0, ValueError),
        ("max_redirects", -1, ValueError),
        ("keep_alive", 1, TypeError),
        ("auth", "u:p", TypeError),
        ("retries", -1, ValueError),
    ],
)
def test_settings_of_a_session_that_is_there(client: HTTPClient, name: str, value: Any, error: Any) -> None:
    session = client.session()
    before = getattr(session, name)
    with pytest.raises(error, match=name):
        setattr(session, name, value)
    assert getattr(session, name) == before


@pytest.mark.parametrize(
    "name, value, error",
    [
        ("max_connections", "1", TypeError),
        ("max_connections", 1.5, TypeError),
        ("max_connections", True, TypeError),
        ("max_connections", None, TypeError),
        *(("max_connections", value, ValueError) for value in (0, -1)),
        ("limits", 1, TypeError),
        ("limits", {}, TypeError),
        ("engine", 1, TypeError),
        ("engine", "x", TypeError),
        ("engine", Engine, TypeError),
    ],
)
def test_settings_of_a_client(name: str, value: Any, error: Any) -> None:
    with pytest.raises(error, match=name):
        HTTPClient(**{name: value})


@pytest.mark.parametrize(
    "make, error",
    [
        (lambda: ClientLimits(content="1"), TypeError),  # type: ignore[arg-type]
        (lambda: ClientLimits(content=1.5), TypeError),  # type: ignore[arg-type]
        (lambda: ClientLimits(content=True), TypeError),
        (lambda: ClientLimits(content=None), TypeError),  # type: ignore[arg-type]
        (lambda: ClientLimits(headers=0), ValueError),
        (lambda: ClientLimits(header=-1), ValueError),
        (lambda: ClientLimits(ratio=0.0), ValueError),
        (lambda: ClientLimits(ratio=math.inf), ValueError),
        (lambda: ClientLimits(ratio=math.nan), ValueError),
        (lambda: ClientLimits(spam=1), TypeError),  # type: ignore[call-arg]
        (lambda: Timeout(total="1"), TypeError),  # type: ignore[arg-type]
        (lambda: Timeout(total=True), TypeError),
        (lambda: Timeout(connect=0), ValueError),
        (lambda: Timeout(read=-1.5), ValueError),
        (lambda: Timeout(total=math.nan), ValueError),
        (lambda: Retries(count="1"), TypeError),  # type: ignore[arg-type]
        (lambda: Retries(count=True), TypeError),
        (lambda: Retries(count=-1), ValueError),
        (lambda: Retries(backoff=-1), ValueError),
        (lambda: Retries(longest="1"), TypeError),  # type: ignore[arg-type]
        (lambda: Retries(statuses=503), TypeError),  # type: ignore[arg-type]
        (lambda: Retries(methods="GET"), TypeError),  # type: ignore[arg-type]
        (lambda: Retries(3), TypeError),  # type: ignore[call-arg]
    ],
)
def test_limits_timeouts_and_retries(make: Callable[[], object], error: Any) -> None:
    with pytest.raises(error):
        make()


def test_names_that_do_not_exist(client: HTTPClient) -> None:
    for call in (client.get, client.post, client.session().get):
        with pytest.raises(TypeError, match="tiemout"):
            call(URL, tiemout=1)
    with pytest.raises(TypeError, match="tiemout"):
        HTTPClient(tiemout=1)


def test_a_client_that_is_closed() -> None:
    client = HTTPClient()
    session = client.session()
    client.close()
    client.close()
    for call in (client.get, client.post, session.get):
        with pytest.raises(RuntimeError, match="closed"):
            call(URL)
    assert client._exchanges == set()


def test_an_engine_that_is_closed() -> None:
    engine = Engine()
    told: list[Exception] = []
    client = HTTPClient(engine=engine, on_error=lambda _, error: told.append(error))
    before = client.get(URL)
    engine.close()
    assert before.done
    assert told == [before.error]
    after = None
    with contextlib.suppress(RuntimeError):  # at the call, or by the hook
        after = client.get(URL)
    assert after is None or (after.done and told == [before.error, after.error])
    client.close()
    assert client._exchanges == set()


# --- Limits on what servers send (`ClientLimits`) ---------------------------------------------------------------------

LIMITED: Final[dict[str, tuple[dict[str, Any], bytes]]] = {
    "header": ({"header": 100}, head("200 OK", "A: " + "b" * 200, "Content-Length: 0")),
    "headers": ({"headers": 100}, head("200 OK", "A: " + "b" * 200, "Content-Length: 0")),
    "headers without an end": ({"headers": 100}, b"HTTP/1.1 200 OK\r\nA: " + b"b" * 200),
    "header_count": ({"header_count": 3}, head("200 OK", "A: b", "C: d", "E: f", "Content-Length: 0")),
    "interim": ({"interim": 2}, head("100 Continue") * 3 + OK),
    "content": ({"content": 3}, OK),
    "content in chunks": ({"content": 3}, chunked(b"sp", b"am")),
    "content to the end": ({"content": 3}, head("200 OK", "Connection: close") + b"spam"),
    "trailers": ({"header": 100}, chunked(b"spam")[:-2] + b"A: " + b"b" * 200 + b"\r\n\r\n"),
}


@pytest.mark.parametrize("kind", LIMITED)
def test_limits(kind: str) -> None:
    """`ClientLimits`: a response that crosses one of them ends in ResponseTooLarge, and its connection is closed."""
    limits, answer = LIMITED[kind]
    with RogueServer(replying(answer)) as server, client_of(limits=ClientLimits(**limits)) as client:
        for _ in range(2):
            with pytest.raises(ResponseTooLarge):
                client.get(server.url, timeout=5).wait(DEADLINE)
    assert server.accepted == 2


@pytest.mark.parametrize("kind", [kind for kind in LIMITED if "end" not in kind])
def test_the_same_without_the_limit(kind: str) -> None:
    with RogueServer(replying(LIMITED[kind][1])) as server, client_of() as client:
        assert client.get(server.url).wait(DEADLINE).status_code == 200


# --- Whatever the text ---------------------------------------------------------------------------------------------


class Wire:
    """A server that keeps what arrives, as it came, and answers each request."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(DEADLINE)
        self.port: int = self._listener.getsockname()[1]
        self.heads: queue.Queue[bytes] = queue.Queue()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            with sock, contextlib.suppress(OSError):
                sock.settimeout(DEADLINE)
                data = b""
                while b"\r\n\r\n" not in data and (piece := sock.recv(65536)):
                    data += piece
                # A second request in the same bytes would be here already.
                self.heads.put(data)
                sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                while sock.recv(65536):
                    self.heads.put(b"more")

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(DEADLINE)


@pytest.fixture
def wire() -> Iterator[Wire]:
    server = Wire()
    yield server
    server.close()


def seen(wire: Wire, client: HTTPClient, method: str, url: str, **kwargs: Any) -> h11.Request | None:
    """The one request that arrives, or None where the call raises."""
    try:
        exchange = client.request(method, url, **kwargs)
    except (TypeError, ValueError):
        assert client._exchanges == set()
        return None
    exchange.wait(DEADLINE)
    data = wire.heads.get(timeout=DEADLINE)
    assert wire.heads.empty()
    server = h11.Connection(h11.SERVER, max_incomplete_event_size=1_000_000)
    server.receive_data(data)
    request = server.next_event()
    assert isinstance(request, h11.Request)
    assert isinstance(server.next_event(), h11.EndOfMessage)
    assert server.trailing_data[0] == b""
    # llhttp and others are stricter about the target than h11 is.
    assert re.fullmatch(rb"[!-~]+ [!-~]+ HTTP/1\.1", data.split(b"\r\n")[0])
    assert not re.search(rb"[^\r]\n|\r[^\n]|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]", data)
    return request


def values(request: h11.Request, name: str) -> list[str]:
    return [value.decode("latin-1") for found, value in request.headers if found == name.lower().encode()]


# With what does harm more often than by chance.
TEXTS: Final = st.one_of(
    st.text(max_size=20),
    st.lists(
        st.sampled_from(
            [
                *(
                    "\r\n",
                    "\n",
                    "\r",
                    " ",
                    "\t",
                    "\0",
                    ":",
                    "X: y",
                    "/",
                    "?",
                    "#",
                    "%",
                    "%0d%0a",
                    "@",
                    "\\",
                    "..",
                    "\x85",
                ),
                *("\u2028", "\xff", "\u20ac", "\ud800", "\U0001f600", "HTTP/1.1", "&", "=", ";", '"', "a", "b"),
            ]
        ),
        max_size=6,
    ).map("".join),
)
BOUNDED: Final = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@given(text=TEXTS, where=st.sampled_from(["/%s", "/a?%s", "/a#%s", "%s", "/%s?%s#%s"]))
@example(text=" HTTP/1.1\r\nX: y\r\n\r\n", where="/%s")
@BOUNDED
@example(text="[", where="%s")
def test_any_text_in_a_url(wire: Wire, text: str, where: str) -> None:
    with client_of() as client:
        url = f"http://127.0.0.1:{wire.port}{where.replace('%s', text)}"
        try:
            host = urlsplit(url).netloc if not re.search(r"[\r\n\t]", url) and where == "%s" else ""
        except ValueError:  # half a pair of brackets, say
            with pytest.raises(ValueError, match="URL"):
                client.get(url)
            return
        if where == "%s" and host != f"127.0.0.1:{wire.port}":
            return  # it leads elsewhere
        request = seen(wire, client, "GET", url)
        if request is None:
            assert re.search(r"[\x00-\x1f\x7f\ud800-\udfff]", text)
            return
        assert values(request, "Host") == [f"127.0.0.1:{wire.port}"]
        target = request.target.decode("ascii")
        assert target.startswith("/")
        if where == "/%s" and not re.search(r"[?#%]", text):
            assert unquote(target) == "/" + (text.rstrip(" ") if text.endswith(" ") else text)
        if where == "/a?%s" and not re.search(r"[#%]", text):
            assert unquote(target).removeprefix("/a").removeprefix("?") == text.rstrip(" ")
        if where == "/a#%s":
            assert target == "/a"


@given(name=TEXTS, value=TEXTS)
@BOUNDED
def test_any_text_as_a_parameter(wire: Wire, name: str, value: str) -> None:
    with client_of() as client:
        request = seen(wire, client, "GET", f"http://127.0.0.1:{wire.port}/", params={name: value, "end": "1"})
        if request is None:
            assert re.search(r"[\ud800-\udfff]", name + value)
            return
        query = request.target.decode("ascii").partition("?")[2]
        assert dict(parse_qsl(query, keep_blank_values=True)) == {name: value, "end": "1"}


TOKENS: Final = st.from_regex(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,12}", fullmatch=True)


@given(name=st.one_of(TEXTS, st.just("X-Test"), TOKENS), value=TEXTS)
@example(name="X", value="y\r\nZ: a")
@BOUNDED
def test_any_text_as_a_header(wire: Wire, name: str, value: str) -> None:
    with client_of() as client:
        request = seen(wire, client, "GET", f"http://127.0.0.1:{wire.port}/", headers={name: value, "X-End": "1"})
        if request is None:
            fine = re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name) and re.fullmatch(r"[\t -~\x80-\xff]*", value)
            own = {"connection", "content-length", "transfer-encoding", "upgrade", "keep-alive", "proxy-authorization"}
            assert not fine or name.lower() in own | {"host", "te", "trailer", "expect"}
            return
        assert values(request, name) == [value.strip(" \t")]
        assert values(request, "X-End") == ["1"]
        assert {found.decode() for found, _ in request.headers} == {
            *("host", "user-agent", "accept", "accept-encoding", "x-end", name.lower())
        }


@given(name=TEXTS, value=TEXTS)
@BOUNDED
def test_any_text_as_a_cookie(wire: Wire, name: str, value: str) -> None:
    with client_of() as client:
        request = seen(wire, client, "GET", f"http://127.0.0.1:{wire.port}/", cookies={name: value, "end": "1"})
        if request is not None:
            (field,) = values(request, "Cookie")
            assert field == "; ".join(dict.fromkeys([f"{name}={value}", "end=1"])) if name != "end" else "end=1"


@given(method=TEXTS)
@BOUNDED
def test_any_text_as_a_method(wire: Wire, method: str) -> None:
    with client_of() as client:
        request = seen(wire, client, method, f"http://127.0.0.1:{wire.port}/")
        if request is not None:
            assert request.method.decode() in (method, method.upper())


@given(user=TEXTS, password=TEXTS)
@BOUNDED
def test_any_text_as_credentials(wire: Wire, user: str, password: str) -> None:
    with client_of() as client:
        request = seen(wire, client, "GET", f"http://127.0.0.1:{wire.port}/", auth=(user, password))
        if request is None:
            assert re.search(r"[\x00-\x1f\x7f\ud800-\udfff]", user + password) or ":" in user
            return
        (field,) = values(request, "Authorization")
        assert re.fullmatch(r"Basic [A-Za-z0-9+/]*=*", field)
