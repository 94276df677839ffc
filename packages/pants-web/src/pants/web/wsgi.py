"""WSGI applications on a Pants HTTPServer (manual: "pants.web.wsgi")."""

from __future__ import annotations

import inspect
import logging
import os
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakSet
from wsgiref.types import WSGIApplication

from pants.testing import MemoryEngine
from pants.web._wsgi_answer import send_overload
from pants.web._wsgi_environ import Environs, on_the_wire, path_of
from pants.web._wsgi_inline import Batch, InlineRun
from pants.web._wsgi_pool import ThreadPool
from pants.web._wsgi_streams import ErrorLog
from pants.web._wsgi_threads import ThreadRun

if TYPE_CHECKING:
    from pants import Engine
    from pants.http import HTTPRequest
    from pants.web.application import Module

__all__ = ["WSGIConnector"]

log = logging.getLogger("pants.web.wsgi")

# Seconds between two lines in the log that tell of too many requests.
_PACE: Final = 1.0

# What attach() puts behind a rule.
_REST: Final = "/<path:path_info=>"


class WSGIConnector:
    """Serves a WSGI application (manual: "WSGIConnector"): a request handler, and a view for an `Application`.

    It follows PEP 3333. The application is called in a thread of a pool, so that it cannot stall the loop; with
    ``threads=0`` it is called in the loop, which is quicker for one that never waits for anything. So it is on a
    `pants.testing.MemoryEngine`, where `Application.test_client` and `Application.wsgi` run it.

    The request body has arrived before the application is called; a long one lies on disk. An answer without a
    Content-Length is sent in chunks, unless all of it is there at once. A regular file in ``wsgi.file_wrapper`` is sent
    by the kernel. An application that produces more than its client takes waits for it, and another thread runs in its
    place meanwhile; where 64 wait like that, and others for a thread, clients that take nothing for some seconds are
    cut off. When a client has gone, ``write()`` raises `BrokenPipeError`, the result of the application is not iterated
    any further, and its ``close()`` is called. What is written to ``wsgi.errors`` is logged at ERROR by
    ``pants.web.wsgi``.

    The reason in the application's status is not sent: HTTP has no use for it (RFC 9112 §4).

    Args:
        application: The WSGI application.
        debug: Whether the page for an error in the application shows the traceback. Never for the public.
        threads: The most threads that call the application; 0 to call it in the loop.
        max_waiting: The most requests that wait for one of these threads. Others are answered with 503.

    Attributes:
        application: The WSGI application.
        debug: As the argument.

    Raises:
        TypeError: The application is not callable, or an async one; or another argument is of the wrong type.
        ValueError: A number is below 0.

    Example:
        >>> from pants.http import HTTPServer
        >>> from pants.web.wsgi import WSGIConnector
        >>> def hello_app(environ, start_response):
        ...     start_response("200 OK", [("Content-Type", "text/plain")])
        ...     return [b"Hello, World!"]
        >>> connector = WSGIConnector(hello_app)
        >>> server = HTTPServer(connector).listen(("127.0.0.1", 0))
        >>> server.close()
    """

    def __init__(
        self, application: WSGIApplication, debug: bool = False, *, threads: int = 8, max_waiting: int = 1024
    ) -> None:
        if not callable(application):
            raise TypeError(f"application is a WSGI application, which can be called, not {application!r}")
        if _is_async(application):
            raise TypeError(f"{application!r} is an async function; a WSGI application is a plain one")
        for name, value in (("threads", threads), ("max_waiting", max_waiting)):
            if isinstance(value, bool) or not isinstance(value, int):
                raise TypeError(f"{name} is a number, not {value!r}")
            if value < 0:
                raise ValueError(f"{name} is 0 or more, not {value}")
        self.application = application
        self.debug = debug
        self.threads = threads
        self.max_waiting = max_waiting
        self.name = _name_of(application)
        self._errors = ErrorLog()
        self._environs = Environs(threads > 0, self._errors)
        self._pool = ThreadPool(threads, max_waiting, f"pants-wsgi {self.name}") if threads else None
        # Answers that are about to leave, by engine: it may serve several, each in a thread of its own.
        self._batches: dict[Engine, Batch] = {}
        self._told = float("-inf")
        _connectors.add(self)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"

    def __call__(self, request: HTTPRequest, *values: Any) -> None:
        """Answer a request.

        Args:
            request: The request.
            *values: As a view of an `Application`: the values of the rule's variables. The last one is taken for what
                is left of the path, the ``PATH_INFO``; what precedes it is the ``SCRIPT_NAME``, and the others are in
                ``wsgiorg.routing_args``. Without any, ``PATH_INFO`` is the whole path.
        """
        environ = self._environs.make(request)
        if values:
            _split_path(environ, request, values[:-1], _captured(request, values[-1]))
        if self._pool is None:
            request.auto_finish = False
            InlineRun().start(self, request, environ)
        else:
            self._serve(request, environ)

    def _serve(self, request: HTTPRequest, environ: dict[str, Any]) -> None:
        request.auto_finish = False
        # On an engine in memory, as that of a test client, nobody waits for what is done elsewhere.
        if self._pool is None or isinstance(request.connection.engine, MemoryEngine):
            InlineRun().start(self, request, environ)
        elif not ThreadRun(self, request, environ, self._pool).start_here():
            self._refuse(request)

    def _refuse(self, request: HTTPRequest) -> None:
        now = request.connection.engine.time
        if now >= self._told + _PACE:
            self._told = now
            log.warning(
                "%r answers with 503: all of its threads, %d, are busy, and %d requests wait for one",
                *(self, self.threads, self.max_waiting),
            )
        send_overload(request)

    def attach(
        self,
        application: Module,
        rule: str,
        methods: Iterable[str] = ("HEAD", "GET", "POST", "PUT"),
        *,
        name: str | None = None,
    ) -> None:
        """Serve the WSGI application at a path of an `Application`, and at all below it (manual: "attach").

        The path is the ``SCRIPT_NAME``, what follows it the ``PATH_INFO``. Values of variables in the rule are in the
        environ as ``wsgiorg.routing_args``: a tuple of them, and an empty dict. By its name, and with a value for
        ``path_info`` or without, `url_for` makes URLs.

        Args:
            application: The `Application`, or a `Module`.
            rule: The path, as for `Application.route`, with or without a slash at its end: ``/app``.
            methods: The methods to serve.
            name: The name of the route. By default it is made of the rule: ``wsgi_app``.

        Raises:
            TypeError, ValueError: As of `Application.route`.
        """
        if not isinstance(rule, str):
            raise TypeError(f"a rule is a str, not {rule!r}")
        if not isinstance(methods, str):  # which route() refuses
            methods = list(methods)
        rule = rule.rstrip("/")
        name = name or "_".join(["wsgi", *re.findall("[0-9A-Za-z]+", rule)])
        mount = _Mount(self)
        if rule:
            application.route(rule, name, methods, func=mount)
        application.route(rule + _REST, name, methods, func=mount)

    def _wants_raw_form(self, request: HTTPRequest) -> bool:
        """Whether the body of a request is for the application, so that the server keeps it as it comes."""
        return True


class _Mount:
    """The view of a connector that is attached to an application: for its place, and for all below it.

    Args:
        connector: The connector.
    """

    def __init__(self, connector: WSGIConnector) -> None:
        self.connector = connector
        self._wants_raw_form = connector._wants_raw_form

    def __call__(self, request: HTTPRequest, *values: Any) -> None:
        """Answer a request."""
        connector = self.connector
        if request.match.route.rule.endswith(_REST):
            connector(request, *values)
        else:
            environ = connector._environs.make(request)
            _split_path(environ, request, values, "")
            connector._serve(request, environ)


def _split_path(environ: dict[str, Any], request: HTTPRequest, values: tuple[Any, ...], rest: str) -> None:
    """Split the path of an environ.

    Args:
        environ: The environ, with the whole path as PATH_INFO.
        request: Its request.
        values: The values of the rule's other variables.
        rest: What the last one has captured.
    """
    path = path_of(request.path)
    rest = on_the_wire(rest)
    if path.endswith(rest):
        place = path[: len(path) - len(rest)]
    else:  # the rule goes on behind the variable, or its default was taken
        place = path.rpartition(rest)[0] or path
    if place.endswith("/"):
        place = place[:-1]
        rest = f"/{rest}"
    elif rest and not rest.startswith("/"):
        rest = f"/{rest}"
    environ["SCRIPT_NAME"] += place
    environ["PATH_INFO"] = rest
    if values:
        environ["wsgiorg.routing_args"] = (values, {})


def _captured(request: HTTPRequest, value: Any) -> str:
    """Return what the last variable of a rule has captured, be its value a str or not."""
    if isinstance(value, str):
        return value
    captured = list(request.match.groupdict().values())[-1] if request.match is not None else None
    return captured if isinstance(captured, str) else str(value)


def _is_async(application: Any) -> bool:
    return inspect.iscoroutinefunction(application) or inspect.iscoroutinefunction(
        getattr(type(application), "__call__", None)  # noqa: B004 - not whether there is one
    )


def _name_of(application: Any) -> str:
    """Return a name for an application, to be told in the log."""
    name = getattr(application, "__qualname__", None)
    return f"{application.__module__}.{name}" if isinstance(name, str) else repr(application)


_connectors: WeakSet[WSGIConnector] = WeakSet()


def _note_fork() -> None:
    for connector in list(_connectors):
        connector._environs.note_fork()


os.register_at_fork(after_in_child=_note_fork)
