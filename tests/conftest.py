"""What holds for every test of Pants, whichever distribution it is for.

Each test gets an engine of its own as `Engine.instance()`, and fails if it leaves behind a socket, a thread's or a
destructor's exception, or a line in Pants's log at WARNING or above that it did not ask for (`expect_log`). Programs
that serve as the other end come from `peer`.
"""

from __future__ import annotations

import gc
import importlib
import importlib.util
import logging
import os
import re
import shutil
import stat
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

# Set where every peer has been installed (see .ci/run): a test that cannot find its peer there has to fail, or the
# tests against real programs could all drop out without anyone noticing.
REQUIRE_PEERS = "PANTS_REQUIRE_PEERS"

# How long a socket that another thread has just opened (a name being looked up) may take to go away.
LEAK_GRACE = 2.0


@pytest.fixture(scope="session")
def peer() -> Callable[[str], str]:
    """A function that takes a program's name and gives its path, for tests against real programs.

    The test is skipped if the program is not installed, and fails instead if PANTS_REQUIRE_PEERS is set.
    """

    def find(program: str) -> str:
        # Debian keeps servers in sbin, which is not on everyone's PATH.
        path = shutil.which(program) or shutil.which(program, path="/usr/local/sbin:/usr/sbin:/sbin")
        if path is not None:
            return path
        if os.environ.get(REQUIRE_PEERS):
            pytest.fail(f"{program} is not installed, and {REQUIRE_PEERS} asks for every peer", pytrace=False)
        pytest.skip(f"{program} is not installed")

    return find


# The three fixtures below apply to every test. Each depends on the one before it, which settles the order at the end
# of a test: its own fixtures are gone by then, the engine closes, the log is judged, then the sockets.


def pytest_collection_finish() -> None:
    """Leave out of each test's garbage collection what all of them share, which takes far longer than the tests do."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def no_leaked_sockets() -> Iterator[None]:
    """Fails the test if a socket that it opened is still open when it is over.

    A socket that was dropped without being closed gives a ResourceWarning when it is collected, which is an error by
    pytest's settings; collecting here makes that this test's error and no later one's.
    """
    before = open_sockets()
    yield
    gc.collect()
    gc.freeze()  # what is left belongs to no single test, and each later collection would look through all of it again
    deadline = time.monotonic() + LEAK_GRACE
    while leaked := open_sockets() - before:
        if time.monotonic() > deadline:
            pytest.fail(f"left open by this test: {len(leaked)} sockets {sorted(leaked)}", pytrace=False)
        time.sleep(0.01)


def open_sockets() -> set[tuple[int, int]]:
    """The sockets of this process, each as its descriptor and inode; a descriptor alone may have been used again."""
    found = set()
    for name in os.listdir("/dev/fd"):
        try:
            status = os.fstat(int(name))
        except OSError:  # the descriptor that listed the folder
            continue
        if stat.S_ISSOCK(status.st_mode):
            found.add((int(name), status.st_ino))
    return found


class ExpectedLog:
    """Judges what Pants logs at WARNING or above in one test: it must be announced, and then it must come.

    Called with a regular expression, it expects at least one such line in which the expression is found (in the
    message, or in the traceback below it).
    """

    def __init__(self) -> None:
        self.records: list[tuple[logging.LogRecord, str]] = []
        self.patterns: dict[str, re.Pattern[str]] = {}

    def __call__(self, pattern: str) -> None:
        self.patterns[pattern] = re.compile(pattern)

    def take(self, record: logging.LogRecord) -> None:
        # Formatted at once: the arguments may change before the test is over.
        self.records.append((record, logging.Formatter("%(levelname)s %(name)s: %(message)s").format(record)))

    @property
    def lines(self) -> list[str]:
        """What has been logged so far at WARNING or above, with tracebacks."""
        return [line for _, line in self.records]

    def complaint(self) -> str:
        """What is wrong with the log, or an empty string."""
        matched = set()
        unexpected = []
        for line in self.lines:
            found = {pattern for pattern, compiled in self.patterns.items() if compiled.search(line)}
            matched |= found
            if not found:
                unexpected.append(line)
        missing = [pattern for pattern in self.patterns if pattern not in matched]
        parts = [f"unexpected in the log:\n{line}" for line in unexpected]
        parts += [f"expected in the log, but absent: {pattern!r}" for pattern in missing]
        return "\n".join(parts)


class _Recorder(logging.Handler):
    def __init__(self, log: ExpectedLog) -> None:
        super().__init__(logging.WARNING)
        self.log = log

    def emit(self, record: logging.LogRecord) -> None:
        self.log.take(record)


@pytest.fixture(autouse=True)
def expect_log(no_leaked_sockets: None) -> Iterator[ExpectedLog]:
    """Fails the test on any line that Pants logs at WARNING or above, but for those announced.

    `expect_log("division by zero")` announces one: at least one line has to match then, and it may come repeatedly.
    """
    log = ExpectedLog()
    recorder = _Recorder(log)
    logger = logging.getLogger("pants")
    logger.addHandler(recorder)
    yield log
    logger.removeHandler(recorder)
    if complaint := log.complaint():
        pytest.fail(complaint, pytrace=False)


@pytest.fixture(autouse=True)
def fresh_engine(expect_log: ExpectedLog) -> Iterator[None]:
    """Gives the test a global engine of its own: no timer and no channel of another test is left in it."""
    engine_class = find_engine_class()
    if engine_class is None:
        yield
        return
    engine_class._instance = None
    yield
    engine, engine_class._instance = engine_class._instance, None
    if engine is not None:
        engine.close()


def find_engine_class() -> Any:
    """The class `pants.engine.Engine`; None where no Pants is installed, as for the tests of the packaging."""
    try:
        return importlib.import_module("pants.engine").Engine
    except ModuleNotFoundError as error:
        if error.name == "pants":
            return None
        raise


@pytest.fixture(scope="session")
def layers() -> set[str]:
    """What this environment holds of Pants: the top packages that can be found, `pants.http` for example.

    Only for the environments that were made for one distribution (pyproject.toml sets PANTS_DISTRIBUTION in them);
    elsewhere a test that asks for this is skipped.
    """
    if "PANTS_DISTRIBUTION" not in os.environ:
        pytest.skip("this environment was not made for a single distribution")
    names = [
        "pants",
        "pants.http",
        "pants.web",
        "pants.contrib.irc",
        "pants.contrib.telnet",
        "pants.contrib.qt",
    ]
    return {name for name in names if can_be_found(name)}


def can_be_found(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # find_spec imports the packages above, and pants.contrib may not be there either
        return False
