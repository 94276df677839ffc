"""A page and its WebSocket, to which lines matter and messages do not, on the port that PORT names, 8080 if none.

Each line comes back in rot13, be it a part of a message or cut up into several.
"""

import codecs
import os
import pathlib

from pants import Engine
from pants.http import HTTPRequest, HTTPServer, WebSocket


class LineOriented(WebSocket):
    def on_connect(self) -> None:
        self.read_delimiter = "\n"  # a str, for pages send text; b"\n" would be for binary messages

    def on_read(self, line: str) -> None:
        self.write(codecs.encode(line, "rot13"))


def handle(request: HTTPRequest) -> None:
    if request.path == "/ws":
        LineOriented(request)
    elif request.path == "/":
        request.send_file("ws_lines.html")
    else:
        request.send_response("There is nothing here.\n", 404)


server = HTTPServer(handle, file_root=pathlib.Path(__file__).parent)
server.listen(("127.0.0.1", int(os.environ.get("PORT", "8080"))))
print(f"Serving on http://localhost:{server.local_address[1]}/", flush=True)
Engine.instance().start()
