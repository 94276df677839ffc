"""The environ of a WSGI server (PEP 3333) as a request of HTTP/1.1. Sans-IO, but that content is read from the server.

Whatever is in the environ, one request comes of it: a value with a control character is refused, and what tells how the
content is framed is made here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import quote, unquote_to_bytes

from pants.http import Refused
from pants.http._answer import encoded

#: What is read of the content at once, in bytes.
PIECE_SIZE: Final = 65536

_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE: Final = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_LENGTH: Final = re.compile(r"[0-9]{1,18}")
# RFC 3986 §3.3: what stands in a path as it is. A percent sign does not, for a path of WSGI has been decoded.
_OF_PATH: Final = "/!$&'()*+,;=:@"
# A target as it was sent, of the origin form (RFC 9112 §3.2.1).
_RAW: Final = re.compile(r"/[\x21\x22\x24-\x3e\x40-\x7e]*")
# What one end of a connection tells the other (RFC 9110 §7.6.1), which is the WSGI server's affair; and what has a
# place of its own in an environ.
_NOT_PASSED_ON: Final = frozenset(
    {
        *("connection", "keep-alive", "proxy-connection", "te", "trailer", "upgrade", "transfer-encoding", "expect"),
        *("host", "content-length", "content-type"),
    }
)
_ENCODED: Final = re.compile(r"%[0-9A-Fa-f]{2}")
_WITHOUT_BODY: Final = frozenset({"GET", "HEAD"})


class Asked(NamedTuple):
    """A request that a WSGI server has received.

    Attributes:
        method: Its method.
        head: Its head, as it would be sent.
        content: Its content, in its framing; None where there is none.
        scheme: ``http`` or ``https``.
        script_name: The path at which the application stands, percent-encoded.
        remote_address: The client's address and port, or an empty string.
        local_address: The server's.
        upgrade: Whether a WebSocket is asked for.
    """

    method: str
    head: bytes
    content: Iterator[bytes] | None
    scheme: str
    script_name: str
    remote_address: Any
    local_address: Any
    upgrade: bool

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.head.partition(b' HTTP/')[0].decode('latin-1')[:200]}>"


def read_environ(environ: Mapping[str, Any]) -> Asked:
    """Make a request of an environ.

    Raises:
        Refused: It cannot be one.
        TypeError: A value is not a str.
    """
    method = _text(environ, "REQUEST_METHOD")
    if not _TOKEN.fullmatch(method):
        raise Refused(400, "The method is malformed")
    script_name, target = _paths(environ)
    fields = [("Host", _host(environ)), *_fields(environ)]
    content, framing = _content(environ, method)
    for name, value in fields:
        if not _VALUE.fullmatch(value):
            raise Refused(400, f"The header {name} contains a control character")
    scheme = _text(environ, "wsgi.url_scheme")
    address = _text(environ, "REMOTE_ADDR")
    return Asked(
        method,
        f"{method} {target} HTTP/1.1\r\n".encode("latin-1") + encoded([*fields, *framing]) + b"\r\n",
        content,
        scheme if scheme == "https" else "http",
        script_name,
        (address, _port(environ, "REMOTE_PORT")) if address else "",
        (_text(environ, "SERVER_NAME"), _port(environ, "SERVER_PORT")),
        "websocket" in _text(environ, "HTTP_UPGRADE").lower(),
    )


def _text(environ: Mapping[str, Any], name: str) -> str:
    value = environ.get(name, "")
    if not isinstance(value, str):
        raise TypeError(f"{name} in the environ is a str (PEP 3333), not {value!r}")
    return value


def _port(environ: Mapping[str, Any], name: str) -> int:
    value = str(environ.get(name, ""))
    return int(value) if value.isascii() and value.isdigit() and len(value) <= 5 else 0


def _host(environ: Mapping[str, Any]) -> str:
    """The host that was asked, and its port where it is not the usual one (PEP 3333, "URL Reconstruction")."""
    host = _text(environ, "HTTP_HOST")
    if host:
        return host
    name, port = _text(environ, "SERVER_NAME"), _port(environ, "SERVER_PORT")
    if ":" in name and not name.startswith("["):
        name = f"[{name}]"
    usual = 443 if _text(environ, "wsgi.url_scheme") == "https" else 80
    return name if port in (0, usual) else f"{name}:{port}"


def _fields(environ: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for key in environ:
        name = key[5:].replace("_", "-").lower()
        if key.startswith("HTTP_") and name not in _NOT_PASSED_ON:
            if not _TOKEN.fullmatch(name):
                raise Refused(400, "The name of a header is malformed")
            yield name.title(), _text(environ, key)
    content_type = _text(environ, "CONTENT_TYPE")
    if content_type:
        yield "Content-Type", content_type


# --- The path ---------------------------------------------------------------------------------------------------------


def _paths(environ: Mapping[str, Any]) -> tuple[str, str]:
    """Return the path at which the application stands, and the target below it; both percent-encoded."""
    script, path = _text(environ, "SCRIPT_NAME"), _text(environ, "PATH_INFO")
    query = _text(environ, "QUERY_STRING")
    if path == "*" and not script and environ["REQUEST_METHOD"] == "OPTIONS":  # RFC 9112 §3.2.4
        return "", "*"
    raw = _raw_paths(environ, script, path)
    if raw is None:
        raw = quote(_as_bytes(script), _OF_PATH), quote(_as_bytes(path), _OF_PATH)
    script, path = raw
    if not path.startswith("/"):
        path = f"/{path}"
    if query:
        path = f"{path}?{quote(_as_bytes(query), _OF_PATH + '?%')}"
    return script.rstrip("/"), path


def _as_bytes(text: str) -> bytes:
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        raise Refused(400, "The path or the query is malformed") from None


def _raw_paths(environ: Mapping[str, Any], script: str, path: str) -> tuple[str, str] | None:
    """Return both paths as they were sent, where the server tells: an encoded slash is no slash.

    None where it does not, or something between it and the application has changed what it says.
    """
    for name in ("RAW_URI", "REQUEST_URI"):
        raw = environ.get(name)
        if not isinstance(raw, str):
            continue
        raw = raw.partition("?")[0]
        if not _RAW.fullmatch(raw) or unquote_to_bytes(raw) != _as_bytes(script + path):
            continue
        at = _end_of(raw, len(script))
        if raw[at : at + 1] in ("", "/"):  # else the very slash between the two was encoded
            return raw[:at], raw[at:]
    return None


def _end_of(raw: str, count: int) -> int:
    """Return where the first ``count`` bytes end that a percent-encoded text stands for."""
    at = 0
    for _ in range(count):
        at += 3 if _ENCODED.match(raw, at) else 1
    return at


# --- The content ------------------------------------------------------------------------------------------------------


def _content(environ: Mapping[str, Any], method: str) -> tuple[Iterator[bytes] | None, list[tuple[str, str]]]:
    """Return the content, in its framing, and the fields that tell the framing."""
    length = _text(environ, "CONTENT_LENGTH")
    coding = _text(environ, "HTTP_TRANSFER_ENCODING")
    if length:
        if not _LENGTH.fullmatch(length):
            raise Refused(400, "Content-Length is malformed")
        content = _pieces_of(environ["wsgi.input"], int(length)) if int(length) else None
        return content, [("Content-Length", str(int(length)))]
    if not environ.get("wsgi.input_terminated"):
        if coding:  # RFC 9110 §15.5.12; where the content ends, nobody could tell
            raise Refused(411, "A length is needed, for this server passes on no content without")
        return None, []
    if not coding and method in _WITHOUT_BODY:
        return None, []
    pieces = _pieces_to_end(environ["wsgi.input"])
    if not coding:
        first = next(pieces, b"")
        if not first:
            return None, [("Content-Length", "0")]
        pieces = _behind(first, pieces)
    return _chunks(pieces), [("Transfer-Encoding", "chunked")]


def _read(source: Any, size: int) -> bytes:
    data = source.read(size)
    if not isinstance(data, bytes):
        raise TypeError(f"wsgi.input gave {type(data).__name__}, not bytes")
    if len(data) > size:  # what is more would be taken for another request
        raise ValueError(f"wsgi.input gave {len(data)} bytes where {size} were asked for")
    return data


def _pieces_of(source: Any, left: int) -> Iterator[bytes]:
    """Read content of a known length.

    Raises:
        Refused: There is less.
    """
    while left:
        data = _read(source, min(left, PIECE_SIZE))
        if not data:
            raise Refused(400, "The content is shorter than its Content-Length")
        left -= len(data)
        yield data


def _pieces_to_end(source: Any) -> Iterator[bytes]:
    while data := _read(source, PIECE_SIZE):
        yield data


def _behind(first: bytes, pieces: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from pieces


def _chunks(pieces: Iterator[bytes]) -> Iterator[bytes]:
    for piece in pieces:
        yield b"%x\r\n%b\r\n" % (len(piece), piece)
    yield b"0\r\n\r\n"
