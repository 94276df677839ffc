"""Bodies of requests: what a POST of 1 MiB costs, and an upload of 100 MiB in memory; idle HTTP connections besides."""

import os
import pathlib
import resource
import select
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator

SIZE = 1024 * 1024
POSTS = 1000
ROUNDS = 5
UPLOAD = 100 * SIZE
IDLE = 10_000
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok"


def serve_pants() -> None:
    from pants import Engine
    from pants.http import HTTPRequest, HTTPServer

    def ok(request: HTTPRequest) -> None:
        if request.path == "/upload":
            request.send_response(str(len(request.files)))
        else:
            request.send_response("ok")

    server = HTTPServer(ok, max_request=1 << 31).listen(("127.0.0.1", 0), backlog=4096)
    print(server.local_address[1], flush=True)
    Engine.instance().start()


def serve_bare() -> None:
    """An epoll loop that receives and drops, and answers after each 1 MiB."""
    poller = select.epoll()
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    sock, _ = listener.accept()
    sock.setblocking(False)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
    poller.register(sock, select.EPOLLIN)
    expected = len(post())
    received = 0
    while True:
        for _ in poller.poll():
            data = sock.recv(65536)
            if not data:
                return
            received += len(data)
            if received == expected:
                received = 0
                sock.send(ANSWER)


def post() -> bytes:
    return b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % SIZE + bytes(SIZE)


def start(name: str) -> tuple["subprocess.Popen[bytes]", int]:
    server = subprocess.Popen([sys.executable, __file__, name], stdout=subprocess.PIPE)
    assert server.stdout is not None
    return server, int(server.stdout.readline())


def spent(pid: int) -> float:
    """The CPU time of a process, in seconds."""
    return int(pathlib.Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


def resident(pid: int) -> int:
    """The resident memory of a process, in bytes."""
    return int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def cost_of_posts(name: str) -> float:
    """The CPU time of a POST, in microseconds."""
    server, port = start(name)
    with server, socket.create_connection(("127.0.0.1", port)) as client:
        data = post()
        before = spent(server.pid)
        for _ in range(POSTS):
            client.sendall(data)
            received = b""
            while not received.endswith(b"ok"):
                received += client.recv(4096)
        cost = spent(server.pid) - before
        client.close()
        server.terminate()
    return cost / POSTS * 1e6


def pieces_of_upload(boundary: bytes) -> Iterator[bytes]:
    yield b"--%b\r\nContent-Disposition: form-data; name=a; filename=b\r\n\r\n" % boundary
    piece = os.urandom(65536)
    for _ in range(UPLOAD // len(piece)):
        yield piece
    yield b"\r\n--%b--\r\n" % boundary


def growth_by_upload() -> int:
    """What the resident memory grows by during a multipart upload, in bytes."""
    server, port = start("pants")
    highest = 0
    with server, socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(post())
        client.recv(4096)
        before = resident(server.pid)
        boundary = b"boundary"
        size = sum(map(len, pieces_of_upload(boundary)))
        client.sendall(
            b"POST /upload HTTP/1.1\r\nHost: a\r\nContent-Type: multipart/form-data; boundary=%b\r\n"
            b"Content-Length: %d\r\n\r\n" % (boundary, size)
        )
        for piece in pieces_of_upload(boundary):
            client.sendall(piece)
            highest = max(highest, resident(server.pid))
        assert client.recv(4096).endswith(b"\r\n\r\n1")
        server.terminate()
    return highest - before


def size_of_idle() -> float:
    """The memory of an idle connection that has been served once, in bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(max(soft, 2 * IDLE), hard), hard))
    server, port = start("pants")
    get = b"GET / HTTP/1.1\r\nHost: localhost\r\nUser-Agent: benchmark\r\nAccept: */*\r\n\r\n"
    with server:
        clients = []
        before = 0
        for number in range(IDLE + 1000):
            if number == 1000:
                before = resident(server.pid)
            client = socket.create_connection(("127.0.0.1", port))
            client.sendall(get)
            client.recv(4096)
            clients.append(client)
        time.sleep(0.5)
        grown = resident(server.pid) - before
        for client in clients:
            client.close()
        server.terminate()
    return grown / IDLE


def main() -> None:
    costs: dict[str, list[float]] = {"bare": [], "pants": []}
    for _ in range(ROUNDS):
        for name, found in costs.items():
            found.append(cost_of_posts(name))
    bare, pants = (statistics.median(costs[name]) for name in ("bare", "pants"))
    print(f"POST of 1 MiB          {pants:7.0f} us, {pants / bare:.2f} x a loop that only receives ({bare:.0f} us)")
    print(f"multipart of 100 MiB   resident memory grows by {growth_by_upload() / 1024:.0f} KiB")
    print(f"an idle connection     {size_of_idle() / 1024:.2f} KiB")


if __name__ == "__main__":
    {"pants": serve_pants, "bare": serve_bare}.get(sys.argv[1] if sys.argv[1:] else "", main)()
