"""WSGI applications in the engine's thread."""

from __future__ import annotations

import collections
import functools
from typing import TYPE_CHECKING, Any, Final

from pants.web._wsgi_answer import Head, send_failure, send_file, send_head, send_whole
from pants.web._wsgi_run import DONE, IDLE, IDLE_PACE, Run
from pants.web._wsgi_streams import Slice

if TYPE_CHECKING:
    from pants import Engine
    from pants.http import HTTPRequest
    from pants.web.wsgi import WSGIConnector

# Seconds that an answer waits for others, or a little more.
_MOST_DELAY: Final = 0.005


class InlineRun(Run):
    """Runs an application in the engine's thread, between two blocks of which the loop has its turn.

    An answer that is there at once does not leave at once. Where several requests have arrived together, as they do
    with a busy server, their answers leave together, which saves a third of what it all takes: a client that sleeps is
    not woken for each, and the application's code stays in the processor's cache.
    """

    #: An answer that is to leave with others, if there is one.
    whole: tuple[Head, bytes] | None = None
    _active: bool = True  # the application is being called: it may poll the engine
    _done: bool = False  # the answer is given
    _over: bool = False  # the request is

    def start(self, connector: WSGIConnector, request: HTTPRequest, environ: dict[str, Any]) -> None:
        """Begin to answer a request.

        Args:
            connector: Whose application is to answer.
            request: The request.
            environ: Its environ.
        """
        if request.method == "GET" and request._store is None:
            self._connector = connector
            self._request = request
        else:
            self._begin_with(connector, request)
        try:
            state = self.begin(environ)
        except BaseException as error:  # noqa: BLE001 - the application is contained
            state = self._contain(error)
        if state == DONE and self.whole is not None:  # as nearly always
            self._done = True
            return
        if state != DONE:
            request.on_drain = self._go_on
            request._call_at_end(self._leave)
        self._come_back(state)

    def _go_on(self) -> None:
        """The client has taken what was sent: send more."""
        if self._active or self._done or self._over:
            return
        self._active = True
        try:
            state = self.step()
        except BaseException as error:  # noqa: BLE001 - as above
            state = self._contain(error)
        self._come_back(state)

    def _come_back(self, state: int) -> None:
        """The application has returned, or failed."""
        self._active = False
        if state == DONE:
            self._done = True
            if self.whole is None:
                self.end()
        elif self._over:
            self.end()
        elif state == IDLE:
            self._request.connection.engine.defer(IDLE_PACE, self._go_on)

    def _contain(self, error: BaseException) -> int:
        if not isinstance(error, Exception):
            self.end()
            self._request.connection.close()
            raise error
        if not self._is_broken(error):
            self._fail(error)
        return DONE

    def _fail(self, error: Exception) -> None:
        self._has_tail = False
        self.tell(error)
        send_failure(self._request, error if self._connector.debug else None)

    def _leave(self) -> None:
        """The request is over."""
        self._over = True
        self._request.on_drain = None
        if not (self._active or self._done):
            self.end()

    def _put_whole(self, head: Head, content: bytes) -> None:
        request, connector = self._request, self._connector
        if request._ended is not None:
            self._break()
        engine = request.connection.engine
        now = engine.clock()
        batch = connector._batches.get(engine)
        if batch is None:
            batch = connector._batches[engine] = Batch(connector, engine, now + _MOST_DELAY)
        self.whole = head, content
        batch.runs.append(self)
        if now > batch.latest or engine.thread is None:
            batch.send_now(now + _MOST_DELAY)
            self.whole = None  # it comes to its end by itself

    def send(self) -> None:
        """Send `whole`."""
        assert self.whole is not None
        try:
            if self._request._ended is None:
                send_whole(self._request, *self.whole)
        except Exception as error:  # noqa: BLE001 - what others do at the head of an answer
            self._fail(error)

    def _put_head(self, head: Head, block: bytes) -> None:
        self._check_client()
        send_head(self._request, head)
        self._request.send(block)

    def _put(self, block: bytes) -> None:
        self._check_client()
        self._request.send(block)

    def _check_client(self) -> None:
        if self._request._ended is not None:
            self._break()

    def _flush(self) -> None:
        """Have the kernel take what it can before the application goes on (PEP 3333, "Buffering and Streaming")."""
        connection = self._request.connection
        if connection.connected:
            connection.flush()

    def _put_end(self) -> None:
        self._check_client()
        self._request.finish()

    def _put_file(self, head: Head, content: Slice) -> None:
        self._check_client()
        send_file(self._request, head, content)


class Batch:
    """The answers of one turn of an engine, which leave at its end, or once the first has waited for a while.

    Args:
        connector: Whose answers.
        engine: The engine.
        latest: When they leave at the latest, on the engine's clock.

    Attributes:
        runs: Those that have an answer.
        latest: As the argument.
    """

    __slots__ = ("_connector", "_engine", "latest", "runs")

    def __init__(self, connector: WSGIConnector, engine: Engine, latest: float) -> None:
        self._connector = connector
        self._engine = engine
        self.latest = latest
        self.runs: list[InlineRun] = []
        engine.attend(self._send_at_end)

    def _send_at_end(self) -> None:
        del self._connector._batches[self._engine]
        # Behind what the connections are going to ask for, which is to send what was written to them.
        end = functools.partial(end_all, self._engine, collections.deque(self.runs))
        runs = collections.deque(self.runs)
        try:
            while runs:
                runs.popleft().send()
        finally:
            if runs:  # something that is no Exception has come: the others are not lost for it
                self._engine.attend(functools.partial(send_all, runs))
            self._engine.attend(end)

    def send_now(self, latest: float) -> None:
        """Send what there is, and have all applications but the last one come to their ends.

        Args:
            latest: When the next ones leave at the latest.
        """
        self.latest = latest
        runs, self.runs = self.runs, []
        for run in runs:
            run.send()
            run._flush()
        end_all(self._engine, collections.deque(runs[:-1]))


def send_all(runs: collections.deque[InlineRun]) -> None:
    """Send answers."""
    while runs:
        runs.popleft().send()


def end_all(engine: Engine, runs: collections.deque[InlineRun]) -> None:
    """Have applications come to their ends."""
    try:
        while runs:
            runs.popleft().end()
    finally:
        if runs:  # one of them has asked the process to end
            engine.attend(functools.partial(end_all, engine, runs))
