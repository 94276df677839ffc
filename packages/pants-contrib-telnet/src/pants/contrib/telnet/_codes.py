"""The codes of Telnet: its commands (RFC 854, 855, 885, 1184) and options (IANA: "Telnet Options"), each one byte."""

from __future__ import annotations

from collections.abc import Set
from typing import Final

# --- Commands -------------------------------------------------------------------------------------------------------

#: Interpret as command: what follows is one, but for a second IAC, which is the byte 255.
IAC: Final = b"\xff"
#: The peer is asked not to perform an option, or told that it need not.
DONT: Final = b"\xfe"
#: The peer is asked to perform an option, or told that it may.
DO: Final = b"\xfd"
#: The sender does not perform an option.
WONT: Final = b"\xfc"
#: The sender offers to perform an option, or does.
WILL: Final = b"\xfb"
#: The beginning of an option's subnegotiation.
SB: Final = b"\xfa"
#: Go ahead.
GA: Final = b"\xf9"
#: Erase line.
EL: Final = b"\xf8"
#: Erase character.
EC: Final = b"\xf7"
#: Are you there?
AYT: Final = b"\xf6"
#: Abort output.
AO: Final = b"\xf5"
#: Interrupt process.
IP: Final = b"\xf4"
#: Break.
BRK: Final = b"\xf3"
#: Data mark: the end of a Synch.
DM: Final = b"\xf2"
#: No operation.
NOP: Final = b"\xf1"
#: The end of a subnegotiation.
SE: Final = b"\xf0"
#: End of record (RFC 885).
EOR: Final = b"\xef"
#: Abort process (RFC 1184).
ABORT: Final = b"\xee"
#: Suspend process (RFC 1184).
SUSP: Final = b"\xed"
#: End of file (RFC 1184).
EOF: Final = b"\xec"

# --- Options --------------------------------------------------------------------------------------------------------

#: 8-bit data in one direction (RFC 856).
BINARY: Final = b"\x00"
#: The sender of WILL echoes what it receives (RFC 857).
ECHO: Final = b"\x01"
#: Suppress go-ahead (RFC 858).
SGA: Final = b"\x03"
#: Status of the options (RFC 859).
STATUS: Final = b"\x05"
#: Timing mark (RFC 860).
TM: Final = b"\x06"
#: Log-out (RFC 727).
LOGOUT: Final = b"\x12"
#: Terminal type (RFC 1091).
TTYPE: Final = b"\x18"
#: End of record (RFC 885): that the command EOR is used.
END_OF_RECORD: Final = b"\x19"
#: Window size (RFC 1073).
NAWS: Final = b"\x1f"
#: Terminal speed (RFC 1079).
TSPEED: Final = b"\x20"
#: Remote flow control (RFC 1372).
LFLOW: Final = b"\x21"
#: Line mode (RFC 1184).
LINEMODE: Final = b"\x22"
#: X display location (RFC 1096).
XDISPLOC: Final = b"\x23"
#: Environment variables (RFC 1408).
OLD_ENVIRON: Final = b"\x24"
#: Authentication (RFC 2941).
AUTHENTICATION: Final = b"\x25"
#: Encryption (RFC 2946).
ENCRYPT: Final = b"\x26"
#: Environment variables (RFC 1572).
NEW_ENVIRON: Final = b"\x27"
#: Character set (RFC 2066).
CHARSET: Final = b"\x2a"
#: The serial port behind a modem server (RFC 2217).
COM_PORT: Final = b"\x2c"
#: Data about a MUD server.
MSDP: Final = b"\x45"
#: MUD server status.
MSSP: Final = b"\x46"
#: The MUD client's compression, version 2.
MCCP2: Final = b"\x56"
#: Structured messages of MUD servers and clients.
GMCP: Final = b"\xc9"
#: Extended options list (RFC 861).
EXOPL: Final = b"\xff"

# --- Names ----------------------------------------------------------------------------------------------------------

_COMMANDS: Final = (
    *("IAC", "DONT", "DO", "WONT", "WILL", "SB", "GA", "EL", "EC", "AYT", "AO", "IP", "BRK", "DM", "NOP", "SE"),
    *("EOR", "ABORT", "SUSP", "EOF"),
)
_OPTIONS: Final = (
    *("BINARY", "ECHO", "SGA", "STATUS", "TM", "LOGOUT", "TTYPE", "END_OF_RECORD", "NAWS", "TSPEED", "LFLOW"),
    *("LINEMODE", "XDISPLOC", "OLD_ENVIRON", "AUTHENTICATION", "ENCRYPT", "NEW_ENVIRON", "CHARSET", "COM_PORT"),
    *("MSDP", "MSSP", "MCCP2", "GMCP", "EXOPL"),
)
_COMMAND_NAMES: Final = {globals()[name]: name for name in _COMMANDS}
_OPTION_NAMES: Final = {globals()[name]: name for name in _OPTIONS}


def command_name(command: bytes) -> str:
    """The name of a command, to be shown: "AYT"; its number, where it has none."""
    return _COMMAND_NAMES.get(command) or str(command[0])


def option_name(option: bytes) -> str:
    """The name of an option, to be shown: "NAWS"; its number, where it has none."""
    return _OPTION_NAMES.get(option) or str(option[0])


def check_code(code: bytes, what: str) -> None:
    """Raise unless a value can be a command or an option.

    Args:
        code: The value.
        what: What it is to be, for the message.

    Raises:
        TypeError: It is not bytes.
        ValueError: It is not one byte.
    """
    if not isinstance(code, bytes):
        raise TypeError(f"{what} is one byte, such as b'\\x01', not {code!r}")
    if len(code) != 1:
        raise ValueError(f"{what} is one byte, not {code[:20]!r}")


def check_options(options: Set[bytes], what: str) -> None:
    """Raise unless a value is a set of options.

    Args:
        options: The value.
        what: What it is to be, for the message.

    Raises:
        TypeError: It is no set, or what is in it is not bytes.
        ValueError: Something in it is not one byte.
    """
    if not isinstance(options, Set):
        raise TypeError(f"{what} is a set of options, such as frozenset({{ECHO}}), not {options!r}")
    for option in options:
        check_code(option, f"an option in {what}")
