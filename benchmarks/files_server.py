"""The server of the benchmark of files: sends what is in a folder.

    files_server.py PORT FOLDER
"""

import sys

from pants import Engine
from pants.http import HTTPRequest, HTTPServer


def send(request: HTTPRequest) -> None:
    """Send the file that the path names, below ``/f/``."""
    request.send_file(request.path.removeprefix("/f/"))


HTTPServer(send, file_root=sys.argv[2]).listen(("127.0.0.1", int(sys.argv[1])))
Engine.instance().start()
