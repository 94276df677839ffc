"""The frames of draft 76 (draft-hixie-thewebsocketprotocol-76 §4.2, §5.3), however they are cut up."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pants.http._ws_frames import CLOSE, TEXT, WebSocketError
from pants.http._ws_old import OLD_CLOSE, OldFrameReader, old_frame


def read(pieces: Iterable[bytes]) -> tuple[list[bytes | None], bytes | None, bool]:
    """The messages in the data, None for a closing handshake; what there is of one more; whether it is refused."""
    reader = OldFrameReader()
    found: list[bytes | None] = []
    rest: bytes | None = None
    assert reader.idle
    try:
        for piece in pieces:
            reader.feed(piece)
            while (payload := reader.take()) is not None:
                if reader.opcode == CLOSE:
                    assert rest is None
                    assert payload == b""
                    found.append(None)
                    continue
                assert reader.opcode == TEXT
                assert not reader.compressed
                assert reader.begins is (rest is None)
                assert reader.length == len(payload)
                rest = (rest or b"") + payload
                if reader.ends:
                    found.append(rest)
                    rest = None
            assert reader.take() is None  # and does no harm
            if rest is not None:
                assert not reader.idle
    except WebSocketError as error:
        code = error.code
    else:
        return found, rest, False
    assert code in (1002, 1003)
    return found, rest, True


def cuts(data: bytes) -> Iterator[list[bytes]]:
    yield [data]
    for size in (1, 2, 3, 5):
        yield [data[at : at + size] for at in range(0, len(data), size)]
    for place in range(1, len(data)):
        yield [data[:place], data[place:]]


def read_anyhow(data: bytes) -> tuple[list[bytes | None], bytes | None, bool]:
    pieces = cuts(data)
    found = read(next(pieces))
    for others in pieces:
        assert read(others) == found
    return found


CASES: Final[list[Any]] = [
    pytest.param(b"", [], None, id="nothing"),
    pytest.param(b"\x00\xff", [b""], None, id="empty"),
    pytest.param(b"\x00Hello\xff", [b"Hello"], None, id="one"),
    pytest.param(b"\x00" + "ä€\U0001f600".encode() + b"\xff", ["ä€\U0001f600".encode()], None, id="utf-8"),
    pytest.param(b"\x00a\xff\x00\xff\x00b\xff", [b"a", b"", b"b"], None, id="three"),
    pytest.param(b"\x00a\x00b\xff", [b"a\0b"], None, id="with-a-zero"),
    pytest.param(b"\x00a\xff\x00b", [b"a"], b"b", id="cut-off"),
    pytest.param(b"\x00", [], b"", id="begun"),
    pytest.param(b"\xff\x00", [None], None, id="closing"),
    pytest.param(b"\x00a\xff\xff\x00", [b"a", None], None, id="closing-behind"),
    pytest.param(b"\xff\x00\xff\x00\x00a\xff", [None, None, b"a"], None, id="behind-closing"),
    pytest.param(b"\x00a\xff\xff", [b"a"], None, id="half-of-closing"),
]


@pytest.mark.parametrize("data, messages, rest", CASES)
def test_frames(data: bytes, messages: list[bytes | None], rest: bytes | None) -> None:
    assert read_anyhow(data) == (messages, rest, False)


@pytest.mark.parametrize(
    "data, messages, rest", [case for case in CASES if case.id not in ("cut-off", "begun", "half-of-closing")]
)
def test_frames_with_trailing_data(data: bytes, messages: list[bytes | None], rest: bytes | None) -> None:
    assert read_anyhow(data + b"\x00behind\xff\xff") == ([*messages, b"behind"], rest, False)
    assert read_anyhow(data + b"\x00behind\xff\x01") == ([*messages, b"behind"], rest, True)


def test_frames_of_another_kind() -> None:
    """Binary data cannot be transmitted (manual: "allow_old_handshake")."""
    for first in range(1, 0xFF):
        for trailing in (b"", b"\x03abc", b"\xff", b"\x00a\xff"):
            data = b"\x00a\xff" + bytes([first]) + trailing
            assert read_anyhow(data) == ([b"a"], None, True)


@pytest.mark.parametrize("length", [1, 5, 127, 128, 255])
def test_frames_with_a_length(length: int) -> None:
    assert read_anyhow(b"\xff" + bytes([length]) + b"a" * 5) == ([], None, True)


@given(st.lists(st.text(max_size=10), max_size=5), st.lists(st.integers(1, 9), min_size=1, max_size=4))
def test_written_frames_are_read(texts: list[str], sizes: list[int]) -> None:
    data = b"".join(old_frame(text.encode()) for text in texts) + OLD_CLOSE
    pieces = []
    at = number = 0
    while at < len(data):
        pieces.append(data[at : at + sizes[number % len(sizes)]])
        at += len(pieces[-1])
        number += 1
    assert read(pieces) == ([*(text.encode() for text in texts), None], None, False)


def test_written_frames() -> None:
    assert old_frame(b"Hello") == b"\x00Hello\xff"
    assert old_frame(b"") == b"\x00\xff"
    assert OLD_CLOSE == b"\xff\x00"


def test_a_long_frame_is_not_waited_for() -> None:
    reader = OldFrameReader()
    reader.feed(b"\x00" + b"a" * 1000)
    assert reader.take() == b"a" * 1000
    assert (reader.begins, reader.ends, reader.idle) == (True, False, False)
    assert reader.take() is None
    reader.feed(b"b" * 10)
    assert reader.take() == b"b" * 10
    assert (reader.begins, reader.ends) == (False, False)
    reader.feed(b"\xff")
    assert reader.take() == b""
    assert (reader.begins, reader.ends) == (False, True)
    assert reader.take() is None
    assert reader.idle


def test_what_has_been_received_can_be_dropped() -> None:
    reader = OldFrameReader()
    reader.feed(b"\x00a\xff\x00b\xff")
    assert reader.take() == b"a"
    reader.clear()
    assert reader.take() is None
    assert reader.idle
    reader.feed(b"\x00c\xff")
    assert reader.take() == b"c"


class Counted(bytes):
    """Bytes that count what is copied of them, and what is searched."""

    work = 0

    def __getitem__(self, key: Any) -> Any:
        found = super().__getitem__(key)
        if isinstance(found, int):
            return found
        Counted.work += len(found)
        return Counted(found)

    def __add__(self, other: Any) -> Counted:
        Counted.work += len(self) + len(other)
        return Counted(super().__add__(other))

    def find(self, *args: Any) -> int:
        place = super().find(*args)
        Counted.work += (len(self) if place < 0 else place) - args[1]
        return place


@pytest.mark.parametrize("size", [1, 100, 1 << 30], ids=["byte-by-byte", "in-pieces", "at-once"])
@pytest.mark.parametrize("unit", [b"\x00\xff", b"\x00ab\xff", OLD_CLOSE, b"abcd"], ids=str)
def test_linear_work(unit: bytes, size: int) -> None:
    def work(count: int) -> int:
        Counted.work = pieces = 0
        reader = OldFrameReader()
        data = (b"\x00" if unit == b"abcd" else b"") + unit * count
        for at in range(0, len(data), size):
            reader.feed(Counted(data[at : at + size]))
            while reader.take() is not None:
                pieces += 1
        held = sum(len(value) for name in reader.__slots__ if isinstance(value := getattr(reader, name), bytes))
        assert held < 10
        return Counted.work + pieces

    once, twice = work(2000), work(4000)
    assert twice <= 3 * once
