"""The cookies of a `pants.web.testing.TestClient`."""

from __future__ import annotations

import time
from http.cookiejar import Cookie
from typing import Any, Final

from pants.http import HTTPHeaders, HTTPServer
from pants.http._answer import check_value
from pants.http._client_cookies import Jar, _domains, check_cookies, find_cookies, store_cookies
from pants.http._target import Target, ascii_host, parse_target
from pants.web._test_request import TestRequest

_ATTRIBUTES: Final = frozenset({"max_age", "expires", "secure", "httponly", "samesite"})
# With which a cookie may be over at once.
_ENDS: Final = frozenset({"max_age", "expires"})


class CookieKeeper:
    """The half of a `pants.web.testing.TestClient` that keeps cookies.

    Args:
        base: What is asked if nothing else is told.
        keeps: Whether cookies are kept.
    """

    _server: HTTPServer

    def __init__(self, base: Target, keeps: bool) -> None:
        self._base = base
        self._jar = Jar() if keeps else None

    def set_cookie(
        self, name: str, value: str = "", *, domain: str | None = None, path: str = "/", **attributes: Any
    ) -> None:
        """Keep a cookie, as if the application had set it.

        Args:
            name: Its name.
            value: Its value, as it is sent.
            domain: The host that it is for; by default that of ``base_url``.
            path: The path below which it is sent.
            **attributes: More attributes: ``max_age``, ``expires`` (as it is sent), ``secure``, ``httponly``,
                ``samesite``.

        Raises:
            RuntimeError: The client keeps no cookies.
            TypeError: An argument is of the wrong type.
            ValueError: One cannot stand in a cookie; or a browser would not take it.
        """
        jar = self._kept_cookies()
        ((name, value),) = check_cookies({name: value}).items()
        line = [f"{name}={value}", f"Path={path}"]
        for attribute, setting in attributes.items():
            if attribute not in _ATTRIBUTES:
                raise TypeError(f"set_cookie() got an attribute that cookies do not have: {attribute!r}")
            if setting is True:
                line.append(attribute)
            elif setting is not None and setting is not False:
                line.append(f"{attribute.replace('_', '-')}={setting}")
        for part in line[1:]:
            check_value("an attribute of a cookie", part)
            if ";" in part:
                raise ValueError(f"an attribute of a cookie contains no semicolon: {part!r}")
        host = self._host(domain)
        store_cookies(jar, parse_target(f"https://{host}{path}"), ["; ".join(line)])
        if _ENDS.isdisjoint(attributes) and self.get_cookie(name, domain=domain, path=path) is None:
            raise ValueError(f"no browser would keep this cookie: {'; '.join(line)}")

    def set_secure_cookie(self, name: str, value: Any, expires: float = 2592000, **options: Any) -> None:
        """Keep a signed cookie, as if the application had called ``request.set_secure_cookie``.

        Args:
            name: Its name.
            value: A str, bytes, or a dict, list or tuple of what JSON has.
            expires: Seconds until it is not valid any more.
            **options: As for `set_cookie`.

        Raises:
            RuntimeError: The client keeps no cookies, or was given no ``cookie_secret``.
            TypeError, ValueError: As `set_cookie`; or the value cannot be signed.
        """
        signer = self._server._cookie_signer
        if signer is None:
            raise RuntimeError("set_secure_cookie() needs a cookie_secret: TestClient(app, cookie_secret=...)")
        self.set_cookie(name, signer.sign(name, value, expires, time.time()), **options)

    def get_cookie(self, name: str, *, domain: str | None = None, path: str = "/") -> Cookie | None:
        """Return a cookie that would be sent, as a `http.cookiejar.Cookie`; None if there is none.

        Args:
            name: Its name.
            domain: The host to which it would be sent; by default that of ``base_url``.
            path: The path.

        Raises:
            RuntimeError: The client keeps no cookies.
        """
        found = []
        domains = set(_domains(self._host(domain)))
        for cookie in self._kept_cookies():
            if cookie.name == name and cookie.domain in domains and _is_below(path, cookie.path):
                if not cookie.is_expired():
                    found.append(cookie)
        return max(found, key=lambda cookie: len(cookie.path), default=None)

    def get_secure_cookie(self, name: str, **options: Any) -> Any:
        """Return the value of a signed cookie; None if there is none, or it is not valid.

        Args:
            name: Its name.
            **options: As for `get_cookie`.

        Raises:
            RuntimeError: The client keeps no cookies, or was given no ``cookie_secret``.
        """
        signer = self._server._cookie_signer
        if signer is None:
            raise RuntimeError("get_secure_cookie() needs a cookie_secret: TestClient(app, cookie_secret=...)")
        cookie = self.get_cookie(name, **options)
        return None if cookie is None else signer.unsign(name, cookie.value or "", time.time())

    def delete_cookie(self, name: str, *, domain: str | None = None, path: str = "/") -> None:
        """Forget a cookie; one that there is not is no error.

        Args:
            name, domain, path: As for `get_cookie`.

        Raises:
            RuntimeError: The client keeps no cookies.
        """
        cookie = self.get_cookie(name, domain=domain, path=path)
        if cookie is not None:
            self._kept_cookies().clear(cookie.domain, cookie.path, cookie.name)

    def _host(self, domain: str | None) -> str:
        return self._base.host if domain is None else ascii_host(domain)

    def _kept_cookies(self) -> Jar:
        if self._jar is None:
            raise RuntimeError("this client keeps no cookies; it was made with cookies=False")
        return self._jar

    def _cookies_for(self, target: Target) -> str:
        """Return the value of Cookie for a request; an empty string where there are none."""
        return "" if self._jar is None else find_cookies(self._jar, target, {})

    def _add_cookies(self, request: TestRequest) -> None:
        """Add the cookies that go with a request."""
        value = self._cookies_for(request._target)
        if value:
            request.headers["Cookie"] = value

    def _keep_cookies(self, target: Target, headers: HTTPHeaders) -> None:
        """Keep the cookies that came with an answer."""
        if self._jar is not None:
            store_cookies(self._jar, target, headers.get_list("Set-Cookie"))


def _is_below(path: str, place: str) -> bool:
    """Whether a cookie of one path is sent to another (RFC 6265 §5.1.4)."""
    return path == place or (path.startswith(place) and (place.endswith("/") or path[len(place)] == "/"))
