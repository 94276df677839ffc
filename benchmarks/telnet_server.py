"""An echo on a port: by a `TelnetConnection`, or by a `Stream`; telnet_server.py PORT telnet|stream."""

import sys
from typing import Any

from pants import Engine, Server, Stream
from pants.contrib.telnet import TelnetConnection


def main() -> None:
    base: Any = {"telnet": TelnetConnection, "stream": Stream}[sys.argv[2]]

    class Echo(base):  # type: ignore[misc]
        def on_read(self, data: bytes) -> None:
            self.write(data)

    Server(Echo).listen(("127.0.0.1", int(sys.argv[1])))
    Engine.instance().start()


if __name__ == "__main__":
    main()
