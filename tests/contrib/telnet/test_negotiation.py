"""Options, as a connection negotiates and uses them (RFC 855, 1143), and the codes of the package."""

from __future__ import annotations

import doctest
from typing import Any

import pytest

import pants.contrib.telnet
import pants.contrib.telnet._connection
import pants.contrib.telnet._server
from pants import Stream
from pants.contrib.telnet import (
    AYT,
    BINARY,
    CHARSET,
    DO,
    DONT,
    ECHO,
    GMCP,
    IAC,
    NAWS,
    SB,
    SE,
    SGA,
    TM,
    TTYPE,
    WILL,
    WONT,
    TelnetConnection,
    TelnetServer,
)
from pants.errors import BufferOverflow
from pants.testing import MemoryEngine, connected_pair, run_until
from tests.contrib.telnet.telnet_support import Recorder
from tests.core.support import connected, turns


def asked(connection: Recorder, peer: Any, data: bytes, size: int) -> bytes:
    """What is answered, of which so much is awaited; nothing may come behind it."""
    peer.send(data + IAC + AYT)
    run_until(lambda: connection.of("command"))
    answer: bytes = peer.receive(size)
    turns(2)
    assert peer.now() == b""
    connection.events = [event for event in connection.events if event[0] in ("changed", "size", "terminal", "charset")]
    return answer


# --- Negotiating ----------------------------------------------------------------------------------------------------


def test_the_codes() -> None:
    """Manual: the constants of pants.contrib.telnet. Here each is one byte."""
    found = (IAC, DONT, DO, WONT, WILL, SB, SE)
    assert found == (b"\xff", b"\xfe", b"\xfd", b"\xfc", b"\xfb", b"\xfa", b"\xf0")
    codes = [getattr(pants.contrib.telnet, name) for name in pants.contrib.telnet.__all__ if name.isupper()]
    assert len(codes) > 40
    assert all(isinstance(code, bytes) and len(code) == 1 for code in codes)


def test_everything_is_refused_by_default() -> None:
    with connected(Recorder) as (connection, peer):
        data = IAC + DO + ECHO + IAC + WILL + NAWS + IAC + DONT + SGA + IAC + WONT + SGA
        assert asked(connection, peer, data, 6) == IAC + WONT + ECHO + IAC + DONT + NAWS
        assert connection.events == []


def test_what_is_agreed_to() -> None:
    class Agreeing(Recorder):
        local_options = frozenset({ECHO})
        remote_options = frozenset({SGA})

    with connected(Agreeing) as (connection, peer):
        data = IAC + DO + ECHO + IAC + WILL + SGA + IAC + DO + SGA + IAC + WILL + ECHO
        answer = IAC + WILL + ECHO + IAC + DO + SGA + IAC + WONT + SGA + IAC + DONT + ECHO
        assert asked(connection, peer, data, 12) == answer
        assert connection.events == [("changed", ECHO, True, True), ("changed", SGA, False, True)]
        assert connection.local_enabled(ECHO)
        assert not connection.remote_enabled(ECHO)
        assert connection.remote_enabled(SGA)
        connection.events = []
        assert asked(connection, peer, (IAC + DO + ECHO) * 3, 0) == b""  # so it is
        assert asked(connection, peer, (IAC + DONT + ECHO) * 3, 3) == IAC + WONT + ECHO
        assert connection.events == [("changed", ECHO, True, False)]


def test_asking() -> None:
    with connected(Recorder) as (connection, peer):
        for _ in range(2):
            connection.enable_local(ECHO)
            connection.enable_remote(NAWS)
        assert peer.receive(6) == IAC + WILL + ECHO + IAC + DO + NAWS
        assert not connection.local_enabled(ECHO)
        assert asked(connection, peer, IAC + DO + ECHO + IAC + WONT + NAWS, 0) == b""
        assert connection.events == [("changed", ECHO, True, True), ("changed", NAWS, False, False)]
        connection.disable_local(ECHO)
        assert peer.receive(3) == IAC + WONT + ECHO
        assert not connection.local_enabled(ECHO)
        connection.enable_local(ECHO)  # waits for the answer to that
        turns(2)
        assert peer.now() == b""
        connection.events.clear()
        assert asked(connection, peer, IAC + DONT + ECHO, 3) == IAC + WILL + ECHO
        assert asked(connection, peer, IAC + DO + ECHO, 0) == b""
        assert connection.events == [("changed", ECHO, True, True)]


def test_timing_marks() -> None:
    """RFC 860: each request is answered, whether it is agreed to or not."""

    class Marking(Recorder):
        local_options = frozenset({TM})

    for connection_class, answer in ((Recorder, WONT), (Marking, WILL)):
        with connected(connection_class) as (connection, peer):
            assert asked(connection, peer, (IAC + DO + TM) * 3, 9) == (IAC + answer + TM) * 3
            for _ in range(2):
                connection.events.clear()
                connection.enable_remote(TM)
                assert peer.receive(3) == IAC + DO + TM
                assert asked(connection, peer, IAC + WILL + TM, 0) == b""
                assert connection.events == [("changed", TM, False, True)]


def test_two_that_ask_each_other() -> None:
    class Both(Recorder):
        local_options = remote_options = frozenset({SGA})

    with connected_pair(Both, Both) as (one, other):
        for end in (one, other):
            end.enable_local(SGA)
            end.enable_remote(SGA)
        run_until(lambda: len(one.of("changed")) == len(other.of("changed")) == 2)
        turns(3)
        for end in (one, other):
            assert end.local_enabled(SGA)
            assert end.remote_enabled(SGA)
            assert len(end.of("option")) == 2


def test_the_manuals_bare_behaviour() -> None:
    """Overridden without super(), nothing is answered."""

    class Bare(TelnetConnection):
        local_options = frozenset({ECHO})
        heard: tuple[bytes, bytes] | None = None

        def on_option(self, command: bytes, option: bytes) -> None:
            self.heard = (command, option)

    with connected(Bare) as (connection, peer):
        peer.send(IAC + DO + ECHO)
        run_until(lambda: connection.heard)
        turns(2)
        assert connection.heard == (DO, ECHO)
        assert peer.now() == b""


def test_the_placeholders_do_nothing() -> None:
    with connected(TelnetConnection) as (connection, peer):
        data = IAC + AYT + IAC + SB + GMCP + IAC + AYT + IAC + SB + GMCP + IAC + SE + IAC + DO + ECHO
        peer.send(data + b"x")
        assert peer.receive(3) == IAC + WONT + ECHO
        for option in (ECHO, NAWS, TTYPE, CHARSET):
            connection.enable_remote(option)
            connection.enable_local(option)
        peer.receive(24)
        for option in (ECHO, NAWS, TTYPE, CHARSET):
            peer.send(IAC + DO + option + IAC + WILL + option)
        for option, value in ((NAWS, b"\0\1\0\1"), (TTYPE, b"\0A"), (CHARSET, b"\1;UTF-8")):
            peer.send(IAC + SB + option + value + IAC + SE)
        rejected = IAC + SB + CHARSET + b"\3" + IAC + SE
        assert peer.receive(18) == (IAC + SB + TTYPE + b"\1" + IAC + SE) * 2 + rejected
        assert connection.connected


@pytest.mark.parametrize("unit", [IAC + DO + ECHO, IAC + SB + TTYPE + b"\1" + IAC + SE])
def test_a_peer_that_asks_without_end_and_reads_nothing(unit: bytes, expect_log: Any) -> None:
    class Terminal(Recorder):
        local_options = frozenset({TTYPE})

    expect_log("answers of 65536 bytes")
    with connected(Terminal, buffer=4096) as (connection, peer):
        peer.send(IAC + DO + TTYPE)
        for _ in range(4000):
            peer.send(unit * 100)
            if not connection.connected:
                break
            assert connection.queued_bytes < 140_000
        assert not connection.connected
        peer.reset()
        run_until(lambda: connection.closed)


def test_answers_where_overflows_are_let_be() -> None:
    errors: list[Exception] = []
    with connected(Recorder, buffer=4096) as (connection, peer):
        connection.on_overflow_error = lambda exception: errors.append(exception)
        while not errors:
            peer.send(IAC + DO + ECHO + (IAC + DO + ECHO) * 500)
        assert isinstance(errors[0], BufferOverflow)
        assert connection.queued_bytes < 140_000
        peer.send((IAC + DO + ECHO) * 500)
        assert len(errors) == 1  # told once
        while connection.queued_bytes:  # it reads after all
            peer.receive(min(1000, connection.queued_bytes))
        turns(2)
        peer.now()
        assert asked(connection, peer, IAC + WILL + GMCP, 3) == IAC + DONT + GMCP


def test_window_sizes_are_answers_too() -> None:
    class Client(Recorder):
        local_options = frozenset({NAWS})

        def on_overflow_error(self, exception: Exception) -> None:
            self.events.append(("overflow",))

    with MemoryEngine() as engine:
        connection, peer = engine.connect(Client)
        connection.window_size = (80, 24)
        peer.window = 0
        for _ in range(50):
            peer.send((IAC + DO + NAWS + IAC + DONT + NAWS) * 500)
            engine.poll(0)
        assert len(connection.of("changed")) == 50_000
        assert connection.events.count(("overflow",)) == 1
        assert connection.queued_bytes < 140_000


def test_what_the_program_answers_is_its_own_to_bound() -> None:
    """Commands without end of one who reads nothing: a program that pauses at on_high_water() loses none."""

    class Patient(TelnetConnection):
        high_water = 10_000
        heard = most = 0

        def on_command(self, command: bytes) -> None:
            self.heard += 1
            self.write(b"Yes.\r\n")

        def on_high_water(self) -> None:
            self.most = max(self.most, self.queued_bytes)
            self.pause_reading()

        def on_write(self) -> None:
            self.resume_reading()

    with MemoryEngine() as engine:
        connection, peer = engine.connect(Patient)
        peer.window = 0
        peer.send((IAC + AYT) * 100_000)
        for _ in range(20):
            engine.poll(0)
        assert connection.heard < 70_000  # one or two receptions
        peer.window = None
        while connection.heard < 100_000:
            engine.poll(0)
        engine.poll(0)
        assert connection.most < 1_000_000
        assert peer.received == b"Yes.\r\n" * 100_000


def test_the_loop_lives(expect_log: Any) -> None:
    """Each of these costs its own connection, and nothing more."""

    class Echo(TelnetConnection):
        def on_read(self, data: bytes) -> None:
            self.write(data)

    with MemoryEngine() as engine:
        server = TelnetServer(Echo, engine=engine)
        good = engine.accept(server)
        for unit, said in (
            ((IAC + DO + ECHO + IAC + WILL + GMCP) * 1000, "answers of 65536 bytes"),
            (IAC + SB + GMCP + b"x" * 20_000, "a subnegotiation is longer than 16384"),
        ):
            expect_log(said)
            bad = engine.accept(server)
            bad.window = 0
            for _ in range(40):
                bad.send(unit)
            for _ in range(40):
                engine.poll(0)
            good.send(b"spam")
            engine.poll(0)
            assert good.take() == b"spam"
            engine.advance(31)  # close_timeout
            assert len(server.channels) == 1


def test_answers_behind_much_data() -> None:
    """It is the answers that are counted."""
    with connected(Recorder, buffer=4096) as (connection, peer):
        connection.write(bytes(1_000_000))
        peer.send((IAC + DO + ECHO) * 1000)
        run_until(lambda: len(connection.of("option")) == 1000)
        assert connection.connected
        assert peer.receive(1_003_000)[-3:] == IAC + WONT + ECHO


def test_closing_while_options_are_told() -> None:
    class Closing(Recorder):
        remote_options = frozenset({TTYPE, CHARSET})
        charsets = ("UTF-8",)

        def on_option_changed(self, option: bytes, local: bool, enabled: bool) -> None:
            super().on_option_changed(option, local, enabled)
            self.close()

    with connected(Closing) as (connection, peer):
        peer.send(IAC + WILL + TTYPE + IAC + WILL + CHARSET)
        run_until(lambda: connection.closed)
        assert connection.of("changed") == [(TTYPE, False, True)]


def test_answering_on_a_closed_channel() -> None:
    class Closing(Recorder):
        local_options = frozenset({ECHO})

        def on_option(self, command: bytes, option: bytes) -> None:
            self.close()
            super().on_option(command, option)

    with connected(Closing) as (connection, peer):
        peer.send(IAC + DO + ECHO)
        run_until(lambda: connection.closed)
        assert peer.receive_to_end() == b""
        assert connection.of("changed") == []


@pytest.mark.parametrize(
    "values, error",
    [
        ({"local_options": ECHO}, TypeError),
        ({"local_options": {1}}, TypeError),
        ({"remote_options": frozenset({b"ab"})}, ValueError),
        ({"remote_options": None}, TypeError),
        ({"terminal_types": "xterm"}, TypeError),
        ({"terminal_types": ("a\n",)}, ValueError),
        ({"charsets": (1,)}, TypeError),
        ({"charsets": None}, TypeError),
    ],
)
def test_mistakes(values: dict[str, Any], error: type[Exception]) -> None:
    """In a class, and of one connection: raised at once."""
    ((name, value),) = values.items()
    with pytest.raises(error):
        type("Wrong", (TelnetConnection,), values)
    connection = TelnetConnection()
    before = getattr(connection, name)
    with pytest.raises(error):
        setattr(connection, name, value)
    assert getattr(connection, name) == before


def test_options_of_one_connection() -> None:
    class Plain(Recorder):
        local_options = frozenset({TTYPE})

    class Subclass(Plain):
        pass

    with connected(Subclass) as (connection, peer):
        connection.local_options = frozenset({ECHO})
        assert asked(connection, peer, IAC + DO + ECHO, 3) == IAC + WILL + ECHO
        del connection.local_options
        assert connection.local_options == {TTYPE}
        assert TelnetConnection().local_options == frozenset()


def test_options_that_a_class_computes() -> None:
    class Computing(Recorder):
        @property
        def local_options(self) -> frozenset[bytes]:  # type: ignore[override]
            return frozenset({ECHO})

        @property
        def charsets(self) -> tuple[str, ...]:  # type: ignore[override]
            return ("UTF-8",)

    with connected(Computing) as (connection, peer):
        assert asked(connection, peer, IAC + DO + ECHO, 3) == IAC + WILL + ECHO


# --- Window size (RFC 1073) -----------------------------------------------------------------------------------------


class Server(Recorder):
    remote_options = frozenset({NAWS, TTYPE})


def test_window_size() -> None:
    class Client(Recorder):
        local_options = frozenset({NAWS})

    with connected_pair(Server, Client) as (server, client):
        client.window_size = (255, 24)
        server.enable_remote(NAWS)
        run_until(lambda: server.of("size") == [(255, 24)])
        client.window_size = (65535, 0)
        run_until(lambda: server.of("size")[1:] == [(65535, 0)])
        assert client.window_size == (65535, 0)
        client.window_size = None
        server.disable_remote(NAWS)
        run_until(lambda: server.of("changed")[1:])
        client.window_size = (80, 24)
        turns(3)
        assert len(server.of("size")) == 2


@pytest.mark.parametrize("size", [80, (80,), (80, 24, 1), ("80", 24), (-1, 24), (80, 65536)])
def test_no_window_size(size: Any) -> None:
    connection = TelnetConnection()
    with pytest.raises((TypeError, ValueError)):
        connection.window_size = size
    assert connection.window_size is None
    connection.close()


def test_sizes_that_are_none() -> None:
    size = IAC + SB + NAWS + b"\0\1\0\1" + IAC + SE
    with connected(Server) as (connection, peer):
        assert asked(connection, peer, size, 0) == b""  # NAWS is not on
        assert connection.events == []
        data = IAC + WILL + NAWS + IAC + SB + NAWS + b"\0\1\0" + IAC + SE + IAC + SB + NAWS + IAC + SE + size
        assert asked(connection, peer, data, 3) == IAC + DO + NAWS
        assert connection.of("size") == [(1, 1)]


# --- Terminal types (RFC 1091) --------------------------------------------------------------------------------------


@pytest.mark.parametrize("names", [("XTERM",), ("XTERM", "VT220", "DUMB")])
def test_terminal_types(names: tuple[str, ...]) -> None:
    class Client(Recorder):
        local_options = frozenset({TTYPE})
        terminal_types = names

    with connected_pair(Server, Client) as (server, client):
        server.enable_remote(TTYPE)
        asks = len(names) + (2 if len(names) > 1 else 1)
        run_until(lambda: len(client.of("subnegotiation")) == asks)
        turns(3)
        assert server.of("terminal") == list(names)
        assert len(client.of("subnegotiation")) == asks
        answers = [data for option, data in server.of("subnegotiation")]
        if len(names) > 1:
            assert answers[-1] == b"\0" + names[0].encode()  # what it acts as from now on


def test_a_client_that_is_not_asked() -> None:
    with connected(Recorder) as (connection, peer):
        assert asked(connection, peer, IAC + SB + TTYPE + b"\1" + IAC + SE, 0) == b""


# --- Character sets (RFC 2066) --------------------------------------------------------------------------------------


class Speaker(Recorder):
    local_options = remote_options = frozenset({CHARSET})
    charsets = ("UTF-8", "US-ASCII")


def test_charsets() -> None:
    with connected_pair(Speaker, Speaker) as (one, other):
        one.enable_local(CHARSET)
        run_until(lambda: one.local_enabled(CHARSET))
        one.request_charset("KOI8-R", "us-ascii", "utf-8")
        run_until(lambda: one.of("charset"))
        assert one.of("charset") == other.of("charset") == ["us-ascii"]
        other.request_charset("KOI8-R")
        run_until(lambda: other.of("charset")[1:])
        assert other.of("charset") == ["us-ascii", None]
        assert len(one.of("charset")) == 1


def test_charsets_that_both_offer() -> None:
    """The server's offer counts."""
    server = TelnetServer(Speaker).listen(("127.0.0.1", 0))
    client = Speaker().connect(server.local_address)
    client.server = "where I am"  # a client may give that another meaning
    run_until(lambda: client.connected and server.channels)
    (connection,) = server.channels.values()
    assert isinstance(connection, Speaker)
    client.enable_local(CHARSET)
    run_until(lambda: connection.remote_enabled(CHARSET) and client.local_enabled(CHARSET))
    client.request_charset("US-ASCII")
    connection.request_charset("UTF-8")
    run_until(lambda: client.of("charset") and connection.of("charset"))
    turns(3)
    assert client.of("charset") == connection.of("charset") == ["UTF-8"]  # the refusal of the other is no news
    assert len(client.of("subnegotiation")) == len(connection.of("subnegotiation")) == 2
    client.close()
    server.close()
    run_until(lambda: client.closed and connection.closed)


def test_charsets_that_are_none() -> None:
    with connected(Speaker) as (connection, peer):
        sent = b"".join(IAC + SB + CHARSET + data + IAC + SE for data in (b"", b"\2UTF-8", b"\3", b"\7", b"\2\xff"))
        assert asked(connection, peer, IAC + WILL + CHARSET + sent, 3) == IAC + DO + CHARSET
        assert connection.of("charset") == []
        connection.request_charset("UTF-8")
        peer.receive(12)
        assert asked(connection, peer, IAC + SB + CHARSET + b"\2\xff" + IAC + SE, 0) == b""
        assert connection.of("charset") == []


# --- The rest -------------------------------------------------------------------------------------------------------


def test_binary_both_ways_between_two() -> None:
    class Binary(Recorder):
        local_options = remote_options = frozenset({BINARY})

    everything = bytes(range(256)) * 3 + b"\r\0\r\n\r\r"
    with connected_pair(Binary, Binary) as (one, other):
        one.enable_local(BINARY)
        one.enable_remote(BINARY)
        run_until(lambda: one.local_enabled(BINARY) and one.remote_enabled(BINARY))
        one.write(everything)
        other.write(everything)
        run_until(lambda: one.data == other.data == everything)


@pytest.mark.parametrize("option, error", [("ECHO", TypeError), (1, TypeError), (None, TypeError), (b"", ValueError)])
def test_only_one_byte_is_an_option(option: Any, error: type[Exception]) -> None:
    connection = TelnetConnection()
    for ask in (connection.local_enabled, connection.remote_enabled, connection.enable_local, connection.enable_remote):
        with pytest.raises(error, match="an option is one byte"):
            ask(option)


def test_the_server() -> None:
    """Manual: "TelnetServer": its connections are TelnetConnections, or of a class that is given."""
    server = TelnetServer()
    assert server.ConnectionClass is TelnetConnection
    assert TelnetServer(Recorder).connection_class is Recorder

    class Own(TelnetServer):
        ConnectionClass = Recorder

    assert Own().ConnectionClass is Recorder
    assert issubclass(TelnetConnection, Stream)


@pytest.mark.parametrize("module", [pants.contrib.telnet._connection, pants.contrib.telnet._server])
def test_the_examples(module: Any) -> None:
    results = doctest.testmod(module)
    assert results.attempted > 0
    assert results.failed == 0
