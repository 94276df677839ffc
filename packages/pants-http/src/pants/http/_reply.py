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
from pants.http.utils import HTTPHeaders

# What llhttp says of the end of a message that changes the protocol.
_ENDED: Final = re.compile("Pause on CONNECT/Upgrade")
_BARE_END: Final = b"\n\n"
_LENGTH: Final = re.compile(rb"[0-9]{1,18}")
# Heads that are kept, and the longest of them, in bytes.
_MOST_KEPT: Final = 64
_LONGEST_KEPT: Final = 2048
#: RFC 9110 §15.4: those that a client may follow by itself.
REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})


class BadReply(Exception):
    """A response is malformed, or too large; the message says how."""


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
            return f"its transfer coding was not asked for: {b', '.join(members).decode('latin-1')[:80]}"
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
        longest: The longest head to take, in bytes.
        most_fields: The most fields that one may have.
    """

    __slots__ = ("_kept", "_longest", "_most_fields")

    def __init__(self, longest: int, most_fields: int) -> None:
        self._longest = longest
        self._most_fields = most_fields
        self._kept: dict[bytes, Reply] = {}

    def find_end(self, data: bytes | bytearray, searched: int = 0) -> int:
        """Find the end of a head.

        Args:
            data: What has been received; the head begins it.
            searched: The number of bytes that were looked at before.

        Returns:
            The number of bytes that the head has; 0 if it is not complete.

        Raises:
            BadReply: It is too long, or its lines do not end with CRLF.
        """
        end = data.find(HEAD_END, max(0, searched - len(HEAD_END) + 1)) + len(HEAD_END)
        if end >= len(HEAD_END):
            if end > self._longest:
                raise BadReply("its head is too long")
            return end
        if data.find(_BARE_END, max(0, searched - 1)) >= 0:  # RFC 9112 §2.2
            raise BadReply("its lines do not end with CRLF")
        if len(data) > self._longest:
            raise BadReply("its head is too long")
        return 0

    def parse(self, head: bytes) -> Reply:
        """Parse a head, as `find_end` has found it.

        Raises:
            BadReply: It is malformed, or has too many fields.
        """
        reply = self._kept.get(head)
        if reply is None:
            reply = Reply(head)
            if len(reply.fields) > self._most_fields:
                raise BadReply("it has too many header fields")
            if len(head) <= _LONGEST_KEPT:
                if len(self._kept) >= _MOST_KEPT:
                    self._kept.clear()
                self._kept[head] = reply
        return reply
