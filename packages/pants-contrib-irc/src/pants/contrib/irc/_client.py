"""A client of IRC (manual: "IRCClient")."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final

from pants.contrib.irc._arguments import (
    checked_channel,
    checked_login,
    checked_password,
    checked_text,
    checked_word,
    is_word,
)
from pants.contrib.irc._base import BaseIRC
from pants.contrib.irc._capabilities import Command, Negotiation
from pants.contrib.irc._casemap import FoldedDict
from pants.contrib.irc._channel import Channel
from pants.contrib.irc._connection import ClientConnection
from pants.contrib.irc._ctcp import ctcpUnquote, extract
from pants.contrib.irc._isupport import ISupport
from pants.contrib.irc._message import Fields, Message
from pants.contrib.irc._tracking import Event, Tracker

# Other nicks that are tried where the first is in use: some with an underscore more, the rest with random digits, and
# those within the 9 letters that any server takes (RFC 2812 §1.2.1).
MOST_NICKS: Final = 10
UNDERSCORED_NICKS: Final = 2
DIGITS: Final = 4
SHORTEST_NICKLEN: Final = 9
# A source that takes more than half of a line is nonsense, and would leave no room for messages.
LONGEST_SOURCE: Final = 256
# The most bytes of names and keys in one JOIN, and the most channels, for some servers set a limit to that as well.
JOIN_BYTES: Final = 400
JOIN_CHANNELS: Final = 10
# What each client has of its own, so that a value in a subclass would be lost.
_OF_INSTANCES: Final = frozenset({"encoding", "nick", "port", "realname", "reconnect", "server", "user"})


class IRCClient(ClientConnection):
    r"""A client of IRC (manual: "IRCClient").

    It registers with the server, answers its PINGs, and knows at any time by what nick it goes, where it is, and who
    else is there. Subclass it and override the hooks, the methods whose names begin with ``irc_``.

    A server that has not accepted the client after ``registration_timeout`` seconds, 60, is given up; so is one that
    has fallen silent: see ``ping_interval`` and ``ping_timeout``.

    What is sent is slowed down to what servers put up with: after 5 lines, one each 2 seconds (RFC 1459 §8.10). See
    ``flood_interval`` and ``flood_burst``.

    Args:
        encoding: As for `BaseIRC`.
        nick: The nick to ask for.
        user: The user name.
        realname: The real name.
        password: The server's own password (PASS), if it wants one.
        sasl: A pair of a name and a password, for logging in to an account (SASL PLAIN, RFC 4616).
        reconnect: Whether to connect again, by itself, when the connection is lost or cannot be made. Then it joins the
            channels again that it was in, and asks for the nick that was given, or set last. The delay before that is
            ``reconnect_delay`` seconds, 2, at first, and twice as long after each failure, up to ``reconnect_limit``,
            300; up to a half is taken off at random. So it does after an exception out of a hook, other than
            `irc_reconnecting`, which costs the connection; but not after `close`, `quit` or a refused login.
        **kwargs: As for `pants.Stream`; ``ssl_options`` for TLS.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: An argument cannot be sent as what it is, or as for `BaseIRC`.

    Example:
        >>> from pants.contrib.irc import IRCClient
        >>> class Greeter(IRCClient):
        ...     def irc_connect(self):
        ...         self.join("#python")
        ...     def irc_join(self, channel, nick, user, host):
        ...         if nick != self.nick:
        ...             self.message(channel, f"Hello, {nick}!")
        >>> greeter = Greeter(nick="greeter", reconnect=True)
        >>> greeter.connect("irc.example.org")  # doctest: +SKIP
    """

    flood_interval: float | None = 2.0

    #: The capabilities that are asked for where the server offers them (IRCv3).
    capabilities: Iterable[str] = frozenset(
        {
            "account-notify",
            "away-notify",
            "cap-notify",
            "chghost",
            "extended-join",
            "invite-notify",
            "message-tags",
            "multi-prefix",
            "server-time",
            "setname",
            "userhost-in-names",
        }
    )
    #: Whether the password for SASL may be sent without TLS, for everyone on the way to read.
    sasl_in_clear: bool = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        for name in _OF_INSTANCES.intersection(cls.__dict__):
            if not hasattr(cls.__dict__[name], "__get__"):  # else a property, the subclass's own affair
                raise TypeError(f"{name} is given to each {cls.__name__}, or set on it, and not in the class")
        super().__init_subclass__(**kwargs)

    #: The user name that is told to the server (manual: "user").
    user: str
    #: The real name that is told to the server (manual: "realname").
    realname: str
    #: Whether the server has accepted the client; from just before `irc_connect` until after `irc_close`.
    registered: bool

    def __init__(
        self,
        encoding: str = "utf-8",
        *,
        nick: str = "Pants",
        user: str = "pants",
        realname: str = "Pants",
        password: str | None = None,
        sasl: tuple[str, str] | None = None,
        reconnect: bool = False,
        **kwargs: Any,
    ) -> None:
        self.encoding = encoding  # which the lines of the introduction are made by
        self._wished_nick = checked_word("nick", nick)
        self.user = user
        self.realname = realname
        self._password = checked_password(password)
        self._login = checked_login(sasl)
        self._wanted_channels: FoldedDict[str | None] = FoldedDict()  # each with its key
        self._just_joined: frozenset[str] = frozenset()
        self._introduction()
        self._start_over()
        super().__init__(encoding, reconnect=reconnect, **kwargs)

    def _start_over(self) -> None:
        self.registered = False
        self._tracker = Tracker(self._wished_nick)
        self._negotiation = Negotiation(self.capabilities, self._login)
        self._failure_told = False
        self._nicks_tried = 0

    def _introduction(self) -> list[bytes]:
        user, realname = checked_word("user", self.user), checked_text("realname", self.realname)
        lines = [self._line("NICK", [self._wished_nick]), self._line("USER", [user, "0", "*", realname])]
        return lines if self._password is None else [self._line("PASS", [self._password]), *lines]

    def _check_login(self) -> None:
        if self._login and not (self._tls_settings or self.sasl_in_clear):
            raise ValueError("the password for SASL would go without TLS, for everyone to read; see sasl_in_clear")

    # --- What is known ------------------------------------------------------------------------------------------

    @property
    def nick(self) -> str:
        """The client's nick on the server, or the one that it will ask for (manual: "nick").

        Set, it is asked for at once if the client is connected: when it is granted, `irc_nick_changed` is called, and
        if somebody has it, `irc_nick_in_use`.

        Raises:
            TypeError: When set to anything but a str.
            ValueError: When set to what cannot be a nick: with a space in it, say.
            RuntimeError: When set while too much waits for flood control.
        """
        return self._tracker.nick

    @nick.setter
    def nick(self, nick: str) -> None:
        line = self._line("NICK", [checked_word("nick", nick)])
        if self.connected:
            self._send_line(line, urgent=not self.registered)
        self._wished_nick = nick
        if not self.registered:
            self._tracker.nick = nick

    @property
    def channels(self) -> Mapping[str, Channel]:
        """The channels that the client is in, by their names in any case."""
        return MappingProxyType(self._tracker.channels)

    def channel(self, name: str) -> Channel | None:
        """The channel of that name, or None if the client is not in it (manual: "IRCClient.channel")."""
        return self._tracker.channels.get(name)

    @property
    def isupport(self) -> ISupport:
        """What the server supports, as far as it has said so (RPL_ISUPPORT)."""
        return self._tracker.isupport

    @property
    def enabled(self) -> frozenset[str]:
        """The capabilities that are on."""
        return frozenset(self._negotiation.enabled)

    def _source_room(self) -> int:
        tracker = self._tracker
        if not (tracker.user and tracker.host):
            return super()._source_room()
        room = len(self._encode(f":{tracker.nick}!{tracker.user}@{tracker.host} "))
        return room if room <= LONGEST_SOURCE else super()._source_room()

    # --- Channels -----------------------------------------------------------------------------------------------

    def join(self, channel: str, key: str | None = None) -> None:
        """Ask the server to be let into a channel (manual: "join").

        Before the client is registered, it is remembered and done then. `irc_join` is called when it has succeeded,
        `irc_join_failed` if the server refuses it.

        Args:
            channel: The channel's name.
            key: The channel's key, if it has one.

        Raises:
            RuntimeError: Too much waits for flood control.
            TypeError: An argument is not a str.
            ValueError: The channel or key has a space or comma in it, or a character that no line can hold, or is empty
                or too long.
        """
        checked_channel(channel)
        if key is not None:
            checked_word("key", key)
        line = self._line("JOIN", [channel] if key is None else [channel, key])
        known_key = self._wanted_channels.get(channel)
        done = self._tracker.isupport.fold(channel) in self._just_joined and key in (None, known_key)
        if self.registered and self.connected and not done:
            self._send_line(line, urgent=False)
        self._wanted_channels[channel] = key or known_key  # which is not needed, at the worst

    def part(self, channel: str, reason: str | None = None, force: bool = False) -> bool:
        """Go out of a channel (manual: "part").

        Args:
            channel: The channel's name.
            reason: What the others there are told.
            force: Send PART even where, as far as is known, the client is not in the channel.

        Returns:
            Whether PART was sent.

        Raises:
            RuntimeError: The client is not connected, with ``force``; or too much waits for flood control.
            TypeError: An argument is not a str.
            ValueError: As `join`.
        """
        checked_channel(channel)
        self._wanted_channels.pop(channel, None)
        if not force and not (self.connected and channel in self._tracker.channels):
            return False
        self.send_command("PART", channel, *([] if reason is None else [reason]))
        return True

    def _join_wanted(self) -> None:
        """Join the channels that are remembered, in few commands, for they are slowed down."""
        names: list[str] = []
        keys: list[str] = []
        size = 0
        # Those with keys come first: the second list of a JOIN belongs to the first of its channels (RFC 2812 §3.2.1).
        for name, key in sorted(self._wanted_channels.items(), key=lambda item: item[1] is None):
            more = len(self._encode(f"{name} {key or ''} "))
            if names and (size + more > JOIN_BYTES or len(names) == JOIN_CHANNELS):
                self._send_join(names, keys)
                names, keys, size = [], [], 0
            names.append(name)
            keys.extend([] if key is None else [key])
            size += more
        if names:
            self._send_join(names, keys)

    def _send_join(self, names: list[str], keys: list[str]) -> None:
        self.send_command("JOIN", ",".join(names), *([",".join(keys)] if keys else []))

    # --- Registration -------------------------------------------------------------------------------------------

    def on_connect(self) -> None:
        """Register with the server (RFC 2812 §3.1)."""
        super().on_connect()
        self._start_over()
        self._check_login()
        self._send_commands(self._negotiation.start())
        for line in self._introduction():
            self._send_line(line, urgent=True)

    def _send_commands(self, commands: Iterable[Command]) -> None:
        for command in commands:
            self._send_urgently(*command)

    def _forget(self) -> None:
        super()._forget()
        for name, channel in self._tracker.channels.items():
            key = channel.modes.get("k")
            # To those who may not know it, it is told as an asterisk.
            if name in self._wanted_channels and isinstance(key, str) and key != "*" and self._can_be_joined(key):
                self._wanted_channels[name] = key
        self._start_over()

    def _forget_channels(self) -> None:
        self._wanted_channels.clear()

    def _fail_login(self, reason: str) -> None:
        self._refused = True
        self.irc_login_failed(reason)

    def _try_another_nick(self) -> None:
        if self.registered:
            return
        self._nicks_tried += 1
        if self._nicks_tried > MOST_NICKS:
            self._fail_login(f"{MOST_NICKS} nicks like {self._wished_nick} are in use")
            return
        if self._nicks_tried <= UNDERSCORED_NICKS:
            nick = self._wished_nick + "_" * self._nicks_tried
        else:
            number = random.randrange(10**DIGITS)  # noqa: S311 - no secret
            nick = f"{self._wished_nick[: SHORTEST_NICKLEN - DIGITS]}{number:0{DIGITS}}"
        self._send_urgently("NICK", nick)

    # --- Messages -----------------------------------------------------------------------------------------------

    def _dispatch(self, fields: Fields) -> None:
        message = None
        events: Iterable[Event] = ()
        try:
            BaseIRC._dispatch(self, fields)  # quicker than by super()
        except Exception as exception:  # noqa: BLE001 - costs what is left only if on_error() closes the channel
            self._contain(exception)
        finally:
            if fields[0] != "PRIVMSG":  # most are, and tell nothing that is to be kept
                message = Message._make(fields)
                events = self._tracker.feed(message)
        if message is None:
            if self.connected:
                self._on_privmsg(fields)
            return
        react = _REACTIONS.get(message.command)
        if react is not None and self.connected:
            self._call_hook(react, self, message)
        for hook, arguments in events:
            if not self.connected:
                return
            self._call_hook(getattr(self, hook), *arguments)

    def _on_privmsg(self, fields: Fields) -> None:
        _, args, nick, user, host, _ = fields
        if len(args) < 2:
            return
        destination, text = args[0], args[1]
        channel = self._tracker.isupport.channel_of(destination)
        if channel is None and self._is_echo(nick, destination):
            return
        if "\x10" in text or "\x01" in text:
            text, chunks = extract(ctcpUnquote(text))
            for chunk in chunks:
                command, _, rest = chunk.partition(" ")
                if command == "ACTION":
                    self.irc_action(destination, rest, nick, user, host)
                else:
                    self.irc_ctcp(nick, chunk, user, host)
                if not self.connected:
                    return
            if chunks and not text:
                return
        if channel is not None:
            self.irc_message_channel(channel, text, nick, user, host)
        elif nick:
            self.irc_message_private(nick, text, user, host)

    def _is_echo(self, nick: str, destination: str) -> bool:
        """Whether something to a user is what the client itself has sent to another (echo-message)."""
        return self._tracker.is_me(nick) and not self._tracker.is_me(destination)

    def _on_notice(self, message: Message) -> None:
        if len(message.args) < 2 or self._is_echo(message.nick, message.args[0]):
            return
        text, chunks = extract(ctcpUnquote(message.args[1]))
        for chunk in chunks:
            self.irc_ctcp_reply(message.nick, chunk, message.user, message.host)
            if not self.connected:
                return
        if text or not chunks:
            self.irc_notice(message.args[0], text, *message[2:5])

    def _on_negotiation(self, message: Message) -> None:
        """What may belong to the negotiation of capabilities, or to logging in by SASL."""
        negotiation = self._negotiation
        self._send_commands(negotiation.feed(message))
        if negotiation.failure is not None and not self._failure_told:
            self._failure_told = True
            self._fail_login(negotiation.failure)
            if self.connected:
                self._send_commands(negotiation.end())

    def _on_welcome(self, message: Message) -> None:
        if self.registered:
            return
        self._on_negotiation(message)
        if not self.connected:
            return
        self.registered = True
        self._refused = False
        self._note_registration()
        fold = self._tracker.isupport.fold
        self._join_wanted()
        self._just_joined = frozenset(fold(name) for name in self._wanted_channels)
        try:
            self.irc_connect()
        finally:
            self._just_joined = frozenset()

    def _on_isupport(self, message: Message) -> None:
        self._wanted_channels.refold(self._tracker.isupport.fold)

    def _on_refusal(self, message: Message) -> None:
        if not self.registered:
            self._fail_login(message.args[-1] if message.args else message.command)

    def _on_nick_refused(self, message: Message) -> None:
        args = message.args
        if len(args) < 3:
            return
        if self._tracker.isupport.is_channel(args[1]):  # 437 is for both
            self._on_join_refused(message)
        elif message.command == "432" and not self.registered and not self._nicks_tried:
            self._fail_login(f"{args[1]}: {args[-1]}")
        elif message.command != "432" or not self.registered:
            # Another nick that was tried may be too long (432).
            self.irc_nick_in_use(args[1])

    def _on_join_refused(self, message: Message) -> None:
        args = message.args
        if len(args) < 3 or args[1] in self._tracker.channels:
            return
        # What lacks the # before it is no channel, but may have been asked for as one.
        if args[1] in self._wanted_channels or self._tracker.isupport.is_channel(args[1]):
            self._wanted_channels.pop(args[1], None)
            self.irc_join_failed(args[1], args[-1])

    def _on_membership(self, message: Message) -> None:
        """Remember which channels to join again after a lost connection."""
        args = message.args
        who = args[1] if message.command == "KICK" and len(args) > 1 else message.nick
        if args and self._tracker.is_me(who):
            for name in args[0].split(","):
                if name not in self._tracker.channels:
                    self._wanted_channels.pop(name, None)
                elif self._can_be_joined(name):
                    self._wanted_channels.setdefault(name, None)

    def _can_be_joined(self, word: str) -> bool:
        """Whether the name of a channel, or a key, that the server has told can be given back to it in a JOIN."""
        return is_word(word) and len(self._encode(word)) <= JOIN_BYTES // 2

    def _on_error_message(self, message: Message) -> None:
        reason = message.args[-1] if message.args else ""
        self.irc_error(reason)
        # Some servers, ngircd for one, have no 464 for a wrong password. What else an ERROR may be before the
        # registration is over (the server is full, one has come back too soon) does get better.
        if not self.registered and self.connected and "password" in reason.lower():
            self._fail_login(reason)


def _numerics(text: str, reaction: Callable[[IRCClient, Message], None]) -> Iterator[tuple[str, Any]]:
    return ((command, reaction) for command in text.split())


_REACTIONS: Final[dict[str, Callable[[IRCClient, Message], None]]] = {
    "NOTICE": IRCClient._on_notice,
    "JOIN": IRCClient._on_membership,
    "PART": IRCClient._on_membership,
    "KICK": IRCClient._on_membership,
    "ERROR": IRCClient._on_error_message,
    "001": IRCClient._on_welcome,
    "005": IRCClient._on_isupport,
    **dict(_numerics("CAP AUTHENTICATE 421 451 902 903 904 905 906 907", IRCClient._on_negotiation)),
    # ERR_PASSWDMISMATCH, ERR_YOUREBANNEDCREEP, and ERR_NOPERMFORHOST, for hosts that the server does not serve.
    **dict(_numerics("463 464 465", IRCClient._on_refusal)),
    # ERR_ERRONEUSNICKNAME, ERR_NICKNAMEINUSE, ERR_NICKCOLLISION, ERR_UNAVAILRESOURCE.
    **dict(_numerics("432 433 436 437", IRCClient._on_nick_refused)),
    # ERR_NOSUCHCHANNEL, ERR_TOOMANYCHANNELS, ERR_TOOMANYTARGETS, ERR_LINKCHANNEL, ERR_CHANNELISFULL,
    # ERR_INVITEONLYCHAN, ERR_BANNEDFROMCHAN, ERR_BADCHANNELKEY, ERR_BADCHANMASK, ERR_NEEDREGGEDNICK,
    # ERR_SECUREONLYCHAN, ERR_TOOMANYJOINS, ERR_OPERONLY.
    **dict(_numerics("403 405 407 470 471 473 474 475 476 477 489 500 520", IRCClient._on_join_refused)),
}
