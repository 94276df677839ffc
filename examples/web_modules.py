"""An application of several modules, with hooks, on the port that PORT names, 8080 if none.

The programs of the manual's "Module": rules of one module below those of another, a hook, and a wrapper around the
application, which sees every request.
"""

import logging
import os

from pants import Engine
from pants.http import HTTPRequest, HTTPServer
from pants.web import Application, Module, url_for

log = logging.getLogger("my_site")

module_one = Module("fish")


@module_one.route("/fish")
def fish(request: HTTPRequest) -> str:
    return "This is fish."


@module_one.route("/<name>")
def other(request: HTTPRequest, name: str) -> str:
    return f"There is no {name}. Try {url_for('.fish')}."


module_two = Module()
module_two.add("/pie", module_one)

app = Application()
app.add("/", module_two)


# The hook: for requests that have a route.
@app.request_started
def handle(request: HTTPRequest) -> None:
    log.info("Request matched route: %s", request.route_name)


@app.request_finished
def shout(request: HTTPRequest, output: str) -> str:
    return output.upper() if "loud" in request.get else output


# The wrapper: for all of them, before there is a route.
def wrapper(request: HTTPRequest) -> None:
    log.info("%s asks for %s", request.remote_ip, request.path)
    app(request)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    server = HTTPServer(wrapper).listen(("127.0.0.1", int(os.environ.get("PORT", "8080"))))
    print(f"Serving on http://localhost:{server.local_address[1]}/", flush=True)
    Engine.instance().start()
