"""A server of Telnet connections (manual: "TelnetServer")."""

from __future__ import annotations

from pants.contrib.telnet._connection import TelnetConnection
from pants.server import Server


class TelnetServer(Server):
    r"""A server that makes a `TelnetConnection` of each connection (manual: "TelnetServer").

    All else is as of `pants.Server`.

    Args:
        ConnectionClass: A subclass of `TelnetConnection`. By default the class attribute of that name, which subclasses
            may set, or `TelnetConnection` itself.
        **kwargs: As of `pants.Server`: engine, socket, ssl_options, reuse_port, proxy_protocol.

    Raises:
        TypeError, ValueError: As of `pants.Server`.

    Example:
        >>> from pants.contrib.telnet import AYT, TelnetConnection, TelnetServer
        >>> class Greeter(TelnetConnection):
        ...     def on_connect(self):
        ...         self.read_delimiter = b"\r\n"
        ...         self.write(b"Your name? ")
        ...     def on_read(self, name):
        ...         self.write(b"Hello, %b.\r\n" % name)
        ...     def on_command(self, command):
        ...         if command == AYT:
        ...             self.write(b"Yes.\r\n")
        >>> server = TelnetServer(Greeter).listen(("127.0.0.1", 0))
        >>> server.close()
    """

    __slots__ = ()

    ConnectionClass = TelnetConnection
