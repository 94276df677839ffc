"""The command ``pants-web``: what it runs, where, and what it says about what it cannot."""

from __future__ import annotations

import pathlib
import re
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from typing import Any

import pytest
import trustme

from pants import __version__
from pants.web import Application, _command, _command_line, _running
from pants.web._addresses import parse_bind, url_of
from tests.web.running_support import DEADLINE, Program, get

SITE = """
    from pants.web import Application

    app = Application()

    @app.route("/")
    def index(request):
        return "site " + __name__ + " " + request.scheme + " " + request.remote_ip

    @app.route("/fail")
    def fail(request):
        raise LookupError("spam")

    class holder:
        class inner:
            app = app

    def create():
        return app

    def create_for(name):
        return app

    def broken():
        raise LookupError("nothing there")

    def wsgi(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"a WSGI application"]

    async def asgi(scope, receive, send):
        pass

    async def handler(request):
        pass

    number = 3
"""


@pytest.fixture
def site(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[pathlib.Path]:
    """A directory to be in, with modules to import; they are forgotten afterwards."""
    package = tmp_path / "sitepackage"
    package.mkdir()
    (package / "__init__.py").touch()
    for name in ("site_module", "sitepackage/inner", "sitepackage/wsgi", "site-dash"):
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(SITE))
    (tmp_path / "site_application.py").write_text("from site_module import app as application\n")
    (tmp_path / "site_two.py").write_text("from site_module import app as one\ntwo = one\n")
    (tmp_path / "site_import.py").write_text("import no_such_module\n")
    (tmp_path / "site_syntax.py").write_text("def f(:\n")
    (tmp_path / "site_exit.py").write_text("raise SystemExit(4)\n")
    (tmp_path / "site_runs.py").write_text("from site_module import app\napp.run(80, workers=7)\n")
    (tmp_path / "misnamed").mkdir()
    (tmp_path / "misnamed" / "json.py").write_text("app = 1\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield tmp_path
    for module_name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None)).startswith(f"{tmp_path}/"):
            del sys.modules[module_name]


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[tuple[tuple[Any, ...], dict[str, Any]]]:
    """What `run` was called with, instead of running."""
    calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
    run = _running.run

    def note(*args: Any, **kwargs: Any) -> None:
        if _running._skipped is None:
            calls.append((args, kwargs))
        else:
            run(*args, **kwargs)

    monkeypatch.setattr(_running, "run", note)
    return calls


# --- What it runs -----------------------------------------------------------------------------------------------------


def start(directory: pathlib.Path, *arguments: str) -> Program:
    return Program("-m", "pants.web", *arguments, directory=directory)


def test_an_application_is_run(site: pathlib.Path) -> None:
    with start(site, "-b", "0", "site_module:app") as program:
        port = program.expect_port()
        assert get(port) == "site site_module http 127.0.0.1"
        program.expect(r'127\.0\.0\.1 - - \[.*\] "GET / HTTP/1\.1" 200 31 \d+us')
        program.send(signal.SIGINT)
        assert program.wait() == 0
        assert program.errors.count("\n") == 2


def test_workers_tls_and_a_format(site: pathlib.Path) -> None:
    certificate = trustme.CA().issue_cert("127.0.0.1", key_type=trustme.KeyType.RSA)
    certificate.private_key_pem.write_to_path(site / "plain.pem")
    command = ["openssl", "pkey", "-in", "plain.pem", "-aes128", "-passout", "pass:secret", "-out", "key.pem"]
    subprocess.run(command, check=True, capture_output=True, timeout=DEADLINE)
    for pem in certificate.cert_chain_pems:
        pem.write_to_path(site / "cert.pem")
    (site / "password").write_text("secret\n")
    tls = ["--tls-cert", "cert.pem", "--tls-key", "key.pem", "--tls-password-file", "password"]
    with start(site, *tls, "-b", "0", "-w", "2", "--access-log", "%m of %U", "site_module") as program:
        program.expect(r"Serving https://127.0.0.1:\d+/ with 2 workers")
        program.send(signal.SIGTERM)
        assert program.wait() == 0


def test_a_wsgi_application_behind_a_proxy(site: pathlib.Path) -> None:
    options = ["--wsgi", "--threads", "0", "--no-access-log", "--trusted-proxy", "127.0.0.1", "-b", "127.0.0.1:0"]
    with start(site, *options, "site_module:wsgi") as program:
        assert get(program.expect_port()) == "a WSGI application"
        program.send(signal.SIGTERM)
        assert program.wait() == 0
        assert program.errors.count("\n") == 1


def test_it_is_started_again_when_it_changes(site: pathlib.Path) -> None:
    """Also if it had an error at first, of which the supervisor knows nothing but what it was told."""
    (site / "nested").mkdir()
    (site / "nested" / "part.py").write_text("text = (")
    (site / "other_site.py").write_text("import site_module, nested.part\napp = site_module.app\n")
    quick = "from pants.web import _command, _reloading as r; r._INTERVAL = 0.05; raise SystemExit(_command.main())"
    arguments = ["-b", "0", "-r", "--watch", "misnamed", "other_site:app"]
    with Program("-c", quick, *arguments, directory=site) as program:
        program.expect("SyntaxError")
        assert "pants/web" not in program.errors
        program.expect("has ended with exit status 1; it is started again when one of its files changes")
        (site / "nested" / "part.py").write_text("text = ''")
        program.expect(r"nested/part\.py has changed")
        assert get(program.expect_port()).startswith("site site_module")
        (site / "other_site.py").write_text("import site_module\n")
        program.expect("pants-web: other_site has no app$")
        program.expect("has ended with exit status 2")
        (site / "other_site.py").write_text("import site_module\napp = site_module.app\n")
        program.expect_port()
        program.send(signal.SIGINT)
        assert program.wait() == 0


def test_what_is_wrong_ends_the_supervisor_too(site: pathlib.Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with start(site, "-r", "-b", address, "site_module") as program:
            assert program.wait() == 1
    assert "pants-web: cannot listen on" in program.errors


@pytest.mark.parametrize(
    "text, name",
    [
        ("site_module", "site_module"),
        ("site_module:app", "site_module"),
        ("site_module:holder.inner.app", "site_module"),
        ("site_module:create()", "site_module"),
        ("site_application", "site_module"),
        ("sitepackage.inner:app", "sitepackage.inner"),
        ("site_module.py:app", "site_module"),
        ("sitepackage/inner.py", "sitepackage.inner"),
        ("./sitepackage/../site_module.py", "site_module"),
    ],
)
def test_how_it_is_named(site: pathlib.Path, ran: list[Any], text: str, name: str) -> None:
    assert _command.main(["-b", "0", text]) == 0
    [((app, *_), _options)] = ran
    assert isinstance(app, Application)
    assert app.test_client().get("/").text.startswith(f"site {name} ")


def test_a_package_by_its_file(site: pathlib.Path, ran: list[Any]) -> None:
    (site / "sitepackage" / "__init__.py").write_text(textwrap.dedent(SITE))
    assert _command.main(["-b", "0", "sitepackage/__init__.py"]) == 0
    assert ran[0][0][0].test_client().get("/").text.startswith("site sitepackage ")


def test_a_file_elsewhere(site: pathlib.Path, ran: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    (site / "elsewhere").mkdir()
    monkeypatch.chdir(site / "elsewhere")
    assert _command.main(["-b", "0", "../site_application.py"]) == 0  # which imports the one beside it
    assert len(ran) == 1


def test_one_that_runs_itself(site: pathlib.Path, ran: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    """As the programs of the manual do, without looking whether they are the main program."""
    assert _command.main(["-b", "0", "site_runs"]) == 0
    assert "run() is called when site_runs is imported; that is left out here" in capsys.readouterr().err
    assert [options["workers"] for _, options in ran] == [1]


@pytest.mark.parametrize(
    "arguments, expected",
    [
        ([], {"workers": 1, "reload": False, "access_log": True, "grace": 30.0}),
        (["-w", "0"], {"workers": 0}),
        (["-w", "3", "--grace", "2.5"], {"workers": 3, "grace": 2.5}),
        (["--no-access-log"], {"access_log": False}),
        (["--access-log", "combined"], {"access_log": "combined"}),
        (["--trusted-proxy", "10.0.0.0/8", "--trusted-proxy", "unix"], {"trusted_proxies": ["10.0.0.0/8", "unix"]}),
    ],
)
def test_the_options(site: pathlib.Path, ran: list[Any], arguments: list[str], expected: dict[str, Any]) -> None:
    assert _command.main(["-b", "127.0.0.1:0", *arguments, "site_module"]) == 0
    [((_app, address, tls), options)] = ran
    assert (address, tls) == (("127.0.0.1", 0), None)
    assert options | expected == options


def test_debug(site: pathlib.Path, ran: list[Any], expect_log: Any) -> None:
    expect_log("LookupError: spam")
    for arguments in ([], ["--debug"]):
        assert _command.main(["-b", "0", *arguments, "site_module"]) == 0
        app = ran.pop()[0][0]
        assert app.debug is bool(arguments)
        assert ("Traceback" in app.test_client(raise_failures=False).get("/fail").text) is bool(arguments)
    assert _command.main(["-b", "0", "-d", "--wsgi", "site_module:wsgi"]) == 0
    assert ran.pop()[0][0].debug


# --- What it cannot ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text, message",
    [
        ("no_such", "there is no module no_such, neither in .* nor installed"),
        ("no_such.inner:app", "there is no module no_such,"),
        ("sitepackage.no_such", "there is no module sitepackage.no_such,"),
        ("site_module.app", r"site_module\.app is no module; did you mean site_module:app\?"),
        ("site_module.no_such", r"there is no module site_module\.no_such,"),
        ("a b", "'a b' is not the name of a module; write MODULE:NAME or FILE.py:NAME"),
        (".inner", "'.inner' is not the name of a module"),
        ("", "'' is not the name of a module"),
        (":app", "'' is not the name of a module"),
        ("no_such.py", "there is no file /.*/no_such.py"),
        ("./site_module", "there is no file /.*/site_module"),
        ("site-dash.py", "site-dash.py cannot be imported, as its name is none of a module"),
        ("misnamed/json.py", "json.py has the name of another module, <module 'json'.*; rename it"),
        ("site_module:no_such", r"site_module has no no_such; did you mean site_module:app\?"),
        ("site_module:holder.no_such", r"site_module has no holder\.no_such; did you mean site_module:app\?"),
        ("site_two", "site_two has no app and no application; write MODULE:NAME or FILE.py:NAME$"),
        ("sitepackage", "sitepackage has no app and no application"),
        ("site_module:app()x", "'app()x' is not a name in a module"),
        ("site_module:number()", "number in site_module is no function; leave the parentheses out"),
        ("site_module:number", "3 cannot be called with a request, so it is no application"),
        ("site_module:create", "takes no request; if it returns the application, write () behind its name"),
        ("site_module:wsgi", "takes two arguments, as WSGI applications do; to run one of these give --wsgi"),
        ("site_module:asgi", "takes three arguments, as ASGI applications do, which cannot be run here"),
    ],
)
def test_what_is_not_there(site: pathlib.Path, ran: list[Any], text: str, message: str,
                           capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    assert _command.main(["-b", "0", "--", text]) == 2
    assert re.search(message if ".*" in message or "\\" in message else re.escape(message).replace(r"\$", "$"),
                     capsys.readouterr().err.strip())  # fmt: skip
    assert not ran


def test_what_is_no_wsgi_application(site: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _command.main(["-b", "0", "--wsgi", "site_module:number"]) == 2
    assert capsys.readouterr().err == "pants-web: 3 cannot be called, so it is no WSGI application\n"
    assert _command.main(["-b", "0", "--wsgi", "site_module:app"]) == 2
    assert "is none of WSGI's, but of Pants; leave --wsgi out" in capsys.readouterr().err


def test_a_directory_that_is_gone(site: pathlib.Path, monkeypatch: pytest.MonkeyPatch,
                                  capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    (site / "gone").mkdir()
    with monkeypatch.context() as patch:
        patch.chdir(site / "gone")
        (site / "gone").rmdir()
        assert _command.main(["-b", "0", "site_module"]) == 1
        patch.chdir(site)
    assert "the working directory cannot be used: No such file" in capsys.readouterr().err


@pytest.mark.parametrize(
    "text, first, last",
    [
        ("site_import", 'Traceback (most recent call last):\n  File "{}/site_import.py", line 1', "'no_such_module'"),
        ("site_syntax", '  File "{}/site_syntax.py", line 1', "SyntaxError: invalid syntax"),
        ("site_module:broken()", 'Traceback (most recent call last):\n  File "{}/site_module.py"', "nothing there"),
        ("site_module:create_for()", "TypeError: create_for() missing 1 required", "argument: 'name'"),
    ],
)
def test_what_the_module_raises_is_shown(site: pathlib.Path, ran: list[Any], text: str, first: str, last: str,
                                         capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    """And nothing else: the traceback begins in the module."""
    assert _command.main(["-b", "0", text]) == 1
    shown = capsys.readouterr().err
    assert shown.startswith(first.format(site))
    assert shown.endswith(f"{last}\n")
    assert not ran


def test_an_import_may_be_interrupted(site: pathlib.Path, ran: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    (site / "site_slow.py").write_text("raise KeyboardInterrupt")
    assert _command.main(["-b", "0", "site_slow"]) == 130
    assert capsys.readouterr().err == ""


def test_a_module_may_exit(site: pathlib.Path, ran: list[Any]) -> None:
    with pytest.raises(SystemExit) as caught:
        _command.main(["-b", "0", "site_exit"])
    assert caught.value.code == 4


@pytest.mark.parametrize(
    "arguments, message",
    [
        ([], "the following arguments are required: MODULE:APP"),
        (["-b", "99999", "a"], "-b/--bind: a port is between 0 and 65535, not 99999"),
        (["-b", "a:b:c", "a"], "'a:b:c' is not an address"),
        (["-w", "-1", "a"], "'-1' is not a number, 0 or more"),
        (["-w", "many", "a"], "'many' is not a number, 0 or more"),
        (["--grace", "nan", "a"], "'nan' is not a number of seconds, 0 or more"),
        (["--grace", "soon", "a"], "'soon' is not a number of seconds, 0 or more"),
        (["--access-log", "%!", "a"], "does not know"),
        (["--watch", ".", "a"], "--watch goes with --reload"),
        (["--threads", "2", "a"], "--threads goes with --wsgi"),
        (["-r", "--watch", "no_such", "a"], "--watch: there is no 'no_such'"),
        (["--tls-key", "key", "a"], "--tls-key goes with --tls-cert"),
        (["--tls-password-file", "key", "a"], "--tls-password-file goes with --tls-cert"),
        (["--tls-cert", "a", "--tls-password-file", "no_such", "a"], "'no_such' cannot be read: No such file"),
        (["--no-such-option", "a"], "unrecognized arguments: --no-such-option"),
    ],
)
def test_wrong_options(site: pathlib.Path, arguments: list[str], message: str,
                       capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    with pytest.raises(SystemExit) as caught:
        _command.main(arguments)
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--tls-cert", "no_such"], "the certificate cannot be used: No such file or directory: 'no_such'"),
        (["--tls-cert", "site_two.py"], "the certificate cannot be used: "),
        (["-b", "unix:no/such/folder"], "cannot listen on 'no/such/folder': No such file or directory"),
        (["--trusted-proxy", "spam"], "spam"),
        (["-b", "192.0.2.1:0"], "cannot listen on ('192.0.2.1', 0): Cannot assign requested address"),
    ],
)
def test_failures(site: pathlib.Path, ran: list[Any], arguments: list[str], message: str,
                  capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    assert _command.main(["-b", "0", *arguments, "site_module"]) == 1
    shown = capsys.readouterr().err
    assert shown.startswith("pants-web: ")
    assert message in shown
    assert not ran


def test_a_port_that_is_taken(site: pathlib.Path, ran: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert _command.main(["-b", str(taken.getsockname()[1]), "site_module"]) == 1
    assert "Address already in use; give another port, or 0 for any that is free" in capsys.readouterr().err


def test_a_handler_that_is_async(site: pathlib.Path, ran: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert _command.main(["-b", "0", "site_module:handler"]) == 1
    assert "is an async function; handlers are plain ones" in capsys.readouterr().err


def test_hints() -> None:
    denied = PermissionError(13, "cannot listen on 80: Permission denied")
    assert _command_line.why_not_listening(denied, ("", 80)).endswith(
        "; give a port from 1024 on, those below are for root"
    )
    assert _command_line.why_not_listening(denied, "/a/path") == "cannot listen on 80: Permission denied"


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        _command.main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out.startswith(f"pants-web {__version__}, Python 3.")
    with pytest.raises(SystemExit) as caught:
        _command.main(["--help"])
    assert caught.value.code == 0
    shown = capsys.readouterr().out
    for option in ("--bind", "--workers", "--reload", "--tls-cert", "--access-log", "--grace", "--wsgi", "examples:"):
        assert option in shown


# --- Addresses --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text, address",
    [
        ("8000", ("default", 8000)),
        ("0", ("default", 0)),
        (":8000", ("", 8000)),
        ("127.0.0.1", ("127.0.0.1", 7)),
        ("127.0.0.1:8000", ("127.0.0.1", 8000)),
        ("localhost:8000", ("localhost", 8000)),
        ("localhost", ("localhost", 7)),
        ("::1", ("::1", 7)),
        ("::", ("::", 7)),
        ("[::1]", ("::1", 7)),
        ("[::1]:8000", ("::1", 8000)),
        ("[fe80::1%eth0]:8000", ("fe80::1%eth0", 8000)),
        ("unix:/run/site.sock", "/run/site.sock"),
        ("unix:site.sock", "site.sock"),
        ("unix:@site", "\0site"),
        ("/run/site.sock", "/run/site.sock"),
        ("./site:sock", "./site:sock"),
    ],
)
def test_addresses(text: str, address: Any) -> None:
    assert parse_bind(text, "default", 7) == address


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "'' is not an address; give PORT, HOST, HOST:PORT"),
        ("a b", "'a b' is not an address"),
        ("1:2:3", "'1:2:3' is not an address"),
        ("65536", "a port is between 0 and 65535, not 65536"),
        ("999999999999999999999", "a port is between 0 and 65535"),
        ("localhost:", "'' is not a port, in 'localhost:'"),
        ("localhost:+1", "'+1' is not a port"),
        ("localhost:http", "'http' is not a port"),
        ("localhost:\u0663", "is not a port"),
        ("\u0663", "is not a port"),
        ("[::1", "'[::1' is not an IPv6 address in brackets"),
        ("[::1]8000", "is not an IPv6 address in brackets"),
        ("[127.0.0.1]:80", "is not an IPv6 address in brackets"),
        ("http://localhost:8000/", "is a URL, not an address"),
        ("unix:", "'unix:' names no UNIX socket"),
        ("unix:@", "names no UNIX socket"),
        ("unix:a\0b", "names no UNIX socket"),
    ],
)
def test_what_is_no_address(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        parse_bind(text, "default", 7)


def test_the_url_of_an_address_without_a_host() -> None:
    assert url_of("http", ("127.0.0.1", 80)) == "http://127.0.0.1/"
    assert url_of("http", "\0site") == "http on '\\x00site'"
