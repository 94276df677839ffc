"""Fuzz target for `pants.http._ranges`, and for what `pants.http._files` makes of a Range.

    python fuzz/fuzz_range.py [EXAMPLES]

What must hold: the ranges are those of `expected`, which reads the grammar of RFC 9110 §14.1.1 character by character
and picks bytes out of the content by their numbers; nothing is raised; and the parts of an answer add up to its length,
and hold the bytes that they say they hold.
"""

from __future__ import annotations

import os
import sys

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pants.http._files import plan
from pants.http._ranges import MAX_RANGES, parse_range
from pants.http.utils import HTTPHeaders

numbers = st.one_of(
    st.integers(0, 20).map(str),
    st.sampled_from(["", "00", "007", "9" * 19, "1" + "0" * 19, "9" * 20, "0" * 30 + "3", "9" * 5000, "-1", "+1", "x"]),
)
specs = st.one_of(
    st.builds("{}-{}".format, numbers, numbers),
    st.sampled_from(["", " ", "\t", "-", "--", "1", "1--2", "1 - 2", "0-0;", "\u0661-\u0662", "0-1\n", "*"]),
    st.text("0123456789-, \t", max_size=8),
)
sets = st.builds(
    lambda separator, items, again: separator.join(items * again),
    st.sampled_from([",", ", ", " ,", ",,"]),
    st.lists(specs, max_size=5),
    st.sampled_from([1, 1, 1, 2, 30]),
)
units = st.sampled_from(["bytes=", "bytes=", "Bytes=", "bytes= ", "bytes =", "bytes", "items=", "=", ""])
values = st.one_of(st.builds("{}{}".format, units, sets), st.text(max_size=20))


def digits(text: str) -> tuple[int | None, str]:
    """Read as many digits as there are, and return their value and the rest."""
    value = None
    while text and text[0] in "0123456789":
        value = (value or 0) * 10 + "0123456789".index(text[0])
        text = text[1:]
    return value, text


def expected(value: str, size: int) -> list[tuple[int, int]] | None:
    """Return the ranges. The slow and simple way."""
    if value[:6].lower() != "bytes=" or value.count(",") >= MAX_RANGES:
        return None
    found = []
    valid = False
    for spec in value[6:].split(","):
        spec = spec.strip(" \t")
        if spec:
            first, rest = digits(spec)
            if not rest.startswith("-"):
                return None
            last, rest = digits(rest[1:])
            if rest or (first is None and last is None):
                return None
            if first is None:
                if size == 0 and last:
                    return None
                chosen = range(max(size - (last or 0), 0), size)
            elif last is not None and last < first:
                # Numbers so large that they are not told apart are beyond the end, whichever is larger.
                if first < 10**19 or last < 10**19:
                    return None
                chosen = range(0)
            else:
                chosen = range(first, size if last is None else min(last + 1, size))
            valid = True
            if chosen:
                found.append((chosen[0], len(chosen)))
    return found if valid and sum(length for _, length in found) <= size else None


def try_one(value: str, size: int) -> None:
    """Hold one field against what is expected of it."""
    ranges = parse_range(value, size)
    assert ranges == expected(value, size)
    content = bytes(range(size))
    status = os.stat_result((0o100644, 1, 1, 1, 0, 0, size, 0, 0, 0), {"st_mtime_ns": 0})
    answer = plan("GET", HTTPHeaders({"Range": value}), status, content_type="text/plain")
    sent = [part if isinstance(part, bytes) else content[part[0] : sum(part)] for part in answer.segments]
    assert sum(map(len, sent)) == answer.length
    if ranges is None:
        assert (answer.code, b"".join(sent)) == (200, content)
        return
    assert answer.code == (206 if ranges else 416)
    said = dict(answer.fields).get("Content-Range", "") if len(ranges) < 2 else b"".join(sent).decode("latin-1")
    for start, length in ranges:
        assert f"bytes {start}-{start + length - 1}/{size}" in said
        assert content[start : start + length] in sent


def fuzz(examples: int) -> None:
    """Try so many examples."""
    bounded = settings(max_examples=examples, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    given(values, st.integers(0, 30))(bounded(try_one))()


if __name__ == "__main__":
    fuzz(int(sys.argv[1]) if len(sys.argv) > 1 else 20000)
