"""`IRCClient`, with a server that the test is, in memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from pants.contrib.irc import IRCClient
from pants.testing import MemoryEngine
from tests.contrib.irc.client_support import Noting, Script

JANE = ("jane", "j", "jane.test")
FROM_JANE = ":jane!j@jane.test"


@pytest.fixture
def engine() -> Iterator[MemoryEngine]:
    with MemoryEngine() as engine:
        yield engine


@pytest.fixture
def script(engine: MemoryEngine) -> Script:
    """A registered client."""
    script = Script(engine)
    script.register()
    return script


# --- Registration -------------------------------------------------------------------------------------------------


def test_registration(engine: MemoryEngine) -> None:
    """RFC 2812 §3.1: PASS, NICK, USER; and Capability Negotiation: CAP LS before them."""
    script = Script(engine, user="eric", realname="Eric Idle", password="open sesame")
    assert script.sent == ["CAP LS 302", "PASS :open sesame", "NICK me", "USER eric 0 * :Eric Idle"]
    assert not script.client.registered
    script.send(":irc.test 001 me :Welcome")
    assert script.client.registered
    assert script.client.take() == [("connect",)]


def test_capabilities_are_more_than_a_name() -> None:
    class Wrong(Noting):
        capabilities = "server-time"

    with pytest.raises(TypeError, match="set of names"):
        Wrong(nick="me")


def test_without_capabilities(engine: MemoryEngine) -> None:
    class Plain(Noting):
        capabilities = frozenset()

    assert Script(engine, Plain).sent == ["NICK me", "USER pants 0 * Pants"]


def test_hooks_of_stream_are_not_in_the_way(engine: MemoryEngine) -> None:
    """irc_connect() is called when the server has accepted the client, not before."""
    script = Script(engine)
    script.send(":irc.test NOTICE AUTH :*** Looking up your hostname")
    assert script.client.take() == [("notice", "AUTH", "*** Looking up your hostname", "", "", "irc.test")]


def test_nick_from_welcome(engine: MemoryEngine) -> None:
    """Manual, "irc_nick_changed": whatever the reason is."""
    script = Script(engine, nick="a-long-nick")
    script.send(":irc.test 001 a-long-ni :Welcome")
    assert script.client.nick == "a-long-ni"
    assert script.client.take() == [("connect",), ("nick_changed", "a-long-ni")]


def test_nick_in_use(engine: MemoryEngine) -> None:
    script = Script(engine)
    assert script.sent[1:2] == ["NICK me"]
    tried = "me"
    for expected in ("me_", "me__"):
        script.send(f":irc.test 433 * {tried} :Nickname is already in use.")
        tried = expected
        assert script.sent == [f"NICK {expected}"]
    script.send(":irc.test 436 * me__ :Nickname collision KILL")
    (line,) = script.sent
    assert line.startswith("NICK me")
    assert len(line) == len("NICK me1234")
    script.send(f":irc.test 001 {line[5:]} :Welcome")
    assert script.client.nick == line[5:]


def test_nick_too_long_for_another(engine: MemoryEngine) -> None:
    """A nick with an underscore more may be too long (432): then another is tried."""
    script = Script(engine, nick="ninechars")
    _ = script.sent
    script.send(":irc.test 433 * ninechars :Nickname is already in use.")
    script.send(":irc.test 432 * ninechars_ :Nickname too long", ":irc.test 432 * ninechars__ :Nickname too long")
    assert len(script.sent[-1]) == len("NICK ninec1234")


def test_no_nick_left(engine: MemoryEngine, expect_log: Any) -> None:
    expect_log("10 nicks like me are in use")
    script = Script(engine)
    for _ in range(11):
        script.send(":irc.test 433 * me :Nickname is already in use.")
    assert script.peer.ended


def test_nick_in_use_overridden(engine: MemoryEngine) -> None:
    class Choosy(Noting):
        def irc_nick_in_use(self, nick: str) -> None:
            self.nick = f"not-{nick}"

    script = Script(engine, Choosy)
    _ = script.sent
    script.send(":irc.test 433 * me :Nickname is already in use.")
    assert script.sent == ["NICK not-me"]
    assert script.client.nick == "not-me"


def test_bad_nick(engine: MemoryEngine, expect_log: Any) -> None:
    expect_log("could not log in: mé: Erroneous nickname")
    script = Script(engine, nick="mé")
    script.send(":irc.test 432 * mé :Erroneous nickname")
    assert script.peer.ended


@pytest.mark.parametrize("numeric", ["464", "465"])
def test_refused(engine: MemoryEngine, expect_log: Any, numeric: str) -> None:
    expect_log("could not log in: No")
    script = Script(engine)
    script.send(f":irc.test {numeric} * :No")
    assert script.peer.ended


def test_refused_by_an_error(engine: MemoryEngine, expect_log: Any) -> None:
    """As ngircd does it, for which 464 is unknown."""
    expect_log("could not log in: Access denied: Bad password")
    script = Script(engine)
    script.send("ERROR :Access denied: Bad password?")
    assert script.client.take() == [("error", "Access denied: Bad password?"), ("close",)]


def test_join_before_registration(engine: MemoryEngine) -> None:
    script = Script(engine)
    script.client.join("#spam")
    script.client.join("#eggs", "sesame")
    script.client.join("#ham")
    assert not script.client.part("#ham")
    _ = script.sent
    script.send(":irc.test 001 me :Welcome")
    assert script.sent == ["JOIN #eggs,#spam sesame"]


def test_many_joins(engine: MemoryEngine) -> None:
    """In as few lines as 512 bytes, and ten channels each, allow."""
    script = Script(engine)
    names = [f"#{number}" for number in range(25)] + [f"#{number}{'é' * 100}" for number in range(3)]
    for name in names:
        script.client.join(name)
    _ = script.sent
    script.send(":irc.test 001 me :Welcome")
    lines = script.sent
    assert len(lines) == 5
    assert ",".join(line.removeprefix("JOIN ") for line in lines).split(",") == names


def test_join_in_connect_is_not_doubled(engine: MemoryEngine) -> None:
    class Joining(Noting):
        def irc_connect(self) -> None:
            self.join("#SPAM")
            self.join("#eggs")

    script = Script(engine, Joining)
    script.client.join("#spam")
    _ = script.sent
    script.send(":irc.test 001 me :Welcome")
    assert script.sent == ["JOIN #spam", "JOIN #eggs"]
    script.client.join("#spam")
    assert script.sent == []
    engine.advance()
    assert script.sent == ["JOIN #spam"]


# --- Messages -----------------------------------------------------------------------------------------------------


def test_channel_message(script: Script) -> None:
    script.send(f"{FROM_JANE} PRIVMSG #spam :Hello, World!")
    assert script.client.take() == [("message_channel", "#spam", "Hello, World!", *JANE)]
    assert script.client.commands == [("PRIVMSG", ["#spam", "Hello, World!"], *JANE)]


def test_private_message(script: Script) -> None:
    script.send(f"{FROM_JANE} PRIVMSG ME :Hello")
    assert script.client.take() == [("message_private", "jane", "Hello", "j", "jane.test")]


def test_status_message(script: Script) -> None:
    """ISUPPORT STATUSMSG: to those of a channel who have a prefix."""
    script.register("me", "STATUSMSG=@+")
    script.send(f"{FROM_JANE} PRIVMSG @#spam :ops", f"{FROM_JANE} PRIVMSG +#spam :voices")
    assert [event[:3] for event in script.client.take()] == [
        ("message_channel", "#spam", "ops"),
        ("message_channel", "#spam", "voices"),
    ]


def test_channel_types(script: Script) -> None:
    script.register("me", "CHANTYPES=!")
    script.send(f"{FROM_JANE} PRIVMSG !spam :a", f"{FROM_JANE} PRIVMSG #spam :b")
    assert [event[0] for event in script.client.take()] == ["message_channel", "message_private"]


def test_low_level_quotes(script: Script) -> None:
    script.send(f"{FROM_JANE} PRIVMSG #spam :one\x10ntwo\x10\x10")
    assert script.client.take() == [("message_channel", "#spam", "one\ntwo\x10", *JANE)]


def test_ctcp(script: Script) -> None:
    """Manual, "irc_ctcp": it may stand anywhere in a message."""
    script.send(f"{FROM_JANE} PRIVMSG me :\x01VERSION\x01")
    assert script.client.take() == [("ctcp", "jane", "VERSION", "j", "jane.test")]
    script.send(f"{FROM_JANE} PRIVMSG #spam :What \x01PING 1 2\x01have \x01TIME\x01you?")
    assert script.client.take() == [
        ("ctcp", "jane", "PING 1 2", "j", "jane.test"),
        ("ctcp", "jane", "TIME", "j", "jane.test"),
        ("message_channel", "#spam", "What have you?", *JANE),
    ]


def test_ctcp_of_a_server(script: Script) -> None:
    """Manual, "irc_ctcp": nick, user and host are empty where there are none."""
    script.send("PRIVMSG me :\x01VERSION\x01", ":irc.test PRIVMSG me :\x01VERSION\x01")
    assert script.client.take() == [("ctcp", "", "VERSION", "", ""), ("ctcp", "", "VERSION", "", "irc.test")]


def test_private_message_is_from_a_user(script: Script) -> None:
    """Manual, "irc_message_private". A program that answers must not find that there is nobody."""
    script.send(":irc.test PRIVMSG me :Hello", "PRIVMSG me :Hello")
    assert script.client.take() == []
    assert [args[0] for args in script.client.commands] == ["PRIVMSG", "PRIVMSG"]


def test_action(script: Script) -> None:
    script.send(f"{FROM_JANE} PRIVMSG #spam :\x01ACTION waves\x01")
    assert script.client.take() == [("action", "#spam", "waves", *JANE)]


def test_action_is_a_ctcp_by_default(engine: MemoryEngine) -> None:
    class Client(IRCClient):
        def irc_ctcp(self, *args: str) -> None:
            self.seen = args

    script = Script(engine, Client)
    script.send(f"{FROM_JANE} PRIVMSG #spam :\x01ACTION waves\x01")
    assert script.client.seen == ("jane", "ACTION waves", "j", "jane.test")


def test_notice(script: Script) -> None:
    script.send(f"{FROM_JANE} NOTICE me :\x01VERSION Spam 1.0\x01", f"{FROM_JANE} NOTICE #spam :Hear, hear")
    assert script.client.take() == [
        ("ctcp_reply", "jane", "VERSION Spam 1.0", "j", "jane.test"),
        ("notice", "#spam", "Hear, hear", *JANE),
    ]


def test_echo_message(script: Script) -> None:
    """IRCv3 echo-message: what the client has said to another is no message to the client."""
    script.send(":me!u@h PRIVMSG jane :Hello", ":me!u@h PRIVMSG me :Myself", ":me!u@h PRIVMSG #spam :All")
    assert [event[:3] for event in script.client.take()] == [
        ("message_private", "me", "Myself"),
        ("message_channel", "#spam", "All"),
    ]
    script.send(":me!u@h PRIVMSG jane :\x01VERSION\x01", ":me!u@h NOTICE jane :\x01VERSION me\x01 and so on")
    assert script.client.take() == []


def test_received(engine: MemoryEngine) -> None:
    """`received` is the whole message, with its tags."""

    class Client(IRCClient):
        def irc_message_channel(self, *args: str) -> None:
            assert self.received is not None
            self.seen = self.received.tags, self.received.args

    script = Script(engine, Client)
    script.send(f"@time=now {FROM_JANE} PRIVMSG #spam :Hello")
    assert script.client.seen == ({"time": "now"}, ["#spam", "Hello"])


def test_closed_in_a_hook(engine: MemoryEngine) -> None:
    """After close() no hook is called but the last."""

    class Closing(Noting):
        def irc_ctcp(self, *args: str) -> None:
            self.events.append(("ctcp", *args))
            self.close()

    script = Script(engine, Closing)
    script.register()
    script.send(f"{FROM_JANE} PRIVMSG #spam :\x01A\x01b\x01C\x01", f"{FROM_JANE} JOIN #spam")
    assert script.client.take() == [("ctcp", "jane", "A", "j", "jane.test"), ("close",)]


# --- Nick and channels --------------------------------------------------------------------------------------------


def test_nick_change(script: Script) -> None:
    script.client.nick = "you"
    script.engine.advance()
    assert script.sent == ["NICK you"]
    assert script.client.nick == "me"
    script.send(":me!u@h NICK you")
    assert script.client.nick == "you"
    assert script.client.take() == [("nick", "me", "you", "u", "h"), ("nick_changed", "you")]


def test_nick_in_use_when_registered(script: Script) -> None:
    """The client keeps the one that it has."""
    script.client.nick = "jane"
    script.engine.advance()
    _ = script.sent
    script.send(":irc.test 433 me jane :Nickname is already in use.")
    assert script.sent == []
    assert script.client.nick == "me"


def test_nick_before_connecting() -> None:
    """Manual, "nick": then it is the one that will be asked for."""
    client = IRCClient(nick="me")
    client.nick = "you"
    assert client.nick == "you"
    with pytest.raises(ValueError):
        client.nick = "x" * 600
    assert client.nick == "you"


def test_nick_that_cannot_be_asked_for_now(engine: MemoryEngine) -> None:
    """Nor is it asked for later, then."""
    script = Script(engine)
    script.register()
    script.client.flood_interval, script.client.flood_burst, script.client.flood_queue = 2.0, 1, 1
    script.client.message("#spam", "1")
    script.client.message("#spam", "2")
    with pytest.raises(RuntimeError):
        script.client.nick = "you"
    script.client.close(flush=False)
    engine.advance()
    assert script.client.nick == "me"


def test_channel(script: Script) -> None:
    """Manual, "channel": there is one for each channel that the client is in, and None for others."""
    assert script.client.channel("#spam") is None
    script.enter()
    channel = script.client.channel("#SPAM")
    assert channel is script.client.channels["#spam"]
    assert list(channel.users) == ["me", "jane", "joe", "jim"]
    script.send(":me!u@h PART #spam :bye")
    assert script.client.take() == [("part", "#spam", "bye", "me", "u", "h")]
    assert script.client.channel("#spam") is None


def test_join(script: Script) -> None:
    script.client.join("#spam")
    script.client.join("#eggs", "sesame")
    script.engine.advance()
    assert script.sent == ["JOIN #spam", "JOIN #eggs sesame"]


def test_part(script: Script) -> None:
    """Manual, "part": without force, only where the client is."""
    assert script.client.part("#spam") is False
    assert script.client.part("#spam", force=True) is True
    script.enter()
    assert script.client.part("#spam", "so long") is True
    script.engine.advance()
    assert script.sent == ["PART #spam", "PART #spam :so long"]


@pytest.mark.parametrize("numeric", ["403", "405", "437", "471", "473", "474", "475", "476", "477"])
def test_join_failed(script: Script, numeric: str) -> None:
    script.client.join("#spam")
    script.send(f":irc.test {numeric} me #spam :Cannot join channel")
    assert script.client.take() == [("join_failed", "#spam", "Cannot join channel")]


def test_failed_join_of_what_is_no_channel(script: Script) -> None:
    """A forgotten #: the server's 403 is about what was asked for, and that is not asked for again."""
    script.client.join("spam")
    script.send(":irc.test 403 me spam :No such channel", ":irc.test 403 me eggs :No such channel")
    assert script.client.take() == [("join_failed", "spam", "No such channel")]
    assert not script.client._wanted_channels


def test_what_cannot_be_joined_again_is_not_remembered(script: Script) -> None:
    """A server has no power over what is sent after a lost connection."""
    script.send(":me!u@h JOIN :#a b", f":me!u@h JOIN #{'x' * 600}", ":me!u@h JOIN #c")
    assert len(script.client.channels) == 3
    assert list(script.client._wanted_channels) == ["#c"]


def test_no_failure_to_join_where_it_has_joined(script: Script) -> None:
    script.enter()
    script.send(":irc.test 477 me #spam :Cannot speak here")
    assert script.client.take() == []


def test_invite(script: Script) -> None:
    """With invite-notify, invitations of others come as well."""
    script.send(f"{FROM_JANE} INVITE me #eggs", f"{FROM_JANE} INVITE joe #eggs")
    assert script.client.take() == [("invite", "#eggs", *JANE)]


def test_error(script: Script) -> None:
    script.send("ERROR :Closing Link: you")
    script.peer.end()
    assert script.client.take() == [("error", "Closing Link: you"), ("close",)]


def test_state_is_there_in_close(engine: MemoryEngine) -> None:
    class Client(Noting):
        def irc_close(self) -> None:
            self.seen = self.nick, list(self.channels), self.registered

    script = Script(engine, Client)
    script.register()
    script.enter()
    script.send(":me!u@h NICK you")
    script.peer.end()
    assert script.client.seen == ("you", ["#spam"], True)
    assert (script.client.nick, dict(script.client.channels), script.client.registered) == ("me", {}, False)


# --- Sending ------------------------------------------------------------------------------------------------------


def test_quit(script: Script) -> None:
    script.client.quit("so long")
    script.engine.advance()
    assert script.sent == ["QUIT :so long"]
    script.send("ERROR :Closing Link")
    script.peer.end()
    assert script.client.closed


def test_quit_to_a_server_that_does_not_close(script: Script) -> None:
    script.client.close_timeout = 10.0
    script.client.quit()
    script.engine.advance(9.0)
    assert not script.peer.ended
    script.engine.advance(2.0)
    assert script.peer.ended


def test_flood_control(engine: MemoryEngine) -> None:
    """RFC 1459 §8.10: 5 lines at once, one each 2 seconds after that; a PONG does not wait."""

    class Client(Noting):
        flood_interval = 2.0

    script = Script(engine, Client)
    script.register()
    engine.advance(60.0)
    for number in range(8):
        script.client.message("#spam", str(number))
    engine.advance()
    assert script.sent == [f"PRIVMSG #spam {number}" for number in range(5)]
    script.send("PING x")
    assert script.sent == ["PONG x"]
    engine.advance(60.0)
    assert script.sent == [f"PRIVMSG #spam {number}" for number in range(5, 8)]


def test_long_messages_leave_room_for_the_source(script: Script) -> None:
    """RFC 2812 §2.3: a line has 512 bytes at most, also that which the others get."""
    script.client.message("#spam", "x" * 1000)
    script.engine.advance()
    sizes = [len(f":me!user@host.test {line}\r\n") for line in script.sent]
    assert all(508 < size <= 512 for size in sizes[:-1])
    script.send(":me!user@host.test CHGHOST user a.far.longer.host.test")
    script.client.message("#spam", "x" * 1000)
    script.engine.advance()
    assert 508 < len(f":me!user@a.far.longer.host.test {script.sent[0]}\r\n") <= 512
    script.send(f":me!user@host.test CHGHOST user {'x' * 600}")
    script.client.message("#spam", "There is room for this all the same.")
    script.engine.advance()
    assert len(script.sent) == 1


# --- Alive --------------------------------------------------------------------------------------------------------


def test_silence(script: Script) -> None:
    """After ping_interval seconds without a word, the server is asked; unanswered, it is given up."""
    script.engine.advance(89.0)
    assert script.sent == []
    script.send(":irc.test NOTICE me :still here")
    script.engine.advance(89.0)
    assert script.sent == []
    script.engine.advance(2.0)
    assert script.sent == ["PING alive"]
    script.send(":irc.test PONG irc.test alive")
    script.engine.advance(91.0)
    assert script.sent == ["PING alive"]
    script.engine.advance(58.0)
    assert not script.peer.ended
    script.engine.advance(2.0)
    assert script.peer.ended
    assert isinstance(script.client.close_error, TimeoutError)


def test_silence_is_none_of_a_client_that_does_not_listen(script: Script) -> None:
    script.client.pause_reading()
    script.engine.advance(1000.0)
    assert not script.peer.ended


def test_silence_of_a_server_that_does_not_listen(engine: MemoryEngine) -> None:
    """Reading is stopped for it, but by the client itself; that is no reason to wait for ever."""
    script = Script(engine)
    script.register()
    script.client.on_high_water()
    engine.advance(1000.0)
    assert script.peer.ended


@pytest.mark.parametrize("name", ["ping_interval", "ping_timeout"])
def test_no_pings(engine: MemoryEngine, name: str) -> None:
    script = Script(engine)
    setattr(script.client, name, None)
    script.register()
    engine.advance(1000.0)
    assert not script.peer.ended


# --- Mistakes -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kwargs",
    [
        {"nick": "two words"},
        {"nick": ""},
        {"nick": ":colon"},
        {"user": "two words"},
        {"realname": "two\nlines"},
        {"password": ""},
        {"password": "two\nlines"},
        {"sasl": ("name", "")},
        {"sasl": ("na\0me", "password")},
        {"encoding": "utf-16"},
        {"nick": "x" * 600},
        {"user": "x" * 600},
        {"realname": "é" * 300},
        {"password": "x" * 600},
    ],
)
def test_bad_values(kwargs: Any) -> None:
    with pytest.raises(ValueError):
        IRCClient(**kwargs)


@pytest.mark.parametrize(
    "kwargs",
    [
        {"nick": 1},
        {"user": None},
        {"realname": b"x"},
        {"password": b"x"},
        {"sasl": "name"},
        {"spam": 1},
        {"server": "h"},
    ],
)
def test_bad_types(kwargs: Any) -> None:
    with pytest.raises(TypeError):
        IRCClient(**kwargs)


def test_passwords_are_not_told() -> None:
    for password in ("sesame\n", "sesame" * 100):
        with pytest.raises(ValueError) as caught:
            IRCClient(password=password)
        assert "sesame" not in str(caught.value)
    assert "sesame" not in repr(IRCClient(password="sesame", sasl=("me", "sesame")))


@pytest.mark.parametrize("name", ["", "two words", "#a,#b", "#a\0", "#a\r\nQUIT", "#a\x07", "0"])
def test_bad_channels(script: Script, name: str) -> None:
    for method in (script.client.join, script.client.part):
        with pytest.raises(ValueError):
            method(name)


def test_overlong_channel(engine: MemoryEngine) -> None:
    """It is refused at the call, also where it would only be remembered."""
    with pytest.raises(ValueError, match="512"):
        Script(engine).client.join("#" * 600)


def test_bad_keys(script: Script) -> None:
    with pytest.raises(ValueError):
        script.client.join("#spam", "two words")
    with pytest.raises(TypeError):
        script.client.join("#spam", 3)
    with pytest.raises(TypeError):
        script.client.join(b"#spam")


def test_connect_arguments() -> None:
    client = IRCClient()
    with pytest.raises(ValueError, match="needs a server"):
        client.connect()
    with pytest.raises(TypeError):
        client.connect(("127.0.0.1", 6667))  # type: ignore[arg-type]
    with pytest.raises(ValueError):
        client.connect("127.0.0.1", 70000)
    with pytest.raises(TypeError, match="a port is an int, not '6667'"):
        client.connect("127.0.0.1", "6667")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="not empty"):
        client.connect("")
    assert client.server is None
    client.user = "two words"
    with pytest.raises(ValueError):
        client.connect("127.0.0.1")


@pytest.mark.parametrize("name", ["encoding", "nick", "port", "realname", "reconnect", "server", "user"])
def test_what_each_client_has_of_its_own_is_not_given_to_a_class(name: str) -> None:
    """Rather than that it is lost."""
    with pytest.raises(TypeError, match=f"{name} is given to each Bot, or set on it"):
        type("Bot", (IRCClient,), {name: "spam"})
    type("Bot", (IRCClient,), {name: property(lambda self: "spam")})


def test_channel_of_no_name(script: Script) -> None:
    assert script.client.channel(None) is None


def test_sasl_wants_tls() -> None:
    with pytest.raises(ValueError, match="TLS"):
        IRCClient(sasl=("me", "sesame")).connect("127.0.0.1")
