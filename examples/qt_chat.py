"""A window to chat in: qt_chat.py [HOST PORT]. By default it talks to an echo server of its own.

It needs PySide6 or PyQt6. Whatever is typed goes out as a line; lines that come in are added to the history.
"""

import html
import sys
from collections.abc import Callable
from typing import Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QApplication,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QMainWindow,
    QPushButton,
    QTextBrowser,
    QVBoxLayout,
    QWidget,
)

from pants import Server, Stream
from pants.contrib.qt import install

STYLE = """
QMainWindow { background: #f4f5f7; }
QTextBrowser, QLineEdit { background: white; color: #1c2430; border: 1px solid #d3d8e0; border-radius: 8px; }
QTextBrowser, QLineEdit { padding: 8px; }
QLineEdit:focus { border-color: #3d7bfd; }
QPushButton { background: #3d7bfd; color: white; border: none; border-radius: 8px; padding: 9px 18px; }
QPushButton:disabled { background: #b9c4d6; }
QLabel { color: #67718a; }
"""


class Echo(Stream):
    def on_read(self, data: bytes) -> None:
        self.write(data)


class Connection(Stream):
    """A line of text at a time; what happens is told to the window."""

    def __init__(self, window: "ChatWindow") -> None:
        super().__init__()
        self.read_delimiter = b"\n"
        self.window = window

    def on_connect(self) -> None:
        self.window.show_state(f"Connected to {self.remote_address[0]}, port {self.remote_address[1]}", usable=True)

    def on_read(self, line: bytes) -> None:
        self.window.add_line("there", line.decode("utf-8", "replace").rstrip("\r"))

    def on_connect_error(self, exception: Exception) -> None:
        self.window.show_state(f"Not connected: {exception}", usable=False)
        self.close()

    def on_close(self) -> None:
        if self.window.entry.isEnabled():
            self.window.show_state("The connection has ended", usable=False)


class ChatWindow:
    """The window: a history, a line to type in, and the state of the connection."""

    def __init__(self, send: Callable[[str], object]) -> None:
        self.send = send
        self.window = QMainWindow()
        self.window.setWindowTitle("Pants chat")
        self.window.resize(460, 380)
        self.window.setStyleSheet(STYLE)
        self.history = QTextBrowser()
        self.entry = QLineEdit()
        self.entry.setPlaceholderText("Say something")
        self.button = QPushButton("Send")
        self.state = QLabel("Connecting ...")
        self.entry.returnPressed.connect(self.submit)
        self.button.clicked.connect(self.submit)
        self.window.setCentralWidget(self.lay_out())
        self.show_state("Connecting ...", usable=False)

    def lay_out(self) -> Any:
        row = QHBoxLayout()
        row.addWidget(self.entry)
        row.addWidget(self.button)
        column = QVBoxLayout()
        column.setContentsMargins(14, 14, 14, 10)
        column.setSpacing(10)
        column.addWidget(self.history)
        column.addLayout(row)
        column.addWidget(self.state)
        content = QWidget()
        content.setLayout(column)
        return content

    def submit(self) -> None:
        text = self.entry.text().strip()
        if text:
            self.entry.clear()
            self.add_line("you", text)
            self.send(text)

    def add_line(self, who: str, text: str) -> None:
        colour = "#3d7bfd" if who == "you" else "#1f9d68"
        self.history.append(f'<b style="color: {colour}">{who}</b> &nbsp; {html.escape(text)}')

    def show_state(self, text: str, *, usable: bool) -> None:
        self.state.setText(text)
        self.entry.setEnabled(usable)
        self.button.setEnabled(usable)
        if usable:
            self.entry.setFocus(Qt.FocusReason.OtherFocusReason)


def open_chat(address: Any) -> ChatWindow:
    """A window, and its connection to that address."""
    chat = ChatWindow(lambda text: connection.write(text.encode() + b"\n"))
    connection = Connection(chat).connect(address)
    chat.window.show()
    return chat


def main() -> None:
    app = QApplication(sys.argv)
    install(app)
    arguments = app.arguments()[1:]
    if arguments:
        host, port = arguments
        address = (host, int(port))
    else:
        address = Server(Echo).listen(("127.0.0.1", 0)).local_address
    chat = open_chat(address)
    code = app.exec()
    del chat
    sys.exit(code)


if __name__ == "__main__":
    main()
