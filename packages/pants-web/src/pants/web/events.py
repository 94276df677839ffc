"""Server-sent events (HTML Standard, section "Server-sent events"): a stream of small messages to a page.

A page opens it with ``new EventSource("/events")``, and opens it again by itself whenever the connection is lost; then
it tells the last ``id`` that it has got. To have it stop, answer with 204. With HTTP/1.1 browsers open only six
connections to a host, over all tabs, and a stream takes one of them.

`EventStream` is for events that come when something happens. A generator may yield what `event` returns, where the
route has the content type ``text/event-stream``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

from pants.http._answer import Fields, checked_fields

if TYPE_CHECKING:
    from pants.http import HTTPRequest

__all__ = ["EventStream", "broadcast", "event"]

CONTENT_TYPE: Final = "text/event-stream"

# A comment, and the end of an event that there is not.
_COMMENT: Final = b":\n\n"
# Fields that are not for the program: the server's, and the type, by which browsers know the stream.
_OWN_FIELDS: Final = frozenset({"content-type", "content-length", "transfer-encoding"})


def event(data: Any, event: str | None = None, id: str | int | None = None, retry: int | None = None) -> str:  # noqa: A002 - the field's name
    r"""Return an event as it is sent.

    Args:
        data: What it tells: a str, which may have several lines; or anything else that JSON can tell, as JSON. Line
            ends arrive as ``\n``, whatever they are here.
        event: Its type, the name that a page listens to by ``addEventListener``; ``message`` by default.
        id: What the page is to tell when it comes back (see `EventStream.last_event_id`); ``""`` for nothing.
        retry: Milliseconds that the page waits before it comes back.

    Raises:
        TypeError: An argument is of the wrong type, or JSON cannot tell the data.
        ValueError: There is a line end in ``event`` or ``id``, a NUL in ``id``, half of a surrogate pair in a str, or a
            number that JSON does not have; ``retry`` is below 0.

    Example:
        >>> from pants.web.events import event
        >>> event("two\nlines", event="greeting", id=7)
        'event: greeting\nid: 7\ndata: two\ndata: lines\n\n'
        >>> event({"a": [1, None]})
        'data: {"a":[1,null]}\n\n'
    """
    lines = []
    if event is not None:
        lines.append(f"event: {_checked_line('event', event)}\n")
    if id is not None:
        text = _checked_line("id", str(id) if type(id) is int else id)
        if "\0" in text:
            raise ValueError(f"id cannot contain a NUL, browsers would ignore it: {text!r}")
        lines.append(f"id: {text}\n")
    if retry is not None:
        lines.append(_retry_line(retry))
    text = data if isinstance(data, str) else _as_json(data)
    # Not splitlines(), which splits at more than what ends a line here.
    lines += [f"data: {line}\n" for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n")]
    lines.append("\n")
    framed = "".join(lines)
    try:
        framed.encode()
    except UnicodeEncodeError:
        raise ValueError("an event is sent in UTF-8, which has no halves of surrogate pairs") from None
    return framed


def _checked_line(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{name} is a str, not {value!r}")
    if "\n" in value or "\r" in value:
        raise ValueError(f"{name} cannot contain a line end, which would begin another field: {value!r}")
    return value


def _retry_line(retry: object) -> str:
    if isinstance(retry, bool) or not isinstance(retry, int):
        raise TypeError(f"retry is an int, in milliseconds, not {retry!r}")
    if retry < 0:
        raise ValueError(f"retry is 0 milliseconds or more, not {retry}")
    return f"retry: {retry}\n"


def _as_json(data: object) -> str:
    try:
        return json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except (TypeError, RecursionError) as error:
        raise TypeError(f"data is a str, or what JSON can tell, not {type(data).__name__}: {error}") from None


class EventStream:
    """An answer that is a stream of events, to be made in a view.

    It sends the head at once, and has the application leave the answer to it. It ends with `close`, or when the client
    goes away. The client is sent a comment every now and then, so that neither it nor a proxy takes the connection for
    a dead one; that is also how it is found out that a client has gone without a word. Where the client sends its end
    of the connection, a comment finds out whether it listens still, unless the program has set ``request.on_end``.

    To HEAD only the head is sent, and the stream is closed from the start.

    Events are not compressed by default, since that would cost up to 1 MiB of memory for each client. Where that is
    worth it, ``headers={"Cache-Control": "no-cache"}`` leaves it to the server's ``compression``; each event still
    goes out at once, in a form that can be decoded.

    Args:
        request: The request.
        keep_alive: Seconds after which a comment is sent if there was no event; None for never.
        retry: Milliseconds that the page waits before it comes back; as the browser likes by default.
        max_queued: The most bytes that may wait for a client which does not read; with more, it is cut off. A single
            event may be longer.
        headers: More headers. They take the place of those that are made here, but for Content-Type.

    Raises:
        RuntimeError: The request is finished, or has been answered in part.
        TypeError: An argument is of the wrong type.
        ValueError: A number is out of bounds, or a header cannot be sent.

    Example:
        >>> from pants.web import Application
        >>> from pants.web.events import EventStream, broadcast
        >>> app = Application()
        >>> streams = set()
        >>> @app.route("/events")
        ... def events(request):
        ...     stream = EventStream(request)
        ...     streams.add(stream)
        ...     stream.on_close = lambda: streams.discard(stream)
        >>> @app.route("/say", methods=["POST"])
        ... def say(request):
        ...     broadcast(streams, request.post["text"][0])
    """

    def __init__(
        self,
        request: HTTPRequest,
        *,
        keep_alive: float | None = 15.0,
        retry: int | None = None,
        max_queued: int = 1024 * 1024,
        headers: Fields | None = None,
    ) -> None:
        if isinstance(max_queued, bool) or not isinstance(max_queued, int):
            raise TypeError(f"max_queued is a number of bytes, not {max_queued!r}")
        if max_queued < 0:
            raise ValueError(f"max_queued is 0 bytes or more, not {max_queued}")
        if keep_alive is not None and (isinstance(keep_alive, bool) or not isinstance(keep_alive, (int, float))):
            raise TypeError(f"keep_alive is a number of seconds, or None for never, not {keep_alive!r}")
        if keep_alive is not None and not 0 < keep_alive < 1e9:
            raise ValueError(f"keep_alive is a number of seconds above 0, or None for never, not {keep_alive!r}")
        first = b"" if retry is None else f"{_retry_line(retry)}\n".encode()
        fields = _stream_fields(headers or ())
        self.request = request
        self._max_queued = max_queued
        self._queued = 0  # at most so many bytes wait
        self._closed = self._closing = self._busy = False
        self._on_close: Callable[[], object] | None = None
        self._cancel: Callable[[], None] | None = None
        request.auto_finish = False
        request.send_headers(fields)
        request._call_at_end(self._ended)
        if request.method == "HEAD":
            self.close()
        else:
            if keep_alive is not None and not self._closed:
                self._cancel = request.connection.engine.cycle(keep_alive, self._keep_alive)
            if request.on_end is None:
                request.on_end = self._probe
            if first:
                self._write(first)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.request.url}{' (closed)' if self.closed else ''}>"

    @property
    def closed(self) -> bool:
        """Whether the stream has ended, by `close` or because the client is gone."""
        return self._closed or not self.request.connection.connected

    @property
    def on_close(self) -> Callable[[], object] | None:
        """To be set: a function that is called once, without arguments, when the stream has ended in whatever way.

        It is never called inside `close`, `send` or `broadcast`. Set after the end, it is called soon.
        """
        return self._on_close

    @on_close.setter
    def on_close(self, function: Callable[[], object] | None) -> None:
        if function is not None and not callable(function):
            raise TypeError(f"on_close is a function, not {function!r}")
        self._on_close = function
        if self._closed and function is not None:
            self.request.connection.engine.callback(self._tell)

    @property
    def last_event_id(self) -> str | None:
        """The ``id`` of the last event that the client got before it lost the connection; None if it tells none."""
        value = self.request.headers.get("Last-Event-ID")
        return None if value is None else value.encode("latin-1", "replace").decode("utf-8", "replace")

    def send(
        self,
        data: Any,
        event: str | None = None,
        id: str | int | None = None,  # noqa: A002 - the field's name
        retry: int | None = None,
    ) -> bool:
        """Send an event; its arguments are those of `event`.

        Returns:
            Whether it was sent. It was not if the stream is closed; or if too much waited already, so that the client
            was cut off.

        Raises:
            TypeError, ValueError: As of `event`.
        """
        return self._write(_event(data, event, id, retry).encode())

    def close(self) -> None:
        """End the stream, once all events are sent. The page will come back, unless it is answered with 204 then."""
        if not self._closed:
            self._closing = True
            self.request.finish()
            self._closing = False

    def _write(self, framed: bytes) -> bool:
        request, connection = self.request, self.request.connection
        if self._closed or not connection.connected:
            return False
        self._busy = True
        self._queued += len(framed)
        if self._queued > self._max_queued:
            # What has left since then was not subtracted: it takes time to tell, with many events.
            self._queued = connection.queued_bytes + len(framed)
            if self._queued > self._max_queued and connection.queued_bytes:
                connection.close(flush=False)
                return False
        request.send(framed)
        return True

    def _keep_alive(self) -> None:
        if self._busy:
            self._busy = False
        else:
            self._write(_COMMENT)
            self._busy = False

    def _probe(self) -> None:
        """The client sends nothing more. If it has gone, as browsers have then, its system refuses this."""
        self._write(_COMMENT)

    def _ended(self) -> None:
        """The request is over."""
        self._closed = True
        if self.request.on_end == self._probe:
            self.request.on_end = None  # a cycle
        if self._cancel is not None:
            self._cancel()
            self._cancel = None
        if self._closing:
            self.request.connection.engine.callback(self._tell)
        else:  # at once, for this may be the engine's own end
            self._tell()

    def _tell(self) -> None:
        function, self._on_close = self._on_close, None
        if function is not None:
            function()


# The methods have an argument of this name.
_event = event


def broadcast(
    streams: Iterable[EventStream],
    data: Any,
    event: str | None = None,
    id: str | int | None = None,  # noqa: A002 - the field's name
    retry: int | None = None,
) -> int:
    """Send one event to many streams: it is put together once, not once for each. Those that are closed are left out.

    Args:
        streams: Where to.
        data: As for `event`, like those that follow.
        event: Its type.
        id: What the page tells when it comes back.
        retry: Milliseconds that the page waits before that.

    Returns:
        To how many it was sent.

    Raises:
        TypeError, ValueError: As of `event`.
    """
    framed = _event(data, event, id, retry).encode()
    return sum([stream._write(framed) for stream in streams])


def _stream_fields(headers: Fields) -> list[tuple[str, str]]:
    """Return the fields of the head.

    Raises:
        TypeError, ValueError: One of the program's cannot be sent, or not with a stream of events.
    """
    given = checked_fields(headers)
    names = {name.lower() for name, _ in given}
    if own := sorted(names & _OWN_FIELDS):
        raise ValueError(f"the header {own[0]} of a stream of events is not to be set: it is always the same")
    ours = [
        # no-transform: nobody is to compress it, which takes memory, or may have events wait for more to come
        ("Cache-Control", "no-cache, no-transform"),
        ("X-Accel-Buffering", "no"),  # or nginx would have events wait, too
    ]
    return [("Content-Type", CONTENT_TYPE), *[field for field in ours if field[0].lower() not in names], *given]
