"""For testing web applications: a client that needs no socket, modelled on Flask's.

    with app.test_client() as client:
        response = client.get("/")
        assert response.status_code == 200
        assert "Hello" in response.text

The application runs behind a `pants.http.HTTPServer`, as it does elsewhere: forms, cookies, limits, hooks and error
pages are the same. But the server is on a `pants.testing.MemoryEngine`, so that there are no sockets and no threads,
and time passes only where the test waits for something: the engine's, not the clock's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Unpack

from pants._timers import check_seconds
from pants.http import HTTPRequest
from pants.testing import MemoryEngine
from pants.web._test_asking import Asker
from pants.web._test_closing import ClosedByWith
from pants.web._test_request import RequestOptions, TestRequest, make_request, merged, resolve
from pants.web._test_response import TestResponse
from pants.web._test_websocket import TestWebSocket, open_websocket

__all__ = ["TestClient", "TestRequest", "TestResponse", "TestWebSocket"]


class TestClient(ClosedByWith, Asker):
    """A client for tests of a web application.

    Each request is made on a connection of its own, and the call returns once all of the answer is there. Cookies are
    kept from one to the next.

    An exception in the application that became an answer with status 500, or that would otherwise only be seen in the
    log, is raised by the call that let it happen, in the place of its line in the log. ``raise_failures=False`` gives
    the error page and the line instead.

    What the application does later belongs to `engine`, which is the ``request.connection.engine`` of its requests, and
    runs only in the methods of this client; `advance` lets its time pass. The global `pants.Engine.instance` is another
    one, of which the client knows nothing: an application that has its timers there is answered later only if the test
    polls that engine. Cookies expire by the real time.

    A client is for one thread. It need not be closed, but `close`, or a ``with`` block, tells the application that its
    streams and WebSockets have ended.

    Args:
        app: The `pants.web.Application`, or another request handler.
        base_url: What the paths that are asked for are paths of: a scheme and a host. With ``https`` the requests are
            secure, though nothing is encrypted.
        headers: Header fields for each request.
        cookies: Whether to keep cookies.
        follow_redirects: Whether redirects are followed, unless a request says otherwise: to the same host, those above
            and below it. To others, which another program serves, they are never.
        raise_failures: Whether exceptions of the application are raised.
        remote_address: The address that the application sees as the client's.
        timeout: The seconds of the engine's time that an answer may take.
        **server_options: Further arguments for `pants.http.HTTPServer`: ``cookie_secret``, say.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: One has a value that makes no sense.

    Example:
        >>> from pants.web.testing import TestClient
        >>> def app(request):
        ...     request.send_response(f"Hello, {request.post['name'][0]}!")
        >>> TestClient(app).post("/", data={"name": "World"}).text
        'Hello, World!'
    """

    __test__ = False  # not a class of tests, whatever its name may tell pytest

    def __init__(
        self,
        app: Callable[[HTTPRequest], object],
        *,
        base_url: str = "http://localhost",
        headers: Any = None,
        cookies: bool = True,
        follow_redirects: bool = False,
        raise_failures: bool = True,
        remote_address: Any = ("127.0.0.1", 50000),
        timeout: float = 60.0,
        **server_options: Any,
    ) -> None:
        super().__init__(
            app,
            base_url=base_url,
            headers=headers,
            cookies=cookies,
            follow_redirects=follow_redirects,
            raise_failures=raise_failures,
            remote_address=remote_address,
            timeout=timeout,
            server_options=server_options,
        )

    # --- Requests -----------------------------------------------------------------------------------------------

    def request(
        self,
        method: str,
        path: str,
        *,
        query: Any = None,
        headers: Any = None,
        data: Any = None,
        json: Any = None,
        content_type: str | None = None,
        auth: tuple[str, str] | None = None,
        follow_redirects: bool | None = None,
        timeout: float | None = None,
        stream: bool = False,
    ) -> TestResponse:
        """Make a request.

        Args:
            method: The method.
            path: A path, with a query or without; or a whole URL, whose host the application is asked for.
            query: More for the query: a dict, whose values may be lists; pairs; or a str that is appended as it is.
            headers: More header fields. A value of None leaves one of the client's out.
            data: The content. A dict, or a list of pairs, is a form: a value is a str, bytes, a number or a list of
                them; or a file, which makes it a multipart form: a tuple (filename, content[, content type]), the
                content being bytes, a str or an open file, or just that file. Otherwise bytes, a str, an open file or
                an iterator of bytes, which is sent in chunks; their type is up to ``content_type``.
            json: What is sent as JSON.
            content_type: The type of the content. ``multipart/form-data`` makes a form that has no files a multipart
                one.
            auth: A user and a password (RFC 7617).
            follow_redirects: Whether redirects are followed; by default as the client does.
            timeout: The seconds of the engine's time that the answer may take; by default those of the client.
            stream: Whether to return at once, with what there is of the answer; see `TestResponse`.

        Returns:
            The answer.

        Raises:
            TypeError, ValueError: An argument is of the wrong type, or cannot be sent.
            OSError: A file cannot be read.
            RuntimeError: The client is closed; or the application makes the request by which it is being tested.
            pants.http.RequestTimedOut: The answer was not finished in time.
            pants.http.RequestClosed: The application has broken it off.
            pants.http.RedirectRefused: A redirect cannot be followed.
            Exception: What the application has raised.
        """
        self._check_free()
        request = make_request(
            self._base,
            self._headers,
            method,
            path,
            query=query,
            headers=headers,
            data=data,
            json=json,
            content_type=content_type,
            auth=auth,
        )
        follow = self.follow_redirects if follow_redirects is None else follow_redirects
        return self._follow(request, self._check_timeout(timeout), follow, stream)

    def open(self, path: str, method: str = "GET", **options: Unpack[RequestOptions]) -> TestResponse:
        """The same as `request`, with the method last."""
        return self.request(method, path, **options)

    def get(self, path: str, **options: Unpack[RequestOptions]) -> TestResponse:
        """Make a GET request; see `request`."""
        return self.request("GET", path, **options)

    def head(self, path: str, **options: Unpack[RequestOptions]) -> TestResponse:
        """Make a HEAD request; see `request`."""
        return self.request("HEAD", path, **options)

    def post(self, path: str, **options: Unpack[RequestOptions]) -> TestResponse:
        """Make a POST request; see `request`."""
        return self.request("POST", path, **options)

    def put(self, path: str, **options: Unpack[RequestOptions]) -> TestResponse:
        """Make a PUT request; see `request`."""
        return self.request("PUT", path, **options)

    def patch(self, path: str, **options: Unpack[RequestOptions]) -> TestResponse:
        """Make a PATCH request; see `request`."""
        return self.request("PATCH", path, **options)

    def delete(self, path: str, **options: Unpack[RequestOptions]) -> TestResponse:
        """Make a DELETE request; see `request`."""
        return self.request("DELETE", path, **options)

    def options(self, path: str, **options: Unpack[RequestOptions]) -> TestResponse:
        """Make an OPTIONS request; see `request`."""
        return self.request("OPTIONS", path, **options)

    def websocket(
        self, path: str, *, query: Any = None, headers: Any = None, subprotocols: Any = (), timeout: float | None = None
    ) -> TestWebSocket:
        """Open a WebSocket.

        Args:
            path: As for `request`.
            query: As for `request`.
            headers: As for `request`; ``Origin`` is one that a browser would send.
            subprotocols: Those to offer, best first.
            timeout: The seconds of the engine's time that it may take, and that it waits for a message.

        Returns:
            The WebSocket, which is open.

        Raises:
            TypeError, ValueError: An argument is of the wrong type, or cannot be sent.
            RuntimeError: The client is closed; or the application calls this.
            pants.http.HandshakeError: The application opens none; the error's ``status`` is that of its answer.
            Exception: What the application has raised.
        """
        self._check_free()
        limit = self._check_timeout(timeout)
        fields = merged(self._headers, headers)
        return open_websocket(self, resolve(self._base, path, query), fields, subprotocols, limit)

    # --- Time ---------------------------------------------------------------------------------------------------

    @property
    def engine(self) -> MemoryEngine:
        """The engine on which the application runs: that of ``request.connection``."""
        return self._engine

    def advance(self, seconds: float = 0.0) -> None:
        """Let time pass, and everything happen that happens meanwhile; by 0 seconds, all that is due now.

        Of a view that sends piece by piece, as the client takes them, each answer that was asked for with ``stream``
        gets one more piece, and another one each time that something else happens.

        Args:
            seconds: The seconds of the engine's time.

        Raises:
            TypeError, ValueError: ``seconds`` is not a number of seconds, 0 or more.
            RuntimeError: The client is closed; or the application calls this; or it has always something to do.
            Exception: What the application has raised.
        """
        check_seconds(seconds, "seconds", zero=True)
        self._check_free()
        end = self._engine.now + seconds
        with self._raising():
            while self._pass_time(end):
                pass

    def close(self) -> None:
        """Close the connections that are open, those of streams and WebSockets. Closing again does nothing.

        Raises:
            RuntimeError: The application calls this.
            Exception: What the application has raised.
        """
        if self._engine.closed:
            return
        self._check_free()
        try:
            with self._raising():
                for stream in list(self._streams):
                    stream._forget()
        finally:
            self._engine.close()
