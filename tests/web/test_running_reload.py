"""`Application.run` with ``reload``: the program is started again when it changes, or is mended."""

from __future__ import annotations

import os
import pathlib
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pants import Engine
from pants.web import _reloading, _running
from pants.web._source_files import SourceFiles, module_files
from tests.web import running_support
from tests.web.running_support import (
    DEADLINE,
    Program,
    asking,
    connects,
    get,
    is_alive,
    run_program,
    wait_until,
)

# What makes it quicker, to be put before the programs.
QUICK = """
from pants.web import _reloading
_reloading._INTERVAL = 0.05
_reloading._PATIENCE = 0.15
"""
HANDLER = running_support.HANDLER + QUICK
RUN = (
    QUICK
    + """
import os, sys
from pants import Engine
from pants.web import Application
import pages
app = Application()

@app.route("/")
def index(request):
    return pages.text

@app.route("/process")
def process(request):
    return str(os.getpid())

@app.route("/stop")
def stop(request):
    request.finished_by_stop = True
    Engine.instance().callback(Engine.instance().stop)
    return "stopping"

@app.route("/exit")
def leave(request):
    os._exit(5)

@app.route("/late")
def late(request):
    import extra
    return extra.text

app.run(("127.0.0.1", 0), reload=RELOAD)
print("over")
"""
)


def write(path: pathlib.Path, text: str) -> None:
    """Write a file as editors do: all at once, and in another file than the one before."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_text(text)
    temporary.replace(path)


def start(directory: pathlib.Path, reload: str = "True", **options: Any) -> Program:
    write(directory / "pages.py", "text = 'first'")
    return run_program(directory, RUN.replace("RELOAD", reload), **options)


def test_it_is_started_again_when_a_module_changes(tmp_path: pathlib.Path) -> None:
    with start(tmp_path) as program:
        port = program.expect_port()
        assert ", reloaded when its files change - Ctrl-C ends it" in program.errors
        assert get(port) == "first"
        assert int(get(port, "/process")) != program.process.pid
        write(tmp_path / "pages.py", "text = 'second'")
        program.expect(r"pages\.py has changed; the program is started again")
        assert get(program.expect_port()) == "second"
        (tmp_path / "program.py").write_text(RUN.replace("RELOAD", "True").replace("pages.text", "'third'"))
        program.expect(r"program\.py has changed")
        port = program.expect_port()
        assert get(port) == "third"
        program.send(signal.SIGTERM)
        assert program.wait() == 0
        assert not connects(port)
        assert program.output() == "over\n" * 3  # in the program, and not in what looks after it


def test_a_module_that_is_imported_late_counts(tmp_path: pathlib.Path) -> None:
    (tmp_path / "extra.py").write_text("text = 'first'")
    with start(tmp_path) as program:
        assert get(program.expect_port(), "/late") == "first"
        changes = iter(range(1000))

        def has_noticed() -> bool:  # it takes a moment until the supervisor knows of it
            write(tmp_path / "extra.py", f"text = 'second {next(changes)}'")
            try:
                program.expect("extra.py has changed", 0.3)
            except AssertionError:
                return False
            return True

        wait_until(has_noticed)
        assert get(program.expect_port(), "/late").startswith("second")


def test_an_error_is_waited_for_to_be_mended(tmp_path: pathlib.Path) -> None:
    with start(tmp_path) as program:
        program.expect_port()
        write(tmp_path / "pages.py", "text = (")
        program.expect("SyntaxError")
        program.expect("The program has ended with exit status 1; it is started again when one of its files changes")
        write(tmp_path / "pages.py", "import other\ntext = other.text")
        program.expect("ModuleNotFoundError")
        program.expect("has ended with exit status 1")
        write(tmp_path / "other.py", "text = 'second'")  # a new file
        assert get(program.expect_port()) == "second"
        write(tmp_path / "pages.py", "import packed\ntext = packed.text")
        program.expect("has ended with exit status 1")
        (tmp_path / "packed").mkdir()
        write(tmp_path / "packed" / "__init__.py", "text = 'third'")  # a new package
        assert get(program.expect_port()) == "third"


def test_one_that_crashes_is_waited_for(tmp_path: pathlib.Path) -> None:
    with start(tmp_path) as program:
        port = program.expect_port()
        with asking(port, "/exit"):
            program.expect("has ended with exit status 5")
        program.send(signal.SIGHUP)  # for nobody
        write(tmp_path / "pages.py", "text = 'second'")
        port = program.expect_port()
        os.kill(int(get(port, "/process")), signal.SIGKILL)
        program.expect("The program was ended by SIGKILL")
        program.send(signal.SIGINT)
        assert program.wait() == 0


def test_one_that_ends_by_itself_has_ended(tmp_path: pathlib.Path) -> None:
    with start(tmp_path) as program:
        assert get(program.expect_port(), "/stop") == "stopping"
        assert program.wait() == 0
        assert program.output() == "over\n"


def test_files_that_are_no_modules(tmp_path: pathlib.Path) -> None:
    (tmp_path / "templates" / ".hidden").mkdir(parents=True)
    (tmp_path / "settings.ini").touch()
    with start(tmp_path, "['templates', 'settings.ini']") as program:
        program.expect_port()
        (tmp_path / "templates" / ".hidden" / "page.html").touch()
        (tmp_path / "templates" / "page.html~").touch()
        (tmp_path / "templates" / "page.html").touch()
        program.expect("templates/page.html has changed")
        program.expect_port()
        write(tmp_path / "settings.ini", "[a]")
        program.expect(r"settings\.ini has changed")
        program.expect_port()


def to_supervisor(program: Program) -> None:
    program.send(signal.SIGTERM)


def to_all(program: Program) -> None:
    """As a terminal does it."""
    os.killpg(program.process.pid, signal.SIGINT)


@pytest.mark.parametrize("send, workers", [(to_supervisor, 1), (to_all, 1), (to_all, 2)])
def test_signals(tmp_path: pathlib.Path, send: Callable[[Program], None], workers: int) -> None:
    text = HANDLER + f"_running.run(handler, ('127.0.0.1', 0), reload=True, workers={workers})\nprint('over')"
    with run_program(tmp_path, text) as program:
        port = program.expect_port()
        program.send(signal.SIGHUP)
        program.expect("this server has no TLS")
        with asking(port, "/held") as get_answer:
            program.expect("held")
            send(program)
            wait_until(lambda: not connects(port))
            (tmp_path / "release").touch()
            assert get_answer().startswith("released")
        assert program.wait() == 0
        assert program.output() == "over\n"
        assert "Traceback" not in program.errors


def test_a_second_signal_ends_it_at_once(tmp_path: pathlib.Path) -> None:
    text = HANDLER + "_running.run(handler, ('127.0.0.1', 0), reload=True)"
    with run_program(tmp_path, text) as program, asking(program.expect_port(), "/spin"):
        program.expect("spinning")
        program.send(signal.SIGTERM)
        program.send(signal.SIGINT)
        program.expect("interrupted")  # not killed, though both have come together
        assert program.wait() == 0


def test_one_that_hangs_is_replaced_nevertheless(tmp_path: pathlib.Path) -> None:
    text = HANDLER + "_running.run(handler, ('127.0.0.1', 0), reload=True, grace=None)"
    with run_program(tmp_path, text) as program:
        port = program.expect_port()
        with asking(port, "/spin"):
            program.expect("spinning")
            (tmp_path / "program.py").write_text(f"{text}\n")
            program.expect("has changed")
            port = program.expect_port()
        first = get(port)
        with asking(port, "/held"):
            program.expect("held")
            (tmp_path / "program.py").write_text(text)
            program.expect("has changed")
            assert get(program.expect_port()) != first


def test_workers_that_hang_are_not_left_behind(tmp_path: pathlib.Path) -> None:
    """They would keep the port of the next ones; so the program is given the time to kill them."""
    text = HANDLER + (
        "_workers._PATIENCE = 0.3\n_reloading._LAST_PATIENCE = 1.0\n"
        "def hang(request):\n"
        "    print('hanging', file=sys.stderr)\n"
        "    while True:\n"
        "        try: time.sleep(60)\n"
        "        except BaseException: pass\n"
        "_running.run(hang, int(sys.argv[1]), reload=True, workers=2)"
    )
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with run_program(tmp_path, text, str(port)) as program, asking(program.expect_port(), "/"):
        program.expect("hanging")
        write(tmp_path / "program.py", f"{text}\n")
        program.expect(r"Worker \d \(process \d+\) does not end, and is killed")
        assert program.expect_port() == port


def test_one_that_leaves_its_directory(tmp_path: pathlib.Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    text = HANDLER + "os.chdir('elsewhere' if os.path.exists('elsewhere') else '.')\n"
    text += "_running.run(handler, ('127.0.0.1', 0), reload=True)"
    with run_program(tmp_path, text) as program:
        assert get(program.expect_port()).isdecimal()


def test_what_the_supervisor_raises_ends_the_program(tmp_path: pathlib.Path) -> None:
    """A handler of the program's own that raises, most likely."""
    text = HANDLER + (
        "import signal\nsignal.signal(signal.SIGTERM, lambda *args: sys.exit(7))\n"
        "_running.run(handler, ('127.0.0.1', 0), reload=True)"
    )
    with run_program(tmp_path, text) as program:
        pid = int(get(program.expect_port()))
        program.send(signal.SIGTERM)
        assert program.wait() == 7
        wait_until(lambda: not is_alive(pid))


@pytest.mark.parametrize("workers", [1, 2])
def test_the_program_ends_with_its_supervisor(tmp_path: pathlib.Path, workers: int) -> None:
    text = HANDLER + f"_running.run(handler, ('127.0.0.1', 0), reload=True, workers={workers})"
    with run_program(tmp_path, text) as program:
        pid = int(get(program.expect_port()))
        program.process.kill()
        wait_until(lambda: not is_alive(pid))


@pytest.mark.parametrize("arguments", [["-m", "package"], ["package/main.py"], ["-Wd", "-c"]])
def test_however_it_was_started(tmp_path: pathlib.Path, arguments: list[str]) -> None:
    package = tmp_path / "package"
    package.mkdir()
    text = HANDLER + "assert sys.argv[-2:] == ['-x', 'a b'], sys.argv\n"
    text += "_running.run(handler, ('127.0.0.1', 0), reload=True)"
    for name in ("__init__", "__main__", "main"):
        (package / f"{name}.py").write_text("" if name == "__init__" else text)
    if arguments[-1] == "-c":
        arguments = [*arguments, text]
    with Program(*arguments, "-x", "a b", directory=tmp_path) as program:
        assert get(program.expect_port()).isdecimal()
        program.send(signal.SIGINT)
        assert program.wait() == 0


def test_what_is_typed_cannot_be_started_again(tmp_path: pathlib.Path) -> None:
    text = HANDLER + "_running.run(handler, ('127.0.0.1', 0), reload=True)"
    done = subprocess.run([sys.executable], input=text, capture_output=True, text=True, timeout=DEADLINE, cwd=tmp_path)
    assert done.returncode == 1
    assert "RuntimeError: reload starts the program again" in done.stderr


def test_programs_that_the_program_starts_are_not_watched(tmp_path: pathlib.Path) -> None:
    text = HANDLER + textwrap.dedent(
        """
        import subprocess
        if sys.argv[1:]:
            print("MARKED" if "PANTS_WEB_RELOAD" in os.environ else "not marked", file=sys.stderr)
        else:
            def start(server):
                subprocess.run([sys.executable, "program.py", "x"])
            _running.run(handler, ("127.0.0.1", 0), reload=True, on_start=start)
        """
    )
    with run_program(tmp_path, text) as program:
        program.expect("not marked")
        program.expect_port()


def test_a_mark_that_is_not_its_parents(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_reloading, "_link", None)
    monkeypatch.setenv("PANTS_WEB_RELOAD", f"{os.getpid()}:0")
    assert _reloading.find_link() is None
    assert "PANTS_WEB_RELOAD" not in os.environ


# --- In this process --------------------------------------------------------------------------------------------------


@pytest.fixture
def link(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """This process is watched; the descriptor is the supervisor's end."""
    ours, theirs = socket.socketpair()
    monkeypatch.setattr(_reloading, "_link", None)
    monkeypatch.setenv("PANTS_WEB_RELOAD", f"{os.getppid()}:{theirs.fileno()}")
    with ours, theirs:
        ours.settimeout(DEADLINE)
        yield ours.fileno()


def test_a_watched_program_tells_its_files(link: int, capsys: pytest.CaptureFixture[str]) -> None:
    engine = Engine.instance()
    engine.defer(0.01, engine.stop)
    _running.run(lambda request: None, ("127.0.0.1", 0), reload=True)
    paths = os.read(link, 1 << 20).decode().split("\n")
    assert paths.pop() == ""
    assert os.path.abspath(_running.__file__) in paths
    assert paths == sorted(set(module_files()))
    assert "reloaded when its files change" in capsys.readouterr().err


def test_each_file_is_told_once(link: int) -> None:
    end = _reloading.find_link()
    assert end is not None
    assert _reloading.find_link() is end
    end.report()
    os.read(link, 1 << 20)
    end.report()
    end.report(["/a/b.py", "/in\nvalid.py", "/" + "long" * 200])
    end.report(["/a/b.py"])
    assert os.read(link, 1 << 20) == b"/a/b.py\n/" + b"long" * 200 + b"\n"


def test_nobody_may_listen(link: int) -> None:
    end = _reloading.find_link()
    assert end is not None
    os.close(link)
    os.open(os.devnull, os.O_RDONLY)  # which the fixture closes
    end.report()


def test_how_processes_end() -> None:
    assert _reloading.how_ended(3) == "has ended with exit status 3"
    assert _reloading.how_ended(-9) == "was ended by SIGKILL"
    assert _reloading.how_ended(-60) == "was ended by signal 60"


def test_files_change(tmp_path: pathlib.Path) -> None:
    module, beside, new = (tmp_path / name for name in ("module.py", "beside.py", "new.py"))
    module.write_text("1")
    beside.write_text("1")
    files = SourceFiles()
    files.add([str(module), "/no/such/folder/module.py"])
    assert files.find_changed(with_neighbours=False) is None
    module.unlink()
    assert files.find_changed(with_neighbours=False) is None  # it may be on its way
    module.write_text("22")
    assert files.find_changed(with_neighbours=False) == str(module)
    files.note()
    files.note_neighbours()
    assert files.find_changed(with_neighbours=True) is None
    beside.write_text("22")
    assert files.find_changed(with_neighbours=False) is None
    assert files.find_changed(with_neighbours=True) == str(beside)
    files.note()
    files.note_neighbours()
    new.touch()
    assert files.find_changed(with_neighbours=True) == str(new)
