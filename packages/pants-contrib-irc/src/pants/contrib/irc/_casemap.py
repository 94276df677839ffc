"""Which names are the same to a server: ``#Python`` and ``#python``, ``Pants[1]`` and ``pants{1}``. Sans-IO.

A server says how it compares nicks and channel names by the token CASEMAPPING of its numeric 005.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, ItemsView, Iterator, MutableMapping, ValuesView
from string import ascii_lowercase, ascii_uppercase
from typing import Final, TypeVar

Value = TypeVar("Value")
Fold = Callable[[str], str]


def _folding(upper: str, lower: str) -> Fold:
    table = str.maketrans(ascii_uppercase + upper, ascii_lowercase + lower)
    # The same names come again and again, and this is done for each several times.
    return functools.lru_cache(maxsize=1024)(lambda name: name.translate(table))


fold_ascii: Final = _folding("", "")
#: Where IRC comes from, the codes of []\ and {}| were those of letters (RFC 1459 §2.2). That ^ and ~ are a pair as well
#: is in RFC 2812 §2.2 only, but holds on servers that say "rfc1459" too.
fold_rfc1459: Final = _folding("[]\\^", "{}|~")
fold_strict_rfc1459: Final = _folding("[]\\", "{}|")

_FOLDINGS: Final[dict[str, Fold]] = {
    "ascii": fold_ascii,
    "rfc1459": fold_rfc1459,
    "strict-rfc1459": fold_strict_rfc1459,
    "rfc1459-strict": fold_strict_rfc1459,
}


def folding(casemapping: str) -> Fold:
    """The function that brings names to the one spelling by which they are compared.

    Args:
        casemapping: The value of the token CASEMAPPING. One that is not known is taken for "ascii": two names that are
            taken for one would mix up two users, while one that is taken for two needs a server that does not spell it
            always alike.
    """
    return _FOLDINGS.get(casemapping.lower(), fold_ascii)


class FoldedDict(MutableMapping[str, Value]):
    """A dict whose keys are names, in any spelling that is the same to the server.

    Iterating gives each name as it was spelled when it was last set. `items` and `values` are of the moment: what is
    done meanwhile does not show in them, nor disturb them.

    Example:
        >>> from pants.contrib.irc._casemap import FoldedDict
        >>> names = FoldedDict()
        >>> names["Pants[1]"] = "spam"
        >>> names["pants{1}"], list(names)
        ('spam', ['Pants[1]'])
    """

    __slots__ = ("_fold", "_items")

    def __init__(self, fold: Fold = fold_rfc1459) -> None:
        self._fold = fold
        self._items: dict[str, tuple[str, Value]] = {}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({dict(self)!r})"

    def __getitem__(self, name: str) -> Value:
        try:
            return self._items[self._fold(name)][1]
        except (KeyError, AttributeError):  # the latter of what is no str
            raise KeyError(name) from None

    def __setitem__(self, name: str, value: Value) -> None:
        self._items[self._fold(name)] = (name, value)

    def __delitem__(self, name: str) -> None:
        del self._items[self._fold(name)]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self._fold(name) in self._items

    def __iter__(self) -> Iterator[str]:
        return (name for name, _ in self._items.values())

    def __len__(self) -> int:
        return len(self._items)

    def items(self) -> ItemsView[str, Value]:
        """The names and their values."""
        return dict(self._items.values()).items()  # the inherited ones would look up each name anew

    def values(self) -> ValuesView[Value]:
        """The values."""
        return dict(self._items.values()).values()

    def refold(self, fold: Fold) -> None:
        """Compare by another mapping from now on. Of names that become the same, the last stays."""
        if fold is not self._fold:
            self._fold = fold
            self._items = {fold(name): (name, value) for name, value in self._items.values()}
