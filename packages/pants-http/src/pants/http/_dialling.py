"""Making a client's connection: to the target itself or through a proxy's tunnel, with TLS or in clear."""

from __future__ import annotations

from typing import Any, Final

from pants._tls import without_root
from pants.http._answer import encoded
from pants.http._limits import ClientLimits
from pants.http._proxy import Proxy
from pants.http._reply import BadReply, ReplyParser, ReplyReader
from pants.http._successor import Carrier
from pants.http._target import Target
from pants.http.utils import HTTPHeaders

#: What proxies, and servers of WebSockets, may answer.
ANSWER_LIMITS: Final = ClientLimits(headers=65536)


class _Tunnel:
    """A tunnel that is being asked for (RFC 9110 §9.3.6)."""

    def __init__(self, target: Target, proxy: Proxy, tls: Any) -> None:
        self.target = target
        self.proxy = proxy
        self.tls = tls
        self.reader = ReplyReader(ReplyParser(ANSWER_LIMITS), ANSWER_LIMITS.interim)

    def request(self) -> bytes:
        authority = self.target.host_and_port
        fields = [("Host", authority)]
        if self.proxy.credentials is not None:
            fields.append(("Proxy-Authorization", self.proxy.credentials))
        return f"CONNECT {authority} HTTP/1.1\r\n".encode() + encoded(fields) + b"\r\n"


class Dialling(Carrier):
    """A connection of a client. Its deadlines are the subclass's own."""

    __slots__ = ("_tunnel",)

    _tunnel: _Tunnel | None

    def __init__(self, **kwargs: Any) -> None:
        self._tunnel = None
        super().__init__(**kwargs)
        self.connect_timeout = self.handshake_timeout = None

    def _dial(self, target: Target, proxy: Proxy | None, tls: Any, *, tunnel: bool = True) -> None:
        """Begin to connect; `_dialled` is called once the target can be written to.

        Args:
            target: Where to.
            proxy: The proxy to go through, or None.
            tls: For `startSSL`, where the target is secure.
            tunnel: Whether the proxy is asked for a tunnel; otherwise it is what is written to.
        """
        if proxy is not None:
            if tunnel:
                self._tunnel = _Tunnel(target, proxy, tls)
            self.connect((proxy.host, proxy.port))
            return
        if target.secure:
            self.startSSL(tls)
        self.connect((target.host, target.port))

    def _tunnelled(self) -> None:
        """The proxy has opened the tunnel."""

    def _dialled(self) -> None:
        """The target can be written to."""
        raise NotImplementedError

    def _received(self, data: bytes) -> None:
        """The target has sent something."""
        raise NotImplementedError

    def _tunnel_refused(self, reason: str, status: int, headers: HTTPHeaders) -> None:
        """The proxy gives no tunnel.

        Args:
            reason: Why, for a message.
            status: The status of its answer, 0 where that is malformed.
            headers: Its fields.
        """
        raise NotImplementedError

    def _dial_failed(self, exception: Exception) -> None:
        """TLS cannot be begun."""
        raise NotImplementedError

    def on_connect(self) -> None:
        """See `pants.Stream`."""
        if self._tunnel is None:
            self._dialled()
        else:
            self.write(self._tunnel.request())

    def on_ssl_handshake(self) -> None:
        """See `pants.Stream`."""
        if self._tunnel is not None:  # otherwise on_connect() follows
            self._tunnel = None
            self._dialled()

    def on_read(self, data: bytes) -> None:
        """See `pants.Stream`."""
        if self._tunnel is None:
            self._received(data)
        else:
            self._read_proxy(self._tunnel, data)

    def _read_proxy(self, tunnel: _Tunnel, data: bytes) -> None:
        """The proxy has sent something."""
        try:
            reply = tunnel.reader.feed(data)
        except BadReply as error:
            self._tunnel_refused(f"the proxy's answer is malformed: {error}", 0, HTTPHeaders())
            return
        if reply is not None:
            self._proxy_answered(tunnel, reply.status, reply.headers())

    def _proxy_answered(self, tunnel: _Tunnel, status: int, headers: HTTPHeaders) -> None:
        target = tunnel.target
        if not 200 <= status < 300:
            self._tunnel_refused(f"the proxy answered with {status} to CONNECT {target.authority}", status, headers)
            return
        if tunnel.reader.rest:
            self._tunnel_refused("the proxy has sent something nobody has asked for", status, headers)
            return
        self._tunnelled()
        if target.secure:
            self._tls_host = without_root(target.host)  # whose certificate it is to be, rather than the proxy's
            try:
                self.startSSL(tunnel.tls)
            except Exception as exception:  # noqa: BLE001 - whatever is wrong with the options
                self._dial_failed(exception)
        else:
            self._tunnel = None
            self._dialled()
