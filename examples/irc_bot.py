"""A bot for IRC. It greets whoever joins its channel, answers !time and !echo, and comes back when it loses its server.

SERVER names the host, 127.0.0.1 if none, PORT the port there, CHANNEL the channel and NICK the bot's nick.
"""

import datetime as dt
import os

from pants import Engine
from pants.contrib.irc import IRCClient

CHANNEL = os.environ.get("CHANNEL", "#pants")


class Bot(IRCClient):
    def irc_connect(self) -> None:
        print(f"Connected to {self.server} as {self.nick}", flush=True)
        self.join(CHANNEL)

    def irc_join(self, channel: str, nick: str, user: str, host: str) -> None:
        if nick != self.nick:
            self.message(channel, f"Hello, {nick}!")

    def irc_message_channel(self, channel: str, message: str, nick: str, user: str, host: str) -> None:
        answer = self.answer(message)
        if answer:
            self.message(channel, f"{nick}: {answer}")

    def irc_message_private(self, nick: str, message: str, user: str, host: str) -> None:
        answer = self.answer(message)
        if answer:
            self.message(nick, answer)

    def answer(self, message: str) -> str:
        command, _, text = message.partition(" ")
        if command == "!time":
            return f"{dt.datetime.now(dt.UTC):%Y-%m-%d %H:%M} UTC"
        if command == "!echo":
            return text
        return ""

    def irc_ctcp(self, nick: str, message: str, user: str, host: str) -> None:
        command, _, text = message.partition(" ")
        if command == "VERSION":
            self.ctcp_reply(nick, "VERSION", "a bot built on Pants")
        elif command == "PING":
            self.ctcp_reply(nick, "PING", text)

    def on_error(self, exception: Exception) -> None:
        # What was said cannot be answered (its PING was too long, say). By default, that would be the bot's end.
        print(f"No answer: {exception}", flush=True)

    def irc_reconnecting(self, delay: float) -> None:
        print(f"Connecting again in {delay:.1f} seconds", flush=True)


bot = Bot(nick=os.environ.get("NICK", "pantsbot"), realname="A bot", reconnect=True)
bot.connect(os.environ.get("SERVER", "127.0.0.1"), int(os.environ.get("PORT", "6667")))
Engine.instance().start()
