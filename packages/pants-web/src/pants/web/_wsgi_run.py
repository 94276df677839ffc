"""How a WSGI application is run (PEP 3333): its call, its iteration, its end.

A `Run` is one call of the application. It knows the protocol, and nothing of where it runs: how its answer goes out is
said by its subclasses, `pants.web._wsgi_inline.InlineRun` and `pants.web._wsgi_threads.ThreadRun`.
"""

from __future__ import annotations

import itertools
import logging
import reprlib
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, NoReturn

from pants.web._wsgi_answer import Head, checked_head
from pants.web._wsgi_streams import FileWrapper, Slice

if TYPE_CHECKING:
    from pants.http import HTTPRequest
    from pants.http._body import BodyStore
    from pants.http._compression import Compression
    from pants.web.wsgi import WSGIConnector

log = logging.getLogger("pants.web.wsgi")

ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]

# What `Run.begin` and `Run.step` return.
DONE: Final = 0  # the answer is complete
IDLE: Final = 1  # the application had nothing to send
MORE: Final = 2  # it had, and may have more

# An application that yields nothing so many times in a row is left alone for so many seconds. It may be waiting.
_MOST_EMPTY: Final = 16
IDLE_PACE: Final = 0.001

# What there is behind the last block.
_END: Final[Any] = object()

# Up to so many bytes, what is read of a file is sent together with the head, which takes the kernel less.
_SMALL_FILE: Final = 65536
# A list of blocks is sent as one up to so many bytes; beyond that block by block, as the client takes it.
_MOST_JOINED: Final = 1024 * 1024


class Run:
    """One call of an application."""

    _connector: WSGIConnector
    _request: HTTPRequest
    # Set where they differ only: most runs are over before anything of it is needed.
    _head: Head | None = None
    _begun: bool = False  # the head has been sent, or is on its way
    _result: Any = None
    _iterator: Iterator[bytes] | None = None
    _has_tail: bool = False  # the application may do something behind its only block
    _is_head: bool = False
    _gone: BrokenPipeError | None = None  # what was raised because the request is over
    # A body on disk is the run's from its beginning: the application may read it after the request is finished.
    _store: BodyStore | None = None

    def _begin_with(self, connector: WSGIConnector, request: HTTPRequest) -> None:
        """Take a request; in the engine's thread.

        Args:
            connector: Whose application is to answer.
            request: The request.
        """
        self._connector = connector
        self._request = request
        if request.method == "HEAD":
            self._is_head = True
        if request._store is not None and request._store._spool is not None:
            self._store, request._store = request._store, None

    # --- What the application calls -------------------------------------------------------------------------------

    def start_response(self, status: str, headers: Any, exc_info: ExcInfo | None = None) -> Callable[[bytes], None]:
        """Take the status and the headers of the answer (PEP 3333, "The start_response Callable").

        Returns:
            `write`.

        Raises:
            AssertionError: It was called before, and this is not because of an exception.
            TypeError, ValueError: They cannot be sent.
            BaseException: The one in ``exc_info``, where it is too late for another answer.
        """
        if exc_info:
            try:
                if self._begun and exc_info[1] is not None:
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None  # or it were a cycle
        elif self._head is not None:
            raise AssertionError("start_response() has been called already, and may be again with exc_info only")
        self._head = checked_head(status, headers, self._is_head)
        return self.write

    def write(self, data: bytes) -> None:
        """Send a block of content; new applications yield them instead (PEP 3333, "The write Callable").

        Raises:
            TypeError: It is not bytes.
            BrokenPipeError: The client has gone.
        """
        self._check_block(data, "write() takes")
        assert self._head is not None
        if self._begun:
            self._put(data)
        else:
            self._begun = True
            self._put_head(self._head, data)
        self._flush()

    # --- What runs it ---------------------------------------------------------------------------------------------

    def begin(self, environ: dict[str, Any]) -> int:
        """Call the application, and send the first block.

        Args:
            environ: The environ of the request.

        Returns:
            `DONE`, `IDLE` or `MORE`.

        Raises:
            BaseException: Whatever the application raises, or what is wrong with what it returns.
        """
        result: Any = self._connector.application(environ, self.start_response)
        self._result = result
        kind = result.__class__
        if kind is list or kind is tuple:
            if self._put_list(result):
                self._result = None
                return DONE
        elif kind is FileWrapper:
            if self._put_slice(result):
                return DONE
        elif kind is str or kind is bytes or not (hasattr(kind, "__iter__") or hasattr(kind, "__getitem__")):
            raise TypeError(f"a WSGI application returns an iterable of bytes, not {_described(result)}")
        iterator = self._iterator = iter(result)
        block = next(iterator, _END)
        head = self._head
        # The common case, quickly: one block, whose length is told.
        if block.__class__ is bytes and head is not None and len(block) == head.length and not self._begun:
            self._begun = True
            self._put_whole(head, block)
            self._has_tail = head.has_content
            return DONE
        if block is not _END:
            self._iterator = itertools.chain((block,), iterator)
        return self.step()

    def step(self) -> int:
        """Send the next block; otherwise as `begin`."""
        assert self._iterator is not None
        empty = 0
        for block in self._iterator:
            if not (block.__class__ is bytes and block):
                self._check_block(block)
                if not block:
                    empty += 1
                    if empty == _MOST_EMPTY:
                        return IDLE
                    continue
            head = self._head or self._checked_head()
            if not self._begun:
                if head.length == len(block) or not head.has_content or self._is_single():
                    self._begun = True
                    # Of content that is left out, a part says nothing about the length of the whole.
                    self._put_whole(head, block if head.has_content or self._is_single() else b"")
                    self._has_tail = head.has_content
                    return DONE
                self._begun = True
                self._put_head(head, block)
                return MORE
            if head.has_content:
                self._put(block)
                return MORE
            break
        if self._begun:
            self._put_end()
        else:
            self._put_whole(self._checked_head(), b"")
        return DONE

    def end(self) -> None:
        """Let the application come to its end (PEP 3333: its `close` is called whatever has happened)."""
        result, iterator = self._result, self._iterator
        self._result = self._iterator = self._gone = None
        try:
            if self._has_tail and next(iterator, None):  # type: ignore[arg-type]
                self._tell_surplus()
        except Exception as error:  # noqa: BLE001 - it is too late for another answer
            self.tell(error, "failed behind its answer")
        finally:
            try:
                if result is not None and hasattr(result, "close"):
                    result.close()
            except Exception as error:  # noqa: BLE001 - as above
                self.tell(error, "failed when its result was closed")
            finally:
                if self._store is not None:
                    self._store.close()
                errors = self._connector._errors
                if errors.is_in_use:
                    errors.flush()

    @property
    def asked(self) -> str:
        """What the client has asked for, to be told in the log."""
        return f"{self._request.method} {self._request.url}"

    @property
    def compression(self) -> Compression | None:
        """How the server compresses."""
        return self._request.connection.server.compression

    def tell(self, error: BaseException, what: str = "failed") -> None:
        """Log an error of the application's."""
        log.error("The WSGI application %s %s, on %s", self._connector.name, what, self.asked, exc_info=error)

    def _break(self) -> NoReturn:
        """Have the application stop, for nothing that it sends is taken any more."""
        self._gone = BrokenPipeError("the request is over: its client has gone, or it was answered in another way")
        raise self._gone

    def _is_broken(self, error: BaseException) -> bool:
        """Whether an exception is the one of `_break`."""
        gone, self._gone = self._gone, None  # with its traceback it were a cycle
        if error is not gone:
            return False
        log.debug("The request was over before %s was answered", self.asked)
        return True

    def _tell_surplus(self) -> None:
        log.error(
            "The WSGI application %s has more content than its Content-Length, which was not sent, on %s",
            *(self._connector.name, self.asked),
        )

    # --- Blocks ---------------------------------------------------------------------------------------------------

    def _checked_head(self) -> Head:
        if self._head is None:
            raise RuntimeError("a WSGI application calls start_response() before its first block, and this one did not")
        return self._head

    def _check_block(self, block: object, what: str = "a WSGI application yields") -> None:
        if not isinstance(block, bytes):
            hint = "; encode it" if isinstance(block, str) else ""
            raise TypeError(f"{what} bytes, not {_described(block)}{hint}")

    def _is_single(self) -> bool:
        """Whether the result has one block, and tells so (PEP 3333, "Handling the Content-Length Header")."""
        assert self._head is not None
        return self._head.length is None and hasattr(self._result, "__len__") and len(self._result) == 1

    def _put_list(self, result: list[Any] | tuple[Any, ...]) -> bool:
        """Send all blocks at once, unless they are too many; tell whether that was done."""
        for block in result:
            if block.__class__ is not bytes:
                self._check_block(block)
        size = sum(map(len, result))
        if len(result) > 1 and size > _MOST_JOINED:
            head = self._checked_head()
            if head.length is None and not self._begun:
                self._head = head._replace(length=size)
            return False
        content = result[0] if len(result) == 1 else b"".join(result)
        if self._begun:
            if content:
                self._put(content)
            self._put_end()
        else:
            self._put_whole(self._checked_head(), content)
        return True

    def _put_slice(self, wrapper: FileWrapper) -> bool:
        """Send from a file, if that can be done; tell whether it was."""
        head = self._head
        content = None if head is None or self._begun else wrapper.slice()
        if head is None or content is None or head.is_compressible(self.compression):
            return False
        if head.length is not None and head.length > content.size:
            return False  # it has to be seen that there is less
        if head.length is None:
            head = head._replace(length=content.size)
        else:
            content = content._replace(size=head.length)
        if not head.has_content:
            self._put_whole(head, b"")
        elif content.size <= _SMALL_FILE:
            data = content.read(content.size)
            if len(data) < content.size:
                return False
            self._put_whole(head, data)
        else:
            self._put_file(head, content)
        return True

    # --- The way out ----------------------------------------------------------------------------------------------

    def _put_whole(self, head: Head, content: bytes) -> None:
        """Send all of an answer."""
        raise NotImplementedError

    def _put_head(self, head: Head, block: bytes) -> None:
        """Send the head of an answer, and its first block."""
        raise NotImplementedError

    def _put(self, block: bytes) -> None:
        """Send another block."""
        raise NotImplementedError

    def _flush(self) -> None:
        """Have what was sent leave, whatever the application does next (PEP 3333, "Buffering and Streaming")."""

    def _put_end(self) -> None:
        """Send the end of an answer whose head was sent by itself."""
        raise NotImplementedError

    def _put_file(self, head: Head, content: Slice) -> None:
        """Send all of an answer, its content from a file."""
        raise NotImplementedError


def _described(value: object) -> str:
    return "None" if value is None else f"{type(value).__name__}, as {reprlib.repr(value)}"
