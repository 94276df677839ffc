"""Starting a program anew whenever one of its files changes.

The process that was started first becomes a supervisor: it starts the same program once more, which finds a mark in its
environment and serves. Between the two there is a pair of sockets. Down this `Link` the program tells which files it
consists of; and each end learns by it that the other has ended.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable
from typing import Final

from pants import Engine
from pants.web._console import tell
from pants.web._signals import ENDING, SignalQueue, TerminalWatch
from pants.web._source_files import SourceFiles, module_files

#: What a program that is watched tells of that, behind its address.
DETAILS: Final = ", reloaded when its files change"

# The variable by which a program knows that it is watched: the process of the supervisor, and the socket.
_MARK: Final = "PANTS_WEB_RELOAD"

# Seconds between two looks at the files, and for modules that have been imported.
_INTERVAL: Final = 0.5
# Seconds until a program that is to make way for the next is told again.
_PATIENCE: Final = 1.0
# Seconds until one is killed that was told twice. Were it killed before it could kill workers that hang, those would be
# left, and keep the port; so this is longer than `_workers._PATIENCE`, as the next is than `_workers._MARGIN`.
_LAST_PATIENCE: Final = 4.0
# Seconds for which a program may need longer than the grace that it gives its requests.
_MARGIN: Final = 8.0
# Seconds between two signals that are not to become one.
_APART: Final = 0.1
# What is written in one piece, for several processes may write: POSIX's least PIPE_BUF.
_PIECE: Final = 512


class Link:
    """The program's end."""

    def __init__(self, fd: int) -> None:
        #: Readable when the supervisor has ended.
        self.fd = fd
        self._told: set[str] = set()
        self._modules = 0

    def attach(self, engine: Engine) -> None:
        """Tell which files there are, now and whenever there are more."""
        self.report()
        engine.cycle(_INTERVAL, self.report)

    def report(self, more: Iterable[str] = ()) -> None:
        """Tell which files there are.

        Args:
            more: Files that belong to the program, besides those of its modules.
        """
        if len(sys.modules) == self._modules and not more:
            return
        self._modules = len(sys.modules)
        new = {*module_files(), *more} - self._told
        self._told |= new
        data = b"".join(os.fsencode(f"{path}\n") for path in sorted(new) if "\n" not in path)
        try:
            while data:
                end = data.rfind(b"\n", 0, _PIECE) + 1 or data.index(b"\n") + 1
                os.write(self.fd, data[:end])
                data = data[end:]
        except OSError:  # the supervisor has ended, which is noticed by whoever watches the descriptor
            pass


_link: Link | None = None


def find_link() -> Link | None:
    """Return the link to the supervisor; None where there is none, and this process may become one."""
    global _link
    # Taken away, for programs that this one starts inherit its environment, and are not watched.
    supervisor, _, fd = os.environ.pop(_MARK, "").partition(":")
    if supervisor == str(os.getppid()):
        os.set_inheritable(int(fd), False)
        _link = Link(int(fd))
    return _link


def check_program() -> None:
    """Raise RuntimeError unless this program can be started again."""
    file = getattr(sys.modules["__main__"], "__file__", None)
    if file in (None, "<stdin>") and "-c" not in sys.orig_argv:
        raise RuntimeError("reload starts the program again, and this one comes from a terminal or a pipe; use a file")


def _arguments() -> list[str]:
    """Return what Python was started with; a program that has left its directory since is found nevertheless."""
    arguments = sys.orig_argv[1:]
    file = getattr(sys.modules["__main__"], "__file__", None)
    if file is not None and sys.argv[0] in arguments and not os.path.exists(sys.argv[0]):
        arguments[arguments.index(sys.argv[0])] = file
    return arguments


def supervise(paths: Iterable[str], grace: float | None) -> None:
    """Run this program in another process, and again whenever its files change, until it has ended by itself.

    Args:
        paths: Absolute paths of files and directories, the changes of which count too.
        grace: Seconds that the program gives to requests under way when it is told to end.
    """
    with SignalQueue(*ENDING, signal.SIGHUP, signal.SIGCHLD) as queue:
        _Supervisor(queue, paths, grace).run()


class _Supervisor:
    def __init__(self, queue: SignalQueue, paths: Iterable[str], grace: float | None) -> None:
        self._queue = queue
        self._grace = grace
        self._files = SourceFiles(paths)
        self._files.add(module_files())
        self._terminal = TerminalWatch()
        self._program: subprocess.Popen[bytes] | None = None
        self._reports: socket.socket | None = None
        self._has_reported = False  # the program; it does so when it is ready for signals
        self._unfinished = b""  # the beginning of a path
        self._is_ending = False
        self._is_restarting = False
        self._steps: list[tuple[float, int]] = []  # the signals that the program is still to get, and when
        self._next_look = 0.0

    def run(self) -> None:
        self._start()
        try:
            while self._program is not None or not self._is_ending:
                self._turn()
        finally:
            if self._program is not None:
                self._program.kill()
                self._program.wait()
            self._forget()

    def _turn(self) -> None:
        fds = [] if self._reports is None else [self._reports.fileno()]
        signums = self._queue.wait(_INTERVAL if not self._steps else 0.1, *fds)
        self._read_reports()  # first, for the program may have become ready before a SIGHUP was sent
        for signum in signums:
            if signum in ENDING or (signum == signal.SIGHUP and self._terminal.has_hung_up):
                self._end()
            elif signum == signal.SIGHUP and self._program is not None and self._has_reported:
                self._program.send_signal(signum)
        if self._program is not None and (status := self._program.poll()) is not None:
            self._forget()
            self._on_exit(status)
        now = time.monotonic()
        while self._program is not None and self._steps and self._steps[0][0] <= now:
            self._program.send_signal(self._steps.pop(0)[1])
        if now >= self._next_look and not (self._is_ending or self._is_restarting):
            self._next_look = now + _INTERVAL
            self._look()

    # --- One program after another ------------------------------------------------------------------------------

    def _start(self) -> None:
        self._is_restarting = self._has_reported = False
        self._steps.clear()
        self._files.note()  # before the program reads them; what changes from now on may be too late for it
        self._reports, theirs = socket.socketpair()
        self._reports.setblocking(False)
        with theirs:
            fd = theirs.fileno()
            command = [sys.executable, *_arguments()]
            environment = {**os.environ, _MARK: f"{os.getpid()}:{fd}"}
            self._program = subprocess.Popen(command, env=environment, pass_fds=[fd])  # noqa: S603 - this very one

    def _forget(self) -> None:
        self._program = None
        self._unfinished = b""
        if self._reports is not None:
            self._reports.close()
            self._reports = None

    def _on_exit(self, status: int) -> None:
        if self._is_restarting and not self._is_ending:
            self._start()
        elif status == 0:
            self._is_ending = True
        elif not self._is_ending:
            self._files.note_neighbours()
            tell(f"The program {how_ended(status)}; it is started again when one of its files changes")

    def _end(self) -> None:
        now = time.monotonic()
        if self._is_ending:
            unsent = [(when, signum) for when, signum in self._steps if when <= now]
            again = now + _APART if unsent else now
            self._steps = [*unsent, (again, signal.SIGTERM), (again + _LAST_PATIENCE, signal.SIGKILL)]
            return
        self._is_ending = True
        self._steps = [(now, signal.SIGTERM)]
        if self._grace is not None:
            self._steps.append((now + self._grace + _MARGIN, signal.SIGKILL))

    # --- Files --------------------------------------------------------------------------------------------------

    def _read_reports(self) -> None:
        while self._reports is not None:
            try:
                data = self._reports.recv(65536)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self._reports.close()
                self._reports = None
                return
            self._has_reported = True
            *paths, self._unfinished = (self._unfinished + data).split(b"\n")
            self._files.add(os.fsdecode(path) for path in paths)

    def _look(self) -> None:
        changed = self._files.find_changed(with_neighbours=self._program is None)
        if changed is None:
            return
        near = os.path.relpath(changed)
        tell(f"{changed if near.startswith(os.pardir) else near} has changed; the program is started again")
        if self._program is None:
            self._start()
        else:
            now = time.monotonic()
            self._is_restarting = True
            self._steps = [
                (now, signal.SIGTERM),
                (now + _PATIENCE, signal.SIGTERM),  # at once
                (now + _PATIENCE + _LAST_PATIENCE, signal.SIGKILL),
            ]


def how_ended(status: int) -> str:
    """Return how a process has ended: ``has ended with exit status 1``, ``was ended by SIGKILL``."""
    if status >= 0:
        return f"has ended with exit status {status}"
    try:
        return f"was ended by {signal.Signals(-status).name}"
    except ValueError:
        return f"was ended by signal {-status}"
