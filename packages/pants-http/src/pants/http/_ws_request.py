"""What a client asks for when it opens a WebSocket."""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Mapping
from typing import Any, Final

from pants._tls import settings as tls_settings
from pants.engine import Engine
from pants.http._answer import check_value
from pants.http._proxy import Proxy, environment_proxy, parse_proxy
from pants.http._target import Target
from pants.http._ws_deflate import Deflate
from pants.http._ws_handshake import own_fields, parse_url

_COOKIE_NAME: Final = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")


class ClientRequest:
    """What a client asks for; it takes the place of the request in the constructor of a `WebSocket`.

    Args:
        engine: The engine.
        url: Where to.
        headers, cookies, origin, subprotocols, compression, proxy, verify_ssl, ssl_options, max_redirects: As of
            `WebSocket.connect`; ``subprotocols`` have been checked.

    Raises:
        TypeError, ValueError: As of `WebSocket.connect`.
    """

    def __init__(
        self,
        engine: Engine,
        url: str,
        *,
        headers: Mapping[str, Any] | Iterable[tuple[str, Any]] = (),
        cookies: Mapping[str, Any] | None = None,
        origin: str | None = None,
        subprotocols: tuple[str, ...] = (),
        compression: Deflate | None = None,
        proxy: str | bool | None = True,
        verify_ssl: bool = True,
        ssl_options: Any = None,
        max_redirects: int = 10,
    ) -> None:
        if not isinstance(engine, Engine):
            raise TypeError(f"engine is a pants.Engine, not {engine!r}")
        self.engine = engine
        self.target = parse_url(url)
        self.fields = own_fields(headers)
        if cookies:
            self._add("cookies", "Cookie", cookie_value(cookies))
        if origin is not None:
            check_value("origin", origin)
            self._add("origin", "Origin", origin)
        self.subprotocols = subprotocols
        self.compression = compression
        self.proxy = proxy
        if proxy is not True:
            self.find_proxy(self.target)
        if not isinstance(verify_ssl, bool):
            raise TypeError(
                f"verify_ssl is True or False, not {verify_ssl!r}; a file goes into ssl_options, as ca_certs"
            )
        self.ssl_options = _tls_options(verify_ssl, ssl_options)
        if isinstance(max_redirects, bool) or not isinstance(max_redirects, int):
            raise TypeError(f"max_redirects is a number, not {max_redirects!r}")
        if max_redirects < 0:
            raise ValueError(f"max_redirects is 0 or more, not {max_redirects}")
        self.max_redirects = max_redirects

    def _add(self, argument: str, name: str, value: str) -> None:
        if any(field[0].lower() == name.lower() for field in self.fields):
            raise ValueError(f"{argument} is given, and headers have a {name} too; one of them will do")
        self.fields.append((name, value))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.url}>"

    @property
    def url(self) -> str:
        """Where to, without credentials."""
        return self.target.url

    @property
    def is_secure(self) -> bool:
        """Whether TLS is spoken."""
        return self.target.secure

    def find_proxy(self, target: Target) -> Proxy | None:
        """Return the proxy to a target, or None.

        Raises:
            TypeError, ValueError: As `parse_proxy`.
        """
        if self.proxy is True:
            url = environment_proxy(target)
            return None if url is None else parse_proxy(url)
        return None if not self.proxy else parse_proxy(self.proxy)


def cookie_value(cookies: Mapping[str, Any]) -> str:
    """Return the value of Cookie (RFC 6265 §4.2).

    Args:
        cookies: Values by name; a `SimpleCookie` will do.

    Raises:
        TypeError: They are no such thing.
        ValueError: A name or a value cannot stand in a cookie.
    """
    if not isinstance(cookies, Mapping):
        raise TypeError(f"cookies are a dict of names and values, not {cookies!r}")
    pairs = []
    for name, value in cookies.items():
        value = getattr(value, "coded_value", value)  # of a SimpleCookie
        if not isinstance(name, str) or not isinstance(value, str):
            raise TypeError(f"cookies are names and values, both str, not {name!r} and {value!r}")
        if not name or not _COOKIE_NAME.issuperset(name):
            raise ValueError(f"no cookie can have the name {name!r}")
        check_value(f"the cookie {name}", value)
        if ";" in value:
            raise ValueError(f"the cookie {name} cannot contain a semicolon: {value!r}")
        pairs.append(f"{name}={value}")
    return "; ".join(pairs)


def _tls_options(verify: bool, options: Any) -> Any:
    if isinstance(options, ssl.SSLContext):
        if not verify:
            raise ValueError("verify_ssl=False does not go with an SSLContext, which says by itself what it verifies")
        return options
    if options is not None and not isinstance(options, Mapping):
        raise TypeError(f"ssl_options is a dict or an ssl.SSLContext, not {options!r}")
    options = dict(options or {})
    if not verify and options.setdefault("cert_reqs", ssl.CERT_NONE) != ssl.CERT_NONE:
        raise ValueError("verify_ssl=False does not go with the cert_reqs in ssl_options; one of them will do")
    tls_settings(options, server_side=False)  # raises where something is wrong with them
    return options
