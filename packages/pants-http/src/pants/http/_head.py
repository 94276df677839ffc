"""The head of a request, its request line and fields: the grammar is llhttp's, the policy is here. Sans-IO.

llhttp, by way of httptools, is a strict parser without limits and without policy. It takes HTTP/0.9, HTTP/2.0, RTSP and
ICE; a missing, second or malformed Host; chunked on HTTP/1.0; any number of spaces in the request line; any size. It
cannot be stopped in the middle of what it is fed, so it is given one head at a time.

There are three ways through this module, to the same verdict. `QuickParser` takes what nearly every request is, without
making an object for what nobody may ask for. Clients send the same fields again and again; `match_repeated` takes what
has a plain request line, and fields that `QuickParser` took before. For all else, refusing included, `parse` decides.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from ipaddress import IPv6Address
from types import SimpleNamespace
from typing import Final, NamedTuple

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

from pants.http._limits import Limits
from pants.http._refused import Refused

#: What a head ends with (RFC 9112 §2.1).
HEAD_END: Final = b"\r\n\r\n"

# A request line without its protocol that leaves nothing to judge. Of what a URI may be made of (RFC 3986 §2) it leaves
# out the brackets and the fragment.
match_repeated: Final = re.compile(rb"(GET|HEAD) (/[A-Za-z0-9\-._~!$&'()*+,;=:@/%?]*)").fullmatch
#: The longest fields, with the protocol before them, that a connection keeps for `match_repeated`.
MOST_KEPT: Final = 1024

# RFC 9112 §3. What is between the spaces is looked at by llhttp, and below.
_REQUEST_LINE: Final = re.compile(rb"([!-~]+) ([!-~]+) (HTTP/[0-9]\.[0-9])")
_TOKEN: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
# RFC 3986 §3.2.2 and §3.2.3: what Host is made of (RFC 9110 §7.2). User information is no part of it.
_HOST: Final = (
    rb"(?:\[(?:([0-9A-Fa-f:.]+)|[vV][0-9A-Fa-f]+\.[A-Za-z0-9\-._~!$&'()*+,;=:]+)\]"
    rb"|(?:[A-Za-z0-9\-._~!$&'()*+,;=]|%[0-9A-Fa-f]{2})*)(?::[0-9]*)?"
)
_HOST_VALUE: Final = re.compile(rb"[ \t]*" + _HOST + rb"[ \t]*")
_HOST_FIELDS: Final = re.compile(rb"(?i:\nhost:)([^\r]*)")
# RFC 9112 §3.2.2. A URI of the schemes http and https has a host that is not empty (RFC 9110 §4.2.1).
_ABSOLUTE: Final = re.compile(rb"(?i:https?)://(?![:/?#]|\Z)([^/?#]*).*")
# RFC 9110 §8.6. More digits than that are beyond every limit.
_LENGTH: Final = re.compile(rb"[0-9]{1,19}")
# RFC 9112 §3.2.3
_AUTHORITY: Final = re.compile(rb"[^:].*:[0-9]+")

# Half a line end. A CR that ends what has arrived may be the half of a whole one.
_BARE: Final = re.compile(rb"(?<!\r)\n|\r(?!\n|\Z)")
# The methods of HTTP that llhttp knows. It knows some of other protocols too.
_METHODS: Final = frozenset(
    b"ACL BIND CHECKOUT CONNECT COPY DELETE GET HEAD LINK LOCK M-SEARCH MERGE MKACTIVITY MKCALENDAR MKCOL MOVE NOTIFY "
    b"OPTIONS PATCH POST PROPFIND PROPPATCH PURGE PUT QUERY REBIND REPORT SEARCH SOURCE SUBSCRIBE TRACE UNBIND UNLINK "
    b"UNLOCK UNSUBSCRIBE".split()
)
_LONGEST_METHOD: Final = 32
# Methods that leave nothing to judge.
_ORDINARY: Final = frozenset({b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS"})


class Head(NamedTuple):
    """A head that may be served.

    Attributes:
        method: As it came; one of those that llhttp knows.
        target: The request target as it came: in origin form, in absolute form, or ``*``; of CONNECT, in authority form
            (RFC 9112 §3.2).
        protocol: HTTP/1.0 or HTTP/1.1.
        keep_alive: Whether the client leaves the connection open for another request (RFC 9112 §9.3).
        length: The length of the body in bytes, 0 where there is none; None if it is chunked.
        expects: Whether the client waits for an interim answer before it sends the body (RFC 9110 §10.1.1).
    """

    method: str
    target: str
    protocol: str
    keep_alive: bool
    length: int | None
    expects: bool


class QuickParser:
    """Parses the ordinary request: HTTP/1.1, a path, one Host, no body, the connection stays open.

    One parser serves all connections of a server, for it is fed whole heads only, and keeps nothing between them.
    """

    __slots__ = (
        "_bodies",
        "_complete",
        "_feed",
        "_few",
        "_hosts",
        "_keeps",
        "_limits",
        "_methods",
        "_parser",
        "_urls",
        "on_body",
        "on_url",
    )

    def __init__(self, limits: Limits, refused_methods: Collection[str]) -> None:
        self._limits = limits
        self._methods = _ORDINARY.difference(method.encode() for method in refused_methods)
        # A head no longer than this crosses no limit: a field takes four bytes at least.
        self._few = min(4 * limits.header_count, limits.request_line, limits.header, limits.headers)
        self._urls: list[bytes] = []
        self._bodies: list[bytes | None] = []
        self.on_url = self._urls.append
        self.on_body = self._bodies.append
        self._hosts: set[bytes] = set()  # values of Host that were found good
        self._renew()

    def _renew(self) -> None:
        """Forget whatever was fed."""
        self._urls.clear()
        self._bodies.clear()
        self._complete = 0
        self._parser = HttpRequestParser(self)
        self._feed = self._parser.feed_data
        self._keeps = self._parser.should_keep_alive

    def on_message_complete(self) -> None:
        """Called by llhttp; only now does it tell whether the connection stays open."""
        if self._keeps():
            self._complete += 1
        else:
            self._complete = 2  # as if there were two: not an ordinary one

    def on_chunk_header(self) -> None:
        """Called by llhttp."""
        self._bodies.append(None)

    def parse(self, data: bytes) -> tuple[str, str] | None:
        """Take what a connection has received, if it is an ordinary request and nothing else.

        Args:
            data: Something that ends with `HEAD_END`.

        Returns:
            The method and the target; or None, which says nothing about the request but that `parse` is to decide.
        """
        try:
            self._feed(data)
        except (HttpParserError, HttpParserUpgrade):
            self._renew()
            return None
        urls = self._urls
        # What precedes the last empty line is no line end, or else there is something after the head.
        if self._complete != 1 or self._bodies or len(urls) != 1 or data[-5] <= 0x0D:
            self._renew()
            return None
        self._complete = 0
        url = urls.pop()
        method = self._parser.get_method()
        if (
            not data.startswith(b" HTTP/1.1\r\n", len(method) + 1 + len(url))
            or url[0] != 0x2F  # "/"
            or method not in self._methods
            or (len(data) > self._few and self._is_large(data, len(url)))
        ):
            return None
        hosts = _HOST_FIELDS.findall(data)
        if len(hosts) != 1 or (hosts[0] not in self._hosts and not self._is_good(hosts[0])):
            return None
        return method.decode(), url.decode()

    def _is_large(self, data: bytes, target: int) -> bool:
        """Whether a head may cross a limit."""
        limits = self._limits
        return (
            target > limits.request_line
            or len(data) > limits.headers
            or data.count(b"\n") - 2 > limits.header_count
            or (len(data) > limits.header and max(map(len, data.split(b"\n"))) - 1 > limits.header)
        )

    def _is_good(self, host: bytes) -> bool:
        good = is_host(host)
        if good and len(host) < 256:
            if len(self._hosts) >= 256:
                self._hosts.clear()
            self._hosts.add(host)
        return good


def parse(head: bytes, limits: Limits, refused_methods: Collection[str]) -> Head:
    """Parse a head, or refuse it.

    Args:
        head: From the request line to the empty line, both included.
        limits: What it may be.
        refused_methods: Methods that are not served.

    Raises:
        Refused: It is malformed, ambiguous, too large, or asks for what this server does not do.
    """
    method, target, protocol = check_request_line(head[: head.index(b"\r\n")], limits)
    if len(head) > limits.headers:
        raise Refused(431, "The header section is too large")
    fields: list[tuple[bytes, bytes]] = []
    events = SimpleNamespace(on_header=lambda name, value: fields.append((name.lower(), value.strip(b" \t"))))
    parser = HttpRequestParser(events)
    try:
        parser.feed_data(head)
    except HttpParserUpgrade:
        pass  # nobody takes it, so it is ignored (RFC 9110 §7.8); and CONNECT is refused below
    except HttpParserError as error:
        raise Refused(400, str(error)) from None
    if method.decode() in refused_methods:
        raise Refused(501, f"The method {method.decode()} is not served")
    if len(fields) > limits.header_count:
        raise Refused(431, "There are too many header fields")
    if len(head) > limits.header and max(map(len, head.split(b"\r\n")[1:])) > limits.header:
        raise Refused(431, "A header field is too large")
    _check_target(method, target)
    _check_host(fields, protocol)
    length = _body_length(fields, protocol)
    if method == b"CONNECT" and length != 0:  # RFC 9110 §9.3.6
        raise Refused(400, "CONNECT has no body")
    return Head(
        method.decode(),
        target.decode(),
        protocol.decode(),
        keeps_alive(fields, protocol),
        length,
        length != 0 and _expects(fields, protocol),
    )


def check_request_line(line: bytes, limits: Limits) -> tuple[bytes, bytes, bytes]:
    """Split a request line (RFC 9112 §3), given without its CRLF.

    Args:
        line: The line.
        limits: How long its target may be.

    Returns:
        Method, target and protocol.

    Raises:
        Refused: It is malformed, its method is not known (RFC 9110 §9.1), its target is too long (§15.5.15), or it asks
            for another version than HTTP/1.0 and HTTP/1.1 (§15.6.6).
    """
    if len(line) > limits.request_line:
        _check_lengths(line, limits)
    match = _REQUEST_LINE.fullmatch(line)
    if match is None or not _TOKEN.fullmatch(match[1]):
        raise Refused(400, "The request line is malformed")
    if match[3] not in (b"HTTP/1.1", b"HTTP/1.0"):
        raise Refused(505, "Only HTTP/1.1 and HTTP/1.0 are spoken here")
    if match[1] not in _METHODS:  # RFC 9110 §9.1
        raise Refused(501, "The method is not known")
    return match[1], match[2], match[3]


def _check_lengths(line: bytes, limits: Limits) -> None:
    """Refuse a request line, which need not be complete, if one of its parts is too long."""
    method, _, rest = line.partition(b" ")
    target, _, protocol = rest.partition(b" ")
    if len(method) > _LONGEST_METHOD:  # RFC 9112 §3
        raise Refused(501, "The method is not known")
    if len(target) > limits.request_line:
        raise Refused(414, "The request target is too long")
    if len(protocol) > len("HTTP/1.1"):
        raise Refused(400, "The request line is malformed")


def check_beginning(data: bytes | bytearray, at: int, searched: int, limits: Limits) -> None:
    """Refuse an incomplete head as soon as it is hopeless, rather than wait for its end.

    Args:
        data: What has been received.
        at: Where the head begins in it.
        searched: The position up to which it was looked at before.
        limits: What it may be.

    Raises:
        Refused: As by `check_request_line`; or it is too large by now.
    """
    line_end = data.find(b"\r\n", at)
    if line_end < 0:
        if len(data) - at > limits.request_line + 64:
            _check_lengths(bytes(data[at:]), limits)
    elif line_end >= searched:
        check_request_line(bytes(data[at:line_end]), limits)
    if data[at] == 0x0A or _BARE.search(data, max(at, searched)):  # RFC 9112 §2.2 lets a server be strict about them
        raise Refused(400, "Lines end with CRLF")
    if len(data) - at > limits.headers:
        raise Refused(431, "The header section is too large")


def _check_target(method: bytes, target: bytes) -> None:
    if method == b"CONNECT":
        if not _AUTHORITY.fullmatch(target) or not is_host(target):
            raise Refused(400, "The target of CONNECT is a host and a port")
    elif target == b"*":
        if method != b"OPTIONS":  # RFC 9112 §3.2.4
            raise Refused(400, "The target * is for OPTIONS")
    elif not target.startswith(b"/"):
        match = _ABSOLUTE.fullmatch(target)
        if match is None or not is_host(match[1]):
            raise Refused(400, "The request target is malformed")


def _check_host(fields: list[tuple[bytes, bytes]], protocol: bytes) -> None:
    hosts = values_of(fields, b"host")
    if len(hosts) > 1 or (not hosts and protocol == b"HTTP/1.1"):  # RFC 9112 §3.2
        raise Refused(400, "There has to be one Host field")
    if hosts and not is_host(hosts[0]):
        raise Refused(400, "The Host field is malformed")


def is_host(value: bytes) -> bool:
    """Whether something can be the value of Host (RFC 9112 §3.2)."""
    match = _HOST_VALUE.fullmatch(value)
    if match is None or not match[1]:
        return match is not None
    try:
        IPv6Address(match[1].decode())
    except ValueError:
        return False
    return True


def _body_length(fields: list[tuple[bytes, bytes]], protocol: bytes) -> int | None:
    """Find out how the body is framed (RFC 9112 §6.3)."""
    codings = values_of(fields, b"transfer-encoding")
    lengths = values_of(fields, b"content-length")
    if codings:
        if protocol == b"HTTP/1.0" or lengths:  # RFC 9112 §6.1: one of the two ends is mistaken about it
            raise Refused(400, "The length of the body is ambiguous")
        members = [coding.strip(b" \t").lower() for coding in b",".join(codings).split(b",")]
        if b"" in members:
            raise Refused(400, "The transfer coding is malformed")
        if members != [b"chunked"]:
            raise Refused(501, "The transfer coding is not known")
        return None
    if not lengths:
        return 0
    if len(lengths) > 1 or not _LENGTH.fullmatch(lengths[0]):
        raise Refused(400, "The length of the body is malformed")
    return int(lengths[0])


def keeps_alive(fields: list[tuple[bytes, bytes]], protocol: bytes) -> bool:
    """Whether the client leaves the connection open (RFC 9112 §9.3)."""
    options = {option.strip(b" \t") for option in b",".join(values_of(fields, b"connection")).lower().split(b",")}
    return b"close" not in options and (protocol == b"HTTP/1.1" or b"keep-alive" in options)


def _expects(fields: list[tuple[bytes, bytes]], protocol: bytes) -> bool:
    """Whether the client waits for an interim answer (RFC 9110 §10.1.1)."""
    if protocol == b"HTTP/1.0":
        return False
    expected = b",".join(values_of(fields, b"expect")).lower().split(b",")
    members = {member.strip(b" \t") for member in expected} - {b""}
    if not members:
        return False
    if members != {b"100-continue"}:
        raise Refused(417, "Only 100-continue can be expected")
    return True


def values_of(fields: list[tuple[bytes, bytes]], wanted: bytes) -> list[bytes]:
    return [value for name, value in fields if name == wanted]


def split_fields(head: bytes) -> list[tuple[str, str]]:
    """Split the fields of a head that was parsed before, so that there is nothing left to refuse."""
    lines = head.decode("latin-1").split("\r\n")
    fields = []
    for line in lines[1 : lines.index("", 1)]:
        name, _, value = line.partition(":")
        fields.append((name, value.strip(" \t")))
    return fields
