"""One call of a client, from the request to its final response: redirects, authentication and repetitions included.

The way of the data: `Session.request` makes the exchange; `Exchange._submit` gives its request to the `Pool` of the
origin, that to a `ClientConnection`, which tells the exchange what arrives, by `_reply_arrived`, `_content_arrived`
and `_content_ended`, or by `_connection_failed`. From there the hooks are called. Each exchange ends once, in `_end`.
"""

from __future__ import annotations

import logging
import threading
import time
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from pants.http._client_connection import ClientConnection
from pants.http._client_content import Content, malformed
from pants.http._client_cookies import store_cookies
from pants.http._client_errors import (
    CertificateError,
    ConnectionFailed,
    RequestCancelled,
    RequestClosed,
    RequestTimedOut,
    ResponseTooLarge,
    interrupted,
)
from pants.http._client_response import HTTPResponse
from pants.http._client_settings import ACTIVE, IDEMPOTENT
from pants.http._decoding import DecodingError, make_decoder

if TYPE_CHECKING:
    from pants.http._client_certificate import CertificateProbe
    from pants.http._client_pool import Pool
    from pants.http._client_request import HTTPRequest
    from pants.http._client_settings import Retries
    from pants.http._reply import Reply
    from pants.http.client import HTTPClient

log = logging.getLogger("pants.http")

# Content of a response that is not the final one and is longer than this costs the connection, in bytes.
_MOST_DROPPED: Final = 65536
# Failures that may pass.
_PASSING: Final = (ConnectionFailed, RequestClosed, RequestTimedOut)
# Seconds between two looks at whether the thread that ran the engine has left it.
_TAKE_OVER_PACE: Final = 0.05
_event_lock = threading.Lock()


class Exchange:
    """A request that is under way, and what becomes of it: `HTTPClient.get` and its sisters return one.

    It can be given up by `cancel`, and waited for by `wait`, both from any thread. It includes the requests that
    follow from redirects, from demands for authentication and from failures.

    Attributes:
        client: The `HTTPClient`.
        request: The `HTTPRequest`; of several, the last one so far.
        response: The `HTTPResponse` to it, once its head has arrived; before that, None.
        history: The responses that led to that request.
        error: What the exchange failed with, or None.
        done: Whether it has come to its end: by a response, by an error, or because it was cancelled.

    Example:
        >>> from pants.http import HTTPClient, HTTPServer
        >>> server = HTTPServer(lambda request: request.send_response("Hello, World!")).listen(("127.0.0.1", 0))
        >>> exchange = HTTPClient().get("http://127.0.0.1:%d/" % server.local_address[1])
        >>> exchange.done, exchange.wait().content, exchange.done
        (False, b'Hello, World!', True)
        >>> server.close()
    """

    __slots__ = (
        "_asked",
        "_body",
        "_found_at",
        "_cancel_timer",
        "_cancel_total",
        "_connection",
        "_content",
        "_event",
        "_following",
        "_hook_running",
        "_hooks",
        "_pool",
        "_probed",
        "_repeated",
        "_retries",
        "_waiters",
        "client",
        "done",
        "error",
        "history",
        "request",
        "response",
    )

    def __init__(
        self, client: HTTPClient, request: HTTPRequest, hooks: dict[str, Any] | None, retries: Retries | None
    ) -> None:
        self.client = client
        self.request = request
        self.response: HTTPResponse | None = None
        self.history: list[HTTPResponse] = []
        self._connection: ClientConnection | CertificateProbe | None = None
        self._pool: Pool | None = None  # in which it waits for a connection
        self.done = False
        self._hooks = hooks
        self._body = request._body  # which is closed at the end, though a later request has none
        self._retries = retries
        self._repeated = 0
        self._following: HTTPRequest | None = None  # what is asked for next, because of this response
        self._content: Content | None = None  # where the content goes by another way than the plain one
        self.error: Exception | None = None
        self._event: threading.Event | None = None
        self._hook_running = False
        self._waiters = 0
        self._probed = False  # whether the program has been asked about a certificate
        self._cancel_timer: Callable[[], None] | None = None  # of the time before it is made again
        self._cancel_total: Callable[[], None] | None = None
        self._asked = self._found_at = client.engine.clock()

    def __repr__(self) -> str:
        state = "under way" if not self.done else "done" if self.error is None else "failed"
        return f"<{type(self).__name__} of {self.request!r}, {state}>"

    def _hook(self, name: str) -> Callable[..., Any]:
        """Return the hook that is to be called: this call's, the session's or the client's."""
        if self._hooks is not None and (hook := self._hooks.get(name)) is not None:
            return hook  # type: ignore[no-any-return]
        hook = self.request.session._hooks.get(name)
        return getattr(self.client, name) if hook is None else hook  # type: ignore[no-any-return]

    def _run_hook(self, name: str, *args: Any) -> Any:
        return self._run(self._hook(name), *args)

    def _run(self, hook: Callable[..., Any], *args: Any) -> Any:
        """Call a hook. No session is active in it but the client's own."""
        token = ACTIVE.set(()) if ACTIVE.get() else None
        self._hook_running = not self.done
        try:
            return hook(*args)
        finally:
            self._hook_running = False
            if token is not None:
                ACTIVE.reset(token)

    def _is_quiet(self) -> bool:
        """Whether nobody wants to be told before the response is complete."""
        return self._hooks is None and not self.request.session._hooks and not self.client._hears_parts

    def _find_taker(self) -> Callable[..., Any] | None:
        """Return the hook that takes the content piece by piece, if there is one."""
        taker = self._hooks.get("on_data") if self._hooks is not None else None
        return taker or self.request.session._hooks.get("on_data") or getattr(self.client, "on_data", None)

    def _need_content(self) -> Content:
        if self._content is None:
            self._content = Content(self, None)
        return self._content

    # --- Beginning ----------------------------------------------------------------------------------------------

    def _start(self) -> None:
        """Begin. Nothing is told before the engine's loop goes on."""
        if self.done:  # cancelled before it got here, from another thread
            return
        total = self.request._timeout.total
        if total is not None:  # which may have begun in another thread
            left = max(0.0, total - (self.client.engine.clock() - self._asked))
            self._cancel_total = self.client.engine.defer(left, self._overdue)
        self._submit()

    def _overdue(self) -> None:
        self._fail(RequestTimedOut(f"{self.request!r} was not answered within {self.request._timeout.total} seconds"))

    def _submit(self) -> None:
        """Have the request sent, once there is a connection for it."""
        try:
            self.client._find_pool(self.request).submit(self)
        except Exception as error:  # noqa: BLE001 - the environment may name what is no proxy
            self._fail_soon(error)

    def _wait_in(self, pool: Pool) -> None:
        """There is no connection for it yet."""
        self._pool = pool
        limit = self.request._timeout.queue
        if limit is not None:
            error = RequestTimedOut(f"there was no connection for {self.request!r} within {limit} seconds")
            self._cancel_timer = self.client.engine.defer(limit, self._fail, error)

    def _waits_no_more(self) -> None:
        self._found_at = self.client.engine.clock()
        self._pool = None
        if self._cancel_timer is not None:
            self._cancel_timer()
            self._cancel_timer = None

    # --- What the connection tells ------------------------------------------------------------------------------

    def _reply_arrived(self, reply: Reply) -> None:
        """The head of the response has arrived."""
        request = self.request
        response = self.response = HTTPResponse(request)
        response._reply = reply
        response._exchange = self  # until it is complete
        response.history = self.history
        request._response = weakref.ref(response)
        if not reply.ordinary or request.auth is not None:
            try:
                self._heed(response)
            except Exception as error:  # noqa: BLE001 - what authorizes it is the program's
                self._fail(error)
                return
        if self._retries is not None and self._should_repeat(response):
            return
        if self._following is None and request.method != "HEAD" and not self._is_quiet():  # manual: "on_headers"
            self._tell_headers(response)

    def _heed(self, response: HTTPResponse) -> None:
        """See to what is not ordinary in a response's head.

        Raises:
            RedirectRefused: It redirects to where the client does not go.
            MalformedResponse: Its content is coded too often.
            Exception: Whatever authorizes the request has raised.
        """
        request = self.request
        headers = response.headers
        if "Set-Cookie" in headers:
            store_cookies(request._jar, request._target, headers.get_list("Set-Cookie"))
        if request.auth is not None and response.status_code != 401:
            request.auth.handle_response(response)
        self._following = response._next(self.client)
        coding = headers.get("Content-Encoding", "")
        if coding and request.method != "HEAD" and self._following is None:
            self._content = self._decode(coding)

    def _decode(self, coding: str) -> Content | None:
        limits = self.client.limits
        try:
            decoder = make_decoder(coding, max_size=None, max_ratio=limits.ratio, free=limits.free)
        except DecodingError as error:
            raise malformed(error) from error
        return None if decoder is None else Content(self, decoder)

    def _tell_headers(self, response: HTTPResponse) -> None:
        taker = self._find_taker()
        if taker is not None:
            self._need_content().taker = taker
        try:
            go_on = self._run_hook("on_headers", response)
        except Exception as error:  # noqa: BLE001 - hooks are contained
            self._fail(error)
            return
        if go_on is False:
            self._cancel()

    def _content_arrived(self, data: bytes) -> None:
        """A piece of the content has arrived."""
        response = self.response
        assert response is not None
        response._received += len(data)
        if self._following is not None:
            self._keep_some(response, data)
            return
        try:
            if self._content is None:
                self._keep(data)
            else:
                self._content.feed(data)
            if self.response is response and not self.done and not self._is_quiet():
                total = response._reply.length or 0  # type: ignore[union-attr]
                self._run_hook("on_progress", response, response._received, total)
        except DecodingError as error:
            self._fail(malformed(error))
        except Exception as error:  # noqa: BLE001 - hooks are contained, and the disk may be full
            self._fail(error)

    def _keep_some(self, response: HTTPResponse, data: bytes) -> None:
        """Keep a piece of the content of a response that is not the final one, unless that is long, or coded."""
        if response._received > _MOST_DROPPED:  # not worth waiting for
            self._drop_connection()
            self._follow()
        elif "Content-Encoding" not in response.headers:
            response._keep(data, _MOST_DROPPED)

    def _keep(self, data: bytes) -> None:
        """Keep a piece of the content in the response.

        Raises:
            ResponseTooLarge: There is too much of it.
            OSError: The disk is full.
        """
        limits = self.client.limits
        response = self.response
        assert response is not None
        if response._size + len(data) > limits.content:
            raise ResponseTooLarge(
                f"the content is longer than {limits.content} bytes; give the client other ClientLimits, or take it "
                "by on_data"
            )
        response._keep(data, limits.spool_size)

    def _take_times(self, connection: ClientConnection) -> None:
        """Remember the times of the response, which is complete; the connection knows some of them."""
        response = self.response
        assert response is not None
        sent, first = connection.sent_at, connection.first_at
        response._times = (
            self._asked,
            self._found_at,
            connection.take_phases(),
            sent,
            first,
            self.client.engine.clock(),
        )

    def _content_ended(self) -> None:
        """The content is complete, and the connection has been let go of."""
        if self._following is not None:
            self._follow()
        elif self._content is not None:
            self._content.end()
        else:
            self._complete()

    def _complete(self) -> None:
        """The response is complete, and all of it has been handed out or kept."""
        response = self.response
        assert response is not None
        if response._spooled:
            try:
                response._flush()
            except OSError as error:
                self._fail(error)
                return
        self._end(None)
        self._call("on_response", response)

    @property
    def _may_be_sent_twice(self) -> bool:
        """Whether nothing is lost or done twice where the request is sent again (RFC 9110 §9.2.2)."""
        return self.request.method in IDEMPOTENT and self.request._is_replayable

    def _connection_failed(self, error: Exception, *, sent: bool, stale: bool) -> None:
        """The connection has failed.

        Args:
            error: Why.
            sent: Whether anything of the request may have been received.
            stale: Whether the connection had been used before, and nothing of the response has arrived: most likely
                the server had closed it in the meantime.
        """
        request = self.request
        if stale and self._may_be_sent_twice and not self.client._closed:
            self._again()
            return
        may_retry = isinstance(error, _PASSING) and not self.client._closed and not self._has_told()
        retries = self._retries if may_retry else None
        if retries is not None and (not sent or (request._is_replayable and request.method in retries.methods)):
            if (delay := retries.delay(self._repeated, None)) is not None:
                self._repeat_in(delay)
                return
        self._fail(error)

    @property
    def _wants_certificates(self) -> bool:
        """Whether the program wants to be asked about certificates that cannot be verified."""
        return not self.client._is_own(self._hook("on_ssl_error"))

    def _accepts_certificate(self, error: CertificateError) -> bool:
        """Ask the program about a certificate; where it does not accept it, this ends the exchange."""
        response = HTTPResponse(self.request)
        try:
            accepted = self._run_hook("on_ssl_error", response, error.certificate, error)
        except Exception as exception:  # noqa: BLE001 - hooks are contained
            self._fail(exception)
            return False
        except BaseException:
            self._fail_soon(interrupted())
            raise
        if accepted is not True:
            self._fail(error)
        return not self.done

    def _has_told(self) -> bool:
        """Whether some of the content has been handed out already."""
        content, response = self._content, self.response
        return content is not None and content.taker is not None and response is not None and response._received > 0

    # --- Making it again ----------------------------------------------------------------------------------------

    def _should_repeat(self, response: HTTPResponse) -> bool:
        """Make the request again, if this response counts as a failure, and it may be."""
        retries, request = self._retries, self.request
        assert retries is not None
        if response.status_code not in retries.statuses or request.method not in retries.methods:
            return False
        if not request._is_replayable:
            return False
        delay = retries.delay(self._repeated, response)
        if delay is None:
            return False
        self._drop_connection()
        self._repeat_in(delay)
        return True

    def _repeat_in(self, delay: float) -> None:
        self._repeated += 1
        if self.response is not None:
            self.response.close()
        self._forget_response()
        self._cancel_timer = self.client.engine.defer(delay, self._again)

    def _again(self) -> None:
        """Make the same request again; there is no response to it."""
        self._cancel_timer = None
        self.request._reset()
        self._asked = self._found_at = self.client.engine.clock()
        self._submit()

    def _follow(self) -> None:
        """Make the request that follows from the response."""
        following, response = self._following, self.response
        assert following is not None
        assert response is not None
        self.history = [*self.history, response]
        if following.origin != self.request.origin:
            self._probed = False
        self.request = following
        self._forget_response()
        self._asked = self._found_at = self.client.engine.clock()
        self._submit()

    def _forget_response(self) -> None:
        if self.response is not None:
            self.response._exchange = None
        if self._content is not None:
            self._content.drop()
        self.response = self._content = self._following = None

    # --- The end ------------------------------------------------------------------------------------------------

    def _fail(self, error: Exception) -> None:
        """End it by an error."""
        if self.done:
            return
        response = self.response or HTTPResponse(self.request)
        self._end(error)
        if not (self._waiters and self.client._is_own(self._hook("on_error"))):
            self._call("on_error", response, error)
        response.close()
        _forget_frames(error)

    def _fail_soon(self, error: Exception) -> None:
        """The same, from the loop: for what may be inside a call of the program's."""
        self._drop_connection()
        if self.client.engine.closed:
            self._fail(error)
        else:
            self._cancel_timer = self.client.engine.callback(self._fail, error)

    def _cancel(self) -> None:
        if not self.done:
            self._end(RequestCancelled(f"{self.request!r} was cancelled"))
            if self.response is not None:
                self.response.close()

    def cancel(self) -> None:
        """Give it up. Neither ``on_response`` nor ``on_error`` is called any more; `wait` raises `RequestCancelled`.

        It may be called from any thread. Where the exchange has come to its end, it does nothing.
        """
        self.client._call_home(self._cancel)

    def _end(self, error: Exception | None) -> None:
        self.error = error
        if self.response is not None:
            self.response._exchange = None
        if self._connection is not None or self._pool is not None:
            self._drop_connection()
        if self._content is not None:
            self._content.drop()
            self._content = None
        if self._cancel_timer is not None:
            self._cancel_timer()
        if self._cancel_total is not None:
            self._cancel_total()
        self._cancel_timer = self._cancel_total = None
        if self._body is not None:
            self._body.close()
        self.done = True
        event = self._event
        if event is not None:
            event.set()
        self.client._finished(self)

    def _drop_connection(self) -> None:
        """Let go of what has been begun."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abandon()
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.withdraw(self)

    def _call(self, name: str, *args: Any) -> None:
        """Call one of the two hooks of which one is called last. What it raises is logged."""
        try:
            self._run_hook(name, *args)
        except Exception:
            log.exception("%s of %r failed", name, self.request)

    def wait(self, timeout: float | None = None) -> HTTPResponse:
        """Wait for the end.

        Called in another thread than the engine's, it blocks that thread. Where the engine does not run otherwise, it
        is run meanwhile; inside a hook as well, as `Engine.poll` allows. There it may wait for a connection that the
        hook's own response is in the midst of; `Timeout.queue` bounds that.

        Args:
            timeout: Seconds to wait, or None for as long as it takes. The exchange goes on all the same.

        Returns:
            The final response.

        Raises:
            HTTPClientException, CertificateError: What ``on_error`` is called with; or it was cancelled.
            TimeoutError: The time is over.
        """
        until = None if timeout is None else time.monotonic() + timeout
        self._waiters += 1
        try:
            while not self.done:
                left = None if until is None else until - time.monotonic()
                if left is not None and left <= 0:
                    raise TimeoutError(f"{self.request!r} has not come to its end within {timeout} seconds")
                self._wait_some(left)
        finally:
            self._waiters -= 1
        if self.error is None:
            assert self.response is not None
            return self.response
        error = self.error
        try:
            raise error
        finally:
            error.__traceback__ = None
            del error, self  # the traceback would be a cycle

    def _wait_some(self, left: float | None) -> None:
        """Wait for the end, or something that may lead to it, but no longer than ``left`` seconds."""
        if self.client._is_elsewhere():
            # Whoever runs the engine there may leave it before this exchange has come to its end.
            self._need_event().wait(_TAKE_OVER_PACE if left is None else min(left, _TAKE_OVER_PACE))
            return
        if self._hook_running:
            raise RuntimeError("wait() in a hook of the very exchange that is waited for; it would never end")
        token = ACTIVE.set(())  # what is run meanwhile has nothing to do with the session around this
        try:
            self.client.engine.poll(left)
        except RuntimeError:
            if not self.client._is_elsewhere():  # started there in this very moment
                raise
        finally:
            ACTIVE.reset(token)

    def _need_event(self) -> threading.Event:
        with _event_lock:
            if self._event is None:
                self._event = threading.Event()
            if self.done:
                self._event.set()
            return self._event

    # --- The pace of whoever takes the content -----------------------------------------------------------------------

    def _pause_connection(self) -> None:
        if isinstance(self._connection, ClientConnection):
            self._connection.pause_content()

    def _resume_connection(self) -> None:
        if isinstance(self._connection, ClientConnection):
            self._connection.resume_content()

    def _pause_content(self) -> None:
        """Hand out, and receive, no more of the content."""
        self._need_content().pause()

    def _resume_content(self) -> None:
        """Undo `_pause_content`."""
        if self._content is not None:
            self._content.resume()


def _forget_frames(error: BaseException | None) -> None:
    """Let go of the frames in which an error came up: they lead back to the exchange that has it."""
    while error is not None:
        error.__traceback__ = None
        error = error.__cause__ or error.__context__
