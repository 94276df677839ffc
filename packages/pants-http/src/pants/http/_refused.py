"""What the parsers raise when a request cannot be served."""

from __future__ import annotations


class Refused(Exception):
    """A request that is answered with an error.

    The server's own parsers raise it, and the connection is closed after the answer. A handler may raise it, or let it
    through (`HTTPRequest.post` raises it for a malformed form, say): then its answer is sent in the handler's place.

    Args:
        status: The code of the answer: 400 to 599.
        reason: What is wrong, in a few words, for whoever wrote the client.

    Raises:
        TypeError: The status is not an int.
        ValueError: It is not that of an error.
    """

    def __init__(self, status: int, reason: str) -> None:
        if isinstance(status, bool) or not isinstance(status, int):
            raise TypeError(f"status is an int, not {status!r}")
        if not 400 <= status <= 599:
            raise ValueError(f"status is that of an error, 400 to 599 (RFC 9110 §15), not {status!r}")
        super().__init__(status, reason)
        self.status = status
        self.reason = reason
