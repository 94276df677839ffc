"""Streaming (TCP) server implementation (manual: "pants.server")."""

from __future__ import annotations

import contextlib
import errno
import os
import socket as _socket
import ssl
import stat
from collections.abc import Callable, Iterable
from socket import AF_INET, AF_INET6, AF_UNIX
from socket import socket as Socket
from types import FunctionType
from typing import Any, Final, Self

from pants import _address, _resolver, _tls
from pants._address import Address
from pants._channel import NOT_ASKED, Channel, log
from pants._proxy_protocol import HeaderReader, ProxyHeader, TrustedProxies
from pants._transport import Transport
from pants.engine import READ, Engine
from pants.stream import Stream

__all__ = ["Server"]

# Connections accepted in one go before other channels have their turn.
ACCEPTS_PER_TURN: Final = 64
# Seconds for which nothing is accepted after the process or the system ran out of descriptors or memory.
BACK_OFF: Final = 0.25
# How often an IPv4 port is looked for that is also free for IPv6, where the kernel may choose the port.
PORT_TRIES: Final = 16

_EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class Server(Channel):
    """A channel that listens for connections, and makes a `Stream` of each (manual: "Server").

    Args:
        ConnectionClass: The subclass of `Stream` to make instances of. By default the class attribute of that name,
            which subclasses may set, or `Stream` itself.
        engine: The `Engine` to which the server and its connections belong; the global one by default.
        socket: A stream socket to listen on; bound or not, listening or not (as systemd's socket activation passes it).
        ssl_options: If given, TLS is enabled with these options, as by `startSSL`.
        reuse_port: Set SO_REUSEPORT, so that several processes can listen on one port.
        proxy_protocol: Whether connections begin with the header of haproxy's PROXY protocol, version 1 or 2, before
            TLS: `on_accept` is called when it is complete, with the address it tells as the client's; the channel's
            ``local_address`` is the one that the client connected to. A connection without one is closed, with a
            warning in the log. Rather than True, which believes whoever can connect, give the proxies: addresses and
            networks ("10.0.0.1", "2001:db8::/32"), and "unix" for connections to a UNIX socket. All others are closed.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: The socket is not a stream socket; ``proxy_protocol`` has something that is no address, or nothing;
            or as `startSSL`.

    Example:
        >>> from pants import Server, Stream
        >>> class Echo(Stream):
        ...     def on_read(self, data):
        ...         self.write(data)
        >>> server = Server(Echo).listen(("127.0.0.1", 0))
        >>> server.local_address[0]
        '127.0.0.1'
        >>> server.close()
    """

    __slots__ = (
        "_cancel_back_off",
        "_close_due",
        "_header_readers",
        "_has_stopped",
        "_proxies",
        "_slave_socket",
        "_tls_options",
        "_tls_settings",
        "_unix_file",
        "channels",
        "listening",
        "reuse_port",
    )

    #: The class of accepted connections (manual: "Server.ConnectionClass").
    ConnectionClass: Callable[..., Stream] = Stream

    #: The open connections that this server has accepted, by the descriptor of their sockets.
    channels: dict[int, Stream]
    #: Whether connections are being accepted.
    listening: bool

    def __init__(
        self,
        ConnectionClass: Callable[..., Stream] | None = None,
        *,
        engine: Engine | None = None,
        socket: Socket | None = None,
        ssl_options: _tls.SSLOptions | None = None,
        reuse_port: bool = False,
        proxy_protocol: bool | Iterable[Any] = False,
    ) -> None:
        super().__init__(engine)
        if ConnectionClass is not None:
            self.ConnectionClass = ConnectionClass
        if not callable(self.ConnectionClass):
            raise TypeError(f"ConnectionClass is a subclass of Stream, not {self.ConnectionClass!r}")
        self.channels = {}
        self.listening = False
        self.reuse_port = reuse_port
        self._proxies = None if proxy_protocol is False else TrustedProxies(proxy_protocol)
        self._header_readers: dict[int, HeaderReader] = {}  # connections without a header yet, by their descriptors
        self._tls_settings: _tls.TLSSettings | None = None
        self._tls_options: dict[str, Any] | None = None  # of which the settings can be made anew
        self._slave_socket: Socket | None = None  # the socket for IPv4, beside one for IPv6
        self._unix_file: tuple[str | bytes, int, int] | None = None  # path, device and inode of the socket file
        self._cancel_back_off: Callable[[], None] | None = None
        self._has_stopped = False  # listening, once and for all
        self._close_due = False  # on_close() is owed
        if isinstance(socket, ssl.SSLSocket) and ssl_options is not None:
            raise RuntimeError(f"TLS is enabled already on {socket!r}; ssl_options are for a plain socket")
        if ssl_options is not None:
            self.startSSL(ssl_options)
        if socket is not None:
            self._adopt_socket(socket)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        if "connection_class" in cls.__dict__:  # the same thing by its other name
            cls.ConnectionClass = cls.__dict__["connection_class"]
            del cls.connection_class
        super().__init_subclass__(**kwargs)
        if isinstance(cls.__dict__.get("ConnectionClass"), FunctionType):
            cls.ConnectionClass = staticmethod(cls.__dict__["ConnectionClass"])  # not a method of the server's

    def _adopt_socket(self, sock: Socket) -> None:
        if not isinstance(sock, Socket):
            raise TypeError(f"socket is a socket.socket, not {sock!r}")
        if sock.type != _socket.SOCK_STREAM:
            raise ValueError(f"a Server needs a stream socket (SOCK_STREAM), not {sock!r}")
        if isinstance(sock, ssl.SSLSocket):
            # Its own accept() would block in the handshake; the connections are wrapped here instead.
            self._tls_settings = _tls.TLSSettings(sock.context, True, None, _tls.take_over_ragged_eofs(sock))
            sock = Socket(fileno=sock.detach())
        sock.setblocking(False)
        self.socket = sock
        self.engine.unused.add(self)

    def _describe_state(self) -> str:
        if self._has_closed:
            return "closed"
        if self.listening:
            return f"listening on {self.local_address}"
        return "not listening any more" if self._has_stopped else "not listening"

    @property
    def connection_class(self) -> Callable[..., Stream]:
        """The same as `ConnectionClass`."""
        return self.ConnectionClass

    @connection_class.setter
    def connection_class(self, value: Callable[..., Stream]) -> None:
        self.ConnectionClass = value

    # --- Listening ----------------------------------------------------------------------------------------------

    def listen(self, address: Any = None, backlog: int = 1024, slave: bool = True) -> Self:
        """Begin to listen for connections (manual: "Server.listen").

        `on_listen` is called before this returns, and `local_address` tells the port that 0 became.

        Args:
            address: A path (UNIX), a port (on all IPv4 addresses), a tuple (host, port), or (host, port, flow info,
                scope id) for IPv6. A name is looked up, at once. The file of a UNIX socket on which nobody listens any
                more is replaced; it is removed when the server closes. It may be left out where the server was given a
                socket that is bound.
            backlog: The number of connections that the kernel keeps waiting to be accepted.
            slave: Whether a server that listens on all IPv6 addresses (``::``) does so on all IPv4 addresses too.

        Returns:
            The channel.

        Raises:
            RuntimeError: The channel is closed, or listening, or has stopped to.
            TypeError: The address has none of these forms.
            ValueError: A part of it is out of range, or it does not fit the channel's socket.
            OSError: The address cannot be resolved or bound. The channel can be used to try another.
        """
        if self._has_closed:
            raise RuntimeError(f"listen() on {self!r}; a closed channel is not used again, make a new one")
        if self._has_stopped:
            raise RuntimeError(f"listen() on {self!r}; a server listens once, make a new one")
        if self.listening:
            raise RuntimeError(f"listen() on {self!r}; a server listens on one address")
        if isinstance(backlog, bool) or not isinstance(backlog, int):
            raise TypeError(f"backlog is a number of connections, not {backlog!r}")
        given = self.socket
        try:
            if address is None:
                if given is None:
                    raise TypeError("listen() needs an address, since this server was not given a socket")
                if not _is_bound(given):
                    raise ValueError("listen() needs an address, since the socket of this server is not bound")
            else:
                self._bind_address(address, slave)
            for sock in self._listening_sockets():
                sock.listen(backlog)
            self._watch_sockets()
        except BaseException:
            self._release_sockets(keep=given)
            raise
        self.listening = True
        self.engine.dormant.discard(self)
        self._call_hook(self.on_listen)
        return self

    def _listening_sockets(self) -> list[Socket]:
        return [sock for sock in (self.socket, self._slave_socket) if sock is not None]

    def _watch_sockets(self) -> None:
        if self._cancel_back_off is None and not self._hook_polls:
            for sock in self._listening_sockets():
                self.engine.watch(sock.fileno(), READ, self._on_socket_events)

    def _unwatch_sockets(self) -> None:
        for sock in self._listening_sockets():
            self.engine.unwatch(sock.fileno())

    def _bind_address(self, given: Any, slave: bool) -> None:
        address = _address.parse(given)
        if self.socket is not None:
            address.check_fits(self.socket, given)
        if address.is_unix:
            self._bind_unix(address.path)
            return
        family, where = self._resolve_address(address, given)
        try:
            if family == AF_INET6 and slave and where[0] == "::" and self.socket is None:
                self._bind_both(where)
            else:
                self.socket = self._bound_socket(self.socket, family, where)
        except OSError as error:
            raise _named(error, given) from None

    def _resolve_address(self, address: Address, given: Any) -> tuple[int, Any]:
        if not address.host:
            return address.family, ("", address.port) if address.family == AF_INET else ("::", *address[2:5])
        result = _resolver.look_up(address.host, address.port, address.family)
        if isinstance(result, OSError):
            raise _named(result, given)
        # IPv4 first for a name that has both, as the manual promises for 2-tuples.
        family, where = min(result, key=lambda found: found[0] != AF_INET)
        if family == AF_INET6 and (address.flow_info or address.scope_id):
            where = (*where[:2], address.flow_info, address.scope_id)
        return family, where

    def _bound_socket(self, sock: Socket | None, family: int, where: Any) -> Socket:
        made = sock is None
        if sock is None:
            sock = Socket(family, _socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            if family != AF_UNIX:
                sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, True)
            if self.reuse_port:
                sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEPORT, True)
            if family == AF_INET6 and made:
                # What systems do by default differs; the slave is there for IPv4.
                sock.setsockopt(_socket.IPPROTO_IPV6, _socket.IPV6_V6ONLY, True)
            sock.bind(where)
        except BaseException:
            if made:
                sock.close()
            raise
        return sock

    def _bind_both(self, where: Any) -> None:
        """Bind an IPv6 address and its IPv4 slave, to one port."""
        for attempt in range(PORT_TRIES):
            self.socket = self._bound_socket(None, AF_INET6, where)
            port = self.socket.getsockname()[1]
            try:
                self._slave_socket = self._bound_socket(None, AF_INET, ("0.0.0.0", port))
                return
            except OSError as error:
                self.socket.close()
                self.socket = None
                if where[1] or error.errno != errno.EADDRINUSE or attempt == PORT_TRIES - 1:
                    raise

    def _bind_unix(self, path: str | bytes) -> None:
        try:
            try:
                self.socket = self._bound_socket(self.socket, AF_UNIX, path)
            except OSError as error:
                if error.errno != errno.EADDRINUSE or not _is_dead(path):
                    raise
                os.unlink(path)
                self.socket = self._bound_socket(self.socket, AF_UNIX, path)
        except OSError as error:
            raise _named(error, path) from None
        if not _is_abstract(path):
            status = os.stat(path)
            self._unix_file = (os.path.abspath(path), status.st_dev, status.st_ino)

    def startSSL(self, ssl_options: _tls.SSLOptions = {}) -> Self:  # noqa: B006 - the manual's default
        """Enable TLS for the connections accepted from now on (manual: "Server.startSSL").

        Args:
            ssl_options: An `ssl.SSLContext`, or a dict as for `pants.Stream.startSSL`; it needs a certfile.

        Returns:
            The channel.

        Raises:
            RuntimeError: The channel is closed, or TLS is enabled already.
            TypeError: The options are of another type, or unknown.
            ValueError: ``do_handshake_on_connect`` is true, ``server_side`` is false, or there is no certificate.
            OSError, ssl.SSLError: A file cannot be read, or holds something else.
        """
        if self._has_closed:
            raise RuntimeError(f"startSSL() on {self!r}; a closed channel is not used again")
        if self._tls_settings is not None:
            raise RuntimeError(f"TLS is enabled already on {self!r}")
        self._tls_settings = _tls.settings(ssl_options, server_side=True, is_server=True)
        self._tls_options = _tls.for_reloading(ssl_options)
        return self

    start_ssl = startSSL

    def reload_ssl(self, ssl_options: _tls.SSLOptions | None = None) -> None:
        """Use another certificate, or other options, for the connections accepted from now on.

        Those that are open go on as they are. If this fails, what was in use stays in use.

        Args:
            ssl_options: As for `startSSL`. By default the files that it was given are read again.

        Raises:
            RuntimeError: The channel is closed, or TLS is not enabled.
            ValueError: There are no ``ssl_options``, and TLS was enabled with an `ssl.SSLContext`; or as `startSSL`.
            TypeError, OSError, ssl.SSLError: As `startSSL`.
        """
        if self._has_closed:
            raise RuntimeError(f"reload_ssl() on {self!r}; a closed channel is not used again")
        if self._tls_settings is None:
            raise RuntimeError(f"reload_ssl() on {self!r}, which has no TLS; enable it by startSSL()")
        if ssl_options is None:
            ssl_options = self._tls_options
        if ssl_options is None:
            raise ValueError(
                "reload_ssl() knows no files, since TLS was enabled with an SSLContext; "
                "call that context's load_cert_chain(), or pass ssl_options"
            )
        self._tls_settings = _tls.settings(ssl_options, server_side=True, is_server=True)
        self._tls_options = _tls.for_reloading(ssl_options)

    # --- Accepting ----------------------------------------------------------------------------------------------

    def _on_socket_events(self, _events: int) -> None:
        for listener in self._listening_sockets():
            for _ in range(ACCEPTS_PER_TURN):
                try:
                    sock, addr = listener.accept()
                except (BlockingIOError, InterruptedError):
                    break
                except OSError as error:
                    if not self._accept_failed(error):
                        return
                    continue
                self._accepted(sock, addr)
                if not self.listening:
                    return

    def _accept_failed(self, error: OSError) -> bool:
        """Deal with an error of accept().

        Returns:
            Whether to go on accepting.
        """
        if error.errno in _EXHAUSTED:
            if self.engine.lingering:  # these have been answered; others wait
                next(iter(self.engine.lingering.values()))._abort()
                return True
            log.warning("%r cannot accept connections, and tries again in %s s: %s", self, BACK_OFF, error)
            self._unwatch_sockets()
            self.engine.dormant.add(self)
            self._cancel_back_off = self.engine.defer(BACK_OFF, self._accept_again)
            return False
        if error.errno in (errno.EBADF, errno.EINVAL, errno.ENOTSOCK, errno.EOPNOTSUPP):
            self._call_hook(self.on_error, error)
            return False
        # Whatever else it is, it is about that connection (accept(2), "Error handling"): the client has gone already.
        return True

    def _accept_again(self) -> None:
        self._cancel_back_off = None
        self.engine.dormant.discard(self)
        self._watch_sockets()

    def _suspend(self) -> None:
        """Accept nothing: a hook of this channel polls the engine."""
        self._hook_polls = True
        self._unwatch_sockets()
        for reader in self._header_readers.values():
            reader.unwatch()

    def _resume(self) -> None:
        """Accept again."""
        self._hook_polls = False
        self._watch_sockets()
        for reader in list(self._header_readers.values()):
            reader.watch()

    def _accepted(self, sock: Socket, addr: Any, header: ProxyHeader | None = None) -> None:
        """Make a channel of a connection, once its header is there if it begins with one."""
        sock.setblocking(False)
        if self._proxies is not None:
            if header is None:
                self._await_header(sock, addr)
                return
            if header.source is not None:
                addr = header.source
        if self._tls_settings is not None:
            try:
                sock = self._tls_settings.wrap(sock, accepted=True)
            except Exception as exception:  # noqa: BLE001 - told to the hook
                self._call_hook(self.on_ssl_wrap_error, sock, addr, exception)
                return
        engine = self.engine
        outer = engine.current
        engine.current = self
        try:
            self.on_accept(sock, addr)
        except Exception:  # noqa: BLE001 - logged; the server lives
            log.exception("on_accept of %r failed; the connection from %r is closed", self, addr)
            self._drop_connection(sock)
        except BaseException:
            self._drop_connection(sock)
            raise
        finally:
            engine.current = outer
        if header is not None and header.destination is not None:
            channel = self.channels.get(sock.fileno())
            if channel is not None:
                channel.local_address = header.destination

    def _await_header(self, sock: Socket, addr: Any) -> None:
        assert self._proxies is not None
        if addr in self._proxies:
            HeaderReader(self, sock, addr)
        else:
            log.warning("%r closes the connection from %r, which is not in its proxy_protocol", self, addr)
            sock.close()

    def _drop_connection(self, sock: Socket) -> None:
        """Close a connection whose on_accept() has failed, early or late."""
        channel = self.channels.get(sock.fileno())
        if channel is None:
            sock.close()
        else:
            channel._abort()

    def _forget(self, fd: int, channel: Transport) -> None:
        """Take out a connection that closes, and had the descriptor ``fd``."""
        if self.channels.get(fd) is channel:
            del self.channels[fd]

    # --- Closing ------------------------------------------------------------------------------------------------

    @property
    def awaits_headers(self) -> bool:
        """Whether there are connections that were accepted, and have not sent their PROXY header yet."""
        return bool(self._header_readers)

    def stop_listening(self) -> None:
        """Accept no more connections; the channel and its connections stay open.

        The sockets are closed at once, so that another server can listen there; `local_address` keeps its value. No
        hook is called for it. Connections that were accepted before, and whose PROXY headers are not complete, may
        still become channels for some seconds, until `close`. Without anything to stop, this does nothing.
        """
        if not self.listening:
            return
        self._keep_addresses()
        self.listening = False
        self._has_stopped = True
        self._release_sockets(keep=None)
        self.engine.dormant.discard(self)
        self.engine.unused.add(self)  # so that on_close() is called if the engine closes

    def close(self) -> None:
        """Stop listening, at once; `on_close` is called from the loop (manual: "Server.close").

        Connections stay open here; it is `on_close` that closes them, unless it is overridden. A closed server cannot
        be used again.
        """
        if self._has_closed:
            return
        self._keep_addresses()
        self._has_closed = True
        self.listening = False
        self.engine.dormant.discard(self)
        self._release_sockets(keep=None)
        for reader in list(self._header_readers.values()):
            reader._abort()
        self._close_due = True
        self._attend_soon()

    def _attend_channel(self) -> None:
        self._attention_asked = NOT_ASKED
        if self._close_due:
            self._close_due = False
            self._call_on_close()

    def _release_sockets(self, keep: Socket | None) -> None:
        """Close the sockets, all but one of the user's own."""
        if self._cancel_back_off is not None:
            self._cancel_back_off()
            self._cancel_back_off = None
        for sock in self._listening_sockets():
            if sock.fileno() >= 0:
                self.engine.unwatch(sock.fileno())
            if sock is not keep:
                sock.close()
        self.socket, self._slave_socket = keep, None
        if self._unix_file is not None:
            path, device, inode = self._unix_file
            self._unix_file = None
            with contextlib.suppress(OSError):
                status = os.stat(path)
                if (status.st_dev, status.st_ino) == (device, inode):  # and not a successor's
                    os.unlink(path)

    # --- Hooks --------------------------------------------------------------------------------------------------

    def on_listen(self) -> None:
        """Called, by `listen` itself, when the channel begins to listen (manual: "Server.on_listen").

        What is raised here goes to `on_error`, as with every hook; by default that closes the server.
        """

    def on_accept(self, socket: Socket, addr: Any) -> None:
        """Called with each new connection (manual: "Server.on_accept").

        By default, makes an instance of `ConnectionClass` and adds it to `channels`. What is raised here is logged, and
        the connection closed.

        Args:
            socket: The connected socket; an `ssl.SSLSocket` whose handshake is still to be made, if TLS is enabled.
            addr: The peer's address; the client's, where a PROXY header tells it.
        """
        channel = self.ConnectionClass(engine=self.engine, socket=socket, server=self)
        channel.remote_address = addr
        self.channels[socket.fileno()] = channel

    def on_close(self) -> None:
        """Called once the channel has closed. By default, closes all connections (manual: "Server.on_close")."""
        for channel in list(self.channels.values()):
            channel.close()

    def on_ssl_wrap_error(self, sock: Socket, addr: Any, exception: Exception) -> None:
        """Called when TLS could not be put around a new connection (manual: "Server.on_ssl_wrap_error").

        By default, logs the exception and closes the connection.
        """
        log.warning("%r cannot use TLS with %r: %s", self, addr, exception)
        sock.close()


def _named(error: OSError, address: object) -> OSError:
    """The same error, naming the address."""
    return type(error)(error.errno, f"cannot listen on {address!r}: {error.strerror or error}")


def _is_bound(sock: Socket) -> bool:
    where = sock.getsockname()
    return bool(where[1] if sock.family in (AF_INET, AF_INET6) else where)


def _is_abstract(path: str | bytes) -> bool:
    """Whether this is one of Linux's abstract names, which have no file (unix(7))."""
    return path[:1] in ("\0", b"\0")


def _is_dead(path: str | bytes) -> bool:
    """Whether there is a UNIX socket at a path, and nobody listens on it."""
    if _is_abstract(path) or not stat.S_ISSOCK(os.stat(path).st_mode):
        return False
    with Socket(AF_UNIX, _socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        return probe.connect_ex(path) == errno.ECONNREFUSED
