"""What the parts of the client for tests share: that ``with`` closes them."""

from __future__ import annotations

import contextlib
from types import TracebackType
from typing import Self


class ClosedByWith:
    """Something that a ``with`` block closes at its end."""

    def close(self) -> None:
        """Be done with it."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exception: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if exception is None:
            self.close()
            return
        with contextlib.suppress(Exception):  # there is one already
            self.close()
