"""The server that hostile_load.py plays against: short deadlines, few descriptors, a handler of each kind.

    hostile_server.py FOLDER DESCRIPTORS

FOLDER has a file ``big``. The port is written to the standard output; each line on the standard input is answered there
with the server's state, a line of JSON; the end of the input ends the server. What should not have been logged goes to
the standard error.
"""

from __future__ import annotations

import collections
import errno
import gc
import json
import logging
import os
import pathlib
import resource
import sys
import tempfile
import warnings
from typing import Any

from pants import Engine
from pants.engine import READ
from pants.http import HTTPRequest, HTTPServer, Limits

LIMITS = Limits(
    spool_size=65536,
    header_timeout=1.0,
    body_timeout=1.0,
    keep_alive_timeout=2.0,
    write_timeout=1.0,
    write_rate=20000,
)
MAX_REQUEST = 1024 * 1024
HELLO = b"Hello, World!\n"
PIECE = b"A long answer, of which there is more than the kernel keeps for a client.\n" * 600
PIECES = 100
# A body that is taken as it comes pauses after so many bytes, for so many seconds.
SINK_BYTES = 50000
SINK_PAUSE = 0.02
LATER = 0.05
# Seconds between two looks at whether the loop is in time.
TICK = 0.02


class OnPurposeError(Exception):
    """What a handler raises here."""


class Stream:
    """Sends a long answer, a piece whenever the client has taken what there was."""

    def __init__(self, request: HTTPRequest, content_type: str) -> None:
        self.request = request
        self.left = PIECES
        request.on_drain = self.send_more
        request.send_headers({"Content-Type": content_type})
        self.send_more()

    def send_more(self) -> None:
        """Send the next piece, or finish."""
        if self.left:
            self.left -= 1
            self.request.send(PIECE)
        else:
            self.request.finish()


class Sink:
    """Takes a body as it comes, with pauses."""

    def __init__(self, request: HTTPRequest) -> None:
        self.request = request
        self.size = 0
        request.on_data = self.take

    def take(self, data: bytes) -> None:
        """Count a piece."""
        before, self.size = self.size, self.size + len(data)
        if before // SINK_BYTES != self.size // SINK_BYTES:
            self.request.pause_body()
            self.request.connection.engine.defer(SINK_PAUSE, self.request.resume_body)


def look_at_head(request: HTTPRequest) -> None:
    """Deal with a request that has a body, before that arrives."""
    if request.path == "/early":
        request.send_response("Not here\n", 403)
    elif request.path == "/sink":
        Sink(request)
    elif request.path == "/large":
        request.max_body = 8 * MAX_REQUEST


def handle(request: HTTPRequest) -> None:
    """Answer a request."""
    path = request.path
    if path == "/hello":
        request.send_response(HELLO)
    elif path in ("/sink", "/body"):
        request.send_response(f"{len(request.body)} bytes\n")
    elif path in ("/upload", "/large"):
        sizes = [len(file["body"]) for files in request.files.values() for file in files]
        request.send_response(f"{len(request.post)} fields, {len(sizes)} files of {sum(sizes)} bytes\n")
    elif path == "/stream":
        Stream(request, "application/octet-stream")
    elif path == "/text":
        Stream(request, "text/plain")
    elif path == "/file":
        request.send_file("big", "big.bin")
    elif path == "/later":
        request.connection.engine.defer(LATER, request.send_response, "Later\n")
    elif path == "/raise":
        raise OnPurposeError
    elif path == "/everything":
        request.set_secure_cookie("count", [len(request.get), len(request.cookies), len(request.trailers)])
        request.get_secure_cookie("count")
        request.send_response(f"{request.full_url} {request.hostname} {request.remote_ip}\n")
    else:
        request.send_response("Not found\n", 404)


class Complaints(logging.Handler):
    """Writes what should not have been logged to the standard error, and counts what should."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.expected: collections.Counter[str] = collections.Counter()

    def emit(self, record: logging.LogRecord) -> None:
        """Look at a record."""
        message = record.getMessage()
        if record.exc_info and isinstance(record.exc_info[1], OnPurposeError):
            self.expected["raised on purpose"] += 1
        elif f"cannot use files: [Errno {errno.EMFILE}]" in message:
            self.expected["no descriptor for a file"] += 1
        elif "cannot accept connections" in message:
            self.expected["no descriptor for a connection"] += 1
        else:
            sys.stderr.write(logging.Formatter("%(levelname)s %(name)s: %(message)s").format(record) + "\n")
            sys.stderr.flush()


class AccessLines(logging.Handler):
    """Sees to it that no client can forge a line of the access log."""

    def emit(self, record: logging.LogRecord) -> None:
        """Look at a line."""
        line = record.getMessage()
        if not (line.isascii() and line.isprintable()):
            sys.stderr.write(f"in the access log: {line!r}\n")


def show_warning(message: Warning | str, category: type[Warning], *_place: object, **_line: object) -> None:
    """Write a warning, without the place where the collector happened to be."""
    sys.stderr.write(f"{category.__name__}: {message}\n")


class Control:
    """Tells the state whenever it is asked."""

    def __init__(self, server: HTTPServer, complaints: Complaints) -> None:
        self.server = server
        self.complaints = complaints
        self.ticked = server.engine.clock()
        self.longest_turn = 0.0
        server.engine.cycle(TICK, self.on_tick)
        server.engine.watch(0, READ, self.on_input)

    def on_tick(self) -> None:
        """Find out how late the loop is."""
        before, self.ticked = self.ticked, self.server.engine.clock()
        self.longest_turn = max(self.longest_turn, self.ticked - before - TICK)

    def on_input(self, _events: int) -> None:
        """Answer, or end."""
        lines = os.read(0, 4096)
        if not lines:
            self.server.engine.unwatch(0)
            self.server.engine.stop()
        for _ in range(lines.count(b"\n")):
            os.write(1, json.dumps(self.state()).encode() + b"\n")

    def state(self) -> dict[str, Any]:
        """Return what is there, rubbish not included, and what has been."""
        gc.collect()
        server, counters = self.server, self.server.counters
        return {
            "connections": len(server.channels),
            "lingering": len(server.engine.lingering),
            "timers": sum(entry[2].function is not None for entry in server.engine._timers.heap),
            "objects": len(gc.get_objects()),
            "longest turn": self.longest_turn,
            "accepted": counters.connections,
            "answers": counters.answers,
            "refused": counters.refused,
            "failures": counters.failures,
            "slow readers": counters.slow_readers,
            "expected": self.complaints.expected,
        }


def main() -> None:
    """Serve until the standard input ends."""
    folder, descriptors = pathlib.Path(sys.argv[1]), int(sys.argv[2])
    warnings.showwarning = show_warning
    tempfile.gettempdir()  # it looks for one at the first use, which may come when there are no descriptors
    complaints = Complaints()
    logging.getLogger().addHandler(complaints)
    access = logging.getLogger("pants.http.access")
    access.addHandler(AccessLines())
    access.setLevel(logging.INFO)
    server = HTTPServer(
        handle,
        MAX_REQUEST,
        cookie_secret="not a secret",  # noqa: S106 - there is nothing behind it
        xheaders=True,
        file_root=folder,
        limits=LIMITS,
        head_handler=look_at_head,
        access_log="combined",
        compression=True,
    ).listen(("127.0.0.1", 0))
    Control(server, complaints)
    resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))
    os.write(1, b"%d\n" % server.local_address[1])
    server.engine.start()
    server.close()
    Engine.instance().close()


if __name__ == "__main__":
    main()
