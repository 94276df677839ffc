"""What a client knows of its channels, from the messages that it receives."""

from __future__ import annotations

from typing import Any

import pytest

from pants.contrib.irc import Channel, User
from pants.contrib.irc import _tracking as tracking
from pants.contrib.irc._message import parse
from pants.contrib.irc._tracking import MOST_LETTERS, Event, Tracker

JANE = ":jane!j@jane.test"
ME = ":me!u@h.test"


def feed(tracker: Tracker, *lines: str) -> list[Event]:
    return [event for line in lines for event in tracker.feed(parse(line))]


@pytest.fixture
def tracker() -> Tracker:
    """In #spam, with jane as operator, joe with voice and jim."""
    tracker = Tracker("me")
    feed(tracker, f"{ME} JOIN #spam", ":s.test 353 me = #spam :me @jane +joe jim", ":s.test 366 me #spam :End")
    return tracker


def spam(tracker: Tracker) -> Channel:
    return tracker.channels["#spam"]


def test_own_join() -> None:
    tracker = Tracker("me")
    assert feed(tracker, ":ME!u@h.test JOIN #spam") == [("irc_join", ("#spam", "ME", "u", "h.test"))]
    assert dict(spam(tracker).users) == {"ME": User("ME", "u", "h.test")}
    assert (tracker.user, tracker.host) == ("u", "h.test")


def test_joining_again_starts_over(tracker: Tracker) -> None:
    feed(tracker, f"{ME} JOIN #spam")
    assert list(spam(tracker).users) == ["me"]


def test_names(tracker: Tracker) -> None:
    assert [(user.nick, user.modes) for user in spam(tracker).users.values()] == [
        ("me", ""),
        ("jane", "o"),
        ("joe", "v"),
        ("jim", ""),
    ]
    assert feed(tracker, ":s.test 366 me #SPAM :End") == [("irc_names", ("#spam",))]
    assert spam(tracker).complete


def test_names_of_another_channel(tracker: Tracker) -> None:
    assert feed(tracker, ":s.test 353 me = #eggs :a b", ":s.test 366 me #eggs :End") == []


def test_userhost_in_names_and_multi_prefix(tracker: Tracker) -> None:
    feed(tracker, ":s.test 353 me = #spam :@+jill!ji@jill.test ")
    assert spam(tracker).users["jill"] == User("jill", "ji", "jill.test", modes="ov", prefix="@")


def test_join(tracker: Tracker) -> None:
    assert feed(tracker, ":jill!ji@jill.test JOIN :#spam") == [("irc_join", ("#spam", "jill", "ji", "jill.test"))]
    assert spam(tracker).users["jill"] == User("jill", "ji", "jill.test")


def test_extended_join(tracker: Tracker) -> None:
    feed(tracker, ":jill!ji@h JOIN #spam jillian :Jill Real", ":jack!ja@h JOIN #spam * :Jack Real")
    assert spam(tracker).users["jill"] == User("jill", "ji", "h", "jillian", "Jill Real")
    assert spam(tracker).users["jack"] == User("jack", "ja", "h", None, "Jack Real")


def test_part(tracker: Tracker) -> None:
    assert feed(tracker, f"{JANE} PART #SPAM :bye") == [("irc_part", ("#SPAM", "bye", "jane", "j", "jane.test"))]
    assert "jane" not in spam(tracker).users
    assert feed(tracker, f"{ME} PART #spam") == [("irc_part", ("#spam", "", "me", "u", "h.test"))]
    assert not tracker.channels


def test_several_channels_in_one(tracker: Tracker) -> None:
    """Some old servers pass on what they were told."""
    assert len(feed(tracker, f"{ME} JOIN #a,#b")) == 2
    assert len(feed(tracker, f"{ME} PART #a,#b")) == 2
    assert list(tracker.channels) == ["#spam"]


def test_kick(tracker: Tracker) -> None:
    event = ("irc_kick", ("#spam", "joe", "Out", "jane", "j", "jane.test"))
    assert feed(tracker, f"{JANE} KICK #spam joe :Out") == [event]
    assert "joe" not in spam(tracker).users
    assert feed(tracker, ":s.test KICK #spam me") == [("irc_kick", ("#spam", "me", "", "", "", "s.test"))]
    assert not tracker.channels


def test_quit(tracker: Tracker) -> None:
    feed(tracker, f"{ME} JOIN #eggs", f"{ME} JOIN #ham", f"{JANE} JOIN #ham")
    event = ("irc_quit", ("jane", "a.test b.test", ["#spam", "#ham"], "j", "jane.test"))
    assert feed(tracker, f"{JANE} QUIT :a.test b.test") == [event]
    assert all("jane" not in channel.users for channel in tracker.channels.values())
    assert feed(tracker, ":stranger!s@s QUIT") == [("irc_quit", ("stranger", "", [], "s", "s"))]


def test_nick(tracker: Tracker) -> None:
    assert feed(tracker, f"{JANE} NICK Joan") == [("irc_nick", ("jane", "Joan", "j", "jane.test"))]
    assert spam(tracker).users["joan"].nick == "Joan"
    assert spam(tracker).users["joan"].modes == "o"
    assert "jane" not in spam(tracker).users
    feed(tracker, ":Joan!j@jane.test NICK JOAN")
    assert "JOAN" in list(spam(tracker).users)


def test_own_nick(tracker: Tracker) -> None:
    assert feed(tracker, f"{ME} NICK you") == [
        ("irc_nick", ("me", "you", "u", "h.test")),
        ("irc_nick_changed", ("you",)),
    ]
    assert tracker.nick == "you"
    assert "you" in spam(tracker).users
    assert feed(tracker, ":you!u@h NICK") == []


def test_modes(tracker: Tracker) -> None:
    event = ("irc_mode", ("#spam", "+ov-o", ["joe", "jim", "jane"], "jane", "j", "jane.test"))
    assert feed(tracker, f"{JANE} MODE #spam +ov-o joe jim jane") == [event]
    assert {user.nick: user.modes for user in spam(tracker).users.values()} == {
        "me": "",
        "jane": "",
        "joe": "ov",
        "jim": "v",
    }
    feed(tracker, ":s.test MODE #spam +ntk sesame")
    assert spam(tracker).modes == {"n": True, "t": True, "k": "sesame"}
    assert feed(tracker, ":me MODE me +i") == [("irc_mode", ("me", "+i", [], "me", "", ""))]


def test_modes_told(tracker: Tracker) -> None:
    """324 tells all modes, 329 when the channel was made."""
    feed(tracker, ":s.test MODE #spam +i", ":s.test 324 me #spam +ntl 10", ":s.test 329 me #spam 1700000000")
    assert spam(tracker).modes == {"n": True, "t": True, "l": "10"}
    assert spam(tracker).created == 1700000000


def test_more_prefixes() -> None:
    tracker = Tracker("me")
    feed(tracker, ":s.test 005 me PREFIX=(qaohv)~&@%+ :are supported by this server", f"{ME} JOIN #spam")
    feed(tracker, ":s.test 353 me = #spam :~&@jane %joe me", ":s.test MODE #spam +h-q jane jane")
    assert {user.nick: user.modes + user.prefix for user in spam(tracker).users.values()} == {
        "me": "",
        "jane": "aoh&",
        "joe": "h%",
    }


def test_lists(tracker: Tracker) -> None:
    feed(tracker, ":s.test 005 me CHANMODES=beIq,k,l,imnpst :are supported by this server")
    feed(
        tracker,
        ":s.test 367 me #spam *!*@a jane 1700000000",
        ":s.test 348 me #spam *!*@b",
        ":s.test 346 me #spam *!*@c",
    )
    feed(tracker, ":s.test 728 me #spam q *!*@d jane 1700000000", ":s.test 728 me #spam x *!*@e", "728 me #spam q")
    feed(tracker, ":s.test 367 me #eggs *!*@a")
    assert spam(tracker).lists == {"b": {"*!*@a"}, "e": {"*!*@b"}, "I": {"*!*@c"}, "q": {"*!*@d"}}


def test_topic(tracker: Tracker) -> None:
    """332 and 333 tell the topic on joining; only what is new is an event."""
    topic = ":s.test 332 me #spam :Spam, spam"
    assert feed(tracker, topic) == [("irc_topic_changed", ("#spam", "Spam, spam"))]
    assert feed(tracker, topic) == []
    feed(tracker, ":s.test 333 me #spam jane!j@jane.test 1700000000")
    channel = spam(tracker)
    assert (channel.topic, channel.topic_setter, channel.topic_time) == ("Spam, spam", "jane!j@jane.test", 1700000000)
    assert feed(tracker, ":joe!j@h TOPIC #spam :Eggs") == [("irc_topic_changed", ("#spam", "Eggs"))]
    assert (channel.topic, channel.topic_setter, channel.topic_time) == ("Eggs", "joe", None)
    assert feed(tracker, ":s.test 331 me #spam :No topic is set") == [("irc_topic_changed", ("#spam", ""))]
    assert (channel.topic, channel.topic_setter, channel.topic_time) == ("", "", None)
    assert feed(tracker, ":s.test 332 me #eggs :x", ":s.test 333 me #eggs x", ":s.test 324 me #eggs +n") == []


def test_who(tracker: Tracker) -> None:
    feed(tracker, ":s.test 352 me #spam j jane.test s.test jane G@ :0 Jane Real")
    user = spam(tracker).users["jane"]
    assert (user.user, user.host, user.away, user.realname, user.modes) == ("j", "jane.test", True, "Jane Real", "o")
    feed(tracker, ":s.test 352 me #spam j jane.test s.test jane H")
    assert not user.away


def test_what_is_told_of_users(tracker: Tracker) -> None:
    """IRCv3: account-notify, away-notify, chghost, setname."""
    user = spam(tracker).users["jane"]
    feed(tracker, f"{JANE} ACCOUNT jane", f"{JANE} AWAY :tea", f"{JANE} CHGHOST ja new.test", f"{JANE} SETNAME :Jane R")
    assert user == User("jane", "ja", "new.test", "jane", "Jane R", True, "o", "@")
    feed(tracker, f"{JANE} ACCOUNT *", f"{JANE} AWAY")
    assert (user.account, user.away) == (None, False)


def test_own_source() -> None:
    """What others see of the client: from 001, JOIN, CHGHOST, 396."""
    tracker = Tracker("me")
    feed(tracker, ":s.test 001 me :Welcome to the network me!u@h.test")
    assert (tracker.user, tracker.host) == ("u", "h.test")
    feed(tracker, ":me!u@h.test CHGHOST v cloak.test")
    assert (tracker.user, tracker.host) == ("v", "cloak.test")
    feed(tracker, ":s.test 396 me hidden.test :is now your hidden host")
    assert (tracker.user, tracker.host) == ("v", "hidden.test")
    feed(tracker, ":s.test 396 me w@hidden.test :is now your hidden host")
    assert (tracker.user, tracker.host) == ("w", "hidden.test")


def test_own_entry(tracker: Tracker) -> None:
    """The client's own entry in a channel is what others see of it as well."""
    me = spam(tracker).users["me"]
    feed(tracker, ":s.test 396 me hidden.test :is now your hidden host")
    assert (me.user, me.host) == ("u", "hidden.test")
    feed(tracker, ":s.test 396 me w@hidden.test :is now your hidden host")
    assert (me.user, me.host) == ("w", "hidden.test")


def test_welcome_without_a_source() -> None:
    tracker = Tracker("me")
    assert feed(tracker, ":s.test 001 me :Welcome") == []
    assert feed(tracker, ":s.test 001 you :Welcome me!u@h") == [("irc_nick_changed", ("you",))]
    assert (tracker.nick, tracker.host) == ("you", "")


def test_casemapping(tracker: Tracker) -> None:
    """A change of CASEMAPPING holds for what is there."""
    feed(tracker, f"{ME} JOIN #a[]", ":s.test 353 me = #a[] :x[]")
    assert "x{}" in tracker.channels["#a{}"].users
    feed(tracker, ":s.test 005 me CASEMAPPING=ascii :are supported by this server")
    assert "#a{}" not in tracker.channels
    assert "x{}" not in tracker.channels["#A[]"].users
    assert "X[]" in tracker.channels["#A[]"].users


def test_channels_are_bounded(monkeypatch: pytest.MonkeyPatch, expect_log: Any) -> None:
    expect_log("more than 3 channels")
    monkeypatch.setattr(tracking, "MOST_CHANNELS", 3)
    tracker = Tracker("me")
    for number in range(5):
        feed(tracker, f"{ME} JOIN #{number}")
    assert list(tracker.channels) == ["#0", "#1", "#2"]


def test_entries_are_bounded(monkeypatch: pytest.MonkeyPatch, expect_log: Any) -> None:
    """Users and masks of all channels together; what goes makes room."""
    expect_log("more than 6 users and masks")
    monkeypatch.setattr(tracking, "MOST_ENTRIES", 6)
    tracker = Tracker("me")
    feed(tracker, f"{ME} JOIN #spam", f"{ME} JOIN #eggs", f"{JANE} JOIN #spam", f"{JANE} MODE #spam +b *!*@a")
    feed(tracker, ":s.test 353 me = #eggs :a b c")
    assert list(tracker.channels["#eggs"].users) == ["me"]
    feed(tracker, f"{JANE} MODE #spam +bbeo a b c jane", ":s.test 324 me #spam +bbb a b c", f"{JANE} MODE #spam +b a")
    assert spam(tracker).lists == {"b": {"*!*@a", "a"}}
    assert spam(tracker).users["jane"].modes == "o"
    feed(tracker, ":joe!j@h JOIN #spam", ":jim!j@h JOIN #spam", ":s.test 367 me #spam x", ":s.test 348 me #spam x")
    assert list(spam(tracker).users) == ["me", "jane", "joe"]
    assert spam(tracker).lists == {"b": {"*!*@a", "a"}}
    feed(tracker, ":joe!j@h QUIT", f"{JANE} MODE #spam -b a", ":jim!j@h JOIN #spam", ":s.test 367 me #spam x")
    assert list(spam(tracker).users) == ["me", "jane", "jim"]
    assert spam(tracker).lists == {"b": {"*!*@a", "x"}}


@pytest.mark.parametrize(
    "line",
    [
        "JOIN #spam",
        "PART #spam",
        "QUIT :x",
        "NICK you",
        ":s.test JOIN #eggs",
        ":s.test NICK you",
        f"{JANE} NICK :",
        f"{ME} JOIN :",
        f"{ME} JOIN ,",
        f"{JANE} JOIN #spam * :{'x' * MOST_LETTERS}",
        f":jack!{'x' * MOST_LETTERS}@h JOIN #spam",
        f"{JANE} TOPIC #spam :{'x' * MOST_LETTERS}",
        f":s.test 353 me = #spam :{'x ' * MOST_LETTERS}",
    ],
)
def test_nonsense(tracker: Tracker, line: str) -> None:
    """Without who does it, without a name, or longer than any line of IRC, it is nothing to know or to tell."""
    before = {name: dict(channel.users) for name, channel in tracker.channels.items()}
    assert feed(tracker, line) == []
    assert {name: dict(channel.users) for name, channel in tracker.channels.items()} == before
    assert (tracker.nick, spam(tracker).topic) == ("me", "")


def test_nick_of_another(tracker: Tracker) -> None:
    """A change to a nick that somebody has: there is one such user then."""
    feed(tracker, f"{JANE} NICK joe")
    assert spam(tracker).users["joe"] == User("joe", modes="o", prefix="@")
    assert len(spam(tracker).users) == 3


def test_same_nick(tracker: Tracker) -> None:
    """Manual: irc_nick_changed is for changes."""
    assert feed(tracker, f"{ME} NICK me") == [("irc_nick", ("me", "me", "u", "h.test"))]
    assert feed(tracker, f"{ME} NICK ME")[1:] == [("irc_nick_changed", ("ME",))]
    assert "me" in spam(tracker).users


@pytest.mark.parametrize("text", ["", "x", "-1", "9" * 5000, "²"])
def test_times_that_are_none(tracker: Tracker, text: str) -> None:
    feed(tracker, f":s.test 329 me #spam :{text}")
    assert spam(tracker).created is None
