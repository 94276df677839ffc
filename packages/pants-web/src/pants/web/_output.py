"""What a view returns, as an answer (manual: "Output Handling"), and the pages for errors."""

from __future__ import annotations

import html
import re
from http import HTTPStatus
from typing import Final, NamedTuple

HTML: Final = "text/html"
TEXT: Final = "text/plain"

_CHARSET: Final = re.compile(r";\s*charset\s*=", re.IGNORECASE)


class Answer(NamedTuple):
    """What `pants.http.HTTPRequest.send_response` takes."""

    content: str | bytes
    code: int
    content_type: str
    headers: dict[str, str]


def to_answer(output: object, content_type: str | None, headers: dict[str, str]) -> Answer:
    """Make an answer of what a view has returned.

    Args:
        output: A str, bytes, or None for an answer without content.
        content_type: The type that the route was given, or None to find it out (manual: "Response Body").
        headers: The headers that the route was given.

    Raises:
        TypeError: The output is of another type.
    """
    if output is None:
        return Answer(b"", 204, TEXT, headers)
    if isinstance(output, str):
        if content_type is None:
            content_type = HTML if output[:1] == "<" and output[:9].lower().startswith(("<!doctype", "<html")) else TEXT
        return Answer(output, 200, with_charset(content_type), headers)
    if isinstance(output, (bytes, bytearray, memoryview)):
        output = bytes(output)
        if content_type is None:
            content_type = HTML if output[:9].lower().startswith((b"<!doctype", b"<html")) else TEXT
        return Answer(output, 200, content_type, headers)
    raise TypeError(f"a view returns str, bytes or None, so far; not {type(output).__name__}")


def is_content(output: object) -> bool:
    """Whether what a view has returned is nothing but content, so that it must mean it to be sent."""
    return isinstance(output, (str, bytes, bytearray, memoryview, dict, list, tuple))


def with_charset(content_type: str) -> str:
    """Return a content type that names the charset of a str: its own, or else UTF-8."""
    return content_type if _CHARSET.search(content_type) else f"{content_type}; charset=UTF-8"


def error_page(code: int, headers: dict[str, str] | None = None, details: str = "") -> Answer:
    """Make a page for an error.

    Args:
        code: The status code.
        headers: More headers.
        details: A text that is shown as it is, for whoever debugs the program.
    """
    title = f"{code} {HTTPStatus(code).phrase}"
    more = f"<pre>{html.escape(details)}</pre>\n" if details else ""
    page = f'<!DOCTYPE html>\n<html lang="en">\n<title>{title}</title>\n<h1>{title}</h1>\n{more}</html>\n'
    return Answer(page, code, "text/html; charset=UTF-8", headers or {})
