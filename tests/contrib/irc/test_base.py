"""`BaseIRC`: lines in and out, by the manual and RFC 2812, in memory and on real sockets."""

from __future__ import annotations

import encodings
import pathlib
import pkgutil
import random
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import trustme

from pants import Server
from pants.contrib.irc import BaseIRC, MalformedLine, Message
from pants.testing import MemoryEngine, Peer, connected_pair, run_until

DEADLINE = 15.0


class Noting(BaseIRC):
    """Notes what it receives."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.commands: list[tuple[Any, ...]] = []
        self.events: list[Any] = []
        super().__init__(*args, **kwargs)

    def irc_connect(self) -> None:
        self.events.append("connect")

    def irc_command(self, *args: Any) -> None:
        self.commands.append(args)

    def irc_malformed(self, line: str, exception: MalformedLine) -> None:
        self.events.append((line, type(exception)))
        super().irc_malformed(line, exception)

    def irc_close(self) -> None:
        self.events.append("close")


@pytest.fixture
def engine() -> Iterator[MemoryEngine]:
    with MemoryEngine() as engine:
        yield engine


@pytest.fixture
def pair(engine: MemoryEngine) -> tuple[Noting, Peer]:
    return engine.connect(Noting)


def sent(irc: BaseIRC, peer: Peer) -> bytes:
    """What it has sent since this was last asked for."""
    irc.engine.advance()  # type: ignore[attr-defined]
    return peer.take()


# --- Receiving ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunk", [None, 1, 7])
@pytest.mark.parametrize("end", [b"\r\n", b"\n"])
def test_commands(pair: tuple[Noting, Peer], end: bytes, chunk: int | None) -> None:
    """Manual: "irc_command"."""
    irc, peer = pair
    peer.send(end.join([b":a!b@c PRIVMSG #d :e f", b":irc.test 001 me", b"quit", b""]), chunk)
    assert irc.commands == [
        ("PRIVMSG", ["#d", "e f"], "a", "b", "c"),
        ("001", ["me"], "", "", "irc.test"),
        ("QUIT", [], "", "", ""),
    ]


def test_empty_lines_are_ignored_silently(pair: tuple[Noting, Peer]) -> None:
    """RFC 2812 §2.3.1."""
    irc, peer = pair
    peer.send(b"\r\n\n\r\r\nQUIT\r\n\r\n")
    assert [command for command, *_ in irc.commands] == ["QUIT"]
    assert irc.events == ["connect"]


def test_what_is_no_command_is_told(pair: tuple[Noting, Peer]) -> None:
    irc, peer = pair
    peer.send(b":a\r\nA1 x\r\nA\0B\r\nA\rB\r\n \r\nQUIT\r\n")
    assert irc.events[1:] == [(line, MalformedLine) for line in (":a", "A1 x", "A\0B", "A\rB", " ")]
    assert len(irc.commands) == 1
    assert irc.connected


def test_the_message_with_its_tags(engine: MemoryEngine) -> None:
    class Curious(BaseIRC):
        found: Message | None = None

        def irc_command(self, *args: Any) -> None:
            self.found = self.received

    irc, peer = engine.connect(Curious)
    assert irc.received is None
    peer.send(b"@a=b\\s :n!u@h PRIVMSG #c :d\r\n")
    assert irc.found == ("PRIVMSG", ["#c", "d"], "n", "u", "h", {"a": "b "})
    assert irc.found.tags == {"a": "b "}


@pytest.mark.parametrize(
    "line",
    [
        *(b":" * 8000, b" " * 8000, b"@" * 8000, b"@" + b";" * 8000, b": " * 4000, b" :" * 4000, b"\r" * 8000),
        *(b"A" + b" b" * 4000, b"A" + b" :" * 4000, b"\0" * 8000, b"\xff" * 8000, b"PING" + b" a" * 4000),
        *(b":" + b"a" * 8000 + b" A", b"@a=" + b"\\" * 8000 + b" A", b"A" * 8000, b"\x10\x01" * 4000),
    ],
)
def test_any_line_leaves_the_connection_alive(pair: tuple[Noting, Peer], line: bytes) -> None:
    irc, peer = pair
    peer.send(line + b"\n" + b"\n" * 1000 + b"PING x\n")
    assert sent(irc, peer).endswith(b"PONG x\r\n")
    assert all(len(args) <= 15 for _, args, *_ in irc.commands)


def test_a_long_line_closes_the_connection(pair: tuple[Noting, Peer], expect_log: Any) -> None:
    irc, peer = pair
    longest = b"@a=" + b"b" * 8188 + b" C " + b"d" * 508 + b"\r\n"
    peer.send(longest)
    assert len(irc.commands) == 1
    expect_log("no separator within 8703")
    peer.send(b"x" * 10_000)
    assert irc.events == ["connect", "close"]
    assert peer.ended or peer.was_reset


def test_a_command_that_closes(engine: MemoryEngine) -> None:
    class Closing(Noting):
        def irc_command(self, *args: Any) -> None:
            super().irc_command(*args)
            self.close()

    irc, peer = engine.connect(Closing)
    peer.send(b"A\r\nB\r\n")
    assert len(irc.commands) == 1
    assert irc.events == ["connect", "close"]


# --- PING --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "ping, pong",
    [
        (b"PING :irc.test", b"PONG irc.test"),
        (b":irc.test PING a", b"PONG a"),
        (b"PING a b", b"PONG a b"),
        (b"PING :a b", b"PONG :a b"),
        (b"PING ::a", b"PONG ::a"),
        (b"PING", b"PONG"),
    ],
)
def test_ping_is_answered(pair: tuple[Noting, Peer], ping: bytes, pong: bytes) -> None:
    """Manual: "BaseIRC". RFC 2812 §3.7.2."""
    irc, peer = pair
    peer.send(ping + b"\r\n")
    assert sent(irc, peer) == pong + b"\r\n"
    assert irc.commands[0][0] == "PING"


@pytest.mark.parametrize(
    "ping, pong",
    [
        (b"PING 123", b":irc.test PONG irc.test 123"),
        (b"PING :1 2", b":irc.test PONG irc.test :1 2"),
        (b"PING 123 irc.test", b":irc.test PONG irc.test 123"),
        (b"PING", b":irc.test PONG irc.test"),
    ],
)
def test_ping_is_answered_by_a_server(engine: MemoryEngine, ping: bytes, pong: bytes) -> None:
    """RFC 2812 §3.7.3: the server that answers comes first."""

    class Seat(BaseIRC):
        prefix = "irc.test"

    irc, peer = engine.connect(Seat)
    peer.send(ping + b"\r\n")
    assert sent(irc, peer) == pong + b"\r\n"


def test_a_ping_that_is_too_long_to_be_answered(pair: tuple[Noting, Peer]) -> None:
    irc, peer = pair
    peer.send(b"PING :" + b"a" * 600 + b"\r\nQUIT\r\n")
    assert sent(irc, peer) == b""
    assert irc.connected
    assert len(irc.commands) == 2


def test_a_peer_that_takes_nothing_is_not_read_from(pair: tuple[Noting, Peer]) -> None:
    irc, peer = pair
    irc.high_water = 1000
    peer.window = 0
    for _ in range(200):
        peer.send(b"PING :" + b"a" * 100 + b"\r\n")
    assert irc.queued_bytes < 2000
    received = len(irc.commands)
    assert received < 20
    peer.window = None
    assert len(irc.commands) == 200
    assert sent(irc, peer).count(b"PONG") == 200


def test_pauses_of_the_user_are_the_users(pair: tuple[Noting, Peer]) -> None:
    """Whatever `on_high_water` does, before or meanwhile."""
    irc, peer = pair
    irc.high_water = 100

    def fill() -> None:
        peer.window = 0
        for _ in range(10):
            irc.send_command("A" * 100)
        irc.engine.advance()  # type: ignore[attr-defined]

    def heard() -> bool:
        irc.commands.clear()
        peer.send(b"B\r\n")
        return bool(irc.commands)

    irc.pause_reading()
    fill()
    peer.window = None
    assert not heard()
    irc.resume_reading()
    fill()
    irc.pause_reading()
    peer.window = None
    assert not heard()
    irc.resume_reading()
    fill()
    irc.pause_reading()
    irc.resume_reading()
    assert not heard()
    peer.window = None
    assert heard()


# --- Encodings ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "encoding, data, text",
    [
        ("utf-8", "Grüße €".encode(), "Grüße €"),
        ("utf-8", "Grüße".encode("latin-1"), "Grüße"),
        ("utf-8", b"\xff\xfe\xe9", "ÿþé"),
        ("cp1251", "Привет".encode("cp1251"), "Привет"),
        ("iso-8859-15", "€".encode("iso-8859-15"), "€"),
        ("ascii", "Grüße".encode(), "Grüße"),
        ("ascii", "Grüße".encode("latin-1"), "Grüße"),
        ("iso-2022-jp", "日本語".encode("iso-2022-jp"), "日本語"),
        ("gb18030", "中文".encode("gb18030"), "中文"),
    ],
)
def test_decoding_never_fails(engine: MemoryEngine, encoding: str, data: bytes, text: str) -> None:
    irc, peer = engine.connect(Noting, encoding=encoding)
    peer.send(b"PRIVMSG #a :" + data + b"\r\n")
    assert irc.commands == [("PRIVMSG", ["#a", text], "", "", "")]


@pytest.mark.parametrize(
    "encoding, text, data",
    [
        ("utf-8", "Grüße €", "Grüße €".encode()),
        ("latin-1", "Grüße €", b"Gr\xfc\xdfe ?"),
        ("ascii", "Grüße", b"Gr??e"),
        ("utf-8", "a\ud800b", b"a?b"),
        ("iso-2022-jp", "日", "日".encode("iso-2022-jp")),
    ],
)
def test_encoding_never_fails(engine: MemoryEngine, encoding: str, text: str, data: bytes) -> None:
    irc, peer = engine.connect(Noting, encoding=encoding)
    irc.message("#a", text)
    irc.send_command("PRIVMSG", "#a", text)
    assert [line.split(b" ", 2)[2].lstrip(b":") for line in sent(irc, peer).split(b"\r\n")[:-1]] == [data] * 2


def test_encodings_that_cannot_be() -> None:
    for name in (
        *("utf-16", "utf-16-le", "utf-32", "utf-7", "cp500", "utf-8-sig", "punycode", "idna", "hz"),
        *("unicode_escape", "raw_unicode_escape", "undefined"),
    ):
        with pytest.raises(ValueError, match="keeps ASCII"):
            BaseIRC(name)
    for name in ("spam", "hex", "rot13", "base64", "zip", "uu", ""):
        with pytest.raises(LookupError):
            BaseIRC(name)
    with pytest.raises(TypeError, match="encoding"):
        BaseIRC(None)  # type: ignore[arg-type]


def known_encodings() -> list[str]:
    """All that Python has, and that lines may be in."""
    found = []
    for module in pkgutil.iter_modules(encodings.__path__):
        try:
            BaseIRC(module.name).close()
        except (LookupError, ValueError):
            continue
        found.append(module.name)
    return found


def test_all_encodings(engine: MemoryEngine) -> None:
    """None puts in what ends a line or a word, or fails at what it cannot decode or encode."""
    names = known_encodings()
    assert len(names) > 50
    rng = random.Random(1)
    text = "".join(
        chr(code) for code in [*range(0xA0, 0x3400), *range(0x4E00, 0x4F00), 0xAC00, 0xD800, 0xDFFF, 0x1F40D]
    )
    bits = [
        b"\x1b",
        b"\x0e",
        b"\x0f",
        b"\\u000a",
        b"~{",
        b"+AAo-",
        *(bytes([code]) for code in range(1, 256) if code != 10),
    ]
    for name in names:
        irc, peer = engine.connect(Noting, encoding=name)
        encoded = irc._encode(text)
        assert not set(encoded) & set(b"\0\r\n "), name
        for _ in range(30):
            irc.message("#a", "".join(rng.choices(text, k=300)))
            peer.send(b"PRIVMSG #a :x" + b"".join(rng.choices(bits, k=60)).replace(b"\r", b"") + b"\r\n")
        assert len(irc.commands) == 30, name
        assert all(len(line) <= 402 for line in sent(irc, peer).split(b"\r\n")), name
        irc.close()
    engine.advance()


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "cp1251", "iso-2022-jp"])
def test_tags_are_utf_8_whatever_the_encoding(engine: MemoryEngine, encoding: str) -> None:
    """IRCv3 "Message Tags": a value is UTF-8."""
    irc, peer = engine.connect(Noting, encoding=encoding)
    for text in ("é".encode(), b"\xe9"):
        peer.send("@a=é\N{SNAKE} PRIVMSG #a :".encode() + text + b"\r\n")
        assert irc.received is not None
        assert irc.received.tags == {"a": "é\N{SNAKE}"}
    irc.send_command("A", _tags={"a": "é\ud800"})
    assert sent(irc, peer) == "@a=é? A\r\n".encode()
    peer.send(b"@a=\xff A\r\n@\xff\r\n@\r\n@ \r\n")
    assert irc.commands[-1][0] == "A"
    assert irc.connected


def test_the_encoding_may_change(pair: tuple[Noting, Peer]) -> None:
    irc, peer = pair
    assert irc.encoding == "utf-8"
    irc.encoding = "Latin-1"
    irc.message("#a", "é")
    assert sent(irc, peer) == b"PRIVMSG #a \xe9\r\n"
    with pytest.raises(ValueError, match="ASCII"):
        irc.encoding = "utf-16"
    assert irc.encoding == "iso8859-1"


# --- Sending -----------------------------------------------------------------------------------------------------


def test_send_command(pair: tuple[Noting, Peer]) -> None:
    """Manual: "send_command", "_prefix"."""
    irc, peer = pair
    irc.send_command("JOIN", "#a")
    irc.send_command("USER", "a", 0, "*", "b c")
    irc.send_command("QUIT", _prefix="a!b@c")
    irc.send_command("TAGMSG", "#a", _tags={"+typing": "active"}, _prefix="x")
    assert sent(irc, peer) == b"".join(
        [b"JOIN #a\r\n", b"USER a 0 * :b c\r\n", b":a!b@c QUIT\r\n", b"@+typing=active :x TAGMSG #a\r\n"]
    )


def test_prefix_is_the_default(pair: tuple[Noting, Peer]) -> None:
    irc, peer = pair
    irc.prefix = "irc.test"
    irc.send_command("001", "a", "Welcome")
    irc.message("#a", "b", _prefix="c")
    irc.quit()
    assert sent(irc, peer) == b":irc.test 001 a Welcome\r\n:c PRIVMSG #a b\r\n:irc.test QUIT\r\n"


def test_the_longest_line(pair: tuple[Noting, Peer]) -> None:
    """RFC 2812 §2.3: 512 characters, with CR LF."""
    irc, peer = pair
    irc.send_command("A", "b" * 508)
    assert len(sent(irc, peer)) == 512
    with pytest.raises(ValueError, match=r"513 bytes.* 512"):
        irc.send_command("A", "b" * 509)
    with pytest.raises(ValueError, match=r"514 bytes.* 512"):
        irc.send_command("A", "ä" * 255)
    with pytest.raises(ValueError, match=r"515 bytes.* 512"):
        irc.send_command("A", "b" * 508, _prefix="c")
    assert sent(irc, peer) == b""


def test_the_longest_tags(pair: tuple[Noting, Peer]) -> None:
    """IRCv3 "Message Tags": 4096 bytes from a client, with @ and space, and 8191 from a server, besides the 512."""
    irc, peer = pair
    irc.send_command("A", "b" * 508, _tags={"c": "d" * 4092})
    assert len(sent(irc, peer)) == 512 + 4096
    with pytest.raises(ValueError, match=r"4097 bytes.* 4096"):
        irc.send_command("A", _tags={"c": "d" * 4093})
    irc.prefix = "s"
    irc.send_command("A", _tags={"c": "d" * 8187})
    assert sent(irc, peer).index(b":s") == 8191
    with pytest.raises(ValueError, match=r"8192 bytes.* 8191"):
        irc.send_command("A", _tags={"c": "d" * 8188})


def test_message_and_notice(pair: tuple[Noting, Peer]) -> None:
    """Manual: "message", "notice"."""
    irc, peer = pair
    irc.message("#a", "b c")
    irc.message("a,#b", "c", True, "d!e@f")
    irc.notice("a", "b c")
    irc.notice("a", ":b", False, "d")
    assert sent(irc, peer) == b"".join(
        [b"PRIVMSG #a :b c\r\n", b":d!e@f PRIVMSG a,#b c\r\n", b"NOTICE a :b c\r\n", b":d NOTICE a ::b\r\n"]
    )


def test_messages_are_quoted(pair: tuple[Noting, Peer]) -> None:
    """Manual: "_ctcpQuote"."""
    irc, peer = pair
    irc.message("#a", "b\r\nQUIT\0\x10")
    assert sent(irc, peer) == b"PRIVMSG #a b\x10r\x10nQUIT\x100\x10\x10\r\n"
    irc.message("#a", "\x10", _ctcpQuote=False)
    assert sent(irc, peer) == b"PRIVMSG #a \x10\r\n"
    for bad in ("b\r\nQUIT", "b\nc", "b\0c"):
        with pytest.raises(ValueError, match="NUL, CR or LF"):
            irc.message("#a", bad, _ctcpQuote=False)
    assert sent(irc, peer) == b""


@pytest.mark.parametrize("prefix", ["", "a b", "a\r\nQUIT", ":a", "a\0b", " ", "a " + "b" * 600])
def test_bad_prefixes(pair: tuple[Noting, Peer], prefix: str) -> None:
    irc, peer = pair
    for send in (irc.message, irc.notice):
        with pytest.raises(ValueError, match="prefix"):
            send("#a", "b", _prefix=prefix)
    with pytest.raises(ValueError, match="prefix"):
        irc.quit(_prefix=prefix)
    with pytest.raises(ValueError, match="prefix"):
        irc.send_command("A", _prefix=prefix)
    assert sent(irc, peer) == b""


@pytest.mark.parametrize("destination", ["", "a b", "a\r\nQUIT", ":a", "a\nb", "a\0b"])
def test_bad_destinations(pair: tuple[Noting, Peer], destination: str) -> None:
    irc, peer = pair
    with pytest.raises(ValueError, match="argument"):
        irc.message(destination, "b")
    with pytest.raises(ValueError, match="argument"):
        irc.notice(destination, "b")
    assert sent(irc, peer) == b""


def test_bad_messages(pair: tuple[Noting, Peer]) -> None:
    irc, peer = pair
    with pytest.raises(ValueError, match="empty"):
        irc.message("#a", "")
    with pytest.raises(TypeError, match="str"):
        irc.message("#a", b"b")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="str"):
        irc.message(b"#a", "b")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"bytes"):
        irc.message("#" + "a" * 600, "b")
    with pytest.raises(ValueError, match="enough"):
        irc.message("#" + "a" * 480, "bcdefghijklmnop" * 3)
    assert sent(irc, peer) == b""


@pytest.mark.parametrize("quoted", [True, False])
def test_long_messages_are_split(pair: tuple[Noting, Peer], quoted: bool) -> None:
    """Each line has room for the longest source that a server puts before it, so that nobody gets less than all."""
    irc, peer = pair
    text = "Grüße an alle, \N{SNAKE} und Eier! " * 60
    irc.message("#spam", text, quoted)
    lines = sent(irc, peer).split(b"\r\n")[:-1]
    assert all(line.startswith(b"PRIVMSG #spam :") for line in lines)
    pieces = [line.removeprefix(b"PRIVMSG #spam :").decode() for line in lines]
    assert "".join(pieces) == text
    assert all(piece.endswith(" ") for piece in pieces)
    source = b":" + b"n" * 30 + b"!" + b"u" * 12 + b"@" + b"h" * 64 + b" "
    assert all(len(source + line + b"\r\n") <= 512 for line in lines)
    assert len(lines) == 5


def test_messages_with_a_prefix_use_the_whole_line(pair: tuple[Noting, Peer]) -> None:
    irc, peer = pair
    irc.notice("#a", "b" * 1000, _prefix="n!u@h")
    lines = sent(irc, peer).split(b"\r\n")[:-1]
    assert [len(line) for line in lines[:-1]] == [509, 509]  # a byte is left for a colon


def test_ctcp(pair: tuple[Noting, Peer]) -> None:
    irc, peer = pair
    irc.ctcp("a", "VERSION")
    irc.ctcp("a", "PING", "1 2")
    irc.ctcp_reply("a", "PING", "1 2")
    irc.action("#a", "waves\n")
    assert sent(irc, peer) == b"".join(
        [
            b"PRIVMSG a \x01VERSION\x01\r\n",
            b"PRIVMSG a :\x01PING 1 2\x01\r\n",
            b"NOTICE a :\x01PING 1 2\x01\r\n",
            b"PRIVMSG #a :\x01ACTION waves\x10n\x01\r\n",
        ]
    )
    with pytest.raises(ValueError, match="enough"):
        irc.action("#a", "waves " * 100)
    assert sent(irc, peer) == b""


def test_quit(pair: tuple[Noting, Peer]) -> None:
    """Manual: "quit"."""
    irc, peer = pair
    irc.quit()
    irc.quit("Gone to have lunch")
    irc.quit("x", "a!b@c")
    assert sent(irc, peer) == b"QUIT\r\nQUIT :Gone to have lunch\r\n:a!b@c QUIT x\r\n"


@pytest.mark.parametrize("closing", [False, True])
def test_nothing_can_be_sent_without_a_connection(engine: MemoryEngine, closing: bool) -> None:
    if closing:
        irc, _ = engine.connect(Noting)
        irc.close()
    else:
        irc = Noting(engine=engine)
    for interval in (None, 1.0):
        irc.flood_interval = interval
        for send in (
            lambda: irc.message("#a", "b"),
            lambda: irc.notice("#a", "b"),
            lambda: irc.send_command("A"),
            irc.quit,
        ):
            with pytest.raises(RuntimeError, match="connect"):
                send()
    irc.close()
    engine.advance()
    assert irc.events[-1] == "close"


# --- Flood control -----------------------------------------------------------------------------------------------


class Slow(Noting):
    flood_interval: float | None = 2.0


def lines(peer: Peer) -> int:
    return peer.take().count(b"\r\n")


def test_flood_control(engine: MemoryEngine) -> None:
    """RFC 1459 §8.10: two seconds for each message, and no more than ten ahead."""
    irc, peer = engine.connect(Slow)
    for number in range(10):
        irc.send_command("A", number)
    engine.advance()
    assert lines(peer) == 5
    for _ in range(5):
        engine.advance(1.9)
        assert lines(peer) == 0
        engine.advance(0.1)
        assert lines(peer) == 1
    engine.advance(4)
    irc.message("#a", "b")
    irc.message("#a", "b")
    irc.message("#a", "b")
    engine.advance()
    assert lines(peer) == 2  # the clock was 10 seconds ahead, and 4 of them are over


def test_what_was_idle_has_no_timer(engine: MemoryEngine) -> None:
    irc, _ = engine.connect(Slow)
    for _ in range(7):
        irc.send_command("A")
    engine.advance(100)
    with pytest.raises(RuntimeError, match="nothing is left that could happen"):
        engine.poll(None)


def test_flood_control_keeps_the_order(engine: MemoryEngine) -> None:
    irc, peer = engine.connect(Slow)
    for number in range(20):
        irc.send_command("A", number)
    engine.advance(100)
    assert sent(irc, peer) == b"".join(b"A %d\r\n" % number for number in range(20))


def test_pong_and_quit_do_not_wait(engine: MemoryEngine) -> None:
    irc, peer = engine.connect(Slow)
    for _ in range(10):
        irc.send_command("A")
    engine.advance()
    assert lines(peer) == 5
    peer.send(b"PING x\r\n")
    assert sent(irc, peer) == b"PONG x\r\n"
    irc.quit("Bye")
    engine.advance(60)
    assert sent(irc, peer) == b"QUIT Bye\r\n"


def test_an_urgent_line_counts(engine: MemoryEngine) -> None:
    irc, peer = engine.connect(Slow)
    peer.send(b"PING x\r\n" * 5)
    irc.send_command("A")
    engine.advance(1.9)
    assert sent(irc, peer) == b"PONG x\r\n" * 5
    engine.advance(0.1)
    assert sent(irc, peer) == b"A\r\n"


def test_the_queue_is_bounded(engine: MemoryEngine) -> None:
    irc, peer = engine.connect(Slow)
    irc.flood_queue = 3
    for _ in range(8):
        irc.send_command("A")
    with pytest.raises(RuntimeError, match="flood_queue"):
        irc.send_command("A")
    engine.advance(2)
    assert lines(peer) == 6
    with pytest.raises(RuntimeError, match="flood_queue"):
        irc.message("#a", "b " * 400)  # two lines, or none
    irc.send_command("A")
    engine.advance(60)
    assert lines(peer) == 3


@pytest.mark.parametrize("hurried", [True, False])
def test_what_waits_at_the_end(engine: MemoryEngine, hurried: bool) -> None:
    """Manual: "Stream.close" sends what is queued, unless it is told otherwise."""
    irc, peer = engine.connect(Slow)
    for _ in range(10):
        irc.send_command("A")
    engine.advance()
    if hurried:
        irc.close()
    else:
        irc.close(flush=False)
    engine.advance(60)
    assert lines(peer) == (10 if hurried else 5)
    assert irc.events == ["connect", "close"]


def test_flood_control_may_be_changed(engine: MemoryEngine) -> None:
    irc, peer = engine.connect(Slow)
    irc.flood_burst = 1
    for _ in range(4):
        irc.send_command("A")
    engine.advance()
    assert lines(peer) == 1
    irc.flood_interval = None
    engine.advance(2)
    assert lines(peer) == 3
    irc.flood_interval = 3600
    irc.send_command("B")
    irc.send_command("B", 1)
    irc.flood_interval = 2.0
    irc.send_command("B", 2)  # does not wait for what the others waited for
    engine.advance(0.1)
    irc.flood_interval = None
    irc.send_command("B", 3)
    assert sent(irc, peer) == b"B\r\nB 1\r\nB 2\r\nB 3\r\n"
    with pytest.raises(ValueError, match="flood_interval"):
        irc.flood_interval = 0
    with pytest.raises(TypeError, match="flood_burst"):
        irc.flood_burst = "many"  # type: ignore[assignment]


# --- Real sockets ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("secure", [False, True])
def test_client_and_server(secure: bool, tmp_path: pathlib.Path) -> None:
    """Manual: "BaseIRC" is for both ends, and so are `irc_connect` and `irc_close`."""

    class Seat(BaseIRC):
        prefix = "irc.test"

        def irc_connect(self) -> None:
            seen.append("connect")

        def irc_close(self) -> None:
            seen.append("close")

        def irc_command(self, command: str, args: list[str], nick: str, user: str, host: str) -> None:
            if command == "PRIVMSG":
                self.message(args[0], args[1], _prefix="jane!j@h")
            elif command == "QUIT":
                self.send_command("ERROR", "Closing link")
                self.close()

    seen: list[str] = []
    options = None
    if secure:
        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
        authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "cert.pem"))
        options = {"certfile": str(tmp_path / "cert.pem")}
    server = Server(Seat, ssl_options=options).listen(("127.0.0.1", 0))
    client = Noting(ssl_options={"ca_certs": str(tmp_path / "ca.pem")} if secure else None)
    client.connect(server.local_address)
    run_until(lambda: client.events, DEADLINE)
    assert client.secure is secure
    client.message("#a", "Hello, World!")
    client.quit("Bye")
    run_until(lambda: client.closed and len(seen) == 2, DEADLINE)
    assert seen == ["connect", "close"]
    assert client.commands == [
        ("PRIVMSG", ["#a", "Hello, World!"], "jane", "j", "h"),
        ("ERROR", ["Closing link"], "", "", "irc.test"),
    ]
    assert client.events == ["connect", "close"]


def test_irc_close_when_there_was_no_connection(expect_log: Any) -> None:
    server = Server(BaseIRC).listen(("127.0.0.1", 0))
    address = server.local_address
    server.close()
    expect_log("refused")
    client = Noting().connect(address)
    run_until(lambda: client.closed, DEADLINE)
    assert client.events == ["close"]


@pytest.mark.parametrize("hook", ["irc_connect", "irc_command", "irc_malformed", "irc_close"])
def test_a_hook_that_fails_costs_its_own_connection(engine: MemoryEngine, hook: str, expect_log: Any) -> None:
    def fail(*_: Any) -> None:
        raise ZeroDivisionError

    expect_log("ZeroDivisionError")
    failing, peer = engine.connect(type("Failing", (Noting,), {hook: fail}))
    if failing.connected:
        peer.send(b"A\r\n1\r\nB\r\n" if hook != "irc_close" else b"A\r\n")
        peer.end()
    assert failing.closed
    assert peer.ended or peer.was_reset
    assert [command for command, *_ in failing.commands] == (["A"] if hook in ("irc_malformed", "irc_close") else [])
    assert (failing.events[-1:] == ["close"]) is (hook != "irc_close")


def test_a_channel_that_is_made_as_new(pair: tuple[Noting, Peer]) -> None:
    irc, peer = pair
    peer.send(b"A\r\n")
    irc.pause_reading()
    irc.close()
    irc.engine.advance()  # type: ignore[attr-defined]
    irc._renew()
    assert irc.received is None
    assert (irc.read_delimiter, irc.buffer_size) == (b"\n", 8703)
    irc.close()
    irc.engine.advance()  # type: ignore[attr-defined]


def test_used_from_other_threads_by_way_of_the_engine() -> None:
    with connected_pair(Noting, Noting) as (one, other):
        threads = [
            threading.Thread(target=one.engine.call_from_thread, args=(one.message, "#a", str(number)))
            for number in range(3)
        ]
        for thread in threads:
            thread.start()
        run_until(lambda: len(other.commands) == 3, DEADLINE)
        for thread in threads:
            thread.join()
