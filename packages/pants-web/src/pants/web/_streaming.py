"""Answers that a generator makes up piece by piece."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

from pants.http._answer import WITHOUT_CONTENT
from pants.web._output import Answer, type_of, with_charset, without_surrogates

if TYPE_CHECKING:
    from pants.http import HTTPRequest

# What is asked of a generator in one go, in bytes and in seconds: others have their turn then.
_MOST_BYTES: Final = 65536
_MOST_TIME: Final = 0.002
# RFC 9110 §15.3.6.
_WITHOUT_CONTENT: Final = WITHOUT_CONTENT | {205}


class Streamer:
    """Sends what an iterator yields, as fast as the client takes it.

    Args:
        request: The request to answer.
        answer: The answer, whose content is the iterator. It yields str or bytes. The first piece is asked for at
            once, before anything is sent, so that an exception can still become an error page.
        run: Calls a function while the request is the current one.
        failed: Called with an exception that comes later.

    Raises:
        Exception: Whatever the iterator raises before its first piece.
    """

    def __init__(
        self,
        request: HTTPRequest,
        answer: Answer,
        run: Callable[[Callable[[], object]], None],
        failed: Callable[[Exception], None],
    ) -> None:
        assert isinstance(answer.content, Iterator)
        self._request = request
        self._iterator: Iterator[Any] = answer.content
        self._run = run
        self._failed = failed
        self._is_running = False
        self._is_over = False
        try:
            has_content = request.method != "HEAD" and answer.code not in _WITHOUT_CONTENT
            self._begin(answer, self._first() if has_content else None)
        except BaseException:
            request._call_contained(self._close_iterator)
            raise

    def _first(self) -> Any:
        """The first piece that is not empty."""
        for piece in self._iterator:
            if not isinstance(piece, (str, bytes)):
                raise _wrong(piece)
            if piece:
                return piece
        self._is_over = True
        return b""

    def _begin(self, answer: Answer, piece: str | bytes | None) -> None:
        """Send the head, and the first piece.

        Args:
            answer: The answer.
            piece: The piece; None where there is no content.
        """
        request = self._request
        content_type = answer.content_type
        if content_type is None and piece is not None:
            content_type = type_of(piece)
        if content_type is not None and isinstance(piece, str):
            content_type = with_charset(content_type)
        request._take_back()
        request.send_status(answer.code)
        fields = [] if content_type is None else [("Content-Type", content_type)]
        request.send_headers([*fields, *answer.fields], end_headers=False)
        if piece is None or self._is_over:
            self._close()
            request.finish()
            return
        request._call_at_end(self._close)
        request.on_drain = self._go_on
        self._send(piece)
        # What a piece is made of may have taken long: the next comes when this one has left.

    def _go_on(self) -> None:
        if self._is_over or self._is_running:
            return
        self._is_running = True
        try:
            self._run(self._send_more)
        except Exception as exception:  # noqa: BLE001 - the view's
            self._failed(exception)
        finally:
            self._is_running = False
            if self._is_over:
                self._close()

    def _send_more(self) -> None:
        request = self._request
        end = perf_counter() + _MOST_TIME
        sent = 0
        for piece in self._iterator:
            if self._is_over or request.finished:  # the client went away meanwhile
                return
            if not isinstance(piece, (str, bytes)):
                raise _wrong(piece)
            self._send(piece)
            sent += len(piece)
            if sent >= _MOST_BYTES or perf_counter() >= end or not piece:
                return
        self._is_over = True
        request.finish()

    def _send(self, piece: str | bytes) -> None:
        try:
            self._request.send(piece)
        except UnicodeEncodeError as error:
            whole = without_surrogates(piece, error)
            if whole is None:
                raise
            self._request.send(whole)

    def _close(self) -> None:
        """Let the generator come to its end, whether it has got there or not."""
        self._is_over = True
        if self._request.on_drain == self._go_on:
            self._request.on_drain = None  # a cycle
        if not self._is_running:
            try:
                self._close_iterator()
            except Exception as exception:  # noqa: BLE001 - the view's
                self._failed(exception)

    def _close_iterator(self) -> None:
        iterator, self._iterator = self._iterator, iter(())
        if (close := getattr(iterator, "close", None)) is not None:
            close()


def _wrong(piece: object) -> TypeError:
    return TypeError(f"a generator that answers yields str or bytes, not {type(piece).__name__}")
