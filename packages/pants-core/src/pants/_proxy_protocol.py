"""The PROXY protocol, in which a proxy tells whose connection it passes on, before anything else is sent.

The sections named here are those of haproxy's specification, "The PROXY protocol, Versions 1 & 2". `HeaderParser` knows
no sockets. `HeaderReader` holds an accepted socket until its header is complete; what follows the header, be it a
request or the ClientHello of TLS, stays in the socket.
"""

from __future__ import annotations

import ipaddress
import os
import re
import socket
import struct
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from pants._channel import log
from pants._networks import Networks
from pants.engine import READ

if TYPE_CHECKING:
    from pants.server import Server

# Seconds for which a header is waited for. It is one segment; in 3 seconds TCP repeats one that was lost (§2).
HEADER_TIME: Final = 5.0
# Connections of one server that wait for their headers. Beyond that the oldest is closed, for headers come at once.
HEADER_SOCKETS: Final = 1024
# Seconds after which a deadline is looked at again that fell into a hook which polls the engine.
SUSPENDED_RETRY: Final = 0.1

# The longest headers, in bytes. The first is the specification's (§2.1); what it allows in version 2 is 65551.
LINE_SIZE: Final = 107
BLOCK_SIZE: Final = 4096

_LINE_START: Final = b"PROXY "
_SIGNATURE: Final = b"\r\n\r\n\0\r\nQUIT\n"
_FIXED_SIZE: Final = 16  # of version 2: the signature, version and command, family and protocol, length

_LINE: Final = re.compile(
    rb"PROXY (TCP4|TCP6) ([0-9A-Fa-f:.]+) ([0-9A-Fa-f:.]+) (0|[1-9][0-9]{0,4}) (0|[1-9][0-9]{0,4})\r\n"
)
_UNKNOWN_LINE: Final = re.compile(rb"PROXY UNKNOWN(?: .*)?\r\n", re.DOTALL)

# Values in version 2 (§2.2).
_LOCAL: Final = 0x20
_PROXY: Final = 0x21
_UNSPEC: Final = 0x00
_TCP4: Final = 0x11
_TCP6: Final = 0x21
_UNIX: Final = 0x31
# What the addresses look like: the source's, the destination's, and for TCP their ports.
_ADDRESSES: Final = {
    _TCP4: struct.Struct("!4s4sHH"),
    _TCP6: struct.Struct("!16s16sHH"),
    _UNIX: struct.Struct("!108s108s"),
}


class ProxyHeader(NamedTuple):
    """What a header tells.

    Both are as `socket.socket.getpeername` gives them, and None where the header tells no addresses: the proxy speaks
    for itself then (LOCAL), or does not know (UNKNOWN, UNSPEC).
    """

    source: Any
    destination: Any


class MalformedHeaderError(Exception):
    """What was received is not a header. The message has no control characters."""


class HeaderParser:
    """Reads one header, of either version, from pieces cut anyhow.

    Each piece is passed to `claim` first, and as much of it as that says to `feed`.
    """

    __slots__ = ("_received", "_size")

    def __init__(self) -> None:
        self._received = bytearray()
        self._size = 0  # of the whole header, of version 2, once it is known

    @property
    def pending(self) -> int:
        """The number of bytes that have been fed."""
        return len(self._received)

    def claim(self, data: bytes) -> int:
        """Tell how many of the bytes that come next are certainly the header's.

        Args:
            data: One byte or more; they need not be all that come.

        Returns:
            At least 1. It is all of ``data`` where the header does not end in it.

        Raises:
            MalformedHeaderError: This is no header, whatever comes after it.
        """
        have = len(self._received)
        start = bytes(self._received[:_FIXED_SIZE]) + data[: max(0, _FIXED_SIZE - have)]
        if _LINE_START.startswith(start[: len(_LINE_START)]):
            if self._received.endswith(b"\r") and data.startswith(b"\n"):
                return 1
            room = LINE_SIZE - have
            end = data.find(b"\r\n", 0, room)
            return min(len(data), room) if end < 0 else end + 2
        if not _SIGNATURE.startswith(start[: len(_SIGNATURE)]):
            raise MalformedHeaderError(f"there is no PROXY header, but {start!r}")
        if len(start) == _FIXED_SIZE and not self._size:
            self._size = _checked_size(start)
        return min(len(data), (self._size or _FIXED_SIZE) - have)

    def feed(self, data: bytes) -> ProxyHeader | None:
        """Take in the next bytes of the header.

        Args:
            data: As many bytes as `claim` allows, or fewer.

        Returns:
            The header, once it is complete.

        Raises:
            MalformedHeaderError: This is no header.
        """
        received = self._received
        received += data
        if received.startswith(b"P"):
            if received.endswith(b"\r\n"):
                return _read_line(bytes(received))
            if len(received) >= LINE_SIZE:
                raise MalformedHeaderError(f"the PROXY header is longer than {LINE_SIZE} bytes: {bytes(received)!r}")
        elif len(received) == self._size:
            return _read_block(bytes(received))
        return None


# --- Version 1 (§2.1) ------------------------------------------------------------------------------------------------


def _read_line(line: bytes) -> ProxyHeader:
    match = _LINE.fullmatch(line)
    if match is None:
        if _UNKNOWN_LINE.fullmatch(line):
            return ProxyHeader(None, None)
        raise MalformedHeaderError(f"a malformed PROXY header: {line!r}")
    protocol, source, destination, *ports = (group.decode("ascii") for group in match.groups())
    address = ipaddress.IPv4Address if protocol == "TCP4" else ipaddress.IPv6Address
    try:
        packed = [address(text).packed for text in (source, destination)]
    except ValueError:
        raise MalformedHeaderError(f"not an address of {protocol} in the PROXY header: {line!r}") from None
    numbers = [int(port) for port in ports]
    if max(numbers) > 0xFFFF:
        raise MalformedHeaderError(f"a port above 65535 in the PROXY header: {line!r}")
    return ProxyHeader(*map(_ip_address, packed, numbers))


def _ip_address(packed: bytes, port: int) -> Any:
    if len(packed) == 4:
        return socket.inet_ntop(socket.AF_INET, packed), port
    return socket.inet_ntop(socket.AF_INET6, packed), port, 0, 0


# --- Version 2 (§2.2) ------------------------------------------------------------------------------------------------


def _checked_size(fixed: bytes) -> int:
    """The size of a header, by its first 16 bytes."""
    command, family = fixed[12], fixed[13]
    size = _FIXED_SIZE + int.from_bytes(fixed[14:16], "big")
    if command not in (_LOCAL, _PROXY):
        raise MalformedHeaderError(f"unknown version and command {command:#04x} in the PROXY header")
    if size > BLOCK_SIZE:
        raise MalformedHeaderError(f"the PROXY header of {size} bytes is longer than {BLOCK_SIZE}")
    if command == _PROXY and family != _UNSPEC:
        addresses = _ADDRESSES.get(family)
        if addresses is None:
            raise MalformedHeaderError(f"the PROXY header is for no stream: family and protocol {family:#04x}")
        if size < _FIXED_SIZE + addresses.size:
            raise MalformedHeaderError(f"the PROXY header of {size} bytes has no room for its addresses")
    return size


def _read_block(block: bytes) -> ProxyHeader:
    command, family = block[12], block[13]
    if command == _LOCAL or family == _UNSPEC:  # what there may be besides is to be ignored
        return ProxyHeader(None, None)
    addresses = _ADDRESSES[family]
    source, destination, *ports = addresses.unpack_from(block, _FIXED_SIZE)
    _check_extensions(block, _FIXED_SIZE + addresses.size)
    if family == _UNIX:
        return ProxyHeader(_unix_address(source), _unix_address(destination))
    return ProxyHeader(_ip_address(source, ports[0]), _ip_address(destination, ports[1]))


def _check_extensions(block: bytes, position: int) -> None:
    """Check that the rest is a row of extensions (TLVs): a type, two bytes with a length, as many bytes (§2.2)."""
    while position < len(block):
        position += 3 + int.from_bytes(block[position + 1 : position + 3], "big")
    if position != len(block):
        raise MalformedHeaderError("an extension of the PROXY header is cut off")


def _unix_address(field: bytes) -> Any:
    """A path, an abstract name as bytes, or "" where the socket has neither (unix(7))."""
    if field.startswith(b"\0"):
        return field.rstrip(b"\0") or ""
    return os.fsdecode(field.partition(b"\0")[0])


# --- Whose headers are believed --------------------------------------------------------------------------------------


class TrustedProxies:
    """Who may send headers.

    Args:
        given: True for everybody, or addresses and networks; "unix" stands for who connects to a UNIX socket.

    Raises:
        TypeError: It is neither.
        ValueError: One of them is no address and no network; or there are none.
    """

    __slots__ = ("_networks",)

    def __init__(self, given: bool | Iterable[Any]) -> None:
        self._networks: Networks | None = None  # for everybody
        if given is True:
            return
        if isinstance(given, (str, bytes)) or not isinstance(given, Iterable):
            raise TypeError(f"proxy_protocol is True, False or a list of addresses and networks, not {given!r}")
        self._networks = Networks(given, "proxy_protocol")
        if not self._networks:
            raise ValueError("proxy_protocol names no proxy; True stands for all of them, False for no headers")

    def __contains__(self, addr: Any) -> bool:
        """Whether a peer's address, as `socket.socket.accept` gives it, is one of theirs."""
        return self._networks is None or ("" if isinstance(addr, (str, bytes)) else str(addr[0])) in self._networks


# --- Waiting for a header --------------------------------------------------------------------------------------------


class HeaderReader:
    """An accepted connection, up to the end of its header; then the server has it, or it is closed.

    Args:
        server: The server that accepted it; the reader is in its ``_header_readers`` while it waits.
        sock: The connection in clear, which nobody watches.
        addr: Who sends the header.
    """

    __slots__ = ("_addr", "_cancel", "_parser", "_server", "_sock")

    def __init__(self, server: Server, sock: socket.socket, addr: Any) -> None:
        self._server = server
        self._sock = sock
        self._addr = addr
        self._parser = HeaderParser()
        others = server._header_readers
        if len(others) >= HEADER_SOCKETS:
            next(iter(others.values()))._refuse(f"more than {HEADER_SOCKETS} wait for a PROXY header, this one longest")
        fd = sock.fileno()
        others[fd] = self
        self._cancel = server.engine.defer(HEADER_TIME, self._overdue)
        self._on_events(READ)  # it may be there already
        if others.get(fd) is self:
            self.watch()

    def watch(self) -> None:
        """Go on when something arrives."""
        try:
            self._server.engine.watch(self._sock.fileno(), READ, self._on_events)
        except OSError as error:  # the poller is full
            self._refuse(str(error))

    def unwatch(self) -> None:
        """Leave what arrives in the socket: a hook of the server's polls the engine."""
        self._server.engine.unwatch(self._sock.fileno())

    def _on_events(self, _events: int) -> None:
        try:
            waiting = self._sock.recv(BLOCK_SIZE, socket.MSG_PEEK)
            if not waiting:
                self._peer_gone("the end of the connection")
                return
            # All of it is taken while the header is incomplete, or the poller would report it for ever.
            header = self._parser.feed(self._sock.recv(self._parser.claim(waiting)))
        except BlockingIOError:
            return
        except OSError as error:
            self._peer_gone(str(error))
            return
        except MalformedHeaderError as error:
            self._refuse(str(error))
            return
        if header is not None:
            self._release()
            self._server._accepted(self._sock, self._addr, header)

    def _peer_gone(self, how: str) -> None:
        if self._parser.pending:
            self._refuse(f"{how} in the middle of the PROXY header")
        else:  # it only wanted to know whether there is a server, as proxies do all the time
            self._abort()

    def _overdue(self) -> None:
        if self._server._hook_polls:  # what has arrived meanwhile is looked at after that
            self._cancel = self._server.engine.defer(SUSPENDED_RETRY, self._overdue)
            return
        self._refuse(f"no complete PROXY header within {HEADER_TIME:g} seconds")

    def _refuse(self, reason: str) -> None:
        log.warning("%r closes the connection from %r: %s", self._server, self._addr, reason)
        self._abort()

    def _abort(self) -> None:
        """Close the connection now."""
        self._release()
        self._sock.close()

    def _release(self) -> None:
        self._cancel()
        self.unwatch()
        self._server._header_readers.pop(self._sock.fileno(), None)
