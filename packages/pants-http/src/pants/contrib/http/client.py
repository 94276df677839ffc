"""The client of the older API (the page "pants.contrib.http", "Client").

Deprecated: new programs use `pants.http.client`.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from functools import cached_property
from http.cookies import SimpleCookie
from typing import Any, Self, TypeVar

from pants.http import client as _new
from pants.http._client_settings import check_flag
from pants.http.utils import HTTPHeaders

__all__ = ["ClientHelper", "HTTPClient", "HTTPResponse"]

log = logging.getLogger("pants.http")

Handler = TypeVar("Handler", bound=Callable[..., object])


class HTTPClient:
    """An HTTP/1.1 client.

    Deprecated: new programs use `pants.http.HTTPClient`.

    What it does with responses is determined by `on_response`: override it in a subclass, assign to it, or give it as
    the first argument. A single call may have a handler of its own, for which `get` and `post` return a decorator; that
    object waits for responses, too: see `ClientHelper`.

    Args:
        response_handler: Called with each `HTTPResponse`, in the place of `on_response`.
        max_redirects: How many redirects are followed. The response beyond that is handed over as it is.
        keep_alive: Whether a connection is used for several requests.
        unicode: Whether the `HTTPResponse.body` is a str where the Content-Type header names its charset.
        **kwargs: For `pants.http.HTTPClient`: ``engine``, ``timeout``, ``headers``, ``verify_ssl``, ``ssl_options`` and
            others. Certificates are verified unless ``verify_ssl`` is False.

    Raises:
        TypeError, ValueError, OSError: As `pants.http.HTTPClient`.

    Example:
        >>> from pants.contrib.http import HTTPClient, HTTPServer
        >>> server = HTTPServer(lambda request: request.send_response("Hello, World!")).listen(("127.0.0.1", 0))
        >>> client = HTTPClient()
        >>> @client.get("http://127.0.0.1:%d/" % server.local_address[1])
        ... def handle_response(response):
        ...     print(response.status, response.status_text, response.body)
        >>> _ = client.process()
        200 OK b'Hello, World!'
        >>> client.close()
        >>> server.close()
    """

    def __init__(
        self,
        response_handler: Callable[[HTTPResponse], object] | None = None,
        max_redirects: int = 5,
        keep_alive: bool = True,
        unicode: bool = True,
        **kwargs: Any,
    ) -> None:
        check_flag(unicode, "unicode")
        if response_handler is not None:
            if not callable(response_handler):
                raise TypeError(f"response_handler is a callable, not {response_handler!r}")
            self.on_response = response_handler  # type: ignore[assignment,method-assign]
        self.unicode = unicode
        # The two hooks are named so that nobody gives them: they are this client's own.
        self._client = _new.HTTPClient(
            on_response=None, on_error=None, max_redirects=max_redirects, keep_alive=keep_alive, **kwargs
        )

    def get(self, url: str, params: Any = None, **kwargs: Any) -> ClientHelper:
        """Begin a GET request; see `ClientHelper.get`."""
        return ClientHelper(self).get(url, params, **kwargs)

    def post(self, url: str, data: Any = None, files: Any = None, **kwargs: Any) -> ClientHelper:
        """Begin a POST request; see `ClientHelper.post`."""
        return ClientHelper(self).post(url, data, files, **kwargs)

    def on_response(self, response: HTTPResponse) -> object:
        """Called with each response that is complete, whatever its status, unless its call has a handler of its own.

        What is raised here, or in `on_error`, is logged.
        """

    def on_error(self, response: HTTPResponse, exception: Exception) -> object:
        """Called when a request has failed. By default that is logged, unless `ClientHelper.fetch` raises it.

        Args:
            response: The response, as far as it has arrived: its ``status`` is 0 where nothing has. Its ``request``
                tells what was asked for.
            exception: A `pants.http.HTTPClientException` or a `pants.http.CertificateError`; or what a hook has raised.
        """
        known = isinstance(exception, (_new.HTTPClientException, _new.CertificateError))
        method, url = response.request[0], response.url  # without credentials
        log.warning("%s %s failed: %s", method, url, exception, exc_info=None if known else exception)
        return None

    def process(self) -> Self:
        """Run the engine until all that this client has asked for is answered, or has failed.

        Where the engine runs in another thread, it is waited for. What handlers ask for meanwhile is included.
        """
        while exchanges := list(self._client._exchanges):
            for exchange in exchanges:
                try:
                    exchange.wait()
                except Exception as error:
                    if error is not exchange.error:  # it comes out of the engine
                        raise
        return self

    def close(self) -> None:
        """Give up what is under way, and close the connections."""
        self._client.close()


class ClientHelper:
    """What `HTTPClient.get` and `HTTPClient.post` return: a decorator for the handler, and a place to wait.

    Deprecated: new programs use `pants.http.HTTPClient`, whose ``get`` and ``post`` take ``on_response``, and return a
    `pants.http.Exchange`.

    - As a decorator, it has a function called with the responses to its requests, rather than
      `HTTPClient.on_response`: all of its requests, those that are added later included. Nothing is told before the
      engine goes on, so it is early enough.
    - `get` and `post` add further requests, which are begun at once.
    - `fetch` waits for its own responses and returns them; `process` waits for all of the client's.

    Args:
        parent: The `HTTPClient`.

    Attributes:
        parent: The same.

    Raises:
        TypeError: ``parent`` is none.

    Example:
        >>> from pants.contrib.http import HTTPClient, HTTPServer
        >>> server = HTTPServer(lambda request: request.send_response(request.uri)).listen(("127.0.0.1", 0))
        >>> url = "http://127.0.0.1:%d" % server.local_address[1]
        >>> client = HTTPClient()
        >>> [response.body for response in client.get(url + "/a").get(url + "/b").fetch()]
        [b'/a', b'/b']
        >>> client.close()
        >>> server.close()
    """

    def __init__(self, parent: HTTPClient) -> None:
        if not isinstance(parent, HTTPClient):
            raise TypeError(f"parent is a pants.contrib.http.HTTPClient, not {parent!r}")
        self.parent = parent
        self._handlers: list[Callable[..., object]] = []  # of which the last counts
        self._calls: list[tuple[_Call, _new.Exchange]] = []

    def __call__(self, handler: Handler) -> Handler:
        """Have ``handler`` called with each response.

        Returns:
            The handler.

        Raises:
            TypeError: It is not callable.
        """
        if not callable(handler):
            raise TypeError(f"a handler is a callable, not {handler!r}")
        self._handlers.append(handler)
        return handler

    def get(self, url: str, params: Any = None, **kwargs: Any) -> Self:
        """Begin a GET request.

        Args:
            url: Its URL.
            params: Parameters to add to the URL's query.
            **kwargs: As of `pants.http.Session.request`: ``headers``, ``timeout``, ``cookies``, ``auth``,
                ``verify_ssl`` and others.

        Returns:
            This helper, to which the request belongs.

        Raises:
            TypeError, ValueError, OSError, RuntimeError: As `pants.http.Session.request`.
        """
        return self._begin("GET", url, params=params, **kwargs)

    def post(self, url: str, data: Any = None, files: Any = None, **kwargs: Any) -> Self:
        """Begin a POST request.

        Args:
            url: Its URL.
            data: Its content: a dict or pairs to be sent as a form; a str or bytes; a file.
            files: Files to upload.
            **kwargs: As of `get`.

        Returns:
            This helper, to which the request belongs.

        Raises:
            TypeError, ValueError, OSError, RuntimeError: As `pants.http.Session.request`.
        """
        return self._begin("POST", url, data=data, files=files, **kwargs)

    def _begin(self, method: str, url: str, **kwargs: Any) -> Self:
        given = {name: value for name, value in kwargs.items() if value is not None}
        call = _Call(self.parent, [method, url, given], self._handlers)
        exchange = self.parent._client.request(method, url, on_response=call.responded, on_error=call.failed, **given)
        self._calls.append((call, exchange))
        return self

    def fetch(self) -> Any:
        """Run the engine until all of this helper's requests are answered.

        Where the engine runs in another thread, it is waited for. Handlers are called as well.

        Returns:
            The `HTTPResponse`. Where there are several requests, a list of them in the order of the requests.

        Raises:
            pants.http.HTTPClientException, pants.http.CertificateError: A request has failed, or was given up by
                `HTTPClient.close`. The others go on.
        """
        responses = [call.wait(exchange) for call, exchange in self._calls]
        return responses[0] if len(responses) == 1 else responses

    def process(self) -> Self:
        """Run the engine until all that the client has asked for is answered; see `HTTPClient.process`."""
        self.parent.process()
        return self


class _Call:
    """A request of a helper, and what becomes of it.

    Args:
        client: The client.
        request: What was asked for.
        handlers: Those of the helper. The exchange knows this object, so it knows neither the exchange nor the helper.
    """

    def __init__(self, client: HTTPClient, request: list[Any], handlers: list[Callable[..., object]]) -> None:
        self.client = client
        self.request = request
        self.handlers = handlers
        self.waited_for = False
        self._response: HTTPResponse | None = None
        self._lock = threading.Lock()  # wait() may be called in another thread than the engine's

    def responded(self, received: _new.HTTPResponse) -> None:
        handler = self.handlers[-1] if self.handlers else self.client.on_response
        handler(self._convert(received))

    def failed(self, received: _new.HTTPResponse, exception: Exception) -> None:
        hook = self.client.on_error
        if not (self.waited_for and getattr(hook, "__func__", None) is HTTPClient.on_error):
            hook(self._convert(received), exception)

    def wait(self, exchange: _new.Exchange) -> HTTPResponse:
        self.waited_for = True
        return self._convert(exchange.wait())

    def _convert(self, received: _new.HTTPResponse) -> HTTPResponse:
        """Return the one response that handlers and whoever waits are given."""
        with self._lock:
            if self._response is None:
                self._response = _make_response(self.client, self.request, received)
            return self._response


class HTTPResponse:
    """A response that an `HTTPClient` has received.

    Deprecated: new programs use `pants.http.HTTPResponse`.

    Args:
        client: The `HTTPClient`.
        request: What was asked for: a list of the method, the URL, and a dict of the other arguments of the call.
        http_version: ``HTTP/1.1`` or ``HTTP/1.0``.
        status: The status code, as an int.
        status_text: The reason that goes with it, as the server put it.
        headers: The header fields.

    Attributes:
        client, request, http_version, status, status_text: The same.
        headers: The header fields. Names of any case will do.
        content: The content, as bytes.
        cookies: The cookies that came with it.
        history: The responses that led to this one: redirects, and demands for authentication.
        url: The URL that it comes from, the last of the redirects.
    """

    _charset: str | None = None

    def __init__(
        self,
        client: HTTPClient,
        request: list[Any],
        http_version: str,
        status: int,
        status_text: str,
        headers: Mapping[str, str],
    ) -> None:
        self.client = client
        self.request = request
        self.http_version = http_version
        self.status = status
        self.status_text = status_text
        self.headers = headers if isinstance(headers, HTTPHeaders) else HTTPHeaders(headers)
        self.content = b""
        self.cookies = SimpleCookie()
        self.history: list[HTTPResponse] = []
        self.url: str = request[1]

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.status} {self.status_text} from {self.url}>"

    @cached_property
    def body(self) -> Any:
        """The content: a str where the client's ``unicode`` is true and the Content-Type header has its charset.

        It is bytes where that names no charset, or one that is not known, or the content is malformed in it.
        """
        if self.client.unicode and self._charset is not None:
            try:
                return self.content.decode(self._charset)
            except UnicodeDecodeError:
                pass
        return self.content


def _make_response(client: HTTPClient, request: list[Any], received: _new.HTTPResponse) -> HTTPResponse:
    response = HTTPResponse(
        client, request, received.http_version, received.status_code, received.status_text, received.headers
    )
    response.content = received.content or b""
    response.cookies = received.cookies
    response.history = [_make_response(client, request, earlier) for earlier in received.history]
    response.url = received.url
    response._charset = received.encoding
    received.close()
    return response
