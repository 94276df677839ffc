"""An application of Pants under a WSGI server (PEP 3333): `Application.wsgi`."""

from __future__ import annotations

import contextlib
import logging
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, Self

from pants.http import HTTPRequest, HTTPServer, Refused
from pants.http._answer import AnswerHeads, refusal_content
from pants.http._reply import Reply
from pants.testing import MemoryEngine
from pants.web._environ import Asked, read_environ
from pants.web._exchange import Exchange, make_server

__all__ = ["WSGIApplication"]

log = logging.getLogger("pants.web")

# The most bytes of an answer that are taken from the application before the WSGI server has taken those before.
_WINDOW: Final = 65536
# Servers in memory that are kept for the next requests.
_MOST_IDLE: Final = 32
# Seconds for which an answer is waited for that is not finished at once. It is no more than the pace at which a request
# goes on that has nothing to send.
_LONGEST_WAIT: Final = 0.01
# And that many in all.
_MOST_WAITS: Final = 1.0
# RFC 9110 §7.6.1, and what PEP 3333 calls hop-by-hop after RFC 2616 §13.5.1.
_NOT_PASSED_ON: Final = frozenset(
    {
        *("connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te"),
        *("trailer", "trailers", "transfer-encoding", "upgrade"),
    }
)
# RFC 9110 §15.3.5, §15.4.5.
_WITHOUT_CONTENT: Final = frozenset({204, 304})
_LATER: Final = "This would be answered later, which cannot be done under WSGI"
_WEBSOCKET: Final = "There are no WebSockets under WSGI"

StartResponse = Callable[[str, list[tuple[str, str]]], object]


class WSGIApplication:
    """An application of Pants, or another request handler, as an application of WSGI.

    What comes from the WSGI server goes through an `HTTPServer` in memory, so that forms, cookies, limits, compression,
    files with ranges and the pages for errors are what they are elsewhere; the answer is passed on as it comes. A view
    that sends pieces is asked for the next one when the WSGI server has taken the last, and is told by its request's
    ``on_close`` if the client goes away.

    What WSGI cannot do is answered with 501: a WebSocket, and an answer that is finished later, by a timer, another
    thread or another request. If a part of it has been sent by then the connection is broken off. `Engine.instance` is
    not run; the `engine` of ``request.connection`` is one for this request.

    WSGI servers call from several threads at once, and from several processes. Views that do not expect that, for they
    were written for one engine, have to guard what they share, or the server is to be told to use one thread.

    Date and Server are left to the WSGI server. An answer without a Content-Type gets application/octet-stream, which
    means the same (RFC 9110 §8.3), for WSGI's own checks (`wsgiref.validate`) want one.

    Args:
        app: The application: called with each request, a `pants.http.HTTPRequest`.
        **server_options: Further arguments of `pants.http.HTTPServer`: ``cookie_secret``, ``max_request`` and so on.

    Raises:
        TypeError, ValueError: As `pants.http.HTTPServer`; or an option is none that a server in memory has.

    Example:
        >>> from wsgiref.simple_server import make_server
        >>> from pants.web._as_wsgi import WSGIApplication
        >>> def app(request):
        ...     request.send_response(f"Hello from {request.path}")
        >>> make_server("127.0.0.1", 0, WSGIApplication(app)).server_close()
    """

    def __init__(self, app: Callable[[HTTPRequest], object], **server_options: Any) -> None:
        self.app = app
        # Each server gets them anew.
        self._options = {k: list(v) if isinstance(v, Iterator) else v for k, v in server_options.items()}
        self._options.setdefault("server_name", None)
        # One for each request that is under way: a WSGI server may go on with it in another thread.
        self._idle: list[_Host] = []
        weakref.finalize(self, _close_all, self._idle).atexit = False
        self._idle.append(self._make_host())  # options that are wrong raise here

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.app!r}>"

    def __call__(self, environ: Mapping[str, Any], start_response: StartResponse) -> Iterator[bytes]:
        """Answer a request (PEP 3333)."""
        try:
            asked = read_environ(environ)
        except Refused as refused:
            return _refuse(start_response, refused, environ.get("REQUEST_METHOD"))
        answer = _Answer(self, asked)
        try:
            status, fields = answer.begin()
            start_response(status, fields)
        except Refused as refused:
            answer.close()
            return _refuse(start_response, refused, asked.method)
        except BaseException:
            answer.close()
            raise
        return answer

    def _make_host(self) -> _Host:
        return _Host(self.app, self._options)

    def _take_host(self) -> _Host:
        try:
            return self._idle.pop()
        except IndexError:
            return self._make_host()

    def _give_back(self, host: _Host) -> None:
        if host.is_unused and len(self._idle) < _MOST_IDLE:
            self._idle.append(host)
        else:
            host.close()


class _Engine(MemoryEngine):
    """An engine in memory whose time is the real one, for what is told of it: the access log, Date."""

    def clock(self) -> float:
        return time.monotonic()


class _Heads(AnswerHeads):
    """The heads of answers, without a Date."""

    __slots__ = ()

    def _renew(self, now: float) -> None:
        super()._renew(now)
        self._date_line = b""


class _Host:
    """A server in memory, for one request at a time."""

    def __init__(self, app: Callable[[HTTPRequest], object], options: dict[str, Any]) -> None:
        self.engine = _Engine()
        try:
            self.server: HTTPServer = make_server(app, self.engine, options)
            self.server._answer_heads = _Heads(options["server_name"])
        except BaseException:
            self.engine.close()
            raise

    @property
    def is_unused(self) -> bool:
        """Whether nothing is left of the last request, a timer of the application's own for example."""
        engine = self.engine
        return not (self.server.channels or engine.lingering or engine.closed) and engine.time_to_timer() is None

    def close(self) -> None:
        self.engine.close()


def _close_all(hosts: list[_Host]) -> None:
    for host in hosts:
        host.close()


class _Answer:
    """The answer to one request, which a WSGI server iterates over."""

    def __init__(self, application: WSGIApplication, asked: Asked) -> None:
        self._application = application
        self._asked = asked
        self._pieces: deque[bytes] = deque()
        self._waited = 0.0
        host = application._take_host()
        self._host: _Host | None = host
        try:
            self._exchange = Exchange(
                host.server,
                asked.method,
                remote_address=asked.remote_address,
                local_address=asked.local_address,
                scheme=asked.scheme,
                script_name=asked.script_name,
                window=_WINDOW,
                on_content=self._pieces.append,
            )
        except BaseException:
            self._host = None
            host.close()
            raise

    def begin(self) -> tuple[str, list[tuple[str, str]]]:
        """Send the request, and wait for the head of the answer.

        Returns:
            The status line and the header fields.

        Raises:
            Refused: There is none, or none that can be passed on; or the content of the request is incomplete.
            Exception: What the WSGI server raises when it is read from.
        """
        exchange = self._exchange
        exchange.send(self._asked.head, self._asked.content)
        while not (exchange.done or self._pieces):  # until there is something to be passed on
            if exchange.broken:
                log.error("%r has got no answer: its connection was closed", self._asked)
                raise Refused(500, "The application has given no answer")
            if not self._go_on():
                log.error("%r would be answered later, which cannot be done under WSGI", self._asked)
                raise Refused(501, _LATER)
        reply = exchange.reply
        assert reply is not None
        if reply.status == 101 or (reply.status == 426 and self._asked.upgrade):
            raise Refused(501, _WEBSOCKET)
        if exchange.done:
            self._end()
        return f"{reply.status} {reply.reason or 'Unknown'}", _fields(reply)

    def _go_on(self) -> bool:
        """Have the application go on; tell whether anything has come of it."""
        exchange = self._exchange
        if exchange.step():
            return True
        due = exchange.engine.time_to_timer()
        if due is None or due > _LONGEST_WAIT or self._waited > _MOST_WAITS:
            return False
        self._waited += due
        time.sleep(due)
        return True

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> bytes:
        """Return the next piece of the content.

        Raises:
            StopIteration: There is none.
            RuntimeError: The answer cannot be completed.
        """
        pieces, exchange = self._pieces, self._exchange
        try:
            while not pieces:
                if self._host is None or exchange.done:
                    self.close()
                    raise StopIteration
                if exchange.broken:
                    raise RuntimeError(f"the answer to {self._asked!r} was broken off; the log tells why")
                if not self._go_on():
                    raise RuntimeError(
                        f"the rest of the answer to {self._asked!r} would come later, which cannot be done under WSGI"
                    )
        except BaseException:
            self.close()
            raise
        return pieces.popleft()

    def close(self) -> None:
        """The WSGI server is done with it, be it complete or not. Closing again does nothing."""
        self._pieces.clear()
        self._end()

    def _end(self) -> None:
        """Nothing more comes of the application."""
        host, self._host = self._host, None
        if host is None:
            return
        try:
            self._exchange.close()
        finally:
            self._application._give_back(host)

    def __del__(self) -> None:
        # PEP 3333 asks for close(); who does not call it shall not keep the application's request either.
        with contextlib.suppress(Exception):
            self.close()


def _fields(reply: Reply) -> list[tuple[str, str]]:
    """Return the header fields that are passed on."""
    headers = reply.headers()
    if reply.status in _WITHOUT_CONTENT:
        headers.pop("Content-Type", None)
    elif "Content-Type" not in headers:
        headers["Content-Type"] = "application/octet-stream"
    return [(name, value) for name in headers if name.lower() not in _NOT_PASSED_ON for value in headers.get_list(name)]


def _refuse(start_response: StartResponse, refused: Refused, method: object) -> Iterator[bytes]:
    """Answer a request in the place of the application."""
    content = refusal_content(refused.status, refused.reason)
    status = content.partition(b":")[0].decode()
    start_response(status, [("Content-Type", "text/plain"), ("Content-Length", str(len(content)))])
    return iter([] if method == "HEAD" else [content])
