"""What a Telnet connection receives: data, commands, and the order of both (manual: "pants.contrib.telnet")."""

from __future__ import annotations

import io
import re
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from netstruct import NetStruct

from pants import Engine
from pants.contrib.telnet import AYT, BINARY, DM, DO, ECHO, GMCP, IAC, NOP, SB, SE, WILL, TelnetConnection, TelnetServer
from pants.errors import BufferOverflow
from pants.testing import MemoryEngine, run_until
from tests.contrib.telnet.telnet_support import Recorder
from tests.core.support import client_of, connected, turns
from tests.core.tls_support import certificates


def received(connection: Recorder, peer: Any, data: bytes, count: int) -> list[tuple[Any, ...]]:
    peer.send(data)
    run_until(lambda: len(connection.events) >= count)
    turns(2)
    return connection.events


def test_the_order_is_kept() -> None:
    with connected(Recorder) as (connection, peer):
        data = b"a" + IAC + AYT + b"b" + IAC + DO + ECHO + b"c" + IAC + SB + GMCP + b"x" + IAC + SE + b"d" + IAC + IAC
        assert received(connection, peer, data, 7) == [
            ("read", b"a"),
            ("command", AYT),
            ("read", b"b"),
            ("option", DO, ECHO),
            ("read", b"c"),
            ("subnegotiation", GMCP, b"x"),
            ("read", b"d\xff"),
        ]


def test_a_subnegotiation_broken_off() -> None:
    with connected(Recorder) as (connection, peer):
        data = IAC + SB + GMCP + b"x" + IAC + AYT + b"y" + IAC + SE
        expected = [("malformed", GMCP, b"x"), ("command", AYT), ("read", b"y"), ("command", SE)]
        assert received(connection, peer, data, 4) == expected


@pytest.mark.parametrize(
    "delimiter, search, data, frames",
    [
        (b"\n", True, b"one\ntwo\nrest", [b"one", b"two"]),
        (b"\r\n", True, b"one\r\ntwo\r\nrest", [b"one", b"two"]),
        (b"\xff", True, b"a\xffb\xffc", [b"a", b"b"]),
        (4, True, b"12345678\xff", [b"1234", b"5678"]),
        (struct.Struct("!H"), True, b"\0\1\xff\xff\0", [1, 65535]),
        (NetStruct(b"B$"), True, b"\2ab\0\1\xff\3", [b"ab", b"", b"\xff"]),
        (re.compile(rb"\r?\n"), True, b"one\r\ntwo\nrest", [b"one", b"two"]),
        (re.compile(rb"[^;]*;+\n"), True, b"one;;\ntwo;\nrest", [b"", b""]),
        (re.compile(rb"([^\n]*)\n"), False, b"one\ntwo\nrest", [b"one", b"two"]),
    ],
)
@pytest.mark.parametrize("chunk", [1, 3, 1000])
def test_every_kind_of_delimiter(delimiter: Any, search: bool, data: bytes, frames: list[Any], chunk: int) -> None:
    """It cuts what is left when the commands are taken out, wherever these stand."""
    wire = b"".join(bytes([byte]).replace(IAC, IAC + IAC) + IAC + NOP for byte in data)
    with MemoryEngine() as engine:
        connection, peer = engine.connect(Recorder)
        connection.read_delimiter = delimiter
        connection.regex_search = search
        peer.send(wire, chunk=chunk)
        engine.poll(0)
        assert [frame[1] if isinstance(frame, re.Match) else frame for frame in connection.of("read")] == frames
        assert len(connection.of("command")) == len(data)


def test_frames_and_commands_in_order() -> None:
    with connected(Recorder) as (connection, peer):
        connection.read_delimiter = b"\n"
        data = b"a\nb" + IAC + AYT + b"c\n" + IAC + NOP
        expected = [("read", b"a"), ("command", AYT), ("read", b"bc"), ("command", NOP)]
        assert received(connection, peer, data, 4) == expected


def test_a_delimiter_set_by_a_hook_rules_from_the_next_byte() -> None:
    class Changing(Recorder):
        def on_command(self, command: bytes) -> None:
            super().on_command(command)
            self.read_delimiter = {AYT: 2, NOP: None}[command]

        def on_read(self, *args: Any) -> None:
            super().on_read(*args)
            if args == (b"line",):
                self.read_delimiter = 4

    with connected(Changing) as (connection, peer):
        connection.read_delimiter = b"\n"
        data = b"line\nfourxx" + IAC + AYT + b"yyz" + IAC + NOP + b"rest"
        assert received(connection, peer, data, 8) == [
            ("read", b"line"),
            ("read", b"four"),
            ("command", AYT),
            ("read", b"xx"),
            ("read", b"yy"),
            ("command", NOP),
            ("read", b"z"),
            ("read", b"rest"),
        ]


@pytest.mark.parametrize("where", ["read", "command", "option", "subnegotiation"])
@pytest.mark.parametrize("delimiter", [None, b"\n", 2])
def test_pausing_in_a_hook(where: str, delimiter: Any) -> None:
    """Nothing more is handed out, and nothing is lost."""

    class Pausing(Recorder):
        paused = 0

        def stop(self) -> None:
            self.pause_reading()
            self.paused += 1

    def pausing(name: str) -> Any:
        def hook(self: Pausing, *args: Any) -> None:
            getattr(Recorder, name)(self, *args)
            self.stop()

        return hook

    setattr(Pausing, f"on_{where}", pausing(f"on_{where}"))
    unit = b"a\n" + IAC + AYT + b"b\n" + IAC + DO + ECHO + b"c\n" + IAC + SB + GMCP + b"x" + IAC + SE
    with connected(Pausing) as (connection, peer):
        connection.read_delimiter = delimiter
        peer.send(unit * 2)
        seen: list[int] = []
        while len(seen) < (6 if where == "read" else 2):
            run_until(lambda: connection.paused > len(seen))
            turns(2)
            assert connection.events[-1][0] == where
            assert connection.paused == len(seen) + 1
            seen.append(len(connection.events))
            connection.resume_reading()
        run_until(lambda: len(connection.events) == 12)
        kinds = ["read", "command", "read", "option", "read", "subnegotiation"]
        assert [event[0] for event in connection.events] == kinds * 2


def test_what_comes_after_a_pause_comes_after_what_waited() -> None:
    class Pausing(Recorder):
        def on_command(self, command: bytes) -> None:
            super().on_command(command)
            if command == AYT:
                self.pause_reading()

    with connected(Pausing) as (connection, peer):
        peer.send(b"a" + IAC + AYT + b"b" + IAC + NOP)
        run_until(lambda: len(connection.events) == 2)
        peer.send(b"c" + IAC + NOP)
        turns(3)
        connection.resume_reading()
        run_until(lambda: len(connection.events) == 6)
        assert connection.data == b"abc"


@pytest.mark.parametrize("where", ["read", "command", "option", "subnegotiation"])
@pytest.mark.parametrize("flush", [True, False])
def test_closing_in_a_hook(where: str, flush: bool) -> None:
    with connected(Recorder) as (connection, peer):
        hook = getattr(connection, f"on_{where}")

        def hook_and_close(*args: Any) -> None:
            hook(*args)
            connection.close(flush)

        setattr(connection, f"on_{where}", hook_and_close)
        peer.send(b"a" + IAC + AYT + IAC + DO + ECHO + IAC + SB + GMCP + IAC + SE + b"b" + IAC + NOP)
        run_until(lambda: connection.closed)
        assert connection.events[-1][0] == where


@pytest.mark.parametrize("where", ["command", "option", "subnegotiation"])
def test_an_error_in_a_hook(where: str, expect_log: Any) -> None:
    expect_log("ZeroDivisionError")
    with connected(Recorder) as (connection, peer):
        setattr(connection, f"on_{where}", lambda *args: 1 / 0)
        peer.send(IAC + AYT + IAC + DO + ECHO + IAC + SB + GMCP + IAC + SE + b"x")
        run_until(lambda: connection.closed)
        assert connection.data == b""


def test_an_error_that_is_dealt_with() -> None:
    errors: list[Exception] = []
    with connected(Recorder) as (connection, peer):
        connection.on_command = lambda command: 1 / 0  # type: ignore[assignment]
        connection.on_error = lambda exception: errors.append(exception)
        peer.send(IAC + AYT + b"x")
        run_until(lambda: connection.data == b"x")
        assert [type(error) for error in errors] == [ZeroDivisionError]


def test_what_leaves_the_loop_from_a_hook() -> None:
    with connected(Recorder) as (connection, peer):

        def leave(command: bytes) -> None:
            raise SystemExit

        connection.on_command = leave
        peer.send(b"a" + IAC + AYT + b"b")
        with pytest.raises(SystemExit):
            run_until(lambda: connection.data == b"ab")
        run_until(lambda: connection.data == b"ab")


def test_a_nested_poll_in_a_hook() -> None:
    with connected(Recorder) as (connection, peer):

        def wait(command: bytes) -> None:
            connection.events.append(("command", command))
            peer.sock.send(b"c")
            for _ in range(3):
                Engine.instance().poll(0.01)
            connection.events.append(("done",))

        connection.on_command = wait
        expected = [("read", b"a"), ("command", AYT), ("done",), ("read", b"b"), ("read", b"c")]
        assert received(connection, peer, b"a" + IAC + AYT + b"b", 5) == expected


def test_a_frame_that_is_too_long(expect_log: Any) -> None:
    expect_log("no separator within 10")
    with connected(Recorder) as (connection, peer):
        connection.read_delimiter = b"\n"
        connection.buffer_size = 10
        peer.send(b"".join(b"x" + IAC + NOP for _ in range(11)) + b"\n")
        run_until(lambda: connection.closed)
        assert connection.of("read") == []


def test_a_subnegotiation_that_is_too_long(expect_log: Any) -> None:
    class Short(Recorder):
        subnegotiation_limit = 100

    data = IAC + SB + GMCP + b"x" * 100 + IAC + SE + b"after"
    expect_log("a subnegotiation is longer than 100")
    with connected(Short) as (connection, peer):
        peer.send(data)
        run_until(lambda: connection.closed)
        assert connection.events == []
    errors: list[Exception] = []
    with connected(Short) as (connection, peer):
        connection.on_overflow_error = lambda exception: errors.append(exception)
        assert received(connection, peer, data, 1) == [("read", b"after")]
        assert [type(error) for error in errors] == [BufferOverflow]


def test_a_setting_that_is_none() -> None:
    with pytest.raises(TypeError):

        class Wrong(TelnetConnection):
            subnegotiation_limit = "much"  # type: ignore[assignment]


def test_the_line_ends_of_an_nvt() -> None:
    with connected(Recorder) as (connection, peer):
        for piece in (b"a\r\0b\r", b"\0c\r", b"\n", b"d\r", IAC + NOP + b"\0e"):
            peer.send(piece)
            turns(2)
        run_until(lambda: connection.data.endswith(b"e"))
        assert connection.data == b"a\rb\rc\r\nd\re"


def test_without_an_nvt() -> None:
    class Raw(Recorder):
        nvt = False

    with connected(Raw) as (connection, peer):
        peer.send(b"a\r\0" + IAC + NOP + b"b\r\0" + IAC + IAC)
        run_until(lambda: connection.data == b"a\r\0b\r\0\xff")


def test_binary_data_from_the_peer() -> None:
    """BINARY rules from the command on (RFC 854, 856)."""

    class Binary(Recorder):
        remote_options = frozenset({BINARY})

    with connected(Binary) as (connection, peer):
        peer.send(b"\r\0" + IAC + WILL + BINARY + b"\r\0\xff\xff" + IAC + b"\xfc" + BINARY + b"\r\0")
        run_until(lambda: len(connection.of("read")) == 3)
        assert connection.of("read") == [b"\r", b"\r\0\xff", b"\r"]


def accepted(server: TelnetServer, engine: Engine | None = None) -> Recorder:
    """The connection of the only client."""
    run_until(lambda: server.channels, engine=engine)
    (connection,) = server.channels.values()
    assert isinstance(connection, Recorder)
    return connection


@pytest.mark.parametrize("early", [True, False])
def test_a_synch(early: bool) -> None:
    """RFC 854: its data mark is sent as urgent data, which has to stay in its place."""
    server = TelnetServer(Recorder).listen(("127.0.0.1", 0))
    with client_of(server) as peer:
        if not early:
            accepted(server)
        peer.sock.send(b"a" + IAC)
        peer.sock.send(DM, socket.MSG_OOB)
        peer.sock.send(b"b")
        connection = accepted(server)
        run_until(lambda: connection.data == b"ab")
        assert [event for event in connection.events if event[0] == "command"] == [("command", DM)]
        assert connection.events[0] == ("read", b"a")
        assert connection.events[-1] == ("read", b"b")
    server.close()
    run_until(lambda: connection.closed)


def test_over_tls() -> None:
    class Client(Recorder):
        def on_connect(self) -> None:
            self.write(b"a\xff\r" * 5000)
            self.send_command(AYT)
            self.write(b"b")

    options = {"certfile": certificates().good}
    server = TelnetServer(Recorder, ssl_options=options).listen(("127.0.0.1", 0))
    client = Client(ssl_options={"ca_certs": certificates().ca}).connect(("localhost", server.local_address[1]))
    connection = accepted(server)
    run_until(lambda: connection.data.endswith(b"b"))
    assert connection.data == b"a\xff\r" * 5000 + b"b"
    assert connection.of("command") == [AYT]
    client.close()
    server.close()
    run_until(lambda: client.closed and connection.closed)


def test_starttls() -> None:
    """What came in clear is forgotten, a command that is not complete included."""

    class Secure(Recorder):
        def on_command(self, command: bytes) -> None:
            super().on_command(command)
            if command == AYT:
                self.send_command(NOP)
                self.startSSL({"certfile": certificates().good})

        def on_ssl_handshake(self) -> None:
            self.events.append(("secure",))

    class Client(Recorder):
        def on_connect(self) -> None:
            self.send_command(AYT)
            self._send_raw(IAC + SB + GMCP + b"injected")

        def on_command(self, command: bytes) -> None:
            self.startSSL({"ca_certs": certificates().ca})
            self.write(b"secret")
            self.send_command(NOP)

    server = TelnetServer(Secure).listen(("127.0.0.1", 0))
    client = Client().connect(("localhost", server.local_address[1]))
    connection = accepted(server)
    run_until(lambda: connection.of("command")[1:])
    assert connection.events == [("command", AYT), ("secure",), ("read", b"secret"), ("command", NOP)]
    client.close()
    server.close()
    run_until(lambda: client.closed and connection.closed)


def test_starttls_after_a_cr() -> None:
    class Secure(Recorder):
        def on_command(self, command: bytes) -> None:
            self.send_command(NOP)
            self.startSSL({"certfile": certificates().good})

    class Client(Recorder):
        def on_connect(self) -> None:
            self.write(b"a\r")
            self.send_command(AYT)

        def on_command(self, command: bytes) -> None:
            self.start_ssl({"ca_certs": certificates().ca})
            self.write(b"bc")

    server = TelnetServer(Secure).listen(("127.0.0.1", 0))
    client = Client().connect(("localhost", server.local_address[1]))
    connection = accepted(server)
    run_until(lambda: connection.data.endswith(b"c"))
    assert connection.data == b"a\rbc"
    client.close()
    server.close()
    run_until(lambda: client.closed and connection.closed)


def test_behind_a_proxy() -> None:
    with MemoryEngine() as engine:
        server = TelnetServer(Recorder, engine=engine, proxy_protocol=True)
        peer = engine.accept(server)
        peer.send(b"PROXY TCP4 192.0.2.1 192.0.2.2 5000 23\r\na" + IAC + AYT + IAC)
        engine.poll(0)
        peer.send(IAC + b"b")
        engine.poll(0)
        connection = accepted(server, engine)
        assert connection.remote_address == ("192.0.2.1", 5000)
        assert connection.events == [("read", b"a"), ("command", AYT), ("read", b"\xffb")]


def test_on_a_unix_socket(tmp_path: Path) -> None:
    server = TelnetServer(Recorder).listen(str(tmp_path / "socket"))
    client = TelnetConnection().connect(str(tmp_path / "socket"))
    run_until(lambda: client.connected)
    client.write(b"a\xff")
    client.send_command(AYT)
    connection = accepted(server)
    run_until(lambda: connection.events == [("read", b"a\xff"), ("command", AYT)])
    client.close()
    server.close()
    run_until(lambda: client.closed and connection.closed)


def test_a_part_of_a_subnegotiation_is_traffic() -> None:
    """`idle_timeout` is for when nothing at all is received."""
    idle: list[float] = []
    with MemoryEngine() as engine:
        connection, peer = engine.connect(Recorder)
        connection.on_idle_timeout = lambda: idle.append(engine.now)
        connection.idle_timeout = 10
        for piece in (IAC, SB, GMCP, b"x", b"y"):
            peer.send(piece)
            engine.poll(0)
            engine.advance(6)
        assert idle == []
        engine.advance(6)
        assert len(idle) == 1


def test_a_flood_while_reading_is_paused() -> None:
    """The rest waits in the kernel, and what has been taken from there is looked at once."""

    class Pausing(TelnetConnection):
        heard = 0

        def on_command(self, command: bytes) -> None:
            self.heard += 1
            self.pause_reading()

    with MemoryEngine() as engine:
        connection, peer = engine.connect(Pausing)
        peer.send((IAC + NOP) * 1_000_000)
        for heard in range(1, 4):
            engine.poll(0)
            engine.poll(0)
            assert connection.heard == heard
            assert connection._machine.pending <= connection.receive_size
            connection.resume_reading()


MIXED = (
    b"a\nbb\n"
    + IAC
    + AYT
    + b"c\xff\xff\n"
    + IAC
    + DO
    + ECHO
    + b"d\r\0\n"
    + IAC
    + SB
    + GMCP
    + b"x"
    + IAC
    + IAC
    + IAC
    + SE
)


class Doer(Recorder):
    """Does something in a hook, besides."""

    def poll(self) -> None:
        self.engine.poll(0)
        self.engine.poll(0)

    def pause(self) -> None:
        self.pause_reading()
        self.engine.defer(1, self.resume_reading)

    def pause_and_resume(self) -> None:
        self.pause_reading()
        self.resume_reading()

    def write_and_flush(self) -> None:
        self.write(b"\r\xff")
        self.write_file(io.BytesIO(b"\xff\r"), flush=True)

    def set_anew(self) -> None:
        self.read_delimiter = self.read_delimiter
        self.buffer_size = 1000

    def fail(self) -> None:
        raise ValueError

    def on_error(self, exception: Exception) -> None:
        pass


@pytest.mark.parametrize(
    "doing", [Doer.poll, Doer.pause, Doer.pause_and_resume, Doer.write_and_flush, Doer.set_anew, Doer.fail]
)
@pytest.mark.parametrize("delimiter", [None, b"\n", 2, NetStruct(b"B$"), re.compile(rb"[^\n]*\n+")])
def test_whatever_a_hook_does_wherever_it_is_cut(delimiter: Any, doing: Callable[[Doer], None]) -> None:
    def hook(name: str) -> Any:
        def called(self: Doer, *args: Any) -> None:
            getattr(Recorder, name)(self, *args)
            doing(self)

        return called

    def run(connection_class: type[Recorder], chunk: int | None) -> list[tuple[Any, ...]]:
        with MemoryEngine() as engine:
            connection, peer = engine.connect(connection_class)
            connection.read_delimiter = delimiter
            peer.send(MIXED * 2, chunk=chunk)
            engine.poll(0)
            while connection._reading_paused:
                engine.advance(1)
            return connection.events if delimiter is not None else joined(connection.events)

    expected = run(Recorder, None)
    for name in ("on_read", "on_command", "on_option", "on_subnegotiation"):
        doer = type("Doer", (Doer,), {name: hook(name)})
        for chunk in (1, 3, None):
            assert run(doer, chunk) == expected


def joined(events: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Events, the pieces of data that follow each other as one."""
    found: list[tuple[Any, ...]] = []
    for event in events:
        if event[0] == "read" and found and found[-1][0] == "read":
            found[-1] = ("read", found[-1][1] + event[1])
        else:
            found.append(event)
    return found


wire = st.lists(
    st.sampled_from([IAC, IAC, SB, SE, DO, b"\xf6", b"\r", b"\n", b"\0", b"a", b"\x01", b"ab\r\n"]), max_size=40
).map(b"".join)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(wire, st.sampled_from([None, b"\n", b"\r\n", 3, re.compile(rb"[\r\n]")]), st.integers(1, 5))
def test_however_it_is_cut_up(data: bytes, delimiter: Any, chunk: int) -> None:
    def run(chunk: int | None) -> list[tuple[Any, ...]]:
        with MemoryEngine() as engine:
            connection, peer = engine.connect(Recorder)
            connection.read_delimiter = delimiter
            peer.send(data, chunk=chunk)
            engine.poll(0)
            return joined(connection.events) if delimiter is None else connection.events

    assert run(chunk) == run(None)
