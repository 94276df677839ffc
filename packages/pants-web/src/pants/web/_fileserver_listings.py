"""The listings that are being made on an engine: a few at a time, once for all that ask for the same.

A listing may take a tenth of a second, and a megabyte or two. So all of them together have a bounded part of each turn;
clients that ask for a page which is being made, or was made a moment ago, get that one; and a page is one bytes object,
however many it is sent to. One for whom nobody waits any more is not made.

Nothing here refers to the engine or keeps a request alive, so that an engine takes its listings with it.
"""

from __future__ import annotations

import functools
import itertools
import time
import weakref
from collections import deque
from collections.abc import Generator, Hashable
from typing import Final, NamedTuple

from pants import Engine
from pants.http import Compression, HTTPRequest
from pants.http._send_file import send_shortage

# Seconds of one turn for all listings, after which other things come first.
_MOST_TIME: Final = 0.005
# So many are made side by side, so that a short one does not wait for a long one; the others wait for their turn.
_MOST_AT_ONCE: Final = 4
# Seconds for which a page that took several turns is kept; and what is kept at most, in bytes.
_KEEP_TIME: Final = 1.0
_MOST_KEPT: Final = 16 * 1024 * 1024
# What is compressed in one step, in bytes.
_PIECE: Final = 65536
# What is written in one go with its head, in bytes; more than that is sent at once, as long as it is that page's turn.
_SMALL: Final = 65536


class Page(NamedTuple):
    """A page that is asked for.

    Attributes:
        key: What is equal for the same page; None for one that nobody else is to get.
        fields: The header fields that it is sent with.
        steps: Makes it, as of `pants.web._listing.make_page`.
        is_encoded: Whether it is sent as it is then; else the server may compress it for those who take that.
    """

    key: Hashable
    fields: list[tuple[str, str]]
    steps: Generator[None, None, bytes]
    is_encoded: bool = False


class _Work:
    """A page that is being made, or will be, and those who wait for it."""

    __slots__ = ("key", "page", "waiting")

    def __init__(self, page: Page) -> None:
        self.key = object() if page.key is None else page.key
        self.page = page
        self.waiting: dict[weakref.ref[HTTPRequest], None] = {}


class Listings:
    """The listings of one engine. `listings_of` has it."""

    __slots__ = ("_at", "_is_due", "_kept", "_left", "_ready", "_turn", "_work")

    def __init__(self) -> None:
        self._work: dict[Hashable, _Work] = {}  # the first are being made, the others wait
        self._at = 0  # which of the first was last gone on with
        # What is made, as content or as what has been raised, and has still to be sent.
        self._ready: deque[tuple[weakref.ref[HTTPRequest], Page, bytes | Exception]] = deque()
        self._kept: dict[Hashable, bytes] = {}
        self._is_due = False  # _run() will be called
        self._turn = -1.0  # the engine's time in the last turn in which something was made at once
        self._left = 0.0  # seconds that are left for that

    def answer(self, request: HTTPRequest, page: Page) -> None:
        """Answer a request with a page: at once if that takes no time worth mentioning, or else later.

        A client that ends its side while it waits is taken for one that has gone away.

        Args:
            request: The request.
            page: The page. Its steps are made or closed.

        Raises:
            Exception: What the steps raise, except OSError, where they are made at once.
        """
        content = self._kept.get(page.key)
        work = None if content is not None or page.key is None else self._work.get(page.key)
        if content is not None or work is not None or request.finished or not request.connection.connected:
            page.steps.close()
        elif not (self._work or self._ready):
            try:
                content = self._make_at_once(request.connection.engine, page.steps)
            except OSError as error:
                send_shortage(request, error)
                return
        if content is not None:
            self._send(request, page, content)
        elif not request.finished and request.connection.connected:
            if work is None:
                work = _Work(page)
                self._work[work.key] = work
            self._wait(request, work)

    # --- Making ---------------------------------------------------------------------------------------------------

    def _make_at_once(self, engine: Engine, steps: Generator[None, None, bytes]) -> bytes | None:
        """Make a page as far as the turn allows; return it if it is complete."""
        if self._turn != engine.time:
            self._turn, self._left = engine.time, _MOST_TIME
        began = time.perf_counter()
        end = began + self._left
        try:
            while time.perf_counter() < end:
                next(steps)
        except StopIteration as stop:
            content: bytes = stop.value
            return content
        finally:
            self._left -= time.perf_counter() - began
        return None

    def _run(self, engine: Engine) -> None:
        """Use what listings have of a turn, and go on in the next one if something is left."""
        self._turn, self._left = engine.time, 0.0  # what is begun meanwhile waits like the others
        end = time.perf_counter() + _MOST_TIME
        try:
            while self._work or self._ready:
                if self._ready:
                    self._send_next()
                else:
                    self._make_step(engine)
                if time.perf_counter() >= end:
                    break
        finally:
            self._is_due = False
            self._run_soon(engine)

    def _run_soon(self, engine: Engine) -> None:
        if not self._is_due and (self._work or self._ready):
            self._is_due = True
            engine.callback(self._run, engine)

    def _make_step(self, engine: Engine) -> None:
        """Go on with one of the pages."""
        first = list(itertools.islice(self._work.values(), _MOST_AT_ONCE))
        self._at = (self._at + 1) % len(first)
        work = first[self._at]
        try:
            next(work.page.steps)
            return
        except StopIteration as stop:
            made: bytes | Exception
            if stop.value is None:  # by Ctrl-C, in the last step
                made = RuntimeError("the making of a listing was interrupted")
            else:
                made = stop.value
                if work.page.key is not None:
                    self._keep(engine, work.key, stop.value)
        except Exception as error:  # noqa: BLE001 - it is raised where requests are answered
            made = error
        del self._work[work.key]
        self._ready.extend((reference, work.page, made) for reference in work.waiting)

    # --- Keeping --------------------------------------------------------------------------------------------------

    def _keep(self, engine: Engine, key: Hashable, content: bytes) -> None:
        self._kept[key] = content
        while sum(map(len, self._kept.values())) > _MOST_KEPT:
            del self._kept[next(iter(self._kept))]
        engine.defer(_KEEP_TIME, self._kept.pop, key, None)

    # --- Those who wait -------------------------------------------------------------------------------------------

    def _wait(self, request: HTTPRequest, work: _Work) -> None:
        request.auto_finish = False  # it is answered later
        reference = weakref.ref(request)
        work.waiting[reference] = None
        if request.on_end is None:
            request.on_end = functools.partial(_give_up, reference)
        request._call_at_end(functools.partial(self._leave, reference, work))
        self._run_soon(request.connection.engine)

    def _leave(self, reference: weakref.ref[HTTPRequest], work: _Work) -> None:
        """A request is over; what nobody waits for is not made."""
        work.waiting.pop(reference, None)
        if not work.waiting:
            if self._work.get(work.key) is work:
                del self._work[work.key]
                work.page.steps.close()

    # --- Sending --------------------------------------------------------------------------------------------------

    def _send_next(self) -> None:
        reference, page, made = self._ready.popleft()
        request = reference()
        if request is not None and not request.finished:
            request.connection._run_handler(functools.partial(self._send_made, page=page, made=made), request)

    def _send_made(self, request: HTTPRequest, page: Page, made: bytes | Exception) -> None:
        if isinstance(made, OSError):
            send_shortage(request, made)
        elif isinstance(made, Exception):
            raise made
        else:
            self._send(request, page, made)

    def _send(self, request: HTTPRequest, page: Page, content: bytes) -> None:
        """Answer a request with a page that is made, or have it compressed first."""
        fields = page.fields
        if not page.is_encoded:
            coding, fields = request._negotiate_coding(200, fields, len(content))
            if coding is not None and request.method == "HEAD":
                request._send_whole(200, fields, b"", None)
                return
            if coding is not None:
                compression = request.connection.server.compression
                assert compression is not None
                key = None if page.key is None else (page.key, compression, coding)
                self.answer(request, Page(key, fields, _compress(compression, coding, content), True))
                return
        connection = request.connection
        if request._begin_whole(200, fields, len(content)) and connection.connected:
            connection.write(content)  # itself, and not a copy together with the head
            request._count_whole()
            if len(content) > _SMALL:
                connection.flush()
        request._conclude()


_OF_ENGINES: Final[weakref.WeakKeyDictionary[Engine, Listings]] = weakref.WeakKeyDictionary()


def listings_of(engine: Engine) -> Listings:
    """Return the listings of an engine."""
    listings = _OF_ENGINES.get(engine)
    if listings is None:
        listings = _OF_ENGINES[engine] = Listings()
    return listings


def _give_up(reference: weakref.ref[HTTPRequest]) -> None:
    """The client sends nothing more, and has gone most likely."""
    request = reference()
    if request is not None:
        request.finish()


def _compress(compression: Compression, coding: str, content: bytes) -> Generator[None, None, bytes]:
    """Compress a page in steps."""
    if len(content) <= _PIECE:
        return compression.compress(coding, content)
    encoder = compression.encoder(coding)
    pieces = []
    for start in range(0, len(content), _PIECE):
        pieces.append(encoder.feed(content[start : start + _PIECE]))
        yield
    return b"".join([*pieces, encoder.finish()])
