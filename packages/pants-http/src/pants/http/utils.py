"""What the server and the client share (manual: "pants.http.utils")."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, MutableMapping

__all__ = ["HTTPHeaders"]


class HTTPHeaders(MutableMapping[str, str]):
    """The fields of a message: a case-insensitive dictionary that normalises names upon iteration (manual: "headers").

    A name may have several values. As an item they are one string, joined by a comma, which means the same (RFC 9110
    §5.3; the parts of a Cookie are joined by a semicolon, RFC 9113 §8.2.3). `get_list` tells them apart: Set-Cookie
    needs that, for its values contain commas of their own.

    Args:
        fields: A mapping, or an iterable of pairs of a name and a value.

    Example:
        >>> from pants.http import HTTPHeaders
        >>> headers = HTTPHeaders([("content-type", "text/plain"), ("VIA", "1.1 a"), ("Via", "1.1 b")])
        >>> headers["Content-Type"], headers["via"], headers.get_list("via")
        ('text/plain', '1.1 a, 1.1 b', ['1.1 a', '1.1 b'])
        >>> list(headers)
        ['Content-Type', 'Via']
    """

    __slots__ = ("_values",)

    def __init__(self, fields: Mapping[str, str] | Iterable[tuple[str, str]] = ()) -> None:
        self._values: dict[str, list[str]] = {}  # by the name in lower case
        for name, value in fields.items() if isinstance(fields, Mapping) else fields:
            self.add(name, value)

    def add(self, name: str, value: str) -> None:
        """Add a value to those that ``name`` has."""
        self._values.setdefault(name.lower(), []).append(value)

    def set_list(self, name: str, values: Iterable[str]) -> None:
        """Give ``name`` these values, in the place of those that it has."""
        self.pop(name, None)
        for value in values:
            self.add(name, value)

    def get_list(self, name: str) -> list[str]:
        """Return the values of ``name``, as they came; an empty list where there is none."""
        return list(self._values.get(name.lower(), ()))

    def __getitem__(self, name: str) -> str:
        try:
            values = self._values[name.lower()]
        except KeyError:
            raise KeyError(name) from None
        if len(values) == 1:
            return values[0]
        return ("; " if name.lower() == "cookie" else ", ").join(values)

    def __setitem__(self, name: str, value: str) -> None:
        self._values[name.lower()] = [value]

    def __delitem__(self, name: str) -> None:
        try:
            del self._values[name.lower()]
        except KeyError:
            raise KeyError(name) from None

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.lower() in self._values

    def __iter__(self) -> Iterator[str]:
        for name in self._values:
            # Not str.title(): the letter after an apostrophe or a digit stays as it is.
            yield "-".join([part.capitalize() for part in name.split("-")])

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({dict(self)!r})"
