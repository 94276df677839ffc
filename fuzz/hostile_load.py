"""An HTTP server among hostile clients, and what is left of it afterwards.

    python fuzz/hostile_load.py [--seconds 3600] [--seed N] [--connections N] [--lenient]

It starts a server of its own (hostile_server.py), plays what is in hostile_clients.py against it, many at a time, in a
first round, to which the server may grow accustomed, and in a second one. All along an ordinary client asks hello.

What must hold: the ordinary client is answered, always; who is too slow is cut off; nothing is logged but what was to
be expected. When the hostile clients have gone, the server has the descriptors, connections and timers that it began
with, and no temporary files; after the second round no more memory than after the first; and serves the ordinary
client as quickly as before. Exits with 1 where something does not. For Linux: it counts in /proc.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import contextlib
import json
import os
import pathlib
import random
import re
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from typing import Any, Final

from hostile_clients import ATTACKS, END_DEADLINE, Attack, Attacker, NotCutOffError, Wire, WrongAnswerError, get
from hostile_server import HELLO, LIMITS

HERE: Final = pathlib.Path(__file__).resolve().parent
MIB: Final = 1024 * 1024
BIG_FILE: Final = 16 * MIB
# The longest first round, in seconds.
LONGEST_WARM_UP: Final = 120.0
# Seconds that an attacker rests between attacks, and the ordinary client between requests, at most.
REST: Final = 0.3
# Seconds from one flood of connections to the next.
FLOOD_INTERVAL: Final = 3.0
# Requests by which the latency is measured while there is no load.
SAMPLES: Final = 400
# Seconds until the server has to have given everything back; and in which it has to tell its state.
BACK_DEADLINE: Final = 60.0
STATE_DEADLINE: Final = 60.0
# What there may be more of after the second round than after the first: bytes, and objects of Python.
MORE_MEMORY: Final = 6 * MIB
MORE_MEMORY_LENIENT: Final = 24 * MIB
MORE_OBJECTS: Final = 1000
# The median latency may grow by this factor, and so many seconds.
SLOWER: Final = 2.0
SLACK: Final = 0.002

# What is counted in the server's state, and has to be back where it began.
BACK: Final = ("descriptors", "connections", "lingering", "timers")


class ServerProcess:
    """The server, in a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process, folder: pathlib.Path, port: int) -> None:
        self.process = process
        self.folder = folder
        self.port = port

    @classmethod
    @contextlib.asynccontextmanager
    async def start(cls, folder: pathlib.Path, descriptors: int) -> AsyncIterator[ServerProcess]:
        """Start it, with a folder of its own and so many descriptors, and end it."""
        (folder / "tmp").mkdir()
        with (folder / "big").open("wb") as big:
            big.truncate(BIG_FILE)
        with (folder / "errors").open("wb") as errors:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-W", "always", HERE / "hostile_server.py", folder, str(descriptors)),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=errors,
                env={**os.environ, "TMPDIR": str(folder / "tmp")},
            )
        try:
            assert process.stdout is not None
            async with asyncio.timeout(STATE_DEADLINE):
                port = int(await process.stdout.readline() or 0)
            yield cls(process, folder, port)
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()

    async def stop(self) -> int:
        """Have it end, and return its exit status."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        async with asyncio.timeout(STATE_DEADLINE):
            return await self.process.wait()

    async def state(self) -> dict[str, Any]:
        """Ask for its state, and add what the kernel knows."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(b"\n")
        async with asyncio.timeout(STATE_DEADLINE):
            state: dict[str, Any] = json.loads(await self.process.stdout.readline() or b"{}")
        proc = pathlib.Path("/proc", str(self.process.pid))
        state["descriptors"] = len(os.listdir(proc / "fd"))
        state["resident"] = int((proc / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        times = (proc / "stat").read_text().rpartition(")")[2].split()
        state["cpu"] = (int(times[11]) + int(times[12])) / os.sysconf("SC_CLK_TCK")
        return state

    async def state_when_back(self, beginning: dict[str, Any]) -> dict[str, Any]:
        """Wait until everything is as it was in the beginning; or for long enough."""
        deadline = time.monotonic() + BACK_DEADLINE
        while True:
            state = await self.state()
            if all(state[name] == beginning[name] for name in BACK) or time.monotonic() > deadline:
                return state
            await asyncio.sleep(0.1)

    def complaints(self) -> str:
        """Give what it has written to the standard error, each line once, in the order in which they came first."""
        text = (self.folder / "errors").read_text(errors="replace")
        lines = collections.Counter(re.sub("0x[0-9a-f]+", "0x...", line) for line in text.splitlines())
        return "".join(f"\n{count:6d} x {line[:300]}" for line, count in list(lines.items())[:100])


class OrdinaryClient:
    """Asks hello, on a connection that it keeps."""

    def __init__(self, port: int) -> None:
        self.attacker = Attacker(port, random.Random(), collections.Counter())  # noqa: S311 - it asks only one thing
        self.latencies: list[float] = []

    async def ask(self, wire: Wire) -> float:
        """Ask once, and return the seconds that it took."""
        start = time.perf_counter()
        await wire.send(get(b"/hello"))
        await wire.wait_for(b"\r\n\r\n" + HELLO)
        return time.perf_counter() - start

    async def measure(self) -> tuple[float, float]:
        """Return the median latency, in seconds: on a connection that was kept, and on one of its own."""
        async with await self.attacker.connect() as wire:
            kept = [await self.ask(wire) for _ in range(SAMPLES)]
        fresh = []
        for _ in range(SAMPLES):
            start = time.perf_counter()
            async with await self.attacker.connect() as wire:
                await self.ask(wire)
                fresh.append(time.perf_counter() - start)
        return statistics.median(kept), statistics.median(fresh)

    async def ask_on(self, end: float) -> None:
        """Ask until then, by the loop's time."""
        loop = asyncio.get_running_loop()
        while loop.time() < end:
            async with await self.attacker.connect() as wire:
                answered = loop.time()
                # These clients may be late themselves, and a connection may not be used when it is about to be closed.
                while loop.time() < min(end, answered + LIMITS.keep_alive_timeout / 2):
                    self.latencies.append(await self.ask(wire))
                    answered = loop.time()
                    await asyncio.sleep(REST / 10)


class Load:
    """Plays the attacks, and takes down what happens.

    Args:
        port: The server's.
        seed: What everything is decided by, but for what time decides.
        connections: How many there are at once, more or less, a half of them by floods.
    """

    def __init__(self, port: int, seed: int, connections: int) -> None:
        self.port = port
        self.connections = connections
        self.answers: collections.Counter[bytes] = collections.Counter()
        self.played: collections.Counter[str] = collections.Counter()  # to their ends
        self.faults: collections.Counter[str] = collections.Counter()
        self.chance = random.Random(seed)  # noqa: S311 - nothing is kept secret

    async def play(self, ordinary: OrdinaryClient, seconds: float) -> None:
        """Make a round."""
        end = asyncio.get_running_loop().time() + seconds
        order = self.chance.sample(ATTACKS, len(ATTACKS))
        hostile = [asyncio.create_task(self.flood_on(end))]
        for number in range(max(len(ATTACKS), self.connections // 2)):
            first = number % len(ATTACKS)
            hostile.append(asyncio.create_task(self.attack_on(order[first:] + order[:first], end)))
        try:
            await ordinary.ask_on(end)
        except (OSError, WrongAnswerError) as error:
            self.faults[f"the ordinary client: {error!r}"] += 1
        await asyncio.sleep(max(0, end - asyncio.get_running_loop().time()))
        for task in hostile:
            task.cancel()
        for result in await asyncio.gather(*hostile, return_exceptions=True):
            if isinstance(result, Exception):
                self.faults[f"in these clients themselves: {result!r}"] += 1

    async def attack_on(self, attacks: list[Attack], end: float) -> None:
        """Play one attack after another until then."""
        attacker = Attacker(self.port, random.Random(self.chance.random()), self.answers)  # noqa: S311 - as above
        while True:
            for attack in attacks:
                if asyncio.get_running_loop().time() > end:
                    return
                name = attack.__name__
                try:
                    await attack(attacker)
                except NotCutOffError as error:
                    self.faults[f"{name}: not cut off within {END_DEADLINE} s {error}"] += 1
                except WrongAnswerError as error:
                    self.faults[f"{name}: {error}"] += 1
                except OSError:
                    pass  # cut off
                self.played[name] += 1
                await asyncio.sleep(attacker.chance.uniform(0, REST))
            attacks = attacker.chance.sample(attacks, len(attacks))

    async def flood_on(self, end: float) -> None:
        """Open more connections at once than the server has descriptors for, again and again."""
        attacker = Attacker(self.port, random.Random(self.chance.random()), self.answers)  # noqa: S311 - as above
        while asyncio.get_running_loop().time() < end:
            wires: list[Wire] = []
            try:
                with contextlib.suppress(OSError):
                    for _ in range(self.connections):
                        wires.append(await attacker.connect())
                        await wires[-1].send(attacker.chance.choice([b"", b"", b"G", get(b"/hello")]))
                await asyncio.sleep(attacker.chance.uniform(0, 1.5))
            finally:
                for wire in wires:
                    wire.close(reset=attacker.chance.random() < 0.5)
            self.played["flood"] += 1
            await asyncio.sleep(FLOOD_INTERVAL)


def judge(states: list[dict[str, Any]], lenient: bool) -> list[str]:
    """Say what is wrong with the states: in the beginning, after the first round, and after the second."""
    faults: list[str] = []
    for state, when in zip(states[1:], ("first", "second"), strict=True):
        faults += [
            f"{name} after the {when} round: {state[name]}, which were {states[0][name]}"
            for name in BACK
            if state[name] != states[0][name]
        ]
    _, first, last = states
    if last["resident"] > first["resident"] + (MORE_MEMORY_LENIENT if lenient else MORE_MEMORY):
        faults.append(f"the memory grew by {(last['resident'] - first['resident']) / MIB:.1f} MiB in the second round")
    if last["objects"] > first["objects"] + MORE_OBJECTS:
        faults.append(f"there are {last['objects'] - first['objects']} objects more after the second round")
    # Without these the load was not what it is meant to be.
    crossed = {f"answers with {code}": last["refused"].get(code) for code in ("400", "408", "413", "414", "431")}
    crossed |= {"slow readers": last["slow readers"], "failures": last["failures"]}
    crossed["moments without a descriptor"] = last["expected"].get("no descriptor for a connection")
    return faults + [f"there were no {what}" for what, count in crossed.items() if not count]


async def run(folder: pathlib.Path, options: argparse.Namespace) -> list[str]:
    """Play both rounds, print what there is to say, and return what is wrong."""
    async with ServerProcess.start(folder, options.connections) as server:
        ordinary = OrdinaryClient(server.port)
        load = Load(server.port, options.seed, options.connections)
        beginning = await server.state()
        before = await ordinary.measure()
        states = [await server.state_when_back(beginning)]
        say(f"seed {options.seed}, {options.connections} connections, {options.seconds:g} s")
        say_state("in the beginning", states[0])
        warm_up = min(options.seconds / 2, LONGEST_WARM_UP)
        for name, seconds in (("first", warm_up), ("second", options.seconds - warm_up)):
            await load.play(ordinary, seconds)
            states.append(await server.state_when_back(states[0]))
            say_state(f"after the {name} round", states[-1])
        after = await ordinary.measure()
        status = await server.stop()
        complaints = server.complaints()
    say_latencies(before, after, ordinary.latencies)
    say_counts("attacks", load.played)
    say_counts("answers read", {code.decode("latin-1"): count for code, count in load.answers.items()})
    for name in ("answers", "refused", "expected"):
        say_counts(f"the server's {name}", states[-1][name])
    last = states[-1]
    say(
        f"slow readers cut off: {last['slow readers']}; the server's processor time: {last['cpu']:.1f} s, and the"
        f" longest turn of its loop: {last['longest turn'] * 1000:.0f} ms"
    )
    faults = judge(states, options.lenient)
    faults += [f"{fault} ({count} times)" for fault, count in load.faults.items()]
    faults += [f"{attack.__name__}: never came to its end" for attack in ATTACKS if not load.played[attack.__name__]]
    if not options.lenient:
        for name, old, new in zip(("a kept", "a fresh"), before, after, strict=True):
            if new > SLOWER * old + SLACK:
                faults.append(f"an answer on {name} connection takes {new * 1000:.2f} ms, and took {old * 1000:.2f}")
    if status:
        faults.append(f"the server ended with {status}")
    if complaints:
        faults.append(f"the server's standard error:{complaints}")
    if left := os.listdir(folder / "tmp"):
        faults.append(f"temporary files are left: {left}")
    return faults


def say(line: str) -> None:
    """Print a line."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def say_state(when: str, state: dict[str, Any]) -> None:
    """Print what the server has."""
    counts = ", ".join(f"{name} {state[name]}" for name in (*BACK, "objects"))
    say(f"{when}: {counts}, {state['resident'] / MIB:.1f} MiB")


def say_counts(what: str, counts: dict[Any, int]) -> None:
    """Print how often what has happened."""
    say(f"{what}: " + ", ".join(f"{name} {count}" for name, count in sorted(counts.items())))


def say_latencies(before: tuple[float, float], after: tuple[float, float], loaded: list[float]) -> None:
    """Print how long the ordinary client waited."""
    for name, old, new in zip(("kept", "fresh"), before, after, strict=True):
        say(f"latency without load, {name} connections: {old * 1000:.2f} ms before, {new * 1000:.2f} ms after")
    if loaded:
        loaded = sorted(loaded)
        figures = [loaded[len(loaded) * part // 1000] * 1000 for part in (500, 990, 999)]
        say(
            f"latency under load, these clients' own delays included: median {figures[0]:.2f} ms, 99 % {figures[1]:.2f}"
            f" ms, 99.9 % {figures[2]:.2f} ms, at most {loaded[-1] * 1000:.2f} ms, of {len(loaded)}"
        )


def main() -> None:
    """Run, and exit with 1 where something is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3600, help="how long to play, both rounds together")
    parser.add_argument("--seed", type=int, default=1, help="what the attacks are decided by")
    parser.add_argument("--connections", type=int, default=200, help="hostile connections at once, more or less")
    parser.add_argument("--lenient", action="store_true", help="judge no latency, and memory less: for slow machines")
    options = parser.parse_args()
    if sys.platform != "linux":
        sys.exit("This runs on Linux only: what a server holds is counted in /proc")
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    with tempfile.TemporaryDirectory(prefix="hostile-") as folder:
        faults = asyncio.run(run(pathlib.Path(folder), options))
    for fault in faults:
        say(f"WRONG: {fault}")
    say(f"{len(faults)} things are wrong" if faults else "all is well")
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
