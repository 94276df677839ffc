"""The client's end of a WebSocket to an application under test, in memory."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from pants.http import HTTPHeaders, RequestClosed, RequestTimedOut, WebSocket
from pants.http._target import Target
from pants.http._ws_client import ClientConnection, Connecting
from pants.http._ws_deflate import deflate_settings
from pants.http._ws_handshake import check_subprotocols
from pants.http._ws_request import ClientRequest
from pants.web._exchange import MemoryConnection
from pants.web._test_closing import ClosedByWith

if TYPE_CHECKING:
    from pants.web.testing import TestClient

# The longest message that is taken, in bytes.
_LONGEST: Final = 1 << 30


class _Connecting(Connecting):
    """The handshake, over a connection in memory."""

    def __init__(self, websocket: _End, request: ClientRequest, connect: Callable[[Connecting], Any]) -> None:
        self._connect = connect
        super().__init__(websocket, request)

    def _begin(self) -> None:
        self._make_opening()
        self._connection = self._connect(self)


class _End(WebSocket):
    """The client's end."""

    def __init__(self, request: ClientRequest, connect: Callable[[Connecting], Any]) -> None:
        self.received: deque[str | bytes] = deque()
        self.failure: Exception | None = None
        super().__init__(request)
        self.buffer_size = _LONGEST
        self.ping_interval = None  # the test sees what there is
        assert self._opening is not None
        self._opening.cancel()
        self._opening = _Connecting(self, request, connect)

    def on_connect(self) -> None:
        """See `WebSocket`."""

    def on_read(self, message: str | bytes) -> None:
        """See `WebSocket`."""
        self.received.append(message)

    def on_connect_error(self, exception: Exception) -> None:
        """See `WebSocket`."""
        self.failure = exception


class TestWebSocket(ClosedByWith):
    """A WebSocket to the application: the client's end, made by `pants.web.testing.TestClient.websocket`.

    It is a `pants.http.WebSocket` in memory, so that pings are answered and messages compressed. A ``with`` block
    closes it in the end.

    Example:
        >>> from pants.http import WebSocket
        >>> from pants.web.testing import TestClient
        >>> class Echo(WebSocket):
        ...     def on_read(self, message):
        ...         self.write(message)
        >>> client = TestClient(Echo)
        >>> with client.websocket("/") as websocket:
        ...     websocket.send("spam")
        ...     websocket.receive()
        'spam'
    """

    __test__ = False

    def __init__(self, client: TestClient, end: _End, url: str, timeout: float) -> None:
        self._client = client
        self._end = end
        self._url = url
        self._timeout = timeout

    def __repr__(self) -> str:
        state = "open" if self.connected else f"closed ({self.close_code})"
        return f"<{type(self).__name__} {state}, {self._url}>"

    @property
    def connected(self) -> bool:
        """Whether it is open."""
        return self._end.connected

    @property
    def subprotocol(self) -> str | None:
        """The subprotocol that the application has chosen, or None."""
        return self._end.subprotocol

    @property
    def headers(self) -> HTTPHeaders:
        """The header fields of the answer that opened it."""
        return HTTPHeaders() if self._end.response_headers is None else self._end.response_headers

    @property
    def close_code(self) -> int | None:
        """The code with which it was closed (RFC 6455 §7.4), by whichever end; None where there was none."""
        return self._end.close_code

    @property
    def close_reason(self) -> str:
        """What came with the code."""
        return self._end.close_reason

    @property
    def pending(self) -> int:
        """The number of messages that have come and were not received yet."""
        return len(self._end.received)

    def send(self, message: str | bytes) -> None:
        """Send a message; the application has dealt with it when this returns.

        Args:
            message: A str is text, bytes are binary data.

        Raises:
            TypeError: It is neither.
            pants.http.RequestClosed: The WebSocket is closed.
            Exception: What the application has raised.
        """
        self._client._check_free()
        if not self.connected:
            raise self._closed()
        self._end.write(message)
        self._settle()

    def receive(self, timeout: float | None = None) -> Any:
        """Return the next message of the application, a str or bytes, and wait for it if it has not come.

        Args:
            timeout: The seconds of the engine's time that this may take; by default those for opening it.

        Raises:
            pants.http.RequestTimedOut: There is none in time.
            pants.http.RequestClosed: The WebSocket is closed, and all that came before was received.
            Exception: What the application has raised.
        """
        client, end = self._client, self._end
        limit = self._timeout if timeout is None else client._check_timeout(timeout)
        if not end.received:
            client._check_free()
            with client._raising():
                self._wait(lambda: bool(end.received), limit)
            if not end.received:
                raise self._closed() if end.closed else RequestTimedOut(f"no message within {limit} seconds: {self!r}")
        return end.received.popleft()

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Close it, as a client does that goes. Closing again does nothing.

        Args:
            code: The code (RFC 6455 §7.4).
            reason: What goes with it.

        Raises:
            TypeError, ValueError: One of the two cannot be sent.
            Exception: What the application has raised.
        """
        if self._client.engine.closed or self._end.closed:
            return
        self._client._check_free()
        self._end.close(reason=code, message=reason)
        self._settle()

    def _settle(self) -> None:
        with self._client._raising():
            self._client.engine.advance()
        self._step()

    def _wait(self, until: Callable[[], bool], limit: float) -> None:
        """Let time pass until a condition holds, the WebSocket is closed, or the time is over."""
        client = self._client
        end = client.engine.now + limit
        client.engine.advance()
        while not (until() or self._end.closed) and client._pass_time(end):
            pass

    def _closed(self) -> RequestClosed:
        return RequestClosed(f"the WebSocket was closed, code {self.close_code} {self.close_reason!r}: {self!r}")

    # --- For the client -----------------------------------------------------------------------------------------

    def _step(self) -> None:
        """It needs nobody who has it go on."""
        if self._end.closed:
            self._client._streams.pop(self, None)

    def _forget(self) -> None:
        """The client is closing."""
        self._client._streams.pop(self, None)
        self._end.close(flush=False)
        self._client.engine.advance()


def open_websocket(
    client: TestClient, target: Target, fields: HTTPHeaders, subprotocols: Any, limit: float
) -> TestWebSocket:
    """Open a WebSocket; see `pants.web.testing.TestClient.websocket`."""
    headers = [(name, value) for name in fields for value in fields.get_list(name)]
    if "Cookie" not in fields and (cookies := client._cookies_for(target)):
        headers.append(("Cookie", cookies))
    request = ClientRequest(
        client.engine,
        target.url.replace("http", "ws", 1),
        headers=headers,
        subprotocols=check_subprotocols(subprotocols),
        compression=deflate_settings(True),
        proxy=None,
        max_redirects=0,
    )

    made: list[MemoryConnection] = []

    def connect(connecting: Connecting) -> ClientConnection:
        local = ("127.0.0.1", target.port)
        first, second = client.engine.socketpair(local, client.remote_address)
        client._server._accepted(first, client.remote_address)
        connection = next(reversed(client._server.channels.values()))
        assert isinstance(connection, MemoryConnection)
        connection.scheme = target.scheme
        made.append(connection)
        if client._failures is not None:
            connection.on_failure = client._failures.note
        near = ClientConnection(connecting, client.engine)
        near._adopt_socket(second)
        return near

    with client._raising():
        end = _End(request, connect)
        websocket = TestWebSocket(client, end, target.url, limit)
        try:
            websocket._wait(lambda: end.connected, limit)
            if end.failure is not None:
                client._keep_cookies(target, getattr(end.failure, "headers", HTTPHeaders()))
                raise end.failure
            if end.response_headers is None:
                raise RequestTimedOut(f"the WebSocket was not opened within {limit} seconds: {websocket!r}")
        except BaseException:
            for connection in made:
                connection.close(flush=False)  # else it would wait whether there is more to come of the client
            with contextlib.suppress(Exception):
                websocket._forget()
            raise
    client._keep_cookies(target, websocket.headers)
    if not end.closed:
        client._streams[websocket] = None
    return websocket
