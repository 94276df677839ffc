"""Serves a WSGI application on a free port, for tests in another process.

serving.py NAME [THREADS]                NAME is that of a module beside this one, which has ``application``
"""

import importlib
import os
import sys
import threading
from typing import Any

from pants import Engine
from pants.http import HTTPServer
from pants.web import WSGIConnector


def load(name: str) -> Any:
    if name == "httpbin":
        return importlib.import_module("httpbin").app
    return importlib.import_module(name).application


def end_with_parent() -> None:
    sys.stdin.buffer.read()
    Engine.instance().call_from_thread(Engine.instance().stop)


if __name__ == "__main__":
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    connector = WSGIConnector(load(sys.argv[1]), threads=int(sys.argv[2]))
    server = HTTPServer(connector).listen(("127.0.0.1", 0))
    threading.Thread(target=end_with_parent, daemon=True).start()
    print(f"http://127.0.0.1:{server.local_address[1]}", flush=True)
    Engine.instance().start()
