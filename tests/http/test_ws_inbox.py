"""What `WebSocket.read_delimiter` makes of messages (manual: "pants.http.websocket"), without a connection."""

from __future__ import annotations

import copy
import pickle
import re
import struct
import sys
import tracemalloc
from collections.abc import Callable, Iterable
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from netstruct import NetStruct

from pants._delivery import Delivery
from pants.errors import BufferOverflow
from pants.http._ws_frames import WebSocketError
from pants.http._ws_inbox import EntireMessage, Inbox


def named(delimiter: Any) -> str:
    """What a test with this delimiter is called."""
    return f"Struct-{delimiter.format}" if isinstance(delimiter, struct.Struct) else str(delimiter)


class Receiver:
    """Takes what an inbox hands out, as a `WebSocket` does."""

    _deliver = Delivery._deliver
    _tell_stuck = Delivery._tell_stuck

    def __init__(self, inbox: Inbox) -> None:
        self.inbox = inbox
        self.got: list[Any] = []
        self.overflows: list[Exception] = []
        self.errors: list[Exception] = []
        self.then: Callable[[Any], object] = lambda value: None
        self.on_overflow: Callable[[], object] = lambda: None

    @property
    def _may_read(self) -> bool:
        return not self.inbox.halted

    def _call_hook(self, hook: Callable[..., object], *args: Any) -> None:
        hook(*args)

    def _contain(self, exception: Exception) -> None:
        self.errors.append(exception)

    def on_overflow_error(self, exception: Exception) -> None:
        self.overflows.append(exception)
        self.on_overflow()

    def on_read(self, *values: Any) -> None:
        value = values[0].group() if isinstance(values[0], re.Match) else values if len(values) > 1 else values[0]
        self.got.append(value)
        self.then(value)


class Box:
    """An inbox, and what came out of it."""

    def __init__(self, delimiter: Any = EntireMessage) -> None:
        self.inbox = Inbox()
        self.receiver = Receiver(self.inbox)
        if delimiter is not EntireMessage:
            self.inbox.delimiter = delimiter

    @property
    def got(self) -> list[Any]:
        return self.receiver.got

    def deliver(self) -> None:
        self.inbox.deliver(self.receiver)  # type: ignore[arg-type]

    def part(self, data: bytes, last: bool = False) -> None:
        self.inbox.add(data, last)
        if not self.inbox.halted:
            self.deliver()

    def message(self, content: str | bytes, size: int | None = None, empty: bool = False) -> None:
        """Receive a message, in parts of so many bytes, the last of them perhaps empty."""
        self.inbox.begin(isinstance(content, str))
        data = content.encode() if isinstance(content, str) else content
        size = size or max(len(data), 1)
        parts = [data[at : at + size] for at in range(0, len(data), size)] or [b""]
        if empty:
            parts.append(b"")
        self.parts(parts)

    def parts(self, parts: list[bytes]) -> None:
        """Receive all the parts of a message that has begun."""
        for number, part in enumerate(parts):
            self.part(part, number == len(parts) - 1)


NETSTRUCT: Final = NetStruct(b"B$H")

# A delimiter, whether it is searched for, messages, what the manual promises for these, and what is left over.
KINDS: Final[list[Any]] = [
    pytest.param(EntireMessage, True, ["one", "", "thrée"], ["one", "", "thrée"], "", id="messages"),
    pytest.param(EntireMessage, True, [b"one", b"", b"\xff\0"], [b"one", b"", b"\xff\0"], b"", id="bytes-messages"),
    pytest.param("\n", True, ["a\n\nbö\nc", "d", "\ne"], ["a", "", "bö", "cd"], "e", id="str"),
    pytest.param(b"--", True, [b"a--b-", b"-c-", b"", b"--"], [b"a", b"b", b"c"], b"-", id="bytes"),
    pytest.param(3, True, ["äöü€", "bc", "", "d"], ["äöü", "€bc"], "d", id="int-text"),
    pytest.param(3, True, [b"\xff\xfe\xfda", b"bc", b"", b"d"], [b"\xff\xfe\xfd", b"abc"], b"d", id="int"),
    pytest.param(struct.Struct("!HB"), True, [b"\0\1\2\0", b"\3", b"\4\0"], [(1, 2), (3, 4)], b"\0", id="Struct"),
    pytest.param(NETSTRUCT, True, [b"\2a", b"b\0\1", b"\0\0\7\1"], [(b"ab", 1), (b"", 7)], b"\1", id="NetStruct"),
    pytest.param(re.compile("[;,]"), True, ["ä;b", ",c,,", "d"], ["ä", "b", "c", ""], "d", id="pattern-text"),
    pytest.param(re.compile(b"[;,]"), True, [b"\xff;b", b",c,,", b"d"], [b"\xff", b"b", b"c", b""], b"d", id="pattern"),
    pytest.param(re.compile("[^;]*;"), False, ["ä;b", "b;", "c"], ["ä;", "bb;"], "c", id="match-text"),
    pytest.param(re.compile(b"[^;]*;"), False, [b"\xff;b", b"b;", b"c"], [b"\xff;", b"bb;"], b"c", id="match"),
]
kinds = pytest.mark.parametrize("delimiter, search, messages, frames, left", KINDS)


def filled(delimiter: Any, search: bool) -> Box:
    box = Box(delimiter)
    box.inbox.regex_search = search
    return box


# --- Every kind, however the messages arrive ------------------------------------------------------------------------


@kinds
def test_every_kind(delimiter: Any, search: bool, messages: list[Any], frames: list[Any], left: Any) -> None:
    for size in (None, 1, 2, 3):
        for empty in (False, True):
            box = filled(delimiter, search)
            for message in messages:
                box.message(message, size, empty)
            assert box.got == frames
            assert [type(frame) for frame in box.got] == [type(frame) for frame in frames]
            assert box.inbox.pending is bool(left)
            # What is left comes with what follows, and what follows comes as it would have.
            box.got.clear()
            box.inbox.delimiter = None
            box.message(left[:0] + type(left)(left), size)
            assert left[:0].join(box.got) == left + left


@kinds
def test_every_kind_when_it_is_handed_out_later(
    delimiter: Any, search: bool, messages: list[Any], frames: list[Any], left: Any
) -> None:
    """While `WebSocket.pause_reading` holds, a message may be completed, but no more."""
    if delimiter is EntireMessage:
        frames, messages = frames[:1], messages[:1]
    box = filled(delimiter, search)
    box.inbox.halted = True
    for message in messages:
        box.message(message, 1)
    assert box.got == []
    assert box.inbox.pending
    box.deliver()
    assert box.got == []
    box.inbox.halted = False
    box.deliver()
    assert box.got == frames
    assert box.inbox.pending is bool(left)


@kinds
def test_every_kind_halted_at_each_frame(
    delimiter: Any, search: bool, messages: list[Any], frames: list[Any], left: Any
) -> None:
    box = filled(delimiter, search)

    def halt(value: Any) -> None:
        box.inbox.halted = True

    box.receiver.then = halt
    for message in messages:
        box.message(message)
        count = len(box.got)
        while box.inbox.halted:
            assert len(box.got) - count <= 1
            count = len(box.got)
            box.inbox.halted = False
            box.deliver()
    assert box.got == frames
    assert box.inbox.pending is bool(left)


def test_without_a_delimiter_data_comes_as_it_arrives() -> None:
    for content in ("äb€", b"\xff\0a"):
        box = Box(None)
        box.message(content)
        assert box.got == [content]
        box = Box(None)
        box.message(content, 1)
        assert len(box.got) == 3
        assert content[:0].join(box.got) == content
        assert not box.inbox.pending


def test_messages_are_the_default() -> None:
    assert Inbox().delimiter is EntireMessage
    assert repr(EntireMessage) == "EntireMessage"
    assert pickle.loads(pickle.dumps(EntireMessage)) is EntireMessage
    assert copy.deepcopy(EntireMessage) is EntireMessage
    assert Inbox().limit == 65536
    assert Inbox().regex_search is True


def test_text_and_bytes_by_turns() -> None:
    box = Box()
    for content in ("a", b"b", "", b"", "ä", b"\xff", b"c", "d"):
        box.message(content)
    assert box.got == ["a", b"b", "", b"", "ä", b"\xff", b"c", "d"]
    box = Box(2)
    for content in ("ab", b"cd", "ä€", b"\xff\xfe"):
        box.message(content, 1)
    assert box.got == ["ab", b"cd", "ä€", b"\xff\xfe"]


def test_an_exception_costs_its_own_frame_only() -> None:
    for delimiter, contents in ((EntireMessage, ["a", "b", "c"]), ("\n", ["a\nb\nc\n"])):
        box = Box(delimiter)

        def fail(value: Any) -> None:
            raise KeyError(value)

        box.receiver.then = fail
        for content in contents:
            box.message(content)
        assert box.got == ["a", "b", "c"]
        assert [type(error) for error in box.receiver.errors] == [KeyError] * 3


def test_idle() -> None:
    """Whole messages are wanted, and nothing is held."""
    box = Box()
    assert box.inbox.idle
    box.inbox.begin(True)
    assert not box.inbox.idle
    box.part(b"a")
    assert not box.inbox.idle
    box.part(b"", True)
    assert box.inbox.idle
    box.inbox.delimiter = "\n"
    assert not box.inbox.idle
    box.message("a\nb")
    box.inbox.delimiter = EntireMessage
    assert not box.inbox.idle
    box.deliver()
    assert box.got == ["a", "a", "b"]
    assert box.inbox.idle


# --- UTF-8 ----------------------------------------------------------------------------------------------------------

TEXTS: Final = [
    "\0",
    "\x7f",
    "\x80",
    "\u07ff",
    "\u0800",
    "\ud7ff",
    "\ue000",
    "\ufffd",
    "\uffff",
    "\U00010000",
    "\U0010ffff",
]


def test_text_that_is_split_anywhere() -> None:
    text = "a".join(TEXTS)
    data = text.encode()
    for at in range(len(data) + 1):
        box = Box()
        box.inbox.begin(True)
        box.part(data[:at])
        box.part(data[at:], True)
        assert box.got == [text]
        box = Box(None)
        box.inbox.begin(True)
        box.part(data[:at])
        assert "".join(box.got) == data[:at].decode(errors="ignore")  # all that is complete is handed out
        box.part(data[at:], True)
        assert "".join(box.got) == text


def earliest(data: bytes) -> int:
    """How many bytes tell that it is not UTF-8: no text begins with them (Unicode, table 3-7)."""
    ranges = {
        **{first: [(0x80, 0xBF)] for first in range(0xC2, 0xE0)},
        **{first: [(0x80, 0xBF)] * 2 for first in range(0xE1, 0xF0)},
        **{first: [(0x80, 0xBF)] * 3 for first in range(0xF1, 0xF4)},
        0xE0: [(0xA0, 0xBF), (0x80, 0xBF)],
        0xED: [(0x80, 0x9F), (0x80, 0xBF)],
        0xF0: [(0x90, 0xBF), (0x80, 0xBF), (0x80, 0xBF)],
        0xF4: [(0x80, 0x8F), (0x80, 0xBF), (0x80, 0xBF)],
    }
    wanted: list[tuple[int, int]] = []
    for at, byte in enumerate(data):
        if wanted:
            lowest, highest = wanted[0]
            if not lowest <= byte <= highest:
                return at + 1
            wanted = wanted[1:]
        elif byte >= 0x80:
            if byte not in ranges:
                return at + 1
            wanted = ranges[byte]
    return len(data) + 1  # it only ends too early


BAD: Final = {
    "continuation": b"\x80",
    "continuation-last": b"\xbf",
    "overlong-2": b"\xc0\xaf",
    "overlong-2-last": b"\xc1\xbf",
    "overlong-3": b"\xe0\x80\xaf",
    "overlong-3-last": b"\xe0\x9f\xbf",
    "overlong-4": b"\xf0\x80\x80\xaf",
    "overlong-4-last": b"\xf0\x8f\xbf\xbf",
    "surrogate": b"\xed\xa0\x80",
    "surrogate-last": b"\xed\xbf\xbf",
    "beyond-unicode": b"\xf4\x90\x80\x80",
    "beyond-unicode-2": b"\xf5\x80\x80\x80",
    "five": b"\xf8\x88\x80\x80\x80",
    "fe": b"\xfe",
    "ff": b"\xff",
    "letter-for-a-continuation": b"\xe2\x82a",
    "start-for-a-continuation": b"\xf0\x9f\xc3\xa4",
    "cut-off-2": b"\xc3",
    "cut-off-3": b"\xe2\x82",
    "cut-off-4": b"\xf0\x9f\x98",
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
def test_text_that_is_not_utf_8(bad: bytes) -> None:
    """RFC 6455 §8.1."""
    for delimiter in (EntireMessage, None, "\n"):
        for before, behind in ((b"", b""), (b"good", b""), ("ä€".encode(), b"more")):
            data = before + bad + behind
            for size in (len(data), 1, 2):
                box = Box(delimiter)
                box.inbox.begin(True)
                with pytest.raises(WebSocketError) as caught:
                    box.parts([data[at : at + size] for at in range(0, len(data), size)])
                assert caught.value.code == 1007
                assert "".join(box.got) in before.decode()


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
def test_text_that_is_not_utf_8_fails_at_once(bad: bytes) -> None:
    """What cannot become text any more is not waited for."""
    box = Box()
    box.inbox.begin(True)
    data = b"good" + bad
    for at in range(len(data)):
        if at + 1 == earliest(data):
            with pytest.raises(WebSocketError):
                box.part(data[at : at + 1])
            return
        box.part(data[at : at + 1])
    with pytest.raises(WebSocketError):
        box.part(b"", True)


def test_bytes_may_be_anything() -> None:
    data = b"".join(BAD.values())
    box = Box()
    box.message(data, 1)
    assert box.got == [data]


def test_each_message_is_decoded_for_itself() -> None:
    box = Box("\n")
    box.message("ab")
    box.inbox.begin(True)
    with pytest.raises(WebSocketError) as caught:
        box.part("€".encode()[:1], True)
    assert caught.value.code == 1007
    box = Box("\n")
    box.message("a€")
    box.inbox.begin(True)
    with pytest.raises(WebSocketError) as caught:
        box.part("€".encode()[1:], True)
    assert caught.value.code == 1007


def test_what_is_dropped_is_utf_8_too() -> None:
    box = Box()
    box.inbox.begin(True)
    box.part(b"a")
    box.inbox.discard()
    box.part("€".encode()[:2])
    with pytest.raises(WebSocketError) as caught:
        box.part(b"a", True)
    assert caught.value.code == 1007


# --- The rules of types (manual: "Unicode Strings and Byte Strings") ------------------------------------------------

TEXT_KINDS: Final[list[Any]] = ["\n", re.compile("\n"), re.compile("\n+")]
BYTES_KINDS: Final[list[Any]] = [b"\n", re.compile(b"\n"), struct.Struct("!H"), NETSTRUCT]
WRONG: Final[list[Any]] = [(kind, b"ab") for kind in TEXT_KINDS] + [(kind, "ab") for kind in BYTES_KINDS]


@pytest.mark.parametrize("delimiter, content", WRONG, ids=named)
def test_types_of_delimiter_and_message_differ(delimiter: Any, content: Any) -> None:
    for size in (1, 2):
        box = Box(delimiter)
        with pytest.raises(WebSocketError) as caught:
            box.message(content, size)
        assert caught.value.code == 1003
        assert box.got == []


@pytest.mark.parametrize("delimiter, content", WRONG, ids=named)
def test_types_of_delimiter_and_buffer_differ(delimiter: Any, content: Any) -> None:
    """The delimiter is set while something of the other type is held."""
    for before in (content[:0] + (b";" if isinstance(content, bytes) else ";"), 5):
        box = Box(before)
        box.message(content)
        assert box.inbox.pending
        box.inbox.delimiter = delimiter
        with pytest.raises(WebSocketError) as caught:
            box.deliver()
        assert caught.value.code == 1003
        assert box.got == []


@pytest.mark.parametrize("delimiter, content", WRONG, ids=named)
def test_types_differ_in_the_middle_of_a_message(delimiter: Any, content: Any) -> None:
    data = content.encode() if isinstance(content, str) else content
    for parts in ([data], []):
        box = Box()
        box.inbox.begin(isinstance(content, str))
        for part in parts:
            box.part(part)
        box.inbox.delimiter = delimiter
        with pytest.raises(WebSocketError) as caught:
            box.part(data, True)
        assert caught.value.code == 1003
        assert box.got == []


@pytest.mark.parametrize("delimiter, content", WRONG, ids=named)
def test_types_differ_behind_the_frame_that_sets_the_delimiter(delimiter: Any, content: Any) -> None:
    box = Box(1)

    def change(value: Any) -> None:
        box.inbox.delimiter = delimiter

    box.receiver.then = change
    with pytest.raises(WebSocketError) as caught:
        box.message(content)
    assert caught.value.code == 1003
    assert box.got == [content[:1]]


@pytest.mark.parametrize("first, second", [("ab", b"c"), (b"ab", "c"), ("ab", b""), (b"ab", "")])
def test_another_type_behind_what_is_not_complete(first: Any, second: Any) -> None:
    box = Box(3)
    box.message(first)
    with pytest.raises(WebSocketError) as caught:
        box.message(second)
    assert caught.value.code == 1003
    assert box.got == []


@pytest.mark.parametrize("delimiter", [1, 2, None, EntireMessage], ids=named)
def test_another_type_behind_what_is_complete(delimiter: Any) -> None:
    box = Box(delimiter)
    for content in ("ab", b"cd", "ef"):
        box.message(content, 2)
    assert type(box.got[0])().join(box.got[: len(box.got) // 3]) == "ab"
    assert not box.inbox.pending


@pytest.mark.parametrize("delimiter", [*TEXT_KINDS, *BYTES_KINDS], ids=named)
def test_the_right_type(delimiter: Any) -> None:
    content = "ab\n" if delimiter in TEXT_KINDS else b"ab\n"
    box = Box(delimiter)
    box.message(content)
    assert not box.receiver.errors


# --- What a delimiter may be ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong", [True, 1.5, [b"\n"], bytearray(b"\n"), memoryview(b"\n"), object(), "".join], ids=named
)
def test_delimiters_of_a_wrong_kind(wrong: Any) -> None:
    box = Box("\n")
    with pytest.raises(TypeError, match=r"EntireMessage.*" + type(wrong).__name__):
        box.inbox.delimiter = wrong
    box.message("a\n")
    assert box.got == ["a"]


@pytest.mark.parametrize("wrong", ["", b"", 0, -1, struct.Struct(""), NetStruct(b"")], ids=named)
def test_delimiters_that_consume_nothing(wrong: Any) -> None:
    box = Box("\n")
    with pytest.raises(ValueError):
        box.inbox.delimiter = wrong
    assert box.inbox.delimiter == "\n"
    box.message("a\n")
    assert box.got == ["a"]


@pytest.mark.parametrize("kind", [EntireMessage, None, 1, *TEXT_KINDS, *BYTES_KINDS], ids=named)
def test_delimiters_of_a_right_kind(kind: Any) -> None:
    inbox = Inbox()
    inbox.delimiter = kind
    assert inbox.delimiter is kind


# --- Changes on the way ---------------------------------------------------------------------------------------------


def changing(box: Box, steps: Iterable[Any]) -> None:
    """Have each frame set the next delimiter."""
    following = iter(steps)

    def change(value: Any) -> None:
        box.inbox.delimiter = next(following, box.inbox.delimiter)

    box.receiver.then = change


@pytest.mark.parametrize("size", [None, 1, 2, 3, 5, 7])
def test_a_delimiter_set_inside_rules_from_the_next_byte(size: int | None) -> None:
    box = Box(b"\n")
    changing(box, [3, struct.Struct("!H"), NetStruct(b"B$"), re.compile(b"[;,]"), re.compile(b"  +z"), b"\n", b"\n"])
    box.message(b"head\n123\0\7\3abcx;y  ztail\nbehind\nrest", size)
    assert box.got == [b"head", b"123", 7, b"abc", b"x", b"y", b"tail", b"behind"]
    assert box.inbox.pending
    box = Box("\n")
    changing(box, [3, re.compile("[;,]"), re.compile("  +z"), "\n", "\n"])
    box.message("häad\n€23x;y  ztail\nbehind\nrest", size)
    assert box.got == ["häad", "€23", "x", "y", "tail", "behind"]


@pytest.mark.parametrize("text", [True, False])
def test_from_lines_to_messages_inside(text: bool) -> None:
    """The rest of the message, and then whole ones."""
    for size in (None, 1, 2, 3, 100):

        def typed(content: str) -> Any:
            return content if text else content.encode()

        box = Box(typed("\n"))
        changing(box, [EntireMessage])
        box.message(typed("líne\nrest\nof it"), size)
        box.message(typed("whole\nmessage"), size)
        assert box.got == [typed("líne"), typed("rest\nof it"), typed("whole\nmessage")]
        assert box.inbox.idle


@pytest.mark.parametrize("sizes", [[5, 1], [3, 2, 1], [6, 3, 2, 1], [1, 5], [1, 1, 4], [4, 1, 1], [20]])
@pytest.mark.parametrize("delimiter", [EntireMessage, None, 3, ";"], ids=named)
def test_nothing_is_lost_where_the_delimiter_changes(delimiter: Any, sizes: list[int]) -> None:
    """What is held, of however many parts, is cut by one delimiter and then by another."""
    for complete in (True, False):
        for text in (True, False):
            content = b"a\nbcdef;ghijkl;mno;"
            box = Box()
            box.inbox.begin(text)
            box.inbox.halted = True
            at = 0
            for size in sizes:
                box.part(content[at : at + size])
                at += size
            box.part(content[at : at + 2], complete)
            at += 2
            box.inbox.delimiter = "\n" if text else b"\n"
            changing(box, [delimiter.encode() if delimiter == ";" and not text else delimiter])
            box.inbox.halted = False
            box.deliver()
            if not complete:
                box.part(content[at:], True)
                at = len(content)
            wanted = content[:at].replace(b"\n", b"")
            if delimiter == ";":
                wanted = wanted.replace(b";", b"")[: len(wanted.rpartition(b";")[0].replace(b";", b""))]
            elif delimiter == 3:
                wanted = wanted[: 1 + (len(wanted) - 1) // 3 * 3]
            found = "".join(box.got).encode() if text else b"".join(box.got)
            first = b"a" if b"\n" in content[:at] else b""
            assert (found[:1] if first else b"") == first
            assert found == (wanted if first else b"")
            if delimiter is EntireMessage and len(wanted) > 1:
                assert len(box.got) == 2


@pytest.mark.parametrize("text", [True, False])
def test_from_lines_to_messages_outside(text: bool) -> None:
    def typed(content: str) -> Any:
        return content if text else content.encode()

    box = Box(typed("\n"))
    box.message(typed("a\nré"))
    box.inbox.delimiter = EntireMessage
    assert box.inbox.pending
    box.deliver()
    box.message(typed("whole\nmessage"), 2)
    assert box.got == [typed(content) for content in ("a", "ré", "whole\nmessage")]
    # In the middle of a message, the rest of it is one.
    box.inbox.delimiter = typed("\n")
    box.inbox.begin(text)
    box.part(b"b\nre")
    box.inbox.delimiter = EntireMessage
    box.deliver()
    assert box.got[3:] == [typed("b")]
    box.part(b"s")
    box.part(b"t", True)
    assert box.got[4:] == [typed("rest")]
    assert box.inbox.idle


@pytest.mark.parametrize("text", [True, False])
def test_from_messages_to_lines_outside(text: bool) -> None:
    def typed(content: str) -> Any:
        return content if text else content.encode()

    box = Box()
    box.inbox.begin(text)
    box.part(b"a\nb")
    box.part(b"c\nd")
    assert box.got == []
    box.inbox.delimiter = typed("\n")
    box.deliver()
    assert box.got == [typed("a"), typed("bc")]
    box.part(b"e\n", True)
    assert box.got == [typed("a"), typed("bc"), typed("de")]
    assert not box.inbox.pending


@pytest.mark.parametrize("size", [None, 1, 2])
def test_from_messages_to_lines_inside(size: int | None) -> None:
    box = Box()
    changing(box, ["\n", "\n", EntireMessage])
    box.message("first\nmessage", size)
    box.message("a\nb\nrest\n", size)
    box.message("last\nmessage", size)
    assert box.got == ["first\nmessage", "a", "b", "rest\n", "last\nmessage"]


@pytest.mark.parametrize("other", [EntireMessage, b"x", struct.Struct("!H"), re.compile(b"x")], ids=named)
def test_a_delimiter_set_and_set_back_inside(other: Any) -> None:
    """What counts is the delimiter when the hook returns."""
    box = Box("\n")

    def there_and_back(value: Any) -> None:
        box.inbox.delimiter = other
        box.inbox.delimiter = "\n"

    box.receiver.then = there_and_back
    box.message("a\nb\nc\nd")
    assert box.got == ["a", "b", "c"]
    box.message("\ne\n")
    assert box.got == ["a", "b", "c", "d", "e"]


@pytest.mark.parametrize("other", [EntireMessage, b"x", struct.Struct("!H"), re.compile(b"x")], ids=named)
def test_a_delimiter_set_and_set_back_outside(other: Any) -> None:
    box = Box("\n")
    box.message("a\nb")
    box.inbox.delimiter = other
    box.inbox.delimiter = "\n"
    box.deliver()
    box.message("c\nd\n")
    assert box.got == ["a", "bc", "d"]


def test_how_a_pattern_is_used_can_change() -> None:
    box = Box(re.compile("[^;]*;"))
    box.message("ab;c;d;")
    assert box.got == ["", "", ""]  # what is before the match

    def change(value: Any) -> None:
        box.inbox.regex_search = False

    box.receiver.then = change
    box.message("ab;c;d;")
    assert box.got[3:] == ["", "c;", "d;"]
    assert box.inbox.regex_search is False


@pytest.mark.parametrize("way", ["inside", "outside"])
def test_types_by_turns_with_a_delimiter_of_each(way: str) -> None:
    box = Box("\n")
    for content, following in (("a\n", b"\n"), (b"b\n", "\n"), ("c\n", EntireMessage), (b"d\n", None)):
        if way == "inside":
            changing(box, [following])
            box.message(content)
        else:
            box.message(content)
            box.inbox.delimiter = following
    assert box.got == ["a", b"b", "c", b"d\n"]


delimiters = st.sampled_from([EntireMessage, None, "\n", ";", 1, 3, re.compile("[;\n]"), re.compile("\n(?=a|;)")])


@settings(max_examples=200)
@given(
    st.lists(st.tuples(st.text("aé\n;", max_size=12), st.integers(1, 5), st.booleans()), max_size=5),
    delimiters,
    st.lists(delimiters, max_size=6),
    st.lists(st.tuples(st.integers(0, 20), delimiters), max_size=3),
)
def test_nothing_is_lost_nor_invented(
    messages: list[tuple[str, int, bool]], first: Any, inside: list[Any], outside: list[tuple[int, Any]]
) -> None:
    """Without separators all that was received comes out, in order, whatever is set when."""
    box = Box(first)
    changing(box, inside)
    changes = dict(outside)
    parts = 0
    for content, size, empty in messages:
        box.inbox.begin(True)
        data = content.encode()
        pieces = [data[at : at + size] for at in range(0, len(data), size)] + ([b""] if empty or not data else [])
        for number, piece in enumerate(pieces):
            box.part(piece, number == len(pieces) - 1)
            if (parts := parts + 1) in changes:
                box.inbox.delimiter = changes[parts]
                box.deliver()
    box.receiver.then = lambda value: None
    box.inbox.delimiter = None
    box.deliver()
    assert not box.inbox.pending
    sent = "".join(content for content, _, _ in messages)
    assert re.sub("[\n;]", "", "".join(box.got)) == re.sub("[\n;]", "", sent)


# --- Sizes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", ["1", 1.0, None, True])
def test_limits_of_a_wrong_kind(limit: Any) -> None:
    inbox = Inbox()
    with pytest.raises(TypeError):
        inbox.limit = limit
    with pytest.raises(ValueError):
        inbox.limit = 0
    assert inbox.limit == 65536


@pytest.mark.parametrize("delimiter", [100000, struct.Struct("100000s")], ids=["int", "Struct"])
def test_int_and_struct_enlarge_the_limit(delimiter: Any) -> None:
    """Manual: "buffer_size"."""
    box = Box(b"\n")
    box.message(b"a")
    box.inbox.delimiter = delimiter
    assert box.inbox.limit == 100000
    box.message(b"a" * 99999, 1000)
    assert box.got == [b"a" * 100000]
    assert not box.receiver.overflows
    box.inbox.delimiter = 5
    assert box.inbox.limit == 100000
    fresh = Inbox()
    fresh.limit = 10
    fresh.delimiter = 9
    assert fresh.limit == 10


def test_netstruct_does_not_enlarge_the_limit() -> None:
    box = Box()
    box.inbox.limit = 10
    box.inbox.delimiter = NetStruct(b"B$")
    box.message(b"\x09" + b"a" * 9)
    assert box.got == [b"a" * 9]
    box.message(b"\x0a")
    assert [type(error) for error in box.receiver.overflows] == [BufferOverflow]


@pytest.mark.parametrize("size", [None, 1, 3])
def test_frames_that_are_too_long(size: int | None) -> None:
    letter: Any
    for separator, letter in (("\n", "ä"), (b"\n", b"a"), (re.compile("\n"), "ä"), (re.compile(b"\n"), b"a")):
        end: Any = "\n" if isinstance(letter, str) else b"\n"
        box = Box(separator)
        box.inbox.limit = 5
        box.message(letter * 5 + end, size)  # text that is cut is counted in characters
        assert (box.got, box.receiver.overflows) == ([letter * 5], [])
        box.message(letter * 6, size)
        assert [type(error) for error in box.receiver.overflows] == [BufferOverflow]
        assert len(box.got) == 1


def test_a_limit_that_is_raised_when_it_is_reached() -> None:
    box = Box("\n")
    box.inbox.limit = 5

    def raise_limit() -> None:
        box.inbox.limit = 10

    box.receiver.on_overflow = raise_limit
    box.message("a" * 8)
    box.message("b\n")
    assert box.got == ["a" * 8 + "b"]
    assert len(box.receiver.overflows) == 1


def test_what_fits_of_a_message() -> None:
    """Messages are counted in bytes."""
    box = Box()
    box.inbox.limit = 5
    box.inbox.begin(True)
    assert box.inbox.fits(5)
    assert not box.inbox.fits(6)
    box.part("€".encode())
    assert box.inbox.fits(2)
    assert not box.inbox.fits(3)
    box.inbox.limit = 6
    assert box.inbox.fits(3)
    box.part("ä".encode(), True)
    assert box.got == ["€ä"]
    box.inbox.begin(False)
    assert box.inbox.fits(6)
    box.inbox.delimiter = "\n"
    assert box.inbox.fits(1 << 40)  # this is cut, so that its length says nothing


def test_what_fits_of_the_rest_of_a_message() -> None:
    box = Box("\n")
    box.inbox.limit = 10
    box.inbox.begin(True)
    box.part("a\nbä".encode())
    box.inbox.delimiter = EntireMessage
    box.deliver()
    assert box.inbox.fits(7)
    assert not box.inbox.fits(8)
    box.part(b"c", True)
    assert box.got == ["a", "bäc"]
    box.inbox.begin(True)
    assert box.inbox.fits(10)


@pytest.mark.parametrize("text", [True, False])
def test_a_message_is_dropped(text: bool) -> None:
    box = Box()
    box.inbox.limit = 5
    box.inbox.begin(text)
    box.part(b"abc")
    assert not box.inbox.fits(3)
    box.inbox.discard()
    assert not box.inbox.pending
    for _ in range(10):
        assert box.inbox.fits(1000)
        box.part(b"x" * 1000)
    box.part(b"", True)
    assert box.got == []
    assert box.inbox.idle
    for content in ("next", b"next"):
        box.message(content)
    assert box.got == ["next", b"next"]


# --- Work, and memory -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("delimiter", [EntireMessage, b"\n", "\n", 1 << 17], ids=named)
@pytest.mark.parametrize("text", [True, False])
def test_a_message_of_fragments_of_one_byte_takes_little_memory(text: bool, delimiter: Any) -> None:
    if isinstance(delimiter, (str, bytes)) and isinstance(delimiter, str) is not text:
        delimiter = ";" if text else b";"
    box = Box(delimiter)
    count = 20000
    box.inbox.begin(text)
    box.part(b"a")
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(count):
            box.part(b"a")
        held = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert held < (10 if text and delimiter is not EntireMessage else 3) * count  # StringIO has four bytes a character
    box.inbox.delimiter = EntireMessage
    box.deliver()
    box.part(b"b", True)
    whole = "a" * (count + 1) + "b"
    assert box.got == [whole if text else whole.encode()]


class Counted(bytes):
    """Bytes that count what is copied to put them together."""

    copied = 0

    def __add__(self, other: Any) -> Counted:
        Counted.copied += len(self) + len(other)
        return Counted(super().__add__(other))


def shrinking(count: int) -> list[int]:
    """Sizes that get smaller, over and over."""
    return [size for _ in range(count // 100) for size in range(100, 0, -1)]


@pytest.mark.parametrize(
    "sizes",
    [lambda n: [1] * n, lambda n: [1, 2] * n, lambda n: [1000, 1] * (n // 10), shrinking, lambda n: [1 << 16, 1] * 20],
    ids=["one-byte", "alternating", "long-and-short", "shrinking", "longest"],
)
def test_linear_work(sizes: Callable[[int], list[int]]) -> None:
    def work(count: int) -> int:
        Counted.copied = 0
        box = Box()
        box.inbox.begin(False)
        for size in sizes(count):
            box.part(Counted(size))
        held = sum(map(sys.getsizeof, box.inbox._pieces))
        assert held < 2 * sum(sizes(count)) + 10000
        return Counted.copied

    once = work(10000)
    assert work(20000) <= 3 * once + 1000
