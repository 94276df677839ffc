"""httpbin under waitress, the site that the tests of the HTTP client ask: in a process of its own, one for all tests.

What is wrong with it, or odd (httpbin 0.10.4, waitress 3.0, Werkzeug 3.1):

- ``/status/1xx``: the code is that of the final response, and then the connection is closed. ``/status/407``, and
  ``/response-headers`` with a hop-by-hop field: 500, for WSGI does not let an application send such.
- ``/response-headers?Content-Length=5`` sends two, which contradict each other; with Content-Type there are two too.
- A response without a length (``/stream``, ``/stream-bytes``) is chunked, and ends the connection nevertheless; so do
  1xx, 204 and 304. To HEAD these paths answer with a last chunk, which is a body where there must be none.
- ``/digest-auth`` knows GET only. It fails with 500 once there is a query besides credentials (so ``require-cookie`` is
  of no use), and refuses a path in which something is percent-encoded. ``stale`` is ``True`` or ``False``. The count of
  ``stale_after`` lives in cookies, and each nonce that was refused is stale the next time. Without ``algorithm`` in the
  credentials it takes MD5, whatever it has asked for.
- ``/redirect/0``: 500. ``/redirect-to`` reads the query only; without ``url`` there the Location is ``None``.
- ``/status/300``, ``306`` and ``308`` have no Location; the others lead to ``/redirect/1``.
- ``/image`` answers 406 to ``*/*``. ``/range`` sends the whole where several ranges are asked for. ETags have no
  quotes.
- A chunked request arrives with a Content-Length, which waitress has put there; header fields that came twice arrive
  joined, those with an underscore and X-Forwarded-* not at all. Of files with the same name only the first is told.
- ``/spec.json`` and ``/legacy`` do not exist without flasgger.
"""

from __future__ import annotations

import atexit
import functools
import os
import select
import subprocess
import sys
import tempfile
import time

DEADLINE = 30.0

# It ends with the process that has started it, however that ends: its standard input is at its end then.
PROGRAM = """
import os, sys, threading
from httpbin import app
from waitress import create_server
def end_with_parent():
    sys.stdin.buffer.read()
    os._exit(0)
threading.Thread(target=end_with_parent, daemon=True).start()
server = create_server(app, host="127.0.0.1", port=0, threads=32, connection_limit=1000)
print(server.effective_port, flush=True)
server.run()
"""


@functools.cache
def httpbin() -> str:
    """Start httpbin if it is not running yet, and return its base URL, without a slash at the end.

    What it logs goes to a file of its own, and is lost. It ends with this process.

    Raises:
        RuntimeError: It has not started; the message tells what it wrote.
    """
    environment = {
        name: value
        for name, value in os.environ.items()
        # Neither is it measured, nor does it debug, nor tell anybody of its errors.
        if not name.startswith(("COVERAGE_", "BUGSNAG_")) and name not in {"DEBUG", "HTTPBIN_TRACKING"}
    }
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM],
            bufsize=0,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
        )
        atexit.register(_end, process, os.getpid())
        line = _first_line(process)
        if not line.endswith(b"\n"):
            _end(process, os.getpid())
            log.seek(0)
            raise RuntimeError(f"httpbin has not started: {log.read().decode(errors='replace')}")
    return f"http://127.0.0.1:{int(line)}"


def _first_line(process: subprocess.Popen[bytes]) -> bytes:
    """What a process writes until the end of the first line; less if it ends before, or takes too long."""
    assert process.stdout is not None
    deadline = time.monotonic() + DEADLINE
    line = b""
    while not line.endswith(b"\n"):
        left = max(0.0, deadline - time.monotonic())
        if not select.select([process.stdout], [], [], left)[0]:
            break
        piece = os.read(process.stdout.fileno(), 1)
        if not piece:
            break
        line += piece
    return line


def _end(process: subprocess.Popen[bytes], owner: int) -> None:
    if os.getpid() != owner:  # in a fork
        return
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
