"""What a `pants.web.testing.TestClient` gets."""

from __future__ import annotations

from collections.abc import Iterator
from email.message import Message
from functools import cached_property
from json import loads
from typing import TYPE_CHECKING, Any, Self

from pants.http import HTTPHeaders, RequestClosed
from pants.http._answer import find_charset
from pants.http._reply import REDIRECTS, Reply
from pants.web._exchange import Exchange
from pants.web._test_closing import ClosedByWith
from pants.web._test_request import TestRequest

if TYPE_CHECKING:
    from pants.web._test_asking import Asker


class TestResponse(ClosedByWith):
    """An answer of the application to a `pants.web.testing.TestClient`.

    Where it was asked for with ``stream``, it may be there in part only, or not at all: `data` is what has come so far,
    and there is more of it after `pants.web.testing.TestClient.advance`.

    Attributes:
        request: The request that it answers, a `TestRequest`.
        history: The redirects that led to it, as responses.

    Example:
        >>> from pants.web.testing import TestClient
        >>> with TestClient(lambda request: request.send_response("Hello, World!")) as client:
        ...     response = client.get("/")
        >>> response.status, response.mimetype, response.text
        ('200 OK', 'text/plain', 'Hello, World!')
    """

    __test__ = False

    def __init__(self, client: Asker, request: TestRequest, history: list[TestResponse]) -> None:
        self.request = request
        self.history = history
        self._client = client
        self._pieces: list[bytes] = []
        self._shown = 0  # of the pieces: those that iter_pieces() has given
        self._exchange: Exchange | None = None  # until it is complete
        self._reply: Reply | None = None
        self._complete = False
        self._counted = self._size = 0  # of the pieces: those that have been counted, and their bytes
        self._closes_body = False  # of the request, which is still being sent

    def __repr__(self) -> str:
        state = self.status if self._reply is not None else "without an answer so far"
        return f"<{type(self).__name__} {state} to {self.request.method} {self.request.url}>"

    # --- The head -----------------------------------------------------------------------------------------------

    def _head(self) -> Reply:
        self._take()
        if self._reply is None:
            raise RuntimeError(f"{self!r}; advance() of the client lets time pass, and the application go on")
        return self._reply

    @property
    def status_code(self) -> int:
        """The status code.

        Raises:
            RuntimeError: No answer has begun, as of all that follows here.
        """
        return self._head().status

    @property
    def status(self) -> str:
        """The status code and its reason, as in ``200 OK``."""
        reply = self._head()
        return f"{reply.status} {reply.reason}".rstrip()

    @cached_property
    def headers(self) -> HTTPHeaders:
        """The header fields. Names of any case will do, and `HTTPHeaders.get_list` tells several of one name apart."""
        return self._head().headers()

    @property
    def content_type(self) -> str | None:
        """The value of Content-Type, or None."""
        return self.headers.get("Content-Type")

    @property
    def mimetype(self) -> str:
        """The type in that, in lower case and without parameters; an empty string where there is none."""
        return (self.content_type or "").partition(";")[0].strip().lower()

    @property
    def mimetype_params(self) -> dict[str, str]:
        """The parameters in that, by their names in lower case."""
        message = Message()
        message["Content-Type"] = self.content_type or ""
        return dict(message.get_params([])[1:])

    @property
    def charset(self) -> str:
        """The charset of the content, UTF-8 where none is told, or one that is not known."""
        try:
            return find_charset(self.content_type or "")
        except ValueError:
            return "utf-8"

    @property
    def content_length(self) -> int | None:
        """The value of Content-Length, or None."""
        value = self.headers.get("Content-Length")
        return None if value is None else int(value)

    @property
    def location(self) -> str | None:
        """The value of Location, as it was sent, or None."""
        return self.headers.get("Location")

    @property
    def is_redirect(self) -> bool:
        """Whether it sends the client somewhere else (RFC 9110 §15.4)."""
        return self.status_code in REDIRECTS and "Location" in self.headers

    # --- The content --------------------------------------------------------------------------------------------

    @property
    def complete(self) -> bool:
        """Whether all of the answer is there."""
        self._take()
        return self._complete

    @property
    def data(self) -> bytes:
        """The content, as far as it has come; not decoded where it has a Content-Encoding."""
        self._take()
        return b"".join(self._pieces)

    @property
    def text(self) -> str:
        """The same as a str, decoded by `charset`; what is malformed becomes U+FFFD."""
        return self.data.decode(self.charset, "replace")

    @property
    def is_json(self) -> bool:
        """Whether the type of the content is that of JSON."""
        return self.mimetype == "application/json" or (
            self.mimetype.startswith("application/") and self.mimetype.endswith("+json")
        )

    @property
    def json(self) -> Any:
        """The content, read as JSON; None where it is of another type.

        Raises:
            ValueError: It is no JSON.
        """
        return self.get_json()

    def get_json(self, force: bool = False, silent: bool = False) -> Any:
        """Return the content, read as JSON.

        Args:
            force: Whether to read it whatever its type; otherwise None is returned for another one.
            silent: Whether to return None for what is no JSON.

        Raises:
            ValueError: It is no JSON.
        """
        if not (force or self.is_json):
            return None
        try:
            return loads(self.data)
        except ValueError:
            if silent:
                return None
            raise

    def iter_pieces(self, timeout: float | None = None) -> Iterator[bytes]:
        """Iterate over the content, a piece at a time, as it was sent or somewhat larger.

        What has not come yet is waited for, so that time passes in the client's engine. A view that sends piece by
        piece is asked for the next one not before it is.

        Args:
            timeout: Seconds of the engine's time until a piece has to come; by default the client's.

        Raises:
            pants.http.RequestTimedOut: It has not.
            pants.http.RequestClosed: The application has broken the answer off.
        """
        client = self._client
        limit = client._check_timeout(timeout)
        while True:
            client._run(self, lambda: self._shown < len(self._pieces), limit)
            if self._shown == len(self._pieces):
                return
            self._shown += 1
            yield self._pieces[self._shown - 1]

    def wait(self, timeout: float | None = None) -> Self:
        """Wait until all of the answer is there, so that time passes in the client's engine.

        Args:
            timeout: Seconds of the engine's time that this may take; by default the client's.

        Returns:
            The response.

        Raises:
            pants.http.RequestTimedOut: It has taken longer.
            pants.http.RequestClosed: The application has broken the answer off.
        """
        self._client._run(self, lambda: False, self._client._check_timeout(timeout))
        return self

    # --- Its arrival --------------------------------------------------------------------------------------------

    def _begin(self, exchange: Exchange) -> None:
        self._exchange = exchange
        exchange.send(self.request._head(), self.request._content())

    def _take(self) -> None:
        """Take what has been sent, without having the application go on."""
        exchange = self._exchange
        if exchange is None:
            return
        exchange.take()
        if self._reply is None and exchange.reply is not None:
            self._reply = exchange.reply
            self._client._keep_cookies(self.request._target, exchange.reply.headers())
        self._complete = exchange.done

    def _step(self) -> bool:
        """Have the application go on; tell whether anything has come of it."""
        exchange = self._exchange
        assert exchange is not None
        went_on = exchange.step()
        self._take()
        if exchange.done or exchange.broken:
            self._forget()
        return went_on

    def _count_unbounded(self) -> int:
        """The bytes of content that have come, where the answer does not tell how many there will be."""
        if self._reply is None or self._reply.length is not None:
            return 0
        self._size += sum(map(len, self._pieces[self._counted :]))
        self._counted = len(self._pieces)
        return self._size

    def _check_whole(self) -> None:
        if not self._complete and self._exchange is None:
            what = "without an answer" if self._reply is None else "before the answer was complete"
            raise RequestClosed(f"the connection was closed {what}: {self!r}")

    def _forget(self) -> None:
        """The exchange is over, one way or the other."""
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            self._client._streams.pop(self, None)
            try:
                exchange.close()
            finally:
                if self._closes_body and self.request._body is not None:
                    self.request._body.close()

    def close(self) -> None:
        """Want no more of it: to the application, the client goes away. Closing again does nothing."""
        if self._exchange is not None:
            with self._client._raising():
                self._forget()
