"""WSGI applications in threads: they do not stall the loop, nor does one of them run away from its client."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pants import Engine
from pants.http import HTTPConnection, HTTPRequest, HTTPServer, Limits
from pants.testing import MemoryEngine, run_until
from pants.web import Application, ResponseHead, WSGIConnector, _wsgi_pool
from pants.web._wsgi_pool import ThreadPool
from pants.web._wsgi_threads import ThreadRun
from tests.http.peers_support import in_thread, serving
from tests.web.wsgi_support import (
    DEADLINE,
    TEXT,
    App,
    Result,
    answering,
    ask,
    connect,
    exchange,
    request_line,
    serving_wsgi,
)

BLOCK = b"x" * 65536


class Gate:
    """An application that waits to be let through, and counts."""

    def __init__(self) -> None:
        self.opened = threading.Event()
        self.lock = threading.Lock()
        self.paths: list[str] = []
        self.threads: set[threading.Thread] = set()
        self.running = self.most = 0

    def __call__(self, environ: dict[str, Any], start_response: App) -> list[bytes]:
        with self.lock:
            self.paths.append(environ["PATH_INFO"])
            self.threads.add(threading.current_thread())
            self.running += 1
            self.most = max(self.most, self.running)
        assert self.opened.wait(DEADLINE)
        with self.lock:
            self.running -= 1
        start_response("200 OK", TEXT)
        return [b"through"]


@contextlib.contextmanager
def clients(server: HTTPServer, *requests: bytes) -> Iterator[list[socket.socket]]:
    """Connections that have sent these."""
    with contextlib.ExitStack() as stack:
        found = []
        for data in requests:
            client = stack.enter_context(socket.create_connection(server.local_address, DEADLINE))
            client.sendall(data)
            found.append(client)
        yield found


def get(path: str) -> bytes:
    return request_line(path=path) + b"Connection: close\r\n\r\n"


def read(client: socket.socket) -> bytes:
    def take() -> bytes:
        return b"".join(iter(lambda: client.recv(65536), b""))

    return in_thread(take)


# --- The pool ---------------------------------------------------------------------------------------------------------


def test_an_application_that_waits_does_not_stall_the_loop() -> None:
    gate = Gate()
    connector = WSGIConnector(gate)

    def handler(request: HTTPRequest) -> None:
        if request.path == "/quick":
            request.send_response("quick")
        else:
            connector(request)

    with serving(handler) as server, clients(server, get("/slow")) as (slow,):
        run_until(lambda: gate.running)
        assert ask(server, path="/quick").content == b"quick"
        gate.opened.set()
        assert read(slow).endswith(b"through")


def test_so_many_run_at_once_and_the_others_in_their_order() -> None:
    gate = Gate()
    with (
        serving_wsgi(gate, 2) as server,
        clients(server, get("/0"), get("/1")) as first,
    ):
        run_until(lambda: gate.running == 2)
        with contextlib.ExitStack() as stack:
            others = []
            pool = server.request_handler._pool  # type: ignore[attr-defined]
            for number in range(2, 6):
                others += stack.enter_context(clients(server, get(f"/{number}")))
                run_until(lambda number=number: len(pool._waiting) == number - 1)  # type: ignore[misc]
            gate.opened.set()
            for client in (*first, *others):
                assert read(client).endswith(b"through")
    assert gate.most == 2
    assert gate.paths[2:4] in (["/2", "/3"], ["/3", "/2"])
    assert sorted(gate.paths) == [f"/{number}" for number in range(6)]
    assert {thread.name for thread in gate.threads} == {f"pants-wsgi {server.request_handler.name}"}  # type: ignore[attr-defined]
    assert all(thread.daemon for thread in gate.threads)


def test_beyond_the_queue_it_is_503(expect_log: Any, caplog: pytest.LogCaptureFixture) -> None:
    gate = Gate()
    connector = WSGIConnector(gate, threads=1, max_waiting=1)
    expect_log("answers with 503: all of its threads, 1, are busy, and 1 requests wait for one")
    with serving(connector) as server, clients(server, get("/0")) as (first,):
        run_until(lambda: gate.running)
        with clients(server, get("/1")) as (second,):
            run_until(lambda: connector._pool and connector._pool._waiting)
            for _ in range(3):
                answer = ask(server)
                assert answer.status == 503
                assert answer.headers["Retry-After"] == "1"
                assert answer.headers["Content-Type"] == "text/html; charset=UTF-8"
            gate.opened.set()
            assert read(first).endswith(b"through")
            assert read(second).endswith(b"through")
        assert ask(server).status == 200
    assert len([record for record in caplog.records if "503" in record.getMessage()]) == 1


def test_without_a_queue(expect_log: Any) -> None:
    gate = Gate()
    expect_log("and 0 requests wait")
    with serving(WSGIConnector(gate, threads=1, max_waiting=0)) as server, clients(server, get("/0")) as (first,):
        run_until(lambda: gate.running)
        assert ask(server).status == 503
        gate.opened.set()
        assert read(first).endswith(b"through")


def test_a_request_whose_client_has_left_is_not_run() -> None:
    """Nor does it keep a place in the queue."""
    gate = Gate()
    connector = WSGIConnector(gate, threads=1, max_waiting=1)
    pool = connector._pool
    assert pool is not None
    with serving(connector, limits=Limits(spool_size=1)) as server, clients(server, get("/0")) as (first,):
        run_until(lambda: gate.running)
        body = request_line("POST", "/left") + b"Content-Length: 4\r\n\r\nspam"
        with clients(server, body):
            run_until(lambda: pool._waiting)
            (run,) = pool._waiting
            store = run._store  # type: ignore[attr-defined]
        # A client that sends no more may still wait; one that has reset the connection does not.
        for connection in list(server.channels.values()):
            assert isinstance(connection, HTTPConnection)
            if connection.current_request is not None and connection.current_request.path == "/left":
                connection.close(flush=False)
        run_until(lambda: not pool._waiting)
        assert store.closed
        with clients(server, get("/2")) as (second,):
            run_until(lambda: pool._waiting)
            gate.opened.set()
            assert read(first).endswith(b"through")
            assert read(second).endswith(b"through")
    assert gate.paths == ["/0", "/2"]


def test_idle_threads_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_wsgi_pool, "IDLE_TIME", 0.01)
    gate = Gate()
    gate.opened.set()
    with serving_wsgi(gate, 2) as server:
        for _ in range(2):
            assert ask(server).status == 200
            run_until(lambda: not any(thread.is_alive() for thread in gate.threads))
        assert len(gate.threads) == 2
        assert server.request_handler._pool._running == 0  # type: ignore[attr-defined]


class Job:
    """What a pool runs here."""

    def __init__(self, function: Callable[[], object]) -> None:
        self.function = function

    def run(self) -> None:
        self.function()

    def look_at_client(self) -> None:
        raise AssertionError("it waits for no client")


# --- Clients that take nothing ----------------------------------------------------------------------------------------


def large_or_small(environ: dict[str, Any], start_response: App) -> Any:
    start_response("200 OK", TEXT)
    if environ["PATH_INFO"] == "/large":
        return (BLOCK for _ in range(1600))
    return [b"small"]


def test_clients_that_take_nothing_keep_no_thread_from_others() -> None:
    """Docstring of the pool: a thread that waits for a client does not count."""
    with serving_wsgi(large_or_small, 2) as server, clients(server, *[get("/large")] * 7):
        pool = server.request_handler._pool  # type: ignore[attr-defined]
        run_until(lambda: len(pool._stalled) == 7, DEADLINE)
        assert exchange(server, get("/small")).endswith(b"small")
        assert pool._running == 8


def test_one_that_takes_again_gets_all() -> None:
    with serving_wsgi(large_or_small, 1) as server, clients(server, get("/large"), get("/large")) as (first, second):
        pool = server.request_handler._pool  # type: ignore[attr-defined]
        run_until(lambda: len(pool._stalled) == 2, DEADLINE)
        for client in (first, second):
            assert read(client).count(b"x" * 1000) >= 1600 * 65
        run_until(lambda: not pool._stalled, DEADLINE)


def test_one_that_takes_nothing_is_cut_off(monkeypatch: pytest.MonkeyPatch, expect_log: Any) -> None:
    """There is a limit to threads, whoever keeps them; and others wait no longer than that takes."""
    monkeypatch.setattr(_wsgi_pool, "MOST_STALLED", 3)
    monkeypatch.setattr(_wsgi_pool, "PATIENCE", 0.1)
    expect_log("is cut off: it takes nothing, and others wait")
    with serving_wsgi(large_or_small, 1) as server, clients(server, *[get("/large")] * 4):
        pool = server.request_handler._pool  # type: ignore[attr-defined]
        run_until(lambda: len(pool._stalled) == 4, DEADLINE)
        assert exchange(server, get("/small")).endswith(b"small")
        assert len(pool._stalled) == 3


def test_nobody_is_cut_off_while_nobody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_wsgi_pool, "MOST_STALLED", 1)
    monkeypatch.setattr(_wsgi_pool, "PATIENCE", 0.0)
    with serving_wsgi(large_or_small, 2) as server, clients(server, get("/large"), get("/large")) as found:
        pool = server.request_handler._pool  # type: ignore[attr-defined]
        run_until(lambda: len(pool._stalled) == 2, DEADLINE)
        assert exchange(server, get("/small")).endswith(b"small")
        for client in found:
            assert read(client).count(b"x" * 1000) >= 1600 * 65


def test_a_job_that_is_handed_over_while_the_thread_is_about_to_end() -> None:
    """Its wait is over, and it has been given a job: it takes that."""
    pool = ThreadPool(1, 0, "spam")
    worker = _wsgi_pool.Worker()
    pool._idle.append(worker)
    pool._running = 1
    done = threading.Event()
    job = Job(done.set)
    assert pool.submit(job)
    pool._retire(worker)
    assert (pool._running, worker.job) == (1, job)


def test_the_thread_that_was_busy_last_is_the_first_to_be_so_again() -> None:
    """The application's own things, in the processor's cache and of a thread, are at hand there; others may end."""
    pool = ThreadPool(4, 10, "spam")
    found: list[str] = []
    barrier = threading.Barrier(4, timeout=DEADLINE)
    for _ in range(4):
        pool.submit(Job(barrier.wait))
    run_until(lambda: len(pool._idle) == 4)
    names = set()
    for number in range(1, 11):
        pool.submit(Job(lambda: found.append(threading.current_thread().ident)))  # type: ignore[arg-type]
        run_until(lambda number=number: len(found) == number and len(pool._idle) == 4)  # type: ignore[misc]
        names.add(found[-1])
    assert len(names) == 1


def test_a_job_that_fails_costs_no_thread(expect_log: Any) -> None:
    pool = ThreadPool(1, 10, "spam")
    done = threading.Event()
    expect_log("<.*Job .*> failed\n(.*\n)*ZeroDivisionError")
    pool.submit(Job(lambda: 1 / 0))
    pool.submit(Job(done.set))
    assert done.wait(DEADLINE)


def test_where_there_are_no_threads_to_be_had(monkeypatch: pytest.MonkeyPatch, expect_log: Any) -> None:
    gate = Gate()
    expect_log("pants-wsgi .* has 0 threads, and gets no other: can't start new thread")
    expect_log("pants-wsgi .* has 1 threads, and gets no other")
    expect_log("answers with 503")

    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with serving_wsgi(gate, 2) as server:
        pool = server.request_handler._pool  # type: ignore[attr-defined]
        data = get("/")
        with monkeypatch.context() as patch, clients(server, data) as (client,):
            patch.setattr(threading.Thread, "start", refuse)
            run_until(lambda: server.counters.answers[503])
        with clients(server, data) as (first,):
            run_until(lambda: gate.running)
            with monkeypatch.context() as patch, clients(server, data) as (second,):
                patch.setattr(threading.Thread, "start", refuse)
                run_until(lambda: pool._waiting)
                gate.opened.set()
                run_until(lambda: server.counters.answers[200] == 2)
            assert read(first).endswith(b"through")
        del client, second


# --- Pieces, and their clients ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [0, 1])
@pytest.mark.parametrize("how", ["yield", "write"])
def test_a_long_answer_arrives_whole(threads: int, how: str) -> None:
    digest = hashlib.sha256()

    def blocks() -> Iterator[bytes]:
        for number in range(200):
            block = b"%06d" % number * 5000
            digest.update(block)
            yield block

    def application(environ: dict[str, Any], start_response: App) -> Any:
        write = start_response("200 OK", TEXT)
        if how == "yield":
            return blocks()
        for block in blocks():
            write(block)
        return []

    with serving_wsgi(application, threads) as server:
        answer = ask(server)
    assert len(answer.content) == 200 * 30_000
    assert hashlib.sha256(answer.content).digest() == digest.digest()


@pytest.mark.parametrize("threads", [0, 1])
def test_an_application_does_not_run_away_from_its_client(threads: int) -> None:
    """It produces what the kernel takes, and a little more; when the client has gone it is closed."""
    endless = Result(iter(lambda: BLOCK, None))
    with serving_wsgi(answering(endless), threads) as server:
        with clients(server, get("/")) as (client,):
            run_until(lambda: endless.taken > 1)
            connection = next(iter(server.channels.values()))
            run_until(lambda: connection.queued_bytes)
            for _ in range(5):
                Engine.instance().poll(0.01)
                assert connection.queued_bytes <= 8 * len(BLOCK)
            taken = endless.taken
            assert taken < 2000
            in_thread(lambda: [client.recv(65536) for _ in range(100)])
            run_until(lambda: endless.taken > taken)
            assert not endless.closed
        run_until(lambda: endless.closed == 1)


def test_write_waits_for_the_client_and_raises_when_that_has_gone(caplog: pytest.LogCaptureFixture) -> None:
    written = []
    raised = []

    def application(environ: dict[str, Any], start_response: App) -> list[bytes]:
        write = start_response("200 OK", TEXT)
        try:
            while True:
                write(BLOCK)
                written.append(1)
        except BrokenPipeError as error:
            raised.append(str(error))
            if environ["PATH_INFO"] == "/raise":
                raise
        return [b"more", b"in vain"] if environ["PATH_INFO"] == "/go_on" else []

    caplog.set_level(logging.DEBUG)
    for number, path in enumerate(["/raise", "/go_on", "/end"], 1):
        with serving_wsgi(application, 1) as server:
            with clients(server, get(path)):
                run_until(lambda: len(written) > 1)
                connection = next(iter(server.channels.values()))
                run_until(lambda: connection.queued_bytes)  # noqa: B023
            run_until(lambda number=number: len(raised) == number)  # type: ignore[misc]
            run_until(lambda: server.request_handler._pool._idle)  # type: ignore[attr-defined]
        assert len(written) < 2000
        written.clear()
    assert set(raised) == {"the request is over: its client has gone, or it was answered in another way"}
    assert any("over before GET /raise was answered" in record.getMessage() for record in caplog.records)


def test_a_client_that_takes_nothing_is_cut_off() -> None:
    endless = Result(iter(lambda: BLOCK, None))
    limits = Limits(write_timeout=0.1)
    with serving_wsgi(answering(endless), 1, limits=limits) as server, clients(server, get("/")):
        run_until(lambda: endless.closed)
        assert server.counters.slow_readers == 1


def test_an_application_that_has_nothing_to_send_sees_that_its_client_has_gone() -> None:
    waiting = Result(iter(lambda: b"", None))
    with serving_wsgi(answering(waiting), 1) as server:
        with clients(server, get("/")):
            run_until(lambda: waiting.taken)
        for connection in list(server.channels.values()):
            connection.close()
        run_until(lambda: waiting.closed)


def test_in_the_loop_one_that_has_nothing_to_send_leaves_it_its_turns() -> None:
    waiting = Result(iter(lambda: b"", None))
    connector = WSGIConnector(answering(waiting), threads=0)

    def handler(request: HTTPRequest) -> None:
        if request.path == "/quick":
            request.send_response("quick")
        else:
            connector(request)

    with serving(handler) as server, clients(server, get("/")):
        run_until(lambda: waiting.taken > 50)
        assert ask(server, path="/quick").content == b"quick"
        assert not waiting.closed
        for connection in list(server.channels.values()):
            connection.close()
        run_until(lambda: waiting.closed)
    taken = waiting.taken
    Engine.instance().poll(0.01)
    assert waiting.taken == taken


@pytest.mark.parametrize("taken", [0, 1])
@pytest.mark.parametrize("length", [[], [("Content-Length", "5")]])
def test_in_the_loop_it_may_poll_the_engine(taken: int, length: list[Any], caplog: pytest.LogCaptureFixture) -> None:
    """The request may be answered by somebody else meanwhile; then the application is not asked for more."""
    result = Result([b"first", b"second"])

    def application(environ: dict[str, Any], start_response: App) -> Any:
        start_response("200 OK", [*TEXT, *length])
        if taken:
            return Polling()
        poll()
        return result

    class Polling(Result):
        def __init__(self) -> None:
            super().__init__([])

        def __next__(self) -> Any:
            poll()
            return next(result)

        def close(self) -> None:
            result.close()

    def poll() -> None:
        Engine.instance().defer(0, requests[0].send_response, "too late", 504)
        run_until(lambda: requests[0].finished)

    def handler(request: HTTPRequest) -> None:
        requests.append(request)
        connector(request)

    caplog.set_level(logging.DEBUG)
    requests: list[HTTPRequest] = []
    connector = WSGIConnector(application, threads=0)
    with serving(handler) as server:
        answer = ask(server)
        assert (answer.status, answer.content) == (504, b"too late")
        run_until(lambda: result.closed)
    assert (result.taken, result.closed) == (1, 1)
    assert any("over before GET / was answered" in record.getMessage() for record in caplog.records)


@pytest.mark.parametrize("behind", [[b"second"], [b""] * 100])
def test_in_the_loop_the_request_may_end_between_two_blocks(behind: list[bytes]) -> None:
    result = Result([b"first", b"", *behind])

    def application(environ: dict[str, Any], start_response: App) -> Any:
        start_response("200 OK", TEXT)
        for block in result:
            if not block and not requests[0].finished:
                requests[0].connection.close(flush=False)
                requests[0].finish()
            yield block

    def handler(request: HTTPRequest) -> None:
        requests.append(request)
        connector(request)

    requests: list[HTTPRequest] = []
    connector = WSGIConnector(application, threads=0)
    with serving(handler) as server:
        exchange(server, get("/"))
    assert result.taken == (3 if behind[0] else 17)


def test_a_request_that_is_over_the_moment_it_begins_is_not_run() -> None:
    with MemoryEngine() as engine:
        server = HTTPServer(lambda request: None, engine=engine)
        engine.accept(server).send(get("/"))
        request = next(iter(server.channels.values())).current_request  # type: ignore[attr-defined]
        gate = Gate()
        connector = WSGIConnector(gate, threads=1)
        assert connector._pool is not None
        run = ThreadRun(connector, request, {}, connector._pool)
        run._over = True
        run.run()
        run.run()
    assert not gate.paths


def test_the_engine_may_close_while_an_application_runs() -> None:
    gate = Gate()
    results = [Result([b"first", b"second"]), Result([b"", b"first", b"second"])]

    def application(environ: dict[str, Any], start_response: App) -> Any:
        gate(environ, start_response)
        return results[int(environ["PATH_INFO"][1:])]

    engine = Engine()
    server = HTTPServer(WSGIConnector(application), engine=engine).listen(("127.0.0.1", 0))
    with clients(server, get("/0"), get("/1")):
        run_until(lambda: gate.running == 2, engine=engine)
        engine.close()
        gate.opened.set()
        run_until(lambda: all(result.closed for result in results))


def test_an_application_that_fails_when_its_engine_is_closed(expect_log: Any) -> None:
    gate = Gate()

    def application(environ: dict[str, Any], start_response: App) -> Any:
        gate(environ, start_response)
        raise LookupError("spam")

    expect_log("LookupError: spam")
    engine = Engine()
    connector = WSGIConnector(application, threads=1)
    server = HTTPServer(connector, engine=engine).listen(("127.0.0.1", 0))
    with clients(server, get("/")):
        run_until(lambda: gate.running, engine=engine)
        engine.close()
        gate.opened.set()
        pool = connector._pool
        run_until(lambda: pool and pool._idle)


# --- The request is for the loop --------------------------------------------------------------------------------------


class Guarded(HTTPRequest):
    """A request that only one thread may touch."""

    def __getattribute__(self, name: str) -> Any:
        assert threading.current_thread() is threading.main_thread(), name
        return super().__getattribute__(name)


class GuardedConnection(HTTPConnection):
    request_class = Guarded


class GuardedServer(HTTPServer):
    ConnectionClass = GuardedConnection


@pytest.mark.parametrize("debug", [False, True])
def test_no_thread_touches_the_request(tmp_path: Path, debug: bool, expect_log: Any) -> None:
    (tmp_path / "small").write_bytes(b"small")
    (tmp_path / "large").write_bytes(BLOCK * 20)

    def application(environ: dict[str, Any], start_response: App) -> Any:
        kind = environ["PATH_INFO"]
        content = environ["wsgi.input"].read()
        if kind == "/early":
            raise LookupError("early")
        write = start_response("200 OK", TEXT)
        if kind == "/list":
            return [b"list", content]
        if kind == "/blocks":
            return iter([b"a", b"b"])
        if kind == "/write":
            write(b"written")
        if kind == "/late":
            return iter(Result([b"a", LookupError("late")]))
        if kind in ("/small", "/large"):
            return environ["wsgi.file_wrapper"]((tmp_path / kind[1:]).open("rb"))
        return []

    expect_log("failed, on (GET|HEAD|POST) /early\n(.*\n)*.*LookupError: early")
    expect_log("failed, on POST /late\n(.*\n)*.*LookupError: late")
    server = GuardedServer(WSGIConnector(application, debug, threads=2), limits=Limits(spool_size=10))
    server.listen(("127.0.0.1", 0))
    try:
        for kind in ("list", "blocks", "write", "small", "large", "early"):
            for method in ("GET", "HEAD", "POST"):
                answer = ask(server, method, f"/{kind}", b"x" * 20 if method == "POST" else b"")
                assert answer.status == (500 if kind == "early" else 200)
        assert exchange(server, request_line("POST", "/late") + b"\r\n").endswith(b"\r\n\r\n1\r\na\r\n")
    finally:
        server.close()
        Engine.instance().poll(0)


# --- Processes --------------------------------------------------------------------------------------------------------

EXITING = """
import socket, sys, threading, time
from pants import Engine
from pants.http import HTTPServer
from pants.web import WSGIConnector

begun = threading.Event()
def application(environ, start_response):
    begun.set()
    time.sleep(1000)

engine = Engine.instance()
server = HTTPServer(WSGIConnector(application)).listen(("127.0.0.1", 0))
client = socket.create_connection(server.local_address)
client.sendall(b"GET / HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n")
while not begun.is_set():
    engine.poll(0.01)
client.close()
engine.close()
print("over", flush=True)
"""

FORKING = """
import os, socket, sys, threading
from pants import Engine
from pants.http import HTTPServer
from pants.web import WSGIConnector

def application(environ, start_response):
    start_response("200 OK", [])
    return [b"multiprocess %d" % environ["wsgi.multiprocess"]]

connector = WSGIConnector(application, threads=1)

def ask():
    engine = Engine()
    server = HTTPServer(connector, engine=engine).listen(("127.0.0.1", 0))
    client = socket.create_connection(server.local_address)
    client.sendall(b"GET / HTTP/1.1\\r\\nHost: a\\r\\nConnection: close\\r\\n\\r\\n")
    client.setblocking(False)
    data = b""
    while not data.endswith((b"0", b"1")) or len(data) < 50:
        engine.poll(0.01)
        try:
            data += client.recv(65536)
        except BlockingIOError:
            pass
    client.close()
    engine.close()
    return data.rpartition(b"\\r\\n")[2].decode()

os.write(1, f"{ask()}\\n".encode())
child = os.fork()
os.write(1, f"{ask()}\\n".encode())
if child:
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def run_program(program: str) -> str:
    command = [sys.executable, "-W", "error", "-W", "ignore:This process:DeprecationWarning", "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE, check=False)
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return done.stdout


def test_no_thread_keeps_the_process_from_ending() -> None:
    assert run_program(EXITING) == "over\n"


def test_a_forked_child_has_threads_of_its_own() -> None:
    """Workers: each has the application, which is told so."""
    lines = run_program(FORKING).splitlines()
    assert lines[0] == "multiprocess 0"
    assert sorted(lines[1:]) == ["multiprocess 0", "multiprocess 1"]


def test_a_job_that_waits_in_the_parent_is_not_the_childs() -> None:
    pool = ThreadPool(1, 10, "spam")
    pool._running = pool._busy = 1
    assert pool.submit(Job(bool))
    assert len(pool._waiting) == 1
    pool.start_anew()  # what is called in the child, for all of them
    assert not pool._waiting
    done = threading.Event()
    assert pool.submit(Job(done.set))
    assert done.wait(DEADLINE)


def test_keep_alive_over_many_threads() -> None:
    def application(environ: dict[str, Any], start_response: App) -> list[bytes]:
        start_response("200 OK", TEXT)
        return [environ["PATH_INFO"].encode()]

    with serving_wsgi(application, 3) as server:
        client = connect(server)

        def talk() -> list[bytes]:
            contents = []
            for number in range(30):
                client.request("GET", f"/{number}")
                contents.append(client.getresponse().read())
            return contents

        assert in_thread(talk) == [b"/%d" % number for number in range(30)]
        client.close()


# --- A pool that comes back to what it may have ----------------------------------------------------------------------


def test_no_more_run_at_once_when_clients_have_been_waited_for() -> None:
    """Docstring: "the most threads that run at once": one that is to go on waits until it counts again."""
    pool = ThreadPool(1, 100, "spam")
    lock = threading.Lock()
    running = most = 0
    stalled = threading.Semaphore(0)
    go_on = threading.Event()

    def work() -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        threading.Event().wait(0.001)
        with lock:
            running -= 1

    def wait_for_a_client(job: list[Job]) -> None:
        pool.stall(job[0])
        stalled.release()
        assert go_on.wait(DEADLINE)
        pool.go_on(job[0])
        work()

    for _ in range(10):
        job: list[Job] = []
        job.append(Job(lambda job=job: wait_for_a_client(job)))  # type: ignore[misc]
        assert pool.submit(job[0])
        assert stalled.acquire(timeout=DEADLINE)
    for _ in range(20):
        assert pool.submit(Job(work))
    go_on.set()
    done = threading.Event()
    assert pool.submit(Job(done.set))
    assert done.wait(DEADLINE)
    run_until(lambda: pool._busy == 0, DEADLINE)
    assert most == 1
    assert len(pool._idle) == pool._running


def test_a_thread_that_could_not_be_had_is_asked_for_again(monkeypatch: pytest.MonkeyPatch, expect_log: Any) -> None:
    expect_log("gets no other")
    pool = ThreadPool(1, 10, "spam")
    done, go_on, stalled = threading.Event(), threading.Event(), threading.Event()

    def wait_for_a_client() -> None:
        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", lambda self: no_thread())
            assert pool.submit(following)
            pool.stall(first)
        stalled.set()
        assert go_on.wait(DEADLINE)
        pool.go_on(first)

    def no_thread() -> None:
        raise RuntimeError("can't start new thread")

    first, following = Job(wait_for_a_client), Job(done.set)
    assert pool.submit(first)
    assert stalled.wait(DEADLINE)
    assert not done.is_set()
    pool.relieve()
    assert done.wait(DEADLINE)
    go_on.set()
    run_until(lambda: pool._busy == 0, DEADLINE)


def test_one_that_takes_slowly_is_not_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is about clients that take nothing."""
    monkeypatch.setattr(_wsgi_pool, "MOST_STALLED", 0)
    monkeypatch.setattr(_wsgi_pool, "PATIENCE", 0.02)
    with serving_wsgi(large_or_small, 1) as server, clients(server, get("/large"), get("/small")) as (slow, waiting):
        pool = server.request_handler._pool  # type: ignore[attr-defined]
        run_until(lambda: len(pool._stalled) == 1, DEADLINE)

        def take_slowly() -> int:
            taken = 0
            while data := slow.recv(400_000):
                taken += len(data)
            return taken

        assert in_thread(take_slowly) > 1600 * 65536
        assert read(waiting).endswith(b"small")


@pytest.mark.parametrize("threads", [0, 2])
@pytest.mark.parametrize("blocks", [[b"one"], [b"one", b"two", b"three"]])
def test_hooks_that_fail_one_after_another(threads: int, blocks: list[bytes], expect_log: Any) -> None:
    """Whose answer it is gets a 500; the others of the same turn theirs, and the loop goes on."""
    expect_log("ZeroDivisionError")
    app = Application()
    for _ in range(3):

        @app.after
        def fail(request: HTTPRequest, head: ResponseHead) -> None:
            if request.query == "bad":
                raise ZeroDivisionError

    WSGIConnector(answering(lambda: iter(blocks)), threads=threads).attach(app, "/")
    with serving(app) as server:
        paths = ["/", "/", "/?bad", "/", "/"]
        with clients(server, *map(get, paths)) as found:
            answers = [read(client) for client in found]
    assert [int(answer[9:12]) for answer in answers] == [200, 200, 500, 200, 200]


@pytest.mark.parametrize("threads", [0, 2])
@pytest.mark.parametrize("method, status", [("HEAD", "200 OK"), ("GET", "304 Not Modified")])
def test_the_length_of_content_that_is_left_out(threads: int, method: str, status: str) -> None:
    """RFC 9110 §8.6: what a GET would be told, or nothing: not the length of its first block."""
    application = answering(lambda: iter([b"hello", b"world"]), status)
    with serving_wsgi(application, threads) as server:
        answer = exchange(server, request_line(method) + b"Connection: close\r\n\r\n")
    assert b"Content-Length" not in answer
