"""A WebSocket among the routes of an application, on the port that PORT names, 8080 if none.

It greets by the name that is in its URL, such as ws://localhost:8080/ws/Ada, and then sends back what it gets.
"""

import os

from pants.http import WebSocket
from pants.web import Application

app = Application()


@app.route("/ws/<name>")
class EchoSocket(WebSocket):
    def on_connect(self, name: str) -> None:
        self.write(f"Hello, {name}!")

    def on_read(self, data: str | bytes) -> None:
        self.write(data)


app.run(int(os.environ.get("PORT", "8080")))
