"""A client's connection: where it goes to, whether it is still alive, and what comes after its end."""

from __future__ import annotations

import errno
import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Self

from pants._channel import log
from pants._settings import Setting
from pants._tls import SSLOptions, TLSSettings
from pants.contrib.irc._client_hooks import ClientHooks
from pants.stream import Stream

# The ports that servers listen on (RFC 7194 for TLS).
PORT: Final = 6667
TLS_PORT: Final = 6697
# Seconds for which a registration has to last for the next delay before connecting again to be a short one.
LASTING: Final = 60.0
# Beyond this many doublings any delay is at its limit.
MOST_DOUBLINGS: Final = 30


class ClientConnection(ClientHooks):
    """What `IRCClient` is made of, without IRC's own matters."""

    if TYPE_CHECKING:
        registration_timeout: float | None
        ping_interval: float | None
        ping_timeout: float | None
        reconnect_delay: float | None
        reconnect_limit: float | None
    else:
        registration_timeout = Setting(
            60.0,
            "Seconds that the server may take to accept the client, once it is connected; or None.",
            above_zero=True,
        )
        ping_interval = Setting(
            90.0, "Seconds without a word from the server after which it is asked for one; or None.", above_zero=True
        )
        ping_timeout = Setting(60.0, "Seconds after which, unanswered, the connection is given up; or None for never.")
        reconnect_delay = Setting(2.0, "Seconds before connecting again; each failure doubles them.")
        reconnect_limit = Setting(300.0, "The most that these seconds become; or None.")

    #: The host to connect to, or that the client is connected to (manual: "server").
    server: str | None
    #: The port there (manual: "port"); None until `connect`, for 6667 or, with TLS, 6697.
    port: int | None
    #: Whether to connect again, by itself, when the connection is lost or cannot be made.
    reconnect: bool

    def __init__(self, encoding: str = "utf-8", *, reconnect: bool = False, **kwargs: Any) -> None:
        if "server" in kwargs:
            raise TypeError(f"{type(self).__name__}() takes no server; connect() does")
        self._lasting_tls: TLSSettings | None = None  # for each connection
        super().__init__(encoding, **kwargs)
        self.port = None
        self.reconnect = reconnect
        self._finished = False  # by the user: no connecting again
        self._refused = False  # by the server: likewise
        self._losing = False  # the connection is being closed for what is nobody's decision
        self._established = False
        self._failed = False  # the connection is being closed for what a hook has raised
        self._told_end = False  # irc_close() has been called since connect()
        self._failures = 0
        self._registered_at: float | None = None
        self._heard_at = self._asked_at = 0.0
        self._cancel_alive_check: Callable[[], None] | None = None
        self._cancel_reconnect: Callable[[], None] | None = None
        self._cancel_quit: Callable[[], None] | None = None

    # --- Connecting ---------------------------------------------------------------------------------------------

    def connect(self, server: str | None = None, port: int | None = None) -> Self:
        """Open a connection, and register with the server there (manual: "IRCClient.connect").

        A client that has closed can be connected again.

        Args:
            server: A name or an address; by default `server`.
            port: By default `port`, or else 6667, and 6697 with TLS.

        Returns:
            The client.

        Raises:
            RuntimeError: The client is connected, connecting, or not closed yet after `close`.
            TypeError: An argument is of the wrong type.
            ValueError: No server is given or known, or its name is empty; the port is out of range; what the client
                would say of itself cannot be sent; there is a login for SASL, and no TLS.
        """
        server = self.server if server is None else server
        port = self.port if port is None else port
        if server is None:
            raise ValueError("connect() needs a server: an argument, or the client's attribute")
        if not isinstance(server, str):
            raise TypeError(f"a server is the name or address of a host, a str, not {server!r}")
        if not server:
            raise ValueError("a server is the name or address of a host, and not empty")
        if port is None:
            port = PORT if self._lasting_tls is None else TLS_PORT
        if not isinstance(port, int):
            raise TypeError(f"a port is an int, not {port!r}")
        if self._has_closed:
            self._make_new()
        elif self._closing_stage:
            raise RuntimeError(f"connect() on {self!r}; it can be connected again when irc_close() is called")
        self._check_login()
        self._introduction()
        Stream.connect(self, (server, port))
        self.server, self.port = server, port
        self._stop_waiting()
        self._finished = self._refused = self._told_end = False
        self._failures = 0
        return self

    def _introduction(self) -> list[bytes]:
        """The lines that tell the server who the client is. Raises if they cannot be sent."""
        raise NotImplementedError

    def _check_login(self) -> None:
        """Raise unless the client's password can be sent over this connection."""
        raise NotImplementedError

    def startSSL(self, ssl_options: SSLOptions = {}) -> Self:  # noqa: B006 - the manual's
        """Enable TLS (manual: "Stream.startSSL"). Called before `connect`, it holds for each connection after that."""
        super().startSSL(ssl_options)
        if not self.connected:
            self._lasting_tls = self._tls_settings
        return self

    start_ssl = startSSL

    def _make_new(self) -> None:
        """Get ready to connect again, after the end of a connection."""
        server = self.server
        self._renew()
        self.server = server  # which to a Stream is something else
        if self._lasting_tls is not None:
            self.startSSL(self._lasting_tls)

    def on_connect(self) -> None:
        """The connection is made: from now on the server has to be heard of."""
        self._established = True
        self._heard_at = self.engine.time
        if self.registration_timeout is None:
            self._check_silence()
        else:
            reason = "the IRC server has not accepted the client in time"
            self._cancel_alive_check = self.engine.defer(self.registration_timeout, self._give_up, reason)

    def _note_registration(self) -> None:
        """The server has accepted the client."""
        self._registered_at = self.engine.time
        if self._cancel_alive_check is not None:
            self._cancel_alive_check()
        self._check_silence()

    # --- Alive? -------------------------------------------------------------------------------------------------

    def _hand_out(self, data: bytes) -> None:
        self._heard_at = self.engine.time  # once for all the messages that came together
        losing, self._losing = self._losing, False  # whoever closes in a hook that is called from here has decided to
        super()._hand_out(data)
        self._losing = losing

    def _check_silence(self) -> None:
        """Ask the server for an answer if it has been silent for long."""
        self._cancel_alive_check = None
        if not self.connected or self.ping_interval is None:
            return
        if self._reading_paused and not self._held_back:
            self._heard_at = self.engine.time  # it might say what it wants
        left = self._heard_at + self.ping_interval - self.engine.time
        if left > 0:
            self._cancel_alive_check = self.engine.defer(left, self._check_silence)
            return
        self._asked_at = self.engine.time
        self._send_urgently("PING", "alive")
        if self.ping_timeout is not None:
            self._cancel_alive_check = self.engine.defer(self.ping_timeout, self._check_answer)

    def _check_answer(self) -> None:
        self._cancel_alive_check = None
        if self._heard_at >= self._asked_at or (self._reading_paused and not self._held_back):
            self._check_silence()
        else:
            self._give_up("the IRC server does not answer any more")

    def _give_up(self, reason: str) -> None:
        self._cancel_alive_check = None
        self._connection_lost(TimeoutError(errno.ETIMEDOUT, reason))

    # --- The end, and what comes after it -----------------------------------------------------------------------

    def quit(self, reason: str | None = None, _prefix: str | None = None) -> None:
        """Leave the network: the server closes the connection then (manual: "quit").

        What waits for flood control is dropped. A client that is not connected, for it is connecting or waits to
        connect again, just closes. In any case it does not connect again by itself.

        Args:
            reason: What others are told.
            _prefix: As for `send_command`.

        Raises:
            TypeError: An argument is of the wrong type.
            ValueError: As `send_command`.
        """
        if not self.connected:
            self.close()
            return
        super().quit(reason, _prefix)
        self._finished = True
        if self._cancel_quit is None and self.close_timeout is not None:
            self._cancel_quit = self.engine.defer(self.close_timeout, self.close)

    def close(self, flush: bool = True) -> None:
        """Close the connection without a QUIT, and do not connect again by itself (manual: "Stream.close").

        Args:
            flush: As for `pants.Stream.close`.
        """
        self._stop_waiting()
        self._finished = self._finished or not self._losing
        super().close(flush)

    def _lose(self, step: Callable[..., object], *args: Any) -> None:
        """Take a step that closes the connection by nobody's decision: the client may connect again after it."""
        losing, self._losing = self._losing, True
        try:
            step(*args)
        finally:
            self._losing = losing

    def _on_read_end(self) -> None:
        self._lose(super()._on_read_end)

    def _connection_lost(self, error: Exception) -> None:
        self._lose(super()._connection_lost, error)

    def _fail_by(self, hook: Callable[[Exception], object], error: Exception) -> None:
        self._lose(super()._fail_by, hook, error)

    def _close_failed(self, exception: Exception) -> None:
        # A program that runs for months shall survive a fault that shows once. Where there is no connection it would
        # show at once again, and that for ever.
        if self._established:
            self._failed = True
            self._lose(super()._close_failed, exception)
        else:
            super()._close_failed(exception)

    def on_connect_error(self, exception: Exception) -> None:
        """Log it and close; the client may connect again by itself after that."""
        self._lose(super().on_connect_error, exception)

    def on_overflow_error(self, exception: Exception) -> None:
        """Log it and close; the client may connect again by itself after that."""
        self._lose(super().on_overflow_error, exception)

    def on_idle_timeout(self) -> None:
        """Close; the client may connect again by itself after that."""
        self._lose(super().on_idle_timeout)

    def on_close(self) -> None:
        """Log it if the server has not accepted the client, call `irc_close`, and connect again if that is wanted."""
        established, self._established = self._established, False
        failed, self._failed = self._failed, False
        if established and self._registered_at is None and not (self._finished or self._refused or failed):
            # The server is full, say, or speaks TLS there. Whoever runs the client would wonder.
            reason, said = self.close_error or "closed by it", self.received or "nothing"
            log.warning("%r was not accepted by the IRC server (%s), which said last: %s", self, reason, said)
        if self._registered_at is not None and self.engine.time - self._registered_at >= LASTING:
            self._failures = 0
        if not self._goes_on():
            self._forget_channels()
        try:
            if established or not (self._goes_on() or self._told_end):
                self._told_end = True
                super().on_close()
        finally:
            self._forget()
            if not self._has_closed:
                pass  # irc_close() has called connect()
            elif self._goes_on():
                self._connect_later()
            else:
                self._forget_channels()

    def _goes_on(self) -> bool:
        return self.reconnect and not (self._finished or self._refused or self.server is None)

    def _forget(self) -> None:
        """Forget what held for the connection that has ended."""
        self._registered_at = None

    def _forget_channels(self) -> None:
        """Forget which channels are to be joined again."""
        raise NotImplementedError

    def _connect_later(self) -> None:
        delay = (self.reconnect_delay or 0.0) * 2.0 ** min(self._failures, MOST_DOUBLINGS)
        if self.reconnect_limit is not None:
            delay = min(delay, self.reconnect_limit)
        # All the clients that a server has lost shall not come back at the same moment.
        delay *= random.uniform(0.5, 1.0)  # noqa: S311 - no secret
        self._failures += 1
        self._make_new()
        self.engine.dormant.add(self)  # for it to be closed with the engine
        self._cancel_reconnect = self.engine.defer(delay, self._connect_again)
        self._call_hook(self.irc_reconnecting, delay)

    def _connect_again(self) -> None:
        self._cancel_reconnect = None
        self._call_hook(Stream.connect, self, (self.server, self.port))  # if it fails, it is for what they were set to

    def _stop_waiting(self) -> None:
        for cancel in (self._cancel_alive_check, self._cancel_reconnect, self._cancel_quit):
            if cancel is not None:
                cancel()
        self._cancel_alive_check = self._cancel_reconnect = self._cancel_quit = None
