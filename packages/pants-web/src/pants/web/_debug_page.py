"""The page for an error in the program (`pants.web._pages.debug_page`), made of what `_debug_values` has found out."""

from __future__ import annotations

import itertools
import platform
import traceback
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Final

from pants import __version__
from pants.web._debug_values import MASK, Frame, Values, cut, frames_of, is_secret, masked
from pants.web._pages import escaped, title_of

if TYPE_CHECKING:
    from pants.http import HTTPRequest

# In bytes. The tags that close what was begun come on top of the first, and stay below 32 KiB.
_PAGE_SIZE: Final = 480 * 1024
_REQUEST_SIZE: Final = 96 * 1024
# In characters, each of which may become six bytes.
_PLAIN_SIZE: Final = 30_000
_MESSAGE_SIZE: Final = 4000
_FIELD_SIZE: Final = 1000
_MOST_FIELDS: Final = 60
# Exceptions that are shown altogether, and how deep in groups.
_MOST_EXCEPTIONS: Final = 20
_DEEPEST: Final = 5

_STYLE: Final = """
:root{color-scheme:light dark;--ground:#fafaf8;--panel:#fff;--ink:#24292f;--dim:#656d76;--line:#8883;--red:#b3261e;
--on:#fff3d6;--mark:#ffd98a;--code:ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace}
@media(prefers-color-scheme:dark){:root{--ground:#16181c;--panel:#1d2025;--ink:#e4e6e9;--dim:#98a0aa;--red:#ff8a80;
--on:#3a3222;--mark:#6b5522}}
*{box-sizing:border-box}
body{margin:0;background:var(--ground);color:var(--ink);font:1rem/1.5 system-ui,sans-serif}
main{max-width:62rem;margin:auto;padding:2rem 1.25rem 4rem}
h1,h2,h3{margin:0;line-height:1.3;font-weight:600;overflow-wrap:anywhere}
h1{font-size:1.6rem;color:var(--red)}h2{font-size:1.15rem;margin-top:2.25rem}h3{font-size:1rem;margin-top:1.25rem}
header p,footer,.note{color:var(--dim);margin:.25rem 0;font-size:.875rem;overflow-wrap:anywhere}
footer{margin-top:3rem;padding-top:.75rem;border-top:1px solid var(--line)}
h2 small,h3 small{display:block;font-size:.8125rem;font-weight:400;color:var(--dim)}
pre,code,table{font:.8125rem/1.55 var(--code)}
pre{margin:0;overflow-x:auto}
pre.message{margin:.5rem 0 1rem;font-size:.9375rem;white-space:pre-wrap;overflow-wrap:anywhere}
details{background:var(--panel);border:1px solid var(--line);border-radius:6px;margin-top:.5rem;overflow:hidden}
details details{border-width:1px 0 0;border-radius:0;margin:0}
summary{padding:.5rem .75rem;cursor:pointer;overflow-wrap:anywhere}
summary b{font:600 .875rem var(--code)}summary span{color:var(--dim);font-size:.8125rem}
summary code{display:block;white-space:nowrap;overflow:hidden;text-overflow:ellipsis}
details[open]>summary code{display:none}
.own>summary,.own p{color:var(--dim);font-size:.8125rem}
.own p{margin:0;padding:.375rem .75rem;border-top:1px solid var(--line);overflow-wrap:anywhere}.own code{display:block}
.path{margin:-.375rem 0 0;padding:0 .75rem .375rem 1.75rem;color:var(--dim);font-size:.75rem;overflow-wrap:anywhere}
.source{border-block:1px solid var(--line);padding:.375rem 0}
.source span{display:block;min-width:max-content;padding-right:1rem}
.source i{display:inline-block;width:3.75rem;padding-right:1rem;text-align:right;color:var(--dim);font-style:normal;
user-select:none}
.source .on{background:var(--on)}mark{background:var(--mark);color:inherit;border-radius:3px}
.plain{padding:.75rem;border-top:1px solid var(--line)}
table{border-collapse:collapse;width:100%}
th,td{padding:.25rem .75rem;text-align:left;vertical-align:top;border-top:1px solid var(--line)}
th{width:11rem;font-weight:400;color:var(--dim);overflow-wrap:anywhere}
td{overflow-wrap:anywhere;white-space:pre-wrap}tr:first-child>*{border-top:0}
.fields{background:var(--panel);border:1px solid var(--line);border-radius:6px;margin-top:.5rem;overflow:hidden}
.sub{margin:1rem 0 0 .25rem;padding-left:1rem;border-left:2px solid var(--line)}
@media(max-width:40rem){main{padding:1.25rem .75rem 3rem}h1{font-size:1.3rem}th{width:30%}
.source i{width:2.75rem;padding-right:.6rem}}
"""


def make_page(request: HTTPRequest, exception: BaseException, status: int) -> str:
    """Return the page (`pants.web._pages.debug_page`)."""
    page = _Page(_PAGE_SIZE)
    name, message = _described(exception)
    title = escaped(f"{name}: {message}"[:120].partition("\n")[0])
    page.close(
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width,initial-scale=1">\n'
        f"<title>{title}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n"
        f"<header>\n<p>{escaped(title_of(status))} · {escaped(_request_line(request))}</p>\n"
        f'<h1>{escaped(name)}</h1>\n<pre class="message">{escaped(message)}</pre>\n</header>\n'
    )
    about_request = _about_request(request)
    plain = _plain(exception)
    page.left -= len(about_request.encode()) + len(plain.encode())
    _Exceptions(page).add(exception)
    page.close(about_request)
    page.close(plain)
    page.close(
        f"<footer>Pants {escaped(__version__)}, Python {escaped(platform.python_version())}. This page is shown "
        "because the application has <code>debug</code> set; nobody else should be able to see it.</footer>\n"
        "</main>\n</body>\n</html>\n"
    )
    return "".join(page.parts)


class _Page:
    """HTML of bounded size.

    Args:
        size: Bytes, in UTF-8.
    """

    def __init__(self, size: int) -> None:
        self.parts: list[str] = []
        self.left = size

    def add(self, html: str) -> bool:
        """Add a part, if there is room for it."""
        size = len(html.encode())
        if size > self.left:
            self.left = 0  # or it would go on with what is shorter, and look as if nothing were missing
            return False
        self.left -= size
        self.parts.append(html)
        return True

    def close(self, html: str) -> None:
        """Add a part that has to be there, and is short or has been accounted for."""
        self.parts.append(html)


class _Exceptions:
    """Adds exceptions to a page, with those that led to them."""

    def __init__(self, page: _Page) -> None:
        self.page = page
        self.values = Values()
        self.seen: set[int] = set()

    def add(self, exception: BaseException, depth: int = 0) -> None:
        """Add the frames of an exception whose name is there, and then all about those that led to it."""
        link: BaseException | None = exception
        while link is not None:
            self.seen.add(id(link))
            self._add_frames(link)
            if isinstance(link, BaseExceptionGroup):
                self._add_members(link, depth)
            cause = link.__cause__
            context = None if link.__suppress_context__ else link.__context__
            how = "Caused by" if cause is not None else "Raised while this was being handled"
            link = cause if cause is not None else context
            if link is not None and not self._add_name(how, link, "h2" if depth == 0 else "h3"):
                break

    def _add_members(self, group: BaseExceptionGroup[BaseException], depth: int) -> None:
        count = len(group.exceptions)
        for i, member in enumerate(group.exceptions):
            self.page.close('<div class="sub">\n')
            done = depth < _DEEPEST and self._add_name(f"{i + 1} of {count} in the group", member, "h3")
            if done:
                self.add(member, depth + 1)
            self.page.close("</div>\n")
            if not done:
                self.page.close('<p class="note">The rest of the group is left out.</p>\n')
                break

    def _add_name(self, how: str, exception: BaseException, tag: str) -> bool:
        if id(exception) in self.seen or len(self.seen) >= _MOST_EXCEPTIONS:
            return False
        name, message = _described(exception)
        return self.page.add(
            f"<{tag}><small>{escaped(how)}</small>{escaped(name)}</{tag}>\n"
            f'<pre class="message">{escaped(message)}</pre>\n'
        )

    def _add_frames(self, exception: BaseException) -> None:
        if exception.__traceback__ is None:
            self.page.add('<p class="note">It was not raised, so that it has no traceback.</p>\n')
            return
        self.page.add('<p class="note">Traceback, the last call first</p>\n')
        is_first = True
        frames = frames_of(exception, self.values)
        for is_own, run in itertools.groupby(frames, lambda frame: isinstance(frame, Frame) and frame.is_own):
            show = _own_frames if is_own else _other_frames
            for part in show(list(run), is_first):
                if not self.page.add(part):
                    self.page.close('<p class="note">More frames would make this page too large.</p>\n')
                    return
            is_first = is_first and is_own


def _own_frames(frames: list[Frame | int], is_open: bool) -> Iterator[str]:
    lines = [
        f"<p>{escaped(frame.function)}, {escaped(_short(frame.filename))}:{frame.number}"
        f"<code>{escaped(frame.line.strip())}</code></p>\n"
        for frame in frames
        if isinstance(frame, Frame)
    ]
    count = "1 frame" if len(lines) == 1 else f"{len(lines)} frames"
    yield f'<details class="own"{_open(is_open)}><summary>{count} of Pants</summary>\n{"".join(lines)}</details>\n'


def _other_frames(frames: list[Frame | int], is_open: bool) -> Iterator[str]:
    for frame in frames:
        if isinstance(frame, int):
            yield f'<p class="note">… {frame} frames are left out here …</p>\n'
        else:
            yield _frame(frame, is_open)
            is_open = False


def _frame(frame: Frame, is_open: bool) -> str:
    source = "".join([_source_line(number, text, frame) for number, text in frame.source])
    return (
        f"<details{_open(is_open)}><summary><b>{escaped(frame.function)}</b> "
        f"<span>{escaped(_short(frame.filename))}:{frame.number}</span>"
        f"<code>{escaped(frame.line.strip())}</code></summary>\n"
        f'<p class="path">{escaped(frame.filename)}</p>\n'
        f'<pre class="source">{source or " (there is no source)"}</pre>\n'
        f"{_table(frame.values)}</details>\n"
    )


def _source_line(number: int, text: str, frame: Frame) -> str:
    if number != frame.number:
        return f"<span><i>{number}</i>{escaped(text)}</span>"
    html = escaped(text)
    if frame.columns is not None:
        start, end = frame.columns
        html = f"{escaped(text[:start])}<mark>{escaped(text[start:end])}</mark>{escaped(text[end:])}"
    return f'<span class="on"><i>{number}</i>{html}</span>'


def _table(rows: Iterable[tuple[str, str]]) -> str:
    lines = "".join([f"<tr><th>{escaped(name)}</th><td>{escaped(value)}</td></tr>\n" for name, value in rows])
    return f"<table>\n{lines}</table>\n" if lines else ""


def _open(is_open: bool) -> str:
    return " open" if is_open else ""


def _short(filename: str) -> str:
    """Return the last parts of a path."""
    return "/".join(filename.replace("\\", "/").split("/")[-2:])


def _described(exception: BaseException) -> tuple[str, str]:
    """Return the name of an exception's type, and its message with notes; of a SyntaxError, where it is too."""
    kind = type(exception)
    name = (
        kind.__qualname__ if kind.__module__ in ("builtins", "__main__") else f"{kind.__module__}.{kind.__qualname__}"
    )
    # Not format_exception_only(), which would look at the exceptions that it was raised from, and at their source.
    found = traceback.TracebackException.from_exception(exception, limit=0, compact=True)
    message = "".join(found.format_exception_only()).rstrip("\n").removeprefix(kind.__module__ + ".")
    message = message.removeprefix(kind.__qualname__).removeprefix(": ")
    return cut(name, 200), cut(message, _MESSAGE_SIZE)


def _plain(exception: BaseException) -> str:
    """Return the traceback as Python shows it, to be copied."""
    text = "".join(traceback.format_exception(exception))
    if len(text) > _PLAIN_SIZE:
        text = f"…\n{text[-_PLAIN_SIZE:].partition(chr(10))[2]}"
    return (
        "<h2>To be copied</h2>\n<details><summary>The traceback as text</summary>"
        f'<pre class="plain">{escaped(text)}</pre></details>\n'
    )


# --- The request ------------------------------------------------------------------------------------------------


def _request_line(request: HTTPRequest) -> str:
    return f"{request.method} {cut(request.path, _FIELD_SIZE)}"


def _about_request(request: HTTPRequest) -> str:
    """Return what is to be told of a request: nothing of its secrets, and of a form only the names."""
    page = _Page(_REQUEST_SIZE)
    page.close("<h2>Request</h2>\n")
    general = [
        ("Line", f"{request.method} {masked(cut(request.url, _FIELD_SIZE))} {request.protocol}"),
        ("Route", str(getattr(request, "route_name", None) or "none")),
        ("From", request.remote_ip or "no address"),
    ]
    tables: list[tuple[str, Callable[[], Iterable[tuple[str, str]]]]] = [
        ("", lambda: general),
        ("Headers", lambda: [(name, _field(name, request.headers[name])) for name in request.headers]),
        ("Query", lambda: [(name, _field(name, ", ".join(values))) for name, values in request.get.items()]),
        ("Form", lambda: [(name, "a field") for name in request.post] + [(name, "a file") for name in request.files]),
    ]
    for title, rows in tables:
        try:
            table = _table(itertools.islice(rows(), _MOST_FIELDS))
        except Exception as error:  # noqa: BLE001 - as by a malformed form, or one that is gone
            table = _table([("", f"cannot be read: {cut(str(error), _FIELD_SIZE)}")])
        heading = f"<h3>{title}</h3>\n" if title else ""
        if table and not page.add(f'{heading}<div class="fields">\n{table}</div>\n'):
            page.close(f'{heading}<p class="note">It would make this page too large.</p>\n')
    return "".join(page.parts)


def _field(name: str, value: str) -> str:
    return MASK if is_secret(name) else masked(cut(value, _FIELD_SIZE))
