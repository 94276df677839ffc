"""What a `FileServer` is told: what it is to serve, and with which headers. It is checked here."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterable
from typing import Any, Final

from pants.http import Refused
from pants.http._answer import FRAMING_FIELDS, Fields, checked_fields
from pants.web import _listing

#: What is not served by default: sources of Python programs, and what is compiled of them.
PYTHON_FILES: Final = re.compile(r"\.py[co]?$", re.IGNORECASE)

# RFC 8615: it begins with a dot, and is there to be found.
_WELL_KNOWN: Final = ".well-known"

#: The type of the pages that are made here.
HTML: Final = "text/html; charset=utf-8"

# What listings are sent with, unless the caller says something else.
_LISTING_FIELDS: Final = (
    ("Content-Type", HTML),
    ("Cache-Control", "no-cache"),
    ("Content-Security-Policy", _listing.CONTENT_SECURITY_POLICY),
    ("X-Content-Type-Options", "nosniff"),
)
# What the caller says of files, and not of listings.
_ABOUT_FILES: Final = frozenset(
    {
        *("accept-ranges", "cache-control", "content-disposition", "content-encoding", "content-language"),
        *("content-location", "content-type", "date", "etag", "expires", "last-modified", "server"),
    }
)


class Names:
    """Which names are served; whether there are such files is no matter of this.

    Args:
        blacklist: As of `FileServer`.
        hidden: As of `FileServer`.

    Attributes:
        blacklist: The patterns of what is not served.
    """

    __slots__ = ("_of_names", "_of_paths", "_shows_hidden", "blacklist")

    def __init__(self, blacklist: Iterable[str | re.Pattern[str]], hidden: bool) -> None:
        self.blacklist = tuple(map(_checked_pattern, _each(blacklist, "blacklist", "patterns")))
        self._of_names = [pattern.search for pattern in self.blacklist]
        self._of_paths = [pattern.search for pattern in self.blacklist if "/" in pattern.pattern]
        self._shows_hidden = hidden

    def check(self, path: str) -> None:
        """Raise unless a path may be served.

        Args:
            path: The path below the root, decoded. That of a directory has a slash at its end; the root's is empty.

        Raises:
            Refused: 404, no file has such a path; 403, it is not served.
        """
        segments = path.removesuffix("/").split("/") if path else []
        for segment in segments:
            if segment in ("", ".", "..") or "\0" in segment:
                raise Refused(404, "There is no such file")
        above = ""
        for segment in segments:
            if not self.allow(segment, above):
                raise Refused(403, "This is not for download")
            above += f"{segment}/"

    def allow(self, name: str, above: str = "") -> bool:
        """Tell whether a file or a directory is served.

        Args:
            name: Its name.
            above: The path of the directory that it is in, below the root, with a slash at its end if it has any.
        """
        if name.startswith(".") and not self._shows_hidden and name != _WELL_KNOWN:
            return False
        for search in self._of_names:
            if search(name):
                return False
        if not self._of_paths:
            return True
        path = above + name
        forms = (path, f"/{path}", f"{path}/", f"/{path}/")  # it may be a directory
        return not any(search(form) for search in self._of_paths for form in forms)


def checked_directory(path: str | os.PathLike[str]) -> str:
    """Return the absolute path of a directory.

    Raises:
        TypeError: It is not a path.
        OSError: It is not that of a directory.
    """
    path = os.fspath(path)
    if not isinstance(path, str):
        raise TypeError(f"path is a str or an os.PathLike of one, not {path!r}; os.fsdecode() makes a str of bytes")
    path = os.path.abspath(path)
    path = path[1:] if path.startswith("//") else path  # POSIX lets two slashes be special; they are not
    if not stat.S_ISDIR(os.stat(path).st_mode):
        raise NotADirectoryError(errno.ENOTDIR, "a FileServer serves the files in a directory, and this is none", path)
    return path


def checked_defaults(defaults: Iterable[str]) -> tuple[str, ...]:
    """Return the names of the files that are served for directories.

    Raises:
        TypeError: They are no list of str.
        ValueError: One is no name.
    """
    found = tuple(_each(defaults, "defaults", "names"))
    for name in found:
        if not isinstance(name, str):
            raise TypeError(f"defaults are names of files, each a str, not {name!r}")
        if not name or "/" in name or "\0" in name or name in (".", ".."):
            raise ValueError(f"defaults are names of files in the directory that is asked for, unlike {name!r}")
    return found


def _each(values: Any, what: str, kinds: str) -> list[Any]:
    if isinstance(values, (str, bytes, re.Pattern)):
        raise TypeError(f"{what} is a list of {kinds}, as in [{values!r}], not {values!r} alone")
    try:
        return list(values)
    except TypeError:
        raise TypeError(f"{what} is a list of {kinds}, not {values!r}") from None


def _checked_pattern(pattern: object) -> re.Pattern[str]:
    if isinstance(pattern, str):
        try:
            pattern = re.compile(pattern)
        except re.error as error:
            raise ValueError(f"blacklist has {pattern!r}, which is no regular expression: {error}") from None
    if not isinstance(pattern, re.Pattern) or not isinstance(pattern.pattern, str):
        raise TypeError(f"blacklist is a list of regular expressions for str, not {pattern!r}")
    return pattern


def checked_headers(headers: Fields | None, max_age: object) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Return the header fields of files, and those of listings.

    Raises:
        TypeError, ValueError: As of `FileServer`.
    """
    fields = checked_fields(headers or ())
    names = {name.lower() for name, _ in fields}
    for name in names & FRAMING_FIELDS:
        raise ValueError(f"the header {name} is set by the server itself")
    of_listings = [(name, value) for name, value in fields if name.lower() not in _ABOUT_FILES]
    of_listings += [(name, value) for name, value in _LISTING_FIELDS if name.lower() not in names - _ABOUT_FILES]
    if max_age is not None:
        if isinstance(max_age, bool) or not isinstance(max_age, int):
            raise TypeError(f"max_age is a number of seconds or None, not {max_age!r}")
        if max_age < 0:
            raise ValueError(f"max_age is a number of seconds, 0 or more, not {max_age}")
        if "cache-control" in names:
            raise ValueError("max_age sets Cache-Control, which is among the headers too; give one of them")
        fields.append(("Cache-Control", f"max-age={max_age}"))
    return fields, of_listings
