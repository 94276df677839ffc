"""WebSocket.connect: what is asked of a server, what is made of its answer, TLS, redirects and proxies."""

from __future__ import annotations

import base64
import http.cookies
import re
import socket
import ssl
from collections.abc import Iterator
from typing import Any

import pytest

from pants import Engine
from pants.errors import ConnectError, ResolveError
from pants.http import Deflate, HandshakeError, HTTPServer, WebSocket
from pants.testing import run_until
from tests.http.peers_support import DEADLINE
from tests.http.ws_client_support import (
    FAILED,
    TEXT,
    Caller,
    Certificates,
    Client,
    EchoSocket,
    RawServer,
    answering,
    certificates,
    close,
    connected,
    echoing,
    frame,
    isolated,
    nobody_has_called,
    polite,
    proxying,
    redirecting,
    refused,
    relay,
    run_turns,
    status,
    until_closed,
    until_received,
    url_of,
)


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with isolated(monkeypatch):
        yield


@pytest.fixture(scope="module")
def certs() -> Certificates:
    return certificates()


def asked(url_path: str = "/", client: type[Client] = Client, **kwargs: Any) -> Caller:
    """Open a WebSocket and close it; what the server was asked."""
    with RawServer(polite) as server:
        close(connected(server.origin + url_path, client, **kwargs))
    return server.caller


# --- Against Pants' own server ------------------------------------------------------------------------------------


def test_it_opens_and_talks() -> None:
    with echoing() as server:
        client = Client.connect(url_of(server), 1, "two")
        assert not client.connected  # it returns at once
        assert not client.hooks
        run_until(lambda: client.connected, DEADLINE)
        assert client.arguments == (1, "two")
        client.write("text \u20ac")
        client.write(b"bytes")
        assert until_received(client, 2) == ["text \u20ac", b"bytes"]
        assert not client.is_secure
        assert client.remote_address == server.local_address
        assert client.response_headers["Upgrade"].lower() == "websocket"
        close(client)
        assert client.hooks == ["on_connect", "on_read", "on_close"]
        assert (client.close_code, client.close_error) == (1000, None)
    assert EchoSocket.made[0].close_code == 1000


def test_hooks_are_called_from_the_loop_only() -> None:
    with echoing() as server:
        client = Client.connect(url_of(server))
        nowhere = Client.connect("ws://127.0.0.1:1/", proxy=None)
        assert client.hooks == nowhere.hooks == []
        run_until(lambda: client.connected and nowhere.closed, DEADLINE)
        close(client)


def test_an_engine_of_its_own() -> None:
    engine = Engine()
    try:
        with RawServer(polite) as server:
            client = Client.connect(server.url, engine=engine)
            assert client.engine is engine
            run_until(lambda: client.connected, DEADLINE, engine)
            client.close()
            run_until(lambda: client.closed, DEADLINE, engine)
        assert client.close_code == 1000
    finally:
        engine.close()


def test_the_class_is_that_of_the_call() -> None:
    with echoing() as server:
        client = WebSocket.connect(url_of(server))
        assert type(client) is WebSocket
        run_until(lambda: client.connected, DEADLINE)
        close(client)


# --- The request ----------------------------------------------------------------------------------------------------


def test_the_request_is_that_of_the_rfc() -> None:
    """RFC 6455 §4.1, the first list."""
    caller = asked("/chat?room=1&room=%32")
    assert caller.line == "GET /chat?room=1&room=%32 HTTP/1.1"
    assert re.fullmatch(r"127\.0\.0\.1:\d+", caller["Host"])
    assert caller["Upgrade"].lower() == "websocket"
    assert "upgrade" in caller["Connection"].lower()
    assert len(base64.b64decode(caller["Sec-WebSocket-Key"], validate=True)) == 16
    assert caller["Sec-WebSocket-Version"] == "13"
    for name in ("Origin", "Sec-WebSocket-Protocol", "Authorization", "Cookie", "Proxy-Authorization"):
        assert name not in caller
    assert caller.head.endswith(b"\r\n\r\n")


def test_each_request_has_a_key_of_its_own() -> None:
    """RFC 6455 §4.1, 7: it is chosen at random for each connection."""
    assert len({asked()["Sec-WebSocket-Key"] for _ in range(3)}) == 3


@pytest.mark.parametrize(
    "path, target",
    [
        ("", "/"),
        ("?a=b", "/?a=b"),
        ("/a/../b", "/a/../b"),
        ("/%2F%20", "/%2F%20"),
        ("/\u00e4?\u20ac", "/%C3%A4?%E2%82%AC"),
        ("/a;b=c,d", "/a;b=c,d"),
    ],
)
def test_the_resource_name(path: str, target: str) -> None:
    """RFC 6455 §3."""
    assert asked(path).line == f"GET {target} HTTP/1.1"


def test_http_means_ws() -> None:
    with RawServer(polite) as server:
        close(connected(server.url.replace("ws:", "http:")))
        assert server.caller.line.startswith("GET / ")


def test_the_name_is_asked_for() -> None:
    with RawServer(polite) as server:
        close(connected(f"ws://LocalHost:{server.port}/"))
    assert server.caller["Host"].lower() == f"localhost:{server.port}"


def test_ipv6() -> None:
    try:
        server = RawServer(polite, host="::1", family=socket.AF_INET6)
    except OSError:
        pytest.skip("there is no IPv6 here")
    with server:
        close(connected(server.url))
    assert server.caller["Host"] == f"[::1]:{server.port}"


@pytest.mark.parametrize("url", ["ws://user:pass@{}/", "ws://us%65r:p%61ss@{}/"])
def test_credentials_in_the_url(url: str) -> None:
    """RFC 7617. They are told to nobody else."""
    with RawServer(polite) as server:
        client = connected(url.format(f"127.0.0.1:{server.port}"))
        assert "pass" not in repr(client)
        close(client)
    assert server.caller["Authorization"] == "Basic " + base64.b64encode(b"user:pass").decode()
    assert "pass" not in server.caller["Host"]
    assert "@" not in server.caller.line


@pytest.mark.parametrize(
    "userinfo, sent",
    [("user", b"user:"), (":pass", b":pass"), ("u:", b"u:"), ("\u00e4:%C3%A4", "\u00e4:\u00e4".encode())],
)
def test_odd_credentials(userinfo: str, sent: bytes) -> None:
    with RawServer(polite) as server:
        close(connected(f"ws://{userinfo}@127.0.0.1:{server.port}/"))
    assert server.caller["Authorization"] == "Basic " + base64.b64encode(sent).decode()


def test_headers() -> None:
    caller = asked(headers={"X-One": "1", "X-Number": 2, "X-More": ["a", "b"], "User-Agent": "pants"})
    assert (caller["X-One"], caller["X-Number"], caller.all("X-More")) == ("1", "2", ["a", "b"])
    assert caller["User-Agent"] == "pants"
    caller = asked(headers=[("X-A", "1"), ("X-B", "2"), ("X-A", "3")])
    assert (caller.all("X-A"), caller["X-B"]) == (["1", "3"], "2")


def test_credentials_are_not_told_in_errors() -> None:
    with RawServer(answering(status("401 Unauthorized"))) as server:
        error = refused(f"ws://user:secret@127.0.0.1:{server.port}/")
    assert "secret" not in str(error)
    with pytest.raises(ValueError, match="host") as raised:
        Client.connect("ws://user:secret@local%00host/")
    assert "secret" not in str(raised.value)


def test_an_authorization_of_its_own_goes_before_the_credentials() -> None:
    with RawServer(polite) as server:
        close(connected(f"ws://u:p@127.0.0.1:{server.port}/", headers={"authorization": "Bearer x"}))
    assert server.caller["Authorization"] == "Bearer x"


def test_cookies() -> None:
    """RFC 6265 §4.2.1."""
    assert asked(cookies={"a": "1", "b": "two"})["Cookie"] == "a=1; b=two"
    jar = http.cookies.SimpleCookie()
    jar["a"] = "x y"
    jar["a"]["path"] = "/"
    assert asked(cookies=jar)["Cookie"] == 'a="x y"'
    assert "Cookie" not in asked(cookies={})


def test_origin() -> None:
    assert asked(origin="https://example.com")["Origin"] == "https://example.com"
    with echoing() as server:
        error = refused(url_of(server), origin="https://example.com")
        assert isinstance(error, HandshakeError)
        assert error.status == 403
        close(connected(url_of(server), origin=url_of(server, "").replace("ws:", "http:")))


# --- Wrong arguments ------------------------------------------------------------------------------------------------

WRONG: dict[str, tuple[type[Exception], dict[str, Any]]] = {
    "url: bytes": (TypeError, {"url": b"ws://localhost/"}),
    "url: None": (TypeError, {"url": None}),
    "url: empty": (ValueError, {"url": ""}),
    "url: no scheme": (ValueError, {"url": "localhost:80"}),
    "url: a path": (ValueError, {"url": "/chat"}),
    "url: another scheme": (ValueError, {"url": "ftp://localhost/"}),
    "url: no host": (ValueError, {"url": "ws:///chat"}),
    "url: a port alone": (ValueError, {"url": "ws://:80/"}),
    "url: a fragment": (ValueError, {"url": "ws://localhost/#a"}),
    "url: an empty fragment": (ValueError, {"url": "ws://localhost/#"}),
    "url: a large port": (ValueError, {"url": "ws://localhost:65536/"}),
    "url: a negative port": (ValueError, {"url": "ws://localhost:-1/"}),
    "url: no number": (ValueError, {"url": "ws://localhost:http/"}),
    "url: CR LF": (ValueError, {"url": "ws://localhost/\r\nX: y"}),
    "url: a space": (ValueError, {"url": "ws://localhost/a b"}),
    "url: NUL": (ValueError, {"url": "ws://localhost/\0"}),
    "url: a tab in the host": (ValueError, {"url": "ws://local\thost/"}),
    "url: half an address": (ValueError, {"url": "ws://[::1/"}),
    "url: no address": (ValueError, {"url": "ws://[localhost]/"}),
    "url: an odd host": (ValueError, {"url": "ws://local%0d%0ahost/"}),
    "url: an empty label": (ValueError, {"url": "ws://a..b/"}),
    "headers: a str": (TypeError, {"headers": "X: y"}),
    "headers: a number": (TypeError, {"headers": 5}),
    "headers: CR": (ValueError, {"headers": {"X": "a\rb"}}),
    "headers: LF": (ValueError, {"headers": {"X": "a\nb"}}),
    "headers: NUL": (ValueError, {"headers": {"X": "a\0b"}}),
    "headers: CR LF in a name": (ValueError, {"headers": {"X: y\r\nZ": "a"}}),
    "headers: an empty name": (ValueError, {"headers": {"": "a"}}),
    "headers: a space in a name": (ValueError, {"headers": {"X Y": "a"}}),
    "headers: bytes": (TypeError, {"headers": {"X": b"a"}}),
    "headers: a name of bytes": (TypeError, {"headers": {b"X": "a"}}),
    "headers: None": (TypeError, {"headers": {"X": None}}),
    "headers: LF in a list": (ValueError, {"headers": {"X": ["a", "a\nb"]}}),
    "headers: not Latin-1": (ValueError, {"headers": {"X": "\u20ac"}}),
    **{
        f"headers: {name}": (ValueError, {"headers": {name: "x"}})
        for name in (
            "Host",
            "upgrade",
            "Connection",
            "Content-Length",
            "Transfer-Encoding",
            "Sec-WebSocket-Key",
            "sec-websocket-version",
            "Sec-WebSocket-Protocol",
            "Sec-WebSocket-Extensions",
            "Sec-WebSocket-Accept",
        )
    },
    "cookies: a str": (TypeError, {"cookies": "a=b"}),
    "cookies: a list": (TypeError, {"cookies": [("a", "b")]}),
    "cookies: a number": (TypeError, {"cookies": {"a": 1}}),
    "cookies: LF": (ValueError, {"cookies": {"a": "b\nc"}}),
    "cookies: CR": (ValueError, {"cookies": {"a": "b\rc"}}),
    "cookies: a semicolon": (ValueError, {"cookies": {"a": "b; c=d"}}),
    "cookies: an odd name": (ValueError, {"cookies": {"a=b": "c"}}),
    "cookies: no name": (ValueError, {"cookies": {"": "c"}}),
    # RFC 6265 §5.4, RFC 6454 §7.3: there is no more than one of each.
    "cookies: twice": (ValueError, {"headers": {"cookie": "a=1"}, "cookies": {"b": "2"}}),
    "origin: twice": (ValueError, {"headers": {"ORIGIN": "http://a"}, "origin": "http://b"}),
    "origin: bytes": (TypeError, {"origin": b"http://a"}),
    "origin: LF": (ValueError, {"origin": "http://a\nX: y"}),
    "subprotocols: a str": (TypeError, {"subprotocols": "chat"}),
    "subprotocols: a number": (TypeError, {"subprotocols": 5}),
    "subprotocols: bytes in it": (TypeError, {"subprotocols": [b"chat"]}),
    "subprotocols: no token": (ValueError, {"subprotocols": ["a b"]}),
    "subprotocols: LF": (ValueError, {"subprotocols": ["a\n"]}),
    "subprotocols: empty": (ValueError, {"subprotocols": [""]}),
    "subprotocols: twice": (ValueError, {"subprotocols": ["a", "a"]}),
    "proxy: a number": (TypeError, {"proxy": 5}),
    "proxy: bytes": (TypeError, {"proxy": b"http://localhost"}),
    "proxy: socks": (ValueError, {"proxy": "socks5://localhost:1080"}),
    "proxy: https": (ValueError, {"proxy": "https://localhost:1080"}),
    "proxy: no host": (ValueError, {"proxy": "http://"}),
    "proxy: no number": (ValueError, {"proxy": "http://localhost:x"}),
    "proxy: an odd host": (ValueError, {"proxy": "http://local host:80"}),
    "verify_ssl: a file": (TypeError, {"verify_ssl": "ca.pem"}),
    "verify_ssl: None": (TypeError, {"verify_ssl": None}),
    "verify_ssl: with a context": (ValueError, {"verify_ssl": False, "ssl_options": ssl.create_default_context()}),
    "verify_ssl: against the options": (
        ValueError,
        {"verify_ssl": False, "ssl_options": {"cert_reqs": ssl.CERT_REQUIRED}},
    ),
    "ssl_options: a number": (TypeError, {"ssl_options": 5}),
    "ssl_options: a str": (TypeError, {"ssl_options": "ca.pem"}),
    "ssl_options: an unknown key": (TypeError, {"url": "wss://localhost/", "ssl_options": {"spam": 1}}),
    "max_redirects: a str": (TypeError, {"max_redirects": "1"}),
    "max_redirects: a bool": (TypeError, {"max_redirects": True}),
    "max_redirects: a float": (TypeError, {"max_redirects": 1.0}),
    "max_redirects: None": (TypeError, {"max_redirects": None}),
    "max_redirects: negative": (ValueError, {"max_redirects": -1}),
    "engine: another": (TypeError, {"engine": object()}),
    "spam": (TypeError, {"spam": 1}),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_raises_at_the_call(name: str) -> None:
    kind, arguments = WRONG[name]
    url = arguments.get("url", "ws://127.0.0.1:1/")
    with pytest.raises(kind) as raised:
        Client.connect(url, **{name: value for name, value in arguments.items() if name != "url"})
    assert raised.type is kind or issubclass(raised.type, kind)
    assert str(raised.value)
    run_turns()
    assert not any(client.hooks for client in Client.made)


def test_what_a_class_has_is_checked_with_the_class() -> None:
    with pytest.raises(TypeError, match="subprotocols"):
        type("Wrong", (Client,), {"subprotocols": "chat"})
    with pytest.raises(ValueError, match="connect_timeout"):
        type("Wrong", (Client,), {"connect_timeout": -1})


# --- TLS ------------------------------------------------------------------------------------------------------------


def test_wss(certs: Certificates) -> None:
    with RawServer(polite, context=certs.good) as server:
        client = connected(server.url, ssl_options={"ca_certs": certs.ca})
        assert client.is_secure
        close(client)
    assert server.caller["Host"] == f"127.0.0.1:{server.port}"


def test_wss_to_pants_and_back(certs: Certificates) -> None:
    with echoing(context=certs.good) as server:
        url = f"wss://localhost:{server.local_address[1]}/"
        client = connected(url, ssl_options={"ca_certs": certs.ca})
        client.write("x" * 300_000)
        client.buffer_size = 1_000_000
        assert until_received(client) == ["x" * 300_000]
        assert EchoSocket.made[0].is_secure
        close(client)
        assert (client.close_code, client.close_error) == (1000, None)


def test_https_means_wss(certs: Certificates) -> None:
    with RawServer(polite, context=certs.good) as server:
        client = connected(server.url.replace("wss:", "https:"), ssl_options={"ca_certs": certs.ca})
        assert client.is_secure
        close(client)


def test_wss_by_ipv6(certs: Certificates) -> None:
    try:
        server = RawServer(polite, context=certs.good, host="::1", family=socket.AF_INET6)
    except OSError:
        pytest.skip("there is no IPv6 here")
    with server:
        close(connected(server.url, ssl_options={"ca_certs": certs.ca}))


@pytest.mark.parametrize(
    "flaw, reason",
    [("wrong_host", "mismatch|not valid for"), ("expired", "expired"), ("unknown", "unable to get|self.signed")],
)
def test_a_server_has_to_prove_who_it_is(certs: Certificates, flaw: str, reason: str) -> None:
    """Nothing is sent to one that does not; unless it is told not to verify."""
    context = getattr(certs, flaw)
    with RawServer(polite, context=context) as server:
        error = refused(server.url, ssl_options={"ca_certs": certs.ca})
        assert isinstance(error, ssl.SSLCertVerificationError)
        assert re.search(reason, str(error))
    assert not any(caller.head for caller in server.callers)
    with RawServer(polite, context=context) as server:
        close(connected(server.url, verify_ssl=False))


def test_the_authorities_of_the_system_are_asked_by_default(certs: Certificates) -> None:
    with RawServer(polite, context=certs.good) as server:
        assert isinstance(refused(server.url), ssl.SSLCertVerificationError)


def test_an_ssl_context(certs: Certificates) -> None:
    with RawServer(polite, context=certs.good) as server:
        close(connected(server.url, ssl_options=certs.client_context()))
    with RawServer(polite, context=certs.wrong_host) as server:
        assert isinstance(refused(server.url, ssl_options=certs.client_context()), ssl.SSLCertVerificationError)


def test_the_name_in_ssl_options_is_the_one_to_verify(certs: Certificates) -> None:
    options = {"ca_certs": certs.ca, "server_hostname": "elsewhere.example"}
    with RawServer(polite, context=certs.wrong_host) as server:
        close(connected(server.url, ssl_options=options))
    with RawServer(polite, context=certs.good) as server:
        assert isinstance(refused(server.url, ssl_options=options), ssl.SSLCertVerificationError)


def test_a_certificate_of_the_client(certs: Certificates) -> None:
    options = {"ca_certs": certs.ca, "certfile": certs.client}
    with RawServer(polite, context=certs.trusting) as server:
        close(connected(server.url, ssl_options=options))
        assert server.caller.head
    assert options == {"ca_certs": certs.ca, "certfile": certs.client}


def test_verify_ssl_and_a_dict(certs: Certificates) -> None:
    """Both are heeded."""
    with RawServer(polite, context=certs.expired) as server:
        close(connected(server.url, verify_ssl=False, ssl_options={"ca_certs": certs.ca}))
    with RawServer(polite, context=certs.unknown) as server:
        close(connected(server.url, ssl_options={"cert_reqs": ssl.CERT_NONE}))


def test_no_tls_at_the_other_end() -> None:
    def plain(caller: Caller) -> None:
        caller.send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        caller.read_rest()

    with RawServer(plain) as server:
        assert isinstance(refused(server.url.replace("ws:", "wss:")), ssl.SSLError)


def test_tls_at_the_other_end_only(certs: Certificates) -> None:
    with RawServer(polite, context=certs.good) as server:
        error = refused(server.url.replace("wss:", "ws:"))
        assert isinstance(error, (HandshakeError, ConnectionError))


def test_a_server_that_goes_in_the_middle_of_tls() -> None:
    with RawServer(lambda caller: caller.sock.recv(1)) as server:
        assert isinstance(refused(server.url.replace("ws:", "wss:")), (OSError, HandshakeError))


def test_missing_files_are_told() -> None:
    """When, is not said: at the call, or to on_connect_error()."""
    try:
        error: Exception = refused("wss://127.0.0.1:1/", ssl_options={"ca_certs": "/nowhere/ca.pem"})
    except OSError as raised:
        error = raised
    assert isinstance(error, FileNotFoundError)
    assert "/nowhere/ca.pem" in str(error)


# --- No connection ------------------------------------------------------------------------------------------------


def test_nobody_listens() -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        error = refused(f"ws://127.0.0.1:{sock.getsockname()[1]}/")
    assert isinstance(error, ConnectError)
    assert isinstance(error, OSError)


def test_a_name_that_nobody_has(monkeypatch: pytest.MonkeyPatch) -> None:
    real = socket.getaddrinfo

    def look_up(host: Any, *args: Any) -> Any:
        if host == "nowhere.invalid":
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        return real(host, *args)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    assert isinstance(refused("ws://nowhere.invalid/"), ResolveError)


def test_by_default_a_failure_is_logged(expect_log: Any) -> None:
    expect_log("127.0.0.1")
    with RawServer(answering(status("404 Not Found"))) as server:
        client = WebSocket.connect(server.url)
        until_closed(client)
    assert any("404" in line for line in expect_log.lines)
    assert isinstance(client.close_error, HandshakeError)
    assert client.close_code == 1006  # RFC 6455 §7.1.5


# --- Answers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line, content",
    [
        ("200 OK", b"Hello"),
        ("204 No Content", b""),
        ("400 Bad Request", b"x"),
        ("401 Unauthorized", b"who?"),
        ("404 Not Found", b""),
        ("426 Upgrade Required", b""),
        ("500 Internal Server Error", b"x" * 300_000),
        ("503 Service Unavailable", b"later"),
    ],
)
def test_answers_that_open_nothing(line: str, content: bytes) -> None:
    answer = status(line, "X-Why: because", 'WWW-Authenticate: Basic realm="a"', content=content)
    with RawServer(answering(answer)) as server:
        error = refused(server.url)
    assert isinstance(error, HandshakeError)
    assert error.status == int(line[:3])
    assert error.headers["X-Why"] == "because"
    assert line[:3] in str(error)


@pytest.mark.parametrize(
    "replaced, by",
    [
        ("Upgrade: websocket\r\n", ""),
        ("Upgrade: websocket\r\n", "Upgrade: h2c\r\n"),
        ("Upgrade: websocket\r\n", "Upgrade: websocket2\r\n"),
        ("Connection: Upgrade\r\n", ""),
        ("Connection: Upgrade\r\n", "Connection: keep-alive\r\n"),
        ("Connection: Upgrade\r\n", "Connection: close\r\n"),
        ("Sec-WebSocket-Accept", "X-Sec-WebSocket-Accept"),
        ("101 Switching Protocols", "200 OK"),
    ],
)
def test_an_answer_that_lacks_something(replaced: str, by: str) -> None:
    """RFC 6455 §4.1, the second list."""

    def talk(caller: Caller) -> None:
        caller.read_head()
        answer = caller.answer()
        assert replaced.encode() in answer
        caller.send(answer.replace(replaced.encode(), by.encode()))
        assert caller.read_rest() == b""  # no frame was sent

    with RawServer(talk) as server:
        error = refused(server.url)
        assert isinstance(error, HandshakeError)
        assert error.status in (101, 200)


@pytest.mark.parametrize(
    "change",
    [
        lambda key: "",
        lambda key: key.swapcase(),
        lambda key: key[:-2] + "=",
        lambda key: key + "x",
        lambda key: "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",  # the RFC's own example
    ],
)
def test_a_wrong_accept_key(change: Any) -> None:
    """RFC 6455 §4.1, the second list, 4."""

    def talk(caller: Caller) -> None:
        caller.read_head()
        caller.send(caller.answer(accept=change(caller.accept_key)))
        caller.read_rest()

    with RawServer(talk) as server:
        error = refused(server.url)
        assert isinstance(error, HandshakeError)
        assert error.status == 101


def test_the_key_echoed() -> None:
    def talk(caller: Caller) -> None:
        caller.read_head()
        caller.send(caller.answer(accept=caller["Sec-WebSocket-Key"]))
        caller.read_rest()

    with RawServer(talk) as server:
        assert isinstance(refused(server.url), HandshakeError)


def test_an_answer_as_others_write_it() -> None:
    """Field names and these values are compared in any case (RFC 6455 §4.1), and Connection is a list."""

    def talk(caller: Caller) -> None:
        caller.read_head()
        caller.send(
            b"HTTP/1.1 101\r\nUPGRADE:WebSocket\r\nconnection: keep-alive, uPGRADE\r\nX-Empty:\r\n"
            b"sec-websocket-accept: \t " + caller.accept_key.encode() + b" \r\n\r\n"
        )
        caller.wait_for_close()

    with RawServer(talk) as server:
        client = connected(server.url)
        assert client.response_headers["X-Empty"] == ""
        close(client)


@pytest.mark.parametrize(
    "answer",
    [
        b"220 mail.example ESMTP\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\r\n\r\n",
        b"HTTP/1.1\r\n\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 1010 Switching\r\n\r\n",
        b"HTTP/9.9 101 Switching Protocols\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade websocket\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUp grade: websocket\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nX: a\0b\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n: x\r\n\r\n",
        b"\r\n\r\n\r\n\r\n\r\n",
    ],
)
def test_answers_that_are_malformed(answer: bytes) -> None:
    def talk(caller: Caller) -> None:
        caller.read_head()
        caller.send(answer)
        caller.sock.shutdown(socket.SHUT_WR)
        caller.read_rest()

    with RawServer(talk) as server:
        assert isinstance(refused(server.url), HandshakeError)


def test_interim_answers_are_skipped() -> None:
    """RFC 9110 §15.2."""

    def talk(caller: Caller) -> None:
        caller.read_head()
        caller.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        caller.send(
            b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n"
        )
        caller.send(caller.answer())
        caller.wait_for_close()

    with RawServer(talk) as server:
        client = connected(server.url)
        assert "Link" not in client.response_headers
        close(client)


def test_interim_answers_without_end() -> None:
    def talk(caller: Caller) -> None:
        caller.read_head()
        with pytest.raises(OSError):  # noqa: PT012 - it is cut off in the middle of it
            while True:
                caller.send(b"HTTP/1.1 102 Processing\r\n\r\n" * 10)

    with RawServer(talk) as server:
        error = refused(server.url)
        assert isinstance(error, HandshakeError)
        assert error.status == 102


@pytest.mark.parametrize("endless", [b"x" * 1000, b"X: y\r\n", b"HTTP/1.1 200 OK\r\nX: y\r\n"])
def test_a_head_without_end(endless: bytes) -> None:
    def talk(caller: Caller) -> None:
        caller.read_head()
        with pytest.raises(OSError):  # noqa: PT012 - it is cut off in the middle of it
            caller.send(b"HTTP/1.1 101 Switching Protocols\r\n")
            while True:
                caller.send(endless * 100)

    with RawServer(talk) as server:
        assert isinstance(refused(server.url), HandshakeError)


def test_a_long_head() -> None:
    """Not so long as to be none."""
    with RawServer(lambda caller: (caller.open("X-Long: " + "x" * 30_000), caller.wait_for_close())) as server:
        client = connected(server.url)
        assert client.response_headers["X-Long"] == "x" * 30_000
        close(client)


def test_byte_by_byte() -> None:
    def talk(caller: Caller) -> None:
        caller.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        caller.read_head()
        data = b"HTTP/1.1 100 Continue\r\n\r\n" + caller.answer() + frame(TEXT, b"one") + frame(TEXT, b"two")
        for at in range(len(data)):
            caller.send(data[at : at + 1])
        caller.wait_for_close()

    with RawServer(talk) as server:
        client = connected(server.url)
        assert until_received(client, 2) == ["one", "two"]
        close(client)


def test_frames_in_the_same_segment() -> None:
    frames = frame(TEXT, b"one") + frame(TEXT, b"two") + frame(TEXT, b"three")

    def talk(caller: Caller) -> None:
        caller.open(rest=frames[:-3])
        assert caller.read_frame().payload == b"two"  # so the first have been delivered
        caller.send(frames[-3:])
        caller.wait_for_close()

    class Answering(Client):
        def on_read(self, *data: Any) -> None:
            super().on_read(*data)
            if data == ("two",):
                self.write("two")

    with RawServer(talk) as server:
        client = connected(server.url, Answering)
        assert until_received(client, 3) == ["one", "two", "three"]
        assert client.hooks == ["on_connect", "on_read"]
        close(client)


def test_all_of_it_in_one_segment() -> None:
    """The handshake, a message, a Close frame and the end."""

    def talk(caller: Caller) -> None:
        caller.open(rest=frame(TEXT, b"bye") + frame(8, b"\x0f\xa0done"))
        caller.sock.shutdown(socket.SHUT_WR)
        caller.read_rest()

    with RawServer(talk) as server:
        client = Client.connect(server.url)
        until_closed(client)
    assert client.hooks == ["on_connect", "on_read", "on_close"]
    assert client.messages == ["bye"]
    assert (client.close_code, client.close_reason, client.close_error) == (4000, "done", None)


@pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 101 Swi", b"HTTP/1.1 100 Continue\r\n\r\n"])
@pytest.mark.parametrize("resets", [False, True])
def test_a_server_that_goes_in_the_middle(sent: bytes, resets: bool) -> None:
    def talk(caller: Caller) -> None:
        caller.read_head()
        caller.send(sent)
        if resets:
            caller.reset()

    with RawServer(talk) as server:
        error = refused(server.url)
    assert isinstance(error, (HandshakeError, ConnectionError) if resets else HandshakeError)


def test_a_server_that_goes_at_once() -> None:
    with RawServer(lambda caller: None) as server:
        assert isinstance(refused(server.url), (HandshakeError, ConnectionError))


# --- Subprotocols ---------------------------------------------------------------------------------------------------


class Chat(Client):
    subprotocols = ("v2.chat", "v1.chat")


def test_subprotocols_come_from_the_class() -> None:
    assert re.split(", *", asked(client=Chat)["Sec-WebSocket-Protocol"]) == ["v2.chat", "v1.chat"]
    assert asked(client=Chat, subprotocols=iter(["other"]))["Sec-WebSocket-Protocol"] == "other"
    assert "Sec-WebSocket-Protocol" not in asked(client=Chat, subprotocols=[])


@pytest.mark.parametrize("chosen", ["v1.chat", "v2.chat", None])
def test_a_subprotocol_is_agreed_on(chosen: str | None) -> None:
    """Or none: a server need not choose one (RFC 6455 §4.2.2)."""
    fields = () if chosen is None else (f"Sec-WebSocket-Protocol: {chosen}",)
    with RawServer(lambda caller: (caller.open(*fields), caller.wait_for_close())) as server:
        client = connected(server.url, Chat)
        assert client.subprotocol == chosen
        close(client)


@pytest.mark.parametrize("offered", [(), ("chat",)])
@pytest.mark.parametrize("fields", [("other",), ("CHAT",), ("chat, chat",), ("chat", "chat"), ("",)])
def test_a_subprotocol_that_was_not_offered(offered: tuple[str, ...], fields: tuple[str, ...]) -> None:
    """RFC 6455 §4.1, the second list, 6; §11.3.4: it comes once, with one value."""

    def talk(caller: Caller) -> None:
        caller.open(*(f"Sec-WebSocket-Protocol: {field}" for field in fields))
        caller.read_rest()

    with RawServer(talk) as server:
        assert isinstance(refused(server.url, subprotocols=offered), HandshakeError)


def test_a_subprotocol_with_pants() -> None:
    class Server(EchoSocket):
        subprotocols = ("a", "b")

    with echoing(Server) as server:
        client = connected(url_of(server), subprotocols=["x", "b", "a"])
        assert client.subprotocol == "a"
        assert Server.made[0].subprotocol == "a"
        close(client)


# --- Compression ----------------------------------------------------------------------------------------------------


def test_no_compression_is_not_offered() -> None:
    class Plain(Client):
        compression = False

    assert "Sec-WebSocket-Extensions" not in asked(client=Plain)
    assert asked()["Sec-WebSocket-Extensions"].startswith("permessage-deflate")


@pytest.mark.parametrize(
    "compression, chosen",
    [
        (False, "permessage-deflate"),
        (True, "x-webkit-deflate-frame"),
        (True, "permessage-deflate; spam"),
        (True, "permessage-deflate; server_max_window_bits=7"),
        (True, "permessage-deflate; server_max_window_bits=16"),
        (True, "permessage-deflate; server_no_context_takeover; server_no_context_takeover"),
        (True, "permessage-deflate, permessage-deflate"),
        (True, ",,;"),
        # RFC 7692 §7.1.1.1: a server that takes such an offer has to say so
        (Deflate(server_no_context_takeover=True), "permessage-deflate"),
        (Deflate(server_max_window_bits=10), "permessage-deflate; server_no_context_takeover"),
        (
            Deflate(server_max_window_bits=10),
            "permessage-deflate; server_no_context_takeover; server_max_window_bits=11",
        ),
    ],
)
def test_extensions_that_were_not_offered(compression: bool | Deflate, chosen: str) -> None:
    """RFC 6455 §4.1, the second list, 5; RFC 7692 §7.1."""
    client = type("Compressing", (Client,), {"compression": compression})

    def talk(caller: Caller) -> None:
        caller.open(f"Sec-WebSocket-Extensions: {chosen}")
        caller.read_rest()

    with RawServer(talk) as server:
        assert isinstance(refused(server.url, client), HandshakeError)


# --- on_handshake ---------------------------------------------------------------------------------------------------


def test_on_handshake_sees_and_adds_headers() -> None:
    class Adding(Client):
        def on_handshake(self, request: Any, headers: dict[str, Any]) -> bool:
            self.seen = (request.url, request.is_secure, dict(headers))
            headers["X-Added"] = "1"
            headers["X-List"] = ["a", "b"]
            del headers["X-Dropped"]
            return True

    with RawServer(polite) as server:
        client = connected(
            f"ws://u:p@127.0.0.1:{server.port}/a?b",
            Adding,
            headers={"X-Own": "2", "X-Dropped": "3"},
            cookies={"a": "b"},
        )
        close(client)
    url, secure, headers = client.seen
    assert (url, secure) == (f"{server.origin}/a?b", False)
    assert headers["X-Own"] == "2"
    assert (server.caller["X-Added"], server.caller.all("X-List")) == ("1", ["a", "b"])
    assert (server.caller["X-Own"], server.caller["Cookie"]) == ("2", "a=b")
    assert "X-Dropped" not in server.caller


@pytest.mark.parametrize("answer", [False, None])
def test_on_handshake_refuses(answer: Any) -> None:
    """Nothing is sent."""

    class Refusing(Client):
        def on_handshake(self, request: Any, headers: dict[str, Any]) -> Any:
            return answer

    with socket.create_server(("127.0.0.1", 0)) as listener:
        refused(f"ws://127.0.0.1:{listener.getsockname()[1]}/", Refusing)
        assert nobody_has_called(listener)


def test_on_handshake_raises() -> None:
    class Raising(Client):
        def on_handshake(self, request: Any, headers: dict[str, Any]) -> bool:
            raise ZeroDivisionError

    websocket = Raising.connect("ws://127.0.0.1:1/")
    until_closed(websocket)
    assert isinstance(websocket.error, ZeroDivisionError)
    assert websocket.hooks in (FAILED, ["on_error", *FAILED[1:]])


@pytest.mark.parametrize(
    "name, value", [("X", "a\r\nb"), ("Host", "elsewhere"), ("Sec-WebSocket-Key", "x"), ("X", b"")]
)
def test_on_handshake_adds_what_cannot_be_sent(name: str, value: Any) -> None:
    class Wrong(Client):
        def on_handshake(self, request: Any, headers: dict[str, Any]) -> bool:
            headers[name] = value
            return True

    assert isinstance(refused("ws://127.0.0.1:1/", Wrong), (TypeError, ValueError))


@pytest.mark.parametrize("flush", [True, False])
def test_on_handshake_closes(flush: bool) -> None:
    """on_close() is last, and no server is asked for anything."""

    class Closing(Client):
        def on_handshake(self, request: Any, headers: dict[str, Any]) -> bool:
            self.close(flush=flush)
            return True

    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = Closing.connect(f"ws://127.0.0.1:{listener.getsockname()[1]}/")
        until_closed(client)
        run_turns()
        if not nobody_has_called(listener):
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(DEADLINE)
                assert connection.recv(1) == b""
    assert client.hooks == ["on_close"]


# --- Redirects ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_redirects(code: int) -> None:
    """RFC 6455 §4.1: a client may follow them. The new request is a whole handshake."""
    with (
        RawServer(polite) as second,
        RawServer(redirecting(f"{second.origin}/there?a=b", code=f"{code} Elsewhere")) as first,
    ):
        client = connected(first.url, headers={"User-Agent": "pants"}, subprotocols=["chat"])
        assert client.hooks == ["on_connect"]
        assert client.remote_address == ("127.0.0.1", second.port)
        close(client)
    before, after = first.caller, second.caller
    assert after.line == "GET /there?a=b HTTP/1.1"
    assert after["Host"] == f"127.0.0.1:{second.port}"
    assert after["Sec-WebSocket-Key"] != before["Sec-WebSocket-Key"]
    assert (after["User-Agent"], after["Sec-WebSocket-Protocol"]) == ("pants", "chat")


@pytest.mark.parametrize(
    "location, target",
    [
        ("/there", "/there"),
        ("there", "/a/there"),
        ("../there", "/there"),
        ("?q", "/a/b?q"),
        ("//127.0.0.1:{port}/there", "/there"),
        ("http://127.0.0.1:{port}/there", "/there"),
        ("HTTP://127.0.0.1:{port}", "/"),
        ("ws://127.0.0.1:{port}/there#part", "/there"),
        ("/\u00e4", "/%C3%A4"),
    ],
)
def test_locations(location: str, target: str) -> None:
    """RFC 9110 §10.2.2: relative to what was asked for. A fragment is not sent."""

    def redirect(caller: Caller) -> None:
        sent = location.format(port=server.port)
        caller.read_head()
        caller.send(f"HTTP/1.1 302 Found\r\nLocation: {sent}\r\nContent-Length: 0\r\n\r\n".encode("latin-1"))
        caller.read_rest()

    with RawServer(redirect, polite) as server:
        close(connected(f"{server.origin}/a/b?c"))
    assert server.callers[1].line in (f"GET {target} HTTP/1.1", f"GET {target.replace('%C3%A4', '%E4')} HTTP/1.1")


def test_redirects_to_tls(certs: Certificates) -> None:
    with (
        RawServer(polite, context=certs.good) as second,
        RawServer(redirecting(f"https://localhost:{second.port}/")) as first,
    ):
        client = connected(first.url, ssl_options={"ca_certs": certs.ca})
        assert client.is_secure
        close(client)


def test_the_certificate_is_that_of_where_it_is_redirected(certs: Certificates) -> None:
    with (
        RawServer(polite, context=certs.wrong_host) as second,
        RawServer(redirecting(second.url), context=certs.good) as first,
    ):
        assert isinstance(refused(first.url, ssl_options={"ca_certs": certs.ca}), ssl.SSLCertVerificationError)


@pytest.mark.parametrize("scheme", ["ws", "http"])
def test_never_from_tls_to_none(certs: Certificates, scheme: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        location = f"{scheme}://127.0.0.1:{listener.getsockname()[1]}/"
        with RawServer(redirecting(location), context=certs.good) as server:
            error = refused(server.url, ssl_options={"ca_certs": certs.ca})
        assert isinstance(error, HandshakeError)
        assert error.status == 302
        assert nobody_has_called(listener)


@pytest.mark.parametrize("location", ["ftp://127.0.0.1/", "mailto:a@b", "ws://a b/", "ws://127.0.0.1:99999/"])
def test_redirects_to_what_is_no_websocket(location: str) -> None:
    with RawServer(redirecting(location)) as server:
        error = refused(server.url)
    assert isinstance(error, HandshakeError)
    assert error.status == 302


@pytest.mark.parametrize("answer", [status("302 Found"), status("304 Not Modified", "Location: /there")])
def test_what_is_no_redirect(answer: bytes) -> None:
    with RawServer(answering(answer)) as server:
        error = refused(server.url)
    assert isinstance(error, HandshakeError)
    assert error.status in (302, 304)


@pytest.mark.parametrize("most", [0, 1, 3, None])
def test_loops_end(most: int | None) -> None:
    """So many redirects are followed and no more; 10 by default."""
    count = 10 if most is None else most
    with RawServer(*[redirecting("/")] * (count + 1)) as server:
        error = refused(server.url, **({} if most is None else {"max_redirects": most}))
    assert isinstance(error, HandshakeError)
    assert error.status == 302
    assert len(server.callers) == count + 1


def test_the_last_redirect_that_is_allowed() -> None:
    with RawServer(redirecting("/2"), redirecting("/3"), polite) as server:
        close(connected(server.url, max_redirects=2))
    assert [caller.line.split()[1] for caller in server.callers] == ["/", "/2", "/3"]


@pytest.mark.parametrize(
    "arguments",
    [
        {"headers": {"authorization": "Bearer x", "User-Agent": "pants"}},
        {"headers": {"COOKIE": "a=1", "user-agent": "pants"}},
        {"headers": {"User-Agent": "pants", "Proxy-Authorization": "Basic x"}},
        {"headers": {"User-Agent": "pants"}, "cookies": {"a": "1"}},
        {"headers": {"User-Agent": "pants", "X-Api-Key": "x"}},
    ],
)
@pytest.mark.parametrize("elsewhere", ["port", "host", "scheme"])
def test_secrets_stay_behind_with_another_origin(
    certs: Certificates, arguments: dict[str, Any], elsewhere: str
) -> None:
    """RFC 6454 §4: scheme, host and port make an origin."""
    context = certs.good if elsewhere == "scheme" else None
    with RawServer(polite, context=context) as second:
        host = "localhost" if elsewhere == "host" else "127.0.0.1"
        with RawServer(redirecting(f"{second.url.replace('127.0.0.1', host)}")) as first:
            url = f"ws://user:pass@127.0.0.1:{first.port}/"
            close(connected(url, ssl_options={"ca_certs": certs.ca}, **arguments))
    assert "Authorization" in first.caller
    for name in ("Authorization", "Cookie", "Proxy-Authorization", "X-Api-Key"):
        assert name not in second.caller
    assert second.caller["User-Agent"] == "pants"


@pytest.mark.parametrize("location", ["/there", "http://127.0.0.1:{port}/there"])
def test_secrets_are_kept_within_an_origin(location: str) -> None:
    def redirect(caller: Caller) -> None:
        redirecting(location.format(port=server.port))(caller)

    with RawServer(redirect, polite) as server:
        close(connected(f"ws://user:pass@127.0.0.1:{server.port}/", headers={"X": "1"}, cookies={"a": "1"}))
    after = server.callers[1]
    assert after["Authorization"] == "Basic " + base64.b64encode(b"user:pass").decode()
    assert (after["Cookie"], after["X"]) == ("a=1", "1")


def test_secrets_do_not_come_back() -> None:
    """Over another origin to the first again: by then it is the other who has asked for that."""

    def redirect(caller: Caller) -> None:
        redirecting(second.url)(caller)

    with RawServer(redirect, polite) as first, RawServer(redirecting(first.url)) as second:
        close(connected(f"ws://user:pass@127.0.0.1:{first.port}/", cookies={"a": "1"}))
    assert "Cookie" in first.callers[0]
    assert "Cookie" not in first.callers[1]
    assert "Authorization" not in first.callers[1]


def test_cookies_set_by_a_redirect() -> None:
    """They come back to the server that has set them, in one Cookie header (RFC 6265 §5.4)."""
    redirect = redirecting("/there", "Set-Cookie: b=2; Path=/; HttpOnly", 'Set-Cookie: c="x y"', "Set-Cookie: a=new")
    with RawServer(redirect, redirecting("/more", "Set-Cookie: d=4"), polite) as server:
        close(connected(server.url, cookies={"a": "1", "e": "5"}))
    first, second, third = (caller["Cookie"] for caller in server.callers)
    assert first == "a=1; e=5"
    assert sorted(second.split("; ")) == ["a=new", "b=2", 'c="x y"', "e=5"]
    assert sorted(third.split("; ")) == ["a=new", "b=2", 'c="x y"', "d=4", "e=5"]


def test_cookies_set_by_a_redirect_stay_with_their_origin() -> None:
    with RawServer(polite) as second, RawServer(redirecting(second.url, "Set-Cookie: a=1")) as first:
        close(connected(first.url))
    assert "Cookie" not in second.caller


@pytest.mark.parametrize("cookie", ["=x", "a", "", ";", 'a="x;y"', "a b=c", "a=\xe4"])
def test_odd_cookies_of_a_redirect_do_no_harm(cookie: str) -> None:
    def redirect(caller: Caller) -> None:
        caller.read_head()
        caller.send(f"HTTP/1.1 302 Found\r\nLocation: /\r\nSet-Cookie: {cookie}\r\n\r\n".encode("latin-1"))
        caller.read_rest()

    with RawServer(redirect, polite) as server:
        close(connected(server.url, cookies={"own": "1"}))
    assert "own=1" in server.callers[1]["Cookie"].split("; ")


def test_on_handshake_sees_each_request() -> None:
    class Noting(Client):
        urls: list[str] = []  # noqa: RUF012

        def on_handshake(self, request: Any, headers: dict[str, Any]) -> bool:
            self.urls.append(request.url)
            headers["X-Added"] = str(len(self.urls))
            return len(self.urls) < 3

    with RawServer(redirecting("/2"), redirecting("/3")) as server:
        refused(server.url, Noting)
    assert Noting.urls == [server.url, f"{server.origin}/2", f"{server.origin}/3"]
    assert [caller["X-Added"] for caller in server.callers] == ["1", "2"]


# --- Proxies --------------------------------------------------------------------------------------------------------


def test_through_a_proxy() -> None:
    """RFC 6455 §4.1: by CONNECT, without TLS too."""
    with echoing() as server, RawServer(proxying) as proxy:
        client = connected(url_of(server), proxy=f"http://127.0.0.1:{proxy.port}")
        client.write("hello")
        assert until_received(client) == ["hello"]
        close(client)
    authority = f"127.0.0.1:{server.local_address[1]}"
    assert proxy.caller.line == f"CONNECT {authority} HTTP/1.1"
    assert proxy.caller["Host"] == authority  # RFC 9112 §3.2.3
    assert "Proxy-Authorization" not in proxy.caller


def test_wss_through_a_proxy(certs: Certificates) -> None:
    """TLS goes to the server, whose name is verified, and nothing of the request is shown to the proxy."""
    with (
        RawServer(polite, context=certs.good) as server,
        RawServer(lambda caller: (caller.read_head(), relay(caller, server.port))) as proxy,
    ):
        client = connected(
            f"wss://u:p@localhost:{server.port}/secret",
            proxy=f"http://127.0.0.1:{proxy.port}",
            ssl_options={"ca_certs": certs.ca},
            headers={"X-Own": "1"},
            cookies={"a": "b"},
            origin="https://a",
        )
        assert client.is_secure
        close(client)
    assert proxy.caller.line == f"CONNECT localhost:{server.port} HTTP/1.1"
    for name in ("X-Own", "Cookie", "Authorization", "Origin", "Sec-WebSocket-Key"):
        assert name not in proxy.caller
    assert server.caller.line == "GET /secret HTTP/1.1"


@pytest.mark.parametrize("with_context", [False, True])
def test_the_name_that_is_verified_is_not_the_proxys(certs: Certificates, with_context: bool) -> None:
    options: Any = certs.client_context() if with_context else {"ca_certs": certs.ca}
    with (
        RawServer(polite, context=certs.good) as server,
        RawServer(lambda caller: (caller.read_head(), relay(caller, server.port))) as proxy,
    ):
        error = refused(
            f"wss://another.example:{server.port}/", proxy=f"http://localhost:{proxy.port}", ssl_options=options
        )
        assert isinstance(error, ssl.SSLCertVerificationError)
    assert not any(caller.head for caller in server.callers)
    with (
        RawServer(polite, context=certs.wrong_host) as server,
        RawServer(lambda caller: (caller.read_head(), relay(caller, server.port))) as proxy,
    ):
        url = f"wss://elsewhere.example:{server.port}/"
        close(connected(url, proxy=f"http://localhost:{proxy.port}", ssl_options=options))


def test_names_are_looked_up_by_the_proxy() -> None:
    with (
        RawServer(polite) as server,
        RawServer(lambda caller: (caller.read_head(), relay(caller, server.port))) as proxy,
    ):
        close(connected("ws://nowhere.invalid/", proxy=f"http://127.0.0.1:{proxy.port}"))
    assert proxy.caller.line == "CONNECT nowhere.invalid:80 HTTP/1.1"
    assert server.caller["Host"] == "nowhere.invalid"


def test_an_ipv6_address_through_a_proxy() -> None:
    with (
        RawServer(polite) as server,
        RawServer(lambda caller: (caller.read_head(), relay(caller, server.port))) as proxy,
    ):
        close(connected("ws://[2001:db8::1]/", proxy=f"127.0.0.1:{proxy.port}"))
    assert proxy.caller.line == "CONNECT [2001:db8::1]:80 HTTP/1.1"
    assert server.caller["Host"] == "[2001:db8::1]"


def test_credentials_for_a_proxy() -> None:
    """RFC 9110 §11.7.2. The server does not get them."""
    with RawServer(polite) as server, RawServer(proxying) as proxy:
        close(connected(server.url, proxy=f"http://us%40er:p%3Ass@127.0.0.1:{proxy.port}"))
    expected = "Basic " + base64.b64encode(b"us@er:p:ss").decode()
    assert proxy.caller["Proxy-Authorization"] == expected
    assert "Proxy-Authorization" not in server.caller
    assert "Authorization" not in server.caller


@pytest.mark.parametrize("scheme", ["ws", "wss"])
def test_the_proxy_of_the_environment(certs: Certificates, monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    with (
        RawServer(polite, context=certs.good if scheme == "wss" else None) as server,
        RawServer(proxying) as proxy,
        RawServer() as other,
    ):
        names = ("http_proxy", "https_proxy") if scheme == "ws" else ("https_proxy", "http_proxy")
        monkeypatch.setenv(names[0], f"http://u:p@127.0.0.1:{proxy.port}")
        monkeypatch.setenv(names[1], f"http://127.0.0.1:{other.port}")
        close(connected(server.url, ssl_options={"ca_certs": certs.ca}))
    assert proxy.caller.line == f"CONNECT 127.0.0.1:{server.port} HTTP/1.1"
    assert proxy.caller["Proxy-Authorization"].startswith("Basic ")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
@pytest.mark.parametrize("form", ["host", "host and port", "all", "a list"])
def test_no_proxy(monkeypatch: pytest.MonkeyPatch, host: str, form: str) -> None:
    family = socket.AF_INET6 if host == "::1" else socket.AF_INET
    try:
        server = RawServer(polite, host="::1" if host == "::1" else "127.0.0.1", family=family)
    except OSError:
        pytest.skip("there is no IPv6 here")
    bracketed = f"[{host}]" if ":" in host else host
    value = {"host": host, "host and port": f"{bracketed}:{server.port}", "all": "*", "a list": f"example.com, {host}"}
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", value[form])
    with server:
        close(connected(f"ws://{bracketed}:{server.port}/"))


@pytest.mark.parametrize("proxy", [None, False])
def test_none_in_spite_of_the_environment(monkeypatch: pytest.MonkeyPatch, proxy: Any) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with RawServer(polite) as server:
        assert isinstance(refused(server.url), ConnectError)
        close(connected(server.url, proxy=proxy))


def test_a_proxy_of_another_kind_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """That is no fault of the call's."""
    monkeypatch.setenv("http_proxy", "socks5://127.0.0.1:1")
    assert isinstance(refused("ws://127.0.0.1:1/"), ValueError)


@pytest.mark.parametrize("line", ["407 Proxy Authentication Required", "403 Forbidden", "502 Bad Gateway", "302 Found"])
def test_a_proxy_refuses(line: str) -> None:
    """Its redirects are not followed: it is not the server who sends them."""
    answer = status(line, 'Proxy-Authenticate: Basic realm="a"', "Location: ws://127.0.0.1:1/", content=b"no")
    with RawServer(answering(answer)) as proxy:
        error = refused("ws://127.0.0.1:1/", proxy=f"http://127.0.0.1:{proxy.port}")
    assert isinstance(error, HandshakeError)
    assert error.status == int(line[:3])
    assert error.headers["Proxy-Authenticate"] == 'Basic realm="a"'


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 O",
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"\r\n\r\n",
        b"\0" * 100 + b"\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    ],
)
def test_a_proxy_that_closes_or_talks_nonsense(answer: bytes) -> None:
    def talk(caller: Caller) -> None:
        caller.read_head()
        caller.send(answer)
        caller.sock.shutdown(socket.SHUT_WR)
        caller.read_rest()

    with RawServer(talk) as proxy:
        assert isinstance(refused("ws://127.0.0.1:1/", proxy=f"http://127.0.0.1:{proxy.port}"), HandshakeError)


@pytest.mark.parametrize("scheme", ["ws", "wss"])
def test_a_proxy_that_talks_too_early(scheme: str) -> None:
    """What comes behind its answer before anything was asked cannot be the server's: it would be taken for it."""
    answer = b"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 101 Switching Protocols\r\n"
    with RawServer(answering(answer)) as proxy:
        assert isinstance(refused(f"{scheme}://127.0.0.1:1/", proxy=f"http://127.0.0.1:{proxy.port}"), HandshakeError)


def test_a_proxy_that_talks_before_it_is_asked() -> None:
    def talk(caller: Caller) -> None:
        caller.send(b"HTTP/1.0 200 OK\r\nX: y\r\n")
        caller.read_head()
        caller.send(b"\r\nmore")
        caller.read_rest()

    with RawServer(talk) as proxy:
        assert isinstance(refused("ws://127.0.0.1:1/", proxy=f"http://127.0.0.1:{proxy.port}"), HandshakeError)


@pytest.mark.parametrize("head", ["Content-Length: 5", "Transfer-Encoding: chunked", "Connection: close"])
def test_an_answer_to_connect_has_no_content(head: str) -> None:
    """RFC 9110 §9.3.6: Content-Length and Transfer-Encoding in it are ignored; RFC 9110 §15.3: any 2xx will do."""

    def talk(caller: Caller) -> None:
        caller.read_head()
        caller.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        caller.send(f"HTTP/1.0 299 Fine\r\n{head}\r\n\r\n".encode())
        polite(caller)

    with RawServer(talk) as proxy:
        close(connected("ws://nowhere.invalid/", proxy=f"http://127.0.0.1:{proxy.port}"))


def test_no_proxy_there() -> None:
    error = refused("ws://nowhere.invalid/", proxy="http://127.0.0.1:1")
    assert isinstance(error, ConnectError)


def test_no_server_behind_the_proxy() -> None:
    def talk(caller: Caller) -> None:
        caller.read_head()
        caller.send(b"HTTP/1.1 200 OK\r\n\r\n")
        caller.read_head()

    with RawServer(talk) as proxy:
        error = refused("ws://nowhere.invalid/", proxy=f"http://127.0.0.1:{proxy.port}")
        assert isinstance(error, (HandshakeError, ConnectionError))


def test_redirects_through_a_proxy() -> None:
    """Each goes through a tunnel of its own, with the proxy's credentials."""
    with (
        RawServer(polite) as second,
        RawServer(redirecting(second.url)) as first,
        RawServer(proxying, proxying) as proxy,
    ):
        close(connected(first.url, proxy=f"http://u:p@127.0.0.1:{proxy.port}"))
    assert [caller.line.split()[1] for caller in proxy.callers] == [
        f"127.0.0.1:{first.port}",
        f"127.0.0.1:{second.port}",
    ]
    assert all("Proxy-Authorization" in caller for caller in proxy.callers)


# --- Two at once ----------------------------------------------------------------------------------------------------


def test_many_at_once() -> None:
    """They have nothing in common."""
    with echoing() as server:
        clients = [Client.connect(url_of(server, f"/{number}"), number) for number in range(30)]
        run_until(lambda: all(client.connected for client in clients), DEADLINE)
        for number, client in enumerate(clients):
            assert client.arguments == (number,)
            client.write(str(number))
        run_until(lambda: all(client.messages for client in clients), DEADLINE)
        assert [client.messages for client in clients] == [[str(number)] for number in range(30)]
        for client in clients:
            client.close()
        until_closed(*clients)
        assert isinstance(server, HTTPServer)
