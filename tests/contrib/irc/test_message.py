"""Lines of IRC, by the grammars of RFC 1459 §2.3.1, RFC 2812 §2.3.1 and the message tags of IRCv3."""

from __future__ import annotations

import time
from typing import Any

import pytest

from pants.contrib.irc import MalformedLine, Message
from pants.contrib.irc._message import compose, compose_tags, parse

WORDS = [f"w{number}" for number in range(20)]


def message(command: str, *args: str, nick: str = "", user: str = "", host: str = "", tags: Any = None) -> Message:
    return Message(command, list(args), nick, user, host, tags or {})


# --- Receiving: commands and arguments ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line, expected",
    [
        pytest.param("QUIT", message("QUIT"), id="a command alone"),
        pytest.param("JOIN #a", message("JOIN", "#a"), id="a middle"),
        pytest.param("JOIN #a,&b key,other", message("JOIN", "#a,&b", "key,other"), id="middles"),
        pytest.param("QUIT :Gone to have lunch", message("QUIT", "Gone to have lunch"), id="a trailing"),
        pytest.param("PRIVMSG #a :b", message("PRIVMSG", "#a", "b"), id="a trailing of one word"),
        pytest.param("PRIVMSG #a b", message("PRIVMSG", "#a", "b"), id="the same without a colon"),
        pytest.param("TOPIC #a :", message("TOPIC", "#a", ""), id="an empty trailing"),
        pytest.param("AWAY :", message("AWAY", ""), id="an empty trailing alone"),
        pytest.param("PRIVMSG #a ::", message("PRIVMSG", "#a", ":"), id="a colon in the trailing"),
        pytest.param("PRIVMSG #a :x :y", message("PRIVMSG", "#a", "x :y"), id="another one inside"),
        pytest.param("PRIVMSG #a : x  y ", message("PRIVMSG", "#a", " x  y "), id="the trailing's own spaces"),
        pytest.param("MODE #a +o:b", message("MODE", "#a", "+o:b"), id="a colon inside a middle"),
        pytest.param("MODE x:y z", message("MODE", "x:y", "z"), id="a colon inside the first middle"),
        pytest.param("PRIVMSG #a :\x01ACTION x\x01", message("PRIVMSG", "#a", "\x01ACTION x\x01"), id="control codes"),
        pytest.param("PRIVMSG #a :\tx\x1fy\x85z", message("PRIVMSG", "#a", "\tx\x1fy\x85z"), id="no spaces, but white"),
        pytest.param("PRIVMSG \t#a\u3000b c", message("PRIVMSG", "\t#a\u3000b", "c"), id="white inside a middle"),
        pytest.param("privmsg #a b", message("PRIVMSG", "#a", "b"), id="lower case"),
        pytest.param("Spam #a b", message("SPAM", "#a", "b"), id="an unknown command"),
        pytest.param("001 me :Welcome", message("001", "me", "Welcome"), id="a reply"),
        pytest.param("999", message("999"), id="an unknown reply"),
    ],
)
def test_command_and_arguments(line: str, expected: Message) -> None:
    """RFC 2812 §2.3.1: ``command [ params ]``."""
    assert parse(line) == expected


@pytest.mark.parametrize(
    "line, expected",
    [
        pytest.param("  JOIN #a", message("JOIN", "#a"), id="before the command"),
        pytest.param("JOIN  #a   b", message("JOIN", "#a", "b"), id="between arguments"),
        pytest.param("JOIN #a  ", message("JOIN", "#a"), id="at the end"),
        pytest.param("PRIVMSG #a   :x  y", message("PRIVMSG", "#a", "x  y"), id="before the trailing"),
        pytest.param("QUIT  :x", message("QUIT", "x"), id="before the only one"),
        pytest.param(":a  JOIN  #a", message("JOIN", "#a", nick="a"), id="behind the source"),
        pytest.param(" @b=c   :a JOIN #a", message("JOIN", "#a", nick="a", tags={"b": "c"}), id="around the tags"),
    ],
)
def test_more_spaces_than_one(line: str, expected: Message) -> None:
    """RFC 1459 §2.3.1: ``<SPACE> ::= ' ' { ' ' }``."""
    assert parse(line) == expected


@pytest.mark.parametrize("colon", ["", ":"])
@pytest.mark.parametrize("source", ["", ":a!b@c ", "  ", "@t=1 "])
def test_the_fifteenth_argument_is_the_rest(source: str, colon: str) -> None:
    """RFC 2812 §2.3.1: ``14( SPACE middle ) [ SPACE [ ":" ] trailing ]``."""
    found = parse(f"{source}CMD {' '.join(WORDS[:14])} {colon}x  :y z")
    assert found.args == [*WORDS[:14], "x  :y z"]


def test_fourteen_arguments_and_a_trailing() -> None:
    assert parse(f"CMD {' '.join(WORDS[:14])} :x y").args == [*WORDS[:14], "x y"]
    assert parse(f"CMD {' '.join(WORDS[:13])} :x y").args == [*WORDS[:13], "x y"]
    assert parse(f"CMD {' '.join(WORDS[:14])}").args == WORDS[:14]
    assert parse(f"CMD {' '.join(WORDS[:15])}").args == WORDS[:15]
    assert parse(f"CMD {' '.join(WORDS[:14])} :").args == [*WORDS[:14], ""]


@pytest.mark.parametrize(
    "line",
    [
        *("", " ", ":", ":a", ":a ", "@a=b", "@a=b :c", "@", ": ", " :", ":a :b"),
        *("12", "1234", "12a", "a1", "PRIVMSG! #a", "\u00e9", "JOIN-IT", "-", "\uff11\uff12\uff13", "#a hello"),
        *("PRIVMSG #a :b\0c", "PRIVMSG #a :b\rc", "PRIVMSG #a :b\nc", "PRI\0VMSG", ":a\rb PING"),
    ],
)
def test_no_message(line: str) -> None:
    """RFC 2812 §2.3.1: a command is letters or three digits; NUL, CR and LF are nowhere in a message."""
    with pytest.raises(MalformedLine):
        parse(line)
    assert issubclass(MalformedLine, ValueError)


def test_each_message_has_its_own_arguments_and_tags() -> None:
    first, second = parse(":a JOIN #b"), parse(":a JOIN #b")
    first.args.append("c")
    first.tags["d"] = "e"
    assert second == message("JOIN", "#b", nick="a")


# --- Receiving: the source ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "source, nick, user, host",
    [
        ("nick!user@host.example", "nick", "user", "host.example"),
        ("nick!user", "nick", "user", ""),
        ("nick@host", "nick", "", "host"),
        ("nick", "nick", "", ""),
        ("[nick]\\`_^{|}-", "[nick]\\`_^{|}-", "", ""),
        ("irc.example.org", "", "", "irc.example.org"),
        ("::1", "", "", "::1"),
        ("nick!~user@2001:db8::1", "nick", "~user", "2001:db8::1"),
        ("nick!user@a@b", "nick", "user", "a@b"),
        ("nick!us!er@host", "nick", "us!er", "host"),
        ("!user@host", "", "user", "host"),
        ("", "", "", ""),
    ],
)
def test_source(source: str, nick: str, user: str, host: str) -> None:
    """RFC 2812 §2.3.1: ``servername / ( nickname [ [ "!" user ] "@" host ] )``."""
    assert parse(f":{source} QUIT :x") == message("QUIT", "x", nick=nick, user=user, host=host)


# --- Receiving: tags ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "section, tags",
    [
        ("a=b", {"a": "b"}),
        ("a=b;c=d", {"a": "b", "c": "d"}),
        ("a", {"a": ""}),
        ("a=", {"a": ""}),
        ("a;b", {"a": "", "b": ""}),
        ("a=1;a=2", {"a": "2"}),
        ("a=b=c", {"a": "b=c"}),
        ("+a=b", {"+a": "b"}),
        ("example.com/a=b", {"example.com/a": "b"}),
        ("+example.com/a-1=b", {"+example.com/a-1": "b"}),
        (r"a=\:\s\\\r\n", {"a": "; \\\r\n"}),
        (r"a=\\s\\:", {"a": r"\s\:"}),
        (r"a=\b\é", {"a": "bé"}),
        ("a=b\\", {"a": "b"}),
        ("a=\\", {"a": ""}),
        ("a=b;", {"a": "b"}),
        (";;a=b", {"a": "b"}),
        ("=x;a", {"a": ""}),
        ("a=:b", {"a": ":b"}),
        ("time=2019-02-28T19:30:01.727Z", {"time": "2019-02-28T19:30:01.727Z"}),
    ],
)
def test_tags(section: str, tags: dict[str, str]) -> None:
    """IRCv3 "Message Tags": the format, escapes, values that are missing or empty, and the last of several."""
    assert parse(f"@{section} :a!b@c PRIVMSG #d :e f") == Message("PRIVMSG", ["#d", "e f"], "a", "b", "c", tags)
    assert parse(f"@{section} PING") == message("PING", tags=tags)


# --- Sending -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command, args, line",
    [
        ("QUIT", [], "QUIT"),
        ("quit", [], "QUIT"),
        ("JOIN", ["#a"], "JOIN #a"),
        ("USER", ["a", 0, "*", "b"], "USER a 0 * b"),
        ("PRIVMSG", ["#a", "b c"], "PRIVMSG #a :b c"),
        ("TOPIC", ["#a", ""], "TOPIC #a :"),
        ("PRIVMSG", ["#a", ":-)"], "PRIVMSG #a ::-)"),
        ("PRIVMSG", ["#a", "a:b"], "PRIVMSG #a a:b"),
        ("AWAY", [" "], "AWAY : "),
        ("001", ["a", "Welcome!"], "001 a Welcome!"),
        ("CMD", WORDS, "CMD " + " ".join(WORDS)),
    ],
)
def test_composing(command: str, args: list[str | int], line: str) -> None:
    assert compose(command, args) == line


def test_composing_with_a_source_and_tags() -> None:
    assert compose("JOIN", ["#a"], "b!c@d") == ":b!c@d JOIN #a"
    assert compose_tags({"x": "1 ;\\\r\n", "+y": None, "example.com/z": ""}) == (r"@x=1\s\:\\\r\n;+y;example.com/z ")


@pytest.mark.parametrize("character", ["\0", "\r", "\n"])
def test_what_ends_a_line_is_not_sent(character: str) -> None:
    """Else whoever chooses a text could send commands with it."""
    bad = f"a{character}b"
    attempts: list[Any] = [(bad, []), ("CMD", [bad]), ("CMD", [bad, "c"]), ("CMD", ["c", f"{bad} d"]), ("CMD", [], bad)]
    for arguments in attempts:
        with pytest.raises(ValueError, match="NUL, CR or LF"):
            compose(*arguments)
    with pytest.raises(ValueError, match="tag"):
        compose_tags({bad: ""})
    with pytest.raises(ValueError, match="NUL"):
        compose_tags({"a": "\0"})


@pytest.mark.parametrize("args", [["", "a"], ["a b", "c"], [":a", "b"], ["a", "", "b"]])
def test_only_the_last_argument_may_be_any_text(args: list[str]) -> None:
    with pytest.raises(ValueError, match="only the last argument"):
        compose("CMD", args)


@pytest.mark.parametrize("command", ["", "A B", ":A", "12", "1234", "A1", "\u00e9", "@a"])
def test_bad_commands_are_not_sent(command: str) -> None:
    with pytest.raises(ValueError, match="letters or three digits"):
        compose(command, [])


@pytest.mark.parametrize("prefix", ["", "a b", " ", ":a", "a!b@c ", ":"])
def test_bad_prefixes_are_not_sent(prefix: str) -> None:
    with pytest.raises(ValueError, match="prefix"):
        compose("CMD", [], prefix)


@pytest.mark.parametrize("key", ["", "+", "a b", "a;b", "a=b", "/a", "a/", "é", "++a", "++a/b", "é/a", "a@b/c"])
def test_bad_tags_are_not_sent(key: str) -> None:
    with pytest.raises(ValueError, match="tag"):
        compose_tags({key: "x"})


@pytest.mark.parametrize(
    "arguments",
    [(b"CMD", []), ("CMD", [b"a"]), ("CMD", [None]), ("CMD", [True]), ("CMD", [1.5]), ("CMD", [], 1)],
)
def test_wrong_types_are_not_sent(arguments: Any) -> None:
    with pytest.raises(TypeError, match="str"):
        compose(*arguments)
    with pytest.raises(TypeError, match="str"):
        compose_tags({"a": 1})  # type: ignore[dict-item]


@pytest.mark.parametrize("line", ["@" + "\\" * 8000 + " A", "@" + ";" * 8000 + " A", "A" + " " * 8000, " a" * 4000])
def test_odd_lines_take_linear_time(line: str) -> None:
    start = time.process_time()
    for _ in range(20):
        try:
            parse(line)
        except MalformedLine:
            pass
    assert time.process_time() - start < 5  # quadratic time would be minutes
