"""The queue of what a stream has still to send, on a socket that takes as much as the test says.

What is promised of files is in the manual's "write_file", and in DESIGN §3.
"""

from __future__ import annotations

import contextlib
import errno
import gzip
import io
import os
import socket
import tempfile
from pathlib import Path
from typing import Any

import pytest

from pants._send_queue import (
    CHUNK_SIZE,
    JOIN_SIZE,
    TURN_SIZE,
    FileSlice,
    Item,
    StartTLS,
    clear,
    queued_size,
    send_from,
)
from pants.errors import FileFailed, FileShrunk
from tests.core.support import descriptors, pattern


class Taking:
    """A socket that takes so many bytes of each send, and then none."""

    def __init__(self, *takes: int) -> None:
        self.takes = list(takes)
        self.sends: list[bytes] = []

    def send(self, data: Any) -> int:
        if not self.takes:
            raise BlockingIOError
        taken = min(self.takes.pop(0), len(data))
        self.sends.append(bytes(data[:taken]))
        return taken

    def fileno(self) -> int:
        raise AssertionError("the kernel was asked to send a file")

    @property
    def sent(self) -> bytes:
        return b"".join(self.sends)


ALL = 1 << 30


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(pattern(200_000))
    return path


def send_all(queue: list[Item]) -> bytes:
    sock = Taking(*[ALL] * 1000)
    while queue:
        send_from(queue, sock, secure=True)
    return sock.sent


# --- Bytes -----------------------------------------------------------------------------------------------------------


def test_small_pieces_go_out_as_one() -> None:
    """DESIGN §3: what a channel's hooks wrote is sent in one go."""
    queue: list[Item] = [b"one ", b"two ", b"three"]
    sock = Taking(ALL)
    send_from(queue, sock, secure=False)
    assert sock.sends == [b"one two three"]
    assert queue == []


def test_partial_sends_lose_nothing() -> None:
    """However the kernel cuts it up, the bytes arrive in order, each once."""
    pieces: list[Item] = [pattern(size) for size in (1, 70_000, 5, 5, 65_536, 65_535, 2, 300_000, 1)]
    whole = b"".join(pieces)  # type: ignore[arg-type]
    for step in (1013, 65_535, 65_536, 65_537, 131_072):
        queue = list(pieces)
        sent = b""
        while queue:
            sock = Taking(step)
            before = queued_size(queue)
            with contextlib.suppress(BlockingIOError):
                send_from(queue, sock, secure=False)
            sent += sock.sent
            assert queued_size(queue) == before - len(sock.sent)
        assert sent == whole


def test_many_small_pieces_cost_few_sends() -> None:
    count = 100_000
    queue: list[Item] = [b"0123456789"] * count
    sock = Taking(*[ALL] * 100)
    send_from(queue, sock, secure=False)
    assert sock.sent == b"0123456789" * count
    assert len(sock.sends) <= count * 10 // JOIN_SIZE + 1


def test_blocked_queue_is_kept() -> None:
    queue: list[Item] = [b"one", b"two"]
    with pytest.raises(BlockingIOError):
        send_from(queue, Taking(), secure=False)
    assert queued_size(queue) == 6
    assert send_all(queue) == b"onetwo"


def test_one_channel_does_not_keep_the_loop() -> None:
    """What is sent in one go is bounded; others have their turn then."""
    queue: list[Item] = [bytes(1 << 20)] * 16
    sock = Taking(*[ALL] * 16)
    send_from(queue, sock, secure=False)
    assert TURN_SIZE <= len(sock.sent) < 16 << 20
    assert queued_size(queue) == (16 << 20) - len(sock.sent)


def test_nothing_is_sent_past_the_beginning_of_tls() -> None:
    """Manual, "Stream.startSSL": SSL is only enabled once all currently pending data has been written."""
    queue: list[Item] = [b"clear ", b"text", StartTLS(), b"secret"]
    assert queued_size(queue) == 16
    sock = Taking(ALL, ALL, ALL)
    send_from(queue, sock, secure=False)
    assert sock.sent == b"clear text"
    assert isinstance(queue[0], StartTLS)
    clear(queue)
    assert queue == []


# --- Files -----------------------------------------------------------------------------------------------------------


def test_file_of_which_the_kernel_sends(file: Path) -> None:
    one, other = socket.socketpair()
    with one, other:
        one.setblocking(False)
        with file.open("rb") as opened:
            queue: list[Item] = [b"head", FileSlice(opened, 50_000, 1000), b"tail"]
        assert queued_size(queue) == 50_008
        received = b""
        while queue:
            try:
                send_from(queue, one, secure=False)
            except BlockingIOError:
                received += other.recv(1 << 20)
        one.close()
        while piece := other.recv(1 << 20):
            received += piece
    assert received == b"head" + pattern(200_000)[1000:51_000] + b"tail"


@pytest.mark.parametrize("kind", ["descriptor", "object"])
def test_file_that_is_read(kind: str, file: Path) -> None:
    """Over TLS, and for file objects without a descriptor, the file is read piece by piece, never as a whole."""
    with file.open("rb") as opened:
        source: Any = opened if kind == "descriptor" else io.BytesIO(pattern(200_000))
        queue: list[Item] = [b"head", FileSlice(source, 0, 0), b"tail"]
    sock = Taking(*[ALL] * 20)
    send_from(queue, sock, secure=True)
    assert sock.sent == b"head" + pattern(200_000) + b"tail"
    assert max(map(len, sock.sends)) <= CHUNK_SIZE
    assert queue == []


def test_file_that_is_read_and_sent_partly(file: Path) -> None:
    with file.open("rb") as opened:
        queue: list[Item] = [FileSlice(opened, 0, 0)]
    sent = b""
    while queue:
        sock = Taking(30_011)
        with contextlib.suppress(BlockingIOError):
            send_from(queue, sock, secure=True)
        sent += sock.sent
        assert queued_size(queue) == 200_000 - len(sent)
    assert sent == pattern(200_000)


def test_slices_of_the_same_object_do_not_disturb_each_other() -> None:
    source = io.BytesIO(b"0123456789")
    queue: list[Item] = [FileSlice(source, 3, 7), FileSlice(source, 2, 0), FileSlice(source, 0, 5)]
    source.seek(9)
    assert send_all(queue) == b"789" + b"01" + b"56789"


class Unseekable:
    """What only reads, and in pieces of its own size: a decompressor or an upload, say."""

    def __init__(self, data: bytes, step: int = 10) -> None:
        self.source = io.BytesIO(data)
        self.step = step

    def read(self, size: int) -> bytes:
        return self.source.read(min(size, self.step))


def test_object_that_cannot_seek() -> None:
    assert send_all([FileSlice(Unseekable(b"0123456789" * 10), 95, 0)]) == (b"0123456789" * 10)[:95]


@pytest.mark.parametrize("nbytes, offset", [(0, 0), (0, 5), (5, 5)])
def test_object_that_cannot_seek_needs_a_size(nbytes: int, offset: int) -> None:
    with pytest.raises(ValueError, match="nbytes"):
        FileSlice(Unseekable(b"0123456789"), nbytes, offset)


def test_compressed_file_is_sent_as_it_reads(tmp_path: Path) -> None:
    """Its ``fileno()`` leads to the compressed bytes, which are not what the caller has opened."""
    path = tmp_path / "file.gz"
    path.write_bytes(gzip.compress(b"hello " * 100))
    with gzip.open(path, "rb") as opened:
        assert send_all([FileSlice(opened, 600, 0)]) == b"hello " * 100


@pytest.mark.parametrize(
    "make",
    [
        lambda path: path.open("wb+"),
        lambda path: path.open("wb+", buffering=0),
        lambda path: tempfile.NamedTemporaryFile(dir=path.parent),  # noqa: SIM115 - closed by the test
        lambda path: tempfile.TemporaryFile(dir=path.parent),  # noqa: SIM115
        lambda path: tempfile.SpooledTemporaryFile(),  # noqa: SIM115
        lambda path: tempfile.SpooledTemporaryFile(max_size=2),  # noqa: SIM115
    ],
    ids=["read and write", "unbuffered", "NamedTemporaryFile", "TemporaryFile", "in memory", "spooled"],
)
def test_what_the_caller_wrote_to_the_file_belongs_to_it(make: Any, tmp_path: Path) -> None:
    """ "All bytes will be written": those that wait in the file object's own buffer too."""
    with make(tmp_path / "new") as opened:
        opened.write(b"written just now")
        queue: list[Item] = [FileSlice(opened, 0, 0)]
        assert send_all(queue) == b"written just now"


def test_file_that_cannot_be_read(tmp_path: Path) -> None:
    """It would fail only once it is to be sent; a wrong argument raises at the call."""
    with (tmp_path / "new").open("wb") as opened:
        opened.write(b"data")
        with pytest.raises((TypeError, ValueError)):
            FileSlice(opened, 0, 0)


def test_whatever_the_position_of_the_file(file: Path) -> None:
    """DESIGN §3: an absolute offset. The caller's own position stays where it is."""
    with file.open("rb") as opened:
        opened.seek(1234)
        assert send_all([FileSlice(opened, 10, 100)]) == pattern(200_000)[100:110]
        assert opened.tell() == 1234


@pytest.mark.parametrize("as_object", [False, True])
def test_sizes(as_object: bool, file: Path) -> None:
    """ "If 0, all bytes will be written", from the offset on."""
    with file.open("rb") as opened:
        source: Any = io.BytesIO(pattern(200_000)) if as_object else opened
        for nbytes, offset, size in (
            (0, 0, 200_000),
            (0, 150_000, 50_000),
            (1, 199_999, 1),
            (0, 200_000, 0),
            (200_000, 0, 200_000),
        ):
            item = FileSlice(source, nbytes, offset)
            assert item.size == size
            item.close()


@pytest.mark.parametrize("as_object", [False, True])
@pytest.mark.parametrize("nbytes, offset", [(200_001, 0), (1, 200_000), (0, 200_001), (100_001, 100_000)])
def test_beyond_the_end(nbytes: int, offset: int, as_object: bool, file: Path) -> None:
    before = descriptors()
    with file.open("rb") as opened, pytest.raises(ValueError, match="200000"):
        FileSlice(io.BytesIO(pattern(200_000)) if as_object else opened, nbytes, offset)
    assert descriptors() == before


@pytest.mark.parametrize(
    "nbytes, offset, error, named",
    [
        (-1, 0, ValueError, "nbytes"),
        (0, -1, ValueError, "offset"),
        (1.0, 0, TypeError, "nbytes"),
        (0, "0", TypeError, "offset"),
        (True, 0, TypeError, "nbytes"),
        (None, 0, TypeError, "nbytes"),
    ],
)
def test_wrong_numbers(nbytes: Any, offset: Any, error: type[Exception], named: str, file: Path) -> None:
    with file.open("rb") as opened, pytest.raises(error, match=named):
        FileSlice(opened, nbytes, offset)


@pytest.mark.parametrize("what", [b"bytes", "/etc/hostname", None, 5, io.StringIO("text"), object()])
def test_what_is_no_file_of_bytes(what: Any) -> None:
    with pytest.raises(TypeError):
        FileSlice(what, 0, 0)


def test_file_of_text(file: Path) -> None:
    """DESIGN §3: a stream carries bytes."""
    with file.open("r") as opened, pytest.raises(TypeError):
        FileSlice(opened, 0, 0)


def test_pipe() -> None:
    """It has no size, and cannot be read without waiting."""
    reader, writer = os.pipe()
    os.close(writer)
    with open(reader, "rb") as opened, pytest.raises(ValueError, match="regular file"):
        FileSlice(opened, 10, 0)


@pytest.mark.parametrize("as_object", [False, True])
def test_closed_file(as_object: bool, file: Path) -> None:
    source: Any = io.BytesIO(b"data") if as_object else file.open("rb")
    source.close()
    with pytest.raises(ValueError, match="closed"):
        FileSlice(source, 0, 0)


@pytest.mark.parametrize("secure", [False, True])
def test_file_that_shrinks(secure: bool, file: Path) -> None:
    """DESIGN §3: the size is fixed at the call; a file that shrinks is an error, once what is there has gone."""
    before = descriptors()
    one, other = socket.socketpair()
    with one, other:
        with file.open("rb") as opened:
            queue: list[Item] = [FileSlice(opened, 5000, 0), b"never sent"]
        os.truncate(file, 3000)
        with pytest.raises(FileShrunk, match="2000 bytes"):
            send_from(queue, one, secure=secure)
        assert other.recv(10_000) == pattern(3000)
        assert not any(isinstance(item, FileSlice) for item in queue)
    assert descriptors() == before


def test_object_that_shrinks() -> None:
    source = io.BytesIO(b"0123456789")
    queue: list[Item] = [FileSlice(source, 0, 0)]
    source.truncate(4)
    sock = Taking(ALL, ALL)
    with pytest.raises(FileShrunk):
        send_from(queue, sock, secure=False)
    assert sock.sent == b"0123"


def test_file_that_grows_is_sent_with_its_old_size(file: Path) -> None:
    with file.open("rb") as opened:
        queue: list[Item] = [FileSlice(opened, 0, 199_990)]
    with file.open("ab") as opened:
        opened.write(b"and more")
    assert send_all(queue) == pattern(200_000)[199_990:]


def test_object_that_does_not_know_its_size() -> None:
    """It seeks, but not from its end, as some readers of compressed files do."""

    class Compressed(io.BytesIO):
        def seek(self, offset: int, whence: int = 0) -> int:
            if whence == os.SEEK_END:
                raise ValueError("Seek from end not supported")
            return super().seek(offset, whence)

    assert send_all([FileSlice(Compressed(b"0123456789"), 5, 0)]) == b"01234"
    assert send_all([FileSlice(Compressed(b"0123456789"), 5, 3)]) == b"34567"
    with pytest.raises(ValueError, match="nbytes"):
        FileSlice(Compressed(b"0123456789"), 0, 0)


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOSYS])
def test_file_of_which_the_kernel_does_not_send(code: int, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """sendfile(2), "Notes": applications may wish to fall back to read(2) and write(2) after EINVAL or ENOSYS."""

    def refuse(*_: Any) -> int:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "sendfile", refuse)
    with file.open("rb") as opened:
        queue: list[Item] = [b"head", FileSlice(opened, 0, 0), b"tail"]
    received = b""
    one, other = socket.socketpair()
    with one, other:
        one.setblocking(False)
        while queue:
            with contextlib.suppress(BlockingIOError):
                send_from(queue, one, secure=False)
            received += other.recv(1 << 20)
        one.close()
        while piece := other.recv(1 << 20):
            received += piece
    assert received == b"head" + pattern(200_000) + b"tail"


@pytest.mark.parametrize("given", ["text", bytearray(b"data"), None])
def test_object_that_does_not_read_bytes(given: Any) -> None:
    class Odd:
        def read(self, size: int) -> Any:
            return given

    with pytest.raises(TypeError, match="not bytes"):
        send_all([FileSlice(Odd(), 4, 0)])


def test_object_whose_read_fails() -> None:
    """The file's error is told as one, and not taken for the connection's."""

    class Failing:
        def read(self, size: int) -> bytes:
            raise OSError(5, "the disk is broken")

    queue: list[Item] = [FileSlice(Failing(), 4, 0)]
    with pytest.raises(FileFailed, match="the disk is broken"):
        send_all(queue)
    assert queue == []


def test_descriptors_are_given_back(file: Path) -> None:
    """DESIGN §3: `write_file` duplicates the descriptor at the call; sent or dropped, it is closed."""
    before = descriptors()
    with file.open("rb") as opened:
        slices: list[Item] = [FileSlice(opened, 10, 0), FileSlice(opened, 10, 0)]
    assert len(descriptors() - before) == 2
    assert send_all(slices[:1]) == pattern(10)
    assert len(descriptors() - before) == 1
    clear(slices)
    assert descriptors() == before
