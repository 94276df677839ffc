"""What the commands of pants.web have in common: the options for TLS, and what they say where they cannot listen."""

from __future__ import annotations

import argparse
import errno
from typing import Any, Final

# What to do where an address cannot be used.
_HINTS: Final = {
    errno.EADDRINUSE: "; give another port, or 0 for any that is free",
    errno.EACCES: "; give a port from 1024 on, those below are for root",
}


def add_tls_options(parser: argparse.ArgumentParser) -> None:
    """Add the options for TLS, which are called as those of ``python -m http.server``."""
    add = parser.add_argument
    add("--tls-cert", metavar="FILE", help="serve HTTPS, with this certificate and those that it depends on")
    add("--tls-key", metavar="FILE", help="the private key of the certificate, if that file does not have it")
    add("--tls-password-file", metavar="FILE", help="the file that has the password of the private key")


def find_tls(parser: argparse.ArgumentParser, options: argparse.Namespace) -> dict[str, str] | None:
    """Return what `pants.Server.startSSL` takes; None for no TLS."""
    if options.tls_cert is None:
        for name in ("tls_key", "tls_password_file"):
            if getattr(options, name) is not None:
                parser.error(f"--{name.replace('_', '-')} goes with --tls-cert")
        return None
    tls = {"certfile": options.tls_cert}
    if options.tls_key is not None:
        tls["keyfile"] = options.tls_key
    if options.tls_password_file is not None:
        try:
            with open(options.tls_password_file, encoding="utf-8") as file:
                tls["password"] = file.read().strip()
        except (OSError, ValueError) as error:
            parser.error(f"--tls-password-file {options.tls_password_file!r} cannot be read: {reason(error)}")
    return tls


def reason(error: Exception) -> str:
    """Return what is wrong in the words of the system, and with which file."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename!r}" if error.filename else error.strerror
    return str(error)


def why_not_listening(error: Exception, address: Any) -> str:
    """Return why a server cannot listen on an address, and what to do about it."""
    hint = ""
    if isinstance(error, OSError) and isinstance(address, tuple):
        hint = _HINTS.get(error.errno or 0, "")
    return f"{reason(error)}{hint}"
