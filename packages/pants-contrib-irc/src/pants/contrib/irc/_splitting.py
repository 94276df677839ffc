"""Cutting a text that is too long for one line into several, without any I/O."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from typing import Final

__all__ = ["split_text"]

QUOTE: Final = "\x10"
ZERO_WIDTH_JOINER: Final = "\u200d"

_CTCP_CHUNK: Final = re.compile("\x01[^\x01]*\x01?")


def split_text(text: str, room: int, measure: Callable[[str], int]) -> list[str]:
    r"""Cut a text into pieces that fit. Put together again they are the text.

    No cut is made inside what readers see as one character, if that itself fits, nor inside a low-level quote of CTCP
    (``\x10`` and what follows it) or a CTCP chunk (``\x01`` to ``\x01``). Cuts are made behind a space, where there is
    one in the second half of what fits.

    Args:
        text: What to cut.
        room: The most that a piece may measure.
        measure: Tells what a piece measures: at least 1 for each of its characters, and more for a longer piece.

    Raises:
        ValueError: A CTCP chunk, or a single character, is longer than that.

    Example:
        >>> split_text("spam, eggs and spam", 10, len)
        ['spam, ', 'eggs and ', 'spam']
    """
    if len(text) <= room and measure(text) <= room:
        return [text]
    pieces = []
    chunks = [chunk.span() for chunk in _CTCP_CHUNK.finditer(text)][::-1]
    start = 0
    while start < len(text):
        end = _fitting(text, start, room, measure)
        while chunks and chunks[-1][1] <= start:
            chunks.pop()
        if end < len(text):
            end = _better_end(text, start, end, chunks)
        if end == start:
            what = text[start : start + 20]
            raise ValueError(f"{max(room, 0)} bytes, as a line has left, are not enough for {what!r}..., uncut")
        pieces.append(text[start:end])
        start = end
    return pieces


def _fitting(text: str, start: int, room: int, measure: Callable[[str], int]) -> int:
    """Where the longest piece from ``start`` on ends that fits."""
    low, high = start, min(len(text), start + max(room, 0))
    while low < high:
        middle = (low + high + 1) // 2
        if measure(text[start:middle]) <= room:
            low = middle
        else:
            high = middle - 1
    return low


def _better_end(text: str, start: int, end: int, chunks: list[tuple[int, int]]) -> int:
    """Where to end a piece, that could be as long as up to ``end``; ``start`` if nowhere."""
    behind = start  # the last chunk that is whole: a space in it does not count
    for first, last in reversed(chunks):
        if first >= end:
            break
        if last > end:
            return first
        behind = last
    space = text.rfind(" ", max(behind, (start + end) // 2), end)
    if space >= 0 and _may_cut(text, start, space + 1):
        return space + 1
    best = end
    while best > behind and not _may_cut(text, start, best):
        best -= 1
    if best > start:
        return best
    return end - _run(text, start, end, QUOTE) % 2  # one character after all, that is longer than a line


def _may_cut(text: str, start: int, end: int) -> bool:
    """Whether readers see one character end before ``end``, and another one begin there."""
    before, after = text[end - 1], text[end]
    if before == QUOTE and _run(text, start, end, QUOTE) % 2:
        return False
    if after.isascii():
        return True
    if ZERO_WIDTH_JOINER in (before, after) or unicodedata.category(after)[0] == "M":
        return False
    if "\U0001f3fb" <= after <= "\U0001f3ff" or "\U000e0020" <= after <= "\U000e007f":  # skin tones; tags, as in flags
        return False
    if "\u1160" <= after <= "\u11ff":  # the rest of a Korean syllable
        return False
    # Flags are pairs of letters.
    return not (_is_flag_letter(after) and _flag_letters(text, start, end) % 2)


def _run(text: str, start: int, end: int, character: str) -> int:
    """How often a character stands in a row right before ``end``."""
    return end - start - len(text[start:end].rstrip(character))


def _is_flag_letter(character: str) -> bool:
    return "\U0001f1e6" <= character <= "\U0001f1ff"


def _flag_letters(text: str, start: int, end: int) -> int:
    first = end
    while first > start and _is_flag_letter(text[first - 1]):
        first -= 1
    return end - first
