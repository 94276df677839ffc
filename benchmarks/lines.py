"""Lines cut out of large pieces, and a large frame fed a byte at a time."""

import re
import time
from collections.abc import Callable

from pants.delimiter import Framer

LINES = 1_000_000
PIECE = 65536


class Sink:
    def on_read(self, line: bytes) -> None:
        pass


def bare(pieces: list[bytes], receive: Callable[[bytes], None]) -> float:
    start = time.perf_counter()
    rest = b""
    for piece in pieces:
        data = rest + piece if rest else piece
        position = 0
        while (found := data.find(b"\r\n", position)) >= 0:
            receive(data[position:found])
            position = found + 2
        rest = data[position:]
    return time.perf_counter() - start


def with_pants(pieces: list[bytes], sink: Sink) -> float:
    framer = Framer(b"\r\n")
    start = time.perf_counter()
    for piece in pieces:
        framer.feed(piece)
        framer.deliver_to(sink)
    return time.perf_counter() - start


def byte_by_byte(delimiter: object, data: bytes) -> float:
    framer = Framer(delimiter, limit=len(data) + 16)
    pieces = [data[index : index + 1] for index in range(len(data))]
    got: list[bytes] = []

    class Collect:
        def on_read(self, frame: bytes) -> None:
            got.append(frame)

    sink = Collect()
    start = time.perf_counter()
    for piece in pieces:
        framer.feed(piece)
        framer.deliver_to(sink)
    spent = time.perf_counter() - start
    assert len(got) == 1
    return spent


def main() -> None:
    data = (b"x" * 60 + b"\r\n") * LINES
    pieces = [data[index : index + PIECE] for index in range(0, len(data), PIECE)]
    sink = Sink()
    rounds = [(bare(pieces, sink.on_read), with_pants(pieces, sink)) for _ in range(5)]
    reference = sorted(row[0] for row in rounds)[2]
    ours = sorted(row[1] for row in rounds)[2]
    print(f"{LINES:,} lines: bare {reference:.3f} s, Pants {ours:.3f} s = {ours / reference:.2f} x")
    half, whole = b"y" * (512 * 1024 - 2), b"y" * (1024 * 1024 - 2)
    for name, delimiter, end in (
        ("separator", b"\r\n", b"\r\n"),
        ("pattern", re.compile(rb"\r\n|\r\r"), b"\r\n"),
    ):
        ratios = sorted(byte_by_byte(delimiter, whole + end) / byte_by_byte(delimiter, half + end) for _ in range(3))
        print(f"1 MiB a byte at a time, {name}: {ratios[1]:.2f} x half of it")
    ratios = sorted(byte_by_byte(1 << 20, bytes(1 << 20)) / byte_by_byte(1 << 19, bytes(1 << 19)) for _ in range(3))
    print(f"1 MiB a byte at a time, size: {ratios[1]:.2f} x half of it")


if __name__ == "__main__":
    main()
