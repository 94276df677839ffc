"""A small server of IRC: users, channels, topics and talk. HOST and PORT name its address, or 127.0.0.1 and 6667."""

import os
import re

from pants import Engine, Server
from pants.contrib.irc import BaseIRC

NICK = re.compile(r"[A-Za-z\[-`{-}][A-Za-z0-9\[-`{-}-]{0,19}")
CHANNEL = re.compile(r"#[A-Za-z0-9_#+.-]{1,40}")
MOST_CHANNELS = 20  # that a user may be in


class Refused(ValueError):
    """Something cannot be done. The arguments are those of the reply that says so."""


class Channel:
    def __init__(self, name: str) -> None:
        self.name, self.topic = name, ""
        self.users: set[User] = set()


class User(BaseIRC):
    prefix = "irc.example.org"
    nick = username = ""
    registered = False
    farewell = "Connection closed"

    def irc_connect(self) -> None:
        self.idle_timeout = 600
        self.channels: set[Channel] = set()

    def irc_command(self, command: str, args: list[str], nick: str, user: str, host: str) -> None:
        try:
            self.obey(command, *args)
        except ValueError as error:  # other than a Refused: with its source before it, a line has become too long
            if command != "NOTICE":  # which is never answered
                self.reply(*(error.args if isinstance(error, Refused) else ("417", str(error))))

    def on_high_water(self) -> None:
        self.close(flush=False)  # one who takes nothing any more, while others go on talking

    def irc_close(self) -> None:
        users.pop(self.nick.lower(), None)
        self.tell(self.neighbours(), "QUIT", self.farewell)
        for channel in list(self.channels):
            self.leave(channel)

    def reply(self, number: str, *args: str) -> None:
        *words, text = args
        words = [re.sub("^:| ", "_", word)[:50] or "*" for word in words]  # they may be the user's own
        self.send_command(number, self.nick or "*", *words, text)

    def tell(self, others: set["User"], command: str, *args: str) -> None:
        source = f"{self.nick}!{self.username}@{self.remote_address[0]}"
        for other in others:
            if other.connected:
                other.send_command(command, *args, _prefix=source)

    def neighbours(self) -> set["User"]:
        return {self}.union(*[channel.users for channel in self.channels])

    def recipients(self, name: str) -> set["User"]:
        if name.startswith("#"):
            return self.channel(name).users - {self}
        user = users.get(name.lower())
        if user is None or not user.registered:
            raise Refused("401", name, "No such nick")
        return {user}

    def channel(self, name: str) -> Channel:
        channel = channels.get(name.lower())
        if channel not in self.channels:
            raise Refused("442" if channel else "403", name, "You are not there" if channel else "No such channel")
        return channel

    def obey(self, command: str, *args: str) -> None:  # noqa: C901 - a list rather than a tangle
        match command, *args:
            case "PING", *_:
                pass  # it has been answered
            case "QUIT", *reason:
                self.farewell = reason[0][:100] if reason else "Quit"
                self.send_command("ERROR", "Closing link")
                self.close()
            case "NICK", nick, *_:
                self.rename(nick)
            case "USER", name, *_ if not self.registered:
                self.username = re.sub("[^A-Za-z0-9_.-]", "", name)[:10] or "unknown"
                self.register()
            case _ if not self.registered:
                raise Refused("451", "You have not registered")
            case "PRIVMSG" | "NOTICE", name, text, *_ if text:
                self.tell(self.recipients(name), command, name, text)
            case "JOIN", names, *_:
                for name in names.split(","):
                    self.join(name)
            case "PART", names, *reason:
                for channel in {self.channel(name) for name in names.split(",")}:
                    self.tell(channel.users, "PART", channel.name, *reason[:1])
                    self.leave(channel)
            case "TOPIC", name, topic, *_:
                channel = self.channel(name)
                channel.topic = topic[:100]
                self.tell(channel.users, "TOPIC", channel.name, channel.topic)
            case "TOPIC", name:
                channel = self.channel(name)
                self.reply("332" if channel.topic else "331", channel.name, channel.topic or "No topic is set")
            case "NAMES", name, *_:
                for user in self.channel(name).users:
                    self.reply("353", "=", name, user.nick)
                self.reply("366", name, "End of NAMES list")
            case "WHO", name, *_:
                self.reply("315", name, "End of WHO list")
            case "MODE", name, "b" | "+b", *_:
                self.reply("368", name, "End of channel ban list")
            case "MODE", name, *_:  # there are none to be changed
                self.reply(*(["324", name, "+"] if name.startswith("#") else ["221", "+"]))
            case _:
                raise Refused("421", command, "Unknown command, or something is missing behind it")

    def rename(self, nick: str) -> None:
        if NICK.fullmatch(nick) is None:
            raise Refused("432", nick, "Erroneous nickname")
        if users.setdefault(nick.lower(), self) is not self:
            raise Refused("433", nick, "Nickname is already in use")
        if nick.lower() != self.nick.lower():
            users.pop(self.nick.lower(), None)
        if self.registered:
            self.tell(self.neighbours(), "NICK", nick)
        self.nick = nick
        self.register()

    def register(self) -> None:
        if self.nick and self.username and not self.registered:
            self.registered = True
            self.reply("001", f"Welcome to the network, {self.nick}")
            self.reply("002", f"Your host is {self.prefix}")
            self.reply("003", "This server runs on Pants")
            self.reply("004", self.prefix, "pants", "o", "n")
            self.reply("005", "CASEMAPPING=ascii", "CHANTYPES=#", "PREFIX=", "are supported by this server")
            self.reply("422", "There is no message of the day")

    def join(self, name: str) -> None:
        if CHANNEL.fullmatch(name) is None or len(self.channels) == MOST_CHANNELS:
            raise Refused("405", name, "That is no channel, or one too many")
        channel = channels.setdefault(name.lower(), Channel(name))
        if channel not in self.channels:
            self.channels.add(channel)
            channel.users.add(self)
            self.tell(channel.users, "JOIN", channel.name)
            if channel.topic:
                self.reply("332", channel.name, channel.topic)
            self.obey("NAMES", channel.name)

    def leave(self, channel: Channel) -> None:
        self.channels.remove(channel)
        channel.users.remove(self)
        if not channel.users:
            del channels[channel.name.lower()]


users: dict[str, User] = {}
channels: dict[str, Channel] = {}
server = Server(User).listen((os.environ.get("HOST", "127.0.0.1"), int(os.environ.get("PORT", "6667"))))
print(f"Serving on {server.local_address[0]} port {server.local_address[1]}", flush=True)
Engine.instance().start()
