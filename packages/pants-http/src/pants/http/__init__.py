"""HTTP for Pants (manual: "pants.http"): so far a server, `HTTPServer`."""

from pants.http.server import HTTPConnection, HTTPRequest, HTTPServer
from pants.http.utils import HTTPHeaders

__all__ = ["HTTPConnection", "HTTPHeaders", "HTTPRequest", "HTTPServer"]
