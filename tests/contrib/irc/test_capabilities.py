"""Capability Negotiation (IRCv3, version 302) and SASL PLAIN."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import pytest

from pants.contrib.irc._capabilities import MOST_CAPABILITIES, Command, Negotiation
from pants.contrib.irc._message import parse
from pants.testing import MemoryEngine
from tests.contrib.irc.client_support import Noting, Script

END = ("CAP", "END")
LOGIN = ("jane", "sesame")


def feed(negotiation: Negotiation, *lines: str) -> list[Command]:
    return [command for line in lines for command in negotiation.feed(parse(line))]


def started(*wanted: str, login: tuple[str, str] | None = None) -> Negotiation:
    negotiation = Negotiation(wanted, login)
    assert negotiation.start() == [("CAP", "LS", "302")]
    return negotiation


def test_nothing_to_negotiate() -> None:
    negotiation = Negotiation([])
    assert negotiation.start() == []
    assert negotiation.over


def test_what_is_offered_is_asked_for() -> None:
    negotiation = started("a", "b", "c")
    assert feed(negotiation, ":s CAP * LS :a b=1,2 d") == [("CAP", "REQ", "a b")]
    assert negotiation.available == {"a": "", "b": "1,2", "d": ""}
    assert feed(negotiation, ":s CAP * ACK :a b") == [END]
    assert negotiation.enabled == {"a", "b"}
    assert negotiation.over


def test_nothing_offered() -> None:
    assert feed(started("a"), ":s CAP * LS :") == [END]


def test_several_lines() -> None:
    """The asterisk says that another line follows."""
    negotiation = started("a", "b")
    assert feed(negotiation, ":s CAP * LS * :a x", ":s CAP * LS * :y") == []
    assert feed(negotiation, ":s CAP * LS :b") == [("CAP", "REQ", "a b")]


def test_refused_together_asked_alone() -> None:
    """A server refuses a request as a whole."""
    negotiation = started("a", "b")
    feed(negotiation, ":s CAP * LS :a b")
    assert feed(negotiation, ":s CAP * NAK :a b") == [("CAP", "REQ", "a"), ("CAP", "REQ", "b")]
    assert feed(negotiation, ":s CAP * ACK :a") == []
    assert feed(negotiation, ":s CAP * NAK :b") == [END]
    assert negotiation.enabled == {"a"}


def test_many_are_asked_for_in_several_lines() -> None:
    names = [f"vendor.test/capability-{number}" for number in range(40)]
    requests = feed(started(*names), f":s CAP * LS :{' '.join(names)}")
    assert len(requests) > 1
    assert all(len(" ".join(request)) < 450 for request in requests)
    assert sorted(" ".join(request[2] for request in requests).split()) == sorted(names)


def test_an_answer_in_parts() -> None:
    negotiation = started("a", "b")
    feed(negotiation, ":s CAP * LS :a b")
    assert feed(negotiation, ":s CAP * ACK :a") == []
    assert feed(negotiation, ":s CAP * ACK :b ") == [END]


def test_new_and_del() -> None:
    """cap-notify."""
    negotiation = started("a", "b")
    feed(negotiation, ":s CAP * LS :a", ":s CAP * ACK :a")
    assert feed(negotiation, ":s CAP me NEW :b=1 c") == [("CAP", "REQ", "b")]
    assert feed(negotiation, ":s CAP me ACK :b") == []
    assert negotiation.enabled == {"a", "b"}
    assert feed(negotiation, ":s CAP me DEL :a c nothing") == []
    assert negotiation.enabled == {"b"}
    assert feed(negotiation, ":s CAP me ACK :-b") == []
    assert negotiation.enabled == set()


def test_what_was_not_asked_for_is_not_on() -> None:
    negotiation = started("a")
    feed(negotiation, ":s CAP * LS :a", ":s CAP * ACK :a evil", ":s CAP * NAK :evil")
    assert negotiation.enabled == {"a"}


@pytest.mark.parametrize(
    "line", [":s 421 * CAP :Unknown command", ":s 451 * CAP :Not registered", ":s 001 me :Welcome"]
)
def test_servers_without_capabilities(line: str) -> None:
    negotiation = started("a")
    assert feed(negotiation, line) == []
    assert negotiation.over
    assert negotiation.failure is None


def test_capabilities_are_bounded() -> None:
    negotiation = started("a")
    for number in range(2 * MOST_CAPABILITIES):
        feed(negotiation, f":s CAP * LS * :c{number}")
    assert len(negotiation.available) == MOST_CAPABILITIES


@pytest.mark.parametrize("offer", ["sasl", "sasl=PLAIN", "sasl=EXTERNAL,PLAIN"])
def test_sasl(offer: str) -> None:
    """SASL 3.1, RFC 4616: an empty authorization identity, the name and the password, with NUL between."""
    negotiation = started("a", login=LOGIN)
    assert feed(negotiation, f":s CAP * LS :a {offer}") == [("CAP", "REQ", "a"), ("CAP", "REQ", "sasl")]
    assert feed(negotiation, ":s CAP * ACK :a") == []
    assert feed(negotiation, ":s CAP * ACK :sasl") == [("AUTHENTICATE", "PLAIN")]
    assert feed(negotiation, "AUTHENTICATE +") == [("AUTHENTICATE", base64.b64encode(b"\0jane\0sesame").decode())]
    assert feed(negotiation, ":s 900 me me!u@h jane :You are now logged in", ":s 903 me :SASL successful") == [END]
    assert negotiation.failure is None
    assert feed(negotiation, "AUTHENTICATE +") == []


def test_password_is_sent_once_and_when_it_is_due() -> None:
    negotiation = started("a", login=LOGIN)
    assert feed(negotiation, "AUTHENTICATE +") == []
    feed(negotiation, ":s CAP * LS :a sasl")
    assert feed(negotiation, "AUTHENTICATE +", ":s CAP * ACK :a", "AUTHENTICATE +") == []
    assert feed(negotiation, ":s CAP * ACK :~sasl") == [("AUTHENTICATE", "PLAIN")]
    assert feed(negotiation, ":s CAP * ACK :sasl", "AUTHENTICATE c3BhbQ==") == []
    assert len(feed(negotiation, "AUTHENTICATE +")) == 1
    assert feed(negotiation, "AUTHENTICATE +", ":s CAP * ACK :sasl", "AUTHENTICATE +") == []


def test_no_failure_of_a_login_that_nobody_wants() -> None:
    negotiation = started("a")
    assert feed(negotiation, ":s 904 * :SASL failed", ":s CAP * LS :") == [END]
    assert negotiation.failure is None


def test_nothing_is_asked_for_twice() -> None:
    """However often a server offers it, and does not answer."""
    negotiation = started("a", "b")
    assert feed(negotiation, ":s CAP * LS :a", ":s CAP * NEW :a b", ":s CAP * NEW :a b", ":s CAP * LS :a b") == [
        ("CAP", "REQ", "a"),
        ("CAP", "REQ", "b"),
    ]
    assert feed(negotiation, ":s CAP * ACK :a", ":s CAP * NAK :b") == [END]


@pytest.mark.parametrize(
    "length, chunks",
    [(10, [24]), (290, [396]), (293, [400, 1]), (295, [400, 4]), (593, [400, 400, 1]), (700, [400, 400, 144])],
)
def test_chunks(length: int, chunks: list[int]) -> None:
    """Of 400 bytes; the last is shorter, a plus sign where nothing is left."""
    negotiation = started(login=("jane", "x" * length))
    feed(negotiation, ":s CAP * LS :sasl", ":s CAP * ACK :sasl")
    sent = [command[1] for command in feed(negotiation, "AUTHENTICATE +")]
    assert [len(chunk) for chunk in sent] == chunks
    assert base64.b64decode("".join(sent).removesuffix("+" if chunks[-1] == 1 else "")) == b"\0jane\0" + b"x" * length


@pytest.mark.parametrize(
    "lines, reason",
    [
        ([":s CAP * LS :a"], "the server does not offer SASL"),
        ([":s CAP * LS :sasl=EXTERNAL"], "the server does not offer SASL's PLAIN, but EXTERNAL"),
        ([":s CAP * LS :sasl", ":s CAP * NAK :sasl"], "the server refuses SASL"),
        ([":s CAP * LS :sasl", ":s CAP * ACK :sasl", ":s 904 me :SASL failed"], "SASL failed"),
        ([":s CAP * LS :sasl", ":s CAP * ACK :sasl", ":s 902 me :Locked"], "Locked"),
        ([":s 421 * CAP :Unknown command"], "the server knows neither capabilities nor SASL"),
        ([":s 001 me :Welcome"], "the server has gone on without a login"),
    ],
)
def test_sasl_fails(lines: list[str], reason: str) -> None:
    negotiation = started(login=LOGIN)
    assert END not in feed(negotiation, *lines)
    assert negotiation.failure == reason
    assert feed(negotiation, "AUTHENTICATE +") == []
    assert negotiation.end() == ([] if negotiation.over and lines[-1][3:6] in ("421", "001") else [END])


# --- The client ---------------------------------------------------------------------------------------------------


@pytest.fixture
def engine() -> Iterator[MemoryEngine]:
    with MemoryEngine() as engine:
        yield engine


class Member(Noting):
    sasl_in_clear = True


def test_client(engine: MemoryEngine) -> None:
    script = Script(engine)
    _ = script.sent
    script.send(":s.test CAP * LS :multi-prefix sasl=PLAIN echo-message server-time")
    assert script.sent == ["CAP REQ :multi-prefix server-time"]
    script.send(":s.test CAP * ACK :multi-prefix server-time")
    assert script.sent == ["CAP END"]
    assert script.client.enabled == {"multi-prefix", "server-time"}


def test_client_logs_in(engine: MemoryEngine) -> None:
    script = Script(engine, Member, sasl=LOGIN)
    script.send(":s.test CAP * LS :sasl", ":s.test CAP * ACK :sasl", "AUTHENTICATE +")
    assert script.sent[-1] == "AUTHENTICATE AGphbmUAc2VzYW1l"
    script.send(":s.test 903 me :SASL authentication successful")
    assert script.sent == ["CAP END"]
    script.send(":s.test 001 me :Welcome")
    assert script.client.registered


def test_client_is_refused(engine: MemoryEngine, expect_log: Any) -> None:
    expect_log("could not log in: SASL authentication failed")
    script = Script(engine, Member, sasl=LOGIN)
    script.send(
        ":s.test CAP * LS :sasl",
        ":s.test CAP * ACK :sasl",
        "AUTHENTICATE +",
        ":s.test 904 me :SASL authentication failed",
    )
    assert script.peer.ended
    assert script.client.take() == [("close",)]


def test_client_goes_on_without_a_login(engine: MemoryEngine) -> None:
    class Guest(Member):
        def irc_login_failed(self, reason: str) -> None:
            self.events.append(("login_failed", reason))

    script = Script(engine, Guest, sasl=LOGIN)
    _ = script.sent
    script.send(":s.test CAP * LS :multi-prefix")
    assert script.sent == ["CAP REQ multi-prefix", "CAP END"]
    script.send(":s.test CAP * ACK :multi-prefix", ":s.test 001 me :Welcome")
    assert script.client.take() == [("login_failed", "the server does not offer SASL"), ("connect",)]
    assert script.client.enabled == {"multi-prefix"}


def test_client_that_is_let_in_without_a_login(engine: MemoryEngine, expect_log: Any) -> None:
    expect_log("the server has gone on without a login")
    script = Script(engine, Member, sasl=LOGIN)
    script.send(":s.test 001 me :Welcome")
    assert script.client.take() == [("close",)]


def test_password_is_not_sent_in_clear(engine: MemoryEngine, expect_log: Any) -> None:
    """Where the socket was given, and connect() could not refuse."""
    expect_log("would go without TLS")
    script = Script(engine, sasl=LOGIN)
    assert script.sent == []
    assert script.peer.ended
