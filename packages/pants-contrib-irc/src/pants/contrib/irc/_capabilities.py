"""Capabilities, which client and server agree on, and logging in by SASL. Sans-IO.

This is IRCv3's Capability Negotiation, version 302, and its SASL 3.1, with the mechanism PLAIN (RFC 4616).
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator
from typing import Final

from pants.contrib.irc._message import Message

#: A command that is to be sent: itself, and its arguments.
Command = tuple[str, ...]

# Servers offer some thirty. What goes beyond this is not noted.
MOST_CAPABILITIES: Final = 500
# The letters of names in one CAP REQ, which has to fit a line of 512 bytes together with the server's answer to it.
REQUEST_LETTERS: Final = 400
# The letters of Base64 in one AUTHENTICATE (SASL 3.1).
CHUNK_LETTERS: Final = 400

_LOGGED_IN: Final = frozenset({"903", "907"})  # RPL_SASLSUCCESS, ERR_SASLALREADY
_NOT_LOGGED_IN: Final = frozenset({"902", "904", "905", "906"})  # ERR_NICKLOCKED, _SASLFAIL, _SASLTOOLONG, _SASLABORTED


class Negotiation:
    """A client's side of the negotiation, from before its registration to the end of the connection.

    Args:
        wanted: The capabilities to be asked for where they are offered.
        login: A name and a password, to log in with; or None.

    Raises:
        TypeError: ``wanted`` is a single str.

    Attributes:
        available: What the server offers: each capability with its value, an empty string where it has none.
        enabled: The capabilities that are on.
        failure: Why logging in has failed; or None. The negotiation does not go on then, until `end` is called.
        over: Whether CAP END has been sent, or is not needed.
    """

    def __init__(self, wanted: Iterable[str], login: tuple[str, str] | None = None) -> None:
        if isinstance(wanted, str):
            raise TypeError(f"capabilities are a set of names, such as {{{wanted!r}}}, not {wanted!r}")
        self.available: dict[str, str] = {}
        self.enabled: set[str] = set()
        self.failure: str | None = None
        self._wanted = frozenset(wanted)
        self._login = login
        self._asked: list[frozenset[str]] = []  # CAP REQ that have not been answered
        self._listing = False
        self._authenticating = False  # the server has been told by what mechanism, and the password not been sent yet
        self.over = not (self._wanted or login)

    def start(self) -> list[Command]:
        """What is to be sent first of all."""
        if self.over:
            return []
        self._listing = True
        return [("CAP", "LS", "302")]

    def feed(self, message: Message) -> list[Command]:
        """Take in a message.

        Returns:
            What is to be sent on it.
        """
        command, args = message.command, message.args
        if command == "CAP" and len(args) > 2:
            return list(self._on_cap(args[1].upper(), args[2:]))
        if self.over:
            return []
        if command == "AUTHENTICATE" and args:
            return self._on_authenticate(args[0])
        if command in _LOGGED_IN:
            self._login = None
            return self.end()
        if command in _NOT_LOGGED_IN and self._login:
            self._fail(args[-1] if args else "")
        # A server that has never heard of CAP (ERR_UNKNOWNCOMMAND), or wants to hear of nothing before NICK and USER
        # (ERR_NOTREGISTERED).
        if command in ("421", "451") and self._listing and args[1:2] == ["CAP"]:
            self._finish("the server knows neither capabilities nor SASL")
        elif command == "001":  # without waiting for CAP END
            self._finish("the server has gone on without a login")
        return []

    def end(self) -> list[Command]:
        """End the negotiation, so that the server goes on with the registration."""
        if self.over:
            return []
        self._finish("")
        return [("CAP", "END")]

    def _finish(self, missing: str) -> None:
        """There is no more to negotiate; if a login is, that is its failure."""
        self.over = True
        self._listing = False
        if self._login:
            self._fail(missing)

    def _fail(self, reason: str) -> None:
        self._login = None
        self.failure = reason

    # --- Capabilities -------------------------------------------------------------------------------------------

    def _on_cap(self, subcommand: str, args: list[str]) -> Iterator[Command]:
        names = args[-1].split()
        if subcommand == "LS":
            self._offer(names)
            if self._listing and not (len(args) > 1 and args[0] == "*"):  # there are no more lines of it
                self._listing = False
                yield from self._request(self._wanted)
                if self._login:
                    yield from self._request_login()
        elif subcommand == "NEW":
            self._offer(names)
            yield from self._request(self._wanted.intersection(name.partition("=")[0] for name in names))
        elif subcommand == "DEL":
            for name in names:
                self.available.pop(name, None)
                self.enabled.discard(name)
        elif subcommand == "ACK":
            if "sasl" in self._acknowledged(names) and self._login:
                self._authenticating = True
                yield "AUTHENTICATE", "PLAIN"
        elif subcommand == "NAK":
            yield from self._refused(frozenset(names))
        if not (self.over or self._listing or self._asked or self._login or self.failure):
            yield from self.end()

    def _offer(self, names: Iterable[str]) -> None:
        for name in names:
            name, _, value = name.partition("=")
            if name in self.available or len(self.available) < MOST_CAPABILITIES:
                self.available[name] = value

    def _request(self, names: Iterable[str]) -> Iterator[Command]:
        """Ask for what is offered of these, in as few lines as it takes."""
        line: list[str] = []
        for name in sorted((set(names) & self.available.keys()) - self.enabled.union(*self._asked)):
            if line and sum(map(len, line)) + len(line) + len(name) > REQUEST_LETTERS:
                yield self._ask(line)
                line = []
            line.append(name)
        if line:
            yield self._ask(line)

    def _ask(self, names: Iterable[str]) -> Command:
        self._asked.append(frozenset(names))
        return "CAP", "REQ", " ".join(names)

    def _acknowledged(self, names: Iterable[str]) -> frozenset[str]:
        """Take in what the server agrees to.

        Returns:
            What of that had been asked for, and is on now.
        """
        # "-": it is off. The two others are of an older version.
        off = {name[1:] for name in names if name.startswith("-")}
        on = frozenset[str]().union(*self._asked).intersection(name.lstrip("~=") for name in names)
        self.enabled = (self.enabled | on) - off
        self._asked = [left for asked in self._asked if (left := asked - on - off)]
        return on

    def _refused(self, names: frozenset[str]) -> Iterator[Command]:
        """A server refuses a request as a whole (Capability Negotiation 302): ask for each alone then."""
        refused = next((asked for asked in self._asked if names <= asked), None)
        if refused is None:
            return
        self._asked.remove(refused)
        if len(refused) > 1:
            for name in sorted(refused):
                yield self._ask([name])
        elif "sasl" in refused and self._login:
            self._fail("the server refuses SASL")

    # --- Logging in ---------------------------------------------------------------------------------------------

    def _request_login(self) -> Iterator[Command]:
        mechanisms = self.available.get("sasl")
        if mechanisms is None:
            self._fail("the server does not offer SASL")
        elif mechanisms and "PLAIN" not in mechanisms.upper().split(","):
            self._fail(f"the server does not offer SASL's PLAIN, but {mechanisms}")
        elif not any("sasl" in asked for asked in self._asked):
            yield self._ask(["sasl"])  # alone: what else is refused shall not concern it

    def _on_authenticate(self, challenge: str) -> list[Command]:
        if challenge != "+" or self._login is None or not self._authenticating:
            return []
        self._authenticating = False
        name, password = self._login
        return [("AUTHENTICATE", chunk) for chunk in _chunks(f"\0{name}\0{password}")]


def _chunks(response: str) -> Iterator[str]:
    """Cut up a response, so that a chunk which is not full ends it: a mere plus sign, if need be (SASL 3.1)."""
    encoded = base64.b64encode(response.encode()).decode("ascii")
    for start in range(0, len(encoded) + 1, CHUNK_LETTERS):
        yield encoded[start : start + CHUNK_LETTERS] or "+"
