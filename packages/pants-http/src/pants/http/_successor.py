"""What takes over a connection from HTTP, and is told by it what happens."""

from __future__ import annotations

from typing import Any

from pants import Stream


class Successor:
    """Another protocol on a connection: what `HTTPConnection._pass_to` is given.

    The connection calls all of these from the engine's loop, and contains what they raise: that is passed to
    `_connection_failed`.
    """

    __slots__ = ()

    def _connection_begins(self, rest: bytes) -> None:
        """The connection is this protocol's now. Called once, first.

        Args:
            rest: What has arrived already.
        """
        if rest:
            self._connection_read(rest)

    def _connection_read(self, data: bytes) -> None:
        """Something has arrived."""
        raise NotImplementedError

    def _connection_wrote(self) -> None:
        """All that was written has been sent."""

    def _connection_choked(self) -> None:
        """More than the connection's ``high_water`` bytes are unsent."""

    def _connection_ended(self) -> None:
        """The other end will send nothing more."""
        raise NotImplementedError

    def _connection_failed(self, exception: Exception) -> None:
        """Something was raised."""
        raise NotImplementedError

    def _connection_closing(self, flush: bool) -> None:
        """The connection is being closed, by whomever.

        Args:
            flush: Whether it sends what was written: then this is the last chance to write.
        """

    def _connection_closed(self) -> None:
        """The connection has closed. Called once, last."""
        raise NotImplementedError

    def _server_shuts_down(self) -> None:
        """The server is shutting down gracefully: come to an end."""


class Carrier(Stream):
    """A stream that can be taken over."""

    __slots__ = ("_successor",)

    _successor: Successor | None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._successor = None
        super().__init__(*args, **kwargs)

    def _carry(self, successor: Successor) -> None:
        """Tell a successor what happens, from now on."""
        self._successor = successor
        # The two that matter for speed are called without a detour.
        self.on_read = successor._connection_read  # type: ignore[method-assign]
        self.on_write = successor._connection_wrote  # type: ignore[method-assign]

    def on_high_water(self) -> None:
        """See `pants.Stream`."""
        if self._successor is not None:
            self._successor._connection_choked()

    def on_end(self) -> None:
        """See `pants.Stream`."""
        if self._successor is not None:
            self._successor._connection_ended()
        else:
            super().on_end()

    def on_error(self, exception: Exception) -> None:
        """See `pants.Stream`."""
        if self._successor is not None:
            self._successor._connection_failed(exception)
        else:
            super().on_error(exception)

    def close(self, flush: bool = True) -> None:
        """See `pants.Stream`."""
        if self.connected and self._successor is not None:
            self._successor._connection_closing(flush)
        super().close(flush)

    def on_close(self) -> None:
        """See `pants.Stream`."""
        if self._successor is not None:
            successor, self._successor = self._successor, None  # a cycle
            del self.on_read, self.on_write
            successor._connection_closed()
