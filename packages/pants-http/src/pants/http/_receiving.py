"""Parts of `HTTPConnection` that know little of it: where a long form goes, and whether a client takes its answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pants.http._body import BodyStore
from pants.http._forms import MultipartForm
from pants.http._limits import Limits

if TYPE_CHECKING:
    from pants.http._connection import HTTPConnection
    from pants.http._request import HTTPRequest


class FormSink:
    """Takes a multipart body apart as it arrives, once it is too long to be kept in memory.

    Its parts go to files then, and the body itself is not kept.

    Args:
        request: The request whose body it is.
        store: Where it is kept until then.
        boundary: What stands between its parts.
        limits: How long a body may be that is kept, and what a form may be.
    """

    def __init__(self, request: HTTPRequest, store: BodyStore, boundary: bytes, limits: Limits) -> None:
        self._request = request
        self._store = store
        self._boundary = boundary
        self._limits = limits

    def add(self, data: bytes) -> None:
        """Take another piece."""
        request, store = self._request, self._store
        if request._form is not None:
            request._form.feed(data)
        elif store.size + len(data) <= self._limits.spool_size:
            store.add(data)
        else:
            form = MultipartForm(self._boundary, self._limits)
            request._form, request._store, request._taken_apart = form, None, True
            for piece in store.take_pieces():
                form.feed(bytes(piece))
            form.feed(data)


class SlowReaderWatch:
    """Watches whether a client takes what it is sent.

    Args:
        connection: The connection to close where it does not.
        limits: How long it may take.
    """

    __slots__ = ("_connection", "_least", "_seconds", "cancel", "offered")

    def __init__(self, connection: HTTPConnection, limits: Limits) -> None:
        self._connection = connection
        self._seconds = limits.write_timeout
        self._least = limits.write_timeout * limits.write_rate
        #: The bytes that are to be taken, from now on or since it was last looked.
        self.offered = connection.queued_bytes
        self.cancel = connection.engine.defer(self._seconds, self._check)

    def _check(self) -> None:
        connection = self._connection
        queued = connection.queued_bytes
        if self.offered - queued >= self._least:
            self.offered = queued
            self.cancel = connection.engine.defer(self._seconds, self._check)
        else:
            connection.server.counters.slow_readers += 1
            connection.close(flush=False)
