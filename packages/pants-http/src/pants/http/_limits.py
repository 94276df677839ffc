"""What a server takes from its clients, and a client from servers, at most."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Protocol


class FieldLimits(Protocol):
    """What the fields of a message may be."""

    @property
    def header(self) -> int:
        """The longest field, name and value, in bytes."""

    @property
    def headers(self) -> int:
        """The longest header section, in bytes."""

    @property
    def header_count(self) -> int:
        """The most fields."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The limits of an `HTTPServer`. The longest body has one of its own, the server's ``max_request``.

    A request that crosses one of them is answered with 408, 413, 414 or 431, as fits, and its connection is closed. A
    client that does not take its answers is cut off.

    Attributes:
        request_line: The longest request target, in bytes.
        header: The longest header field, name and value, in bytes.
        headers: The longest header section, request line included, in bytes.
        header_count: The most header fields.
        spool_size: A body, or the files of a form together, longer than this many bytes is kept on disk.
        form_fields: The most fields of a form that are not files.
        form_memory: The most bytes that these may have together; and the most of a body that is parsed as JSON.
        multipart_parts: The most parts of a multipart body.
        part_headers: The longest header section of such a part, in bytes.
        header_timeout: Seconds for the head of a request to arrive, from its first byte on.
        body_timeout: Seconds after which a body that has not arrived is looked at: ``body_rate`` bytes for each of them
            have to be there. The same holds for each such time that follows.
        body_rate: The bytes a second at which a body has to arrive, at least. At 500, one of 10 MiB may take hours.
        keep_alive_timeout: Seconds that an idle connection is kept open.
        write_timeout: Seconds after which a client that has not taken all it was sent is looked at: ``write_rate``
            bytes for each of them have to be gone. The same holds for each such time that follows.
        write_rate: The bytes a second at which a client has to take its answers, at least.

    Raises:
        TypeError: One is not a number.
        ValueError: One is not above 0, or not finite.

    Example:
        >>> from pants.http import HTTPServer, Limits
        >>> server = HTTPServer(lambda request: request.send_response("Hi"), limits=Limits(header_timeout=5))
    """

    request_line: int = 8192
    header: int = 16384
    headers: int = 65536
    header_count: int = 128
    spool_size: int = 1024 * 1024
    form_fields: int = 1000
    form_memory: int = 2621440
    multipart_parts: int = 1000
    part_headers: int = 8192
    header_timeout: float = 30.0
    body_timeout: float = 30.0
    body_rate: float = 500
    keep_alive_timeout: float = 75.0
    write_timeout: float = 75.0
    write_rate: float = 500

    def __post_init__(self) -> None:
        check_numbers(self)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ClientLimits:
    """The limits of an `HTTPClient`. How long it waits is said by its sessions' ``timeout``.

    A response that crosses one of them ends in `ResponseTooLarge`, and its connection is closed.

    Attributes:
        header: The longest header field, name and value, in bytes.
        headers: The longest header section, status line included, in bytes.
        header_count: The most header fields.
        interim: The most interim responses (RFC 9110 §15.2) before the final one.
        content: The longest content that is kept, decoded, in bytes. What `on_data` takes is not counted.
        free: So many bytes of content may be decoded from however little was received.
        ratio: Beyond ``free``, the most bytes of decoded content for each byte received.
        spool_size: Content longer than this many bytes is kept on disk.
        keep_alive_timeout: Seconds that an idle connection is kept open.

    Raises:
        TypeError: One is not a number.
        ValueError: One is not above 0, or not finite.

    Example:
        >>> from pants.http import ClientLimits, HTTPClient
        >>> client = HTTPClient(limits=ClientLimits(content=10 * 1024 * 1024))
    """

    header: int = 65536
    headers: int = 131072
    header_count: int = 256
    interim: int = 20
    content: int = 1024 * 1024 * 1024
    free: int = 8 * 1024 * 1024
    ratio: float = 100.0
    spool_size: int = 1024 * 1024
    keep_alive_timeout: float = 60.0

    def __post_init__(self) -> None:
        check_numbers(self)


def check_numbers(limits: Any) -> None:
    """Raise unless all fields of a dataclass are finite numbers above 0.

    Raises:
        TypeError: One is not a number of the field's type.
        ValueError: One is not above 0, or not finite.
    """
    what = type(limits).__name__
    for field in dataclasses.fields(limits):
        value = getattr(limits, field.name)
        kinds = (int,) if field.type == "int" else (int, float)
        if isinstance(value, bool) or not isinstance(value, kinds):
            raise TypeError(f"{what}.{field.name} is a number of type {field.type}, not {value!r}")
        if not 0 < value < math.inf:
            raise ValueError(f"{what}.{field.name} is a finite number above 0, not {value!r}; for never, take 1e9")
