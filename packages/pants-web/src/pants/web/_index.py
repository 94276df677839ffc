"""Indexes: which of many rules may match a path or a domain, so that only those have to be tried."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from pants.web._patterns import Piece

T = TypeVar("T")
Segment = list[Piece]


class Ends(Generic[T]):
    """Things that are found by what a text begins and ends with.

    Args:
        make: Makes a new thing.
    """

    __slots__ = ("_make", "_tables")

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        # By the lengths of both ends, of which there are few, and then by the ends.
        self._tables: dict[tuple[int, int], dict[tuple[str, str], T]] = {}

    def get(self, begins: str, ends: str) -> T:
        """Return what is kept for a beginning and an end, which may be empty; if there is nothing, it is made."""
        table = self._tables.setdefault((len(begins), len(ends)), {})
        if (begins, ends) not in table:
            table[begins, ends] = self._make()
        return table[begins, ends]

    def find(self, text: str, start: int, end: int) -> list[T]:
        """Return all that is kept for the ends of a part of a text."""
        found = []
        for (begins, ends), table in self._tables.items():
            last = end - ends
            if start + begins <= last:
                thing = table.get((text[start : start + begins], text[last:end]))
                if thing is not None:
                    found.append(thing)
        return found


class Node(Generic[T]):
    """What may follow some segments; or precede them, where they are read from the end."""

    __slots__ = ("_fixed", "_partly", "here", "rest", "whole")

    def __init__(self) -> None:
        self._fixed: dict[str, Node[T]] = {}  # a certain segment
        self._partly: Ends[Node[T]] = Ends(Node)  # a segment with a variable in it
        self.here: list[T] = []  # nothing
        #: Something in which separators may be, the end of which is looked at first.
        self.rest: Node[T] | None = None
        #: All that is left, where segments are read from the end.
        self.whole: Ends[list[T]] = Ends(list)

    def child(self, segment: Segment) -> Node[T]:
        """Return the node for one more segment of a rule; it is made if there is none."""
        if all(isinstance(piece, str) for piece in segment):
            return self._fixed.setdefault(_begin(segment), Node())
        return self._partly.get(_begin(segment), _end(segment))

    def children(self, text: str, start: int, end: int) -> list[Node[T]]:
        """Return the nodes for one more segment of a text."""
        found = self._partly.find(text, start, end)
        fixed = self._fixed.get(text[start:end])
        if fixed is not None:
            found.append(fixed)
        return found


class Index(Generic[T]):
    """Things that are found by what a rule may match.

    Args:
        separator: What divides segments: ``/`` for paths, ``.`` for domains.
    """

    __slots__ = ("_root", "_separator")

    def __init__(self, separator: str) -> None:
        self._separator = separator
        self._root: Node[T] = Node()

    def add(self, pieces: Sequence[Piece], start: int, thing: T) -> None:
        """Add something.

        Args:
            pieces: The pieces of its rule.
            start: How many characters of the first all rules here have in common.
            thing: What to add.
        """
        first = pieces[0]
        segments = self._segments([first[start:], *pieces[1:]] if isinstance(first, str) else pieces)
        long = [i for i, segment in enumerate(segments) if self._may_be_several(segment)]
        node = self._root
        for segment in segments[: long[0]] if long else segments:
            node = node.child(segment)
        if not long:
            node.here.append(thing)
            return
        if node.rest is None:
            node.rest = Node()
        node = node.rest
        for segment in reversed(segments[long[-1] + 1 :]):
            node = node.child(segment)
        node.whole.get(_begin(segments[long[0]]), _end(segments[long[-1]])).append(thing)

    def _may_be_several(self, segment: Segment) -> bool:
        return any(not isinstance(piece, str) and piece.may_hold(self._separator) for piece in segment)

    def find(self, text: str, start: int = 0) -> list[T]:
        """Return what has been added for rules that may match a text.

        Args:
            text: The text.
            start: Where in it to begin: what comes before is what all rules have in common.
        """
        found: list[T] = []
        nodes = [self._root]
        while nodes:
            end = text.find(self._separator, start)
            last = end < 0
            if last:
                end = len(text)
            following: list[Node[T]] = []
            for node in nodes:
                if node.rest is not None:
                    self._find_back(node.rest, text, start, found)
                following += node.children(text, start, end)
            if last:
                for node in following:
                    found += node.here
                break
            nodes = following
            start = end + 1
        return found

    def _find_back(self, node: Node[T], text: str, start: int, found: list[T]) -> None:
        """Find what begins with something that may hold separators, and has segments behind it."""
        nodes = [node]
        end = len(text)
        while nodes:
            for node in nodes:
                for things in node.whole.find(text, start, end):
                    found += things
            at = text.rfind(self._separator, start, end)
            if at < 0:
                break
            nodes = [child for node in nodes for child in node.children(text, at + 1, end)]
            end = at

    def _segments(self, pieces: Sequence[Piece]) -> list[Segment]:
        """Divide the pieces of a rule at the separators in its texts."""
        segments: list[Segment] = [[]]
        for piece in pieces:
            if not isinstance(piece, str):
                segments[-1].append(piece)
                continue
            first, *others = piece.split(self._separator)
            if first:
                segments[-1].append(first)
            segments += [[other] if other else [] for other in others]
        return segments


def _begin(segment: Segment) -> str:
    """Return the text that a segment begins with."""
    return segment[0] if segment and isinstance(segment[0], str) else ""


def _end(segment: Segment) -> str:
    """Return the text that a segment ends with."""
    return segment[-1] if segment and isinstance(segment[-1], str) else ""
