"""An asynchronous HTTP client (manual: "pants.http.client")."""

from __future__ import annotations

import logging
import threading
from typing import Any

from pants.engine import Engine
from pants.http._client_cookies import store_cookies
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
from pants.http._client_pool import Pool
from pants.http._client_request import HTTPRequest
from pants.http._client_response import HTTPResponse, Timings
from pants.http._client_session import Session
from pants.http._client_settings import Retries, Route, Timeout, check_count
from pants.http._limits import ClientLimits
from pants.http._reply import ReplyParser
from pants.http.utils import HTTPHeaders

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
        self.engine = engine
        self.max_connections = max_connections
        self.limits = limits
        self._reply_parser = ReplyParser(limits.headers, limits.header_count)
        self._pools: dict[tuple[Route, str], Pool] = {}
        self._exchanges: set[Exchange] = set()
        self._closed = False
        self._sessions: list[Session] = []
        session = Session(self, on_response, on_headers, on_progress, on_ssl_error, on_error, *args, **kwargs)
        for name, hook in session._hooks.items():
            if name != "on_data":
                setattr(self, name, hook)
        session._hooks = {name: hook for name, hook in session._hooks.items() if name == "on_data"}
        self._sessions.append(session)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} with {len(self._exchanges)} requests under way>"

    # --- Requests -----------------------------------------------------------------------------------------------

    @property
    def _active(self) -> Session | None:
        return self._sessions[-1] if self._sessions else None

    def session(self, *args: Any, **kwargs: Any) -> Session:
        """Return a new `Session`, which takes from the active one what is not given (manual: "HTTPClient.session")."""
        return Session(self, *args, **kwargs)

    def request(self, *args: Any, **kwargs: Any) -> Exchange:
        """Begin a request in the active session; see `Session.request`."""
        return self._sessions[-1].request(*args, **kwargs)

    def get(self, url: str, params: Any = None, **kwargs: Any) -> Exchange:
        """Begin a GET request; see `Session.request`."""
        return self._sessions[-1].request("GET", url, params, **kwargs)

    def head(self, url: str, params: Any = None, **kwargs: Any) -> Exchange:
        """Begin a HEAD request; see `Session.request`."""
        return self._sessions[-1].head(url, params, **kwargs)

    def post(self, url: str, data: Any = None, files: Any = None, **kwargs: Any) -> Exchange:
        """Begin a POST request; see `Session.request`."""
        return self._sessions[-1].post(url, data, files, **kwargs)

    def put(self, url: str, data: Any = None, **kwargs: Any) -> Exchange:
        """Begin a PUT request; see `Session.request`."""
        return self._sessions[-1].put(url, data, **kwargs)

    def patch(self, url: str, data: Any = None, **kwargs: Any) -> Exchange:
        """Begin a PATCH request; see `Session.request`."""
        return self._sessions[-1].patch(url, data, **kwargs)

    def delete(self, url: str, **kwargs: Any) -> Exchange:
        """Begin a DELETE request; see `Session.request`."""
        return self._sessions[-1].delete(url, **kwargs)

    def options(self, url: str, **kwargs: Any) -> Exchange:
        """Begin an OPTIONS request; see `Session.request`."""
        return self._sessions[-1].options(url, **kwargs)

    def trace(self, url: str, **kwargs: Any) -> Exchange:
        """Begin a TRACE request; see `Session.request`."""
        return self._sessions[-1].trace(url, **kwargs)

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

        It costs two more connections, so it is only done where this is overridden. A certificate that is accepted is
        so for the client's further connections to that server.

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
        """Cancel what is under way, and close the connections. The client makes no more requests then."""
        self._closed = True
        for exchange in list(self._exchanges):
            exchange._cancel()
        for pool in list(self._pools.values()):
            pool.close()

    def close_idle(self) -> None:
        """Close the connections that nobody uses at the moment."""
        for pool in list(self._pools.values()):
            pool.close()

    # --- For exchanges and pools ----------------------------------------------------------------------------------

    def _is_elsewhere(self) -> bool:
        """Whether the engine runs in another thread than this one."""
        thread = self.engine.thread
        return thread is not None and thread != threading.get_ident()

    def _begin(self, exchange: Exchange) -> None:
        if self._closed:
            raise RuntimeError(f"{self!r} is closed; make a new one")
        self._exchanges.add(exchange)
        if self._is_elsewhere():
            self.engine.call_from_thread(exchange._start)
        else:
            exchange._start()

    def _finished(self, exchange: Exchange) -> None:
        self._exchanges.discard(exchange)

    def _is_own(self, hook: Any) -> bool:
        """Whether a hook is the one that is here, rather than one of the program's."""
        return getattr(hook, "__func__", None) in (HTTPClient.on_ssl_error, HTTPClient.on_error)

    def _find_pool(self, request: HTTPRequest) -> Pool:
        target = request._target
        key = (request._route, target.origin)
        pool = self._pools.get(key)
        if pool is None:
            pool = self._pools[key] = Pool(self, target, request._route)
        return pool

    def _forget_pool(self, pool: Pool) -> None:
        self._pools.pop((pool.route, pool.target.origin), None)

    def _store_cookies(self, request: HTTPRequest, headers: HTTPHeaders) -> None:
        store_cookies(request.session._jar, request._target, headers.get_list("Set-Cookie"))
