"""IRC for Pants: clients, and a base for whatever else speaks it (manual: "pants.contrib.irc").

The way of the data: `BaseIRC` gets a line from its `pants.Stream`, has it taken apart and calls ``irc_command``;
`IRCClient` then changes what it knows of the network, and calls the hook for what has happened. What is sent is put
together, cut up where it is long, and sent no faster than a server bears.
"""

from pants.contrib.irc._base import BaseIRC
from pants.contrib.irc._channel import Channel, User
from pants.contrib.irc._client import IRCClient
from pants.contrib.irc._ctcp import ctcp_quote, ctcp_unquote, ctcpQuote, ctcpUnquote
from pants.contrib.irc._isupport import ISupport
from pants.contrib.irc._message import MalformedLine, Message

__all__ = [
    "BaseIRC",
    "Channel",
    "IRCClient",
    "ISupport",
    "MalformedLine",
    "Message",
    "User",
    "ctcpQuote",
    "ctcpUnquote",
    "ctcp_quote",
    "ctcp_unquote",
]
