"""What the fuzz targets of the HTTP server share: `check` feeds bytes to a server in memory, cut in several ways.

What must hold, whatever the bytes: the requests that are served do not depend on the cuts, nor does it whether, and
with which status, something is refused; a status may differ only where a limit of the head is crossed. Nothing is
logged, so that there was no exception but those that are answered. What came back is a row of answers that the standard
library's client can read, one for each request and one for a refusal; after that the connection ends. No more is held
back than the limits allow.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import logging
from collections.abc import Iterator
from typing import Any, NamedTuple

from pants.http import HTTPRequest, HTTPServer, Limits
from pants.testing import MemoryEngine

#: Limits that short data crosses.
SMALL = Limits(request_line=40, header=60, headers=150, header_count=4)
#: The longest body that the server takes.
MAX_REQUEST = 200

#: What a server may answer by itself.
REFUSALS = {400, 413, 414, 417, 431, 501, 505}

BEHIND = b"GET /behind HTTP/1.1\r\nHost: a\r\n\r\n"


class Served(NamedTuple):
    """A request that has reached the handler."""

    method: str
    url: str
    protocol: str
    headers: list[tuple[str, list[str]]]
    body: bytes
    trailers: list[tuple[str, list[str]]]


class Verdict(NamedTuple):
    """What has become of the data.

    Attributes:
        served: The requests, in order.
        refused: The status of the refusal that ended the connection, None if there was none.
        ended: Whether the connection was ended by the server.
    """

    served: list[Served]
    refused: int | None
    ended: bool


class _Log(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


@contextlib.contextmanager
def _quiet_log() -> Iterator[_Log]:
    """Collect what is logged meanwhile, rather than write it."""
    logger, log = logging.getLogger("pants"), _Log()
    propagate, logger.propagate = logger.propagate, False
    logger.addHandler(log)
    try:
        yield log
    finally:
        logger.removeHandler(log)
        logger.propagate = propagate


def verdict(pieces: list[bytes], limits: Limits) -> Verdict:
    """Feed the pieces to a server, and look at what it makes of them.

    Raises:
        AssertionError: Something does not hold that does not depend on the cuts.
    """
    served: list[Served] = []

    def handler(request: HTTPRequest) -> None:
        assert len(request.body) <= MAX_REQUEST
        for name in ("path", "query", "fragment", "host", "hostname", "full_url", "cookies"):
            getattr(request, name)
        fields = [
            [(name, headers.get_list(name)) for name in headers] for headers in (request.headers, request.trailers)
        ]
        served.append(Served(request.method, request.url, request.protocol, fields[0], request.body, fields[1]))
        request.send_response(b"%d bytes" % len(request.body), 200 if len(request.body) % 2 else 404)

    with _quiet_log() as log, MemoryEngine() as engine:
        server = HTTPServer(handler, MAX_REQUEST, limits=limits, engine=engine, refused_methods=["TRACE"])
        peer = engine.accept(server)
        [connection] = server.channels.values()
        for piece in pieces:
            with contextlib.suppress(ConnectionError):  # it has ended before
                peer.send(piece)
            held: bytearray | None = connection._held  # type: ignore[attr-defined]
            # A head, and what came with its last piece.
            assert held is None or len(held) <= limits.headers + limits.request_line + 64 + len(piece)
        received, ended, refusals = peer.received, peer.ended, dict(server.counters.refused)
        server.close()
        engine.advance()
    assert not log.lines, log.lines
    assert sum(refusals.values()) <= 1
    refused = next(iter(refusals), None)
    assert refused is None or (refused in REFUSALS and ended)
    _read_answers(received, served, refused, b"HEAD" in b"".join(pieces))
    return Verdict(served, refused, ended)


class _Unclosable(io.BytesIO):
    def close(self) -> None:
        """Several answers are read from it, and http.client closes it after each."""

    def makefile(self, _mode: str) -> Any:
        """Stand for the socket that http.client thinks it reads from."""
        return self


def _read_answers(received: bytes, served: list[Served], refused: int | None, may_be_head: bool) -> None:
    """Read the answers as a client does, one for each request and perhaps a refusal."""
    stream = _Unclosable(received)
    for request in served:
        answer = http.client.HTTPResponse(stream, method=request.method)  # type: ignore[arg-type]
        answer.begin()
        answer.read()
        assert answer.status == (200 if len(request.body) % 2 else 404)
    if refused is not None:
        left = received[stream.tell() :]
        answer = http.client.HTTPResponse(stream)  # type: ignore[arg-type]
        answer.begin()
        assert answer.status == refused
        assert answer.headers["Connection"] == "close"
        if not (may_be_head and left.endswith(b"\r\n\r\n")):  # RFC 9110 §9.3.2
            answer.read()
    rest = received[stream.tell() :]
    # The answer to what is not complete yet, if it waits for that.
    assert rest in (b"", b"HTTP/1.1 100 Continue\r\n\r\n") or (may_be_head and refused is not None)


def cut_up(data: bytes, cuts: list[int]) -> list[bytes]:
    """The data in pieces of these sizes, over and over."""
    pieces = []
    at = number = 0
    while at < len(data):
        size = cuts[number % len(cuts)]
        pieces.append(data[at : at + size])
        at += size
        number += 1
    return pieces


def check(data: bytes, cuts: list[int]) -> Verdict:
    """Hold whole, cut and byte by byte against each other, by default limits and by small ones.

    Args:
        data: What is sent on one connection.
        cuts: The sizes of the pieces, one at least.

    Returns:
        The verdict by default limits.
    """
    whole = verdict([data] if data else [], Limits())
    small = verdict([data] if data else [], SMALL)
    for pieces in (cut_up(data, cuts), cut_up(data, [1])):
        assert verdict(pieces, Limits()) == whole
        # A head may be too large and malformed, and which of them is seen first depends on how much of it is there.
        found = verdict(pieces, SMALL)
        assert found._replace(refused=None) == small._replace(refused=None)
        assert (found.refused is None) == (small.refused is None)
    assert small.served == whole.served[: len(small.served)]
    if small.refused is None:
        assert small == whole
    return whole


def changed(data: bytes, some: list[tuple[int, int, bytes]]) -> bytes:
    """Replace some bytes at some places."""
    for place, dropped, added in some:
        place %= len(data) + 1
        data = data[:place] + added + data[place + dropped :]
    return data
