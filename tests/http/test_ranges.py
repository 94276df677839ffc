"""The Range field: RFC 9110 §14.1.1, §14.1.2, §14.2."""

from __future__ import annotations

import importlib.util
import time
from pathlib import Path

import pytest

from pants.http._ranges import MAX_RANGES, parse_range

# RFC 9110 §14.1.2: the examples, for a representation of 10000 bytes.
EXAMPLES = {
    "bytes=0-499": [(0, 500)],
    "bytes=500-999": [(500, 500)],
    "bytes=-500": [(9500, 500)],
    "bytes=9500-": [(9500, 500)],
    "bytes=0-0,-1": [(0, 1), (9999, 1)],
    "bytes= 0-999, 4500-5499, -1000": [(0, 1000), (4500, 1000), (9000, 1000)],
    "bytes=500-600,601-999": [(500, 101), (601, 399)],
    "bytes=500-700,601-999": [(500, 201), (601, 399)],
}


@pytest.mark.parametrize("value", EXAMPLES)
def test_examples_of_the_rfc(value: str) -> None:
    assert parse_range(value, 10000) == EXAMPLES[value]


@pytest.mark.parametrize(
    "value, ranges",
    [
        ("bytes=0-9", [(0, 10)]),
        ("bytes=0-", [(0, 10)]),
        ("bytes=9-", [(9, 1)]),
        # RFC 9110 §14.1.2: what goes beyond the end is cut
        ("bytes=5-10", [(5, 5)]),
        ("bytes=5-99999", [(5, 5)]),
        ("bytes=-11", [(0, 10)]),
        # any number of digits
        (f"bytes=5-{'9' * 19}", [(5, 5)]),
        (f"bytes=5-{'9' * 5000}", [(5, 5)]),
        (f"bytes=-{'9' * 5000}", [(0, 10)]),
        (f"bytes={'0' * 5000}3-{'0' * 6000}4", [(3, 2)]),
        # RFC 9110 §14.1: units are case-insensitive
        ("BYTES=1-2", [(1, 2)]),
        # RFC 9110 §5.6.1.2: empty elements of a list
        ("bytes=,1-2, ,\t,-1 ,", [(1, 2), (9, 1)]),
        # in the order asked for
        ("bytes=7-8,1-2", [(7, 2), (1, 2)]),
        # those that cannot be satisfied are left out
        ("bytes=10-,3-3,-0,11-12", [(3, 1)]),
        # the same twice, but not more than there is
        ("bytes=0-4,0-4", [(0, 5), (0, 5)]),
    ],
)
def test_what_is_asked_for(value: str, ranges: list[tuple[int, int]]) -> None:
    assert parse_range(value, 10) == ranges


@pytest.mark.parametrize(
    "value", ["bytes=10-", "bytes=10-20", "bytes=-0", "bytes=-000", "bytes=10-,-0", f"bytes={'9' * 5000}-"]
)
def test_nothing_that_can_be_satisfied(value: str) -> None:
    """RFC 9110 §14.1.2, §15.5.17."""
    assert parse_range(value, 10) == []


@pytest.mark.parametrize(
    "value",
    [
        "",
        "bytes",
        "bytes=",
        "bytes=,",
        "bytes= , ,",
        "=0-1",
        "0-1",
        # RFC 9110 §14.2: another unit
        "items=0-1",
        "none",
        "bytes =0-1",
        "bytes:0-1",
        # malformed
        "bytes=-",
        "bytes=0",
        "bytes=a-b",
        "bytes=0-1-2",
        "bytes=--1",
        "bytes=0--1",
        "bytes=+0-1",
        "bytes=0 - 1",
        "bytes=0-1 2-3",
        "bytes=0-1;2-3",
        "bytes=0x0-1",
        "bytes=0.5-1",
        "bytes=0_0-1",
        "bytes=\u0660-\u0661",
        "bytes=\xb2-",
        "bytes=0-1\n",
        "bytes=0-1,x",
        "bytes=100-,x",
        # RFC 9110 §14.1.1: the last one is before the first one
        "bytes=2-1",
        "bytes=0-1,5-4",
        f"bytes={'9' * 100}-1",
        # several lines
        "bytes=0-1, bytes=2-3",
    ],
)
def test_what_is_ignored(value: str) -> None:
    """RFC 9110 §14.2."""
    assert parse_range(value, 10) is None


@pytest.mark.parametrize(
    "value, ranges",
    [
        ("bytes=0-", []),
        ("bytes=0-0", []),
        ("bytes=-0", []),
        ("bytes=5-10,0-", []),
        # It could be satisfied, by nothing; but there is no Content-Range that says so (RFC 9110 §14.4).
        ("bytes=-1", None),
        ("bytes=0-,-1", None),
        ("bytes=", None),
    ],
)
def test_nothing_to_have_a_part_of(value: str, ranges: list[tuple[int, int]] | None) -> None:
    assert parse_range(value, 0) == ranges


def test_too_many() -> None:
    """RFC 9110 §14.2, §17.15: many small ranges, empty elements and those that cannot be satisfied included."""
    for spec in ("{0}-{0}", "-0", ""):
        specs = [spec.format(2 * i) for i in range(MAX_RANGES - 1)] + ["0-0"]
        assert parse_range("bytes=" + ",".join(specs), 10000) is not None
        assert parse_range("bytes=" + ",".join([*specs, "1-1"]), 10000) is None


def test_too_much() -> None:
    """RFC 9110 §14.2, §17.15: ranges that overlap make no more of a file than there is."""
    assert parse_range("bytes=0-,0-", 10) is None
    assert parse_range("bytes=0-,-1", 10) is None
    assert parse_range("bytes=5-,0-5", 10) is None
    assert parse_range("bytes=5-,0-4", 10) == [(5, 5), (0, 5)]


@pytest.mark.parametrize("value", ["9", "0", ",", "-", "0-0,", " ", "\t,", "=", "bytes="])
@pytest.mark.parametrize("end", ["", "-", "-1", "x"])
def test_a_long_field_takes_linear_time(value: str, end: str) -> None:
    began = time.process_time()
    parse_range("bytes=" + value * (1_000_000 // len(value)) + end, 10)
    assert time.process_time() - began < 2


def test_fuzz_target() -> None:
    path = Path(__file__).parents[2] / "fuzz" / "fuzz_range.py"
    spec = importlib.util.spec_from_file_location("fuzz_range", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.fuzz(300)
