"""`pants.contrib.http`, the older API: what its page says, sentence by sentence, with real sockets and real peers."""

from __future__ import annotations

import contextlib
import doctest
import gc
import http.client
import http.server
import socket
import subprocess
import sys
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import pants.contrib
import pants.contrib.http
import pants.contrib.http.client
import pants.contrib.http.server
from pants import Engine, Server
from pants import http as new
from pants.contrib.http import ClientHelper, HTTPClient, HTTPConnection, HTTPRequest, HTTPResponse, HTTPServer
from pants.http import WebSocket
from pants.http.client import RequestCancelled, RequestTimedOut
from pants.testing import run_until
from tests.http.peers_support import DEADLINE, EXAMPLES, in_thread
from tests.http.ws_client_support import certificates

UTF8 = "text/plain; charset=utf-8"


def echo(request: HTTPRequest) -> None:
    request.send_response(f"{request.method} {request.uri}", content_type=UTF8)


class Site:
    """A server of the older API that listens.

    Attributes:
        requests: Those that have reached the handler.
    """

    def __init__(self, handler: Any, **kwargs: Any) -> None:
        self.requests: list[HTTPRequest] = []
        self._handler = handler
        self.server = HTTPServer(self._handle, **kwargs).listen(("127.0.0.1", 0))
        self.port: int = self.server.local_address[1]
        self.url = f"{'https' if kwargs.get('ssl_options') else 'http'}://localhost:{self.port}"

    def _handle(self, *args: Any) -> None:
        (request,) = args
        self.requests.append(request)
        self._handler(request)

    def ask(self, method: str = "GET", target: str = "/", body: Any = None, **headers: str) -> Any:
        """Ask by the standard library's client, and return its response and the content."""
        return in_thread(lambda: self._ask(method, target, body, headers))

    def _ask(self, method: str, target: str, body: Any, headers: dict[str, str]) -> Any:
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE)) as peer:
            peer.request(method, target, body, {name.replace("_", "-"): value for name, value in headers.items()})
            response = peer.getresponse()
            return response, response.read()

    def converse(self, data: bytes) -> bytes:
        """Send something, and return all that comes until the server closes."""

        def talk() -> bytes:
            with socket.create_connection(("127.0.0.1", self.port), DEADLINE) as sock:
                sock.sendall(data)
                return b"".join(iter(lambda: sock.recv(65536), b""))

        return in_thread(talk)


@contextlib.contextmanager
def serving(handler: Any = echo, **kwargs: Any) -> Iterator[Site]:
    site = Site(handler, **kwargs)
    try:
        yield site
    finally:
        site.server.close()
        run_until(lambda: site.server.closed)


@contextlib.contextmanager
def asking(*args: Any, **kwargs: Any) -> Iterator[HTTPClient]:
    with contextlib.closing(HTTPClient(*args, **kwargs)) as client:
        yield client


@pytest.fixture
def client() -> Iterator[HTTPClient]:
    with asking() as client:
        yield client


# --- The page --------------------------------------------------------------------------------------------------------


def test_the_names_are_where_the_page_has_them() -> None:
    for name in pants.contrib.http.__all__:
        module = pants.contrib.http.server if hasattr(pants.contrib.http.server, name) else pants.contrib.http.client
        assert getattr(pants.contrib.http, name) is getattr(module, name)
        assert "Deprecated: new programs use" in getattr(module, name).__doc__


def test_it_is_a_portion_of_a_namespace() -> None:
    assert pants.contrib.__file__ is None
    assert (Path(pants.contrib.http.__file__).parent / "py.typed").is_file()


def test_programs_are_not_nagged() -> None:
    code = "import pants.contrib.http as h; h.HTTPServer(print); h.HTTPClient(print)"
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, timeout=DEADLINE)


@pytest.mark.parametrize("module", [pants.contrib.http.client, pants.contrib.http.server])
def test_the_examples(module: Any) -> None:
    result = doctest.testmod(module)
    assert result.attempted
    assert not result.failed


def test_the_program() -> None:
    program = str(EXAMPLES / "contrib_http.py")
    done = subprocess.run([sys.executable, program], capture_output=True, text=True, timeout=DEADLINE, check=True)
    assert done.stdout.splitlines() == ["HTTP/1.1 200 OK Hello, World!", "Hello, Ada!", "Hello, Grace!"]
    assert done.stderr == ""


# --- HTTPServer ------------------------------------------------------------------------------------------------------


def test_a_server_extends_the_default_class_and_uses_its_connection_class() -> None:
    """Page: "extending the default Server class", "automatically uses the HTTPConnection connection class"."""
    assert issubclass(HTTPServer, Server)
    with serving() as site:
        site.ask()
        (request,) = site.requests
        assert type(request) is HTTPRequest
        assert type(request.connection) is HTTPConnection
        assert isinstance(request, new.HTTPRequest)
        assert isinstance(site.server, new.HTTPServer)


def test_nothing_is_sent_by_itself() -> None:
    """Page: "will not send any response by itself unless the received HTTP request is not valid or larger"."""
    with serving(lambda request: None, max_request=1000) as site:
        with socket.create_connection(("127.0.0.1", site.port), DEADLINE) as sock:
            sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            run_until(lambda: site.requests)
            Engine.instance().poll(0)
            sock.setblocking(False)
            with pytest.raises(BlockingIOError):
                sock.recv(1)
            site.requests[0].send_response("later")
            run_until(lambda: site.requests[0].finished)
            Engine.instance().poll(0)
            sock.settimeout(DEADLINE)
            assert sock.recv(65536).startswith(b"HTTP/1.1 200 OK\r\n")
        assert site.converse(b"nonsense\r\n\r\n").startswith(b"HTTP/1.1 400 Bad Request\r\n")
        assert site.ask("POST", body=bytes(1001))[0].status == 413
        assert len(site.requests) == 1


def test_the_defaults() -> None:
    with contextlib.closing(HTTPServer(echo)) as server:
        assert server.max_request == 10 * 1024 * 1024
        assert server.keep_alive is True


def test_listening_on_a_port() -> None:
    """As the manual has it for each server: `listen` takes a port, and returns the server."""
    with contextlib.closing(HTTPServer(echo)) as server:
        assert server.listen(0) is server
        assert server.local_address[1] > 0


def test_arguments_by_position() -> None:
    """Page: "HTTPServer(request_handler, max_request, keep_alive, ssl_options, cookie_secret, xheaders)"."""
    server = HTTPServer(echo, 1, False, certificates().good, "secret", True)
    with contextlib.closing(server):
        assert server.request_handler is echo
        assert (server.max_request, server.keep_alive) == (1, False)


@pytest.mark.parametrize("keep_alive", [True, False])
def test_keep_alive_of_a_server(keep_alive: bool) -> None:
    with serving(keep_alive=keep_alive) as site:

        def ask_twice() -> list[bytes]:
            found = []
            with contextlib.closing(http.client.HTTPConnection("127.0.0.1", site.port, timeout=DEADLINE)) as peer:
                for target in ("/a", "/b"):
                    peer.request("GET", target)  # which connects again where it was closed
                    found.append(peer.getresponse().read())
            return found

        assert in_thread(ask_twice) == [b"GET /a", b"GET /b"]
        assert site.server.counters.connections == (1 if keep_alive else 2)


def test_https() -> None:
    """Page: "If this is set, the server will serve requests via HTTPS". That it does not work yet is over."""
    trusted = certificates()
    with serving(lambda request: request.send_response(request.protocol), ssl_options=trusted.good) as site:

        def ask() -> bytes:
            peer = http.client.HTTPSConnection(
                "localhost", site.port, timeout=DEADLINE, context=trusted.client_context()
            )
            with contextlib.closing(peer):
                peer.request("GET", "/")
                return peer.getresponse().read()

        assert in_thread(ask) == b"https"
        (request,) = site.requests
        assert (request.protocol, request.scheme, request.is_secure) == ("https", "https", True)


def test_ssl_options_as_of_wrap_socket() -> None:
    """Page: "keys and values [...] should mimic the arguments taken by ssl.wrap_socket()"."""
    with serving(ssl_options={"certfile": certificates().client}) as site, asking(verify_ssl=False) as client:
        assert client.get(site.url + "/a").fetch().body == "GET /a"


def test_secure_cookies() -> None:
    def handler(request: HTTPRequest) -> None:
        value = request.get_secure_cookie("name")
        request.set_secure_cookie("name", "value")
        request.send_response(repr(value))

    with serving(handler, cookie_secret="secret") as site, asking() as client:
        assert client.get(site.url).fetch().body == b"None"
        assert client.get(site.url).fetch().body == b"'value'"


@pytest.mark.parametrize("xheaders", [True, False])
def test_xheaders(xheaders: bool) -> None:
    """Page: "Whether or not to use X-Forwarded-For and X-Forwared-Proto headers"."""

    def handler(request: HTTPRequest) -> None:
        request.send_response(f"{request.remote_ip} {request.protocol} {request.scheme}", headers={"A": "b"})
        assert request.protocol == request.scheme

    with serving(handler, xheaders=xheaders) as site:
        _, content = site.ask(X_Forwarded_For="192.0.2.7", X_Forwarded_Proto="https")
        assert content == (b"192.0.2.7 https https" if xheaders else b"127.0.0.1 http http")


# --- HTTPRequest -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["HTTP/1.0", "HTTP/1.1"])
@pytest.mark.parametrize("fields", ["", "X: y\r\n"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_what_a_request_has(version: str, fields: str, method: str) -> None:
    with serving() as site:
        head = f"{method} /a%20b?c=d HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n{fields}\r\n"
        answer = site.converse(head.replace("HTTP/1.1", version).encode())
        assert answer.startswith(f"{version} 200 OK\r\n".encode())
        (request,) = site.requests
        assert request.method == method
        assert request.uri == request.url == "/a%20b?c=d"
        assert request.http_version == version
        assert request.headers["host"] == "a.example"
        assert request.protocol == "http"
        assert (request.path, request.query, request.host) == ("/a%20b", "c=d", "a.example")
        assert (request.get, request.post, request.body) == ({"c": ["d"]}, {}, b"")


def test_forms_and_cookies() -> None:
    with serving() as site:
        form = "application/x-www-form-urlencoded"
        site.ask("POST", "/?a=b", b"c=d", Content_Type=form, Cookie="e=f")
        (request,) = site.requests
        assert (request.get, request.post, request.body) == ({"a": ["b"]}, {"c": ["d"]}, b"c=d")
        assert request.cookies["e"].value == "f"


def test_a_request_that_a_program_makes() -> None:
    """Page: "HTTPRequest(connection, method, uri, http_version, headers=None, protocol='http')"."""
    with serving() as site:
        site.ask()
        connection = site.requests[0].connection
        request = HTTPRequest(connection, "GET", "/a?b", "HTTP/1.0", {"Host": "c"}, "https")
        assert request.connection is connection
        assert (request.method, request.uri, request.http_version) == ("GET", "/a?b", "HTTP/1.0")
        assert (request.headers["HOST"], request.protocol, request.full_url) == ("c", "https", "https://c/a?b")
        headers = new.HTTPHeaders({"A": "b"})
        request = HTTPRequest(
            connection=connection, method="GET", uri="/", http_version="HTTP/1.1", headers=headers, protocol="https"
        )
        assert request.headers is headers
        request = HTTPRequest(connection, "GET", "/", "HTTP/1.1")
        assert not request.headers
        assert request.protocol == "http"


@pytest.mark.parametrize("version", ["HTTP/1.0", "HTTP/1.1"])
def test_answers_in_pieces(version: str) -> None:
    """What goes by the version of HTTP goes by `http_version`: chunks and interim answers are for HTTP/1.1 only."""
    seen = []

    def handler(request: HTTPRequest) -> None:
        request.send_status(103)
        request.send_headers({"Link": "</style.css>"})
        request.send_status(200)
        request.send_headers({"Content-Type": "text/plain"})
        seen.append(request.protocol)
        request.send("Hello, ")
        request.send("World!")
        request.finish()
        seen.append(request.protocol)

    with serving(handler) as site:
        answer = site.converse(b"GET / %b\r\nHost: a\r\nConnection: close\r\n\r\n" % version.encode())
    assert seen == ["http", "http"]
    if version == "HTTP/1.1":
        assert answer.startswith(b"HTTP/1.1 103 ")
        assert answer.endswith(b"7\r\nHello, \r\n6\r\nWorld!\r\n0\r\n\r\n")
    else:
        assert answer.startswith(b"HTTP/1.0 200 OK\r\n")
        assert b"chunked" not in answer
        assert answer.endswith(b"\r\n\r\nHello, World!")


def test_a_handler_that_answers_wrongly_is_told_and_can_answer_again() -> None:
    def handler(request: HTTPRequest) -> None:
        with pytest.raises(ValueError, match="header"):
            request.send_response("", headers={"A": "b\r\nc"})
        assert (request.protocol, request.http_version) == ("http", "HTTP/1.1")
        request.send_response("good")

    with serving(handler) as site:
        assert site.ask()[1] == b"good"


def test_the_access_log(caplog: pytest.LogCaptureFixture) -> None:
    with serving(access_log='"%r" %H %>s') as site:
        site.ask(target="/a")
        site.converse(b"GET /b HTTP/1.1\r\n\r\n")
        assert [request.protocol for request in site.requests] == ["http"]
    lines = [record.message for record in caplog.records if record.name == "pants.http.access"]
    assert lines == ['"GET /a HTTP/1.1" HTTP/1.1 200', '"GET /b HTTP/1.1" HTTP/1.1 400']


def test_the_new_client_asks_the_older_server() -> None:
    with serving() as site, contextlib.closing(new.HTTPClient()) as client:
        assert client.get(site.url + "/a").wait().text == "GET /a"


def test_a_connection_belongs_to_a_server() -> None:
    with pytest.raises(TypeError, match="an HTTPConnection belongs to an HTTPServer"):
        HTTPConnection()


# --- HTTPClient: on_response -----------------------------------------------------------------------------------------


def test_the_handler_as_the_first_argument() -> None:
    """Page: "supplying a suitable callable as the first argument"."""
    responses: list[HTTPResponse] = []
    with serving() as site, asking(responses.append) as client:
        assert type(client.get(site.url + "/a")) is ClientHelper
        run_until(lambda: responses)
        assert type(responses[0]) is HTTPResponse
        assert responses[0].body == "GET /a"
    with asking(response_handler=responses.append) as client:
        assert client.on_response == responses.append


def test_the_handler_in_a_subclass() -> None:
    """Page: "That function may be changed by subclassing HTTPClient"."""

    class Client(HTTPClient):
        def __init__(self) -> None:
            super().__init__()
            self.bodies: list[str] = []

        def on_response(self, response: HTTPResponse) -> None:
            self.bodies.append(response.body)

    with serving() as site, contextlib.closing(Client()) as client:
        client.get(site.url + "/a")
        run_until(lambda: client.bodies == ["GET /a"])


def test_the_handler_assigned(client: HTTPClient) -> None:
    """Page: "assigning it directly"; the default does nothing. It may come after the call."""
    bodies: list[str] = []
    with serving() as site:
        client.get(site.url + "/a").fetch()
        client.get(site.url + "/b")
        client.on_response = lambda response: bodies.append(response.body)
        run_until(lambda: bodies == ["GET /b"])


def test_a_handler_that_raises_is_logged(client: HTTPClient, expect_log: Any) -> None:
    expect_log("ZeroDivisionError")
    client.on_response = lambda response: 1 / 0
    with serving() as site:
        assert client.get(site.url).fetch().status == 200


@pytest.mark.parametrize(
    "kwargs",
    [
        {"response_handler": 1},
        {"unicode": 1},
        {"keep_alive": None, "max_redirects": "5"},
        {"on_response": print},
        {"on_error": print},
        {"nonsense": 1},
    ],
)
def test_wrong_arguments(kwargs: dict[str, Any]) -> None:
    with pytest.raises(TypeError):
        HTTPClient(**kwargs)


# --- HTTPClient: max_redirects, keep_alive, unicode ------------------------------------------------------------------


def redirect(request: HTTPRequest) -> None:
    """/3 leads to /2 and so on to /0."""
    left = int(request.path[1:])
    if left:
        request.send_response(f"{left}", 302, headers={"Location": f"/{left - 1}"})
    else:
        request.send_response("arrived")


@pytest.mark.parametrize("given, followed", [({}, 5), ({"max_redirects": 2}, 2), ({"max_redirects": 0}, 0)])
def test_max_redirects(given: dict[str, int], followed: int) -> None:
    """Page: "The number of times to follow a redirect issued by the server", 5 by default."""
    with serving(redirect) as site, asking(**given) as client:
        response = client.get(f"{site.url}/{followed}").fetch()
        assert (response.status, response.body, response.url) == (200, b"arrived", f"{site.url}/0")
        assert [earlier.status for earlier in response.history] == [302] * followed
        assert [earlier.content for earlier in response.history] == [b"%d" % n for n in range(followed, 0, -1)]
        assert all(type(earlier) is HTTPResponse for earlier in response.history)
        response = client.get(f"{site.url}/{followed + 1}").fetch()
        assert (response.status, response.body, response.headers["Location"]) == (302, b"1", "/0")


@pytest.mark.parametrize("keep_alive", [True, False])
def test_keep_alive_of_a_client(keep_alive: bool) -> None:
    """Page: "Whether or not a single connection will be reused for multiple requests"."""
    with serving() as site, asking(keep_alive=keep_alive) as client:
        for _ in range(3):
            assert client.get(site.url).fetch().status == 200
        assert site.server.counters.connections == (1 if keep_alive else 3)
        assert [request.headers.get("Connection") for request in site.requests] == [None if keep_alive else "close"] * 3


TEXT = "\u00e4\u20ac"


@pytest.mark.parametrize(
    "content, content_type, body",
    [
        (TEXT.encode(), "text/html; charset=utf-8", TEXT),
        (TEXT.encode("iso8859-15"), 'text/html; charset="ISO-8859-15"', TEXT),
        (b"{}", "application/json; charset=ascii", "{}"),
        (b"", "text/plain; charset=utf-8", ""),
        (TEXT.encode(), "text/plain", TEXT.encode()),  # nothing is provided
        (b"", "text/plain", b""),
        (b"abc", "text/plain; charset=no-such", b"abc"),
        (b"abc", "text/plain; charset=base64", b"abc"),
        (b"\xff", "text/plain; charset=utf-8", b"\xff"),  # an attempt
    ],
)
def test_unicode(content: bytes, content_type: str, body: str | bytes) -> None:
    """Page: "to attempt to convert the response body to unicode using the [...] Content-Type header's encoding"."""

    def handler(request: HTTPRequest) -> None:
        request.send_headers({"Content-Type": content_type, "Content-Length": str(len(content))})
        request.send(content)
        request.finish()

    with serving(handler) as site, asking() as client, asking(unicode=False) as plain:
        response = client.get(site.url).fetch()
        assert (response.body, response.content) == (body, content)
        response = plain.get(site.url).fetch()
        assert (response.body, response.content) == (content, content)


# --- HTTPClient: get and post ----------------------------------------------------------------------------------------


def test_get_with_parameters(client: HTTPClient) -> None:
    with serving() as site:
        response = client.get(site.url + "/a?b=c", {"d": "e f"}, headers={"X": "y"}, timeout=DEADLINE).fetch()
        assert response.body == "GET /a?b=c&d=e+f"
        (request,) = site.requests
        assert request.headers["X"] == "y"


def test_post(client: HTTPClient) -> None:
    def handler(request: HTTPRequest) -> None:
        files = {name: [file["body"] for file in found] for name, found in request.files.items()}
        request.send_response(repr((request.post, files, request.body if not files else b"")), content_type=UTF8)

    with serving(handler) as site:
        assert client.post(site.url, {"a": "b"}).fetch().body == "({'a': ['b']}, {}, b'a=b')"
        assert client.post(site.url, data=b"abc").fetch().body == "({}, {}, b'abc')"
        files = {"c": ("name", b"def")}
        assert client.post(site.url, {"a": "b"}, files).fetch().body == "({'a': ['b']}, {'c': [b'def']}, b'')"
        assert client.post(site.url).fetch().body == "({}, {}, b'')"


@pytest.mark.parametrize(
    "args, kwargs",
    [
        (("http://localhost/\r\nX: y",), {}),
        (("ftp://localhost/",), {}),
        (("http://localhost/",), {"headers": {"A": "b\nc"}}),
        (("http://localhost/",), {"timeout": -1}),
    ],
)
def test_what_cannot_be_sent_raises_at_the_call(client: HTTPClient, args: Any, kwargs: Any) -> None:
    helper = ClientHelper(client)
    for method in (client.get, client.post, helper.get, helper.post):
        with pytest.raises(ValueError):
            method(*args, **kwargs)
    assert helper.fetch() == []
    with pytest.raises(TypeError):
        client.get("http://localhost/", on_response=print)
    client.process()


# --- HTTPResponse ----------------------------------------------------------------------------------------------------


def test_what_a_response_has(client: HTTPClient) -> None:
    def handler(request: HTTPRequest) -> None:
        request.cookies_out["a"] = "b"
        request.send_response("Not here", 404, headers={"X-Y": "z"})

    with serving(handler) as site:
        response = client.get(site.url + "/a", headers={"B": "c"}).fetch()
        assert response.client is client
        assert response.request == ["GET", site.url + "/a", {"headers": {"B": "c"}}]
        assert response.http_version == "HTTP/1.1"
        assert (response.status, response.status_text) == (404, "Not Found")
        assert response.headers["x-y"] == "z"
        assert response.cookies["a"].value == "b"
        assert (response.history, response.url) == ([], site.url + "/a")
        assert repr(response) == f"<HTTPResponse 404 Not Found from {site.url}/a>"
        response = client.post(site.url, {"d": "e"}, timeout=DEADLINE).fetch()
        assert response.request == ["POST", site.url, {"data": {"d": "e"}, "timeout": DEADLINE}]


def test_a_response_that_a_program_makes(client: HTTPClient) -> None:
    """Page: "HTTPResponse(client, request, http_version, status, status_text, headers)"."""
    request = ["GET", "http://localhost/", {}]
    response = HTTPResponse(client, request, "HTTP/1.0", 200, "OK", {"Content-Type": UTF8})
    assert (response.client, response.request) == (client, request)
    assert (response.http_version, response.status, response.status_text) == ("HTTP/1.0", 200, "OK")
    assert response.headers["content-type"] == UTF8
    assert (response.content, response.body, response.history) == (b"", b"", [])
    assert response.url == "http://localhost/"


@pytest.mark.parametrize("version", ["HTTP/1.0", "HTTP/1.1"])
def test_a_server_of_the_standard_library(client: HTTPClient, version: str) -> None:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = version

        def do_GET(self) -> None:
            content = TEXT.encode()
            self.send_response(200, "Fine")
            self.send_header("Content-Type", "text/plain; charset=utf-8")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            response = client.get(f"http://127.0.0.1:{server.server_address[1]}/").fetch()
        finally:
            client.close()
            server.shutdown()
            thread.join(DEADLINE)
    assert (response.http_version, response.status, response.status_text) == (version, 200, "Fine")
    assert response.body == TEXT


def test_a_long_response_is_given_back_whole(client: HTTPClient) -> None:
    """Longer than what the new client keeps in memory: its file is not left open."""
    content = bytes(client._client.limits.spool_size + 1)
    with serving(lambda request: request.send_response(content)) as site:
        response = client.get(site.url).fetch()
        assert response.content == content


# --- ClientHelper: a decorator ---------------------------------------------------------------------------------------


def test_a_decorator(client: HTTPClient) -> None:
    """Page: "to allow for a bit of decorator magic": the handler is for this very call, and stays what it is."""
    others: list[HTTPResponse] = []
    seen: list[str] = []
    client.on_response = lambda response: others.append(response)
    with serving() as site:

        @client.get(site.url + "/a")
        def handle_a(response: HTTPResponse) -> str:
            """Its own."""
            seen.append(response.body)
            return "mine"

        @client.post(site.url + "/b", b"c")
        def handle_b(response: HTTPResponse) -> None:
            seen.append(response.body)

        client.get(site.url + "/c")
        client.process()
    assert sorted(seen) == ["GET /a", "POST /b"]
    assert [response.body for response in others] == ["GET /c"]
    assert (handle_a.__name__, handle_a.__doc__) == ("handle_a", "Its own.")
    assert handle_a(others[0]) == "mine"


def test_a_decorator_is_for_all_requests_of_the_helper(client: HTTPClient) -> None:
    seen: list[str] = []
    replaced: list[HTTPResponse] = []
    with serving() as site:
        helper = client.get(site.url + "/a").get(site.url + "/b")
        helper(replaced.append)

        @helper
        def handle(response: HTTPResponse) -> None:
            seen.append(response.body)

        helper.post(site.url + "/c").fetch()
    assert sorted(seen) == ["GET /a", "GET /b", "POST /c"]
    assert not replaced


def test_a_helper_of_ones_own(client: HTTPClient) -> None:
    """Page: "ClientHelper(parent)"."""
    helper = ClientHelper(parent=client)
    assert helper.parent is client
    assert helper.fetch() == []
    with serving() as site:
        assert helper.get(site.url + "/a") is helper
        assert helper.fetch().body == "GET /a"
    with pytest.raises(TypeError, match="parent is a"):
        ClientHelper(None)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="a handler is a callable"):
        helper(None)  # type: ignore[type-var]


# --- ClientHelper: fetch ---------------------------------------------------------------------------------------------


def test_fetch_returns_the_answers_in_the_order_of_the_requests(client: HTTPClient) -> None:
    """All are begun at once, so the first may be answered last."""
    first: list[HTTPRequest] = []
    order: list[str] = []

    def handler(request: HTTPRequest) -> None:
        if request.path == "/first":
            first.append(request)
        else:
            echo(request)
        if len(site.requests) == 3:  # they come on connections of their own, in any order
            echo(first[0])

    client.on_response = lambda response: order.append(response.body)
    with serving(handler) as site:
        helper = client.get(site.url + "/first").get(site.url + "/second").post(site.url + "/third", data={"a": "b"})
        responses = helper.fetch()
        assert [response.body for response in responses] == ["GET /first", "GET /second", "POST /third"]
        assert sorted(order) == ["GET /first", "GET /second", "POST /third"]
        assert helper.fetch() == responses
        assert len(site.requests) == 3


def test_fetch_waits_for_its_own_only(client: HTTPClient) -> None:
    held: list[HTTPRequest] = []
    seen: list[str] = []
    client.on_response = lambda response: seen.append(response.body)

    def handler(request: HTTPRequest) -> None:
        if request.path == "/held":
            held.append(request)
        else:
            echo(request)

    with serving(handler) as site:
        client.get(site.url + "/held")
        run_until(lambda: held)
        assert client.get(site.url + "/own").fetch().body == "GET /own"
        assert seen == ["GET /own"]
        echo(held[0])
        client.process()
        assert seen == ["GET /own", "GET /held"]


def test_handlers_are_given_what_fetch_returns(client: HTTPClient) -> None:
    seen: list[HTTPResponse] = []
    with serving() as site:
        helper = client.get(site.url)
        helper(seen.append)
        response = helper.fetch()
    assert len(seen) == 1
    assert seen[0] is response


def test_fetch_in_a_handler(client: HTTPClient) -> None:
    seen: list[str] = []
    with serving() as site:

        @client.get(site.url + "/outer")
        def handle(response: HTTPResponse) -> None:
            seen.append(client.get(site.url + "/inner").fetch().body)
            seen.append(response.body)

        client.process()
    assert seen == ["GET /inner", "GET /outer"]


def test_fetch_in_the_loop(client: HTTPClient) -> None:
    """From a hook of the engine, and while `Engine.start` runs."""
    engine = Engine.instance()
    seen: list[str] = []

    def work() -> None:
        seen.append(client.get(site.url + "/a").fetch().body)
        engine.stop()

    with serving() as site:
        engine.callback(work)
        engine.start()
    assert seen == ["GET /a"]


def test_fetch_and_process_in_another_thread(client: HTTPClient) -> None:
    engine = Engine.instance()
    found: list[Any] = []
    seen: list[tuple[HTTPResponse, int]] = []
    client.on_response = lambda response: seen.append((response, threading.get_ident()))

    def work() -> None:
        try:
            found.extend(client.get(site.url + "/a").get(site.url + "/b").fetch())
            client.get(site.url + "/c")
            found.append(client.process())
        finally:
            engine.call_from_thread(engine.stop)

    with serving() as site:
        thread = threading.Thread(target=work)
        engine.callback(thread.start)
        engine.start()
        thread.join(DEADLINE)
        run_until(lambda: len(seen) == 3)
    assert [response.body for response in found[:2]] == ["GET /a", "GET /b"]
    assert found[2] is client
    assert {ident for _, ident in seen} == {threading.get_ident()}
    assert {id(response) for response in found[:2]} < {id(response) for response, _ in seen}


# --- ClientHelper: process -------------------------------------------------------------------------------------------


def test_process_waits_for_all(client: HTTPClient) -> None:
    """Those of other helpers as well, and what is asked for meanwhile."""
    seen: list[str] = []

    def handle(response: HTTPResponse) -> None:
        seen.append(response.body)
        if len(seen) < 4:
            client.get(f"{site.url}/{len(seen)}")

    client.on_response = handle
    with serving() as site:
        client.get(site.url + "/other")
        helper = client.get(site.url + "/own")
        assert helper.process() is helper
        assert {"GET /other", "GET /own"} <= set(seen)
        assert len(seen) == len(site.requests) == 5
        assert client.process() is client


def test_process_does_not_raise_what_on_error_is_told(client: HTTPClient, unused_port: int) -> None:
    told: list[tuple[HTTPResponse, Exception]] = []
    client.on_error = lambda response, exception: told.append((response, exception))
    url = f"http://127.0.0.1:{unused_port}/"
    with serving() as site:
        helper = client.get(url, headers={"A": "b"}).get(site.url)
        helper.process()
    ((response, exception),) = told
    assert isinstance(exception, new.HTTPClientException)
    assert type(response) is HTTPResponse
    assert (response.status, response.request) == (0, ["GET", url, {"headers": {"A": "b"}}])
    with pytest.raises(new.HTTPClientException) as raised:
        helper.fetch()
    assert raised.value is exception


def test_process_lets_out_what_comes_from_the_engine(client: HTTPClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def poll(_timeout: float | None) -> None:
        raise ZeroDivisionError

    with serving() as site:
        helper = client.get(site.url)
        with monkeypatch.context() as patch:
            patch.setattr(Engine.instance(), "poll", poll)
            with pytest.raises(ZeroDivisionError):
                helper.process()
        assert helper.fetch().status == 200


# --- Failures --------------------------------------------------------------------------------------------------------


@pytest.fixture
def unused_port() -> Iterator[int]:
    with socket.socket() as sock:  # bound, and nobody listens
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()[1]


def test_a_failure_is_logged(client: HTTPClient, expect_log: Any, unused_port: int) -> None:
    expect_log(rf"WARNING pants.http: GET http://127.0.0.1:{unused_port}/ failed: ")
    client.get(f"http://user:secret@127.0.0.1:{unused_port}/").process()
    assert "secret" not in "".join(expect_log.lines)


def test_a_failure_that_fetch_raises_is_not_logged(client: HTTPClient, unused_port: int) -> None:
    with pytest.raises(new.HTTPClientException):
        client.get(f"http://127.0.0.1:{unused_port}/").fetch()


def test_a_failure_that_fetch_raises_is_told_where_the_program_asks(unused_port: int) -> None:
    class Client(HTTPClient):
        def on_error(self, response: HTTPResponse, exception: Exception) -> None:
            told.append(exception)

    told: list[Exception] = []
    with contextlib.closing(Client()) as client, pytest.raises(new.HTTPClientException) as raised:
        client.get(f"http://127.0.0.1:{unused_port}/").fetch()
    assert told == [raised.value]


def test_the_other_requests_of_a_failure_go_on(client: HTTPClient, unused_port: int) -> None:
    seen: list[str] = []
    with serving() as site:
        helper = client.get(f"http://127.0.0.1:{unused_port}/").get(site.url + "/a")
        helper(lambda response: seen.append(response.body))
        with pytest.raises(new.HTTPClientException):
            helper.fetch()
        run_until(lambda: seen == ["GET /a"])


def test_a_timeout() -> None:
    with serving(lambda request: None) as site, asking(timeout=0.05) as client, pytest.raises(RequestTimedOut):
        client.get(site.url).fetch()
    with serving(lambda request: None) as site, asking() as client, pytest.raises(RequestTimedOut):
        client.get(site.url, timeout=0.05).fetch()


def test_a_response_that_ends_early_is_told_as_far_as_it_came(client: HTTPClient, expect_log: Any) -> None:
    expect_log("7 bytes less than its Content-Length")  # by the server

    def handler(request: HTTPRequest) -> None:
        request.send_headers({"Content-Length": "10", "Content-Type": UTF8})
        request.send("abc")
        request.finish()

    told: list[HTTPResponse] = []
    client.on_error = lambda response, exception: told.append(response)
    with serving(handler) as site:
        client.get(site.url).process()
    (response,) = told
    assert (response.status, response.body) == (200, "abc")


def test_what_a_hook_raises_is_logged_with_its_traceback(client: HTTPClient, expect_log: Any) -> None:
    expect_log("(?s)failed: division by zero.*Traceback.*ZeroDivisionError")
    with serving() as site:
        client.get(site.url, on_headers=lambda response: 1 / 0).process()


def test_closing_gives_up(client: HTTPClient) -> None:
    with serving(lambda request: None) as site:
        helper = client.get(site.url)
        run_until(lambda: site.requests)
        client.close()
        with pytest.raises(RequestCancelled):
            helper.fetch()
        assert helper.process() is helper
        with pytest.raises(RuntimeError, match="closed"):
            client.get(site.url)


# --- TLS -------------------------------------------------------------------------------------------------------------


def test_certificates_are_verified(expect_log: Any) -> None:
    expect_log("ALERT_UNKNOWN_CA")  # by the server
    with serving(ssl_options=certificates().unknown) as site, asking() as client:
        with pytest.raises(new.CertificateError):
            client.get(site.url).fetch()
        run_until(lambda: expect_log.lines)
        assert client.get(site.url + "/a", verify_ssl=False).fetch().body == "GET /a"


def test_certificates_of_an_authority_that_is_named() -> None:
    options = {"ca_certs": certificates().ca}
    with serving(ssl_options=certificates().good) as site:
        with asking(ssl_options=options) as client:
            assert client.get(site.url + "/a").fetch().body == "GET /a"
        with asking() as client:
            assert client.post(site.url + "/a", ssl_options=options).fetch().body == "POST /a"
    assert [request.protocol for request in site.requests] == ["https", "https"]


# --- What is left ----------------------------------------------------------------------------------------------------


def test_no_call_leaves_a_cycle(client: HTTPClient) -> None:
    """What a call held is gone with the last name that it has, and is not left to the collector."""
    with serving() as site:
        gc.collect()
        gc.disable()
        try:
            helper = client.get(site.url + "/a").get(site.url + "/b")
            helper(lambda response: None)
            response = helper.fetch()[0]
            left = [weakref.ref(helper), weakref.ref(response), *(weakref.ref(call) for call, _ in helper._calls)]
            del helper, response
            run_until(lambda: not any(each() for each in left), 1.0)
        finally:
            gc.enable()


def test_other_arguments_reach_the_new_client() -> None:
    with contextlib.closing(Engine()) as engine:
        client = HTTPClient(engine=engine, headers={"A": "b"})
        server = HTTPServer(lambda request: request.send_response(request.headers["A"]), engine=engine)
        server.listen(("127.0.0.1", 0))
        assert client.get(f"http://127.0.0.1:{server.local_address[1]}/").fetch().body == b"b"
        client.close()
        server.close()
        run_until(lambda: server.closed, engine=engine)


def test_a_websocket_opens_on_the_older_server() -> None:
    """All that the new server has."""

    class Echo(WebSocket):
        def on_read(self, data: Any) -> None:
            self.write(data)

    class Client(WebSocket):
        heard = ""

        def on_connect(self) -> None:
            self.write("hello")

        def on_read(self, data: Any) -> None:
            self.heard = data

    server = HTTPServer(Echo).listen(("127.0.0.1", 0))
    client = Client.connect(f"ws://127.0.0.1:{server.local_address[1]}/")
    run_until(lambda: client.heard == "hello", DEADLINE)
    client.close()
    run_until(lambda: client.closed, DEADLINE)
    server.close()
    run_until(lambda: server.closed, DEADLINE)
