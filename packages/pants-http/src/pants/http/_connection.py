"""One connection to an `HTTPServer` (manual: "HTTPConnection").

What it receives goes through `HTTPConnection.on_read` to a parser, becomes an `HTTPRequest`, and is handed to the
server's request handler. Requests of one connection are served one after another: as long as one is not answered, what
else arrives is held back, and beyond a bound not read any more.
"""

from __future__ import annotations

import contextlib
import logging
import socket
from collections.abc import Callable
from socket import IPPROTO_TCP, SO_KEEPALIVE, SOL_SOCKET
from typing import TYPE_CHECKING, Any, Final

from pants import Stream
from pants.http import _answer
from pants.http._body import BodyStore, ChunkedBody, LengthBody
from pants.http._forms import boundary_of
from pants.http._head import HEAD_END, MOST_KEPT, Head, check_beginning, match_repeated, parse
from pants.http._limits import Limits
from pants.http._receiving import FormSink, SlowReaderWatch
from pants.http._refused import Refused
from pants.http._request import HTTPRequest
from pants.http._successor import Carrier, Successor

if TYPE_CHECKING:
    from pants.http.server import HTTPServer

# How a client is probed that waits for its answer: seconds until the first probe and between two, and their number.
_PROBES: Final = [
    (getattr(socket, name), value)
    for name, value in (("TCP_KEEPIDLE", 60), ("TCP_KEEPALIVE", 60), ("TCP_KEEPINTVL", 15), ("TCP_KEEPCNT", 4))
    if hasattr(socket, name)
]

log = logging.getLogger("pants.http")

# The bytes of further requests that are held back before reading is paused.
_MAX_HELD: Final = 65536
# Seconds of one turn after which other connections come before more pipelined requests.
_MOST_TIME: Final = 0.005
# Pipelined requests are answered this many at a time, or fewer when the answers have so many bytes.
_BATCH: Final = 16
_MAX_OWED: Final = 65536
# A body of which no more than this is left is received and dropped where nobody wants it, for the next request's sake.
_MAX_DROPPED: Final = 65536

# What is received at once, in bytes: as a rule, and of a body that is longer than the second. It takes fewer calls.
_RECEIVE_SIZE: Final = 65536
_LONG_BODY: Final = 262144

# What is logged, at most, of a request that was not understood, in bytes.
_MOST_LOGGED: Final = 256

# Values of HTTPConnection._phase.
_IDLE: Final = 0  # nothing of the next request has arrived
_PARTIAL: Final = 1  # a part of it has
_SERVING: Final = 2  # requests are being taken out of what arrived
_WAITING: Final = 3  # for an answer to be given or taken, before what was held back is looked at
_TAKEN: Final = 4  # another protocol has taken over


class HTTPConnection(Carrier):
    """A connection to an `HTTPServer` (manual: "HTTPConnection").

    Programs seldom meet it: what they need is in `HTTPRequest`. It can be the base of a class for another protocol on
    top of HTTP, to be passed to the server as ``ConnectionClass``; see `take_over`.

    Args:
        *args, **kwargs: For `pants.Stream`; ``server`` has to be an `HTTPServer`.

    Raises:
        TypeError: ``server`` is none.
    """

    __slots__ = (
        "_body",
        "_body_paused",
        "_cancel_slow",
        "_choked",
        "_fields",
        "_held",
        "_incomplete_since",
        "_undecided",
        "_parse_quickly",
        "_peer_ended",
        "_phase",
        "_tally",
        "_taking",
        "_answer_heads",
        "current_request",
    )

    # Whoever does not take one answer gets no other, and is watched: see on_high_water().
    high_water: int | None = 0

    #: The class of the requests that are made here.
    request_class: type[HTTPRequest] = HTTPRequest

    #: The request that is being received or served, or None (manual: "current_request").
    current_request: HTTPRequest | None

    server: HTTPServer

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        server = kwargs.get("server")
        if not isinstance(getattr(server, "limits", None), Limits):
            raise TypeError(f"an HTTPConnection belongs to an HTTPServer, not {server!r}")
        self.current_request = None
        self._answer_heads = server._answer_heads  # type: ignore[union-attr]
        self._tally = server.counters.answers  # type: ignore[union-attr]
        self._parse_quickly = server._parse_quickly  # type: ignore[union-attr]
        self._fields = b""  # those of the last ordinary request, and the protocol before them
        self._phase = _IDLE
        self._held: bytearray | None = None  # what arrived and was not looked at yet, or is a part of a head
        self._body: LengthBody | ChunkedBody | None = None  # that of current_request, as long as it is not complete
        self._body_paused = False  # the program does not want more of it yet
        # The length of a body, and whether the client waits to send it: the program has paused before it was begun.
        self._undecided: tuple[int | None, bool] | None = None
        self._incomplete_since: float | None = None  # the engine's time when that began of which the rest is to arrive
        self._cancel_slow: Callable[[], None] | None = None
        self._choked = False  # the client does not take the answers, so nothing is read until it does
        self._taking: SlowReaderWatch | None = None
        self._peer_ended = False
        super().__init__(*args, **kwargs)

    # --- Receiving ----------------------------------------------------------------------------------------------

    def on_connect(self) -> None:
        """Limits how long the connection may be idle."""
        self.server.counters.connections += 1
        self.idle_timeout = self.server.limits.keep_alive_timeout

    def on_read(self, data: bytes) -> None:
        """Serves the requests that arrive."""
        if self._phase == _IDLE and (request := self._ordinary_request(data)):
            self._phase = _SERVING
            self.current_request = request
            self._run_handler(self.server.request_handler, request)
            self._settle()
        elif self._phase < _SERVING and not self._body_paused:
            held, body = self._held, self._body
            if held is None and body is not None and body.left is not None and body.left > len(data):
                self._feed_more(body, data)
            elif held is None:
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
        server = self.server
        fields = self._fields
        if (
            fields
            and data.endswith(fields)
            and len(data) <= server._safe_size
            and (match := match_repeated(data, 0, len(data) - len(fields)))
        ):
            method, url = match[1].decode(), match[2].decode()
        elif data.find(HEAD_END) == len(data) - len(HEAD_END) and (found := self._parse_quickly(data)):
            method, url = found
            fields = data[len(method) + 1 + len(url) :]
            self._fields = fields if len(fields) <= MOST_KEPT else b""
        else:
            return None
        request = self.request_class(self, method, url, "HTTP/1.1", None, "https" if self.secure else "http")
        request._head = data
        if server._forwarded_rules is not None:
            request._apply_forwarded(server._forwarded_rules)
        if not server.keep_alive:
            request._ending = _answer.CLOSE
        return request

    def _serve(self, data: bytes | bytearray, searched: int) -> None:
        """Serve the requests in ``data``, one after another, until one is left unanswered.

        Args:
            data: What was received, from the beginning of a head, or from within a body.
            searched: The position up to which there is no end of a head.
        """
        self._phase = _SERVING
        at = served = owed = 0
        try:
            while at < len(data):
                if self._body is not None:
                    at = self._feed_body(self._body, data, at)
                    owed = _MAX_OWED  # not known, so that the client has to take it now
                elif data.startswith(b"\r\n", at):  # RFC 9112 §2.2
                    at += 2
                    continue
                else:
                    end = data.find(HEAD_END, max(at, searched)) + len(HEAD_END)
                    if end < len(HEAD_END):
                        check_beginning(data, at, max(at, searched), self.server.limits)
                        break
                    owed += self._serve_head(bytes(data[at:end]), end == len(data))
                    at = end
                    served += 1
                if self._body is None:
                    if self.current_request is not None or self._phase == _TAKEN:
                        break
                if not self.connected or self._body_paused:
                    break
                if self._body is None and (served == _BATCH or owed >= _MAX_OWED):
                    served = owed = 0
                    if self._chokes() or self._give_way():
                        break
        except Refused as refused:
            self._refuse(refused, bytes(data[at : at + _MOST_LOGGED]))
        else:
            self._keep_rest(data, at)

    def _give_way(self) -> bool:
        """Let other connections have their turn if it is time; tell whether it is."""
        if self.engine.clock() - self.engine.time <= _MOST_TIME:
            return False
        self._phase = _WAITING
        return True

    def _serve_head(self, head: bytes, last: bool) -> int:
        """Serve a request, if it has no body; else begin with it.

        Args:
            head: Its head.
            last: Whether nothing has arrived behind it.

        Returns:
            The size of the answer; `_MAX_OWED` where it is not known.
        """
        # With another method there is a body, most likely, and the attempt not worth its time.
        request = self._ordinary_request(head) if head.startswith((b"GET ", b"HEAD ")) else None
        if request is None:
            self._begin_request(parse(head, self.server.limits, self.server.refused_methods), head, last)
            return _MAX_OWED
        self._incomplete_since = None
        self.current_request = request
        self._run_handler(self.server.request_handler, request)
        return request.sent_bytes

    def _keep_rest(self, data: bytes | bytearray, at: int) -> None:
        """Hold back what was not served of ``data``, from ``at`` on."""
        # Not copied where that can be helped: a head may come a byte at a time.
        rest = data if not at and isinstance(data, bytearray) else bytearray(memoryview(data)[at:])
        meanwhile = self._held  # arrived while a handler polled the engine
        if rest:
            self._held = rest if meanwhile is None else rest + meanwhile
        if self.connected:
            if self._held is not None and len(self._held) > _MAX_HELD:
                self.pause_reading()
            else:
                self._read_on()
        if rest and self._phase == _WAITING and self.connected:  # by _give_way()
            self.engine.callback(self._go_on)
            return
        self._settle(partial=meanwhile is None and (bool(rest) or self._body is not None))

    def _begin_request(self, head: Head, raw: bytes, last: bool) -> None:
        """Begin a request, and its body if it has one.

        Args:
            head: The head.
            raw: The same as it came.
            last: Whether nothing has arrived behind it.
        """
        server = self.server
        scheme = "https" if self.secure else "http"
        request = self.request_class(self, head.method, head.target, head.protocol, None, scheme)
        request._head = raw
        if server._forwarded_rules is not None:
            request._apply_forwarded(server._forwarded_rules)
        keeps = head.keep_alive and server.keep_alive
        if head.protocol == "HTTP/1.1":
            request._ending = _answer.KEEP if keeps else _answer.CLOSE
        else:
            request._ending = _answer.KEEP_1_0 if keeps else _answer.CLOSE_1_0
        self._incomplete_since = None
        self.current_request = request
        if head.length == 0:
            self._run_handler(server.request_handler, request)
            return
        request._body_arrived = False
        self._forget_slow()  # that of the head
        waits = head.expects and last
        # A placeholder, until it is known what the program wants.
        self._body = LengthBody(head.length or 0, _drop)
        request._ending_when_whole = request._ending
        if waits or head.length is None or head.length > _MAX_DROPPED:
            # If it is answered before the body is there, nobody knows where the next request begins, or it is far.
            request._ending |= _answer.CLOSE
        if server.head_handler is not None:
            self._run_handler(server.head_handler, request)
        if not self.connected:
            self._body = None
        elif self._body_paused:
            self._undecided = head.length, waits
        else:
            self._accept_body(request, head.length, waits)

    def _accept_body(self, request: HTTPRequest, length: int | None, waits: bool) -> None:
        """Begin with the body, now that it is known what the program wants.

        Args:
            request: The request.
            length: The length of the body, None if it is chunked.
            waits: Whether the client waits for an interim answer before it sends the body.
        """
        server = self.server
        limit = server.max_request if request.max_body is None else request.max_body
        if not request.finished and length is not None and length > limit:
            raise Refused(413, "The body is too large")
        sink = _drop if request.finished else self._sink(request, length)
        if length is not None and length > _LONG_BODY and request.on_data is None:
            self.receive_size = _LONG_BODY
        self._body = ChunkedBody(limit, sink, server.limits) if length is None else LengthBody(length, sink)
        if waits and not request.code:  # RFC 9110 §10.1.1
            self.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _sink(self, request: HTTPRequest, length: int | None) -> Callable[[bytes], object]:
        """Decide where a body goes."""
        if request.on_data is not None:
            return request._pass_on
        spool_size = self.server.limits.spool_size
        store = request._store = BodyStore(spool_size)
        request._ends_with_care = True
        if not request._may_have_form or (length is not None and length <= spool_size):
            return store.add  # the parts of a short form are taken out of it when they are asked for
        # A handler that passes the body on as it came, as for a WSGI application, says so.
        wants_raw = getattr(self.server.request_handler, "_wants_raw_form", None)
        if wants_raw is not None and wants_raw(request):
            return store.add
        boundary = boundary_of(request.headers.get("Content-Type", ""))
        if boundary is None:
            return store.add
        return FormSink(request, store, boundary, self.server.limits).add

    def _feed_body(self, body: LengthBody | ChunkedBody, data: bytes | bytearray, at: int) -> int:
        """Receive more of the body of the current request; and serve that when the body is complete."""
        server = self.server
        try:
            at = body.feed(data, at)
            if body.done and self.current_request is not None and self.current_request._store is not None:
                self.current_request._store.flush()
        except OSError as error:
            server._note_shortage(error)
            raise Refused(503, "The body cannot be kept at the moment") from None
        if body.done and self._body is body and self.connected:
            self._body = self._incomplete_since = None
            self.receive_size = _RECEIVE_SIZE
            self._forget_slow()
            self._body_paused = False
            request = self.current_request
            if request is not None:  # else it was answered before
                request._body_arrived = True
                if not request.code and not server.draining:
                    request._ending = request._ending_when_whole
                if request._taken_apart:
                    request._form.finish()  # type: ignore[union-attr]
                request._trailer_fields = body.trailers
                self._run_handler(server.request_handler, request)
        return at

    def _feed_more(self, body: LengthBody | ChunkedBody, data: bytes) -> None:
        """Receive a piece that does not complete the body: what the connection waits for stays the same."""
        try:
            self._feed_body(body, data, 0)
        except Refused as refused:
            self._refuse(refused)

    def _run_handler(self, handler: Callable[[HTTPRequest], object], request: HTTPRequest) -> None:
        try:
            result = handler(request)
            if result is not None and not request.code and self._phase != _TAKEN:
                self.server._check_result(result)
        except Exception as exception:  # noqa: BLE001 - handlers are contained
            self._handler_failed(request, exception)
        except BaseException:
            self.close()
            raise

    def _handler_failed(self, request: HTTPRequest, exception: Exception) -> None:
        """Answer a request whose handler has raised something."""
        unsent = request._take_back()
        if isinstance(exception, Refused) and unsent:
            request._send_refusal(exception)
            return
        self.server.counters.failures += 1
        log.error("The request handler failed, on %r", request, exc_info=exception)
        if request.finished:
            return
        if unsent:
            request._send_error(b"500 Internal Server Error\n", 500)
        else:
            request._cut_off()

    def _chokes(self) -> bool:
        """Whether the client has to take answers first. They are sent in batches; pipelining saves little else."""
        self.flush()
        if self.close_error is not None:  # it takes nothing any more
            self.close(flush=False)
            return True
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
        elif self._phase == _TAKEN:
            self._hand_over()
        elif self._body is None and (self.current_request is not None or self._choked):
            self._phase = _WAITING
        elif partial:
            self._phase = _PARTIAL
            if self._peer_ended and not (self._body_paused and self._held):  # the rest will not come
                self.close()
            elif self._incomplete_since is None:
                self._incomplete_since = self.engine.time
            if self._cancel_slow is None:
                limits = self.server.limits
                seconds = limits.header_timeout if self._body is None else limits.body_timeout
                self._cancel_slow = self.engine.defer(seconds, self._check_slow)
        elif self._held is not None:  # it arrived while a handler polled the engine
            self._phase = _WAITING
            self._go_on_soon()
        else:
            self._go_idle()

    def _go_idle(self) -> None:
        """Nothing of another request has arrived."""
        self._phase = _IDLE
        self._incomplete_since = None
        if self._peer_ended or self.server.draining:
            self.close()

    def _refuse(self, refused: Refused, beginning: bytes = b"") -> None:
        """Answer a request that is not served; nothing is read after it (RFC 9112 §9.6).

        Args:
            refused: What is wrong with it.
            beginning: What it begins with, where it has not got far enough to be `current_request`.
        """
        if not self.connected:
            return
        method, url, protocol = [*beginning.decode("latin-1").partition("\r\n")[0].split(" ", 2), "", ""][:3]
        request = self.current_request or self.request_class(self, method, url, protocol)
        self.current_request = self._body = None
        self.server.counters.refused[refused.status] += 1
        if not request.code:
            request.code = refused.status
            content = _answer.refusal_content(refused.status, refused.reason)
            answer = self._answer_heads.get(refused.status, "text/plain", _answer.CLOSE, self.engine.time).complete(
                content
            )
            if request.method == "HEAD":
                answer = answer.removesuffix(content)
            else:
                request.sent_bytes = len(content)
            self.write(answer)
        request._ended = self.engine.clock()
        self._account(request)
        self._close_answered()
        self._tell_closed(request)

    # --- A body that is received, and the program -----------------------------------------------------------------

    def _pause_body(self) -> None:
        """Receive no more of the body of the current request, until `_resume_body`."""
        if self._body is not None and not self._body_paused:
            self._body_paused = True
            self.pause_reading()

    def _resume_body(self) -> None:
        """Undo `_pause_body`."""
        if self._body_paused:
            self._body_paused = False
            if self._incomplete_since is not None:
                self._incomplete_since = self.engine.time  # the pause was not the client's
            undecided, self._undecided = self._undecided, None
            if undecided is not None and self.current_request is not None and self.connected:
                try:
                    self._accept_body(self.current_request, *undecided)
                except Refused as refused:
                    self._refuse(refused)
                    return
            self._receive_on()

    def _receive_on(self) -> None:
        """Go on with a body after a pause."""
        if self._held is not None and self._phase != _SERVING:
            self._phase = _WAITING
            self.engine.callback(self._go_on)
        else:
            self._read_on()

    def _read_on(self) -> None:
        if not self._choked and not self._body_paused and (self._held is None or len(self._held) <= _MAX_HELD):
            self.resume_reading()

    # --- Answering ----------------------------------------------------------------------------------------------

    def finish(self) -> None:
        """Go on to the next request, or close the connection (manual: "HTTPConnection.finish").

        `HTTPRequest.finish` calls it, and is what programs call.
        """
        request = self.current_request
        if request is None:
            return
        if request._stage and not request._finished:
            request.finish()  # which comes back here
            return
        self.current_request = None
        request._finished = True
        request._ended = self.engine.clock()
        self._tally[request.code] += 1
        if request._ends_with_care or self.server.access_log is not None:
            self._account(request)
        if self._phase == _TAKEN:
            return
        if request._ending & _answer.CLOSE:
            self._close_answered()
        elif self._body is not None:
            self._drop_body(self._body)
        elif self._phase == _WAITING:
            self._go_on_soon()

    def _account(self, request: HTTPRequest) -> None:
        """A request is over."""
        request._release()
        if self.server.access_log is not None:
            self.server.access_log.log(request)

    def _drop_body(self, body: LengthBody | ChunkedBody) -> None:
        """Nobody wants the rest of a body: receive it all the same where it is short."""
        if body.left is None or body.left > _MAX_DROPPED:
            self._close_answered()
            return
        body.sink = _drop
        self._body_paused = False
        self._undecided = None
        self._receive_on()

    def _close_answered(self) -> None:
        """Close once the answer has been sent, and watch that it is taken."""
        self.close_timeout = self.server.limits.write_timeout
        self.close()
        if not self.closed:
            self._watch_taking()

    def _go_on_soon(self) -> None:
        """Serve what was held back, from the loop."""
        if self._held is None and not self._peer_ended:
            self._go_idle()
        else:
            self.engine.callback(self._go_on)

    def _go_on(self) -> None:
        if (
            self._phase == _WAITING
            and (self.current_request is None or self._body is not None)
            and self.connected
            and not self._choked
            and not self._body_paused
        ):
            held, self._held = self._held, None
            self._serve(held or b"", 0)

    def on_high_water(self) -> None:
        """Reads nothing until the client has taken the answers it has got, and cuts it off if it does not."""
        if self._phase == _TAKEN:
            super().on_high_water()
        else:
            self._choked = True
            self.pause_reading()
            self._watch_taking()

    def on_write(self) -> None:
        """Goes on reading; tells the request that is being answered."""
        if self._choked:
            self._choked = False
            self._watch_no_more()
            self._read_on()
            if self._phase == _WAITING and self._body is not None:
                self.engine.callback(self._go_on)
            elif self._phase == _WAITING and self.current_request is None:
                self._go_on_soon()
        request = self.current_request
        if request is not None and request.on_drain is not None:
            request.on_drain()

    def _watch_taking(self) -> None:
        if self._taking is None:
            self._taking = SlowReaderWatch(self, self.server.limits)

    def _watch_no_more(self) -> None:
        if self._taking is not None:
            self._taking.cancel()
            self._taking = None

    def _note_written(self, count: int) -> None:
        """Tell, while the client is watched, that ``count`` bytes more are to be taken by it."""
        if self._taking is not None:
            self._taking.offered += count

    # --- Another protocol -----------------------------------------------------------------------------------------

    @property
    def taken_over(self) -> bool:
        """Whether another protocol has the connection: see `take_over`."""
        return self._phase == _TAKEN

    def take_over(self) -> None:
        """Leave HTTP, for the current request has led to another protocol (RFC 9110 §7.8).

        From now on everything that arrives, and has arrived behind the request, is for `on_read`, which whoever calls
        this has overridden, in a subclass or on the instance; `on_write`, `on_end`, `on_idle_timeout` and `on_close`
        too, where HTTP's do not fit. `idle_timeout` is off. `current_request` stays as it is, and need not be finished.

        Raises:
            RuntimeError: There is no current request, or its body has not arrived.
        """
        self._pass_to(None)

    def _pass_to(self, successor: Successor | None) -> None:
        """Be taken over, by something that is told what happens, or by whoever has overridden the hooks."""
        if self.current_request is None or self._body is not None:
            raise RuntimeError(f"take_over() on {self!r}, which has no request that was received and is not finished")
        soon = self._phase == _WAITING
        self._phase = _TAKEN
        self.idle_timeout = None
        self.high_water = Stream.high_water
        self._watch_no_more()
        self._choked = False
        self._fields = b""
        if successor is not None:
            self._carry(successor)
        if soon and (self._held is not None or self._peer_ended or successor is not None):
            self.pause_reading()
            self.engine.callback(self._hand_over)
        elif soon:
            self._read_on()

    def _hand_over(self) -> None:
        held, self._held = self._held, None
        if not self.connected:
            return
        self.resume_reading()
        if self._successor is not None:
            self._call_hook(self._successor._connection_begins, bytes(held or b""))
        elif held:
            self._hand_out(bytes(held))
        if self._peer_ended and self.connected:
            self._call_hook(self.on_end)

    # --- Ends ---------------------------------------------------------------------------------------------------

    def _close_gracefully(self) -> None:
        """Close the connection as soon as it owes no answer."""
        if self._phase == _IDLE:
            self.close()
        elif self._successor is not None:
            self._call_hook(self._successor._server_shuts_down)
        elif self.current_request is not None and not self.current_request.code:
            self.current_request._ending |= _answer.CLOSE

    def on_end(self) -> None:
        """Closes the connection, once the requests that have arrived are answered."""
        self._peer_ended = True
        if self._successor is not None:
            super().on_end()
            return
        request = self.current_request
        if request is not None and request._without_content and self._phase == _WAITING and self._held is None:
            self.close()  # it has got all that it is owed
            return
        if request is not None and self._phase != _TAKEN and request.on_end is not None:
            request.on_end()
        if (self._phase < _SERVING or self._phase == _TAKEN) and not (self._body_paused and self._held):
            self.close()

    def on_idle_timeout(self) -> None:
        """Closes the connection, unless its request is still being received or handled.

        While it is being handled a client that has ended, as one does that goes away, has no more than this time; and
        one that has not is probed.
        """
        request = self.current_request
        if self._phase == _IDLE:
            if not self.queued_bytes:
                self.close()
        elif self._phase == _WAITING and request is not None:
            if self._peer_ended or request._without_content:
                self.close(flush=False)
            else:
                self._probe_client()

    def _probe_client(self) -> None:
        """Have the kernel find out whether a client that waits for its answer is there still (RFC 9293 §3.8.4)."""
        with contextlib.suppress(OSError):  # not a TCP socket
            for option, value in _PROBES:
                self.socket.setsockopt(IPPROTO_TCP, option, value)  # type: ignore[union-attr]
            self.socket.setsockopt(SOL_SOCKET, SO_KEEPALIVE, True)  # type: ignore[union-attr]

    def _forget_slow(self) -> None:
        if self._cancel_slow is not None:
            self._cancel_slow()
            self._cancel_slow = None

    def _check_slow(self) -> None:
        """Refuse a request that takes too long to arrive."""
        self._cancel_slow = None
        if self._phase != _PARTIAL or self._incomplete_since is None:
            return  # it is complete; the timer is set again when another is not
        limits, body, now = self.server.limits, self._body, self.engine.time
        if body is not None and (self._body_paused or self._choked):  # nobody reads what may have come
            self._incomplete_since = now
        allowed = limits.header_timeout if body is None else limits.body_timeout
        left = self._incomplete_since + allowed - now
        if left <= 0 and body is not None and body.take_progress() >= allowed * limits.body_rate:
            self._incomplete_since, left = now, allowed
        if left > 0:
            self._cancel_slow = self.engine.defer(left, self._check_slow)
        elif body is not None and self.current_request is None:
            self._close_answered()
        else:
            beginning = bytes(self._held[:_MOST_LOGGED]) if self._held is not None else b""
            self._refuse(Refused(408, "The request takes too long to arrive"), beginning)

    def on_close(self) -> None:
        """Lets go of the request, and tells it."""
        self._forget_slow()
        self._watch_no_more()
        request, self.current_request = self.current_request, None
        self._body = self._held = None
        if request is not None:
            request._ended = self.engine.clock()
            self._tally[request.code] += 1
            self._account(request)
            self._tell_closed(request)
        super().on_close()

    def _tell_closed(self, request: HTTPRequest) -> None:
        """Tell a request that was not finished that it has no connection any more."""
        if request.on_close is not None:
            try:
                request.on_close()
            except Exception:
                log.exception("on_close of %r failed", request)


def _drop(_data: bytes) -> None:
    """Keep nothing."""
