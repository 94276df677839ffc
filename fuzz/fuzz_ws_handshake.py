"""Fuzz target for `pants.http._ws_handshake` and what `pants.http._ws_deflate` negotiates: any fields, any URL.

    python fuzz/fuzz_ws_handshake.py [EXAMPLES]

What must hold: a request is refused with a Refusal that has a status of 4xx, or has all that RFC 6455 §4.2.1 wants of
it. An answer is refused with a HandshakeError, or has all that §4.1 wants. What is agreed on about compression the
package `websockets` agrees on. A URL is refused with a ValueError, or what is sent for it means the same again. An
origin that is allowed is the server's own, or named.
"""

from __future__ import annotations

import base64
import contextlib
import sys
from typing import Any
from urllib.parse import urlsplit

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from websockets.exceptions import InvalidHandshake
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory, ServerPerMessageDeflateFactory
from websockets.headers import parse_extension
from websockets.utils import accept_key

from pants.http import HTTPHeaders
from pants.http._ws_deflate import Deflate
from pants.http._ws_handshake import (
    HandshakeError,
    Opening,
    Refusal,
    answer_fields,
    check_origins,
    is_allowed_origin,
    old_challenge,
    parse_url,
    read_request,
)

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
OFFERS = [
    "permessage-deflate",
    "permessage-deflate; client_max_window_bits",
    "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
    'permessage-deflate; server_max_window_bits="10", permessage-deflate',
    "x-unknown; a=b",
]
# For each field: what is right, and what may be.
VALUES = {
    "Upgrade": ["websocket", "WebSocket", "h2c, websocket", "h2c", "websocket, h2c"],
    "Connection": ["Upgrade", "keep-alive, upgrade", "close", "upgrade,"],
    "Sec-WebSocket-Version": ["13", "8", "13, 8", "013"],
    "Sec-WebSocket-Key": [KEY, KEY[:-1], KEY[2:], "AAAA", base64.b64encode(bytes(16)).decode()],
    "Sec-WebSocket-Key1": ["4 @1  46546xW%0l 1 5", "1 2", "12", "1  2"],
    "Sec-WebSocket-Key2": ["12998 5 Y3 1  .P00", " "],
    "Sec-WebSocket-Protocol": ["chat, superchat", "chat", "a, a", "a b"],
    "Sec-WebSocket-Extensions": OFFERS,
    "Sec-WebSocket-Accept": [accept_key(KEY), accept_key("")],
    "Content-Length": ["0", "00", "5"],
    "Transfer-Encoding": ["chunked"],
    "Origin": ["http://a", "null", "https://a:443"],
}
latin = st.text(st.characters(max_codepoint=255, exclude_characters="\r\n\0"), max_size=12)


def fields_for(names: list[str]) -> st.SearchStrategy[list[tuple[str, str]]]:
    """Make fields, which are right for the most part."""
    kinds = [
        st.tuples(st.just(name), st.one_of(st.just(VALUES[name][0]), st.sampled_from(VALUES[name]), latin))
        for name in names
    ]
    right = [(name, VALUES[name][0]) for name in names]
    more = st.lists(st.one_of(kinds), max_size=3)
    dropped = st.sets(st.sampled_from(names), max_size=2)
    return st.builds(lambda out, added: [field for field in right if field[0] not in out] + added, dropped, more)


requests = fields_for(["Upgrade", "Connection", "Sec-WebSocket-Version", "Sec-WebSocket-Key", "Sec-WebSocket-Protocol"])
old_requests = fields_for(["Upgrade", "Connection", "Sec-WebSocket-Key1", "Sec-WebSocket-Key2", "Origin"])
answers = fields_for(["Upgrade", "Connection", "Sec-WebSocket-Accept"])
others = st.lists(
    st.sampled_from(sorted(VALUES)).flatmap(lambda name: st.tuples(st.just(name), st.sampled_from(VALUES[name]))),
    max_size=2,
)
names = st.sampled_from(
    [
        "server_no_context_takeover",
        "client_no_context_takeover",
        "server_max_window_bits",
        "client_max_window_bits",
        "a",
    ]
)
offers = st.one_of(
    st.lists(
        st.lists(
            st.one_of(names, st.builds("{}={}".format, names, st.integers(7, 16)), latin),
            max_size=3,
        ).map(lambda parts: "; ".join(["permessage-deflate", *parts])),
        min_size=1,
        max_size=3,
    ).map(", ".join),
    st.sampled_from(OFFERS),
    st.text(' ,;="ab0', max_size=12),
    latin,
)
deflates = st.builds(
    Deflate,
    server_no_context_takeover=st.booleans(),
    client_no_context_takeover=st.booleans(),
    server_max_window_bits=st.sampled_from([9, 12, 15]),
    client_max_window_bits=st.sampled_from([9, 12, 15]),
)


def listed(headers: HTTPHeaders, name: str) -> list[str]:
    """Return the members of a list, in lower case."""
    return [member.strip(" \t").lower() for value in headers.get_list(name) for member in value.split(",")]


def look_at(refusal: Refusal) -> None:
    """Look at what a client is told."""
    assert 400 <= refusal.status < 500
    assert refusal.reason
    told = dict(refusal.fields)
    assert ("Upgrade" in told) is (refusal.status == 426)
    assert ("Allow" in told) is (refusal.status == 405)


def try_request(method: str, protocol: str, fields: list[tuple[str, str]], allow_old: bool) -> None:
    """Read a request, and see whether it is what it is taken for."""
    headers = HTTPHeaders(fields)
    try:
        asked = read_request(method, protocol, headers, allow_old)
    except Refusal as refusal:
        look_at(refusal)
        return
    assert (method, protocol) == ("GET", "HTTP/1.1")
    assert "websocket" in listed(headers, "Upgrade")
    assert "upgrade" in listed(headers, "Connection")
    assert len(set(asked.subprotocols)) == len(asked.subprotocols)
    assert asked.subprotocols == [
        name for name in map(str.strip, headers.get("Sec-WebSocket-Protocol", "").split(",")) if name
    ]
    if asked.key:
        assert headers.get_list("Sec-WebSocket-Version") == ["13"]
        assert headers.get_list("Sec-WebSocket-Key") == [asked.key]
        assert len(base64.b64decode(asked.key)) == 16
        assert dict(answer_fields(asked.key, None, None))["Sec-WebSocket-Accept"] == accept_key(asked.key)
        return
    assert allow_old
    assert "Sec-WebSocket-Version" not in headers
    with contextlib.suppress(Refusal):
        assert len(old_challenge(headers["Sec-WebSocket-Key1"], headers["Sec-WebSocket-Key2"], bytes(8))) == 16


def try_answer(status: int, fields: list[tuple[str, str]], right: bool, deflate: Deflate | None) -> None:
    """Look at an answer as a client."""
    opening = Opening(parse_url("ws://a/"), [], ["chat"], deflate)
    key = opening.request().partition(b"Sec-WebSocket-Key: ")[2].partition(b"\r\n")[0].decode()
    if right:
        fields = [(name, accept_key(key) if value == accept_key(KEY) else value) for name, value in fields]
    headers = HTTPHeaders(fields)
    try:
        subprotocol, codec = opening.check(status, headers)
    except HandshakeError:
        return
    assert status == 101
    assert "websocket" in listed(headers, "Upgrade")
    assert "upgrade" in listed(headers, "Connection")
    assert headers.get_list("Sec-WebSocket-Accept") == [accept_key(key)]
    assert headers.get_list("Sec-WebSocket-Protocol") == ([] if subprotocol is None else ["chat"])
    assert codec is None or deflate is not None
    assert (codec is not None) is bool(headers.get("Sec-WebSocket-Extensions"))


def window(value: Any) -> Any:
    """Return the size of a window as the package has it."""
    return True if value is None else int(value)


def try_offer(header: str, deflate: Deflate) -> None:
    """Take an offer as a server; the answer suits a client that has made one of the offers."""
    try:
        accepted = deflate.accept(header)
    except ValueError:
        try:
            parse_extension(header)
        except InvalidHandshake:
            return
        raise
    if accepted is None:
        return
    [(name, answer)] = parse_extension(accepted[0])
    assert name == "permessage-deflate"
    suits = False
    for name, parameters in parse_extension(header):
        asked = dict(parameters)
        if name == "permessage-deflate" and len(asked) == len(parameters):
            with contextlib.suppress(InvalidHandshake, ValueError, TypeError):
                bits = window(asked["client_max_window_bits"]) if "client_max_window_bits" in asked else None
                client = ClientPerMessageDeflateFactory(
                    "server_no_context_takeover" in asked,
                    "client_no_context_takeover" in asked,
                    window(asked["server_max_window_bits"]) if "server_max_window_bits" in asked else None,
                    9 if bits == 8 else bits,
                )
                shown = [
                    (name, "9" if (name, value) == ("client_max_window_bits", "8") else value) for name, value in answer
                ]
                client.process_response_params(shown, [])
                suits = True
    assert suits


def try_confirm(header: str, deflate: Deflate) -> None:
    """Look at an answer to an offer as a client; what a server of the package answers is right."""
    with contextlib.suppress(ValueError):
        codec = deflate.confirm(header)
        assert (codec is None) is (not header)
    [(_, offer)] = parse_extension(deflate.offer())
    for server in (ServerPerMessageDeflateFactory(), ServerPerMessageDeflateFactory(True, True, 9, 9)):
        answer, _ = server.process_request_params(offer, [])
        parts = [name if value is None else f"{name}={value}" for name, value in answer]
        assert deflate.confirm("; ".join(["permessage-deflate", *parts])) is not None


def try_url(url: str) -> None:
    """Take a URL apart; what is sent for it means the same again."""
    try:
        target = parse_url(url)
    except ValueError:
        return
    assert "#" not in url
    assert target.resource.startswith("/")
    assert all("!" <= character <= "~" for character in target.resource + target.authority)
    assert 0 <= target.port < 65536
    assert parse_url(target.url) == target.with_credentials(None)
    opening = Opening(target, [], [], None).request()
    assert opening.startswith(f"GET {target.resource} HTTP/1.1\r\nHost: {target.authority}\r\n".encode())
    assert opening.count(b"\r\n") == opening.count(b"\n") == opening.count(b"\r") == 7


def try_origin(origin: str, host: str, secure: bool, allowed: list[str]) -> None:
    """Look at an origin."""
    if not is_allowed_origin(origin, host, secure, check_origins(allowed)) or "*" in allowed:
        return
    if origin.lower() in (*allowed, *(f"{name}:80" for name in allowed)):
        return
    scheme, separator, authority = origin.partition("://")
    assert separator
    assert scheme.lower() == "https" or not secure
    port = {"http": ":80", "https": ":443", "ws": ":80", "wss": ":443"}.get(scheme.lower(), "")
    here, there = (name.lower().removesuffix(port) for name in (host, authority))
    assert here == there
    assert urlsplit(f"//{authority}").username is None
    assert not set(authority) & set("/?#@ \t")


def fuzz(examples: int) -> None:
    """Try so many examples of each."""
    bounded = settings(max_examples=examples, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    methods = st.sampled_from(["GET", "GET", "GET", "POST", "HEAD"])
    protocols = st.sampled_from(["HTTP/1.1", "HTTP/1.1", "HTTP/1.1", "HTTP/1.0"])
    some = st.builds(lambda fields, more: fields + more, st.one_of(requests, old_requests), others)
    given(methods, protocols, some, st.booleans())(bounded(try_request))()
    some = st.builds(lambda fields, more: fields + more, answers, others)
    given(st.sampled_from([101, 101, 101, 200, 404]), some, st.booleans(), st.one_of(st.none(), deflates))(
        bounded(try_answer)
    )()
    given(offers, deflates)(bounded(try_offer))()
    given(offers, deflates)(bounded(try_confirm))()
    tokens = st.sampled_from(
        [
            *(
                "ws://",
                "wss://",
                "http://",
                "://",
                "a",
                "A.b",
                "ä",
                "[::1]",
                "[",
                "]",
                ":",
                "80",
                "@",
                "/",
                "?",
                "#",
                "%",
            ),
            "\\",
        ]
    )
    starts = st.sampled_from(["ws://", "ws://a", ""])
    parts = st.lists(st.one_of(tokens, st.text(max_size=2)), max_size=8).map("".join)
    given(st.builds("{}{}".format, starts, parts))(bounded(try_url))()
    origins = st.one_of(
        st.builds(
            "{}://{}{}".format, st.sampled_from(["http", "HTTPS", "x"]), st.sampled_from(["a", "b", "[::1]"]), latin
        ),
        st.lists(tokens, max_size=6).map("".join),
    )
    hosts = st.sampled_from(["a", "a:80", "A:443", "b:8080", "[::1]", "[::1]:80", ""])
    given(origins, hosts, st.booleans(), st.lists(st.sampled_from(["http://b", "null", "*"]), max_size=2))(
        bounded(try_origin)
    )()


if __name__ == "__main__":
    fuzz(int(sys.argv[1]) if len(sys.argv) > 1 else 20000)
