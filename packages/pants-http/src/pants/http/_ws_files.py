"""Files that are sent masked, as a client has to (RFC 6455 §5.3)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pants._send_queue import FileSlice, Sending
from pants.http._ws_frames import apply_mask


def read_all(item: FileSlice) -> Iterator[bytes]:
    """Read a part of a file, piece by piece.

    Raises:
        FileShrunk, OSError, TypeError: As of `FileSlice.read`.
    """
    while item.size:
        yield item.read()


class MaskedSlice(FileSlice):
    """A part of a file that is masked while it is read; the kernel cannot send it directly.

    Args:
        sfile, nbytes, offset: As for `FileSlice`.
        key: The masking key.

    Raises:
        TypeError, ValueError: As of `FileSlice`.
    """

    __slots__ = ("_key",)

    def __init__(self, sfile: Any, nbytes: int, offset: int, key: bytes) -> None:
        super().__init__(sfile, nbytes, offset)
        self._key = key

    def send_to(self, sock: Sending) -> int | None:
        """See `FileSlice`."""
        return None

    def read(self) -> bytes:
        """See `FileSlice`."""
        data = super().read()
        key = self._key
        turn = len(data) & 3
        self._key = key[turn:] + key[:turn]
        return apply_mask(data, key)
