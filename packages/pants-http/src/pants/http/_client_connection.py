"""A client's connection: HTTP/1.1 from the other end (RFC 9112). It carries one exchange after another."""

from __future__ import annotations

import errno
import select
import socket
import ssl
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from pants._channel import NOT_ASKED
from pants._send_queue import FileSlice
from pants.errors import ConnectTimeout
from pants.http._body import BodyToEnd, ChunkedBody, LengthBody
from pants.http._client_errors import (
    CertificateError,
    ConnectionFailed,
    MalformedResponse,
    RequestClosed,
    RequestTimedOut,
    ResponseTooLarge,
    interrupted,
)
from pants.http._dialling import Dialling
from pants.http._refused import Refused
from pants.http._reply import BadReply, Reply, ReplyReader, ReplyTooLarge
from pants.http.utils import HTTPHeaders

if TYPE_CHECKING:
    from pants.http._client_exchange import Exchange
    from pants.http._client_pool import Lane, Pool

# RFC 9110 §15: responses that have no content.
_WITHOUT_CONTENT: Final = frozenset({204, 304})
# Content of a request is written while less than this is unsent, in bytes.
_MOST_UNSENT: Final = 262144
# What a piece counts besides its bytes, for tiny ones take time too.
_COST: Final = 64
# The framing of content that is there already.
_WHOLE: Final = LengthBody(0, len)
# No limit of a framing's own: the exchange has one.
_UNLIMITED: Final = 1 << 62


class ClientConnection(Dialling):
    """A connection to an origin, or to the proxy before it.

    Args:
        pool: What it belongs to.
        lane: Where it is kept in that.
        exchange: Which it is made for.
    """

    __slots__ = (
        "_absolute",
        "_active_at",
        "_body",
        "_cancel_check",
        "_check_at",
        "_dialled_at",
        "_exchange",
        "_exchanges",
        "_keep",
        "_pieces",
        "_producing",
        "_reader",
        "_ready",
        "_receiving",
        "_resolved_at",
        "_secured_at",
        "_tcp_at",
        "_told_phases",
        "_taken",
        "first_at",
        "lane",
        "pool",
        "sent_at",
    )

    def __init__(self, pool: Pool, lane: Lane, exchange: Exchange) -> None:
        super().__init__(engine=pool.engine)
        self.pool = pool
        self.lane = lane
        self.high_water = None  # the content of requests is written at the kernel's pace
        self._exchange: Exchange | None = exchange
        self._exchanges = 0
        self._ready = False  # whether it is connected
        self._absolute = pool.proxy is not None and not pool.target.secure
        self._body: LengthBody | ChunkedBody | BodyToEnd | None = None
        self._reader = ReplyReader(pool.reply_parser, pool.limits.interim)
        self._receiving = False  # whether something is being read that is not complete
        self._keep = False  # whether it may be used again after this response
        self._pieces: Iterator[bytes | FileSlice] | None = None  # of the request's content, still to be written
        self._producing = False  # whether the next of them is being asked for
        self._cancel_check: Callable[[], None] | None = None
        self._check_at = 0.0
        self._taken: int | None = None  # of what was sent, when it was last looked
        self._active_at = self._dialled_at = self.engine.clock()
        self._resolved_at = self._tcp_at = self._secured_at = 0.0
        self._told_phases = False
        self.sent_at = self.first_at = 0.0

    def dial(self, tls: Any) -> None:
        """Begin to connect.

        Args:
            tls: How TLS is spoken.
        """
        pool = self.pool
        self._watch(self._limit())
        self._dial(pool.target, pool.proxy, tls, tunnel=not self._absolute)

    # --- Connecting ---------------------------------------------------------------------------------------------

    def _on_connected(self, sock: socket.socket, peer: Any) -> None:
        if self._connector is not None:
            self._resolved_at = self._connector.resolved_at
        self._tcp_at = self.engine.clock()
        super()._on_connected(sock, peer)

    def on_ssl_handshake(self) -> None:
        """See `pants.Stream`."""
        self._secured_at = self.engine.clock()
        super().on_ssl_handshake()

    def _tunnelled(self) -> None:
        self._tcp_at = self.engine.clock()

    def _dialled(self) -> None:
        self._ready = True
        exchange = self._exchange
        if not self.secure and self._has_unread():  # with TLS, that may be its own
            self._fail(MalformedResponse(f"{self.pool.target.authority} has answered before it was asked"))
        elif exchange is None:
            self.close(flush=False)
        else:
            self.begin(exchange)

    def _tunnel_refused(self, reason: str, status: int, headers: HTTPHeaders) -> None:
        self._fail(ConnectionFailed(reason))

    def _dial_failed(self, exception: Exception) -> None:
        self._fail(_caused(ConnectionFailed(f"TLS cannot be begun: {exception}"), exception))

    def on_connect_error(self, exception: Exception) -> None:
        """See `pants.Stream`."""
        self._fail(_caused(ConnectionFailed(str(exception)), exception))

    def on_ssl_handshake_error(self, exception: Exception) -> None:
        """See `pants.Stream`."""
        exchange = self._exchange
        host = self.pool.target.host
        if isinstance(exception, ssl.SSLCertVerificationError):
            error = CertificateError(f"the certificate of {host} is not to be trusted: {exception.verify_message}")
            error.verify_code = exception.verify_code
            error.__cause__ = exception
            if exchange is not None:
                self._exchange = None
                self.pool.certificate_refused(self.lane, exchange, error)
                self.pool.remove(self)  # now that the pool has another one
            return
        self._fail(_caused(ConnectionFailed(f"TLS could not be agreed on with {host}: {exception}"), exception))

    # --- Sending ------------------------------------------------------------------------------------------------

    def begin(self, exchange: Exchange) -> None:
        """Send the request of an exchange."""
        self._exchange = exchange
        exchange._connection = self
        request = exchange.request
        self._taken = None
        self.sent_at = self.first_at = 0.0
        self._active_at = self.engine.clock()
        self._watch_by(request._timeout.read)
        try:
            proxy = self.pool.proxy
            head = request._head(self._absolute, proxy.credentials if self._absolute and proxy is not None else None)
            body = request._body
            self._exchanges += 1
            self.write(head)
            if body is not None:
                self._pieces = body.pieces()
                self._write_pieces()
        except Exception as error:  # noqa: BLE001 - what authorizes it, or an iterator, has failed
            if self._exchange is exchange:
                exchange._fail_soon(error)
        except BaseException:
            exchange._fail_soon(interrupted())
            raise

    def _write_pieces(self) -> None:
        """Write more of the request's content, as long as the kernel takes it."""
        pieces, exchange = self._pieces, self._exchange
        if pieces is None or exchange is None or self._producing:  # the iterator polls the engine
            return
        body = exchange.request._body
        chunked = body is not None and body.length is None
        unsent = 0
        while unsent < _MOST_UNSENT:
            self._producing = True
            try:
                piece = next(pieces, None)
            finally:
                self._producing = False
            if self._exchange is not exchange:  # the iterator has cancelled it
                return
            if piece is None:
                self._pieces = None
                if chunked:
                    self.write(b"0\r\n\r\n")
                return
            is_file = isinstance(piece, FileSlice)
            size = piece.size if is_file else len(piece)  # type: ignore[union-attr, arg-type]
            if chunked and size:
                self.write(b"%x\r\n" % size)
            if is_file:
                self._write_slice(piece)  # type: ignore[arg-type]
            else:
                self.write(piece)  # type: ignore[arg-type]
            if chunked and size:
                self.write(b"\r\n")
            unsent += size + _COST

    def on_write(self) -> None:
        """See `pants.Stream`."""
        exchange = self._exchange
        try:
            if self._pieces is not None:
                self._write_pieces()
            if self._pieces is None and not self._unsent and not self.sent_at:
                self.sent_at = self.engine.clock()
        except Exception as error:  # noqa: BLE001 - an iterator has failed
            if exchange is not None:
                exchange._fail(error)
        except BaseException:
            if exchange is not None:
                exchange._fail_soon(interrupted())
            raise

    # --- Receiving ----------------------------------------------------------------------------------------------

    def _received(self, data: bytes) -> None:
        exchange = self._exchange
        if exchange is None:  # nobody has asked for anything
            self.abandon()
            return
        self._active_at = self.engine.time
        self._receiving = True
        try:
            if self._body is not None:
                self._read_content(exchange, data, 0)
            else:
                self._read_head(exchange, data)
        except BaseException:
            if self._exchange is exchange:  # the place in the stream is lost
                exchange._fail_soon(interrupted())
            raise
        finally:
            self._receiving = False

    def _read_head(self, exchange: Exchange, received: bytes) -> None:
        reader = self._reader
        try:
            reply = reader.feed(received)
            if reply is None:
                return
            if reply.status == 101:
                raise BadReply("it changes to a protocol that nobody has asked for")
            self._begin_reply(exchange, reply)
        except BadReply as error:
            kind = ResponseTooLarge if isinstance(error, ReplyTooLarge) else MalformedResponse
            self._fail(kind(f"the response from {self.pool.target.authority} is malformed: {error}"))

    def _begin_reply(self, exchange: Exchange, reply: Reply) -> None:
        """The final response begins."""
        self.first_at = self.engine.time
        request = exchange.request
        self._keep = reply.keep_alive and request.keep_alive
        if request.method == "HEAD" or reply.status in _WITHOUT_CONTENT:  # RFC 9112 §6.3
            length: int | None = 0
            if reply.flaw or (reply.status == 204 and (reply.chunked or reply.length)):
                self._keep = False  # such a server may send content all the same
        elif reply.flaw:
            raise BadReply(reply.flaw)
        else:
            length = reply.length
        rest = self._reader.rest
        if length is not None and length == len(rest):  # as nearly all are: there is nothing more to come
            self._body = _WHOLE
            exchange._reply_arrived(reply)
            if self._exchange is exchange:
                if rest:
                    exchange._content_arrived(rest)
                    if self._exchange is not exchange:
                        return
                self._finish(exchange)
            return
        sink = exchange._content_arrived
        if length is not None:
            self._body = LengthBody(length, sink)
        elif reply.chunked:
            self._body = ChunkedBody(_UNLIMITED, sink, self.pool.limits)
        else:
            self._keep = False
            self._body = BodyToEnd(sink)
        exchange._reply_arrived(reply)
        if self._exchange is exchange:
            self._read_content(exchange, rest, 0)

    def _read_content(self, exchange: Exchange, data: bytes, at: int) -> None:
        body = self._body
        assert body is not None
        try:
            at = body.feed(data, at)
        except Refused as error:
            if self._exchange is exchange:
                kind = ResponseTooLarge if error.status in (413, 431) else MalformedResponse
                self._fail(kind(f"the response's content is malformed: {error.reason}"))
            return
        if self._exchange is exchange and body.done:
            if at < len(data):
                self._fail(
                    MalformedResponse(f"{self.pool.target.authority} has sent more than belongs to its response")
                )
            else:
                self._finish(exchange)

    def _finish(self, exchange: Exchange) -> None:
        """The response is complete."""
        content = exchange._content
        if content is not None:
            if content.is_behind:  # it may turn out to be malformed
                content.on_caught_up = partial(self._finish, exchange)
                return
            if not content.is_sound():
                return
        self._finish_now(exchange)

    def _finish_now(self, exchange: Exchange) -> None:
        trailers = self._body.trailers if isinstance(self._body, ChunkedBody) else None
        if trailers and exchange.response is not None:
            exchange.response.trailers = HTTPHeaders(trailers)
        self._body = self._exchange = exchange._connection = None
        self._receiving = False
        if self._pieces is not None or self._unsent:  # the server did not want all of the request
            self._keep = False
            self._pieces = None
        if self._reading_paused:
            self.resume_reading()
        exchange._take_times(self)
        if self._keep:
            self._reader.reset()
            self._watch_by(self.pool.limits.keep_alive_timeout)
            try:
                self.pool.release(self)
            finally:  # what waited may have begun by that, and been interrupted
                exchange._content_ended()
        else:
            self.close(flush=False)
            self.pool.remove(self)
            exchange._content_ended()

    def pause_content(self) -> None:
        """Receive no more for now."""
        self.pause_reading()

    def resume_content(self) -> None:
        """Go on receiving."""
        if self._reading_paused:
            self._active_at = self.engine.clock()
            self.resume_reading()

    def has_surprise(self, careful: bool) -> bool:
        """Whether something has arrived since the last response, so that the connection is not to be used again.

        Args:
            careful: Look for its end as well, for what is to be sent cannot be sent twice.
        """
        if not self.connected or self._has_unread():
            return True
        if not careful:
            return False
        poll = select.poll()
        poll.register(self.fileno(), select.POLLIN)
        return bool(poll.poll(0))

    def _suspend(self) -> None:
        # A hook polls. Where the response is complete, nothing of it is left to be done after the hook; and what the
        # hook waits for may be the next response on this very connection.
        if self._receiving or not self._ready:
            super()._suspend()
        else:
            self._attention_asked = NOT_ASKED  # what is written is not sent right after this event, but by the loop
            if self._unsent:
                self._attend_soon()

    def _resume(self) -> None:
        if self._hook_polls:
            super()._resume()

    # --- Failing ------------------------------------------------------------------------------------------------

    def _fail(self, error: Exception) -> None:
        """The connection is of no more use."""
        exchange, self._exchange = self._exchange, None
        content = None if exchange is None else exchange._content
        if content is not None and content.on_caught_up is not None:  # the response is complete
            content.on_caught_up = None
            self._exchange, self._keep = exchange, False
            self._finish_now(exchange)  # type: ignore[arg-type]
            return
        answered = self._body is not None or self._reader.begun
        self._body = self._pieces = None
        self.close(flush=False)
        self.pool.remove(self)
        if exchange is None:
            return
        exchange._connection = None
        exchange._connection_failed(
            error,
            sent=self._ready,
            stale=self._exchanges > 1 and not answered and isinstance(error, RequestClosed),
        )

    def abandon(self) -> None:
        """The exchange does not want it any more; what has been begun on it cannot be gone on with."""
        self._exchange = self._body = self._pieces = None
        self.close(flush=False)
        self.pool.remove(self)

    def on_end(self) -> None:
        """See `pants.Stream`."""
        exchange = self._exchange
        if exchange is not None and isinstance(self._body, BodyToEnd):
            self._finish(exchange)
        else:
            self._fail(RequestClosed(f"{self.pool.target.authority} has closed the connection{self._how_far()}"))

    def _how_far(self) -> str:
        if self._tunnel is not None:
            return " instead of opening a tunnel"
        body = self._body
        if body is None:
            return " without an answer" if not self._reader.begun else " in the middle of the head of its answer"
        left = "" if body.__class__ is not LengthBody else f" {body.left} bytes"
        return f"{left} before the end of the content"

    def on_error(self, exception: Exception) -> None:
        """See `pants.Stream`."""
        self._fail(exception)

    def on_ssl_error(self, exception: Exception) -> None:
        """See `pants.Stream`."""
        self._fail(_caused(RequestClosed(f"the connection was cut off, or tampered with: {exception}"), exception))

    def on_close(self) -> None:
        """See `pants.Stream`."""
        if self._cancel_check is not None:
            self._cancel_check()
            self._cancel_check = None
        error = self.close_error
        reason = f"the connection to {self.pool.target.authority} was lost: {error}"
        self._fail(_caused(RequestClosed(reason), error) if error is not None else RequestClosed(reason))
        super().on_close()

    # --- Deadlines ----------------------------------------------------------------------------------------------
    # One timer, which is not touched by what arrives, but finds out when it is due what there was.

    def _watch(self, limit: float | None) -> None:
        if self._cancel_check is not None:
            self._cancel_check()
            self._cancel_check = None
        if limit is not None:
            self._check_at = self.engine.clock() + limit
            self._cancel_check = self.engine.defer(limit, self._check)

    def _watch_by(self, limit: float | None) -> None:
        """See to it that the check is made no later than after the limit, counted from the last activity."""
        if limit is not None and (self._cancel_check is None or self._check_at > self._active_at + limit):
            self._watch(limit)

    def _limit(self) -> float | None:
        """The seconds without activity that are allowed in the present state."""
        exchange = self._exchange
        if exchange is None:
            return self.pool.limits.keep_alive_timeout
        timeout = exchange.request._timeout
        return timeout.read if self._ready else timeout.connect

    def _check(self) -> None:
        self._cancel_check = None
        limit = self._limit()
        if limit is None:
            return
        if self._hook_polls or self._reading_paused:
            self._active_at = self.engine.clock()
        elif self._ready and self._exchange is not None:
            self._active_at = max(self._active_at, self._last_traffic if self._unsent or self._pieces else 0.0)
            self._look_at_acknowledgements()
        left = self._active_at + limit - self.engine.clock()
        if left > 0:
            self._watch(left)
        elif self._exchange is None:
            self.close(flush=False)
            self.pool.remove(self)
        else:
            what = "has not answered" if self._ready else "could not be reached"
            error = RequestTimedOut(f"{self.pool.target.authority} {what} within {limit} seconds")
            if not self._ready:
                error.__cause__ = ConnectTimeout(errno.ETIMEDOUT, "no connection in time")
            self._fail(error)

    def _look_at_acknowledgements(self) -> None:
        """What the server takes of what the kernel still has to send is activity too."""
        outstanding = self._outstanding()
        if not outstanding and self._taken is None:
            return
        taken = self._acknowledged()
        if taken != self._taken:
            self._active_at = self.engine.clock()
        self._taken = taken if outstanding else None

    def take_phases(self) -> tuple[float | None, float | None, float | None, float]:
        """Return how long it took to look the name up, to connect and for TLS, once; and when it was ready.

        All in seconds; None for what there was not, or has been told before.
        """
        ready = max(self._tcp_at, self._secured_at)
        if self._told_phases:
            return None, None, None, 0.0
        self._told_phases = True
        resolved = self._resolved_at or self._dialled_at
        secure = self._secured_at - self._tcp_at if self._secured_at else None
        return resolved - self._dialled_at, self._tcp_at - resolved, secure, ready


def _caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error
