"""How a `pants.web.testing.TestClient` asks the application, and waits for it."""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urljoin

from pants._timers import check_seconds
from pants.http import HTTPHeaders, HTTPRequest, RequestTimedOut
from pants.http._target import parse_target
from pants.http.client import RedirectRefused
from pants.testing import MemoryEngine
from pants.web._exchange import Exchange, make_server
from pants.web._test_cookies import CookieKeeper
from pants.web._test_failures import Failures
from pants.web._test_request import TestRequest, merged
from pants.web._test_response import TestResponse

if TYPE_CHECKING:
    from pants.web._test_websocket import TestWebSocket

_USER_AGENT: Final = ("User-Agent", "pants.web.testing")
_MOST_REDIRECTS: Final = 20
# What an answer may have, without any time passing, before it is taken to be endless: pieces; and bytes, where it does
# not tell its length.
_MOST_PIECES: Final = 100_000
_MOST_BYTES: Final = 64 * 1024 * 1024


class Asker(CookieKeeper):
    """The mechanics of a `pants.web.testing.TestClient`, whose arguments these are.

    Attributes:
        app: The application.
        follow_redirects: Whether redirects are followed.
        timeout: The seconds of the engine's time that an answer may take.
        remote_address: The address that the application sees as the client's.
    """

    def __init__(
        self,
        app: Callable[[HTTPRequest], object],
        *,
        base_url: str,
        headers: Any,
        cookies: bool,
        follow_redirects: bool,
        raise_failures: bool,
        remote_address: Any,
        timeout: float,
        server_options: dict[str, Any],
    ) -> None:
        target = parse_target(base_url)
        if target.resource != "/" or target.credentials or target.fragment:
            raise ValueError(f"base_url is a scheme and a host, as http://localhost, not {base_url!r}")
        check_seconds(timeout, "timeout", zero=True)
        self.app = app
        self.follow_redirects = follow_redirects
        self.timeout = timeout
        self.remote_address = remote_address
        super().__init__(target, cookies)
        self._headers: HTTPHeaders = merged(HTTPHeaders([_USER_AGENT]), headers)
        self._failures = Failures(app) if raise_failures else None
        self._streams: dict[TestResponse | TestWebSocket, None] = {}
        self._engine = MemoryEngine()
        try:
            self._server = make_server(app, self._engine, server_options)
        except BaseException:
            self._engine.close()
            raise
        weakref.finalize(self, self._engine.close).atexit = False

    def __repr__(self) -> str:
        state = "closed" if self._engine.closed else self._base.origin
        return f"<{type(self).__name__} {state}, {self.app!r}>"

    # --- One request --------------------------------------------------------------------------------------------

    def _follow(self, request: TestRequest, limit: float, follow: bool, stream: bool) -> TestResponse:
        """Send a request, and those to which it is redirected."""
        keeps = "Cookie" not in request.headers
        response = None
        history: list[TestResponse] = []
        try:
            while True:
                if keeps:
                    self._add_cookies(request)
                response = self._ask(request, history, limit, stream)
                if not follow or response._reply is None or not response.is_redirect:
                    return response
                request = self._redirect(response)
                history = [*history, response]
                keeps = True
        finally:
            if response is not None and response._exchange is not None:
                response._closes_body = True
            elif request._body is not None:
                request._body.close()

    def _ask(self, request: TestRequest, history: list[TestResponse], limit: float, stream: bool) -> TestResponse:
        """Send a request, and wait for the answer."""
        response = TestResponse(self, request, history)
        target = request._target
        with self._raising():
            exchange = Exchange(
                self._server,
                request.method,
                remote_address=self.remote_address,
                local_address=("127.0.0.1", target.port),
                scheme=target.scheme,
                on_content=response._pieces.append,
            )
            if self._failures is not None:
                exchange.connection.on_failure = self._failures.note
            try:
                response._begin(exchange)
                if stream:
                    self._streams[response] = None
                    while response._reply is None and response._step():
                        pass
                else:
                    self._wait(response, lambda: False, limit)
            except BaseException:
                with contextlib.suppress(Exception):
                    response._forget()
                raise
        return response

    def _redirect(self, response: TestResponse) -> TestRequest:
        """Return the request that a redirect leads to."""
        request, location = response.request, response.location or ""
        before = request._target
        if len(response.history) >= _MOST_REDIRECTS:
            raise RedirectRefused(f"there are more than {_MOST_REDIRECTS} redirects, at last to {location!r}")
        try:
            target = parse_target(urljoin(before.url, location))
        except ValueError as error:
            raise RedirectRefused(f"{response!r} redirects to what is no URL of HTTP: {error}") from None
        if not _are_kin(before.host, target.host):
            raise RedirectRefused(
                f"{response!r} redirects to {target.origin}, which another program serves; look at its location, "
                "with follow_redirects=False"
            )
        again = request._redirected(target, response.status_code)
        if again._body is not None and not again._body.replayable:
            raise RedirectRefused(f"{response!r} redirects a request whose content came of an iterator")
        return again

    # --- Waiting ------------------------------------------------------------------------------------------------

    def _raising(self) -> AbstractContextManager[None]:
        return contextlib.nullcontext() if self._failures is None else self._failures.raised()

    def _run(self, response: TestResponse, until: Callable[[], bool], limit: float) -> None:
        """Wait for a part of an answer, as `_wait` does."""
        if response._exchange is not None:
            self._check_free()
            with self._raising():
                self._wait(response, until, limit)
        elif not until():
            response._check_whole()

    def _wait(self, response: TestResponse, until: Callable[[], bool], limit: float) -> None:
        """Wait until a condition holds, or the answer is complete.

        Raises:
            RequestTimedOut: Neither is so in time, or without time passing at all.
            RequestClosed: Neither can be so any more.
        """
        end, steps, counted = self._engine.now + limit, 0, 0
        while not until() and response._exchange is not None:
            if response._step():
                steps += 1
                if steps > _MOST_PIECES or response._count_unbounded() - counted > _MOST_BYTES:
                    raise RequestTimedOut(f"no end of {response!r}; stream=True takes it piece by piece")
                continue
            steps, counted = 0, response._count_unbounded()
            if self._pass_time(end) or response._exchange is None:
                continue
            if not (until() or response._step()):
                raise RequestTimedOut(
                    f"the answer was not finished within {limit} seconds of the engine's time: {response!r}. A view "
                    "that answers later, by a timer say, has to use request.connection.engine"
                )
        if not until():
            response._check_whole()

    def _check_free(self) -> None:
        """Raise unless the engine can be run."""
        if self._engine.closed:
            raise RuntimeError(f"{self!r} is closed; make a new one")
        if self._engine.thread is not None:
            raise RuntimeError(f"{self!r} is running the application at this moment, which cannot ask it; take another")

    def _check_timeout(self, timeout: float | None) -> float:
        if timeout is None:
            return self.timeout
        check_seconds(timeout, "timeout", zero=True)
        return timeout

    def _pass_time(self, end: float) -> bool:
        """Let time pass until something is due; tell whether there was anything before the end."""
        engine = self._engine
        for stream in list(self._streams):
            stream._step()
        engine.advance()
        left = max(0.0, end - engine.now)
        due = engine.time_to_timer()
        if due is None or due > left:
            engine.advance(left)
            return False
        engine.advance(due)
        return True


def _are_kin(one: str, other: str) -> bool:
    """Whether two hosts are the same, or one is a domain of the other."""
    return one == other or one.endswith(f".{other}") or other.endswith(f".{one}")
