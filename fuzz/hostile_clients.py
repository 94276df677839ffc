"""The clients of hostile_load.py: what each of them does to a server.

An attack is a coroutine that is given an `Attacker`. It may end by any OSError, for the server may cut it off at any
moment. Where the server has to, the attack waits for that, and raises `NotCutOffError` if it waits in vain.
"""

from __future__ import annotations

import asyncio
import collections
import itertools
import random
import socket
import struct
from collections.abc import Awaitable, Callable, Iterator
from typing import Final, Self

# Seconds in which the server has to end a connection where a deadline of its own, of one or two seconds, has passed: it
# may be short of descriptors, or of a processor.
END_DEADLINE: Final = 45.0
# Seconds that a client holds what the server would like to have back, at most.
HOLD: Final = 4.0

RESET: Final = struct.pack("ii", 1, 0)  # for SO_LINGER: a close is a reset

HOST: Final = b"Host: a\r\n"
CHUNKED: Final = b"Transfer-Encoding: chunked\r\n"
MULTIPART: Final = b"Content-Type: multipart/form-data; boundary=B\r\n"
FORM: Final = b"Content-Type: application/x-www-form-urlencoded\r\n"
FILE_PART: Final = b'--B\r\nContent-Disposition: form-data; name="f"; filename="f.txt"\r\n\r\n'
# Where bodies are sent to, and with which fields.
UPLOADS: Final = ((b"/upload", MULTIPART), (b"/large", MULTIPART), (b"/body", b""), (b"/sink", b""), (b"/early", b""))


class NotCutOffError(Exception):
    """The server has not ended a connection in time."""


class WrongAnswerError(Exception):
    """The server has answered in a way that it should not have."""


class Wire:
    """A connection to the server, from the hostile side."""

    def __init__(self, sock: socket.socket, answers: collections.Counter[bytes]) -> None:
        self.sock = sock
        self.answers = answers
        self.beginning = b""  # of what was received
        self.loop = asyncio.get_running_loop()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exception: object) -> None:
        self.close()

    def close(self, reset: bool = False) -> None:
        """Close the connection, where it is open; by a reset or in order."""
        if self.sock.fileno() >= 0:
            if reset:
                self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            self.sock.close()
            self.answers[self.beginning[9:12] if len(self.beginning) == 12 else b"none"] += 1

    async def send(self, data: bytes) -> None:
        """Send, and wait until the kernel has taken it."""
        await self.loop.sock_sendall(self.sock, data)

    async def receive(self, size: int = 65536) -> bytes:
        """Receive something; nothing at the end."""
        data = await self.loop.sock_recv(self.sock, size)
        if len(self.beginning) < 12:
            self.beginning += data[: 12 - len(self.beginning)]
            if len(self.beginning) == 12 and self.beginning[:9] not in (b"HTTP/1.1 ", b"HTTP/1.0 "):
                raise WrongAnswerError(f"an answer begins with {self.beginning!r}")
        return data

    def end(self) -> None:
        """Send no more."""
        self.sock.shutdown(socket.SHUT_WR)

    async def ended(self, seconds: float) -> bool:
        """Wait, and tell whether the server has ended the connection meanwhile."""
        try:
            async with asyncio.timeout(seconds):
                while await self.receive():
                    pass
        except TimeoutError:
            return False
        return True

    async def wait_for_end(self) -> None:
        """Receive what comes until the server ends the connection, as it has to."""
        if not await self.ended(END_DEADLINE):
            raise NotCutOffError

    async def wait_for(self, content: bytes) -> None:
        """Receive what comes until it ends with this, as it has to."""
        received = b""
        try:
            async with asyncio.timeout(END_DEADLINE):
                while not received.endswith(content):
                    data = await self.receive()
                    if not data:
                        raise WrongAnswerError(f"{received[:100]!r} instead of {content!r}")
                    received = (received + data)[-65536:]
        except OSError as error:
            raise WrongAnswerError(f"{error!r} instead of {content!r}") from None

    async def trickle(self, data: bytes, size: int, pause: float) -> None:
        """Send a little now and then, until the server ends the connection, as it has to."""
        began = self.loop.time()
        for at in range(0, len(data), size):
            await self.send(data[at : at + size])
            if await self.ended(pause):
                return
            if self.loop.time() - began > END_DEADLINE:
                raise NotCutOffError
        await self.wait_for_end()

    async def flood(self, pieces: Iterator[bytes]) -> None:
        """Send all of it as quickly as it goes, and receive what comes meanwhile, until the end."""
        receiving = asyncio.create_task(self.wait_for_end())
        try:
            for piece in pieces:
                await self.send(piece)
                if receiving.done():
                    break
            await receiving
        finally:
            receiving.cancel()
            await asyncio.gather(receiving, return_exceptions=True)


class Attacker:
    """One of those who play attacks, one after another.

    Args:
        port: The server's, on 127.0.0.1.
        chance: What it decides by.
        answers: Where the status codes that it is answered with are counted.
    """

    def __init__(self, port: int, chance: random.Random, answers: collections.Counter[bytes]) -> None:
        self.port = port
        self.chance = chance
        self.answers = answers

    async def connect(self, receive_buffer: int = 0) -> Wire:
        """Connect; with a receive buffer of so many bytes, or the usual one."""
        sock = socket.socket()
        try:
            sock.setblocking(False)
            if receive_buffer:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", self.port))
        except BaseException:
            sock.close()
            raise
        return Wire(sock, self.answers)


Attack = Callable[[Attacker], Awaitable[None]]


def get(path: bytes, *fields: bytes) -> bytes:
    """Make a request without a body."""
    return b"GET " + path + b" HTTP/1.1\r\n" + HOST + b"".join(fields) + b"\r\n"


def post(path: bytes, *fields: bytes, body: bytes = b"", length: int | None = None) -> bytes:
    """Make a request with a body, of which more may follow; it is chunked where the fields say so."""
    framing = b"" if CHUNKED in fields else b"Content-Length: %d\r\n" % (len(body) if length is None else length)
    return b"POST " + path + b" HTTP/1.1\r\n" + HOST + framing + b"".join(fields) + b"\r\n" + body


# --- Slowness -------------------------------------------------------------------------------------------------------


async def slow_head(attacker: Attacker) -> None:
    """Send a head a byte at a time, all too slowly."""
    head = attacker.chance.choice([get(b"/hello"), post(b"/body", length=5), b"\r\n" + get(b"/" + b"a" * 3000)])
    async with await attacker.connect() as wire:
        await wire.trickle(head[:-2] + b"X: " + b"y" * 5000, 1, attacker.chance.uniform(0.02, 0.5))


async def head_that_stops(attacker: Attacker) -> None:
    """Send a part of a head, behind a request or not, and no more."""
    async with await attacker.connect() as wire:
        before = attacker.chance.choice([b"", get(b"/hello") * 3])
        await wire.send(before + get(b"/hello")[: attacker.chance.randrange(1, 20)])
        await wire.wait_for_end()


async def no_request(attacker: Attacker) -> None:
    """Ask for nothing, from the beginning or after something."""
    async with await attacker.connect() as wire:
        await wire.send(attacker.chance.choice([b"", b"\r\n", get(b"/hello"), post(b"/body", body=b"abc")]))
        await wire.wait_for_end()


async def slow_body(attacker: Attacker) -> None:
    """Send a body of a known length, all too slowly."""
    path, kind = attacker.chance.choice(UPLOADS)
    sent = attacker.chance.choice([b"", FILE_PART + b"x" * 100000, b"x" * 30000])
    async with await attacker.connect() as wire:
        await wire.send(post(path, kind, body=sent, length=500000))
        await wire.trickle(b"x" * 10000, attacker.chance.randrange(1, 20), 0.1)


async def slow_chunks(attacker: Attacker) -> None:
    """Send a chunked body, all too slowly."""
    path, kind = attacker.chance.choice(UPLOADS)
    async with await attacker.connect() as wire:
        await wire.send(post(path, kind, CHUNKED))
        await wire.trickle(b"1\r\nx\r\n" * 5000, attacker.chance.randrange(1, 20), 0.1)


async def slow_trailers(attacker: Attacker) -> None:
    """Send trailers, all too slowly."""
    async with await attacker.connect() as wire:
        await wire.send(post(b"/everything", CHUNKED, body=b"5\r\nhello\r\n0\r\n"))
        await wire.trickle(b"X: y\r\n" * 3000, 3, 0.1)


async def expected_in_vain(attacker: Attacker) -> None:
    """Ask whether to send a body (RFC 9110 §10.1.1), and send none."""
    path = attacker.chance.choice([b"/body", b"/sink", b"/early", b"/upload"])
    async with await attacker.connect() as wire:
        await wire.send(post(path, b"Expect: 100-continue\r\n", length=attacker.chance.choice([1, 100000, 10**9])))
        await wire.wait_for_end()


async def slow_reader(attacker: Attacker) -> None:
    """Take a long answer a byte at a time."""
    path, coding = attacker.chance.choice([(b"/stream", b""), (b"/file", b""), (b"/text", b"gzip"), (b"/text", b"")])
    async with await attacker.connect(4096) as wire:
        await wire.send(get(path, b"Accept-Encoding: %b\r\n" % coding))
        async with asyncio.timeout(HOLD):
            while await wire.receive(1):
                await asyncio.sleep(0.1)


async def no_reader(attacker: Attacker) -> None:
    """Ask for much, and take nothing."""
    path = attacker.chance.choice([b"/stream", b"/file", b"/text", b"/everything"])
    async with await attacker.connect(4096) as wire:
        await wire.send(get(path) * attacker.chance.choice([1, 10]))
        await asyncio.sleep(HOLD)
        wire.close(reset=attacker.chance.random() < 0.5)


async def pipeline(attacker: Attacker) -> None:
    """Send thousands of requests, and take no answers, or late."""
    requests = attacker.chance.choice([get(b"/hello"), get(b"/later"), post(b"/body", body=b"abc"), get(b"/file")])
    async with await attacker.connect(4096) as wire:
        try:
            async with asyncio.timeout(attacker.chance.uniform(0.5, HOLD)):
                for _ in range(50):
                    await wire.send(requests * 100)
        except TimeoutError:
            if attacker.chance.random() < 0.5:
                await wire.ended(1.0)


# --- Connections ----------------------------------------------------------------------------------------------------


async def resets(attacker: Attacker) -> None:
    """Connect, and reset the connection at once or behind a request."""
    for _ in range(20):
        async with await attacker.connect() as wire:
            await wire.send(attacker.chance.choice([b"", b"G", get(b"/hello"), get(b"/later"), get(b"/stream")]))
            await asyncio.sleep(attacker.chance.choice([0, 0, 0.01]))
            wire.close(reset=True)


async def connections(attacker: Attacker) -> None:
    """Open many connections for little."""
    async with await attacker.connect() as first:
        wires = [first]
        try:
            for _ in range(20):
                wires.append(await attacker.connect())
                await wires[-1].send(attacker.chance.choice([b"", b"G", get(b"/hello"), get(b"/later")]))
            await asyncio.sleep(attacker.chance.uniform(0, 2))
        finally:
            for wire in wires:
                wire.close(reset=attacker.chance.random() < 0.5)


async def half_close(attacker: Attacker) -> None:
    """Send no more behind whole requests: they are answered (RFC 9112 §9.6)."""
    path, content = attacker.chance.choice([(b"/hello", b"World!\n"), (b"/later", b"Later\n")])
    async with await attacker.connect() as wire:
        await wire.send(get(path) * 3)
        wire.end()
        await wire.wait_for(content)
        await wire.wait_for_end()


async def half_close_midway(attacker: Attacker) -> None:
    """Send no more behind a part of a request."""
    whole = attacker.chance.choice(REQUESTS)
    async with await attacker.connect() as wire:
        await wire.send(whole[: attacker.chance.randrange(len(whole))])
        wire.end()
        await wire.wait_for_end()


async def vanish(attacker: Attacker) -> None:
    """Upload something, and vanish in the middle of it."""
    path, kind = attacker.chance.choice(UPLOADS)
    framing = attacker.chance.choice([post(path, kind, length=900000), post(path, kind, CHUNKED) + b"dbba0\r\n"])
    async with await attacker.connect() as wire:
        await wire.send(framing + FILE_PART)
        for _ in range(attacker.chance.randrange(30)):
            await wire.send(b"x" * 10000)
        await asyncio.sleep(attacker.chance.choice([0, 0.1]))
        wire.close(reset=attacker.chance.random() < 0.5)


async def gone_before_the_answer(attacker: Attacker) -> None:
    """Ask for what takes a while, and go."""
    for path in (b"/later", b"/stream", b"/file", b"/later"):
        async with await attacker.connect() as wire:
            await wire.send(get(path))
            await asyncio.sleep(attacker.chance.uniform(0, 0.06))
            wire.close(reset=attacker.chance.random() < 0.5)


# --- Bytes ----------------------------------------------------------------------------------------------------------


async def random_bytes(attacker: Attacker) -> None:
    """Send anything."""
    async with await attacker.connect() as wire:
        await wire.send(attacker.chance.randbytes(attacker.chance.randrange(1, 5000)))
        await wire.wait_for_end()


async def quick_bytes(attacker: Attacker) -> None:
    """Send a request a byte at a time, quickly: that is served."""
    async with await attacker.connect() as wire:
        wire.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
        for byte in get(b"/hello"):
            await wire.send(bytes([byte]))
        await wire.wait_for(b"World!\n")


async def mutations(attacker: Attacker) -> None:
    """Send requests that were right once."""
    for _ in range(10):
        async with await attacker.connect() as wire:
            data = mutated(attacker.chance)
            await wire.send(data)
            wire.end()
            try:
                await wire.wait_for_end()
            except NotCutOffError:
                raise NotCutOffError(repr(data)) from None


def mutated(chance: random.Random) -> bytes:
    """Make a request, or some, with faults."""
    data = bytearray(b"".join(chance.choices(REQUESTS, k=chance.choice([1, 1, 1, 2]))))
    for _ in range(chance.randrange(1, 5)):
        at = chance.randrange(len(data) + 1)
        end = at + chance.choice([0, 0, 1, 2, 20])
        match chance.randrange(5):
            case 0:
                data[at:end] = chance.randbytes(chance.randrange(3))
            case 1 | 2:
                data[at:end] = chance.choice(TOKENS)
            case 3:
                data[at:at] = data[at : at + 50] * chance.choice([1, 50])
            case 4:
                other = chance.choice(REQUESTS)
                data[at:] = other[min(at, len(other)) :]
    return bytes(data)


# --- Size -----------------------------------------------------------------------------------------------------------


async def huge_head(attacker: Attacker) -> None:
    """Send a head without an end, of one kind or another."""
    piece = attacker.chance.choice([b"a" * 4000, b"X: y\r\n" * 100, b"X: " + b"a" * 16000 + b"\r\n", b" y\r\n" * 1000])
    before = attacker.chance.choice([b"GET /", b"GET / HTTP/1.1\r\n", b"", b"\r\n" * 20000 + b"GET /"])
    async with await attacker.connect() as wire:
        await wire.flood(itertools.chain([before], itertools.repeat(piece, 300)))


async def chunk_extensions(attacker: Attacker) -> None:
    """Send chunks with more extensions than content."""
    piece = attacker.chance.choice([b"a" * 5000, b";a=b" * 1000, b"1;" + b"a" * 500 + b"\r\nx\r\n", b"0" * 5000])
    before = attacker.chance.choice([b"1;", b"0;", b"", b'1;a="'])
    async with await attacker.connect() as wire:
        await wire.flood(itertools.chain([post(b"/sink", CHUNKED), before], itertools.repeat(piece, 300)))


async def trailers(attacker: Attacker) -> None:
    """Send trailers without an end."""
    piece = attacker.chance.choice([b"X: y\r\n" * 10, b"X: " + b"a" * 5000 + b"\r\n", b"a" * 5000])
    async with await attacker.connect() as wire:
        body = b"5\r\nhello\r\n0\r\n"
        await wire.flood(itertools.chain([post(b"/everything", CHUNKED, body=body)], itertools.repeat(piece, 300)))


async def multipart_bomb(attacker: Attacker) -> None:
    """Send a form that is more work than it looks like."""
    chance = attacker.chance
    part = b'--B\r\nContent-Disposition: form-data; name="%b"\r\n\r\n\r\n'
    body = chance.choice(
        [
            part % b"a" * 15000,
            FILE_PART * 10000,
            (FILE_PART + b"x\r\n") * 900,
            part % (b'\\"' * 100000),
            FILE_PART + b"\r\n--" * 100000,
            FILE_PART + b"\r\n-" * 100000,
            FILE_PART + b"\r" * 500000,
            b"--B\r\n" + b"X: y\r\n" * 50000,
            b"--B\r\n" + b"Content-Disposition: form-data" + b"; a=b" * 100000,
            part % b"a" + b"x" * 900000,
            b"--B" * 200000,
            FILE_PART.replace(b"f.txt", b"/\\" * 4000),
        ]
    )
    if chance.random() < 0.7:
        body += b"\r\n--B--\r\n"
    async with await attacker.connect() as wire:
        await wire.send(post(b"/upload", MULTIPART, b"Connection: close\r\n", body=body))
        await wire.wait_for_end()


async def form_bomb(attacker: Attacker) -> None:
    """Send a form, or a query, with more fields than anyone has."""
    fields = attacker.chance.choice([b"a&", b"a=%41&", b"%", b"&", b"a=" + b"%41" * 500 + b"&", b"=", b"+;"])
    async with await attacker.connect() as wire:
        if attacker.chance.random() < 0.5:
            await wire.send(post(b"/upload", FORM, b"Connection: close\r\n", body=(fields * 200000)[:500000]))
        else:
            await wire.send(get(b"/everything?" + (fields * 8000)[:8000], b"Connection: close\r\n"))
        await wire.wait_for_end()


async def header_bomb(attacker: Attacker) -> None:
    """Send fields that take long to understand."""
    chance = attacker.chance
    cookie = chance.choice(
        [b'a="' + b"\\" * 8000, b"a=b;" * 3900, b";" * 8000, b'a="\\1' * 3000, b"=" * 8000, b'a=" ' * 3900]
    )
    forwarded = chance.choice([b"for=a," * 2000, b"for=" * 3000, b'for="\\' * 2000, b"," * 8000, b'"' * 8000])
    accept = chance.choice([b"gzip;q=0," * 800, b"gzip;" * 1500, b"," * 8000, b"q=" * 3000])
    fields = b"Cookie: %b\r\nForwarded: %b\r\nX-Forwarded-For: %b\r\nAccept-Encoding: %b\r\nConnection: close\r\n" % (
        cookie[:16000],
        forwarded,
        b"1.2.3.4," * 1500,
        accept,
    )
    async with await attacker.connect() as wire:
        await wire.send(get(chance.choice([b"/everything", b"/text", b"/file"]), fields))
        await wire.wait_for_end()


async def ranges(attacker: Attacker) -> None:
    """Ask for thousands of pieces of a file, over and over."""
    chance = attacker.chance
    pieces = chance.choice([b"0-,", b"%d-%d,", b"-1,", b"0-0,", b",", b"9-1,", b"1" * 1000 + b"-,"])
    value = b"".join(pieces % (n * 9, n * 9 + 5) if b"%" in pieces else pieces for n in range(1500))[:15000]
    condition = chance.choice([b"", b"If-None-Match: " + b'"a",' * 3000 + b"\r\n", b'If-Range: W/"a"\r\n'])
    async with await attacker.connect() as wire:
        await wire.send(get(b"/file", b"Range: bytes=" + value + b"\r\n", condition, b"Connection: close\r\n"))
        await wire.wait_for_end()


# --- What is allowed, but not cheap ---------------------------------------------------------------------------------


async def uploads(attacker: Attacker) -> None:
    """Upload what is allowed, and what is more than that, and read the answers."""
    size = attacker.chance.choice([1000, 100000, 1000000, 2000000])
    body = FILE_PART + attacker.chance.randbytes(1000) * (size // 1000) + b"\r\n--B--\r\n"
    path, kind = attacker.chance.choice(UPLOADS)
    async with await attacker.connect() as wire:
        await wire.send(post(path, kind, b"Connection: close\r\n", body=body))
        await wire.wait_for_end()


async def failures(attacker: Attacker) -> None:
    """Ask for what fails."""
    async with await attacker.connect() as wire:
        await wire.send(get(b"/raise") * 20 + get(b"/nothing", b"Connection: close\r\n"))
        await wire.wait_for_end()


ATTACKS: Final[tuple[Attack, ...]] = (
    *(slow_head, head_that_stops, no_request, slow_body, slow_chunks, slow_trailers, expected_in_vain),
    *(slow_reader, no_reader, pipeline, resets, connections, half_close, half_close_midway, vanish),
    *(gone_before_the_answer, random_bytes, quick_bytes, mutations, huge_head, chunk_extensions, trailers),
    *(multipart_bomb, form_bomb, header_bomb, ranges, uploads, failures),
)

# Right requests, and what may be put into them.
REQUESTS: Final = (
    get(b"/hello"),
    get(b"/everything?a=b&c=%41", b"Cookie: a=b; c=d\r\n", b"X-Forwarded-For: 192.0.2.1\r\n"),
    get(b"/file", b"Range: bytes=0-99,200-299\r\n", b"Connection: close\r\n"),
    get(b"/text", b"Accept-Encoding: gzip;q=0.5\r\n", b"Connection: close\r\n"),
    get(b"/later"),
    get(b"/raise"),
    b"HEAD /file HTTP/1.1\r\n" + HOST + b"\r\n",
    b"GET /hello HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n",
    b"GET http://a/everything HTTP/1.1\r\n" + HOST + b"Upgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    post(b"/body", body=b"hello"),
    post(b"/upload", FORM, body=b"a=b&c=%41"),
    post(b"/upload", MULTIPART, body=FILE_PART + b"hello\r\n--B--\r\n"),
    post(b"/everything", CHUNKED, b"Trailer: X\r\n", body=b"5;a=b\r\nhello\r\n0\r\nX: y\r\n\r\n"),
    post(b"/sink", b"Expect: 100-continue\r\n", body=b"hello"),
    post(b"/early", body=b"hello"),
)
TOKENS: Final = (
    *(
        b"\r\n",
        b"\n",
        b"\r",
        b"\0",
        b" ",
        b"\t",
        b":",
        b";",
        b",",
        b'"',
        b"%",
        b"\xff",
        b"\r\n\r\n",
        b"HTTP/1.1",
        b"HTTP/9.9",
    ),
    *(
        b"Content-Length: 5\r\n",
        b"Content-Length: +5\r\n",
        b"Content-Length: 99999999999999999999\r\n",
        b"-1",
        b"0x5",
        b"_",
    ),
    *(
        b"Transfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: gzip\r\n",
        b"Host: b\r\n",
        b"Connection: close\r\n",
        b" x\r\n",
    ),
    *(
        b"Expect: x\r\n",
        b"fffffffffffffffff\r\n",
        b"0\r\n\r\n",
        b"--B\r\n",
        b"--B--",
        b"Range: bytes=5-\r\n",
        b"\xc3\xa9",
    ),
)
