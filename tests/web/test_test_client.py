"""`pants.web.testing.TestClient`: what it asks, and what it makes of the answers."""

from __future__ import annotations

import doctest
import gc
import io
import os
import pathlib
from types import ModuleType
from typing import Any

import pytest

import pants.web._test_response
import pants.web._test_websocket
import pants.web.testing
from pants.engine import Engine
from pants.http import HTTPHeaders, HTTPRequest
from pants.http.client import RedirectRefused
from pants.web import Application, Response
from pants.web.testing import TestClient, TestRequest, TestResponse


def echo(request: HTTPRequest) -> dict[str, Any]:
    """All of a request, as JSON."""
    return {
        "method": request.method,
        "url": request.url,
        "full_url": request.full_url,
        "headers": dict(request.headers),
        "body": request.body.decode("latin-1"),
        "post": request.post,
        "files": {
            name: [[file["filename"], file["content_type"], file["body"].decode("latin-1")] for file in files]
            for name, files in request.files.items()
        },
        "ip": request.remote_ip,
        "secure": request.is_secure,
    }


METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


@pytest.fixture
def app() -> Application:
    app = Application()
    app.route("/<path:rest=>", "echo", methods=METHODS, func=lambda request, rest: echo(request))
    return app


@pytest.fixture
def client(app: Application) -> TestClient:
    return app.test_client()


@pytest.mark.parametrize("module", [pants.web.testing, pants.web._test_response, pants.web._test_websocket])
def test_docstrings(module: ModuleType) -> None:
    results = doctest.testmod(module)
    assert results.attempted
    assert not results.failed


# --- What is asked ----------------------------------------------------------------------------------------------------


def test_the_methods(client: TestClient) -> None:
    for method in ("get", "post", "put", "patch", "delete", "options"):
        response = getattr(client, method)("/a")
        assert (response.json["method"], response.json["url"]) == (method.upper(), "/a")
    assert client.request("PUT", "/a").json["method"] == "PUT"
    assert client.open("/a").json["method"] == "GET"
    assert client.open("/a", method="PATCH").json["method"] == "PATCH"


def test_head(client: TestClient) -> None:
    response = client.head("/a")
    assert response.status_code == 200
    assert response.data == b""
    assert response.content_length is not None
    assert response.content_length > 0


def test_any_request_handler() -> None:
    response = TestClient(lambda request: request.send_response("spam")).get("/")
    assert response.text == "spam"


def test_the_client_is_like_any_other(client: TestClient) -> None:
    seen = client.get("/").json
    assert seen["headers"] == {"Host": "localhost", "User-Agent": "pants.web.testing"}
    assert (seen["ip"], seen["secure"], seen["full_url"]) == ("127.0.0.1", False, "http://localhost/")


def test_another_base_and_address(app: Application) -> None:
    client = app.test_client(base_url="https://example.com:8443", remote_address=("192.0.2.7", 1))
    seen = client.get("/a").json
    assert (seen["ip"], seen["secure"], seen["full_url"]) == ("192.0.2.7", True, "https://example.com:8443/a")
    seen = app.test_client(remote_address="").get("/").json  # as behind a UNIX socket
    assert seen["ip"] == ""


def test_a_whole_url(client: TestClient) -> None:
    seen = client.get("https://example.com/a?b").json
    assert (seen["full_url"], seen["secure"]) == ("https://example.com/a?b", True)
    assert client.get("http://user:secret@localhost/").json["headers"]["Authorization"] == "Basic dXNlcjpzZWNyZXQ="


def test_paths_are_sent_as_they_are(client: TestClient) -> None:
    for path in ("/..%2Fetc/passwd", "//evil.example/x", "/a%2e%2e/", "/a?b=c&d", "/a%2Fb"):
        assert client.get(path).json["url"] == path
    assert client.get("/ä b").json["url"] == "/%C3%A4%20b"
    assert client.get("/a#fragment").json["url"] == "/a"


@pytest.mark.parametrize(
    "query, url",
    [
        ({"a": "b c", "d": 1}, "/?a=b+c&d=1"),
        ({"a": ["b", "c"], "d": None}, "/?a=b&a=c"),
        ([("a", "b"), ("a", "c")], "/?a=b&a=c"),
        ("raw=%20", "/?raw=%20"),
    ],
)
def test_a_query(client: TestClient, query: Any, url: str) -> None:
    assert client.get("/", query=query).json["url"] == url
    assert client.get("/?x=y", query=query).json["url"] == url.replace("?", "?x=y&")


def test_headers(app: Application) -> None:
    client = app.test_client(headers={"X-One": "1", "X-Two": "2"})
    assert client.get("/").json["headers"] == {
        "Host": "localhost",
        "User-Agent": "pants.web.testing",
        "X-One": "1",
        "X-Two": "2",
    }
    seen = client.get("/", headers={"x-one": None, "X-Two": "3", "User-Agent": None, "Host": "other"}).json["headers"]
    assert seen == {"Host": "other", "X-Two": "3"}
    seen = client.get("/", headers=[("X-Two", "3"), ("X-Two", "4")]).json["headers"]
    assert seen["X-Two"] == "3, 4"
    assert client.get("/", headers=HTTPHeaders({"X-Two": "5"})).json["headers"]["X-Two"] == "5"


def test_authentication(client: TestClient) -> None:
    """RFC 7617 §2."""
    response = client.get("/", auth=("Aladdin", "open sesame"))
    assert response.json["headers"]["Authorization"] == "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="


# --- Content ----------------------------------------------------------------------------------------------------------


def test_a_form(client: TestClient) -> None:
    seen = client.post("/", data={"a": "ä b", "c": ["1", "2"], "d": 3, "e": None}).json
    assert seen["post"] == {"a": ["ä b"], "c": ["1", "2"], "d": ["3"]}
    assert seen["headers"]["Content-Type"] == "application/x-www-form-urlencoded"
    assert client.post("/", data=[("a", "1"), ("a", "2")]).json["post"] == {"a": ["1", "2"]}
    assert client.post("/", data={}).json["post"] == {}


def test_a_form_with_files(client: TestClient, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_bytes(b"from disk")
    with path.open("rb") as file:
        seen = client.post(
            "/",
            data={
                "name": "spam",
                "numbers": [1, 2],
                "one": ("a.txt", b"bytes"),
                "two": ("b.bin", "text", "image/png"),
                "three": (io.BytesIO(b"as Flask has it"), "c.html"),
                "four": file,
                "five": [("d", b"1"), ("d", b"2")],
            },
        ).json
    assert seen["post"] == {"name": ["spam"], "numbers": ["1", "2"]}
    assert seen["files"] == {
        "one": [["a.txt", "text/plain", "bytes"]],
        "two": [["b.bin", "image/png", "text"]],
        "three": [["c.html", "text/html", "as Flask has it"]],
        "four": [["notes.txt", "text/plain", "from disk"]],
        "five": [["d", "application/octet-stream", "1"], ["d", "application/octet-stream", "2"]],
    }


def test_a_multipart_form_without_files(client: TestClient) -> None:
    seen = client.post("/", data={"a": "b", "c": [1, b"2"]}, content_type="multipart/form-data").json
    assert seen["headers"]["Content-Type"].startswith("multipart/form-data; boundary=")
    assert (seen["post"], seen["files"]) == ({"a": ["b"], "c": ["1", "2"]}, {})


@pytest.mark.parametrize("data", [b"\xe4 content", "ä content".encode("latin-1"), bytearray(b"\xe4 content")])
def test_content_as_it_is(client: TestClient, data: Any) -> None:
    seen = client.put("/", data=data, content_type="text/weird").json
    assert seen["body"] == "\xe4 content"
    assert (seen["headers"]["Content-Type"], seen["headers"]["Content-Length"]) == ("text/weird", "9")
    assert "Content-Type" not in client.put("/", data=data).json["headers"]


def test_content_of_other_kinds(client: TestClient, tmp_path: pathlib.Path) -> None:
    assert client.post("/", data="ä").json["body"] == "ä".encode().decode("latin-1")
    path = tmp_path / "file"
    path.write_bytes(b"0123456789" * 20_000)
    with path.open("rb") as file:
        file.seek(10)
        assert len(client.post("/", data=file).json["body"]) == 199_990
    seen = client.post("/", data=iter([b"in ", b"", b"pieces"])).json
    assert (seen["body"], seen["headers"]["Transfer-Encoding"]) == ("in pieces", "chunked")
    assert client.post("/", data=[b"more ", "pieces"]).json["body"] == "more pieces"


def test_no_content(client: TestClient) -> None:
    """RFC 9110 §8.6."""
    assert client.post("/").json["headers"]["Content-Length"] == "0"
    assert client.post("/", data=b"").json["headers"]["Content-Length"] == "0"
    assert "Content-Length" not in client.get("/").json["headers"]


def test_json(client: TestClient) -> None:
    seen = client.post("/", json={"a": [1, "ä"]}).json
    assert seen["headers"]["Content-Type"] == "application/json"
    assert seen["body"].encode("latin-1").decode() == '{"a":[1,"ä"]}'
    assert client.post("/", json=[], content_type="application/x+json").json["headers"]["Content-Type"] == (
        "application/x+json"
    )


def test_long_content_is_spooled_as_elsewhere(client: TestClient) -> None:
    assert len(client.post("/", data=b"x" * 3_000_000).json["body"]) == 3_000_000


def test_content_that_is_refused() -> None:
    app = Application()
    app.route("/", "page", methods=["POST"], func=lambda request: str(len(request.body)))
    client = app.test_client(max_request=1000)
    assert client.post("/", data=b"x" * 1000).text == "1000"
    assert client.post("/", data=b"x" * 1001).status_code == 413
    assert client.post("/", data=b"x" * 5_000_000).status_code == 413
    assert client.post("/", data=(b"x" * 1000 for _ in range(5000))).status_code == 413
    assert client.post("/", data=b"x" * 1000).text == "1000"


def test_an_iterator_that_fails(client: TestClient) -> None:
    def pieces() -> Any:
        yield b"a"
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        client.post("/", data=pieces())
    assert client.get("/").status_code == 200


# --- Answers ----------------------------------------------------------------------------------------------------------


def test_an_answer() -> None:
    app = Application()

    @app.route("/")
    def page(request: HTTPRequest) -> Response:
        return Response(
            "café",
            201,
            [("Content-Type", "Text/HTML; Charset=latin-1"), ("X-A", "1"), ("X-A", "2"), ("Location", "/b")],
        )

    response = app.test_client().get("/?q=1")
    assert response.status_code == 201
    assert response.status == "201 Created"
    assert response.data == b"caf\xe9"
    assert response.text == "café"
    assert response.headers["x-a"] == "1, 2"
    assert response.headers.get_list("X-A") == ["1", "2"]
    assert response.content_type == "Text/HTML; Charset=latin-1"
    assert response.mimetype == "text/html"
    assert response.mimetype_params == {"charset": "latin-1"}
    assert response.charset == "iso8859-1"
    assert response.content_length == 4
    assert response.location == "/b"
    assert not response.is_redirect
    assert response.history == []
    assert response.complete
    assert repr(response) == "<TestResponse 201 Created to GET http://localhost/?q=1>"
    request = response.request
    assert (request.method, request.url, request.path, request.query) == ("GET", "http://localhost/?q=1", "/", "q=1")
    assert request.headers["Host"] == "localhost"
    assert repr(request) == "<TestRequest GET http://localhost/?q=1>"


def test_an_answer_without_content(app: Application) -> None:
    app.route("/none/", "none", func=lambda request: None)
    response = app.test_client().get("/none/")
    assert (response.status, response.data, response.text) == ("204 No Content", b"", "")
    assert (response.content_type, response.mimetype, response.mimetype_params) == (None, "", {})
    assert (response.content_length, response.location, response.charset) == (None, None, "utf-8")


def answer(content: bytes, content_type: str) -> TestResponse:
    return TestClient(lambda request: request.send_response(content, 200, content_type)).get("/")


def test_json_in_an_answer() -> None:
    assert answer(b'{"a": 1}', "application/json").json == {"a": 1}
    assert answer(b"[1]", "application/problem+json; charset=utf-8").json == [1]
    text = answer(b"[1]", "text/plain")
    assert (text.is_json, text.json, text.get_json(), text.get_json(force=True)) == (False, None, None, [1])
    bad = answer(b"[1", "application/json")
    assert bad.is_json
    assert bad.get_json(silent=True) is None
    with pytest.raises(ValueError, match="Expecting"):
        _ = bad.json


def test_text_in_a_charset_that_is_not_known() -> None:
    def handler(request: HTTPRequest) -> None:
        request.send_headers({"Content-Type": "a/b; charset=x"})
        request.finish()

    assert TestClient(handler).get("/").charset == "utf-8"
    assert answer(b"\xff", "text/plain").text == "�"


def test_content_is_not_decoded() -> None:
    app = Application()
    app.route("/", "page", func=lambda request: "a" * 10_000)
    response = app.test_client(compression=True).get("/", headers={"Accept-Encoding": "gzip"})
    assert response.headers["Content-Encoding"] == "gzip"
    assert response.data.startswith(b"\x1f\x8b")


def test_files_and_ranges(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "large.bin"
    path.write_bytes(os.urandom(1_000_000))
    client = TestClient(lambda request: request.send_file(path))
    assert client.get("/").data == path.read_bytes()
    part = client.get("/", headers={"Range": "bytes=100000-899999"})
    assert (part.status_code, part.data) == (206, path.read_bytes()[100_000:900_000])
    again = client.get("/", headers={"If-None-Match": client.get("/").headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")


def test_an_answer_until_the_connection_ends() -> None:
    def handler(request: HTTPRequest) -> None:
        request.connection.write(b"HTTP/1.1 200 OK\r\n\r\nold")
        request.connection.close()

    assert TestClient(handler).get("/").data == b"old"


def test_interim_answers_are_passed_over() -> None:
    def handler(request: HTTPRequest) -> None:
        request.send_status(103)
        request.send_headers({"Link": "</a.css>"})
        request.send_response("final")

    assert TestClient(handler).get("/").text == "final"


# --- Redirects --------------------------------------------------------------------------------------------------------


@pytest.fixture
def redirecting(app: Application) -> TestClient:
    @app.route("/to/<int:status>/", methods=METHODS)
    def to(request: HTTPRequest, status: int) -> Response:
        return Response("", status, {"Location": request.get["url"][0], "Set-Cookie": "seen=yes; Path=/"})

    return app.test_client(follow_redirects=True)


def test_redirects_are_not_followed_unless_asked(app: Application, redirecting: TestClient) -> None:
    response = app.test_client().get("/to/302/?url=/a")
    assert (response.status_code, response.location, response.is_redirect) == (302, "/a", True)
    response = redirecting.get("/to/302/?url=/a", follow_redirects=False)
    assert response.status_code == 302
    response = app.test_client().get("/to/302/?url=/a", follow_redirects=True)
    assert response.status_code == 200


def test_a_redirect_is_followed(redirecting: TestClient) -> None:
    response = redirecting.get("/to/302/", query={"url": "/to/301/?url=b"})
    assert response.json["url"] == "/to/301/b"
    assert response.request.path == "/to/301/b"
    assert [past.status_code for past in response.history] == [302, 301]
    assert [past.request.path for past in response.history] == ["/to/302/", "/to/301/"]
    assert response.json["headers"]["Cookie"] == "seen=yes"


@pytest.mark.parametrize(
    "status, method, becomes",
    [
        (301, "POST", "GET"),
        (302, "POST", "GET"),
        (302, "PUT", "PUT"),
        (303, "PUT", "GET"),
        (307, "POST", "POST"),
        (308, "POST", "POST"),
    ],
)
def test_the_method_after_a_redirect(redirecting: TestClient, status: int, method: str, becomes: str) -> None:
    """RFC 9110 §15.4."""
    seen = redirecting.request(method, f"/to/{status}/?url=/a", data={"b": "c"}, headers={"X-A": "1"}).json
    assert seen["method"] == becomes
    assert seen["body"] == ("" if becomes == "GET" else "b=c")
    assert ("Content-Type" in seen["headers"], "Content-Length" in seen["headers"]) == (becomes != "GET",) * 2
    assert seen["headers"]["X-A"] == "1"


def test_head_stays_head(redirecting: TestClient) -> None:
    assert redirecting.head("/to/303/?url=/a").request.method == "HEAD"


def test_a_file_is_sent_again(redirecting: TestClient, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"content")
    with path.open("rb") as file:
        assert redirecting.put("/to/307/?url=/a", data=file).json["body"] == "content"
    with pytest.raises(RedirectRefused, match="iterator"):
        redirecting.put("/to/307/?url=/a", data=iter([b"once"]))


def test_redirects_between_hosts(app: Application, redirecting: TestClient) -> None:
    client = app.test_client(base_url="http://example.com", follow_redirects=True)
    for url in ("https://example.com/a", "http://www.example.com:8080/a", "//example.com/a"):
        seen = client.get("/to/302/", query={"url": url}, auth=("user", "password")).json
        assert ("Authorization" in seen["headers"]) is (url == "//example.com/a")  # the only one of the same origin
    seen = client.get("http://www.example.com/to/302/?url=http://example.com/a").json
    assert seen["full_url"] == "http://example.com/a"
    for url in ("http://example.org/", "http://notexample.com/"):
        with pytest.raises(RedirectRefused, match="another program"):
            client.get("/to/302/", query={"url": url})
    for url in ("ftp://example.com/", "http://[/"):
        with pytest.raises(RedirectRefused, match="no URL"):
            client.get("/to/302/", query={"url": url})


def test_redirects_without_end(redirecting: TestClient) -> None:
    asked: list[str] = []
    redirecting.app.request_started(lambda request: asked.append(request.url))  # type: ignore[attr-defined]
    redirecting.app.route("/loop/", "loop", func=lambda request: Response("", 302, {"Location": "?"}))  # type: ignore[attr-defined]
    with pytest.raises(RedirectRefused, match="more than 20"):
        redirecting.get("/loop/")
    assert len(asked) == 21


def test_explicit_cookies_are_for_one_request(redirecting: TestClient) -> None:
    response = redirecting.get("/to/302/?url=/a", headers={"Cookie": "own=1"})
    assert response.history[0].request.headers["Cookie"] == "own=1"
    assert response.json["headers"]["Cookie"] == "seen=yes"


# --- Arguments --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options, error, message",
    [
        ({"base_url": "http://localhost/app"}, ValueError, "a scheme and a host"),
        ({"base_url": "http://user:password@localhost"}, ValueError, "a scheme and a host"),
        ({"base_url": "localhost"}, ValueError, "begins with http"),
        ({"base_url": 1}, TypeError, "str"),
        ({"timeout": "1"}, TypeError, "timeout"),
        ({"timeout": -1}, ValueError, "timeout"),
        ({"headers": 1}, TypeError, "headers"),
        ({"headers": {"A": "\r\n"}}, ValueError, "control"),
        ({"cookie_sekret": "x"}, TypeError, "'cookie_sekret' is no option"),
        ({"cookie_secret": 1}, TypeError, "secret"),
        ({"engine": None}, TypeError, "engine of its own"),
        ({"ssl_options": {}}, TypeError, "no TLS"),
        ({"max_request": -1}, ValueError, "max_request"),
    ],
)
def test_bad_arguments_of_a_client(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Application().test_client(**options)


def test_an_application_that_is_none() -> None:
    with pytest.raises(TypeError, match="called with each request"):
        TestClient("app")  # type: ignore[arg-type]

    async def handler(request: HTTPRequest) -> None: ...

    with pytest.raises(TypeError, match="async"):
        TestClient(handler)


@pytest.mark.parametrize(
    "options, error, message",
    [
        ({"path": "a"}, ValueError, "begins with a slash"),
        ({"path": ""}, ValueError, "begins with a slash"),
        ({"path": "ftp://a/"}, ValueError, "begins with http"),
        ({"path": "/\n"}, ValueError, "control"),
        ({"path": b"/"}, TypeError, "str"),
        ({"method": "A B"}, ValueError, "token"),
        ({"method": 1}, TypeError, "method"),
        ({"query": 1}, TypeError, "params"),
        ({"headers": {"A": 1.5}}, TypeError, "str"),
        ({"headers": {"Content-Length": "1"}}, ValueError, "Content-Length"),
        ({"headers": "A: b"}, TypeError, "dict"),
        ({"content_type": "a\nb"}, ValueError, "control"),
        ({"auth": "user"}, TypeError, "a user and a password"),
        ({"auth": ("a:b", "c")}, ValueError, "colon"),
        ({"data": 1}, TypeError, "data"),
        ({"data": {"a": object()}}, TypeError, "field"),
        ({"data": {"a": (1, 2, 3, 4)}}, TypeError, "tuple"),
        ({"data": {"a": ("x",)}}, TypeError, "tuple"),
        ({"data": {"a": object()}, "content_type": "multipart/form-data"}, TypeError, "field"),
        ({"data": "a", "json": {}}, ValueError, "not of both"),
        ({"json": object()}, TypeError, "JSON"),
        ({"timeout": "1"}, TypeError, "timeout"),
        ({"timeout": -1}, ValueError, "timeout"),
    ],
)
def test_bad_arguments_of_a_request(options: dict[str, Any], error: type[Exception], message: str) -> None:
    asked = []
    client = TestClient(lambda request: asked.append(request))
    with pytest.raises(error, match=message):
        client.request(**{"method": "POST", "path": "/", **options})
    assert not asked


def test_nothing_that_pytest_collects() -> None:
    for name in pants.web.testing.__all__:
        assert getattr(pants.web.testing, name).__test__ is False


# --- Ends -------------------------------------------------------------------------------------------------------------


def test_the_client_in_a_block(app: Application) -> None:
    with app.test_client() as client:
        assert client.get("/").status_code == 200
        assert repr(client) == f"<TestClient http://localhost, {app!r}>"
    assert client.engine.closed
    assert repr(client) == f"<TestClient closed, {app!r}>"
    client.close()
    for call in (lambda: client.get("/"), lambda: client.websocket("/"), lambda: client.advance(1)):
        with pytest.raises(RuntimeError, match="is closed"):
            call()


def test_an_exception_in_a_block_is_not_covered(app: Application) -> None:
    with pytest.raises(ZeroDivisionError), app.test_client():
        raise ZeroDivisionError


def count_descriptors() -> int:
    return len(os.listdir("/dev/fd"))


def test_a_client_that_is_dropped_leaves_nothing_behind(app: Application) -> None:
    gc.collect()
    before = count_descriptors()
    clients = [app.test_client() for _ in range(3)]
    for client in clients:
        client.get("/")
        client.get("/", stream=True)
    assert count_descriptors() > before
    del client, clients
    gc.collect()
    assert count_descriptors() == before


def test_the_global_engine_is_left_alone(app: Application) -> None:
    seen: list[Engine] = []
    app.request_started(lambda request: seen.append(request.connection.engine))
    with app.test_client() as client:
        client.get("/")
        assert seen == [client.engine]
        assert Engine._instance is None


def test_connections_do_not_pile_up(client: TestClient) -> None:
    for _ in range(50):
        client.get("/")
    assert not client._server.channels
    assert not client.engine._memory.sockets
    assert client.engine.time_to_timer() is None


def test_an_application_cannot_ask_the_client_that_runs_it() -> None:
    app = Application()
    client = app.test_client()
    app.route("/", "page", func=lambda request: client.get("/other").text)
    with pytest.raises(RuntimeError, match="take another"):
        client.get("/")


def test_an_application_may_ask_another_client() -> None:
    app = Application()
    app.route("/", "page", func=lambda request: app.test_client().get("/other").text)
    app.route("/other", "other", func=lambda request: "spam")
    assert app.test_client().get("/").text == "spam"


def test_views_of_a_request_in_history_are_plain_objects(client: TestClient) -> None:
    assert isinstance(client.get("/").request, TestRequest)
