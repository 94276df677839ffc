"""The environ of a WSGI application (PEP 3333, "environ Variables"; RFC 3875), and its place in an Application."""

from __future__ import annotations

import gc
import io
import socket
import weakref
from pathlib import Path
from typing import Any
from wsgiref.util import request_uri
from wsgiref.validate import validator

import pytest

from pants.http import HTTPHeaders, HTTPRequest, HTTPServer, Limits
from pants.testing import MemoryEngine, run_until
from pants.web import Application, Module, WSGIConnector, url_for
from tests.http.peers_support import serving
from tests.http.support import CHUNKED, Answer, get, post, take_apart
from tests.web.wsgi_support import TEXT, App, exchange, request_line


class Seen:
    """A connector, and the environs and bodies that its application gets."""

    def __init__(self, threads: int = 0) -> None:
        self.environs: list[dict[str, Any]] = []
        self.bodies: list[bytes] = []
        self.connector = WSGIConnector(validator(self.application), threads=threads)

    def application(self, environ: dict[str, Any], start_response: App) -> list[bytes]:
        self.environs.append(environ)
        self.bodies.append(environ["wsgi.input"].read(-1))
        start_response("200 OK", TEXT)
        return [b"seen"]

    def __getitem__(self, key: str) -> Any:
        return self.environs[-1][key]

    def __contains__(self, key: str) -> bool:
        return key in self.environs[-1]


def send(handler: Any, data: bytes, *methods: str, **kwargs: Any) -> list[Answer]:
    with MemoryEngine() as engine:
        peer = engine.accept(HTTPServer(handler, engine=engine, **kwargs))
        peer.send(data)
        return take_apart(peer.received, *methods)


def environ_of(data: bytes, **kwargs: Any) -> dict[str, Any]:
    seen = Seen()
    assert [answer.status for answer in send(seen.connector, data, **kwargs)] == [200]
    return seen.environs[0]


# --- Each variable ----------------------------------------------------------------------------------------------------


def test_what_there_is() -> None:
    environ = environ_of(get(b"Accept: */*", line=b"GET /path?query=1 HTTP/1.1", host=b"example.com:81"))
    streams = {environ.pop("wsgi.input"), environ.pop("wsgi.errors")}
    assert len(streams) == 2
    assert environ.pop("wsgi.file_wrapper")(io.BytesIO(b"x"), 1)
    assert environ == {
        "GATEWAY_INTERFACE": "CGI/1.1",
        "HTTP_ACCEPT": "*/*",
        "HTTP_HOST": "example.com:81",
        "PATH_INFO": "/path",
        "QUERY_STRING": "query=1",
        "REMOTE_ADDR": "192.0.2.1",
        "REMOTE_PORT": "50000",
        "REQUEST_METHOD": "GET",
        "REQUEST_URI": "/path?query=1",
        "SCRIPT_NAME": "",
        "SERVER_NAME": socket.gethostname(),
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_SOFTWARE": "Pants",
        "wsgi.input_terminated": True,
        "wsgi.multiprocess": False,
        "wsgi.multithread": False,
        "wsgi.run_once": False,
        "wsgi.url_scheme": "http",
        "wsgi.version": (1, 0),
    }
    assert type(environ) is dict
    assert request_uri(environ) == "http://example.com:81/path?query=1"


def test_the_servers_name_and_port_are_where_it_listens() -> None:
    seen = Seen()
    with serving(seen.connector) as server:
        exchange(server, request_line(protocol="HTTP/1.0") + b"\r\n")
        port = server.local_address[1]
        assert (seen["SERVER_NAME"], seen["SERVER_PORT"]) == ("127.0.0.1", str(port))
        assert seen["SERVER_PROTOCOL"] == "HTTP/1.0"
        assert seen["REMOTE_ADDR"] == "127.0.0.1"
    with serving(seen.connector, ("0.0.0.0", 0)) as server:
        port = server.local_address[1]
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(b"GET / HTTP/1.0\r\n\r\n")
            run_until(lambda: len(seen.environs) == 2)
        assert (seen["SERVER_NAME"], seen["SERVER_PORT"]) == (socket.gethostname(), str(port))
        assert "HTTP_HOST" not in seen


def test_an_ipv6_address_has_brackets() -> None:
    """RFC 3875 §4.1.14."""
    seen = Seen()
    server = HTTPServer(seen.connector)
    server.local_address = ("::1", 8080, 0, 0)
    base = seen.connector._environs._make_templates(server)[b""]
    assert (base["SERVER_NAME"], base["SERVER_PORT"]) == ("[::1]", "8080")
    server.close()


def test_on_a_unix_socket(tmp_path: Path) -> None:
    seen = Seen()
    path = str(tmp_path / "s")
    with serving(seen.connector, path), socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        run_until(lambda: seen.environs)
        assert (seen["SERVER_NAME"], seen["SERVER_PORT"]) == (socket.gethostname(), "80")
        assert seen["REMOTE_ADDR"] == ""
        assert "REMOTE_PORT" not in seen


def test_each_server_has_its_own() -> None:
    seen = Seen()
    with serving(seen.connector) as first, serving(seen.connector) as second:
        for server in (first, second, first):
            exchange(server, request_line() + b"Connection: close\r\n\r\n")
            assert seen["SERVER_PORT"] == str(server.local_address[1])


def test_a_server_is_not_kept() -> None:
    seen = Seen()
    with serving(seen.connector) as server:
        exchange(server, request_line() + b"Connection: close\r\n\r\n")
    kept = weakref.ref(server)
    del server
    seen.environs.clear()
    gc.collect()
    assert kept() is None
    assert not seen.connector._environs._templates
    assert not seen.connector._environs._servers


@pytest.mark.parametrize("threads, expected", [(0, False), (1, True), (8, True)])
def test_multithread(threads: int, expected: bool) -> None:
    seen = Seen(threads)
    with serving(seen.connector) as server:
        exchange(server, request_line() + b"Connection: close\r\n\r\n")
    assert seen["wsgi.multithread"] is expected


@pytest.mark.parametrize(
    "target, path, query",
    [
        (b"/", "/", ""),
        (b"/?", "/", ""),
        (b"/a?b?c", "/a", "b?c"),
        (b"/%C3%A9%20x?%C3%A9%20x", "/\xc3\xa9 x", "%C3%A9%20x"),  # é in UTF-8, each byte a character
        (b"/%e2%82%ac", "/\xe2\x82\xac", ""),
        (b"/%ff%00", "/\xff\0", ""),  # no UTF-8 at all
        (b"/a%2Fb%3Fc", "/a/b?c", ""),
        (b"/a%2fb%", "/a/b%", ""),
        (b"/%zz", "/%zz", ""),
        (b"//example.com/a", "//example.com/a", ""),
        (b"/a/../b/./", "/a/../b/./", ""),
        (b"http://example.com/a?b", "/a", "b"),
        (b"http://example.com", "/", ""),
        (b"http://example.com?b", "/", "b"),
    ],
)
def test_paths_and_queries(target: bytes, path: str, query: str) -> None:
    environ = environ_of(get(line=b"GET %b HTTP/1.1" % target))
    assert (environ["SCRIPT_NAME"], environ["PATH_INFO"], environ["QUERY_STRING"]) == ("", path, query)
    assert environ["REQUEST_URI"] == target.decode()


def test_a_target_that_is_no_path() -> None:
    environ = environ_of(get(line=b"OPTIONS * HTTP/1.1"))
    assert (environ["PATH_INFO"], environ["REQUEST_URI"]) == ("", "*")


def test_a_fragment_is_no_part_of_the_query() -> None:
    seen = Seen()
    with MemoryEngine() as engine:
        server = HTTPServer(lambda request: None, engine=engine)
        engine.accept(server)
        connection = next(iter(server.channels.values()))
        request = HTTPRequest(connection, "GET", "/a?b#c", "HTTP/1.1", HTTPHeaders({"Host": "a"}))  # type: ignore[arg-type]
        environ = seen.connector._environs.make(request)
    assert (environ["PATH_INFO"], environ["QUERY_STRING"], environ["HTTP_HOST"]) == ("/a", "b", "a")


# --- Headers ----------------------------------------------------------------------------------------------------------


def test_repeated_headers_are_joined() -> None:
    fields = [b"X-A: 1", b"Cookie: a=b", b"x-a:  2 ", b"Cookie: c=d", b"X-A:"]
    for environ in (environ_of(get(*fields)), environ_of(get(*fields), xheaders=True)):
        assert environ["HTTP_X_A"] == "1, 2, "
        assert environ["HTTP_COOKIE"] == "a=b; c=d"


def test_headers_that_would_be_taken_for_others_are_left_out() -> None:
    fields = [b"Proxy: http://evil", b"X_Forwarded_For: 1.2.3.4", b"CONTENT_LENGTH: 5", b"X-Real_IP: 1", b"X-Odd!: y"]
    for environ in (environ_of(get(*fields)), environ_of(get(*fields), xheaders=True)):
        keys = {key for key in environ if key.startswith(("HTTP_", "CONTENT_"))}
        assert keys == {"HTTP_HOST", "HTTP_X_ODD!"}


def test_values_are_latin_1() -> None:
    environ = environ_of(get(b"X-A: \xc3\xa9\xff"))
    assert environ["HTTP_X_A"] == "\xc3\xa9\xff"


def test_the_same_fields_again_are_another_environ() -> None:
    """Clients send the same fields each time, and the server knows them again."""
    seen = Seen()
    data = get(b"X-A: 1") + get(b"X-A: 1", line=b"HEAD /other?q HTTP/1.1") + get(b"X-A: 2") + get(b"X-A: 1")
    assert len(send(seen.connector, data, "GET", "HEAD")) == 4
    assert [environ["HTTP_X_A"] for environ in seen.environs] == ["1", "1", "2", "1"]
    assert [environ["REQUEST_METHOD"] for environ in seen.environs] == ["GET", "HEAD", "GET", "GET"]
    assert [environ["PATH_INFO"] for environ in seen.environs] == ["/", "/other", "/", "/"]
    seen.environs[0]["HTTP_X_A"] = "changed"
    assert seen.environs[3]["HTTP_X_A"] == "1"
    assert len({id(environ["wsgi.input"]) for environ in seen.environs}) == 4


def test_fields_that_end_with_those_of_the_request_before() -> None:
    """They are others, for more precedes them: what one client sends is never taken for what another has sent."""
    seen = Seen()
    first, second = get(b"Host: a", host=None), get(b"X-A: HTTP/1.1", b"Host: a", host=None)
    assert second.endswith(first.removeprefix(b"GET /"))
    send(seen.connector, first + second + first)
    assert ["HTTP_X_A" in environ for environ in seen.environs] == [False, True, False]


def test_many_different_clients() -> None:
    seen = Seen()
    send(seen.connector, b"".join(get(b"X-%d: %d" % (number, number)) for number in range(600)))
    assert [environ[f"HTTP_X_{number}"] for number, environ in enumerate(seen.environs)] == list(map(str, range(600)))
    assert len(seen.connector._environs._templates) <= 1


def test_what_somebody_has_made_of_the_headers_counts() -> None:
    seen = Seen()

    def handler(request: HTTPRequest) -> None:
        request.headers["X-User"] = "me"
        del request.headers["X-A"]
        seen.connector(request)

    send(handler, get(b"X-A: 1", b"X-User: somebody"))
    assert seen["HTTP_X_USER"] == "me"
    assert "HTTP_X_A" not in seen


def test_the_host_in_the_target_counts_among_others() -> None:
    seen = Seen()
    send(seen.connector, get() + get(line=b"GET http://b/ HTTP/1.1") + get())
    assert [environ["HTTP_HOST"] for environ in seen.environs] == ["a", "b", "a"]


def test_the_host_in_the_target_counts() -> None:
    """RFC 9112 §3.2.2: the Host field is ignored then."""
    environ = environ_of(get(line=b"GET http://example.com:81/ HTTP/1.1", host=b"other"))
    assert environ["HTTP_HOST"] == "example.com:81"


# --- Behind a proxy ---------------------------------------------------------------------------------------------------


def test_behind_a_proxy() -> None:
    fields = [b"X-Forwarded-For: 203.0.113.7", b"X-Forwarded-Proto: https", b"X-Forwarded-Host: example.org"]
    environ = environ_of(get(*fields), xheaders=True)
    assert environ["REMOTE_ADDR"] == "203.0.113.7"
    assert "REMOTE_PORT" not in environ
    assert environ["wsgi.url_scheme"] == "https"
    assert environ["HTTP_HOST"] == "example.org"
    environ = environ_of(get(*fields))
    assert environ["REMOTE_ADDR"] == "192.0.2.1"
    assert environ["wsgi.url_scheme"] == "http"
    assert environ["HTTP_HOST"] == "a"
    assert environ["HTTP_X_FORWARDED_FOR"] == "203.0.113.7"


# --- The body ---------------------------------------------------------------------------------------------------------


def test_without_a_body() -> None:
    environ = environ_of(get())
    assert "CONTENT_LENGTH" not in environ
    assert "CONTENT_TYPE" not in environ
    environ = environ_of(get(b"Content-Length: 0", line=b"POST / HTTP/1.1"))
    assert environ["CONTENT_LENGTH"] == "0"


def test_with_a_body() -> None:
    seen = Seen()
    send(seen.connector, post(b"spam", b"Content-Length: 4", b"Content-Type: text/odd") + get())
    assert (seen.environs[0]["CONTENT_LENGTH"], seen.environs[0]["CONTENT_TYPE"]) == ("4", "text/odd")
    assert seen.bodies == [b"spam", b""]
    assert "HTTP_CONTENT_LENGTH" not in seen.environs[0]
    assert "HTTP_CONTENT_TYPE" not in seen.environs[0]


def test_a_chunked_body_has_a_length_too() -> None:
    """RFC 9112 §7.1.3; many applications read nothing without."""
    seen = Seen()
    send(seen.connector, post(b"4\r\nspam\r\n1\r\n!\r\n0\r\n\r\n", CHUNKED))
    assert seen.bodies == [b"spam!"]
    assert seen["CONTENT_LENGTH"] == "5"
    assert seen["wsgi.input_terminated"] is True
    assert "HTTP_TRANSFER_ENCODING" not in seen


@pytest.mark.parametrize("spool_size", [4, 1000])
def test_input_ends_where_the_body_does(spool_size: int) -> None:
    found: list[Any] = []

    def application(environ: dict[str, Any], start_response: App) -> list[bytes]:
        stream = environ["wsgi.input"]
        found.extend([stream.read(2), stream.readline(), stream.readline(2), stream.readline(), list(stream)])
        found.extend([stream.read(), stream.read(5), stream.readline(), stream.readlines()])
        start_response("200 OK", TEXT)
        return []

    connector = WSGIConnector(application, threads=0)
    send(connector, post(b"abc\ndefg\nh\ni") + get(), limits=Limits(spool_size=spool_size))
    assert found[:9] == [b"ab", b"c\n", b"de", b"fg\n", [b"h\n", b"i"], b"", b"", b"", []]
    assert found[9:] == [b"", b"", b"", b"", [], b"", b"", b"", []]


@pytest.mark.parametrize("threads", [0, 1])
def test_a_long_body_can_be_read_to_the_very_end(threads: int) -> None:
    """One on disk is there until the application is over, though its request be answered, or its client gone."""
    found = []

    class Result:
        def __init__(self, environ: dict[str, Any]) -> None:
            self.stream = environ["wsgi.input"]

        def __iter__(self) -> Any:
            yield b"content"

        def close(self) -> None:
            found.append(self.stream.read())

    def application(environ: dict[str, Any], start_response: App) -> Result:
        start_response("200 OK", [*TEXT, ("Content-Length", "7")])
        return Result(environ)

    body = bytes(range(256)) * 1000
    connector = WSGIConnector(application, threads=threads)
    with serving(connector, limits=Limits(spool_size=1000), access_log="common") as server:
        head = request_line("POST") + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body)
        assert exchange(server, head + body).endswith(b"\r\n\r\ncontent")
        run_until(lambda: found)
    assert found == [body]


def multipart(size: int) -> bytes:
    parts = [
        b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\nspam\r\n',
        b'--x\r\nContent-Disposition: form-data; name="f"; filename="f.bin"\r\nX-Odd: yes\r\n\r\n',
        b"x" * size,
        b"\r\n--x--\r\n",
    ]
    return b"".join(parts)


@pytest.mark.parametrize("attached", [False, True])
def test_a_long_form_comes_as_it_was_sent(attached: bool) -> None:
    """The server does not take it apart, as it does with those that nobody wants as they are."""
    seen = Seen()
    handler: Any = seen.connector
    if attached:
        handler = Application()
        seen.connector.attach(handler, "/")
    body = multipart(5000)
    data = post(body, b"Content-Length: %d" % len(body), b"Content-Type: multipart/form-data; boundary=x")
    assert send(handler, data, limits=Limits(spool_size=1000))[0].status == 200
    assert seen.bodies == [body]
    assert seen["CONTENT_LENGTH"] == str(len(body))


def test_a_form_that_was_taken_apart_cannot_be_passed_on(expect_log: Any) -> None:
    seen = Seen()
    body = multipart(5000)
    data = post(body, b"Content-Length: %d" % len(body), b"Content-Type: multipart/form-data; boundary=x")
    expect_log("taken apart as it arrived; make the WSGIConnector itself the request handler")
    answers = send(lambda request: seen.connector(request), data, limits=Limits(spool_size=1000))
    assert answers[0].status == 500
    assert not seen.environs


def test_such_a_form_may_be_asked_of_the_request_too() -> None:
    class Handler:
        def _wants_raw_form(self, request: HTTPRequest) -> bool:
            return request.path == "/"

        def __call__(self, request: HTTPRequest) -> None:
            assert request.body.startswith(b"--x\r\n")
            request.send_response(f"{request.post} {len(request.files['f'][0]['body'])}")

    body = multipart(600_000)
    data = post(body, b"Content-Length: %d" % len(body), b"Content-Type: multipart/form-data; boundary=x")
    answer = send(Handler(), data, limits=Limits(spool_size=1000))[0]
    assert answer.content == b"{'a': ['spam']} 600000"


# --- In an Application ------------------------------------------------------------------------------------------------


def places(app: Any, seen: Seen, *targets: bytes) -> list[tuple[str, str]]:
    found = []
    for target in targets:
        answer = send(app, get(line=b"GET %b HTTP/1.1" % target))[0]
        assert answer.status == 200, (target, answer)
        found.append((seen["SCRIPT_NAME"], seen["PATH_INFO"]))
    return found


@pytest.mark.parametrize("rule", ["/app", "/app/"])
def test_attached(rule: str) -> None:
    seen = Seen()
    app = Application()
    seen.connector.attach(app, rule)
    assert places(app, seen, b"/app", b"/app/", b"/app/x", b"/app/x/", b"/app//x", b"/app/%C3%A9%2Fx?q") == [
        ("/app", ""),
        ("/app", "/"),
        ("/app", "/x"),
        ("/app", "/x/"),
        ("/app", "//x"),
        ("/app", "/\xc3\xa9/x"),
    ]
    assert "wsgiorg.routing_args" not in seen
    assert send(app, get(line=b"GET /apple HTTP/1.1"))[0].status == 404


def test_attached_at_the_root() -> None:
    seen = Seen()
    app = Application()
    seen.connector.attach(app, "/")
    assert places(app, seen, b"/", b"/x/y", b"//x") == [("", "/"), ("", "/x/y"), ("", "//x")]


def test_attached_in_odd_places() -> None:
    seen = Seen()
    app = Application()
    seen.connector.attach(app, "/\xe9 x")
    assert places(app, seen, b"/%C3%A9%20x/y", b"/%c3%a9%20x") == [("/\xc3\xa9 x", "/y"), ("/\xc3\xa9 x", "")]


def test_attached_with_variables() -> None:
    """Manual: "they will be made available within the WSGI environment under the key wsgiorg.routing_args"."""
    seen = Seen()
    app = Application()
    seen.connector.attach(app, "/<lang>/<int:year>/app")
    assert places(app, seen, b"/de/2024/app/x/y", b"/%C3%A9/07/app") == [
        ("/de/2024/app", "/x/y"),
        ("/\xc3\xa9/07/app", ""),
    ]
    assert seen.environs[0]["wsgiorg.routing_args"] == (("de", 2024), {})
    assert seen.environs[1]["wsgiorg.routing_args"] == (("\xe9", 7), {})


def test_attached_to_a_module() -> None:
    seen = Seen()
    module, app = Module("inner"), Application()
    seen.connector.attach(module, "/app")
    app.add("/<lang>", module)
    assert places(app, seen, b"/de/app/x", b"/en/app") == [("/de/app", "/x"), ("/en/app", "")]
    assert seen["wsgiorg.routing_args"] == (("en",), {})


def test_attached_with_a_domain() -> None:
    seen = Seen()
    app = Application()
    seen.connector.attach(app, "<user>.example.com/app")
    assert send(app, get(line=b"GET /app/x HTTP/1.1", host=b"me.example.com"))[0].status == 200
    assert (seen["SCRIPT_NAME"], seen["PATH_INFO"]) == ("/app", "/x")
    assert seen["wsgiorg.routing_args"] == (("me",), {})


def test_two_of_them() -> None:
    first, second = Seen(), Seen()
    app = Application()
    first.connector.attach(app, "/app")
    second.connector.attach(app, "/app/inner")
    assert places(app, first, b"/app/x") == [("/app", "/x")]
    assert places(app, second, b"/app/inner/x") == [("/app/inner", "/x")]
    with pytest.raises(ValueError, match="name 'wsgi_app' has been given to another function; give name="):
        second.connector.attach(app, "/app!")
    second.connector.attach(app, "/app!", name="other")
    assert places(app, second, b"/app!/x") == [("/app!", "/x")]
    with pytest.raises(ValueError, match="/app has a route for HEAD already"):
        second.connector.attach(app, "/app", name="another")


def test_its_methods() -> None:
    seen = Seen()
    app = Application()
    seen.connector.attach(app, "/app")
    seen.connector.attach(app, "/all", ("GET", "PATCH"))
    statuses = {
        method: send(app, get(line=b"%b /app/x HTTP/1.1" % method), method.decode())[0].status
        for method in (b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE")
    }
    assert statuses == {b"GET": 200, b"HEAD": 200, b"POST": 200, b"PUT": 200, b"PATCH": 405, b"DELETE": 405}
    assert send(app, get(line=b"PATCH /all HTTP/1.1"))[0].status == 200
    for arguments in ((5,), (b"/app",), ("/app", "GET"), ("/app", 5)):
        with pytest.raises(TypeError):
            seen.connector.attach(Application(), *arguments)


def test_urls_of_what_is_attached() -> None:
    seen = Seen()
    app = Application()
    seen.connector.attach(app, "/some-app/v2")

    @app.route("/urls")
    def urls(request: HTTPRequest) -> list[str]:
        return [url_for("wsgi_some_app_v2"), url_for("wsgi_some_app_v2", path_info="x/y z")]

    assert send(app, get(line=b"GET /urls HTTP/1.1"))[0].content == b'["/some-app/v2","/some-app/v2/x/y%20z"]'


def test_added_by_hand() -> None:
    """Manual: "it treats the last variable as containing the value for the PATH_INFO variable"."""
    seen = Seen()
    app = Application()
    app.route("/a/<path:rest>", "a", func=seen.connector)
    app.route("/<x>/b<path:rest>", "b", func=seen.connector)
    app.route("/c-<rest>", "c", func=seen.connector)
    app.route("/d/<path:rest>/end", "d", func=seen.connector)
    app.route("/e/<path:rest=welcome/page>", "e", func=seen.connector)
    app.route("/f/<int:rest>", "f", func=seen.connector)
    app.route("/g", "g", func=seen.connector)
    assert places(app, seen, b"/a/x", b"/1/b/x", b"/1/bx", b"/c-x", b"/d/x/y/end", b"/e/", b"/f/007", b"/g") == [
        ("/a", "/x"),
        ("/1/b", "/x"),
        ("/1/b", "/x"),
        ("/c-", "/x"),
        ("/d", "/x/y"),
        ("/e", "/welcome/page"),
        ("/f", "/007"),
        ("", "/g"),
    ]
    assert seen.environs[1]["wsgiorg.routing_args"] == (("1",), {})


def test_below_a_prefix() -> None:
    seen = Seen()
    app = Application()
    app.route("/app/<path:rest>", func=seen.connector)

    def handler(request: HTTPRequest) -> None:
        request.script_name = "/pr%C3%A9fix"
        (app if request.path.startswith("/app") else seen.connector)(request)

    assert places(handler, seen, b"/app/x", b"/other") == [
        ("/pr\xc3\xa9fix/app", "/x"),
        ("/pr\xc3\xa9fix", "/other"),
    ]


@pytest.mark.parametrize("threads", [0, 1])
def test_the_hooks_of_an_application_see_its_answers(threads: int) -> None:
    seen = Seen(threads)
    app = Application()
    seen.connector.attach(app, "/app")
    ended = []

    @app.after
    def mark(request: HTTPRequest, head: Any) -> None:
        head.headers["X-Mark"] = str(head.status)

    @app.request_teardown
    def torn_down(request: HTTPRequest) -> None:
        ended.append(request.path)

    with serving(app) as server:
        data = exchange(server, request_line(path="/app/x") + b"Connection: close\r\n\r\n")
        assert b"\r\nX-Mark: 200\r\n" in data
        run_until(lambda: ended == ["/app/x"])


@pytest.mark.parametrize("threads", [0, 1])
def test_a_hook_that_fails_is_a_500(threads: int, expect_log: Any) -> None:
    seen = Seen(threads)
    app = Application()
    seen.connector.attach(app, "/")

    @app.after
    def fail(request: HTTPRequest, head: Any) -> None:
        raise LookupError("the hook's")

    expect_log("LookupError: the hook's")
    with serving(app) as server:
        data = exchange(server, request_line() + b"Connection: close\r\n\r\n")
    assert data.startswith(b"HTTP/1.1 500 ")


@pytest.mark.parametrize("threads", [0, 1])
def test_with_a_test_client(threads: int) -> None:
    seen = Seen(threads)
    app = Application()
    seen.connector.attach(app, "/app")
    answer = app.test_client().get("/app/x")
    assert (answer.status_code, answer.text) == (200, "seen")


@pytest.mark.parametrize("threads", [0, 1])
def test_below_another_wsgi_server(threads: int) -> None:
    """An `Application` as a WSGI application, and in it another one."""
    seen = Seen(threads)
    app = Application()
    seen.connector.attach(app, "/inner")
    for outer in (0, 2):
        place = Application()
        WSGIConnector(validator(app.wsgi), threads=outer).attach(place, "/outer")
        with serving(place) as server:
            data = exchange(server, request_line(path="/outer/inner/%C3%A9%2Fx?q") + b"Connection: close\r\n\r\n")
        assert take_apart(data)[0].content == b"seen"
        assert (seen["SCRIPT_NAME"], seen["PATH_INFO"]) == ("/outer/inner", "/\xc3\xa9/x")
        assert seen["QUERY_STRING"] == "q"
