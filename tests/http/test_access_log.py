"""`pants.http._access_log`: the formats of Apache's mod_log_config, and that no client can forge a line."""

from __future__ import annotations

import contextlib
import locale
import logging
import re
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from pants.http._access_log import AccessLog
from pants.http.utils import HTTPHeaders

# The example of Apache's documentation.
NOW = 971_211_336.75


def make_request(headers: dict[str, str] | list[tuple[str, str]] | None = None, **attributes: Any) -> Any:
    """A request that was answered half a second after it came."""
    values: dict[str, Any] = {
        "remote_ip": "127.0.0.1",
        "method": "GET",
        "url": "/apache_pb.gif?a=b",
        "path": "/apache_pb.gif",
        "query": "a=b",
        "_http_version": "HTTP/1.0",
        "hostname": "www.example.com",
        "headers": HTTPHeaders(headers or {}),
        "code": 200,
        "sent_bytes": 2326,
        "time": 0.5,
        "connection": SimpleNamespace(remote_address=("10.0.0.9", 4711), local_address=("10.0.0.1", 8080)),
    }
    return SimpleNamespace(**{**values, **attributes})


@pytest.fixture(autouse=True)
def in_california(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(time, "time", lambda: NOW)
    yield from local_time("PST8PDT,M4.1.0,M10.5.0", monkeypatch)


def local_time(zone: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", zone)
        time.tzset()
        yield
    time.tzset()


BROWSER = {"Referer": "http://www.example.com/start.html", "User-Agent": "Mozilla/4.08 [en] (Win98; I ;Nav)"}
COMMON = '127.0.0.1 - - [10/Oct/2000:13:55:36 -0700] "GET /apache_pb.gif?a=b HTTP/1.0" 200 2326'


def test_common() -> None:
    assert AccessLog("common").line(make_request(BROWSER)) == COMMON


def test_combined() -> None:
    expected = f'{COMMON} "http://www.example.com/start.html" "Mozilla/4.08 [en] (Win98; I ;Nav)"'
    assert AccessLog().line(make_request(BROWSER)) == AccessLog("combined").line(make_request(BROWSER)) == expected


@pytest.mark.parametrize(
    "text, expected",
    [
        *(("%h", "127.0.0.1"), ("%a", "127.0.0.1"), ("%{c}a", "10.0.0.9"), ("%l", "-"), ("%u", "-")),
        *(("%t", "[10/Oct/2000:13:55:36 -0700]"), ("%r", "GET /apache_pb.gif?a=b HTTP/1.0"), ("%s", "200")),
        *(("%>s", "200"), ("%<s", "200"), ("%b", "2326"), ("%B", "2326"), ("%D", "500000"), ("%T", "0")),
        *(("%{ms}T", "500"), ("%{us}T", "500000"), ("%{s}T", "0"), ("%m", "GET"), ("%U", "/apache_pb.gif")),
        *(("%q", "?a=b"), ("%H", "HTTP/1.0"), ("%v", "www.example.com"), ("%V", "www.example.com"), ("%p", "8080")),
        *(("%{X-A}i", "b, c"), ("%{x-a}i", "b, c"), ("%{X-B}i", "-"), ("%{X-Empty}i", ""), ("%%", "%")),
        *(("", ""), ("plain", "plain"), ("a%%sb%hc%%", "a%sb127.0.0.1c%"), ("%U%q", "/apache_pb.gif?a=b")),
        *(("{%m}i", "{GET}i"), ("%ms%%", "GETs%"), ('\t"%m"\\', '\t"GET"\\')),
    ],
)
def test_directives(text: str, expected: str) -> None:
    assert AccessLog(text).line(make_request([("X-A", "b"), ("x-a", "c"), ("X-Empty", "")])) == expected


@pytest.mark.parametrize(
    "text, attributes, expected",
    [
        ("%s %b %B", {"code": 0, "sent_bytes": 0}, "- - 0"),  # nothing was answered
        ("%>s %b %B", {"code": 304, "sent_bytes": 0}, "304 - 0"),
        ("%q", {"query": ""}, ""),
        ("%h %a", {"remote_ip": ""}, "- -"),  # a UNIX socket
        ("%{c}a %p", {"connection": SimpleNamespace(remote_address="", local_address="/run/a")}, "- -"),
        ("%{c}a %p", {"connection": SimpleNamespace(remote_address=None, local_address=None)}, "- -"),
        ("%v", {"hostname": ""}, "-"),
        ("%T %{ms}T %D", {"time": 12.3456789}, "12 12345 12345678"),
        ("%t", {"time": 3600.0}, "[10/Oct/2000:12:55:36 -0700]"),
        ("%m %U %q", {"method": "OPTIONS", "path": "*", "query": ""}, "OPTIONS * "),
    ],
)
def test_what_is_not_there(text: str, attributes: dict[str, Any], expected: str) -> None:
    assert AccessLog(text).line(make_request(**attributes)) == expected


@pytest.mark.parametrize(
    "text, match",
    [
        *(("%x", "'%x'"), ("a %Q b", "'%Q'"), ("%{Set-Cookie}o", "'%{Set-Cookie}o'"), ("%{x}T", "'%{x}T'")),
        *(("%", "'%' in its"), ("100% of", "'% of'"), ("%{a", "'%{a'"), ("%{a b}i", "'%{a b}i'"), ("%{}i", "'%{}i'")),
        *(("%i", "'%i'"), ("%>h", "'%>h'"), ("%{a}h", "'%{a}h'"), ("%!200s", "'%!200s'"), ("%\n", r"'%\\n'")),
        *(("%{%Y}t", "'%{%Y}t'"), ("%{c}h", "'%{c}h'"), ("%>%", "'%>%'"), ("%{x}%", "'%{x}%'")),
    ],
)
def test_what_is_not_known(text: str, match: str) -> None:
    with pytest.raises(ValueError, match=f"does not know {match}"):
        AccessLog(text)


def test_a_format_is_a_str() -> None:
    with pytest.raises(TypeError, match="b'common'"):
        AccessLog(b"common")  # type: ignore[arg-type]


# --- What a client has sent ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", range(256))
def test_no_byte_breaks_a_line(code: int) -> None:
    """Control characters end lines and drive terminals; so do those of Latin-1 (ECMA-48 §5.3), and UTF-8 is no such."""
    character = chr(code)
    text = f"/a{character}b"
    request = make_request(
        {"User-Agent": text, "Referer": text},
        url=text,
        path=text,
        query=text,
        method=text,
        _http_version=text,
        hostname=text,
    )
    request.remote_ip = text
    expected = text
    if character in '"\\':
        expected = f"/a\\{character}b"
    elif not 32 <= code < 127:
        expected = f"/a\\x{code:02x}b"
    line = AccessLog().line(request)
    assert line.endswith(f'"{expected} {expected} {expected}" 200 2326 "{expected}" "{expected}"')
    assert line.startswith(f"{expected} - - [")
    assert line.isascii()
    assert line.isprintable()
    assert AccessLog("%h|%a|%m|%U|%q|%H|%v|%V|%{Referer}i").line(request) == (
        f"{expected}|{expected}|{expected}|{expected}|?{expected}|{expected}|{expected}|{expected}|{expected}"
    )


def test_all_bytes_at_once_can_be_told_from_the_line() -> None:
    """What is escaped is not lost: a reader of the log can undo it."""
    text = bytes(range(256)).decode("latin-1")
    line = AccessLog("%{X}i").line(make_request({"X": text}))
    undone = re.sub(r"\\(?:x(..)|(.))", lambda match: chr(int(match[1], 16)) if match[1] else match[2], line)
    assert undone == text


def test_what_is_beyond_latin_1() -> None:
    """No client can send it, but a program may set it."""
    assert AccessLog("%m").line(make_request(method="\u20ac\U0001f600\udc80")) == r"\u20ac\U0001f600\udc80"


def test_percent_signs_mean_nothing_in_what_was_sent() -> None:
    request = make_request({"User-Agent": "%s %(a)s {} %d"}, url="/%41%s")
    assert AccessLog('"%r" "%{User-Agent}i"').line(request) == '"GET /%41%s HTTP/1.0" "%s %(a)s {} %d"'


# --- The time ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "zone, moment, expected",
    [
        ("UTC0", 0, "[01/Jan/1970:00:00:00 +0000]"),
        ("IST-5:30", 971_211_336, "[11/Oct/2000:02:25:36 +0530]"),
        ("NST3:30", 971_211_400, "[10/Oct/2000:17:26:40 -0330]"),
        ("CET-1CEST,M3.5.0,M10.5.0/3", 1_752_000_000, "[08/Jul/2025:20:40:00 +0200]"),
        ("CET-1CEST,M3.5.0,M10.5.0/3", 1_738_000_000, "[27/Jan/2025:18:46:40 +0100]"),
    ],
)
def test_local_time_and_its_offset(zone: str, moment: int, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: moment + 1.5)
    for _ in local_time(zone, monkeypatch):
        assert AccessLog("%t").line(make_request(time=1.25)) == expected


@pytest.mark.parametrize("month", range(1, 13))
def test_months_are_english_whatever_the_locale_is(month: int, monkeypatch: pytest.MonkeyPatch) -> None:
    before = locale.setlocale(locale.LC_TIME)
    for name in ("de_DE.UTF-8", "fr_FR.UTF-8"):
        with contextlib.suppress(locale.Error):  # not installed
            locale.setlocale(locale.LC_TIME, name)
    moment = time.mktime((2024, month, 1, 12, 0, 0, 0, 0, -1))
    monkeypatch.setattr(time, "time", lambda: moment)
    monkeypatch.setattr(time, "strftime", None)  # it would ask the locale
    try:
        line = AccessLog("%t").line(make_request(time=0))
    finally:
        locale.setlocale(locale.LC_TIME, before)
    assert line[4:7] == "JanFebMarAprMayJunJulAugSepOctNovDec"[month * 3 - 3 : month * 3]


def test_a_second_is_looked_up_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[float] = []
    find = time.localtime

    def look_up(second: float) -> time.struct_time:
        asked.append(second)
        return find(second)

    monkeypatch.setattr(time, "localtime", look_up)
    monkeypatch.setattr(time, "time", lambda: 1_000_000.9)
    log = AccessLog("%t")
    assert len({log.line(make_request(time=at / 1000)) for at in range(900)}) == 1
    assert asked == [1_000_000]
    assert log.line(make_request(time=1.0)) != log.line(make_request(time=0.0))


# --- The logger ------------------------------------------------------------------------------------------------------


def test_it_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "pants.http.access"):
        AccessLog("%m %U %%s").log(make_request(path="/%s%d"))
    (record,) = caplog.records
    assert (record.name, record.levelname, record.getMessage()) == ("pants.http.access", "INFO", "GET /%s%d %s")


def test_nothing_is_done_for_a_logger_that_is_not_interested(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "pants.http.access"):
        AccessLog().log(None)  # type: ignore[arg-type]
    assert caplog.records == []
