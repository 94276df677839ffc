"""A chat: a page, and a WebSocket each of whose messages goes to all, on the port that PORT names, 8080 if none.

Open the page several times. A program takes part by /ws?name=NAME.
"""

import os
import pathlib

from pants import Engine
from pants.http import HTTPRequest, HTTPServer, WebSocket, broadcast


class Chat(WebSocket):
    def on_connect(self, name: str) -> None:
        self.buffer_size = 4096  # the longest message, in bytes
        self.name = name
        users.add(self)
        broadcast(users, f"{name} has come; now there are {len(users)}")

    def on_read(self, text: str | bytes) -> None:
        if isinstance(text, str):
            broadcast(users, f"{self.name}: {text}")
        else:
            self.close(reason=1003)  # "unsupported data"

    def on_high_water(self) -> None:
        self.close(flush=False)  # one who takes nothing any more, while others go on talking

    def on_close(self) -> None:
        if self in users:
            users.remove(self)
            broadcast(users, f"{self.name} has gone")


def handle(request: HTTPRequest) -> None:
    if request.path == "/ws":
        Chat(request, request.get.get("name", ["Somebody"])[0])
    elif request.path == "/":
        request.send_file("ws_chat.html")
    else:
        request.send_response("There is nothing here.\n", 404)


users: set[Chat] = set()
server = HTTPServer(handle, file_root=pathlib.Path(__file__).parent)
server.listen(("127.0.0.1", int(os.environ.get("PORT", "8080"))))
print(f"Serving on http://localhost:{server.local_address[1]}/", flush=True)
Engine.instance().start()
