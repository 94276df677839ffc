"""Who is where: what a client knows of its channels, kept right by the messages that it receives. Sans-IO."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from pants._channel import log
from pants.contrib.irc._casemap import FoldedDict
from pants.contrib.irc._channel import Channel, User
from pants.contrib.irc._isupport import ISupport, parse_modes
from pants.contrib.irc._message import Message

#: The name of one of `IRCClient`'s hooks, and its arguments.
Event = tuple[str, tuple[Any, ...]]

# A client is in some ten channels, seldom in hundreds, and the largest channels have some ten thousand users. What goes
# beyond these numbers is not kept, and logged once: a server must not be able to fill the memory.
MOST_CHANNELS: Final = 1000
MOST_ENTRIES: Final = 100_000  # users and masks, of all channels together
# Nor is what stands in a line of twice the length that lines have (RFC 2812 §2.3).
MOST_LETTERS: Final = 1024


class Tracker:
    """What is known of the network from one client's place in it.

    Args:
        nick: The client's nick.

    Attributes:
        nick: The client's nick as the server has it.
        user: The client's user name as others see it, or an empty string as long as that is not known.
        host: The client's host likewise.
        isupport: What the server supports.
        channels: The channels that the client is in.
    """

    def __init__(self, nick: str) -> None:
        self.nick = nick
        self.user = ""
        self.host = ""
        self.isupport = ISupport()
        self.channels: FoldedDict[Channel] = FoldedDict(self.isupport.fold)
        self._overflowed = False
        self._room = 0  # for so many users and masks at least, without counting them again

    def is_me(self, nick: str) -> bool:
        """Whether a nick is the client's own."""
        return nick == self.nick or self.isupport.fold(nick) == self.isupport.fold(self.nick)

    def feed(self, message: Message) -> Iterable[Event]:
        """Take in a message.

        Returns:
            The hooks that are to be called for it, in their order. A message that lacks what belongs in it, or is far
            too long, has none.
        """
        handler, arguments = _HANDLERS.get(message.command, _NO_HANDLER)
        if handler is None or len(message.args) < arguments:
            return ()
        if not message.nick and message.command in _DONE_BY_USERS:
            return ()
        if sum(map(len, (*message.args, *message[2:5]))) > MOST_LETTERS:
            return ()
        return list(handler(self, message) or ())

    # --- What others do ---------------------------------------------------------------------------------------

    def _on_join(self, message: Message) -> Iterator[Event]:
        nick, user, host = message[2:5]
        account, realname = message.args[1:3] if len(message.args) > 2 else (None, "")  # extended-join
        me = self.is_me(nick)
        if me:
            self.user, self.host = user or self.user, host or self.host
        names = [name for name in message.args[0].split(",") if name]
        room = self._has_room(len(names))
        for name in names:
            if me:
                self._enter(name)
            channel = self.channels.get(name)
            if channel is not None and room:
                channel.users[nick] = User(nick, user, host, None if account == "*" else account, realname)
            yield "irc_join", (name, nick, user, host)

    def _enter(self, name: str) -> None:
        if name not in self.channels and len(self.channels) >= MOST_CHANNELS:
            self._overflow(f"more than {MOST_CHANNELS} channels")
            return
        channel = self.channels[name] = Channel(name)
        channel._refold(self.isupport.fold)

    def _has_room(self, more: int) -> bool:
        """Whether so many more users and masks may be kept."""
        self._room -= more
        if self._room < 0:  # unless some have gone since they were counted
            self._room = MOST_ENTRIES - more - sum(channel._size() for channel in self.channels.values())
        if self._room < 0:
            self._overflow(f"more than {MOST_ENTRIES} users and masks in all channels")
        return self._room >= 0

    def _overflow(self, what: str) -> None:
        if not self._overflowed:
            self._overflowed = True
            log.warning("an IRC server tells %s of %s: no more are kept", self.nick, what)

    def _leave(self, name: str, nick: str) -> None:
        if self.is_me(nick):
            self.channels.pop(name, None)
        elif name in self.channels:
            self.channels[name].users.pop(nick, None)

    def _change_modes(self, channel: Channel, modes: str, args: list[str]) -> None:
        changes = parse_modes(modes, args, self.isupport)
        if not self._has_room(len(args)):
            changes = [change for change in changes if not (change.adding and change.mode in self.isupport.list_modes)]
        channel._change_modes(changes, self.isupport)

    def _on_part(self, message: Message) -> Iterator[Event]:
        nick, user, host = message[2:5]
        reason = message.args[1] if len(message.args) > 1 else ""
        for name in message.args[0].split(","):
            self._leave(name, nick)
            yield "irc_part", (name, reason, nick, user, host)

    def _on_kick(self, message: Message) -> Iterator[Event]:
        name, nick = message.args[:2]
        reason = message.args[2] if len(message.args) > 2 else ""
        self._leave(name, nick)
        # A server may kick too: then it is named by its host.
        yield "irc_kick", (name, nick, reason, *message[2:5])

    def _on_quit(self, message: Message) -> Iterator[Event]:
        nick, user, host = message[2:5]
        left = [name for name, channel in self.channels.items() if nick in channel.users]
        for name in left:
            del self.channels[name].users[nick]
        yield "irc_quit", (nick, message.args[0] if message.args else "", left, user, host)

    def _on_nick(self, message: Message) -> Iterator[Event]:
        nick, user, host = message[2:5]
        new = message.args[0]
        if not new:
            return
        for channel in self.channels.values():
            channel._rename(nick, new)
        mine = self.is_me(nick) and new != self.nick
        if mine:
            self.nick = new
        yield "irc_nick", (nick, new, user, host)
        if mine:
            yield "irc_nick_changed", (new,)

    def _on_mode(self, message: Message) -> Iterator[Event]:
        target, modes, *args = message.args
        channel = self.channels.get(target)
        if channel is not None:
            self._change_modes(channel, modes, args)
        yield "irc_mode", (target, modes, args, *message[2:5])

    def _on_topic(self, message: Message) -> Iterator[Event]:
        name, topic = message.args[:2]
        channel = self.channels.get(name)
        if channel is not None:
            channel.topic = topic
            channel.topic_setter = message.nick or message.host
            channel.topic_time = None
        yield "irc_topic_changed", (name, topic)

    def _on_invite(self, message: Message) -> Iterator[Event]:
        target, name = message.args[:2]
        if self.is_me(target):  # with invite-notify, invitations of others are told as well
            yield "irc_invite", (name, *message[2:5])

    # --- What is told of users ----------------------------------------------------------------------------------

    def _entries(self, nick: str) -> Iterator[User]:
        for channel in self.channels.values():
            if nick in channel.users:
                yield channel.users[nick]

    def _on_account(self, message: Message) -> None:
        for entry in self._entries(message.nick):
            entry.account = None if message.args[0] == "*" else message.args[0]

    def _on_away(self, message: Message) -> None:
        for entry in self._entries(message.nick):
            entry.away = bool(message.args and message.args[0])

    def _on_setname(self, message: Message) -> None:
        for entry in self._entries(message.nick):
            entry.realname = message.args[0]

    def _on_chghost(self, message: Message) -> None:
        user, host = message.args[:2]
        if self.is_me(message.nick):
            self.user, self.host = user, host
        for entry in self._entries(message.nick):
            entry.user, entry.host = user, host

    def _on_who_reply(self, message: Message) -> None:
        user, host, _server, nick, flags = message.args[2:7]
        for entry in self._entries(nick):
            entry.user, entry.host = user, host
            entry.away = flags.startswith("G")  # "gone"; the other is "here"
            if len(message.args) > 7:
                entry.realname = message.args[7].partition(" ")[2]  # after the number of hops

    # --- What is told of channels -------------------------------------------------------------------------------

    def _on_names(self, message: Message) -> None:
        channel = self.channels.get(message.args[-2])
        names = message.args[-1].split(" ")
        if channel is not None and self._has_room(len(names)):
            for name in names:
                channel._list(name, self.isupport)

    def _on_names_end(self, message: Message) -> Iterator[Event]:
        channel = self.channels.get(message.args[1])
        if channel is not None:
            channel.complete = True
            yield "irc_names", (channel.name,)

    def _on_topic_reply(self, message: Message) -> Iterator[Event]:
        name = message.args[1]
        topic = message.args[2] if message.command == "332" else ""
        channel = self.channels.get(name)
        if channel is None or channel.topic == topic:  # asked for, and nothing new
            return
        channel.topic = topic
        channel.topic_setter, channel.topic_time = "", None  # which 333 tells, from servers that have it
        yield "irc_topic_changed", (name, topic)

    def _on_topic_setter(self, message: Message) -> None:
        channel = self.channels.get(message.args[1])
        if channel is not None:
            channel.topic_setter = message.args[2]
            channel.topic_time = _time(message.args[3:4])

    def _on_channel_modes(self, message: Message) -> None:
        channel = self.channels.get(message.args[1])
        if channel is not None:
            channel.modes.clear()
            self._change_modes(channel, message.args[2], message.args[3:])

    def _on_created(self, message: Message) -> None:
        channel = self.channels.get(message.args[1])
        if channel is not None:
            channel.created = _time(message.args[2:3])

    def _on_list_entry(self, message: Message) -> None:
        channel = self.channels.get(message.args[1])
        if message.command == "728":  # the letter comes before the mask
            mode, mask = message.args[2], message.args[3] if len(message.args) > 3 else ""
        else:
            mode, mask = _LISTS[message.command], message.args[2]
        if channel is not None and mask and mode in self.isupport.list_modes and self._has_room(1):
            channel._change_list(mode, mask, adding=True)

    # --- What is told of the client and the server --------------------------------------------------------------

    def _on_welcome(self, message: Message) -> Iterator[Event]:
        new = message.args[0]
        # Many servers say who one is at the end of their welcome (RFC 2812 §5.1).
        source, _, address = message.args[-1].rpartition(" ")[2].partition("!")
        if source == new and "@" in address:
            self.user, _, self.host = address.partition("@")
        if new not in ("", "*", self.nick):
            self.nick = new
            yield "irc_nick_changed", (new,)

    def _on_isupport(self, message: Message) -> None:
        before = self.isupport.fold
        self.isupport.update(message.args[1:-1])
        if self.isupport.fold is not before:
            self.channels.refold(self.isupport.fold)
            for channel in self.channels.values():
                channel._refold(self.isupport.fold)

    def _on_host_hidden(self, message: Message) -> None:
        user, _, self.host = message.args[1].rpartition("@")
        self.user = user or self.user
        for entry in self._entries(self.nick):
            entry.user, entry.host = user or entry.user, self.host


def _time(args: list[str]) -> int | None:
    text = args[0] if args else ""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else None


Handler = Callable[[Tracker, Message], Iterator[Event] | None]

_NO_HANDLER: Final[tuple[Handler | None, int]] = (None, 0)
# Without a nick as their source these say nothing.
_DONE_BY_USERS: Final = frozenset({"JOIN", "PART", "QUIT", "NICK"})
# RPL_BANLIST, RPL_INVITELIST and RPL_EXCEPTLIST of RFC 2812 §5.1.
_LISTS: Final = {"367": "b", "346": "I", "348": "e"}
# What each is handled by, and the number of arguments that it needs.
_HANDLERS: Final[dict[str, tuple[Handler | None, int]]] = {
    "JOIN": (Tracker._on_join, 1),
    "PART": (Tracker._on_part, 1),
    "KICK": (Tracker._on_kick, 2),
    "QUIT": (Tracker._on_quit, 0),
    "NICK": (Tracker._on_nick, 1),
    "MODE": (Tracker._on_mode, 2),
    "TOPIC": (Tracker._on_topic, 2),
    "INVITE": (Tracker._on_invite, 2),
    "ACCOUNT": (Tracker._on_account, 1),
    "AWAY": (Tracker._on_away, 0),
    "CHGHOST": (Tracker._on_chghost, 2),
    "SETNAME": (Tracker._on_setname, 1),
    "001": (Tracker._on_welcome, 1),  # RPL_WELCOME
    "005": (Tracker._on_isupport, 2),  # RPL_ISUPPORT
    "324": (Tracker._on_channel_modes, 3),  # RPL_CHANNELMODEIS
    "329": (Tracker._on_created, 3),  # RPL_CREATIONTIME
    "331": (Tracker._on_topic_reply, 2),  # RPL_NOTOPIC
    "332": (Tracker._on_topic_reply, 3),  # RPL_TOPIC
    "333": (Tracker._on_topic_setter, 3),  # RPL_TOPICWHOTIME
    "346": (Tracker._on_list_entry, 3),
    "348": (Tracker._on_list_entry, 3),
    "352": (Tracker._on_who_reply, 7),  # RPL_WHOREPLY
    "353": (Tracker._on_names, 3),  # RPL_NAMREPLY
    "366": (Tracker._on_names_end, 2),  # RPL_ENDOFNAMES
    "367": (Tracker._on_list_entry, 3),
    "396": (Tracker._on_host_hidden, 2),  # RPL_HOSTHIDDEN
    "728": (Tracker._on_list_entry, 3),
}
