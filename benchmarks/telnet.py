"""Telnet: taking received bytes apart, and putting data among commands, against a copy of the same bytes."""

import time
from collections.abc import Callable

from pants.contrib.telnet import IAC, NOP
from pants.contrib.telnet._machine import Escaper, Machine

PIECE = 65536
PIECES = 200


def seconds(work: Callable[[bytes], object], piece: bytes) -> float:
    start = time.perf_counter()
    for _ in range(PIECES):
        work(piece)
    return time.perf_counter() - start


def copy(piece: bytes) -> object:
    return bytearray(piece)


def take_apart(machine: Machine) -> Callable[[bytes], object]:
    def work(piece: bytes) -> None:
        if not machine.passes(piece):
            machine.feed(piece)
            while machine.next_event() is not None:
                pass

    return work


def main() -> None:
    bare = sorted(seconds(copy, bytes(PIECE)) for _ in range(5))[2]
    print(f"64 KiB copied: {bare / PIECES * 1e6:.0f} us")
    for name, unit in (
        ("no IAC, no CR", b"x"),
        ("lines", b"x" * 62 + b"\r\n"),
        ("CR NUL lines", b"x" * 62 + b"\r\0"),
        ("IAC IAC in each 64", b"x" * 62 + IAC + IAC),
        ("all IAC IAC", IAC + IAC),
        ("IAC NOP in each 64", b"x" * 62 + IAC + NOP),
        ("all IAC NOP", IAC + NOP),
    ):
        piece = unit * (PIECE // len(unit))
        received = sorted(seconds(take_apart(Machine()), piece) for _ in range(3))[1]
        sent = sorted(seconds(lambda data: Escaper().escape(data, nvt=True), piece) for _ in range(3))[1]
        print(f"{name:>20}: received {received / PIECES * 1e6:7.0f} us, sent {sent / PIECES * 1e6:5.0f} us")


if __name__ == "__main__":
    main()
