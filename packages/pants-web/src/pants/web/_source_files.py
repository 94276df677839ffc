"""The files of which a program consists, and whether they have changed."""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from typing import Final

# When a file was changed, and its size: the two together, for editors write faster than some clocks tick.
_Stamp = tuple[int, int]

# What is installed does not get a new module while somebody corrects an error.
_INSTALLED: Final = tuple(
    os.path.join(path, "") for name, path in sysconfig.get_paths().items() if name in {"stdlib", "platlib", "purelib"}
)


def module_files() -> Iterator[str]:
    """Yield the files of all modules that are imported, as absolute paths."""
    for module in list(sys.modules.values()):
        path = getattr(module, "__file__", None)
        if isinstance(path, str):
            yield os.path.abspath(path)


class SourceFiles:
    """Files, and what they were like when they were last looked at.

    Args:
        paths: Absolute paths of files, and of directories in which all files count, and new ones too.
    """

    def __init__(self, paths: Iterable[str] = ()) -> None:
        self._paths = list(paths)
        self._known: set[str] = set()
        self._stamps: dict[str, _Stamp | None] = {}

    def add(self, files: Iterable[str]) -> None:
        """Add files, as they are now; those that are there already stay as they are."""
        for path in files:
            if path not in self._known:
                self._known.add(path)
                self._stamps[path] = _stamp(path)

    def note(self) -> None:
        """Take all files as they are now."""
        self._stamps = {path: _stamp(path) for path in self._candidates(with_neighbours=False)}

    def note_neighbours(self) -> None:
        """Take the files as they are now that may become a part of the program."""
        for path in self._candidates(with_neighbours=True):
            if path not in self._stamps:
                self._stamps[path] = _stamp(path)

    def find_changed(self, *, with_neighbours: bool) -> str | None:
        """Return a file that has changed, if there is one. A file that is gone has not: many editors replace theirs.

        Args:
            with_neighbours: Whether modules count that are beside those which are known, and new ones.
        """
        for path in self._candidates(with_neighbours=with_neighbours):
            stamp = _stamp(path)
            if stamp is not None and stamp != self._stamps.get(path):
                return path
        return None

    def _candidates(self, *, with_neighbours: bool) -> Iterator[str]:
        yield from self._known
        for path in self._paths:
            yield from _files_in(path) if os.path.isdir(path) else [path]
        if with_neighbours:
            for directory in {os.path.dirname(path) for path in self._known}:
                if not os.path.join(directory, "").startswith(_INSTALLED):
                    yield from _modules_in(directory)


def _files_in(path: str) -> Iterator[str]:
    """Yield the files below a directory, without those that are hidden, or that Python and editors leave there."""
    for directory, directories, names in os.walk(path):
        directories[:] = [name for name in directories if name[0] != "." and name != "__pycache__"]
        yield from (os.path.join(directory, name) for name in names if name[0] != "." and name[-1] != "~")


def _modules_in(directory: str) -> Iterator[str]:
    """Yield the files of the modules and packages in a directory."""
    try:
        names = os.listdir(directory)
    except OSError:
        return
    for name in names:
        if name.endswith(".py"):
            yield os.path.join(directory, name)
        elif name.isidentifier():  # a package, if it has such a file, or is going to
            yield os.path.join(directory, name, "__init__.py")


def _stamp(path: str) -> _Stamp | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size
