"""The opening handshake of a WebSocket (RFC 6455 §4), at both ends. Sans-IO."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import secrets
from collections.abc import Collection, Iterable, Sequence
from typing import Final, NamedTuple

from websockets.utils import accept_key

from pants.errors import PantsError
from pants.http._answer import checked_fields, encoded
from pants.http._target import (
    DEFAULT_PORTS,
    Target,
    ascii_host,
    quoted,
    split_url,
    url_credentials,
    without_credentials,
)
from pants.http._ws_deflate import Codec, Deflate
from pants.http.utils import HTTPHeaders

#: Header fields, one by one.
Fields = list[tuple[str, str]]

_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
# RFC 6454 §6.2: what an Origin looks like.
_ORIGIN: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*)://([^/?#@\s]+)")
_PORTS: Final = {scheme: f":{port}" for scheme, port in DEFAULT_PORTS.items()}
_SCHEMES: Final = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}
#: What the handshake itself sets.
_OWN_FIELDS: Final = frozenset({"connection", "content-length", "host", "transfer-encoding", "upgrade"})


class HandshakeError(PantsError):
    """A WebSocket could not be opened, as a client: the server's answer does not open one.

    Attributes:
        status: The status code of the answer; 0 where there is none.
        headers: Its fields.
    """

    def __init__(self, reason: str, status: int = 0, headers: HTTPHeaders | None = None) -> None:
        super().__init__(reason)
        self.status = status
        self.headers = HTTPHeaders() if headers is None else headers


class Refusal(Exception):
    """Why a request opens no WebSocket, and how it is answered."""

    def __init__(self, status: int, reason: str, fields: Fields | None = None) -> None:
        super().__init__(status, reason)
        self.status = status
        self.reason = reason
        self.fields = fields or []


# --- The server's end -------------------------------------------------------------------------------------------------


class Asked(NamedTuple):
    """What a client asks for.

    Attributes:
        key: The value of Sec-WebSocket-Key; an empty string for draft 76, which has another challenge.
        subprotocols: Those it offers, in the order of its preference.
        extensions: The value of Sec-WebSocket-Extensions.
    """

    key: str
    subprotocols: list[str]
    extensions: str


def read_request(method: str, protocol: str, headers: HTTPHeaders, allow_old: bool) -> Asked:
    """Find out whether a request opens a WebSocket (RFC 6455 §4.2.1).

    Args:
        method: Its method.
        protocol: Its protocol.
        headers: Its fields.
        allow_old: Whether draft 76 will do.

    Raises:
        Refusal: It does not.
    """
    if "websocket" not in members(headers, "Upgrade") or "upgrade" not in members(headers, "Connection"):
        raise Refusal(426, "This is for WebSockets", [("Upgrade", "websocket"), ("Connection", "Upgrade")])
    if method != "GET":
        raise Refusal(405, "A WebSocket is opened with GET", [("Allow", "GET")])
    if protocol != "HTTP/1.1":
        raise Refusal(400, "A WebSocket is opened with HTTP/1.1")
    if "Transfer-Encoding" in headers or headers.get("Content-Length", "0").strip("0"):
        raise Refusal(400, "A request that opens a WebSocket has no body")
    subprotocols = _subprotocols(headers)
    versions = headers.get_list("Sec-WebSocket-Version")
    if not versions and allow_old and "Sec-WebSocket-Key1" in headers and "Sec-WebSocket-Key2" in headers:
        return Asked("", subprotocols, "")
    if versions != ["13"]:  # RFC 6455 §4.4
        raise Refusal(
            426,
            "Version 13 of the WebSocket protocol is spoken here",
            [("Sec-WebSocket-Version", "13"), ("Upgrade", "websocket"), ("Connection", "Upgrade")],
        )
    keys = headers.get_list("Sec-WebSocket-Key")
    if len(keys) != 1 or not _is_key(keys[0]):
        raise Refusal(400, "Sec-WebSocket-Key is 16 bytes in base64, once")
    return Asked(keys[0], subprotocols, headers.get("Sec-WebSocket-Extensions", ""))


def members(headers: HTTPHeaders, name: str) -> set[str]:
    """The members of a field that is a list, in lower case."""
    return {member.strip(" \t").lower() for member in headers.get(name, "").split(",")}


def _subprotocols(headers: HTTPHeaders) -> list[str]:
    value = headers.get("Sec-WebSocket-Protocol")
    if value is None:
        return []
    found = [member for item in value.split(",") if (member := item.strip(" \t"))]
    if not found or not all(map(_TOKEN.fullmatch, found)) or len(set(found)) < len(found):  # RFC 6455 §4.1, item 10
        raise Refusal(400, "Sec-WebSocket-Protocol is a list of different tokens")
    return found


def _is_key(key: str) -> bool:
    try:
        return len(base64.b64decode(key, validate=True)) == 16
    except (binascii.Error, ValueError):
        return False


def is_allowed_origin(origin: str | None, host: str, secure: bool, allowed: Collection[str]) -> bool:
    """Whether pages of an origin may open WebSockets (RFC 6455 §10.2).

    Args:
        origin: The value of Origin; None where there is none, for then no browser has sent the request.
        host: The host that was asked, with a port or without.
        secure: Whether the client speaks TLS. Where it does, so has the page to; otherwise that is not held against it,
            for TLS may end at a proxy that does not tell.
        allowed: The origins that are allowed besides the server's own, as `check_origins` returns them.
    """
    if origin is None or "*" in allowed:
        return True
    match = _ORIGIN.fullmatch(origin)
    if match is None:  # "null", for example
        return origin in allowed
    scheme = match[1].lower()
    port = _PORTS.get(scheme, "")
    authority = match[2].lower().removesuffix(port)
    if f"{scheme}://{authority}" in allowed:
        return True
    if scheme not in (("https",) if secure else ("https", "http")):
        return False
    return authority == host.lower().removesuffix(port)


def check_origins(origins: Iterable[str]) -> frozenset[str]:
    """Return origins in the form in which they are compared.

    Raises:
        TypeError: They are not a list of str.
        ValueError: One is no origin (RFC 6454 §6.2), nor ``null`` or ``*``.
    """
    if isinstance(origins, (str, bytes)):
        raise TypeError(f"allowed_origins is a list, as in [{origins!r}]")
    checked = set()
    for origin in origins:
        if not isinstance(origin, str):
            raise TypeError(f"an origin is a str, not {origin!r}")
        match = _ORIGIN.fullmatch(origin)
        if match is not None:
            scheme = match[1].lower()
            checked.add(f"{scheme}://{match[2].lower().removesuffix(_PORTS.get(scheme, ''))}")
        elif origin in ("*", "null"):
            checked.add(origin)
        else:
            raise ValueError(f"an origin is a scheme and a host, as https://example.com, or null or *; not {origin!r}")
    return frozenset(checked)


def choose_subprotocol(offered: Sequence[str], supported: Sequence[str]) -> str | None:
    """Return the first of the supported subprotocols that the client offers, or None."""
    return next((subprotocol for subprotocol in supported if subprotocol in offered), None)


def answer_fields(key: str, subprotocol: str | None, extension: str | None) -> Fields:
    """Return the fields of the answer that opens a WebSocket (RFC 6455 §4.2.2)."""
    fields = [("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Accept", accept_key(key))]
    if subprotocol is not None:
        fields.append(("Sec-WebSocket-Protocol", subprotocol))
    if extension is not None:
        fields.append(("Sec-WebSocket-Extensions", extension))
    return fields


def own_fields(headers: object) -> Fields:
    """Return the header fields that a program adds to a handshake, one by one.

    Raises:
        TypeError: A name is not a str, or a value neither a str nor an int.
        ValueError: One contains what cannot stand there, or the handshake sets it.
    """
    fields = checked_fields(headers)  # type: ignore[arg-type]
    for name, _ in fields:
        if name.lower() in _OWN_FIELDS or name.lower().startswith("sec-websocket-"):
            raise ValueError(
                f"the header {name} is set by the handshake itself; subprotocols, compression and the like have "
                "attributes and arguments of their own"
            )
    return fields


def check_subprotocols(subprotocols: Iterable[str]) -> tuple[str, ...]:
    """Return subprotocols, checked (RFC 6455 §4.1, item 10).

    Raises:
        TypeError: They are not a list of str.
        ValueError: One is not a token, or comes twice.
    """
    if isinstance(subprotocols, (str, bytes)):
        raise TypeError(f"subprotocols is a list, as in [{subprotocols!r}]")
    checked = tuple(subprotocols)
    for subprotocol in checked:
        if not isinstance(subprotocol, str):
            raise TypeError(f"a subprotocol is a str, not {subprotocol!r}")
        if not _TOKEN.fullmatch(subprotocol):
            raise ValueError(f"a subprotocol is a token (RFC 6455 §4.1), not {subprotocol!r}")
    if len(set(checked)) < len(checked):
        raise ValueError(f"a subprotocol comes twice: {checked!r}")
    return checked


# --- Draft 76 ---------------------------------------------------------------------------------------------------------

#: The bytes behind the head of a request of draft 76.
OLD_BODY: Final = 8


def old_challenge(key1: str, key2: str, body: bytes) -> bytes:
    """Answer the challenge of a client of draft 76.

    Args:
        key1: The value of Sec-WebSocket-Key1.
        key2: The value of Sec-WebSocket-Key2.
        body: The eight bytes behind the head.

    Raises:
        Refusal: A key is malformed.
    """
    return hashlib.md5(_old_number(key1) + _old_number(key2) + body, usedforsecurity=False).digest()


def _old_number(key: str) -> bytes:
    digits = "".join(filter("0123456789".__contains__, key))
    spaces = key.count(" ")
    if not 1 <= len(digits) <= 20 or not spaces or int(digits) % spaces or int(digits) // spaces >= 1 << 32:
        raise Refusal(400, "The keys of the handshake are malformed")
    return (int(digits) // spaces).to_bytes(4, "big")


def old_answer_fields(headers: HTTPHeaders, location: str, subprotocol: str | None) -> Fields:
    """Return the fields of the answer to a client of draft 76."""
    fields = [("Upgrade", "WebSocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Location", location)]
    if (origin := headers.get("Origin")) is not None:
        fields.append(("Sec-WebSocket-Origin", origin))
    if subprotocol is not None:
        fields.append(("Sec-WebSocket-Protocol", subprotocol))
    return fields


# --- The client's end -------------------------------------------------------------------------------------------------


def parse_url(url: str) -> Target:
    """Take the URL of a WebSocket apart (RFC 6455 §3). ``http`` and ``https`` mean ``ws`` and ``wss``.

    Raises:
        TypeError: It is not a str.
        ValueError: It is not such a URL.
    """
    if not isinstance(url, str):
        raise TypeError(f"url is a str, not {url!r}")
    shown = without_credentials(url)
    if re.search(r"[\x00-\x20\x7f]", url):
        raise ValueError(f"a URL contains neither spaces nor control characters, unlike {shown!r}")
    parts, host, port = split_url(url)
    scheme = _SCHEMES.get(parts.scheme.lower())
    if scheme is None or not host:
        raise ValueError(f"the URL of a WebSocket begins with ws:// or wss:// and a host, unlike {shown!r}")
    if "#" in url:
        raise ValueError(f"the URL of a WebSocket has no fragment (RFC 6455 §3), unlike {shown!r}")
    resource = quoted(parts.path or "/")
    if parts.query:
        resource += "?" + quoted(parts.query)
    if port is None:
        port = DEFAULT_PORTS[scheme]
    return Target(scheme, ascii_host(host), port, resource, url_credentials(parts))


class Opening:
    """What a client asks of a server, and what it makes of the answer.

    Args:
        target: Where it connects to.
        fields: Header fields of the program's own, which have been checked.
        subprotocols: Those to offer, in the order of preference.
        compression: What to offer; None for nothing.
    """

    def __init__(
        self, target: Target, fields: Fields, subprotocols: Sequence[str], compression: Deflate | None
    ) -> None:
        self.target = target
        self._fields = fields
        self._subprotocols = subprotocols
        self._compression = compression
        self._key = base64.b64encode(secrets.token_bytes(16)).decode()

    def request(self) -> bytes:
        """Return the request (RFC 6455 §4.1)."""
        fields = [
            ("Host", self.target.authority),
            ("Upgrade", "websocket"),
            ("Connection", "Upgrade"),
            ("Sec-WebSocket-Key", self._key),
            ("Sec-WebSocket-Version", "13"),
        ]
        if self._subprotocols:
            fields.append(("Sec-WebSocket-Protocol", ", ".join(self._subprotocols)))
        if self._compression is not None:
            fields.append(("Sec-WebSocket-Extensions", self._compression.offer()))
        fields += self._fields
        return f"GET {self.target.resource} HTTP/1.1\r\n".encode() + encoded(fields) + b"\r\n"

    def check(self, status: int, headers: HTTPHeaders) -> tuple[str | None, Codec | None]:
        """Look at the answer (RFC 6455 §4.1, the second list).

        Args:
            status: Its status code.
            headers: Its fields.

        Returns:
            The subprotocol that the server has chosen, and the codec of compressed messages; None where there is none.

        Raises:
            HandshakeError: It does not open a WebSocket.
        """

        def wrong(reason: str) -> HandshakeError:
            return HandshakeError(f"{self.target.url} cannot be opened: {reason}", status, headers)

        if status != 101:
            raise wrong(f"the server answered with {status}")
        upgrades = [value.lower() for value in headers.get_list("Upgrade")]
        if upgrades != ["websocket"] or "upgrade" not in members(headers, "Connection"):
            raise wrong("the answer is no upgrade to WebSocket")
        if headers.get_list("Sec-WebSocket-Accept") != [accept_key(self._key)]:
            raise wrong("the answer is not to this request: Sec-WebSocket-Accept is wrong")
        subprotocols = headers.get_list("Sec-WebSocket-Protocol")
        if len(subprotocols) > 1 or not set(subprotocols) <= set(self._subprotocols):
            raise wrong("the server has chosen a subprotocol that was not offered")
        extensions = headers.get("Sec-WebSocket-Extensions", "")
        try:
            if self._compression is not None:
                codec = self._compression.confirm(extensions)
            elif extensions:
                raise ValueError("the server has chosen an extension that was not offered")
            else:
                codec = None
        except ValueError as error:
            raise wrong(str(error)) from None
        return subprotocols[0] if subprotocols else None, codec
