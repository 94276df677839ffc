"""Runs the Autobahn test suite (``wstest``), which holds a WebSocket server or client against RFC 6455 and RFC 7692.

It is a program of CPython 2.7, which has to be there: as ``python2.7``, or as one of pyenv's. The suite itself is
installed from PyPI the first time, into a folder of the user's cache.
"""

from __future__ import annotations

import collections
import contextlib
import fcntl
import functools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

SUITE = "autobahntestsuite==25.10.1"
VIRTUALENV = "virtualenv==20.21.1"  # later ones make no environments of Python 2.7
INSTALL_DEADLINE = 600.0
# The name that the suite knows Pants by.
AGENT = "pants"

# Runs wstest with its servers on loopback, and says first which port one got: it cannot be told to do either.
PROGRAM = """
import sys
told, sys.stdout = sys.stdout, sys.stderr
from autobahntestsuite import choosereactor
from twisted.internet import reactor
listen = reactor.listenTCP
def listen_and_tell(port, factory, backlog=50, interface=""):
    listening = listen(port, factory, backlog, "127.0.0.1")
    told.write("%d\\n" % listening.getHost().port)
    told.flush()
    return listening
reactor.listenTCP = listen_and_tell
from autobahntestsuite.wstest import run
run()
"""


class UnavailableError(Exception):
    """Why the suite cannot be run."""


# --- Finding the suite ------------------------------------------------------------------------------------------------


@functools.cache
def suite_python() -> str:
    """Return a Python 2.7 that has the suite; it is installed if need be.

    Raises:
        UnavailableError: There is none, and none can be made.
    """
    wstest = shutil.which("wstest")
    if wstest is not None:
        interpreter = _interpreter_of(wstest)
        if _has_suite(interpreter):
            return interpreter
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pants-tests"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "autobahn.lock").open("w") as lock:  # others may be about to install it too
        fcntl.flock(lock, fcntl.LOCK_EX)
        installed = folder / SUITE.replace("==", "-") / "bin" / "python"
        if not _has_suite(str(installed)):
            _install(folder, installed.parents[1])
        if not _has_suite(str(installed)):
            raise UnavailableError(f"{SUITE} was installed into {installed.parents[1]}, and cannot be imported")
    return str(installed)


def _interpreter_of(script: str) -> str:
    with open(script, "rb") as file:
        return file.readline().decode(errors="replace").removeprefix("#!").strip()


def _answers(*command: str) -> bool:
    with contextlib.suppress(OSError):
        return subprocess.run(command, capture_output=True, check=False, stdin=subprocess.DEVNULL).returncode == 0
    return False


def _has_suite(interpreter: str) -> bool:
    return _answers(interpreter, "-c", "import autobahn, autobahntestsuite")


def _find_python() -> str:
    """Return CPython 2.7. The command may be there and not run, as pyenv's is where another version is chosen."""
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    candidates = [shutil.which("python2.7"), *map(str, sorted(pyenv.glob("versions/2.7.*/bin/python2.7")))]
    check = "import platform, sys; sys.exit(platform.python_implementation() != 'CPython')"
    for candidate in candidates:
        if candidate is not None and _answers(candidate, "-c", check):
            return candidate
    raise UnavailableError("wstest is not installed, nor CPython 2.7, with which it could be")


def _install(folder: Path, environment: Path) -> None:
    python = _find_python()
    tool = folder / "virtualenv"
    shutil.rmtree(environment, ignore_errors=True)
    shutil.rmtree(tool, ignore_errors=True)
    pip = ("-m", "pip", "--disable-pip-version-check", "install", "--quiet")
    for command in (
        (sys.executable, "-m", "venv", str(tool)),
        (str(tool / "bin" / "python"), *pip, VIRTUALENV),
        (str(tool / "bin" / "virtualenv"), "--quiet", "--python", python, str(environment)),
        (str(environment / "bin" / "python"), *pip, SUITE),
    ):
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=INSTALL_DEADLINE, check=False, stdin=subprocess.DEVNULL
            )
        except subprocess.TimeoutExpired as error:
            raise UnavailableError(f"{SUITE} could not be installed: {error}") from None
        if done.returncode:
            raise UnavailableError(f"{SUITE} could not be installed: {done.stderr.strip()[-2000:]}")
    shutil.rmtree(tool)


# --- Running it -------------------------------------------------------------------------------------------------------


class Report:
    """What the suite has found at one end.

    Attributes:
        end: ``server`` or ``client``: which end Pants was.
        cases: The outcome of each case, by its number.
    """

    def __init__(self, end: str, folder: Path) -> None:
        self.end = end
        self._folder = folder
        with (folder / "index.json").open() as file:
            found: dict[str, Any] = json.load(file).get(AGENT, {})
        self.cases = {number: found[number] for number in sorted(found, key=_sort_key)}

    def counts(self, what: str = "behavior") -> dict[str, int]:
        """How many cases have had which outcome; with ``behaviorClose``, which at their closing."""
        return dict(collections.Counter(case[what] for case in self.cases.values()).most_common())

    def summary(self) -> str:
        """The counts, for people."""

        def shown(counts: dict[str, int]) -> str:
            return ", ".join(f"{count} {outcome}" for outcome, count in counts.items())

        return f"{self.end}: {len(self.cases)} cases: {shown(self.counts())}; closing: " + shown(
            self.counts("behaviorClose")
        )

    def complaints(self, good: Sequence[str], what: str = "behavior") -> list[str]:
        """The cases with another outcome, each with what the suite says of it."""
        found = []
        for number, case in self.cases.items():
            if case[what] not in good:
                with (self._folder / case["reportfile"]).open() as file:
                    detail = json.load(file)
                reason = detail["result" if what == "behavior" else "resultClose"]
                found.append(f"{number}: {case[what]}: {reason} (expected: {detail['expectation']})")
        return found

    def as_json(self) -> dict[str, Any]:
        """The counts and the outcomes."""
        cases = {number: [case["behavior"], case["behaviorClose"]] for number, case in self.cases.items()}
        return {"behavior": self.counts(), "closing": self.counts("behaviorClose"), "cases": cases}


def _sort_key(number: str) -> list[int]:
    return [int(part) for part in number.split(".")]


class Fuzzer:
    """A running ``wstest``.

    Args:
        mode: ``fuzzingclient``, or ``fuzzingserver``.
        folder: An empty folder, for what it writes.
        cases: Patterns of the numbers of cases, such as ``1.*``.
        excluded: Patterns of those to leave out.
        servers: As ``fuzzingclient``: the URL of the server that is tried.
    """

    def __init__(
        self, mode: str, folder: Path, cases: Sequence[str], excluded: Sequence[str], servers: Sequence[str] = ()
    ) -> None:
        self._folder = folder
        self._log = folder / "log"
        specification = {
            "url": "ws://127.0.0.1:0",
            "servers": [{"agent": AGENT, "url": url} for url in servers],
            "outdir": str(folder / "reports"),
            "cases": list(cases),
            "exclude-cases": list(excluded),
            "exclude-agent-cases": {},
        }
        (folder / "specification.json").write_text(json.dumps(specification))
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [suite_python(), "-c", PROGRAM, "-m", mode, "-u", "0", "-s", str(folder / "specification.json")],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
            )

    def url(self) -> str:
        """As ``fuzzingserver``: where it serves."""
        assert self.process.stdout is not None
        port = self.process.stdout.readline()
        assert port, self.log()
        return f"ws://127.0.0.1:{int(port)}"

    def log(self) -> str:
        """The last that it has said."""
        return self._log.read_text(errors="replace")[-3000:]

    def report(self, end: str) -> Report:
        """What it has found."""
        assert (self._folder / "reports" / "index.json").exists(), self.log()
        return Report(end, self._folder / "reports")

    def stop(self) -> None:
        """End it, if it has not ended by itself."""
        self.process.kill()
        self.process.communicate()


@contextlib.contextmanager
def fuzzing(*args: Any, **kwargs: Any) -> Iterator[Fuzzer]:
    """A `Fuzzer`, which is ended at the end."""
    fuzzer = Fuzzer(*args, **kwargs)
    try:
        yield fuzzer
    finally:
        fuzzer.stop()


@contextlib.contextmanager
def ending(fuzzer: Fuzzer) -> Iterator[Future[int]]:
    """A future that is done when a fuzzer has ended."""
    with ThreadPoolExecutor(1) as pool:
        try:
            yield pool.submit(fuzzer.process.wait)
        finally:
            fuzzer.process.kill()
