"""Text on its way through IRC, which knows bytes only."""

from __future__ import annotations

import codecs
from typing import Final

__all__ = ["checked_encoding", "decode_line"]

# All of ASCII but ESC, SO and SI, for encodings that switch between alphabets (ISO-2022-JP) use them for that. And what
# means another character to those that have escapes.
_ASCII: Final = "".join(chr(code) for code in range(128) if code not in (0x0E, 0x0F, 0x1B)) + r"\u0041"


def checked_encoding(name: str) -> str:
    """Check the name of an encoding that lines are to have.

    Returns:
        The name that Python has for it.

    Raises:
        LookupError: There is no such encoding of text.
        TypeError: The name is not a str.
        ValueError: Its ASCII is not ASCII. Lines end, and are cut up, by characters of ASCII.
    """
    if not isinstance(name, str):
        raise TypeError(f"encoding is the name of one, not {name!r}")
    codec = codecs.lookup(name).name
    try:
        kept = _ASCII.encode(codec) == _ASCII.encode("ascii") and _ASCII.encode("ascii").decode(codec) == _ASCII
    except UnicodeError:
        kept = False
    if not kept:
        raise ValueError(f"IRC needs an encoding that keeps ASCII as it is, not {name!r}")
    return codec


def decode_line(line: bytes, encoding: str) -> str:
    """Decode a line, whatever is in it.

    Tags are in UTF-8 (IRCv3 "Message Tags"). The rest is taken for the encoding given, else for UTF-8, else for
    Latin-1, in which anything is text.
    """
    tags, space, line = line.partition(b" ") if line.startswith(b"@") else (b"", b"", line)
    return _decode(tags + space, "utf-8") + _decode(line, encoding)


def _decode(data: bytes, encoding: str) -> str:
    for attempt in (encoding, "utf-8"):
        try:
            return data.decode(attempt)
        except UnicodeDecodeError:
            pass
    return data.decode("latin-1")
