"""The HTTP client's proxies, which it is given or finds in the environment; and the names of servers."""

from __future__ import annotations

import base64
import os
import select
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any, Final

import pytest

from pants.http import HTTPClient
from pants.http.client import (
    ConnectionFailed,
    HTTPClientException,
    HTTPResponse,
    MalformedResponse,
    RequestClosed,
    RequestTimedOut,
)
from pants.testing import run_until
from tests.http.client_support import client_of
from tests.http.peers_support import DEADLINE
from tests.http.rogue_support import Caller, RogueServer, Script, forwarding, head, replying
from tests.http.ws_client_support import Certificates, certificates, proxying, status

OK: Final = status("200 OK", content=b"spam")
CLOSED: Final = status("200 OK", "Connection: close", content=b"spam")
ESTABLISHED: Final = b"HTTP/1.1 200 Connection established\r\n\r\n"
# Where nobody is asked, but the proxy.
NAME: Final = "a.example.test"


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.delenv("REQUEST_METHOD", raising=False)


@pytest.fixture(scope="module")
def certs() -> Certificates:
    return certificates()


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def unused_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
        assert isinstance(port, int)
        return port


class Tap:
    """A proxy for CONNECT that keeps what the client sends, to whatever name, and passes it on to a port."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.heads: list[str] = []
        self.sent = bytearray()

    def __call__(self, caller: Caller) -> None:
        self.heads.append(caller.read_head().decode("latin-1"))
        with socket.create_connection(("127.0.0.1", self.port), DEADLINE) as other:
            # What comes before there is a tunnel would be in clear.
            assert not select.select([caller.sock], [], [], 0)[0]
            caller.send(ESTABLISHED)
            while True:
                for end in select.select([caller.sock, other], [], [], DEADLINE)[0]:
                    piece = end.recv(65536)
                    if not piece:
                        return
                    if end is other:
                        caller.send(piece)
                    else:
                        self.sent += piece
                        other.sendall(piece)


# --- http: the whole URL is sent (RFC 9112 §3.2.2) ------------------------------------------------------------------


@pytest.mark.parametrize(
    "url, target, host",
    [
        (f"http://{NAME}", f"http://{NAME}/", NAME),
        (f"http://{NAME}/b?c=d#e", f"http://{NAME}/b?c=d", NAME),
        (f"http://{NAME}:80/b", f"http://{NAME}/b", NAME),
        (f"http://{NAME.upper()}:8080/b", f"http://{NAME}:8080/b", f"{NAME}:8080"),
        ("http://[::1]:8080/", "http://[::1]:8080/", "[::1]:8080"),
        ("http://b\xfccher.test/\xfc", "http://xn--bcher-kva.test/%C3%BC", "xn--bcher-kva.test"),
        # RFC 9110 §4.2.4: user and password are no part of what is sent.
        (f"http://u:p@{NAME}/", f"http://{NAME}/", NAME),
    ],
)
def test_the_request_line(url: str, target: str, host: str) -> None:
    with RogueServer(replying(OK)) as proxy, client_of(proxy=proxy.origin) as client:
        response = client.get(url).wait(DEADLINE)
        assert response.content == b"spam"
        (request,) = proxy.requests
        assert request.line == f"GET {target} HTTP/1.1"
        assert request["Host"] == host
        assert "Proxy-Authorization" not in request
        # RFC 9112 §C.2.2: an invention that was never part of HTTP.
        assert "Proxy-Connection" not in request
        assert request.all("Authorization") == ([basic("u", "p")] if "@" in url else [])


def test_a_body_goes_along() -> None:
    with RogueServer(replying(OK)) as proxy, client_of(proxy=proxy.origin) as client:
        client.post(f"http://{NAME}/", data={"a": "b"}).wait(DEADLINE)
        client.put(f"http://{NAME}/", data=iter([b"spam", b"eggs"])).wait(DEADLINE)
        client.request("PURGE", f"http://{NAME}/").wait(DEADLINE)
    assert [request.body for request in proxy.requests] == [b"a=b", b"spameggs", b""]
    assert [request.line for request in proxy.requests] == [
        f"{method} http://{NAME}/ HTTP/1.1" for method in ("POST", "PUT", "PURGE")
    ]
    assert {request.connection for request in proxy.requests} == {0}


@pytest.mark.parametrize(
    "user, value",
    [
        ("u:p", basic("u", "p")),
        ("u", basic("u", "")),
        ("u%40b:p%3a%2F", basic("u@b", "p:/")),
        ("%C3%BC:\xfc", basic("\xfc", "\xfc")),
    ],
)
def test_credentials_for_the_proxy(user: str, value: str) -> None:
    with (
        RogueServer(replying(OK)) as proxy,
        client_of(proxy=f"http://{user}@127.0.0.1:{proxy.port}") as client,
    ):
        exchange = client.get(f"http://{NAME}/", headers={"X": "y"})
        exchange.wait(DEADLINE)
        client.get(f"http://{NAME}/", auth=("eggs", "bacon")).wait(DEADLINE)
        # The program, and whoever it shows its request to, does not get to see them.
        assert "Proxy-Authorization" not in exchange.request.headers
    first, second = proxy.requests
    assert first["Proxy-Authorization"] == value
    assert "Authorization" not in first
    assert second["Proxy-Authorization"] == value
    assert second["Authorization"] == basic("eggs", "bacon")


def test_a_proxy_that_forwards() -> None:
    with (
        RogueServer(replying(OK)) as server,
        RogueServer(forwarding) as proxy,
        client_of(proxy=proxy.origin) as client,
    ):
        exchanges = [client.get(f"{server.origin}/{number}", cookies={"a": "b"}) for number in range(3)]
        assert [exchange.wait(DEADLINE).content for exchange in exchanges] == [b"spam"] * 3
    assert sorted(request.target for request in server.requests) == ["/0", "/1", "/2"]
    assert all(request["Cookie"] == "a=b" for request in server.requests)


@pytest.mark.parametrize("code", ["403 Forbidden", "407 Proxy Authentication Required", "502 Bad Gateway"])
def test_answers_of_the_proxy_itself(code: str) -> None:
    """For http they are answers like any other."""
    answer = status(code, 'Proxy-Authenticate: Basic realm="a"', content=b"no")
    with RogueServer(replying(answer)) as proxy, client_of(proxy=proxy.origin) as client:
        response = client.get(f"http://{NAME}/", auth=("u", "p")).wait(DEADLINE)
        assert (response.status, response.content) == (code, b"no")
    assert len(proxy.requests) == 1


# --- https: a tunnel (RFC 9110 §9.3.6) --------------------------------------------------------------------------------


@pytest.mark.parametrize("user", ["", "me:mine@"])
def test_nothing_but_connect_is_sent_in_clear(certs: Certificates, user: str) -> None:
    with RogueServer(replying(OK), context=certs.good) as server:
        tap = Tap(server.port)
        with (
            RogueServer(tap) as proxy,
            client_of(
                proxy=f"http://{user}127.0.0.1:{proxy.port}",
                ssl_options={"ca_certs": certs.ca},
                headers={"User-Agent": "secret-1", "X-Secret": "secret-2"},
            ) as client,
        ):
            response = client.post(
                f"https://secret-3:secret-4@localhost:{server.port}/secret-5?secret-6",
                data=b"secret-7",
                cookies={"secret-8": "secret-9"},
            ).wait(DEADLINE)
            assert response.content == b"spam"
            client.get(f"https://localhost:{server.port}/", auth=("secret-3", "secret-4")).wait(DEADLINE)
        (request, other) = server.requests
        assert request.line == "POST /secret-5?secret-6 HTTP/1.1"
        assert request["Host"] == f"localhost:{server.port}"
        assert request["Authorization"] == other["Authorization"] == basic("secret-3", "secret-4")
        assert "Proxy-Authorization" not in request
        assert "Proxy-Authorization" not in other
        (sent,) = tap.heads
        line, *fields = sent.split("\r\n")[:-2]
        assert line == f"CONNECT localhost:{server.port} HTTP/1.1"
        expected = {"host": f"localhost:{server.port}"}
        if user:
            expected["proxy-authorization"] = basic("me", "mine")
        assert {name.lower(): value for name, _, value in (field.partition(": ") for field in fields)} == expected
        assert tap.sent.startswith(b"\x16\x03")  # TLS
        assert b"secret" not in tap.sent
        assert b"secret" not in sent.encode()


@pytest.mark.parametrize(
    "host, target",
    [
        (NAME, f"{NAME}:443"),
        (f"{NAME}:443", f"{NAME}:443"),
        (f"{NAME}:8443", f"{NAME}:8443"),
        ("[::1]", "[::1]:443"),
        ("b\xfccher.test", "xn--bcher-kva.test:443"),
    ],
)
def test_the_target_of_connect(host: str, target: str) -> None:
    with (
        RogueServer(replying(status("403 Forbidden"))) as proxy,
        client_of(proxy=proxy.origin) as client,
        pytest.raises(ConnectionFailed),
    ):
        client.get(f"https://{host}/").wait(DEADLINE)
    (request,) = proxy.requests
    assert request.line == f"CONNECT {target} HTTP/1.1"
    assert request["Host"] == target


@pytest.mark.parametrize(
    "answer",
    [
        ESTABLISHED,
        b"HTTP/1.0 200 OK\r\n\r\n",
        b"HTTP/1.1 200 \r\nServer: a\r\nX: y\r\n\r\n",
        b"HTTP/1.1 299 Fine\r\n\r\n",
        head("100 Continue") + head("103 Early Hints", "Link: </a>") + ESTABLISHED,
        # RFC 9110 §9.3.6: these are to be ignored.
        head("200 OK", "Content-Length: 5"),
        head("200 OK", "Transfer-Encoding: chunked"),
        head("200 OK", "Connection: close"),
    ],
)
def test_answers_that_open_the_tunnel(certs: Certificates, answer: bytes) -> None:
    def script(caller: Caller) -> None:
        caller.read_head()
        for byte in answer:
            caller.send(bytes([byte]))
        with certs.good.wrap_socket(caller.sock.dup(), server_side=True) as sock:
            replying(CLOSED)(Caller(sock, server, 0))
            sock.recv(1)

    with (
        RogueServer(script) as server,
        client_of(proxy=server.origin, ssl_options={"ca_certs": certs.ca}) as client,
    ):
        assert client.get("https://localhost:1/a").wait(DEADLINE).content == b"spam"
        assert server.requests[0].line == "GET /a HTTP/1.1"


@pytest.mark.parametrize(
    "code", ["403 Forbidden", "407 Proxy Authentication Required", "302 Found", "401 Unauthorized", "504 Too late"]
)
def test_a_tunnel_that_is_refused(code: str) -> None:
    """What the proxy says instead is no answer of the server's: not a page, not a redirect, and no cookie."""
    answer = status(
        code,
        'Proxy-Authenticate: Basic realm="a"',
        'WWW-Authenticate: Basic realm="a"',
        "Location: http://evil.test/",
        "Set-Cookie: a=b; Domain=example.test",
        content=b"<script>",
    )
    told: list[tuple[HTTPResponse, Exception]] = []
    answers: list[HTTPResponse] = []
    with (
        RogueServer(replying(answer)) as proxy,
        client_of(
            answers.append,
            on_headers=answers.append,
            on_error=lambda *args: told.append(args),
            proxy=f"http://me:mine@127.0.0.1:{proxy.port}",
        ) as client,
    ):
        exchange = client.get(f"https://{NAME}/", auth=("u", "p"))
        with pytest.raises(ConnectionFailed, match=code[:3]) as caught:
            exchange.wait(DEADLINE)
        ((response, error),) = told
        assert error is caught.value
        assert (response.status_code, response.content) == (0, None)
        assert "mine" not in str(error)
        assert (answers, list(client.session().cookies), exchange.history) == ([], [], [])
    assert len(proxy.requests) == proxy.accepted == 1


ESTABLISHED_BADLY: Final[dict[str, bytes]] = {
    "rubbish": b"SSH-2.0-OpenSSH_9.2p1\r\n\r\n\r\n",
    "HTTP/2.0": b"HTTP/2.0 200 OK\r\n\r\n",
    "HTTP/0.9": b"<html></html>\n\n",
    "no status": b"HTTP/1.1 OK\r\n\r\n",
    "a status of two digits": b"HTTP/1.1 20 OK\r\n\r\n",
    "a field without a colon": b"HTTP/1.1 200 OK\r\nspam\r\n\r\n",
    "NUL in a field": b"HTTP/1.1 200 OK\r\nA: \0\r\n\r\n",
    "lines without CR": b"HTTP/1.1 200 OK\nA: b\n\n",
    "bytes too early": ESTABLISHED + b"\x16\x03\x03\x00\x05spam!",
    "a page": status("200 OK", content=b"<html></html>"),
    "two answers": ESTABLISHED + ESTABLISHED,
    "another protocol": head("101 Switching Protocols", "Upgrade: spam", "Connection: upgrade"),
    "TLS": b"\x15\x03\x03\x00\x02\x02\x28\r\n\r\n",
}


@pytest.mark.parametrize("kind", ESTABLISHED_BADLY)
def test_malformed_answers_to_connect(kind: str) -> None:
    def script(caller: Caller) -> None:
        caller.read_head()
        caller.send(ESTABLISHED_BADLY[kind])
        assert caller.read_rest() == b""  # nothing follows

    with (
        RogueServer(script) as proxy,
        client_of(proxy=proxy.origin) as client,
        pytest.raises((ConnectionFailed, RequestClosed, MalformedResponse)),
    ):
        client.get(f"https://{NAME}/", headers={"A": "secret"}, verify_ssl=False).wait(DEADLINE)
    assert proxy.accepted == 1


@pytest.mark.parametrize(
    "start, data",
    [
        (b"", head("100 Continue")),
        (b"HTTP/1.1 200 ", b"OK "),
        (b"HTTP/1.1 200 OK\r\nA: ", b"spam "),
        (b"HTTP/1.1 200 OK\r\n", b"A: b\r\n"),
        (ESTABLISHED, b"spam"),
        (b"HTTP/1.1 403 Forbidden\r\n\r\n", b"spam"),
    ],
)
def test_answers_to_connect_without_an_end(start: bytes, data: bytes) -> None:
    def script(caller: Caller) -> None:
        caller.read_head()
        caller.send(start)
        caller.send_endlessly(data)

    with (
        RogueServer(script) as proxy,
        client_of(proxy=proxy.origin) as client,
        pytest.raises(ConnectionFailed),
    ):
        client.get(f"https://{NAME}/").wait(DEADLINE)


# --- Proxies that die ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_nobody_is_there(scheme: str) -> None:
    with client_of(proxy=f"http://u:secret@127.0.0.1:{unused_port()}") as client:
        with pytest.raises(ConnectionFailed) as caught:
            client.get(f"{scheme}://{NAME}/").wait(DEADLINE)
        assert isinstance(caught.value.__cause__, OSError)
        assert "secret" not in str(caught.value)


def _at_once(caller: Caller) -> None:
    pass


def _by_a_reset(caller: Caller) -> None:
    caller.read_head()
    caller.reset()


def _after_the_request(caller: Caller) -> None:
    caller.read_head()


def _in_the_head(caller: Caller) -> None:
    caller.read_head()
    caller.send(b"HTTP/1.1 200 O")


def _in_the_content(caller: Caller) -> None:
    caller.read_head()
    caller.send(head("200 OK", "Content-Length: 5") + b"spa")


def _in_the_handshake(caller: Caller) -> None:
    caller.read_head()
    caller.send(ESTABLISHED)
    caller.sock.recv(65536)


_DEATHS: Final[list[Script]] = [_at_once, _by_a_reset, _after_the_request, _in_the_head, _in_the_content]


@pytest.mark.parametrize(
    "scheme, script",
    [(scheme, script) for scheme in ("http", "https") for script in _DEATHS] + [("https", _in_the_handshake)],
)
def test_a_proxy_that_dies(scheme: str, script: Script) -> None:
    told: list[Exception] = []
    with (
        RogueServer(script) as proxy,
        client_of(proxy=proxy.origin, on_error=lambda _, error: told.append(error)) as client,
    ):
        exchange = client.get(f"{scheme}://{NAME}/")
        with pytest.raises((RequestClosed, ConnectionFailed)):
            exchange.wait(DEADLINE)
        assert told == [exchange.error]
    assert proxy.accepted == 1


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_does_not_answer(scheme: str) -> None:
    def script(caller: Caller) -> None:
        caller.read_head()
        caller.read_rest()

    with RogueServer(script) as proxy, client_of(proxy=proxy.origin) as client, pytest.raises(RequestTimedOut):
        client.get(f"{scheme}://{NAME}/", timeout=0.2).wait(DEADLINE)


def test_a_proxy_that_closes_between_two_requests() -> None:
    """RFC 9110 §9.2.2: what may be sent twice is sent again, over a new connection."""
    with RogueServer(replying(OK, close=True)) as proxy, client_of(proxy=proxy.origin) as client:
        for _ in range(3):
            assert client.get(f"http://{NAME}/").wait(DEADLINE).content == b"spam"
    assert [request.connection for request in proxy.requests] == [0, 1, 2]


# --- Where a proxy is given ------------------------------------------------------------------------------------------


def test_of_the_client_a_session_and_a_request() -> None:
    with (
        RogueServer(replying(OK)) as first,
        RogueServer(replying(OK)) as second,
        RogueServer(replying(OK)) as server,
        client_of(proxy=first.origin) as client,
    ):
        url = server.url
        client.get(url).wait(DEADLINE)
        client.get(url, proxy=second.origin).wait(DEADLINE)
        client.get(url, proxy=False).wait(DEADLINE)
        with client.session(proxy=second.origin) as session:
            client.get(url).wait(DEADLINE)
            client.get(url, proxy=first.origin).wait(DEADLINE)
            session.session(timeout=20).get(url).wait(DEADLINE)
            session.session(proxy=False).get(url).wait(DEADLINE)
        client.get(url).wait(DEADLINE)
    absolute = f"GET {url} HTTP/1.1"
    assert [request.line for request in first.requests] == [absolute] * 3
    assert [request.line for request in second.requests] == [absolute] * 3
    assert [request.line for request in server.requests] == ["GET / HTTP/1.1"] * 2


def test_a_url_without_a_scheme() -> None:
    with RogueServer(replying(OK)) as proxy, client_of(proxy=f"127.0.0.1:{proxy.port}") as client:
        client.get(f"http://{NAME}/").wait(DEADLINE)
    assert len(proxy.requests) == 1


BAD: Final = [
    "socks5://127.0.0.1:1080",
    "socks5h://u:secret@127.0.0.1",
    "socks4://127.0.0.1",
    "https://u:secret@127.0.0.1:3128",
    "ftp://127.0.0.1",
    "http://",
    "http://:3128",
    "http://u:secret@:3128",
    "http://127.0.0.1:x",
    "http://u:secret@127.0.0.1:99999",
    "http://[::1",
    "http://a b/",
    "http://a\r\nX: y/",
]


@pytest.mark.parametrize("proxy", BAD)
def test_other_kinds_are_refused_at_the_call(proxy: str) -> None:
    with client_of() as client:
        for call in (
            lambda: HTTPClient(proxy=proxy),
            lambda: client.session(proxy=proxy),
            lambda: client.session().session(proxy=proxy),
            lambda: client.get(f"http://{NAME}/", proxy=proxy),
            lambda: client.post(f"https://{NAME}/", data=b"a", proxy=proxy),
        ):
            with pytest.raises(ValueError, match=r"http://host:port|is no URL|is no host name|control") as caught:
                call()
            assert "secret" not in str(caught.value)
        assert client._exchanges == set()


@pytest.mark.parametrize("proxy", [1, 1.5, b"http://a:1", ("a", 1), {"http": "http://a:1"}, ["http://a:1"]])
def test_what_is_no_url_at_all(proxy: Any) -> None:
    with client_of() as client:
        with pytest.raises(TypeError, match="proxy"):
            HTTPClient(proxy=proxy)
        with pytest.raises(TypeError, match="proxy"):
            client.session(proxy=proxy)
        with pytest.raises(TypeError, match="proxy"):
            client.get(f"http://{NAME}/", proxy=proxy)


def test_a_proxy_without_scheme_and_host() -> None:
    with pytest.raises(ValueError, match="a proxy is given as") as caught:
        HTTPClient(proxy="u:secret@")
    assert "secret" not in str(caught.value)


# --- The environment -------------------------------------------------------------------------------------------------


def proxied(url: str, **kwargs: Any) -> bool:
    """Whether a request gets to the proxy, which is the first to answer, rather than to a connection refused."""
    with client_of() as client:
        try:
            response = client.get(url, timeout=10, **kwargs).wait(DEADLINE)
        except (ConnectionFailed, HTTPClientException) as error:
            return "CONNECT" in str(error)
        return response.content == b"proxy"


@pytest.fixture
def local_names(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names are those of this machine, and noted."""
    return patched_names(monkeypatch, lambda host: ["127.0.0.1"])


@pytest.fixture
def proxy() -> Iterator[RogueServer]:
    with RogueServer(replying(status("403 Forbidden", content=b"proxy"))) as server:
        yield server


def patched_names(monkeypatch: pytest.MonkeyPatch, addresses: Callable[[str], list[str]]) -> list[str]:
    real = socket.getaddrinfo
    asked: list[str] = []

    def look_up(host: str, port: Any, family: int = 0, kind: int = 0, proto: int = 0, flags: int = 0) -> Any:
        if not host.endswith(".test"):
            return real(host, port, family, kind, proto, flags)
        if flags & socket.AI_NUMERICHOST:
            raise socket.gaierror(socket.EAI_NONAME, "no address")
        asked.append(host)
        found = [entry for address in addresses(host) for entry in real(address, port, 0, kind, proto, flags)]
        if not found:
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        return [entry for entry in found if family in (0, entry[0])]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return asked


@pytest.mark.parametrize(
    "name, http, https",
    [
        ("http_proxy", True, False),
        ("HTTP_PROXY", True, False),
        ("https_proxy", False, True),
        ("HTTPS_PROXY", False, True),
        ("all_proxy", True, True),
        ("ALL_PROXY", True, True),
        ("ftp_proxy", False, False),
    ],
)
def test_variables(
    proxy: RogueServer, monkeypatch: pytest.MonkeyPatch, local_names: list[str], name: str, http: bool, https: bool
) -> None:
    monkeypatch.setenv(name, proxy.origin)
    port = unused_port()
    assert proxied(f"http://{NAME}:{port}/") is http
    assert proxied(f"https://{NAME}:{port}/") is https
    assert len(local_names) == 2 - http - https  # where there is a proxy, it is the one to look names up


def test_the_more_special_variable_rules(proxy: RogueServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", f"http://127.0.0.1:{unused_port()}")
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{unused_port()}")
    monkeypatch.setenv("http_proxy", proxy.origin)
    assert proxied(f"http://{NAME}/")
    assert not proxied(f"https://{NAME}/")


def test_http_proxy_of_a_cgi_script(
    proxy: RogueServer, monkeypatch: pytest.MonkeyPatch, local_names: list[str]
) -> None:
    """There HTTP_PROXY is what the client of the script has sent as "Proxy" (CVE-2016-1000110)."""
    monkeypatch.setenv("REQUEST_METHOD", "GET")
    monkeypatch.setenv("HTTP_PROXY", proxy.origin)
    assert not proxied(f"http://{NAME}:{unused_port()}/")
    assert proxy.requests == []


def test_credentials_in_a_variable(proxy: RogueServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://me:mine@127.0.0.1:{proxy.port}")
    monkeypatch.setenv("HTTPS_PROXY", f"me:mine@127.0.0.1:{proxy.port}/")
    assert proxied(f"http://{NAME}/")
    assert proxied(f"https://{NAME}/")
    assert [request["Proxy-Authorization"] for request in proxy.requests] == [basic("me", "mine")] * 2


@pytest.mark.parametrize(
    "no_proxy, host, by_proxy",
    [
        ("*", NAME, False),
        (NAME, NAME, False),
        (NAME, "b.example.test", True),
        ("example.test", NAME, False),
        (".example.test", NAME, False),
        ("ample.test", NAME, True),
        ("a.example", NAME, True),
        (NAME.upper(), NAME, False),
        (NAME, NAME.upper(), False),
        (f"x.test, {NAME} ,y.test", NAME, False),
        ("x.test,y.test", NAME, True),
        ("", NAME, True),
        (f"{NAME}:%d", NAME, False),
        (f"{NAME}:1", NAME, True),
        ("127.0.0.1", "127.0.0.1", False),
        ("127.0.0.1:%d", "127.0.0.1", False),
        ("127.0.0.2", "127.0.0.1", True),
        ("::1", "[::1]", False),
        ("[::1]:%d", "[::1]", False),
        ("localhost", "localhost", False),
    ],
)
@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("variable", ["no_proxy", "NO_PROXY"])
def test_no_proxy(
    proxy: RogueServer,
    monkeypatch: pytest.MonkeyPatch,
    local_names: list[str],
    no_proxy: str,
    host: str,
    by_proxy: bool,
    scheme: str,
    variable: str,
) -> None:
    port = unused_port()
    monkeypatch.setenv("ALL_PROXY", proxy.origin)
    monkeypatch.setenv(variable, no_proxy.replace("%d", str(port)))
    assert proxied(f"{scheme}://{host}:{port}/") is by_proxy


def test_no_proxy_does_not_concern_a_proxy_that_is_given(proxy: RogueServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "*")
    assert proxied(f"http://{NAME}/", proxy=proxy.origin)


def test_the_environment_can_be_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", f"http://127.0.0.1:{unused_port()}")
    with RogueServer(replying(CLOSED)) as server:
        with client_of(proxy=False) as client:
            assert client.get(server.url).wait(DEADLINE).content == b"spam"
            with pytest.raises(ConnectionFailed):
                client.get(server.url, proxy=True).wait(DEADLINE)
        with client_of() as client:
            with pytest.raises(ConnectionFailed):
                client.get(server.url).wait(DEADLINE)
            assert client.get(server.url, proxy=False).wait(DEADLINE).content == b"spam"
            assert client.session(proxy=False).get(server.url).wait(DEADLINE).content == b"spam"


@pytest.mark.parametrize("proxy", [*BAD[:5], "http://u:secret@127.0.0.1:99999"])
def test_other_kinds_in_the_environment(monkeypatch: pytest.MonkeyPatch, proxy: str) -> None:
    monkeypatch.setenv("HTTP_PROXY", proxy)
    told: list[Exception] = []
    with client_of(on_error=lambda _, error: told.append(error)) as client:
        exchange = client.get(f"http://{NAME}/")
        assert not exchange.done  # never inside the call
        assert told == []
        with pytest.raises((ValueError, HTTPClientException), match=r"proxy|is no URL") as caught:
            exchange.wait(DEADLINE)
        assert told == [caught.value]
        assert "secret" not in str(caught.value)
        assert client._exchanges == set()


# --- Redirects -----------------------------------------------------------------------------------------------------


def test_a_redirect_past_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was for the proxy does not get to the server."""
    with RogueServer(replying(OK)) as server:
        moved = status("302 Found", f"Location: {server.origin}/b")
        with RogueServer(replying(moved)) as proxy, client_of() as client:
            monkeypatch.setenv("HTTP_PROXY", f"http://me:mine@127.0.0.1:{proxy.port}")
            monkeypatch.setenv("NO_PROXY", "127.0.0.1")
            assert client.get(f"http://{NAME}/").wait(DEADLINE).content == b"spam"
    (request,) = server.requests
    assert request.line == "GET /b HTTP/1.1"
    assert "Proxy-Authorization" not in request
    assert proxy.requests[0]["Proxy-Authorization"] == basic("me", "mine")


def test_a_redirect_from_http_to_https_behind_the_proxy(certs: Certificates) -> None:
    with RogueServer(replying(OK), context=certs.good) as server:
        tap = Tap(server.port)
        moved = status("301 Moved", f"Location: https://localhost:{server.port}/b")
        with (
            RogueServer(replying(moved), tap) as proxy,
            client_of(
                proxy=f"http://me:mine@127.0.0.1:{proxy.port}", ssl_options={"ca_certs": certs.ca}, auth=("u", "p")
            ) as client,
        ):
            response = client.get(f"http://localhost:{server.port}/").wait(DEADLINE)
            assert (response.content, len(response.history)) == (b"spam", 1)
        (request,) = server.requests
        assert request.line == "GET /b HTTP/1.1"
        assert "Proxy-Authorization" not in request
        assert "Authorization" not in request  # the scheme is another one
        assert tap.heads[0].startswith(f"CONNECT localhost:{server.port} HTTP/1.1\r\n")


# --- Names ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def ipv6() -> None:
    try:
        with socket.socket(socket.AF_INET6) as sock:
            sock.bind(("::1", 0))
    except OSError:
        pytest.skip("there is no IPv6 here")


@pytest.mark.parametrize("first", ["::1", "127.0.0.1"])
@pytest.mark.parametrize("listening", ["::1", "127.0.0.1"])
def test_both_kinds_of_addresses_are_tried(
    ipv6: None, monkeypatch: pytest.MonkeyPatch, first: str, listening: str
) -> None:
    """RFC 8305, and whichever of them somebody listens at."""
    asked = patched_names(monkeypatch, lambda _: [first, "127.0.0.1" if first == "::1" else "::1"])
    family = socket.AF_INET6 if ":" in listening else socket.AF_INET
    with RogueServer(replying(OK), host=listening, family=family) as server, client_of() as client:
        response = client.get(f"http://{NAME}:{server.port}/").wait(DEADLINE)
        assert response.content == b"spam"
        assert server.requests[0]["Host"] == f"{NAME}:{server.port}"
        timings = response.timings
        assert timings is not None
        assert timings.dns is not None
    assert set(asked) == {NAME}


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_localhost(host: str) -> None:
    with RogueServer(replying(OK)) as server, client_of() as client:
        assert client.get(f"http://{host}:{server.port}/").wait(DEADLINE).content == b"spam"


def test_an_address_of_ipv6(ipv6: None) -> None:
    with RogueServer(replying(OK), host="::1", family=socket.AF_INET6) as server, client_of() as client:
        assert client.get(server.url).wait(DEADLINE).content == b"spam"
        assert server.requests[0]["Host"] == f"[::1]:{server.port}"


def test_nobody_listens_at_any_address(ipv6: None, monkeypatch: pytest.MonkeyPatch) -> None:
    patched_names(monkeypatch, lambda _: ["::1", "127.0.0.1"])
    with client_of() as client, pytest.raises(ConnectionFailed):
        client.get(f"http://{NAME}:{unused_port()}/").wait(DEADLINE)


def test_a_name_that_does_not_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    patched_names(monkeypatch, lambda _: [])
    with client_of() as client:
        with pytest.raises(ConnectionFailed) as caught:
            client.get(f"http://{NAME}/").wait(DEADLINE)
        assert isinstance(caught.value.__cause__, OSError)


def test_names_are_looked_up_off_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """While one is waited for, the loop goes on; and there is an end to the waiting."""
    let_go = threading.Event()
    threads: list[int] = []

    def slowly(host: str) -> list[str]:
        threads.append(threading.get_ident())
        assert let_go.wait(DEADLINE)
        return ["127.0.0.1"]

    asked = patched_names(monkeypatch, slowly)
    with RogueServer(replying(OK)) as server, client_of() as client:
        slow = client.get(f"http://{NAME}:{server.port}/")
        impatient = client.get(f"http://b.example.test:{server.port}/", timeout=0.2)
        run_until(lambda: len(asked) == 2, DEADLINE)
        assert client.get(server.url).wait(DEADLINE).content == b"spam"
        with pytest.raises(RequestTimedOut):
            impatient.wait(DEADLINE)
        assert not slow.done
        let_go.set()
        assert slow.wait(DEADLINE).content == b"spam"
    assert threading.get_ident() not in threads


def test_a_name_that_is_too_long() -> None:
    with client_of() as client, pytest.raises(ConnectionFailed):
        client.get(f"http://{'a.' * 200}test/", timeout=10).wait(DEADLINE)


def test_the_proxy_looks_names_up(monkeypatch: pytest.MonkeyPatch, proxy: RogueServer) -> None:
    asked = patched_names(monkeypatch, lambda host: ["127.0.0.1"])
    with client_of(proxy=f"http://proxy.test:{proxy.port}") as client:
        assert client.get(f"http://{NAME}/").wait(DEADLINE).content == b"proxy"
        with pytest.raises(ConnectionFailed):
            client.get(f"https://{NAME}/").wait(DEADLINE)
    assert set(asked) == {"proxy.test"}


def test_a_real_tunnel_that_is_used_again(certs: Certificates) -> None:
    with (
        RogueServer(replying(OK), context=certs.good) as server,
        RogueServer(proxying) as proxy,
        client_of(proxy=proxy.origin, ssl_options={"ca_certs": certs.ca}) as client,
    ):
        for _ in range(3):
            assert client.get(server.url).wait(DEADLINE).content == b"spam"
        # Without the proxy it is another way, and another connection.
        assert client.get(server.url, proxy=False).wait(DEADLINE).content == b"spam"
    assert [request.connection for request in server.requests] == [0, 0, 0, 1]
    assert proxy.accepted == 1
