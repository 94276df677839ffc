"""send_file through the server: the manual by the sentence, RFC 9110 §13 and §14, and files that do not keep still.

What is decided about a file has a file of tests of its own, `test_files`.
"""

from __future__ import annotations

import contextlib
import email.parser
import email.policy
import errno
import gzip
import http.client
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pants import Engine
from pants.http import HTTPHeaders, HTTPRequest, HTTPServer, Limits, _files
from pants.http._conditions import http_date
from pants.testing import run_until
from tests.http.peers_support import DEADLINE, Certificate, in_thread, serving
from tests.http.support import Answer, get, post, site, take_apart

SMALL = b"0123456789"
LARGE = b"".join(number.to_bytes(4, "big") for number in range(75_000))  # beyond what is read into memory at once
MODIFIED = 1_700_000_000
BEFORE, THEN, AFTER = http_date(MODIFIED - 1), http_date(MODIFIED), http_date(MODIFIED + 1)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with a small file, a large and an empty one."""
    for name, content in {"small.txt": SMALL, "large.bin": LARGE, "empty.txt": b""}.items():
        (tmp_path / name).write_bytes(content)
        os.utime(tmp_path / name, (MODIFIED, MODIFIED))
    return tmp_path


def sender(*args: Any, **kwargs: Any) -> Callable[[HTTPRequest], None]:
    """A handler that sends a file: the one that is named, or that which was asked for."""

    def handler(request: HTTPRequest) -> None:
        request.send_file(*(args or (request.path[1:],)), **kwargs)

    return handler


def ask(root: Path, *fields: bytes, path: str = "small.txt", method: bytes = b"GET", **kwargs: Any) -> Answer:
    """The answer to a request for a file."""
    with site(sender(path, **kwargs), file_root=root) as web:
        [answer] = web.ask(get(*fields, line=method + b" / HTTP/1.1"), method.decode())
    return answer


def open_descriptors() -> set[str]:
    return set(os.listdir("/dev/fd"))


def settle(server: HTTPServer) -> None:
    """Wait until nothing is left of the connections."""
    run_until(lambda: not server.channels and not Engine.instance().lingering, DEADLINE)


# --- The manual, sentence by sentence ---------------------------------------------------------------------------


@pytest.mark.parametrize("name, content", [("small.txt", SMALL), ("large.bin", LARGE), ("empty.txt", b"")])
def test_send_a_file_to_the_client(root: Path, name: str, content: bytes) -> None:
    """Manual: "given the path to that file"; relative to the root, or absolute."""
    for path in (name, root / name, str(root / name), f"./x/../{name}"):
        with site(sender(path), file_root=root) as web:
            [answer] = web.ask(get())
            assert (answer.status, answer.content) == (200, content)
            assert answer.headers["Content-Length"] == str(len(content))
            assert answer.headers["Transfer-Encoding"] is None
            assert (web.requests[0].code, web.requests[0].sent_bytes) == (200, len(content))


def test_a_relative_path_without_a_root(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Manual: "the path will be assumed relative to the current working directory"; as of the call."""
    (root / "below").mkdir()
    (root / "below" / "small.txt").write_bytes(b"another")
    with site(sender("small.txt")) as web:
        monkeypatch.chdir(root)
        assert web.ask(get())[0].content == SMALL
        monkeypatch.chdir(root / "below")
        assert web.ask(get())[0].content == b"another"


@pytest.mark.parametrize("path", ["../secret", "/etc/passwd", "below/../../secret", "below/../../root2/secret"])
def test_nothing_outside_of_the_root_is_sent(tmp_path: Path, path: str) -> None:
    for folder in ("root", "root/below", "root2"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "secret").write_bytes(b"secret")
    (tmp_path / "secret").write_bytes(b"secret")
    assert ask(tmp_path / "root", path=path).status == 404


@pytest.mark.parametrize(
    "filename, disposition",
    [
        (None, None),
        ("report.txt", 'attachment; filename="report.txt"'),
        ("\u00e4 %.txt", "attachment; filename=\"_ _.txt\"; filename*=UTF-8''%C3%A4%20%25.txt"),
        ('a\r\nX: "b', "attachment; filename=\"a__X: _b\"; filename*=UTF-8''a__X%3A%20%22b"),
    ],
)
def test_filename(root: Path, filename: str | None, disposition: str | None) -> None:
    """Manual: "as a download with the given filename as the default name to save it with" (RFC 6266)."""
    answer = ask(root, filename=filename)
    assert answer.headers["Content-Disposition"] == disposition
    assert answer.headers["X"] is None
    assert answer.content == SMALL


def test_guess_mime(root: Path) -> None:
    """Manual: "attempt to set the Content-Type header based on the file extension"."""
    (root / "no_extension").write_bytes(SMALL)
    assert ask(root).headers["Content-Type"] == "text/plain"
    assert ask(root, guess_mime=False).headers["Content-Type"] is None
    assert ask(root, path="no_extension").headers["Content-Type"] is None


def test_the_callers_headers_override(root: Path) -> None:
    """Manual: "If you set a Content-Type header with the headers parameter, the mime type will not be used, even if
    guess_mime is True. The headers will also override any Content-Disposition header"."""
    headers = {"content-type": "text/x-test; charset=utf-8", "CONTENT-DISPOSITION": "inline", "X-Other": "a"}
    for kwargs in ({}, {"guess_mime": True, "filename": "b.txt"}, {"guess_mime": False}):
        answer = ask(root, headers=headers, **kwargs)
        assert answer.headers.get_all("Content-Type") == ["text/x-test; charset=utf-8"]
        assert answer.headers.get_all("Content-Disposition") == ["inline"]
        assert answer.headers["X-Other"] == "a"
        assert answer.content == SMALL


@pytest.mark.parametrize("name", ["small.txt", "large.bin", "empty.txt"])
def test_head(root: Path, name: str) -> None:
    """Manual: "if the client had made a HEAD request, the contents of the file will not be transferred"; RFC 9110
    §9.3.2: but the fields are those of GET."""
    whole, head = ask(root, path=name, filename="a"), ask(root, path=name, filename="a", method=b"HEAD")
    assert (head.status, head.content) == (200, b"")
    assert [item for item in head.headers.items() if item[0] != "Date"] == [
        item for item in whole.headers.items() if item[0] != "Date"
    ]


def test_the_request_is_finished_by_it(root: Path) -> None:
    """Manual: "The request is finished automatically by this method"."""
    raised = []

    def handler(request: HTTPRequest) -> None:
        request.send_file("small.txt")
        assert request.finished
        for again in (lambda: request.send_file("small.txt"), lambda: request.send_response("")):
            with pytest.raises(RuntimeError, match="finished"):
                again()
            raised.append(request)
        request.finish()

    with site(handler, file_root=root) as web:
        assert [answer.content for answer in web.ask(get() + get())] == [SMALL] * 2
    assert len(raised) == 4


def test_after_the_handler_has_returned(root: Path) -> None:
    """Manual: "It is not required to finish responding to a request within the request handler"."""
    with site(
        lambda request: request.connection.engine.defer(5, request.send_file, "large.bin"), file_root=root
    ) as web:
        peer = web.connect()
        peer.send(get() + get())
        web.engine.advance(10)
        assert [answer.content for answer in take_apart(peer.received)] == [LARGE, LARGE]


def test_cookies_go_with_it(root: Path) -> None:
    """Manual: "send_cookies is usually called automatically"."""

    def handler(request: HTTPRequest) -> None:
        request.cookies_out["a"] = "b"
        request.send_file(request.path[1:])

    with site(handler, file_root=root) as web:
        for path in (b"/small.txt", b"/large.bin", b"/none"):
            [answer] = web.ask(get(line=b"GET %b HTTP/1.1" % path))
            assert answer.headers["Set-Cookie"] == "a=b"


@pytest.mark.parametrize(
    "error, args, kwargs",
    [
        (TypeError, (b"small.txt",), {}),
        (TypeError, (None,), {}),
        (TypeError, ("small.txt", 1), {}),
        (ValueError, ("small.txt",), {"headers": {"X": "a\r\nb"}}),
        (ValueError, ("small.txt",), {"headers": {"X Y": "a"}}),
        (ValueError, ("small.txt",), {"headers": {"Content-Length": "3"}}),
        (ValueError, ("small.txt",), {"headers": {"transfer-encoding": "chunked"}}),
        (ValueError, ("small.txt",), {"headers": {"Connection": "close"}}),
    ],
)
def test_what_is_wrong_raises_at_the_call(root: Path, error: type[Exception], args: Any, kwargs: Any) -> None:
    """And the request can still be answered; nothing stays open."""
    before = open_descriptors()

    def handler(request: HTTPRequest) -> None:
        with pytest.raises(error):
            request.send_file(*args, **kwargs)
        request.send_response("ok")

    with site(handler, file_root=root) as web:
        assert web.ask(get())[0].content == b"ok"
    assert open_descriptors() == before


def test_an_answer_that_has_begun(root: Path) -> None:
    def handler(request: HTTPRequest) -> None:
        request.send_status(200)
        with pytest.raises(RuntimeError, match="in part"):
            request.send_file("small.txt")
        request.finish()

    with site(handler, file_root=root) as web:
        assert web.ask(get())[0].content == b""


# --- X-Sendfile -------------------------------------------------------------------------------------------------


def test_the_example_of_the_manual() -> None:
    """Manual, "Using HTTPServer Behind a Proxy": "The above code would result in an HTTP response similar to"."""
    with site(
        lambda request: request.send_file("/srv/files/example.jpg"),
        sendfile=True,
        sendfile_prefix="/_static/",
        file_root="/srv/files",
    ) as web:
        peer = web.connect()
        peer.send(get())
    head, _, content = peer.received.decode().partition("\r\n\r\n")
    status, *fields = head.split("\r\n")
    assert status == "HTTP/1.1 200 OK"
    assert {
        "Content-Type: image/jpeg",
        "Content-Length: 0",
        "X-Sendfile: /_static/example.jpg",
    } == {field for field in fields if not field.startswith(("Date: ", "Server: "))}
    assert content == ""


@pytest.mark.parametrize(
    "sendfile, prefix, path, name, value",
    [
        (True, None, "a/b.txt", "X-Sendfile", "/a/b.txt"),
        (True, "/p", "a.txt", "X-Sendfile", "/p/a.txt"),
        ("X-Accel-Redirect", "/p/", "a.txt", "X-Accel-Redirect", "/p/a.txt"),
        ("X-LIGHTTPD-send-file", "/p/", "a b%\u00e4.txt", "X-LIGHTTPD-send-file", "/p/a%20b%25%C3%A4.txt"),
        ("X-Accel-Redirect", "/p/", "a\r\nX: b.txt", "X-Accel-Redirect", "/p/a%0D%0AX:%20b.txt"),
    ],
)
def test_the_header_can_have_another_name(
    root: Path, sendfile: bool | str, prefix: str | None, path: str, name: str, value: str
) -> None:
    """Manual: "set it to a string to have Pants use a string other than X-Sendfile"; "set a prefix for the path"."""
    with site(sender(path), sendfile=sendfile, sendfile_prefix=prefix, file_root=root) as web:
        for method in (b"GET", b"HEAD", b"POST"):
            [answer] = web.ask(get(line=method + b" / HTTP/1.1"), method.decode())
            assert (answer.status, answer.content, answer.headers[name]) == (200, b"", value)
            assert answer.headers["X"] is None
            # The proxy knows better than the server, which does not look.
            assert {"ETag", "Last-Modified", "Accept-Ranges"}.isdisjoint(answer.headers)


def test_x_sendfile_below_the_working_directory(root: Path, monkeypatch: pytest.MonkeyPatch, expect_log: Any) -> None:
    """Manual: "If file_root is not set, the current working directory (as of the time send_file() is called)"."""
    monkeypatch.chdir(root)
    expect_log("outside of .* set HTTPServer's file_root")
    with site(sender(), sendfile=True) as web:
        assert web.ask(get(line=b"GET /a.txt HTTP/1.1"))[0].headers["X-Sendfile"] == "/a.txt"
        assert web.ask(get(line=b"GET /../a.txt HTTP/1.1"))[0].status == 500


def test_x_sendfile_with_the_callers_headers(root: Path) -> None:
    with site(sender("a.txt", "b.txt", headers={"Content-Type": "text/x", "X-Other": "a"}), sendfile=True,
              file_root=root) as web:  # fmt: skip
        [answer] = web.ask(get(b"Range: bytes=0-1"))
    assert answer.status == 200
    assert answer.headers.get_all("Content-Type") == ["text/x"]
    assert answer.headers["Content-Disposition"] == 'attachment; filename="b.txt"'
    assert answer.headers["X-Other"] == "a"


def test_x_sendfile_outside_of_the_root(root: Path) -> None:
    with site(sender("/etc/passwd"), sendfile=True, file_root=root) as web:
        [answer] = web.ask(get())
    assert (answer.status, answer.headers["X-Sendfile"]) == (404, None)


# --- Conditions (RFC 9110 §13) ----------------------------------------------------------------------------------

CONDITIONS: list[tuple[list[str], int]] = [
    # §13.1.2, by weak comparison
    (["If-None-Match: {tag}"], 304),
    (["If-None-Match: W/{tag}"], 304),
    (["If-None-Match: *"], 304),
    (['If-None-Match: "a", {tag}, "b"'], 304),
    (['If-None-Match: "a"', "If-None-Match: {tag}"], 304),
    (['If-None-Match: "a"'], 200),
    # §13.1.3
    (["If-Modified-Since: {then}"], 304),
    (["If-Modified-Since: {after}"], 304),
    (["If-Modified-Since: {before}"], 200),
    (["If-Modified-Since: yesterday"], 200),
    # It is ignored beside If-None-Match.
    (['If-None-Match: "a"', "If-Modified-Since: {after}"], 200),
    (["If-None-Match: {tag}", "If-Modified-Since: {before}"], 304),
    # §13.1.1, by strong comparison
    (["If-Match: {tag}"], 200),
    (["If-Match: *"], 200),
    (['If-Match: "a", {tag}'], 200),
    (["If-Match: W/{tag}"], 412),
    (['If-Match: "a"'], 412),
    # §13.1.4
    (["If-Unmodified-Since: {then}"], 200),
    (["If-Unmodified-Since: {after}"], 200),
    (["If-Unmodified-Since: {before}"], 412),
    (["If-Unmodified-Since: yesterday"], 200),
    # It is ignored beside If-Match.
    (["If-Match: {tag}", "If-Unmodified-Since: {before}"], 200),
    (['If-Match: "a"', "If-Unmodified-Since: {after}"], 412),
    # §13.2.2: the order of precedence
    (["If-Match: {tag}", "If-None-Match: {tag}"], 304),
    (['If-Match: "a"', "If-None-Match: {tag}"], 412),
    (["If-Unmodified-Since: {before}", "If-Modified-Since: {after}"], 412),
]


@pytest.mark.parametrize("name", ["small.txt", "large.bin", "empty.txt"])
def test_conditions(root: Path, name: str) -> None:
    content = (root / name).read_bytes()
    with site(sender(), file_root=root) as web:
        line = f"GET /{name} HTTP/1.1".encode()
        [whole] = web.ask(get(line=line))
        tag = whole.headers["ETag"]
        assert whole.headers["Last-Modified"] == THEN
        for templates, status in CONDITIONS:
            fields = [text.format(tag=tag, before=BEFORE, then=THEN, after=AFTER).encode() for text in templates]
            answers = web.ask(get(*fields, line=line) + get(line=line))
            assert [answer.status for answer in answers] == [status, 200], templates
            assert answers[0].content == (content if status == 200 else b""), templates
            assert answers[1].content == content
            [head] = web.ask(get(*fields, line=line.replace(b"GET", b"HEAD")), "HEAD")
            assert head.status == status, templates
            if status == 304:  # §15.4.5
                assert answers[0].headers["ETag"] == tag
                assert answers[0].headers["Content-Length"] in (None, str(len(content)))
                assert answers[0].headers["Content-Type"] is None


def test_the_entity_tag_changes_with_the_file(root: Path) -> None:
    """RFC 9110 §8.8.3: even if it has the same length, and the same date (§8.8.2.2)."""
    tags = set()
    for content, when in ((b"abc", 1), (b"abcd", 1), (b"abce", 1_000), (b"abcf", 2_000_000_000)):
        (root / "changing.txt").write_bytes(content)
        os.utime(root / "changing.txt", ns=(when, MODIFIED * 10**9 + when))
        tags.add(ask(root, path="changing.txt").headers["ETag"])
    assert len(tags) == 4


def test_the_answer_to_a_post_has_no_conditions(root: Path) -> None:
    """RFC 9110 §9.3.3: the file is the result of an action there, and no representation that a GET would get."""
    with site(sender("small.txt"), file_root=root) as web:
        data = post(b"a", b"If-None-Match: *", b'If-Match: "a"', b"Range: bytes=0-1", b"Content-Length: 1")
        [answer] = web.ask(data)
    assert (answer.status, answer.content, answer.headers["ETag"]) == (200, SMALL, None)


# --- Ranges (RFC 9110 §14) --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["small.txt", "large.bin"])
@pytest.mark.parametrize(
    "value, start, end",
    [
        ("bytes=0-0", 0, 1),
        ("bytes=2-4", 2, 5),
        ("bytes=1-", 1, None),
        ("bytes=-3", -3, None),
        ("bytes=0-", 0, None),
        ("bytes=3-99999999", 3, None),
        ("bytes=-99999999", 0, None),
        ("BYTES=2-4", 2, 5),
    ],
)
def test_one_range(root: Path, name: str, value: str, start: int, end: int | None) -> None:
    content = (root / name).read_bytes()
    first, last, _ = slice(start, end).indices(len(content))
    answer = ask(root, b"Range: " + value.encode(), path=name)
    assert (answer.status, answer.content) == (206, content[start:end])
    assert answer.headers["Content-Range"] == f"bytes {first}-{last - 1}/{len(content)}"
    assert answer.headers["Content-Length"] == str(last - first)
    assert answer.headers["ETag"]
    head = ask(root, b"Range: " + value.encode(), path=name, method=b"HEAD")
    assert (head.status, head.headers["Content-Length"]) == (200, str(len(content)))  # §14.2


@pytest.mark.parametrize("name", ["small.txt", "large.bin"])
@pytest.mark.parametrize("value", ["bytes=10000000-", "bytes=99999999-999999999,88888888-", "bytes=-0"])
def test_a_range_that_is_not_there(root: Path, name: str, value: str) -> None:
    """RFC 9110 §15.5.17."""
    answer = ask(root, b"Range: " + value.encode(), path=name)
    assert (answer.status, answer.headers["Content-Range"]) == (416, f"bytes */{(root / name).stat().st_size}")


@pytest.mark.parametrize(
    "value", ["lines=1-2", "bytes=2-1", "bytes=a-b", "bytes", "bytes=", "bytes=1-2-3", "bytes=--1"]
)
def test_a_range_that_is_ignored(root: Path, value: str) -> None:
    """RFC 9110 §14.2: an unknown unit; what is malformed."""
    answer = ask(root, b"Range: " + value.encode())
    assert (answer.status, answer.content) == (200, SMALL)


def parts_of(answer: Answer) -> list[tuple[str, str, bytes]]:
    """The type, the range and the content of each part of a multipart answer."""
    head = f"Content-Type: {answer.headers['Content-Type']}\r\n\r\n".encode()
    message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + answer.content)
    assert message.get_content_type() == "multipart/byteranges"
    assert not message.defects
    return [
        (part.get_content_type(), str(part["Content-Range"]), bytes(part.get_payload(decode=True)))
        for part in message.iter_parts()
    ]


def test_several_ranges(root: Path) -> None:
    """RFC 9110 §14.6, §15.3.7.2: multipart/byteranges."""
    answer = ask(root, b"Range: bytes=0-1, 4-5 ,-1")
    assert answer.status == 206
    assert answer.headers["Content-Range"] is None
    assert parts_of(answer) == [
        ("text/plain", "bytes 0-1/10", b"01"),
        ("text/plain", "bytes 4-5/10", b"45"),
        ("text/plain", "bytes 9-9/10", b"9"),
    ]


def test_several_large_ranges(root: Path) -> None:
    """Which are sent from the file, with what goes between them."""
    answer = ask(root, b"Range: bytes=0-99999,150000-249999,-4", path="large.bin")
    assert answer.headers["Content-Length"] == str(len(answer.content))
    assert [(told, content) for _, told, content in parts_of(answer)] == [
        ("bytes 0-99999/300000", LARGE[:100000]),
        ("bytes 150000-249999/300000", LARGE[150000:250000]),
        ("bytes 299996-299999/300000", LARGE[-4:]),
    ]


def test_many_ranges_do_not_multiply_the_file(root: Path) -> None:
    """RFC 9110 §14.2, §17.15: what overlaps, or is a great many, is no reason to send much more than the file."""
    value = b"bytes=" + b",".join([b"0-"] * 1000)
    answer = ask(root, b"Range: " + value, path="large.bin")
    assert len(answer.content) < 2 * len(LARGE)


@pytest.mark.parametrize(
    "condition, status",
    [("{tag}", 206), ("{then}", 206), ('"a"', 200), ("W/{tag}", 200), ("{after}", 200), ("{before}", 200), ("a", 200)],
)
@pytest.mark.parametrize("name", ["small.txt", "large.bin"])
def test_if_range(root: Path, name: str, condition: str, status: int) -> None:
    """RFC 9110 §13.1.5: the same entity tag, by strong comparison, or the same date."""
    content = (root / name).read_bytes()
    tag = ask(root, path=name).headers["ETag"]
    value = condition.format(tag=tag, before=BEFORE, then=THEN, after=AFTER).encode()
    answer = ask(root, b"Range: bytes=2-3", b"If-Range: " + value, path=name)
    assert (answer.status, answer.content) == (status, content[2:4] if status == 206 else content)


def test_conditions_come_before_ranges(root: Path) -> None:
    """RFC 9110 §13.2.2."""
    tag = ask(root).headers["ETag"].encode()
    assert ask(root, b"Range: bytes=2-3", b"If-None-Match: " + tag).status == 304
    assert ask(root, b"Range: bytes=2-3", b'If-Match: "a"').status == 412
    assert ask(root, b"Range: bytes=99-", b"If-None-Match: " + tag).status == 304
    assert ask(root, b"Range: bytes=2-3", b"If-Match: " + tag).status == 206


def test_an_empty_file_has_no_range(root: Path) -> None:
    for value in (b"bytes=0-", b"bytes=-1"):
        answer = ask(root, b"Range: " + value, path="empty.txt")
        assert answer.status in (200, 416)
        assert answer.content == b""


def test_a_file_beyond_4_gib(root: Path) -> None:
    """Sparse: it takes no room."""
    size = 5 << 30
    with open(root / "huge", "wb") as file:
        file.truncate(size)
        file.seek(size - len(SMALL))
        file.write(SMALL)
    answer = ask(root, b"Range: bytes=-4", path="huge")
    assert (answer.status, answer.content) == (206, SMALL[-4:])
    assert answer.headers["Content-Range"] == f"bytes {size - 4}-{size - 1}/{size}"
    answer = ask(root, b"Range: bytes=%d-" % (size - 100_000), path="huge")
    assert answer.content == bytes(100_000 - len(SMALL)) + SMALL
    assert ask(root, path="huge", method=b"HEAD").headers["Content-Length"] == str(size)


# --- Precompressed neighbours -----------------------------------------------------------------------------------


@pytest.fixture
def compressed(root: Path) -> Path:
    for suffix in ("gz", "br"):
        (root / f"small.txt.{suffix}").write_bytes(gzip.compress(SMALL) if suffix == "gz" else b"brotli")
        os.utime(root / f"small.txt.{suffix}", (MODIFIED, MODIFIED))
    return root


def test_a_neighbour_is_sent_when_asked_for(compressed: Path) -> None:
    """RFC 9110 §8.4, §12.5.3. The type is that of the file itself; the entity tag is not (§8.8.3.3)."""
    plain = ask(compressed, precompressed=True)
    packed = ask(compressed, b"Accept-Encoding: gzip", precompressed=True)
    assert (plain.content, gzip.decompress(packed.content)) == (SMALL, SMALL)
    assert packed.headers["Content-Encoding"] == "gzip"
    assert packed.headers["Content-Type"] == plain.headers["Content-Type"] == "text/plain"
    assert packed.headers["Vary"] == plain.headers["Vary"] == "Accept-Encoding"
    assert packed.headers["ETag"] != plain.headers["ETag"]
    assert ask(compressed, b"Accept-Encoding: gzip, br", precompressed=True).content == b"brotli"
    # Only by the program's wish.
    without = ask(compressed, b"Accept-Encoding: gzip")
    assert (without.content, without.headers["Content-Encoding"], without.headers["Vary"]) == (SMALL, None, None)


@pytest.mark.parametrize("accepted", ["identity", "gzip;q=0, br;q=0", "*;q=0, identity", "deflate", ""])
def test_a_neighbour_that_is_not_accepted(compressed: Path, accepted: str) -> None:
    answer = ask(compressed, b"Accept-Encoding: " + accepted.encode(), precompressed=True)
    assert (answer.content, answer.headers["Content-Encoding"]) == (SMALL, None)


def test_a_neighbour_that_is_older(compressed: Path) -> None:
    os.utime(compressed / "small.txt.gz", (MODIFIED - 1, MODIFIED - 1))
    assert ask(compressed, b"Accept-Encoding: gzip", precompressed=True).content == SMALL


def test_conditions_and_ranges_of_a_neighbour(compressed: Path) -> None:
    """RFC 9110 §14.1.2: ranges are of the encoded content."""
    packed = ask(compressed, b"Accept-Encoding: gzip", precompressed=True)
    fields = (b"Accept-Encoding: gzip", b"If-None-Match: " + packed.headers["ETag"].encode())
    same = ask(compressed, *fields, precompressed=True)
    assert (same.status, same.headers["Vary"]) == (304, "Accept-Encoding")
    part = ask(compressed, b"Accept-Encoding: gzip", b"Range: bytes=0-1", precompressed=True)
    assert (part.status, part.content, part.headers["Content-Encoding"]) == (206, b"\x1f\x8b", "gzip")
    # The tag of one is none of the other.
    assert ask(compressed, fields[1], precompressed=True).status == 200


def test_a_neighbour_that_cannot_be_opened(compressed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file itself is sent then."""
    genuine = os.open

    def failing(path: Any, *args: Any, **kwargs: Any) -> int:
        if str(path).endswith(".gz"):
            raise PermissionError(errno.EACCES, "not allowed", path)
        return genuine(path, *args, **kwargs)

    monkeypatch.setattr(os, "open", failing)
    answer = ask(compressed, b"Accept-Encoding: gzip", precompressed=True)
    assert (answer.status, answer.content, answer.headers["Content-Encoding"]) == (200, SMALL, None)


def test_files_are_not_compressed_on_the_way(root: Path) -> None:
    (root / "text.txt").write_bytes(b"a" * 10_000)
    with site(sender("text.txt"), file_root=root, compression=True) as web:
        [answer] = web.ask(get(b"Accept-Encoding: gzip"))
    assert (answer.content, answer.headers["Content-Encoding"]) == (b"a" * 10_000, None)


# --- What is no file --------------------------------------------------------------------------------------------


@pytest.fixture
def odd(root: Path) -> Path:
    (root / "dir").mkdir()
    os.mkfifo(root / "fifo")
    (root / "link").symlink_to("small.txt")
    (root / "dangling").symlink_to("missing")
    (root / "loop").symlink_to("loop")
    (root / "device").symlink_to("/dev/null")
    (root / "terminal").symlink_to("/dev/tty")
    return root


@pytest.mark.parametrize(
    "path",
    ["missing", "dir", "dir/", "", ".", "fifo", "dangling", "loop", "device", "terminal", "small.txt/",
     "small.txt/more", "a" * 300, "a\0b", "\ud800"],
    ids=ascii,
)  # fmt: skip
@pytest.mark.parametrize("precompressed", [False, True])
def test_what_is_no_regular_file(odd: Path, path: str, precompressed: bool) -> None:
    """It does not block, and the connection goes on."""
    before = open_descriptors()
    with site(sender(path, precompressed=precompressed), file_root=odd) as web:
        answers = web.ask(get(b"Accept-Encoding: gzip") + get(b"Range: bytes=0-1") + get(b"If-None-Match: *"))
    assert [answer.status for answer in answers] == [404] * 3
    # A 404 about the file would be kept by its validators.
    assert all(answer.headers["ETag"] is None for answer in answers)
    assert str(odd) not in "".join(answer.content.decode() for answer in answers)
    assert open_descriptors() == before


def test_a_link_is_followed(odd: Path) -> None:
    assert ask(odd, path="link").content == SMALL


@contextlib.contextmanager
def as_nobody() -> Iterator[None]:
    """Root may read everything."""
    if os.geteuid():
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_file_that_may_not_be_read(root: Path) -> None:
    (root / "secret").write_bytes(b"secret")
    (root / "secret").chmod(0)
    with site(sender(), file_root=root) as web:
        web.ask(get(line=b"GET /missing HTTP/1.1"))  # what is imported late is imported now
        with as_nobody():
            [answer] = web.ask(get(line=b"GET /secret HTTP/1.1"))
    assert answer.status == 403
    assert b"secret" not in answer.content


def test_no_descriptor_is_left(root: Path, monkeypatch: pytest.MonkeyPatch, expect_log: Any) -> None:
    """EMFILE says nothing about the file, and passes: 503 (RFC 9110 §15.6.4), and it is logged."""
    expect_log("Too many open files")

    def failing(*_: Any, **__: Any) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with site(sender("small.txt"), file_root=root) as web:
        with monkeypatch.context() as patch:
            patch.setattr(os, "open", failing)
            [answer] = web.ask(get())
        assert answer.status == 503
        assert web.ask(get())[0].content == SMALL


# --- Files that do not keep still -------------------------------------------------------------------------------


def while_it_is_sent(root: Path, change: Callable[[Path], object], name: str = "large.bin") -> Answer:
    """The answer to a client that has taken a part of a file when that changes."""
    before = open_descriptors()
    with site(sender(name), file_root=root) as web:
        peer = web.connect()
        [connection] = web.server.channels.values()
        peer.window = 70_000
        peer.send(get())
        assert connection.queued_bytes > 0
        change(root / name)
        peer.window = None
        [answer] = take_apart(peer.received)
        assert not peer.ended
    assert open_descriptors() == before
    return answer


def grow(path: Path) -> None:
    with open(path, "ab") as file:
        file.write(b"more")


def replace(path: Path) -> None:
    (path.parent / "new").write_bytes(b"n" * len(LARGE))
    (path.parent / "new").rename(path)


@pytest.mark.parametrize("change", [grow, Path.unlink, replace])
def test_a_file_is_sent_as_it_was_opened(root: Path, change: Callable[[Path], object]) -> None:
    answer = while_it_is_sent(root, change)
    assert (answer.headers["Content-Length"], answer.content) == (str(len(LARGE)), LARGE)


def test_a_file_that_shrinks_while_it_is_sent(root: Path, expect_log: Any) -> None:
    """RFC 9112 §6.3, §8: the connection closes, so that the client sees that it has not got all."""
    expect_log("a file ended")
    before = open_descriptors()
    with site(sender("large.bin"), file_root=root) as web:
        peer = web.connect()
        peer.window = 70_000
        peer.send(get() + get())
        os.truncate(root / "large.bin", 100_000)
        peer.window = None
        with pytest.raises(http.client.IncompleteRead):
            take_apart(peer.received)
        assert peer.ended or peer.was_reset
        os.truncate(root / "large.bin", 10)
        assert web.ask(get())[0].content == LARGE[:10]
    assert open_descriptors() == before


@pytest.mark.parametrize("name", ["small.txt", "large.bin"])
@pytest.mark.parametrize("length", [0, 5])
def test_a_file_that_shrinks_before_it_is_read(
    root: Path, monkeypatch: pytest.MonkeyPatch, expect_log: Any, name: str, length: int
) -> None:
    """Between the look at its size and the first byte."""
    expect_log(name.replace(".", r"\.") + "|less than its Content-Length|a file ended|the file ends")
    before = open_descriptors()

    def shrinking(path: str) -> Any:
        found = genuine(path)
        os.truncate(path, length)
        return found

    genuine = _files.open_file
    monkeypatch.setattr(_files, "open_file", shrinking)
    with site(sender(name), file_root=root) as web:
        peer = web.connect()
        peer.send(get())
        assert peer.ended or peer.was_reset
        with contextlib.suppress(http.client.IncompleteRead, http.client.BadStatusLine):
            assert [answer.status for answer in take_apart(peer.received)] in ([], [500])
    assert open_descriptors() == before


@pytest.mark.parametrize("name", ["small.txt", "large.bin"])
def test_a_file_that_grows_before_it_is_read(root: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    def growing(path: str) -> Any:
        found = genuine(path)
        grow(Path(path))
        return found

    content = (root / name).read_bytes()
    genuine = _files.open_file
    monkeypatch.setattr(_files, "open_file", growing)
    with site(sender(name), file_root=root) as web:
        [answer, _] = web.ask(get() + get())
    assert (answer.headers["Content-Length"], answer.content) == (str(len(content)), content)


@pytest.mark.parametrize("how", ["reset", "end"])
def test_a_client_that_goes_away_midway(root: Path, how: str) -> None:
    """Its file is closed. Who has only ended its side still gets what it has asked for."""
    before = open_descriptors()
    with site(sender("large.bin"), file_root=root) as web:
        peer = web.connect()
        peer.window = 70_000
        peer.send(get() + get() + get())
        getattr(peer, how)()
        if how == "end":
            peer.window = None
            assert [answer.content for answer in take_apart(peer.received)] == [LARGE] * 3
        assert not web.server.channels
    assert open_descriptors() == before


def test_a_file_for_a_client_that_has_gone(root: Path) -> None:
    before = open_descriptors()
    with site(lambda request: None, file_root=root) as web:
        peer = web.connect()
        peer.send(get())
        peer.reset()
        web.engine.advance(0)
        [request] = web.requests
        for name in ("small.txt", "large.bin"):
            with contextlib.suppress(RuntimeError):  # the second time
                request.send_file(name)
        assert request.finished
    assert open_descriptors() == before


@pytest.mark.parametrize("keep_alive_timeout", [1.0, 1000.0])
def test_who_does_not_take_the_file_is_cut_off(root: Path, keep_alive_timeout: float) -> None:
    """``limits.write_timeout`` and ``write_rate``; nothing stays open. As long as it is sent nobody is idle."""
    before = open_descriptors()
    limits = Limits(keep_alive_timeout=keep_alive_timeout, write_timeout=60, write_rate=2000)
    with site(sender("large.bin"), file_root=root, limits=limits) as web:
        peer = web.connect()
        peer.window = 70_000
        peer.send(get())
        web.engine.advance(59)
        assert web.server.channels
        web.engine.advance(2)
        assert not web.server.channels
        assert web.server.counters.slow_readers == 1
    assert open_descriptors() == before


def test_who_takes_the_file_slowly_gets_it(root: Path) -> None:
    """At least ``write_rate`` bytes a second, however long that takes."""
    with site(sender("large.bin"), file_root=root) as web:
        peer = web.connect()
        limits = web.server.limits
        step = int(limits.write_timeout * limits.write_rate) + 1
        peer.window = step
        peer.send(get())
        for _ in range(len(LARGE) // step + 1):
            web.engine.advance(limits.write_timeout - 1)
            peer.window = step
        [answer] = take_apart(peer.received)
        assert answer.content == LARGE
        assert web.server.counters.slow_readers == 0


def test_a_file_that_is_sent_while_the_client_is_watched(root: Path) -> None:
    """It has not taken the answer before; the time for that counts what it takes of the file."""

    def handler(request: HTTPRequest) -> None:
        if request.path == "/first":
            request.send_response("first")
        else:
            request.connection.engine.defer(30, request.send_file, "large.bin")

    limits = Limits(write_timeout=60, write_rate=500)
    with site(handler, file_root=root, limits=limits) as web:
        peer = web.connect()
        peer.window = 10
        peer.send(get(line=b"GET /first HTTP/1.1") + get())
        web.engine.advance(31)
        peer.window = 40_000
        web.engine.advance(31)
        peer.window = None
        assert [answer.content for answer in take_apart(peer.received)] == [b"first", LARGE]
        assert web.server.counters.slow_readers == 0


# --- Real sockets -----------------------------------------------------------------------------------------------


@pytest.fixture
def sendfile_calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """What `os.sendfile` has returned."""
    calls: list[int] = []
    genuine = os.sendfile

    def counting(*args: Any) -> int:
        sent = genuine(*args)
        calls.append(sent)
        return sent

    monkeypatch.setattr(os, "sendfile", counting)
    return calls


def fetch(server: HTTPServer, requests: list[tuple[str, str, dict[str, str]]], context: Any = None) -> list[Answer]:
    """Ask for several things on one connection, by http.client."""
    port = server.local_address[1]

    def ask() -> list[Answer]:
        if context is None:
            client = http.client.HTTPConnection("127.0.0.1", port, DEADLINE)
        else:
            client = http.client.HTTPSConnection("localhost", port, timeout=DEADLINE, context=context)
        found = []
        with contextlib.closing(client):
            for method, path, headers in requests:
                client.request(method, path, headers=headers)
                found.append(Answer(client.getresponse()))
        return found

    return in_thread(ask)


EVERYTHING: list[tuple[str, str, dict[str, str]]] = [
    ("GET", "/small.txt", {}),
    ("GET", "/large.bin", {}),
    ("HEAD", "/large.bin", {}),
    ("GET", "/huge.bin", {}),
    ("GET", "/missing", {}),
    ("GET", "/large.bin", {"Range": "bytes=100000-249999"}),
    ("GET", "/large.bin", {"Range": "bytes=0-99999,200000-"}),
    ("GET", "/large.bin", {"If-None-Match": "*"}),
    ("GET", "/empty.txt", {}),
    ("GET", "/large.bin", {"If-Match": '"a"'}),
    ("GET", "/large.bin", {"Range": "bytes=999999-"}),
    ("GET", "/small.txt", {}),
]


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
def test_files_of_all_kinds(root: Path, sendfile_calls: list[int], tls: bool) -> None:
    """Manual: "Pants will make full use of caching headers, Ranges, and the sendfile system call". TLS goes without
    the last of these."""
    huge = LARGE * 40  # more than the kernel's buffers hold, and than is sent in one turn
    (root / "huge.bin").write_bytes(huge)
    certificate = Certificate(root) if tls else None
    context = certificate.server_context if certificate else None
    with serving(sender(), file_root=root, context=context) as server:
        fetch(server, [])
        before = open_descriptors()
        answers = fetch(server, EVERYTHING, certificate.client_context if certificate else None)
        assert [answer.status for answer in answers] == [200, 200, 200, 200, 404, 206, 206, 304, 200, 412, 416, 200]
        whole = [answer.content for answer in answers]
        assert whole[:2] == [SMALL, LARGE]
        assert (whole[2], answers[2].headers["Content-Length"]) == (b"", "300000")
        assert whole[3] == huge
        assert whole[5] == LARGE[100000:250000]
        assert [content for _, _, content in parts_of(answers[6])] == [LARGE[:100000], LARGE[200000:]]
        assert whole[7:10] == [b"", b"", b""]
        assert whole[11] == SMALL
        assert server.counters.connections == 1
        settle(server)
        assert open_descriptors() <= before
    assert sum(sendfile_calls) == (0 if tls else len(LARGE) + len(huge) + 150_000 + 200_000)


def test_http_1_0(root: Path) -> None:
    with serving(sender(), file_root=root) as server:

        def ask() -> bytes:
            with socket.create_connection(server.local_address, DEADLINE) as client, client.makefile("rb") as file:
                client.sendall(b"GET /large.bin HTTP/1.0\r\n\r\n")
                return file.read()

        [answer] = take_apart(in_thread(ask))
    assert (answer.headers["Content-Length"], answer.content) == (str(len(LARGE)), LARGE)


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
def test_pipelined_requests_for_files(root: Path, tls: bool) -> None:
    """RFC 9112 §9.3.2: in the order of the requests, whatever is sent in which way."""
    names = ["small.txt", "large.bin", "missing", "empty.txt", "large.bin", "small.txt"] * 10
    data = b"".join([get(line=f"GET /{name} HTTP/1.1".encode()) for name in names[:-1]])
    data += get(b"Connection: close", line=f"GET /{names[-1]} HTTP/1.1".encode())
    certificate = Certificate(root) if tls else None
    context = certificate.server_context if certificate else None
    with serving(sender(), file_root=root, context=context) as server:

        def ask() -> bytes:
            client = socket.create_connection(server.local_address, DEADLINE)
            if certificate:
                client = certificate.client_context.wrap_socket(client, server_hostname="localhost")
            with client:
                client.sendall(data)
                pieces = []
                while piece := client.recv(1 << 20):
                    pieces.append(piece)
                return b"".join(pieces)

        fetch(server, [])
        before = open_descriptors()
        answers = take_apart(in_thread(ask))
        settle(server)
        assert open_descriptors() <= before
    found = {"small.txt": SMALL, "large.bin": LARGE, "empty.txt": b""}
    assert [answer.status for answer in answers] == [404 if name == "missing" else 200 for name in names]
    assert [answer.content for answer in answers if answer.status == 200] == [
        found[name] for name in names if name in found
    ]


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
def test_real_clients_that_go_away_midway(root: Path, tls: bool) -> None:
    """However many of them: no descriptor stays open."""
    with open(root / "huge.bin", "wb") as file:
        file.truncate(100_000_000)
    certificate = Certificate(root) if tls else None
    context = certificate.server_context if certificate else None
    with serving(sender(), file_root=root, context=context) as server:

        def ask() -> None:
            client = socket.create_connection(server.local_address, DEADLINE)
            if certificate:
                client = certificate.client_context.wrap_socket(client, server_hostname="localhost")
            with client:
                client.sendall(get(line=b"GET /huge.bin HTTP/1.1") * 3)
                assert client.recv(100)

        in_thread(ask)
        settle(server)
        before = open_descriptors()
        for _ in range(5):
            in_thread(ask)
        settle(server)
        assert open_descriptors() <= before


def test_a_real_file_that_shrinks_while_it_is_sent(root: Path, expect_log: Any) -> None:
    """os.sendfile says 0 then, for ever: nothing waits for the rest."""
    expect_log("a file ended")
    with open(root / "huge.bin", "wb") as file:
        file.truncate(100_000_000)
    with serving(sender(), file_root=root) as server:

        def ask() -> int:
            client = http.client.HTTPConnection("127.0.0.1", server.local_address[1], DEADLINE)
            with contextlib.closing(client):
                client.request("GET", "/huge.bin")
                response = client.getresponse()
                response.read(100_000)
                os.truncate(root / "huge.bin", 1_000_000)
                received = 100_000
                try:
                    while data := response.read(1 << 20):
                        received += len(data)
                except (http.client.IncompleteRead, ConnectionError):
                    pass
                return received

        fetch(server, [])
        before = open_descriptors()
        assert in_thread(ask) < 100_000_000
        settle(server)
        assert open_descriptors() <= before
        assert fetch(server, [("GET", "/small.txt", {})])[0].content == SMALL


def test_others_are_served_meanwhile(root: Path) -> None:
    """A client that takes its file slowly, or not at all, keeps nobody waiting."""
    with open(root / "huge.bin", "wb") as file:
        file.truncate(100_000_000)
    with serving(sender(), file_root=root) as server:
        with socket.create_connection(server.local_address, DEADLINE) as idle:
            idle.sendall(get(line=b"GET /huge.bin HTTP/1.1"))
            run_until(lambda: any(channel.queued_bytes for channel in server.channels.values()))
            assert fetch(server, [("GET", "/large.bin", {})] * 3)[2].content == LARGE
        settle(server)


def test_a_small_file_that_changes_is_sent_as_it_is_now(tmp_path: Path) -> None:
    """Also within the second for which the head of an answer is kept."""
    file = tmp_path / "file.txt"
    answers = []
    with site(lambda request: request.send_file("file.txt"), file_root=tmp_path) as web:
        for number, content in enumerate([b"one", b"two", b"three", b"three"]):
            file.write_bytes(content)
            os.utime(file, ns=(number * 10, number * 10))
            answers += web.ask(get())
    assert [answer.content for answer in answers] == [b"one", b"two", b"three", b"three"]
    assert [answer.headers["Content-Length"] for answer in answers] == ["3", "3", "5", "5"]
    assert len({answer.headers["ETag"] for answer in answers}) == 4


def test_a_request_made_by_hand_has_its_conditions_too(tmp_path: Path) -> None:
    (tmp_path / "file.txt").write_bytes(b"content")

    def handler(request: HTTPRequest) -> None:
        fields = HTTPHeaders({"Host": "a", "Range": "bytes=1-2"})
        again = HTTPRequest(request.connection, "GET", "/", "HTTP/1.1", fields)
        request.connection.current_request = again
        again.send_file("file.txt")

    with site(handler, file_root=tmp_path) as web:
        [answer] = web.ask(get())
        assert (answer.status, answer.content) == (206, b"on")
