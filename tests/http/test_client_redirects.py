"""The HTTP client's redirects (RFC 9110 §15.4, §10.2.2): where they lead, by which method, and what goes along."""

from __future__ import annotations

import base64
import contextlib
import gzip
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final
from urllib.parse import urljoin, urlsplit

import pytest

from pants.http import HTTPClient
from pants.http.client import (
    CertificateError,
    HTTPClientException,
    HTTPResponse,
    RedirectRefused,
    RequestTimedOut,
    Timeout,
)
from tests.http.client_support import client_of
from tests.http.peers_support import DEADLINE
from tests.http.rogue_support import Caller, Request, RogueServer, Script, chunked, head, replying
from tests.http.ws_client_support import Certificates, certificates, relay, status

OK: Final = status("200 OK", content=b"spam")
FOLLOWED: Final = (301, 302, 303, 307, 308)


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


@pytest.fixture(scope="module")
def certs() -> Certificates:
    return certificates()


def moved(location: str, *fields: str, code: int = 302, content: bytes = b"") -> bytes:
    return head(f"{code} Moved", f"Location: {location}", *fields, f"Content-Length: {len(content)}") + content


def redirecting(location: str, *fields: str, code: int = 302) -> Script:
    """From / to there; what else is asked for is there."""
    return routing({"/": moved(location, *fields, code=code)})


def routing(answers: dict[str, bytes], otherwise: bytes = OK) -> Script:
    """Answers by path, in absolute form too."""

    def script(caller: Caller) -> None:
        while True:
            request = caller.read_request()
            target = request.target
            if "://" in target:
                parts = urlsplit(target)
                target = parts.path + (f"?{parts.query}" if parts.query else "")
            answer = answers.get(target, otherwise)
            caller.send(answer[: answer.index(b"\r\n\r\n") + 4] if request.method == "HEAD" else answer)

    return script


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def followed(script: Script, method: str = "GET", **kwargs: Any) -> list[Request]:
    """What a server is asked, from the first request to the last."""
    with RogueServer(script) as server, client_of() as client:
        response = client.request(method, server.url, **kwargs).wait(DEADLINE)
        assert response.status_code == 200
    return server.requests


# --- Methods and bodies ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", FOLLOWED)
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PURGE"])
@pytest.mark.parametrize("with_body", [False, True])
def test_methods(code: int, method: str, with_body: bool) -> None:
    """RFC 9110 §15.4.2-4, §15.4.8-9: 307 and 308 keep them, 303 asks for what is there, the others change POST only."""
    headers = {"Content-Type": "text/x", "Content-Language": "en", "Content-X": "y", "X": "y"}
    data = b"eggs" if with_body else None
    first, second = followed(redirecting("/b", code=code), method, data=data, headers=headers)
    if (code == 303 and method != "HEAD") or (code in (301, 302) and method == "POST"):
        expected = "GET"
    else:
        expected = method
    assert first.line == f"{method} / HTTP/1.1"
    assert second.line == f"{expected} /b HTTP/1.1"
    assert first.body == (data or b"")
    assert second["X"] == "y"
    if expected == method:
        assert second.body == first.body
        assert {field for field in second.fields if field[0].startswith("content-")} == {
            field for field in first.fields if field[0].startswith("content-")
        }
    else:  # RFC 9110 §15.4: what was about the content goes with it
        assert second.body == b""
        assert [name for name, _ in second.fields if name.startswith(("content-", "transfer-"))] == []


@pytest.mark.parametrize("code", [307, 308])
@pytest.mark.parametrize("kind", ["bytes", "str", "form", "json", "file", "object", "files", "list"])
def test_bodies_are_sent_again(tmp_path: Path, code: int, kind: str) -> None:
    """Files from the position that they had."""
    path = tmp_path / "a.txt"
    path.write_bytes(b"0123456789" * 1000)
    with path.open("rb") as file:
        file.seek(3)
        memory = io.BytesIO(b"spam and eggs")
        memory.seek(5)
        arguments: dict[str, dict[str, Any]] = {
            "bytes": {"data": b"spam"},
            "str": {"data": "\u20ac"},
            "form": {"data": {"a": ["b", "c"]}},
            "json": {"json": {"a": [1, None]}},
            "file": {"data": file},
            "object": {"data": memory},
            "files": {"data": {"a": "b"}, "files": {"f": ("n.txt", file), "g": ("m.txt", memory)}},
            "list": {"data": [b"spam", b"eggs"]},
        }
        first, second = followed(redirecting("/b", code=code), "POST", **arguments[kind])
    assert first.method == second.method == "POST"
    assert first.body == second.body != b""
    assert first.all("Content-Type") == second.all("Content-Type")
    expected = {"file": (b"0123456789" * 1000)[3:], "object": b"and eggs", "list": b"spameggs", "bytes": b"spam"}
    assert first.body == expected.get(kind, first.body)


@pytest.mark.parametrize("code", [301, 302, 303])
def test_a_body_that_cannot_be_sent_again_need_not_be(code: int) -> None:
    first, second = followed(redirecting("/b", code=code), "POST", data=iter([b"spam", b"eggs"]))
    assert (first.body, second.body, second.method) == (b"spameggs", b"", "GET")
    assert "Transfer-Encoding" not in second


@pytest.mark.parametrize("code, method", [(307, "POST"), (308, "POST"), (301, "PUT"), (302, "PATCH")])
def test_a_body_that_cannot_be_sent_again(code: int, method: str) -> None:
    told: list[tuple[HTTPResponse, Exception]] = []
    with (
        RogueServer(redirecting("/b", code=code)) as server,
        client_of(on_error=lambda *args: told.append(args)) as client,
    ):
        exchange = client.request(method, server.url, data=iter([b"spam", b"eggs"]))
        with pytest.raises(RedirectRefused, match="iterator"):
            exchange.wait(DEADLINE)
        ((response, error),) = told
        assert (response.status_code, error) == (code, exchange.error)
    assert len(server.requests) == 1


# --- References (RFC 3986 §5) --------------------------------------------------------------------------------------

# RFC 3986 §5.4.1 and §5.4.2, for the base of §5.4.
NORMAL: Final = [
    *("g", "./g", "g/", "/g", "?y", "g?y", "#s", "g#s", "g?y#s", ";x", "g;x", "g;x?y#s", "", ".", "./", "..", "../"),
    *("../g", "../..", "../../", "../../g", "../../../g", "../../../../g", "/./g", "/../g", "g.", ".g", "g..", "..g"),
    *("./../g", "./g/.", "g/./h", "g/../h", "g;x=1/./y", "g;x=1/../y", "g?y/./x", "g?y/../x", "g#s/./x", "g#s/../x"),
]
BASE: Final = "/b/c/d;p?q"


@pytest.mark.parametrize("reference", NORMAL)
def test_relative_references(reference: str) -> None:
    with RogueServer(routing({BASE: moved(reference, code=301)})) as server, client_of() as client:
        base = f"{server.origin}{BASE}"
        expected = urljoin(base, reference)
        if expected == base:  # it leads to itself
            with contextlib.suppress(HTTPClientException):
                client.get(base, max_redirects=1).wait(DEADLINE)
            assert [request.target for request in server.requests] == [BASE, BASE]
            return
        response = client.get(base).wait(DEADLINE)
        assert response.url == expected
        parts = urlsplit(expected)
        assert server.requests[1].target == parts.path + (f"?{parts.query}" if parts.query else "")
        assert server.requests[1]["Host"] == f"127.0.0.1:{server.port}"
        assert response.history[0].headers.get("Location", "") == reference


@pytest.mark.parametrize(
    "location, target",
    [
        ("//%s/g", "/g"),
        ("//%s", "/"),
        ("http://%s/g?h", "/g?h"),
        ("HTTP://%s/g", "/g"),
        ("http://%s", "/"),
        ("http://%s?h", "/?h"),
        ("http://%s/./g/../h", None),
        ("/\xc3\xbc", "/%C3%BC"),  # UTF-8, byte by byte
        ("/%C3%BC?%2F", "/%C3%BC?%2F"),
        ("/a b", "/a%20b"),
        ("/a\tb", None),
        ('/a"<>\\^`{|}', "/a%22%3C%3E%5C%5E%60%7B%7C%7D"),
        (" \t/g \t", "/g"),
        ("/g?h=http://x/", "/g?h=http://x/"),
    ],
)
def test_other_references(location: str, target: str | None) -> None:
    def script(caller: Caller) -> None:
        routing({"/start": moved(location.replace("%s", f"127.0.0.1:{server.port}"))})(caller)

    with RogueServer(script) as server, client_of() as client:
        exchange = client.get(f"{server.origin}/start")
        if target is None:  # one may do with it what one likes, but for what is no request
            with contextlib.suppress(RedirectRefused):
                exchange.wait(DEADLINE)
            assert all(" " not in request.target and "\t" not in request.target for request in server.requests)
            return
        assert exchange.wait(DEADLINE).content == b"spam"
        assert server.requests[1].target == target


@pytest.mark.parametrize("location", [b"/\xfc", b"/\xff\xfe", b"/\xed\xa0\x80", b"//\xff/", b"/?\xe4"])
def test_a_location_that_is_neither_ascii_nor_utf_8(location: bytes) -> None:
    answer = moved(location.decode("latin-1"))
    with RogueServer(routing({"/": answer})) as server, client_of() as client:
        with contextlib.suppress(RedirectRefused):
            client.get(server.url).wait(DEADLINE)
        for request in server.requests:
            assert request.target.isascii()


@pytest.mark.parametrize(
    "location",
    [
        "http://:80/",
        "http://a b/",
        "http://a:x/",
        "http://a:99999/",
        "http://[::1/",
        "http://a%0d%0ab/",
        "http://a..b/",
        "http://a\\b/",
        "http://u%0aX:p@127.0.0.1/",
    ],
)
def test_a_malformed_location(location: str) -> None:
    told: list[tuple[HTTPResponse, Exception]] = []
    answers: list[HTTPResponse] = []
    with (
        RogueServer(redirecting(location)) as server,
        client_of(answers.append, on_error=lambda *args: told.append(args)) as client,
    ):
        exchange = client.get(server.url)
        with pytest.raises(RedirectRefused):
            exchange.wait(DEADLINE)
        ((response, error),) = told
        assert (response.status_code, error, answers) == (302, exchange.error, [])
    assert len(server.requests) == 1


@pytest.mark.parametrize("location", ["http://", "http:///b", "//", "///b", "http:", "http:b", "http:/b"])
def test_a_location_without_a_host(location: str) -> None:
    """RFC 9110 §4.2.1 wants it to be refused, RFC 3986 §5.2.2 knows clients that are lenient; it leads nowhere else."""
    with (
        RogueServer(redirecting(location)) as server,
        client_of(max_redirects=2) as client,
        contextlib.suppress(RedirectRefused),
    ):
        assert client.get(server.url).wait(DEADLINE).url.startswith(server.origin)
    assert all(request.target in {"/", "/b"} for request in server.requests)


@pytest.mark.parametrize(
    "location",
    [
        "file:///etc/passwd",
        "FILE:///etc/passwd",
        "ftp://127.0.0.1/",
        "javascript:alert(1)",
        "data:text/plain,spam",
        "ws://127.0.0.1/",
        "gopher://127.0.0.1/",
        "about:blank",
        "mailto:a@b",
        "unix:/run/a.sock",
        "http+unix://a/",
        "view-source:http://127.0.0.1/",
    ],
)
def test_other_schemes_are_refused(location: str) -> None:
    with RogueServer(redirecting(location)) as server, client_of() as client:
        exchange = client.get(server.url, max_redirects=2)
        with pytest.raises(RedirectRefused):
            exchange.wait(DEADLINE)
    assert len(server.requests) == 1


@pytest.mark.parametrize("code", FOLLOWED)
def test_no_location(code: int) -> None:
    """Then it is an answer like any other."""
    answer = status(f"{code} Somewhere", content=b"else")
    with RogueServer(replying(answer)) as server, client_of() as client:
        response = client.get(server.url).wait(DEADLINE)
        assert (response.status_code, response.content, response.history) == (code, b"else", [])
    assert len(server.requests) == 1


def test_several_locations() -> None:
    """There may be one (RFC 9110 §10.2.2). Which is taken nobody says, but it is one of them, or none."""
    answer = head("302 Found", "Location: /b", "Location: /c", "Content-Length: 0")
    with RogueServer(routing({"/": answer})) as server, client_of() as client, contextlib.suppress(RedirectRefused):
        client.get(server.url).wait(DEADLINE)
    assert [request.target for request in server.requests[1:]] in ([], ["/b"], ["/c"])


@pytest.mark.parametrize("code", [201, 300, 304, 305, 306, 309, 399, 404])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_what_is_no_redirect(code: int, method: str) -> None:
    """RFC 9110 §15.4.1 (300 lets choose), §15.4.5-7."""
    content = b"" if code == 304 else b"spam"
    with RogueServer(routing({"/": moved("/b", code=code, content=content)})) as server, client_of() as client:
        response = client.request(method, server.url).wait(DEADLINE)
        assert (response.status_code, response.content or b"") == (code, content)
        assert response.headers["Location"] == "/b"
        assert not response.history
    assert len(server.requests) == 1


def test_a_redirect_in_answer_to_head() -> None:
    """It has no content, whatever its Content-Length says, and the connection is used again."""
    answers = {"/": head("302 Found", "Location: /b", "Content-Length: 1000")}
    script = routing(answers, head("200 OK", "Content-Length: 5"))
    with RogueServer(script) as server, client_of() as client:
        response = client.head(server.url).wait(DEADLINE)
        assert (response.status_code, response.content) == (200, None)
        assert [one.status_code for one in response.history] == [302]
    assert [request.line for request in server.requests] == ["HEAD / HTTP/1.1", "HEAD /b HTTP/1.1"]
    assert server.accepted == 1


# --- Fragments (RFC 9110 §10.2.2) ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "before, location, fragment",
    [
        ("", "/b", ""),
        ("#a", "/b", "a"),
        ("#a", "/b#c", "c"),
        ("", "/b#c", "c"),
        ("#a%20b", "/b", "a%20b"),
        ("#a", "b?c#d?e/f", "d?e/f"),
    ],
)
def test_fragments(before: str, location: str, fragment: str) -> None:
    with RogueServer(redirecting(location)) as server, client_of() as client:
        response = client.get(server.url + before).wait(DEADLINE)
        assert urlsplit(response.url).fragment == fragment
        assert response.request.url.fragment == fragment
        assert all("#" not in request.target for request in server.requests)


def test_a_fragment_goes_all_the_way() -> None:
    answers = {"/": moved("/b"), "/b": moved("/c"), "/c": moved("/d")}
    with RogueServer(routing(answers)) as server, client_of() as client:
        response = client.get(server.url + "#a").wait(DEADLINE)
        assert response.url == server.url + "d#a"
        assert [one.url for one in response.history] == [server.url + path + "#a" for path in ("", "b", "c")]


# --- Bounds -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("most", [None, 0, 1, 3, 10, 25])
def test_loops(most: int | None) -> None:
    """Manual: "max_redirects", 10 by default. The last redirect is the response then."""
    with RogueServer(replying(moved("/"))) as server, client_of() as client:
        kwargs: dict[str, Any] = {} if most is None else {"max_redirects": most}
        response = client.get(server.url, **kwargs).wait(DEADLINE)
        assert response.status_code == 302
        assert len(response.history) == (10 if most is None else most)
        assert response.request.max_redirects == 0
    assert len(server.requests) == (11 if most is None else most + 1)


def test_a_loop_of_two_servers() -> None:
    with RogueServer(lambda caller: replying(moved(second.url))(caller)) as first:
        with RogueServer(replying(moved(first.url))) as second, client_of(max_redirects=5) as client:
            response = client.get(first.url).wait(DEADLINE)
            assert (response.status_code, len(response.history)) == (302, 5)
        assert len(first.requests) == len(second.requests) == 3


def test_the_total_time_is_for_all_of_it() -> None:
    with RogueServer(replying(moved("/"))) as server, client_of() as client, pytest.raises(RequestTimedOut):
        client.get(server.url, timeout=Timeout(total=0.3), max_redirects=10**9).wait(DEADLINE)


ENDLESS: Final[dict[str, bytes]] = {
    "length": head("302 Found", "Location: /b", "Content-Length: 999999999999"),
    "no length": head("302 Found", "Location: /b"),
    "chunks": head("302 Found", "Location: /b", "Transfer-Encoding: chunked"),
}


@pytest.mark.parametrize("kind", ENDLESS)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_endless_content(kind: str, method: str) -> None:
    """It is not waited for: the connection is given up."""

    def script(caller: Caller) -> None:
        if caller.read_request().target == "/b":
            caller.send(OK)
            return
        caller.send(ENDLESS[kind])
        caller.send_endlessly(b"1000\r\n" + bytes(0x1000) + b"\r\n")

    with RogueServer(script) as server, client_of() as client:
        response = client.request(method, server.url).wait(DEADLINE)
        assert response.content == b"spam"
        assert response.history[0].status_code == 302
        assert len(response.history[0].content or b"") < 1024 * 1024
    assert server.accepted == 2


@pytest.mark.parametrize("bomb", [True, False])
def test_compressed_content_of_a_redirect(bomb: bool) -> None:
    """It is of no account, be it rubbish or a bomb."""
    content = gzip.compress(bytes(50_000_000)) if bomb else b"not zipped"
    answer = moved("/b", "Content-Encoding: gzip", content=content)
    with RogueServer(routing({"/": answer})) as server, client_of() as client:
        response = client.get(server.url).wait(DEADLINE)
        assert response.content == b"spam"
        assert len(response.history[0].content or b"") < 1_000_000


@pytest.mark.parametrize(
    "answer", [moved("/b", content=b"a" * 1000), chunked(b"a" * 1000, code="302 Found", fields=["Location: /b"])]
)
def test_short_content_is_kept_and_the_connection_used_again(answer: bytes) -> None:
    with RogueServer(routing({"/": answer})) as server, client_of() as client:
        response = client.get(server.url).wait(DEADLINE)
        assert response.history[0].content == b"a" * 1000
        assert response.content == b"spam"
    assert server.accepted == 1


def test_hooks_are_told_of_the_last_one_only() -> None:
    """`HTTPClient.on_headers`: redirects that are followed are not told."""
    told: list[tuple[str, int]] = []
    answers = {"/": moved("/b", content=b"x" * 100), "/b": moved("/c")}
    with (
        RogueServer(routing(answers)) as server,
        client_of(
            on_headers=lambda response: told.append(("headers", response.status_code)),
            on_progress=lambda response, *_: told.append(("progress", response.status_code)),
            on_response=lambda response: told.append(("response", response.status_code)),
        ) as client,
    ):
        exchange = client.get(server.url)
        response = exchange.wait(DEADLINE)
        assert [one.status_code for one in response.history] == [302, 302]
        assert exchange.history == response.history
        assert [one.request.url.path for one in response.history] == ["/", "/b"]
        assert response.request.url.path == "/c"
    assert set(told) == {("headers", 200), ("progress", 200), ("response", 200)}
    assert told.count(("headers", 200)) == told.count(("response", 200)) == 1


# --- What is secret -------------------------------------------------------------------------------------------------

SECRETS: Final[dict[str, dict[str, Any]]] = {
    "auth": {"auth": ("u", "p")},
    "header": {"headers": {"Authorization": "Bearer spam"}},
    "api key": {"headers": {"X-Api-Key": "spam"}},
    "cookie header": {"headers": {"Cookie": "a=spam"}},
    "cookies": {"cookies": {"a": "spam"}},
    "referer": {"headers": {"Referer": "http://spam/"}},
    "other": {"headers": {"PRIVATE-TOKEN": "spam", "X-Amz-Security-Token": "spam", "Proxy-X": "spam"}},
}
# The fields that requests have without anything being said.
PLAIN: Final = {"host", "user-agent", "accept", "accept-encoding", "content-length", "content-type"}


def extra(request: Request) -> dict[str, str]:
    return {name: value for name, value in request.fields if name not in PLAIN}


@pytest.mark.parametrize("secret", [*SECRETS, "url"])
@pytest.mark.parametrize("code", [302, 307])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_secrets_stay_within_the_origin(secret: str, code: int, method: str) -> None:
    kwargs = SECRETS.get(secret, {})
    with RogueServer(redirecting("/b", code=code)) as server, client_of() as client:
        url = server.url.replace("//", "//u:p@") if secret == "url" else server.url
        client.request(method, url, **kwargs).wait(DEADLINE)
    first, second = server.requests
    assert extra(first) != {}
    assert extra(first) == extra(second)


@pytest.mark.parametrize("secret", [*SECRETS, "url", "session"])
@pytest.mark.parametrize("code", [302, 307])
@pytest.mark.parametrize("other", ["port", "host"])
def test_secrets_do_not_go_to_another_origin(secret: str, code: int, other: str) -> None:
    kwargs = SECRETS.get(secret, {})
    with (
        RogueServer(routing({"/": moved("/b")})) as server,
        RogueServer(lambda caller: redirecting(target, code=code)(caller)) as first,
        client_of() as client,
    ):
        target = server.url if other == "port" else f"http://localhost:{first.port}/c"
        url = first.url.replace("//", "//u:p@") if secret == "url" else first.url
        session = client.session(headers={"X-Api-Key": "spam"}, auth=("u", "p"), cookies={"a": "spam"})
        maker: Any = session if secret == "session" else client
        maker.post(
            url,
            data=b"eggs",
            headers={"User-Agent": "bacon", **kwargs.get("headers", {})},
            **{name: value for name, value in kwargs.items() if name != "headers"},
        ).wait(DEADLINE)
        asked = [*first.requests, *server.requests]
    assert extra(asked[0]) != {}
    assert len(asked) == (3 if other == "port" else 2)
    for request in asked[1:]:
        assert extra(request) == {}
        assert request["User-Agent"] == "bacon"  # which is no secret
    assert asked[1].body == (b"eggs" if code == 307 else b"")


def test_secrets_do_not_come_back() -> None:
    """Whoever was asked in between may have had a say in where it leads."""
    with (
        RogueServer(lambda caller: routing({"/": moved(second.url)})(caller)) as first,
        RogueServer(lambda caller: routing({"/": moved(f"{first.origin}/home")})(caller)) as second,
        client_of() as client,
    ):
        client.get(first.url, auth=("u", "p"), headers={"X-Api-Key": "spam"}, cookies={"a": "b"}).wait(DEADLINE)
    assert [extra(request) != {} for request in first.requests] == [True, False]
    assert [extra(request) for request in second.requests] == [{}]


def test_credentials_of_a_url_come_from_the_location_itself() -> None:
    """They are what the redirecting server says of the other one; the first one's are not sent there."""
    with RogueServer(replying(OK)) as second:
        target = second.url.replace("//", "//their:own@")
        with RogueServer(redirecting(target)) as first, client_of() as client:
            response = client.get(first.url.replace("//", "//u:p@")).wait(DEADLINE)
            assert response.url == second.url  # without credentials
            assert "own" not in repr(response.request)
        (request,) = second.requests
        assert request.all("Authorization") in ([], [basic("their", "own")])


def test_a_location_with_credentials_within_the_origin() -> None:
    with RogueServer(lambda caller: redirecting(target)(caller)) as server, client_of() as client:
        target = f"http://new:one@127.0.0.1:{server.port}/b"
        client.get(server.url.replace("//", "//u:p@")).wait(DEADLINE)
    assert [request["Authorization"] for request in server.requests] == [basic("u", "p"), basic("new", "one")]


def test_the_host_header_is_that_of_the_new_target() -> None:
    with (
        RogueServer(replying(OK)) as second,
        RogueServer(redirecting(second.url)) as first,
        client_of() as client,
    ):
        client.get(first.url, headers={"Host": "virtual.test"}).wait(DEADLINE)
    assert first.requests[0]["Host"] == "virtual.test"
    assert second.requests[0]["Host"] == f"127.0.0.1:{second.port}"


@pytest.mark.parametrize("location", ["/b", "http://virtual.test/b"])
def test_a_host_of_the_programs_own_within_the_origin(location: str) -> None:
    """A relative reference stays with it; an absolute one names another."""
    if location == "/b":
        first, second = followed(redirecting(location), headers={"Host": "virtual.test"})
        assert first["Host"] == second["Host"] == "virtual.test"


# --- http and https -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", FOLLOWED)
def test_no_way_down_from_https(certs: Certificates, code: int) -> None:
    told: list[Exception] = []
    with (
        RogueServer(replying(OK)) as plain,
        RogueServer(redirecting(f"{plain.url}token?secret", code=code), context=certs.good) as secure,
        client_of(ssl_options={"ca_certs": certs.ca}, on_error=lambda _, error: told.append(error)) as client,
    ):
        exchange = client.get(secure.url)
        with pytest.raises(RedirectRefused, match="not secure"):
            exchange.wait(DEADLINE)
        assert told == [exchange.error]
        # Who wants to, looks for himself.
        response = client.get(secure.url, max_redirects=0).wait(DEADLINE)
        assert response.headers["Location"] == f"{plain.url}token?secret"
    assert plain.accepted == 0


def test_the_way_up_to_https(certs: Certificates) -> None:
    with (
        RogueServer(replying(OK), context=certs.good) as secure,
        RogueServer(redirecting(secure.url)) as plain,
        client_of(ssl_options={"ca_certs": certs.ca}) as client,
    ):
        response = client.get(plain.url, auth=("u", "p"), headers={"X-Api-Key": "spam"}).wait(DEADLINE)
        assert (response.content, response.url) == (b"spam", secure.url)
    assert extra(secure.requests[0]) == {}


def test_the_certificate_is_verified_behind_a_redirect(certs: Certificates) -> None:
    with (
        RogueServer(replying(OK), context=certs.wrong_host) as secure,
        RogueServer(redirecting(secure.url)) as plain,
        client_of(ssl_options={"ca_certs": certs.ca}) as client,
        pytest.raises(CertificateError),
    ):
        client.get(plain.url).wait(DEADLINE)
    assert secure.requests == []


def test_the_same_host_and_port_by_another_scheme(certs: Certificates) -> None:
    """Behind a proxy both can be had at one port; it is another origin all the same (RFC 6454 §4)."""
    with RogueServer(replying(OK), context=certs.good) as server:

        def script(caller: Caller) -> None:
            caller.read_head()
            if caller.line.startswith("CONNECT"):
                relay(caller, server.port)
                return
            plain.append(caller.line)
            caller.send(moved("https://localhost:8080/b", "Connection: close"))

        plain: list[str] = []
        with (
            RogueServer(script) as proxy,
            client_of(proxy=proxy.origin, ssl_options={"ca_certs": certs.ca}) as client,
        ):
            response = client.get("http://localhost:8080/", auth=("u", "p"), headers={"X-Key": "spam"}).wait(DEADLINE)
            assert response.url == "https://localhost:8080/b"
        assert plain == ["GET http://localhost:8080/ HTTP/1.1"]
        assert extra(server.requests[0]) == {}


def test_the_default_port_makes_no_other_origin() -> None:
    answers = {"/": moved("http://a.example.test:80/b"), "/b": moved("http://A.EXAMPLE.test/c")}
    with RogueServer(routing(answers)) as proxy, client_of(proxy=proxy.origin) as client:
        client.get("http://a.example.test/", auth=("u", "p")).wait(DEADLINE)
    assert [request.target for request in proxy.requests] == [
        f"http://a.example.test/{path}" for path in ("", "b", "c")
    ]
    assert {request["Authorization"] for request in proxy.requests} == {basic("u", "p")}


@pytest.mark.parametrize("host", ["b.example.test", "example.test", "a.example.test.", "xa.example.test"])
def test_related_names_are_other_origins(host: str) -> None:
    with RogueServer(routing({"/": moved(f"http://{host}/b")})) as proxy, client_of(proxy=proxy.origin) as client:
        client.get("http://a.example.test/", auth=("u", "p"), headers={"X-Key": "spam"}).wait(DEADLINE)
    assert proxy.requests[1].target == f"http://{host}/b"
    assert extra(proxy.requests[1]) == {}


def handled(client: HTTPClient, script: Script) -> Callable[[str], HTTPResponse]:
    """`handle_301` on its own (manual: "handle_301")."""

    def run(method: str) -> HTTPResponse:
        with RogueServer(script) as server:
            return client.request(method, server.url, max_redirects=0).wait(DEADLINE)

    return run


@pytest.mark.parametrize("code", [*FOLLOWED, 200, 300, 304])
def test_handle_301(code: int) -> None:
    with client_of() as client:
        response = handled(client, replying(moved("/b#c", code=code)))("POST")
        assert response.is_redirect is (code in FOLLOWED)
        assert response.handle_301(client) is None  # none is left
        response.request.max_redirects = 3
        request = response.handle_301(client)
        if code not in FOLLOWED:
            assert request is None
            return
        assert request is not None
        assert request.method == ("POST" if code > 303 else "GET")
        assert (request.url.path, request.url.fragment) == ("/b", "c")
        assert request.max_redirects == 2
