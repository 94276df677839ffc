"""Checks of what users give to a client."""

from __future__ import annotations

from pants.contrib.irc._message import FORBIDDEN


def checked_text(what: str, value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{what} is a str, not {value!r}")
    if not value or FORBIDDEN.search(value) is not None:
        raise ValueError(f"{what} is not empty and has no NUL, CR or LF in it, as {value!r} has")
    return value


def checked_word(what: str, value: object) -> str:
    word = checked_text(what, value)
    if not is_word(word):
        raise ValueError(f"{what} is one word, with no space or comma in it and no colon before it, not {value!r}")
    return word


def is_word(text: str) -> bool:
    return bool(text) and text[0] != ":" and not any(character in text for character in " ,\a\0\r\n")


def checked_channel(name: object) -> None:
    if checked_word("a channel", name) == "0":
        raise ValueError("there is no channel 0: to a server it means to leave all channels (RFC 2812 §3.2.1)")


# A password must not get into a traceback, so these two do not tell what they were given.


def checked_password(password: object) -> str | None:
    if password is None:
        return None
    if not isinstance(password, str):
        raise TypeError("password is a str")
    if not password or FORBIDDEN.search(password) is not None:
        raise ValueError("password is not empty, and has no NUL, CR or LF in it")
    return password


def checked_login(sasl: object) -> tuple[str, str] | None:
    if sasl is None:
        return None
    if not (isinstance(sasl, tuple | list) and len(sasl) == 2 and all(isinstance(part, str) for part in sasl)):
        raise TypeError("sasl is a pair of str, a name and a password")
    name, password = sasl
    if not name or not password or "\0" in name + password:
        raise ValueError("the name and the password for sasl are not empty, and have no NUL in them")
    return name, password
