"""The HTTP client's cookies (RFC 6265): which it takes, where it sends them, and what programs see of them."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from email.utils import formatdate
from http.cookiejar import Cookie, CookieJar, DefaultCookiePolicy
from http.cookies import SimpleCookie
from typing import Any, Final
from urllib.parse import urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pants.http import HTTPClient
from pants.http._client_cookies import Jar, find_cookies, received_cookies, store_cookies
from pants.http._target import parse_target
from tests.http.client_support import client_of
from tests.http.peers_support import DEADLINE
from tests.http.rogue_support import Caller, RogueServer, head, replying
from tests.http.ws_client_support import Certificates, certificates, relay, status

OK: Final = status("200 OK", content=b"spam")


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


@pytest.fixture(scope="module")
def certs() -> Certificates:
    return certificates()


def setting(*lines: str, code: str = "200 OK", fields: Iterable[str] = ()) -> bytes:
    return head(code, *(f"Set-Cookie: {line}" for line in lines), *fields, "Content-Length: 0")


def scripted(answers: dict[str, bytes]) -> Any:
    """A proxy that is all servers: answers by URL, and else says OK."""

    def script(caller: Caller) -> None:
        while True:
            caller.send(answers.get(caller.read_request().target, OK))

    return script


def pairs(value: str) -> set[str]:
    return set(value.split("; ")) if value else set()


def sent(url: str, lines: list[str], *others: str) -> list[set[str]]:
    """The cookies that are sent to other URLs once one has set some."""
    with RogueServer(scripted({url: setting(*lines)})) as proxy, client_of(proxy=proxy.origin) as client:
        client.get(url).wait(DEADLINE)
        for other in others:
            client.get(other).wait(DEADLINE)
        requests = proxy.requests[1:]
    assert all(len(request.all("Cookie")) <= 1 for request in requests)  # RFC 6265 §5.4
    return [pairs("".join(request.all("Cookie"))) for request in requests]


# --- Domains (RFC 6265 §5.1.3, §5.3) -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host, domain, sent_to, not_sent_to",
    [
        # Without a domain it is for that host alone.
        (
            "a.example.test",
            "",
            ["a.example.test"],
            ["example.test", "b.a.example.test", "b.example.test", "xa.example.test"],
        ),
        (
            "example.test",
            "",
            ["example.test", "EXAMPLE.test"],
            ["a.example.test", "xexample.test", "example.test.evil.test"],
        ),
        (
            "a.example.test",
            "example.test",
            ["example.test", "b.example.test", "c.b.example.test"],
            ["xexample.test", "test.test"],
        ),
        ("a.example.test", ".example.test", ["example.test", "b.example.test"], ["xexample.test"]),
        ("a.example.test", "EXAMPLE.test", ["b.example.test"], []),
        (
            "a.example.test",
            "a.example.test",
            ["a.example.test", "b.a.example.test"],
            ["example.test", "b.example.test"],
        ),
        ("a.b.example.test", "b.example.test", ["c.b.example.test"], ["example.test"]),
        ("example.test", "example.test", ["example.test", "a.example.test"], ["xexample.test"]),
        # Ports do not matter (§8.5).
        ("a.example.test:8080", "", ["a.example.test", "a.example.test:8081"], ["b.example.test:8080"]),
        ("a.example.test:8080", "example.test", ["b.example.test:81"], []),
        ("127.0.0.1", "", ["127.0.0.1", "127.0.0.1:81"], ["127.0.0.2", "1.127.0.0.1.test"]),
        ("127.0.0.1", "127.0.0.1", ["127.0.0.1"], ["127.0.0.2"]),
        ("[::1]", "", ["[::1]", "[::1]:81"], ["[::2]"]),
        ("[::1]:8080", "", ["[::1]"], ["[::2]:8080"]),
        ("localhost", "", ["localhost", "localhost:81"], ["a.localhost", "example.test"]),
        ("intranet", "", ["intranet"], ["other", "a.intranet"]),
    ],
)
def test_domains(host: str, domain: str, sent_to: list[str], not_sent_to: list[str]) -> None:
    line = f"c=d; Domain={domain}" if domain else "c=d"
    found = sent(f"http://{host}/", [line], *(f"http://{other}/" for other in [*sent_to, *not_sent_to]))
    assert found == [{"c=d"}] * len(sent_to) + [set()] * len(not_sent_to)


@pytest.mark.parametrize(
    "host, domain",
    [
        ("a.example.test", "b.example.test"),
        ("a.example.test", "other.test"),
        ("a.example.test", "x.a.example.test"),
        ("a.example.test", "ample.test"),
        ("a.example.test", "test"),
        ("a.example.test", ".test"),
        ("a.example.test", "."),
        ("a.example.test", "example.test:80"),
        ("a.example.com", "com"),
        ("a.example.com", ".com"),
        ("a.example.co.uk", "co.uk"),
        ("a.example.co.uk", ".co.uk"),
        ("example.com", ".com"),
        ("example.test", "test"),
        ("127.0.0.1", "0.0.1"),
        ("127.0.0.1", ".0.0.1"),
        ("127.0.0.1", "1"),
        ("127.0.0.1", "127.0.0.2"),
        ("[::1]", "1"),
        ("localhost", "example.test"),
    ],
)
def test_foreign_domains(host: str, domain: str) -> None:
    """Nobody sets cookies for others, for a whole top-level domain, or for a part of an address (§5.3, 5-6)."""
    others = {f"http://{host}/", f"http://{domain.strip('.') or 'test'}/", f"http://x.{domain.strip('.') or 'test'}/"}
    others |= {"http://b.example.com/", "http://b.example.co.uk/", "http://other.co.uk/", "http://b.test/"}
    others = {other for other in others if "test:80" not in other}
    assert sent(f"http://{host}/", [f"c=d; Domain={domain}"], *sorted(others)) == [set()] * len(others)


# --- Paths (RFC 6265 §5.1.4) ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url, path, sent_to, not_sent_to",
    [
        ("/", "", ["/", "/a", "/a/b?c"], []),
        ("/a", "", ["/", "/a", "/b"], []),
        ("/a/", "", ["/a", "/a/", "/a/b"], ["/", "/ab", "/b"]),
        ("/a/b", "", ["/a", "/a/b", "/a/c/d", "/a?x"], ["/", "/ab", "/A"]),
        ("/a/b?c/d", "", ["/a/e"], ["/b"]),
        ("/x", "/a", ["/a", "/a/", "/a/b"], ["/", "/ab", "/x", "/A"]),
        ("/x", "/a/", ["/a/", "/a/b"], ["/a", "/"]),
        ("/x", "/", ["/", "/a"], []),
        ("/a/b", " ", ["/a/x"], ["/"]),
    ],
)
def test_paths(url: str, path: str, sent_to: list[str], not_sent_to: list[str]) -> None:
    line = f"c=d; Path={path}" if path else "c=d"
    origin = "http://a.example.test"
    found = sent(origin + url, [line], *(origin + other for other in [*sent_to, *not_sent_to]))
    assert found == [{"c=d"}] * len(sent_to) + [set()] * len(not_sent_to)


def test_longer_paths_come_first() -> None:
    """RFC 6265 §5.4, 2."""
    lines = ["a=1; Path=/", "b=2; Path=/x/y", "c=3; Path=/x", "d=4; Path=/x/y/z", "e=5; Path=/"]
    url = "http://a.example.test/"
    with RogueServer(scripted({url: setting(*lines)})) as proxy, client_of(proxy=proxy.origin) as client:
        client.get(url).wait(DEADLINE)
        client.get(f"{url}x/y/z").wait(DEADLINE)
        value = proxy.requests[1]["Cookie"].split("; ")
    assert value[:3] == ["d=4", "b=2", "c=3"]
    assert set(value[3:]) == {"a=1", "e=5"}


def test_one_name_at_several_paths() -> None:
    url = "http://a.example.test/x/y"
    (found,) = sent(url, ["a=1; Path=/", "a=2; Path=/x"], url)
    assert found == {"a=1", "a=2"}


# --- Ends (RFC 6265 §5.2.1, §5.2.2, §5.3) ----------------------------------------------------------------------------

FUTURE: Final = formatdate(time.time() + 86400, usegmt=True)
PAST: Final = formatdate(time.time() - 86400, usegmt=True)


@pytest.mark.parametrize(
    "attributes, kept",
    [
        ("", True),
        ("Max-Age=100", True),
        ("Max-Age=0", False),
        ("Max-Age=-1", False),
        ("Max-Age=-99999999999", False),
        ("Max-Age=99999999999", True),
        (f"Expires={FUTURE}", True),
        (f"expires={FUTURE}", True),
        (f"Expires={PAST}", False),
        ("Expires=Thu, 01 Jan 1970 00:00:00 GMT", False),
        ("Expires=Thu, 01-Jan-1970 00:00:10 GMT", False),
        ("Expires=Sunday, 06-Nov-94 08:49:37 GMT", False),
        ("Expires=spam", True),
        ("Expires=", True),
        # Max-Age has precedence (§4.1.2.2).
        (f"Max-Age=100; Expires={PAST}", True),
        (f"Expires={PAST}; Max-Age=100", True),
        (f"Max-Age=0; Expires={FUTURE}", False),
        (f"Expires={FUTURE}; Max-Age=0", False),
    ],
)
def test_ends(attributes: str, kept: bool) -> None:
    url = "http://a.example.test/"
    (found,) = sent(url, [f"c=d; {attributes}"], f"{url}b")
    assert found == ({"c=d"} if kept else set())


def test_an_end_that_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    jar = Jar()
    target = parse_target("http://a.example.test/")
    store_cookies(jar, target, ["a=b; Max-Age=60", "c=d"])
    assert pairs(find_cookies(jar, target, {})) == {"a=b", "c=d"}
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 61)
    assert pairs(find_cookies(jar, target, {})) == {"c=d"}


@pytest.mark.parametrize("deletion", ["Max-Age=0", f"Expires={PAST}"])
def test_overwriting_and_deleting(deletion: str) -> None:
    """A cookie is its name, domain and path (§5.3, 11)."""
    origin = "http://a.example.test/"
    answers = {
        f"{origin}1": setting("a=1; Path=/", "a=x; Path=/x", "b=1; Path=/; Domain=example.test"),
        f"{origin}2": setting("a=2; Path=/", "b=2; Path=/; Domain=example.test"),
        f"{origin}3": setting(f"a=; Path=/; {deletion}"),
        f"{origin}4": setting(f"b=; Path=/; {deletion}", f"a=; Path=/other; {deletion}"),
        f"{origin}5": setting(f"b=; Path=/; Domain=example.test; {deletion}"),
    }
    found = []
    with RogueServer(scripted(answers)) as proxy, client_of(proxy=proxy.origin) as client:
        for number in range(1, 6):
            client.get(f"{origin}{number}").wait(DEADLINE)
            client.get(f"{origin}x").wait(DEADLINE)
            found.append(pairs("".join(proxy.requests[-1].all("Cookie"))))
    assert found == [
        {"a=1", "a=x", "b=1"},
        {"a=2", "a=x", "b=2"},
        {"a=x", "b=2"},
        {"a=x", "b=2"},
        {"a=x"},
    ]


# --- Secure, HttpOnly, prefixes --------------------------------------------------------------------------------------


def behind_tls(certs: Certificates, answers: dict[str, bytes]) -> tuple[Any, Any]:
    """A server of https at localhost, and a proxy that leads every tunnel there, and answers http by itself."""

    def script(caller: Caller) -> None:
        while True:
            caller.send(answers.get("https:" + caller.read_request().target, OK))

    server = RogueServer(script, context=certs.good)

    def proxy_script(caller: Caller) -> None:
        while True:
            request = caller.read_request()
            if request.method == "CONNECT":
                relay(caller, server.port)
                return
            caller.send(answers.get("http:" + urlsplit(request.target).path, OK))

    return server, RogueServer(proxy_script)


def test_secure_cookies(certs: Certificates) -> None:
    """RFC 6265 §5.4; and they are not set in clear (draft-ietf-httpbis-rfc6265bis §5.7)."""
    answers = {
        "https:/set": setting("a=1; Path=/; Secure", "b=2; Path=/; HttpOnly"),
        "http:/set": setting("c=3; Path=/; Secure", "d=4; Path=/"),
    }
    server, proxy = behind_tls(certs, answers)
    with server, proxy, client_of(proxy=proxy.origin, ssl_options={"ca_certs": certs.ca}) as client:
        for scheme in ("https", "http"):
            client.get(f"{scheme}://localhost/set").wait(DEADLINE)
        for scheme in ("https", "http"):
            client.get(f"{scheme}://localhost/get").wait(DEADLINE)
        plain = [request for request in proxy.requests if request.method == "GET"]
        assert pairs(server.requests[-1]["Cookie"]) == {"a=1", "b=2", "d=4"}
        assert pairs(plain[-1]["Cookie"]) == {"b=2", "d=4"}


def test_a_secure_cookie_is_not_overwritten_in_clear(certs: Certificates) -> None:
    """draft-ietf-httpbis-rfc6265bis §5.7, 16: whoever sits on the line could plant a session of his own."""
    answers = {"https:/set": setting("a=good; Path=/; Secure"), "http:/set": setting("a=evil; Path=/")}
    server, proxy = behind_tls(certs, answers)
    with server, proxy, client_of(proxy=proxy.origin, ssl_options={"ca_certs": certs.ca}) as client:
        for scheme in ("https", "http"):
            client.get(f"{scheme}://localhost/set").wait(DEADLINE)
        client.get("https://localhost/get").wait(DEADLINE)
        assert pairs(server.requests[-1]["Cookie"]) == {"a=good"}


@pytest.mark.parametrize(
    "line, kept",
    [
        ("__Secure-a=1; Path=/; Secure", True),
        ("__Secure-a=1; Path=/", False),
        ("__Secure-a=1; Path=/; Secure; Domain=example.test", True),
        ("__Host-a=1; Path=/; Secure", True),
        ("__Host-a=1; Path=/", False),
        ("__Host-a=1; Secure", False),
        ("__Host-a=1; Path=/x; Secure", False),
        ("__Host-a=1; Path=/; Secure; Domain=example.test", False),
        ("__Host-a=1; Path=/; Secure; Domain=a.example.test", False),
        # Servers compare names without regard to case at times (draft-ietf-httpbis-rfc6265bis §5.7, 20-21).
        ("__host-a=1; Path=/x; Secure", False),
        ("__HOST-a=1; Path=/; Secure; Domain=example.test", False),
        ("__secure-a=1; Path=/", False),
        ("__SeCuRe-a=1; Path=/; Secure", True),
    ],
)
def test_prefixes(line: str, kept: bool) -> None:
    jar = Jar()
    store_cookies(jar, parse_target("https://a.example.test/x"), [line])
    assert bool(find_cookies(jar, parse_target("https://a.example.test/x"), {})) is kept
    assert not find_cookies(jar, parse_target("http://a.example.test/x"), {})
    other = Jar()
    store_cookies(other, parse_target("http://a.example.test/x"), [line])
    assert not list(other)


# --- Hostile ones ----------------------------------------------------------------------------------------------------

HOSTILE: Final[dict[str, str]] = {
    "empty": "",
    "semicolons": ";" * 60_000,
    "pairs": "; ".join(["a=b"] * 12_000),
    "attributes": "a=b; " + "; ".join(["Path=/"] * 7_500),
    "quotes": 'a="' * 20_000,
    "backslashes": 'a="' + "\\" * 60_000,
    "spaces": "a=b;" + " " * 60_000 + "x",
    "spaces before =": "a" + " " * 60_000 + "=b",
    "tabs": "a=b" + "\t" * 60_000 + ";",
    "equals": "=" * 60_000,
    "commas": "a=b," * 15_000,
    "a long name": "a" * 60_000 + "=b",
    "a long value": "a=" + "b" * 60_000,
    "a long domain": "a=b; Domain=" + "a." * 30_000,
    "a long path": "a=b; Path=/" + "a/" * 30_000,
    "an expiry of digits": "a=b; Expires=" + "1" * 60_000,
    "an expiry of words": "a=b; Expires=" + "Mon " * 15_000,
    "an expiry of colons": "a=b; Expires=" + "1:" * 30_000,
    "an expiry of spaces": "a=b; Expires=1" + " " * 50_000 + "x",
    "an expiry like a date": "a=b; Expires=Thu, 01 Jan 1970 00:00:00" + " " * 50_000 + "!",
    "an expiry of dashes": "a=b; Expires=" + "1-" * 30_000,
    "a long age": "a=b; Max-Age=" + "9" * 60_000,
    "a long version": "a=b; Version=" + "9" * 60_000,
    "latin-1": "\xff=\xff; \xff=\xff; Domain=\xff; Path=\xff; Expires=\xff; Max-Age=\xff",
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_lines_take_linear_time(kind: str) -> None:
    """And do no harm to what comes with them."""
    lines = ["first=1", HOSTILE[kind], "last=2"]
    with RogueServer(replying(setting(*lines, fields=["A: b"]))) as server, client_of() as client:
        began = time.thread_time()
        response = client.get(server.url).wait(DEADLINE)
        assert response.status_code == 200
        assert {"first", "last"} <= set(response.cookies)
        assert {"first", "last"} <= {cookie.name for cookie in client.session().cookies}
        client.get(f"{server.url}b").wait(DEADLINE)
        # Quadratic, this would be ten seconds or more.
        assert time.thread_time() - began < 2
        (value,) = server.requests[1].all("Cookie")
        assert {"first=1", "last=2"} <= pairs(value)


def test_very_many_lines() -> None:
    answer = (
        b"HTTP/1.1 200 OK\r\n"
        + b"".join(b"Set-Cookie: a%d=b\r\n" % n for n in range(250))
        + b"Content-Length: 0\r\n\r\n"
    )
    with RogueServer(replying(answer)) as server, client_of() as client:
        began = time.thread_time()
        response = client.get(server.url).wait(DEADLINE)
        assert 50 <= len(response.cookies) <= 250  # RFC 6265 §6.1 asks for 50 of a site
        assert time.thread_time() - began < 2


def test_a_jar_does_not_grow_without_end() -> None:
    """Of one site, at least 50 are kept (RFC 6265 §6.1), the last ones; but not all that it likes to send."""
    jar = Jar()
    for number in range(1000):
        store_cookies(jar, parse_target("http://a.example.test/"), [f"a{number}=b"])
    kept = {cookie.name for cookie in jar}
    assert 50 <= len(kept) <= 1000 / 2
    assert "a999" in kept


def test_a_jar_does_not_grow_by_paths() -> None:
    jar = Jar()
    for number in range(2000):
        store_cookies(jar, parse_target("http://a.example.test/"), [f"a=b; Path=/{number}"])
    assert len(list(jar)) <= 1000


@given(st.lists(st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF), max_size=40), max_size=4))
@settings(max_examples=300, deadline=None)
def test_whatever_a_server_sets_makes_one_field(lines: list[str]) -> None:
    target = parse_target("http://a.example.test/a/b")
    jar = Jar()
    store_cookies(jar, target, [*lines, "good=1"])
    value = find_cookies(jar, target, {})
    assert "good=1" in value.split("; ")
    assert "\r" not in value
    assert "\n" not in value
    value.encode("latin-1")
    cookies = received_cookies([*lines, "good=1"])
    assert cookies["good"].value == "1"
    # Nothing is sent to where it was not set for.
    assert find_cookies(jar, parse_target("http://other.test/a/b"), {}) == ""


# --- Sessions and jars --------------------------------------------------------------------------------------------


def test_sessions_share_a_jar_unless_cookies_are_given() -> None:
    with RogueServer(scripted({"/": setting("a=1")})) as server, client_of() as client:
        outer = client.session()
        inner = outer.session(timeout=20)
        own = outer.session(cookies={"b": "2"})
        nested = own.session()
        assert outer.cookies is inner.cookies is client.session().cookies
        assert own.cookies is nested.cookies is not outer.cookies
        client.get(server.url).wait(DEADLINE)
        for session in (client, outer, inner, own, nested):
            session.get(f"{server.url}b").wait(DEADLINE)
        found = [pairs("".join(request.all("Cookie"))) for request in server.requests[1:]]
        assert found == [{"a=1"}, {"a=1"}, {"a=1"}, {"b=2"}, {"b=2"}]
        own.get(server.url).wait(DEADLINE)
        nested.get(f"{server.url}b").wait(DEADLINE)
        assert pairs(server.requests[-1]["Cookie"]) == {"a=1", "b=2"}


def test_clients_do_not_share_a_jar() -> None:
    with RogueServer(scripted({"/": setting("a=1")})) as server, client_of() as client, client_of() as other:
        client.get(server.url).wait(DEADLINE)
        other.get(f"{server.url}b").wait(DEADLINE)
        assert "Cookie" not in server.requests[1]


def cookie(name: str, value: str, domain: str) -> Cookie:
    return Cookie(
        0, name, value, None, False, domain, False, False, "/", True, False, None, True, None, None, {}, rfc2109=False
    )


def test_a_jar_that_is_given() -> None:
    jar = CookieJar()
    jar.set_cookie(cookie("a", "1", "127.0.0.1"))
    jar.set_cookie(cookie("b", "2", "other.test"))
    with RogueServer(scripted({"/": setting("c=3")})) as server:
        with client_of(cookies=jar) as client:
            assert client.session().cookies is jar
            client.get(server.url).wait(DEADLINE)
            client.get(f"{server.url}b").wait(DEADLINE)
        assert {found.name for found in jar} == {"a", "b", "c"}
        with client_of() as client:
            session = client.session(cookies=jar)
            session.get(f"{server.url}b").wait(DEADLINE)
            client.get(f"{server.url}b").wait(DEADLINE)
        assert [pairs("".join(request.all("Cookie"))) for request in server.requests] == [
            {"a=1"},
            {"a=1", "c=3"},
            {"a=1", "c=3"},
            set(),
        ]


@pytest.mark.parametrize("name, value", [("a", "b\r\nX: y"), ("a\r\nX: y", "b"), ("a", "b\0"), ("a", "\u20ac")])
def test_a_jar_with_what_cannot_be_sent(name: str, value: str) -> None:
    """It may come from a file. Nothing of it may become a field of its own."""
    jar = CookieJar()
    jar.set_cookie(cookie(name, value, "127.0.0.1"))
    told: list[Exception] = []
    with (
        RogueServer(replying(OK)) as server,
        client_of(cookies=jar, on_error=lambda _, error: told.append(error)) as client,
    ):
        with pytest.raises(ValueError, match="Cookie"):
            client.get(server.url).wait(DEADLINE)
        assert len(told) == 1
        assert client._exchanges == set()
    assert server.requests == []


def test_a_jar_with_a_policy_of_its_own() -> None:
    jar = CookieJar(DefaultCookiePolicy(blocked_domains=["127.0.0.1"]))
    with RogueServer(scripted({"/": setting("a=1")})) as server, client_of(cookies=jar) as client:
        client.get(server.url).wait(DEADLINE)
        client.get(server.url).wait(DEADLINE)
        assert list(jar) == []
        assert "Cookie" not in server.requests[1]


def test_a_jar_for_a_single_request() -> None:
    """`Session.request`: a jar to take the place of those that the session has (manual: "cookies")."""
    jar = CookieJar()
    jar.set_cookie(cookie("a", "1", "127.0.0.1"))
    jar.set_cookie(cookie("b", "2", "other.test"))
    with RogueServer(scripted({"/": setting("c=3")})) as server, client_of() as client:
        client.get(server.url).wait(DEADLINE)
        client.get(f"{server.url}b", cookies=jar).wait(DEADLINE)
        assert pairs(server.requests[1]["Cookie"]) == {"a=1"}
        client.get(f"{server.url}b").wait(DEADLINE)
        assert pairs(server.requests[2]["Cookie"]) == {"c=3"}


@pytest.mark.parametrize("given_as", ["dict", "SimpleCookie"])
def test_cookies_of_a_request(given_as: str) -> None:
    given_cookies: Any = {"a": "lie", "b": "x y"} if given_as == "dict" else SimpleCookie('a=lie; b="x y"')
    with RogueServer(scripted({"/": setting("a=1", "c=3")})) as server, client_of() as client:
        client.get(server.url).wait(DEADLINE)
        exchange = client.get(f"{server.url}b", cookies=given_cookies)
        exchange.wait(DEADLINE)
        # They take the place of the jar's, and are kept nowhere.
        assert exchange.request.cookies["a"].value == "lie"
        assert exchange.request.cookies["c"].value == "3"
        value = pairs(server.requests[1]["Cookie"])
        assert {"a=lie", "c=3"} <= value
        assert len(value) == 3
        client.get(f"{server.url}b").wait(DEADLINE)
        assert pairs(server.requests[2]["Cookie"]) == {"a=1", "c=3"}


def test_a_cookie_header_of_the_programs_own() -> None:
    with RogueServer(scripted({"/": setting("a=1")})) as server, client_of() as client:
        client.get(server.url).wait(DEADLINE)
        client.get(f"{server.url}b", headers={"Cookie": "z=9"}).wait(DEADLINE)
        assert server.requests[1].all("Cookie") == ["z=9"]


def test_emptying_the_jar() -> None:
    with RogueServer(scripted({"/": setting("a=1")})) as server, client_of() as client:
        client.get(server.url).wait(DEADLINE)
        jar = client.session().cookies
        assert [(found.name, found.value, found.domain) for found in jar] == [("a", "1", "127.0.0.1")]
        jar.clear()
        client.get(f"{server.url}b").wait(DEADLINE)
        assert "Cookie" not in server.requests[1]


# --- Redirects ------------------------------------------------------------------------------------------------------


def test_cookies_of_a_redirect_are_stored_and_sent_on() -> None:
    answers = {
        "/": setting("a=1", code="302 Found", fields=["Location: /b"]),
        "/b": setting("b=2", "a=; Max-Age=0", code="303 See Other", fields=["Location: /c"]),
    }
    with RogueServer(scripted(answers)) as server, client_of() as client:
        response = client.post(server.url, data=b"x").wait(DEADLINE)
        assert [sorted(one.cookies) for one in response.history] == [["a"], ["a", "b"]]
        assert not response.cookies
        found = [pairs("".join(request.all("Cookie"))) for request in server.requests]
    assert found == [set(), {"a=1"}, {"b=2"}]


def test_cookies_across_origins() -> None:
    """Each site gets its own; those of a call are not for others."""
    first, second = "http://a.example.test/", "http://b.other.test/"
    answers = {
        first: setting("a=1", code="302 Found", fields=[f"Location: {second}"]),
        second: setting("b=2", "evil=1; Domain=example.test", code="302 Found", fields=[f"Location: {first}c"]),
    }
    with RogueServer(scripted(answers)) as proxy, client_of(proxy=proxy.origin) as client:
        client.get(second).wait(DEADLINE)
        proxy.requests.clear()
        client.get(first, cookies={"own": "0"}).wait(DEADLINE)
        found = [(request.target, pairs("".join(request.all("Cookie")))) for request in proxy.requests]
    assert found == [(first, {"own=0"}), (second, {"b=2"}), (f"{first}c", {"a=1"})]


def test_cookies_of_a_session_across_origins() -> None:
    """`Session`: "that go along to whatever is asked, but not to where that redirects"."""
    first, second = "http://a.example.test/", "http://b.other.test/"
    answers = {first: setting(code="302 Found", fields=[f"Location: {second}"])}
    with (
        RogueServer(scripted(answers)) as proxy,
        client_of(proxy=proxy.origin, cookies={"own": "0"}) as client,
    ):
        client.get(first).wait(DEADLINE)
        client.get(second).wait(DEADLINE)
        found = [pairs("".join(request.all("Cookie"))) for request in proxy.requests]
    assert found == [{"own=0"}, set(), {"own=0"}]


def test_secure_cookies_on_the_way_up(certs: Certificates) -> None:
    answers = {
        "https:/set": setting("a=1; Path=/; Secure"),
        "http:/": setting("b=2; Path=/", code="302 Found", fields=["Location: https://localhost/get"]),
    }
    server, proxy = behind_tls(certs, answers)
    with server, proxy, client_of(proxy=proxy.origin, ssl_options={"ca_certs": certs.ca}) as client:
        client.get("https://localhost/set").wait(DEADLINE)
        client.get("http://localhost/").wait(DEADLINE)
        assert pairs(server.requests[-1]["Cookie"]) == {"a=1", "b=2"}
        plain = [request for request in proxy.requests if request.method == "GET"]
        assert "Cookie" not in plain[0]


# --- What programs see (manual: "HTTPResponse.cookies", "HTTPRequest.cookies") ----------------------------------------


def test_cookies_of_a_response() -> None:
    lines = [
        "cake=lie; Path=/x; Domain=other.test; Secure; HttpOnly; Max-Age=5; SameSite=Lax",
        'quoted="a\\"b\\054c"',
        f"dated=1; Expires={FUTURE}",
        "spam",
        "=nothing",
        "again=1",
        "again=2",
        "equals=a=b==",
        "empty=",
    ]
    with RogueServer(replying(setting(*lines))) as server, client_of() as client:
        response = client.get(server.url).wait(DEADLINE)
    cookies = response.cookies
    assert isinstance(cookies, SimpleCookie)
    assert set(cookies) == {"cake", "quoted", "dated", "again", "equals", "empty"}
    cake = cookies["cake"]
    assert (cake.value, cake["path"], cake["domain"], cake["max-age"]) == ("lie", "/x", "other.test", "5")
    assert cake["secure"]
    assert cake["httponly"]
    assert cake["samesite"] == "Lax"
    assert cookies["quoted"].value == 'a"b,c'
    assert cookies["dated"]["expires"] == FUTURE
    assert (cookies["again"].value, cookies["equals"].value, cookies["empty"].value) == ("2", "a=b==", "")


def test_cookies_of_a_request_are_a_simple_cookie() -> None:
    with RogueServer(replying(setting("a=1"))) as server, client_of() as client:
        exchange = client.get(server.url)
        assert exchange.wait(DEADLINE).request.cookies == SimpleCookie()
        request = client.get(server.url, cookies={"b": "2"}).wait(DEADLINE).request
        assert isinstance(request.cookies, SimpleCookie)
        assert {name: morsel.value for name, morsel in request.cookies.items()} == {"a": "1", "b": "2"}


@pytest.mark.parametrize(
    "cookies, error, message",
    [
        ("a=b", TypeError, "dict"),
        (["a"], TypeError, "dict"),
        (1, TypeError, "dict"),
        ({1: "a"}, TypeError, "str"),
        ({"a": 1}, TypeError, "str"),
        ({"a": b"b"}, TypeError, "str"),
        ({"": "a"}, ValueError, "name"),
        ({"a b": "c"}, ValueError, "name"),
        ({"a=b": "c"}, ValueError, "name"),
        ({"a;b": "c"}, ValueError, "name"),
        ({"a\r\nX": "c"}, ValueError, "name"),
        ({"\xe4": "c"}, ValueError, "name"),
        ({"a": "b;c"}, ValueError, "semicolon"),
        ({"a": "b\r\nX: y"}, ValueError, "control"),
        ({"a": "b\0"}, ValueError, "control"),
        ({"a": "\u20ac"}, ValueError, "Latin-1"),
    ],
)
def test_cookies_that_cannot_be_sent(cookies: Any, error: type[Exception], message: str) -> None:
    with client_of() as client:
        with pytest.raises(error, match=message):
            client.get("http://127.0.0.1:1/", cookies=cookies)
        with pytest.raises(error, match=message):
            client.session(cookies=cookies)
        with pytest.raises(error, match=message):
            HTTPClient(cookies=cookies)
        assert client._exchanges == set()
