"""`pants.http._head`: the quick way and the other give the same verdict; both agree with llhttp about the fields."""

from __future__ import annotations

import contextlib
from types import SimpleNamespace

import pytest
from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pants.http import _head
from pants.http._head import HEAD_END, Head, match_repeated, split_fields
from pants.http._limits import Limits
from pants.http._refused import Refused
from tests.http.support import CHUNKED, get, post

LIMITS = Limits()
REFUSED = {"CONNECT", "TRACE"}


def parse(data: bytes) -> Head:
    return _head.parse(data, LIMITS, REFUSED)


BROWSER = get(
    b"User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0",
    b"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
    b"Accept-Language: en-US,en;q=0.5",
    b"Accept-Encoding: gzip, deflate, br, zstd",
    b"Connection: keep-alive",
    b"Cookie: session=abcdefghijklmnopqrstuvwxyz0123456789; theme=dark",
    b"Upgrade-Insecure-Requests: 1",
    b"Sec-Fetch-Dest: document",
    b"Priority: u=0, i",
)

LINES = st.sampled_from(
    [
        *(b"GET / HTTP/1.1", b"GET /a?b HTTP/1.1", b"HEAD /a HTTP/1.1", b"POST / HTTP/1.1", b"GET / HTTP/1.0"),
        *(b"GET  / HTTP/1.1", b"GET / HTTP/2.0", b"GET /", b"CONNECT / HTTP/1.1", b"OPTIONS * HTTP/1.1"),
        *(
            b"GET http://a/ HTTP/1.1",
            b"GET /" + b"a" * 8192 + b" HTTP/1.1",
            b"GET /\xff HTTP/1.1",
            b"",
            b"FOO / HTTP/1.1",
        ),
        b"\r\nGET / HTTP/1.1",
    ]
)
FIELDS = st.sampled_from(
    [
        *(b"Host: a", b"hOsT:b", b"Host: a b", b"Host:", b"Host : a", b"Xhost: a", b"Host: \ta", b"\tHost: a"),
        *(b"Content-Length: 0", b"Content-Length: 1", b"content-length: 00", CHUNKED, b"Transfer-Encoding: gzip"),
        *(b"Connection: close", b"Connection: Keep-Alive", b"connection: a, CLOSE ,b", b"Connection: close\t"),
        *(
            b"Connection:",
            b'Connection: "close"',
            b"Connection: close;a",
            b"Connection: a close",
            b"Connection: closed",
        ),
        *(b"Connection: ,close", b"Connection: close x", b"Connection: x\tclose", b"Connection:\t close"),
        *(b"Connection: keep-alive,close,", b"Connection: cl\xf6se", b"Proxy-Connection: close"),
        *(b"Connection: closed", b"Connection: upgrade", b"Upgrade: h2c", b"Expect: x", b"Expect: 100-continue"),
        *(b"X:", b"X: a\t", b"X: \xff", b"X", b" X: y", b"X: a\rb", b"X: a\nHost: b", b""),
    ]
)
SENT = st.builds(lambda line, fields: b"\r\n".join([line, *fields, b"", b""]), LINES, st.lists(FIELDS, max_size=6))

# Of these, more get through.
NEARLY_ORDINARY = st.builds(lambda fields: get(*fields), st.lists(FIELDS, max_size=2))


def mutated(data: bytes, place: int, what: bytes) -> bytes:
    place %= len(data) + 1
    return data[:place] + what + data[place + 1 :]


MUTATED = st.builds(
    mutated,
    st.sampled_from([get(), BROWSER, post(b"a"), post(b"0\r\n\r\n", CHUNKED), get(b"Connection: close")]),
    st.integers(0, 1000),
    st.one_of(st.binary(max_size=3), st.sampled_from([b"\r\n", b"\n", b"\r", b":", b" ", b"\t", b"\r\n\r\n", b"\0"])),
)


def verdict(data: bytes) -> Head | None:
    """What `parse` says of the head that ``data`` begins with, if there is nothing behind it."""
    while data.startswith(b"\r\n"):
        data = data[2:]
    end = data.find(HEAD_END) + len(HEAD_END)
    if end != len(data):
        return None
    try:
        return parse(data)
    except Refused:
        return None


@given(st.one_of(SENT, MUTATED, NEARLY_ORDINARY, st.builds(lambda data: data + HEAD_END, st.one_of(SENT, MUTATED))))
@example(BROWSER)
@example(get() + b"\n\r\n\r\n")
@example(get() + b"\r\n\r\n")
@example(get() + get())
@example(post(b"\r\n\r\n", b"Content-Length: 4"))
@example(post(b"0\r\n\r\n", CHUNKED))
@example(get(*[b"X: y"] * 128))
@example(get(*[b"X: y"] * 127))
@example(get(b"Connection: close"))
@settings(max_examples=1000, deadline=None)
def test_what_the_quick_way_takes_the_other_takes_alike(data: bytes) -> None:
    quick = _head.QuickParser(LIMITS, REFUSED)
    for _ in range(2):  # nothing may be left from the first time
        found = quick.parse(data) if data.endswith(HEAD_END) else None
        if found is not None:
            assert verdict(data) == Head(*found, "HTTP/1.1", keep_alive=True, length=0, expects=False)
    assert quick.parse(get()) == ("GET", "/")


@given(st.sampled_from([b"GET", b"HEAD", b"POST", b"get"]), st.binary(max_size=8), st.booleans(), st.booleans())
@example(b"GET", b"a" * 8191, True, True)
@example(b"GET", b"a" * 8192, True, True)
@settings(max_examples=1000, deadline=None)
def test_a_line_before_repeated_fields_is_taken_as_the_other_ways_do(
    method: bytes, path: bytes, space: bool, slash: bool
) -> None:
    line = method + b" " * space + b"/" * slash + path
    data = get(line=line + b" HTTP/1.1")
    if (match := match_repeated(data, 0, len(line))) and len(match[2]) <= LIMITS.request_line:
        assert verdict(data) == Head(match[1].decode(), match[2].decode(), "HTTP/1.1", True, 0, False)
        assert _head.QuickParser(LIMITS, REFUSED).parse(data) is not None


def test_each_character_of_a_line() -> None:
    """RFC 3986 §2: what is reserved or unreserved, and the percent sign; but no brackets, and no fragment."""
    for character in [bytes([code]) for code in range(256)]:
        line = b"GET /a" + character
        plain = character.isascii() and (character.isalnum() or character in b"-._~!$&'()*+,;=:@/?%")
        assert bool(match_repeated(line)) is plain
        assert not plain or verdict(get(line=line + b" HTTP/1.1")) is not None


@pytest.mark.parametrize("data", [get(), BROWSER, get(line=b"HEAD /a?b HTTP/1.1"), get(host=b"[::1]:8080")])
def test_the_quick_way_takes_what_is_ordinary(data: bytes) -> None:
    assert _head.QuickParser(LIMITS, REFUSED).parse(data) is not None
    assert verdict(data) is not None


@given(SENT)
@settings(max_examples=300, deadline=None)
def test_the_fields_are_those_that_llhttp_saw(data: bytes) -> None:
    if verdict(data) is None:
        return
    seen: list[tuple[str, str]] = []

    def on_header(name: bytes, value: bytes) -> None:
        seen.append((name.decode("latin-1"), value.decode("latin-1").strip(" 	")))

    try:
        HttpRequestParser(SimpleNamespace(on_header=on_header)).feed_data(data)
    except HttpParserUpgrade:
        pass
    assert split_fields(data.lstrip(b"\r\n")) == seen


@given(st.binary(max_size=300))
@settings(max_examples=300, deadline=None)
def test_only_refused_comes_out(data: bytes) -> None:
    """DESIGN §6: what a parser may raise."""
    for attempt in (data, b"GET / HTTP/1.1\r\n" + data):
        with contextlib.suppress(Refused):
            parse(attempt + HEAD_END)


def test_the_longest_head() -> None:
    """DESIGN §5: sizes are ours to refuse."""
    fields = [b"X: " + b"y" * 2000] * 32
    rest = LIMITS.headers - len(get(*fields, b"Z: "))
    assert parse(get(*fields, b"Z: " + b"z" * rest)).length == 0
    with pytest.raises(Refused) as caught:
        parse(get(*fields, b"Z: " + b"z" * (rest + 1)))
    assert caught.value.status == 431


def test_many_hosts_are_not_all_remembered() -> None:
    quick = _head.QuickParser(LIMITS, REFUSED)
    for number in range(1000):
        assert quick.parse(get(host=b"host%d" % number)) == ("GET", "/")
    assert len(quick._hosts) <= 256
    assert quick.parse(get(host=b"a" * 1000)) == ("GET", "/")
    assert b" " + b"a" * 1000 not in quick._hosts


def test_llhttp_still_needs_what_is_done_here() -> None:
    """Were it to refuse these by itself, or to take what it refuses now, this module should be looked at again."""
    for taken in (get(host=None), b"GET /\r\n\r\n", get(line=b"GET / HTTP/2.0"), get(line=b"GET  / HTTP/1.1")):
        HttpRequestParser(SimpleNamespace()).feed_data(taken)
    for refused in (get(b"X : a"), get(b"X: a", b" b"), get(b"X: a\nb"), get(b"X: a\rb")):
        with pytest.raises(HttpParserError):
            HttpRequestParser(SimpleNamespace()).feed_data(refused)
