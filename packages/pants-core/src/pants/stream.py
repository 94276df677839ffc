"""Streaming (TCP) connection implementation (manual: "pants.stream").

`Stream` is what users see of a connection. Its hooks stand in `pants._hooks`; what it does in the engine's loop, in
`pants._transport` and, for TLS, in `pants._secure_transport`.
"""

from __future__ import annotations

import contextlib
import ssl
import struct
from socket import IPPROTO_TCP, SOCK_STREAM, TCP_NODELAY
from socket import socket as Socket
from typing import TYPE_CHECKING, Any, Self

from netstruct import NetStruct

from pants import _address, _send_queue, _tls
from pants._channel import NOT_ASKED, UNSET
from pants._connector import Connector
from pants._secure_transport import SecureTransport
from pants._settings import Setting
from pants._timers import check_seconds
from pants.delimiter import DEFAULT_LIMIT, Framer
from pants.engine import Engine
from pants.errors import ConnectError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

    from pants.server import Server

__all__ = ["Stream"]


class Stream(SecureTransport):
    r"""A connection: a socket, the data read from it and written to it, and hooks for what happens (manual: "Stream").

    Subclass it and override the hooks, the methods whose names begin with ``on_``. A `Server` makes instances for the
    connections that it accepts; a client makes its own and calls `connect`.

    Args:
        engine: The `Engine` to which the channel belongs; the global one by default.
        socket: A stream socket to use, connected or not; an `ssl.SSLSocket` too.
        ssl_options: If given, TLS is begun with these options, as by `startSSL`.
        server: The `Server` that accepted the connection.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: The socket is not a stream socket; or as `startSSL`.

    Example:
        >>> from pants import Engine, Server, Stream
        >>> class Echo(Stream):
        ...     def on_read(self, data):
        ...         self.write(data)
        >>> class Client(Stream):
        ...     def on_connect(self):
        ...         self.read_delimiter = b"\n"
        ...         self.write(b"Hello, World!\n")
        ...     def on_read(self, line):
        ...         print(line)
        ...         self.engine.stop()
        >>> server = Server(Echo).listen(("127.0.0.1", 0))
        >>> client = Client().connect(server.local_address)
        >>> Engine.instance().start()
        b'Hello, World!'
    """

    __slots__ = ()

    if TYPE_CHECKING:
        connect_timeout: float | None
    else:
        connect_timeout = Setting(
            60.0, "Seconds until an attempt to connect, look-up included, fails with `ConnectTimeout`; or None."
        )

    def __init__(
        self,
        *,
        engine: Engine | None = None,
        socket: Socket | None = None,
        ssl_options: _tls.SSLOptions | None = None,
        server: Server | None = None,
    ) -> None:
        super().__init__(engine, server)
        if isinstance(socket, ssl.SSLSocket) and ssl_options is not None:
            raise RuntimeError(f"TLS is enabled already on {socket!r}; ssl_options are for a plain socket")
        try:
            if socket is not None:
                self._adopt_socket(socket)
            if ssl_options is not None:
                self.startSSL(ssl_options)
        except BaseException:
            # There is no channel; the loop must not go on with it. The socket stays the caller's.
            self.engine.unused.discard(self)
            self.socket = None
            self._has_closed = True
            raise

    def _describe_state(self) -> str:
        if self._has_closed:
            return "closed"
        if self._connector is not None and not self._closing_stage:
            return "connecting"
        state = "closing" if self._closing_stage else "connected" if self.connected else "not connected"
        return state if self.socket is None else f"{state}, {self.local_address} to {self.remote_address}"

    # --- Connecting ---------------------------------------------------------------------------------------------

    def _adopt_socket(self, sock: Socket) -> None:
        """Take over a socket from the user or a server."""
        if not isinstance(sock, Socket):
            raise TypeError(f"socket is a socket.socket, not {sock!r}")
        if sock.type != SOCK_STREAM:
            raise ValueError(f"a Stream needs a stream socket (SOCK_STREAM), not {sock!r}")
        sock.setblocking(False)
        connected = self._acceptor is not None  # even if the client has gone by now: then reading will tell
        if not connected:
            with contextlib.suppress(OSError):
                self._remote_value = sock.getpeername()
                connected = True
        if isinstance(sock, ssl.SSLSocket):
            self._tls_settings = _tls.TLSSettings(
                sock.context, bool(sock.server_side), sock.server_hostname, _tls.take_over_ragged_eofs(sock)
            )
            if not connected:
                sock = Socket(fileno=sock.detach())  # TLS is put around it again once it is connected
        self.socket = sock
        if connected:
            self._begin_connected("before")
        else:
            self.engine.unused.add(self)

    def _begin_connected(self, how: str) -> None:
        """The socket is connected: let the loop go on from here."""
        with contextlib.suppress(OSError):  # not a TCP socket
            self.socket.setsockopt(IPPROTO_TCP, TCP_NODELAY, True)  # type: ignore[union-attr]
        self._last_traffic = self.engine.time
        self._unopened = how
        self.connected = self._tls_settings is None or self._tls_due
        if self._tls_due:
            self._unsent.append(_send_queue.StartTLS())
        self._attend_soon()

    def connect(self, address: Any) -> Self:
        """Connect to a server (manual: "Stream.connect").

        Names are looked up without blocking the loop, and all their addresses are tried (RFC 8305). `on_connect` or
        `on_connect_error` is called from the loop.

        Args:
            address: A path (UNIX), a port (of this host), a tuple (host, port), or (host, port, flow info, scope id)
                for IPv6. A host is a name or an address; as a name it may have addresses of either family.

        Returns:
            The channel.

        Raises:
            RuntimeError: The channel is closed, connected, or connecting.
            TypeError: The address has none of these forms.
            ValueError: A part of it is out of range; it does not fit the channel's socket; or TLS has been asked for
                with verification, and there is no host name to verify.
        """
        if self._has_closed or self._closing_stage:
            raise RuntimeError(f"connect() on {self!r}; a closed channel is not used again, make a new one")
        if self._connector is not None or self.connected or self._unopened or self._handshaking:
            raise RuntimeError(f"connect() on {self!r}; it connects once")
        parsed = _address.parse(address)
        if self.socket is not None:
            parsed.check_fits(self.socket, address)
        host = None if parsed.is_unix else _tls.without_root(parsed.host) or "localhost"
        if self._tls_settings is not None:
            self._tls_settings.check_name(host)
        self._tls_host = host
        self.engine.dormant.add(self)
        self._connector = Connector(
            self.engine, parsed, address, self.connect_timeout, self._on_connected, self._on_connect_failed, self.socket
        )
        return self

    def _on_connected(self, sock: Socket, peer: Any) -> None:
        self._connector = None
        self.engine.dormant.discard(self)
        if self._closing_stage:
            sock.close()
            return
        self.socket = sock
        if self._remote_value is UNSET:
            self._remote_value = peer
        self._begin_connected("by us")

    def _on_connect_failed(self, error: ConnectError) -> None:
        if self._hook_polls:  # one of the channel's hooks is running
            self.engine.postpone(self, lambda: self._on_connect_failed(error))
            return
        self._connector = self.socket = None
        self.engine.dormant.discard(self)
        if not self._closing_stage:
            self._call_hook(self.on_connect_error, error)

    def _renew(self) -> None:
        """Make a closed channel as new, that it may connect again: for protocols whose user keeps one object.

        What the user has put into the channel stays, `Setting`s included; delimiter, buffer size, time-outs and TLS are
        to be set again.

        Raises:
            RuntimeError: The channel is not closed, or its engine is.
        """
        if not self._has_closed:
            raise RuntimeError(f"{self!r} cannot be made as new before on_close()")
        Stream.__init__(self, engine=self.engine)

    def startSSL(self, ssl_options: _tls.SSLOptions = {}) -> Self:  # noqa: B006 - the manual's default
        """Enable TLS, and make the handshake at the next opportunity (manual: "Stream.startSSL").

        Called before `connect`, or on a socket passed to the constructor before the loop has seen it, the handshake
        comes first and `on_connect` after it. Called on a connected channel (STARTTLS), what has been written goes out
        first, in clear; what is written from now on waits for the handshake; what the peer has sent in clear and has
        not been passed to `on_read` yet is discarded, for it is not protected.

        Args:
            ssl_options: An `ssl.SSLContext`, or a dict with any of the following. A client verifies the peer's
                certificate and its host name (that passed to `connect`) unless ``cert_reqs`` is `ssl.CERT_NONE`.

                - certfile, keyfile, password: this end's certificate. The server side needs one.
                - ca_certs: a file of certificates to trust, instead of the system's.
                - cert_reqs: `ssl.CERT_NONE`, `CERT_OPTIONAL` or `CERT_REQUIRED`.
                - ciphers: as of `ssl.SSLContext.set_ciphers`.
                - server_hostname: the name to ask for (SNI) and to verify.
                - alpn_protocols: a list of str.
                - server_side: by default true for connections accepted by a `Server`.
                - suppress_ragged_eofs: True by default; False makes an end without TLS's own notice an error.
                - do_handshake_on_connect: must be False, if given; ssl_version is ignored.

        Returns:
            The channel.

        Raises:
            RuntimeError: The channel is closed, or TLS is enabled on it already.
            TypeError: The options are of another type, or unknown.
            ValueError: ``do_handshake_on_connect`` is true; the server side has no certificate; there is no host name
                to verify.
            OSError, ssl.SSLError: A file cannot be read, or holds something else.
        """
        if self._has_closed or self._closing_stage:
            raise RuntimeError(f"startSSL() on {self!r}; a closed channel is not used again")
        if self._tls_settings is not None:
            raise RuntimeError(f"TLS is enabled already on {self!r}")
        settings = _tls.settings(ssl_options, server_side=self._acceptor is not None)
        begun = self.connected or self._connector is not None
        if begun:
            settings.check_name(self._tls_host)
        self._tls_settings = settings
        if self._unopened == "before" and not self._unsent:  # a given socket: TLS comes before on_connect()
            self.connected = False
        elif self._connector is not None:
            self._tls_due = True
        elif self.connected:
            self._tls_due = True
            self._update_reading()
            if self._read_framer is not None:
                self._read_framer.clear()
            self._unsent.append(_send_queue.StartTLS())
            self._attend_soon()
        return self

    start_ssl = startSSL

    @property
    def alpn_protocol(self) -> str | None:
        """The protocol agreed on by ALPN (RFC 7301), or None."""
        return self.socket.selected_alpn_protocol() if isinstance(self.socket, ssl.SSLSocket) else None

    # --- Reading ------------------------------------------------------------------------------------------------

    @property
    def read_delimiter(self) -> Any:
        """What ends a piece of data that is passed to `on_read` (manual: "Stream.read_delimiter").

        - None: data is passed on as it comes. This is the default.
        - bytes: data up to these, which are dropped.
        - int: that many bytes.
        - `struct.Struct`, `netstruct.NetStruct`: the bytes of one, unpacked; ``on_read`` gets its values.
        - a compiled pattern of bytes: see `regex_search`.

        Set inside `on_read` it holds from the next byte on; set elsewhere, what is buffered is looked at anew on the
        next turn.

        Raises:
            TypeError: When set to anything else.
            ValueError: When set to something that can consume nothing: empty bytes, a size below 1.
        """
        return None if self._read_framer is None else self._read_framer.delimiter

    @read_delimiter.setter
    def read_delimiter(self, delimiter: Any) -> None:
        if self._read_framer is not None or delimiter is not None:
            self._need_framer().delimiter = delimiter
            self._look_again()

    @property
    def regex_search(self) -> bool:
        """How a pattern is used as `read_delimiter` (manual: "Stream.regex_search").

        True, the default: it is searched for; `on_read` gets what is before the match, and the match is dropped. False:
        it is matched at the start; `on_read` gets the match object.
        """
        return True if self._read_framer is None else self._read_framer.regex_search

    @regex_search.setter
    def regex_search(self, value: bool) -> None:
        self._need_framer().regex_search = value
        self._look_again()

    @property
    def buffer_size(self) -> int:
        """The longest piece of data that is buffered, in bytes, 64 KiB by default (manual: "Stream.buffer_size").

        A longer one ends in `on_overflow_error`. A `read_delimiter` that is an int or a Struct raises it if need be.

        Raises:
            TypeError: When set to anything but an int.
            ValueError: When set to less than 1.
        """
        return DEFAULT_LIMIT if self._read_framer is None else self._read_framer.limit

    @buffer_size.setter
    def buffer_size(self, size: int) -> None:
        self._need_framer().limit = size
        self._look_again()

    def _need_framer(self) -> Framer:
        if self._read_framer is None:
            self._read_framer = Framer()
            self._read_framer.halted = not self._may_read
        return self._read_framer

    def pause_reading(self) -> None:
        """Call `on_read` no more, and let the peer's data wait in the kernel, until `resume_reading`.

        The end of the peer's data is noticed only after that. A reset is noticed at once with epoll, and a write that
        fails tells it in any case: then what the peer has sent is handed out all the same, and the channel closes.
        """
        self._reading_paused = True
        self._update_reading()

    def resume_reading(self) -> None:
        """Undo `pause_reading`."""
        if self._reading_paused:
            self._reading_paused = False
            self._update_reading()
            self._read_recheck = True
            self._attend_soon()

    @property
    def idle_timeout(self) -> float | None:
        """Seconds without any traffic after which `on_idle_timeout` is called; None, the default, for never.

        Raises:
            TypeError: When set to anything but a number or None.
            ValueError: When set to a number not above 0.
        """
        return self._idle_seconds

    @idle_timeout.setter
    def idle_timeout(self, seconds: float | None) -> None:
        if seconds is not None:
            check_seconds(seconds, "idle_timeout", zero=False)
        self._idle_seconds = seconds
        if self._cancel_idle_check is not None:
            self._cancel_idle_check()
            self._cancel_idle_check = None
        if seconds is not None and not self._closing_stage:
            self._last_traffic = self.engine.time
            self._cancel_idle_check = self.engine.defer(seconds, self._check_idle)

    def _check_idle(self) -> None:
        # Events only note the time; so a message costs nothing here, and the timer finds out what there was.
        assert self._idle_seconds is not None
        left = self._last_traffic + self._idle_seconds - self.engine.time
        if left <= 0:
            self._last_traffic = self.engine.time
            left = self._idle_seconds
            self._cancel_idle_check = None
            if self.connected and not self._hook_polls:
                self._call_hook(self.on_idle_timeout)
                if self._unsent:
                    self._attend_soon()
            if self._closing_stage or self._idle_seconds is None or self._cancel_idle_check is not None:
                return  # the hook has set it anew
        self._cancel_idle_check = self.engine.defer(left, self._check_idle)

    # --- Writing ------------------------------------------------------------------------------------------------

    def write(self, data: ReadableBuffer, flush: bool = False) -> None:
        """Queue data to be sent (manual: "Stream.write").

        It is sent once the running hook has returned; all that the hook has written in one go.

        Args:
            data: Bytes, or another object with bytes in it (bytearray, memoryview, array ...), which is copied.
            flush: Send now; see `flush`.

        Raises:
            RuntimeError: The channel is not connected, or closed.
            TypeError: ``data`` is not bytes; a str has to be encoded.
        """
        if not self.connected:
            raise self._not_connected("write")
        if data.__class__ is not bytes:
            data = _as_bytes(data)
        if data:
            queue = self._unsent
            if not queue:
                if self._attention_asked == NOT_ASKED:
                    self._attend_soon()
            elif self._send_blocked and not self._above_high_water:
                self._attend_soon()  # for on_high_water()
            queue.append(data)
        if flush:
            self.flush()

    def write_file(self, sfile: Any, nbytes: int = 0, offset: int = 0, flush: bool = False) -> None:
        """Queue a file, or a part of one, to be sent (manual: "Stream.write_file").

        It is not read as a whole: the kernel sends from it where it can (`os.sendfile`), else it is read in pieces. The
        caller may close it at once if it has a file descriptor; a file object without one must be left alone until it
        is sent. If it turns out shorter than it was at this call, `on_error` gets a `pants.errors.FileShrunk`, and the
        channel is closed.

        Args:
            sfile: A file opened in binary mode.
            nbytes: The number of bytes; 0 for all from ``offset`` on.
            offset: From the start of the file, in bytes, wherever the file's own position is.
            flush: Send now; see `flush`.

        Raises:
            RuntimeError: The channel is not connected, or closed.
            TypeError: ``sfile`` is not a file of bytes, or a number is not an int.
            ValueError: A number is negative or beyond the end of the file, the file is closed or not a regular one, or
                it cannot seek and ``nbytes`` is not given.
        """
        if not self.connected:
            raise self._not_connected("write_file")
        self._write_slice(_send_queue.FileSlice(sfile, nbytes, offset))
        if flush:
            self.flush()

    def _write_slice(self, item: _send_queue.FileSlice) -> None:
        """Queue a part of a file. It is closed when it has been sent."""
        if item.size:
            self._unsent.append(item)
            self._attend_soon()
        else:
            item.close()

    def write_packed(self, *data: Any, format: str | bytes | None = None, flush: bool = False) -> None:  # noqa: A002
        """Pack values, and queue them to be sent (manual: "Stream.write_packed").

        Args:
            *data: The values.
            format: A format of `struct` or, with a ``$`` in it, of `netstruct`. By default that of `read_delimiter`, if
                it is a Struct or NetStruct.
            flush: Send now; see `flush`.

        Raises:
            RuntimeError: The channel is not connected, or closed.
            ValueError: There is no format.
            struct.error: The format is bad, or the values do not fit it.
        """
        if not self.connected:
            raise self._not_connected("write_packed")
        self.write(_packer(format, self.read_delimiter).pack(*data), flush)

    def flush(self) -> None:
        """Send what is queued now, as far as the kernel takes it, not waiting for the loop (manual: "Stream.flush").

        Raises:
            RuntimeError: The channel is not connected, or closed.
        """
        if not self.connected:
            raise self._not_connected("flush")
        if self._unsent and not self._send_blocked and not self._handshaking and self._send_unsent():
            self._drain_untold = not self._unsent
            self._attend_soon()  # for on_write(), or on_high_water()

    @property
    def queued_bytes(self) -> int:
        """The number of bytes, those of files included, that are written and not sent yet."""
        return _send_queue.queued_size(self._unsent)

    def _not_connected(self, method: str) -> RuntimeError:
        return RuntimeError(f"{method}() on {self!r}; a channel can be written to from on_connect() until close()")


def _as_bytes(data: Any) -> bytes:
    if isinstance(data, str):
        raise TypeError(f"a stream carries bytes, not str; encode it, as in {data[:20]!r}.encode()")
    try:
        return memoryview(data).tobytes()
    except TypeError:
        raise TypeError(f"a stream carries bytes, bytearray, memoryview and their like, not {data!r}") from None


def _packer(format_: str | bytes | None, delimiter: Any) -> Any:
    if format_ is None:
        if not isinstance(delimiter, (struct.Struct, NetStruct)):
            raise ValueError("write_packed() needs a format where read_delimiter is neither a Struct nor a NetStruct")
        return delimiter
    if isinstance(format_, str):
        try:
            format_ = format_.encode("ascii")
        except UnicodeEncodeError:
            raise struct.error(f"bad character in the format {format_!r}") from None
    return NetStruct(format_) if b"$" in format_ else struct.Struct(format_)
