"""Conditional requests: RFC 9110 §13, with the validators of §8.8 and the dates of §5.6.7."""

from __future__ import annotations

import datetime as dt
import os
import time
from pathlib import Path

import pytest

from pants.http import _conditions
from pants.http._conditions import entity_tag, evaluate, http_date, parse_date, range_applies
from pants.http.utils import HTTPHeaders

# RFC 9110 §5.6.7: the same instant in the three formats.
INSTANT = 784111777
IMF = "Sun, 06 Nov 1994 08:49:37 GMT"
RFC850 = "Sunday, 06-Nov-94 08:49:37 GMT"
ASCTIME = "Sun Nov  6 08:49:37 1994"
BEFORE = "Sun, 06 Nov 1994 08:49:36 GMT"
AFTER = "Sun, 06 Nov 1994 08:49:38 GMT"


def verdict(
    *fields: tuple[str, str],
    method: str = "GET",
    etag: str | None = '"a"',
    modified: float | None = INSTANT,
) -> int | None:
    return evaluate(method, HTTPHeaders(fields), etag, modified)


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "DELETE"])
def test_nothing_asked(method: str) -> None:
    assert verdict(("Host", "a"), method=method) is None


# --- Entity tags ------------------------------------------------------------------------------------------------

# RFC 9110 §8.8.3.2: the table of the two comparisons, and lists of tags (§13.1.1, §13.1.2).
TAGS = {
    # value, the representation's tag: matches strongly, matches weakly
    ('W/"1"', 'W/"1"'): (False, True),
    ('W/"1"', 'W/"2"'): (False, False),
    ('W/"1"', '"1"'): (False, True),
    ('"1"', 'W/"1"'): (False, True),
    ('"1"', '"1"'): (True, True),
    ('"1"', '"2"'): (False, False),
    ("*", '"1"'): (True, True),
    ("*", 'W/"1"'): (True, True),
    ("*", None): (True, True),
    ('"1"', None): (False, False),
    ('"a", "1"', '"1"'): (True, True),
    ('"a","1","b"', '"1"'): (True, True),
    ('"a"\t ,, W/"1" ,', '"1"'): (False, True),
    ('W/"1", "1"', '"1"'): (True, True),
    (',"1",', '"1"'): (True, True),
    # A comma and a backslash are characters as others are in a tag, a space is not (§8.8.3).
    ('"a,b"', '"a,b"'): (True, True),
    ('"a", "c,\\d"', '"c,\\d"'): (True, True),
    ('"a,b"', '"b"'): (False, False),
    ('"x,", ",1"', '"1"'): (False, False),
    ('"\xe4"', '"\xe4"'): (True, True),
    ('""', '""'): (True, True),
    # Malformed: it matches nothing.
    ("1", '"1"'): (False, False),
    ("'1'", "'1'"): (False, False),
    ('"1', '"1"'): (False, False),
    ('1"', '"1"'): (False, False),
    ('w/"1"', '"1"'): (False, False),
    ('W/ "1"', '"1"'): (False, False),
    ('x"1"', '"1"'): (False, False),
    ('"1"x', '"1"'): (False, False),
    ('"1" "2"', '"1"'): (False, False),
    ('"a" "1"', '"1"'): (False, False),
    ('"1"; x', '"1"'): (False, False),
    ('"1 "', '"1 "'): (False, False),
    ('"*"', '"1"'): (False, False),
    ('*, "2"', '"1"'): (False, False),
    ("", '"1"'): (False, False),
    # What is malformed takes nothing with it.
    ('x, "1"', '"1"'): (True, True),
    ('"1", x', '"1"'): (True, True),
    ('"a" "b", "1"', '"1"'): (True, True),
}


@pytest.mark.parametrize("value, etag", TAGS)
def test_entity_tags(value: str, etag: str | None) -> None:
    strongly, weakly = TAGS[value, etag]
    assert verdict(("If-Match", value), etag=etag) == (None if strongly else 412)
    assert verdict(("If-None-Match", value), etag=etag) == (304 if weakly else None)


@pytest.mark.parametrize("name, matched, other", [("If-Match", None, 412), ("If-None-Match", 304, None)])
def test_several_lines_are_one_list(name: str, matched: int | None, other: int | None) -> None:
    """RFC 9110 §5.3."""
    assert verdict((name, '"b"'), (name.lower(), '"a"')) == matched
    assert verdict((name, '"b"'), (name, '"c"')) == other


@pytest.mark.parametrize("method, code", [("GET", 304), ("HEAD", 304), ("POST", 412), ("PUT", 412), ("DELETE", 412)])
@pytest.mark.parametrize("value", ["*", '"a"', 'W/"a"'])
def test_if_none_match_that_fails(method: str, code: int, value: str) -> None:
    """RFC 9110 §13.1.2."""
    assert verdict(("If-None-Match", value), method=method) == code


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT"])
def test_if_match_that_fails(method: str) -> None:
    """RFC 9110 §13.1.1."""
    assert verdict(("If-Match", '"b"'), method=method) == 412


@pytest.mark.parametrize(
    "repeated", ['",', ",", '"a"\t ', 'W/"', '"', '"a" ', " ", '"",', '"b', "W/,", '"a"x,', "\t,", 'W/"a"  x']
)
@pytest.mark.parametrize("end", ["", ' x"a"'])
def test_a_long_list_takes_linear_time(repeated: str, end: str) -> None:
    """Twenty times what a header may have, and of the kind that has to be taken apart: it holds the tag."""
    value = 'x"a", ' + repeated * (320_000 // len(repeated)) + end
    began = time.process_time()
    verdict(("If-None-Match", value))
    assert time.process_time() - began < 2


# --- Dates ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [IMF, RFC850, ASCTIME])
def test_the_three_formats(value: str) -> None:
    """RFC 9110 §5.6.7."""
    assert parse_date(value) == INSTANT


@pytest.mark.parametrize(
    "value, date",
    [
        ("Thu, 01 Jan 1970 00:00:00 GMT", (1970, 1, 1, 0, 0, 0)),
        ("Mon, 31 Dec 1900 23:59:59 GMT", (1900, 12, 31, 23, 59, 59)),
        ("Thu, 29 Feb 2024 00:00:00 GMT", (2024, 2, 29, 0, 0, 0)),
        ("Fri, 31 Dec 9999 00:00:00 GMT", (9999, 12, 31, 0, 0, 0)),
        ("Wed Nov 16 08:49:37 1994", (1994, 11, 16, 8, 49, 37)),
    ],
)
def test_dates(value: str, date: tuple[int, int, int, int, int, int]) -> None:
    assert parse_date(value) == dt.datetime(*date, tzinfo=dt.UTC).timestamp()


def test_a_leap_second() -> None:
    """RFC 9110 §5.6.7: second is 2DIGIT, 60 included."""
    assert parse_date("Sat, 31 Dec 2016 23:59:60 GMT") == 1483228800


@pytest.mark.parametrize("digits, year", [("00", 2000), ("26", 2026), ("75", 2075), ("77", 1977), ("94", 1994)])
def test_a_year_of_two_digits(monkeypatch: pytest.MonkeyPatch, digits: str, year: int) -> None:
    """RFC 9110 §5.6.7: more than 50 years in the future is the most recent such year in the past."""
    monkeypatch.setattr(time, "gmtime", lambda: time.struct_time((2026, 6, 15, 12, 0, 0, 0, 0, 0)))
    _conditions._parse_date.cache_clear()
    parsed = parse_date(f"Sunday, 01-Jan-{digits} 00:00:00 GMT")
    _conditions._parse_date.cache_clear()
    assert parsed == parse_date(f"Sun, 01 Jan {year} 00:00:00 GMT")


@pytest.mark.parametrize("month, century", [("May", 2000), ("Jul", 1900)])
def test_fifty_years_to_the_day(monkeypatch: pytest.MonkeyPatch, month: str, century: int) -> None:
    monkeypatch.setattr(time, "gmtime", lambda: time.struct_time((2026, 6, 15, 12, 0, 0, 0, 0, 0)))
    _conditions._parse_date.cache_clear()
    parsed = parse_date(f"Sunday, 01-{month}-76 00:00:00 GMT")
    _conditions._parse_date.cache_clear()
    assert parsed == parse_date(f"Sun, 01 {month} {century + 76} 00:00:00 GMT")


MALFORMED_DATES = [
    "",
    "0",
    "784111777",
    "now",
    "1994-11-06T08:49:37Z",
    IMF.lower(),
    IMF.replace("GMT", "UTC"),
    IMF.replace("GMT", "+0000"),
    IMF.replace(" GMT", ""),
    IMF + "; length=10",
    IMF + " ",
    IMF + "\n",
    " " + IMF,
    f"{IMF}, {IMF}",
    IMF.replace("06", "6"),
    IMF.replace("06", "00"),
    IMF.replace("06", "31"),
    IMF.replace("06", "\u0660\u0666"),
    IMF.replace("1994", "0000"),
    IMF.replace("1994", "94"),
    IMF.replace("1994", "11994"),
    IMF.replace("Nov", "nov"),
    IMF.replace("Nov", "Now"),
    IMF.replace("Nov", "11"),
    IMF.replace("Sun", "Sunday"),
    IMF.replace("08:", "24:"),
    IMF.replace(":49:", ":60:"),
    IMF.replace(":37", ":61"),
    IMF.replace("08:", "8:"),
    "Thu, 29 Feb 2023 00:00:00 GMT",
    RFC850.replace("-94", "-1994"),
    RFC850.replace("Sunday", "Sun"),
    ASCTIME + " GMT",
    ASCTIME.replace("  6", " 6"),
    "x" * 10_000_000,
]


@pytest.mark.parametrize("value", MALFORMED_DATES, ids=lambda value: value[:40])
def test_malformed_dates_are_ignored(value: str) -> None:
    """RFC 9110 §13.1.3, §13.1.4."""
    assert parse_date(value) is None
    assert verdict(("If-Modified-Since", value)) is None
    assert verdict(("If-Unmodified-Since", value), modified=INSTANT + 10**10) is None


@pytest.mark.parametrize("name", ["If-Modified-Since", "If-Unmodified-Since"])
def test_several_dates_are_malformed(name: str) -> None:
    """RFC 9110 §13.1.3, §13.1.4."""
    assert verdict((name, AFTER), (name, AFTER)) is None
    assert verdict((name, BEFORE), (name, BEFORE)) is None


@pytest.mark.parametrize("method, code", [("GET", 304), ("HEAD", 304), ("POST", None), ("PUT", None)])
@pytest.mark.parametrize("value", [IMF, RFC850, ASCTIME, AFTER])
def test_not_modified_since(method: str, code: int | None, value: str) -> None:
    """RFC 9110 §13.1.3: it is for GET and HEAD only."""
    assert verdict(("If-Modified-Since", value), method=method) == code


def test_modified_since() -> None:
    assert verdict(("If-Modified-Since", BEFORE)) is None


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "DELETE"])
def test_if_unmodified_since(method: str) -> None:
    """RFC 9110 §13.1.4."""
    assert verdict(("If-Unmodified-Since", BEFORE), method=method) == 412
    assert verdict(("If-Unmodified-Since", IMF), method=method) is None
    assert verdict(("If-Unmodified-Since", AFTER), method=method) is None


def test_dates_are_of_whole_seconds() -> None:
    """What was modified within the second that Last-Modified tells was not modified since."""
    assert verdict(("If-Modified-Since", IMF), modified=INSTANT + 0.999) == 304
    assert verdict(("If-Unmodified-Since", IMF), modified=INSTANT + 0.999) is None
    assert verdict(("If-Modified-Since", "Wed, 31 Dec 1969 23:59:59 GMT"), modified=-0.5) == 304


@pytest.mark.parametrize("name", ["If-Modified-Since", "If-Unmodified-Since"])
@pytest.mark.parametrize("value", [BEFORE, AFTER])
def test_dates_are_ignored_where_there_is_none(name: str, value: str) -> None:
    """RFC 9110 §13.1.3, §13.1.4."""
    assert verdict((name, value), modified=None) is None


# --- Precedence -------------------------------------------------------------------------------------------------

GOOD = {"If-Match": '"a"', "If-Unmodified-Since": IMF, "If-None-Match": '"b"', "If-Modified-Since": BEFORE}
BAD = {"If-Match": '"b"', "If-Unmodified-Since": BEFORE, "If-None-Match": '"a"', "If-Modified-Since": IMF}


@pytest.mark.parametrize(
    "good, bad, code",
    [
        # Step 1 decides before 3 and 4, and in the place of 2.
        ("", "If-Match If-Unmodified-Since If-None-Match If-Modified-Since", 412),
        ("If-Match", "If-Unmodified-Since", None),
        ("If-Match", "If-None-Match", 304),
        ("If-Match", "If-Modified-Since", 304),
        ("If-None-Match If-Modified-Since", "If-Match", 412),
        # Step 2 decides before 3 and 4.
        ("", "If-Unmodified-Since If-None-Match", 412),
        ("", "If-Unmodified-Since If-Modified-Since", 412),
        ("If-Unmodified-Since", "If-None-Match", 304),
        ("If-Unmodified-Since", "If-Modified-Since", 304),
        # Step 3 decides in the place of 4.
        ("If-None-Match", "If-Modified-Since", None),
        ("If-Modified-Since", "If-None-Match", 304),
        ("If-Match If-Unmodified-Since If-None-Match If-Modified-Since", "", None),
    ],
)
def test_precedence(good: str, bad: str, code: int | None) -> None:
    """RFC 9110 §13.2.2."""
    fields = [(name, GOOD[name]) for name in good.split()] + [(name, BAD[name]) for name in bad.split()]
    assert verdict(*fields) == code
    assert verdict(*reversed(fields)) == code


@pytest.mark.parametrize("method", ["OPTIONS", "TRACE", "CONNECT"])
def test_methods_without_a_representation(method: str) -> None:
    """RFC 9110 §13.2.1."""
    assert verdict(*BAD.items(), method=method) is None


# --- If-Range ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value, etag, applies",
    [
        (None, '"a"', True),
        ('"a"', '"a"', True),
        ('"b"', '"a"', False),
        # RFC 9110 §13.1.5: strong comparison
        ('W/"a"', '"a"', False),
        ('"a"', 'W/"a"', False),
        ('W/"a"', 'W/"a"', False),
        ('"a"', None, False),
        # one tag, no list, and no *
        ('"a", "b"', '"a"', False),
        ("*", '"a"', False),
        ("a", "a", False),
        ("", '"a"', False),
        # a date that matches exactly
        (IMF, '"a"', True),
        (RFC850, '"a"', True),
        (ASCTIME, None, True),
        (BEFORE, '"a"', False),
        (AFTER, '"a"', False),
        (f"{IMF}, {IMF}", '"a"', False),
    ],
)
def test_if_range(value: str | None, etag: str | None, applies: bool) -> None:
    headers = HTTPHeaders({"Range": "bytes=0-"} if value is None else {"If-Range": value})
    assert range_applies(headers, etag, INSTANT + 0.5, INSTANT + 60) == applies


@pytest.mark.parametrize("now, strong", [(0.1, False), (0.9, False), (1.0, True), (-5, False)])
def test_if_range_with_a_date_that_is_not_over(now: float, strong: bool) -> None:
    """RFC 9110 §8.8.2.2, §13.1.5: the file may still change within the second."""
    assert range_applies(HTTPHeaders({"If-Range": IMF}), None, INSTANT, INSTANT + now) == strong


def test_if_range_without_a_date() -> None:
    assert not range_applies(HTTPHeaders({"If-Range": IMF}), '"a"', None, INSTANT + 60)


# --- What is sent -----------------------------------------------------------------------------------------------


def test_entity_tag_is_a_strong_one(tmp_path: Path) -> None:
    """RFC 9110 §8.8.3. It changes with the time, the size and the coding."""
    path = tmp_path / "a"
    path.write_bytes(b"abc")

    def tag(ns: int, coding: str = "") -> str:
        os.utime(path, ns=(ns, ns))
        return entity_tag(path.stat(), coding)

    tags = [tag(10**18), tag(10**18 + 1000), tag(10**18, "gzip"), tag(10**18, "br"), tag(-(10**9))]
    path.write_bytes(b"abcd")
    tags.append(tag(10**18))
    assert len(set(tags)) == 6
    assert tag(10**18) == tags[-1]
    for each in tags:
        assert verdict(("If-Match", f'"x,", {each}'), etag=each) is None
        assert verdict(("If-Match", f"W/{each}"), etag=each) == 412
        assert set(each[1:-1]) <= set("0123456789abcdefghijklmnopqrstuvwxyz-")


def test_http_date() -> None:
    """RFC 9110 §5.6.7: an IMF-fixdate is sent."""
    assert http_date(INSTANT) == http_date(INSTANT + 0.99) == IMF
    assert http_date(-0.5) == "Wed, 31 Dec 1969 23:59:59 GMT"
    assert parse_date(http_date(1_700_000_000)) == 1_700_000_000


def test_dates_are_formatted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for seconds in range(1000):
        http_date(seconds)
    monkeypatch.setattr(_conditions, "formatdate", None)
    for seconds in range(1000):
        assert http_date(seconds + 0.5)
