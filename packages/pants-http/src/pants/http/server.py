"""An HTTP/1.1 server (manual: "pants.http.server")."""

from __future__ import annotations

import dataclasses
import inspect
import logging
import math
import os
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable
from typing import Any, Final, Self

from pants import Server
from pants.http import _answer
from pants.http._access_log import AccessLog
from pants.http._body import keep_freed_memory
from pants.http._compression import Compression
from pants.http._connection import HTTPConnection
from pants.http._cookies import SecureCookies
from pants.http._forwarded import ForwardedRules
from pants.http._head import QuickParser
from pants.http._limits import Limits
from pants.http._request import HTTPRequest

log = logging.getLogger("pants.http")

__all__ = ["Counters", "HTTPConnection", "HTTPRequest", "HTTPServer"]

# Seconds between two looks at whether a server that shuts down has any connections left.
_LOOK_INTERVAL: Final = 0.05


@dataclasses.dataclass(slots=True)
class Counters:
    """What an `HTTPServer` has done so far, for whoever exports metrics. Nothing is ever counted down.

    Attributes:
        connections: Connections that were accepted, and ready for a request.
        answers: The number of answers by status code; 0 is for requests that were finished without one.
        refused: The number of requests that were malformed, too large or too slow, by the status of the answer.
        failures: Handlers that raised an exception.
        slow_readers: Connections that were cut, for the client did not take what it had asked for.
    """

    connections: int = 0
    answers: defaultdict[int, int] = dataclasses.field(default_factory=lambda: defaultdict(int))
    refused: defaultdict[int, int] = dataclasses.field(default_factory=lambda: defaultdict(int))
    failures: int = 0
    slow_readers: int = 0


class HTTPServer(Server):
    """A server that speaks HTTP/1.1 (manual: "HTTPServer").

    Args:
        request_handler: Called with each request, an `HTTPRequest`.
        max_request: The longest body of a request to take, in bytes. A longer one is answered with 413.
        keep_alive: Whether a connection may carry several requests.
        cookie_secret: What secure cookies are signed with: a str or bytes; or a list of them, of which the first signs
            and all verify, so that a secret can be replaced.
        xheaders: Whether the server is behind a proxy, whose word is taken for who the client is: the headers
            X-Real-IP, X-Forwarded-For, X-Forwarded-Proto, X-Forwarded-Host and Forwarded. Or the names of those that
            the proxy sets, which is safer, for a client can send the others.
        sendfile: Whether `HTTPRequest.send_file` only names the file, for a proxy to send it, in a header X-Sendfile;
            or the name of another header.
        sendfile_prefix: What the path in that header begins with.
        file_root: The directory that holds the files which `HTTPRequest.send_file` sends. It is taken off the path in
            the header; relative paths are relative to it, and nothing outside is sent.
        limits: What is taken from clients, at most.
        head_handler: Called with each request that has a body, before that arrives: to answer it at once, to set its
            `HTTPRequest.max_body`, or to take the body as it comes, with `HTTPRequest.on_data`.
        trusted_proxies: The addresses and networks of proxies, as ``10.0.0.0/8``, or ``unix`` for those that connect to
            a UNIX socket: only their word counts, with ``xheaders`` and ``proxy_protocol``.
        proxy_protocol: Whether each connection begins with a header of the PROXY protocol, which tells the client's
            address.
        access_log: ``common``, ``combined`` or a format of one's own, for a line at INFO to the logger
            ``pants.http.access`` with each answer.
        compression: Whether to compress answers; or how, a `Compression`.
        refused_methods: Methods that are answered with 501.
        server_name: The value of the header Server, None to send no such header.
        **kwargs: For `pants.Server`.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: An argument has a value that makes no sense; or as `pants.Server`.

    Example:
        >>> from pants.http import HTTPServer
        >>> def my_handler(request):
        ...     request.send_response("Hello World.")
        >>> server = HTTPServer(my_handler).listen(("127.0.0.1", 0))
        >>> server.close()
    """

    __slots__ = (
        "_cancel_look",
        "_deadline",
        "_is_secured",
        "_result_told",
        "_shortage_told",
        "access_log",
        "_answer_heads",
        "compression",
        "counters",
        "draining",
        "file_root",
        "_forwarded_rules",
        "head_handler",
        "keep_alive",
        "limits",
        "max_request",
        "_parse_quickly",
        "refused_methods",
        "request_handler",
        "_safe_size",
        "_cookie_signer",
        "_sendfile_header",
        "sendfile_prefix",
    )

    ConnectionClass = HTTPConnection

    #: What has been done so far.
    counters: Counters
    #: Whether the server is shutting down.
    draining: bool

    def __init__(
        self,
        request_handler: Callable[[HTTPRequest], object],
        max_request: int = 10485760,
        keep_alive: bool = True,
        cookie_secret: str | bytes | list[str | bytes] | None = None,
        xheaders: bool | Iterable[str] = False,
        sendfile: bool | str = False,
        sendfile_prefix: str | None = None,
        file_root: str | os.PathLike[str] | None = None,
        *,
        limits: Limits | None = None,
        head_handler: Callable[[HTTPRequest], object] | None = None,
        trusted_proxies: Iterable[Any] | None = None,
        proxy_protocol: bool = False,
        access_log: str | AccessLog | None = None,
        compression: bool | Compression = False,
        refused_methods: Collection[str] = frozenset({"CONNECT", "TRACE"}),
        server_name: str | None = "Pants",
        **kwargs: Any,
    ) -> None:
        _check_handlers(request_handler, head_handler)
        _check_limits(max_request, limits, refused_methods)
        _check_proxies(xheaders, trusted_proxies, proxy_protocol)
        if access_log is not None and not isinstance(access_log, (str, AccessLog)):
            raise TypeError(f"access_log is a format or a pants.http.AccessLog, not {access_log!r}")
        if not isinstance(compression, (bool, Compression)):
            raise TypeError(f"compression is True, False or a pants.http.Compression, not {compression!r}")
        self.request_handler = request_handler
        self.head_handler = head_handler
        self.max_request = max_request
        self.keep_alive = keep_alive
        self.limits = limits or Limits()
        self.refused_methods = frozenset(refused_methods)
        # A head no longer than this is not too long.
        self._safe_size = min(self.limits.request_line, self.limits.headers)
        if self.refused_methods & {"GET", "HEAD"}:
            self._safe_size = 0  # nothing is taken unseen
        self._cookie_signer = None if cookie_secret is None else SecureCookies(cookie_secret)
        trusted_proxies = None if trusted_proxies is None else list(trusted_proxies)
        self._forwarded_rules = ForwardedRules(xheaders, trusted_proxies) if xheaders else None
        self._set_sendfile(sendfile, sendfile_prefix, file_root)
        self.access_log = AccessLog(access_log) if isinstance(access_log, str) else access_log
        self.compression = Compression() if compression is True else compression or None
        self._answer_heads = _answer.AnswerHeads(server_name)
        self.counters = Counters()
        self._parse_quickly = QuickParser(self.limits, self.refused_methods).parse
        keep_freed_memory()
        self.draining = False
        self._is_secured = False
        self._shortage_told = -1.0
        self._result_told = False
        self._deadline = math.inf  # of shutdown()
        self._cancel_look: Callable[[], None] | None = None
        if proxy_protocol:
            kwargs["proxy_protocol"] = True if trusted_proxies is None else trusted_proxies
        super().__init__(**kwargs)

    def _set_sendfile(self, sendfile: bool | str, prefix: str | None, file_root: str | os.PathLike[str] | None) -> None:
        if prefix is not None and not isinstance(prefix, str):
            raise TypeError(f"sendfile_prefix is a str, not {prefix!r}")
        if not isinstance(sendfile, (bool, str)):
            raise TypeError(f"sendfile is True, False or the name of a header, not {sendfile!r}")
        name = "X-Sendfile" if sendfile is True else sendfile or None
        if name is not None:
            _answer.own_fields_refused({name: prefix or ""})
        self._sendfile_header = name
        self.sendfile_prefix = prefix
        self.file_root = None if file_root is None else os.path.abspath(file_root)

    def startSSL(self, ssl_options: Any = {}) -> Self:  # noqa: B006 - the manual's name and default
        """Make this an HTTPS server: the `HTTPRequest.scheme` of its requests is ``https`` (manual: "startSSL").

        Args:
            ssl_options: As for `pants.Server.startSSL`.

        Returns:
            The channel.

        Raises:
            RuntimeError, TypeError, ValueError, OSError, ssl.SSLError: As `pants.Server.startSSL`.
        """
        super().startSSL(ssl_options)
        self._is_secured = True
        return self

    start_ssl = startSSL

    def listen(self, address: Any = None, backlog: int = 1024, slave: bool = True) -> Self:
        """Begin to listen for connections (manual: "HTTPServer.listen").

        Args:
            address: As for `pants.Server.listen`. By default port 443 if TLS has been enabled, else port 80; a server
                that was given a socket listens on that.
            backlog: The number of connections that the kernel keeps waiting to be accepted.
            slave: Whether a server that listens on all IPv6 addresses (``::``) does so on all IPv4 addresses too.

        Returns:
            The channel.

        Raises:
            RuntimeError, TypeError, ValueError, OSError: As `pants.Server.listen`.
        """
        if address is None and self.socket is None:
            address = 443 if self._is_secured else 80
        return super().listen(address, backlog, slave)

    def _check_result(self, result: object) -> None:
        """Tell the program that its handler has returned something, and not answered yet: a mistake, most likely.

        Raises:
            TypeError: It was a coroutine.
        """
        if inspect.iscoroutine(result):
            result.close()
            raise TypeError("the request handler is an async function; handlers are plain ones, and send the answer")
        if not self._result_told:
            self._result_told = True
            log.warning("A request handler has returned %r, which is not sent; call request.send_response()", result)

    def _note_shortage(self, error: OSError) -> None:
        """Log that a file could not be opened or written, for there are no descriptors or no space: once a second."""
        now = self.engine.time
        if now >= self._shortage_told + 1:
            self._shortage_told = now
            log.warning("%r answers with 503, for it cannot use files: %s", self, error)

    def shutdown(self, timeout: float | None = 30.0) -> None:
        """Close the server gracefully: `on_close` is called when it is done.

        No connection is accepted any more. Idle ones are closed, the others when the requests that have arrived are
        answered. `close` is immediate, and may be called meanwhile. Called again, the earlier end counts.

        Args:
            timeout: Seconds until the connections that are left are closed nevertheless; None for never.

        Raises:
            TypeError, ValueError: ``timeout`` is not a number, or below 0.
        """
        if timeout is not None:
            if isinstance(timeout, bool) or not isinstance(timeout, (int, float)):
                raise TypeError(f"timeout is a number of seconds or None, not {timeout!r}")
            if not timeout >= 0:
                raise ValueError(f"timeout is 0 or more seconds, not {timeout!r}")
        if self.closed:
            return
        if timeout is not None:
            self._deadline = min(self._deadline, self.engine.time + timeout)
        if self._cancel_look is not None:
            self._cancel_look()
        self.stop_listening()
        self.draining = True
        self.keep_alive = False
        for connection in list(self.channels.values()):
            if isinstance(connection, HTTPConnection):
                connection._close_gracefully()
        self._look()

    def _look(self) -> None:
        """Close the server if there is nothing left to wait for."""
        self._cancel_look = None
        if self.closed:
            return
        overdue = self.engine.time >= self._deadline
        if overdue:
            for connection in list(self.channels.values()):
                connection.close(flush=False)
        if overdue or not (self.channels or self.awaits_headers):
            self.close()
        else:
            self._cancel_look = self.engine.defer(_LOOK_INTERVAL, self._look)

    def close(self) -> None:
        """Close the server at once, and its connections (manual: "Server.close"); see also `shutdown`."""
        if self._cancel_look is not None:
            self._cancel_look()
            self._cancel_look = None
        super().close()


def _check_handlers(request_handler: object, head_handler: object) -> None:
    for handler in (request_handler, head_handler):
        if inspect.iscoroutinefunction(handler):
            raise TypeError(f"{handler!r} is an async function; handlers are plain ones, and send the answer")
    if not callable(request_handler):
        raise TypeError(f"request_handler is a callable, not {request_handler!r}")
    if head_handler is not None and not callable(head_handler):
        raise TypeError(f"head_handler is a callable, not {head_handler!r}")


def _check_limits(max_request: object, limits: object, refused_methods: Collection[str]) -> None:
    if isinstance(max_request, bool) or not isinstance(max_request, int):
        raise TypeError(f"max_request is a number of bytes, not {max_request!r}")
    if max_request < 0:
        raise ValueError(f"max_request is a number of bytes, 0 or more, not {max_request}")
    if limits is not None and not isinstance(limits, Limits):
        raise TypeError(f"limits is a pants.http.Limits, not {limits!r}")
    if isinstance(refused_methods, str):
        raise TypeError(f"refused_methods is a set of methods, not the str {refused_methods!r}")
    for method in refused_methods:
        if not isinstance(method, str) or method != method.upper():
            raise ValueError(f"methods are written in capitals (RFC 9110 §9.1), unlike {method!r}")


def _check_proxies(xheaders: object, trusted_proxies: object, proxy_protocol: object) -> None:
    if not isinstance(proxy_protocol, bool):
        raise TypeError(f"proxy_protocol is a bool, and trusted_proxies tells from whom; not {proxy_protocol!r}")
    if isinstance(trusted_proxies, str):
        raise TypeError(f"trusted_proxies is a list, as in [{trusted_proxies!r}], not a str")
    if trusted_proxies is not None and not xheaders and not proxy_protocol:
        raise ValueError("trusted_proxies goes with xheaders or proxy_protocol; alone it does nothing")
