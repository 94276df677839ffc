"""The addresses that are given on a command line, and the URLs under which a server is reached."""

from __future__ import annotations

import socket
from typing import Any, Final

_FORMS: Final = "give PORT, HOST, HOST:PORT, [IPV6]:PORT or unix:PATH"
_HIGHEST_PORT: Final = 65535


def parse_bind(text: str, default_host: str, default_port: int) -> tuple[str, int] | str:
    """Read an address to listen on, as it is given on a command line.

    ``8000`` is a port of the default host, ``:8000`` of all IPv4 addresses; ``127.0.0.1``, ``localhost``, ``::1`` and
    ``[::1]`` are hosts, with the default port; ``localhost:8000`` and ``[::1]:8000`` have both. ``unix:/run/web.sock``
    is a UNIX socket, and so is whatever has a slash in it; ``unix:@name`` is one of Linux's abstract names.

    Args:
        text: What was given.
        default_host: The host where there is only a port.
        default_port: The port where there is only a host.

    Returns:
        A tuple of host and port, or the path of a UNIX socket: what `pants.Server.listen` takes.

    Raises:
        ValueError: It has none of these forms, or the port is out of range; the message quotes it.
    """
    if text.startswith("unix:"):
        return _socket_path(text, text.removeprefix("unix:"))
    if "://" in text:
        raise ValueError(f"{text!r} is a URL, not an address; {_FORMS}")
    if "/" in text:
        return _socket_path(text, text)
    if text.isdecimal():
        return default_host, _port(text, text)
    host, separator, port = _split(text)
    return host, _port(port, text) if separator else default_port


def _socket_path(text: str, path: str) -> str:
    if not path or path == "@" or "\0" in path:
        raise ValueError(f"{text!r} names no UNIX socket; {_FORMS}")
    return f"\0{path[1:]}" if path.startswith("@") else path


def _split(text: str) -> tuple[str, str, str]:
    """Return the host, a colon if there is a port, and the port."""
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or not _is_ipv6(host) or (rest and not rest.startswith(":")):
            raise ValueError(f"{text!r} is not an IPv6 address in brackets; {_FORMS}")
        return host, rest[:1], rest[1:]
    if _is_ipv6(text):
        return text, "", ""
    host, separator, port = text.partition(":")
    if ":" in port or (not host and not separator) or any(not char.isprintable() or char.isspace() for char in host):
        raise ValueError(f"{text!r} is not an address; {_FORMS}")
    return host, separator, port


def _port(port: str, text: str) -> int:
    # isdecimal() and isascii(): int() takes signs, spaces, underscores and other scripts' digits.
    if not (port.isascii() and port.isdecimal()):
        raise ValueError(f"{port!r} is not a port, in {text!r}; {_FORMS}")
    if len(port) > 5 or int(port) > _HIGHEST_PORT:
        raise ValueError(f"a port is between 0 and {_HIGHEST_PORT}, not {port}")
    return int(port)


def _is_ipv6(host: str) -> bool:
    try:
        socket.inet_pton(socket.AF_INET6, host.partition("%")[0])  # behind it, the interface (RFC 4007 §11)
    except (OSError, ValueError):
        return False
    return True


def url_of(scheme: str, address: Any) -> str:
    """Return the URL under which a server can be reached that listens on ``address``.

    Args:
        scheme: ``http`` or ``https``.
        address: As `pants.Server.local_address` tells it.
    """
    if not isinstance(address, tuple):
        return f"{scheme} on {address!r}"
    host, port = address[:2]
    if host in ("0.0.0.0", "::"):  # all addresses of this host
        host = "localhost"
    elif ":" in host:
        host = f"[{host}]"
    return f"{scheme}://{host}/" if port == {"http": 80, "https": 443}[scheme] else f"{scheme}://{host}:{port}/"
