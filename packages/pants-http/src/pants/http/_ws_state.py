"""What a WebSocket is made of, and the one place that decides what may be read and handed out."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final

from pants._settings import Setting
from pants.engine import Engine
from pants.http import _ws_frames as frames
from pants.http._ws_deflate import Codec
from pants.http._ws_hooks import WebSocketHooks
from pants.http._ws_inbox import Inbox

if TYPE_CHECKING:
    from pants.http._ws_client import Connecting

# Values of WebSocketState._state, in the order in which they come.
OPENING: Final = 0
OPEN: Final = 1
CLOSING: Final = 2  # a Close frame has been sent, and the peer's is waited for
ENDING: Final = 3  # the connection is about to be closed, and nothing is looked at any more
CLOSED: Final = 4


class WebSocketState(WebSocketHooks):
    """The state of a `pants.http.WebSocket`."""

    __slots__ = (
        "_acknowledged",
        "_alive_due",
        "_arguments",
        "_began",
        "_behind",
        "_choked",
        "_close_asked",
        "_close_due",
        "_codec",
        "_connection",
        "_counted",
        "_end_due",
        "_fragments",
        "_heard",
        "_inbox",
        "_inflating",
        "_masked",
        "_may_read",
        "_old",
        "_opening",
        "_outstanding",
        "_paused",
        "_ping",
        "_pings",
        "_plain",
        "_pong_due",
        "_quick",
        "_reader",
        "_send",
        "_state",
        "_whole",
        "_wrote",
        "close_code",
        "close_error",
        "close_reason",
        "connected",
        "is_secure",
        "latency",
        "response_headers",
        "subprotocol",
    )

    if TYPE_CHECKING:
        ping_interval: float | None
        ping_timeout: float | None
        close_timeout: float | None
        connect_timeout: float | None
        high_water: int | None
    else:
        ping_interval = Setting(
            30.0,
            "Seconds without anything received after which the peer is sent a ping; or None, for never. To be set in "
            "`on_connect` at the latest.",
            above_zero=True,
        )
        ping_timeout = Setting(
            30.0,
            "Seconds within which a peer that was sent a ping has to show that it is there, or is cut off. Anything "
            "that it sends will do, and so will taking something of what waits to be sent. Or None, for never.",
            above_zero=True,
        )
        close_timeout = Setting(
            10.0, "Seconds that the peer has to answer a closing handshake, and to take what is left; or None."
        )
        connect_timeout = Setting(
            60.0, "As a client: seconds until the WebSocket has to be open, look-up and redirects included; or None."
        )
        high_water = Setting(
            1048576,
            "The number of unsent bytes beyond which `on_high_water` is called; or None. To be set in `on_connect` at "
            "the latest.",
        )

    #: Whether messages can be written: from just before `on_connect` until `close`, or until the peer closes.
    connected: bool
    #: Whether the connection is secure; behind a proxy that is believed, whether the client's is (manual: "is_secure").
    is_secure: bool
    #: The subprotocol that both ends have agreed on, or None.
    subprotocol: str | None
    #: The code of the Close frame that ended the WebSocket (RFC 6455 §7.1.5): the peer's; or that of this end, where it
    #: found something wrong. 1005 stands for a Close frame without a code, 1006 for none. None before the end.
    close_code: int | None
    #: What came with the code.
    close_reason: str
    #: The exception that ended the WebSocket; None where there was none, even if it was closed without a Close frame.
    close_error: Exception | None
    #: Seconds between the last ping that was answered and its answer, or None.
    latency: float | None
    #: As a client: the fields of the server's answer, as `pants.http.HTTPHeaders`; else None.
    response_headers: Any

    def __init__(self, engine: Engine, arguments: tuple[Any, ...]) -> None:
        super().__init__(engine)
        self._state = OPENING
        self._arguments = arguments
        self._connection: Any = None
        self._opening: Connecting | None = None  # as a client
        self._close_asked: bytes | None = None  # close() was called before it was open
        self._end_due = False  # the peer has ended, and what it sent before is not handed out yet
        # Receiving.
        self._reader: Any = None
        self._codec: Codec | None = None
        self._inbox = Inbox()
        self._inflating: Iterator[bytes] | None = None  # the rest of a compressed piece
        self._whole: Callable[[bytes, int], str | bytes | None] = frames.whole_masked
        self._quick = 0  # where nothing is held, and on_read() wants whole messages: the length of the longest
        self._may_read = False
        self._paused = False  # by the program
        self._choked = False  # the peer does not take the answers
        self._behind = False  # more has arrived than can be handed out in one go
        # Sending.
        self._send: Callable[[bytes], object] = not_open
        self._masked = False  # this end masks its frames
        self._old = False  # draft 76 is spoken
        self._plain = False  # frames are neither masked nor compressed
        self._fragments = 0  # the opcode of a message that is being written in fragments
        self._wrote = False  # on_write() is owed
        # Timers, and what they look at.
        self._heard = 0.0  # the engine's time when something was last received
        # That by which the peer is to show that it is there: its payload, and when it was sent, by clock and turn.
        self._ping: tuple[bytes, float, float] | None = None
        self._pings: deque[tuple[bytes, float, bytes | None]] | None = None  # those of the program
        self._pong_due: bytes | None = None
        self._outstanding = 0  # what the peer had not taken when it was last looked
        self._acknowledged: int | None = None  # and what it had taken
        self._began = 0.0  # by the clock, when handing out what has arrived began
        self._counted = (0, 0)  # of what is queued: the pieces that were counted, and their bytes
        self._alive_due: Callable[[], None] | None = None
        self._close_due: Callable[[], None] | None = None
        self.connected = self.is_secure = False
        self.subprotocol = self.close_code = self.close_error = self.latency = None
        self.close_reason = ""
        self.response_headers = None

    def _describe_state(self) -> str:
        if self._has_closed:
            return "closed" if self.close_code is None else f"closed ({self.close_code})"
        state = ("opening", "open", "closing", "closing", "closed")[self._state]
        return f"{state}, {self.local_address} to {self.remote_address}"

    def _ask_socket(self, method: str) -> Any:
        if self._connection is None:
            return None
        return self._connection.local_address if method == "getsockname" else self._connection.remote_address

    def _settle(self) -> None:
        """Find out anew what may be read and handed out. Whatever that hangs on, this is called when it changes."""
        state, connection = self._state, self._connection
        self.connected = state == OPEN
        # On a connection that was lost, pauses have no effect any more: nobody resumes what he is told has closed.
        self._may_read = state == OPEN and not ((self._paused or self._choked) and connection.connected)
        self._inbox.halted = not self._may_read
        self._quick = 0  # until all that is held has been looked at
        if state == OPENING or state >= ENDING or not connection.connected:
            return
        if state == CLOSING or (self._may_read and not self._behind):
            connection.resume_reading()
        else:
            connection.pause_reading()
        if self._may_read or state == CLOSING:
            self._attend_soon()

    def _suspend(self) -> None:
        if self._connection is not None:
            self._connection._suspend()

    def _resume(self) -> None:
        if self._connection is not None:
            self._connection._resume()

    def _send_frame(self, opcode: int, payload: bytes, *, fin: bool = True, compressed: bool = False) -> None:
        for piece in frames.frame(opcode, payload, masked=self._masked, fin=fin, compressed=compressed):
            self._send(piece)


def not_open(_data: bytes) -> None:
    """Stand for the writing of a WebSocket that has no connection."""
    raise RuntimeError("the WebSocket is not open")
