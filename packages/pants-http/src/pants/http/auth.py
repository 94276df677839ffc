"""What authorizes the requests of the client (manual: "AuthBase"): Basic, Digest, and what users add. Sans-IO."""

from __future__ import annotations

import re
import secrets
import unicodedata
from typing import Any, Final, Protocol, TypeVar
from urllib.parse import quote
from weakref import WeakKeyDictionary

from pants.http._challenges import DigestChallenge, choose_digest, hash_parts, parse_challenges, parse_parameters
from pants.http._target import basic_credentials
from pants.http.utils import HTTPHeaders

__all__ = ["AuthBase", "BasicAuth", "DigestAuth"]

_T = TypeVar("_T")

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
# What `_quoted` puts a backslash before (RFC 9110 §5.6.4).
_ESCAPED: Final = re.compile(r'(["\\])')
# attr-char (RFC 8187 §3.2.1) without the letters, digits and ``-._~``, which stay as they are anyway.
_ATTR_CHAR: Final = "!#$&+^`|"
# Origins of which something is kept, for each object.
_MOST_ORIGINS: Final = 1000


class _Request(Protocol):
    """What is looked at of a request; which is hashable by its identity, and can be referred to weakly."""

    @property
    def method(self) -> str: ...

    @property
    def path(self) -> str:
        """Its target as it is sent, query included."""

    @property
    def origin(self) -> str:
        """Where it is sent to, as ``https://host:port``, without a port that is the scheme's default."""

    @property
    def headers(self) -> HTTPHeaders: ...

    def hash_body(self, name: str) -> str | None:
        """Return the digest of the whole body, in hexadecimal; None where the body cannot be read beforehand.

        Args:
            name: Of the algorithm, as `hashlib.new` has it.
        """


class _Response(Protocol):
    """What is looked at of an answer; and its ``history``, where it has one.

    That is a list of the answers that led to it. It is needed where each attempt is a request of its own.
    """

    @property
    def request(self) -> _Request: ...

    @property
    def status_code(self) -> int: ...

    @property
    def headers(self) -> HTTPHeaders: ...


class AuthBase:
    """Authorizes requests; to be subclassed for schemes that are not here (manual: "AuthBase").

    One object may serve any number of requests, several in flight at once, and to several origins.

    Example:
        >>> from pants.http.auth import AuthBase
        >>> class BearerAuth(AuthBase):
        ...     def __init__(self, token):
        ...         self._token = token
        ...
        ...     def __call__(self, request):
        ...         request.headers["Authorization"] = f"Bearer {self._token}"
    """

    def __call__(self, request: Any) -> None:
        """Put into ``request.headers`` what authorizes a request.

        Called each time before a request is sent: at first, when it is redirected within its origin, and when it is
        sent again after a 401. To be overridden.
        """
        raise NotImplementedError(f"{type(self).__name__} has no __call__(request), which authorizes a request")

    def handle_401(self, response: Any) -> bool:
        """Say whether a request is to be sent again, for it would be authorized better: False, unless overridden.

        Called when it has been answered by 401 Unauthorized.

        Args:
            response: The answer; its request is ``response.request``.
        """
        return False

    def handle_response(self, response: Any) -> None:
        """Take notice of an answer other than 401 to a request that was authorized. Does nothing, unless overridden."""


class BasicAuth(AuthBase):
    """Sends a name and a password with each request, without being asked (RFC 7617), encoded as UTF-8.

    Whoever reads along reads them, so this is for TLS.

    Raises:
        TypeError: One of the two is not a str.
        ValueError: The name contains a colon, or one of the two a control character (§2).

    Example:
        >>> from pants.http import HTTPHeaders
        >>> from types import SimpleNamespace
        >>> request = SimpleNamespace(headers=HTTPHeaders())
        >>> BasicAuth("Aladdin", "open sesame")(request)
        >>> request.headers["Authorization"]
        'Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=='
    """

    def __init__(self, username: str, password: str) -> None:
        self.username, password = _checked(username, password)
        self._value = basic_credentials(self.username, password)

    def __call__(self, request: _Request) -> None:
        """Authorize a request."""
        request.headers["Authorization"] = self._value

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.username!r}, ...)"


class DigestAuth(AuthBase):
    """Proves to know a password, which it does not send (RFC 7616).

    The first request to an origin is sent without credentials; the server's challenge to it is answered, and from then
    on each request to that origin carries them at once. MD5, SHA-256 and SHA-512-256 are spoken, their ``-sess``
    variants, the qualities of protection "auth" and "auth-int", and RFC 2069, which has none.

    Nothing follows from two parameters: ``domain``, for credentials go to the origin that asked for them and to no
    other; and ``rspauth``, by which a server proves itself, for a false one would just leave it out.

    Raises:
        TypeError: One of the two is not a str.
        ValueError: One of the two contains a control character.

    Example:
        >>> from pants.http.auth import DigestAuth
        >>> auth = DigestAuth("Mufasa", "Circle of Life")
    """

    def __init__(self, username: str, password: str) -> None:
        self.username, self._password = _checked(username, password)
        self._sessions: dict[str, _Session] = {}  # by the origin
        self._sent: WeakKeyDictionary[_Request, _Sent] = WeakKeyDictionary()

    def __call__(self, request: _Request) -> None:
        """Authorize a request, if its origin has asked for that before."""
        sent = self._sent.setdefault(request, _Sent())
        _withdraw(request, sent.value)
        sent.session = session = self._sessions.get(request.origin)
        sent.value = None
        if session is not None:
            _keep(self._sessions, request.origin, session)
            sent.asked = session.challenge.realm, session.nonce
            sent.value = session.authorize(request, self.username, self._password)
        if sent.value is not None:
            request.headers["Authorization"] = sent.value

    def handle_401(self, response: _Response) -> bool:
        """Take up a challenge. False where none can be answered, and where the password is wrong."""
        request = response.request
        challenge = choose_digest(response.headers.get_list("WWW-Authenticate"), request.hash_body)
        if challenge is None:
            return False
        sent = self._sent.setdefault(request, _Sent())
        for earlier in getattr(response, "history", ())[-1:]:
            if earlier.status_code == 401 and (before := self._sent.get(earlier.request)) is not None:
                sent.answered |= before.answered
                sent.stale |= before.stale
        carried = sent.value is not None and request.headers.get("Authorization") == sent.value
        refused = carried and sent.asked == (challenge.realm, challenge.nonce)
        session = self._sessions.get(request.origin)
        if carried and challenge.stale and not sent.stale:
            sent.stale = True
        elif sent.answered or refused:  # RFC 7616 §3.3: a wrong name or password
            if session is sent.session:
                self._sessions.pop(request.origin, None)
            return False
        sent.answered = True
        # Requests in flight at once may all be asked the same. The session goes on then, and so does a nonce's count.
        if session is None or session.challenge != challenge or (carried and session.nonce != challenge.nonce):
            count = session.count if session is not None and session.nonce == challenge.nonce else 0
            session = _Session(challenge, count)
        _keep(self._sessions, request.origin, session)
        return True

    def handle_response(self, response: _Response) -> None:
        """Take up the next nonce (RFC 7616 §3.5)."""
        sent = self._sent.get(response.request)
        if sent is None:
            return
        sent.answered = sent.stale = False
        session = self._sessions.get(response.request.origin)
        if session is None or session is not sent.session:
            return  # there has been another challenge since
        nonce = parse_parameters(response.headers.get_list("Authentication-Info")).get("nextnonce")
        if nonce is not None and nonce != session.nonce:
            session.nonce, session.count = nonce, 0

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.username!r}, ...)"


class _GuessedAuth(AuthBase):
    """What a tuple of a name and a password means: Basic, unless a server wants Digest and no Basic."""

    def __init__(self, username: str, password: str) -> None:
        self._basic = BasicAuth(username, password)
        self._digest = DigestAuth(username, password)
        self._digesting: dict[str, None] = {}  # origins

    def __call__(self, request: _Request) -> None:
        if request.origin in self._digesting:
            _keep(self._digesting, request.origin, None)
            _withdraw(request, self._basic._value)
            self._digest(request)
        else:
            self._basic(request)

    def handle_401(self, response: _Response) -> bool:
        origin = response.request.origin
        if origin not in self._digesting:
            challenges = parse_challenges(response.headers.get_list("WWW-Authenticate"))
            if any(challenge.scheme == "basic" for challenge in challenges):
                return False  # a wrong name or password
        if not self._digest.handle_401(response):
            return False
        _keep(self._digesting, origin, None)
        return True

    def handle_response(self, response: _Response) -> None:
        self._digest.handle_response(response)

    def __repr__(self) -> str:
        return f"({self._basic.username!r}, ...)"


def check_auth(auth: object) -> AuthBase | None:
    """Return what authorizes a request, for the argument ``auth``: an `AuthBase`, a name and a password, or None.

    Raises:
        TypeError: It is something else.
        ValueError: The name contains a colon, or one of the two a control character (RFC 7617 §2).
    """
    if auth is None or isinstance(auth, AuthBase):
        return auth
    if isinstance(auth, (tuple, list)) and len(auth) == 2:
        return _GuessedAuth(*auth)
    # Not what it is, for there may be a password in it.
    what = type(auth).__name__ + (f" with {len(auth)} items" if isinstance(auth, (tuple, list)) else "")
    remedy = "; for a scheme of your own, pass an instance of a subclass of AuthBase" if callable(auth) else ""
    raise TypeError(f"auth is a tuple (username, password) or a pants.http.auth.AuthBase, not of type {what}{remedy}")


def _checked(username: str, password: str) -> tuple[str, str]:
    """Return a name and a password as RFC 7616 §4 and RFC 7617 §2.1 want them before they are encoded."""
    for what, value in (("username", username), ("password", password)):
        if not isinstance(value, str):
            raise TypeError(f"{what} is a str, not of type {type(value).__name__}")
    if _CONTROL.search(username + password):
        raise ValueError("neither the username nor the password can contain control characters (RFC 7617 §2)")
    if re.search(r"[\ud800-\udfff]", username + password):
        raise ValueError("the username or the password has half of a surrogate pair, which UTF-8 cannot encode")
    return unicodedata.normalize("NFC", username), unicodedata.normalize("NFC", password)


def _keep(kept: dict[str, _T], origin: str, value: _T) -> None:
    """Keep something of an origin, and forget the one that has not been used for the longest, if they are too many."""
    kept.pop(origin, None)
    kept[origin] = value
    if len(kept) > _MOST_ORIGINS:
        del kept[next(iter(kept))]


def _withdraw(request: _Request, value: str | None) -> None:
    """Take off a request what an earlier call has put there."""
    if value is not None and request.headers.get("Authorization") == value:
        del request.headers["Authorization"]


# --- Digest -----------------------------------------------------------------------------------------------------------


class _Session:
    """What lasts from one challenge to the next (RFC 7616 §3.6).

    Attributes:
        challenge: The challenge.
        nonce: The challenge's nonce, or the one that came after it.
        count: How many requests have been sent with it.
    """

    __slots__ = ("_cnonce", "challenge", "count", "nonce")

    def __init__(self, challenge: DigestChallenge, count: int) -> None:
        self.challenge = challenge
        self.nonce = challenge.nonce
        self.count = count
        # One for all requests. The key is made with that of the first (§3.4.2), but there are servers that take the
        # one of the request at hand.
        self._cnonce = secrets.token_hex(16) if challenge.is_sess else None

    def authorize(self, request: _Request, username: str, password: str) -> str | None:
        """Return the value of Authorization (RFC 7616 §3.4); None where the body would have to be hashed and cannot."""
        challenge = self.challenge
        hash_name, realm = challenge.hash_name, challenge.realm
        a2 = [request.method, request.path]
        if challenge.qop == "auth-int":
            body = request.hash_body(hash_name)
            if body is None:
                return None
            a2.append(body)
        key = hash_parts(hash_name, _as_bytes(username), realm, _as_bytes(password))
        protection: list[str] = []
        fields = [f"realm={_quoted(realm)}", f"nonce={_quoted(self.nonce)}", f"uri={_quoted(request.path)}"]
        if challenge.qop is not None:
            self.count += 1
            count, cnonce = f"{self.count:08x}", self._cnonce or secrets.token_hex(16)
            protection = [count, cnonce, challenge.qop]
            fields += [f"nc={count}", f"cnonce={_quoted(cnonce)}", f"qop={challenge.qop}"]
            if challenge.is_sess:
                key = hash_parts(hash_name, key, challenge.nonce, cnonce)
        answer = hash_parts(hash_name, key, self.nonce, *protection, hash_parts(hash_name, *a2))
        fields.append(f"response={_quoted(answer)}")
        if challenge.algorithm is not None:
            fields.append(f"algorithm={challenge.algorithm}")
        if challenge.opaque is not None:
            fields.append(f"opaque={_quoted(challenge.opaque)}")
        return ", ".join([f"Digest {self._name(username)}", *fields])

    def _name(self, username: str) -> str:
        challenge = self.challenge
        if challenge.userhash:  # RFC 7616 §3.4.4
            hashed = hash_parts(challenge.hash_name, _as_bytes(username), challenge.realm)
            return f"username={_quoted(hashed)}, userhash=true"
        if username.isascii():
            return f"username={_quoted(username)}"
        return f"username*=UTF-8''{quote(username, safe=_ATTR_CHAR)}"  # RFC 8187 §3.2


class _Sent:
    """How a request was sent the last time.

    Attributes:
        session: The session that it belonged to; None where there was none.
        asked: The realm and the nonce of what it carried.
        value: The value of Authorization; None where there was none.
        answered: Whether that answered a challenge to this very request.
        stale: Whether its nonce was stale before.
    """

    __slots__ = ("answered", "asked", "session", "stale", "value")

    def __init__(self) -> None:
        self.session: _Session | None = None
        self.asked = ("", "")
        self.value: str | None = None
        self.answered = False
        self.stale = False


def _as_bytes(text: str) -> str:
    """Return the UTF-8 of a text, each byte as a character, which is how all else of a header is given."""
    return text.encode().decode("latin-1")


def _quoted(value: str) -> str:
    return '"{}"'.format(_ESCAPED.sub(r"\\\1", value))
