"""Sessions: what an application remembers of a visitor from one request to the next, in a signed cookie.

The visitor can read what is in there, though not alter it; and what was sent once counts until its time is over, so
that nothing can be taken back. What is secret, large, or has to end at once belongs into a database, with a key to it
in the session.
"""

from __future__ import annotations

import json
import math
import time
import weakref
from collections.abc import Iterator, MutableMapping
from email.utils import formatdate
from http.cookies import CookieError, SimpleCookie
from typing import TYPE_CHECKING, Any, Final, Literal

from pants.http._cookies import SecureCookies, cookie_lines
from pants.web._vary import add_vary

if TYPE_CHECKING:
    from pants.http import HTTPHeaders, HTTPRequest
    from pants.web._head_hooks import ResponseHead
    from pants.web.application import Application

__all__ = ["Session", "Sessions"]

#: Bytes of a cookie's name and value. Browsers keep 4,096, of all that stands in the line (RFC 6265 §6.1).
MAX_SIZE: Final = 4000
_MONTH: Final = 31 * 24 * 3600
_SAME_SITE: Final = ("Lax", "Strict", "None", None)

Secret = str | bytes | list[str | bytes] | tuple[str | bytes, ...]


class Sessions:
    """Gives the requests of an application a `Session`, as ``request.session``.

    A page that does not look at it costs nothing. One that does is sent with ``Vary: Cookie``, and renews the cookie
    once half of its time is over, so that whoever keeps coming stays known. With a cookie goes
    ``Cache-Control: private``, unless the program has set that field.

    Args:
        secret: What the cookie is signed with, ``secrets.token_hex(32)`` for instance; it has to stay the same. Or
            several, of which the first signs and all verify: put a new one in front to replace it.
        name: The name of the cookie. Where it begins with ``__Host-`` or ``__Secure-``, browsers see to it that no
            other host, or nobody without TLS, has set it.
        expires: Seconds after which a session ends that was not used.
        path: The paths that the cookie is sent to.
        domain: A domain to whose hosts the cookie is sent; only to this host by default.
        secure: Whether browsers send the cookie by HTTPS only; by default if the request has come that way.
        httponly: Whether it is hidden from the scripts of a page.
        samesite: When it is sent along with requests that another site has caused: ``Lax`` only by links, ``Strict``
            never, ``None`` always, which browsers take with ``secure`` only. None leaves it to the browser.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: The secret is empty, the time is not above 0, the name or an attribute cannot stand in a cookie; or
            browsers would not take it.

    Example:
        >>> from pants.web import Application
        >>> from pants.web.sessions import Sessions
        >>> app = Application()
        >>> sessions = Sessions("a secret that nobody knows").attach(app)
        >>> @app.route("/")
        ... def count(request):
        ...     request.session["visits"] = request.session.get("visits", 0) + 1
        ...     return f"You were here {request.session['visits']} times."
    """

    def __init__(
        self,
        secret: Secret,
        *,
        name: str = "session",
        expires: float = _MONTH,
        path: str = "/",
        domain: str | None = None,
        secure: bool | None = None,
        httponly: bool = True,
        samesite: Literal["Lax", "Strict", "None"] | None = "Lax",
    ) -> None:
        if isinstance(expires, bool) or not isinstance(expires, (int, float)):
            raise TypeError(f"expires is a number of seconds, not {expires!r}")
        if not 0 < expires < 1e10:
            raise ValueError(f"expires is a number of seconds above 0, not {expires!r}; for ever, take 1e9")
        if samesite not in _SAME_SITE:
            raise ValueError(f"samesite is 'Lax', 'Strict', 'None', or None to say nothing, not {samesite!r}")
        self._signer = SecureCookies(secret)
        self._attributes = _attributes(name, path, domain, httponly, samesite)
        _check_taken(name, path, domain, secure, samesite)
        self.name = name
        self.expires = expires
        self.secure = secure

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"  # without the secret, which may end up in a log

    def attach(self, app: Application) -> Sessions:
        """Give the requests of an application sessions.

        They are there in all hooks that are added later, in views and in error handlers.

        Returns:
            These sessions.

        Raises:
            TypeError: It is no `Application`, but a module of one for instance.
            ValueError: It has sessions already.
        """
        before, after = getattr(app, "before", None), getattr(app, "after", None)
        if before is None or after is None:
            raise TypeError(f"sessions are attached to an Application, not to {app!r}")
        if "_sessions" in vars(app):
            raise ValueError(f"{app!r} has sessions already, and request.session can be one of them only")
        vars(app)["_sessions"] = self
        before(self._begin)
        after(self._end)
        return self

    def _begin(self, request: HTTPRequest) -> None:
        if self._session_of(request) is None:  # there is one where the application is given the request once more
            request.session = Session(self, request)

    def _end(self, request: HTTPRequest, head: ResponseHead) -> None:
        session = self._session_of(request)
        if session is not None:  # as where a hook before this one's has answered
            session._finish(head.headers)

    def _session_of(self, request: HTTPRequest) -> Session | None:
        session = vars(request).get("session")
        return session if isinstance(session, Session) and session._sessions is self else None

    def _load(self, request: HTTPRequest) -> tuple[dict[str, Any], float]:
        """Return what a request's cookie says, and when it was signed; nothing if that is not valid."""
        cookie = request.cookies.get(self.name)
        now = time.time()
        found = None if cookie is None else self._signer.unsign(self.name, cookie.value, now)
        match found:
            # Not as it would be by set_secure_cookie(), with the same name and secret.
            case [int(signed), dict(values)] if now < signed + self.expires:  # which may have been more, then
                return values, signed
        return {}, now

    def _cookie(self, values: dict[str, Any], request: HTTPRequest) -> str:
        """Return the value of Set-Cookie that keeps a session; or that removes the cookie, if there is nothing in it.

        Raises:
            ValueError: It would be too large.
        """
        now = time.time()
        if values:
            token = self._signer.sign(self.name, [int(now), values], self.expires, now)
            size = len(self.name) + len(token)
            if size > MAX_SIZE:
                raise ValueError(
                    f"the session of {request!r} takes {size} bytes as a cookie, and browsers keep no more than "
                    f"{MAX_SIZE}; put what is large elsewhere, and only the key to it into the session"
                )
            lasting = (
                f"{token}; Expires={formatdate(now + self.expires, usegmt=True)}; Max-Age={math.ceil(self.expires)}"
            )
        else:
            lasting = "; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age=0"
        secure = request.is_secure if self.secure is None else self.secure
        return f"{self.name}={lasting}{self._attributes}{'; Secure' if secure else ''}"


class Session(MutableMapping[str, Any]):
    """What is remembered of a visitor: ``request.session``, a dictionary with str as keys, and values as JSON has them.

    A tuple in it comes back as a list with the next request, and so does a number that is a key in a dict as a str. A
    change deep inside counts too, as of a list in it; `clear` removes the cookie.

    Whether something has changed is found out when the head of the answer is sent, whoever does that. From then on a
    change raises RuntimeError, for it would be lost; one deep inside cannot be noticed.

    It is made by `Sessions`.
    """

    __slots__ = ("_before", "_owner", "_sealed", "_sessions", "_signed", "_values")

    def __init__(self, sessions: Sessions, request: HTTPRequest) -> None:
        self._sessions = sessions
        self._owner = weakref.ref(request)  # for the request holds this
        self._values: dict[str, Any] | None = None  # None until somebody looks
        self._before = ""
        self._signed = 0.0
        self._sealed = False

    def __repr__(self) -> str:
        # Not the values, some of which nobody else should know.
        return f"<{type(self).__name__} {'not read' if self._values is None else list(self._values)}>"

    @property
    def _request(self) -> HTTPRequest:
        request = self._owner()
        if request is None:
            raise RuntimeError("the request of this session is over, and nobody keeps it any more")
        return request

    def _read(self) -> dict[str, Any]:
        values = self._values
        if values is None:
            values, self._signed = self._sessions._load(self._request)
            self._before = _serialised(values)
            self._values = values
        return values

    def _changing(self) -> dict[str, Any]:
        if self._sealed:
            raise RuntimeError(f"the session of {self._request!r} cannot be changed: the head of the answer was sent")
        return self._read()

    def __getitem__(self, key: str) -> Any:
        return self._read()[key]

    def __setitem__(self, key: str, value: Any) -> None:
        if not isinstance(key, str):
            raise TypeError(f"the keys of a session are str, as in JSON, not {key!r}")
        try:
            _serialised({key: value}).encode()
        except (TypeError, ValueError, RecursionError) as error:
            raise TypeError(f"the session cannot keep {key!r}, which JSON cannot tell: {error}") from None
        self._changing()[key] = value

    def __delitem__(self, key: str) -> None:
        del self._changing()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._read())

    def __len__(self) -> int:
        return len(self._read())

    def __contains__(self, key: object) -> bool:
        return key in self._read()

    def clear(self) -> None:
        """Forget everything; the cookie is removed."""
        self._changing().clear()

    def _finish(self, headers: HTTPHeaders) -> None:
        """Write to the head of the answer what there is to tell.

        Raises:
            TypeError: Something was put into it that JSON cannot tell.
            ValueError: It has become too large.
        """
        if self._sealed:  # and this is the page for an error that it has caused
            return
        self._sealed = True
        values = self._values
        if values is None:
            return
        add_vary(headers, "Cookie")
        try:
            changed = _serialised(values) != self._before
        except (TypeError, ValueError, RecursionError) as error:
            raise TypeError(f"the session of {self._request!r} holds what JSON cannot tell: {error}") from None
        is_old = bool(values) and time.time() - self._signed > self._sessions.expires / 2
        if changed or is_old:
            headers.add("Set-Cookie", self._sessions._cookie(values, self._request))
            headers.setdefault("Cache-Control", "private")


def _serialised(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _attributes(name: str, path: str, domain: str | None, httponly: bool, samesite: str | None) -> str:
    """Return the attributes of the cookie that are always the same, as they are sent.

    Raises:
        TypeError, ValueError: There is something that cannot be sent.
    """
    for what, value in (("name", name), ("path", path), ("domain", domain)):
        if not isinstance(value, str) and (what != "domain" or value is not None):
            raise TypeError(f"{what} is a str, not {value!r}")
    cookie: SimpleCookie = SimpleCookie()
    try:
        cookie[name] = "x"
    except CookieError as error:
        raise ValueError(f"no cookie can have the name {name!r}: {error}") from None
    given: dict[str, Any] = {"path": path, "domain": domain or "", "httponly": bool(httponly)}
    cookie[name].update(given | {"samesite": samesite or ""})
    line = cookie_lines(cookie).decode("latin-1")
    return line.removeprefix(f"Set-Cookie: {name}=x").removesuffix("\r\n")


def _check_taken(name: str, path: str, domain: str | None, secure: bool | None, samesite: str | None) -> None:
    """Raise unless browsers take such a cookie (RFC 6265bis §5.7)."""
    lower = name.lower()
    if lower.startswith(("__host-", "__secure-")) and secure is not True:
        raise ValueError(f"browsers take a cookie named {name!r} only with secure=True")
    if lower.startswith("__host-") and (path != "/" or domain is not None):
        raise ValueError(f"browsers take a cookie named {name!r} only with the path '/' and no domain")
    if samesite == "None" and secure is not True:
        raise ValueError("browsers take a cookie with samesite='None' only with secure=True")
