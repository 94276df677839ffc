"""What the parsers raise when a request cannot be served."""

from __future__ import annotations


class Refused(Exception):
    """A request that is answered with an error by the server itself; the connection is closed after that.

    Args:
        status: The code of the answer: 4xx, or 501 or 505.
        reason: What is wrong, in a few words, for whoever wrote the client.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(status, reason)
        self.status = status
        self.reason = reason
