"""A long answer and long uploads, of which memory holds a piece at a time, on the port that PORT names, 8080 if none.

http_stream.py [FOLDER]                       uploads are kept in FOLDER, which is the working directory if not given
curl http://localhost:8080/                   a million numbers
curl -T FILE http://localhost:8080/NAME       upload FILE, to be kept as NAME
"""

import os
import pathlib
import re
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from pants import Engine
from pants.http import HTTPRequest, HTTPServer, Refused

FOLDER = pathlib.Path(sys.argv[1] if sys.argv[1:] else ".")

engine = Engine.instance()
disk = ThreadPoolExecutor(1)  # for a disk may be slow; a single thread, which keeps to the order


def handle(request: HTTPRequest) -> None:
    """Called with each request, once its body has arrived."""
    if request.method in ("GET", "HEAD") and request.path == "/":
        send_numbers(request)
    elif request.method == "PUT":
        # An empty body does not arrive, and receive() is not called for it.
        upload = uploads.pop(request, None) or Upload(request)
        upload.finish()
    else:
        request.send_response("GET /, or PUT a file, please.\n", 405, headers={"Allow": "GET, HEAD, PUT"})


def receive(request: HTTPRequest) -> None:
    """Called with each request whose body is about to arrive."""
    if request.method == "PUT":
        uploads[request] = Upload(request)
        request.max_body = 1024**4


def send_numbers(request: HTTPRequest) -> None:
    """Send an answer in pieces: another whenever the client has taken all there was."""
    pieces = numbers()

    def send_next() -> None:
        piece = next(pieces, None)
        if piece is None:
            request.finish()
        else:
            request.send(piece)

    request.on_drain = send_next
    request.send_headers({"Content-Type": "text/plain"})


def numbers() -> Iterator[bytes]:
    for start in range(0, 1_000_000, 5000):
        yield b"".join([b"%d\n" % number for number in range(start, start + 5000)])


class Upload:
    """Receives a body in pieces: another whenever the last one has been written."""

    def __init__(self, request: HTTPRequest) -> None:
        name = request.path.removeprefix("/")
        if not re.fullmatch(r"\w[\w.-]{0,99}", name, re.ASCII):
            raise Refused(400, "A name has letters, digits, dots, dashes and underscores")
        self.request = request
        self.path = FOLDER / name
        try:
            self.file = self.path.open("xb")
        except FileExistsError:
            raise Refused(409, "There is such a file") from None
        request.on_data = self.write
        request.on_close = self.remove  # the client went away

    def write(self, data: bytes) -> None:
        self.request.pause_body()
        self.do(lambda: self.file.write(data), self.request.resume_body)

    def finish(self) -> None:
        self.do(self.file.close, lambda: self.request.send_response("Thank you.\n", 201))

    def do(self, what: Callable[[], object], then: Callable[[], object]) -> None:
        """Do something in the thread, then something in the loop."""
        disk.submit(what).add_done_callback(lambda done: engine.call_from_thread(self.go_on, done, then))

    def go_on(self, done: "Future[object]", then: Callable[[], object]) -> None:
        if self.request.finished:
            return  # something went wrong before
        if done.exception() is None:
            then()
        else:
            self.remove()
            self.request.send_response(f"{done.exception()}\n", 507)

    def remove(self) -> None:
        uploads.pop(self.request, None)
        disk.submit(self.file.close)
        disk.submit(self.path.unlink)


uploads: dict[HTTPRequest, Upload] = {}
server = HTTPServer(handle, head_handler=receive)
server.listen(("127.0.0.1", int(os.environ.get("PORT", "8080"))))
print(f"Serving on http://localhost:{server.local_address[1]}/", flush=True)
engine.start()
