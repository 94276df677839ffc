"""Several processes that serve one address, and the one that looks after them.

The parent binds, and listens, with one socket for each worker (SO_REUSEPORT, socket(7)); it accepts nothing itself. The
socket of a worker that has died stays open in the parent, so connections that come meanwhile wait for its successor. So
do those that the kernel gives to a worker which hangs, or which alone was told to end and has requests under way still.
Workers are told to end by SIGTERM, and learn by the end of a pipe that the parent has ended without telling them.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import logging
import os
import signal
import socket
import sys
import threading
import time
from typing import TYPE_CHECKING, Final, NoReturn

from pants import Engine, _address
from pants.web import _reloading
from pants.web._console import tell
from pants.web._serving import Serving, has_ended, reload_certificates
from pants.web._sharing import Board, SharingServer
from pants.web._signals import ENDING, Postponed, SignalQueue, TerminalWatch, ignore

if TYPE_CHECKING:
    from pants.http import HTTPServer
    from pants.web._running import Plan

log = logging.getLogger("pants.web")

# Connections that the kernel keeps waiting, for each worker.
_BACKLOG: Final = 1024
# A worker that ends within so many seconds of its start is one that cannot work, most likely; the next has to wait.
_SHORT_LIFE: Final = 5.0
# So many of them in one place, one after another, that have not even begun to serve, end it all. Those that have begun
# do not, or whoever knows a request that crashes a worker could stop the site for good.
_MOST_FAILURES: Final = 5
# Seconds until the second of them is replaced; each one after that has to wait twice as long.
_BACK_OFF: Final = 0.1
# But no longer than this.
_LONGEST_BACK_OFF: Final = 1.0
# Seconds for which a worker may need longer than the grace that it gives its requests, until it is killed.
_MARGIN: Final = 5.0
# The same where it has been told twice.
_PATIENCE: Final = 2.0
# Seconds until those at a terminal are told what is being waited for.
_QUIET: Final = 0.7

_TAKEN: Final = (*ENDING, signal.SIGHUP, signal.SIGCHLD)


@dataclasses.dataclass
class _Place:
    """What one worker after another has.

    Attributes:
        number: Which of the workers it is, from 0.
        sockets: What it listens on.
        pid: The process, 0 where there is none.
        started: When that was started, by `time.monotonic`.
        short_lives: How many in a row have ended right after their start.
        failures: How many in a row have ended so, and had not begun to serve.
        beginnings: How many had begun to serve, when this one was started.
        start_at: When the next is started, if there is none.
    """

    number: int
    sockets: list[socket.socket]
    pid: int = 0
    started: float = 0.0
    short_lives: int = 0
    failures: int = 0
    beginnings: int = 0
    start_at: float = 0.0


def run(plan: Plan, count: int, link: _reloading.Link | None) -> None:
    """Serve in several processes until this one is told to end.

    Args:
        plan: What is to be served.
        count: The number of workers.
        link: The link to the supervisor that starts the program anew when it changes, if there is one.

    Raises:
        RuntimeError: The global engine is in use.
        TypeError, ValueError, OSError: As of `pants.http.HTTPServer` and its ``listen``.
        SystemExit: Workers have ended again and again, right after their start, before they could serve.
    """
    _check_engine()
    threads = [thread.name for thread in threading.enumerate() if thread is not threading.current_thread()]
    if threads:
        log.warning("Workers are forked, and will not have the threads that are running: %s", ", ".join(threads))
    with contextlib.closing(Engine()) as engine, SignalQueue(*_TAKEN) as queue:
        parent = _Parent(plan, queue, link, plan.make_server(engine=engine))
        try:
            parent.bind(count)
            parent.run()
        finally:
            parent.close()
    if parent.has_failed:
        raise SystemExit(1)


def _check_engine() -> None:
    engine = Engine._instance
    if engine is None or engine.closed:
        return
    if engine._turning:
        raise RuntimeError("The engine is running already")
    is_used = len(engine._handlers) > 1 or engine.dormant or engine._signals  # one is the engine's own
    if is_used or engine._callbacks or engine._loops or engine._thread_calls or engine.time_to_timer() is not None:
        raise RuntimeError(
            "workers are forked, and the global engine has channels, timers or signal handlers already, which several "
            "processes cannot share; make them in a function that is given as on_start, which each worker calls"
        )


class _Parent:
    def __init__(self, plan: Plan, queue: SignalQueue, link: _reloading.Link | None, model: HTTPServer) -> None:
        self._plan = plan
        self._queue = queue
        self._link = link
        self._model = model  # never serves: it binds, finds out what is wrong with the arguments, keeps the certificate
        self._places: list[_Place] = []
        self._board = Board(0)
        self._postponed = Postponed()
        self._life, self._our_life = os.pipe()
        self._terminal = TerminalWatch() if link is None else None
        self._is_ending = False
        self._kill_at: float | None = None
        self._tell_at: float | None = None
        #: Whether it has ended because workers could not be kept running.
        self.has_failed = False

    # --- Listening ----------------------------------------------------------------------------------------------

    def bind(self, count: int) -> None:
        """Listen, for so many workers."""
        model, address = self._model, self._plan.address
        if address is None and model.socket is None:
            address = 80 if model._tls_settings is None else 443
        parsed = None if address is None else _address.parse(address)
        if parsed is None or parsed.is_unix or model.socket is not None or not hasattr(socket, "SO_REUSEPORT"):
            model.listen(address)  # UNIX sockets cannot be bound twice: all accept from one
            self._places = [_Place(number, model._listening_sockets()) for number in range(count)]
        else:
            if parsed.port and not model.reuse_port:
                # With SO_REUSEPORT this would succeed where another program has it set, too, and take half of what is
                # meant for that.
                model._bind_address(address, True)
                model._release_sockets(keep=None)
            model.reuse_port = True
            model._bind_address(address, True)
            first = model._listening_sockets()
            model.socket = model._slave_socket = None
            self._places.append(_Place(0, first))
            for number in range(1, count):
                place = _Place(number, [])
                self._places.append(place)
                for sock in first:
                    place.sockets.append(model._bound_socket(None, sock.family, sock.getsockname()))
            for place in self._places:
                for sock in place.sockets:
                    sock.listen(_BACKLOG)
        self._board = Board(count)

    def _close_sockets(self) -> None:
        """Listen no more; the workers still do, each on its own."""
        self._model.close()
        for place in self._places:
            for sock in place.sockets:
                sock.close()

    # --- The parent ---------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Look after the workers until none is left."""
        details = f" with {len(self._places)} workers"
        if self._link is not None:
            self._link.report()
            details += _reloading.DETAILS
        banner = self._plan.banner(self._model, self._places[0].sockets[0].getsockname(), details)
        for place in self._places:
            self._start(place)
        tell(banner)
        while not self._is_ending or any(place.pid for place in self._places):
            self._turn()

    def _turn(self) -> None:
        fds = [] if self._link is None or self._is_ending else [self._link.fd]
        for signum in self._queue.wait(self._time_left(), *fds):
            if signum == signal.SIGINT and self._link is not None:
                pass  # the terminal has sent it to the supervisor too, which decides what it means
            elif signum in ENDING:
                self._end()
            elif signum == signal.SIGHUP:
                self._hang_up()
        if fds and not self._is_ending and has_ended(fds[0]):
            self._end()
        for place in self._places:
            self._reap(place)
        self._do_what_is_due()

    def _time_left(self) -> float | None:
        times = [time for time in (self._kill_at, self._tell_at) if time is not None]
        if not self._is_ending:
            times += [place.start_at for place in self._places if not place.pid]
        return min(times) - time.monotonic() if times else None

    def _do_what_is_due(self) -> None:
        now = time.monotonic()
        alive = [place for place in self._places if place.pid]
        if self._tell_at is not None and self._tell_at <= now:
            self._tell_at = None
            if alive:
                workers = "a worker that answers" if len(alive) == 1 else f"{len(alive)} workers that answer"
                tell(f"Waiting for {workers} requests - Ctrl-C closes at once")
        if self._kill_at is not None and self._kill_at <= now:
            self._kill_at = None
            for place in alive:
                log.warning("Worker %d (process %d) does not end, and is killed", place.number, place.pid)
                self._signal(place, signal.SIGKILL)
        if not self._is_ending:
            for place in self._places:
                if not place.pid and place.start_at <= now:
                    self._start(place)

    def _end(self) -> None:
        """Have the workers end gracefully; called again, at once."""
        now = time.monotonic()
        if self._is_ending:
            self._kill_at = now + _PATIENCE
        else:
            self._is_ending = True
            self._close_sockets()
            self._tell_at = None if self._link is not None else now + _QUIET
            self._kill_at = None if self._plan.grace is None else now + self._plan.grace + _MARGIN
        self._signal_all(signal.SIGTERM)

    def _hang_up(self) -> None:
        if self._terminal is not None and self._terminal.has_hung_up:
            self._end()
        elif reload_certificates(self._model):  # and only then: workers are not to be left with half a certificate
            self._signal_all(signal.SIGHUP)

    def _signal_all(self, signum: int) -> None:
        for place in self._places:
            if place.pid:
                self._signal(place, signum)

    @staticmethod
    def _signal(place: _Place, signum: int) -> None:
        with contextlib.suppress(ProcessLookupError):  # the program has waited for it already
            os.kill(place.pid, signum)

    def close(self) -> None:
        """Give everything back. Workers that are left, for this process fails, are ended."""
        os.close(self._our_life)
        deadline = time.monotonic() + _PATIENCE
        self._is_ending = True
        self._signal_all(signal.SIGTERM)
        while any(place.pid for place in self._places):
            if time.monotonic() > deadline:
                self._signal_all(signal.SIGKILL)
            self._queue.wait(_BACK_OFF)
            for place in self._places:
                self._reap(place)
        os.close(self._life)
        self._close_sockets()
        self._board.close()

    # --- Workers ------------------------------------------------------------------------------------------------

    def _start(self, place: _Place) -> None:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(AttributeError, OSError, ValueError):  # what it holds would be written twice
                stream.flush()
        place.started = time.monotonic()
        place.beginnings = self._board.beginnings(place.number)
        # A signal is not to reach a worker that has the parent's handlers still.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, _TAKEN)
        try:
            place.pid = os.fork()
            if not place.pid:
                self._work(place, mask)
        except OSError as error:
            log.error("A worker could not be forked: %s", error)
            self._back_off(place)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def _reap(self, place: _Place) -> None:
        if not place.pid:
            return
        try:
            pid, status = os.waitpid(place.pid, os.WNOHANG)
            how = _reloading.how_ended(os.waitstatus_to_exitcode(status))
        except ChildProcessError:  # the program has asked before
            pid, how = place.pid, "has ended"
        if not pid:
            return
        self._board.withdraw(place.number)
        place.pid = 0
        if not self._is_ending:
            log.warning("Worker %d (process %d) %s, and is replaced", place.number, pid, how)
            self._note_end(place)

    def _note_end(self, place: _Place) -> None:
        self._back_off(place)
        has_begun = self._board.beginnings(place.number) > place.beginnings
        place.failures = place.failures + 1 if place.short_lives and not has_begun else 0
        if place.failures == _MOST_FAILURES:
            log.error(
                "Worker %d has ended %d times in a row, within %g seconds of its start, before it could serve; "
                "it is no use",
                place.number,
                place.failures,
                _SHORT_LIFE,
            )
            self.has_failed = True
            self._end()

    def _back_off(self, place: _Place) -> None:
        now = time.monotonic()
        place.short_lives = place.short_lives + 1 if now < place.started + _SHORT_LIFE else 0
        seconds = _BACK_OFF * 2 ** min(place.short_lives - 2, 10) if place.short_lives > 1 else 0.0
        place.start_at = now + min(seconds, _LONGEST_BACK_OFF)

    def _work(self, place: _Place, mask: set[int]) -> NoReturn:
        """Be a worker, in a child that has just been forked; what has called this is the parent's affair."""
        status = 1
        try:
            self._leave_parent(place)
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            self._serve(place)
            status = 0
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
        except BaseException:
            log.exception("Worker %d failed", place.number)
        finally:
            for stream in (sys.stdout, sys.stderr):
                with contextlib.suppress(AttributeError, OSError, ValueError):
                    stream.flush()
            os._exit(status & 0xFF)

    def _leave_parent(self, place: _Place) -> None:
        gc.freeze()  # what there is already is shared with the parent, as long as no collection writes to it
        self._queue.leave_in_child()
        signal.signal(signal.SIGINT, ignore)  # of a terminal, which sends it to the parent too
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGHUP, self._postponed)  # until the server is there
        os.close(self._our_life)
        _close_copy(self._model.engine)
        for other in self._places:
            for sock in other.sockets:
                if sock not in place.sockets:
                    sock.close()
        engine = Engine._instance
        if engine is not None and not engine.closed:
            # The program may have kept it, so it is this very one that is made anew, without the parent's descriptors.
            _close_copy(engine)
            engine.__init__()  # type: ignore[misc]

    def _serve(self, place: _Place) -> None:
        plan, model = self._plan, self._model
        listener, *slaves = place.sockets
        server = plan.make_server(
            SharingServer,
            socket=listener,
            ssl_options=model._tls_settings,
            board=self._board,
            worker=place.number,
        )
        assert isinstance(server, SharingServer)
        server._tls_options = model._tls_options
        server._slave_socket = slaves[0] if slaves else None
        server.listen()
        if plan.on_start is not None:
            plan.on_start(server)
        if self._link is not None:
            self._link.attach(server.engine)
        server.begin_sharing()
        Serving(server, plan.grace, self._life).run(self._postponed.deliver)


def _close_copy(engine: Engine) -> None:
    """Close the descriptors of an engine that belongs to the parent, and leave it what it watches."""
    with contextlib.suppress(OSError):  # kqueue's has not come along (kqueue(2))
        engine._poller.close()
    os.close(engine._wake_reader)
    os.close(engine._wake_writer)
