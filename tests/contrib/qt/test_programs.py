"""Whole programs, each in a process of its own: how they end. They leave nothing on standard error."""

from __future__ import annotations

import os
import pathlib
import signal
import subprocess
import sys

import pytest

from .support import BINDINGS, LONG, both_bindings, environment, run_program, start_program

HERE = pathlib.Path(__file__).parent

# An echo server, a client that has been answered, an application that runs: `done()` is called then.
BODY = """
class Echo(Stream):
    def on_read(self, data):
        self.write(data)

class Client(Stream):
    def on_connect(self):
        self.write(b"spam")
    def on_read(self, data):
        engine.defer(0.01, done)

server = Server(Echo).listen(("127.0.0.1", 0))
client = Client().connect(server.local_address)
engine.defer(3600, print, "never")
"""

DELETE = """
from qtpy import PYQT6
if PYQT6:
    from PyQt6.sip import delete
else:
    from shiboken6 import delete
"""

ENDINGS = {
    "engine.stop": """
        app = QCoreApplication(["x"])
        install(app)
        done = engine.stop
        sys.exit(app.exec())
        """,
    "quit, stop, close": """
        app = QCoreApplication(["x"])
        installation = install(app)
        done = app.quit
        assert app.exec() == 0
        installation.stop()
        engine.close()
        """,
    "quit, close, stop": """
        app = QCoreApplication(["x"])
        installation = install(app)
        done = app.quit
        assert app.exec() == 0
        engine.close()
        installation.stop()
        """,
    "the application's, after that": """
        app = QCoreApplication(["x"])
        installation = install(app)
        done = app.quit
        assert app.exec() == 0
        delete(app)
        assert "stopped" in repr(installation)
        installation.stop()
        engine.callback(engine.stop)
        engine.start()
        engine.close()
        """,
    "the application's, while it is being used": """
        app = QCoreApplication(["x"])
        installation = install(app)
        done = app.quit
        assert app.exec() == 0
        client.write(b"more")
        delete(app)
        """,
    "in a function": """
        def main():
            global done
            app = QCoreApplication(["x"])
            install(app)
            done = app.quit
            return app.exec()
        sys.exit(main())
        """,
    "no application of its own": """
        app = install().app
        assert app is not None
        done = engine.stop
        assert app.exec() == 0
        """,
    "an application that nobody keeps": """
        install()
        done = engine.stop
        assert QCoreApplication.instance().exec() == 0
        """,
    "never run": """
        app = QCoreApplication(["x"])
        install(app)
        """,
    "stop while it runs": """
        app = QCoreApplication(["x"])
        installation = install(app)
        def done():
            installation.stop()
            QTimer.singleShot(20, app.quit)
        assert app.exec() == 0
        """,
    "close while it runs": """
        app = QCoreApplication(["x"])
        installation = install(app)
        def close():
            engine.close()
            QTimer.singleShot(20, app.quit)
        def done():
            QTimer.singleShot(0, close)
        assert app.exec() == 0
        """,
    "two engines": """
        app = QCoreApplication(["x"])
        install(app)
        other = Engine()
        install(app, engine=other)
        done = lambda: other.call_from_thread(other.stop)
        assert app.exec() == 0
        """,
    "windows": """
        from qtpy.QtWidgets import QApplication, QLabel
        app = QApplication(["x"])
        install(app)
        label = QLabel("spam")
        label.show()
        done = label.close
        sys.exit(app.exec())
        """,
    "Ctrl-C after the last turn": """
        app = QCoreApplication(["x"])
        install(app)
        done = engine.stop
        assert app.exec() == 0
        signal.raise_signal(signal.SIGINT)
        """,
    "Ctrl-C, and then the application's": """
        app = QCoreApplication(["x"])
        install(app)
        done = engine.stop
        assert app.exec() == 0
        signal.raise_signal(signal.SIGINT)
        delete(app)
        engine.callback(engine.stop)
        engine.start()
        """,
    "sys.exit in a hook": """
        app = QCoreApplication(["x"])
        install(app)
        done = sys.exit
        sys.exit(app.exec())
        """,
}


@both_bindings
def test_ends_in_any_order(binding: str) -> None:
    """The programs of ENDINGS, at the same time: each is little more than the import of Qt."""
    programs = {name: start_program(BODY + DELETE + _dedented(source), binding) for name, source in ENDINGS.items()}
    results = {}
    try:
        for name, program in programs.items():
            out, err = program.communicate(timeout=LONG)
            results[name] = (program.returncode, out, err)
    finally:
        for program in programs.values():
            program.kill()
            program.communicate()
    assert results == dict.fromkeys(ENDINGS, (0, "", ""))


def _dedented(source: str) -> str:
    return "\n".join(line.removeprefix("        ") for line in source.splitlines())


# --- Ctrl-C ----------------------------------------------------------------------------------------------------------

CTRL_C = {
    "while Qt waits": """
        install()
        engine.callback(print, "ready", flush=True)
        sys.exit(QCoreApplication.instance().exec())
        """,
    "in a dialog of a hook's": """
        installation = install()
        def ask():
            engine.callback(print, "ready", flush=True)
            QEventLoop().exec()
        engine.callback(ask)
        sys.exit(installation.app.exec())
        """,
    "while a slot polls": """
        app = install().app
        def wait():
            engine.callback(print, "ready", flush=True)
            try:
                while True:
                    engine.poll(None)
            except KeyboardInterrupt:
                app.exit(130)
        QTimer.singleShot(0, wait)
        sys.exit(app.exec())
        """,
    "without a descriptor": """
        from pants.engine import Select
        app = install(engine=Engine(Select())).app
        QTimer.singleShot(0, lambda: print("ready", flush=True))
        sys.exit(app.exec())
        """,
}


@both_bindings
@pytest.mark.parametrize("source", CTRL_C.values(), ids=CTRL_C)
def test_ctrl_c(source: str, binding: str) -> None:
    with start_program(_dedented(source), binding) as program:
        try:
            assert program.stdout is not None
            assert program.stdout.readline() == "ready\n"
            program.send_signal(signal.SIGINT)
            out, err = program.communicate(timeout=LONG)
        finally:
            program.kill()
    assert (program.returncode, out, err) == (130, "", "")


def test_ctrl_c_twice_leaves_a_hook_that_does_not_end() -> None:
    source = """
        def spin():
            print("ready", flush=True)
            signal.signal(signal.SIGALRM, lambda *_: print("alive", flush=True))
            signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)
            try:
                while True:
                    pass
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
        app = install().app
        engine.callback(spin)
        sys.exit(app.exec())
        """
    with start_program(_dedented(source), BINDINGS[0]) as program:
        try:
            assert program.stdout is not None
            assert program.stdout.readline() == "ready\n"
            program.send_signal(signal.SIGINT)
            for _ in range(10):
                assert program.stdout.readline() == "alive\n"
            assert program.poll() is None
            program.send_signal(signal.SIGINT)
            _, err = program.communicate(timeout=LONG)
        finally:
            program.kill()
    assert (program.returncode, err) == (130, "")


OWN = {
    "a handler": "signal.signal(signal.SIGINT, lambda *_: QCoreApplication.exit(7))",
    "a wake-up descriptor": "signal.set_wakeup_fd(os.open('/dev/null', os.O_WRONLY | os.O_NONBLOCK))",
}


@pytest.mark.parametrize("own", OWN.values(), ids=OWN)
def test_a_program_with_its_own_way_with_signals_keeps_it(own: str) -> None:
    source = f"""
        {own}
        def state():
            fd = signal.set_wakeup_fd(-1)
            signal.set_wakeup_fd(fd)
            return signal.getsignal(signal.SIGINT), fd
        before = state()
        installation = install()
        assert (state() == before) is ("wakeup" in {own!r})
        assert state()[0] == before[0]
        installation.stop()
        assert state() == before
        """
    run_program(_dedented(source), BINDINGS[0])


# --- Bindings --------------------------------------------------------------------------------------------------------


@both_bindings
def test_it_is_the_binding_that_was_asked_for(binding: str) -> None:
    source = "app = install().app\nprint(type(app).__module__)"
    assert run_program(source, binding).lower().startswith(binding)


def test_without_a_binding_the_remedy_is_named() -> None:
    source = """
        import sys
        for name in ("PySide6", "PyQt6", "PySide2", "PyQt5"):
            sys.modules[name] = None
        import pants.contrib.qt
        try:
            pants.contrib.qt.install()
        except ImportError as error:
            print(error)
        """
    program = subprocess.run(
        [sys.executable, "-c", _dedented(source)],
        env={name: value for name, value in os.environ.items() if name != "QT_API"},
        capture_output=True,
        text=True,
        timeout=LONG,
        check=True,
    )
    assert "pants-contrib-qt[pyside6]" in program.stdout


def test_the_other_binding() -> None:
    """What the tests in this process assert of one binding holds for the other one."""
    from qtpy import API

    (other,) = set(BINDINGS) - {API}
    tests = [HERE / "test_turns.py", HERE / "test_install.py"]
    program = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests],
        env=environment(other),
        capture_output=True,
        text=True,
        timeout=6 * LONG,
    )
    assert program.returncode == 0, program.stdout
