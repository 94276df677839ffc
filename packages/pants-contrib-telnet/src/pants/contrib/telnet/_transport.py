"""A stream with Telnet's commands in it: taking them out of what is received, and putting them among what is sent.

What they mean, `pants.contrib.telnet._connection.TelnetConnection` knows.
"""

from __future__ import annotations

import contextlib
from socket import SO_OOBINLINE, SOL_SOCKET
from typing import TYPE_CHECKING, Any, Self

from pants._channel import NOT_ASKED, OWN_EVENT
from pants._send_queue import FileSlice
from pants._settings import Setting
from pants.contrib.telnet._codes import check_code
from pants.contrib.telnet._machine import (
    CR_NUMBER,
    IAC_NUMBER,
    NEGOTIATION,
    SUBNEGOTIATION_LIMIT,
    Command,
    Escaper,
    Instruction,
    Machine,
    Negotiation,
    sequence,
    subnegotiation,
)
from pants.errors import BufferOverflow
from pants.stream import Stream, _as_bytes

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

    from pants._tls import SSLOptions


class TelnetTransport(Stream):
    """The mechanics of a Telnet connection, and the hooks that they call."""

    __slots__ = ("_binary_in", "_binary_out", "_escaper", "_machine")

    #: Whether line ends are those of a network virtual terminal (RFC 854), as they have to be for Telnet proper: a CR
    #: that no LF follows is sent as ``CR NUL``, and ``CR NUL`` is received as CR. Where BINARY is in effect in one
    #: direction it is not done there. Turn it off for a peer that sends such bytes as they are.
    nvt: bool = True

    if TYPE_CHECKING:
        subnegotiation_limit: float | None
    else:
        subnegotiation_limit = Setting(
            SUBNEGOTIATION_LIMIT,
            "The longest subnegotiation, in bytes; a longer one ends in `on_overflow_error`. None for no limit.",
        )

    def __init__(self, **kwargs: Any) -> None:
        self._machine = Machine()
        self._escaper = Escaper()
        self._binary_in = self._binary_out = False  # whether BINARY is in effect
        super().__init__(**kwargs)
        self._need_framer()  # with which the way of all that is received leads through _hand_out()

    # --- Hooks ----------------------------------------------------------------------------------------------------

    def on_command(self, command: bytes) -> None:
        """Called with a command that neither negotiates nor subnegotiates: `AYT`, say (manual: "on_command").

        What was received before it has been passed to `on_read` by then, as far as it was complete.

        Args:
            command: The byte that stands for it. It need not be one of those that are defined.
        """

    def on_option(self, command: bytes, option: bytes) -> None:
        """Called when the peer negotiates an option (manual: "on_option").

        Args:
            command: `DO`, `DONT`, `WILL` or `WONT`.
            option: The byte that stands for the option.
        """

    def on_subnegotiation(self, option: bytes, data: bytes) -> None:
        """Called when a subnegotiation has been received (manual: "on_subnegotiation").

        Args:
            option: The byte that stands for the option.
            data: What it consists of; a doubled IAC is one here.
        """

    def on_malformed_subnegotiation(self, option: bytes, data: bytes) -> None:
        """Called with what was received of a subnegotiation which another command than `SE` has ended (RFC 855).

        By default, nothing is done about it. The command comes next.

        Args:
            option: The byte that stands for the option, or nothing if there was none.
            data: What was received of it.
        """

    # --- Receiving ------------------------------------------------------------------------------------------------

    def _begin_connected(self, how: str) -> None:
        # A Synch has its data mark sent as urgent data (RFC 854). The kernel takes that out of its place, unless told
        # not to, and leaves an IAC with nothing behind it.
        with contextlib.suppress(OSError):
            self.socket.setsockopt(SOL_SOCKET, SO_OOBINLINE, True)  # type: ignore[union-attr]
        super()._begin_connected(how)

    def _hand_out(self, data: bytes) -> None:
        if data and self._attention_asked == NOT_ASKED:
            self._attention_asked = OWN_EVENT  # what is written is sent right after the event that brought the data
        framer = self._read_framer
        if not self._machine.passes(data):
            self._take_apart(data)
        elif data and framer._delimiter is None and not framer.pending:  # type: ignore[union-attr]
            # The common case, quickly: a framer would do no more. Otherwise as Transport._hand_out().
            engine = self.engine
            self._last_traffic = engine.time
            engine.current = self
            try:
                self.on_read(data)
            except Exception as exception:  # noqa: BLE001 - hooks are contained
                self._contain(exception)
            except BaseException:
                self._attend_soon()
                raise
            finally:
                engine.current = None
        else:
            super()._hand_out(data)
        if self._attention_asked == OWN_EVENT:
            self._attention_asked = NOT_ASKED

    def _take_apart(self, data: bytes) -> None:
        """Hand out received bytes that are not all data, or do not stand for themselves."""
        self._last_traffic = self.engine.time
        if self._read_recheck or not data:
            super()._hand_out(b"")  # reading goes on: what was taken out before comes first
        self._machine.feed(data)
        try:
            self._hand_out_events()
        except BaseException:
            self._read_recheck = True
            self._attend_soon()  # as in _call_hook()
            raise

    def _hand_out_events(self) -> None:
        machine = self._machine
        machine.subnegotiation_limit = self.subnegotiation_limit
        while self._may_read:
            machine.nvt = self.nvt and not self._binary_in
            try:
                event = machine.next_event()
            except BufferOverflow as error:
                self._call_hook(self.on_overflow_error, error)
                error.__traceback__ = None  # as in _contain()
                continue
            if event is None:
                return
            if isinstance(event, bytes):
                super()._hand_out(event)
            else:
                self._hand_out_command(event)

    def _hand_out_command(self, event: Instruction) -> None:
        framer = self._read_framer
        assert framer is not None
        rule = (framer.delimiter, framer.limit, framer.regex_search)
        if isinstance(event, Command):
            self._call_hook(self.on_command, event.command)
        elif isinstance(event, Negotiation):
            self._call_hook(self.on_option, event.command, event.option)
        elif event.complete:
            self._call_hook(self.on_subnegotiation, event.option, event.data)
        else:
            self._call_hook(self.on_malformed_subnegotiation, event.option, event.data)
        if rule != (framer.delimiter, framer.limit, framer.regex_search) and self._may_read:
            super()._hand_out(b"")  # what waits before the command may be complete now

    def _read_buffered(self) -> None:
        if self._machine.pending and self._read_framer is not None and not self._read_framer.pending:
            self._hand_out(b"")
        super()._read_buffered()

    def _start_handshake(self) -> None:
        self._machine.clear()  # what came in clear is not to be taken for protected
        super()._start_handshake()

    def startSSL(self, ssl_options: SSLOptions = {}) -> Self:  # noqa: B006 - the manual's default
        """See `pants.Stream.startSSL`."""
        super().startSSL(ssl_options)
        self._escaper.end()  # what is protected does not complete a CR in clear
        return self

    start_ssl = startSSL

    # --- Sending --------------------------------------------------------------------------------------------------

    def write(self, data: ReadableBuffer, flush: bool = False) -> None:
        """Queue data to be sent (manual: "TelnetConnection.write").

        It arrives as it is, whatever is in it: IAC is doubled, and see `nvt`. Commands have methods of their own.

        Args:
            data: Bytes, or another object with bytes in it.
            flush: Send now; see `pants.Stream.flush`.

        Raises:
            RuntimeError: The channel is not connected, or closed.
            TypeError: ``data`` is not bytes; a str has to be encoded.
        """
        if data.__class__ is not bytes or self._escaper.after_cr or IAC_NUMBER in data or CR_NUMBER in data:
            data = self._escaped(data)
        super().write(data, flush)

    def _escaped(self, data: ReadableBuffer) -> bytes:
        if not self.connected:
            raise self._not_connected("write")
        as_bytes = data if isinstance(data, bytes) else _as_bytes(data)
        return self._escaper.escape(as_bytes, self.nvt and not self._binary_out)

    def write_file(self, sfile: Any, nbytes: int = 0, offset: int = 0, flush: bool = False) -> None:
        """Queue a file, or a part of one, to be sent (manual: "TelnetConnection.write_file").

        As `pants.Stream.write_file`, but that it arrives as it is, as `write` says, and so is read in pieces.

        Args:
            sfile: A file opened in binary mode.
            nbytes: The number of bytes of the file; 0 for all from ``offset`` on.
            offset: From the start of the file, in bytes, wherever the file's own position is.
            flush: Send now; see `pants.Stream.flush`.

        Raises:
            RuntimeError: The channel is not connected, or closed.
            TypeError: ``sfile`` is not a file of bytes, or a number is not an int.
            ValueError: As of `pants.Stream.write_file`.
        """
        if not self.connected:
            raise self._not_connected("write_file")
        item = EscapedSlice(sfile, nbytes, offset, self.nvt and not self._binary_out)
        if item.size:
            # What the file begins and ends with is not known yet. So a CR before it, and one at its end, are completed
            # as if no LF followed: that one arrives the same.
            self._send_raw(self._escaper.end())
        self._write_slice(item)
        if flush:
            self.flush()

    def send_command(self, command: bytes, flush: bool = False) -> None:
        """Queue a command to be sent, such as `AYT`.

        Args:
            command: The byte that stands for it. `SB` and `SE`, and those that need an option, have methods of their
                own.
            flush: Send now; see `pants.Stream.flush`.

        Raises:
            RuntimeError: The channel is not connected, or closed.
            TypeError, ValueError: ``command`` is not one byte, or has a method of its own.
        """
        check_code(command, "a command")
        if command in _NOT_BY_ITSELF:
            raise ValueError(f"{command!r} is sent by send_option(), send_subnegotiation() or write()")
        self._send_checked("send_command", sequence(command), flush)

    def send_option(self, command: bytes, option: bytes, flush: bool = False) -> None:
        """Queue the negotiation of an option to be sent, just so: no account is kept of it.

        It is for those who have overridden `on_option`. Otherwise use `TelnetConnection.enable_local` and its like.

        Args:
            command: `DO`, `DONT`, `WILL` or `WONT`.
            option: The byte that stands for the option.
            flush: Send now; see `pants.Stream.flush`.

        Raises:
            RuntimeError: The channel is not connected, or closed.
            TypeError, ValueError: ``command`` is none of the four, or ``option`` not one byte.
        """
        check_code(command, "a command")
        check_code(option, "an option")
        if command not in NEGOTIATION:
            raise ValueError(f"an option is negotiated by DO, DONT, WILL and WONT, not by {command!r}")
        self._send_checked("send_option", sequence(command, option), flush)

    def send_subnegotiation(self, option: bytes, data: ReadableBuffer = b"", flush: bool = False) -> None:
        """Queue a subnegotiation to be sent.

        Args:
            option: The byte that stands for the option.
            data: What it consists of; IAC is doubled.
            flush: Send now; see `pants.Stream.flush`.

        Raises:
            RuntimeError: The channel is not connected, or closed.
            TypeError, ValueError: ``option`` is not one byte, or ``data`` not bytes.
        """
        check_code(option, "an option")
        self._send_checked("send_subnegotiation", subnegotiation(option, _as_bytes(data)), flush)

    def _send_checked(self, method: str, data: bytes, flush: bool) -> None:
        if not self.connected:
            raise self._not_connected(method)
        self._send_raw(data, flush)

    def _send_raw(self, data: bytes, flush: bool = False) -> None:
        """Queue what is not data, or is escaped already."""
        super().write(data, flush)


# What send_command() does not send, for it would begin something that it does not end.
_NOT_BY_ITSELF = NEGOTIATION | {b"\xff", b"\xfa", b"\xf0"}


class EscapedSlice(FileSlice):
    """A part of a file, in which what has a meaning to Telnet is escaped as it is read.

    Args:
        sfile: As of `FileSlice`.
        nbytes: As of `FileSlice`.
        offset: As of `FileSlice`.
        nvt: Whether it is for an NVT when it is queued.

    Raises:
        TypeError, ValueError: As of `FileSlice`.
    """

    __slots__ = ("_escaper", "_nvt")

    def __init__(self, sfile: Any, nbytes: int, offset: int, nvt: bool) -> None:
        super().__init__(sfile, nbytes, offset)
        self._escaper = Escaper()
        self._nvt = nvt

    def send_to(self, sock: object) -> None:
        """See `FileSlice`: the kernel cannot send from it."""

    def read(self) -> bytes:
        """See `FileSlice`."""
        data = self._escaper.escape(super().read(), self._nvt)
        return data if self.size else data + self._escaper.end()
