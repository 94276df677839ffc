"""A server of the files in a folder, over HTTPS where it is given a certificate, on the port that PORT names, or 8080.

http_files.py FOLDER [--cert FILE --key FILE]

Next to style.css there may be style.css.br, .zst or .gz, which is sent instead to whoever takes that. SIGHUP has the
certificate read again. Ctrl-C and SIGTERM let what is being sent go on for 10 seconds; a second time, they do not.
"""

import argparse
import logging
import os
import pathlib
import signal
from urllib.parse import unquote

from pants import Engine
from pants.http import HTTPRequest, HTTPServer

parser = argparse.ArgumentParser()
parser.add_argument("folder", type=pathlib.Path)
parser.add_argument("--cert")
parser.add_argument("--key")
options = parser.parse_args()


class FileServer(HTTPServer):
    def on_close(self) -> None:
        super().on_close()
        self.engine.stop()


def send(request: HTTPRequest) -> None:
    path = unquote(request.path).lstrip("/")
    if request.method not in ("GET", "HEAD"):
        request.send_response("GET, please.\n", 405, headers={"Allow": "GET, HEAD"})
    elif path.endswith("/") or not path:
        request.send_file(path + "index.html", precompressed=True)
    else:
        request.send_file(path, precompressed=True)


def stop() -> None:
    if server.draining:
        server.close()
    else:
        server.shutdown(10)


logging.basicConfig(level=logging.INFO, format="%(message)s")
server = FileServer(send, file_root=options.folder, access_log="combined")
if options.cert:
    server.startSSL({"certfile": options.cert, "keyfile": options.key})
    server.engine.add_signal_handler(signal.SIGHUP, server.reload_ssl)
for signum in (signal.SIGINT, signal.SIGTERM):
    server.engine.add_signal_handler(signum, stop)
server.listen(("127.0.0.1", int(os.environ.get("PORT", "8080"))))
scheme = "https" if options.cert else "http"
print(f"Serving on {scheme}://localhost:{server.local_address[1]}/", flush=True)
Engine.instance().start()
