"""`pants.http._cookies`: what browsers send is read, what is sent is checked, what is signed cannot be altered."""

from __future__ import annotations

import base64
import doctest
import hashlib
import hmac
import importlib.util
import string
import time
from email.utils import parsedate_to_datetime
from enum import Enum
from http.cookies import CookieError, Morsel, SimpleCookie
from pathlib import Path
from typing import Any

import pytest

from pants.http import _cookies
from pants.http._cookies import SecureCookies, cookie_lines, parse_cookies

CONTROLS = [chr(code) for code in [*range(32), 127]]
# Those that Morsel.set() refuses as the name of a cookie.
RESERVED = ["path", "Path", "expires", "comment", "domain", "max-age", "secure", "httponly", "version", "samesite"]
# RFC 6265 §4.1.1: cookie-octet
COOKIE_OCTETS = set(string.ascii_letters + string.digits + string.punctuation) - set('",;\\')
KNOWS_PARTITIONED = "partitioned" in Morsel()


def values(header: str) -> dict[str, str]:
    return {name: morsel.value for name, morsel in parse_cookies(header).items()}


def one_cookie(name: str = "a", coded: Any = "b", **attributes: Any) -> SimpleCookie:
    """A cookie made by hand: past every check of the running Python's SimpleCookie."""
    morsel: Morsel[str] = Morsel()
    for slot, content in (("_key", name), ("_value", ""), ("_coded_value", coded)):
        setattr(morsel, slot, content)
    for attribute, value in attributes.items():
        dict.__setitem__(morsel, attribute.replace("_", "-"), value)
    cookies = SimpleCookie()
    dict.__setitem__(cookies, name, morsel)
    return cookies


# -- received -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "header, expected",
    [
        ("", {}),
        ("a=b", {"a": "b"}),
        ("a=b; c=d", {"a": "b", "c": "d"}),
        ("SID=31d4d96e407aad42; lang=en-US", {"SID": "31d4d96e407aad42", "lang": "en-US"}),  # §3.1
        ("a=b; A=c", {"a": "b", "A": "c"}),
        ("a=", {"a": ""}),
        ("a=b=c==", {"a": "b=c=="}),
        ("__Host-a=b", {"__Host-a": "b"}),
        ("!#$%&'*+-.^_`|~09azAZ=b", {"!#$%&'*+-.^_`|~09azAZ": "b"}),
    ],
)
def test_rfc_6265_4_2_pairs_are_read(header: str, expected: dict[str, str]) -> None:
    cookies = parse_cookies(header)
    assert type(cookies) is SimpleCookie
    assert values(header) == expected
    for name, morsel in cookies.items():
        assert morsel.key == name
        assert not any(morsel.values())  # a Cookie field has no attributes


@pytest.mark.parametrize(
    "header, expected",
    [
        ("a=b;c=d", {"a": "b", "c": "d"}),
        (" \ta = b\t;  c\t=\td ", {"a": "b", "c": "d"}),
        ("a=b c", {"a": "b c"}),
        ("a=b,c=d", {"a": "b,c=d"}),
        ('a={"b": [1]}', {"a": '{"b": [1]}'}),
        ("a=\\", {"a": "\\"}),
        ("a=\xc3\xa9", {"a": "\xc3\xa9"}),
        (";;a=b; ;", {"a": "b"}),
    ],
)
def test_rfc_6265_5_2_what_browsers_send_beyond_the_grammar_is_read(header: str, expected: dict[str, str]) -> None:
    assert values(header) == expected


@pytest.mark.parametrize(
    "bad",
    ["b", "=b", " = b", "a b=c", "a:b=c", 'a"=b', "[a]=b", "\xe9=b", "a\0=b", "x=\0", "x=\r\nc", "x=a\tb", "x=\x7f"],
)
def test_rfc_6265_4_1_1_a_bad_pair_is_skipped_and_no_other(bad: str) -> None:
    assert values(f"first=1; {bad}; last=2") == {"first": "1", "last": "2"}
    assert values(f"{bad};last=2") == {"last": "2"}
    assert values(bad) == {}


@pytest.mark.parametrize(
    "coded",
    [
        *('""', '"b"', '" b "', '"b c"', '"b\\"c"', '"\\\\"', '"\\\\012"', '"\\073\\054"', '"\\351"', '"\\377"'),
        *('"\\400"', '"\\08"', '"\\1"', '"\\x41"', '"b\\"', '"a"b"', '"', 'b"', '"b', "b\\073", 'b"c"', "'b'"),
    ],
)
def test_quoted_values_are_unquoted_as_simplecookie_does(coded: str) -> None:
    assert parse_cookies(f"a={coded}")["a"].value == SimpleCookie().value_decode(coded)[0]
    assert parse_cookies(f"a={coded}")["a"].coded_value == coded


def test_rfc_6265_5_2_a_semicolon_separates_between_quotes_too() -> None:
    assert values('a="b; session=c; d=e"; f=g') == {"a": '"b', "session": "c", "d": 'e"', "f": "g"}


def test_rfc_6265_5_4_of_one_name_the_first_wins() -> None:
    assert values("a=longest path; b=c; a=shorter") == {"a": "longest path", "b": "c"}
    assert values("a=\0; a=b") == {"a": "b"}  # the first is no pair


@pytest.mark.parametrize("name", RESERVED)
def test_a_reserved_name_is_a_cookie_and_no_attribute(name: str) -> None:
    cookies = parse_cookies(f"a=b; {name}=/; c=d")
    assert {key: morsel.value for key, morsel in cookies.items()} == {"a": "b", name: "/", "c": "d"}
    assert cookies["a"] == parse_cookies("a=b")["a"]
    assert cookies[name].copy() == cookies[name]
    assert cookie_lines(cookies, [name]) == f"Set-Cookie: {name}=/\r\n".encode()


def test_rfc_2965_what_began_with_a_dollar_is_a_cookie() -> None:
    assert values('$Version="1"; a=b; $Path="/"') == {"$Version": "1", "a": "b", "$Path": "/"}


def test_a_value_that_recent_pythons_do_not_bear_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some refuse control characters in the value, escaped or not."""

    class Recent(Morsel[str]):
        def __setstate__(self, state: dict[str, str]) -> None:
            if "\n" in state["value"]:
                raise CookieError("Control characters are not allowed in cookies")
            super().__setstate__(state)  # type: ignore[misc]

    monkeypatch.setattr(_cookies, "Morsel", Recent)
    assert values('a=b; c="d\\012e"; f=g') == {"a": "b", "f": "g"}


@pytest.mark.parametrize(
    "header",
    [
        "a=" + '"' * 65536,
        'a="' + "\\" * 65536 + '"',
        'a="' + "\\0" * 32768 + '"',
        'a="' + "\\012" * 16384 + '"',
        'a="' + '\\"' * 32768,
        'a=";' * 16384,
        "=" * 65536,
        "a=" * 32768,
        "a;" * 32768,
        ";" * 65536,
        " ;" * 32768,
        "a" * 65536,
        " " * 65536,
        "a=" + " " * 65536 + "b",
        "a=" + "\t " * 32768 + "\0",
        "a=b;" * 16384,
        "".join(f"{number:x}=;" for number in range(10000)),
    ],
    ids=lambda header: header[:8],
)
def test_any_header_is_read_in_linear_time(header: str) -> None:
    began = time.process_time()
    parse_cookies(header)
    assert time.process_time() - began < 1  # some milliseconds; quadratic would be minutes


# -- sent ---------------------------------------------------------------------------------------------------------


def test_rfc_6265_4_1_cookies_are_sent_one_a_line() -> None:
    cookies = SimpleCookie()
    assert cookie_lines(cookies) == b""
    cookies["b"] = "c"
    cookies["a"] = "b"
    assert cookie_lines(cookies) == b"Set-Cookie: b=c\r\nSet-Cookie: a=b\r\n"


@pytest.mark.parametrize(
    "attribute, value, sent",
    [
        ("path", "/", b"; Path=/"),
        ("domain", "example.org", b"; Domain=example.org"),
        ("max-age", 3600, b"; Max-Age=3600"),
        ("max-age", 0, b"; Max-Age=0"),
        ("max-age", "3600", b"; Max-Age=3600"),
        ("expires", "Wed, 09 Jun 2021 10:18:14 GMT", b"; Expires=Wed, 09 Jun 2021 10:18:14 GMT"),
        ("samesite", "Lax", b"; SameSite=Lax"),
        ("samesite", "None", b"; SameSite=None"),
        ("SameSite", "Strict", b"; SameSite=Strict"),
        ("secure", True, b"; Secure"),
        ("httponly", True, b"; HttpOnly"),
        ("httponly", "yes", b"; HttpOnly"),
        ("secure", False, b""),
        ("httponly", None, b""),
        ("path", "", b""),
        ("version", 1, b"; Version=1"),
        ("comment", "what for", b"; Comment=what for"),
    ],
)
def test_rfc_6265_4_1_1_attributes(attribute: str, value: Any, sent: bytes) -> None:
    cookies = SimpleCookie({"a": "b"})
    cookies["a"][attribute] = value
    assert cookie_lines(cookies) == b"Set-Cookie: a=b" + sent + b"\r\n"


@pytest.mark.skipif(not KNOWS_PARTITIONED, reason="the running Python's Morsel has no such attribute")
def test_partitioned() -> None:
    cookies = SimpleCookie({"a": "b"})
    cookies["a"]["secure"] = cookies["a"]["partitioned"] = True
    assert sorted(cookie_lines(cookies)[:-2].split(b"; ")) == [b"Partitioned", b"Secure", b"Set-Cookie: a=b"]


def test_partitioned_as_later_pythons_have_it() -> None:
    assert cookie_lines(one_cookie(partitioned=True)) == b"Set-Cookie: a=b; Partitioned\r\n"


@pytest.mark.parametrize("seconds", [0, 10, 30 * 24 * 3600, -1000])
def test_expires_as_a_number_is_seconds_from_now(seconds: int) -> None:
    cookies = SimpleCookie({"a": "b"})
    cookies["a"]["expires"] = seconds
    before = int(time.time())
    line = cookie_lines(cookies).decode()
    after = int(time.time())
    assert line.startswith("Set-Cookie: a=b; Expires=")
    date = line.removesuffix("\r\n").partition("Expires=")[2]
    assert date.endswith(" GMT")  # RFC 9110 §5.6.7
    assert before + seconds <= parsedate_to_datetime(date).timestamp() <= after + seconds


@pytest.mark.parametrize("seconds", [10**12, 10**20, 10**400, -(10**20)])
def test_expires_beyond_the_calendar_is_refused(seconds: int) -> None:
    with pytest.raises(ValueError, match=r"'a'.*beyond the calendar"):
        cookie_lines(one_cookie(expires=seconds))


@pytest.mark.parametrize(
    "attribute, value",
    [("expires", 1.5), ("expires", True), ("path", None), ("max_age", True), ("domain", b"example.org")],
)
def test_an_attribute_of_another_type_is_refused(attribute: str, value: Any) -> None:
    with pytest.raises(TypeError, match="of the cookie 'a' is a str or an int"):
        cookie_lines(one_cookie(**{attribute: value}))


@pytest.mark.parametrize("bad", [*CONTROLS, ";", "\x80", "\xe9", "\u20ac", "\u010a"])
@pytest.mark.parametrize("attribute", ["path", "domain", "comment", "expires", "samesite", "version", "max_age"])
def test_rfc_6265_4_1_1_an_attribute_contains_neither_controls_nor_a_semicolon(attribute: str, bad: str) -> None:
    for value in (bad, f"x{bad}y", f"{bad}\nSet-Cookie: c=d"):
        with pytest.raises(ValueError, match="of the cookie 'a' cannot contain"):
            cookie_lines(one_cookie(**{attribute: value}))


@pytest.mark.parametrize("bad", [*CONTROLS, ";", "\u20ac", "\u010a\u010d", "\ud800"])
def test_a_coded_value_contains_neither_controls_nor_a_semicolon(bad: str) -> None:
    for coded in (bad, f"x{bad}y", f'"{bad}"'):
        with pytest.raises(ValueError, match="the value of the cookie 'a' cannot contain"):
            cookie_lines(one_cookie(coded=coded))


@pytest.mark.parametrize("name", ["", "a b", "a=b", "a;b", "a:b", "a\r\nX", "a\0", "\xe9", "\u20ac", '"a"', "a,b"])
def test_rfc_6265_4_1_1_a_name_is_a_token(name: str) -> None:
    with pytest.raises(ValueError, match=r"token.*not "):
        cookie_lines(one_cookie(name))


@pytest.mark.parametrize("attribute", ["a\r\nX", "a;b", "a\0", "\xe9"])
def test_an_attribute_that_was_smuggled_in_is_refused(attribute: str) -> None:
    cookies = one_cookie()
    dict.__setitem__(cookies["a"], attribute, "x")
    with pytest.raises(ValueError, match="cookie 'a' cannot contain"):
        cookie_lines(cookies)


def test_nothing_of_a_cookie_can_say_one_thing_and_be_another() -> None:
    """As it is checked so it is sent: a str that formats itself as something else does not come to it."""

    class Sly(str):
        __slots__ = ()

        def __str__(self) -> str:
            return "x\r\nSet-Cookie: c=d"

        def __format__(self, spec: str) -> str:
            return str(self)

        def __add__(self, other: str) -> str:
            return str(self)

        __radd__ = __add__

    class SameSite(str, Enum):  # noqa: UP042 - StrEnum formats itself as its value
        LAX = "Lax"

    assert cookie_lines(one_cookie("a", Sly("b"), path=Sly("/"), domain=Sly(""))) == b"Set-Cookie: a=b; Path=/\r\n"
    assert cookie_lines(one_cookie(samesite=SameSite.LAX)) == b"Set-Cookie: a=b; SameSite=Lax\r\n"
    assert cookie_lines(one_cookie(Sly("a"))) == b"Set-Cookie: a=b\r\n"


@pytest.mark.parametrize("value", ["a;b", "a,b", 'a"b\\', " a ", "=", "\xe9", "\x80\xff", ""])
def test_values_are_sent_as_simplecookie_codes_them_and_come_back(value: str) -> None:
    cookies = SimpleCookie()
    cookies["a"] = value
    line = cookie_lines(cookies)
    assert line == f"Set-Cookie: a={cookies['a'].coded_value}\r\n".encode("ascii")
    assert values(line.decode().removeprefix("Set-Cookie: ").removesuffix("\r\n")) == {"a": value}


def test_a_value_that_no_byte_can_carry_is_refused() -> None:
    cookies = SimpleCookie({"a": "\u20ac"})
    with pytest.raises(ValueError, match=r"'a'.*urllib\.parse\.quote"):
        cookie_lines(cookies)


def test_bytes_coded_by_hand_are_sent_as_they_are() -> None:
    assert cookie_lines(one_cookie(coded="\xc3\xa9")) == b"Set-Cookie: a=\xc3\xa9\r\n"


@pytest.mark.parametrize("coded", [None, b"b", 5])
def test_a_coded_value_of_another_type_is_refused(coded: Any) -> None:
    with pytest.raises(TypeError, match="cookie 'a'"):
        cookie_lines(one_cookie(coded=coded))


def test_a_morsel_that_was_never_set_is_refused() -> None:
    cookies = SimpleCookie()
    cookies["a"] = Morsel()
    with pytest.raises(TypeError, match="the name of a cookie is a str, not None"):
        cookie_lines(cookies)


def test_what_update_put_there_is_refused() -> None:
    cookies = SimpleCookie()
    cookies.update({"a": "b"})  # type: ignore[dict-item]
    with pytest.raises(TypeError, match=r"cookies_out\['a'\] = value"):
        cookie_lines(cookies)


def test_keys_name_the_cookies_that_are_sent() -> None:
    cookies = SimpleCookie({"a": "1", "b": "2", "c": "3"})
    assert cookie_lines(cookies, ["c", "a"]) == b"Set-Cookie: c=3\r\nSet-Cookie: a=1\r\n"
    assert cookie_lines(cookies, iter(("b",))) == b"Set-Cookie: b=2\r\n"
    assert cookie_lines(cookies, []) == b""


def test_rfc_6265_4_1_1_a_cookie_is_sent_once() -> None:
    assert cookie_lines(SimpleCookie({"a": "1"}), ["a", "a"]) == b"Set-Cookie: a=1\r\n"


def test_an_unknown_key_is_refused() -> None:
    with pytest.raises(KeyError, match="there is no cookie 'b' to send"):
        cookie_lines(SimpleCookie({"a": "1"}), ["a", "b"])


def test_a_str_is_no_list_of_keys() -> None:
    with pytest.raises(TypeError, match=r"\['ab'\]"):
        cookie_lines(SimpleCookie({"a": "1", "b": "2"}), "ab")


# -- signed -------------------------------------------------------------------------------------------------------

VALUES = [
    *("", "text", "\xe9\u20ac\U0001f36a", "1", "\0\r\n;", b"", b"bytes", bytes(range(256)), {}, [], {"id": 7}),
    *([1, 2.5, None, True, "\u20ac"], {"a": {"b": [{}]}}, "a.b", '{"id": 7}', b'{"id": 7}'),
]


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_a_value_comes_back_with_its_type(value: Any) -> None:
    cookies = SecureCookies("secret")
    token = cookies.sign("a", value, expires=10, now=1000)
    found = cookies.unsign("a", token, now=1000)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_rfc_6265_4_1_1_a_token_needs_no_quotes(value: Any) -> None:
    token = SecureCookies("secret").sign("a", value, expires=10, now=1000)
    assert set(token) <= COOKIE_OCTETS
    assert SimpleCookie().value_encode(token) == (token, token)
    cookies = SimpleCookie({"a": token})
    assert cookie_lines(cookies) == f"Set-Cookie: a={token}\r\n".encode()
    assert values(f"a={token}") == {"a": token}


def test_a_tuple_comes_back_as_a_list() -> None:
    cookies = SecureCookies("secret")
    assert cookies.unsign("a", cookies.sign("a", (1, (2,)), 10, 0), 0) == [1, [2]]


@pytest.mark.parametrize("value", [None, 1, 1.5, True, bytearray(b"a"), {1}, object()])
def test_other_types_are_refused(value: Any) -> None:
    with pytest.raises(TypeError, match=f"str, bytes, dict, list or tuple, not {type(value).__name__}"):
        SecureCookies("secret").sign("a", value, 10, 0)


def nested() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


def deep() -> list[Any]:
    value: list[Any] = []
    for _ in range(200000):
        value = [value]
    return value


@pytest.mark.parametrize(
    "make",
    [
        *(lambda: [object()], lambda: {"a": b"b"}, lambda: {(1,): 2}, lambda: ({1},), lambda: [float("nan")]),
        *(lambda: [float("inf")], lambda: ["\ud800"], nested, deep),
    ],
)
def test_what_is_not_serialisable_is_refused(make: Any) -> None:
    with pytest.raises(TypeError, match="has to be serialisable as JSON"):
        SecureCookies("secret").sign("a", make(), 10, 0)


def test_half_of_a_surrogate_pair_is_refused() -> None:
    with pytest.raises(ValueError, match="surrogates not allowed"):
        SecureCookies("secret").sign("a", "\ud800", 10, 0)


@pytest.mark.parametrize("name", ["", "a b", "a;b", "\xe9", "\ud800"])
def test_a_name_that_is_no_token_is_not_signed(name: str) -> None:
    cookies = SecureCookies("secret")
    with pytest.raises(ValueError, match="token"):
        cookies.sign(name, "b", 10, 0)
    assert cookies.unsign(name, cookies.sign("a", "b", 10, 0), 0) is None


def test_a_token_is_good_until_it_ends() -> None:
    cookies = SecureCookies("secret")
    token = cookies.sign("a", "b", expires=1.5, now=1000.25)
    assert cookies.unsign("a", token, now=1000.25) == "b"
    assert cookies.unsign("a", token, now=1001.74) == "b"
    assert cookies.unsign("a", token, now=1001.75) is None
    assert cookies.unsign("a", token, now=1e12) is None


@pytest.mark.parametrize("expires", [0, -1, -1e9])
def test_what_has_ended_before_is_signed_and_not_read(expires: float) -> None:
    cookies = SecureCookies("secret")
    assert cookies.unsign("a", cookies.sign("a", "b", expires, now=1000), now=1000) is None


@pytest.mark.parametrize("expires", [float("inf"), float("nan"), 10**400])
def test_expires_is_finite(expires: float) -> None:
    with pytest.raises(ValueError, match="expires is a finite number"):
        SecureCookies("secret").sign("a", "b", expires, 0)


@pytest.mark.parametrize("expires", [None, "10", True])
def test_expires_is_a_number(expires: Any) -> None:
    with pytest.raises(TypeError, match="expires is a number"):
        SecureCookies("secret").sign("a", "b", expires, 0)


def test_a_token_is_good_for_its_name_only() -> None:
    cookies = SecureCookies("secret")
    token = cookies.sign("a", "b", 10, 0)
    for name in ("b", "A", "", "a.", ".a", "aa", "a\0", "Yg.a", "\xe9"):
        assert cookies.unsign(name, token, 0) is None


def test_no_character_of_a_token_can_be_altered() -> None:
    cookies = SecureCookies("secret")
    token = cookies.sign("a", {"id": 7}, 10, 0)
    for at in range(len(token) + 1):
        assert cookies.unsign("a", token[:at] + token[at + 1 :], 0) is None or at == len(token)
        for character in string.printable + "\0\xe9\u0661\ud800":
            assert cookies.unsign("a", token[:at] + character + token[at:], 0) is None
            altered = token[:at] + character + token[at + 1 :]
            assert altered == token or cookies.unsign("a", altered, 0) is None


def test_no_part_of_a_token_fits_another() -> None:
    cookies = SecureCookies("secret")
    values: list[Any] = ["{}", b"{}", {}, "[]"]
    parts = [cookies.sign("a", value, expires, 0).split(".") for value in values for expires in (10, 100)]
    for one in parts:
        for other in parts:
            for at in range(4):
                mixed = [*one[:at], other[at], *one[at + 1 :]]
                assert mixed == one or cookies.unsign("a", ".".join(mixed), 0) is None


@pytest.mark.parametrize(
    "token",
    [
        *("", ".", "...", "s...", "s.1..", "s.1.." + "A" * 43, "x.1.." + "A" * 43, "s.\u0661.." + "A" * 43),
        *("s." + "9" * 5000 + ".." + "A" * 43, "s.1.!." + "A" * 43, "\ud800", "s.1.." + "A" * 42 + "=", "\0" * 70),
        *("s.1.." + "A" * 43 + "\n", "s.1.A." + "A" * 43, "s.-1.." + "A" * 43, "b.." + "A" * 44, "." * 65536),
        *("s.1." + "A" * 65536, "s.1." + "A" * 65536 + "." + "A" * 43, "A" * 65536, "s." * 32768),
    ],
    ids=lambda token: repr(token[:20]),
)
def test_malformed_tokens_are_none(token: str) -> None:
    began = time.process_time()
    assert SecureCookies("secret").unsign("a", token, 0) is None
    assert time.process_time() - began < 1


def signed_by_hand(secret: bytes, kind: str, end: int, data: bytes | str, name: str) -> str:
    """The token as it is made: HMAC-SHA256 over the type, the end, the value and the name."""
    payload = data if isinstance(data, str) else base64.urlsafe_b64encode(data).rstrip(b"=").decode()
    key = hashlib.sha256(b"pants.http.SecureCookies" + b"signer" + secret).digest()
    mac = hmac.new(key, f"{kind}.{end}.{payload}.{name}".encode(), hashlib.sha256).digest()
    return f"{kind}.{end}.{payload}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"


def test_the_format_stays_as_it_is() -> None:
    """Else every client would lose its cookies with the next release."""
    cookies = SecureCookies("secret")
    assert cookies.sign("a", "b\xe9", 10, 1000) == signed_by_hand(b"secret", "s", 1010000, b"b\xc3\xa9", "a")
    assert cookies.sign("a", b"b\xe9", 10, 1000) == signed_by_hand(b"secret", "b", 1010000, b"b\xe9", "a")
    assert cookies.sign("a", {"b": "\xe9"}, 10, 1000) == signed_by_hand(
        b"secret", "j", 1010000, b'{"b":"\xc3\xa9"}', "a"
    )


@pytest.mark.parametrize(
    "kind, data", [("s", b"\xff"), ("j", b"{"), ("j", b"\xff"), ("j", b"[" * 200000), ("s", "A")], ids=repr
)
def test_what_was_signed_but_cannot_be_read_is_none(kind: str, data: bytes | str) -> None:
    assert SecureCookies("secret").unsign("a", signed_by_hand(b"secret", kind, 1000, data, "a"), 0) is None


@pytest.mark.parametrize("kind", [list, tuple])
def test_the_first_secret_signs_and_all_verify(kind: Any) -> None:
    old, new = SecureCookies("old"), SecureCookies(b"new")
    both = SecureCookies(kind([b"new", "old"]))
    assert both.unsign("a", old.sign("a", "b", 10, 0), 0) == "b"
    assert both.unsign("a", new.sign("a", "b", 10, 0), 0) == "b"
    token = both.sign("a", "b", 10, 0)
    assert new.unsign("a", token, 0) == "b"
    assert old.unsign("a", token, 0) is None


@pytest.mark.parametrize(
    "one, other",
    [
        ("secret", "secre"),
        (b"a", b"a\0"),  # RFC 2104 §2 fills keys with NUL
        (b"a" * 100, hashlib.sha256(b"a" * 100).digest()),  # and hashes those that are longer than a block
        (["a", "b"], "ab"),
        (["a", "b"], "b"),
    ],
)
def test_no_secret_stands_for_another(one: Any, other: Any) -> None:
    token = SecureCookies(one).sign("a", "b", 10, 0)
    assert SecureCookies(other).unsign("a", token, 0) is None


def test_a_str_and_its_utf_8_are_one_secret() -> None:
    token = SecureCookies("\xe9").sign("a", "b", 10, 0)
    assert SecureCookies("\xe9".encode()).unsign("a", token, 0) == "b"


@pytest.mark.parametrize("secret", ["", b"", [], (), [""], ["a", ""], (b"",)])
def test_an_empty_secret_is_refused(secret: Any) -> None:
    with pytest.raises(ValueError, match="the secret is empty"):
        SecureCookies(secret)


@pytest.mark.parametrize("secret", [None, 5, True, [None], ["a", 5], {"a"}, {"a": "b"}, bytearray(b"a"), [["a"]]])
def test_a_secret_of_another_type_is_refused_and_not_shown(secret: Any) -> None:
    with pytest.raises(TypeError, match=r"the secret is a str or bytes, or a list of those$"):
        SecureCookies(secret)


def test_the_secret_is_not_shown() -> None:
    assert "secret" not in repr(SecureCookies("secret"))


# -- the documentation, the fuzz target ---------------------------------------------------------------------------


def test_the_examples() -> None:
    results = doctest.testmod(_cookies)
    assert results.attempted > 0
    assert results.failed == 0


def test_fuzz_target() -> None:
    path = Path(__file__).parents[2] / "fuzz" / "fuzz_cookies.py"
    spec = importlib.util.spec_from_file_location("fuzz_cookies", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.fuzz(100)
