"""Errors that are answers (manual: "Exceptions", "Helper Functions"): pages for visitors, and redirects."""

from __future__ import annotations

import html
import re
import sys
from typing import TYPE_CHECKING, Final, NoReturn
from urllib.parse import quote, urljoin, urlsplit

from pants.http import Refused
from pants.http._answer import Fields, check_code, checked_fields
from pants.http.utils import HTTPHeaders
from pants.web import _pages
from pants.web._output import Response
from pants.web._urls import current_application, current_request

if TYPE_CHECKING:
    from pants.http import HTTPRequest

__all__ = ["HTTPException", "HTTPTransparentRedirect", "abort", "all_or_404", "error", "redirect"]

# RFC 3986 §2, all that a URL is made of, and the % of what is encoded already.
_URL: Final = "!#$%&'()*+,/:;=?@[]~-._"
_SCHEME: Final = re.compile("[a-z][a-z0-9+.-]*")
# Stands for the host of a request where a reference is resolved, whatever its path looks like.
_BASE: Final = "http://host"


class HTTPException(Exception):
    """Has the application answer with an error page (manual: "HTTPException").

    It may be raised in views, in hooks and in converters.

    Args:
        status: The status code, 200 to 599.
        message: A text for the page, in the place of the usual one.
        headers: More headers.

    Raises:
        TypeError, ValueError: The status is none, or a header cannot be sent.

    Example:
        >>> from pants.web import Application, HTTPException
        >>> app = Application()
        >>> @app.route("/teapot")
        ... def teapot(request):
        ...     raise HTTPException(418, "Short and stout")
    """

    def __init__(self, status: int = 404, message: str | None = None, headers: Fields | None = None) -> None:
        check_code(status)
        if message is not None and not isinstance(message, str):
            raise TypeError(f"message is a str, not {message!r}")
        super().__init__(status, message)
        self.status = status
        self.message = message
        self.headers = HTTPHeaders(checked_fields(headers or ()))

    def __str__(self) -> str:
        return f"{self.status}{f': {self.message}' if self.message else ''}"


class HTTPTransparentRedirect(Exception):
    """Has the application serve a request as if it had been for another URL (manual: "HTTPTransparentRedirect").

    The client does not learn of it. The method and the content stay.

    Args:
        url: The URL: a path, with a query or without; relative to that of the request, or whole. What a URL cannot
            contain is percent-encoded.

    Raises:
        TypeError: It is not a str.
        ValueError: It is malformed.
    """

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.url = to_url(url)
        urlsplit(self.url)  # which raises

    def resolve(self, base: str) -> str:
        """Return the target of a request in the place of another one."""
        url = self.url.partition("#")[0]
        if not base.startswith("/"):  # the absolute form (RFC 9112 §3.2.2)
            return urljoin(base, url)
        return url if url.startswith("/") else urljoin(f"{_BASE}{base}", url).removeprefix(_BASE)


def to_url(url: str) -> str:
    """Return a URL in plain characters (RFC 3987 §3.1).

    Raises:
        TypeError: It is not a str.
    """
    if not isinstance(url, str):
        raise TypeError(f"a URL is a str, not {url!r}")
    return quote(url, safe=_URL, errors="replace")


def abort(status: int = 404, message: str | None = None, headers: Fields | None = None) -> NoReturn:
    """Raise an `HTTPException`, to answer with an error page (manual: "abort").

    Args:
        status: The status code, 200 to 599.
        message: A text for the page, in the place of the usual one.
        headers: More headers.

    Raises:
        HTTPException: Always.
        TypeError, ValueError: As of `HTTPException`.
    """
    raise HTTPException(status, message, headers)


def all_or_404(*args: object) -> None:
    """Raise a 404 unless all arguments are true (manual: "all_or_404").

    Raises:
        HTTPException: One is not.
    """
    if not all(args):
        abort(404)


def error(
    message: str | int | None = None,
    status: int | None = None,
    headers: Fields | None = None,
    request: HTTPRequest | None = None,
    debug: bool | None = None,
) -> Response:
    """Make a simple error page; mostly one will rather call `abort` (manual: "error").

    Args:
        message: A text for the page; or the status, where that is all there is to say.
        status: The status code, 404 by default.
        headers: More headers.
        request: The request, the current one by default; for ``debug``.
        debug: Whether the page shows the exception that is being handled, if there is one, with all that is known of
            it; never for the public. By default as the application says, in whose view this is called.

    Returns:
        The page, for a view to return.

    Raises:
        TypeError, ValueError: The status is none, or a header cannot be sent.
    """
    if isinstance(message, int) and status is None:
        message, status = None, message
    exception = HTTPException(404 if status is None else status, message, headers)  # type: ignore[arg-type]
    if request is None:
        request = current_request()
    if debug is None:
        application = current_application()
        debug = application is not None and application.debug
    return error_response(exception, request, debug, sys.exc_info()[1])


def error_response(
    exception: HTTPException, request: HTTPRequest | None, debug: bool, cause: BaseException | None
) -> Response:
    """Make the page for an error.

    Args:
        exception: The error.
        request: The request, if it is known.
        debug: Whether to show what has led to it.
        cause: That, if it is known.
    """
    if isinstance(cause, HTTPException):
        cause = cause.__cause__
    if debug and request is not None and cause is not None and not isinstance(cause, Refused):
        response = Response(_pages.debug_page(request, cause, exception.status), exception.status, exception.headers)
        response.headers["Cache-Control"] = "no-store"
        return response
    return Response(_pages.error_page(exception.status, exception.message), exception.status, exception.headers)


def redirect(url: str, status: int = 302, request: HTTPRequest | None = None) -> Response:
    """Make an answer that sends the client to another URL (manual: "redirect").

    Args:
        url: The URL: a path, or relative to that of the request, or whole. What a URL cannot contain is
            percent-encoded. Where it comes from a visitor, see first that it leads to your own site.
        status: The status code: 301, 302, 303, 307 or 308.
        request: The request. With it, the URL that is sent is a whole one.

    Returns:
        The answer, for a view to return.

    Raises:
        TypeError: ``url`` is not a str, or ``status`` not an int.
        ValueError: The status is none that redirects; or, with a request, ``url`` is malformed.
    """
    check_code(status)
    if status not in (301, 302, 303, 307, 308):
        raise ValueError(f"status is that of a redirect, 301, 302, 303, 307 or 308 (RFC 9110 §15.4), not {status}")
    url = to_url(url)
    if request is not None:
        url = urljoin(request.full_url, url)
    link = html.escape(url)
    scheme = url.partition(":")[0].lower()
    if not _SCHEME.fullmatch(scheme) or scheme in ("http", "https"):  # not javascript, for one
        link = f'<a href="{link}">{link}</a>'
    page = f'<!DOCTYPE html>\n<html lang="en">\n<title>{status}</title>\n<p>{link}</p>\n</html>\n'
    return Response(page, status, {"Location": url})
