"""How a request is answered (manual: "HTTPRequest", the methods that begin with ``send``).

An answer goes out in one of two ways. `ResponseWriter.send_response` has all of it at once. The other methods make it
up piece by piece: a status, fields, the end of the head (with which its framing is decided), content, `finish`.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterable
from http.cookies import CookieError, SimpleCookie
from typing import TYPE_CHECKING, Any, Final

from pants.http import _answer
from pants.http._compression import Compression, Encoder, encoded_fields, may_compress
from pants.http._cookies import SecureCookies, cookie_lines
from pants.http._refused import Refused
from pants.http._send_file import send_file
from pants.http.utils import HTTPHeaders

if TYPE_CHECKING:
    from pants.http._connection import HTTPConnection

log = logging.getLogger("pants.http")

# Values of ResponseWriter._stage.
_NOTHING: Final = 0  # has been sent
_HEAD: Final = 1  # the status is known, and fields are being collected
_LENGTH: Final = 2  # content follows, as much as was declared
_CHUNKED: Final = 3  # in chunks
_UNTIL_CLOSE: Final = 4  # until the connection closes
_NO_CONTENT: Final = 5  # none follows, whatever is passed to send()
_MAKING_HEAD: Final = 6  # somebody is changing its fields, and must not answer meanwhile

# A piece at least so long is not copied to put a chunk's size before it.
_LARGE: Final = 65536
# Seconds between two calls of on_drain where nothing is sent, as to HEAD.
_DRAIN_PACE: Final = 0.001
# Those of a Content-Length.
_MOST_DIGITS: Final = 18


class ResponseWriter:
    """The half of `HTTPRequest` that answers."""

    connection: HTTPConnection
    method: str
    protocol: str

    if TYPE_CHECKING:
        _head: bytes
        _headers: HTTPHeaders | None

        @property
        def headers(self) -> HTTPHeaders: ...

    #: The status that has been sent; 0 before.
    code: int = 0
    #: The bytes of content that have been passed to the connection.
    sent_bytes: int = 0
    #: Called each time the client has taken all that was sent: the moment to send more, where it is much.
    on_drain: Callable[[], object] | None = None
    #: Called when the connection closes before the request is finished: the client went away, most likely.
    on_close: Callable[[], object] | None = None
    #: Called when the client sends nothing more, while it waits for its answer. Mostly it has gone away, which nobody
    #: can tell for certain before something is sent; if it does not, and nothing is, the connection is closed after
    #: ``limits.keep_alive_timeout``.
    on_end: Callable[[], object] | None = None

    # Set where they differ only.
    _began: float
    _ended: float | None = None
    _ending: int = _answer.KEEP
    _ending_when_whole: int = _answer.KEEP  # once the body has arrived
    _finished: bool = False
    _stage: int = _NOTHING
    _lines: list[tuple[str, str]]  # the fields so far
    _cookie_lines: bytes = b""
    _cookies_sent: frozenset[str] = frozenset()
    _cookies_out: SimpleCookie | None = None
    _left: int = 0  # of the declared length; below 0 where none was, and the content is compressed
    _encoder: Encoder | None = None
    _ends_with_care: bool = False  # there is something to release when the request is over
    _at_end: list[Callable[[], object]] | None = None
    # Called with the code and the fields of a final answer, right before its head is sent; returns the fields to send.
    _on_head: Callable[[int, list[tuple[str, str]]], list[tuple[str, str]]] | None = None
    _drain_due: Callable[[], None] | None = None
    _charset: str | None = None

    # --- State --------------------------------------------------------------------------------------------------

    @property
    def finished(self) -> bool:
        """Whether the request has been answered, or given up by `finish`."""
        return self._finished

    @property
    def _without_content(self) -> bool:
        """Whether the head has been sent of an answer that has no content, so that it is complete for the client."""
        return self._stage == _NO_CONTENT

    @property
    def time(self) -> float:
        """Seconds since the request was received; those it took, once it is finished (manual: "time")."""
        return (self.connection.engine.clock() if self._ended is None else self._ended) - self._began

    @property
    def cookies_out(self) -> SimpleCookie:
        """The cookies to send with the answer; to be filled (manual: "cookies_out")."""
        if self._cookies_out is None:
            self._cookies_out = SimpleCookie()
        return self._cookies_out

    @cookies_out.setter
    def cookies_out(self, value: SimpleCookie) -> None:
        if not isinstance(value, SimpleCookie):
            raise TypeError(f"cookies_out is an http.cookies.SimpleCookie, not {value!r}")
        self._cookies_out = value

    def set_secure_cookie(self, name: str, value: Any, expires: float = 2592000, **kwargs: Any) -> None:
        """Sign a cookie, so that the client cannot alter it, and send it with the answer (manual: "set_secure_cookie").

        The client can read it. `get_secure_cookie` of a later request gives the value back.

        Args:
            name: The name of the cookie.
            value: A str, bytes, or a dict, list or tuple of what JSON has.
            expires: Seconds until the cookie is not valid any more.
            **kwargs: Attributes of the cookie: ``path`` (by default ``/``), ``domain``, ``secure``, ``samesite``,
                ``httponly`` (by default true).

        Raises:
            RuntimeError: The server has no ``cookie_secret``.
            TypeError: The value is of another type, or an attribute is not known.
            ValueError: The name or an attribute cannot stand in a cookie.
        """
        token = self._secure_cookies("set_secure_cookie").sign(name, value, expires, time.time())
        attributes = {"path": "/", "httponly": True, "max-age": int(expires), "expires": int(expires), **kwargs}
        cookie: SimpleCookie = SimpleCookie()
        try:
            cookie[name] = token
        except CookieError as error:
            raise ValueError(f"no cookie can have the name {name!r}: {error}") from None
        for key, attribute in attributes.items():
            attribute_name = key.replace("_", "-")
            if not cookie[name].isReservedKey(attribute_name):
                raise TypeError(f"set_secure_cookie() got an attribute that cookies do not have: {key!r}")
            if attribute is not None:
                cookie[name][attribute_name] = attribute
        cookie_lines(cookie)  # raises where it cannot be sent
        self.cookies_out[name] = cookie[name]

    def _secure_cookies(self, method: str) -> SecureCookies:
        signer: SecureCookies | None = self.connection.server._cookie_signer
        if signer is None:
            raise RuntimeError(f"{method}() needs the cookie_secret of the HTTPServer, and it was given none")
        return signer

    # --- All at once --------------------------------------------------------------------------------------------

    def send_response(
        self,
        content: str | bytes | bytearray | memoryview,
        code: int = 200,
        content_type: str = "text/plain",
        headers: _answer.Fields = (),
    ) -> None:
        """Send an answer, and finish the request (manual: "send_response").

        An answer to HEAD, or one that has no content by its code (204, 205, 304), is sent without ``content``. To a
        client that has gone, nothing is sent. `cookies_out` goes with it.

        Args:
            content: The content. A str is encoded with the charset of ``content_type``, UTF-8 if it names none.
            code: The status code, 200 to 599.
            content_type: The value of the Content-Type header, which is sent as it is.
            headers: More headers. Those that belong to the framing (Content-Length and the like), Date and Server are
                the server's.

        Raises:
            RuntimeError: The request is finished, or an answer has begun.
            TypeError: An argument is of the wrong type.
            ValueError: The code is no final one; a header contains a line end or other control characters, or is the
                server's; the charset is not known, or cannot encode the content.
        """
        if self._finished or self._stage:
            raise self._too_late("send_response")
        connection = self.connection
        head = connection._answer_heads.get(code, content_type, self._ending, connection.engine.time)
        if content.__class__ is str:
            content = content.encode(head.charset)
        elif content.__class__ is not bytes:
            content = _as_bytes(content, head.charset)
        if (
            headers
            or self._cookies_out
            or self._on_head is not None
            or connection.server.compression is not None
            or self.method == "CONNECT"
        ):
            self._send_with_fields(content, code, content_type, headers)
            return
        if not head.has_content:
            answer = head.prefix + (b"0\r\n\r\n" if head.has_length else b"\r\n")
        elif self.method == "HEAD":
            answer = b"%b%d\r\n\r\n" % (head.prefix, len(content))
        else:
            answer = b"%b%d\r\n\r\n%b" % (head.prefix, len(content), content)
            self.sent_bytes = len(content)
        self.code = code
        if connection.connected:
            connection.write(answer)
        else:
            self.sent_bytes = 0
        self._finished = True
        if connection.current_request is self:
            if connection._taking is not None:
                connection._note_written(len(answer))
            connection.finish()

    def _send_with_fields(self, content: bytes, code: int, content_type: str, headers: _answer.Fields) -> None:
        """Send an answer that has more to it than a type and a length."""
        fields = [("Content-Type", content_type), *_answer.own_fields_refused(headers)]
        length: int | None = len(content)
        coding, fields = self._negotiate_coding(code, fields, None if code == 304 else length)
        if code in _answer.WITHOUT_CONTENT:
            self._send_whole(code, fields[1:], b"", None)
            return
        if coding is not None:
            content = b"" if self.method == "HEAD" else self._compression.compress(coding, content)
            length = None if self.method == "HEAD" else len(content)
        self._send_whole(code, fields, content, length)

    def _send_whole(self, code: int, fields: list[tuple[str, str]], content: bytes, length: int | None = 0) -> None:
        """Send an answer in one piece, and finish the request.

        Args:
            code: The status code.
            fields: The fields, but those of the framing.
            content: The content. It is empty for HEAD, and where the answer has none.
            length: The length of the content, or what it would be; None for no such field.
        """
        self._begin_whole(code, fields, length, content)
        self._conclude()

    def _begin_whole(self, code: int, fields: list[tuple[str, str]], length: int | None, content: bytes = b"") -> bool:
        """Send the head of an answer whose length is known, and its content if that is known too.

        Returns:
            Whether content belongs to it.
        """
        cookies = b""
        if self._cookies_out:
            cookies = cookie_lines(self._cookies_out)
            self._cookies_sent = frozenset(self._cookies_out)
        self.code = code
        self._lines = fields
        self._cookie_lines = cookies
        self._write_head(length, content)
        return self._stage == _LENGTH

    def _send_ready(self, head: bytes, content: bytes) -> None:
        """Send an answer whose head is made, its length and the empty line included, and finish the request."""
        self.code = 200
        if self.connection.connected:
            self.sent_bytes = len(content)
        self._write(head + content)
        self._conclude()

    def _count_whole(self) -> None:
        """All of the declared content has been passed to the connection."""
        self.sent_bytes = self._left
        self.connection._note_written(self._left)
        self._left = 0

    @property
    def _compression(self) -> Compression:
        compression = self.connection.server.compression
        assert compression is not None
        return compression

    def _negotiate_coding(
        self, code: int, fields: list[tuple[str, str]], length: int | None
    ) -> tuple[str | None, list[tuple[str, str]]]:
        """Decide whether the content is compressed.

        Args:
            code: The status code.
            fields: The fields, but those of the framing.
            length: The length of the content, None if it is not known.

        Returns:
            The coding, None for none; and the fields to send.
        """
        compression = self.connection.server.compression
        if compression is None or (length is not None and length < compression.min_size):
            return None, fields
        content_type = _content_type(fields)
        if content_type is None or not compression.is_compressible(content_type):
            return None, fields
        # These stand for the 200 that there might have been (RFC 9110 §15.3.7, §15.4.5).
        whole = code not in (206, 304)
        about = fields if whole else [field for field in fields if field[0].lower() != "content-range"]
        if not may_compress(self.method, code if whole else 200, about):
            return None, fields
        coding = compression.choose(self.headers.get("Accept-Encoding"), content_type) if code != 206 else None
        return coding if whole else None, encoded_fields(code, fields, coding, None)

    def _send_refusal(self, refused: Refused) -> None:
        """Answer a request that the handler found to be bad."""
        self._send_error(_answer.refusal_content(refused.status, refused.reason), refused.status)

    def _send_error(self, content: bytes, code: int) -> None:
        """Send an answer in the place of the handler's."""
        try:
            self.send_response(content, code)
        except (TypeError, ValueError):  # by a cookie that the handler has set
            self._cookies_out = None
            self.send_response(content, code)

    def _call_at_end(self, function: Callable[[], object]) -> None:
        """Call a function when the request is over: finished, or its connection closed. At once, if it is."""
        if self._finished or self._ended is not None:
            self._call_contained(function)
            return
        self._ends_with_care = True
        if self._at_end is None:
            self._at_end = []
        self._at_end.append(function)

    def _call_contained(self, function: Callable[[], object]) -> None:
        try:
            function()
        except Exception:
            log.exception("%r failed, at the end of %r", function, self)

    def _release(self) -> None:
        """The request is over: tell whoever waits for it."""
        self._on_head = None
        functions, self._at_end = self._at_end, None
        for function in functions or ():
            self._call_contained(function)

    def _take_back(self) -> bool:
        """Forget an answer that has begun and of which nothing was sent; tell whether another can be given."""
        if self._stage == _HEAD:
            self._stage = _NOTHING
            self.code = 0
            self._cookie_lines = b""
            self._cookies_sent = frozenset()
            self._charset = None
            self._encoder = None
            self._left = 0
        return self._stage == _NOTHING and not self._finished

    # --- A file -------------------------------------------------------------------------------------------------

    def send_file(
        self,
        path: str | os.PathLike[str],
        filename: str | None = None,
        guess_mime: bool = True,
        headers: _answer.Fields | None = None,
        *,
        precompressed: bool = False,
    ) -> None:
        """Send a file, and finish the request (manual: "send_file").

        Conditions and ranges that the client asks for are honoured (RFC 9110 §13, §14), and the kernel sends from the
        file. With the server's ``sendfile``, only a header is sent, for the proxy to send the file. A file that is not
        there, is outside of the server's ``file_root``, or is no regular file, is answered with 404; one that may not
        be read, with 403.

        A path that comes from a client is safe with a ``file_root`` only, and is to be unquoted first:
        ``request.send_file(unquote(request.path).lstrip("/"))``.

        Args:
            path: The file. A relative path starts at the server's ``file_root``, else at the working directory.
            filename: Have the client save the file under this name, rather than show it.
            guess_mime: Whether to tell a Content-Type by the extension of the path.
            headers: More headers. They take the place of those that are made here.
            precompressed: Whether to send a neighbour of the file, with ``.br``, ``.zst`` or ``.gz`` at the end of its
                name and not older, to a client that takes that coding.

        Raises:
            RuntimeError: The request is finished, or an answer has begun.
            TypeError: An argument is of the wrong type.
            ValueError: A header contains a line end or other control characters, or belongs to the framing; with
                ``sendfile``, the file is outside of the root.
        """
        send_file(self, path, filename, guess_mime, headers or (), precompressed=precompressed)

    # --- Piece by piece -----------------------------------------------------------------------------------------

    def send_status(self, code: int = 200) -> None:
        """Begin an answer with its status line (manual: "send_status").

        It goes out together with the fields. An interim answer, 103 say, ends with its fields, and another answer
        follows; a client of HTTP/1.0 is not sent any.

        Args:
            code: The status code, 100 to 599.

        Raises:
            RuntimeError: The request is finished, or an answer has begun.
            TypeError, ValueError: It is no status code.
        """
        if self._finished or self._stage:
            raise self._too_late("send_status")
        _answer.check_code(code, 100)
        self.code = code
        self._lines = []
        self._stage = _HEAD

    def send_headers(self, headers: _answer.Fields, end_headers: bool = True, cookies: bool = True) -> None:
        """Add fields to the head of an answer (manual: "send_headers").

        Without `send_status` before, the status is 200. What the program does not set the server does: Date, Server,
        and the framing. Without a Content-Length the content goes in chunks, or, with HTTP/1.0, until the connection
        closes. ``Connection: close`` closes the connection after the answer.

        Args:
            headers: A dict, or pairs of a name and a value. A value is a str or an int, or a list of them.
            end_headers: Whether the head ends here, and is sent.
            cookies: Whether the cookies in `cookies_out` go with it.

        Raises:
            RuntimeError: The request is finished, or the head has ended.
            TypeError: A header is of the wrong type.
            ValueError: A header contains a line end or other control characters; it is one that only the server can
                set; Content-Length is no number, or comes twice.
        """
        self._check_head("send_headers")
        fields = _answer.checked_fields(headers)
        self._check_framing(fields)
        begun = self._stage == _HEAD
        if cookies and self._cookies_out and not (begun and self.code < 200):
            self.send_cookies()  # before the fields are taken, for it may raise
        elif not begun:
            self.send_status()
        self._lines += fields
        if end_headers:
            self._end_head()

    def send_cookies(self, keys: Iterable[str] | None = None, end_headers: bool = False) -> None:
        """Add cookies to the head of an answer (manual: "send_cookies"); `send_headers` does it by itself.

        A cookie is sent once: `send_headers` leaves out what was sent by this.

        Args:
            keys: The names of cookies in `cookies_out`; all by default.
            end_headers: Whether the head ends here, and is sent.

        Raises:
            RuntimeError: The request is finished, or the head has ended.
            KeyError: There is no such cookie.
            ValueError: A cookie contains what cannot stand in one.
        """
        self._check_head("send_cookies")
        if isinstance(keys, str):
            raise TypeError(f"keys is a list of names, as in [{keys!r}], not a str")
        names = [key for key in (self.cookies_out if keys is None else keys) if key not in self._cookies_sent]
        lines = cookie_lines(self.cookies_out, names)
        if self._stage == _NOTHING:
            self.send_status()
        self._cookie_lines += lines
        self._cookies_sent = self._cookies_sent.union(names)
        if end_headers:
            self._end_head()

    def send(self, data: str | bytes | bytearray | memoryview) -> None:
        """Send content (manual: "send").

        Where the head has not ended, it does. To a client that has gone nothing is sent; nor is content where the
        answer has none, as to HEAD. More than the declared Content-Length closes the connection.

        A program that sends much waits for `on_drain` between one piece and the next.

        Args:
            data: The content. A str is encoded with the charset of the Content-Type, UTF-8 if it names none.

        Raises:
            RuntimeError: The request is finished.
            TypeError: It is neither str nor bytes.
            ValueError: The charset is not known, or cannot encode it.
        """
        if self._finished or self._stage == _MAKING_HEAD:
            raise self._too_late("send")
        content = data if isinstance(data, bytes) else _as_bytes(data, self._find_charset())
        if self._stage == _NOTHING:
            self.send_status()
        if self._stage == _HEAD:
            if self.code < 200:
                raise RuntimeError(f"send() on {self!r}, whose answer so far is an interim one, without content")
            if self._cookies_out:
                self.send_cookies()
            self._end_head()
        if not content or self._stage == _NO_CONTENT:
            self._drain_soon()
            return
        if self._encoder is not None:
            if 0 <= self._left < len(content):
                self._break_off(f"{len(content) - self._left} bytes more than its Content-Length")
                return
            if self._left > 0:
                self._left -= len(content)
            content = self._encoder.feed(content)
        self._write_content(content)

    def _drain_soon(self) -> None:
        """Call `on_drain` although nothing was written, so that whoever waits for it comes to an end."""
        if self._drain_due is None and self.on_drain is not None:
            # Not at once: to a program that never ends, the client is no brake here.
            self._drain_due = self.connection.engine.defer(_DRAIN_PACE, self._drain)

    def _drain(self) -> None:
        self._drain_due = None
        if self.on_drain is not None and self.connection.current_request is self:
            self.connection._call_hook(self.on_drain)

    def finish(self) -> None:
        """Be done with the request, so that the connection can go on to the next (manual: "finish").

        `send_response` and `send_file` call it. A request that is finished without an answer, or before the declared
        length has been sent, closes the connection, for the client would take the next answer for this one. Finishing
        again does nothing.
        """
        if self._finished:
            return
        if self._stage == _MAKING_HEAD:
            raise self._too_late("finish")
        if self._stage == _HEAD and self.code >= 200:
            if self._cookies_out:
                self.send_cookies()
            # What a GET would get, and what the client has, is not known to be empty.
            self._end_head(None if self.method == "HEAD" or self.code == 304 else 0)
        if self._stage <= _HEAD:
            self._give_up()
        else:
            self._conclude()

    # --- The head -----------------------------------------------------------------------------------------------

    def _too_late(self, method: str) -> RuntimeError:
        why = "is finished" if self._finished else "has been answered in part"
        if self._stage == _MAKING_HEAD:
            why = "is being answered"
        return RuntimeError(f"{method}() on {self!r}, which {why}; a request is answered once")

    def _check_head(self, method: str) -> None:
        if self._finished:
            raise self._too_late(method)
        if self._stage > _HEAD:
            raise RuntimeError(f"{method}() on {self!r}, the head of whose answer has been sent")

    def _check_framing(self, fields: list[tuple[str, str]]) -> None:
        """Raise ValueError unless these fields, besides those before, leave the framing unambiguous."""
        seen = {name.lower() for name, _ in self._lines} if self._stage == _HEAD else set()
        for name, value in fields:
            lower = name.lower()
            if lower in _answer.FRAMING_FIELDS and self._stage == _HEAD and self.code < 200 and self.code != 101:
                raise ValueError(f"an interim answer has no {name}")
            if lower == "transfer-encoding":
                raise ValueError("Transfer-Encoding is set by the server: content without a length goes in chunks")
            if lower == "connection" and self.code != 101 and value.strip().lower() not in ("close", "keep-alive"):
                raise ValueError(f"Connection is close or keep-alive here (or goes with the status 101), not {value!r}")
            if lower == "content-length":
                if not (value.isascii() and value.isdigit() and len(value) <= _MOST_DIGITS):
                    raise ValueError(f"Content-Length is a number of bytes, not {value!r}")
                if lower in seen:
                    raise ValueError("Content-Length is set twice")
            seen.add(lower)

    def _take_field(self, name: str) -> str | None:
        """Take a field out of those that were set."""
        found = None
        for field in [field for field in self._lines if field[0].lower() == name]:
            self._lines.remove(field)
            found = field[1]
        return found

    def _find_charset(self) -> str:
        if self._stage == _NOTHING:
            return "utf-8"
        if self._charset is None:
            self._charset = _answer.find_charset(_content_type(self._lines) or "")
        return self._charset

    def _end_head(self, length: int | None = None) -> None:
        """Send the head.

        Args:
            length: The length of the content where the program declares none, if it is known.
        """
        if self.code < 200 and self.code != 101:
            self._write_interim()
            return
        declared = self._take_field("content-length")
        if self.code != 101 and (option := self._take_field("connection")) and option.strip().lower() == "close":
            self._ending |= _answer.CLOSE
        if declared is not None:
            length = int(declared)
        coding, self._lines = self._negotiate_coding(self.code, self._lines, length)
        if coding is not None:
            if self.method != "HEAD":
                self._encoder = self._compression.encoder(coding)
                self._left = -1 if length is None else length
            length = None
        self._write_head(length)

    @property
    def _http_version(self) -> str:
        """The same as `protocol`, which subclasses may give another meaning."""
        return self.protocol

    def _write_interim(self) -> None:
        if self._http_version == "HTTP/1.1":
            self._write(_answer.status_line(self.code, _answer.KEEP) + _answer.encoded(self._lines) + b"\r\n")
        self.code = 0
        self._stage = _NOTHING

    def _write_head(self, length: int | None, content: bytes = b"") -> None:
        """Decide how the content is framed (RFC 9112 §6), and write the head.

        Args:
            length: The length of the content, None if it is not known.
            content: All of it, or nothing yet.
        """
        code = self.code
        if self._on_head is not None:
            self._ask_on_head(self._on_head)
        framing = b""
        ending = None
        if code == 101 or (self.method == "CONNECT" and code < 300):  # RFC 9110 §15.2.2, §9.3.6
            self._stage = _NO_CONTENT
            ending = self._ending
            self._ending = _answer.CLOSE  # unless another protocol takes over, see HTTPConnection.take_over()
        elif self.method == "HEAD" or code in _answer.WITHOUT_CONTENT or code == 205:
            self._stage = _NO_CONTENT
            if code == 205:  # RFC 9110 §15.3.6
                length = 0
            if length is not None and code != 204:  # RFC 9110 §8.6
                framing = b"Content-Length: %d\r\n" % length
        elif length is not None:
            self._stage = _LENGTH
            self._left = length
            framing = b"Content-Length: %d\r\n" % length
        elif self._http_version == "HTTP/1.1":
            self._stage = _CHUNKED
            framing = b"Transfer-Encoding: chunked\r\n"
        else:
            self._stage = _UNTIL_CLOSE
            self._ending = _answer.CLOSE_1_0
        connection = self.connection
        ending = self._ending if ending is None else ending
        head = connection._answer_heads.with_fields(code, ending, self._lines, connection.engine.time)
        if content and self._stage == _LENGTH:
            self._left -= len(content)
            self.sent_bytes = len(content) if connection.connected else 0
        else:
            content = b""
        self._write(b"%b%b%b\r\n%b" % (head, self._cookie_lines, framing, content))

    def _ask_on_head(self, on_head: Callable[[int, list[tuple[str, str]]], list[tuple[str, str]]]) -> None:
        """Have somebody change the fields, and the cookies."""
        self._on_head = None
        before = {name: morsel.OutputString() for name, morsel in (self._cookies_out or {}).items()}
        stage, self._stage = self._stage, _MAKING_HEAD
        try:
            self._lines = on_head(self.code, self._lines)
        except BaseException:
            if stage == _NOTHING:
                self.code = 0
            raise
        finally:
            self._stage = stage
        after = {name: morsel.OutputString() for name, morsel in (self._cookies_out or {}).items()}
        if before != after:
            names = [name for name in after if name in self._cookies_sent or before.get(name) != after[name]]
            self._cookie_lines = cookie_lines(self.cookies_out, names)

    # --- Content ------------------------------------------------------------------------------------------------

    def _write(self, data: bytes) -> None:
        connection = self.connection
        if connection.connected:
            connection.write(data)
            connection._note_written(len(data))

    def _write_content(self, data: bytes) -> None:
        """Write content, in its framing."""
        size = len(data)
        if self._stage == _NO_CONTENT or not size:
            return
        if self._stage == _LENGTH:
            if size > self._left:
                self._break_off(f"{size - self._left} bytes more than its Content-Length")
                return
            self._left -= size
        if self.connection.connected:
            self.sent_bytes += size
        if self._stage != _CHUNKED:
            self._write(data)
        elif size < _LARGE:
            self._write(b"%x\r\n%b\r\n" % (size, data))
        else:
            self._write(b"%x\r\n" % size)
            self._write(data)
            self._write(b"\r\n")

    def _break_off(self, what: str) -> None:
        """The answer cannot be completed: the client has to see that it is not whole."""
        if self.connection.connected:
            log.error("The answer to %r had %s; the connection is closed", self, what)
            self._cut_off()

    def _cut_off(self) -> None:
        """Close the connection behind a part of an answer."""
        # By its length, or without a last chunk, the client sees that it has not got all. Where only the close tells
        # the end it cannot; there what has not left yet is not sent either.
        self.connection.close(flush=self._stage != _UNTIL_CLOSE)

    def _conclude(self) -> None:
        """The answer is complete, or as much of it as there will be."""
        if self._encoder is not None and self._left <= 0:
            self._write_content(self._encoder.finish())
        if (self._stage == _LENGTH or self._encoder is not None) and self._left > 0:
            self._break_off(f"{self._left} bytes less than its Content-Length")
        elif self._stage == _CHUNKED:
            self._write(b"0\r\n\r\n")
        self._finished = True
        if self.connection.current_request is self:
            self.connection.finish()

    def _give_up(self) -> None:
        """Finish without an answer."""
        self._finished = True
        self._on_head = None
        if self.connection.current_request is self:
            self.connection.close()
            self.connection.finish()


def _content_type(fields: list[tuple[str, str]]) -> str | None:
    """Return the value of Content-Type, the last one if there are several; None if there is none."""
    types = [value for name, value in fields if name.lower() == "content-type"]
    return types[-1] if types else None


def _as_bytes(content: Any, charset: str) -> bytes:
    if isinstance(content, str):
        return content.encode(charset)
    if not isinstance(content, (bytes, bytearray, memoryview)):
        raise TypeError(f"content is str or bytes, not {type(content).__name__}")
    return bytes(content)
