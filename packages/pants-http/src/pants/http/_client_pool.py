"""The connections of a client to one origin, and the exchanges that wait for one."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from types import MethodType
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


class Lane:
    """Connections of a pool that are as good as each other.

    Args:
        hook: What has accepted the certificate that they trust; None where it was verified.
        tls: How TLS is spoken, where a certificate was accepted.
    """

    def __init__(self, hook: Callable[..., Any] | None = None, tls: TLSSettings | None = None) -> None:
        # A method of the client, or of what has it, must not keep it alive.
        self._hook: Callable[[], Any] = weakref.WeakMethod(hook) if isinstance(hook, MethodType) else lambda: hook
        self.tls = tls
        self.idle: list[ClientConnection] = []

    def is_of(self, hook: Callable[..., Any]) -> bool:
        """Whether this hook has accepted the certificate."""
        return bool(self._hook() == hook)


class Pool:
    """Connections to an origin, by one way.

    Args:
        client: The client.
        target: Something of that origin.
        route: The way there.

    Raises:
        ConnectionFailed: The environment names a proxy that is not spoken to.
    """

    def __init__(self, client: HTTPClient, target: Target, route: Route) -> None:
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
        self._connections: set[ClientConnection | CertificateProbe] = set()
        self._waiting: dict[Exchange, None] = {}
        self._is_serving = False  # whether _serve_waiting() is going to be called
        self._plain = Lane()
        self._accepted: list[Lane] = []  # for certificates that cannot be verified

    @property
    def is_accepting(self) -> bool:
        """Whether there is a certificate that was accepted."""
        return bool(self._accepted)

    @property
    def is_empty(self) -> bool:
        """Whether there are no connections, and nothing waits for one."""
        return not self._connections and not self._waiting

    def _find_lane(self, exchange: Exchange) -> Lane:
        """Return where connections for an exchange are."""
        if self._accepted:
            hook = exchange._hook("on_ssl_error")
            for lane in self._accepted:
                if lane.is_of(hook):
                    return lane
        return self._plain

    def submit(self, exchange: Exchange) -> None:
        """Find a connection for an exchange, or make one, or have it wait."""
        lane = self._find_lane(exchange)
        while lane.idle:
            connection = lane.idle.pop()
            self._rest.remove(connection)
            if connection.has_surprise(careful=not exchange._may_be_sent_twice):
                connection.abandon()
                continue
            connection.begin(exchange)
            return
        if len(self._connections) >= self._most:
            self._make_room()
        if len(self._connections) < self._most:
            self._dial(exchange, lane)
        else:
            self._waiting[exchange] = None
            exchange._wait_in(self)

    def _make_room(self) -> None:
        """Close a connection that nobody uses, and that is of another lane than what is wanted."""
        for lane in (self._plain, *self._accepted):
            if lane.idle:
                lane.idle[0].abandon()
                return

    def withdraw(self, exchange: Exchange) -> None:
        """An exchange waits no more."""
        self._waiting.pop(exchange, None)

    def forget_waiting(self) -> None:
        """Nothing that waits is to be served any more."""
        self._waiting.clear()

    def _dial(self, exchange: Exchange, lane: Lane) -> None:
        """Make a connection for an exchange."""
        try:
            connection = ClientConnection(self, lane, exchange)
            exchange._connection = connection
            self._connections.add(connection)
            connection.dial((lane.tls or self.route.tls) if self.target.secure else None)
        except Exception as error:  # noqa: BLE001 - TLS cannot be set up, say, or the engine is closed
            exchange._fail_soon(error)

    def release(self, connection: ClientConnection) -> None:
        """A connection has done its work, and may be used again."""
        connection.lane.idle.append(connection)
        if self._waiting:
            self._serve_waiting()
            if connection not in connection.lane.idle:  # it is used already
                return
        self._rest.add(connection)

    def remove(self, connection: ClientConnection | CertificateProbe) -> None:
        """A connection is gone. Doing it again does nothing."""
        if connection not in self._connections:
            return
        self._connections.discard(connection)
        if isinstance(connection, ClientConnection) and connection in connection.lane.idle:
            self._rest.remove(connection)
            connection.lane.idle.remove(connection)
        if self._waiting and not self._is_serving and not self.engine.closed:
            # In the next turn: what fails now may be followed by more that does, of what waits as well.
            self._is_serving = True
            self.engine.callback(self._serve_waiting)
        client = self._client()
        if client is not None and self.is_empty:
            client._pool_is_empty(self)

    def _serve_waiting(self) -> None:
        self._is_serving = False
        while self._waiting:
            exchange = next(iter(self._waiting))
            if len(self._connections) >= self._most and not (self._plain.idle or any(o.idle for o in self._accepted)):
                return
            del self._waiting[exchange]
            exchange._waits_no_more()
            self.submit(exchange)

    # --- Certificates that cannot be verified -------------------------------------------------------------------------

    def certificate_refused(self, lane: Lane, exchange: Exchange, error: CertificateError) -> None:
        """The certificate could not be verified: ask the program, if it wants to be asked."""
        exchange._connection = None
        if lane is not self._plain:  # it is not the one that was accepted any more
            if lane in self._accepted:
                self._accepted.remove(lane)
            self.submit(exchange)
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
        hook = exchange._hook("on_ssl_error")
        try:
            tls = self.route.pinned(certificate, with_certificate=True)
        except Exception as error:  # noqa: BLE001 - the client's own cannot be read
            exchange._fail(error)
            return
        if self._find_lane(exchange) is self._plain:  # another request has not been quicker
            self._accepted = [*self._accepted, Lane(hook, tls)][-_MOST_ACCEPTED:]
        self.submit(exchange)
