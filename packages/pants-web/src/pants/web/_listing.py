"""The page that lists a directory: read, sorted and written a little at a time, for there may be a great many files."""

from __future__ import annotations

import base64
import hashlib
import html
import itertools
import math
import os
import re
import stat
import time
from collections.abc import Callable, Generator
from typing import Any, Final, NamedTuple
from urllib.parse import quote

#: What is shown of a directory, at most.
MOST_ENTRIES: Final = 10_000
# The number of entries after which others may have their turn; and that of those sorted or put together in one go.
_STRIDE: Final = 50
_RUN: Final = 500

_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
_LAST_DATE: Final = 253402300800  # the year 10000, in seconds since the epoch

# What stands for itself in HTML as in URLs.
_is_plain: Final = re.compile(r"[0-9A-Za-z_.~-]+").fullmatch
_find_numbers: Final = re.compile("[0-9]+").sub
_find_order: Final = re.compile(r"(?:^|&)sort=(-?)(name|size|date)(?:&|$)").search
# Halves of surrogate pairs, which stand for bytes that are no UTF-8; controls; and what turns the direction of text, so
# that a name could look like another one.
_NOT_SHOWN: Final = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


class Entry(NamedTuple):
    """What is in a directory.

    Attributes:
        name: The name, as of `os.fsdecode`.
        is_directory: Whether it is a directory; else it is a file.
        size: The size, in bytes; 0 of a directory.
        modified: When it was last modified, in seconds since the epoch.
    """

    name: str
    is_directory: bool
    size: int
    modified: float


class Order(NamedTuple):
    """How entries are sorted: by ``name``, ``size`` or ``date``, and whether the other way round."""

    key: str = "name"
    reverse: bool = False


class Place(NamedTuple):
    """The directory that is listed, as the visitor sees it.

    Attributes:
        root: What the root is called: the path below which the files are served, decoded.
        names: The names of the directories that lead from there to here.
        order: How its entries are sorted.
        links_all: Whether there are links to names that are no UTF-8.
    """

    root: str
    names: tuple[str, ...]
    order: Order
    links_all: bool


def make_page(
    descriptor: int,
    place: Place,
    is_shown: Callable[[str], bool],
    follow: Callable[[str], os.stat_result | None],
    most: int = MOST_ENTRIES,
) -> Generator[None, None, bytes]:
    """Make the page for a directory, in steps between which other things may be done.

    Args:
        descriptor: The directory. It is closed, at the latest when the generator is.
        place: Where it is.
        is_shown: Tells by its name whether something is shown.
        follow: Returns the status of what a symbolic link in the directory leads to; None for nothing to be shown.
        most: The number of entries to show, at most.

    Returns:
        A generator that makes one step after another, none of which takes long, and returns a whole HTML document in
        UTF-8. It raises OSError if the directory cannot be read.
    """
    steps = _make_page(descriptor, place, is_shown, follow, most)
    next(steps)  # closed before it has begun, a generator would do nothing
    return steps


def _make_page(
    descriptor: int,
    place: Place,
    is_shown: Callable[[str], bool],
    follow: Callable[[str], os.stat_result | None],
    most: int,
) -> Generator[None, None, bytes]:
    entries: list[Entry] = []
    try:
        yield
        is_whole = yield from _read(descriptor, is_shown, follow, most, entries)
    finally:
        os.close(descriptor)
    numbers = yield from _sorted(entries, place.order)
    pieces: list[bytes] = []
    rows: list[str] = [_PARENT] if place.names else []
    for count, number in enumerate(numbers, 1):
        rows.append(_row(entries[number], place.links_all))
        if not count % _STRIDE:
            yield
            if len(rows) >= _RUN:
                pieces.append("".join(rows).encode())
                rows.clear()
    head, foot = _document(place, _summary(entries, is_whole))
    return b"".join([head.encode(), *pieces, "".join(rows).encode(), foot.encode()])


def _read(
    descriptor: int,
    is_shown: Callable[[str], bool],
    follow: Callable[[str], os.stat_result | None],
    most: int,
    entries: list[Entry],
) -> Generator[None, None, bool]:
    """Read a directory; tell whether that is all of it."""
    with os.scandir(descriptor) as found:
        for count, item in enumerate(found, 1):
            if not count % _STRIDE:
                yield
            if not is_shown(item.name):
                continue
            try:
                status = follow(item.name) if item.is_symlink() else item.stat(follow_symlinks=False)
            except OSError:  # it was removed this very moment
                continue
            if status is None:
                continue
            is_directory = stat.S_ISDIR(status.st_mode)
            if is_directory or stat.S_ISREG(status.st_mode):
                if len(entries) == most:
                    return False
                entries.append(Entry(item.name, is_directory, 0 if is_directory else status.st_size, status.st_mtime))
    return True


# --- Order ------------------------------------------------------------------------------------------------------


def find_order(query: str) -> Order:
    """Return the order that a query asks for, as in ``sort=-size``; by name where it asks for none."""
    match = _find_order(query)
    return Order() if match is None else Order(match[2], bool(match[1]))


def _sorted(entries: list[Entry], order: Order) -> Generator[None, None, list[int]]:
    """Sort entries, the directories first; return their numbers."""
    keys: list[tuple[str, str]] = []
    for count, entry in enumerate(entries, 1):
        keys.append(name_key(entry.name))
        if not count % _STRIDE:
            yield
    by_name = order.reverse and order.key == "name"
    numbers = yield from _merged(list(range(len(entries))), keys.__getitem__, by_name)
    # Each sorting leaves what is equal to it in the order that was before.
    if order.key == "size":
        numbers = yield from _merged(numbers, [entry.size for entry in entries].__getitem__, order.reverse)
    elif order.key == "date":
        numbers = yield from _merged(numbers, [entry.modified for entry in entries].__getitem__, order.reverse)
    files = [number for number in numbers if not entries[number].is_directory]
    return [number for number in numbers if entries[number].is_directory] + files


def _merged(numbers: list[int], key: Callable[[int], Any], reverse: bool) -> Generator[None, None, list[int]]:
    """Sort as `sorted` does, in steps: runs, and then two and two of these, which `sorted` finds and merges."""
    runs = []
    for start in range(0, len(numbers), _RUN):
        runs.append(sorted(numbers[start : start + _RUN], key=key, reverse=reverse))
        yield
    while len(runs) > 1:
        longer = []
        for at in range(0, len(runs), 2):
            longer.append(sorted(itertools.chain(*runs[at : at + 2]), key=key, reverse=reverse))
            yield
        runs = longer
    return runs[0] if runs else []


def name_key(name: str) -> tuple[str, str]:
    """Return what names are sorted by: letters without their case, and numbers by what they are."""
    return _find_numbers(_number_key, name.casefold()), name


def _number_key(match: re.Match[str]) -> str:
    digits = match[0].lstrip("0")
    return f"{chr(len(digits))}{digits}"  # the longer is the larger


# --- What is written about one entry ------------------------------------------------------------------------------


def shown(name: str) -> str:
    """Return a name as it is shown, as text: without anything that would hide what it is."""
    return _NOT_SHOWN.sub(_symbol, name)


def _symbol(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code < 0x20:
        return chr(0x2400 + code)  # the pictures that Unicode has of them
    return "\u2421" if code == 0x7F else "\ufffd"


def link_to(name: str) -> str:
    """Return the reference to something in the same directory (RFC 3986 §4.2), without any character of another use."""
    return quote(os.fsencode(name), safe="")


def readable_size(size: int) -> str:
    """Return a number of bytes as people read it: ``999 B``, ``1.4 KiB``, ``20 MiB``."""
    if size < 1000:
        return f"{size} B"
    power = min((size.bit_length() - 1) // 10, len(_UNITS) - 1)
    value = size / 1024**power
    if value >= 999.5 and power < len(_UNITS) - 1:
        power, value = power + 1, value / 1024
    value = max(value, 1.0) if power == 1 else value
    return f"{value:.1f} {_UNITS[power]}" if value < 9.95 else f"{value:.0f} {_UNITS[power]}"


def readable_date(seconds: float) -> str:
    """Return a time as date and time of day, in UTC (ISO 8601, with a space); nothing if there is no such year."""
    if not 0 <= seconds < _LAST_DATE:
        return ""
    year, month, day, hour, minute = time.gmtime(math.floor(seconds))[:5]
    return f"{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}"


def _row(entry: Entry, links_all: bool) -> str:
    name = entry.name
    kind, slash, size = (' class="d"', "/", "") if entry.is_directory else ("", "", readable_size(entry.size))
    if _is_plain(name):
        text = f'<a href="{name}{slash}">{name}{slash}</a>'
    else:
        text = f"<bdi>{html.escape(shown(name))}</bdi>{slash}"
        if links_all or _is_utf8(name):
            text = f'<a href="{link_to(name)}{slash}">{text}</a>'
    date = readable_date(entry.modified)
    when = f'<time datetime="{date}Z">{date}</time>' if date else ""
    return f"<tr{kind}><td>{text}</td><td>{size}</td><td>{when}</td></tr>\n"


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


# --- The page ---------------------------------------------------------------------------------------------------

_STYLE: Final = """\
:root{color-scheme:light dark;
--text:#24292f;--faint:#57606a;--line:#8883;--back:#fafaf8;--link:#0b57d0;--folder:#b08a3c}
@media(prefers-color-scheme:dark){
:root{--text:#e4e6e9;--faint:#a0a7b1;--back:#16181c;--link:#8ab4f8;--folder:#d3b06a}}
*{box-sizing:border-box}
body{margin:0;font:1rem/1.5 system-ui,sans-serif;background:var(--back);color:var(--text)}
main{max-width:60rem;margin:auto;padding:1.5rem 1rem 4rem}
h1{font-size:1.25rem;line-height:1.4;font-weight:600;margin:0 .5rem 1rem;overflow-wrap:anywhere}
a{color:var(--link);text-decoration:none}
a:hover,a:focus{text-decoration:underline}
table{width:100%;border-collapse:collapse}
th{text-align:left;font-weight:400;font-size:.875rem;padding:.25rem .5rem}
th a{color:var(--faint)}
td{padding:.3rem .5rem;border-top:1px solid var(--line);vertical-align:top}
td:first-child{position:relative;padding-left:2rem;white-space:pre-wrap;overflow-wrap:anywhere}
td:first-child::before{content:"";position:absolute;left:.6rem;top:.65rem;width:.7rem;height:.85rem;
background:var(--faint);opacity:.6;clip-path:polygon(0 0,60% 0,100% 30%,100% 100%,0 100%)}
.d td:first-child::before{left:.5rem;top:.7rem;width:.95rem;height:.75rem;background:var(--folder);opacity:1;
clip-path:polygon(0 0,42% 0,52% 16%,100% 16%,100% 100%,0 100%)}
td+td,th+th{white-space:nowrap;width:1%;color:var(--faint);font-variant-numeric:tabular-nums}
td:nth-child(2),th:nth-child(2){text-align:right}
p{margin:1rem .5rem;color:var(--faint);font-size:.875rem}
@media(max-width:36rem){
table,thead,tbody{display:block}
tr{display:flex;flex-wrap:wrap;column-gap:1rem;border-top:1px solid var(--line);padding:.4rem 0}
thead tr{border:0}
td,th{border:0}
th,th+th{width:auto}
td:first-child{flex:1 0 100%;padding-top:0;padding-bottom:0}
td:first-child::before{top:.35rem}
.d td:first-child::before{top:.4rem}
td+td,td:empty+td{width:auto;padding:0 0 0 2rem;font-size:.8125rem}
td+td+td{padding:0}
td:empty{display:none}}
"""

#: The page needs nothing but its own style, so that nothing else is allowed to be in it.
CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; "
    f"style-src 'sha256-{base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()}'; "
    "base-uri 'none'; form-action 'none'"
)

_HEAD: Final = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width,initial-scale=1">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<main>
<h1>{crumbs}</h1>
<table>
<thead><tr>{columns}</tr></thead>
<tbody>
"""
_FOOT: Final = """\
</tbody>
</table>
{summary}</main>
</body>
</html>
"""

_PARENT: Final = '<tr class="d"><td><a href="../">../</a></td><td></td><td></td></tr>\n'

_COLUMNS: Final = {"name": "Name", "size": "Size", "date": "Modified (UTC)"}


def _document(place: Place, summary: str) -> tuple[str, str]:
    """Return what comes before the rows of the page, and what comes behind them."""
    title = "/".join([place.root.rstrip("/"), *place.names, ""])
    head = _HEAD.format(
        title=f"Index of {html.escape(shown(title))}",
        style=_STYLE,
        crumbs=_crumbs(place),
        columns="".join([_column(key, text, place.order) for key, text in _COLUMNS.items()]),
    )
    return head, _FOOT.format(summary=summary)


def _crumbs(place: Place) -> str:
    """The path to here, each directory of it as a link, relative to this one; the last is this."""
    names = [place.root.rstrip("/"), *place.names]
    crumbs = []
    for up, name in zip(range(len(names) - 1, -1, -1), names, strict=True):
        text = f"<bdi>{html.escape(shown(name))}</bdi>/" if name else "/"
        crumbs.append(f'<a href="{"../" * up}">{text}</a>' if up else text)
    return "<wbr>".join(crumbs)


def _column(key: str, text: str, order: Order) -> str:
    """The head of a column: a link that sorts by it, or the other way round if that was done already."""
    if key != order.key:
        sign = "" if key == "name" else "-"  # the largest and the latest are looked for first
        return f'<th scope="col"><a href="?sort={sign}{key}">{text}</a></th>'
    state, sign, arrow = ("descending", "", "\u2193") if order.reverse else ("ascending", "-", "\u2191")
    return f'<th scope="col" aria-sort="{state}"><a href="?sort={sign}{key}">{text} {arrow}</a></th>'


def _summary(entries: list[Entry], is_whole: bool) -> str:
    if not is_whole:
        return f"<p>There is more in this directory: these are only {len(entries):,} of its entries.</p>\n"
    if not entries:
        return "<p>This directory is empty.</p>\n"
    directories = sum(entry.is_directory for entry in entries)
    files = len(entries) - directories
    size = sum(entry.size for entry in entries)
    parts = [_counted(directories, "directory", "directories")] if directories else []
    parts += [f"{_counted(files, 'file', 'files')} of {readable_size(size)}"] if files else []
    return f"<p>{', '.join(parts)}</p>\n"


def _counted(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"
