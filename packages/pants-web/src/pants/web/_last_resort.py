"""The page for a failure, which is sent whatever else fails."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pants.http import HTTPRequest

_HTML: Final = "text/html; charset=UTF-8"
# Hooks that may fail one after another, each of which is told.
_MOST_TRIES: Final = 8


def send_page(request: HTTPRequest, page: str, code: int, tell: Callable[[Exception], object]) -> None:
    """Answer with a page; or cut the connection off, if an answer has begun that cannot be taken back.

    What the program has set for the answer that failed, cookies, is left out, and so are hooks that fail.

    Args:
        request: The request.
        page: The page.
        code: The status code.
        tell: Called with what fails meanwhile.
    """
    request.cookies_out.clear()
    for tries in range(_MOST_TRIES):
        if request.finished:
            return
        if not request._take_back():
            break
        if tries == _MOST_TRIES - 1:
            request._on_head = None
        try:
            request.send_response(page, code, _HTML)
        except Exception as exception:  # noqa: BLE001 - that of a hook
            tell(exception)
            request.cookies_out.clear()
    if not request.finished:
        request._cut_off()
