"""An HTTP/1.1 server (manual: "pants.http.server").

What a connection receives goes through `HTTPConnection.on_read` to a parser, becomes an `HTTPRequest`, and is handed to
the server's request handler. Requests of one connection are served one after another: as long as one is not answered,
what else arrives is held back, and beyond a bound not read any more.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Final, Self

from pants import Server, Stream
from pants.http import _answer
from pants.http._body import ChunkedBody, LengthBody
from pants.http._head import HEAD_END, MOST_KEPT, Head, QuickParser, check_beginning, match_repeated, parse
from pants.http._refused import Refused
from pants.http._request import HTTPRequest

__all__ = ["HTTPConnection", "HTTPRequest", "HTTPServer"]

log = logging.getLogger("pants.http")

# The bytes of further requests that are held back before reading is paused.
_MAX_HELD: Final = 65536
# Pipelined requests are answered this many at a time, or fewer when the answers have so many bytes.
_BATCH: Final = 16
_MAX_OWED: Final = 65536

# Values of HTTPConnection._phase.
_IDLE: Final = 0  # nothing of the next request has arrived
_PARTIAL: Final = 1  # a part of it has
_SERVING: Final = 2  # requests are being taken out of what arrived
_WAITING: Final = 3  # for an answer to be given or taken, before what was held back is looked at


class HTTPServer(Server):
    """A server that speaks HTTP/1.1 (manual: "HTTPServer").

    Args:
        request_handler: Called with each request, an `HTTPRequest`.
        max_request: The longest body of a request to take, in bytes; it is held in memory. A longer one is answered
            with 413.
        keep_alive: Whether a connection may carry several requests.
        **kwargs: For `pants.Server`.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: ``max_request`` is negative; or as `pants.Server`.

    Example:
        >>> from pants.http import HTTPServer
        >>> def my_handler(request):
        ...     request.send_response("Hello World.")
        >>> server = HTTPServer(my_handler).listen(("127.0.0.1", 0))
        >>> server.close()
    """

    __slots__ = ("_is_secured", "answers", "keep_alive", "max_request", "parse_quickly", "request_handler")

    #: Makes the heads of the answers.
    answers: _answer.AnswerHeads

    def __init__(
        self,
        request_handler: Callable[[HTTPRequest], object],
        max_request: int = 10485760,
        keep_alive: bool = True,
        **kwargs: Any,
    ) -> None:
        if not callable(request_handler):
            raise TypeError(f"request_handler is a callable, not {request_handler!r}")
        if isinstance(max_request, bool) or not isinstance(max_request, int):
            raise TypeError(f"max_request is a number of bytes, not {max_request!r}")
        if max_request < 0:
            raise ValueError(f"max_request is a number of bytes, 0 or more, not {max_request}")
        self.request_handler = request_handler
        self.max_request = max_request
        self.keep_alive = keep_alive
        self.answers = _answer.AnswerHeads()
        self.parse_quickly = QuickParser().parse
        self._is_secured = False
        kwargs.setdefault("ConnectionClass", HTTPConnection)
        super().__init__(**kwargs)

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


class HTTPConnection(Stream):
    """A connection to an `HTTPServer` (manual: "HTTPConnection").

    Programs seldom meet it: what they need is in `HTTPRequest`. It can be the base of a class for another protocol on
    top of HTTP, to be passed to the server as ``ConnectionClass``.

    Args:
        *args, **kwargs: For `pants.Stream`; ``server`` has to be an `HTTPServer`.

    Raises:
        TypeError: ``server`` is none.
    """

    __slots__ = (
        "_body",
        "_cancel_slow",
        "_choked",
        "_fields",
        "_held",
        "_incomplete_since",
        "_parse_quickly",
        "_peer_ended",
        "_phase",
        "_upcoming",
        "answers",
        "current_request",
    )

    #: Seconds for the head of a request to arrive, from its first byte on.
    header_timeout: float = 30.0
    #: Seconds for the body of a request to arrive, besides one for each `body_rate` bytes of it that have.
    body_timeout: float = 30.0
    #: The number of bytes a second at which a body has to arrive in the long run.
    body_rate: int = 500
    #: Seconds that an idle connection is kept open, and that a client may take nothing of an answer.
    keep_alive_timeout: float = 75.0

    #: The request that is being served, or None (manual: "current_request").
    current_request: HTTPRequest | None

    server: HTTPServer

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        server = kwargs.get("server")
        if not isinstance(server, HTTPServer):
            raise TypeError(f"an HTTPConnection belongs to an HTTPServer, not {server!r}")
        self.current_request = None
        self.answers = server.answers
        self._parse_quickly = server.parse_quickly
        self._fields = b""  # those of the last ordinary request, and the protocol before them
        self._phase = _IDLE
        self._held: bytearray | None = None  # what arrived and was not looked at yet, or is a part of a head
        self._upcoming: HTTPRequest | None = None  # a request whose body is still arriving
        self._body: LengthBody | ChunkedBody | None = None
        self._incomplete_since: float | None = None  # the engine's time when that began of which the rest is to arrive
        self._cancel_slow: Callable[[], None] | None = None
        self._choked = False  # the client does not take the answers, so nothing is read until it does
        self._peer_ended = False
        super().__init__(*args, **kwargs)

    # --- Receiving ----------------------------------------------------------------------------------------------

    def on_connect(self) -> None:
        """Limits how long the connection may be idle."""
        self.idle_timeout = self.keep_alive_timeout

    def on_read(self, data: bytes) -> None:
        """Serves the requests that arrive."""
        if self._phase == _IDLE and (request := self._ordinary_request(data)):
            self._phase = _SERVING
            self._handle_request(request)
            self._settle()
        elif self._phase < _SERVING:
            held = self._held
            if held is None:
                self._serve(data, 0)
            else:
                searched = max(0, len(held) - len(HEAD_END) + 1)
                held += data
                self._held = None
                self._serve(held, searched)
        else:
            if self._held is None:
                self._held = bytearray(data)
            else:
                self._held += data
            if len(self._held) > _MAX_HELD:
                self.pause_reading()

    def _ordinary_request(self, data: bytes) -> HTTPRequest | None:
        """Make a request of ``data``, if that is one without a body and without anything unusual, and nothing else."""
        fields = self._fields
        if fields and data.endswith(fields) and (match := match_repeated(data, 0, len(data) - len(fields))):
            method, url = match[1].decode(), match[2].decode()
        elif data.endswith(HEAD_END) and (found := self._parse_quickly(data)):
            method, url = found
            fields = data[len(method) + 1 + len(url) :]
            self._fields = fields if len(fields) <= MOST_KEPT else b""
        else:
            return None
        request = HTTPRequest(self, method, url, "HTTP/1.1", None, "https" if self.secure else "http")
        request._head = data
        if not self.server.keep_alive:
            request._ending = _answer.CLOSE
        return request

    def _serve(self, data: bytes | bytearray, searched: int) -> None:
        """Serve the requests in ``data``, one after another, until one is left unanswered.

        Args:
            data: What was received, from the beginning of a head, or from within a body.
            searched: The position up to which there is no end of a head.
        """
        self._phase = _SERVING
        at = served = 0
        try:
            while at < len(data):
                if self._body is None:
                    if data.startswith(b"\r\n", at):  # RFC 9112 §2.2
                        at += 2
                        continue
                    end = data.find(HEAD_END, max(at, searched)) + len(HEAD_END)
                    if end < len(HEAD_END):
                        check_beginning(data, at, max(at, searched))
                        break
                    head = bytes(data[at:end])
                    # With another method there is a body, most likely, and the attempt not worth its time.
                    request = self._ordinary_request(head) if head.startswith((b"GET ", b"HEAD ")) else None
                    if request is None:
                        self._begin_request(parse(head), head, last=end == len(data))
                    else:
                        self._upcoming = request
                    at = end
                if self._body is not None:
                    at = self._body.feed(data, at)
                    if not self._body.done:
                        break
                self._complete_request()
                served += 1
                if self.current_request is not None or not self.connected or self._chokes(served):
                    break
        except Refused as refused:
            self._refuse(refused, with_content=not data.startswith(b"HEAD ", at))
            return
        # Not copied where that can be helped: a head may come a byte at a time.
        rest = data if not at and isinstance(data, bytearray) else bytearray(memoryview(data)[at:])
        meanwhile = self._held  # arrived while a handler polled the engine
        if rest:
            self._held = rest + (meanwhile or b"")
        self._settle(partial=meanwhile is None and (bool(rest) or self._body is not None))

    def _begin_request(self, head: Head, raw: bytes, last: bool) -> None:
        """Begin a request, and its body if it has one."""
        limit = self.server.max_request
        if head.length is not None and head.length > limit:
            raise Refused(413, "The body is too large")
        scheme = "https" if self.secure else "http"
        request = self._upcoming = HTTPRequest(self, head.method, head.target, head.protocol, None, scheme)
        request._head = raw
        keeps = head.keep_alive and self.server.keep_alive
        if head.protocol == "HTTP/1.1":
            request._ending = _answer.KEEP if keeps else _answer.CLOSE
        else:
            request._ending = _answer.KEEP_1_0 if keeps else _answer.CLOSE_1_0
        self._incomplete_since = None
        if head.length != 0:
            self._body = ChunkedBody(limit) if head.length is None else LengthBody(head.length)
            if head.expects and last:
                self.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _complete_request(self) -> None:
        """All of a request has arrived."""
        request, body = self._upcoming, self._body
        assert request is not None
        self._upcoming = self._body = None
        self._incomplete_since = None
        if body is not None:
            request.body = body.content()
        self._handle_request(request)

    def _handle_request(self, request: HTTPRequest) -> None:
        self.current_request = request
        try:
            self.server.request_handler(request)
        except Exception:
            log.exception("The request handler failed, on %r", request)
            if not request.finished:
                request.send_response("500 Internal Server Error\n", 500)
        except BaseException:
            self.close()
            raise

    def _chokes(self, served: int) -> bool:
        """Whether the client has to take answers first. They are sent in batches; pipelining saves little else."""
        if self.queued_bytes > _MAX_OWED or served % _BATCH == 0:
            self.flush()
            if self.queued_bytes:
                self.on_high_water()
        return self._choked

    def _settle(self, partial: bool = False) -> None:
        """Nothing can be done at once any more: find out what the connection waits for.

        Args:
            partial: Whether a part of a request has arrived, the rest of which has not.
        """
        if not self.connected:
            self._held = None
        elif self.current_request is not None or self._choked:
            self._phase = _WAITING
        elif partial:
            self._phase = _PARTIAL
            if self._peer_ended:  # the rest will not come
                self.close()
            elif self._incomplete_since is None:
                self._incomplete_since = self.engine.time
            if self._cancel_slow is None:
                self._cancel_slow = self.engine.defer(self.header_timeout, self._check_slow)
        elif self._held is not None:  # it arrived while a handler polled the engine
            self._phase = _WAITING
            self._go_on_soon()
        else:
            self._phase = _IDLE
            if self._peer_ended:
                self.close()

    def _refuse(self, refused: Refused, with_content: bool = True) -> None:
        """Answer a request that is not served; nothing is read after it (RFC 9112 §9.6)."""
        if self.connected:
            self.write(_answer.refusal(refused.status, refused.reason, with_content))
            self.close()

    # --- Answering ----------------------------------------------------------------------------------------------

    def finish(self) -> None:
        """Go on to the next request, or close the connection (manual: "HTTPConnection.finish").

        `HTTPRequest.finish` calls it, and is what programs call.
        """
        request, self.current_request = self.current_request, None
        if request is None:
            return
        request._finished = True
        if request._ending & _answer.CLOSE:
            self.close()
        elif self._phase == _WAITING:
            self._go_on_soon()

    def _go_on_soon(self) -> None:
        """Serve what was held back, from the loop."""
        if self._held is None and not self._peer_ended:
            self._phase = _IDLE
        else:
            self.engine.callback(self._go_on)

    def _go_on(self) -> None:
        if self._phase == _WAITING and self.current_request is None and self.connected and not self._choked:
            held, self._held = self._held, None
            self.resume_reading()
            self._serve(held or b"", 0)

    def on_high_water(self) -> None:
        """Reads nothing until the client has taken the answers it has got."""
        self._choked = True
        self.pause_reading()

    def on_write(self) -> None:
        """Goes on reading."""
        if self._choked:
            self._choked = False
            self.resume_reading()
            if self._phase == _WAITING and self.current_request is None:
                self._go_on_soon()

    # --- Ends ---------------------------------------------------------------------------------------------------

    def on_end(self) -> None:
        """Closes the connection, once the requests that have arrived are answered."""
        self._peer_ended = True
        if self._phase < _SERVING:
            self.close()

    def on_idle_timeout(self) -> None:
        """Closes the connection, unless its request is still being handled."""
        if self.current_request is None:
            self.close(flush=not self.queued_bytes)

    def _check_slow(self) -> None:
        """Refuse a request that takes too long to arrive."""
        self._cancel_slow = None
        if self._phase != _PARTIAL or self._incomplete_since is None:
            return  # it is complete; the timer is set again when another is not
        allowed = self.header_timeout
        if self._body is not None:
            allowed = self.body_timeout + self._body.received / self.body_rate
        left = self._incomplete_since + allowed - self.engine.time
        if left > 0:
            self._cancel_slow = self.engine.defer(left, self._check_slow)
        else:
            self._refuse(Refused(408, "The request takes too long to arrive"))

    def on_close(self) -> None:
        """Lets go of the request."""
        if self._cancel_slow is not None:
            self._cancel_slow()
            self._cancel_slow = None
        self.current_request = self._upcoming = self._body = self._held = None
