"""A client on the command line: sends the lines of its standard input to a WebSocket, and prints what arrives.

ws_client.py [--header "NAME: VALUE" ...] [--subprotocol NAME ...] [--ca FILE] URL

When its input ends it closes the WebSocket, having printed the answers to what it sent. Its status is 0 if the
WebSocket was closed in order.
"""

import argparse
import sys
import threading

from pants import Engine
from pants.http import WebSocket

parser = argparse.ArgumentParser()
parser.add_argument("url", help="as in ws://localhost:8080/")
parser.add_argument("--header", action="append", default=[], help="another header for the handshake")
parser.add_argument("--subprotocol", action="append", default=[], help="a subprotocol to offer")
parser.add_argument("--ca", help="a file of certificates to believe, instead of the system's")
options = parser.parse_args()


class Client(WebSocket):
    opened = False

    def on_connect(self) -> None:
        self.opened = True
        self.buffer_size = 16 * 1024 * 1024  # the longest message, in bytes
        if self.subprotocol:
            print(f"The subprotocol is {self.subprotocol}", file=sys.stderr)
        threading.Thread(target=read_lines, daemon=True).start()

    def on_connect_error(self, exception: Exception) -> None:
        print(exception, file=sys.stderr)

    def on_read(self, message: str | bytes) -> None:
        print(message if isinstance(message, str) else f"{len(message)} bytes: {message.hex(' ')}", flush=True)

    def send_line(self, line: str) -> None:
        if self.connected:
            self.write(line)

    def finish(self) -> None:
        if self.connected:
            self.ping(b"finish")  # servers answer in order, so what answers the lines comes before the pong

    def on_pong(self, data: bytes | float) -> None:
        self.close()

    def on_close(self) -> None:
        if self.opened:
            print(f"Closed: {self.close_code} {self.close_reason}".rstrip(), file=sys.stderr)
        engine.stop()


def read_lines() -> None:
    """Runs in a thread, since reading may block. What it calls runs in the loop."""
    for line in sys.stdin:
        engine.call_from_thread(client.send_line, line.rstrip("\n"))
    engine.call_from_thread(client.finish)


engine = Engine.instance()
headers = [header.partition(":") for header in options.header]
try:
    client = Client.connect(
        options.url,
        headers=[(name, value.strip()) for name, _, value in headers],
        subprotocols=options.subprotocol,
        ssl_options={"ca_certs": options.ca} if options.ca else None,
    )
except ValueError as error:
    parser.error(str(error))
try:
    engine.start()
except KeyboardInterrupt:
    sys.exit(130)
sys.exit(client.close_code not in (1000, 1001, 1005))
