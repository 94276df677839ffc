"""`pants.http._client_body`: what a client sends (manual: "Making Useful Requests", "HTTPRequest.body")."""

from __future__ import annotations

import bz2
import codecs
import contextlib
import email
import enum
import gzip
import hashlib
import io
import json
import lzma
import mmap
import os
import socket
import tarfile
import tempfile
import tracemalloc
import urllib.parse
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import multipart  # type: ignore[import-untyped]
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pants._send_queue import FileSlice
from pants.errors import FileFailed, FileShrunk
from pants.http._client_body import Body, make_body
from pants.http._forms import MultipartForm, boundary_of
from pants.http._limits import Limits

URLENCODED = "application/x-www-form-urlencoded"
UNKNOWN = "application/octet-stream"
TEXT = "Grüße\nfrom a file\n"

_bodies: list[Body] = []


def descriptors() -> int:
    return len(os.listdir("/dev/fd"))


@pytest.fixture(autouse=True)
def no_leaked_descriptors() -> Iterator[None]:
    """Each test closes what it opened, and the bodies that `made` made give back what they took."""
    before = descriptors()
    yield
    while _bodies:
        body = _bodies.pop()
        body.close()
        body.close()
    assert descriptors() == before


@pytest.fixture
def text_path(tmp_path: Path) -> Path:
    path = tmp_path / "test.txt"
    path.write_bytes(TEXT.encode())
    return path


def made(*args: Any, **kwargs: Any) -> Body:
    body = make_body(*args, **kwargs)
    assert body is not None
    _bodies.append(body)
    return body


def read(piece: bytes | FileSlice) -> Iterator[bytes]:
    if isinstance(piece, bytes):
        assert piece, "an empty piece would end a chunked body"
        yield piece
        return
    assert piece.size
    try:
        while piece.size:
            yield piece.read()
    finally:
        piece.close()


def sent(body: Body) -> bytes:
    """What arrives of a body; and what holds for every body."""
    content = b"".join([data for piece in body.pieces() for data in read(piece)])
    assert body.length in (None, len(content))
    if body.replayable:
        assert b"".join([data for piece in body.pieces() for data in read(piece)]) == content
        assert body.hash("sha256") == hashlib.sha256(content).hexdigest()
    else:
        assert body.hash("sha256") is None
        with pytest.raises(RuntimeError, match="once more"):
            body.pieces()
    return content


def fields_of(body: Body) -> list[tuple[str, str]]:
    assert body.content_type == URLENCODED
    return urllib.parse.parse_qsl(sent(body).decode("ascii"), keep_blank_values=True, strict_parsing=True)


def parts_of(body: Body) -> list[tuple[str, str | None, str | None, bytes]]:
    """The parts of a form: name, filename, content type and content, as two parsers find them."""
    content, content_type = sent(body), body.content_type or ""
    kind, options = multipart.parse_options_header(content_type)
    assert kind == "multipart/form-data"
    form = multipart.MultipartParser(io.BytesIO(content), options["boundary"], charset="utf-8", strict=True)
    parts = []
    for part in form:
        parts.append((part.name, part.filename, part.headers.get("content-type"), part.raw))
        part.close()
    check_against_server(parts, content, content_type)
    return parts


def check_against_server(
    parts: list[tuple[str, str | None, str | None, bytes]], content: bytes, content_type: str
) -> None:
    boundary = boundary_of(content_type)
    assert boundary is not None
    form = MultipartForm(boundary, Limits())
    form.feed(content)
    form.finish()
    fields: dict[str, list[str]] = {}
    files: dict[str, list[tuple[str, str, bytes]]] = {}
    for name, filename, told, raw in parts:
        if filename is None:
            fields.setdefault(name, []).append(raw.decode("utf-8", "replace"))
        elif filename or raw:
            bare = filename.replace("\\", "/").rpartition("/")[2]
            files.setdefault(name, []).append((bare, told or "text/plain", raw))
    assert form.fields == fields
    assert {
        name: [(file["filename"], file["content_type"], file["body"]) for file in found]
        for name, found in form.files.items()
    } == files
    form.close()


# -- data: forms ---------------------------------------------------------------------------------------------------


class Fruit(enum.StrEnum):
    PEAR = "pear"


@pytest.mark.parametrize(
    "data, wanted",
    [
        ({"greeting": "Hello"}, [("greeting", "Hello")]),  # the manual's example
        ({"a": "ä &=+%", "ö": 1}, [("a", "ä &=+%"), ("ö", "1")]),
        ({"a": ["1", 2, 2.5, b"4"], "b": ()}, [("a", "1"), ("a", "2"), ("a", "2.5"), ("a", "4")]),
        ({"a": None, "b": ["1", None], "c": ""}, [("b", "1"), ("c", "")]),
        ([("b", "1"), ("a", "2"), ["b", "3"]], [("b", "1"), ("a", "2"), ("b", "3")]),
        ((("a", bytearray(b"1")), ("a", memoryview(b"2"))), [("a", "1"), ("a", "2")]),
        ({"a": "line\r\nline\x00"}, [("a", "line\r\nline\x00")]),
        ({"a": Fruit.PEAR}, [("a", "pear")]),
    ],
)
def test_a_form_is_urlencoded(data: Any, wanted: list[tuple[str, str]]) -> None:
    assert fields_of(made(data)) == wanted


@given(st.lists(st.tuples(st.text(st.characters(codec="utf-8")), st.text(st.characters(codec="utf-8"))), min_size=1))
def test_any_form_comes_out_as_it_went_in(fields: list[tuple[str, str]]) -> None:
    body = make_body(fields)
    assert body is not None
    assert fields_of(body) == fields


@pytest.mark.parametrize("data", ["", b"", {}, [], (), {"a": None}, bytearray()])
def test_an_empty_body_is_a_body(data: Any) -> None:
    body = made(data)
    assert (sent(body), body.length, body.content_type, body.replayable) == (b"", 0, URLENCODED, True)
    assert body.parts == [b""]


@pytest.mark.parametrize("files", [None, {}, [], ()])
def test_without_anything_there_is_no_body(files: Any) -> None:
    assert make_body(None, files) is None
    assert make_body(files=files, json=None) is None


@pytest.mark.parametrize(
    "data",
    [
        {"a": object()},
        {"a": {"b": "c"}},
        {"a": [["1"]]},
        {1: "a"},
        {b"a": "b"},
        [("a", "1"), "b"],
        [("a", "1", "2")],
        {"a": io.BytesIO()},
    ],
)
def test_what_is_no_form_is_refused(data: Any) -> None:
    with pytest.raises(TypeError):
        make_body(data)


def test_half_a_character_is_refused() -> None:
    for data in ({"a": "\ud800"}, {"\ud800": "a"}, "\ud800"):
        with pytest.raises(ValueError, match="surrogates"):
            make_body(data)


# -- data: content -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", ["Grüße", "Grüße".encode(), bytearray("Grüße".encode()), memoryview("Grüße".encode())])
def test_text_and_bytes_are_sent_as_they_are(data: Any) -> None:
    body = made(data)
    assert sent(body) == "Grüße".encode()
    assert (body.length, body.content_type, body.replayable) == (7, URLENCODED, True)
    assert body.parts == ["Grüße".encode()]


def test_what_the_caller_changes_later_is_not_sent() -> None:
    data = bytearray(b"before")
    body = made(data)
    data[:] = b"after"
    assert sent(body) == b"before"


def test_a_file_is_sent_by_the_kernel_and_may_be_closed_at_once(text_path: Path) -> None:
    with text_path.open("rb") as file:
        body = made(file)
        assert body.parts == [file]
    [piece] = body.pieces()
    assert isinstance(piece, FileSlice)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert piece.send_to(ours) == len(TEXT.encode())
        assert theirs.recv(100) == TEXT.encode()
    piece.close()
    assert sent(body) == TEXT.encode()
    assert (body.length, body.content_type, body.replayable) == (len(TEXT.encode()), UNKNOWN, True)


def test_a_file_is_sent_from_where_it_stands(text_path: Path) -> None:
    for mode in ("rb", "r+b"):
        for buffering in (0, -1):
            with text_path.open(mode, buffering=buffering) as file:
                file.read(7)
                assert sent(made(file)) == TEXT.encode()[7:]
                assert file.tell() == 7
                file.seek(1000)
                assert sent(empty := made(file)) == b""
                assert (empty.length, empty.parts) == (0, [file])


def test_what_was_written_to_a_file_belongs_to_it(text_path: Path) -> None:
    with text_path.open("r+b") as file:
        file.write(b"XY")
        file.seek(0)
        file.write(b"AB")
        body = made(file)
    assert sent(body) == TEXT.encode()[2:]
    with tempfile.NamedTemporaryFile() as named:
        named.write(b"content")
        named.seek(0)
        assert sent(made(named)) == b"content"


def test_the_size_of_a_file_is_that_of_the_call(text_path: Path) -> None:
    with text_path.open("rb") as file:
        body = made(file)
    with text_path.open("ab") as file:
        file.write(b"more")
    assert sent(body) == TEXT.encode()


def test_a_file_that_shrinks_is_found_out(text_path: Path) -> None:
    with text_path.open("rb") as file:
        body = made(file)
    pieces = body.pieces()
    piece = next(pieces)
    os.truncate(text_path, 3)
    with pytest.raises(FileShrunk):
        list(read(piece))
    with pytest.raises(FileShrunk):
        list(body.pieces())
    with pytest.raises(FileShrunk):
        body.hash("md5")


@pytest.mark.parametrize("position", [0, 3])
def test_what_is_in_memory_is_taken_at_the_call(position: int) -> None:
    for file, wanted in ((io.BytesIO(b"content"), b"content"), (io.StringIO("cöntent"), "cöntent".encode())):
        file.seek(position)
        body = made(file)
        assert file.tell() == position
        assert body.parts == [file]
        file.close()
        assert sent(body) == (wanted[position:] if position == 0 else wanted[-4:])
        assert body.content_type == UNKNOWN


def test_other_objects_are_read_where_they_stand() -> None:
    with tempfile.SpooledTemporaryFile() as file:
        file.write(b"x" * 100_000 + b"end")
        file.seek(10)
        body = made(file)
        assert (body.length, body.replayable, file.tell()) == (99_993, True, 10)
        [piece] = body.pieces()
        assert isinstance(piece, FileSlice)
        piece.close()
        assert sent(body) == b"x" * 99_990 + b"end"
        file.truncate(20)
        with pytest.raises(FileFailed, match="request was made"):
            list(body.pieces())
    with pytest.raises(FileFailed, match="closed"):
        list(body.pieces())


@contextlib.contextmanager
def archived(kind: Any, path: Path) -> Iterator[Any]:
    if kind is zipfile.ZipFile:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a", b"content" * 20_000)
        with zipfile.ZipFile(path) as archive, archive.open("a") as member:
            yield member
        return
    with kind(path, "w") as file:
        file.write(b"content" * 20_000)
    with kind(path) as file:
        yield file


@pytest.mark.parametrize("kind", [gzip.GzipFile, bz2.BZ2File, lzma.LZMAFile, zipfile.ZipFile])
def test_what_is_compressed_is_read_piece_by_piece(kind: type, tmp_path: Path) -> None:
    with archived(kind, tmp_path / "a") as file:
        file.read(7)
        body = made(file)
        assert (body.length, body.content_type, body.replayable) == (None, UNKNOWN, False)
        assert file.tell() == 7, "nothing is decompressed at the call"
        first = next(body.pieces())
        assert isinstance(first, bytes)
        assert len(first) <= 65536
        assert first + file.read() == b"content" * 19_999
    with archived(kind, tmp_path / "b") as file:
        body = made(io.BufferedReader(file))
        assert (body.length, sent(body)) == (None, b"content" * 20_000)


def test_a_member_of_an_archive_has_a_length(tmp_path: Path, text_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        archive.add(text_path, "a")
    with tarfile.open(tmp_path / "a.tar") as archive:
        body = made(archive.extractfile("a"))
        assert (body.length, sent(body)) == (len(TEXT.encode()), TEXT.encode())


def test_a_map_of_memory_is_a_file(text_path: Path) -> None:
    with text_path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as area:
        assert sent(made(area)) == TEXT.encode()


def test_from_a_pipe_is_read_what_there_is() -> None:
    end, other = os.pipe()
    with open(end, "rb") as file, open(other, "wb", buffering=0) as writer:
        body = made(file)
        assert (body.length, body.content_type, body.replayable) == (None, UNKNOWN, False)
        pieces = body.pieces()
        writer.write(b"one")
        assert next(pieces) == b"one"
        writer.write(b"two")
        writer.close()
        assert list(pieces) == [b"two"]


def test_a_pipe_that_does_not_block_is_refused_when_it_is_read() -> None:
    end, other = os.pipe()
    os.set_blocking(end, False)
    with open(end, "rb", buffering=0) as file, open(other, "wb"):
        body = made(file)
        with pytest.raises(TypeError, match="data gave None, not bytes"):
            list(body.pieces())


class Reader:
    """The least that a file is."""

    def __init__(self, *pieces: Any) -> None:
        self.pieces = list(pieces)

    def read(self, size: int) -> Any:
        return self.pieces.pop(0) if self.pieces else b""


class Unsized(Reader):
    """It says that it can seek, and cannot from the end."""

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return 0

    def seek(self, position: int, whence: int = 0) -> int:
        raise io.UnsupportedOperation


class Described(Reader):
    """It has a descriptor, and nobody knows where it stands."""

    def __init__(self, file: Any, *pieces: Any) -> None:
        super().__init__(*pieces)
        self.fileno = file.fileno


def test_anything_with_read_is_a_file(text_path: Path) -> None:
    with text_path.open("rb") as file:
        for reader in (Reader(b"a", b"b"), Unsized(b"a", b"b"), Described(file, b"a", b"b")):
            body = made(reader)
            assert (body.length, body.replayable, sent(body)) == (None, False, b"ab")
    with pytest.raises(TypeError, match="binary mode"):
        list(made(Reader("a")).pieces())


def test_an_iterator_is_asked_when_its_turn_comes() -> None:
    asked = []

    def generate() -> Iterator[Any]:
        for piece in (b"a", b"", "", "ö", bytearray(b"c"), memoryview(b"d")):
            asked.append(piece)
            yield piece

    body = made(iterator := generate())
    assert (body.length, body.content_type, body.replayable, body.parts) == (None, UNKNOWN, False, [iterator])
    pieces = body.pieces()
    assert not asked
    assert next(pieces) == b"a"
    assert asked == [b"a"]
    assert list(pieces) == ["ö".encode(), b"c", b"d"]
    with pytest.raises(RuntimeError, match="once more"):
        body.pieces()


@pytest.mark.parametrize("data", [[b"a", b"", "b"], ("a", b"b"), {"ab": 0}.keys(), [bytearray(b"ab")]])
def test_what_can_be_iterated_again_can_be_sent_again(data: Any) -> None:
    body = made(data)
    assert (body.length, body.replayable, body.content_type) == (None, True, UNKNOWN)
    assert sent(body) == b"ab"


def test_the_pieces_of_an_iterator_are_bytes() -> None:
    for wrong in (1, None, ("a", "b"), [b"a"]):
        pieces = made(iter([b"a", wrong])).pieces()
        assert next(pieces) == b"a"
        with pytest.raises(TypeError, match="bytes or str"):
            next(pieces)


@pytest.mark.parametrize("data", [5, 1.5, True, object(), Path("a"), [b"a", 1], [1], [None], ("a", ("b", "c"))])
def test_what_is_no_content_is_refused(data: Any) -> None:
    with pytest.raises(TypeError, match="data"):
        make_body(data)


# -- files of text -------------------------------------------------------------------------------------------------


def test_of_a_text_file_the_bytes_are_sent(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    for encoding in ("utf-8", "latin-1", "utf-16", "utf-8-sig"):
        path.write_bytes(f"ä\r\n{TEXT}".encode(encoding))
        with path.open(encoding=encoding) as file:
            body = made(file)
            assert body.parts == [file]
        assert (body.length, sent(body)) == (path.stat().st_size, path.read_bytes())


def test_a_text_file_is_sent_from_where_the_text_stands(text_path: Path) -> None:
    with text_path.open(encoding="utf-8") as file:
        assert file.readline() == "Grüße\n"
        assert sent(made(file)) == b"from a file\n"
        assert file.read() == "from a file\n"
        assert made(file).length == 0


def test_what_was_written_to_a_text_file_belongs_to_it(text_path: Path) -> None:
    with text_path.open("r+", encoding="utf-8") as file:
        file.write("AB")
        file.seek(0)
        body = made(file)
    assert sent(body) == b"AB" + TEXT.encode()[2:]


def test_compressed_text_is_sent_as_it_reads(tmp_path: Path) -> None:
    with gzip.open(tmp_path / "a.gz", "wt", encoding="utf-8") as file:
        file.write(TEXT)
    with gzip.open(tmp_path / "a.gz", "rt", encoding="utf-8") as file:
        file.readline()
        assert sent(made(file)) == b"from a file\n"


def begun(path: Path) -> Any:
    file = path.open(encoding="utf-8")
    next(file)
    return file


def stateful(path: Path) -> Any:
    path.write_bytes(codecs.BOM_UTF16_BE + TEXT.encode("utf-16-be"))
    file = path.open(encoding="utf-16")
    file.readline()
    return file


def piped(path: Path) -> Any:
    end, other = os.pipe()
    os.close(other)
    return open(end, encoding="utf-8")


def streamed(path: Path) -> Any:
    file: Any = codecs.getreader("utf-8")(path.open("rb"))
    file.encoding = "utf-8"  # as codecs.open() does
    return file


def spooled(path: Path) -> Any:
    return tempfile.SpooledTemporaryFile(mode="w+", encoding="utf-8")


@pytest.mark.parametrize("opened", [begun, stateful, piped, streamed, spooled])
def test_text_whose_bytes_cannot_be_had_is_refused(opened: Callable[[Path], Any], text_path: Path) -> None:
    with opened(text_path) as file:
        with pytest.raises(ValueError, match=r"^data holds text.*binary mode"):
            make_body(file)
        with pytest.raises(ValueError, match=r"^the file of 'a' holds text.*binary mode"):
            make_body(files={"a": file})


def test_a_file_that_cannot_be_read_is_refused(text_path: Path) -> None:
    for mode in ("ab", "a"):
        with text_path.open(mode) as file, pytest.raises(ValueError, match="data is not open for reading"):
            make_body(file)
    for closed in (file, io.BytesIO(), io.StringIO()):
        closed.close()
        with pytest.raises(ValueError, match="data is closed"):
            make_body(closed)
        with pytest.raises(ValueError, match="the file of 'a' is closed"):
            make_body(files={"a": closed})


# -- multipart -----------------------------------------------------------------------------------------------------


def test_files_of_the_manual(text_path: Path) -> None:
    content = TEXT.encode()
    with text_path.open(encoding="utf-8") as file:
        body = made(files={"file": file})
    assert isinstance(body.length, int)
    assert body.replayable
    assert parts_of(body) == [("file", "test.txt", "text/plain", content)]
    with text_path.open(encoding="utf-8") as file:
        body = made(files={"file": ("other.html", file)})
    assert parts_of(body) == [("file", "other.html", "text/html", content)]


def test_the_form_as_it_is_on_the_wire(text_path: Path) -> None:
    with text_path.open("rb") as file:
        body = made({"a": ["1", 2]}, {"b": file, "c": ("c.bin", "content", "x/y", {"X-A": "ä", "X-B": ["1", "2"]})})
        boundary = (body.content_type or "").partition("multipart/form-data; boundary=")[2].encode()
        assert len(boundary) == 32
        head, given, middle, content, end = body.parts
        assert given is file
    assert (head, middle, content, end) == (
        b'--%b\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n'
        b'--%b\r\nContent-Disposition: form-data; name="a"\r\n\r\n2\r\n'
        b'--%b\r\nContent-Disposition: form-data; name="b"; filename="test.txt"\r\nContent-Type: text/plain\r\n\r\n'
        % (boundary, boundary, boundary),
        b'\r\n--%b\r\nContent-Disposition: form-data; name="c"; filename="c.bin"\r\nContent-Type: x/y\r\n'
        b"X-A: \xc3\xa4\r\nX-B: 1\r\nX-B: 2\r\n\r\n" % boundary,
        b"content",
        b"\r\n--%b--\r\n" % boundary,
    )
    assert sent(body) == head + TEXT.encode() + middle + content + end
    assert parts_of(body)[3] == ("c", "c.bin", "x/y", b"content")


def test_email_reads_it_too(text_path: Path) -> None:
    with text_path.open("rb") as file:
        body = made({"a": "1"}, {"b": file, "c": ("d.html", b"<p>", None, {"X-A": "1"})})
    message = email.message_from_bytes(b"Content-Type: %b\r\n\r\n%b" % ((body.content_type or "").encode(), sent(body)))
    found = [
        (
            part.get_param("name", header="content-disposition"),
            part.get_filename(),
            part.get("Content-Type"),
            part.get("X-A"),
            part.get_payload(decode=True),
        )
        for part in message.walk()
        if not part.is_multipart()
    ]
    assert found == [
        ("a", None, None, None, b"1"),
        ("b", "test.txt", "text/plain", None, TEXT.encode()),
        ("c", "d.html", "text/html", "1", b"<p>"),
    ]


def test_each_form_has_a_boundary_of_its_own() -> None:
    assert len({made(files={"a": b""}).content_type for _ in range(100)}) == 100


def test_several_files_of_one_name_are_pairs() -> None:
    body = made(files=[("a", ("1.txt", b"1")), ("a", ("2.txt", "zwölf"))])
    assert parts_of(body) == [("a", "1.txt", "text/plain", b"1"), ("a", "2.txt", "text/plain", "zwölf".encode())]


def named(name: Any) -> Any:
    file: Any = io.BytesIO(b"x")
    file.name = name
    return file


@pytest.mark.parametrize(
    "value, filename, content_type",
    [
        (b"x", "field", UNKNOWN),
        ("x", "field", UNKNOWN),
        (io.StringIO("x"), "field", UNKNOWN),
        (named("/some/where/a.png"), "a.png", "image/png"),
        (named("<stdin>"), "field", UNKNOWN),
        (named(3), "field", UNKNOWN),
        (named(b"a.png"), "field", UNKNOWN),
        (named(""), "field", UNKNOWN),
        (named("some/where/"), "field", UNKNOWN),
        (("a.tar.gz", b"x"), "a.tar.gz", "application/gzip"),  # what it is, not what is in it
        (("where/a.TXT", b"x"), "where/a.TXT", "text/plain"),
        (("", b"x"), "", UNKNOWN),
        (("a.txt", b"x", "x/y; z=1"), "a.txt", "x/y; z=1"),
        (("a.txt", b"x", None, {"content-type": "x/y"}), "a.txt", "x/y"),
        (("a.txt", b"x", None, None), "a.txt", "text/plain"),
        ((None, b"x"), None, None),
        ((None, b"x", "application/json"), None, "application/json"),
    ],
)
def test_filename_and_type_of_a_file(value: Any, filename: str | None, content_type: str | None) -> None:
    assert parts_of(made(files={"field": value})) == [("field", filename, content_type, b"x")]


def names() -> st.SearchStrategy[str]:
    allowed = st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"])
    # "%22" means a quotation mark, whoever wrote it; and no file is called "." or "..".
    return st.text(allowed, min_size=1).filter(lambda text: not any(code in text for code in ("%22", "%0A", "%0D")))


def files() -> st.SearchStrategy[list[tuple[str, tuple[str, bytes]]]]:
    filenames = names().filter(lambda text: text.replace("\\", "/").rpartition("/")[2] not in (".", ".."))
    return st.lists(st.tuples(names(), st.tuples(filenames, st.binary())), min_size=1, max_size=4)


@given(st.lists(st.tuples(names(), st.text(st.characters(codec="utf-8"))), max_size=4), files())
def test_any_form_with_files_comes_out_as_it_went_in(
    fields: list[tuple[str, str]], uploads: list[tuple[str, tuple[str, bytes]]]
) -> None:
    body = make_body(fields, uploads)
    assert body is not None
    content = sent(body)
    boundary = boundary_of(body.content_type or "")
    assert boundary is not None
    form = MultipartForm(boundary, Limits())
    form.feed(content)
    form.finish()
    wanted: dict[str, list[Any]] = {}
    for name, value in fields:
        wanted.setdefault(name, []).append(value)
    assert form.fields == wanted
    wanted = {}
    for name, (filename, data) in uploads:
        bare = filename.replace("\\", "/").rpartition("/")[2]
        if bare or data:
            wanted.setdefault(name, []).append((bare, data))
    found = {name: [(file["filename"], file["body"]) for file in items] for name, items in form.files.items()}
    form.close()
    assert found == wanted
    # And cut up by hand.
    first, *parts, last = content.split(b"--" + boundary)
    assert (first, last, len(parts)) == (b"", b"--\r\n", len(fields) + len(uploads))
    given: list[tuple[str, Any]] = [*fields, *uploads]
    for part, (name, upload) in zip(parts, given, strict=True):
        head, _, data = part.partition(b"\r\n\r\n")
        line = head.split(b"\r\n")[1].decode()
        if isinstance(upload, str):
            assert line == f'Content-Disposition: form-data; name="{escaped(name)}"'
            assert data == upload.encode() + b"\r\n"
        else:
            assert line == (f'Content-Disposition: form-data; name="{escaped(name)}"; filename="{escaped(upload[0])}"')
            assert data == upload[1] + b"\r\n"


def escaped(text: str) -> str:
    return text.replace('"', "%22")


@pytest.mark.parametrize("bad", ["\r", "\n", "\x00", "a\r\nX: 1", "\x0b", "\x7f", "\x85", "\ud800"])
def test_names_cannot_break_out_of_their_header(bad: str) -> None:
    for data, uploads in (
        (None, {bad: b""}),
        ({bad: "a"}, {"a": b""}),
        (None, {"a": (bad, b"")}),
        (None, {"a": named(f"a{bad}b")}),
    ):
        with pytest.raises(ValueError, match="cannot contain control characters"):
            make_body(data, uploads)


@pytest.mark.parametrize(
    "value, error",
    [
        (("a", b"", "text/plain\r\nX: 1"), ValueError),
        (("a", b"", "text/plain\u2028"), ValueError),
        (("a", b"", 5), TypeError),
        (("a", b"", ["x/y", "z/z"]), TypeError),
        (("a", b"", None, {"X": "1\n2"}), ValueError),
        (("a", b"", None, {"X Y": "1"}), ValueError),
        (("a", b"", None, {"X": None}), TypeError),
        (("a", b"", None, "X: 1"), TypeError),
        (("a", b"", None, 5), TypeError),
        (("a", b"", None, {"content-disposition": "form-data"}), ValueError),
        (("a", b"", None, {"Content-Length": "0"}), ValueError),
        (("a", b"", None, {"Content-Transfer-Encoding": "binary"}), ValueError),
        (("a", b"", "x/y", {"Content-Type": "x/y"}), ValueError),
        (("a", b"", None, [("Content-Type", "x/y"), ("content-type", "x/y")]), ValueError),
        (("a",), TypeError),
        ((), TypeError),
        (("a", b"", None, {}, 5), TypeError),
        ((b"a", b""), TypeError),
        ((io.BytesIO(), "a"), TypeError),
        (("a", None), TypeError),
        (("a", Path("b")), TypeError),
        (("a", iter([b"b"])), TypeError),
        ([b"a", b"b"], TypeError),
        (None, TypeError),
        (5, TypeError),
    ],
)
def test_what_is_no_file_is_refused(value: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        make_body(files={"field": value})


@pytest.mark.parametrize("uploads", ["ab", b"ab", 5, {"a"}, ["a"], [("a",)], [("a", b"b", "c")], {1: b"a"}, ""])
def test_files_are_a_dictionary_or_pairs(uploads: Any) -> None:
    with pytest.raises(TypeError, match="files are"):
        make_body(files=uploads)


@pytest.mark.parametrize("data", ["a", b"a", "", io.BytesIO(), iter([b"a"]), [b"a"], 5])
def test_beside_files_data_are_fields(data: Any) -> None:
    with pytest.raises(TypeError, match=r"beside files, data is a dict or pairs, not \w+; it can be one of the files"):
        make_body(data, {"a": b""})


def test_a_form_with_one_stream_has_no_length() -> None:
    body = made({"a": "1"}, {"b": b"2", "c": ("c.txt", Reader(b"3", b"4")), "d": b"5"})
    assert (body.length, body.replayable) == (None, False)
    content = b"".join([piece for piece in body.pieces() if isinstance(piece, bytes)])
    boundary = boundary_of(body.content_type or "") or b""
    wanted = [b"1", b"2", b"34", b"5"]
    assert [part.partition(b"\r\n\r\n")[2][:-2] for part in content.split(b"--" + boundary)[1:-1]] == wanted


# -- JSON ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [{"ä": [1, 2.5, None, True]}, [], {}, "", 0, False, "ä"])
def test_json(value: Any) -> None:
    body = made(json=value)
    content = sent(body)
    assert json.loads(content) == value
    assert content == json.dumps(value, ensure_ascii=False).replace(", ", ",").replace(": ", ":").encode()
    assert (body.content_type, body.replayable, body.parts) == ("application/json", True, [content])


@pytest.mark.parametrize(
    "value, error",
    [({"a": object()}, TypeError), (float("nan"), ValueError), ([float("inf")], ValueError), ("\ud800", ValueError)],
)
def test_what_json_cannot_express_is_refused(value: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        make_body(json=value)


def test_a_body_is_made_one_way() -> None:
    for data, uploads in (("a", None), ({}, None), (None, {"a": b""}), ({"a": "b"}, {"a": b""})):
        with pytest.raises(ValueError, match="not of both"):
            make_body(data, uploads, {"a": 1})
    assert sent(made(None, {}, {"a": 1})) == b'{"a":1}'


# -- what it costs, and gives back ---------------------------------------------------------------------------------


def test_a_large_file_takes_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "large"
    path.write_bytes(os.urandom(65536) * 48)
    with path.open("rb") as file:
        tracemalloc.start()
        try:
            body = made({"a": "1"}, {"b": file})
            digest = hashlib.sha256()
            for piece in body.pieces():
                for data in read(piece):
                    digest.update(data)
            assert body.hash("sha256") == digest.hexdigest()
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert (body.length or 0) > path.stat().st_size == 3 * 1024 * 1024
    assert peak < 512 * 1024


def test_bytes_in_memory_are_not_copied() -> None:
    content = bytes(1024 * 1024)
    for body in (made(content), made(io.BytesIO(content)), made(files={"a": content})):
        assert any(piece is content for piece in body.pieces())


def test_a_body_holds_one_descriptor_for_each_file(text_path: Path) -> None:
    before = descriptors()
    with text_path.open("rb") as file, text_path.open("rb") as other:
        body = made(files=[("a", file), ("b", other), ("a", file)])
    assert descriptors() == before + 3
    pieces = [piece for piece in body.pieces() if isinstance(piece, FileSlice)]
    assert descriptors() == before + 3
    body.close()
    assert descriptors() == before + 3  # they are still being sent
    assert [b"".join(read(piece)) for piece in pieces] == [TEXT.encode()] * 3
    assert descriptors() == before
    body.close()


def test_what_fails_gives_its_descriptors_back(text_path: Path) -> None:
    before = descriptors()
    with text_path.open("rb") as file:
        last: Any
        for last in (None, ("a\n", b""), ("a", file, "\n"), iter([])):
            with pytest.raises((TypeError, ValueError)):
                make_body({"a": "1"}, [("a", file), ("b", file), ("c", last)])
    assert descriptors() == before


def test_without_descriptors_it_fails_at_the_call(text_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = descriptors()
    dup = os.dup
    left = [dup]

    def scarce(descriptor: int) -> int:
        if not left:
            raise OSError(24, "Too many open files")
        return left.pop()(descriptor)

    with text_path.open("rb") as file:
        monkeypatch.setattr(os, "dup", scarce)
        with pytest.raises(OSError, match="Too many open files"):
            make_body(files=[("a", file), ("b", file)])
    monkeypatch.undo()
    assert descriptors() == before


def test_a_closed_body_is_not_sent(text_path: Path) -> None:
    with text_path.open("rb") as file:
        body = made({"a": "1"}, {"b": file})
    pieces = body.pieces()
    next(pieces)
    body.close()
    with pytest.raises(RuntimeError, match="closed"):
        next(pieces)
    with pytest.raises(RuntimeError, match="closed"):
        body.pieces()
    with pytest.raises(RuntimeError, match="closed"):
        body.hash("md5")


def test_hashes() -> None:
    body = made("content")
    for name in ("md5", "sha256", "sha512_256"):
        assert body.hash(name) == hashlib.new(name, b"content").hexdigest()
    with pytest.raises(ValueError, match="unsupported hash"):
        body.hash("none")
    assert sent(body) == b"content"
    assert made(iter([b"a"])).hash("md5") is None
