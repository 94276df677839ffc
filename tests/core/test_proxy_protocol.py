"""The PROXY protocol (haproxy's "The PROXY protocol, Versions 1 & 2", whose sections are cited)."""

from __future__ import annotations

import contextlib
import importlib.util
import ipaddress
import logging
import socket
import ssl
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pants import Engine, Server, Stream, _proxy_protocol
from pants._proxy_protocol import HEADER_TIME, HeaderParser, MalformedHeaderError, ProxyHeader, TrustedProxies
from pants.testing import MemoryEngine
from tests.conftest import ExpectedLog
from tests.core.support import Peer, Recorder, client_of, descriptors, manual_engine, run_for, run_until, turns
from tests.core.tls_support import Certificates, certificates

ANY = ("127.0.0.1", 0)

# The example of §2.1, and its addresses as sockets have them.
LINE = b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n"
SOURCE, DESTINATION = ("192.168.0.1", 56324), ("192.168.0.11", 443)

# §2.2: the 12 bytes by which version 2 is known.
SIGNATURE = bytes.fromhex("0D0A0D0A000D0A515549540A")
TCP4 = bytes.fromhex("C0A80001 C0A8000B DC04 01BB")
TCP6 = bytes.fromhex("20010DB8000000000000000000000001 20010DB8000000000000000000000002 0400 01BB")
PROXY, LOCAL = 0x21, 0x20


def block(body: bytes, family: int = 0x11, command: int = PROXY, length: int | None = None) -> bytes:
    """A header of version 2."""
    size = len(body) if length is None else length
    return SIGNATURE + bytes([command, family]) + size.to_bytes(2, "big") + body


def unix(source: bytes, destination: bytes) -> bytes:
    return source.ljust(108, b"\0") + destination.ljust(108, b"\0")


def extension(kind: int, value: bytes) -> bytes:
    return bytes([kind]) + len(value).to_bytes(2, "big") + value


BLOCK = block(TCP4)
EXTENSIONS = (
    extension(0x01, b"h2") + extension(0x02, b"example.org") + extension(0x04, b"") + extension(0xEA, b"x" * 300)
)
NOTHING = ProxyHeader(None, None)

HEADERS: list[Any] = [
    pytest.param(LINE, ProxyHeader(SOURCE, DESTINATION), id="v1-TCP4"),
    pytest.param(
        b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n",  # "worst case", §2.1
        ProxyHeader(("255.255.255.255", 65535), ("255.255.255.255", 65535)),
        id="v1-TCP4-longest",
    ),
    pytest.param(
        b"PROXY TCP4 0.0.0.0 1.2.3.4 0 1\r\n", ProxyHeader(("0.0.0.0", 0), ("1.2.3.4", 1)), id="v1-TCP4-shortest"
    ),
    pytest.param(
        b"PROXY TCP6 2001:DB8::1 2001:db8:0:0:0:0:0:2 1024 443\r\n",
        ProxyHeader(("2001:db8::1", 1024, 0, 0), ("2001:db8::2", 443, 0, 0)),
        id="v1-TCP6",
    ),
    pytest.param(
        b"PROXY TCP6 ::ffff:192.0.2.1 ::1 5 6\r\n",
        ProxyHeader(("::ffff:192.0.2.1", 5, 0, 0), ("::1", 6, 0, 0)),
        id="v1-TCP6-mapped",
    ),
    pytest.param(b"PROXY UNKNOWN\r\n", NOTHING, id="v1-UNKNOWN"),
    pytest.param(
        b"PROXY UNKNOWN " + b" ".join([b"ffff:" * 7 + b"ffff"] * 2 + [b"65535"] * 2) + b"\r\n",  # 107 bytes, §2.1
        NOTHING,
        id="v1-UNKNOWN-longest",
    ),
    # "the receiver must ignore anything presented before the CRLF"
    pytest.param(b"PROXY UNKNOWN \r \n\0 x\r\r\n", NOTHING, id="v1-UNKNOWN-anything"),
    pytest.param(BLOCK, ProxyHeader(SOURCE, DESTINATION), id="v2-TCP4"),
    pytest.param(block(TCP6, 0x21), ProxyHeader(("2001:db8::1", 1024, 0, 0), ("2001:db8::2", 443, 0, 0)), id="v2-TCP6"),
    pytest.param(block(unix(b"/run/a", b"/run/b"), 0x31), ProxyHeader("/run/a", "/run/b"), id="v2-UNIX"),
    pytest.param(
        block(unix(b"x" * 108, "/run/ü".encode()), 0x31), ProxyHeader("x" * 108, "/run/ü"), id="v2-UNIX-longest"
    ),
    pytest.param(block(unix(b"", b"\0name"), 0x31), ProxyHeader("", b"\0name"), id="v2-UNIX-without-a-path"),
    pytest.param(block(TCP4 + EXTENSIONS), ProxyHeader(SOURCE, DESTINATION), id="v2-TLVs"),
    pytest.param(block(unix(b"/a", b"/b") + EXTENSIONS, 0x31), ProxyHeader("/a", "/b"), id="v2-UNIX-TLVs"),
    pytest.param(block(TCP4 + extension(1, b"x" * 4065)), ProxyHeader(SOURCE, DESTINATION), id="v2-longest"),
    # "the receiver must accept this connection as valid and must use the real connection endpoints and discard the
    # protocol block including the family which is ignored"
    pytest.param(block(b"", 0x00, LOCAL), NOTHING, id="v2-LOCAL"),
    pytest.param(block(TCP4, 0x11, LOCAL), NOTHING, id="v2-LOCAL-with-addresses"),
    pytest.param(block(b"\xff" * 7, 0xFF, LOCAL), NOTHING, id="v2-LOCAL-with-anything"),
    pytest.param(block(b"", 0x00), NOTHING, id="v2-UNSPEC"),
    pytest.param(block(b"\xff" * 9, 0x00), NOTHING, id="v2-UNSPEC-with-anything"),
]

# Each with what the error has to name.
MALFORMED: list[Any] = [
    pytest.param(b"GET / HTTP/1.1\r\n\r\n", "no PROXY header", id="HTTP"),
    pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "no PROXY header", id="TLS"),
    pytest.param(b"proxy TCP4 192.0.2.1 192.0.2.2 1 2\r\n", "no PROXY header", id="lower-case"),
    pytest.param(b"PROXX", "no PROXY header", id="v1-wrong-start"),
    pytest.param(SIGNATURE[:11] + b"\r", "no PROXY header", id="v2-wrong-signature"),
    pytest.param(b"\r\n\r\nx", "no PROXY header", id="v2-wrong-start"),
    pytest.param(b"PROXY UNKNOWN" + b"x" * 94, "longer than 107", id="v1-without-end"),
    pytest.param(b"PROXY UNKNOWN " + b"x" * 92 + b"\r\n", "longer than 107", id="v1-too-long"),
    pytest.param(b"PROXY UNKNOWN " + b"x" * 92 + b"\r", "longer than 107", id="v1-too-long-by-half-its-end"),
    pytest.param(b"PROXY UNKNOWNX\r\n", "malformed", id="v1-UNKNOWNX"),
    pytest.param(b"PROXY \r\n", "malformed", id="v1-empty"),
    pytest.param(b"PROXY TCP4\r\n", "malformed", id="v1-no-addresses"),
    pytest.param(b"PROXY UDP4 192.0.2.1 192.0.2.2 1 2\r\n", "malformed", id="v1-UDP4"),
    pytest.param(b"PROXY TCP5 192.0.2.1 192.0.2.2 1 2\r\n", "malformed", id="v1-TCP5"),
    pytest.param(b"PROXY tcp4 192.0.2.1 192.0.2.2 1 2\r\n", "malformed", id="v1-tcp4"),
    pytest.param(b"PROXY  TCP4 192.0.2.1 192.0.2.2 1 2\r\n", "malformed", id="v1-two-spaces"),
    pytest.param(b"PROXY TCP4 192.0.2.1  192.0.2.2 1 2\r\n", "malformed", id="v1-two-spaces-later"),
    pytest.param(b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2 \r\n", "malformed", id="v1-space-at-the-end"),
    pytest.param(b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3\r\n", "malformed", id="v1-too-many"),
    pytest.param(b"PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n", "malformed", id="v1-too-few"),
    pytest.param(b"PROXY TCP4\t192.0.2.1 192.0.2.2 1 2\r\n", "malformed", id="v1-tab"),
    pytest.param(b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\n\r\n", "malformed", id="v1-line-feed"),
    pytest.param(b"PROXY TCP4 192.0.2.1 192.0.2.2 1 65536\r\n", "above 65535", id="v1-port-above-65535"),
    pytest.param(b"PROXY TCP4 192.0.2.1 192.0.2.2 99999 2\r\n", "above 65535", id="v1-port-99999"),
    pytest.param(b"PROXY TCP4 192.0.2.1 192.0.2.2 100000 2\r\n", "malformed", id="v1-port-of-6-digits"),
    pytest.param(b"PROXY TCP4 192.0.2.1 192.0.2.2 080 2\r\n", "malformed", id="v1-port-with-leading-zero"),
    pytest.param(b"PROXY TCP4 192.0.2.1 192.0.2.2 00 2\r\n", "malformed", id="v1-port-00"),
    pytest.param(b"PROXY TCP4 192.0.2.1 192.0.2.2 -1 2\r\n", "malformed", id="v1-port-below-0"),
    pytest.param(b"PROXY TCP4 192.0.2.1 192.0.2.2 +1 2\r\n", "malformed", id="v1-port-with-sign"),
    pytest.param("PROXY TCP4 192.0.2.1 192.0.2.2 ١ 2\r\n".encode(), "malformed", id="v1-port-of-other-digits"),
    pytest.param(b"PROXY TCP4 192.0.2.01 192.0.2.2 1 2\r\n", "not an address of TCP4", id="v1-leading-zero"),
    pytest.param(b"PROXY TCP4 192.0.2.256 192.0.2.2 1 2\r\n", "not an address of TCP4", id="v1-above-255"),
    pytest.param(b"PROXY TCP4 192.0.2.1 192.0.2 1 2\r\n", "not an address of TCP4", id="v1-three-numbers"),
    pytest.param(b"PROXY TCP4 1 2 1 2\r\n", "not an address of TCP4", id="v1-one-number"),
    pytest.param(b"PROXY TCP4 ::1 ::1 1 2\r\n", "not an address of TCP4", id="v1-TCP4-with-IPv6"),
    pytest.param(b"PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n", "not an address of TCP6", id="v1-TCP6-with-IPv4"),
    pytest.param(b"PROXY TCP6 ::1 1::2::3 1 2\r\n", "not an address of TCP6", id="v1-two-double-colons"),
    pytest.param(b"PROXY TCP6 ::1 ::12345 1 2\r\n", "not an address of TCP6", id="v1-five-digits"),
    pytest.param(b"PROXY TCP6 fe80::1%1 ::1 1 2\r\n", "malformed", id="v1-scope"),
    pytest.param(b"PROXY TCP4 localhost localhost 1 2\r\n", "malformed", id="v1-name"),
    pytest.param(block(TCP4, command=0x11), "0x11", id="v2-version-1"),
    pytest.param(block(TCP4, command=0x31), "0x31", id="v2-version-3"),
    pytest.param(block(TCP4, command=0x22), "0x22", id="v2-command-2"),
    pytest.param(block(TCP4, 0x12), "0x12", id="v2-UDP4"),
    pytest.param(block(TCP6, 0x22), "0x22", id="v2-UDP6"),
    pytest.param(block(unix(b"a", b"b"), 0x32), "0x32", id="v2-UNIX-datagrams"),
    pytest.param(block(TCP4, 0x10), "0x10", id="v2-no-protocol"),
    pytest.param(block(TCP4, 0x01), "0x01", id="v2-no-family"),
    pytest.param(block(TCP4, 0x41), "0x41", id="v2-family-4"),
    pytest.param(block(TCP4[:-1]), "no room", id="v2-TCP4-too-short"),
    pytest.param(block(TCP6[:-1], 0x21), "no room", id="v2-TCP6-too-short"),
    pytest.param(block(unix(b"a", b"b")[:-1], 0x31), "no room", id="v2-UNIX-too-short"),
    pytest.param(block(b""), "no room", id="v2-no-addresses"),
    pytest.param(block(b"", length=4081), "4097 bytes is longer than 4096", id="v2-too-long"),
    pytest.param(block(b"", 0x00, LOCAL, length=65535), "longer than 4096", id="v2-LOCAL-too-long"),
    pytest.param(block(TCP4 + b"\1"), "cut off", id="v2-TLV-of-a-type"),
    pytest.param(block(TCP4 + b"\1\0"), "cut off", id="v2-TLV-of-half-a-length"),
    pytest.param(block(TCP4 + b"\1\0\1"), "cut off", id="v2-TLV-without-value"),
    pytest.param(block(TCP4 + EXTENSIONS[:-1]), "cut off", id="v2-TLV-cut-off"),
]


def parse(data: bytes, *cuts: int) -> tuple[ProxyHeader | None, bytes]:
    """Parse data that arrives in pieces; the header, and what was not claimed for it."""
    parser = HeaderParser()
    fed = 0
    for seen in (*cuts, len(data)):
        while fed < seen:
            claimed = parser.claim(data[fed:seen])
            assert claimed >= 1
            header = parser.feed(data[fed : fed + claimed])
            fed += claimed
            if header is not None:
                return header, data[fed:]
    return None, data[fed:]


# --- The parser ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data, header", HEADERS)
def test_header(data: bytes, header: ProxyHeader) -> None:
    assert parse(data) == (header, b"")
    for behind in (b"\n", b"\r\n", LINE, BLOCK, b"\x16\x03\x01" + bytes(5000)):
        assert parse(data + behind) == (header, behind), "what follows is not claimed"


@pytest.mark.parametrize("data, header", HEADERS)
def test_header_cut_anywhere(data: bytes, header: ProxyHeader) -> None:
    for cut in range(1, len(data)):
        assert parse(data + b"behind", cut) == (header, b"behind")
        assert parse(data[:cut]) == (None, b""), "all of an incomplete header is claimed"
    assert parse(data + b"behind", *range(1, len(data) + 7)) == (header, b"behind"), "byte by byte"


@pytest.mark.parametrize("data, reason", MALFORMED)
def test_malformed(data: bytes, reason: str) -> None:
    with pytest.raises(MalformedHeaderError, match=reason):
        parse(data)
    with pytest.raises(MalformedHeaderError, match="PROXY header") as caught:
        parse(data, *range(1, len(data)))
    assert str(caught.value).isprintable(), "it goes to the log"


@pytest.mark.parametrize("data", [b"G", b"X", b"\0", b"\n", b" PROXY", b"PX", SIGNATURE[:4] + b"\1"])
def test_what_cannot_become_a_header_is_refused_at_once(data: bytes) -> None:
    with pytest.raises(MalformedHeaderError):
        HeaderParser().claim(data)


def test_a_length_is_refused_before_its_bytes_have_come() -> None:
    with pytest.raises(MalformedHeaderError):
        HeaderParser().claim(block(b"", length=65535))


def test_less_may_be_taken_than_was_claimed() -> None:
    parser = HeaderParser()
    assert parser.claim(BLOCK) == 28
    assert parser.feed(BLOCK[:20]) is None
    assert parser.pending == 20
    assert parser.claim(BLOCK[20:] + b"behind") == 8
    assert parser.feed(BLOCK[20:]) == ProxyHeader(SOURCE, DESTINATION)


def test_fuzz_target() -> None:
    path = Path(__file__).parents[2] / "fuzz" / "fuzz_proxy_protocol.py"
    spec = importlib.util.spec_from_file_location("fuzz_proxy_protocol", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.fuzz(300)


# --- Whom to believe -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "addr, expected",
    [
        (("10.1.2.3", 5), True),
        (("11.1.2.3", 5), False),
        (("192.0.2.1", 5), True),
        (("192.0.2.2", 5), False),
        (("::1", 5, 0, 0), True),
        (("::2", 5, 0, 0), False),
        (("fe80::5%lo", 5, 0, 1), True),
        (("::ffff:10.1.2.3", 5, 0, 0), True),  # IPv4, on a socket for both
        (("::ffff:11.1.2.3", 5, 0, 0), False),
        ("", True),
        ("/run/client", True),
        (b"\0client", True),
        ((3, 5), False),  # of a family that has no such addresses (vsock(7))
    ],
)
def test_trusted_proxies(addr: Any, expected: bool) -> None:
    network = ipaddress.ip_network("fe80::/10")
    proxies = TrustedProxies(iter(["10.0.0.0/8", "192.0.2.1", ipaddress.ip_address("::1"), network, "unix"]))
    assert (addr in proxies) is expected
    assert addr in TrustedProxies(True)


def test_unix_is_trusted_where_it_is_named_only() -> None:
    assert "" not in TrustedProxies(["0.0.0.0/0", "::/0"])
    assert ("127.0.0.1", 5) not in TrustedProxies(["unix"])


@pytest.mark.parametrize("value", ["10.0.0.0/8", b"x", 1, 0, None, 5.5, [5], [None], [b"\1\2\3\4"], [("10.0.0.0", 8)]])
def test_proxy_protocol_of_another_type(value: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="proxy_protocol"):
        Server(proxy_protocol=value)


@pytest.mark.parametrize("value", [[], ["localhost"], ["10.0.0.1/8"], ["10.0.0.0/33"], [""], ["127.0.0.1", "x"]])
def test_proxy_protocol_with_other_values(value: Any) -> None:
    with pytest.raises(ValueError, match="proxy_protocol"):
        Server(proxy_protocol=value)


# --- Servers ---------------------------------------------------------------------------------------------------------


class Proxied(Server):
    """Echoes, and writes down what it accepts."""

    def __init__(self, proxy_protocol: Any = True, **kwargs: Any) -> None:
        self.accepted: list[Any] = []
        self.made: list[Recorder] = []

        class Echo(Recorder):
            def on_read(self, data: bytes) -> None:
                self.write(data)

        def make(**stream_kwargs: Any) -> Recorder:
            self.made.append(Echo(**stream_kwargs))
            return self.made[-1]

        super().__init__(make, proxy_protocol=proxy_protocol, **kwargs)

    def on_accept(self, sock: socket.socket, addr: Any) -> None:
        self.accepted.append(addr)
        super().on_accept(sock, addr)

    @property
    def stream(self) -> Recorder:
        """The only one that there is."""
        (stream,) = self.made
        return stream


@pytest.fixture
def server() -> Proxied:
    return Proxied().listen(ANY)


@pytest.fixture
def certs() -> Certificates:
    return certificates()


@pytest.fixture
def unix_path() -> Iterator[str]:
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        yield f"{name}/socket"


def closed(peer: Peer) -> bool:
    """Whether the server has closed the connection."""
    with contextlib.suppress(BlockingIOError):
        try:
            return peer.sock.recv(1) == b""
        except ConnectionResetError:
            return True
    return False


@pytest.mark.parametrize("data, header", HEADERS)
def test_header_and_request_in_one_segment(server: Proxied, data: bytes, header: ProxyHeader) -> None:
    with client_of(server) as peer:
        peer.send(data + b"request")
        assert peer.receive(7) == b"request"
        stream = server.stream
        if header == NOTHING:
            header = ProxyHeader(peer.sock.getsockname(), peer.sock.getpeername())
        assert server.accepted == [header.source]
        assert (stream.remote_address, stream.local_address) == header
        assert stream in server.channels.values()
        assert stream.names[0] == "connect"


def test_the_addresses_are_known_in_on_connect() -> None:
    seen = []

    class Asking(Stream):
        def on_connect(self) -> None:
            seen.append((self.remote_address, self.local_address))

    with client_of(Server(Asking, proxy_protocol=True).listen(ANY)) as peer:
        peer.send(LINE)
        run_until(lambda: seen)
    assert seen == [(SOURCE, DESTINATION)]


@pytest.mark.parametrize("data", [LINE, block(TCP4 + extension(2, b"name"))])
def test_byte_by_byte(server: Proxied, data: bytes) -> None:
    with client_of(server) as peer:
        for i in range(len(data)):
            assert not server.accepted
            peer.send(data[i : i + 1])
            turns(2)
        assert server.accepted == [SOURCE]
        peer.send(b"request")
        assert peer.receive(7) == b"request"


@pytest.mark.parametrize("data", [LINE, BLOCK])
def test_cut_anywhere(server: Proxied, data: bytes) -> None:
    for cut in range(len(data)):
        with client_of(server) as peer:
            peer.send(data[:cut])
            turns(2)
            peer.send(data[cut:] + b"request")
            assert peer.receive(7) == b"request"
    assert server.accepted == [SOURCE] * len(data)


def test_an_incomplete_header_keeps_the_loop_quiet(server: Proxied) -> None:
    with client_of(server) as peer:
        peer.send(LINE[:20])
        turns()
        assert run_for(0.1) < 5
        peer.send(LINE[20:])
        run_until(lambda: server.accepted)


def test_a_header_that_is_there_already_is_read_when_the_connection_is_accepted(server: Proxied) -> None:
    with client_of(server) as peer:
        peer.sock.setblocking(True)
        peer.sock.sendall(LINE)
        peer.sock.setblocking(False)
        turns(1)
        assert server.accepted == [SOURCE]


@pytest.mark.parametrize("proxy_protocol", [True, ["unix"]])
def test_unix_socket(unix_path: str, proxy_protocol: Any) -> None:
    server = Proxied(proxy_protocol).listen(unix_path)
    with client_of(server) as peer:
        peer.send(BLOCK[:5])
        turns()
        peer.send(BLOCK[5:] + b"request")
        assert peer.receive(7) == b"request"
    assert server.accepted == [SOURCE]


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1 65536\r\nrequest",
        b"PROXY UNKNOWN" + b"x" * 5000,
        block(TCP4, 0x12) + b"request",
        block(b"x" * 65535),
        block(TCP4 + b"\1") + b"request",
    ],
)
def test_malformed_is_closed_with_a_line_in_the_log(server: Proxied, expect_log: ExpectedLog, data: bytes) -> None:
    expect_log("closes the connection from .*PROXY header")
    with client_of(server) as peer, client_of(server) as other:
        peer.sock.setblocking(True)
        peer.sock.sendall(data)
        peer.sock.setblocking(False)
        run_until(lambda: closed(peer))
        other.send(LINE + b"others go on")
        assert other.receive(12) == b"others go on"
    (line,) = expect_log.lines
    assert line.isprintable()
    assert line.startswith("WARNING")
    assert server.accepted == [SOURCE]


def test_control_characters_are_escaped_in_the_log(server: Proxied, expect_log: ExpectedLog) -> None:
    expect_log(r"\\x1b\[2J\\n")
    with client_of(server) as peer:
        peer.send(b"PROXY TCP4 \x1b[2J\nINFO pants: all is well\r\n")
        run_until(lambda: closed(peer))
    assert all(line.isprintable() for line in expect_log.lines)


def test_others_than_the_proxies_are_closed(expect_log: ExpectedLog) -> None:
    expect_log("closes the connection from .*proxy_protocol")
    server = Proxied(["10.0.0.0/8", "unix"]).listen(ANY)
    with client_of(server) as peer:
        peer.send(LINE)
        run_until(lambda: closed(peer))
    assert not server.accepted


def test_the_proxies_are_let_in() -> None:
    server = Proxied(["127.0.0.0/8"]).listen(ANY)
    with client_of(server) as peer:
        peer.send(LINE)
        run_until(lambda: server.accepted)


@pytest.mark.parametrize("reset", [True, False])
def test_a_check_whether_there_is_a_server_is_not_worth_a_line(
    server: Proxied, reset: bool, caplog: pytest.LogCaptureFixture
) -> None:
    before = descriptors()
    with caplog.at_level(logging.INFO, "pants"), client_of(server) as peer:
        turns()
        (peer.reset if reset else peer.close)()
        run_until(lambda: descriptors() <= before)
    assert not caplog.records
    assert not server.accepted


@pytest.mark.parametrize("reset", [True, False])
def test_a_peer_that_goes_in_the_middle(server: Proxied, expect_log: ExpectedLog, reset: bool) -> None:
    expect_log("in the middle of the PROXY header")
    before = descriptors()
    with client_of(server) as peer:
        peer.send(LINE[:20])
        turns()
        (peer.reset if reset else peer.close)()
        run_until(lambda: descriptors() <= before)
    assert not server.accepted


def test_a_peer_that_ends_after_its_header(server: Proxied) -> None:
    with client_of(server) as peer:
        peer.send(LINE + b"request")
        peer.end()
        assert peer.receive_to_end() == b"request"


@pytest.mark.parametrize("sent", [b"", LINE[:20], BLOCK[:20]])
def test_deadline(expect_log: ExpectedLog, sent: bytes) -> None:
    """The deadline is for the whole header: a byte now and then does not put it off."""
    expect_log("no complete PROXY header within 5 seconds")
    assert HEADER_TIME >= 3, "so long as TCP takes to repeat a segment (§2)"
    with manual_engine() as engine:
        server = Proxied(engine=engine).listen(ANY)
        with client_of(server) as peer:
            turns(2, engine)
            for i in range(10):
                peer.send(sent[i : i + 1])
                engine.advance((HEADER_TIME - 0.1) / 10)
            assert not closed(peer)
            engine.advance(0.2)
            assert closed(peer)
        assert not server.accepted


def test_the_deadline_is_over_with_the_header() -> None:
    with manual_engine() as engine:
        server = Proxied(engine=engine).listen(ANY)
        with client_of(server) as peer:
            turns(2, engine)
            peer.send(LINE)
            turns(2, engine)
            engine.advance(HEADER_TIME * 2)
            peer.send(b"request")
            assert peer.receive(7) == b"request"


def test_a_flood(server: Proxied, expect_log: ExpectedLog, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the bound the connections that have waited longest go."""
    expect_log("more than 5 wait for a PROXY header")
    monkeypatch.setattr(_proxy_protocol, "HEADER_SOCKETS", 5)
    with contextlib.ExitStack() as stack:
        peers = []
        for _ in range(12):
            peers.append(stack.enter_context(client_of(server)))
            turns(2)
        assert [closed(peer) for peer in peers] == [True] * 7 + [False] * 5
        for peer in peers[7:]:
            peer.send(LINE + b"request")
            assert peer.receive(7) == b"request"
    assert len(expect_log.lines) == 7


def test_close_drops_what_waits(server: Proxied) -> None:
    before = descriptors()
    with client_of(server) as peer:
        peer.send(LINE[:20])
        turns()
        server.close()
        assert closed(peer)
        turns()
    assert descriptors() < before
    assert not server.accepted


def test_closing_the_engine_drops_what_waits() -> None:
    with manual_engine() as engine:
        server = Proxied(engine=engine).listen(ANY)
        with client_of(server) as peer:
            peer.send(LINE[:20])
            turns(2, engine)
            engine.close()
            assert closed(peer)


@pytest.mark.parametrize("sent", [b"", LINE[:20]])
def test_stop_listening_lets_headers_be_completed(server: Proxied, sent: bytes) -> None:
    with client_of(server) as peer:
        peer.send(sent)
        turns()
        server.stop_listening()
        turns()
        peer.send(LINE[len(sent) :] + b"request")
        assert peer.receive(7) == b"request"
    assert server.accepted == [SOURCE]
    server.close()


def test_stop_listening_keeps_the_deadline(expect_log: ExpectedLog) -> None:
    expect_log("no complete PROXY header")
    with manual_engine() as engine:
        server = Proxied(engine=engine).listen(ANY)
        with client_of(server) as peer:
            turns(2, engine)
            server.stop_listening()
            engine.advance(HEADER_TIME)
            assert closed(peer)


def test_a_poller_that_is_full(server: Proxied, expect_log: ExpectedLog, monkeypatch: pytest.MonkeyPatch) -> None:
    expect_log("closes the connection from .*too many descriptors")

    def watch(*_: Any) -> None:
        raise OSError("too many descriptors")

    with client_of(server) as peer:
        monkeypatch.setattr(server.engine, "watch", watch)
        turns()
        assert closed(peer)


class Waiting(Proxied):
    """Polls in its on_accept(), until a function has been called."""

    during: Callable[[], object]

    def on_accept(self, sock: socket.socket, addr: Any) -> None:
        super().on_accept(sock, addr)
        self.during()


def test_a_hook_that_polls_is_not_entered_again() -> None:
    server = Waiting().listen(ANY)
    with client_of(server) as first, client_of(server) as second:
        turns()

        def during() -> None:
            second.send(LINE)
            turns(5)
            assert len(server.accepted) == 1
            server.during = lambda: None

        server.during = during
        first.send(LINE)
        run_until(lambda: len(server.accepted) == 2)


def test_the_deadline_waits_for_a_hook_that_polls(expect_log: ExpectedLog) -> None:
    with manual_engine() as engine:
        server = Waiting(engine=engine).listen(ANY)
        with client_of(server) as first, client_of(server) as second, client_of(server) as third:
            turns(2, engine)

            def during() -> None:
                second.send(LINE)
                engine.advance(HEADER_TIME * 2)
                assert len(server.accepted) == 1
                assert not closed(second)
                assert not closed(third)
                server.during = lambda: None

            server.during = during
            first.send(LINE)
            turns(4, engine)
            assert len(server.accepted) == 2
            assert not expect_log.lines
            expect_log("no complete PROXY header")
            engine.advance(1)
            assert closed(third)


def test_a_hook_that_fails_costs_its_own_connection_only(server: Proxied, expect_log: ExpectedLog) -> None:
    expect_log("on_accept of .* failed; the connection from \\('192.168.0.1', 56324\\) is closed")
    server.ConnectionClass = lambda **_: 1 / 0  # type: ignore[assignment]
    with client_of(server) as peer:
        turns()
        peer.send(LINE)
        run_until(lambda: closed(peer))
    assert server.listening


def test_an_on_accept_that_keeps_no_channel() -> None:
    class Own(Server):
        taken: socket.socket | None = None

        def on_accept(self, sock: socket.socket, addr: Any) -> None:
            self.taken = sock

    server = Own(proxy_protocol=True).listen(ANY)
    with client_of(server) as peer:
        peer.send(LINE + b"request")
        run_until(lambda: server.taken)
        assert server.taken is not None
        with server.taken as taken:
            assert taken.recv(100) == b"request"


def test_without_the_option_a_header_is_data() -> None:
    server = Proxied(False).listen(ANY)
    with client_of(server) as peer:
        peer.send(LINE)
        assert peer.receive(len(LINE)) == LINE
        assert server.accepted == [peer.sock.getsockname()]


# --- TLS -------------------------------------------------------------------------------------------------------------


class SecurePeer:
    """TLS over a `Peer`, byte by byte in the test's hands."""

    def __init__(self, peer: Peer, certs: Certificates) -> None:
        self.peer = peer
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = certs.client_context().wrap_bio(self.incoming, self.outgoing, server_hostname="localhost")

    def hello(self) -> bytes:
        """The ClientHello."""
        with pytest.raises(ssl.SSLWantReadError):
            self.tls.do_handshake()
        return self.outgoing.read()

    def until(self, step: Callable[[], Any]) -> Any:
        """Repeat a step of TLS until it has got all it needs."""
        result: list[Any] = []

        def done() -> bool:
            self.incoming.write(self.peer.now())
            with contextlib.suppress(ssl.SSLWantReadError):
                result.append(step())
            self.peer.send(self.outgoing.read())
            return bool(result)

        run_until(done, self.peer.engine)
        return result[0]


@pytest.mark.parametrize("data", [LINE, BLOCK, block(TCP4 + EXTENSIONS)])
@pytest.mark.parametrize("how", ["one segment", "apart", "bytes"])
def test_the_header_is_read_before_tls_starts(certs: Certificates, data: bytes, how: str) -> None:
    server = Proxied(ssl_options={"certfile": certs.good}).listen(ANY)
    with client_of(server) as peer:
        secure = SecurePeer(peer, certs)
        hello = secure.hello()
        size = {"one segment": len(data + hello), "apart": len(data), "bytes": 1}[how]
        for start in range(0, len(data + hello), size):
            peer.send((data + hello)[start : start + size])
            turns(1)
        secure.until(secure.tls.do_handshake)
        secure.tls.write(b"request")
        assert secure.until(lambda: secure.tls.read(7)) == b"request"
        assert server.accepted == [SOURCE]
        assert server.stream.secure
        assert server.stream.remote_address == SOURCE
        assert server.stream.local_address == DESTINATION


def test_a_header_inside_of_tls_is_none(certs: Certificates, expect_log: ExpectedLog) -> None:
    expect_log("there is no PROXY header")
    server = Proxied(ssl_options={"certfile": certs.good}).listen(ANY)
    with client_of(server) as peer:
        peer.send(SecurePeer(peer, certs).hello())
        run_until(lambda: closed(peer))
    assert not server.accepted


def test_on_ssl_wrap_error_is_told_the_client(certs: Certificates) -> None:
    told = []

    class Told(Proxied):
        def on_ssl_wrap_error(self, sock: socket.socket, addr: Any, exception: Exception) -> None:
            told.append((addr, type(exception)))
            sock.close()

    with MemoryEngine() as engine:  # which has no TLS
        peer = engine.accept(Told(ssl_options={"certfile": certs.good}, engine=engine))
        peer.send(LINE)
        assert peer.ended
    assert told == [(SOURCE, NotImplementedError)]


# --- Others ----------------------------------------------------------------------------------------------------------


def test_memory_engine() -> None:
    with MemoryEngine() as engine:
        server = Proxied(["10.0.0.0/8"], engine=engine)
        peer = engine.accept(server, remote_address=("10.0.0.1", 5))
        peer.send(LINE + b"request", chunk=1)
        assert peer.take() == b"request"
        assert server.accepted == [SOURCE]
        assert server.stream.local_address == DESTINATION


def test_memory_engine_refuses(expect_log: ExpectedLog) -> None:
    expect_log("not in its proxy_protocol")
    expect_log("no complete PROXY header")
    with MemoryEngine() as engine:
        server = Proxied(["10.0.0.0/8"], engine=engine)
        assert engine.accept(server).ended
        peer = engine.accept(server, remote_address=("10.0.0.1", 5))
        engine.advance(HEADER_TIME)
        assert peer.ended


@pytest.mark.parametrize("secure", [False, True])
def test_curl(peer: Callable[[str], str], certs: Certificates, secure: bool) -> None:
    class Page(Stream):
        def on_connect(self) -> None:
            self.read_delimiter = b"\r\n\r\n"

        def on_read(self, data: bytes) -> None:
            body = f"{self.remote_address} {self.local_address}".encode()
            self.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%b" % (len(body), body))
            self.close()

    server = Server(Page, ssl_options={"certfile": certs.good} if secure else None, proxy_protocol=["127.0.0.1"])
    port = server.listen(ANY).local_address[1]
    scheme = "https" if secure else "http"
    command = [peer("curl"), "--silent", "--show-error", "--noproxy", "*", "--cacert", certs.ca, "--haproxy-protocol"]
    with subprocess.Popen([*command, f"{scheme}://127.0.0.1:{port}/"], stdout=subprocess.PIPE) as curl:
        run_until(lambda: curl.poll() is not None, Engine.instance())
        assert curl.stdout is not None
        told = curl.stdout.read().decode()
    assert curl.returncode == 0
    source, destination = told.replace("(", "").split(")")[:2]
    assert source.startswith("'127.0.0.1', ")
    assert destination.strip() == f"'127.0.0.1', {port}"
