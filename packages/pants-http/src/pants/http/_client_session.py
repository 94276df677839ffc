"""Sessions: what several requests have in common (manual: "Session")."""

from __future__ import annotations

import re
import weakref
from collections.abc import Callable
from http.cookiejar import CookieJar
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, TypeAlias

from pants.http._client_cookies import Jar, check_cookies
from pants.http._client_exchange import Exchange
from pants.http._client_request import HTTPRequest, SessionHeaders, with_params
from pants.http._client_settings import (
    ACTIVE,
    Retries,
    Route,
    Timeout,
    check_count,
    check_flag,
    check_retries,
    check_timeout,
)
from pants.http._target import parse_target
from pants.http.auth import AuthBase, check_auth
from pants.http.utils import HTTPHeaders

if TYPE_CHECKING:
    from pants.http._client_response import HTTPResponse
    from pants.http.client import HTTPClient

HOOKS: Final = ("on_response", "on_headers", "on_progress", "on_ssl_error", "on_error", "on_data")
_NO_HOOKS: Final = (None,) * len(HOOKS)
_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"})

Auth: TypeAlias = AuthBase | tuple[str, str]
ResponseHook = Callable[["HTTPResponse"], object]
DataHook = Callable[["HTTPResponse", bytes], object]
ProgressHook = Callable[["HTTPResponse", int, int], object]
CertificateHook = Callable[["HTTPResponse", dict[str, Any], Exception], object]
ErrorHook = Callable[["HTTPResponse", Exception], object]


class Session:
    """What several requests have in common: hooks, settings, headers and cookies (manual: "Session").

    What is not given is taken from the session that is active in the client, or the one whose `session` was called.
    Used in a ``with`` block, a session is the client's active one meanwhile: `HTTPClient.get` and its sisters make
    their requests in it.

    Args:
        client: The `HTTPClient`.
        on_response: Called with the `HTTPResponse` once it is complete, as are all hooks rather than the client's own.
        on_headers: Called with it once its head has arrived.
        on_progress: Called with it, the bytes received and the bytes expected.
        on_ssl_error: Called with it, the certificate and a `CertificateError`; see `HTTPClient.on_ssl_error`.
        on_error: Called with it and the exception.
        timeout: Seconds without any activity after which a request fails, 30 by default; a pair (connect, read); or a
            `Timeout`.
        max_redirects: How many redirects are followed, 10 by default.
        keep_alive: Whether connections are used again; they are by default.
        auth: What authorizes requests: a pair of user and password, or an `AuthBase` (`pants.http.auth`).
        headers: Header fields that are sent with each request, besides those of the session that it is taken from. A
            value of None leaves one of these out.
        cookies: A dict of cookies that go along to whatever is asked, but not to other origins to which that
            redirects; those that a server sets take the place of these. Or a `http.cookiejar.CookieJar`, to be used by
            this session. A session to which cookies are given has a jar of its own.
        verify_ssl: Whether the certificates of servers are verified. They are by default, unlike in Pants 1.
        ssl_options: More about TLS, as of `pants.Stream.startSSL`: ``ca_certs``, say, or a client's ``certfile``, which
            is not shown to other origins to which a server redirects. (Of an `ssl.SSLContext`, these get the
            authorities that it has loaded, and nothing else.)
        on_data: Called with the response and each piece of its content, decoded, as it arrives; nothing is kept then.
            `HTTPResponse.pause_body` makes it wait.
        proxy: The URL of an HTTP proxy, True for what the environment says (HTTP_PROXY, HTTPS_PROXY, ALL_PROXY,
            NO_PROXY), the default, or False for none. The environment is looked at when an origin is first asked.
        retries: How often a request that failed is made again, 0 by default; or `Retries`.
        parent: The session to take from what is not given; the client's active one by default.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: One is out of range, or cannot be sent.
        OSError: A file in ``ssl_options`` cannot be read.
    """

    _headers: SessionHeaders
    _jar: CookieJar
    _route: Route

    def __init__(
        self,
        client: HTTPClient,
        on_response: ResponseHook | None = None,
        on_headers: ResponseHook | None = None,
        on_progress: ProgressHook | None = None,
        on_ssl_error: CertificateHook | None = None,
        on_error: ErrorHook | None = None,
        timeout: float | tuple[float | None, float | None] | Timeout | None = None,
        max_redirects: int | None = None,
        keep_alive: bool | None = None,
        auth: Auth | None = None,
        headers: Any = None,
        cookies: Any = None,
        verify_ssl: bool | None = None,
        ssl_options: Any = None,
        *,
        on_data: DataHook | None = None,
        proxy: str | bool | None = None,
        retries: int | Retries | None = None,
        parent: Session | None = None,
    ) -> None:
        if parent is None:
            parent = client._active
        # The session that is a client's own does not keep it alive: it would be a cycle.
        self._client: Callable[[], HTTPClient | None] = weakref.ref(client) if parent is None else lambda: client
        self._hooks: dict[str, Any] = {} if parent is None else dict(parent._hooks)
        given = check_hooks(on_response, on_headers, on_progress, on_ssl_error, on_error, on_data)
        self._hooks.update(given or {})
        self._timeout: Timeout = Timeout() if parent is None else parent._timeout
        self._max_redirects: int = 10 if parent is None else parent._max_redirects
        self._keep_alive: bool = True if parent is None else parent._keep_alive
        self._auth: AuthBase | None = None if parent is None else parent._auth
        self._retries: Retries | None = None if parent is None else parent._retries
        if timeout is not None:
            self.timeout = timeout
        if max_redirects is not None:
            self.max_redirects = max_redirects
        if keep_alive is not None:
            self.keep_alive = keep_alive
        if auth is not None:
            self.auth = auth
        if retries is not None:
            self.retries = retries
        self._headers = SessionHeaders(None if parent is None else parent._headers)
        if headers is not None:
            self._headers.override(headers)
        self._given_cookies: dict[str, str] = {}
        if isinstance(cookies, CookieJar):
            self._jar = cookies
        elif cookies is not None:
            self._given_cookies = check_cookies(cookies)
            self._jar = Jar()
        elif parent is not None:
            self._jar, self._given_cookies = parent._jar, parent._given_cookies
        else:
            self._jar = Jar()
        base = client._plain_route if parent is None else parent._route
        self._route = client._find_route(base, verify_ssl, ssl_options, proxy)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._client()!r}>"

    # --- Settings -----------------------------------------------------------------------------------------------

    @property
    def client(self) -> HTTPClient:
        """The `HTTPClient`.

        Raises:
            RuntimeError: It is gone; only its own session is left.
        """
        client = self._client()
        if client is None:
            raise RuntimeError("the HTTPClient of this session is gone; keep it, or make a session of another one")
        return client

    @property
    def headers(self) -> HTTPHeaders:
        """The header fields that are sent with each request. They may be changed, or set to others.

        Raises:
            TypeError, ValueError: When one is set that cannot be sent, or that the client sets by itself.
        """
        return self._headers

    @headers.setter
    def headers(self, headers: Any) -> None:
        changed = SessionHeaders(headers if isinstance(headers, SessionHeaders) else None)
        changed.override(headers)
        self._headers = changed

    @property
    def cookies(self) -> CookieJar:
        """The jar in which the cookies are kept that servers set."""
        return self._jar

    @property
    def timeout(self) -> Any:
        """Seconds without any activity after which a request fails, or None; it can be set to a `Timeout` too."""
        return self._timeout.read

    @timeout.setter
    def timeout(self, value: float | tuple[float | None, float | None] | Timeout) -> None:
        self._timeout = check_timeout(value)

    @property
    def max_redirects(self) -> int:
        """How many redirects are followed."""
        return self._max_redirects

    @max_redirects.setter
    def max_redirects(self, value: int) -> None:
        check_count(value, "max_redirects")
        self._max_redirects = value

    @property
    def keep_alive(self) -> bool:
        """Whether connections are used again."""
        return self._keep_alive

    @keep_alive.setter
    def keep_alive(self, value: bool) -> None:
        check_flag(value, "keep_alive")
        self._keep_alive = value

    @property
    def auth(self) -> Any:
        """What authorizes requests, or None. It can be set to a pair of user and password too."""
        return self._auth

    @auth.setter
    def auth(self, value: Auth | None) -> None:
        self._auth = check_auth(value)

    @property
    def retries(self) -> Any:
        """How often a request that failed is made again, as `Retries`, or None. It can be set to a number too."""
        return self._retries

    @retries.setter
    def retries(self, value: int | Retries | None) -> None:
        self._retries = None if value is None else check_retries(value)

    @property
    def verify_ssl(self) -> bool:
        """Whether the certificates of servers are verified."""
        return self._route.verify_ssl

    # --- As a block, and nested -----------------------------------------------------------------------------------

    def session(self, *args: Any, **kwargs: Any) -> Session:
        """Return a new session that takes from this one what is not given. The arguments are those of `Session`."""
        return Session(self.client, *args, parent=self, **kwargs)

    def __enter__(self) -> Self:
        ACTIVE.set((*ACTIVE.get(), self))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        sessions = ACTIVE.get()
        for at in range(len(sessions) - 1, -1, -1):
            if sessions[at] is self:
                ACTIVE.set(sessions[:at] + sessions[at + 1 :])
                return

    # --- Requests -----------------------------------------------------------------------------------------------

    def request(
        self,
        method: str,
        url: str,
        params: Any = None,
        data: Any = None,
        headers: Any = None,
        cookies: Any = None,
        files: Any = None,
        auth: Auth | None = None,
        timeout: float | tuple[float | None, float | None] | Timeout | None = None,
        max_redirects: int | None = None,
        keep_alive: bool | None = None,
        *,
        json: Any = None,
        retries: int | Retries | None = None,
        verify_ssl: bool | None = None,
        ssl_options: Any = None,
        proxy: str | bool | None = None,
        on_response: ResponseHook | None = None,
        on_headers: ResponseHook | None = None,
        on_progress: ProgressHook | None = None,
        on_ssl_error: CertificateHook | None = None,
        on_error: ErrorHook | None = None,
        on_data: DataHook | None = None,
    ) -> Exchange:
        """Begin a request (manual: "Session.request"). What is not given is taken from the session.

        Args:
            method: Its method.
            url: Its URL. What cannot stand in one is percent-encoded, but for control characters.
            params: Parameters to add to the URL's query: a dict (whose values may be lists), pairs, or a str.
            data: Its content: a dict or pairs to be sent as a form; a str (in UTF-8) or bytes; a file; or an iterable
                of bytes, which is sent in chunks.
            headers: Header fields, a dict or pairs. A value of None leaves out what would be sent otherwise.
            cookies: Cookies to send besides those that the session has: a dict, or a jar to take the place of those.
            files: Files to upload: a dict or pairs of a field's name and a file; in the place of that, a tuple of a
                file name and a file, and of a content type and a dict of header fields besides. They are not read into
                memory.
            auth, timeout, max_redirects, keep_alive, retries, verify_ssl, ssl_options, proxy: As of `Session`.
            json: Content to be sent as JSON, in the place of ``data`` and ``files``.
            on_response, on_headers, on_progress, on_ssl_error, on_error, on_data: Hooks for this request, as of
                `Session`.

        Returns:
            The `Exchange`, which can be cancelled and waited for.

        Raises:
            TypeError: An argument is of the wrong type.
            ValueError: One is out of range, or cannot be sent: a line end in a header, for example. Or the content is
                given in two ways.
            OSError: A file cannot be read.
            RuntimeError: The client is closed.
        """
        client = self.client
        client._check_open()
        target = parse_target(url if params is None else with_params(url, params))
        if not isinstance(method, str) or method not in _METHODS:
            method = _check_method(method)
        request = HTTPRequest(
            self,
            method,
            target.resource,
            None,
            None,
            None,
            [],
            self._timeout if timeout is None else check_timeout(timeout),
            self._max_redirects,
            self._keep_alive,
            self._auth if auth is None else check_auth(auth),
        )
        request._target = target
        if headers is not None or not self._headers.plain:
            request._set_headers(self._headers, headers)
        if max_redirects is not None:
            check_count(max_redirects, "max_redirects")
            request.max_redirects = max_redirects
        if keep_alive is not None:
            check_flag(keep_alive, "keep_alive")
            request.keep_alive = keep_alive
        if cookies is not None:
            request._set_cookies(cookies)
        if verify_ssl is not None or ssl_options is not None or proxy is not None:
            request._route = client._find_route(self._route, verify_ssl, ssl_options, proxy)
        given = (on_response, on_headers, on_progress, on_ssl_error, on_error, on_data)
        hooks = None if given == _NO_HOOKS else check_hooks(*given)
        again = self._retries if retries is None else check_retries(retries)
        if data is not None or files is not None or json is not None:
            request._set_body(data, files, json)
        exchange = Exchange(client, request, hooks, again)
        try:
            client._begin(exchange)
        except BaseException:
            exchange._end(None)
            raise
        return exchange

    def get(self, url: str, params: Any = None, **kwargs: Any) -> Exchange:
        """Begin a GET request; see `request`."""
        return self.request("GET", url, params, **kwargs)

    def head(self, url: str, params: Any = None, **kwargs: Any) -> Exchange:
        """Begin a HEAD request; see `request`."""
        return self.request("HEAD", url, params, **kwargs)

    def post(self, url: str, data: Any = None, files: Any = None, **kwargs: Any) -> Exchange:
        """Begin a POST request; see `request`."""
        return self.request("POST", url, data=data, files=files, **kwargs)

    def put(self, url: str, data: Any = None, **kwargs: Any) -> Exchange:
        """Begin a PUT request; see `request`."""
        return self.request("PUT", url, data=data, **kwargs)

    def patch(self, url: str, data: Any = None, **kwargs: Any) -> Exchange:
        """Begin a PATCH request; see `request`."""
        return self.request("PATCH", url, data=data, **kwargs)

    def delete(self, url: str, **kwargs: Any) -> Exchange:
        """Begin a DELETE request; see `request`."""
        return self.request("DELETE", url, **kwargs)

    def options(self, url: str, **kwargs: Any) -> Exchange:
        """Begin an OPTIONS request; see `request`."""
        return self.request("OPTIONS", url, **kwargs)

    def trace(self, url: str, **kwargs: Any) -> Exchange:
        """Begin a TRACE request; see `request`."""
        return self.request("TRACE", url, **kwargs)


def check_hooks(*hooks: Any) -> dict[str, Any] | None:
    """Return those of `HOOKS` that are given, in that order, by their names; None where there are none.

    Raises:
        TypeError: One is not callable.
    """
    given = {name: hook for name, hook in zip(HOOKS, hooks, strict=True) if hook is not None}
    for name, hook in given.items():
        if not callable(hook):
            raise TypeError(f"{name} is a callable, not {hook!r}")
    return given or None


def _check_method(method: object) -> str:
    """Return a method as it is sent.

    Raises:
        TypeError: It is not a str.
        ValueError: It is not a token, or CONNECT.
    """
    if not isinstance(method, str):
        raise TypeError(f"method is a str, not {method!r}")
    if not _TOKEN.fullmatch(method):
        raise ValueError(f"a method is a token (RFC 9110 §9.1), not {method!r}")
    if method.upper() in _METHODS:
        return method.upper()
    if method.upper() == "CONNECT":
        raise ValueError("CONNECT is for proxies; give the proxy's URL as proxy")
    return method
