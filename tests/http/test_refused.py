"""Requests that are not served: malformed, ambiguous, too large, or for another kind of server.

RFC 9112 §2.2 asks for 400 and a closed connection, DESIGN for an answer that can be read and nothing parsed after it.
Each is sent whole, byte by byte, and with another request behind it.
"""

from __future__ import annotations

import contextlib

import pytest

from tests.http.support import CHUNKED, get, post, site, take_apart

HOST = b"\r\nHost: a\r\n\r\n"
BEHIND = get(line=b"GET /behind HTTP/1.1")

REFUSED: dict[str, tuple[int, bytes]] = {
    # RFC 9112 §3: the request line
    "nothing but a word": (400, b"GET\r\n\r\n"),
    "HTTP/0.9, which has no version": (400, b"GET /" + HOST),
    "a tab instead of a space": (400, b"GET\t/ HTTP/1.1" + HOST),
    "two spaces before the target": (400, b"GET  / HTTP/1.1" + HOST),
    "two spaces behind the target": (400, b"GET /  HTTP/1.1" + HOST),
    "a space at the end": (400, b"GET / HTTP/1.1 " + HOST),
    "a space at the beginning": (400, b" GET / HTTP/1.1" + HOST),
    "a space in the target": (400, b"GET /a b HTTP/1.1" + HOST),
    "lower-case http": (400, b"GET / http/1.1" + HOST),
    "https for a protocol": (400, b"GET / HTTPS/1.1" + HOST),
    "a version without a dot": (400, b"GET / HTTP/11" + HOST),
    "a version of three digits": (400, b"GET / HTTP/1.10" + HOST),
    "the protocol RTSP": (400, b"DESCRIBE / RTSP/1.0" + HOST),
    "the protocol ICE": (400, b"SOURCE / ICE/1.0" + HOST),
    "a method that is no token": (400, b"G(T / HTTP/1.1" + HOST),
    "a method with a byte beyond ASCII": (400, b"G\xffT / HTTP/1.1" + HOST),
    "random bytes": (400, bytes(range(128, 256)) + b"\r\n\r\n"),
    "a TLS handshake": (400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n\r\n\r\n"),
    # RFC 9110 §9.1: methods
    "a method that nobody knows": (501, b"FOO / HTTP/1.1" + HOST),
    "a method in lower case": (501, b"get / HTTP/1.1" + HOST),
    "a method with a known beginning": (501, b"GETX / HTTP/1.1" + HOST),
    "CONNECT, which is for proxies": (501, b"CONNECT a:443 HTTP/1.1" + HOST),
    "CONNECT to a path": (501, b"CONNECT / HTTP/1.1" + HOST),
    # RFC 9110 §15.6.6: versions
    "HTTP/0.9 by name": (505, b"GET / HTTP/0.9" + HOST),
    "HTTP/1.2": (505, b"GET / HTTP/1.2" + HOST),
    "HTTP/2.0": (505, b"GET / HTTP/2.0" + HOST),
    "HTTP/3.0": (505, b"GET / HTTP/3.0" + HOST),
    "the preface of HTTP/2 (RFC 9113 §3.4)": (505, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    # RFC 9112 §3.2: the target
    "a relative target": (400, b"GET a HTTP/1.1" + HOST),
    "a target that is a query": (400, b"GET ?a HTTP/1.1" + HOST),
    "a byte beyond ASCII in the target": (400, b"GET /\xc3\xbc HTTP/1.1" + HOST),
    "a control character in the target": (400, b"GET /\x01 HTTP/1.1" + HOST),
    "NUL in the target": (400, b"GET /\x00 HTTP/1.1" + HOST),
    "DEL in the target": (400, b"GET /\x7f HTTP/1.1" + HOST),
    "* for another method than OPTIONS": (400, b"GET * HTTP/1.1" + HOST),
    "a URI of another scheme": (400, b"GET ftp://a/ HTTP/1.1" + HOST),
    "a URI with user information (RFC 9110 §4.2.4)": (400, b"GET http://u:p@a/ HTTP/1.1" + HOST),
    "a URI without a host (RFC 9110 §4.2.1)": (400, b"GET http:/// HTTP/1.1" + HOST),
    "a URI without anything": (400, b"GET http:// HTTP/1.1" + HOST),
    "a URI with one slash": (400, b"GET http:/a HTTP/1.1" + HOST),
    "a target of 8193 bytes (RFC 9110 §15.5.15)": (414, b"GET /" + b"a" * 8192 + b" HTTP/1.1" + HOST),
    "a target without end": (414, b"GET /" + b"a" * 100_000),
    # RFC 9112 §3.2: Host
    "no Host": (400, get(host=None)),
    "two Hosts": (400, get(b"Host: a")),
    "two Hosts, one in lower case": (400, get(b"X: y", b"hOST: a")),
    "two Hosts on HTTP/1.0": (400, get(b"Host: a", line=b"GET / HTTP/1.0")),
    "two Hosts in one": (400, get(host=b"a, b")),
    "a Host with a path": (400, get(host=b"a/b")),
    "a Host with user information": (400, get(host=b"u@a")),
    "a Host with a space": (400, get(host=b"a b")),
    "a Host with a port that is none": (400, get(host=b"a:x")),
    "a Host with two ports": (400, get(host=b"a:1:2")),
    "a Host with a bad escape": (400, get(host=b"a%zz")),
    "a Host with a byte beyond ASCII": (400, get(host=b"\xe4")),
    "a Host with an open bracket": (400, get(host=b"[::1")),
    "a malformed Host on HTTP/1.0": (400, get(line=b"GET / HTTP/1.0", host=b"a b")),
    # RFC 9112 §5: fields
    "a space before the colon (§5.1)": (400, get(b"X : a")),
    "a field without a colon": (400, get(b"X")),
    "a field without a name": (400, get(b": a")),
    "a name that is no token": (400, get(b"X(y): a")),
    "a name with a byte beyond ASCII": (400, get(b"X\xff: a")),
    "a folded line (§5.2)": (400, get(b"X: a", b" b")),
    "a line folded by a tab": (400, get(b"X: a", b"\tb")),
    "a space before the first field (§2.2)": (400, b"GET / HTTP/1.1\r\n X: a" + HOST),
    "a bare CR in a value": (400, get(b"X: a\rb")),
    "two CRs at the end of a line": (400, get(b"X: a\r")),
    "NUL in a value": (400, get(b"X: a\x00b")),
    "a control character in a value": (400, get(b"X: a\x01b")),
    # RFC 9112 §2.2: bare LF
    "a bare LF behind the request line": (400, b"GET / HTTP/1.1\nHost: a\r\n\r\n"),
    "a bare LF behind a field": (400, b"GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n"),
    "bare LFs everywhere": (400, b"GET / HTTP/1.1\nHost: a\n\n"),
    "a bare LF before the request": (400, b"\nGET / HTTP/1.1" + HOST),
    # RFC 6585 §5: sizes
    "129 fields": (431, get(*[b"X: y"] * 128)),
    "a head of more than 64 KiB": (431, get(*[b"X: " + b"y" * 4096] * 17)),
    "a field without end": (431, get(b"X: " + b"y" * 200_000)),
    # RFC 9112 §6.1 and §6.3: the length of the body
    "Content-Length with Transfer-Encoding": (400, post(b"0\r\n\r\n", b"Content-Length: 5", CHUNKED)),
    "Transfer-Encoding with Content-Length": (400, post(b"0\r\n\r\n", CHUNKED, b"Content-Length: 5")),
    "two lengths that differ": (400, post(b"abc", b"Content-Length: 3", b"Content-Length: 4")),
    "two lengths that agree": (400, post(b"abc", b"Content-Length: 3", b"Content-Length: 3")),
    "two lengths in one": (400, post(b"abc", b"Content-Length: 3, 3")),
    "no length": (400, post(b"abc", b"Content-Length:")),
    "a length with a sign": (400, post(b"abc", b"Content-Length: +3")),
    "a negative length": (400, post(b"abc", b"Content-Length: -3")),
    "a hexadecimal length": (400, post(b"abc", b"Content-Length: 0x3")),
    "a fractional length": (400, post(b"abc", b"Content-Length: 3.0")),
    "a length beyond 64 bits": (400, post(b"abc", b"Content-Length: 18446744073709551616")),
    "a length of 20 digits": (400, post(b"abc", b"Content-Length: 00000000000000000003")),
    "a length with a space": (400, post(b"abc", b"Content-Length: 3 3")),
    "chunked on HTTP/1.0": (400, get(CHUNKED, line=b"POST / HTTP/1.0") + b"0\r\n\r\n"),
    "chunked that is not last": (400, post(b"0\r\n\r\n", b"Transfer-Encoding: chunked, gzip")),
    "chunked that is not last, in two": (400, post(b"0\r\n\r\n", CHUNKED, b"Transfer-Encoding: gzip")),
    "chunked twice": (400, post(b"0\r\n\r\n", b"Transfer-Encoding: chunked, chunked")),
    "no chunked": (400, post(b"abc", b"Transfer-Encoding: gzip")),
    "identity, which is no more": (400, post(b"abc", b"Transfer-Encoding: identity")),
    "no coding": (400, post(b"abc", b"Transfer-Encoding:")),
    "a coding that looks like chunked": (400, post(b"abc", b"Transfer-Encoding: xchunked")),
    "another coding before chunked": (501, post(b"0\r\n\r\n", b"Transfer-Encoding: gzip, chunked")),
    "another coding in a field before": (501, post(b"0\r\n\r\n", b"Transfer-Encoding: gzip", CHUNKED)),
    # RFC 9110 §15.5.14
    "a body larger than max_request": (413, post(b"", b"Content-Length: 1001")),
    "a body much larger": (413, post(b"", b"Content-Length: 9223372036854775807")),
    "chunks larger than max_request": (413, post(b"3e9\r\n" + b"a" * 1001 + b"\r\n0\r\n\r\n", CHUNKED)),
    "a body that is announced and too large": (413, post(b"", b"Content-Length: 1001", b"Expect: 100-continue")),
    # RFC 9110 §10.1.1
    "another expectation": (417, post(b"a", b"Content-Length: 1", b"Expect: 200-ok")),
    "an expectation and another": (417, post(b"a", b"Content-Length: 1", b"Expect: 100-continue, x")),
    # RFC 9112 §7.1: chunks
    "a chunk size that is none": (400, post(b"x\r\n", CHUNKED)),
    "an empty chunk size": (400, post(b"\r\nabc\r\n", CHUNKED)),
    "a negative chunk size": (400, post(b"-3\r\nabc\r\n0\r\n\r\n", CHUNKED)),
    "a chunk size with a prefix": (400, post(b"0x3\r\nabc\r\n0\r\n\r\n", CHUNKED)),
    "a chunk size beyond 64 bits": (400, post(b"f" * 17 + b"\r\n", CHUNKED)),
    "a space behind the chunk size": (400, post(b"3 \r\nabc\r\n0\r\n\r\n", CHUNKED)),
    "a bare LF behind the chunk size": (400, post(b"3\nabc\r\n0\r\n\r\n", CHUNKED)),
    "a bare CR behind the chunk size": (400, post(b"3\rabc\r\n0\r\n\r\n", CHUNKED)),
    "a bare LF in a chunk extension": (400, post(b"3;a\nabc\r\n0\r\n\r\n", CHUNKED)),
    "NUL in a chunk extension": (400, post(b"3;\x00\r\nabc\r\n0\r\n\r\n", CHUNKED)),
    "a chunk longer than its size": (400, post(b"3\r\nabcd\r\n0\r\n\r\n", CHUNKED)),
    "no line end behind a chunk": (400, post(b"3\r\nabc0\r\n\r\n", CHUNKED)),
    "a bare LF behind a chunk": (400, post(b"3\r\nabc\n0\r\n\r\n", CHUNKED)),
    "a malformed trailer": (400, post(b"0\r\nX\r\n\r\n", CHUNKED)),
    "a folded trailer": (400, post(b"0\r\nX: y\r\n z\r\n\r\n", CHUNKED)),
    "Content-Length as a trailer (RFC 9110 §6.5.1)": (400, post(b"0\r\nContent-Length: 1\r\n\r\n", CHUNKED)),
    "an endless chunk extension": (400, post(b"3;" + b"a" * 200_000, CHUNKED)),
    "an endless trailer": (400, post(b"0\r\nX: " + b"a" * 200_000, CHUNKED)),
}

ENDLESS = {name for name, (_, data) in REFUSED.items() if len(data) > 50_000}


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused_and_nothing_after_it_is_served(name: str) -> None:
    status, data = REFUSED[name]
    with site(max_request=1000) as web:
        for how in ("whole", "byte by byte", "with another behind", "behind another"):
            web.requests.clear()
            before = get(line=b"GET /before HTTP/1.1") if how == "behind another" else b""
            behind = BEHIND if how == "with another behind" else b""
            chunk = (61 if name in ENDLESS else 1) if how == "byte by byte" else None
            peer = web.connect()
            with contextlib.suppress(ConnectionError):  # it is closed before all has been sent
                peer.send(before + data + behind, chunk)
            answers = take_apart(peer.received)
            assert [answer.status for answer in answers] == [200] * bool(before) + [status], how
            assert answers[-1].headers["Connection"] == "close"
            assert answers[-1].content.startswith(b"%d " % status)
            assert peer.ended
            assert [request.path for request in web.requests] == ["/before"] * bool(before), how


def test_a_beginning_is_not_taken_for_a_request() -> None:
    """However much it looks like a whole one without its fields."""
    for first in (b"", get(), get(b"X: " + b"y" * 2000)):
        with site() as web:
            peer = web.connect()
            peer.send(first)
            for piece in (b"GET /", b"a" * 100, b"?b"):
                peer.send(piece)
            assert len(web.requests) == bool(first)
            peer.send(b" HTTP/1.1\r\nHost: a\r\n\r\n")
            assert web.requests[-1].url == "/" + "a" * 100 + "?b"


def test_a_refused_head_request_is_answered_without_content() -> None:
    """RFC 9110 §9.3.2."""
    with site() as web:
        peer = web.connect()
        peer.send(get(b"Host: b", line=b"HEAD / HTTP/1.1"))
        [answer] = take_apart(peer.received, "HEAD")
        assert answer.status == 400
        assert peer.received.endswith(b"\r\n\r\n")


def test_what_a_peer_sent_does_not_come_back_to_it() -> None:
    """The answer tells what is wrong in the server's own words."""
    with site() as web:
        [answer] = web.ask(get(b"<script>: a"))
        assert answer.status == 400
        assert b"script" not in answer.content
        assert answer.headers["Content-Type"] == "text/plain"
