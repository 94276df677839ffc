"""WebSockets: a broadcast against a bare loop of send(), the memory of an idle one, and what a long message takes."""

import multiprocessing
import os
import pathlib
import resource
import select
import socket
import statistics
import threading
import time
from multiprocessing.connection import Connection
from typing import ClassVar

from pants import Engine
from pants.http import HTTPServer, WebSocket, broadcast

OPEN = 5_000
ROUNDS = 21
MESSAGE = "x" * 1024
# A server's frame of it: final, text, 16 bits of length (RFC 6455 §5.2).
FRAME = b"\x81\x7e" + len(MESSAGE).to_bytes(2, "big") + MESSAGE.encode()
REQUEST = (
    b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
LONG = (1, 4, 16)  # MiB
MIB = 1024 * 1024


class Member(WebSocket):
    """What is broadcast to."""

    members: ClassVar[list["Member"]] = []

    def on_connect(self) -> None:
        self.members.append(self)


class Echo(WebSocket):
    """Sends back long messages."""

    def on_connect(self) -> None:
        self.buffer_size = 64 * MIB

    def on_read(self, data: bytes) -> None:
        self.write(data)


def open_sockets(port: int, count: int) -> list[socket.socket]:
    opened = []
    for index in range(count):
        # From more than one address: the ports of one do not suffice for large numbers.
        sock = socket.create_connection(("127.0.0.1", port), source_address=(f"127.0.1.{index % 4}", 0))
        sock.sendall(REQUEST)
        while not (data := sock.recv(4096)).endswith(b"\r\n\r\n"):
            assert data
        opened.append(sock)
    return opened


def listen_in(port: int, pipe: Connection) -> None:
    """The other end of a broadcast: opens the sockets, and then reads so many bytes from each as it is told to."""
    raise_limit()
    sockets = open_sockets(port, OPEN)
    poller = select.epoll()
    by_number = {sock.fileno(): sock for sock in sockets}
    for number in by_number:
        poller.register(number, select.EPOLLIN)
    pipe.send("open")
    while (size := pipe.recv()) is not None:
        left = size * OPEN
        while left:
            for number, _ in poller.poll():
                left -= len(by_number[number].recv(65536))
        pipe.send("read")


def raise_limit() -> None:
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))


def resident() -> int:
    """The resident memory of this process, in bytes."""
    return int(pathlib.Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def start(function: object, *arguments: object) -> tuple[Connection, multiprocessing.Process]:
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(target=function, args=(*arguments, theirs))
    process.start()
    return ours, process


def wait_for(engine: Engine, pipe: Connection) -> object:
    while not pipe.poll():
        engine.poll(0.01)
    return pipe.recv()


def measure_broadcast() -> None:
    engine = Engine.instance()
    server = HTTPServer(Member).listen(("127.0.0.1", 0), backlog=4096)
    warm, process = start(open_some, server.local_address[1])
    wait_for(engine, warm)  # what the first connections cost once is not theirs
    warm.send(None)
    process.join()
    while any(member.connected for member in Member.members):
        engine.poll(0.01)
    Member.members.clear()
    before = resident()
    pipe, process = start(listen_in, server.local_address[1])
    wait_for(engine, pipe)
    members = Member.members
    while len(members) < OPEN:
        engine.poll(0.01)
    print(f"idle WebSocket {(resident() - before) / OPEN / 1024:.2f} KiB")
    sockets = [member._connection.socket for member in members]
    bare, pants = [], []
    for _ in range(ROUNDS):
        begin = time.process_time()
        for sock in sockets:
            sock.send(FRAME)
        bare.append(time.process_time() - begin)
        pipe.send(len(FRAME))
        wait_for(engine, pipe)
        begin = time.process_time()
        broadcast(members, MESSAGE)
        engine.poll(0)
        pants.append(time.process_time() - begin)
        assert not any(member.queued_bytes for member in members)
        pipe.send(len(FRAME))
        wait_for(engine, pipe)
    pipe.send(None)
    process.join()
    one, other = (statistics.median(times) / OPEN * 1e6 for times in (bare, pants))
    print(f"broadcast to {OPEN:,}: bare loop {one:.2f} us each, Pants {other:.2f} us = {other / one:.2f} x")
    server.close()


def open_some(port: int, pipe: Connection) -> None:
    sockets = open_sockets(port, 200)
    pipe.send("open")
    pipe.recv()
    for sock in sockets:
        sock.close()


def send_long(port: int, size: int, repeat: int, pipe: Connection) -> None:
    """Sends messages of one frame, and reads their echo."""
    (sock,) = open_sockets(port, 1)
    frame = b"\x82\xff" + size.to_bytes(8, "big") + b"\x12\x34\x56\x78" + bytes(size)
    for _ in range(repeat):
        sender = threading.Thread(target=sock.sendall, args=(frame,))
        sender.start()
        left = size + 10
        while left:
            left -= len(sock.recv(262144))
        sender.join()
    pipe.send("done")


def serve_long(size: int, pipe: Connection) -> None:
    """Prints nothing; sends back the CPU time of one message in seconds, and the growth of memory in bytes."""
    engine = Engine.instance()
    server = HTTPServer(Echo).listen(("127.0.0.1", 0))
    for repeat in (1, 8):  # the second is what counts: the first finds out what memory there is before
        pathlib.Path("/proc/self/clear_refs").write_text("5")
        before, begin = resident(), time.process_time()
        client, process = start(send_long, server.local_address[1], size, repeat)
        wait_for(engine, client)
        process.join()
        if repeat == 1:
            peak = max(peak_resident() - before, 0)
    pipe.send(((time.process_time() - begin) / repeat, peak))


def peak_resident() -> int:
    """The most resident memory that this process has had, in bytes."""
    status = pathlib.Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def measure_long() -> None:
    for mib in LONG:
        pipe, process = start(serve_long, mib * MIB)
        cpu, peak = pipe.recv()
        process.join()
        print(f"echo of {mib:2d} MiB: {cpu / mib * 1e3:.2f} ms a MiB; peak memory {peak / mib / MIB:.2f} x the message")


def main() -> None:
    raise_limit()
    measure_long()
    measure_broadcast()


if __name__ == "__main__":
    main()
