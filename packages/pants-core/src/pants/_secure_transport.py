"""What a stream does in the loop where TLS is involved."""

from __future__ import annotations

import errno
import os
import ssl
from socket import socket as Socket
from typing import Final

from pants._send_queue import StartTLS
from pants._transport import Transport
from pants.engine import ERROR, HANGUP, READ, WRITE, Handler
from pants.errors import HandshakeTimeout

# The most that OpenSSL gives at once: one TLS record.
RECORD_SIZE: Final = 16384
# TLS records read in one go before other channels have their turn.
RECORDS_PER_TURN: Final = 16
# Seconds after which a deadline is looked at again that fell into a hook which polls the engine.
SUSPENDED_RETRY: Final = 0.1


class SecureTransport(Transport):
    """The mechanics of a stream, with TLS."""

    __slots__ = ()

    def _socket_handler(self) -> Handler:
        if self._handshaking:
            return self._on_handshake_events
        return self._on_tls_events if self.secure else self._on_socket_events

    def _wanted_events(self) -> int:
        return self._tls_wants if self._handshaking else super()._wanted_events()

    # --- The handshake ------------------------------------------------------------------------------------------

    def _start_handshake(self) -> None:
        """Put TLS around the socket, and begin the handshake."""
        assert self._tls_settings is not None
        if self._read_framer is not None:
            self._read_framer.clear()  # what came in clear is not to be taken for protected
        fd = self.fileno()
        try:
            if not isinstance(self.socket, ssl.SSLSocket):
                self._unwatch_socket()  # before it, for if the ssl module fails it may have closed the descriptor
                self.socket = self._tls_settings.wrap(self.socket, self._tls_host)
        except (OSError, ValueError) as error:
            if self._acceptor is not None:
                self._acceptor._forget(fd, self)
            self._fail_by(self.on_ssl_error, error)
            return
        self._handshaking = True
        self._tls_wants = READ
        if self.handshake_timeout is not None and not self._closing_stage:
            self._cancel_stage_deadline = self.engine.defer(self.handshake_timeout, self._handshake_overdue)
        self._watch_socket()
        self._on_handshake_events(0)

    def _on_handshake_events(self, _events: int) -> None:
        if not self._handshaking or self._failure_untold is not None:
            return
        wants = READ
        try:
            self.socket.do_handshake()  # type: ignore[union-attr]
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLWantWriteError:
            wants = WRITE
        except (OSError, ValueError) as error:
            self._fail_by(self.on_ssl_handshake_error, error)
            return
        else:
            self._handshaken()
            return
        self._tls_wants = wants
        self._update_interest()

    def _handshake_overdue(self) -> None:
        if self._hook_polls:  # one of the channel's hooks is running
            self._cancel_stage_deadline = self.engine.defer(SUSPENDED_RETRY, self._handshake_overdue)
            return
        error = HandshakeTimeout(f"the TLS handshake took longer than {self.handshake_timeout} seconds")
        self._fail_by(self.on_ssl_handshake_error, error)

    def _handshaken(self) -> None:
        self._handshaking = self._tls_due = False
        self.secure = True
        self._tls_wants = 0
        self._last_traffic = self.engine.time
        if self._unsent and isinstance(self._unsent[0], StartTLS):
            del self._unsent[0]
        if self._closing_stage:
            self._watch_socket()
            self._attend_soon()
            return
        if self._cancel_stage_deadline is not None:
            self._cancel_stage_deadline()
            self._cancel_stage_deadline = None
        was_connected = self.connected
        self.connected = True
        self._read_recheck = True  # OpenSSL may have read data together with the end of the handshake
        self._attend_soon()
        self._update_reading()
        self._unopened = "" if was_connected else "by us"
        try:
            self._call_hook(self.on_ssl_handshake)
        finally:
            if was_connected and not self._closing_stage:
                self._watch_socket()

    # --- Reading ------------------------------------------------------------------------------------------------

    def _on_tls_events(self, events: int) -> None:
        self._last_traffic = self.engine.time
        self._tls_wants = 0
        if self._may_read:
            self._read_records()
        elif events & (ERROR | HANGUP):
            self._hung_up()
        if self._unsent:
            self._flush_unsent()
        elif self._closing_stage:
            self._send_blocked = False
            self._attend_soon()
        if not self._has_closed:
            self._update_interest()

    def _read_records(self) -> None:
        """Read what is there, and hand it out. Nothing that OpenSSL keeps may be left behind: no event tells of it."""
        sock = self.socket
        for _ in range(RECORDS_PER_TURN):
            try:
                data = sock.recv(RECORD_SIZE)  # type: ignore[union-attr]
            except ssl.SSLWantReadError:
                return
            except ssl.SSLWantWriteError:
                self._tls_wants |= WRITE
                return
            except ssl.SSLEOFError as error:
                self._end_unannounced(error)
                return
            except OSError as error:
                self._receive_failed(error)
                return
            if not data:
                self._on_read_end()
                return
            self._hand_out(data)
            if not self._may_read:
                return
        self._read_recheck = True
        self._attend_soon()  # what OpenSSL has taken out of the kernel causes no event

    def _read_buffered(self) -> None:
        super()._read_buffered()
        if self._may_read and isinstance(self.socket, ssl.SSLSocket) and self.socket.pending():
            self._on_tls_events(READ)

    def _end_unannounced(self, error: ssl.SSLEOFError) -> None:
        """The connection has ended without TLS's own notice of it."""
        assert self._tls_settings is not None
        # Either by a reset, which the ssl module took for an end until Python 3.11.9 and 3.12.3, or as many peers do
        # it. OpenSSL 3 gives the reason; before that the socket tells.
        if error.reason is None and self._has_lost_peer():
            self._connection_lost(_reset())
        elif self._tls_settings.suppress_ragged_eofs:
            self._on_read_end()
        else:
            self._connection_lost(error)

    def _has_lost_peer(self) -> bool:
        try:
            self.socket.getpeername()  # type: ignore[union-attr]
        except OSError:
            return True
        return False

    # --- Sending and closing --------------------------------------------------------------------------------------

    def _send_failed(self, error: Exception) -> None:
        gone = isinstance(error, (ssl.SSLEOFError, ssl.SSLZeroReturnError))  # a reset, to the ssl module
        super()._send_failed(_reset() if gone else error)

    def _say_goodbye(self) -> bool:
        if not self.secure or self.close_error is not None or not isinstance(self.socket, ssl.SSLSocket):
            return True
        try:
            self.socket.unwrap()  # sends close_notify (RFC 8446 §6.1); the peer's own is not waited for
        except ssl.SSLWantWriteError:
            if self._closing_stage != "abort":
                self._send_blocked = True
                return False
        except (OSError, ValueError):
            pass
        return True

    def _release_socket(self, sock: Socket) -> None:
        if isinstance(sock, ssl.SSLSocket):
            sock = Socket(fileno=sock.detach())
        super()._release_socket(sock)


def _reset() -> ConnectionResetError:
    return ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))
