"""The directory that a `FileServer` serves: files are opened here, and none outside of it.

That a path has no ``..`` in it says little: a symbolic link may lead anywhere, and be put there between a look and the
opening. So a path is opened without following any link, directory by directory, which costs nothing where there is no
directory in between. Only if there is a link it is followed, and the kernel is asked where that has led, before
anything is opened: it may have a name that is not served, or be no file.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
from collections.abc import Callable
from typing import Final

from pants.http import Refused
from pants.http._files import open_file

if sys.platform == "darwin":
    import fcntl

# A directory on the way. With O_PATH it need not be readable, which systems without it find out by failing.
_ON_THE_WAY: Final = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# What is said of a link that is not followed: open(2) of Linux, macOS and the BSDs; or of a directory on the way.
_MAY_BE_LINK: Final = frozenset({errno.ELOOP, errno.ENOTDIR, errno.EMLINK, errno.EACCES})
# Beyond so many directories on the way it is less work to follow whatever there is, and to ask then.
_MOST_ON_THE_WAY: Final = 4
# What Linux says behind the path of a file that has been removed.
_REMOVED: Final = " (deleted)"


class IsADirectory(Exception):
    """What should be a file is a directory, in the root."""


class Root:
    """A directory, in which files are opened.

    Args:
        path: The directory, as an absolute path. It may be a link, and be replaced later.
        follow_symlinks: Whether symbolic links may lead out of it.
        check: Called with the true path below the root of what links have led to; raises unless that may be served.

    Attributes:
        base: What the absolute path of everything inside begins with: the path, and a slash.
    """

    __slots__ = ("_check", "_follows", "_inside", "_path", "base")

    def __init__(self, path: str, follow_symlinks: bool, check: Callable[[str], object]) -> None:
        self.base = path if path == "/" else f"{path}/"
        self._path = path
        self._follows = follow_symlinks
        self._check = check
        self._inside = ""  # what the true path of everything inside begins with, the root's own included
        self._resolve()

    def open(self, path: str) -> tuple[int, os.stat_result]:
        """Open a regular file. Nothing else is ever opened, be it inside or outside.

        Args:
            path: The file, as an absolute path without ``..``.

        Returns:
            A file descriptor, which the caller has to close, and the file's status.

        Raises:
            IsADirectory: It is a directory.
            Refused: 404, there is no such file, it is no regular one, or is outside of the root; 403, it may not be
                read, or links have led to what may not be served.
            OSError: The system fails, as when there are too many open files.
        """
        return open_file(path, opener=self._open)

    def open_directory(self, path: str) -> tuple[int, str | None]:
        """Open a directory.

        Args:
            path: The directory, as an absolute path without ``..``, with a slash at its end.

        Returns:
            A file descriptor, which the caller has to close; and where it truly is, below the root, with a slash at its
            end if it is not the root: None if that is outside.

        Raises:
            Refused, OSError: As of `open`.
        """
        path = path.rstrip("/") or "/"
        descriptor, _ = open_file(path, or_directory=True, opener=self._open_directory)
        place = f"{_path_of(descriptor, path).rstrip('/')}/"
        return descriptor, place[len(self._inside) :] if place.startswith(self._inside) else None

    def follow(self, link: str, directory: int, path: str) -> os.stat_result | None:
        """Return the status of what a symbolic link leads to; None if that is nothing, or is not served.

        Args:
            link: The name of the link.
            directory: The directory in which it is, as a file descriptor.
            path: The path of that directory.
        """
        try:
            if sys.platform != "linux":
                real = os.path.realpath(os.path.join(path, link), strict=True)
                self._check_place(real)
                return os.stat(real)
            descriptor = os.open(link, os.O_PATH | os.O_CLOEXEC, dir_fd=directory)
            try:
                self._check_place(_path_of(descriptor, os.path.join(path, link)))
                return os.fstat(descriptor)
            finally:
                os.close(descriptor)
        except (OSError, Refused):
            return None

    # --- Opening --------------------------------------------------------------------------------------------------

    def _open_directory(self, path: str, flags: int) -> int:
        return self._open(path, flags | os.O_DIRECTORY)

    def _open(self, path: str, flags: int) -> int:
        """Open what is in the root: a regular file, or with ``O_DIRECTORY`` a directory, or the root itself.

        Raises:
            IsADirectory, Refused: As of `open`.
            OSError, ValueError: As of `os.open`.
        """
        if path == self._path:
            return os.open(path, flags | os.O_DIRECTORY)
        base = self.base
        on_the_way = path.count("/", len(base))
        if on_the_way <= _MOST_ON_THE_WAY:
            try:
                return _walk(base, path[len(base) :].split("/"), flags) if on_the_way else _open_plain(path, flags)
            except OSError as error:
                if error.errno not in _MAY_BE_LINK:
                    raise
        return self._open_followed(path, flags)

    def _open_followed(self, path: str, flags: int) -> int:
        """Follow links, and open what they lead to if it may be."""
        if sys.platform == "linux":
            # Held without being opened, so that nobody can put something else in its place.
            held = os.open(path, os.O_PATH | os.O_CLOEXEC | flags & os.O_DIRECTORY)
            try:
                try:
                    real = _ask_kernel(held)
                except OSError:  # without /proc
                    real = ""
                if real:
                    if real != f"{self._inside}{path[len(self.base) :]}":  # else there was no link
                        self._check_place(real)
                    _check_kind(os.fstat(held).st_mode, flags)
                    return os.open(f"/proc/self/fd/{held}", flags)
            finally:
                os.close(held)
        os.stat(path)  # fails where there are too many links
        real = os.path.realpath(path, strict=True)
        self._check_place(real)
        descriptor = _open_plain(real, flags)
        try:
            self._check_place(_path_of(descriptor, real))
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    # --- Where things are -------------------------------------------------------------------------------------------

    def _check_place(self, real: str) -> None:
        """Raise Refused unless what links have led to may be served: 404, it is outside of the root; or as `check`.

        Args:
            real: Where it truly is; an empty string if that cannot be told.
        """
        if not real:
            raise Refused(404, "There is no such file")
        place = f"{real}/"
        # The root may have been replaced, as where it is a link to the latest of several.
        if place.startswith(self._inside) or (self._resolve() and place.startswith(self._inside)):
            self._check(real[len(self._inside) :])
        elif not self._follows:
            raise Refused(404, "There is no such file")

    def _resolve(self) -> bool:
        """Find out where the root lies; tell whether that has changed."""
        before = self._inside
        real = os.path.realpath(self._path)
        self._inside = real if real == "/" else f"{real}/"
        return self._inside != before


def _walk(base: str, segments: list[str], flags: int) -> int:
    """Open a file, directory by directory, if no link is among them and there is one at least on the way.

    Args:
        base: The directory in which the walk begins, with a slash at its end.
        segments: The names of the directories, and that of the file.
        flags: Those for the file.

    Raises:
        IsADirectory, Refused: As of `Root.open`.
        OSError, ValueError: As of `os.open`.
    """
    directory = os.open(base + segments[0], _ON_THE_WAY)
    try:
        for segment in segments[1:-1]:
            inner = os.open(segment, _ON_THE_WAY, dir_fd=directory)
            os.close(directory)
            directory = inner
        return _open_plain(segments[-1], flags, directory)
    finally:
        os.close(directory)


def _open_plain(name: str, flags: int, directory: int | None = None) -> int:
    """Open what is no link, after a look at what it is."""
    if not flags & os.O_DIRECTORY:  # with which nothing else is opened
        mode = os.lstat(name, dir_fd=directory).st_mode
        if not stat.S_ISREG(mode):
            if stat.S_ISLNK(mode):
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
            _check_kind(mode, flags)
    return os.open(name, flags | os.O_NOFOLLOW, dir_fd=directory)


def _check_kind(mode: int, flags: int) -> None:
    """Raise unless something may be opened: a regular file, or a directory if that is wanted."""
    if stat.S_ISDIR(mode):
        if not flags & os.O_DIRECTORY:
            raise IsADirectory
    elif not stat.S_ISREG(mode):
        raise Refused(404, "There is no such file")


def _path_of(descriptor: int, path: str) -> str:
    """Return where an open file lies, without any links in between; an empty string if that cannot be told."""
    try:
        return _ask_kernel(descriptor)
    except OSError:
        return _look_up(descriptor, path)


def _ask_kernel(descriptor: int) -> str:
    if sys.platform == "darwin":
        return os.fsdecode(fcntl.fcntl(descriptor, fcntl.F_GETPATH, bytes(1024)).rstrip(b"\0"))
    real = os.readlink(f"/proc/self/fd/{descriptor}")
    if real.endswith(_REMOVED) and not os.path.lexists(real):
        return ""  # whatever its name has been
    return real


def _look_up(descriptor: int, path: str) -> str:
    """Find out by name where an open file lies, for systems that do not tell.

    Whoever exchanges files for links at the very moment may deceive it.
    """
    real = os.path.realpath(path)
    try:
        return real if os.path.samestat(os.fstat(descriptor), os.lstat(real)) else ""
    except OSError:
        return ""
