"""A WebSocket for those who know its secret and come over TLS, on the port that PORT names, 8080 if none.

ws_handshake.py [--cert FILE --key FILE]

Try it with: ws_client.py --header "X-Pizza: Funghi" --ca FILE wss://localhost:8080/

Without a certificate it serves all the same, and refuses everybody.
"""

import argparse
import os
from typing import Any

from pants import Engine
from pants.http import HTTPRequest, HTTPServer, WebSocket

parser = argparse.ArgumentParser()
parser.add_argument("--cert")
parser.add_argument("--key")
options = parser.parse_args()


class SecureSocket(WebSocket):
    def on_handshake(self, request: HTTPRequest, headers: dict[str, Any]) -> bool:
        headers["X-Restaurant"] = "PizzaNet"  # sent whether the answer is yes or no
        return self.is_secure and "X-Pizza" in request.headers

    def on_connect(self) -> None:
        self.write("Welcome to PizzaNet.")


server = HTTPServer(SecureSocket)
if options.cert:
    server.startSSL({"certfile": options.cert, "keyfile": options.key})
server.listen(("127.0.0.1", int(os.environ.get("PORT", "8080"))))
scheme = "wss" if options.cert else "ws"
print(f"Serving on {scheme}://localhost:{server.local_address[1]}/", flush=True)
Engine.instance().start()
