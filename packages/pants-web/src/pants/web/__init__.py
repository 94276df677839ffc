"""Web applications on Pants (manual: "pants.web")."""

from pants.web._fileserver import FileServer
from pants.web.application import (
    Application,
    Converter,
    HTTPException,
    HTTPTransparentRedirect,
    Module,
    Response,
    ResponseHead,
    abort,
    all_or_404,
    error,
    redirect,
    register_converter,
    url_for,
)
from pants.web.cors import CORS
from pants.web.events import EventStream, event
from pants.web.sessions import Sessions
from pants.web.wsgi import WSGIConnector

__all__ = [
    "CORS",
    "Application",
    "Converter",
    "EventStream",
    "FileServer",
    "HTTPException",
    "HTTPTransparentRedirect",
    "Module",
    "Response",
    "ResponseHead",
    "Sessions",
    "WSGIConnector",
    "abort",
    "all_or_404",
    "error",
    "event",
    "redirect",
    "register_converter",
    "url_for",
]
