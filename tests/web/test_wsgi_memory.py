"""Nothing is left of a request that a WSGI application has answered: no reference cycle keeps it."""

from __future__ import annotations

import contextlib
import gc
import http.client
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from pants.http import HTTPRequest
from pants.testing import run_until
from pants.web import WSGIConnector
from pants.web._wsgi_run import Run
from tests.http.peers_support import in_thread, serving
from tests.web.wsgi_support import TEXT, App, Result, connect


def broken() -> Iterator[bytes]:
    yield b"spam"
    raise LookupError("ham")


def odd(environ: dict[str, Any], start_response: App) -> Any:
    """An application that does something else at each path."""
    kind = environ["PATH_INFO"]
    if kind == "/fail":
        raise LookupError("spam")
    if kind == "/twice":
        try:
            raise LookupError("eggs")
        except LookupError:
            start_response("200 OK", TEXT, sys.exc_info())
    write = start_response("200 OK", [*TEXT, ("Content-Length", "6")] if kind == "/whole" else TEXT, sys.exc_info())
    if kind == "/write":
        write(b"spam")
    if kind == "/file":
        return environ["wsgi.file_wrapper"](open(__file__, "rb"))
    if kind == "/broken":
        return broken()
    if kind == "/endless":
        return Result(iter(lambda: b"spam" * 10_000, None))
    return Result([b"spam!!"]) if kind == "/whole" else [b"spam"] if kind == "/list" else Result([b"sp", b"am"])


KINDS = ["list", "whole", "blocks", "write", "twice", "file", "fail", "broken"]


def is_left() -> bool:
    return any(isinstance(found, (Run, HTTPRequest, Result)) for found in gc.get_objects())


@pytest.mark.parametrize("threads", [0, 1])
@pytest.mark.parametrize(
    "kind, method", [*[(kind, "GET") for kind in (*KINDS, "endless")], *[(kind, "HEAD") for kind in KINDS]]
)
def test_nothing_is_left(threads: int, kind: str, method: str, expect_log: Any) -> None:
    if kind == "fail" or (kind == "broken" and method == "GET"):
        expect_log("LookupError: spam|LookupError: ham")
    connector = WSGIConnector(odd, threads=threads)
    gc.collect()
    gc.disable()
    try:
        with serving(connector) as server:
            client = connect(server)
            client.request(method, f"/{kind}")
            if kind == "endless":
                run_until(is_left)
            else:
                with contextlib.suppress(http.client.IncompleteRead):
                    in_thread(lambda: client.getresponse().read())
            client.close()
            run_until(lambda: not server.channels)
        run_until(lambda: connector._pool is None or connector._pool._idle)
        for record, _ in expect_log.records:
            record.exc_info = None  # which keeps the frames
        run_until(lambda: not is_left())
    finally:
        gc.enable()
