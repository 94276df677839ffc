"""WSGI applications in threads, so that they cannot stall the loop.

The loop gives each request to a `ThreadPool`, and what the application answers comes back by
`Engine.call_from_thread`. The request itself is for the loop alone.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from pants.web import _wsgi_pool
from pants.web._wsgi_answer import Head, send_failure, send_file, send_head, send_whole
from pants.web._wsgi_run import DONE, IDLE, IDLE_PACE, Run
from pants.web._wsgi_streams import Slice

if TYPE_CHECKING:
    from pants.http import HTTPRequest
    from pants.http._compression import Compression
    from pants.web._wsgi_pool import ThreadPool
    from pants.web.wsgi import WSGIConnector

log = logging.getLogger("pants.web.wsgi")

# The bytes that a client has not taken, beyond which the application waits.
_MOST_UNSENT: Final = 131072


class ThreadRun(Run):
    """Runs an application in a thread of a pool.

    Methods whose names end with ``_here`` are for the engine's thread, all others for the pool's.
    """

    asked = ""
    compression: Compression | None = None
    _over: bool = False  # the request is, so that nothing can be sent any more
    # Of an answer in pieces.
    _lock: threading.Lock | None = None
    _room: threading.Event | None = None  # set while the application may send more
    _unsent: int = 0  # the bytes that the client has not taken
    _delivered: int = 0  # those of them that the connection has got
    _cancel_look: Callable[[], None] | None = None
    _left: int | None = None  # what the client had not taken when it was looked at
    _has_failed: bool = False  # what was to be sent could not be, and the page for that has been

    def __init__(
        self, connector: WSGIConnector, request: HTTPRequest, environ: dict[str, Any], pool: ThreadPool
    ) -> None:
        self._begin_with(connector, request)
        self._pool = pool
        self._environ: dict[str, Any] | None = environ
        self._engine = request.connection.engine
        self.asked = f"{request.method} {request.url}"
        self.compression = request.connection.server.compression

    # --- In the pool's threads ------------------------------------------------------------------------------------

    def run(self) -> None:
        """Run the application to its end."""
        try:
            environ, self._environ = self._environ, None
            if environ is not None and not self._over:
                state = self.begin(environ)
                del environ
                while state != DONE:
                    if state == IDLE:
                        time.sleep(IDLE_PACE)
                    self._check_client()
                    state = self.step()
        except BaseException as error:  # noqa: BLE001 - not even SystemExit ends a thread that others need
            if not self._is_broken(error):
                self.tell(error)
                self._fail(error if self._connector.debug else None)
        try:
            self.end()
        except BaseException as error:  # noqa: BLE001 - as above
            self.tell(error, "failed behind its answer")

    def _post(self, function: Callable[..., object], *args: Any) -> None:
        try:
            self._engine.call_from_thread(self._call_here, function, *args)
        except RuntimeError:  # the engine is closed
            self._over = True
            self._break()

    def _fail(self, shown: BaseException | None) -> None:
        try:
            self._post(send_failure, self._request, shown)
        except BrokenPipeError:
            pass

    def _check_client(self) -> None:
        if self._over:
            self._break()

    def _put_whole(self, head: Head, content: bytes) -> None:
        self._post(send_whole, self._request, head, content)

    def _put_head(self, head: Head, block: bytes) -> None:
        self._lock = threading.Lock()
        self._room = threading.Event()
        self._post(self._begin_here, head, block)
        self._wait_for_room(len(block))

    def _put(self, block: bytes) -> None:
        self._post(self._send_here, block)
        self._wait_for_room(len(block))

    def _wait_for_room(self, size: int) -> None:
        assert self._lock is not None
        assert self._room is not None
        with self._lock:
            self._unsent += size
            has_room = self._unsent < _MOST_UNSENT or self._over
            if not has_room:
                self._room.clear()
        if not has_room:
            self._pool.stall(self)
            self._room.wait()
            self._pool.go_on(self)
        self._check_client()

    def look_at_client(self) -> None:
        """Cut the client off, if it has taken nothing since this was called before."""
        try:
            self._engine.call_from_thread(self._look_at_client_here)
        except RuntimeError:  # the engine is closed
            pass

    def _put_end(self) -> None:
        self._post(self._finish_here)

    def _put_file(self, head: Head, content: Slice) -> None:
        self._post(self._send_file_here, head, content.duplicated())

    # --- In the engine's thread -----------------------------------------------------------------------------------

    def start_here(self) -> bool:
        """Wait for a thread; tell whether there was room to wait."""
        if not self._pool.submit(self):
            self.end()
            return False
        self._request._call_at_end(self._leave_here)
        self._look_here()
        return True

    def _look_here(self) -> None:
        """See to it that this comes to a thread, as long as it waits for one."""
        self._cancel_look = None
        if self._pool.is_waiting(self):
            self._pool.relieve()
            self._cancel_look = self._engine.defer(_wsgi_pool.PATIENCE / 2, self._look_here)

    def _look_at_client_here(self) -> None:
        before, self._left = self._left, self._request.connection.queued_bytes
        if not self._over and before is not None and self._left >= before:
            log.warning("%r is cut off: it takes nothing, and others wait", self._request)
            self._request.connection.close(flush=False)

    def _leave_here(self) -> None:
        """The request is over."""
        self._over = True
        if self._cancel_look is not None:
            self._cancel_look()
            self._cancel_look = None
        self._request.on_drain = None
        if self._pool.discard(self):
            self.end()
        elif self._room is not None:
            self._make_room_here()

    def _call_here(self, function: Callable[..., object], *args: Any) -> None:
        """Do what the thread has asked for."""
        if self._over or self._has_failed:
            for arg in args:
                if isinstance(arg, Slice):
                    arg.file.close()
            return
        try:
            function(*args)
        except Exception as error:  # noqa: BLE001 - what others do at the head of an answer
            self._has_failed = True
            self.tell(error, "could not answer")
            send_failure(self._request, error if self._connector.debug else None)

    def _begin_here(self, head: Head, block: bytes) -> None:
        self._request.on_drain = self._make_room_here
        send_head(self._request, head)
        self._send_here(block)

    def _send_here(self, block: bytes) -> None:
        self._delivered += len(block)
        self._request.send(block)

    def _make_room_here(self) -> None:
        """The client has taken what was sent."""
        self._left = None
        assert self._lock is not None
        assert self._room is not None
        with self._lock:
            self._unsent -= self._delivered
            self._delivered = 0
            if self._unsent < _MOST_UNSENT or self._over:
                self._room.set()

    def _finish_here(self) -> None:
        self._request.finish()

    def _send_file_here(self, head: Head, content: Slice) -> None:
        with content.file:
            send_file(self._request, head, content)
