"""Whatever happens when: when all clients have read and ended, and all programs answered, nothing is left."""

from __future__ import annotations

import contextlib
import logging
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pants.http import HTTPRequest, Limits, Refused
from pants.testing import Peer
from tests.http.support import CHUNKED, Site, get, post, site

FORM = b"--x\r\nContent-Disposition: form-data; name=a; filename=b\r\n\r\n%b\r\n--x--\r\n" % (b"hello" * 2000)
REQUESTS = [
    get(),
    get(line=b"HEAD /x HTTP/1.1"),
    get(b"Connection: close"),
    get(line=b"GET / HTTP/1.0"),
    post(b"a" * 10),
    post(b"a" * 100_000),
    post(b"5\r\naaaaa\r\n0\r\nT: x\r\n\r\n", CHUNKED),
    get(b"Range: bytes=0-99999,150000-250000"),
    get(b"Expect: 100-continue", b"Content-Length: 5", line=b"PUT / HTTP/1.1") + b"aaaaa",
    post(FORM, b"Content-Type: multipart/form-data; boundary=x", b"Content-Length: %d" % len(FORM)),
    get(b"X"),
]


class Program:
    """Handlers that answer, or not, in every way there is; some of it later."""

    def __init__(self, rnd: random.Random) -> None:
        self.rnd = rnd
        self.later: list[Callable[[], object]] = []

    def handle(self, request: HTTPRequest) -> None:
        ways = ["respond"] * 4 + ["file", "stream", "fail", "cut", "refuse", "finish", "close", "poll", "wait", "form"]
        self.act(request, self.rnd.choice(ways))

    def on_head(self, request: HTTPRequest) -> None:
        chance = self.rnd.random()
        if chance < 0.2:
            request.on_data = lambda _data: self.pause(request) if self.rnd.random() < 0.3 else None
        elif chance < 0.3:
            self.pause(request)
        elif chance < 0.4:
            self.act(request, self.rnd.choice(["respond", "file", "stream", "refuse", "fail", "wait"]))

    def pause(self, request: HTTPRequest) -> None:
        request.pause_body()
        self.later.append(request.resume_body)

    def answer_late(self, request: HTTPRequest) -> None:
        if not request.finished and not request.code:
            self.act(request, self.rnd.choice(["respond", "file", "stream", "finish", "close"]))

    def act(self, request: HTTPRequest, way: str) -> None:
        if way == "respond":
            request.send_response("ok" * self.rnd.choice([1, 100, 50_000]))
        elif way == "file":
            request.send_file(self.rnd.choice(["large", "small"]))
        elif way == "stream":
            self.stream(request)
        elif way == "fail":
            raise ValueError
        elif way == "cut":
            request.send("part")
            raise ValueError
        elif way == "refuse":
            raise Refused(400, "no")
        elif way == "finish":
            request.finish()
        elif way == "close":
            request.connection.close()
        elif way == "poll":
            for _ in range(3):
                request.connection.engine.poll(0)
            request.send_response("polled")
        elif way == "wait":
            self.later.append(lambda: self.answer_late(request))
        else:
            request.send_response(f"{request.post} {len(request.files)}")

    def stream(self, request: HTTPRequest) -> None:
        left = self.rnd.randint(1, 6)

        def more() -> None:
            nonlocal left
            left -= 1
            if request.finished:
                return
            if left <= 0:
                request.on_drain = None
                request.finish()
            else:
                request.send(b"y" * self.rnd.choice([1, 1000, 70_000]))

        request.on_drain = more
        request.send_headers({})
        more()


def play(rnd: random.Random, web: Site, program: Program) -> list[Peer]:
    """Let clients and programs do one thing after another; return the clients that are left."""
    clients: list[tuple[Peer, bytearray]] = []
    for _ in range(rnd.randint(5, 60)):
        chance = rnd.random()
        if chance < 0.2 or not clients:
            peer = web.connect()
            if rnd.random() < 0.3:
                peer.window = rnd.choice([1, 100, 5000])
            clients.append((peer, bytearray()))
        client = rnd.choice(clients)
        peer, unsent = client
        try:
            if chance < 0.6:
                unsent += rnd.choice(REQUESTS) * rnd.choice([1, 1, 1, 3, 40])
                count = rnd.choice([1, 50, len(unsent), len(unsent)])
                data = bytes(unsent[:count])
                del unsent[:count]
                peer.send(data)
            elif chance < 0.65:
                peer.end()
            elif chance < 0.7:
                clients.remove(client)
                peer.reset()
            elif chance < 0.78:
                peer.window = rnd.choice([None, 1000, 200_000])
                peer.take()
            elif chance < 0.9 and program.later:
                program.later.pop(rnd.randrange(len(program.later)))()
            else:
                web.engine.advance(rnd.choice([0, 0.1, 5, 40]))
        except ConnectionError:
            clients = [other for other in clients if other is not client]
        for connection in web.server.channels.values():
            assert len(connection._held or b"") <= 3 * 262_144  # type: ignore[attr-defined]
    return [peer for peer, _ in clients]


@pytest.fixture
def quiet() -> Iterator[None]:
    """The programs here fail on purpose, and often."""
    logging.getLogger("pants.http").propagate, before = False, logging.getLogger("pants.http").propagate
    yield
    logging.getLogger("pants.http").propagate = before


@pytest.mark.parametrize("seed", range(150))
def test_nothing_is_left_in_the_end(seed: int, quiet: None, tmp_path: Path) -> None:
    rnd = random.Random(seed)
    program = Program(rnd)
    (tmp_path / "large").write_bytes(b"x" * 300_000)
    (tmp_path / "small").write_bytes(b"x" * 3000)
    options: dict[str, Any] = {
        "limits": Limits(spool_size=rnd.choice([10, 1_000_000])),
        "compression": rnd.random() < 0.3,
        "file_root": tmp_path,
    }
    with site(program.handle, head_handler=program.on_head, **options) as web:
        for peer in play(rnd, web, program):
            peer.window = None
            with contextlib.suppress(ConnectionError):
                peer.end()
        for _ in range(60):
            while program.later:
                program.later.pop()()
            web.engine.advance(10)
        assert not web.server.channels


def test_what_is_held_back_of_pipelined_requests_is_bounded() -> None:
    """Also where they are answered one by one, a little later."""
    with site(lambda request: request.connection.engine.defer(0.001, request.send_response, "a")) as web:
        peer = web.connect()
        for _ in range(200):
            peer.send(get() * 400)
            [connection] = web.server.channels.values()
            assert len(connection._held or b"") <= 3 * 65536  # type: ignore[attr-defined]
            web.engine.advance(0.01)
