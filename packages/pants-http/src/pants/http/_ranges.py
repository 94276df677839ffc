"""The Range field of a request (RFC 9110 §14.1.2, §14.2). Sans-IO."""

from __future__ import annotations

import re
from typing import Final

#: The most ranges that one request may ask for, empty elements of the list included.
MAX_RANGES: Final = 64

_match_range: Final = re.compile(r"([0-9]*)-([0-9]*)").fullmatch

# No file is as large as a number with more digits than this, and none has to be converted.
_MOST_DIGITS: Final = 19
_BEYOND: Final = 10**_MOST_DIGITS


def parse_range(value: str, size: int) -> list[tuple[int, int]] | None:
    """Find out which parts of a representation a Range field asks for.

    Ranges stay as they were asked for, in their order, and are not joined: parts that overlap or adjoin are what the
    client wants. But a field that asks for more than `MAX_RANGES`, or for more bytes in all than there are, is ignored,
    as RFC 9110 §14.2 advises: it would have the server send the same bytes again and again.

    Args:
        value: The field's value; several lines of it, joined, are malformed.
        size: The size of the representation, in bytes.

    Returns:
        For each range that can be satisfied its start and its length, in bytes, the latter above 0. An empty list if
        there is none: the answer is 416 (§15.5.17). None if the field is to be ignored: it is malformed, in another
        unit than bytes, or asks for too much.
    """
    unit, _, specs = value.partition("=")
    if unit.lower() != "bytes" or specs.count(",") >= MAX_RANGES:
        return None
    ranges = []
    valid = False
    for spec in specs.split(","):
        spec = spec.strip(" \t")
        if not spec:
            continue  # RFC 9110 §5.6.1.2
        match = _match_range(spec)
        if match is None or spec == "-":
            return None
        first, last = match.groups()
        if not first:  # the last bytes, or all of them if there are fewer
            length = min(_number(last), size)
            if length == 0 and last.strip("0"):
                return None  # the end of what is empty can be had, but Content-Range cannot say so (§14.4)
            start = size - length
        else:
            start = _number(first)
            end = _number(last) if last else _BEYOND
            if end < start:
                return None
            length = min(end + 1, size) - start
        valid = True
        if length > 0:
            ranges.append((start, length))
    if not valid or sum(length for _, length in ranges) > size:
        return None
    return ranges


def _number(digits: str) -> int:
    """Return the value of any number of digits (RFC 9110 §14.1.2), `_BEYOND` for what is beyond every file."""
    digits = digits.lstrip("0")
    return int(digits or "0") if len(digits) <= _MOST_DIGITS else _BEYOND
