"""One request, and what answers it (manual: "HTTPRequest")."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from pants.http import _answer
from pants.http._head import split_fields
from pants.http.utils import HTTPHeaders

if TYPE_CHECKING:
    from pants.http.server import HTTPConnection


class HTTPRequest:
    r"""A request that an `HTTPServer` has received (manual: "HTTPRequest").

    The server makes one for each request, and passes it to the request handler. It may be answered there or later,
    after the handler has returned. It takes any attribute that the program wants to keep with it.

    Args:
        connection: The `HTTPConnection` that received the request.
        method: The method, as in ``GET``.
        url: The request target as it was sent.
        protocol: ``HTTP/1.1`` or ``HTTP/1.0``.
        headers: The header fields.
        scheme: ``http`` or ``https``.

    Example:
        >>> from pants.http import HTTPServer
        >>> def handler(request):
        ...     request.send_response(f"You asked for {request.path}\n")
        >>> server = HTTPServer(handler).listen(("127.0.0.1", 0))
        >>> server.close()
    """

    #: The `HTTPConnection` that received the request.
    connection: HTTPConnection
    #: The method, as in ``GET``.
    method: str
    #: The request target as it was sent: mostly a path and a query.
    url: str
    #: ``HTTP/1.1`` or ``HTTP/1.0``.
    protocol: str
    #: ``https`` where the connection is secure, else ``http``.
    scheme: str
    #: The whole body of the request.
    body: bytes = b""

    # Set where they differ only: most requests have none of it.
    _head: bytes = b""
    _headers: HTTPHeaders | None = None
    _parts: tuple[str, str] | None = None
    _ending: int = _answer.KEEP
    _finished: bool = False

    def __init__(
        self,
        connection: HTTPConnection,
        method: str,
        url: str,
        protocol: str,
        headers: HTTPHeaders | None = None,
        scheme: str = "http",
    ) -> None:
        self.connection = connection
        self.method = method
        self.url = url
        self.protocol = protocol
        self.scheme = scheme
        if headers is not None:
            self._headers = headers

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.method} {self.url}>"

    # --- What was asked -----------------------------------------------------------------------------------------

    @property
    def headers(self) -> HTTPHeaders:
        """The header fields, as `HTTPHeaders`."""
        if self._headers is None:
            self._headers = HTTPHeaders(split_fields(self._head) if self._head else ())
        return self._headers

    @property
    def path(self) -> str:
        """The path of `url`, as it was sent: nothing is decoded."""
        return (self._parts or self._split())[0]

    @property
    def query(self) -> str:
        """The query of `url`, as it was sent; an empty string where there is none."""
        return (self._parts or self._split())[1]

    def _split(self) -> tuple[str, str]:
        url = self.url.partition("#")[0]
        if not url.startswith("/") and "://" in url:  # the absolute form (RFC 9112 §3.2.2)
            authority, _, query = url.partition("://")[2].partition("?")
            path = "/" + authority.partition("/")[2]
        else:
            path, _, query = url.partition("?")
        self._parts = path, query
        return self._parts

    @property
    def is_secure(self) -> bool:
        """Whether the request was received by HTTPS."""
        return self.scheme == "https"

    @property
    def remote_ip(self) -> str:
        """The client's address; an empty string where it has none, as behind a UNIX socket."""
        address = self.connection.remote_address
        return str(address[0]) if isinstance(address, tuple) else ""

    # --- The answer ---------------------------------------------------------------------------------------------

    @property
    def finished(self) -> bool:
        """Whether the request has been answered, or given up by `finish`."""
        return self._finished

    def send_response(
        self,
        content: str | bytes | bytearray | memoryview,
        code: int = 200,
        content_type: str = "text/plain",
        headers: Mapping[str, str] | Iterable[tuple[str, str]] = (),
    ) -> None:
        """Send an answer, and finish the request (manual: "send_response").

        An answer to HEAD, or one that has no content by its code (204, 205, 304), is sent without ``content``. To a
        client that has gone, nothing is sent.

        Args:
            content: The content. A str is encoded with the charset of ``content_type``, UTF-8 if it names none.
            code: The status code, 200 to 599.
            content_type: The value of the Content-Type header, which is sent as it is.
            headers: More headers. Those that belong to the framing (Content-Length and the like), Date and Server are
                the server's.

        Raises:
            RuntimeError: The request is finished.
            TypeError: An argument is of the wrong type.
            ValueError: The code is no final one; a header contains a line end or other control characters, or is the
                server's; the charset is not known, or cannot encode the content.
        """
        if self._finished:
            raise RuntimeError(f"send_response() on {self!r}, which is finished; a request is answered once")
        connection = self.connection
        head = connection.answers.get(code, content_type, self._ending, connection.engine.time)
        if content.__class__ is str:
            content = content.encode(head.charset)
        elif content.__class__ is not bytes:
            content = _as_bytes(content, head.charset)
        if headers:
            head = head._replace(prefix=_insert(head.prefix, _answer.field_lines(headers)))
        if not head.has_content:
            answer = head.prefix + (b"0\r\n\r\n" if head.has_length else b"\r\n")
        elif self.method == "HEAD":
            answer = b"%b%d\r\n\r\n" % (head.prefix, len(content))
        else:
            answer = b"%b%d\r\n\r\n%b" % (head.prefix, len(content), content)
        if connection.connected:
            connection.write(answer)
        self._finished = True
        if connection.current_request is self:
            connection.finish()

    def finish(self) -> None:
        """Be done with the request, so that the connection can go on to the next (manual: "finish").

        `send_response` calls it. A request that is finished without an answer closes the connection, for the client
        would take the next answer for this one. Finishing again does nothing.
        """
        if not self._finished:
            self._finished = True
            if self.connection.current_request is self:
                self.connection.close()
                self.connection.finish()


def _insert(prefix: bytes, lines: bytes) -> bytes:
    """Put fields after the status line."""
    status_line, mark, rest = prefix.partition(b"\r\n")
    return status_line + mark + lines + rest


def _as_bytes(content: Any, charset: str) -> bytes:
    if isinstance(content, str):
        return content.encode(charset)
    if not isinstance(content, (bytes, bytearray, memoryview)):
        raise TypeError(f"content is str or bytes, not {type(content).__name__}")
    return bytes(content)
