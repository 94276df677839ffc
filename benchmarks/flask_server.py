"""Flask's hello: flask_server.py PORT bjoern, or flask_server.py PORT pants THREADS; at ``/hello/<name>``."""

import sys

from flask import Flask

app = Flask("hello")


@app.route("/hello/<name>")
def hello(name: str) -> str:
    return f"Hello, {name}!"


port, server = int(sys.argv[1]), sys.argv[2]
if server == "bjoern":
    import bjoern

    bjoern.run(app, "127.0.0.1", port)
else:
    from pants import Engine
    from pants.http import HTTPServer
    from pants.web import WSGIConnector

    HTTPServer(WSGIConnector(app, threads=int(sys.argv[3]))).listen(("127.0.0.1", port))
    Engine.instance().start()
