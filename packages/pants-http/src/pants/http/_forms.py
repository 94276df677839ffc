"""Queries and forms: what `HTTPRequest.get`, ``post`` and ``files`` are made of (manual: "HTTPRequest"). Sans-IO.

multipart's parser takes a body apart into parts; what a part may say of itself, and where its content goes, is here.
The contents of all files of a form lie one after another in one temporary file, in memory while it is small. So a form
takes one file descriptor at most and no more memory than one small file, however many files it has.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator, MutableMapping
from typing import Any, Final, NamedTuple

from multipart import (  # type: ignore[import-untyped]
    MultipartError,
    MultipartSegment,
    ParserLimitReached,
    PushMultipartParser,
)

from pants.http._answer import KNOWN_CHARSETS
from pants.http._limits import Limits
from pants.http._refused import Refused
from pants.http._spool import Spool, Window
from pants.http.utils import HTTPHeaders

# The most header fields of a part. RFC 7578 §4.8 knows of three, and has all others ignored.
_MOST_PART_HEADERS: Final = 16
# The header sections of all parts together may be as long as so many of the longest.
_MOST_HEADER_SECTIONS: Final = 128

_NAME: Final = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"  # a token (RFC 9110 §5.6.2)
_IS_TOKEN: Final = re.compile(_NAME).fullmatch
# RFC 9110 §5.6.6; there may be empty ones. Within quotes, a backslash takes away what the next character means ...
_PARAMETER: Final = re.compile(rf'[ \t]*;[ \t;]*+(?:({_NAME})=(?:({_NAME})|"((?:[^"\\]|\\.)*+)"))?')
# ... but not in what browsers send, where a filename may end with one (HTML, "multipart/form-data encoding algorithm").
_BROWSER_PARAMETER: Final = re.compile(rf'[ \t]*;[ \t;]*+(?:({_NAME})=(?:({_NAME})|"([^"]*)"))?')
# RFC 2046 §5.1.1: bchars, at most 70 of them, of which the last is not a space.
_IS_BOUNDARY: Final = re.compile(r"[0-9A-Za-z'()+_,\-./:=? ]{0,69}[0-9A-Za-z'()+_,\-./:=?]").fullmatch
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_CONTROL_BUT_TAB: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f]")

_MARKS: Final = "&=+%-"

_ESCAPES: Final = re.compile(rb"(?:%[0-9A-Fa-f]{2}){1,1000}+")


def parse_query(text: str, limits: Limits) -> dict[str, list[str]]:
    """Parse the query of a URL, as UTF-8; fields without a value are left out (manual: "get").

    Args:
        text: The query as it came, each character standing for a byte, without the question mark.
        limits: Of which ``form_fields`` counts.

    Raises:
        Refused: There are too many fields: 414, for the target is longer than is interpreted (RFC 9110 §15.5.15).
    """
    return _parse_pairs(
        text.encode("latin-1", "replace"), "utf-8", limits, Refused(414, "The query has too many fields")
    )


def is_urlencoded(content_type: str) -> bool:
    """Whether a body of this type is for `parse_urlencoded`."""
    return _media_type(content_type) == "application/x-www-form-urlencoded"


def parse_urlencoded(body: bytes, content_type: str, limits: Limits) -> dict[str, list[str]]:
    """Parse a urlencoded form; fields without a value are left out (manual: "post").

    Args:
        body: The body of the request.
        content_type: The value of Content-Type. Its charset counts if it is known and an extension of ASCII.
        limits: Of which ``form_fields`` and ``form_memory`` count.

    Raises:
        Refused: It is too long, or there are too many fields (413).
    """
    if len(body) > limits.form_memory:
        raise Refused(413, "The form is too large")
    return _parse_pairs(body, _charset_of(content_type, "utf-8"), limits, Refused(413, "The form has too many fields"))


def _parse_pairs(data: bytes, charset: str, limits: Limits, too_many: Refused) -> dict[str, list[str]]:
    # Not urllib.parse.parse_qs(), whose memory for what is percent-encoded is a hundred times what was sent.
    if data.count(b"&") >= limits.form_fields:
        raise too_many
    fields: dict[str, list[str]] = {}
    for pair in data.split(b"&"):
        name, _, value = pair.partition(b"=")
        if value:
            fields.setdefault(_decoded(name, charset), []).append(_decoded(value, charset))
    return fields


def _decoded(data: bytes, charset: str) -> str:
    data = data.replace(b"+", b" ")
    return (_unescaped(data) if b"%" in data else data).decode(charset, "replace")


def _unescaped(data: bytes) -> bytearray:
    # Not re.sub(), which keeps an object for each piece until it has all.
    unescaped = bytearray()
    at = 0
    for escapes in _ESCAPES.finditer(data):
        start, end = escapes.span()
        unescaped += data[at:start]
        unescaped += bytes.fromhex(data[start:end].replace(b"%", b"").decode())
        at = end
    unescaped += data[at:]
    return unescaped


def boundary_of(content_type: str) -> bytes | None:
    """Return the boundary of a multipart form; None if the type is another one.

    Raises:
        Refused: There is no boundary, or none that RFC 2046 §5.1.1 allows (400). One with other characters than those
            of a token stands in quotes, as said there.
    """
    if _media_type(content_type) != "multipart/form-data":
        return None
    boundary = (_parameters(content_type, _PARAMETER) or {}).get("boundary", "")
    if not _IS_BOUNDARY(boundary):
        raise Refused(400, "The multipart form has no valid boundary")
    return boundary.encode()


def _media_type(content_type: str) -> str:
    return content_type.partition(";")[0].strip(" \t").lower()


def _parameters(value: str, pattern: re.Pattern[str]) -> dict[str, str] | None:
    """Return the parameters of a field by their names in lower case; None if they are malformed, or one comes twice."""
    found: dict[str, str] = {}
    _, mark, rest = value.partition(";")
    text, at = mark + rest, 0
    while match := pattern.match(text, at):
        at = match.end()
        name, token, quoted = match.groups()
        if name is None:
            continue
        if name.lower() in found:
            return None
        if token is None and pattern is _PARAMETER:
            quoted = re.sub(r"\\(.)", r"\1", quoted)
        found[name.lower()] = quoted if token is None else token
    return None if text[at:].strip(" \t") else found


def _charset_of(content_type: str, default: str) -> str:
    return _known_charset((_parameters(content_type, _PARAMETER) or {}).get("charset", default))


def _known_charset(charset: str) -> str:
    """Return the charset if it is known and an extension of ASCII, UTF-8 if not.

    No form comes in UTF-16 or EBCDIC; UTF-7 is what nobody reads any more, for good reasons.
    """
    name = charset.lower().replace("-", "_")
    if name in KNOWN_CHARSETS:
        try:
            if _MARKS.encode().decode(name, "replace") == _MARKS:
                return name
        except LookupError:
            pass  # base64 and its like; or it is for another platform
    return "utf-8"


class _Later(NamedTuple):
    """Stands for an item that is made at first access."""

    make: Callable[[], object]


class UploadedFile(dict[str, Any]):
    """A file of `HTTPRequest.files`, as a dictionary (manual: "files").

    ``filename``: Its name, a str, without any directories the client may have told, be they separated by slashes or by
    backslashes. It may be empty.

    ``content_type``: What the client says it is; text/plain if it says nothing (RFC 7578 §4.4).

    ``body``: The content, as bytes. It is read at first access; for what may be large there is ``file``.

    ``file``: A binary file to read it from, with a position of its own. It has no descriptor: the files of a form share
    one. It can be read until the request is finished.

    ``headers``: The headers of the part, `HTTPHeaders`.
    """

    __slots__ = ()

    def __init__(self, filename: str, headers: HTTPHeaders, spool: Spool, start: int, size: int) -> None:
        super().__init__(
            filename=filename,
            content_type=headers.get("content-type", "text/plain"),
            body=_Later(lambda: spool.read(start, size)),
            file=_Later(lambda: io.BufferedReader(Window(spool, start, size))),
            headers=headers,
        )

    def __getitem__(self, key: str) -> Any:
        value = super().__getitem__(key)
        if isinstance(value, _Later):
            value = self[key] = value.make()
        return value

    # dict's own methods take values without asking __getitem__. So does dict(self), unless there is an __iter__.
    def __iter__(self) -> Iterator[str]:
        return super().__iter__()

    get = MutableMapping.get  # type: ignore[assignment]
    items = MutableMapping.items  # type: ignore[assignment]
    values = MutableMapping.values  # type: ignore[assignment]
    pop = MutableMapping.pop
    popitem = MutableMapping.popitem
    setdefault = MutableMapping.setdefault
    __eq__ = MutableMapping.__eq__
    __ne__ = object.__ne__
    __hash__ = None

    def copy(self) -> dict[str, Any]:
        return dict(self)

    def __or__(self, other: Any) -> Any:
        return dict(self) | other

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.get('filename')!r}>"


class _Part(NamedTuple):
    """What the headers of a part say; a file has a ``filename``."""

    name: str
    filename: str | None
    headers: HTTPHeaders


class MultipartForm:
    """Takes a multipart form apart as it arrives (RFC 7578).

    Fields are kept in memory, files in a temporary file, which is on disk when the files together are longer than
    ``limits.spool_size``. A part is a file if it has a ``filename``, even an empty one; but what a browser sends for a
    file input that was left empty, neither name nor content, is left out. Only ``filename`` counts, not ``filename*``
    (§4.2). Of what surrounds the parts, preamble and epilogue are ignored (RFC 2046 §5.1.1). Padding after a boundary
    is refused: no transport of HTTP adds any.

    Args:
        boundary: As `boundary_of` finds it.
        limits: What the form may take.
        charset: That of fields which tell none of their own. Names are in UTF-8 (RFC 7578 §5.1).

    Attributes:
        fields: The values of the fields that are complete, by name.
        files: The files that are complete, by name.
    """

    __slots__ = (
        *("_boundary", "_charset", "_content", "_field_count", "_fields_size", "_headers_size", "_held", "_limits"),
        *("_parser", "_part", "_part_count", "_spool", "_start", "fields", "files"),
    )

    def __init__(self, boundary: bytes, limits: Limits, charset: str = "utf-8") -> None:
        self.fields: dict[str, list[str]] = {}
        self.files: dict[str, list[UploadedFile]] = {}
        self._boundary = b"--" + boundary
        self._limits = limits
        self._charset = _known_charset(charset)
        self._parser = PushMultipartParser(
            boundary,
            max_header_size=limits.part_headers,
            max_header_count=_MOST_PART_HEADERS,
            header_charset="utf-8",
        )
        # The end of the preamble, in which the first boundary may have begun; it is at the beginning of a line, and
        # that the body is. None when it has been found.
        self._held: bytes | None = b"\r\n"
        self._spool = Spool(limits.spool_size)
        self._part = _Part("", None, HTTPHeaders())  # the one that is arriving
        self._content = bytearray()  # of a field
        self._start = 0  # of a file, in the spool
        self._part_count = self._field_count = self._fields_size = self._headers_size = 0

    def feed(self, data: bytes) -> None:
        """Take the next piece of the body.

        Raises:
            Refused: It is malformed (400), its content is encoded (415), it is too large or has too many parts (413),
                or there is too much in the headers of its parts (431). Nothing can be fed after that.
            OSError: A file cannot be kept on disk.
        """
        if self._held is not None:
            data = self._skip_preamble(data)
        if not data:
            return
        try:
            for event in self._parser.parse(data):
                if event is None:
                    self._end_part()
                elif isinstance(event, MultipartSegment):
                    self._begin_part(event.headerlist)
                else:
                    self._take(event)
        except ParserLimitReached:  # it has no other limits than those of the headers
            raise Refused(431, "A part of the form has too much in its headers") from None
        except MultipartError as error:
            raise Refused(400, f"The form is malformed: {error.args[0]}") from None

    def finish(self) -> None:
        """Tell that the body has ended.

        Raises:
            Refused: It is incomplete (400).
        """
        try:
            self._parser.close()
        except MultipartError:
            raise Refused(400, "The form is incomplete") from None

    def close(self) -> None:
        """Let go of the files. It may be called at any time, and more than once."""
        self._parser.close(check_complete=False)
        self._spool.close()

    def _skip_preamble(self, data: bytes) -> bytes:
        """Return the data from the first boundary on."""
        assert self._held is not None
        data = self._held + data
        at = data.find(b"\r\n" + self._boundary)
        if at < 0:
            self._held = data[-len(self._boundary) - 1 :]
            return b""
        self._held = None
        return data[at + 2 :]

    def _begin_part(self, fields: list[tuple[str, str]]) -> None:
        limits = self._limits
        self._part_count += 1
        if self._part_count > limits.multipart_parts:
            raise Refused(413, "The form has too many parts")
        size = sum(len(name.encode()) + len(value.encode()) + len(b": \r\n") for name, value in fields)
        self._headers_size += size
        if size > limits.part_headers or self._headers_size > limits.part_headers * _MOST_HEADER_SECTIONS:
            raise Refused(431, "The parts of the form have too much in their headers")
        self._part = _read_headers(fields)
        self._start = self._spool.size
        if self._part.filename is None:
            self._field_count += 1
            if self._field_count > limits.form_fields:
                raise Refused(413, "The form has too many fields")

    def _take(self, data: bytes) -> None:
        if self._part.filename is not None:
            self._spool.append(data)
            return
        self._fields_size += len(data)
        if self._fields_size > self._limits.form_memory:
            raise Refused(413, "The fields of the form are too large")
        self._content += data

    def _end_part(self) -> None:
        name, filename, headers = self._part
        if filename is None:
            content = bytes(self._content)
            self._content.clear()
            charset = _charset_of(headers.get("content-type", ""), self._charset)
            self.fields.setdefault(name, []).append(content.decode(charset, "replace"))
        else:
            size = self._spool.size - self._start
            content = self._spool.read(self._start, min(size, len(self._boundary)))
            if filename or size:
                uploaded = UploadedFile(filename, headers, self._spool, self._start, size)
                self.files.setdefault(name, []).append(uploaded)
        if content.startswith(self._boundary):
            # By RFC 2046 §5.1.1 that boundary ended the part, by this parser it did not.
            raise Refused(400, "The form is malformed: A part begins with the boundary")


def _read_headers(fields: list[tuple[str, str]]) -> _Part:
    """Find out what the headers of a part say, or refuse them (RFC 7578 §4)."""
    for name, value in fields:
        if not _IS_TOKEN(name) or _CONTROL_BUT_TAB.search(value):
            raise Refused(400, "The headers of a part are malformed")
    headers = HTTPHeaders(fields)
    for name in ("content-disposition", "content-type", "content-transfer-encoding"):
        if len(headers.get_list(name)) > 1:
            raise Refused(400, "A part has the same header twice")
    # RFC 7578 §4.7: senders should not. Handing out as content what is only its encoding would be worse.
    if headers.get("content-transfer-encoding", "binary").lower() not in ("7bit", "8bit", "binary"):
        raise Refused(415, "A part has a transfer encoding")
    name, filename = _read_disposition(headers.get("content-disposition", ""))
    if filename is not None:
        filename = re.split(r"[/\\]", filename)[-1]
    if filename in (".", "..") or _CONTROL.search(name + (filename or "")):
        raise Refused(400, "A part has a name that is not allowed")
    return _Part(name, filename, headers)


def _read_disposition(disposition: str) -> tuple[str, str | None]:
    """Return the name of a part, and its filename if it has one."""
    found = _parameters(disposition, _BROWSER_PARAMETER)
    if found is not None:
        found = {key: _percent_decoded(value) for key, value in found.items()}
    else:
        found = _parameters(disposition, _PARAMETER)
    if _media_type(disposition) != "form-data" or found is None or "name" not in found:
        raise Refused(400, "The Content-Disposition of a part is malformed")
    return found["name"], found.get("filename")


def _percent_decoded(text: str) -> str:
    """Undo what browsers do to names: these three characters, and no others (HTML, as above)."""
    return text.replace("%22", '"').replace("%0D", "\r").replace("%0A", "\n")
