"""A million timers, against a bare heap of tuples."""

import heapq
import random
import time

from pants import Engine

COUNT = 1_000_000


def nothing() -> None:
    pass


def bare(delays: list[float]) -> tuple[float, float]:
    """Seconds to push an entry for each delay, and to pop and call each."""
    heap: list[tuple[float, int, object]] = []
    push, pop = heapq.heappush, heapq.heappop
    start = time.perf_counter()
    for number, delay in enumerate(delays):
        push(heap, (delay, number, nothing))
    pushed = time.perf_counter()
    while heap:
        pop(heap)[2]()  # type: ignore[operator]
    return pushed - start, time.perf_counter() - pushed


def with_pants(delays: list[float]) -> tuple[float, float, float, float, float]:
    """Seconds to schedule, to cancel, and to fire; seconds of an empty turn without timers and with all pending."""
    engine = Engine()
    engine.poll(0)
    alone = turns(engine)
    start = time.perf_counter()
    cancels = [engine.defer(delay, nothing) for delay in delays]
    scheduled = time.perf_counter() - start
    engine.poll(0)
    among = turns(engine)
    start = time.perf_counter()
    for cancel in cancels:
        cancel()
    cancelled = time.perf_counter() - start
    del cancels
    for delay in delays:
        engine.defer(delay, nothing)
    later = time.monotonic() + 10_000
    engine._clock = lambda: later
    start = time.perf_counter()
    engine.poll(0)
    fired = time.perf_counter() - start
    assert engine.time_to_timer() is None
    engine.close()
    return scheduled, cancelled, fired, alone, among


def turns(engine: Engine, count: int = 20_000) -> float:
    start = time.perf_counter()
    for _ in range(count):
        engine.poll(0)
    return (time.perf_counter() - start) / count


def main() -> None:
    generator = random.Random(1)
    delays = [100 + generator.random() * 1000 for _ in range(COUNT)]
    rows = [(*bare(delays), *with_pants(delays)) for _ in range(3)]
    push, pop, scheduled, cancelled, fired, alone, among = (sorted(column)[1] for column in zip(*rows, strict=True))
    print(f"bare heappush {push:.2f} us, pop and call {pop:.2f} us")
    print(f"defer    {scheduled:.2f} us = {scheduled / push:.2f} x heappush")
    print(f"cancel   {cancelled:.2f} us = {cancelled / push:.2f} x heappush")
    print(f"firing   {fired:.2f} us = {fired / pop:.2f} x pop and call")
    print(f"a turn   {alone * 1e6:.2f} us alone, {among * 1e6:.2f} us with {COUNT:,} pending")


if __name__ == "__main__":
    main()
