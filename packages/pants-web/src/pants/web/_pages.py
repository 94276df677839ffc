"""The pages that tell of errors: one for visitors, and one for whoever debugs the program.

Both are whole documents that load nothing and run no script, so that they show as they should under a
``Content-Security-Policy`` that allows inline styles, and as plain text in order under one that does not.
"""

from __future__ import annotations

import functools
import html
import traceback
from typing import TYPE_CHECKING, Final

from pants.http._answer import _PHRASES

if TYPE_CHECKING:
    from pants.http import HTTPRequest

# For codes that nobody has registered: the names of the classes (RFC 9110 §15).
_CLASSES: Final = {1: "Informational", 2: "Successful", 3: "Redirection", 4: "Client Error", 5: "Server Error"}

# What is said of a class, and of those of its codes that visitors meet.
_CLASS_SENTENCES: Final = {
    3: "What you are looking for is somewhere else.",
    4: "The server cannot do what this request asks for.",
    5: "Something went wrong on this server.",
}
_SENTENCES: Final = {
    400: "The server could not make sense of this request.",
    401: "You have to sign in to see this.",
    403: "You are not allowed to see this.",
    404: "There is nothing at this address.",
    405: "This address does not take requests of that kind.",
    406: "This does not exist in a form that your browser accepts.",
    408: "The request took too long to arrive.",
    409: "This has changed meanwhile. Please load it again, and retry.",
    410: "What was at this address is gone for good.",
    412: "This is not in the state that the request expects.",
    413: "What you have sent is too large.",
    414: "This address is too long.",
    415: "What you have sent is of a kind that is not understood here.",
    416: "There is no such part of this file.",
    422: "What you have sent was understood, but cannot be used.",
    429: "Too many requests have come from you. Please wait a while.",
    431: "The headers of this request are too large.",
    451: "This cannot be shown, for legal reasons.",
    500: "Something went wrong on this server. It is not your fault, and it has been noted.",
    501: "The server does not know how to do that.",
    502: "A server behind this one has not answered as it should.",
    503: "The server cannot answer at the moment. Please try again later.",
    504: "A server behind this one has not answered in time.",
}

_STYLE: Final = (
    ":root{color-scheme:light dark}"
    "body{margin:0;min-height:100vh;display:flex;align-items:center;"
    "font:1.0625rem/1.55 system-ui,sans-serif;background:#fafaf8;color:#24292f}"
    "main{max-width:34rem;margin:auto;padding:2rem 1.5rem 16vh;width:100%;box-sizing:border-box}"
    "h1{margin:0 0 .75rem;font-size:1.75rem;line-height:1.25;font-weight:600;letter-spacing:-.01em}"
    "p{margin:0;border-top:1px solid #8884;padding-top:.75rem;color:#57606a;"
    "white-space:pre-line;overflow-wrap:anywhere}"
    "@media(prefers-color-scheme:dark){body{background:#16181c;color:#e4e6e9}p{color:#a0a7b1}}"
)
_DOCUMENT: Final = (
    '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
    '<meta name="viewport" content="width=device-width,initial-scale=1">\n'
    "<title>{title}</title>\n<style>{style}</style>\n</head>\n<body>\n<main>\n<h1>{title}</h1>\n{text}</main>\n"
    "</body>\n</html>\n"
)


def error_page(status: int, message: str | None = None) -> str:
    """Return the page for an error.

    Args:
        status: The status code, be it a registered one or not.
        message: What to tell the visitor, as text; a sentence that suits the status by default, nothing if empty.

    Returns:
        A whole HTML document.
    """
    return _default_page(status) if message is None else _make_page(status, message)


@functools.lru_cache(maxsize=64)
def _default_page(status: int) -> str:
    return _make_page(status, _SENTENCES.get(status) or _CLASS_SENTENCES.get(status // 100, ""))


def _make_page(status: int, message: str) -> str:
    text = f"<p>{escaped(message)}</p>\n" if message else ""
    return _DOCUMENT.format(title=escaped(title_of(status)), style=_STYLE, text=text)


def title_of(status: int) -> str:
    """Return a status code with its phrase (RFC 9110 §15), or with that of its class if it has none."""
    phrase = _PHRASES.get(status) or _CLASSES.get(status // 100, "")
    return f"{status} {phrase}".rstrip()


def escaped(text: str) -> str:
    """Return a text as it stands in HTML, in elements and attributes; half a surrogate pair as an escape sequence."""
    return html.escape(text.encode("utf-8", "backslashreplace").decode())


def debug_page(request: HTTPRequest, exception: BaseException, status: int = 500) -> str:
    """Return the page for an error in the program, with all that helps to find it. Never for the public.

    It shows the exception and those that led to it, the source and the variables of each frame, and the request.
    Whatever looks like a secret by its name is masked, but it is a guess.

    Args:
        request: The request.
        exception: The exception that ended it.
        status: The status code of the answer.

    Returns:
        A whole HTML document, of at most 512 KiB in UTF-8.
    """
    try:
        from pants.web._debug_page import make_page

        return make_page(request, exception, status)
    except Exception:  # noqa: BLE001 - a page that fails would hide what it is about
        return _plain_page(exception, status)


def _plain_page(exception: BaseException, status: int) -> str:
    try:
        return _make_page(status, "".join(traceback.format_exception(exception))[-100_000:])
    except Exception:  # noqa: BLE001 - as above; not even Python can show it
        return error_page(status)
