"""The guards of tests/conftest.py: what every test relies on must itself be seen to fail when it should."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

PROGRAM = """
    import logging
    import socket
    import warnings

    import pytest
    from pants import Engine

    log = logging.getLogger("pants.some_part")
    kept = []
    engines = []


    def test_good():
        log.info("nothing to worry about")


    def test_keeps_a_socket():
        kept.append(socket.socket())


    def test_drops_a_socket():
        socket.socket()


    def test_drops_a_socket_in_a_cycle():
        cycle = [socket.socket()]
        cycle.append(cycle)


    def test_logs():
        log.warning("this was not expected")


    def test_logs_as_announced(expect_log):
        expect_log("division by zero")
        try:
            1 / 0
        except ZeroDivisionError:
            log.exception("in a timer")


    def test_logs_more_than_announced(expect_log):
        expect_log("the one")
        log.error("the one")
        log.error("the other")


    def test_logs_less_than_announced(expect_log):
        expect_log("never said")


    def test_warns():
        warnings.warn("an old way", DeprecationWarning)


    def test_first_engine():
        engines.append(Engine.instance())


    def test_second_engine():
        assert Engine.instance() is not engines[0]


    def test_peer_is_there(peer):
        assert peer("sh").startswith("/")


    def test_peer_is_missing(peer):
        peer("no-such-program-anywhere")
"""

FAILED = {"test_drops_a_socket", "test_warns"}
# These have done what they do by the time that the guards find fault.
FAILED_AT_THE_END = {
    "test_keeps_a_socket",
    "test_drops_a_socket_in_a_cycle",
    "test_logs",
    "test_logs_more_than_announced",
    "test_logs_less_than_announced",
}


@pytest.mark.parametrize("required", [False, True], ids=["peers optional", "peers required"])
def test_the_guards(required: bool, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    if required:
        monkeypatch.setenv("PANTS_REQUIRE_PEERS", "1")
    else:
        monkeypatch.delenv("PANTS_REQUIRE_PEERS", raising=False)
    pytester.makeconftest((Path(__file__).parents[1] / "conftest.py").read_text())
    pytester.makepyfile(test_program=PROGRAM)
    # A process of its own: the socket that is kept must not be left open in this one.
    lines = pytester.runpytest_subprocess("-W", "error", "-rA", "-p", "no:cacheprovider").outlines

    def reported(outcome: str) -> set[str]:
        prefix = f"{outcome} test_program.py::"
        return {line.removeprefix(prefix).split()[0] for line in lines if line.startswith(prefix)}

    assert reported("FAILED") == FAILED | ({"test_peer_is_missing"} if required else set())
    assert reported("ERROR") == FAILED_AT_THE_END
    assert any("no-such-program-anywhere is not installed" in line for line in lines)
    assert any("unexpected in the log" in line for line in lines)
    assert reported("PASSED") >= {"test_good", "test_logs_as_announced", "test_second_engine", "test_peer_is_there"}
