"""What a client asks for (manual: "HTTPRequest"), and how that is sent."""

from __future__ import annotations

import hashlib
import weakref
from collections.abc import Iterable, Mapping
from http.cookiejar import CookieJar
from http.cookies import SimpleCookie
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import ParseResult, urlencode, urlparse

from pants._version import __version__
from pants.http._answer import checked_fields, encoded
from pants.http._client_body import Body, make_body
from pants.http._client_cookies import check_cookies, find_cookies, is_empty
from pants.http._client_settings import Route, Timeout, check_timeout
from pants.http._cookies import parse_cookies
from pants.http._decoding import accept_encoding
from pants.http._target import Target, parse_target
from pants.http.auth import AuthBase
from pants.http.utils import HTTPHeaders

if TYPE_CHECKING:
    from pants.http._client_response import HTTPResponse
    from pants.http._client_session import Session

#: What every request says, unless told otherwise.
DEFAULT_FIELDS: Final = (
    ("User-Agent", f"Pants/{__version__}"),
    ("Accept", "*/*"),
    ("Accept-Encoding", accept_encoding()),
)
_PLAIN_END: Final = encoded(list(DEFAULT_FIELDS)) + b"\r\n"
# RFC 9110 §9.3.8: a TRACE carries nothing that might be told by the answer.
_WITHOUT_SECRETS: Final = "TRACE"
# The longest content of which a digest is made, in bytes.
_MOST_HASHED: Final = 16 * 1024 * 1024
_ONE_HOST: Final = "there is one header Host (RFC 9112 §3.2)"
# What the client sets by itself, and what to do instead.
_OWN_FIELDS: Final = {
    "connection": "keep_alive=False closes the connection",
    "content-length": "it follows from the body",
    "transfer-encoding": "a body from an iterator is sent in chunks",
    "upgrade": "WebSocket.connect() opens WebSockets",
    "keep-alive": "keep_alive=False closes the connection",
    "proxy-authorization": "credentials stand in the proxy's URL",
}
# The methods whose requests say that they have no content (RFC 9110 §8.6).
_WITH_CONTENT: Final = frozenset({"POST", "PUT", "PATCH"})
# What goes along where a redirect leads to another origin. Anything else may be a secret.
_HARMLESS: Final = frozenset(
    {
        *("accept", "accept-charset", "accept-encoding", "accept-language", "cache-control", "content-disposition"),
        *("content-encoding", "content-language", "content-type", "dnt", "if-match", "if-modified-since"),
        *("if-none-match", "if-range", "if-unmodified-since", "origin", "pragma", "range", "user-agent"),
    }
)


class HTTPRequest:
    """A request that a client has made, or is about to make (manual: "HTTPRequest").

    An `Exchange` and an `HTTPResponse` have one as ``request``.

    Attributes:
        session: The `Session` it was made in.
        method: Its method.
        path: The path and query, as they are sent.
        body: What is sent as its content: a list of bytes, and files or an iterator as they were given.
        max_redirects: How many redirects may still be followed.
        keep_alive: Whether the connection may be used again.
        auth: What authorizes it (`pants.http.auth.AuthBase`), or None.
    """

    __slots__ = (
        "__weakref__",
        "_body",
        "_cookies",
        "_fields",
        "_given_cookies",
        "_headers",
        "_jar",
        "_plain",
        "_removed",
        "_response",
        "_route",
        "_session_cookies",
        "_target",
        "_timeout",
        "_url",
        "auth",
        "body",
        "keep_alive",
        "max_redirects",
        "method",
        "path",
        "session",
    )

    session: Session
    method: str
    path: str
    body: list[Any]
    max_redirects: int
    keep_alive: bool
    auth: AuthBase | None
    _target: Target
    _jar: CookieJar
    _route: Route

    def __init__(
        self,
        session: Session,
        method: str,
        path: str,
        url: ParseResult | None,
        headers: HTTPHeaders | None,
        cookies: SimpleCookie | None,
        body: list[Any],
        timeout: Timeout | float,
        max_redirects: int,
        keep_alive: bool,
        auth: AuthBase | None,
    ) -> None:
        self.session = session
        self.method = method
        self.path = path
        self._url = url
        self._headers = headers
        self._cookies = cookies
        self.body = body
        self._timeout = timeout if timeout.__class__ is Timeout else check_timeout(timeout)
        self.max_redirects = max_redirects
        self.keep_alive = keep_alive
        self.auth = auth
        self._response: weakref.ref[HTTPResponse] | None = None  # which refers to this
        self._body: Body | None = None
        self._fields: HTTPHeaders | None = None  # the program's own, and the defaults; None for just these
        self._plain = False  # whether it was sent without cookies, whatever the jar has by now
        self._removed: frozenset[str] = frozenset()  # names of fields that are not to be sent, in lower case
        self._given_cookies: Mapping[str, str] = {}  # its own
        self._session_cookies: Mapping[str, str] = session._given_cookies
        self._jar = session._jar
        self._route = session._route
        if url is not None:
            self._target = parse_target(url.geturl())

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.method} {self._target.url[:200]}>"

    # --- What it is made of -------------------------------------------------------------------------------------

    def _set_headers(self, session_headers: SessionHeaders, headers: Any) -> None:
        self._fields = own = SessionHeaders(session_headers)
        if headers is not None:
            self._removed = own.override(headers)

    def _set_cookies(self, cookies: Any) -> None:
        if isinstance(cookies, CookieJar):
            self._jar, self._session_cookies = cookies, {}
        else:
            self._given_cookies = check_cookies(cookies)

    def _set_body(self, data: Any, files: Any, json: Any) -> None:
        if self.method == _WITHOUT_SECRETS:
            raise ValueError("a TRACE request has no content (RFC 9110 §9.3.8)")
        self._body = make_body(data, files, json)
        if self._body is not None:
            self.body = self._body.parts

    # --- What is sent -------------------------------------------------------------------------------------------

    @property
    def url(self) -> ParseResult:
        """The URL, as `urllib.parse.urlparse` takes it apart; without credentials."""
        if self._url is None:
            self._url = urlparse(self._full_url)
        return self._url

    @property
    def _full_url(self) -> str:
        target = self._target
        return f"{target.url}#{target.fragment}" if target.fragment else target.url

    @property
    def origin(self) -> str:
        """Scheme, host and port of the URL (RFC 6454 §6.2), the port left out where it is the scheme's own."""
        return self._target.origin

    @property
    def timeout(self) -> float | None:
        """The seconds of no activity after which the request fails, or None (manual: "timeout")."""
        return self._timeout.read

    @property
    def response(self) -> HTTPResponse | None:
        """The response to this very request, once its head has arrived, as long as anybody keeps that; or None."""
        return None if self._response is None else self._response()

    @property
    def headers(self) -> HTTPHeaders:
        """The header fields that are sent. What authorizes a request adds its own."""
        if self._headers is None:
            self._headers = self._make_headers()
        return self._headers

    @property
    def cookies(self) -> SimpleCookie:
        """The cookies that are sent."""
        if self._cookies is None:
            self._cookies = parse_cookies(self.headers.get("Cookie", ""))
        return self._cookies

    def _make_headers(self) -> HTTPHeaders:
        target, own = self._target, self._fields
        headers = HTTPHeaders([("Host", target.authority)])
        if own is None:
            for name, value in DEFAULT_FIELDS:
                headers[name] = value
        else:
            for name in own:
                headers.set_list(name, own.get_list(name))
        body = self._body
        if body is not None:
            if body.length is None:
                headers["Transfer-Encoding"] = "chunked"
            else:
                headers["Content-Length"] = str(body.length)
            if body.content_type is not None and "Content-Type" not in headers and "content-type" not in self._removed:
                headers["Content-Type"] = body.content_type
        elif self.method in _WITH_CONTENT:
            headers["Content-Length"] = "0"
        if not self.keep_alive:
            headers["Connection"] = "close"
        if self.method != _WITHOUT_SECRETS:
            self._add_credentials(headers)
        return headers

    def _add_credentials(self, headers: HTTPHeaders) -> None:
        """Add cookies, and what the URL has before its host."""
        target = self._target
        if "Cookie" not in headers and not self._plain:
            value = find_cookies(self._jar, target, self._given_cookies, self._session_cookies)
            if value:
                headers["Cookie"] = value
        if target.credentials is not None and self.auth is None and "Authorization" not in headers:
            headers["Authorization"] = target.credentials

    def _head(self, absolute: bool, proxy_credentials: str | None) -> bytes:
        """Return the head as it is sent.

        Args:
            absolute: Whether a proxy gets it, which is told the whole URL (RFC 9112 §3.2.2).
            proxy_credentials: What the proxy is told besides, or None.
        """
        target = self._target
        if (
            self._headers is None
            and self._fields is None
            and self._body is None
            and self.auth is None
            and target.credentials is None
            and self.keep_alive
            and not absolute
            and not self._given_cookies
            and not self._session_cookies
            and self.method not in _WITH_CONTENT
            and is_empty(self._jar)
        ):  # as nearly all are
            self._plain = True
            return b"%b %b%b%b" % (self.method.encode(), target.resource_bytes, target.authority_line, _PLAIN_END)
        if self.auth is not None and self.method != _WITHOUT_SECRETS:
            self.auth(self)
        fields = checked_fields(self.headers)
        if proxy_credentials is not None:
            fields.append(("Proxy-Authorization", proxy_credentials))
        line = f"{self.method} {target.url if absolute else target.resource} HTTP/1.1\r\n"
        return line.encode("latin-1") + encoded(fields) + b"\r\n"

    @property
    def _is_replayable(self) -> bool:
        """Whether its content, if there is any, can be sent again."""
        return self._body is None or self._body.replayable

    def _reset(self) -> None:
        """It is sent once more: what it says may be something else by now."""
        self._headers = self._cookies = None
        self._plain = False

    def hash_body(self, name: str) -> str | None:
        """Return the digest of the content, in hexadecimal.

        Args:
            name: Which, as of `hashlib.new`.

        Returns:
            The digest; None where the content cannot be read beforehand, or is longer than 16 MiB: that would take long
            during which nothing else happens.
        """
        if self._body is not None:
            if self._body.length is None or self._body.length > _MOST_HASHED:
                return None
            return self._body.hash(name)
        return hashlib.new(name, b"", usedforsecurity=False).hexdigest()

    def _again(self, target: Target, method: str, *, redirects: int = 0) -> HTTPRequest:
        """Return the request that is made in this one's place.

        Args:
            target: Where it goes.
            method: Its method. Where that is another one, it has no content.
            redirects: How many redirects that is.
        """
        again = HTTPRequest(
            self.session,
            method,
            target.resource,
            None,
            None,
            None,
            self.body,
            self._timeout,
            self.max_redirects - redirects,
            self.keep_alive,
            self.auth,
        )
        again._target = target
        again._body = self._body
        again._fields = self._fields
        again._removed = self._removed
        again._given_cookies = self._given_cookies
        again._session_cookies = self._session_cookies
        again._jar = self._jar
        again._route = self._route
        if method != self.method:
            again._body = None
            again.body = []
            if again._fields is not None:
                again._fields = _without(again._fields, lambda name: name.startswith("content-"))
        if target.origin != self._target.origin:
            again.auth = None
            again._given_cookies = again._session_cookies = {}
            again._route = self._route.foreign
            if again._fields is not None:
                again._fields = _without(again._fields, lambda name: name not in _HARMLESS)
        return again


def _without(headers: HTTPHeaders, unwanted: Any) -> HTTPHeaders:
    kept = HTTPHeaders()
    for name in headers:
        if not unwanted(name.lower()):
            for value in headers.get_list(name):
                kept.add(name, value)
    return kept


class SessionHeaders(HTTPHeaders):
    """The header fields of a session, checked when they are set.

    Attributes:
        plain: Whether they are the client's own, and no others.

    Raises:
        TypeError, ValueError: As `checked_fields`; or the client sets one by itself.
    """

    __slots__ = ("plain",)

    def __init__(self, fields: HTTPHeaders | None = None) -> None:
        super().__init__(DEFAULT_FIELDS)
        self.plain = True
        if fields is not None:
            self._values = {name.lower(): fields.get_list(name) for name in fields}
            self.plain = isinstance(fields, SessionHeaders) and fields.plain

    def add(self, name: str, value: str) -> None:
        """Add a value to those that ``name`` has."""
        ((name, value),) = check_fields([(name, value)])
        if name.lower() == "host" and name in self:
            raise ValueError(_ONE_HOST)
        self.plain = False
        super().add(name, value)

    def __setitem__(self, name: str, value: str) -> None:
        ((name, value),) = check_fields([(name, value)])
        self.plain = False
        super().__setitem__(name, value)

    def __delitem__(self, name: str) -> None:
        self.plain = False
        super().__delitem__(name)

    def override(self, headers: object) -> frozenset[str]:
        """Set what is given, in the place of what there is. A value of None removes a field.

        Args:
            headers: A mapping, or pairs.

        Returns:
            The names of those that were removed, in lower case.
        """
        fields, removed = _split_removed(headers)
        for name in {name.lower() for name, _ in fields}:
            self.pop(name, None)
        for name, value in fields:
            self.add(name, value)
        for name in removed:
            self.pop(name, None)
        return removed


def _split_removed(headers: object) -> tuple[list[tuple[str, str]], frozenset[str]]:
    """Return fields one by one, checked, and in lower case the names of those that are None."""
    pairs: Any = headers
    if isinstance(headers, HTTPHeaders):
        pairs = [(name, headers.get_list(name)) for name in headers]
    elif isinstance(headers, Mapping):
        pairs = headers.items()
    elif isinstance(headers, (str, bytes)) or not isinstance(headers, Iterable):
        raise TypeError(f"headers are a dict, or pairs of a name and a value, not {headers!r}")
    given, removed = [], set()
    for pair in pairs:
        if isinstance(pair, tuple) and len(pair) == 2 and pair[1] is None and isinstance(pair[0], str):
            removed.add(pair[0].lower())
        else:
            given.append(pair)
    if "host" in removed:
        raise ValueError("the header Host cannot be left out (RFC 9112 §3.2)")
    return check_fields(given), frozenset(removed)


def check_fields(fields: Any) -> list[tuple[str, str]]:
    """Return header fields one by one.

    Raises:
        TypeError, ValueError: As `checked_fields`; or the client sets one by itself, or there are two of Host.
    """
    checked = checked_fields(fields)
    for name, _ in checked:
        hint = _OWN_FIELDS.get(name.lower())
        if hint is not None:
            raise ValueError(f"the header {name} is set by the client itself: {hint}")
    if sum(name.lower() == "host" for name, _ in checked) > 1:
        raise ValueError(_ONE_HOST)
    return checked


def with_params(url: str, params: object) -> str:
    """Return a URL with more parameters in its query.

    Args:
        url: The URL.
        params: A mapping, whose values may be lists; pairs; or a str, which is appended as it is. What has the value
            None is left out.

    Raises:
        TypeError: They are something else.
    """
    if not isinstance(url, str):
        raise TypeError(f"url is a str, not {url!r}")
    if isinstance(params, str):
        query = params.lstrip("?&")
    else:
        query = _encode_params(params)
    if not query:
        return url
    before, mark, fragment = url.partition("#")
    separator = "" if before.endswith(("?", "&")) else "&" if "?" in before else "?"
    return f"{before}{separator}{query}{mark}{fragment}"


def _encode_params(params: object) -> str:
    pairs = params.items() if isinstance(params, Mapping) else params
    if isinstance(pairs, (bytes, bytearray)) or not isinstance(pairs, Iterable):
        raise TypeError(f"params are a dict, pairs or a str, not {params!r}")
    flat = []
    for pair in pairs:
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise TypeError(f"params are a dict, pairs or a str; {pair!r} is no pair")
        name, value = pair
        values = value if isinstance(value, (list, tuple, set, frozenset)) else (value,)
        flat += [(name, one) for one in values if one is not None]
    try:
        return urlencode(flat)
    except UnicodeEncodeError:
        raise ValueError("params contain half of a surrogate pair, which cannot be sent") from None
