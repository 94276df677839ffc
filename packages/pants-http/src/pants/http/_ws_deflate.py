"""Compressed WebSocket messages (RFC 7692, "permessage-deflate"). Sans-IO.

What the two ends agree on is found out by the extension classes of the package ``websockets``. The content passes
through zlib here: incoming messages are inflated as they arrive and in bounded pieces, and blocks that end a deflate
stream (§7.2.3.5) are understood, neither of which those classes do.
"""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Iterator
from typing import Any, Final

from websockets.exceptions import InvalidHandshake
from websockets.extensions.permessage_deflate import (
    ClientPerMessageDeflateFactory,
    PerMessageDeflate,
    ServerPerMessageDeflateFactory,
)
from websockets.headers import build_extension, parse_extension
from websockets.typing import ExtensionName

from pants.http._ws_frames import WebSocketError

_NAME: Final = ExtensionName("permessage-deflate")
# RFC 7692 §7.2.1: what a sender takes off the end of a message, and a receiver puts there.
_TAIL: Final = b"\x00\x00\xff\xff"
# One byte inflates to 1032 at most, so this bounds what one step makes of compressed data. In bytes.
_STEP: Final = 16384
# How much is given to zlib at once, in bytes.
_SLICE: Final = 1024
# Each block of a message may end a stream (§7.2.3.5), and a new one costs far more than its two bytes.
_MOST_STREAMS: Final = 100


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Deflate:
    """How a `WebSocket` compresses (RFC 7692); to be assigned to its `WebSocket.compression`.

    By default neither end keeps a window between messages. With ``context_takeover`` similar messages, even short ones,
    compress far better, and each connection that uses it holds up to 300 KiB.

    Attributes:
        server_no_context_takeover: Whether the server begins each message anew (§7.1.1.1).
        client_no_context_takeover: Whether the client does (§7.1.1.2).
        server_max_window_bits: The largest window of the server, as a power of two: 9 to 15 (§7.1.2.1).
        client_max_window_bits: The same of the client (§7.1.2.2).
        level: How hard to try, 0 to 9; -1 for zlib's default.
        memory_level: How much memory to use while compressing, 1 to 9.
        min_size: Messages shorter than this many bytes are sent as they are.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: A number is out of its range.

    Example:
        >>> from pants.http import Deflate, WebSocket
        >>> class Ticker(WebSocket):
        ...     compression = Deflate(server_no_context_takeover=False, min_size=32)
    """

    server_no_context_takeover: bool = True
    client_no_context_takeover: bool = True
    server_max_window_bits: int = 15
    client_max_window_bits: int = 15
    level: int = -1
    memory_level: int = 8
    min_size: int = 256

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, bool) is not (field.type == "bool") or not isinstance(value, int):
                raise TypeError(f"Deflate.{field.name} is of type {field.type}, not {value!r}")
        for name, lowest, highest in (
            ("server_max_window_bits", 9, 15),
            ("client_max_window_bits", 9, 15),
            ("level", -1, 9),
            ("memory_level", 1, 9),
        ):
            if not lowest <= getattr(self, name) <= highest:
                raise ValueError(f"Deflate.{name} is {lowest} to {highest}, not {getattr(self, name)}")
        if self.min_size < 0:
            raise ValueError(f"Deflate.min_size is 0 or more bytes, not {self.min_size}")

    def accept(self, offers: str) -> tuple[str, Codec] | None:
        """Answer what a client offers (§5.1), as a server.

        Args:
            offers: The value of Sec-WebSocket-Extensions.

        Returns:
            The value of that header in the answer, and the codec; None where nothing offered can be taken.

        Raises:
            ValueError: The header is malformed.
        """
        factory = ServerPerMessageDeflateFactory(
            self.server_no_context_takeover,
            self.client_no_context_takeover,
            self.server_max_window_bits if self.server_max_window_bits < 15 else None,
            self.client_max_window_bits if self.client_max_window_bits < 15 else None,
        )
        try:
            extensions = parse_extension(offers)
        except InvalidHandshake as error:
            raise ValueError(str(error)) from None
        for name, parameters in extensions:
            if name == _NAME:
                try:
                    agreed, extension = factory.process_request_params(parameters, [])
                except InvalidHandshake:  # then perhaps another offer
                    continue
                return build_extension([(_NAME, agreed)]), Codec(self, extension)
        return None

    def _client(self) -> ClientPerMessageDeflateFactory:
        return ClientPerMessageDeflateFactory(
            self.server_no_context_takeover,
            self.client_no_context_takeover,
            self.server_max_window_bits if self.server_max_window_bits < 15 else None,
            self.client_max_window_bits if self.client_max_window_bits < 15 else True,
        )

    def offer(self) -> str:
        """Return the value of Sec-WebSocket-Extensions with which a client offers this."""
        return build_extension([(_NAME, list(self._client().get_request_params()))])

    def confirm(self, answer: str) -> Codec | None:
        """Look at what a server has taken of the offer, as a client.

        Args:
            answer: The value of Sec-WebSocket-Extensions; an empty string where there is no such header.

        Returns:
            The codec; None where the server does not compress.

        Raises:
            ValueError: It has taken what was not offered.
        """
        codec = None
        try:
            for name, parameters in parse_extension(answer) if answer else []:
                if name != _NAME or codec is not None:
                    raise ValueError(f"the server has chosen an extension that was not offered: {name}")
                codec = Codec(self, self._client().process_response_params(parameters, []))
        except InvalidHandshake as error:
            raise ValueError(str(error)) from None
        return codec


def deflate_settings(compression: bool | Deflate) -> Deflate | None:
    """Return how to compress, if at all, as `WebSocket.compression` has it."""
    if isinstance(compression, bool):
        return Deflate() if compression else None
    return compression


class Codec:
    """Compresses and inflates the messages of one connection.

    Args:
        settings: How to compress.
        agreed: What the two ends have agreed on.
    """

    __slots__ = (
        "_compressor",
        "_inflate_bits",
        "_inflater",
        "_keep_compressor",
        "_keep_inflater",
        "_options",
        "_streams",
        "min_size",
    )

    def __init__(self, settings: Deflate, agreed: PerMessageDeflate) -> None:
        self.min_size = settings.min_size
        self._keep_compressor = not agreed.local_no_context_takeover
        self._keep_inflater = not agreed.remote_no_context_takeover
        self._inflate_bits = -agreed.remote_max_window_bits
        self._options = (settings.level, zlib.DEFLATED, -agreed.local_max_window_bits, settings.memory_level)
        self._compressor: Any = None
        self._inflater: Any = None
        self._streams = 0  # that have ended in this message

    def compress(self, data: bytes, last: bool = True) -> bytes:
        """Compress a message, or a part of one (§7.2.1).

        Args:
            data: The next part.
            last: Whether it ends the message.
        """
        compressor = self._compressor
        if compressor is None:
            compressor = self._compressor = zlib.compressobj(*self._options)
        compressed: bytes = compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH)
        if not last:
            return compressed
        if not self._keep_compressor:
            self._compressor = None
        return compressed[: -len(_TAIL)]

    def inflate(self, data: bytes, last: bool) -> Iterator[bytes]:
        """Inflate a part of a message (§7.2.2), in pieces of bounded size. All of them have to be taken.

        Args:
            data: The next part.
            last: Whether it ends the message.

        Raises:
            WebSocketError: It is not compressed data.
        """
        # In slices, for zlib copies what it has no use for yet.
        for at in range(0, len(data), _SLICE):
            yield from self._inflate(data[at : at + _SLICE])
        if last:
            yield from self._inflate(_TAIL)
            self._streams = 0
            if not self._keep_inflater:
                self._inflater = None

    def _inflate(self, part: bytes) -> Iterator[bytes]:
        try:
            while part:
                if self._inflater is None:
                    self._inflater = zlib.decompressobj(self._inflate_bits)
                inflater = self._inflater
                piece = inflater.decompress(part, _STEP)
                if inflater.eof:  # this stream is over, and what follows is another
                    part = inflater.unused_data
                    self._inflater = None
                    self._streams += 1
                    if self._streams > _MOST_STREAMS:
                        raise WebSocketError(1008, "There are too many compressed streams in a message")
                else:
                    part = inflater.unconsumed_tail
                if piece:
                    yield piece
            # What zlib had no room for comes without more input.
            while self._inflater is not None and (piece := self._inflater.decompress(b"", _STEP)):
                yield piece
        except zlib.error:
            raise WebSocketError(1007, "The compressed data is malformed") from None
