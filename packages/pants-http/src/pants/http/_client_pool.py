"""The connections of a client to one origin, and the exchanges that wait for one."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from pants._tls import TLSSettings
from pants.http._client_certificate import CertificateProbe
from pants.http._client_connection import ClientConnection
from pants.http._client_errors import CertificateError, ConnectionFailed
from pants.http._client_settings import Route
from pants.http._target import Target

if TYPE_CHECKING:
    from pants.http._client_exchange import Exchange
    from pants.http.client import HTTPClient

# Certificates that were accepted, each by one of the program's hooks, for one origin; more than a few come of functions
# that are made anew for each request.
_MOST_ACCEPTED: Final = 16


class Rest:
    """The idle connections of a client, to all origins.

    Args:
        most: How many are kept, at most.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._connections: dict[ClientConnection, None] = {}  # the longest idle one first

    def add(self, connection: ClientConnection) -> None:
        """A connection is idle. The one that has been so for longest gives way where there are too many."""
        self._connections[connection] = None
        if len(self._connections) > self._most:
            next(iter(self._connections)).abandon()

    def remove(self, connection: ClientConnection) -> bool:
        """A connection is idle no more, if it was; return whether it was."""
        if connection not in self._connections:
            return False
        del self._connections[connection]
        return True

    def close(self) -> None:
        """Close them."""
        for connection in list(self._connections):
            connection.abandon()


class Pool:
    """Connections to an origin, by one way.

    Args:
        client: The client.
        target: Something of that origin.
        route: The way there.
        parent: The pool for those that have not accepted the certificate, where this is for those that have.
        pinned: How TLS is spoken then.

    Raises:
        ConnectionFailed: The environment names a proxy that is not spoken to.
    """

    def __init__(
        self,
        client: HTTPClient,
        target: Target,
        route: Route,
        parent: Pool | None = None,
        pinned: TLSSettings | None = None,
    ) -> None:
        # Idle connections, which the engine watches, must not keep a client alive that the program has dropped.
        self._client = weakref.ref(client)
        self.engine = client.engine
        self.limits = client.limits
        self.reply_parser = client._reply_parser
        self._most = client.max_connections
        self._rest = client._rest
        self.target = target
        self.route = route
        try:
            self.proxy = route.find_proxy(target)
        except ValueError as error:
            raise ConnectionFailed(f"the environment names an unusable proxy: {error}") from error
        self._parent = parent
        self._pinned = pinned
        self._idle: list[ClientConnection] = []
        self._connections: set[ClientConnection | CertificateProbe] = set()
        self._waiting: dict[Exchange, None] = {}
        self._is_serving = False  # whether _serve_waiting() is going to be called
        # Pools for certificates that cannot be verified, beside the hooks that have accepted them (which need not be
        # hashable).
        self._accepted: list[tuple[Callable[..., Any], Pool]] = []

    def submit(self, exchange: Exchange) -> None:
        """Find a connection for an exchange, or make one, or have it wait."""
        for hook, accepted in self._accepted:
            if hook == exchange._hook("on_ssl_error"):
                accepted.submit(exchange)
                return
        while self._idle:
            connection = self._idle.pop()
            self._rest.remove(connection)
            if connection.has_surprise(careful=not exchange._may_be_sent_twice):
                connection.abandon()
                continue
            connection.begin(exchange)
            return
        if len(self._connections) < self._most:
            self._dial(exchange)
        else:
            self._waiting[exchange] = None
            exchange._wait_in(self)

    def withdraw(self, exchange: Exchange) -> None:
        """An exchange waits no more."""
        self._waiting.pop(exchange, None)

    def forget_waiting(self) -> None:
        """Nothing that waits is to be served any more."""
        self._waiting.clear()
        for _, accepted in self._accepted:
            accepted.forget_waiting()

    def _dial(self, exchange: Exchange) -> None:
        """Make a connection for an exchange."""
        try:
            connection = ClientConnection(self, exchange)
            exchange._connection = connection
            self._connections.add(connection)
            connection.dial((self._pinned or self.route.tls) if self.target.secure else None)
        except Exception as error:  # noqa: BLE001 - TLS cannot be set up, say, or the engine is closed
            exchange._fail_soon(error)

    def release(self, connection: ClientConnection) -> None:
        """A connection has done its work, and may be used again."""
        self._idle.append(connection)
        self._rest.add(connection)
        if self._waiting:
            self._serve_waiting()

    def remove(self, connection: ClientConnection | CertificateProbe) -> None:
        """A connection is gone. Doing it again does nothing."""
        if connection not in self._connections:
            return
        self._connections.discard(connection)
        if isinstance(connection, ClientConnection) and self._rest.remove(connection):
            self._idle.remove(connection)
        if self._waiting and not self._is_serving and not self.engine.closed:
            # In the next turn: what fails now may be followed by more that does, of what waits as well.
            self._is_serving = True
            self.engine.callback(self._serve_waiting)
        if not (self._connections or self._waiting or self._accepted or self._parent):
            client = self._client()
            if client is not None:
                client._forget_pool(self)

    def _serve_waiting(self) -> None:
        self._is_serving = False
        while self._waiting and (self._idle or len(self._connections) < self._most):
            exchange = next(iter(self._waiting))
            del self._waiting[exchange]
            exchange._waits_no_more()
            self.submit(exchange)

    # --- Certificates that cannot be verified -------------------------------------------------------------------------

    def certificate_refused(self, exchange: Exchange, error: CertificateError) -> None:
        """The certificate could not be verified: ask the program, if it wants to be asked."""
        exchange._connection = None
        if self._parent is not None:  # it is not the one that was accepted any more
            accepted = self._parent._accepted
            accepted[:] = [pair for pair in accepted if pair[1] is not self]
            self._parent.submit(exchange)
        elif exchange._wants_certificates and not exchange._probed:
            exchange._probed = True  # once: a server may have a certificate after the other
            self.probe(exchange, error)
        else:
            exchange._fail(error)

    def probe(self, exchange: Exchange, error: CertificateError, certificate: bytes | None = None) -> None:
        """Have a certificate looked at; see `CertificateProbe`."""
        self._connections.add(CertificateProbe(self, exchange, error, certificate))

    def accept(self, exchange: Exchange, certificate: bytes) -> None:
        """The program accepts a certificate, for those requests that would have asked it by the same hook."""
        try:
            pinned = self.route.pinned(certificate, with_certificate=True)
        except Exception as error:  # noqa: BLE001 - the client's own cannot be read
            exchange._fail(error)
            return
        hook = exchange._hook("on_ssl_error")
        accepted = Pool(exchange.client, self.target, self.route, self, pinned)
        self._accepted = [*(pair for pair in self._accepted if pair[0] != hook), (hook, accepted)][-_MOST_ACCEPTED:]
        accepted.submit(exchange)
