"""Cutting received data into frames: what ``Stream.read_delimiter`` means, without any I/O.

The way of the data: `Framer.feed` puts it in, `Framer.deliver` lets the strategy for the delimiter's kind cut
it (`pants._cutting`), and each complete frame goes to a function. Here are the rules: which delimiters there are,
when one takes effect, when delivery stops.
"""

from __future__ import annotations

import functools
import importlib
import re
import struct
import warnings
from collections.abc import Callable, Iterator
from typing import Any, Final

from netstruct import NetStruct

from pants import _cutting
from pants._cutting import Buffer, Sink, Strategy
from pants.errors import FramingError

__all__ = ["DEFAULT_LIMIT", "Framer", "check", "check_limit", "wants_text"]

DEFAULT_LIMIT: Final = 65536

_BATCH: Final = 64

# A match wider than this counts as unbounded. Each feed searches the width again, and that must stay cheap.
_WIDEST: Final = 1024


class Framer(Buffer):
    r"""Cuts what is fed to it into frames, as the delimiter says (manual: Stream.read_delimiter).

    Stream, WebSocket and telnet each hold one. Every rule can be changed at any time; changed by the function
    that receives a frame, it rules from the byte after that frame.

    A frame longer than `limit` overflows, however it was cut up on the way. Its length is without the separator,
    or without the match of a pattern that is searched for, if that has a bounded width (no ``*`` or ``+``, nothing
    that looks ahead or behind). For other patterns, or without `regex_search`, the match counts too. These are
    tried from the frame's start again whenever more has come, and overflow when that has scanned 64 times the
    limit. No pattern can know what is still to come: ``\n+`` matches the first of two line feeds if the second
    has not arrived.

        >>> framer = Framer(b"\r\n", limit=1024)
        >>> framer.feed(b"HELO example.org\r\nDATA\r\nSubj")
        >>> framer.deliver(print)
        b'HELO example.org'
        b'DATA'
        >>> framer.pending
        4
        >>> framer.delimiter = 2
        >>> framer.take()
        b'Su'

    Args:
        delimiter: None, bytes (str when `text`), int, re.Pattern, struct.Struct or netstruct.NetStruct.
        limit: The longest frame, in bytes (characters when `text`): ``Stream.buffer_size``.
        regex_search: Whether to search for a pattern, or match it at the start (manual: Stream.regex_search).
        text: Whether str is cut instead of bytes. Struct and NetStruct are for bytes only.

    Raises:
        TypeError: For a delimiter or a limit of the wrong kind.
        ValueError: For a delimiter that can consume nothing, or a limit below 1.
    """

    __slots__ = ("_delimiter", "_delivering", "_halted", "_regex_search", "_strategy")

    _strategy: Strategy

    def __init__(
        self,
        delimiter: Any = None,
        *,
        limit: int = DEFAULT_LIMIT,
        regex_search: bool = True,
        text: bool = False,
    ) -> None:
        super().__init__(limit, text)
        self._delivering = self._halted = False
        self._regex_search = bool(regex_search)
        self.limit = limit
        self.delimiter = delimiter

    @property
    def delimiter(self) -> Any:
        """What ends a frame (manual: Stream.read_delimiter). An int or Struct beyond `limit` enlarges that.

        Raises:
            TypeError: When set to anything but the kinds listed for the class.
            ValueError: When set to something that can consume nothing: an empty separator, a size below 1.
        """
        return self._delimiter

    @delimiter.setter
    def delimiter(self, delimiter: Any) -> None:
        check(delimiter, text=self._text)
        self._delimiter = delimiter
        self._choose()
        self._limit = max(self._limit, self._strategy.size)

    @property
    def regex_search(self) -> bool:
        """Whether a pattern is searched for, and gives what is before it, or matched, and gives the match."""
        return self._regex_search

    @regex_search.setter
    def regex_search(self, value: bool) -> None:
        self._regex_search = bool(value)
        self._choose()

    def _choose(self) -> None:
        self._strategy = _strategy(self._delimiter, self._regex_search)
        self._searched = self._scanned = 0
        self._interrupted = True

    @property
    def limit(self) -> int:
        """The longest frame, in bytes or characters (manual: Stream.buffer_size); None as delimiter has no limit.

        Raises:
            TypeError: When set to anything but an int.
            ValueError: When set below 1.
        """
        return self._limit

    @limit.setter
    def limit(self, limit: int) -> None:
        check_limit(limit)
        self._limit = limit
        self._interrupted = True

    @property
    def halted(self) -> bool:
        """While true, nothing is delivered. Set by a frame's receiver, it stops delivery after that frame."""
        return self._halted

    @halted.setter
    def halted(self, value: bool) -> None:
        self._halted = bool(value)
        self._interrupted = True

    def deliver(self, receive: Callable[..., object], batch: int = _BATCH) -> None:
        """Hand each complete frame to a function, until none is complete or `halted` turns true.

        An exception out of `receive` propagates; its frame is consumed, all after it is kept. Called inside
        `receive`, this does nothing.

        Args:
            receive: Called with the frame; for Struct and NetStruct with the unpacked values as so many
                arguments; for a pattern with the match when `regex_search` is off.
            batch: How many frames may be cut ahead of their delivery: a matter of speed only.

        Raises:
            BufferOverflow: The next frame is longer than `limit`. The data is kept until `clear`.
            DelimiterError: A pattern matched nothing at the start of the data. This is kept, too.
        """
        self.deliver_to(_Receiver(receive), batch)

    def deliver_to(self, sink: Sink, batch: int = _BATCH) -> None:
        """As `deliver`, to an object's method ``on_read``, which may be replaced between two frames."""
        if self._delivering or self._halted:
            return
        self._delivering = True
        try:
            while self._position < len(self._data) or self._completed():
                self._interrupted = False
                self._strategy.cut(self, sink, batch)
                if self._interrupted:
                    if self._halted:
                        return
                elif (self._tail is None and self._position == len(self._data)) or not self._set_aside():
                    return
        except FramingError as error:
            if error.framer is None:  # else it comes out of the receiver, which has a framer of its own
                error.framer = self
            raise
        finally:
            self._delivering = False
            if self._position == len(self._data):  # not to hold on to what is used up
                self._data = self._data[:0]
                self._position = 0

    def _completed(self) -> bool:
        """Make the tail the data to be cut, if it holds a complete frame."""
        tail = self._tail
        if tail is None or not self._strategy.completes(self, tail):
            return False
        self._data = self._collected(tail)
        self._position = 0  # what stood there before may have been used up, and not been let go yet
        self._tail = None
        return True

    def take(self) -> Any:
        """Return the next frame: the pull style of `deliver`, by the same rules.

        Returns:
            The frame, for Struct and NetStruct a tuple of the values; None if none is complete, or `halted` is
            set, or this was called by a frame's receiver.

        Raises:
            BufferOverflow: As for `deliver`.
            DelimiterError: As for `deliver`.
        """
        taken: list[tuple[Any, ...]] = []

        def receive(*values: Any) -> None:
            taken.append(values)
            self.halted = True

        self.deliver(receive, batch=1)
        if not taken:
            return None
        self.halted = False
        return taken[0] if self._strategy.unpacks else taken[0][0]


class _Receiver:
    """A function as a sink."""

    __slots__ = ("on_read",)

    def __init__(self, receive: Callable[..., object]) -> None:
        self.on_read = receive


def check(delimiter: Any, text: bool = False) -> None:
    """Check a value for `Framer.delimiter` (manual: Stream.read_delimiter).

    Args:
        delimiter: The value.
        text: Whether it is to cut str rather than bytes.

    Raises:
        TypeError: It is of no kind that can be a delimiter.
        ValueError: It could consume nothing: an empty separator, a size below 1.
    """
    string = str if text else bytes
    if delimiter is None or (isinstance(delimiter, re.Pattern) and isinstance(delimiter.pattern, string)):
        return
    if isinstance(delimiter, string):
        if not delimiter:
            raise ValueError("the read delimiter must not be empty")
    elif isinstance(delimiter, int) and not isinstance(delimiter, bool):
        if delimiter < 1:
            raise ValueError(f"the read delimiter must be 1 or more, not {delimiter}")
    elif isinstance(delimiter, struct.Struct) and not text:
        if not delimiter.size:
            raise ValueError(f"the read delimiter must have a size, not Struct({delimiter.format!r})")
    elif isinstance(delimiter, NetStruct) and not text:
        _check_netstruct(delimiter)
    else:
        raise TypeError(_complaint(delimiter, text))


def wants_text(delimiter: Any) -> bool | None:
    """Tell what a value for `Framer.delimiter` cuts: str (True), bytes (False), or either (None)."""
    if isinstance(delimiter, re.Pattern):
        return isinstance(delimiter.pattern, str)
    if isinstance(delimiter, str):
        return True
    return False if isinstance(delimiter, (bytes, struct.Struct, NetStruct)) else None


def check_limit(limit: int) -> None:
    """Check a value for `Framer.limit` (manual: Stream.buffer_size).

    Args:
        limit: The value.

    Raises:
        TypeError: It is not an int.
        ValueError: It is below 1.
    """
    if not isinstance(limit, int) or isinstance(limit, bool):
        raise TypeError(f"the buffer size must be an int, not {type(limit).__name__}")
    if limit < 1:
        raise ValueError(f"the buffer size must be 1 or more, not {limit}")


def _check_netstruct(delimiter: Any) -> None:
    if not delimiter.minimum_size:
        raise ValueError(f"the read delimiter must have a size, not {delimiter!r}")
    if not all(head.unpack(bytes(head.size)) for head in _cutting.heads(delimiter)):
        raise ValueError(f"the read delimiter has a '$' without a length before it: {delimiter!r}")


def _complaint(delimiter: Any, text: bool) -> str:
    string, packed = ("str", "") if text else ("bytes", ", struct.Struct, netstruct.NetStruct")
    given = type(delimiter).__name__
    if isinstance(delimiter, re.Pattern):
        given += f" of {type(delimiter.pattern).__name__}"
    return f"the read delimiter must be None, {string}, int, re.Pattern of {string}{packed}, not {given}"


@functools.lru_cache(maxsize=256, typed=True)  # shared by all connections, and cheap to change back and forth
def _strategy(delimiter: Any, regex_search: bool) -> Strategy:
    if delimiter is None:
        return _cutting.Whatever()
    if isinstance(delimiter, (bytes, str)):
        return _cutting.Separator(delimiter)
    if isinstance(delimiter, int):
        return _cutting.Sized(delimiter)
    if isinstance(delimiter, struct.Struct):
        return _cutting.Packed(delimiter)
    if isinstance(delimiter, NetStruct):
        return _cutting.NetPacked(delimiter)
    anchored, slack = _reach(delimiter)
    if slack is None or not regex_search:
        return _cutting.Rescan(delimiter, anchored, regex_search)
    return _cutting.BoundedSearch(delimiter, anchored, slack)


def _reach(pattern: re.Pattern[Any]) -> tuple[bool, int | None]:
    r"""Return what a pattern can see around a match, and how far back one can start that is not complete.

    The standard library's parser tells; it is not public, so of anything unexpected there the worst is assumed.

    Returns:
        Whether the pattern has an anchor, or looks ahead or behind. How far before the end of the data a match may
        start that more data completes: less than its width, but where an anchor sees the next character (``\b``,
        ``$``) all of it. This is None if there is no bound, or a useless one.
    """
    try:
        with warnings.catch_warnings():  # they were shown when the pattern was compiled
            warnings.simplefilter("ignore")
            parser = importlib.import_module("re._parser")
            tree = parser.parse(pattern.pattern, pattern.flags & ~re.DEBUG)
        width = int(tree.getwidth()[1])
        operations = {str(operation) for operation in _operations(tree, parser.SubPattern)}
    except Exception:  # noqa: BLE001 - whatever a future parser does, patterns go on working
        return True, None
    around = bool(operations & {"ASSERT", "ASSERT_NOT"})
    anchored = around or "AT" in operations
    if around or width > _WIDEST:
        return anchored, None
    return anchored, width if anchored else max(width - 1, 0)


def _operations(tree: Any, subpattern: type) -> Iterator[Any]:
    """Yield the operation codes of a parsed pattern, those of the patterns inside it included."""
    for operation, argument in tree:
        yield operation
        parts = [argument]
        while parts:
            part = parts.pop()
            if isinstance(part, subpattern):
                yield from _operations(part, subpattern)
            elif isinstance(part, (tuple, list)):
                parts.extend(part)
