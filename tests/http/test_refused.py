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
    "a version of two digits before the dot": (400, b"GET / HTTP/01.1" + HOST),
    "a version with leading zeros": (400, b"GET / HTTP/01.01" + HOST),
    "a version without its second digit": (400, b"GET / HTTP/1" + HOST),
    "a version that ends with the dot": (400, b"GET / HTTP/1." + HOST),
    "a version with a comma": (400, b"GET / HTTP/1,1" + HOST),
    "a version with a letter": (400, b"GET / HTTP/A.1" + HOST),
    "a version with a sign": (400, b"GET / HTTP/-1.1" + HOST),
    "a version with something behind it": (400, b"GET / HTTP/1.1x" + HOST),
    "a protocol without a version": (400, b"GET / HTTP" + HOST),
    "a space in the protocol": (400, b"GET / HTTP/ 1.1" + HOST),
    "a space before the slash of the protocol": (400, b"GET / HTTP /1.1" + HOST),
    "a space before the dot of the version": (400, b"GET / HTTP/1 .1" + HOST),
    "NUL behind the version": (400, b"GET / HTTP/1.1\0" + HOST),
    "a tab behind the version": (400, b"GET / HTTP/1.1\t" + HOST),
    "HTTP with one capital": (400, b"GET / Http/1.1" + HOST),
    "HTTP misspelt": (400, b"GET / XTTP/1.1" + HOST),
    "no target": (400, b"GET HTTP/1.1" + HOST),
    "no method": (400, b" / HTTP/1.1" + HOST),
    "vertical tabs instead of spaces": (400, b"GET\x0b/\x0bHTTP/1.1" + HOST),
    "a method with a colon": (400, b"GE:T / HTTP/1.1" + HOST),
    "NUL before the method": (400, b"\0GET / HTTP/1.1" + HOST),
    "a byte order mark": (400, b"\xef\xbb\xbfGET / HTTP/1.1" + HOST),
    "an answer": (400, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    "the protocol RTSP": (400, b"DESCRIBE / RTSP/1.0" + HOST),
    "the protocol ICE": (400, b"SOURCE / ICE/1.0" + HOST),
    "a method that is no token": (400, b"G(T / HTTP/1.1" + HOST),
    "a method with a byte beyond ASCII": (400, b"G\xffT / HTTP/1.1" + HOST),
    "random bytes": (400, bytes(range(128, 256)) + b"\r\n\r\n"),
    "a line of spaces": (400, b"   \r\n\r\n"),
    "a line of spaces before the request (§2.2)": (400, b"  \r\nGET / HTTP/1.1" + HOST),
    "a TLS handshake": (400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n\r\n\r\n"),
    # RFC 9110 §9.1: methods
    "a method that nobody knows": (501, b"FOO / HTTP/1.1" + HOST),
    "a method in lower case": (501, b"get / HTTP/1.1" + HOST),
    "a method with a known beginning": (501, b"GETX / HTTP/1.1" + HOST),
    "CONNECT, which is for proxies": (501, b"CONNECT a:443 HTTP/1.1" + HOST),
    "CONNECT to a path": (501, b"CONNECT / HTTP/1.1" + HOST),
    "TRACE, which shows a client its own credentials (§9.3.8)": (501, b"TRACE / HTTP/1.1" + HOST),
    "TRACE with a body": (501, get(b"Content-Length: 1", line=b"TRACE / HTTP/1.1") + b"a"),
    "a method of RTSP": (501, b"DESCRIBE / HTTP/1.1" + HOST),
    "a method with digits": (501, b"G3T / HTTP/1.1" + HOST),
    "a method of every odd character (§5.6.2)": (501, b"!#$%&'*+-.^_`|~ / HTTP/1.1" + HOST),
    "a method of 100,000 bytes (RFC 9112 §3)": (501, b"A" * 100_000 + b" / HTTP/1.1" + HOST),
    "a method and a target of 5,000 bytes": (501, b"A" * 5000 + b" /" + b"b" * 5000 + b" HTTP/1.1" + HOST),
    # RFC 9110 §15.6.6: versions
    "HTTP/0.9 by name": (505, b"GET / HTTP/0.9" + HOST),
    "HTTP/1.2": (505, b"GET / HTTP/1.2" + HOST),
    "HTTP/2.0": (505, b"GET / HTTP/2.0" + HOST),
    "HTTP/3.0": (505, b"GET / HTTP/3.0" + HOST),
    "HTTP/0.0": (505, b"GET / HTTP/0.0" + HOST),
    "HTTP/9.9": (505, b"GET / HTTP/9.9" + HOST),
    "the preface of HTTP/2 (RFC 9113 §3.4)": (505, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    # RFC 9112 §3.2: the target
    "a relative target": (400, b"GET a HTTP/1.1" + HOST),
    "a target that is a query": (400, b"GET ?a HTTP/1.1" + HOST),
    "a byte beyond ASCII in the target": (400, b"GET /\xc3\xbc HTTP/1.1" + HOST),
    "a control character in the target": (400, b"GET /\x01 HTTP/1.1" + HOST),
    "NUL in the target": (400, b"GET /\x00 HTTP/1.1" + HOST),
    "DEL in the target": (400, b"GET /\x7f HTTP/1.1" + HOST),
    "a tab in the target": (400, b"GET /a\tb HTTP/1.1" + HOST),
    "a bare CR in the target": (400, b"GET /a\rb HTTP/1.1" + HOST),
    "overlong UTF-8 in the target (RFC 3629 §3)": (400, b"GET /\xc0\xaf HTTP/1.1" + HOST),
    "a target for a method": (400, b"* HTTP/1.1" + HOST),
    "* with something behind it": (400, b"OPTIONS *a HTTP/1.1" + HOST),
    "a host and a port, which are for CONNECT (§3.2.3)": (400, b"GET a:80 HTTP/1.1" + HOST),
    "a URI with a port that is none": (400, b"GET http://a:x/ HTTP/1.1" + HOST),
    "a URI with an open bracket": (400, b"GET http://[::1/ HTTP/1.1" + HOST),
    "a URI with a backslash in its host": (400, b"GET http://a\\b/ HTTP/1.1" + HOST),
    "a URI with an IPv6 address that is none": (400, b"GET http://[:::::]/ HTTP/1.1" + HOST),
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
    "no Host, with a URI": (400, get(line=b"GET http://a/ HTTP/1.1", host=None)),
    "a malformed Host, with a URI": (400, get(line=b"GET http://a/ HTTP/1.1", host=b"a b")),
    "two Hosts that agree, with a URI": (400, get(b"Host: a", line=b"GET http://a/ HTTP/1.1")),
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
    "a Host with empty brackets": (400, get(host=b"[]")),
    "a Host with something behind its brackets": (400, get(host=b"[::1]a")),
    "a Host that is an IPv6 address without brackets": (400, get(host=b"::1")),
    "a Host with an IPv6 address that is none (RFC 3986 §3.2.2)": (400, get(host=b"[:::::]")),
    "a Host with an IPv4 address in brackets": (400, get(host=b"[1.2.3.4]")),
    "a Host with a zone (RFC 9110 §4.2.1)": (400, get(host=b"[fe80::1%25eth0]")),
    "a Host with a negative port": (400, get(host=b"a:-1")),
    "a Host that is a URI": (400, get(host=b"http://a")),
    "a Host with a query": (400, get(host=b"a?b")),
    "a Host with a fragment": (400, get(host=b"a#b")),
    "a Host with a backslash": (400, get(host=b"a\\b")),
    "a Host with a tab": (400, get(host=b"a\tb")),
    "a Host with quotes": (400, get(host=b'"a"')),
    "a Host with NUL": (400, get(host=b"a\0")),
    "a Host that is folded": (400, get(b" a", host=b"")),
    "a malformed Host on HTTP/1.0": (400, get(line=b"GET / HTTP/1.0", host=b"a b")),
    # RFC 9112 §5: fields
    "a space before the colon (§5.1)": (400, get(b"X : a")),
    "a field without a colon": (400, get(b"X")),
    "a field without a name": (400, get(b": a")),
    "a name that is no token": (400, get(b"X(y): a")),
    "a name with a byte beyond ASCII": (400, get(b"X\xff: a")),
    "a space in a name": (400, get(b"X Y: a")),
    "a tab before the colon": (400, get(b"X\t: a")),
    "a tab in a name": (400, get(b"X\tY: a")),
    "a slash in a name": (400, get(b"X/Y: a")),
    "an @ in a name": (400, get(b"X@Y: a")),
    "an equals sign in a name": (400, get(b"X=Y: a")),
    "quotes around a name": (400, get(b'"X": a')),
    "NUL in a name": (400, get(b"X\0Y: a")),
    "DEL in a name": (400, get(b"X\x7f: a")),
    "a CR in a name": (400, get(b"X\rY: a")),
    "a LF in a name": (400, get(b"X\nY: a")),
    "a CR before the colon": (400, get(b"X\r: a")),
    "a folded line (§5.2)": (400, get(b"X: a", b" b")),
    "a line folded by a tab": (400, get(b"X: a", b"\tb")),
    "a folded line that is empty": (400, get(b"X: a", b" ")),
    "a value that begins on the next line": (400, get(b"X:", b" a")),
    "a fold that hides Transfer-Encoding": (400, get(b"X: a", b" Transfer-Encoding: chunked")),
    "a space before the first field (§2.2)": (400, b"GET / HTTP/1.1\r\n X: a" + HOST),
    "a bare CR in a value": (400, get(b"X: a\rb")),
    "two CRs at the end of a line": (400, get(b"X: a\r")),
    "NUL in a value": (400, get(b"X: a\x00b")),
    "a control character in a value": (400, get(b"X: a\x01b")),
    "a vertical tab in a value": (400, get(b"X: a\x0bb")),
    "a form feed in a value": (400, get(b"X: a\x0cb")),
    "DEL in a value": (400, get(b"X: a\x7fb")),
    "escape in a value": (400, get(b"X: \x1b[0m")),
    "NUL in Cookie": (400, get(b"Cookie: a=b\0")),
    "a control character in Connection": (400, get(b"Connection: \x01")),
    # RFC 9112 §2.2: bare LF
    "a bare LF behind the request line": (400, b"GET / HTTP/1.1\nHost: a\r\n\r\n"),
    "a bare LF behind a field": (400, b"GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n"),
    "bare LFs everywhere": (400, b"GET / HTTP/1.1\nHost: a\n\n"),
    "a bare LF before the request": (400, b"\nGET / HTTP/1.1" + HOST),
    "a bare LF behind the last field": (400, b"GET / HTTP/1.1\r\nHost: a\n\r\n"),
    "a bare LF behind the fields": (400, b"GET / HTTP/1.1\r\nHost: a\r\n\n"),
    "two bare LFs behind the fields": (400, b"GET / HTTP/1.1\r\nHost: a\n\n"),
    "nothing but CRs": (400, b"GET / HTTP/1.1\rHost: a\r\r"),
    "CRs behind the fields": (400, b"GET / HTTP/1.1\r\nHost: a\r\rX"),
    "LF before CR": (400, b"GET / HTTP/1.1\n\rHost: a\n\r\n\r"),
    "a bare CR before the request": (400, b"\rGET / HTTP/1.1" + HOST),
    "two CRs before a LF": (400, b"\r\r\nGET / HTTP/1.1" + HOST),
    # RFC 6585 §5: sizes
    "129 fields": (431, get(*[b"X: y"] * 128)),
    "a head of more than 64 KiB": (431, get(*[b"X: " + b"y" * 4096] * 17)),
    "a field without end": (431, get(b"X: " + b"y" * 200_000)),
    "a name without end": (431, get(b"X" * 200_000 + b": y")),
    "20,000 fields": (431, get(*[b"X: y"] * 20_000)),
    "a cookie of 20,000 bytes": (431, get(b"Cookie: a=" + b"b" * 20_000)),
    # RFC 9112 §6.1 and §6.3: the length of the body
    "Content-Length with Transfer-Encoding": (400, post(b"0\r\n\r\n", b"Content-Length: 5", CHUNKED)),
    "Transfer-Encoding with Content-Length": (400, post(b"0\r\n\r\n", CHUNKED, b"Content-Length: 5")),
    "Content-Length: 0 with Transfer-Encoding": (400, post(b"0\r\n\r\n", b"Content-Length: 0", CHUNKED)),
    "Transfer-Encoding with a malformed Content-Length": (400, post(b"0\r\n\r\n", CHUNKED, b"Content-Length: +5")),
    "Content-Length with another Transfer-Encoding": (400, post(b"abc", b"Content-Length: 3", b"Transfer-Encoding: x")),
    "both, and the connection is to close": (
        400,
        post(b"0\r\n\r\n", b"Content-Length: 5", CHUNKED, b"Connection: close"),
    ),
    "both, of a GET": (400, get(b"Content-Length: 5", CHUNKED) + b"0\r\n\r\n"),
    "both, and a request inside": (400, post(b"0\r\n\r\n" + get(), b"Content-Length: 5", CHUNKED)),
    "both, with another spelling": (400, post(b"0\r\n\r\n", b"Content-Length: 5", b"tRANSFER-eNCODING: Chunked")),
    "both, with a space behind": (400, post(b"0\r\n\r\n", b"Content-Length: 5", CHUNKED + b" ")),
    "both, with a comma before": (400, post(b"0\r\n\r\n", b"Content-Length: 5", b"Transfer-Encoding: , chunked")),
    "both, with a space before the colon": (
        400,
        post(b"0\r\n\r\n", b"Content-Length: 5", b"Transfer-Encoding : chunked"),
    ),
    "both, with a fold": (400, post(b"0\r\n\r\n", b"Content-Length: 5", b"Transfer-Encoding:", b" chunked")),
    "both, with a fold of OPTIONS": (
        400,
        get(b"Content-Length: 5", b"Transfer-Encoding:", b" chunked", line=b"OPTIONS / HTTP/1.1") + b"0\r\n\r\n",
    ),
    "both, with two lengths in one": (400, post(b"0\r\n\r\n", b"Content-Length: 5, 5", CHUNKED)),
    "both, on HTTP/1.0": (400, get(b"Content-Length: 5", CHUNKED, line=b"POST / HTTP/1.0") + b"0\r\n\r\n"),
    "chunked on HTTP/1.0 with keep-alive": (
        400,
        get(CHUNKED, b"Connection: keep-alive", line=b"POST / HTTP/1.0") + b"0\r\n\r\n",
    ),
    "two lengths that differ": (400, post(b"abc", b"Content-Length: 3", b"Content-Length: 4")),
    "two lengths that agree": (400, post(b"abc", b"Content-Length: 3", b"Content-Length: 3")),
    "two lengths in one": (400, post(b"abc", b"Content-Length: 3, 3")),
    "no length": (400, post(b"abc", b"Content-Length:")),
    "three lengths in one": (400, post(b"abc", b"Content-Length: 3, 3, 3")),
    "two lengths in one that differ": (400, post(b"abc", b"Content-Length: 3, 4")),
    "a length and a comma": (400, post(b"abc", b"Content-Length: 3,")),
    "a comma and a length": (400, post(b"abc", b"Content-Length: ,3")),
    "two lengths, one of which is empty": (400, post(b"abc", b"Content-Length: 3", b"Content-Length:")),
    "two lengths that agree but for a zero": (400, post(b"abc", b"Content-Length: 3", b"Content-Length: 03")),
    "two lengths on HTTP/1.0": (
        400,
        get(b"Content-Length: 1", b"Content-Length: 2", line=b"POST / HTTP/1.0") + b"ab",
    ),
    "two lengths of a GET": (400, get(b"Content-Length: 0", b"Content-Length: 5") + b"abcde"),
    "a length of no digits": (400, post(b"abc", b"Content-Length: abc")),
    "a length with a letter": (400, post(b"abc", b"Content-Length: 3a")),
    "a length with an underscore": (400, post(b"a" * 10, b"Content-Length: 1_0")),
    "a length in quotes": (400, post(b"abc", b'Content-Length: "3"')),
    "a length with a parameter": (400, post(b"abc", b"Content-Length: 3;a")),
    "an octal length": (400, post(b"abc", b"Content-Length: 0o3")),
    "a length with an exponent": (400, post(b"a" * 10, b"Content-Length: 1e1")),
    "a length of minus zero": (400, post(b"", b"Content-Length: -0")),
    "a length with a form feed": (400, post(b"abc", b"Content-Length: \x0c3")),
    "a length with a vertical tab": (400, post(b"abc", b"Content-Length: 3\x0b")),
    "a length with a no-break space": (400, post(b"abc", b"Content-Length: \xa03")),
    "a length in other digits": (400, post(b"abc", b"Content-Length: \xd9\xa3")),
    "a length with NUL": (400, post(b"abc", b"Content-Length: 3\0")),
    "a space before a length's colon": (400, post(b"abc", b"Content-Length : 3")),
    "a length on a folded line": (400, post(b"abc", b"Content-Length:", b" 3")),
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
    "a coding that begins like chunked": (400, post(b"abc", b"Transfer-Encoding: chunkedx")),
    "chunked with a parameter": (400, post(b"0\r\n\r\n", b"Transfer-Encoding: chunked;a=b")),
    "chunked in quotes": (400, post(b"0\r\n\r\n", b'Transfer-Encoding: "chunked"')),
    "chunked in two fields": (400, post(b"0\r\n\r\n", CHUNKED, CHUNKED)),
    "chunked and identity": (400, post(b"0\r\n\r\n", CHUNKED, b"Transfer-Encoding: identity")),
    "chunked and nothing": (400, post(b"0\r\n\r\n", CHUNKED, b"Transfer-Encoding:")),
    "chunked and a comma": (400, post(b"0\r\n\r\n", b"Transfer-Encoding: chunked,")),
    "a comma and chunked": (400, post(b"0\r\n\r\n", b"Transfer-Encoding: , chunked")),
    "nothing and chunked": (400, post(b"0\r\n\r\n", b"Transfer-Encoding:", CHUNKED)),
    "chunked after a vertical tab": (400, post(b"0\r\n\r\n", b"Transfer-Encoding: \x0bchunked")),
    "chunked after a form feed": (400, post(b"0\r\n\r\n", b"Transfer-Encoding: \x0cchunked")),
    "chunked and NUL": (400, post(b"0\r\n\r\n", b"Transfer-Encoding: chunked\0")),
    "chunked and a bare CR": (400, post(b"0\r\n\r\n", b"Transfer-Encoding: chunked\r")),
    "chunked on a folded line": (400, post(b"0\r\n\r\n", b"Transfer-Encoding:", b" chunked")),
    "a space before the colon of Transfer-Encoding": (400, post(b"0\r\n\r\n", b"Transfer-Encoding : chunked")),
    "identity before chunked": (501, post(b"0\r\n\r\n", b"Transfer-Encoding: identity, chunked")),
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
    "another expectation, of chunks": (417, post(b"0\r\n\r\n", CHUNKED, b"Expect: x")),
    "another expectation in a field of its own": (
        417,
        post(b"a", b"Content-Length: 1", b"Expect: 100-continue", b"Expect: x"),
    ),
    # RFC 9112 §7.1: chunks
    "a chunk size that is none": (400, post(b"x\r\n", CHUNKED)),
    "an empty chunk size": (400, post(b"\r\nabc\r\n", CHUNKED)),
    "a negative chunk size": (400, post(b"-3\r\nabc\r\n0\r\n\r\n", CHUNKED)),
    "a chunk size with a sign": (400, post(b"+3\r\nabc\r\n0\r\n\r\n", CHUNKED)),
    "a chunk size of minus zero": (400, post(b"-0\r\n\r\n", CHUNKED)),
    "a chunk size with an underscore": (400, post(b"1_0\r\n" + b"a" * 16 + b"\r\n0\r\n\r\n", CHUNKED)),
    "a chunk size with a letter behind it": (400, post(b"3g\r\nabc\r\n0\r\n\r\n", CHUNKED)),
    "a chunk size with a comma": (400, post(b"3,\r\nabc\r\n0\r\n\r\n", CHUNKED)),
    "a chunk size with a dot": (400, post(b"3.0\r\nabc\r\n0\r\n\r\n", CHUNKED)),
    "two chunk sizes": (400, post(b"3 3\r\nabc\r\n0\r\n\r\n", CHUNKED)),
    "a space before the chunk size": (400, post(b" 3\r\nabc\r\n0\r\n\r\n", CHUNKED)),
    "a tab before the chunk size": (400, post(b"\t3\r\nabc\r\n0\r\n\r\n", CHUNKED)),
    "a tab behind the chunk size": (400, post(b"3\t\r\nabc\r\n0\r\n\r\n", CHUNKED)),
    "a chunk shorter than its size": (400, post(b"5\r\nabc\r\n0\r\n\r\n", CHUNKED)),
    "two chunks, the second of which has no size": (400, post(b"1\r\na\r\n\r\n0\r\n\r\n", CHUNKED)),
    "a chunk size with a prefix": (400, post(b"0x3\r\nabc\r\n0\r\n\r\n", CHUNKED)),
    "a chunk size beyond 64 bits": (400, post(b"f" * 17 + b"\r\n", CHUNKED)),
    "a space behind the chunk size": (400, post(b"3 \r\nabc\r\n0\r\n\r\n", CHUNKED)),
    "a bare LF behind the chunk size": (400, post(b"3\nabc\r\n0\r\n\r\n", CHUNKED)),
    "a bare CR behind the chunk size": (400, post(b"3\rabc\r\n0\r\n\r\n", CHUNKED)),
    "a bare LF in a chunk extension": (400, post(b"3;a\nabc\r\n0\r\n\r\n", CHUNKED)),
    "NUL in a chunk extension": (400, post(b"3;\x00\r\nabc\r\n0\r\n\r\n", CHUNKED)),
    "a bare CR in a chunk extension": (400, post(b"3;a\rb\r\nabc\r\n0\r\n\r\n", CHUNKED)),
    "a control character in a chunk extension": (400, post(b"3;a\x01\r\nabc\r\n0\r\n\r\n", CHUNKED)),
    "a byte beyond ASCII in a chunk extension": (400, post(b"3;a\xff\r\nabc\r\n0\r\n\r\n", CHUNKED)),
    "DEL in a quoted chunk extension": (400, post(b'3;a="\x7f"\r\nabc\r\n0\r\n\r\n', CHUNKED)),
    "a line end in a quoted chunk extension": (400, post(b'3;a="b\r\n"\r\nabc\r\n0\r\n\r\n', CHUNKED)),
    "a chunk extension without a name (§7.1.1)": (400, post(b"3;\r\nabc\r\n0\r\n\r\n", CHUNKED)),
    "a chunk extension that is no token": (400, post(b"3;[\r\nabc\r\n0\r\n\r\n", CHUNKED)),
    "a chunk extension with an open quote": (400, post(b'3;a="b\r\nabc\r\n0\r\n\r\n', CHUNKED)),
    "a chunk extension with something behind the quote": (400, post(b'3;a="b"c\r\nabc\r\n0\r\n\r\n', CHUNKED)),
    "a chunk extension of 64 KiB": (400, post(b"3;a=" + b"b" * 65536 + b"\r\nabc\r\n0\r\n\r\n", CHUNKED)),
    "a bare LF behind the last chunk": (400, post(b"3\r\nabc\r\n0\n\r\n", CHUNKED)),
    "a bare LF instead of the empty line": (400, post(b"3\r\nabc\r\n0\r\n\n", CHUNKED)),
    "a bare LF behind a trailer": (400, post(b"0\r\nX: y\n\r\n", CHUNKED)),
    "a space before a trailer's colon": (400, post(b"0\r\nX : y\r\n\r\n", CHUNKED)),
    "NUL in a trailer": (400, post(b"0\r\nX: \0\r\n\r\n", CHUNKED)),
    "a bare CR in a trailer": (400, post(b"0\r\nX: a\rb\r\n\r\n", CHUNKED)),
    "a trailer without a name": (400, post(b"0\r\n: y\r\n\r\n", CHUNKED)),
    "Transfer-Encoding as a trailer": (400, post(b"0\r\nTransfer-Encoding: chunked\r\n\r\n", CHUNKED)),
    "129 trailers (RFC 6585 §5)": (431, post(b"0\r\n" + b"X: y\r\n" * 129 + b"\r\n", CHUNKED)),
    "chunks that are too large and then malformed": (413, post(b"3e9\r\n" + b"a" * 1001 + b"X\r\n", CHUNKED)),
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
