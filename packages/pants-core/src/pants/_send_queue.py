"""What a stream has still to send: bytes, slices of files, and the point at which TLS begins.

A queue is a plain list, so that the common case (one bytes object, taken whole by the kernel) costs next to nothing;
`Transport` handles that case itself and comes here for the rest.
"""

from __future__ import annotations

import errno
import io
import os
import stat
import sys
from typing import Any, Final, Protocol

from pants.errors import FileFailed, FileShrunk

# Small pieces are joined up to this size, so that a burst of them costs one system call and one segment.
JOIN_SIZE: Final = 65536
# What is read from a file at once where the kernel cannot send from it directly.
CHUNK_SIZE: Final = 65536
# What one channel may send in one go before others have their turn.
TURN_SIZE: Final = 4 * 1024 * 1024


# What sendfile(2) says where it does not work for a file system or a kind of socket.
_NO_SENDFILE: Final = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSOCK, errno.EBADF})


class Sending(Protocol):
    """The part of a socket that is needed here."""

    def send(self, data: Any, /) -> int: ...

    def fileno(self) -> int: ...


class StartTLS:
    """What is behind it in a queue is sent once the TLS handshake is over."""


class SharedFile:
    """A file descriptor of which several slices are sent: duplicated once, and closed with the last of them.

    Args:
        descriptor: The descriptor to duplicate.

    Raises:
        OSError: There are no descriptors left.
    """

    __slots__ = ("_descriptor", "_users")

    def __init__(self, descriptor: int) -> None:
        self._descriptor = os.dup(descriptor)
        self._users = 1  # whoever has made it

    def fileno(self) -> int:
        """The descriptor."""
        return self._descriptor

    def retain(self) -> None:
        """There is one more user of it."""
        self._users += 1

    def release(self) -> None:
        """One user has done with it."""
        self._users -= 1
        if not self._users:
            os.close(self._descriptor)


class FileSlice:
    """A part of a file: of a descriptor of our own (a duplicate), or of a file object that has none.

    Args:
        sfile: A file object opened in binary mode, or anything with ``fileno()`` that leads to a regular file.
        nbytes: The number of bytes; 0 for all from ``offset`` on.
        offset: From the start of the file, in bytes.

    Raises:
        TypeError: ``sfile`` is not a file object, or one of text; a number is not an int.
        ValueError: A number is negative or beyond the end of the file; the descriptor is not of a regular file; the
            file object is closed.
    """

    __slots__ = ("_fd", "_file", "_seekable", "_shared", "offset", "size")

    def __init__(self, sfile: Any, nbytes: int, offset: int) -> None:
        for name, value in (("nbytes", nbytes), ("offset", offset)):
            if isinstance(value, bool) or not isinstance(value, int):
                raise TypeError(f"{name} is a number of bytes, not {value!r}")
            if value < 0:
                raise ValueError(f"{name} is 0 or more, not {value}")
        self._fd = -1
        self._shared: SharedFile | None = None
        self._file: Any = None
        self._seekable = False
        if isinstance(sfile, io.TextIOBase) or hasattr(sfile, "encoding"):
            raise TypeError(f"{sfile!r} holds text; a stream sends bytes, so open the file in binary mode")
        if not getattr(sfile, "readable", lambda: True)():
            raise ValueError(f"{sfile!r} is not open for reading")
        fd = _descriptor(sfile)
        if fd is None:
            end = self._open_object(sfile, nbytes, offset)
        else:
            end = self._open_descriptor(sfile, fd)
        if offset + nbytes > end:
            self.close()
            raise ValueError(f"the file ends at byte {end}, before the {offset + nbytes} that were asked for")
        self.offset = offset
        self.size = nbytes or end - offset

    def _open_descriptor(self, sfile: Any, fd: int) -> int:
        if getattr(sfile, "writable", bool)():
            sfile.flush()  # what the caller wrote to it belongs to the file
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise ValueError(f"{sfile!r} is not a regular file; read from it and use write()")
        if isinstance(sfile, SharedFile):
            sfile.retain()
            self._shared, self._fd = sfile, fd
        else:
            self._fd = os.dup(fd)
        return status.st_size

    def _open_object(self, sfile: Any, nbytes: int, offset: int) -> int:
        if not callable(getattr(sfile, "read", None)):
            raise TypeError(f"sfile is an open file, not {sfile!r}")
        self._file = sfile
        self._seekable = hasattr(sfile, "seekable") and sfile.seekable()
        if self._seekable:
            try:
                return int(sfile.seek(0, os.SEEK_END))
            except (OSError, ValueError):  # compressed files do not know their size
                offset = 0
        if offset or not nbytes:
            raise ValueError(
                f"the size of {sfile!r} cannot be found out: give nbytes, and offset only where it can seek"
            )
        return sys.maxsize

    def send_to(self, sock: Sending) -> int | None:
        """Have the kernel send from the file.

        Returns:
            The number of bytes it took, or None where it cannot: the file has no descriptor, or is of a kind that it
            does not send from.

        Raises:
            FileShrunk: The file has ended before its time.
            OSError: As of `os.sendfile`.
        """
        if self._fd < 0:
            return None
        try:
            sent = os.sendfile(sock.fileno(), self._fd, self.offset, min(self.size, TURN_SIZE))
        except OSError as error:
            if error.errno in _NO_SENDFILE:
                return None
            raise
        self._advance(sent)
        return sent

    def read(self) -> bytes:
        """The next piece.

        Raises:
            FileShrunk: The file has ended before its time.
            TypeError: The file object gave something that is not bytes.
        """
        wanted = min(self.size, CHUNK_SIZE)
        if self._fd >= 0:
            data = os.pread(self._fd, wanted, self.offset)
        else:
            if self._seekable:
                self._file.seek(self.offset)
            data = self._file.read(wanted)
            if not isinstance(data, bytes):
                raise TypeError(f"{self._file!r} gave {type(data).__name__}, not bytes")
        self._advance(len(data))
        return data

    def _advance(self, count: int) -> None:
        if not count and self.size:
            raise FileShrunk(f"a file ended {self.size} bytes before the size that it had when it was queued")
        self.offset += count
        self.size -= count

    def close(self) -> None:
        """Give the descriptor back."""
        self._file = None
        if self._shared is not None:
            self._shared.release()
            self._shared = None
        elif self._fd >= 0:
            os.close(self._fd)
        self._fd = -1


Item = bytes | memoryview | FileSlice | StartTLS


def _descriptor(sfile: Any) -> int | None:
    """The descriptor behind a file object, or None where there is none that holds the same bytes.

    A compressed file, say, has a descriptor too, and reads as something else.
    """
    if isinstance(sfile, io.IOBase) and not isinstance(getattr(sfile, "raw", sfile), io.FileIO):
        return None
    try:
        fd = sfile.fileno()
    except (AttributeError, io.UnsupportedOperation):
        return None
    return fd if isinstance(fd, int) and fd >= 0 else None


def queued_size(queue: list[Item]) -> int:
    """The number of bytes in a queue."""
    total = 0
    for item in queue:
        if isinstance(item, FileSlice):
            total += item.size
        elif not isinstance(item, StartTLS):
            total += len(item)
    return total


def clear(queue: list[Item]) -> None:
    """Drop everything in a queue."""
    for item in queue:
        if isinstance(item, FileSlice):
            item.close()
    queue.clear()


def send_from(queue: list[Item], sock: Sending, *, secure: bool) -> None:
    """Send from the head of a queue until it is empty, TLS is to begin, or a turn's worth has gone.

    Args:
        queue: What was sent is taken out of it.
        sock: A socket that does not block.
        secure: Whether the socket speaks TLS. Then the kernel cannot send from files; and OpenSSL, given a large piece,
            says nothing before all of it has gone, so it is given small ones. One that it did not take has to be the
            start of what it is given next.

    Raises:
        OSError: As of `socket.send`: BlockingIOError (or `ssl.SSLWantWriteError`) when the socket takes no more.
        FileShrunk: A file ended early. Its slice has been taken out.
    """
    budget = TURN_SIZE
    while queue and budget > 0:
        item = queue[0]
        if isinstance(item, StartTLS):
            return
        if isinstance(item, FileSlice):
            budget -= _send_file(queue, item, sock, not secure)
        else:
            budget -= _send_bytes(queue, sock, CHUNK_SIZE if secure else sys.maxsize)


def _send_file(queue: list[Item], item: FileSlice, sock: Sending, kernel_files: bool) -> int:
    sent = 0
    try:
        if item.size:
            taken = item.send_to(sock) if kernel_files else None
            if taken is None:
                queue.insert(0, _read_from(item))
            else:
                sent = taken
    except FileShrunk:
        item.size = 0
        raise
    finally:
        if not item.size:
            queue.remove(item)
            item.close()
    return sent


def _read_from(item: FileSlice) -> bytes:
    """Read from a file. Where that fails nothing of it is sent any more."""
    try:
        return item.read()
    except OSError as error:  # which is not to be taken for the connection's own
        item.size = 0
        raise FileFailed(f"a file could not be read while it was being sent: {error}") from error
    except Exception:
        item.size = 0
        raise


def _send_bytes(queue: list[Item], sock: Sending, most: int) -> int:
    item = queue[0]
    if len(queue) > 1 and len(item) < JOIN_SIZE:  # type: ignore[arg-type]
        item = _join(queue)
    sent = sock.send(item if len(item) <= most else memoryview(item)[:most])  # type: ignore[arg-type]
    if sent < len(item):  # type: ignore[arg-type]
        queue[0] = memoryview(item)[sent:]  # type: ignore[arg-type]
    else:
        del queue[0]
    return sent


def _join(queue: list[Item]) -> bytes | memoryview:
    """Make the small pieces at the head into one, which stands in their place: a partial send goes on from it."""
    size = count = 0
    for item in queue:
        if isinstance(item, (FileSlice, StartTLS)) or size + len(item) > JOIN_SIZE:
            break
        size += len(item)
        count += 1
    if count > 1:
        queue[:count] = [b"".join(queue[:count])]  # type: ignore[arg-type]
    return queue[0]  # type: ignore[return-value]
