"""Long content through the HTTP client: responses at the program's pace, requests at the server's."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import itertools
import os
import random
import select
import threading
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import brotli
import pytest
import zstandard

from pants.http import HTTPClient
from pants.http.client import (
    ClientLimits,
    HTTPResponse,
    MalformedResponse,
    RequestClosed,
)
from pants.testing import run_until
from tests.http.client_support import sockets_to
from tests.http.peers_support import DEADLINE
from tests.http.rogue_support import Caller, RogueServer, Script, chunked, head, replying, sending
from tests.http.ws_client_support import certificates, status

OK = status("200 OK", content=b"fine")
# More than the kernel keeps for one connection, by far.
MUCH = 64 * 1024 * 1024
# What it may keep, on both ends of a connection, and the client besides.
MOST_HELD = 24 * 1024 * 1024
# Each byte tells a little about its place.
TEXT = b"".join(b"%d bottles of beer on the wall\n" % number for number in range(60_000))

LITTLE = TEXT[:500_000]  # which is kept in memory

ENCODERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": lambda data: brotli.compress(data, quality=4),
    "zstd": lambda data: zstandard.ZstdCompressor().compress(data),
}


def run_for(client: HTTPClient, seconds: float) -> None:
    """Run the engine for a while, in which nothing is to happen."""
    end = time.monotonic() + seconds
    run_until(lambda: time.monotonic() > end, DEADLINE, client.engine)


class Flood:
    """Answers with far more than anybody has room for, and knows how much of it has gone.

    Attributes:
        sent: The bytes that the kernel has taken so far.
        stopped: Whether it takes no more at the moment.
    """

    def __init__(self, start: bytes, block: bytes, count: int, end: bytes = b"") -> None:
        self._start = start
        self._block = block
        self._count = count
        self._end = end
        self.sent = 0
        self.stopped = False

    def __call__(self, caller: Caller) -> None:
        caller.read_request()
        caller.send(self._start)
        for _ in range(self._count):
            rest = memoryview(self._block)
            while rest:
                self.stopped = not select.select([], [caller.sock], [], 0.3)[1]
                if not self.stopped:
                    size = caller.sock.send(rest[:65536])
                    self.sent += size
                    rest = rest[size:]
        self.stopped = False
        caller.send(self._end)


class Taker:
    """An ``on_data`` that pauses after each piece, or never, and writes down what it got."""

    def __init__(self, client: HTTPClient, pause: float | None = None) -> None:
        self.client = client
        self.pause = pause
        self.digest = hashlib.sha256()
        self.size = 0
        self.count = 0
        self.largest = 0
        self.paused = False

    def __call__(self, response: HTTPResponse, data: bytes) -> None:
        assert data
        assert isinstance(data, bytes)
        assert not self.paused, "called while paused"
        self.digest.update(data)
        self.size += len(data)
        self.count += 1
        self.largest = max(self.largest, len(data))
        if self.pause is not None:
            self.paused = True
            response.pause_body()
            self.client.engine.defer(self.pause, self._resume, response)

    def _resume(self, response: HTTPResponse) -> None:
        self.paused = False
        response.resume_body()


@pytest.fixture
def client() -> HTTPClient:
    return HTTPClient()


# --- Completeness and order -------------------------------------------------------------------------------------

FRAMINGS: dict[str, Callable[[bytes, list[str]], Script]] = {
    "a length": lambda data, fields: replying(status("200 OK", *fields, content=data)),
    "chunks": lambda data, fields: replying(
        chunked(*[data[at : at + 7001] for at in range(0, len(data), 7001)], fields=fields)
    ),
    "the end": lambda data, fields: sending(head("200 OK", *fields) + data),
}


@pytest.mark.parametrize("pause", [None, 0.0], ids=["at full speed", "with pauses"])
@pytest.mark.parametrize("coding", [None, *ENCODERS])
@pytest.mark.parametrize("framing", FRAMINGS)
def test_all_of_it_comes_and_in_order(
    framing: str, coding: str | None, pause: float | None, client: HTTPClient
) -> None:
    data = TEXT if coding is None else ENCODERS[coding](TEXT)
    script = FRAMINGS[framing](data, [] if coding is None else [f"Content-Encoding: {coding}"])
    with RogueServer(script) as server:
        taker = Taker(client, pause)
        told: list[int] = []
        response = client.get(server.url, on_data=taker, on_response=lambda _: told.append(taker.size)).wait(DEADLINE)
        assert taker.digest.digest() == hashlib.sha256(TEXT).digest()
        assert told == [len(TEXT)]  # the end is told when all has been handed out
        assert response.length == len(data)
        assert response.content is None  # nothing is kept
        assert response.file is None
        assert response.text is None
        assert list(response.iter_content(100)) == []


def test_all_of_it_comes_over_tls() -> None:
    with RogueServer(replying(status("200 OK", content=TEXT)), context=certificates().good) as server:
        client = HTTPClient(ssl_options={"ca_certs": certificates().ca})
        for pause in (None, 0.0):
            taker = Taker(client, pause)
            client.get(server.url, on_data=taker).wait(DEADLINE)
            assert taker.digest.digest() == hashlib.sha256(TEXT).digest()
        assert server.accepted == 1


@pytest.mark.parametrize("where", ["client", "session", "request"])
def test_on_data_is_given_anywhere(where: str) -> None:
    pieces: list[bytes] = []
    hook: dict[str, Any] = {"on_data": lambda _, data: pieces.append(data)}
    with RogueServer(replying(OK)) as server:
        client = HTTPClient(**hook) if where == "client" else HTTPClient()
        session = client.session(**hook) if where == "session" else client.session()
        session.get(server.url, **(hook if where == "request" else {})).wait(DEADLINE)
        assert pieces == [b"fine"]


@pytest.mark.parametrize("answer", [head("200 OK", "Content-Length: 0"), chunked(), head("204 No Content")])
def test_without_content_it_is_not_called(answer: bytes, client: HTTPClient) -> None:
    with RogueServer(replying(answer)) as server:
        taker = Taker(client, 0.0)
        assert client.get(server.url, on_data=taker).wait(DEADLINE).content is None
        assert taker.count == 0


def test_for_a_head_it_is_not_called(client: HTTPClient) -> None:
    with RogueServer(replying(head("200 OK", "Content-Length: 4"))) as server:
        taker = Taker(client, 0.0)
        for _ in range(2):
            assert client.head(server.url, on_data=taker).wait(DEADLINE).content is None
        assert taker.count == 0
        assert server.accepted == 1


def test_a_redirect_that_is_followed_is_not_handed_out(client: HTTPClient) -> None:
    with RogueServer(replying(status("302 Found", "Location: /", content=b"moved"), OK)) as server:
        pieces: list[bytes] = []
        response = client.get(server.url, on_data=lambda _, data: pieces.append(data)).wait(DEADLINE)
        assert pieces == [b"fine"]
        assert response.history[0].content == b"moved"


@pytest.mark.parametrize("coding", [None, "gzip"])
def test_progress_is_told_in_bytes_as_they_came(coding: str | None, client: HTTPClient) -> None:
    data = LITTLE if coding is None else gzip.compress(LITTLE)
    fields = [] if coding is None else ["Content-Encoding: gzip"]
    for framing, total in (("a length", len(data)), ("chunks", 0), ("the end", 0)):
        with RogueServer(FRAMINGS[framing](data, fields)) as server:
            told: list[tuple[int, int]] = []
            client.get(
                server.url, on_progress=lambda _, received, total, told=told: told.append((received, total))
            ).wait(DEADLINE)
            received = [entry[0] for entry in told]
            assert received == sorted(set(received))
            assert received[-1] == len(data)
            assert {entry[1] for entry in told} == {total}


# --- Pausing ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("secure", [False, True])
@pytest.mark.parametrize("where", ["on_headers", "on_data"])
def test_a_server_is_stopped_by_a_pause(where: str, secure: bool) -> None:
    block = random.Random(1).randbytes(1024 * 1024)
    flood = Flood(head("200 OK", f"Content-Length: {MUCH}"), block, MUCH // len(block))
    sizes: list[int] = []
    digest = hashlib.sha256()

    def take(response: HTTPResponse, data: bytes) -> None:
        sizes.append(len(data))
        digest.update(data)
        if where == "on_data" and len(sizes) == 1:
            response.pause_body()

    with RogueServer(flood, context=certificates().good if secure else None) as server:
        client = HTTPClient(ssl_options={"ca_certs": certificates().ca})
        exchange = client.get(
            server.url,
            on_data=take,
            on_headers=lambda response: response.pause_body() if where == "on_headers" else None,
        )
        run_until(lambda: flood.stopped, DEADLINE)
        sent, count = flood.sent, len(sizes)
        assert count == (0 if where == "on_headers" else 1)
        run_for(client, 0.4)
        assert flood.stopped
        assert flood.sent == sent < MOST_HELD
        assert len(sizes) == count
        assert exchange.response is not None
        exchange.response.resume_body()
        response = exchange.wait(DEADLINE)
        assert sum(sizes) == response.length == MUCH
        expected = hashlib.sha256()
        for _ in range(MUCH // len(block)):
            expected.update(block)
        assert digest.digest() == expected.digest()


def test_memory_does_not_grow_with_what_is_handed_out(client: HTTPClient) -> None:
    flood = Flood(head("200 OK"), bytes(1024 * 1024), 64)
    with RogueServer(flood) as server:
        taker = Taker(client, 0.0)
        tracemalloc.start()
        try:
            client.get(server.url, on_data=taker).wait(DEADLINE)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert taker.size == MUCH
        assert peak < 8 * 1024 * 1024


@pytest.mark.parametrize("coding", ENCODERS)
def test_little_that_decodes_to_much_is_handed_out_piece_by_piece(coding: str) -> None:
    size = 32 * 1024 * 1024
    content = ENCODERS[coding](bytes(size))
    client = HTTPClient(limits=ClientLimits(ratio=1e9))
    with RogueServer(replying(status("200 OK", f"Content-Encoding: {coding}", content=content), OK)) as server:
        taker = Taker(client, 0.0)
        tracemalloc.start()
        try:
            client.get(server.url, on_data=taker).wait(DEADLINE)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert taker.size == size
        assert taker.count >= 32
        assert taker.largest <= 1024 * 1024
        assert peak < 8 * 1024 * 1024
        # The connection is none the worse for it.
        assert client.get(server.url).wait(DEADLINE).content == b"fine"
        assert server.accepted == 1


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
def test_a_pause_holds_for_what_has_arrived_and_is_not_decoded(coding: str, client: HTTPClient) -> None:
    # All of it is there, in a single segment; still no more than was asked for comes out.
    content = ENCODERS[coding](TEXT)
    with RogueServer(replying(status("200 OK", f"Content-Encoding: {coding}", content=content))) as server:
        pieces: list[bytes] = []
        responses: list[HTTPResponse] = []

        def take(response: HTTPResponse, data: bytes) -> None:
            pieces.append(data)
            response.pause_body()

        exchange = client.get(server.url, on_data=take, on_response=responses.append)
        for count in range(1, 6):
            run_until(lambda: len(pieces) == count, DEADLINE)  # noqa: B023
            run_for(client, 0.03)
            assert len(pieces) == count
            assert not responses
            assert exchange.response is not None
            exchange.response.resume_body()
        response = exchange.response
        while not exchange.done:
            assert response is not None
            response.resume_body()
            client.engine.poll(0.01)
        assert b"".join(pieces) == TEXT


@pytest.mark.parametrize("coding", [None, "gzip"])
def test_a_pause_at_the_very_end_holds_the_end_back(coding: str | None, client: HTTPClient) -> None:
    content = b"fine" if coding is None else gzip.compress(b"fine")
    fields = [] if coding is None else [f"Content-Encoding: {coding}"]
    for script in (
        replying(status("200 OK", *fields, content=content)),
        replying(chunked(content, fields=fields)),
        sending(head("200 OK", *fields) + content),
    ):
        with RogueServer(script) as server:
            pieces: list[bytes] = []
            responses: list[HTTPResponse] = []

            def take(response: HTTPResponse, data: bytes, pieces: list[bytes] = pieces) -> None:
                pieces.append(data)
                response.pause_body()

            exchange = client.get(server.url, on_data=take, on_response=responses.append)
            run_until(lambda: pieces, DEADLINE)  # noqa: B023
            run_for(client, 0.1)
            assert not exchange.done
            assert not responses
            assert exchange.response is not None
            exchange.response.resume_body()
            response = exchange.wait(DEADLINE)
            assert pieces == [b"fine"]
            assert responses == [response]
            response.pause_body()  # which does nothing any more
            response.resume_body()


def test_a_pause_in_on_headers_of_an_answer_without_content(client: HTTPClient) -> None:
    with RogueServer(replying(head("200 OK", "Content-Length: 0"), OK)) as server:

        def pause(response: HTTPResponse) -> None:
            response.pause_body()
            client.engine.defer(0.05, response.resume_body)

        assert client.get(server.url, on_headers=pause, on_data=lambda *_: None).wait(DEADLINE).content is None
        assert client.get(server.url).wait(DEADLINE).content == b"fine"


def test_pausing_and_resuming_in_one_go(client: HTTPClient) -> None:
    with RogueServer(replying(status("200 OK", content=TEXT))) as server:
        pieces: list[bytes] = []

        def take(response: HTTPResponse, data: bytes) -> None:
            pieces.append(data)
            for _ in range(3):
                response.pause_body()
                response.pause_body()
                response.resume_body()
                response.resume_body()

        client.get(server.url, on_data=take).wait(DEADLINE)
        assert b"".join(pieces) == TEXT


def test_resuming_and_pausing_before_the_loop_goes_on(client: HTTPClient) -> None:
    with RogueServer(sending(head("200 OK"), *[b"x"] * 20, pause=0.01)) as server:
        taken: list[bytes] = []

        def take(response: HTTPResponse, data: bytes) -> None:
            taken.append(data)
            response.pause_body()

        exchange = client.get(server.url, on_data=take)
        run_until(lambda: taken, DEADLINE)
        response = exchange.response
        assert response is not None
        response.resume_body()
        response.pause_body()
        count = len(taken)
        run_for(client, 0.1)
        assert len(taken) == count
        while not exchange.done:
            response.resume_body()
            client.engine.poll(0.01)
        assert b"".join(taken) == b"x" * 20


def test_one_paused_response_holds_up_no_other(client: HTTPClient) -> None:
    with RogueServer(replying(status("200 OK", content=LITTLE))) as server:
        exchange = client.get(server.url, on_data=lambda response, _: response.pause_body())
        run_until(lambda: exchange.response, DEADLINE)
        for _ in range(3):
            assert client.get(server.url).wait(DEADLINE).content == LITTLE
        assert not exchange.done
        exchange.cancel()


def test_polling_inside_on_data_brings_nothing_out_of_order(client: HTTPClient) -> None:
    for coding in (None, "gzip"):
        data = TEXT if coding is None else gzip.compress(TEXT)
        script = FRAMINGS["chunks"](data, [] if coding is None else [f"Content-Encoding: {coding}"])
        with RogueServer(script) as server:
            pieces: list[bytes] = []
            inside = False

            def take(_response: HTTPResponse, data: bytes, pieces: list[bytes] = pieces) -> None:
                nonlocal inside
                assert not inside
                inside = True
                pieces.append(data)
                for _ in range(3):
                    client.engine.poll(0.001)
                inside = False

            client.get(server.url, on_data=take).wait(DEADLINE)
            assert b"".join(pieces) == TEXT


# --- What goes wrong --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("late", [False, True], ids=["at once", "after a pause"])
@pytest.mark.parametrize("coding", [None, "gzip"])
def test_what_on_data_raises_ends_the_request(coding: str | None, late: bool, client: HTTPClient) -> None:
    content = TEXT if coding is None else gzip.compress(TEXT)
    fields = [] if coding is None else [f"Content-Encoding: {coding}"]
    calls: list[object] = []

    def take(response: HTTPResponse, data: bytes) -> None:
        calls.append(len(data))
        if late and len(calls) == 1:
            response.pause_body()
            client.engine.defer(0.01, response.resume_body)
            return
        raise ZeroDivisionError("spam")

    def failed(response: HTTPResponse, error: Exception) -> None:
        assert response.status_code == 200
        calls.append(error)

    with RogueServer(replying(status("200 OK", *fields, content=content)), replying(OK)) as server:
        exchange = client.get(server.url, on_data=take, on_error=failed, on_response=calls.append)
        run_until(lambda: exchange.done, DEADLINE)
        assert isinstance(calls[-1], ZeroDivisionError)
        assert len(calls) == (3 if late else 2)
        assert exchange.error is calls[-1]
        assert client.get(server.url).wait(DEADLINE).content is not None
        assert len(calls) == (3 if late else 2)


@pytest.mark.parametrize("rest, kind", [(b"", RequestClosed), (b"xyz\r\n", MalformedResponse)])
def test_what_came_before_an_error_has_been_handed_out(rest: bytes, kind: type[Exception], client: HTTPClient) -> None:
    calls: list[object] = []
    taken = threading.Event()

    def script(caller: Caller) -> None:
        caller.read_request()
        caller.send(head("200 OK", "Transfer-Encoding: chunked") + b"4\r\nspam\r\n")
        assert taken.wait(DEADLINE)
        caller.send(rest)

    def take(_: HTTPResponse, data: bytes) -> None:
        calls.append(data)
        taken.set()

    with RogueServer(script) as server:
        client.get(server.url, on_data=take, on_error=lambda _, error: calls.append(error))
        run_until(lambda: len(calls) == 2, DEADLINE)
        assert calls[0] == b"spam"
        assert isinstance(calls[1], kind)


def test_an_end_that_comes_too_early_is_told_after_a_pause(client: HTTPClient) -> None:
    errors: list[Exception] = []
    taken: list[bytes] = []
    with RogueServer(sending(head("200 OK", "Content-Length: 9") + b"spam")) as server:

        def take(response: HTTPResponse, data: bytes) -> None:
            taken.append(data)
            response.pause_body()
            client.engine.defer(0.2, response.resume_body)

        client.get(server.url, on_data=take, on_error=lambda _, error: errors.append(error))
        run_until(lambda: errors, DEADLINE)
        assert isinstance(errors[0], RequestClosed)
        assert taken == [b"spam"]


def test_giving_up_a_paused_response_lets_the_server_go(client: HTTPClient) -> None:
    flood = Flood(head("200 OK"), bytes(1024 * 1024), 1000)
    with RogueServer(flood) as server:
        exchange = client.get(server.url, on_data=lambda response, _: response.pause_body())
        run_until(lambda: flood.stopped, DEADLINE)
        response = exchange.response
        exchange.cancel()
        run_until(lambda: not sockets_to(server.port), DEADLINE)
        assert response is not None
        response.resume_body()
        client.engine.poll(0)
        assert response.content is None


# --- Requests: what is on the wire ------------------------------------------------------------------------------


class Recorder:
    """A script that writes down requests as they are on the wire."""

    def __init__(self) -> None:
        self.heads: list[bytes] = []
        self.bodies: list[bytes] = []

    def __call__(self, caller: Caller) -> None:
        while True:
            self.heads.append(caller.read_head())
            body = b""
            if "Transfer-Encoding" in caller:
                while not body.endswith(b"0\r\n\r\n"):
                    body += caller.read(1)
            elif "Content-Length" in caller:
                body = caller.read(int(caller["Content-Length"]))
            self.bodies.append(body)
            caller.send(OK)

    def fields(self) -> dict[str, str]:
        """Those of the last head that have to do with the body."""
        lines = self.heads[-1].decode("latin-1").split("\r\n")[1:-2]
        pairs = [line.split(": ", 1) for line in lines]
        return {name: value for name, value in pairs if name.startswith(("Content", "Transfer"))}


class Pieces:
    """Something that can be iterated over more than once."""

    def __iter__(self) -> Iterator[bytes]:
        return iter([b"spam", b"eggs"])


def generator() -> Iterator[Any]:
    yield b"spam"
    yield bytearray(b" and ")
    yield memoryview(b"eggs")
    yield "\u00e4\u20ac"


ITERABLES: dict[str, tuple[Callable[[], Any], bytes]] = {
    "an iterator": (lambda: iter([b"spam", b"eggs"]), b"4\r\nspam\r\n4\r\neggs\r\n0\r\n\r\n"),
    "a list": (lambda: [b"spam", b"eggs"], b"4\r\nspam\r\n4\r\neggs\r\n0\r\n\r\n"),
    "an iterable": (Pieces, b"4\r\nspam\r\n4\r\neggs\r\n0\r\n\r\n"),
    "a generator": (
        generator,
        b"4\r\nspam\r\n5\r\n and \r\n4\r\neggs\r\n5\r\n\xc3\xa4\xe2\x82\xac\r\n0\r\n\r\n",
    ),
    "long pieces": (
        lambda: iter([b"x" * 26, b"y" * 5000]),
        b"1a\r\n" + b"x" * 26 + b"\r\n1388\r\n" + b"y" * 5000 + b"\r\n0\r\n\r\n",
    ),
    # RFC 9112 §7.1: an empty chunk would be the last.
    "empty pieces": (lambda: iter([b"", b"spam", b"", "", b"eggs", b""]), b"4\r\nspam\r\n4\r\neggs\r\n0\r\n\r\n"),
    "nothing": (lambda: iter([]), b"0\r\n\r\n"),
}


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "GET"])
@pytest.mark.parametrize("name", ITERABLES)
def test_iterables_are_sent_in_chunks(name: str, method: str, client: HTTPClient) -> None:
    make, expected = ITERABLES[name]
    recorder = Recorder()
    with RogueServer(recorder) as server:
        for _ in range(2):  # the second finds the connection in order
            assert client.request(method, server.url, data=make()).wait(DEADLINE).content == b"fine"
            assert recorder.bodies[-1] == expected
            assert recorder.fields()["Transfer-Encoding"] == "chunked"
            assert "Content-Length" not in recorder.fields()
        assert server.accepted == 1


def test_a_type_can_be_named_for_an_iterable(client: HTTPClient) -> None:
    recorder = Recorder()
    with RogueServer(recorder) as server:
        client.post(server.url, data=iter([b"a,b"]), headers={"Content-Type": "text/csv"}).wait(DEADLINE)
        assert recorder.fields() == {"Transfer-Encoding": "chunked", "Content-Type": "text/csv"}


@pytest.mark.parametrize(
    "data, kind",
    [
        (lambda: (1 // 0 for _ in "x"), ZeroDivisionError),
        (lambda: itertools.chain([b"spam"], (1 // 0 for _ in "x")), ZeroDivisionError),
        (lambda: itertools.chain([bytes(70_000)] * 100, (1 // 0 for _ in "x")), ZeroDivisionError),
        (lambda: iter([b"spam", 5]), TypeError),
        (lambda: iter([None]), TypeError),
    ],
)
def test_what_an_iterable_raises_reaches_on_error(
    data: Callable[[], Any], kind: type[Exception], client: HTTPClient
) -> None:
    received: list[bytes] = []

    def script(caller: Caller) -> None:
        caller.read_head()
        received.append(caller.read_rest())

    errors: list[Exception] = []
    with RogueServer(script, replying(OK)) as server:
        client.post(server.url, data=data(), on_error=lambda _, error: errors.append(error))
        run_until(lambda: errors, DEADLINE)
        assert isinstance(errors[0], kind)
        assert client.get(server.url).wait(DEADLINE).content == b"fine"
    # The server must be able to tell that it has not got all of it.
    assert not any(body.endswith(b"0\r\n\r\n") for body in received)


def test_an_iterable_that_fails_on_a_connection_that_was_used_before(client: HTTPClient) -> None:
    errors: list[Exception] = []
    with RogueServer(replying(OK)) as server:
        client.get(server.url).wait(DEADLINE)
        client.post(server.url, data=(1 // 0 for _ in "x"), on_error=lambda _, error: errors.append(error))
        assert not errors  # not inside the call
        run_until(lambda: errors, DEADLINE)
        assert isinstance(errors[0], ZeroDivisionError)
        assert client.get(server.url).wait(DEADLINE).content == b"fine"
        assert server.requests[-1].connection == 1


def test_pieces_are_taken_at_the_pace_of_the_server(client: HTTPClient) -> None:
    go_on = threading.Event()
    taken = 0
    piece = bytes(65536)
    count = MUCH // len(piece)

    def pieces() -> Iterator[bytes]:
        nonlocal taken
        for _ in range(count):
            taken += 1
            yield piece

    def script(caller: Caller) -> None:
        request = caller.read_request(body=False)
        assert go_on.wait(DEADLINE)
        caller.read_body(request)
        caller.send(OK)

    with RogueServer(script) as server:
        exchange = client.post(server.url, data=pieces())
        run_until(lambda: server.requests, DEADLINE)
        before = -1
        while before != taken:
            before = taken
            run_for(client, 0.2)
        assert 0 < taken * len(piece) < MOST_HELD
        go_on.set()
        assert exchange.wait(DEADLINE).content == b"fine"
        assert taken == count
        assert len(server.requests[0].body) == MUCH


def test_nothing_is_taken_of_an_iterable_before_there_is_a_connection() -> None:
    gate = threading.Event()

    def script(caller: Caller) -> None:
        while True:
            caller.read_request()
            assert gate.wait(DEADLINE)
            caller.send(OK)

    taken: list[bool] = []

    def pieces() -> Iterator[bytes]:
        taken.append(True)
        yield b"spam"

    with RogueServer(script) as server:
        client = HTTPClient(max_connections=1)
        client.get(server.url)
        exchange = client.post(server.url, data=pieces())
        run_until(lambda: server.requests, DEADLINE)
        run_for(client, 0.05)
        assert not taken
        gate.set()
        exchange.wait(DEADLINE)
        assert server.requests[-1].body == b"spam"


def test_uploads_take_no_memory(client: HTTPClient, tmp_path: Path) -> None:
    piece = bytes(65536)
    size = 48 * 1024 * 1024
    with open(tmp_path / "file", "wb") as hole:
        hole.truncate(size)

    def script(caller: Caller) -> None:
        while True:
            caller.read_head()
            if "Content-Length" in caller:
                left = int(caller["Content-Length"])
                while left:
                    left -= len(caller.sock.recv(min(left, 65536)))
            else:
                while length := int(caller.read_line(), 16):
                    left = length + 2
                    while left:
                        left -= len(caller.sock.recv(min(left, 65536)))
                caller.read_line()
            caller.send(OK)

    with RogueServer(script) as server, open(tmp_path / "file", "rb") as file:
        tracemalloc.start()
        try:
            client.post(server.url, data=itertools.repeat(piece, size // len(piece))).wait(DEADLINE)
            client.put(server.url, data=file).wait(DEADLINE)
            client.post(server.url, files={"a": file}, data={"b": "c"}).wait(DEADLINE)
            client.post(server.url, files={"a": _Undescribed(size)}).wait(DEADLINE)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < 8 * 1024 * 1024
        assert server.accepted == 1


class _Undescribed(io.RawIOBase):
    """A file of zeros without a descriptor, which can be searched."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        self._at = offset + (0, self._at, self._size)[whence]
        return self._at

    def read(self, size: int = -1, /) -> bytes:
        count = min(self._size - self._at, size) if size >= 0 else self._size - self._at
        self._at += count
        return bytes(count)


# --- Requests: files --------------------------------------------------------------------------------------------

SPAM = b"spam and eggs\n" * 10_000


def opened(path: Path) -> Any:
    return open(path, "rb")


def unbuffered(path: Path) -> Any:
    return open(path, "rb", buffering=0)


def from_the_middle(path: Path) -> Any:
    file = opened(path)
    file.seek(1000)
    return file


def at_the_end(path: Path) -> Any:
    file = opened(path)
    file.seek(0, os.SEEK_END)
    return file


def as_text(path: Path) -> Any:
    return open(path, encoding="ascii", newline="")


def written(path: Path) -> Any:
    """A file that is open for both, and has something in its buffer."""
    file = open(path, "r+b")  # noqa: SIM115 - whoever asked for it closes it
    file.seek(0, os.SEEK_END)
    file.write(b"more")
    file.seek(0)
    return file


def piped(_: Path) -> Any:
    reader, writer = os.pipe()

    def write() -> None:
        with os.fdopen(writer, "wb") as file:
            file.write(SPAM)

    threading.Thread(target=write).start()
    return os.fdopen(reader, "rb")


FILES: dict[str, tuple[Callable[[Path], Any], bytes, bool]] = {
    "a file": (opened, SPAM, True),
    "an unbuffered file": (unbuffered, SPAM, True),
    "a file from its middle": (from_the_middle, SPAM[1000:], True),
    "a file at its end": (at_the_end, b"", True),
    "a text file": (as_text, SPAM, True),
    "a file that was written to": (written, SPAM + b"more", True),
    "BytesIO": (lambda _: io.BytesIO(SPAM), SPAM, True),
    "StringIO": (lambda _: io.StringIO("\u00e4" * 1000), "\u00e4".encode() * 1000, True),
    "a compressed file": (lambda _: gzip.GzipFile(fileobj=io.BytesIO(gzip.compress(SPAM))), SPAM, False),
    "a pipe": (piped, SPAM, False),
    "a file without a descriptor": (lambda _: _Undescribed(100_000), bytes(100_000), True),
}


@pytest.mark.parametrize("secure", [False, True])
@pytest.mark.parametrize("name", FILES)
def test_files_as_content(name: str, secure: bool, tmp_path: Path) -> None:
    make, expected, has_length = FILES[name]
    (tmp_path / "file").write_bytes(SPAM)
    with RogueServer(replying(OK), context=certificates().good if secure else None) as server:
        client = HTTPClient(ssl_options={"ca_certs": certificates().ca})
        with contextlib.closing(make(tmp_path / "file")) as file:
            assert client.put(server.url, data=file).wait(DEADLINE).content == b"fine"
        (request,) = server.requests
        assert request.body == expected
        assert ("Content-Length" in request) == has_length
        assert ("Transfer-Encoding" in request) != has_length
        # The connection is in order.
        assert client.get(server.url).wait(DEADLINE).content == b"fine"
        assert server.accepted == 1


@pytest.mark.parametrize("name", FILES)
def test_files_in_forms(name: str, client: HTTPClient, tmp_path: Path) -> None:
    make, expected, _ = FILES[name]
    (tmp_path / "file").write_bytes(SPAM)
    with RogueServer(replying(OK)) as server:
        with contextlib.closing(make(tmp_path / "file")) as file:
            files = {"first": ("a.txt", file), "second": ("b.txt", b"eggs")}
            client.post(server.url, files=files, data={"c": "d"}).wait(DEADLINE)
        (request,) = server.requests
        boundary = request["Content-Type"].partition("boundary=")[2].encode()
        parts = request.body.split(b"--" + boundary)
        assert parts[0] == b""
        assert parts[-1] == b"--\r\n"
        assert [part.partition(b"\r\n\r\n")[2] for part in parts[1:-1]] == [b"d\r\n", expected + b"\r\n", b"eggs\r\n"]


def test_a_file_may_be_closed_right_after_the_call(client: HTTPClient, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(SPAM)
    with RogueServer(replying(OK)) as server:
        with open(tmp_path / "file", "rb") as file:
            exchanges = [client.put(server.url, data=file), client.post(server.url, files={"a": file})]
        for exchange in exchanges:
            exchange.wait(DEADLINE)
        assert SPAM in (request.body for request in server.requests)
        assert all(SPAM in request.body for request in server.requests)


def test_a_file_that_shrinks_ends_the_request(client: HTTPClient, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(MUCH))
    errors: list[Exception] = []
    go_on = threading.Event()

    def script(caller: Caller) -> None:
        caller.read_request(body=False)
        assert go_on.wait(DEADLINE)
        caller.read_rest()

    with RogueServer(script, replying(OK)) as server:
        with open(path, "rb") as file:
            client.put(server.url, data=file, on_error=lambda _, error: errors.append(error))
        run_until(lambda: server.requests, DEADLINE)
        os.truncate(path, 1000)
        go_on.set()
        run_until(lambda: errors, DEADLINE)
        assert len(errors) == 1
        assert client.get(server.url).wait(DEADLINE).content == b"fine"


def test_a_file_is_sent_while_another_request_is_answered(client: HTTPClient, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(MUCH))
    go_on = threading.Event()

    def script(caller: Caller) -> None:
        request = caller.read_request(body=False)
        assert go_on.wait(DEADLINE)
        caller.read_body(request)
        caller.send(OK)

    with RogueServer(script, replying(OK)) as server, open(tmp_path / "file", "rb") as file:
        exchange = client.put(server.url, data=file)
        run_until(lambda: server.requests, DEADLINE)
        assert client.get(server.url).wait(DEADLINE).content == b"fine"
        assert not exchange.done
        go_on.set()
        exchange.wait(DEADLINE)
        assert len(server.requests[0].body) == MUCH
