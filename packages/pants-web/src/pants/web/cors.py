"""Cross-origin requests (Fetch Standard, section "CORS protocol"): which pages of other sites may read the answers.

Without anything of this, no page of another site can. It does not keep anybody from sending requests, and is no
protection: it loosens one that browsers have.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

from pants.http import HTTPHeaders
from pants.web._output import Response
from pants.web._vary import add_vary
from pants.web.routing import Match, Missing

if TYPE_CHECKING:
    from pants.http import HTTPRequest
    from pants.web._head_hooks import ResponseHead
    from pants.web.application import Application
    from pants.web.module import Module

__all__ = ["CORS"]

_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
# RFC 6454 §6.2. Where it is listed for a program it may be written in another way than browsers write it.
_ORIGIN: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*)://([^/?#@\s,]+)")
_PORTS: Final = {"http": ":80", "https": ":443"}

Origins = str | Iterable[str] | Callable[[str], object]


class CORS:
    """Lets pages of other origins read the answers of an application.

    It tells browsers so by ``Access-Control-Allow-Origin`` in every answer, those to errors and those with files
    included, and answers what they ask beforehand, the preflight: an OPTIONS request with
    ``Access-Control-Request-Method``. No view is called for that. What is set already is left as it is, so that a view
    may decide for itself.

    Args:
        origins: The origins whose pages may: ``"*"`` for all; a list of them, such as ``https://example.com``, with a
            port if it is not the usual one; ``null`` in it is for pages that have no origin, which every page can
            bring about. Or a function that takes an origin and says whether it may. They are compared as a whole,
            subdomains are others.
        methods: The methods that they may use; by default all that there is a route for.
        headers: The header fields that they may send, besides those that always may; by default all.
        expose_headers: The header fields that they may read, besides those that always may.
        credentials: Whether they may send cookies and the like along, and so act as the visitor. That needs origins
            that you trust, a list or a function.
        max_age: Seconds that a browser may remember what it was told beforehand; None leaves it to the browser.
        private_network: Whether pages from the internet may, where this server is in a private network.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: Something is no origin, or no name of a method or a field; ``max_age`` is below 0; or ``*`` goes
            together with credentials, which browsers do not take.

    Example:
        >>> from pants.web import Application
        >>> from pants.web.cors import CORS
        >>> app = Application()
        >>> cors = CORS(["https://example.com"], credentials=True).attach(app)
    """

    def __init__(
        self,
        origins: Origins = "*",
        *,
        methods: Iterable[str] | None = None,
        headers: Iterable[str] | None = None,
        expose_headers: Iterable[str] = (),
        credentials: bool = False,
        max_age: int | None = 600,
        private_network: bool = False,
    ) -> None:
        self._may: Callable[[str], object]
        listed = None if callable(origins) else _checked_origins(origins)
        if listed is not None:
            self._may = listed.__contains__
        elif inspect.iscoroutinefunction(origins):
            raise TypeError(f"the function for origins is a plain one, and {origins!r} is async")
        else:
            self._may = origins  # type: ignore[assignment]
        self._any_origin = listed is not None and "*" in listed
        self._methods = None if methods is None else _names("methods", [name.upper() for name in _each(methods)])
        self._headers = None if headers is None else _names("headers", headers)
        self._exposed = _names("expose_headers", expose_headers)
        if max_age is not None and (isinstance(max_age, bool) or not isinstance(max_age, int)):
            raise TypeError(f"max_age is a number of seconds or None, not {max_age!r}")
        if max_age is not None and max_age < 0:
            raise ValueError(f"max_age is 0 seconds or more, not {max_age}")
        if credentials:
            self._check_credentials()
        self._credentials = credentials
        self._max_age = max_age
        self._private_network = private_network

    def _check_credentials(self) -> None:
        """Raise where there is an asterisk: with credentials browsers take it literally (Fetch §3.2.5)."""
        if self._any_origin:
            raise ValueError(
                'credentials go with a list of the origins that you trust, not with "*": every site could act as the '
                "visitor, so that browsers refuse it"
            )
        for what, value in (("methods", self._methods), ("headers", self._headers), ("expose_headers", self._exposed)):
            if value is not None and "*" in value.split(", "):
                raise ValueError(f'with credentials, "*" in {what} stands for a name "*" only: list what is meant')

    def attach(self, app: Application, module: Module | None = None) -> CORS:
        """Do this for an application.

        Args:
            app: The application.
            module: A module of it, if this is for the routes of that alone.

        Returns:
            This.

        Raises:
            TypeError: ``app`` is no `Application`, or ``module`` no `Module`.
        """
        before = getattr(app, "before", None)
        if before is None:
            raise TypeError(f"CORS is attached to an Application, as attach(app, module) for a module, not to {app!r}")
        after = getattr(app if module is None else module, "after", None)
        if after is None:
            raise TypeError(f"the second argument is a Module of the application, not {module!r}")
        before(functools.partial(self._preflight, app, module))
        after(self._end)
        return self

    def _preflight(self, app: Application, module: Module | None, request: HTTPRequest) -> Response | None:
        """Answer a preflight, if it is one, and for something that there is."""
        if not _is_preflight(request):
            return None
        methods = _methods_for(app, module, request)
        if not methods:
            return None
        headers = HTTPHeaders()
        if self._add_origin(request, headers):
            self._add_permissions(request, headers, methods)
        return Response(None, 204, headers)

    def _end(self, request: HTTPRequest, head: ResponseHead) -> None:
        """Add the fields to an answer."""
        headers: HTTPHeaders = head.headers
        if _is_preflight(request):  # which has been answered as it should, or there is nothing to allow
            if not self._any_origin:
                add_vary(headers, "Origin")
        elif self._add_origin(request, headers) and self._exposed:
            headers.setdefault("Access-Control-Expose-Headers", self._exposed)

    def _add_origin(self, request: HTTPRequest, headers: HTTPHeaders) -> bool:
        """Tell whether the origin of a request is allowed."""
        if not self._any_origin:
            add_vary(headers, "Origin")
        origin = self._allowed_origin(request)
        if origin is None or "Access-Control-Allow-Origin" in headers:
            return False
        headers["Access-Control-Allow-Origin"] = origin
        if self._credentials:
            headers["Access-Control-Allow-Credentials"] = "true"
        return True

    def _allowed_origin(self, request: HTTPRequest) -> str | None:
        """Return what to say of the origin of a request; None if it is not allowed."""
        if self._any_origin:
            return "*"  # to those without an origin too, so that caches can keep one answer for all
        origin = request.headers.get("Origin")
        if origin is None or not (origin == "null" or _ORIGIN.fullmatch(origin)):
            return None
        return origin if self._may(origin) else None

    def _add_permissions(self, request: HTTPRequest, headers: HTTPHeaders, methods: list[str]) -> None:
        """Tell what may be sent."""
        asked = request.headers
        headers["Access-Control-Allow-Methods"] = ", ".join(methods) if self._methods is None else self._methods
        allowed = self._headers
        if allowed is None:
            names = [name.strip() for name in asked.get("Access-Control-Request-Headers", "").split(",")]
            allowed = ", ".join([name for name in names if _TOKEN.fullmatch(name)])
        if allowed:
            headers["Access-Control-Allow-Headers"] = allowed
        if self._max_age is not None:
            headers["Access-Control-Max-Age"] = str(self._max_age)
        if self._private_network and asked.get("Access-Control-Request-Private-Network") == "true":
            headers["Access-Control-Allow-Private-Network"] = "true"


def _is_preflight(request: HTTPRequest) -> bool:
    return (
        request.method == "OPTIONS"
        and "Origin" in request.headers
        and "Access-Control-Request-Method" in request.headers
    )


def _methods_for(app: Application, module: Module | None, request: HTTPRequest) -> list[str]:
    """Return the methods for which there is a route, in the module if one is given."""
    table = app._table
    host = request.hostname if table.has_domains else ""
    found = table.find(request.path, "", host)  # no route has that method, so that all are told
    methods = list(found.allowed) if isinstance(found, Missing) else []
    if module is None:
        return methods
    matches = [(method, table.find(request.path, method, host)) for method in methods]
    return [method for method, match in matches if isinstance(match, Match) and module in match.route.modules]


def _checked_origins(origins: object) -> frozenset[str]:
    """Return origins in the way in which browsers write them.

    Raises:
        TypeError: They are no list of str.
        ValueError: One is no origin.
    """
    checked = set()
    for origin in [origins] if isinstance(origins, str) else _each(origins):
        match = _ORIGIN.fullmatch(origin)
        if match is not None and "*" in origin:
            raise ValueError(f"origins are compared as a whole, give a function for a pattern such as {origin!r}")
        if match is not None and origin.isascii():
            scheme = match[1].lower()
            checked.add(f"{scheme}://{match[2].lower().removesuffix(_PORTS.get(scheme, ''))}")
        elif origin in ("*", "null"):
            checked.add(origin)
        else:
            raise ValueError(
                "an origin is a scheme and a host, perhaps with a port, and nothing behind that, as in "
                f"https://example.com (beyond ASCII as in https://xn--bcher-kva.example); or null, or *; not {origin!r}"
            )
    return frozenset(checked)


def _each(names: object) -> list[str]:
    if isinstance(names, (str, bytes)) or not isinstance(names, Iterable):
        raise TypeError(f"a list of str is needed, not {names!r}")
    names = list(names)
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"a list of str is needed, not one with {name!r}")
    return names


def _names(what: str, names: Iterable[str]) -> str:
    """Return names as a field lists them."""
    names = _each(names)
    for name in names:
        if not _TOKEN.fullmatch(name):
            raise ValueError(f"{what} has names (RFC 9110 §5.6.2), and {name!r} is none")
    return ", ".join(names)
