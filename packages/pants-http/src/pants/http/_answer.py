"""The head of an answer: its status line and fields. Sans-IO."""

from __future__ import annotations

import codecs
import re
import time
from collections.abc import Iterable, Mapping
from email.utils import formatdate
from http import HTTPStatus
from typing import Final, NamedTuple

# How an answer leaves the connection, as its status line and its Connection field (RFC 9112 §9.3) have it.
KEEP: Final = 0
CLOSE: Final = 1
KEEP_1_0: Final = 2
CLOSE_1_0: Final = 3

_PROTOCOLS: Final = (b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.0", b"HTTP/1.0")
_CONNECTION: Final = (b"", b"Connection: close\r\n", b"Connection: keep-alive\r\n", b"Connection: close\r\n")

_REASONS: Final = {status.value: status.phrase.encode() for status in HTTPStatus}

# RFC 9110 §15.3.5, §15.4.5: they end with their head, and say nothing of a length or a type.
_WITHOUT_CONTENT: Final = frozenset({204, 304})

_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE: Final = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_CHARSET: Final = re.compile(r';\s*charset\s*=\s*"?([^\s;"]*)', re.IGNORECASE)
# What the server sets by itself.
_OWN_FIELDS: Final = frozenset({"connection", "content-length", "content-type", "date", "server", "transfer-encoding"})

# Answers that differ in what is kept of them, at most, within one second.
_MOST_KEPT: Final = 256


class AnswerHead(NamedTuple):
    """The beginning of an answer.

    Attributes:
        prefix: Everything up to the value of Content-Length; or, where there is no content, all up to the empty line.
        charset: What a str is encoded with.
        has_length: Whether ``prefix`` goes on with the length.
        has_content: Whether content follows the head, unless it answers HEAD.
    """

    prefix: bytes
    charset: str
    has_length: bool
    has_content: bool


class AnswerHeads:
    """Makes the heads of a server's answers, and keeps them for the second that their Date tells."""

    __slots__ = ("_heads", "_until")

    def __init__(self) -> None:
        self._heads: dict[tuple[int, str, int], AnswerHead] = {}
        self._until = 0.0

    def get(self, code: int, content_type: str, ending: int, now: float) -> AnswerHead:
        """Return the head of an answer.

        Args:
            code: The status code.
            content_type: The value of Content-Type.
            ending: `KEEP` or one of its sisters.
            now: The engine's time, in seconds.

        Raises:
            TypeError: An argument is of the wrong type.
            ValueError: The code is not that of a final answer, or the type cannot stand in a header.
        """
        if now >= self._until:
            self._heads.clear()
            self._until = now + 1 - time.time() % 1  # until the next second begins
        head = self._heads.get((code, content_type, ending))
        if head is None:
            head = _make(code, content_type, ending)
            if len(self._heads) < _MOST_KEPT:
                self._heads[code, content_type, ending] = head
        return head


def _make(code: int, content_type: str, ending: int) -> AnswerHead:
    if isinstance(code, bool) or not isinstance(code, int):
        raise TypeError(f"code is an int, not {code!r}")
    if not 200 <= code <= 599:
        raise ValueError(f"code is that of a final answer, 200 to 599 (RFC 9110 §15), not {code!r}")
    check_value("content_type", content_type)
    charset = find_charset(content_type)
    prefix = b"%b %d %b\r\nServer: Pants\r\nDate: %b\r\n%b" % (
        _PROTOCOLS[ending],
        code,
        _REASONS.get(code, b""),
        formatdate(usegmt=True).encode(),
        _CONNECTION[ending],
    )
    if code in _WITHOUT_CONTENT:
        return AnswerHead(prefix, charset, False, False)
    prefix += b"Content-Type: %b\r\nContent-Length: " % content_type.encode("latin-1")
    return AnswerHead(prefix, charset, True, code != 205)  # RFC 9110 §15.3.6: 205 has none either, and says so


def find_charset(content_type: str) -> str:
    """Return the charset that a content type names, UTF-8 if it names none.

    Raises:
        ValueError: It names one that Python does not know.
    """
    match = _CHARSET.search(content_type)
    if match is None:
        return "utf-8"
    try:
        "".encode(match[1])  # not codecs.lookup(), which knows of base64 too
        return codecs.lookup(match[1]).name
    except LookupError:
        raise ValueError(f"content_type names a charset that is not known: {content_type!r}") from None


def field_lines(headers: Mapping[str, str] | Iterable[tuple[str, str]]) -> bytes:
    """Return header fields as they are sent.

    Raises:
        TypeError: A name or a value is not a str.
        ValueError: One contains what cannot stand there, a CR, LF or NUL above all; or the server sets it by itself.
    """
    lines = []
    for name, value in headers.items() if isinstance(headers, Mapping) else headers:
        if not isinstance(name, str):
            raise TypeError(f"the name of a header is a str, not {name!r}")
        if not _TOKEN.fullmatch(name):
            raise ValueError(f"the name of a header is a token (RFC 9110 §5.1), not {name!r}")
        if name.lower() in _OWN_FIELDS:
            raise ValueError(f"the header {name} is set by the server itself")
        check_value(f"the header {name}", value)
        lines.append(f"{name}: {value}\r\n")
    return "".join(lines).encode("latin-1")


def check_value(what: str, value: str) -> None:
    """Raise unless ``value`` can stand in a header field (RFC 9110 §5.5).

    Raises:
        TypeError: It is not a str.
        ValueError: It contains a control character, or one that is not of Latin-1.
    """
    if not isinstance(value, str):
        raise TypeError(f"{what} is a str, not {value!r}")
    if not _VALUE.fullmatch(value):
        raise ValueError(f"{what} cannot contain control characters, nor any beyond Latin-1: {value!r}")


def refusal(status: int, reason: str, with_content: bool) -> bytes:
    """Return the answer to a request that is refused."""
    head = _make(status, "text/plain", CLOSE)
    content = f"{status} {HTTPStatus(status).phrase}: {reason}\n".encode()
    return b"%b%d\r\n\r\n%b" % (head.prefix, len(content), content if with_content else b"")
