"""Flood control for what is sent, without any I/O: to send no faster than servers put up with."""

from __future__ import annotations

from collections import deque
from typing import Final

__all__ = ["Pacer"]

# Seconds that are not worth waiting for. Sums of fractions are not exact, so some are left where there should be none.
NEXT_TO_NOTHING: Final = 0.001


class Pacer:
    """Tells when a line may be sent (RFC 1459 §8.10).

    Servers keep a clock for each client. Every line sets it forward by some seconds, from the present time where it
    lies behind that. A client whose clock is too far ahead is flooding: its lines are left unread, or it is cut off. So
    the same clock is kept here, and what would set it too far ahead waits.
    """

    __slots__ = ("_clock", "waiting")

    def __init__(self) -> None:
        self._clock = 0.0
        #: The lines that wait to be sent.
        self.waiting: deque[bytes] = deque()

    def delay(self, now: float, interval: float, burst: float) -> float:
        """Tell how long the next line has to wait.

        Args:
            now: The time, in seconds.
            interval: The seconds by which a line sets the clock forward.
            burst: How many lines it may be ahead.

        Returns:
            Seconds; 0 if the line may be sent now.
        """
        delay = self._clock - now - interval * (burst - 1)
        return delay if delay > NEXT_TO_NOTHING else 0.0

    def count(self, now: float, interval: float) -> None:
        """Note that a line is being sent."""
        self._clock = max(self._clock, now) + interval
