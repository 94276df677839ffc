"""The bodies of requests that a client sends (manual: "Making Useful Requests", "HTTPRequest.body"). Sans-IO.

A body is made at the call, where wrong arguments raise; what is in memory is taken as it is then. Files are never read
whole: one with a descriptor is sent by the kernel, and others are read piece by piece when their turn comes.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import re
import secrets
import stat
from collections.abc import Iterable, Iterator, Mapping
from json import dumps
from typing import Any, Final
from urllib.parse import urlencode

from pants._send_queue import FileSlice, SharedFile, _descriptor
from pants.errors import FileFailed, FileShrunk
from pants.http._answer import check_value, checked_fields
from pants.http._files import guess_type

_URLENCODED: Final = "application/x-www-form-urlencoded"
_UNKNOWN: Final = "application/octet-stream"
_BYTES: Final = (bytes, bytearray, memoryview)
# What is read at once.
_PIECE_SIZE: Final = 65536
# A decoder's state stands above the position in what a text file's tell() gives (Lib/_pyio.py, "_pack_cookie").
_POSITION_BITS: Final = 64

# What names cannot contain. Browsers escape CR and LF (HTML, "multipart/form-data encoding algorithm"), which few
# servers undo, and many refuse control characters. Halves of characters cannot be sent in UTF-8.
_NOT_IN_NAMES: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
# RFC 7578 §4.2, §4.7; and the length of a part is told by its boundary alone.
_OWN_PART_FIELDS: Final = frozenset({"content-disposition", "content-length", "content-transfer-encoding"})


class _File:
    """A part of a file that can be read again: of a descriptor of our own, or of an object which stays the caller's."""

    replayable = True

    def __init__(self, file: Any, offset: int, size: int) -> None:
        self.size: int | None = size
        self._file = file
        self._range = size, offset

    def pieces(self) -> Iterator[FileSlice]:
        if not self.size:
            return
        try:
            piece = FileSlice(self._file, *self._range)
        except (OSError, ValueError) as error:
            kind = FileShrunk if isinstance(self._file, SharedFile) else FileFailed
            raise kind(f"a file is not what it was when the request was made: {error}") from error
        yield piece

    def close(self) -> None:
        if isinstance(self._file, SharedFile):
            self._file.release()


class _Stream:
    """What comes piece by piece, nobody knows how much."""

    size: int | None = None

    def __init__(self, content: Iterable[Any]) -> None:
        self._content = content
        self.replayable = iter(content) is not content

    def pieces(self) -> Iterator[bytes]:
        for piece in self._content:
            data = _as_bytes(piece)
            if data is None:
                raise TypeError(f"the pieces of a body are bytes or str, not {piece!r}")
            if data:
                yield data


_Source = bytes | _File | _Stream


class Body:
    """The body of a request.

    Files of the caller's that have a descriptor may be closed, for it was duplicated. Others stay open until all is
    sent: those that are compressed, say, and pipes. Reading from a pipe blocks.

    Attributes:
        parts: What the body is made of (manual: "HTTPRequest.body"): bytes; and files and iterables as they were given.
        length: In bytes; None where only the sending tells. Then it is sent in chunks (RFC 9112 §7.1).
        content_type: What Content-Type is, unless the user has set one.
        replayable: Whether it can be sent once more: for a redirection, for a login, over another connection.
    """

    __slots__ = ("_begun", "_closed", "_digests", "_sources", "content_type", "length", "parts", "replayable")

    def __init__(self) -> None:
        self.parts: list[Any] = []
        self.length: int | None = 0
        self.content_type: str | None = None
        self.replayable = True
        self._sources: list[_Source] = []
        self._begun = self._closed = False
        self._digests: dict[str, str] = {}  # of the content, by the name of the algorithm

    def _add(self, source: _Source, given: Any) -> None:
        self.parts.append(source if isinstance(source, bytes) and not _is_file(given) else given)
        self._sources.append(source)
        size = len(source) if isinstance(source, bytes) else source.size
        self.length = None if self.length is None or size is None else self.length + size
        self.replayable = self.replayable and (isinstance(source, bytes) or source.replayable)

    def pieces(self) -> Iterator[bytes | FileSlice]:
        """Return the content from its beginning, for one sending, piece by piece; whoever gets a slice closes it.

        Iterating raises what the user's files and iterables raise, and besides:

        Raises:
            RuntimeError: The body is closed; or it cannot be sent once more.
            TypeError: An iterable gave what is neither bytes nor str, or a file what is not bytes.
            FileShrunk: A file has become shorter than it was.
            FileFailed: A file without a descriptor has become shorter, or was closed.
        """
        self._check_open()
        if self._begun and not self.replayable:
            raise RuntimeError("the body came from an iterator or a stream, and cannot be sent once more")
        self._begun = True
        return self._generate()

    def _generate(self) -> Iterator[bytes | FileSlice]:
        for source in self._sources:
            self._check_open()  # else its descriptor may be another file's by now
            if not isinstance(source, bytes):
                yield from source.pieces()
            elif source:
                yield source

    def _check_open(self) -> None:
        if self._closed:
            raise RuntimeError("the body is closed")

    def hash(self, name: str) -> str | None:
        """Return the digest of the whole content in hexadecimal digits, None if the body can be sent only once.

        Args:
            name: The algorithm, as `hashlib.new` knows it.

        Raises:
            ValueError: There is no such algorithm.
            RuntimeError, TypeError, FileShrunk, FileFailed: As of `pieces`.
        """
        self._check_open()
        # For logins (RFC 7616 §3.4.3), where the server chooses the algorithm: MD5, often.
        digest = hashlib.new(name, usedforsecurity=False)
        if not self.replayable:
            return None
        if name in self._digests:
            return self._digests[name]
        for piece in self._generate():
            if isinstance(piece, bytes):
                digest.update(piece)
                continue
            try:
                while piece.size:
                    digest.update(piece.read())
            finally:
                piece.close()
        self._digests[name] = digest.hexdigest()
        return self._digests[name]

    def close(self) -> None:
        """Give the descriptors back; slices that are being sent keep theirs. It may be called more than once."""
        self._closed = True
        sources, self._sources = self._sources, []
        for source in sources:
            if isinstance(source, _File):
                source.close()


def make_body(data: Any = None, files: Any = None, json: Any = None) -> Body | None:
    """Make the body of a request.

    Args:
        data: A form's fields: a dictionary, or a list of pairs; a value is a str, bytes, an int or a float, or a list
            of them, and None is left out. Or the content itself: a str, bytes, a file, from where it stands; or an
            iterable of bytes or str, of which a piece is taken when those before are sent.
        files: A dictionary or a list of pairs: a field's name, and a file, bytes or a str; or a tuple of filename and
            file, with a content type, with a dictionary of the part's header fields. Where the filename in a tuple is
            None, the part has none. Of a text file the bytes are sent that it is read from.
        json: What is sent as JSON, unless it is None.

    Returns:
        The body, which may be empty, or None where nothing was given. It is to be closed.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: A file is closed, or not open for reading; a name contains a control character; JSON cannot express
            a number; two arguments exclude each other.
        OSError: There are no descriptors left; or a file fails.
    """
    body = Body()
    try:
        if json is not None:
            if data is not None or files:
                raise ValueError("a body is made of json, or of data and files, not of both")
            body.content_type = "application/json"
            body._add(dumps(json, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode(), None)
        elif files is not None and (uploads := _pairs("files", files)):
            _add_multipart(body, data, uploads)
        elif data is not None:
            _add_data(body, data)
        else:
            return None
    except BaseException:
        body.close()
        raise
    return body


def _add_data(body: Body, data: Any) -> None:
    """Add a urlencoded form, or content as it is."""
    if _is_form(data):
        data = urlencode(_fields(data))
    body.content_type = _URLENCODED if isinstance(data, (str, *_BYTES)) else _UNKNOWN
    source = _open("data", data)
    if source is None:
        if not isinstance(data, Iterable):
            raise TypeError(f"data is a dict, pairs, a str, bytes, an open file or an iterable of bytes, not {data!r}")
        if isinstance(data, (list, tuple)) and not all(isinstance(piece, (str, *_BYTES)) for piece in data):
            raise TypeError("data, where it is a list, is one of pairs, which make a form, or one of bytes and str")
        source = _Stream(data)
    body._add(source, data)


def _is_form(data: Any) -> bool:
    """Whether data are the fields of a form; a list that does not begin with a pair is one of pieces."""
    if isinstance(data, (list, tuple)):
        return not data or isinstance(data[0], (list, tuple))
    return isinstance(data, Mapping)


def _is_file(value: Any) -> bool:
    return callable(getattr(value, "read", None))


def _as_bytes(value: Any) -> bytes | None:
    """Return text and bytes as bytes that nobody changes, anything else as None."""
    if isinstance(value, str):
        return value.encode()
    return bytes(value) if isinstance(value, _BYTES) else None


def _pairs(what: str, value: Any) -> list[tuple[str, Any]]:
    """Return a dictionary, or pairs, as pairs whose first is a str."""
    if not isinstance(value, (Mapping, list, tuple)):
        raise TypeError(f"{what} are a dictionary, or a list of pairs of a name and a value, not {value!r}")
    pairs = []
    for pair in value.items() if isinstance(value, Mapping) else value:
        if not isinstance(pair, (list, tuple)) or len(pair) != 2 or not isinstance(pair[0], str):
            raise TypeError(f"{what} are pairs of a name, which is a str, and a value, not {pair!r}")
        pairs.append((pair[0], pair[1]))
    return pairs


def _fields(data: Any) -> list[tuple[str, bytes]]:
    """Return the fields of a form one by one."""
    fields = []
    for name, values in _pairs("data", data):
        for value in values if isinstance(values, (list, tuple)) else (values,):
            if value is None:
                continue
            content = _as_bytes(str(value) if isinstance(value, (int, float)) else value)
            if content is None:
                raise TypeError(f"the field {name!r} is a str, bytes or a number, or a list of them, not {value!r}")
            fields.append((name, content))
    return fields


def _add_multipart(body: Body, data: Any, uploads: list[tuple[str, Any]]) -> None:
    """Add a form with files (RFC 7578); what stands between two files is one piece."""
    if data is not None and not _is_form(data):  # manual: "Data strings are not supported"
        raise TypeError(f"beside files, data is a dict or pairs, not {type(data).__name__}; it can be one of the files")
    boundary = secrets.token_hex(16)
    body.content_type = f"multipart/form-data; boundary={boundary}"
    delimiter = f"--{boundary}\r\n".encode()
    between = []
    for name, content in _fields(data or {}):
        between += [delimiter, _disposition(name, None), b"\r\n", content, b"\r\n"]
    for name, value in uploads:
        filename, file, content_type, headers = _unpacked(name, value)
        between += [delimiter, _disposition(name, filename), _described(name, filename, content_type, headers), b"\r\n"]
        source = _open(f"the file of {name!r}", file)
        if source is None:
            raise TypeError(f"the file of {name!r} is an open file, bytes or a str, not {file!r}")
        body._add(b"".join(between), None)
        body._add(source, file)
        between = [b"\r\n"]
    body._add(f"\r\n--{boundary}--\r\n".encode(), None)


def _unpacked(name: str, value: Any) -> tuple[Any, Any, Any, Any]:
    """Return filename, file, content type and headers of a value of ``files``."""
    if not isinstance(value, tuple):
        path = getattr(value, "name", None)  # a number, for a file that was made of a descriptor
        known = isinstance(path, str) and not path.startswith("<")
        return (os.path.basename(str(path)) if known else "") or name, value, None, None
    if not 2 <= len(value) <= 4:
        raise TypeError(
            f"a tuple for {name!r} has a filename, a file, a content type and headers, not {len(value)} items"
        )
    return (*value, None, None)[:4]


def _described(name: str, filename: str | None, content_type: Any, headers: Any) -> bytes:
    """Return the other header fields of a part, in UTF-8 as well (RFC 7578 §5.1)."""
    fields = checked_fields({} if headers is None else headers)
    if content_type is not None:
        check_value(f"the content type for {name!r}", content_type)
        fields.insert(0, ("Content-Type", content_type))
    names = [field.lower() for field, _ in fields]
    if not _OWN_PART_FIELDS.isdisjoint(names) or names.count("content-type") > 1:
        raise ValueError(f"the headers for {name!r} contain one that is told otherwise, or two types: {names}")
    if filename is not None and "content-type" not in names:
        fields.insert(0, ("Content-Type", guess_type(filename) or _UNKNOWN))
    # Not f-strings: a subclass of str could format itself as something else than what was checked.
    return "".join([part for field, text in fields for part in (field, ": ", text, "\r\n")]).encode()


def _disposition(name: str, filename: Any) -> bytes:
    """Return the Content-Disposition of a part, as browsers write it (HTML; RFC 7578 §4.2, no ``filename*``)."""
    line = 'Content-Disposition: form-data; name="' + _escaped("the name of a field", name)
    if filename is not None:
        line += '"; filename="' + _escaped(f"the filename of {name!r}", filename)
    return (line + '"\r\n').encode()


def _escaped(what: str, text: Any) -> str:
    if not isinstance(text, str):
        raise TypeError(f"{what} is a str, or None for none, not {text!r}")
    if _NOT_IN_NAMES.search(text):
        raise ValueError(f"{what} cannot contain control characters, nor what is not UTF-8; give another: {text!r}")
    return text.replace('"', "%22")


def _open(what: str, file: Any) -> _Source | None:
    """Find out how a file is sent from where it stands, or bytes or a str; None if it is something else."""
    if not _is_file(file):
        return _as_bytes(file)
    if getattr(file, "closed", False):
        raise ValueError(f"{what} is closed; it has to be open when the request is made: {file!r}")
    if not getattr(file, "readable", lambda: True)():
        raise ValueError(f"{what} is not open for reading: {file!r}")
    if isinstance(file, (io.BytesIO, io.StringIO)):
        position = file.tell()
        content = _as_bytes(file.read())
        file.seek(position)
        return content
    if isinstance(file, io.TextIOBase) or hasattr(file, "encoding"):
        file = _beneath(what, file)
    descriptor = _descriptor(file)
    if descriptor is not None:
        if getattr(file, "writable", bool)():
            file.flush()  # what the caller wrote to it belongs to the file
        status = os.fstat(descriptor)
        if stat.S_ISREG(status.st_mode) and hasattr(file, "tell"):
            offset = file.tell()
            return _File(SharedFile(descriptor), offset, max(0, status.st_size - offset))
    elif getattr(file, "seekable", bool)() and not hasattr(getattr(file, "raw", file), "peek"):
        # Those that can be looked into ahead (peek) decompress: to find the end they would have to read all of it.
        with contextlib.suppress(OSError, TypeError, ValueError):
            offset = file.tell()
            size = int(file.seek(0, os.SEEK_END)) - offset
            file.seek(offset)
            return _File(file, offset, max(0, size))
    return _Stream(_read_all(what, file))


def _beneath(what: str, file: Any) -> Any:
    """Return what a text file is read from, standing where the text stands."""
    with contextlib.suppress(AttributeError, OSError):
        position = file.tell()
        if position >> _POSITION_BITS == 0:
            file.seek(position)  # it has read ahead
            return file.buffer
    raise ValueError(f"{what} holds text, of which the bytes cannot be had; open it in binary mode: {file!r}")


def _read_all(what: str, file: Any) -> Iterator[bytes]:
    read = getattr(file, "read1", file.read)  # which does not wait for all it was asked for
    while True:
        data = read(_PIECE_SIZE)
        if not isinstance(data, bytes):
            raise TypeError(f"{what} gave {data!r}, not bytes; open it in binary mode, and blocking")
        if not data:
            return
        yield data
