"""Cutting long texts: nothing is lost, each piece fits, and no character is torn."""

from __future__ import annotations

import time
import unicodedata

import pytest

from pants.contrib.irc._splitting import split_text


def octets(text: str) -> int:
    return len(text.encode())


def split(text: str, room: int) -> list[str]:
    pieces = split_text(text, room, octets)
    assert "".join(pieces) == text
    assert all(piece and octets(piece) <= room for piece in pieces)
    return pieces


def test_what_fits_stays_whole() -> None:
    assert split("spam and eggs", 13) == ["spam and eggs"]


def test_cuts_are_made_behind_spaces() -> None:
    assert split("spam and eggs", 12) == ["spam and ", "eggs"]
    assert split("spam and eggs", 9) == ["spam and ", "eggs"]
    assert split("spam  and  eggs", 6) == ["spam  ", "and  ", "eggs"]


def test_a_long_word_is_cut() -> None:
    assert split("a" * 25, 10) == ["a" * 10, "a" * 10, "a" * 5]
    assert split("of " + "a" * 25, 10) == ["of " + "a" * 7, "a" * 10, "a" * 8]


def test_characters_of_several_bytes_stay_whole() -> None:
    assert split("äöü" * 4, 5) == ["äö", "üä", "öü", "äö", "üä", "öü"]
    assert split("€" * 4, 8) == ["€€", "€€"]
    assert split("\U0001f40d" * 3, 7) == ["\U0001f40d"] * 3


@pytest.mark.parametrize(
    "character",
    [
        pytest.param("e\u0301", id="combining mark"),
        pytest.param("a\u0323\u0302", id="two marks"),
        pytest.param("\u0915\u093f", id="vowel sign"),
        pytest.param(unicodedata.normalize("NFD", "\ud55c"), id="Korean syllable"),
        pytest.param("\u2764\ufe0f", id="variation selector"),
        pytest.param("\U0001f44d\U0001f3fd", id="skin tone"),
        pytest.param("\U0001f468\u200d\U0001f469\u200d\U0001f467", id="family"),
        pytest.param("\U0001f1e9\U0001f1ea", id="flag"),
        pytest.param("\U0001f3f4\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f", id="Scotland"),
    ],
)
def test_what_is_one_character_to_readers_stays_whole(character: str) -> None:
    for room in range(octets(character), 3 * octets(character) + 1):
        for piece in split(character * 6, room):
            assert not piece.replace(character, "")


def test_one_character_that_is_longer_than_a_line_is_cut_all_the_same() -> None:
    split("a" + "\u0301" * 100, 20)
    split("\U0001f1e9" + "\u0301" * 100, 20)


def test_a_quote_stays_whole() -> None:
    """CTCP "Low level quoting": a pair is one character."""
    for room in range(2, 12):
        for piece in split("ab\x10n\x10\x10\x100c" * 5, room):
            quoted = piece.replace("\x10\x10", "").replace("\x10n", "").replace("\x100", "")
            assert "\x10" not in quoted
    assert split("\x10\x10" * 3, 3) == ["\x10\x10"] * 3


def test_a_ctcp_message_stays_whole() -> None:
    assert split("one two \x01ACTION sings a song\x01 three", 28) == ["one two ", "\x01ACTION sings a song\x01 three"]
    assert split("\x01A b\x01\x01C d\x01\x01E", 10) == ["\x01A b\x01\x01C d\x01", "\x01E"]
    assert split("\x01A b\x01 word and more", 14) == ["\x01A b\x01 word ", "and more"]


@pytest.mark.parametrize(
    "text, room",
    [("\x01" + "a" * 20 + "\x01", 10), ("spam \x01" + "a b" * 20 + "\x01", 10), ("ab", 0), ("ab", -5), ("€€", 2)],
)
def test_what_can_never_fit(text: str, room: int) -> None:
    with pytest.raises(ValueError, match="enough"):
        split_text(text, room, octets)


def test_no_room_for_a_quote() -> None:
    with pytest.raises(ValueError, match="enough"):
        split_text("\x10n\x10n", 1, octets)


def test_an_encoding_that_switches_alphabets() -> None:
    """Each line begins anew in ASCII, so that a piece is longer than its share of the whole."""
    text = "日本語 spam " * 30
    pieces = split_text(text, 40, lambda piece: len(piece.encode("iso-2022-jp")))
    assert "".join(pieces) == text
    assert all(len(piece.encode("iso-2022-jp")) <= 40 for piece in pieces)


@pytest.mark.parametrize(
    "text",
    [
        "a" * 400_000,
        "a b " * 100_000,
        "\x10" * 400_000,
        "\x01a\x01" * 100_000,
        "\x01a\x01b" * 100_000,
        "e\u0301" * 100_000,
    ],
)
def test_linear_time(text: str) -> None:
    start = time.process_time()
    split(text, 400)
    assert time.process_time() - start < 20  # quadratic time would be minutes
