"""The routes of an application, and how they are found. A path in, a route and its values out."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import unquote

from pants.web._patterns import Strings
from pants.web._rules import Rule

if TYPE_CHECKING:
    from pants.http import HTTPRequest

View = Callable[..., Any]

# Stands for an encoded slash while a path is matched, since that divides nothing (RFC 3986 §2.2). No UTF-8 makes it.
_SLASH: Final = "\udc2f"
_ENCODED_SLASH: Final = re.compile("%2f", re.IGNORECASE)


class Route(NamedTuple):
    """A function that answers requests, and what goes with each of its answers."""

    name: str
    rule: str
    view: View
    content_type: str | None
    headers: dict[str, str]
    auto404: bool


class Entry(NamedTuple):
    """A rule, and its routes by method."""

    rule: Rule
    by_method: dict[str, Route]


class Found(NamedTuple):
    """A route for a request.

    Attributes:
        route: The route.
        rule: Its rule, if that has variables.
        strings: What these have captured.
    """

    route: Route
    rule: Rule | None = None
    strings: Strings = ()

    def values(self, request: HTTPRequest) -> Sequence[Any]:
        """Make the values of the variables.

        Raises:
            UnicodeEncodeError: A captured string is not in UTF-8, so that it cannot be decoded.
            Exception: Whatever a converter raises.
        """
        if self.rule is None:
            return ()
        strings = self.strings
        if "%" in request.path:
            strings = tuple(None if string is None else _restored(string) for string in strings)
        return self.rule.decode(request, strings)


class Missing(NamedTuple):
    """There is no route for a request, though there may be one for other methods."""

    allowed: tuple[str, ...]


class RouteTable:
    """All routes.

    A rule without variables goes first; among others the one with the longer text before its first variable, and then
    the one that was added first. If that has no route for the method, the next one that matches the path is taken.
    """

    def __init__(self) -> None:
        #: The routes of rules without variables, by path and then by method.
        self.plain: dict[str, dict[str, Route]] = {}
        self._entries: dict[tuple[object, ...], Entry] = {}
        # By the whole segments that come before the first variable: "/user/" for /user/<name> and /user/a-<name>.
        self._buckets: dict[str, list[Entry]] = {}
        self._depths: list[bool] = []  # whether there are buckets of one segment, of two, ...

    def add(self, rule: Rule, route: Route, methods: Sequence[str]) -> None:
        """Add a route.

        Raises:
            ValueError: There is one already, for one of the methods and the same paths.
        """
        entry = self._entries.get(rule.key) if rule.variables else None
        by_method = self.plain.get(rule.text, {}) if entry is None else entry.by_method
        for method in methods:
            if method in by_method:
                raise ValueError(f"{rule.text} has a route for {method} already, named {by_method[method].name!r}")
        if not rule.variables:
            self.plain.setdefault(rule.text, by_method)
        elif entry is None:
            self._insert(Entry(rule, by_method))
        by_method.update(dict.fromkeys(methods, route))

    def _insert(self, entry: Entry) -> None:
        begins = entry.rule.begins
        bucket = self._buckets.setdefault(begins[: begins.rindex("/") + 1], [])
        bucket.append(entry)
        bucket.sort(key=lambda entry: -len(entry.rule.begins))
        depth = begins.count("/")
        self._depths += [False] * (depth - len(self._depths))
        self._depths[depth - 1] = True
        self._entries[entry.rule.key] = entry

    def find(self, path: str, method: str) -> Found | Missing:
        """Find the route for a request.

        Args:
            path: The path, as it was sent.
            method: The method.
        """
        text = decoded(path)
        allowed: dict[str, Any] = {}
        by_method = self.plain.get(path) or self.plain.get(text)
        if by_method is not None:
            if method in by_method:
                return Found(by_method[method])
            allowed.update(by_method)
        for bucket in self._buckets_for(text):
            for rule, by_method in bucket:
                strings = rule.match(text)
                if strings is not None:
                    if method in by_method:
                        return Found(by_method[method], rule, strings)
                    allowed.update(by_method)
        return Missing(tuple(allowed))

    def _buckets_for(self, text: str) -> Iterable[list[Entry]]:
        buckets = []
        end = 0
        for is_used in self._depths:
            end = text.find("/", end) + 1
            if not end:
                break
            if is_used and (bucket := self._buckets.get(text[:end])):
                buckets.append(bucket)
        buckets.reverse()
        return buckets


def decoded(path: str) -> str:
    """Percent-decode a path (RFC 3986 §2.1) for matching: an encoded slash is no slash, what is no UTF-8 no text."""
    if "%" not in path:
        return path
    return unquote(_ENCODED_SLASH.sub(_SLASH, path), errors="surrogateescape")


def _restored(string: str) -> str:
    string = string.replace(_SLASH, "/")
    string.encode()  # raises where it was not UTF-8
    return string
