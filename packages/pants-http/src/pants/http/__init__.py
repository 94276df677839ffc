"""HTTP for Pants (manual: "pants.http"): a server, a client, and WebSockets at both ends.

`HTTPRequest` is the server's here; that of the client is `pants.http.client.HTTPRequest`.
"""

from pants.http._access_log import AccessLog
from pants.http._compression import Compression
from pants.http._forms import UploadedFile
from pants.http._limits import ClientLimits, Limits
from pants.http._refused import Refused
from pants.http.auth import AuthBase, BasicAuth, DigestAuth
from pants.http.client import (
    CertificateError,
    Exchange,
    HTTPClient,
    HTTPClientException,
    HTTPResponse,
    MalformedResponse,
    RequestClosed,
    RequestTimedOut,
    Retries,
    Session,
    Timeout,
)
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
    "AuthBase",
    "BasicAuth",
    "CertificateError",
    "ClientLimits",
    "Compression",
    "Counters",
    "Deflate",
    "DigestAuth",
    "EntireMessage",
    "Exchange",
    "HTTPClient",
    "HTTPClientException",
    "HTTPConnection",
    "HTTPHeaders",
    "HTTPRequest",
    "HTTPResponse",
    "HTTPServer",
    "HandshakeError",
    "Limits",
    "MalformedResponse",
    "Refused",
    "RequestClosed",
    "RequestTimedOut",
    "Retries",
    "Session",
    "Timeout",
    "UploadedFile",
    "WebSocket",
    "WebSocketError",
    "broadcast",
]
