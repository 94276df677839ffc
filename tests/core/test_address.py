"""The forms of addresses (manual: "Stream.connect" and "Server.listen", third paragraph of each)."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from socket import AF_INET, AF_INET6, AF_UNIX, AF_UNSPEC
from typing import Any

import pytest

from pants._address import Address, parse


@pytest.mark.parametrize(
    "given, expected",
    [
        # "A single string is treated as a UNIX address."
        ("/run/pants.sock", Address(AF_UNIX, path="/run/pants.sock")),
        ("relative", Address(AF_UNIX, path="relative")),
        ("\0abstract", Address(AF_UNIX, path="\0abstract")),
        (b"\0abstract", Address(AF_UNIX, path=b"\0abstract")),
        (b"/run/bytes", Address(AF_UNIX, path=b"/run/bytes")),
        (Path("/run/pants.sock"), Address(AF_UNIX, path="/run/pants.sock")),
        # "A single integer is treated as a port and converted to a 2-tuple of the form ('', port)."
        (4040, Address(AF_INET, "", 4040)),
        (0, Address(AF_INET, "", 0)),
        (65535, Address(AF_INET, "", 65535)),
        # "A 2-tuple is treated as an IPv4 address"; DESIGN §3: a name tries both families, an address its own.
        (("", 80), Address(AF_INET, "", 80)),
        (("127.0.0.1", 80), Address(AF_INET, "127.0.0.1", 80)),
        (("::1", 80), Address(AF_INET6, "::1", 80)),
        (("fe80::1%lo", 80), Address(AF_INET6, "fe80::1%lo", 80)),
        (("localhost", 80), Address(AF_UNSPEC, "localhost", 80)),
        (["localhost", 80], Address(AF_UNSPEC, "localhost", 80)),
        # "... and a 4-tuple is treated as an IPv6 address."
        (("::1", 80, 5, 1), Address(AF_INET6, "::1", 80, 5, 1)),
        (("", 80, 0, 0), Address(AF_INET6, "", 80)),
        (("localhost", 80, 0, 0), Address(AF_INET6, "localhost", 80)),
        (("::", 0, 0xFFFFF, 0xFFFFFFFF), Address(AF_INET6, "::", 0, 0xFFFFF, 0xFFFFFFFF)),
    ],
)
def test_forms(given: Any, expected: Address) -> None:
    assert parse(given) == expected


@pytest.mark.parametrize(
    "given",
    [
        None,
        True,
        False,
        80.0,
        (),
        ("127.0.0.1",),
        ("127.0.0.1", 80, 0),
        ("127.0.0.1", 80, 0, 0, 0),
        ("127.0.0.1", "80"),
        ("127.0.0.1", 80.0),
        ("127.0.0.1", True),
        ("127.0.0.1", None),
        (b"127.0.0.1", 80),
        (None, 80),
        (80, "127.0.0.1"),
        ("::1", 80, "0", 0),
        ("::1", 80, 0, None),
        {"host": "127.0.0.1", "port": 80},
        object(),
    ],
)
def test_wrong_types(given: Any) -> None:
    """A wrong argument raises at the call, naming what was given and what is allowed (issue 2, "Bad input")."""
    with pytest.raises(TypeError) as caught:
        parse(given)
    message = str(caught.value)
    assert repr(given) in message
    assert "(host, port)" in message


@pytest.mark.parametrize(
    "given, named, allowed",
    [
        (-1, "-1", "65535"),
        (65536, "65536", "65535"),
        (("127.0.0.1", 1 << 40), str(1 << 40), "65535"),
        (("::1", -5, 0, 0), "-5", "65535"),
        (("::1", 80, -1, 0), "-1", "1048575"),
        (("::1", 80, 1 << 20, 0), str(1 << 20), "1048575"),
        (("::1", 80, 0, -1), "-1", "4294967295"),
        (("::1", 80, 0, 1 << 32), str(1 << 32), "4294967295"),
    ],
)
def test_numbers_out_of_range(given: Any, named: str, allowed: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse(given)
    assert named in str(caught.value)
    assert allowed in str(caught.value)


@pytest.mark.parametrize("given", ["", b"", ("local\0host", 80)])
def test_strings_that_cannot_be_addresses(given: Any) -> None:
    with pytest.raises(ValueError):
        parse(given)


def test_path_of_another_kind() -> None:
    class Elsewhere(os.PathLike[str]):
        def __fspath__(self) -> str:
            return "/run/elsewhere"

    assert parse(Elsewhere()) == Address(AF_UNIX, path="/run/elsewhere")


def test_is_unix() -> None:
    assert parse("/run/pants.sock").is_unix
    assert not parse(80).is_unix
    assert not parse(("localhost", 80)).is_unix


@pytest.mark.parametrize(
    "family, given, fits",
    [
        (AF_INET, 80, True),
        (AF_INET, ("127.0.0.1", 80), True),
        (AF_INET, ("localhost", 80), True),
        (AF_INET, ("::1", 80), False),
        (AF_INET, ("::1", 80, 0, 0), False),
        (AF_INET, "/run/pants.sock", False),
        (AF_INET6, ("::1", 80), True),
        (AF_INET6, ("", 80, 0, 0), True),
        (AF_INET6, ("localhost", 80), True),
        (AF_INET6, ("127.0.0.1", 80), False),
        (AF_INET6, "/run/pants.sock", False),
        (AF_UNIX, "/run/pants.sock", True),
        (AF_UNIX, ("127.0.0.1", 80), False),
        (AF_UNIX, ("localhost", 80), False),
        (AF_UNIX, 80, False),
    ],
)
def test_fitting_a_socket(family: int, given: Any, fits: bool) -> None:
    """ "... an inappropriate format for the socket (e.g. if an IP address is given to a UNIX socket)" is an error."""
    with socket.socket(family) as sock:
        if fits:
            parse(given).check_fits(sock, given)
        else:
            with pytest.raises(ValueError) as caught:
                parse(given).check_fits(sock, given)
            assert repr(given) in str(caught.value)
            assert socket.AddressFamily(family).name in str(caught.value)
