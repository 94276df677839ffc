"""An asynchronous HTTP client (manual: "pants.http.client")."""

from __future__ import annotations

import logging
import ssl
import threading
import weakref
from collections.abc import Callable, Mapping
from typing import Any, Final

from pants.engine import Engine
from pants.http._client_errors import (
    CertificateError,
    ConnectionFailed,
    HTTPClientException,
    MalformedResponse,
    RedirectRefused,
    RequestCancelled,
    RequestClosed,
    RequestTimedOut,
    ResponseTooLarge,
)
from pants.http._client_exchange import Exchange
from pants.http._client_pool import Pool, Rest
from pants.http._client_request import HTTPRequest
from pants.http._client_response import HTTPResponse, Timings
from pants.http._client_session import Session
from pants.http._client_settings import ACTIVE, Retries, Route, Timeout, check_count
from pants.http._limits import ClientLimits
from pants.http._reply import ReplyParser

__all__ = [
    "CertificateError",
    "ClientLimits",
    "ConnectionFailed",
    "Exchange",
    "HTTPClient",
    "HTTPClientException",
    "HTTPRequest",
    "HTTPResponse",
    "MalformedResponse",
    "RedirectRefused",
    "RequestCancelled",
    "RequestClosed",
    "RequestTimedOut",
    "ResponseTooLarge",
    "Retries",
    "Session",
    "Timeout",
    "Timings",
]

log = logging.getLogger("pants.http")

# Ways to servers that are remembered; more than a few come of options that are made up anew for each request.
_MOST_ROUTES: Final = 64
# Origins of which is remembered that their certificates were accepted, once there are no connections to them.
_MOST_ACCEPTING: Final = 256
_OF_PARTS: Final = ("on_headers", "on_progress", "on_data")
# Seconds that may be spent in one turn of the engine on decoding content and handing it out.
_CONTENT_PER_TURN: Final = 0.01


class HTTPClient:
    """An HTTP/1.1 client (manual: "HTTPClient").

    Its hooks, the methods whose names begin with ``on_``, are called from the engine's loop: subclass it and override
    them, assign to them, or give them to the constructor, to a `session`, or to a single request. Each request ends by
    exactly one of `on_response` and `on_error`, unless the program cancels it. There is one more that has no default:
    ``on_data(response, data)`` takes the content piece by piece, in the place of it being kept.

    Args:
        *args, **kwargs: Those of `Session`, for the session that is active where there is no other; but hooks are the
            client's own.
        engine: The `pants.Engine`; the global one by default.
        max_connections: The most connections to one origin; requests beyond that wait.
        max_idle: The most connections that are kept while nobody uses them, to all origins together.
        limits: What servers may send, at most.

    Raises:
        TypeError, ValueError, OSError: As `Session`.

    Example:
        >>> from pants import Engine
        >>> from pants.http import HTTPClient, HTTPServer
        >>> server = HTTPServer(lambda request: request.send_response("Hello, World!")).listen(("127.0.0.1", 0))
        >>> def handle_response(response):
        ...     print(response.status, response.text)
        ...     Engine.instance().stop()
        >>> client = HTTPClient(handle_response)
        >>> request = client.get("http://127.0.0.1:%d/" % server.local_address[1])
        >>> Engine.instance().start()
        200 OK Hello, World!
        >>> server.close()
    """

    _session: Session

    def __init__(
        self,
        on_response: Any = None,
        on_headers: Any = None,
        on_progress: Any = None,
        on_ssl_error: Any = None,
        on_error: Any = None,
        *args: Any,
        engine: Engine | None = None,
        max_connections: int = 32,
        max_idle: int = 256,
        limits: ClientLimits | None = None,
        **kwargs: Any,
    ) -> None:
        if engine is None:
            engine = Engine.instance()
        elif not isinstance(engine, Engine):
            raise TypeError(f"engine is a pants.Engine, not {engine!r}")
        if limits is None:
            limits = ClientLimits()
        elif not isinstance(limits, ClientLimits):
            raise TypeError(f"limits is a pants.http.ClientLimits, not {limits!r}")
        check_count(max_connections, "max_connections")
        if not max_connections:
            raise ValueError("max_connections is 1 or more, not 0")
        check_count(max_idle, "max_idle")
        self.engine = engine
        self.max_connections = max_connections
        self.limits = limits
        self._reply_parser = ReplyParser(limits)
        self._pools: dict[tuple[Route, str], Pool] = {}
        self._rest = Rest(max_idle)
        self._accepting: dict[Pool, None] = {}  # those in which a certificate was accepted
        self._exchanges: set[Exchange] = set()
        self._closed = False
        self._home = threading.get_ident()
        self._turn = self._turn_end = 0.0
        self._routes: dict[tuple[Any, ...], Route] = {}
        self._plain_route = Route(True, True, None)
        # Whether there are hooks that hear of a response before it is complete.
        self._hears_parts = self.__dict__.get("_hears_parts", False) or any(
            getattr(type(self), name, None) is not getattr(HTTPClient, name, None) for name in _OF_PARTS
        )
        self._session = None  # type: ignore[assignment]
        session = Session(self, on_response, on_headers, on_progress, on_ssl_error, on_error, *args, **kwargs)
        for name, hook in session._hooks.items():
            if name != "on_data":
                setattr(self, name, hook)
        session._hooks = {name: hook for name, hook in session._hooks.items() if name == "on_data"}
        self._session = session
        engine.unused.add(self)  # to be told when it closes
        weakref.finalize(self, _close_rest, engine, self._rest).atexit = False

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _OF_PARTS:
            super().__setattr__("_hears_parts", True)
        super().__setattr__(name, value)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} with {len(self._exchanges)} requests under way>"

    # --- Requests -----------------------------------------------------------------------------------------------

    @property
    def _active(self) -> Session:
        """The session whose ``with`` block is running, or else the client's own."""
        for session in reversed(ACTIVE.get()):
            if session._client() is self:
                return session
        return self._session

    def session(self, *args: Any, **kwargs: Any) -> Session:
        """Return a new `Session`, which takes from the active one what is not given (manual: "HTTPClient.session")."""
        return Session(self, *args, **kwargs)

    def request(self, *args: Any, **kwargs: Any) -> Exchange:
        """Begin a request in the active session; see `Session.request`."""
        return self._active.request(*args, **kwargs)

    def get(self, url: str, params: Any = None, **kwargs: Any) -> Exchange:
        """Begin a GET request; see `Session.request`."""
        return self._active.request("GET", url, params, **kwargs)

    def head(self, url: str, params: Any = None, **kwargs: Any) -> Exchange:
        """Begin a HEAD request; see `Session.request`."""
        return self._active.head(url, params, **kwargs)

    def post(self, url: str, data: Any = None, files: Any = None, **kwargs: Any) -> Exchange:
        """Begin a POST request; see `Session.request`."""
        return self._active.post(url, data, files, **kwargs)

    def put(self, url: str, data: Any = None, **kwargs: Any) -> Exchange:
        """Begin a PUT request; see `Session.request`."""
        return self._active.put(url, data, **kwargs)

    def patch(self, url: str, data: Any = None, **kwargs: Any) -> Exchange:
        """Begin a PATCH request; see `Session.request`."""
        return self._active.patch(url, data, **kwargs)

    def delete(self, url: str, **kwargs: Any) -> Exchange:
        """Begin a DELETE request; see `Session.request`."""
        return self._active.delete(url, **kwargs)

    def options(self, url: str, **kwargs: Any) -> Exchange:
        """Begin an OPTIONS request; see `Session.request`."""
        return self._active.options(url, **kwargs)

    def trace(self, url: str, **kwargs: Any) -> Exchange:
        """Begin a TRACE request; see `Session.request`."""
        return self._active.trace(url, **kwargs)

    # --- Hooks --------------------------------------------------------------------------------------------------

    def on_response(self, response: HTTPResponse) -> object:
        """Called when a complete response has been received (manual: "on_response").

        What is raised here, or in `on_error`, is logged.
        """

    def on_headers(self, response: HTTPResponse) -> object:
        """Called when the head of a response has been received, unless the request is a HEAD (manual: "on_headers").

        Redirects that are followed, and demands for authentication that are met, are not told. What is raised here
        goes to `on_error`.

        Returns:
            False, and nothing else that is false, to abort the request.
        """
        return None

    def on_progress(self, response: HTTPResponse, received: int, total: int) -> object:
        """Called when more of a response's content has been received (manual: "on_progress").

        Args:
            response: The response.
            received: The bytes received so far, before they are decoded.
            total: The bytes that are expected; 0 where that is not known.
        """

    def on_ssl_error(self, response: HTTPResponse, certificate: dict[str, Any], exception: CertificateError) -> object:
        """Called when the server's certificate cannot be verified (manual: "on_ssl_error").

        It costs three more connections, so it is only done where this is overridden. Nothing of the request, nor the
        client's own certificate, is sent before. What is accepted is that very certificate, for all requests to that
        origin for which this same function would be asked; not for others. One that OpenSSL would not take even so, as
        that of a client, is not asked about.

        Args:
            response: The response, of which nothing has arrived; ``response.request`` tells which host was meant.
            certificate: The certificate, as `ssl.SSLSocket.getpeercert` has it.
            exception: What is wrong with it.

        Returns:
            True, and nothing else that is true, to accept the certificate. Otherwise `on_error` is called.
        """
        return None

    def on_error(self, response: HTTPResponse, exception: Exception) -> object:
        """Called when a request has failed (manual: "on_error").

        By default that is logged, unless somebody is told by `Exchange.wait`.

        Args:
            response: The response, as far as it has arrived.
            exception: An `HTTPClientException` or a `CertificateError`; or what one of the hooks has raised.
        """
        known = isinstance(exception, (HTTPClientException, CertificateError))
        log.warning("%r failed: %s", response.request, exception, exc_info=None if known else exception)
        return None

    # --- The end ------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Cancel what is under way, and close the connections. The client makes no more requests then.

        It may be called from any thread, as `close_idle` may.
        """
        self._closed = True
        self._call_home(self._close)

    def _close(self) -> None:
        self._end_all(Exchange._cancel)

    def close_idle(self) -> None:
        """Close the connections that nobody uses at the moment."""
        self._call_home(self._rest.close)

    def _abort(self) -> None:
        """The engine is closing."""
        if self._closed:  # by another thread, for which _close() could not be called any more
            self._close()
        else:
            self._closed = True
            self._end_all(lambda exchange: exchange._fail(RequestClosed("the engine was closed")))

    def _end_all(self, end: Callable[[Exchange], object]) -> None:
        """End what is under way, and close the connections. Nothing that waits gets one meanwhile."""
        for pool in list(self._pools.values()):
            pool.forget_waiting()
        for exchange in list(self._exchanges):
            end(exchange)
        self._rest.close()

    # --- For sessions, exchanges and pools --------------------------------------------------------------------------

    def _is_elsewhere(self) -> bool:
        """Whether the engine runs in another thread than this one."""
        return self.engine.thread not in (None, threading.get_ident())

    def _call_home(self, function: Callable[[], object]) -> None:
        """Call a function in the engine's thread: now, if this is it, or may be."""
        engine = self.engine
        if engine.thread == (thread := threading.get_ident()):
            function()
        elif not (thread == self._home and engine.run_inside(function)) and not engine.closed:
            engine.call_from_thread(function)

    def _end_of_turn(self) -> float:
        """When what is done in this turn with content, of all responses, should end; on the engine's clock."""
        engine = self.engine
        if engine.time != self._turn:
            self._turn = engine.time
            self._turn_end = engine.clock() + _CONTENT_PER_TURN
        return self._turn_end

    def _check_open(self) -> None:
        if self._closed or self.engine.closed:
            raise RuntimeError(f"{self!r} is closed, or its engine; make a new one")

    def _begin(self, exchange: Exchange) -> None:
        self._exchanges.add(exchange)
        self._call_home(exchange._start)

    def _finished(self, exchange: Exchange) -> None:
        self._exchanges.discard(exchange)

    def _is_own(self, hook: Any) -> bool:
        """Whether a hook is the one that is here, rather than one of the program's."""
        return getattr(hook, "__func__", None) in (HTTPClient.on_ssl_error, HTTPClient.on_error)

    def _find_route(self, base: Route, verify_ssl: bool | None, ssl_options: Any, proxy: str | bool | None) -> Route:
        """Return the way to servers that is like another one, but for what is given."""
        if verify_ssl is None and ssl_options is None and proxy is None:
            return base
        if proxy is not None and not isinstance(proxy, (bool, str)):
            raise TypeError(f"proxy is the URL of a proxy, True or False, not {proxy!r}")
        wanted = (
            base.proxy if proxy is None else proxy,
            base.verify_ssl if verify_ssl is None else verify_ssl,
            base.ssl_options if ssl_options is None else ssl_options,
        )
        key = (type(wanted[0]), wanted[0], wanted[1], _frozen(wanted[2]))
        route = self._routes.get(key)
        if route is None:
            route = Route(*wanted)
            if len(self._routes) >= _MOST_ROUTES:
                self._routes.clear()
            self._routes[key] = route
        return route

    def _find_pool(self, request: HTTPRequest) -> Pool:
        target = request._target
        key = (request._route, target.origin)
        pool = self._pools.get(key)
        if pool is None:
            pool = self._pools[key] = Pool(self, target, request._route)
        return pool

    def _pool_is_empty(self, pool: Pool) -> None:
        """A pool has no connections, and nothing waits for one: forget it, unless it knows what was accepted."""
        if pool.is_accepting:
            self._accepting.pop(pool, None)
            self._accepting[pool] = None  # the latest last
            if len(self._accepting) <= _MOST_ACCEPTING:
                return
            pool = next(iter(self._accepting))
            if not pool.is_empty:
                return
        self._accepting.pop(pool, None)
        self._pools.pop((pool.route, pool.target.origin), None)


def _close_rest(engine: Engine, rest: Rest) -> None:
    """Nobody has the client any more; what is left are its idle connections."""
    if not engine.closed:
        engine.call_from_thread(rest.close)  # the collector may run in any thread


def _frozen(ssl_options: Any) -> Any:
    """Return what tells TLS options from others."""
    if isinstance(ssl_options, Mapping):
        return tuple(sorted((str(name), repr(value)) for name, value in ssl_options.items()))
    return ssl_options if isinstance(ssl_options, ssl.SSLContext) else repr(ssl_options)
