"""Fetching a certificate that could not be verified, to show it to the program (manual: "on_ssl_error")."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING

from pants.http._client_errors import CertificateError
from pants.http._dialling import Dialling
from pants.http.utils import HTTPHeaders

if TYPE_CHECKING:
    from pants.http._client_exchange import Exchange
    from pants.http._client_pool import Pool


class CertificateProbe(Dialling):
    """A connection that is made to see which certificate a server has; nothing is sent on it.

    The `ssl` module tells what is in a certificate only if it has been verified. So a second connection, which takes
    any, fetches it; a third trusts just that one. The program is asked before anything is sent on that, and it is then
    the one that is used: no other certificate can take the place of the one that was looked at.

    Args:
        pool: Of the server.
        exchange: Which needs a connection.
        error: What is wrong with the certificate.
    """

    __slots__ = ("_cancel_overdue", "_error", "_exchange", "_pool")

    def __init__(self, pool: Pool, exchange: Exchange, error: CertificateError) -> None:
        super().__init__(engine=pool.client.engine)
        self._pool = pool
        self._exchange: Exchange | None = exchange
        self._error = error
        exchange._connection = self
        limit = exchange.request._timeout.connect
        self._cancel_overdue: Callable[[], None] | None = None
        if limit is not None:
            self._cancel_overdue = self.engine.defer(limit, self.close, flush=False)
        self._dial(pool.target, pool.proxy, pool.route.unverified())

    def _dialled(self) -> None:
        exchange, self._exchange = self._exchange, None
        assert isinstance(self.socket, ssl.SSLSocket)
        certificate = self.socket.getpeercert(binary_form=True)
        self.close(flush=False)
        if exchange is not None:
            exchange._connection = None
            if certificate is None:
                exchange._fail(self._error)
            else:
                self._pool.ask(exchange, self._error, certificate)

    def _received(self, data: bytes) -> None:
        self.close(flush=False)

    def _tunnel_refused(self, reason: str, status: int, headers: HTTPHeaders) -> None:
        self.close(flush=False)

    def _dial_failed(self, exception: Exception) -> None:
        self.close(flush=False)

    def on_connect_error(self, exception: Exception) -> None:
        """See `pants.Stream`."""
        self.close(flush=False)

    def on_ssl_handshake_error(self, exception: Exception) -> None:
        """See `pants.Stream`."""
        self.close(flush=False)

    def on_ssl_error(self, exception: Exception) -> None:
        """See `pants.Stream`."""
        self.close(flush=False)

    def on_error(self, exception: Exception) -> None:
        """See `pants.Stream`."""
        self.close(flush=False)

    def abandon(self) -> None:
        """The exchange does not want it any more."""
        self._exchange = None
        self.close(flush=False)

    def on_close(self) -> None:
        """See `pants.Stream`."""
        if self._cancel_overdue is not None:
            self._cancel_overdue()
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange._connection = None
            exchange._fail(self._error)
        self._pool.probed()
        super().on_close()
