"""One request to an `HTTPServer` in memory, and its answer as it comes.

`pants.web.testing` and `pants.web._as_wsgi` are both clients of a server that has no socket: the server runs on a
`pants.testing.MemoryEngine`, so that all it does for a request is done by the one who asks, in one thread.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Final

from pants.engine import Engine
from pants.http import ClientLimits, HTTPConnection, HTTPRequest, HTTPServer
from pants.http._body import BodyToEnd, ChunkedBody, LengthBody
from pants.http._reply import Reply, ReplyParser, ReplyReader
from pants.testing import MemoryEngine

# What a server of the program's own answers is not limited.
_BOUNDLESS: Final = ClientLimits(header=1 << 30, headers=1 << 30, header_count=1 << 20, interim=1 << 20)
_PARSER: Final = ReplyParser(_BOUNDLESS)
_ANY_SIZE: Final = 1 << 62
# RFC 9112 §6.3: answers that end with their head.
_WITHOUT_CONTENT: Final = frozenset({101, 204, 304})
# What only a server that listens can use, and what has its own place here.
_NOT_OPTIONS: Final = {
    "ConnectionClass": "connections are made in memory",
    "engine": "it has an engine of its own",
    "proxy_protocol": "there is no connection that could begin with a header",
    "request_handler": "it is the first argument",
    "reuse_port": "it does not listen",
    "socket": "it needs no socket",
    "ssl_options": "there is no TLS in memory",
}

Failure = Callable[[Exception, TracebackType | None], object]


class MemoryRequest(HTTPRequest):
    """A request that came by a connection in memory."""

    def __init__(self, connection: MemoryConnection, *args: Any) -> None:
        super().__init__(connection, *args)
        self.scheme = connection.scheme
        if connection.script_name:
            self.script_name = connection.script_name


class MemoryConnection(HTTPConnection):
    """A connection in memory. What it cannot know, as it has no socket, is told to it."""

    __slots__ = ()

    request_class = MemoryRequest

    #: ``http`` or ``https``, for the requests.
    scheme: str = "http"
    #: What stands before the path of the requests.
    script_name: str = ""
    #: Called with what leaves a request handler or one of the hooks, and its traceback.
    on_failure: Failure | None = None
    #: Whether `on_write` is owed: all has been sent, and the client has not taken it.
    write_due: bool = False

    def on_write(self) -> None:
        """As `HTTPConnection.on_write`, but not before the client has taken what was sent."""
        if self.socket is not None and self.socket.other.inbox:  # type: ignore[attr-defined]
            self.write_due = True
        else:
            super().on_write()

    def go_on(self) -> None:
        """The client has taken all that was sent."""
        if self.write_due and self.connected:
            self.write_due = False
            self._call_hook(self.on_write)

    @property
    def has_unread(self) -> bool:
        """Whether there is something that the server has been sent and does not read."""
        return self.socket is not None and bool(self.socket.inbox)  # type: ignore[attr-defined]

    def _watch_taking(self) -> None:
        """A client in memory may take its time: it has a network behind it that has limits of its own, or is a test."""

    def _handler_failed(self, request: HTTPRequest, exception: Exception) -> None:
        counters, traceback = self.server.counters, exception.__traceback__
        before = counters.failures
        super()._handler_failed(request, exception)
        if counters.failures > before and self.on_failure is not None:  # it is no refusal
            self.on_failure(exception, traceback)

    def on_error(self, exception: Exception) -> None:
        """See `pants.Stream`."""
        if self.on_failure is not None:
            self.on_failure(exception, exception.__traceback__)
        super().on_error(exception)


def make_server(handler: Callable[[HTTPRequest], object], engine: Engine, options: dict[str, Any]) -> HTTPServer:
    """Make a server in memory.

    Args:
        handler: The request handler.
        engine: The engine.
        options: Further arguments of `HTTPServer`.

    Raises:
        TypeError, ValueError: As `HTTPServer`; or an option is none that a server in memory has.
    """
    if not callable(handler):
        raise TypeError(f"an application, or another request handler, is called with each request; not {handler!r}")
    for name, reason in _NOT_OPTIONS.items():
        if name in options:
            raise TypeError(f"{name} is no option here: {reason}")
    known = inspect.signature(HTTPServer.__init__).parameters
    for name in options:
        if name not in known:
            raise TypeError(f"{name!r} is no option of pants.http.HTTPServer")
    return HTTPServer(handler, engine=engine, ConnectionClass=MemoryConnection, **options)


class Exchange:
    """A request to a server in memory, and its answer. The engine runs in its methods only.

    Args:
        server: The server.
        method: The method of the request.
        remote_address: The client's address.
        local_address: The server's.
        scheme: ``http`` or ``https``.
        script_name: What stands before the path of the request.
        window: The most bytes that are taken of the answer at once; None for no limit.
        on_content: Called with each piece of the answer's content.

    Attributes:
        connection: The server's end.
        reply: The head of the answer, once that has arrived.
        done: Whether the answer is complete.
        broken: Whether the connection has ended before it was.
    """

    def __init__(
        self,
        server: HTTPServer,
        method: str,
        *,
        remote_address: Any,
        local_address: Any,
        scheme: str = "http",
        script_name: str = "",
        window: int | None = None,
        on_content: Callable[[bytes], object],
    ) -> None:
        engine = server.engine
        assert isinstance(engine, MemoryEngine)
        self.engine = engine
        self.reply: Reply | None = None
        self.done = self.broken = False
        self._method = method
        self._window = window
        self._on_content = on_content
        self._reader = ReplyReader(_PARSER, _BOUNDLESS.interim)
        self._body: LengthBody | ChunkedBody | BodyToEnd | None = None
        self._content: Iterator[bytes] = iter(())  # what is still to be sent
        self._sent = True  # whether that is nothing
        self._peer = engine.accept(server, remote_address=remote_address)
        connection = next(reversed(server.channels.values()))
        assert isinstance(connection, MemoryConnection)
        self.connection = connection
        connection.local_address = local_address
        connection.scheme, connection.script_name = scheme, script_name
        if window is not None:
            self._peer.window = window

    def send(self, head: bytes, content: Iterator[bytes] | None = None) -> None:
        """Send the request's head; `step` sends the content.

        Args:
            head: All up to the empty line, that included.
            content: The content, in its framing; None where there is none.
        """
        if content is not None:
            self._content, self._sent = content, False
        self._peer.send(head)

    def step(self) -> bool:
        """Take what the server has sent; or else have it go on, or send it more of the content.

        Returns:
            Whether anything has come of it. If not, only time can bring more.
        """
        if self.done or self.broken:
            return False
        if self._take():
            return True
        if self.connection.write_due:
            self.engine.callback(self.connection.go_on)  # in the loop, as everything that calls hooks
        if self._window is None:
            self.engine.advance()
        else:
            self._peer.window = self._window  # which has it run, too
        return self._take() or self._send_more()

    def take(self) -> None:
        """Take what the server has sent, without running it."""
        while not (self.done or self.broken) and self._take():
            pass

    def _take(self) -> bool:
        if data := self._peer.take():
            self._received(data)
            return True
        if self._peer.ended or self._peer.was_reset:
            self._ended()
            return True
        return False

    def _send_more(self) -> bool:
        if self._sent or self.connection.has_unread:
            return False
        piece = next(self._content, None)
        if piece is None:
            self._sent = True
        else:
            self._peer.send(piece)
        return True

    # --- The answer ---------------------------------------------------------------------------------------------

    def _received(self, data: bytes) -> None:
        if self.reply is None:
            self.reply = self._reader.feed(data)
            if self.reply is None:
                return
            self._body = self._framing(self.reply)
            data = self._reader.rest
        body = self._body
        if body is not None:
            body.feed(data, 0)
        if body is None or body.done:
            self.done = True

    def _framing(self, reply: Reply) -> LengthBody | ChunkedBody | BodyToEnd | None:
        """How the content is framed (RFC 9112 §6.3); None where there is none."""
        if self._method == "HEAD" or reply.status in _WITHOUT_CONTENT:
            return None
        if reply.chunked:
            return ChunkedBody(_ANY_SIZE, self._on_content, _BOUNDLESS)
        if reply.length is not None:
            return LengthBody(reply.length, self._on_content)
        return BodyToEnd(self._on_content)

    def _ended(self) -> None:
        if isinstance(self._body, BodyToEnd) and not self._peer.was_reset:
            self.done = True
        else:
            self.broken = True

    # --- The end ------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Close the connection; what is under way at the server has lost its client then.

        Raises:
            RuntimeError: The server always has something to do.
        """
        self._content, self._sent = iter(()), True
        if self.connection.current_request is None or not self.connection.connected:
            self._peer.close()
        else:
            self._peer.reset()
