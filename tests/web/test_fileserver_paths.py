"""FileServer and what is not its to serve: no path leads out of the root, whatever is in it, nor makes it wait."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote_to_bytes

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from pants.http import HTTPRequest, HTTPServer, Refused
from pants.testing import MemoryEngine
from pants.web import Application, _fileserver_root
from pants.web._fileserver_root import IsADirectory, Root
from pants.web.fileserver import FileServer
from tests.web.support import Answer, asking, connected, fetch

SECRET = b"this is the secret"
INSIDE = b"this is for everybody"


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a root in it, and secrets all around; in the root, everything that is no file."""
    tree = tmp_path_factory.mktemp("tree")
    for name in ("root", "root2", "root/below", "root/below/deep", "private"):
        (tree / name).mkdir()
    for name in ("secret", "root2/secret", "private/secret", "private/index.html"):
        (tree / name).write_bytes(SECRET)
    root = tree / "root"
    for name in ("file", "below/file", "below/deep/file", "a\\b", "..a", "a..", "..."):
        (root / name).write_bytes(INSIDE)
    for name, target in {
        "link_to_file": "file",
        "link_to_directory": "below",
        "absolute_link": str(root / "file"),
        "link_to_link": "link_to_file",
        "below/up_and_in": "../below/deep/file",
        "link_to_root": ".",
        "out_file": "../secret",
        "out_directory": "../private",
        "out_absolute": str(tree / "secret"),
        "out_sibling": "../root2/secret",
        "out_twice": "link_to_out",
        "link_to_out": "../secret",
        "out_root": "/",
        "below/out": "../../secret",
        "below/deep/out_directory": "../../../private",
        "out_proc": "/proc/self/root",
        "out_fd": "/proc/self/fd",
        "dangling": "none",
        "loop": "loop",
        "device": "/dev/null",
        "zero": "/dev/zero",
        "terminal": "/dev/tty",
    }.items():
        (root / name).symlink_to(target)
    os.mkfifo(root / "fifo")
    (root / "link_to_fifo").symlink_to("fifo")
    with contextlib.suppress(PermissionError):
        os.mknod(root / "node", 0o600 | 0o020000, os.makedev(1, 5))  # /dev/zero
    with socket.socket(socket.AF_UNIX) as sock, contextlib.suppress(OSError):  # its path may be too long
        sock.bind(str(root / "socket"))
    return tree


def handlers(root: Path, **options: Any) -> list[tuple[str, Callable[[Any], object]]]:
    """The FileServer alone, and attached below two paths, each with what comes before the path of a file."""
    server = FileServer(root, hidden=True, **options)
    app = Application()
    server.attach(app, "/static/")
    whole = Application()
    server.attach(whole, "/")
    return [("", server), ("/static", app), ("", whole)]


def attached(root: Path) -> Application:
    app = Application()
    FileServer(root).attach(app, "/files/")
    return app


REFUSED = (400, 403, 404)

HOSTILE = [
    # Up, in all the ways that there are to write it.
    "/../secret",
    "/../../../../../../../../etc/passwd",
    "/below/../../secret",
    "/below/../file",
    "/./file",
    "/.",
    "/..",
    "/../",
    "/below/..",
    "/below/../",
    "/../root2/secret",
    "/../root/file",
    "/%2e%2e/secret",
    "/.%2e/secret",
    "/%2E./secret",
    "/%2e%2e%2fsecret",
    "/..%2fsecret",
    "/..%2Fsecret",
    "/below%2f..%2f..%2fsecret",
    "/below%2ffile",
    "/%2e%2e%5csecret",
    "/..\\secret",
    "/..%5csecret",
    "/\\..\\secret",
    "/%252e%252e/secret",
    "/%252e%252e%252fsecret",
    "/..%252fsecret",
    "/%c0%ae%c0%ae/secret",
    "/%c0%ae%c0%ae%c0%afsecret",
    "/..%c0%afsecret",
    "/%u002e%u002e/secret",
    "/..;/secret",
    "/..%3b/secret",
    "/.../secret",
    "/....//secret",
    "/..%00/secret",
    "/%uff0e%uff0e/secret",
    "/%ef%bc%8e%ef%bc%8e/secret",
    # From the top.
    "//etc/passwd",
    "///etc/passwd",
    "/%2fetc%2fpasswd",
    "/%2f%2fetc/passwd",
    "//{tree}/secret",
    "/{tree}/secret",
    "/{tree}/root/file",
    "/~/secret",
    "/~root/.profile",
    "/file:///etc/passwd",
    "/C:/Windows/win.ini",
    "/C:%5cWindows%5cwin.ini",
    "/%5c%5chost%5cshare",
    # By links.
    "/out_file",
    "/out_directory/secret",
    "/out_directory/",
    "/out_directory",
    "/out_absolute",
    "/out_sibling",
    "/out_twice",
    "/link_to_out",
    "/out_root/etc/passwd",
    "/out_root{tree}/secret",
    "/below/out",
    "/below/deep/out_directory/secret",
    "/below/deep/out_directory/",
    "/link_to_directory/out",
    "/link_to_root/out_file",
    "/link_to_root/below/deep/out_directory/secret",
    "/out_proc/etc/passwd",
    "/out_fd/0",
    "/out_fd/",
    "/out_file/",
    # What is no file.
    "/dangling",
    "/loop",
    "/loop/file",
    "/device",
    "/zero",
    "/terminal",
    "/fifo",
    "/link_to_fifo",
    "/fifo/",
    "/node",
    "/socket",
    "/file/",
    "/file/.",
    "/file/..",
    "/file/more",
    "/file/more/",
    "/link_to_file/",
    "/below//file",
    "/below//",
    "//",
    "///",
    "//file",
    # No name at all.
    "/file%00",
    "/%00",
    "/file%00.txt",
    "/%00/file",
    "/none",
    "/none/none/none/none/none/none/none/none/none",
    "/" + "a" * 255,
    "/" + "a" * 256,
    "/" + "a" * 5000,
    "/" + "a/" * 2500,
    "/" + "../" * 1000 + "etc/passwd",
    "/" + "below/../" * 500 + "file",
    "/" + "%2e%2e/" * 500,
    "/" + "%ff" * 300,
    "/%ff",
    "/%ed%a0%80",
    "/%f4%90%80%80",
    "/%",
    "/%2",
    "/%zz",
    "/\xe4",
    "/\xff\xfe",
]


@pytest.mark.parametrize("template", HOSTILE, ids=lambda path: ascii(path)[:60])
def test_hostile_paths(tree: Path, template: str) -> None:
    path = template.replace("{tree}", str(tree))
    for prefix, handler in handlers(tree / "root"):
        with MemoryEngine() as engine:
            peer = engine.accept(HTTPServer(handler, engine=engine))
            peer.send(asking(prefix + path))
            received = peer.received
        answer = Answer(received)
        assert answer.status in REFUSED, (prefix, answer)
        for content in (SECRET, INSIDE, b"root:", str(tree).encode()):
            assert content not in received


@pytest.mark.parametrize("template", HOSTILE, ids=lambda path: ascii(path)[:60])
def test_hostile_paths_where_links_are_followed(tree: Path, template: str) -> None:
    """Nothing but links leads out then."""
    path = template.replace("{tree}", str(tree))
    for prefix, handler in handlers(tree / "root", follow_symlinks=True):
        answer = fetch(handler, prefix + path)
        assert answer.status in REFUSED or "out" in path, (prefix, answer)
        assert answer.status < 500


@pytest.mark.parametrize(
    "path, content",
    [
        ("/file", INSIDE),
        ("/below/file", INSIDE),
        ("/below/deep/file", INSIDE),
        ("/link_to_file", INSIDE),
        ("/link_to_link", INSIDE),
        ("/absolute_link", INSIDE),
        ("/link_to_directory/file", INSIDE),
        ("/link_to_directory/deep/file", INSIDE),
        ("/below/up_and_in", INSIDE),
        ("/link_to_root/link_to_root/link_to_root/file", INSIDE),
        ("/" + "link_to_root/" * 20 + "below/deep/file", INSIDE),
        ("/..a", INSIDE),
        ("/a..", INSIDE),
        ("/...", INSIDE),
        ("/a%5cb", INSIDE),
        ("/%66il%65", INSIDE),
        ("/below/%64eep/file", INSIDE),
        ("/file?../../secret", INSIDE),
        ("/link_to_directory/", b"deep/"),
        ("/link_to_root/below/", b"deep/"),
    ],
)
def test_what_is_inside_is_served(tree: Path, path: str, content: bytes) -> None:
    """Names with dots or a backslash in them, and links that stay in the root."""
    for prefix, handler in handlers(tree / "root"):
        answer = fetch(handler, prefix + path)
        assert (answer.status, content in answer.content) == (200, True), prefix


def test_a_link_to_a_directory_is_redirected_as_that(tree: Path) -> None:
    answer = fetch(FileServer(tree / "root"), "/link_to_directory")
    assert (answer.status, answer.headers["Location"]) == (301, "/link_to_directory/")


def test_following_links(tree: Path) -> None:
    server = FileServer(tree / "root", follow_symlinks=True)
    for path in ("/out_file", "/out_directory/secret", "/out_directory/", "/out_twice", "/below/out"):
        assert fetch(server, path).content == SECRET
    assert fetch(server, "/out_root/etc/").status == 200
    page = fetch(server, "/").content
    for name in (b'"out_file"', b'"out_directory/"', b'"link_to_file"'):
        assert name in page
    for name in (b'"dangling"', b'"loop"', b'"zero"', b'"fifo"'):
        assert name not in page


# --- The same by chance -----------------------------------------------------------------------------------------

NAMES = ["file", "below", "deep", "secret", "private", "root", "root2", "etc", "passwd", "a\\b"]
NAMES += ["link_to_root", "link_to_directory", "out_root", "out_directory", "out_file", "out_proc", "up_and_in", "proc"]
DOTS = [".", "..", "...", "", "%2e%2e", "%2E.", "%252e%252e", "..%00", "%00", "..;", " ..", ".. "]
SEPARATORS = ["/", "//", "%2f", "%2F", "\\", "%5c", "%252f", "%c0%af"]
PIECES = st.one_of(
    st.sampled_from(NAMES + DOTS),
    st.text(max_size=4).map(lambda text: quote(text.encode("utf-8", "surrogatepass"))),
    st.binary(max_size=3).map(quote),
    st.sampled_from(NAMES).map(lambda name: "".join(f"%{ord(char):02X}" for char in name)),
)
PATHS = st.lists(st.tuples(st.sampled_from(SEPARATORS), PIECES), max_size=8).map(
    lambda pairs: "/" + "".join([separator + piece for separator, piece in pairs])[1:]
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(PATHS)
@example("/out_root/proc/self/root/etc/passwd")
@example("/link_to_root/../../secret")
def test_no_path_ever_gets_out(tree: Path, path: str) -> None:
    """What is sent is what is inside, or a page."""
    root = tree / "root"
    for prefix, handler in handlers(root)[:2]:
        answer = fetch(handler, prefix + path)
        assert answer.status in (200, 301, *REFUSED), path
        assert SECRET not in answer.content
        if answer.status == 200 and answer.content != INSIDE:
            assert b"<title>Index of " in answer.content
        if answer.status in (200, 301):
            # Whatever is found is where the path says, without any cleverness, and that is inside.
            place = os.path.realpath(os.fsencode(root) + unquote_to_bytes(path))
            assert f"{os.fsdecode(place)}/".startswith(f"{root.resolve()}/")
            assert os.path.exists(place)


# --- Files that are exchanged -----------------------------------------------------------------------------------


def test_links_that_are_exchanged_all_the_time(tmp_path: Path) -> None:
    """A file, a directory on the way and a link inside, each in turns replaced by a link that leads out."""
    root = tmp_path / "root"
    for place in (root / "directory", tmp_path / "directory", root / "good"):
        place.mkdir(parents=True)
    for place in (root, root / "directory", root / "good"):
        (place / "file").write_bytes(INSIDE)
    for place in (tmp_path, tmp_path / "directory"):
        (place / "file").write_bytes(SECRET)
    (root / "link").symlink_to("good")
    over = threading.Event()

    def exchange() -> None:
        temporary = root / "temporary"
        while not over.is_set():
            for name, out, inside in (("link", "..", "good"), ("file", "../file", "good/file")):
                for target in (out, inside):
                    temporary.symlink_to(target)
                    temporary.rename(root / name)
            (root / "directory").rename(root / "kept")
            (root / "directory").symlink_to("../directory")
            (root / "directory").unlink()
            (root / "kept").rename(root / "directory")

    thread = threading.Thread(target=exchange)
    thread.start()
    seen = set()
    try:
        server = FileServer(root)
        with MemoryEngine() as engine:
            web = HTTPServer(server, engine=engine)
            for _ in range(300):
                for path in ("/file", "/directory/file", "/link/file", "/link/link/file"):
                    peer = engine.accept(web)
                    peer.send(asking(path))
                    answer = Answer(peer.received)
                    assert answer.content == INSIDE or answer.status == 404
                    seen.add(answer.status)
                    peer.end()
    finally:
        over.set()
        thread.join()
    assert 200 in seen


def test_what_was_inside_and_is_moved_out(tmp_path: Path) -> None:
    """Even though the very file has been served before."""
    root, outside = tmp_path / "root", tmp_path / "outside"
    (root / "directory").mkdir(parents=True)
    outside.mkdir()
    (root / "directory" / "file").write_bytes(INSIDE)
    (root / "file").write_bytes(INSIDE)
    server = FileServer(root)
    assert fetch(server, "/directory/file").content == fetch(server, "/file").content == INSIDE
    for name in ("directory", "file"):
        (root / name).rename(outside / name)
        (root / name).symlink_to(outside / name)
    assert fetch(server, "/directory/file").status == fetch(server, "/file").status == 404


def test_what_is_removed_and_comes_back(tmp_path: Path) -> None:
    file = tmp_path / "file"
    server = FileServer(tmp_path)
    for content in (b"first", b"second", b"third"):
        assert fetch(server, "/file").status == 404
        file.write_bytes(content)
        assert fetch(server, "/file").content == content
        file.unlink()
        file.mkdir()
        assert fetch(server, "/file").status == 301
        file.rmdir()


def test_a_root_that_is_gone(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "file").write_bytes(INSIDE)
    server = FileServer(root)
    (root / "file").unlink()
    root.rmdir()
    assert fetch(server, "/file").status == fetch(server, "/").status == 404
    root.mkdir()
    assert fetch(server, "/").status == 200


# --- The root alone ---------------------------------------------------------------------------------------------


@pytest.fixture(params=["kernel", "look-up"])
def root(tree: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Root:
    """Where the kernel tells where files lie, and where it does not, as without /proc."""
    if request.param == "look-up":

        def failing(descriptor: int) -> str:
            raise FileNotFoundError

        monkeypatch.setattr(_fileserver_root, "_ask_kernel", failing)
    return Root(str(tree / "root"), False, lambda path: None)


@pytest.fixture(autouse=True)
def no_descriptor_is_left() -> Iterator[None]:
    before = set(os.listdir("/dev/fd"))
    yield
    assert set(os.listdir("/dev/fd")) == before


@pytest.mark.parametrize("name", ["file", "below/deep/file", "link_to_file", "absolute_link", "link_to_directory/file"])
def test_opening_a_file(root: Root, name: str) -> None:
    descriptor, status = root.open(root.base + name)
    assert os.read(descriptor, 100) == INSIDE
    assert status.st_ino == os.fstat(descriptor).st_ino
    os.close(descriptor)


@pytest.mark.parametrize("name", ["out_file", "out_directory/secret", "out_root/etc/passwd", "below/out", "dangling"])
def test_opening_what_is_outside(root: Root, name: str) -> None:
    with pytest.raises(Refused) as raised:
        root.open(root.base + name)
    assert raised.value.status == 404


@pytest.mark.parametrize("name", ["", "below", "below/deep", "link_to_directory", "link_to_root", "link_to_root/below"])
def test_opening_a_directory(root: Root, name: str) -> None:
    descriptor, below = root.open_directory(f"{root.base}{name}/")
    assert "file" in os.listdir(descriptor)
    assert below is not None
    assert os.path.samestat(os.fstat(descriptor), os.stat(root.base + below))
    assert not below.startswith("link")
    os.close(descriptor)
    if name:
        with pytest.raises(IsADirectory):
            root.open(root.base + name)


@pytest.mark.parametrize("name", ["file", "out_directory", "out_root", "none", "fifo", "below/deep/out_directory"])
def test_opening_what_is_no_directory_inside(root: Root, name: str) -> None:
    with pytest.raises(Refused) as raised:
        root.open_directory(f"{root.base}{name}/")
    assert raised.value.status == 404


def test_following_a_link(root: Root, tree: Path) -> None:
    path = str(tree / "root")
    directory = os.open(path, os.O_RDONLY)
    try:
        for name, target in {"link_to_file": "file", "link_to_directory": "below", "link_to_fifo": "fifo"}.items():
            status = root.follow(name, directory, path)
            assert status is not None
            assert os.path.samestat(status, os.stat(tree / "root" / target))
        for name in ("out_file", "out_directory", "out_root", "dangling", "loop", "zero", "none"):
            assert root.follow(name, directory, path) is None
    finally:
        os.close(directory)


@pytest.mark.parametrize("target", ["../out", None])
def test_a_file_that_is_exchanged_while_it_is_looked_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str | None
) -> None:
    """Where the kernel does not tell: what has been opened is not what was there."""
    root = tmp_path / "root"
    for place, content in ((root / "directory", INSIDE), (tmp_path / "out", SECRET)):
        place.mkdir(parents=True)
        (place / "file").write_bytes(content)
    (root / "link").symlink_to("directory/file")
    genuine = _fileserver_root._open_plain

    def failing(descriptor: int) -> str:
        raise FileNotFoundError

    def exchanging(name: str, *args: Any) -> int:
        if name.endswith("directory/file"):
            (root / "directory").rename(root / "kept")
            if target is not None:
                (root / "directory").symlink_to(target)
        return genuine(name, *args)

    monkeypatch.setattr(_fileserver_root, "_ask_kernel", failing)
    monkeypatch.setattr(_fileserver_root, "_open_plain", exchanging)
    server = Root(str(root), False, lambda path: None)
    with pytest.raises(Refused) as raised:
        server.open(server.base + "link")
    assert raised.value.status == 404
    assert (root / "kept").exists()


def test_a_file_that_is_removed_while_links_are_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel tells another name for it then, which may hide what it was."""
    (tmp_path / "program.py").write_bytes(SECRET)
    (tmp_path / "link").symlink_to("program.py")
    (tmp_path / "odd (deleted)").write_bytes(INSIDE)
    (tmp_path / "odd").symlink_to("odd (deleted)")
    genuine = os.readlink
    server = FileServer(tmp_path)

    def removing(path: str) -> str:
        if path.startswith("/proc/self/fd/"):
            with contextlib.suppress(FileNotFoundError):
                (tmp_path / "program.py").unlink()
        return genuine(path)

    monkeypatch.setattr(os, "readlink", removing)
    assert fetch(server, "/link").status == 404
    assert fetch(server, "/odd").content == INSIDE


# --- What is opened ---------------------------------------------------------------------------------------------


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """What is opened to be used, and which kind of file it is; with O_PATH nothing is."""
    found: list[tuple[str, int]] = []
    genuine = os.open

    def noting(path: str, flags: int, *args: Any, **kwargs: Any) -> int:
        descriptor = genuine(path, flags, *args, **kwargs)
        if not flags & getattr(os, "O_PATH", 0):
            found.append((path, stat.S_IFMT(os.fstat(descriptor).st_mode)))
        return descriptor

    monkeypatch.setattr(os, "open", noting)
    return found


NO_FILES = ["device", "zero", "terminal", "fifo", "link_to_fifo", "node", "socket"]


@pytest.mark.parametrize("follow_symlinks", [False, True])
@pytest.mark.parametrize("kernel", [False, True])
def test_nothing_is_opened_but_files_and_directories(
    tree: Path, opened: list[tuple[str, int]], monkeypatch: pytest.MonkeyPatch, kernel: bool, follow_symlinks: bool
) -> None:
    """By whatever way, and whether the kernel tells where links lead or not."""

    def failing(descriptor: int) -> str:
        raise FileNotFoundError

    if not kernel:
        monkeypatch.setattr(_fileserver_root, "_ask_kernel", failing)
    options: dict[str, Any] = {"follow_symlinks": follow_symlinks, "hidden": True}
    deep = "link_to_root/" * 6
    for name in NO_FILES:
        for server in (FileServer(tree / "root", **options), FileServer(tree / "root", precompressed=True, **options)):
            for path in (f"/{name}", f"/{name}/", f"/link_to_root/{name}", f"/{deep}{name}"):
                assert fetch(server, path, headers={"Accept-Encoding": "gzip"}).status == 404
        assert fetch(FileServer(tree / "root", defaults=[name], **options), "/").status == 200
    assert opened
    assert {kind for _, kind in opened} <= {stat.S_IFREG, stat.S_IFDIR}


def test_nothing_outside_is_opened(tree: Path, opened: list[tuple[str, int]]) -> None:
    server = FileServer(tree / "root", defaults=())
    names = [path.name for path in (tree / "root").iterdir() if path.name.startswith("out")]
    assert len(names) > 5
    for name in names:
        for path in (f"/{name}", f"/{name}/", f"/{name}/secret", f"/link_to_directory/../{name}"):
            assert fetch(server, path).status == 404
    assert opened == []


def test_send_file_opens_nothing_but_files(tree: Path, opened: list[tuple[str, int]]) -> None:
    """`HTTPRequest.send_file`: a file that is no regular one is a 404."""

    def handler(request: HTTPRequest) -> None:
        request.send_file(str(tree / "root") + request.path)

    for name in NO_FILES:
        assert fetch(handler, f"/{name}").status == 404
    assert opened == []
    assert fetch(handler, "/link_to_file").content == INSIDE


@pytest.mark.parametrize("how", ["FileServer", "send_file"])
def test_the_writer_of_a_fifo_is_not_let_in(tmp_path: Path, how: str) -> None:
    """It waits for its reader, as it was."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    (tmp_path / "link").symlink_to("fifo")
    tasks: list[int] = []
    errors: list[OSError] = []

    def write() -> None:
        tasks.append(threading.get_native_id())
        try:
            descriptor = os.open(fifo, os.O_WRONLY)
            try:
                os.write(descriptor, b"written")
            finally:
                os.close(descriptor)
        except OSError as error:
            errors.append(error)

    def waits() -> bool:
        """Whether the writer is in a call of the system, as far as that can be told."""
        with contextlib.suppress(OSError):
            return bool(tasks) and Path(f"/proc/self/task/{tasks[0]}/stat").read_text().split(") ")[1][0] == "S"
        return True

    def send(request: HTTPRequest) -> None:
        request.send_file(str(tmp_path) + request.path)

    handler = FileServer(tmp_path) if how == "FileServer" else send
    thread = threading.Thread(target=write, daemon=True)
    thread.start()
    end = time.monotonic() + 5
    while not waits() and time.monotonic() < end:
        pass
    for path in ("/fifo", "/link", "/fifo/", "/fifo"):
        assert fetch(handler, path).status == 404
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    try:
        thread.join(10)
        assert not thread.is_alive()
        assert errors == []
        assert os.read(reader, 100) == b"written"
    finally:
        os.close(reader)


# --- What links lead to -----------------------------------------------------------------------------------------


@pytest.fixture
def named(tmp_path: Path) -> Path:
    """A directory with links of innocent names to what is not served, and to what is."""
    root = tmp_path / "root"
    for name in (".git/config", "a/b/c", "a/program.py", ".well-known/file", "a/.hidden", "plain", ".dot/d/e/f/g/h"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(INSIDE if name in ("plain", ".well-known/file", "a/b/c") else SECRET)
    for name, target in {
        "innocent": "a/program.py",
        "twice": "innocent",
        "git": ".git",
        "config": str(root / ".git" / "config"),
        "a/up": "../.git/config",
        "a/hidden": ".hidden",
        "known": ".well-known",
        "good": "plain",
        "short": "a/b",
        "dot": ".dot",
        "whole": ".",
        "index/index.html": "../a/program.py",
    }.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).symlink_to(target)
    return root


FORBIDDEN = ["/innocent", "/twice", "/git", "/git/", "/git/config", "/git/none/", "/config", "/a/up", "/a/hidden"]
FORBIDDEN += ["/dot/d/e/f/g/h", "/dot/d/e/f/g/", "/whole/innocent", "/" + "whole/" * 8 + "a/program.py", "/index/"]


@pytest.fixture(params=["kernel", "look-up"])
def any_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the kernel tells where files lie, and where it does not."""

    def failing(descriptor: int) -> str:
        raise FileNotFoundError

    if request.param == "look-up":
        monkeypatch.setattr(_fileserver_root, "_ask_kernel", failing)


@pytest.mark.usefixtures("any_way")
@pytest.mark.parametrize("follow_symlinks", [False, True])
def test_what_is_not_served_by_another_name(named: Path, follow_symlinks: bool) -> None:
    """403, as by its own; what does not exist may be a 404."""
    server = FileServer(named, follow_symlinks=follow_symlinks)
    for prefix, handler in (("", server), ("/files", attached(named))):
        for path in FORBIDDEN:
            answer = fetch(handler, prefix + path)
            assert answer.status == (404 if "none" in path else 403), path
            assert SECRET not in answer.content
            assert b"config" not in answer.content
    server = FileServer(named, (), hidden=True, follow_symlinks=follow_symlinks)
    for path in FORBIDDEN:
        assert fetch(server, path).status in (200, 301, 404), path


@pytest.mark.usefixtures("any_way")
@pytest.mark.parametrize("path", ["/known/file", "/good", "/short/c", "/whole/plain", "/whole/known/file"])
def test_what_is_served_by_another_name(named: Path, path: str) -> None:
    assert fetch(FileServer(named), path).content == INSIDE


@pytest.mark.usefixtures("any_way")
@pytest.mark.parametrize("pattern", ["^a/b/", "/a/b$", "a/b/c", "^/a/b/c$"])
def test_a_pattern_of_paths_is_of_true_ones(named: Path, pattern: str) -> None:
    server = FileServer(named, [pattern])
    assert fetch(server, "/short/c").status == 403
    assert fetch(server, "/good").status == 200
    assert b'"c"' not in fetch(server, "/short/").content


@pytest.mark.parametrize("sendfile", [True, "X-Accel-Redirect"])
def test_no_proxy_is_told_of_what_is_not_served(named: Path, sendfile: Any) -> None:
    with connected(FileServer(named), sendfile=sendfile, file_root=named) as (_, peer):
        for path in FORBIDDEN[:-1]:
            peer.take()
            peer.send(asking(path))
            answer = Answer(peer.received)
            assert answer.status in (403, 404)
            assert SECRET not in answer.content


def test_names_outside_are_no_matter(named: Path) -> None:
    """Whoever has links followed decides what they lead to."""
    outside = named.parent / ".outside"
    outside.mkdir()
    (outside / "program.py").write_bytes(INSIDE)
    (named / "out").symlink_to(outside / "program.py")
    (named / "directory").symlink_to(outside)
    server = FileServer(named, follow_symlinks=True)
    assert fetch(server, "/out").content == INSIDE
    assert fetch(server, "/directory/program.py").status == 403  # that is a name in the URL
    assert fetch(server, "/directory/").status == 200


@pytest.mark.parametrize(
    "blacklist, coding",
    [
        ([], "br"),
        ([r"\.gz$"], "br"),
        ([r"\.br$"], "gzip"),
        ([r"\.gz$", r"\.br$"], None),
        (["^directory/file.br$"], "gzip"),
        ([r"/file\.(br|gz)$"], None),
    ],
)
def test_neighbours_that_are_not_served(tmp_path: Path, blacklist: list[str], coding: str | None) -> None:
    """Are not sent in the place of the file."""
    place = tmp_path / "directory"
    place.mkdir()
    for name in ("file", "file.br", "file.gz"):
        (place / name).write_bytes(name.encode())
        os.utime(place / name, (1, 1))
    server = FileServer(tmp_path, blacklist, ["file"], precompressed=True)
    for path in ("/directory/file", "/directory/"):
        answer = fetch(server, path, headers={"Accept-Encoding": "gzip, br"})
        assert answer.headers["Content-Encoding"] == coding
        assert answer.content == {"br": b"file.br", "gzip": b"file.gz", None: b"file"}[coding]
        assert answer.headers["Vary"] == "Accept-Encoding"


def test_neighbours_that_are_links_to_what_is_not_served(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_bytes(SECRET)
    (tmp_path / "file").write_bytes(INSIDE)
    os.utime(tmp_path / "file", (1, 1))
    (tmp_path / "file.gz").symlink_to("program.py")
    answer = fetch(FileServer(tmp_path, precompressed=True), "/file", headers={"Accept-Encoding": "gzip"})
    assert (answer.content, answer.headers["Content-Encoding"]) == (INSIDE, None)
