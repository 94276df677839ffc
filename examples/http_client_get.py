"""Fetches what a URL names, http://httpbin.org/ip if none is given, and prints it.

http_client_get.py [URL]
"""

import sys

from pants import Engine
from pants.http import HTTPClient, HTTPResponse


def response_handler(response: HTTPResponse) -> None:
    Engine.instance().stop()
    print(response.text)


def error_handler(response: HTTPResponse, exception: Exception) -> None:
    sys.exit(f"{response.url}: {exception}")


client = HTTPClient(response_handler, on_error=error_handler)
client.get(sys.argv[1] if len(sys.argv) > 1 else "http://httpbin.org/ip")
Engine.instance().start()
