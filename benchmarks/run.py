"""Run the benchmarks: run.py [NAME ...] [--servers FOLDER] [--peers-python PYTHON]. See README.md."""

import argparse
import os
import pathlib
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
NAMES = ("timers", "lines", "many", "bodies", "many_websockets", "echo", "http", "pipelined", "files", "ws")
# These compare whole servers.
SERVERS = ("echo", "http", "pipelined", "files", "ws")
# The files that are sent: their names, and sizes in bytes.
FILES = {"4KiB": 4096, "1MiB": 1024 * 1024}


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
        with tempfile.TemporaryDirectory(prefix="pants-bench-") as name:
            for file, size in FILES.items():
                pathlib.Path(name, file).write_bytes(os.urandom(size))
            servers = [
                f"nginx={self.peers}/nginx {{port}} {name}",
                f"pants={sys.executable} {HERE}/files_server.py {{port}} {name}",
            ]
            for file in FILES:
                print(file, flush=True)
                self.measure("http", "--path", f"/f/{file}", "--rounds", "5", *servers)


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
        if name not in SERVERS:
            subprocess.run([sys.executable, HERE / f"{name}.py"], check=True)
        elif (options.servers / "measure.py").exists():
            getattr(Comparison(options.servers, options.peers_python), name)()
        else:
            print(f"left out: there is no {options.servers}/measure.py (see README.md)")


if __name__ == "__main__":
    main()
