"""What `HTTPRequest.send_file` answers (manual: "send_file", "Using HTTPServer Behind a Proxy").

Files are found and opened here, and what is sent of them is decided: by conditions (RFC 9110 §13), ranges (§14) and the
neighbours of a file that hold it in compressed form. The sending is done elsewhere.
"""

from __future__ import annotations

import errno
import functools
import mimetypes
import os
import re
import secrets
import stat
import time
from collections.abc import Callable, Iterable, Mapping, Set
from typing import Final, NamedTuple
from urllib.parse import quote

from pants.http._answer import check_value
from pants.http._conditions import entity_tag, evaluate, http_date, parse_date, range_applies
from pants.http._negotiation import choose_coding
from pants.http._ranges import parse_range
from pants.http._refused import Refused
from pants.http.utils import HTTPHeaders

# Nothing blocks, should a FIFO or a device take the place of a file right before it is opened. No terminal becomes that
# of the process.
_OPEN: Final = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
# Besides those with exceptions of their own. The last three are those of sockets, and of devices without a driver, that
# are there instead all of a sudden.
_NO_SUCH_FILE: Final = frozenset({errno.ENAMETOOLONG, errno.ELOOP, errno.ENXIO, errno.ENODEV, errno.EOPNOTSUPP})

# RFC 3986 §3.3, what a path is made of, besides letters and digits.
_PATH: Final = "/-._~!$&'()*+,;=:@"
# RFC 8187 §3.2.1, what an extended parameter is made of, besides letters and digits.
_ATTRIBUTE: Final = "!#$&+-.^_`|~"
# What no file is called: control characters, separators of directories, halves of characters.
_NOT_IN_NAMES: Final = re.compile(r"[\x00-\x1f\x7f-\x9f/\\\ud800-\udfff]")
# What not every client takes from a quoted string (RFC 6266 appendix D).
_NOT_QUOTED: Final = re.compile(r'[^\x20-\x7e]|["%]')

# The neighbours that may hold a file in compressed form; the best first.
_SUFFIXES: Final = {"br": ".br", "zstd": ".zst", "gzip": ".gz"}

# The types of files that are compressed, by the encoding that `mimetypes` tells. They are sent as what they are.
_COMPRESSED: Final = {
    "br": "application/x-brotli",
    "bzip2": "application/x-bzip2",
    "gzip": "application/gzip",
    "xz": "application/x-xz",
}
# Those of the web that `mimetypes` does not know in every version of Python, on every system.
_TYPES: Final = {
    ".m4a": "audio/mp4",
    ".md": "text/markdown",
    ".otf": "font/otf",
    ".ttf": "font/ttf",
    ".woff": "font/woff",
    ".woff2": "font/woff2",
    ".z": "application/x-compress",
    ".zst": "application/zstd",
}

# What a request has if there is more to decide than that the whole file is sent.
_CONDITIONS: Final = ("range", "if-none-match", "if-modified-since", "if-match", "if-unmodified-since")

# The fields that describe the content, which an answer without it does not have.
_OF_CONTENT: Final = frozenset({"content-type", "content-encoding", "content-language", "content-disposition"})
# RFC 9110 §15.4.5: the client has these, and the entity tag is there to tell. Fields that caches are updated by stay.
_NOT_IN_304: Final = _OF_CONTENT | {"last-modified", "accept-ranges"}
# These answers are not about the file, so that they have none of its validators, and are not cached for its sake.
_NOT_IN_ERRORS: Final = _OF_CONTENT | {"last-modified", "etag", "cache-control", "expires", "content-location"}

Fields = list[tuple[str, str]]


class Plan(NamedTuple):
    """What is sent of a file.

    Attributes:
        code: The status code: 200, 206, 304, 412 or 416.
        fields: The header fields, Content-Type and those of the caller included.
        length: Content-Length, in bytes; None where there is none, as with 304.
        segments: The content, which is empty for HEAD: bytes that are sent as they are, and slices of the file, as the
            offset and the length, in bytes, the latter above 0.
    """

    code: int
    fields: Fields
    length: int | None
    segments: list[bytes | tuple[int, int]]


def resolve(path: str | os.PathLike[str], file_root: str | None) -> str:
    """Return the absolute path of a file (manual: "file_root").

    Any ``..`` is resolved by the text of the path. Symbolic links are followed when the file is opened, wherever they
    lead: who may put one below the root decides that.

    Args:
        path: The path. A relative one starts at ``file_root``, or at the working directory where that is None.
        file_root: The directory in which the file has to be.

    Raises:
        TypeError: ``path`` is neither a str nor an `os.PathLike` of one.
        Refused: 404, it is outside of ``file_root``, or cannot be that of a file.
    """
    if path.__class__ is not str:
        path = os.fspath(path)
        if not isinstance(path, str):
            raise TypeError(f"path is a str or an os.PathLike of one, not {path!r}; os.fsdecode() makes a str of bytes")
    if "\0" in path or path.endswith("/"):
        raise Refused(404, "There is no such file")
    if file_root is None:
        return _absolute(path)
    root = _absolute_root(file_root) if file_root.startswith("/") else _absolute(file_root)
    if not path.startswith((".", "/")) and "/." not in path and "//" not in path and path and root != "/":
        return f"{root}/{path}"  # there is nothing to resolve
    path = _absolute(path if path.startswith("/") else f"{root}/{path}")
    if not path.startswith(root if root == "/" else f"{root}/"):
        raise Refused(404, "There is no such file")
    return path


@functools.lru_cache(maxsize=16)
def _absolute_root(path: str) -> str:
    return _absolute(path)


def _absolute(path: str) -> str:
    path = os.path.normpath(path if path.startswith("/") else os.path.join(os.getcwd(), path))
    return path[1:] if path.startswith("//") else path  # POSIX lets two slashes be special; they are not


def open_file(
    path: str, *, or_directory: bool = False, opener: Callable[[str, int], int] | None = None
) -> tuple[int, os.stat_result]:
    """Open a regular file to read from it. It does not block, whatever is there, and nothing else is opened.

    To open a FIFO lets its writer go on, and to open a device may do anything.

    Args:
        path: The file.
        or_directory: Whether it may be a directory.
        opener: Called with the path and flags, to look at what is there and open it.

    Returns:
        A file descriptor, which the caller has to close, and the file's status.

    Raises:
        Refused: 404, there is no such file, or it is no regular one; 403, it may not be read.
        OSError: The system fails, as when there are too many open files.
    """
    try:
        descriptor = _look_and_open(path, _OPEN) if opener is None else opener(path, _OPEN)
    except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: no file can be called that
        raise Refused(404, "There is no such file") from None
    except PermissionError:
        raise Refused(403, "The file may not be read") from None
    except OSError as error:
        if error.errno in _NO_SUCH_FILE:
            raise Refused(404, "There is no such file") from None
        raise
    try:
        status = os.fstat(descriptor)
        if not (stat.S_ISREG(status.st_mode) or (or_directory and stat.S_ISDIR(status.st_mode))):
            raise Refused(404, "There is no such file")
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor, status


def _look_and_open(path: str, flags: int) -> int:
    mode = os.stat(path).st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise Refused(404, "There is no such file")
    return os.open(path, flags)


def pick_variant(
    path: str, accept_encoding: str | None, may_send: Callable[[str], bool] | None = None
) -> tuple[str, str | None]:
    """Choose between a file and those of its neighbours that hold it in compressed form.

    A neighbour has the name of the file, and ``.br``, ``.zst`` or ``.gz`` besides. It has to be a regular file, as the
    file itself, and must not be older. The answer depends on Accept-Encoding, and says so (Vary, RFC 9110 §12.5.5),
    even where there is no neighbour: see the argument ``varies`` of `plan`.

    Args:
        path: The file, as by `resolve`.
        accept_encoding: The request's Accept-Encoding; None if it has none.
        may_send: Tells of the path of a neighbour whether it may be sent; by default all may.

    Returns:
        The path of what to open, and its content coding; None where it is the file itself.
    """
    offered = list(_SUFFIXES)
    modified = None
    while (coding := choose_coding(accept_encoding, offered)) is not None:
        if modified is None:
            modified = _modified(path)
            if modified is None:
                break
        candidate = path + _SUFFIXES[coding]
        candidate_modified = _modified(candidate) if may_send is None or may_send(candidate) else None
        if candidate_modified is not None and candidate_modified >= modified:
            return candidate, coding
        offered.remove(coding)
    return path, None


def _modified(path: str) -> int | None:
    """When a regular file was last modified, in nanoseconds; None if there is none."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return status.st_mtime_ns if stat.S_ISREG(status.st_mode) else None


def guess_type(path: str) -> str | None:
    """Return the media type of a file by its extension, None if that says nothing.

    The system's tables are read once (`mimetypes.init`), and each extension is looked up once: what the program adds
    with `mimetypes.add_type`, it adds before it sends files. A compressed file has the type of what it is. No charset
    is told, for an extension does not tell it.
    """
    _, dot, extension = path.rpartition(".")
    return None if not dot or "/" in extension else _type_of(f".{extension}")


@functools.lru_cache(maxsize=1024)
def _type_of(extension: str) -> str | None:
    extension = extension.lower()
    guessed, encoding = mimetypes.guess_type(f"a{extension}", strict=False)
    if encoding is not None:
        return _COMPRESSED.get(encoding, "application/octet-stream")
    return guessed or _TYPES.get(extension)


def disposition(filename: str) -> str:
    """Return the Content-Disposition with which a file is saved rather than shown (RFC 6266).

    Control characters and separators of directories become underscores. Where some clients could misread the name, a
    plain one is sent besides the true one, which is ``filename*`` then (§4.3).

    Raises:
        TypeError: ``filename`` is not a str.
    """
    if not isinstance(filename, str):
        raise TypeError(f"filename is a str, not {filename!r}")
    name = _NOT_IN_NAMES.sub("_", filename)
    if not name:
        return "attachment"
    plain = _NOT_QUOTED.sub("_", name)
    if plain == name:
        return f'attachment; filename="{name}"'
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe=_ATTRIBUTE)}"


def sendfile_target(path: str, file_root: str | None, prefix: str | None) -> str:
    """Return the value of X-Sendfile: the path of the file without the root, behind the prefix (manual: "file_root").

    It is percent-encoded: nginx (X-Accel-Redirect), Apache (mod_xsendfile, unless told not to) and lighttpd decode it.
    It begins with a slash, or with the prefix. Those that want whole paths get them with ``/`` as the root.

    Args:
        path: The file, as by `resolve`.
        file_root: The root; the working directory where it is None.
        prefix: What the proxy calls the root. It is sent as it is; None for nothing.

    Raises:
        ValueError: The file is outside of the root.
        Refused: 404, no file can be called that.
    """
    root = os.getcwd() if file_root is None else _absolute(file_root)
    root = root if root == "/" else f"{root}/"
    if not path.startswith(root):
        raise ValueError(
            f"{path!r} is outside of {root!r}, from where files are sent with X-Sendfile; set HTTPServer's file_root"
        )
    try:
        name = os.fsencode(path[len(root) :])
    except UnicodeEncodeError:
        raise Refused(404, "There is no such file") from None
    prefix = prefix or "/"
    return f"{prefix}{'' if prefix.endswith('/') else '/'}{quote(name, safe=_PATH)}"


def plan(
    method: str,
    headers: HTTPHeaders,
    status: os.stat_result,
    *,
    content_type: str | None = None,
    filename: str | None = None,
    extra: Mapping[str, str] | Iterable[tuple[str, str]] = (),
    coding: str | None = None,
    varies: bool = False,
) -> Plan:
    """Decide what is sent of a file, by the request's conditions and ranges.

    Args:
        method: The request's method. Answers to other ones than GET and HEAD are the whole file, without validators:
            it is the result of an action then, and not what the resource is (RFC 9110 §9.3.4).
        headers: The request's header fields.
        status: The status of the file as it was opened.
        content_type: The media type; None if it is not known.
        filename: The name for Content-Disposition, see `disposition`.
        extra: The caller's fields, which are checked elsewhere. They take the place of those that are made here, Vary
            excepted, to which they add. An ETag or Last-Modified among them is that which conditions are compared with;
            Accept-Ranges other than ``bytes`` has Range ignored.
        coding: The content coding of the file, as by `pick_variant`.
        varies: Whether another Accept-Encoding could have had another answer.

    Raises:
        TypeError: ``filename`` is not a str.
        ValueError: The type cannot stand in the head of a part.
    """
    fields: Fields = [] if content_type is None else [("Content-Type", content_type)]
    if coding is not None:
        fields.append(("Content-Encoding", coding))
    if filename is not None:
        fields.append(("Content-Disposition", disposition(filename)))
    if varies:
        fields.append(("Vary", "Accept-Encoding"))
    size = status.st_size
    reads = method in ("GET", "HEAD")
    if reads:
        # RFC 9110 §8.8.2.1: it was not modified in the future. Nor before the epoch: few clients take such a date.
        modified = min(max(status.st_mtime, 0.0), time.time())
        fields += (
            ("Last-Modified", http_date(modified)),
            ("ETag", entity_tag(status, coding or "")),
            ("Accept-Ranges", "bytes"),
        )
    if extra:
        fields = _override(fields, extra)
    if reads:
        for name in _CONDITIONS:
            if name in headers:
                return _decide(method, headers, fields, size)
    return _whole(method, fields, size)


def _override(fields: Fields, extra: Mapping[str, str] | Iterable[tuple[str, str]]) -> Fields:
    """Put the caller's fields in the place of those with the same name. Of Vary there may be several."""
    callers = list(extra.items() if isinstance(extra, Mapping) else extra)
    names = {name.lower() for name, _ in callers} - {"vary"}
    return _without(fields, names) + callers


def _without(fields: Fields, names: Set[str]) -> Fields:
    return [field for field in fields if field[0].lower() not in names]


def _whole(method: str, fields: Fields, size: int) -> Plan:
    return Plan(200, fields, size, [(0, size)] if size and method != "HEAD" else [])


def _decide(method: str, headers: HTTPHeaders, fields: Fields, size: int) -> Plan:
    """Decide by conditions and ranges, in the order of RFC 9110 §13.2.2, about what would be sent without them."""
    values = {name.lower(): value for name, value in fields}
    etag = values["etag"]
    modified = parse_date(values["last-modified"])
    code = evaluate(method, headers, etag, modified)
    if code == 304:
        # RFC 9110 §15.4.5: Last-Modified is of use only where there is no entity tag, and there is one.
        return Plan(304, _without(fields, _NOT_IN_304), None, [])
    if code == 412:
        return Plan(412, _without(fields, _NOT_IN_ERRORS), 0, [])
    if (
        method != "GET"  # RFC 9110 §14.2
        or "range" not in headers
        or values["accept-ranges"].lower() != "bytes"
        or not range_applies(headers, etag, modified, time.time())
    ):
        return _whole(method, fields, size)
    ranges = parse_range(headers["range"], size)
    if ranges is None:
        return _whole(method, fields, size)
    if not ranges:
        content_range = ("Content-Range", f"bytes */{size}")  # RFC 9110 §15.5.17
        return Plan(416, [*_without(fields, _NOT_IN_ERRORS), content_range], 0, [])
    # The fields of 206 are those of 200. After an If-Range there should be fewer by RFC 9110 §15.3.7, but clients look
    # at the type and the date of what they fetch in parts, and hardly a server leaves them out.
    if len(ranges) == 1:
        [(start, length)] = ranges
        return Plan(206, [*fields, ("Content-Range", _content_range(start, length, size))], length, [(start, length)])
    return _in_parts(fields, values.get("content-type"), ranges, size)


def _in_parts(fields: Fields, content_type: str | None, ranges: list[tuple[int, int]], size: int) -> Plan:
    """Plan several ranges: content of the type multipart/byteranges (RFC 9110 §14.6)."""
    type_line = ""
    if content_type is not None:
        check_value("the header Content-Type", content_type)
        type_line = f"Content-Type: {content_type}\r\n"
    boundary = secrets.token_hex(16)  # no file contains what nobody could know before
    segments: list[bytes | tuple[int, int]] = []
    mark = f"--{boundary}"
    for start, length in ranges:
        head = f"{mark}\r\n{type_line}Content-Range: {_content_range(start, length, size)}\r\n\r\n"
        segments += (head.encode("latin-1"), (start, length))
        mark = f"\r\n--{boundary}"
    segments.append(f"{mark}--\r\n".encode())
    total = sum(len(segment) if isinstance(segment, bytes) else segment[1] for segment in segments)
    multipart = ("Content-Type", f"multipart/byteranges; boundary={boundary}")
    return Plan(206, [multipart, *_without(fields, {"content-type"})], total, segments)


def _content_range(start: int, length: int, size: int) -> str:
    return f"bytes {start}-{start + length - 1}/{size}"
