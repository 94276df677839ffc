"""Several processes that serve: how they share connections, end, are replaced, and what happens if they cannot work."""

from __future__ import annotations

import collections
import contextlib
import os
import pathlib
import re
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import trustme

from pants import Engine
from pants.web import Application, _running, _workers
from pants.web._sharing import Board
from tests.web.running_support import (
    DEADLINE,
    HANDLER,
    Program,
    asking,
    connects,
    get,
    is_alive,
    run_program,
    wait_until,
)

ANY = ("127.0.0.1", 0)
RUN = HANDLER + "_running.run(handler, ('127.0.0.1', 0), workers=2)\nprint('over')"


def workers_of(port: int, count: int = 2) -> set[int]:
    """The processes that answer, once all of them have."""
    found: set[int] = set()
    with contextlib.ExitStack() as stack:
        for _ in range(20 * count):  # they share them evenly, but one that has just been forked takes part a bit later
            sock = stack.enter_context(socket.create_connection(("127.0.0.1", port), DEADLINE))
            found.add(int(ask(sock)))
            if len(found) == count:
                break
    return found


def ask(sock: socket.socket, path: str = "/") -> str:
    sock.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    head, _, content = sock.recv(65536).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    return content.decode()


def answer_of(sock: socket.socket) -> str:
    with sock:
        return ask(sock)


# --- Sharing ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("address", ["('127.0.0.1', 0)", "'site.sock'", "('::', 0)", "0, socket=bound"])
def test_connections_are_shared_evenly(tmp_path: pathlib.Path, address: str) -> None:
    """Each has as many as the others, whether they come one by one or all at once."""
    bound = "import socket\nbound = socket.create_server(('127.0.0.1', 0))\n" if "bound" in address else ""
    address = "None, socket=bound" if bound else address
    with run_program(tmp_path, HANDLER + bound + f"_running.run(handler, {address}, workers=3)") as program:
        banner = program.expect("Serving").string
        found = re.search(r":(\d+)/ with 3 workers", banner)
        port = int(found[1]) if found else 0
        hosts = ["::1", "127.0.0.1"] if "::" in address else ["127.0.0.1"]

        def connect() -> socket.socket:
            if "sock'" in address:
                sock = socket.socket(socket.AF_UNIX)
                sock.settimeout(DEADLINE)
                sock.connect(str(tmp_path / "site.sock"))
                return sock
            return socket.create_connection((hosts[len(socks) % len(hosts)], port), DEADLINE)

        with contextlib.ExitStack() as stack:
            socks: list[socket.socket] = []
            wait_until(lambda: len({answer_of(connect()) for _ in range(10)}) == 3)  # all of them have started
            for _ in range(30):
                socks.append(stack.enter_context(connect()))
                ask(socks[-1])
            one_by_one = collections.Counter(ask(sock) for sock in socks)
            socks.extend(stack.enter_context(connect()) for _ in range(60))
            at_once = collections.Counter(ask(sock) for sock in socks)
        assert len(one_by_one) == len(at_once) == 3
        assert all(8 <= count <= 12 for count in one_by_one.values())
        assert all(25 <= count <= 35 for count in at_once.values())
        program.send(signal.SIGTERM)
        assert program.wait() == 0
        assert not (tmp_path / "site.sock").exists()


@pytest.fixture
def board() -> Iterator[Board]:
    board = Board(3)
    yield board
    board.close()


def test_who_has_the_fewest(board: Board) -> None:
    assert board.find_lighter(0) is None  # nobody is there
    for worker, count in enumerate([2, 2, 1]):
        board.set_open(worker, count)
    assert board.find_lighter(0) == 2
    assert board.find_lighter(2) is None
    with socket.socket() as sock:
        assert board.hand_over(0, 2, sock)  # which has as many as the others then
        assert board.find_lighter(0) is None
        board.set_open(0, 3)
        assert board.find_lighter(0) == 1
        board.withdraw(1)
        assert board.find_lighter(0) == 2
        with board.take(2) or sock as taken:
            assert taken is not sock
            assert os.path.sameopenfile(taken.fileno(), sock.fileno())
        board.set_open(2, 2)
        assert board.find_lighter(0) == 2
    with pytest.raises(BlockingIOError):
        board.take(2)


def test_programs_that_a_worker_starts_do_not_get_its_connections(board: Board) -> None:
    """A descriptor that comes by SCM_RIGHTS is inherited, unlike all that Python makes (PEP 446)."""
    with socket.socket() as sock:
        assert board.hand_over(0, 1, sock)
        taken = board.take(1)
    assert taken is not None
    with taken:
        assert not taken.get_inheritable()


def test_one_that_takes_nothing_gets_no_more(board: Board) -> None:
    board.set_open(0, 1000)
    board.set_open(1, 0)
    with socket.socket() as sock:
        handed = 0
        while (other := board.find_lighter(0)) is not None:
            assert other == 1
            assert board.hand_over(0, other, sock)
            handed += 1
    assert 1 < handed < 100


def test_a_connection_that_cannot_be_handed_over_stays(board: Board) -> None:
    board.set_open(0, 1)
    board.set_open(1, 0)
    board._pairs[1][0].close()
    with socket.socket() as sock:
        assert not board.hand_over(0, 1, sock)
    assert board.find_lighter(0) == 1


# --- The end ----------------------------------------------------------------------------------------------------------


def to_parent(program: Program) -> None:
    program.send(signal.SIGTERM)


def to_all(program: Program) -> None:
    """As a terminal does it."""
    os.killpg(program.process.pid, signal.SIGINT)


@pytest.mark.parametrize("send", [to_parent, to_all])
def test_a_signal_ends_it_once_requests_are_answered(tmp_path: pathlib.Path, send: Callable[[Program], None]) -> None:
    with run_program(tmp_path, RUN) as program:
        port = program.expect_port()
        workers = workers_of(port)
        assert len(workers) == 2
        assert program.process.pid not in workers
        with contextlib.ExitStack() as stack:
            answers: list[Callable[[], str]] = []
            held: set[int] = set()
            while held != workers:
                answers.append(stack.enter_context(asking(port, "/held")))
                held.add(int(program.expect(r"held (\d+)")[1]))
            send(program)
            wait_until(lambda: not connects(port))
            program.expect("Waiting for 2 workers")
            (tmp_path / "release").touch()
            assert {get_answer() for get_answer in answers} == {f"released {worker}" for worker in workers}
        assert program.wait() == 0
        assert program.output() == "over\n"  # once, and not in each of them
        assert not any(map(is_alive, workers))
        assert "Traceback" not in program.errors


def test_a_second_signal_ends_it_at_once(tmp_path: pathlib.Path) -> None:
    with run_program(tmp_path, RUN) as program:
        port = program.expect_port()
        with asking(port, "/held") as get_answer:
            program.expect("held")
            program.send(signal.SIGINT)
            wait_until(lambda: not connects(port))
            program.send(signal.SIGINT)
            with pytest.raises(OSError):
                get_answer()
        assert program.wait() == 0
        assert program.output() == "over\n"


def test_a_worker_that_does_not_end_is_killed(tmp_path: pathlib.Path) -> None:
    text = HANDLER + "_workers._MARGIN = 0.1\n_running.run(handler, ('127.0.0.1', 0), workers=2, grace=0.1)"
    with run_program(tmp_path, text) as program:
        with asking(program.expect_port(), "/spin"):
            program.expect("spinning")
            program.send(signal.SIGTERM)
            program.expect(r"Worker \d \(process \d+\) does not end, and is killed")
        assert program.wait() == 0


def test_workers_end_with_their_parent(tmp_path: pathlib.Path) -> None:
    with run_program(tmp_path, RUN) as program:
        port = program.expect_port()
        workers = workers_of(port)
        with asking(port, "/held") as get_answer:
            program.expect("held")
            program.process.kill()
            wait_until(lambda: not connects(port))
            (tmp_path / "release").touch()
            assert get_answer().startswith("released")
        wait_until(lambda: not any(map(is_alive, workers)))


def test_what_the_parent_raises_ends_the_workers(tmp_path: pathlib.Path) -> None:
    """A handler of the program's own that raises, most likely."""
    text = HANDLER + (
        "import signal\nsignal.signal(signal.SIGTERM, lambda *args: sys.exit(7))\n"
        "_running.run(handler, ('127.0.0.1', 0), workers=2)"
    )
    with run_program(tmp_path, text) as program:
        workers = workers_of(program.expect_port())
        program.send(signal.SIGTERM)
        assert program.wait() == 7
        assert not any(map(is_alive, workers))


# --- Replacing --------------------------------------------------------------------------------------------------------


def test_workers_that_die_are_replaced(tmp_path: pathlib.Path) -> None:
    with run_program(tmp_path, RUN) as program:
        port = program.expect_port()
        before = workers_of(port)
        victim = min(before)
        os.kill(victim, signal.SIGKILL)
        # Whichever socket a connection meets, somebody takes it.
        answers = {int(get(port)) for _ in range(40)}
        program.expect(rf"WARNING pants.web: Worker \d \(process {victim}\) was ended by SIGKILL, and is replaced")
        wait_until(lambda: len(workers_of(port) - before) == 1)
        assert victim not in answers
        assert max(before) in workers_of(port)
        program.send(signal.SIGTERM)
        assert program.wait() == 0


def test_a_request_that_ends_workers_does_not_end_them_all(tmp_path: pathlib.Path) -> None:
    """However often it comes: only workers that cannot even begin are given up."""
    text = HANDLER + (
        "def leave(request): os._exit(3) if request.path == '/exit' else handler(request)\n"
        "_workers._LONGEST_BACK_OFF = 0.01\n"
        "_running.run(leave, ('127.0.0.1', 0), workers=2)"
    )
    with run_program(tmp_path, text) as program:
        port = program.expect_port()
        for _ in range(2 * _workers._MOST_FAILURES):
            with asking(port, "/exit"):
                program.expect("has ended with exit status 3, and is replaced")
        assert len(workers_of(port)) == 2
        program.send(signal.SIGTERM)
        assert program.wait() == 0
        assert "it is no use" not in program.errors


def test_a_worker_that_stops_is_replaced(tmp_path: pathlib.Path) -> None:
    """Whatever it ends for: with status 0 too, and with a status of its own."""
    text = """
import os, sys
from pants import Engine
from pants.web import Application
app = Application()

@app.route("/stop")
def stop(request):
    Engine.instance().stop()

@app.route("/exit/<int:status>")
def leave(request, status):
    request.send("")
    sys.exit(status)

@app.route("/raise")
def fail(request):
    raise KeyError("nothing")

app.run(("127.0.0.1", 0), workers=2)
"""
    with run_program(tmp_path, text) as program:
        port = program.expect_port()
        with asking(port, "/stop"):
            program.expect("has ended with exit status 0, and is replaced")
        with asking(port, "/exit/300"):
            program.expect(f"has ended with exit status {300 & 0xFF}, and is replaced")
        program.send(signal.SIGTERM)
        assert program.wait() == 0


def test_a_program_may_ask_for_its_children(tmp_path: pathlib.Path) -> None:
    """It learns then how a worker has ended, and not the parent; that it has is enough."""
    text = HANDLER + (
        "import signal\nsignal.signal(signal.SIGCHLD, lambda *args: os.waitpid(-1, os.WNOHANG))\n"
        "_running.run(handler, ('127.0.0.1', 0), workers=2)"
    )
    with run_program(tmp_path, text) as program:
        port = program.expect_port()
        victim = int(get(port))
        os.kill(victim, signal.SIGKILL)
        program.expect(rf"Worker \d \(process {victim}\) has ended, and is replaced")
        assert len(workers_of(port)) == 2
        program.send(signal.SIGTERM)
        assert program.wait() == 0


def test_workers_that_cannot_work_are_given_up(tmp_path: pathlib.Path) -> None:
    text = HANDLER + (
        "def fail(server): raise LookupError('no database')\n"
        "_workers._BACK_OFF = 0.001\n"
        "_running.run(handler, ('127.0.0.1', 0), workers=2, on_start=fail)\nprint('over')"
    )
    with run_program(tmp_path, text) as program:
        program.expect(r"ERROR pants.web: Worker \d has ended 5 times in a row, within 5 seconds of its start")
        assert program.wait() == 1
        assert program.output() == ""
        assert 5 <= program.errors.count("LookupError: no database") <= 10
        assert "Worker 0 failed" in program.errors


def test_one_that_cannot_be_forked_is_tried_again(tmp_path: pathlib.Path) -> None:
    text = HANDLER + (
        "fork = os.fork\n"
        "failures = [1, 2]\n"
        "def fail():\n"
        "    if failures.pop():\n"
        "        os.fork = fork\n"
        "    raise BlockingIOError(11, 'no process left')\n"
        "os.fork = fail\n"
        "_running.run(handler, ('127.0.0.1', 0), workers=2)"
    )
    with run_program(tmp_path, text) as program:
        program.expect("ERROR pants.web: A worker could not be forked: .*no process left")
        assert len(workers_of(program.expect_port())) == 2
        program.send(signal.SIGTERM)
        assert program.wait() == 0


# --- What can be shared, and what not ---------------------------------------------------------------------------------


def test_each_has_an_engine_of_its_own(tmp_path: pathlib.Path) -> None:
    """The one that the program has got hold of works in all of them; on_start is the place for timers."""
    text = """
import os
from pants import Engine
from pants.web import Application
app = Application()
engine = Engine.instance()
ticks = []

def start(server):
    assert server.engine is engine is Engine.instance()
    engine.cycle(0.01, ticks.append, os.getpid())

@app.route("/")
def index(request):
    request.auto_finish = False
    engine.defer(0.05, lambda: request.send_response(" ".join(map(str, {os.getpid(), *ticks}))))

app.run(("127.0.0.1", 0), workers=2, on_start=start)
"""
    with run_program(tmp_path, text) as program:
        workers = workers_of(program.expect_port())
        assert len(workers) == 2
        program.send(signal.SIGTERM)
        assert program.wait() == 0


def busy_timer(engine: Engine) -> None:
    engine.defer(100, print)


def busy_loop(engine: Engine) -> None:
    engine.loop(print)


def busy_signal(engine: Engine) -> None:
    engine.add_signal_handler(signal.SIGUSR1, print)


@pytest.mark.parametrize("occupy", [busy_timer, busy_loop, busy_signal])
def test_an_engine_in_use_cannot_be_shared(occupy: Callable[[Engine], None]) -> None:
    occupy(Engine.instance())
    with pytest.raises(RuntimeError, match="make them in a function that is given as on_start"):
        Application().run(ANY, workers=2)


def test_an_engine_that_runs_cannot_be_shared() -> None:
    engine = Engine.instance()
    errors: list[str] = []

    def run() -> None:
        try:
            Application().run(ANY, workers=2)
        except RuntimeError as error:
            errors.append(str(error))
        engine.stop()

    engine.defer(0, run)
    engine.start()
    assert errors == ["The engine is running already"]


def test_threads_do_not_come_along(expect_log: Callable[[str], None], monkeypatch: pytest.MonkeyPatch) -> None:
    expect_log("will not have the threads that are running: reporter")
    monkeypatch.setattr(_workers._Parent, "run", lambda self: None)
    done = threading.Event()
    thread = threading.Thread(target=done.wait, name="reporter")
    thread.start()
    _running.run(lambda request: None, ANY, workers=2)
    done.set()
    thread.join()


def test_a_port_that_another_program_shares_is_taken() -> None:
    """It would get half of the connections else, if it sets SO_REUSEPORT too."""
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, True)
        other.bind(ANY)
        other.listen()
        with pytest.raises(OSError, match=r"cannot listen on .*in use"):
            _running.run(lambda request: None, other.getsockname(), workers=2)


def test_a_port_can_be_shared_on_purpose(monkeypatch: pytest.MonkeyPatch) -> None:
    ports: list[Any] = []
    monkeypatch.setattr(
        _workers._Parent,
        "run",
        lambda self: ports.extend(place.sockets[0].getsockname() for place in self._places),
    )
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, True)
        other.bind(ANY)
        other.listen()
        _running.run(lambda request: None, other.getsockname(), workers=2, reuse_port=True)
        assert ports == [other.getsockname()] * 2


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have this option always")
def test_without_so_reuseport_one_socket_is_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    sockets: list[Any] = []
    monkeypatch.delattr(socket, "SO_REUSEPORT")
    monkeypatch.setattr(
        _workers._Parent, "run", lambda self: sockets.extend(place.sockets[0] for place in self._places)
    )
    _running.run(lambda request: None, ANY, workers=2)
    assert len(sockets) == 2
    assert sockets[0] is sockets[1]


@pytest.mark.parametrize("options, port", [({}, "80"), ({"ssl_options": "certificate"}, "443")])
def test_the_usual_port(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path, options: Any, port: str) -> None:
    def parse(address: Any) -> None:
        raise LookupError(f"port {address}")

    if options:
        trustme.CA().issue_cert("a.test").private_key_and_cert_chain_pem.write_to_path(tmp_path / "a.pem")
        options = {"ssl_options": {"certfile": tmp_path / "a.pem"}}
    monkeypatch.setattr("pants._address.parse", parse)
    with pytest.raises(LookupError, match=f"port {port}$"):
        _running.run(lambda request: None, workers=2, **options)


def test_a_certain_port(tmp_path: pathlib.Path) -> None:
    with socket.socket() as probe:
        probe.bind(ANY)
        port = probe.getsockname()[1]
    with run_program(tmp_path, HANDLER + f"_running.run(handler, {port}, workers=2)") as program:
        assert program.expect(r"Serving http://localhost:(\d+)/ with 2 workers")[1] == str(port)
        assert len(workers_of(port)) == 2
        program.send(signal.SIGTERM)
        assert program.wait() == 0


def test_clients_that_a_proxy_tells(tmp_path: pathlib.Path) -> None:
    """What is handed over has not been read yet."""

    def process_of(port: int) -> str:
        with socket.create_connection(("127.0.0.1", port), DEADLINE) as sock:
            sock.sendall(b"PROXY TCP4 192.0.2.1 192.0.2.9 4000 80\r\n")
            return ask(sock, "/process")

    text = HANDLER + (
        "def tell(request):\n"
        "    request.send_response(str(os.getpid()) if request.path == '/process' else request.remote_ip)\n"
        "_running.run(tell, ('127.0.0.1', 0), workers=2, proxy_protocol=True)"
    )
    with run_program(tmp_path, text) as program, contextlib.ExitStack() as stack:
        port = program.expect_port()
        for number in range(1, 9):
            sock = stack.enter_context(socket.create_connection(("127.0.0.1", port), DEADLINE))
            sock.sendall(b"PROXY TCP4 192.0.2.%d 192.0.2.9 4000 80\r\n" % number)
            assert ask(sock) == f"192.0.2.{number}"
        stack.close()
        probes = [socket.create_connection(("127.0.0.1", port), DEADLINE) for _ in range(20)]
        for sock in probes:  # it only asks whether there is somebody
            sock.close()
        seen = {process_of(port) for _ in range(20)}
        assert len(seen) == 2  # neither is held to be busy with what has gone
        program.send(signal.SIGTERM)
        assert program.wait() == 0
