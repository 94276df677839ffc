"""The objects in the environ of a WSGI application: ``wsgi.errors``, and ``wsgi.file_wrapper``."""

from __future__ import annotations

import io
import logging
import os
import stat
import sys
import threading
from collections.abc import Iterable
from typing import IO, Any, Final, NamedTuple, Self

log = logging.getLogger("pants.web.wsgi")

# What is written to wsgi.errors without a line end is logged once it is so long, in characters.
_LONGEST_LINE: Final = 8192


class ErrorLog:
    """What ``wsgi.errors`` is: a text stream, each line of which is logged, at ERROR.

    Each thread has a line of its own, so that those of several do not mix.
    """

    encoding: Final = "utf-8"
    errors: Final = "backslashreplace"

    def __init__(self) -> None:
        self._lines = threading.local()
        #: Whether any line has been left open so far.
        self.is_in_use = False

    def write(self, text: str) -> int:
        """Log the lines in a text, and keep what follows the last.

        Raises:
            TypeError: It is not a str.
        """
        if not isinstance(text, str):
            raise TypeError(f"wsgi.errors takes str, not {type(text).__name__}")
        *lines, rest = (getattr(self._lines, "rest", "") + text).split("\n")
        for line in lines:
            self._log(line)
        if len(rest) > _LONGEST_LINE:
            self._log(rest)
            rest = ""
        self._lines.rest = rest
        self.is_in_use = self.is_in_use or bool(rest)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write several texts."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Log what has no line end."""
        rest = getattr(self._lines, "rest", "")
        if rest:
            self._lines.rest = ""
            self._log(rest)

    def _log(self, line: str) -> None:
        line = line.rstrip("\r")
        if not line:
            return
        if getattr(self._lines, "logging", False):
            # The log leads back here: it is common to have a logging.StreamHandler write to wsgi.errors.
            if sys.stderr is not None:
                sys.stderr.write(f"{line}\n")
            return
        self._lines.logging = True
        try:
            log.error("%s", line)
        finally:
            self._lines.logging = False


class Slice(NamedTuple):
    """What is left of a regular file.

    Attributes:
        file: The file.
        offset: Where it begins, in bytes.
        size: Its length.
    """

    file: IO[bytes]
    offset: int
    size: int

    def read(self, size: int) -> bytes:
        """Read from its start, wherever the position of the file is."""
        return os.pread(self.file.fileno(), size, self.offset)

    def duplicated(self) -> Self:
        """Return the same with a descriptor of its own, which has to be closed."""
        return self._replace(file=os.fdopen(os.dup(self.file.fileno()), "rb", buffering=0))


class FileWrapper:
    """What ``wsgi.file_wrapper`` is (PEP 3333, "Optional Platform-Specific File Handling").

    Where an application returns one of a regular file, the kernel sends from that. Any other is read in blocks.

    Args:
        filelike: An object with a method ``read``.
        block_size: The number of bytes to read at once.
    """

    def __init__(self, filelike: Any, block_size: int = 8192) -> None:
        self.filelike = filelike
        self.block_size = block_size
        if hasattr(filelike, "close"):
            self.close = filelike.close

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> bytes:
        block: bytes = self.filelike.read(self.block_size)
        if not block:
            raise StopIteration
        return block

    def slice(self) -> Slice | None:
        """What is left of the file from its position on; None if it is no regular file, open for reading."""
        file = self.filelike
        # The descriptor of a compressed file, say, holds other bytes than reading it gives.
        if not isinstance(getattr(file, "raw", file), io.FileIO):
            return None
        try:
            if file.writable():
                file.flush()
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode) or not file.readable():
                return None
            offset = file.tell()
        except (OSError, ValueError):  # reading it will tell
            return None
        return Slice(file, offset, max(0, status.st_size - offset))
