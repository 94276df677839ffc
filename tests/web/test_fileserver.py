"""FileServer by the sentences of the manual: what is sent for which path, in an application and without one.

What hostile paths find is in `test_fileserver_paths`, the pages for directories in `test_fileserver_listing`.
"""

from __future__ import annotations

import contextlib
import errno
import gzip
import io
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pants.http import HTTPRequest, HTTPServer
from pants.testing import MemoryEngine
from pants.web import Application, HTTPException, Module, url_for
from pants.web.fileserver import FileServer
from tests.web.support import Answer, asking, connected, fetch

LARGE = bytes(range(256)) * 1024


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A directory with files and directories."""
    root = tmp_path / "root"
    for name, content in {
        "small.txt": b"small",
        "large.bin": LARGE,
        "program.py": b"import this",
        "program.pyc": b"compiled",
        "with index/index.html": b"<title>index</title>",
        "with htm/index.htm": b"<title>htm</title>",
        "with both/index.htm": b"second",
        "with both/index.html": b"first",
        "a/b/c.txt": b"deep",
        "a/b/d/e/f/g/h.txt": b"deeper",
        ".hidden": b"hidden",
        ".git/config": b"hidden, too",
        ".well-known/security.txt": b"known",
        "package.py/data.txt": b"in a directory of an odd name",
    }.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return root


def attached(server: FileServer, *args: Any, **kwargs: Any) -> Application:
    app = Application()
    server.attach(app, *args, **kwargs)
    return app


def location(answer: Answer) -> str | None:
    return answer.headers["Location"]


# --- The manual, sentence by sentence ---------------------------------------------------------------------------


def test_it_is_a_request_handler(root: Path) -> None:
    """Manual: "a basic static file server for use with a HTTPServer or Application"."""
    answer = fetch(FileServer(root), "/small.txt")
    assert (answer.status, answer.content) == (200, b"small")
    assert fetch(FileServer(root), "/a/b/c.txt").content == b"deep"
    assert fetch(FileServer(root), "/a/b/d/e/f/g/h.txt").content == b"deeper"
    assert fetch(FileServer(root), "/none").status == 404


def test_it_is_attached_to_an_application(root: Path) -> None:
    """Manual: "FileServer("/tmp/path").attach(app)"; below ``/static/``, "the path to serve requests from"."""
    app = attached(FileServer(str(root)))
    assert fetch(app, "/static/small.txt").content == b"small"
    assert fetch(app, "/static/a/b/c.txt").content == b"deep"
    for path in ("/small.txt", "/static/none", "/staticsmall.txt"):
        assert fetch(app, path).status == 404


@pytest.mark.parametrize("path", ["/files/", "/files"])
def test_it_is_attached_to_another_path(root: Path, path: str) -> None:
    """Manual: "FileServer("/tmp/path").attach(app, "/files/")"; the table calls it rule."""
    for app in (attached(FileServer(root), path), attached(FileServer(root), rule=path)):
        assert fetch(app, "/files/small.txt").content == b"small"
        assert fetch(app, "/static/small.txt").status == 404


def test_it_is_attached_to_the_root(root: Path) -> None:
    """Other routes go first."""
    app = attached(FileServer(root), "/")
    app.route("/hello")(lambda request: "hello")
    assert fetch(app, "/small.txt").content == b"small"
    assert fetch(app, "/hello").content == b"hello"
    assert b"small.txt" in fetch(app, "/").content


def test_a_domain_and_variables_may_stand_before_it(root: Path) -> None:
    app = Application()
    FileServer(root).attach(app, "cdn.example.com/")
    FileServer(root / "a").attach(app, "/user/<name>/files/")
    assert fetch(app, "/small.txt", headers={"Host": "cdn.example.com"}).content == b"small"
    assert fetch(app, "/small.txt").status == 404
    assert fetch(app, "/user/a%2Fb/files/b/c.txt").content == b"deep"


def test_it_is_attached_to_a_module(root: Path) -> None:
    app, module = Application(), Module("assets")
    FileServer(root).attach(module, "/files/")
    app.add("/site", module)
    app.route("/url")(lambda request: url_for("assets.files", "a/b/c.txt"))
    assert fetch(app, "/site/files/small.txt").content == b"small"
    assert fetch(app, "/url").content == b"/site/files/a/b/c.txt"
    assert location(fetch(app, "/site/files")) == "/site/files/"


@pytest.mark.parametrize("name", ["program.py", "program.pyc", "program.pyo", "none.py", "PROGRAM.PY", "a/none.py"])
def test_the_default_blacklist(root: Path, name: str) -> None:
    """Manual: ".py and .pyc files"; "it will not be downloadable and instead return a 403"."""
    answer = fetch(attached(FileServer(root)), f"/static/{name}")
    assert answer.status == 403
    assert b"import this" not in answer.content
    assert fetch(FileServer(root), f"/{name}").status == 403


def test_a_blacklist(root: Path) -> None:
    """Manual: "A list of regular expressions to test filenames against"; those of directories on the way, too."""
    for blacklist in ([re.compile("mall")], [r"\.bin$", "^s"]):
        server = FileServer(root, blacklist)
        assert fetch(server, "/small.txt").status == 403
        assert fetch(server, "/program.py").content == b"import this"
    server = FileServer(root, ["^b$"])
    assert [fetch(server, path).status for path in ("/a/", "/a/b", "/a/b/", "/a/b/c.txt")] == [200, 403, 403, 403]
    server = FileServer(root, [])
    assert fetch(server, "/program.py").status == 200


@pytest.mark.parametrize(
    "pattern", ["a/b/", "/a/b", "^a/b$", "^/a/b$", "^/a/b/$", "^a/b/", "a/b/c", r"/c\.txt$", "[^/]txt$"]
)
def test_a_pattern_with_a_slash_is_of_paths(root: Path, pattern: str) -> None:
    server = FileServer(root, [pattern], ["c.txt"])
    assert fetch(server, "/a/b/c.txt").status == 403
    assert fetch(server, "/large.bin").status == 200
    answer = fetch(server, "/a/b/")  # of which that would be the default
    assert answer.content != b"deep"
    assert b'"c.txt"' not in answer.content


def test_what_is_below_a_name_on_the_blacklist(root: Path) -> None:
    assert fetch(FileServer(root), "/package.py/data.txt").status == 403
    assert fetch(FileServer(root, ()), "/package.py/data.txt").status == 200


@pytest.mark.parametrize(
    "path, content",
    [
        ("/with%20index/", b"<title>index</title>"),
        ("/with%20htm/", b"<title>htm</title>"),
        ("/with%20both/", b"first"),
    ],
)
def test_the_default_defaults(root: Path, path: str, content: bytes) -> None:
    """Manual: "By default, only index.html and index.htm are served as indices", "if they exist"."""
    for answer in (fetch(FileServer(root), path), fetch(attached(FileServer(root)), f"/static{path}")):
        assert (answer.status, answer.content) == (200, content)
        assert answer.headers["Content-Type"] == "text/html"
        assert answer.headers["ETag"]


def test_defaults(root: Path) -> None:
    server = FileServer(root, defaults=["none.txt", "small.txt"])
    assert fetch(server, "/").content == b"small"
    assert b"index.html" in fetch(server, "/with%20index/").content
    assert b"Index of" in fetch(FileServer(root, defaults=[]), "/with%20index/").content
    assert b"Index of" in fetch(FileServer(root, ["html"]), "/with%20index/").content
    assert b"Index of" in fetch(FileServer(root, defaults=[".hidden", "program.py"]), "/").content


def test_a_default_that_is_none(root: Path) -> None:
    """A directory of that name, a link that leads out, one that leads nowhere: there is a listing then."""
    (root / "x" / "index.html").mkdir(parents=True)
    (root / "x" / "index.htm").symlink_to("/etc/passwd")
    assert b"Index of /x/" in fetch(FileServer(root), "/x/").content
    (root / "x" / "index.htm").unlink()
    (root / "x" / "index.htm").symlink_to("none")
    assert b"Index of /x/" in fetch(FileServer(root), "/x/").content


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("name", ["small.txt", "large.bin"])
def test_what_send_file_can(root: Path, name: str, method: str) -> None:
    """Manual: "it supports caching headers"; and conditions, ranges, HEAD."""
    content = (root / name).read_bytes()
    app = attached(FileServer(root))
    path = f"/static/{name}"
    whole = fetch(app, path, method)
    assert (whole.status, whole.content) == (200, content if method == "GET" else b"")
    assert whole.headers["Content-Length"] == str(len(content))
    assert whole.headers["Accept-Ranges"] == "bytes"
    assert whole.headers["Last-Modified"]
    tag = whole.headers["ETag"]
    assert fetch(app, path, method, headers={"If-None-Match": tag}).status == 304
    assert fetch(app, path, method, headers={"If-Match": '"other"'}).status == 412
    part = fetch(app, path, method, headers={"Range": "bytes=1-2"})
    assert (part.status, part.content) == ((206, content[1:3]) if method == "GET" else (200, b""))
    several = fetch(app, path, headers={"Range": "bytes=0-0,2-2"})
    assert several.headers["Content-Type"].startswith("multipart/byteranges")
    assert fetch(app, path, headers={"Range": "bytes=9999999-"}).status == 416


@pytest.mark.parametrize("sendfile", [True, "X-Accel-Redirect"])
def test_x_sendfile(root: Path, tmp_path: Path, sendfile: Any) -> None:
    """Manual: "X-Sendfile if the HTTPServer instance is configured to use the Sendfile header"."""
    name = "X-Sendfile" if sendfile is True else sendfile

    def ask(path: str) -> Answer:
        options = {"sendfile": sendfile, "sendfile_prefix": "/private/", "file_root": tmp_path}
        with connected(attached(FileServer(root)), **options) as (_, peer):
            peer.send(asking(f"/static/{path}"))
            return Answer(peer.received)

    for path, target in {
        "a/b/c.txt": "/private/root/a/b/c.txt",
        "with%20index/": "/private/root/with%20index/index.html",
    }.items():
        answer = ask(path)
        assert (answer.status, answer.content) == (200, b"")
        assert answer.headers[name] == target
    # The proxy would send whatever it is told to.
    (root / "out").symlink_to("/etc/passwd")
    for path, status in {"out": 404, "none": 404, ".git/config": 403, "a": 301, "": 200, "with%20htm": 301}.items():
        answer = ask(path)
        assert (answer.status, answer.headers[name]) == (status, None)


def test_x_sendfile_outside_of_the_servers_root(root: Path, expect_log: Any) -> None:
    expect_log("outside of .* set HTTPServer's file_root")
    with connected(FileServer(root), sendfile=True, file_root="/nowhere") as (_, peer):
        peer.send(asking("/small.txt"))
        assert Answer(peer.received).status == 500


def test_the_servers_file_root_is_for_other_files(root: Path) -> None:
    """The FileServer was told what to serve."""
    with connected(FileServer(root), file_root="/nowhere") as (_, peer):
        peer.send(asking("/small.txt"))
        assert Answer(peer.received).content == b"small"


# --- Beyond the manual ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/.hidden", "/.git/config", "/.git/", "/.git", "/.none", "/a/.none/b"])
def test_hidden_files(root: Path, path: str) -> None:
    """Whether they exist or not."""
    assert fetch(FileServer(root), path).status == 403
    assert fetch(FileServer(root, hidden=True), path).status in (200, 301, 404)


def test_what_is_well_known(root: Path) -> None:
    """RFC 8615."""
    assert fetch(FileServer(root), "/.well-known/security.txt").content == b"known"
    assert fetch(FileServer(root, hidden=True), "/.hidden").content == b"hidden"


@pytest.mark.parametrize("name", ["a", "a/b", "with%20index"])
@pytest.mark.parametrize("query", ["", "?x=/y&z"])
def test_a_directory_is_redirected_to_its_slash(root: Path, name: str, query: str) -> None:
    """Or the links in its page would lead elsewhere."""
    answer = fetch(attached(FileServer(root)), f"/static/{name}{query}")
    assert (answer.status, location(answer)) == (301, f"/static/{name}/{query}")
    answer = fetch(FileServer(root), f"/{name}{query}", "HEAD")
    assert (answer.status, location(answer)) == (301, f"/{name}/{query}")


def test_what_it_is_attached_to_is_redirected_to_its_slash(root: Path) -> None:
    app = attached(FileServer(root))
    answer = fetch(app, "/static?x=1")
    assert (answer.status, location(answer)) == (301, "/static/?x=1")
    assert fetch(app, "/static", "POST").status == 405


def test_a_redirect_stays_on_this_host(root: Path) -> None:
    """What follows two slashes is a host (RFC 3986 §4.2), and browsers take a backslash for a slash."""
    app = attached(FileServer(root), "<domain>/<name>/")
    for path in ("//evil.example", "/\\evil.example", "//evil.example/a"):
        for answer in (fetch(app, path), fetch(FileServer(root), path)):
            assert answer.status == 404 or not re.match(r"[/\\]{2}", location(answer) or "")
    (root / "\\evil.example").mkdir()
    assert location(fetch(FileServer(root), "/\\evil.example")) == "/%5Cevil.example/"


def test_a_redirect_below_a_prefix(root: Path) -> None:
    app = attached(FileServer(root))

    @app.before
    def below(request: HTTPRequest) -> None:
        request.script_name = "/site"

    assert location(fetch(app, "/static/a")) == "/site/static/a/"
    assert location(fetch(app, "/static")) == "/site/static/"


def test_the_applications_own_page_goes_first(root: Path) -> None:
    app = Application()
    app.route("/static")(lambda request: "about")
    FileServer(root).attach(app)
    assert fetch(app, "/static").content == b"about"
    assert fetch(app, "/static/small.txt").content == b"small"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "PROPFIND"])
def test_other_methods(root: Path, method: str) -> None:
    """RFC 9110 §15.5.6."""
    for answer in (
        fetch(FileServer(root), "/small.txt", method),
        fetch(attached(FileServer(root)), "/static/small.txt", method),
    ):
        assert answer.status == 405
        assert {"GET", "HEAD"} <= {name.strip() for name in answer.headers["Allow"].split(",")}


def test_a_route_of_ones_own_with_other_methods(root: Path) -> None:
    app = Application()
    app.route("/<path:path>", methods=["GET", "POST"], name="files", func=FileServer(root))
    assert fetch(app, "/small.txt").content == b"small"
    answer = fetch(app, "/small.txt", "POST")
    assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize("path", ["/small.txt", "/none", "*"])
def test_options(root: Path, path: str) -> None:
    """RFC 9110 §9.3.7."""
    answer = fetch(FileServer(root), path, "OPTIONS")
    assert (answer.status, answer.headers["Allow"]) == (204, "GET, HEAD, OPTIONS")


def test_as_a_view_it_takes_the_last_variable(root: Path) -> None:
    app = Application()
    app.route("/one/<int:id>/<path:path>", name="one", func=FileServer(root))
    app.basic_route("/two/<int:id>/<path:path=>", name="two", func=FileServer(root))
    for prefix in ("/one/7", "/two/7"):
        assert fetch(app, f"{prefix}/a/b/c.txt").content == b"deep"
        assert fetch(app, f"{prefix}/a%2Fb/c.txt").status == 404
    assert b"Index of /two/7/" in fetch(app, "/two/7/").content


def test_a_view_without_a_path(root: Path, expect_log: Any) -> None:
    """Which the log tells, with what to do."""
    expect_log(r"last variable of a rule has captured; use attach\(\)")
    expect_log("a path that is a str, as of the converter 'path', not 7")
    app = Application()
    app.basic_route("/one", name="one", func=FileServer(root))
    app.route("/two/<int:id>", name="two", func=FileServer(root))
    assert fetch(app, "/one").status == 500
    assert fetch(app, "/two/7").status == 500


def test_a_request_that_has_been_answered(root: Path) -> None:
    server = FileServer(root)
    raised = []

    def handler(request: HTTPRequest) -> None:
        request.send_response("first")
        with pytest.raises(RuntimeError, match=r"send_file.* is finished; a request is answered once"):
            server(request)
        raised.append(request)

    assert fetch(handler, "/small.txt").content == b"first"
    assert raised


def test_errors_are_pages_of_the_application(root: Path) -> None:
    app = attached(FileServer(root))

    @app.error_handler(404)
    def missing(request: HTTPRequest, exception: HTTPException) -> str:
        return f"nothing at {request.path}"

    answer = fetch(app, "/static/none")
    assert (answer.status, answer.content) == (404, b"nothing at /static/none")
    answer = fetch(app, "/static/program.py")
    assert answer.headers["Content-Type"].startswith("text/html")


def test_errors_without_an_application(root: Path) -> None:
    for path, status in {"/none": 404, "/program.py": 403, "/a/": 403}.items():
        answer = fetch(FileServer(root, listing=False), path)
        assert answer.status == status
        assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
        assert str(status).encode() in answer.content
        assert str(root).encode() not in answer.content


def test_hooks_of_the_application(root: Path) -> None:
    """They see what it sends."""
    app = attached(FileServer(root))
    seen = []

    @app.after
    def after(request: HTTPRequest, head: Any) -> None:
        seen.append((request.path, head.status))
        head.headers["X-Seen"] = "yes"

    for name, status in {"small.txt": 200, "large.bin": 200, "": 200, "a": 301, "none": 404}.items():
        answer = fetch(app, f"/static/{name}")
        assert (answer.status, answer.headers["X-Seen"]) == (status, "yes")
        assert seen.pop() == (f"/static/{name}", status)


def test_max_age(root: Path) -> None:
    """RFC 9111 §5.2.2.1."""
    server = FileServer(root, max_age=3600)
    for name in ("small.txt", "large.bin"):
        answer = fetch(server, f"/{name}")
        assert answer.headers["Cache-Control"] == "max-age=3600"
        again = fetch(server, f"/{name}", headers={"If-None-Match": answer.headers["ETag"]})
        assert (again.status, again.headers["Cache-Control"]) == (304, "max-age=3600")
    assert fetch(server, "/none").headers["Cache-Control"] is None
    assert fetch(server, "/").headers["Cache-Control"] == "no-cache"
    assert fetch(FileServer(root), "/small.txt").headers["Cache-Control"] is None
    assert fetch(FileServer(root, max_age=0), "/small.txt").headers["Cache-Control"] == "max-age=0"


def test_headers(root: Path) -> None:
    headers = {"Access-Control-Allow-Origin": "*", "Content-Type": "text/x-test", "Content-Disposition": "attachment"}
    server = FileServer(root, headers=headers)
    for _ in range(2):
        answer = fetch(server, "/small.txt")
        assert {name: answer.headers.get_all(name) for name in headers} == {
            name: [value] for name, value in headers.items()
        }
    listing = fetch(server, "/")
    assert listing.headers["Access-Control-Allow-Origin"] == "*"
    assert listing.headers["Content-Disposition"] is None
    assert listing.headers["Content-Type"] == "text/html; charset=utf-8"
    policy = {"content-security-policy": "sandbox", "Cache-Control": "private", "Server": "a"}
    server = FileServer(root, headers=policy)
    assert fetch(server, "/").headers.get_all("Content-Security-Policy") == ["sandbox"]
    assert fetch(server, "/").headers.get_all("Cache-Control") == ["no-cache"]
    assert fetch(server, "/small.txt").headers["Cache-Control"] == "private"


def test_headers_of_several_servers(root: Path) -> None:
    """Of the same file, in the same second."""
    app = Application()
    for name in ("a", "b"):
        FileServer(root, headers={"X-Name": name}).attach(app, f"/{name}/")
    FileServer(root).attach(app, "/c/")
    with connected(app) as (_, peer):
        for name, value in (("a", "a"), ("b", "b"), ("a", "a"), ("c", None)):
            peer.take()
            peer.send(asking(f"/{name}/small.txt"))
            assert Answer(peer.received).headers["X-Name"] == value


def test_precompressed(root: Path) -> None:
    (root / "small.txt.gz").write_bytes(gzip.compress(b"small"))
    os.utime(root / "small.txt.gz")
    accept = {"Accept-Encoding": "gzip"}
    answer = fetch(FileServer(root, precompressed=True), "/small.txt", headers=accept)
    assert gzip.decompress(answer.content) == b"small"
    assert (answer.headers["Content-Encoding"], answer.headers["Vary"]) == ("gzip", "Accept-Encoding")
    assert answer.headers["Content-Type"] == "text/plain"
    assert fetch(FileServer(root), "/small.txt", headers=accept).content == b"small"
    # One that leads out is none.
    (root / "small.txt.gz").unlink()
    (root.parent / "outside").write_bytes(b"outside")
    (root / "small.txt.gz").symlink_to(root.parent / "outside")
    assert fetch(FileServer(root, precompressed=True), "/small.txt", headers=accept).content == b"small"


def test_without_listing(root: Path) -> None:
    server = FileServer(root, listing=False)
    assert fetch(server, "/").status == 403
    assert fetch(server, "/a/").status == 403
    assert fetch(server, "/none/").status == 404
    assert fetch(server, "/with%20index/").status == 200


def test_a_relative_directory(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It starts at the working directory of that moment."""
    monkeypatch.chdir(root)
    server = FileServer("a")
    monkeypatch.chdir("/")
    assert server.path == str(root / "a")
    assert fetch(server, "/b/c.txt").content == b"deep"


def test_the_whole_file_system() -> None:
    server = FileServer("/", hidden=True)
    assert b"Index of /" in fetch(server, "/").content
    assert fetch(server, "/dev/null").status == 404
    assert location(fetch(server, "/dev")) == "/dev/"
    assert fetch(server, f"{__file__[:-3]}%2epy").status == 403
    assert fetch(FileServer("//", ()), __file__).content == Path(__file__).read_bytes()


def test_its_directory_may_be_a_link_that_changes(root: Path, tmp_path: Path) -> None:
    """As of one that leads to the latest release."""
    latest, other = tmp_path / "latest", tmp_path / "other"
    latest.symlink_to("root")
    (root / "link").symlink_to("small.txt")
    server = FileServer(latest)
    assert fetch(server, "/link").content == b"small"
    (other / "x").mkdir(parents=True)
    (other / "small.txt").write_bytes(b"other")
    (other / "link").symlink_to("small.txt")
    (other / "old").symlink_to(root / "small.txt")
    latest.unlink()
    latest.symlink_to("other")
    assert fetch(server, "/small.txt").content == b"other"
    assert fetch(server, "/link").content == b"other"
    assert b'"link"' in fetch(server, "/").content
    assert fetch(server, "/old").status == 404


def test_many_paths_are_remembered_and_no_more(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pants.web._fileserver._MOST_KNOWN", 2)
    server = FileServer(root)
    for _ in range(2):
        for path in ("/none", "/small.txt", "/large.bin", "/a/b/c.txt", "/a/"):
            assert fetch(server, path).status == (404 if path == "/none" else 200)
    assert set(server._known) == {"small.txt", "large.bin"}


def test_several_in_one_application(root: Path) -> None:
    """Their names do not get in each other's way, nor in those of functions."""
    app = Application()

    @app.route("/page")
    def files(request: HTTPRequest) -> str:
        return "page"

    for path in ("/static/", "/files/", "/a/b/", "/a_b/", "x.example.com/", "/"):
        FileServer(root).attach(app, path)
    FileServer(root).attach(app, "/named/", name="own")
    names = {
        "static": "/static/x",
        "files_2": "/files/x",
        "a_b": "/a/b/x",
        "a_b_2": "/a_b/x",
        "files_3": "/x",
        "own": "/named/x",
    }

    @app.route("/urls")
    def urls(request: HTTPRequest) -> dict[str, str]:
        return {name: url_for(name, "x") for name in names}

    client = app.test_client()
    assert client.get("/urls").json == names
    for path in ("/static/", "/files/", "/a/b/", "/a_b/", "/named/", "/"):
        assert client.get(f"{path}small.txt").data == b"small"
    assert client.get("/page").data == b"page"


def test_urls(root: Path) -> None:
    app = attached(FileServer(root))
    app.route("/urls")(lambda request: [url_for("static", "a b/ü?#%.txt"), url_for("static")])
    client = app.test_client()
    urls = client.get("/urls").json
    assert urls == ["/static/a%20b/%C3%BC%3F%23%25.txt", "/static/"]
    (root / "a b").mkdir()
    (root / "a b" / "ü?#%.txt").write_bytes(b"odd")
    assert client.get(urls[0]).data == b"odd"


def test_as_a_wsgi_application(root: Path) -> None:
    app = attached(FileServer(root))
    started: list[Any] = []
    environ: dict[str, Any] = {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/static/large.bin",
        "SERVER_NAME": "a",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.multithread": False,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": io.StringIO(),
    }
    output: Any = app.wsgi(environ, lambda *args: started.append(args))
    assert b"".join(output) == LARGE
    output.close()
    assert started[0][0] == "200 OK"


# --- Arguments --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error, match, args, kwargs",
    [
        (TypeError, "path is a str", (b"/tmp",), {}),
        (TypeError, "NoneType", (None,), {}),
        (FileNotFoundError, "none", ("/none",), {}),
        (NotADirectoryError, "this is none: .*passwd", ("/etc/passwd",), {}),
        (NotADirectoryError, "passwd", ("/etc/passwd/x",), {}),
        (ValueError, "null", ("/tmp/a\0b",), {}),
        (TypeError, r"blacklist is a list of patterns, as in \['x'\]", ("/", "x"), {}),
        (TypeError, "blacklist is a list", ("/", re.compile("x")), {}),
        (TypeError, "blacklist is a list", ("/", None), {}),
        (TypeError, "expressions for str", ("/", [re.compile(b"x")]), {}),
        (TypeError, "expressions for str", ("/", [7]), {}),
        (ValueError, "no regular expression: missing", ("/", ["(x"]), {}),
        (TypeError, r"defaults is a list of names, as in \['index.html'\]", ("/", (), "index.html"), {}),
        (TypeError, "each a str", ("/", (), [b"index.html"]), {}),
        (ValueError, "unlike ''", ("/", (), [""]), {}),
        (ValueError, "unlike 'a/b'", ("/", (), ["a/b"]), {}),
        (ValueError, "unlike '..'", ("/", (), [".."]), {}),
        (TypeError, "max_age is a number of seconds", ("/",), {"max_age": "3600"}),
        (TypeError, "max_age is a number of seconds", ("/",), {"max_age": True}),
        (ValueError, "0 or more, not -1", ("/",), {"max_age": -1}),
        (ValueError, "give one of them", ("/",), {"max_age": 1, "headers": {"cache-control": "private"}}),
        (ValueError, "line|control", ("/",), {"headers": {"X": "a\r\nb"}}),
        (ValueError, "content-length is set by the server", ("/",), {"headers": {"Content-Length": "1"}}),
        (TypeError, "headers are a dict", ("/",), {"headers": 7}),
    ],
)
def test_what_is_wrong_raises_at_the_constructor(
    error: type[Exception], match: str, args: Any, kwargs: dict[str, Any]
) -> None:
    with pytest.raises(error, match=match):
        FileServer(*args, **kwargs)


def test_what_is_wrong_raises_at_attach(root: Path) -> None:
    app = attached(FileServer(root))
    app.route("/x", name="own")(lambda request: "x")
    server: Any = FileServer(root)
    with pytest.raises(TypeError, match="attached to an Application or a Module"):
        server.attach(root)
    with pytest.raises(TypeError, match="path is a str"):
        server.attach(app, 7)
    with pytest.raises(ValueError, match="unlike 'static'"):
        server.attach(app, "static")
    with pytest.raises(ValueError, match="has a route"):
        server.attach(app)
    with pytest.raises(ValueError, match="'own' has been given to another function"):
        server.attach(app, "/y/", name="own")


def test_repr(root: Path) -> None:
    assert repr(FileServer(root)) == f"<FileServer {str(root)!r}>"


# --- When the system fails --------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/small.txt", "/a/b/c.txt", "/a/", "/"])
def test_no_descriptor_is_left(root: Path, path: str, monkeypatch: pytest.MonkeyPatch, expect_log: Any) -> None:
    """That passes: 503 (RFC 9110 §15.6.4), and it is logged."""
    expect_log("Too many open files")

    def failing(*_: Any, **__: Any) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    server = FileServer(root, defaults=())
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", failing)
        assert fetch(server, path).status == 503
    assert fetch(server, path).status == 200


@contextlib.contextmanager
def as_nobody() -> Iterator[None]:
    """Root may read everything."""
    if os.geteuid():
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def public() -> Iterator[Path]:
    """A directory that everybody gets at, unlike those of pytest."""
    with tempfile.TemporaryDirectory() as path:
        os.chmod(path, 0o755)
        yield Path(path)
        for directory, _, _ in os.walk(path):
            os.chmod(directory, 0o755)


def test_what_may_not_be_read(public: Path) -> None:
    """403: a file, a directory, an index; in a directory that may be passed through only, all that can be."""
    for name in ("readable", "unreadable", "passage/readable", "closed/readable", "indexed/index.html"):
        (public / name).parent.mkdir(exist_ok=True)
        (public / name).write_bytes(b"content")
    for name, mode in {"unreadable": 0, "passage": 0o111, "closed": 0, "indexed/index.html": 0}.items():
        (public / name).chmod(mode)
    expected = {
        "/": 200,
        "/readable": 200,
        "/unreadable": 403,
        "/passage/readable": 200,
        "/passage/none": 404,
        "/passage/": 403,
        "/closed/readable": 403,
        "/closed/": 403,
        "/indexed/": 403,
    }
    with MemoryEngine() as engine:
        web = HTTPServer(FileServer(public), engine=engine)

        def ask(path: str) -> int:
            peer = engine.accept(web)
            peer.send(asking(path))
            return Answer(peer.received).status

        for path in expected:  # what is imported late is imported now
            ask(path)
        with as_nobody():
            found = {path: ask(path) for path in expected}
    assert found == expected
