"""WebSocket frames (RFC 6455 §5, §7.4): read however they are cut up, refused where they have to be, and written."""

from __future__ import annotations

import importlib.util
import itertools
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from websockets.exceptions import ProtocolError
from websockets.frames import Close

from pants.http import _ws_frames as frames
from pants.http._ws_frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    LARGE,
    PING,
    PONG,
    TEXT,
    FrameReader,
    WebSocketError,
    whole_masked,
    whole_unmasked,
)

KEY: Final = b"\x37\xfa\x21\x3d"  # of the examples in RFC 6455 §5.7
BOTH: Final = pytest.mark.parametrize("masked", [True, False], ids=["masked", "unmasked"])

# RFC 6455 §7.4: what may stand in a Close frame. 1012 to 1014 have been registered since (§11.7).
SENDABLE: Final = {1000, 1001, 1002, 1003, *range(1007, 1015), *range(3000, 5000)}


def masking(payload: bytes, key: bytes) -> bytes:
    """RFC 6455 §5.3, byte by byte."""
    return bytes(byte ^ key[at % 4] for at, byte in enumerate(payload))


def wire(
    opcode: int, payload: bytes = b"", *, masked: bool, fin: bool = True, rsv: int = 0, form: int | None = None
) -> bytes:
    """A frame as it lies on the wire (RFC 6455 §5.2).

    Args:
        opcode: The opcode.
        payload: What it carries.
        masked: Whether it is masked.
        fin: Whether FIN is set.
        rsv: The reserved bits: 4 for RSV1, 2 for RSV2, 1 for RSV3.
        form: How many bytes the extended length has; by default as few as will do.
    """
    length = len(payload)
    if form is None:
        form = 0 if length < 126 else 2 if length < 1 << 16 else 8
    short = {0: length, 2: 126, 8: 127}[form]
    first = bytes([fin << 7 | rsv << 4 | opcode, masked << 7 | short]) + length.to_bytes(8, "big")[8 - form :]
    return first + (KEY + masking(payload, KEY) if masked else payload)


class Seen(NamedTuple):
    """What a reader makes of some data.

    Attributes:
        events: Messages and control frames, in the order of their ends: opcode, whether compressed, payload.
        rest: The same of a message that is not complete; None if there is none.
        error: The code of the error that ended it.
    """

    events: list[tuple[int, bool, bytes]]
    rest: tuple[int, bool, bytes] | None
    error: int | None


def read(pieces: Iterable[bytes], *, masked: bool, compression: bool = False) -> Seen:
    reader = FrameReader(masked=masked, compression=compression)
    events: list[tuple[int, bool, bytes]] = []
    rest: tuple[int, bool, bytes] | None = None
    error = None
    assert reader.idle
    try:
        for piece in pieces:
            reader.feed(piece)
            while (payload := reader.take()) is not None:
                if reader.opcode >= CLOSE:
                    assert reader.begins
                    assert reader.ends
                    events.append((reader.opcode, False, payload))
                    continue
                assert reader.begins is (rest is None)
                opcode, compressed, so_far = rest or (reader.opcode, reader.compressed, b"")
                assert (opcode, compressed) == (reader.opcode, reader.compressed)
                rest = (opcode, compressed, so_far + payload)
                if reader.ends:
                    events.append(rest)
                    rest = None
            assert reader.take() is None  # and does no harm
            if rest is not None:
                assert not reader.idle
    except WebSocketError as raised:
        error = raised.code
    return Seen(events, rest, error)


def cuts(data: bytes) -> Iterator[list[bytes]]:
    """The data whole, byte by byte, and cut in other ways."""
    yield [data]
    for size in (1, 2, 3, 5, 7, 64, 4096):
        if size == 1 or len(data) // size < 10000:
            yield [data[at : at + size] for at in range(0, len(data), size)]
    places = range(1, len(data)) if len(data) < 400 else (1, 2, 3, 6, 9, 13, 14, 15, len(data) - 1)
    for place in places:
        yield [data[:place], data[place:]]


def read_anyhow(data: bytes, *, masked: bool, compression: bool = False) -> Seen:
    """What becomes of the data, which does not depend on how it is cut."""
    pieces = cuts(data)
    found = read(next(pieces), masked=masked, compression=compression)
    for others in pieces:
        assert read(others, masked=masked, compression=compression) == found
    return found


# --- Frames that are right ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data, masked, events",
    [
        pytest.param("81 05 48 65 6c 6c 6f", False, [(TEXT, False, b"Hello")], id="text"),
        pytest.param("81 85 37 fa 21 3d 7f 9f 4d 51 58", True, [(TEXT, False, b"Hello")], id="masked-text"),
        pytest.param("01 03 48 65 6c 80 02 6c 6f", False, [(TEXT, False, b"Hello")], id="fragments"),
        pytest.param("89 05 48 65 6c 6c 6f", False, [(PING, False, b"Hello")], id="ping"),
        pytest.param("8a 85 37 fa 21 3d 7f 9f 4d 51 58", True, [(PONG, False, b"Hello")], id="masked-pong"),
        pytest.param("82 7e 01 00" + "ab" * 256, False, [(BINARY, False, b"\xab" * 256)], id="256"),
        pytest.param(
            "82 7f 00 00 00 00 00 01 00 00" + "cd" * 65536, False, [(BINARY, False, b"\xcd" * 65536)], id="65536"
        ),
    ],
)
def test_examples_of_the_rfc(data: str, masked: bool, events: list[Any]) -> None:
    """RFC 6455 §5.7."""
    behind = wire(TEXT, b"behind", masked=masked)
    assert read_anyhow(bytes.fromhex(data), masked=masked) == (events, None, None)
    found = read([bytes.fromhex(data) + behind], masked=masked)
    assert found == ([*events, (TEXT, False, b"behind")], None, None)


@BOTH
@pytest.mark.parametrize("opcode", [TEXT, BINARY, CLOSE, PING, PONG])
def test_every_opcode(masked: bool, opcode: int) -> None:
    for payload in (b"", b"a", b"abcd", b"\0\xff\xfe" * 41):
        data = wire(opcode, payload, masked=masked)
        assert read_anyhow(data, masked=masked) == ([(opcode, False, payload)], None, None)
        behind = wire(PING, b"behind", masked=masked) + wire(BINARY, b"cut off", masked=masked)[:-3]
        found = read_anyhow(data + behind, masked=masked)
        assert found == ([(opcode, False, payload), (PING, False, b"behind")], (BINARY, False, b"cut "), None)


@BOTH
@pytest.mark.parametrize("length", [0, 1, 2, 3, 4, 5, 124, 125, 126, 127, 128, 255, 256, 65535, 65536, 65537])
def test_every_length(masked: bool, length: int) -> None:
    payload = (bytes(range(256)) * 257)[:length]
    data = wire(BINARY, payload, masked=masked)
    pieces = cuts(data) if length < 1000 else itertools.islice(cuts(data), 1 + (length == 65536 and masked))
    for cut in pieces:
        assert read(cut, masked=masked) == ([(BINARY, False, payload)], None, None)
    for size in (1000, 1001, 1003):
        cut = [data[at : at + size] for at in range(0, len(data), size)]
        assert read(cut, masked=masked) == ([(BINARY, False, payload)], None, None)


@BOTH
@pytest.mark.parametrize("parts", [[b"", b""], [b"a", b"", b"b"], [b"", b"ab", b""], [b"abcde", b"fgh", b"i"]], ids=str)
def test_fragments_with_control_frames_between(masked: bool, parts: list[bytes]) -> None:
    """RFC 6455 §5.4: control frames may come between the fragments of a message."""
    for opcode in (TEXT, BINARY):
        data = b""
        events = []
        for number, part in enumerate(parts):
            last = number == len(parts) - 1
            data += wire(CONTINUATION if number else opcode, part, masked=masked, fin=last)
            if not last:
                data += wire(PING, b"%d" % number, masked=masked) + wire(PONG, masked=masked)
                events += [(PING, False, b"%d" % number), (PONG, False, b"")]
        events.append((opcode, False, b"".join(parts)))
        assert read_anyhow(data, masked=masked) == (events, None, None)
        data += wire(TEXT, b"behind", masked=masked)
        assert read_anyhow(data, masked=masked) == ([*events, (TEXT, False, b"behind")], None, None)


@BOTH
def test_a_long_frame_is_not_waited_for(masked: bool) -> None:
    reader = FrameReader(masked=masked)
    data = wire(BINARY, b"a" * 70000, masked=masked)
    head = len(data) - 70000
    reader.feed(data[:head])
    assert reader.take() == b""
    assert (reader.opcode, reader.begins, reader.ends, reader.length) == (BINARY, True, False, 70000)
    assert reader.take() is None
    reader.feed(data[head : head + 30000])
    assert reader.take() == b"a" * 30000
    assert (reader.begins, reader.ends, reader.length) == (False, False, 0)
    reader.feed(data[head + 30000 :] + wire(PING, masked=masked))
    assert reader.take() == b"a" * 40000
    assert (reader.ends, reader.idle) == (True, False)
    assert reader.take() == b""
    assert reader.opcode == PING
    assert reader.take() is None
    assert reader.idle


def test_the_longest_length() -> None:
    """RFC 6455 §5.2: the most significant bit of a length of eight bytes is 0."""
    reader = FrameReader(masked=False)
    reader.feed(b"\x82\x7f" + ((1 << 63) - 1).to_bytes(8, "big") + b"abc")
    assert reader.take() == b"abc"
    assert reader.length == (1 << 63) - 1
    assert not reader.ends


@BOTH
def test_what_has_been_received_can_be_dropped(masked: bool) -> None:
    reader = FrameReader(masked=masked)
    reader.feed(wire(PING, b"abc", masked=masked) * 2)
    assert reader.take() == b"abc"
    reader.clear()
    assert reader.take() is None
    assert reader.idle
    reader.feed(wire(PONG, b"d", masked=masked))
    assert reader.take() == b"d"


@BOTH
@settings(max_examples=30)
@given(st.data())
def test_any_frames_cut_anyhow(masked: bool, draw: st.DataObject) -> None:
    """Messages, in fragments or not, with control frames between: what arrives is what was sent."""
    data, events = b"", []
    payloads = st.one_of(st.binary(max_size=8), st.sampled_from([b"a" * 125, b"b" * 126, b"c" * 300]))
    messages = st.tuples(st.sampled_from([TEXT, BINARY]), st.lists(payloads, min_size=1, max_size=4))
    for opcode, parts in draw.draw(st.lists(messages, max_size=4)):
        for number, part in enumerate(parts):
            for control in draw.draw(st.lists(st.sampled_from([PING, PONG]), max_size=2)):
                data += wire(control, part[:125], masked=masked)
                events.append((control, False, part[:125]))
            last = number == len(parts) - 1
            data += wire(CONTINUATION if number else opcode, part, masked=masked, fin=last)
        events.append((opcode, False, b"".join(parts)))
    sizes = itertools.cycle(draw.draw(st.lists(st.integers(1, 60), min_size=1, max_size=8)))
    at, pieces = 0, []
    while at < len(data):
        pieces.append(data[at : at + next(sizes)])
        at += len(pieces[-1])
    assert read(pieces, masked=masked) == (events, None, None)


# --- What is refused ------------------------------------------------------------------------------------------------


def expected_of(first: int, continues: bool, compression: bool) -> bool:
    """Whether a frame may begin with a byte (RFC 6455 §5.2, §5.4, §5.5; RFC 7692 §6)."""
    fin, rsv1, rsv23, opcode = first & 0x80, first & 0x40, first & 0x30, first & 0x0F
    if rsv23 or opcode not in (CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG):
        return False
    if rsv1 and not (compression and opcode in (TEXT, BINARY)):
        return False
    if opcode in (CLOSE, PING, PONG):
        return bool(fin)
    return continues if opcode == CONTINUATION else not continues


@BOTH
@pytest.mark.parametrize("compression", [False, True], ids=["plain", "compression"])
@pytest.mark.parametrize("continues", [False, True], ids=["first", "behind-a-fragment"])
def test_every_first_byte(masked: bool, compression: bool, continues: bool) -> None:
    before = wire(TEXT, b"ab", masked=masked, fin=False) if continues else b""
    trailing = wire(PING, b"behind", masked=masked)
    for first in range(256):
        data = before + bytes([first]) + wire(TEXT, b"cd", masked=masked)[1:]
        for pieces in ([data], [bytes([byte]) for byte in data], [data + trailing]):
            found = read(pieces, masked=masked, compression=compression)
            if expected_of(first, continues, compression):
                assert found.error is None, hex(first)
                assert found.events or found.rest
            else:
                assert found.error == 1002, hex(first)
                assert not found.events


@BOTH
def test_reserved_bit_of_compressed_messages(masked: bool) -> None:
    """RFC 7692 §6: RSV1 stands on the first frame of a message alone, and not on control frames."""
    parts = [wire(TEXT, b"ab", masked=masked, fin=False, rsv=4), wire(PING, b"p", masked=masked)]
    last = wire(CONTINUATION, b"c", masked=masked)
    found = read_anyhow(b"".join(parts) + last + wire(BINARY, b"d", masked=masked), masked=masked, compression=True)
    assert found == ([(PING, False, b"p"), (TEXT, True, b"abc"), (BINARY, False, b"d")], None, None)
    again = wire(CONTINUATION, b"c", masked=masked, rsv=4)
    assert read_anyhow(b"".join(parts) + again, masked=masked, compression=True).error == 1002
    assert read_anyhow(b"".join(parts) + last, masked=masked).error == 1002


@BOTH
def test_masking_is_for_clients_alone(masked: bool) -> None:
    """RFC 6455 §5.1: a server closes on a frame that is not masked, a client on one that is."""
    for opcode in (CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG):
        data = wire(TEXT, fin=False, masked=masked) if opcode == CONTINUATION else b""
        for payload in (b"", b"abc"):
            for pieces in cuts(data + wire(opcode, payload, masked=not masked)):
                assert read(pieces, masked=masked).error == 1002


@BOTH
@pytest.mark.parametrize("form, length", [(2, 0), (2, 1), (2, 125), (8, 0), (8, 125), (8, 126), (8, 65535)])
def test_lengths_have_the_shortest_form(masked: bool, form: int, length: int) -> None:
    """RFC 6455 §5.2: the minimal number of bytes must be used."""
    for opcode in (TEXT, BINARY, CLOSE, PING, PONG):
        data = wire(opcode, b"a" * length, masked=masked, form=form)
        for pieces in ([data], [data[:9], data[9:]], [bytes([byte]) for byte in data[:20]], [data + data]):
            assert read(pieces, masked=masked) == ([], None, 1002)


@BOTH
@pytest.mark.parametrize("length", [1 << 63, (1 << 64) - 1])
def test_lengths_without_a_sign(masked: bool, length: int) -> None:
    data = bytes([0x82, masked << 7 | 127]) + length.to_bytes(8, "big") + KEY + b"abc"
    assert read_anyhow(data, masked=masked) == ([], None, 1002)


@BOTH
@pytest.mark.parametrize("opcode", [CLOSE, PING, PONG])
def test_control_frames_are_short_and_whole(masked: bool, opcode: int) -> None:
    """RFC 6455 §5.5."""
    longest = wire(opcode, b"\x03\xe8" + b"a" * 123, masked=masked)
    assert read_anyhow(longest, masked=masked).error is None
    for length in (126, 127, 65535, 65536):
        data = wire(opcode, b"\x03\xe8" + b"a" * (length - 2), masked=masked)
        # Two bytes tell it: nothing of it has to be buffered first.
        for pieces in ([data], [data[:1], data[1:2]], [data + data]):
            assert read(pieces, masked=masked) == ([], None, 1002)
    assert read_anyhow(wire(opcode, b"ab", masked=masked, fin=False), masked=masked).error == 1002


@BOTH
def test_fragments_out_of_order(masked: bool) -> None:
    """RFC 6455 §5.4."""
    first, middle, last = (
        wire(opcode, b"a", masked=masked, fin=fin)
        for opcode, fin in [(TEXT, False), (CONTINUATION, False), (CONTINUATION, True)]
    )
    ping = wire(PING, masked=masked)
    pinged = (PING, False, b"")
    for data, events in (
        (middle, []),
        (last, []),
        (first + first, []),
        (first + ping + wire(BINARY, b"b", masked=masked), [pinged]),
        (first + middle + wire(TEXT, b"b", masked=masked), []),
        (first + last + last, [(TEXT, False, b"aa")]),
        (first + last + ping + middle, [(TEXT, False, b"aa"), pinged]),
    ):
        found = read_anyhow(data, masked=masked)
        assert (found.events, found.error) == (events, 1002)


@BOTH
def test_too_many_empty_fragments(masked: bool) -> None:
    """Fragments without content, with or without control frames between, are no message."""
    first = wire(TEXT, masked=masked, fin=False)
    empty = wire(CONTINUATION, masked=masked, fin=False)
    ping = wire(PING, masked=masked)
    for data in (first + empty * 100000, first + (empty + ping) * 100000):
        found = read([data[at : at + 5003] for at in range(0, len(data), 5003)], masked=masked)
        assert found.error == 1008
        assert len(found.events) < 5000
    # A few are no harm, nor are they between others.
    some = first + empty * 100 + (wire(CONTINUATION, b"a", masked=masked, fin=False) + empty * 100) * 50
    assert read([some + wire(CONTINUATION, masked=masked)], masked=masked).events == [(TEXT, False, b"a" * 50)]
    assert read([(first + empty * 100 + wire(CONTINUATION, masked=masked)) * 50], masked=masked).error is None


def test_errors_tell_what_is_wrong() -> None:
    reader = FrameReader(masked=True)
    reader.feed(b"\x83\x80\0\0\0\0")
    with pytest.raises(WebSocketError, match="opcode") as caught:
        reader.take()
    assert (caught.value.code, caught.value.reason in str(caught.value)) == (1002, True)


# --- One frame that arrived by itself -------------------------------------------------------------------------------


def whole(data: bytes, limit: int, masked: bool) -> str | bytes | None:
    return (whole_masked if masked else whole_unmasked)(data, limit)


def by_reader(data: bytes, limit: int, masked: bool) -> str | bytes | None:
    """The message that the data is, one frame and no more; None if it is anything else."""
    found = read([data], masked=masked)
    if found.error or found.rest or len(found.events) != 1:
        return None
    opcode, _, payload = found.events[0]
    if opcode >= CLOSE or len(payload) > limit or read([data[:-1]], masked=masked).events:
        return None
    try:
        message = payload.decode() if opcode == TEXT else payload
    except UnicodeDecodeError:
        return None
    # Something may lie behind, or before, of which nothing came.
    return message if len(wire(opcode, payload, masked=masked)) == len(data) else None


@BOTH
@pytest.mark.parametrize("length", [0, 1, 2, 124, 125, 126, 127, 128, 255, 65535, 65536, 65537])
def test_whole_frames(masked: bool, length: int) -> None:
    for opcode, message in ((TEXT, "x" * length), (BINARY, b"y" * length)):
        payload = message.encode() if isinstance(message, str) else message
        data = wire(opcode, payload, masked=masked)
        for limit in (length, length + 1, 1 << 40):
            assert whole(data, limit, masked) == message
            assert type(whole(data, limit, masked)) is type(message)
        if length:
            assert whole(data, length - 1, masked) is None
        for other in (data[:-1], data + b"\0", data + data, b"", data[:1], data[:2]):
            assert whole(other, 1 << 40, masked) is None or other == data
        assert whole(wire(opcode, payload, masked=not masked), 1 << 40, masked) is None


@BOTH
def test_whole_frames_of_every_head(masked: bool) -> None:
    """All first bytes, and all second ones: what is taken is what the reader takes."""
    for first in range(256):
        data = bytes([first]) + wire(TEXT, b"abc", masked=masked)[1:]
        assert whole(data, 100, masked) == by_reader(data, 100, masked)
    for second in range(256):
        for size in (0, 1, 2, 4, 6, 7, 8, 130, 131, 132, 140):
            data = b"\x82" + bytes([second]) + b"\0" * size
            assert whole(data, 1000, masked) == by_reader(data, 1000, masked)


@BOTH
@pytest.mark.parametrize("form, length", [(2, 0), (2, 1), (2, 125), (8, 0), (8, 125), (8, 126), (8, 65535)])
def test_whole_frames_with_a_length_that_is_not_minimal(masked: bool, form: int, length: int) -> None:
    for opcode in (TEXT, BINARY):
        assert whole(wire(opcode, b"a" * length, masked=masked, form=form), 1 << 40, masked) is None


def test_whole_frames_with_a_sign() -> None:
    for length in (1 << 63, (1 << 63) + 65536, (1 << 64) - 1):
        head = length.to_bytes(8, "big")
        assert whole_unmasked(b"\x82\x7f" + head + b"a" * 65536, 1 << 70) is None
        assert whole_masked(b"\x82\xff" + head + KEY + b"a" * 65536, 1 << 70) is None


heads = st.builds(
    lambda opcode, payload, masked, fin, rsv: (masked, wire(opcode, payload, masked=masked, fin=fin, rsv=rsv)),
    st.sampled_from([TEXT, TEXT, BINARY, BINARY, CONTINUATION, CLOSE, PING, PONG, 3, 15]),
    st.one_of(st.binary(max_size=200), st.text(max_size=80).map(str.encode)),
    st.booleans(),
    st.sampled_from([True, True, True, False]),
    st.sampled_from([0, 0, 0, 4, 2, 1]),
)


@given(heads, st.integers(0, 300), st.integers(-1, 10), st.binary(max_size=3))
@example((True, wire(TEXT, b"\xff", masked=True)), 100, -1, b"")
@example((False, wire(TEXT, "€".encode()[:2], masked=False)), 100, -1, b"")
def test_whole_frames_have_the_verdict_of_the_reader(
    made: tuple[bool, bytes], limit: int, place: int, added: bytes
) -> None:
    masked, data = made
    if place >= 0:
        data = data[:place] + added + data[place + 1 :]
    for end in (masked, not masked):
        assert whole(data, limit, end) == by_reader(data, limit, end)


# --- Work, and memory -----------------------------------------------------------------------------------------------


class Counted(bytes):
    """Bytes that count what is copied of them."""

    copied = 0

    def __getitem__(self, key: Any) -> Any:
        found = super().__getitem__(key)
        if isinstance(found, int):
            return found
        Counted.copied += len(found)
        return Counted(found)

    def __add__(self, other: Any) -> Counted:
        Counted.copied += len(self) + len(other)
        return Counted(super().__add__(other))


def work(data: bytes, size: int, masked: bool) -> int:
    """How many bytes are copied, and how many pieces taken."""
    Counted.copied = count = 0
    reader = FrameReader(masked=masked)
    for at in range(0, len(data), size):
        reader.feed(Counted(data[at : at + size]))
        while reader.take() is not None:
            count += 1
    return Counted.copied + count


@BOTH
@pytest.mark.parametrize("size", [1, 100, 1 << 30], ids=["byte-by-byte", "in-pieces", "at-once"])
@pytest.mark.parametrize(
    "kind", ["empty-messages", "short-messages", "pings", "empty-pings", "fragments", "one-frame", "long-messages"]
)
def test_linear_work(masked: bool, size: int, kind: str) -> None:
    fragment = wire(CONTINUATION, b"a", masked=masked, fin=False)
    make = {
        "empty-messages": lambda n: wire(TEXT, masked=masked) * n,
        "short-messages": lambda n: wire(BINARY, b"ab", masked=masked) * n,
        "pings": lambda n: wire(PING, b"ab", masked=masked) * n,
        "empty-pings": lambda n: wire(PING, masked=masked) * n,
        "fragments": lambda n: wire(TEXT, fin=False, masked=masked) + fragment * n,
        "one-frame": lambda n: wire(BINARY, bytes(10 * n), masked=masked),
        "long-messages": lambda n: wire(BINARY, bytes(200), masked=masked) * (n // 20),
    }[kind]
    once, twice = (work(make(number), size, masked) for number in (400, 800))
    assert twice <= 3 * once


@BOTH
def test_nothing_is_held_of_what_was_taken(masked: bool) -> None:
    reader = FrameReader(masked=masked)
    reader.feed(wire(TEXT, fin=False, masked=masked))
    reader.take()
    for _ in range(1000):
        reader.feed(wire(CONTINUATION, b"a", masked=masked, fin=False))
        assert reader.take() == b"a"
        assert reader.take() is None
    reader.feed(wire(CONTINUATION, b"a" * 100000, masked=masked, fin=False) + b"\x00")
    while reader.take() is not None:
        pass
    assert sum(len(value) for name in FrameReader.__slots__ if isinstance(value := getattr(reader, name), bytes)) < 20


# --- Frames that are written ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [0, 1, 125, 126, 65535, 65536, LARGE, LARGE + 1])
def test_written_frames(length: int) -> None:
    for opcode in (CONTINUATION, TEXT, BINARY):
        payload = (b"0123456789abcdef" * (length // 16 + 1))[:length]
        for fin, compressed in itertools.product([True, False], repeat=2):
            rsv = 4 if compressed else 0
            plain = frames.frame(opcode, payload, masked=False, fin=fin, compressed=compressed)
            assert b"".join(plain) == wire(opcode, payload, masked=False, fin=fin, rsv=rsv)
            assert len(plain) == 1 + (length > LARGE)
            masked = b"".join(frames.frame(opcode, payload, masked=True, fin=fin, compressed=compressed))
            size = len(masked) - length
            key, head = masked[size - 4 : size], masked[: size - 4]
            assert head == wire(opcode, payload, masked=True, fin=fin, rsv=rsv)[: size - 4]
            assert frames.apply_mask(masked[size:], key) == payload
            assert frames.head(opcode, length, fin=fin, compressed=compressed) + payload == b"".join(plain)
            assert frames.head(opcode, length, key, fin=fin, compressed=compressed) == head + key


def test_written_frames_are_read() -> None:
    for masked in (True, False):
        data = b"".join(
            itertools.chain(
                *(frames.frame(opcode, b"ab" * opcode, masked=masked) for opcode in (TEXT, BINARY, CLOSE, PING, PONG))
            )
        )
        events = [(opcode, False, b"ab" * opcode) for opcode in (TEXT, BINARY, CLOSE, PING, PONG)]
        assert read_anyhow(data, masked=masked) == (events, None, None)


def test_heads_of_short_frames() -> None:
    for opcode in (TEXT, BINARY):
        for length in range(126):
            assert frames.SHORT_HEADS[opcode][length] == wire(opcode, bytes(length), masked=False)[:2]


def test_masks() -> None:
    """RFC 6455 §5.3."""
    for length in (*range(20), 1000):
        payload = bytes(byte % 251 for byte in range(length))
        assert frames.apply_mask(payload, KEY) == masking(payload, KEY)


def test_masking_keys_are_fresh() -> None:
    """RFC 6455 §5.3: a key is not to be foreseen."""
    keys = [frames.next_key() for _ in range(5000)]
    assert {len(key) for key in keys} == {4}
    assert len(set(keys)) > 4990
    assert len({byte for key in keys for byte in key}) == 256


def test_masking_keys_are_not_those_of_another_process() -> None:
    program = (
        "import os, sys\n"
        "from pants.http._ws_frames import next_key\n"
        "next_key()\n"  # so that there are some
        "child = os.fork()\n"
        "os.write(1, b''.join(next_key() for _ in range(100)))\n"
        "if child: os.waitpid(child, 0)\n"
    )
    data = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True).stdout
    assert len(data) == 800
    assert len({data[at : at + 4] for at in range(0, 800, 4)}) > 190


# --- Close frames ---------------------------------------------------------------------------------------------------


def test_every_code() -> None:
    """RFC 6455 §7.4, both ways, and as the package `websockets` has it."""
    taken, written, theirs = set(), set(), set()
    codes, told = set(), set()
    for code in range(65536):
        payload = code.to_bytes(2, "big") + b"why"
        try:
            assert frames.parse_close(payload) == (code, "why")
            taken.add(code)
        except WebSocketError as error:
            codes.add(error.code)
        try:
            assert frames.close_payload(code, "why") == payload
            written.add(code)
        except ValueError as error:
            told.add(str(error).partition(" ")[0])
        try:
            Close.parse(payload).check()
            theirs.add(code)
        except ProtocolError:
            pass
    assert taken == written == theirs == SENDABLE == set(filter(frames.is_sendable, range(65536)))
    assert codes == {1002}
    assert told == {str(code) for code in range(65536) if code not in SENDABLE}
    for number in (-1, 65536, 1 << 40):
        with pytest.raises(ValueError):
            frames.close_payload(number, None)


def test_close_frames_without_a_message() -> None:
    """RFC 6455 §7.1.5, §7.1.6."""
    assert frames.parse_close(b"") == (1005, "")
    assert frames.parse_close(b"\x03\xe8") == (1000, "")
    for byte in range(256):
        with pytest.raises(WebSocketError) as caught:
            frames.parse_close(bytes([byte]))
        assert caught.value.code == 1002


def test_what_codes_say_by_themselves() -> None:
    for code in SENDABLE:
        payload = frames.close_payload(code, None)
        assert len(payload) <= 125
        parsed, message = frames.parse_close(payload)
        assert parsed == code
        assert bool(message) is (code < 3000)
        assert frames.close_payload(code, "") == code.to_bytes(2, "big")


@pytest.mark.parametrize("message", ["a" * 123, "€" * 41, "é" * 61 + "a", "\U0001f600" * 30 + "abc", "\0"])
def test_messages_that_fit(message: str) -> None:
    payload = frames.close_payload(1000, message)
    assert len(payload) <= 125
    assert frames.parse_close(payload) == (1000, message)


@pytest.mark.parametrize("message", ["a" * 124, "€" * 41 + "a", "é" * 62, "a" * 1000])
def test_messages_that_do_not_fit(message: str) -> None:
    with pytest.raises(ValueError, match="123"):
        frames.close_payload(1000, message)


def test_arguments_of_a_wrong_type() -> None:
    for code in ("1000", 1000.0, None, True, b"\x03\xe8"):
        with pytest.raises(TypeError, match="reason"):
            frames.close_payload(code, "a")  # type: ignore[arg-type]
    for message in (b"a", 1, ["a"]):
        with pytest.raises(TypeError, match="message"):
            frames.close_payload(1000, message)  # type: ignore[arg-type]
    with pytest.raises(ValueError):
        frames.close_payload(1000, "\ud800")


@pytest.mark.parametrize(
    "message",
    [b"\xff", b"a\x80", b"\xc3", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x82", b"a" * 122 + b"\xf0"],
)
def test_messages_that_are_not_utf_8(message: bytes) -> None:
    """RFC 6455 §8.1."""
    with pytest.raises(WebSocketError) as caught:
        frames.parse_close(b"\x03\xe8" + message)
    assert caught.value.code == 1007


# --- The fuzz target ------------------------------------------------------------------------------------------------


def test_fuzz_target() -> None:
    path = Path(__file__).parents[2] / "fuzz" / "fuzz_ws_frames.py"
    spec = importlib.util.spec_from_file_location("fuzz_ws_frames", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.fuzz(40)
