"""Cookies (RFC 6265): those received, those sent, and those that are signed. Sans-IO.

They are kept in `http.cookies.SimpleCookie`, as the manual says, but neither read nor written by it. Its parser takes
quadratic time on some inputs, and stops at the first pair that it does not like; its older releases let through a line
end in an attribute.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Iterable
from email.utils import formatdate
from http.cookies import CookieError, Morsel, SimpleCookie
from typing import Any, Final

from itsdangerous import BadData, Signer
from itsdangerous.encoding import base64_decode, base64_encode

_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
# What SimpleCookie writes between quotes for a character that cannot stand there itself.
_ESCAPE: Final = re.compile(r"\\(?:([0-3][0-7][0-7])|(.))")
# Wider than RFC 6265 §4.1.1, which leaves out the space, the comma and all that is not ASCII. Browsers take them.
_CODED_VALUE: Final = re.compile(r"[ -:<-~\x80-\xff]*")
_ATTRIBUTE: Final = re.compile(r"[ -:<-~]*")
_FLAGS: Final = frozenset({"secure", "httponly", "partitioned"})
_SPELLING: Final = {"httponly": "HttpOnly", "samesite": "SameSite"}

# Type, end, value and signature. A SHA-256 has 256 bits and its base64 258: with any but zeros for the last two, there
# would be several ways to write one signature.
_SIGNED: Final = re.compile(r"([sbj])\.(-?[0-9]+)\.([\w\-]*)\.([\w\-]{42}[AEIMQUYcgkosw048])", re.ASCII)


# Cookies of one request. Browsers keep fewer for a host (RFC 6265 §6.1 asks for 50); each takes a hundred times the
# memory of what was sent.
_MOST_COOKIES: Final = 300


def parse_cookies(header: str) -> SimpleCookie:
    """Read the cookies of a request (RFC 6265 §4.2), leniently: a bad pair is skipped, the others are taken.

    Semicolons separate, between quotes too, as for the browsers that store the cookies (§5.2): a value with one quote
    cannot swallow the cookies behind it. Of several cookies with one name the first is taken: browsers send the one of
    the longest path first (§5.4).

    Args:
        header: The value of Cookie; several of them joined by "; ". Only the first 300 are looked at.

    Returns:
        The cookies. Beyond ASCII, each character of a value stands for a byte of it. A cookie may have a name that
        `Morsel.set` refuses, ``path`` for instance; it is a cookie like others, never an attribute of another one.
    """
    cookies = SimpleCookie()
    for pair in header.split(";", _MOST_COOKIES)[:_MOST_COOKIES]:
        name, found, coded = pair.partition("=")
        name = name.strip(" \t")
        if not found or name in cookies or not _TOKEN.fullmatch(name):
            continue
        coded = coded.strip(" \t")
        if _CONTROL.search(coded):
            continue
        morsel: Morsel[str] = Morsel()
        try:
            # Not set(), which refuses names like "path"; there is no other way to them, but for what unpickles it.
            morsel.__setstate__({"key": name, "value": _unquote(coded), "coded_value": coded})  # type: ignore[attr-defined]
        except CookieError:  # recent releases do not want a control character in the value, though it is escaped
            continue
        cookies[name] = morsel
    return cookies


def _unquote(coded: str) -> str:
    if len(coded) < 2 or coded[0] != '"' or coded[-1] != '"':
        return coded
    value = coded[1:-1]
    return _ESCAPE.sub(_unescape, value) if "\\" in value else value


def _unescape(match: re.Match[str]) -> str:
    return chr(int(match[1], 8)) if match[1] else match[2]


def cookie_lines(cookies: SimpleCookie, keys: Iterable[str] | None = None) -> bytes:
    r"""Return cookies as they are sent, a line of Set-Cookie for each, with its CRLF.

    Nothing that a cookie is made of can end its line, or begin another attribute. What browsers make of the attributes
    is left to them.

    Args:
        cookies: The cookies. If ``expires`` is an int, it is in seconds from now; else it is a date.
        keys: Which of them are sent; all, if None.

    Raises:
        KeyError: There is no cookie of such a key.
        TypeError: Something is not of the type that it should be.
        ValueError: Something cannot be sent.

    Example:
        >>> cookies = SimpleCookie({"theme": "dark"})
        >>> cookies["theme"]["path"] = "/"
        >>> cookie_lines(cookies)
        b'Set-Cookie: theme=dark; Path=/\r\n'
    """
    if isinstance(keys, str):
        raise TypeError(f"keys is a list of names of cookies, [{keys!r}] for one of them, not {keys!r}")
    lines: list[str] = []
    for key in cookies if keys is None else dict.fromkeys(keys):  # each once (RFC 6265 §4.1.1)
        if key not in cookies:
            raise KeyError(f"there is no cookie {key!r} to send; set it before, by cookies_out[{key!r}] = value")
        morsel = cookies[key]
        if not isinstance(morsel, Morsel):  # update() and setdefault() put there what they are given
            raise TypeError(f"set the cookie {key!r} by cookies_out[{key!r}] = value; there is {morsel!r}")
        lines += ["Set-Cookie: ", *_parts(morsel), "\r\n"]
    # join() takes the very characters that were checked; % and format() would ask a subclass of str for others.
    return "".join(lines).encode("latin-1")


def _parts(morsel: Morsel[str]) -> list[str]:
    """Return what the line of a cookie is made of."""
    name, coded = morsel.key, morsel.coded_value
    _check_name(name)
    if not isinstance(coded, str):
        raise TypeError(f"the value of the cookie {name!r} is coded as a str, not as {coded!r}")
    if not _CODED_VALUE.fullmatch(coded):
        raise ValueError(
            f"the value of the cookie {name!r} cannot contain a semicolon, control characters, or any beyond Latin-1, "
            f"as it does here: {coded!r}; quote it, by urllib.parse.quote() for instance"
        )
    parts = [name, "=", coded]
    for attribute, value in morsel.items():
        if value == "" or (attribute in _FLAGS and not value):
            continue
        text = _SPELLING.get(attribute, attribute.title())
        if attribute not in _FLAGS:
            text = "".join([text, "=", _attribute_value(name, attribute, value)])
        if not _ATTRIBUTE.fullmatch(text):
            raise ValueError(
                f"{attribute!r} of the cookie {name!r} cannot contain a semicolon, control characters, or any beyond "
                f"ASCII (RFC 6265 §4.1.1): {value!r}"
            )
        parts += ["; ", text]
    return parts


def _attribute_value(name: str, attribute: str, value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{attribute!r} of the cookie {name!r} is a str or an int, not {value!r}")
    if attribute != "expires":
        return f"{int(value)}"
    try:
        return formatdate(time.time() + value, usegmt=True)
    except (ValueError, OverflowError, OSError):
        raise ValueError(
            f"'expires' of the cookie {name!r}, in seconds from now, is beyond the calendar: {value!r}"
        ) from None


def _check_name(name: object) -> None:
    if not isinstance(name, str):
        raise TypeError(f"the name of a cookie is a str, not {name!r}")
    if not _TOKEN.fullmatch(name):
        raise ValueError(f"the name of a cookie is a token (RFC 6265 §4.1.1), not {name!r}")


class SecureCookies:
    """Signs values of cookies, so that clients can read but not alter them (manual: "set_secure_cookie").

    What is signed, by HMAC-SHA256, is the value with its type, the name of the cookie, and the time when it ends.

    Args:
        secret: The secret; or several, of which the first signs and all verify, so that it can be replaced.

    Raises:
        TypeError: It is something else.
        ValueError: It is empty.

    Example:
        >>> cookies = SecureCookies(["the new secret", "the old secret"])
        >>> token = cookies.sign("user", {"id": 7}, expires=3600, now=1_000_000)
        >>> cookies.unsign("user", token, now=1_000_001)
        {'id': 7}
        >>> cookies.unsign("other", token, now=1_000_001) is cookies.unsign("user", token, now=1_003_600) is None
        True
    """

    __slots__ = ("_signer",)

    def __init__(self, secret: str | bytes | list[str | bytes] | tuple[str | bytes, ...]) -> None:
        if isinstance(secret, (str, bytes)):
            secret = [secret]
        if not isinstance(secret, (list, tuple)) or not all(isinstance(one, (str, bytes)) for one in secret):
            raise TypeError("the secret is a str or bytes, or a list of those")
        if not secret or not all(secret):
            raise ValueError("the secret is empty; take secrets.token_hex(32), and keep it")
        # The derivation hashes the secret. As the key of an HMAC itself, it would be the same with a NUL at its end.
        self._signer = Signer(
            # There it is the last that signs.
            [one.encode() if isinstance(one, str) else one for one in reversed(secret)],
            salt=b"pants.http.SecureCookies",
            key_derivation="django-concat",
            digest_method=hashlib.sha256,
        )

    def sign(self, name: str, value: object, expires: float, now: float) -> str:
        """Return the value of a cookie that says ``value``.

        Args:
            name: The name of the cookie.
            value: A str, bytes, or what JSON can tell: a dict, list or tuple. JSON knows no tuples, and no keys but
                str; they come back as lists and as str.
            expires: Seconds until it ends.
            now: The time, in seconds.

        Returns:
            Letters, digits, ``-``, ``_`` and ``.``: a cookie-value that needs no quotes (RFC 6265 §4.1.1).

        Raises:
            TypeError: The value is of another type, or contains one; or another argument is of a wrong one.
            ValueError: The name is no token, ``expires`` is not finite, or a str has half of a surrogate pair.
        """
        _check_name(name)
        if isinstance(expires, bool) or not isinstance(expires, (int, float)):
            raise TypeError(f"expires is a number of seconds, not {expires!r}")
        try:
            end = round((now + float(expires)) * 1000)  # in milliseconds
        except (ValueError, OverflowError):
            raise ValueError(f"expires is a finite number of seconds, not {expires!r}") from None
        kind, data = _dump(value)
        signed = f"{kind}.{end}.{base64_encode(data).decode()}"
        return f"{signed}.{self._signer.get_signature(_message(signed, name)).decode()}"

    def unsign(self, name: str, token: str, now: float) -> str | bytes | dict[str, Any] | list[Any] | None:
        """Return the value that was signed; None if ``token`` was not signed for a cookie of that name, or has ended.

        Args:
            name: The name of the cookie.
            token: What the client sent as its value.
            now: The time, in seconds.
        """
        match = _SIGNED.fullmatch(token)
        if match is None:
            return None
        kind, end, value, signature = match.groups()
        # Which compares in constant time.
        if not self._signer.verify_signature(_message(f"{kind}.{end}.{value}", name), signature):
            return None
        if now * 1000 >= int(end):
            return None
        try:
            return _load(kind, base64_decode(value))
        except (BadData, ValueError, RecursionError):  # signed, but not by this version, or not on this machine
            return None


def _message(signed: str, name: str) -> bytes:
    """Return what is signed. The name is last, for nothing else in it can contain a dot."""
    return f"{signed}.{name}".encode("utf-8", "surrogatepass")


def _dump(value: object) -> tuple[str, bytes]:
    """Return a value's type and content."""
    if isinstance(value, str):
        return "s", value.encode()
    if isinstance(value, bytes):
        return "b", value
    if not isinstance(value, (dict, list, tuple)):
        raise TypeError(f"a secure cookie holds a str, bytes, dict, list or tuple, not {type(value).__name__}")
    try:
        return "j", json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise TypeError(f"a dict, list or tuple in a secure cookie has to be serialisable as JSON: {error}") from error


def _load(kind: str, data: bytes) -> str | bytes | dict[str, Any] | list[Any]:
    if kind == "b":
        return data
    text = data.decode()
    if kind == "s":
        return text
    value: dict[str, Any] | list[Any] = json.loads(text)
    return value
