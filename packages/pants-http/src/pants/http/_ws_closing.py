"""How a WebSocket ends (RFC 6455 §7): by either end's Close frame, by a failure, or with its connection."""

from __future__ import annotations

from typing import Final

from pants.http import _ws_frames as frames
from pants.http._ws_alive import Pinging
from pants.http._ws_frames import CLOSE
from pants.http._ws_old import OLD_CLOSE
from pants.http._ws_state import CLOSED, CLOSING, ENDING, OPEN, OPENING, not_open

# Bytes a second that a peer has to take of what is left when the WebSocket closes.
_CLOSE_RATE: Final = 500


class Closing(Pinging):
    """A WebSocket that closes."""

    __slots__ = ()

    # --- By this end ------------------------------------------------------------------------------------------------

    def _close(self, payload: bytes) -> None:
        """Send what was written, then a Close frame."""
        if self._state == OPEN:
            self._begin_closing(payload)
        elif self._state == OPENING and self._close_asked is None:
            self._close_asked = payload
            if self._connection is None:
                self._attend_soon()  # as a client, where there is nothing to be sent

    def _abort(self) -> None:
        """Close the connection at once."""
        if self._connection is not None:
            self._connection.close(flush=False)
        else:
            self._close(b"")

    def _begin_closing(self, payload: bytes) -> None:
        """Begin the closing handshake."""
        self._leave(CLOSING)
        self._send_close(payload)
        self._connection.close_timeout = self.close_timeout
        if self._old:  # it has none to speak of
            self._end()
        else:
            self._await_peer()

    def _send_close(self, payload: bytes) -> None:
        if self._old:
            self._send(OLD_CLOSE)
        else:
            self._send_frame(CLOSE, payload)

    def _fail(self, code: int, reason: str, exception: Exception) -> None:
        """Fail the WebSocket (RFC 6455 §7.1.7): tell the peer why, and wait for nothing that it may send."""
        state = self._state
        if state >= ENDING:
            return
        if state == OPENING:
            self._abort()
            return
        if self.close_code is None:
            self.close_code, self.close_reason = code, reason
            self.close_error = exception.with_traceback(None)
        if state == OPEN and self._connection.connected:
            self._send_close(frames.close_payload(code, reason))
        self._end()

    def _await_peer(self) -> None:
        """Give the peer its time, to take what is left and to close."""
        if self._close_due is None and self.close_timeout is not None:
            self._outstanding = self._connection._outstanding()
            self._close_due = self.engine.defer(self.close_timeout, self._close_overdue, self.close_timeout)

    def _close_overdue(self, seconds: float) -> None:
        self._close_due = None
        left = self._connection._outstanding()
        if self._outstanding - left >= max(1, _CLOSE_RATE * seconds):
            self._await_peer()  # it is still taking what was written before
            return
        if self._state == CLOSING:
            what = "has not taken all that was sent" if left else "has not answered the closing handshake"
            self.close_error = TimeoutError(f"the peer {what}")
        self._connection.close(flush=False)

    # --- By the peer ------------------------------------------------------------------------------------------------

    def _on_close_frame(self, payload: bytes) -> None:
        """The peer closes, or answers that this end does."""
        code, reason = (frames.NO_STATUS, "") if self._old else frames.parse_close(payload)
        if self.close_code is None:
            self.close_code, self.close_reason = code, reason
        if self._state == OPEN and self._connection.connected:
            self._send_close(payload)
        if self._masked and self._connection.connected:
            self._leave(ENDING)
            self._await_peer()  # the server closes the connection (RFC 6455 §7.1.1)
        else:
            self._end()

    # --- What the connection tells ------------------------------------------------------------------------------------

    def _connection_closing(self, flush: bool) -> None:
        if self._state != OPEN:
            return
        connection = self._connection
        if flush:  # somebody else closes it, the server for example
            self._send_close(frames.close_payload(1001, None))
            self._leave(ENDING)
        elif connection.close_error is not None:
            self.connected = False  # and what has been received is handed out before the end
        else:
            self._leave(ENDING)

    def _server_shuts_down(self) -> None:
        self._close(frames.close_payload(1001, None))

    def _connection_closed(self) -> None:
        if self._state == OPEN:
            # It was lost. What had arrived before is handed out, whatever was held back.
            self._send = _drop
            self._behind = False
            self._settle()
            try:
                self._hand_out_all()
            finally:
                self._leave(ENDING)
                self._conclude()
        else:
            self._conclude()

    def _hand_out_all(self) -> None:
        raise NotImplementedError

    # --- The end ----------------------------------------------------------------------------------------------------

    def _leave(self, state: int) -> None:
        """Nothing is written or handed out from now on."""
        self._state = state
        self._inflating = None
        if state >= ENDING:
            self._reader.clear()
        if self._alive_due is not None:
            self._alive_due()
            self._alive_due = None
        self._settle()

    def _end(self) -> None:
        """Send what is left, and close the connection."""
        self._leave(ENDING)
        self._connection.close_timeout = self.close_timeout
        self._connection.close()

    def _refused(self) -> None:
        """The WebSocket was never opened, as a server, and its constructor says so: no hook is called."""
        self._state = CLOSED
        self._has_closed = True
        self._connection = None

    def _conclude(self) -> None:
        """The WebSocket has closed."""
        if self._has_closed:
            return
        if self.close_error is None and self._connection is not None:
            self.close_error = self._connection.close_error
        self._state = CLOSED
        self._has_closed = True
        self.connected = False
        self.engine.dormant.discard(self)
        if self._close_due is not None:
            self._close_due()
            self._close_due = None
        if self.close_code is None:
            self.close_code = frames.ABNORMAL
        self._send = not_open
        self._reader = self._pings = None
        self._call_on_close()


def _drop(_data: bytes) -> None:
    """Write nothing: there is nobody to read it."""
