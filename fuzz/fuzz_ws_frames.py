"""Fuzz target for what a WebSocket reads by: `pants.http._ws_frames`, `_ws_old`, `_ws_deflate` and `_ws_inbox`.

    python fuzz/fuzz_ws_frames.py [EXAMPLES]

What must hold: whatever the bytes, and however they are cut up, the messages and the control frames are those of
`expected`, which looks at all of the data, frame by frame, and so is the code of the error that ends them. The quick
way takes nothing but what the reader takes. What is compressed comes out as it went in, or in a WebSocketError if it
was changed. What comes out of an inbox is what went in, whatever its delimiters.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pants._delivery import Delivery
from pants.delimiter import Framer
from pants.http._ws_deflate import Deflate
from pants.http._ws_frames import (
    CLOSE,
    CONTINUATION,
    TEXT,
    FrameReader,
    WebSocketError,
    parse_close,
    whole_masked,
    whole_unmasked,
)
from pants.http._ws_inbox import EntireMessage, Inbox
from pants.http._ws_old import OldFrameReader

Event = tuple[int, bool, bytes]
Verdict = tuple[list[Event], "Event | None", "int | None"]

KEYS = [b"\0\0\0\0", b"\x37\xfa\x21\x3d", b"\xff\0\xff\0"]
DATA_OPCODES = [0, 1, 2]
CONTROL_OPCODES = [8, 9, 10]


def wire(first: int, payload: bytes, form: int, key: bytes) -> bytes:
    """Make a frame, the length being in the shortest form or in a longer one."""
    length = len(payload)
    form = max(form, 0 if length < 126 else 1 if length < 65536 else 2)
    second = (128 if key else 0) | (length, 126, 127)[form]
    extended = (b"", length.to_bytes(2, "big") if form == 1 else b"", length.to_bytes(8, "big"))[form]
    masked = bytes(byte ^ key[at % 4] for at, byte in enumerate(payload)) if key else payload
    return bytes([first, second]) + extended + key + masked


payloads = st.one_of(
    st.binary(max_size=12),
    st.sampled_from([b"", b"Hello", b"\x03\xe8bye", b"\xe2\x82\xac", b"\xe2\x82", b"a" * 125, b"b" * 126, b"c" * 300]),
)
firsts = st.one_of(
    st.sampled_from([0x81, 0x82, 0x81, 0x82, 0x01, 0x02, 0x00, 0x80, 0x80, 0x88, 0x89, 0x8A, 0xC1, 0x41, 0xC2]),
    st.integers(0, 255),
)
forms = st.sampled_from([0] * 12 + [1, 2])
cuts = st.lists(st.integers(1, 40), min_size=1, max_size=6)
changes: st.SearchStrategy[list[tuple[int, int, bytes]]] = st.one_of(
    st.just([]),
    st.just([]),
    st.lists(st.tuples(st.integers(0, 400), st.integers(0, 2), st.binary(max_size=3)), max_size=3),
)


def cut_up(data: bytes, sizes: list[int]) -> list[bytes]:
    """Cut the data in pieces of these sizes, over and over."""
    pieces = []
    at = number = 0
    while at < len(data):
        pieces.append(data[at : at + sizes[number % len(sizes)]])
        at += len(pieces[-1])
        number += 1
    return pieces


def changed(data: bytes, some: list[tuple[int, int, bytes]]) -> bytes:
    """Replace some bytes at some places."""
    for place, dropped, added in some:
        place %= len(data) + 1
        data = data[:place] + added + data[place + dropped :]
    return data


def is_wrong(first: int, second: int, masked: bool, compression: bool, continues: bool) -> bool:
    """Tell by its first two bytes whether a frame has to be refused (RFC 6455 §5, RFC 7692 §6)."""
    fin, reserved, opcode = first >> 7, first >> 4 & 7, first & 15
    if opcode not in DATA_OPCODES + CONTROL_OPCODES or bool(second >> 7) is not masked:
        return True
    if reserved and not (reserved == 4 and compression and opcode in (1, 2)):
        return True
    if opcode in CONTROL_OPCODES:
        return not fin or second & 127 > 125
    return continues is not (opcode == CONTINUATION)


def expected(data: bytes, masked: bool, compression: bool) -> Verdict:
    """Return the events, what there is of a message that is not complete, and the code of the error, if any."""
    events: list[Event] = []
    rest: Event | None = None
    at = 0
    while len(data) - at >= 2:
        first, second = data[at], data[at + 1]
        if is_wrong(first, second, masked, compression, rest is not None):
            return events, rest, 1002
        width = {126: 2, 127: 8}.get(second & 127, 0)
        head = at + 2 + width
        if len(data) < head:
            break
        length = int.from_bytes(data[at + 2 : head], "big") if width else second & 127
        if width and (length < (126 if width == 2 else 65536) or length >> 63):
            return events, rest, 1002
        key = data[head : head + 4] if masked else b"\0\0\0\0"
        if len(key) < 4:
            break
        head += 4 if masked else 0
        payload = bytes(byte ^ key[place % 4] for place, byte in enumerate(data[head : head + length]))
        opcode = first & 15
        if opcode in CONTROL_OPCODES:
            if len(payload) < length:
                break
            events.append((opcode, False, payload))
        else:
            before: Event = rest or (opcode, bool(first & 64), b"")
            rest = (before[0], before[1], before[2] + payload)
            if len(payload) < length:
                break
            if first & 128:
                events.append(rest)
                rest = None
        at = head + length
    return events, rest, None


def read(pieces: list[bytes], masked: bool, compression: bool) -> Verdict:
    """Feed the pieces to a reader, and return what it makes of them."""
    reader = FrameReader(masked=masked, compression=compression)
    events: list[Event] = []
    rest: Event | None = None
    try:
        for piece in pieces:
            reader.feed(piece)
            while (payload := reader.take()) is not None:
                if reader.opcode >= CLOSE:
                    events.append((reader.opcode, False, payload))
                    continue
                assert reader.begins is (rest is None)
                before: Event = rest or (reader.opcode, reader.compressed, b"")
                rest = (reader.opcode, reader.compressed, before[2] + payload)
                assert rest[:2] == before[:2]
                if reader.ends:
                    events.append(rest)
                    rest = None
    except WebSocketError as error:
        return events, rest, error.code
    return events, rest, None


def try_frames(
    frames: list[tuple[int, bytes, int]],
    key: bytes,
    compression: bool,
    some: list[tuple[int, int, bytes]],
    sizes: list[int],
) -> None:
    """Send frames to both ends, and hold what they make of them against what is expected."""
    data = changed(b"".join(wire(first, payload, form, key) for first, payload, form in frames), some)
    for masked in (True, False):
        wanted = expected(data, masked, compression)
        for pieces in ([data], cut_up(data, sizes), cut_up(data, [1])):
            assert read(pieces, masked, compression) == wanted
        for opcode, _, payload in wanted[0]:
            if opcode == CLOSE:
                try_close(payload)
        try_whole(data, masked)


def try_whole(data: bytes, masked: bool) -> None:
    """Hold the quick way against what is expected."""
    for limit in (0, 5, 125, 126, 1000):
        message = (whole_masked if masked else whole_unmasked)(data, limit)
        if message is not None:
            opcode = TEXT if isinstance(message, str) else 2
            payload = message.encode() if isinstance(message, str) else message
            assert expected(data, masked, False) == ([(opcode, False, payload)], None, None)
            assert len(payload) <= limit


def expect(error: WebSocketError, *codes: int) -> None:
    """Look at an error."""
    assert error.code in codes
    assert error.reason


def try_close(payload: bytes) -> None:
    """Take a Close frame apart."""
    try:
        code, message = parse_close(payload)
    except WebSocketError as error:
        expect(error, 1002, 1007)
    else:
        assert payload == (b"" if code == 1005 else code.to_bytes(2, "big") + message.encode())


def try_old(parts: list[bytes], sizes: list[int]) -> None:
    """Send anything to the reader of draft 76."""
    data = b"".join(parts)
    verdicts = []
    for pieces in ([data], cut_up(data, sizes), cut_up(data, [1])):
        reader = OldFrameReader()
        found, refused = bytearray(), False
        try:
            for piece in pieces:
                reader.feed(piece)
                while (payload := reader.take()) is not None:
                    if reader.opcode == CLOSE:
                        found += b"\xff\x00"
                    else:
                        found += b"\0" * reader.begins + payload + b"\xff" * reader.ends
        except WebSocketError as error:
            refused = error.code in (1002, 1003)
        verdicts.append((bytes(found), refused))
        assert data.startswith(found)
        assert refused or len(found) + 1 >= len(data)
    assert verdicts[0] == verdicts[1] == verdicts[2]


def try_messages(
    messages: list[list[bytes]], keep: bool, bits: int, some: list[tuple[int, int, bytes]], sizes: list[int]
) -> None:
    """Compress messages, perhaps change something, and inflate them."""
    deflate = Deflate(
        server_no_context_takeover=not keep,
        client_no_context_takeover=not keep,
        server_max_window_bits=bits,
        client_max_window_bits=bits,
    )
    accepted = deflate.accept(deflate.offer())
    assert accepted is not None
    client = deflate.confirm(accepted[0])
    assert client is not None
    for parts in messages:
        data = b"".join(client.compress(part, number == len(parts) - 1) for number, part in enumerate(parts))
        pieces = cut_up(changed(data, some), sizes)
        found = b""
        try:
            for number, piece in enumerate([*pieces, b""]):
                for inflated in accepted[1].inflate(piece, number == len(pieces)):
                    assert 0 < len(inflated) <= 1 << 17
                    found += inflated
        except WebSocketError as error:
            expect(error, 1007)
            break
        if some:  # by chance it may be right all the same, and what follows refers to it
            return
        assert found == b"".join(parts)
    else:
        return
    assert some


def try_garbage(parts: list[bytes], keep: bool) -> None:
    """Inflate what is not compressed."""
    deflate = Deflate(client_no_context_takeover=not keep)
    accepted = deflate.accept("permessage-deflate")
    assert accepted is not None
    try:
        for number, part in enumerate(parts):
            for _ in accepted[1].inflate(part, number % 2 == 1):
                pass
    except WebSocketError as error:
        expect(error, 1007)


class Receiver:
    """Takes what an inbox hands out, as a `WebSocket` does, and sets other delimiters at each frame."""

    _may_read = True
    _deliver = Delivery._deliver
    _tell_stuck = Delivery._tell_stuck

    def __init__(self, inbox: Inbox, delimiters: list[list[Any]]) -> None:
        self.inbox = inbox
        self.delimiters = delimiters
        self.frames: list[Any] = []
        self.errors: list[Exception] = []

    def on_read(self, frame: Any) -> None:
        """See `Delivery`."""
        self.frames.append(frame)
        for delimiter in self.delimiters.pop(0) if self.delimiters else []:
            self.inbox.delimiter = delimiter

    def on_overflow_error(self, exception: Exception) -> None:
        """See `Delivery`."""
        self.errors.append(exception)

    def _contain(self, exception: Exception) -> None:
        self.errors.append(exception)

    def _call_hook(self, hook: Callable[..., object], *args: Any) -> None:
        hook(*args)


def send(
    inbox: Inbox, receiver: Receiver, message: str | bytes, sizes: list[int], outside: list[list[Any]] | None = None
) -> None:
    """Have an inbox receive a message in parts, and set other delimiters behind each part."""
    data = message.encode() if isinstance(message, str) else message
    inbox.begin(isinstance(message, str))
    for piece in [*cut_up(data, sizes), b""]:
        inbox.add(piece, not piece)
        inbox.deliver(receiver)  # type: ignore[arg-type]
        for delimiter in outside.pop(0) if outside else []:
            inbox.delimiter = delimiter
    inbox.deliver(receiver)  # type: ignore[arg-type]


def try_cutting(texts: list[str], delimiter: Any, text: bool, sizes: list[int]) -> None:
    """Cut messages by one delimiter, as a stream is cut."""
    messages: list[Any] = [content if text else content.encode() for content in texts]
    if isinstance(delimiter, str) and not text:
        delimiter = delimiter.encode()
    inbox = Inbox()
    inbox.delimiter = delimiter
    receiver = Receiver(inbox, [])
    for message in messages:
        send(inbox, receiver, message, sizes)
    assert not receiver.errors
    if delimiter is EntireMessage:
        assert receiver.frames == messages
        return
    framer = Framer(delimiter, text=text)
    framer.feed((("" if text else b"").join)(messages))
    wanted: list[Any] = []
    framer.deliver(wanted.append)
    empty: Any = "" if text else b""
    assert receiver.frames == wanted or (delimiter is None and empty.join(receiver.frames) == empty.join(wanted))
    assert inbox.pending is bool(framer.pending)


def try_changing(texts: list[str], inside: list[list[Any]], outside: list[list[Any]], sizes: list[int]) -> None:
    """Set delimiters on the way: but for separators, what goes in comes out."""
    inbox = Inbox()
    receiver = Receiver(inbox, list(inside))
    later = list(outside)
    for content in texts:
        send(inbox, receiver, content, sizes, later)
    receiver.delimiters = []
    inbox.delimiter = None
    inbox.deliver(receiver)  # type: ignore[arg-type]
    assert not receiver.errors
    assert not inbox.pending
    assert "".join(receiver.frames).replace("\n", "") == "".join(texts).replace("\n", "")


def try_text(parts: list[bytes]) -> None:
    """Send anything as text, in parts."""
    inbox = Inbox()
    receiver = Receiver(inbox, [])
    data = b"".join(parts)
    refused = False
    inbox.begin(True)
    try:
        for number, part in enumerate(parts):
            inbox.add(part, number == len(parts) - 1)
            inbox.deliver(receiver)  # type: ignore[arg-type]
    except WebSocketError as error:
        expect(error, 1007)
        refused = True
    try:
        text = data.decode()
    except UnicodeDecodeError:
        assert refused
    else:
        assert receiver.frames == [text]


def fuzz(examples: int) -> None:
    """Try so many examples of each."""
    bounded = settings(max_examples=examples, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    frames = st.lists(st.tuples(firsts, payloads, forms), max_size=6)
    given(frames, st.sampled_from([b"", *KEYS]), st.booleans(), changes, cuts)(bounded(try_frames))()
    old = st.sampled_from([b"\0", b"\xff", b"\xff\0", b"\0ab\xff", b"a", b"\x80", b"\x01"])
    given(st.lists(st.one_of(old, st.binary(max_size=3)), max_size=8), cuts)(bounded(try_old))()
    parts = st.lists(st.one_of(payloads, st.just(bytes(20000))), min_size=1, max_size=4)
    given(st.lists(parts, max_size=4), st.booleans(), st.integers(9, 15), changes, cuts)(bounded(try_messages))()
    some = [
        b"\x03\x00",
        b"\x00",
        b"\x00\x00\xff\xff",
        zlib.compress(b"Hello")[2:-4],
        zlib.compress(bytes(70000), 9)[2:-4],
    ]
    given(st.lists(st.one_of(st.sampled_from(some), st.binary(max_size=9)), max_size=6), st.booleans())(
        bounded(try_garbage)
    )()
    texts = st.lists(st.text("aé\n€", max_size=12), max_size=4)
    kinds = st.sampled_from([EntireMessage, None, "\n", 1, 3])
    given(texts, kinds, st.booleans(), cuts)(bounded(try_cutting))()
    set_to = st.lists(st.lists(kinds, max_size=2), max_size=6)
    given(texts, set_to, set_to, st.lists(st.integers(1, 4), min_size=1, max_size=4))(bounded(try_changing))()
    bytes_ = st.sampled_from(
        [b"a", b"\xc3", b"\xa4", b"\xe2\x82\xac", b"\xe2", b"\xed\xa0", b"\xf0\x9f\x98\x80", b"\xff"]
    )
    given(st.lists(st.one_of(bytes_, st.binary(max_size=2)), min_size=1, max_size=6))(bounded(try_text))()


if __name__ == "__main__":
    fuzz(int(sys.argv[1]) if len(sys.argv) > 1 else 20000)
