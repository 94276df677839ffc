"""Applications: functions that answer requests, found by path (manual: "pants.web.application").

A request comes from `pants.http.HTTPServer` to `Application.__call__`; that finds its route in a
`pants.web.routing.RouteTable`, calls the route's function, and sends what the function returns.
"""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar, overload

from pants import Engine
from pants.http import HTTPRequest, HTTPServer
from pants.http._answer import check_value, find_charset, own_fields_refused
from pants.web._output import Answer, error_page, is_content, to_answer
from pants.web._rules import Rule
from pants.web.converters import Converter, register_converter
from pants.web.routing import Missing, Route, RouteTable, View

__all__ = ["Application", "Converter", "register_converter"]

log = logging.getLogger("pants.web")

V = TypeVar("V", bound=View)


class Application:
    """A web application: a request handler for `pants.http.HTTPServer` (manual: "Application").

    Rules are paths so far, with variables or without; those with a domain are refused.

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
        >>> @app.route("/user/<int:id>")
        ... def user(request, id):
        ...     return f"User {id}"

        ``app.run()`` then serves them.
    """

    def __init__(self, name: str | None = None, debug: bool = False, fix_end_slash: bool = False) -> None:
        self.name = name
        self.debug = debug
        self.fix_end_slash = fix_end_slash
        self._table = RouteTable()
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

        The function is called with the request, and the values of the rule's variables behind it. It returns a str,
        bytes, or None for an answer without content (204); or it answers by the request's own methods, and returns
        None. A text that begins with ``<!DOCTYPE`` or ``<html`` is sent as HTML. It is encoded with the charset of its
        type, UTF-8 if that names none.

        A class may stand in its place. It is called in the same way, answers the request or takes over its connection,
        and the instance is not sent.

        In a rule ``<name>`` is a variable, which captures one segment of the path, or what is left of one beside other
        text. It may name a converter and its options, as in ``<int:id>`` or ``<int(digits=4 min=1970):year>``, and a
        default, as in ``<path:page=welcome>``: then the path may also end just before the variable, whatever the rule
        has behind it. The converters are (manual: "Rule Variable Converters"):

        - ``string``: anything but a slash, the one that is meant where none is named; ``min``, ``max``, ``length``.
        - ``path``: anything at all.
        - ``int``, or ``integer``: ``digits`` is their exact number; out of ``min`` and ``max`` it is a 400.
        - ``float``: out of ``min`` and ``max`` it is a 400.
        - ``any``: one of the strings that its options are.
        - ``regex``: what a regular expression matches; ``namegen`` is a ``%`` format for URLs.
        - ``domainpart``: anything but a slash and a period.
        - those of `register_converter`.

        Paths are percent-decoded before they are compared, but an encoded slash is no slash to rules; the function
        gets it as one. What is captured and no UTF-8 is a 400.

        A rule without variables goes before one with variables. Among these goes first the one with more text before
        its first variable, and then the one that was registered first.

        Args:
            rule: A path that begins with a slash, in plain characters; nothing is to be percent-encoded.
            name: The name of the route; that of the function by default.
            methods: The methods to answer; another gets 405.
            auto404: Whether a value of a variable that is not true, as 0, gives a 404; the function is not called then.
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
        parsed = Rule(rule)
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
            self._add(parsed, Route(route_name, rule, view, content_type, fixed, auto404), names)
            return view

        return register if func is None else register(func)

    def _add(self, rule: Rule, route: Route, methods: list[str]) -> None:
        if self._views.get(route.name, route.view) is not route.view:
            raise ValueError(f"the name {route.name!r} has been given to another function; give name= to one of them")
        self._table.add(rule, route, methods)
        self._views[route.name] = route.view

    # --- Requests -----------------------------------------------------------------------------------------------

    def __call__(self, request: HTTPRequest) -> None:
        """Answer a request."""
        by_method = self._table.plain.get(request.path)
        route = None if by_method is None else by_method.get(request.method)
        if route is not None:
            self._answer(request, route, ())
            return
        found = self._table.find(request.path, request.method)
        if isinstance(found, Missing):
            self._send(request, self._no_route(request, found))
            return
        try:
            values = found.values(request)
        except Exception as error:  # noqa: BLE001 - a converter's: 400, whatever it is (manual: "decode")
            log.debug("No value for a variable of %s, on %r: %r", found.route.rule, request, error)
            self._send(request, error_page(400, details=traceback.format_exc() if self.debug else ""))
            return
        self._answer(request, found.route, values)

    def _answer(self, request: HTTPRequest, route: Route, values: Sequence[Any]) -> None:
        """Call the function of a route, and send what it returns."""
        try:
            if route.auto404 and not all(values):
                self._send(request, error_page(404))
                return
            output = route.view(request, *values)
            # One that has answered returns nothing, or whatever has taken the connection over. If it is content, the
            # program means to answer twice, and is told.
            if not (request.finished or request.connection.taken_over) or is_content(output):
                request.send_response(*to_answer(output, route.content_type, route.headers))
        except Exception:
            log.exception("The route %r (%s) failed, on %r", route.name, route.rule, request)
            if not (request.finished or request.connection.taken_over):
                self._send(request, error_page(500, details=traceback.format_exc() if self.debug else ""))

    def _no_route(self, request: HTTPRequest, missing: Missing) -> Answer:
        if missing.allowed:  # RFC 9110 §15.5.6
            return error_page(405, {"Allow": ", ".join(missing.allowed)})
        if self.fix_end_slash and self._has_route(f"{request.path}/", request.method):
            query = f"?{request.query}" if request.query else ""
            return error_page(301, {"Location": f"{own_path(request.path)}/{query}"})
        return error_page(404)

    def _has_route(self, path: str, method: str) -> bool:
        """Whether a path has a route, be it for other methods."""
        found = self._table.find(path, method)
        return not isinstance(found, Missing) or bool(found.allowed)

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


def own_path(path: str) -> str:
    """Return a path as a reference that stays on this host (RFC 3986 §4.2), for browsers too."""
    path = path.replace("\\", "%5C")  # which they take for a slash
    return f"/.{path}" if path.startswith("//") else path  # what follows two slashes is a host


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
