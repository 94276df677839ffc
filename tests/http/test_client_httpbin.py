"""The HTTP client against httpbin: methods, content, redirects, cookies, authentication, codings, status codes."""

from __future__ import annotations

import base64
import http
import io
import json
import random
from collections.abc import Iterator
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
import requests

import pants
from pants.http import Exchange, HTTPClient
from pants.http.auth import AuthBase, BasicAuth, DigestAuth
from pants.http.client import HTTPRequest, HTTPResponse, RedirectRefused, RequestTimedOut
from tests.http.httpbin_support import httpbin
from tests.http.peers_support import DEADLINE

METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "TRACE"]
WITH_CONTENT = ["POST", "PUT", "PATCH", "DELETE"]


@pytest.fixture(scope="module")
def url() -> str:
    return httpbin()


@pytest.fixture
def client() -> Iterator[HTTPClient]:
    client = HTTPClient(proxy=False)
    yield client
    client.close()


def ask(client: HTTPClient, url: str, method: str = "GET", **kwargs: Any) -> HTTPResponse:
    return client.request(method, url, **kwargs).wait(DEADLINE)


def answer(client: HTTPClient, url: str, method: str = "GET", **kwargs: Any) -> Any:
    response = ask(client, url, method, **kwargs)
    assert response.status_code == 200
    return response.json()


def by_requests(url: str, method: str = "GET", **kwargs: Any) -> requests.Response:
    with requests.Session() as session:
        session.trust_env = False
        return session.request(method, url, timeout=DEADLINE, **kwargs)


# --- Methods ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_each_method(client: HTTPClient, url: str, method: str) -> None:
    """Manual: "there are simple methods for making requests with the different HTTP methods"."""
    response = getattr(client, method.lower())(f"{url}/anything").wait(DEADLINE)
    assert response.status == "200 OK"
    assert response.json()["method"] == method
    assert response.request.method == method


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
def test_each_method_has_a_page_of_its_own(client: HTTPClient, url: str, method: str) -> None:
    assert ask(client, f"{url}/{method.lower()}", method).status_code == 200
    other = "POST" if method == "GET" else "GET"
    refused = ask(client, f"{url}/{method.lower()}", other)
    assert refused.status == "405 METHOD NOT ALLOWED"
    assert method in refused.headers["allow"]


def test_head(client: HTTPClient, url: str) -> None:
    """RFC 9110 §9.3.2: the fields of GET, and no content."""
    response = client.head(f"{url}/bytes/100").wait(DEADLINE)
    assert response.status_code == 200
    assert response.headers["Content-Length"] == "100"
    assert (response.content, response.text, response.file, response.length) == (None, None, None, 0)


def test_head_has_params(client: HTTPClient, url: str) -> None:
    response = client.head(f"{url}/response-headers", {"X-Asked": "1"}).wait(DEADLINE)
    assert response.headers["x-asked"] == "1"


def test_options(client: HTTPClient, url: str) -> None:
    response = client.options(f"{url}/get").wait(DEADLINE)
    assert response.status_code == 200
    assert {"GET", "HEAD", "OPTIONS"} <= set(response.headers["Allow"].split(", "))
    assert response.content is None


def test_a_method_that_the_server_does_not_know(client: HTTPClient, url: str) -> None:
    assert ask(client, f"{url}/anything", "MKCOL").status_code == 405


def test_one_connection_for_many(client: HTTPClient, url: str) -> None:
    """RFC 9112 §9.3: what is kept alive is used again. Nothing of one answer gets into another."""
    for number in range(20):
        assert answer(client, f"{url}/anything", params={"number": number})["args"] == {"number": str(number)}
        assert ask(client, f"{url}/status/404", "HEAD").status_code == 404


def test_many_at_once(client: HTTPClient, url: str) -> None:
    exchanges = [client.get(f"{url}/anything/{number}") for number in range(50)]
    assert [one.wait(DEADLINE).json()["url"] for one in exchanges] == [f"{url}/anything/{n}" for n in range(50)]


# --- What is asked ----------------------------------------------------------------------------------------------

PARAMS: list[tuple[str, Any, dict[str, Any], str]] = [
    ("dict", {"a": "1", "b": "two words"}, {"a": "1", "b": "two words"}, "a=1&b=two+words"),
    ("lists", {"a": ["1", "2"]}, {"a": ["1", "2"]}, "a=1&a=2"),
    ("pairs", [("a", "1"), ("b", "2"), ("a", "3")], {"a": ["1", "3"], "b": "2"}, "a=1&b=2&a=3"),
    ("str", "a=1&b=2", {"a": "1", "b": "2"}, "a=1&b=2"),
    ("numbers", {"a": 1, "b": 2.5}, {"a": "1", "b": "2.5"}, "a=1&b=2.5"),
    ("None", {"a": None, "b": "1"}, {"b": "1"}, "b=1"),
    ("empty", {"a": ""}, {"a": ""}, "a="),
    ("unicode", {"\u00e4": "\u20ac"}, {"\u00e4": "\u20ac"}, "%C3%A4=%E2%82%AC"),
    ("reserved", {"a&b": "c=d#e?f/g+h%20"}, {"a&b": "c=d#e?f/g+h%20"}, "a%26b=c%3Dd%23e%3Ff%2Fg%2Bh%2520"),
    ("nothing", {}, {}, ""),
]


@pytest.mark.parametrize("params, args, query", [row[1:] for row in PARAMS], ids=[row[0] for row in PARAMS])
def test_params(client: HTTPClient, url: str, params: Any, args: dict[str, Any], query: str) -> None:
    """Manual: "With that, you could eventually take your response and get the correct URL"."""
    response = client.get(f"{url}/get", params=params).wait(DEADLINE)
    assert response.json()["args"] == args
    assert response.url == (f"{url}/get?{query}" if query else f"{url}/get")
    theirs = by_requests(f"{url}/get", params=params)
    assert theirs.json()["args"] == args
    assert response.url == theirs.url


def test_params_are_added_to_those_of_the_url(client: HTTPClient, url: str) -> None:
    response = client.get(f"{url}/get?a=1#there", {"b": "2"}).wait(DEADLINE)
    assert response.json()["args"] == {"a": "1", "b": "2"}
    assert response.url == f"{url}/get?a=1&b=2#there"


@pytest.mark.parametrize("method", WITH_CONTENT)
def test_params_beside_content(client: HTTPClient, url: str, method: str) -> None:
    told = answer(client, f"{url}/anything", method, params={"a": "1"}, data={"b": "2"})
    assert (told["args"], told["form"]) == ({"a": "1"}, {"b": "2"})


def test_a_url_is_made_fit_to_be_sent(client: HTTPClient, url: str) -> None:
    """RFC 3987 §3.1; what is percent-encoded stays as it is."""
    response = client.get(f"{url}/anything/\u00e4 b%20c?q=\u20ac").wait(DEADLINE)
    assert response.url == f"{url}/anything/%C3%A4%20b%20c?q=%E2%82%AC"
    assert response.json()["args"] == {"q": "\u20ac"}
    assert response.url == by_requests(f"{url}/anything/\u00e4 b%20c?q=\u20ac").url


def test_a_fragment_is_not_sent(client: HTTPClient, url: str) -> None:
    response = client.get(f"{url}/anything#part").wait(DEADLINE)
    assert response.json()["url"] == f"{url}/anything"
    assert response.request.path == "/anything"


# --- Headers ----------------------------------------------------------------------------------------------------


def test_the_headers_of_a_plain_request(client: HTTPClient, url: str) -> None:
    told = answer(client, f"{url}/headers")["headers"]
    assert told.pop("Accept-Encoding").startswith("gzip, deflate")
    assert told.pop("User-Agent") == f"Pants/{pants.__version__}"
    assert told == {"Host": urlsplit(url).netloc, "Accept": "*/*"}


def test_headers(client: HTTPClient, url: str) -> None:
    told = answer(client, f"{url}/headers", headers={"X-One": "1", "accept": "text/html", "X-Latin": "\u00e4"})
    assert told["headers"]["X-One"] == "1"
    assert told["headers"]["Accept"] == "text/html"
    assert told["headers"]["X-Latin"] == "\u00e4"


def test_headers_that_come_twice(client: HTTPClient, url: str) -> None:
    """RFC 9110 §5.3: they mean what they mean joined by a comma."""
    told = answer(client, f"{url}/headers", headers=[("X-Two", "1"), ("X-Two", "2")])["headers"]
    assert told["X-Two"].replace(" ", "") == "1,2"


def test_user_agent(client: HTTPClient, url: str) -> None:
    assert answer(client, f"{url}/user-agent") == {"user-agent": f"Pants/{pants.__version__}"}
    assert answer(client, f"{url}/user-agent", headers={"user-agent": "Me/1"}) == {"user-agent": "Me/1"}
    assert answer(client, f"{url}/user-agent", headers={"User-Agent": None}) == {"user-agent": None}
    with client.session(headers={"User-Agent": "Session/1"}):
        assert answer(client, f"{url}/user-agent") == {"user-agent": "Session/1"}
        assert answer(client, f"{url}/user-agent", headers={"user-agent": "Me/1"}) == {"user-agent": "Me/1"}


def test_what_a_session_leaves_out(client: HTTPClient, url: str) -> None:
    """Docstring of Session: "A value of None leaves one of these out", those of the session it is taken from."""
    with client.session(headers={"X-One": "1", "X-Two": "2"}), client.session(headers={"x-one": None}):
        told = answer(client, f"{url}/headers")["headers"]
    assert "X-One" not in told
    assert told["X-Two"] == "2"


def test_a_session_leaves_out_what_the_client_would_send(client: HTTPClient, url: str) -> None:
    """As a request does by a value of None."""
    with client.session(headers={"User-Agent": None}):
        assert answer(client, f"{url}/user-agent") == {"user-agent": None}


def test_keep_alive(client: HTTPClient, url: str) -> None:
    assert "Connection" not in answer(client, f"{url}/headers")["headers"]
    response = client.get(f"{url}/headers", keep_alive=False).wait(DEADLINE)
    assert response.json()["headers"]["Connection"] == "close"
    assert response.request.keep_alive is False
    assert response.headers["Connection"] == "close"


def test_ip(client: HTTPClient, url: str) -> None:
    assert answer(client, f"{url}/ip") == {"origin": "127.0.0.1"}


# --- Content that is sent ---------------------------------------------------------------------------------------

FORM = "application/x-www-form-urlencoded"


@pytest.mark.parametrize(
    "data",
    [
        {"greeting": "Hello"},
        {"a": ["1", "2"], "b": "two words & more"},
        [("a", "1"), ("b", "2"), ("a", "3")],
        {"\u00e4": "\u20ac"},
        {"number": 7},
        {},
    ],
    ids=["dict", "lists", "pairs", "unicode", "number", "empty"],
)
@pytest.mark.parametrize("method", WITH_CONTENT)
def test_forms_as_requests_sends_them(client: HTTPClient, url: str, method: str, data: Any) -> None:
    ours = answer(client, f"{url}/anything", method, data=data)
    theirs = by_requests(f"{url}/anything", method, data=data).json()
    assert ours["form"] == theirs["form"]
    for name in ("Content-Type", "Content-Length"):
        if data:
            assert ours["headers"][name] == theirs["headers"][name]
    assert (ours["data"], ours["files"], ours["json"]) == ("", {}, None)


def test_the_type_of_a_form(client: HTTPClient, url: str) -> None:
    """Manual: "By default, the Content-Type header will be set to ... when you provide data for the request body"."""
    assert answer(client, f"{url}/post", "POST", data="Hello World!")["headers"]["Content-Type"] == FORM
    assert answer(client, f"{url}/post", "POST", data={"greeting": "Hello"})["headers"]["Content-Type"] == FORM


def test_a_str_may_be_a_form(client: HTTPClient, url: str) -> None:
    assert answer(client, f"{url}/post", "POST", data="a=1&b=2")["form"] == {"a": "1", "b": "2"}


def test_the_type_can_be_set(client: HTTPClient, url: str) -> None:
    """Manual: "You can also manually set the header when making your request"."""
    told = client.post(f"{url}/post", "Hello World!", headers={"content-type": "text/plain"}).wait(DEADLINE).json()
    assert told["headers"]["Content-Type"] == "text/plain"
    assert (told["data"], told["form"]) == ("Hello World!", {})


@pytest.mark.parametrize(
    "data, text",
    [
        ("Hello World! \u00e4\u20ac", "Hello World! \u00e4\u20ac"),
        (b"Hello", "Hello"),
        (bytearray(b"Hello"), "Hello"),
        (memoryview(b"Hello"), "Hello"),
        (io.BytesIO(b"Hello"), "Hello"),
        (io.StringIO("Hello \u20ac"), "Hello \u20ac"),
        ([b"He", "llo"], "Hello"),
    ],
    ids=["str", "bytes", "bytearray", "memoryview", "BytesIO", "StringIO", "pieces"],
)
def test_content_as_it_is(client: HTTPClient, url: str, data: Any, text: str) -> None:
    for method in ("POST", "PUT", "PATCH"):
        if hasattr(data, "seek"):
            data.seek(0)
        told = answer(client, f"{url}/anything", method, data=data, headers={"Content-Type": "text/plain"})
        assert told["data"] == text
        assert told["headers"]["Content-Length"] == str(len(text.encode()))


def test_content_from_an_iterator(client: HTTPClient, url: str) -> None:
    """RFC 9112 §7.1: nobody knows its length, so it goes in chunks."""
    pieces = iter([b"one ", b"", "two ", b"x" * 100_000])
    told = answer(client, f"{url}/post", "POST", data=pieces, headers={"Content-Type": "text/plain"})
    assert told["data"] == "one two " + "x" * 100_000


def test_content_from_a_file(client: HTTPClient, url: str, tmp_path: Path) -> None:
    """From where it stands; and it may be closed at once."""
    (tmp_path / "file").write_bytes(b"left out, sent")
    with open(tmp_path / "file", "rb") as file:
        file.seek(10)
        exchange = client.put(f"{url}/put", file, headers={"Content-Type": "text/plain"})
    assert exchange.wait(DEADLINE).json()["data"] == "sent"


def test_binary_content(client: HTTPClient, url: str) -> None:
    content = bytes(range(256)) * 400
    told = answer(client, f"{url}/post", "POST", data=content, headers={"Content-Type": "application/x-test"})
    assert told["data"] == "data:application/octet-stream;base64," + base64.b64encode(content).decode()


@pytest.mark.parametrize("value", [{"a": [1, 2.5, None, "\u20ac"]}, [], "text", 7, False, {}], ids=repr)
def test_json(client: HTTPClient, url: str, value: object) -> None:
    for method in WITH_CONTENT:
        told = answer(client, f"{url}/anything", method, json=value)
        assert told["json"] == value
        assert told["headers"]["Content-Type"] == "application/json"
        theirs = by_requests(f"{url}/anything", method, json=value).json()
        assert (theirs["json"], theirs["headers"]["Content-Type"]) == (value, "application/json")


def test_the_type_of_json_can_be_set(client: HTTPClient, url: str) -> None:
    told = answer(client, f"{url}/post", "POST", json={}, headers={"Content-Type": "application/x+json"})
    assert told["headers"]["Content-Type"] == "application/x+json"


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
def test_no_content(client: HTTPClient, url: str, method: str) -> None:
    """RFC 9110 §8.6: a method for which content is defined says that there is none."""
    told = answer(client, f"{url}/anything", method)
    assert told["headers"]["Content-Length"] == "0"
    assert "Content-Type" not in told["headers"]
    assert "Content-Length" not in answer(client, f"{url}/anything")["headers"]


# --- Files ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["r", "rb"])
@pytest.mark.parametrize("named", [False, True], ids=["plain", "named"])
def test_files(client: HTTPClient, url: str, tmp_path: Path, named: bool, mode: str) -> None:
    """Manual: "a dictionary of form field names and file objects. You can also provide filenames if desired"."""
    (tmp_path / "test.txt").write_text("What is in it: \u00e4", encoding="utf-8")
    with open(tmp_path / "test.txt", mode, encoding=None if mode == "rb" else "utf-8") as file:
        exchange = client.post(f"{url}/post", files={"file": ("test.txt", file) if named else file})
    told = exchange.wait(DEADLINE).json()  # the file may be closed by now
    assert told["files"] == {"file": "What is in it: \u00e4"}
    assert told["headers"]["Content-Type"].startswith("multipart/form-data; boundary=")


@pytest.mark.parametrize(
    "data, files",
    [
        (None, {"one": ("a.txt", b"1"), "two": ("b.bin", b"\xff\0")}),
        ({"field": "value", "list": ["1", "2"]}, {"file": ("a.txt", b"content")}),
        ([("field", "\u00e4"), ("field", "b")], [("file", ("\u00e4 \u20ac.txt", b"content"))]),
        ({"number": 7}, {"file": ("a.json", b"{}", "application/json")}),
        ({"a": "b"}, {"file": ("a", b"c", "text/plain", {"X-Part": "1"})}),
        (None, {"empty": ("a.txt", b"")}),
    ],
    ids=["two", "data", "pairs", "type", "headers", "empty"],
)
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
def test_files_as_requests_sends_them(client: HTTPClient, url: str, method: str, data: Any, files: Any) -> None:
    """Manual: "You can, of course, use data and files together"."""
    ours = answer(client, f"{url}/anything", method, data=data, files=files)
    theirs = by_requests(f"{url}/anything", method, data=data, files=files).json()
    assert (ours["form"], ours["files"]) == (theirs["form"], theirs["files"])
    assert ours["files"]


@pytest.mark.parametrize("data", ["text", b"bytes", io.BytesIO(b"file")], ids=["str", "bytes", "file"])
def test_files_and_a_str(client: HTTPClient, url: str, data: Any) -> None:
    """Manual: "if you do use them together, you'll need to supply data as a dictionary"."""
    with pytest.raises(TypeError, match="dict"):
        client.post(f"{url}/post", data, {"file": b"content"})


def test_files_are_sent_again(client: HTTPClient, url: str, tmp_path: Path) -> None:
    """RFC 9110 §15.4.8: 307 changes neither the method nor the content."""
    (tmp_path / "test.txt").write_bytes(b"twice" * 50_000)
    with open(tmp_path / "test.txt", "rb") as file:
        exchange = client.post(f"{url}/redirect-to?status_code=307&url=/anything", {"field": "value"}, {"file": file})
        told = exchange.wait(DEADLINE).json()
    assert told["method"] == "POST"
    assert (told["form"], told["files"]) == ({"field": "value"}, {"file": "twice" * 50_000})


# --- Redirects --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["redirect", "relative-redirect", "absolute-redirect"])
@pytest.mark.parametrize("count", [1, 2, 10])
def test_redirects(client: HTTPClient, url: str, path: str, count: int) -> None:
    """Manual: "The HTTP client will follow redirects automatically. ... By default, Pants will follow up to 10"."""
    response = client.get(f"{url}/{path}/{count}").wait(DEADLINE)
    assert response.status_code == 200
    assert response.url == f"{url}/get"
    assert [one.status_code for one in response.history] == [302] * count
    assert all(isinstance(one, HTTPResponse) for one in response.history)
    assert response.history[0].url == f"{url}/{path}/{count}"
    assert [len(one.history) for one in response.history] == list(range(count))
    theirs = by_requests(f"{url}/{path}/{count}")
    assert [one.url for one in response.history] == [one.url for one in theirs.history]
    assert response.url == theirs.url


def test_the_eleventh_redirect_is_not_followed(client: HTTPClient, url: str) -> None:
    response = client.get(f"{url}/relative-redirect/11").wait(DEADLINE)
    assert response.status_code == 302
    assert response.url == f"{url}/relative-redirect/1"
    assert len(response.history) == 10


@pytest.mark.parametrize("most", [0, 1, 2, 3, 4])
def test_max_redirects(client: HTTPClient, url: str, most: int) -> None:
    """Manual: "You can limit the number of times the HTTP client will automatically follow redirects"."""
    response = client.get(f"{url}/relative-redirect/3", max_redirects=most).wait(DEADLINE)
    assert len(response.history) == min(most, 3)
    assert response.status_code == (302 if most < 3 else 200)
    assert response.request.max_redirects == max(0, most - 3)
    if most < 3:
        assert response.headers["Location"] == (f"/relative-redirect/{2 - most}" if most < 2 else "/get")


def test_max_redirects_of_a_session(client: HTTPClient, url: str) -> None:
    with client.session(max_redirects=0):
        assert client.get(f"{url}/redirect/1").wait(DEADLINE).status_code == 302
        assert client.get(f"{url}/redirect/1", max_redirects=1).wait(DEADLINE).status_code == 200
    assert client.get(f"{url}/redirect/1").wait(DEADLINE).status_code == 200


# RFC 9110 §15.4: what becomes of a method, and whether the content goes along.
BECOMES = {
    301: {"POST": "GET"},
    302: {"POST": "GET"},
    303: {"POST": "GET", "PUT": "GET", "PATCH": "GET", "DELETE": "GET"},
    307: {},
    308: {},
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("code", BECOMES)
def test_methods_in_redirects(client: HTTPClient, url: str, code: int, method: str) -> None:
    given: dict[str, Any] = {"data": {"a": "1"}} if method in WITH_CONTENT else {}
    place = f"{url}/redirect-to?status_code={code}&url=/anything/there"
    response = ask(client, place, method, headers={"X-Kept": "1"}, **given)
    told = response.json()
    assert [one.status_code for one in response.history] == [code]
    becomes = BECOMES[code].get(method, "GET" if code == 303 else method)
    assert told["method"] == becomes
    assert response.request.method == becomes
    assert response.history[0].request.method == method
    assert told["headers"]["X-Kept"] == "1"
    if becomes == method and given:
        assert told["form"] == {"a": "1"}
    else:
        assert told["form"] == {}
        assert not {"Content-Type", "Transfer-Encoding"} & set(told["headers"])
        assert told["headers"].get("Content-Length", "0") == "0"


@pytest.mark.parametrize("code", BECOMES)
def test_head_stays_head(client: HTTPClient, url: str, code: int) -> None:
    """RFC 9110 §15.4.4: even where 303 says "see other"."""
    response = client.head(f"{url}/redirect-to?status_code={code}&url=/get").wait(DEADLINE)
    assert (response.status_code, response.request.method, response.url) == (200, "HEAD", f"{url}/get")
    assert [one.status_code for one in response.history] == [code]


@pytest.mark.parametrize("code", BECOMES)
def test_posts_are_redirected_as_by_requests(client: HTTPClient, url: str, code: int) -> None:
    place = f"{url}/redirect-to?status_code={code}&url=/anything"
    ours = answer(client, place, "POST", data={"a": "1"})
    theirs = by_requests(place, "POST", data={"a": "1"}).json()
    assert (ours["method"], ours["form"]) == (theirs["method"], theirs["form"])


@pytest.mark.parametrize("code", [300, 305, 306])
def test_codes_that_are_not_followed(client: HTTPClient, url: str, code: int) -> None:
    """RFC 9110 §15.4.1, §15.4.6, §15.4.7: 300 offers a choice; the others are not used any more."""
    response = client.get(f"{url}/redirect-to?status_code={code}&url=/get").wait(DEADLINE)
    assert (response.status_code, response.history) == (code, [])


@pytest.mark.parametrize(
    "location, ends",
    [
        ("{url}/anything/absolute", "/anything/absolute"),
        ("//{netloc}/anything/network", "/anything/network"),
        ("/anything/path", "/anything/path"),
        ("anything/relative", "/anything/relative"),
        ("./anything/./a/../b", "/anything/b"),
        ("/anything?a=1&b=%20", "/anything?a=1&b=%20"),
        ("/anything/with space", "/anything/with%20space"),
        ("/anything/\u00e4", "/anything/%C3%A4"),
        ("/anything#new", "/anything#new"),
    ],
)
def test_locations(client: HTTPClient, url: str, location: str, ends: str) -> None:
    """RFC 9110 §10.2.2: a reference, relative to the URL that was asked for (RFC 3986 §5)."""
    location = location.format(url=url, netloc=urlsplit(url).netloc)
    response = client.get(f"{url}/redirect-to", {"url": location}).wait(DEADLINE)
    assert response.url == url + ends
    assert response.status_code == 200


def test_fragments(client: HTTPClient, url: str) -> None:
    """RFC 9110 §10.2.2: the fragment that was asked for is inherited, unless the Location has one of its own."""
    assert client.get(f"{url}/redirect/2#old").wait(DEADLINE).url == f"{url}/get#old"
    assert client.get(f"{url}/redirect-to?url=/get%23new#old").wait(DEADLINE).url == f"{url}/get#new"


@pytest.mark.parametrize("location", ["ftp://127.0.0.1/", "file:///etc/passwd", "mailto:a@b.example", "http://:80/"])
def test_redirects_to_what_is_not_http(client: HTTPClient, url: str, location: str) -> None:
    exchange = client.get(f"{url}/redirect-to", {"url": location})
    with pytest.raises(RedirectRefused):
        exchange.wait(DEADLINE)
    assert isinstance(exchange.error, RedirectRefused)


def test_a_redirect_with_content_from_an_iterator(client: HTTPClient, url: str) -> None:
    place = f"{url}/redirect-to?status_code=307&url=/post"
    with pytest.raises(RedirectRefused):
        client.post(place, iter([b"once"])).wait(DEADLINE)
    told = client.post(place, [b"more ", b"than once"], headers={"Content-Type": "text/plain"}).wait(DEADLINE).json()
    assert told["data"] == "more than once"


def test_secrets_stay_within_their_origin(client: HTTPClient, url: str) -> None:
    """RFC 9110 §15.4: credentials and cookies are not for the server that one is redirected to."""
    elsewhere = url.replace("127.0.0.1", "localhost")
    secrets: dict[str, Any] = {
        "auth": ("user", "password"),
        "cookies": {"secret": "1"},
        "headers": {"X-Secret": "1", "Accept": "text/x-test"},
    }
    told = answer(client, f"{url}/redirect-to", params={"url": f"{elsewhere}/anything"}, **secrets)
    assert not {"Authorization", "Cookie", "X-Secret"} & set(told["headers"])
    assert told["headers"]["Accept"] == "text/x-test"
    assert told["headers"]["Host"] == urlsplit(elsewhere).netloc
    told = answer(client, f"{url}/redirect-to", params={"url": f"{url}/anything"}, **secrets)
    assert {"Authorization", "Cookie", "X-Secret"} <= set(told["headers"])


# --- Cookies ----------------------------------------------------------------------------------------------------


def cookies_sent(client: HTTPClient, url: str, **kwargs: Any) -> Any:
    return answer(client, f"{url}/cookies", **kwargs)["cookies"]


def test_cookies_of_a_request(client: HTTPClient, url: str) -> None:
    """Manual: ``client.get("http://httpbin.org/cookies", cookies={"cake": "lie"})``."""
    response = client.get(f"{url}/cookies", cookies={"cake": "lie"}).wait(DEADLINE)
    assert response.json() == {"cookies": {"cake": "lie"}}
    assert response.request.cookies["cake"].value == "lie"
    assert cookies_sent(client, url) == {}
    assert cookies_sent(client, url, cookies={"a": "1", "b": "2"}) == {"a": "1", "b": "2"}


def test_a_jar_for_a_request(client: HTTPClient, url: str) -> None:
    """Manual, "Session.request": "A dictionary or CookieJar of cookies to send with the request"."""
    jar = CookieJar()
    with client.session(cookies=jar):
        client.get(f"{url}/cookies/set?kept=1").wait(DEADLINE)
    assert [cookie.name for cookie in jar] == ["kept"]
    assert cookies_sent(client, url) == {}
    assert cookies_sent(client, url, cookies=jar) == {"kept": "1"}


def test_cookies_are_kept(client: HTTPClient, url: str) -> None:
    """Manual: "sessions with persistent cookies"."""
    response = client.get(f"{url}/cookies/set/cake/lie").wait(DEADLINE)
    assert response.json() == {"cookies": {"cake": "lie"}}
    (first,) = response.history
    assert first.cookies["cake"].value == "lie"
    assert first.cookies["cake"]["path"] == "/"
    assert client.get(f"{url}/cookies/set", {"pie": "yummy"}).wait(DEADLINE).status_code == 200
    assert cookies_sent(client, url) == {"cake": "lie", "pie": "yummy"}
    assert cookies_sent(client, url, cookies={"cake": "true"}) == {"cake": "true", "pie": "yummy"}
    assert cookies_sent(client, url) == {"cake": "lie", "pie": "yummy"}


def test_cookies_are_deleted(client: HTTPClient, url: str) -> None:
    client.get(f"{url}/cookies/set?a=1&b=2").wait(DEADLINE)
    response = client.get(f"{url}/cookies/delete?a").wait(DEADLINE)
    assert response.json() == {"cookies": {"b": "2"}}
    assert response.history[0].cookies["a"]["max-age"] == "0"
    assert cookies_sent(client, url) == {"b": "2"}


def test_cookies_per_session(client: HTTPClient, url: str) -> None:
    """A session to which cookies are given has a jar of its own; another one shares that of the one around it."""
    client.get(f"{url}/cookies/set?outer=1").wait(DEADLINE)
    with client.session(cookies={"pie": "yummy"}) as session:
        assert cookies_sent(client, url) == {"pie": "yummy"}
        client.get(f"{url}/cookies/set?inner=1").wait(DEADLINE)
        assert cookies_sent(client, url) == {"pie": "yummy", "inner": "1"}
        with client.session(headers={"X-One": "1"}):
            client.get(f"{url}/cookies/set?innermost=1").wait(DEADLINE)
        with client.session(cookies={}):
            assert cookies_sent(client, url) == {}
        assert cookies_sent(client, url) == {"pie": "yummy", "inner": "1", "innermost": "1"}
    assert cookies_sent(client, url) == {"outer": "1"}
    response = session.get(f"{url}/cookies").wait(DEADLINE)
    assert response.json()["cookies"] == {"pie": "yummy", "inner": "1", "innermost": "1"}
    assert {cookie.name for cookie in session.cookies} == {"inner", "innermost"}


def test_two_sessions_side_by_side(client: HTTPClient, url: str) -> None:
    one, two = client.session(cookies={}), client.session(cookies={})
    setting = [one.get(f"{url}/cookies/set?who=one"), two.get(f"{url}/cookies/set?who=two")]
    assert [exchange.wait(DEADLINE).json()["cookies"] for exchange in setting] == [{"who": "one"}, {"who": "two"}]


def test_cookies_that_are_set_by_a_final_response(client: HTTPClient, url: str) -> None:
    """They are sent from then on; the request that they came for had none."""
    response = client.get(f"{url}/response-headers", {"Set-Cookie": "a=1; Path=/"}).wait(DEADLINE)
    assert response.cookies["a"].value == "1"
    assert cookies_sent(client, url) == {"a": "1"}
    assert list(response.request.cookies) == []
    assert "Cookie" not in response.request.headers


def test_cookies_of_other_paths_and_domains(client: HTTPClient, url: str) -> None:
    """RFC 6265 §5.1.3, §5.1.4, §5.3."""
    for cookie in ("path=1; Path=/anything", "domain=1; Domain=example.com", "secure=1; Secure; Path=/",
                   "gone=1; Path=/; Max-Age=0", "kept=1; Path=/; Max-Age=1000"):  # fmt: skip
        client.get(f"{url}/response-headers", {"Set-Cookie": cookie}).wait(DEADLINE)
    assert cookies_sent(client, url) == {"kept": "1"}
    sent = answer(client, f"{url}/anything/below")["headers"]["Cookie"]
    assert set(sent.split("; ")) == {"path=1", "kept=1"}


# --- Authentication ---------------------------------------------------------------------------------------------


class Bearer(AuthBase):
    def __init__(self, token: str) -> None:
        self.token = token

    def __call__(self, request: HTTPRequest) -> None:
        request.headers["Authorization"] = f"Bearer {self.token}"


@pytest.mark.parametrize("path", ["basic-auth", "hidden-basic-auth"])
def test_basic(client: HTTPClient, url: str, path: str) -> None:
    place = f"{url}/{path}/user/pass"
    for auth in (("user", "pass"), BasicAuth("user", "pass")):
        response = client.get(place, auth=auth).wait(DEADLINE)
        assert response.json() == {"authenticated": True, "user": "user"}
        assert response.history == []
    refused = client.get(place, auth=("user", "wrong")).wait(DEADLINE)
    assert refused.status_code == (401 if path == "basic-auth" else 404)
    assert refused.history == []
    assert client.get(place).wait(DEADLINE).status_code == refused.status_code


def test_basic_by_the_url(client: HTTPClient, url: str) -> None:
    response = client.get(f"{url}/basic-auth/user/p%40ss".replace("//", "//user:p%40ss@")).wait(DEADLINE)
    assert response.json() == {"authenticated": True, "user": "user"}
    assert "p%40ss@" not in response.url


def test_basic_of_a_session(client: HTTPClient, url: str) -> None:
    with client.session(auth=("user", "pass")):
        assert client.get(f"{url}/basic-auth/user/pass").wait(DEADLINE).status_code == 200
        assert client.get(f"{url}/basic-auth/user/pass", auth=("user", "x")).wait(DEADLINE).status_code == 401
    assert client.get(f"{url}/basic-auth/user/pass").wait(DEADLINE).status_code == 401


def test_basic_with_other_letters(client: HTTPClient, url: str) -> None:
    """RFC 7617 §2.1."""
    user, password = "\u00fcser", "p\u00e4\u20acss"
    place = f"{url}/basic-auth/{quote(user)}/{quote(password)}"
    assert client.get(place, auth=(user, password)).wait(DEADLINE).status_code == 200


def test_basic_is_what_requests_sends(client: HTTPClient, url: str) -> None:
    ours = answer(client, f"{url}/headers", auth=("user", "pass:word"))
    theirs = by_requests(f"{url}/headers", auth=("user", "pass:word")).json()
    assert ours["headers"]["Authorization"] == theirs["headers"]["Authorization"]


def test_an_authorization_of_ones_own(client: HTTPClient, url: str) -> None:
    response = client.get(f"{url}/bearer", auth=Bearer("token")).wait(DEADLINE)
    assert response.json() == {"authenticated": True, "token": "token"}
    with client.session(auth=Bearer("other")):
        assert answer(client, f"{url}/bearer")["token"] == "other"
    assert client.get(f"{url}/bearer").wait(DEADLINE).status_code == 401
    assert client.get(f"{url}/bearer", headers={"Authorization": "Bearer a"}).wait(DEADLINE).status_code == 200


def test_an_authorization_that_learns(client: HTTPClient, url: str) -> None:
    """Docstring of AuthBase: handle_401 says whether the request is to be sent again, authorized better."""

    class Learning(Bearer):
        def __call__(self, request: HTTPRequest) -> None:
            if self.token:
                super().__call__(request)

        def handle_401(self, response: HTTPResponse) -> bool:
            assert response.headers["WWW-Authenticate"] == "Bearer"
            self.token = "learnt"
            return len(response.history) < 1

    response = client.get(f"{url}/bearer", auth=Learning("")).wait(DEADLINE)
    assert response.json() == {"authenticated": True, "token": "learnt"}
    assert [one.status_code for one in response.history] == [401]


@pytest.mark.parametrize("algorithm", ["MD5", "SHA-256"])
@pytest.mark.parametrize("quality", ["auth", "auth-int", "none"])
def test_digest(client: HTTPClient, url: str, quality: str, algorithm: str) -> None:
    """RFC 7616. One challenge is enough for several requests; a wrong password is not tried for ever."""
    place = f"{url}/digest-auth/{quality}/user/pass/{algorithm}"
    auth = DigestAuth("user", "pass")
    response = client.get(place, auth=auth).wait(DEADLINE)
    assert response.json() == {"authenticated": True, "user": "user"}
    assert [one.status_code for one in response.history] == [401]
    for _ in range(3):
        response = client.get(place, auth=auth).wait(DEADLINE)
        assert (response.status_code, response.history) == (200, [])
    refused = client.get(place, auth=DigestAuth("user", "wrong")).wait(DEADLINE)
    assert refused.status_code == 401
    assert 1 <= len(refused.history) <= 2


@pytest.mark.parametrize("algorithm", ["MD5", "SHA-256"])
def test_digest_by_a_tuple(client: HTTPClient, url: str, algorithm: str) -> None:
    place = f"{url}/digest-auth/auth/user/pass/{algorithm}"
    with client.session(auth=("user", "pass")):
        for _ in range(2):
            assert answer(client, place) == {"authenticated": True, "user": "user"}
    assert client.get(place, auth=("user", "wrong")).wait(DEADLINE).status_code == 401


def test_digest_by_an_algorithm_that_is_not_in_the_rfc(client: HTTPClient, url: str) -> None:
    """httpbin calls it SHA-512; RFC 7616 §3.2 knows SHA-512-256, which is another one."""
    response = client.get(f"{url}/digest-auth/auth/user/pass/SHA-512", auth=DigestAuth("user", "pass")).wait(DEADLINE)
    assert (response.status_code, response.history) == (401, [])


@pytest.mark.parametrize("after", [1, 2])
def test_digest_with_nonces_that_become_stale(client: HTTPClient, url: str, after: int) -> None:
    """RFC 7616 §3.3: a stale nonce asks for another try with the new one, and for no other password."""
    auth = DigestAuth("user", "pass")
    place = f"{url}/digest-auth/auth/user/pass/MD5/{after}"
    with client.session(cookies={}, auth=auth):
        assert client.get(place).wait(DEADLINE).status_code == 200
        for _ in range(3):
            for _ in range(after - 1):
                response = client.get(place).wait(DEADLINE)
                assert (response.status_code, response.history) == (200, [])
            response = client.get(place).wait(DEADLINE)
            assert response.status_code == 200
            (refused,) = response.history
            assert "stale=True" in refused.headers["WWW-Authenticate"]


def test_digest_with_a_server_that_calls_every_nonce_stale(client: HTTPClient, url: str) -> None:
    """It is not asked for ever."""
    with client.session(cookies={}, auth=DigestAuth("user", "pass")):
        response = client.get(f"{url}/digest-auth/auth/user/pass/MD5/0").wait(DEADLINE)
    assert response.status_code == 401
    assert 1 <= len(response.history) <= 3


# --- Codings and charsets ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("path, told", [("gzip", "gzipped"), ("deflate", "deflated"), ("brotli", "brotli")])
def test_codings(client: HTTPClient, url: str, path: str, told: str) -> None:
    """Manual: "automatic decompression of responses"."""
    response = client.get(f"{url}/{path}").wait(DEADLINE)
    assert response.json()[told] is True
    assert response.headers["Content-Encoding"] == {"brotli": "br"}.get(path, path)
    assert response.length == int(response.headers["Content-Length"])
    assert response.content is not None
    assert response.content.startswith(b"{")
    assert client.head(f"{url}/{path}").wait(DEADLINE).content is None


def test_a_coding_that_lies(client: HTTPClient, url: str) -> None:
    """Content that is not in the coding it names cannot be read."""
    with pytest.raises(pants.http.client.MalformedResponse):
        client.get(f"{url}/response-headers", {"Content-Encoding": "gzip"}).wait(DEADLINE)


def test_utf8(client: HTTPClient, url: str) -> None:
    response = client.get(f"{url}/encoding/utf8").wait(DEADLINE)
    theirs = by_requests(f"{url}/encoding/utf8")
    assert response.encoding == "utf-8"
    assert response.text == theirs.text
    assert "\u222e" in theirs.text
    assert "".join(response.iter_content(7, decode_unicode=True)) == theirs.text
    assert list(response.iter_lines(decode_unicode=True)) == theirs.text.splitlines()


@pytest.mark.parametrize("path", ["html", "robots.txt", "deny", "xml", "json", "encoding/utf8", "forms/post"])
def test_pages_as_requests_has_them(client: HTTPClient, url: str, path: str) -> None:
    ours, theirs = client.get(f"{url}/{path}").wait(DEADLINE), by_requests(f"{url}/{path}")
    assert ours.content == theirs.content
    assert (ours.status_code, ours.status_text) == (theirs.status_code, theirs.reason)
    unsteady = {"Date"}
    assert {name: value for name, value in ours.headers.items() if name not in unsteady} == {
        name: value for name, value in theirs.headers.items() if name not in unsteady | {"Connection"}
    }
    assert b"".join(ours.iter_content(100)) == b"".join(theirs.iter_content(100))
    assert list(ours.iter_lines()) == list(theirs.iter_lines())


# --- Content that is received -----------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 1024, 102_400])
def test_bytes(client: HTTPClient, url: str, size: int) -> None:
    response = client.get(f"{url}/bytes/{size}?seed=1").wait(DEADLINE)
    theirs = by_requests(f"{url}/bytes/{size}?seed=1").content
    assert (response.content or b"") == theirs
    assert response.length == len(theirs) == size
    assert response.encoding is None


@pytest.mark.parametrize("size, chunk", [(1, 1), (1000, 1), (100_000, 777), (50_000, 50_000)])
def test_stream_bytes(client: HTTPClient, url: str, size: int, chunk: int) -> None:
    """Chunks (RFC 9112 §7.1): their borders are nobody's business."""
    place = f"{url}/stream-bytes/{size}?seed=7&chunk_size={chunk}"
    response = client.get(place).wait(DEADLINE)
    assert response.headers["Transfer-Encoding"] == "chunked"
    assert response.content == by_requests(place).content
    assert response.length == size


def test_stream(client: HTTPClient, url: str) -> None:
    response = client.get(f"{url}/stream/50?a=1").wait(DEADLINE)
    lines = [json.loads(line) for line in response.iter_lines()]
    assert [line["id"] for line in lines] == list(range(50))
    assert all(line["args"] == {"a": "1"} for line in lines)


@pytest.mark.parametrize(
    "value, first, last",
    [(None, 0, 999), ("bytes=0-9", 0, 9), ("bytes=10-19", 10, 19), ("bytes=990-", 990, 999), ("bytes=-10", 990, 999)],
)
def test_range(client: HTTPClient, url: str, value: str | None, first: int, last: int) -> None:
    """RFC 9110 §14."""
    response = client.get(f"{url}/range/1000", headers={"Range": value}).wait(DEADLINE)
    everything = bytes(97 + number % 26 for number in range(1000))
    assert response.content == everything[first : last + 1]
    assert response.status_code == (200 if value is None else 206)
    assert response.headers["ETag"] == "range1000"
    if value is not None:
        assert response.headers["Content-Range"] == f"bytes {first}-{last}/1000"


def test_a_range_that_is_not_there(client: HTTPClient, url: str) -> None:
    response = client.get(f"{url}/range/10", headers={"Range": "bytes=20-"}).wait(DEADLINE)
    assert response.status_code == 416
    assert response.headers["Content-Range"] == "bytes */10"


@pytest.mark.parametrize("kind, magic", [("png", b"\x89PNG"), ("jpeg", b"\xff\xd8"), ("webp", b"RIFF"), ("svg", b"<")])
def test_images(client: HTTPClient, url: str, kind: str, magic: bytes) -> None:
    content_type = f"image/{kind}" + "+xml" * (kind == "svg")
    response = client.get(f"{url}/image/{kind}").wait(DEADLINE)
    assert response.headers["Content-Type"].startswith(content_type)
    assert response.content is not None
    assert response.content.startswith(magic)
    assert response.content == by_requests(f"{url}/image/{kind}").content
    chosen = client.get(f"{url}/image", headers={"Accept": content_type}).wait(DEADLINE)
    assert chosen.content == response.content


def test_links(client: HTTPClient, url: str) -> None:
    response = client.get(f"{url}/links/5").wait(DEADLINE)
    assert response.url == f"{url}/links/5/0"
    assert response.text is not None
    assert response.text.count("<a href=") == 4
    assert client.get(f"{url}/links/5/3").wait(DEADLINE).text == by_requests(f"{url}/links/5/3").text


def test_base64(client: HTTPClient, url: str) -> None:
    text = "Pants \u00e4\u20ac?"
    value = base64.urlsafe_b64encode(text.encode()).decode()
    assert client.get(f"{url}/base64/{value}").wait(DEADLINE).text == text


def test_uuid(client: HTTPClient, url: str) -> None:
    assert answer(client, f"{url}/uuid") != answer(client, f"{url}/uuid")


def test_anything(client: HTTPClient, url: str) -> None:
    ours = answer(client, f"{url}/anything/a/b?c=d", "PUT", data="x", headers={"X-One": "1", "Content-Type": "text/a"})
    theirs = by_requests(
        f"{url}/anything/a/b?c=d", "PUT", data="x", headers={"X-One": "1", "Content-Type": "text/a"}
    ).json()
    for told in (ours, theirs):
        for name in ("Accept-Encoding", "User-Agent", "Connection"):
            told["headers"].pop(name, None)
    assert ours == theirs


# --- Time -------------------------------------------------------------------------------------------------------


def test_delay(client: HTTPClient, url: str) -> None:
    assert client.get(f"{url}/delay/0.2", timeout=DEADLINE).wait(DEADLINE).status_code == 200


def test_delay_beyond_the_timeout(client: HTTPClient, url: str) -> None:
    """Manual, "timeout": "The time to wait, in seconds, of no activity to allow before timing out"."""
    exchange = client.get(f"{url}/delay/3", timeout=0.2)
    assert exchange.request.timeout == 0.2
    with pytest.raises(RequestTimedOut):
        exchange.wait(DEADLINE)
    with client.session(timeout=0.2), pytest.raises(RequestTimedOut):
        client.get(f"{url}/delay/3").wait(DEADLINE)


def test_waiting_may_end_before_the_request(client: HTTPClient, url: str) -> None:
    exchange = client.get(f"{url}/delay/0.5")
    with pytest.raises(TimeoutError):
        exchange.wait(0.01)
    assert not exchange.done
    assert exchange.wait(DEADLINE).status_code == 200


def test_drip(client: HTTPClient, url: str) -> None:
    """Activity is activity: what goes on for longer than the timeout is not timed out."""
    seen: list[tuple[int, int]] = []
    exchange = client.get(
        f"{url}/drip?numbytes=8&duration=1.6&delay=0",
        timeout=1.2,
        on_progress=lambda response, received, total: seen.append((received, total)),
    )
    assert exchange.wait(DEADLINE).content == b"*" * 8
    assert seen[-1] == (8, 8)
    assert len(seen) > 1
    assert seen == sorted(seen)


@pytest.mark.parametrize("code", [200, 404])
def test_drip_with_a_code(client: HTTPClient, url: str, code: int) -> None:
    response = client.get(f"{url}/drip?numbytes=3&duration=0.1&code={code}").wait(DEADLINE)
    assert (response.status_code, response.content) == (code, b"***")


# --- Status codes and headers -----------------------------------------------------------------------------------

# httpbin cannot send 407.
CODES = [int(code) for code in http.HTTPStatus if code >= 200 and code != 407]


@pytest.mark.parametrize("code", [*CODES, 299, 399, 499, 599])
def test_status(client: HTTPClient, url: str, code: int) -> None:
    response = client.get(f"{url}/status/{code}", max_redirects=0).wait(DEADLINE)
    theirs = by_requests(f"{url}/status/{code}", allow_redirects=False)
    assert response.status_code == code
    assert response.status_text == theirs.reason
    assert response.status == f"{code} {theirs.reason}".rstrip()
    assert (response.content or b"") == theirs.content
    assert response.headers.get("Location") == theirs.headers.get("Location")
    assert response.history == []


def test_status_for_each_method(client: HTTPClient, url: str) -> None:
    for method in METHODS:
        for code in (201, 204, 418, 500):
            assert ask(client, f"{url}/status/{code}", method).status_code == code


@pytest.mark.parametrize("code", [301, 302, 303, 307])
def test_status_that_leads_somewhere(client: HTTPClient, url: str, code: int) -> None:
    response = client.get(f"{url}/status/{code}").wait(DEADLINE)
    assert response.url == f"{url}/get"
    assert [one.status_code for one in response.history] == [code, 302]


def test_a_redirect_without_a_location(client: HTTPClient, url: str) -> None:
    assert client.get(f"{url}/status/308").wait(DEADLINE).status_code == 308


@pytest.mark.parametrize("code", [100, 102, 103])
def test_interim_responses_and_no_final_one(client: HTTPClient, url: str, code: int) -> None:
    """RFC 9110 §15.2: another one has to follow. The server closes the connection instead."""
    with pytest.raises(pants.http.client.RequestClosed):
        client.get(f"{url}/status/{code}").wait(DEADLINE)


def test_protocols_are_not_switched_unasked(client: HTTPClient, url: str) -> None:
    """RFC 9110 §15.2.2."""
    with pytest.raises(pants.http.client.HTTPClientException):
        client.get(f"{url}/status/101").wait(DEADLINE)


def test_response_headers(client: HTTPClient, url: str) -> None:
    response = client.get(
        f"{url}/response-headers", [("X-One", "1"), ("x-two", "a, b"), ("X-Three", "1"), ("X-Three", "2")]
    ).wait(DEADLINE)
    assert response.headers["x-one"] == response.headers["X-ONE"] == "1"
    assert response.headers["X-Two"] == "a, b"
    assert response.headers.get_list("X-Three") == ["1", "2"]
    assert "X-Four" not in response.headers
    assert response.headers.get("X-Four") is None
    posted = client.post(f"{url}/response-headers?X-One=2").wait(DEADLINE)
    assert posted.headers["X-One"] == "2"


@pytest.mark.parametrize("value", ["5", "500"])
def test_lengths_that_contradict_each_other(client: HTTPClient, url: str, value: str) -> None:
    """RFC 9112 §6.3: whoever gets two lengths cannot trust either."""
    with pytest.raises(pants.http.client.MalformedResponse):
        client.get(f"{url}/response-headers", {"Content-Length": value}).wait(DEADLINE)


def test_cache(client: HTTPClient, url: str) -> None:
    """RFC 9110 §15.4.5: 304 has no content."""
    first = client.get(f"{url}/cache").wait(DEADLINE)
    assert first.status_code == 200
    headers = {"If-Modified-Since": first.headers["Last-Modified"], "If-None-Match": first.headers["ETag"]}
    for name, value in headers.items():
        second = client.get(f"{url}/cache", headers={name: value}).wait(DEADLINE)
        assert (second.status_code, second.content) == (304, None)
    assert client.get(f"{url}/cache/60").wait(DEADLINE).headers["Cache-Control"] == "public, max-age=60"


@pytest.mark.parametrize(
    "name, value, code",
    [
        ("If-None-Match", "tag", 304),
        ("If-None-Match", '"other"', 200),
        ("If-None-Match", "*", 304),
        ("If-Match", "tag", 200),
        ("If-Match", '"other"', 412),
    ],
)
def test_etag(client: HTTPClient, url: str, name: str, value: str, code: int) -> None:
    response = client.get(f"{url}/etag/tag", headers={name: value}).wait(DEADLINE)
    assert response.status_code == code
    assert (response.content is None) == (code in (304, 412))


# --- All at once ------------------------------------------------------------------------------------------------


def test_a_mixture(client: HTTPClient, url: str) -> None:
    """Whatever else is under way, each gets its own."""
    chance = random.Random(1)
    asked: list[tuple[Exchange, str, Any]] = []
    for number in range(120):
        kind = chance.randrange(6)
        if kind == 0:
            asked.append((client.get(f"{url}/bytes/{number * 100}?seed={number}"), "length", number * 100))
        elif kind == 1:
            asked.append((client.get(f"{url}/relative-redirect/{number % 4 + 1}"), "history", number % 4 + 1))
        elif kind == 2:
            data = {"number": str(number), "filling": "x" * number * 100}
            asked.append((client.post(f"{url}/post", data), "form", data))
        elif kind == 3:
            asked.append((client.get(f"{url}/status/{400 + number % 5}"), "status_code", 400 + number % 5))
        elif kind == 4:
            asked.append((client.get(f"{url}/gzip", keep_alive=False), "gzipped", True))
        else:
            text = base64.urlsafe_b64encode(b"%d" % number).decode()
            asked.append((client.get(f"{url}/base64/{text}"), "text", str(number)))
    for exchange, name, value in asked:
        response = exchange.wait(DEADLINE)
        if name == "history":
            assert len(response.history) == value
        elif name in ("form", "gzipped"):
            assert response.json()[name] == value
        else:
            assert getattr(response, name) == value
