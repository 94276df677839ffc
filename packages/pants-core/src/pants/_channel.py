"""What streams and servers have in common: an engine, a socket, its addresses, and hooks whose errors are contained."""

from __future__ import annotations

import logging
from collections.abc import Callable
from socket import socket as Socket
from typing import Any, Final

from pants._settings import settle_class_values
from pants.engine import Engine

log = logging.getLogger("pants")


class _Unset:
    def __repr__(self) -> str:
        return "<not set>"


UNSET: Final = _Unset()


# Whether the channel waits in the engine's attention; or need not, for what its own event leaves to be done is seen to
# right after it.
NOT_ASKED: Final = 0
ASKED: Final = 1
OWN_EVENT: Final = 2


class Channel:
    """The base of `pants.Stream` and `pants.Server`.

    An exception that leaves one of a channel's ``on_*`` hooks is passed to its `on_error`; one that leaves `on_error`
    or `on_close` is logged. Neither harms the engine or other channels.
    """

    __slots__ = (
        "__dict__",
        "__weakref__",
        "_attention_asked",
        "_has_closed",
        "_local_value",
        "_remote_value",
        "engine",
        "_hook_polls",
        "socket",
    )

    engine: Engine
    socket: Socket | None
    #: Whether one of the channel's hooks is running, and polls the engine: the channel is left alone meanwhile.
    _hook_polls: bool

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        settle_class_values(cls)

    def __init__(self, engine: Engine | None) -> None:
        if engine is None:
            engine = Engine.instance()
        elif not isinstance(engine, Engine):
            raise TypeError(f"engine is a pants.engine.Engine, not {engine!r}")
        if engine.closed:
            raise RuntimeError(f"{engine!r} takes no channels any more; make a new engine")
        self.engine = engine
        self.socket = None
        self._hook_polls = False
        self._has_closed = False
        self._attention_asked = NOT_ASKED
        self._local_value: Any = UNSET
        self._remote_value: Any = UNSET

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._describe_state()}>"

    def _describe_state(self) -> str:
        return "closed" if self._has_closed else "open"

    @property
    def closed(self) -> bool:
        """Whether the channel has closed; `on_close` has been called then, or is being called."""
        return self._has_closed

    def fileno(self) -> int:
        """The descriptor of the channel's socket, or -1 where it has none."""
        return -1 if self.socket is None else self.socket.fileno()

    # --- Addresses ----------------------------------------------------------------------------------------------

    @property
    def local_address(self) -> Any:
        """The local address, as `socket.getsockname` gives it, or None (manual: "local_address").

        It can be set to any value, and is back to its default when deleted. After the channel has closed it keeps its
        last value.
        """
        return self._ask_socket("getsockname") if self._local_value is UNSET else self._local_value

    @local_address.setter
    def local_address(self, value: Any) -> None:
        self._local_value = value

    @local_address.deleter
    def local_address(self) -> None:
        self._local_value = UNSET

    @property
    def remote_address(self) -> Any:
        """The peer's address, as `socket.getpeername` gives it, or None (manual: "remote_address").

        It can be set to any value, and is back to its default when deleted. After the channel has closed it keeps its
        last value.
        """
        return self._ask_socket("getpeername") if self._remote_value is UNSET else self._remote_value

    @remote_address.setter
    def remote_address(self, value: Any) -> None:
        self._remote_value = value

    @remote_address.deleter
    def remote_address(self) -> None:
        self._remote_value = UNSET

    def _ask_socket(self, method: str) -> Any:
        if self.socket is None:
            return None
        try:
            return getattr(self.socket, method)()
        except OSError:
            return None

    def _keep_addresses(self) -> None:
        """Remember the addresses, for the socket is about to be closed and on_close() may ask."""
        self._local_value = self.local_address
        self._remote_value = self.remote_address

    # --- Hooks --------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Close the channel."""
        raise NotImplementedError

    def on_close(self) -> None:
        """Called once, last, after the channel has closed (manual: "on_close")."""

    def on_error(self, exception: Exception) -> None:
        """Called with an exception for which there is no hook of its own, one raised in a hook among them.

        By default, logs the exception and closes the channel (manual: "on_error"). The exception's traceback is there
        during the call only: kept longer it would keep the channel alive.
        """
        self._log_and_close("An error", exception)

    def _log_and_close(self, what: str, exception: Exception) -> None:
        log.error("%s on %r: %s", what, self, exception, exc_info=exception)
        self._close_failed(exception)

    def _close_failed(self, exception: Exception) -> None:
        """Close the channel, for one of its hooks has failed with an exception."""
        self.close()

    def _call_hook(self, hook: Callable[..., object], *args: Any) -> None:
        """Run a hook of this channel; what it raises goes to `on_error`."""
        engine = self.engine
        outer = engine.current
        engine.current = self
        try:
            hook(*args)
        except Exception as exception:  # noqa: BLE001 - hooks are contained
            self._contain(exception)
        except BaseException:
            self._attend_soon()  # the engine may be started again; then what the hook left undone is gone on with
            raise
        finally:
            engine.current = outer

    def _contain(self, exception: Exception) -> None:
        """Pass an exception that left a hook to `on_error`."""
        try:
            self.on_error(exception)
        except Exception:
            log.exception("on_error of %r failed, on %r", self, exception)
            self._close_failed(exception)
        # The traceback leads to frames that lead back to the channel, a cycle where a caller keeps the exception.
        exception.__traceback__ = None

    def _call_on_close(self) -> None:
        try:
            self.on_close()
        except Exception:
            log.exception("on_close of %r failed", self)

    # --- For the engine -----------------------------------------------------------------------------------------

    def _attend_soon(self) -> None:
        """Have `_attend_channel` called from the loop before it waits again."""
        if self._attention_asked != ASKED:
            self._attention_asked = ASKED
            self.engine.attend(self._attend_channel)

    def _attend_channel(self) -> None:
        raise NotImplementedError

    def _suspend(self) -> None:
        """Be left alone: one of the hooks is running, and it polls."""

    def _resume(self) -> None:
        """The hook that polled is going on."""

    def _abort(self) -> None:
        """Close without sending what is queued; the engine is closing."""
        self.close()
