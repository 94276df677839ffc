"""The cookies of a client: the jar in which a session keeps them, and the views that programs see (RFC 6265)."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from email.utils import format_datetime
from http.cookiejar import Cookie, CookieJar, DefaultCookiePolicy
from http.cookies import CookieError, Morsel, SimpleCookie
from typing import Any, Final

from pants.http._answer import check_value
from pants.http._cookies import parse_cookies
from pants.http._target import Target

_NAME: Final = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
# The most cookies of one response that are looked at; the most that a jar keeps of one domain, and of all.
_MOST_SET: Final = 50
_MOST_OF_DOMAIN: Final = 100
_MOST_KEPT: Final = 10_000
# Seconds between two searches for what has expired.
_EXPIRY_PACE: Final = 60
_MAX_AGE: Final = re.compile(r"-?[0-9]{1,15}")
# The longest cookie to take, and the longest attribute (RFC 6265 §6.1 asks for 4096); and what is sent of them at most.
_LONGEST: Final = 4096
_LONGEST_ATTRIBUTE: Final = 1024
_MOST_SENT: Final = 65536
# RFC 6265 §5.1.1: the parts of a date, in any order.
_DELIMITER: Final = re.compile(r"[\x09\x20-\x2f\x3b-\x40\x5b-\x60\x7b-\x7e]+")
_TIME: Final = re.compile(r"([0-9]{1,2}):([0-9]{1,2}):([0-9]{1,2})(?![0-9])")
_DAY: Final = re.compile(r"([0-9]{1,2})(?![0-9])")
_YEAR: Final = re.compile(r"([0-9]{2,4})(?![0-9])")
_MONTHS: Final = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]


class Policy(DefaultCookiePolicy):
    """What a jar takes: cookies as RFC 6265 has them, of no top-level domain, nor of the best known ones below these.

    Beyond it, a connection that is not secure sets no secure cookies (draft-ietf-httpbis-rfc6265bis §5.7), and names
    that begin with ``__Secure-`` and ``__Host-`` mean what they say (§4.1.3).
    """

    def __init__(self) -> None:
        super().__init__(strict_domain=True, strict_ns_domain=DefaultCookiePolicy.DomainLiberal)

    def set_ok(self, cookie: Cookie, request: Any) -> bool:
        """Whether a cookie is taken; see `http.cookiejar.CookiePolicy`."""
        if cookie.secure and request.type != "https":
            return False
        if cookie.domain_specified and (_is_address(request.origin_req_host) or cookie.domain == ".local"):
            return False  # §5.1.3; and ".local" stands for all hosts without a dot here
        if len(cookie.name) + len(cookie.value or "") + len(cookie.path) > _LONGEST:
            return False
        name = cookie.name.lower()
        if name.startswith("__secure-") and not cookie.secure:
            return False
        if name.startswith("__host-") and (
            not cookie.secure or cookie.domain_specified or not cookie.path_specified or cookie.path != "/"
        ):
            return False
        return super().set_ok(cookie, request)


class _Asked:
    """A request as `http.cookiejar` sees it."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self.origin_req_host = self.host = target.host.removesuffix(".")
        self.type = target.scheme
        self.unverifiable = False
        self.value = ""

    def get_full_url(self) -> str:
        return f"{self.type}://{self._bracketed()}{self._target.resource}"

    def _bracketed(self) -> str:
        return f"[{self.host}]" if ":" in self.host else self.host

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


class Jar(CookieJar):
    """A jar whose work does not grow with the number of origins whose cookies it keeps."""

    def __init__(self) -> None:
        super().__init__(Policy())
        self._count = 0  # at least as many as there are
        self._swept_at = 0.0

    def has_secure(self, name: str, host: str) -> bool:
        """Whether there is a secure cookie of that name that a host, or one above or below it, has set."""
        host = f"[{host}]" if ":" in host else host
        if "." not in host:  # which http.cookiejar has a name for
            host += ".local"
        for domain, paths in self._cookies.items():  # type: ignore[attr-defined]
            domain = domain.removeprefix(".")
            if domain == host or host.endswith(f".{domain}") or domain.endswith(f".{host}"):
                if any(name in kept and kept[name].secure for kept in paths.values()):
                    return True
        return False

    def set_cookie(self, cookie: Cookie) -> None:
        """Keep a cookie. The oldest ones give way where there are too many."""
        super().set_cookie(cookie)
        self._count += 1
        paths: dict[str, dict[str, Cookie]] = self._cookies[cookie.domain]  # type: ignore[attr-defined]
        if sum(map(len, paths.values())) > _MOST_OF_DOMAIN:
            oldest = next(path for path, kept in paths.items() if kept)
            del paths[oldest][next(iter(paths[oldest]))]
            if not paths[oldest]:
                del paths[oldest]
        if self._count > _MOST_KEPT:
            self._make_room()

    def _make_room(self) -> None:
        super().clear_expired_cookies()
        domains: dict[str, dict[str, dict[str, Cookie]]] = self._cookies  # type: ignore[attr-defined]
        self._count = len(self)
        while self._count > _MOST_KEPT // 2:
            self._count -= sum(map(len, domains.pop(next(iter(domains))).values()))

    def clear_expired_cookies(self) -> None:
        """Forget what has expired. It is called for each request, and looks now and then; expired ones are not sent."""
        now = time.monotonic()
        if now - self._swept_at > _EXPIRY_PACE:
            self._swept_at = now
            super().clear_expired_cookies()

    def _cookies_for_request(self, request: Any) -> list[Cookie]:
        cookies: list[Cookie] = []
        for domain in _domains(request.origin_req_host):
            if domain in self._cookies:  # type: ignore[attr-defined]
                cookies += self._cookies_for_domain(domain, request)  # type: ignore[attr-defined]
        return cookies


def _domains(host: str) -> Iterator[str]:
    """The domains whose cookies may be for a host, as a jar names them (RFC 6265 §5.1.3)."""
    if _is_address(host):
        yield f"[{host}].local" if ":" in host else host  # of IPv6, which http.cookiejar takes for names without a dot
        return
    yield host
    if "." not in host:
        yield f"{host}.local"
        host += ".local"
    while host:
        yield f".{host}"
        host = host.partition(".")[2]


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
    host = target.host.removesuffix(".")
    lines = [_cleaned(line, host) for line in lines[:_MOST_SET]]
    if not target.secure and isinstance(jar, Jar):
        # draft-ietf-httpbis-rfc6265bis §5.7: what is not secure neither replaces, removes nor hides what is.
        lines = [line for line in lines if not jar.has_secure(line.partition("=")[0].strip(" \t"), host)]
    jar.extract_cookies(_Answered(lines), _Asked(target))  # type: ignore[arg-type]


def _cleaned(line: str, host: str) -> str:
    """Leave out the attributes that RFC 6265 has ignored, and for which `http.cookiejar` ignores the cookie."""
    pair, *attributes = line.split(";")
    kept = [pair]
    for attribute in attributes:
        name, _, value = attribute.partition("=")
        name, value = name.strip(" \t").lower(), value.strip(" \t")
        if len(value) > _LONGEST_ATTRIBUTE:
            continue
        if name == "expires":  # §5.2.1
            date = _parse_date(value)
            if date is not None:
                kept.append(f" Expires={format_datetime(date, usegmt=True)}")
            continue
        if name == "max-age" and not _MAX_AGE.fullmatch(value):  # §5.2.2
            continue
        if name == "path" and not value.startswith("/"):  # §5.2.4
            continue
        if name == "domain" and (not value or _names_host(value.lower().removeprefix("."), host)):  # §5.2.3
            continue
        kept.append(attribute)
    return ";".join(kept)


def _names_host(domain: str, host: str) -> bool:
    """Whether a Domain attribute names the host itself, which is no domain of others (RFC 6265 §5.3, step 5)."""
    return domain == host and ("." not in host or _is_address(host))


def _parse_date(text: str) -> datetime | None:
    """Read the date of a cookie (RFC 6265 §5.1.1); None where it is none."""
    clock = day = month = year = None
    for token in _DELIMITER.split(text):
        if clock is None and (match := _TIME.match(token)):
            clock = [int(part) for part in match.groups()]
        elif day is None and (match := _DAY.match(token)):
            day = int(match[1])
        elif month is None and token[:3].lower() in _MONTHS:
            month = _MONTHS.index(token[:3].lower()) + 1
        elif year is None and (match := _YEAR.match(token)):
            year = int(match[1])
    if clock is None or day is None or month is None or year is None:
        return None
    if year < 100:
        year += 1900 if year >= 70 else 2000
    try:
        date = datetime(year, month, day, clock[0], clock[1], clock[2], tzinfo=UTC)
    except ValueError:
        return None
    return date if year > 1600 else None


def _is_address(host: str) -> bool:
    return ":" in host or host.replace(".", "").isdigit()


def find_cookies(
    jar: CookieJar, target: Target, given: Mapping[str, str], session_given: Mapping[str, str] | None = None
) -> str:
    """Return the value of Cookie for a request (RFC 6265 §5.4), or an empty string.

    Args:
        jar: The session's cookies.
        target: What is asked for.
        given: Cookies of the request's own, coded, by name. They take the place of the jar's.
        session_given: Those that were given to the session. The jar's take the place of these.
    """
    value = ""
    if not is_empty(jar):
        asked = _Asked(target)
        jar.add_cookie_header(asked)  # type: ignore[arg-type]
        value = asked.value
        if len(value) > _MOST_SENT:
            value = value[:_MOST_SENT].rpartition("; ")[0]
    if not given and not session_given:
        return value
    kept = [pair for pair in value.split("; ") if pair and pair.partition("=")[0] not in given]
    names = {pair.partition("=")[0] for pair in kept}
    if session_given:
        kept += [f"{name}={coded}" for name, coded in session_given.items() if name not in names and name not in given]
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
