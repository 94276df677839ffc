"""Where a client connects to: URLs taken apart (RFC 3986), and what is known of the origin they name. Sans-IO."""

from __future__ import annotations

import base64
import functools
import re
from typing import Final
from urllib.parse import SplitResult, quote, unquote, urlsplit

# RFC 3986 §3.2.2, §3.2.3: a host and a port. More is asked of the host elsewhere.
_AUTHORITY: Final = re.compile(r"(?:\[[0-9A-Fa-f:.%A-Za-z]*\]|[^\[\]:]*)(?::[0-9]*)?")
# What is shown of a URL, in characters.
_MOST_SHOWN: Final = 200
#: The port that a scheme has where the URL names none.
DEFAULT_PORTS: Final = {"http": 80, "https": 443, "ws": 80, "wss": 443}
_SECURE: Final = frozenset({"https", "wss"})
# What stays as it is where a URL is made fit to be sent; a percent sign, for it may have been encoded before.
_SAFE: Final = "/%:=&?~+!$,;'@()*[]#"
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
# What is sent of a URL without being quoted: nearly all of them (RFC 3986 §2).
_IS_PLAIN: Final = re.compile(r"[A-Za-z0-9\-._~/%:=&?+!$,;'@()*]*").fullmatch
# Longer URLs are taken apart anew each time, so that the memory for those that are kept is bounded.
_LONGEST_KEPT: Final = 1024


class Target:
    """Where a request goes.

    Args:
        scheme: One of `DEFAULT_PORTS`.
        host: The name or address, without brackets, as `ascii_host` returns it.
        port: The port.
        resource: The path and query, as they are sent.
        credentials: What the URL has before its host, as the value of Authorization; or None.
        fragment: What the URL has behind its ``#``, or an empty string.

    Attributes:
        secure: Whether TLS is spoken.
        authority: The value of Host (RFC 9110 §7.2).
        origin: Scheme, host and port (RFC 6454 §6.2).
        url: The URL, without credentials and fragment.
    """

    __slots__ = (
        "authority",
        "authority_line",
        "credentials",
        "fragment",
        "host",
        "origin",
        "port",
        "resource",
        "resource_bytes",
        "scheme",
        "secure",
        "url",
    )

    def __init__(
        self, scheme: str, host: str, port: int, resource: str, credentials: str | None, fragment: str = ""
    ) -> None:
        self.scheme = scheme
        self.host = host
        self.port = port
        self.resource = resource
        self.credentials = credentials
        self.fragment = fragment
        self.secure = scheme in _SECURE
        name, zone, interface = host.partition("%")  # of an IPv6 address, which is nobody else's affair (RFC 6874 §1)
        shown = f"[{name}]" if ":" in name else name
        self.authority = shown if port == DEFAULT_PORTS[scheme] else f"{shown}:{port}"
        self.origin = f"{scheme}://{self.authority}"
        if zone:
            self.origin = f"{scheme}://[{name}{zone}{interface}]:{port}"
        self.url = self.origin + resource
        #: What stands behind the method in the request line; and the end of that, with the Host field.
        self.resource_bytes = resource.encode("latin-1")
        self.authority_line = f" HTTP/1.1\r\nHost: {self.authority}\r\n".encode("latin-1")

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.url[:_MOST_SHOWN]}>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Target):
            return NotImplemented
        return (self.url, self.credentials, self.fragment) == (other.url, other.credentials, other.fragment)

    def __hash__(self) -> int:
        return hash(self.url)

    def with_credentials(self, credentials: str | None) -> Target:
        """Return the same target, with other credentials."""
        return Target(self.scheme, self.host, self.port, self.resource, credentials, self.fragment)

    def with_fragment(self, fragment: str) -> Target:
        """Return the same target, with another fragment."""
        return Target(self.scheme, self.host, self.port, self.resource, self.credentials, fragment)

    @property
    def host_and_port(self) -> str:
        """The host and the port, whatever it is: the target of CONNECT (RFC 9110 §9.3.6)."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_target(url: str) -> Target:
    """Take the URL of a resource of HTTP apart (RFC 9110 §4.2). What cannot be sent as it is gets quoted.

    Raises:
        TypeError: It is not a str.
        ValueError: It is no such URL.
    """
    if not isinstance(url, str):
        raise TypeError(f"url is a str, not {url!r}")
    return _parse_kept(str(url)) if len(url) <= _LONGEST_KEPT else _parse(url)


def _parse(url: str) -> Target:
    if _CONTROL.search(url):
        raise ValueError(f"a URL contains no control characters, unlike {without_credentials(url)!r}")
    parts, host, port = split_url(url.strip(" "))
    scheme = parts.scheme.lower()
    if scheme not in ("http", "https") or not host:
        raise ValueError(f"a URL begins with http:// or https:// and a host, unlike {without_credentials(url)!r}")
    resource = quoted(parts.path) or "/"
    if parts.query:
        resource += "?" + quoted(parts.query)
    if port is None:
        port = DEFAULT_PORTS[scheme]
    return Target(scheme, ascii_host(host), port, resource, url_credentials(parts), quoted(parts.fragment))


_parse_kept: Final = functools.lru_cache(maxsize=1024)(_parse)


def quoted(part: str | bytes) -> str:
    """Return a URL, or a part of one, with what cannot be sent percent-encoded; a str as UTF-8 (RFC 3987 §3.1).

    Raises:
        ValueError: There is half of a surrogate pair in it.
    """
    if isinstance(part, str) and _IS_PLAIN(part):
        return part
    try:
        return quote(part, safe=_SAFE)
    except UnicodeEncodeError:
        raise ValueError(f"half of a surrogate pair cannot be sent in a URL: {part[:_MOST_SHOWN]!r}") from None


def split_url(url: str) -> tuple[SplitResult, str, int | None]:
    """Split a URL (RFC 3986 §3).

    Returns:
        Its parts; the host, without brackets; and the port, None where there is none.

    Raises:
        ValueError: It is none.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:  # whose message may show the password
        pass
    else:
        if _AUTHORITY.fullmatch(parts.netloc.rpartition("@")[2]) and (":" in (host or "") or "[" not in parts.netloc):
            return parts, host or "", port
    raise ValueError(f"{without_credentials(url)!r} is no URL: its host or its port is malformed")


def without_credentials(url: str) -> str:
    """Return a URL as it may be shown, in a log for example."""
    rest, at, place = url.rpartition("@")
    if not at:
        return url[:_MOST_SHOWN]
    scheme, slashes, _ = rest.partition("//")
    return f"{scheme}{slashes}***@{place}"[:_MOST_SHOWN] if slashes else f"***@{place}"[:_MOST_SHOWN]


def url_credentials(parts: SplitResult) -> str | None:
    """Return the value of Authorization for the credentials in a URL, or None where there are none."""
    if not parts.username and not parts.password:
        return None
    return basic_credentials(unquote(parts.username or ""), unquote(parts.password or ""))


def ascii_host(host: str) -> str:
    """Return a host name in the form in which it is sent and looked up.

    Raises:
        ValueError: It is no host name.
    """
    if ":" in host:  # an IPv6 address
        return host
    try:
        encoded_host = host.lower().encode("idna").decode()
    except UnicodeError:
        raise ValueError(f"{host[:_MOST_SHOWN]!r} is no host name") from None
    if not re.fullmatch(r"[a-z0-9._\-]+", encoded_host):
        raise ValueError(f"{host[:_MOST_SHOWN]!r} is no host name")
    return encoded_host


def basic_credentials(user: str, password: str) -> str:
    """Return the value of Authorization for a user and a password (RFC 7617).

    Raises:
        ValueError: The user's name contains a colon, or one of the two a control character (§2).
    """
    if ":" in user or _CONTROL.search(user + password):
        raise ValueError(
            "a user's name contains no colon, and neither it nor a password a control character (RFC 7617 §2)"
        )
    try:
        encoded = f"{user}:{password}".encode()
    except UnicodeEncodeError:
        raise ValueError("half of a surrogate pair cannot be sent, in a user's name or a password") from None
    return "Basic " + base64.b64encode(encoded).decode()
