"""Conditional requests (RFC 9110 §13), and the validators that they compare (§8.8). Sans-IO."""

from __future__ import annotations

import calendar
import datetime as dt
import functools
import math
import os
import re
import time
from email.utils import formatdate
from typing import Final

from pants.http.utils import HTTPHeaders

# RFC 9110 §13.2.1: they neither select nor change a representation, so that there is nothing to compare.
_UNCONDITIONAL: Final = frozenset({"CONNECT", "OPTIONS", "TRACE"})

# The elements of a list (RFC 9110 §5.6.1) of entity tags (§8.8.3). A comma may be a part of one. What is none is passed
# over up to the next comma, and appears as an empty string. The time is linear: there is a match wherever one is looked
# for, and a tag that fails to be one was looked at up to the next quote only.
_find_tags: Final = re.compile(
    r'[ \t,]*+(?:((?:W/)?"[\x21\x23-\x7e\x80-\xff]*+")[ \t]*+(?=,|\Z)|[^,]*+)',
).findall

# RFC 9110 §5.6.7. All of it is case-sensitive.
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_DAY: Final = r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)"
_DAY_IN_FULL: Final = r"(?:Monday|Tuesday|Wednesday|Thursday|Friday|Saturday|Sunday)"
_MONTH: Final = rf"(?P<month>{'|'.join(_MONTHS)})"
_TIME: Final = r"(?P<hour>[01][0-9]|2[0-3]):(?P<minute>[0-5][0-9]):(?P<second>[0-5][0-9]|60)"
_DATES: Final = tuple(
    re.compile(pattern)
    for pattern in (
        rf"{_DAY}, (?P<day>[0-9]{{2}}) {_MONTH} (?P<year>[0-9]{{4}}) {_TIME} GMT",  # IMF-fixdate
        rf"{_DAY_IN_FULL}, (?P<day>[0-9]{{2}})-{_MONTH}-(?P<year>[0-9]{{2}}) {_TIME} GMT",  # rfc850-date
        rf"{_DAY} {_MONTH} (?P<day>[0-9]{{2}}| [0-9]) {_TIME} (?P<year>[0-9]{{4}})",  # asctime-date
    )
)
_LONGEST_DATE: Final = len("Wednesday, 06-Nov-94 08:49:37 GMT")


def evaluate(method: str, headers: HTTPHeaders, etag: str | None, modified: float | None) -> int | None:
    """Evaluate the conditions of a request, in their order of precedence (RFC 9110 §13.2.2).

    A representation of the resource is taken to exist. If-Range is no matter of this function, but of `range_applies`.

    Args:
        method: The request's method.
        headers: The request's header fields.
        etag: The entity tag of the representation as it is sent, quotes included; None if it has none.
        modified: When it was last modified, in seconds since the epoch; a fraction is dropped, for a date has none.
            None if that is not known.

    Returns:
        304 or 412 if that is the answer; None if the request is to be served.
    """
    if method in _UNCONDITIONAL:
        return None
    reads = method in ("GET", "HEAD")
    if "if-match" in headers:
        if not _lists(headers["if-match"], etag, weakly=False):
            return 412
    elif "if-unmodified-since" in headers and modified is not None:
        date = parse_date(headers["if-unmodified-since"])
        if date is not None and math.floor(modified) > date:
            return 412
    if "if-none-match" in headers:
        if _lists(headers["if-none-match"], etag, weakly=True):
            return 304 if reads else 412
    elif reads and "if-modified-since" in headers and modified is not None:
        date = parse_date(headers["if-modified-since"])
        if date is not None and math.floor(modified) <= date:
            return 304
    return None


def range_applies(headers: HTTPHeaders, etag: str | None, modified: float | None, now: float) -> bool:
    """Tell whether the Range of a request is to be considered, by its If-Range (RFC 9110 §13.1.5).

    An entity tag has to be strong. A date has to be that of Last-Modified, and its second has to be over: until then
    the representation may change again without a change of the date (§8.8.2.2). That it did not change twice within
    that second is for the client to find out, by the Date of the answer that it had.

    Args:
        headers: The request's header fields.
        etag: The entity tag, as for `evaluate`.
        modified: When it was last modified, as for `evaluate`.
        now: The time, in seconds since the epoch.
    """
    if "if-range" not in headers:
        return True
    value = headers["if-range"]
    if value.endswith('"'):
        return value == etag and not value.startswith("W/")
    if modified is None:
        return False
    second = math.floor(modified)
    return parse_date(value) == second and second < math.floor(now)


def _lists(value: str, etag: str | None, *, weakly: bool) -> bool:
    """Tell whether a list of entity tags, or ``*``, matches that of the representation (RFC 9110 §8.8.3.2)."""
    if value == "*":
        return True
    if etag is None:
        return False
    weak = etag.startswith("W/")
    opaque = etag[2:] if weak else etag
    if (weak and not weakly) or opaque not in value:  # most lists do not need to be taken apart
        return False
    tags = _find_tags(value)
    return opaque in tags or (weakly and f"W/{opaque}" in tags)


def entity_tag(status: os.stat_result, coding: str = "") -> str:
    """Return the entity tag of a file: a strong one (RFC 9110 §8.8.3), from its time to the nanosecond and its size.

    Args:
        status: The file's status.
        coding: The content coding in which the file is sent, if any: each has a tag of its own (§8.8.3.3).
    """
    if coding:
        return f'"{status.st_mtime_ns:x}-{status.st_size:x}-{coding}"'
    return f'"{status.st_mtime_ns:x}-{status.st_size:x}"'


def http_date(seconds: float) -> str:
    """Return a time, in seconds since the epoch, as an IMF-fixdate (RFC 9110 §5.6.7). A fraction is dropped."""
    return _format_date(math.floor(seconds))


@functools.lru_cache(maxsize=4096)
def _format_date(seconds: int) -> str:
    return formatdate(seconds, usegmt=True)


def parse_date(value: str) -> int | None:
    """Return the seconds since the epoch that a date says, in any of its three formats (RFC 9110 §5.6.7).

    None if it is malformed, or no day of the calendar.
    """
    return _parse_date(value) if len(value) <= _LONGEST_DATE else None


@functools.lru_cache(maxsize=1024)
def _parse_date(value: str) -> int | None:
    match = next(filter(None, (pattern.fullmatch(value) for pattern in _DATES)), None)
    if match is None:
        return None
    year, day, hour, minute, second = map(int, match.group("year", "day", "hour", "minute", "second"))
    month = _MONTHS.index(match["month"]) + 1
    if len(match["year"]) == 2:
        # More than 50 years ahead is meant to be the last such year that is past.
        now = time.gmtime()
        year += now.tm_year // 100 * 100
        if (year - 50, month, day, hour, minute, second) > now[:6]:
            year -= 100
    try:
        dt.date(year, month, day)
    except ValueError:
        return None
    return calendar.timegm((year, month, day, hour, minute, second))  # knows of leap seconds, unlike datetime
