"""Requests that are served, some of them odd. Each is sent whole, byte by byte, and with another one behind it."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pants.http import HTTPRequest
from tests.http.support import CHUNKED, get, post, site

SERVED: dict[str, tuple[bytes, str, bytes]] = {
    "the ordinary": (get(), "GET /", b""),
    "a path and a query": (get(line=b"GET /a/b?c=d HTTP/1.1"), "GET /a/b?c=d", b""),
    "a target of 8192 bytes": (get(line=b"GET /" + b"a" * 8191 + b" HTTP/1.1"), "GET /" + "a" * 8191, b""),
    "HTTP/1.0 without Host": (get(line=b"GET / HTTP/1.0", host=None), "GET /", b""),
    "HTTP/1.0 with Host": (get(line=b"GET / HTTP/1.0"), "GET /", b""),
    "HTTP/1.0 with a URI (RFC 9112 §3.2.2)": (get(line=b"GET http://a/ HTTP/1.0", host=None), "GET http://a/", b""),
    "a target of many slashes": (get(line=b"GET //a//b HTTP/1.1"), "GET //a//b", b""),
    "a target with everything a path may have (RFC 3986 §3.3)": (
        get(line=b"GET /-._~!$&'()*+,;=:@%20?/? HTTP/1.1"),
        "GET /-._~!$&'()*+,;=:@%20?/?",
        b"",
    ),
    "escaped line ends, which stay escaped": (get(line=b"GET /%0d%0aX:%00 HTTP/1.1"), "GET /%0d%0aX:%00", b""),
    "what browsers leave unescaped (URL Standard, the query percent-encode set)": (
        get(line=b"GET /|?a={b}^`\\ HTTP/1.1"),
        "GET /|?a={b}^`\\",
        b"",
    ),
    "a fragment, which no client should send": (get(line=b"GET /a#b HTTP/1.1"), "GET /a#b", b""),
    "a method of WebDAV (RFC 4918 §9.1)": (get(line=b"PROPFIND / HTTP/1.1"), "PROPFIND /", b""),
    "a POST without a body (RFC 9112 §6.3)": (get(line=b"POST / HTTP/1.1"), "POST /", b""),
    "a PUT without a body": (get(line=b"PUT / HTTP/1.1"), "PUT /", b""),
    "HEAD": (get(line=b"HEAD / HTTP/1.1"), "HEAD /", b""),
    "DELETE": (get(line=b"DELETE / HTTP/1.1"), "DELETE /", b""),
    "OPTIONS of the server (RFC 9112 §3.2.4)": (get(line=b"OPTIONS * HTTP/1.1"), "OPTIONS *", b""),
    "a URI (§3.2.2)": (get(line=b"GET http://a:8/b?c HTTP/1.1"), "GET http://a:8/b?c", b""),
    "a URI in upper case": (get(line=b"GET HTTPS://A HTTP/1.1"), "GET HTTPS://A", b""),
    "an empty Host (§3.2)": (get(host=b""), "GET /", b""),
    "a Host with spaces around": (get(host=b" \ta \t"), "GET /", b""),
    "a Host with a port": (get(host=b"a.example:8080"), "GET /", b""),
    "a Host with an empty port (RFC 3986 §3.2.3)": (get(host=b"a:"), "GET /", b""),
    "a Host that is an IPv4 address": (get(host=b"127.0.0.1:80"), "GET /", b""),
    "an IPv6 Host that ends with an IPv4 address": (get(host=b"[::ffff:192.0.2.1]"), "GET /", b""),
    "a Host with an underscore": (get(host=b"a_b.example"), "GET /", b""),
    "a Host that differs from the URI's (RFC 9112 §3.2.2)": (get(line=b"GET http://b/ HTTP/1.1"), "GET http://b/", b""),
    "an empty Host with a URI": (get(line=b"GET http://b/ HTTP/1.1", host=b""), "GET http://b/", b""),
    "an IPv6 Host": (get(host=b"[::1]:80"), "GET /", b""),
    "an IPvFuture Host": (get(host=b"[v1.a:b]"), "GET /", b""),
    "an escaped Host": (get(host=b"%C3%BC.example"), "GET /", b""),
    "a Host with capitals in its name": (get(b"HOST: a", host=None), "GET /", b""),
    "an empty value": (get(b"X:"), "GET /", b""),
    "a value of spaces and tabs": (get(b"X: \t \t"), "GET /", b""),
    "a tab in a value (RFC 9110 §5.5)": (get(b"X: a\tb"), "GET /", b""),
    "a name of every odd character (RFC 9110 §5.6.2)": (get(b"!#$%&'*+-.^_`|~: a"), "GET /", b""),
    "a value of colons": (get(b"X:::"), "GET /", b""),
    "two Content-Types, which frame nothing": (get(b"Content-Type: a/b", b"Content-Type: c/d"), "GET /", b""),
    "names that only look like the framing's (RFC 9110 §5.1)": (
        get(b"Content_Length: 5", b"Transfer_Encoding: chunked", b"X-Content-Length: 5", b"Content-Length-X: 5"),
        "GET /",
        b"",
    ),
    "Connection with names of no matter (RFC 9110 §7.6.1)": (get(b"Connection: ,, a,Host"), "GET /", b""),
    "many cookies": (get(b"Cookie: " + b"; ".join([b"a=b"] * 1000)), "GET /", b""),
    "a malformed cookie": (get(b"Cookie: ;;=;a;=b; =;"), "GET /", b""),
    "a value beyond ASCII (RFC 9110 §5.5)": (get(b"X: \xff"), "GET /", b""),
    "128 fields": (get(*[b"X: y"] * 127), "GET /", b""),
    "a head of nearly 64 KiB": (get(*[b"X: " + b"y" * 600] * 100), "GET /", b""),
    "empty lines before it (RFC 9112 §2.2)": (b"\r\n\r\n\r\n" + get(), "GET /", b""),
    "a body": (post(b"abc"), "POST /", b"abc"),
    "an empty body": (post(b""), "POST /", b""),
    "a body with leading zeros in its length": (post(b"abc", b"Content-Length: 003"), "POST /", b"abc"),
    "a body with spaces around its length (RFC 9110 §5.5)": (
        post(b"abc", b"Content-Length: \t 3 \t"),
        "POST /",
        b"abc",
    ),
    "no body with zeros for its length (RFC 9110 §8.6)": (post(b"", b"Content-Length: 000"), "POST /", b""),
    "a length that looks octal": (post(b"a" * 10, b"Content-Length: 010"), "POST /", b"a" * 10),
    "a DELETE with a body": (get(b"Content-Length: 2", line=b"DELETE / HTTP/1.1") + b"ab", "DELETE /", b"ab"),
    "OPTIONS with a body (RFC 9110 §9.3.7)": (
        get(b"Content-Length: 2", line=b"OPTIONS * HTTP/1.1") + b"ab",
        "OPTIONS *",
        b"ab",
    ),
    "a GET with chunks": (get(CHUNKED) + b"1\r\na\r\n0\r\n\r\n", "GET /", b"a"),
    "a GET with a body that is a request": (get(b"Content-Length: %d" % len(get())) + get(), "GET /", get()),
    "a HEAD with a body that is a request": (
        get(b"Content-Length: %d" % len(get()), line=b"HEAD / HTTP/1.1") + get(),
        "HEAD /",
        get(),
    ),
    "chunks that are requests": (post(b"%x\r\n%b\r\n0\r\n\r\n" % (len(get()), get()), CHUNKED), "POST /", get()),
    "a body that looks like a request": (post(get()), "POST /", get()),
    "a body of line ends": (post(b"\r\n" * 9), "POST /", b"\r\n" * 9),
    "a GET with a body (RFC 9110 §9.3.1)": (get(b"Content-Length: 2") + b"ab", "GET /", b"ab"),
    "a HEAD with a body": (get(b"Content-Length: 2", line=b"HEAD / HTTP/1.1") + b"ab", "HEAD /", b"ab"),
    "a body on HTTP/1.0": (get(b"Content-Length: 2", line=b"POST / HTTP/1.0") + b"ab", "POST /", b"ab"),
    "chunks": (post(b"3\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n", CHUNKED), "POST /", b"abc0123456789"),
    "chunks by another spelling": (post(b"3\r\nabc\r\n0\r\n\r\n", b"tRANSFER-eNCODING:\tChunked "), "POST /", b"abc"),
    "no chunk": (post(b"0\r\n\r\n", CHUNKED), "POST /", b""),
    "no chunk, in many digits": (post(b"0000\r\n\r\n", CHUNKED), "POST /", b""),
    "a chunk size of many digits": (post(b"0" * 100 + b"3\r\nabc\r\n0\r\n\r\n", CHUNKED), "POST /", b"abc"),
    "chunk sizes in capitals and not": (
        post(b"a\r\n" + b"b" * 10 + b"\r\nB\r\n" + b"b" * 11 + b"\r\n0\r\n\r\n", CHUNKED),
        "POST /",
        b"b" * 21,
    ),
    "a quoted extension with what a string may have (RFC 9110 §5.6.4)": (
        post(b'3;a="\t;\\"\xff"\r\nabc\r\n0\r\n\r\n', CHUNKED),
        "POST /",
        b"abc",
    ),
    "trailers that would have a meaning as headers (RFC 9110 §6.5.1)": (
        post(b"0\r\nHost: b\r\nConnection: close\r\nExpect: x\r\nUpgrade: h2c\r\n\r\n", CHUNKED),
        "POST /",
        b"",
    ),
    "128 trailers": (post(b"0\r\n" + b"X: y\r\n" * 128 + b"\r\n", CHUNKED), "POST /", b""),
    "chunks with extensions (RFC 9112 §7.1.1)": (post(b'1;a;b="c d"\r\nx\r\n0;e\r\n\r\n', CHUNKED), "POST /", b"x"),
    "chunks with trailers (§7.1.2)": (post(b"1\r\nx\r\n0\r\nA: b\r\nC: d\r\n\r\n", CHUNKED), "POST /", b"x"),
    "chunks full of line ends": (
        post(b"6\r\n\r\n\r\n\r\n\r\n4\r\n\r\n\r\n\r\n1\r\n\n\r\n0\r\n\r\n", CHUNKED),
        "POST /",
        b"\r\n" * 5 + b"\n",
    ),
    "chunks full of ends": (post(b"5\r\n0\r\n\r\n\r\n0\r\n\r\n", CHUNKED), "POST /", b"0\r\n\r\n"),
    "an upgrade (RFC 9110 §7.8)": (get(b"Connection: upgrade", b"Upgrade: h2c"), "GET /", b""),
    "an upgrade with a body": (
        post(b"abc", b"Connection: upgrade", b"Upgrade: websocket", b"Content-Length: 3"),
        "POST /",
        b"abc",
    ),
    "an upgrade with chunks": (
        post(b"3\r\nabc\r\n0\r\n\r\n", b"Connection: upgrade", b"Upgrade: websocket", CHUNKED),
        "POST /",
        b"abc",
    ),
    "an upgrade without Connection": (get(b"Upgrade: h2c"), "GET /", b""),
    "an upgrade on HTTP/1.0": (
        get(b"Connection: upgrade", b"Upgrade: websocket", line=b"GET / HTTP/1.0"),
        "GET /",
        b"",
    ),
    "an upgrade to what does not exist": (get(b"Connection: Upgrade", b"Upgrade: a/1, b"), "GET /", b""),
    "a WebSocket of an unknown version (RFC 6455 §4.4)": (
        get(b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Version: 99", b"Sec-WebSocket-Key: a"),
        "GET /",
        b"",
    ),
    "100-continue without a body": (get(b"Expect: 100-continue"), "GET /", b""),
    "an expectation without a body": (get(b"Expect: 200-ok"), "GET /", b""),
    "an expectation on HTTP/1.0 (RFC 9110 §10.1.1)": (
        get(b"Content-Length: 1", b"Expect: x", line=b"POST / HTTP/1.0") + b"a",
        "POST /",
        b"a",
    ),
}


@pytest.mark.parametrize("name", SERVED)
def test_it_is_served(name: str) -> None:
    data, line, body = SERVED[name]
    another = get(line=b"GET /another HTTP/1.1")
    alone = b"HTTP/1.0" in data.partition(b"\r\nHost")[0]  # then the connection closes
    method = line.partition(" ")[0]
    with site() as web:
        for how in ("whole", "byte by byte", "with another behind", "behind another"):
            web.requests.clear()
            before = another if how == "behind another" else b""
            behind = another if how == "with another behind" and not alone else b""
            chunk = 1 if how == "byte by byte" else None
            answers = web.ask(before + data + behind, *["GET"] * bool(before), method, chunk=chunk)
            others = [("GET /another", b"")]
            expected = [*others * bool(before), (line, body), *others * bool(behind)]
            assert [(f"{request.method} {request.url}", request.body) for request in web.requests] == expected, how
            assert [answer.status for answer in answers] == [200] * len(expected)


@pytest.mark.parametrize(
    "url, path, query",
    [
        ("/", "/", ""),
        ("/a?b", "/a", "b"),
        ("/a?b?c=d", "/a", "b?c=d"),
        ("/a%20b/?", "/a%20b/", ""),
        ("/a?b#c", "/a", "b"),
        ("/a#b?c", "/a", ""),
        ("/a://b", "/a://b", ""),
        ("*", "*", ""),
        ("http://a", "/", ""),
        ("http://a?b", "/", "b"),
        ("http://a:1/b/c?d://e", "/b/c", "d://e"),
    ],
)
def test_path_and_query_are_parts_of_the_url_as_it_was_sent(url: str, path: str, query: str) -> None:
    """Manual: "path", "query"; DESIGN §3: `request.path` is as sent."""
    with site() as web:
        method = b"OPTIONS" if url == "*" else b"GET"
        web.ask(get(line=b"%b %b HTTP/1.1" % (method, url.encode())))
        [request] = web.requests
        assert (request.url, request.path, request.query) == (url, path, query)
        assert request.query == query  # and again, by now it is kept


def test_a_request_tells_what_was_sent() -> None:
    """Manual: "HTTPRequest"."""
    with site() as web:
        peer = web.connect()
        peer.send(get(b"X-One: 1", b"x-one:  2 \t", b"Cookie: a=b", b"cookie: c=d", host=b"example"))
        [request] = web.requests
        assert request.method == "GET"
        assert request.protocol == "HTTP/1.1"
        assert request.headers["host"] == "example"
        assert request.headers.get_list("X-ONE") == ["1", "2"]
        assert request.headers["Cookie"] == "a=b; c=d"
        assert request.headers is request.headers
        assert request.body == b""
        assert request.scheme == "http"
        assert not request.is_secure
        assert request.remote_ip == "192.0.2.1"
        assert request.connection.remote_address == ("192.0.2.1", 50000)
        assert repr(request) == "<HTTPRequest GET />"


def test_a_request_takes_attributes() -> None:
    """DESIGN §3: the request object takes attributes."""
    with site() as web:
        web.ask(get())
        web.requests[0].mine = "kept"  # type: ignore[attr-defined]


def test_a_request_made_by_hand_has_the_headers_it_was_given() -> None:
    """Manual: "HTTPRequest(connection, method, url, protocol, headers=None, scheme='http')"."""
    with site() as web:
        web.ask(get())
        connection = web.requests[0].connection
        headers = web.requests[0].headers
        request = HTTPRequest(connection, "GET", "/a?b", "HTTP/1.1", headers, "https")
        assert request.headers is headers
        assert request.is_secure
        assert not HTTPRequest(connection, "GET", "/", "HTTP/1.1").headers
        connection.remote_address = "/run/socket"
        assert request.remote_ip == ""


def test_fields_after_a_slow_parse_are_the_same() -> None:
    with site() as web:
        web.ask(post(b"a", b"Content-Length: 1", b"X:a:b", b"Y:"))
        headers = web.requests[0].headers
        assert dict(headers) == {"Host": "a", "Content-Length": "1", "X": "a:b", "Y": ""}


def test_fields_that_come_again() -> None:
    """What is known of a connection's last request changes nothing for the next."""
    with site() as web:
        peer = web.connect()
        large = get(b"X: " + b"y" * 2000, line=b"GET /large HTTP/1.1")
        for data in (get(), get(line=b"GET /a?b HTTP/1.1"), get(line=b"HEAD /c HTTP/1.1"), large, get(), large):
            peer.send(data)
        peer.send(get(line=b"GET /d#e HTTP/1.1") + get(line=b"GET /f HTTP/1.1"))
        peer.send(get(b"X: y", line=b"GET /g HTTP/1.1"))
        peer.send(get(b"X: y", line=b"GET /h HTTP/1.1"))
        peer.send(get(b"X: y", b"X: y", line=b"GET /i HTTP/1.1"))
        urls = ["/", "/a?b", "/c", "/large", "/", "/large", "/d#e", "/f", "/g", "/h", "/i"]
        assert [request.url for request in web.requests] == urls
        assert [request.method for request in web.requests].count("HEAD") == 1
        assert web.requests[-2].headers.get_list("x") == ["y"]
        assert web.requests[-1].headers.get_list("x") == ["y", "y"]
        peer.send(get(b"Host: b", line=b"GET /j HTTP/1.1"))
        assert len(web.requests) == len(urls)
        assert peer.ended


@given(st.binary(max_size=400), st.integers(0, 2**32))
@settings(max_examples=60, deadline=None)
def test_a_stream_of_requests_does_not_depend_on_how_it_is_cut(body: bytes, seed: int) -> None:
    """DESIGN §2: parsers keep the place up to which they have searched."""
    cut = random.Random(seed)
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in (body[:100], body[100:]) if piece)
    stream = get() + post(body) + post(chunks + b"0\r\n\r\n", CHUNKED) + b"\r\n" + get() + post(body) + get()
    with site() as web:
        peer = web.connect()
        at = 0
        while at < len(stream):
            size = cut.choice([1, 2, 3, 10, 100, 1000])
            peer.send(stream[at : at + size])
            at += size
        assert [request.body for request in web.requests] == [b"", body, body, b"", body, b""]
        assert peer.take().count(b"HTTP/1.1 200 OK") == 6
