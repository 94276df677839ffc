"""No request leaves a reference cycle: its memory, and files, are given back when it is over (DESIGN §7)."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest

from pants.http import HTTPRequest, Limits, Refused
from tests.http.support import CHUNKED, get, post, site

FORM = b"--b\r\nContent-Disposition: form-data; name=a; filename=c\r\n\r\n%b\r\n--b--\r\n" % (b"x" * 100)
REQUESTS = {
    "hello": get(),
    "another": get(b"X: y"),
    "a body": post(b"abc"),
    "chunks": post(b"3\r\nabc\r\n0\r\nA: b\r\n\r\n", CHUNKED),
    "a form": post(FORM, b"Content-Type: multipart/form-data; boundary=b", b"Content-Length: %d" % len(FORM)),
    "a stream": get(line=b"GET /stream HTTP/1.1"),
    "a file": get(line=b"GET /file HTTP/1.1"),
    "ranges": get(b"Range: bytes=0-80000,90000-190000", line=b"GET /file HTTP/1.1"),
    "an error": get(line=b"GET /refused HTTP/1.1"),
    "what is refused": get(b"X"),
}


@pytest.mark.parametrize("name", REQUESTS)
@pytest.mark.parametrize("spool_size", [10, 1000])
def test_no_request_leaves_a_cycle(name: str, spool_size: int, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * 200_000)

    def handler(request: HTTPRequest) -> None:
        if request.path == "/stream":
            request.send("abc")
            request.send("def")
            request.finish()
        elif request.path == "/file":
            request.send_file("file")
        elif request.path == "/refused":
            raise Refused(404, "There is nothing")
        else:
            request.send_response(repr([request.get, request.post, request.files, len(request.headers)]))

    with site(file_root=tmp_path, limits=Limits(spool_size=spool_size)) as web:
        web.server.request_handler = handler

        def collected(data: bytes) -> int:
            gc.collect()
            gc.disable()
            try:
                peer = web.connect()
                peer.send(data)
                assert peer.received.startswith(b"HTTP/1.1 ") == bool(data)
                peer.end()
                del peer
                web.engine.advance(0)
                return gc.collect()
            finally:
                gc.enable()

        collected(REQUESTS[name])  # the first time fills caches
        assert collected(REQUESTS[name]) == collected(b"")  # what a connection in memory leaves itself
