"""HTTP clients: their own CPU time for a small request, 20 at once on connections that are kept.

client.py PORT [--peers-python PYTHON]     all of them in turns, against a server on that port that says hello
client.py pants|aiohttp|libcurl PORT COUNT     one of them; prints its CPU time per request, in microseconds
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
from collections.abc import Callable

CLIENTS = {"pants": "pants", "aiohttp": "aiohttp on uvloop", "libcurl": "libcurl's multi interface"}
WIDTH = 20
# Not counted: connections are made then, and what is imported or cached the first time.
WARM_UP = 200
COUNT = 20_000
ROUNDS = 7
HELLO = b"Hello, World!"


def cpu() -> float:
    """The CPU time of this process, in seconds."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


# --- The clients, each with what it needs to import --------------------------------------------------------------


def with_pants(url: str, count: int) -> float:
    from pants import Engine
    from pants.http import HTTPClient, HTTPResponse

    engine = Engine.instance()
    sent = got = 0
    start = 0.0
    errors: list[Exception] = []

    def on_response(response: HTTPResponse) -> None:
        nonlocal got, sent, start
        assert response.content == HELLO
        got += 1
        if got == WARM_UP:
            start = cpu()
        if got == count + WARM_UP:
            engine.stop()
        elif sent < count + WARM_UP:
            sent += 1
            client.get(url)

    def on_error(response: HTTPResponse, exception: Exception) -> None:
        errors.append(exception)
        engine.stop()

    client = HTTPClient(on_response)
    client.on_error = on_error
    for _ in range(WIDTH):
        sent += 1
        client.get(url)
    engine.start()
    if errors:
        raise errors[0]
    return cpu() - start


def with_aiohttp(url: str, count: int) -> float:
    import asyncio

    import aiohttp
    import uvloop

    async def main() -> float:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=WIDTH)) as session:

            async def ask(times: int) -> None:
                for _ in range(times):
                    async with session.get(url) as response:
                        assert await response.read() == HELLO

            await asyncio.gather(*[ask(WARM_UP // WIDTH) for _ in range(WIDTH)])
            start = cpu()
            await asyncio.gather(*[ask(count // WIDTH) for _ in range(WIDTH)])
            return cpu() - start

    return float(uvloop.run(main()))


def with_libcurl(url: str, count: int) -> float:
    import io

    import pycurl

    multi = pycurl.CurlMulti()
    bodies = {}
    sent = got = 0
    start = 0.0
    for _ in range(WIDTH):
        easy = pycurl.Curl()
        bodies[easy] = io.BytesIO()
        easy.setopt(pycurl.URL, url)
        easy.setopt(pycurl.WRITEFUNCTION, bodies[easy].write)
        multi.add_handle(easy)
        sent += 1
    # Of what pycurl offers this costs least; with socket_action and an epoll it is dearer by half.
    while got < count + WARM_UP:
        multi.perform()
        left = True
        while left:
            left, done, failed = multi.info_read()
            assert not failed, failed
            for easy in done:
                body = bodies[easy]
                assert body.getvalue() == HELLO
                body.seek(0)
                body.truncate()
                multi.remove_handle(easy)
                got += 1
                if got == WARM_UP:
                    start = cpu()
                if sent < count + WARM_UP:
                    sent += 1
                    multi.add_handle(easy)
        if got < count + WARM_UP:
            multi.select(1.0)
    return cpu() - start


PROGRAMS: dict[str, Callable[[str, int], float]] = {
    "pants": with_pants,
    "aiohttp": with_aiohttp,
    "libcurl": with_libcurl,
}


# --- Comparing them ---------------------------------------------------------------------------------------------


def measure(name: str, python: str, port: int) -> float:
    """What a client says of itself, in microseconds."""
    # Not on the server's CPU (see run.py), and past no proxy.
    pin = ["taskset", "-c", "1"] if (os.cpu_count() or 1) > 1 else []
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    command = [*pin, python, __file__, name, str(port), str(COUNT)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr.strip().rpartition("\n")[2])
    return float(done.stdout)


def compare(port: int, peers_python: str) -> None:
    costs: dict[str, list[float]] = {name: [] for name in CLIENTS}
    broken: dict[str, str] = {}
    for _ in range(ROUNDS):
        for name, found in costs.items():
            if name not in broken:
                try:
                    found.append(measure(name, sys.executable if name == "pants" else peers_python, port))
                except (RuntimeError, ValueError, subprocess.SubprocessError) as error:
                    broken[name] = str(error)
    medians = {name: statistics.median(found) for name, found in costs.items() if name not in broken}
    for name, title in CLIENTS.items():
        if name in broken:
            print(f"{title:26s} not measured: {broken[name]}")
            continue
        ratio = f"   pants takes {medians['pants'] / medians[name]:.2f} x that" if "pants" in medians else ""
        print(f"{title:26s} cpu {medians[name]:7.2f} us/request{'' if name == 'pants' else ratio}")
    if broken:
        sys.exit(1)


def main() -> None:
    if sys.argv[1:2] and sys.argv[1] in PROGRAMS:
        name, port, count = sys.argv[1:]
        spent = PROGRAMS[name](f"http://127.0.0.1:{port}/", int(count))
        print(spent / int(count) * 1e6)
        return
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("--peers-python", default=sys.executable)
    options = parser.parse_args()
    compare(options.port, options.peers_python)


if __name__ == "__main__":
    main()
