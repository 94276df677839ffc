"""Run the benchmarks: run.py [NAME ...] [--servers FOLDER] [--peers-python PYTHON]. See README.md."""

import argparse
import contextlib
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

HERE = pathlib.Path(__file__).resolve().parent
# Programs of this folder, with their arguments.
ALONE = {
    "timers": ["timers.py"],
    "lines": ["lines.py"],
    "many": ["many.py"],
    "bodies": ["bodies.py"],
    "many_websockets": ["many_websockets.py"],
    "client_upload": ["client_bodies.py", "upload"],
    "routes": ["routes.py"],
    "irc": ["irc.py"],
    "telnet": ["telnet.py"],
    "qt": ["qt.py"],
}
# These compare whole servers, or clients of another server.
SERVERS = (
    *("echo", "http", "pipelined", "files", "ws", "client", "client_download"),
    *("web", "web_files", "wsgi", "workers"),
    "telnet_echo",
)
NAMES = (*ALONE, *SERVERS)
# The files that are sent: their names, and sizes in bytes.
FILES = {"4KiB": 4096, "1MiB": 1024 * 1024}
DOWNLOAD = 100 * 1024 * 1024


class Comparison:
    """Holds Pants against other servers, with FOLDER/measure.py and the programs in FOLDER/peers."""

    def __init__(self, folder: pathlib.Path, peers_python: str) -> None:
        self.folder = folder
        self.peers = folder / "peers"
        self.peers_python = peers_python

    def measure(self, *arguments: str) -> None:
        subprocess.run([sys.executable, self.folder / "measure.py", *arguments], check=True)

    def echo(self) -> None:
        c_server = pathlib.Path(tempfile.gettempdir(), f"pants-bench-cecho-{os.getuid()}")
        subprocess.run(["gcc", "-O2", "-w", "-o", c_server, self.folder / "cecho.c"], check=True)
        servers = [
            f"c={c_server} {{port}}",
            f"pants={sys.executable} {self.peers}/pants_echo.py {{port}}",
            f"uvloop={self.peers_python} {self.peers}/echo_uvloop.py {{port}}",
        ]
        for size in ("1024", "65536"):
            print(f"{size} bytes, 10 connections", flush=True)
            self.measure("echo", "--size", size, "--conns", "10", "--rounds", "5", *servers)

    def telnet_echo(self) -> None:
        servers = [f"{kind}={sys.executable} {HERE}/telnet_server.py {{port}} {kind}" for kind in ("stream", "telnet")]
        self.measure("echo", "--size", "1024", "--conns", "10", "--rounds", "5", *servers)

    def http(self) -> None:
        bjoern = f"bjoern={self.peers_python} {self.peers}/http_bjoern.py {{port}}"
        self.measure("http", "--browser", "--rounds", "5", *self.http_servers(), bjoern)

    def pipelined(self) -> None:
        # Without bjoern, which answers the first of them only.
        self.measure("http", "--browser", "--pipeline", "16", "--rounds", "5", *self.http_servers())

    def ws(self) -> None:
        servers = [
            f"picows={self.peers_python} {self.peers}/ws_picows.py {{port}}",
            f"pants={sys.executable} {self.peers}/pants_ws.py {{port}}",
            f"websockets={self.peers_python} {self.peers}/ws_websockets.py {{port}} uv",
            f"aiohttp={self.peers_python} {self.peers}/ws_aiohttp.py {{port}}",
        ]
        for size in ("128", "65536"):
            print(f"{size} bytes, 20 connections", flush=True)
            self.measure("ws", "--size", size, "--conns", "20", "--rounds", "5", *servers)

    def http_servers(self) -> list[str]:
        return [
            f"nginx={self.peers}/nginx {{port}}",
            f"pants={sys.executable} {self.peers}/pants_http.py {{port}}",
            f"uvicorn={self.peers_python} {self.peers}/http_uvicorn.py {{port}}",
        ]

    def files(self) -> None:
        self.measure_files(HERE / "files_server.py")

    def web_files(self) -> None:
        self.measure_files(self.peers / "pants_files.py")

    def measure_files(self, program: pathlib.Path) -> None:
        with tempfile.TemporaryDirectory(prefix="pants-bench-") as name:
            for file, size in FILES.items():
                pathlib.Path(name, file).write_bytes(os.urandom(size))
            servers = [
                f"nginx={self.peers}/nginx {{port}} {name}",
                f"pants={sys.executable} {program} {{port}} {name}",
            ]
            for file in FILES:
                print(file, flush=True)
                self.measure("http", "--path", f"/f/{file}", "--rounds", "5", *servers)

    def web(self) -> None:
        servers = [
            f"pants={sys.executable} {self.peers}/pants_app.py {{port}}",
            f"falcon={self.peers_python} {self.peers}/app_falcon_bjoern.py {{port}}",
            f"starlette={self.peers_python} {self.peers}/app_starlette.py {{port}}",
            f"flask={self.peers_python} {HERE}/flask_server.py {{port}} bjoern",
        ]
        self.measure("http", "--path", "/hello/Ada", "--rounds", "5", *servers)

    def wsgi(self) -> None:
        servers = [
            f"bjoern={self.peers_python} {HERE}/flask_server.py {{port}} bjoern",
            f"pants={sys.executable} {HERE}/flask_server.py {{port}} pants 0",
            f"threads={sys.executable} {HERE}/flask_server.py {{port}} pants 4",
        ]
        self.measure("http", "--path", "/hello/Ada", "--rounds", "5", *servers)

    def workers(self) -> None:
        servers = [f"{count}={sys.executable} {HERE}/workers_server.py {{port}} {count}" for count in (1, 2)]
        self.measure("http", "--rounds", "5", *servers)
        run("workers.py")

    def client(self) -> None:
        with self.nginx() as port:
            run("client.py", str(port), "--peers-python", self.peers_python)

    def client_download(self) -> None:
        with tempfile.TemporaryDirectory(prefix="pants-bench-") as name:
            with pathlib.Path(name, "large").open("wb") as file:
                file.writelines(os.urandom(FILES["1MiB"]) for _ in range(DOWNLOAD // FILES["1MiB"]))
            with self.nginx(name) as port:
                run("client_bodies.py", "download", f"http://127.0.0.1:{port}/f/large")

    @contextlib.contextmanager
    def nginx(self, folder: str = "") -> Iterator[int]:
        """Run it for the length of a block, on a CPU of its own; the port is free a moment before."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        pin = ["taskset", "-c", "0"] if (os.cpu_count() or 1) > 1 else []
        command = [*pin, str(self.peers / "nginx"), str(port), *([folder] if folder else [])]
        server = subprocess.Popen(command, start_new_session=True)
        try:
            deadline = time.monotonic() + 15
            while not accepts(port):
                if server.poll() is not None or time.monotonic() > deadline:
                    sys.exit("nginx did not start")
                time.sleep(0.05)
            yield port
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGKILL)
            server.wait()


def accepts(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


def run(program: str, *arguments: str) -> None:
    """Run a program of this folder."""
    subprocess.run([sys.executable, HERE / program, *arguments], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}; all by default")
    parser.add_argument("--servers", type=pathlib.Path, default=HERE.parent.parent / "shared" / "bench")
    parser.add_argument("--peers-python", default=sys.executable)
    options = parser.parse_args()
    for name in options.names or NAMES:
        if name not in NAMES:
            parser.error(f"there is no benchmark {name!r}; there are {', '.join(NAMES)}")
        print(f"== {name}", flush=True)
        if name in ALONE:
            run(*ALONE[name])
        elif (options.servers / "measure.py").exists():
            getattr(Comparison(options.servers, options.peers_python), name)()
        else:
            print(f"left out: there is no {options.servers}/measure.py (see README.md)")


if __name__ == "__main__":
    main()
