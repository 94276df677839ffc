"""The connections of a client to one origin, and the exchanges that wait for one."""

from __future__ import annotations

import ssl
from collections import deque
from typing import TYPE_CHECKING

from pants._tls import TLSSettings
from pants.http._client_certificate import CertificateProbe
from pants.http._client_connection import ClientConnection
from pants.http._client_errors import CertificateError
from pants.http._client_settings import IDEMPOTENT, Route
from pants.http._target import Target

if TYPE_CHECKING:
    from pants.http._client_exchange import Exchange
    from pants.http.client import HTTPClient


class Pool:
    """Connections to an origin, by one way.

    Args:
        client: The client.
        target: Something of that origin.
        route: The way there.

    Raises:
        ValueError: The environment names a proxy that is not spoken to.
    """

    def __init__(self, client: HTTPClient, target: Target, route: Route) -> None:
        self.client = client
        self.target = target
        self.route = route
        self.proxy = route.find_proxy(target)
        self._idle: list[ClientConnection] = []
        self._connections: set[ClientConnection] = set()
        self._waiting: deque[Exchange] = deque()
        self._pinned: TLSSettings | None = None  # where a certificate was accepted that cannot be verified
        self._probes = 0  # certificates that are being fetched
        self._refusals: dict[ClientConnection, CertificateError] = {}

    @property
    def size(self) -> int:
        """The number of connections."""
        return len(self._connections)

    @property
    def idle(self) -> int:
        """The number of those that nobody uses."""
        return len(self._idle)

    @property
    def waiting(self) -> int:
        """The number of exchanges that wait for a connection."""
        return len(self._waiting)

    def submit(self, exchange: Exchange) -> None:
        """Find a connection for an exchange, or make one, or have it wait."""
        while self._idle:
            connection = self._idle.pop()
            if connection.has_surprise(exchange.request.method not in IDEMPOTENT):
                connection.abandon()
                continue
            exchange._began()
            connection.begin(exchange)
            return
        if len(self._connections) < self.client.max_connections:
            self._dial(exchange)
        else:
            exchange._pool = self
            self._waiting.append(exchange)

    def withdraw(self, exchange: Exchange) -> None:
        """An exchange waits no more."""
        try:
            self._waiting.remove(exchange)
        except ValueError:
            pass

    def _dial(
        self, exchange: Exchange, pinned: TLSSettings | None = None, refusal: CertificateError | None = None
    ) -> None:
        """Make a connection for an exchange.

        Args:
            exchange: The exchange.
            pinned: How TLS is spoken, where a certificate is to be accepted that cannot be verified.
            refusal: Why; the program is still to be asked about it.
        """
        exchange._began()
        try:
            connection = ClientConnection(self, exchange)
            exchange._connection = connection
            self._connections.add(connection)
            if refusal is not None:
                self._refusals[connection] = refusal
            connection.dial((pinned or self._pinned or self.route.tls) if self.target.secure else None)
        except Exception as error:  # noqa: BLE001 - TLS cannot be set up, say, or the engine is closed
            exchange._fail_soon(error)

    def release(self, connection: ClientConnection) -> None:
        """A connection has done its work, and may be used again."""
        self._idle.append(connection)
        self._serve_waiting()

    def remove(self, connection: ClientConnection) -> None:
        """A connection is gone. Doing it again does nothing."""
        if connection not in self._connections:
            return
        self._connections.discard(connection)
        self._refusals.pop(connection, None)
        if connection in self._idle:
            self._idle.remove(connection)
        self._serve_waiting()
        self._forget()

    def _forget(self) -> None:
        """If there is nothing left here to know, be forgotten by the client."""
        if not (self._connections or self._waiting or self._probes or self._pinned):
            self.client._forget_pool(self)

    def _serve_waiting(self) -> None:
        while self._waiting and (self._idle or len(self._connections) < self.client.max_connections):
            exchange = self._waiting.popleft()
            exchange._pool = None
            self.submit(exchange)

    def close(self) -> None:
        """Close the connections that nobody uses."""
        for connection in self._idle[:]:
            connection.abandon()

    # --- Certificates that cannot be verified -------------------------------------------------------------------------

    def certificate_refused(self, exchange: Exchange, error: CertificateError) -> None:
        """The certificate could not be verified: ask the program, if it wants to be asked."""
        exchange._connection = None
        if not exchange._wants_certificates:
            exchange._fail(error)
            return
        self._probes += 1
        CertificateProbe(self, exchange, error)

    def probed(self) -> None:
        """A certificate was fetched, or could not be."""
        self._probes -= 1
        self._forget()

    def ask(self, exchange: Exchange, error: CertificateError, certificate: bytes) -> None:
        """Connect once more, to whoever has that very certificate; then the program is asked."""
        try:
            pinned = self.route.pinned(certificate)
        except (ssl.SSLError, ValueError):  # it cannot even be read
            exchange._fail(error)
            return
        self._dial(exchange, pinned, error)

    def accepts(self, connection: ClientConnection) -> bool:
        """Whether the certificate of a connection that is ready is one to go on with."""
        error = self._refusals.pop(connection, None)
        exchange = connection._exchange
        if error is None or exchange is None:
            return True
        assert isinstance(connection.socket, ssl.SSLSocket)
        error.certificate = connection.socket.getpeercert() or {}
        if exchange._accepts_certificate(error):
            self._pinned = connection._tls_settings
            return True
        return False
