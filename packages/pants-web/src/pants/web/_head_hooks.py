"""What is done to the head of an answer right before it is sent: the fields of the route, and `Module.after`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from pants.http._answer import FRAMING_FIELDS, checked_fields
from pants.http._cookies import cookie_lines
from pants.http.utils import HTTPHeaders

if TYPE_CHECKING:
    from pants.http import HTTPRequest
    from pants.web._answering import Answering
    from pants.web.module import Module

FieldList = list[tuple[str, str]]


class ResponseHead:
    """The head of an answer that is about to be sent: what `Module.after` hooks are given."""

    __slots__ = ("_headers", "_status")

    def __init__(self, status: int, headers: HTTPHeaders) -> None:
        self._status = status
        self._headers = headers

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.status} {dict(self.headers)}>"

    @property
    def status(self) -> int:
        """The status code."""
        return self._status

    @property
    def headers(self) -> HTTPHeaders:
        """The header fields, to be changed in place. Those of the framing are not among them, nor are cookies."""
        return self._headers


class HeadHooks:
    """Changes the fields of the answer to one request: what its ``_on_head`` is.

    Args:
        application: The application that serves it.
        request: The request.

    Attributes:
        modules: Those whose hooks are called, the outermost first.
        usual: Fields of the route, which others override.
    """

    __slots__ = ("_application", "_failed", "_outer", "_request", "modules", "usual")

    modules: Sequence[Module]
    usual: Mapping[str, str] | None

    def __init__(self, application: Answering, request: HTTPRequest) -> None:
        self._application = application
        self._request = request
        self._outer = request._on_head  # that of an application in whose view this one was called
        self._failed: list[Callable[..., object]] = []  # which are left out for the page that tells of it
        self.modules = (application,)
        self.usual = None

    def __call__(self, code: int, fields: FieldList) -> FieldList:
        """Return the fields to send with an answer."""
        framing = [field for field in fields if field[0].lower() in FRAMING_FIELDS]  # that of a 101
        fields = [field for field in fields if field not in framing]
        if self.usual:
            names = {name.lower() for name, _ in fields}
            fields += [(name, value) for name, value in self.usual.items() if name.lower() not in names]
        if any(module._hooks.after for module in self.modules):
            head = ResponseHead(code, HTTPHeaders(fields))
            self._run(head)
            fields = checked_fields(head.headers)
        return framing + fields if self._outer is None else self._outer(code, framing + fields)

    def _run(self, head: ResponseHead) -> None:
        request, application = self._request, self._application
        for module in reversed(self.modules):
            for func in module._hooks.after:
                if func in self._failed:
                    continue
                try:
                    application._run_current(request, lambda func=func: func(request, head))  # type: ignore[misc]
                    _check(head.headers)
                    if request._cookies_out:
                        cookie_lines(request._cookies_out)  # raises where they cannot be sent
                except Exception as exception:
                    self._failed.append(func)
                    request._on_head = self
                    # Where it is answered later, nobody else sees to it.
                    request.connection.engine.callback(application._answer_late_failure, request, exception)
                    raise


def hooks_of(application: Answering, request: HTTPRequest) -> HeadHooks:
    """Return what is going to change the head of the answer to a request for an application; it is made if need be."""
    hooks = request._on_head
    if not isinstance(hooks, HeadHooks) or hooks._application is not application:
        hooks = HeadHooks(application, request)
        request._on_head = hooks
    return hooks


def _check(headers: HTTPHeaders) -> None:
    """Raise unless the fields that hooks have made can be sent."""
    for name in FRAMING_FIELDS:
        if name in headers:
            raise ValueError(f"a hook has set the header {name}, which is the server's")
    checked_fields(headers)
