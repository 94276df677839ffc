"""Asks twice which cookies it sends: at first none, and then those of a session, which has a handler of its own.

http_client_sessions.py [URL]

The URL is that of an httpbin, http://httpbin.org if none is given.
"""

import sys

from pants import Engine
from pants.http import HTTPClient, HTTPResponse


def response_handler(response: HTTPResponse) -> None:
    print("without a session:", response.json()["cookies"])
    finished(response)


def other_handler(response: HTTPResponse) -> None:
    print("in the session:", response.json()["cookies"])
    finished(response)


def finished(response: HTTPResponse) -> None:
    urls.append(response.url)
    if len(urls) == 2:
        Engine.instance().stop()


def error_handler(response: HTTPResponse, exception: Exception) -> None:
    sys.exit(f"{response.url}: {exception}")


httpbin = sys.argv[1] if len(sys.argv) > 1 else "http://httpbin.org"
urls: list[str] = []
client = HTTPClient(response_handler, on_error=error_handler)
client.get(f"{httpbin}/cookies")

with client.session(other_handler, cookies={"pie": "yummy"}):
    client.get(f"{httpbin}/cookies")

Engine.instance().start()
