"""Streams: the constructor, addresses, the order of the hooks, and what happens when one of them fails.

Reading, writing and closing have files of their own.
"""

from __future__ import annotations

import contextlib
import doctest
import gc
import importlib
import io
import logging
import random
import re
import socket
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pants import Engine, Server, Stream
from tests.conftest import ExpectedLog
from tests.core.support import (
    DEADLINE,
    Pair,
    Peer,
    Recorder,
    client_of,
    connected,
    descriptors,
    pattern,
    run_for,
    run_until,
    tcp_pair,
    turns,
    unix_pair,
)

both_kinds = pytest.mark.parametrize("pair", [tcp_pair, unix_pair], ids=["TCP", "UNIX"])


# --- The constructor (manual: "Stream", "Keyword Argument") ----------------------------------------------------------


def test_fresh_stream() -> None:
    stream = Stream()
    assert stream.engine is Engine.instance()  # "Defaults to the global engine."
    assert stream.socket is None  # "a new socket will be created for the channel when required"
    assert stream.server is None
    assert not stream.connected
    assert not stream.closed
    assert not stream.secure
    assert stream.fileno() == -1
    assert stream.local_address is None
    assert stream.remote_address is None
    assert stream.read_delimiter is None
    assert stream.regex_search is True
    assert stream.buffer_size == 64 * 1024  # "By default, a maximum of 64kb of data will be stored."
    assert stream.idle_timeout is None
    assert stream.queued_bytes == 0
    assert stream.close_error is None


def test_engine_argument() -> None:
    engine = Engine()
    assert Stream(engine=engine).engine is engine
    engine.close()


@pytest.mark.parametrize(
    "arguments, named",
    [
        ({"engine": "engine"}, "'engine'"),
        ({"engine": Engine}, "Engine"),
        ({"socket": 7}, "7"),
        ({"socket": "socket"}, "'socket'"),
        ({"colour": "green"}, "colour"),
    ],
)
def test_wrong_arguments(arguments: dict[str, Any], named: str) -> None:
    """Issue 2, "Bad input": a wrong argument raises at the call, naming what was given."""
    with pytest.raises(TypeError, match=named):
        Stream(**arguments)


def test_positional_argument() -> None:
    with pytest.raises(TypeError):
        Stream(Engine.instance())  # type: ignore[call-arg]


def test_socket_of_another_type() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        with pytest.raises(ValueError, match="SOCK_STREAM"):
            Stream(socket=sock)
        assert sock.fileno() >= 0  # it is the caller's still


@both_kinds
def test_socket_that_is_connected(pair: Pair) -> None:
    """ "A pre-existing socket to wrap." DESIGN §3: on_connect never runs inside a constructor."""
    one, other = pair()
    peer = Peer(other)
    stream = Recorder(socket=one)
    assert stream.events == []
    assert stream.connected
    run_until(lambda: stream.events)
    assert stream.names == ["connect"]
    peer.send(b"spam")
    run_until(lambda: stream.data == b"spam")
    peer.close()


def test_socket_that_is_not_connected() -> None:
    """It is used by connect(), as it was set up by the caller."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        sock = socket.socket()
        sock.bind(("127.0.0.1", 0))
        own_address = sock.getsockname()
        stream = Recorder(socket=sock)
        turns()
        assert not stream.connected
        assert stream.names == []
        stream.connect(listener.getsockname())
        run_until(lambda: stream.connected)
        accepted, address = listener.accept()
        accepted.close()
    assert address == own_address
    assert stream.names == ["connect"]


def test_socket_that_blocks_is_made_not_to() -> None:
    with connected(Recorder) as (stream, _):
        assert stream.socket is not None
        assert not stream.socket.getblocking()


def test_socket_whose_peer_has_gone_already() -> None:
    one, other = tcp_pair()
    Peer(other).reset()
    stream = Recorder(socket=one)
    stream.close()
    run_until(lambda: stream.closed)
    assert stream.names == ["close"]


def test_attributes_of_a_users_own() -> None:
    """Manual, tutorial: a channel is subclassed, and keeps what its protocol needs."""
    stream = Stream()
    stream.nickname = "Guido"  # type: ignore[attr-defined]
    assert stream.nickname == "Guido"  # type: ignore[attr-defined]


def test_repr_tells_state_and_addresses() -> None:
    with connected(Recorder) as (stream, _):
        assert "Recorder" in repr(stream)
        assert "connected" in repr(stream)
        assert str(stream.remote_address) in repr(stream)
        stream.close()
        assert "closing" in repr(stream)
        run_until(lambda: stream.closed)
        assert "closed" in repr(stream)
    assert "not connected" in repr(Stream())


# --- Addresses (manual: "local_address", "remote_address") -----------------------------------------------------------


@both_kinds
def test_addresses_are_those_of_the_socket(pair: Pair) -> None:
    one, other = pair()
    own, remote = one.getsockname(), one.getpeername()
    peer = Peer(other)
    stream = Stream(socket=one)
    assert stream.local_address == own
    assert stream.remote_address == remote
    turns()
    assert stream.local_address == own
    assert stream.remote_address == remote
    assert stream.fileno() == one.fileno()
    peer.close()


@pytest.mark.parametrize("name", ["local_address", "remote_address"])
def test_address_overridden_and_deleted(name: str) -> None:
    """ "In order to return the property to its default behaviour, user code then has to delete the value." """
    with connected(Stream) as (stream, _):
        default = getattr(stream, name)
        for value in ("custom", ("10.1.2.3", 4), None):
            setattr(stream, name, value)
            assert getattr(stream, name) == value
        delattr(stream, name)
        assert getattr(stream, name) == default
        delattr(stream, name)  # there is nothing to delete, and nothing wrong with that
        assert getattr(stream, name) == default


def test_accepted_and_connected_streams_return_to_the_default_too() -> None:
    class Accepted(Recorder):
        pass

    server = Server(Accepted).listen(("127.0.0.1", 0))
    client = Recorder().connect(server.local_address)
    run_until(lambda: client.connected and server.channels)
    [accepted] = server.channels.values()
    assert client.local_address == accepted.remote_address
    assert client.remote_address == accepted.local_address == server.local_address
    for stream in (client, accepted):
        default = stream.remote_address
        stream.remote_address = "proxied"
        assert stream.remote_address == "proxied"
        del stream.remote_address
        assert stream.remote_address == default


@pytest.mark.parametrize("how", ["close", "end", "reset", "abort"])
def test_addresses_in_on_close_and_after(how: str) -> None:
    """Manual, tutorial: on_close() tells all others ``self.remote_address[0]``."""
    seen = []

    class Leaving(Stream):
        def on_close(self):
            seen.append((self.local_address, self.remote_address))

    one, other = tcp_pair()
    addresses = (one.getsockname(), one.getpeername())
    stream = Leaving(socket=one)
    peer = Peer(other)
    turns()
    if how == "close":
        stream.close()
    elif how == "abort":
        stream.close(flush=False)
    elif how == "end":
        peer.close()
    else:
        peer.reset()
    run_until(lambda: seen)
    peer.close()
    assert seen == [addresses]
    assert (stream.local_address, stream.remote_address) == addresses


def test_overridden_address_in_on_close() -> None:
    seen = []

    class Leaving(Stream):
        def on_close(self):
            seen.append(self.remote_address)

    with connected(Leaving) as (stream, _):
        stream.remote_address = ("10.1.2.3", 4)
        stream.close()
        run_until(lambda: stream.closed)
    assert seen == [("10.1.2.3", 4)]


# --- The order of the hooks (DESIGN §3) ------------------------------------------------------------------------------


@both_kinds
def test_order_of_hooks(pair: Pair) -> None:
    """DESIGN §3: on_connect on_read* on_close; on_close once, last."""
    with connected(Recorder, pair=pair) as (stream, peer):
        stream.read_delimiter = b"\n"
        peer.send(b"one\ntwo\n")
        peer.close()
        run_until(lambda: stream.closed)
        turns()
    assert stream.names == ["connect", "read", "read", "end", "close"]
    assert stream.reads == [b"one", b"two"]
    assert stream.close_error is None


def test_on_close_of_a_stream_that_never_connected() -> None:
    """DESIGN §3: "`on_close` once, last, also for one that never connected"."""
    stream = Recorder()
    stream.close()
    assert stream.events == []
    run_until(lambda: stream.closed)
    turns()
    assert stream.names == ["close"]


@pytest.mark.parametrize("hook", ["connect", "read", "end", "close"])
def test_hooks_never_run_inside_a_call(hook: str) -> None:
    """Every hook comes from the loop, so that nobody has to expect one inside a method that he calls."""
    inside = False
    entered = []

    class Watching(Stream):
        def on_connect(self):
            entered.append(("connect", inside))

        def on_read(self, data):
            entered.append(("read", inside))

        def on_write(self):
            entered.append(("write", inside))

        def on_end(self):
            entered.append(("end", inside))

        def on_close(self):
            entered.append(("close", inside))

    one, other = tcp_pair()
    peer = Peer(other)
    inside = True
    stream = Watching(socket=one)
    inside = False
    turns()
    peer.send(b"buffered")
    turns()
    for call in (
        lambda: stream.write(b"x"),
        lambda: stream.write(b"x", flush=True),
        lambda: stream.flush(),
        lambda: stream.pause_reading(),
        lambda: stream.resume_reading(),
        lambda: setattr(stream, "read_delimiter", None),
        lambda: stream.close(),
        lambda: stream.close(flush=False),
    ):
        inside = True
        call()
        inside = False
        turns()
    run_until(lambda: stream.closed)
    peer.close()
    assert {name for name, _ in entered} == {"connect", "read", "write", "close"}
    assert not any(was_inside for _, was_inside in entered)


# --- Exceptions out of hooks (manual: "on_error"; DESIGN §2 rule 3, §3) ----------------------------------------------


class Failing(Recorder):
    """Fails in one hook; collects what on_error gets, and stays open."""

    def __init__(self, fails: str, **kwargs: Any) -> None:
        self.fails = fails
        self.high_water = 1000
        super().__init__(**kwargs)
        self.read_delimiter = b"\n"
        self.buffer_size = 100

    def fail(self, name: str) -> None:
        if self.fails == name:
            raise ZeroDivisionError(name)

    def on_connect(self) -> None:
        self.fail("connect")

    def on_read(self, data: bytes) -> None:
        self.fail("read")

    def on_write(self) -> None:
        self.fail("write")

    def on_high_water(self) -> None:
        self.fail("high_water")

    def on_end(self) -> None:
        self.fail("end")

    def on_idle_timeout(self) -> None:
        self.fail("idle_timeout")

    def on_overflow_error(self, exception: Exception) -> None:
        self.fail("overflow_error")


class FailingOpenly(Failing):
    def on_error(self, exception: Exception) -> None:
        pass


def provoke(hook: str, stream: Failing, peer: Peer) -> None:
    """Make a hook be called."""
    if hook == "read":
        peer.send(b"line\n")
    elif hook == "write":
        stream.write(b"data")
    elif hook == "high_water":
        stream.write(bytes(8 << 20))
    elif hook == "end":
        peer.end()
    elif hook == "idle_timeout":
        stream.idle_timeout = 0.01
    elif hook == "overflow_error":
        peer.send(bytes(1000))
    run_until(lambda: hook in stream.names)
    turns()


HOOKS = ["connect", "read", "write", "high_water", "end", "idle_timeout", "overflow_error"]


@pytest.mark.parametrize("hook", HOOKS)
def test_exception_goes_to_on_error(hook: str) -> None:
    """ "Called when an error occurs and no specific error-handling callback exists." """
    with connected(FailingOpenly, fails=hook) as (stream, peer), connected(Recorder) as (other, other_peer):
        provoke(hook, stream, peer)
        assert isinstance(stream.first("error"), ZeroDivisionError)
        assert stream.first("error").args == (hook,)
        assert stream.names[: stream.names.index("error")][-1] == hook
        assert not stream.closed  # on_error was overridden
        assert stream.connected
        other_peer.send(b"alive")
        run_until(lambda: other.data == b"alive")


@pytest.mark.parametrize("hook", HOOKS)
def test_on_error_logs_and_closes_by_default(hook: str, expect_log: ExpectedLog) -> None:
    """ "By default, logs the exception and closes the channel." It never closes the loop (DESIGN §2 rule 3)."""
    expect_log(rf"(?s)Failing.*Traceback.*ZeroDivisionError: {hook}")
    with connected(Recorder) as (other, other_peer):
        with connected(Failing, fails=hook) as (stream, peer):
            provoke(hook, stream, peer)
            stream.close(flush=False)  # for high_water, what is queued would be waited for
            run_until(lambda: stream.closed)
            assert stream.names[-1] == "close"
            assert len(expect_log.lines) == 1
        other_peer.send(b"alive")
        run_until(lambda: other.data == b"alive")


def test_stream_goes_on_after_an_error(expect_log: ExpectedLog) -> None:
    """Frames behind the one whose on_read failed are not lost where on_error leaves the channel open."""

    class Choosy(Recorder):
        def on_connect(self):
            self.read_delimiter = b"\n"

        def on_read(self, line):
            self.write(line)
            if line == b"bad":
                raise ValueError(line)

        def on_error(self, exception):
            self.write(b"!")

    with connected(Choosy) as (stream, peer):
        peer.send(b"good\nbad\nfine\nbad\nlast\n")
        assert peer.receive(18) == b"goodbad!finebad!la"
        assert peer.receive(2) == b"st"
    assert stream.reads == [b"good", b"bad", b"fine", b"bad", b"last"]


def test_on_error_that_fails_is_logged(expect_log: ExpectedLog) -> None:
    """DESIGN §3: an exception "in `on_error` or `on_close`: logged". The channel is beyond help, and closed."""
    expect_log(r"(?s)ValueError: in on_read.*KeyError: 'in on_error'")

    class Bad(Recorder):
        def on_read(self, data):
            raise ValueError("in on_read")

        def on_error(self, exception):
            raise KeyError("in on_error")

    with connected(Bad) as (stream, peer), connected(Recorder) as (other, other_peer):
        peer.send(b"x")
        run_until(lambda: stream.closed)
        assert stream.names == ["connect", "read", "error", "close"]
        other_peer.send(b"alive")
        run_until(lambda: other.data == b"alive")


def test_on_close_that_fails_is_logged(expect_log: ExpectedLog) -> None:
    expect_log(r"(?s)Bad.*KeyError: 'in on_close'")

    class Bad(Recorder):
        def on_close(self):
            raise KeyError("in on_close")

    with connected(Bad) as (stream, _), connected(Recorder) as (other, other_peer):
        stream.close()
        run_until(lambda: stream.closed)
        turns()
        assert stream.names == ["connect", "close"]
        other_peer.send(b"alive")
        run_until(lambda: other.data == b"alive")


def test_on_close_that_fails_does_not_keep_others_from_closing(expect_log: ExpectedLog) -> None:
    expect_log("in on_close")

    class Bad(Recorder):
        def on_close(self):
            raise KeyError("in on_close")

    with connected(Bad) as (one, _), connected(Bad) as (other, _):
        one.close()
        other.close()
        run_until(lambda: one.closed and other.closed)
    assert one.names[-1] == other.names[-1] == "close"


# --- What is no Exception (DESIGN §3: "leaves `start()`"; manual: the engine can be started again) -------------------


class Leaving(BaseException):
    """As a second Ctrl-C raises, or sys.exit()."""


def start_until_left(engine: Engine) -> None:
    cancel = engine.defer(10.0, engine.stop)
    with pytest.raises(Leaving):
        engine.start()
    cancel()


def test_base_exception_out_of_on_read() -> None:
    """What the hook had written, and the frames behind, are still there when the engine is started again."""

    class Quitting(Recorder):
        def on_connect(self):
            self.read_delimiter = b"\n"

        def on_read(self, line):
            self.write(line)
            if line == b"quit":
                raise Leaving

    with connected(Quitting) as (stream, peer):
        peer.send(b"one\nquit\nthree\n")
        start_until_left(stream.engine)
        assert stream.names == ["connect", "read", "read"]
        assert peer.receive(12) == b"onequitthree"
        peer.send(b"four\n")
        assert peer.receive(4) == b"four"


def test_base_exception_with_the_peers_end_behind() -> None:
    """DESIGN §3: complete frames are delivered before the end."""

    class Quitting(Recorder):
        def on_connect(self):
            self.read_delimiter = b"\n"

        def on_read(self, line):
            if line == b"quit":
                raise Leaving

    with connected(Quitting) as (stream, peer):
        peer.send(b"quit\ntwo\nthree\n")
        peer.end()
        start_until_left(stream.engine)
        run_until(lambda: stream.closed)
        assert stream.names == ["connect", "read", "read", "read", "end", "close"]


@pytest.mark.parametrize("hook", ["connect", "write", "error", "overflow_error", "idle_timeout"])
def test_base_exception_out_of_another_hook(hook: str) -> None:
    """The channel works on when the engine is started again."""

    class Quitting(Recorder):
        def quit(self, name):
            if name == hook and self.names.count(name) == 1:
                self.write(b"written ")
                raise Leaving

        def on_connect(self):
            self.read_delimiter = b"\n"
            self.buffer_size = 10
            self.quit("connect")

        def on_read(self, data):
            if data == b"bad":
                raise ValueError

        def on_write(self):
            self.quit("write")

        def on_error(self, exception):
            self.quit("error")

        def on_overflow_error(self, exception):
            self.quit("overflow_error")

        def on_idle_timeout(self):
            self.idle_timeout = None
            self.quit("idle_timeout")

    one, other = tcp_pair()
    peer = Peer(other)
    stream = Quitting(socket=one)
    if hook != "connect":
        run_until(lambda: stream.names)
        if hook == "write":
            stream.write(b"- ")
        elif hook == "error":
            peer.send(b"bad\n")
        elif hook == "overflow_error":
            peer.send(bytes(50))
        else:
            stream.idle_timeout = 0.01
    start_until_left(stream.engine)
    stream.read_delimiter = None
    peer.send(b"hello")
    run_until(lambda: stream.data.endswith(b"hello"))
    stream.write(b"answer")
    expected = b"written answer"
    assert peer.receive(len(expected) + 2 * (hook == "write")).endswith(expected)
    peer.close()


def test_base_exception_out_of_on_end() -> None:
    class Quitting(Recorder):
        def on_end(self):
            self.write(b"bye")
            if self.names.count("end") == 1:
                raise Leaving

    with connected(Quitting) as (stream, peer):
        peer.end()
        start_until_left(stream.engine)
        assert peer.receive(3) == b"bye"
        stream.close()
        run_until(lambda: stream.closed)
        assert stream.names.count("end") == 1


def test_base_exception_out_of_on_close() -> None:
    class Quitting(Recorder):
        def on_close(self):
            raise Leaving

    with connected(Quitting) as (one, _), connected(Recorder) as (other, _):
        one.close()
        other.close()
        start_until_left(one.engine)
        run_until(lambda: other.closed)
        assert one.closed
        assert one.names == ["connect", "close"]


# --- A nested poll (DESIGN §3) ---------------------------------------------------------------------------------------


class Nesting(Recorder):
    """Polls inside on_read until it is told to go on, and notes if a hook is entered meanwhile."""

    depth = 0
    deepest = 0
    go_on = False
    meanwhile: Callable[[], object] = staticmethod(lambda: None)

    def on_connect(self) -> None:
        self.read_delimiter = b"\n"

    def on_read(self, line: bytes) -> None:
        self.enter()
        if line == b"wait":
            self.engine.callback(self.meanwhile)
            run_until(lambda: self.go_on, engine=self.engine)
        self.depth -= 1

    def enter(self) -> None:
        self.depth += 1
        self.deepest = max(self.deepest, self.depth)

    def on_idle_timeout(self) -> None:
        self.enter()
        self.depth -= 1

    def on_end(self) -> None:
        self.enter()
        self.depth -= 1
        self.close()

    def on_close(self) -> None:
        self.enter()
        self.depth -= 1

    on_write = on_high_water = on_idle_timeout


@both_kinds
def test_nested_poll_does_not_enter_the_same_channel(pair: Pair) -> None:
    """ "the channel whose hook is running is not entered again"; all that happened is told once it has returned."""
    with connected(Nesting, pair=pair) as (stream, peer), connected(Recorder) as (other, other_peer):

        def meanwhile():
            peer.send(b"later\n")
            peer.end()
            other_peer.send(b"others are served")
            run_until(lambda: other.data == b"others are served")
            other.write(b"and answer")
            assert other_peer.receive(10) == b"and answer"
            assert stream.names == ["connect", "read"]
            stream.go_on = True

        stream.meanwhile = meanwhile
        peer.send(b"wait\nframe behind\n")
        run_until(lambda: stream.closed)
        assert stream.reads == [b"wait", b"frame behind", b"later"]
        assert stream.names == ["connect", "read", "read", "read", "end", "close"]
        assert stream.deepest == 1


def test_nested_poll_and_the_idle_timeout() -> None:
    with connected(Nesting) as (stream, peer):
        stream.idle_timeout = 0.01
        stream.meanwhile = lambda: stream.engine.defer(0.1, setattr, stream, "go_on", True)
        peer.send(b"wait\n")
        run_until(lambda: "idle_timeout" in stream.names)
        assert stream.deepest == 1


def test_nested_poll_and_close() -> None:
    """close() from elsewhere, while a hook polls: on_close has to wait for the end of the hook."""
    with connected(Nesting) as (stream, peer):

        def meanwhile():
            stream.close()
            assert not stream.connected
            turns(5)
            assert not stream.closed
            stream.go_on = True

        stream.meanwhile = meanwhile
        peer.send(b"wait\nnever delivered\n")
        run_until(lambda: stream.closed)
        assert stream.names == ["connect", "read", "close"]
        assert stream.deepest == 1


def test_nested_poll_and_a_reset() -> None:
    with connected(Nesting) as (stream, peer):

        def meanwhile():
            peer.reset()
            turns(5)
            assert stream.names == ["connect", "read"]
            stream.go_on = True

        stream.meanwhile = meanwhile
        peer.send(b"wait\nframe behind\n")
        run_until(lambda: stream.closed)
        assert stream.names == ["connect", "read", "read", "close"]
        assert stream.deepest == 1


def test_nested_poll_and_writing() -> None:
    """What the hook wrote before it polls goes out, for the answer that it waits for depends on it.

    What is written from elsewhere meanwhile goes out, too, at the latest after the hook.
    """

    class Asking(Nesting):
        def on_read(self, line):
            if line == b"wait":
                self.write(b"question")
            super().on_read(line)
            self.write(b"thanks")

    with connected(Asking) as (asking, peer):

        def meanwhile():
            assert peer.receive(8) == b"question"
            asking.write(b"meanwhile ")
            asking.go_on = True

        asking.meanwhile = meanwhile
        peer.send(b"wait\n")
        assert peer.receive(16) == b"meanwhile thanks"
        assert asking.deepest == 1


def test_on_write_of_what_went_out_while_a_hook_polled() -> None:
    """DESIGN §3: on_write "once each time the queue ran empty", so also for what was sent because the hook waits."""

    class Asking(Recorder):
        def on_read(self, data):
            self.write(b"question")
            turns(3, self.engine)
            assert "write" not in self.names

    with connected(Asking) as (stream, peer):
        peer.send(b"go")
        run_until(lambda: stream.reads)
        turns()
        assert stream.names == ["connect", "read", "write"]
        assert peer.now() == b"question"


@pytest.mark.parametrize("late", [False, True], ids=["early in the turn", "late in the turn"])
@pytest.mark.parametrize("hook", ["connect", "read", "write", "frame"])
@pytest.mark.parametrize("act", ["write", "close"])
def test_what_is_done_to_a_channel_whose_hook_polls_is_not_held_up(act: str, hook: str, late: bool) -> None:
    """DESIGN §3: what is written to a channel is sent "before the loop polls again", whatever hook was in the way."""

    class Polling(Recorder):
        def on_connect(self):
            self.poll_in("connect")

        def on_read(self, data):
            self.poll_in("read" if data != b"frame" else "frame")

        def on_write(self):
            self.poll_in("write")

        def poll_in(self, name):
            if name == hook and self.names.count(name) <= 1:
                self.engine.callback(*([self.write, b"answer"] if act == "write" else [self.close]))
                turns(3, self.engine)

    def trigger() -> None:
        if hook == "connect":
            streams.append(Polling(socket=one))
        elif hook == "read":
            peer.sock.send(b"x")
        elif hook == "write":
            streams[0].write(b"w")
        else:
            streams[0].read_delimiter = 5

    one, other = tcp_pair()
    peer = Peer(other)
    engine = Engine.instance()
    streams: list[Polling] = []
    if hook != "connect":
        streams.append(Polling(socket=one))
        turns(1)
    if hook == "frame":
        streams[0].read_delimiter = b";"
        peer.sock.send(b"frame")
        turns()
    if late:
        engine.defer(0, trigger)  # timers are run when the events have been
    else:
        trigger()
    received = b""
    started = time.monotonic()
    while not (streams and streams[0].closed if act == "close" else b"answer" in received):
        assert time.monotonic() - started < DEADLINE / 2
        engine.poll(DEADLINE)
        received += peer.now()
    assert time.monotonic() - started < DEADLINE / 2
    peer.close()


def test_nested_poll_inside_on_connect_and_on_close() -> None:
    class Polling(Recorder):
        def on_connect(self):
            turns(5, self.engine)

        def on_close(self):
            turns(5, self.engine)

    with connected(Polling) as (stream, peer):
        peer.send(b"data")
        run_until(lambda: stream.data == b"data")
        peer.close()
        run_until(lambda: stream.closed)
        turns()
        assert stream.names == ["connect", "read", "end", "close"]


def test_nested_polls_of_two_channels() -> None:
    """Each in the other: neither is entered again, and both go on."""
    with connected(Nesting) as (one, one_peer), connected(Nesting) as (other, other_peer):
        one_peer.send(b"wait\n")
        other_peer.send(b"wait\n")

        def release():
            if one.reads and other.reads:
                one.go_on = other.go_on = True

        cancel = one.engine.cycle(0.005, release)
        run_until(lambda: one.go_on and not one.depth and not other.depth)
        cancel()
        one_peer.send(b"more\n")
        other_peer.send(b"more\n")
        run_until(lambda: one.reads == other.reads == [b"wait", b"more"])
        assert one.deepest == other.deepest == 1


# --- Engine.close() --------------------------------------------------------------------------------------------------


def fresh(engine: Engine) -> tuple[Recorder, Peer]:
    one, other = tcp_pair()
    return Recorder(engine=engine, socket=one), Peer(other, engine)


def opened(engine: Engine) -> tuple[Recorder, Peer]:
    stream, peer = fresh(engine)
    engine.poll(0)
    return stream, peer


def stuck(engine: Engine) -> tuple[Recorder, Peer]:
    one, other = tcp_pair(4096)
    stream = Recorder(engine=engine, socket=one)
    engine.poll(0)
    stream.write(bytes(10 << 20))
    engine.poll(0)
    assert stream.queued_bytes
    return stream, Peer(other, engine)


def stuck_and_closing(engine: Engine) -> tuple[Recorder, Peer]:
    stream, peer = stuck(engine)
    stream.close()
    engine.poll(0)
    return stream, peer


def paused(engine: Engine) -> tuple[Recorder, Peer]:
    stream, peer = opened(engine)
    stream.pause_reading()
    peer.send(b"unread")
    turns(3, engine)
    return stream, peer


def paused_and_ended(engine: Engine) -> tuple[Recorder, Peer]:
    one, other = unix_pair()
    stream = Recorder(engine=engine, socket=one)
    engine.poll(0)
    stream.pause_reading()
    peer = Peer(other, engine)
    peer.send(b"unread")
    peer.close()
    turns(3, engine)
    return stream, peer


def unconnected(engine: Engine) -> tuple[Recorder, Peer]:
    return Recorder(engine=engine, socket=socket.socket()), Peer(socket.socket(), engine)


def with_unread_input(engine: Engine) -> tuple[Recorder, Peer]:
    stream, peer = opened(engine)
    peer.send(b"unread")
    return stream, peer


@pytest.mark.parametrize(
    "make",
    [fresh, opened, stuck, stuck_and_closing, paused, paused_and_ended, unconnected, with_unread_input],
    ids=lambda make: make.__name__,
)
def test_closing_the_engine_closes_its_streams(make: Callable[[Engine], tuple[Recorder, Peer]]) -> None:
    """Engine.close: each is closed without sending what it had queued; its on_close is called before that returns."""
    before = descriptors()
    engine = Engine()
    stream, peer = make(engine)
    engine.close()
    assert stream.closed
    assert stream.names.count("close") == 1
    assert stream.names[-1] == "close"
    assert "read" not in stream.names
    peer.close()
    assert descriptors() == before


def test_closing_the_engine_closes_a_stream_that_nobody_else_knows() -> None:
    """The engine keeps its channels, also one that is paused and whose peer has gone."""
    ended = []

    class Forgotten(Stream):
        def on_close(self):
            ended.append("close")

    engine = Engine()
    one, other = unix_pair()
    stream = Forgotten(engine=engine, socket=one)
    engine.poll(0)
    stream.pause_reading()
    other.close()
    turns(3, engine)
    del stream, one
    gc.collect()
    engine.close()
    assert ended == ["close"]


def test_closing_the_engine_with_hooks_that_fail(expect_log: ExpectedLog) -> None:
    expect_log("in on_close")

    class Bad(Recorder):
        def on_close(self):
            raise KeyError("in on_close")

    engine = Engine()
    pairs = [tcp_pair() for _ in range(3)]
    streams = [Bad(engine=engine, socket=one) for one, _ in pairs]
    engine.poll(0)
    engine.close()
    assert [stream.closed for stream in streams] == [True] * 3
    for _, other in pairs:
        other.close()


# --- Nothing is left behind ------------------------------------------------------------------------------------------


class Plain(Stream):
    """Without records of its own, which would keep what it is given."""

    fails = False
    keeps: Any = None

    def on_read(self, data: Any) -> None:
        if self.fails:
            raise ValueError("in on_read")

    def on_write(self) -> None:
        if self.fails:
            raise ValueError("in on_write")


class Keeping(Plain):
    """Keeps the exception that it was told: a cycle, if that led back to the channel's frames."""

    def on_error(self, exception: Exception) -> None:
        self.keeps = exception
        self.close()

    on_overflow_error = on_error


def end_by_close(stream: Plain, peer: Peer) -> None:
    stream.close()


def end_by_abort(stream: Plain, peer: Peer) -> None:
    stream.write(bytes(10 << 20))
    turns(1, stream.engine)
    stream.close(flush=False)


def end_by_peer(stream: Plain, peer: Peer) -> None:
    peer.close()


def end_by_reset(stream: Plain, peer: Peer) -> None:
    peer.reset()


def end_by_broken_pipe(stream: Plain, peer: Peer) -> None:
    peer.close()
    stream.pause_reading()
    stream.write(b"x", flush=True)
    turns(1, stream.engine)
    if stream.connected:
        stream.write(b"x", flush=True)


def end_by_failing_read(stream: Plain, peer: Peer) -> None:
    stream.fails = True
    peer.send(b"x")


def end_by_failing_write(stream: Plain, peer: Peer) -> None:
    stream.fails = True
    stream.write(b"x")


def end_by_overflow(stream: Plain, peer: Peer) -> None:
    stream.read_delimiter = b"\n"
    stream.buffer_size = 10
    peer.send(bytes(100))


def end_by_idle_timeout(stream: Plain, peer: Peer) -> None:
    stream.idle_timeout = 0.01


def end_with_timers(stream: Plain, peer: Peer) -> None:
    stream.idle_timeout = 100
    stream.read_delimiter = re.compile(b"x+")
    peer.send(b"abc")
    stream.pause_reading()
    stream.close()


def end_while_stuck(stream: Plain, peer: Peer) -> None:
    stream.close_timeout = 0.05
    stream.write(bytes(10 << 20))
    stream.close()


def end_with_files(stream: Plain, peer: Peer) -> None:
    with open(__file__, "rb") as file:
        for _ in range(10):
            stream.write_file(file)
    stream.close(flush=False)


def end_with_a_missing_part(stream: Plain, peer: Peer) -> None:
    path = Path(f"/tmp/{id(stream)}")
    path.write_bytes(bytes(100))
    with path.open("rb") as file:
        stream.write_file(file)
    path.write_bytes(b"")
    path.unlink()


ENDS: list[Callable[[Plain, Peer], None]] = [
    value for name, value in list(globals().items()) if name.startswith("end_")
]


@pytest.fixture
def without_collector() -> Iterator[None]:
    """Only reference counts; and no log, whose captured records would keep the channels that they tell of."""
    logger = logging.getLogger("pants")
    gc.collect()
    gc.disable()
    logger.disabled = True
    yield
    logger.disabled = False
    gc.enable()


@pytest.mark.usefixtures("without_collector")
@pytest.mark.parametrize("kind", [Plain, Keeping])
@pytest.mark.parametrize("end", ENDS, ids=lambda end: end.__name__)
def test_a_closed_stream_leaves_nothing_behind(end: Callable[[Plain, Peer], None], kind: type[Plain]) -> None:
    """DESIGN §7: leaked sockets and reference cycles fail a test."""
    before = descriptors()
    engine = Engine()
    one, other = tcp_pair(4096)
    peer = Peer(other, engine)
    stream = kind(engine=engine, socket=one)
    del one
    engine.poll(0)
    end(stream, peer)
    gone = weakref.ref(stream)
    run_until(lambda: gone().closed, engine=engine)  # type: ignore[union-attr]
    del stream
    turns(2, engine)
    assert gone() is None
    peer.close()
    run_until(lambda: not engine.lingering, engine=engine)
    engine.close()
    assert descriptors() == before


@pytest.mark.usefixtures("without_collector")
def test_an_engine_leaves_nothing_behind() -> None:
    before = descriptors()
    engine = Engine()
    one, other = tcp_pair()
    stream = Plain(engine=engine, socket=one)
    stream.idle_timeout = 50
    server = Server(Plain, engine=engine).listen(("127.0.0.1", 0))
    engine.poll(0)
    engine.close()
    gone: list[weakref.ref[Any]] = [weakref.ref(stream), weakref.ref(server)]
    other.close()
    del engine, stream, server, one
    assert [reference() for reference in gone] == [None, None]
    assert descriptors() == before


def test_hundreds_of_connections_leave_nothing_behind() -> None:
    """Descriptors are counted over many connections of all kinds of ends; two sockets each would show."""

    class Short(Stream):
        def on_read(self, data):
            self.write(data)
            if data == b"c":
                self.close()
            elif data == b"a":
                self.close(flush=False)

    server = Server(Short).listen(("127.0.0.1", 0))
    run_for(0.01)
    before = len(descriptors())
    for number in range(300):
        with client_of(server) as peer:
            peer.send(b"cadr"[number % 4 : number % 4 + 1])
            turns(2)
            if number % 8 == 3:
                peer.reset()
    run_until(lambda: not server.channels and not server.engine.lingering)
    assert len(descriptors()) == before


# --- Anything, in any order ------------------------------------------------------------------------------------------


class Restless(Stream):
    """Does at random whatever a hook may do; notes what must never happen."""

    def __init__(self, source: random.Random, wrong: list[str], **kwargs: Any) -> None:
        self.source = source
        self.wrong = wrong
        self.calls: list[str] = []
        self.hook = ""
        self.sent = bytearray()
        self.received = bytearray()
        self.nested = 0
        super().__init__(**kwargs)

    @contextlib.contextmanager
    def inside(self, hook: str) -> Iterator[None]:
        if self.hook:
            self.wrong.append(f"{hook} inside {self.hook}")
        if "close" in self.calls or (hook == "read" and "end" in self.calls):
            self.wrong.append(f"{hook} after {self.calls[-1]}")
        self.calls.append(hook)
        self.hook = hook
        yield
        self.hook = ""

    def on_connect(self) -> None:
        with self.inside("connect"):
            self.act()

    def on_read(self, data: bytes) -> None:
        with self.inside("read"):
            self.received += data
            self.act(0.3)
        if self.source.random() < 0.05:
            raise ValueError("now and then")

    def on_write(self) -> None:
        with self.inside("write"):
            self.act(0.3)

    def on_high_water(self) -> None:
        with self.inside("high_water"):
            self.act(0.3)

    def on_idle_timeout(self) -> None:
        with self.inside("idle_timeout"):
            self.act(0.3)

    def on_end(self) -> None:
        with self.inside("end"):
            if self.source.random() < 0.7:
                self.close()

    def on_close(self) -> None:
        with self.inside("close"):
            pass

    def on_error(self, exception: Exception) -> None:
        if not isinstance(exception, ValueError):
            self.wrong.append(repr(exception))

    def act(self, likelihood: float = 1.0) -> None:
        if self.source.random() >= likelihood or not self.connected:
            return
        what = self.source.choice(["write"] * 5 + ["file"] * 2 + ["flush", "pause", "resume", "resume", "poll", "idle"])
        start, size = self.source.randrange(1000), self.source.choice([0, 1, 10, 1000, 70_000, 300_000, 1_000_000])
        data = pattern(2_000_000)[start : start + size]
        if what == "write":
            self.sent += data
            kind = self.source.choice([bytes, bytearray, memoryview])
            self.write(kind(data), flush=self.source.random() < 0.2)
        elif what == "file" and size:
            self.sent += data
            self.write_file(io.BytesIO(pattern(2_000_000)), size, start)
        elif what == "flush":
            self.flush()
        elif what == "pause":
            self.pause_reading()
            self.engine.defer(self.source.random() / 100, self.resume_reading)
        elif what == "resume":
            self.resume_reading()
        elif what == "poll" and self.nested < 3:
            self.nested += 1
            turns(self.source.randrange(4), self.engine)
            self.nested -= 1
        elif what == "idle":
            self.idle_timeout = self.source.choice([None, 0.001, 0.01])


@pytest.mark.parametrize("seed", range(40))
def test_two_streams_that_do_anything(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """DESIGN §3: whatever they do, and in which order: each hook by itself, on_close once and last, and of what the one
    has written before its close() the other has read every byte, in order.
    """
    monkeypatch.setattr("pants._linger.LINGER_BYTES", 1 << 30)  # the other may still have a lot to say
    source = random.Random(seed)
    wrong: list[str] = []
    engine = Engine()
    pair = source.choice([tcp_pair, unix_pair])(source.choice([None, 4096]))
    one, other = (Restless(source, wrong, engine=engine, socket=sock) for sock in pair)
    one.high_water = other.high_water = source.choice([None, 1000, 100_000])
    for _ in range(source.randrange(60)):
        source.choice([one, other]).act(0.5)
        engine.poll(0)
    one.idle_timeout = other.idle_timeout = None
    one.resume_reading()
    other.resume_reading()
    run_until(lambda: one.calls, engine)
    one.close()
    run_until(lambda: one.closed, engine)
    run_until(lambda: other.closed or "end" in other.calls, engine)
    other.close(flush=False)
    run_until(lambda: other.closed, engine)
    assert wrong == []
    assert other.received == one.sent
    assert other.sent.startswith(one.received)
    for stream in (one, other):
        assert stream.calls[0] == "connect"
        assert stream.calls[-1] == "close"
        assert stream.calls.count("close") == 1
        assert stream.queued_bytes == 0
    engine.close()


# --- Examples in the documentation -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["pants.stream", "pants.server"])
def test_doctests(name: str) -> None:
    result = doctest.testmod(importlib.import_module(name))
    assert result.attempted
    assert not result.failed


# --- Time ------------------------------------------------------------------------------------------------------------


def test_an_idle_stream_costs_no_turns() -> None:
    """A stream that waits does not turn the loop, whatever it was used for before."""
    with connected(Recorder) as (stream, peer):
        stream.write(bytes(1 << 20))
        peer.receive(1 << 20)
        peer.send(bytes(1 << 20))
        run_until(lambda: len(stream.data) == 1 << 20)
        turns(5)
        assert run_for(0.3) <= 5


@pytest.mark.parametrize("name", ["read_delimiter", "buffer_size", "regex_search", "idle_timeout", "remote_address"])
def test_a_property_in_a_class_is_not_lost_in_silence(name: str) -> None:
    """It would stand before the property, which goes on with its default."""
    with pytest.raises(TypeError, match=f"{name} is set on each Kind, in on_connect"):
        type("Kind", (Stream,), {name: 5})
    type("Kind", (Stream,), {name: property(lambda self: 5)})  # the subclass's own affair
    type("Kind", (Stream,), {"close_timeout": 5})
