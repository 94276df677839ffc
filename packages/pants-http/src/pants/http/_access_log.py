"""The access log: one line for each request, in the formats that are Apache's and every analyser's."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pants.http._request import HTTPRequest

#: Formats that have a name.
FORMATS: Final = {
    "common": '%h %l %u %t "%r" %>s %b',
    "combined": '%h %l %u %t "%r" %>s %b "%{Referer}i" "%{User-Agent}i"',
}

_logger: Final = logging.getLogger("pants.http.access")

_Reader = Callable[["HTTPRequest"], str]

_find_directive: Final = re.compile(r"%(?:([<>]?)(?:\{([^{}]*)\})?([A-Za-z%])|.{0,20}|\Z)", re.DOTALL).finditer
_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")

# In English, whatever the locale is.
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

# What would end a line or a quoted string, or move a terminal's cursor. Beyond ASCII it depends on the terminal.
_is_harmless: Final = re.compile(r"[ !#-\[\]-~]*+").fullmatch
_ESCAPES: Final = {**{code: f"\\x{code:02x}" for code in (*range(32), 127)}, 0x22: '\\"', 0x5C: "\\\\"}


def escape(text: str) -> str:
    r"""Return ``text`` in printable ASCII, without a quote that is not escaped: ``\"``, ``\\`` and ``\xhh``."""
    if _is_harmless(text):
        return text
    return text.translate(_ESCAPES).encode("ascii", "backslashreplace").decode()


class AccessLog:
    """Writes a line for each request to the logger ``pants.http.access``, at level INFO.

    The format is ``common``, ``combined``, or a string in which these stand for something:

    ==================  ============================================================================================
    ``%h`` ``%a``       the client's address
    ``%{c}a``           the address that the connection comes from, which is a proxy's where one is trusted
    ``%l`` ``%u``       ``-``: nobody has checked the name that a client gives itself
    ``%t``              when the request came, in local time: ``[10/Oct/2000:13:55:36 -0700]``
    ``%r``              the request line
    ``%m`` ``%H``       the method; the protocol
    ``%U`` ``%q``       the path as it was sent; the query, with its ``?``, if there is one
    ``%s`` ``%>s``      the status code, ``-`` where nothing was answered
    ``%b`` ``%B``       the length of the content that was sent, in bytes; where there is none, ``-`` and ``0``
    ``%D`` ``%T``       how long it took, in microseconds and in seconds; ``%{ms}T``, ``%{us}T``, ``%{s}T``
    ``%v`` ``%V``       the name of the host that was asked for
    ``%p``              the server's port
    ``%{Name}i``        a header of the request, ``-`` where it is not there
    ``%%``              a percent sign
    ==================  ============================================================================================

    What a client has sent is escaped: it cannot forge a line, nor end a string that the format puts into quotes.

    Args:
        format: The format.

    Raises:
        TypeError: The format is not a str.
        ValueError: Something in it is not known.

    Example:
        >>> from pants.http import AccessLog, HTTPServer
        >>> log = AccessLog('%h "%r" %>s %Dus')
        >>> server = HTTPServer(lambda request: request.send_response("Hi"), access_log=log)
    """

    __slots__ = ("_readers", "_template")

    def __init__(self, format: str = "combined") -> None:  # noqa: A002 - what it is called everywhere
        if not isinstance(format, str):
            raise TypeError(f"the format of AccessLog is a str, not {format!r}")
        self._template, self._readers = _compile(FORMATS.get(format, format))

    def line(self, request: HTTPRequest) -> str:
        """Return the line for a request that has been answered, or given up."""
        return self._template % tuple([read(request) for read in self._readers])

    def log(self, request: HTTPRequest) -> None:
        """Write that line, if anybody wants it."""
        if _logger.isEnabledFor(logging.INFO):
            _logger.info(self.line(request))  # without arguments, a percent sign in it means nothing


def _compile(text: str) -> tuple[str, list[_Reader]]:
    """Return a template with a ``%s`` for each of the readers, and these."""
    template = []
    readers = []
    at = 0
    for match in _find_directive(text):
        template.append(text[at : match.start()])
        at = match.end()
        reader = _find_reader(*match.groups())
        if reader is None:
            raise ValueError(f"AccessLog does not know {match[0]!r} in its format {text!r}")
        if isinstance(reader, str):
            template.append(reader)
        else:
            template.append("%s")
            readers.append(reader)
    template.append(text[at:])
    return "".join(template), readers


def _find_reader(modifier: str | None, argument: str | None, letter: str | None) -> _Reader | str | None:
    """Return what a directive stands for: a function, or a constant as it is in a template. None if it is not known."""
    if letter is None or (modifier and letter != "s"):
        return None
    if argument is None:
        return _CONSTANTS.get(letter) or _READERS.get(letter)
    if letter == "i" and _TOKEN.fullmatch(argument):
        return _header_reader(argument)
    return _WITH_ARGUMENT.get((argument, letter))


def _header_reader(name: str) -> _Reader:
    def read(request: HTTPRequest) -> str:
        values = request.headers.get_list(name)
        return escape(", ".join(values)) if values else "-"

    return read


def _peer(request: HTTPRequest) -> str:
    address = request.connection.remote_address
    return str(address[0]) if isinstance(address, tuple) else "-"


def _port(request: HTTPRequest) -> str:
    address = request.connection.local_address
    return str(address[1]) if isinstance(address, tuple) else "-"


class _Clock:
    """Tells the local time; nearly always that of the last request, to the second."""

    __slots__ = ("_last",)

    def __init__(self) -> None:
        self._last = (-1, "")

    def read(self, request: HTTPRequest) -> str:
        """Return when a request came."""
        second = int(time.time() - request.time)
        last = self._last
        if last[0] != second:
            self._last = last = (second, _local_time(second))  # one tuple: engines in other threads read it too
        return last[1]


def _local_time(second: int) -> str:
    now = time.localtime(second)
    sign = "-" if now.tm_gmtoff < 0 else "+"
    hours, minutes = divmod(abs(now.tm_gmtoff) // 60, 60)
    return (
        f"[{now.tm_mday:02}/{_MONTHS[now.tm_mon - 1]}/{now.tm_year}"
        f":{now.tm_hour:02}:{now.tm_min:02}:{now.tm_sec:02} {sign}{hours:02}{minutes:02}]"
    )


_CONSTANTS: Final[dict[str, str]] = {"l": "-", "u": "-", "%": "%%"}

_READERS: Final[dict[str, _Reader]] = {
    "h": lambda request: escape(request.remote_ip) or "-",
    "a": lambda request: escape(request.remote_ip) or "-",
    "t": _Clock().read,
    "r": lambda request: escape(f"{request.method} {request.url} {request._http_version}") if request.url else "-",
    "m": lambda request: escape(request.method),
    "H": lambda request: escape(request._http_version),
    "U": lambda request: escape(request.path),
    "q": lambda request: escape(f"?{request.query}") if request.query else "",
    "s": lambda request: str(request.code or "-"),
    "b": lambda request: str(request.sent_bytes or "-"),
    "B": lambda request: str(request.sent_bytes),
    "D": lambda request: str(int(request.time * 1_000_000)),
    "T": lambda request: str(int(request.time)),
    "v": lambda request: escape(request.hostname) or "-",
    "V": lambda request: escape(request.hostname) or "-",
    "p": _port,
}

_WITH_ARGUMENT: Final[dict[tuple[str, str], _Reader]] = {
    ("c", "a"): _peer,
    ("us", "T"): _READERS["D"],
    ("ms", "T"): lambda request: str(int(request.time * 1000)),
    ("s", "T"): _READERS["T"],
}
