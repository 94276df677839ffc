"""What the tests of WebSockets share: a server in memory, and a client of its own making.

The client builds its frames and takes those of the server apart by itself (RFC 6455 §5.2), with nothing of what is
tested.
"""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from pants import Stream
from pants.http import HTTPRequest, HTTPServer, WebSocket
from pants.testing import MemoryEngine, Peer

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10

KEY: Final = b"dGhlIHNhbXBsZSBub25jZQ=="  # RFC 6455 §1.3
ACCEPT: Final = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
OPENING_FIELDS: Final = (
    b"Upgrade: websocket",
    b"Connection: Upgrade",
    b"Sec-WebSocket-Key: " + KEY,
    b"Sec-WebSocket-Version: 13",
)
DEFLATE: Final = b"Sec-WebSocket-Extensions: permessage-deflate"
MASK: Final = b"\x37\xfa\x21\x3d"
RSV1 = 0x40


def opening(
    *fields: bytes, line: bytes = b"GET /chat HTTP/1.1", host: bytes = b"a", own: tuple[bytes, ...] = OPENING_FIELDS
) -> bytes:
    """A request that opens a WebSocket."""
    return b"\r\n".join([line, b"Host: " + host, *own, *fields, b"", b""])


def xor(data: bytes, key: bytes) -> bytes:
    """RFC 6455 §5.3."""
    size = len(data)
    whole = (key * (size // 4 + 1))[:size]
    return (int.from_bytes(data, "big") ^ int.from_bytes(whole, "big")).to_bytes(size, "big")


def frame(
    opcode: int, payload: bytes | str = b"", *, fin: bool = True, rsv: int = 0, mask: bytes | None = MASK, form: int = 0
) -> bytes:
    """A frame as a client sends it; ``form`` is the number of bytes for its length, where it is not the shortest."""
    if isinstance(payload, str):
        payload = payload.encode()
    size = len(payload)
    form = form or (1 if size < 126 else 2 if size < 65536 else 8)
    bit = 0 if mask is None else 0x80
    length = (
        bytes([bit | size]) if form == 1 else bytes([bit | (126 if form == 2 else 127)]) + size.to_bytes(form, "big")
    )
    body = payload if mask is None else mask + xor(payload, mask)
    return bytes([(0x80 if fin else 0) | rsv | opcode]) + length + body


def message(data: str | bytes) -> bytes:
    """A message in one frame."""
    return frame(TEXT if isinstance(data, str) else BINARY, data)


def closing(code: int | None = 1000, reason: str | bytes = "") -> bytes:
    """A Close frame."""
    text = reason.encode() if isinstance(reason, str) else reason
    return frame(CLOSE, b"" if code is None else code.to_bytes(2, "big") + text)


def deflated(data: bytes) -> bytes:
    """RFC 7692 §7.2.1."""
    compressor = zlib.compressobj(wbits=-15)
    return (compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH)).removesuffix(b"\x00\x00\xff\xff")


def inflated(data: bytes) -> bytes:
    """RFC 7692 §7.2.2."""
    return zlib.decompressobj(wbits=-15).decompress(data + b"\x00\x00\xff\xff")


class Frame(NamedTuple):
    """A frame of the server's."""

    opcode: int
    payload: bytes
    fin: bool = True
    rsv: int = 0


def take_frames(data: bytes) -> tuple[list[Frame], bytes]:
    """The frames in what a server has sent, each checked for what RFC 6455 §5 demands, and the rest."""
    found = []
    start = 0
    while len(data) - start >= 2:
        first, length, at = data[start], data[start + 1], start + 2
        opcode = first & 15
        assert length < 128, "a server must not mask (§5.1)"
        assert opcode in (CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG)
        if length > 125:
            assert opcode < CLOSE, "control frames are short (§5.5)"
            width = 2 if length == 126 else 8
            at += width
            if len(data) < at:
                break
            length = int.from_bytes(data[at - width : at], "big")
            assert length >= (126 if width == 2 else 65536), "the shortest form is used (§5.2)"
        if len(data) < at + length:
            break
        found.append(Frame(opcode, data[at : at + length], first >= 128, first & 0x70))
        assert found[-1].fin or opcode < CLOSE
        start = at + length
    return found, data[start:]


class RawClient:
    """A client: what it receives, taken apart. How it gets there is the subclasses' affair."""

    def __init__(self) -> None:
        self.head = b""
        self.rest = b""

    def _take(self) -> bytes:
        raise NotImplementedError

    @property
    def status(self) -> int:
        """The status code of the answer to the opening."""
        self._fill()
        return int(self.head.split(b" ")[1])

    def header(self, name: str) -> list[str]:
        """The values of a field in the answer."""
        self._fill()
        lines = [line.partition(": ") for line in self.head.decode("latin-1").split("\r\n")[1:]]
        return [value for found, _, value in lines if found.lower() == name.lower()]

    def _fill(self) -> None:
        self.rest += self._take()
        if not self.head and b"\r\n\r\n" in self.rest:
            head, _, self.rest = self.rest.partition(b"\r\n\r\n")
            self.head = head + b"\r\n"

    def frames(self) -> list[Frame]:
        """The frames that have arrived since the last call."""
        self._fill()
        if not self.head:
            return []
        found, self.rest = take_frames(self.rest)
        return found

    def messages(self) -> list[str | bytes]:
        """The messages that have arrived since the last call, which have to be complete; there are no other frames."""
        found: list[str | bytes] = []
        opcode, compressed, data = 0, False, b""
        for one in self.frames():
            assert one.opcode < CLOSE
            assert (one.opcode == CONTINUATION) is bool(opcode), "messages do not mix (§5.4)"
            if one.opcode:
                opcode, compressed = one.opcode, bool(one.rsv & RSV1)
            data += one.payload
            if one.fin:
                data = inflated(data) if compressed else data
                found.append(data.decode() if opcode == TEXT else data)
                opcode, data = 0, b""
        assert not opcode
        return found


class Client(RawClient):
    """A client in memory."""

    def __init__(self, site: WsSite, peer: Peer) -> None:
        super().__init__()
        self.site = site
        self.engine = site.engine
        self.peer = peer

    def _take(self) -> bytes:
        return self.peer.take()

    def send(self, *pieces: bytes | str, chunk: int | None = None) -> None:
        """Send frames; a str is a message of text."""
        self.peer.send(b"".join(message(piece) if isinstance(piece, str) else piece for piece in pieces), chunk)

    @property
    def ended(self) -> bool:
        """Whether the server has closed the connection."""
        return self.peer.ended


class Recorder(WebSocket):
    """Writes down each hook that is called, and does what `WebSocket` does."""

    events: list[tuple[Any, ...]]
    made = False

    def __init__(self, request: Any, *arguments: Any) -> None:
        self.events = []
        super().__init__(request, *arguments)
        self.made = True

    def __getattribute__(self, name: str) -> Any:
        # Every hook, those of subclasses and instances included, without each having to say so.
        value = super().__getattribute__(name)
        if not name.startswith("on_"):
            return value
        events = self.events

        def hook(*args: Any) -> Any:
            events.append((name.removeprefix("on_"), *args))
            return value(*args)

        return hook

    def on_write(self) -> None:
        """It is defined, and so it is called."""

    @property
    def names(self) -> list[str]:
        return [event[0] for event in self.events if event[0] != "handshake"]

    @property
    def reads(self) -> list[Any]:
        return [event[1] if len(event) == 2 else event[1:] for event in self.events if event[0] == "read"]

    def told(self, name: str) -> list[Any]:
        """The arguments that a hook was called with."""
        return [event[1] for event in self.events if event[0] == name]

    @property
    def is_over(self) -> bool:
        """Whether it has closed as it should: on_close() came once, and last."""
        return self.closed and not self.connected and self.names.count("close") == 1 and self.names[-1] == "close"


class Echo(Recorder):
    """Sends back what it gets."""

    def on_read(self, data: Any) -> None:
        self.write(data)


class WsSite:
    """A server in memory whose requests all become WebSockets of one class."""

    def __init__(self, engine: MemoryEngine, kind: type[WebSocket], *arguments: Any, **kwargs: Any) -> None:
        self.engine = engine
        self.kind = kind
        self.arguments = arguments
        self.sockets: list[Any] = []
        self.server = HTTPServer(self.handle, engine=engine, **kwargs)

    def handle(self, request: HTTPRequest) -> None:
        self.sockets.append(self.kind(request, *self.arguments))

    def connect(self) -> Client:
        """A client that has sent nothing."""
        return Client(self, self.engine.accept(self.server))

    def ask(self, *fields: bytes, behind: bytes = b"", chunk: int | None = None, **kwargs: Any) -> Client:
        """A client that has sent a request for a WebSocket, and something behind it."""
        client = self.connect()
        client.peer.send(opening(*fields, **kwargs) + behind, chunk)
        return client

    def open(self, *fields: bytes, **kwargs: Any) -> tuple[Any, Client]:
        """A WebSocket and its client."""
        client = self.ask(*fields, **kwargs)
        assert client.status == 101
        return self.sockets[-1], client


@contextlib.contextmanager
def ws_site(kind: type[WebSocket] = Recorder, *arguments: Any, **kwargs: Any) -> Iterator[WsSite]:
    with MemoryEngine() as engine:
        yield WsSite(engine, kind, *arguments, **kwargs)


@contextlib.contextmanager
def opened(kind: type[WebSocket] = Recorder, *fields: bytes, **kwargs: Any) -> Iterator[tuple[Any, Client]]:
    """A WebSocket that is open, and its client."""
    with ws_site(kind, **kwargs) as site:
        yield site.open(*fields)


def codes(frames: list[Frame]) -> list[int]:
    """The codes in the Close frames; every one has to have one."""
    return [int.from_bytes(one.payload[:2], "big") for one in frames if one.opcode == CLOSE]


class StreamClient(RawClient):
    """A client on a real socket, made of a `pants.Stream`."""

    def __init__(self, stream: Stream) -> None:
        super().__init__()
        self.stream = stream
        self.received: list[bytes] = []
        stream.on_read = self.received.append

    def _take(self) -> bytes:
        data = b"".join(self.received)
        self.received.clear()
        return data
