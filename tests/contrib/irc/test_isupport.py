"""What a server says of itself: RPL_ISUPPORT, and the modes that it explains."""

from __future__ import annotations

import itertools

import pytest

from pants.contrib.irc._isupport import MOST_CASEMAPPINGS, MOST_TOKENS, ISupport, ModeChange, parse_modes


def isupport(*tokens: str) -> ISupport:
    found = ISupport()
    found.update(tokens)
    return found


def test_defaults() -> None:
    """RFC 1459 §1.3, RFC 2811 §4."""
    known = ISupport()
    assert known.chantypes == "#&"
    assert known.prefix == {"o": "@", "v": "+"}
    assert known.casemapping == "rfc1459"
    assert (known.list_modes, known.argument_modes, known.set_argument_modes) == ("beI", "k", "l")
    assert known.nicklen is None
    assert known.is_channel("#spam")
    assert not known.is_channel("jane")
    assert not known.is_channel("")


def test_tokens() -> None:
    known = isupport("NETWORK=Spam\\x20Net", "NICKLEN=30", "EXCEPTS", "casemapping=ascii", "", "=x")
    assert known.tokens == {"NETWORK": "Spam Net", "NICKLEN": "30", "EXCEPTS": "", "CASEMAPPING": "ascii"}
    assert known.nicklen == 30
    assert known.fold("[A]") == "[a]"
    known.update(["-NICKLEN", "-CASEMAPPING", "-UNKNOWN"])
    assert known.nicklen is None
    assert known.fold("[A]") == "{a}"
    assert "NETWORK" in repr(known)


@pytest.mark.parametrize(
    "token, prefix",
    [
        ("PREFIX=(qaohv)~&@%+", {"q": "~", "a": "&", "o": "@", "h": "%", "v": "+"}),
        ("PREFIX=", {}),
        ("PREFIX", {}),
        ("PREFIX=(ov)@", {"o": "@"}),
        ("PREFIX=@+", {}),
        ("PREFIX=(o☃v)@*+", {"o": "@", "v": "+"}),
    ],
)
def test_prefix(token: str, prefix: dict[str, str]) -> None:
    assert isupport(token).prefix == prefix


@pytest.mark.parametrize("value", ["", "x", "-3", "²", "9" * 5000])
def test_numbers_that_are_none(value: str) -> None:
    assert isupport(f"NICKLEN={value}").nicklen is None


def test_tokens_are_bounded() -> None:
    known = isupport(*[f"T{number}=x" for number in range(2 * MOST_TOKENS)])
    assert len(known.tokens) == MOST_TOKENS
    known.update(["T0=y"])
    assert known.tokens["T0"] == "y"


def test_changes_of_casemapping_have_an_end() -> None:
    """Each makes work for all that is known."""
    known = ISupport()
    folds = []
    for _ in range(MOST_CASEMAPPINGS):
        for casemapping in ("ascii", "rfc1459"):
            known.update([f"CASEMAPPING={casemapping}"])
            folds.append(known.fold)
    changes = sum(before is not after for before, after in itertools.pairwise(folds))
    assert changes == MOST_CASEMAPPINGS - 1
    known.update(["CASEMAPPING=rfc1459"])
    assert known.casemapping == "rfc1459"
    assert known.fold("[") == "{"


@pytest.mark.parametrize("target, channel", [("#spam", "#spam"), ("@#spam", "#spam"), ("@+#spam", "#spam")])
def test_channel_of(target: str, channel: str) -> None:
    assert isupport("STATUSMSG=@+").channel_of(target) == channel


def test_channel_of_a_nick() -> None:
    assert isupport("STATUSMSG=@+").channel_of("@jane") is None
    assert ISupport().channel_of("@#spam") is None


@pytest.mark.parametrize(
    "name, modes, nick",
    [("jane", "", "jane"), ("@jane", "o", "jane"), ("+@jane", "ov", "jane"), ("%jane", "", "%jane")],
)
def test_split_prefixes(name: str, modes: str, nick: str) -> None:
    assert ISupport().split_prefixes(name) == (modes, nick)


def changes(modes: str, *arguments: str, tokens: tuple[str, ...] = ()) -> list[ModeChange]:
    return parse_modes(modes, arguments, isupport(*tokens))


def test_modes_of_each_type() -> None:
    """CHANMODES: type A and B take an argument always, C when it is set, D never; those of PREFIX always."""
    types = ("CHANMODES=b,k,l,imnt", "PREFIX=(ov)@+")
    assert changes("+bkliov", "*!*@*", "key", "10", "jane", "joe", tokens=types) == [
        (True, "b", "*!*@*"),
        (True, "k", "key"),
        (True, "l", "10"),
        (True, "i", None),
        (True, "o", "jane"),
        (True, "v", "joe"),
    ]
    assert changes("-bkliov", "*!*@*", "key", "jane", "joe", tokens=types) == [
        (False, "b", "*!*@*"),
        (False, "k", "key"),
        (False, "l", None),
        (False, "i", None),
        (False, "o", "jane"),
        (False, "v", "joe"),
    ]


def test_signs() -> None:
    assert changes("i+m-n+-t+") == [(True, "i", None), (True, "m", None), (False, "n", None), (False, "t", None)]


def test_missing_arguments() -> None:
    assert changes("+ok", "jane") == [(True, "o", "jane"), (True, "k", None)]


def test_owner_or_quiet() -> None:
    """Where PREFIX has q, it is a mode of users."""
    assert "q" in isupport("CHANMODES=bq,k,l,i").list_modes
    assert "q" not in isupport("CHANMODES=bq,k,l,i", "PREFIX=(qo)~@").list_modes


def test_only_letters_are_modes() -> None:
    assert changes("+i☃ \x01n") == [(True, "i", None), (True, "n", None)]


@pytest.mark.parametrize("value", ["", ",", ",,,,,", "b"])
def test_short_chanmodes(value: str) -> None:
    assert changes("+k", "x", tokens=(f"CHANMODES={value}",)) == [(True, "k", None)]
