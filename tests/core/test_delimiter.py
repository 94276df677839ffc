"""Framing (manual: Stream.read_delimiter, regex_search, buffer_size; pants.delimiter)."""

from __future__ import annotations

import doctest
import importlib
import importlib.util
import re
import struct
import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from netstruct import NetStruct

import pants.delimiter
from pants._cutting import Characters
from pants.delimiter import DEFAULT_LIMIT, Framer, check, wants_text
from pants.errors import BufferOverflow, DelimiterError

NETSTRUCT = NetStruct(b"B$H$b")

# Each kind of delimiter, data for it, the frames that the manual promises for that, and what is left over.
KINDS: list[Any] = [
    pytest.param(b"\n", {}, b"one\n\nthree\nfo", [b"one", b"", b"three"], 2, id="bytes"),
    pytest.param(b"--", {}, b"a-b---c--", [b"a-b", b"-c"], 0, id="longer-bytes"),
    pytest.param(3, {}, b"aaabbbcc", [b"aaa", b"bbb"], 2, id="int"),
    pytest.param(struct.Struct("!HB"), {}, b"\0\1\2\0\3\4\0", [(1, 2), (3, 4)], 1, id="Struct"),
    pytest.param(NETSTRUCT, {}, b"\2ab\0\1c\7\0\0\0\xff\1", [(b"ab", b"c", 7), (b"", b"", -1)], 1, id="NetStruct"),
    pytest.param(NetStruct(b"HB"), {}, b"\0\1\2\0\3\4\0", [(1, 2), (3, 4)], 1, id="NetStruct-fixed"),
    pytest.param(NetStruct(b"<H$"), {}, b"\1\0a\2\0bc", [(b"a",), (b"bc",)], 0, id="NetStruct-order"),
    pytest.param(re.compile(rb"\r?\n"), {}, b"a\r\nb\n\rc\nd", [b"a", b"b", b"\rc"], 1, id="bounded"),
    pytest.param(re.compile(rb"<[^>]*>"), {}, b"a<b>c<dd>e", [b"a", b"c"], 1, id="unbounded"),
    pytest.param(re.compile(rb"\n(?=[^ ])"), {}, b"a\n b\nc\nd", [b"a\n b", b"c"], 1, id="lookahead"),
    pytest.param(
        re.compile(rb"\r?\n"), {"regex_search": False}, b"\r\n\n\r\nx", [b"\r\n", b"\n", b"\r\n"], 1, id="match"
    ),
    pytest.param("\n", {"text": True}, "öne\n\nthrée\nfo", ["öne", "", "thrée"], 2, id="str"),
    pytest.param(3, {"text": True}, "äääbbbcc", ["äää", "bbb"], 2, id="int-text"),
    pytest.param(re.compile("\r?\n"), {"text": True}, "ä\r\nb\nc", ["ä", "b"], 1, id="bounded-text"),
    pytest.param(re.compile("<[^>]*>"), {"text": True}, "ä<b>c<dd>€", ["ä", "c"], 1, id="unbounded-text"),
    pytest.param(re.compile(".;"), {"text": True, "regex_search": False}, "ä;€;x", ["ä;", "€;"], 1, id="match-text"),
]

# For each kind: a delimiter, options, and a function that makes data of which the frame is so many bytes long.
# A frame's length is without the separator or a bounded match, but with any other match.
LENGTHS: list[Any] = [
    pytest.param(b"\r\n", {}, lambda n: b"x" * n + b"\r\n", id="bytes"),
    pytest.param("\r\n", {"text": True}, lambda n: "€" * n + "\r\n", id="str"),
    pytest.param(re.compile(rb"\r\n"), {}, lambda n: b"x" * n + b"\r\n", id="bounded"),
    pytest.param(re.compile("\r\n"), {"text": True}, lambda n: "€" * n + "\r\n", id="bounded-text"),
    pytest.param(re.compile(rb"\n[^\n]*\n"), {}, lambda n: b"x" * (n - 3) + b"\n.\n", id="unbounded"),
    pytest.param(re.compile("\n[^\n]*\n"), {"text": True}, lambda n: "€" * (n - 3) + "\n.\n", id="unbounded-text"),
    pytest.param(re.compile(rb"[^\n]*\n"), {"regex_search": False}, lambda n: b"x" * (n - 1) + b"\n", id="match"),
    pytest.param(NetStruct(b"B$B$"), {}, lambda n: b"\2ab" + bytes([n - 4]) + b"x" * (n - 4), id="NetStruct"),
]

kinds = pytest.mark.parametrize("delimiter,options,data,frames,left", KINDS)
lengths = pytest.mark.parametrize("delimiter,options,make", LENGTHS)


def value(values: tuple[Any, ...]) -> Any:
    """The values that a receiver was given, in the form in which the tables above have them."""
    if len(values) != 1 or isinstance(values[0], int):
        return values
    if isinstance(values[0], re.Match):
        return values[0].group()
    return values[0]


def delivered(framer: Framer, *pieces: Any) -> list[Any]:
    """What comes out of the framer when the pieces are fed one after another."""
    frames: list[Any] = []
    for piece in pieces or (b"",):
        framer.feed(piece)
        framer.deliver(lambda *values: frames.append(value(values)))
    return frames


def in_pieces(data: Any, size: int) -> list[Any]:
    return [data[at : at + size] for at in range(0, len(data), size)]


def one_by_one(data: Any) -> list[Any]:
    return in_pieces(data, 1)


def unpacked(delimiter: Any, frames: list[Any]) -> list[Any]:
    """The frames as `value` gives them, which cannot tell a tuple of one value from a frame."""
    return [frame[0] if isinstance(frame, tuple) and len(frame) == 1 else frame for frame in frames]


# -- every kind, however the data arrives ------------------------------------------------------------------------


@kinds
def test_fed_whole(delimiter: Any, options: Any, data: Any, frames: list[Any], left: int) -> None:
    framer = Framer(delimiter, **options)
    assert delivered(framer, data) == unpacked(delimiter, frames)
    assert framer.pending == left


@kinds
def test_fed_one_by_one(delimiter: Any, options: Any, data: Any, frames: list[Any], left: int) -> None:
    framer = Framer(delimiter, **options)
    assert delivered(framer, *one_by_one(data)) == unpacked(delimiter, frames)
    assert framer.pending == left


@kinds
@given(st.data())
def test_fed_in_pieces(
    delimiter: Any, options: Any, data: Any, frames: list[Any], left: int, draw: st.DataObject
) -> None:
    cuts = sorted(draw.draw(st.lists(st.integers(0, 5 * len(data)))))
    framer = Framer(delimiter, **options)
    pieces = [(5 * data)[start:end] for start, end in zip([0, *cuts], [*cuts, 5 * len(data)], strict=True)]
    assert delivered(framer, *pieces) == delivered(Framer(delimiter, **options), 5 * data)


@kinds
def test_fed_before_anything_is_delivered(
    delimiter: Any, options: Any, data: Any, frames: list[Any], left: int
) -> None:
    framer = Framer(delimiter, **options)
    for piece in one_by_one(data):
        framer.feed(piece)
    assert framer.pending == len(data)
    assert delivered(framer, data[:0]) == unpacked(delimiter, frames)


@kinds
def test_taken(delimiter: Any, options: Any, data: Any, frames: list[Any], left: int) -> None:
    framer = Framer(delimiter, **options)
    taken = []
    for piece in one_by_one(data):
        framer.feed(piece)
        while (frame := framer.take()) is not None:
            taken.append(frame.group() if isinstance(frame, re.Match) else frame)
    assert taken == frames
    assert framer.pending == left


def test_without_delimiter_data_comes_as_it_was_received() -> None:
    framer = Framer()
    assert delivered(framer, b"one", b"", b"two") == [b"one", b"two"]
    assert framer.pending == 0
    assert framer.take() is None
    framer.feed(b"three")
    assert framer.take() == b"three"
    assert delivered(Framer(text=True), "€") == ["€"]


def test_without_delimiter_there_is_no_limit() -> None:
    assert delivered(Framer(limit=1), b"abc") == [b"abc"]


def test_frames_are_bytes_wherever_they_come_from() -> None:
    for delimiter in (b"\n", 2, re.compile(b"\n"), re.compile(b"\n+"), None):
        for frame in delivered(Framer(delimiter), b"a\nb", b"\n", b"c\n"):
            assert type(frame) is bytes


def test_frames_longer_than_what_is_split_at_once() -> None:
    frames = [b"x" * length for length in (10000, 0, 4095, 4096, 4097, 4094, 50000, 3)]
    data = b"".join(frame + b"\r\n" for frame in frames)
    assert delivered(Framer(b"\r\n"), data) == frames
    assert delivered(Framer(b"\r\n"), *one_by_one(data)) == frames


def test_many_small_frames_at_once() -> None:
    frames = [b"%d" % number for number in range(10000)]
    assert delivered(Framer(b"\n"), b"\n".join(frames) + b"\n") == frames


def test_a_separator_longer_than_what_is_split_at_once() -> None:
    separator = b"=" * 5000
    assert delivered(Framer(separator), b"a" + separator + b"b" + separator) == [b"a", b"b"]


def test_struct_without_values() -> None:
    framer = Framer(struct.Struct("2x"))
    assert delivered(framer, b"abcd") == [(), ()]
    framer.feed(b"ab")
    assert framer.take() == ()


# -- what a delimiter may be ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "delimiter,named",
    [
        ("\n", "str"),
        (bytearray(b"\n"), "bytearray"),
        (memoryview(b"\n"), "memoryview"),
        (True, "bool"),
        (1.5, "float"),
        ([b"\n"], "list"),
        (re.compile("\n"), "re.Pattern of str|Pattern of str"),
    ],
)
def test_wrong_kinds(delimiter: Any, named: str) -> None:
    framer = Framer(b"\n")
    with pytest.raises(TypeError, match=f"None, bytes, int, .*Pattern.*Struct.*NetStruct.*not ({named})"):
        framer.delimiter = delimiter
    with pytest.raises(TypeError):
        check(delimiter)
    with pytest.raises(TypeError):
        Framer(delimiter)
    assert framer.delimiter == b"\n"
    assert delivered(framer, b"a\nb\n") == [b"a", b"b"]


@pytest.mark.parametrize(
    "delimiter", [b"\n", bytearray(b"\n"), True, struct.Struct("B"), NETSTRUCT, re.compile(b"\n")], ids=repr
)
def test_wrong_kinds_for_text(delimiter: Any) -> None:
    with pytest.raises(TypeError, match=r"None, str, int, re\.Pattern of str, not"):
        check(delimiter, text=True)
    with pytest.raises(TypeError):
        Framer(delimiter, text=True)


@pytest.mark.parametrize("text", [False, True])
def test_right_kinds(text: bool) -> None:
    string: list[Any] = ["\n", re.compile("")] if text else [b"\n", re.compile(b""), struct.Struct("B"), NETSTRUCT]
    for delimiter in [None, 1, *string]:
        check(delimiter, text=text)
        assert Framer(delimiter, text=text).delimiter is delimiter


@pytest.mark.parametrize(
    "delimiter,text",
    [
        (b"", False),
        ("", True),
        (0, False),
        (0, True),
        (-1, False),
        (struct.Struct(""), False),
        (struct.Struct("0s"), False),
        (NetStruct(b""), False),
        (NetStruct(b"0b"), False),
        (NetStruct(b"B$0B$"), False),  # the second $ has no length of its own
    ],
    ids=repr,
)
def test_what_consumes_nothing(delimiter: Any, text: bool) -> None:
    with pytest.raises(ValueError):
        check(delimiter, text)
    framer = Framer(text=text)
    with pytest.raises(ValueError):
        framer.delimiter = delimiter
    assert framer.delimiter is None


def test_options() -> None:
    framer = Framer()
    assert (framer.delimiter, framer.regex_search, framer.halted, framer.pending) == (None, True, False, 0)
    assert framer.limit == DEFAULT_LIMIT == 65536  # "By default, a maximum of 64kb of data will be stored."
    assert not hasattr(framer, "__dict__")  # there is one for each connection


@pytest.mark.parametrize("limit", ["1", 1.0, None, True])
def test_limit_of_a_wrong_kind(limit: Any) -> None:
    framer = Framer()
    with pytest.raises(TypeError, match=f"not {type(limit).__name__}"):
        framer.limit = limit
    with pytest.raises(TypeError):
        Framer(limit=limit)
    assert framer.limit == DEFAULT_LIMIT


@pytest.mark.parametrize("limit", [0, -1])
def test_limit_below_one(limit: int) -> None:
    with pytest.raises(ValueError, match="1 or more"):
        Framer().limit = limit
    with pytest.raises(ValueError):
        Framer(limit=limit)


@pytest.mark.parametrize("delimiter", [100, struct.Struct("100s")], ids=repr)
def test_int_and_struct_enlarge_the_limit(delimiter: Any) -> None:
    framer = Framer(limit=10)
    framer.delimiter = delimiter
    assert framer.limit == 100
    framer.feed(b"x" * 100)
    assert framer.take() in (b"x" * 100, (b"x" * 100,))
    assert Framer(delimiter, limit=10).limit == 100
    assert Framer(delimiter, limit=1000).limit == 1000


def test_netstruct_does_not_enlarge_the_limit() -> None:
    framer = Framer(NetStruct(b"100s"), limit=10)
    assert framer.limit == 10
    with pytest.raises(BufferOverflow):
        delivered(framer, b"x")


# -- changes on the way ------------------------------------------------------------------------------------------


def test_a_new_delimiter_rules_from_the_next_byte() -> None:
    framer = Framer(b"\r\n")
    frames: list[Any] = []
    steps: Iterator[Any] = iter(
        [5, struct.Struct("!H"), NetStruct(b"B$"), re.compile(rb"[;,]"), re.compile(rb"  +z"), b"\r\n", None, b"\r\n"]
    )

    def receive(*values: Any) -> None:
        frames.append(value(values))
        framer.delimiter = next(steps)

    framer.feed(b"head\r\n12345\0\7\3abcx;y  ztail\r\nthe\r\nrest")
    framer.deliver(receive)
    assert frames == [b"head", b"12345", (7,), b"abc", b"x", b"y", b"tail", b"the\r\nrest"]


@pytest.mark.parametrize("size", range(1, 20))
def test_a_new_delimiter_rules_however_the_data_is_cut(size: int) -> None:
    framer = Framer(b"\n")
    frames = []

    def receive(frame: bytes) -> None:
        frames.append(frame)
        framer.delimiter = int(frame) if framer.delimiter == b"\n" else b"\n"

    for piece in in_pieces(b"3\na\nb5\nhello1\n\n10\n0123456789", size):
        framer.feed(piece)
        framer.deliver(receive)
    assert frames == [b"3", b"a\nb", b"5", b"hello", b"1", b"\n", b"10", b"0123456789"]


def test_a_new_delimiter_looks_at_what_is_held() -> None:
    framer = Framer(b"\r\n")
    assert delivered(framer, b"a;b", b"c;", b"d") == []
    framer.delimiter = b";"
    assert delivered(framer) == [b"a", b"bc"]
    framer.delimiter = None
    assert framer.take() == b"d"


def test_regex_search_is_changed_for_the_next_byte() -> None:
    framer = Framer(re.compile(b"[0-9]"))
    frames: list[Any] = []

    def receive(frame: Any) -> None:
        frames.append(frame if isinstance(frame, bytes) else frame.groups() or frame.group())
        framer.regex_search = not framer.regex_search

    framer.feed(b"ab1234cd5")
    framer.deliver(receive)
    assert frames == [b"ab", b"2", b"", b"4", b"cd"]
    assert not framer.regex_search


def test_limit_is_changed_for_the_next_byte() -> None:
    framer = Framer(b"\n", limit=4)
    frames = []

    def receive(frame: bytes) -> None:
        frames.append(frame)
        framer.limit += 1

    framer.feed(b"1234\n12345\n123456\n12345678\n")
    with pytest.raises(BufferOverflow):
        framer.deliver(receive)
    assert frames == [b"1234", b"12345", b"123456"]


# -- stopping and going on ----------------------------------------------------------------------------------------


@kinds
def test_halting_after_each_frame(delimiter: Any, options: Any, data: Any, frames: list[Any], left: int) -> None:
    framer = Framer(delimiter, **options)
    got: list[Any] = []

    def receive(*values: Any) -> None:
        got.append(value(values))
        framer.halted = True

    framer.feed(data)
    for count in range(1, len(frames) + 1):
        framer.deliver(receive)
        assert len(got) == count
        framer.deliver(receive)
        assert framer.take() is None
        assert len(got) == count, "delivered while halted"
        assert framer.halted
        framer.halted = False
    framer.deliver(receive)
    assert got == unpacked(delimiter, frames)
    assert framer.pending == left


@kinds
def test_fed_while_halted(delimiter: Any, options: Any, data: Any, frames: list[Any], left: int) -> None:
    framer = Framer(delimiter, **options)
    framer.halted = True
    assert delivered(framer, *one_by_one(data)) == []
    assert framer.pending == len(data)
    framer.halted = False
    assert delivered(framer, data[:0]) == unpacked(delimiter, frames)


def test_halted_with_frames_left_and_fed_again() -> None:
    framer = Framer(b"\n")
    framer.feed(b"a\nb\nc")
    assert framer.take() == b"a"
    framer.feed(b"d\ne")
    framer.feed(b"\n")
    assert framer.pending == len(b"b\ncd\ne\n")
    assert delivered(framer) == [b"b", b"cd", b"e"]


def test_nothing_fed_is_nothing_delivered() -> None:
    framer = Framer()
    framer.halted = True
    for piece in (b"", b"a", b"", b"b", b""):
        framer.feed(piece)
    framer.halted = False
    assert delivered(framer) == [b"a", b"b"]
    assert delivered(framer) == []
    frames = []

    def receive(frame: bytes) -> None:
        frames.append(frame)
        framer.feed(b"")
        framer.limit = 10

    framer.feed(b"c")
    framer.deliver(receive)
    assert frames == [b"c"]


def test_halted_and_released_by_the_same_receiver() -> None:
    framer = Framer(b"\n")
    frames = []

    def receive(frame: bytes) -> None:
        framer.halted = True
        frames.append(frame)
        framer.halted = False

    framer.feed(b"a\nb\nc\n")
    framer.deliver(receive)
    assert frames == [b"a", b"b", b"c"]


def test_delivering_is_not_entered_again() -> None:
    framer = Framer(b"\n")
    frames: list[bytes] = []

    def receive(frame: bytes) -> None:
        framer.deliver(frames.append)
        assert framer.take() is None
        assert not framer.halted
        frames.append(frame)

    framer.feed(b"a\nb\n")
    framer.deliver(receive)
    assert frames == [b"a", b"b"]


@pytest.mark.parametrize("delimiter", [b"\n", 2, None, re.compile(b"\n")], ids=repr)
def test_fed_by_a_receiver(delimiter: Any) -> None:
    framer = Framer(delimiter)
    frames = []

    def receive(frame: bytes) -> None:
        frames.append(frame)
        if len(frames) == 1:
            framer.feed(b"c")
            framer.feed(b"\n")

    framer.feed(b"a\nb\n")
    framer.deliver(receive)
    assert b"".join(frames).replace(b"\n", b"") == b"abc"
    assert framer.pending == 0


@kinds
def test_an_exception_consumes_its_frame(delimiter: Any, options: Any, data: Any, frames: list[Any], left: int) -> None:
    framer = Framer(delimiter, **options)
    got: list[Any] = []

    def receive(*values: Any) -> None:
        got.append(value(values))
        raise ZeroDivisionError

    framer.feed(data)
    for count in range(1, len(frames) + 1):
        with pytest.raises(ZeroDivisionError):
            framer.deliver(receive)
        assert len(got) == count
    framer.deliver(receive)
    assert got == unpacked(delimiter, frames)
    assert framer.pending == left


def test_a_limit_lowered_at_the_last_frame() -> None:
    framer = Framer(2)
    framer.feed(b"ab")
    framer.deliver(lambda frame: setattr(framer, "limit", 1))
    assert framer.pending == 0  # and nothing was too long


def test_clear() -> None:
    framer = Framer(b"\n")
    assert delivered(framer, b"ab", b"c") == []
    framer.clear()
    assert framer.pending == 0
    assert delivered(framer, b"d\n") == [b"d"]


def test_cleared_by_a_receiver() -> None:
    framer = Framer(b"\n")
    frames = []

    def receive(frame: bytes) -> None:
        frames.append(frame)
        if frame == b"a":
            framer.clear()
            framer.feed(b"new\n")

    framer.feed(b"a\nb\nc")
    framer.deliver(receive)
    assert frames == [b"a", b"new"]


# -- frames that are too long -------------------------------------------------------------------------------------


@lengths
@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize("limit", [20, 90])
def test_the_longest_frame(delimiter: Any, options: Any, make: Any, size: int, limit: int) -> None:
    data = make(5) + make(limit) + make(limit)
    assert len(delivered(Framer(delimiter, limit=limit, **options), *in_pieces(data, size))) == 3


@lengths
@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize("limit", [20, 90])
def test_a_frame_that_is_too_long(delimiter: Any, options: Any, make: Any, size: int, limit: int) -> None:
    framer = Framer(delimiter, limit=limit, **options)
    good, bad = make(5) + make(limit), make(limit + 1) + make(5)
    frames: list[Any] = []

    def feed_all() -> None:
        while pieces:
            framer.feed(pieces.pop(0))
            framer.deliver(lambda *values: frames.append(value(values)))

    pieces = in_pieces(good + bad, size)
    with pytest.raises(BufferOverflow):
        feed_all()
    assert len(frames) == 2  # those before it are delivered
    assert framer.pending == len(bad) - sum(map(len, pieces))  # it is kept
    with pytest.raises(BufferOverflow):  # and does not go away by itself
        framer.deliver(frames.append)
    framer.limit = limit + 1
    pieces.insert(0, good[:0])
    feed_all()
    assert len(frames) == 4


@pytest.mark.parametrize(
    "delimiter,options,held",
    [
        (b"\n", {}, 10),
        (b"abcd", {}, 13),  # the last three may be the beginning of the separator
        ("abcd", {"text": True}, 13),
        (re.compile(b"abcd"), {}, 13),
        (re.compile(b"[ab]c?d"), {}, 12),
        (re.compile(rb"\bab"), {}, 12),  # \b would see the third
        (re.compile(b"ab+"), {}, 10),
        (re.compile(b"ab(?=c)"), {}, 10),
        (re.compile(b"a.?"), {"regex_search": False}, 10),
        (struct.Struct("11s"), {}, 0),
        (11, {}, 0),
        (NetStruct(b"11s"), {}, 0),
        (NetStruct(b"B$"), {}, 0),
    ],
    ids=repr,
)
def test_incomplete_frames_overflow_as_soon_as_it_is_certain(delimiter: Any, options: Any, held: int) -> None:
    for pieces in (["z"] * (held + 1), ["z" * (held + 1)]):
        framer = Framer(delimiter, **options)
        framer.limit = 10
        data = [piece if options.get("text") else piece.encode() for piece in pieces]
        for piece in data[:-1]:
            assert delivered(framer, piece) == []
        assert framer.pending == (held if len(data) > 1 else 0)
        with pytest.raises(BufferOverflow):
            delivered(framer, data[-1])


@pytest.mark.parametrize(
    "packed,data",
    [
        (b"I$", b"\xff\xff\xff\xff"),
        (b"i$", b"\x80\0\0\0"),
        (b"b$", b"\xff"),
        (b"bb$B", b"\1\xff"),
        (b"B$b$", b"\2ab\xfe"),
        (b"B$B$", b"\2ab\x0d"),
        (b"B$20s", b"\0"),
        (b"H$", b"\0\x0f"),  # with its length the frame has 17
    ],
)
def test_netstruct_lengths_are_refused_when_announced(packed: bytes, data: bytes) -> None:
    framer = Framer(NetStruct(packed), limit=16)
    with pytest.raises(BufferOverflow):
        delivered(framer, data)
    framer = Framer(NetStruct(packed), limit=16)
    with pytest.raises(BufferOverflow):
        delivered(framer, *one_by_one(data))


@kinds
def test_as_good_as_no_limit(delimiter: Any, options: Any, data: Any, frames: list[Any], left: int) -> None:
    framer = Framer(delimiter, limit=2 * sys.maxsize, **options)
    assert delivered(framer, data) == unpacked(delimiter, frames)
    framer = Framer(delimiter, limit=2 * sys.maxsize, **options)
    assert delivered(framer, *one_by_one(data)) == unpacked(delimiter, frames)


@pytest.mark.parametrize("size", [1, 5, 100])
def test_what_lies_beyond_the_limit_is_not_seen(size: int) -> None:
    framer = Framer(re.compile(b"a(?=.{20}b)"), limit=10)
    pieces = in_pieces(b"a" + b"x" * 20 + b"b", size)
    for piece in pieces[: 10 // size]:
        assert delivered(framer, piece) == []
    for piece in pieces[10 // size :]:
        framer.feed(piece)
    with pytest.raises(BufferOverflow):
        framer.take()  # where all came at once, the pattern would match


def test_a_limit_set_below_the_size_of_frames() -> None:
    for delimiter in (4, struct.Struct("4s")):
        framer = Framer(delimiter)
        framer.limit = 3
        assert delivered(framer) == []
        with pytest.raises(BufferOverflow):
            delivered(framer, b"a")
        with pytest.raises(BufferOverflow):
            delivered(framer, b"bcd")
        framer.limit = 4
        framer.feed(b"")
        assert framer.take() in (b"abcd", (b"abcd",))


# -- regular expressions ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pattern", [b"", b"x*", rb"\b", b"(?=a)", b"^"])
@pytest.mark.parametrize("search", [False, True])
def test_a_pattern_that_matches_nothing_at_the_start(pattern: bytes, search: bool) -> None:
    framer = Framer(re.compile(pattern), regex_search=search)
    assert delivered(framer) == []
    for _ in range(2):
        with pytest.raises(DelimiterError):
            delivered(framer, b"a")
    framer.delimiter = 2
    assert framer.take() == b"aa"


def test_a_pattern_that_matches_nothing_further_on() -> None:
    framer = Framer(re.compile(b"(?=X)"))
    frames: list[bytes] = []
    framer.feed(b"abXc")
    with pytest.raises(DelimiterError):
        framer.deliver(frames.append)
    assert frames == [b"ab"]
    assert framer.pending == 2


@pytest.mark.parametrize("text", [False, True])
@pytest.mark.parametrize("size", [1, 2, 100])
@pytest.mark.parametrize(
    "pattern,data,frames",
    [
        ("^a|b", "xabxaba", ["xa", "xa", ""]),  # bounded: the third frame starts with an a
        (r"\Aa|b", "xabxaba", ["xa", "xa", ""]),
        (r"(?m)^\.\n", "a.\n.\nb\n.\n", ["a.\n", "b\n"]),
        (r"\b\.", "..a.b", ["..a"]),
        (r"(?<=a)b", "abbcab", ["a", "bca"]),  # unbounded: the second b is not behind an a any more
        (r"(?<!^)a+;", "a;ba;", ["a;b"]),
        (r"(?<![^\n])\.", "a.\n.b\n.", ["a.\n", "b\n"]),
    ],
)
def test_the_start_of_a_frame_is_the_start_of_the_data(
    pattern: str, data: str, frames: list[str], size: int, text: bool
) -> None:
    framer = Framer(re.compile(pattern if text else pattern.encode()), text=text)
    got = delivered(framer, *in_pieces(data if text else data.encode(), size))
    assert got == (frames if text else [frame.encode() for frame in frames])


@pytest.mark.parametrize("data", [b"key=value;k=;rest", b"k=;" + b"v=" + b"w" * 5000 + b";r"])
def test_matches(data: bytes) -> None:
    framer = Framer(re.compile(rb"(?P<key>\w+)=(\w+)?;"), regex_search=False)
    matches: list[re.Match[bytes]] = []
    framer.feed(data)
    framer.deliver(matches.append)
    assert [match.group() for match in matches] == [part + b";" for part in data.split(b";")[:2]]
    for match in matches:
        assert match.start() == 0
        assert type(match.group("key")) is bytes
        assert match.string == match.group()
        assert match.expand(rb"\1!") == match.group(1) + b"!"


def test_matches_that_look_beyond_their_end() -> None:
    framer = Framer(re.compile(rb"(\w+?)(?=;)|;"), regex_search=False)
    matches: list[re.Match[bytes]] = []
    framer.feed(b"ab;cd;")
    framer.deliver(matches.append)
    assert [match.group() for match in matches] == [b"ab", b";", b"cd", b";"]
    assert matches[2].string[: matches[2].end()] == b"cd"
    assert matches[2].expand(rb"<\1>") == b"<cd>"


def test_unbounded_patterns_have_a_budget() -> None:
    limit = 1000
    framer = Framer(re.compile(b"a+b"), limit=limit)
    with pytest.raises(BufferOverflow, match="scanned"):
        delivered(framer, *[b"x"] * limit)
    # 64 x the limit, and the first byte was not searched a second time
    assert sum(range(2, framer.pending)) <= 64 * limit < sum(range(2, framer.pending + 1))


def test_each_frame_has_a_budget_of_its_own() -> None:
    framer = Framer(re.compile(b"a+b"), limit=1000)
    frames = delivered(framer, *one_by_one((b"x" * 300 + b"ab") * 10))
    assert frames == [b"x" * 300] * 10


def test_patterns_of_which_the_parser_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib, "import_module", lambda name: None)
    framer = Framer(re.compile(rb"\r?\n(?#unknown)"))
    assert delivered(framer, b"a\nb\r", b"\nc") == [b"a", b"b"]


def test_patterns_are_not_warned_about_twice() -> None:
    with pytest.warns(FutureWarning):
        pattern = re.compile(b"[[a]b")
    assert delivered(Framer(pattern), b"x[by") == [b"x"]


# -- the work it takes --------------------------------------------------------------------------------------------


class Work:
    """Counts how many bytes (characters) are copied or looked at."""

    def __init__(self) -> None:
        self.done = 0

    def tail(self, data: Any) -> Any:
        """An incomplete frame, of which all reading is counted."""
        work = self

        class Tail(bytearray if isinstance(data, bytes) else Characters):  # type: ignore[misc]
            def __getitem__(self, part: Any) -> Any:
                found = super().__getitem__(part)
                work.done += len(found)
                return found

        return Tail(data)

    def data(self, data: Any) -> Any:
        """Data to be cut, of which all slicing and searching is counted."""
        work = self

        class Data(type(data)):  # type: ignore[misc]
            def __getitem__(self, part: Any) -> Any:
                found = super().__getitem__(part)
                work.done += len(found)
                return found

            def find(self, what: Any, *span: Any) -> int:
                found: int = super().find(what, *span)
                work.done += (found if found >= 0 else min(span[1], len(self))) - span[0]
                return found

        return Data(data)


class Counting(Framer):
    """A framer whose work on incomplete frames is counted."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self.work = Work()
        super().__init__(*args, **options)

    def _collect(self, data: Any, searched: int) -> None:
        super()._collect(data, searched)
        self.work.done += len(data)
        self._tail = self.work.tail(data)

    def _collected(self, tail: Any) -> Any:
        self.work.done += len(tail)
        return super()._collected(tail)


@pytest.mark.parametrize(
    "delimiter,options,make",
    [
        (b"\r\n", {}, lambda n: b"x" * n + b"\r\n"),
        (b"x" * 7 + b"y", {}, lambda n: b"x" * n + b"y"),
        ("\r\n", {"text": True}, lambda n: "x" * n + "\r\n"),
        (4000, {}, lambda n: b"x" * n),
        (4000, {"text": True}, lambda n: "x" * n),
        (struct.Struct("4000s"), {}, lambda n: b"x" * n),
        (NetStruct(b"H$"), {}, lambda n: struct.pack("!H", n) + b"x" * n),
        (NetStruct(b"H$H$"), {}, lambda n: struct.pack("!H", n) + b"x" * n + b"\0\1x"),
        (re.compile(rb"\r?\n"), {}, lambda n: b"x" * n + b"\r\n"),
        (re.compile(rb"(?m)^\.\r?$\n"), {}, lambda n: b"x" * n + b"\n.\r\n"),
        (re.compile(rb"^x|\n"), {}, lambda n: b"y" + b"x" * n + b"\n"),  # no x is at the start
        (re.compile("\r?\n"), {"text": True}, lambda n: "x" * n + "\r\n"),
    ],
    ids=repr,
)
def test_data_fed_one_by_one_is_linear_work(delimiter: Any, options: Any, make: Any) -> None:
    framer = Counting(delimiter, **options)
    data = make(4000)
    framer.feed(data[:0])
    frames = delivered(framer, *one_by_one(data))
    assert len(frames) == 1
    assert framer.work.done <= 20 * len(data)  # each byte once, with the width of a separator or match before it


@pytest.mark.parametrize(
    "delimiter", [b"\n", 2, struct.Struct("2s"), NetStruct(b"B$"), re.compile(b"\n"), re.compile(b"\n+")], ids=repr
)
def test_many_frames_in_one_piece_are_linear_work(delimiter: Any) -> None:
    framer = Framer(delimiter)
    work = Work()
    framer.feed(work.data(b"\1\n" * 50000))
    count = []
    framer.deliver(lambda *values: count.append(1))
    assert len(count) == 50000
    assert work.done <= 50000 * 70  # what is split at once is copied for each 64 frames


@pytest.mark.parametrize("pattern,search", [("\n", True), ("\n+", True), (".\n", False)])
def test_many_matches_in_one_text_are_linear_work(pattern: str, search: bool) -> None:
    framer = Framer(re.compile(pattern), text=True, regex_search=search)
    work = Work()
    framer.feed(work.data("x\n" * 50000))
    count: list[str] = []
    framer.deliver(count.append)
    assert len(count) == 50000
    assert work.done <= 2 * 100000


def test_a_new_delimiter_at_each_frame_is_linear_work() -> None:
    framer = Framer(b"\n")
    work = Work()
    framer.feed(work.data(b"\1\n" * 50000))
    count = []

    def receive(frame: bytes) -> None:
        count.append(frame)
        framer.delimiter = 2 if framer.delimiter == b"\n" else b"\n"

    framer.deliver(receive)
    assert len(count) == 50000
    assert work.done <= 50000 * 5000  # at most what is split at once, for each frame


def test_taking_from_a_backlog_that_grows_is_linear_work() -> None:
    framer = Counting(b"\n")
    framer.feed(framer.work.data(b"\1\n" * 10000))
    for _ in range(20000):
        assert framer.take() == b"\1"
        framer.feed(b"\1\n")
    assert framer.work.done <= 20000 * 5000


@pytest.mark.parametrize("text", [False, True])
def test_small_pieces_take_little_memory(text: bool) -> None:
    framer = Framer("\n" if text else b"\n", text=text)
    tracemalloc.start()
    try:
        for _ in range(32768):
            framer.feed("xx" if text else b"xx")
            framer.deliver(print)
        assert framer.pending == 65536
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_what_is_used_up_is_let_go() -> None:
    framer = Framer(10)
    framer.feed(bytes(1 << 20))
    tracemalloc.start()
    try:
        framer.deliver(lambda frame: None)
        framer.feed(b"x")
        assert tracemalloc.get_traced_memory()[0] < 10000
    finally:
        tracemalloc.stop()
    assert framer.pending == (1 << 20) % 10 + 1


# -- the documentation, the fuzz target ---------------------------------------------------------------------------


def test_the_example() -> None:
    results = doctest.testmod(pants.delimiter)
    assert results.attempted > 0
    assert results.failed == 0


def test_fuzz_target() -> None:
    path = Path(__file__).parents[2] / "fuzz" / "fuzz_delimiter.py"
    spec = importlib.util.spec_from_file_location("fuzz_delimiter", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.fuzz(300)


@pytest.mark.parametrize("rule", ["delimiter", "limit", "regex_search", "halted"])
def test_nothing_is_skipped_where_data_came_while_frames_waited(rule: str) -> None:
    """A rule set by the last frame of a piece, behind which more has been fed meanwhile."""
    framer = Framer(b"\n")
    got: list[bytes] = []

    def receive(frame: bytes) -> None:
        got.append(frame)
        if frame == b"a":
            framer.halted = True
        elif frame == b"b":
            if rule == "delimiter":
                framer.delimiter = b";"
            elif rule == "limit":
                framer.limit = 1000
            elif rule == "regex_search":
                framer.regex_search = False
            else:
                framer.halted = True
                framer.halted = False

    framer.feed(b"a\nb\n")
    framer.deliver(receive)
    end = b";" if rule == "delimiter" else b"\n"
    framer.feed(end.join([b"c", b"d", b"e", b""]))
    framer.halted = False
    framer.deliver(receive)
    assert got == [b"a", b"b", b"c", b"d", b"e"]
    assert framer.pending == 0


@pytest.mark.parametrize(
    "delimiter, text",
    [
        (None, None),
        (4, None),
        ("x", True),
        (b"x", False),
        (re.compile("x"), True),
        (re.compile(b"x"), False),
        (struct.Struct("!H"), False),
        (NetStruct(b"!H$"), False),
    ],
    ids=repr,
)
def test_what_a_delimiter_cuts(delimiter: Any, text: bool | None) -> None:
    assert wants_text(delimiter) is text
