"""The head of an answer: its status line and fields. Sans-IO."""

from __future__ import annotations

import codecs
import re
import time
from collections.abc import Hashable, Iterable, Mapping
from email.utils import formatdate
from encodings.aliases import aliases
from http import HTTPStatus
from typing import Any, Final, NamedTuple

from pants.http.utils import HTTPHeaders

# How an answer leaves the connection, as its status line and its Connection field (RFC 9112 §9.3) have it.
KEEP: Final = 0
CLOSE: Final = 1
KEEP_1_0: Final = 2
CLOSE_1_0: Final = 3

_PROTOCOLS: Final = (b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.0", b"HTTP/1.0")
_CONNECTION: Final = (b"", b"Connection: close\r\n", b"Connection: keep-alive\r\n", b"Connection: close\r\n")

# As RFC 9110 §15 has them; http.HTTPStatus has older ones in some versions of Python.
_PHRASES: Final = {status.value: status.phrase for status in HTTPStatus} | {
    413: "Content Too Large",
    414: "URI Too Long",
    416: "Range Not Satisfiable",
    422: "Unprocessable Content",
}

# RFC 9110 §15.3.5, §15.4.5: they end with their head.
WITHOUT_CONTENT: Final = frozenset({204, 304})

#: A name of a field, or of a method (RFC 9110 §5.6.2).
TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE: Final = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_CHARSET: Final = re.compile(r';\s*charset\s*=\s*"?([^\s;"]*)', re.IGNORECASE)
# The names of charsets that are looked up. Python remembers each name that it was ever asked for, known or not.
KNOWN_CHARSETS: Final = frozenset({*aliases, *aliases.values(), "koi8_u", "cp874", "utf_8_sig"})
#: The fields that say how an answer is framed.
FRAMING_FIELDS: Final = frozenset({"connection", "content-length", "transfer-encoding"})
# What send_response() sets by itself.
_OWN_FIELDS: Final = FRAMING_FIELDS | {"content-type", "date", "server"}

# Answers that differ in what is kept of them, at most, within one second.
_MOST_KEPT: Final = 256

#: Header fields, as programs give them. A value is a str or an int, or a list of them for several fields.
Fields = Mapping[str, Any] | Iterable[tuple[str, Any]]


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

    def complete(self, content: bytes) -> bytes:
        """Return the whole answer, where it has a length."""
        return b"%b%d\r\n\r\n%b" % (self.prefix, len(content), content)


class AnswerHeads:
    """Makes the heads of a server's answers, and keeps them for the second that their Date tells.

    Args:
        server_name: The value of the Server field; None for no such field.

    Raises:
        TypeError: It is not a str.
        ValueError: It cannot stand in a header.
    """

    __slots__ = ("_date_line", "_heads", "_server_line", "_until", "_whole")

    def __init__(self, server_name: str | None = "Pants") -> None:
        if server_name is not None:
            check_value("server_name", server_name)
        self._server_line = b"" if server_name is None else b"Server: %b\r\n" % server_name.encode("latin-1")
        self._date_line = b""
        self._heads: dict[tuple[int, str, int], AnswerHead] = {}
        self._whole: dict[Hashable, bytes] = {}
        self._until = 0.0

    def get(self, code: int, content_type: str, ending: int, now: float) -> AnswerHead:
        """Return the head of an answer with a type and a length.

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
            self._renew(now)
        head = self._heads.get((code, content_type, ending))
        if head is None:
            head = self._make(code, content_type, ending)
            if len(self._heads) < _MOST_KEPT:
                self._heads[code, content_type, ending] = head
        return head

    def kept(self, key: Hashable, now: float) -> bytes | None:
        """Return the whole head that was kept under a key within this second, if there is one."""
        if now >= self._until:
            self._renew(now)
        return self._whole.get(key)

    def keep(self, key: Hashable, head: bytes) -> None:
        """Keep a whole head for the rest of this second."""
        if len(self._whole) < _MOST_KEPT:
            self._whole[key] = head

    def _renew(self, now: float) -> None:
        self._heads.clear()
        self._whole.clear()
        self._date_line = b"Date: %b\r\n" % formatdate(usegmt=True).encode()
        self._until = now + 1 - time.time() % 1  # until the next second begins

    def _make(self, code: int, content_type: str, ending: int) -> AnswerHead:
        check_code(code)
        check_value("content_type", content_type)
        charset = find_charset(content_type)
        prefix = status_line(code, ending) + self._server_line + self._date_line + _CONNECTION[ending]
        if code in WITHOUT_CONTENT:
            return AnswerHead(prefix, charset, False, False)
        prefix += b"Content-Type: %b\r\nContent-Length: " % content_type.encode("latin-1")
        return AnswerHead(prefix, charset, True, code != 205)  # RFC 9110 §15.3.6: 205 has none either, and says so

    def with_fields(self, code: int, ending: int, fields: list[tuple[str, str]], now: float) -> bytes:
        """Return the head of an answer with other fields, which have been checked; without the empty line."""
        if now >= self._until:
            self._renew(now)
        names = [name.lower() for name, _ in fields]
        lines = b"".join(
            [
                status_line(code, ending),
                b"" if "server" in names else self._server_line,
                b"" if "date" in names else self._date_line,
                b"" if "connection" in names else _CONNECTION[ending],
            ]
        )
        return lines + encoded(fields)


def encoded(fields: list[tuple[str, str]]) -> bytes:
    """Return header fields, which have been checked, as they are sent."""
    # Not f-strings: a subclass of str could format itself as something else than what was checked.
    return "".join([part for name, value in fields for part in (name, ": ", value, "\r\n")]).encode("latin-1")


def status_line(code: int, ending: int) -> bytes:
    """Return a status line, with a reason where the code is known (RFC 9112 §4)."""
    return b"%b %d %b\r\n" % (_PROTOCOLS[ending], code, _PHRASES.get(code, "").encode())


def refusal_content(status: int, reason: str) -> bytes:
    """Return the content of an answer that refuses a request."""
    return f"{status} {_PHRASES.get(status, '')}: {reason}\n".encode(errors="backslashreplace")


def check_code(code: int, lowest: int = 200) -> None:
    """Raise unless ``code`` can be the status of an answer.

    Raises:
        TypeError: It is not an int.
        ValueError: It is not between ``lowest`` and 599.
    """
    if isinstance(code, bool) or not isinstance(code, int):
        raise TypeError(f"code is an int, not {code!r}")
    if not lowest <= code <= 599:
        what = "a final answer" if lowest == 200 else "an answer"
        raise ValueError(f"code is that of {what}, {lowest} to 599 (RFC 9110 §15), not {code!r}")


def find_charset(content_type: str) -> str:
    """Return the charset that a content type names, UTF-8 if it names none, as Python calls it.

    Raises:
        ValueError: It names one that Python does not know.
    """
    name = named_charset(content_type)
    return "utf-8" if name is None else codecs.lookup(name).name


def named_charset(content_type: str) -> str | None:
    """Return the charset that a content type names, as it stands there; None if it names none.

    Raises:
        ValueError: It names one that Python does not know.
    """
    match = _CHARSET.search(content_type)
    if match is None:
        return None
    try:
        if match[1].lower().replace("-", "_") not in KNOWN_CHARSETS:
            raise LookupError
        "".encode(match[1])  # not codecs.lookup(), which knows of base64 too
    except (LookupError, ValueError):
        raise ValueError(f"content_type names a charset that is not known: {content_type!r}") from None
    return match[1]


def checked_fields(headers: Fields) -> list[tuple[str, str]]:
    """Return header fields one by one.

    Raises:
        TypeError: A name is not a str, or a value neither a str nor an int.
        ValueError: One contains what cannot stand there, a CR, LF or NUL above all.
    """
    if isinstance(headers, HTTPHeaders):
        pairs: Iterable[tuple[str, Any]] = [(name, headers.get_list(name)) for name in headers]
    else:
        pairs = headers.items() if isinstance(headers, Mapping) else headers
    fields = []
    for pair in _each(pairs):
        try:
            name, values = pair
        except (TypeError, ValueError):
            raise TypeError(f"headers are a dict, or pairs of a name and a value, not {pair!r}") from None
        if not isinstance(name, str):
            raise TypeError(f"the name of a header is a str, not {name!r}")
        if not TOKEN.fullmatch(name):
            raise ValueError(f"the name of a header is a token (RFC 9110 §5.1), not {name!r}")
        for value in values if isinstance(values, (list, tuple)) else (values,):
            if isinstance(value, int) and not isinstance(value, bool):
                value = str(value)
            check_value(f"the header {name}", value)
            fields.append((name, value))
    return fields


def _each(pairs: Any) -> Iterable[Any]:
    try:
        return list(pairs)
    except TypeError:
        raise TypeError(f"headers are a dict, or pairs of a name and a value, not {pairs!r}") from None


def own_fields_refused(headers: Fields) -> list[tuple[str, str]]:
    """Return header fields one by one, for an answer whose framing and type are told otherwise.

    Raises:
        TypeError: As `checked_fields`.
        ValueError: As `checked_fields`; or the server sets one by itself.
    """
    fields = checked_fields(headers)
    for name, _ in fields:
        if name.lower() in _OWN_FIELDS:
            raise ValueError(
                f"the header {name} is set by the server in send_response(); send_status(), send_headers() and send() "
                "leave some of that to the program"
            )
    return fields


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
