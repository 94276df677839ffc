"""What a WSGI application answers: how it is checked (PEP 3333, "The start_response() Callable"), and sent.

The functions that take a request are for the engine's thread; nothing else here knows of one.
"""

from __future__ import annotations

import functools
import logging
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from pants.http._answer import WITHOUT_CONTENT, find_charset
from pants.web._last_resort import send_page
from pants.web._pages import debug_page, error_page

if TYPE_CHECKING:
    from pants.http import HTTPRequest
    from pants.http._compression import Compression
    from pants.web._wsgi_streams import Slice

log = logging.getLogger("pants.web.wsgi")

_match_status: Final = re.compile(r"([2-5][0-9]{2})(?: [\t\x20-\x7e\x80-\xff]*)?").fullmatch
_match_name: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch
_match_value: Final = re.compile(r"[\t\x20-\x7e\x80-\xff]*").fullmatch
# More digits than that are beyond every limit.
_MOST_DIGITS: Final = 18

# What a hop decides for itself (PEP 3333, "Other HTTP Features").
_HOP_BY_HOP: Final = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "trailer",
        "trailers",
        "transfer-encoding",
        "upgrade",
    }
)

# The codes of statuses that have been found good.
_codes: dict[str, int] = {}
_MOST_CODES: Final = 64

# What a header is. Those that have been found good are kept, but for long ones, and such as may hold a secret.
_PLAIN: Final = 0
_TYPE: Final = 1
_LENGTH: Final = 2
_good: dict[tuple[str, str], int] = {}
_MOST_GOOD: Final = 512
_LONGEST_GOOD: Final = 80
_OPEN: Final = frozenset({"cache-control", "content-length", "content-type", "vary"})

# Answers that end with their heads.
_WITHOUT_CONTENT: Final = WITHOUT_CONTENT | {205}

_HTML: Final = "text/html; charset=UTF-8"


class Head(NamedTuple):
    """A status and header fields that can be sent.

    Attributes:
        code: The status code.
        fields: The fields, but Content-Length.
        length: The number in that; None if there is none.
        content_type: The value of Content-Type; None if there is none.
        has_content: Whether content follows it.
    """

    code: int
    fields: list[tuple[str, str]]
    length: int | None
    content_type: str | None
    has_content: bool

    def is_compressible(self, compression: Compression | None) -> bool:
        """Whether the server may compress the content."""
        if compression is None or any(name.lower() == "content-encoding" for name, _ in self.fields):
            return False
        return self.content_type is not None and compression.is_compressible(self.content_type)


_new: Final = tuple.__new__


def checked_head(status: Any, headers: Any, is_head: bool = False) -> Head:
    """Check what start_response() was given.

    Args:
        status: The status.
        headers: The headers.
        is_head: Whether the request is a HEAD.

    Raises:
        TypeError: Something is of the wrong type.
        ValueError: The status is none of a final answer; a header contains what cannot stand there, or is one that only
            the server can set.
    """
    code = _codes.get(status) if status.__class__ is str else None
    if code is None:
        code = _code_of(status)
    if headers.__class__ is not list and not isinstance(headers, (list, tuple)):
        if not isinstance(headers, Mapping):
            raise TypeError(f"the headers are a list of tuples of a name and a value, not {headers!r}")
        headers = headers.items()
    fields = []
    length = content_type = None
    for pair in headers:
        try:
            kind = _good.get(pair)
        except TypeError:  # what it is made of tells what is wrong with it
            kind = None
        if kind is None:
            kind = _kind_of(pair)
        if kind == _LENGTH:
            if length is not None:
                raise ValueError("the header Content-Length is given twice")
            length = int(pair[1])
            continue
        if kind == _TYPE:
            content_type = pair[1]
        fields.append(pair if pair.__class__ is tuple else tuple(pair))
    # As Head(...) does, in half the time.
    return _new(Head, (code, fields, length, content_type, not is_head and code not in _WITHOUT_CONTENT))


def _kind_of(pair: Any) -> int:
    """Check a header."""
    if not (isinstance(pair, (tuple, list)) and len(pair) == 2):
        raise TypeError(f"a header is a tuple of a name and a value, not {pair!r}")
    name, value = pair
    if not (isinstance(name, str) and isinstance(value, str)):
        raise TypeError(f"the name and the value of a header are str, unlike {name!r}: {value!r}")
    if not _match_name(name):
        raise ValueError(f"the name of a header is a token (RFC 9110 §5.1), not {name!r}")
    if not _match_value(value):
        raise ValueError(f"the header {name} has control characters, or such as Latin-1 does not have: {value!r}")
    lower = name.lower()
    if lower in _HOP_BY_HOP:
        raise ValueError(f"the header {name} is hop-by-hop, so the server's to set and not the application's")
    kind = _PLAIN
    if lower == "content-type":
        kind = _TYPE
    elif lower == "content-length":
        if not (value.isascii() and value.isdigit() and len(value) <= _MOST_DIGITS):
            raise ValueError(f"Content-Length is a number of bytes, not {value!r}")
        kind = _LENGTH
    if lower in _OPEN and len(value) <= _LONGEST_GOOD and type(pair) is tuple:
        if len(_good) == _MOST_GOOD:
            _good.clear()
        _good[pair] = kind
    return kind


def _code_of(status: Any) -> int:
    if not isinstance(status, str):
        raise TypeError(f"the status is a str like '200 OK', not {status!r}")
    match = _match_status(status)
    if match is None:
        raise ValueError(f"the status is that of a final answer, as in '200 OK', 200 to 599, not {status!r}")
    if len(_codes) < _MOST_CODES:
        _codes[status] = int(match[1])
    return int(match[1])


@functools.lru_cache(maxsize=128)
def _is_known(content_type: str) -> bool:
    """Whether `HTTPRequest.send_response` takes a Content-Type: it does not like charsets that Python has not got."""
    try:
        find_charset(content_type)
    except ValueError:
        return False
    return True


# --- Sending ----------------------------------------------------------------------------------------------------------


def send_whole(request: HTTPRequest, head: Head, content: bytes) -> None:
    """Send an answer all of whose content is there, and finish the request."""
    code, fields, length, content_type, has_content = head
    if not has_content:
        # The length of what a GET would get (RFC 9110 §8.6), so nothing is made of content that was left out.
        request._send_whole(code, fields, b"", length if length is not None or not content else len(content))
    elif length is not None and length != len(content):
        send_head(request, head)
        request.send(content)
        request.finish()
    elif content_type is not None and len(fields) == 1 and _is_known(content_type):
        request.send_response(content, code, content_type)
    elif request.connection.server.compression is None:
        request._send_whole(code, fields, content, len(content))
    else:
        send_head(request, head if length is not None else head._replace(length=len(content)))
        request.send(content)
        request.finish()


def send_head(request: HTTPRequest, head: Head) -> None:
    """Send the head of an answer; its content follows piece by piece."""
    request.send_status(head.code)
    fields = head.fields if head.length is None else [*head.fields, ("Content-Length", str(head.length))]
    request.send_headers(fields)


def send_file(request: HTTPRequest, head: Head, content: Slice) -> None:
    """Send an answer whose content is a part of a regular file, and finish the request."""
    size = content.size
    if request._begin_whole(head.code, head.fields, size) and request.connection.connected:
        request.connection.write_file(content.file, size, content.offset)
        request._count_whole()
    request._conclude()


def send_failure(request: HTTPRequest, exception: BaseException | None) -> None:
    """Answer in the place of an application that has failed; or close the connection, if its answer has begun.

    Args:
        request: The request.
        exception: What to show to the visitor; None for nothing of it.
    """
    request.connection.server.counters.failures += 1
    page = error_page(500) if exception is None else debug_page(request, exception)
    send_page(request, page, 500, lambda error: log.error("%r could not be answered", request, exc_info=error))


def send_overload(request: HTTPRequest) -> None:
    """Answer a request for which there is no room (RFC 9110 §15.6.4)."""
    request.send_response(error_page(503), 503, _HTML, {"Retry-After": "1"})
