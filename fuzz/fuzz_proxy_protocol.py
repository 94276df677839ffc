"""Fuzz target for `pants._proxy_protocol.HeaderParser`: headers right and wrong, cut up anyhow, with anything behind.

    python fuzz/fuzz_proxy_protocol.py [EXAMPLES]

What must hold: the header and its length are those of `expected`, which reads all of the data at once and in another
way; nothing but MalformedHeaderError is raised; as long as a header is incomplete, all that has come is claimed for it;
and never is a byte claimed that stands behind it.
"""

from __future__ import annotations

import ipaddress
import socket
import sys
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pants._proxy_protocol import HeaderParser, MalformedHeaderError, ProxyHeader

SIGNATURE = b"\x0d\x0a\x0d\x0a\x00\x0d\x0a\x51\x55\x49\x54\x0a"
LENGTHS = {0x11: 12, 0x21: 36, 0x31: 216}

names = ["PROXY", "TCP4", "TCP6", "UNKNOWN", "", " ", "\r", "\n", "\r\n", "x"]
ports = ["0", "80", "65535", "65536", "080", "-1"]
hosts = [
    "192.0.2.1",
    "192.0.2.01",
    "192.0.2",
    "256.0.0.1",
    "2001:db8::1",
    "::",
    "::ffff:192.0.2.1",
    "::1%lo",
    "1::2::3",
]
words = st.sampled_from(names + ports + hosts)
lines = st.lists(words, max_size=8).map(lambda found: " ".join(found).encode() + b"\r\n")
good_lines = st.one_of(
    st.tuples(
        st.just("TCP4"), st.ip_addresses(v=4), st.ip_addresses(v=4), st.integers(0, 65535), st.integers(0, 65535)
    ),
    st.tuples(
        st.just("TCP6"), st.ip_addresses(v=6), st.ip_addresses(v=6), st.integers(0, 65535), st.integers(0, 65535)
    ),
    st.tuples(st.just("UNKNOWN"), st.text("ab \n\r", max_size=100)),
).map(lambda found: ("PROXY " + " ".join(map(str, found)) + "\r\n").encode())
extensions = st.lists(
    st.tuples(st.integers(0, 255), st.binary(max_size=20)).map(
        lambda found: bytes([found[0]]) + len(found[1]).to_bytes(2, "big") + found[1]
    ),
    max_size=4,
).map(b"".join)


@st.composite
def blocks(draw: st.DrawFn) -> bytes:
    """Give a header of version 2, right or slightly wrong."""
    command = draw(st.sampled_from([0x20, 0x21, 0x21, 0x21, 0x22, 0x11]))
    family = draw(st.sampled_from([0x00, 0x11, 0x21, 0x31, 0x12, 0x10, 0x01, 0xFF]))
    size = LENGTHS.get(family, 0)
    addresses = draw(st.one_of(st.binary(min_size=size, max_size=size), st.binary(max_size=300)))
    rest = addresses + draw(extensions)
    length = draw(st.sampled_from([len(rest)] * 4 + [len(rest) + 1, max(0, len(rest) - 1), 4080, 4081, 65535]))
    return SIGNATURE + bytes([command, family]) + length.to_bytes(2, "big") + rest


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """Give a header with some bytes changed, cut off or put in."""
    data = bytearray(draw(st.one_of(lines, good_lines, blocks())))
    for _ in range(draw(st.integers(1, 3))):
        where = draw(st.integers(0, max(0, len(data) - 1)))
        data[where : where + draw(st.integers(0, 2))] = draw(st.binary(max_size=2))
    return bytes(data)


headers = st.one_of(lines, good_lines, blocks(), damaged(), st.binary(max_size=40))


def expected(data: bytes) -> tuple[ProxyHeader, int] | type[Exception] | None:
    """Give the header and its length; the error, if this can become none; None if it is incomplete."""
    try:
        if data[:1] == b"P":
            return expected_line(data)
        if data[:1] == SIGNATURE[:1]:
            return expected_block(data)
    except ValueError:
        return MalformedHeaderError
    return MalformedHeaderError if data else None


def expected_line(data: bytes) -> tuple[ProxyHeader, int] | None:
    """Do the same for version 1, or raise ValueError."""
    if data[:6] != b"PROXY "[: len(data)]:
        raise ValueError
    line, found, _ = data[:107].partition(b"\r\n")
    if not found:
        if len(data) >= 107:
            raise ValueError
        return None
    size = len(line) + 2
    _, protocol, *rest = line.split(b" ")
    if protocol == b"UNKNOWN":
        return ProxyHeader(None, None), size
    source, destination, *ports = (part.decode("ascii") for part in rest)
    first, second = ports
    family = {b"TCP4": socket.AF_INET, b"TCP6": socket.AF_INET6}.get(protocol)
    if family is None or "%" in source + destination:
        raise ValueError
    return ProxyHeader(address(family, source, first), address(family, destination, second)), size


def address(family: int, host: str, port: str) -> Any:
    """Give an address as sockets have it."""
    if str(int(port)) != port or not 0 <= int(port) <= 65535:
        raise ValueError
    parsed: Any = ipaddress.ip_address(host)
    if parsed.version != (4 if family == socket.AF_INET else 6):
        raise ValueError
    text = socket.inet_ntop(family, parsed.packed)
    return (text, int(port)) if family == socket.AF_INET else (text, int(port), 0, 0)


def expected_block(data: bytes) -> tuple[ProxyHeader, int] | None:
    """Do the same for version 2."""
    if data[:12] != SIGNATURE[: len(data)]:
        raise ValueError
    if len(data) < 16:
        return None
    command, family, size = data[12], data[13], 16 + data[14] * 256 + data[15]
    if command not in (0x20, 0x21) or size > 4096:
        raise ValueError
    silent = command == 0x20 or family == 0
    if not silent and (family not in LENGTHS or size < 16 + LENGTHS[family]):
        raise ValueError
    if len(data) < size:
        return None
    if silent:
        return ProxyHeader(None, None), size
    rest = data[16 + LENGTHS[family] : size]
    while rest:
        if len(rest) < 3 or len(rest) < 3 + rest[1] * 256 + rest[2]:
            raise ValueError
        rest = rest[3 + rest[1] * 256 + rest[2] :]
    if family == 0x31:
        return ProxyHeader(path(data[16:124]), path(data[124:232])), size
    width, kind = (4, socket.AF_INET) if family == 0x11 else (16, socket.AF_INET6)
    hosts = [socket.inet_ntop(kind, data[start : start + width]) for start in (16, 16 + width)]
    ports = [int.from_bytes(data[start : start + 2], "big") for start in (16 + 2 * width, 18 + 2 * width)]
    found = [(host, port) if width == 4 else (host, port, 0, 0) for host, port in zip(hosts, ports, strict=True)]
    return ProxyHeader(*found), size


def path(field: bytes) -> str | bytes:
    """Give the address of a UNIX socket."""
    if not any(field):
        return ""
    if field[0] == 0:
        while field[-1] == 0:
            field = field[:-1]
        return field
    return field.split(b"\0")[0].decode(sys.getfilesystemencoding(), "surrogateescape")


def parse_in_pieces(header: bytes, behind: bytes, draw: st.DataObject) -> None:
    """Let the parser see the data in pieces, and hold what comes out against what was expected."""
    data = header + behind
    parser = HeaderParser()
    found: tuple[ProxyHeader, int] | type[Exception] | None = None
    fed = seen = 0
    message = ""
    while found is None and seen < len(data):
        # What the kernel has, and how much of it a call gives: both may be anything.
        seen = min(len(data), seen + draw.draw(st.integers(1, 40)))
        try:
            while found is None and fed < seen:
                claimed = parser.claim(data[fed:seen])
                assert 1 <= claimed <= seen - fed
                taken = draw.draw(st.integers(1, claimed))
                complete = parser.feed(data[fed : fed + taken])
                fed += taken
                if complete is not None:
                    found = complete, fed
        except MalformedHeaderError as error:
            found, message = type(error), str(error)
    assert message.isprintable()  # it goes to the log
    assert found == expected(data[:seen] if isinstance(found, type) else data)


def fuzz(examples: int) -> None:
    """Try so many examples."""
    bounded = settings(
        max_examples=examples, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
    )
    given(headers, st.binary(max_size=20), st.data())(bounded(parse_in_pieces))()


if __name__ == "__main__":
    fuzz(int(sys.argv[1]) if len(sys.argv) > 1 else 20000)
