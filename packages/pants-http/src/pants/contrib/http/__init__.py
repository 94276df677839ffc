"""The older API of HTTP for Pants (the page "pants.contrib.http"), on top of `pants.http`.

Deprecated: new programs use `pants.http`. What was written for this API keeps working.
"""

from pants.contrib.http.client import ClientHelper, HTTPClient, HTTPResponse
from pants.contrib.http.server import HTTPConnection, HTTPRequest, HTTPServer

__all__ = ["ClientHelper", "HTTPClient", "HTTPConnection", "HTTPRequest", "HTTPResponse", "HTTPServer"]
