"""HTTP for Pants (manual: "pants.http"): a server, `HTTPServer`, and WebSockets at both ends, `WebSocket`."""

from pants.http._access_log import AccessLog
from pants.http._compression import Compression
from pants.http._forms import UploadedFile
from pants.http._limits import Limits
from pants.http._refused import Refused
from pants.http.server import Counters, HTTPConnection, HTTPRequest, HTTPServer
from pants.http.utils import HTTPHeaders
from pants.http.websocket import (
    FRAME_BINARY,
    FRAME_TEXT,
    Deflate,
    EntireMessage,
    HandshakeError,
    WebSocket,
    WebSocketError,
    broadcast,
)

__all__ = [
    "FRAME_BINARY",
    "FRAME_TEXT",
    "AccessLog",
    "Compression",
    "Counters",
    "Deflate",
    "EntireMessage",
    "HTTPConnection",
    "HTTPHeaders",
    "HTTPRequest",
    "HTTPServer",
    "HandshakeError",
    "Limits",
    "Refused",
    "UploadedFile",
    "WebSocket",
    "WebSocketError",
    "broadcast",
]
