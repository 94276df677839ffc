"""An echo client inside Qt against one in the engine alone: round trips, and the processor time of an idle program.

It needs PySide6 or PyQt6; QT_API=pyside6 or pyqt6 chooses between them.
"""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

from pants import Engine, Server, Stream

TRIPS = 3000
ROUNDS = 5
IDLE_SECONDS = 5.0


class Echo(Stream):
    def on_read(self, data: bytes) -> None:
        self.write(data)


class Client(Stream):
    """Sends a little and waits for it to come back, so many times; then ends the loop."""

    def on_connect(self) -> None:
        self.trips: list[float] = []
        self.send()

    def send(self) -> None:
        self.sent_at = time.perf_counter()
        self.write(b"spam")

    def on_read(self, data: bytes) -> None:
        self.trips.append(time.perf_counter() - self.sent_at)
        if len(self.trips) < TRIPS:
            self.send()
        else:
            self.engine.stop()


def serve() -> None:
    """Be the server, in a process of its own."""
    print(Server(Echo).listen(("127.0.0.1", 0)).local_address[1], flush=True)
    Engine.instance().start()


def round_trips(port: int, run: Callable[[], object]) -> list[float]:
    client = Client().connect(("127.0.0.1", port))
    run()
    client.close()
    return client.trips


def idle_share(app: object, seconds: float) -> float:
    """What part of a processor the program takes with a connection, a far timer and nothing to do."""
    engine = Engine.instance()
    spent: list[float] = []
    engine.defer(0.5, lambda: spent.append(time.process_time()))  # after whatever follows a start
    engine.defer(0.5 + seconds, lambda: (spent.append(time.process_time()), engine.stop()))
    app.exec()  # type: ignore[attr-defined]
    return (spent[1] - spent[0]) / seconds


def describe(name: str, trips: list[float]) -> None:
    percentiles = statistics.quantiles(trips, n=100)
    print(f"{name:<8} median {statistics.median(trips) * 1e6:6.1f} us, p99 {percentiles[98] * 1e6:6.1f} us")


def main() -> None:
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    from qtpy import API_NAME
    from qtpy.QtWidgets import QApplication

    from pants.contrib.qt import install

    server = subprocess.Popen([sys.executable, __file__, "serve"], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        port = int(server.stdout.readline())
        app = QApplication(sys.argv)
        alone: list[float] = []
        inside: list[float] = []
        for _ in range(ROUNDS):
            alone += round_trips(port, Engine.instance().start)
            installation = install(app)
            inside += round_trips(port, app.exec)
            installation.stop()
        describe("engine", alone)
        describe(API_NAME, inside)
        print(f"inside Qt: {(statistics.median(inside) - statistics.median(alone)) * 1e6:+.1f} us (median)")
        install(app)
        client = Stream().connect(("127.0.0.1", port))
        print(f"idle for {IDLE_SECONDS:.0f} s: {idle_share(app, IDLE_SECONDS):.3%} of a processor")
        client.close()
    finally:
        server.kill()
        server.wait()


if __name__ == "__main__":
    serve() if sys.argv[1:] == ["serve"] else main()
