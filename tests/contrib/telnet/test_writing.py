"""What a Telnet connection sends (manual: "TelnetConnection.write", "write_file")."""

from __future__ import annotations

import io
import os
import struct
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pants import Engine
from pants.contrib.telnet import AYT, BINARY, DO, ECHO, GMCP, IAC, SB, SE, WILL, TelnetConnection
from pants.testing import MemoryEngine, connected_pair, run_until
from tests.contrib.telnet.telnet_support import Recorder
from tests.core.support import connected, descriptors, turns


def test_data_arrives_as_it_is() -> None:
    with connected(Recorder) as (connection, peer):
        connection.write(b"a\xffb")
        connection.write(bytearray(b"\xff"))
        connection.write(memoryview(b"\r\n\r"), flush=True)
        connection.write(b"")
        connection.write(b"c")
        assert peer.receive(11) == b"a\xff\xffb\xff\xff\r\n\r\0c"


def test_packed_values() -> None:
    with connected(Recorder) as (connection, peer):
        connection.read_delimiter = struct.Struct("!H")
        connection.write_packed(0xFF0D)
        connection.write_packed(b"\xff", format="!B$", flush=True)
        assert peer.receive(7) == b"\xff\xff\r\0\x01\xff\xff"


def test_commands() -> None:
    with connected(Recorder) as (connection, peer):
        connection.write(b"a\r")
        connection.send_command(AYT)
        connection.write(b"\nb")
        connection.send_option(DO, ECHO)
        connection.send_subnegotiation(GMCP, b"x\xff\r")
        connection.send_subnegotiation(IAC, memoryview(b""), flush=True)
        expected = b"a\r" + IAC + AYT + b"\nb" + IAC + DO + ECHO + IAC + SB + GMCP + b"x\xff\xff\r" + IAC + SE
        expected += IAC + SB + IAC + IAC + IAC + SE
        assert peer.receive(len(expected)) == expected


@pytest.mark.parametrize(
    "call, error",
    [
        (lambda c: c.write("text"), TypeError),
        (lambda c: c.write(5), TypeError),
        (lambda c: c.send_command(b""), ValueError),
        (lambda c: c.send_command(b"ab"), ValueError),
        (lambda c: c.send_command(0xF6), TypeError),
        (lambda c: c.send_command("x"), TypeError),
        *((lambda c, code=code: c.send_command(code), ValueError) for code in (IAC, SB, SE, DO, WILL)),
        (lambda c: c.send_option(AYT, ECHO), ValueError),
        (lambda c: c.send_option(DO, 1), TypeError),
        (lambda c: c.send_option(DO, b""), ValueError),
        (lambda c: c.send_subnegotiation(b"", b""), ValueError),
        (lambda c: c.send_subnegotiation(GMCP, "text"), TypeError),
        (lambda c: c.enable_local(1), TypeError),
        (lambda c: c.enable_remote(b"ab"), ValueError),
        (lambda c: c.request_charset(), ValueError),
        (lambda c: c.request_charset("UTF-8"), RuntimeError),
    ],
)
def test_mistakes(call: Any, error: type[Exception]) -> None:
    with connected(Recorder) as (connection, peer):
        with pytest.raises(error):
            call(connection)
        connection.write(b"z")
        assert peer.receive(1) == b"z"


@pytest.mark.parametrize(
    "call",
    [
        lambda c: c.write(b"x"),
        lambda c: c.write_file(io.BytesIO(b"x")),
        lambda c: c.write_packed(1, format="B"),
        lambda c: c.send_command(AYT),
        lambda c: c.send_option(DO, ECHO),
        lambda c: c.send_subnegotiation(GMCP),
        lambda c: c.enable_local(ECHO),
        lambda c: c.disable_local(ECHO),
        lambda c: c.enable_remote(ECHO),
        lambda c: c.disable_remote(ECHO),
        lambda c: c.request_charset("UTF-8"),
    ],
)
def test_not_connected(call: Any) -> None:
    connection = TelnetConnection()
    with pytest.raises(RuntimeError, match="from on_connect"):
        call(connection)
    connection.close()
    with pytest.raises(RuntimeError, match="from on_connect"):
        call(connection)


# --- Files ----------------------------------------------------------------------------------------------------------

DATA = b"".join((b"line %d\r\n" % number) + bytes(range(256)) + b"\r\r\0\xff" * 3 for number in range(1500))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(DATA)
    return path


@pytest.mark.parametrize("nvt", [True, False])
@pytest.mark.parametrize("nbytes, offset", [(0, 0), (1000, 0), (0, 5000), (100_000, 77), (1, 13)])
def test_a_file_arrives_as_it_is(file: Path, nbytes: int, offset: int, nvt: bool) -> None:
    Engine.instance()
    before = descriptors()
    with connected_pair(Recorder, Recorder) as (one, other):
        one.nvt = other.nvt = nvt
        one.write(b"before\r")
        with file.open("rb") as opened:
            one.write_file(opened, nbytes, offset)
        one.write(b"\nafter")
        expected = b"before\r" + DATA[offset : offset + nbytes if nbytes else None] + b"\nafter"
        run_until(lambda: len(other.data) >= len(expected))
        assert other.data == expected
    assert descriptors() == before


def test_a_file_object_without_a_descriptor() -> None:
    with connected_pair(Recorder, Recorder) as (one, other):
        one.write_file(io.BytesIO(DATA), flush=True)
        run_until(lambda: len(other.data) >= len(DATA))
        assert other.data == DATA


def test_an_empty_file() -> None:
    with connected(Recorder) as (connection, peer), tempfile.TemporaryFile() as empty:
        connection.write(b"\r")
        connection.write_file(empty)
        connection.write(b"\n")
        assert peer.receive(2) == b"\r\n"


def test_a_file_is_read_in_pieces(tmp_path: Path) -> None:
    """What the peer does not take is not read, and not held."""
    path = tmp_path / "large"
    with path.open("wb") as large:
        large.truncate(64 * 1024 * 1024)
    with connected(Recorder) as (connection, _):
        with path.open("rb") as large:
            connection.write_file(large)
        turns(5)
        held = sum(len(item) for item in connection._unsent if isinstance(item, (bytes, memoryview)))
        assert held <= 256 * 1024
        connection.close(flush=False)
        run_until(lambda: connection.closed)


@pytest.mark.parametrize(
    "arguments, error",
    [(("name",), TypeError), ((io.BytesIO(b"x"), -1), ValueError), ((io.BytesIO(b"x"), 5), ValueError)],
)
def test_no_file(arguments: Any, error: type[Exception]) -> None:
    with connected(Recorder) as (connection, peer):
        connection.write(b"a\r")
        with pytest.raises(error):
            connection.write_file(*arguments)
        connection.write(b"\n")
        assert peer.receive(3) == b"a\r\n"


def test_a_file_that_shrinks(tmp_path: Path, expect_log: Any) -> None:
    expect_log("FileShrunk")
    path = tmp_path / "file"
    path.write_bytes(b"x" * 100)
    with connected(Recorder) as (connection, _):
        with path.open("rb") as opened:
            connection.write_file(opened)
        os.truncate(path, 0)
        run_until(lambda: connection.closed)


# --- Round trips ----------------------------------------------------------------------------------------------------

pieces = st.lists(
    st.lists(st.sampled_from([b"\r", b"\n", b"\0", b"\xff", b"a", b"\xf0", b"\r\n"]), max_size=6).map(b"".join),
    max_size=8,
)


@settings(max_examples=100, deadline=None)
@given(st.booleans(), pieces, st.lists(st.booleans(), min_size=8, max_size=8))
def test_a_round_trip_is_exact(nvt: bool, pieces: list[bytes], files: list[bool]) -> None:
    with MemoryEngine() as engine, connected_pair(Recorder, Recorder, engine=engine) as (one, other):
        one.nvt = other.nvt = nvt
        for piece, as_file in zip(pieces, files, strict=False):
            if as_file:
                one.write_file(io.BytesIO(piece))
            else:
                one.write(piece)
        for _ in range(4):
            engine.poll(0)
        assert other.data == b"".join(pieces)


def test_a_cr_before_binary_data() -> None:
    """What BINARY rules begins where its WILL stands, so the NUL after a CR has to come before."""

    class Binary(Recorder):
        local_options = remote_options = frozenset({BINARY})

    with MemoryEngine() as engine, connected_pair(Binary, Binary, engine=engine) as (one, other):
        one.write(b"\r")
        engine.poll(0)
        other.enable_remote(BINARY)
        run_until(lambda: one.local_enabled(BINARY), engine=engine)
        one.write(b"x\r")
        one.disable_local(BINARY)
        one.write(b"\0y\r")
        one.enable_local(BINARY)
        run_until(lambda: one.local_enabled(BINARY), engine=engine)
        one.write(b"\0\r")
        run_until(lambda: len(other.data) >= 8, engine=engine)
        assert other.data == b"\rx\r\0y\r\0\r"


def test_closing_while_a_file_is_escaped() -> None:
    data = bytes(range(256)) * 8000 + IAC * 1_000_000
    with connected_pair(Recorder, Recorder) as (one, other):
        one.write(b"x\r")
        one.write_file(io.BytesIO(data))
        one.close()
        run_until(lambda: one.closed and other.closed)
        assert other.data == b"x\r" + data


def test_binary_data_to_the_peer() -> None:
    class Binary(Recorder):
        local_options = frozenset({BINARY})

    with connected(Binary) as (connection, peer):
        connection.write(b"\rx")
        peer.send(IAC + DO + BINARY)
        run_until(lambda: connection.local_enabled(BINARY))
        connection.write(b"\rx\xff")
        connection.disable_local(BINARY)
        connection.write(b"\rx")
        expected = b"\r\0x" + IAC + WILL + BINARY + b"\rx\xff\xff" + IAC + b"\xfc" + BINARY + b"\r\0x"
        assert peer.receive(len(expected)) == expected
