"""What a WebSocket does in the loop: what its connection tells it, handing out, control frames, closing.

The connection calls the methods of `Successor`. Hooks are called from these, from timers, and where the engine attends
to what was done from elsewhere; never inside a method that a user calls.
"""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final

from pants._settings import Setting
from pants.engine import Engine
from pants.errors import BufferOverflow
from pants.http import _ws_frames as frames
from pants.http._successor import Carrier, Successor
from pants.http._ws_deflate import Codec
from pants.http._ws_frames import CLOSE, PING, PONG, TEXT, WebSocketError
from pants.http._ws_hooks import WebSocketHooks
from pants.http._ws_inbox import Inbox
from pants.http._ws_old import OLD_CLOSE

if TYPE_CHECKING:
    from pants.http._ws_client import Connecting

log = logging.getLogger("pants.http")

# What is received at once, in bytes, where messages are long. It takes fewer calls, and fewer copies.
_LONG_RECEIVE: Final = 262144
_LONG_FRAME: Final = 65536 - 14
# What compressed data may become in one go, in bytes, before others have their turn.
_MOST_INFLATED: Final = 1048576
# Bytes a second that a peer has to take of what is left when the WebSocket closes.
_CLOSE_RATE: Final = 500
# Pings that were sent and not answered, at most; those before are forgotten.
_MOST_PINGS: Final = 16
# A ping that the program has not asked for.
_AUTOMATIC: Final = b"automatic"


class WebSocketLink(WebSocketHooks, Successor):
    """The mechanics of a `pants.http.WebSocket`."""

    __slots__ = (
        "_alive_due",
        "_arguments",
        "_awaits_pong",
        "_behind",
        "_choked",
        "_close_asked",
        "_close_due",
        "_close_sent",
        "_codec",
        "_connection",
        "_fragments",
        "_heard",
        "_inbox",
        "_inflating",
        "_left",
        "_masked",
        "_may_read",
        "_old",
        "_opened",
        "_opening",
        "_paused",
        "_peer_closed",
        "_pings",
        "_plain",
        "_pong_due",
        "_quick",
        "_reader",
        "_send",
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
            30.0, "Seconds without anything received after which the peer is sent a ping; or None, for never."
        )
        ping_timeout = Setting(
            30.0,
            "Seconds within which a peer that was sent a ping has to show that it is there, or is cut off. Anything "
            "that it sends will do, and so will taking something of what waits to be sent. Or None, for never.",
        )
        close_timeout = Setting(
            10.0, "Seconds that the peer has to answer a closing handshake, and to take what is left; or None."
        )
        connect_timeout = Setting(
            60.0, "As a client: seconds until the WebSocket has to be open, look-up and redirects included; or None."
        )
        high_water = Setting(1048576, "The number of unsent bytes beyond which `on_high_water` is called; or None.")

    # --- What it tells ----------------------------------------------------------------------------------------------

    #: Whether messages can be written: from just before `on_connect` until `close`, or until the peer closes.
    connected: bool
    #: Whether the connection is secure; behind a proxy that is believed, whether the client's is (manual: "is_secure").
    is_secure: bool
    #: The subprotocol that both ends have agreed on, or None.
    subprotocol: str | None
    #: The code of the Close frame that ended the WebSocket (RFC 6455 §7.1.5): the peer's; or that of this end, where
    #: the peer had broken the protocol. 1005 stands for a Close frame without a code, 1006 for none. None before.
    close_code: int | None
    #: What came with the code.
    close_reason: str
    #: The exception that ended the WebSocket, or None where it was closed in order.
    close_error: Exception | None
    #: Seconds between the last ping that was answered and its answer, or None.
    latency: float | None
    #: As a client: the fields of the server's answer, as `pants.http.HTTPHeaders`; else None.
    response_headers: Any

    def __init__(self, engine: Engine, arguments: tuple[Any, ...]) -> None:
        super().__init__(engine)
        self._arguments = arguments
        self._connection: Any = None
        self._reader: Any = None
        self._codec: Codec | None = None
        self._inbox = Inbox()
        self._inflating: Iterator[bytes] | None = None  # the rest of a compressed piece
        self._opening: Connecting | None = None
        self._send: Callable[[bytes], object] = _not_open
        self._whole: Callable[[bytes, int], str | bytes | None] = frames.whole_masked
        self._masked = False  # this end masks its frames
        self._old = False  # draft 76 is spoken
        self._opened = False  # on_connect() has been called
        self._paused = self._choked = False
        self._behind = False  # more has been received than can be inflated in one go
        self._may_read = False
        self._quick = 0  # where nothing is held, and on_read() wants whole messages: the length of the longest
        self._plain = False  # frames are neither masked nor compressed
        self._fragments = 0  # the opcode of a message that is being written in fragments
        self._wrote = False  # on_write() is owed
        self._heard = False  # since it was last looked whether the peer is there
        self._awaits_pong = False
        self._alive_due: Callable[[], None] | None = None
        self._close_due: Callable[[], None] | None = None
        self._left = 0  # unsent, when the closing handshake was last looked at
        self._close_asked: bytes | None = None  # close() was called before it was open
        self._close_sent = self._peer_closed = False
        self._pings: deque[tuple[bytes, float, bytes | None]] | None = None
        self._pong_due: bytes | None = None
        self.connected = False
        self.subprotocol = self.close_code = self.close_error = self.latency = None
        self.close_reason = ""
        self.response_headers = None
        self.is_secure = False

    def _describe_state(self) -> str:
        if self._has_closed:
            return "closed" if self.close_code is None else f"closed ({self.close_code})"
        state = "open" if self.connected else "closing" if self._opened else "opening"
        return f"{state}, {self.local_address} to {self.remote_address}"

    def _ask_socket(self, method: str) -> Any:
        if self._connection is None:
            return None
        return self._connection.local_address if method == "getsockname" else self._connection.remote_address

    # --- Open -------------------------------------------------------------------------------------------------------

    def _connection_begins(self) -> None:
        self._open(self._connection)

    def _open(self, connection: Carrier) -> None:
        """The WebSocket is open."""
        self._send = connection.write
        self._plain = not (self._masked or self._old or self._codec is not None)
        self.connected = self._opened = True
        connection.high_water = self.high_water
        connection.close_timeout = self.close_timeout
        self._may_read = True
        self._quick = 0 if self._old else self._inbox.limit
        if self.ping_interval is not None and not self._old:
            self._alive_due = self.engine.defer(self.ping_interval, self._check_alive)
        arguments, self._arguments = self._arguments, ()
        self._call_hook(self.on_connect, *arguments)
        if self._close_asked is not None and self.connected:
            self._begin_closing(self._close_asked)

    # --- Receiving --------------------------------------------------------------------------------------------------

    def _look_again(self) -> None:
        """What is held may have become something for on_read()."""
        self._quick = 0
        if self._opened:
            self._attend_soon()

    def _update_reading(self) -> None:
        """Find out anew whether on_read() may be called."""
        self._may_read = self.connected and not (self._paused or self._choked)
        self._inbox.halted = not self._may_read
        self._quick = 0
        if not self._opened or self._has_closed:
            return
        if self.connected and (self._behind or not self._may_read):
            self._connection.pause_reading()
        else:
            self._connection.resume_reading()
            self._attend_soon()

    def _attend_channel(self) -> None:
        connection = self._connection
        if connection is not None and connection._hook_polls:
            self.engine.postpone(connection, self._attend_channel)
            return
        self._attention_asked = 0
        if self._has_closed or connection is None:
            return
        self.engine.current = connection
        try:
            self._process()
        finally:
            self.engine.current = None

    def _connection_read(self, data: bytes) -> None:
        self._heard = True
        if (most := self._quick) and (message := self._whole(data, most)) is not None:
            try:
                self.on_read(message)
            except Exception as exception:  # noqa: BLE001 - hooks are contained
                self._contain(exception)
        elif not self._peer_closed:
            self._reader.feed(data)
            self._process()

    def _process(self) -> None:
        """Take apart what has arrived, and hand it out."""
        inbox, reader = self._inbox, self._reader
        self._quick = 0
        try:
            if self._may_read and inbox.pending:
                inbox.deliver(self)
            while self._may_read or not self.connected:
                if self._inflating is not None:
                    if not self._inflate(self._inflating):
                        return
                    continue
                payload = reader.take()
                if payload is None:
                    break
                if reader.opcode >= CLOSE:
                    self._on_control(reader.opcode, payload)
                elif self.connected:
                    self._on_data(payload)
        except WebSocketError as error:
            log.debug("%r: %s", self, error)
            self._fail(error.code, error.reason, error)
        except BaseException:
            self._attend_soon()  # the engine may be started again
            raise
        if self._may_read and not self._old and reader.idle and inbox.idle:
            self._quick = inbox.limit

    def _inflate(self, pieces: Iterator[bytes]) -> bool:
        """Take what a compressed piece is inflated to.

        Returns:
            False if that is so much that others have to have their turn first.
        """
        taken = 0
        while self._may_read:
            piece = next(pieces, None)
            if piece is None:
                self._inflating = None
                if self._reader.ends:
                    self._take_in(b"", True)
                if self._behind:
                    self._behind = False
                    self._update_reading()
                return True
            self._take_in(piece, False)
            taken += len(piece)
            if taken >= _MOST_INFLATED:
                self._behind = True
                self._update_reading()
                self._attend_soon()
                return False
        return True

    def _on_data(self, payload: bytes) -> None:
        """Take a piece of a message."""
        inbox, reader = self._inbox, self._reader
        if reader.begins:
            inbox.begin(reader.opcode == TEXT)
        if reader.compressed:
            if self._codec is not None:
                self._inflating = self._codec.inflate(payload, reader.ends)
            return
        length = reader.length
        if length and not inbox.fits(length):
            self._overflow(length)
            if not self.connected:
                return
        if length > _LONG_FRAME:  # of the frame that begins here
            self._connection.receive_size = _LONG_RECEIVE
        inbox.add(payload, reader.ends)
        if self._may_read:
            inbox.deliver(self)

    def _take_in(self, piece: bytes, last: bool) -> None:
        """Take what a piece of a compressed message has been inflated to."""
        inbox = self._inbox
        if not self.connected:
            return
        if piece and not inbox.fits(len(piece)):
            self._overflow(len(piece))
            if not self.connected:
                return
        inbox.add(piece, last)
        if self._may_read:
            inbox.deliver(self)

    def _overflow(self, size: int) -> None:
        """A message is too long, by what comes next of it."""
        exception = BufferOverflow(f"a message is longer than {self._inbox.limit} bytes, which is buffer_size")
        self._call_hook(self.on_overflow_error, exception)
        exception.__traceback__ = None
        if not self._inbox.fits(size):
            self._inbox.discard()

    def _on_control(self, opcode: int, payload: bytes) -> None:
        if opcode == CLOSE:
            self._on_close_frame(payload)
        elif opcode == PING:
            if self.connected:
                # One that is not sent yet is not worth more than the newest (RFC 6455 §5.5.3).
                if self._connection._send_blocked:
                    self._pong_due = payload
                else:
                    self._send_frame(PONG, payload)
        else:
            self._on_pong_frame(payload)

    # --- Sending ----------------------------------------------------------------------------------------------------

    def _send_frame(self, opcode: int, payload: bytes, *, fin: bool = True, compressed: bool = False) -> None:
        for piece in frames.frame(opcode, payload, masked=self._masked, fin=fin, compressed=compressed):
            self._send(piece)

    def _connection_wrote(self) -> None:
        if self._choked or self._pong_due is not None:
            self._go_on()
        if self._wrote:
            self._wrote = False
            self.on_write()

    def _go_on(self) -> None:
        """The peer has taken all there was."""
        if self._choked:
            self._choked = False
            self._update_reading()
        payload, self._pong_due = self._pong_due, None
        if payload is not None and self.connected:
            self._send_frame(PONG, payload)

    def _connection_choked(self) -> None:
        self.on_high_water()

    # --- Whether the peer is there ------------------------------------------------------------------------------------

    def _send_ping(self, payload: bytes, told: bytes | None) -> None:
        if self._pings is None:
            self._pings = deque(maxlen=_MOST_PINGS)
        self._pings.append((payload, self.engine.clock(), told))
        self._send_frame(PING, payload)

    def _on_pong_frame(self, payload: bytes) -> None:
        """A pong answers the ping with its payload, and those before (RFC 6455 §5.5.3). Others mean nothing."""
        pings = self._pings
        if not pings or not any(sent[0] == payload for sent in pings):
            return
        while True:
            sent, when, told = pings.popleft()
            if sent == payload:
                break
        self.latency = self.engine.clock() - when
        if told is not _AUTOMATIC and self.connected:
            self._call_hook(self.on_pong, self.latency if told is None else told)

    def _check_alive(self) -> None:
        connection, interval = self._connection, self.ping_interval
        self._alive_due = None
        if not self.connected or interval is None:
            return
        again = interval
        # What is taken of a long transfer shows life as well; a ping would wait behind it.
        takes = connection._send_blocked and connection._last_traffic > self.engine.time - interval
        deaf = connection._hook_polls or (not self._may_read and not self._choked)  # by this program's own doing
        if self._heard or takes or deaf:
            self._heard = self._awaits_pong = False
        elif not self._awaits_pong:
            self._awaits_pong = True
            self._send_ping(os.urandom(8), _AUTOMATIC)
            if self.ping_timeout is None:
                self._awaits_pong = False
            else:
                again = self.ping_timeout
        else:
            self.close_error = TimeoutError("the peer has shown no sign of life, and has not answered a ping")
            connection.close(flush=False)
            return
        self._alive_due = self.engine.defer(again, self._check_alive)

    # --- Closing ----------------------------------------------------------------------------------------------------

    def _close(self, payload: bytes) -> None:
        """Send what was written, then a Close frame."""
        if self._has_closed:
            return
        if self._opening is not None:
            self._opening.cancel()
            self._opening = None
            self.engine.callback(self._close_finally)
        elif not self._opened:
            self._close_asked = payload
        elif self.connected:
            self._begin_closing(payload)

    def _abort(self) -> None:
        """Close the connection at once."""
        if self._connection is None:
            self._close(b"")
            return
        if self._opened:
            self._stop()
        self._connection.close(flush=False)

    def _stop(self) -> None:
        """Nothing is written or handed out from now on."""
        self.connected = self._may_read = False
        self._quick = 0
        self._inbox.halted = True
        self._inflating = None
        if self._alive_due is not None:
            self._alive_due()
            self._alive_due = None

    def _begin_closing(self, payload: bytes) -> None:
        """Begin the closing handshake."""
        self._stop()
        self._close_sent = True
        self._connection.resume_reading()  # for the peer's Close frame
        self._send_close(payload)
        if self._old:
            self._connection.close()
            return
        self._wait_for_close()
        self._attend_soon()  # what has been received may hold it

    def _wait_for_close(self) -> None:
        if self._close_due is None and self.close_timeout is not None:
            self._left = self._connection.queued_bytes
            self._close_due = self.engine.defer(self.close_timeout, self._close_overdue)

    def _close_overdue(self) -> None:
        self._close_due = None
        connection = self._connection
        assert self.close_timeout is not None
        if self._left - connection.queued_bytes >= _CLOSE_RATE * self.close_timeout > 0:
            self._wait_for_close()  # it is still taking what was written before
            return
        if not self._peer_closed:
            self.close_error = TimeoutError("the peer has not answered the closing handshake")
        connection.close(flush=False)

    def _on_close_frame(self, payload: bytes) -> None:
        """The peer closes, or answers that this end does."""
        connection = self._connection
        if self._old:
            self.close_code = frames.NO_STATUS
            if not self._close_sent:
                self._close_sent = True
                self._send(OLD_CLOSE)
            self._stop()
            connection.close()
            return
        code, reason = frames.parse_close(payload)
        if self.close_code is None:
            self.close_code, self.close_reason = code, reason
        self._peer_closed = True
        was_sent, self._close_sent = self._close_sent, True
        self._stop()
        self._reader.clear()
        if not was_sent:
            self._send_frame(CLOSE, payload)
        if self._masked:
            self._wait_for_close()  # the server closes the connection (RFC 6455 §7.1.1)
        else:
            connection.close()

    def _fail(self, code: int, reason: str, exception: Exception) -> None:
        """Fail the WebSocket (RFC 6455 §7.1.7): tell the peer why, and wait for nothing that it may send."""
        connection = self._connection
        if self._has_closed or not self._opened:
            self._abort()
            return
        if self.close_code is None:
            self.close_code, self.close_reason = code, reason
            self.close_error = exception.with_traceback(None)
        sent, self._close_sent = self._close_sent, True
        self._stop()
        self._reader.clear()
        if not sent and connection.connected:
            self._send_close(frames.close_payload(code, reason))
        connection.close()

    def _send_close(self, payload: bytes) -> None:
        if self._old:
            self._send(OLD_CLOSE)
        else:
            self._send_frame(CLOSE, payload)

    def _connection_closing(self, flush: bool) -> None:
        if not self._opened:
            return
        self._stop()
        if flush and not self._close_sent:  # somebody else closes it, the server for example
            self._close_sent = True
            self._send_close(frames.close_payload(1001, None))

    def _server_shuts_down(self) -> None:
        self._close(frames.close_payload(1001, None))

    def _connection_ended(self) -> None:
        if self._opened:
            self._stop()
        self._close_sent = True  # the peer has gone without one, and will hear of none
        self._connection.close()

    def _connection_failed(self, exception: Exception) -> None:
        self.on_error(exception)

    def _connection_closed(self) -> None:
        if self._opened:
            self._stop()
        if self.close_error is None:
            self.close_error = self._connection.close_error
        self._close_finally()

    def _close_finally(self) -> None:
        """The WebSocket has closed."""
        if self._has_closed:
            return
        self._has_closed = True
        if self._close_due is not None:
            self._close_due()
            self._close_due = None
        if self.close_code is None:
            self.close_code = frames.ABNORMAL
        self._send = _not_open
        self._reader = self._pings = None
        self._call_on_close()

    def _suspend(self) -> None:
        if self._connection is not None:
            self._connection._suspend()

    def _resume(self) -> None:
        if self._connection is not None:
            self._connection._resume()


def _not_open(_data: bytes) -> None:
    raise RuntimeError("the WebSocket is not open")
