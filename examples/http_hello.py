"""The first program of the manual's HTTP server, on the port that PORT names, 8080 if none."""

import os

from pants import Engine
from pants.http import HTTPRequest, HTTPServer


def my_handler(request: HTTPRequest) -> None:
    request.send_response("Hello World.")


server = HTTPServer(my_handler)
server.listen(int(os.environ.get("PORT", "8080")))
print(f"Serving on http://localhost:{server.local_address[1]}/", flush=True)
Engine.instance().start()
