"""What stands in the subnegotiations of NAWS (RFC 1073), TTYPE (RFC 1091) and CHARSET (RFC 2066)."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pants.contrib.telnet._options import (
    TypeList,
    TypeQuery,
    choose_charset,
    decode_charset_request,
    decode_name,
    decode_window_size,
    encode_charset_request,
    encode_name,
    encode_window_size,
)


def test_window_size() -> None:
    assert encode_window_size(80, 24) == b"\0\x50\0\x18"  # RFC 1073's own example
    assert decode_window_size(b"\0\x50\0\x18") == (80, 24)
    assert decode_window_size(b"\xff\xff\0\0") == (65535, 0)
    for data in (b"", b"\0\x50\0", b"\0\x50\0\x18\0"):
        assert decode_window_size(data) is None


@pytest.mark.parametrize(
    "size, error", [((80, -1), ValueError), ((65536, 24), ValueError), ((80.0, 24), TypeError), ((True, 1), TypeError)]
)
def test_no_window_size(size: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        encode_window_size(*size)


@pytest.mark.parametrize("data", [b"", b"x" * 41, b"\xe4", b"a\nb", b"\x1b[2J", b"a\0"])
def test_no_name(data: bytes) -> None:
    assert decode_name(data) is None
    with pytest.raises(ValueError):
        encode_name(data.decode("latin-1"))


def test_a_name() -> None:
    assert decode_name(b"DEC-VT220") == "DEC-VT220"
    assert encode_name("x" * 40) == b"x" * 40
    with pytest.raises(TypeError):
        encode_name(b"xterm")  # type: ignore[arg-type]


def test_a_list_of_terminals() -> None:
    """RFC 1091: the end of the list is told by the last once more; then it begins again."""
    names = TypeList()
    assert [names.give(("A", "B"))[1:] for _ in range(6)] == [b"A", b"B", b"B", b"A", b"B", b"B"]
    assert TypeList().give(()) == b"\0UNKNOWN"


def test_asking_for_terminals() -> None:
    query = TypeQuery()
    assert query.take(b"\0A") == (None, False)  # nothing was asked
    query.start()
    assert query.take(b"") == (None, False)
    assert query.take(b"\1A") == (None, False)
    assert query.take(b"\0\xff") == (None, False)
    assert query.take(b"\0A") == ("A", True)
    assert query.take(b"\0B") == ("B", True)
    assert query.take(b"\0B") == (None, True)  # back to the one it likes best
    assert query.take(b"\0A") == (None, False)
    query.start()
    assert query.take(b"\0A") == ("A", True)
    assert query.take(b"\0A") == (None, False)


def test_terminals_without_end() -> None:
    query = TypeQuery()
    query.start()
    asked = 0
    while query.take(b"\0T%d" % asked)[1]:
        asked += 1
    assert asked <= 17


def test_charset_request() -> None:
    assert encode_charset_request(["UTF-8", "US-ASCII"]) == b"\1;UTF-8;US-ASCII"
    assert decode_charset_request(b"\1;UTF-8;US-ASCII") == ["UTF-8", "US-ASCII"]
    assert decode_charset_request(b"\1 UTF-8 \xff latin1") == ["UTF-8", "latin1"]
    assert decode_charset_request(b"\1[TTABLE ]\1;UTF-8") == ["UTF-8"]
    assert decode_charset_request(b"\1[TTABLE ]") == decode_charset_request(b"\1[TTABLE ]\1") == []
    assert decode_charset_request(b"\1") == decode_charset_request(b"\1;") == []
    assert len(decode_charset_request(b"\1" + b";a" * 8000)) == 64
    assert choose_charset(["utf-8", "latin1"], ("LATIN1", "UTF-8")) == "utf-8"
    assert choose_charset(["koi8-r"], ("UTF-8",)) is None


@pytest.mark.parametrize("names", [(), ("a;b",), ("",), "UTF-8", (1,), None])
def test_no_charset_request(names: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        encode_charset_request(names)


@given(st.binary(max_size=200))
def test_whatever_a_peer_sends(data: bytes) -> None:
    query = TypeQuery()
    query.start()
    query.take(data)
    decode_window_size(data)
    for name in decode_charset_request(data):
        assert encode_name(name)
