"""Handing out frames by a hook: what everything that has a `read_delimiter` does with its framer."""

from __future__ import annotations

from typing import Any

from pants._channel import Channel
from pants._cutting import Sink
from pants.delimiter import Framer
from pants.errors import BufferOverflow, FramingError


class Delivery(Channel):
    """A channel whose ``on_read`` is called with frames."""

    __slots__ = ()

    #: Whether `on_read` may be called.
    _may_read: bool

    def on_read(self, *args: Any, **kwargs: Any) -> None:
        """Called with a frame."""
        raise NotImplementedError

    def on_overflow_error(self, exception: Exception) -> None:
        """Called when a frame is too long."""
        raise NotImplementedError

    def _deliver(self, framer: Framer, sink: Sink | None = None) -> None:
        """Hand out the frames that are complete. What on_read() raises costs its own frame only.

        Args:
            framer: What cuts them.
            sink: What gets them in this channel's place, and passes them on.
        """
        stuck_at = -1
        while self._may_read:
            try:
                framer.deliver_to(sink or self)
                return
            except FramingError as exception:
                if exception.framer is not framer:  # the hook's own
                    self._contain(exception)
                    continue
                rule = (framer.delimiter, framer.limit, framer.regex_search)
                self._tell_stuck(exception)
                # The hook may have set another rule; but only so often as frames come of it.
                if stuck_at == framer.pending or rule == (framer.delimiter, framer.limit, framer.regex_search):
                    framer.clear()
                stuck_at = framer.pending
            except Exception as exception:  # noqa: BLE001 - hooks are contained
                self._contain(exception)

    def _tell_stuck(self, exception: FramingError) -> None:
        exception.framer = None  # which the user may keep, and which holds what was received
        if isinstance(exception, BufferOverflow):
            self._call_hook(self.on_overflow_error, exception)
            exception.__traceback__ = None  # as in _contain()
        else:
            self._contain(exception)
