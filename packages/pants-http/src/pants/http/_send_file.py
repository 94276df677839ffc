"""How `HTTPRequest.send_file` sends; what it sends is decided by `pants.http._files`."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from pants._send_queue import SharedFile
from pants.http import _answer, _files
from pants.http._refused import Refused
from pants.http.utils import HTTPHeaders

if TYPE_CHECKING:
    from pants.http._response import ResponseWriter

# What is sent of a file is read at once if it is no longer.
_SMALL_FILE: Final = 65536
# Whether a head has a field that decides what is sent of a file. Others need not be looked at then.
_has_conditions: Final = re.compile(rb"\n(?i:if-|range[ \t]*:)").search
_NO_HEADERS: Final = HTTPHeaders()

#: Opens a regular file, as `_files.open_file`.
Opener = Callable[[str], tuple[int, os.stat_result]]


def send_file(
    request: ResponseWriter,
    path: str | os.PathLike[str],
    filename: str | None,
    guess_mime: bool,
    headers: _answer.Fields,
    *,
    precompressed: bool,
    opener: Opener | None = None,
    may_send: Callable[[str], bool] | None = None,
) -> None:
    """Answer a request with a file: see `HTTPRequest.send_file`.

    Args:
        request: The request.
        path: The file.
        filename: The name to save it under, None to show it.
        guess_mime: Whether to tell a Content-Type by the extension.
        headers: More headers.
        precompressed: Whether a neighbour may be sent that holds the file in compressed form.
        opener: Opens files in the place of `_files.open_file`, and knows what may be sent: the path is taken as it is,
            whatever the server's ``file_root``, and with ``sendfile`` too the file has to be there. What this raises is
            the caller's, but for an OSError, with which the answer is 503.
        may_send: Tells of the path of such a neighbour whether it may be sent; by default all may.
    """
    if request._finished or request._stage:
        raise request._too_late("send_file")
    extra = _answer.checked_fields(headers) if headers else []
    names = {name.lower() for name, _ in extra}
    for name in names & _answer.FRAMING_FIELDS:
        raise ValueError(f"the header {name} is set by send_file() itself")
    server = request.connection.server
    try:
        path = _files.resolve(path, server.file_root) if opener is None else os.fspath(path)
        content_type = _files.guess_type(path) if guess_mime else None
        if server._sendfile_header is not None:
            if opener is not None:
                os.close(opener(path)[0])
            _send_name(request, path, filename, content_type, extra)
            return
        wants_variant = precompressed and "content-encoding" not in names
        descriptor, status, coding = _open_variant(request, path, wants_variant, opener or _files.open_file, may_send)
    except Refused as refused:
        if opener is not None:
            raise
        request._send_refusal(refused)
        return
    except OSError as error:
        send_shortage(request, error)
        return
    try:
        plain = not (precompressed or request._on_head) and filename is None and request.method == "GET"
        conditional = _has_conditions(request._head)
        if plain and request._head and not conditional and status.st_size <= _SMALL_FILE and not request._cookies_out:
            _send_small(request, path, status, content_type, extra, descriptor)
            return
        plan = _files.plan(
            request.method,
            request.headers if conditional or request._headers is not None else _NO_HEADERS,
            status,
            content_type=content_type,
            filename=filename,
            extra=extra,
            coding=coding,
            varies=precompressed,
        )
        _send_planned(request, plan, descriptor)
    except OSError as error:
        if request.code:
            raise
        send_shortage(request, error)
    finally:
        os.close(descriptor)


def _send_small(
    request: ResponseWriter,
    path: str,
    status: os.stat_result,
    content_type: str | None,
    extra: list[tuple[str, str]],
    descriptor: int,
) -> None:
    """Send a small file to a client that asks for nothing but that; its head is the same for many."""
    connection = request.connection
    heads = connection._answer_heads
    now = connection.engine.time
    size = status.st_size
    key = (path, status.st_mtime_ns, size, content_type, request._ending, *extra)
    head = heads.kept(key, now)
    if head is None:
        plan = _files.plan("GET", _NO_HEADERS, status, content_type=content_type, extra=extra)
        head = heads.with_fields(200, request._ending, [*plan.fields, ("Content-Length", str(size))], now) + b"\r\n"
        heads.keep(key, head)
    content = os.pread(descriptor, size, 0)
    if len(content) == size:
        request._send_ready(head, content)
    else:  # it has shrunk since
        request._begin_whole(200, [], size)
        request._conclude()


def send_shortage(request: ResponseWriter, error: OSError) -> None:
    """Answer where a file could not be used, which is for want of descriptors, most likely."""
    request.connection.server._note_shortage(error)
    request.send_response("503 Service Unavailable\n", 503, headers={"Retry-After": "1"})


def _open_variant(
    request: ResponseWriter, path: str, precompressed: bool, opener: Opener, may_send: Callable[[str], bool] | None
) -> tuple[int, os.stat_result, str | None]:
    """Open a file, or a neighbour that holds it in compressed form; tell which."""
    if precompressed:
        variant, coding = _files.pick_variant(path, request.headers.get("Accept-Encoding"), may_send)
        if coding is not None:
            try:
                return *opener(variant), coding
            except Refused:
                pass  # it was removed this very moment, or may not be read
    return *opener(path), None


def _send_name(
    request: ResponseWriter,
    path: str,
    filename: str | None,
    content_type: str | None,
    extra: list[tuple[str, str]],
) -> None:
    """Have the proxy send a file (manual: "Using HTTPServer Behind a Proxy")."""
    server = request.connection.server
    target = _files.sendfile_target(path, server.file_root, server.sendfile_prefix)
    fields = [(str(server._sendfile_header), target)]
    names = {name.lower() for name, _ in extra}
    if content_type is not None and "content-type" not in names:
        fields.insert(0, ("Content-Type", content_type))
    if filename is not None and "content-disposition" not in names:
        fields.append(("Content-Disposition", _files.disposition(filename)))
    request._send_whole(200, fields + extra, b"")


def _send_planned(request: ResponseWriter, plan: _files.Plan, descriptor: int) -> None:
    """Send what was decided about a file."""
    segments = plan.segments
    if plan.length is not None and plan.length <= _SMALL_FILE:
        # Read and sent together with the head, which takes the kernel less than to send from the file.
        content = b"".join([s if isinstance(s, bytes) else os.pread(descriptor, s[1], s[0]) for s in segments])
        request._send_whole(plan.code, plan.fields, content, plan.length)
        return
    connection = request.connection
    file = SharedFile(descriptor)  # before the head is sent, for it may fail
    try:
        if request._begin_whole(plan.code, plan.fields, plan.length) and connection.connected:
            for segment in segments:
                if isinstance(segment, bytes):
                    connection.write(segment)
                else:
                    connection.write_file(file, segment[1], segment[0])
            request._count_whole()
    finally:
        file.release()
    request._conclude()
