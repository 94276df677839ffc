"""What a stream does in the loop: its socket's events, handing out, sending, closing.

The engine calls one of four methods. Hooks are called from these, from timers and from the connector, never inside a
method that a user calls:

    Transport._on_socket_events             the socket is ready; the connection is in clear
    SecureTransport._on_handshake_events    the socket is ready; TLS is being negotiated
    SecureTransport._on_tls_events          the socket is ready; the connection is secure
    Transport._attend_channel               before the engine waits: what was done to the stream from elsewhere
"""

from __future__ import annotations

import errno
import os
import ssl
from collections.abc import Callable
from socket import SO_ERROR, SOL_SOCKET
from socket import socket as Socket
from typing import TYPE_CHECKING, Any, Final

from pants import _kernel, _send_queue
from pants._channel import NOT_ASKED, OWN_EVENT
from pants._connector import Connector
from pants._hooks import StreamHooks
from pants._linger import Linger
from pants._send_queue import StartTLS
from pants._settings import Setting
from pants._tls import TLSSettings
from pants.delimiter import Framer
from pants.engine import ERROR, HANGUP, READ, WRITE, Engine, Handler

if TYPE_CHECKING:
    from pants.server import Server

# What one recv() asks for, in bytes.
RECV_SIZE: Final = 65536
# Values of Transport._watched_events where the engine does not watch the socket.
UNWATCHED: Final = -1
HUNG_UP: Final = -2  # the peer has gone while reading was paused

# An error that is none of the programmer's making: connections do end like this.
# EPROTOTYPE is what macOS says of a socket that is being torn down.
_GONE: Final = frozenset(
    {errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETDOWN, errno.ENOTCONN, errno.EPROTOTYPE}
)


def _is_gone(error: Exception) -> bool:
    if isinstance(error, ssl.SSLError) or not isinstance(error, OSError):
        return False
    return isinstance(error, (ConnectionError, TimeoutError)) or error.errno in _GONE


class Transport(StreamHooks):
    """The mechanics of a stream in clear; `pants._secure_transport.SecureTransport` adds TLS."""

    __slots__ = (
        "_acceptor",
        "_last_traffic",
        "_send_blocked",
        "_cancel_stage_deadline",
        "_cancel_idle_check",
        "_closing_stage",
        "_connector",
        "_counted_bytes",
        "_counted_items",
        "_drain_untold",
        "_read_ended",
        "_failure_untold",
        "_read_framer",
        "_unopened",
        "_handshaking",
        "_above_high_water",
        "_tls_host",
        "_idle_seconds",
        "_watched_events",
        "_reading_paused",
        "_unsent",
        "_may_read",
        "_read_recheck",
        "_tls_settings",
        "_tls_due",
        "_tls_wants",
        "close_error",
        "connected",
        "receive_size",
        "secure",
        "server",
    )

    if TYPE_CHECKING:
        handshake_timeout: float | None
        close_timeout: float | None
        high_water: int | None
    else:
        handshake_timeout = Setting(
            30.0, "Seconds until a TLS handshake fails with `pants.errors.HandshakeTimeout`; or None."
        )
        close_timeout = Setting(
            30.0, "Seconds for which a closing channel waits for a peer that takes nothing of what is left; or None."
        )
        high_water = Setting(1024 * 1024, "The number of unsent bytes beyond which `on_high_water` is called; or None.")

    #: The server that accepted this connection, or None (manual: "Stream.server").
    server: Any
    #: What is asked of the kernel at once, in bytes: more may serve better where much is on its way. Where TLS is
    #: spoken its records decide.
    receive_size: int
    #: Whether data can be written: from just before `on_connect` until `close` (manual: "Stream.connected").
    connected: bool
    #: Whether the channel speaks TLS and its handshake is over.
    secure: bool
    #: The exception that ended the connection (a reset, say), or None where it was closed in order.
    close_error: Exception | None

    def __init__(self, engine: Engine | None, server: Server | None) -> None:
        super().__init__(engine)
        # The same twice: a client may give `server` another meaning, and the mechanics must not stumble over that.
        self.server = self._acceptor = server
        self.connected = self.secure = False
        self.receive_size = RECV_SIZE
        self.close_error = None
        self._read_framer: Framer | None = None
        self._unsent: list[_send_queue.Item] = []
        self._connector: Connector | None = None
        self._tls_settings: TLSSettings | None = None
        self._tls_host: str | None = None  # the name to verify, where TLS is begun after connect()
        self._failure_untold: Exception | None = None  # to be told to a hook
        self._cancel_stage_deadline: Callable[[], None] | None = None  # of the handshake, or of closing
        self._cancel_idle_check: Callable[[], None] | None = None
        self._idle_seconds: float | None = None
        self._last_traffic = 0.0  # the engine's time when something was last received or sent
        self._watched_events: int = UNWATCHED  # what the engine watches the socket for
        self._tls_wants = 0  # READ: to go on sending, OpenSSL must read first; WRITE: the other way round
        # Whether on_read() may be called: connected, and none of the next three, nor failed.
        self._may_read = False
        self._reading_paused = self._read_ended = self._tls_due = False
        self._handshaking = False
        self._send_blocked = False  # the kernel did not take all; it will tell when it takes more
        self._read_recheck = False  # what has been received may be handed out now
        self._drain_untold = False  # on_write() is owed, after a flush() by the user
        self._counted_items = self._counted_bytes = 0  # of the queue, by on_high_water()'s check
        self._above_high_water = False  # on_high_water() has been called for what is queued
        self._closing_stage = ""  # "flush" and then "waiting": once the queue is empty; "abort": now
        self._unopened = ""  # connected ("by us"; or "before": a socket that was given), and nothing done about it yet

    # --- Before the engine waits --------------------------------------------------------------------------------

    def _attend_channel(self) -> None:
        if self._hook_polls:
            self.engine.postpone(self, self._attend_channel)
            return
        self._attention_asked = NOT_ASKED
        if self._has_closed:
            return
        if self._failure_untold is not None:
            self._tell_failure(self._failure_untold)
        if self._closing_stage:
            self._close_step()
            return
        if self._unopened:
            self._unopened = ""
            if self.fileno() < 0:  # closed by the server, for the constructor of a subclass has failed
                self._has_closed = True
                self.connected = False
                self._cancel_own_timers()
                _send_queue.clear(self._unsent)
                return
            if self._tls_settings is None or self._tls_due or self.secure:
                self._open_up()
            else:
                self._start_handshake()
        if self._drain_untold and not self._unsent:
            self._tell_drained()
        if self._may_read and self._read_recheck:
            self._read_recheck = False
            self._read_buffered()
        if self._send_blocked:
            self._check_high_water()
        elif self._unsent and not self._handshaking:
            self.engine.current = self
            try:
                self._flush_unsent()
            finally:
                self.engine.current = None

    def _open_up(self) -> None:
        """The channel can be used now."""
        self.connected = True
        self._update_reading()
        try:
            self._call_hook(self.on_connect)
        finally:
            if not self._closing_stage:
                self._watch_socket()

    def _suspend(self) -> None:
        """A hook of this channel polls the engine: leave the channel alone, but for what is to be sent."""
        self._hook_polls = True
        self._unwatch_socket()
        if self._unsent and not self._handshaking:
            self._send_while_hook_polls(0)

    def _send_while_hook_polls(self, _events: int) -> None:
        if self._send_unsent() and not self._unsent:
            self._drain_untold = True
            self._attend_soon()
        if self.socket is None or self._send_blocked is (self._watched_events >= 0):
            return
        if self._send_blocked:
            self.engine.watch(self.socket.fileno(), WRITE, self._send_while_hook_polls)
            self._watched_events = WRITE
        else:
            self._unwatch_socket()

    def _resume(self) -> None:
        """The hook that polled goes on."""
        self._unwatch_socket()
        self._hook_polls = False
        if not self._unopened and not self._has_closed:
            self._watch_socket()

    # --- What the engine watches --------------------------------------------------------------------------------

    def _watch_socket(self) -> None:
        """Have the engine watch the socket, with the handler for the channel's state."""
        if self._hook_polls or self.socket is None:
            return
        handler, events = self._socket_handler(), self._wanted_events()
        try:
            if self._watched_events < 0:
                self.engine.watch(self.socket.fileno(), events, handler)
            else:
                changed = None if events == self._watched_events else events
                self.engine.rewatch(self.socket.fileno(), changed, handler)
        except OSError as error:
            self._connection_lost(error)
        else:
            self._watched_events = events

    def _unwatch_socket(self) -> None:
        if self._watched_events >= 0 and self.socket is not None:
            self.engine.unwatch(self.socket.fileno())
        self._watched_events = UNWATCHED

    def _socket_handler(self) -> Handler:
        return self._on_socket_events

    def _wanted_events(self) -> int:
        events = READ if self._may_read else 0
        if self._send_blocked and not self._tls_wants & READ:
            events |= WRITE
        return events | self._tls_wants

    def _update_interest(self) -> None:
        if self._watched_events >= 0 and self._wanted_events() != self._watched_events:
            self._watch_socket()

    def _update_reading(self) -> None:
        """Find out anew whether data may be handed out."""
        paused = self._reading_paused and self.close_error is None  # see _broken()
        self._may_read = self.connected and not (
            paused or self._read_ended or self._tls_due or self._failure_untold is not None
        )
        if self._read_framer is not None:
            self._read_framer.halted = not self._may_read
        if self._may_read and self._watched_events == HUNG_UP:
            self._watch_socket()
        else:
            self._update_interest()

    def _halt_reading(self) -> None:
        """As `_update_reading`, where the engine need not know yet, for most likely the channel is closed next."""
        self._may_read = False
        if self._read_framer is not None:
            self._read_framer.halted = True

    # --- Events in clear ----------------------------------------------------------------------------------------

    def _on_socket_events(self, events: int) -> None:
        # The hot path: what stands here as one piece would read better as three, and costs a tenth less as it is.
        if events != READ or not self._may_read:
            self._on_other_socket_events(events)
            return
        try:
            data = self.socket.recv(self.receive_size)  # type: ignore[union-attr]
        except OSError as error:
            self._receive_failed(error)
            return
        if not data:
            self._on_read_end()
            return
        if self._read_framer is not None:
            self._hand_out(data)
        else:
            if self._idle_seconds is not None:
                self._last_traffic = self.engine.time
            if self._attention_asked == NOT_ASKED:
                self._attention_asked = OWN_EVENT
            try:
                self.on_read(data)
            except Exception as exception:  # noqa: BLE001 - hooks are contained
                self._contain(exception)
            except BaseException:
                self._attend_soon()  # as in _call_hook()
                raise
            if self._attention_asked == OWN_EVENT:
                self._attention_asked = NOT_ASKED
        if self._unsent and not self._send_blocked:
            self._flush_unsent()

    def _on_other_socket_events(self, events: int) -> None:
        if events & WRITE and self._send_blocked:
            self._flush_unsent()
        if events & ~WRITE:
            if self._may_read:
                self._on_socket_events(READ)
            elif events & (ERROR | HANGUP):
                self._hung_up()

    def _hung_up(self) -> None:
        """The peer is gone while reading is paused or over."""
        if self.socket is None:
            return
        code = self.socket.getsockopt(SOL_SOCKET, SO_ERROR)
        if code:
            self._broken(OSError(code, os.strerror(code)))
        elif self._closing_stage or self._read_ended:
            self._connection_lost(ConnectionResetError(errno.ECONNRESET, "the peer has gone"))
        else:
            # It ended in order, and what it sent may be read when reading is resumed. A hang-up is reported for as long
            # as the socket is watched, whatever for.
            self._unwatch_socket()
            self._watched_events = HUNG_UP
            self.engine.dormant.add(self)

    def _receive_failed(self, error: OSError) -> None:
        if not isinstance(error, (BlockingIOError, InterruptedError)):
            self._connection_lost(error)

    def _on_read_end(self) -> None:
        """The peer has sent all that it will send."""
        if self._read_recheck:
            self._read_recheck = False
            self._read_buffered()
            if not self._may_read:
                return  # the end is met again when reading goes on
        self._read_ended = True
        if self.close_error is not None and not isinstance(self.close_error, BrokenPipeError):
            # A reset, say: sending has met it first, and the kernel tells it once.
            self._connection_lost(self.close_error)
            return
        self._halt_reading()
        try:
            self._call_hook(self.on_end)
        except BaseException:
            self.close()  # nothing would, now
            raise
        finally:
            if self.close_error is not None:  # sending has failed as well, so there is nothing left to be done
                self.close(flush=False)
            elif not self._closing_stage:
                self._update_reading()
        if self._unsent and not self._send_blocked and not self._closing_stage:
            self._flush_unsent()

    # --- Handing out --------------------------------------------------------------------------------------------

    def _hand_out(self, data: bytes) -> None:
        """Pass data to on_read(), through the framer if there is one."""
        engine = self.engine
        self._last_traffic = engine.time
        engine.current = self
        try:
            framer = self._read_framer
            if framer is None:
                self.on_read(data)
            else:
                framer.feed(data)
                self._deliver(framer)
        except Exception as exception:  # noqa: BLE001 - hooks are contained
            self._contain(exception)
        except BaseException:
            self._read_recheck = True
            self._attend_soon()  # as in _call_hook()
            raise
        finally:
            engine.current = None

    def _read_buffered(self) -> None:
        """Hand out what has been received and not been handed out."""
        if self._read_framer is not None and self._read_framer.pending:
            self._hand_out(b"")

    def _look_again(self) -> None:
        """What is buffered may have become a frame."""
        if self._read_framer is not None and self._read_framer.pending:
            self._read_recheck = True
            self._attend_soon()

    # --- Sending ------------------------------------------------------------------------------------------------

    def _flush_unsent(self) -> None:
        """Send, and call the hooks that go with it."""
        queue = self._unsent
        data = queue[0]
        if len(queue) > 1 or data.__class__ is not bytes or self.secure:
            self._flush_any_unsent()
            return
        # The common case, quickly: one piece, which the kernel takes whole.
        try:
            sent = self.socket.send(data)  # type: ignore[union-attr]
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError as error:
            self._send_failed(error)
            return
        if sent != len(data):
            queue[0] = memoryview(data)[sent:]
            self._last_traffic = self.engine.time
            self._note_blocked()
            self._check_high_water()
        elif self._send_blocked or self._closing_stage or self._above_high_water or self._drain_untold:
            del queue[0]
            self._last_traffic = self.engine.time
            self._note_blocked()
            self._tell_drained()
        else:
            del queue[0]
            if self._idle_seconds is not None:
                self._last_traffic = self.engine.time
            try:
                self.on_write()
            except Exception as exception:  # noqa: BLE001 - hooks are contained
                self._contain(exception)

    def _flush_any_unsent(self) -> None:
        first = self._unsent[0]
        if not self._send_unsent():
            return
        if not self._unsent:
            self._tell_drained()
        elif isinstance(self._unsent[0], StartTLS):
            if first is not self._unsent[0] and len(self._unsent) == 1:
                self._tell_drained()
            if not self._handshaking and self._closing_stage != "abort":
                self._start_handshake()
        else:
            self._check_high_water()

    def _tell_drained(self) -> None:
        if self._closing_stage:
            self._attend_soon()
            return
        self._above_high_water = self._drain_untold = False
        self._call_hook(self.on_write)

    def _check_high_water(self) -> None:
        if self._above_high_water or self.high_water is None or self._closing_stage:
            return
        # While nothing can be sent the queue only grows, so what has been counted need not be counted again.
        self._counted_bytes += _send_queue.queued_size(self._unsent[self._counted_items :])
        self._counted_items = len(self._unsent)
        if self._counted_bytes > self.high_water:
            self._above_high_water = True
            self._call_hook(self.on_high_water)

    def _note_blocked(self) -> None:
        """Something has been sent: find out anew whether the kernel has to tell when it takes more."""
        self._counted_items = self._counted_bytes = 0
        blocked = bool(self._unsent) and not isinstance(self._unsent[0], StartTLS)
        if blocked is not self._send_blocked:
            self._send_blocked = blocked
            self._update_interest()

    def _send_unsent(self) -> bool:
        """Send what the kernel takes. Calls no hook.

        Returns:
            False if it failed; what follows of that is noted.
        """
        queue = self._unsent
        if self.close_error is not None:  # see _broken(); TLS would take the next piece for the rest of the last
            _send_queue.clear(queue)
            return False
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
        self._last_traffic = self.engine.time
        self._note_blocked()
        return True

    def _send_at_once(self, data: bytes, tell: bool) -> None:
        """Send data now, if nothing waits before it; else queue it. Calls no hook.

        For one message to many channels: each is touched once, rather than now and again when the loop attends to it.

        Args:
            data: What to send.
            tell: Whether `on_write` is to be called, from the loop, if the kernel takes all.
        """
        queue = self._unsent
        if self.close_error is not None:  # see _broken()
            return
        if queue or self.secure or self._handshaking or self._hook_polls:
            self.write(data)
            return
        try:
            sent = self.socket.send(data)  # type: ignore[union-attr]
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError as error:
            self._send_failed(error)
            return
        if sent != len(data):
            queue.append(memoryview(data)[sent:])
            self._note_blocked()
        if self._idle_seconds is not None or queue:
            self._last_traffic = self.engine.time
        if queue or tell:
            self._drain_untold = not queue
            self._attend_soon()  # for on_write(), or on_high_water()

    def write(self, data: bytes) -> None:
        """Queue data to be sent."""
        raise NotImplementedError

    def _outstanding(self) -> int:
        """The number of bytes that the peer has not taken: queued, or sent and not acknowledged yet."""
        return _send_queue.queued_size(self._unsent) + (
            0 if self.socket is None else _kernel.unacknowledged(self.socket)
        )

    def _acknowledged(self) -> int | None:
        """The number of bytes that the peer has taken so far, or None where that cannot be told."""
        return None if self.socket is None else _kernel.acknowledged(self.socket)

    def _has_unread(self) -> bool:
        """Whether something has been received by the kernel, and not been looked at yet."""
        return self.socket is not None and _kernel.unread(self.socket) > 0

    def _send_failed(self, error: Exception) -> None:
        _send_queue.clear(self._unsent)
        self._send_blocked = False
        self._broken(error)

    # --- Failing and closing ------------------------------------------------------------------------------------

    def _connection_lost(self, error: Exception) -> None:
        """The connection is of no more use."""
        if self._closing_stage or _is_gone(error):
            if self.close_error is None:
                self.close_error = error.with_traceback(None)
            self.close(flush=False)
        elif self._failure_untold is None:
            self._failure_untold = self.close_error = error.with_traceback(None)
            self._update_reading()
            self._attend_soon()

    def _broken(self, error: Exception) -> None:
        """The connection has turned out to be dead, by other means than reading."""
        if self.connected and not self._read_ended and not self._tls_due and _is_gone(error):
            # What the peer sent before it went, and the kernel acknowledged, is handed out first, also where reading is
            # paused: nobody will resume a channel that he is told has closed. Then reading fails, or ends.
            if self.close_error is None:
                self.close_error = error.with_traceback(None)  # with which pauses have no effect any more
            self._read_recheck = True
            self._update_reading()
            self._attend_soon()
        else:
            self._connection_lost(error)

    def _tell_failure(self, error: Exception) -> None:
        self._failure_untold = None
        self._fail_by(self.on_ssl_error if isinstance(error, ssl.SSLError) else self.on_error, error)

    def _fail_by(self, hook: Callable[[Exception], object], error: Exception) -> None:
        """Tell a failure to its hook, and close the channel, whatever the hook did."""
        self._handshaking = False
        self.close_error = error.with_traceback(None)
        try:
            if not self._closing_stage:
                self._call_hook(hook, self.close_error)
        finally:
            self.close(flush=False)

    def close(self, flush: bool = True) -> None:
        """Close the channel (manual: "Stream.close").

        `connected` turns false and `on_read` is not called any more at once; `on_close` is called from the loop, after
        what was written has been sent. A peer that takes nothing for `close_timeout` seconds is waited for no longer.
        Closing again does nothing.

        Args:
            flush: Send what is queued first. Otherwise it is dropped, also where an earlier call began to send it.
        """
        if self._has_closed:
            return
        if not self._closing_stage:
            self._closing_stage = "flush"
            self.connected = False
            self._halt_reading()
        if not flush:
            self._closing_stage = "abort"
            _send_queue.clear(self._unsent)
            self._send_blocked = False
        self._attend_soon()

    def _abort(self) -> None:
        """Close at once: the same as ``close(flush=False)``."""
        self.close(flush=False)

    def _close_step(self) -> None:
        """Go on closing: send what is left, or finish."""
        if self._unsent and all(isinstance(item, StartTLS) for item in self._unsent):
            self._unsent.clear()  # nothing waits for the handshake
        if self._closing_stage != "abort" and self._unsent:
            if not self._send_blocked and not self._handshaking:
                self._flush_unsent()
            if self._unsent and self._closing_stage != "abort":
                self._wait_for_unsent()
                return
        if self._say_goodbye():
            self._finish_closing()
        else:
            self._wait_for_unsent()

    def _say_goodbye(self) -> bool:
        """Send what the protocol wants to be sent last.

        Returns:
            False if the kernel does not take it yet.
        """
        return True

    def _wait_for_unsent(self) -> None:
        if self._closing_stage == "flush":
            self._closing_stage = "waiting"
            if self._cancel_stage_deadline is not None:  # of a handshake
                self._cancel_stage_deadline()
            self._cancel_stage_deadline = None
            self._last_traffic = self.engine.time
            if self.close_timeout is not None:
                self._cancel_stage_deadline = self.engine.defer(self.close_timeout, self._close_overdue)
        if self._watched_events < 0:
            self._watch_socket()
        else:
            self._update_interest()

    def _close_overdue(self) -> None:
        """The time to close is over, unless some bytes have gone meanwhile."""
        assert self.close_timeout is not None
        left = self._last_traffic + self.close_timeout - self.engine.time
        if left > 0:
            self._cancel_stage_deadline = self.engine.defer(left, self._close_overdue)
        else:
            self._connection_lost(TimeoutError(errno.ETIMEDOUT, "the peer took nothing while the channel was closing"))

    def _finish_closing(self) -> None:
        """Close the socket, and be done."""
        self._has_closed = True
        if self._connector is not None:
            self._connector.cancel()
            self._connector = None
        self.engine.dormant.discard(self)
        self._cancel_own_timers()
        _send_queue.clear(self._unsent)
        self._read_framer = None
        sock = self.socket
        if sock is not None:
            self._keep_addresses()
            self._unwatch_socket()
            self.socket = None
            if self._acceptor is not None:
                self._acceptor._forget(sock.fileno(), self)
            self._release_socket(sock)
        self._call_on_close()

    def _cancel_own_timers(self) -> None:
        for cancel in (self._cancel_stage_deadline, self._cancel_idle_check):
            if cancel is not None:
                cancel()
        self._cancel_stage_deadline = self._cancel_idle_check = None

    def _start_handshake(self) -> None:
        raise NotImplementedError

    def _release_socket(self, sock: Socket) -> None:
        """Close the socket, so that the peer gets to read what was sent."""
        if self._read_ended or (
            isinstance(self.close_error, OSError) and not isinstance(self.close_error, ssl.SSLError)
        ):
            sock.close()
        else:
            Linger(self.engine, sock)
