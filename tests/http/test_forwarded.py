"""`pants.http._forwarded`: what proxies say about the client is believed (manual: "xheaders"), and nothing else is."""

from __future__ import annotations

import ipaddress
import time
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pants.http._forwarded import KNOWN, Client, ForwardedRules
from pants.http.utils import HTTPHeaders

PEER = "10.0.0.9"
TRUSTED = ["10.0.0.0/8", "2001:db8:ffff::/48"]

Fields = list[tuple[str, str]]


def ask(
    fields: Fields, xheaders: Any = True, trusted_proxies: Any = None, peer: str = PEER, scheme: str = "http"
) -> Client:
    return ForwardedRules(xheaders, trusted_proxies).apply(HTTPHeaders(fields), peer, scheme, "own:80")


def find_ip(*fields: tuple[str, str], trusted_proxies: Any = None) -> str:
    return ask(list(fields), trusted_proxies=trusted_proxies).ip


# --- Who is believed ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "proxies, peer, expected",
    [
        *((None, "1.2.3.4", True), (None, "", True), (None, "::1", True)),
        *(([], "1.2.3.4", False), ([], "", False), ([], "127.0.0.1", False)),
        *((["1.2.3.4"], "1.2.3.4", True), (["1.2.3.4"], "1.2.3.5", False), (["1.2.3.4"], "", False)),
        *((["10.0.0.0/8", "::1"], "10.1.2.3", True), (["10.0.0.0/8", "::1"], "11.1.2.3", False)),
        *((["10.0.0.0/8", "::1"], "::1", True), (["10.0.0.0/8", "::1"], "::2", False)),
        *((["10.0.0.0/8"], "::ffff:10.0.0.1", True), (["10.0.0.0/8"], "::ffff:a00:1", True)),  # RFC 4291 §2.5.5.2
        *((["10.0.0.0/8"], "::ffff:11.0.0.1", False), (["10.0.0.0/8"], "::10.0.0.1", False)),
        *((["::ffff:10.0.0.0/104"], "10.0.0.1", True), (["::ffff:10.0.0.1"], "::ffff:10.0.0.1", True)),
        *((["::ffff:10.0.0.0/104"], "11.0.0.1", False), (["::/0"], "10.0.0.1", False), (["::/0"], "2001::1", True)),
        *((["fe80::/10"], "fe80::1%eth0", True), (["0.0.0.0/0"], "1.2.3.4", True), (["0.0.0.0/0"], "", False)),
        *((["unix"], "", True), (["unix"], "1.2.3.4", False), (["unix", "1.2.3.4"], "1.2.3.4", True)),
        *((["1.2.3.4"], "not an address", False), (["unix"], "unix", False)),
        ([ipaddress.ip_address("1.2.3.4"), ipaddress.ip_network("::/64")], "1.2.3.4", True),
        ([ipaddress.ip_address("1.2.3.4"), ipaddress.ip_network("::/64")], "::5", True),
    ],
)
def test_whom_it_trusts(proxies: Any, peer: str, expected: bool) -> None:
    rules = ForwardedRules(True, proxies)
    assert rules.trusts(peer) is expected
    assert rules.trusts(peer) is expected
    client = rules.apply(HTTPHeaders({"X-Real-IP": "9.9.9.9", "X-Forwarded-Proto": "https"}), peer, "http", "a")
    assert client == (Client("9.9.9.9", "https", "a") if expected else Client(peer, "http", "a"))


def test_what_is_remembered_of_peers_is_bounded() -> None:
    rules = ForwardedRules(True, ["10.0.0.0/8"])
    for number in range(3000):
        rules.trusts(str(ipaddress.ip_address(number)))
    remembered: Any = rules._is_trusted
    assert remembered.cache_info().currsize <= 1024


@pytest.mark.parametrize("name", KNOWN)
def test_only_the_named_headers_are_honoured(name: str) -> None:
    fields = {
        "Forwarded": "for=1.1.1.1;proto=https;host=f",
        "X-Forwarded-For": "2.2.2.2",
        "X-Real-IP": "3.3.3.3",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": "x",
    }
    expected = {
        "Forwarded": Client("1.1.1.1", "https", "f"),
        "X-Forwarded-For": Client("2.2.2.2", "http", "own:80"),
        "X-Real-IP": Client("3.3.3.3", "http", "own:80"),
        "X-Forwarded-Proto": Client(PEER, "https", "own:80"),
        "X-Forwarded-Host": Client(PEER, "http", "x"),
    }[name]
    assert ask(list(fields.items()), [name]) == ask(list(fields.items()), {name.upper()}) == expected
    assert ask(list(fields.items()), False) == ask(list(fields.items()), []) == Client(PEER, "http", "own:80")


@pytest.mark.parametrize(
    "arguments, error, match",
    [
        ((["X-Client-IP"],), ValueError, "X-Real-IP, .*not 'X-Client-IP'"),
        (([b"X-Real-IP"],), ValueError, "not b'X-Real-IP'"),
        (("X-Real-IP",), TypeError, r"\['X-Real-IP'\]"),
        ((True, "127.0.0.1"), TypeError, r"\['127.0.0.1'\]"),
        ((True, ["localhost"]), ValueError, "not 'localhost'"),
        ((True, ["10.0.0.1/8"]), ValueError, "host bits"),
        ((True, ["10.0.0.0/33"]), ValueError, "10.0.0.0/33"),
        ((True, [5]), ValueError, "not 5"),
    ],
)
def test_what_cannot_be_asked_for(arguments: tuple[Any, ...], error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        ForwardedRules(*arguments)


# --- The address --------------------------------------------------------------------------------------------------

ADDRESSES = [
    *(("1.2.3.4", "1.2.3.4"), (" 1.2.3.4\t", "1.2.3.4"), ("1.2.3.4:80", "1.2.3.4"), ("[2001:db8::1]", "2001:db8::1")),
    *(("[2001:DB8:0::1]:4711", "2001:db8::1"), ("::ffff:1.2.3.4", "1.2.3.4"), ("[::ffff:1.2.3.4]:5", "1.2.3.4")),
    *(("1.2.3.4:_port", "1.2.3.4"), ("[::1]:_a.b-c_1", "::1"), ("255.255.255.255:65535", "255.255.255.255")),
]
NO_ADDRESSES = [
    *("", "unknown", "_hidden", "_SEVKISEK", "Unknown:80", "localhost", "1.2.3", "1.2.3.256", "01.2.3.4", "1.2.3.4.5"),
    *("1.2.3.4:", "1.2.3.4:123456", "1.2.3.4:x", "[1.2.3.4]:80x", "[::1", "::1]", "[::1]:", "[]", "::1%eth0", "[::g]"),
    *("1.2.3.4 5.6.7.8", "1.2.3.4\x00", "１.2.3.4", "1.2.3.4;", "0x1.2.3.4", "1" * 1000, "a" * 100_000),
    *("1:2:3:4:5:6:7:8:9", ":::", "-1.2.3.4", "1.2.3.4/8", "for=1.2.3.4", "2130706433", "\xff", "<script>", "unix:"),
    "1.2.3.4:_" + "a" * 200,
]


@pytest.mark.parametrize("name", ["X-Real-IP", "X-Forwarded-For"])
@pytest.mark.parametrize("text, expected", [*ADDRESSES, ("2001:db8::1", "2001:db8::1")])
def test_addresses(name: str, text: str, expected: str) -> None:
    assert find_ip((name, text)) == expected


@pytest.mark.parametrize("name", ["X-Real-IP", "X-Forwarded-For"])
@pytest.mark.parametrize("text", NO_ADDRESSES, ids=lambda text: text[:20])
def test_what_is_no_address(name: str, text: str) -> None:
    """RFC 7239 §6.1 to §6.3: unknown and obfuscated identifiers tell nothing; neither does garbage."""
    assert find_ip((name, text)) == PEER
    assert find_ip((name, f"1.1.1.1, {text}")) == PEER, "what the client may have sent is not next in line"
    assert find_ip((name, f"{text}, 1.1.1.1")) == "1.1.1.1", "what is before it does no harm"


@pytest.mark.parametrize("text, expected", ADDRESSES)
def test_addresses_in_forwarded(text: str, expected: str) -> None:
    """RFC 7239 §4: what is no token is quoted."""
    assert find_ip(("Forwarded", f'for="{text.strip()}"')) == expected


@pytest.mark.parametrize("text", NO_ADDRESSES, ids=lambda text: text[:20])
def test_what_is_no_address_in_forwarded(text: str) -> None:
    assert find_ip(("Forwarded", f'for="{text}"')) == PEER
    assert find_ip(("Forwarded", f'for=1.1.1.1, for="{text}"')) == PEER
    assert find_ip(("Forwarded", f'for="{text}", for=1.1.1.1')) == "1.1.1.1"


@pytest.mark.parametrize(
    "values, trusted, expected",
    [
        (["6.6.6.6, 1.2.3.4"], None, "1.2.3.4"),  # one proxy, which has added the last
        (["6.6.6.6", "1.2.3.4"], None, "1.2.3.4"),
        (["1.2.3.4"], TRUSTED, "1.2.3.4"),
        (["6.6.6.6, 1.2.3.4, 10.0.0.1"], TRUSTED, "1.2.3.4"),
        (["6.6.6.6,1.2.3.4,10.0.0.1,10.0.0.2"], TRUSTED, "1.2.3.4"),
        (["6.6.6.6", "1.2.3.4, 10.0.0.1", "10.0.0.2"], TRUSTED, "1.2.3.4"),
        (["6.6.6.6, 1.2.3.4, ::ffff:10.0.0.1"], TRUSTED, "1.2.3.4"),
        (["6.6.6.6, 1.2.3.4, [2001:db8:ffff::1]:443"], TRUSTED, "1.2.3.4"),
        (["10.0.0.3, 10.0.0.1"], TRUSTED, "10.0.0.3"),  # the client is one of ours itself
        (["6.6.6.6, unknown, 10.0.0.1"], TRUSTED, PEER),
        (["6.6.6.6, garbage, 10.0.0.1"], TRUSTED, PEER),
        (["garbage, 1.2.3.4, 10.0.0.1"], TRUSTED, "1.2.3.4"),
        ([",".join(["1.2.3.4"] + ["10.0.0.1"] * 31)], TRUSTED, "1.2.3.4"),
        ([",".join(["1.2.3.4"] + ["10.0.0.1"] * 32)], TRUSTED, PEER),  # more proxies than there are
        (["1.2.3.4"] + ["10.0.0.1"] * 32, TRUSTED, PEER),
        (["1.2.3.4", *["10.0.0.1"] * 31], TRUSTED, "1.2.3.4"),
    ],
)
@pytest.mark.parametrize("name", ["X-Forwarded-For", "Forwarded"])
def test_the_client_is_the_first_from_the_right_that_is_no_proxy(
    name: str, values: list[str], trusted: Any, expected: str
) -> None:
    if name == "Forwarded":
        values = [",".join(f'for="{entry.strip()}"' for entry in value.split(",")) for value in values]
    assert find_ip(*((name, value) for value in values), trusted_proxies=trusted) == expected


@pytest.mark.parametrize("values", [["6.6.6.6, , 10.0.0.1"], ["6.6.6.6,"], ["6.6.6.6", ""], [" "]])
def test_an_empty_entry_tells_nothing(values: list[str]) -> None:
    """It stands for a client that the proxy did not know; what is before it may be the client's own."""
    assert find_ip(*(("X-Forwarded-For", value) for value in values), trusted_proxies=TRUSTED) == PEER


def test_x_real_ip_has_one_value() -> None:
    """Of several, the last: a proxy that adds its own puts it there."""
    assert find_ip(("X-Real-IP", "6.6.6.6"), ("X-Real-IP", "1.2.3.4")) == "1.2.3.4"
    assert find_ip(("X-Real-IP", "10.0.0.1"), trusted_proxies=TRUSTED) == "10.0.0.1"


@pytest.mark.parametrize(
    "present, expected",
    [
        (["X-Forwarded-For", "X-Real-IP", "Forwarded"], "2.2.2.2"),
        (["Forwarded", "X-Forwarded-For"], "2.2.2.2"),
        (["Forwarded", "X-Real-IP"], "3.3.3.3"),
        (["Forwarded"], "1.1.1.1"),
    ],
)
def test_which_header_wins(present: list[str], expected: str) -> None:
    """That which most proxies write, so that a client that sends another gains nothing."""
    fields = {"Forwarded": "for=1.1.1.1", "X-Forwarded-For": "2.2.2.2", "X-Real-IP": "3.3.3.3"}
    assert find_ip(*((name, fields[name]) for name in present)) == expected


@pytest.mark.parametrize("name", ["X-Forwarded-For", "X-Real-IP"])
def test_a_malformed_header_is_not_replaced_by_one_that_is_easier_to_forge(name: str) -> None:
    assert find_ip((name, "garbage"), ("Forwarded", "for=1.1.1.1")) == PEER


# --- The scheme and the host --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text, expected",
    [
        *(("https", "https"), ("HTTPS", "https"), (" https ", "https"), ("wss", "https"), ("http, https", "https")),
        *(("http", "http"), ("ws", "http"), ("https, http", "http")),
        *(("", None), ("ftp", None), ("https,", None), ("https x", None), ("https\x00", None), ("javascript", None)),
    ],
)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_schemes(text: str, expected: str | None, scheme: str) -> None:
    """Manual: X-Forwarded-Proto may override it. What is none of HTTP's schemes does not."""
    assert ask([("X-Forwarded-Proto", text)], scheme=scheme).scheme == (expected or scheme)
    assert ask([("X-Forwarded-Proto", "x"), ("x-forwarded-proto", text)], scheme=scheme).scheme == (expected or scheme)
    if "," not in text:
        assert ask([("Forwarded", f'for=_a;proto="{text.strip()}"')], scheme=scheme).scheme == (expected or scheme)


@pytest.mark.parametrize(
    "text, expected",
    [
        *(("example.com", "example.com"), ("Example.com:8080", "Example.com:8080"), ("[::1]:80", "[::1]:80")),
        *(("a, example.com", "example.com"), (" example.com ", "example.com"), ("1.2.3.4", "1.2.3.4"), ("a:", "a:")),
        *(("a" * 255 + ":65535", "a" * 255 + ":65535"), ("%41", "%41"), ("a_b", "a_b")),
        *(
            ("", None),
            ("a/b", None),
            ("user@a", None),
            ("a b", None),
            ("a\r\nb", None),
            ("\xe4", None),
            ("\u20ac", None),
        ),
        *((":80", None), ("a:b", None), ("a" * 262, None), ("a,", None), ("a?b", None), ('"a"', None), ("[::1", None)),
    ],
)
def test_hosts(text: str, expected: str | None) -> None:
    """RFC 9110 §7.2: what may stand in Host."""
    assert ask([("X-Forwarded-Host", text)]).host == (expected or "own:80")
    assert ask([("X-Forwarded-Host", "x"), ("x-forwarded-host", text)]).host == (expected or "own:80")
    if "," not in text and '"' not in text:
        assert ask([("Forwarded", f'host="{text.strip()}"')]).host == (expected or "own:80")


def test_a_host_that_is_not_known() -> None:
    rules = ForwardedRules(True)
    assert rules.apply(HTTPHeaders(), PEER, "http", None) == Client(PEER, "http", None)
    assert rules.apply(HTTPHeaders({"X-Forwarded-Host": "a"}), "", "http", None) == Client("", "http", "a")


@pytest.mark.parametrize(
    "value, expected",
    [
        ("for=1.2.3.4;proto=https;host=a, for=10.0.0.1;proto=http;host=b", Client("1.2.3.4", "https", "a")),
        (
            "for=6.6.6.6;proto=https;host=x, for=1.2.3.4, for=10.0.0.1;proto=https;host=b",
            Client("1.2.3.4", "http", "own:80"),
        ),
        ("for=6.6.6.6, for=_hidden;proto=https;host=a, for=10.0.0.1", Client(PEER, "https", "a")),
        ("for=6.6.6.6, proto=https, for=10.0.0.1", Client(PEER, "https", "own:80")),
        ("for=6.6.6.6;proto=https;host=a, ???, for=10.0.0.1;proto=https", Client(PEER, "http", "own:80")),
    ],
)
def test_scheme_and_host_of_forwarded_are_those_of_the_entry_that_tells_the_address(
    value: str, expected: Client
) -> None:
    """RFC 7239 §4: the parameters of an element are about one and the same request."""
    assert ask([("Forwarded", value)], trusted_proxies=TRUSTED) == expected


def test_the_headers_of_one_value_come_before_forwarded() -> None:
    fields = [("Forwarded", "for=1.2.3.4;proto=https;host=a"), ("X-Forwarded-Proto", "http"), ("X-Forwarded-Host", "b")]
    assert ask(fields) == Client("1.2.3.4", "http", "b")
    assert ask([fields[0], ("X-Forwarded-Proto", ""), ("X-Forwarded-Host", "")]) == Client("1.2.3.4", "http", "own:80")


# --- The grammar of Forwarded -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value, expected",
    [
        # RFC 7239 §4, the examples
        ('for="_gazonk"', Client(PEER, "http", "own:80")),
        ('For="[2001:db8:cafe::17]:4711"', Client("2001:db8:cafe::17", "http", "own:80")),
        ("for=192.0.2.60;proto=http;by=203.0.113.43", Client("192.0.2.60", "http", "own:80")),
        ("for=192.0.2.43, for=198.51.100.17", Client("198.51.100.17", "http", "own:80")),
        # §7.5
        ("for=_mdn;by=_abc;host=a;proto=https", Client(PEER, "https", "a")),
        # names are case-insensitive; extensions are allowed (§5.5)
        ("FOR=1.2.3.4;PROTO=HTTPS;Host=A;secret=x", Client("1.2.3.4", "https", "A")),
        # quoted-string (RFC 9110 §5.6.4)
        ('for="1.2.\\3.4"', Client("1.2.3.4", "http", "own:80")),
        ('x="a, for=6.6.6.6;proto=https";for=1.2.3.4', Client("1.2.3.4", "http", "own:80")),
        ('for=1.2.3.4;x="a\\", for=6.6.6.6"', Client("1.2.3.4", "http", "own:80")),
        ('for=1.2.3.4;x="\\", for=6.6.6.6;y=\\""', Client("1.2.3.4", "http", "own:80")),
        ('for=1.2.3.4;x="\\\\"', Client("1.2.3.4", "http", "own:80")),
        ('for=1.2.3.4;x=""', Client("1.2.3.4", "http", "own:80")),
        # empty pairs and elements, blanks around (RFC 7239 §4; RFC 9110 §5.6.1.2)
        (" , for=1.2.3.4;;proto=https; ,\t,, ", Client("1.2.3.4", "https", "own:80")),
        ("for=1.2.3.4 ; proto=https", Client("1.2.3.4", "https", "own:80")),
        (", ;,", Client(PEER, "http", "own:80")),
        ("", Client(PEER, "http", "own:80")),
    ],
)
def test_forwarded(value: str, expected: Client) -> None:
    assert ask([("Forwarded", value)]) == expected


@pytest.mark.parametrize(
    "value",
    [
        *("for", "for=", "=1.2.3.4", "for =1.2.3.4", "for= 1.2.3.4", "for=1.2.3.4:80", "for=[::1]", "for=::1"),
        *('for="1.2.3.4', 'for=1.2.3.4"', 'for="1.2.3.4\\"', 'for="1.2.3.4"x', 'for=x"1.2.3.4"', 'for="1"."2"'),
        *(
            "for=1.2.3.4;for=1.2.3.4",
            "for=1.2.3.4 proto=https",
            "for=1.2.3.4;proto",
            "for=1.2.3.4;(=a",
            "for='1.2.3.4'",
        ),
        *('for=1.2.3.4;x="\\\\\\"', "for=1.2.3.4;" + ";".join(f"a{number}=b" for number in range(16)), "for=1.2.3.4=5"),
    ],
)
def test_what_is_malformed_in_forwarded(value: str) -> None:
    """RFC 7239 §4; each parameter at most once."""
    assert ask([("Forwarded", value)]) == Client(PEER, "http", "own:80")
    assert ask([("Forwarded", f"for=6.6.6.6, {value}")]) == Client(PEER, "http", "own:80")
    assert find_ip(("Forwarded", f"{value}, for=1.2.3.4")) == "1.2.3.4"


TEXT = st.text(st.sampled_from('";,=\\ \tfor123.x'), max_size=30)
TOKENS = st.text(st.sampled_from("abfor1.-_"), min_size=1, max_size=8)
QUOTED = st.text(st.sampled_from('";,=\\ abfor'), max_size=10)


def quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


@given(TEXT, TOKENS, QUOTED, st.sampled_from([", ", ",", " ,\t,"]))
@example('for="', "x", "", ", ")
@example('for=6.6.6.6, x="\\', "x", '", for=6.6.6.6', ",")
@settings(max_examples=500, deadline=None)
def test_nothing_that_a_client_sends_hides_what_the_proxy_adds(sent: str, name: str, text: str, comma: str) -> None:
    for added in (
        f"for=1.2.3.4;{name}x={quoted(text)};proto=https",
        f"{name}x={quoted(text)};for=1.2.3.4;proto=https",
        f'proto="https";for="1.2.3.4";{name}x={quoted(text)}',
    ):
        for fields in ([("Forwarded", sent + comma + added)], [("Forwarded", sent), ("Forwarded", added)]):
            assert ask(fields) == Client("1.2.3.4", "https", "own:80")


@given(st.lists(st.tuples(st.sampled_from(KNOWN), st.one_of(TEXT, st.text(max_size=20))), max_size=6), st.booleans())
@settings(max_examples=500, deadline=None)
def test_whatever_comes_is_an_address_or_the_peer(fields: Fields, trusting: bool) -> None:
    client = ask(fields, trusted_proxies=None if trusting else TRUSTED)
    if client.ip != PEER:
        assert str(ipaddress.ip_address(client.ip)) == client.ip
    assert client.scheme in ("http", "https")
    assert client.host


@pytest.mark.parametrize(
    "name, value",
    [
        ("Forwarded", "," * 60_000),
        ("Forwarded", ";" * 60_000 + "x"),
        ("Forwarded", "for=10.0.0.1," * 5000),
        ("Forwarded", ";".join(f"a{number}=b" for number in range(6000))),
        ("Forwarded", 'a="' + '\\"' * 30_000),
        ("Forwarded", 'a="' + "\\" * 60_000 + '"'),
        ("Forwarded", '"' * 60_000),
        ("Forwarded", ',a="' * 15_000),
        ("Forwarded", "a" * 60_000),
        ("Forwarded", "a=b " * 15_000),
        ("Forwarded", "a=b" + " " * 60_000 + "c"),
        ("Forwarded", 'for=1.2.3.4;x="' + ',a=b;"' * 10_000),
        ("X-Forwarded-For", ",".join(f"10.0.{number // 256}.{number % 256}" for number in range(6000))),
        ("X-Forwarded-For", "," * 60_000),
        ("X-Forwarded-For", "1" * 60_000),
        ("X-Forwarded-Host", "a" * 60_000),
        ("X-Forwarded-Host", "," * 60_000),
    ],
    ids=lambda text: text[:12],
)
def test_it_takes_no_time(name: str, value: str) -> None:
    """Linear in what a client sends; the worst of 60,000 bytes takes some milliseconds."""
    rules = ForwardedRules(True, TRUSTED)
    headers = HTTPHeaders([(name, value)])
    started = time.process_time()
    rules.apply(headers, PEER, "http", "a")
    assert time.process_time() - started < 0.25
