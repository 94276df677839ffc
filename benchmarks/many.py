"""Many open connections: what an idle one costs in memory, and what they cost one that is busy."""

import os
import pathlib
import resource
import select
import socket
import statistics
import subprocess
import sys
import time

OPEN = 15_000
ECHOES = 20_000


def serve_pants() -> None:
    from pants import Engine, Server, Stream

    class Echo(Stream):
        def on_read(self, data: bytes) -> None:
            self.write(data)

    server = Server(Echo).listen(("127.0.0.1", 0), backlog=4096)
    print(server.local_address[1], flush=True)
    Engine.instance().start()


def serve_bare() -> None:
    """An epoll loop that keeps what it must: a socket for each descriptor."""
    poller = select.epoll()
    listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
    listener.setblocking(False)
    poller.register(listener, select.EPOLLIN)
    sockets: dict[int, socket.socket] = {}
    print(listener.getsockname()[1], flush=True)
    while True:
        for fd, _ in poller.poll():
            if fd == listener.fileno():
                sock, _ = listener.accept()
                sock.setblocking(False)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
                sockets[sock.fileno()] = sock
                poller.register(sock, select.EPOLLIN)
            else:
                data = sockets[fd].recv(65536)
                if data:
                    sockets[fd].send(data)
                else:
                    poller.unregister(fd)
                    sockets.pop(fd).close()


def resident(pid: int) -> int:
    """The resident memory of a process, in bytes."""
    return int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def echo_latency(port: int) -> float:
    """The median round trip of a 64-byte echo, in microseconds."""
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
        message = b"x" * 64
        times = []
        for _ in range(ECHOES):
            start = time.perf_counter()
            sock.sendall(message)
            sock.recv(64)
            times.append(time.perf_counter() - start)
    return statistics.median(times) * 1e6


def measure(kind: str) -> tuple[float, float, float]:
    """Bytes for each of OPEN idle connections; latency alone, and among them."""
    process = subprocess.Popen([sys.executable, __file__, kind], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        for _ in range(200):  # what the first connections cost once is not theirs
            socket.create_connection(("127.0.0.1", port)).close()
        alone = echo_latency(port)
        before = resident(process.pid)
        # From more than one address: the ports of one do not suffice for large numbers.
        idle = [
            socket.create_connection(("127.0.0.1", port), source_address=(f"127.0.1.{index % 4}", 0))
            for index in range(OPEN)
        ]
        idle[-1].sendall(b"x")
        idle[-1].recv(1)  # all before it have been accepted
        memory = (resident(process.pid) - before) / OPEN
        among = echo_latency(port)
        for sock in idle:
            sock.close()
        return memory, alone, among
    finally:
        process.kill()
        process.wait()


def main() -> None:
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    if limit < OPEN + 100:
        sys.exit(f"this needs {OPEN + 100} descriptors, and the limit is {limit}; raise it with ulimit -Hn")
    for kind in ("bare", "pants"):
        memory, alone, among = measure(kind)
        print(
            f"{kind:5s}  idle connection {memory / 1024:.2f} KiB   "
            f"echo {alone:.1f} us alone, {among:.1f} us among {OPEN:,} = {among / alone:.2f} x"
        )


if __name__ == "__main__":
    if len(sys.argv) > 1:
        {"pants": serve_pants, "bare": serve_bare}[sys.argv[1]]()
    else:
        main()
