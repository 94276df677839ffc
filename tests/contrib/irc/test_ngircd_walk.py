"""What `IRCClient` knows of its channels and what ngircd says of them, after whatever clients may do."""

from __future__ import annotations

import contextlib
import itertools
import random
import socket
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from pants.contrib.irc import Channel, IRCClient
from pants.testing import run_until
from tests.contrib.irc.ngircd_support import Ngircd

DEADLINE = 30.0
NICKS = ["jane", "JANE", "joe", "Joe", "jim", "[jim]", "{jim}", "jill"]
CHANNELS = ["#spam", "#SPAM", "#eggs", "#{ham}", "#[ham]"]
MASKS = ["*!*@a.test", "*!*@b.test"]
TOKENS = itertools.count()
USER_MODES = ["+o", "-o", "+v", "-v", "+ov", "-ov", "+v-o"]


class Walker(IRCClient):
    """A client that asks for the modes of a channel when it has joined it, and may come back after a QUIT."""

    flood_interval: float | None = None

    def __init__(self, nick: str, **kwargs: Any) -> None:
        super().__init__(nick=nick, **kwargs)
        self.reconnect_delay = 0.01
        self.received_lines: list[tuple[str, list[str]]] = []
        self.leaving = False
        self.connections = 0
        self.pong = ""

    def irc_connect(self) -> None:
        self.connections += 1

    def irc_command(self, command: str, args: list[str], nick: str, user: str, host: str) -> None:
        self.received_lines.append((command, args))
        if command == "PONG":
            self.pong = args[-1]

    def irc_join(self, channel: str, nick: str, user: str, host: str) -> None:
        if nick == self.nick:
            self.send_command("MODE", channel)

    def irc_close(self) -> None:
        if self.leaving:
            self.leaving = False
            self.connect()


def ready(walkers: Iterable[Walker]) -> bool:
    return all(walker.connected and "CASEMAPPING" in walker.isupport.tokens for walker in walkers)


def settle(walkers: list[Walker]) -> None:
    """Wait until all that was sent is done, and all that was told of it is known."""
    left = 2  # what the second PING is answered behind is what others had done before the first
    while left:
        left = left - 1 if go_round(walkers) else 2


def go_round(walkers: list[Walker]) -> bool:
    """Have each client's PING answered. Returns False where a connection is lost meanwhile."""
    run_until(lambda: ready(walkers), DEADLINE)
    before = [walker.connections for walker in walkers]
    token = f"token{next(TOKENS)}"  # not to take a late answer for one to this
    for walker in walkers:
        walker.send_command("PING", token)
    run_until(lambda: all(w.pong == token for w in walkers) or [w.connections for w in walkers] != before, DEADLINE)
    return [walker.connections for walker in walkers] == before


def replies(walker: Walker, numeric: str, command: str, *args: str) -> list[list[str]]:
    """Ask the server something, and return the arguments of what it answers by that numeric."""
    walker.received_lines.clear()
    walker.send_command(command, *args)
    settle([walker])
    return [arguments for number, arguments in walker.received_lines if number == numeric]


def step(rng: random.Random, walkers: list[Walker]) -> None:
    """Have a client do something, whether or not the server will let it."""
    walker, other = rng.choice(walkers), rng.choice(walkers)
    if not ready([walker]):
        return
    name = rng.choice(CHANNELS)
    match rng.randrange(18):
        case 0 | 1 | 2 | 3:
            walker.join(name, rng.choice([None, "key"]))
        case 4 | 5:
            walker.part(name, rng.choice([None, "reason"]), force=rng.random() < 0.2)
        case 6 | 7:
            walker.send_command("KICK", name, other.nick)
        case 8 | 9:
            walker.nick = rng.choice(NICKS)
        case 10 | 11:
            change = rng.choice(USER_MODES)
            walker.send_command("MODE", name, change, other.nick, rng.choice(walkers).nick)
        case 12:
            walker.send_command("MODE", name, rng.choice(["+t", "-t", "+mn", "-m+i", "-i", "-n"]))
        case 13:
            walker.send_command(
                "MODE", name, *rng.choice([["+kl", "key", "9"], ["-k+n", "key"], ["+l-k", "7", "*"], ["-l"]])
            )
        case 14:
            walker.send_command("MODE", name, rng.choice(["+b", "-b"]), rng.choice(MASKS))
        case 15:
            walker.send_command("TOPIC", name, rng.choice(["", "Spam", "Spam, eggs"]))
        case 16:
            if rng.random() < 0.3:
                walker.leaving = True
                walker.quit("bye")
        case 17:
            if rng.random() < 0.3 and walker.socket is not None:
                with contextlib.suppress(OSError):
                    walker.socket.shutdown(socket.SHUT_RDWR)


def check(walkers: list[Walker], asker: Walker) -> int:
    """Compare what the clients know with what the server says now, which is more than it has told them by then.

    Returns:
        How many channels, of all clients, there were to compare.
    """
    known = {
        walker: {name.lower(): known_of(channel) for name, channel in walker.channels.items()} for walker in walkers
    }
    for name in {name.lower() for name in CHANNELS}:
        listed = [words[-1].split() for words in replies(asker, "353", "NAMES", name)]
        users = {nick: modes for modes, nick in map(asker.isupport.split_prefixes, itertools.chain(*listed))}
        for walker in walkers:
            assert (name in known[walker]) == (walker.nick in users), (name, walker.nick)
            if name in known[walker]:
                bans = {words[2] for words in replies(walker, "367", "MODE", name, "b")}
                topic = [words[2] for words in replies(walker, "332", "TOPIC", name)] or [""]
                [[_, _, modes, *args]] = replies(walker, "324", "MODE", name)
                *now, bans_then = known[walker][name]
                assert now == [users, *topic, modes_of(modes, args)], (name, walker.nick)
                assert bans_then <= bans  # those from before it had joined are not told
                assert walker.channels[name].lists.get("b", set()) == bans
    return sum(map(len, known.values()))


def known_of(channel: Channel) -> tuple[Any, ...]:
    users = {nick: user.modes for nick, user in channel.users.items()}
    return users, channel.topic, dict(channel.modes), set(channel.lists.get("b", ()))


def modes_of(modes: str, args: list[str]) -> dict[str, str | bool]:
    left = iter(args)
    return {letter: next(left) if letter in "kl" else True for letter in modes.lstrip("+")}


def test_walk(peer: Callable[[str], str], tmp_path: Path) -> None:
    rng = random.Random(1)
    asker = Walker("asker")
    walkers = [Walker(nick, reconnect=True) for nick in ("jane", "joe", "jim")]
    with Ngircd(peer("ngircd"), tmp_path).running() as ngircd:
        try:
            for walker in (asker, *walkers):
                walker.connect("127.0.0.1", ngircd.port)
            compared = 0
            for _ in range(40):
                for _ in range(rng.randrange(1, 12)):
                    step(rng, walkers)
                settle(walkers)
                compared += check(walkers, asker)
            assert compared > 50
        finally:
            for walker in (asker, *walkers):
                walker.leaving = False
                walker.close(flush=False)
            run_until(lambda: asker.closed and all(walker.closed for walker in walkers), DEADLINE)
