"""URLs for routes (manual: "url_for"), and the request that is being served."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlencode

from pants.http import Refused
from pants.web._patterns import Variable
from pants.web._rules import DOT_SEGMENT, Rule
from pants.web.routing import SLASH

if TYPE_CHECKING:
    from pants.http import HTTPRequest
    from pants.web._answering import Answering

# RFC 3986 §3.3, what a segment is made of, besides letters, digits and -._~
_SEGMENT: Final = "!$&'()*+,;=:@"
# RFC 3986 §3.5.
_FRAGMENT: Final = f"{_SEGMENT}/?"

_DOMAIN: Final = re.compile(r"[A-Za-z0-9._-]+")
_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*")
_HOST: Final = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]*)?")
_PORT: Final = re.compile(r":[0-9]+\Z")


#: The application that serves a request, and the request; None in between.
current: ContextVar[tuple[Answering, HTTPRequest] | None] = ContextVar("pants.web.current", default=None)


def current_request() -> HTTPRequest | None:
    """Return the request that is being served, if there is one."""
    found = current.get()
    return None if found is None else found[1]


def current_application() -> Answering | None:
    """Return the application that is serving a request, if one is."""
    found = current.get()
    return None if found is None else found[0]


def url_for(
    name: str,
    /,  # so that a variable may be called that
    *values: Any,
    _anchor: str | None = None,
    _doseq: bool = True,
    _external: bool = False,
    _scheme: str | None = None,
    _request: HTTPRequest | None = None,
    **kw_values: Any,
) -> str:
    """Make the URL of a route (manual: "url_for").

    The result is a path; or a whole URL, where the route has another domain than the request that is being served, or
    another scheme is asked for.

    Args:
        name: The name of the route, with those of the modules that it is in: ``shop.cart.show``. With a period at its
            beginning it is relative to the current route: ``.show`` is in the same module, ``..index`` in the one
            around that, and so on.
        *values: The values of the rule's variables, in the order of the rule.
        _anchor: A fragment, for the end of the URL.
        _doseq: Whether a value for the query that is a sequence stands for several.
        _external: Whether the URL is a whole one in any case. Its host is the one that the client says it has asked,
            unless the rule has a domain: see that it is yours where the URL goes to somebody else, as by mail.
        _scheme: The scheme, ``https`` say; by default that of the current request.
        _request: The current request, where this is called later than in a view: after it has returned.
        **kw_values: The values of variables by name, and what is no variable goes into the query, but None. A variable
            without a value has its default.

    Returns:
        The URL, in plain characters.

    Raises:
        RuntimeError: No request is being served.
        LookupError: There is no route of that name.
        TypeError: A variable has no value, or there are more values than variables.
        ValueError: A value is none that the rule would match.

    Example:
        >>> from pants.web import Application, url_for
        >>> app = Application()
        >>> @app.route("/user/<int:id>")
        ... def user(request, id):
        ...     return f"User {id}"
        >>> @app.route("/")
        ... def index(request):
        ...     return url_for("user", 7, tab="posts")
        >>> app.test_client().get("/").text
        '/user/7?tab=posts'
    """
    application, request = _current(_request)
    if _scheme is not None and not _SCHEME.fullmatch(_scheme):
        raise ValueError(f"_scheme is a scheme, as 'https' (RFC 3986 §3.1), not {_scheme!r}")
    full_name = _absolute(name, request.route_name)
    rules = application._rules.get(full_name)
    if not rules:
        raise LookupError(_no_such_route(full_name, application._rules))
    near = "" if request.match is None else request.match.route.rule
    rule, given, query = _choose(rules, full_name, values, kw_values, near)
    if unknown := [key for key in query if key.startswith("_")]:
        raise TypeError(f"url_for() has no argument {unknown[0]}, and what begins with _ does not go into the query")
    path = request.script_name + _path(rule, request, given)
    query_string = urlencode(
        {key: value for key, value in query.items() if value is not None}, doseq=_doseq, errors="replace"
    )
    if query_string:
        path += f"?{query_string}"
    if _anchor:
        path += f"#{quote(_anchor, safe=_FRAGMENT, errors='replace')}"
    return _with_host(path, _domain(rule, request, given), request, _scheme, _external)


def _current(request: HTTPRequest | None) -> tuple[Answering, HTTPRequest]:
    if request is None:
        found = current.get()
        if found is None:
            raise RuntimeError(
                "url_for() needs the request that is being served, and there is none now; give it _request=..., the "
                "request that the view was called with"
            )
        return found
    if request.match is None:
        raise RuntimeError(f"url_for(_request=...) is for a request that a view was called with, unlike {request!r}")
    return request.match.route.modules[0], request


def _absolute(name: str, route_name: str | None) -> str:
    """Return a name that may be relative as an absolute one."""
    if not isinstance(name, str):
        raise TypeError(f"the name of a route is a str, not {name!r}")
    rest = name.lstrip(".")
    level = len(name) - len(rest)
    if not level:
        return name
    if route_name is None:
        raise LookupError(f"{name!r} is relative to the current route, and this request has none")
    parts = route_name.split(".")
    if level > len(parts):
        raise LookupError(f"{name!r} leads out of the names of the application, from {route_name!r}")
    return ".".join([*parts[:-level], rest])


def _no_such_route(name: str, known: Mapping[str, object]) -> str:
    close = difflib.get_close_matches(name, known, 3) or sorted(known)[:10]
    return f"there is no route named {name!r}; there are {', '.join(map(repr, close)) or 'none at all'}"


def _choose(
    rules: Sequence[Rule], name: str, values: Sequence[Any], keywords: Mapping[str, Any], near: str
) -> tuple[Rule, dict[str, Any], dict[str, Any]]:
    """Choose the rule that makes the most of some values; if there are several, the one most like the current one.

    Returns:
        The rule, the values of its variables by name, and what is left for the query.
    """
    found = []
    for rule in rules:
        names = [variable.name for variable in rule.variables]
        given = dict(zip(names, values, strict=False))
        if len(values) > len(names) or any(key in given for key in keywords):
            continue
        given |= {key: value for key, value in keywords.items() if key in names}
        if all(variable.default is not None or given.get(variable.name) is not None for variable in rule.variables):
            found.append((rule, given, {key: value for key, value in keywords.items() if key not in names}))
    if not found:
        shown = " or ".join([repr(rule.text) for rule in rules])
        raise TypeError(f"these are not the values for the variables of {name!r}, {shown}: {values} {dict(keywords)}")
    return max(found, key=lambda one: (len(one[1]), _alike(one[0].text, near)))


def _alike(one: str, other: str) -> int:
    """Return how many characters two texts begin with alike."""
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def _path(rule: Rule, request: HTTPRequest, given: Mapping[str, Any]) -> str:
    path = ""
    for i, piece in enumerate(rule.pieces):
        if isinstance(piece, str):
            path += quote(piece, safe=f"{_SEGMENT}/")
            continue
        value = given.get(piece.name)
        if value is not None:
            path += _encoded(piece, request, value)
        elif (default := _quoted(piece, str(piece.converter.default))) is not None:
            path += default
        else:  # a default that stands for the end of the path
            later = [other.name for other in rule.pieces[i:] if isinstance(other, Variable) and other.name in given]
            if any(given[name] is not None for name in later):
                raise ValueError(f"<{piece.name}> needs a value, where there is one for {later[0]!r}")
            break
    if DOT_SEGMENT.search(path):
        raise ValueError(f"{path!r} has a segment . or .., which clients take out, so that it leads elsewhere")
    return path


def _encoded(variable: Variable, request: HTTPRequest, value: Any) -> str:
    """Return a value as it stands in a path."""
    text = _text_of(variable, request, value)
    quoted = _quoted(variable, text)
    if quoted is None:
        raise _no_match(variable, value, text)
    return quoted


def _quoted(variable: Variable, text: str) -> str | None:
    """Return a text percent-encoded, so that a variable captures it; None if none would."""
    if variable.may_hold("/") and not DOT_SEGMENT.search(f"/{text}") and re.fullmatch(variable.source, text):
        return quote(text, safe=f"{_SEGMENT}/")
    return quote(text, safe=_SEGMENT) if re.fullmatch(variable.source, text.replace("/", SLASH)) else None


def _domain(rule: Rule, request: HTTPRequest, given: Mapping[str, Any]) -> str | None:
    if rule.domain is None:
        return None
    domain = ""
    for piece in rule.domain.pieces:
        if isinstance(piece, str):
            domain += piece
            continue
        value = given[piece.name]
        text = _text_of(piece, request, value).lower()
        if not _DOMAIN.fullmatch(text) or not re.fullmatch(piece.source, text):
            raise _no_match(piece, value, text)
        domain += text
    return domain


def _text_of(variable: Variable, request: HTTPRequest, value: Any) -> str:
    text = variable.converter.encode(request, value)
    if not isinstance(text, str):
        raise TypeError(f"encode() of the converter of <{variable.name}> returns a str, not {text!r}")
    return text


def _no_match(variable: Variable, value: object, text: str) -> ValueError:
    return ValueError(f"{value!r} is none that <{variable.name}> would match, as {text!r}")


def _with_host(path: str, domain: str | None, request: HTTPRequest, scheme: str | None, external: bool) -> str:
    """Put scheme and host before a path where they are needed."""
    same_scheme = scheme is None or scheme == request.scheme
    same_host = domain is None or domain == request.hostname.removesuffix(".")
    if same_scheme and same_host and not external:
        return own_path(path)
    if not _HOST.fullmatch(request.host):  # RFC 3986 §3.2.2 has more; what a page makes of them nobody knows
        raise Refused(400, "The host is none that a URL can be made of")
    # The port is that of the request, which says nothing about another scheme.
    port = _PORT.search(request.host)
    host = request.host if same_host else f"{domain}{'' if port is None else port[0]}"
    return f"{scheme or request.scheme}://{host if same_scheme else _PORT.sub('', host)}{path}"


def own_path(path: str) -> str:
    """Return a path as a reference that stays on this host (RFC 3986 §4.2), for browsers too."""
    path = path.replace("\\", "%5C")  # which they take for a slash
    return f"/.{path}" if path.startswith("//") else path  # what follows two slashes is a host
