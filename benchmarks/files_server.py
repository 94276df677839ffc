"""The server of the benchmark of files: files_server.py PORT FOLDER. It sends what is in FOLDER, below ``/f/``."""

import sys

from pants import Engine
from pants.http import HTTPRequest, HTTPServer


def send(request: HTTPRequest) -> None:
    request.send_file(request.path.removeprefix("/f/"))


HTTPServer(send, file_root=sys.argv[2]).listen(("127.0.0.1", int(sys.argv[1])))
Engine.instance().start()
