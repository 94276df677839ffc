"""The command ``pants-web``, which runs an application."""

from __future__ import annotations

import argparse
import contextlib
import math
import os
import platform
import sys
from typing import Any, Final

from pants import Engine, __version__
from pants.http import AccessLog
from pants.web import _loading, _reloading, _running
from pants.web._addresses import parse_bind
from pants.web._command_line import add_tls_options, find_tls, reason, why_not_listening
from pants.web._console import access_log, tell

_NAME: Final = "pants-web"
_HOST: Final = "127.0.0.1"
_PORT: Final = 8000

# The status of what Ctrl-C has ended before it could do its work, as shells have it.
_INTERRUPTED: Final = 130

_EXAMPLES: Final = """\
examples:
  %(prog)s hello                            app in hello.py, on http://127.0.0.1:8000/
  %(prog)s -r hello:app                     started anew whenever a file of it changes
  %(prog)s -b :8080 -w 0 shop.site:app      on port 8080 of all addresses, a process for each processor
  %(prog)s -b '[::1]:8080' 'shop:create()'  what a function returns
  %(prog)s -b unix:/run/shop.sock shop      on a UNIX socket, behind a proxy
  %(prog)s --tls-cert cert.pem --tls-key key.pem -b :443 shop
  %(prog)s --wsgi mysite.wsgi               application in mysite/wsgi.py, a WSGI application

Ctrl-C (SIGINT) and SIGTERM end it once the requests that have arrived are answered, the second time at once.
SIGHUP has the certificate read again.
"""


def main(arguments: list[str] | None = None) -> int:
    """Run an application until Ctrl-C or SIGTERM.

    Args:
        arguments: Those of the command line; by default the process's own.

    Returns:
        The exit status: 0; 1 where the application cannot be run; 2 where there is none of that name; 130 where Ctrl-C
        has interrupted its import.

    Raises:
        SystemExit: With status 2, an argument is wrong; with 0, help or the version was asked for, or with ``--reload``
            it is over; with 1, workers have ended again and again.
    """
    parser = _make_parser()
    options = parser.parse_args(arguments)
    tls = find_tls(parser, options)
    try:
        directory = os.getcwd()
    except OSError as error:
        tell(f"{_NAME}: the working directory cannot be used: {reason(error)}")
        return 1
    if directory not in sys.path:
        sys.path.insert(0, directory)
    paths = _watched(parser, options)
    if options.threads is not None and not options.wsgi:
        parser.error("--threads goes with --wsgi")
    link = None if paths is None else _reloading.find_link()
    if paths is not None and link is None:
        app: Any = _answer_nothing  # this process only looks after the one that serves
    else:
        try:
            app = _load(options)
        except _loading.LoadingError as error:
            tell(f"{_NAME}: {error}")
            _tell_files(link, error)
            return 2
        except Exception as error:  # noqa: BLE001 - the program's, which is shown
            _loading.report(error)
            _tell_files(link, error)
            return 1
        except KeyboardInterrupt:
            return _INTERRUPTED
    log = options.access_log
    plan = _running.Plan(app, options.bind, tls, access_log(log), options.grace, None, _server_options(options))
    failure = _find_failure(plan)
    if failure is not None:
        tell(f"{_NAME}: {failure}")
        return 1
    _running.run(
        app,
        options.bind,
        tls,
        workers=options.workers,
        reload=False if paths is None else paths or True,
        access_log=log,
        grace=options.grace,
        **plan.options,
    )
    return 0


def _answer_nothing(_request: object) -> None:
    """Stand in the place of the application in a process that does not serve."""


def _load(options: argparse.Namespace) -> Any:
    with _running.left_out() as runs:
        app = _loading.load(options.app)
    if runs:
        tell(f"{_NAME}: run() is called when {options.app.partition(':')[0]} is imported; that is left out here")
    if options.wsgi:
        from pants.web import Application
        from pants.web.wsgi import WSGIConnector

        if not callable(app):
            raise _loading.LoadingError(f"{app!r} cannot be called, so it is no WSGI application")
        if isinstance(app, Application):
            raise _loading.LoadingError(f"{app!r} is none of WSGI's, but of Pants; leave --wsgi out")
        return WSGIConnector(app, options.debug, **({} if options.threads is None else {"threads": options.threads}))
    _loading.check(app)
    if options.debug and hasattr(app, "debug"):
        app.debug = True
    return app


def _tell_files(link: _reloading.Link | None, error: Exception) -> None:
    if link is not None:
        link.report(_loading.files_of(error))


def _find_failure(plan: _running.Plan) -> str | None:
    """Try to listen; return why that fails, if it does."""
    with contextlib.closing(Engine()) as engine:
        try:
            server = plan.make_server(engine=engine, ssl_options=None)
        except (TypeError, ValueError) as error:
            return str(error)
        try:
            if plan.ssl_options is not None:
                server.startSSL(plan.ssl_options)
        except (OSError, ValueError) as error:
            return f"the certificate cannot be used: {reason(error)}"
        try:
            server.listen(plan.address)
        except (OSError, ValueError) as error:
            return why_not_listening(error, plan.address)
    return None


# --- Arguments --------------------------------------------------------------------------------------------------------


def _make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=_NAME,
        usage="%(prog)s [options] MODULE:APP",
        description="Run a web application.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("app", metavar="MODULE:APP", help="what to run: a module or a FILE.py, and what the application is called in "
        "it, app or application if that is left out; NAME() for what a function returns")  # fmt: skip
    add("-b", "--bind", metavar="ADDRESS", type=_address, default=(_HOST, _PORT), help="where to listen: PORT, "
        f"HOST, HOST:PORT, [IPV6]:PORT or unix:PATH (default: {_HOST}:{_PORT}, for this machine alone)")  # fmt: skip
    add("-w", "--workers", metavar="N", type=_count, default=1, help="the number of processes that serve; 0 for one "
        "for each processor (default: 1)")  # fmt: skip
    add("-r", "--reload", action="store_true", help="start the application anew when a file of it changes")
    add("--watch", metavar="PATH", action="append", default=[], help="a file, or a directory of files, the changes of "
        "which count too; with --reload, may be given several times")  # fmt: skip
    add("-d", "--debug", action="store_true", help="show what went wrong in the pages for errors; never for the public")
    add_tls_options(parser)
    add("--trusted-proxy", metavar="ADDRESS", action="append", help="believe a proxy at this address or in this "
        "network, or 'unix' for a UNIX socket, what it tells about clients; may be given several times")  # fmt: skip
    add("--access-log", metavar="FORMAT", type=_format, default=True, help="the line that is written for each request: "
        "common, combined, or a format of your own, as Apache has them")  # fmt: skip
    add("--no-access-log", action="store_const", const=False, dest="access_log", help="write no such lines")
    add("--grace", metavar="SECONDS", type=_seconds, default=_running.GRACE, help="the time that requests under way "
        f"are given in the end (default: {_running.GRACE:g})")  # fmt: skip
    add("--wsgi", action="store_true", help="it is a WSGI application")
    add("--threads", metavar="N", type=_count, help="the threads in which a WSGI application runs; 0 for none, so that "
        "it holds up everything else while it runs (default: 8)")  # fmt: skip
    version = f"%(prog)s {__version__}, Python {platform.python_version()}"
    add("--version", action="version", version=version, help="tell the version, and end")
    return parser


def _address(text: str) -> Any:
    try:
        return parse_bind(text, _HOST, _PORT)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _count(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 5):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number, 0 or more")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds, 0 or more")
    return seconds


def _format(text: str) -> str:
    try:
        AccessLog(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def _watched(parser: argparse.ArgumentParser, options: argparse.Namespace) -> list[str] | None:
    """Return the paths to watch besides the modules; None where nothing is watched."""
    if not options.reload:
        if options.watch:
            parser.error("--watch goes with --reload")
        return None
    for path in options.watch:
        if not os.path.exists(path):
            parser.error(f"--watch: there is no {path!r}")
    return list(options.watch)


def _server_options(options: argparse.Namespace) -> dict[str, Any]:
    if options.trusted_proxy is None:
        return {}
    return {"xheaders": True, "trusted_proxies": options.trusted_proxy}
