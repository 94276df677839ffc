"""Patterns: whether a path is one of a rule, and what its variables capture. Text in, strings out.

The time that a match takes grows no faster than the path gets longer, whatever is sent, unless a rule contains a
regular expression of the program's own. So there are two kinds of patterns.

Mostly it is settled where each variable ends: that of ``<name>`` in ``/<name>/edit`` at the next slash. A regular
expression for the whole rule is as good as can be then, since it has nothing to try twice.

In ``/<a>-<b>-<c>/edit`` it is open where ``a`` and ``b`` end, and an expression would try each pair of hyphens. A
`Chain` asks from the end instead, for each variable, where what is behind it can begin; then each variable takes as
much as it can, in the order of the rule, which is what the expression would find too.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from typing import NamedTuple

from pants.web.converters import (
    AnyConverter,
    Converter,
    DomainPartConverter,
    FloatConverter,
    IntegerConverter,
    PathConverter,
    Span,
    SpanConverter,
    StringConverter,
)

# What the groups of a pattern have captured, None for a group that took no part.
Strings = tuple[str | None, ...]
Matcher = Callable[[str], Strings | None]


class Variable(NamedTuple):
    """A variable of a rule.

    Attributes:
        name: Its name.
        converter: What it matches.
        source: A regular expression for that, with at least one group.
        groups: The number of groups.
        default: What these have captured where the default value is used; None without one.
    """

    name: str
    converter: Converter
    source: str
    groups: int
    default: Strings | None

    @property
    def span(self) -> Span | None:
        """What it matches, if that is any number of characters, so that it may be open where it ends."""
        converter = self.converter
        known = type(converter) in (StringConverter, PathConverter, DomainPartConverter)
        return converter.span if known and isinstance(converter, SpanConverter) else None

    def may_hold(self, character: str) -> bool:
        """Whether it may match a slash, or a period, for all that is known."""
        span, converter = self.span, self.converter
        if span is not None:
            return character not in span.excluded
        if type(converter) is AnyConverter:
            return any(character in string for string in converter.strings)
        return self.is_custom or (type(converter) is FloatConverter and character == ".")

    @property
    def is_endless(self) -> bool:
        """Whether it matches a number of any length."""
        converter = self.converter
        return type(converter) is FloatConverter or (type(converter) is IntegerConverter and converter._digits is None)

    @property
    def is_custom(self) -> bool:
        """Whether nothing is known about the regular expression."""
        known = (AnyConverter, IntegerConverter, FloatConverter)
        return self.span is None and type(self.converter) not in known


Piece = str | Variable


def compile_pattern(pieces: Sequence[Piece]) -> Matcher:
    """Make a function that takes a path, and returns what is captured, or None if it does not match.

    Args:
        pieces: The texts and the variables of a rule, no two texts side by side.

    Raises:
        ValueError: The variables cannot be told from one another, or do not make one expression together.
    """
    variables = [piece for piece in pieces if isinstance(piece, Variable)]
    if not any(variable.is_custom for variable in variables):
        _check_numbers(pieces)
        for i, piece in enumerate(pieces):
            if isinstance(piece, Variable) and piece.span is not None and _is_open(piece.span, pieces[i + 1 : i + 2]):
                return Chain(pieces[:i], pieces[i:]).match
    fullmatch = _compile(pieces).fullmatch

    def match(text: str) -> Strings | None:
        found = fullmatch(text)
        return None if found is None else found.groups()

    return match


def _is_open(span: Span, following: Sequence[Piece]) -> bool:
    """Whether what follows a variable may begin with a character of its own."""
    if not following:
        return False
    return isinstance(following[0], Variable) or following[0][0] not in span.excluded


def _compile(pieces: Sequence[Piece]) -> re.Pattern[str]:
    source = "".join(piece.source if isinstance(piece, Variable) else re.escape(piece) for piece in pieces)
    try:
        return re.compile(source)
    except (re.error, OverflowError) as error:
        raise ValueError(f"its regular expressions do not fit together: {error}") from None


def _check_numbers(pieces: Sequence[Piece]) -> None:
    """Raise unless it is clear where each number ends."""
    for i, piece in enumerate(pieces):
        if isinstance(piece, Variable) and piece.is_endless:
            following = pieces[i + 1 :]
            if _may_go_on(following) or (type(piece.converter) is FloatConverter and _may_be_fraction(following)):
                raise ValueError(
                    f"it is not clear where <{piece.name}> ends; put a text behind it that cannot belong to a number, "
                    "or use int(digits=...)"
                )


def _may_go_on(following: Sequence[Piece]) -> bool:
    """Whether what follows a number may begin with a digit."""
    if not following:
        return False
    first = following[0]
    if isinstance(first, str):
        return first[0] in "0123456789"
    if not isinstance(first.converter, AnyConverter):
        return True
    return any(string[0] in "0123456789" if string else _may_go_on(following[1:]) for string in first.converter.strings)


def _may_be_fraction(following: Sequence[Piece]) -> bool:
    """Whether what follows a number may begin with a period and a digit."""
    if not following or not isinstance(following[0], str) or following[0][0] != ".":
        return False
    return _may_go_on([following[0][1:], *following[1:]] if len(following[0]) > 1 else following[1:])


def _check_choice(choice: Variable) -> None:
    """Raise unless only one string of a choice can match in one place."""
    assert isinstance(choice.converter, AnyConverter)
    strings = choice.converter.strings
    for i, string in enumerate(strings):
        if any(other.startswith(string) for j, other in enumerate(strings) if j != i):
            raise ValueError(
                f"it is not clear where <{choice.name}> ends, since another of its strings begins with {string!r}; "
                "put a slash between it and the variables beside it, or use regex('...')"
            )


class Link(NamedTuple):
    """A variable that may end in several places, and what follows it up to the next one.

    Attributes:
        span: What the variable matches.
        lead: The text that what follows begins with, perhaps empty.
        chunk: What follows. In one place it matches in one way.
        is_text: Whether what follows is `lead` and nothing else.
    """

    span: Span
    lead: str
    chunk: re.Pattern[str]
    is_text: bool


class Chain:
    """A pattern with variables that may end in several places.

    Args:
        head: The pieces before the first of them.
        pieces: The pieces from there on.

    Raises:
        ValueError: What is between them could match in several ways.
    """

    def __init__(self, head: Sequence[Piece], pieces: Sequence[Piece]) -> None:
        for piece in head:
            if isinstance(piece, Variable) and isinstance(piece.converter, AnyConverter):
                _check_choice(piece)
        self._head = _compile(head)
        self._links: list[Link] = []
        starts = [i for i, piece in enumerate(pieces) if isinstance(piece, Variable) and piece.span is not None]
        for start, end in zip(starts, [*starts[1:], len(pieces)], strict=True):
            self._links.append(self._link(pieces[start], pieces[start + 1 : end], end == len(pieces)))

    def _link(self, piece: Piece, chunk: Sequence[Piece], is_last: bool) -> Link:
        assert isinstance(piece, Variable)
        span = piece.span
        assert span is not None
        before: Piece = piece
        for part in chunk:
            if isinstance(part, Variable):
                self._check_part(part, before, is_last)
            before = part
        lead = chunk[0] if chunk and isinstance(chunk[0], str) else ""
        return Link(span, lead, _compile(chunk), all(isinstance(part, str) for part in chunk))

    def _check_part(self, part: Variable, before: Piece, is_last: bool) -> None:
        if part.is_endless and (isinstance(before, Variable) or before[-1].isdigit()):
            raise ValueError(
                f"it is not clear where <{part.name}> begins; put a text before it that does not end with a digit, or "
                "use int(digits=...)"
            )
        if isinstance(part.converter, AnyConverter) and not is_last:
            _check_choice(part)

    def match(self, text: str) -> Strings | None:
        """Return what is captured in a path, or None if it does not match."""
        head = self._head.match(text)
        if head is None:
            return None
        stops: dict[str, list[int]] = {}
        for link in self._links:
            excluded = link.span.excluded
            if excluded not in stops:
                stops[excluded] = [i for i, character in enumerate(text) if character in excluded] if excluded else []
        found: list[list[int]] = []
        for i in range(len(self._links) - 1, -1, -1):
            places = self._places(text, i, head.end(), stops, found[-1] if found else None)
            if not places:
                return None
            found.append(places)
        found.reverse()
        return self._capture(text, head, stops, found)

    def _places(
        self, text: str, i: int, start: int, stops: dict[str, list[int]], following: list[int] | None
    ) -> list[int]:
        """Find where, from ``start`` on, all that is behind the i-th variable matches; in ascending order."""
        places = []
        link = self._links[i]
        find, lead = text.find, link.lead
        match = link.chunk.fullmatch if following is None else link.chunk.match
        place = find(lead, max(start, len(text) - len(lead)) if following is None and link.is_text else start)
        while place >= 0:
            end: int | None = place + len(lead)
            if not link.is_text:
                chunk = match(text, place)
                end = None if chunk is None else chunk.end()
            if end is not None and (following is None or self._end(text, i + 1, end, stops, following) is not None):
                places.append(place)
            place = find(lead, place + 1)
        return places

    def _end(self, text: str, i: int, start: int, stops: dict[str, list[int]], places: list[int]) -> int | None:
        """Find the last of some places at which the i-th variable can end, if it begins at ``start``."""
        excluded, least, most = self._links[i].span
        stop = bisect_left(stops[excluded], start)
        limit = stops[excluded][stop] if stop < len(stops[excluded]) else len(text)
        if most is not None:
            limit = min(limit, start + most)
        place = bisect_right(places, limit) - 1
        return places[place] if place >= 0 and places[place] >= start + least else None

    def _capture(
        self, text: str, head: re.Match[str], stops: dict[str, list[int]], found: list[list[int]]
    ) -> Strings | None:
        strings: list[str | None] = list(head.groups())
        start = head.end()
        for i, link in enumerate(self._links):
            end = self._end(text, i, start, stops, found[i])
            if end is None:  # of the first one only: the others were asked
                return None
            chunk = link.chunk.match(text, end) if i + 1 < len(found) else link.chunk.fullmatch(text, end)
            assert chunk is not None
            strings += (text[start:end], *chunk.groups())
            start = chunk.end()
        return tuple(strings)
