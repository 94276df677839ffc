"""How an application answers: with what a view returns, or with what comes of an exception.

A view's output comes here from `pants.web.application.Application`, and leaves by the request's methods.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Final

from pants.http import HTTPRequest, Refused
from pants.http._answer import checked_fields
from pants.web._head_hooks import hooks_of
from pants.web._last_resort import send_page
from pants.web._output import TEXT, is_content, to_answer, type_of, with_charset, without_surrogates
from pants.web._pages import error_page
from pants.web._streaming import Streamer
from pants.web._urls import current
from pants.web.errors import HTTPException, error_response
from pants.web.module import Module
from pants.web.routing import Route

log = logging.getLogger("pants.web")

ErrorHandler = Callable[[HTTPRequest, Any], Any]

# The types of a str, complete.
_TEXT: Final = with_charset(TEXT)
_types: Final = {TEXT: _TEXT, "text/html": with_charset("text/html")}


class Answering(Module):
    """The half of an `Application` that answers."""

    debug: bool
    on_failure: Callable[[HTTPRequest, Exception], object] | None = None
    json_default: Callable[[Any], Any] | None = None

    def _send_text(self, request: HTTPRequest, route: Route, output: str) -> None:
        """Send a str: what most views return."""
        content_type = route.content_type
        if content_type is None:
            content_type = _TEXT if not output[:1].isspace() and output[:1] != "<" else _types[type_of(output)]
        else:
            content_type = with_charset(content_type)
        try:
            request.send_response(output, 200, content_type)
        except UnicodeEncodeError as error:
            content = without_surrogates(output, error)
            if content is None:
                raise
            self._send(request, route, content)

    def _send(
        self,
        request: HTTPRequest,
        route: Route | None,
        output: object,
        code: int | None = None,
        fields: Iterable[tuple[str, str]] = (),
    ) -> None:
        """Send what a view has returned, if anything is to be sent.

        Args:
            request: The request.
            route: Its route.
            output: What was returned.
            code: The status, where the output tells none.
            fields: Header fields that the output may override, besides those of the route.
        """
        # One that has answered returns nothing, or whatever has taken the connection over. If it is content, the
        # program means to answer twice, and is told.
        if not is_content(output):
            if not request.auto_finish or request.finished or request.connection.taken_over:
                return
            if request._stage and (output is None or (route is not None and route.is_class)):
                return
            if route is not None and isinstance(route.view, type) and isinstance(output, route.view):
                raise TypeError(f"{route.view!r} has neither answered the request nor taken over its connection")
        elif not request.auto_finish:
            return
        content_type = None if route is None else route.content_type
        answer = to_answer(output, content_type, fields, code, self.json_default)
        if not isinstance(answer.content, (str, bytes)):
            run = partial(self._run_current, request)
            Streamer(request, answer, run, lambda exception: self._stream_failed(request, exception))
            return
        content = answer.content
        try:
            request.send_response(content, answer.code, answer.content_type or TEXT, answer.fields)
        except UnicodeEncodeError as error:
            whole = without_surrogates(content, error)
            if whole is None:
                raise
            content = whole
            request.send_response(content, answer.code, answer.content_type or TEXT, answer.fields)

    def _run_current(self, request: HTTPRequest, function: Callable[[], object]) -> None:
        """Call a function while a request is the current one again."""
        token = current.set((self, request))
        try:
            function()
        finally:
            current.reset(token)

    def _stream_failed(self, request: HTTPRequest, exception: Exception) -> None:
        """A generator has failed, in the middle of its answer."""
        self._note_failure(request, exception)
        if not request.finished:
            request._cut_off()

    # --- Errors -------------------------------------------------------------------------------------------------

    def _answer_error(self, request: HTTPRequest, exception: Exception, route: Route | None) -> None:
        """Answer a request that has led to an exception, by a handler for that, or with a page."""
        modules = (self,) if route is None else route.modules
        handler, shown = _find_handler(modules, exception)
        error = _as_error(exception)
        may_answer = not request.finished and not request.connection.taken_over and request._take_back()
        told = not may_answer or (error is None and handler is None)
        if told:
            self._note_failure(request, exception)
        if not may_answer:
            if not request.finished and not request.connection.taken_over:
                request._cut_off()
            return
        request.auto_finish = True
        if route is not None and route.headers:
            hooks_of(self, request).usual = None  # those are of the route's own answers
        if error is None and handler is None:
            handler = _find_status_handler(modules, 500)
        try:
            self._send_error(request, handler, shown, error or HTTPException(500))
        except Exception as failure:  # noqa: BLE001 - that of a handler, or of a hook
            self._answer_plainly(request, failure)
        else:
            if request.code >= 500 and error is None and not told:
                self._note_failure(request, exception)

    def _send_error(
        self, request: HTTPRequest, handler: ErrorHandler | None, exception: Exception, error: HTTPException
    ) -> None:
        """Send what a handler makes of an exception, or a page."""
        fields = checked_fields(error.headers)
        output: object
        if handler is None:
            output = error_response(error, request, self.debug, exception)
        else:
            try:
                output = handler(request, exception)
            except HTTPException as other:
                page = error_response(other, request, self.debug, other)
                self._send(request, None, page, other.status, checked_fields(other.headers))
                return
        self._send(request, None, output, error.status, fields)

    def _answer_plainly(self, request: HTTPRequest, failure: Exception) -> None:
        """Answer with 500 where the page for an error has failed."""
        self._note_failure(request, failure)
        if request.finished:
            return
        page = error_response(HTTPException(500), request, self.debug, failure).body if self.debug else error_page(500)
        send_page(request, page, 500, partial(self._note_failure, request))

    def _note_failure(self, request: HTTPRequest, exception: Exception) -> None:
        """Log an exception of the program's."""
        route = None if request.match is None else request.match.route
        where = "The application" if route is None else f"The route {route.name!r} ({route.rule})"
        log.error("%s failed, on %r", where, request, exc_info=exception)
        if self.on_failure is not None:
            try:
                self.on_failure(request, exception)
            except Exception:
                log.exception("on_failure of %r failed", self)

    def _answer_late_failure(self, request: HTTPRequest, exception: Exception) -> None:
        if not request.finished and request.connection.connected:
            self._run_current(request, partial(self._answer_plainly, request, exception))


def _as_error(exception: Exception) -> HTTPException | None:
    """Return an exception as one that has a status; None for what is a failure of the program."""
    if isinstance(exception, Refused):
        error = HTTPException(exception.status, exception.reason)
        error.__cause__ = exception
        return error
    return exception if isinstance(exception, HTTPException) else None


def _find_handler(modules: Sequence[Module], exception: Exception) -> tuple[ErrorHandler | None, Exception]:
    """Find the handler for an exception, but that for whatever becomes a 500, and what it is to be called with."""
    error = _as_error(exception)
    for module in reversed(modules):
        hooks = module._hooks
        if error is not None and error.status in hooks.by_status:
            return hooks.by_status[error.status], error
        for shown in (exception, error):
            for klass in type(shown).__mro__:
                if shown is not None and klass in hooks.by_class:
                    return hooks.by_class[klass], shown
    return None, exception if error is None else error


def _find_status_handler(modules: Sequence[Module], status: int) -> ErrorHandler | None:
    """Find the handler for a status."""
    for module in reversed(modules):
        if status in module._hooks.by_status:
            return module._hooks.by_status[status]
    return None
