"""The manual's WSGI application, on the port that PORT names, 8080 if none."""

import os
from wsgiref.types import StartResponse, WSGIEnvironment

from pants import Engine
from pants.http import HTTPServer
from pants.web import WSGIConnector


def hello_app(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"Hello, World!"]


connector = WSGIConnector(hello_app)
HTTPServer(connector).listen(int(os.environ.get("PORT", "8080")))
Engine.instance().start()
