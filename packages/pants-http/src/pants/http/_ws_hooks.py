"""The hooks of a WebSocket: what users override, and what happens where they do not."""

from __future__ import annotations

import logging
from typing import Any

from pants._delivery import Delivery

log = logging.getLogger("pants.http")


class WebSocketHooks(Delivery):
    """What can happen to a WebSocket, in this order, all from the engine's loop but the first as a server:

    [on_handshake] on_connect {on_read, on_write, on_pong, on_high_water}* [an error] on_close
    """

    __slots__ = ()

    _masked: bool
    _choked: bool

    def _settle(self) -> None:
        raise NotImplementedError

    def _fail(self, code: int, reason: str, exception: Exception) -> None:
        raise NotImplementedError

    def on_handshake(self, request: Any, headers: dict[str, Any]) -> object:
        """Called during the handshake (manual: "on_handshake"), to look at the request and to add to the answer.

        It comes after the checks of the protocol and of `allowed_origins`; `subprotocol` has been chosen, and another
        that the client offers may be set. It may also answer the request itself, with an error. As a client, it is
        called for each place that a redirect leads to.

        Args:
            request: The `pants.http.HTTPRequest`. As a client (`connect`), what is about to be sent; it has ``url``.
            headers: To be filled with headers for the answer, be it one that accepts or one that refuses. As a client,
                for the request; those given to `connect` are there already.

        Returns:
            Whether the WebSocket may be opened. If not, the request is answered with 403; as a client, nothing is sent
            and `on_connect_error` is called.
        """
        return True

    def on_connect(self, *args: Any, **kwargs: Any) -> None:
        """Called when the WebSocket is open, with the arguments of the constructor (manual: "on_connect")."""

    def on_connect_error(self, exception: Exception) -> None:
        """Called as a client, when the WebSocket could not be opened.

        By default, logs the exception. The WebSocket is closed in any case.

        Args:
            exception: A `pants.errors.ConnectError`, a `HandshakeError`, an `ssl.SSLError` or another.
        """
        log.warning("%r: %s", self, exception)

    def on_read(self, *args: Any, **kwargs: Any) -> None:
        """Called with what was received, as `read_delimiter` says (manual: "on_read"): str for text, else bytes."""

    def on_write(self) -> None:
        """Called each time all that was written has been sent (manual: "on_write")."""

    def on_pong(self, data: Any) -> None:
        """Called when the peer has answered a `ping` (manual: "on_pong").

        Args:
            data: The bytes that were passed to `ping`; if there were none, the seconds that the answer took.
        """

    def on_high_water(self) -> None:
        """Called when more than `high_water` bytes are unsent, for the peer takes messages slower than they come.

        It is called once until `on_write` was. By default a server reads nothing more from that client until then, so
        that answers to it do not pile up; a client does nothing, for two ends that both waited would wait for ever.
        Override it to stop writing, or to close.
        """
        if not self._masked:
            self._choked = True
            self._settle()

    def on_overflow_error(self, exception: Exception) -> None:
        """Called when a message, or a part of one that is cut, is longer than `buffer_size` (manual).

        By default, logs the exception and closes the WebSocket with the code 1009. Where it is overridden and leaves
        both alone, what is too long is dropped.
        """
        log.warning("%r: %s", self, exception)
        self._fail(1009, "Message too big", exception)

    def on_error(self, exception: Exception) -> None:
        """Called with an exception that was raised in a hook, or by a file that was being sent.

        By default, logs it and closes the WebSocket with the code 1011.
        """
        self._log_and_close("An error", exception)

    def on_close(self) -> None:
        """Called once, last, when the WebSocket has closed; `close_code` and `close_reason` tell why (manual)."""

    def _close_failed(self, exception: Exception) -> None:
        self._fail(1011, "Internal error", exception)
