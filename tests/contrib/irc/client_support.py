"""What the tests of the client share: one that notes its hooks, and servers that do as the test says."""

from __future__ import annotations

from typing import Any

from pants import Server
from pants.contrib.irc import BaseIRC, IRCClient
from pants.testing import MemoryEngine, Peer

DEADLINE = 30.0

HOOKS = [
    name
    for name in dir(IRCClient)
    if name.startswith("irc_") and name not in ("irc_command", "irc_nick_in_use", "irc_login_failed", "irc_malformed")
]


class Noting(IRCClient):
    """A client that notes the hooks which are called, each as its name without ``irc_`` and its arguments."""

    flood_interval: float | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.events: list[tuple[Any, ...]] = []
        self.commands: list[tuple[Any, ...]] = []
        super().__init__(*args, **kwargs)

    def irc_command(self, *args: Any) -> None:
        self.commands.append(args)

    def take(self, *names: str) -> list[tuple[Any, ...]]:
        """The events so far, of these names if any are given; they are forgotten then."""
        events, self.events = self.events, []
        return [event for event in events if not names or event[0] in names]


def _note(hook: str) -> Any:
    def note(self: Noting, *args: Any) -> None:
        self.events.append((hook.removeprefix("irc_"), *args))
        if hook != "irc_action":  # the default leads to irc_ctcp, and is tested by itself
            getattr(super(Noting, self), hook)(*args)

    return note


for name in HOOKS:
    setattr(Noting, name, _note(name))


class Script:
    """A client in a `MemoryEngine`, and the server that the test is to it.

    Args:
        engine: The engine.
        client_class: The client's class.
        **kwargs: For the client.
    """

    client: Any
    peer: Peer

    def __init__(self, engine: MemoryEngine, client_class: Any = Noting, **kwargs: Any) -> None:
        self.engine = engine
        self.client, self.peer = engine.connect(client_class, **{"nick": "me", **kwargs})
        self._read = 0

    def send(self, *lines: str) -> None:
        """Send lines to the client."""
        self.peer.send("".join(f"{line}\r\n" for line in lines).encode())

    @property
    def sent(self) -> list[str]:
        """The lines that the client has sent since this was last asked for."""
        data = self.peer.received[self._read :]
        self._read += len(data)
        return data.decode().split("\r\n")[:-1]

    def register(self, nick: str = "me", *isupport: str) -> None:
        """Accept the client, and forget what came before."""
        self.send(f":irc.test 001 {nick} :Welcome to the network {nick}!user@host.test")
        if isupport:
            self.send(f":irc.test 005 {nick} {' '.join(isupport)} :are supported by this server")
        _ = self.sent
        self.client.take()
        self.client.commands.clear()

    def enter(self, channel: str = "#spam", names: str = "me @jane +joe jim") -> None:
        """Have the client be in a channel."""
        self.send(
            f":me!user@host.test JOIN {channel}",
            f":irc.test 353 me = {channel} :{names}",
            f":irc.test 366 me {channel} :End of /NAMES list.",
        )
        self.client.take()


class Seat(BaseIRC):
    """A server's end of one connection: it accepts whoever comes, and lets them join."""

    prefix = "irc.test"

    def irc_connect(self) -> None:
        self.lines: list[tuple[str, list[str]]] = []
        self.nick = ""
        self.server.seats.append(self)

    def irc_command(self, command: str, args: list[str], nick: str, user: str, host: str) -> None:
        self.lines.append((command, args))
        if command == "NICK":
            self.nick = args[0]
        elif command == "USER" and self.server.welcoming:
            self.send_command("001", self.nick, "Welcome")
        elif command == "JOIN":
            for name in args[0].split(","):
                self.send_command("JOIN", name, _prefix=f"{self.nick}!u@h.test")
        elif command == "QUIT":
            self.send_command("ERROR", "Closing link")
            self.close()

    def asked(self, command: str) -> list[list[str]]:
        """The arguments of each such command that was received."""
        return [args for name, args in self.lines if name == command]


class Host(Server):
    """A server for real sockets, on a free port of 127.0.0.1 or the one given."""

    ConnectionClass = Seat

    def __init__(self, port: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.seats: list[Seat] = []
        self.welcoming = True
        self.listen(("127.0.0.1", port))
        self.port: int = self.local_address[1]
