"""A channel as a client sees it, and who is in it. Sans-IO."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from pants.contrib.irc._casemap import Fold, FoldedDict, fold_rfc1459
from pants.contrib.irc._isupport import ISupport, ModeChange


@dataclasses.dataclass(slots=True)
class User:
    """A user in a channel.

    Attributes:
        nick: The nick.
        user: The user name, or an empty string where the server has not told it yet.
        host: The host, or an empty string likewise.
        account: The account that the user is logged in to; None where there is none or the server does not tell.
        realname: The real name, or an empty string where the server has not told it.
        away: Whether the user is known to be away.
        modes: The user's modes in the channel, the highest first: "ov" for one who is operator and has voice.
        prefix: The character that stands for the highest of them: "@". Empty where there is none.
    """

    nick: str
    user: str = ""
    host: str = ""
    account: str | None = None
    realname: str = ""
    away: bool = False
    modes: str = ""
    prefix: str = ""

    def _set_modes(self, modes: Iterable[str], isupport: ISupport) -> None:
        self.modes = "".join(mode for mode in isupport.prefix if mode in modes)
        self.prefix = isupport.prefix[self.modes[0]] if self.modes else ""


class Channel:
    """What is known of a channel: who is in it, its topic, its modes (manual: "Channel").

    An `IRCClient` keeps one for each channel that it is in, up to date with what the server tells.

    Args:
        name: The channel's name.

    Attributes:
        name: The channel's name, as the server spells it.
        topic: The topic; empty where there is none.
        topic_setter: Who set it, a nick or ``nick!user@host`` as the server tells it; empty where it is not known.
        topic_time: When it was set, in seconds since the epoch, or None.
        created: When the channel was made, in seconds since the epoch, or None.
        modes: The channel's modes, each letter with its argument, or True where it has none. A server tells those that
            were set before one joined only when it is asked: ``send_command("MODE", name)``.
        lists: The lists of masks that have been seen, by the letter of their mode: "b" for the bans. A server tells
            them when it is asked: ``send_command("MODE", name, "b")``.
        users: Who is in it: a mapping of nicks, in any case, to `User` objects.
        complete: Whether the server has told all who are in it.

    Example:
        >>> from pants.contrib.irc import Channel
        >>> channel = Channel("#python")
        >>> channel
        <Channel #python, 0 users>
        >>> "Pants" in channel.users
        False
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.topic = ""
        self.topic_setter = ""
        self.topic_time: int | None = None
        self.created: int | None = None
        self.modes: dict[str, str | bool] = {}
        self.lists: dict[str, set[str]] = {}
        self.users: FoldedDict[User] = FoldedDict(fold_rfc1459)
        self.complete = False

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}, {len(self.users)} users>"

    def _size(self) -> int:
        """How many users and masks are kept here."""
        return len(self.users) + sum(map(len, self.lists.values()))

    def _refold(self, fold: Fold) -> None:
        self.users.refold(fold)

    def _rename(self, old: str, new: str) -> None:
        if old in self.users:
            user = self.users.pop(old)
            user.nick = new
            self.users[new] = user

    def _list(self, name: str, isupport: ISupport) -> None:
        """Take in one name of NAMES: ``@+nick`` or, with userhost-in-names, ``@+nick!user@host``."""
        modes, source = isupport.split_prefixes(name)
        nick, _, address = source.partition("!")
        if not nick:
            return
        user = self.users.get(nick)
        if user is None:
            user = self.users[nick] = User(nick)
        if address:
            user.user, _, user.host = address.partition("@")
        # Without multi-prefix only the highest is listed: where that is known already, it says nothing of the others.
        if len(modes) != 1 or user.modes[:1] != modes:
            user._set_modes(modes, isupport)

    def _change_modes(self, changes: Iterable[ModeChange], isupport: ISupport) -> None:
        for adding, mode, argument in changes:
            if mode in isupport.prefix:
                user = self.users.get(argument or "")
                if user is not None:
                    user._set_modes(user.modes + mode if adding else user.modes.replace(mode, ""), isupport)
            elif mode in isupport.list_modes:
                if argument is not None:
                    self._change_list(mode, argument, adding)
            elif not adding:
                self.modes.pop(mode, None)
            else:
                self.modes[mode] = True if argument is None else argument

    def _change_list(self, mode: str, mask: str, adding: bool) -> None:
        masks = self.lists.setdefault(mode, set())
        if adding:
            masks.add(mask)
        else:
            masks.discard(mask)
