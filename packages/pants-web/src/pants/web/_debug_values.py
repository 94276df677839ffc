"""What the debug page tells of a program: its frames with their source and variables, nothing of it without a bound.

Secrets are masked where their name gives them away, in what is before an ``=`` or a ``:`` too, for they stand in the
representations of dicts, headers and data classes.
"""

from __future__ import annotations

import itertools
import linecache
import re
import reprlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from types import FrameType, TracebackType
from typing import Any, Final

#: Lines of source on each side of the one that was run.
_AROUND: Final = 5
#: Characters of a line of source.
_LINE_SIZE: Final = 300
#: Variables of a frame, and characters of one.
_MOST_LOCALS: Final = 40
_VALUE_SIZE: Final = 600
#: Frames at both ends of a traceback that has too many.
_FIRST_FRAMES: Final = 12
_LAST_FRAMES: Final = 24
#: Seconds that the values of one page may take altogether. A single one cannot be stopped.
_PATIENCE: Final = 1.0

MASK: Final = "•••"

_SECRET_NAME: Final = re.compile(
    r"passwor[dt]|passwd|passphrase|\bpwd\b|secret|token|api[_-]?key|private[_-]?key|access[_-]?key|credential|"
    r"authorization|cookie|csrf|xsrf|session[_-]?id|signature",
    re.IGNORECASE,
)
# What follows such a name, with the end of a quoted one, and is said to be its value.
_SECRET_ITEM: Final = re.compile(
    rf"""((?:{_SECRET_NAME.pattern})[\w-]{{0,40}}(?:['"]?\s?[=:]|['"],)\s?)(?:b?'[^']*'?|b?"[^"]*"?|[^\s,;&)>}}\]]+)""",
    re.IGNORECASE,
)


def is_secret(name: str) -> bool:
    """Whether what has this name is probably not meant to be shown."""
    return _SECRET_NAME.search(name) is not None


def masked(text: str) -> str:
    """Return a text without the values of names that look secret. It is to be a short one."""
    return _SECRET_ITEM.sub(rf"\1{MASK}", text)


class Values(reprlib.Repr):
    """Represents values, in bounded size, whatever their own representations do."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = 4
        self.maxdict = self.maxlist = self.maxtuple = self.maxset = self.maxfrozenset = self.maxdeque = 20
        self.maxarray = 20
        self.maxstring = self.maxlong = 240
        self.maxother = _VALUE_SIZE
        self._end = time.monotonic() + _PATIENCE

    def show(self, name: str, value: object) -> str:
        """Return what to show of a variable."""
        if is_secret(name):
            return MASK
        if time.monotonic() > self._end:
            return "(not shown, since the others have taken too long)"
        try:
            text = self.repr(value)
        except Exception as error:  # noqa: BLE001 - whatever a representation raises
            text = f"<{type(value).__name__}, whose representation has failed: {type(error).__name__}>"
        return masked(cut(text, _VALUE_SIZE))

    # The inherited ones keep both ends; what gives a secret away by its name may be in the middle that is left out.
    def repr_str(self, value: str, _level: int) -> str:
        return cut(repr(value[: self.maxstring + 1]), self.maxstring)

    def repr_bytes(self, value: bytes | bytearray, _level: int) -> str:
        return cut(repr(value[: self.maxstring + 1]), self.maxstring)

    repr_bytearray = repr_bytes

    def repr_instance(self, value: Any, _level: int) -> str:
        # The inherited one names the address where a representation fails, and tells nothing of why.
        return cut(repr(value), self.maxother)

    def repr_SimpleCookie(self, value: Any, _level: int) -> str:
        return f"<SimpleCookie with {', '.join(value)}>"


def cut(text: str, size: int) -> str:
    """Return a text, without its end if it is longer than ``size`` characters."""
    return text if len(text) <= size else f"{text[:size]} …"


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame of a traceback.

    Attributes:
        filename: The file of its code.
        function: The name of the function, with those of the classes around it.
        number: The number of the line.
        is_own: Whether it is one of Pants.
        source: Lines around that one, with their numbers.
        columns: Where in the line the expression stands that was being run, if that is known.
        values: The variables, with what is to be shown of them.
    """

    filename: str
    function: str
    number: int
    is_own: bool
    source: list[tuple[int, str]]
    columns: tuple[int, int] | None
    values: list[tuple[str, str]]

    @property
    def line(self) -> str:
        """The line itself; an empty string if there is no source."""
        return next((text for number, text in self.source if number == self.number), "")


def frames_of(exception: BaseException, values: Values) -> Iterator[Frame | int]:
    """Give the frames of a traceback, the last call first; in the place of those left out, their number."""
    entries = list(_entries(exception.__traceback__))
    entries.reverse()
    left_out = len(entries) - _FIRST_FRAMES - _LAST_FRAMES
    if left_out <= 1:
        yield from (_frame(entry, values) for entry in entries)
        return
    yield from (_frame(entry, values) for entry in entries[:_LAST_FRAMES])
    yield left_out
    yield from (_frame(entry, values) for entry in entries[-_FIRST_FRAMES:])


def _entries(traceback: TracebackType | None) -> Iterator[TracebackType]:
    while traceback is not None:
        yield traceback
        traceback = traceback.tb_next


def _frame(entry: TracebackType, values: Values) -> Frame:
    frame = entry.tb_frame
    code = frame.f_code
    module = frame.f_globals.get("__name__")
    is_own = isinstance(module, str) and (module == "pants" or module.startswith("pants."))
    number = entry.tb_lineno or code.co_firstlineno  # some instructions have none
    source = _source(frame, number, 0 if is_own else _AROUND)
    line = next((text for at, text in source if at == number), "")
    # Of Pants' own frames no variables: they hold requests as they were sent, with all their secrets.
    shown = [] if is_own else _locals(frame, values)
    return Frame(code.co_filename, code.co_qualname, number, is_own, source, _columns(entry, number, line), shown)


def _source(frame: FrameType, number: int, around: int) -> list[tuple[int, str]]:
    filename = frame.f_code.co_filename
    linecache.checkcache(filename)
    lines = linecache.getlines(filename, frame.f_globals)
    first = max(number - around, 1)
    found = lines[first - 1 : number + around]
    return [(first + i, line.rstrip("\r\n")[:_LINE_SIZE].expandtabs(4)) for i, line in enumerate(found)]


def _columns(entry: TracebackType, number: int, line: str) -> tuple[int, int] | None:
    positions = itertools.islice(entry.tb_frame.f_code.co_positions(), entry.tb_lasti // 2, None)
    first, last, start, end = next(positions, (None, None, None, None))
    if start is None or end is None or first != number or last != number or "\t" in line:
        return None
    data = line.encode("utf-8", "surrogatepass")
    columns = tuple(len(data[:at].decode("utf-8", "ignore")) for at in (start, end))
    # Neither if it is the whole line, nor if the file is another one by now.
    return (columns[0], columns[1]) if 0 < columns[1] - columns[0] < len(line.strip()) else None


def _locals(frame: FrameType, values: Values) -> list[tuple[str, str]]:
    variables = frame.f_locals
    names = [name for name in variables if variables is not frame.f_globals or not name.startswith("__")]
    shown = [(name, values.show(name, variables[name])) for name in names[:_MOST_LOCALS]]
    return shown if len(names) <= len(shown) else [*shown, ("…", f"and {len(names) - len(shown)} more")]
