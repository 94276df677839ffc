"""Who the client is, where proxies stand before the server: Forwarded (RFC 7239) and the X- headers it was made of.

Whatever a proxy does not write, the client may have. So what counts is what was added last, at the right.
"""

from __future__ import annotations

import functools
import ipaddress
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final, NamedTuple

from pants._networks import Address, Networks, unmapped
from pants.http._head import is_host
from pants.http.utils import HTTPHeaders

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network

#: The headers that can be honoured.
KNOWN: Final = ("Forwarded", "X-Forwarded-For", "X-Real-IP", "X-Forwarded-Proto", "X-Forwarded-Host")

# No request comes through more proxies. Who names more of them wants them looked up.
_MOST_HOPS: Final = 32

# An address with or without a port, which may be obfuscated (RFC 7239 §6.3). In the X- headers, an IPv6 address comes
# with brackets or without.
_PORT: Final = r"(?::(?:[0-9]{1,5}|_[A-Za-z0-9._-]{1,64}))?"
_match_node: Final = re.compile(
    rf"\[([0-9A-Fa-f:.]{{2,45}})\]{_PORT}|([0-9.]{{7,15}}){_PORT}|([0-9A-Fa-f:.]{{2,45}})"
).fullmatch
_LONGEST_NODE: Final = 128

# A request is one of HTTP's schemes even if it opens a WebSocket (RFC 6455 §4.1), which some proxies tell instead.
_SCHEMES: Final = {"http": "http", "https": "https", "ws": "http", "wss": "https"}

# A name of 255 bytes and a port.
_LONGEST_HOST: Final = 261

# A pair of a Forwarded field (RFC 7239 §4) and what precedes it, back to front. A quote after an odd number of
# backslashes is part of the value, any other is its end. Nothing is tried twice.
_TCHARS: Final = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]++"
_match_reversed_pair: Final = re.compile(
    rf'[ \t;]*+(?:({_TCHARS})|"(?!\\(?:\\\\)*+(?!\\))((?:[^"]|"(?=\\(?:\\\\)*+(?!\\)))*+)")'
    rf"=({_TCHARS})(?=[ \t]*+(?:[;,]|\Z))"
).match
# What precedes an element, and the empty ones before it (RFC 9110 §5.6.1.2).
_match_reversed_end: Final = re.compile(r"[ \t;]*+(?:,[ \t;,]*+|\Z)").match
# There are four parameters, and perhaps an extension.
_MOST_PAIRS: Final = 16


class Client(NamedTuple):
    """The client of a request, as far as the proxies before the server are believed.

    Attributes:
        ip: Its address; an empty string for the other end of a UNIX socket.
        scheme: ``http`` or ``https``.
        host: The host that it asked for, with a port or without; None if that is not known.
    """

    ip: str
    scheme: str
    host: str | None


class ForwardedRules:
    """Which proxies are believed, and which of their headers.

    A proxy passes on what it does not know of. So a client can say what it likes in any header that the proxy neither
    replaces nor adds to: **name only those headers that your proxy sets**, rather than ask for all of them, and name
    the proxies unless nobody else can connect.

    Where several headers speak of the same, one counts, and if it is malformed there is nothing to fall back on but the
    connection itself. For the address, that is X-Forwarded-For, then X-Real-IP, then Forwarded: nearly every proxy
    writes the first, and adds to what the client may have put there, while most pass the others on untouched.
    X-Forwarded-Proto and X-Forwarded-Host come before Forwarded for the same reason.

    - X-Forwarded-For and Forwarded are read from the right. With ``trusted_proxies``, those are skipped, and the first
      address that is none of them is the client's; if all are, the leftmost is. Without, there is one proxy, and the
      last entry is what it has added.
    - X-Real-IP, X-Forwarded-Proto and X-Forwarded-Host have one value; the last one if there are more. That is what the
      nearest proxy says, or has let through: their entries cannot be matched with those of X-Forwarded-For, for some
      proxies replace them and others add to them. The outermost proxy should set them, and the others leave them alone.
    - Of Forwarded, the scheme and the host are those of the entry that the address was taken from.

    What is malformed, ``unknown`` or obfuscated (RFC 7239 §6) gives nothing: it is as the connection has it then.

    Args:
        xheaders: True for all headers, or the names of those to honour: of Forwarded, X-Forwarded-For, X-Real-IP,
            X-Forwarded-Proto and X-Forwarded-Host.
        trusted_proxies: The addresses and networks of the proxies, as in ``10.0.0.0/8`` or ``::1``; ``unix`` for
            whoever connects to a UNIX socket. None trusts everybody that can connect.

    Raises:
        TypeError: A str was given instead of several.
        ValueError: A header is not known; an address or network is malformed.
    """

    __slots__ = ("_headers", "_is_trusted")

    def __init__(
        self, xheaders: bool | Iterable[str], trusted_proxies: Iterable[str | Address | _Network] | None = None
    ) -> None:
        self._headers = _check_headers(xheaders)
        self._is_trusted: Callable[[str], bool] | None = None
        if trusted_proxies is not None:
            if isinstance(trusted_proxies, str):
                raise TypeError(f"trusted_proxies is a list, as in [{trusted_proxies!r}], not a str")
            # Asked for each request, mostly of the same few.
            self._is_trusted = functools.lru_cache(maxsize=1024)(
                Networks(trusted_proxies, "trusted_proxies").__contains__
            )

    def trusts(self, peer: str) -> bool:
        """Return whether a peer is one of the proxies.

        Args:
            peer: Its address; an empty string for the other end of a UNIX socket. An IPv4 address counts as such in
                IPv6 as well (``::ffff:10.0.0.1``; RFC 4291 §2.5.5.2).
        """
        return self._is_trusted is None or self._is_trusted(peer)

    def apply(self, headers: HTTPHeaders, peer_ip: str, scheme: str, host: str | None) -> Client:
        """Return who the client of a request is. Nothing in the headers raises.

        Args:
            headers: Those of the request.
            peer_ip: The address that the connection comes from; an empty string for a UNIX socket.
            scheme: ``https`` where the connection is secure, else ``http``.
            host: What the request was sent to, by its Host header.
        """
        if not self.trusts(peer_ip):
            return Client(peer_ip, scheme, host)
        ip, hop = self._find_client(_read_forwarded(self._lines(headers, "forwarded")))
        if lines := self._lines(headers, "x-forwarded-for"):
            ip, _ = self._find_client(_read_list(lines))
        elif lines := self._lines(headers, "x-real-ip"):
            ip = _read_node(_last(lines))
        lines = self._lines(headers, "x-forwarded-proto")
        told_scheme = _last(lines) if lines else hop.get("proto", "")
        lines = self._lines(headers, "x-forwarded-host")
        told_host = _last(lines) if lines else hop.get("host", "")
        return Client(
            ip or peer_ip, _SCHEMES.get(told_scheme.lower(), scheme), told_host if _is_host(told_host) else host
        )

    def _lines(self, headers: HTTPHeaders, name: str) -> list[str]:
        return headers.get_list(name) if name in self._headers else []

    def _find_client(self, hops: Iterator[Mapping[str, str] | None]) -> tuple[str | None, Mapping[str, str]]:
        """Return the client's address and the hop that tells it.

        Args:
            hops: What proxies have said, each about whom it was connected to, the nearest one first; None for what is
                malformed.
        """
        ip: str | None = None
        chosen: Mapping[str, str] = {}
        for count, hop in enumerate(hops, 1):
            if hop is None or count > _MOST_HOPS:
                return None, {}
            ip, chosen = _read_node(hop.get("for", "")), hop
            if ip is None or self._is_trusted is None or not self._is_trusted(ip):
                break
        return ip, chosen


def _check_headers(xheaders: bool | Iterable[str]) -> frozenset[str]:
    """Return the names of the headers to honour, in lower case."""
    if isinstance(xheaders, bool):
        xheaders = KNOWN if xheaders else ()
    elif isinstance(xheaders, str):
        raise TypeError(f"xheaders is a bool or a list of names, as in [{xheaders!r}], not a str")
    known = {name.lower() for name in KNOWN}
    names = list(xheaders)
    for name in names:
        if not isinstance(name, str) or name.lower() not in known:
            raise ValueError(f"xheaders can name {', '.join(KNOWN)}, not {name!r}")
    return frozenset(name.lower() for name in names)


def _read_node(text: str) -> str | None:
    """Return the address in what a proxy says about whom it was connected to (RFC 7239 §6), or None."""
    return _find_address(text) if len(text) <= _LONGEST_NODE else None


@functools.lru_cache(maxsize=1024)
def _find_address(text: str) -> str | None:
    match = _match_node(text.strip(" \t"))
    if match is None:
        return None
    try:
        return str(unmapped(ipaddress.ip_address(match[1] or match[2] or match[3])))
    except ValueError:
        return None


def _read_list(lines: list[str]) -> Iterator[dict[str, str]]:
    """Yield the entries of X-Forwarded-For from the right, in the form that those of Forwarded have."""
    for line in reversed(lines):
        for entry in reversed(line.rsplit(",", _MOST_HOPS)):
            yield {"for": entry}


def _read_forwarded(lines: list[str]) -> Iterator[dict[str, str] | None]:
    """Yield the elements of Forwarded (RFC 7239 §4) from the right; None for a malformed one and all before it.

    It is parsed back to front because a proxy adds to what the client has sent: an open quote there, seen first, would
    swallow what follows it.
    """
    for line in reversed(lines):
        text = line[::-1].lstrip(" \t;,")
        at = 0
        while at < len(text):
            element, at = _read_element(text, at)
            yield element


def _read_element(text: str, at: int) -> tuple[dict[str, str] | None, int]:
    """Return the element of a reversed line that begins at ``at``, and where the next one does."""
    element: dict[str, str] = {}
    while match := _match_reversed_pair(text, at):
        name = match[3][::-1].lower()
        if name in element or len(element) == _MOST_PAIRS:
            return None, len(text)
        element[name] = _unescape(match[2][::-1]) if match[1] is None else match[1][::-1]
        at = match.end()
    end = _match_reversed_end(text, at)
    return (None, len(text)) if end is None else (element, end.end())


def _unescape(text: str) -> str:
    """Return what a quoted string stands for (RFC 9110 §5.6.4): the character after a backslash is itself."""
    return "\\".join([part.replace("\\", "") for part in text.split("\\\\")])


def _last(lines: list[str]) -> str:
    """Return the last entry of a list."""
    return lines[-1].rpartition(",")[2].strip(" \t")


def _is_host(text: str) -> bool:
    """Return whether ``text`` could stand in Host (RFC 9110 §7.2), and is not empty."""
    return 0 < len(text) <= _LONGEST_HOST and text[0] != ":" and is_host(text.encode("latin-1", "replace"))
