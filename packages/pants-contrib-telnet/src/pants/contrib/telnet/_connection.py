"""A Telnet connection: what users see of one (manual: "TelnetConnection").

The way of what is received: `TelnetTransport` hands out commands; here those that are about options are answered, and
what has come of them is told to hooks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from typing import TYPE_CHECKING, Any, Final

from pants._settings import Setting
from pants.contrib.telnet._codes import BINARY, CHARSET, DO, DONT, NAWS, TTYPE, check_code, check_options
from pants.contrib.telnet._machine import sequence, subnegotiation
from pants.contrib.telnet._negotiator import Negotiator
from pants.contrib.telnet._options import (
    CHARSET_ACCEPTED,
    CHARSET_REJECTED,
    CHARSET_REQUEST,
    TTYPE_SEND,
    TypeList,
    TypeQuery,
    check_names,
    choose_charset,
    decode_charset_request,
    decode_name,
    decode_window_size,
    encode_charset_request,
    encode_name,
    encode_window_size,
)
from pants.contrib.telnet._transport import TelnetTransport
from pants.errors import BufferOverflow

# The answers to what a peer negotiates that may be in the send queue, in bytes, up to twice as many: one who asks
# without end and reads nothing gets no more. A whole negotiation of some twenty options has a few hundred.
ANSWERS_LIMIT: Final = 65536


class Checked(Setting):
    """A setting that is no number.

    Args:
        default: What it is as long as it is not set.
        doc: What it is for.
        check_value: Called with a value, and the setting's name; raises unless the value will do.
    """

    def __init__(self, default: Any, doc: str, check_value: Callable[[Any, str], None]) -> None:
        super().__init__(default, doc)
        self._check_value = check_value

    def check(self, value: Any) -> None:
        """See `Setting.check`."""
        self._check_value(value, self.name)


class TelnetConnection(TelnetTransport):
    r"""A connection that speaks Telnet, at either end (manual: "TelnetConnection").

    It is a `pants.Stream` that takes Telnet's commands out of what is received. `on_read` gets the data, cut up as
    `read_delimiter` says; `on_command`, `on_option` and `on_subnegotiation` get the rest, in the order in which it
    came.

    Options are negotiated by the method of RFC 1143, which never loops. What the peer asks for is refused, unless it is
    among `local_options` or `remote_options`; `enable_local` and `enable_remote` ask by themselves; `on_option_changed`
    tells what has come of it. Some options have a hook or an attribute of their own:

    ========  ==============================================================  =========================================
    option    to have the peer use it: ``enable_remote(OPTION)``, and ...     to use it: in `local_options`, and ...
    ========  ==============================================================  =========================================
    NAWS      `on_window_size`                                                `window_size`
    TTYPE     `on_terminal_type`                                              `terminal_types`
    CHARSET   `request_charset`, `on_charset`                                 `charsets`, `on_charset`
    BINARY    CR and NUL are received as they are                             ... and sent so, once it is on
    TM        `on_option_changed`, when the peer has come so far              it is answered, each time
    ECHO      the peer is to echo                                             ``enable_local(ECHO)``: see below
    ========  ==============================================================  =========================================

    A server hides what is typed, a password say, by ``enable_local(ECHO)``: the client believes that it is echoed, and
    does not show it. ``disable_local(ECHO)`` ends that. ``enable_local(SGA)`` besides turns most clients from lines to
    single characters.

    These are what `on_option` and `on_subnegotiation` do. Overridden without a call of ``super()``, nothing is answered
    by itself, as in the manual.

    Args:
        **kwargs: As of `pants.Stream`: engine, socket, ssl_options, server.

    Raises:
        TypeError, ValueError: As of `pants.Stream`.

    Example:
        >>> from pants import Engine
        >>> from pants.contrib.telnet import NAWS, TelnetConnection, TelnetServer
        >>> class Server(TelnetConnection):
        ...     def on_connect(self):
        ...         self.enable_remote(NAWS)
        ...     def on_window_size(self, width, height):
        ...         self.write(b"%d columns\r\n" % width)
        >>> class Client(TelnetConnection):
        ...     local_options = frozenset({NAWS})
        ...     def on_connect(self):
        ...         self.read_delimiter = b"\r\n"
        ...         self.window_size = (132, 43)
        ...     def on_read(self, line):
        ...         print(line)
        ...         self.engine.stop()
        >>> server = TelnetServer(Server).listen(("127.0.0.1", 0))
        >>> client = Client().connect(server.local_address)
        >>> Engine.instance().start()
        b'132 columns'
    """

    __slots__ = (
        "_answered",
        "_charset_requested",
        "_negotiator",
        "_type_list",
        "_type_query",
        "_window_size",
    )

    if TYPE_CHECKING:
        local_options: Set[bytes]
        remote_options: Set[bytes]
        terminal_types: Sequence[str]
        charsets: Sequence[str]
    else:
        local_options = Checked(
            frozenset(), "The options that this end agrees to perform when the peer asks (DO).", check_options
        )
        remote_options = Checked(
            frozenset(), "The options that the peer may perform when it offers to (WILL).", check_options
        )
        terminal_types = Checked(
            ("UNKNOWN",),
            "The names of the terminals that this end can be, the best first: what TTYPE answers (RFC 1091).",
            check_names,
        )
        charsets = Checked(
            (),
            "The names of the character sets that this end accepts when the peer offers them by CHARSET (RFC 2066).",
            check_names,
        )

    def __init__(self, **kwargs: Any) -> None:
        self._negotiator = Negotiator()
        self._answered = 0  # bytes of answers that may be in the send queue
        self._window_size: tuple[int, int] | None = None
        self._type_list = TypeList()
        self._type_query = TypeQuery()
        self._charset_requested = False
        super().__init__(**kwargs)

    # --- Hooks ----------------------------------------------------------------------------------------------------

    def on_option_changed(self, option: bytes, local: bool, enabled: bool) -> None:
        """Called when an option has been turned on or off, by either end; and when the peer has refused to.

        Args:
            option: The option.
            local: Whether this end is the one that performs it, or would.
            enabled: Whether it is on now.
        """

    def on_window_size(self, width: int, height: int) -> None:
        """Called with the size of the peer's window, at first and when it has changed (NAWS, RFC 1073).

        Args:
            width: The number of columns; 0 if the peer does not know.
            height: The number of lines; 0 likewise.
        """

    def on_terminal_type(self, name: str) -> None:
        """Called with a terminal type of the peer's, the one that it prefers first (TTYPE, RFC 1091).

        Args:
            name: At most 40 characters of ASCII; usually in upper case, but that need not be.
        """

    def on_charset(self, name: str | None) -> None:
        """Called when the ends have agreed on a character set; or when the peer has refused all (CHARSET, RFC 2066).

        Nothing is done about the data, which is bytes.

        Args:
            name: The name, as whoever offered it wrote it; None for a refusal of what `request_charset` offered.
        """

    # --- Options --------------------------------------------------------------------------------------------------

    def enable_local(self, option: bytes) -> None:
        """Ask for this end to perform an option (WILL). Nothing is sent if it does, or that has been asked for.

        Args:
            option: The option.

        Raises:
            RuntimeError: The channel is not connected, or closed.
            TypeError, ValueError: ``option`` is not one byte.
        """
        self._ask("enable_local", option, True, True)

    def disable_local(self, option: bytes) -> None:
        """Have this end not perform an option any more (WONT). From now on it does not.

        Args:
            option: The option.

        Raises:
            RuntimeError: The channel is not connected, or closed.
            TypeError, ValueError: ``option`` is not one byte.
        """
        self._ask("disable_local", option, True, False)

    def enable_remote(self, option: bytes) -> None:
        """Ask for the peer to perform an option (DO). Nothing is sent if it does, or that has been asked for.

        Args:
            option: The option.

        Raises:
            RuntimeError: The channel is not connected, or closed.
            TypeError, ValueError: ``option`` is not one byte.
        """
        self._ask("enable_remote", option, False, True)

    def disable_remote(self, option: bytes) -> None:
        """Have the peer not perform an option any more (DONT). Until it has answered, it does.

        Args:
            option: The option.

        Raises:
            RuntimeError: The channel is not connected, or closed.
            TypeError, ValueError: ``option`` is not one byte.
        """
        self._ask("disable_remote", option, False, False)

    def local_enabled(self, option: bytes) -> bool:
        """Whether this end performs an option.

        Args:
            option: The option.

        Raises:
            TypeError, ValueError: ``option`` is not one byte.
        """
        check_code(option, "an option")
        return self._negotiator.local_enabled(option)

    def remote_enabled(self, option: bytes) -> bool:
        """Whether the peer performs an option.

        Args:
            option: The option.

        Raises:
            TypeError, ValueError: ``option`` is not one byte.
        """
        check_code(option, "an option")
        return self._negotiator.remote_enabled(option)

    def _ask(self, method: str, option: bytes, local: bool, on: bool) -> None:
        check_code(option, "an option")
        if not self.connected:
            raise self._not_connected(method)
        side = self._negotiator.local if local else self._negotiator.remote
        if command := side.ask(option, on):
            self._send_raw(self._negotiation(command, option))
        self._note_binary()

    def on_option(self, command: bytes, option: bytes) -> None:
        """Called when the peer negotiates an option (manual: "on_option").

        By default it is answered, as the class says. Overridden without a call of ``super()``, it is not.

        Args:
            command: `DO`, `DONT`, `WILL` or `WONT`.
            option: The byte that stands for the option.
        """
        agreed = self.local_options if command in (DO, DONT) else self.remote_options
        heard = self._negotiator.hear(command, option, option in agreed)
        self._note_binary()
        if heard.answer:
            self._answer(self._negotiation(heard.answer, option))
        if heard.settled is None or not self.connected:
            return
        if heard.settled:
            self._begin_using(option, heard.local)
        self.on_option_changed(option, heard.local, heard.settled)

    def _negotiation(self, command: bytes, option: bytes) -> bytes:
        # Where BINARY begins or ends, a CR before is to be completed by the rules that it was sent by.
        owed = self._escaper.end() if option == BINARY else b""
        return owed + sequence(command, option)

    def _note_binary(self) -> None:
        self._binary_in = self._negotiator.remote_enabled(BINARY)
        self._binary_out = self._negotiator.local_enabled(BINARY)

    def _begin_using(self, option: bytes, local: bool) -> None:
        if option == NAWS and local and self._window_size is not None:
            self._answer(subnegotiation(NAWS, encode_window_size(*self._window_size)))
        elif option == TTYPE and local:
            self._type_list = TypeList()
        elif option == TTYPE:
            self._type_query.start()
            self._answer(subnegotiation(TTYPE, TTYPE_SEND))

    def _answer(self, data: bytes) -> None:
        """Send what the peer has asked for, if that is not too much."""
        if not self.connected:
            return  # closed by a hook
        if not self._unsent:
            self._answered = 0
        if self._answered > ANSWERS_LIMIT:
            return  # as has been told
        self._answered += len(data)
        if self._answered > ANSWERS_LIMIT:
            # To count what is queued takes its time, so it is done once for so many bytes.
            if self.queued_bytes > ANSWERS_LIMIT:
                self.on_overflow_error(
                    BufferOverflow(f"answers of {ANSWERS_LIMIT} bytes, which the peer does not read")
                )
                return
            self._answered = len(data)
        self._send_raw(data)

    # --- The options that are known -------------------------------------------------------------------------------

    def on_subnegotiation(self, option: bytes, data: bytes) -> None:
        """Called when a subnegotiation has been received (manual: "on_subnegotiation").

        By default those of NAWS, TTYPE and CHARSET are dealt with, as the class says, where the option is on; what does
        not fit is left alone. Overridden without a call of ``super()``, none is.

        Args:
            option: The byte that stands for the option.
            data: What it consists of; a doubled IAC is one here.
        """
        negotiator = self._negotiator
        if option == NAWS and negotiator.remote_enabled(NAWS):
            size = decode_window_size(data)
            if size is not None:
                self.on_window_size(*size)
        elif option == TTYPE and data == TTYPE_SEND and negotiator.local_enabled(TTYPE):
            self._answer(subnegotiation(TTYPE, self._type_list.give(self.terminal_types)))
        elif option == TTYPE and negotiator.remote_enabled(TTYPE):
            self._take_terminal_type(data)
        elif option == CHARSET and (negotiator.local_enabled(CHARSET) or negotiator.remote_enabled(CHARSET)):
            self._take_charset(data)

    @property
    def window_size(self) -> tuple[int, int] | None:
        """The size of this end's window, its columns and lines, or None: what NAWS tells the peer (RFC 1073).

        Set while NAWS is on, it is sent.

        Raises:
            TypeError: When set to anything but two ints, or None.
            ValueError: When set to a number below 0 or above 65535.
        """
        return self._window_size

    @window_size.setter
    def window_size(self, size: tuple[int, int] | None) -> None:
        if size is not None:
            if not isinstance(size, (tuple, list)) or len(size) != 2:
                raise TypeError(f"window_size is (width, height) or None, not {size!r}")
            width, height = size
            data = subnegotiation(NAWS, encode_window_size(width, height))
            size = (width, height)
            if self.connected and self._negotiator.local_enabled(NAWS):
                self._send_raw(data)
        self._window_size = size

    def _take_terminal_type(self, data: bytes) -> None:
        name, ask_on = self._type_query.take(data)
        if ask_on:
            self._answer(subnegotiation(TTYPE, TTYPE_SEND))
        if name is not None:
            self.on_terminal_type(name)

    def request_charset(self, *names: str) -> None:
        """Offer the peer character sets, of which it may choose one; `on_charset` is called with it (RFC 2066).

        CHARSET has to be on: by the RFC, the end that performs it makes offers, and some clients expect them from the
        other.

        Args:
            *names: The names, the best first: "UTF-8", for example.

        Raises:
            RuntimeError: CHARSET is not on; the channel is not connected, or closed.
            TypeError, ValueError: There is no name, or one is not 1 to 40 printable characters of ASCII without a ";".
        """
        data = encode_charset_request(names)
        if not self.connected:
            raise self._not_connected("request_charset")
        if not self._negotiator.local_enabled(CHARSET) and not self._negotiator.remote_enabled(CHARSET):
            raise RuntimeError("request_charset() needs the option CHARSET to be on; see enable_local()")
        self._charset_requested = True
        self._send_raw(subnegotiation(CHARSET, data))

    def _take_charset(self, data: bytes) -> None:
        kind = data[:1]
        if kind == CHARSET_REQUEST:
            self._answer_charset_request(data)
        elif kind in (CHARSET_ACCEPTED, CHARSET_REJECTED) and self._charset_requested:
            name = decode_name(data[1:]) if kind == CHARSET_ACCEPTED else None
            if name is not None or kind == CHARSET_REJECTED:
                self._charset_requested = False
                self.on_charset(name)

    def _answer_charset_request(self, data: bytes) -> None:
        # Where both ends have made an offer the server's counts, or they might agree on two.
        overruled = self._charset_requested and self._acceptor is not None
        name = None if overruled else choose_charset(decode_charset_request(data), self.charsets)
        if name is None:
            self._answer(subnegotiation(CHARSET, CHARSET_REJECTED))
        else:
            self._charset_requested = False  # what comes of one's own is no news
            self._answer(subnegotiation(CHARSET, CHARSET_ACCEPTED + encode_name(name)))
            self.on_charset(name)
