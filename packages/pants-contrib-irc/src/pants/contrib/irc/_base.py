"""The protocol of IRC, as clients and servers have it in common (manual: "BaseIRC")."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from pants._channel import log
from pants._settings import Setting
from pants.contrib.irc._ctcp import ctcpQuote, tagged
from pants.contrib.irc._message import Fields, MalformedLine, Message, compose, compose_tags, take_apart
from pants.contrib.irc._pacing import Pacer
from pants.contrib.irc._splitting import split_text
from pants.contrib.irc._text import checked_encoding, decode_line
from pants.stream import Stream

__all__ = ["BaseIRC"]

# In bytes, with the CR LF at its end, but without tags (RFC 2812 §2.3).
LONGEST_LINE: Final = 512
# In bytes, with the @ before and the space behind them (IRCv3 "Message Tags"): what clients may send, and servers.
LONGEST_CLIENT_TAGS: Final = 4096
LONGEST_TAGS: Final = 8191

# With this a line begins that has tags.
AT_SIGN: Final = ord("@")

# What a server will put before a message for those who get it: a nick of 30, a user name of 12 and a host of 64, which
# is more than most servers allow, with the : ! @ and space that belong to them.
LONGEST_SOURCE: Final = 30 + 12 + 64 + 4


class BaseIRC(Stream):
    """One end of a connection that speaks IRC, a client's or a server's (manual: "BaseIRC").

    What comes in is taken apart and passed to `irc_command`; PING is answered. `IRCClient` adds what a client has to
    know. A server may be built on it with `pants.Server`; ``examples/irc_server.py`` is one.

    The hooks of `Stream` are used by the class itself: override `irc_connect`, `irc_command` and `irc_close`.

    Args:
        encoding: How lines are encoded. What it cannot decode is taken for UTF-8, else for Latin-1. In what is sent,
            there is a question mark for each character that it lacks.
        **kwargs: As for `Stream`.

    Raises:
        LookupError: There is no such encoding of text.
        TypeError: An argument is of the wrong type.
        ValueError: The encoding's ASCII is not ASCII, as with UTF-16; or as for `Stream`.

    Example:
        >>> from pants import Engine, Server
        >>> from pants.contrib.irc import BaseIRC
        >>> from pants.testing import run_until
        >>> class Parrot(BaseIRC):
        ...     def irc_command(self, command, args, nick, user, host):
        ...         self.send_command(command, *args, _prefix="parrot.example.org")
        >>> class Listener(BaseIRC):
        ...     heard = None
        ...     def irc_connect(self):
        ...         self.message("#spam", "Hello, World!")
        ...     def irc_command(self, command, args, nick, user, host):
        ...         self.heard = (command, args, host)
        >>> listener = Listener().connect(Server(Parrot).listen(("127.0.0.1", 0)).local_address)
        >>> run_until(lambda: listener.heard)
        ('PRIVMSG', ['#spam', 'Hello, World!'], 'parrot.example.org')
    """

    # Not for the room that they save: they are quicker to get at, and each line needs some.
    __slots__ = ("_cancel_pacing", "_codec", "_fields", "_held_back", "_pacer", "_paused_by_user")

    if TYPE_CHECKING:
        flood_interval: float | None
        flood_burst: int | None
        flood_queue: int | None
    else:
        flood_interval = Setting(
            None, "Seconds for each line that is sent, on the average; or None, for no flood control.", above_zero=True
        )
        flood_burst = Setting(
            5, "The number of lines that may be sent at once after a pause; or None, for any.", above_zero=True
        )
        flood_queue = Setting(1000, "The number of lines that may wait for flood control; or None, for any.")

    #: The source that is put before what is sent where no other is given: a server's name. None for clients.
    prefix: str | None = None

    def __init__(self, encoding: str = "utf-8", **kwargs: Any) -> None:
        self.encoding = encoding
        super().__init__(**kwargs)
        self._begin()

    @property
    def encoding(self) -> str:
        """The name of the encoding. It may be set, and rules from the next line on.

        Raises:
            LookupError: As for the class.
            TypeError: As for the class.
            ValueError: As for the class.
        """
        return self._codec

    @encoding.setter
    def encoding(self, name: str) -> None:
        self._codec = checked_encoding(name)

    @property
    def received(self) -> Message | None:
        """The message that was received last: in a hook, the one that it is about, with its tags."""
        return None if self._fields is None else Message._make(self._fields)

    def _begin(self) -> None:
        """Be as for a new connection."""
        self._fields: Fields | None = None
        self._pacer = Pacer()
        self._cancel_pacing: Callable[[], None] | None = None
        # Reading is paused for either of these.
        self._held_back = self._paused_by_user = False
        self.read_delimiter = b"\n"  # some end their lines with a mere LF
        self.buffer_size = LONGEST_TAGS + LONGEST_LINE

    def _renew(self) -> None:
        super()._renew()
        self._begin()

    # --- Hooks --------------------------------------------------------------------------------------------------

    def irc_connect(self) -> None:
        """Called when the connection is made, at either end. Does nothing by default (manual: "irc_connect")."""

    def irc_command(self, command: str, args: list[str], nick: str, user: str, host: str) -> None:
        """Called for each line that is a command. Does nothing by default (manual: "irc_command").

        Of the source, any part that the line does not tell is empty.

        Args:
            command: In upper case, or three digits.
            args: What it is about; the last may hold spaces.
            nick: Who it is from, where that is a user.
            user: The user name that goes with the nick.
            host: The user's host; where a server is the source, its name.
        """

    def irc_malformed(self, line: str, exception: MalformedLine) -> None:
        """Called with a line that is no command. By default, it is dropped, with a line in the log at DEBUG."""
        log.debug("%r has received %r: %s", self, line, exception)

    def irc_close(self) -> None:
        """Called when the connection is over, or could not be made. Does nothing by default (manual: "irc_close")."""

    # --- Receiving ----------------------------------------------------------------------------------------------

    def on_connect(self) -> None:
        """Call `irc_connect`."""
        self.irc_connect()

    def on_close(self) -> None:
        """Call `irc_close`."""
        self.irc_close()

    def on_high_water(self) -> None:
        """Read nothing more until the peer has taken what is queued, for it may be the answers to what it sends."""
        self._held_back = True
        super().pause_reading()

    def on_write(self) -> None:
        """Go on reading, where `on_high_water` has stopped that."""
        if self._held_back:
            self._held_back = False
            if not self._paused_by_user:
                super().resume_reading()

    def pause_reading(self) -> None:
        """As `pants.Stream.pause_reading`. What `on_high_water` does is apart from it."""
        self._paused_by_user = True
        super().pause_reading()

    def resume_reading(self) -> None:
        """Undo `pause_reading`; a peer that has yet to take what is queued is read from after that."""
        self._paused_by_user = False
        if not self._held_back:
            super().resume_reading()

    def on_read(self, line: bytes) -> None:
        """Take a line apart, and have it seen to."""
        line = line.rstrip(b"\r")
        if not line:  # means nothing, and is no fault (RFC 2812 §2.3.1)
            return
        try:
            # Quickly, what most lines are like.
            text = line.decode(self._codec) if line[0] != AT_SIGN else decode_line(line, self._codec)
        except UnicodeDecodeError:
            text = decode_line(line, self._codec)
        try:
            fields = take_apart(text)
        except MalformedLine as exception:
            self.irc_malformed(text, exception)
            return
        self._fields = fields
        self._dispatch(fields)

    def _dispatch(self, fields: Fields) -> None:
        """See to a message: answer it if need be, and call `irc_command`."""
        command, args, nick, user, host, _ = fields
        if command == "PING":
            self._answer_ping(args)
        self.irc_command(command, args, nick, user, host)

    def _answer_ping(self, args: list[str]) -> None:
        if self.prefix is not None:
            # RFC 2812 §3.7.3, with the name of the server first, and then whatever it was asked with.
            args = [self.prefix, *args[:1]]
        try:
            self._send_urgently("PONG", *args)
        except ValueError as exception:  # what was asked with is too long to be given back
            log.debug("%r has received a PING that cannot be answered: %s", self, exception)

    # --- Sending ------------------------------------------------------------------------------------------------

    def send_command(
        self,
        command: str,
        *args: str | int,
        _prefix: str | None = None,
        _tags: Mapping[str, str | None] | None = None,
    ) -> None:
        """Put a command together, and send it (manual: "send_command").

        Args:
            command: Letters, or three digits.
            *args: Its arguments. Only the last one may hold spaces, be empty, or begin with a colon.
            _prefix: What to put before it, as its source; by default `prefix`.
            _tags: Message tags for it (IRCv3), not escaped; a value may be None.

        Raises:
            RuntimeError: The channel is not connected, or closed; or too much waits for flood control.
            TypeError: An argument is of the wrong type.
            ValueError: An argument cannot be sent as what it is (a CR or LF in it, say), or the line is longer than
                512 bytes.
        """
        self._send_line(self._line(command, args, _prefix, _tags), urgent=False)

    def _send_urgently(self, command: str, *args: str | int) -> None:
        """Send a command past what waits for flood control."""
        self._send_line(self._line(command, args), urgent=True)

    def message(self, destination: str, message: str, _ctcpQuote: bool = True, _prefix: str | None = None) -> None:
        r"""Say something to a user, or in a channel (manual: "message").

        What is too long for one line is sent as several, each short enough to be passed on whole by a server. They are
        cut at spaces if possible.

        Args:
            destination: Whom to tell it: a nick, a channel, or several with commas between them.
            message: The text.
            _ctcpQuote: Whether to quote it for CTCP (see `ctcpQuote`). If not, it must have no NUL, CR or LF in it.
            _prefix: What to put before it, as its source; by default `prefix`.

        Raises:
            RuntimeError: The channel is not connected, or closed; or too much waits for flood control.
            TypeError: An argument is not a str.
            ValueError: The text is empty; an argument cannot be sent as what it is; or a CTCP message in the text (a
                part between two ``\x01``) is too long for a line.
        """
        self._send_text("PRIVMSG", destination, message, _ctcpQuote, _prefix)

    def notice(self, destination: str, message: str, _ctcpQuote: bool = True, _prefix: str | None = None) -> None:
        """As `message`, but by a notice, which no program may answer (manual: "notice").

        Args:
            destination: As for `message`.
            message: As for `message`.
            _ctcpQuote: As for `message`.
            _prefix: As for `message`.

        Raises:
            RuntimeError: As `message`.
            TypeError: As `message`.
            ValueError: As `message`.
        """
        self._send_text("NOTICE", destination, message, _ctcpQuote, _prefix)

    def _send_text(self, command: str, destination: str, text: str, quote: bool, prefix: str | None) -> None:
        if not isinstance(text, str):
            raise TypeError(f"a message is a str, not {text!r}")
        if not text:
            raise ValueError("an empty message cannot be sent; servers refuse it (412)")
        if quote:
            text = ctcpQuote(text)
        head = self._line(command, [destination, ""], prefix)
        room = LONGEST_LINE - len(head)
        if not head.startswith(b":"):
            room -= self._source_room()
        pieces = split_text(text, room, lambda piece: len(self._encode(piece)))
        # All are made before the first is sent: an error leaves nothing half sent.
        lines = [self._line(command, [destination, piece], prefix) for piece in pieces]
        self._send_lines(lines)

    def action(self, destination: str, text: str) -> None:
        """Send what one does, rather than says: ``/me`` of many clients (CTCP ACTION).

        Args:
            destination: As for `message`.
            text: What follows one's name.

        Raises:
            RuntimeError: As `message`.
            TypeError: As `message`.
            ValueError: As `message`; the text is too long for a line.
        """
        self.ctcp(destination, "ACTION", text)

    def ctcp(self, destination: str, command: str, text: str | None = None) -> None:
        """Send a CTCP request.

        Args:
            destination: As for `message`.
            command: The command, one word: ``"VERSION"``.
            text: What goes with it.

        Raises:
            RuntimeError: As `message`.
            TypeError: As `message`.
            ValueError: As `message`; the command is not one word; all of it is too long for a line.
        """
        self.message(destination, tagged(command, text))

    def ctcp_reply(self, nick: str, command: str, text: str | None = None) -> None:
        """Send the answer to a CTCP request, which is a notice.

        Args:
            nick: Who asked.
            command: What was asked for.
            text: The answer.

        Raises:
            RuntimeError: As `ctcp`.
            TypeError: As `ctcp`.
            ValueError: As `ctcp`.
        """
        self.notice(nick, tagged(command, text))

    def quit(self, reason: str | None = None, _prefix: str | None = None) -> None:
        """Take leave of the server, which closes the connection then (manual: "quit").

        It is sent at once. What waits for flood control is dropped.

        Args:
            reason: What others are told, in place of what the server has for that.
            _prefix: What to put before it, as its source; by default `prefix`.

        Raises:
            RuntimeError: The channel is not connected, or closed.
            TypeError: An argument is of the wrong type.
            ValueError: As `send_command`.
        """
        line = self._line("QUIT", [] if reason is None else [reason], _prefix)
        self._drop_waiting()
        self._send_line(line, urgent=True)

    def _encode(self, text: str) -> bytes:
        return text.encode(self._codec, "replace")

    def _source_room(self) -> int:
        """How many bytes a server puts before what we send, for those who get it: the colon, source and space."""
        return LONGEST_SOURCE

    def _line(
        self,
        command: str,
        args: list[str] | tuple[str | int, ...],
        prefix: str | None = None,
        tags: Mapping[str, str | None] | None = None,
    ) -> bytes:
        """Make a line, and see to its length."""
        prefix = self.prefix if prefix is None else prefix
        line = self._encode(compose(command, args, prefix)) + b"\r\n"
        if len(line) > LONGEST_LINE:
            raise ValueError(f"a line of {len(line)} bytes, with CR LF, is longer than the {LONGEST_LINE} of RFC 2812")
        if not tags:
            return line
        section = compose_tags(tags).encode("utf-8", "replace")  # as IRCv3 has it, whatever the rest is in
        longest = LONGEST_CLIENT_TAGS if prefix is None else LONGEST_TAGS
        if len(section) > longest:
            raise ValueError(f"tags of {len(section)} bytes, with @ and space, are longer than the {longest} of IRCv3")
        return section + line

    def close(self, flush: bool = True) -> None:
        """Close the connection (manual: "Stream.close").

        Args:
            flush: Send what is queued first; what waits for flood control too, and at once.
        """
        if flush and self.connected:
            self.write(b"".join(self._pacer.waiting))
        self._drop_waiting()
        super().close(flush)

    # --- Flood control ------------------------------------------------------------------------------------------

    def _send_line(self, line: bytes, urgent: bool) -> None:
        """Send a line when it is due."""
        if not urgent:
            self._send_lines([line])
            return
        self.write(line)
        if self.flood_interval is not None:
            self._pacer.count(self.engine.time, self.flood_interval)

    def _send_lines(self, lines: list[bytes]) -> None:
        """Send lines when they are due, all or, by an error, none."""
        waiting = self._pacer.waiting
        if self.flood_interval is None or self.flood_burst is None:
            if waiting:  # since before it was turned off
                self._send_due()
            self.write(b"".join(lines))
            return
        if not self.connected:
            raise self._not_connected("write")
        if self.flood_queue is not None and len(waiting) + len(lines) > self.flood_queue:
            raise RuntimeError(
                f"{len(waiting)} lines wait for flood control on {self!r}; with {len(lines)} more it would be over the "
                f"flood_queue of {self.flood_queue:g}"
            )
        waiting.extend(lines)
        self._send_due()

    def _send_due(self) -> None:
        """Send what is due of what waits for flood control, and come back for the rest."""
        self._stop_pacing()  # what it waits for may have been changed
        waiting = self._pacer.waiting
        while waiting and self.connected:
            now = self.engine.time
            interval, burst = self.flood_interval, self.flood_burst
            if interval is not None and burst is not None:
                delay = self._pacer.delay(now, interval, burst)
                if delay:
                    self._cancel_pacing = self.engine.defer(delay, self._send_due)
                    return
                self._pacer.count(now, interval)
            self.write(waiting.popleft())

    def _drop_waiting(self) -> None:
        self._pacer.waiting.clear()
        self._stop_pacing()

    def _stop_pacing(self) -> None:
        if self._cancel_pacing is not None:
            self._cancel_pacing()
            self._cancel_pacing = None
