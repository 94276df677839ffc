"""Pings: those of the program, and those that find out whether the peer is there (RFC 6455 §5.5.2, §5.5.3)."""

from __future__ import annotations

import os
from collections import deque
from typing import Final

from pants.http._ws_frames import PING, PONG
from pants.http._ws_state import OPEN, WebSocketState

# Pings of the program that were sent and not answered, at most; those before are forgotten.
_MOST_PINGS: Final = 1024


class Pinging(WebSocketState):
    """A WebSocket that sends and answers pings."""

    __slots__ = ()

    def _send_ping(self, data: bytes | None) -> None:
        """Send a ping for the program: with ``data``, or to measure the time."""
        if self._pings is None:
            self._pings = deque(maxlen=_MOST_PINGS)
        payload = os.urandom(8) if data is None else data
        self._pings.append((payload, self.engine.clock(), data))
        self._send_frame(PING, payload)

    def _answer_ping(self, payload: bytes) -> None:
        # One whose answer is not sent yet is not worth more than the newest (RFC 6455 §5.5.3).
        if self._connection._send_blocked or self._pong_due is not None:
            self._pong_due = payload
        elif self._connection.connected:
            self._send_frame(PONG, payload)

    def _on_pong_frame(self, payload: bytes) -> None:
        """A pong answers the ping with its payload, and those before (RFC 6455 §5.5.3). Others mean nothing."""
        if self._ping is not None and self._ping[0] == payload:
            self.latency = self.engine.clock() - self._ping[1]
            self._ping = None
            if self._alive_due is not None:
                self._alive_due()
                self._watch()
            return
        pings = self._pings
        if not pings or not any(sent[0] == payload for sent in pings):
            return
        while True:
            sent, when, data = pings.popleft()
            if sent == payload:
                break
        self.latency = self.engine.clock() - when
        if self._state == OPEN:
            self._call_hook(self.on_pong, self.latency if data is None else data)

    # --- Whether the peer is there ------------------------------------------------------------------------------------

    def _watch(self) -> None:
        """Begin to look after the peer."""
        self._heard = self.engine.time
        if self.ping_interval is not None and not self._old:
            self._alive_due = self.engine.defer(self.ping_interval, self._check_alive)

    def _check_alive(self) -> None:
        # What is received only notes the time; so a message costs next to nothing here.
        self._alive_due = None
        interval, now = self.ping_interval, self.engine.time
        if self._state != OPEN or interval is None:
            return
        if self._ping is not None and self._heard > self._ping[2]:
            self._ping = None
        again = self._heard + interval - now
        if again <= 0:
            if self._is_excused():
                self._ping = None
                self._heard, again = now, interval
            elif self._ping is None:
                self._outstanding = self._connection._outstanding()
                self._acknowledged = self._connection._acknowledged()
                payload = os.urandom(8)
                self._send_frame(PING, payload)
                if self.ping_timeout is None:
                    self._heard, again = now, interval
                else:
                    self._ping, again = (payload, self.engine.clock(), now), self.ping_timeout
            elif self._takes(now - (self.ping_timeout or 0)):
                again = self.ping_timeout or interval
            else:
                self.close_error = TimeoutError("the peer has shown no sign of life, and has not answered a ping")
                self._connection.close(flush=False)
                return
        self._alive_due = self.engine.defer(again, self._check_alive)

    def _is_excused(self) -> bool:
        """Whether the peer may have sent something, and it is this program that has not looked."""
        connection = self._connection
        if self._choked:  # that nothing is read is the peer's own doing
            return False
        return bool(connection._hook_polls or not self._may_read or self._behind or connection._has_unread())

    def _takes(self, since: float) -> bool:
        """Whether the peer has taken something of a long transfer since it was last looked; a ping waits behind it."""
        connection = self._connection
        waited, self._outstanding = self._outstanding, connection._outstanding()
        before, self._acknowledged = self._acknowledged, connection._acknowledged()
        if before is not None and self._acknowledged is not None:
            return waited > 0 and self._acknowledged > before  # if nothing waited, it is but the ping
        # Where more was written meanwhile, the kernel has taken more only where the peer has.
        return self._outstanding < waited or bool(connection._send_blocked and connection._last_traffic > since)
