"""Connecting to the first address of a host that answers (RFC 8305, "Happy Eyeballs Version 2")."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable
from itertools import chain, zip_longest
from typing import Any, Final

from pants._address import Address
from pants._resolver import Lookup, Resolved, Result
from pants.engine import WRITE, Engine
from pants.errors import ConnectError, ConnectTimeout, ResolveError

# RFC 8305 §5: the time after which the next address is tried beside one that has not answered, in seconds.
ATTEMPT_DELAY: Final = 0.25
# A UNIX server whose backlog is full lets connect() fail with EAGAIN; there is no event to wait for.
BACKLOG_RETRY: Final = 0.05

# Failed addresses that a message names; a name may have thousands.
TOLD: Final = 5


def interleave(addresses: list[Resolved]) -> list[Resolved]:
    """Order addresses so that the families take turns, beginning with the family of the first (RFC 8305 §4)."""
    first = [address for address in addresses if address[0] == addresses[0][0]]
    other = [address for address in addresses if address[0] != addresses[0][0]]
    return [address for address in chain.from_iterable(zip_longest(first, other)) if address is not None]


def _error(
    code: int | None, reason: str, address: object, errors: list[ConnectError], kind: type[ConnectError] = ConnectError
) -> ConnectError:
    error = kind(code, f"cannot connect to {address!r}: {reason}")
    error.address = address
    error.reason = reason
    error.errors = tuple(errors)
    return error


def _nothing() -> None:
    """Cancel nothing."""


class Connector:
    """One connection being made: a name looked up, its addresses tried.

    Args:
        engine: In whose loop all happens.
        address: Where to.
        given: The same as the user wrote it, for the messages of errors.
        timeout: Seconds after which it fails with `ConnectTimeout`, or None.
        on_connect: Called with the connected socket and its peer's address. The socket does not block, and is not
            watched.
        on_error: Called with a `ConnectError` when the name has no address, or none is left to try.
        sock: A socket to use instead of new ones; then there is one attempt only.

    Neither is called before this constructor has returned.
    """

    __slots__ = (
        "_address",
        "_attempts",
        "_cancel_next",
        "_cancel_timeout",
        "_engine",
        "_errors",
        "_given",
        "_lookup",
        "_on_connect",
        "_on_error",
        "_sock",
        "_waiting",
        "resolved_at",
    )

    def __init__(
        self,
        engine: Engine,
        address: Address,
        given: object,
        timeout: float | None,
        on_connect: Callable[[socket.socket, Any], object],
        on_error: Callable[[ConnectError], object],
        sock: socket.socket | None = None,
    ) -> None:
        self._engine = engine
        self._address = address
        self._given = given
        self._on_connect = on_connect
        self._on_error = on_error
        self._sock = sock
        self._waiting: list[Resolved] = []
        self._attempts: dict[int, tuple[socket.socket, Any]] = {}
        self._errors: list[ConnectError] = []
        self._lookup: Lookup | None = None
        #: When the addresses were known, on the engine's clock; 0.0 before.
        self.resolved_at = 0.0
        self._cancel_timeout = _nothing if timeout is None else engine.defer(timeout, self._timed_out)
        self._cancel_next: Callable[[], None] = _nothing
        if address.is_unix:
            self._waiting = [(socket.AF_UNIX, address.path)]
            self._cancel_next = engine.callback(self._next)
        else:
            family = address.family if sock is None else sock.family
            loopback = "::1" if family == socket.AF_INET6 else "127.0.0.1"
            self._lookup = Lookup(engine, address.host or loopback, address.port, family, self._resolved)

    def cancel(self) -> None:
        """Stop, and close the sockets."""
        if self._lookup is not None:
            self._lookup.cancel()
        self._waiting = []
        self._cancel_timeout()
        self._cancel_next()
        for fd, (sock, _) in self._attempts.items():
            self._engine.unwatch(fd)
            sock.close()
        self._attempts = {}

    def _resolved(self, result: Result) -> None:
        self._lookup = None
        self.resolved_at = self._engine.clock()
        if isinstance(result, OSError):
            reason = f"the name could not be resolved: {result.strerror or result}"
            self._fail(_error(result.errno, reason, self._given, [], ResolveError))
            return
        if self._address.flow_info or self._address.scope_id:
            extra = (self._address.flow_info, self._address.scope_id)
            result = [(family, sockaddr[:2] + extra) for family, sockaddr in result]
        self._waiting = interleave(result) if self._sock is None else result[:1]
        self._next()

    def _next(self) -> None:
        """Try the next address; with none left and none under way, fail."""
        self._cancel_next()
        while self._waiting:
            family, address = self._waiting.pop(0)
            if self._begin(family, address):
                if self._waiting:
                    self._cancel_next = self._engine.defer(ATTEMPT_DELAY, self._next)
                return
        if not self._attempts:
            self._fail(self._summary())

    def _begin(self, family: int, address: Any) -> bool:
        try:
            sock = socket.socket(family, socket.SOCK_STREAM) if self._sock is None else self._sock
        except OSError as error:
            self._note(error, address)
            return False
        return self._try(sock, address)

    def _try(self, sock: socket.socket, address: Any) -> bool:
        """Begin an attempt.

        Returns:
            Whether it is under way; else its error is noted.
        """
        fd = sock.fileno()
        try:
            sock.setblocking(False)
            code = sock.connect_ex(address)
            if code in (0, errno.EINPROGRESS, errno.EINTR):
                self._engine.watch(fd, WRITE, lambda _events: self._answered(fd))
            elif code == errno.EAGAIN and self._address.is_unix:
                self._cancel_next = self._engine.defer(BACKLOG_RETRY, self._retry, fd)
            else:
                raise OSError(code, os.strerror(code))
        except OSError as error:
            sock.close()
            if error.errno is None and self._address.is_unix:  # Python's own word for a UNIX path that is too long
                error = OSError(errno.ENAMETOOLONG, str(error))
            self._note(error, address)
            return False
        self._attempts[fd] = (sock, address)
        return True

    def _retry(self, fd: int) -> None:
        if not self._try(*self._attempts.pop(fd)):
            self._next()

    def _answered(self, fd: int) -> None:
        sock, address = self._attempts[fd]
        code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        peer = None
        if not code:
            try:
                peer = sock.getpeername()
            except OSError as error:
                if error.errno == errno.ENOTCONN:
                    return  # not connected yet: an event that was meant for an earlier owner of this number
                code = error.errno or errno.ECONNABORTED
            if not code and not self._address.is_unix and peer == sock.getsockname():
                # TCP's simultaneous open has connected the socket to itself: nobody listens there.
                code = errno.ECONNREFUSED
        self._engine.unwatch(fd)
        del self._attempts[fd]
        if code:
            sock.close()
            self._note(OSError(code, os.strerror(code)), address)
            self._next()
            return
        self.cancel()
        self._on_connect(sock, peer or address)

    def _note(self, error: OSError, address: Any) -> None:
        self._errors.append(_error(error.errno, error.strerror or str(error), address, []))

    def _timed_out(self) -> None:
        reason = "no answer in time" if self._lookup is None else "the name was not resolved in time"
        self._fail(_error(errno.ETIMEDOUT, reason, self._given, self._errors, ConnectTimeout))

    def _summary(self) -> ConnectError:
        """One error for all attempts. Its errno is the first's, for that address was preferred."""
        first, *rest = self._errors
        told = [f"{error.address!r}: {error.reason}" for error in self._errors[:TOLD]]
        if len(rest) >= TOLD:
            told.append(f"and {len(self._errors) - TOLD} more")
        reason = "; ".join(told) if rest else first.reason
        return _error(first.errno, reason, self._given, self._errors)

    def _fail(self, error: ConnectError) -> None:
        self.cancel()
        if self._sock is not None:
            self._sock.close()
        self._on_error(error)
