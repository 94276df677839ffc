"""A chat for telnet clients, on HOST and PORT, 127.0.0.1 and 4040 if none. Try it with several: telnet localhost 4040

With a PASSWORD in the environment it is asked for, and not shown while it is typed.
"""

import hmac
import os
import re
import textwrap
from collections.abc import Callable

from pants import Engine
from pants.contrib.telnet import AYT, ECHO, NAWS, TelnetConnection, TelnetServer

# Clients end a line by CR LF, or CR NUL, which arrives as CR; programs often by LF.
LINE_END = re.compile(rb"\r\n?|\n")
PASSWORD = os.environ.get("PASSWORD", "")


class Guest(TelnetConnection):
    server: "Chat"
    remote_options = frozenset({NAWS})
    name = ""
    width = 80

    def on_connect(self) -> None:
        self.read_delimiter = LINE_END
        self.buffer_size = 1000  # the longest line, in bytes
        self.enable_remote(NAWS)
        if PASSWORD:
            self.enable_local(ECHO)  # the client believes that it is echoed, and shows nothing
            self.ask("Password: ", self.check_password)
        else:
            self.ask("Your name: ", self.enter)

    def ask(self, question: str, take: Callable[[str], None]) -> None:
        self.take = take
        self.write(question.encode())

    def on_read(self, line: bytes) -> None:
        # Nothing that moves others' cursors about goes any further.
        text = "".join(c for c in line.decode(errors="replace") if c.isprintable()).strip()
        if text:
            self.take(text)

    def check_password(self, password: str) -> None:
        self.disable_local(ECHO)
        self.write(b"\r\n")  # the client has not shown that either
        if hmac.compare_digest(password.encode(), PASSWORD.encode()):
            self.ask("Your name: ", self.enter)
        else:
            self.write(b"No.\r\n")
            self.close()

    def enter(self, name: str) -> None:
        if len(name) > 20 or name in self.server.guests():
            self.ask("Another name, please: ", self.enter)
            return
        self.name = name
        self.take = self.say
        self.show(f"Here are: {', '.join(self.server.guests())}. Leave by /quit.")
        self.server.tell(f"{name} has come.", self)

    def say(self, text: str) -> None:
        if text == "/quit":
            self.close()
        else:
            self.server.tell(f"{self.name}: {text}", self)

    def show(self, text: str) -> None:
        """Show lines that fit the window."""
        for line in textwrap.wrap(text, max(self.width - 1, 20), subsequent_indent="  "):
            self.write(line.encode() + b"\r\n")

    def on_window_size(self, width: int, height: int) -> None:
        self.width = width or 80

    def on_command(self, command: bytes) -> None:
        if command == AYT:
            self.write(b"[Yes]\r\n")

    def on_high_water(self) -> None:
        self.close(flush=False)  # one who takes nothing any more, while others go on talking

    def on_close(self) -> None:
        if self.name:
            self.server.tell(f"{self.name} has gone.", self)


class Chat(TelnetServer):
    ConnectionClass = Guest

    def guests(self) -> "dict[str, Guest]":
        guests = [channel for channel in self.channels.values() if isinstance(channel, Guest)]
        return {guest.name: guest for guest in guests if guest.name and guest.connected}

    def tell(self, text: str, teller: Guest) -> None:
        for guest in self.guests().values():
            if guest is not teller:
                guest.show(text)


Chat().listen((os.environ.get("HOST", "127.0.0.1"), int(os.environ.get("PORT", "4040"))))
Engine.instance().start()
