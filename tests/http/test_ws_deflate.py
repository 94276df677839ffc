"""Compressed messages (RFC 7692): what the two ends agree on, and what they send then."""

from __future__ import annotations

import itertools
import random
import zlib
from collections.abc import Callable, Iterator
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.exceptions import NegotiationError
from websockets.extensions.permessage_deflate import (
    ClientPerMessageDeflateFactory,
    PerMessageDeflate,
    ServerPerMessageDeflateFactory,
)
from websockets.frames import Frame, Opcode
from websockets.headers import build_extension, parse_extension
from websockets.typing import ExtensionName

from pants.http import _ws_deflate
from pants.http._ws_deflate import Codec, Deflate, deflate_settings
from pants.http._ws_frames import WebSocketError

NAME: Final = "permessage-deflate"
TAIL: Final = b"\x00\x00\xff\xff"
HELLO: Final = bytes.fromhex("f2 48 cd c9 c9 07 00")  # RFC 7692 §7.2.3.1
HELLO_FINAL: Final = bytes.fromhex("f3 48 cd c9 c9 07 00 00")  # §7.2.3.5
BITS: Final = range(9, 16)

#: Neither end begins anew.
KEEP: Final = Deflate(server_no_context_takeover=False, client_no_context_takeover=False)


def accepted(offers: str, deflate: Deflate = KEEP) -> tuple[str, Codec]:
    found = deflate.accept(offers)
    assert found is not None
    return found


def parameters(header: str) -> dict[str, str | None]:
    [(name, found)] = parse_extension(header)
    assert name == NAME
    assert len(dict(found)) == len(found)
    return dict(found)


def inflated(codec: Codec, *parts: bytes) -> bytes:
    """A message, in parts."""
    found = b""
    for number, part in enumerate(parts):
        for piece in codec.inflate(part, number == len(parts) - 1):
            assert piece
            found += piece
    return found


class Peer:
    """The other end, by Python's zlib alone (RFC 7692 §7.2)."""

    def __init__(self, bits: int = 15, inflate_bits: int = 15, keep: bool = True, keep_inflater: bool = True) -> None:
        self._new_compressor = lambda: zlib.compressobj(9, zlib.DEFLATED, -bits)
        self._new_inflater = lambda: zlib.decompressobj(-inflate_bits)
        self._compressor, self._inflater = self._new_compressor(), self._new_inflater()
        self._keep, self._keep_inflater = keep, keep_inflater

    def compress(self, data: bytes) -> bytes:
        if not self._keep:
            self._compressor = self._new_compressor()
        found = self._compressor.compress(data) + self._compressor.flush(zlib.Z_SYNC_FLUSH)
        assert found.endswith(TAIL)
        return found[:-4]

    def inflate(self, data: bytes) -> bytes:
        if not self._keep_inflater:
            self._inflater = self._new_inflater()
        return self._inflater.decompress(data + TAIL)


# --- Settings -------------------------------------------------------------------------------------------------------


def test_settings() -> None:
    assert deflate_settings(True) == Deflate()
    assert deflate_settings(False) is None
    assert deflate_settings(KEEP) is KEEP
    assert hash(Deflate()) == hash(Deflate())


@pytest.mark.parametrize(
    "name, lowest, highest",
    [("server_max_window_bits", 9, 15), ("client_max_window_bits", 9, 15), ("level", -1, 9), ("memory_level", 1, 9)],
)
def test_ranges_of_settings(name: str, lowest: int, highest: int) -> None:
    value: Any
    for value in range(lowest, highest + 1):
        assert getattr(Deflate(**{name: value}), name) == value
    for value in (lowest - 1, highest + 1, 1000):
        with pytest.raises(ValueError, match=name):
            Deflate(**{name: value})
    wrong: Any
    for wrong in ("9", 9.0, None, True):
        with pytest.raises(TypeError, match=name):
            Deflate(**{name: wrong})


def test_settings_of_a_wrong_kind() -> None:
    wrong: Any
    for name in ("server_no_context_takeover", "client_no_context_takeover"):
        for wrong in (1, 0, None, "yes"):
            with pytest.raises(TypeError, match=name):
                Deflate(**{name: wrong})
    with pytest.raises(ValueError, match="min_size"):
        Deflate(min_size=-1)
    for wrong in (True, "1", 1.5):
        with pytest.raises(TypeError, match="min_size"):
            Deflate(min_size=wrong)


# --- The server's end of the negotiation ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "offers, answer",
    [
        ("permessage-deflate", {}),
        ("permessage-deflate; client_max_window_bits", {}),
        ("permessage-deflate; server_no_context_takeover", {"server_no_context_takeover": None}),
        ("permessage-deflate;server_max_window_bits=10", {"server_max_window_bits": "10"}),
        ('permessage-deflate; server_max_window_bits="10"', {"server_max_window_bits": "10"}),
        ("permessage-deflate ; server_max_window_bits = 15", {"server_max_window_bits": "15"}),
        ("x-unknown; a=b, permessage-deflate", {}),
        ("x-unknown, x-other;server_max_window_bits=99, permessage-deflate", {}),
        (", ,permessage-deflate,,", {}),
        # RFC 7692 §7.1.2.2: the fallback where the first offer cannot be taken.
        ("permessage-deflate; server_max_window_bits=8, permessage-deflate", {}),
        ("permessage-deflate; unknown, permessage-deflate; server_max_window_bits=9", {"server_max_window_bits": "9"}),
        # The first that can be taken is (RFC 7692 §5.1: in the order of preference).
        ("permessage-deflate; server_max_window_bits=12, permessage-deflate", {"server_max_window_bits": "12"}),
    ],
)
def test_offers_that_are_taken(offers: str, answer: dict[str, str | None]) -> None:
    header, codec = accepted(offers)
    found = parameters(header)
    found.pop("client_no_context_takeover", None)  # which a server may ask for at any time
    if "client_max_window_bits" not in offers:
        assert "client_max_window_bits" not in found
    found.pop("client_max_window_bits", None)
    assert found == answer
    assert inflated(codec, HELLO) == b"Hello"


@pytest.mark.parametrize(
    "offer",
    [
        # RFC 7692 §7.1: an unknown parameter, an invalid value, the same name twice.
        "unknown",
        "client_max_window_bit",
        "unknown=1",
        "server_no_context_takeover=1",
        "client_no_context_takeover=true",
        "server_no_context_takeover; server_no_context_takeover",
        "client_no_context_takeover; client_no_context_takeover",
        "server_max_window_bits",
        "server_max_window_bits=7",
        "server_max_window_bits=16",
        "server_max_window_bits=0",
        "server_max_window_bits=08",
        "server_max_window_bits=010",
        "server_max_window_bits=1e1",
        "server_max_window_bits=10; server_max_window_bits=10",
        "server_max_window_bits=10; server_max_window_bits=11",
        "client_max_window_bits=7",
        "client_max_window_bits=16",
        "client_max_window_bits=015",
        "client_max_window_bits=-9",
        "client_max_window_bits; client_max_window_bits",
        "client_max_window_bits=10; client_max_window_bits=10",
        "client_max_window_bits; client_max_window_bits=10",
        "client_max_window_bits=10; client_max_window_bits",
    ],
)
def test_offers_that_are_declined(offer: str) -> None:
    declined = f"{NAME}; {offer}"
    for deflate in (Deflate(), KEEP, Deflate(server_max_window_bits=10, client_max_window_bits=10)):
        assert deflate.accept(declined) is None
        assert deflate.accept(f"{declined}, {declined}") is None
        assert deflate.accept(f"{declined}, {NAME}") is not None


def test_other_extensions_are_not_taken() -> None:
    for offers in ("x-webkit-deflate-frame", "permessage-bzip2; a=b", "permessage-deflate-x", "deflate, gzip"):
        assert KEEP.accept(offers) is None


@pytest.mark.parametrize(
    "offers",
    [
        *(";", "=", "permessage-deflate;", "permessage-deflate; =", "permessage-deflate; server_max_window_bits="),
        *("permessage-deflate server_no_context_takeover", 'permessage-deflate; a="b', 'permessage-deflate; a="b c"'),
        *(
            "permessage-deflate; a=b=c",
            "permessage-deflate; a b",
            "a/b",
            '"permessage-deflate"',
            "permessage-deflate;;",
        ),
        *('permessage-deflate; a=""', "permessage-deflate, b; c=;", "\x00", "é", "permessage-deflate\n"),
    ],
)
def test_malformed_headers(offers: str) -> None:
    """RFC 6455 §9.1: the handshake is refused."""
    with pytest.raises(ValueError):
        KEEP.accept(offers)
    with pytest.raises(ValueError):
        KEEP.confirm(offers)


ASKED: Final = [
    (*takeovers, server, client)
    for takeovers in itertools.product([False, True], repeat=2)
    for server in (None, *range(8, 16))
    for client in (None, "", *range(8, 16))
]


def offered(server_anew: bool, client_anew: bool, server: int | None, client: Any) -> str:
    parts = [NAME]
    if server_anew:
        parts.append("server_no_context_takeover")
    if client_anew:
        parts.append("client_no_context_takeover")
    if server is not None:
        parts.append(f"server_max_window_bits={server}")
    if client is not None:
        parts.append(f"client_max_window_bits={client}" if client else "client_max_window_bits")
    return "; ".join(parts)


@pytest.mark.parametrize(
    "deflate",
    [
        *(Deflate(), KEEP, Deflate(server_no_context_takeover=False), Deflate(client_no_context_takeover=False)),
        Deflate(server_max_window_bits=11, client_max_window_bits=11),
        Deflate(server_no_context_takeover=False, client_no_context_takeover=False, server_max_window_bits=9),
        Deflate(server_no_context_takeover=False, client_no_context_takeover=False, client_max_window_bits=9),
    ],
    ids=str,
)
def test_every_offer(deflate: Deflate) -> None:
    """RFC 7692 §7.1.1, §7.1.2: what an answer has to contain, and may not."""
    client: Any
    for server_anew, client_anew, server, client in ASKED:
        offers = offered(server_anew, client_anew, server, client)
        found = deflate.accept(offers)
        if server == 8:  # zlib has no such window for raw data, and with a larger one it would not be kept
            assert found is None
            continue
        assert found is not None, offers
        answer = parameters(found[0])
        assert "server_no_context_takeover" in answer or not (server_anew or deflate.server_no_context_takeover)
        assert "client_no_context_takeover" in answer or not deflate.client_no_context_takeover
        # RFC 7692 §7.1.2.1: no larger than was offered, and as the settings say.
        bits = answer.get("server_max_window_bits")
        if server is not None or deflate.server_max_window_bits < 15:
            assert int(bits or 99) <= min(server or 15, deflate.server_max_window_bits)
        # §7.1.2.2: only where the client knows of it.
        bits = answer.get("client_max_window_bits")
        if client is None:
            assert bits is None
        elif bits is not None:
            assert 8 <= int(bits) <= (client or 15)
        if client is not None and deflate.client_max_window_bits < 15:
            assert int(bits or 99) <= deflate.client_max_window_bits
        # The client of the package `websockets` agrees.
        factory = (
            ClientPerMessageDeflateFactory(server_anew, client_anew, server, True if client == "" else client)
            if (client != 8)
            else None
        )
        if factory is not None:
            factory.process_response_params(list(answer.items()), [])


SIMILAR: Final = [b"The quick brown fox jumps over the lazy dog. " * 3, b"The quick brown fox, again", b"", b"fox" * 90]


@pytest.mark.parametrize("server_anew", [False, True], ids=["", "server-anew"])
@pytest.mark.parametrize("client_anew", [False, True], ids=["", "client-anew"])
def test_context_takeover_as_a_server(server_anew: bool, client_anew: bool) -> None:
    """RFC 7692 §7.1.1: what each end may count on, by Python's zlib."""
    header, codec = accepted(
        NAME, Deflate(server_no_context_takeover=server_anew, client_no_context_takeover=client_anew, min_size=0)
    )
    assert ("server_no_context_takeover" in header, "client_no_context_takeover" in header) == (
        server_anew,
        client_anew,
    )
    peer = Peer(keep=not client_anew, keep_inflater=not server_anew)
    sizes = []
    for message in SIMILAR * 2:
        assert inflated(codec, peer.compress(message)) == message
        compressed = codec.compress(message)
        sizes.append(len(compressed))
        assert peer.inflate(compressed) == message
    # It is used, too: the second time they are shorter, unless each is for itself.
    assert (sizes[4:] == sizes[:4]) is server_anew
    assert (sum(sizes[4:]) < sum(sizes[:4])) is not server_anew


@pytest.mark.parametrize("client_anew", [False, True])
def test_what_a_client_may_still_do(client_anew: bool) -> None:
    """RFC 7692 §7.1.1.2: an offer of client_no_context_takeover is a hint, which an answer without it does not hold."""
    header, codec = accepted(f"{NAME}; client_no_context_takeover", KEEP)
    peer = Peer(keep="client_no_context_takeover" not in header)
    for message in SIMILAR * 2:
        assert inflated(codec, peer.compress(message)) == message


# --- The client's end -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "deflate",
    [
        Deflate(
            server_no_context_takeover=server_anew,
            client_no_context_takeover=client_anew,
            server_max_window_bits=server,
            client_max_window_bits=client,
            min_size=0,
        )
        for server_anew, client_anew, server, client in itertools.product(
            [False, True], [False, True], [9, 15], [9, 15]
        )
    ],
    ids=str,
)
def test_offers_of_a_client(deflate: Deflate) -> None:
    offer = deflate.offer()
    found = parameters(offer)
    assert ("server_no_context_takeover" in found) is deflate.server_no_context_takeover
    assert ("client_no_context_takeover" in found) is deflate.client_no_context_takeover
    assert int(found.get("server_max_window_bits") or 15) == deflate.server_max_window_bits
    # RFC 7692 §7.1.2.2: without it, a server could not ask for a smaller window.
    assert "client_max_window_bits" in found
    assert int(found["client_max_window_bits"] or 15) == deflate.client_max_window_bits
    # A server of the package `websockets` takes it, and messages pass both ways.
    for factory in (
        ServerPerMessageDeflateFactory(),
        ServerPerMessageDeflateFactory(True, True),
        ServerPerMessageDeflateFactory(server_max_window_bits=10, client_max_window_bits=10),
    ):
        answer, theirs = factory.process_request_params(list(found.items()), [])
        codec = deflate.confirm(build_extension([(ExtensionName(NAME), answer)]))
        assert codec is not None
        exchange(codec, theirs)
    # And so does this end's.
    header, ours = accepted(offer, Deflate(min_size=0))
    codec = deflate.confirm(header)
    assert codec is not None
    for message in SIMILAR * 2:
        assert inflated(ours, codec.compress(message)) == message
        assert inflated(codec, ours.compress(message)) == message


def exchange(codec: Codec, theirs: PerMessageDeflate) -> None:
    """Send messages both ways, whole and in fragments, to the package `websockets` and from it."""
    for message in SIMILAR * 2 + [random.Random(1).randbytes(3000)]:
        sent = Frame(Opcode.BINARY, codec.compress(message), rsv1=True)
        assert theirs.decode(sent).data == message
        received = theirs.encode(Frame(Opcode.TEXT, message))
        assert received.rsv1
        assert inflated(codec, bytes(received.data)) == message
        parts = [message[at : at + 20] for at in range(0, len(message), 20)] or [b""]
        found, received_parts = b"", []
        for number, part in enumerate(parts):
            last, opcode = number == len(parts) - 1, Opcode.CONT if number else Opcode.TEXT
            frame = Frame(opcode, codec.compress(part, last), fin=last, rsv1=not number)
            found += theirs.decode(frame).data
            received_parts.append(bytes(theirs.encode(Frame(opcode, part, fin=last)).data))
        assert found == message
        assert inflated(codec, *received_parts) == message


def test_a_server_that_does_not_compress() -> None:
    assert Deflate().confirm("") is None


@pytest.mark.parametrize(
    "deflate, answer",
    [
        pytest.param(KEEP, "x-unknown", id="another"),
        pytest.param(KEEP, "permessage-deflate, x-unknown", id="another-behind"),
        pytest.param(KEEP, "permessage-deflate, permessage-deflate", id="twice"),
        pytest.param(KEEP, "permessage-deflate; unknown", id="unknown"),
        pytest.param(KEEP, "permessage-deflate; server_no_context_takeover=1", id="value"),
        pytest.param(KEEP, "permessage-deflate; client_no_context_takeover=1", id="value-client"),
        pytest.param(
            KEEP, "permessage-deflate; server_no_context_takeover; server_no_context_takeover", id="same-name-twice"
        ),
        pytest.param(KEEP, "permessage-deflate; server_max_window_bits", id="no-value"),
        # RFC 7692 §7.1.2.2: in an answer it has a value.
        pytest.param(KEEP, "permessage-deflate; client_max_window_bits", id="no-value-client"),
        *(pytest.param(KEEP, f"permessage-deflate; server_max_window_bits={bits}", id=f"s{bits}") for bits in (7, 16)),
        *(pytest.param(KEEP, f"permessage-deflate; client_max_window_bits={bits}", id=f"c{bits}") for bits in (7, 16)),
        # §7.1.1.1: a server that takes such an offer says so.
        pytest.param(Deflate(), "permessage-deflate", id="takeover"),
        pytest.param(Deflate(), "permessage-deflate; client_no_context_takeover", id="takeover-client"),
        # §7.1.2.1: and here with a window that is no larger.
        pytest.param(
            Deflate(server_no_context_takeover=False, server_max_window_bits=10), "permessage-deflate", id="no-window"
        ),
        pytest.param(
            Deflate(server_no_context_takeover=False, server_max_window_bits=10),
            "permessage-deflate; server_max_window_bits=11",
            id="larger-window",
        ),
        pytest.param(
            Deflate(server_no_context_takeover=False, client_max_window_bits=10),
            "permessage-deflate; client_max_window_bits=11",
            id="larger-window-client",
        ),
    ],
)
def test_answers_that_are_refused(deflate: Deflate, answer: str) -> None:
    """RFC 7692 §5.1, §7.1: the client fails the connection."""
    with pytest.raises(ValueError):
        deflate.confirm(answer)


@pytest.mark.parametrize("server", [None, *range(8, 16)])
@pytest.mark.parametrize("anew", [False, True])
def test_answers_that_are_taken(server: int | None, anew: bool) -> None:
    """A server may ask for either, offered or not (RFC 7692 §7.1.1.1, §7.1.2.1)."""
    for client in (None, *BITS):
        codec = KEEP.confirm(offered(anew, anew, server, client))
        assert codec is not None
        # A server with a window of 2**8 does what one with 2**9 does, as zlib cannot, but it is read as such.
        peer = Peer(bits=max(server or 15, 9), inflate_bits=client or 15, keep=not anew, keep_inflater=not anew)
        noise = random.Random(2).randbytes(600 if (client or 15) < 11 else 5000)
        for message in (*SIMILAR, noise + noise, *SIMILAR):
            # Its window is kept: what is further back the peer has forgotten, and would say so.
            assert peer.inflate(codec.compress(message)) == message
            if server != 8:
                assert inflated(codec, peer.compress(message)) == message


@pytest.mark.parametrize("bits", BITS)
def test_windows_of_a_server(bits: int) -> None:
    """RFC 7692 §7.1.2.1: nothing is referred to that the client has forgotten."""
    for deflate, offers in (
        (KEEP, f"{NAME}; server_max_window_bits={bits}"),
        (Deflate(server_no_context_takeover=False, server_max_window_bits=bits), NAME),
    ):
        header, codec = accepted(offers, deflate)
        assert int(parameters(header).get("server_max_window_bits") or 15) == bits
        peer = Peer(inflate_bits=bits)
        noise = random.Random(3).randbytes((1 << bits) + 100)
        for message in (noise, noise, noise[50:] + noise[:50]):
            assert peer.inflate(codec.compress(message)) == message


@pytest.mark.parametrize("bits", range(8, 16))
def test_windows_of_a_client(bits: int) -> None:
    """RFC 7692 §7.1.2.2: a client that offers a smaller window uses no more; one that does not may use all."""
    for offers in (f"{NAME}; client_max_window_bits={bits}", NAME):
        header, codec = accepted(offers, KEEP)
        agreed = int(parameters(header).get("client_max_window_bits") or 15)
        assert agreed == 15 or agreed <= bits
        peer = Peer(bits=max(agreed, 9))
        if agreed == 8:
            assert inflated(codec, HELLO, b"") == b"Hello"
            continue
        noise = random.Random(4).randbytes((1 << agreed) - 300)
        for message in (noise, noise, noise):
            assert inflated(codec, peer.compress(message)) == message


def test_a_client_that_does_not_know_of_its_window() -> None:
    """RFC 7692 §7.1.2.2: it uses the largest, whatever the settings say."""
    header, codec = accepted(NAME, Deflate(client_no_context_takeover=False, client_max_window_bits=9))
    assert "client_max_window_bits" not in header
    noise = random.Random(5).randbytes(30000)
    peer = Peer()
    for _ in range(2):
        assert inflated(codec, peer.compress(noise)) == noise


# --- Messages -------------------------------------------------------------------------------------------------------


def codecs() -> Iterator[Codec]:
    """As a server, with and without context takeover; and as a client."""
    yield accepted(NAME, KEEP)[1]
    yield accepted(NAME, Deflate())[1]
    codec = KEEP.confirm(NAME)
    assert codec is not None
    yield codec


@pytest.mark.parametrize(
    "parts, message",
    [
        pytest.param([HELLO], b"Hello", id="one-block"),
        pytest.param([HELLO[:3], HELLO[3:]], b"Hello", id="fragments"),
        pytest.param([bytes.fromhex("00 05 00 fa ff 48 65 6c 6c 6f 00")], b"Hello", id="not-compressed"),
        pytest.param([HELLO_FINAL], b"Hello", id="final"),
        pytest.param([bytes.fromhex("f2 48 05 00 00 00 ff ff ca c9 c9 07 00")], b"Hello", id="two-blocks"),
        pytest.param([b"\x00"], b"", id="empty"),
        pytest.param([b"\x02\x00"], b"", id="empty-fixed-block"),
        pytest.param([b"", HELLO, b""], b"Hello", id="empty-fragments"),
    ],
)
def test_examples_of_the_rfc(parts: list[bytes], message: bytes) -> None:
    """RFC 7692 §7.2.3."""
    for codec in codecs():
        for _ in range(3):
            assert inflated(codec, *parts) == message
            data = b"".join(parts)
            assert inflated(codec, *[bytes([byte]) for byte in data]) == message
            assert inflated(codec, *[bytes([byte]) for byte in data], b"") == message
            for at in range(len(data) + 1):
                assert inflated(codec, data[:at], data[at:]) == message


def test_sharing_a_window() -> None:
    """RFC 7692 §7.2.3.2."""
    for codec in (accepted(NAME)[1], KEEP.confirm(NAME)):
        assert codec is not None
        assert inflated(codec, HELLO) == b"Hello"
        assert inflated(codec, bytes.fromhex("f2 00 11 00 00")) == b"Hello"
    # Who does not keep it cannot read that.
    codec = accepted(NAME, Deflate())[1]
    assert inflated(codec, HELLO) == b"Hello"
    with pytest.raises(WebSocketError) as caught:
        inflated(codec, bytes.fromhex("f2 00 11 00 00"))
    assert caught.value.code == 1007


def test_written_messages() -> None:
    for codec in codecs():
        assert codec.compress(b"Hello") == HELLO
    assert accepted(NAME)[1].min_size == 256


def test_final_blocks() -> None:
    """RFC 7692 §7.2.3.5: a deflate stream may end, and another begin, within a message and between messages."""
    final = zlib.compressobj(9, zlib.DEFLATED, -15)
    stream = final.compress(b"a" * 100) + final.flush()
    for codec in codecs():
        for data, message in (
            (HELLO_FINAL, b"Hello"),
            (HELLO, b"Hello"),
            (HELLO_FINAL[:-1] + HELLO, b"HelloHello"),
            (HELLO_FINAL[:-1] * 3 + HELLO_FINAL, b"Hello" * 4),
            (stream * 3 + b"\x00", b"a" * 300),
            (b"\x03\x00" * 5 + b"\x00", b""),
            (HELLO, b"Hello"),
        ):
            assert inflated(codec, data) == message
            assert inflated(codec, *[bytes([byte]) for byte in data]) == message
            for at in range(len(data)):
                assert inflated(codec, data[:at], data[at:]) == message


def test_empty_messages() -> None:
    """RFC 7692 §7.2.3.6: an empty message is an empty block."""
    for codec in codecs():
        peer = Peer()
        for message in (b"", b"", b"a", b"", b"", b"b" * 1000, b""):
            compressed = codec.compress(message)
            assert compressed
            assert peer.inflate(compressed) == message
        for _ in range(3):
            assert codec.compress(b"") == b"\x00"
            assert inflated(codec, b"\x00") == b""
        assert inflated(codec, b"\x00", b"\x00\x00\xff\xff\x00") == b""


@pytest.mark.parametrize("parts", [[b"abc", b"", b"abc"], [b"", b"abc"], [b"abc", b""], [b""] * 5, [b"a" * 9999] * 2])
def test_messages_in_fragments(parts: list[bytes]) -> None:
    """RFC 7692 §7.2.1: compressed as a whole, and then cut."""
    for codec in codecs():
        peer = Peer(keep=False)
        for _ in range(3):
            compressed = [codec.compress(part, number == len(parts) - 1) for number, part in enumerate(parts)]
            assert peer.inflate(b"".join(compressed)) == b"".join(parts)
            data = peer.compress(b"".join(parts))
            found = b""
            for at in range(0, len(data), 3):
                for piece in codec.inflate(data[at : at + 3], at + 3 >= len(data)):
                    found += piece
            assert found == b"".join(parts)


@settings(max_examples=30)
@given(
    st.lists(st.lists(st.one_of(st.binary(max_size=30), st.just(b"ab" * 2000)), min_size=1, max_size=4), max_size=5),
    st.booleans(),
    st.sampled_from(BITS),
    st.sampled_from([-1, 0, 1, 9]),
    st.sampled_from([1, 8, 9]),
)
def test_what_is_sent_arrives(messages: list[list[bytes]], keep: bool, bits: int, level: int, memory: int) -> None:
    settings_ = Deflate(
        server_no_context_takeover=not keep,
        client_no_context_takeover=not keep,
        server_max_window_bits=bits,
        client_max_window_bits=bits,
        level=level,
        memory_level=memory,
        min_size=0,
    )
    header, server = accepted(settings_.offer(), settings_)
    client = settings_.confirm(header)
    assert client is not None
    [(_, found)] = parse_extension(header)
    factory = ClientPerMessageDeflateFactory(not keep, not keep, *((bits, bits) if bits < 15 else (None, True)))
    theirs = factory.process_response_params(found, [])
    for parts in messages:
        for sender, receiver in ((server, client), (client, server)):
            compressed = [sender.compress(part, number == len(parts) - 1) for number, part in enumerate(parts)]
            assert inflated(receiver, *compressed) == b"".join(parts)
            if sender is server:
                assert theirs.decode(Frame(Opcode.TEXT, b"".join(compressed), rsv1=True)).data == b"".join(parts)


# --- What is malformed ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        *(b"\x06", b"\x07\x00", b"\xff" * 10, b"\x00\x01\x00\x00\x00a", b"\x02\xff\xff\xff\xff", b"\x03\x06"),
        zlib.compress(b"Hello"),  # with a head of zlib's
        b"\x1f\x8b\x08\x00" + bytes(6) + HELLO,  # or gzip's
        HELLO_FINAL[:-1] + b"\xff" * 9,
    ],
    ids=bytes.hex,
)
def test_garbage(data: bytes) -> None:
    for index in range(3):
        for size in (len(data), 1, 2):
            codec = list(codecs())[index]
            with pytest.raises(WebSocketError) as caught:
                inflated(codec, *[data[at : at + size] for at in range(0, len(data), size)], bytes(20))
            assert caught.value.code == 1007


@settings(max_examples=150)
@given(st.lists(st.tuples(st.binary(max_size=40), st.booleans()), max_size=6), st.booleans())
def test_any_garbage(parts: list[tuple[bytes, bool]], keep: bool) -> None:
    """It becomes something, or a WebSocketError."""
    codec = accepted(NAME, KEEP if keep else Deflate())[1]
    code = 1007
    try:
        for part, last in parts:
            for piece in codec.inflate(part, last):
                assert piece
    except WebSocketError as error:
        code = error.code
    assert code == 1007


class Bits:
    """Makes a deflate stream bit by bit (RFC 1951 §3.1.1)."""

    def __init__(self) -> None:
        self._bits: list[int] = []

    def number(self, value: int, width: int) -> None:
        self._bits += [value >> at & 1 for at in range(width)]

    def codes(self, codes: str) -> None:
        self._bits += map(int, codes)

    def data(self) -> bytes:
        bits = self._bits + [0] * (-len(self._bits) % 8)
        return bytes(sum(bits[at + place] << place for place in range(8)) for at in range(0, len(bits), 8))


def block(letters: int, matches: int, end: str, final: bool) -> bytes:
    """A block of a code of its own (RFC 1951 §3.2.7): "0" for 258 characters, "10" for an "a", "11" for the end.

    Behind "0" comes the distance, of which there is one: "0" for 1; "1" means nothing.
    """
    bits = Bits()
    bits.number(final, 1)
    bits.number(2, 2)
    bits.number(286 - 257, 5)
    bits.number(0, 5)
    order = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1]
    bits.number(len(order) - 4, 4)
    for symbol in order:
        bits.number({18: 1, 1: 2, 2: 2}.get(symbol, 0), 3)
    for zeros, code in ((97, "11"), (138, ""), (158 - 138, "11"), (285 - 257, "10"), (0, "10")):
        if zeros:
            bits.codes("0")
            bits.number(zeros - 11, 7)
        bits.codes(code)
    bits.codes("10" * letters + "00" * matches + end)
    return bits.data()


@pytest.mark.parametrize("letters", range(1, 9))
def test_garbage_where_much_comes_of_little(letters: int) -> None:
    """What is wrong may be found only when the output before it has been taken."""
    matches = -(-16384 // 258)
    data = block(letters, matches, "01", final=False)
    for last in (False, True):
        codec = accepted(NAME)[1]
        with pytest.raises(WebSocketError) as caught:
            list(codec.inflate(data, last))
        assert caught.value.code == 1007


@pytest.mark.parametrize("matches", [1, 63, 64, 65, 127, 128])
def test_final_blocks_where_much_comes_of_little(matches: int) -> None:
    for letters in range(1, 9):
        data = block(letters, matches, "11", final=True)
        message = b"a" * (letters + 258 * matches)
        assert zlib.decompress(data, -15) == message
        for codec in codecs():
            assert inflated(codec, data, HELLO) == message + b"Hello"
            assert inflated(codec, data + HELLO) == message + b"Hello"
            assert inflated(codec, data, b"", HELLO_FINAL) == message + b"Hello"
            assert inflated(codec, HELLO) == b"Hello"


# --- Work, and memory -----------------------------------------------------------------------------------------------


def bomb(size: int) -> bytes:
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    data = b"".join(compressor.compress(bytes(1 << 16)) for _ in range(size >> 16))
    return data + compressor.flush(zlib.Z_SYNC_FLUSH)[:-4]


def test_bombs_come_in_pieces() -> None:
    data = bomb(1 << 24)
    assert len(data) < 20000
    for codec in codecs():
        for parts in ([data], [data[:100], data[100:]], [data, b""]):
            length = longest = 0
            for number, part in enumerate(parts):
                for piece in codec.inflate(part, number == len(parts) - 1):
                    length += len(piece)
                    longest = max(longest, len(piece))
            assert length == 1 << 24
            assert longest <= 1 << 17


def test_bombs_are_inflated_as_the_pieces_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    made = counting(monkeypatch)
    codec = accepted(NAME)[1]
    pieces = codec.inflate(bomb(1 << 24), True)
    next(pieces)
    assert made["out"] <= 1 << 17


def counting(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Count the bytes that are handed to zlib's inflaters, and those that come out of them."""
    count = {"in": 0, "out": 0, "calls": 0}

    class Counting:
        def __init__(self, bits: int) -> None:
            self._inflater = zlib.decompressobj(bits)

        def decompress(self, data: bytes, longest: int = 0) -> bytes:
            found = self._inflater.decompress(data, longest)
            count["in"] += len(data)
            count["out"] += len(found)
            count["calls"] += 1
            return found

        def __getattr__(self, name: str) -> Any:
            return getattr(self._inflater, name)

    class Module:
        decompressobj = Counting

        def __getattr__(self, name: str) -> Any:
            return getattr(zlib, name)

    monkeypatch.setattr(_ws_deflate, "zlib", Module())
    return count


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda n: bomb(n << 21), id="bomb"),
        pytest.param(lambda n: b"\x00\x00\x00\xff\xff" * (1000 * n), id="empty-blocks"),
        pytest.param(lambda n: zlib.compress(random.Random(1).randbytes(10000 * n), 9)[2:-4], id="noise"),
    ],
)
def test_linear_work(make: Callable[[int], bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    """Of what is received nothing is handed to zlib over and over."""
    count = counting(monkeypatch)

    def work(data: bytes) -> int:
        count.update({"in": 0, "out": 0, "calls": 0})
        for _ in accepted(NAME)[1].inflate(data, False):
            pass
        return count["in"] + count["calls"]

    once, twice = work(make(2)), work(make(4))
    assert twice <= 3 * once


def test_a_message_of_many_streams() -> None:
    """Each block may end a stream (RFC 7692 §7.2.3.5); nobody needs hundreds, and each costs more than its bytes."""
    codec = accepted(NAME)[1]
    with pytest.raises(WebSocketError) as caught:
        list(codec.inflate(b"\x03\x00" * 1000, False))
    assert caught.value.code == 1008


def test_windows_that_are_not_kept_take_no_memory() -> None:
    codec = accepted(NAME, Deflate())[1]
    codec.compress(b"Hello")
    inflated(codec, HELLO)
    held = [getattr(codec, name) for name in Codec.__slots__]
    assert not any(isinstance(value, (type(zlib.compressobj()), type(zlib.decompressobj()))) for value in held)


# --- The oracle -----------------------------------------------------------------------------------------------------

names = st.sampled_from(
    [
        "server_no_context_takeover",
        "client_no_context_takeover",
        "server_max_window_bits",
        "client_max_window_bits",
        "x",
    ]
)
offers_ = st.lists(st.tuples(names, st.one_of(st.none(), st.integers(7, 16).map(str), st.just("08"))), max_size=3)


@settings(max_examples=100)
@given(st.lists(offers_, min_size=1, max_size=3), st.booleans(), st.booleans(), st.sampled_from([9, 12, 15]))
def test_negotiation_with_the_package_websockets(
    offers: list[list[tuple[str, str | None]]], server_anew: bool, client_anew: bool, bits: int
) -> None:
    """The first offer is taken that can be; what is answered, a client that has made that offer takes."""
    deflate = Deflate(
        server_no_context_takeover=server_anew, client_no_context_takeover=client_anew, client_max_window_bits=bits
    )
    header: Any = build_extension([(ExtensionName(NAME), offer) for offer in offers])
    found = deflate.accept(header)
    right = [offer for offer in offers if is_right(offer)]
    assert (found is None) is (not right)
    if found is None:
        return
    first = dict(right[0])
    window = first.get("client_max_window_bits", False)
    client = (
        ClientPerMessageDeflateFactory(
            "server_no_context_takeover" in first,
            "client_no_context_takeover" in first,
            int(first["server_max_window_bits"] or 0) if "server_max_window_bits" in first else None,
            None if window is False else True if window is None else int(window),
        )
        if window != "8"
        else None
    )
    if client is not None:
        [(_, answer)] = parse_extension(found[0])
        exchange(found[1], client.process_response_params(answer, []))


def is_right(offer: list[tuple[str, str | None]]) -> bool:
    """Whether an offer can be taken (RFC 7692 §7.1)."""
    allowed = [str(bits) for bits in range(8, 16)]
    for name, value in offer:
        if name.endswith("takeover"):
            good = value is None
        elif name == "server_max_window_bits":
            good = value in allowed[1:]  # zlib has no window of 2**8 for raw data
        else:
            good = name == "client_max_window_bits" and (value is None or value in allowed)
        if not good:
            return False
    return len(dict(offer)) == len(offer)


def test_the_oracle_can_say_no() -> None:
    with pytest.raises(NegotiationError):
        ClientPerMessageDeflateFactory(True).process_response_params([], [])
