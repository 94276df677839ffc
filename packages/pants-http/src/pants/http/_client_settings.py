"""What a session says of its requests: how long they may take, how often they are tried, and the way they go."""

from __future__ import annotations

import dataclasses
import functools
import math
import random
import ssl
import time
from contextvars import ContextVar
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final

from pants import _tls
from pants._timers import check_seconds
from pants.http._proxy import Proxy, environment_proxy, parse_proxy
from pants.http._target import Target

if TYPE_CHECKING:
    from pants.http._client_response import HTTPResponse
    from pants.http._client_session import Session

#: The sessions whose ``with`` blocks are running in this context, the innermost last. In hooks there are none but those
#: that the hook itself has entered.
ACTIVE: ContextVar[tuple[Session, ...]] = ContextVar("pants.http sessions", default=())
#: RFC 9110 §9.2.2: what may be sent twice.
IDEMPOTENT: Final = frozenset({"GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE"})
#: The options of TLS that are for the server that was asked first.
OF_ONE_SERVER: Final = frozenset({"certfile", "keyfile", "password", "server_hostname"})
_ALPN: Final = ["http/1.1"]


@dataclasses.dataclass(frozen=True, slots=True)
class Timeout:
    """How long a request may take. All are seconds; None is for ever.

    A plain number given as ``timeout`` is ``Timeout(connect=number, read=number)``; a pair is ``(connect, read)``.

    Attributes:
        connect: For a connection to be made: name, proxy and TLS included.
        read: Without any activity, in either direction.
        total: From the call until the response is complete, redirects and repetitions included.
        queue: Waiting for a connection, where all that are allowed are in use.

    Raises:
        TypeError: One is neither a number nor None.
        ValueError: One is not above 0.
    """

    connect: float | None = 30.0
    read: float | None = 30.0
    total: float | None = None
    queue: float | None = None

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value is not None:
                check_seconds(value, f"Timeout.{field.name}", zero=False)


def check_timeout(value: object) -> Timeout:
    """Return what a ``timeout`` stands for.

    Raises:
        TypeError, ValueError: As `Timeout`.
    """
    if isinstance(value, Timeout):
        return value
    if value is None:
        return Timeout(None, None)
    if isinstance(value, tuple) and len(value) == 2:
        return Timeout(*value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"timeout is a number of seconds, a pair (connect, read) or a Timeout, not {value!r}")
    return _plain_timeout(value)


@functools.lru_cache(maxsize=64)
def _plain_timeout(seconds: float) -> Timeout:
    if seconds == math.inf:
        return Timeout(None, None)
    check_seconds(seconds, "timeout", zero=False)
    return Timeout(seconds, seconds)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Retries:
    """How often a request is made again that failed, and when.

    Made again is what may be sent twice: a request whose method is among ``methods``, and whose body does not come from
    an iterator; and, whatever the method, one for which no connection could be made. Failures are connections that are
    not made or end too early, and time-outs, but not that of ``Timeout.total``. ``on_headers`` and ``on_progress`` may
    have been called for a response that is dropped; once ``on_data`` has been, nothing is made again.

    Attributes:
        count: How often, at most.
        backoff: The seconds before the first time; they double each time. A random part of up to a half is left out,
            so that clients which failed together do not come back together.
        longest: The longest such wait, in seconds. A server that asks for a longer one, by Retry-After, gets none.
        statuses: Codes of responses that count as failures.
        methods: The methods for which this is safe.

    Raises:
        TypeError: One is of the wrong type.
        ValueError: One is out of range.

    Example:
        >>> from pants.http import HTTPClient, Retries
        >>> client = HTTPClient(retries=Retries(count=3, backoff=0.2))
    """

    count: int = 2
    backoff: float = 0.5
    longest: float = 30.0
    statuses: frozenset[int] = frozenset({429, 502, 503, 504})
    methods: frozenset[str] = IDEMPOTENT

    def __post_init__(self) -> None:
        check_count(self.count, "Retries.count")
        check_seconds(self.backoff, "Retries.backoff", zero=True)
        check_seconds(self.longest, "Retries.longest", zero=True)
        for name in ("statuses", "methods"):
            value = getattr(self, name)
            if isinstance(value, (str, bytes)):
                raise TypeError(f"Retries.{name} is a set, not {value!r}")
            object.__setattr__(self, name, frozenset(value))

    def delay(self, attempt: int, response: HTTPResponse | None) -> float | None:
        """Return the seconds to wait before another attempt; None where there is to be none.

        Args:
            attempt: The number of times that it was made again already.
            response: The response that counts as a failure, or None.
        """
        if attempt >= self.count:
            return None
        wanted = None if response is None else retry_after(response.headers.get("Retry-After", ""))
        if wanted is not None and wanted > self.longest:
            return None
        own = float(min(self.longest, self.backoff * 2 ** min(attempt, 60))) * random.uniform(0.5, 1)  # noqa: S311 - no secret
        return max(own, wanted or 0.0)


def check_retries(value: object) -> Retries:
    """Return what ``retries`` stands for: `Retries`, or how often.

    Raises:
        TypeError, ValueError: As `Retries`.
    """
    if isinstance(value, Retries):
        return value
    check_count(value, "retries")
    return Retries(count=value)  # type: ignore[arg-type]


def retry_after(value: str) -> float | None:
    """Read the value of Retry-After (RFC 9110 §10.2.3): the seconds to wait, or None where it is malformed."""
    if value.isascii() and value.isdigit():
        return float(value[:9])
    try:
        date = parsedate_to_datetime(value)
        return max(0.0, date.timestamp() - time.time())
    except (TypeError, ValueError, OverflowError):
        return None


def check_count(value: object, name: str) -> None:
    """Raise unless a value is a number of times.

    Raises:
        TypeError: It is not an int.
        ValueError: It is below 0.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} is an int, not {value!r}")
    if value < 0:
        raise ValueError(f"{name} is 0 or more, not {value}")


def check_flag(value: object, name: str, hint: str = "") -> None:
    """Raise TypeError unless a value is a bool."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} is True or False, not {value!r}{hint}")


class Route:
    """The way to a server: the proxy, and how TLS is spoken. Connections of different ways are not exchanged.

    Args:
        proxy: A proxy's URL; True for what the environment says; None or False for none.
        verify_ssl: Whether certificates are verified.
        ssl_options: More about TLS, as of `pants.Stream.startSSL`, or None.

    Raises:
        TypeError, ValueError: As `parse_proxy`, and as `pants.Stream.startSSL`.
        OSError: As `pants.Stream.startSSL`.
    """

    def __init__(self, proxy: str | bool | None, verify_ssl: bool, ssl_options: Any) -> None:
        check_flag(verify_ssl, "verify_ssl", "; a file goes into ssl_options, as ca_certs")
        self.proxy = proxy
        self.verify_ssl = verify_ssl
        self.ssl_options = ssl_options
        self._given = parse_proxy(proxy) if proxy is not True and proxy else None
        self._options = tls_options(verify_ssl, ssl_options)

    @functools.cached_property
    def tls(self) -> _tls.TLSSettings:
        """How TLS is spoken."""
        options = self._options
        # An end without TLS's own notice may be an attack (RFC 9112 §9.8), so it has to be told from another one.
        if isinstance(options, dict):
            return _tls.settings({"alpn_protocols": _ALPN, "suppress_ragged_eofs": False, **options}, server_side=False)
        return _tls.settings(options, server_side=False)._replace(suppress_ragged_eofs=False)

    @functools.cached_property
    def foreign(self) -> Route:
        """The way to a server of another origin, to which one redirects: without what is for the first server only."""
        options = self._options
        if not isinstance(options, dict):
            return Route(self.proxy, True, _without_certificate(options))
        if OF_ONE_SERVER.isdisjoint(options):
            return self
        rest = {key: value for key, value in options.items() if key not in OF_ONE_SERVER}
        return Route(self.proxy, self.verify_ssl, rest)

    def find_proxy(self, target: Target) -> Proxy | None:
        """Return the proxy to a target, or None.

        Raises:
            ValueError: What the environment names is no proxy that is spoken to.
        """
        if self.proxy is not True:
            return self._given
        url = environment_proxy(target)
        return None if url is None else parse_proxy(url)

    def unverified(self) -> _tls.TLSSettings:
        """How TLS is spoken with a server whose certificate is only to be looked at; it does not get the client's."""
        return self.tls._replace(context=self._new_context(with_certificate=False))

    def pinned(self, certificate: bytes, *, with_certificate: bool) -> _tls.TLSSettings:
        """How TLS is spoken with a server that has this very certificate, and no other, whatever is wrong with it.

        Args:
            certificate: In DER.
            with_certificate: Whether the server gets the client's certificate, where there is one.

        Raises:
            ssl.SSLError, ValueError: The certificate cannot be read.
            OSError: The client's cannot.
        """
        context = self._new_context(with_certificate=with_certificate)
        context.load_verify_locations(cadata=certificate)
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | _NO_CHECK_TIME
        context.verify_mode = ssl.CERT_REQUIRED
        return self.tls._replace(context=context)

    def _new_context(self, *, with_certificate: bool) -> ssl.SSLContext:
        """Return a context that verifies nothing, and trusts nobody."""
        options, given = self._options, self.tls.context
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.minimum_version, context.maximum_version = given.minimum_version, given.maximum_version
        context.options = given.options
        context.set_alpn_protocols(_ALPN)
        if isinstance(options, dict):
            if options.get("ciphers"):
                context.set_ciphers(options["ciphers"])
            if with_certificate and options.get("certfile"):
                context.load_cert_chain(options["certfile"], options.get("keyfile"), options.get("password"))
        return context


def _without_certificate(given: ssl.SSLContext) -> ssl.SSLContext:
    """Return a context that trusts whom another one trusts, and has no certificate of its own."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False  # the ssl module refuses it together with CERT_NONE
    context.verify_mode = given.verify_mode
    context.check_hostname = given.check_hostname
    context.verify_flags, context.options = given.verify_flags, given.options
    context.minimum_version, context.maximum_version = given.minimum_version, given.maximum_version
    if authorities := given.get_ca_certs(binary_form=True):
        context.load_verify_locations(cadata=b"".join(authorities))
    return context


# X509_V_FLAG_NO_CHECK_TIME, which the ssl module has no name for.
_NO_CHECK_TIME: Final = 0x200000


def tls_options(verify: bool, options: Any) -> Any:
    """Return ``ssl_options`` with what ``verify_ssl`` says, checked.

    Raises:
        TypeError, ValueError, OSError: As of `pants.Stream.startSSL`; or the two contradict each other.
    """
    if isinstance(options, ssl.SSLContext):
        if not verify:
            raise ValueError("verify_ssl=False does not go with an SSLContext, which says by itself what it verifies")
        return options
    if options is not None:
        _tls.settings(options, server_side=False)  # raises where something is wrong with them
    options = dict(options or {})
    if not verify and options.setdefault("cert_reqs", ssl.CERT_NONE) != ssl.CERT_NONE:
        raise ValueError("verify_ssl=False does not go with the cert_reqs in ssl_options; one of them will do")
    return options
