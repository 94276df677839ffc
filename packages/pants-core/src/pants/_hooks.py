"""The hooks of a stream: what users override, and what happens where they do not."""

from __future__ import annotations

from typing import Any

from pants._channel import log
from pants._delivery import Delivery


class StreamHooks(Delivery):
    """What can happen to a stream, in this order:

        [on_ssl_handshake] on_connect {on_read, on_write, on_high_water, on_idle_timeout}* [on_end] [an error] on_close

    With `startSSL` after `connect`, ``on_connect`` is the first of the two. ``on_close`` is called once, last, also for
    a stream that never connected. All are called from the engine's loop, never inside a method that the user calls.
    """

    __slots__ = ()

    def on_connect(self) -> None:
        """Called when the channel is connected, and data can be written (manual: "on_connect")."""

    def on_read(self, *args: Any, **kwargs: Any) -> None:
        """Called with received data, cut up as `read_delimiter` says (manual: "on_read").

        By default, the data is dropped. Overridden, it takes one argument: bytes, or a match object (see
        `regex_search`); with a Struct or NetStruct as delimiter, as many as that unpacks.
        """

    def on_write(self) -> None:
        """Called each time all that was written has been sent (manual: "on_write")."""

    def on_high_water(self) -> None:
        """Called when more than `high_water` bytes are left unsent, for the peer takes data slower than it is written.

        A writer that stops then, and goes on in `on_write`, keeps the memory for its queue bounded. It is called once
        until `on_write` was.
        """

    def on_end(self) -> None:
        """Called when the peer has ended its side of the connection; `on_read` will not be called any more.

        By default, sends what is queued and closes the channel. Override it to go on writing, and close later.
        """
        self.close()

    def on_idle_timeout(self) -> None:
        """Called when nothing has been received or sent for `idle_timeout` seconds. By default, closes the channel."""
        self.close()

    def on_connect_error(self, exception: Exception) -> None:
        """Called when connecting has failed, with a `pants.errors.ConnectError` (manual: "on_connect_error").

        By default, logs the exception and closes the channel. Overridden, `connect` may be called again in it.
        """
        self._warn_and_close(exception)

    def on_overflow_error(self, exception: Exception) -> None:
        """Called when a piece of data is longer than `buffer_size` (manual: "on_overflow_error").

        By default, logs the exception and closes the channel. Where it is overridden, leaves the channel open, and
        changes neither `buffer_size` nor `read_delimiter`, what was buffered is dropped.
        """
        self._warn_and_close(exception)

    def on_ssl_handshake(self) -> None:
        """Called when the TLS handshake has succeeded: the channel is secure (manual: "on_ssl_handshake")."""

    def on_ssl_handshake_error(self, exception: Exception) -> None:
        """Called when the TLS handshake has failed (manual: "on_ssl_handshake_error").

        By default, logs the exception. The channel is closed in any case.
        """
        self._warn_and_close(exception)

    def on_ssl_error(self, exception: Exception) -> None:
        """Called with an error of the TLS implementation outside the handshake (manual: "on_ssl_error").

        By default, logs the exception. The channel is closed in any case.
        """
        self._warn_and_close(exception)

    def _warn_and_close(self, exception: Exception) -> None:
        # The peer's doing, or the network's: no place in this program that a traceback could point at.
        log.warning("%r: %s", self, exception)
        self.close()
