"""What a handler is told of a request (manual: "HTTPRequest"), whatever form that came in."""

from __future__ import annotations

import socket
from collections.abc import Callable
from http.cookies import SimpleCookie
from typing import Any

import pytest

from pants.http import HTTPConnection, HTTPHeaders, HTTPRequest, HTTPServer, Limits, Refused
from pants.testing import run_until
from tests.http.support import CHUNKED, Site, get, post, site, take_apart

URLENCODED = b"Content-Type: application/x-www-form-urlencoded"
MULTIPART = b"Content-Type: multipart/form-data; boundary=b"


def ask(data: bytes, **kwargs: Any) -> HTTPRequest:
    """The one request that a server makes of this, which it has answered."""
    with site(**kwargs) as web:
        web.connect().send(data)
        [request] = web.requests
        return request


def form(body: bytes, content_type: bytes, method: bytes = b"POST") -> bytes:
    """A request with a form."""
    return get(content_type, b"Content-Length: %d" % len(body), line=method + b" / HTTP/1.1") + body


def part(content: bytes, disposition: bytes, *fields: bytes) -> bytes:
    """A part of a multipart form whose boundary is b."""
    lines = [b"--b", b"Content-Disposition: form-data; " + disposition, *fields, b"", content]
    return b"\r\n".join(lines) + b"\r\n"


# --- The request line -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"])
def test_method(method: str) -> None:
    """Manual: "method": the HTTP request method, such as GET or POST."""
    request = ask(get(line=method.encode() + b" / HTTP/1.1"))
    assert request.method == method
    assert type(request.method) is str


@pytest.mark.parametrize("protocol", ["HTTP/1.1", "HTTP/1.0"])
@pytest.mark.parametrize("field", [b"X: ordinary", b"Connection: close"])
def test_protocol(protocol: str, field: bytes) -> None:
    """Manual: "protocol": typically either HTTP/1.1 or HTTP/1.0."""
    assert ask(get(field, line=b"GET / " + protocol.encode())).protocol == protocol


# The target, the Host field; then url, path, query, fragment; host, hostname, full_url.
TARGETS: dict[str, tuple[str, str | None, tuple[str, str, str], tuple[str, str, str]]] = {
    "origin form (RFC 9112 §3.2.1)": (
        *("/a/b?c=d&e", "example.org"),
        *(("/a/b", "c=d&e", ""), ("example.org", "example.org", "http://example.org/a/b?c=d&e")),
    ),
    "a port": ("/", "example.org:8080", ("/", "", ""), ("example.org:8080", "example.org", "http://example.org:8080/")),
    "capitals": ("/A", "EXAMPLE.org:80", ("/A", "", ""), ("EXAMPLE.org:80", "example.org", "http://EXAMPLE.org:80/A")),
    "an empty port (RFC 3986 §3.2.3)": ("/", "a:", ("/", "", ""), ("a:", "a", "http://a:/")),
    "IPv4": ("/", "192.0.2.1:80", ("/", "", ""), ("192.0.2.1:80", "192.0.2.1", "http://192.0.2.1:80/")),
    "IPv6": ("/", "[2001:DB8::1]", ("/", "", ""), ("[2001:DB8::1]", "2001:db8::1", "http://[2001:DB8::1]/")),
    "IPv6 and a port": ("/", "[::1]:8080", ("/", "", ""), ("[::1]:8080", "::1", "http://[::1]:8080/")),
    "spaces around the host (RFC 9110 §5.5)": ("/", " \ta\t ", ("/", "", ""), ("a", "a", "http://a/")),
    # RFC 9112 §3.3: an empty Host gives no authority either.
    "an empty Host": ("/", "", ("/", "", ""), ("127.0.0.1", "127.0.0.1", "http://127.0.0.1/")),
    "nothing is decoded": ("/a%2Fb%20?%3F", "a", ("/a%2Fb%20", "%3F", ""), ("a", "a", "http://a/a%2Fb%20?%3F")),
    "an empty query": ("/a?", "a", ("/a", "", ""), ("a", "a", "http://a/a?")),
    "parameters (manual: path)": ("/a;b=c/d;e?f", "a", ("/a;b=c/d;e", "f", ""), ("a", "a", "http://a/a;b=c/d;e?f")),
    "a second question mark (RFC 3986 §3.4)": ("/a?b?c", "a", ("/a", "b?c", ""), ("a", "a", "http://a/a?b?c")),
    "a path that begins with two slashes": ("//b/c", "a", ("//b/c", "", ""), ("a", "a", "http://a//b/c")),
    "a path with a URI": ("/http://b/c", "a", ("/http://b/c", "", ""), ("a", "a", "http://a/http://b/c")),
    "dots stay": ("/a/../b/./c", "a", ("/a/../b/./c", "", ""), ("a", "a", "http://a/a/../b/./c")),
    # RFC 9112 §3.2.2: a server must ignore the received Host field, and take the target's authority instead.
    "absolute form": (
        *("http://b.example:8080/c?d", "a.example"),
        *(("/c", "d", ""), ("b.example:8080", "b.example", "http://b.example:8080/c?d")),
    ),
    "absolute form with capitals": ("HTTP://B/c", "a", ("/c", "", ""), ("B", "b", "http://B/c")),
    # RFC 9110 §4.2.3: an empty path is the same as "/".
    "absolute form without a path": ("http://b", "a", ("/", "", ""), ("b", "b", "http://b/")),
    "absolute form with a query only": ("http://b?c/d", "a", ("/", "c/d", ""), ("b", "b", "http://b/?c/d")),
    "absolute form with IPv6": ("http://[::1]:80/", "a", ("/", "", ""), ("[::1]:80", "::1", "http://[::1]:80/")),
    "absolute form with a URI in its query": (
        "http://b/?c=d://e",
        "a",
        ("/", "c=d://e", ""),
        ("b", "b", "http://b/?c=d://e"),
    ),
    "absolute form, and an empty Host": ("http://b/", "", ("/", "", ""), ("b", "b", "http://b/")),
}


@pytest.mark.parametrize("name", TARGETS)
def test_target_and_host(name: str) -> None:
    """Manual: "url", "path", "query", "fragment", "host", "hostname", "full_url"."""
    target, host, parts, where = TARGETS[name]
    assert host is not None
    request = ask(get(line=b"GET %b HTTP/1.1" % target.encode(), host=host.encode()))
    assert request.url == target
    assert (request.path, request.query, request.fragment) == parts
    assert (request.host, request.hostname, request.full_url) == where


@pytest.mark.parametrize(
    "target, path, query, fragment",
    [("/a?b#c", "/a", "b", "c"), ("/a#b?c#d", "/a", "", "b?c#d"), ("http://b#c", "/", "", "c")],
)
def test_fragment(target: str, path: str, query: str, fragment: str) -> None:
    """Manual: "fragment": the fragment segment of the url. RFC 9112 §3.2 has no place for one: it may be refused."""
    with site() as web:
        [answer] = web.ask(get(line=b"GET %b HTTP/1.1" % target.encode()))
        if answer.status == 200:
            [request] = web.requests
            assert (request.path, request.query, request.fragment) == (path, query, fragment)
            assert request.hostname == ("b" if target.startswith("http") else "a")
        else:
            assert answer.status == 400


def test_an_asterisk() -> None:
    """RFC 9112 §3.2.4, §3.3: the target URI has an empty path and query then."""
    request = ask(get(line=b"OPTIONS * HTTP/1.1", host=b"www.example.org:8001"))
    assert (request.url, request.path, request.query, request.fragment) == ("*", "*", "", "")
    assert request.host == "www.example.org:8001"
    assert request.full_url == "http://www.example.org:8001"


def test_an_authority() -> None:
    """RFC 9112 §3.2.3, §3.3: where a server takes CONNECT at all, the target is the authority."""
    request = ask(get(line=b"CONNECT B.example:443 HTTP/1.1"), refused_methods=())
    assert (request.method, request.url) == ("CONNECT", "B.example:443")
    assert (request.host, request.hostname) == ("B.example:443", "b.example")
    assert request.query == ""


@pytest.mark.parametrize("line", [b"GET /a HTTP/1.0", b"OPTIONS * HTTP/1.0", b"POST / HTTP/1.0"])
def test_without_host(line: bytes) -> None:
    """Manual: "host": if no such header exists, the value will be set to 127.0.0.1."""
    request = ask(get(line=line, host=None))
    assert (request.host, request.hostname) == ("127.0.0.1", "127.0.0.1")
    assert "Host" not in request.headers


def test_absolute_form_on_http_1_0_without_host() -> None:
    request = ask(get(line=b"GET http://b:81/c HTTP/1.0", host=None))
    assert (request.host, request.hostname, request.path) == ("b:81", "b", "/c")


def test_a_client_does_not_say_how_it_connects() -> None:
    """Manual: "scheme": https when the connection is secured. The target of a request in clear is no proof of it."""
    request = ask(get(line=b"GET https://a/b HTTP/1.1"))
    assert request.scheme == "http"
    assert request.is_secure is False
    assert request.full_url == "http://a/b"


def test_headers_of_a_proxy_are_fields_like_others_by_default() -> None:
    """Manual: "xheaders": default False."""
    fields = (b"X-Real-IP: 203.0.113.9", b"X-Forwarded-For: 203.0.113.9", b"X-Forwarded-Proto: https")
    request = ask(get(*fields, b"X-Forwarded-Host: b", b"Forwarded: for=203.0.113.9;proto=https;host=b"))
    assert (request.remote_ip, request.scheme, request.host, request.is_secure) == ("192.0.2.1", "http", "a", False)
    assert request.headers["X-Real-IP"] == "203.0.113.9"


# --- Header fields ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", [b"", b"abc"])
def test_headers(body: bytes) -> None:
    """Manual: "headers": effectively a case-insensitive dictionary that normalizes header cases upon iteration."""
    fields = (b"x-ONE:1", b"X-Two: \t a  b \t", b"x-one: 2", b"X-Empty:", b"X-Latin: \xe9", b"Content-Length: 3")
    request = ask(post(body, *fields[: 5 + bool(body)]))
    headers = request.headers
    assert isinstance(headers, HTTPHeaders)
    assert list(headers)[:5] == ["Host", "X-One", "X-Two", "X-Empty", "X-Latin"]
    assert headers["X-ONE"] == headers.get("x-one") == "1, 2"  # RFC 9110 §5.3
    assert headers.get_list("x-One") == ["1", "2"]
    assert headers["x-two"] == "a  b"  # RFC 9110 §5.5
    assert headers["x-empty"] == ""
    assert headers["x-latin"] == "\xe9"
    assert "x-none" not in headers


def test_headers_can_be_changed() -> None:
    """What a handler puts there stays there, for whatever is called by it."""

    def handler(request: HTTPRequest) -> None:
        request.headers["X-Added"] = "1"
        del request.headers["X-One"]
        request.send_response("")

    request = ask(get(b"X-One: 1"), handler=handler)
    assert dict(request.headers) == {"Host": "a", "X-Added": "1"}


def test_each_request_of_a_connection_has_its_own() -> None:
    """What a connection remembers of one request is not told of the next."""
    with site() as web:
        peer = web.connect()
        for number in range(3):
            peer.send(
                get(b"Cookie: a=%d" % number, b"X: %d" % number, line=b"GET /%d?a=%d HTTP/1.1" % (number, number))
            )
            peer.send(get(b"Cookie: a=same", line=b"GET /?b=%d HTTP/1.1" % number))
        assert [(request.path, request.get.get("a"), request.cookies["a"].value) for request in web.requests[::2]] == [
            (f"/{number}", [str(number)], str(number)) for number in range(3)
        ]
        assert [request.get for request in web.requests[1::2]] == [{"b": [str(number)]} for number in range(3)]
        same = web.requests[1::2]
        assert [request.cookies["a"].value for request in same] == ["same"] * 3
        same[0].headers["X"] = same[0].cookies["x"] = "changed"
        assert "X" not in same[1].headers
        assert "x" not in same[1].cookies


def test_cookies() -> None:
    """Manual: "cookies": a SimpleCookie of those received; those being sent are in cookies_out."""
    request = ask(get(b"Cookie: spam=eggs; a=b", b'Cookie: c="d e"'))
    assert isinstance(request.cookies, SimpleCookie)
    assert {name: morsel.value for name, morsel in request.cookies.items()} == {"spam": "eggs", "a": "b", "c": "d e"}
    assert request.cookies is request.cookies
    assert isinstance(request.cookies_out, SimpleCookie)
    assert not request.cookies_out


def test_no_cookies() -> None:
    request = ask(get())
    assert not request.cookies
    assert isinstance(request.cookies, SimpleCookie)


# --- Who asks ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address, expected",
    [
        (("203.0.113.7", 1234), "203.0.113.7"),
        (("2001:db8::7", 1234, 0, 0), "2001:db8::7"),
        ("", ""),
        ("/run/client", ""),
        (b"\0abstract", ""),
    ],
)
def test_remote_ip(address: Any, expected: str) -> None:
    """Manual: "remote_ip": the IP address of the client."""
    with site() as web:
        peer = web.engine.accept(web.server, remote_address=address)
        peer.send(get())
        assert web.requests[0].remote_ip == expected


def test_remote_ip_is_told_when_the_client_has_gone() -> None:
    """It is what an access log wants most."""
    told: list[str] = []

    def later(request: HTTPRequest) -> None:
        request.on_close = lambda: told.append(request.remote_ip)

    with site(later) as web:
        peer = web.connect()
        peer.send(get())
        peer.reset()
        assert told == ["192.0.2.1"]
        assert web.requests[0].remote_ip == "192.0.2.1"


def test_connection() -> None:
    """Manual: "connection": the underlying HTTPConnection; "current_request": None if there is no active request."""
    current: list[Any] = []

    def handler(request: HTTPRequest) -> None:
        assert isinstance(request.connection, HTTPConnection)
        current.append(request.connection.current_request is request)
        request.send_response("")
        current.append(request.connection.current_request)

    request = ask(get(), handler=handler)
    assert current == [True, None]
    assert isinstance(request.connection.server, HTTPServer)


# --- The query and forms ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "query, expected",
    [
        ("", {}),
        ("a=1", {"a": ["1"]}),
        ("a=1&b=2&a=3", {"a": ["1", "3"], "b": ["2"]}),
        ("a=&b&c=1", {"c": ["1"]}),  # keep_blank_values is False
        ("a+b=c%20d%2B", {"a b": ["c d+"]}),
        ("%C3%A9=%E2%82%AC", {"\xe9": ["\u20ac"]}),
        ("a=%ff", {"a": ["\ufffd"]}),
        ("a=b=c", {"a": ["b=c"]}),
        ("a=1;b=2", {"a": ["1;b=2"]}),
    ],
)
def test_get(query: str, expected: dict[str, list[str]]) -> None:
    """Manual: "get": parsed from the query using parse_qs() with keep_blank_values set to False."""
    request = ask(get(line=b"GET /?%b HTTP/1.1" % query.encode()))
    assert request.get == expected
    assert request.get is request.get  # parsed once
    assert request.post == {}


@pytest.mark.parametrize("method", [b"POST", b"PUT"])
@pytest.mark.parametrize("target", [b"/?a=query", b"http://a/?a=query"])
def test_get_is_the_query_whatever_the_method(method: bytes, target: bytes) -> None:
    body = b"a=body"
    request = ask(get(URLENCODED, b"Content-Length: 6", line=b"%b %b HTTP/1.1" % (method, target)) + body)
    assert request.get == {"a": ["query"]}
    assert request.post == {"a": ["body"]}
    assert request.files == {}


@pytest.mark.parametrize("method", [b"POST", b"PUT"])
@pytest.mark.parametrize("chunked", [False, True])
def test_a_urlencoded_form(method: bytes, chunked: bool) -> None:
    """Manual: "post": parsed from the body using parse_qs() with keep_blank_values set to False."""
    body = b"a=1&b=&a=%C3%A9+2"
    data = form(body, URLENCODED + b"; charset=UTF-8", method)
    if chunked:
        head = get(URLENCODED, CHUNKED, line=method + b" / HTTP/1.1")
        data = head + b"5\r\n%b\r\n%x\r\n%b\r\n0\r\n\r\n" % (body[:5], len(body) - 5, body[5:])
    request = ask(data)
    assert request.post == {"a": ["1", "\xe9 2"]}
    assert request.files == {}
    assert request.body == body  # manual: "body": not processed in any way
    assert request.post is request.post


@pytest.mark.parametrize("method", [b"POST", b"PUT"])
def test_a_multipart_form(method: bytes) -> None:
    """Manual: "files": each key a list of dictionaries with the keys filename, body and content_type."""
    body = (
        part(b"spam", b'name="field"')
        + part(b"\x00\xff\r\n", b'name="my_field"; filename="a.bin"', b"Content-Type: application/octet-stream")
        + part(b"eggs", b'name="field"')
        + part(b"text", b'name="my_field"; filename="b.txt"')
        + b"--b--\r\n"
    )
    seen: list[Any] = []

    def handler(request: HTTPRequest) -> None:
        contents = request.files["my_field"][0]["body"]  # the manual's own example
        files = request.files["my_field"]
        seen.append((contents, [(file["filename"], file["content_type"], file["file"].read()) for file in files]))
        request.send_response("")

    request = ask(form(body, MULTIPART, method), handler=handler)
    assert request.post == {"field": ["spam", "eggs"]}
    assert list(request.files) == ["my_field"]
    assert request.body == body
    expected = [("a.bin", "application/octet-stream", b"\x00\xff\r\n"), ("b.txt", "text/plain", b"text")]
    assert seen == [(b"\x00\xff\r\n", expected)]


@pytest.mark.parametrize("method", [b"GET", b"PATCH", b"DELETE", b"OPTIONS"])
@pytest.mark.parametrize(
    "content_type, body",
    [(URLENCODED, b"a=1"), (MULTIPART, part(b"1", b"name=a") + b"--b--\r\n"), (MULTIPART, b"malformed")],
)
def test_other_methods_have_no_form(method: bytes, content_type: bytes, body: bytes) -> None:
    """Manual: "For security, this variable is only populated if the method is POST or PUT"."""
    request = ask(form(body, content_type, method))
    assert request.post == {}
    assert request.files == {}
    assert request.body == body


@pytest.mark.parametrize(
    "content_type", [b"X: no type", b"Content-Type: text/plain", b"Content-Type: application/json"]
)
def test_other_types_are_no_form(content_type: bytes) -> None:
    request = ask(form(b"a=1", content_type))
    assert (request.post, request.files, request.body) == ({}, {}, b"a=1")


@pytest.mark.parametrize("data", [get(), post(b"", b"Content-Length: 0"), post(b"0\r\n\r\n", CHUNKED)])
def test_no_body(data: bytes) -> None:
    request = ask(data)
    assert request.body == b""
    assert type(request.body) is bytes
    assert request.body_file.read() == b""
    assert (request.post, request.files) == ({}, {})


# What is malformed, the attribute in which that shows, the limits, the status.
MALFORMED: dict[str, tuple[bytes, str, Limits, int]] = {
    "a query with too many fields": (get(line=b"GET /?a=1&b=2&c=3 HTTP/1.1"), "get", Limits(form_fields=2), 414),
    "a form with too many fields": (form(b"a=1&b=2&c=3", URLENCODED), "post", Limits(form_fields=2), 413),
    "a form that is too long": (form(b"a=" + b"b" * 20, URLENCODED), "post", Limits(form_memory=20), 413),
    "a multipart form without a boundary": (form(b"a", b"Content-Type: multipart/form-data"), "post", Limits(), 400),
    "an incomplete multipart form": (form(part(b"1", b"name=a"), MULTIPART), "files", Limits(), 400),
    "a malformed multipart form": (form(b"--b\r\nno header\r\n\r\n--b--", MULTIPART), "post", Limits(), 400),
    "no multipart form at all": (form(b"a=1", MULTIPART), "post", Limits(), 400),
    "a part without a name": (form(part(b"1", b"x=y") + b"--b--", MULTIPART), "post", Limits(), 400),
    "too many parts": (
        form(part(b"1", b"name=a") * 3 + b"--b--", MULTIPART),
        *("files", Limits(multipart_parts=2), 413),
    ),
    "fields that are too long": (
        form(part(b"1" * 21, b"name=a") + b"--b--", MULTIPART),
        *("post", Limits(form_memory=20), 413),
    ),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_what_is_malformed_raises_when_it_is_asked_for(name: str) -> None:
    """Unhandled, it becomes the answer, and the connection goes on: the request was received whole."""
    data, attribute, limits, status = MALFORMED[name]

    def handler(request: HTTPRequest) -> None:
        if request.path == "/next":
            request.send_response("next")
        else:
            getattr(request, attribute)

    with site(handler, limits=limits) as web:
        answers = web.ask(data + get(line=b"GET /next HTTP/1.1"))
        assert [answer.status for answer in answers] == [status, 200]
        assert answers[0].headers["Connection"] is None
        assert web.server.counters.failures == 0  # it is the client's


@pytest.mark.parametrize("name", MALFORMED)
def test_nothing_is_parsed_that_is_not_asked_for(name: str) -> None:
    data, _, limits, _ = MALFORMED[name]
    with site(limits=limits) as web:
        assert [answer.status for answer in web.ask(data)] == [200]


@pytest.mark.parametrize("name", MALFORMED)
def test_a_handler_may_answer_what_is_malformed_by_itself(name: str) -> None:
    data, attribute, limits, status = MALFORMED[name]

    def handler(request: HTTPRequest) -> None:
        for _ in range(2):  # it does not change its mind
            with pytest.raises(Refused) as caught:
                getattr(request, attribute)
        assert caught.value.status == status
        request.send_response(caught.value.reason, 422)

    with site(handler, limits=limits) as web:
        assert [answer.status for answer in web.ask(data)] == [422]


def test_what_is_malformed_in_an_answer_that_has_begun(expect_log: Callable[[str], None]) -> None:
    """There is no way to tell then but to break off (DESIGN §3)."""
    expect_log("no valid boundary|incomplete|malformed")

    def handler(request: HTTPRequest) -> None:
        request.send_status(200)
        request.send_headers({"Content-Length": 3})
        request.post.get("a")

    with site(handler) as web:
        peer = web.connect()
        peer.send(form(b"a=1", MULTIPART))
        assert peer.ended or peer.was_reset
        assert peer.received.count(b"HTTP/1.1") <= 1


# --- Trailers ---------------------------------------------------------------------------------------------------


def test_trailers() -> None:
    """RFC 9110 §6.5.1: they are kept apart from the header section, where they could pass for what a proxy has seen."""
    body = b"3\r\nabc\r\n0\r\nX-Checksum: 1\r\nX-Forwarded-For: 203.0.113.9\r\nhost: b\r\n\r\n"
    request = ask(post(body, CHUNKED), xheaders=True)
    assert request.body == b"abc"
    assert isinstance(request.trailers, HTTPHeaders)
    assert request.trailers["x-checksum"] == "1"
    assert request.trailers is request.trailers
    assert dict(request.headers) == {"Host": "a", "Transfer-Encoding": "chunked"}
    assert (request.remote_ip, request.host) == ("192.0.2.1", "a")


@pytest.mark.parametrize("data", [get(), post(b"abc"), post(b"3\r\nabc\r\n0\r\n\r\n", CHUNKED)])
def test_no_trailers(data: bytes) -> None:
    request = ask(data)
    assert len(request.trailers) == 0
    assert isinstance(request.trailers, HTTPHeaders)


def test_trailers_of_one_request_are_not_those_of_the_next() -> None:
    with site() as web:
        web.ask(post(b"0\r\nA: b\r\n\r\n", CHUNKED) + post(b"0\r\n\r\n", CHUNKED))
        assert [dict(request.trailers) for request in web.requests] == [{"A": "b"}, {}]


# --- Made by hand -----------------------------------------------------------------------------------------------


def a_connection(web: Site) -> tuple[HTTPConnection, Any]:
    peer = web.connect()
    [connection] = web.server.channels.values()
    assert isinstance(connection, HTTPConnection)
    return connection, peer


def test_a_request_made_by_hand() -> None:
    """Manual: "HTTPRequest(connection, method, url, protocol, headers=None, scheme='http')"."""
    with site() as web:
        connection, _ = a_connection(web)
        headers = HTTPHeaders(
            {"Host": "EXAMPLE:1", "Cookie": "a=b", "Content-Type": "application/x-www-form-urlencoded"}
        )
        request = HTTPRequest(connection, "POST", "/a?b=c#d", "HTTP/1.1", headers, "https")
        assert request.connection is connection
        assert (request.method, request.url, request.protocol, request.scheme) == (
            "POST",
            "/a?b=c#d",
            "HTTP/1.1",
            "https",
        )
        assert (request.path, request.query, request.fragment) == ("/a", "b=c", "d")
        assert (request.host, request.hostname) == ("EXAMPLE:1", "example")
        assert request.headers is headers
        assert request.is_secure is True
        assert request.remote_ip == "192.0.2.1"
        assert request.get == {"b": ["c"]}
        assert request.cookies["a"].value == "b"
        assert request.body == b""
        assert len(request.trailers) == 0
        request.body = b"e=f"
        assert request.body == b"e=f"
        assert request.body_file.read() == b"e=f"
        assert request.post == {"e": ["f"]}
        assert request.code == 0
        assert not request.finished


def test_a_request_made_by_hand_by_names() -> None:
    with site() as web:
        connection, _ = a_connection(web)
        request = HTTPRequest(connection=connection, method="GET", url="/", protocol="HTTP/1.0")
        assert len(request.headers) == 0
        assert (request.scheme, request.is_secure) == ("http", False)
        assert request.host == "127.0.0.1"
        assert request.full_url == "http://127.0.0.1/"


# --- Real sockets -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "family, address, ip",
    [(socket.AF_INET, ("127.0.0.1", 0), "127.0.0.1"), (socket.AF_INET6, ("::1", 0), "::1"), (socket.AF_UNIX, None, "")],
)
def test_who_asks_by_a_real_socket(family: int, address: Any, ip: str, tmp_path: Any) -> None:
    if family == socket.AF_INET6 and not socket.has_ipv6:
        pytest.skip("no IPv6")
    requests: list[HTTPRequest] = []

    def handler(request: HTTPRequest) -> None:
        requests.append(request)
        request.send_response("seen")

    server = HTTPServer(handler).listen(address or str(tmp_path / "socket"))
    with socket.socket(family) as client:
        client.connect(server.local_address)
        client.sendall(get(b"Connection: close", line=b"GET http://[::1]:7/a?b=c HTTP/1.1"))
        run_until(lambda: requests and requests[0].finished and not server.channels)
        assert [answer.content for answer in take_apart(client.recv(65536))] == [b"seen"]
    [request] = requests
    assert request.remote_ip == ip
    assert (request.host, request.hostname, request.path, request.get) == ("[::1]:7", "::1", "/a", {"b": ["c"]})
    server.close()
    run_until(lambda: server.closed)
