"""`pants.http.auth`: Basic, Digest and challenges, as the RFCs have them; whatever a server says, nothing loops."""

from __future__ import annotations

import base64
import doctest
import gc
import hashlib
import itertools
import re
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pants.http import HTTPHeaders, _challenges, auth
from pants.http._challenges import Challenge, choose_digest, parse_challenges, parse_parameters
from pants.http.auth import AuthBase, BasicAuth, DigestAuth, check_auth

ORIGIN = "http://www.example.org"
# RFC 7616 §3.9.1
NONCE = "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v"
OPAQUE = "FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"
CNONCE = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ"

HASHES = {"MD5": "md5", "SHA-256": "sha256"}
if "sha512_256" in hashlib.algorithms_available:
    HASHES["SHA-512-256"] = "sha512_256"
ALGORITHMS = [name + suffix for name in HASHES for suffix in ("", "-sess")]


class Request:
    def __init__(
        self, method: str = "GET", path: str = "/dir/index.html", origin: str = ORIGIN, body: bytes | None = b""
    ) -> None:
        self.method, self.path, self.origin, self.body = method, path, origin, body
        self.headers = HTTPHeaders()
        self.response: Response | None = None

    def hash_body(self, name: str) -> str | None:
        return None if self.body is None else hashlib.new(name, self.body).hexdigest()

    def again(self) -> Request:
        return Request(self.method, self.path, self.origin, self.body)

    @property
    def authorization(self) -> str | None:
        return self.headers.get("Authorization")


class Response:
    def __init__(self, request: Request, status_code: int = 200, *fields: tuple[str, str]) -> None:
        self.request, self.status_code, self.headers = request, status_code, HTTPHeaders(fields)


def unauthorized(request: Request, *challenges: str) -> Response:
    return Response(request, 401, *[("WWW-Authenticate", challenge) for challenge in challenges])


def answer(credentials: AuthBase, *challenges: str, request: Request | None = None) -> str | None:
    """Return what a request is sent with after a challenge; None where it is not sent again."""
    request = request or Request()
    credentials(request)
    if not credentials.handle_401(unauthorized(request, *challenges)):
        return None
    credentials(request)
    return request.authorization


QUOTED = {"username", "realm", "nonce", "uri", "response", "cnonce", "opaque"}
UNQUOTED = {"username*", "qop", "algorithm", "nc", "userhash"}


def read(authorization: str | None) -> dict[str, str]:
    """Take credentials apart, and see to what RFC 7616 §3.4 has in quotes and what not."""
    assert authorization is not None
    assert re.fullmatch(r"[ -~\x80-\xff]+", authorization)
    scheme, _, rest = authorization.partition(" ")
    assert scheme == "Digest"
    fields: dict[str, str] = {}
    while rest:
        match = re.match(r'([a-z]+\*?)=(?:"((?:[^"\\]|\\.)*)"|([^",\s]+))(?:, |$)', rest)
        assert match, rest
        name = match[1]
        assert name not in fields
        assert name in (QUOTED if match[3] is None else UNQUOTED)
        fields[name] = re.sub(r"\\(.)", r"\1", match[2]) if match[3] is None else match[3]
        rest = rest[match.end() :]
    return fields


class Server:
    """One that asks for Digest and verifies it (RFC 7616 §3.4.1 to §3.4.4), by means of its own."""

    def __init__(
        self,
        algorithm: str | None = "SHA-256",
        qop: str | None = "auth",
        user: str = "Mufasa",
        password: str = "Circle of Life",
        realm: str = "http-auth@example.org",
        userhash: bool = False,
        key_of_first: bool = True,
    ) -> None:
        self.algorithm, self.qop, self.realm, self.userhash = algorithm, qop, realm, userhash
        self.user, self.password = user.encode(), password.encode()
        self.key_of_first = key_of_first
        self.nonces = map("nonce{}".format, itertools.count())
        self.counts: dict[str, int] = {}
        self.keys: dict[str, str] = {}
        self.stale: set[str] = set()
        self.cnonces: list[str] = []
        self.seen: list[str | None] = []
        self.next_nonce = False
        self.sends_stale = True

    def hash(self, *parts: str | bytes) -> str:
        data = b":".join([part.encode("latin-1") if isinstance(part, str) else part for part in parts])
        return hashlib.new(HASHES[(self.algorithm or "MD5").removesuffix("-sess")], data).hexdigest()

    def new_nonce(self) -> str:
        nonce = next(self.nonces)
        self.counts[nonce] = 0
        return nonce

    def challenge(self, stale: bool = False) -> str:
        parts = [f'Digest realm="{self.realm}", nonce="{self.new_nonce()}", opaque="{OPAQUE}"']
        parts += [f"algorithm={self.algorithm}"] if self.algorithm else []
        parts += [f'qop="{self.qop}"'] if self.qop else []
        parts += ["userhash=true, charset=UTF-8"] if self.userhash else []
        parts += ["stale=TRUE"] if stale and self.sends_stale else []
        return ", ".join(parts)

    def is_right(self, request: Request, fields: dict[str, str]) -> bool:
        assert (fields["realm"], fields["opaque"], fields["uri"]) == (self.realm, OPAQUE, request.path)
        assert fields.get("algorithm") == self.algorithm
        assert ("qop" in fields) is ("nc" in fields) is ("cnonce" in fields) is (self.qop is not None)
        if self.userhash:
            assert (fields["username"], fields["userhash"]) == (self.hash(self.user, self.realm), "true")
        elif "username*" in fields:
            assert "username" not in fields
            assert not self.user.isascii()
            assert unquote(fields["username*"].removeprefix("UTF-8''")).encode() == self.user
        else:
            assert fields["username"].encode("latin-1") == self.user
        nonce = fields["nonce"]
        a1 = self.hash(self.user, self.realm, self.password)
        if (self.algorithm or "").endswith("-sess"):
            session = self.hash(a1, nonce, fields["cnonce"])
            a1 = self.keys.setdefault(nonce, session) if self.key_of_first else session
        a2 = [request.method, request.path]
        if fields.get("qop") == "auth-int":
            assert request.body is not None
            a2.append(self.hash(request.body))
        if self.qop is None:
            return fields["response"] == self.hash(a1, nonce, self.hash(*a2))
        assert fields["qop"] in [qop.strip() for qop in self.qop.split(",")]
        self.counts[nonce] += 1
        assert fields["nc"] == format(self.counts[nonce], "08x")
        self.cnonces.append(fields["cnonce"])
        protection = [fields["nc"], fields["cnonce"], fields["qop"]]
        return fields["response"] == self.hash(a1, nonce, *protection, self.hash(*a2))

    def __call__(self, request: Request) -> Response:
        self.seen.append(request.authorization)
        if request.authorization is None or not request.authorization.startswith("Digest "):
            return unauthorized(request, self.challenge())
        fields = read(request.authorization)
        if not self.is_right(request, fields):
            return unauthorized(request, self.challenge())
        if fields["nonce"] in self.stale:
            return unauthorized(request, self.challenge(stale=True))
        return self.served(request)

    def served(self, request: Request) -> Response:
        if not self.next_nonce:
            return Response(request, 200)
        return Response(request, 200, ("Authentication-Info", f'qop=auth, nextnonce="{self.new_nonce()}"'))


def same_again(credentials: AuthBase, server: Callable[[Request], Response], request: Request) -> Response:
    """A client that sends the same object again."""
    for _ in range(10):
        credentials(request)
        response = server(request)
        if response.status_code != 401:
            credentials.handle_response(response)
            return response
        if not credentials.handle_401(response):
            return response
    raise AssertionError("it goes on for ever")


def new_again(credentials: AuthBase, server: Callable[[Request], Response], request: Request) -> Response:
    """A client that makes a new request for each attempt, and keeps the answers."""
    history: list[Response] = []
    for _ in range(10):
        credentials(request)
        response = server(request)
        response.history = history = [*history]  # type: ignore[attr-defined]
        if response.status_code != 401:
            credentials.handle_response(response)
            return response
        if not credentials.handle_401(response):
            return response
        history.append(response)
        request = request.again()
    raise AssertionError("it goes on for ever")


clients = pytest.mark.parametrize("fetch", [same_again, new_again])


# -- challenges ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "values, expected",
    [
        ([], []),
        ([""], []),
        ([" , ,\t,"], []),
        (["Basic"], [("basic", None, {})]),
        (['Basic realm="simple"'], [("basic", None, {"realm": "simple"})]),
        (["BASIC  REALM=simple"], [("basic", None, {"realm": "simple"})]),
        (['Basic realm = "a" ,\tcharset\t=\tUTF-8'], [("basic", None, {"realm": "a", "charset": "UTF-8"})]),
        # RFC 9110 §11.6.1
        (
            ['Basic realm="simple", Newauth realm="apps", type=1, title="Login to \\"apps\\""'],
            [
                ("basic", None, {"realm": "simple"}),
                ("newauth", None, {"realm": "apps", "type": "1", "title": 'Login to "apps"'}),
            ],
        ),
        (
            ["Negotiate", "Bearer, Basic realm=a", "NTLM"],
            [("negotiate", None, {}), ("bearer", None, {}), ("basic", None, {"realm": "a"}), ("ntlm", None, {})],
        ),
        (["Negotiate YII="], [("negotiate", "YII=", {})]),
        (["Negotiate a-._~+/b==, Basic realm=x"], [("negotiate", "a-._~+/b==", {}), ("basic", None, {"realm": "x"})]),
        (["Foo bar=baz"], [("foo", None, {"bar": "baz"})]),
        (["Foo bar"], [("foo", "bar", {})]),
        (["Foo ,, a=b,, ,c=d,"], [("foo", None, {"a": "b", "c": "d"})]),  # RFC 9110 §5.6.1.2
        (["Foo a=b", "c=d"], [("foo", None, {"a": "b", "c": "d"})]),  # §5.3: one list
        (['Foo a="x, Bar b=c"'], [("foo", None, {"a": "x, Bar b=c"})]),
        (['Foo a="", b="\t\\\\ \\a\\,\xe9"'], [("foo", None, {"a": "", "b": "\t\\ a,\xe9"})]),
        # What is malformed is skipped, and no more than that.
        (["a=b, Basic realm=x"], [("basic", None, {"realm": "x"})]),
        (["Foo a=b, ???, c=d, Basic realm=x"], [("basic", None, {"realm": "x"})]),
        (["Foo a=, Basic realm=x"], [("foo", "a=", {}), ("basic", None, {"realm": "x"})]),
        (["Foo a=b, c=, Basic realm=x"], [("basic", None, {"realm": "x"})]),
        (["Foo a=b, A=c, Basic realm=x"], [("basic", None, {"realm": "x"})]),  # §11.2: once
        (["Foo abc, d=e, Basic realm=x"], [("basic", None, {"realm": "x"})]),
        (['Foo a="b"c, Basic realm=x'], [("basic", None, {"realm": "x"})]),
        (['Foo a=b"c", Basic realm=x'], [("basic", None, {"realm": "x"})]),
        (["Foo a=b c=d, Basic realm=x"], [("basic", None, {"realm": "x"})]),
        (["Foo =x, Basic realm=x"], [("basic", None, {"realm": "x"})]),
        (["F(o a=b, Basic realm=x"], [("basic", None, {"realm": "x"})]),
        (['Basic realm=x, Foo a="b, c=d', "Bar"], [("basic", None, {"realm": "x"}), ("bar", None, {})]),
        (['Basic realm=x, Foo a="b\\"', "c=d, Bar"], [("basic", None, {"realm": "x"}), ("bar", None, {})]),
        (['Foo a="b\\', "Basic"], [("basic", None, {})]),
    ],
)
def test_challenges(values: list[str], expected: list[tuple[str, str | None, dict[str, str]]]) -> None:
    assert parse_challenges(values) == [Challenge(*each) for each in expected]


@pytest.mark.parametrize("char", [chr(code) for code in [*range(9), *range(10, 32), 127, 0x100, 0x20AC]])
def test_what_no_header_can_contain_spoils_a_challenge(char: str) -> None:
    for value in (f'Foo a="b{char}c"', f'Foo a="b\\{char}c"', f"Foo a=b{char}", f"Foo {char}a=b", f"Foo b{char}c"):
        assert parse_challenges([f"{value}, Basic"]) == [("basic", None, {})], value


@pytest.mark.parametrize(
    "values, expected",
    [
        ([], {}),
        (['nextnonce="a\\"b", QOP=auth, rspauth=""'], {"nextnonce": 'a"b', "qop": "auth", "rspauth": ""}),
        (["a=b, a=c", "a=d, e=f"], {"a": "b", "e": "f"}),
        (['a, b=, c=d e, f="g", "h'], {"f": "g"}),
    ],
)
def test_parameters(values: list[str], expected: dict[str, str]) -> None:
    assert parse_parameters(values) == expected


HOSTILE = [
    '"', "\\", '\\"', '"\\', ",", ',"', '"",', "a", "a ", "a=", "a=b", "a=b,", 'a="b"', 'a="', "a =", " ", "\t", "=",
    "a b ", "Digest ", "Digest a=b,", 'Digest realm="a", nonce="b", ', "\xe9", "\0",
]  # fmt: skip


@pytest.mark.parametrize("piece", HOSTILE)
@pytest.mark.parametrize("start", ["", "Digest ", 'Digest a="', "a", "a ="])
def test_hostile_challenges_take_linear_time(start: str, piece: str) -> None:
    value = start + piece * (200_000 // len(piece))
    began = time.process_time()
    parse_challenges([value])
    parse_challenges([value + '"'])
    parse_parameters([value])
    assert time.process_time() - began < 5  # quadratic time would take an hour


@given(
    st.lists(
        st.one_of(
            st.text(),
            st.lists(st.sampled_from([*HOSTILE, "nonce=b", 'qop="auth"', "stale=true"])).map("".join),
        )
    )
)
@example(["Digest realm=a, nonce=b"])
def test_no_challenge_raises_or_breaks_what_is_sent(values: list[str]) -> None:
    for scheme, token68, parameters in parse_challenges(values):
        assert re.fullmatch(r"[!-~]+", scheme)
        assert token68 is None or not parameters
        assert all(re.fullmatch(r"[\t -~\x80-\xff]*", value) for value in parameters.values())
    parse_parameters(values)
    for credentials in (DigestAuth("a", "b"), check_auth(("a", "b"))):
        assert credentials is not None
        value = answer(credentials, *values)
        assert value is None or re.fullmatch(r"[\t -~\x80-\xff]*", value)


TOKENS = st.text("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABC", min_size=1)
PAIRS = st.dictionaries(
    TOKENS.map(str.lower), st.text(st.characters(max_codepoint=255, exclude_categories=["Cc"])), min_size=1
)


@given(st.lists(st.tuples(TOKENS, PAIRS)), st.sampled_from([", ", ",", " , ,\t"]))
def test_what_is_well_formed_is_read(challenges: list[tuple[str, dict[str, str]]], comma: str) -> None:
    def quoted(value: str) -> str:
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'

    field = comma.join(
        f"{scheme} " + comma.join(f"{name}={quoted(value)}" for name, value in parameters.items())
        for scheme, parameters in challenges
    )
    assert parse_challenges([field]) == [(scheme.lower(), None, parameters) for scheme, parameters in challenges]


# -- Basic --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "username, password, expected",
    [
        ("Aladdin", "open sesame", "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="),  # RFC 7617 §2
        ("test", "123\xa3", "Basic dGVzdDoxMjPCow=="),  # §2.1
        ("test", "a:b", "Basic dGVzdDphOmI="),
        ("", "", "Basic Og=="),
        ("Ja\u0308son", "", "Basic " + base64.b64encode("J\xe4son:".encode()).decode()),  # §2.1: NFC
    ],
)
def test_basic(username: str, password: str, expected: str) -> None:
    for credentials in (BasicAuth(username, password), check_auth((username, password))):
        assert credentials is not None
        request = Request()
        credentials(request)
        assert request.authorization == expected
        assert not credentials.handle_401(unauthorized(request, 'Basic realm="a"'))
        credentials.handle_response(Response(request))
        credentials(request)
        assert request.headers.get_list("Authorization") == [expected]


def test_basic_does_not_go_over_to_digest() -> None:
    assert answer(BasicAuth("a", "b"), 'Digest realm="a", nonce="b"') is None


# -- Digest: the examples of the RFCs -----------------------------------------------------------------------------


def set_cnonce(monkeypatch: pytest.MonkeyPatch, cnonce: str) -> None:
    monkeypatch.setattr("pants.http.auth.secrets.token_hex", lambda *args: cnonce)


RFC_7616 = [
    f'Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm={algorithm}, '
    f'nonce="{NONCE}", opaque="{OPAQUE}"'
    for algorithm in ("SHA-256", "MD5")
]


@pytest.mark.parametrize(
    "challenges, algorithm, response",
    [
        (RFC_7616[1:], "MD5", "8ca523f5e9506fed4657c9700eebdbec"),
        (RFC_7616[:1], "SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
        (RFC_7616, "SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
        (RFC_7616[::-1], "SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
    ],
)
def test_example_of_rfc_7616(
    monkeypatch: pytest.MonkeyPatch, challenges: list[str], algorithm: str, response: str
) -> None:
    """RFC 7616 §3.9.1."""
    set_cnonce(monkeypatch, CNONCE)
    expected = {
        "username": "Mufasa",
        "realm": "http-auth@example.org",
        "uri": "/dir/index.html",
        "algorithm": algorithm,
        "nonce": NONCE,
        "nc": "00000001",
        "cnonce": CNONCE,
        "qop": "auth",
        "response": response,
        "opaque": OPAQUE,
    }
    assert read(answer(DigestAuth("Mufasa", "Circle of Life"), *challenges)) == expected
    assert read(answer(DigestAuth("Mufasa", "Circle of Life"), ", ".join(challenges))) == expected


@pytest.mark.skipif("SHA-512-256" not in HASHES, reason="OpenSSL has no SHA-512/256 here")
def test_example_of_rfc_7616_with_a_hashed_name() -> None:
    """RFC 7616 §3.9.2. Its hash of the name is a SHA-512 cut short, which is no SHA-512/256 (FIPS 180-4 §5.3.6)."""
    server = Server("SHA-512-256", "auth", "J\xe4s\xf8n Doe", "Secret, or not?", "api@example.org", userhash=True)
    cut = hashlib.sha512("J\xe4s\xf8n Doe:api@example.org".encode()).hexdigest()[:64]
    assert cut == "488869477bf257147b804c45308cd62ac4e25eb717b12b298c79e62dcea254ec"
    response = same_again(DigestAuth("J\xe4s\xf8n Doe", "Secret, or not?"), server, Request(path="/doe.json"))
    assert response.status_code == 200
    fields = read(response.request.authorization)
    assert fields["username"] == "793263caabb707a56211940d90411ea4a575adeccb7e360aeb624ed06ece9b0b"
    assert fields["algorithm"] == "SHA-512-256"


def test_example_of_rfc_2617(monkeypatch: pytest.MonkeyPatch) -> None:
    """RFC 2617 §3.5."""
    set_cnonce(monkeypatch, "0a4f113b")
    challenge = (
        'Digest realm="testrealm@host.com", qop="auth,auth-int", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", '
        'opaque="5ccc069c403ebaf9f0171e9517f40e41"'
    )
    fields = read(answer(DigestAuth("Mufasa", "Circle Of Life"), challenge))
    assert fields["response"] == "6629fae49393a05397450978507c4ef1"
    assert "algorithm" not in fields


# -- Digest: against a server -------------------------------------------------------------------------------------


@clients
@pytest.mark.parametrize("key_of_first", [True, False])
@pytest.mark.parametrize("userhash", [False, True])
@pytest.mark.parametrize("qop", [None, "auth", "auth-int", "auth,auth-int", "auth-int ,\tauth", "token, auth"])
@pytest.mark.parametrize("algorithm", [None, *ALGORITHMS])
def test_digest(fetch: Any, algorithm: str | None, qop: str | None, userhash: bool, key_of_first: bool) -> None:
    server = Server(algorithm, qop, userhash=userhash, key_of_first=key_of_first)
    credentials = DigestAuth("Mufasa", "Circle of Life")
    requests = [Request(), Request("POST", "/a?b=c%22", body=b"\0" * 99), Request("PUT", "*")]
    if qop is None and algorithm is not None and algorithm.endswith("-sess"):  # there is no cnonce for the key
        assert fetch(credentials, server, requests[0]).status_code == 401
        assert server.seen == [None]
        return
    for request in requests:
        assert fetch(credentials, server, request).status_code == 200
    assert len(server.seen) == 4  # asked for once only
    if qop is not None:
        assert "auth" not in qop.replace("auth-int", "") or all(
            "qop=auth," in (seen or "qop=auth,") for seen in server.seen
        )
        assert len(set(server.cnonces)) == (1 if "-sess" in (algorithm or "") else 3)
        assert min(map(len, server.cnonces)) >= 32  # 128 bits


@pytest.mark.parametrize(
    "username, sent",
    [
        ("a b", 'username="a b"'),
        ("", 'username=""'),
        ('a"b\\c', 'username="a\\"b\\\\c"'),
        ("a:b", 'username="a:b"'),
        ("J\xe4s\xf8n Doe", "username*=UTF-8''J%C3%A4s%C3%B8n%20Doe"),  # RFC 7616 §3.4.4
        ("Ja\u0308s\xf8n Doe", "username*=UTF-8''J%C3%A4s%C3%B8n%20Doe"),  # §4: NFC
        ("\u20ac*'%(\"!#$&+-.^_`|~/;,", "username*=UTF-8''%E2%82%AC%2A%27%25%28%22!#$&+-.^_`|~%2F%3B%2C"),  # RFC 8187
    ],
)
def test_names(username: str, sent: str) -> None:
    password = 'p\xe4ss:"w\u20acrd'
    server = Server(user=username.replace("a\u0308", "\xe4"), password=password)
    response = same_again(DigestAuth(username, password), server, Request())
    assert response.status_code == 200
    assert f"{response.request.authorization},".startswith(f"Digest {sent},")
    server.userhash = True
    response = same_again(DigestAuth(username, password), server, Request())
    assert response.status_code == 200
    assert "username*" not in read(response.request.authorization)


def test_what_comes_from_the_server_is_quoted() -> None:
    request = Request()
    value = answer(
        DigestAuth("a", "b"),
        'Digest realm="\\"x\\", evil=\\\\ \xe9\xc3", nonce="a\\"\\\\, b", opaque="\\c\\"", algorithm="md5", qop=AUTH',
        request=request,
    )
    fields = read(value)
    assert (fields["realm"], fields["nonce"], fields["opaque"]) == ('"x", evil=\\ \xe9\xc3', 'a"\\, b', 'c"')
    assert (fields["algorithm"], fields["qop"]) == ("md5", "auth")

    def md5(text: str) -> str:
        return hashlib.md5(text.encode("latin-1")).hexdigest()

    a1, a2 = md5('a:"x", evil=\\ \xe9\xc3:b'), md5("GET:/dir/index.html")
    assert fields["response"] == md5(f'{a1}:a"\\, b:00000001:{fields["cnonce"]}:auth:{a2}')


def test_without_opaque_none_is_sent() -> None:
    fields = read(answer(DigestAuth("a", "b"), "Digest realm=a, nonce=b"))
    assert fields.keys() == {"username", "realm", "nonce", "uri", "response"}  # RFC 2069


@pytest.mark.parametrize(
    "challenges",
    [
        [],
        ["Basic realm=a, Negotiate, Bearer"],
        ["Digest"],
        ["Digest abc="],
        ["Digest realm=a"],
        ["Digest nonce=b"],
        ["Digest realm=a, nonce=b, algorithm=SHA-1"],
        ["Digest realm=a, nonce=b, algorithm=SHA-512"],
        ["Digest realm=a, nonce=b, algorithm=MD5-sess-sess, qop=auth"],
        ['Digest realm=a, nonce=b, algorithm=""'],
        ["Digest realm=a, nonce=b, algorithm=-sess, qop=auth"],
        ["Digest realm=a, nonce=b, qop=token"],
        ['Digest realm=a, nonce=b, qop=""'],
        ['Digest realm=a, nonce=b, qop="auth2,xauth"'],
        ['Digest realm="a\r\nX: y", nonce=b'],
        ['Digest realm="a", nonce="b\0"'],
        ['Digest realm="a", nonce="b", opaque="\\\n"'],
        ['Digest realm="a", nonce="b'],
        ["Digest realm=a, nonce=b, realm=c"],
    ],
)
def test_what_is_not_understood_is_not_answered(challenges: list[str]) -> None:
    assert answer(DigestAuth("a", "b"), *challenges) is None
    fields = read(answer(DigestAuth("a", "b"), *challenges, "Digest realm=c, nonce=d"))
    assert (fields["realm"], fields["nonce"]) == ("c", "d")


@pytest.mark.parametrize(
    "offered, chosen",
    [
        (["MD5", "SHA-256"], "SHA-256"),
        (["SHA-256", "MD5"], "SHA-256"),
        (["MD5", "MD5-sess"], "MD5"),
        (["MD5-sess", "MD5"], "MD5-sess"),
        (["SHA-1", "MD5-sess", "sha-256-SESS", "SHA-256"], "sha-256-SESS"),
        (["SHA-256", "SHA-512-256"], "SHA-256"),  # RFC 7616 §3.7: the order is the server's preference
    ],
)
def test_the_strongest_is_chosen(offered: list[str], chosen: str) -> None:
    challenges = [f"Digest realm=a, nonce=b, qop=auth, algorithm={algorithm}" for algorithm in offered]
    assert read(answer(DigestAuth("a", "b"), *challenges))["algorithm"] == chosen
    assert read(answer(DigestAuth("a", "b"), "Basic realm=a", ", ".join(challenges)))["algorithm"] == chosen


def test_a_body_that_cannot_be_read_beforehand() -> None:
    request = Request("POST", body=None)
    assert answer(DigestAuth("a", "b"), "Digest realm=a, nonce=b, qop=auth-int", request=request) is None
    fields = read(
        answer(
            DigestAuth("a", "b"),
            "Digest realm=a, nonce=b, qop=auth-int, algorithm=SHA-256",
            "Digest realm=a, nonce=b, qop=auth, algorithm=MD5",
            request=request,
        )
    )
    assert (fields["qop"], fields["algorithm"]) == ("auth", "MD5")


def test_such_a_body_when_all_is_agreed() -> None:
    credentials = DigestAuth("Mufasa", "Circle of Life")
    server = Server(qop="auth-int")
    assert same_again(credentials, server, Request()).status_code == 200
    assert same_again(credentials, server, Request("POST", body=None)).status_code == 401
    assert server.seen[2:] == [None]
    assert same_again(credentials, server, Request()).status_code == 200
    assert len(server.seen) == 4


# -- Digest: nonces that end --------------------------------------------------------------------------------------


@clients
def test_a_stale_nonce_is_replaced(fetch: Any) -> None:
    credentials = DigestAuth("Mufasa", "Circle of Life")
    server = Server()
    assert fetch(credentials, server, Request()).status_code == 200
    for nonce in ("nonce0", "nonce1", "nonce2"):
        server.stale.add(nonce)
        assert fetch(credentials, server, Request()).status_code == 200
        assert fetch(credentials, server, Request()).status_code == 200
    assert len(server.seen) == 2 + 3 * 3


@clients
def test_the_first_nonce_may_be_stale(fetch: Any) -> None:
    server = Server()
    server.stale.add("nonce0")
    assert fetch(DigestAuth("Mufasa", "Circle of Life"), server, Request()).status_code == 200
    assert len(server.seen) == 3


@clients
def test_two_stale_nonces_in_a_row_are_enough(fetch: Any) -> None:
    credentials = DigestAuth("Mufasa", "Circle of Life")
    server = Server()
    server.stale |= {f"nonce{number}" for number in range(100)}
    for _ in range(2):
        server.seen.clear()
        assert fetch(credentials, server, Request()).status_code == 401
        assert [seen is not None for seen in server.seen] == [False, True, True]


@clients
def test_a_nonce_that_ends_without_being_called_stale_is_replaced_once(fetch: Any) -> None:
    credentials = DigestAuth("Mufasa", "Circle of Life")
    server = Server()
    server.sends_stale = False
    assert fetch(credentials, server, Request()).status_code == 200
    server.stale.add("nonce0")
    assert fetch(credentials, server, Request()).status_code == 200
    server.stale |= {f"nonce{number}" for number in range(100)}
    server.seen.clear()
    assert fetch(credentials, server, Request()).status_code == 401
    assert len(server.seen) == 2


@clients
@pytest.mark.parametrize("qop", ["auth", None])
def test_a_wrong_password_is_tried_once(fetch: Any, qop: str | None) -> None:
    credentials = DigestAuth("Mufasa", "Circle of Strife")
    server = Server(qop=qop)
    for _ in range(3):
        server.seen.clear()
        assert fetch(credentials, server, Request()).status_code == 401
        assert [seen is not None for seen in server.seen] == [False, True]


@clients
def test_a_refusal_with_the_same_nonce_is_final(fetch: Any) -> None:
    credentials = DigestAuth("a", "b")
    seen = []

    def refuse(request: Request) -> Response:
        seen.append(request.authorization)
        return unauthorized(request, "Digest realm=a, nonce=b, qop=auth")

    for expected in (2, 4):
        assert fetch(credentials, refuse, Request()).status_code == 401
        assert len(seen) == expected
    # So it is where it worked before.
    assert fetch(credentials, lambda request: Response(request), Request()).status_code == 200
    request = Request()
    assert answer(credentials, "Digest realm=a, nonce=b, qop=auth", request=request) is not None
    credentials.handle_response(Response(request))
    seen.clear()
    assert fetch(credentials, refuse, Request()).status_code == 401
    assert len(seen) == 1


@clients
@pytest.mark.parametrize("stale", ["true", "TRUE", "false"])
def test_always_stale_with_the_same_nonce_ends(fetch: Any, stale: str) -> None:
    seen = []

    def refuse(request: Request) -> Response:
        seen.append(request.authorization)
        return unauthorized(request, f"Digest realm=a, nonce=b, qop=auth, stale={stale}")

    assert fetch(DigestAuth("a", "b"), refuse, Request()).status_code == 401
    assert len(seen) == (2 if stale == "false" else 3)


@clients
def test_a_client_that_takes_the_credentials_off_ends(fetch: Any) -> None:
    def refuse(request: Request) -> Response:
        request.headers.pop("Authorization", None)
        return unauthorized(request, "Digest realm=a, nonce=b, stale=true")

    assert fetch(DigestAuth("a", "b"), refuse, Request()).status_code == 401


@clients
@pytest.mark.parametrize("algorithm", ["SHA-256", "MD5"])
def test_the_next_nonce(fetch: Any, algorithm: str) -> None:
    """RFC 7616 §3.5."""
    credentials = DigestAuth("Mufasa", "Circle of Life")
    server = Server(algorithm)
    server.next_nonce = True
    for number in range(4):
        response = fetch(credentials, server, Request())
        assert response.status_code == 200
        fields = read(response.request.authorization)
        assert (fields["nonce"], fields["nc"]) == (f"nonce{number}", "00000001")
        server.stale.add(f"nonce{number}")
    assert len(server.seen) == 5


def test_the_next_nonce_leaves_the_key_of_a_session() -> None:
    """RFC 7616 §3.4.2: it is made of the nonce of the challenge; §3.6: until there is another challenge."""
    credentials = DigestAuth("a", "b")
    request = Request()
    first = read(answer(credentials, "Digest realm=r, nonce=n, qop=auth, algorithm=SHA-256-sess", request=request))
    credentials.handle_response(Response(request, 200, ("Authentication-Info", 'nextnonce="n2"')))
    credentials(request := Request())
    fields = read(request.authorization)

    def sha256(text: str) -> str:
        return hashlib.sha256(text.encode()).hexdigest()

    key = sha256(f"{sha256('a:r:b')}:n:{first['cnonce']}")
    a2 = sha256("GET:/dir/index.html")
    assert fields["nonce"] == "n2"
    assert fields["response"] == sha256(f"{key}:n2:00000001:{fields['cnonce']}:auth:{a2}")


@pytest.mark.parametrize(
    "value", ["", "nextnonce", "nextnonce=", 'nextnonce="a', 'nextnonce="a\r\nb"', "nextnonce=b", 'rspauth="false"']
)
def test_no_next_nonce(value: str) -> None:
    """The one at hand, which is "b", counts on."""
    credentials = DigestAuth("a", "b")
    request = Request()
    answer(credentials, "Digest realm=a, nonce=b, qop=auth", request=request)
    credentials.handle_response(Response(request, 200, ("Authentication-Info", value)))
    credentials(request := Request())
    fields = read(request.authorization)
    assert (fields["nonce"], fields["nc"]) == ("b", "00000002")


def test_a_next_nonce_that_is_refused() -> None:
    """For the one that it came after."""
    credentials = DigestAuth("a", "b")
    request = Request()
    challenge = "Digest realm=a, nonce=b, qop=auth"
    answer(credentials, challenge, request=request)
    credentials.handle_response(Response(request, 200, ("Authentication-Info", "nextnonce=c")))
    credentials(request := Request())
    assert read(request.authorization)["nonce"] == "c"
    late = Request()
    assert credentials.handle_401(unauthorized(late, challenge))  # sent without any: nothing against "c"
    credentials(late)
    assert read(late.authorization)["nonce"] == "c"
    assert credentials.handle_401(unauthorized(request, f"{challenge}, stale=true"))
    credentials(request)
    assert read(request.authorization)["nonce"] == "b"


def test_the_next_nonce_of_one_who_was_not_asked() -> None:
    credentials = DigestAuth("a", "b")
    info = ("Authentication-Info", "nextnonce=evil")
    credentials.handle_response(Response(Request(), 200, info))
    before = Request()
    credentials(before)
    answer(credentials, "Digest realm=a, nonce=b, qop=auth")
    credentials.handle_response(Response(before, 200, info))  # sent before there was a challenge
    other = Request(origin="http://evil.example.org")
    credentials(other)
    credentials.handle_response(Response(other, 200, info))
    credentials(request := Request())
    assert read(request.authorization)["nonce"] == "b"


# -- several requests, several origins ----------------------------------------------------------------------------


def test_requests_in_flight_at_once_count_on() -> None:
    credentials = DigestAuth("a", "b")
    requests = [Request(path=f"/{number}") for number in range(3)]
    for request in requests:
        credentials(request)
    for request in requests:  # each is asked the same, after others have been answered
        assert credentials.handle_401(unauthorized(request, "Digest realm=a, nonce=b, qop=auth"))
        credentials(request)
    assert [read(request.authorization)["nc"] for request in requests] == ["00000001", "00000002", "00000003"]
    # Another challenge with the same nonce: the nonce counts on.
    other = Request()
    other.origin = ORIGIN
    assert credentials.handle_401(unauthorized(other, "Digest realm=a, nonce=b, qop=auth, algorithm=SHA-256"))
    credentials(other)
    assert read(other.authorization)["nc"] == "00000004"


def test_nonces_that_all_end_at_once() -> None:
    credentials = DigestAuth("Mufasa", "Circle of Life")
    server = Server()
    assert same_again(credentials, server, Request()).status_code == 200
    server.stale.add("nonce0")
    requests = [Request(path=f"/{number}") for number in range(3)]
    for request in requests:
        credentials(request)
    for response in [server(request) for request in requests]:
        assert credentials.handle_401(response)
        credentials(response.request)
        assert server(response.request).status_code == 200


def test_a_wrong_password_does_not_undo_what_came_after() -> None:
    credentials = DigestAuth("a", "b")
    early = Request()
    answer(credentials, "Digest realm=a, nonce=b, qop=auth", request=early)
    answer(credentials, "Digest realm=a, nonce=c, qop=auth")
    assert not credentials.handle_401(unauthorized(early, "Digest realm=a, nonce=d, qop=auth"))
    credentials(request := Request())
    assert read(request.authorization)["nonce"] == "c"


def test_two_realms_of_one_origin() -> None:
    credentials = DigestAuth("a", "b")
    for realm in ("one", "two", "one"):
        fields = read(answer(credentials, f"Digest realm={realm}, nonce=n, qop=auth"))
        assert fields["realm"] == realm


def test_redirected_within_its_origin() -> None:
    credentials = DigestAuth("Mufasa", "Circle of Life")
    server = Server()
    request = Request()
    assert same_again(credentials, server, request).status_code == 200
    server.stale.add("nonce0")
    request.method, request.path = "HEAD", "/elsewhere"
    response = same_again(credentials, server, request)
    assert response.status_code == 200
    assert read(response.request.authorization)["uri"] == "/elsewhere"


def test_a_redirect_begins_anew() -> None:
    """Where each attempt is a request of its own, the answers before the redirect do not count."""
    credentials = DigestAuth("a", "b")
    first = Request()
    credentials(first)
    asked = unauthorized(first, "Digest realm=a, nonce=1, qop=auth")
    assert credentials.handle_401(asked)
    credentials(second := Request())
    moved = Response(second, 302)
    credentials.handle_response(moved)
    credentials(third := Request(path="/elsewhere"))
    for number, (history, expected) in enumerate([([asked, moved], True), ([moved, asked], False)]):
        again = unauthorized(third, f"Digest realm=a, nonce=x{number}, qop=auth")
        again.history = history  # type: ignore[attr-defined]
        assert credentials.handle_401(again) is expected


def test_credentials_go_to_no_other_origin() -> None:
    credentials = DigestAuth("a", "b")
    assert answer(credentials, 'Digest realm=a, nonce=b, qop=auth, domain="https://evil.example.org/ /"') is not None
    for origin in (
        "https://evil.example.org", "https://www.example.org", "http://www.example.org:8080", "http://example.org"
    ):  # fmt: skip
        credentials(request := Request(origin=origin))
        assert request.authorization is None
    credentials(request := Request())
    assert request.authorization is not None
    request.origin = "https://evil.example.org"  # redirected, with what it had
    credentials(request)
    assert request.authorization is None


def test_what_the_program_sets_is_left_where_there_is_nothing_to_set() -> None:
    request = Request()
    request.headers["Authorization"] = "Bearer x"
    credentials = DigestAuth("a", "b")
    credentials(request)
    credentials(request)
    assert request.authorization == "Bearer x"


@pytest.mark.parametrize("make", [DigestAuth, lambda *args: check_auth(args)])
def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch, make: Any) -> None:
    monkeypatch.setattr(auth, "_MOST_ORIGINS", 5)
    credentials = make("a", "b")
    for number in range(20):
        origin = f"http://{number}.example.org"
        assert answer(credentials, "Digest realm=a, nonce=b, qop=auth", request=Request(origin=origin))
        credentials(used := Request(origin="http://0.example.org"))  # which is not forgotten, being used
        assert (used.authorization or "").startswith("Digest")
    digest = credentials if isinstance(credentials, DigestAuth) else credentials._digest
    assert len(digest._sessions) == 5
    gc.collect()
    assert len(digest._sent) <= 1


# -- a name and a password ----------------------------------------------------------------------------------------


@clients
def test_a_tuple_goes_over_to_digest(fetch: Any) -> None:
    credentials = check_auth(("Mufasa", "Circle of Life"))
    server = Server()
    for _ in range(3):
        assert fetch(credentials, server, Request()).status_code == 200
    assert [(seen or "").split()[0] for seen in server.seen] == ["Basic", "Digest", "Digest", "Digest"]
    server.stale.add("nonce0")
    assert fetch(credentials, server, Request()).status_code == 200
    server.next_nonce = True
    for _ in range(3):
        assert fetch(credentials, server, Request()).status_code == 200
    # Elsewhere it begins with Basic.
    credentials(request := Request(origin="http://example.org"))  # type: ignore[misc]
    assert (request.authorization or "").startswith("Basic ")


@clients
def test_a_tuple_with_a_wrong_password(fetch: Any) -> None:
    credentials = check_auth(("Mufasa", "Circle of Strife"))
    server = Server()
    for expected in (["Basic", "Digest"], ["", "Digest"]):  # the password is not shown again, once Digest was wanted
        server.seen.clear()
        assert fetch(credentials, server, Request()).status_code == 401
        assert [(seen or " ").split(" ")[0] for seen in server.seen] == expected


@pytest.mark.parametrize(
    "challenges",
    [
        [],
        ["Basic realm=a"],
        ["Digest realm=a, nonce=b", "Basic realm=a"],
        ["Basic realm=a, Digest realm=a, nonce=b"],
        ["Bearer, Negotiate"],
        ["Digest realm=a, nonce=b, algorithm=SHA-1"],
    ],
)
def test_a_tuple_does_not_go_over_to_digest(challenges: list[str]) -> None:
    credentials = check_auth(["a", "b"])
    assert credentials is not None
    assert answer(credentials, *challenges) is None
    credentials(request := Request())
    assert request.authorization == "Basic YTpi"


def test_tuples_in_flight_at_once() -> None:
    credentials: Any = check_auth(("a", "b"))
    requests = [Request(), Request()]
    for request in requests:
        credentials(request)
    for request in requests:
        assert credentials.handle_401(unauthorized(request, "Digest realm=a, nonce=b, qop=auth"))
        credentials(request)
    assert [read(request.authorization)["nc"] for request in requests] == ["00000001", "00000002"]


def test_basic_is_taken_off_where_digest_was_wanted() -> None:
    credentials: Any = check_auth(("a", "b"))
    answer(credentials, "Digest realm=a, nonce=b, qop=auth-int")
    request = Request(body=None)
    request.headers["Authorization"] = "Basic YTpi"  # from before
    credentials(request)
    assert request.authorization is None


# -- what programs pass -------------------------------------------------------------------------------------------


def test_check_auth() -> None:
    class Bearer(AuthBase):
        def __call__(self, request: Any) -> None:
            request.headers["Authorization"] = "Bearer x"

    assert check_auth(None) is None
    for credentials in (Bearer(), BasicAuth("a", "b"), DigestAuth("a", "b")):
        assert check_auth(credentials) is credentials
    request = Request()
    bearer = Bearer()
    bearer(request)
    assert request.authorization == "Bearer x"
    assert bearer.handle_401(unauthorized(request, "Bearer")) is False
    bearer.handle_response(Response(request))


@pytest.mark.parametrize(
    "wrong, message",
    [
        ("user:secret", "not of type str$"),
        (b"secret", "not of type bytes$"),
        (5, "not of type int$"),
        (True, "not of type bool$"),
        ((), "not of type tuple with 0 items$"),
        (("secret",), "not of type tuple with 1 items$"),
        (["a", "secret", "c"], "not of type list with 3 items$"),
        ({"a": "secret"}, "not of type dict$"),
        (lambda request: None, "not of type function; .* pass an instance of a subclass of AuthBase$"),
        (BasicAuth, "not of type type; .* pass an instance of a subclass of AuthBase$"),
    ],
)
def test_what_cannot_authorize(wrong: Any, message: str) -> None:
    with pytest.raises(TypeError, match=rf"^auth is a tuple \(username, password\) or .*AuthBase, {message}") as raised:
        check_auth(wrong)
    assert "secret" not in str(raised.value)


MAKERS = [BasicAuth, DigestAuth, lambda *args: check_auth(args)]


@pytest.mark.parametrize("make", MAKERS)
def test_credentials_of_another_type(make: Any) -> None:
    for wrong in (None, 5, b"secret", ["secret"]):
        for name, args in (("username", (wrong, "b")), ("password", ("a", wrong))):
            with pytest.raises(TypeError, match=rf"^{name} is a str, not of type {type(wrong).__name__}$"):
                make(*args)


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("char", [chr(code) for code in [*range(32), 127, 0xD800, 0xDFFF]])
def test_credentials_that_cannot_be_sent(make: Any, char: str) -> None:
    for args in ((f"a{char}", "secret"), ("a", f"secret{char}")):
        with pytest.raises(ValueError) as raised:
            make(*args)
        assert "secret" not in str(raised.value)


@pytest.mark.parametrize("make", [MAKERS[0], MAKERS[2]])
def test_a_colon_in_a_name(make: Any) -> None:
    with pytest.raises(ValueError, match="colon"):
        make("a:b", "c")


@pytest.mark.parametrize("make", MAKERS)
def test_the_password_is_not_shown(make: Any) -> None:
    shown = repr(make("Mufasa", "secret"))
    assert "'Mufasa'" in shown
    assert "secret" not in shown
    assert base64.b64encode(b"Mufasa:secret").decode() not in shown


def test_a_subclass_has_to_authorize() -> None:
    class Lazy(AuthBase):
        pass

    with pytest.raises(NotImplementedError, match=r"Lazy has no __call__\(request\)"):
        Lazy()(Request())


def test_an_algorithm_that_is_not_here_is_not_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not _challenges._is_here("sha512_257")
    monkeypatch.delitem(_challenges._HASHES, "md5")
    assert choose_digest(["Digest realm=a, nonce=b"], lambda name: "") is None


def test_the_examples() -> None:
    for module in (auth, _challenges):
        results = doctest.testmod(module)
        assert results.attempted > 0
        assert results.failed == 0
