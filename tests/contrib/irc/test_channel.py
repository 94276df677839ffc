"""`Channel` and `User`."""

from __future__ import annotations

from pants.contrib.irc import Channel, User
from pants.contrib.irc._isupport import ISupport, parse_modes

ISUPPORT = ISupport()


def change(channel: Channel, modes: str, *arguments: str) -> None:
    channel._change_modes(parse_modes(modes, arguments, ISUPPORT), ISUPPORT)


def listed(*names: str) -> Channel:
    channel = Channel("#spam")
    for name in names:
        channel._list(name, ISUPPORT)
    return channel


def test_new() -> None:
    """Manual, "Channel": users and topic are kept track of."""
    channel = Channel("#spam")
    assert channel.name == "#spam"
    assert (channel.topic, channel.topic_setter, channel.topic_time, channel.created) == ("", "", None, None)
    assert (channel.modes, channel.lists, dict(channel.users), channel.complete) == ({}, {}, {}, False)
    assert repr(channel) == "<Channel #spam, 0 users>"


def test_names() -> None:
    channel = listed("jane", "@joe", "+@jim", "+jill!j@jill.test", "", "@")
    assert list(channel.users) == ["jane", "joe", "jim", "jill"]
    assert [(user.modes, user.prefix) for user in channel.users.values()] == [
        ("", ""),
        ("o", "@"),
        ("ov", "@"),
        ("v", "+"),
    ]
    assert channel.users["JILL"] == User("jill", "j", "jill.test", modes="v", prefix="+")


def test_names_again() -> None:
    """Without multi-prefix the highest prefix alone is told; what is known of the others stays."""
    channel = listed("@jane", "@joe")
    change(channel, "+v", "jane")
    for name in ("@jane", "+joe"):
        channel._list(name, ISUPPORT)
    assert (channel.users["jane"].modes, channel.users["joe"].modes) == ("ov", "v")


def test_user_modes() -> None:
    channel = listed("jane")
    user = channel.users["jane"]
    change(channel, "+v", "JANE")
    assert (user.modes, user.prefix) == ("v", "+")
    change(channel, "+o", "jane")
    assert (user.modes, user.prefix) == ("ov", "@")
    change(channel, "+o-v", "jane", "jane")
    assert (user.modes, user.prefix) == ("o", "@")
    change(channel, "-o+o-o", "jane", "nobody", "jane")
    assert (user.modes, user.prefix) == ("", "")


def test_channel_modes() -> None:
    channel = Channel("#spam")
    change(channel, "+ntlk", "10", "sesame")
    assert channel.modes == {"n": True, "t": True, "l": "10", "k": "sesame"}
    change(channel, "-nlkx+l", "*", "20")
    assert channel.modes == {"t": True, "l": "20"}


def test_lists() -> None:
    channel = Channel("#spam")
    change(channel, "+bbe", "*!*@a", "*!*@b", "*!*@c")
    assert channel.lists == {"b": {"*!*@a", "*!*@b"}, "e": {"*!*@c"}}
    change(channel, "-b+b", "*!*@a")  # the second asks for the list
    assert channel.lists["b"] == {"*!*@b"}
    assert channel.modes == {}


def test_rename() -> None:
    channel = listed("@jane")
    channel._rename("JANE", "Joan")
    channel._rename("nobody", "somebody")
    assert dict(channel.users) == {"Joan": User("Joan", modes="o", prefix="@")}
