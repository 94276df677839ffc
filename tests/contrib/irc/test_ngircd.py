"""`IRCClient` and ngircd, a server that knows nothing of Pants."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from pants.testing import run_until
from tests.contrib.irc.client_support import DEADLINE, Noting
from tests.contrib.irc.ngircd_support import Ngircd

Peer = Callable[[str], str]


@pytest.fixture(scope="module")
def ngircd(peer: Peer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ngircd]:
    with Ngircd(peer("ngircd"), tmp_path_factory.mktemp("ngircd")).running() as ngircd:
        yield ngircd


@pytest.fixture
def clients() -> Iterator[list[Noting]]:
    """Those that have to be closed in the end."""
    clients: list[Noting] = []
    yield clients
    for client in clients:
        client.close(flush=False)
    run_until(lambda: all(client.closed for client in clients), DEADLINE)


class Join:
    """Makes clients that are registered, and in a channel."""

    def __init__(self, ngircd: Ngircd, clients: list[Noting]) -> None:
        self.ngircd = ngircd
        self.clients = clients

    def __call__(self, nick: str, channel: str | None = None, ngircd: Ngircd | None = None, **kwargs: Any) -> Noting:
        client = Noting(nick=nick, user=nick, **kwargs)
        client.reconnect_delay = 0.05
        self.clients.append(client)
        client.connect("127.0.0.1", (ngircd or self.ngircd).port)
        run_until(lambda: client.registered and "CASEMAPPING" in client.isupport.tokens, DEADLINE)
        if channel is not None:
            client.join(channel)
            run_until(lambda: complete(client, channel), DEADLINE)
        return client


def complete(client: Noting, name: str) -> bool:
    channel = client.channel(name)
    return channel is not None and channel.complete


@pytest.fixture
def joined(ngircd: Ngircd, clients: list[Noting]) -> Join:
    return Join(ngircd, clients)


def seen(client: Noting, name: str) -> tuple[Any, ...]:
    """Wait for an event of that name, and take it."""

    def found() -> bool:
        return any(event[0] == name for event in client.events)

    run_until(found, DEADLINE)
    event = next(event for event in client.events if event[0] == name)
    client.events.remove(event)
    return event[1:]


def users(client: Noting, channel: str) -> dict[str, str]:
    found = client.channel(channel)
    assert found is not None
    return {nick: user.modes for nick, user in found.users.items()}


def test_registration(joined: Join) -> None:
    client = joined("jane")
    assert client.isupport.casemapping == "ascii"
    assert client.isupport.nicklen == 12
    assert client.enabled == {"multi-prefix"}


def test_talking(joined: Join) -> None:
    jane, joe = joined("jane", "#talk"), joined("joe", "#talk")
    assert seen(jane, "join") == ("#talk", "jane", "~jane", "127.0.0.1")
    assert seen(jane, "join") == ("#talk", "joe", "~joe", "127.0.0.1")
    assert users(jane, "#talk") == users(joe, "#talk") == {"jane": "o", "joe": ""}
    joe.message("#TALK", "Hello, channel! ☃")
    assert seen(jane, "message_channel") == ("#talk", "Hello, channel! ☃", "joe", "~joe", "127.0.0.1")
    jane.message("joe", "two\nlines")
    assert seen(joe, "message_private") == ("jane", "two\nlines", "~jane", "127.0.0.1")
    joe.notice("jane", "Hm")
    assert seen(jane, "notice")[:3] == ("jane", "Hm", "joe")
    joe.action("#talk", "waves")
    assert seen(jane, "action")[:3] == ("#talk", "waves", "joe")
    jane.ctcp("joe", "VERSION")
    assert seen(joe, "ctcp")[:2] == ("jane", "VERSION")
    joe.ctcp_reply("jane", "VERSION", "Pants")
    assert seen(jane, "ctcp_reply")[:2] == ("joe", "VERSION Pants")
    joe.part("#talk", "enough")
    assert seen(jane, "part") == ("#talk", "enough", "joe", "~joe", "127.0.0.1")
    joe.quit("really")
    run_until(lambda: joe.closed, DEADLINE)
    assert users(jane, "#talk") == {"jane": "o"}


def test_long_message(joined: Join) -> None:
    """Nothing is cut off by the server."""
    jane, joe = joined("jane", "#long"), joined("joe", "#long")
    text = " ".join(f"word-{number}-é" for number in range(200))
    joe.message("#long", text)
    pieces: list[str] = []
    while len(" ".join(pieces)) < len(text):
        pieces.append(seen(jane, "message_channel")[1].strip())
    assert " ".join(pieces) == text


def test_topic(joined: Join) -> None:
    jane = joined("jane", "#topic")
    jane.send_command("TOPIC", "#topic", "Spam, spam")
    assert seen(jane, "topic_changed") == ("#topic", "Spam, spam")
    joe = joined("joe", "#topic")
    assert seen(joe, "topic_changed") == ("#topic", "Spam, spam")
    channel = joe.channel("#topic")
    assert channel is not None
    run_until(lambda: channel.topic_time, DEADLINE)
    assert channel.topic_setter == "jane"


def test_modes(joined: Join) -> None:
    jane, joe = joined("jane", "#modes"), joined("joe", "#modes")
    jane.send_command("MODE", "#modes", "+vo-o+bkl", "joe", "joe", "jane", "*!*@spam.test", "sesame", "7")
    run_until(lambda: users(joe, "#modes") == {"jane": "", "joe": "ov"}, DEADLINE)
    joe.send_command("MODE", "#modes", "+vbkl", "jane", "*!*@spam.test", "sesame", "7")
    channel = jane.channel("#modes")
    assert channel is not None
    run_until(lambda: "l" in channel.modes, DEADLINE)
    assert (channel.modes["k"], channel.modes["l"]) == ("sesame", "7")
    assert channel.lists == {"b": {"*!*@spam.test"}}
    jill = joined("jill")
    jill.join("#modes", "sesame")
    run_until(lambda: complete(jill, "#modes"), DEADLINE)
    assert users(jill, "#modes") == {"jane": "v", "joe": "ov", "jill": ""}
    jill.send_command("MODE", "#modes")
    jill.send_command("WHO", "#modes")
    known = jill.channels["#modes"]
    run_until(lambda: known.created and known.users["joe"].realname, DEADLINE)
    assert known.modes["l"] == "7"
    assert (known.users["joe"].user, known.users["joe"].host) == ("~joe", "127.0.0.1")


def test_kick(joined: Join) -> None:
    jane, joe = joined("jane", "#kick"), joined("joe", "#kick")
    jane.send_command("KICK", "#kick", "joe", "Out")
    assert seen(joe, "kick") == ("#kick", "joe", "Out", "jane", "~jane", "127.0.0.1")
    assert joe.channel("#kick") is None
    run_until(lambda: users(jane, "#kick") == {"jane": "o"}, DEADLINE)


def test_refused_channel(joined: Join) -> None:
    jane, joe = joined("jane", "#closed"), joined("joe")
    jane.send_command("MODE", "#closed", "+i")
    seen(jane, "mode")
    joe.join("#closed")
    assert seen(joe, "join_failed")[0] == "#closed"
    jane.send_command("INVITE", "joe", "#closed")
    assert seen(joe, "invite") == ("#closed", "jane", "~jane", "127.0.0.1")
    joe.join("#closed")
    run_until(lambda: complete(joe, "#closed"), DEADLINE)


def test_nicks(joined: Join) -> None:
    jane, joe = joined("jane", "#nicks"), joined("jane", "#nicks")
    assert joe.nick == "jane_"
    assert seen(joe, "nick_changed") == ("jane_",)
    joe.nick = "joe"
    assert seen(joe, "nick_changed") == ("joe",)
    assert seen(jane, "nick")[:2] == ("jane_", "joe")
    assert users(jane, "#nicks") == users(joe, "#nicks") == {"jane": "o", "joe": ""}
    joe.nick = "jane"
    run_until(lambda: any(command[0] == "433" and command[1][1] == "jane" for command in joe.commands), DEADLINE)
    assert joe.nick == "joe"


def test_nick_of_full_length_in_use(joined: Join) -> None:
    joined("twelveletter")
    assert joined("twelveletter").nick[:5] == "twelv"


def test_quit(joined: Join) -> None:
    jane, joe = joined("jane", "#quit"), joined("joe", "#quit")
    joe.quit("so long")
    assert seen(jane, "quit")[0] == "joe"
    assert "so long" in str(seen(joe, "error"))
    run_until(lambda: joe.closed, DEADLINE)
    assert users(jane, "#quit") == {"jane": "o"}


def test_flood_control(joined: Join) -> None:
    """All arrive, in their order."""
    jane, joe = joined("jane"), joined("joe")
    joe.flood_interval = 0.01
    for number in range(30):
        joe.message("jane", str(number))
    assert [seen(jane, "message_private")[1] for _ in range(30)] == [str(number) for number in range(30)]
    assert joe.connected


def test_ping(joined: Join) -> None:
    jane = joined("jane")
    jane._heard_at = -1000.0
    jane._check_silence()
    run_until(lambda: any(command[0] == "PONG" for command in jane.commands), DEADLINE)


def test_password(peer: Peer, tmp_path: Path, clients: list[Noting], expect_log: Any) -> None:
    expect_log("could not log in: .*[Pp]assword")
    with Ngircd(peer("ngircd"), tmp_path, global_="Password = sesame").running() as ngircd:
        join = Join(ngircd, clients)
        join("jane", password="sesame")
        joe = Noting(nick="joe", password="wrong", reconnect=True).connect("127.0.0.1", ngircd.port)
        run_until(lambda: joe.closed, DEADLINE)


def test_tls(peer: Peer, tmp_path: Path, clients: list[Noting]) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    paths = {name: str(tmp_path / f"{name}.pem") for name in ("ca", "cert", "key")}
    authority.cert_pem.write_to_path(paths["ca"])
    certificate.private_key_pem.write_to_path(paths["key"])
    certificate.cert_chain_pems[0].write_to_path(paths["cert"])
    with Ngircd(peer("ngircd"), tmp_path, certificate=(paths["cert"], paths["key"])).running() as ngircd:
        jane = Join(ngircd, clients)("jane", "#tls", ssl_options={"ca_certs": paths["ca"]})
        assert jane.secure
        jane.message("jane", "psst")
        assert seen(jane, "message_private")[1] == "psst"


def test_restart(peer: Peer, tmp_path: Path, clients: list[Noting], expect_log: Any) -> None:
    """The client comes back, to where it was."""
    expect_log("refused")
    with Ngircd(peer("ngircd"), tmp_path).running() as ngircd:
        jane = Join(ngircd, clients)("jane", "#spam", reconnect=True)
        ngircd.stop()
        seen(jane, "close")
        seen(jane, "reconnecting")
        seen(jane, "reconnecting")
        assert not jane.channels
        ngircd.start()
        run_until(lambda: complete(jane, "#spam"), DEADLINE)
        assert jane.nick == "jane"


LINK = """
[Server]
Name = {name}
MyPassword = sesame
PeerPassword = sesame
{port}
"""


def test_netsplit(peer: Peer, tmp_path: Path, clients: list[Noting]) -> None:
    """RFC 2812 §3.1.7: who is on the other side quits, with the names of two servers as the reason."""
    program = peer("ngircd")
    here = Ngircd(program, tmp_path, name="here.test", sections=LINK.format(name="there.test", port=""))
    with here.running():
        linked = LINK.format(name="here.test", port=f"Host = 127.0.0.1\nPort = {here.port}")
        there = Ngircd(program, tmp_path, name="there.test", sections=linked)
        with there.running():
            jane = Join(here, clients)("jane", "#spam")
            joe = Join(there, clients)("joe", "#spam")
            run_until(lambda: len(jane.channels["#spam"].users) == len(joe.channels["#spam"].users) == 2, DEADLINE)
            joe.message("#spam", "Hello from afar")
            assert seen(jane, "message_channel")[1] == "Hello from afar"
            there.stop()
            nick, reason, channels, *_ = seen(jane, "quit")
            assert (nick, channels) == ("joe", ["#spam"])
            assert "there.test" in reason
            assert users(jane, "#spam") == {"jane": "o"}
