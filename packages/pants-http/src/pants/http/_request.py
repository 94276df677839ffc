"""One request, as it was asked (manual: "HTTPRequest"); how it is answered stands in `pants.http._response`."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterable
from http.cookies import SimpleCookie
from typing import IO, TYPE_CHECKING, Any, Final

from pants.http._body import BodyStore
from pants.http._cookies import SecureCookies, parse_cookies
from pants.http._forms import MultipartForm, UploadedFile, boundary_of, is_urlencoded, parse_query, parse_urlencoded
from pants.http._forwarded import Client, ForwardedRules
from pants.http._head import split_fields
from pants.http._json import parse_json
from pants.http._limits import Limits
from pants.http._refused import Refused
from pants.http._response import ResponseWriter
from pants.http.utils import HTTPHeaders

if TYPE_CHECKING:
    from pants.http._connection import HTTPConnection

# What is read at once of a form that lies on disk, in bytes.
_PIECE: Final = 262144


class HTTPRequest(ResponseWriter):
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
    #: ``https`` where the connection is secure, else ``http``; or what a proxy says of it, with ``xheaders``.
    scheme: str

    #: To be set in the server's ``head_handler``: called with each piece of the body as it arrives; then it is not
    #: kept, and `body` stays empty. The request handler is called behind the last piece.
    on_data: Callable[[bytes], object] | None = None

    # What a framework on top says of a request; pants.web does.
    #: Whether `pants.web.Application` answers with what a view returns. A view that answers later sets this to False.
    auto_finish: bool = True
    #: The name of the route that `pants.web.Application` has found.
    route_name: str | None = None
    #: What that route's rule has matched, a `pants.web.routing.Match`.
    match: Any = None
    #: What precedes the path outside, where an application is reached below a prefix: `pants.web.url_for` puts it
    #: before each path. No slash at its end.
    script_name: str = ""
    #: What is remembered of the visitor, where `pants.web.sessions.Sessions` are in use.
    session: Any

    # Set where they differ only: most requests have none of it.
    _head: bytes = b""
    _headers: HTTPHeaders | None = None
    _parts: tuple[str, str, str] | None = None
    _body: bytes | None = None
    _store: BodyStore | None = None
    _form: MultipartForm | None = None
    _fields: tuple[dict[str, list[str]], dict[str, list[UploadedFile]]] | None = None
    _get: dict[str, list[str]] | None = None
    _cookies: SimpleCookie | None = None
    _client: Client | None = None
    _trailer_fields: Iterable[tuple[str, str]] = ()
    _trailers: HTTPHeaders | None = None
    _json: tuple[Any] | None = None
    _max_body: int | None = None
    _body_arrived: bool = True
    _taken_apart: bool = False  # the body is a form that was parsed as it arrived, and is not kept

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
        self._began = connection.engine.time
        if headers is not None:
            self._headers = headers

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.method} {self.url}>"

    def _retarget(self, url: str) -> None:
        """Ask for something else than the client did: see `pants.web.HTTPTransparentRedirect`."""
        self.url = url
        self._parts = self._get = None

    # --- The head -----------------------------------------------------------------------------------------------

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

    @property
    def fragment(self) -> str:
        """The fragment of `url`; an empty string where there is none, and clients have no business to send one."""
        return (self._parts or self._split())[2]

    def _split(self) -> tuple[str, str, str]:
        url, _, fragment = self.url.partition("#")
        if not url.startswith("/") and "://" in url:  # the absolute form (RFC 9112 §3.2.2)
            authority, _, query = url.partition("://")[2].partition("?")
            path = "/" + authority.partition("/")[2]
        else:
            path, _, query = url.partition("?")
        self._parts = path, query, fragment
        return self._parts

    @property
    def host(self) -> str:
        """The host that was asked, and its port if it is not the usual one (manual: "host").

        It is that of an absolute `url`, else the Host field, else ``127.0.0.1``; or what a proxy says of it, with
        ``xheaders``.
        """
        return self._own_host() if self._client is None or self._client.host is None else self._client.host

    def _own_host(self) -> str:
        url = self.url
        if not url.startswith("/"):  # RFC 9112 §3.2.2: then the Host field is to be ignored
            if "://" in url:
                return url.partition("://")[2].partition("/")[0].partition("?")[0]
            if self.method == "CONNECT":
                return url
        return self.headers.get("Host") or "127.0.0.1"

    @property
    def hostname(self) -> str:
        """The name or the address in `host`, in lower case, without brackets."""
        host = self.host.lower()
        if host.startswith("["):
            return host[1:].partition("]")[0]
        return host.partition(":")[0]

    @property
    def full_url(self) -> str:
        """The whole URL: `scheme`, `host`, `script_name` and `url` put together (manual: "full_url")."""
        if self.url.startswith("/"):
            return f"{self.scheme}://{self.host}{self.script_name}{self.url}"
        query = f"?{self.query}" if self.query else ""
        return f"{self.scheme}://{self.host}{self.path if '://' in self.url else ''}{query}"

    @property
    def is_secure(self) -> bool:
        """Whether the request was received by HTTPS."""
        return self.scheme == "https"

    @property
    def remote_ip(self) -> str:
        """The client's address; an empty string where it has none, as behind a UNIX socket."""
        return self._peer_ip() if self._client is None else self._client.ip

    def _peer_ip(self) -> str:
        address = self.connection.remote_address
        return str(address[0]) if isinstance(address, tuple) else ""

    def _apply_forwarded(self, rules: ForwardedRules) -> None:
        """Believe what proxies say, as far as the rules go (manual: "xheaders")."""
        self._client = rules.apply(self.headers, self._peer_ip(), self.scheme, self._own_host())
        self.scheme = self._client.scheme

    @property
    def get(self) -> dict[str, list[str]]:
        """The variables in `query`, each with a list of its values (manual: "get").

        Raises:
            Refused: There are too many; where the handler lets it through, the answer is an error for the client.
        """
        if self._get is None:
            self._get = parse_query(self.query, self._limits)
        return self._get

    @property
    def cookies(self) -> SimpleCookie:
        """The cookies that came with the request (manual: "cookies"). Those to send are `cookies_out`."""
        if self._cookies is None:
            self._cookies = parse_cookies(self.headers.get("Cookie", ""))
        return self._cookies

    def get_secure_cookie(self, name: str) -> Any:
        """Return the value of a signed cookie (manual: "get_secure_cookie").

        Returns:
            What was passed to `set_secure_cookie`, a tuple as a list; None where there is no such cookie, its signature
            is not valid, or its time is over.

        Raises:
            RuntimeError: The server has no ``cookie_secret``.
        """
        signer: SecureCookies = self._secure_cookies("get_secure_cookie")
        cookie = self.cookies.get(name)
        return None if cookie is None else signer.unsign(name, cookie.value, time.time())

    # --- The body -----------------------------------------------------------------------------------------------

    @property
    def max_body(self) -> int | None:
        """The longest body to take of this request, in bytes, instead of ``max_request``; None for that.

        It is to be set in the server's ``head_handler``.

        Raises:
            TypeError: When set to anything but an int or None.
            ValueError: When set to less than 0.
        """
        return self._max_body

    @max_body.setter
    def max_body(self, value: int | None) -> None:
        if value is not None:
            if isinstance(value, bool) or not isinstance(value, int):
                raise TypeError(f"max_body is a number of bytes or None, not {value!r}")
            if value < 0:
                raise ValueError(f"max_body is a number of bytes, 0 or more, not {value}")
        self._max_body = value

    @property
    def _limits(self) -> Limits:
        return self.connection.server.limits

    @property
    def body(self) -> bytes:
        """The whole body, as it was sent (manual: "body").

        A long one lies on disk, and is read into memory each time: `body_file` may serve better.

        Raises:
            RuntimeError: It has not arrived; it was a form longer than ``limits.spool_size``, which was taken apart as
                it arrived; or it lay on disk, and the request is finished.
        """
        if self._body is None:
            return b"" if self._open_store("body") is None else self._store.content  # type: ignore[union-attr]
        return self._body

    @body.setter
    def body(self, value: bytes) -> None:
        if not isinstance(value, bytes):
            raise TypeError(f"body is bytes, not {type(value).__name__}")
        self._body = value

    @property
    def body_file(self) -> IO[bytes]:
        """A file to read the body from, at its start. It is closed when the request is finished.

        Raises:
            RuntimeError: As of `body`.
        """
        store = self._open_store("body_file") if self._body is None else None
        return io.BytesIO(self._body or b"") if store is None else store.open()

    def _open_store(self, asked: str) -> BodyStore | None:
        self._check_arrived(asked)
        if self._taken_apart:
            raise RuntimeError(
                f"{asked} of {self!r} is not kept: being a form longer than limits.spool_size, it was taken apart as "
                "it arrived; use post and files, or raise that limit"
            )
        if self._store is not None and self._store.closed:
            raise RuntimeError(f"{asked} of {self!r} lay on disk, and was removed when the request was finished")
        return self._store

    def _check_arrived(self, asked: str) -> None:
        if not self._body_arrived:
            raise RuntimeError(f"{asked} of {self!r} is there when the request handler is called; the body is to come")

    @property
    def trailers(self) -> HTTPHeaders:
        """The fields that came behind a chunked body (RFC 9110 §6.5): apart from `headers`, for they prove less."""
        if self._trailers is None:
            self._trailers = HTTPHeaders(self._trailer_fields)
        return self._trailers

    @property
    def _may_have_form(self) -> bool:
        return self.method in ("POST", "PUT")  # manual: "For security"

    @property
    def post(self) -> dict[str, list[str]]:
        """The fields of a form that are not files, each with a list of its values; with POST and PUT only.

        Raises:
            Refused: The form is malformed, or has too much of something; where the handler lets it through, the answer
                is an error for the client.
            RuntimeError: The body has not arrived.
        """
        return (self._fields or self._parse_form())[0]

    @property
    def files(self) -> dict[str, list[UploadedFile]]:
        """The files of a form, each name with a list of them (manual: "files"); with POST and PUT only.

        A file is a dict: ``filename``, ``content_type``, ``body`` (bytes), and ``file``, an open file, which may lie on
        disk. They are closed when the request is finished.

        Raises:
            Refused, RuntimeError: As of `post`.
        """
        return (self._fields or self._parse_form())[1]

    def _parse_form(self) -> tuple[dict[str, list[str]], dict[str, list[UploadedFile]]]:
        self._check_arrived("post or files")
        content_type = self.headers.get("Content-Type", "")
        form = self._form
        if form is None and self._may_have_form and (boundary := boundary_of(content_type)) is not None:
            form = MultipartForm(boundary, self._limits)
            try:
                content = self.body_file
                while piece := content.read(_PIECE):
                    form.feed(piece)
                form.finish()
            except BaseException:
                form.close()
                raise
            self._form = form
            self._ends_with_care = True
        if form is not None:
            self._fields = form.fields, form.files
        elif self._may_have_form and is_urlencoded(content_type):
            if self._store is not None and self._store.size > self._limits.form_memory:
                raise Refused(413, "The form is too large")
            self._fields = parse_urlencoded(self.body, content_type, self._limits), {}
        else:
            self._fields = {}, {}
        return self._fields

    @property
    def json(self) -> Any:
        """The body, as what it says in JSON (RFC 8259); parsed when it is first asked for.

        Raises:
            Refused: 415, the Content-Type is another; 413, it is longer than ``limits.form_memory``; 400, it is
                malformed, or nested too deeply. Where the handler lets it through, the answer is an error for the
                client.
            RuntimeError: As of `body`.
        """
        if self._json is None:
            kind = self.headers.get("Content-Type", "").partition(";")[0].strip().lower()
            if kind != "application/json" and not (kind.startswith("application/") and kind.endswith("+json")):
                raise Refused(415, "The content is to be application/json")
            if self._store is not None and self._store.size > self._limits.form_memory:
                raise Refused(413, "The content is too large")
            self._json = (parse_json(self.body),)
        return self._json[0]

    def _release(self) -> None:
        """The request is over: close the files behind the body, and tell whoever waits for it."""
        if self._store is not None:
            self._store.close()
        if self._form is not None:
            self._form.close()
        super()._release()

    # --- While the body arrives -----------------------------------------------------------------------------------

    def pause_body(self) -> None:
        """Receive no more of the body until `resume_body`: for whoever takes it by `on_data`, and is not so quick.

        At most one more piece comes all the same, if the client has gone meanwhile. The client's time to send it does
        not run during the pause.
        """
        if self.connection.current_request is self:
            self.connection._pause_body()

    def resume_body(self) -> None:
        """Undo `pause_body`."""
        if self.connection.current_request is self:
            self.connection._resume_body()

    def _pass_on(self, data: bytes) -> None:
        """Give the program a piece of the body."""
        if self.on_data is not None and not self._finished:
            try:
                self.on_data(data)
            except Exception as exception:  # noqa: BLE001 - as a handler's
                self.connection._handler_failed(self, exception)
            except BaseException:
                self.connection.close()
                raise
