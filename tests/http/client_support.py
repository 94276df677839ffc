"""What the tests of the HTTP client share."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from collections.abc import Iterator
from typing import Any

from pants.http import HTTPClient
from pants.testing import run_until
from tests.http.rogue_support import RogueServer

# Seconds within which something is closed that is to be closed at once.
SOON = 10.0


@contextlib.contextmanager
def client_of(*args: Any, **kwargs: Any) -> Iterator[HTTPClient]:
    client = HTTPClient(*args, **kwargs)
    try:
        yield client
    finally:
        client.close()


def sockets_to(port: int) -> list[int]:
    """The descriptors of this process that are connected to a port."""
    found = []
    for name in os.listdir("/dev/fd"):
        with contextlib.suppress(OSError):
            if stat.S_ISSOCK(os.fstat(int(name)).st_mode):
                with socket.socket(fileno=os.dup(int(name))) as copy:
                    address = copy.getpeername()
                    if isinstance(address, tuple) and address[1] == port:
                        found.append(int(name))
    return found


def run_until_closed(server: RogueServer) -> None:
    """Run the engine until the client has closed all its connections to a server."""
    run_until(lambda: not sockets_to(server.port), SOON)
