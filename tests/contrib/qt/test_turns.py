"""When an engine inside Qt makes a turn, and when it does not."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from pants import Server
from pants.contrib.qt import Installation, install
from pants.engine import Engine, Select
from pants.testing import connected_pair

from .support import Collector, Counting, Echo, run_qt, run_qt_for, settle


@pytest.fixture
def engine() -> Iterator[Engine]:
    engine = Engine(Counting())
    yield engine
    engine.close()


@pytest.fixture
def installation(app: Any, engine: Engine) -> Iterator[Installation]:
    """With a pace at which nothing would come in time that waits for it."""
    installation = install(app, 60.0, engine)
    yield installation
    installation.stop()


def polls(engine: Engine) -> int:
    poller = engine._poller
    assert isinstance(poller, Counting)
    return poller.polls


# --- Sockets ---------------------------------------------------------------------------------------------------------


def test_a_conversation(installation: Installation, engine: Engine) -> None:
    server = Server(Echo, engine=engine).listen(("127.0.0.1", 0))
    client = Collector(engine=engine).connect(server.local_address)
    run_qt(lambda: client.connected)
    for number in range(20):
        client.write(b"%d" % number)  # outside of any turn
        run_qt(lambda number=number: client.received.endswith(b"%d" % number))  # type: ignore[misc]
    big = bytes(1 << 22)
    client.received = b""
    client.write(big)
    run_qt(lambda: len(client.received) == len(big))
    client.close()
    run_qt(lambda: client.closed and not server.channels)


def test_round_trips_wait_for_no_timer(installation: Installation, engine: Engine) -> None:
    class Again(Collector):
        trips = 0

        def on_read(self, data: bytes) -> None:
            self.trips += 1
            self.write(data)

    with connected_pair(Echo, Again, engine=engine) as (_, client):
        client.write(b"x")
        run_qt(lambda: client.trips > 500)


def test_a_slot_may_write(installation: Installation, engine: Engine) -> None:
    from qtpy.QtCore import QTimer

    with connected_pair(Echo, Collector, engine=engine) as (_, client):
        settle(engine)
        QTimer.singleShot(0, lambda: client.write(b"spam"))
        run_qt(lambda: client.received == b"spam")


# --- Timers ----------------------------------------------------------------------------------------------------------


def test_timers(installation: Installation, engine: Engine) -> None:
    fired: list[tuple[str, float]] = []
    start = time.monotonic()

    def fire(name: str) -> None:
        fired.append((name, time.monotonic() - start))

    engine.defer(0.06, fire, "later")
    engine.defer(0.03, fire, "sooner")
    engine.callback(fire, "callback")
    run_qt(lambda: len(fired) == 3)
    assert [name for name, _ in fired] == ["callback", "sooner", "later"]
    assert fired[1][1] >= 0.03
    assert fired[2][1] >= 0.06


def test_a_cycle(installation: Installation, engine: Engine) -> None:
    ran: list[int] = []
    cancel = engine.cycle(0.005, ran.append, 1)
    run_qt(lambda: len(ran) >= 5)
    cancel()
    settle(engine)


def test_a_near_timer_beside_a_far_one(installation: Installation, engine: Engine) -> None:
    fired: list[int] = []
    engine.defer(1e9, int)
    settle(engine)
    engine.defer(0.02, fired.append, 1)
    run_qt(lambda: fired)


def test_timers_from_before(app: Any, engine: Engine) -> None:
    """Nothing wakes the engine for one that was set in its own turn."""
    fired: list[int] = []
    engine.callback(lambda: engine.defer(0.02, fired.append, 1))
    engine.poll(0)
    engine.poll(0)
    installation = install(app, 60.0, engine)
    run_qt(lambda: fired)
    installation.stop()


def test_a_timer_set_while_the_program_polls(installation: Installation, engine: Engine) -> None:
    """A slot that waits for something by polling is no business of Qt's; what was scheduled meanwhile is."""
    fired: list[int] = []
    settle(engine)
    engine.callback(lambda: engine.defer(0.05, fired.append, 1))
    engine.poll(0)
    engine.poll(0)
    assert not fired
    run_qt(lambda: fired)


def test_what_is_left_for_the_next_turn_is_due(installation: Installation, engine: Engine) -> None:
    class Producer(Echo):
        left = 20

        def on_write(self) -> None:
            if self.left:
                self.left -= 1
                self.write(b"x")

    with connected_pair(Producer, Collector, engine=engine) as (producer, collector):
        producer.write(b"x")
        run_qt(lambda: len(collector.received) == 21)


def test_threads_wake_it(installation: Installation, engine: Engine) -> None:
    called: list[int] = []
    settle(engine)
    thread = threading.Timer(0.02, lambda: engine.call_from_thread(lambda: called.append(threading.get_ident())))
    thread.start()
    run_qt(lambda: called)
    thread.join()
    assert called == [threading.get_ident()]


# --- How many turns --------------------------------------------------------------------------------------------------


def test_idle_it_makes_no_turn(installation: Installation, engine: Engine) -> None:
    engine.defer(3600, int)
    with connected_pair(Echo, Collector, engine=engine):
        settle(engine)
        before = polls(engine)
        run_qt_for(0.3)
        assert polls(engine) == before


def test_a_timer_costs_a_turn_or_two(installation: Installation, engine: Engine) -> None:
    done: list[int] = []
    settle(engine)
    before = polls(engine)
    for delay in (0.011, 0.043, 0.071, 0.097):
        engine.defer(delay, done.append, 1)
    run_qt(lambda: len(done) == 4)
    assert polls(engine) - before <= 2 * 4 + 2


def test_loops_are_run_at_the_pace(app: Any, engine: Engine) -> None:
    times: list[float] = []
    installation = install(app, 0.01, engine)
    cancel = engine.loop(lambda: times.append(time.monotonic()))
    run_qt(lambda: len(times) >= 10)
    assert times[-1] - times[1] >= 0.01 * (len(times) - 2) * 0.9
    cancel()
    settle(engine)
    installation.stop()


def test_a_loop_holds_up_neither_timers_nor_sockets(installation: Installation, engine: Engine) -> None:
    fired: list[int] = []
    cancel = engine.loop(int)
    engine.defer(0.02, fired.append, 1)
    with connected_pair(Echo, Collector, engine=engine) as (_, client):
        client.write(b"spam")
        run_qt(lambda: fired and client.received == b"spam")
    cancel()


def test_a_poller_without_a_descriptor(app: Any) -> None:
    engine = Engine(Select())
    installation = install(app, 0.005, engine)
    fired: list[int] = []
    engine.defer(0.02, fired.append, 1)
    with connected_pair(Echo, Collector, engine=engine) as (_, client):
        client.write(b"spam")
        run_qt(lambda: fired and client.received == b"spam")
    installation.stop()
    engine.close()


def test_two_engines(app: Any, engine: Engine, installation: Installation) -> None:
    other = Engine()
    second = install(app, 60.0, other)
    fired: list[str] = []
    other.defer(0.02, fired.append, "other")
    engine.defer(0.03, fired.append, "first")
    with connected_pair(Echo, Collector, engine=other) as (_, client):
        client.write(b"spam")
        run_qt(lambda: len(fired) == 2 and client.received == b"spam")
    other.close()
    engine.callback(fired.append, "first")
    run_qt(lambda: len(fired) == 3)
    assert "stopped" in repr(second)


# --- A loop of Qt's inside a turn ------------------------------------------------------------------------------------


@pytest.fixture
def paced(app: Any, engine: Engine) -> Iterator[Installation]:
    installation = install(app, 0.01, engine)
    yield installation
    installation.stop()


def test_a_dialog_in_a_hook(app: Any, paced: Installation, engine: Engine) -> None:
    """The rest of the network goes on; the hook's own channel waits, and that costs no more than the pace."""
    from qtpy.QtWidgets import QDialog

    dialogs: list[Any] = []
    events: list[str] = []

    class Asking(Collector):
        def on_read(self, data: bytes) -> None:
            events.append(data.decode())
            if not dialogs:
                dialogs.append(QDialog())
                dialogs[0].exec()
                events.append("answered")

    with (
        connected_pair(Asking, Collector, engine=engine) as (_, peer),
        connected_pair(Echo, Collector, engine=engine) as (_, client),
    ):
        peer.write(b"first")
        run_in_dialog = iter(range(10))

        def go_on() -> None:
            if not dialogs:
                return
            number = next(run_in_dialog, None)
            if number is None:
                cancel()
                dialogs[0].accept()
            elif number == 0:
                peer.write(b"second")
            client.write(b"%d" % (number or 0))

        cancel = engine.cycle(0.02, go_on)
        before, start = polls(engine), time.monotonic()
        run_qt(lambda: "second" in events)
        turns, seconds = polls(engine) - before, time.monotonic() - start
        assert events == ["first", "answered", "second"]
        assert client.received.startswith(b"0123456789")
        # One each 10 ms, one for each timer, and some before and after the dialog.
        assert turns <= seconds / 0.01 + 40
        settle(engine)
        peer.write(b"third")
        run_qt(lambda: events[-1] == "third")


def test_timers_in_a_loop_inside_a_timer(paced: Installation, engine: Engine) -> None:
    """Which nothing wakes: they are set inside a turn."""
    order: list[str] = []

    def ask() -> None:
        engine.defer(0.03, order.append, "inside")
        engine.callback(order.append, "callback")
        run_qt(lambda: len(order) == 2)
        order.append("after")

    engine.defer(0.01, ask)
    run_qt(lambda: len(order) == 3)
    assert order == ["callback", "inside", "after"]


def test_timers_set_in_a_turn_inside_a_turn_are_on_time(app: Any, engine: Engine) -> None:
    """Only what is set by the hook itself may have to wait for the pace."""
    installation = install(app, 0.5, engine)
    fired: list[float] = []

    def ask() -> None:
        cancel = engine.cycle(0.01, lambda: fired.append(time.monotonic()))
        run_qt(lambda: len(fired) >= 8)
        cancel()

    engine.callback(ask)
    run_qt(lambda: len(fired) >= 8)
    assert fired[7] - fired[0] < 7 * 0.5
    installation.stop()


def test_a_loop_inside_a_loop(paced: Installation, engine: Engine) -> None:
    order: list[str] = []

    def inner() -> None:
        order.append("inner")
        engine.defer(0.01, order.append, "innermost")
        run_qt(lambda: "innermost" in order)

    def outer() -> None:
        order.append("outer")
        engine.defer(0.01, inner)
        run_qt(lambda: "innermost" in order)

    engine.callback(outer)
    run_qt(lambda: "innermost" in order)
    assert order == ["outer", "inner", "innermost"]
    settle(engine)


def test_a_loop_inside_a_poll_of_the_program_s(paced: Installation, engine: Engine) -> None:
    order: list[str] = []

    def ask() -> None:
        engine.defer(0.01, order.append, "inside")
        run_qt(lambda: order)

    settle(engine)
    engine.callback(ask)
    engine.poll(0)
    assert order == ["inside"]
    settle(engine)
    engine.defer(0.01, order.append, "after")
    run_qt(lambda: len(order) == 2)


def test_what_is_postponed_does_not_spin(paced: Installation, engine: Engine) -> None:
    """A channel that is told to close while its hook runs a loop has to wait for that hook."""
    events: list[str] = []

    class Asking(Collector):
        def on_read(self, data: bytes) -> None:
            self.close()
            before, start = polls(engine), time.monotonic()
            run_qt_for(0.2)
            assert polls(engine) - before <= (time.monotonic() - start) / 0.01 + 5
            events.append("read")

        def on_close(self) -> None:
            events.append("closed")

    with connected_pair(Asking, Collector, engine=engine) as (_, peer):
        peer.write(b"x")
        run_qt(lambda: "closed" in events)
    assert events == ["read", "closed"]


def test_the_longest_pause_that_qt_can_take(app: Any) -> None:
    engine = Engine(Select())
    installation = install(app, 1e12, engine)
    engine.defer(1e12, int)
    run_qt_for(0.01)
    installation.stop()
    engine.close()
