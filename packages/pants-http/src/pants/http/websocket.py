"""WebSockets (manual: "pants.http.websocket"; RFC 6455), as a server and as a client.

What arrives at the connection comes to `pants.http._ws_link`; `pants.http._ws_frames` takes it apart,
`pants.http._ws_inbox` puts messages together or cuts them up, and `WebSocket.on_read` gets what comes of that. What is
written becomes frames at once, here, and goes to the connection.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final, Self

from pants._send_queue import FileSlice
from pants.engine import Engine
from pants.http import _ws_frames as frames
from pants.http import _ws_opening
from pants.http._request import HTTPRequest
from pants.http._successor import Carrier
from pants.http._ws_client import Connecting
from pants.http._ws_deflate import Codec, Deflate, deflate_settings
from pants.http._ws_files import MaskedSlice, read_all
from pants.http._ws_frames import BINARY, SHORT_HEADS, TEXT, FrameReader, WebSocketError
from pants.http._ws_handshake import HandshakeError, check_origins, check_subprotocols
from pants.http._ws_inbox import EntireMessage
from pants.http._ws_link import WebSocketLink
from pants.http._ws_old import old_frame
from pants.http._ws_request import ClientRequest
from pants.http._ws_state import CLOSED
from pants.http.utils import HTTPHeaders
from pants.stream import _packer

__all__ = [
    "FRAME_BINARY",
    "FRAME_TEXT",
    "Deflate",
    "EntireMessage",
    "HandshakeError",
    "WebSocket",
    "WebSocketError",
    "broadcast",
]

#: The opcodes of messages (RFC 6455 §5.2), for `WebSocket.write`.
FRAME_TEXT: Final = TEXT
FRAME_BINARY: Final = BINARY

# A file no longer than this many bytes is read at once, so that no descriptor is held for it.
_SMALL_FILE: Final = 65536


class WebSocket(WebSocketLink):
    r"""A WebSocket: messages of text (str) and of bytes, both ways, on one connection (manual: "WebSocket").

    A subclass is a request handler for `pants.http.HTTPServer`: an instance is made with each request, answers it, and
    has the connection from then on. What can happen to it, in this order, all from the engine's loop::

        [on_handshake] on_connect {on_read, on_write, on_pong, on_high_water}* [an error] on_close

    The methods that begin with ``on_`` are to be overridden. `connect` opens a WebSocket as a client.

    Args:
        request: The `pants.http.HTTPRequest` that opens it. If it does not open a WebSocket, or may not, it is answered
            with an error, and the instance is `closed` from the start.
        *arguments: For `on_connect`.

    Raises:
        RuntimeError: The request is finished, or has been answered in part.
        TypeError: ``request`` is none.

    Example:
        >>> from pants.http import HTTPServer, WebSocket
        >>> class Echo(WebSocket):
        ...     def on_read(self, data):
        ...         self.write(data)
        >>> server = HTTPServer(Echo).listen(("127.0.0.1", 0))
        >>> server.close()
    """

    __slots__ = ()

    # --- What a subclass may set ------------------------------------------------------------------------------------

    #: Whether clients of draft 76 are served too, which came before RFC 6455 (manual: "allow_old_handshake"). With such
    #: a client there is text only, `close` tells no reason, and there are no pings and no compression.
    allow_old_handshake: bool = False
    #: The origins whose pages may open this WebSocket, besides the server's own, as in ``("https://example.com",)``.
    #: ``("*",)`` allows all, ``("null",)`` those pages that have none. Requests of other pages are refused with 403
    #: (RFC 6455 §10.2), for they would come with the user's cookies. Programs that are no browsers name no origin, and
    #: are let in.
    allowed_origins: Collection[str] = ()
    #: The subprotocols that are spoken (RFC 6455 §1.9), best first. A client that offers some of them gets the first.
    subprotocols: Sequence[str] = ()
    #: Whether messages are compressed if the other end does so too (RFC 7692), or how, a `Deflate`.
    compression: bool | Deflate = True

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        _check_class(cls)

    def __init__(self, request: HTTPRequest | ClientRequest, *arguments: Any) -> None:
        if not isinstance(request, (HTTPRequest, ClientRequest)):
            raise TypeError(f"a WebSocket is made of a pants.http.HTTPRequest, not of {request!r}; or see connect()")
        if isinstance(request, ClientRequest):
            super().__init__(request.engine, arguments)
            self.is_secure = request.is_secure
            self._masked = True
            self._whole = frames.whole_unmasked
            self.engine.dormant.add(self)
            self._opening = Connecting(self, request)
            return
        if request.finished or request.code:
            raise RuntimeError(f"{request!r} has been answered, and opens no WebSocket any more")
        super().__init__(request.connection.engine, arguments)
        self.is_secure = request.is_secure
        self._connection = request.connection
        _ws_opening.answer(self, request)

    # --- As a client ------------------------------------------------------------------------------------------------

    @classmethod
    def connect(
        cls,
        url: str,
        *arguments: Any,
        headers: Mapping[str, Any] | Iterable[tuple[str, Any]] = (),
        cookies: Mapping[str, Any] | None = None,
        origin: str | None = None,
        subprotocols: Iterable[str] | None = None,
        proxy: str | bool | None = True,
        verify_ssl: bool = True,
        ssl_options: Any = None,
        max_redirects: int = 10,
        engine: Engine | None = None,
    ) -> Self:
        """Open a WebSocket to a server.

        It returns at once. `on_connect` or `on_connect_error` is called from the loop. `connect_timeout` is for all of
        it together.

        Args:
            url: Where to, as in ``wss://example.com/chat``. Credentials in it are sent as such (RFC 7617).
            *arguments: For `on_connect`.
            headers: More headers for the request.
            cookies: Cookies for it, by name.
            origin: The value of Origin, for servers that want one.
            subprotocols: Those to offer, best first; by default the class's.
            proxy: The URL of an HTTP proxy; True for what the environment says (``https_proxy``, ``no_proxy`` and the
                like), None for none.
            verify_ssl: Whether the server has to prove who it is.
            ssl_options: As for `pants.Stream.startSSL`.
            max_redirects: How many redirects are followed; never from ``wss`` to ``ws``. Where one leads to another
                origin, the headers, cookies and credentials given here stay behind, but for User-Agent and the like;
                with an SSLContext none is followed that does.
            engine: The engine; the global one by default.

        Returns:
            The WebSocket.

        Raises:
            TypeError: An argument is of the wrong type.
            ValueError: The URL is none of a WebSocket; a header cannot be sent, belongs to the handshake, or is given
                twice; the proxy is of another kind; ``verify_ssl`` and ``ssl_options`` contradict each other.
            OSError, ssl.SSLError: A file of ``ssl_options`` cannot be read, or holds something else.

        Example:
            >>> from pants import Engine
            >>> from pants.http import HTTPServer, WebSocket
            >>> class Greeter(WebSocket):
            ...     def on_read(self, name):
            ...         self.write(f"Hello, {name}!")
            >>> class Client(WebSocket):
            ...     def on_connect(self):
            ...         self.write("World")
            ...     def on_read(self, greeting):
            ...         print(greeting)
            ...         self.close()
            ...     def on_close(self):
            ...         self.engine.stop()
            >>> server = HTTPServer(Greeter).listen(("127.0.0.1", 0))
            >>> client = Client.connect(f"ws://127.0.0.1:{server.local_address[1]}/")
            >>> Engine.instance().start()
            Hello, World!
        """
        request = ClientRequest(
            Engine.instance() if engine is None else engine,
            url,
            headers=headers,
            cookies=cookies,
            origin=origin,
            subprotocols=check_subprotocols(cls.subprotocols if subprotocols is None else subprotocols),
            compression=deflate_settings(cls.compression),
            proxy=proxy,
            verify_ssl=verify_ssl,
            ssl_options=ssl_options,
            max_redirects=max_redirects,
        )
        return cls(request, *arguments)

    def _take_client_connection(
        self, connection: Carrier, rest: bytes, subprotocol: str | None, codec: Codec | None, headers: HTTPHeaders
    ) -> None:
        """The handshake has succeeded."""
        self._opening = None
        self.engine.dormant.discard(self)
        self.subprotocol, self._codec, self.response_headers = subprotocol, codec, headers
        self._reader = FrameReader(masked=False, compression=codec is not None)
        self._open(connection, rest)

    def _opening_failed(self, exception: Exception) -> None:
        """The handshake has failed."""
        self._opening = None
        self.close_error = exception.with_traceback(None)
        try:
            self._call_hook(self.on_connect_error, exception)
        finally:
            self._conclude()

    def _give_up_opening(self) -> None:
        """It was closed before it was open."""
        opening, self._opening = self._opening, None
        if opening is not None:
            opening.cancel()
        self._conclude()

    # --- Reading ----------------------------------------------------------------------------------------------------

    @property
    def read_delimiter(self) -> Any:
        """What is passed to `on_read` (manual: "read_delimiter").

        - `EntireMessage`, the default: whole messages. One longer than `buffer_size` ends in `on_overflow_error`.
        - None: what has been received, as it comes.
        - str or bytes: text, or binary data, up to this.
        - int: that many characters, or bytes.
        - `struct.Struct`, `netstruct.NetStruct`: the bytes of one, unpacked; ``on_read`` gets its values.
        - a compiled pattern, of str or of bytes: see `regex_search`.

        With all but the first the ends of messages do not matter. Text where bytes are wanted, or the other way round,
        closes the WebSocket with the code 1003; so does data of another type behind an incomplete piece.

        Set inside `on_read` it holds from what follows; set elsewhere, what is held is looked at on the next turn.

        Raises:
            TypeError: When set to anything else.
            ValueError: When set to something that can consume nothing: an empty string, a size below 1.
        """
        return self._inbox.delimiter

    @read_delimiter.setter
    def read_delimiter(self, delimiter: Any) -> None:
        self._inbox.delimiter = delimiter
        self._look_again()

    @property
    def regex_search(self) -> bool:
        """How a pattern is used as `read_delimiter` (manual: "read_delimiter").

        True, the default: it is searched for; `on_read` gets what is before the match, and the match is dropped. False:
        it is matched at the start; `on_read` gets the match object.
        """
        return self._inbox.regex_search

    @regex_search.setter
    def regex_search(self, value: bool) -> None:
        self._inbox.regex_search = value
        self._look_again()

    @property
    def buffer_size(self) -> int:
        """The longest message, or piece of one, that is buffered: 64 KiB by default (manual: "buffer_size").

        It is in bytes; of text that is cut, in characters. A compressed message counts as what it inflates to. A longer
        one ends in `on_overflow_error`. A `read_delimiter` that is an int or a Struct raises it if need be.

        Raises:
            TypeError: When set to anything but an int.
            ValueError: When set to less than 1.
        """
        return self._inbox.limit

    @buffer_size.setter
    def buffer_size(self, size: int) -> None:
        self._inbox.limit = size
        self._look_again()

    def pause_reading(self) -> None:
        """Call `on_read` no more, and let what the peer sends wait, until `resume_reading`; its pings wait as well."""
        self._paused = True
        self._settle()

    def resume_reading(self) -> None:
        """Undo `pause_reading`."""
        self._paused = False
        self._settle()

    # --- Writing ----------------------------------------------------------------------------------------------------

    def write(self, data: str | bytes | bytearray | memoryview, frame: int | None = None, flush: bool = False) -> None:
        """Send a message (manual: "write").

        It is sent once the running hook has returned.

        Args:
            data: The message: a str is sent as text, bytes and their like as binary data.
            frame: `FRAME_TEXT` to send bytes, which have to be UTF-8, as text; by default what ``data`` says.
            flush: Send now; see `flush`.

        Raises:
            RuntimeError: The WebSocket is not connected, or closed; or a message in fragments is not complete.
            TypeError: ``data`` is neither str nor bytes; it does not fit ``frame``; or the client speaks draft 76, and
                it is not text.
            ValueError: It is not UTF-8, or cannot become that; ``frame`` is not the opcode of a message.
        """
        if not self.connected:
            raise self._not_connected("write")
        if frame is None and data.__class__ is bytes:
            opcode = BINARY
        elif frame is None and data.__class__ is str:
            opcode = TEXT
            data = data.encode()
        else:
            opcode, data = _message(data, frame)
        if self._plain and not self._fragments:
            length = len(data)
            if length < 126:
                self._send(SHORT_HEADS[opcode][length] + data)
            elif length < 65536:
                self._send(b"%c~%c%c%b" % (0x80 | opcode, length >> 8, length & 0xFF, data))
            else:
                self._send_frame(opcode, data)
        else:
            self._write_message(opcode, data)
        self._wrote = True
        if flush:
            self.flush()

    def _write_message(self, opcode: int, data: bytes) -> None:
        self._check_between()
        if self._old:
            if opcode != TEXT:
                raise TypeError("the client speaks draft 76 of the protocol, which has text only: write a str")
            self._send(old_frame(data))
        elif self._codec is not None and len(data) >= self._codec.min_size:
            self._send_frame(opcode, self._codec.compress(data), compressed=True)
        else:
            self._send_frame(opcode, data)

    def _check_between(self) -> None:
        if self._fragments:
            raise RuntimeError(
                f"{self!r} is sending a message in fragments; end that with write_fragment(..., last=True)"
            )

    def write_fragment(
        self, data: str | bytes | bytearray | memoryview, last: bool = False, flush: bool = False
    ) -> None:
        """Send a part of a message in a frame of its own (RFC 6455 §5.4), where not all of it is there yet.

        Args:
            data: The part: str or bytes, which has to be the same for all parts of the message.
            last: Whether it ends the message.
            flush: Send now; see `flush`.

        Raises:
            RuntimeError: The WebSocket is not connected, or closed; or the client speaks draft 76.
            TypeError: ``data`` is neither str nor bytes, or not what the part before was.
            ValueError: It cannot become UTF-8.
        """
        if not self.connected:
            raise self._not_connected("write_fragment")
        if self._old:
            raise RuntimeError("the client speaks draft 76 of the protocol, which has no fragments")
        opcode, payload = _message(data, None)
        first = not self._fragments
        if not first and opcode != self._fragments:
            raise TypeError("all parts of a message are str, or all are bytes")
        compressed = self._codec is not None
        if self._codec is not None:
            payload = self._codec.compress(payload, last)
        self._wrote = True
        self._fragments = 0 if last else opcode
        self._send_frame(opcode if first else frames.CONTINUATION, payload, fin=last, compressed=compressed and first)
        if flush:
            self.flush()

    def write_file(self, sfile: Any, nbytes: int = 0, offset: int = 0, flush: bool = False) -> None:
        """Send a file, or a part of one, as one binary message in one frame (manual: "write_file").

        It is not read as a whole, and not compressed. The caller may close it at once if it has a file descriptor.

        Args:
            sfile: A file opened in binary mode.
            nbytes: The number of bytes; 0 for all from ``offset`` on.
            offset: From the start of the file, in bytes.
            flush: Send now; see `flush`.

        Raises:
            RuntimeError: The WebSocket is not connected, or closed; a message in fragments is not complete; or the
                client speaks draft 76.
            TypeError, ValueError: As of `pants.Stream.write_file`.
        """
        if not self.connected:
            raise self._not_connected("write_file")
        self._check_between()
        if self._old:
            raise RuntimeError("the client speaks draft 76 of the protocol, which has text only")
        key = frames.next_key() if self._masked else b""
        item = MaskedSlice(sfile, nbytes, offset, key) if key else FileSlice(sfile, nbytes, offset)
        if not self._connection.connected:  # it was lost, and what it has brought is still being handed out
            item.close()
            return
        self._wrote = True
        first = frames.head(BINARY, item.size, key)
        if item.size > _SMALL_FILE:
            self._send(first)
            self._connection._write_slice(item)
        else:  # a descriptor is worth more
            try:
                self._send(b"".join([first, *read_all(item)]))
            finally:
                item.close()
        if flush:
            self.flush()

    def write_packed(self, *data: Any, format: str | bytes | None = None, flush: bool = False) -> None:  # noqa: A002
        """Pack values, and send them as a binary message (manual: "write_packed").

        Args:
            *data: The values.
            format: A format of `struct` or, with a ``$`` in it, of `netstruct`. By default that of `read_delimiter`, if
                it is a Struct or NetStruct.
            flush: Send now; see `flush`.

        Raises:
            RuntimeError: As of `write`.
            ValueError: There is no format.
            struct.error: The format is bad, or the values do not fit it.
        """
        if not self.connected:
            raise self._not_connected("write_packed")
        self.write(_packer(format, self.read_delimiter).pack(*data), flush=flush)

    def ping(self, data: bytes | None = None) -> None:
        """Send a ping; `on_pong` is called when it is answered (manual: "ping").

        Args:
            data: Up to 125 bytes, which the peer sends back and `on_pong` is called with. Without them it is called
                with the round-trip time.

        Raises:
            RuntimeError: The WebSocket is not connected, or closed; or the client speaks draft 76, which has no pings.
            TypeError: ``data`` is not bytes.
            ValueError: It is longer than 125 bytes.
        """
        if not self.connected:
            raise self._not_connected("ping")
        if self._old:
            raise RuntimeError("the client speaks draft 76 of the protocol, which has no pings")
        if data is not None:
            if isinstance(data, str) or not isinstance(data, (bytes, bytearray, memoryview)):
                raise TypeError(f"data is bytes, not {data!r}")
            data = bytes(data)
            if len(data) > frames.LONGEST_CONTROL:
                raise ValueError(f"data has {len(data)} bytes, and a ping holds {frames.LONGEST_CONTROL} at most")
        self._send_ping(data)

    def flush(self) -> None:
        """Send what is queued now, as far as the kernel takes it, not waiting for the loop.

        Raises:
            RuntimeError: The WebSocket is not connected, or closed.
        """
        if not self.connected:
            raise self._not_connected("flush")
        if self._connection.connected:
            self._connection.flush()

    @property
    def queued_bytes(self) -> int:
        """The number of bytes, those of files and of frames' heads included, that are written and not sent yet."""
        return 0 if self._connection is None else int(self._connection.queued_bytes)

    def _not_connected(self, method: str) -> RuntimeError:
        return RuntimeError(f"{method}() on {self!r}; a WebSocket can be written to from on_connect() until close()")

    # --- Closing ----------------------------------------------------------------------------------------------------

    def close(self, flush: bool = True, reason: int = 1000, message: str | None = None) -> None:
        """Close the WebSocket (manual: "close").

        `connected` turns false and `on_read` is not called any more at once. What was written is sent, then a Close
        frame; `on_close` is called when the peer has answered that, or `close_timeout` is over. Closing again does
        nothing. Closed before it is open, a WebSocket never calls `on_connect`; in `on_handshake`, it is refused.

        Args:
            flush: If False, close the connection at once; what is queued is dropped, and there is no Close frame.
            reason: The status code (RFC 6455 §7.4): 1000, 3000 to 4999 and some others.
            message: What goes with it, 123 bytes of UTF-8 at most; by default what the code means.

        Raises:
            TypeError: ``reason`` is not an int, or ``message`` not a str.
            ValueError: ``reason`` may not be sent, or ``message`` is too long.
        """
        payload = frames.close_payload(reason, message)
        if flush:
            self._close(payload)
        elif self._state != CLOSED:
            self._abort()


def broadcast(
    websockets: Iterable[WebSocket], data: str | bytes | bytearray | memoryview, frame: int | None = None
) -> int:
    """Send one message to many WebSockets: it is encoded and framed once, not once for each.

    Where nothing else waits to be sent it goes out at once. It is not compressed. WebSockets that are not connected,
    that are in the middle of a message in fragments, or that cannot take it (binary data in draft 76), are left out. It
    does not wait for slow ones; `WebSocket.on_high_water` and `WebSocket.queued_bytes` tell which they are.

    Args:
        websockets: Where to.
        data: The message, as for `WebSocket.write`.
        frame: As for `WebSocket.write`.

    Returns:
        To how many it was written.

    Raises:
        TypeError, ValueError: As of `WebSocket.write`.

    Example:
        >>> from pants.http import WebSocket, broadcast
        >>> class Chat(WebSocket):
        ...     users = set()
        ...     def on_connect(self):
        ...         self.users.add(self)
        ...     def on_read(self, text):
        ...         broadcast(self.users, text)
        ...     def on_close(self):
        ...         self.users.discard(self)
    """
    opcode, payload = _message(data, frame)
    framed = b"".join(frames.frame(opcode, payload, masked=False))
    count = 0
    for websocket in websockets:
        if not websocket.connected or websocket._fragments or (websocket._old and opcode != TEXT):
            continue
        count += 1
        if websocket._masked:
            websocket._send_frame(opcode, payload)
            websocket._wrote = True
        elif websocket._old:
            websocket._write_message(opcode, payload)
            websocket._wrote = True
        else:
            # One that does not listen need not be told that all was sent.
            if getattr(websocket.on_write, "__func__", None) is not WebSocket.on_write:
                websocket._wrote = True
            websocket._connection._send_at_once(framed, websocket._wrote)
    return count


def _message(data: Any, frame: int | None) -> tuple[int, bytes]:
    """Return the opcode and the payload of a message.

    Raises:
        TypeError, ValueError: As of `WebSocket.write`.
    """
    if frame is not None and (isinstance(frame, bool) or frame not in (TEXT, BINARY)):
        raise ValueError(
            f"frame is FRAME_TEXT or FRAME_BINARY, not {frame!r}; there are ping(), close(), write_fragment()"
        )
    if isinstance(data, str):
        if frame == BINARY:
            raise TypeError("with FRAME_BINARY data is bytes, not str; encode it")
        return TEXT, data.encode()
    try:
        payload = data if data.__class__ is bytes else memoryview(data).tobytes()
    except TypeError:
        raise TypeError(f"a message is str or bytes, not {data!r}") from None
    if frame == TEXT:
        payload.decode()  # RFC 6455 §8.1: the peer would end the connection
    return frame or BINARY, payload


def _check_class(cls: type[WebSocket]) -> None:
    """Raise unless what a subclass has set can be used."""
    for name, check in (("subprotocols", check_subprotocols), ("allowed_origins", check_origins)):
        value = cls.__dict__.get(name)
        if value is not None and not hasattr(value, "__get__"):  # a property, say: the subclass's own affair
            check(value)
    compression = cls.__dict__.get("compression", False)
    if not isinstance(compression, (bool, Deflate)) and not hasattr(compression, "__get__"):
        raise TypeError(f"compression is True, False or a pants.http.Deflate, not {compression!r}")
