"""The programs for pants-contrib-qt, of `examples/` and the README, each run as such, without a screen."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.readme_support import blocks

from .support import LONG, ROOT, both_bindings, environment

# Runs a program, and does what a person at its window would: waits to be connected, types, waits for the answer.
AT_THE_WINDOW = """
import runpy, sys
from qtpy.QtCore import Qt, QTimer
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QLineEdit, QTextBrowser

program, picture, *sys.argv[1:] = sys.argv[1:]
is_typed = False

def look():
    global is_typed
    (window,) = QApplication.topLevelWidgets()
    entry, history = window.findChild(QLineEdit), window.findChild(QTextBrowser)
    if entry.isEnabled() and not is_typed:
        is_typed = True
        QTest.keyClicks(entry, "spam & <eggs>")
        QTest.keyClick(entry, Qt.Key.Key_Return)
    if history.toPlainText().count("spam & <eggs>") == 2:
        timer.stop()
        window.grab().save(picture)
        print(history.toPlainText())
        window.close()

def execute():
    global timer
    timer = QTimer()
    timer.timeout.connect(look)
    timer.start(5)
    return run()

run, QApplication.exec = QApplication.exec, staticmethod(execute)
runpy.run_path(program, run_name="__main__")
"""


def chat(binding: str, picture: Path, *arguments: str) -> str:
    program = subprocess.run(
        [sys.executable, "-c", AT_THE_WINDOW, ROOT / "examples" / "qt_chat.py", picture, *arguments],
        env=environment(binding),
        capture_output=True,
        text=True,
        timeout=LONG,
    )
    # The platform without a screen says so about the size of a window.
    complaints = [line for line in program.stderr.splitlines() if not line.startswith("This plugin does not support")]
    assert (program.returncode, complaints) == (0, [])
    return program.stdout


@both_bindings
def test_chat(binding: str, tmp_path: Path) -> None:
    picture = tmp_path / "chat.png"
    lines = chat(binding, picture).splitlines()
    assert [line.split(maxsplit=1) for line in lines] == [["you", "spam & <eggs>"], ["there", "spam & <eggs>"]]
    assert picture.stat().st_size > 1000


# As above for the program of the README: a client that sends something, and looks at the window.
A_CLIENT = """
import sys
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QApplication
from pants import Server, Stream

class Client(Stream):
    def on_connect(self):
        self.write(b"spam")
    def on_read(self, data):
        print(data.decode(), *[window.text() for window in QApplication.topLevelWidgets()])
        QApplication.quit()

def listen_on_a_free_port(self, address):
    assert address == 4040
    listen(self, ("127.0.0.1", 0))
    Client().connect(self.local_address)

listen, Server.listen = Server.listen, listen_on_a_free_port
exec(compile(sys.argv[1], "README", "exec"))
"""


@both_bindings
def test_readme(binding: str) -> None:
    (source,) = blocks("packages/pants-contrib-qt/README.md")
    program = subprocess.run(
        [sys.executable, "-c", A_CLIENT, source],
        env=environment(binding),
        capture_output=True,
        text=True,
        timeout=LONG,
    )
    assert (program.returncode, program.stdout) == (0, "spam spam\n"), program.stderr
