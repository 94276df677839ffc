"""Fuzz target for `pants.contrib.irc`: any line, any bytes to a client, any arguments and any text to send.

    python fuzz/fuzz_irc.py [EXAMPLES]

What must hold: a line is a message, the same that `expected` finds in it a word at a time, or is refused with a
MalformedLine. What is composed is refused with a ValueError, or is one line that says the same when it is taken apart.
A text that is sent comes back whole from lines that all fit, or is refused with a ValueError. And no bytes from a
server end in an exception in the client, or in its being in a channel without itself among the users.
"""

from __future__ import annotations

import logging
import sys

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pants.contrib.irc import BaseIRC, IRCClient, MalformedLine, ctcpQuote, ctcpUnquote
from pants.contrib.irc._ctcp import extract, tagged
from pants.contrib.irc._message import Message, compose, compose_tags, parse
from pants.contrib.irc._splitting import split_text
from pants.testing import MemoryEngine

ESCAPES = {":": ";", "s": " ", "\\": "\\", "r": "\r", "n": "\n"}

pieces = st.sampled_from(
    [
        *(
            " ",
            " ",
            "  ",
            ":",
            " :",
            "@",
            "!",
            ";",
            "=",
            "\\",
            "\\s",
            "\\:",
            "+",
            "/",
            ".",
            ",",
            "#a",
            "&b",
            "me",
            "jane",
        ),
        *("\0", "\r", "\x01", "\x10", "\t", "\x1f", "\x85", "\u3000", "é", "€", "\U0001f40d", "e\u0301", "\U0001f1e9"),
        *(":irc.test ", ":jane!j@h ", ":me!u@h ", "@time=1 ", "PRIVMSG ", "NOTICE ", "JOIN ", "PART ", "KICK ", "QUIT"),
        *("NICK ", "MODE ", "TOPIC ", "PING ", "CAP ", "LS ", "ACK ", "AUTHENTICATE ", "+o-v", "+b", "-k", "ACTION "),
        *("001 me ", "005 me ", "353 me = #a ", "366 me #a ", "352 ", "324 ", "332 me #a ", "333 ", "433 ", "CHGHOST "),
        *(
            "PREFIX=(ov)@+",
            "CHANMODES=b,k,l,n",
            "CASEMAPPING=ascii",
            "CHANTYPES=",
            "STATUSMSG=@",
            "NICKLEN=x",
            "a b c ",
        ),
    ]
)
lines = st.one_of(st.lists(pieces, max_size=25).map("".join), st.text(max_size=30))
many_words = st.lists(st.sampled_from(["a", ":b", "", "c:"]), min_size=12, max_size=20).map(" ".join)
arguments = st.lists(st.one_of(lines, st.sampled_from(["", "a", ":a", "a b"]), st.integers()), max_size=4)
tags = st.dictionaries(st.sampled_from(["a", "+b-1", "x.y/z", "", "a b"]), st.one_of(st.none(), lines), max_size=3)


def expected(line: str) -> Message | None:
    """Take a line apart, a word at a time; None if it is no message."""
    if set(line) & set("\0\r\n"):
        return None
    rest = line.lstrip(" ")
    found: dict[str, str] = {}
    source = ""
    if rest.startswith("@"):
        section, _, rest = rest[1:].partition(" ")
        for tag in section.split(";"):
            if tag.partition("=")[0]:
                found[tag.partition("=")[0]] = unescaped(tag.partition("=")[2])
        rest = rest.lstrip(" ")
    if rest.startswith(":"):
        source, _, rest = rest[1:].partition(" ")
    words: list[str] = []
    while rest := rest.lstrip(" "):
        if words and (rest[0] == ":" or len(words) == 15):
            words.append(rest.removeprefix(":"))
            break
        word, _, rest = rest.partition(" ")
        words.append(word)
    command = words.pop(0) if words else ""
    if not command.isascii() or not (command.isalpha() or (command.isdigit() and len(command) == 3)):
        return None
    if "!" in source:
        nick, _, rest = source.partition("!")
        user, _, host = rest.partition("@")
    elif "@" in source:
        user, (nick, _, host) = "", source.partition("@")
    else:
        is_server = "." in source or ":" in source
        nick, user, host = ("", "", source) if is_server else (source, "", "")
    return Message(command.upper(), words, nick, user, host, found)


def unescaped(value: str) -> str:
    """Undo the escapes of a tag's value, a character at a time."""
    text = ""
    while value:
        if value[0] == "\\":
            text, value = text + ESCAPES.get(value[1:2], value[1:2]), value[2:]
        else:
            text, value = text + value[0], value[1:]
    return text


def check_line(line: str) -> None:
    """Take a line apart, and hold what comes out against what was expected."""
    try:
        message = parse(line)
    except MalformedLine:
        assert expected(line) is None
    else:
        assert message == expected(line)


def check_composing(command: str, args: list[str | int], prefix: str | None, given_tags: dict[str, str | None]) -> None:
    """Put a line together, and take it apart again."""
    try:
        line = (compose_tags(given_tags) if given_tags else "") + compose(command, args, prefix)
    except ValueError:
        return
    found = parse(line)
    assert found.command == command.upper()
    if len(args) <= 15:
        assert found.args == [str(arg) for arg in args]
    assert found.tags == {key: value or "" for key, value in given_tags.items()}
    if prefix is not None:
        assert prefix in (found.host, found.nick + (f"!{found.user}" if found.user else "") + f"@{found.host}") or (
            prefix.startswith(found.nick)
        )


def check_splitting(text: str, room: int, encoding: str) -> None:
    """Cut a text up, and put it together again."""

    def measure(piece: str) -> int:
        return len(piece.encode(encoding, "replace"))

    try:
        cut = split_text(text, room, measure)
    except ValueError:
        # A chunk of CTCP that may be quite long, or a single character.
        assert any(measure(chunk) > room - 2 for chunk in [*extract(text)[1], *text])
        return
    assert "".join(cut) == text
    assert all(measure(piece) <= room for piece in cut)
    assert all(cut) or not text
    assert [chunk for piece in cut for chunk in extract(piece)[1]] == extract(text)[1]
    assert "".join(map(ctcpUnquote, cut)) == ctcpUnquote(text)


def check_sending(texts: list[str], destination: str, encoding: str, quoted: bool) -> None:
    """Send texts, and hold what arrives against them."""
    with MemoryEngine() as engine:
        irc, peer = engine.connect(BaseIRC, encoding=encoding)
        for text in texts:
            if encoding == "iso-2022-jp":  # in which these switch the alphabet
                text = text.translate(dict.fromkeys(b"\x0e\x0f\x1b"))
            try:
                irc.message(destination, text, quoted)
            except ValueError:
                engine.advance()
                assert not peer.take()
                continue
            engine.advance()
            data = peer.take()
            assert data.endswith(b"\r\n")
            found = []
            for line in data.split(b"\r\n")[:-1]:
                assert len(line) <= 400
                assert not set(line) & set(b"\0\r\n")
                found.append(parse(line.decode(encoding)))
            assert all(message.command == "PRIVMSG" for message in found)
            assert {message.args[0] for message in found} == {destination.encode(encoding, "replace").decode(encoding)}
            whole = "".join([message.args[1] for message in found])
            wanted = ctcpQuote(text) if quoted else text
            assert whole == wanted.encode(encoding, "replace").decode(encoding)


def check_ctcp(text: str, command: str) -> None:
    """Quote and unquote a text, and send it as a CTCP message."""
    assert ctcpUnquote(ctcpQuote(text)) == text
    assert not set(ctcpQuote(text)) & set("\0\r\n")
    rest, chunks = extract(text)
    assert "\x01" not in rest + "".join(chunks)
    try:
        sent = tagged(command, text)
    except ValueError:
        assert "\x01" in command + text or not command or " " in command
        return
    assert extract(sent) == ("", [f"{command} {text}"])


def check_client(received: list[bytes], cut: int) -> None:
    """Be a server that says anything."""
    failures: list[logging.LogRecord] = []
    handler = logging.Handler(logging.ERROR)
    handler.emit = failures.append  # type: ignore[assignment, method-assign]
    log = logging.getLogger("pants")
    log.setLevel(logging.ERROR)
    log.addHandler(handler)
    try:
        with MemoryEngine() as engine:
            client, peer = engine.connect(IRCClient, nick="me")
            peer.send(b":irc.test 001 me :Welcome\r\n:me!u@h JOIN #a\r\n")
            data = b"\r\n".join(received) + b"\r\n"
            for start in range(0, len(data), cut):
                if client.connected:
                    peer.send(data[start : start + cut])
            for channel in client.channels.values():
                assert client.nick in channel.users
            assert client.closed is peer.ended
    finally:
        log.removeHandler(handler)
    assert not failures, failures[0].getMessage()


def fuzz(examples: int) -> None:
    """Try so many examples of each."""
    bounded = settings(max_examples=examples, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    given(st.one_of(lines, many_words, st.tuples(lines, many_words).map("".join)))(bounded(check_line))()
    commands = st.one_of(st.sampled_from(["A", "PRIVMSG", "001"]), lines)
    prefixes = st.one_of(st.none(), st.sampled_from(["a", "a!b@c", "irc.test"]), lines)
    given(commands, arguments, prefixes, tags)(bounded(check_composing))()
    encodings = st.sampled_from(["utf-8", "latin-1", "iso-2022-jp", "gb18030", "ascii"])
    given(st.one_of(lines, st.text()), st.integers(1, 30), encodings)(bounded(check_splitting))()
    long_texts = st.lists(st.one_of(lines, st.text()), min_size=1, max_size=3).map(lambda some: "".join(some * 20))
    sendings = st.lists(st.one_of(lines, long_texts), max_size=3)
    given(sendings, st.one_of(st.just("#a"), lines), encodings, st.booleans())(bounded(check_sending))()
    given(lines, st.one_of(st.just("PING"), lines))(bounded(check_ctcp))()
    received = st.lists(st.one_of(lines.map(lambda line: line.encode("utf-8", "replace")), st.binary()), max_size=12)
    given(received, st.integers(1, 60))(bounded(check_client))()


if __name__ == "__main__":
    fuzz(int(sys.argv[1]) if len(sys.argv) > 1 else 5000)
