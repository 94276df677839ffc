"""`Application.run` in one process: how it ends, what signals do, what it tells, what it refuses."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import pathlib
import pty
import re
import signal
import socket
import sys
import termios
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import trustme

from pants import Engine
from pants.http import AccessLog, HTTPRequest, HTTPServer
from pants.web import Application, _console, _running, _workers
from tests.web.running_support import (
    DEADLINE,
    HANDLER,
    Program,
    asking,
    certificate_of,
    connects,
    get,
    run_program,
    wait_until,
)

ANY = ("127.0.0.1", 0)
RUN = HANDLER + "_running.run(handler, ('127.0.0.1', 0), **dict(arg.split('=') for arg in sys.argv[1:]))\nprint('over')"


def answer(request: HTTPRequest) -> None:
    request.send_response("Hello")


@contextlib.contextmanager
def plain_stderr(stream: Any = None) -> Iterator[io.StringIO]:
    """Standard error is a file, and no logging is configured, for which the fixtures of tests would pass."""
    with pytest.MonkeyPatch.context() as patch:
        stream = io.StringIO() if stream is None else stream
        patch.setattr(sys, "stderr", stream)
        patch.setattr(logging.getLogger("pants"), "handlers", [])
        patch.setattr(logging.getLogger(), "handlers", [])
        yield stream


# --- The end ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_once_requests_are_answered(tmp_path: pathlib.Path, signum: int) -> None:
    with run_program(tmp_path, RUN) as program:
        port = program.expect_port()
        with asking(port, "/held") as get_answer:
            program.expect("held")
            program.send(signum)
            wait_until(lambda: not connects(port))
            program.expect("Waiting for a connection")
            (tmp_path / "release").touch()
            assert get_answer() == f"released {program.process.pid}"
        assert program.wait() == 0
        assert program.output() == "over\n"
        assert "Traceback" not in program.errors


def test_a_second_signal_ends_it_at_once(tmp_path: pathlib.Path) -> None:
    with run_program(tmp_path, RUN) as program:
        port = program.expect_port()
        with asking(port, "/held") as get_answer:
            program.expect("held")
            program.send(signal.SIGINT)
            wait_until(lambda: not connects(port))
            program.send(signal.SIGTERM)
            with pytest.raises(OSError):
                get_answer()
        assert program.wait() == 0
        assert program.output() == "over\n"
        assert "Traceback" not in program.errors


def test_signals_interrupt_a_handler_that_holds_up_the_loop(tmp_path: pathlib.Path) -> None:
    with run_program(tmp_path, RUN) as program:
        with asking(program.expect_port(), "/spin"):
            program.expect("spinning")
            program.send(signal.SIGINT)
            for _ in range(100):  # two that come together are one
                program.send(signal.SIGINT)
                with contextlib.suppress(AssertionError):
                    program.expect("interrupted", 0.3)
                    break
        assert program.wait() == 0
        assert program.output() == "over\n"


def test_requests_that_have_arrived_are_answered() -> None:
    """Also those whose connections have not been accepted yet."""
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(socket.socket()) for _ in range(200)]

        def ask(client: socket.socket, server: Any) -> None:
            client.settimeout(DEADLINE)
            client.connect(server.local_address)
            client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")

        def answer_the_first(request: HTTPRequest) -> None:
            if request.connection.server.counters.connections == 1:
                for client in clients[1:]:
                    ask(client, request.connection.server)
                signal.raise_signal(signal.SIGTERM)
            request.send_response("Hello")

        _running.run(answer_the_first, ANY, on_start=lambda server: ask(clients[0], server))
        answers = [client.recv(65536) for client in clients]
    assert all(text.startswith(b"HTTP/1.1 200 ") and b"\r\nConnection: close\r\n" in text for text in answers[1:])


def test_the_grace_is_limited() -> None:
    held: list[HTTPRequest] = []
    engine = Engine.instance()

    def hold(request: HTTPRequest) -> None:
        held.append(request)
        signal.raise_signal(signal.SIGTERM)

    def ask(server: HTTPServer) -> None:
        client.connect(server.local_address)
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")

    with socket.socket() as client:
        client.settimeout(DEADLINE)
        _running.run(hold, ANY, grace=0, on_start=ask)
        assert client.recv(1) == b""
    assert len(held) == 1
    assert not engine.closed


def test_it_ends_when_the_engine_stops() -> None:
    """Manual: "Application.run"; the code behind it goes on."""
    engine = Engine()
    engine.defer(0.01, engine.stop)
    servers: list[HTTPServer] = []
    _running.run(answer, ANY, engine=engine, on_start=servers.append)
    assert [server.closed for server in servers] == [True]
    assert servers[0].engine is engine
    engine.close()


def test_in_another_thread_signals_are_left_alone() -> None:
    engine = Engine()
    before = [signal.getsignal(signum) for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    began = threading.Event()
    thread = threading.Thread(
        target=_running.run, args=(answer, ANY, None, engine), kwargs={"on_start": lambda _server: began.set()}
    )
    thread.start()
    assert began.wait(DEADLINE)
    assert [signal.getsignal(signum) for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == before
    wait_until(lambda: engine.thread is not None)
    engine.call_from_thread(engine.stop)
    thread.join(DEADLINE)
    assert not thread.is_alive()
    engine.close()


def test_handlers_are_as_they_were_afterwards() -> None:
    engine = Engine.instance()
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(signum) for signum in signals]
    during: list[Any] = []
    engine.defer(0.01, lambda: during.extend(signal.getsignal(signum) for signum in signals))
    engine.defer(0.01, signal.raise_signal, signal.SIGTERM)
    _running.run(answer, ANY)
    assert len(during) == 3
    assert not set(map(id, during)) & set(map(id, before))
    assert [signal.getsignal(signum) for signum in signals] == before


def test_a_handler_of_the_program_is_left_alone() -> None:
    engine = Engine.instance()
    calls: list[str] = []
    engine.add_signal_handler(signal.SIGTERM, calls.append, "SIGTERM")
    engine.add_signal_handler(signal.SIGHUP, calls.append, "SIGHUP")
    engine.defer(0.01, signal.raise_signal, signal.SIGTERM)
    engine.defer(0.02, signal.raise_signal, signal.SIGHUP)
    engine.defer(0.03, signal.raise_signal, signal.SIGINT)
    _running.run(answer, ANY)
    assert calls == ["SIGTERM", "SIGHUP"]


def test_what_is_ignored_stays_so() -> None:
    """SIGINT, as in what a shell script starts in the background; SIGHUP under nohup is for certificates."""
    engine = Engine.instance()
    before = {signum: signal.signal(signum, signal.SIG_IGN) for signum in (signal.SIGINT, signal.SIGHUP)}
    during: list[Any] = []
    engine.defer(0.01, lambda: during.extend(map(signal.getsignal, before)))
    engine.defer(0.02, signal.raise_signal, signal.SIGTERM)
    try:
        _running.run(answer, ANY)
        assert during[0] is signal.SIG_IGN
        assert callable(during[1])
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


def test_what_is_no_exception_leaves_it() -> None:
    engine = Engine.instance()
    servers: list[HTTPServer] = []

    def fail() -> None:
        raise SystemExit(3)

    engine.defer(0, fail)
    with pytest.raises(SystemExit):
        _running.run(answer, ANY, on_start=servers.append)
    assert servers[0].closed


def test_the_engine_is_running_already() -> None:
    engine = Engine.instance()
    errors: list[Exception] = []

    def run_again() -> None:
        try:
            _running.run(answer, ANY)
        except RuntimeError as error:
            errors.append(error)
        engine.stop()

    engine.defer(0, run_again)
    engine.start()
    assert "running already" in str(errors[0])


# --- SIGHUP -----------------------------------------------------------------------------------------------------------


def write_certificate(directory: pathlib.Path) -> None:
    trustme.CA().issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(directory / "site.pem")


@pytest.mark.parametrize("workers", [1, 2])
def test_sighup_reads_the_certificate_again(tmp_path: pathlib.Path, workers: int) -> None:
    write_certificate(tmp_path)
    text = HANDLER + f"_running.run(handler, ('127.0.0.1', 0), {{'certfile': 'site.pem'}}, workers={workers})"
    with run_program(tmp_path, text) as program:
        port = int(program.expect(r"Serving https://127.0.0.1:(\d+)/")[1])
        first = certificate_of(port)
        write_certificate(tmp_path)
        program.send(signal.SIGHUP)
        for _ in range(1 if workers == 1 else workers + 1):  # each of them, and the parent
            program.expect("INFO pants.web: The certificate has been read again")
        second = certificate_of(port)
        assert second != first
        (tmp_path / "site.pem").write_text("nothing of use")
        program.send(signal.SIGHUP)
        program.expect("ERROR pants.web: The certificate could not be read again, .*site.pem")
        assert certificate_of(port) == second
        program.send(signal.SIGTERM)
        assert program.wait() == 0
        assert program.errors.count("ERROR") == 1
        assert "Traceback" not in program.errors


def test_sighup_without_tls_means_nothing(tmp_path: pathlib.Path) -> None:
    with run_program(tmp_path, RUN) as program:
        port = program.expect_port()
        program.send(signal.SIGHUP)
        program.expect("SIGHUP is for reading the certificate again; this server has no TLS")
        assert get(port) == str(program.process.pid)
        program.send(signal.SIGTERM)
        assert program.wait() == 0


def test_an_ssl_context_does_not_know_its_files(tmp_path: pathlib.Path, expect_log: Callable[[str], None]) -> None:
    import ssl

    expect_log("The certificate could not be read again, .* SSLContext")
    write_certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "site.pem")
    engine = Engine.instance()
    engine.defer(0.01, signal.raise_signal, signal.SIGHUP)
    engine.defer(0.02, signal.raise_signal, signal.SIGTERM)
    _running.run(answer, ANY, context)


@pytest.mark.parametrize("workers", [1, 2])
def test_it_ends_with_its_terminal(tmp_path: pathlib.Path, workers: int) -> None:
    """Whoever closes the window of a terminal finds the port free afterwards."""
    master, slave = pty.openpty()
    code = f"import termios, fcntl; fcntl.ioctl(0, {termios.TIOCSCTTY}, 0); exec(open('program.py').read())"
    (tmp_path / "program.py").write_text(HANDLER + f"_running.run(handler, ('127.0.0.1', 0), workers={workers})")
    with Program("-c", code, directory=tmp_path, stdin=slave) as program:
        os.close(slave)
        port = program.expect_port()
        program.send(signal.SIGHUP)  # somebody's: the terminal is there
        program.expect("no TLS")
        os.close(master)
        assert program.wait() == 0
        assert not connects(port)


# --- What it tells ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address, banner",
    [
        (("0.0.0.0", 0), r"Serving http://localhost:\d+/ - Ctrl-C ends it\n"),
        (("::1", 0), r"Serving http://\[::1\]:\d+/ - Ctrl-C ends it\n"),
        ("web", "Serving http on 'web' - Ctrl-C ends it\n"),
    ],
)
def test_the_banner(tmp_path: pathlib.Path, address: Any, banner: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Engine.instance().defer(0, Engine.instance().stop)
    with plain_stderr() as stderr:
        _running.run(answer, address)
    assert re.fullmatch(banner, stderr.getvalue())


def serve_once(**options: Any) -> None:
    """Run an application, and ask it once."""

    def ask(server: HTTPServer) -> None:
        client.connect(server.local_address)
        client.sendall(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n")
        client.shutdown(socket.SHUT_WR)

    def get(request: HTTPRequest) -> str:
        signal.raise_signal(signal.SIGTERM)
        return "Hello"

    app = Application()
    app.basic_route("/a", func=get)
    with socket.socket() as client:
        client.settimeout(DEADLINE)
        app.run(ANY, on_start=ask, **options)
        while client.recv(65536):
            pass


LINE = r'127\.0\.0\.1 - - \[.*\] "GET /a HTTP/1\.1" 200 5'


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    "options, expected",
    [
        ({}, ""),
        ({"access_log": None}, ""),
        ({"access_log": False}, ""),
        ({"access_log": True}, LINE + r" \d+us\n"),
        ({"access_log": "%m %U"}, "GET /a\n"),
        ({"access_log": AccessLog("common")}, LINE + "\n"),
    ],
)
def test_the_access_log(options: dict[str, Any], expected: str) -> None:
    with plain_stderr() as stderr:
        serve_once(**options)
    banner, lines = stderr.getvalue().split("\n", 1)
    assert banner.startswith("Serving")
    assert re.fullmatch(expected, lines)


def test_the_access_log_is_written_where_somebody_sees_it() -> None:
    with plain_stderr(Terminal()) as stderr:
        serve_once()
    assert re.search(LINE, stderr.getvalue())


def test_logging_that_is_configured_is_left_alone() -> None:
    records: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: records.append(record.getMessage())
    logger = logging.getLogger("pants")
    with plain_stderr() as stderr:
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        try:
            serve_once(access_log="%U")
        finally:
            logger.setLevel(logging.NOTSET)
        assert logger.handlers == [handler]
    assert records == ["/a"]
    assert stderr.getvalue().count("\n") == 1


def test_logging_is_as_it_was_afterwards() -> None:
    with plain_stderr():
        serve_once(access_log=True)
        for name in ("pants", "pants.http.access"):
            logger = logging.getLogger(name)
            assert (logger.handlers, logger.level, logger.propagate) == ([], logging.NOTSET, True)


def test_there_may_be_no_standard_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    serve_once(access_log=True)


def test_standard_error_may_be_closed() -> None:
    with plain_stderr() as stderr:
        stderr.close()
        serve_once(access_log=_console.ConsoleLog())


# --- Arguments --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options, error, message",
    [
        ({"workers": -1}, ValueError, "0 for as many as there are processors"),
        ({"workers": "2"}, TypeError, "workers is a number of processes, not '2'"),
        ({"workers": True}, TypeError, "workers is a number"),
        ({"grace": -1}, ValueError, "grace is 0 or more seconds"),
        ({"grace": float("nan")}, ValueError, "grace is 0 or more seconds"),
        ({"grace": "1"}, TypeError, "grace is a number of seconds or None"),
        ({"reload": "templates"}, TypeError, "reload is True, False or a list of paths"),
        ({"reload": 3}, TypeError, "reload is True, False or a list of paths"),
        ({"reload": ["/no/such/folder"]}, ValueError, "there is no such file or directory"),
        ({"reload": True, "engine": "own"}, ValueError, "engine= is for one process"),
        ({"workers": 2, "engine": "own"}, ValueError, "engine= is for one process"),
        ({"reload": True, "socket": "own"}, ValueError, "socket= is this process's own"),
        ({"on_start": 3}, TypeError, "on_start is a function"),
        ({"access_log": 3}, TypeError, "access_log is a format"),
        ({"access_log": "%!"}, ValueError, "does not know"),
        ({"max_request": "much"}, TypeError, "max_request"),
        ({"workers": 2, "max_request": "much"}, TypeError, "max_request"),
        ({"no_such_option": 1}, TypeError, "no_such_option"),
    ],
)
def test_what_is_wrong_raises(options: dict[str, Any], error: type[Exception], message: str) -> None:
    if options.get("engine") == "own":
        options = {**options, "engine": Engine.instance()}
    with pytest.raises(error, match=message):
        Application().run(ANY, **options)


@pytest.mark.parametrize("options", [{"workers": 2}, {"reload": True}])
def test_what_needs_the_main_thread(options: dict[str, Any]) -> None:
    errors: list[str] = []

    def run() -> None:
        try:
            _running.run(answer, ANY, **options)
        except RuntimeError as error:
            errors.append(str(error))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(DEADLINE)
    assert errors == ["with workers or reload, run() is called in the main thread, which signals reach"]


@pytest.mark.parametrize("workers", [0, None])
def test_as_many_workers_as_there_are_processors(monkeypatch: pytest.MonkeyPatch, workers: int | None) -> None:
    asked: list[int] = []
    monkeypatch.setattr(_workers, "run", lambda plan, count, link: asked.append(count))
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 2, 5}, raising=False)
    _running.run(answer, ANY, workers=workers)
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 7)
    _running.run(answer, ANY, workers=workers)
    assert asked == [3, 7]


@contextlib.contextmanager
def listener() -> Iterator[socket.socket]:
    with socket.create_server(ANY) as server:
        yield server


@pytest.mark.parametrize("options", [{}, {"workers": 2}, {"reload": True}])
def test_a_port_that_is_taken_raises(options: dict[str, Any]) -> None:
    with listener() as taken, pytest.raises(OSError, match=r"cannot listen on .*in use"):
        _running.run(answer, taken.getsockname(), **options)


def test_what_on_start_raises_leaves_it() -> None:
    servers: list[HTTPServer] = []

    def fail(server: HTTPServer) -> None:
        servers.append(server)
        raise LookupError

    with pytest.raises(LookupError):
        _running.run(answer, ANY, on_start=fail)
    assert servers[0].closed


def test_it_can_be_left_out_while_a_module_is_imported() -> None:
    with _running.left_out() as runs:
        _running.run(answer, ANY)
        Application().run("/no/such/folder/socket")
    assert len(runs) == 2
    assert runs[0] is answer
