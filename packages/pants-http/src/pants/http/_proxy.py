"""The HTTP proxy that a client goes through (RFC 9110 §9.3.6, RFC 6455 §4.1)."""

from __future__ import annotations

from typing import NamedTuple
from urllib.request import getproxies, proxy_bypass

from pants.http._target import Target, ascii_host, split_url, url_credentials, without_credentials


class Proxy(NamedTuple):
    """An HTTP proxy.

    Attributes:
        host: Its name or address.
        port: Its port.
        credentials: The value of Proxy-Authorization, or None.
    """

    host: str
    port: int
    credentials: str | None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.host}:{self.port}>"


def parse_proxy(url: str) -> Proxy:
    """Take the URL of a proxy apart.

    Raises:
        TypeError: It is not a str.
        ValueError: It is no URL, or that of another kind of proxy.
    """
    if not isinstance(url, str):
        raise TypeError(f"proxy is a URL, True or None, not {url!r}")
    parts, host, port = split_url(url if "://" in url else f"http://{url}")
    if parts.scheme.lower() != "http" or not host:
        shown = without_credentials(url)
        raise ValueError(f"a proxy is given as http://host:port, unlike {shown!r}; other kinds are not spoken to")
    return Proxy(ascii_host(host), 80 if port is None else port, url_credentials(parts))


def environment_proxy(target: Target) -> str | None:
    """Return the URL of the proxy that the environment names for a target, or None."""
    if proxy_bypass(target.host) or proxy_bypass(target.host_and_port):
        return None
    proxies = getproxies()
    names = (target.scheme, "https" if target.secure else "http", "all")
    return next((proxies[name] for name in names if proxies.get(name)), None)
