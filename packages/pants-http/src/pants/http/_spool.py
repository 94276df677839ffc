"""What is received and may be long: kept in memory, or in a temporary file."""

from __future__ import annotations

import contextlib
import io
import tempfile
import threading
from typing import IO, Any


class Spool:
    """Bytes that are kept: in memory, and beyond a size on disk.

    It may be read by several threads.

    Args:
        memory: The most bytes that are kept in memory.
    """

    __slots__ = ("_file", "_lock", "_memory", "size")

    def __init__(self, memory: int) -> None:
        # Not a SpooledTemporaryFile, which wants to be closed even where it never got to the disk.
        self._file: IO[bytes] = io.BytesIO()
        self._memory = memory
        self._lock = threading.Lock()
        self.size = 0

    def append(self, data: bytes | bytearray) -> None:
        """Keep more."""
        with self._lock:
            if self.size <= self._memory < self.size + len(data):
                content = self._file.getvalue()  # type: ignore[attr-defined]
                self._file = tempfile.TemporaryFile()  # noqa: SIM115 - closed by close()
                self._file.write(content)
            self._file.write(data)
        self.size += len(data)

    def read(self, start: int, size: int) -> bytes:
        """Return what is kept, from ``start`` on.

        Raises:
            RuntimeError: It was on disk, and has been removed.
        """
        if self._file.closed:
            raise RuntimeError("it lay on disk, and was removed when its request was finished; read it before")
        with self._lock:
            self._file.seek(start)
            data = self._file.read(size)
            self._file.seek(0, io.SEEK_END)
        return data

    def flush(self) -> None:
        """Write what is still to be written, so that a disk which is full is met now."""
        self._file.flush()

    @property
    def closed(self) -> bool:
        """Whether it lay on disk, and was closed."""
        return self._file.closed

    def close(self) -> None:
        """Remove what is on disk; what is in memory stays."""
        if not isinstance(self._file, io.BytesIO):
            with contextlib.suppress(OSError):  # what was not flushed is of no use any more
                self._file.close()


class Window(io.RawIOBase):
    """A part of a spool as a file, for reading, with a position of its own and without a descriptor."""

    def __init__(self, spool: Spool, start: int, size: int) -> None:
        self._spool = spool
        self._start = start
        self._size = size
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._next(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def readall(self) -> bytes:
        return self._next(self._size)

    def _next(self, size: int) -> bytes:
        data = self._spool.read(self._start + self._at, min(size, max(0, self._size - self._at)))
        self._at += len(data)
        return data

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        if at < 0:
            raise ValueError(f"the position is 0 or more, not {at}")
        self._at = at
        return at
