"""Fuzz target for `pants.http._cookies`: any Cookie field, any cookie to send, any change of a signed one.

    python fuzz/fuzz_cookies.py [EXAMPLES]

What must hold: a field gives what `expected` finds in it, a character at a time; a cookie is sent as one line that says
what it was made of, or is refused with a ValueError; what SimpleCookie codes comes back; and a signed value comes back
from its own token only.
"""

from __future__ import annotations

import string
import sys
from http.cookies import CookieError, Morsel, SimpleCookie
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pants.http._cookies import SecureCookies, cookie_lines, parse_cookies

TOKEN = string.ascii_letters + string.digits + "!#$%&'*+-.^_`|~"  # RFC 9110 §5.6.2
OCTAL = [f"{number:03o}" for number in range(256)]
CONTROLS = [chr(code) for code in [*range(32), 127]]
COOKIE_VALUE = TOKEN + "()/:<=>?@[]{}"  # RFC 6265 §4.1.1: what needs no quotes

pieces = ["a", "b", "path", "$Version", "=", ";", "; ", " ", "\t", '"', '"', "\\", "012", "377", "4", "\xe9", ",", "\0"]
fields = st.lists(st.sampled_from(pieces), max_size=40).map("".join)
texts = st.one_of(st.text(max_size=8), fields)
attributes = st.dictionaries(
    st.sampled_from(["path", "domain", "samesite", "expires", "max-age", "secure", "httponly", "comment"]),
    st.one_of(texts, st.sampled_from(["/", "Lax", "", True, False]), st.integers(-(10**9), 10**9), st.integers()),
    max_size=4,
)
json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(), inner, max_size=3)),
    max_leaves=5,
)
values = st.one_of(st.text(), st.binary(), st.lists(json_values), st.dictionaries(st.text(), json_values))
names = st.text(TOKEN, min_size=1, max_size=8)


def unquoted(coded: str) -> str:
    """Undo what SimpleCookie does to a value, a character at a time."""
    if len(coded) < 2 or not coded.startswith('"') or not coded.endswith('"'):
        return coded
    rest, value = coded[1:-1], ""
    while rest:
        if rest[0] == "\\" and rest[1:4] in OCTAL:
            value, rest = value + chr(int(rest[1:4], 8)), rest[4:]
        elif rest[0] == "\\" and len(rest) > 1:
            value, rest = value + rest[1], rest[2:]
        else:
            value, rest = value + rest[0], rest[1:]
    return value


def expected(field: str) -> dict[str, tuple[str, str]]:
    """Give the values of all cookies of a field, as they are and as they came."""
    found: dict[str, tuple[str, str]] = {}
    for pair in field.split(";"):
        if "=" not in pair:
            continue
        end = pair.index("=")
        name, coded = pair[:end].strip(" \t"), pair[end + 1 :].strip(" \t")
        if name and set(name) <= set(TOKEN) and not set(coded) & set(CONTROLS):
            found.setdefault(name, (unquoted(coded), coded))
    return found


def check_field(field: str) -> None:
    """Parse a field, and hold what comes out against what was expected."""
    cookies = parse_cookies(field)
    for name, (value, coded) in expected(field).items():
        if set(value) & set(CONTROLS) and name not in cookies:
            continue  # recent Pythons do not bear it
        morsel = cookies.pop(name)
        assert (morsel.key, morsel.value, morsel.coded_value) == (name, value, coded)
        assert not any(morsel.values())
    assert not cookies


def check_line(name: str, coded: str, given_attributes: dict[str, Any]) -> None:
    """Send a cookie made by hand, and take apart what comes out."""
    morsel: Morsel[str] = Morsel()
    try:
        morsel.set(name, "", coded)
        for attribute, value in given_attributes.items():
            morsel[attribute] = value
    except CookieError:
        return  # no cookie at all
    cookies = SimpleCookie()
    cookies[name] = morsel
    try:
        line = cookie_lines(cookies).decode("latin-1")
    except (TypeError, ValueError) as error:
        assert repr(name) in str(error)  # noqa: PT017 - it is raised or not, as the example has it
        return
    assert line.endswith("\r\n")
    assert not set(line[:-2]) & set(CONTROLS)
    pair, *sent = line[len("Set-Cookie: ") : -2].split("; ")
    assert pair == f"{name}={coded}"
    assert line.count(";") == len(sent)
    flags = {"secure", "httponly"}
    wanted = [key for key in morsel if morsel[key] != "" and (key not in flags or morsel[key])]
    assert [attribute.partition("=")[0].lower() for attribute in sent] == wanted
    for attribute in sent:
        spelling, equals, text = attribute.partition("=")
        key = spelling.lower()
        assert bool(equals) == (key not in flags)
        if isinstance(morsel[key], str) and equals:
            assert text == morsel[key]


def check_round_trip(name: str, value: str) -> None:
    """Send a value as SimpleCookie codes it, and receive it again."""
    cookies = SimpleCookie()
    try:
        cookies[name] = value
    except CookieError:
        return
    try:
        line = cookie_lines(cookies)
    except ValueError:
        assert any(ord(character) > 255 for character in value)
        return
    field = line.decode("latin-1")[len("Set-Cookie: ") : -2]
    assert parse_cookies(field)[name].value == value


def check_token(name: str, value: Any, other: str, at: int, character: str) -> None:
    """Sign a value; take it back from its own token, and from no other."""
    secure = SecureCookies(["new", "old"])
    token = SecureCookies("old").sign(name, value, expires=10, now=100)
    assert set(token) <= set(COOKIE_VALUE)
    assert secure.unsign(name, token, now=109.9) == value
    assert type(secure.unsign(name, token, now=109.9)) is type(value)
    assert secure.unsign(name, token, now=110) is None
    assert secure.unsign(other, token, now=100) is None or other == name
    at %= len(token)
    for altered in (token[:at] + character + token[at + 1 :], token[:at] + character + token[at:], token[:at]):
        assert secure.unsign(name, altered, now=100) is None or altered == token
    assert secure.unsign(name, other, now=100) is None
    assert secure.unsign(name + other, token, now=100) is None or not other


def fuzz(examples: int) -> None:
    """Try so many examples of each."""
    bounded = settings(max_examples=examples, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    given(st.one_of(fields, st.text()))(bounded(check_field))()
    given(st.one_of(names, texts), texts, attributes)(bounded(check_line))()
    given(names, st.one_of(texts, st.text(st.characters(max_codepoint=255))))(bounded(check_round_trip))()
    given(names, values, texts, st.integers(0), st.one_of(st.sampled_from(TOKEN), st.characters()))(
        bounded(check_token)
    )()


if __name__ == "__main__":
    fuzz(int(sys.argv[1]) if len(sys.argv) > 1 else 20000)
