"""What a WebSocket does in the loop with what arrives: taking it apart, handing it out, answering.

The connection calls the methods of `Successor`. Hooks are called from these, from timers, and where the engine attends
to what was done from elsewhere; never inside a method that a user calls.
"""

from __future__ import annotations

import logging
from typing import Any, Final

from pants._cutting import Sink
from pants._send_queue import queued_size
from pants.delimiter import Framer
from pants.errors import BufferOverflow
from pants.http._successor import Carrier, Successor
from pants.http._ws_closing import Closing
from pants.http._ws_frames import CLOSE, PING, TEXT, WebSocketError
from pants.http._ws_state import CLOSED, CLOSING, OPEN, OPENING

log = logging.getLogger("pants.http")

# What is received at once, in bytes, where messages are long. It takes fewer calls, and fewer copies.
_LONG_RECEIVE: Final = 262144
_LONG_FRAME: Final = 65536 - 14
# Seconds of one turn after which others have their turn.
_MOST_TIME: Final = 0.005
# Messages, or parts that were cut, between two looks at the clock.
_BATCH: Final = 8
# What is written in answer is sent at so many bytes, to see whether the peer takes it.
_FLUSH_SIZE: Final = 262144


class WebSocketLink(Closing, Successor):
    """A WebSocket with its connection."""

    __slots__ = ()

    # --- Opening ----------------------------------------------------------------------------------------------------

    def _connection_begins(self, rest: bytes) -> None:
        self._open(self._connection, rest)

    def _open(self, connection: Carrier, rest: bytes) -> None:
        """The handshake is over.

        Args:
            connection: What carries the WebSocket.
            rest: What has arrived behind the handshake.
        """
        self._connection = connection
        self._send = connection.write
        self._plain = not (self._masked or self._old or self._codec is not None)
        self._reader.feed(rest)
        self._state = OPEN
        self._copy_settings(connection)
        arguments, self._arguments = self._arguments, ()
        if self._close_asked is not None:
            self._begin_closing(self._close_asked)
            return
        self._settle()
        try:
            self._call_hook(self.on_connect, *arguments)
        finally:
            if self._state == OPEN:
                self._copy_settings(connection)  # it may have set them
                self._watch()

    def _copy_settings(self, connection: Carrier) -> None:
        connection.high_water = self.high_water
        connection.close_timeout = self.close_timeout

    # --- Receiving --------------------------------------------------------------------------------------------------

    def _look_again(self) -> None:
        """What is held may have become something for on_read()."""
        if self._state != OPENING:
            self._settle()

    def _attend_channel(self) -> None:
        connection = self._connection
        if connection is not None and connection._hook_polls:
            self.engine.postpone(connection, self._attend_channel)
            return
        self._attention_asked = 0
        if self._state == CLOSED:
            return
        if self._state == OPENING:
            if self._close_asked is not None:
                self._give_up_opening()
            return
        self.engine.current = connection
        try:
            self._process()
        finally:
            self.engine.current = None

    def _give_up_opening(self) -> None:
        raise NotImplementedError

    def _connection_read(self, data: bytes) -> None:
        self._heard = self.engine.time
        if (most := self._quick) and (message := self._whole(data, most)) is not None:
            try:
                self.on_read(message)
            except Exception as exception:  # noqa: BLE001 - hooks are contained
                self._contain(exception)
        elif self._state <= CLOSING:
            self._reader.feed(data)
            self._process()

    def _process(self) -> None:
        """Take apart what has arrived, and hand it out."""
        self._quick = 0
        try:
            self._began = self.engine.clock()
            self._counted = (0, 0)
            if self._may_read and self._inbox.pending:
                self._inbox.deliver(self)
            if not self._take_all():
                self._behind = True
                self._settle()
                return
        except WebSocketError as error:
            log.debug("%r: %s", self, error)
            self._fail(error.code, error.reason, error)
        except BaseException:
            self._attend_soon()  # the engine may be started again
            raise
        if not self._may_read:
            return
        if self._behind:
            self._behind = False
            self._settle()
        elif self._end_due:
            self._end()
        elif not self._old and self._reader.idle and self._inbox.idle:
            self._quick = self._inbox.limit

    def _take_all(self) -> bool:
        """Take what there is, as far as it may be handed out.

        Returns:
            False if that is so much that others have to have their turn first.
        """
        reader, inbox = self._reader, self._inbox
        taken = 0
        # Halted by a meter, the inbox may hold what is complete: what comes next is not to be held against it.
        while not inbox.halted or self._state == CLOSING:
            if self._inflating is not None:
                piece = next(self._inflating, None)
                if piece is None:
                    self._inflating = None
                    if reader.ends:
                        self._take_in(b"", True)
                else:
                    self._take_in(piece, False)
                taken = _BATCH  # which costs more than a message
            else:
                payload = reader.take()
                if payload is None:
                    break
                if reader.opcode >= CLOSE:
                    self._on_control(reader.opcode, payload)
                elif self._may_read:
                    self._on_data(payload)
                taken += 1
            if self._floods() or (taken >= _BATCH and self._is_overdue()):
                return False
            taken %= _BATCH
        return not (self._may_read and inbox.halted)

    def _is_overdue(self) -> bool:
        return self.engine.clock() - self._began > _MOST_TIME

    def _floods(self) -> bool:
        """Whether what is written in answer is more than the peer takes. Otherwise it is seen when the turn is over."""
        queue = self._connection._unsent
        pieces, size = self._counted
        if len(queue) == pieces:
            return False
        if len(queue) < pieces:  # some of it was sent
            pieces = size = 0
        size += queued_size(queue[pieces:])
        self._counted = len(queue), size
        if size < _FLUSH_SIZE:
            return False
        if self._connection.connected and not self._connection._send_blocked:
            self._connection.flush()
            size = queued_size(queue)
            self._counted = len(queue), size
        return self.high_water is not None and size > self.high_water

    def _deliver(self, framer: Framer, sink: Sink | None = None) -> None:
        super()._deliver(framer, sink or _Meter(self))

    def _on_data(self, payload: bytes) -> None:
        """Take a piece of a message."""
        inbox, reader = self._inbox, self._reader
        if reader.begins:
            inbox.begin(reader.opcode == TEXT)
        if reader.compressed:
            assert self._codec is not None
            self._inflating = self._codec.inflate(payload, reader.ends)
            return
        length = reader.length  # of the frame that begins here
        if length and not self._makes_room(length):
            return
        if length > _LONG_FRAME:
            self._connection.receive_size = _LONG_RECEIVE
        self._take_in(payload, reader.ends, checked=True)

    def _take_in(self, data: bytes, last: bool, *, checked: bool = False) -> None:
        """Take a part of a message, and hand out what is complete.

        Args:
            data: The part.
            last: Whether it is the last.
            checked: Whether there is room for it.
        """
        inbox = self._inbox
        if data and not checked and not self._makes_room(len(data)):
            return
        inbox.add(data, last)
        if self._may_read:
            inbox.deliver(self)

    def _makes_room(self, size: int) -> bool:
        """See to it that there is room for so much more of a message; return whether it is to be gone on with."""
        inbox = self._inbox
        if inbox.fits(size):
            return True
        exception = BufferOverflow(f"a message is longer than {inbox.limit} bytes, which is buffer_size")
        self._call_hook(self.on_overflow_error, exception)
        exception.__traceback__ = None
        if not inbox.fits(size):
            inbox.discard()
        return self._state == OPEN

    def _on_control(self, opcode: int, payload: bytes) -> None:
        if opcode == CLOSE:
            self._on_close_frame(payload)
        elif opcode == PING:
            self._answer_ping(payload)
        else:
            self._on_pong_frame(payload)

    def _hand_out_all(self) -> None:
        self._process()
        while self._behind and self._may_read:
            self._process()

    # --- What the connection tells ------------------------------------------------------------------------------------

    def _connection_wrote(self) -> None:
        if self._choked or self._pong_due is not None:
            self._go_on()
        if self._wrote:
            self._wrote = False
            self.on_write()

    def _go_on(self) -> None:
        """The peer has taken all there was."""
        payload, self._pong_due = self._pong_due, None
        if payload is not None and self._state <= CLOSING:
            self._answer_ping(payload)
        if self._choked:
            self._choked = False
            self._settle()

    def _connection_choked(self) -> None:
        self.on_high_water()

    def _connection_ended(self) -> None:
        if self._state == OPEN and (self._paused or self._choked or self._behind):
            self._end_due = True  # once what came before is handed out
        else:
            self._end()  # without a Close frame, for the peer sends none

    def _connection_failed(self, exception: Exception) -> None:
        self.on_error(exception)


class _Meter:
    """Passes on what was cut, as long as it may take.

    Args:
        link: What gets it.
    """

    __slots__ = ("_left", "_link")

    def __init__(self, link: WebSocketLink) -> None:
        self._link = link
        self._left = _BATCH

    def on_read(self, *values: Any) -> None:
        """Pass on a part."""
        link = self._link
        try:
            link.on_read(*values)
        finally:
            self._left -= 1
            if self._left <= 0 or link._connection._unsent:
                if link._floods() or (self._left <= 0 and link._is_overdue()):
                    link._inbox.halted = True
                if self._left <= 0:
                    self._left = _BATCH
