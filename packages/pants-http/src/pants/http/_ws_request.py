"""What a client asks for when it opens a WebSocket."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pants.engine import Engine
from pants.http._answer import check_value
from pants.http._client_cookies import cookie_value
from pants.http._client_settings import check_count, check_flag, tls_options
from pants.http._proxy import Proxy, environment_proxy, parse_proxy
from pants.http._target import Target
from pants.http._ws_deflate import Deflate
from pants.http._ws_handshake import own_fields, parse_url


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
        check_flag(verify_ssl, "verify_ssl", "; a file goes into ssl_options, as ca_certs")
        self.ssl_options = tls_options(verify_ssl, ssl_options)
        check_count(max_redirects, "max_redirects")
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
