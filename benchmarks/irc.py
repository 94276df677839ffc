"""A day of a busy IRC network, received: against a loop that finds the lines, splits them and makes a call for each."""

import gc
import random
import time
from collections.abc import Callable

from pants.contrib.irc import BaseIRC, IRCClient
from pants.testing import MemoryEngine, Peer

MESSAGES = 200_000
PIECE = 65536
ROUNDS = 7
CHANNELS = ["#pants", "#spam-and-eggs", "#python", "#help"]
WORDS = ["the", "of", "it", "is", "to", "that", "what", "works", "now", "again", "socket", "engine", "channel", "lunch"]


class Raw(BaseIRC):
    count = 0

    def irc_command(self, command: str, args: list[str], nick: str, user: str, host: str) -> None:
        self.count += 1


class Client(IRCClient):
    count = 0

    def irc_message_channel(self, channel: str, message: str, nick: str, user: str, host: str) -> None:
        self.count += 1


def traffic(random: random.Random) -> bytes:
    """The messages: mostly talk, by users that come and go."""
    users = [f"user{number}!~u{number}@host-{number}.example.org" for number in range(300)]
    lines = []
    for _ in range(MESSAGES):
        source, channel, kind = random.choice(users), random.choice(CHANNELS), random.random()
        text = " ".join(random.choices(WORDS, k=random.randint(2, 18)))
        nick = source.partition("!")[0]
        if kind < 0.80:
            line = f":{source} PRIVMSG {channel} :{text}"
        elif kind < 0.87:
            line = f":{source} JOIN {channel}"
        elif kind < 0.91:
            line = f":{source} PART {channel} :{text}"
        elif kind < 0.95:
            line = f":{source} QUIT :Ping timeout: 240 seconds"
        elif kind < 0.97:
            line = f":irc.example.org MODE {channel} +v {nick}"
        else:
            line = f":irc.example.org 352 me {channel} ~u host irc.example.org {nick} H :0 {nick}"
        lines.append(line.encode() + b"\r\n")
    return b"".join(lines)


def bare(data: bytes, receive: Callable[..., None]) -> float:
    """What cannot be left out."""
    pieces = [data[index : index + PIECE] for index in range(0, len(data), PIECE)]
    start = time.process_time()
    rest = b""
    for piece in pieces:
        data = rest + piece
        position = 0
        while (found := data.find(b"\r\n", position)) >= 0:
            receive(data[position:found].split(b" ", 3))
            position = found + 2
        rest = data[position:]
    return time.process_time() - start


def with_pants(data: bytes, peer: Peer) -> float:
    start = time.process_time()
    peer.send(data, PIECE)
    return time.process_time() - start


def connected(engine: MemoryEngine) -> tuple[Client, Peer]:
    """A client that is registered, and in all channels."""
    client, peer = engine.connect(Client)
    me = client.nick
    peer.send(f":irc.example.org 001 {me} :Welcome\r\n".encode())
    for channel in CHANNELS:
        peer.send(f":{me}!~me@example.org JOIN {channel}\r\n:irc.example.org 366 {me} {channel} :End\r\n".encode())
    return client, peer


def main() -> None:
    data = traffic(random.Random(1))
    gc.collect()
    gc.freeze()
    with MemoryEngine() as engine:
        raw, raw_peer = engine.connect(Raw)
        client, client_peer = connected(engine)
        rows = [
            (bare(data, lambda words: None), with_pants(data, raw_peer), with_pants(data, client_peer))
            for _ in range(ROUNDS)
        ]
        assert raw.count == MESSAGES * ROUNDS
        assert client.count
    reference, base, whole = (min(column) for column in zip(*rows, strict=True))
    print(f"{MESSAGES:,} messages: bare {reference:.3f} s")
    for name, spent in (("BaseIRC", base), ("IRCClient", whole)):
        print(f"{name:9} {spent:.3f} s = {spent / reference:.2f} x")


if __name__ == "__main__":
    main()
