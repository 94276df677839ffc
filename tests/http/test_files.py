"""What send_file answers: the manual ("send_file", "Using HTTPServer Behind a Proxy"), RFC 9110 and RFC 6266."""

from __future__ import annotations

import email.message
import email.parser
import email.policy
import errno
import mimetypes
import os
import re
import socket
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, unquote_to_bytes

import pytest

from pants.http import _files
from pants.http._conditions import entity_tag, http_date
from pants.http._files import (
    Plan,
    disposition,
    guess_type,
    open_file,
    pick_variant,
    plan,
    resolve,
    sendfile_target,
)
from pants.http._refused import Refused
from pants.http.utils import HTTPHeaders

CONTENT = b"0123456789"
MODIFIED = 1_700_000_000


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file.txt"
    path.write_bytes(CONTENT)
    os.utime(path, (MODIFIED, MODIFIED))
    return path


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refusal(function: Any, *args: Any) -> int:
    with pytest.raises(Refused) as caught:
        function(*args)
    return caught.value.status


# --- resolve ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path, resolved",
    [
        ("a.txt", "/srv/files/a.txt"),
        ("b/a.txt", "/srv/files/b/a.txt"),
        ("./b//a.txt", "/srv/files/b/a.txt"),
        ("b/../a.txt", "/srv/files/a.txt"),
        ("../files/a.txt", "/srv/files/a.txt"),
        ("..a.txt", "/srv/files/..a.txt"),
        (".../a.txt", "/srv/files/.../a.txt"),
        ("~/a.txt", "/srv/files/~/a.txt"),
        ("%2e%2e/a.txt", "/srv/files/%2e%2e/a.txt"),
        ("..\\a.txt", "/srv/files/..\\a.txt"),
        ("/srv/files/a.txt", "/srv/files/a.txt"),
        ("//srv/files/a.txt", "/srv/files/a.txt"),
        ("///srv/files/a.txt", "/srv/files/a.txt"),
        ("/srv/other/../files/a.txt", "/srv/files/a.txt"),
        ("\xe4\u20ac\udcff", "/srv/files/\xe4\u20ac\udcff"),
    ],
)
@pytest.mark.parametrize("file_root", ["/srv/files", "/srv/files/", "//srv/files", "/srv/x/../files"])
def test_inside_the_root(path: str, resolved: str, file_root: str) -> None:
    assert resolve(path, file_root) == resolved
    assert resolve(Path(path), file_root) == resolved


@pytest.mark.parametrize(
    "path",
    [
        "..",
        "../a.txt",
        "../files2/a.txt",
        "../filesa.txt",
        "b/../../a.txt",
        "b/../../../../../../etc/passwd",
        "/etc/passwd",
        "//etc/passwd",
        "/srv/files2/a.txt",
        "/srv/files/../a.txt",
        "/srv",
        "/",
        "//",
        # The root itself is a directory, as whatever has a slash at the end.
        "",
        ".",
        "/srv/files",
        "a.txt/",
        "a.txt\0",
        "\0",
        "a\0/../a.txt",
    ],
)
def test_outside_of_the_root(path: str) -> None:
    assert refusal(resolve, path, "/srv/files") == 404


def test_the_whole_file_system_as_the_root() -> None:
    assert resolve("etc/passwd", "/") == resolve("/etc/passwd", "/") == resolve("../etc/passwd", "/") == "/etc/passwd"


def test_without_a_root(root: Path) -> None:
    """Manual: a relative path is relative to the current working directory."""
    assert resolve("a.txt", None) == str(root / "a.txt")
    assert resolve("../a.txt", None) == str(root.parent / "a.txt")
    assert resolve("/etc/../a.txt", None) == "/a.txt"
    assert resolve("//a.txt", None) == "/a.txt"
    assert refusal(resolve, "a.txt\0", None) == 404


def test_a_relative_root(root: Path) -> None:
    assert resolve("a.txt", "files") == str(root / "files" / "a.txt")
    assert refusal(resolve, "../a.txt", "files") == 404


@pytest.mark.parametrize("path", [b"a.txt", 1, None, ["a.txt"]])
def test_what_is_no_path(path: Any) -> None:
    for file_root in (None, "/srv/files"):
        with pytest.raises(TypeError, match="str"):
            resolve(path, file_root)


# --- open_file --------------------------------------------------------------------------------------------------


def test_a_regular_file(file: Path) -> None:
    descriptor, status = open_file(str(file))
    try:
        assert os.read(descriptor, 100) == CONTENT
        assert not os.get_inheritable(descriptor)
        assert (status.st_size, status.st_mtime) == (len(CONTENT), MODIFIED)
    finally:
        os.close(descriptor)


def test_a_link(file: Path) -> None:
    link = file.parent / "link"
    link.symlink_to(file)
    descriptor, status = open_file(str(link))
    os.close(descriptor)
    assert stat.S_ISREG(status.st_mode)


@pytest.fixture
def odd_files(tmp_path: Path) -> Iterator[dict[str, str]]:
    """What is no regular file."""
    paths = {name: str(tmp_path / name) for name in ("missing", "dir", "fifo", "socket", "loop", "dangling")}
    os.mkdir(paths["dir"])
    os.mkfifo(paths["fifo"])
    os.symlink("loop", paths["loop"])
    os.symlink("missing", paths["dangling"])
    paths["long"] = str(tmp_path / ("a" * 5000))
    paths["device"] = "/dev/null"
    paths["nul"] = f"{tmp_path}/a\0b"
    paths["surrogate"] = f"{tmp_path}/\ud800"
    paths["below a file"] = f"{__file__}/a"
    working = os.open(".", os.O_RDONLY)
    os.chdir(tmp_path)  # the name of a socket must be short
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind("socket")
            yield paths
    finally:
        os.fchdir(working)
        os.close(working)


KINDS = ["missing", "dir", "fifo", "socket", "loop", "dangling", "long", "device", "nul", "surrogate", "below a file"]


@pytest.mark.parametrize("kind", KINDS)
def test_no_regular_file(odd_files: dict[str, str], kind: str) -> None:
    """It does not block, and leaves nothing open."""
    before = os.listdir("/dev/fd")
    assert refusal(open_file, odd_files[kind]) == 404
    assert os.listdir("/dev/fd") == before


def test_a_file_that_may_not_be_read(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The superuser may read any."""

    def fail(*_: Any) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "open", fail)
    assert refusal(open_file, str(file)) == 403


@pytest.mark.parametrize("failing", ["open", "fstat"])
def test_a_failure_of_the_system(file: Path, monkeypatch: pytest.MonkeyPatch, failing: str) -> None:
    before = os.listdir("/dev/fd")

    def fail(*_: Any) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(os, failing, fail)
        with pytest.raises(OSError, match="Too many"):
            open_file(str(file))
    assert os.listdir("/dev/fd") == before


# --- sendfile_target --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path, file_root, prefix, target",
    [
        # manual: the example
        ("/srv/files/example.jpg", "/srv/files", "/_static/", "/_static/example.jpg"),
        ("/srv/files/example.jpg", "/srv/files/", "/_static", "/_static/example.jpg"),
        ("/srv/files/a/b.jpg", "/srv/./files", "/_static/", "/_static/a/b.jpg"),
        # manual: the root is stripped
        ("/srv/files/example.jpg", "/srv/files", None, "/example.jpg"),
        ("/srv/files/example.jpg", "/srv/files", "", "/example.jpg"),
        ("/srv/files/example.jpg", "/srv/files", "/srv/files", "/srv/files/example.jpg"),
        ("/srv/files/example.jpg", "/", None, "/srv/files/example.jpg"),
        # nginx, Apache and lighttpd decode it
        ("/srv/files/a b%20?c#d;e&f+g", "/srv/files", None, "/a%20b%2520%3Fc%23d;e&f+g"),
        ("/srv/files/\xe4\u20ac\udcff", "/srv/files", None, "/%C3%A4%E2%82%AC%FF"),
        ("/srv/files/a\r\nSet-Cookie: a=b", "/srv/files", "/_/", "/_/a%0D%0ASet-Cookie:%20a=b"),
        ('/srv/files/a"\\\x7f', "/srv/files", None, "/a%22%5C%7F"),
    ],
)
def test_sendfile_target(path: str, file_root: str, prefix: str | None, target: str) -> None:
    value = sendfile_target(path, file_root, prefix)
    assert value == target
    assert unquote_to_bytes(value).endswith(os.fsencode(path.rpartition("/")[2]))


def test_sendfile_target_below_the_working_directory(root: Path) -> None:
    """Manual: without a root it is the current working directory, as of the time of the call."""
    assert sendfile_target(str(root / "a" / "b.jpg"), None, "/_static/") == "/_static/a/b.jpg"
    assert sendfile_target(str(root / "files" / "b.jpg"), "files", None) == "/b.jpg"
    os.chdir("/")
    assert sendfile_target("/srv/b.jpg", None, None) == "/srv/b.jpg"


def test_sendfile_target_outside(root: Path) -> None:
    with pytest.raises(ValueError, match="set HTTPServer's file_root"):
        sendfile_target("/srv/b.jpg", None, None)
    with pytest.raises(ValueError, match="outside"):
        sendfile_target("/srv/files2/b.jpg", "/srv/files", None)


def test_sendfile_target_that_no_file_can_have() -> None:
    assert refusal(sendfile_target, "/srv/files/\ud800", "/srv/files", None) == 404


# --- disposition ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "filename, value",
    [
        ("a.txt", 'attachment; filename="a.txt"'),
        ("my file; v=1 (2), 'x'.txt", "attachment; filename=\"my file; v=1 (2), 'x'.txt\""),
        ("", "attachment"),
        # RFC 6266 appendix D: what some clients misread is in filename* only
        ('a"b.txt', "attachment; filename=\"a_b.txt\"; filename*=UTF-8''a%22b.txt"),
        ("100%25.txt", "attachment; filename=\"100_25.txt\"; filename*=UTF-8''100%2525.txt"),
        # RFC 6266 §5: the example, but for the blank
        ("\u20ac rates", "attachment; filename=\"_ rates\"; filename*=UTF-8''%e2%82%ac%20rates"),
        ("na\xefve.txt", "attachment; filename=\"na_ve.txt\"; filename*=UTF-8''na%c3%afve.txt"),
        (
            "\U0001f600!#$&+-.^_`|~*'",
            "attachment; filename=\"_!#$&+-.^_`|~*'\"; filename*=UTF-8''%f0%9f%98%80!#$&+-.^_`|~%2a%27",
        ),
        # RFC 6266 §4.3: no directories, no controls
        ("../../etc/passwd", 'attachment; filename=".._.._etc_passwd"'),
        ("C:\\a.txt", 'attachment; filename="C:_a.txt"'),
        ("a\r\nb\0c\x7fd\x85.txt", 'attachment; filename="a__b_c_d_.txt"'),
        ("a\udcff\ud800.txt", 'attachment; filename="a__.txt"'),
    ],
)
def test_disposition(filename: str, value: str) -> None:
    made = disposition(filename)
    assert re.sub("%[0-9A-F]{2}", lambda match: match[0].lower(), made) == value
    assert made.isascii()
    assert made.isprintable()
    extended = made.partition("filename*=UTF-8''")[2]
    assert not extended or unquote(extended, errors="strict") == filename


@pytest.mark.parametrize("filename", [b"a.txt", 1, True])
def test_disposition_of_what_is_no_name(filename: Any) -> None:
    with pytest.raises(TypeError, match="filename is a str"):
        disposition(filename)


# --- guess_type -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, guessed",
    [
        ("example.jpg", "image/jpeg"),
        ("a.HTML", "text/html"),
        ("a.b.css", "text/css"),
        ("a.txt", "text/plain"),
        ("a.webp", "image/webp"),
        ("a.woff2", "font/woff2"),
        # compressed files are what they are
        ("a.tar.gz", "application/gzip"),
        ("a.txt.GZ", "application/gzip"),
        ("a.tgz", "application/gzip"),
        ("a.svgz", "application/gzip"),
        ("a.tar.bz2", "application/x-bzip2"),
        ("a.tar.xz", "application/x-xz"),
        ("a.css.br", "application/x-brotli"),
        ("a.css.zst", "application/zstd"),
        # nothing is known
        ("README", None),
        ("a.", None),
        ("a.no-such-type", None),
        ("a.html/README", None),
        ("html", None),
        ("a.\udcff\r\n:", None),
    ],
)
def test_guess_type(name: str, guessed: str | None) -> None:
    assert guess_type(f"/srv/files/{name}") == guessed
    assert guess_type(name) == guessed


def test_each_type_is_looked_up_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def look_up(url: str, strict: bool = True) -> tuple[str | None, str | None]:
        asked.append(url)
        return None, "a-new-one"

    monkeypatch.setattr(mimetypes, "guess_type", look_up)
    for _ in range(3):
        assert guess_type("/a.a-new-one") == guess_type("/b.a-new-one") == "application/octet-stream"
    assert len(asked) == 1


# --- pick_variant -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "neighbours, accept_encoding, coding",
    [
        (".br .gz .zst", "gzip, deflate, br, zstd", "br"),
        (".gz .zst", "gzip, deflate, br, zstd", "zstd"),
        (".gz", "gzip, deflate, br, zstd", "gzip"),
        ("", "gzip, deflate, br, zstd", None),
        (".br .gz", "br;q=0.5, gzip", "gzip"),
        (".br", "br;q=0.5, gzip", "br"),
        (".br", "br;q=0.5, gzip, identity;q=0.8", None),
        (".br .gz", "br;q=0, *", "gzip"),
        (".br .gz .zst", None, None),
        (".br .gz .zst", "deflate", None),
        (".br .gz .zst", "identity", None),
    ],
)
def test_pick_variant(file: Path, neighbours: str, accept_encoding: str | None, coding: str | None) -> None:
    for suffix in neighbours.split():
        Path(f"{file}{suffix}").write_bytes(b"")
    suffix = {None: "", "br": ".br", "zstd": ".zst", "gzip": ".gz"}[coding]
    assert pick_variant(str(file), accept_encoding) == (f"{file}{suffix}", coding)


def test_a_variant_that_is_older(file: Path) -> None:
    neighbour = Path(f"{file}.gz")
    neighbour.write_bytes(b"")
    for ns, coding in ((MODIFIED * 10**9 - 1, None), (MODIFIED * 10**9, "gzip"), (MODIFIED * 10**9 + 1, "gzip")):
        os.utime(neighbour, ns=(ns, ns))
        assert pick_variant(str(file), "gzip")[1] == coding


def test_a_variant_that_is_no_file(file: Path) -> None:
    Path(f"{file}.gz").mkdir()
    assert pick_variant(str(file), "gzip") == (str(file), None)


@pytest.mark.parametrize("kind", ["missing", "dir", "nul", "surrogate", "fifo"])
def test_a_variant_of_what_is_no_file(odd_files: dict[str, str], kind: str) -> None:
    """The neighbour of a directory is not what was asked for."""
    path = odd_files[kind]
    if kind in ("missing", "dir", "fifo"):
        Path(f"{path}.gz").write_bytes(b"")
    assert pick_variant(path, "gzip") == (path, None)


# --- plan -------------------------------------------------------------------------------------------------------


def planned(path: Path, headers: Any = (), method: str = "GET", **kwargs: Any) -> tuple[Plan, HTTPHeaders, bytes]:
    """The plan, its fields, and the content that is sent."""
    made = plan(method, HTTPHeaders(headers), path.stat(), **{"content_type": "text/plain", **kwargs})
    content = path.read_bytes()
    sent = b""
    for segment in made.segments:
        if not isinstance(segment, bytes):
            assert 0 <= segment[0] < sum(segment) <= len(content)
            segment = content[segment[0] : sum(segment)]
        sent += segment
    if method != "HEAD":
        assert len(sent) == (made.length or 0)
    return made, HTTPHeaders(made.fields), sent


def tag(path: Path) -> str:
    return entity_tag(path.stat())


def test_the_whole_file(file: Path) -> None:
    """RFC 9110 §8.3 Content-Type, §8.8.2 Last-Modified, §8.8.3 ETag, §14.3 Accept-Ranges; no more than that."""
    made, fields, sent = planned(file)
    assert (made.code, made.length, sent) == (200, 10, CONTENT)
    assert dict(fields) == {
        "Content-Type": "text/plain",
        "Last-Modified": "Tue, 14 Nov 2023 22:13:20 GMT",
        "Etag": tag(file),
        "Accept-Ranges": "bytes",
    }
    assert len(made.fields) == 4


@pytest.mark.parametrize("headers", [{}, {"Range": "bytes=0-1"}, {"If-None-Match": '"x"'}, {"If-Match": "*"}])
def test_head(file: Path, headers: dict[str, str]) -> None:
    """RFC 9110 §9.3.2: as with GET, but for the content; §14.2: Range is for GET."""
    made, _, _ = planned(file, headers, "HEAD")
    assert made == planned(file)[0]._replace(segments=[])


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
@pytest.mark.parametrize("name, value", [("Range", "bytes=0-1"), ("If-None-Match", "*"), ("If-Match", '"x"')])
def test_other_methods(file: Path, method: str, name: str, value: str) -> None:
    """RFC 9110 §14.2, and §9.3.4: the file is not what the resource is, so that its validators are not the resource's.

    Nor is it of use to evaluate conditions after the action (§13.2.1).
    """
    made, fields, sent = planned(file, {name: value}, method)
    assert (made.code, made.length, sent) == (200, 10, CONTENT)
    assert dict(fields) == {"Content-Type": "text/plain"}


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_an_empty_file(file: Path, method: str) -> None:
    file.write_bytes(b"")
    made, fields, _ = planned(file, method=method)
    assert (made.code, made.length, made.segments) == (200, 0, [])
    assert "ETag" in fields


def test_a_type_that_is_not_known(file: Path) -> None:
    """RFC 9110 §8.3."""
    assert "Content-Type" not in planned(file, content_type=None)[1]


@pytest.mark.parametrize("modified", [4_000_000_000, 9_000_000_000])
def test_a_file_from_the_future(file: Path, modified: int) -> None:
    """RFC 9110 §8.8.2.1: Last-Modified is not later than Date."""
    os.utime(file, (modified, modified))
    before = http_date(time.time())
    _, fields, _ = planned(file)
    assert fields["Last-Modified"] in (before, http_date(time.time()))
    assert planned(file, {"If-Modified-Since": http_date(time.time() - 60)})[0].code == 200
    assert planned(file, {"If-Unmodified-Since": http_date(time.time() - 60)})[0].code == 412


def test_a_file_from_before_the_epoch(file: Path) -> None:
    os.utime(file, (-(10**9), -(10**9)))
    _, fields, _ = planned(file)
    assert fields["Last-Modified"] == "Thu, 01 Jan 1970 00:00:00 GMT"
    assert planned(file, {"If-None-Match": fields["ETag"]})[0].code == 304


# Conditions: what they mean is tested in test_conditions.py.


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("by_date", [False, True])
def test_not_modified(file: Path, method: str, by_date: bool) -> None:
    """RFC 9110 §15.4.5: the entity tag and Vary, nothing about the content, and no length."""
    condition = {"If-Modified-Since": http_date(MODIFIED)} if by_date else {"If-None-Match": tag(file)}
    made, fields, _ = planned(file, condition, method, varies=True, filename="a.txt")
    assert (made.code, made.length, made.segments) == (304, None, [])
    assert dict(fields) == {"Etag": tag(file), "Vary": "Accept-Encoding"}


CALLERS = {
    "Cache-Control": "max-age=60",
    "Expires": "Sun, 06 Nov 1994 08:49:37 GMT",
    "Content-Location": "/b",
    "content-language": "de",
    "content-encoding": "x",
    "content-disposition": "inline",
    "content-type": "a/b",
    "X-Frame-Options": "DENY",
    "Vary": "Cookie",
    "Set-Cookie": "a=b",
}


def test_not_modified_with_the_callers_fields(file: Path) -> None:
    """RFC 9110 §15.4.5: those that would be sent with 200, as far as caches need them."""
    _, fields, _ = planned(file, {"If-None-Match": tag(file)}, extra=CALLERS)
    assert dict(fields) == {
        "Etag": tag(file),
        "Cache-Control": "max-age=60",
        "Expires": "Sun, 06 Nov 1994 08:49:37 GMT",
        "Content-Location": "/b",
        "X-Frame-Options": "DENY",
        "Vary": "Cookie",
        "Set-Cookie": "a=b",
    }


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("condition", [("If-Match", '"x"'), ("If-Unmodified-Since", http_date(MODIFIED - 1))])
def test_a_condition_that_failed(file: Path, method: str, condition: tuple[str, str]) -> None:
    """RFC 9110 §15.5.13. It is not for caches, and not about the file."""
    made, fields, _ = planned(file, [condition, ("Range", "bytes=0-1")], method, extra=CALLERS)
    assert (made.code, made.length, made.segments) == (412, 0, [])
    assert dict(fields) == {
        "Accept-Ranges": "bytes",
        "X-Frame-Options": "DENY",
        "Vary": "Cookie",
        "Set-Cookie": "a=b",
    }


# Ranges: what they mean is tested in test_ranges.py.


@pytest.mark.parametrize(
    "value, said, content",
    [
        ("bytes=0-4", "bytes 0-4/10", b"01234"),
        ("bytes=-3", "bytes 7-9/10", b"789"),
        ("bytes=5-99", "bytes 5-9/10", b"56789"),
        ("bytes=0-", "bytes 0-9/10", CONTENT),
        ("bytes=3-3", "bytes 3-3/10", b"3"),
        # RFC 9110 §15.3.7.2: one of several is left
        ("bytes=3-3,10-", "bytes 3-3/10", b"3"),
    ],
)
def test_one_range(file: Path, value: str, said: str, content: bytes) -> None:
    """RFC 9110 §15.3.7.1: the fields are those of 200 besides."""
    made, fields, sent = planned(file, {"Range": value}, filename="a.txt", extra={"Cache-Control": "no-cache"})
    assert (made.code, made.length, sent) == (206, len(content), content)
    whole = planned(file, filename="a.txt", extra={"Cache-Control": "no-cache"})[1]
    assert dict(fields) == {**whole, "Content-Range": said}


@pytest.mark.parametrize("value", ["bytes=10-", "bytes=-0", "bytes=99-,10-"])
def test_no_range(file: Path, value: str) -> None:
    """RFC 9110 §15.5.17."""
    made, fields, _ = planned(file, {"Range": value}, varies=True, extra={"Cache-Control": "max-age=60"})
    assert (made.code, made.length, made.segments) == (416, 0, [])
    assert dict(fields) == {"Content-Range": "bytes */10", "Accept-Ranges": "bytes", "Vary": "Accept-Encoding"}


@pytest.mark.parametrize("value", ["bytes=1-0", "bytes=a", "items=0-1", "bytes=0-,0-", "bytes=" + "0-0," * 100])
def test_a_range_that_is_ignored(file: Path, value: str) -> None:
    """RFC 9110 §14.2."""
    assert planned(file, {"Range": value}) == planned(file)


@pytest.mark.parametrize("content_type", ["text/html", None])
def test_several_ranges(file: Path, content_type: str | None) -> None:
    """RFC 9110 §14.6, §15.3.7.2: each part says its range and its type, the answer's head says neither."""
    made, fields, sent = planned(
        file, {"Range": "bytes=7-8, 0-1, 20-, -1"}, content_type=content_type, filename="a.txt"
    )
    assert made.code == 206
    assert fields["Content-Type"].startswith("multipart/byteranges; boundary=")
    assert len(fields.get_list("Content-Type")) == 1
    assert "Content-Range" not in fields
    assert (fields["ETag"], fields["Accept-Ranges"]) == (tag(file), "bytes")
    assert fields["Content-Disposition"] == 'attachment; filename="a.txt"'
    head = f"Content-Type: {fields['Content-Type']}\r\n\r\n".encode()
    message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + sent)
    parts = message.get_payload()
    assert not message.defects
    found = []
    for part in parts:
        assert isinstance(part, email.message.Message)
        assert part.get("Content-Type") == content_type
        assert set(part.keys()) <= {"Content-Type", "Content-Range"}
        found.append((part["Content-Range"], part.get_payload()))
    assert found == [("bytes 7-8/10", "78"), ("bytes 0-1/10", "01"), ("bytes 9-9/10", "9")]
    assert message.preamble is None
    assert not message.epilogue


def test_the_parts_as_they_are_sent(file: Path) -> None:
    """RFC 2046 §5.1.1, by way of RFC 9110 §14.6."""
    _, fields, sent = planned(file, {"Range": "bytes=0-1,-1"})
    boundary = fields["Content-Type"].partition("boundary=")[2]
    assert sent.decode() == (
        f"--{boundary}\r\nContent-Type: text/plain\r\nContent-Range: bytes 0-1/10\r\n\r\n01\r\n"
        f"--{boundary}\r\nContent-Type: text/plain\r\nContent-Range: bytes 9-9/10\r\n\r\n9\r\n"
        f"--{boundary}--\r\n"
    )


def test_boundaries_cannot_be_guessed(file: Path) -> None:
    """RFC 2046 §5.1.1: it must not appear in the content, and has 70 characters at most."""
    types = [planned(file, {"Range": "bytes=0-0,2-2"})[1]["Content-Type"] for _ in range(100)]
    assert len(set(types)) == 100
    assert all(re.fullmatch(r"multipart/byteranges; boundary=[0-9a-f]{32,70}", value) for value in types)


@pytest.mark.parametrize("value", ["text/plain\r\nX: y", "text/\u20ac", "a\n", "a\0"])
def test_a_type_that_cannot_stand_in_a_part(file: Path, value: str) -> None:
    with pytest.raises(ValueError, match="Content-Type"):
        planned(file, {"Range": "bytes=0-0,2-2"}, extra={"content-type": value})


def test_if_range(file: Path) -> None:
    """RFC 9110 §13.1.5, §13.2.2 step 5."""
    for value in (tag(file), http_date(MODIFIED)):
        made, fields, sent = planned(file, {"Range": "bytes=1-2", "If-Range": value})
        assert (made.code, sent) == (206, b"12")
        assert fields["ETag"] == tag(file)
    for value in ('"x"', f"W/{tag(file)}", http_date(MODIFIED - 1), http_date(MODIFIED + 1)):
        assert planned(file, {"Range": "bytes=1-2", "If-Range": value}) == planned(file)
        assert planned(file, {"Range": "bytes=99-", "If-Range": value}) == planned(file)
    assert planned(file, {"If-Range": tag(file)}) == planned(file)


def test_conditions_come_before_ranges(file: Path) -> None:
    """RFC 9110 §13.2.2."""
    for value in ("bytes=0-1", "bytes=99-"):
        assert planned(file, {"Range": value, "If-None-Match": tag(file)})[0].code == 304
        assert planned(file, {"Range": value, "If-Match": '"x"'})[0].code == 412
    assert planned(file, {"Range": "bytes=0-1", "If-Match": tag(file)})[0].code == 206


def test_an_empty_file_in_parts(file: Path) -> None:
    file.write_bytes(b"")
    made, fields, _ = planned(file, {"Range": "bytes=0-"})
    assert (made.code, fields["Content-Range"]) == (416, "bytes */0")
    assert planned(file, {"Range": "bytes=-5"})[0].code == 200


# The caller's fields


@pytest.mark.parametrize("as_pairs", [False, True])
def test_the_callers_fields_override(file: Path, as_pairs: bool) -> None:
    """Manual: headers override the type and the disposition."""
    extra = {
        "content-type": "a/b",
        "CONTENT-DISPOSITION": "inline",
        "etag": '"mine"',
        "last-modified": http_date(5),
        "accept-ranges": "none",
        "cache-control": "no-store",
    }
    made, fields, _ = planned(file, filename="a.txt", extra=iter(extra.items()) if as_pairs else extra)
    assert sorted(name.lower() for name, _ in made.fields) == sorted(name.lower() for name in extra)
    assert all(fields[name] == value for name, value in extra.items())


def test_vary_is_added_to(file: Path) -> None:
    """RFC 9110 §12.5.5."""
    assert planned(file, varies=True)[1]["Vary"] == "Accept-Encoding"
    assert planned(file, varies=True, extra={"vary": "Cookie"})[1].get_list("Vary") == ["Accept-Encoding", "Cookie"]
    assert planned(file, extra={"vary": "Cookie"})[1].get_list("Vary") == ["Cookie"]


def test_a_field_of_the_caller_twice(file: Path) -> None:
    pairs = [("Link", "</a>"), ("link", "</b>")]
    assert planned(file, extra=pairs)[1].get_list("Link") == ["</a>", "</b>"]


def test_the_callers_validators(file: Path) -> None:
    """RFC 9110 §13.2.2: conditions are about what is sent."""
    extra = {"etag": '"mine"', "last-modified": http_date(5)}
    for name, value, code in (
        ("If-None-Match", '"mine"', 304),
        ("If-None-Match", tag(file), 200),
        ("If-Match", '"mine"', 200),
        ("If-Match", tag(file), 412),
        ("If-Modified-Since", http_date(5), 304),
        ("If-Modified-Since", http_date(4), 200),
        ("If-Unmodified-Since", http_date(5), 200),
        ("If-Unmodified-Since", http_date(4), 412),
    ):
        assert planned(file, {name: value}, extra=extra)[0].code == code
    for value, code in (('"mine"', 206), (tag(file), 200), (http_date(5), 206), (http_date(MODIFIED), 200)):
        assert planned(file, {"Range": "bytes=0-1", "If-Range": value}, extra=extra)[0].code == code
    weak = {"ETag": 'W/"mine"', "Last-Modified": "yesterday"}
    assert planned(file, {"If-None-Match": '"mine"'}, extra=weak)[0].code == 304
    assert planned(file, {"If-Modified-Since": http_date(MODIFIED)}, extra=weak)[0].code == 200
    assert planned(file, {"Range": "bytes=0-1", "If-Range": 'W/"mine"'}, extra=weak)[0].code == 200


@pytest.mark.parametrize("value, code", [("none", 200), ("None", 200), ("Bytes", 206)])
def test_accept_ranges_of_the_caller(file: Path, value: str, code: int) -> None:
    """RFC 9110 §14.3."""
    assert planned(file, {"Range": "bytes=0-1"}, extra={"Accept-Ranges": value})[0].code == code


# Compressed neighbours


def test_a_variant(file: Path) -> None:
    """RFC 9110 §8.4 Content-Encoding, §8.8.3.3 an entity tag of its own, §12.5.5 Vary; the type is the original's."""
    neighbour = Path(f"{file}.gz")
    neighbour.write_bytes(b"compressed")
    os.utime(neighbour, (MODIFIED, MODIFIED))
    made, fields, sent = planned(neighbour, coding="gzip", varies=True)
    assert (made.code, sent) == (200, b"compressed")
    assert (fields["Content-Encoding"], fields["Vary"]) == ("gzip", "Accept-Encoding")
    assert fields["Content-Type"] == "text/plain"
    assert fields["ETag"] != tag(file)  # though time and size are the same

    made, found, _ = planned(neighbour, {"If-None-Match": fields["ETag"]}, coding="gzip", varies=True)
    assert (made.code, dict(found)) == (304, {"Etag": fields["ETag"], "Vary": "Accept-Encoding"})
    made, found, sent = planned(neighbour, {"Range": "bytes=0-1"}, coding="gzip", varies=True)
    assert (made.code, sent, found["Content-Encoding"]) == (206, b"co", "gzip")


def test_fields_that_are_made_here_are_clean(file: Path) -> None:
    """RFC 9110 §5.5."""
    for headers in ({}, {"Range": "bytes=0-1"}, {"Range": "bytes=0-0,2-2"}, {"Range": "bytes=99-"}):
        for name, value in planned(file, headers, filename='a\r\nb"\u20ac', coding="br", varies=True)[0].fields:
            assert re.fullmatch(r"[A-Za-z-]+", name)
            assert re.fullmatch(r"[\x20-\x7e]+", value)


def test_the_suffixes_are_of_codings() -> None:
    """RFC 9110 §8.4.1, RFC 7932, RFC 8878: their registered names."""
    assert list(_files._SUFFIXES) == ["br", "zstd", "gzip"]
