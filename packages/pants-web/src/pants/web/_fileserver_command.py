"""The command ``python -m pants.web.fileserver`` (manual: "Serving Static Files").

It takes what ``python -m http.server`` takes, too, so that one can be typed for the other; but CGI scripts are not run.
"""

from __future__ import annotations

import argparse
import os
import re
from typing import Any, Final, NoReturn

from pants import Engine
from pants.http import HTTPServer
from pants.web._addresses import parse_bind, url_of
from pants.web._command_line import add_tls_options, find_tls, reason, why_not_listening
from pants.web._console import ConsoleLog, logged, tell
from pants.web._fileserver import FileServer
from pants.web._serving import Serving

_NAME: Final = "python -m pants.web.fileserver"
_HOST: Final = "127.0.0.1"
_PORT: Final = 8000

# Seconds that what is being sent may take when the process is asked to end.
_GRACE: Final = 10.0

_EXAMPLES: Final = """\
examples:
  %(prog)s                       the working directory, on http://127.0.0.1:8000/
  %(prog)s 8080 /srv/site        another one, on another port
  %(prog)s -b 0.0.0.0 8080       for the whole network to see
  %(prog)s -b unix:/run/site     on a UNIX socket, behind a proxy
  %(prog)s -i home.html          where / and each directory begin with home.html
  %(prog)s --tls-cert chain.pem --tls-key key.pem 8443

Sources of Python (*.py, *.pyc) and names that begin with a dot are served with --all only. Links that lead
out of the directory are never followed, unless you say --follow-symlinks. Ctrl-C ends it.
"""


def main(arguments: list[str] | None = None) -> int:
    """Serve a directory until Ctrl-C or SIGTERM.

    Args:
        arguments: Those of the command line; by default the process's own.

    Returns:
        The exit status: 0, or 1 where it cannot serve.

    Raises:
        SystemExit: With status 2, an argument is wrong; with 0, help was asked for.
    """
    parser = _make_parser()
    options = parser.parse_args(arguments)
    address = _find_address(parser, options)
    files = _make_files(parser, options)
    tls = find_tls(parser, options)
    engine = Engine()
    try:
        server = HTTPServer(
            files,
            keep_alive=options.protocol == "HTTP/1.1",
            access_log=None if options.quiet else ConsoleLog(),
            engine=engine,
        )
        failure = _prepare(server, address, tls)
        if failure is not None:
            tell(f"{_NAME}: {failure}")
            return 1
        with logged():
            Serving(server, _GRACE).run(lambda: tell(_banner(server, files)))
    finally:
        engine.close()
    return 0


# --- Arguments ----------------------------------------------------------------------------------------------------


class _Refuse(argparse.Action):
    """An option of ``http.server`` that is not there for a reason."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        parser.error("--cgi is not supported: CGI scripts are not run, only files sent; write a pants.web.Application")


def _make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=_NAME,
        usage="%(prog)s [options] [PORT] [PATH]",
        description="Serve the files in a directory over HTTP.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("port", nargs="?", metavar="PORT", help=f"the port to listen on; 0 for any that is free (default: {_PORT})")
    add("path", nargs="?", metavar="PATH", help="the directory to serve (default: the working directory)")
    add("-b", "--bind", metavar="ADDRESS", help="the address to listen on: an address or a name, ADDRESS:PORT, "
        f"[IPV6]:PORT, or unix:PATH (default: {_HOST}, where only this machine gets at it)")  # fmt: skip
    add("-i", "--index", metavar="NAME", action="append", dest="indices", help="a file to send for a directory that "
        "has it, instead of a listing; may be given several times (default: index.html, index.htm)")  # fmt: skip
    add("-d", "--directory", metavar="PATH", help="the same as PATH")
    add("-a", "--all", action="store_true", help="serve Python's sources and hidden files, too")
    add("-q", "--quiet", action="store_true", help="write no line for each request")
    add("--no-listing", action="store_true", help="list no directories")
    add("--precompressed", action="store_true", help="send FILE.br, FILE.zst or FILE.gz in the place of FILE, if there "
        "is one, to those that take it")  # fmt: skip
    add("--follow-symlinks", action="store_true", help="follow symbolic links that lead out of the directory")
    add_tls_options(parser)
    add("-p", "--protocol", metavar="VERSION", choices=("HTTP/1.0", "HTTP/1.1"), default="HTTP/1.1", help="HTTP/1.1, "
        "or HTTP/1.0 to close each connection after one answer (default: HTTP/1.1)")  # fmt: skip
    add("--cgi", nargs=0, action=_Refuse, help="not supported: CGI scripts are not run, only files sent")
    return parser


def _find_address(parser: argparse.ArgumentParser, options: argparse.Namespace) -> Any:
    """Return the address to listen on, and put what is the path in its place."""
    if options.port is not None and not _is_number(options.port) and (options.path is None or _is_number(options.path)):
        options.port, options.path = options.path, options.port
    port = None
    if options.port is not None:
        if not re.fullmatch("[0-9]{1,5}", options.port) or int(options.port) > 65535:
            parser.error(f"PORT is a number, 0 to 65535, not {options.port!r}")
        port = int(options.port)
    if options.bind is None:
        return _HOST, _PORT if port is None else port
    try:
        address = parse_bind(options.bind, _HOST, -1)
    except ValueError as error:
        parser.error(f"--bind: {error}")
    if isinstance(address, str):
        if port is not None:
            parser.error(f"a UNIX socket, as {options.bind}, has no port; leave PORT out")
        return address
    host, bound = address
    if bound >= 0 and port is not None and bound != port:
        parser.error(f"--bind says port {bound}, and PORT is {port}")
    return host, bound if bound >= 0 else _PORT if port is None else port


def _is_number(text: str) -> bool:
    return re.fullmatch(r"[-+]?\d+", text) is not None


def _make_files(parser: argparse.ArgumentParser, options: argparse.Namespace) -> FileServer:
    if options.path is not None and options.directory is not None:
        parser.error("PATH and --directory are the same; give one of them")
    path = options.path or options.directory or os.curdir
    settings: dict[str, Any] = {} if options.indices is None else {"defaults": options.indices}
    if options.all:
        settings.update(blacklist=(), hidden=True)
    try:
        return FileServer(
            path,
            listing=not options.no_listing,
            precompressed=options.precompressed,
            follow_symlinks=options.follow_symlinks,
            **settings,
        )
    except NotADirectoryError:
        parser.error(f"{path!r} is not a directory")
    except OSError as error:
        parser.error(f"{path!r} cannot be served: {error.strerror}")
    except ValueError as error:
        parser.error(f"{error}")


# --- Serving ------------------------------------------------------------------------------------------------------


def _prepare(server: HTTPServer, address: Any, tls: dict[str, str] | None) -> str | None:
    """Have a server listen; return why it cannot, if so."""
    if tls is not None:
        try:
            server.startSSL(tls)
        except (OSError, ValueError) as error:
            return f"the certificate cannot be used: {reason(error)}"
    try:
        server.listen(address)
    except (OSError, ValueError) as error:
        return why_not_listening(error, address)
    return None


def _banner(server: HTTPServer, files: FileServer) -> str:
    scheme = "http" if server._tls_settings is None else "https"
    where = url_of(scheme, server.local_address)
    if isinstance(server.local_address, tuple) and server.local_address[0] in ("0.0.0.0", "::"):
        where += ", and on every address of this machine,"
    path = files.path if files.path.isprintable() else ascii(files.path)
    return f"Serving {where} from {path} - Ctrl-C ends it"
