"""Opening a WebSocket as a client: the connection, a proxy's tunnel, TLS, the handshake, redirects (RFC 6455 §4.1)."""

from __future__ import annotations

import errno
import re
from collections.abc import Callable
from http.cookies import SimpleCookie
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urljoin

from pants.engine import Engine
from pants.errors import ConnectTimeout
from pants.http._client_cookies import cookie_value
from pants.http._client_settings import OF_ONE_SERVER
from pants.http._cookies import parse_cookies
from pants.http._dialling import ANSWER_LIMITS, Dialling
from pants.http._reply import REDIRECTS, BadReply, ReplyParser, ReplyReader
from pants.http._ws_handshake import HandshakeError, Opening, own_fields, parse_url
from pants.http._ws_request import ClientRequest
from pants.http.utils import HTTPHeaders

if TYPE_CHECKING:
    from pants.http.websocket import WebSocket

# What goes along where a redirect leads to another origin. Anything else may be a secret.
_HARMLESS: Final = frozenset({"accept-language", "origin", "user-agent"})
# RFC 6265 §5.2.2: a cookie that is taken back.
_REMOVED: Final = re.compile(r"max-age\s*=\s*(?:0+|-\d+)", re.IGNORECASE)


class ClientConnection(Dialling):
    """The connection of a WebSocket that is being opened."""

    __slots__ = ("_connecting",)

    def __init__(self, connecting: Connecting, engine: Engine) -> None:
        super().__init__(engine=engine)
        self._connecting: Connecting | None = connecting

    def _dialled(self) -> None:
        if self._connecting is not None:
            self._connecting.connected()

    def _received(self, data: bytes) -> None:
        if self._connecting is not None:
            self._connecting.received(data)

    def _tunnel_refused(self, reason: str, status: int, headers: HTTPHeaders) -> None:
        if self._connecting is not None:
            self._connecting.fail(HandshakeError(reason, status, headers))

    def _dial_failed(self, exception: Exception) -> None:
        if self._connecting is not None:
            self._connecting.fail(exception)

    def on_end(self) -> None:
        """See `pants.Stream`."""
        if self._connecting is not None:
            self._connecting.fail(HandshakeError("the server has closed the connection during the handshake"))
        else:
            super().on_end()

    def on_error(self, exception: Exception) -> None:
        """See `pants.Stream`."""
        if self._connecting is not None:
            self._connecting.fail(exception)
        else:
            super().on_error(exception)

    def on_connect_error(self, exception: Exception) -> None:
        """See `pants.Stream`."""
        if self._connecting is not None:
            self._connecting.fail(exception)

    def on_ssl_handshake_error(self, exception: Exception) -> None:
        """See `pants.Stream`."""
        if self._connecting is not None:
            self._connecting.fail(exception)
        else:
            super().on_ssl_handshake_error(exception)

    def on_ssl_error(self, exception: Exception) -> None:
        """See `pants.Stream`."""
        if self._connecting is not None:
            self._connecting.fail(exception)
        else:
            super().on_ssl_error(exception)

    def on_close(self) -> None:
        """See `pants.Stream`."""
        if self._connecting is not None:
            error = self.close_error
            self._connecting.fail(error or HandshakeError("the connection was closed during the handshake"))
        super().on_close()


class Connecting:
    """The attempt to open a WebSocket, over as many connections as there are redirects.

    Args:
        websocket: The WebSocket, which is told how it ends.
        request: What is asked for.
    """

    def __init__(self, websocket: WebSocket, request: ClientRequest) -> None:
        self._websocket = websocket
        self._request = request
        self._engine = request.engine
        self._target = self._first = request.target
        self._fields = request.fields
        self._redirects = 0
        self._connection: ClientConnection | None = None
        self._opening: Opening | None = None
        self._reader = ReplyReader(ReplyParser(ANSWER_LIMITS), ANSWER_LIMITS.interim)
        self._cancel: Callable[[], None] = _nothing
        timeout = websocket.connect_timeout
        if timeout is not None:
            self._cancel = self._engine.defer(timeout, self._overdue)
        self._cancel_begin = self._engine.callback(self._begin)

    def cancel(self) -> None:
        """Give up, and tell nobody."""
        self._cancel()
        self._cancel_begin()
        self._let_go()

    def _let_go(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection._connecting = None
            connection.close(flush=False)

    def fail(self, exception: Exception) -> None:
        """Give up, and tell the WebSocket why."""
        self.cancel()
        if self._websocket._opening is self:
            self._websocket._opening_failed(exception)

    def _overdue(self) -> None:
        error = ConnectTimeout(errno.ETIMEDOUT, f"{self._target.url} was not opened in time")
        error.reason = "no answer in time"
        self.fail(error)

    def _begin(self) -> None:
        """Connect to the target, or to the proxy before it."""
        self._reader.reset()
        target = self._target
        try:
            agreed = self._make_opening()
            if self._websocket._opening is not self:  # it was closed meanwhile, or its time was over
                return
            if not agreed:
                self.fail(HandshakeError("on_handshake() has refused the handshake"))
                return
            proxy = self._request.find_proxy(target)
            self._connection = ClientConnection(self, self._engine)
            self._connection._dial(target, proxy, self._tls_options())
        except Exception as exception:  # noqa: BLE001 - a hook's, or what the environment names is no proxy
            self.fail(exception)

    def _make_opening(self) -> bool:
        """Prepare the request; return whether the program agrees."""
        request, websocket = self._request, self._websocket
        headers: dict[str, Any] = {}
        for name, value in self._fields:
            headers[name] = [*headers[name], value] if name in headers else [value]
        shown = {name: values[0] if len(values) == 1 else values for name, values in headers.items()}
        request.target = self._target
        websocket.is_secure = self._target.secure
        if not websocket.on_handshake(request, shown):
            return False
        fields = own_fields(shown)
        if self._target.credentials is not None and not any(name.lower() == "authorization" for name, _ in fields):
            fields.append(("Authorization", self._target.credentials))
        self._opening = Opening(self._target, fields, request.subprotocols, request.compression)
        return True

    def _tls_options(self) -> Any:
        options = self._request.ssl_options
        if not isinstance(options, dict):
            return options
        if self._target.origin != self._first.origin:  # who this is, and who the server was to be
            options = {key: value for key, value in options.items() if key not in OF_ONE_SERVER}
        return {"server_hostname": self._target.host, **options}

    # --- What the connection tells ----------------------------------------------------------------------------------

    def connected(self) -> None:
        """The server can be asked."""
        assert self._connection is not None
        assert self._opening is not None
        self._connection.write(self._opening.request())

    def received(self, data: bytes) -> None:
        """A part of an answer has arrived."""
        try:
            reply = self._reader.feed(data)
        except BadReply as error:
            status, headers = (0, None) if error.reply is None else (error.reply.status, error.reply.headers())
            self.fail(HandshakeError(f"the server's answer is malformed: {error}", status, headers))
            return
        if reply is not None:
            self._conclude(reply.status, reply.headers())

    def _conclude(self, status: int, headers: HTTPHeaders) -> None:
        """The server has answered."""
        if status in REDIRECTS and "Location" in headers and self._request.max_redirects:
            self._redirect(status, headers)
            return
        connection, opening, websocket = self._connection, self._opening, self._websocket
        assert connection is not None
        assert opening is not None
        try:
            subprotocol, codec = opening.check(status, headers)
        except HandshakeError as error:
            self.fail(error)
            return
        self._cancel()
        self._connection = None
        connection._connecting = None
        rest = self._reader.rest
        connection._carry(websocket)
        websocket._take_client_connection(connection, rest, subprotocol, codec, headers)

    def _redirect(self, status: int, headers: HTTPHeaders) -> None:
        """The server sends to somewhere else (RFC 6455 §4.1, RFC 9110 §15.4)."""
        self._redirects += 1
        if self._redirects > self._request.max_redirects:
            self.fail(HandshakeError(f"there are more than {self._request.max_redirects} redirects", status, headers))
            return
        before = self._target
        location = headers.get_list("Location")[0].partition("#")[0]
        try:
            target = parse_url(urljoin(before.url.replace("ws", "http", 1), location))
        except ValueError as error:
            self.fail(HandshakeError(f"the server redirects to what is no WebSocket: {error}", status, headers))
            return
        if before.secure and not target.secure:
            self.fail(
                HandshakeError(f"the server redirects to {target.url[:200]}, which is not secure", status, headers)
            )
            return
        if target.origin != self._first.origin and not isinstance(self._request.ssl_options, dict):
            reason = f"the server redirects to {target.url[:200]}, for which the SSLContext was not given"
            self.fail(HandshakeError(reason, status, headers))
            return
        if target.origin == before.origin:
            self._keep_cookies(headers)
            if target.credentials is None:
                target = target.with_credentials(before.credentials)
        else:
            self._fields = [field for field in self._fields if field[0].lower() in _HARMLESS]
        self._target = target
        self._let_go()
        self._cancel_begin = self._engine.callback(self._begin)

    def _keep_cookies(self, headers: HTTPHeaders) -> None:
        """Give cookies that came with a redirect back to the server that has set them."""
        jar: SimpleCookie = SimpleCookie()
        for name, value in self._fields:
            if name.lower() == "cookie":
                jar.update(parse_cookies(value))
        for line in headers.get_list("Set-Cookie"):
            pair, *attributes = line.split(";")
            cookies = parse_cookies(pair)
            if any(_REMOVED.fullmatch(attribute.strip()) for attribute in attributes):
                for name in cookies:
                    jar.pop(name, None)
            else:
                jar.update(cookies)
        self._fields = [field for field in self._fields if field[0].lower() != "cookie"]
        if jar:
            self._fields.append(("Cookie", cookie_value(jar)))


def _nothing() -> None:
    """Cancel nothing."""
