"""Sets of addresses and networks, as those of proxies that are believed."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Any

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Networks:
    """Addresses and networks, and whether who connects to a UNIX socket, without an address, belongs to them.

    An IPv4 address is the same one within IPv6 (``::ffff:10.0.0.1``; RFC 4291 §2.5.5.2), as sockets for both have it.

    Args:
        given: Strings such as ``10.0.0.0/8`` or ``::1``, objects of `ipaddress`, and ``unix``.
        name: What the argument is called, for the error.

    Raises:
        ValueError: One of them is none of these.
    """

    __slots__ = ("_networks", "_unix")

    def __init__(self, given: Iterable[Any], name: str) -> None:
        self._unix = False
        self._networks: list[ipaddress.IPv4Network | ipaddress.IPv6Network] = []
        for one in given:
            if one == "unix":
                self._unix = True
                continue
            try:
                network = ipaddress.ip_network(str(one))  # not of an int or bytes, of which it would make something
            except ValueError as error:
                raise ValueError(f"{name} has addresses, networks and 'unix', not {one!r}: {error}") from None
            first = unmapped(network.network_address)
            if first.version != network.version and network.prefixlen >= 96:
                network = ipaddress.ip_network((first, network.prefixlen - 96))
            self._networks.append(network)

    def __bool__(self) -> bool:
        return self._unix or bool(self._networks)

    def __contains__(self, peer: str) -> bool:
        """Whether an address is one of theirs; an empty string stands for the other end of a UNIX socket."""
        if not peer:
            return self._unix
        try:
            address = unmapped(ipaddress.ip_address(peer))
        except ValueError:  # of another family
            return False
        return any(address in network for network in self._networks)


def unmapped(address: Address) -> Address:
    """Return the IPv4 address that an IPv6 address stands for, else the address itself."""
    return (address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None) or address
