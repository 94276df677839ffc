"""Rules with domains (manual: "Domains", "DomainPart"); on a server in memory."""

from __future__ import annotations

import http.client
import json
import re
from typing import Any

import pytest

from pants.http import HTTPRequest, HTTPServer
from pants.testing import MemoryEngine
from pants.web import Application
from tests.web.support import Received, ask


def shown(request: HTTPRequest, *values: Any) -> str:
    """A view: the name of its route and the values, as JSON."""
    return json.dumps([request.route_name, *values])


def serving(*rules: str, **options: Any) -> Application:
    """An application with routes that are named as their rules."""
    app = Application()
    for rule in rules:
        app.route(rule, rule, func=shown, **options)
    return app


def answer_of(
    app: Application, host: str | None, target: str = "/", method: str = "GET", protocol: str = "HTTP/1.1"
) -> Any:
    """The answer to a request with a Host field, or without one."""
    field = "" if host is None else f"Host: {host}\r\n"
    with MemoryEngine() as engine:
        peer = engine.accept(HTTPServer(app, engine=engine))
        peer.send(f"{method} {target} {protocol}\r\n{field}\r\n".encode("latin-1"))
        response: Any = http.client.HTTPResponse(Received(peer.received), method=method)  # type: ignore[arg-type]
        response.begin()
        response.content = response.read()
        return response


def found(app: Application, host: str | None, target: str = "/", **options: Any) -> Any:
    """What the view has been given, behind the name of its route; the status, if that is not 200."""
    answer = answer_of(app, host, target, **options)
    return json.loads(answer.content) if answer.status == 200 else answer.status


def test_the_example() -> None:
    """Manual: "match and extract variables from the domain the page was requested from"."""
    app = Application()
    app.route("<username>.my-site.com/blog/<int:year>/<slug>", "blog", func=shown)
    assert found(app, "ada.my-site.com", "/blog/2024/notes") == ["blog", "ada", 2024, "notes"]
    assert found(app, "my-site.com", "/blog/2024/notes") == 404
    assert found(app, "ada.my-site.org", "/blog/2024/notes") == 404
    assert found(app, "ada.my-site.com.evil", "/blog/2024/notes") == 404
    assert found(app, "ada.my-siteXcom", "/blog/2024/notes") == 404
    assert found(app, "ada.my-site.com", "/blog/now/notes") == 404


@pytest.mark.parametrize(
    "rule, host, values",
    [
        # Manual, "DomainPart": used in place of String, it does not match a period.
        ("<a>.site.com/", "x.site.com", ["x"]),
        ("<a>.site.com/", "x.y.site.com", 404),
        ("<a>.site.com/", ".site.com", 404),
        ("<string:a>.site.com/", "x.site.com", ["x"]),
        ("<string:a>.site.com/", "x.y.site.com", 404),
        ("<String(min=2):a>.site.com/", "xy.site.com", ["xy"]),
        ("<String(min=2):a>.site.com/", "x.site.com", 404),
        ("<string(length=3):a>.site.com/", "x.y.site.com", 404),
        ("<domainpart:a>.site.com/", "x.site.com", ["x"]),
        ("<domainpart(max=1):a>.site.com/", "xy.site.com", 404),
        # Other converters are what they are.
        ("<path:a>.site.com/", "x.y.site.com", ["x.y"]),
        ("<int:a>.site.com/", "12.site.com", [12]),
        ("<int:a>.site.com/", "x.site.com", 404),
        ("<int(min=5):a>.site.com/", "4.site.com", 400),
        ("<any(www shop):a>.site.com/", "shop.site.com", ["shop"]),
        ("<any(www shop):a>.site.com/", "x.site.com", 404),
        (r"<regex('([a-z]+)\.([a-z]+)'):a>.site.com/", "x.y.site.com", [["x", "y"]]),
        # Several of them, and everywhere.
        ("<a>.<b>.com/", "x.y.com", ["x", "y"]),
        ("<a>.<b>.<c>/", "x.y.com", ["x", "y", "com"]),
        ("<a>-<b>.site.com/", "x-y-z.site.com", ["x-y", "z"]),
        ("www.<a>/", "www.com", ["com"]),
        ("www.<a>/", "www.x.com", 404),
        ("<a>/", "localhost", ["localhost"]),
        ("<a>/", "x.com", 404),
        ("x<a>.com/", "xyz.com", ["yz"]),
        ("<path:a>/", "a.b.c.d", ["a.b.c.d"]),
    ],
)
def test_variables(rule: str, host: str, values: Any) -> None:
    answer = found(serving(rule), host)
    assert answer == (values if isinstance(values, int) else [rule, *values])


def test_the_values_of_the_domain_come_first() -> None:
    app = serving("<a>.<b>.com/<c>/<d=e>")
    assert found(app, "x.y.com", "/z/")[1:] == ["x", "y", "z", "e"]


@pytest.mark.parametrize(
    "host",
    [
        "shop.example",
        "SHOP.Example",
        "shop.example:8080",
        "shop.example:",
        "shop.example.",  # the root of all names (RFC 1034 §3.1)
        "Shop.Example.:443",
    ],
)
@pytest.mark.parametrize(
    "rule", ["shop.example/x", "Shop.EXAMPLE/x", "<any(shop):a>.example/x", "<any(shop):a>.EXAMPLE/x"]
)
def test_the_same_host(host: str, rule: str) -> None:
    """RFC 3986 §3.2.2: the host is case-insensitive; the port is no part of it, and neither is the final period."""
    assert found(serving(rule), host, "/x")[0] == rule


def test_values_of_the_domain_are_in_lower_case() -> None:
    assert found(serving("<a>.example/x"), "ADA.Example", "/x") == ["<a>.example/x", "ada"]


@pytest.mark.parametrize("host", ["example", "x.shop.example", "shop.example.org", "shop-example", "shop.example.."])
def test_another_host(host: str) -> None:
    assert found(serving("shop.example/x"), host, "/x") == 404


@pytest.mark.parametrize("host", ["[::1]", "[::1]:8080", "[2001:DB8::1]"])
def test_an_ipv6_address(host: str) -> None:
    """RFC 3986 §3.2.2: its colons begin no port. It is the whole of a host."""
    app = serving("localhost/", "/")
    assert found(app, host) == ["/"]
    address = host[1:].partition("]")[0].lower()
    assert found(serving("<path:all>/"), host) == ["<path:all>/", address]
    assert found(serving("<a>.example/"), host) == 404


def test_an_ipv4_address() -> None:
    assert found(serving("127.0.0.1/"), "127.0.0.1:80") == ["127.0.0.1/"]
    assert found(serving("<a>.<b>.<c>.<int:d>/"), "127.0.0.1")[1:] == ["127", "0", "0", 1]


def test_without_a_host() -> None:
    """Manual, "host": 127.0.0.1 where the client has told none, as HTTP/1.0 allows; so an empty Host does."""
    app = serving("127.0.0.1/", "<a>.example/", "/")
    assert found(app, None, protocol="HTTP/1.0") == ["127.0.0.1/"]
    assert found(app, "", protocol="HTTP/1.0") == ["127.0.0.1/"]
    assert found(app, None) == 400  # RFC 9112 §3.2
    assert found(serving("/", "<a>.example/"), None, protocol="HTTP/1.0") == ["/"]


def test_an_absolute_target_has_the_host() -> None:
    """RFC 9112 §3.2.2: the Host field is to be ignored then."""
    app = serving("a.example/x", "b.example/x", "a.example/")
    assert found(app, "b.example", "http://a.example/x") == ["a.example/x"]
    assert found(app, "b.example", "http://A.Example:80/x?y") == ["a.example/x"]
    assert found(app, "b.example", "http://a.example") == ["a.example/"]
    assert found(app, "b.example", "http://a.example?x=/x") == ["a.example/"]
    assert found(app, "a.example", "http://c.example/x") == 404


@pytest.mark.parametrize(
    "host",
    [
        "a.example/x",
        "user@a.example",
        "a.example:80:90",
        "a.example:x",
        "a example",
        "a.example\\",
        "a.example?",
        "a.example#",
        "\xfc.example",
        "[::1",
        "[::1]x",
        "[x]",
        "<b>",
    ],
)
def test_what_is_no_host_gets_nowhere(host: str) -> None:
    """RFC 9112 §3.2: a request with an invalid Host field is a 400; so nothing of it comes into URLs or pages."""
    app = serving("<path:all>/", "/")
    assert found(app, host) == 400


def test_hosts_of_strange_characters_are_harmless() -> None:
    """RFC 3986 allows these in a registered name. No route is found that is not meant, and nothing fails."""
    app = serving("a.example/", "<a>.example/")
    for host in (
        "a%2Eexample",
        "a%2eexample",
        "a.example,b.example",
        "a.example;b",
        "%00.example.org",
        "*",
        "'",
        "(a)",
        "%61.example",
        "*.example",
        "a'b.example",
    ):
        assert found(app, host) == 404
    assert found(app, "a" * 1000 + ".example")[1] == "a" * 1000


# --- Several domains --------------------------------------------------------------------------------------------------


def test_the_same_path_on_several_domains() -> None:
    app = serving("a.example/x", "b.example/x", "<c>.example/x", "/x")
    assert found(app, "a.example", "/x") == ["a.example/x"]
    assert found(app, "b.example", "/x") == ["b.example/x"]
    assert found(app, "d.example", "/x") == ["<c>.example/x", "d"]
    assert found(app, "d.e.example", "/x") == ["/x"]
    assert found(app, "a.example", "/y") == 404


def test_what_a_domain_has_not_is_looked_up_in_the_next() -> None:
    """Docstring of `Module.route`: a rule with a domain goes before one without, and so on."""
    app = serving("a.example/1", "<x>.example/2", "<x>.<y>/3", "/4", "<x>.<y>/1", "<x>.example/<z>", "/<path:p>")
    assert found(app, "a.example", "/1") == ["a.example/1"]
    assert found(app, "a.example", "/2") == ["<x>.example/2", "a"]
    assert found(app, "a.example", "/3") == ["<x>.example/<z>", "a", "3"]
    assert found(app, "a.example", "/3/4") == ["/<path:p>", "3/4"]
    assert found(app, "a.org", "/3") == ["<x>.<y>/3", "a", "org"]
    assert found(app, "a.org", "/4") == ["/4"]


def test_methods_across_domains() -> None:
    """One that another domain has for the method answers; else it is a 405 with all that there are."""
    app = Application()
    app.route("a.example/x", "fixed", ["GET"], func=shown)
    app.route("<a>.example/<b>", "variable", ["POST"], func=shown)
    app.route("/x", "none", ["PUT"], func=shown)
    app.route("b.example/x", "other", ["DELETE"], func=shown)
    assert found(app, "a.example", "/x") == ["fixed"]
    assert found(app, "a.example", "/x", method="POST") == ["variable", "a", "x"]
    assert found(app, "a.example", "/x", method="PUT") == ["none"]
    answer = answer_of(app, "a.example", "/x", "DELETE")
    assert answer.status == 405
    assert set(answer.headers["Allow"].split(", ")) == {"GET", "HEAD", "POST", "PUT", "OPTIONS"}
    answer = answer_of(app, "c.example", "/x", "GET")
    assert answer.status == 405
    assert set(answer.headers["Allow"].split(", ")) == {"POST", "PUT", "OPTIONS"}
    answer = answer_of(app, "a.example", "/x", "OPTIONS")
    assert (answer.status, set(answer.headers["Allow"].split(", "))) == (
        204,
        {"GET", "HEAD", "POST", "PUT", "OPTIONS"},
    )
    assert found(app, "c.example", "/x/y", method="GET") == 404


def test_each_rule_has_its_own_variables() -> None:
    """Two domains that match the same hosts, one of which makes something else of them."""
    app = Application()
    app.route("<int:a>.example/x", "int", func=shown)
    app.route("<int(min=5):b>.example/y", "least", func=shown)
    app.basic_route("<int:c>.example/z", "basic", func=lambda request: json.dumps(request.match.groupdict()))
    assert found(app, "4.example", "/x") == ["int", 4]
    assert found(app, "4.example", "/y") == 400
    assert found(app, "5.example", "/y") == ["least", 5]
    assert found(app, "4.example", "/z") == {"c": "4"}


def test_a_basic_route() -> None:
    app = Application()
    seen: list[Any] = []

    @app.basic_route("<a>.<int:b>.example/<c>/<d=e>")
    def basic(request: HTTPRequest) -> str:
        seen.append((request.match.groups(), request.match.groupdict()))
        return "done"

    assert answer_of(app, "x.5.example", "/%C3%A4/").status == 200
    assert seen == [(("x", "5", "ä", None), {"a": "x", "b": "5", "c": "ä", "d": None})]


def test_fix_end_slash_stays_on_the_domain() -> None:
    app = Application(fix_end_slash=True)
    app.route("<a>.example/x/", func=shown)
    answer = answer_of(app, "ada.example:8080", "/x?y")
    assert (answer.status, answer.headers["Location"]) == (301, "/x/?y")
    assert answer_of(app, "example.org", "/x").status == 404


# --- Mistakes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "rule, pattern",
    [
        ("<a=b>.example/", "<a> cannot have a default in a domain; register a second rule without it"),
        ("<path:a=b>/", "<a> cannot have a default in a domain"),
        ("example.com:8080/", "a domain has no port here"),
        ("<a>:8080/", "a domain has no port here"),
        ("bücher.example/", "a domain is written in its ASCII form, as 'xn--bcher-kva.example' is for"),
        ("a b/", "'a b' cannot be a part of a domain; does a slash at its beginning make it a path"),
        ("user@example/", "cannot be a part of a domain"),
        ("http://example.com/", "a domain has no port here|cannot be a part of a domain"),
        ("example.com", "a rule is a path, which begins with a slash; only a domain stands before it"),
        ("<a>.example", "a rule is a path, which begins with a slash"),
        ("", "a rule is a path, which begins with a slash"),
        ("<a>.<a>.example/", "two variables in the domain have the same name; rename one"),
        ("<a>.example/<a>", "two variables are named 'a'; rename one"),
        ("<a>.example/b%20c", "write the character for %20"),
        ("<nope:a>.example/", "there is no converter 'nope'"),
        ("<int:a><b>.example/", "not clear where <a> ends"),
    ],
)
def test_a_domain_that_cannot_be_served_raises(rule: str, pattern: str) -> None:
    with pytest.raises(ValueError, match=f"the rule {re.escape(repr(rule))}: (.*)({pattern})"):
        Application().route(rule)


@pytest.mark.parametrize("rule", ["shop.example./x", "<a>.example./x"])
def test_a_final_period_in_a_rule(rule: str) -> None:
    """It is refused, or is the same domain as without."""
    app = Application()
    try:
        app.route(rule, "name", func=shown)
    except ValueError:
        return
    assert found(app, "shop.example.", "/x")[0] == "name"


def test_capitals_in_the_choices_of_a_domain() -> None:
    """RFC 3986 §3.2.2: the host is case-insensitive. So this would never match, and is refused."""
    with pytest.raises(ValueError, match="compared in lower case"):
        serving("<any(WWW Shop):a>.example/x")


def test_the_same_domain_and_path_twice_raises() -> None:
    app = serving("a.example/x", "<b>.example/x", "/x")
    for rule in ("A.Example/x", "<c>.example/x", "<string:c>.EXAMPLE/x", "/x"):
        with pytest.raises(ValueError, match="has a route for GET already"):
            app.route(rule, "other", func=lambda request, *values: "")
    assert ask(app, "/x").status == 200
