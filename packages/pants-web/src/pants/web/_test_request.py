"""What a `pants.web.testing.TestClient` asks: its arguments made into a request of HTTP/1.1. Sans-IO."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, TypedDict

from pants._send_queue import FileSlice
from pants.http import HTTPHeaders
from pants.http._answer import checked_fields, encoded
from pants.http._client_body import Body, make_body
from pants.http._client_request import SessionHeaders, with_params
from pants.http._target import Target, basic_credentials, parse_target

_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_FORM: Final = "multipart/form-data"
# RFC 9110 §8.6: requests that say that they have no content.
_WITH_CONTENT: Final = frozenset({"POST", "PUT", "PATCH"})


class RequestOptions(TypedDict, total=False):
    """What `pants.web.testing.TestClient.request` takes besides a method and a path."""

    query: Any
    headers: Any
    data: Any
    json: Any
    content_type: str | None
    auth: tuple[str, str] | None
    follow_redirects: bool | None
    timeout: float | None
    stream: bool


class TestRequest:
    """A request of a `pants.web.testing.TestClient`.

    Attributes:
        method: The method.
        url: The whole URL.
        headers: The header fields that were sent.
    """

    __test__ = False

    def __init__(self, method: str, target: Target, headers: HTTPHeaders, body: Body | None) -> None:
        self.method = method
        self.headers = headers
        self._target = target
        self._body = body

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.method} {self.url}>"

    @property
    def url(self) -> str:
        """The whole URL."""
        return self._target.url

    @property
    def path(self) -> str:
        """The path, as it was sent."""
        return self._target.resource.partition("?")[0]

    @property
    def query(self) -> str:
        """The query, as it was sent; an empty string where there is none."""
        return self._target.resource.partition("?")[2]

    def _head(self) -> bytes:
        line = f"{self.method} {self._target.resource} HTTP/1.1\r\n"
        return line.encode("latin-1") + encoded(checked_fields(self.headers)) + b"\r\n"

    def _content(self) -> Iterator[bytes] | None:
        """The content, in its framing; None where there is none.

        Raises:
            RuntimeError: It came of an iterator, and has been sent.
        """
        body = self._body
        if body is None or body.length == 0:
            return None
        pieces = _read(body.pieces())
        return pieces if body.length is not None else _chunked(pieces)

    def _redirected(self, target: Target, status: int) -> TestRequest:
        """Return the request that a redirect leads to (RFC 9110 §15.4)."""
        method, body = self.method, self._body
        headers = HTTPHeaders(checked_fields(self.headers))
        if (status == 303 and method != "HEAD") or (status in (301, 302) and method == "POST"):
            method, body = "GET", None
            for name in list(headers):
                if name.lower().startswith("content-") or name == "Transfer-Encoding":
                    del headers[name]
        if target.origin != self._target.origin:
            headers.pop("Authorization", None)
        headers.pop("Cookie", None)
        headers["Host"] = target.authority
        return TestRequest(method, target, headers, body)


def make_request(
    base: Target,
    defaults: HTTPHeaders,
    method: str,
    path: str,
    *,
    query: Any,
    headers: Any,
    data: Any,
    json: Any,
    content_type: str | None,
    auth: tuple[str, str] | None,
) -> TestRequest:
    """Make a request of the arguments of `pants.web.testing.TestClient.request`.

    Args:
        base: What a path is a path of.
        defaults: The header fields of the client.
        method, path, query, headers, data, json, content_type, auth: See there.

    Raises:
        TypeError, ValueError, OSError: See there.
    """
    if not isinstance(method, str):
        raise TypeError(f"method is a str, not {method!r}")
    if not _TOKEN.fullmatch(method):
        raise ValueError(f"method is a token, as GET is (RFC 9110 §9.1), not {method!r}")
    target = resolve(base, path, query)
    fields = merged(defaults, headers)
    if content_type is not None:
        fields["Content-Type"] = content_type
    if auth is not None:
        if not isinstance(auth, tuple) or len(auth) != 2 or not all(isinstance(part, str) for part in auth):
            raise TypeError(f"auth is a tuple of a user and a password, not {type(auth).__name__}")
        fields["Authorization"] = basic_credentials(*auth)
    elif target.credentials is not None and "Authorization" not in fields:
        fields["Authorization"] = target.credentials
    body = _make_body(data, json, fields)
    made = HTTPHeaders({"Host": fields.pop("Host", target.authority)})
    for name in fields:
        made.set_list(name, fields.get_list(name))
    if body is not None and body.length is None:
        made["Transfer-Encoding"] = "chunked"
    elif body is not None or method in _WITH_CONTENT:
        made["Content-Length"] = str(0 if body is None else body.length)
    return TestRequest(method, target, made, body)


def resolve(base: Target, path: str, query: Any = None) -> Target:
    """Return what a path, or a whole URL, stands for.

    Raises:
        TypeError, ValueError: It is neither, or ``query`` is no query.
    """
    if not isinstance(path, str):
        raise TypeError(f"a path is a str, not {path!r}")
    if path.startswith("/"):
        path = base.origin + path
    elif "://" not in path:
        raise ValueError(f"a path begins with a slash, and a URL with http:// or https://, unlike {path!r}")
    return parse_target(path if query is None else with_params(path, query))


def merged(defaults: HTTPHeaders, headers: Any) -> SessionHeaders:
    """Return header fields, where those given take the place of those that there are; None removes one.

    Raises:
        TypeError, ValueError: They are no headers, or one is set by the client itself.
    """
    fields = SessionHeaders(defaults)
    if headers is not None:
        fields.override(headers)
    return fields


# --- Content ----------------------------------------------------------------------------------------------------------


def _make_body(data: Any, json: Any, fields: HTTPHeaders) -> Body | None:
    """Make the content, and tell its type where it has one of its own and none was given."""
    if json is not None:
        body = make_body(data=data, json=json)
    elif data is None:
        return None
    elif _is_form(data):
        body = _make_form(data, fields)
    else:
        body = make_body(data=data)
        assert body is not None
        body.content_type = None  # content as it is: nobody knows what it means
    assert body is not None
    if body.content_type is not None and "Content-Type" not in fields:
        fields["Content-Type"] = body.content_type
    return body


def _is_form(data: Any) -> bool:
    return isinstance(data, Mapping) or (isinstance(data, list) and all(isinstance(pair, tuple) for pair in data))


def _make_form(data: Any, fields: HTTPHeaders) -> Body | None:
    """Make a form: multipart if there is a file in it, or if it is to be."""
    pairs = [
        (name, value)
        for name, values in (data.items() if isinstance(data, Mapping) else data)
        for value in (values if isinstance(values, list) else [values])
        if value is not None
    ]
    asked = fields.get("Content-Type", "").partition(";")[0].strip().lower() == _FORM
    if not asked and not any(_is_file(value) for _, value in pairs):
        return make_body(data=pairs)
    if asked:
        del fields["Content-Type"]  # for that names the boundary
    return make_body(files=[(name, _part(name, value)) for name, value in pairs])


def _is_file(value: Any) -> bool:
    return isinstance(value, tuple) or callable(getattr(value, "read", None))


def _part(name: str, value: Any) -> Any:
    """Return a value of a form as `make_body` has it: a file, or a tuple that begins with its name."""
    if isinstance(value, tuple):
        if len(value) >= 2 and not isinstance(value[0], str):  # as Flask's client has it
            value = (value[1], value[0], *value[2:])
        if not 2 <= len(value) <= 3 or not isinstance(value[0], str):
            raise TypeError(f"the file {name!r} is a tuple (filename, content[, content type]), not {value!r}")
        return value
    if callable(getattr(value, "read", None)):
        return value
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, (str, bytes, bytearray, memoryview)):
        raise TypeError(f"the field {name!r} is a str, bytes, a number or a file, or a list of them, not {value!r}")
    return (None, value)


def _read(pieces: Iterator[bytes | FileSlice]) -> Iterator[bytes]:
    for piece in pieces:
        if isinstance(piece, FileSlice):
            try:
                while piece.size:
                    yield piece.read()
            finally:
                piece.close()
        else:
            yield piece


def _chunked(pieces: Iterator[bytes]) -> Iterator[bytes]:
    for piece in pieces:
        if piece:
            yield b"%x\r\n%b\r\n" % (len(piece), piece)
    yield b"0\r\n\r\n"
