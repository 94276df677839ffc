"""HTTP for Pants (manual: "pants.http"): so far a server, `HTTPServer`."""

from pants.http._access_log import AccessLog
from pants.http._compression import Compression
from pants.http._forms import UploadedFile
from pants.http._limits import Limits
from pants.http._refused import Refused
from pants.http.server import Counters, HTTPConnection, HTTPRequest, HTTPServer
from pants.http.utils import HTTPHeaders

__all__ = [
    "AccessLog",
    "Compression",
    "Counters",
    "HTTPConnection",
    "HTTPHeaders",
    "HTTPRequest",
    "HTTPServer",
    "Limits",
    "Refused",
    "UploadedFile",
]
