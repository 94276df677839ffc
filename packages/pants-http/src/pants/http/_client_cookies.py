"""The cookies of a client: the jar in which a session keeps them, and the views that programs see (RFC 6265)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from http.cookiejar import Cookie, CookieJar, DefaultCookiePolicy
from http.cookies import CookieError, Morsel, SimpleCookie
from typing import Any, Final

from pants.http._answer import check_value
from pants.http._cookies import parse_cookies
from pants.http._target import Target

_NAME: Final = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
# The most cookies of one response that are looked at, and the most that a jar keeps of one site; browsers keep fewer.
_MOST_SET: Final = 50
_MOST_KEPT: Final = 300


class Policy(DefaultCookiePolicy):
    """What a jar takes: cookies as RFC 6265 has them, of no country's or registry's whole domain.

    Beyond it, a connection that is not secure sets no secure cookies (draft-ietf-httpbis-rfc6265bis §5.7), and names
    that begin with ``__Secure-`` and ``__Host-`` mean what they say (§4.1.3).
    """

    def __init__(self) -> None:
        super().__init__(strict_domain=True, strict_ns_domain=DefaultCookiePolicy.DomainLiberal)

    def set_ok(self, cookie: Cookie, request: Any) -> bool:
        """Whether a cookie is taken; see `http.cookiejar.CookiePolicy`."""
        if cookie.secure and request.type != "https":
            return False
        if cookie.name.startswith("__Secure-") and not cookie.secure:
            return False
        if cookie.name.startswith("__Host-") and (
            not cookie.secure or cookie.domain_specified or not cookie.path_specified or cookie.path != "/"
        ):
            return False
        return super().set_ok(cookie, request)


class _Asked:
    """A request as `http.cookiejar` sees it."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self.host = target.authority
        self.type = target.scheme
        self.unverifiable = False
        self.origin_req_host = target.host
        self.value = ""

    def get_full_url(self) -> str:
        return self._target.url

    def has_header(self, name: str) -> bool:
        return False

    def get_header(self, name: str, default: str | None = None) -> str | None:
        return default

    def add_unredirected_header(self, name: str, value: str) -> None:
        if name == "Cookie":
            self.value = value


class _Answered:
    """A response as `http.cookiejar` sees it."""

    def __init__(self, lines: list[str]) -> None:
        self._lines = lines

    def info(self) -> _Answered:
        return self

    def get_all(self, name: str, default: list[str]) -> list[str]:
        return self._lines if name == "Set-Cookie" else default


def new_jar() -> CookieJar:
    """Return an empty jar."""
    return CookieJar(Policy())


def is_empty(jar: CookieJar) -> bool:
    """Whether there is no cookie in a jar."""
    return not jar._cookies  # type: ignore[attr-defined]  # len() walks through all of them


def store_cookies(jar: CookieJar, target: Target, lines: list[str]) -> None:
    """Take the cookies of a response into a jar.

    Args:
        jar: The jar.
        target: What was asked.
        lines: The values of Set-Cookie.
    """
    jar.extract_cookies(_Answered(lines[:_MOST_SET]), _Asked(target))  # type: ignore[arg-type]
    site: dict[str, dict[str, Cookie]]
    for site in jar._cookies.values():  # type: ignore[attr-defined]
        for kept in site.values():
            while len(kept) > _MOST_KEPT:
                del kept[next(iter(kept))]


def find_cookies(jar: CookieJar, target: Target, given: Mapping[str, str]) -> str:
    """Return the value of Cookie for a request (RFC 6265 §5.4), or an empty string.

    Args:
        jar: The session's cookies.
        target: What is asked for.
        given: Cookies that go along in any case, coded, by name. They take the place of the jar's.
    """
    value = ""
    if not is_empty(jar):
        asked = _Asked(target)
        jar.add_cookie_header(asked)  # type: ignore[arg-type]
        value = asked.value
    if not given:
        return value
    kept = [pair for pair in value.split("; ") if pair and pair.partition("=")[0] not in given]
    return "; ".join([*kept, *(f"{name}={coded}" for name, coded in given.items())])


def check_cookies(cookies: object) -> dict[str, str]:
    """Return cookies that a program gives, coded, by name (RFC 6265 §4.2).

    Args:
        cookies: Values by name; a `SimpleCookie` will do.

    Raises:
        TypeError: They are no such thing.
        ValueError: A name or a value cannot stand in a cookie.
    """
    if not isinstance(cookies, Mapping):
        raise TypeError(f"cookies are a dict of names and values, not {cookies!r}")
    checked = {}
    for name, value in cookies.items():
        value = getattr(value, "coded_value", value)  # of a SimpleCookie
        if not isinstance(name, str) or not isinstance(value, str):
            raise TypeError(f"cookies are names and values, both str, not {name!r} and {value!r}")
        if not name or not _NAME.issuperset(name):
            raise ValueError(f"no cookie can have the name {name!r}")
        check_value(f"the cookie {name}", value)
        if ";" in value:
            raise ValueError(f"the cookie {name} cannot contain a semicolon: {value!r}")
        checked[name] = value
    return checked


def cookie_value(cookies: object) -> str:
    """Return the value of Cookie for cookies that a program gives.

    Raises:
        TypeError, ValueError: As `check_cookies`.
    """
    return "; ".join([f"{name}={coded}" for name, coded in check_cookies(cookies).items()])


def received_cookies(lines: Iterable[str]) -> SimpleCookie:
    """Return the cookies of a response as a `SimpleCookie` (manual: "HTTPResponse.cookies").

    Args:
        lines: The values of Set-Cookie. What is malformed in them is skipped; of cookies with one name the last counts.
    """
    cookies = SimpleCookie()
    for line in list(lines)[:_MOST_SET]:
        pair, *attributes = line.split(";")
        for name, morsel in parse_cookies(pair).items():
            for attribute in attributes:
                _set_attribute(morsel, attribute)
            cookies[name] = morsel
    return cookies


def _set_attribute(morsel: Morsel[str], text: str) -> None:
    name, found, value = text.partition("=")
    name = name.strip(" \t").lower()
    if not morsel.isReservedKey(name):
        return
    try:
        morsel[name] = value.strip(" \t").strip('"') if found else True
    except CookieError:  # recent releases want no control characters
        pass
