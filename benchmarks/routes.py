"""What it takes to find a route among 10 and among 1,000, for rules of some shapes."""

import statistics
import time

from pants.http import HTTPRequest
from pants.web import Application

# By what they differ in: the rule of the n-th route, and a host and a path for it.
SHAPES = {
    "no variable": ("/path{n}", "localhost", "/path{n}"),
    "text before": ("/path{n}/<name>", "localhost", "/path{n}/x"),
    "text behind": ("/<name>/path{n}", "localhost", "/x/path{n}"),
    "beginning of a segment": ("/item{n}-<name>", "localhost", "/item{n}-x"),
    "end of a segment": ("/<name>.x{n}", "localhost", "/y.x{n}"),
    "behind a path": ("/<path:name>/path{n}", "localhost", "/x/y/path{n}"),
    "domain": ("<name>.example{n}.com/", "x.example{n}.com", "/"),
}
ROUNDS = 2000


def view(request: HTTPRequest, *values: str) -> str:
    return ""


def seconds(rule: str, host: str, path: str, count: int) -> float:
    """The time for one look-up, median over some."""
    app = Application()
    for n in range(count):
        app.route(rule.format(n=n), name=str(n), func=view)
    table = app._table
    host, path = host.format(n=count // 2), path.format(n=count // 2)
    host = host if table.has_domains else ""
    assert hasattr(table.find(path, "GET", host), "route")
    figures = []
    for _ in range(9):
        start = time.perf_counter()
        for _ in range(ROUNDS):
            table.find(path, "GET", host)
        figures.append((time.perf_counter() - start) / ROUNDS)
    return statistics.median(figures)


for name, shape in SHAPES.items():
    ten, thousand = seconds(*shape, 10), seconds(*shape, 1000)
    print(f"{name:24s} 10: {ten * 1e6:5.2f} us   1,000: {thousand * 1e6:5.2f} us   {thousand / ten:4.2f} x")
