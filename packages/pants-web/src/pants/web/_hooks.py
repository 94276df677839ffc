"""Hooks: what a module has called before views and behind them (manual: "Module", the methods with request_)."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from pants.http import HTTPRequest
from pants.web._head_hooks import ResponseHead

RequestHook = Callable[[HTTPRequest], Any]
OutputHook = Callable[[HTTPRequest, Any], Any]
HeadHook = Callable[[HTTPRequest, ResponseHead], Any]

V = TypeVar("V", bound=Callable[..., Any])
R = TypeVar("R", bound=RequestHook)
O = TypeVar("O", bound=OutputHook)  # noqa: E741
H = TypeVar("H", bound=HeadHook)


class Hooks:
    """What a module has registered besides its routes."""

    def __init__(self) -> None:
        self.started: list[RequestHook] = []
        self.finished: list[OutputHook] = []
        self.teardown: list[RequestHook] = []
        self.after: list[HeadHook] = []
        self.by_status: dict[int, OutputHook] = {}
        self.by_class: dict[type[Exception], OutputHook] = {}


class Hooked:
    """The half of a `Module` that has hooks."""

    def __init__(self) -> None:
        self._hooks = Hooks()
        self._is_hooked = False

    def _note_hooks(self) -> None:
        """There may be hooks that were not there before."""
        raise NotImplementedError

    def request_started(self, func: R) -> R:
        """Register a function to call when a request has been routed, before the view (manual: "request_started").

        Those of the outer modules run first, and each module's in the order in which they were registered. It is
        called before the values of variables are made, so that converters may use what it has set.

        Args:
            func: Called with the request.

        Returns:
            The function, so that this is a decorator.

        Raises:
            TypeError: It is not callable, or not with these arguments.
        """
        return self._hook(self._hooks.started, func, 1)

    def request_finished(self, func: O) -> O:
        """Register a function that may change what a view has returned (manual: "request_finished").

        Those of the inner modules run first. It is not called where there was an exception, where ``auto_finish`` is
        False, nor where the view has answered by itself.

        Args:
            func: Called with the request and the output; what it returns is the output then.

        Returns:
            The function, so that this is a decorator.

        Raises:
            TypeError: It is not callable, or not with these arguments.
        """
        return self._hook(self._hooks.finished, func, 2)

    def request_teardown(self, func: R) -> R:
        """Register a function to call when the request is over (manual: "request_teardown").

        Those of the inner modules run first. It is called whenever a rule has matched, whatever has failed since: when
        the answer has been given to the connection, or that has closed before. What it raises is logged.

        Args:
            func: Called with the request.

        Returns:
            The function, so that this is a decorator.

        Raises:
            TypeError: It is not callable, or not with these arguments.
        """
        return self._hook(self._hooks.teardown, func, 1)

    def after(self, func: H) -> H:
        """Register a function that may change the head of every answer to a request of this module's routes.

        It is called right before the head is sent, whoever sends it: with what a view returns, with error pages and
        files, and with what a view sends by the request's methods. Those of the inner modules run first. Those of an
        `Application` are called for all answers, be there a route or not.

        Args:
            func: Called with the request and a `ResponseHead`.

        Returns:
            The function, so that this is a decorator.

        Raises:
            TypeError: It is not callable, or not with these arguments.

        Example:
            >>> from pants.web import Application
            >>> app = Application()
            >>> @app.after
            ... def no_framing(request, head):
            ...     head.headers["X-Frame-Options"] = "DENY"
        """
        return self._hook(self._hooks.after, func, 2)

    def error_handler(self, error: int | type[Exception]) -> Callable[[O], O]:
        """Register a function that makes the answer where an error would be the answer.

        Those of the inner modules are asked first. One for the status of an `HTTPException` comes before one for its
        class, and one for a class before those for its bases. One for 500 is for all exceptions for which there is no
        other; they are logged all the same. Errors without a route are for the handlers of the `Application`.

        Args:
            error: A status code, 400 to 599, or a class of exceptions.

        Returns:
            A decorator for a function that is called with the request and the exception, and returns what a view may
            return. The status is that of the error, unless it returns another.

        Raises:
            TypeError: ``error`` is neither.
            ValueError: The status is none of an error; or it has a handler already.

        Example:
            >>> from pants.web import Application
            >>> app = Application()
            >>> @app.error_handler(404)
            ... def nothing_here(request, exception):
            ...     return f"There is nothing at {request.path}."
            >>> app.test_client().get("/x").status
            '404 Not Found'
        """
        handlers: Any
        if isinstance(error, int) and not isinstance(error, bool):
            if not 400 <= error <= 599:
                raise ValueError(f"a status of an error is 400 to 599 (RFC 9110 §15), not {error}")
            handlers = self._hooks.by_status
        elif isinstance(error, type) and issubclass(error, Exception):
            handlers = self._hooks.by_class
        else:
            raise TypeError(f"error_handler() takes a status code or a class of exceptions, not {error!r}")
        if error in handlers:
            raise ValueError(f"{error!r} has a handler in {self!r} already")

        def register(func: O) -> O:
            check_hook("an error handler", func, 2)
            handlers[error] = func
            return func

        return register

    def _hook(self, hooks: list[Any], func: V, count: int) -> V:
        check_hook("a hook", func, count)
        hooks.append(func)
        self._is_hooked = True
        self._note_hooks()
        return func


def check_hook(what: str, func: object, count: int) -> None:
    """Raise TypeError unless something is a plain function of so many arguments."""
    if not callable(func):
        raise TypeError(f"{what} is a function, and {func!r} cannot be called")
    if inspect.iscoroutinefunction(func) or inspect.isasyncgenfunction(func):
        raise TypeError(f"{what} is a plain function, and {func!r} is an async one")
    check_arguments(what, func, ["the request", "the output, the head or the exception"][:count])


def check_arguments(what: str, func: Callable[..., Any], arguments: Sequence[str]) -> None:
    """Raise TypeError if a function cannot be called with some arguments, as far as that is known."""
    try:
        signature = inspect.signature(func)
    except (TypeError, ValueError):  # of something built in
        return
    try:
        signature.bind(*arguments)
    except TypeError as error:
        raise TypeError(
            f"{what} is called with {' and '.join(arguments)}, and {func!r} takes others: {error}"
        ) from None
