"""The head of a response: the grammar is llhttp's, the policy is here (RFC 9112 §4, §6.3). Sans-IO.

Servers answer with the same head again and again, but for its Date, which changes once a second. So the heads that were
read last are kept, and one that comes again, byte for byte, is not parsed again.
"""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Final

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from pants.http._head import HEAD_END, keeps_alive, values_of
from pants.http._limits import FieldLimits
from pants.http.utils import HTTPHeaders

# What llhttp says of the end of a message that changes the protocol.
_ENDED: Final = re.compile("Pause on CONNECT/Upgrade")
_BARE_END: Final = b"\n\n"
_START: Final = b"HTTP/1."
_CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_LENGTH: Final = re.compile(rb"[0-9]{1,18}")
# Heads that are kept, and the longest of them, in bytes.
_MOST_KEPT: Final = 64
_LONGEST_KEPT: Final = 2048
#: RFC 9110 §15.4: those that a client may follow by itself.
REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})


class BadReply(Exception):
    """A response is malformed, or too large; the message says how.

    Attributes:
        reply: The last of the interim responses, where there are too many; else None.
    """

    reply: Reply | None = None


class ReplyTooLarge(BadReply):
    """A response crosses a limit."""


class Reply:
    """The head of a response.

    Args:
        head: From the status line to the empty line, both included.

    Attributes:
        status: The status code.
        reason: The reason phrase, as Latin-1.
        protocol: HTTP/1.0 or HTTP/1.1.
        fields: Names in lower case, and values, as they came.
        keep_alive: Whether the server leaves the connection open behind the content (RFC 9112 §9.3).
        length: The length of the content, where the head tells it; None where it is chunked, or goes on until the
            connection ends. What follows from the method and the status (RFC 9112 §6.3) is not considered.
        chunked: Whether it is chunked.
        flaw: What is wrong with how the content is framed; an empty string where nothing is. It does not matter where
            there is no content, as in the answer to CONNECT (RFC 9110 §9.3.6).
        ordinary: Whether nothing in it is to be heeded: it is a final answer that is neither a redirect nor a demand
            for authentication, and has neither cookies nor a content coding.

    Raises:
        BadReply: It is malformed.
    """

    __slots__ = ("chunked", "fields", "flaw", "keep_alive", "length", "ordinary", "protocol", "reason", "status")

    def __init__(self, head: bytes) -> None:
        fields: list[tuple[bytes, bytes]] = []
        reasons: list[bytes] = []
        parser = HttpResponseParser(
            SimpleNamespace(
                on_header=lambda name, value: fields.append((name.lower(), value.strip(b" \t"))),
                on_status=reasons.append,
            )
        )
        try:
            parser.feed_data(head)
        except HttpParserUpgrade:
            pass
        except HttpParserError as error:
            # A 101 ends what llhttp parses, and without an Upgrade it has another name for that.
            if parser.get_status_code() != 101 or not _ENDED.search(str(error)):
                raise BadReply(str(error)) from None
        if not head.startswith((b"HTTP/1.1 ", b"HTTP/1.0 ")):  # llhttp takes other protocols too
            raise BadReply("it is not of HTTP/1.1 or HTTP/1.0")
        self.status: int = parser.get_status_code()
        if self.status < 100:
            raise BadReply(f"there is no status code {self.status}")
        self.reason = reasons[0].decode("latin-1") if reasons else ""
        if _CONTROL.search(self.reason):  # RFC 9112 §4; llhttp lets them through
            raise BadReply("there are control characters in its status line")
        self.protocol = head[:8].decode()
        self.fields = fields
        self.keep_alive = keeps_alive(fields, head[:8])
        codings = values_of(fields, b"transfer-encoding")
        lengths = values_of(fields, b"content-length")
        self.chunked = bool(codings)
        self.length = int(lengths[0]) if len(lengths) == 1 and _LENGTH.fullmatch(lengths[0]) else None
        self.flaw = ""
        if codings:
            self.flaw = self._transfer_flaw(codings)
        elif lengths and self.length is None:
            self.flaw = "its Content-Length is malformed"
        names = {name for name, _ in fields}
        self.ordinary = (
            self.status >= 200
            and self.status not in REDIRECTS
            and self.status != 401
            and names.isdisjoint((b"set-cookie", b"content-encoding", b"authentication-info"))
        )

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.status}>"

    def _transfer_flaw(self, codings: list[bytes]) -> str:
        """What is wrong unless the content is chunked, and nothing else: no other transfer coding is asked for."""
        members = [coding.strip(b" \t").lower() for coding in b",".join(codings).split(b",")]
        if members != [b"chunked"]:
            return f"its transfer coding was not asked for: {ascii(b', '.join(members).decode('latin-1'))[:80]}"
        return "it is chunked, and of HTTP/1.0" if self.protocol == "HTTP/1.0" else ""  # RFC 9112 §6.1

    def headers(self) -> HTTPHeaders:
        """Return the fields, each time anew."""
        headers = HTTPHeaders()
        for name, value in self.fields:
            headers.add(name.decode("latin-1"), value.decode("latin-1"))
        return headers


class ReplyParser:
    """Parses the heads of responses, and keeps those that may come again.

    Args:
        limits: What a head may be.
    """

    __slots__ = ("kept", "limits")

    def __init__(self, limits: FieldLimits) -> None:
        self.limits = limits
        #: Those that were parsed last and may come again: final ones.
        self.kept: dict[bytes, Reply] = {}

    def parse(self, head: bytes) -> Reply:
        """Parse a head.

        Raises:
            BadReply: It is malformed, or too large.
        """
        reply = self.kept.get(head)
        if reply is None:
            reply = Reply(head)
            limits = self.limits
            if len(reply.fields) > limits.header_count:
                raise ReplyTooLarge("it has too many header fields")
            if len(head) > limits.header and max(map(len, head.split(b"\r\n"))) > limits.header:
                raise ReplyTooLarge("one of its header fields is too long")
            if len(head) <= _LONGEST_KEPT and reply.status >= 200:
                if len(self.kept) >= _MOST_KEPT:
                    self.kept.clear()
                self.kept[head] = reply
        return reply


class ReplyReader:
    """Reads the head of a response as it arrives, and the interim responses before it.

    Args:
        parser: What parses it.
        most_interim: The most interim responses (RFC 9110 §15.2) to take.
    """

    __slots__ = ("_buffer", "_most_interim", "_parser", "_searched", "interim", "rest")

    def __init__(self, parser: ReplyParser, most_interim: int) -> None:
        self._parser = parser
        self._most_interim = most_interim
        self.reset()

    def reset(self) -> None:
        """Begin anew."""
        self._buffer: bytearray | None = None
        self._searched = 0
        #: The interim responses so far.
        self.interim = 0
        #: What has arrived behind the head, once that is complete.
        self.rest = b""

    @property
    def begun(self) -> bool:
        """Whether anything has arrived."""
        return self._buffer is not None or self.interim > 0

    def feed(self, received: bytes) -> Reply | None:
        """Take what has arrived.

        Returns:
            The final response, or one of status 101; None where neither is complete.

        Raises:
            BadReply: It is malformed, or too large, or there are too many interim responses.
        """
        data: bytes | bytearray = received
        if self._buffer is not None:
            self._buffer += received
            data = self._buffer
        else:  # as nearly all are: whole, and with a head that came before
            end = received.find(HEAD_END) + len(HEAD_END)
            kept = self._parser.kept.get(received[:end])
            if kept is not None:
                self.rest = received[end:]
                return kept
        while end := self._find_end(data):
            reply = self._parser.parse(bytes(data[:end]))
            self._searched = 0
            if reply.status >= 200 or reply.status == 101:
                self._buffer = None
                self.rest = bytes(data[end:])
                return reply
            data = data[end:]
            self.interim += 1
            if self.interim > self._most_interim:
                error = ReplyTooLarge("there are too many interim answers")
                error.reply = reply
                raise error
        if not _START.startswith(data[: len(_START)]):  # not worth waiting for
            raise BadReply("it does not begin with HTTP/1")
        self._searched = len(data)
        if data is not self._buffer:
            self._buffer = bytearray(data) if data else None
        return None

    def _find_end(self, data: bytes | bytearray) -> int:
        """Find the end of the head with which ``data`` begins: the number of its bytes, 0 if it is not complete."""
        searched, longest = self._searched, self._parser.limits.headers
        end = data.find(HEAD_END, max(0, searched - len(HEAD_END) + 1)) + len(HEAD_END)
        if end >= len(HEAD_END):
            if end > longest:
                raise ReplyTooLarge("its head is too long")
            return end
        if data.find(_BARE_END, max(0, searched - 1)) >= 0:  # RFC 9112 §2.2
            raise BadReply("its lines do not end with CRLF")
        if len(data) > longest:
            raise ReplyTooLarge("its head is too long")
        return 0
