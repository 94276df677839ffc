"""Modules: routes and hooks that are written apart, and put together to an application (manual: "Module")."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar, overload

from pants.http._answer import TOKEN, check_value, find_charset, own_fields_refused
from pants.web._hooks import Hooked, RequestHook, check_arguments
from pants.web._rules import Rule, joined
from pants.web.routing import Route, RouteTable, View

__all__ = ["Module"]

V = TypeVar("V", bound=View)


class Spec(NamedTuple):
    """A route as it was given to a module."""

    rule: str
    name: str
    methods: tuple[str, ...]
    view: View
    content_type: str | None
    headers: dict[str, str]
    auto404: bool
    basic: bool


class Place(NamedTuple):
    """Where a module stands: in itself, in one that it was added to, or further out.

    Attributes:
        module: The module around it.
        prefix: What comes before its rules there.
        names: What comes before its names there.
        modules: The modules from that one to this one.
    """

    module: Module
    prefix: str
    names: tuple[str, ...]
    modules: tuple[Module, ...]

    def inside(self, prefix: str, module: Module) -> Place:
        """Return where a module stands that has been added to this one."""
        names = self.names if module.name is None else (*self.names, module.name)
        return Place(
            self.module, joined(self.prefix, prefix) if self.prefix else prefix, names, (*self.modules, module)
        )

    def around(self, inner: Place) -> Place:
        """Return where something stands that has a place in this one's module."""
        prefix = joined(self.prefix, inner.prefix) if self.prefix else inner.prefix
        return Place(self.module, prefix, self.names + inner.names, self.modules + inner.modules[1:])


class Module(Hooked):
    """A group of rules, which can be added to an `Application` or another module (manual: "Module").

    Routes and hooks may be registered before it is added and later.

    Args:
        name: A name, which stands before those of its routes, with a period between them; without one theirs stand as
            they are.

    Raises:
        TypeError: The name is not a str.
        ValueError: It is empty, or begins or ends with a period.

    Example:
        >>> from pants.web import Application, Module
        >>> fish = Module("fish")
        >>> @fish.route("/trout")
        ... def trout(request):
        ...     return "This is a trout."
        >>> app = Application()
        >>> app.add("/sea", fish)
        >>> app.test_client().get("/sea/trout").text
        'This is a trout.'
    """

    # Whether it answers requests itself, so that its rules have nothing before them.
    _serves = False
    # What an Application calls before it looks for a route.
    _before: Sequence[RequestHook] = ()

    def __init__(self, name: str | None = None) -> None:
        if name is not None:
            _check_name("the name of a module", name)
        super().__init__()
        self.name = name
        self._table = RouteTable()
        self._rules: dict[str, list[Rule]] = {}  # by the names of routes
        self._routes: dict[str, list[Route]] = {}  # the same
        self._specs: list[Spec] = []
        self._children: list[tuple[str, Module]] = []
        self._parents: list[tuple[str, Module]] = []
        self._has_after = False  # here, or in a module in this one

    def __repr__(self) -> str:
        return f"<{type(self).__name__}{'' if self.name is None else f' {self.name!r}'}, {len(self._routes)} routes>"

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

        The function is called with the request, and the values of the rule's variables behind it. What it returns is
        the answer (manual: "Output Handling"):

        - str: text, or HTML where its first tag is ``<!DOCTYPE`` or ``<html``; encoded with the charset of its type,
          UTF-8 if that names none.
        - bytes, in the same way.
        - dict, list or tuple: JSON.
        - None: nothing (204); or nothing more, where the function has begun to answer by the request's methods, or has
          set ``request.auto_finish`` to False, to answer later.
        - an object with a method ``to_html``: what that returns, as HTML.
        - a generator or another iterator: what it yields, str or bytes, sent as the client takes it.
        - any other object: ``str()`` of it.
        - ``(body, status)`` and ``(body, status, headers)``, where body is one of the above, and status an int or a str
          that begins with one; or a `Response`.

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

        A domain may stand before the path, with variables or without: ``<user>.example.com/blog/<slug>``. There a
        variable captures one part of it (``domainpart``).

        Paths are percent-decoded before they are compared, but an encoded slash is no slash to rules; the function
        gets it as one. What is captured and no UTF-8 is a 400.

        A rule with a domain goes before one without, and a domain without variables before one with; among these goes
        first the one with more text behind its last variable. Of paths, a rule without variables goes before one with;
        among these goes first the one with more text before its first variable. Then it is the one that was registered
        first.

        A request by another method gets 405, and the methods that there are; HEAD is answered where GET is, and OPTIONS
        always, by the application itself, unless there is a route for it.

        Args:
            rule: A path that begins with a slash, perhaps a domain before it, in plain characters; nothing is to be
                percent-encoded.
            name: The name of the route, for `url_for`; that of the function by default.
            methods: The methods to answer.
            auto404: Whether a value of a variable that is not true, as 0, gives a 404; the function is not called then.
            headers: Headers to send with every answer that does not set them itself.
            content_type: The Content-Type of every answer that does not set it itself.
            func: The function, where this is not used as a decorator.

        Returns:
            A decorator that returns the function as it was; the function itself, if ``func`` is given.

        Raises:
            TypeError: An argument is of the wrong type.
            ValueError: The rule is none that can be served; it has a route for that method already; the name has been
                given to another function; or a header cannot be sent.
        """
        return self._register(rule, name, methods, auto404, headers, content_type, func, basic=False)

    @overload
    def basic_route(
        self,
        rule: str,
        name: str | None = None,
        methods: Iterable[str] = ("GET", "HEAD"),
        headers: Mapping[str, str] | None = None,
        content_type: str | None = None,
        func: None = None,
    ) -> Callable[[V], V]: ...

    @overload
    def basic_route(
        self,
        rule: str,
        name: str | None = None,
        methods: Iterable[str] = ("GET", "HEAD"),
        headers: Mapping[str, str] | None = None,
        content_type: str | None = None,
        *,
        func: V,
    ) -> V: ...

    def basic_route(
        self,
        rule: str,
        name: str | None = None,
        methods: Iterable[str] = ("GET", "HEAD"),
        headers: Mapping[str, str] | None = None,
        content_type: str | None = None,
        func: View | None = None,
    ) -> Any:
        """Register a function that is given the request alone (manual: "Module.basic_route").

        What the variables have captured is in ``request.match``, by ``groups()`` and ``groupdict()``: strings, which no
        converter has made anything of. The rest is as with `route`.

        Args:
            rule, name, methods, headers, content_type, func: As of `route`.

        Returns:
            As of `route`.

        Raises:
            TypeError, ValueError: As of `route`.

        Example:
            >>> from pants.web import Application
            >>> app = Application()
            >>> @app.basic_route("/char/<char>")
            ... def show(request):
            ...     (char,) = request.match.groups()
            ...     return f"The character is {char}!"
        """
        return self._register(rule, name, methods, False, headers, content_type, func, basic=True)

    def _register(
        self,
        rule: str,
        name: str | None,
        methods: Iterable[str],
        auto404: bool,
        headers: Mapping[str, str] | None,
        content_type: str | None,
        func: View | None,
        *,
        basic: bool,
    ) -> Any:
        Rule(rule)  # which raises where it is none
        names = _checked_methods(methods)
        if name is not None:
            _check_name("the name of a route", name)
        fixed = dict(headers or {})
        for header in list(fixed):
            if header.lower() == "content-type":
                content_type = fixed.pop(header)
        own_fields_refused(fixed)
        if content_type is not None:
            check_value("content_type", content_type)
            find_charset(content_type)

        def register(view: V) -> V:
            _check_view(view)
            view_name = name or getattr(view, "__name__", None) or type(view).__name__
            spec = Spec(rule, view_name, names, view, content_type, fixed, auto404, basic)
            self._install([(spec, None)])
            self._specs.append(spec)
            return view

        return register if func is None else register(func)

    def add(self, rule: str, module: Module) -> None:
        """Add another module under a rule (manual: "Module.add").

        The rules of that module are served here with this one before them; a slash at the end of it counts for
        nothing. Its hooks are run for its routes: ``request_started`` behind those of this one, the others before. What
        an `Application` has besides, as ``debug``, does not count here.

        Args:
            rule: A path, perhaps with a domain and variables. The values of all variables come in the order in which
                they stand in the URL.
            module: The module.

        Raises:
            TypeError: An argument is of the wrong type.
            ValueError: The rule is none; a module would be in itself; there is a route here for the same paths, or of
                the same name, as one of those to add; or the module is an `Application` with `Application.before`.
        """
        Rule(rule)
        if not isinstance(module, Module):
            raise TypeError(f"a pants.web.Module can be added, not {module!r}")
        if any(module in place.modules for place in self._places()):
            raise ValueError(f"{module!r} cannot be added to {self!r}, for it would be in itself")
        if module._before:
            raise ValueError(f"{module!r} has functions to run before a route is found, which cannot be done here")
        here = Place(module, "", (), (self,)).inside(rule, module)
        self._install([(spec, place) for place, spec in module._specs_below(here)])
        self._children.append((rule, module))
        module._parents.append((rule, self))
        self._note_hooks()

    def _specs_below(self, place: Place) -> Iterator[tuple[Place, Spec]]:
        """The routes of this module, which stands in a place, and of those in it."""
        for spec in self._specs:
            yield place, spec
        for prefix, module in self._children:
            yield from module._specs_below(place.inside(prefix, module))

    def _places(self) -> Iterator[Place]:
        """Where this module stands: in itself, in those that it was added to, and further out."""
        yield Place(self, "", (), (self,))
        for prefix, parent in self._parents:
            for place in parent._places():
                yield place.inside(prefix, self)

    def _install(self, specs: list[tuple[Spec, Place | None]]) -> None:
        """Make routes known here, and in all modules that this one was added to; in all of them or in none.

        Args:
            specs: The routes, each with where it stands in a module that is being added to this one, if it does.
        """
        made = []
        for outer in list(self._places()):
            for spec, inner in specs:
                place = outer if inner is None else outer.around(inner)
                made.append((place.module, spec, *_make(place, spec)))
        taken = set()
        for module, spec, rule, route in made:
            module._check(spec, rule, route)
            if module._serves:
                names = [] if spec.basic else [f"<{variable.name}>" for variable in rule.variables]
                check_arguments(f"the view of {rule.text}", spec.view, ["the request", *names])
            for method in spec.methods:
                place_of = (module, None if rule.domain is None else rule.domain.key, rule.key, method)
                if place_of in taken:
                    raise ValueError(f"{rule.text} would have two routes for {method} in {module!r}")
                taken.add(place_of)
        for module, spec, rule, route in made:
            module._table.add(rule, route, spec.methods)
            module._rules.setdefault(route.name, []).append(rule)
            module._routes.setdefault(route.name, []).append(route)

    def _check(self, spec: Spec, rule: Rule, route: Route) -> None:
        for other in self._routes.get(route.name, ()):
            if other.view is not route.view:
                raise ValueError(
                    f"the name {route.name!r} has been given to another function; give name= to one of them, or to "
                    "the module that it is in"
                )
        self._table.check(rule, spec.methods)

    def _note_hooks(self) -> None:
        """There may be hooks that were not there before."""
        for place in self._places():
            place.module._has_after = place.module._finds_after()
            for routes in place.module._routes.values():
                for route in routes:
                    route.has_hooks = any(module._is_hooked for module in route.modules)

    def _finds_after(self) -> bool:
        return bool(self._hooks.after) or any(module._finds_after() for _, module in self._children)


def _make(place: Place, spec: Spec) -> tuple[Rule, Route]:
    """Make a route as it is known in a place."""
    rule = Rule(joined(place.prefix, spec.rule) if place.prefix else spec.rule)
    route = Route(
        ".".join([*place.names, spec.name]),
        rule.text,
        spec.view,
        spec.content_type,
        spec.headers,
        spec.auto404,
        spec.basic,
        place.modules,
    )
    route.has_hooks = any(module._is_hooked for module in route.modules)
    return rule, route


def _checked_methods(methods: Iterable[str]) -> tuple[str, ...]:
    """Return the names of methods in capitals (RFC 9110 §9.1), each once."""
    if isinstance(methods, str):
        raise TypeError(f"methods is an iterable of names of methods, not {methods!r}")
    names = {}
    for method in methods:
        if not isinstance(method, str):
            raise TypeError(f"a method is a str, as 'GET', not {method!r}")
        if not TOKEN.fullmatch(method):
            raise ValueError(f"a method is a token (RFC 9110 §9.1), as 'GET', not {method!r}")
        names[method.upper()] = True
    if not names:
        raise ValueError("methods is empty, so that the route could never be taken")
    return tuple(names)


def _check_name(what: str, name: str) -> None:
    if not isinstance(name, str):
        raise TypeError(f"{what} is a str, not {name!r}")
    if not name or name.startswith(".") or name.endswith("."):
        raise ValueError(f"{what} is not empty, and has no period at its ends, unlike {name!r}")


def _check_view(view: object) -> None:
    if not callable(view):
        raise TypeError(f"a route calls a function, and {view!r} cannot be called")
    for function in (view, getattr(view, "__call__", None)):  # noqa: B004 - that of an instance's class
        if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
            raise TypeError(f"views are plain functions, and {view!r} is an async one")
