"""Sends a greeting, and files besides, and tells how far the answer is and what it says.

http_client_post.py [--url URL] [FILE ...]

The URL is http://httpbin.org/post if none is given. The status is 0 if the server's answer is 200 OK.
"""

import argparse
import contextlib
import os
import sys

from pants import Engine
from pants.http import HTTPClient, HTTPResponse

parser = argparse.ArgumentParser()
parser.add_argument("--url", default="http://httpbin.org/post")
parser.add_argument("files", nargs="*", metavar="FILE", help="a file to upload")
options = parser.parse_args()


class Client(HTTPClient):
    def on_headers(self, response: HTTPResponse) -> None:
        print(response.status, response.headers.get("Content-Type", "of no type"), file=sys.stderr)

    def on_progress(self, response: HTTPResponse, received: int, total: int) -> None:
        print(f"{received} of {total or 'unknown'} bytes", file=sys.stderr)

    def on_response(self, response: HTTPResponse) -> None:
        self.engine.stop()
        for line in response.iter_lines(decode_unicode=True):
            print(line)
        if response.status_code != 200:
            sys.exit("There was a problem!")

    def on_error(self, response: HTTPResponse, exception: Exception) -> None:
        sys.exit(f"{response.url}: {exception}")


client = Client()
with contextlib.ExitStack() as stack:
    try:
        # They are read while they are sent. Closed they may be as soon as the request is under way.
        opened = [stack.enter_context(open(path, "rb")) for path in options.files]
    except OSError as error:
        parser.error(str(error))
    files = {f"file{number}": (os.path.basename(file.name), file) for number, file in enumerate(opened)}
    client.post(options.url, data={"greeting": "Hello"}, files=files)
Engine.instance().start()
