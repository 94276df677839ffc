"""Asking the program about a certificate that could not be verified (manual: "on_ssl_error")."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pants.http._client_errors import CertificateError
from pants.http._dialling import Dialling
from pants.http.utils import HTTPHeaders

if TYPE_CHECKING:
    from pants.http._client_exchange import Exchange
    from pants.http._client_pool import Pool


class CertificateProbe(Dialling):
    """A connection that is made to see which certificate a server has; nothing of the request is sent on it.

    The `ssl` module tells what is in a certificate only if it has been verified. So one connection, which takes any,
    fetches it; another trusts just that one, and so can read it. Then the program is asked. The request itself goes to
    connections that trust just that certificate, too: no other one can take the place of that which was looked at. The
    client's own certificate is shown on these only.

    Args:
        pool: Of the server.
        exchange: Which needs a connection.
        error: What is wrong with the certificate.
        certificate: The certificate, in DER, where it has been fetched already.
    """

    __slots__ = ("_cancel_overdue", "_certificate", "_error", "_exchange", "_pool")

    def __init__(
        self, pool: Pool, exchange: Exchange, error: CertificateError, certificate: bytes | None = None
    ) -> None:
        super().__init__(engine=pool.engine)
        self._pool = pool
        self._exchange: Exchange | None = exchange
        self._error = error
        self._certificate = certificate
        self._cancel_overdue: Callable[[], None] | None = None
        exchange._connection = self
        try:
            limit = exchange.request._timeout.connect
            if limit is not None:
                self._cancel_overdue = self.engine.defer(limit, self.close, flush=False)
            self._dial(pool.target, pool.proxy, self._tls(pool))
        except Exception:  # noqa: BLE001 - the certificate cannot even be read, say
            self.close(flush=False)

    def _tls(self, pool: Pool) -> Any:
        if self._certificate is None:
            return pool.route.unverified()
        return pool.route.pinned(self._certificate, with_certificate=False)

    def _dialled(self) -> None:
        exchange, pool, error = self._let_go(), self._pool, self._error
        assert isinstance(self.socket, ssl.SSLSocket)
        if exchange is None:
            return
        if self._certificate is None:
            certificate = self.socket.getpeercert(binary_form=True)
            self.close(flush=False)
            pool.probe(exchange, error, certificate)
        else:
            error.certificate = self.socket.getpeercert() or {}
            self.close(flush=False)
            if exchange._accepts_certificate(error):
                pool.accept(exchange, self._certificate)
        pool.remove(self)  # now that the pool has another one

    def _let_go(self) -> Exchange | None:
        """Return the exchange, which has nothing to do with this any more."""
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange._connection = None
        return exchange

    def abandon(self) -> None:
        """The exchange does not want it any more."""
        self._exchange = None
        self.close(flush=False)
        self._pool.remove(self)

    def on_close(self) -> None:
        """See `pants.Stream`. Whatever went wrong here, the certificate could not be verified before."""
        if self._cancel_overdue is not None:
            self._cancel_overdue()
        exchange = self._let_go()
        if exchange is not None:
            exchange._fail(self._error)
        self._pool.remove(self)
        super().on_close()

    def _received(self, data: bytes) -> None:
        self.close(flush=False)

    def _tunnel_refused(self, reason: str, status: int, headers: HTTPHeaders) -> None:
        self.close(flush=False)

    def _dial_failed(self, exception: Exception) -> None:
        self.close(flush=False)

    def on_connect_error(self, exception: Exception) -> None:
        """See `pants.Stream`."""
        self.close(flush=False)

    def on_error(self, exception: Exception) -> None:
        """See `pants.Stream`."""
        self.close(flush=False)

    def _warn_and_close(self, exception: Exception) -> None:
        # No warning: the program is told by on_close() that the certificate could not be verified.
        self.close(flush=False)
