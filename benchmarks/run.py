"""Run the benchmarks: run.py [NAME ...] [--servers FOLDER] [--peers-python PYTHON]. See README.md."""

import argparse
import os
import pathlib
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
NAMES = ("timers", "lines", "many", "echo", "http")


def compare_servers(kind: str, folder: pathlib.Path, peers_python: str) -> None:
    """Hold Pants against other servers, with FOLDER/measure.py and the programs in FOLDER/peers."""
    measure = [sys.executable, str(folder / "measure.py")]
    peers = folder / "peers"
    if kind == "echo":
        c_server = pathlib.Path(tempfile.gettempdir(), f"pants-bench-cecho-{os.getuid()}")
        subprocess.run(["gcc", "-O2", "-w", "-o", c_server, folder / "cecho.c"], check=True)
        servers = [
            f"c={c_server} {{port}}",
            f"pants={sys.executable} {peers}/pants_echo.py {{port}}",
            f"uvloop={peers_python} {peers}/echo_uvloop.py {{port}}",
        ]
        for size in ("1024", "65536"):
            print(f"{size} bytes, 10 connections", flush=True)
            subprocess.run([*measure, "echo", "--size", size, "--conns", "10", "--rounds", "5", *servers], check=True)
    else:
        servers = [
            f"nginx={peers}/nginx {{port}}",
            f"pants={sys.executable} {peers}/pants_http.py {{port}}",
            f"bjoern={peers_python} {peers}/http_bjoern.py {{port}}",
            f"uvicorn={peers_python} {peers}/http_uvicorn.py {{port}}",
        ]
        subprocess.run([*measure, "http", "--browser", "--rounds", "5", *servers], check=True)


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
        if name not in ("echo", "http"):
            subprocess.run([sys.executable, HERE / f"{name}.py"], check=True)
        elif (options.servers / "measure.py").exists():
            compare_servers(name, options.servers, options.peers_python)
        else:
            print(f"left out: there is no {options.servers}/measure.py (see README.md)")


if __name__ == "__main__":
    main()
