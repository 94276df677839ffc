"""The Autobahn test suite against Pants' WebSockets, as a server and as a client.

By default the cases of framing, pings, fragments, UTF-8 and closing run, and some of compression, both ends at once,
which takes some 15 seconds. ``PANTS_AUTOBAHN=full`` has all of them but those that measure speed (9.*), for up to half
an hour. ``PANTS_AUTOBAHN_REPORT=FILE`` has the outcomes written to a file; the counts are shown with ``pytest -s``.

The suite needs CPython 2.7 and, the first time, the network (see `tests.http.autobahn_support`). Where it cannot be had
the tests are skipped; with ``PANTS_REQUIRE_AUTOBAHN=1`` they fail then.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pants import Engine
from pants.http import HTTPServer, WebSocket
from pants.testing import run_until
from tests.http.autobahn_support import AGENT, Report, UnavailableError, ending, fuzzing, suite_python

FULL = os.environ.get("PANTS_AUTOBAHN") == "full"

# 12.* and 13.* are thousands of messages of one size in each case.
CASES = ["1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "10.*", "12.1.1", "12.1.2", "13.1.1", "13.2.1", "13.7.1"]
EXCLUDED = ["9.*"]
DEADLINE = 3600.0 if FULL else 300.0


class Echo(WebSocket):
    def on_connect(self, *_: Any) -> None:
        self.buffer_size = 64 * 1024 * 1024

    def on_read(self, data: str | bytes) -> None:
        self.write(data)


class Asking(WebSocket):
    """Reads one message, and tells it when the connection is closed."""

    def __init__(self, request: Any, then: Callable[[str], object]) -> None:
        self.then = then
        self.message = ""
        super().__init__(request)

    def on_read(self, message: str) -> None:
        self.message = message

    def on_close(self) -> None:
        self.then(self.message)


class Client:
    """Goes through the cases of a ``fuzzingserver``."""

    def __init__(self, url: str, engine: Engine) -> None:
        self.url = url
        self.engine = engine
        self.done = False
        self.case = self.count = 0
        Asking.connect(url + "/getCaseCount", self.begin, engine=engine, proxy=None)

    def begin(self, count: str) -> None:
        self.count = int(count or 0)
        self.run_next()

    def run_next(self) -> None:
        client = self

        class Case(Echo):
            def on_close(self) -> None:
                client.run_next()

        if self.case < self.count:
            self.case += 1
            Case.connect(f"{self.url}/runCase?case={self.case}&agent={AGENT}", engine=self.engine, proxy=None)
        else:
            Asking.connect(f"{self.url}/updateReports?agent={AGENT}", self.end, engine=self.engine, proxy=None)

    def end(self, _: str) -> None:
        self.done = True


class Recorder(logging.Handler):
    """Keeps what Pants logs at WARNING or above."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


class Found:
    """What the suite has found at both ends, and what Pants has logged meanwhile."""

    def __init__(self, server: Report, client: Report, log: list[str]) -> None:
        self.reports = {"server": server, "client": client}
        self.log = log


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Found]:
    """Both ends at once, on an engine of this module's own; much of the time the suite waits."""
    try:
        suite_python()
    except UnavailableError as error:
        if os.environ.get("PANTS_REQUIRE_AUTOBAHN"):
            pytest.fail(f"{error}; and PANTS_REQUIRE_AUTOBAHN asks for it", pytrace=False)
        pytest.skip(str(error))
    cases = ["*"] if FULL else CASES
    recorder = Recorder()
    logger = logging.getLogger("pants")
    logger.addHandler(recorder)
    engine = Engine()
    server = HTTPServer(Echo, engine=engine)
    server.listen(("127.0.0.1", 0))
    url = f"ws://127.0.0.1:{server.local_address[1]}/"
    try:
        with (
            fuzzing("fuzzingserver", tmp_path_factory.mktemp("client"), cases, EXCLUDED) as asked,
            fuzzing("fuzzingclient", tmp_path_factory.mktemp("server"), cases, EXCLUDED, [url]) as asks,
            ending(asks) as ended,
        ):
            ended.add_done_callback(lambda _: engine.call_from_thread(bool))
            client = Client(asked.url(), engine)
            run_until(lambda: client.done and ended.done(), DEADLINE, engine)
            yield told(Found(asks.report("server"), asked.report("client"), recorder.lines))
    finally:
        server.close()
        engine.poll(0)
        engine.close()
        logger.removeHandler(recorder)


def told(found: Found) -> Found:
    for report in found.reports.values():
        print(f"\nAutobahn, {report.summary()}")
    if path := os.environ.get("PANTS_AUTOBAHN_REPORT"):
        outcomes = {end: report.as_json() for end, report in found.reports.items()}
        Path(path).write_text(json.dumps(outcomes, indent=1) + "\n")
    return found


ENDS = pytest.mark.parametrize("end", ["server", "client"])


@ENDS
def test_the_cases_have_run(end: str, found: Found) -> None:
    cases = found.reports[end].cases
    assert len(cases) == (463 if FULL else 252)
    assert {number.split(".")[0] for number in cases} == {"1", "2", "3", "4", "5", "6", "7", "10", "12", "13"}


@ENDS
def test_every_case_is_passed(end: str, found: Found) -> None:
    """NON-STRICT, which is not that, is for what RFC 6455 says an end SHOULD do."""
    assert found.reports[end].complaints(["OK", "INFORMATIONAL"]) == []


@ENDS
def test_every_case_is_closed_as_it_should_be(end: str, found: Found) -> None:
    """RFC 6455 §7: by the right end, with the right code, by a handshake, and the server ends the TCP connection."""
    assert found.reports[end].complaints(["OK", "INFORMATIONAL"], "behaviorClose") == []


def test_nothing_is_logged(found: Found) -> None:
    """What a peer does wrong is no fault of this end's, and no reason for a warning."""
    assert found.log == []
