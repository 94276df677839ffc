"""Protocols that keep one object through several connections, and give `server` a meaning of their own."""

from __future__ import annotations

import re
import ssl
from typing import Any

import pytest

from pants import Engine, Server, Stream
from pants.testing import MemoryEngine
from tests.core.support import run_until


class Returning(Stream):
    """Connects again as soon as it has been closed, and keeps a tally."""

    def __init__(self, address: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.address = address
        self.lines: list[bytes] = []
        self.closings = 0

    def on_connect(self) -> None:
        self.read_delimiter = b"\n"
        self.write(b"%d\n" % self.closings)

    def on_read(self, line: bytes) -> None:
        self.lines.append(line)
        self.close()

    def on_close(self) -> None:
        self.closings += 1
        if self.closings < 3:
            self._renew()
            self.connect(self.address)


class Echo(Stream):
    def on_read(self, data: bytes) -> None:
        self.write(data)


def test_a_closed_channel_made_as_new_connects_again_and_keeps_what_was_put_into_it() -> None:
    server = Server(Echo).listen(("127.0.0.1", 0))
    client = Returning(server.local_address)
    client.connect_timeout = 5.0
    client.connect(server.local_address)
    run_until(lambda: client.closings == 3)
    assert client.lines == [b"0", b"1", b"2"]
    assert client.closed
    assert client.connect_timeout == 5.0
    with pytest.raises(RuntimeError, match="closed"):
        client.write(b"x")


def test_a_channel_made_as_new_is_like_a_new_one() -> None:
    client = Stream()
    client.read_delimiter = 3
    client.close()
    run_until(lambda: client.closed)
    client._renew()
    assert not client.closed
    assert not client.connected
    assert client.close_error is None
    assert client.read_delimiter is None
    assert client.socket is None
    assert client.remote_address is None
    client.startSSL({"cert_reqs": ssl.CERT_NONE})  # as it has not been asked for yet


def test_only_a_closed_channel_is_made_as_new() -> None:
    client = Stream()
    with pytest.raises(RuntimeError, match=re.escape("before on_close()")):
        client._renew()
    client.close()
    with pytest.raises(RuntimeError, match=re.escape("before on_close()")):  # which comes from the loop
        client._renew()


def test_it_is_not_made_as_new_for_a_closed_engine() -> None:
    engine = Engine()
    client = Stream(engine=engine)
    client.close()
    run_until(lambda: client.closed, engine)
    engine.close()
    with pytest.raises(RuntimeError, match="make a new engine"):
        client._renew()


def test_server_may_mean_something_else_to_a_client() -> None:
    class Client(Stream):
        def __init__(self, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.server = "irc.example.net"

    with MemoryEngine() as engine:
        client, peer = engine.connect(Client)
        client.write(b"Hello\n")
        engine.advance()
        assert peer.take() == b"Hello\n"
        client.close()
        engine.advance()
        assert client.closed
        assert client.server == "irc.example.net"
    # The client's side of TLS is taken, for nobody has accepted it: the server's would need a certificate.
    Client(ssl_options={"cert_reqs": ssl.CERT_NONE})
