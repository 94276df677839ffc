"""How a request becomes a WebSocket, as a server (RFC 6455 §4.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from pants.http._answer import CLOSE
from pants.http._request import HTTPRequest
from pants.http._successor import Successor
from pants.http._ws_deflate import deflate_settings
from pants.http._ws_frames import FrameReader
from pants.http._ws_handshake import (
    OLD_BODY,
    Fields,
    Refusal,
    answer_fields,
    check_origins,
    choose_subprotocol,
    is_allowed_origin,
    old_answer_fields,
    old_challenge,
    own_fields,
    read_request,
)
from pants.http._ws_old import OldFrameReader

if TYPE_CHECKING:
    from pants.http.websocket import WebSocket

# Seconds for the eight bytes of draft 76 to arrive.
_OLD_TIMEOUT: Final = 30.0


def answer(websocket: WebSocket, request: HTTPRequest) -> None:
    """Answer the request that asks for a WebSocket; where it gets none, that is closed.

    Raises:
        TypeError, ValueError: The program has set a header or a subprotocol that cannot be sent.
    """
    connection = request.connection
    if connection.current_request is not request or not connection.connected:  # the client has gone
        websocket._refused()
        return
    headers: dict[str, Any] = {}
    try:
        found = _negotiate(websocket, request, headers)
        fields = own_fields(headers)
    except BaseException:
        websocket._refused()
        raise
    if found is None:
        websocket._refused()
        return
    key, answer = found
    if not key:
        OldOpening(websocket, request, fields)
        return
    _send_switch(request, [*answer, *fields])
    websocket._reader = FrameReader(masked=True, compression=websocket._codec is not None)
    connection._pass_to(websocket)
    request.finish()


def _negotiate(websocket: WebSocket, request: HTTPRequest, headers: dict[str, Any]) -> tuple[str, Fields] | None:
    """Find out whether the WebSocket is to be opened.

    Args:
        websocket: The WebSocket.
        request: The request.
        headers: Filled with what the program adds to the answer.

    Returns:
        The client's key, and the fields of the answer; None where the request has been answered with an error.

    Raises:
        TypeError, ValueError: The program has set something that cannot be sent.
    """
    try:
        asked = read_request(request.method, request._http_version, request.headers, websocket.allow_old_handshake)
        if request.connection.server.draining:
            raise Refusal(503, "The server is shutting down")
        origin = request.headers.get("Origin")
        if not is_allowed_origin(origin, request.host, request.is_secure, check_origins(websocket.allowed_origins)):
            raise Refusal(403, "Pages of this origin may not open WebSockets here")
        websocket.subprotocol = choose_subprotocol(asked.subprotocols, websocket.subprotocols)
        extension = _accept_compression(websocket, asked.extensions)
        accepted = websocket.on_handshake(request, headers)
        if request.finished or request.code or not request.connection.connected:  # by the program
            return None
        if not accepted or websocket._close_asked is not None:
            raise Refusal(403, "The handshake was refused")
    except Refusal as refusal:
        _refuse(request, refusal, own_fields(headers))
        return None
    subprotocol = websocket.subprotocol
    if subprotocol is not None and subprotocol not in asked.subprotocols:
        raise ValueError(f"on_handshake() has set the subprotocol {subprotocol!r}, which was not offered")
    return asked.key, answer_fields(asked.key, subprotocol, extension)


def _accept_compression(websocket: WebSocket, offers: str) -> str | None:
    """Answer the extensions that a client offers."""
    settings = deflate_settings(websocket.compression)
    if settings is None or not offers:
        return None
    try:
        accepted = settings.accept(offers)
    except ValueError as error:
        raise Refusal(400, f"Sec-WebSocket-Extensions is malformed: {error}") from None
    if accepted is None:
        return None
    extension, websocket._codec = accepted
    return extension


class OldOpening(Successor):
    """Waits for the eight bytes behind a request of draft 76, which belong to its challenge.

    Args:
        websocket: What has the connection afterwards.
        request: The request.
        fields: Header fields of the program's own, which have been checked.
    """

    def __init__(self, websocket: WebSocket, request: HTTPRequest, fields: Fields) -> None:
        self._websocket = websocket
        self._request = request
        self._fields = fields
        self._body = b""
        websocket._old = True
        connection = request.connection
        self._cancel = connection.engine.defer(_OLD_TIMEOUT, connection.close, flush=False)
        connection._pass_to(self)

    def _connection_read(self, data: bytes) -> None:
        self._body += data
        if len(self._body) < OLD_BODY:
            return
        self._cancel()
        request, websocket = self._request, self._websocket
        headers, connection = request.headers, request.connection
        try:
            response = old_challenge(
                headers["Sec-WebSocket-Key1"], headers["Sec-WebSocket-Key2"], self._body[:OLD_BODY]
            )
        except Refusal as refusal:
            _refuse(request, refusal, [])
            connection.close()
            return
        location = f"{'wss' if request.is_secure else 'ws'}://{request.host}{request.url}"
        _send_switch(request, [*old_answer_fields(headers, location, websocket.subprotocol), *self._fields])
        connection.write(response)
        websocket._reader = OldFrameReader()
        connection._carry(websocket)
        request.finish()
        websocket._connection_begins(self._body[OLD_BODY:])

    def _connection_ended(self) -> None:
        self._request.connection.close()

    _server_shuts_down = _connection_ended

    def _connection_failed(self, exception: Exception) -> None:
        self._websocket._connection_failed(exception)
        self._request.connection.close(flush=False)

    def _connection_closed(self) -> None:
        self._cancel()
        self._websocket._conclude()


def _send_switch(request: HTTPRequest, fields: Fields) -> None:
    """Send the head of the answer that opens a WebSocket."""
    request.send_status(101)
    if request.cookies_out:
        request.send_cookies()
    request.send_headers(fields)


def _refuse(request: HTTPRequest, refusal: Refusal, headers: Fields) -> None:
    """Answer a request that opens no WebSocket."""
    content = f"{refusal.reason}\n".encode()
    fields = [*refusal.fields, *headers]
    if request._ending & CLOSE:  # RFC 9112 §9.6: this is to be told as well
        fields = [(name, f"{value}, close" if name == "Connection" else value) for name, value in fields]
    if not any(name.lower() == "content-type" for name, _ in fields):
        fields.append(("Content-Type", "text/plain"))
    request._send_whole(refusal.status, fields, b"" if request.method == "HEAD" else content, len(content))
