r"""CTCP, the Client-To-Client Protocol: what travels inside messages, without any I/O.

There are two levels. Low-level quoting makes any text fit a line; above it, chunks between two ``\x01`` are commands
to the other client, and not for reading. The quoting of these, by backslashes, is left out, as in the clients of today:
they show a backslash as what it is.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["ctcpQuote", "ctcpUnquote", "ctcp_quote", "ctcp_unquote", "extract", "tagged"]

DELIMITER: Final = "\x01"

_QUOTES: Final = str.maketrans({"\0": "\x100", "\n": "\x10n", "\r": "\x10r", "\x10": "\x10\x10"})
_QUOTED: Final = re.compile("\x10(.?)", re.DOTALL)
_UNQUOTES: Final = {"0": "\0", "n": "\n", "r": "\r"}

_CHUNK: Final = re.compile("\x01([^\x01]*)\x01?")


def ctcpQuote(message: str) -> str:
    r"""Make any text fit for a line, by the lower of the two quotings that CTCP has (manual: "ctcpQuote").

    Args:
        message: Any text.

    Returns:
        The text without NUL, CR and LF.

    Raises:
        TypeError: The message is not a str.

    Example:
        >>> ctcpQuote("one\ntwo")
        'one\x10ntwo'
    """
    if not isinstance(message, str):
        raise TypeError(f"a message is a str, not {message!r}")
    return message.translate(_QUOTES)


def ctcpUnquote(message: str) -> str:
    r"""Undo `ctcpQuote` (manual: "ctcpUnquote").

    A quote before anything else than what that makes is dropped.

    Example:
        >>> ctcpUnquote("one\x10ntwo")
        'one\ntwo'
    """
    return _QUOTED.sub(_unquote, message) if "\x10" in message else message


def _unquote(quoted: re.Match[str]) -> str:
    return _UNQUOTES.get(quoted[1], quoted[1])


ctcp_quote = ctcpQuote
ctcp_unquote = ctcpUnquote


def extract(message: str) -> tuple[str, list[str]]:
    r"""Separate the CTCP messages in a message from what is for reading.

    A chunk that nothing ends goes on to the end of the message.

    Args:
        message: A message, without low-level quotes.

    Returns:
        What is for reading, and the CTCP messages that are not empty.

    Example:
        >>> extract("\x01PING 1\x01Are you there?")
        ('Are you there?', ['PING 1'])
    """
    if DELIMITER not in message:
        return message, []
    return _CHUNK.sub("", message), [chunk for chunk in _CHUNK.findall(message) if chunk]


def tagged(command: str, text: str | None = None) -> str:
    r"""Make a CTCP message, ready to be put into a message.

    Args:
        command: The command, one word: ``"VERSION"``.
        text: What goes with it.

    Raises:
        TypeError: An argument is not a str.
        ValueError: The command is empty, or has a space in it; or there is a ``\x01`` in one of them.

    Example:
        >>> tagged("PING", "1")
        '\x01PING 1\x01'
    """
    if not isinstance(command, str) or not isinstance(text, str | None):
        raise TypeError(f"a CTCP command and its text are str, not {command!r}, {text!r}")
    if not command or " " in command:
        raise ValueError(f"a CTCP command is one word, not {command!r}")
    content = command if text is None else f"{command} {text}"
    if DELIMITER in content:
        raise ValueError(f"a CTCP message has no \\x01 in it, as {content!r} has")
    return f"{DELIMITER}{content}{DELIMITER}"
