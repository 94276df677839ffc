"""Lines of IRC, taken apart and put together, without any I/O.

The grammar is that of RFC 1459 §2.3.1 as RFC 2812 §2.3.1 has it, with the message tags of IRCv3. What is received is
taken as it comes from servers that are sloppy with it; what is sent has to be right.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple, TypeAlias

__all__ = ["Fields", "MalformedLine", "Message", "compose", "compose_tags", "parse", "take_apart"]

# The arguments that are words; the next one takes the rest of the line, with a colon or without (RFC 2812 §2.3.1).
MOST_WORDS: Final = 14

# Commands that need not be looked at twice: most of what is received, and all replies of servers.
_USUAL: Final = frozenset(
    [
        *("PRIVMSG", "NOTICE", "JOIN", "PART", "QUIT", "MODE", "NICK", "PING", "PONG", "KICK", "TOPIC"),
        *[f"{number:03}" for number in range(1000)],
    ]
)
_COMMAND: Final = re.compile(r"[A-Za-z]+|[0-9]{3}")
_TAG_KEY: Final = re.compile(r"\+?(?:[A-Za-z0-9.-]+/)?[A-Za-z0-9-]+")
# What a line cannot hold, wherever it stands.
FORBIDDEN: Final = re.compile("[\0\r\n]")

_ESCAPED: Final = {";": r"\:", " ": r"\s", "\\": r"\\", "\r": r"\r", "\n": r"\n"}
_ESCAPES: Final = str.maketrans(_ESCAPED)
_UNESCAPED: Final = {escape[1]: character for character, escape in _ESCAPED.items()}
_ESCAPE: Final = re.compile(r"\\(.?)")

#: What `Message` is made of: command, args, nick, user, host, tags.
Fields: TypeAlias = tuple[str, list[str], str, str, str, dict[str, str]]


class MalformedLine(ValueError):
    """A line that is no message of IRC."""


class Message(NamedTuple):
    """What one line says."""

    #: The command, in upper case, or three digits.
    command: str
    #: All arguments; the last one may hold spaces, or be empty.
    args: list[str]
    #: Who it is from: the nick, where that is a user.
    nick: str
    #: The user name that goes with the nick, if it is told.
    user: str
    #: The user's host, if it is told; where a server is the source, its name.
    host: str
    #: The message's tags (IRCv3), unescaped. One without a value has an empty one.
    tags: dict[str, str]


def parse(line: str) -> Message:
    """Take a line apart (RFC 2812 §2.3.1, IRCv3 "Message Tags").

    A source without ``!`` and ``@`` is a server's where it has a ``.`` or a ``:`` in it, else a nick.

    Args:
        line: The line, without the CR LF that ended it.

    Raises:
        MalformedLine: There is no command in it, or it has a NUL, CR or LF in it.

    Example:
        >>> parse(":jane!j@example.org PRIVMSG #spam :Hello, World!")[:5]
        ('PRIVMSG', ['#spam', 'Hello, World!'], 'jane', 'j', 'example.org')
    """
    return Message._make(take_apart(line))


def take_apart(line: str) -> Fields:
    """As `parse`, but the result is a plain tuple, which is quicker by far to make, to use and to drop."""
    if "\0" in line or "\r" in line or "\n" in line:
        raise MalformedLine("a NUL, CR or LF in the line")
    # Quickly, what most lines are like. Whatever is odd with one has it taken apart by the book.
    try:
        if line[:1] == ":":
            source, command, rest = line.split(" ", 2)
            nick, user, host = _take_source(source)
        else:
            command, rest = line.split(" ", 1)
            nick = user = host = ""
    except ValueError:
        return _take_odd_apart(line)
    if rest[:1] == ":":
        args = [rest[1:]]
    else:
        args = rest.split(" :", 1)
        if " " in args[0]:
            args[:1] = args[0].split(" ")
    if command not in _USUAL or "" in args or len(args) > MOST_WORDS:
        return _take_odd_apart(line)
    return command, args, nick, user, host, {}


def _take_odd_apart(line: str) -> Fields:
    """Take any line apart: one with tags, or too many spaces, or an unusual command, or none."""
    line, tags = _take_tags(line.lstrip(" "))
    head, colon, trailing = line.partition(" :")
    words = [word for word in head.split(" ") if word]
    nick = user = host = ""
    if line.startswith(":"):
        nick, user, host = _take_source(words.pop(0))
    if not words:
        raise MalformedLine("no command in the line")
    command, *args = words
    if _COMMAND.fullmatch(command) is None:
        raise MalformedLine(f"a command is letters or three digits, not {command[:20]!r}")
    if len(args) > MOST_WORDS:
        args[MOST_WORDS:] = [_behind_words(line)]
    elif colon:
        args.append(trailing)
    return command.upper(), args, nick, user, host, tags


@functools.lru_cache(maxsize=512)  # the same users go on talking
def _take_source(word: str) -> tuple[str, str, str]:
    """The nick, user and host in a word that begins with a colon."""
    nick, bang, rest = word[1:].partition("!")
    if bang:
        user, _, host = rest.partition("@")
        return nick, user, host
    nick, at, host = nick.partition("@")
    if at or not ("." in nick or ":" in nick):
        return nick, "", host
    return "", "", nick


def _behind_words(line: str) -> str:
    """What comes after as many arguments as can be words."""
    left = MOST_WORDS + 1 + line.startswith(":")
    while left:
        left -= 1
        line = line.lstrip(" ").partition(" ")[2]
    return line.lstrip(" ")


def _take_tags(line: str) -> tuple[str, dict[str, str]]:
    """Take the tags off a line."""
    if not line.startswith("@"):
        return line, {}
    section, _, line = line[1:].partition(" ")
    tags = {}
    for tag in section.split(";"):
        key, _, value = tag.partition("=")
        if key:
            tags[key] = _ESCAPE.sub(_unescape, value) if "\\" in value else value
    return line.lstrip(" "), tags


def _unescape(escape: re.Match[str]) -> str:
    character = escape[1]
    return _UNESCAPED.get(character, character)


def compose(command: str, args: Iterable[str | int], prefix: str | None = None) -> str:
    """Put a line together (RFC 2812 §2.3.1).

    Args:
        command: Letters, or three digits.
        args: The arguments. Only the last one may be empty, hold spaces, or begin with a colon.
        prefix: The source: a server's name, or ``nick!user@host``.

    Returns:
        The line, without tags and CR LF.

    Raises:
        TypeError: Something is of another type.
        ValueError: Something cannot be sent as what it is.

    Example:
        >>> compose("PRIVMSG", ["#spam", "Hello, World!"])
        'PRIVMSG #spam :Hello, World!'
    """
    if _COMMAND.fullmatch(_checked("command", command)) is None:
        raise ValueError(f"a command is letters or three digits, not {command!r}")
    words = [command.upper(), *[_argument(arg) for arg in args]]
    last = words.pop() if len(words) > 1 else None
    if any(not word or " " in word or word[0] == ":" for word in words):
        raise ValueError(f"only the last argument may be empty, hold a space or begin with a colon: {words!r}")
    if last is not None:
        words.append(":" + last if not last or " " in last or last[0] == ":" else last)
    if prefix is not None:
        if not _checked("prefix", prefix) or " " in prefix or prefix[0] == ":":
            raise ValueError(f"a prefix is one word, without the colon that goes before it, not {prefix!r}")
        words.insert(0, ":" + prefix)
    return " ".join(words)


def compose_tags(tags: Mapping[str, str | None]) -> str:
    r"""Put together the tags that go before a line (IRCv3 "Message Tags").

    Args:
        tags: At least one, not escaped. One whose value is None or empty is sent without.

    Returns:
        What goes before the line, with the space between them.

    Raises:
        TypeError: Something is of another type.
        ValueError: Something cannot be sent as what it is.

    Example:
        >>> compose_tags({"+typing": "active", "label": "a b"})
        '@+typing=active;label=a\\sb '
    """
    return "@" + ";".join([_tag(key, value) for key, value in tags.items()]) + " "


def _argument(arg: str | int) -> str:
    if isinstance(arg, int) and not isinstance(arg, bool):
        return str(int(arg))
    return _checked("argument", arg)


def _checked(what: str, value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"an IRC {what} is a str, not {value!r}")
    if FORBIDDEN.search(value) is not None:
        raise ValueError(f"an IRC {what} has no NUL, CR or LF in it, as {value!r} has")
    return value


def _tag(key: str, value: str | None) -> str:
    if _TAG_KEY.fullmatch(_checked("tag", key)) is None:
        raise ValueError(f"a tag is named by letters, digits and hyphens, after a + or a vendor, not {key!r}")
    if not value:
        return key
    if not isinstance(value, str):
        raise TypeError(f"a tag's value is a str or None, not {value!r}")
    if "\0" in value:
        raise ValueError(f"a tag's value has no NUL in it, as {value!r} has")
    return f"{key}={value.translate(_ESCAPES)}"
