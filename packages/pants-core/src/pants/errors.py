"""The exceptions of Pants, drawn as a tree.

    PantsError
      FramingError            received data cannot be cut into frames
        BufferOverflow        ... because one, or what is held for it, is longer than ``buffer_size``
        DelimiterError        ... because a ``read_delimiter`` matched without consuming anything
      ConnectError (OSError)  connecting failed; names the address, carries the errno
        ResolveError          ... because the name could not be resolved
        ConnectTimeout        ... because nothing answered in time
      HandshakeTimeout        a TLS handshake did not end in time
      FileFailed              a file given to ``write_file`` could not be read
      FileShrunk              a file given to ``write_file`` ended before the promised size

Wrong arguments raise the built-in ``TypeError`` and ``ValueError``; a call that does not fit the channel's state
raises ``RuntimeError``.
"""

from __future__ import annotations

__all__ = [
    "BufferOverflow",
    "ConnectError",
    "ConnectTimeout",
    "DelimiterError",
    "FileFailed",
    "FileShrunk",
    "FramingError",
    "HandshakeTimeout",
    "PantsError",
    "ResolveError",
]


class PantsError(Exception):
    """What every exception raised by Pants itself derives from."""


class FramingError(PantsError):
    """What a `pants.delimiter.Framer` raises; ``framer`` is which."""

    framer: object = None


class BufferOverflow(FramingError):
    """A frame is longer than the channel's ``buffer_size`` (manual: Stream.buffer_size)."""


class DelimiterError(FramingError):
    """A regular expression given as ``read_delimiter`` matched nothing at the start of the buffer.

    Delivering it would repeat for ever without consuming a byte.
    """


class ConnectError(PantsError, OSError):
    """A connection could not be made.

    ``errno`` and ``reason`` say why, ``address`` to where. Where several addresses were tried, ``errors`` holds one
    exception for each, in the order in which they were tried.
    """

    address: object = None
    reason: str = ""
    errors: tuple[ConnectError, ...] = ()


class ResolveError(ConnectError):
    """A host name could not be resolved; ``errno`` is the ``EAI_*`` code of getaddrinfo."""


class ConnectTimeout(ConnectError):
    """No address answered within ``connect_timeout`` seconds; ``errno`` is ``ETIMEDOUT``."""


class HandshakeTimeout(PantsError):
    """A TLS handshake took longer than ``handshake_timeout`` seconds."""


class FileFailed(PantsError):
    """A file given to ``write_file`` could not be read; ``__cause__`` is what its ``read`` raised."""


class FileShrunk(PantsError):
    """A file given to ``write_file`` ended before the size that was fixed at the call."""
