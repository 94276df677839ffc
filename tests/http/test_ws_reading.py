"""What a WebSocket makes of what arrives: delimiters, types, limits, pauses, compression."""

from __future__ import annotations

import re
import struct
import tracemalloc
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from netstruct import NetStruct

from pants.errors import BufferOverflow
from pants.http import Deflate, EntireMessage, WebSocketError
from tests.conftest import ExpectedLog
from tests.http.ws_support import (
    BINARY,
    CLOSE,
    CONTINUATION,
    DEFLATE,
    PING,
    PONG,
    RSV1,
    TEXT,
    Echo,
    Frame,
    Recorder,
    closing,
    codes,
    deflated,
    frame,
    inflated,
    message,
    opened,
    ws_site,
)

Messages = list[str | bytes]


def reader(delimiter: Any = EntireMessage, **settings: Any) -> type[Recorder]:
    """A class with a delimiter, and other settings."""

    class Kind(Recorder):
        def on_connect(self, *_: Any) -> None:
            self.read_delimiter = delimiter
            for name, value in settings.items():
                setattr(self, name, value)

    return Kind


# --- Delimiters (manual: "read_delimiter") --------------------------------------------------------------------------

DELIMITERS: dict[str, tuple[Any, Messages, list[Any]]] = {
    "EntireMessage": (EntireMessage, ["abc", b"\0\xff", "", b"", "déf"], ["abc", b"\0\xff", "", b"", "déf"]),
    "a str": ("\n", ["a\nb", "c\n\nd"], ["a", "bc", ""]),
    "a long str": ("é\r\n", ["aé", "\r\nbé\r", "\nc"], ["a", "b"]),
    "bytes": (b"\n", [b"a\nb", b"c\n\nd"], [b"a", b"bc", b""]),
    "an int, with text": (3, ["ab", "cdéfgh"], ["abc", "déf"]),  # DESIGN: characters
    "an int, with bytes": (3, [b"ab", b"cd\0efg"], [b"abc", b"d\0e"]),
    "1": (1, ["aé", b"\xc3\xa9"], ["a", "é", b"\xc3", b"\xa9"]),
    "a Struct": (struct.Struct("!HB"), [b"\0\1\2\0", b"\3", b"\4\0"], [(1, 2), (3, 4)]),
    "a Struct of one": (struct.Struct("!H"), [b"\0\1\0\2"], [1, 2]),
    "a NetStruct": (NetStruct(b"B$H"), [b"\3ab", b"c\0\1\0\0\2"], [(b"abc", 1), (b"", 2)]),
    "a pattern of str": (re.compile("[,;]"), ["a,b", ";é"], ["a", "b"]),
    "a pattern of bytes": (re.compile(b"[,;]"), [b"a,b", b";c"], [b"a", b"b"]),
    "a wide pattern": (re.compile("-+x"), ["a--", "-xb-x"], ["a", "b"]),
}


@pytest.mark.parametrize("how", ["whole", "together", "byte by byte", "in fragments", "in fragments byte by byte"])
@pytest.mark.parametrize("name", DELIMITERS)
def test_delimiters(name: str, how: str) -> None:
    """The ends of messages do not matter, but for EntireMessage; nor how they come."""
    delimiter, messages, expected = DELIMITERS[name]
    with opened(reader(delimiter)) as (websocket, client):
        frames = [message(one) for one in messages]
        if "fragments" in how:
            frames = [in_fragments(one) for one in messages]
        chunk = 1 if "byte by byte" in how else None
        if how == "whole":
            for one in frames:
                client.send(one)
        else:
            client.send(*frames, chunk=chunk)
        assert websocket.reads == expected
        assert all(type(got) is type(wanted) for got, wanted in zip(websocket.reads, expected, strict=True))
        assert websocket.connected


def in_fragments(data: str | bytes) -> bytes:
    """A message with one byte in each frame, and empty frames around."""
    opcode = TEXT if isinstance(data, str) else BINARY
    payload = data.encode() if isinstance(data, str) else data
    parts = [b"", *(payload[at : at + 1] for at in range(len(payload))), b""]
    return b"".join(
        frame(CONTINUATION if number else opcode, part, fin=number == len(parts) - 1)
        for number, part in enumerate(parts)
    )


@pytest.mark.parametrize("data", ["héllo wörld", b"\0\xc3\xff" * 5])
@pytest.mark.parametrize("chunk", [None, 1, 3])
def test_none_passes_on_what_has_been_received(data: str | bytes, chunk: int | None) -> None:
    """Manual: "data will be passed to on_read() immediately after it has been received"."""
    with opened(reader(None)) as (websocket, client):
        client.send(message(data), chunk=chunk)
        assert websocket.reads[0][:0].join(websocket.reads) == data
        assert "" not in websocket.reads
        assert b"" not in websocket.reads
        assert len(websocket.reads) > 1 or chunk is None
        websocket.events.clear()
        whole = frame(TEXT, "x" * 1000)
        client.send(whole[:500])
        assert websocket.reads == ["x" * 492]


def test_regex_search_is_search_or_match() -> None:
    """Manual: "the match object itself will be passed to on_read()"."""
    with opened(reader(re.compile(r"(\w+)=(\d)\n"), regex_search=False)) as (websocket, client):
        client.send("a=1\nbc=", "2\n")
        assert [match.groups() for match in websocket.reads] == [("a", "1"), ("bc", "2")]
        websocket.regex_search = True
        client.send("x d=3\n")
        assert websocket.reads[2:] == ["x "]


def test_struct_gives_several_arguments() -> None:
    """The example of the manual."""
    seen: list[Any] = []

    class Example(Recorder):
        def on_connect(self, *_: Any) -> None:
            self.read_delimiter = struct.Struct("!ILH")

        def on_read(self, packet_type: int, length: int, id_: int) -> None:
            seen.append((packet_type, length, id_))

    with opened(Example) as (_, client):
        client.send(message(struct.pack("!ILH", 1, 2, 3)))
        assert seen == [(1, 2, 3)]


@pytest.mark.parametrize(
    "value, error",
    [
        *[(value, TypeError) for value in (object(), 1.5, True, ["\n"], EntireMessage.__class__, bytearray(b"\n"))],
        *[(value, ValueError) for value in ("", b"", 0, -1, struct.Struct(""))],
    ],
)
def test_bad_delimiters(value: Any, error: type[Exception]) -> None:
    """Manual: "Attempting to set the read delimiter to any other value will raise a TypeError"."""
    with opened() as (websocket, client):
        with pytest.raises(error):
            websocket.read_delimiter = value
        assert websocket.read_delimiter is EntireMessage
        client.send("a")
        assert websocket.reads == ["a"]


@pytest.mark.parametrize(
    "value, error", [("1", TypeError), (1.0, TypeError), (None, TypeError), (0, ValueError), (-1, ValueError)]
)
def test_bad_sizes(value: Any, error: type[Exception]) -> None:
    """Manual: "anything other than an integer or long will raise a TypeError"."""
    with opened() as (websocket, _):
        with pytest.raises(error):
            websocket.buffer_size = value
        assert websocket.buffer_size == 65536


@pytest.mark.parametrize("delimiter, size", [(100_000, 100_000), (struct.Struct("70000s"), 70_000), (10, 65536)])
def test_delimiters_with_a_size_enlarge_the_buffer(delimiter: Any, size: int) -> None:
    """Manual: "the buffer size will be increased to accommodate the read delimiter"."""
    with opened(reader(delimiter)) as (websocket, client):
        assert websocket.buffer_size == size
        if size > 65536:
            client.send(message(b"x" * size))
            assert len(websocket.reads) == 1


# --- Strings and bytes (manual: "Unicode Strings and Byte Strings") -------------------------------------------------

OF_TEXT = ["\n", re.compile("\n")]
OF_BYTES = [b"\n", re.compile(b"\n"), struct.Struct("!H"), NetStruct(b"B$")]


@pytest.mark.parametrize("chunk", [None, 1])
@pytest.mark.parametrize(
    "delimiter, data",
    [*[(delimiter, b"a\n") for delimiter in OF_TEXT], *[(delimiter, "a\n") for delimiter in OF_BYTES]],
)
def test_the_types_of_delimiter_and_data_have_to_agree(delimiter: Any, data: str | bytes, chunk: int | None) -> None:
    """Manual: 1 and 3; the code is RFC 6455 §7.4.1's for "a type of data it cannot accept"."""
    with opened(reader(delimiter)) as (websocket, client):
        client.send(message(data), chunk=chunk)
        assert codes(client.frames()) == [1003]
        assert client.ended
        assert websocket.reads == []
        assert websocket.is_over
        assert websocket.close_code == 1003
        assert websocket.close_reason
        assert isinstance(websocket.close_error, WebSocketError)
        assert websocket.close_error.code == 1003


@pytest.mark.parametrize("delimiter", [5, "\n", b"\n", re.compile("\n")])
def test_another_type_behind_an_incomplete_piece(delimiter: Any) -> None:
    """Manual: 2: "an existing string still in the buffer when the client sends another string of a different type"."""
    first: str | bytes = b"abc" if isinstance(delimiter, bytes) else "abc"
    with opened(reader(delimiter)) as (websocket, client):
        client.send(message(first))
        client.send("abc" if isinstance(first, bytes) else message(b"abc"))
        assert codes(client.frames()) == [1003]
        assert websocket.reads == []
        assert websocket.close_code == 1003


@pytest.mark.parametrize("delimiter", [2, None, EntireMessage])
def test_types_may_alternate_where_nothing_is_incomplete(delimiter: Any) -> None:
    with opened(reader(delimiter)) as (websocket, client):
        for data in ("ab", b"cd", b"ef", "gh"):
            client.send(message(data))
        assert websocket.reads == ["ab", b"cd", b"ef", "gh"]


def test_the_example_of_the_manual() -> None:
    """A delimiter of str, for what JavaScript sends."""

    class LineOriented(Recorder):
        def on_connect(self, *_: Any) -> None:
            self.read_delimiter = "\n"

        def on_read(self, line: str) -> None:
            self.write(line.upper())

    with opened(LineOriented) as (_, client):
        client.send("hello\n")
        assert client.messages() == ["HELLO"]


# --- Delimiters that change -----------------------------------------------------------------------------------------


class Switcher(Recorder):
    """Goes to the next of its delimiters with each piece."""

    delimiters: list[Any]

    def on_connect(self, *_: Any) -> None:
        self._switch()

    def on_read(self, *_: Any) -> None:
        self._switch()

    def _switch(self) -> None:
        if self.delimiters:
            self.read_delimiter = self.delimiters.pop(0)


def switcher(*delimiters: Any) -> type[Switcher]:
    return type("Kind", (Switcher,), {"delimiters": list(delimiters)})


@pytest.mark.parametrize("chunk", [None, 1])
@pytest.mark.parametrize(
    "delimiters, messages, expected",
    [
        (["\n", 3, "\n"], ["a\nbcdef\ng"], ["a", "bcd", "ef"]),
        ([b"\n", struct.Struct("!H"), b"\n"], [b"a\n\0\1ef\n"], [b"a", 1, b"ef"]),
        (["\n", EntireMessage], ["a\nrest", "whole\n"], ["a", "rest", "whole\n"]),
        (["\n", EntireMessage], ["a\n", "whole\n"], ["a", "whole\n"]),
        ([EntireMessage, "\n"], ["a\nb", "c\nd\n"], ["a\nb", "c", "d"]),
        ([EntireMessage, b"\n", "\n"], ["a\nb", b"c\n", "d\n"], ["a\nb", b"c", "d"]),
        (["\n", EntireMessage, "\n"], ["a\nb\nc", "d\ne"], ["a", "b\nc", "d"]),
        ([re.compile("[,;]"), 1, re.compile("x")], ["a,bcxd"], ["a", "b", "c"]),
    ],
)
def test_a_delimiter_that_is_changed_in_on_read_holds_from_what_follows(
    delimiters: list[Any], messages: Messages, expected: list[Any], chunk: int | None
) -> None:
    """`WebSocket.read_delimiter`; DESIGN §3."""
    with opened(switcher(*delimiters)) as (websocket, client):
        client.send(*[message(one) for one in messages], chunk=chunk)
        assert websocket.reads == expected
        assert websocket.connected


def test_a_delimiter_that_is_changed_elsewhere_is_for_what_is_held_too() -> None:
    with opened(reader("\n")) as (websocket, client):
        client.send("a;b;c")
        assert websocket.reads == []
        websocket.read_delimiter = ";"
        assert websocket.reads == []  # on the next turn
        client.engine.advance()
        assert websocket.reads == ["a", "b"]
        websocket.read_delimiter = None
        client.engine.advance()
        assert websocket.reads == ["a", "b", "c"]


def test_a_delimiter_of_the_other_type_for_what_is_held() -> None:
    with opened(reader("\n")) as (websocket, client):
        client.send("abc")
        websocket.read_delimiter = b"\n"
        client.engine.advance()
        client.send(message(b"d\n"))
        assert codes(client.frames()) == [1003]
        assert websocket.reads == []


def test_whole_messages_once_more_where_a_piece_is_held() -> None:
    """The message was over; what is left of it is passed on as one."""
    with opened(reader("\n")) as (websocket, client):
        client.send("abc")
        websocket.read_delimiter = EntireMessage
        client.engine.advance()
        assert websocket.reads == ["abc"]
        client.send("def")
        assert websocket.reads == ["abc", "def"]


def test_whole_messages_once_more_amid_a_message() -> None:
    with opened(reader("\n")) as (websocket, client):
        client.send(frame(TEXT, "a\nbc", fin=False))
        websocket.read_delimiter = EntireMessage
        client.engine.advance()
        assert websocket.reads == ["a"]
        client.send(frame(CONTINUATION, "de"))
        assert websocket.reads == ["a", "bcde"]


# --- Fragments (RFC 6455 §5.4) --------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunk", [None, 1])
def test_control_frames_may_come_between_fragments(chunk: int | None) -> None:
    """RFC 6455 §5.5; and a ping is answered before the message is over."""
    with opened() as (websocket, client):
        client.send(frame(TEXT, "a", fin=False), frame(PING, "p"), frame(PONG, "q"), chunk=chunk)
        assert client.frames() == [Frame(PONG, b"p")]
        assert websocket.reads == []
        client.send(frame(CONTINUATION, "b", fin=False), frame(PING), frame(CONTINUATION, "c"), "d", chunk=chunk)
        assert websocket.reads == ["abc", "d"]
        assert client.frames() == [Frame(PONG, b"")]


@pytest.mark.parametrize("delimiter", [EntireMessage, None, "\n", 7])
def test_characters_may_be_torn(delimiter: Any) -> None:
    """RFC 6455 §5.6: a message is UTF-8, its fragments need not be."""
    text = "κόσμε😀\n"
    data = text.encode()
    for cut in range(1, len(data)):
        with opened(reader(delimiter)) as (websocket, client):
            client.send(frame(TEXT, data[:cut], fin=False))
            client.send(frame(CONTINUATION, data[cut:]))
            assert "".join(websocket.reads) == (text.rstrip() if delimiter == "\n" else text)


def test_many_small_fragments_are_one_message() -> None:
    with opened() as (websocket, client):
        client.send(frame(TEXT, fin=False) + frame(CONTINUATION, "x", fin=False) * 20_000 + frame(CONTINUATION))
        assert websocket.reads == ["x" * 20_000]


# --- Invalid text (RFC 6455 §8.1) -----------------------------------------------------------------------------------

# What is sent first, and the byte with which it turns out to be wrong.
INVALID = [
    (b"ab", b"\xff"),
    (b"", b"\xc0"),
    (b"\xce", b"\xce"),
    (b"\xf4", b"\x90"),
    (b"\xe2\x82", b"a"),
]


@pytest.mark.parametrize("delimiter", [EntireMessage, None, "\n", 3])
@pytest.mark.parametrize("good, bad", INVALID)
def test_invalid_text_is_refused_at_the_earliest_byte(good: bytes, bad: bytes, delimiter: Any) -> None:
    """The rest of the frame has not come, and need not."""
    data = frame(TEXT, good + bad + b"x" * 1000)
    with opened(reader(delimiter)) as (websocket, client):
        client.send(data[: 8 + len(good)])
        assert client.frames() == []
        assert websocket.connected
        client.send(data[8 + len(good) : 9 + len(good)])
        assert codes(client.frames()) == [1007]
        assert client.ended
        assert websocket.close_code == 1007
        assert websocket.is_over


def test_half_a_surrogate_is_refused_at_its_second_byte() -> None:
    """RFC 3629 §4: behind 0xED comes 0x80 to 0x9F, so nothing can make this valid any more."""
    with opened() as (_, client):
        client.send(frame(TEXT, b"\xed\xa0" + b"x" * 1000)[:10])
        assert codes(client.frames()) == [1007]


@pytest.mark.parametrize("data", [b"\xff", b"a\xe2\x82", b"\xed\xa0\x80"])
def test_invalid_text_in_one_short_frame(data: bytes) -> None:
    with opened() as (websocket, client):
        client.send("good", frame(TEXT, data), "more")
        assert codes(client.frames()) == [1007]
        assert websocket.reads == ["good"]


def test_a_character_that_is_not_complete_at_the_end_of_a_message() -> None:
    with opened() as (_, client):
        client.send(frame(TEXT, b"\xe2", fin=False), frame(CONTINUATION, b"\x82", fin=False))
        assert client.frames() == []
        client.send(frame(CONTINUATION))
        assert codes(client.frames()) == [1007]


# --- Limits (manual: "buffer_size") ---------------------------------------------------------------------------------


def sent_as(data: str | bytes, how: str) -> bytes:
    if how == "whole":
        return message(data)
    payload = data.encode() if isinstance(data, str) else data
    half = len(payload) // 2
    opcode = TEXT if isinstance(data, str) else BINARY
    return frame(opcode, payload[:half], fin=False) + frame(CONTINUATION, payload[half:])


@pytest.mark.parametrize("how", ["whole", "in fragments"])
@pytest.mark.parametrize("chunk", [None, 1, 7])
@pytest.mark.parametrize("data", ["x" * 200, b"x" * 200, "é" * 100])
def test_the_longest_message(data: Any, chunk: int | None, how: str, expect_log: ExpectedLog) -> None:
    """`WebSocket.buffer_size`: in bytes; a longer one ends in on_overflow_error, which closes with 1009."""
    expect_log("200 bytes, which is buffer_size")
    with opened(reader(buffer_size=200)) as (websocket, client):
        client.send(sent_as(data, how), chunk=chunk)
        assert websocket.reads == [data]
        client.send(sent_as(data + data[:1], how)[:-1], chunk=chunk)
        assert codes(client.frames()) == [1009]
        assert websocket.reads == [data]
        [error] = websocket.told("overflow_error")
        assert isinstance(error, BufferOverflow)
        client.engine.advance(60)
        assert websocket.is_over
        assert websocket.close_code == 1009


@pytest.mark.parametrize("size", [65537, 1 << 20, 1 << 62])
def test_a_long_message_is_not_waited_for(size: int, expect_log: ExpectedLog) -> None:
    """It is refused as soon as its head says how long it will be."""
    expect_log("buffer_size")
    with opened() as (_, client):
        client.send(b"\x82\xff" + size.to_bytes(8, "big") + b"mask")
        assert codes(client.frames()) == [1009]


@pytest.mark.parametrize("delimiter, unit", [("\n", "é"), (b"\n", b"x"), (re.compile("\n"), "x")])
@pytest.mark.parametrize("chunk", [None, 50])
def test_the_longest_piece(delimiter: Any, unit: Any, chunk: int | None, expect_log: ExpectedLog) -> None:
    """In characters, where it is text that is cut."""
    expect_log("within 200")
    line = unit * 200 + ("\n" if isinstance(unit, str) else b"\n")
    with opened(reader(delimiter, buffer_size=200)) as (websocket, client):
        client.send(message(line), chunk=chunk)
        assert websocket.reads == [line[:-1]]
        client.send(message(unit * 150), message(unit * 51), chunk=chunk)
        assert codes(client.frames()) == [1009]
        assert isinstance(websocket.told("overflow_error")[0], BufferOverflow)
        client.engine.advance(60)
        assert websocket.close_code == 1009


def test_a_long_flow_is_no_long_piece() -> None:
    with opened(reader("\n", buffer_size=10)) as (websocket, client):
        client.send("abc\n" * 10_000)
        assert websocket.reads == ["abc"] * 10_000
        websocket.read_delimiter = None
        client.send("x" * 100_000)
        assert "".join(websocket.reads[10_000:]) == "x" * 100_000


@pytest.mark.parametrize("how", ["whole", "in fragments", "compressed"])
@pytest.mark.parametrize("chunk", [None, 1])
def test_where_on_overflow_error_does_nothing_the_message_is_dropped(how: str, chunk: int | None) -> None:
    """`WebSocket.on_overflow_error`: once for each such message, and the next one is passed on."""

    class Kind(Recorder):
        def on_connect(self, *_: Any) -> None:
            self.buffer_size = 20

        def on_overflow_error(self, exception: Exception) -> None:
            pass

    with opened(Kind, DEFLATE) as (websocket, client):
        data = "x" * 100
        piece = frame(TEXT, deflated(data.encode()), rsv=RSV1) if how == "compressed" else sent_as(data, how)
        client.send("a", piece, "b", piece, "c", chunk=chunk)
        assert websocket.reads == ["a", "b", "c"]
        assert websocket.names.count("overflow_error") == 2
        assert websocket.connected


@pytest.mark.parametrize("delimiter", [EntireMessage, "\n"])
@pytest.mark.parametrize("how", ["whole", "in fragments"])
def test_on_overflow_error_may_make_room(delimiter: Any, how: str) -> None:
    """Manual: it is called when the size is exceeded; what it does with that is its own affair."""

    class Kind(Recorder):
        def on_connect(self, *_: Any) -> None:
            self.read_delimiter = delimiter
            self.buffer_size = 20

        def on_overflow_error(self, exception: Exception) -> None:
            self.buffer_size = 1000

    with opened(Kind) as (websocket, client):
        client.send(sent_as("x" * 100 + "\n", how))
        assert websocket.reads == ["x" * 100 + ("\n" if delimiter is EntireMessage else "")]
        assert websocket.names.count("overflow_error") == 1


def test_what_on_overflow_error_raises(expect_log: ExpectedLog) -> None:
    expect_log("KeyError")

    class Kind(Recorder):
        def on_overflow_error(self, exception: Exception) -> None:
            raise KeyError

    with opened(Kind) as (websocket, client):
        client.send("x" * 70_000, "y")
        assert codes(client.frames()) == [1011]
        assert websocket.reads == []


def test_a_smaller_size_for_what_is_held(expect_log: ExpectedLog) -> None:
    expect_log("within 50")
    with opened(reader("\n")) as (websocket, client):
        client.send("x" * 100)
        websocket.buffer_size = 50
        client.engine.advance()
        client.send("y")
        assert codes(client.frames()) == [1009]


def test_a_netstruct_does_not_enlarge_the_buffer(expect_log: ExpectedLog) -> None:
    """DESIGN §3: a size announced by a NetStruct beyond buffer_size is refused before anything is buffered for it."""
    expect_log("the limit is 65536")
    with opened(reader(NetStruct(b"!I$"))) as (_, client):
        client.send(message(b"\xff\xff\xff\xffabc"))
        assert codes(client.frames()) == [1009]


# --- Compression (RFC 7692) -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunk", [None, 1])
@pytest.mark.parametrize("data", ["héllo " * 500, b"\0\xff" * 1000, "", "a"])
def test_compressed_messages_are_inflated(data: str | bytes, chunk: int | None) -> None:
    payload = data.encode() if isinstance(data, str) else data
    opcode = TEXT if isinstance(data, str) else BINARY
    with opened(Echo, DEFLATE) as (websocket, client):
        assert client.header("Sec-WebSocket-Extensions")[0].startswith("permessage-deflate")
        squeezed = deflated(payload)
        client.send(frame(opcode, squeezed, rsv=RSV1), chunk=chunk)
        half = len(squeezed) // 2
        client.send(
            frame(opcode, squeezed[:half], rsv=RSV1, fin=False),
            frame(PING),
            frame(CONTINUATION, squeezed[half:]),
            message(data),  # §6: not every message has to be
            chunk=chunk,
        )
        assert websocket.reads == [data] * 3
        frames = [one for one in client.frames() if one.opcode != PONG]
        assert [inflated(one.payload) if one.rsv else one.payload for one in frames] == [payload] * 3
        if len(payload) > 1000:
            assert {one.rsv for one in frames} == {RSV1}
            assert all(len(one.payload) < 100 for one in frames)


@pytest.mark.parametrize("delimiter, expected", [("\n", ["a", "b", "c"]), (2, ["a\n", "b\n", "c\n"]), (None, None)])
def test_compressed_messages_are_cut(delimiter: Any, expected: Any) -> None:
    with opened(reader(delimiter), DEFLATE) as (websocket, client):
        for data in (b"a\nb", b"\nc\n"):
            client.send(frame(TEXT, deflated(data), rsv=RSV1), chunk=1)
        if expected is None:
            assert "".join(websocket.reads) == "a\nb\nc\n"
        else:
            assert websocket.reads == expected


@pytest.mark.parametrize(
    "compression, fields", [(False, (DEFLATE,)), (True, ()), (True, (b"Sec-WebSocket-Extensions: x",))]
)
def test_without_an_agreement_nothing_is_compressed(compression: bool, fields: tuple[bytes, ...]) -> None:
    kind = type("Kind", (Echo,), {"compression": compression})
    with opened(kind, *fields) as (_, client):
        assert client.header("Sec-WebSocket-Extensions") == []
        client.send("a" * 1000)
        assert client.frames() == [Frame(TEXT, b"a" * 1000)]
        client.send(frame(TEXT, deflated(b"a"), rsv=RSV1))
        assert codes(client.frames()) == [1002]


def test_a_window_that_is_kept() -> None:
    """`Deflate`: with context_takeover similar messages compress far better."""
    kind = type("Kind", (Echo,), {"compression": Deflate(server_no_context_takeover=False, min_size=1)})
    with opened(kind, DEFLATE) as (_, client):
        [answer] = client.header("Sec-WebSocket-Extensions")
        assert "server_no_context_takeover" not in answer
        assert "client_no_context_takeover" in answer
        text = "".join(chr(97 + number * number % 23) for number in range(60))
        client.send(text, text)
        first, second = client.frames()
        assert len(second.payload) < len(first.payload) / 2
        inflater = zlib.decompressobj(wbits=-15)
        for one in (first, second):
            assert inflater.decompress(one.payload + b"\0\0\xff\xff").decode() == text


def test_each_message_begins_anew_by_default() -> None:
    with opened(Echo, DEFLATE) as (_, client):
        assert "server_no_context_takeover" in client.header("Sec-WebSocket-Extensions")[0]
        client.send("ab" * 500, "ab" * 500)
        first, second = client.frames()
        assert first == second
        assert inflated(first.payload) == b"ab" * 500


def test_a_small_window() -> None:
    """RFC 7692 §7.1.2."""
    kind = type("Kind", (Echo,), {"compression": Deflate(server_max_window_bits=9, min_size=0)})
    with opened(kind, DEFLATE + b"; server_max_window_bits=10") as (_, client):
        assert "server_max_window_bits=9" in client.header("Sec-WebSocket-Extensions")[0]
        data = "".join(chr(97 + number * number % 26) for number in range(3000))
        client.send(data)
        [one] = client.frames()
        assert zlib.decompressobj(wbits=-9).decompress(one.payload + b"\0\0\xff\xff").decode() == data


@pytest.mark.parametrize("size, rsv", [(99, 0), (100, RSV1)])
def test_short_messages_are_sent_as_they_are(size: int, rsv: int) -> None:
    kind = type("Kind", (Echo,), {"compression": Deflate(min_size=100)})
    with opened(kind, DEFLATE) as (_, client):
        client.send("x" * size)
        assert [one.rsv for one in client.frames()] == [rsv]


@pytest.mark.parametrize(
    "name, pieces, code",
    [
        ("malformed", [frame(TEXT, b"\xff\xff\xff", rsv=RSV1)], 1007),
        ("not UTF-8", [frame(TEXT, deflated(b"a\xff"), rsv=RSV1)], 1007),
        ("a bit in a continuation", [frame(TEXT, b"a", fin=False), frame(CONTINUATION, b"", rsv=RSV1)], 1002),
        ("a bit in a ping", [frame(PING, b"a", rsv=RSV1)], 1002),
    ],
)
def test_what_is_wrong_with_compressed_messages(name: str, pieces: list[bytes], code: int) -> None:
    assert name
    with opened(Recorder, DEFLATE) as (websocket, client):
        client.send(*pieces)
        assert codes(client.frames()) == [code]
        assert websocket.close_code == code
        assert websocket.reads == []


@pytest.mark.parametrize("delimiter", [EntireMessage, "\n", b"\n"])
@pytest.mark.parametrize("drops", [False, True])
def test_a_bomb_is_bounded(delimiter: Any, drops: bool, expect_log: ExpectedLog) -> None:
    """`WebSocket.buffer_size`: a compressed message counts as what it inflates to."""
    if not drops:
        expect_log("which is buffer_size" if delimiter is EntireMessage else "within 65536")

    class Kind(Recorder):
        def on_connect(self, *_: Any) -> None:
            self.read_delimiter = delimiter
            if drops:
                self.on_overflow_error = lambda exception: None

    opcode = BINARY if delimiter == b"\n" else TEXT
    bomb = frame(opcode, deflated(b"x" * 20_000_000), rsv=RSV1)
    assert len(bomb) < 30_000
    with opened(Kind, DEFLATE) as (websocket, client):
        tracemalloc.start()
        try:
            client.send(bomb)
            client.engine.advance(1)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < 1_000_000
        assert websocket.reads == []
        if drops:
            assert websocket.connected
            if delimiter is EntireMessage:
                client.send("a")
                assert websocket.reads == ["a"]
        else:
            assert codes(client.frames()) == [1009]


def test_a_large_compressed_message_within_the_limit_comes_whole() -> None:
    data = bytes(range(256)) * 20_000
    with opened(reader(buffer_size=len(data)), DEFLATE) as (websocket, client):
        client.send(frame(BINARY, deflated(data), rsv=RSV1), "after", frame(PING, "p"))
        client.engine.advance()
        assert websocket.reads == [data, "after"]
        assert client.frames() == [Frame(PONG, b"p")]


def test_a_pause_amid_what_is_inflated() -> None:
    class Kind(Recorder):
        def on_connect(self, *_: Any) -> None:
            self.read_delimiter = "\n"

        def on_read(self, data: str) -> None:
            if len(self.events) == 5:
                self.pause_reading()

    with opened(Kind, DEFLATE) as (websocket, client):
        client.send(frame(TEXT, deflated(b"ab\n" * 100_000), rsv=RSV1), "after\n")
        assert len(websocket.reads) == 3
        client.engine.advance(1)
        assert len(websocket.reads) == 3
        websocket.resume_reading()
        client.engine.advance()
        assert websocket.reads == ["ab"] * 100_000 + ["after"]


# --- Pauses ---------------------------------------------------------------------------------------------------------


def test_a_pause_holds_back_what_comes() -> None:
    """`WebSocket.pause_reading`: its pings wait as well."""
    with opened() as (websocket, client):
        websocket.pause_reading()
        websocket.pause_reading()
        client.send("a", frame(PING, "p"), "b")
        client.engine.advance(5)
        assert websocket.reads == []
        assert client.frames() == []
        websocket.resume_reading()
        assert websocket.reads == []  # never inside a method
        client.engine.advance()
        assert websocket.reads == ["a", "b"]
        assert client.frames() == [Frame(PONG, b"p")]
        websocket.resume_reading()
        client.send("c")
        assert websocket.reads == ["a", "b", "c"]


@pytest.mark.parametrize("delimiter", [EntireMessage, "\n"])
def test_a_pause_in_on_read_holds_from_what_follows(delimiter: Any) -> None:
    class Kind(Recorder):
        def on_connect(self, *_: Any) -> None:
            self.read_delimiter = delimiter

        def on_read(self, data: str) -> None:
            self.pause_reading()

    end = "" if delimiter is EntireMessage else "\n"
    with opened(Kind) as (websocket, client):
        client.send("a" + end, "b" + end, f"c{end}")
        for number in (1, 2, 3):
            client.engine.advance(1)
            assert websocket.reads == ["a", "b", "c"][:number]
            websocket.resume_reading()
        client.engine.advance(1)
        client.send("d" + end)
        assert websocket.reads == ["a", "b", "c", "d"]


def test_a_pause_in_on_connect_and_frames_that_came_with_the_request() -> None:
    class Kind(Recorder):
        def on_connect(self, *_: Any) -> None:
            self.pause_reading()

    with ws_site(Kind) as site:
        client = site.ask(behind=message("a") + message("b"))
        [websocket] = site.sockets
        client.send("c")
        assert websocket.reads == []
        websocket.resume_reading()
        site.engine.advance()
        assert websocket.reads == ["a", "b", "c"]


def test_a_pause_and_its_end_in_on_read() -> None:
    class Kind(Recorder):
        def on_read(self, data: str) -> None:
            self.pause_reading()
            self.resume_reading()

    with opened(Kind) as (websocket, client):
        client.send("a", "b", "c")
        assert websocket.reads == ["a", "b", "c"]


def test_a_pause_before_it_is_open() -> None:
    class Kind(Recorder):
        def __init__(self, request: Any) -> None:
            super().__init__(request)
            self.pause_reading()
            self.read_delimiter = "\n"
            self.buffer_size = 5

    with ws_site(Kind) as site:
        client = site.ask(behind=message("a\nb"))
        [websocket] = site.sockets
        client.send("\n")
        assert websocket.names == ["connect"]
        websocket.resume_reading()
        site.engine.advance()
        assert websocket.reads == ["a", "b"]


def test_the_delimiter_may_change_during_a_pause() -> None:
    with opened() as (websocket, client):
        websocket.pause_reading()
        client.send("a\nb", "c\n")
        websocket.read_delimiter = "\n"
        client.engine.advance()
        assert websocket.reads == []
        websocket.resume_reading()
        client.engine.advance()
        assert websocket.reads == ["a", "bc"]


def test_a_pause_does_not_keep_it_from_being_closed() -> None:
    """The peer's Close frame is read: it is behind what is not passed on any more."""
    with opened() as (websocket, client):
        websocket.pause_reading()
        client.send("a", "b")
        websocket.close()
        client.engine.advance()
        assert codes(client.frames()) == [1000]
        client.send("c", closing(4000, "bye"))
        assert client.ended
        assert websocket.is_over
        assert websocket.reads == []
        assert (websocket.close_code, websocket.close_reason) == (4000, "bye")


def test_during_a_pause_the_peer_is_not_read_from() -> None:
    """`pause_reading`: let what the peer sends wait: it is not taken into memory without limit."""
    with opened() as (websocket, client):
        websocket.pause_reading()
        for _ in range(100):
            client.send("x" * 60_000)
        assert len(client.peer._socket.other.inbox) > 5_000_000
        websocket.resume_reading()
        client.engine.advance()
        assert websocket.reads == ["x" * 60_000] * 100


def test_the_end_after_a_pause() -> None:
    with opened() as (websocket, client):
        websocket.pause_reading()
        client.send("a")
        client.peer.end()
        client.engine.advance(5)
        assert websocket.connected
        websocket.resume_reading()
        client.engine.advance()
        assert websocket.reads == ["a"]
        assert websocket.is_over
        assert websocket.close_code == 1006


# --- Nested turns ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("delimiter", [EntireMessage, "\n"])
@pytest.mark.parametrize("first", ["first", "all"])
def test_a_hook_that_polls_is_not_entered_again(delimiter: Any, first: str) -> None:
    """DESIGN: the channel whose hook is running is not entered again; others are."""
    depth: set[Recorder] = set()
    end = "" if delimiter is EntireMessage else "\n"

    class Kind(Recorder):
        def on_connect(self, *_: Any) -> None:
            self.read_delimiter = delimiter

        def on_read(self, data: str) -> None:
            assert self not in depth
            depth.add(self)
            if data == "first":
                other.send("other")
                client.send("more" + end, frame(PING, "p"))
                self.write("waiting")
                for _ in range(3):
                    self.engine.poll(0)
                assert other_socket.reads == ["other"]
            depth.discard(self)

    with ws_site(Kind) as site:
        other_socket, other = site.open()
        other_socket.read_delimiter = EntireMessage
        websocket, client = site.open()
        client.send(*(["first" + end] if first == "first" else ["first" + end, "second" + end]))
        assert websocket.reads == (["first", "more"] if first == "first" else ["first", "second", "more"])
        assert client.frames() == [Frame(TEXT, b"waiting"), Frame(PONG, b"p")]


ACTIONS: dict[str, Callable[[Any], object]] = {
    "close": lambda websocket: websocket.close(),
    "cut": lambda websocket: websocket.close(flush=False),
    "pause": lambda websocket: websocket.pause_reading(),
    "delimiter": lambda websocket: setattr(websocket, "read_delimiter", 1),
    "server": lambda websocket: websocket._connection.server.close(),
}


@pytest.mark.parametrize("name", ACTIONS)
def test_what_is_done_while_a_hook_polls(name: str) -> None:
    class Kind(Recorder):
        def on_read(self, data: str) -> None:
            if data == "first":
                self.engine.callback(ACTIONS[name], self)
                for _ in range(3):
                    self.engine.poll(0)
                assert "close" not in self.names

    with opened(Kind) as (websocket, client):
        client.send("first", "ab")
        client.engine.advance()
        assert websocket.reads == (["first", "a", "b"] if name == "delimiter" else ["first"])
        if name in ("close", "cut", "server"):
            assert not websocket.connected
            client.engine.advance(30)
            assert websocket.is_over
            assert codes(client.frames()) == {"close": [1000], "cut": [], "server": [1001]}[name]


@pytest.mark.parametrize(
    "hook", ["on_connect", "on_write", "on_pong", "on_high_water", "on_overflow_error", "on_close"]
)
def test_every_hook_may_poll(hook: str, expect_log: ExpectedLog) -> None:
    if hook != "on_overflow_error":
        expect_log("which is buffer_size")

    def polls(self: Recorder, *_: Any) -> None:
        self.engine.poll(0)
        self.engine.poll(0)

    kind = type("Kind", (Recorder,), {hook: polls, "high_water": 10})
    with ws_site(kind) as site:
        client = site.ask(behind=message("a") + message("b"))
        [websocket] = site.sockets
        client.peer.window = 50
        websocket.write("x" * 500)
        websocket.ping(b"p")
        client.send(frame(PONG, "p"), "c")
        client.peer.window = None
        client.send("x" * 70_000, "d")
        if hook == "on_overflow_error":
            assert websocket.reads == ["a", "b", "c", "d"]
        else:
            assert websocket.reads == ["a", "b", "c"]
        client.send(closing())
        assert websocket.is_over


# --- Errors in on_read ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("delimiter", [EntireMessage, "\n", 1])
@pytest.mark.parametrize("together", [True, False])
def test_where_on_error_does_nothing_it_goes_on(delimiter: Any, together: bool) -> None:
    """What on_read() raises costs its own frame only."""

    class Kind(Recorder):
        def on_connect(self, *_: Any) -> None:
            self.read_delimiter = delimiter

        def on_read(self, data: str) -> None:
            if data == "b":
                raise KeyError(data)

        def on_error(self, exception: Exception) -> None:
            assert isinstance(exception, KeyError)

    end = "\n" if delimiter == "\n" else ""
    with opened(Kind) as (websocket, client):
        pieces = [letter + end for letter in "abc"]
        if together:
            client.send(*pieces)
        else:
            for piece in pieces:
                client.send(piece)
        assert websocket.reads == ["a", "b", "c"]
        assert websocket.names == ["connect", "read", "read", "error", "read"]
        assert websocket.connected


@pytest.mark.parametrize("delimiter", [EntireMessage, "\n"])
@pytest.mark.parametrize("together", [True, False])
def test_what_is_no_exception_leaves_the_loop_and_nothing_is_lost(delimiter: Any, together: bool) -> None:
    """DESIGN: what is no `Exception` leaves start(); the engine may be started again."""

    class Kind(Recorder):
        def on_connect(self, *_: Any) -> None:
            self.read_delimiter = delimiter

        def on_read(self, data: str) -> None:
            if data == "a":
                raise SystemExit

    end = "" if delimiter is EntireMessage else "\n"
    with opened(Kind) as (websocket, client):
        with pytest.raises(SystemExit):
            client.send(*([f"a{end}", f"b{end}", f"c{end}"] if together else [f"a{end}"]))
        if not together:
            client.send(f"b{end}", f"c{end}")
        client.engine.advance()
        assert websocket.reads == ["a", "b", "c"]


def test_a_pattern_that_takes_nothing_does_not_run_in_a_circle(expect_log: ExpectedLog) -> None:
    expect_log("An error")
    with opened(reader(re.compile("x*"), regex_search=False)) as (websocket, client):
        client.send("abc")
        assert codes(client.frames()) == [1011]
        assert websocket.reads == []


def test_a_frame_without_anything_is_a_message() -> None:
    with opened(Echo) as (_, client):
        client.send("", frame(BINARY))
        assert client.frames() == [Frame(TEXT, b""), Frame(BINARY, b"")]
        assert CLOSE
