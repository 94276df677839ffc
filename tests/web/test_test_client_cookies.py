"""The cookies of a `pants.web.testing.TestClient` (RFC 6265)."""

from __future__ import annotations

from typing import Any

import pytest

from pants.http import HTTPRequest
from pants.web import Application, Response
from pants.web.testing import TestClient


@pytest.fixture
def app() -> Application:
    """Sets the cookie that the query asks for, and shows those that came."""
    app = Application()

    @app.route("/<path:rest=>")
    def page(request: HTTPRequest, rest: str) -> Response:
        lines = request.get.get("set", [])
        return Response(request.headers.get("Cookie", ""), headers=[("Set-Cookie", line) for line in lines])

    return app


@pytest.fixture
def client(app: Application) -> TestClient:
    return app.test_client()


def setting(client: TestClient, *lines: str, path: str = "/") -> None:
    client.get(path, query=[("set", line) for line in lines])


def test_cookies_are_kept(client: TestClient) -> None:
    setting(client, "a=1", "b=2; HttpOnly; SameSite=Lax")
    assert client.get("/").text == "a=1; b=2"
    setting(client, "a=3")
    assert sorted(client.get("/").text.split("; ")) == ["a=3", "b=2"]
    setting(client, "a=; Max-Age=0")
    assert client.get("/").text == "b=2"
    setting(client, "b=; Expires=Thu, 01 Jan 1970 00:00:00 GMT")
    assert client.get("/").text == ""


def test_another_client_has_its_own(app: Application, client: TestClient) -> None:
    setting(client, "a=1")
    assert app.test_client().get("/").text == ""


def test_paths(client: TestClient) -> None:
    """RFC 6265 §5.1.4."""
    setting(client, "a=1; Path=/below", "b=2", path="/x/y")
    assert client.get("/").text == ""
    assert client.get("/below").text == client.get("/below/it").text == "a=1"
    assert client.get("/belows").text == ""
    assert client.get("/x/z").text == "b=2"


def test_secure_ones(app: Application) -> None:
    client = app.test_client(base_url="https://localhost")
    setting(client, "a=1; Secure")
    assert client.get("/").text == "a=1"
    assert client.get("http://localhost/").text == ""
    client = app.test_client()
    setting(client, "a=1; Secure")
    assert client.get("https://localhost/").text == ""


def test_domains(app: Application) -> None:
    client = app.test_client(base_url="http://www.example.com")
    setting(client, "own=1", "all=2; Domain=example.com", "other=3; Domain=example.org")
    assert client.get("/").text == "own=1; all=2"
    assert client.get("http://example.com/").text == "all=2"
    assert client.get("http://www.example.org/").text == ""


def test_a_client_without_cookies(app: Application) -> None:
    client = app.test_client(cookies=False)
    setting(client, "a=1")
    assert client.get("/").text == ""
    for call in (
        lambda: client.set_cookie("a", "1"),
        lambda: client.get_cookie("a"),
        lambda: client.delete_cookie("a"),
    ):
        with pytest.raises(RuntimeError, match="cookies=False"):
            call()


def test_cookies_of_one_request(client: TestClient) -> None:
    setting(client, "a=1")
    assert client.get("/", headers={"Cookie": "b=2"}).text == "b=2"
    assert client.get("/").text == "a=1"


def test_set_and_get_and_delete(client: TestClient) -> None:
    client.set_cookie("a", "1")
    client.set_cookie("b", "2", path="/below", httponly=True, secure=False, samesite="Strict", max_age=3600)
    client.set_cookie("c")
    assert client.get("/").text == "a=1; c="
    assert client.get("/below").text.startswith("b=2")
    cookie = client.get_cookie("a")
    assert cookie is not None
    assert (cookie.name, cookie.value, cookie.path, cookie.secure) == ("a", "1", "/", False)
    assert client.get_cookie("b") is None
    below = client.get_cookie("b", path="/below/it")
    assert below is not None
    assert below.path == "/below"
    assert not below.is_expired()
    assert client.get_cookie("a", domain="example.com") is None
    client.delete_cookie("a")
    client.delete_cookie("b")
    client.delete_cookie("nothing")
    assert client.get("/").text == "c="
    assert client.get_cookie("b", path="/below") is not None
    client.delete_cookie("b", path="/below")
    assert client.get_cookie("b", path="/below") is None


def test_the_nearest_one_counts(client: TestClient) -> None:
    client.set_cookie("a", "outer")
    client.set_cookie("a", "inner", path="/below/")
    for path, value in (("/", "outer"), ("/below/", "inner"), ("/below/it", "inner")):
        cookie = client.get_cookie("a", path=path)
        assert cookie is not None
        assert cookie.value == value


def test_those_of_other_hosts(client: TestClient) -> None:
    client.set_cookie("a", "1", domain="example.com")
    assert client.get("/").text == ""
    assert client.get("http://example.com/").text == "a=1"
    cookie = client.get_cookie("a", domain="example.com")
    assert cookie is not None
    assert cookie.value == "1"


def test_secure_ones_that_are_set(client: TestClient) -> None:
    client.set_cookie("a", "1", secure=True)
    assert client.get("/").text == ""
    assert client.get("https://localhost/").text == "a=1"


def test_expired_ones(client: TestClient) -> None:
    client.set_cookie("a", "1", max_age=0)
    client.set_cookie("b", "1", expires="Thu, 01 Jan 1970 00:00:00 GMT")
    assert client.get("/").text == ""
    assert client.get_cookie("a") is client.get_cookie("b") is None


@pytest.mark.parametrize(
    "name, value, options, error",
    [
        ("a b", "1", {}, ValueError),
        ("", "1", {}, ValueError),
        ("a", "1;2", {}, ValueError),
        ("a", "1\r\n", {}, ValueError),
        ("a", 1, {}, TypeError),
        ("a", "1", {"colour": "red"}, TypeError),
        ("a", "1", {"path": "/\n"}, ValueError),
        ("a", "1", {"samesite": "Lax; Domain=x"}, ValueError),
        ("a", "1", {"domain": "not a host"}, ValueError),
        ("a", "1", {"path": "below"}, ValueError),
        ("__Host-a", "1", {}, ValueError),  # which has to be secure
    ],
)
def test_cookies_that_cannot_be(client: TestClient, name: str, value: Any, options: Any, error: Any) -> None:
    with pytest.raises(error):
        client.set_cookie(name, value, **options)
    assert client.get("/").text == ""


def test_signed_cookies() -> None:
    app = Application()

    @app.route("/")
    def page(request: HTTPRequest) -> Any:
        seen = request.get_secure_cookie("user")
        request.set_secure_cookie("user", {"visits": (seen or {"visits": 0})["visits"] + 1})
        return [seen]

    client = app.test_client(cookie_secret="a secret")
    assert client.get_secure_cookie("user") is None
    assert client.get("/").json == [None]
    assert client.get_secure_cookie("user") == {"visits": 1}
    client.set_secure_cookie("user", {"visits": 40}, path="/")
    assert client.get("/").json == [{"visits": 40}]
    assert client.get_secure_cookie("user") == {"visits": 41}
    client.set_cookie("user", "forged")
    assert client.get_secure_cookie("user") is None
    assert client.get("/").json == [None]


def test_signed_cookies_want_a_secret(client: TestClient) -> None:
    with pytest.raises(RuntimeError, match="cookie_secret"):
        client.set_secure_cookie("a", "b")
    with pytest.raises(RuntimeError, match="cookie_secret"):
        client.get_secure_cookie("a")
