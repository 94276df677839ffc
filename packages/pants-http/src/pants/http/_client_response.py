"""The response to a client's request (manual: "HTTPResponse")."""

from __future__ import annotations

import codecs
import json
import os
from collections.abc import Iterator
from functools import cached_property
from http.cookies import SimpleCookie
from tempfile import SpooledTemporaryFile
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import urljoin

from pants.http._answer import named_charset
from pants.http._body import add_piece
from pants.http._client_cookies import received_cookies
from pants.http._client_errors import RedirectRefused
from pants.http._reply import REDIRECTS, Reply
from pants.http._target import parse_target, quoted
from pants.http.utils import HTTPHeaders

if TYPE_CHECKING:
    from pants.http._client_exchange import Exchange
    from pants.http._client_request import HTTPRequest
    from pants.http.client import HTTPClient

# How often credentials are asked for in one exchange, at most.
_MOST_DEMANDS: Final = 5
# The most that is shown of a URL in a message, in characters.
_MOST_SHOWN: Final = 200
# Pieces of a file that are decoded at once, in bytes.
_PIECE: Final = 65536


#: When the request was made and when a connection was found for it; how long that took to be made, and when it was
#: ready; when the request had been sent, the response began and was complete. All on the engine's clock, in seconds.
Times = tuple[float, float, tuple[float | None, float | None, float | None, float], float, float, float]


class Timings(NamedTuple):
    """How long the phases of a request took, in seconds, as in an HTTP archive (HAR).

    A phase that there was not is None: a connection that was used again was neither looked up nor made.

    Attributes:
        blocked: Waiting for a connection that is free.
        dns: Looking the name up.
        connect: Connecting, and the proxy's tunnel.
        ssl: The handshake of TLS.
        send: Sending the request.
        wait: Waiting for the response's first byte.
        receive: Receiving the response.
        total: From the call, or the response that led to this one, to the end of this one.
    """

    blocked: float
    dns: float | None
    connect: float | None
    ssl: float | None
    send: float
    wait: float
    receive: float
    total: float


class _ContentFile(SpooledTemporaryFile[bytes]):
    """A temporary file that may be dropped without being closed, for nobody has to ask for it."""

    def __del__(self) -> None:
        self.close()


class HTTPResponse:
    """What a server has answered (manual: "HTTPResponse").

    Args:
        request: The `HTTPRequest` that it answers.

    Attributes:
        request: The same.
        history: The responses that led to this one: redirects, and demands for authentication.

    Example:
        >>> from pants import Engine
        >>> from pants.http import HTTPClient, HTTPServer
        >>> server = HTTPServer(lambda request: request.send_response("Hello, World!")).listen(("127.0.0.1", 0))
        >>> response = HTTPClient().get("http://127.0.0.1:%d/" % server.local_address[1]).wait()
        >>> response.status, response.text
        ('200 OK', 'Hello, World!')
        >>> server.close()
    """

    # Not __slots__: programs keep things here; and the cached ones need a place.

    request: HTTPRequest
    history: list[HTTPResponse]

    def __init__(self, request: HTTPRequest) -> None:
        self.request = request
        self.history = []
        self._exchange: Exchange | None = None  # as long as it is not complete
        self._times: Times | None = None
        self._reply: Reply | None = None
        self._received = 0  # the bytes of the content, as they came
        self._size = 0  # and as they are kept
        self._content: bytes | None = None
        self._pieces: list[bytes | bytearray] = []
        self._file: SpooledTemporaryFile[bytes] | None = None
        self._spooled = False  # the content is in the file only
        self._shown = False  # the file has been given to the program, which may have moved its position

    def __repr__(self) -> str:
        return f"<{type(self).__name__} [{self.status}] at {id(self):#x}>"

    # --- Its head -----------------------------------------------------------------------------------------------

    @property
    def http_version(self) -> str:
        """HTTP/1.0 or HTTP/1.1; an empty string where nothing has arrived."""
        return "" if self._reply is None else self._reply.protocol

    @property
    def status_code(self) -> int:
        """The status code; 0 where nothing has arrived."""
        return 0 if self._reply is None else self._reply.status

    @property
    def status_text(self) -> str:
        """The reason that goes with it, as the server put it."""
        return "" if self._reply is None else self._reply.reason

    @property
    def status(self) -> str:
        """The status code and its text."""
        return f"{self.status_code} {self.status_text}".rstrip()

    @cached_property
    def headers(self) -> HTTPHeaders:
        """The header fields. Names of any case will do."""
        return HTTPHeaders() if self._reply is None else self._reply.headers()

    @cached_property
    def trailers(self) -> HTTPHeaders:
        """The fields behind chunked content (RFC 9112 §7.1.2), once that is complete."""
        return HTTPHeaders()

    @cached_property
    def cookies(self) -> SimpleCookie:
        """The cookies that came with it, whether the session keeps them or not."""
        return received_cookies(self.headers.get_list("Set-Cookie"))

    @property
    def url(self) -> str:
        """The URL that it comes from, the last of the redirects; without credentials."""
        return self.request._full_url

    @property
    def length(self) -> int:
        """The bytes of the content that have been received so far, before they were decoded."""
        return self._received

    @cached_property
    def encoding(self) -> str | None:
        """The charset of the content, as the Content-Type has it; None where it has none, or one that is not known.

        It can be set, to the name of another one, or None.
        """
        try:
            return named_charset(self.headers.get("Content-Type", ""))
        except ValueError:
            return None

    @property
    def timings(self) -> Timings | None:
        """How long it took; None before it is complete."""
        if self._times is None:
            return None
        asked, began, (dns, connect, ssl, ready), sent, first, done = self._times
        begun = max(began, ready)
        first = max(first, begun)
        sent = min(max(sent, begun), first)
        return Timings(began - asked, dns, connect, ssl, sent - begun, first - sent, done - first, done - asked)

    # --- Its content --------------------------------------------------------------------------------------------

    @property
    def content(self) -> bytes | None:
        """The content, all of it in memory; None where none has been received (manual: "content").

        Raises:
            RuntimeError: It lay on disk, and `close` was called.
        """
        if self._content is None and self._size:
            if self._spooled:
                file = self._open_file()
                at = file.tell()
                file.seek(0)
                content = file.read()
                file.seek(at)
                return content
            self._content = b"".join(self._pieces)
            self._pieces = [self._content]
        return self._content

    @property
    def text(self) -> str | None:
        """The content as a str, in `encoding` or else in UTF-8; None where none has been received.

        What is malformed becomes U+FFFD.

        Raises:
            LookupError: `encoding` was set to a charset that is not known.
        """
        content = self.content
        return None if content is None else content.decode(self.encoding or "utf-8", "replace")

    def json(self, **kwargs: Any) -> Any:
        """Return the content, having read it as JSON.

        Args:
            **kwargs: For `json.loads`.

        Raises:
            ValueError: It is no JSON.
        """
        encoding = self.encoding or "utf-8"
        if encoding.lower() in ("utf-8", "utf8"):
            encoding = "utf-8-sig"  # a byte order mark is to be ignored (RFC 8259 §8.1)
        return json.loads((self.content or b"").decode(encoding), **kwargs)

    @property
    def file(self) -> SpooledTemporaryFile[bytes] | None:
        """The content as a temporary file, at its start at first; None where none has been received.

        It is the same file each time, in memory unless the content is long.

        Raises:
            RuntimeError: It lay on disk, and `close` was called.
        """
        if not self._size:
            return None
        file = self._open_file()
        if not self._shown:
            self._shown = True
            file.seek(0)
        return file

    def _open_file(self) -> SpooledTemporaryFile[bytes]:
        if self._file is None:
            self._file = _ContentFile()  # which stays in memory until _spool()
            for piece in self._pieces:
                self._file.write(piece)
        elif self._spooled and self._file.closed:
            raise RuntimeError("the content lay on disk, and was removed when the response was closed")
        return self._file

    def close(self) -> None:
        """Close `file`, and remove what is kept of the content on disk. What is in memory stays."""
        if self._file is not None:
            self._file.close()
            if not self._spooled:
                self._file = None

    def iter_content(self, chunk_size: int = 1, decode_unicode: bool = False) -> Iterator[Any]:
        """Iterate over the content, without loading all of it into memory (manual: "iter_content").

        Args:
            chunk_size: Bytes at once.
            decode_unicode: Whether to give str, decoded as `text` is, rather than bytes.

        Raises:
            TypeError: ``chunk_size`` is not an int.
            ValueError: It is below 1.
            LookupError: As `text`.
        """
        if isinstance(chunk_size, bool) or not isinstance(chunk_size, int):
            raise TypeError(f"chunk_size is an int, not {chunk_size!r}")
        if chunk_size < 1:
            raise ValueError(f"chunk_size is 1 or more, not {chunk_size}")
        pieces = self._iter_bytes(chunk_size)
        if not decode_unicode:
            return pieces
        return _decode(pieces, codecs.getincrementaldecoder(self.encoding or "utf-8")("replace"))

    def _iter_bytes(self, size: int) -> Iterator[bytes]:
        if not self._spooled:
            content = self.content or b""
            for at in range(0, len(content), size):
                yield content[at : at + size]
            return
        at = 0
        block = max(size, _PIECE - _PIECE % size)  # a read from the file costs more than a slice
        while at < self._size:
            file = self._open_file()
            position = file.tell()
            file.seek(at)
            data = file.read(block)
            file.seek(position)
            if not data:
                return
            at += len(data)
            for start in range(0, len(data), size):
                yield data[start : start + size]

    def iter_lines(self, chunk_size: int = 512, decode_unicode: bool = False) -> Iterator[Any]:
        """Iterate over the lines of the content, their ends left out (manual: "iter_lines").

        Args:
            chunk_size, decode_unicode: As of `iter_content`. Lines end as `bytes.splitlines` and `str.splitlines` say.

        Raises:
            TypeError, ValueError, LookupError: As `iter_content`.
        """
        return _lines(self.iter_content(chunk_size, decode_unicode))

    def pause_body(self) -> None:
        """Have ``on_data`` called no more until `resume_body`, and the rest of the content wait in the kernel.

        Meanwhile the time without activity does not run.
        """
        if self._exchange is not None:
            self._exchange._pause_content()

    def resume_body(self) -> None:
        """Undo `pause_body`."""
        if self._exchange is not None:
            self._exchange._resume_content()

    # --- Its arrival --------------------------------------------------------------------------------------------

    def _keep(self, data: bytes, spool_size: int) -> None:
        """Keep another piece of the content.

        Raises:
            OSError: It cannot be written to the disk.
        """
        self._size += len(data)
        self._content = None
        if not self._spooled:
            add_piece(self._pieces, data)
            if self._size > spool_size:
                self._spool()
            elif self._file is not None:  # it was asked for before this piece
                self._append(self._file, data)
            return
        self._append(self._open_file(), data)

    def _append(self, file: SpooledTemporaryFile[bytes], data: bytes) -> None:
        if not self._shown:
            file.write(data)
            return
        at = file.tell()
        file.seek(0, os.SEEK_END)
        file.write(data)
        file.seek(at)

    def _spool(self) -> None:
        """Move what is in memory to the disk."""
        pieces, self._pieces = self._pieces, []
        self._spooled = True
        if self._file is None:
            self._file = _ContentFile()
            self._file.rollover()
            for piece in pieces:
                self._file.write(piece)
            return
        at = self._file.tell()  # somebody may be reading it
        self._file.rollover()
        self._file.seek(0)
        for piece in pieces:
            self._file.write(piece)
        self._file.seek(at)

    def _flush(self) -> None:
        """All has arrived: meet a disk that is full now."""
        if self._spooled:
            file = self._open_file()
            file.flush()
            if not self._shown:
                file.seek(0)

    # --- What follows from it -----------------------------------------------------------------------------------

    @property
    def is_redirect(self) -> bool:
        """Whether it sends the client somewhere else (RFC 9110 §15.4)."""
        return self.status_code in REDIRECTS and "Location" in self.headers

    def handle_301(self, client: HTTPClient) -> HTTPRequest | None:
        """Handle a redirect, of any of the codes 301, 302, 303, 307 and 308 (manual: "handle_301").

        The client calls it once the head has arrived. A POST that is redirected by 301 or 302 becomes a GET, as
        everything but HEAD does by 303 (RFC 9110 §15.4). To another origin go neither credentials nor cookies nor
        fields that may be secret.

        Args:
            client: The client.

        Returns:
            The request to be made next; None where this response is the final one.

        Raises:
            RedirectRefused: It leads to what is no URL of HTTP, or from https to http.
        """
        request = self.request
        if not self.is_redirect or request.max_redirects <= 0:
            return None
        before = request._target
        location = quoted(self.headers.get_list("Location")[0].encode("latin-1"))
        try:
            target = parse_target(urljoin(before.url, location))
        except ValueError as error:
            raise RedirectRefused(f"the server redirects to what cannot be followed: {error}") from None
        if before.secure and not target.secure:
            raise RedirectRefused(f"the server redirects to {target.url[:_MOST_SHOWN]}, which is not secure")
        if not target.fragment and before.fragment:  # RFC 9110 §10.2.2
            target = target.with_fragment(before.fragment)
        if target.credentials is None and target.origin == before.origin:
            target = target.with_credentials(before.credentials)
        method = request.method
        if (self.status_code in (301, 302) and method == "POST") or (self.status_code == 303 and method != "HEAD"):
            method = "GET"
        again = request._again(target, method, redirects=1)
        if not again._is_replayable:
            raise RedirectRefused("the server redirects, and the body came from an iterator; it cannot be sent again")
        return again

    def handle_401(self, client: HTTPClient) -> HTTPRequest | None:
        """Handle a demand for authentication, where the request's ``auth`` knows how (manual: "handle_401").

        Args:
            client: The client.

        Returns:
            The request to be made next; None where this response is the final one.
        """
        request = self.request
        if self.status_code != 401 or request.auth is None:
            return None
        if sum(earlier.status_code == 401 for earlier in self.history) >= _MOST_DEMANDS:
            return None
        if not request._is_replayable:
            return None
        if not request.auth.handle_401(self):
            return None
        return request._again(request._target, request.method)

    def _next(self, client: HTTPClient) -> HTTPRequest | None:
        """Return the request that is to be made next, if there is to be one."""
        if self.status_code == 401:
            return self.handle_401(client)
        if self.status_code in REDIRECTS:
            return self.handle_301(client)
        return None


def _decode(pieces: Iterator[bytes], decoder: codecs.IncrementalDecoder) -> Iterator[str]:
    for piece in pieces:
        if text := decoder.decode(piece):
            yield text
    if text := decoder.decode(b"", final=True):
        yield text


def _lines(pieces: Iterator[Any]) -> Iterator[Any]:
    """Put lines together; what one is made of is joined once, however small the pieces are."""
    begun: list[Any] = []
    for piece in pieces:
        if begun and (begun[-1][-1:] in ("\r", b"\r") or len(piece.splitlines(keepends=True)) > 1 or _ends(piece)):
            piece = piece[:0].join([*begun, piece])
            begun = []
        lines = piece.splitlines(keepends=True)
        if lines and (lines[-1][-1:] in ("\r", b"\r") or not _ends(lines[-1])):
            begun.append(lines.pop())
        for line in lines:
            yield line.splitlines()[0]
    if begun:
        yield from begun[0][:0].join(begun).splitlines()


def _ends(text: Any) -> bool:
    """Whether a line ends there."""
    return len(text.splitlines()[-1]) < len(text.splitlines(keepends=True)[-1])
