"""CTCP: low-level quoting, and the chunks between two ``\\x01``."""

from __future__ import annotations

import pytest

from pants.contrib.irc import ctcp_quote, ctcp_unquote, ctcpQuote, ctcpUnquote
from pants.contrib.irc._ctcp import extract, tagged


@pytest.mark.parametrize(
    "plain, quoted",
    [
        ("", ""),
        ("Hi there!", "Hi there!"),
        ("a\nb", "a\x10nb"),
        ("a\rb", "a\x10rb"),
        ("a\0b", "a\x100b"),
        ("a\x10b", "a\x10\x10b"),
        ("\x10n", "\x10\x10n"),
        ("\r\n\0\x10", "\x10r\x10n\x100\x10\x10"),
        ("\x01ACTION waves\x01", "\x01ACTION waves\x01"),
    ],
)
def test_low_level_quoting(plain: str, quoted: str) -> None:
    """CTCP "Low level quoting": NUL, CR, LF and the quote itself, each by a pair."""
    assert ctcpQuote(plain) == quoted
    assert ctcpUnquote(quoted) == plain


@pytest.mark.parametrize(
    "quoted, plain", [("a\x10bc", "abc"), ("a\x10", "a"), ("\x10\x10\x10x", "\x10x"), ("\x10\n", "\n")]
)
def test_quotes_of_nothing_are_dropped(quoted: str, plain: str) -> None:
    """CTCP "Low level quoting": where the pair is none of these, the quote is dropped."""
    assert ctcpUnquote(quoted) == plain


def test_quoting_of_no_text() -> None:
    with pytest.raises(TypeError, match="a message is a str, not b'spam'"):
        ctcpQuote(b"spam")  # type: ignore[arg-type]


def test_aliases() -> None:
    assert ctcp_quote is ctcpQuote
    assert ctcp_unquote is ctcpUnquote


@pytest.mark.parametrize(
    "text, rest, chunks",
    [
        ("", "", []),
        ("plain", "plain", []),
        ("\x01VERSION\x01", "", ["VERSION"]),
        ("\x01PING 1 2\x01", "", ["PING 1 2"]),
        ("Hi\x01VERSION\x01there", "Hithere", ["VERSION"]),
        ("\x01A\x01\x01B\x01", "", ["A", "B"]),
        ("\x01A\x01 and \x01B\x01", " and ", ["A", "B"]),
        ("\x01ACTION waves", "", ["ACTION waves"]),
        ("a\x01\x01b", "ab", []),
        ("\x01", "", []),
        ("\x01A\x01\x01", "", ["A"]),
        ("C:\\a", "C:\\a", []),
        ("\x01ACTION opens C:\\temp\x01", "", ["ACTION opens C:\\temp"]),
    ],
)
def test_extracting(text: str, rest: str, chunks: list[str]) -> None:
    """Manual: "irc_ctcp": such a message may stand anywhere in what is said."""
    assert extract(text) == (rest, chunks)


@pytest.mark.parametrize("command, text", [("VERSION", None), ("PING", "1 2"), ("X", "\\ \\a \\\\"), ("X", "")])
def test_tagged_messages_come_back(command: str, text: str | None) -> None:
    sent = tagged(command, text)
    assert sent[0] == sent[-1] == "\x01"
    assert "\x01" not in sent[1:-1]
    assert extract(sent) == ("", [command if text is None else f"{command} {text}"])


def test_bad_tagged_messages() -> None:
    for command in ("", "A B"):
        with pytest.raises(ValueError, match="one word"):
            tagged(command)
    for arguments in (("A", "b\x01c"), ("A\x01B",)):
        with pytest.raises(ValueError, match="x01"):
            tagged(*arguments)
    with pytest.raises(TypeError, match="str"):
        tagged("A", 1)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="str"):
        tagged(b"A")  # type: ignore[arg-type]
