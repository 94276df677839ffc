"""TLS options: what ``ssl_options`` may be, and the `ssl.SSLContext` made of it (manual: "startSSL", "SSL")."""

from __future__ import annotations

import contextlib
import functools
import os
import ssl
import traceback
import warnings
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

_KEYS = frozenset(
    {
        "alpn_protocols",
        "ca_certs",
        "cert_reqs",
        "certfile",
        "ciphers",
        "do_handshake_on_connect",
        "keyfile",
        "password",
        "server_hostname",
        "server_side",
        "ssl_version",
        "suppress_ragged_eofs",
    }
)


class TLSSettings(NamedTuple):
    """What a handshake needs to know."""

    context: ssl.SSLContext
    server_side: bool
    server_hostname: str | None
    suppress_ragged_eofs: bool

    def wrap(self, sock: Any, host: str | None = None, *, accepted: bool = False) -> ssl.SSLSocket:
        """Put TLS around a connected socket that does not block; the handshake is still to be made.

        Raises:
            OSError: The peer has gone already. The socket is still to be closed.
        """
        sock.getpeername()  # the ssl module would find out only after it has taken the descriptor out of the socket
        hostname = None if self.server_side else self.server_hostname or host
        try:
            return self.context.wrap_socket(
                sock,
                server_side=self.server_side,
                do_handshake_on_connect=False,
                # The channel does this, for an end has to be told from a reset first. Until an accepted socket is
                # handed to its channel, the setting is kept there.
                suppress_ragged_eofs=accepted and self.suppress_ragged_eofs,
                server_hostname=hostname,
            )
        except Exception as error:
            _close_half_made(error)
            raise

    def check_name(self, host: str | None) -> None:
        """Raise ValueError where the peer's name is to be verified and neither the options nor ``host`` tell it."""
        if not self.server_side and self.context.check_hostname and not (self.server_hostname or host):
            raise ValueError(
                "the peer's certificate is to be verified, but there is no host name to hold it against; "
                "give server_hostname in ssl_options, or turn verification off there by cert_reqs=ssl.CERT_NONE"
            )


#: What ``ssl_options`` may be; the last of them has been made of one of the others before.
SSLOptions = Mapping[str, Any] | ssl.SSLContext | TLSSettings


def _close_half_made(error: BaseException | None) -> None:
    """Close the TLS socket that the ssl module had begun to make, and left in the frames of its exception.

    It has the descriptor by then, which would stay open for as long as the exception is kept.
    """
    while error is not None:
        for frame, _ in traceback.walk_tb(error.__traceback__):
            made = frame.f_locals.get("self")
            if isinstance(made, ssl.SSLSocket):
                made.close()
        error = error.__context__


def take_over_ragged_eofs(sock: Any) -> bool:
    """The setting that a TLS socket was made with; the channel goes by it from now on, not the socket (see `wrap`)."""
    suppressed, sock.suppress_ragged_eofs = bool(sock.suppress_ragged_eofs), False
    return suppressed


def settings(options: SSLOptions, *, server_side: bool, is_server: bool = False) -> TLSSettings:
    """Read ``ssl_options``.

    Args:
        options: A dict (it is not kept) or an `ssl.SSLContext`.
        server_side: Which end this is, where the options do not say.
        is_server: Whether the options are for a listening `Server`, which cannot be the other end.

    Raises:
        TypeError: ``options`` is neither, or has unknown keys.
        ValueError: ``do_handshake_on_connect`` is true; a server's ``server_side`` is false; the server side has no
            certificate.
        OSError, ssl.SSLError: A file cannot be read or is not what it should be.
    """
    if isinstance(options, TLSSettings):
        return options
    if isinstance(options, ssl.SSLContext):
        if options.protocol == ssl.PROTOCOL_TLS_CLIENT:
            if is_server:
                raise ValueError("this SSLContext is for clients; make one with ssl.PROTOCOL_TLS_SERVER")
            server_side = False
        elif options.protocol == ssl.PROTOCOL_TLS_SERVER:
            server_side = True
        return TLSSettings(options, server_side, None, True)
    if not isinstance(options, Mapping):
        raise TypeError(f"ssl_options is a dict or an ssl.SSLContext, not {options!r}")
    unknown = sorted(str(key) for key in options if key not in _KEYS)
    if unknown:
        raise TypeError(f"ssl_options knows no {', '.join(unknown)}; it knows {', '.join(sorted(_KEYS))}")
    if options.get("do_handshake_on_connect"):
        raise ValueError("do_handshake_on_connect must be False: Pants makes the handshake without blocking")
    if "ssl_version" in options:
        warnings.warn(
            "ssl_version is ignored: the best version that both ends have is used; "
            "to restrict it, pass an ssl.SSLContext",
            DeprecationWarning,
            stacklevel=3,
        )
    server_side = bool(options.get("server_side", server_side))
    if is_server and not server_side:
        raise ValueError("server_side must be True for a Server")
    hostname = options.get("server_hostname")
    if hostname is not None:
        hostname = _checked_hostname(hostname)
    context = _server_context(options) if server_side else _client_context(options)
    return TLSSettings(context, server_side, hostname, bool(options.get("suppress_ragged_eofs", True)))


def for_reloading(options: SSLOptions) -> dict[str, Any] | None:
    """Keep what is needed to read the files again.

    Args:
        options: ``ssl_options`` of which settings have been made.

    Returns:
        A copy, in which the files are named so that they are found wherever the process goes; None for an
        `ssl.SSLContext`, which does not know its files.
    """
    if not isinstance(options, Mapping):
        return None
    kept = {key: value for key, value in options.items() if key != "ssl_version"}
    for key in ("ca_certs", "certfile", "keyfile"):
        if kept.get(key):
            kept[key] = os.path.abspath(kept[key])
    if kept.get("alpn_protocols"):
        kept["alpn_protocols"] = list(kept["alpn_protocols"])
    return kept


def _checked_hostname(name: object) -> str:
    if not isinstance(name, str):
        raise TypeError(f"server_hostname is a str, not {name!r}")
    name = without_root(name)
    try:
        if name.encode("idna").find(b"\0") < 0:
            return name
    except UnicodeError:
        pass
    raise ValueError(f"server_hostname is a host name, not {name!r}")


def without_root(name: str) -> str:
    """A host name without the dot of the root at its end, as TLS has it (RFC 6066 §3)."""
    return name.removesuffix(".")


def _server_context(options: Mapping[str, Any]) -> ssl.SSLContext:
    if not options.get("certfile"):
        raise ValueError("the server side of TLS needs a certificate; give certfile (and keyfile) in ssl_options")
    context = _trusting_context(ssl.Purpose.CLIENT_AUTH, options)
    _configure(context, options)
    if options.get("cert_reqs") is not None:
        if options["cert_reqs"] != ssl.CERT_NONE and not options.get("ca_certs"):
            raise ValueError("to verify clients a server needs ca_certs, the certificates of whom it trusts")
        context.verify_mode = ssl.VerifyMode(options["cert_reqs"])
    return context


def _client_context(options: Mapping[str, Any]) -> ssl.SSLContext:
    verify = options.get("cert_reqs", ssl.CERT_REQUIRED)
    verify = ssl.CERT_REQUIRED if verify is None else ssl.VerifyMode(verify)
    if not any(options.get(key) for key in ("ca_certs", "certfile", "keyfile", "ciphers")):
        return _common_client_context(verify, _alpn_protocols(options))
    context = _trusting_context(ssl.Purpose.SERVER_AUTH, options)
    _configure(context, options)
    _set_verification(context, verify)
    return context


def _trusting_context(purpose: ssl.Purpose, options: Mapping[str, Any]) -> ssl.SSLContext:
    with _naming(options.get("ca_certs")):
        return ssl.create_default_context(purpose, cafile=options.get("ca_certs"))


@functools.lru_cache(maxsize=16)
def _common_client_context(verify: ssl.VerifyMode, protocols: tuple[str, ...]) -> ssl.SSLContext:
    # Reading the system's certificates takes tens of milliseconds, too long to be done for each connection.
    context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH)
    if protocols:
        context.set_alpn_protocols(list(protocols))
    _set_verification(context, verify)
    return context


def _set_verification(context: ssl.SSLContext, verify: ssl.VerifyMode) -> None:
    if verify is ssl.CERT_NONE:
        context.check_hostname = False  # the ssl module refuses the one without the other
    context.verify_mode = verify


def _configure(context: ssl.SSLContext, options: Mapping[str, Any]) -> None:
    if options.get("certfile"):
        with _naming(options["certfile"], options.get("keyfile")):
            context.load_cert_chain(options["certfile"], options.get("keyfile"), options.get("password"))
    elif options.get("keyfile"):
        raise ValueError("ssl_options has a keyfile without a certfile")
    if options.get("ciphers"):
        context.set_ciphers(options["ciphers"])
    protocols = _alpn_protocols(options)
    if protocols:
        context.set_alpn_protocols(list(protocols))


def _alpn_protocols(options: Mapping[str, Any]) -> tuple[str, ...]:
    protocols = options.get("alpn_protocols") or ()
    if isinstance(protocols, (str, bytes)) or not all(isinstance(protocol, str) for protocol in protocols):
        raise TypeError(f"alpn_protocols is a list of str, not {protocols!r}")
    return tuple(protocols)


@contextlib.contextmanager
def _naming(*files: Any) -> Iterator[None]:
    """Have an error of the ssl module tell the file that it is about, or the files where that cannot be found out."""
    try:
        yield
    except ssl.SSLError as error:
        error.strerror = f"{error.strerror}, in {' and '.join(repr(os.fspath(file)) for file in files if file)}"
        raise
    except OSError:
        for file in filter(None, files):
            open(file, "rb").close()  # the same error, but with a filename
        raise
