"""`IRCClient`, with a server that sends nonsense, or falls silent; and hooks that do what they should not."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest

from pants.contrib.irc import Channel, IRCClient
from pants.testing import MemoryEngine
from tests.contrib.irc.client_support import HOOKS, Noting, Script

JANE = ":jane!j@jane.test"

COMMANDS = [
    *("PRIVMSG", "NOTICE", "JOIN", "PART", "KICK", "MODE", "TOPIC", "NICK", "QUIT", "INVITE", "ACCOUNT", "AWAY"),
    *("CHGHOST", "SETNAME", "CAP", "AUTHENTICATE", "TAGMSG", "PING", "PONG", "ERROR", "WALLOPS", "001", "005", "324"),
    *("329", "331", "332", "333", "346", "348", "352", "353", "366", "367", "396", "403", "421", "432", "433", "436"),
    *("437", "451", "464", "471", "728", "900", "902", "903", "904", "905", "906", "907", "908"),
]

# What calls each hook of a client whose nick is "me". Those of the first part come before it is registered.
BEFORE = [
    f"{JANE} BAD-COMMAND",
    ":irc.test 433 * me :Nickname is already in use.",
    ":irc.test 464 * :Password incorrect",
    ":irc.test 001 us :Welcome",
]
AFTER = [
    ":us!u@h.test NICK me",
    ":me!u@h.test JOIN #spam",
    ":irc.test 353 me = #spam :me @jane joe",
    ":irc.test 366 me #spam :End of /NAMES list.",
    ":irc.test 332 me #spam :Topic",
    f"{JANE} PRIVMSG #spam :Hello",
    f"{JANE} PRIVMSG me :Hello",
    f"{JANE} PRIVMSG me :\x01VERSION\x01",
    f"{JANE} PRIVMSG me :\x01ACTION waves\x01",
    f"{JANE} NOTICE me :Hello",
    f"{JANE} NOTICE me :\x01VERSION 1\x01",
    f"{JANE} INVITE me #eggs",
    f"{JANE} MODE #spam +v joe",
    f"{JANE} KICK #spam joe",
    f"{JANE} PART #spam",
    f"{JANE} QUIT",
    ":irc.test 471 me #eggs :Cannot join channel",
    "ERROR :Closing link",
]
ALL_HOOKS = sorted(
    {*HOOKS, "irc_command", "irc_malformed", "irc_nick_in_use", "irc_login_failed"} - {"irc_reconnecting"}
)


@pytest.fixture
def engine() -> Iterator[MemoryEngine]:
    with MemoryEngine() as engine:
        yield engine


class Lenient(Noting):
    """A client that goes on where it can."""

    sasl_in_clear = True

    def irc_login_failed(self, reason: str) -> None:
        pass

    def irc_malformed(self, line: str, exception: Exception) -> None:
        pass


def play(script: Script, lines: list[str]) -> None:
    for line in lines:
        if not script.peer.ended:
            script.send(line)


def closes(script: Script) -> int:
    """End it, if it has not ended, and count the calls of irc_close()."""
    if not script.peer.ended:
        script.peer.end()
    script.engine.advance(1000.0)
    assert script.client.closed
    return sum(event == ("close",) for event in script.client.events)


# --- Nonsense -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("registered", [False, True])
def test_commands_that_lack_something(engine: MemoryEngine, registered: bool) -> None:
    """What belongs to no message costs nothing but that message."""
    script = Script(engine, Lenient, sasl=("me", "sesame"))
    if registered:
        script.register()
        script.enter()
    for command in COMMANDS:
        for source in ("", ":irc.test ", f"{JANE} ", ":me!u@h "):
            for args in (
                "",
                "#spam",
                ":",
                "me #spam",
                ": : :",
                "me #spam a",
                "me #spam a b c",
                "* LS *",
                "#spam +ovb-k",
            ):
                script.send(f"{source}{command} {args}")
    assert script.client.connected
    assert closes(script) == 1


def test_random_lines(engine: MemoryEngine) -> None:
    """Whatever comes, the client lives, and what it knows fits together."""
    chance = random.Random(1459)
    words = [
        "me",
        "ME",
        "jane",
        "joe",
        "#a",
        "#A[",
        "#a{",
        "@#a",
        "*",
        "",
        "+ov",
        "-b+k",
        "+",
        "☃",
        "CASEMAPPING=ascii",
    ]
    words += [
        "-CASEMAPPING",
        "PREFIX=(qov)~@+",
        "CHANMODES=b,k,l",
        "x" * 300,
        "a,b",
        "#a,#b,,",
        "0",
        "LS",
        "ACK",
        "NEW",
    ]
    words += ["sasl multi-prefix", "@+jane!j@h joe", "\x01A\x01", "\x10", "!*@*", "=", ";", "9" * 30]
    sources = ["", ":me!u@h ", ":ME ", f"{JANE} ", ":joe ", ":irc.test ", "@time=x;a=\\ :jane ", ": ", ":! ", ":@ "]
    script = Script(engine, Lenient, sasl=("me", "sesame"))
    for _ in range(200):
        lines = []
        for _ in range(20):
            args = [chance.choice(words) for _ in range(chance.randrange(5))]
            trailing = [":" + " ".join(chance.sample(words, 2))] * chance.randrange(2)
            lines.append(chance.choice(sources) + " ".join([chance.choice(COMMANDS), *args, *trailing]))
        script.peer.send("\r\n".join(lines).encode(chance.choice(["utf-8", "utf-16", "utf-8"])) + b"\n")
        client = script.client
        assert client.connected
        fold = client.isupport.fold
        for name, channel in client.channels.items():
            assert client.channel(fold(name)) is channel
            for nick, user in channel.users.items():
                assert (user.nick, channel.users[fold(nick)]) == (nick, user)
                assert set(user.modes) <= client.isupport.prefix.keys()
    assert len(client._wanted_channels) <= len(client.channels)
    assert closes(script) == 1


def test_floods(engine: MemoryEngine, expect_log: Any) -> None:
    """What is kept of thousands of channels, users, masks, tokens and offers has an end, and so have the answers."""
    expect_log("more than 1000 channels")
    script = Script(engine)
    script.send(*[f":s CAP * LS * :c{number} multi-prefix" for number in range(2000)])
    script.send(*[":s CAP * NEW multi-prefix"] * 1000)
    assert len(script.sent) < 10
    script.register()
    for number in range(0, 3000, 100):
        script.send(":me!u@h JOIN " + ",".join(f"#{number + more}" for more in range(100)))
    assert len(script.client.channels) == len(script.client._wanted_channels) == 1000
    script.send(":irc.test 005 me PREFIX=(" + "".join(map(chr, range(0x100, 0x200))) + ")" + "x" * 256 + " :x")
    assert script.client.isupport.prefix == {}
    script.send(*[f":irc.test 005 me T{number}=x :are supported" for number in range(2000)])
    assert len(script.client.isupport.tokens) <= 500
    script.send(f"{JANE} MODE #1 +" + "bklx" * 2000)
    script.send(
        f"{JANE} PING :{'x' * 500}", f"@{'x' * 8000} {JANE} PRIVMSG me :\udcff".encode("utf-8", "replace").decode()
    )
    assert script.client.connected
    assert closes(script) == 1


def test_pings(engine: MemoryEngine) -> None:
    """One is answered with what it has, up to the length of a line; what no line holds is left."""
    script = Script(engine)
    script.register()
    script.send(f"PING :{'x' * 504}", f"PING {'x' * 505}", f"PING {'x' * 600}", "PING", "PING a b")
    assert script.sent == [f"PONG {'x' * 504}", f"PONG {'x' * 505}", "PONG", "PONG a b"]


def test_welcome_twice(engine: MemoryEngine) -> None:
    """It is registered once; if the second one has another nick, that is a change."""
    script = Script(engine)
    script.client.join("#spam")
    script.send(":irc.test 001 me :Welcome", ":irc.test 001 me :Welcome", ":irc.test 001 you :Welcome")
    assert script.client.take() == [("connect",), ("nick_changed", "you")]
    assert script.sent.count("JOIN #spam") == 1


# --- Silence ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "lines",
    [
        [],
        [":s CAP * LS * :multi-prefix"],
        [":s CAP * LS :multi-prefix sasl"],
        [":s CAP * LS :sasl", ":s CAP * ACK :sasl"],
        [":s CAP * LS :sasl", ":s CAP * ACK :sasl", "AUTHENTICATE +"],
        [":s CAP * LS :sasl", ":s CAP * ACK :sasl", "AUTHENTICATE +", ":s 903 * :Logged in"],
        [":s 421 * CAP :Unknown command"],
        [":s 433 * me :In use"],
    ],
)
@pytest.mark.parametrize("talking", [False, True])
def test_no_registration(engine: MemoryEngine, lines: list[str], talking: bool, expect_log: Any) -> None:
    """registration_timeout, from any stage, and though the server may go on talking."""
    if "421" not in "".join(lines):  # which has refused the login before
        expect_log(r"not accepted by the IRC server \(.*in time\)")
    script = Script(engine, Lenient, sasl=("me", "sesame"))
    play(script, lines)
    for _ in range(5):
        engine.advance(11.0)
        if talking:
            script.send("PING x", ":irc.test NOTICE * :Wait")
    assert not script.peer.ended
    engine.advance(6.0)
    assert script.peer.ended
    assert isinstance(script.client.close_error, TimeoutError)
    assert closes(script) == 1


def test_registration_without_a_deadline(engine: MemoryEngine, expect_log: Any) -> None:
    """Then silence alone counts."""
    expect_log("not accepted by the IRC server .*does not answer any more.*Wait")

    class Patient(Noting):
        registration_timeout = None

    script = Script(engine, Patient)
    for _ in range(100):
        engine.advance(50.0)
        script.send(":irc.test NOTICE * :Wait")
    engine.advance(149.0)
    assert not script.peer.ended
    engine.advance(2.0)
    assert script.peer.ended


def test_deadline_is_over_with_the_registration(engine: MemoryEngine) -> None:
    script = Script(engine)
    engine.advance(59.0)
    script.register()
    engine.advance(80.0)
    assert script.sent == []
    engine.advance(20.0)
    assert script.sent == ["PING alive"]


def test_nick_that_is_always_in_use(engine: MemoryEngine, expect_log: Any) -> None:
    """Where irc_nick_in_use() never gives up, time does."""
    expect_log("not accepted by the IRC server .*In use")

    class Stubborn(Noting):
        def irc_nick_in_use(self, nick: str) -> None:
            self.nick = "me"

    script = Script(engine, Stubborn)
    for _ in range(60):
        script.send(":irc.test 433 * me :In use")
        engine.advance(0.9)
    assert script.sent.count("NICK me") == 61
    engine.advance(10.0)
    assert script.peer.ended


# --- Hooks --------------------------------------------------------------------------------------------------------


def overriding(hook: str, body: Any, base: type[Lenient] = Lenient) -> Any:
    """A client with a hook that counts its calls, and does what ``body`` does."""

    def override(self: Any, *args: Any) -> None:
        self.calls += 1
        if hook == "irc_close":
            Noting.irc_close(self)
        body(self)

    return type("Client", (base,), {"calls": 0, hook: override})


def connect(client: IRCClient) -> None:
    if client.connected:
        with pytest.raises(RuntimeError):
            client.connect("127.0.0.1")


def close_and_connect(client: IRCClient) -> None:
    client.close()
    if not client.closed:
        with pytest.raises(RuntimeError):
            client.connect("127.0.0.1")


ACTIONS = {
    "close": lambda client: client.close(),
    "abort": lambda client: client.close(flush=False),
    "quit": lambda client: client.quit("so long"),
    "quit and close": lambda client: (client.quit(), client.close()),
    "connect": connect,
    "close and connect": close_and_connect,
    "nick": lambda client: setattr(client, "nick", "me"),
    "join": lambda client: client.join("#spam"),
    "part": lambda client: client.part("#spam"),
    "leave all": lambda client: [client.part(name) for name, _ in client.channels.items()],
}


@pytest.mark.parametrize("hook", ALL_HOOKS)
@pytest.mark.parametrize("action", ACTIONS)
def test_methods_in_hooks(engine: MemoryEngine, hook: str, action: str) -> None:
    script = Script(engine, overriding(hook, ACTIONS[action]))
    play(script, BEFORE + AFTER)
    assert closes(script) == 1
    assert script.client.calls


@pytest.mark.parametrize("hook", sorted({*ALL_HOOKS} - {"irc_close", "irc_login_failed"}))
def test_failing_hooks(engine: MemoryEngine, expect_log: Any, hook: str) -> None:
    """By default, the exception is logged, and costs the connection. A client that comes back does so after a while."""
    expect_log("ZeroDivisionError")
    script = Script(engine, overriding(hook, lambda _: 1 // 0), reconnect=True)
    script.client.server, script.client.port = "127.0.0.1", 1
    script.client.reconnect_delay = script.client.reconnect_limit = 1000.0
    play(script, BEFORE + AFTER)
    assert script.peer.ended
    assert [event[0] for event in script.client.events][-2:] == ["close", "reconnecting"]
    script.client.close()
    assert closes(script) == 1
    assert script.client.calls == 1


def test_failing_hook_for_a_refused_login(engine: MemoryEngine, expect_log: Any) -> None:
    """A login that was refused is not tried again, whatever its hook does."""
    expect_log("ZeroDivisionError")
    script = Script(engine, overriding("irc_login_failed", lambda _: 1 // 0), reconnect=True)
    script.client.server, script.client.port = "127.0.0.1", 1
    play(script, BEFORE + AFTER)
    assert closes(script) == 1
    assert script.client.calls == 1
    assert not script.client.take("reconnecting")


@pytest.mark.parametrize("hook", sorted({*ALL_HOOKS} - {"irc_close"}))
def test_failing_hooks_that_are_forgiven(engine: MemoryEngine, hook: str) -> None:
    """Where on_error() leaves the client open, nothing is missed but what the hook would have done."""

    class Forgiving(Lenient):
        def on_error(self, exception: Exception) -> None:
            assert isinstance(exception, ZeroDivisionError)

    def known(script: Script) -> tuple[Any, ...]:
        play(script, BEFORE)
        assert script.client.registered
        play(script, AFTER)
        channel: Channel = script.client.channels["#spam"]
        own = [event for event in script.client.events if event[0] != hook.removeprefix("irc_")]
        return script.client.nick, channel.topic, dict(channel.users), script.client._wanted_channels, own

    whole = known(Script(engine, overriding(hook, lambda _: None)))
    forgiven = known(Script(engine, overriding(hook, lambda _: 1 // 0, Forgiving)))
    assert forgiven[:3] == whole[:3]
    assert dict(forgiven[3]) == dict(whole[3])
    assert forgiven[4] == whole[4]
