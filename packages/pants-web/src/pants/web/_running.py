"""How an application is run: in this process, in several (`_workers`), or again whenever it changes (`_reloading`)."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, NoReturn

from pants import Engine
from pants.http import AccessLog, HTTPRequest, HTTPServer
from pants.web import _console, _reloading, _workers
from pants.web._addresses import url_of
from pants.web._serving import Serving

__all__ = ["Plan", "run", "url_of"]

#: Seconds that requests under way have left when a server is told to end.
GRACE: Final = 30.0


@dataclasses.dataclass
class Plan:
    """What is to be served, where and how.

    Attributes:
        handler: Called with each request.
        address: Where to listen, as `pants.http.HTTPServer.listen` takes it.
        ssl_options: As `pants.Server.startSSL` takes them; None for no TLS.
        access_log: What `pants.http.HTTPServer` takes.
        grace: Seconds that requests under way have left when the server is told to end; None for no limit.
        on_start: Called with the server, in each process that serves.
        options: What else `pants.http.HTTPServer` takes.
    """

    handler: Callable[[HTTPRequest], object]
    address: Any
    ssl_options: Any
    access_log: Any
    grace: float | None
    on_start: Callable[[HTTPServer], object] | None
    options: dict[str, Any]

    def make_server(self, server_class: type[HTTPServer] = HTTPServer, **more: Any) -> HTTPServer:
        """Return a server that does not listen yet.

        Args:
            server_class: The class of the server.
            **more: Arguments that go before those of the plan.
        """
        arguments = {"access_log": self.access_log, "ssl_options": self.ssl_options, **self.options, **more}
        return server_class(self.handler, **arguments)

    def banner(self, server: HTTPServer, address: Any, details: str = "") -> str:
        """Return the line that tells where a server is."""
        scheme = "http" if server._tls_settings is None else "https"
        return f"Serving {url_of(scheme, address)}{details} - Ctrl-C ends it"


def run(
    app: Callable[[HTTPRequest], object],
    address: Any = None,
    ssl_options: Any = None,
    engine: Engine | None = None,
    *,
    workers: int | None = 1,
    reload: bool | Iterable[str | os.PathLike[str]] = False,
    access_log: str | AccessLog | bool | None = _console.WHERE_SEEN,
    grace: float | None = GRACE,
    on_start: Callable[[HTTPServer], object] | None = None,
    **server_options: Any,
) -> None:
    """Serve a request handler until the engine stops, or the process is told to end.

    Where it can be reached is written to standard error. SIGINT (Ctrl-C) and SIGTERM end it gracefully: requests that
    have arrived are answered, those of connections that wait to be accepted too, then this returns. A second signal
    ends it at once. On SIGHUP the certificate is read again. In a thread other than the main one signals are left
    alone, and so are those for which the program has set a handler.

    What Pants logs is written to standard error meanwhile, unless the program has configured logging.

    Args:
        app: Called with each request, as an `Application` is.
        address: The address to listen on, as for `pants.http.HTTPServer.listen`: port 80 of all IPv4 addresses by
            default, 443 with TLS.
        ssl_options: If given, TLS is enabled with these options, as by `pants.Server.startSSL`.
        engine: The engine to run; the global one by default.
        workers: The number of processes that serve; 0 or None for as many as there are processors to use. With more
            than one, each is a fork with an engine of its own, one that ends is replaced, and this returns only in the
            process that has called it. They share the connections evenly. In their end nothing of `atexit` is run. A
            worker that hangs is not found out; connections that the kernel gives to it wait.
        reload: Whether to start the program anew when a source file of an imported module changes; or the paths of
            files and directories, the changes of which count too. Then this ends with SystemExit.
        access_log: Whether to write a line for each request, or its format, as for `pants.http.HTTPServer`. By default
            that is done where standard error is a terminal.
        grace: The seconds that are given to requests under way in the end, None for no limit.
        on_start: Called in each process that serves, with its `pants.http.HTTPServer`, before it serves: the place to
            make the channels and timers that workers cannot share.
        **server_options: For `pants.http.HTTPServer`.

    Raises:
        RuntimeError: The engine is running already. With ``workers`` or ``reload``: this is not the main thread; the
            global engine has channels or timers already; or the program is none that can be started again.
        TypeError, ValueError, OSError: An argument is wrong, or as of `pants.http.HTTPServer` and its ``listen``.
        SystemExit: With status 1, workers have ended again and again right after their start, before they could serve.
            With ``reload``, it is over.
    """
    if _skipped is not None:
        _skipped.append(app)
        return
    count = _checked_workers(workers)
    _check_grace(grace)
    if on_start is not None and not callable(on_start):
        raise TypeError(f"on_start is a function, not {on_start!r}")
    paths = _checked_paths(reload)
    if engine is not None and (count > 1 or paths is not None):
        raise ValueError("engine= is for one process; with workers or reload each has its own, so leave it out")
    if (count > 1 or paths is not None) and threading.current_thread() is not threading.main_thread():
        raise RuntimeError("with workers or reload, run() is called in the main thread, which signals reach")
    if paths is not None and server_options.get("socket") is not None:
        raise ValueError("socket= is this process's own, and with reload another one serves; give an address")
    plan = Plan(app, address, ssl_options, _console.access_log(access_log), grace, on_start, server_options)
    with _console.logged():
        link = None if paths is None else _reloading.find_link()
        if paths is not None and link is None:
            _supervise(plan, paths)
        elif count > 1:
            _workers.run(plan, count, link)
        else:
            _run_here(plan, engine, link)


def _supervise(plan: Plan, paths: list[str]) -> NoReturn:
    _reloading.check_program()
    check_address(plan)
    _reloading.supervise(paths, plan.grace)
    raise SystemExit(0)


def check_address(plan: Plan) -> None:
    """Listen for a moment, so that what is wrong with that is raised here.

    Raises:
        TypeError, ValueError, OSError: As of `pants.http.HTTPServer` and its ``listen``.
    """
    engine = Engine()
    try:
        plan.make_server(engine=engine).listen(plan.address)
    finally:
        engine.close()


def _run_here(plan: Plan, engine: Engine | None, link: _reloading.Link | None) -> None:
    server = plan.make_server(engine=engine)
    try:
        server.listen(plan.address)
        if plan.on_start is not None:
            plan.on_start(server)
    except BaseException:
        server.close()
        raise
    details = "" if link is None else _reloading.DETAILS
    banner = plan.banner(server, server.local_address, details)

    def begin() -> None:
        if link is not None:
            link.attach(server.engine)
        _console.tell(banner)

    Serving(server, plan.grace, None if link is None else link.fd).run(begin)


# --- Arguments --------------------------------------------------------------------------------------------------------


def _checked_workers(workers: Any) -> int:
    if workers is None:
        workers = 0
    if isinstance(workers, bool) or not isinstance(workers, int):
        raise TypeError(f"workers is a number of processes, not {workers!r}")
    if workers < 0:
        raise ValueError(f"workers is a number of processes, 0 for as many as there are processors, not {workers}")
    return workers or processors()


def processors() -> int:
    """Return the number of processors that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)  # not everywhere
    return os.cpu_count() or 1 if affinity is None else len(affinity(0))


def _check_grace(grace: Any) -> None:
    if grace is None:
        return
    if isinstance(grace, bool) or not isinstance(grace, (int, float)):
        raise TypeError(f"grace is a number of seconds or None, not {grace!r}")
    if not 0 <= grace < math.inf:
        raise ValueError(f"grace is 0 or more seconds, or None for no limit, not {grace!r}")


def _checked_paths(reload: Any) -> list[str] | None:
    """Return the paths that are watched besides the modules; None where nothing is."""
    if isinstance(reload, bool):
        return [] if reload else None
    if isinstance(reload, (str, bytes, os.PathLike)) or not isinstance(reload, Iterable):
        raise TypeError(f"reload is True, False or a list of paths, not {reload!r}")
    paths = [os.path.abspath(os.fspath(path)) for path in reload]
    for path in paths:
        if not os.path.exists(path):
            raise ValueError(f"reload has {path!r}, and there is no such file or directory")
    return paths


# --- Programs that run themselves -------------------------------------------------------------------------------------

# What run() was called for while it does nothing, for the program's module is being imported by somebody who runs it.
_skipped: list[Any] | None = None


@contextlib.contextmanager
def left_out() -> Iterator[list[Any]]:
    """Have `run` do nothing but note what it was called for, so that a module can be imported that ends with it."""
    global _skipped
    _skipped = []
    try:
        yield _skipped
    finally:
        _skipped = None
