"""The forms in which an address may be given (manual: "Stream.connect", "Server.listen")."""

from __future__ import annotations

import os
import socket
from typing import Any, NamedTuple

_FORMS = (
    "an address is a path (a UNIX socket), a port, (host, port), or (host, port, flow info, scope id) for IPv6, "
    "not {!r}"
)


class Address(NamedTuple):
    """An address in one form.

    `family` is AF_UNSPEC where a host name may turn out to have addresses of either family.
    """

    family: int
    host: str = ""
    port: int = 0
    flow_info: int = 0
    scope_id: int = 0
    path: str | bytes = ""

    @property
    def is_unix(self) -> bool:
        """Whether this is the address of a UNIX socket."""
        return self.family == socket.AF_UNIX

    def check_fits(self, sock: socket.socket, given: object) -> None:
        """Raise ValueError where ``sock`` is of a family that has no such addresses."""
        fits = sock.family in (socket.AF_INET, socket.AF_INET6) if self.family == socket.AF_UNSPEC else None
        if not (sock.family == self.family if fits is None else fits):
            raise ValueError(f"the channel's socket is of family {sock.family.name}, which has no address {given!r}")


def parse(given: Any) -> Address:
    """Read an address as the user gave it.

    Raises:
        TypeError: It has none of the forms.
        ValueError: It has the form, but a port or another number is out of range, or a string is empty or has a NUL.
    """
    if isinstance(given, (str, bytes, os.PathLike)):
        path = os.fspath(given)
        if not path:
            raise ValueError("the path of a UNIX socket is empty")
        nul: Any = "\0" if isinstance(path, str) else b"\0"
        if nul in path and not path.startswith(nul):
            raise ValueError(f"the path {path!r} has a NUL in it; only an abstract name has, and begins with one")
        return Address(socket.AF_UNIX, path=path)
    if isinstance(given, int) and not isinstance(given, bool):
        given = ("", given)
    if not isinstance(given, (tuple, list)) or len(given) not in (2, 4):
        raise TypeError(_FORMS.format(given))
    host, *numbers = given
    if not isinstance(host, str) or any(isinstance(n, bool) or not isinstance(n, int) for n in numbers):
        raise TypeError(_FORMS.format(tuple(given)))
    if "\0" in host:
        raise ValueError(f"the host {host!r} has a NUL in it")
    _check_range("port", numbers[0], 0xFFFF)
    if len(numbers) == 3:
        _check_range("flow info", numbers[1], 0xFFFFF)
        _check_range("scope id", numbers[2], 0xFFFFFFFF)
        return Address(socket.AF_INET6, host, *numbers)
    return Address(_family_of(host), host, numbers[0])


def _check_range(name: str, value: int, largest: int) -> None:
    if not 0 <= value <= largest:
        raise ValueError(f"a {name} is between 0 and {largest}, not {value}")


def _family_of(host: str) -> int:
    """The family of a numeric address, AF_INET for no host, AF_UNSPEC for a name."""
    if not host:
        return socket.AF_INET
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host.partition("%")[0])
        except (OSError, ValueError):
            continue
        return family
    return socket.AF_UNSPEC
