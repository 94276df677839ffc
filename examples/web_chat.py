"""A chat with names: a form, a session, a page and a WebSocket, on the port that PORT names, 8080 if none.

Open it in two browsers.
"""

import html
import os
import pathlib
import secrets

from pants.http import HTTPRequest, WebSocket, broadcast
from pants.web import Application, Response, abort, redirect, url_for
from pants.web.sessions import Sessions

PAGE = (pathlib.Path(__file__).parent / "web_chat.html").read_text()

app = Application(debug="DEBUG" in os.environ)
# A program that is there to stay keeps its secret, or nobody is known after it was started again.
Sessions(os.environ.get("SECRET") or secrets.token_hex(32)).attach(app)

users: set["Chat"] = set()


class Chat(WebSocket):
    def on_connect(self, name: str) -> None:
        self.buffer_size = 4096  # the longest message, in bytes
        self.name = name
        users.add(self)
        broadcast(users, f"{name} has come; now there are {len(users)}")

    def on_read(self, text: str | bytes) -> None:
        if isinstance(text, str):
            broadcast(users, f"{self.name}: {text}")

    def on_high_water(self) -> None:
        self.close(flush=False)  # one who takes nothing any more, while others go on talking

    def on_close(self) -> None:
        if self in users:
            users.remove(self)
            broadcast(users, f"{self.name} has gone")


@app.route("/")
def index(request: HTTPRequest) -> str | Response:
    if "name" not in request.session:
        return redirect(url_for("form"))
    return PAGE.replace("{name}", html.escape(request.session["name"])).replace("{out}", url_for("sign_out"))


@app.route("/in")
def form(request: HTTPRequest) -> str:
    return """<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width,initial-scale=1">
<title>Chat</title>
<style>body{font:1.1rem system-ui;max-width:30rem;margin:20vh auto;padding:0 1rem}input,button{font:inherit}</style>
<form method="post">
<label>Your name <input name="name" maxlength="20" required autofocus></label> <button>Come in</button>
</form>
</html>
"""


@app.route("/in", methods=["POST"])
def sign_in(request: HTTPRequest) -> Response:
    name = request.post.get("name", [""])[0].strip()
    if not 0 < len(name) <= 20:
        abort(400, "A name has up to 20 characters.")
    request.session["name"] = name
    return redirect(url_for("index"), 303)


@app.route("/out", methods=["POST"])
def sign_out(request: HTTPRequest) -> Response:
    request.session.clear()
    return redirect(url_for("form"), 303)


@app.route("/ws")
def chat(request: HTTPRequest) -> None:
    if "name" not in request.session:
        abort(403, "Tell your name first.")
    Chat(request, request.session["name"])


if __name__ == "__main__":
    app.run(int(os.environ.get("PORT", "8080")))
