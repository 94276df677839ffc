"""The content of a response on its way through a decoder, or to whoever takes it piece by piece."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from pants.http._client_errors import HTTPClientException, MalformedResponse, ResponseTooLarge, interrupted
from pants.http._decoding import DecodedTooLarge, Decoder, DecodingError

if TYPE_CHECKING:
    from pants.http._client_exchange import Exchange
    from pants.http._client_response import HTTPResponse

# Decoded content that is handed out at once, in bytes.
_PIECE: Final = 65536


class Content:
    """Content on its way through a decoder, or to whoever takes it piece by piece.

    Args:
        exchange: Whose it is.
        decoder: What it goes through, or None.
    """

    __slots__ = (
        "_decoder",
        "_ended",
        "_exchange",
        "_paused",
        "_pending",
        "_pumping",
        "is_behind",
        "on_caught_up",
        "taker",
    )

    def __init__(self, exchange: Exchange, decoder: Decoder | None) -> None:
        self._exchange: Exchange | None = exchange
        self._decoder = decoder
        self._pending: deque[bytes] = deque()
        self._paused = self._ended = self._pumping = False
        #: Whether there is something that can be handed out, but in the next turn; then this is called, once.
        self.is_behind = False
        self.on_caught_up: Callable[[], object] | None = None
        #: Called with the response and each piece; None for content that is kept.
        self.taker: Callable[[HTTPResponse, bytes], object] | None = None

    def drop(self) -> None:
        """Nobody wants it any more."""
        self._exchange = self.on_caught_up = None
        self._pending.clear()

    def feed(self, data: bytes) -> None:
        """Take another piece.

        Raises:
            DecodingError: It is malformed, or becomes too much.
            Exception: Whatever the taker raises.
        """
        self._pending.append(data)
        if self._pump() and self._exchange is not None:
            self._exchange._resume_connection()  # the taker may have paused it, polled, and been resumed

    def is_sound(self) -> bool:
        """There is no more: whether it is as it should be, as far as that can be told; where not, the exchange fails.

        To be called before the connection is let go of, which is not used again then.
        """
        exchange = self._exchange
        if exchange is not None and self._decoder is not None and not self._paused:
            try:
                self._decoder.finish()
            except DecodingError as error:
                exchange._fail(malformed(error))
                return False
        return True

    def end(self) -> None:
        """There is no more."""
        self._ended = True
        self._go_on()

    def pause(self) -> None:
        """Hand out no more."""
        self._paused = True
        if self._exchange is not None:
            self._exchange._pause_connection()

    def resume(self) -> None:
        """Go on, from the loop."""
        if self._paused and self._exchange is not None:
            self._paused = False
            self._exchange.client.engine.callback(self._go_on)

    def _go_on(self) -> None:
        """Hand out what there is, and complete the exchange or receive more."""
        exchange = self._exchange
        if exchange is None:
            return
        try:
            if not self._pump() or self._exchange is None:
                return
            caught_up, self.on_caught_up = self.on_caught_up, None
            if caught_up is not None:
                caught_up()
            elif not self._ended:
                exchange._resume_connection()
            else:
                self._ended = False
                if self._decoder is not None:
                    self._decoder.finish()
                exchange._complete()
        except DecodingError as error:
            exchange._fail(malformed(error))
        except Exception as error:  # noqa: BLE001 - hooks are contained
            exchange._fail(error)
        except BaseException:
            exchange._fail_soon(interrupted())
            raise

    def _pump(self) -> bool:
        """Hand out what there is, until it is paused, or others are to have their turn.

        Returns:
            Whether all has been handed out.
        """
        if self._pumping or self._exchange is None:  # the taker polls the engine
            return False
        self.is_behind = False
        until = self._exchange.client._end_of_turn()
        self._pumping = True
        try:
            while not self._paused:
                piece = self._take()
                if not piece:
                    return True
                self._hand_out(piece)
                if self._exchange is None:
                    return False
                if self._exchange.client.engine.clock() > until:
                    self.is_behind = True
                    self._exchange._pause_connection()
                    self._exchange.client.engine.callback(self._go_on)
                    return False
            return False
        finally:
            self._pumping = False

    def _take(self) -> bytes:
        """Return the next piece, or nothing."""
        decoder = self._decoder
        if decoder is None:
            return self._pending.popleft() if self._pending else b""
        while not (piece := decoder.read(_PIECE)) and self._pending:
            decoder.feed(self._pending.popleft())
        return piece

    def _hand_out(self, piece: bytes) -> None:
        exchange = self._exchange
        assert exchange is not None
        if self.taker is None:
            exchange._keep(piece)
        elif exchange.response is not None:
            exchange._run(self.taker, exchange.response, piece)


def malformed(error: DecodingError) -> HTTPClientException:
    """Return what a request fails with whose content cannot be decoded."""
    kind = ResponseTooLarge if isinstance(error, DecodedTooLarge) else MalformedResponse
    failure = kind(f"the content cannot be decoded: {error}")
    failure.__cause__ = error
    return failure
