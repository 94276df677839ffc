"""The exceptions of the HTTP client, drawn as a tree (manual: "pants.http.client", "Exceptions").

    PantsError
      HTTPClientException       a request has failed
        MalformedResponse       the server's answer breaks the protocol
          ResponseTooLarge    ... or crosses one of the client's limits
        RequestClosed           the connection ended before the response was complete
        RequestTimedOut         the server, or the way to it, took too long
        ConnectionFailed        no connection could be made
        RedirectRefused         the server redirects to where the client does not go
        RequestCancelled        the program has given the request up
      CertificateError          the server's certificate is not that of a server to trust

They are given to ``on_error``, and raised by `Exchange.wait`. What caused one is its ``__cause__``.
"""

from __future__ import annotations

from typing import Any

from pants.errors import PantsError


class HTTPClientException(PantsError):
    """The base of the exceptions of the HTTP client, but for `CertificateError`."""


class MalformedResponse(HTTPClientException):
    """The response is malformed, or there is more of it than there should be."""


class ResponseTooLarge(MalformedResponse):
    """The response crosses one of the `ClientLimits`."""


class RequestClosed(HTTPClientException):
    """The connection was closed before the response was complete."""


class RequestTimedOut(HTTPClientException):
    """Nothing has happened for the seconds of ``timeout``, or the time for all of it is over."""


class ConnectionFailed(HTTPClientException):
    """No connection to the server could be made, or none through the proxy."""


class RedirectRefused(HTTPClientException):
    """The server redirects to what is no URL, to what is not secure, or with a body that cannot be sent again."""


class RequestCancelled(HTTPClientException):
    """The request was cancelled by the program: by `Exchange.cancel`, or in ``on_headers``."""


class CertificateError(PantsError):
    """The server's certificate could not be verified.

    Attributes:
        verify_code: OpenSSL's number for the reason.
        certificate: The certificate, as `ssl.SSLSocket.getpeercert` has it, where it was fetched.
    """

    verify_code: int = 0
    certificate: dict[str, Any] | None = None


def interrupted() -> RequestClosed:
    """Return what a request fails with in the midst of which something is raised that is no `Exception`."""
    return RequestClosed("the program was interrupted while it was asked for something, or told")
