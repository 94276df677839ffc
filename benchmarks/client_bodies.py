"""Large bodies and the HTTP client: a download of 100 MiB into a file, and a multipart upload of as much; against curl.

client_bodies.py download URL     which has to serve SIZE bytes
client_bodies.py upload     to a server of its own, which drops what it gets
"""

import json
import os
import pathlib
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.parse import urljoin

SIZE = 100 * 1024 * 1024
ROUNDS = 5


class Cost(NamedTuple):
    """CPU and wall time in seconds, and by how many bytes the peak of the resident memory has grown."""

    cpu: float
    wall: float
    growth: float = 0


# --- Pants, in a process of its own ------------------------------------------------------------------------------


def peak() -> int:
    """The highest resident memory of this process so far, in bytes."""
    found = re.search(r"VmHWM:\s+(\d+) kB", pathlib.Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


def ask(client: Any, method: str, url: str, **arguments: Any) -> Any:
    """Make a request, and run the engine until its answer is in."""
    from pants import Engine

    engine = Engine.instance()
    answers: list[Any] = []
    errors: list[Exception] = []

    def on_response(response: Any) -> None:
        answers.append(response)
        engine.stop()

    def on_error(response: Any, exception: Exception) -> None:
        errors.append(exception)
        engine.stop()

    client.on_response, client.on_error = on_response, on_error
    getattr(client, method)(url, **arguments)
    engine.start()
    if errors:
        raise errors[0]
    (answer,) = answers
    assert answer.status_code == 200, answer.status_code
    return answer


def run_pants(method: str, url: str, hello: str, path: str) -> None:
    """Print the cost of one download from ``url``, or of one upload of the file at ``path``, as JSON."""
    from pants.http import HTTPClient

    client = HTTPClient()
    ask(client, "get", hello).content  # noqa: B018 - what is imported and made once is not counted
    pathlib.Path("/proc/self/clear_refs").write_text("5")  # the peak is what there is now
    before, cpu, wall = peak(), time.process_time(), time.perf_counter()
    if method == "get":
        answer = ask(client, "get", url)
        assert answer.file.seek(0, os.SEEK_END) == SIZE
    else:
        with open(path, "rb") as file:
            ask(client, "post", url, files={"file": file})
    cost = Cost(time.process_time() - cpu, time.perf_counter() - wall, peak() - before)
    print(json.dumps(cost))


def pants(method: str, url: str, hello: str, path: str = "") -> Cost:
    command = [*pin(1), sys.executable, __file__, "pants", method, url, hello, path]
    return Cost(*json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True, env=environment()).stdout))


# --- curl -------------------------------------------------------------------------------------------------------


def curl(*arguments: str) -> Cost:
    command = [*pin(1), "curl", "--silent", "--show-error", "--fail", "--noproxy", "*", *arguments]
    wall = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - wall
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, command
    return Cost(usage.ru_utime + usage.ru_stime, wall)


def pin(cpu: int) -> list[str]:
    return ["taskset", "-c", str(cpu)] if (os.cpu_count() or 1) > 1 else []


def environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}


# --- The server for uploads ---------------------------------------------------------------------------------------


def serve_sink() -> None:
    """Take requests, drop their bodies, and say hello. One connection after the other."""
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    while True:
        sock, _ = listener.accept()
        with sock:
            try:
                while drop_request(sock):
                    sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
            except ConnectionError:
                pass


def drop_request(sock: socket.socket) -> bool:
    """Read a request; False if there is none."""
    head = b""
    while b"\r\n\r\n" not in head:
        piece = sock.recv(65536)
        if not piece:
            return False
        head += piece
    head, _, body = head.partition(b"\r\n\r\n")
    if b"expect: 100-continue" in head.lower():
        sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
    length = re.search(rb"\r\ncontent-length: *(\d+)", head, re.IGNORECASE)
    left = (int(length[1]) if length else 0) - len(body)
    chunked = length is None and b"\r\ntransfer-encoding:" in head.lower()
    buffer = bytearray(1024 * 1024)
    end = body[-5:]
    while left > 0 or (chunked and end != b"0\r\n\r\n"):
        size = sock.recv_into(buffer)
        if not size:
            raise ConnectionError("the connection ended in the middle of a body")
        left -= size
        end = (end + buffer[max(0, size - 5) : size])[-5:]
    return True


# --- Comparing them ---------------------------------------------------------------------------------------------


def report(what: str, of_pants: list[Cost], of_curl: list[Cost], of_start: list[Cost]) -> None:
    # The start of the program is not part of it, as that of Python is not.
    start = median(of_start)
    theirs = Cost(*(max(1e-9, all_of_it - its) for all_of_it, its in zip(median(of_curl), start, strict=True)))
    print(f"{what:10s} curl    cpu {theirs.cpu * 1000:7.1f} ms   wall {theirs.wall * 1000:7.1f} ms")
    if of_pants:
        ours = median(of_pants)
        print(
            f"{what:10s} pants   cpu {ours.cpu * 1000:7.1f} ms = {ours.cpu / theirs.cpu:.2f} x   "
            f"wall {ours.wall * 1000:7.1f} ms = {ours.wall / theirs.wall:.2f} x   "
            f"peak of resident memory grows by {ours.growth / 1024:.0f} KiB"
        )


def median(costs: list[Cost]) -> Cost:
    return Cost(*(statistics.median(column) for column in zip(*costs, strict=True)))


def rounds(what: str, hello: str, of_pants: list[str], of_curl: list[str], written: pathlib.Path | None) -> None:
    found: dict[str, list[Cost]] = {"pants": [], "curl": [], "start": []}
    failed = False
    for _ in range(ROUNDS):
        if not failed:
            try:
                found["pants"].append(pants(*of_pants))
            except subprocess.SubprocessError:
                failed = True  # which has said why
        found["curl"].append(curl(*of_curl))
        if written is not None:
            assert written.stat().st_size == SIZE
            written.unlink()
        found["start"].append(curl(hello))
    report(what, [] if failed else found["pants"], found["curl"], found["start"])
    if failed:
        sys.exit(1)


def download(url: str) -> None:
    with tempfile.TemporaryDirectory(prefix="pants-bench-") as folder:
        hello = urljoin(url, "/")
        written = pathlib.Path(folder, "written")
        rounds("download", hello, ["get", url, hello], ["-o", str(written), url], written)


def upload() -> None:
    with tempfile.NamedTemporaryFile(prefix="pants-bench-") as file:
        piece = os.urandom(1024 * 1024)
        for _ in range(SIZE // len(piece)):
            file.write(piece)
        file.flush()
        sink = subprocess.Popen([*pin(0), sys.executable, __file__, "sink"], stdout=subprocess.PIPE)
        try:
            assert sink.stdout is not None
            url = f"http://127.0.0.1:{int(sink.stdout.readline())}/"
            rounds("upload", url, ["post", url, url, file.name], ["-F", f"file=@{file.name}", url], None)
        finally:
            sink.kill()
            sink.communicate()


PROGRAMS: dict[str, Callable[..., None]] = {
    "download": download,
    "upload": upload,
    "pants": run_pants,
    "sink": serve_sink,
}

if __name__ == "__main__":
    PROGRAMS[sys.argv[1]](*sys.argv[2:])
