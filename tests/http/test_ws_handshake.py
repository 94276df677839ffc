"""The opening handshake (RFC 6455 §4, draft 76), at both ends: what is asked, answered, and refused."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.client import ClientProtocol
from websockets.datastructures import Headers
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory, ServerPerMessageDeflateFactory
from websockets.http11 import Request, Response
from websockets.server import ServerProtocol
from websockets.uri import parse_uri

from pants.http import HTTPHeaders
from pants.http._target import Target, basic_credentials
from pants.http._ws_deflate import Deflate
from pants.http._ws_handshake import (
    Asked,
    HandshakeError,
    Opening,
    Refusal,
    answer_fields,
    check_origins,
    check_subprotocols,
    choose_subprotocol,
    is_allowed_origin,
    old_answer_fields,
    old_challenge,
    own_fields,
    parse_url,
    read_request,
)

#: The example of RFC 6455 §1.2 and §1.3.
KEY: Final = "dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT: Final = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
REQUEST: Final = {
    "Host": "server.example.com",
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Key": KEY,
    "Origin": "http://example.com",
    "Sec-WebSocket-Protocol": "chat, superchat",
    "Sec-WebSocket-Version": "13",
}


def asked(
    changes: dict[str, str | None] | None = None,
    *more: tuple[str, str],
    method: str = "GET",
    protocol: str = "HTTP/1.1",
    allow_old: bool = False,
) -> Asked:
    fields = {**REQUEST, **(changes or {})}
    headers = HTTPHeaders([*((name, value) for name, value in fields.items() if value is not None), *more])
    return read_request(method, protocol, headers, allow_old)


def refused(*args: Any, **kwargs: Any) -> tuple[int, dict[str, str]]:
    with pytest.raises(Refusal) as caught:
        asked(*args, **kwargs)
    assert caught.value.reason
    return caught.value.status, dict(caught.value.fields)


# --- Requests -------------------------------------------------------------------------------------------------------


def test_example_of_the_rfc() -> None:
    assert asked() == (KEY, ["chat", "superchat"], "")
    assert answer_fields(KEY, "chat", None) == [
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Accept", ACCEPT),
        ("Sec-WebSocket-Protocol", "chat"),
    ]
    assert answer_fields(KEY, None, "x; y")[3:] == [("Sec-WebSocket-Extensions", "x; y")]


@pytest.mark.parametrize(
    "changes",
    [
        {"Upgrade": "WebSocket"},
        {"Upgrade": "WEBSOCKET"},
        {"Upgrade": "h2c, websocket"},
        {"Upgrade": "websocket , foo/2"},
        {"Connection": "upgrade"},
        {"Connection": "keep-alive, Upgrade"},
        {"Connection": "UPGRADE,keep-alive"},
        {"Connection": "keep-alive,\tUpgrade\t,"},
        {"Content-Length": "0"},
        {"Origin": None},
        {"Sec-WebSocket-Protocol": None},
        {"Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA=="},
        {"Sec-WebSocket-Key": "/////////////////////w=="},
        {"Sec-WebSocket-Key1": "1 2", "Sec-WebSocket-Key2": "1 2"},
    ],
    ids=str,
)
def test_requests_that_open(changes: dict[str, str | None]) -> None:
    for allow_old in (False, True):
        found = asked(changes, allow_old=allow_old)
        assert found.key == changes.get("Sec-WebSocket-Key", KEY)
        assert found.subprotocols == ([] if "Sec-WebSocket-Protocol" in changes else ["chat", "superchat"])


def test_fields_in_several_lines() -> None:
    """RFC 6455 §11.3.4, §9.1; RFC 9110 §5.3."""
    found = asked(
        {"Sec-WebSocket-Protocol": "a,b", "Upgrade": "h2c", "Connection": "keep-alive"},
        *[("Sec-WebSocket-Protocol", "c"), ("Upgrade", "websocket"), ("Connection", "Upgrade")],
        *[("Sec-WebSocket-Extensions", "x; a=b"), ("Sec-WebSocket-Extensions", "y")],
    )
    assert found == (KEY, ["a", "b", "c"], "x; a=b, y")


@pytest.mark.parametrize(
    "changes",
    [
        *({"Upgrade": None}, {"Upgrade": ""}, {"Upgrade": "h2c"}, {"Upgrade": "websockets"}, {"Upgrade": "web socket"}),
        *({"Upgrade": "websocket/13"}, {"Connection": None}, {"Connection": "keep-alive"}, {"Connection": "upgraded"}),
        *({"Connection": "keep-alive Upgrade"}, {"Upgrade": None, "Connection": None}),
    ],
    ids=str,
)
def test_requests_that_are_no_upgrade(changes: dict[str, str | None]) -> None:
    """RFC 9110 §15.5.22: what has to be upgraded is told."""
    for method in ("GET", "POST"):
        assert refused(changes, method=method) == (426, {"Upgrade": "websocket", "Connection": "Upgrade"})


@pytest.mark.parametrize("method", ["POST", "HEAD", "OPTIONS", "PUT", "get", "FOO"])
def test_requests_with_another_method(method: str) -> None:
    """RFC 6455 §4.2.1, item 1; RFC 9110 §15.5.6."""
    assert refused(method=method) == (405, {"Allow": "GET"})


def test_requests_of_another_protocol() -> None:
    assert refused(protocol="HTTP/1.0") == (400, {})


@pytest.mark.parametrize("field", [("Content-Length", "1"), ("Content-Length", "10"), ("Transfer-Encoding", "chunked")])
def test_requests_with_a_body(field: tuple[str, str]) -> None:
    assert refused({}, field) == (400, {})


@pytest.mark.parametrize("version", [None, "", "0", "8", "12", "14", "13.0", "013", "+13", "13, 8", "8, 13", "13, 13"])
def test_other_versions(version: str | None) -> None:
    """RFC 6455 §4.4: the version that is spoken is told."""
    status, fields = refused({"Sec-WebSocket-Version": version})
    assert status == 426
    assert fields == {"Sec-WebSocket-Version": "13", "Upgrade": "websocket", "Connection": "Upgrade"}


def test_several_versions() -> None:
    """RFC 6455 §11.3.5: the field comes once in a request."""
    assert refused({}, ("Sec-WebSocket-Version", "13"))[0] in (400, 426)
    assert refused({}, ("Sec-WebSocket-Version", "8"))[0] in (400, 426)


@pytest.mark.parametrize(
    "key",
    [
        *(
            None,
            "",
            "=",
            "====",
            "a",
            "abcd",
            KEY[:-1],
            KEY[:-2],
            KEY[:-4],
            KEY + "=",
            KEY + "AAAA",
            " " + KEY,
            "é" * 24,
        ),
        *(KEY.replace("G", "*"), KEY.replace("G", " "), KEY[:10] + "==" + KEY[10:-2], "-_" + KEY[2:], KEY + ", " + KEY),
        base64.b64encode(bytes(15)).decode(),
        base64.b64encode(bytes(17)).decode(),
        base64.b64encode(bytes(18)).decode(),
        "\u0661" * 24,
    ],
)
def test_malformed_keys(key: str | None) -> None:
    """RFC 6455 §4.2.1, item 5."""
    assert refused({"Sec-WebSocket-Key": key}) == (400, {})


def test_several_keys() -> None:
    """RFC 6455 §11.3.1: the field comes once."""
    assert refused({}, ("Sec-WebSocket-Key", KEY)) == (400, {})


@pytest.mark.parametrize(
    "value", ["", ",", "a b", "a, b c", "a/b", '"a"', "a;b", "a, a", "a, b, a", "é", "a=b", "@", "a:b"]
)
def test_malformed_subprotocols(value: str) -> None:
    """RFC 6455 §4.1, item 10: tokens, which are all different."""
    assert refused({"Sec-WebSocket-Protocol": value}) == (400, {})


@pytest.mark.parametrize("value", ["a", "a,b", "A, a", "v1.chat.example.com", "!#$%&'*+-.^_`|~09azAZ", "a \t, \tb"])
def test_subprotocols(value: str) -> None:
    assert asked({"Sec-WebSocket-Protocol": value}).subprotocols == [item.strip() for item in value.split(",")]


@pytest.mark.parametrize("value", ["a,,b", "a, b,", ",a,b", "a, , ,b"])
def test_subprotocols_with_empty_members(value: str) -> None:
    """RFC 6455 §4.3 has the lists of RFC 2616 §2.1, where empty members mean nothing (now RFC 9110 §5.6.1.2)."""
    assert asked({"Sec-WebSocket-Protocol": value}).subprotocols == ["a", "b"]


def test_the_choice_of_a_subprotocol() -> None:
    assert choose_subprotocol(["a", "b"], ["b", "a"]) == "b"
    assert choose_subprotocol(["a", "b"], ["c", "a"]) == "a"
    assert choose_subprotocol(["a", "b"], ["c"]) is None
    assert choose_subprotocol(["a"], ["A"]) is None  # they are case-sensitive
    assert choose_subprotocol([], ["a"]) is None
    assert choose_subprotocol(["a"], []) is None


# --- Origins --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "origin, host",
    [
        (None, "example.com"),
        ("http://example.com", "example.com"),
        ("https://example.com", "example.com"),
        ("http://example.com", "example.com:80"),
        ("https://example.com", "example.com:443"),
        ("http://example.com:80", "example.com"),
        ("https://example.com:443", "example.com"),
        ("http://example.com:8080", "example.com:8080"),
        ("https://example.com:80", "example.com:80"),
        ("HTTP://Example.COM", "eXample.com"),
        ("http://localhost:1", "localhost:1"),
        ("http://[::1]", "[::1]"),
        ("http://[::1]:80", "[::1]"),
        ("https://[::1]", "[::1]:443"),
        ("http://[2001:DB8::1]:8080", "[2001:db8::1]:8080"),
        ("http://127.0.0.1:8080", "127.0.0.1:8080"),
    ],
)
def test_the_own_origin(origin: str | None, host: str) -> None:
    """RFC 6454 §4, §5: a port that is the scheme's own may be there or not."""
    others = check_origins(["https://other.example"])
    for allowed in (frozenset[str](), others):
        assert is_allowed_origin(origin, host, False, allowed)
        # Who speaks TLS does not let in what a page without it could have been made to send.
        assert is_allowed_origin(origin, host, True, allowed) is (not (origin or "https:").lower().startswith("http:"))


@pytest.mark.parametrize(
    "origin, host",
    [
        ("null", "example.com"),
        ("null", "null"),
        ("", "example.com"),
        ("", ""),
        ("example.com", "example.com"),
        ("//example.com", "example.com"),
        ("http://example.org", "example.com"),
        ("http://example.com", "www.example.com"),
        ("http://www.example.com", "example.com"),
        ("http://example.com.evil.example", "example.com"),
        ("http://evilexample.com", "example.com"),
        ("http://example.com:8080", "example.com"),
        ("http://example.com", "example.com:8080"),
        ("http://example.com", "example.com:443"),
        ("https://example.com", "example.com:80"),
        ("http://example.com:443", "example.com"),
        ("https://example.com:80", "example.com"),
        ("http://example.com:80:80", "example.com"),
        ("http://example.com/", "example.com"),
        ("http://example.com/path", "example.com"),
        ("http://example.com?a", "example.com"),
        ("http://example.com#a", "example.com"),
        ("http://evil.example/example.com", "example.com"),
        ("http://user@example.com", "example.com"),
        ("http://example.com@evil.example", "example.com"),
        ("http://evil.example#@example.com", "example.com"),
        # RFC 6454 §7.1: a list of origins, of which each would have to be allowed.
        ("http://example.com http://evil.example", "example.com"),
        ("http://evil.example http://example.com", "example.com"),
        ("http://example.com, http://evil.example", "example.com"),
        ("http://[::1]", "::1"),
        ("http://[::1]:8080", "[::1]"),
        ("http://[::1]", "[::1]:8080"),
        ("http://[::80]", "[::]"),
        ("http://example.com\n", "example.com"),
        ("1http://example.com", "example.com"),
    ],
)
def test_other_origins(origin: str, host: str) -> None:
    for secure in (False, True):
        assert not is_allowed_origin(origin, host, secure, check_origins(()))
        assert not is_allowed_origin(origin, host, secure, check_origins(["https://other.example"]))
        assert is_allowed_origin(origin, host, secure, check_origins(["*"]))
        assert is_allowed_origin(origin, host, secure, check_origins(["https://other.example", "*"]))


def test_origins_that_are_allowed() -> None:
    named = ["https://example.com", "http://localhost:8080", "HTTPS://Upper.example", "http://p:80", "null", "app://x"]
    allowed = check_origins([*named, "http://[2001:DB8::1]"])
    for secure in (False, True):
        for origin in (
            *(*named, "https://EXAMPLE.com", "https://upper.example", "http://LOCALHOST:8080", "http://p"),
            *("https://example.com:443", "http://[2001:db8::1]", "http://[2001:db8::1]:80"),
        ):
            assert is_allowed_origin(origin, "here.example", secure, allowed)
        for origin in (
            *(
                "http://example.com",
                "https://example.com:444",
                "http://localhost",
                "https://www.example.com",
                "app://y",
            ),
            *("https://example.com/", "https://example.com https://example.com", "", "https://", "*", "https://p:80"),
            *("https://example.com.evil.example", "https://evil.example/https://example.com", "https://p:443"),
        ):
            assert not is_allowed_origin(origin, "here.example", secure, allowed)
        assert not is_allowed_origin("null", "here.example", secure, check_origins(named[:3]))


def test_origins_of_a_program() -> None:
    assert check_origins(()) == frozenset()
    assert check_origins(iter(["https://a"])) == {"https://a"}
    wrong: Any
    for wrong in ("https://a", b"https://a", [b"https://a"], [1], None, 1, [None]):
        with pytest.raises(TypeError):
            check_origins(wrong)
    for wrong in ("", "a.example", "https://", "https://a/", "https://a/b", "https://u@a", "https://a b", "NULL", "**"):
        with pytest.raises(ValueError):
            check_origins(["https://b", wrong])


# --- Header fields and subprotocols of a program --------------------------------------------------------------------


def test_fields_of_a_program() -> None:
    assert own_fields({"X-A": "b", "Set-Cookie": ["c=d", "e=f"], "X-N": 1}) == [
        ("X-A", "b"),
        ("Set-Cookie", "c=d"),
        ("Set-Cookie", "e=f"),
        ("X-N", "1"),
    ]
    assert own_fields([("X", "y"), ("x", "z")]) == [("X", "y"), ("x", "z")]
    assert own_fields({}) == own_fields(HTTPHeaders()) == []


@pytest.mark.parametrize(
    "name",
    [
        *("Connection", "Upgrade", "upgrade", "Content-Length", "TRANSFER-ENCODING", "Host", "Sec-WebSocket-Accept"),
        *("sec-websocket-key", "Sec-WebSocket-Protocol", "Sec-WebSocket-Extensions", "Sec-WebSocket-Version"),
    ],
)
def test_fields_that_the_handshake_sets(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        own_fields({name: "x"})


@pytest.mark.parametrize(
    "headers, error",
    [
        ({"X": "a\r\nSet-Cookie: b"}, ValueError),
        ({"X": "a\nb"}, ValueError),
        ({"X": "a\0"}, ValueError),
        ({"X": "€"}, ValueError),
        ({"X\r\nY": "a"}, ValueError),
        ({"": "a"}, ValueError),
        ({"X:": "a"}, ValueError),
        ({"X": b"a"}, TypeError),
        ({"X": None}, TypeError),
        ({b"X": "a"}, TypeError),
        ([("X",)], TypeError),
        (1, TypeError),
    ],
    ids=str,
)
def test_fields_that_cannot_be_sent(headers: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        own_fields(headers)


def test_subprotocols_of_a_program() -> None:
    assert check_subprotocols(["a", "B"]) == ("a", "B")
    assert check_subprotocols(iter(("x.y",))) == ("x.y",)
    assert check_subprotocols(()) == ()
    wrong: Any
    for wrong in ("chat", b"chat", [b"chat"], [1], None, 1, [None]):
        with pytest.raises(TypeError):
            check_subprotocols(wrong)
    for wrong in (["a", "a"], [""], ["a b"], ["a,b"], ["a/b"], ["é"], ["a\n"], ["a\r\nX: y"], [" a"]):
        with pytest.raises(ValueError):
            check_subprotocols(wrong)


# --- Draft 76 -------------------------------------------------------------------------------------------------------

OLD: Final[dict[str, str | None]] = {
    "Sec-WebSocket-Key": None,
    "Sec-WebSocket-Version": None,
    "Upgrade": "WebSocket",
    "Sec-WebSocket-Protocol": "sample",
    "Sec-WebSocket-Key1": "4 @1  46546xW%0l 1 5",
    "Sec-WebSocket-Key2": "12998 5 Y3 1  .P00",
}


def test_example_of_draft_76() -> None:
    """Draft 76, §1.2."""
    assert asked(OLD, allow_old=True) == ("", ["sample"], "")
    answer = old_challenge("4 @1  46546xW%0l 1 5", "12998 5 Y3 1  .P00", b"^n:ds[4U")
    assert answer == b"8jKS'y:G*Co,Wxa-"
    fields = old_answer_fields(HTTPHeaders({"Origin": "http://example.com"}), "ws://example.com/demo", "sample")
    assert fields == [
        ("Upgrade", "WebSocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Location", "ws://example.com/demo"),
        ("Sec-WebSocket-Origin", "http://example.com"),
        ("Sec-WebSocket-Protocol", "sample"),
    ]
    assert len(old_answer_fields(HTTPHeaders(), "ws://example.com/demo", None)) == 3


def test_other_example_of_draft_76() -> None:
    """Draft 76, §1.3: the numbers 155712099 and 173347027."""
    found = old_challenge("18x 6]8vM;54 *(5:  {   U1]8  z [  8", "1_ tx7X d  <  nw  334J702) 7]o}` 0", b"Tm[K T2u")
    assert found == b"fQJ,fN/4F4!~K~MH"
    numbers = (155712099).to_bytes(4, "big") + (173347027).to_bytes(4, "big")
    assert found == hashlib.md5(numbers + b"Tm[K T2u").digest()


def test_draft_76_has_to_be_allowed() -> None:
    """Manual: "allow_old_handshake"; False by default."""
    status, fields = refused(OLD)
    assert (status, fields["Sec-WebSocket-Version"]) == (426, "13")
    for name in ("Sec-WebSocket-Key1", "Sec-WebSocket-Key2"):
        assert refused({**OLD, name: None}, allow_old=True)[0] == 426
    # With a version it is not draft 76.
    assert refused({**OLD, "Sec-WebSocket-Version": "8"}, allow_old=True)[0] == 426
    assert refused({**OLD, "Sec-WebSocket-Version": "13"}, allow_old=True)[0] == 400
    assert refused(OLD, allow_old=True, method="POST")[0] == 405
    assert refused({**OLD, "Upgrade": None}, allow_old=True)[0] == 426


GOOD: Final = "1 2 4"  # 124 and two spaces


@pytest.mark.parametrize(
    "key",
    [
        pytest.param("", id="empty"),
        pytest.param("   ", id="no-digit"),
        pytest.param("124", id="no-space"),
        pytest.param("1\t24", id="a-tab"),
        pytest.param("1 2 3", id="no-whole-number"),
        pytest.param("8589934592  ", id="too-large-by-one"),
        pytest.param("4294967296 ", id="too-large"),
        pytest.param("9" * 19 + " ", id="far-too-large"),
        pytest.param("9" * 10000 + " ", id="many-digits"),
        pytest.param("\u0661 2 5", id="other-digits"),  # 25, or 125, and two spaces
        pytest.param("\xb2 \xb3", id="superscripts"),
    ],
)
def test_malformed_keys_of_draft_76(key: str) -> None:
    """Draft 76, §5.2."""
    for keys in ((key, GOOD), (GOOD, key), (key, key)):
        with pytest.raises(Refusal) as caught:
            old_challenge(*keys, bytes(8))
        assert caught.value.status == 400


def test_numbers_of_draft_76() -> None:
    for key, number in ((GOOD, 62), ("4294967295 ", (1 << 32) - 1), ("0 ", 0), ("a8589934590 b c", (1 << 32) - 1)):
        expected = hashlib.md5(number.to_bytes(4, "big") + (62).to_bytes(4, "big") + b"12345678").digest()
        assert old_challenge(key, GOOD, b"12345678") == expected


# --- URLs -----------------------------------------------------------------------------------------------------------


def parts(target: Target) -> tuple[object, ...]:
    return target.secure, target.host, target.port, target.resource, target.credentials


@pytest.mark.parametrize(
    "url, secure, host, port, resource, authority",
    [
        ("ws://example.com", False, "example.com", 80, "/", "example.com"),
        ("wss://example.com", True, "example.com", 443, "/", "example.com"),
        ("http://example.com/", False, "example.com", 80, "/", "example.com"),
        ("https://example.com/", True, "example.com", 443, "/", "example.com"),
        ("WS://EXAMPLE.com/Path?Query", False, "example.com", 80, "/Path?Query", "example.com"),
        ("ws://example.com:80/", False, "example.com", 80, "/", "example.com"),
        ("wss://example.com:443/", True, "example.com", 443, "/", "example.com"),
        ("ws://example.com:443/", False, "example.com", 443, "/", "example.com:443"),
        ("wss://example.com:80/", True, "example.com", 80, "/", "example.com:80"),
        ("ws://example.com:/", False, "example.com", 80, "/", "example.com"),  # RFC 3986 §3.2.3
        ("ws://example.com:65535/", False, "example.com", 65535, "/", "example.com:65535"),
        ("ws://example.com.", False, "example.com.", 80, "/", "example.com."),
        ("ws://127.0.0.1:8080/chat", False, "127.0.0.1", 8080, "/chat", "127.0.0.1:8080"),
        ("ws://[::1]/", False, "::1", 80, "/", "[::1]"),
        ("ws://[::1]", False, "::1", 80, "/", "[::1]"),
        ("wss://[2001:DB8::1]:8443/a", True, "2001:db8::1", 8443, "/a", "[2001:db8::1]:8443"),
        ("ws://[::ffff:1.2.3.4]:9/", False, "::ffff:1.2.3.4", 9, "/", "[::ffff:1.2.3.4]:9"),
        ("ws://bücher.example/", False, "xn--bcher-kva.example", 80, "/", "xn--bcher-kva.example"),
        ("ws://BÜCHER.example/", False, "xn--bcher-kva.example", 80, "/", "xn--bcher-kva.example"),
        ("ws://xn--bcher-kva.example/", False, "xn--bcher-kva.example", 80, "/", "xn--bcher-kva.example"),
        ("ws://a_b.example/", False, "a_b.example", 80, "/", "a_b.example"),
        # RFC 6455 §3: the path, "/" where it is empty, and the query where it is not.
        ("ws://a?x=y", False, "a", 80, "/?x=y", "a"),
        ("ws://a/?", False, "a", 80, "/", "a"),
        ("ws://a/b?c?d/e", False, "a", 80, "/b?c?d/e", "a"),
        ("ws://a/b;c=d;e//f/../g", False, "a", 80, "/b;c=d;e//f/../g", "a"),
        ("ws://a//b", False, "a", 80, "//b", "a"),
        ("ws://a/%c3%a4?%C3%A4=%20+", False, "a", 80, "/%c3%a4?%C3%A4=%20+", "a"),
        ("ws://a/ä?ö=€", False, "a", 80, "/%C3%A4?%C3%B6=%E2%82%AC", "a"),
        (
            'ws://a/"<>\\^`{|}?"<>\\^`{|}',
            False,
            "a",
            80,
            "/%22%3C%3E%5C%5E%60%7B%7C%7D?%22%3C%3E%5C%5E%60%7B%7C%7D",
            "a",
        ),
        ("ws://a/\x80\x9f\u2028\U0001f600", False, "a", 80, "/%C2%80%C2%9F%E2%80%A8%F0%9F%98%80", "a"),
        ("ws://a/-._~!$&'()*+,;=:@?-._~!$&'()*+,;=:@/", False, "a", 80, "/-._~!$&'()*+,;=:@?-._~!$&'()*+,;=:@/", "a"),
    ],
)
def test_urls(url: str, secure: bool, host: str, port: int, resource: str, authority: str) -> None:
    target = parse_url(url)
    assert parts(target) == (secure, host, port, resource, None)
    assert target.authority == authority
    assert target.url == f"{'wss' if secure else 'ws'}://{authority}{resource}"
    assert parse_url(target.url) == target
    if "[" not in url:  # which the package writes otherwise
        theirs = parse_uri(target.url)
        assert (theirs.secure, theirs.host, theirs.port, theirs.resource_name) == parts(target)[:4]


@pytest.mark.parametrize(
    "url",
    [
        *(
            "",
            "a",
            "/a",
            "//a",
            "a.example:80",
            "ws:",
            "ws:a",
            "ws:/a",
            "ws://",
            "ws:///a",
            "ws://:80/",
            "ws://?a",
            "ftp://a/",
        ),
        *("wsss://a/", "file:///a", "javascript:ws://a", " ws://a/", "ws://a/ ", "ws://a b/", "ws://a/b c", "ws ://a/"),
        # RFC 6455 §3: no fragment, not even an empty one.
        *("ws://a/#b", "ws://a#b", "ws://a/#", "ws://a#", "ws://a/?b#c", "ws://a/b#c?d"),
        *("ws://a:65536/", "ws://a:-1/", "ws://a:+80/", "ws://a:b/", "ws://a:80b/", "ws://a:8_0/", "ws://a:80:90/"),
        *("ws://a:\u0661/", "ws://::1/", "ws://[::1/", "ws://::1]/", "ws://[]/", "ws://[1.2.3.4]/", "ws://[a]/"),
        *("ws://[::1]:a/", "ws://[::g]/", "ws://[1:2:3:4:5:6:7:8:9]/"),
        *(
            "ws://a..b/",
            "ws://.a/",
            "ws://" + "a" * 64 + "/",
            "ws://\u200b/",
            "ws://a%41/",
            "ws://a%00b/",
            "ws://a\\b/",
        ),
        *('ws://a"b/', "ws://a<b/", "ws://a;b/", "ws://a,b/", "ws://a*b/", "ws://a\uff0fb/", "ws://a\uff1fb/"),
        "ws://\ud800/",
        "ws://a/\ud800",
    ],
    ids=ascii,
)
def test_urls_that_are_refused(url: str) -> None:
    with pytest.raises(ValueError):
        parse_url(url)


@pytest.mark.parametrize("url", ["ws://[::1]x/", "ws://[::1]x:80/", "ws://x[::1]/", "ws://a.example[::1]:80/"])
def test_brackets_with_something_beside_them(url: str) -> None:
    """RFC 3986 §3.2.2: an address in brackets is all of a host."""
    with pytest.raises(ValueError):
        parse_url(url)


def test_urls_with_control_characters() -> None:
    for character in (*range(0x21), 0x7F):
        for url in (
            "{}ws://a/b?c",
            "w{}s://a/b?c",
            "ws://a{}/b?c",
            "ws://a/b{}?c",
            "ws://a/b?c{}",
            "ws://u{}:p@a/",
            "ws:/{}/a/",
        ):
            with pytest.raises(ValueError):
                parse_url(url.format(chr(character)))


@pytest.mark.parametrize("url", [None, b"ws://a/", 1, ["ws://a/"]])
def test_urls_of_a_wrong_kind(url: Any) -> None:
    with pytest.raises(TypeError):
        parse_url(url)


@pytest.mark.parametrize(
    "url, user, password",
    [
        ("ws://user:secret@a:81/b", "user", "secret"),
        ("ws://user@a:81/b", "user", ""),
        ("ws://user:@a:81/b", "user", ""),
        ("ws://:secret@a:81/b", "", "secret"),
        ("ws://user:a:b@a:81/b", "user", "a:b"),
        ("ws://us%65r%20:s%40%3a%2f@a:81/b", "user ", "s@:/"),
        ("ws://%C3%A4:%E2%82%AC@a:81/b", "ä", "€"),
        ("ws://ä:€@a:81/b", "ä", "€"),
        ("ws://user:a@b@a:81/b", "user", "a@b"),
    ],
)
def test_credentials(url: str, user: str, password: str) -> None:
    """RFC 7617, in UTF-8; they stay out of what is shown."""
    target = parse_url(url)
    expected = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
    assert parts(target) == (False, "a", 81, "/b", expected)
    assert basic_credentials(user, password) == expected
    assert (target.authority, target.url) == ("a:81", "ws://a:81/b")


@pytest.mark.parametrize(
    "url",
    [
        *(
            "ws://user:secret@a/#b",
            "ws://user:secret@a:x/",
            "ftp://user:secret@a/",
            "ws://user:secret@/",
            "ws://a b:secret@c/",
        ),
        *("ws://user:secret@a..b/", "ws://user:secret@[::1/", "ws://user:secret@a\\b/", "ws://user:secret@a/ "),
        *("ws://user:secret#@a/", "ws://user:secret?@a/"),
    ],
)
def test_credentials_are_not_shown(url: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_url(url)
    assert "secret" not in str(caught.value)


def test_example_of_credentials() -> None:
    """RFC 7617 §2, §2.1."""
    assert basic_credentials("Aladdin", "open sesame") == "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="
    assert basic_credentials("test", "123£") == "Basic dGVzdDoxMjPCow=="


def test_the_same_origin() -> None:
    """RFC 6454 §5: scheme, host and port."""
    target = parse_url("ws://a/b")
    for url in ("ws://a:80/c?d", "WS://A", "http://a/", "ws://u:p@a/"):
        assert target.origin == parse_url(url).origin
    for url in ("wss://a/b", "wss://a:80/b", "ws://a:81/b", "ws://b/b", "ws://a.b/b"):
        assert target.origin != parse_url(url).origin


@settings(max_examples=150)
@given(
    st.text(st.sampled_from("a.ä:/?#@[]%\\ \t\n;=&1٣\u3002")), st.sampled_from(["ws://", "wss://a", "ws://[::1]", ""])
)
def test_any_url(text: str, start: str) -> None:
    """It is refused, or can be sent in a request line and a Host field, and means the same there."""
    try:
        target = parse_url(start + text)
    except ValueError:
        return
    assert target.resource.startswith("/")
    assert all("!" <= character <= "~" for character in target.resource + target.authority)
    assert parse_url(target.url) == target.with_credentials(None)


# --- The client's end -----------------------------------------------------------------------------------------------


def opening(url: str = "ws://a/b?c", fields: Any = (), subprotocols: Any = (), compression: Any = None) -> Opening:
    return Opening(parse_url(url), list(fields), subprotocols, compression)


def sent(opening: Opening) -> tuple[str, list[tuple[str, str]]]:
    """The request line, and the fields."""
    data = opening.request()
    head, end, rest = data.partition(b"\r\n\r\n")
    assert (end, rest) == (b"\r\n\r\n", b"")
    line, *lines = head.decode("latin-1").split("\r\n")
    fields = []
    for field in lines:
        name, colon, value = field.partition(": ")
        assert colon
        fields.append((name, value))
    return line, fields


def accept_for(opening: Opening) -> str:
    """RFC 6455 §4.2.2, item 5.4."""
    key = dict(sent(opening)[1])["Sec-WebSocket-Key"]
    return base64.b64encode(hashlib.sha1(f"{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode()).digest()).decode()


def test_requests_of_a_client() -> None:
    """RFC 6455 §4.1, the first list."""
    line, fields = sent(opening())
    assert line == "GET /b?c HTTP/1.1"
    found = dict(fields)
    assert len(found) == len(fields) == 5
    assert found["Host"] == "a"
    assert found["Upgrade"] == "websocket"
    assert found["Connection"] == "Upgrade"
    assert found["Sec-WebSocket-Version"] == "13"
    assert len(base64.b64decode(found["Sec-WebSocket-Key"], validate=True)) == 16
    more = opening("wss://[::1]:90/", [("X", "ä"), ("Cookie", "a=b")], ["x", "y"], Deflate())
    line, fields = sent(more)
    assert line == "GET / HTTP/1.1"
    found = dict(fields)
    assert found["Host"] == "[::1]:90"
    assert found["Sec-WebSocket-Protocol"] == "x, y"
    assert found["Sec-WebSocket-Extensions"] == Deflate().offer()
    assert (found["X"], found["Cookie"]) == ("ä", "a=b")
    assert read_request("GET", "HTTP/1.1", HTTPHeaders(fields), False) == (
        found["Sec-WebSocket-Key"],
        ["x", "y"],
        Deflate().offer(),
    )


def test_each_request_has_a_key_of_its_own() -> None:
    """RFC 6455 §4.1, item 7."""
    assert len({dict(sent(opening())[1])["Sec-WebSocket-Key"] for _ in range(100)}) == 100
    one = opening()
    assert one.request() == one.request()


def checked(
    one: Opening, changes: dict[str, str | None] | None = None, more: Iterable[tuple[str, str]] = (), status: int = 101
) -> Any:
    right = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Accept": accept_for(one)}
    fields = [(name, value) for name, value in {**right, **(changes or {})}.items() if value is not None]
    return one.check(status, HTTPHeaders([*fields, *more]))


@pytest.mark.parametrize(
    "changes",
    [
        *({}, {"Upgrade": "WebSocket"}, {"Upgrade": "WEBSOCKET"}, {"Connection": "upgrade"}),
        *({"Connection": "keep-alive, Upgrade"}, {"Connection": "Upgrade,x"}, {"Server": "x"}),
    ],
    ids=str,
)
def test_answers_that_open(changes: dict[str, str | None]) -> None:
    assert checked(opening(), changes) == (None, None)


@pytest.mark.parametrize("status", [200, 204, 301, 400, 401, 403, 404, 426, 500, 503, 100, 102])
def test_answers_with_another_status(status: int) -> None:
    with pytest.raises(HandshakeError, match=str(status)) as caught:
        checked(opening(), {"Www-Authenticate": "Basic"}, status=status)
    assert caught.value.status == status
    assert caught.value.headers["WWW-Authenticate"] == "Basic"
    assert "ws://a/b?c" in str(caught.value)


@pytest.mark.parametrize(
    "changes",
    [
        *({"Upgrade": None}, {"Upgrade": ""}, {"Upgrade": "h2c"}, {"Upgrade": "websocket2"}, {"Connection": None}),
        *({"Connection": "close"}, {"Connection": "upgrades"}, {"Sec-WebSocket-Accept": None}),
        *({"Sec-WebSocket-Accept": ""}, {"Sec-WebSocket-Accept": ACCEPT}, {"Sec-WebSocket-Protocol": "x"}),
        *({"Sec-WebSocket-Protocol": ""}, {"Sec-WebSocket-Extensions": "permessage-deflate"}),
        {"Sec-WebSocket-Extensions": "x"},
    ],
    ids=str,
)
def test_answers_that_do_not_open(changes: dict[str, str | None]) -> None:
    """RFC 6455 §4.1, the second list."""
    with pytest.raises(HandshakeError) as caught:
        checked(opening(), changes)
    assert caught.value.status == 101


@pytest.mark.parametrize("upgrade", ["websocket, h2c", "h2c, websocket"])
def test_answers_that_upgrade_to_something_else_too(upgrade: str) -> None:
    """RFC 6455 §4.1, the second list, item 2: the value is "websocket" and nothing else."""
    with pytest.raises(HandshakeError):
        checked(opening(), {"Upgrade": upgrade})


def test_answers_whose_accept_is_nearly_right() -> None:
    one = opening()
    right = accept_for(one)
    for wrong in (right.lower(), right.swapcase(), right[:-1], right + "=", right[1:], right + "," + right):
        with pytest.raises(HandshakeError, match="Accept"):
            checked(one, {"Sec-WebSocket-Accept": wrong})
    with pytest.raises(HandshakeError, match="Accept"):
        checked(one, {}, [("Sec-WebSocket-Accept", right)])
    with pytest.raises(HandshakeError, match="Accept"):
        opening().check(101, HTTPHeaders(answer_fields(KEY, None, None)))


def test_the_subprotocol_of_an_answer() -> None:
    """RFC 6455 §4.1, the second list, item 6; §11.3.4."""
    one = opening(subprotocols=("a", "b"))
    assert checked(one) == (None, None)
    assert checked(one, {"Sec-WebSocket-Protocol": "b"}) == ("b", None)
    for wrong in ("c", "A", "a, b", "", "a,"):
        with pytest.raises(HandshakeError, match="subprotocol"):
            checked(one, {"Sec-WebSocket-Protocol": wrong})
    for second in ("a", "b"):
        with pytest.raises(HandshakeError, match="subprotocol"):
            checked(one, {"Sec-WebSocket-Protocol": "a"}, [("Sec-WebSocket-Protocol", second)])


def test_the_extensions_of_an_answer() -> None:
    """RFC 6455 §4.1, the second list, item 5; RFC 7692 §5.1."""
    one = opening(compression=Deflate(server_no_context_takeover=False))
    assert checked(one) == (None, None)
    subprotocol, codec = checked(one, {"Sec-WebSocket-Extensions": "permessage-deflate; server_max_window_bits=10"})
    assert subprotocol is None
    assert codec is not None
    for wrong in (
        *("x", "permessage-deflate, x", "permessage-deflate; x", "permessage-deflate, permessage-deflate", ";", "a b"),
        *("permessage-deflate; server_max_window_bits=16", "permessage-deflate; client_max_window_bits"),
    ):
        with pytest.raises(HandshakeError):
            checked(one, {"Sec-WebSocket-Extensions": wrong})
    with pytest.raises(HandshakeError):
        checked(
            one,
            {"Sec-WebSocket-Extensions": "permessage-deflate"},
            [("Sec-WebSocket-Extensions", "permessage-deflate")],
        )


def test_errors_of_a_handshake() -> None:
    error = HandshakeError("why")
    assert (str(error), error.status, dict(error.headers)) == ("why", 0, {})


# --- The package `websockets` at the other end ------------------------------------------------------------------------


@pytest.mark.parametrize("compression", [None, Deflate(), Deflate(server_max_window_bits=9, client_max_window_bits=9)])
@pytest.mark.parametrize("url", ["ws://a/b?c", "wss://[::1]:90/", "ws://bücher.example/ä"])
def test_as_a_client(url: str, compression: Deflate | None) -> None:
    one = opening(url, [("Origin", "http://x")], ("y", "chat"), compression)
    line, fields = sent(one)
    server = ServerProtocol(
        subprotocols=["chat"],  # type: ignore[list-item]
        extensions=[ServerPerMessageDeflateFactory(server_no_context_takeover=True)],
    )
    answer = server.accept(Request(line.split(" ")[1], Headers(fields)))
    assert answer.status_code == 101
    subprotocol, codec = one.check(101, HTTPHeaders(list(answer.headers.raw_items())))
    assert subprotocol == "chat"
    assert (codec is None) is (compression is None)


@pytest.mark.parametrize("compression", [False, True])
def test_as_a_server(compression: bool) -> None:
    client = ClientProtocol(
        parse_uri("ws://example.com/chat"),
        subprotocols=["y", "chat"],  # type: ignore[list-item]
        extensions=[ClientPerMessageDeflateFactory()] if compression else None,
    )
    request = client.connect()
    found = read_request("GET", "HTTP/1.1", HTTPHeaders(list(request.headers.raw_items())), False)
    assert found.subprotocols == ["y", "chat"]
    extension = None
    if compression:
        accepted = Deflate().accept(found.extensions)
        assert accepted is not None
        extension = accepted[0]
    fields = answer_fields(found.key, choose_subprotocol(found.subprotocols, ["chat"]), extension)
    client.process_response(Response(101, "Switching Protocols", Headers(fields)))
    assert client.subprotocol == "chat"
    assert len(client.extensions) == compression


# --- The fuzz target ------------------------------------------------------------------------------------------------


def test_fuzz_target() -> None:
    path = Path(__file__).parents[2] / "fuzz" / "fuzz_ws_handshake.py"
    spec = importlib.util.spec_from_file_location("fuzz_ws_handshake", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.fuzz(50)
