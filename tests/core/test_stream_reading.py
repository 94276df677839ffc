"""Streams: what is read (manual: "Reading Data", "read_delimiter", "buffer_size", "on_read", "on_overflow_error").

How each kind of delimiter cuts is told in test_delimiter; here it is seen through sockets.
"""

from __future__ import annotations

import re
import struct
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from netstruct import NetStruct

from pants import Stream
from pants.errors import BufferOverflow, DelimiterError
from tests.conftest import ExpectedLog
from tests.core.support import (
    Pair,
    Recorder,
    connected,
    fill,
    manual_engine,
    pattern,
    run_for,
    run_until,
    tcp_pair,
    turns,
    unix_pair,
    unsent,
)

both_kinds = pytest.mark.parametrize("pair", [tcp_pair, unix_pair], ids=["TCP", "UNIX"])


class Lines(Recorder):
    def on_connect(self) -> None:
        self.read_delimiter = b"\n"


# --- Every kind of delimiter, through a socket -----------------------------------------------------------------------


def plain(values: Any) -> Any:
    """A match object as its groups; all else as it is."""
    return values.groups() if isinstance(values, re.Match) else values


KINDS: list[tuple[str, Any, bool, bytes, list[Any]]] = [
    # "All data up to but excluding the read delimiter is then passed [...] The segment [...] is discarded".
    ("bytes", b"\r\n", True, b"one\r\n\r\ntwo\rtwo\r\nrest", [b"one", b"", b"two\rtwo"]),
    # "... treated as the number of bytes to read before passing the data".
    ("int", 8, True, b"01234567abcdefghrest", [b"01234567", b"abcdefgh"]),
    # "... the data is unpacked using the Struct"; "more than one argument being passed to on_read()".
    (
        "Struct",
        struct.Struct("!LLH"),
        True,
        struct.pack("!LLH", 1, 2, 3) + struct.pack("!LLH", 70000, 5, 65535) + b"rest",
        [(1, 2, 3), (70000, 5, 65535)],
    ),
    # "... additional data is buffered as necessary until the NetStruct can be completely unpacked."
    (
        "NetStruct",
        NetStruct(b"!HB$H"),
        True,
        b"\x00\x01\x04spam\x00\x02" + b"\x00\x03\x00\x00\x04" + b"\x00",
        [(1, b"spam", 2), (3, b"", 4)],
    ),
    # "... the string before that match is passed to on_read()".
    ("pattern searched for", re.compile(b"[,;]"), True, b"one,two;;rest", [b"one", b"two", b""]),
    ("unbounded pattern searched for", re.compile(b" +!"), True, b"one !two    !rest", [b"one", b"two"]),
    # "... the match object itself will be passed to on_read(), giving you access to the capture groups".
    (
        "pattern matched",
        re.compile(rb"(\w+)=(\w+);"),
        False,
        b"a=1;bc=23;rest",
        [(b"a", b"1"), (b"bc", b"23")],
    ),
]

kinds = pytest.mark.parametrize(
    "delimiter, regex_search, data, expected", [kind[1:] for kind in KINDS], ids=[kind[0] for kind in KINDS]
)


@both_kinds
@pytest.mark.parametrize("step", [None, 1, 3], ids=["whole", "byte by byte", "in threes"])
@kinds
def test_delimiters(
    delimiter: Any, regex_search: bool, data: bytes, expected: list[Any], step: int | None, pair: Pair
) -> None:
    """However the data is cut up on its way, on_read gets the same."""

    class Delimited(Recorder):
        def on_connect(self):
            self.read_delimiter = delimiter
            self.regex_search = regex_search

    with connected(Delimited, pair=pair) as (stream, peer):
        assert stream.read_delimiter is delimiter
        assert stream.regex_search is regex_search
        for start in range(0, len(data), step or len(data)):
            peer.send(data[start : start + (step or len(data))])
            turns(1)
        run_until(lambda: len(stream.reads) >= len(expected))
        turns()
        assert [plain(values) for values in stream.reads] == expected
        # What is left is an incomplete frame; it is dropped at the end (DESIGN §3).
        peer.end()
        run_until(lambda: stream.closed)
        assert len(stream.reads) == len(expected)
        assert stream.names[-2:] == ["end", "close"]


@both_kinds
def test_no_delimiter(pair: Pair) -> None:
    """ "When the read delimiter is None, data will be passed to on_read() immediately after it is read"."""
    with connected(Recorder, pair=pair) as (stream, peer):
        for piece in (b"one", b"two\n", pattern(50_000)):
            before = len(stream.reads)
            peer.send(piece)
            turns(2)
            assert b"".join(stream.reads[before:]) == piece
        assert all(type(piece) is bytes for piece in stream.reads)


def test_megabytes() -> None:
    data = pattern(20 << 20)
    with connected(Recorder) as (stream, peer):
        peer.send(data)
        run_until(lambda: sum(map(len, stream.reads)) == len(data))
        assert stream.data == data


# --- Changing the delimiter ------------------------------------------------------------------------------------------


class Packets(Recorder):
    """A protocol that changes its delimiter at each step: name line, then as many bytes as a Struct says, and again."""

    def on_connect(self) -> None:
        self.read_delimiter = b"\n"

    def on_read(self, *values: Any) -> None:
        delimiter = self.read_delimiter
        if delimiter == b"\n":
            self.read_delimiter = struct.Struct("!H")
        elif isinstance(delimiter, struct.Struct):
            self.read_delimiter = values[0]
        elif isinstance(delimiter, int):
            self.read_delimiter = re.compile(b"[.!]")
        elif isinstance(delimiter, re.Pattern):
            self.read_delimiter = b"\n"


@pytest.mark.parametrize("step", [None, 1, 7], ids=["whole", "byte by byte", "in sevens"])
def test_delimiter_changed_inside_on_read(step: int | None) -> None:
    """DESIGN §3: "A delimiter changed inside `on_read` rules from the next byte"."""
    one = b"name\n" + struct.pack("!H", 11) + b"with\nin\0it." + b"the end!"
    data = one * 50
    with connected(Packets) as (stream, peer):
        for start in range(0, len(data), step or len(data)):
            peer.send(data[start : start + (step or len(data))])
            turns(1)
        run_until(lambda: len(stream.reads) == 200)
        assert stream.reads == [b"name", 11, b"with\nin\0it.", b"the end"] * 50


def test_delimiter_changed_to_none_inside_on_read() -> None:
    """What is left is passed on as it is, and then what comes."""

    class HeadAndBody(Recorder):
        def on_connect(self):
            self.read_delimiter = b"\n\n"

        def on_read(self, data):
            self.read_delimiter = None

    with connected(HeadAndBody) as (stream, peer):
        peer.send(b"head\n\nbody\n\nstill body")
        run_until(lambda: len(stream.reads) == 2)
        assert stream.reads == [b"head", b"body\n\nstill body"]
        peer.send(b"and more\n\n")
        run_until(lambda: len(stream.reads) == 3)
        assert stream.reads[2] == b"and more\n\n"


def test_delimiter_changed_from_outside() -> None:
    """DESIGN §3: "changed elsewhere, what is buffered is looked at on the next turn"."""
    with connected(Lines) as (stream, peer):
        peer.send(b"no line yet;but;")
        turns()
        assert stream.reads == []
        stream.read_delimiter = b";"
        assert stream.reads == []  # from the loop, never inside the call
        turns(2)
        assert stream.reads == [b"no line yet", b"but"]
        peer.send(b"abcdefgh")
        turns()
        stream.read_delimiter = 3
        turns(2)
        assert stream.reads[2:] == [b"abc", b"def"]
        stream.read_delimiter = None
        turns(2)
        assert stream.reads[4:] == [b"gh"]


def test_delimiter_changed_from_outside_wakes_a_waiting_engine() -> None:
    with connected(Lines) as (stream, peer):
        peer.send(b"no line yet")
        turns()
        stream.engine.callback(setattr, stream, "read_delimiter", None)
        stream.engine.poll(30)
        turns(1)
        assert stream.reads == [b"no line yet"]


def test_regex_search_changed_from_outside() -> None:
    """ "... two possible behaviors that you may switch between by setting the value of regex_search"."""
    with connected(Recorder) as (stream, peer):
        stream.read_delimiter = re.compile(b"(ab)+;")
        stream.regex_search = False
        peer.send(b"-ab;")
        turns()
        assert stream.reads == []
        stream.regex_search = True
        turns(2)
        assert stream.reads == [b"-"]
        stream.regex_search = False
        peer.send(b"abab;")
        run_until(lambda: len(stream.reads) == 2)
        assert stream.reads[1].group() == b"abab;"


@pytest.mark.parametrize("value", ["\r\n", 8.0, True, ["x"], object(), re.compile("text"), bytearray(b"x"), struct])
def test_wrong_delimiter(value: Any) -> None:
    """ "Attempting to set the read delimiter to any other value will raise a TypeError." """
    stream = Stream()
    stream.read_delimiter = b"before"
    with pytest.raises(TypeError, match="read delimiter"):
        stream.read_delimiter = value
    assert stream.read_delimiter == b"before"


@pytest.mark.parametrize("value", [b"", 0, -1, struct.Struct("")])
def test_delimiter_that_would_consume_nothing(value: Any) -> None:
    """DESIGN §3: "An empty separator, a size under 1: `ValueError`"."""
    stream = Stream()
    with pytest.raises(ValueError, match="read delimiter"):
        stream.read_delimiter = value
    assert stream.read_delimiter is None


def test_delimiter_set_before_connecting() -> None:
    class Delimited(Recorder):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.read_delimiter = b";"

    with connected(Delimited) as (stream, peer):
        peer.send(b"a;b;")
        run_until(lambda: stream.reads == [b"a", b"b"])


def test_pattern_that_matches_nothing(expect_log: ExpectedLog) -> None:
    """DESIGN §3: "A step that would consume nothing is an error, not a loop"."""
    expect_log("DelimiterError")
    with connected(Recorder) as (stream, peer):
        stream.read_delimiter = re.compile(b"x*")
        peer.send(b"yyy")
        run_until(lambda: stream.closed)
        assert isinstance(stream.first("error"), DelimiterError)
        assert stream.reads == []


@pytest.mark.parametrize("mend", [True, False])
def test_pattern_that_matches_nothing_and_an_overridden_on_error(mend: bool) -> None:
    """With a new delimiter the data is read by that; otherwise it is dropped, or the error would come for ever."""

    class Forgiving(Recorder):
        def on_error(self, exception):
            if mend:
                self.read_delimiter = b";"

    with connected(Forgiving) as (stream, peer):
        stream.read_delimiter = re.compile(b"x*")
        peer.send(b"yyy;")
        run_until(lambda: "error" in stream.names)
        turns()
        assert stream.names.count("error") == 1
        assert stream.reads == ([b"yyy"] if mend else [])
        assert stream.connected


# --- on_read itself --------------------------------------------------------------------------------------------------


def test_on_read_replaced_in_the_middle_of_a_buffer() -> None:
    """A state machine by ``self.on_read = self.next_state``: the next frame is for the next state."""

    class States(Stream):
        def on_connect(self):
            self.seen = []
            self.read_delimiter = b"\n"

        def on_read(self, line):
            self.seen.append(("first", line))
            self.on_read = self.on_second

        def on_second(self, line):
            self.seen.append(("second", line))
            self.on_read = self.on_others

        def on_others(self, line):
            self.seen.append(("others", line))

    with connected(States) as (stream, peer):
        peer.send(b"1\n2\n3\n4\n")
        run_until(lambda: len(stream.seen) == 4)
        assert stream.seen == [("first", b"1"), ("second", b"2"), ("others", b"3"), ("others", b"4")]
        del stream.on_read  # back to the class's
        peer.send(b"5\n6\n")
        run_until(lambda: len(stream.seen) == 6)
        assert stream.seen[4:] == [("first", b"5"), ("second", b"6")]


def test_on_read_replaced_from_outside() -> None:
    seen: list[bytes] = []
    with connected(Stream) as (stream, peer):
        peer.send(b"dropped")
        turns()
        stream.on_read = seen.append
        peer.send(b"seen")
        run_until(lambda: seen)
        assert seen == [b"seen"]


def test_on_read_drops_the_data_by_default() -> None:
    """Manual, on_read: "Placeholder"."""
    with connected(Stream) as (stream, peer):
        peer.send(bytes(1 << 20))
        turns(5)
        assert stream.connected


def test_close_in_the_middle_of_a_buffer() -> None:
    """DESIGN §3: "`close()` inside a hook: `connected` turns false and delivery stops at once"."""

    class Closing(Lines):
        def on_read(self, line):
            if line == b"quit":
                self.close()
                assert not self.connected

    with connected(Closing) as (stream, peer):
        peer.send(b"one\nquit\nthree\nfour\n")
        run_until(lambda: stream.closed)
        assert stream.reads == [b"one", b"quit"]


@pytest.mark.parametrize("flush", [True, False])
def test_close_of_another_channel_in_the_middle_of_its_buffer(flush: bool) -> None:
    """A channel that has been closed reads nothing more, whatever waits for it in this turn."""

    class Killing(Recorder):
        def on_read(self, data):
            for victim in victims:
                victim.close(flush)

    with (
        connected(Recorder) as (first, first_peer),
        connected(Killing) as (_, killer_peer),
        connected(Recorder) as (last, last_peer),
    ):
        victims = [first, last]
        killer_peer.sock.send(b"now")
        first_peer.sock.send(b"x")
        last_peer.sock.send(b"x")
        run_until(lambda: first.closed and last.closed)
        for victim in victims:
            assert victim.names[-1] == "close"
            # The order of events is the kernel's; but what is read is read before the close.
            assert victim.names in (["connect", "close"], ["connect", "read", "close"])


# --- The size of the buffer (manual: "buffer_size") ------------------------------------------------------------------


@pytest.mark.parametrize("value", ["64", 64.0, None, True, b"64"])
def test_wrong_buffer_size(value: Any) -> None:
    """ "Attempting to set the buffer size to anything other than an integer or long will raise a TypeError." """
    stream = Stream()
    with pytest.raises(TypeError, match="buffer size"):
        stream.buffer_size = value
    assert stream.buffer_size == 65536


@pytest.mark.parametrize("value", [0, -1])
def test_buffer_size_below_one(value: int) -> None:
    stream = Stream()
    with pytest.raises(ValueError, match=str(value)):
        stream.buffer_size = value


def test_delimiter_larger_than_the_buffer() -> None:
    """ "... the buffer size will be increased to accommodate the read delimiter"; DESIGN §3: not for a NetStruct."""
    stream = Stream()
    stream.buffer_size = 10
    stream.read_delimiter = NetStruct(b"16s")
    assert stream.buffer_size == 10
    stream.read_delimiter = b"twelve bytes"
    assert stream.buffer_size == 10
    stream.read_delimiter = struct.Struct("16s")
    assert stream.buffer_size == 16
    stream.read_delimiter = 100_000
    assert stream.buffer_size == 100_000
    stream.read_delimiter = 5
    assert stream.buffer_size == 100_000


def test_frame_of_the_whole_buffer() -> None:
    data = pattern(300_000)
    with connected(Recorder) as (stream, peer):
        stream.read_delimiter = 300_000
        peer.send(data)
        run_until(lambda: stream.reads)
        assert stream.reads == [data]


@pytest.mark.parametrize("step", [None, 1])
def test_overflow_by_default(step: int | None, expect_log: ExpectedLog) -> None:
    """ "By default, logs the exception and closes the channel." Frames before the one too long are delivered."""
    expect_log(r"Lines connected.*10")
    with connected(Lines) as (stream, peer):
        stream.buffer_size = 10
        data = b"0123456789\nshort\n" + b"x" * 20
        for start in range(0, len(data), step or len(data)):
            peer.send(data[start : start + (step or len(data))])
            turns(1)
        run_until(lambda: stream.closed)
        assert stream.reads == [b"0123456789", b"short"]
        assert stream.names == ["connect", "read", "read", "overflow_error", "close"]
        assert isinstance(stream.first("overflow_error"), BufferOverflow)
        assert len(expect_log.lines) == 1


def test_overflow_without_a_peers_end_of_frame(expect_log: ExpectedLog) -> None:
    """The default size binds: a peer that never ends its frame costs 64 KiB, not the memory of the machine."""
    expect_log("65536")
    with connected(Lines) as (stream, peer):
        peer.send(bytes(65536))
        turns(5)
        assert stream.connected
        peer.send(b"x")
        run_until(lambda: stream.closed)


def test_no_overflow_without_delimiter() -> None:
    with connected(Recorder) as (stream, peer):
        stream.buffer_size = 10
        peer.send(bytes(1000))
        run_until(lambda: len(stream.data) == 1000)
        assert "overflow_error" not in stream.names


class Overflowing(Lines):
    react: Callable[[Overflowing], object] = staticmethod(lambda stream: None)

    def on_connect(self) -> None:
        super().on_connect()
        self.buffer_size = 10

    def on_overflow_error(self, exception: Exception) -> None:
        self.react(self)


def test_overflow_that_is_ignored_drops_the_data() -> None:
    with connected(Overflowing) as (stream, peer):
        peer.send(b"much too long\nfor this\n")
        run_until(lambda: "overflow_error" in stream.names)
        turns()
        assert stream.connected
        assert stream.names.count("overflow_error") == 1
        peer.send(b"good\n")
        run_until(lambda: stream.reads)
        assert stream.reads == [b"good"]


def test_overflow_met_with_a_larger_buffer() -> None:
    with connected(Overflowing) as (stream, peer):
        stream.react = lambda stream: setattr(stream, "buffer_size", 100)
        peer.send(b"much too long\nfor this\n")
        run_until(lambda: len(stream.reads) == 2)
        assert stream.reads == [b"much too long", b"for this"]
        assert stream.names.count("overflow_error") == 1


def test_overflow_met_with_another_delimiter() -> None:
    with connected(Overflowing) as (stream, peer):
        stream.react = lambda stream: setattr(stream, "read_delimiter", None)
        peer.send(b"much too long for this")
        run_until(lambda: stream.reads)
        assert stream.reads == [b"much too long for this"]


def test_overflow_met_with_writing_and_close() -> None:
    """As a server says that a line was too long."""

    def react(stream):
        stream.write(b"500 line too long\n")
        stream.close()

    with connected(Overflowing) as (stream, peer):
        stream.react = react
        peer.send(b"much too long\nfor this\n")
        assert peer.receive_to_end() == b"500 line too long\n"
        run_until(lambda: stream.closed)
        assert stream.reads == []


@pytest.mark.parametrize("length", [1 << 30, 0xFFFFFFFF, 11])
def test_netstruct_that_announces_too_much(length: int) -> None:
    """DESIGN §3: "A size announced by a NetStruct beyond `buffer_size`, or below zero: the overflow error, before
    anything is buffered for it."
    """
    with connected(Overflowing) as (stream, peer):
        stream.read_delimiter = NetStruct(b"!L$")
        peer.send(struct.pack("!L", length))
        run_until(lambda: "overflow_error" in stream.names)
        assert stream.reads == []


def test_netstruct_that_announces_a_negative_length() -> None:
    with connected(Overflowing) as (stream, peer):
        stream.read_delimiter = NetStruct(b"!b$")
        peer.send(b"\xff")
        run_until(lambda: "overflow_error" in stream.names)
        assert stream.reads == []


@pytest.mark.parametrize("writes", [500])
def test_what_is_done_to_a_stream_does_not_scan_its_buffer(writes: int) -> None:
    """DESIGN §3: a budget bounds what a pattern scans of what a peer sends. It is not the channel's own writing that
    uses it up.
    """
    with connected(Recorder) as (stream, peer):
        stream.read_delimiter = re.compile(b"x+y")
        peer.send(b"a" * 60_000)
        turns(5)
        for _ in range(writes):
            stream.write(b"z")
            turns(1)
        peer.send(b"xy")
        run_until(lambda: stream.reads)
        assert stream.reads == [b"a" * 60_000]
        assert "overflow_error" not in stream.names


# --- The peer's end (DESIGN §3: "End of file from the peer calls `on_end()`") ----------------------------------------


@both_kinds
def test_end_closes_by_default(pair: Pair) -> None:
    """ "its default sends what is queued and closes"."""
    with connected(Recorder, pair=pair) as (stream, peer):
        stream.pause_reading()
        peer.send(b"last words")
        peer.end()
        stream.write(bytes(3 << 20))
        stream.resume_reading()
        assert peer.receive_to_end() == bytes(3 << 20)
        run_until(lambda: stream.closed)
        assert stream.data == b"last words"
        assert stream.names[-2:] == ["end", "close"]
        assert stream.close_error is None


@both_kinds
def test_frames_before_the_end_are_delivered_and_the_tail_is_dropped(pair: Pair) -> None:
    with connected(Lines, pair=pair) as (stream, peer):
        peer.send(b"one\ntwo\nincomplete")
        peer.end()
        run_until(lambda: stream.closed)
        assert stream.names == ["connect", "read", "read", "end", "close"]
        assert stream.reads == [b"one", b"two"]


class HalfOpen(Recorder):
    def on_end(self) -> None:
        pass


@both_kinds
def test_half_open(pair: Pair) -> None:
    """ "Override it to go on writing, and close later." """
    with connected(HalfOpen, pair=pair) as (stream, peer):
        peer.send(b"question")
        peer.end()
        run_until(lambda: "end" in stream.names)
        turns(5)
        assert stream.connected
        assert not stream.closed
        for _ in range(3):
            stream.write(bytes(1 << 20))
            assert peer.receive(1 << 20) == bytes(1 << 20)
        assert run_for(0.2) <= 5  # the end is not told again and again
        assert stream.names.count("end") == 1
        stream.write(b"bye")
        stream.close()
        assert peer.receive_to_end() == b"bye"
        run_until(lambda: stream.closed)
        assert stream.names[-1] == "close"
        assert stream.close_error is None


def test_writing_inside_on_end() -> None:
    class Polite(Recorder):
        def on_end(self):
            self.write(b"goodbye")
            self.close()

    with connected(Polite) as (stream, peer):
        peer.end()
        assert peer.receive_to_end() == b"goodbye"
        run_until(lambda: stream.closed)


def test_writing_inside_on_end_and_going_on() -> None:
    """What on_end() writes goes out like what any other hook writes; on_write follows, and the channel stays open."""

    class Answering(Recorder):
        def on_end(self):
            self.write(b"all of it?")

    with connected(Answering) as (stream, peer):
        peer.end()
        assert peer.receive(10) == b"all of it?"
        turns()
        assert stream.names == ["connect", "end", "write"]
        assert stream.connected


@both_kinds
def test_peer_that_goes_altogether_after_its_end(pair: Pair) -> None:
    """DESIGN §3: "A peer that is gone shows as a reset, a hang-up or a failed write"."""
    with connected(HalfOpen, pair=pair) as (stream, peer):
        peer.end()
        run_until(lambda: "end" in stream.names)
        peer.close()

        def write_and_see():
            if stream.connected:
                stream.write(b"x")
            return stream.closed

        run_until(write_and_see)
        assert isinstance(stream.close_error, ConnectionError)
        assert stream.names.count("close") == 1


def test_half_open_peer_that_resets() -> None:
    with connected(HalfOpen) as (stream, peer):
        peer.end()
        run_until(lambda: "end" in stream.names)
        peer.reset()
        run_until(lambda: stream.closed)
        assert isinstance(stream.close_error, ConnectionError)


# --- A reset ---------------------------------------------------------------------------------------------------------


def test_reset() -> None:
    """ "never [...] a lost byte that was acknowledged" (issue 2); a peer that is gone is no line in the log."""
    with connected(Recorder) as (stream, peer):
        peer.send(b"data before")
        peer.reset()
        run_until(lambda: stream.closed)
        assert stream.data == b"data before"
        assert stream.names[-1] == "close"
        assert "end" not in stream.names
        assert "error" not in stream.names
        assert isinstance(stream.close_error, ConnectionResetError)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="how to ask for what is acknowledged is Linux's")
def test_reset_while_much_is_unread() -> None:
    """All that the kernel has acknowledged is read before the reset is told."""
    with connected(Recorder) as (stream, peer):
        peer.send(pattern(100_000))
        while unsent(peer.sock):
            pass  # on the loopback the kernel acknowledges at once
        peer.reset()
        run_until(lambda: stream.closed)
        assert stream.data == pattern(100_000)
        assert isinstance(stream.close_error, ConnectionResetError)


def test_reset_with_something_to_write() -> None:
    with connected(Lines) as (stream, peer):
        peer.send(b"one\ntwo\n")
        peer.reset()
        stream.write(b"to nobody")
        run_until(lambda: stream.closed)
        assert stream.reads == [b"one", b"two"]
        assert isinstance(stream.close_error, ConnectionError)
        assert "error" not in stream.names


# --- Pausing (issue 2, "Beyond the manual") --------------------------------------------------------------------------


@both_kinds
def test_pause_and_resume(pair: Pair) -> None:
    with connected(Recorder, pair=pair) as (stream, peer):
        stream.pause_reading()
        stream.pause_reading()
        peer.send(b"one")
        turns(5)
        assert stream.reads == []
        assert run_for(0.2) <= 5  # a paused channel does not turn the loop, though there is something to read
        stream.resume_reading()
        assert stream.reads == []
        run_until(lambda: stream.data == b"one")
        peer.send(b"two")
        run_until(lambda: stream.data == b"onetwo")
        stream.resume_reading()
        turns()
        assert stream.data == b"onetwo"


def test_data_waits_in_the_kernel_while_paused() -> None:
    """A peer that sends more than the kernel's buffers hold has to wait: that is what pausing is for."""
    with connected(Recorder, buffer=4096) as (stream, peer):
        stream.pause_reading()
        sent = 0
        data = pattern(4 << 20)
        for _ in range(100):
            try:
                sent += peer.sock.send(data[sent:])
            except BlockingIOError:
                turns(1)
        assert sent < len(data)
        stream.resume_reading()
        peer.send(data[sent:])
        run_until(lambda: len(stream.data) == len(data))
        assert stream.data == data


def has_read(stream: Recorder, count: int) -> bool:
    return len(stream.reads) == count


def test_pause_inside_on_read_keeps_frames() -> None:
    """Frames that have been received already wait, too, and come in order."""

    class OneByOne(Lines):
        def on_read(self, line):
            self.pause_reading()

    with connected(OneByOne) as (stream, peer):
        peer.send(b"1\n2\n3\n")
        for count in range(1, 4):
            run_until(partial(has_read, stream, count))
            turns(5)
            assert len(stream.reads) == count
            stream.resume_reading()
        turns()
        assert stream.reads == [b"1", b"2", b"3"]


def test_pause_and_resume_inside_on_read() -> None:
    class Nervous(Lines):
        def on_read(self, line):
            self.pause_reading()
            self.resume_reading()

    with connected(Nervous) as (stream, peer):
        peer.send(b"1\n2\n3\n")
        run_until(lambda: len(stream.reads) == 3)
        turns()
        assert stream.reads == [b"1", b"2", b"3"]


def test_pause_and_change_the_delimiter() -> None:
    with connected(Lines) as (stream, peer):
        peer.send(b"no line")
        turns()
        stream.pause_reading()
        stream.read_delimiter = None
        stream.buffer_size = 1000
        turns()
        assert stream.reads == []
        stream.resume_reading()
        run_until(lambda: stream.reads)
        assert stream.reads == [b"no line"]


def test_delimiter_set_for_the_first_time_while_paused() -> None:
    with connected(Recorder) as (stream, peer):
        stream.pause_reading()
        stream.read_delimiter = b"\n"
        peer.send(b"1\n2\n")
        turns()
        assert stream.reads == []
        stream.resume_reading()
        run_until(lambda: stream.reads == [b"1", b"2"])


def test_pause_before_connecting() -> None:
    class Paused(Recorder):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.pause_reading()

    with connected(Paused) as (stream, peer):
        peer.send(b"data")
        turns(5)
        assert stream.names == ["connect"]
        stream.resume_reading()
        run_until(lambda: stream.data == b"data")


@both_kinds
def test_paused_streams_write(pair: Pair) -> None:
    with connected(Recorder, pair=pair) as (stream, peer):
        stream.pause_reading()
        peer.send(b"unread")
        stream.write(pattern(5 << 20))
        assert peer.receive(5 << 20) == pattern(5 << 20)
        run_until(lambda: "write" in stream.names)
        assert stream.reads == []


@both_kinds
@pytest.mark.parametrize("how", ["end", "close"])
def test_peers_end_while_paused(how: str, pair: Pair) -> None:
    """It is noticed on resuming, after the data; meanwhile it costs nothing."""
    with connected(Lines, pair=pair) as (stream, peer):
        stream.pause_reading()
        turns()
        peer.send(b"1\n2\n")
        getattr(peer, how)()
        turns(5)
        assert stream.names == ["connect"]
        assert run_for(0.3) <= 5
        stream.resume_reading()
        run_until(lambda: stream.closed)
        assert stream.names == ["connect", "read", "read", "end", "close"]
        assert stream.reads == [b"1", b"2"]


@both_kinds
def test_peers_end_while_paused_and_never_resumed(pair: Pair) -> None:
    with connected(Recorder, pair=pair) as (stream, peer):
        stream.pause_reading()
        turns()
        peer.close()
        turns()
        stream.close()
        run_until(lambda: stream.closed)
        assert stream.names == ["connect", "close"]


def test_pausing_again_with_the_peer_gone() -> None:
    """Each resume reads on where the last pause stopped, though the peer closed long ago."""

    class OneByOne(Lines):
        def on_read(self, line):
            self.pause_reading()

    with connected(OneByOne, pair=unix_pair) as (stream, peer):
        peer.send(b"1\n2\n3\n")
        peer.close()
        for count in range(1, 4):
            run_until(partial(has_read, stream, count))
            assert run_for(0.05) <= 5
            assert len(stream.reads) == count
            assert not stream.closed
            stream.resume_reading()
        run_until(lambda: stream.closed)
        assert stream.names == ["connect", "read", "read", "read", "end", "close"]


def test_reset_while_paused() -> None:
    """ "The end of the peer's data is noticed only after that, a reset at once"; and it does not turn the loop."""
    with connected(Recorder) as (stream, peer):
        stream.pause_reading()
        turns()
        peer.reset()
        run_until(lambda: stream.closed)
        assert stream.names == ["connect", "close"]
        assert isinstance(stream.close_error, ConnectionResetError)


def test_resume_after_close() -> None:
    with connected(Recorder) as (stream, peer):
        stream.pause_reading()
        peer.send(b"data")
        stream.close()
        stream.resume_reading()
        run_until(lambda: stream.closed)
        stream.pause_reading()
        stream.resume_reading()
        turns()
        assert stream.names == ["connect", "close"]


# --- Idleness (issue 2: "an idle timeout that costs nothing per message") --------------------------------------------


def test_idle_timeout_closes_by_default() -> None:
    with manual_engine() as engine, connected(Recorder, engine=engine) as (stream, _):
        stream.idle_timeout = 10
        assert stream.idle_timeout == 10
        engine.advance(9.9)
        assert stream.names == ["connect"]
        engine.advance(0.2)
        assert stream.names == ["connect", "idle_timeout", "close"]


class Patient(Recorder):
    def on_idle_timeout(self) -> None:
        pass


def test_idle_timeout_again_and_again() -> None:
    """Overridden it comes each time that nothing happened for so long."""
    with manual_engine() as engine, connected(Patient, engine=engine) as (stream, _):
        stream.idle_timeout = 10
        for count in range(1, 4):
            engine.advance(9)
            assert stream.names.count("idle_timeout") == count - 1
            engine.advance(1.1)
            assert stream.names.count("idle_timeout") == count


def test_reading_is_no_idleness() -> None:
    with manual_engine() as engine, connected(Patient, engine=engine) as (stream, peer):
        stream.idle_timeout = 10
        for _ in range(10):
            engine.advance(6)
            peer.send(b"x")
            run_until(lambda: stream.reads, engine=engine)
            stream.events.clear()
        engine.advance(9)
        assert stream.names == []
        engine.advance(2)
        assert stream.names == ["idle_timeout"]


def test_sending_is_no_idleness() -> None:
    with manual_engine() as engine, connected(Patient, engine=engine) as (stream, peer):
        stream.idle_timeout = 10
        for _ in range(10):
            engine.advance(6)
            stream.write(b"x")
            assert peer.receive(1) == b"x"
        engine.advance(9)
        assert "idle_timeout" not in stream.names
        engine.advance(2)
        assert "idle_timeout" in stream.names


def test_a_peer_that_takes_data_slowly_is_not_idle() -> None:
    with manual_engine() as engine, connected(Patient, buffer=4096, engine=engine) as (stream, peer):
        stream.idle_timeout = 10
        stream.write(pattern(400_000))
        received = b""
        while len(received) < 400_000:
            engine.advance(6)
            received += peer.receive(min(20_000, 400_000 - len(received)))
        assert received == pattern(400_000)
        assert "idle_timeout" not in stream.names


def test_a_peer_that_takes_nothing_is_idle() -> None:
    """What is queued and cannot be sent does not count."""
    with manual_engine() as engine, connected(Patient, buffer=4096, engine=engine) as (stream, _):
        stream.idle_timeout = 10
        stream.write(pattern(4 << 20))
        engine.advance(1)
        for _ in range(3):
            engine.advance(6)
            if stream.connected:
                stream.write(b"more")
        assert "idle_timeout" in stream.names


def test_writing_inside_on_idle_timeout() -> None:
    """A keep-alive: what it is there for."""

    class KeepAlive(Recorder):
        def on_idle_timeout(self):
            self.write(b"ping")

    with manual_engine() as engine, connected(KeepAlive, engine=engine) as (stream, peer):
        stream.idle_timeout = 10
        for _ in range(3):
            engine.advance(11)
            assert peer.receive(4) == b"ping"
        assert stream.names.count("idle_timeout") == 3


def test_idle_timeout_changed_and_removed() -> None:
    with manual_engine() as engine, connected(Patient, engine=engine) as (stream, _):
        stream.idle_timeout = 10
        engine.advance(9)
        stream.idle_timeout = 20
        engine.advance(19)
        assert stream.names == ["connect"]
        stream.idle_timeout = 0.5
        engine.advance(0.6)
        assert stream.names.count("idle_timeout") == 1
        stream.idle_timeout = None
        assert stream.idle_timeout is None
        engine.advance(1000)
        assert stream.names.count("idle_timeout") == 1
        stream.idle_timeout = None


def test_idle_timeout_removed_inside_the_hook() -> None:
    class Once(Recorder):
        def on_idle_timeout(self):
            self.idle_timeout = None

    with manual_engine() as engine, connected(Once, engine=engine) as (stream, _):
        stream.idle_timeout = 1
        engine.advance(2)
        engine.advance(100)
        assert stream.names.count("idle_timeout") == 1


def test_idle_timeout_changed_inside_the_hook() -> None:
    class Slower(Recorder):
        def on_idle_timeout(self):
            self.idle_timeout = 100

    with manual_engine() as engine, connected(Slower, engine=engine) as (stream, _):
        stream.idle_timeout = 1
        engine.advance(2)
        engine.advance(98)
        assert stream.names.count("idle_timeout") == 1
        engine.advance(3)
        assert stream.names.count("idle_timeout") == 2
        engine.advance(50)
        assert stream.names.count("idle_timeout") == 2


def test_idle_timeout_set_again_in_each_hook() -> None:
    """It is one timeout, however often it is set; and none once it is None."""

    class Resetting(Recorder):
        def on_idle_timeout(self):
            self.idle_timeout = 10

    with manual_engine() as engine, connected(Resetting, engine=engine) as (stream, _):
        stream.idle_timeout = 10
        for count in range(1, 6):
            engine.advance(10.5)
            assert stream.names.count("idle_timeout") == count
        stream.idle_timeout = None
        assert engine.time_to_timer() is None
        engine.advance(100)
        assert stream.names.count("idle_timeout") == 5


def test_idle_timeout_counts_from_the_connection() -> None:
    """Set in a constructor, it does not come for a channel that is not connected yet."""

    class Limited(Recorder):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.idle_timeout = 10

    with manual_engine() as engine:
        stream = Limited(engine=engine)
        engine.advance(100)
        assert stream.names == []
        with connected(Limited, engine=engine) as (other, _):
            engine.advance(9)
            assert other.names == ["connect"]
            engine.advance(2)
            assert other.names == ["connect", "idle_timeout", "close"]


def test_idle_timeout_and_close() -> None:
    with manual_engine() as engine, connected(Recorder, engine=engine) as (stream, _):
        stream.idle_timeout = 10
        stream.close()
        stream.idle_timeout = 5
        engine.advance(100)
        stream.idle_timeout = 5
        engine.advance(100)
        assert stream.names == ["connect", "close"]
        assert engine.time_to_timer() is None


@pytest.mark.parametrize(
    "value, error",
    [("10", TypeError), (True, TypeError), (0, ValueError), (-1, ValueError), (float("nan"), ValueError)],
)
def test_wrong_idle_timeout(value: Any, error: type[Exception]) -> None:
    stream = Stream()
    with pytest.raises(error, match="idle_timeout"):
        stream.idle_timeout = value
    assert stream.idle_timeout is None


# --- Fairness --------------------------------------------------------------------------------------------------------


def test_one_stream_with_much_to_read_does_not_keep_the_loop() -> None:
    """DESIGN §4: one recv per readiness event; so a turn serves all that are ready."""
    with connected(Recorder) as (busy, busy_peer), connected(Recorder) as (other, other_peer):
        fill(busy_peer)
        other_peer.send(b"x")
        turns(2)
        assert other.data == b"x"
        assert len(busy.reads) <= 4
