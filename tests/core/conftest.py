"""What several tests of the core need."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import pytest

from pants.engine import Engine
from tests.core.support import give_up

# How long something that must happen may take, in seconds; only a failing test waits as long as this.
LONG = 20.0


@pytest.fixture
def engine() -> Iterator[Engine]:
    """An engine, with something that ends a wait that would never end.

    That is not one of the engine's timers, which would end waits that something else has to end.
    """
    engine = Engine()
    rescued = threading.Event()

    def rescue() -> None:
        rescued.set()
        with contextlib.suppress(RuntimeError):  # closed already
            engine.call_from_thread(give_up)

    timer = threading.Timer(LONG, rescue)
    timer.start()
    yield engine
    timer.cancel()
    timer.join()
    engine.close()
    assert not rescued.is_set(), "this took too long"
