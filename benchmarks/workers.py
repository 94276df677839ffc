"""How evenly two workers share connections: of 100 at a time, those of each; the mean and the worst over some runs."""

import collections
import contextlib
import os
import pathlib
import re
import signal
import socket
import statistics
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
CONNECTIONS = 100
RUNS = 20


def ask(port: int, sockets: contextlib.ExitStack) -> str:
    """The process that answers on a new connection, which stays open."""
    sock = sockets.enter_context(socket.create_connection(("127.0.0.1", port)))
    sock.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    return sock.recv(4096).decode().rpartition("\r\n")[2]


with subprocess.Popen(
    [sys.executable, HERE / "workers_server.py", "0", "2"], stderr=subprocess.PIPE, text=True, start_new_session=True
) as server:
    try:
        assert server.stderr is not None
        banner = server.stderr.readline()
        found = re.search(r":([0-9]+)/", banner)
        assert found is not None, banner
        shares = []
        for _ in range(RUNS):
            with contextlib.ExitStack() as sockets:
                counts = collections.Counter(ask(int(found[1]), sockets) for _ in range(CONNECTIONS))
            shares.append(max(counts.values()) / CONNECTIONS)
        print(f"the larger share of two: {statistics.mean(shares):.0%} on average, {max(shares):.0%} at most")
    finally:
        os.killpg(server.pid, signal.SIGKILL)
