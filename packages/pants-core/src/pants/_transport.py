"""What a stream does in the loop: its socket's events, handing out, sending, closing.

The engine calls one of four methods, and hooks are called from these and from timers only, never inside a method that a
user calls:

    Transport._on_events                    the socket is ready; the connection is in clear
    SecureTransport._on_handshake_events    the socket is ready; TLS is being negotiated
    SecureTransport._on_tls_events          the socket is ready; the connection is secure
    Transport._attend                       before the engine waits again: what was done to the stream from elsewhere
"""

from __future__ import annotations

import errno
import ssl
from collections.abc import Callable
from socket import SO_ERROR, SOL_SOCKET
from socket import socket as Socket
from typing import TYPE_CHECKING, Final

from pants import _send_queue
from pants._connector import Connector
from pants._hooks import StreamHooks
from pants._linger import Linger
from pants._send_queue import StartTLS
from pants._tls import TLSSettings
from pants.delimiter import Framer
from pants.engine import ERROR, HANGUP, READ, WRITE, Engine, Handler
from pants.errors import BufferOverflow, DelimiterError

if TYPE_CHECKING:
    from pants.server import Server

# What one recv() asks for, in bytes.
RECV_SIZE: Final = 65536
# Values of Transport._interest where the engine does not watch the socket.
UNWATCHED: Final = -1
HUNG_UP: Final = -2  # the peer has gone while reading was paused

# An error that is none of the programmer's making: connections do end like this.
_GONE: Final = frozenset({errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETDOWN, errno.ENOTCONN})


def _is_gone(error: Exception) -> bool:
    if isinstance(error, ssl.SSLError) or not isinstance(error, OSError):
        return False
    return isinstance(error, (ConnectionError, TimeoutError)) or error.errno in _GONE


class Transport(StreamHooks):
    """The mechanics of a stream in clear; `pants._secure_transport.SecureTransport` adds TLS."""

    __slots__ = (
        "_active",
        "_blocked",
        "_cancel_deadline",
        "_cancel_idle",
        "_closing",
        "_connector",
        "_drained",
        "_ended",
        "_failure",
        "_framer",
        "_fresh",
        "_handshaking",
        "_high",
        "_host",
        "_idle_timeout",
        "_interest",
        "_paused",
        "_queue",
        "_reading",
        "_recheck",
        "_suspended",
        "_tls",
        "_tls_due",
        "_tls_wants",
        "close_error",
        "connected",
        "secure",
        "server",
    )

    #: Seconds until a TLS handshake fails with `pants.errors.HandshakeTimeout`; or None.
    handshake_timeout: float | None = 30.0
    #: Seconds for which a channel that is closing waits for a peer that takes nothing of what is left to send.
    close_timeout: float = 30.0
    #: The number of unsent bytes beyond which `on_high_water` is called; or None.
    high_water: int | None = 1024 * 1024

    #: The server that accepted this connection, or None (manual: "Stream.server").
    server: Server | None
    #: Whether data can be written: from just before `on_connect` until `close` (manual: "Stream.connected").
    connected: bool
    #: Whether the channel speaks TLS and its handshake is over.
    secure: bool
    #: The exception that ended the connection (a reset, say), or None where it was closed in order.
    close_error: Exception | None

    def __init__(self, engine: Engine | None, server: Server | None) -> None:
        super().__init__(engine)
        self.server = server
        self.connected = self.secure = False
        self.close_error = None
        self._framer: Framer | None = None
        self._queue: list[_send_queue.Item] = []
        self._connector: Connector | None = None
        self._tls: TLSSettings | None = None
        self._host: str | None = None  # the name to verify, where TLS is begun after connect()
        self._failure: Exception | None = None  # to be told to a hook
        self._cancel_deadline: Callable[[], None] | None = None  # of the handshake, or of closing
        self._cancel_idle: Callable[[], None] | None = None
        self._idle_timeout: float | None = None
        self._active = 0.0  # the engine's time when something was last received or sent
        self._interest: int = UNWATCHED  # what the engine watches the socket for
        self._tls_wants = 0  # READ: to go on sending, OpenSSL must read first; WRITE: the other way round
        # Whether on_read() may be called: connected, and none of the next three, nor failed.
        self._reading = False
        self._paused = self._ended = self._tls_due = False
        self._handshaking = False
        self._blocked = False  # the kernel did not take all; it will tell when it takes more
        self._recheck = False  # what has been received may be handed out now
        self._drained = False  # on_write() is owed, after a flush() by the user
        self._high = False  # on_high_water() has been called for what is queued
        self._closing = ""  # "flush" and then "waiting": once the queue is empty; "abort": now
        self._fresh = False  # connected, and nothing done about it yet
        self._suspended = False

    # --- Before the engine waits --------------------------------------------------------------------------------

    def _attend(self) -> None:
        if self._suspended:
            self.engine.postpone(self._attend)
            return
        self._attended = False
        if self._closed:
            return
        if self._failure is not None:
            self._tell_failure(self._failure)
        if self._closing:
            self._close_step()
            return
        if self._fresh:
            self._fresh = False
            if self.fileno() < 0:  # closed by the server, for the constructor of a subclass has failed
                self._closed = True
                self.connected = False
                self._cancel_timers()
                return
            if self._tls is None or self._tls_due:
                self._open()
            else:
                self._start_handshake()
        if self._drained:
            self._tell_drained()
        if self._reading and self._recheck:
            self._recheck = False
            self._read_buffered()
        if self._blocked:
            self._check_high_water()
        elif self._queue and not self._handshaking:
            self._flush()

    def _open(self) -> None:
        """The channel can be used now."""
        self.connected = True
        self._set_reading()
        try:
            self.call(self.on_connect)
        finally:
            if not self._closing:
                self._watch()

    def suspend(self) -> None:
        """A hook of this channel polls the engine: leave the channel alone, but for what is to be sent."""
        if self._queue and not self._blocked and not self._handshaking:
            self._send()
        self._suspended = True
        self._unwatch()

    def resume(self) -> None:
        """The hook that polled goes on."""
        self._suspended = False
        if not self._fresh and not self._closed:
            self._watch()

    # --- What the engine watches --------------------------------------------------------------------------------

    def _watch(self) -> None:
        """Have the engine watch the socket, with the handler for the channel's state."""
        if self._suspended or self.socket is None:
            return
        handler, events = self._handler(), self._wanted()
        try:
            if self._interest < 0:
                self.engine.watch(self.socket.fileno(), events, handler)
            else:
                changed = None if events == self._interest else events
                self.engine.rewatch(self.socket.fileno(), changed, handler)
        except OSError as error:
            self._lost(error)
        else:
            self._interest = events

    def _unwatch(self) -> None:
        if self._interest >= 0 and self.socket is not None:
            self.engine.unwatch(self.socket.fileno())
        self._interest = UNWATCHED

    def _handler(self) -> Handler:
        return self._on_events

    def _wanted(self) -> int:
        events = READ if self._reading else 0
        if self._blocked and not self._tls_wants & READ:
            events |= WRITE
        return events | self._tls_wants

    def _update_interest(self) -> None:
        if self._interest >= 0 and self._wanted() != self._interest:
            self._watch()

    def _set_reading(self) -> None:
        """Find out anew whether data may be handed out."""
        self._reading = self.connected and not (
            self._paused or self._ended or self._tls_due or self._failure is not None
        )
        if self._framer is not None:
            self._framer.halted = not self._reading
        if self._reading and self._interest == HUNG_UP:
            self._watch()
        else:
            self._update_interest()

    def _stop_reading(self) -> None:
        """As `_set_reading`, where the engine need not know yet, since the channel will most likely be closed next."""
        self._reading = False
        if self._framer is not None:
            self._framer.halted = True

    # --- Events in clear ----------------------------------------------------------------------------------------

    def _on_events(self, events: int) -> None:
        if events != READ or not self._reading:
            self._on_other_events(events)
            return
        try:
            data = self.socket.recv(RECV_SIZE)  # type: ignore[union-attr]
        except OSError as error:
            self._receive_failed(error)
            return
        if not data:
            self._end()
            return
        self._hand_out(data)
        if self._queue and not self._blocked:
            self._flush()

    def _on_other_events(self, events: int) -> None:
        if events & WRITE and self._blocked:
            self._flush()
        if events & ~WRITE:
            if self._reading:
                self._on_events(READ)
            elif events & (ERROR | HANGUP):
                self._hung_up()

    def _hung_up(self) -> None:
        """The peer is gone while reading is paused or over."""
        if self.socket is None:
            return
        code = self.socket.getsockopt(SOL_SOCKET, SO_ERROR)
        if code:
            self._lost(OSError(code, errno.errorcode.get(code, str(code))))
        elif self._closing or self._ended:
            self._lost(ConnectionResetError(errno.ECONNRESET, "the peer has gone"))
        else:
            # It ended in order, and what it sent may be read when reading is resumed. A hang-up is reported for as long
            # as the socket is watched, whatever for.
            self._unwatch()
            self._interest = HUNG_UP
            self.engine.dormant.add(self)

    def _receive_failed(self, error: OSError) -> None:
        if not isinstance(error, (BlockingIOError, InterruptedError)):
            self._lost(error)

    def _end(self) -> None:
        """The peer has sent all that it will send."""
        self._ended = True
        if isinstance(self.close_error, ConnectionResetError):  # sending met the reset first, and took it for itself
            self._lost(self.close_error)
            return
        self._stop_reading()
        self.call(self.on_end)
        if self._closing:
            return
        if self.close_error is not None:  # sending has failed as well, so there is nothing left to be done
            self.close(flush=False)
            return
        self._set_reading()
        if self._queue and not self._blocked:
            self._flush()

    # --- Handing out --------------------------------------------------------------------------------------------

    def _hand_out(self, data: bytes) -> None:
        """Pass data to on_read(), through the framer if there is one."""
        engine = self.engine
        self._active = engine.time
        engine.current = self
        try:
            framer = self._framer
            if framer is None:
                self.on_read(data)
            else:
                framer.feed(data)
                framer.deliver_to(self)
        except Exception as exception:  # noqa: BLE001 - hooks are contained
            self._read_failed(exception)
        except BaseException:
            self._recheck = True
            self._attend_soon()  # as in call()
            raise
        finally:
            engine.current = None

    def _read_buffered(self) -> None:
        """Hand out what has been received and not been handed out."""
        if self._framer is not None and self._framer.pending:
            self._hand_out(b"")

    def _read_failed(self, exception: Exception) -> None:
        """Deal with what came out of on_read(), or of the framer."""
        framer = self._framer
        if framer is None:
            self.contain(exception)
            return
        rule = (framer.delimiter, framer.limit, framer.regex_search)
        if isinstance(exception, BufferOverflow):
            self.call(self.on_overflow_error, exception)
            exception.__traceback__ = None  # as in contain()
        else:
            self.contain(exception)
        if self._closing:
            return
        stuck = isinstance(exception, (BufferOverflow, DelimiterError))
        if stuck and rule == (framer.delimiter, framer.limit, framer.regex_search):
            framer.clear()
        self._look_again()

    def _look_again(self) -> None:
        """What is buffered may have become a frame."""
        if self._framer is not None and self._framer.pending:
            self._recheck = True
            self._attend_soon()

    # --- Sending ------------------------------------------------------------------------------------------------

    def _flush(self) -> None:
        """Send, and call the hooks that go with it."""
        queue = self._queue
        data = queue[0]
        if len(queue) == 1 and data.__class__ is bytes and not self.secure:  # the common case, quickly
            try:
                sent = self.socket.send(data)  # type: ignore[union-attr]
            except OSError:
                self._flush_slowly()  # which meets the error again
                return
            if sent == len(data):
                del queue[0]
                self._active = self.engine.time
                if self._blocked:
                    self._blocked = False
                    self._update_interest()
                self._tell_drained()
                return
            queue[0] = memoryview(data)[sent:]
        self._flush_slowly()

    def _flush_slowly(self) -> None:
        first = self._queue[0]
        if not self._send():
            return
        if not self._queue:
            self._tell_drained()
        elif isinstance(self._queue[0], StartTLS):
            if first is not self._queue[0] and len(self._queue) == 1:
                self._tell_drained()
            if not self._handshaking and self._closing != "abort":
                self._start_handshake()
        else:
            self._check_high_water()

    def _tell_drained(self) -> None:
        if self._closing:
            self._attend_soon()
            return
        self._high = self._drained = False
        engine = self.engine
        engine.current = self
        try:
            self.on_write()
        except Exception as exception:  # noqa: BLE001 - hooks are contained
            self.contain(exception)
        finally:
            engine.current = None
            if self._queue:
                # On the next turn, for else a stream that always has more to write would keep the loop to itself.
                self._attend_soon()

    def _check_high_water(self) -> None:
        if not self._high and self.high_water is not None and not self._closing:
            _send_queue.compact(self._queue)
            if _send_queue.queued_size(self._queue) > self.high_water:
                self._high = True
                self.call(self.on_high_water)

    def _send(self) -> bool:
        """Send what the kernel takes. Calls no hook.

        Returns:
            False if it failed; what follows of that is noted.
        """
        queue = self._queue
        try:
            _send_queue.send_from(queue, self.socket, secure=self.secure)  # type: ignore[arg-type]
        except (BlockingIOError, InterruptedError, ssl.SSLWantWriteError):
            pass
        except ssl.SSLWantReadError:
            self._tls_wants |= READ
            self._update_interest()
        except Exception as error:  # noqa: BLE001 - told to a hook, by the loop
            self._send_failed(error)
            return False
        self._active = self.engine.time
        blocked = bool(queue) and not isinstance(queue[0], StartTLS)
        if blocked is not self._blocked:
            self._blocked = blocked
            self._update_interest()
        return True

    def _send_failed(self, error: Exception) -> None:
        _send_queue.clear(self._queue)
        self._blocked = False
        if self._reading and _is_gone(error):
            # What the peer sent before it went is still to be read; then reading will fail, or end.
            self.close_error = error.with_traceback(None)
            self._update_interest()
        else:
            self._lost(error)

    # --- Failing and closing ------------------------------------------------------------------------------------

    def _lost(self, error: Exception) -> None:
        """The connection is of no more use."""
        if self._closing or _is_gone(error):
            if self.close_error is None:
                self.close_error = error.with_traceback(None)
            self.close(flush=False)
        elif self._failure is None:
            self._failure = self.close_error = error.with_traceback(None)
            self._set_reading()
            self._attend_soon()

    def _tell_failure(self, error: Exception) -> None:
        self._failure = None
        self._fail_by(self.on_ssl_error if isinstance(error, ssl.SSLError) else self.on_error, error)

    def _fail_by(self, hook: Callable[[Exception], object], error: Exception) -> None:
        """Tell a failure to its hook, and close the channel, whatever the hook did."""
        self._handshaking = False
        self.close_error = error.with_traceback(None)
        if not self._closing:
            self.call(hook, self.close_error)
        self.close(flush=False)

    def close(self, flush: bool = True) -> None:
        """Close the channel (manual: "Stream.close").

        `connected` turns false and `on_read` is not called any more at once; `on_close` is called from the loop, after
        what was written has been sent. A peer that takes nothing for `close_timeout` seconds is waited for no longer.
        Closing again does nothing.

        Args:
            flush: Send what is queued first. Otherwise it is dropped, also where an earlier call began to send it.
        """
        if self._closed:
            return
        if not self._closing:
            self._closing = "flush"
            self.connected = False
            self._stop_reading()
        if not flush:
            self._closing = "abort"
        self._attend_soon()

    def abort(self) -> None:
        """Close at once: the same as ``close(flush=False)``."""
        self.close(flush=False)

    def _close_step(self) -> None:
        """Go on closing: send what is left, or finish."""
        if self._closing != "abort" and self._queue:
            if not self._blocked and not self._handshaking:
                self._flush()
            if self._queue and self._closing != "abort":
                self._wait_for_queue()
                return
        self._finish()

    def _wait_for_queue(self) -> None:
        if self._closing == "flush":
            self._closing = "waiting"
            if self._cancel_deadline is not None:  # of a handshake
                self._cancel_deadline()
            self._active = self.engine.time
            self._cancel_deadline = self.engine.defer(self.close_timeout, self._close_overdue)
        if self._interest < 0:
            self._watch()
        else:
            self._update_interest()

    def _close_overdue(self) -> None:
        """The time to close is over, unless some bytes have gone meanwhile."""
        left = self._active + self.close_timeout - self.engine.time
        if left > 0:
            self._cancel_deadline = self.engine.defer(left, self._close_overdue)
        else:
            self._lost(TimeoutError(errno.ETIMEDOUT, "the peer took nothing while the channel was closing"))

    def _finish(self) -> None:
        """Close the socket, and be done."""
        self._closed = True
        if self._connector is not None:
            self._connector.cancel()
            self._connector = None
        self.engine.dormant.discard(self)
        self._cancel_timers()
        _send_queue.clear(self._queue)
        self._framer = None
        sock = self.socket
        if sock is not None:
            self._keep_addresses()
            self._unwatch()
            self.socket = None
            if self.server is not None:
                self.server.forget(sock.fileno(), self)
            self._release(sock)
        self._call_on_close()

    def _cancel_timers(self) -> None:
        for cancel in (self._cancel_deadline, self._cancel_idle):
            if cancel is not None:
                cancel()
        self._cancel_deadline = self._cancel_idle = None

    def _start_handshake(self) -> None:
        raise NotImplementedError

    def _release(self, sock: Socket) -> None:
        """Close the socket, so that the peer gets to read what was sent."""
        if self._ended or (isinstance(self.close_error, OSError) and not isinstance(self.close_error, ssl.SSLError)):
            sock.close()
        else:
            Linger(self.engine, sock)
