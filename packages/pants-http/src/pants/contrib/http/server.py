"""The server of the older API (the page "pants.contrib.http", "Server").

Deprecated: new programs use `pants.http.server`.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from pants.http import server as _new
from pants.http.utils import HTTPHeaders

__all__ = ["HTTPConnection", "HTTPRequest", "HTTPServer"]


class HTTPRequest(_new.HTTPRequest):
    r"""A request that an `HTTPServer` has received.

    Deprecated: new programs use `pants.http.HTTPRequest`. This one has all that it has, but for ``protocol``, which
    means something else here.

    The server makes one for each request, and passes it to the request handler.

    Args:
        connection: The `HTTPConnection` that received the request.
        method: The method, as in ``GET``.
        uri: The request target as it was sent: mostly a path and a query.
        http_version: ``HTTP/1.1`` or ``HTTP/1.0``.
        headers: The header fields.
        protocol: ``https`` where the connection is secure, else ``http``; or what a proxy says of it, with
            ``xheaders``.

    Example:
        >>> from pants.contrib.http import HTTPServer
        >>> def handler(request):
        ...     request.send_response(f"You asked for {request.uri} in {request.http_version}\n")
        >>> server = HTTPServer(handler).listen(("127.0.0.1", 0))
        >>> server.close()
    """

    #: The request target as it was sent.
    uri: str
    #: ``HTTP/1.1`` or ``HTTP/1.0``.
    http_version: str
    #: ``http`` or ``https``, as `scheme`.
    protocol: str

    def __init__(
        self,
        connection: _new.HTTPConnection,
        method: str,
        uri: str,
        http_version: str,
        headers: Mapping[str, str] | None = None,
        protocol: str = "http",
    ) -> None:
        if headers is not None and not isinstance(headers, HTTPHeaders):
            headers = HTTPHeaders(headers)
        super().__init__(connection, method, uri, http_version, headers, protocol)
        self.uri = uri
        self.http_version = http_version
        self.protocol = protocol

    def _apply_forwarded(self, rules: Any) -> None:
        super()._apply_forwarded(rules)
        self.protocol = self.scheme

    @property
    def _http_version(self) -> str:
        return self.http_version


class HTTPConnection(_new.HTTPConnection):
    """A connection to an `HTTPServer`. Programs seldom meet it.

    Deprecated: new programs use `pants.http.HTTPConnection`.

    Args:
        *args, **kwargs: As of `pants.http.HTTPConnection`.
    """

    __slots__ = ()

    request_class = HTTPRequest


class HTTPServer(_new.HTTPServer):
    """A server that speaks HTTP/1.1.

    Deprecated: new programs use `pants.http.HTTPServer`. This one has all that it has.

    Args:
        request_handler: Called with each request, an `HTTPRequest`. Nothing but this answers valid requests.
        max_request: The longest body of a request to take, in bytes. A longer one is answered with 413.
        keep_alive: Whether a connection may carry several requests.
        ssl_options: If given, the server speaks HTTPS. A dict like the arguments of the old ``ssl.wrap_socket``, or an
            `ssl.SSLContext`; see `pants.Server.startSSL`.
        cookie_secret: What secure cookies are signed with; see `pants.http.HTTPServer`.
        xheaders: Whether the headers X-Forwarded-For and X-Forwarded-Proto, and others of this kind, are believed; see
            `pants.http.HTTPServer`.
        **kwargs: For `pants.http.HTTPServer`.

    Raises:
        TypeError, ValueError, OSError, ssl.SSLError: As `pants.http.HTTPServer`, and `pants.Server.startSSL`.

    Example:
        >>> from pants.contrib.http import HTTPServer
        >>> def handler(request):
        ...     request.send_response("Hello, World!")
        >>> server = HTTPServer(handler).listen(("127.0.0.1", 0))
        >>> server.close()
    """

    __slots__ = ()

    ConnectionClass = HTTPConnection

    def __init__(
        self,
        request_handler: Callable[[HTTPRequest], object],
        max_request: int = 10485760,
        keep_alive: bool = True,
        ssl_options: dict[str, Any] | ssl.SSLContext | None = None,
        cookie_secret: str | bytes | list[str | bytes] | None = None,
        xheaders: bool | Iterable[str] = False,
        **kwargs: Any,
    ) -> None:
        handler: Any = request_handler  # of the requests that HTTPConnection makes
        super().__init__(handler, max_request, keep_alive, cookie_secret, xheaders, ssl_options=ssl_options, **kwargs)
