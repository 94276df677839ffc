"""Applications: functions that answer requests, found by path (manual: "pants.web.application").

A request comes from `pants.http.HTTPServer` to `Application.__call__`; that finds its route in a
`pants.web.routing.RouteTable`, calls the route's function with hooks around it, and sends what the function returns.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from pants import Engine
from pants.http import HTTPRequest, Refused
from pants.web._answering import Answering
from pants.web._head_hooks import HeadHooks, ResponseHead, hooks_of
from pants.web._hooks import RequestHook, check_hook
from pants.web._output import Response
from pants.web._urls import current, own_path, url_for
from pants.web.converters import Converter, register_converter
from pants.web.errors import HTTPException, HTTPTransparentRedirect, abort, all_or_404, error, redirect
from pants.web.module import Module
from pants.web.routing import Match, Missing, Route

if TYPE_CHECKING:
    from pants.web._as_wsgi import WSGIApplication
    from pants.web.testing import TestClient

__all__ = [
    "Application",
    "Converter",
    "HTTPException",
    "HTTPTransparentRedirect",
    "Module",
    "Response",
    "ResponseHead",
    "abort",
    "all_or_404",
    "error",
    "redirect",
    "register_converter",
    "url_for",
]

log = logging.getLogger("pants.web")

F = TypeVar("F", bound=RequestHook)

# How often a request may be redirected without its client: more leads nowhere.
_MOST_REDIRECTS: Final = 10


class Application(Answering):
    """A web application: a request handler for `pants.http.HTTPServer` (manual: "Application").

    It is a `Module`, whose routes and hooks are described there.

    Args:
        name: A name for the application. It does not stand before the names of its routes, unless it is added to
            another one.
        debug: Whether the page for an error in the program shows all that is known of it, with the request and the
            values of variables. Never for the public.
        fix_end_slash: Whether a request for ``/page`` is redirected to ``/page/`` where only that has a route.

    Attributes:
        on_failure: Called with the request and the exception, each time that one becomes a 500, after it was logged:
            to tell a service that collects them.
        json_default: Makes something that JSON has of what it has not, where a view returns such things: as the
            ``default`` of `json.dumps`.

    Example:
        >>> from pants.web import Application
        >>> app = Application()
        >>> @app.route("/")
        ... def hello(request):
        ...     return "Hello, World!"
        >>> @app.route("/user/<int:id>")
        ... def user(request, id):
        ...     return {"id": id}
        >>> app.test_client().get("/user/7").json
        {'id': 7}

        ``app.run()`` serves them.
    """

    _serves = True

    def __init__(self, name: str | None = None, debug: bool = False, fix_end_slash: bool = False) -> None:
        super().__init__(name)
        self.debug = debug
        self.fix_end_slash = fix_end_slash
        self._before: list[RequestHook] = []

    def before(self, func: F) -> F:
        """Register a function to call with every request before it is routed, whether there is a route for it or not.

        A view that raises `HTTPTransparentRedirect` does not lead here again: who guards paths here sees those that
        clients ask for.

        Args:
            func: Called with the request. If it returns anything but None, that is the output, and nothing else is
                called, but what has been registered by `after`. It may raise `HTTPTransparentRedirect`, to have another
                URL served; the other functions are called nevertheless.

        Returns:
            The function, so that this is a decorator.

        Raises:
            TypeError: It is not callable, or not with one argument.
            ValueError: The application has been added to another one.
        """
        check_hook("a hook", func, 1)
        if self._parents:
            raise ValueError(f"{self!r} has been added to another module, where nothing runs before a route is found")
        self._before.append(func)
        return func

    # --- Requests -----------------------------------------------------------------------------------------------

    def __call__(self, request: HTTPRequest) -> None:
        """Answer a request."""
        token = current.set((self, request))
        try:
            if self._has_after:
                request._on_head = HeadHooks(self, request)
            if self._before and self._run_before(request):
                return
            self._route(request)
        finally:
            current.reset(token)

    def _run_before(self, request: HTTPRequest) -> bool:
        """Call what comes before routing; tell whether that has answered, or is going to."""
        for func in self._before:
            try:
                output = func(request)
                if output is not None:
                    self._send(request, None, output)
                    return True
            except HTTPTransparentRedirect as target:
                request._retarget(target.resolve(request.url))
            except Exception as exception:  # noqa: BLE001 - becomes an error page
                self._answer_error(request, exception, None)
                return True
            if _is_answered(request) or not request.auto_finish:
                return True
        return False

    def _find(self, request: HTTPRequest, path: str) -> Match | Missing:
        """Find the route of a request, as if it were for a path."""
        table = self._table
        return table.find(path, request.method, request.hostname if table.has_domains else "")

    def _wants_raw_form(self, request: HTTPRequest) -> bool:
        """Whether the view of a request takes its body as it comes, as a WSGI application does."""
        found = self._find(request, request.path)
        wants = None if isinstance(found, Missing) else getattr(found.route.view, "_wants_raw_form", None)
        return wants is not None and bool(wants(request))

    def _route(self, request: HTTPRequest) -> None:
        """Find the route of a request, and follow it."""
        redirects = 0
        while redirects < _MOST_REDIRECTS:
            found = self._find(request, request.path)
            if isinstance(found, Missing):
                request.match = request.route_name = None
                self._answer_missing(request, found)
                return
            request.match = found
            request.route_name = found.route.name
            target = self._follow(request, found)
            if target is None:
                return
            request.auto_finish = True
            request._retarget(target)
            redirects += 1
        self._answer_error(
            request, RuntimeError("HTTPTransparentRedirect leads round in a circle"), request.match.route
        )

    def _follow(self, request: HTTPRequest, match: Match) -> str | None:
        """Call the function of a route, and send what it returns.

        Returns:
            Where to go instead, if it says so.
        """
        route = match.route
        try:
            if self._has_after or route.headers:
                hooks = hooks_of(self, request)
                hooks.modules, hooks.usual = route.modules, route.headers
            if route.has_hooks and self._run_started(request, route):
                return None
            output = self._call(request, match)
            if route.has_hooks:
                output = self._run_finished(request, route, output)
            if output.__class__ is str and request.auto_finish and not request._stage:
                self._send_text(request, route, output)
            else:
                self._send(request, route, output)
        except HTTPTransparentRedirect as target:
            if request._take_back():
                if self._has_after or route.headers:
                    hooks = hooks_of(self, request)
                    hooks.modules, hooks.usual = (self,), None
                return target.resolve(request.url)
            self._answer_error(request, target, route)
        except Exception as exception:  # noqa: BLE001 - becomes an error page
            self._answer_error(request, exception, route)
        finally:
            if route.has_hooks:
                self._tear_down_later(request, route)
        return None

    def _call(self, request: HTTPRequest, match: Match) -> Any:
        """Call the function of a route."""
        route = match.route
        if match.rule is None:
            return route.view(request)
        try:
            values: Sequence[Any] = match.groups() if route.basic else match.values(request)
        except (HTTPException, HTTPTransparentRedirect, Refused):
            raise
        except Exception as exception:  # a converter's: 400, whatever it is (manual: "decode")
            log.debug("No value for a variable of %s, on %r: %r", route.rule, request, exception)
            raise HTTPException(400) from exception
        if route.basic:
            return route.view(request)
        if route.auto404:
            all_or_404(*values)
        return route.view(request, *values)

    def _answer_missing(self, request: HTTPRequest, missing: Missing) -> None:
        """Answer a request for which there is no route."""
        allowed = list(missing.allowed)
        if "GET" in allowed and "HEAD" not in allowed:
            allowed.insert(allowed.index("GET") + 1, "HEAD")
        if allowed and "OPTIONS" not in allowed:
            allowed.append("OPTIONS")
        fixed = None
        if not allowed and self.fix_end_slash and self._has_route(request, f"{request.path}/"):
            query = f"?{request.query}" if request.query else ""
            fixed = f"{own_path(request.script_name + request.path)}/{query}"
        try:
            if request.method == "OPTIONS" and (allowed or request.path == "*"):  # RFC 9110 §9.3.7
                self._send(request, None, Response(status=204, headers={"Allow": ", ".join(allowed or ["OPTIONS"])}))
                return
            if fixed is not None:
                self._send(request, None, redirect(fixed, 301 if request.method in ("GET", "HEAD") else 308))
                return
        except Exception as exception:  # noqa: BLE001 - a hook's
            self._answer_error(request, exception, None)
            return
        if allowed:  # RFC 9110 §15.5.6
            self._answer_error(request, HTTPException(405, headers={"Allow": ", ".join(allowed)}), None)
        else:
            self._answer_error(request, HTTPException(404), None)

    def _has_route(self, request: HTTPRequest, path: str) -> bool:
        """Whether a path has a route, be it for other methods."""
        found = self._find(request, path)
        return not isinstance(found, Missing) or bool(found.allowed)

    # --- Hooks --------------------------------------------------------------------------------------------------

    def _run_started(self, request: HTTPRequest, route: Route) -> bool:
        """Call what comes before the view; tell whether that has answered."""
        for module in route.modules:
            for func in module._hooks.started:
                func(request)
                if _is_answered(request):
                    return True
        return False

    def _run_finished(self, request: HTTPRequest, route: Route, output: Any) -> Any:
        if not request.auto_finish or _is_answered(request):
            return output
        for module in reversed(route.modules):
            for func in module._hooks.finished:
                output = func(request, output)
        return output

    def _tear_down_later(self, request: HTTPRequest, route: Route) -> None:
        """Call the hooks for its end when a request is over."""
        if any(module._hooks.teardown for module in route.modules):
            request._call_at_end(partial(self._tear_down, request, route))

    def _tear_down(self, request: HTTPRequest, route: Route) -> None:
        for module in reversed(route.modules):
            for func in module._hooks.teardown:
                try:
                    self._run_current(request, partial(func, request))
                except Exception:
                    log.exception("A teardown hook of the route %r (%s) failed, on %r", route.name, route.rule, request)

    # --- Running ------------------------------------------------------------------------------------------------

    def run(
        self,
        address: Any = None,
        ssl_options: Any = None,
        engine: Engine | None = None,
        *,
        workers: int | None = 1,
        reload: bool | Iterable[str | os.PathLike[str]] = False,
        **options: Any,
    ) -> None:
        """Serve the application until the engine stops, or the process is told to end (manual: "Application.run").

        Where it can be reached is written to standard error. Ctrl-C (SIGINT) and SIGTERM end it gracefully: requests
        that have arrived are answered. A second one ends it at once. On SIGHUP certificates are read again.

        Args:
            address: The address to listen on, as for `pants.http.HTTPServer.listen`: port 80 of all IPv4 addresses by
                default, 443 with TLS.
            ssl_options: If given, TLS is enabled with these options, as by `pants.Server.startSSL`.
            engine: The engine to run; the global one by default.
            workers: The number of processes that serve; 0 or None for as many as there are processors to use. One that
                dies is replaced.
            reload: Whether to start the program anew when a source file of an imported module changes; or the paths of
                more files and directories. For development.
            **options: ``access_log``: whether to write a line for each request, or its format, as for
                `pants.http.HTTPServer`; by default that is done where standard error is a terminal. ``grace``: the
                seconds that requests under way are given in the end, 30 by default. ``on_start``: called with the
                server in each process that serves, before it does. The others are for `pants.http.HTTPServer`.

        Raises:
            RuntimeError: The engine is running already; or ``workers`` or ``reload`` cannot be used here.
            TypeError, ValueError, OSError: An argument is wrong; or as of `pants.http.HTTPServer` and its ``listen``.
            SystemExit: Workers have ended again and again right after their start; or, with ``reload``, it is over.
        """
        from pants.web import _running

        _running.run(self, address, ssl_options, engine, workers=workers, reload=reload, **options)

    @property
    def wsgi(self) -> WSGIApplication:
        """The application as one for a standard WSGI server (PEP 3333), as in ``gunicorn module:app.wsgi``.

        What cannot work there is a 501: a WebSocket, and an answer that is finished later. With options of the server,
        as ``cookie_secret``, it is `pants.web.wsgi.WSGIApplication` instead.
        """
        if self._wsgi is None:
            from pants.web._as_wsgi import WSGIApplication

            self._wsgi = WSGIApplication(self)
        return self._wsgi

    _wsgi: WSGIApplication | None = None

    def test_client(self, **options: Any) -> TestClient:
        """Return a client for tests, which needs no socket.

        Args:
            **options: As of `pants.web.testing.TestClient`.

        Example:
            >>> from pants.web import Application
            >>> app = Application()
            >>> app.test_client().get("/").status_code
            404
        """
        from pants.web.testing import TestClient

        return TestClient(self, **options)


def _is_answered(request: HTTPRequest) -> bool:
    """Whether an answer has been given or begun, or another protocol has the connection."""
    return request.finished or bool(request._stage) or request.connection.taken_over
