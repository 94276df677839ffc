"""What a server says of itself in its numeric 005 (RPL_ISUPPORT), and what modes are by it. Sans-IO.

The tokens are those of draft-hardy-irc-isupport-00 and of https://modern.ircdocs.horse/#rplisupport-parameters.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from pants.contrib.irc._casemap import Fold, fold_rfc1459, folding

# A server sends some thirty tokens. What goes beyond this is dropped.
MOST_TOKENS: Final = 500
# A server has one CASEMAPPING. All names that are known are gone through for each change of it, so there is an end.
MOST_CASEMAPPINGS: Final = 10

_PREFIX: Final = re.compile(r"\(([^()\s]*)\)(\S*)")
_ESCAPE: Final = re.compile(r"\\x([0-9A-Fa-f]{2})")


class ISupport:
    """What the server supports, as far as it has said so; until then, what RFC 1459 and RFC 2811 say.

    Attributes:
        tokens: Each token with its value, unescaped; an empty string where it has none.
        casemapping: How names are compared: "rfc1459", "ascii", "strict-rfc1459", or another.
        fold: The function that does it.
        chantypes: The characters that begin the name of a channel.
        prefix: The modes of users in channels, the highest first, each with the character that stands for it.
        statusmsg: The characters that, before the name of a channel, address those of its users who have it.
        list_modes: The modes of channels that add to a list (type A of CHANMODES).
        argument_modes: Those that take an argument, set and unset (type B).
        set_argument_modes: Those that take an argument only when they are set (type C).
        nicklen: The length of the longest nick, or None where the server has not said.
    """

    tokens: dict[str, str]
    casemapping: str
    fold: Fold
    chantypes: str
    prefix: dict[str, str]
    statusmsg: str
    list_modes: str
    argument_modes: str
    set_argument_modes: str
    nicklen: int | None

    def __init__(self) -> None:
        self.tokens = {}
        self.casemapping = "rfc1459"
        self.fold = fold_rfc1459
        self._casemappings_left = MOST_CASEMAPPINGS
        self._settle()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.tokens!r}>"

    def update(self, tokens: Iterable[str]) -> None:
        """Take in the tokens of one 005: ``NAME``, ``NAME=value``, or ``-NAME`` to take one back."""
        for token in tokens:
            name, _, value = token.partition("=")
            if name.startswith("-"):
                self.tokens.pop(name[1:].upper(), None)
            elif name and (len(self.tokens) < MOST_TOKENS or name.upper() in self.tokens):
                self.tokens[name.upper()] = _ESCAPE.sub(lambda match: chr(int(match[1], 16)), value)
        self._settle()

    def _settle(self) -> None:
        get = self.tokens.get
        casemapping = get("CASEMAPPING", "rfc1459")
        if casemapping != self.casemapping and self._casemappings_left:
            self._casemappings_left -= 1
            self.casemapping = casemapping
            self.fold = folding(casemapping)
        self.chantypes = get("CHANTYPES", "#&")
        prefix = _PREFIX.fullmatch(get("PREFIX", "(ov)@+"))  # without a value: there are none
        pairs = zip(prefix[1], prefix[2], strict=False) if prefix is not None else ()
        self.prefix = {mode: character for mode, character in pairs if _is_mode(mode)}
        self.statusmsg = get("STATUSMSG", "")
        types = [*get("CHANMODES", "beI,k,l").split(","), "", "", ""]
        # Servers differ in what q is, a list or the mode of a channel's owner. PREFIX decides.
        self.list_modes, self.argument_modes, self.set_argument_modes = (
            "".join(letter for letter in letters if letter not in self.prefix) for letters in types[:3]
        )
        self.nicklen = _number(get("NICKLEN", ""))

    def is_channel(self, name: str) -> bool:
        """Whether this is the name of a channel, and not of a user or server."""
        return name[:1] in self.chantypes and name != ""

    def channel_of(self, target: str) -> str | None:
        """The channel to which something is addressed, or None where it is a user.

        Args:
            target: A name, of a channel also with characters of STATUSMSG before it: ``@#python``.
        """
        if target[:1] in self.chantypes and target:
            return target
        name = target.lstrip(self.statusmsg) if self.statusmsg else ""
        return name if self.is_channel(name) else None

    def split_prefixes(self, name: str) -> tuple[str, str]:
        """Part the characters of PREFIX at the beginning of a name, as in NAMES, from the name.

        Returns:
            The modes that they stand for, the highest first, and the name.
        """
        bare = name.lstrip("".join(self.prefix.values()))
        characters = name[: len(name) - len(bare)]
        return "".join(mode for mode, character in self.prefix.items() if character in characters), bare


def _is_mode(letter: str) -> bool:
    # No server has other modes, and they are not to pile up.
    return letter.isascii() and letter.isalnum()


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None


class ModeChange(NamedTuple):
    """One mode that is set or unset."""

    adding: bool
    mode: str
    argument: str | None


def parse_modes(modes: str, arguments: Sequence[str], isupport: ISupport) -> list[ModeChange]:
    """Take apart the change of a channel's modes: ``+o-v nick nick``.

    Args:
        modes: The letters, with plus and minus.
        arguments: What follows them.
        isupport: Tells which modes take an argument.

    Returns:
        The changes in their order. Where an argument is missing it is None, as in a request for a list.
    """
    adding = True
    left = iter(arguments)
    changes = []
    for letter in modes:
        if letter in "+-":
            adding = letter == "+"
            continue
        if not _is_mode(letter):
            continue
        takes = (
            letter in isupport.prefix
            or letter in isupport.list_modes
            or letter in isupport.argument_modes
            or (adding and letter in isupport.set_argument_modes)
        )
        changes.append(ModeChange(adding, letter, next(left, None) if takes else None))
    return changes
