"""The routes of an application, and how they are found. A host and a path in, a route and its values out."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import unquote

from pants.web._index import Index
from pants.web._patterns import Matcher, Strings
from pants.web._rules import DOT_SEGMENT, Domain, Rule

if TYPE_CHECKING:
    from pants.http import HTTPRequest
    from pants.web.module import Module

__all__ = ["Match", "Missing", "Route", "RouteTable"]

View = Callable[..., Any]

#: Stands for an encoded slash while a path is matched, since that divides nothing (RFC 3986 §2.2). No UTF-8 makes it.
SLASH: Final = "\udc2f"
_ENCODED_SLASH: Final = re.compile("%2f", re.IGNORECASE)
# What a domain is made of; a host may have other characters (RFC 3986 §3.2.2), which no name has.
_HOST: Final = re.compile(r"[a-z0-9.:_-]+")

# With fewer rules that begin in the same way, it is quicker to try them in turn than to look into an index.
_FEW: Final = 4


class Route:
    """A function that answers requests, and what goes with each of its answers.

    Attributes:
        name: The name, with those of modules before it, as the application knows it.
        rule: The rule as it was given, with those of modules before it.
        view: The function.
        content_type: The Content-Type of its answers, where it sets none itself.
        headers: More headers, the same.
        auto404: Whether a value that is not true gives a 404.
        basic: Whether the function is given nothing but the request.
        modules: The modules that it belongs to, the outermost first.
        has_hooks: Whether any of them has something to call besides the view.
        match: What ``request.match`` is where there are no variables.
    """

    __slots__ = (
        "auto404",
        "basic",
        "content_type",
        "has_hooks",
        "headers",
        "is_class",
        "match",
        "modules",
        "name",
        "rule",
        "view",
    )

    def __init__(
        self,
        name: str,
        rule: str,
        view: View,
        content_type: str | None = None,
        headers: Mapping[str, str] | None = None,
        auto404: bool = False,
        basic: bool = False,
        modules: tuple[Module, ...] = (),
    ) -> None:
        self.name = name
        self.rule = rule
        self.view = view
        self.content_type = content_type
        self.headers = dict(headers or {})
        self.auto404 = auto404
        self.basic = basic
        self.modules = modules
        self.is_class = isinstance(view, type)
        self.has_hooks = False
        self.match = Match(self)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r} ({self.rule})>"


class Entry(NamedTuple):
    """One form of a rule with variables, and its routes by method.

    Attributes:
        order: Where it stands among others that match the same path: the lowest goes first.
        match: Matches a path.
        rule: The rule.
        by_method: The routes.
    """

    order: tuple[bool, int, int, int]
    match: Matcher
    rule: Rule
    by_method: dict[str, Route]


class Match(NamedTuple):
    """A route for a request: what ``request.match`` is.

    Attributes:
        route: The route.
        rule: Its rule, if that has variables.
        strings: What these have captured, as it was matched: see `groups`.
        is_encoded: Whether there is anything percent-encoded in the path.
    """

    route: Route
    rule: Rule | None = None
    strings: Strings = ()
    is_encoded: bool = False

    def groups(self) -> Strings:
        """Return what each group of the rule's variables has captured, percent-decoded; None for one left out.

        Raises:
            UnicodeEncodeError: A captured string is not in UTF-8, so that it cannot be decoded.
        """
        if self.rule is None:
            return ()
        strings = tuple([None if string is None else restored(string) for string in self.strings])
        return strings + (None,) * (sum(variable.groups for variable in self.rule.variables) - len(strings))

    def groupdict(self) -> dict[str, str | Strings | None]:
        """Return what each variable has captured, by its name: a string, or a tuple where its converter has groups.

        Raises:
            UnicodeEncodeError: As of `groups`.
        """
        found: dict[str, str | Strings | None] = {}
        strings = self.groups()
        for variable in () if self.rule is None else self.rule.variables:
            taken, strings = strings[: variable.groups], strings[variable.groups :]
            found[variable.name] = taken[0] if variable.groups == 1 else taken
        return found

    def values(self, request: HTTPRequest) -> Sequence[Any]:
        """Make the values of the variables.

        Raises:
            UnicodeEncodeError: As of `groups`.
            Exception: Whatever a converter raises.
        """
        if self.rule is None:
            return ()
        strings = self.strings
        if self.is_encoded:
            strings = tuple([None if string is None else restored(string) for string in strings])
        return self.rule.decode(request, strings)


class Missing(NamedTuple):
    """There is no route for a request, though there may be one for other methods."""

    allowed: tuple[str, ...]


# Quicker than its constructor.
_new_match: Final = tuple.__new__


class PathTable:
    """The routes for one domain, or for any.

    A rule without variables goes first; among others the one with the longer text before its first variable, and then
    the one that was added first. If that has no route for the method, the next one that matches the path is taken.

    What it takes to find one grows with the path, not with the number of rules, but for rules whose segments begin and
    end alike, so that they differ only in what is between these ends.
    """

    def __init__(self) -> None:
        # The routes of rules without variables, by path and then by method.
        self._plain: dict[str, dict[str, Route]] = {}
        # Those of others by what they match, for all that can be told.
        self._by_key: dict[tuple[object, ...], dict[str, Route]] = {}
        # By the whole segments that come before the first variable: "/user/" for /user/<name> and /user/a-<name>.
        self._buckets: dict[str, Bucket] = {}
        self._deepest = 0  # the number of slashes in the longest of these
        self._count = 0

    def routes_of(self, rule: Rule) -> dict[str, Route]:
        """Return the routes that there are for the paths of a rule, by method."""
        return self._by_key.get(rule.key, {}) if rule.variables else self._plain.get(rule.path, {})

    def add(self, rule: Rule, route: Route, methods: Iterable[str]) -> None:
        """Add a route, for methods for which there is none."""
        by_method = dict.fromkeys(methods, route)
        if rule.variables:
            self._by_key.setdefault(rule.key, {}).update(by_method)
            self._insert(rule, by_method)
        else:
            self._plain.setdefault(rule.path, {}).update(by_method)

    def _insert(self, rule: Rule, by_method: dict[str, Route]) -> None:
        prefix = rule.begins[: rule.begins.rindex("/") + 1]
        bucket = self._buckets.setdefault(prefix, Bucket(len(prefix)))
        for i, form in enumerate(rule.forms):
            bucket.add(
                Entry((len(rule.pieces) > 1, -len(rule.begins), self._count, i), form.match, rule, by_method),
                form.pieces,
            )
        self._count += 1
        self._deepest = max(self._deepest, prefix.count("/"))

    def find(self, text: str, method: str, allowed: dict[str, Any], is_encoded: bool) -> Match | None:
        """Find the route for a request.

        Args:
            text: The path, by `decoded`.
            method: The method.
            allowed: Where the methods are added for which there is one, if it is not this one.
            is_encoded: Whether the path was percent-encoded.
        """
        by_method = self._plain.get(text)
        if by_method is not None:
            route = by_method.get(method) or (by_method.get("GET") if method == "HEAD" else None)  # RFC 9110 §9.1
            if route is not None:
                return route.match
            allowed.update(by_method)
        buckets = self._buckets
        end = len(text) if text.count("/") <= self._deepest else self._start(text)
        while (end := text.rfind("/", 0, end)) >= 0:
            bucket = buckets.get(text[: end + 1])
            if bucket is not None:
                for _, match, rule, by_method in bucket.few or bucket.candidates(text):
                    strings = match(text)
                    if strings is not None:
                        route = by_method.get(method) or (by_method.get("GET") if method == "HEAD" else None)
                        if route is not None:
                            return _new_match(Match, (route, rule, strings, is_encoded))
                        allowed.update(by_method)
        return None

    def _start(self, text: str) -> int:
        """Return where in a path to begin to look for slashes, backwards: none of the deeper ones matters."""
        end = 0
        for _ in range(self._deepest):
            end = text.find("/", end) + 1
        return end


class Bucket:
    """The rules that begin with the same segments.

    Args:
        start: The length of these, in characters.
    """

    __slots__ = ("_entries", "_index", "_start", "few")

    #: All of them, where they are few.
    few: list[Entry] | None

    def __init__(self, start: int) -> None:
        self._start = start
        self._entries: list[Entry] = []
        self._index: Index[Entry] = Index("/")
        self.few = self._entries

    def add(self, entry: Entry, pieces: Sequence[Any]) -> None:
        """Add one form of a rule."""
        self._entries.append(entry)
        self._entries.sort(key=lambda entry: entry.order)
        self.few = self._entries if len(self._entries) <= _FEW else None
        self._index.add(pieces, self._start, entry)

    def candidates(self, text: str) -> Iterable[Entry]:
        """Return those that may match, in their order."""
        found = self._index.find(text, self._start)
        if len(found) > 1:
            found.sort(key=lambda entry: entry.order)
        return found


class RouteTable:
    """All routes, those for a domain before those for any.

    A domain without variables goes before one with variables; among these the one with the longer text behind its last
    variable, and then the one that was added first. What has no route there is looked up in the next.
    """

    def __init__(self) -> None:
        self._anywhere = PathTable()
        #: Whether there are others.
        self.has_domains = False
        self._fixed: dict[str, PathTable] = {}
        self._variable: dict[tuple[object, ...], tuple[tuple[int, int], Domain, PathTable]] = {}
        self._index: Index[tuple[tuple[int, int], Domain, PathTable]] = Index(".")

    def check(self, rule: Rule, methods: Iterable[str]) -> None:
        """Raise ValueError if there is another route already for one of the methods and the same paths."""
        table = self._existing(rule.domain)
        if table is None:
            return
        by_method = table.routes_of(rule)
        for method in methods:
            if method in by_method:
                raise ValueError(f"{rule.text} has a route for {method} already, named {by_method[method].name!r}")

    def add(self, rule: Rule, route: Route, methods: Iterable[str]) -> None:
        """Add a route.

        Raises:
            ValueError: As of `check`.
        """
        methods = list(methods)
        self.check(rule, methods)
        table = self._existing(rule.domain)
        if table is None:
            assert rule.domain is not None
            table = self._make_table(rule.domain)
        table.add(rule, route, methods)

    def _existing(self, domain: Domain | None) -> PathTable | None:
        if domain is None:
            return self._anywhere
        if domain.is_fixed:
            return self._fixed.get(domain.text)
        found = self._variable.get(domain.key)
        return None if found is None else found[2]

    def _make_table(self, domain: Domain) -> PathTable:
        self.has_domains = True
        table = PathTable()
        if domain.is_fixed:
            self._fixed[domain.text] = table
        else:
            entry = self._variable[domain.key] = ((-len(domain.ends), len(self._variable)), domain, table)
            self._index.add(domain.pieces, 0, entry)
        return table

    def find(self, path: str, method: str, host: str = "") -> Match | Missing:
        """Find the route for a request.

        Args:
            path: The path, as it was sent.
            method: The method.
            host: The host that is asked, without its port, in lower case.
        """
        is_encoded = "%" in path
        text = decoded(path) if is_encoded else path
        if "/." in text and DOT_SEGMENT.search(text):
            return Missing(())
        allowed: dict[str, Any] = {}
        if self.has_domains and _HOST.fullmatch(host):
            host = host.removesuffix(".")
            fixed = self._fixed.get(host)
            if fixed is not None and (match := fixed.find(text, method, allowed, is_encoded)) is not None:
                return match
            for strings, table in self._variable_tables(host):
                match = table.find(text, method, allowed, is_encoded)
                if match is not None:
                    return match._replace(strings=strings + match.strings)
        match = self._anywhere.find(text, method, allowed, is_encoded)
        return Missing(tuple(allowed)) if match is None else match

    def _variable_tables(self, host: str) -> list[tuple[Strings, PathTable]]:
        entries = self._index.find(host)
        entries.sort(key=lambda entry: entry[0])
        tables = []
        for _, domain, table in entries:
            strings = domain.match(host)
            if strings is not None:
                tables.append((strings, table))
        return tables


def decoded(path: str) -> str:
    """Percent-decode a path (RFC 3986 §2.1) for matching: an encoded slash is no slash, what is no UTF-8 no text."""
    if "%" not in path:
        return path
    return unquote(_ENCODED_SLASH.sub(SLASH, path), errors="surrogateescape")


def restored(string: str) -> str:
    """Return a captured string with its encoded slashes.

    Raises:
        UnicodeEncodeError: It was not in UTF-8.
    """
    string = string.replace(SLASH, "/")
    string.encode()
    return string
