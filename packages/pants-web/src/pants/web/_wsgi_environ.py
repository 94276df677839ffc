"""The environ of a WSGI application (PEP 3333, "environ Variables"), made of a request."""

from __future__ import annotations

import io
import socket
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote_to_bytes
from weakref import ref

from pants.web._wsgi_streams import FileWrapper

if TYPE_CHECKING:
    from pants.http import HTTPHeaders, HTTPRequest, HTTPServer

Environ = dict[str, Any]

# Header fields that the application does not get. Proxy would become HTTP_PROXY, which libraries take for a proxy of
# their own ("httpoxy", CVE-2016-5385). The transfer coding is undone (RFC 9112 §7.1.3).
_DROPPED: Final = frozenset({"PROXY", "TRANSFER_ENCODING"})
# Those without HTTP_ before their names (RFC 3875 §4.1.2, §4.1.3).
_BARE: Final = frozenset({"CONTENT_LENGTH", "CONTENT_TYPE"})

# The keys of names that have been met. Clients send what they like, so their number and length are bounded.
_keys: dict[str, str] = {}
_MOST_KEYS: Final = 512
_LONGEST_KEY: Final = 64

# The most environs that are kept, each for the fields of another client.
_MOST_TEMPLATES: Final = 256

# What a server is called that listens on all addresses, or on none that a URL could have.
_WILDCARDS: Final = ("0.0.0.0", "::", "")


class Environs:
    """Makes environs.

    Args:
        multithread: Whether the application may be called by several threads at once.
        errors: What ``wsgi.errors`` is.
    """

    def __init__(self, multithread: bool, errors: object) -> None:
        self._multithread = multithread
        self._errors = errors
        self._multiprocess = False
        # By the id() of a server, and then by the fields that a connection keeps, for clients send the same again and
        # again: whole environs, in which each request changes what is its own. Those by b"" have no fields.
        self._templates: dict[int, dict[bytes, Environ]] = {}
        self._servers: dict[int, ref[HTTPServer]] = {}

    def note_fork(self) -> None:
        """This process is one of several that have the application."""
        self._multiprocess = True
        self._templates.clear()

    def make(self, request: HTTPRequest) -> Environ:
        """Make the environ of a request whose whole path is for the application.

        Raises:
            RuntimeError: The body of the request was not kept.
        """
        connection = request.connection
        templates = self._templates.get(id(connection.server)) or self._make_templates(connection.server)
        method, url, head, fields = request.method, request.url, request._head, connection._fields
        if (
            request._headers is None
            and url[0] == "/"
            and head.endswith(fields)
            and len(head) == len(method) + 1 + len(url) + len(fields)
            and (template := templates.get(fields)) is not None
        ):
            environ = template.copy()
        else:
            environ = self._make_fields(request, templates)
        environ["REQUEST_METHOD"] = method
        environ["REQUEST_URI"] = url
        path, _, query = url.partition("?")
        if request.script_name or "%" in url or "#" in url or url[0] != "/" or not url.isascii():
            path, query, _ = request._parts or request._split()
            environ["SCRIPT_NAME"] = unquote_to_bytes(request.script_name).decode("latin-1")
            path, query = path_of(path), on_the_wire(query)
        environ["PATH_INFO"] = path
        environ["QUERY_STRING"] = query
        environ["wsgi.url_scheme"] = request.scheme
        if request._client is None:
            # What a server has been told when it accepted the connection; or else to be asked.
            address = connection._remote_value
            if address.__class__ is not tuple:
                address = connection.remote_address
            if isinstance(address, tuple):
                environ["REMOTE_ADDR"] = address[0]
                environ["REMOTE_PORT"] = str(address[1])
        else:
            environ["REMOTE_ADDR"] = request._client.ip
        if request._store is None and request._body is None and not request._taken_apart:
            environ["wsgi.input"] = io.BytesIO()
        else:
            _add_body(environ, request)
        return environ

    def _make_fields(self, request: HTTPRequest, templates: dict[bytes, Environ]) -> Environ:
        """Begin an environ for fields that are not those of the request before; and keep it, if they may come again."""
        environ = {**templates[b""], "SERVER_PROTOCOL": request.protocol}
        fields = request.connection._fields
        if request._headers is not None or not request._head:
            environ |= _fields_of(request.headers)
        elif fields and request._head == f"{request.method} {request.url}".encode() + fields:
            environ |= _raw_fields_of(fields)
            if len(templates) == _MOST_TEMPLATES:
                base = templates[b""]
                templates.clear()
                templates[b""] = base
            templates[fields] = environ.copy()
        else:
            environ |= _raw_fields_of(request._head)
        # RFC 9112 §3.2.2: the host in the target counts; and with xheaders what the proxy says of it.
        if "://" in request.url[:8] or (request._client is not None and request._client.host is not None):
            environ["HTTP_HOST"] = request.host
        return environ

    def _make_templates(self, server: HTTPServer) -> dict[bytes, Environ]:
        address = server.local_address
        host, port = address[:2] if isinstance(address, tuple) else ("", 443 if server._is_secured else 80)
        if host in _WILDCARDS:
            host = socket.gethostname() or "localhost"
        key = id(server)
        all_templates, servers = self._templates, self._servers

        def forget(_server: object) -> None:
            all_templates.pop(key, None)
            servers.pop(key, None)

        base: Environ = {
            "GATEWAY_INTERFACE": "CGI/1.1",
            "PATH_INFO": "",
            "QUERY_STRING": "",
            "REMOTE_ADDR": "",
            "REQUEST_METHOD": "",
            "REQUEST_URI": "",
            "SCRIPT_NAME": "",
            "SERVER_NAME": f"[{host}]" if ":" in host else host,
            "SERVER_PORT": str(port),
            "SERVER_PROTOCOL": "",
            "SERVER_SOFTWARE": "Pants",
            "wsgi.errors": self._errors,
            "wsgi.file_wrapper": FileWrapper,
            "wsgi.input": None,
            "wsgi.input_terminated": True,
            "wsgi.multiprocess": self._multiprocess,
            "wsgi.multithread": self._multithread,
            "wsgi.run_once": False,
            "wsgi.url_scheme": "",
            "wsgi.version": (1, 0),
        }
        servers[key] = ref(server, forget)
        templates = all_templates[key] = {b"": base}
        return templates


def path_of(path: str) -> str:
    """Percent-decode a path; each character of what is returned stands for a byte. Nothing is made of ``*``."""
    return unquote_to_bytes(path).decode("latin-1") if path.startswith("/") else ""


def on_the_wire(text: str) -> str:
    """Return a text as its bytes in UTF-8, each as the character of that number (PEP 3333, "Unicode Issues")."""
    return text if text.isascii() else text.encode("utf-8", "surrogateescape").decode("latin-1")


def _add_body(environ: Environ, request: HTTPRequest) -> None:
    if request._taken_apart:
        raise RuntimeError(
            f"the body of {request!r} is a form longer than limits.spool_size, which the server has taken apart as it "
            "arrived; make the WSGIConnector itself the request handler, or attach it to the Application that is, or "
            "raise that limit"
        )
    environ["wsgi.input"] = request.body_file
    # Of a chunked one too (RFC 9112 §7.1.3): many applications read nothing where there is no length.
    size = request._store.size if request._body is None and request._store is not None else len(request.body)
    environ["CONTENT_LENGTH"] = str(size)


def _raw_fields_of(head: bytes) -> Environ:
    """Make what the fields of a head are in an environ: they follow its first line, and have been parsed before."""
    environ: Environ = {}
    for line in head.decode("latin-1").split("\r\n")[1:-2]:
        name, _, value = line.partition(":")
        key = _keys.get(name)
        if key is None:
            key = _key_of(name)
        if not key:
            continue
        value = value.strip(" \t")
        if key in environ:  # RFC 9110 §5.3, RFC 9113 §8.2.3
            value = f"{environ[key]}{'; ' if key == 'HTTP_COOKIE' else ', '}{value}"
        environ[key] = value
    return environ


def _fields_of(headers: HTTPHeaders) -> Environ:
    """Make the same of fields that somebody has asked for, and may have changed."""
    environ: Environ = {}
    for name, values in headers._values.items():
        key = _keys.get(name)
        if key is None:
            key = _key_of(name)
        if key:
            environ[key] = values[0] if len(values) == 1 else headers[name]
    return environ


def _key_of(name: str) -> str:
    """Return the key of a header field; an empty string for one that the application does not get."""
    key = name.upper().replace("-", "_")
    if "_" in name or key in _DROPPED:  # X_Forwarded_For is not to be taken for X-Forwarded-For
        key = ""
    elif key not in _BARE:
        key = f"HTTP_{key}"
    if len(_keys) < _MOST_KEYS and len(name) <= _LONGEST_KEY:
        _keys[name] = key
    return key
