"""What a view returns, as an answer (manual: "Output Handling")."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, NamedTuple

from pants.http._answer import Fields, check_code, checked_fields
from pants.http.utils import HTTPHeaders

HTML: Final = "text/html"
TEXT: Final = "text/plain"
JSON: Final = "application/json"

_CHARSET: Final = re.compile(r";\s*charset\s*=", re.IGNORECASE)
_STATUS: Final = re.compile(r"([0-9]{3})(?: .*)?")
_HTML: Final = re.compile(r"\s*<(?:!doctype|html)\b", re.IGNORECASE)
_HTML_IN_BYTES: Final = re.compile(rb"\s*<(?:!doctype|html)\b", re.IGNORECASE)


class Response:
    """An answer, for a view to return (manual: "Status and Headers").

    Args:
        body: The content: whatever a view may return otherwise.
        status: The status code, or a str that begins with one, as "404 Not Found". By default 200; 204 where there is
            no body.
        headers: Header fields: a dict, or pairs of a name and a value.

    Attributes:
        body: As it was given.
        status: The status code, or None.
        headers: The header fields, as `pants.http.HTTPHeaders`.

    Raises:
        TypeError, ValueError: The status is none, or a header cannot be sent.

    Example:
        >>> from pants.web import Application, Response
        >>> app = Application()
        >>> @app.route("/made")
        ... def made(request):
        ...     response = Response({"id": 7}, 201)
        ...     response.headers["Location"] = "/made/7"
        ...     return response
    """

    __slots__ = ("body", "headers", "status")

    body: Any
    status: int | None
    headers: HTTPHeaders

    def __init__(self, body: Any = None, status: int | str | None = None, headers: Fields | None = None) -> None:
        self.body = body
        self.status = None if status is None else to_code(status)
        self.headers = HTTPHeaders(checked_fields(headers or ()))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.status or ''} {type(self.body).__name__}>"


class Answer(NamedTuple):
    """What a view has returned, understood.

    Attributes:
        content: The content; or an iterator of its pieces.
        code: The status code.
        content_type: The value of Content-Type; None for that of its first piece.
        fields: The other header fields.
    """

    content: str | bytes | Iterator[Any]
    code: int
    content_type: str | None
    fields: list[tuple[str, str]]


def to_answer(
    output: object,
    content_type: str | None = None,
    usual_fields: Iterable[tuple[str, str]] = (),
    code: int | None = None,
    default: Callable[[Any], Any] | None = None,
) -> Answer:
    """Make an answer of what a view has returned.

    Args:
        output: What it has returned.
        content_type: The type of the route's answers, or None to find it out (manual: "Response Body").
        usual_fields: Header fields of the route's answers, which the output may override.
        code: The status where the output tells none; by default 200, or 204 without content.
        default: Makes something that JSON has of what it has not.

    Raises:
        TypeError, ValueError: It cannot be sent.
    """
    body, own_code, own = _taken_apart(output)
    code = code if own_code is None else own_code
    fields = []
    for name, value in own:
        if name.lower() == "content-type":
            content_type = value
        else:
            fields.append((name, value))
    if usual_fields:
        names = {name.lower() for name, _ in fields}
        fields += [field for field in usual_fields if field[0].lower() not in names]
    if body is None:
        return Answer(b"", 204 if code is None else code, content_type or TEXT, fields)
    content, usual = _content(body, default)
    if content_type is None:
        content_type = usual
    if isinstance(content, str):
        content_type = with_charset(content_type or TEXT)
    return Answer(content, 200 if code is None else code, content_type, fields)


def _taken_apart(output: object) -> tuple[Any, int | None, list[tuple[str, str]]]:
    """Divide what a view has returned into content, status and header fields (manual: "Status and Headers")."""
    if isinstance(output, Response):
        if isinstance(output.body, Response):
            raise TypeError("the body of a Response cannot be a Response")
        return output.body, None if output.status is None else to_code(output.status), checked_fields(output.headers)
    if isinstance(output, tuple) and 2 <= len(output) <= 3 and _is_status(output[1]):
        if isinstance(output[0], Response):
            raise TypeError("a Response has a status and headers of its own: set them there")
        headers = output[2] if len(output) == 3 else None
        return output[0], to_code(output[1]), checked_fields(headers or ())
    return output, None, []


def _is_status(value: object) -> bool:
    if isinstance(value, bytes):
        value = value.decode("latin-1")
    if isinstance(value, str):
        found = _STATUS.fullmatch(value)
        return found is not None and 200 <= int(found[1]) <= 599
    return isinstance(value, int) and not isinstance(value, bool)


def to_code(status: int | str | bytes) -> int:
    """Return the code of a status.

    Raises:
        TypeError: It is neither an int, a str nor bytes.
        ValueError: It is no status of a final answer.
    """
    if isinstance(status, bytes):
        status = status.decode("latin-1")
    if isinstance(status, str):
        found = _STATUS.fullmatch(status)
        if found is None:
            raise ValueError(f"a status is an int, or begins with one, as in '404 Not Found'; not {status!r}")
        status = int(found[1])
    check_code(status)
    return status


def _content(body: Any, default: Callable[[Any], Any] | None) -> tuple[str | bytes | Iterator[Any], str | None]:
    """Return the content, and its usual type."""
    if isinstance(body, str):
        return body, type_of(body)
    if isinstance(body, (bytes, bytearray, memoryview)):
        return bytes(body), type_of(bytes(body))
    to_html = getattr(body, "to_html", None)
    if callable(to_html):
        content = to_html()
        if not isinstance(content, (str, bytes)):
            raise TypeError(f"to_html() of {type(body).__name__} returns str or bytes, not {type(content).__name__}")
        return content, HTML
    if isinstance(body, (dict, list, tuple)):
        return dump_json(body, default), JSON
    if inspect.isawaitable(body) or inspect.isasyncgen(body):
        if inspect.iscoroutine(body):
            body.close()
        raise TypeError(f"views are plain functions, and this one has returned a {type(body).__name__}")
    if isinstance(body, Iterator):
        return body, None
    return str(body), TEXT


def dump_json(value: Any, default: Callable[[Any], Any] | None = None) -> bytes:
    """Return a value as JSON (RFC 8259), in UTF-8.

    Raises:
        TypeError, ValueError: JSON has no such thing.
    """
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=default)
    try:
        return text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair, which JSON can tell by its escapes only
        return json.dumps(value, allow_nan=False, separators=(",", ":"), default=default).encode()


def type_of(content: str | bytes) -> str:
    """Tell HTML from other text, by its first tag (manual: "Response Body")."""
    match = _HTML.match(content) if isinstance(content, str) else _HTML_IN_BYTES.match(content)
    return TEXT if match is None else HTML


def is_content(output: object) -> bool:
    """Whether what a view has returned is nothing but content, so that it must mean it to be sent."""
    return isinstance(output, (str, bytes, bytearray, memoryview, dict, list, tuple, Response))


def with_charset(content_type: str) -> str:
    """Return a content type that names the charset of a str: its own, or else UTF-8."""
    return content_type if _CHARSET.search(content_type) else f"{content_type}; charset=UTF-8"


def without_surrogates(content: str | bytes, error: UnicodeEncodeError) -> str | None:
    """Return text that can be sent, for what a client has sent may come back in it.

    Args:
        content: The text.
        error: What was raised when it was sent.

    Returns:
        The text; None if the error is about something else, or it is the charset that lacks a character.
    """
    if error.encoding != "utf-8" or not isinstance(content, str) or error.object != content:
        return None
    return content.encode("utf-8", "replace").decode()
