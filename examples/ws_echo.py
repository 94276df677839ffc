"""The first WebSocket of the manual, which sends back what it gets, on the port that PORT names, 8080 if none."""

import os

from pants import Engine
from pants.http import HTTPServer, WebSocket


class EchoSocket(WebSocket):
    def on_read(self, data: str | bytes) -> None:
        self.write(data)


server = HTTPServer(EchoSocket)
server.listen(("127.0.0.1", int(os.environ.get("PORT", "8080"))))
print(f"Serving on ws://localhost:{server.local_address[1]}/", flush=True)
Engine.instance().start()
