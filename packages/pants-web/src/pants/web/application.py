"""Applications: functions that answer requests, found by path (manual: "pants.web.application").

A request comes from `pants.http.HTTPServer` to `Application.__call__`; that finds its route, calls the route's
function, and sends what the function returns.
"""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, TypeVar, overload
from urllib.parse import unquote

from pants import Engine
from pants.http import HTTPRequest, HTTPServer
from pants.http._answer import check_value, find_charset, own_fields_refused
from pants.web._output import Answer, error_page, to_answer

__all__ = ["Application"]

log = logging.getLogger("pants.web")

View = Callable[..., Any]
V = TypeVar("V", bound=View)


class Route(NamedTuple):
    """A function that answers requests, and what goes with each of its answers."""

    name: str
    rule: str
    view: View
    content_type: str | None
    headers: dict[str, str]


class Application:
    """A web application: a request handler for `pants.http.HTTPServer` (manual: "Application").

    Rules are plain paths so far; those with variables or a domain are refused.

    Args:
        name: A name for the application.
        debug: Whether the page for an error in the program shows the traceback. Never for the public.
        fix_end_slash: Whether a request for ``/page`` is redirected to ``/page/`` where only that has a route.

    Example:
        >>> from pants.web import Application
        >>> app = Application()
        >>> @app.route("/")
        ... def hello(request):
        ...     return "Hello, World!"

        ``app.run()`` then serves it.
    """

    def __init__(self, name: str | None = None, debug: bool = False, fix_end_slash: bool = False) -> None:
        self.name = name
        self.debug = debug
        self.fix_end_slash = fix_end_slash
        self._routes: dict[str, dict[str, Route]] = {}  # by path, and then by method
        self._views: dict[str, View] = {}  # by the name of the route

    # --- Routes -------------------------------------------------------------------------------------------------

    @overload
    def route(
        self,
        rule: str,
        name: str | None = None,
        methods: Iterable[str] = ("GET", "HEAD"),
        auto404: bool = False,
        headers: Mapping[str, str] | None = None,
        content_type: str | None = None,
        func: None = None,
    ) -> Callable[[V], V]: ...

    @overload
    def route(
        self,
        rule: str,
        name: str | None = None,
        methods: Iterable[str] = ("GET", "HEAD"),
        auto404: bool = False,
        headers: Mapping[str, str] | None = None,
        content_type: str | None = None,
        *,
        func: V,
    ) -> V: ...

    def route(
        self,
        rule: str,
        name: str | None = None,
        methods: Iterable[str] = ("GET", "HEAD"),
        auto404: bool = False,
        headers: Mapping[str, str] | None = None,
        content_type: str | None = None,
        func: View | None = None,
    ) -> Any:
        """Register a function for the requests to a path (manual: "Module.route").

        The function is called with the request. It returns a str, bytes, or None for an answer without content (204);
        or it answers by the request's own methods, and returns None. A text that begins with ``<!DOCTYPE`` or ``<html``
        is sent as HTML. It is encoded with the charset of its type, UTF-8 if that names none.

        Args:
            rule: A path that begins with a slash, in plain characters; nothing is to be percent-encoded.
            name: The name of the route; that of the function by default.
            methods: The methods to answer; another gets 405.
            auto404: Whether arguments of the function that are not true give 404. Plain paths have no arguments.
            headers: Headers to send with every answer.
            content_type: The Content-Type of every answer.
            func: The function, where this is not used as a decorator.

        Returns:
            A decorator that returns the function as it was; the function itself, if ``func`` is given.

        Raises:
            TypeError: An argument is of the wrong type.
            ValueError: The rule is none that can be served; it has a route for that method already; the name has been
                given to another function; or a header cannot be sent.
        """
        check_rule(rule)
        if isinstance(methods, str):
            raise TypeError(f"methods is an iterable of names of methods, not {methods!r}")
        names = [method.upper() for method in methods]
        if not names:
            raise ValueError("methods is empty, so that the route could never be taken")
        fixed = dict(headers or {})
        for header in list(fixed):
            if header.lower() == "content-type":
                content_type = fixed.pop(header)
        own_fields_refused(fixed)
        if content_type is not None:
            check_value("content_type", content_type)
            find_charset(content_type)

        def register(view: V) -> V:
            if not callable(view):
                raise TypeError(f"a route calls a function, and {view!r} cannot be called")
            route_name = name or getattr(view, "__name__", None) or type(view).__name__
            self._add(Route(route_name, rule, view, content_type, fixed), names)
            return view

        return register if func is None else register(func)

    def _add(self, route: Route, methods: list[str]) -> None:
        if self._views.get(route.name, route.view) is not route.view:
            raise ValueError(f"the name {route.name!r} has been given to another function; give name= to one of them")
        by_method = self._routes.get(route.rule, {})
        for method in methods:
            if method in by_method:
                raise ValueError(f"{route.rule} has a route for {method} already, named {by_method[method].name!r}")
        self._views[route.name] = route.view
        self._routes.setdefault(route.rule, {}).update(dict.fromkeys(methods, route))

    # --- Requests -----------------------------------------------------------------------------------------------

    def __call__(self, request: HTTPRequest) -> None:
        """Answer a request."""
        path = request.path
        by_method = self._routes.get(path)
        if by_method is None:
            by_method = self._find_decoded(path)
        if by_method is None:
            self._send(request, self._not_found(request))
            return
        route = by_method.get(request.method)
        if route is None:  # RFC 9110 §15.5.6
            self._send(request, error_page(405, {"Allow": ", ".join(by_method)}))
            return
        try:
            output = route.view(request)
            if output is not None or not request.finished:
                request.send_response(*to_answer(output, route.content_type, route.headers))
        except Exception:
            log.exception("The route %r (%s) failed, on %r", route.name, route.rule, request)
            if not request.finished:
                self._send(request, error_page(500, details=traceback.format_exc() if self.debug else ""))

    def _find_decoded(self, path: str) -> dict[str, Route] | None:
        """Find the routes of a path that is percent-encoded (RFC 3986 §2.1)."""
        if "%" not in path or "%2f" in path.lower():  # a slash that is encoded divides nothing (§2.2)
            return None
        try:
            return self._routes.get(unquote(path, errors="strict"))
        except UnicodeDecodeError:
            return None

    def _not_found(self, request: HTTPRequest) -> Answer:
        if self.fix_end_slash and f"{request.path}/" in self._routes:
            query = f"?{request.query}" if request.query else ""
            return error_page(301, {"Location": f"{request.path}/{query}"})
        return error_page(404)

    def _send(self, request: HTTPRequest, answer: Answer) -> None:
        request.send_response(*answer)

    # --- Running ------------------------------------------------------------------------------------------------

    def run(self, address: Any = None, ssl_options: Any = None, engine: Engine | None = None) -> None:
        """Serve the application until the engine stops, or Ctrl-C (manual: "Application.run").

        Where it can be reached is written to standard error.

        Args:
            address: The address to listen on, as for `pants.http.HTTPServer.listen`: port 80 of all IPv4 addresses by
                default, 443 with TLS.
            ssl_options: If given, TLS is enabled with these options, as by `pants.Server.startSSL`.
            engine: The engine to run; the global one by default.

        Raises:
            RuntimeError: The engine is running already.
            TypeError, ValueError, OSError: As of `pants.http.HTTPServer` and its ``listen``.
        """
        server = HTTPServer(self, engine=engine, ssl_options=ssl_options).listen(address)
        try:
            scheme = "http" if ssl_options is None else "https"
            sys.stderr.write(f"Serving {url_of(scheme, server.local_address)} - Ctrl-C ends it\n")
            sys.stderr.flush()
            server.engine.start()
        except KeyboardInterrupt:
            pass
        finally:
            server.close()
            server.engine.poll(0)  # the connections are closed


def check_rule(rule: str) -> None:
    """Raise unless a rule is a plain path.

    Raises:
        TypeError: It is not a str.
        ValueError: It is something else.
    """
    if not isinstance(rule, str):
        raise TypeError(f"a rule is a str, not {rule!r}; is it @app.route(...) without its parentheses?")
    if "<" in rule or ">" in rule:
        raise ValueError(f"rules with variables are not there yet: {rule!r}")
    if not rule.startswith("/"):
        raise ValueError(f"a rule begins with a slash, and rules with a domain are not there yet: {rule!r}")
    if "?" in rule or "#" in rule:
        raise ValueError(f"a rule is a path, without query and fragment: {rule!r}")


def url_of(scheme: str, address: Any) -> str:
    """Return the URL by which a server can be reached that listens on ``address``."""
    if not isinstance(address, tuple):
        return f"{scheme} on {address!r}"
    host, port = address[:2]
    if host in ("0.0.0.0", "::"):  # all addresses of this host
        host = "localhost"
    elif ":" in host:
        host = f"[{host}]"
    return f"{scheme}://{host}/" if port == {"http": 80, "https": 443}[scheme] else f"{scheme}://{host}:{port}/"
