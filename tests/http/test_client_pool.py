"""The connections of the HTTP client: used again, limited, stale; given up, waited for, timed out, made again."""

from __future__ import annotations

import contextlib
import gc
import gzip
import itertools
import os
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from email.utils import formatdate
from typing import Any

import pytest

from pants import Engine
from pants.http import HTTPClient
from pants.http.client import (
    CertificateError,
    ClientLimits,
    ConnectionFailed,
    Exchange,
    HTTPClientException,
    HTTPResponse,
    MalformedResponse,
    RequestCancelled,
    RequestClosed,
    RequestTimedOut,
    Retries,
    Timeout,
)
from pants.testing import run_until
from tests.http.client_support import SOON, run_until_closed, sockets_to
from tests.http.peers_support import DEADLINE
from tests.http.rogue_support import Caller, RogueServer, Script, chunked, head, replying, sending
from tests.http.ws_client_support import certificates, status

OK = status("200 OK", content=b"fine")
BUSY = status("503 Service Unavailable", content=b"busy")
IDEMPOTENT = ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE"]


def wait_for_input(server: RogueServer, go_on: threading.Event) -> None:
    """Wait, without the engine, until the client's kernel has got something, if only the connection's end."""
    (number,) = sockets_to(server.port)
    go_on.set()
    poll = select.poll()
    poll.register(number, select.POLLIN)
    assert poll.poll(DEADLINE * 1000)


def has_input(server: RogueServer) -> bool:
    """Whether there is something that the client has not looked at."""
    numbers = sockets_to(server.port)
    return bool(numbers) and bool(select.select(numbers, [], [], 0)[0])


class Gate:
    """Answers that wait until they are let go: to be used as a script."""

    def __init__(self, answer: bytes = OK) -> None:
        self.answer = answer
        self._tickets = threading.Semaphore(0)

    def __call__(self, caller: Caller) -> None:
        while True:
            caller.read_request()
            assert self._tickets.acquire(timeout=DEADLINE)
            caller.send(self.answer)

    def open(self, count: int = 1) -> None:
        self._tickets.release(count)


def silent(caller: Caller) -> None:
    """Never answer."""
    caller.read_request(body=False)
    caller.server.requests[-1].body = caller.read_rest()


class Outcome:
    """The hooks of a request, which write down what they are told."""

    def __init__(self) -> None:
        self.responses: list[HTTPResponse] = []
        self.errors: list[Exception] = []

    @property
    def hooks(self) -> dict[str, Any]:
        return {"on_response": self.responses.append, "on_error": lambda _, error: self.errors.append(error)}

    @property
    def ends(self) -> int:
        return len(self.responses) + len(self.errors)

    @property
    def error(self) -> Exception:
        assert not self.responses
        (error,) = self.errors
        return error


@pytest.fixture
def client() -> HTTPClient:
    return HTTPClient()


@pytest.fixture
def outcome() -> Outcome:
    return Outcome()


def check_usable(client: HTTPClient, server: RogueServer) -> None:
    assert client.get(server.url).wait(DEADLINE).content == b"fine"


# --- Used again -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("secure", [False, True])
@pytest.mark.parametrize(
    "answer", [OK, chunked(b"fi", b"ne"), b"HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\n" + OK[17:]]
)
def test_a_connection_is_used_again(answer: bytes, secure: bool) -> None:
    with RogueServer(replying(answer), context=certificates().good if secure else None) as server:
        client = HTTPClient(ssl_options={"ca_certs": certificates().ca})
        for method in ("GET", "POST", "PUT", "DELETE", "HEAD"):
            if method != "HEAD":
                assert client.request(method, server.url).wait(DEADLINE).content == b"fine"
        assert server.accepted == 1
        assert "Connection" not in server.requests[0]


@pytest.mark.parametrize(
    "answer",
    [
        status("200 OK", "Connection: close", content=b"fine"),
        status("200 OK", "Connection: Close", content=b"fine"),
        status("200 OK", "Connection: keep-alive, close", content=b"fine"),
        status("200 OK", "Connection: spam", "Connection: close", content=b"fine"),
        b"HTTP/1.0 200 OK\r\n" + OK[17:],
        b"HTTP/1.0 200 OK\r\nConnection: close\r\n" + OK[17:],
        chunked(b"fine", fields=["Connection: close"]),
    ],
)
def test_a_connection_that_the_server_wants_closed_is_closed(answer: bytes, client: HTTPClient) -> None:
    # RFC 9112 §9.3, §9.6. The server leaves that to the client here.
    with RogueServer(replying(answer)) as server:
        check_usable(client, server)
        run_until_closed(server)
        check_usable(client, server)
        assert [request.connection for request in server.requests] == [0, 1]


@pytest.mark.parametrize("where", ["client", "session", "request"])
def test_without_keep_alive_each_request_has_a_connection(where: str) -> None:
    with RogueServer(replying(OK)) as server:
        client = HTTPClient(keep_alive=False) if where == "client" else HTTPClient()
        session = client.session(keep_alive=False) if where == "session" else client.session()
        kwargs = {"keep_alive": False} if where == "request" else {}
        for _ in range(2):
            assert session.get(server.url, **kwargs).wait(DEADLINE).content == b"fine"
            run_until_closed(server)
        assert server.accepted == 2
        assert all(request["Connection"] == "close" for request in server.requests)


def test_several_at_once_have_a_connection_each_and_keep_them(client: HTTPClient) -> None:
    gate = Gate()
    with RogueServer(gate) as server:
        for _ in range(2):
            exchanges = [client.get(server.url) for _ in range(5)]
            count = len(server.requests) + 5
            run_until(lambda: len(server.requests) == count, DEADLINE)  # noqa: B023
            gate.open(5)
            assert [exchange.wait(DEADLINE).content for exchange in exchanges] == [b"fine"] * 5
        assert server.accepted == 5


def test_beyond_the_limit_requests_wait_and_are_served_in_order() -> None:
    gate = Gate()
    with RogueServer(gate) as server:
        client = HTTPClient(max_connections=2)
        exchanges = [client.get(f"{server.url}{number}") for number in range(8)]
        for done in range(7):
            run_until(lambda: len(server.requests) == min(done + 2, 8), DEADLINE)  # noqa: B023
            client.engine.poll(0)
            assert server.accepted == 2
            gate.open()
            run_until(lambda: sum(exchange.done for exchange in exchanges) == done + 1, DEADLINE)  # noqa: B023
        gate.open()
        exchanges[-1].wait(DEADLINE)
        # Of the two that are under way at a time either may be answered; but they are begun one after the other.
        begun = [int(request.target[1:]) for request in server.requests]
        assert sorted(begun[:2]) == [0, 1]
        assert begun[2:] == list(range(2, 8))
        assert server.accepted == 2


def test_the_limit_holds_for_connections_that_are_not_used_again_too() -> None:
    with RogueServer(replying(status("200 OK", "Connection: close", content=b"fine"))) as server:
        client = HTTPClient(max_connections=1)
        exchanges = [client.get(f"{server.url}{number}") for number in range(5)]
        for exchange in exchanges:
            exchange.wait(DEADLINE)
        assert [request.target for request in server.requests] == [f"/{number}" for number in range(5)]
        assert server.accepted == 5


def test_the_limit_is_one_for_each_origin() -> None:
    gate = Gate()
    with RogueServer(gate) as one, RogueServer(gate) as two:
        client = HTTPClient(max_connections=1)
        exchanges = [client.get(server.url) for server in (one, two)]
        run_until(lambda: one.requests and two.requests, DEADLINE)
        gate.open(2)
        for exchange in exchanges:
            exchange.wait(DEADLINE)


def test_failures_give_way_to_those_who_wait(outcome: Outcome) -> None:
    with RogueServer(sending(), sending(b"rubbish\r\n\r\n"), replying(OK)) as server:
        client = HTTPClient(max_connections=1)
        for _ in range(2):
            client.get(server.url, **outcome.hooks)
        assert client.get(server.url).wait(DEADLINE).content == b"fine"
        assert [type(error) for error in outcome.errors] == [RequestClosed, MalformedResponse]


def test_connections_that_cannot_be_made_give_way_to_those_who_wait(outcome: Outcome) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # nobody listens
        client = HTTPClient(max_connections=1)
        for _ in range(3):
            client.get(f"http://127.0.0.1:{taken.getsockname()[1]}/", **outcome.hooks)
        run_until(lambda: outcome.ends == 3, DEADLINE)
        assert [type(error) for error in outcome.errors] == [ConnectionFailed] * 3


@pytest.mark.parametrize("timeout", [0.1, 0.3, 30, None])
def test_an_idle_connection_is_closed_after_a_while(timeout: float | None) -> None:
    with RogueServer(replying(OK)) as server:
        client = HTTPClient(limits=ClientLimits(keep_alive_timeout=0.3))
        client.get(server.url, timeout=Timeout(read=timeout, connect=timeout or 30)).wait(DEADLINE)
        began = time.monotonic()
        client.engine.poll(0)
        assert sockets_to(server.port)
        run_until(lambda: not sockets_to(server.port), 5)
        assert time.monotonic() - began > 0.2
        check_usable(client, server)
        assert server.accepted == 2


def test_an_idle_connection_is_not_closed_before(client: HTTPClient) -> None:
    with RogueServer(replying(OK)) as server:
        client.get(server.url, timeout=0.1).wait(DEADLINE)
        end = time.monotonic() + 0.4
        run_until(lambda: time.monotonic() > end, DEADLINE)
        check_usable(client, server)
        assert server.accepted == 1


def test_idle_connections_can_be_closed(client: HTTPClient) -> None:
    gate = Gate()
    with RogueServer(replying(OK)) as server, RogueServer(gate) as other:
        check_usable(client, server)
        exchange = client.get(other.url)
        run_until(lambda: other.requests, DEADLINE)
        client.close_idle()
        run_until_closed(server)
        gate.open()
        assert exchange.wait(DEADLINE).content == b"fine"
        check_usable(client, server)


def test_sessions_with_other_settings_of_tls_share_no_connections() -> None:
    with RogueServer(replying(OK), context=certificates().good) as server:
        client = HTTPClient(ssl_options={"ca_certs": certificates().ca})
        sessions = [
            client.session(),
            client.session(ssl_options=certificates().client_context()),
            client.session(ssl_options=certificates().client_context()),
            client.session(verify_ssl=False),
            client.session(ssl_options={"ca_certs": certificates().ca, "certfile": certificates().client}),
        ]
        for _ in range(2):
            for session in sessions:
                assert session.get(server.url).wait(DEADLINE).content == b"fine"
        connections = [request.connection for request in server.requests]
        assert connections[: len(sessions)] == connections[len(sessions) :] == list(range(len(sessions)))


def test_sessions_with_the_same_settings_share_them(client: HTTPClient) -> None:
    with RogueServer(replying(OK), context=certificates().good) as server:
        client = HTTPClient(ssl_options={"ca_certs": certificates().ca})
        for session in (client.session(), client.session(headers={"A": "b"}), client.session().session(timeout=3)):
            session.get(server.url).wait(DEADLINE)
        assert server.accepted == 1


def test_a_connection_that_was_not_verified_is_not_used_by_who_wants_it_verified(client: HTTPClient) -> None:
    with RogueServer(replying(OK), context=certificates().unknown) as server:
        assert client.get(server.url, verify_ssl=False).wait(DEADLINE).content == b"fine"
        with pytest.raises(CertificateError):
            client.get(server.url).wait(DEADLINE)
        assert len(server.requests) == 1


# --- Stale connections ------------------------------------------------------------------------------------------


def going(*, reset: bool = False) -> Script:
    """Answer once, read another request, and go."""

    def script(caller: Caller) -> None:
        caller.read_request()
        caller.send(OK)
        caller.read_request()
        if reset:
            caller.reset()

    return script


@pytest.mark.parametrize("method", [*IDEMPOTENT, "POST", "PATCH", "SPAM"])
def test_a_connection_whose_end_was_seen_is_not_used(method: str, client: HTTPClient) -> None:
    with RogueServer(replying(OK, close=True), replying(OK if method != "HEAD" else head("200 OK"))) as server:
        check_usable(client, server)
        run_until_closed(server)
        assert client.request(method, server.url).wait(DEADLINE).status_code == 200
        assert [request.method for request in server.requests] == ["GET", method]


def ending(go_on: threading.Event, *, reset: bool) -> Script:
    """Answer once, and end the connection when told to."""

    def script(caller: Caller) -> None:
        caller.read_request()
        caller.send(OK)
        assert go_on.wait(DEADLINE)
        if reset:
            caller.reset()

    return script


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("method", [*IDEMPOTENT, "POST", "PATCH", "SPAM"])
def test_a_connection_whose_end_has_arrived_is_not_used_for_what_cannot_be_sent_twice(
    method: str, reset: bool, client: HTTPClient
) -> None:
    go_on = threading.Event()
    answer = OK if method != "HEAD" else head("200 OK")
    with RogueServer(ending(go_on, reset=reset), replying(answer)) as server:
        check_usable(client, server)
        wait_for_input(server, go_on)  # the engine does not run, so it has not seen it
        assert client.request(method, server.url).wait(DEADLINE).status_code == 200
        assert [request.method for request in server.requests] == ["GET", method]
        assert server.requests[-1].connection == 1


def test_nor_for_a_body_that_cannot_be_sent_twice(client: HTTPClient) -> None:
    go_on = threading.Event()
    with RogueServer(ending(go_on, reset=False), replying(OK)) as server:
        check_usable(client, server)
        wait_for_input(server, go_on)
        assert client.put(server.url, data=iter([b"spam"])).wait(DEADLINE).content == b"fine"
        assert server.requests[-1].body == b"spam"


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("method", IDEMPOTENT)
def test_what_may_be_sent_twice_is_where_the_connection_was_stale(
    method: str, reset: bool, client: HTTPClient, outcome: Outcome
) -> None:
    # RFC 9110 §9.2.2, RFC 9112 §9.3.1
    with RogueServer(going(reset=reset), replying(OK if method != "HEAD" else head("200 OK"))) as server:
        check_usable(client, server)
        exchange = client.request(method, server.url, **outcome.hooks)
        assert exchange.wait(DEADLINE).status_code == 200
        assert [request.method for request in server.requests] == ["GET", method, method]
        assert [request.connection for request in server.requests] == [0, 0, 1]
        assert outcome.ends == 1
        assert not exchange.history


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("method", ["POST", "PATCH", "SPAM"])
def test_what_may_not_be_sent_twice_is_not(method: str, reset: bool, client: HTTPClient, outcome: Outcome) -> None:
    with RogueServer(going(reset=reset), replying(OK)) as server:
        check_usable(client, server)
        client.request(method, server.url, **outcome.hooks)
        run_until(lambda: outcome.ends, DEADLINE)
        assert isinstance(outcome.error, RequestClosed)
        check_usable(client, server)
        assert [request.method for request in server.requests] == ["GET", method, "GET"]


def test_content_is_sent_again_with_it(client: HTTPClient, tmp_path: Any) -> None:
    (tmp_path / "file").write_bytes(b"spam" * 50_000)

    class Pieces:
        def __iter__(self) -> Iterator[bytes]:
            return iter([b"spam", b" and ", b"eggs"])

    for data in (b"spam", {"a": "b"}, Pieces(), [b"spam", b"eggs"]):
        with RogueServer(going(), replying(OK)) as server:
            check_usable(client, server)
            client.put(server.url, data=data).wait(DEADLINE)
            assert [request.connection for request in server.requests] == [0, 0, 1]
            assert server.requests[1].body == server.requests[2].body != b""
    with RogueServer(going(), replying(OK)) as server, open(tmp_path / "file", "rb") as file:
        check_usable(client, server)
        client.put(server.url, files={"a": file}).wait(DEADLINE)
        assert server.requests[1].body == server.requests[2].body
        assert b"spam" * 50_000 in server.requests[2].body


def test_a_body_from_an_iterator_is_not_sent_again(client: HTTPClient, outcome: Outcome) -> None:
    with RogueServer(going(), replying(OK)) as server:
        check_usable(client, server)
        client.put(server.url, data=iter([b"spam"]), **outcome.hooks)
        run_until(lambda: outcome.ends, DEADLINE)
        assert isinstance(outcome.error, RequestClosed)
        assert len(server.requests) == 2


@pytest.mark.parametrize(
    "part",
    [
        b"H",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        head("100 Continue"),
        head("103 Early Hints") + b"HTTP",
        head("200 OK", "Content-Length: 4"),
        head("200 OK", "Content-Length: 4") + b"fi",
    ],
)
def test_nothing_is_sent_twice_once_part_of_an_answer_has_come(
    part: bytes, client: HTTPClient, outcome: Outcome
) -> None:
    with RogueServer(replying(OK, part, close=True), replying(OK)) as server:
        check_usable(client, server)
        client.get(server.url, **outcome.hooks)
        run_until(lambda: outcome.ends, DEADLINE)
        assert isinstance(outcome.error, RequestClosed)
        assert len(server.requests) == 2


def test_several_stale_connections_one_after_the_other(client: HTTPClient) -> None:
    gate = threading.Barrier(4)

    def script(caller: Caller) -> None:
        caller.read_request()
        gate.wait(DEADLINE)
        caller.send(OK)
        caller.read_request()

    with RogueServer(*[script] * 3, replying(OK)) as server:
        exchanges = [client.get(server.url) for _ in range(3)]
        run_until(lambda: len(server.requests) == 3, DEADLINE)
        gate.wait(DEADLINE)
        for exchange in exchanges:
            exchange.wait(DEADLINE)
        assert client.get(server.url).wait(DEADLINE).content == b"fine"
        assert server.requests[-1].connection == 3
        assert len(server.requests) == 7


def test_a_fresh_connection_that_closes_is_an_error(client: HTTPClient, outcome: Outcome) -> None:
    with RogueServer(sending()) as server:
        client.get(server.url, **outcome.hooks)
        run_until(lambda: outcome.ends, DEADLINE)
        assert isinstance(outcome.error, RequestClosed)
        assert len(server.requests) == 1


# --- Cancelling -------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def full_backlog() -> Iterator[str]:
    """A URL of which the connection is not made, for the kernel answers no more: nobody accepts any."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(3):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"


class Stage:
    """A request that has got to some point and stays there.

    Attributes:
        exchange: The request.
        reached: Whether it has got there.
        port: The port that it went to.
        calls: The hooks that have been called with its end.
    """

    def __init__(self) -> None:
        self.exchange: Exchange
        self.reached: Callable[[], object] = lambda: True
        self.port = 0
        self.calls: list[str] = []

    @property
    def hooks(self) -> dict[str, Any]:
        return {
            "on_response": lambda _: self.calls.append("on_response"),
            "on_error": lambda _, error: self.calls.append(f"on_error: {error!r}"),
        }


def stalled(stage: Stage, answer: bytes) -> tuple[RogueServer, Callable[[], object]]:
    sent = threading.Event()

    def script(caller: Caller) -> None:
        caller.read_request(body=False)
        if answer:
            caller.send(answer)
        sent.set()
        if answer == OK:
            while True:
                caller.read_request()
                caller.send(OK)
        caller.read_rest()

    server = RogueServer(script, replying(OK))
    stage.port = server.port
    return server, lambda: sent.is_set() and not has_input(server)


@contextlib.contextmanager
def at_stage(name: str, client: HTTPClient) -> Iterator[tuple[Stage, RogueServer | None]]:
    """A request at a stage of its life, and its server."""
    stage = Stage()
    with contextlib.ExitStack() as stack:
        if name == "connecting":
            url = stack.enter_context(full_backlog())
            stage.exchange = client.get(url, **stage.hooks)
            rounds = itertools.count()
            stage.reached = lambda: next(rounds) > 3
            yield stage, None
            return
        answers = {
            "in the head": b"HTTP/1.1 200 OK\r\nContent-Len",
            "after a 100": head("100 Continue"),
            "in the content": head("200 OK", "Content-Length: 9") + b"fine",
            "in zipped content": head("200 OK", "Content-Encoding: gzip") + gzip.compress(bytes(10_000))[:20],
            "paused": head("200 OK", "Content-Length: 9") + b"fine",
            "paused at the end": OK,
            "waiting for a retry": BUSY,
            "after the end": OK,
        }
        server, reached = stalled(stage, answers.get(name, b""))
        stack.enter_context(server)
        stage.reached = reached
        kwargs: dict[str, Any] = dict(stage.hooks)
        if name == "queued":
            # Without a time-out: were theirs over first, that of the one that waits might not be soon enough.
            others = [
                client.get(f"{server.url}first", timeout=float("inf"), on_error=lambda *_: None)
                for _ in range(client.max_connections)
            ]
            stage.exchange = client.get(server.url, **kwargs)
            stage.port = 0
            yield stage, server
            for other in others:
                other.cancel()
            return
        if name == "in the handshake":
            stage.exchange = client.get(server.url.replace("http:", "https:"), **kwargs)
            stage.reached = lambda: server.callers
            server._scripts = (lambda caller: caller.read_rest(), *server._scripts[1:])
        elif name == "sending":
            size = 0

            def pieces() -> Iterator[bytes]:
                nonlocal size
                while True:
                    size += 1
                    yield bytes(65536)

            seen: list[int] = []

            def blocked() -> bool:
                seen.append(size)
                return len(seen) > 5 and size > 0 and seen[-1] == seen[-5]

            server._scripts = (wait_for_end, *server._scripts[1:])
            stage.exchange = client.post(server.url, data=pieces(), **kwargs)
            stage.reached = blocked
        else:
            if name.startswith("paused"):
                kwargs["on_data"] = lambda response, _: response.pause_body()
            if name == "waiting for a retry":
                kwargs["retries"] = Retries(count=3, backoff=60, longest=60)
                stage.reached = lambda: server.requests and not sockets_to(server.port)
            stage.exchange = client.get(server.url, **kwargs)
            if name == "after the end":
                stage.reached = lambda: stage.exchange.done
        yield stage, server


def wait_for_end(caller: Caller) -> None:
    """Read nothing, until the connection has ended."""
    poll = select.poll()
    poll.register(caller.sock, getattr(select, "POLLRDHUP", select.POLLHUP))
    poll.poll(DEADLINE * 1000)


STAGES = [
    "connecting",
    "in the handshake",
    "queued",
    "sending",
    "waiting",
    "in the head",
    "after a 100",
    "in the content",
    "in zipped content",
    "paused",
    "paused at the end",
    "waiting for a retry",
]


# There is no connection any more; it is complete; it is closed at last, for the kernel has much to send.
NOT_CLOSED = ("waiting for a retry", "paused at the end", "sending")


@pytest.mark.parametrize("whence", ["outside", "a timer", "a thread"])
@pytest.mark.parametrize("name", STAGES)
def test_a_request_can_be_given_up_at_every_stage(name: str, whence: str) -> None:
    client = HTTPClient(max_connections=1)
    engine = client.engine
    with at_stage(name, client) as (stage, server):
        exchange = stage.exchange
        run_until(stage.reached, DEADLINE)
        assert not exchange.done
        if whence == "outside":
            exchange.cancel()
            assert exchange.done
        elif whence == "a timer":
            engine.defer(0.001, exchange.cancel)
        else:
            thread = threading.Thread(target=exchange.cancel)
            thread.start()
            thread.join(DEADLINE)
        run_until(lambda: exchange.done, DEADLINE)
        assert isinstance(exchange.error, RequestCancelled)
        for _ in range(2):
            with pytest.raises(RequestCancelled):
                exchange.wait(DEADLINE)
            exchange.cancel()
        if stage.port and name not in NOT_CLOSED:
            run_until(lambda: not sockets_to(stage.port), SOON)
        engine.poll(0)
        assert not stage.calls
        if server is not None and name not in ("queued", "in the handshake"):
            check_usable(client, server)
            assert not stage.calls
        assert (name == "queued") == (len(client._exchanges) > 0)


def test_cancelling_what_is_over_does_nothing(client: HTTPClient) -> None:
    with RogueServer(replying(OK)) as server:
        calls: list[object] = []
        exchange = client.get(server.url, on_response=calls.append)
        response = exchange.wait(DEADLINE)
        exchange.cancel()
        thread = threading.Thread(target=exchange.cancel)
        thread.start()
        thread.join(DEADLINE)
        client.engine.poll(0)
        assert exchange.wait() is response
        assert exchange.error is None
        assert calls == [response]
        check_usable(client, server)
        assert server.accepted == 1


def test_a_queued_request_that_is_given_up_leaves_the_others_their_place() -> None:
    gate = Gate()
    with RogueServer(gate) as server:
        client = HTTPClient(max_connections=1)
        exchanges = [client.get(f"{server.url}{number}") for number in range(4)]
        run_until(lambda: server.requests, DEADLINE)
        exchanges[1].cancel()
        gate.open(3)
        exchanges[3].wait(DEADLINE)
        assert [request.target for request in server.requests] == ["/0", "/2", "/3"]
        assert server.accepted == 1


@pytest.mark.parametrize("hook", ["on_headers", "on_progress", "on_data", "on_response"])
def test_a_request_can_be_given_up_in_its_hooks(hook: str, client: HTTPClient) -> None:
    calls: list[str] = []

    def note(name: str) -> Callable[..., None]:
        def called(*_: object) -> None:
            calls.append(name)
            if name == hook:
                exchange.cancel()

        return called

    names = ["on_headers", "on_progress", "on_data", "on_response", "on_error"]
    answer = head("200 OK", "Content-Length: 12") + b"fine"
    script = replying(OK) if hook == "on_response" else sending(answer, b"fine", b"fine", pause=0.01)
    with RogueServer(script, replying(OK)) as server:
        exchange = client.get(server.url, **{name: note(name) for name in names})
        run_until(lambda: exchange.done, DEADLINE)
        told = list(calls)
        assert hook in calls
        if hook != "on_response":
            assert isinstance(exchange.error, RequestCancelled)
            assert calls.count(hook) == 1
            run_until_closed(server)
            assert "on_response" not in calls
        else:
            assert exchange.error is None
        check_usable(client, server)
        assert calls == told
        assert "on_error" not in calls


def test_false_from_on_headers_gives_it_up(client: HTTPClient, outcome: Outcome) -> None:
    with RogueServer(replying(OK)) as server:
        for value in (None, 0, "", (), True):
            assert client.get(server.url, on_headers=lambda _, value=value: value).wait(DEADLINE).content == b"fine"
        with pytest.raises(RequestCancelled):
            client.get(server.url, on_headers=lambda _: False, **outcome.hooks).wait(DEADLINE)
        assert not outcome.ends
        check_usable(client, server)
        assert server.accepted == 2


def test_a_request_can_be_given_up_in_the_hook_of_another(client: HTTPClient) -> None:
    with RogueServer(silent) as waiting, RogueServer(replying(OK)) as server:
        exchange = client.get(waiting.url)
        run_until(lambda: waiting.requests, DEADLINE)
        client.get(server.url, on_response=lambda _: exchange.cancel()).wait(DEADLINE)
        assert exchange.done
        run_until_closed(waiting)


def test_a_request_can_be_given_up_by_the_iterator_of_its_content(client: HTTPClient) -> None:
    def pieces() -> Iterator[bytes]:
        yield b"spam"
        exchange.cancel()
        yield b"eggs"

    with RogueServer(silent, replying(OK)) as server:
        exchange = client.post(server.url, data=pieces())
        run_until(lambda: exchange.done, DEADLINE)
        assert isinstance(exchange.error, RequestCancelled)
        check_usable(client, server)


# --- Waiting ----------------------------------------------------------------------------------------------------


class Running:
    """The engine of a client, running in a thread of its own."""

    def __init__(self) -> None:
        self.engine = Engine()
        self.client = HTTPClient(engine=self.engine)
        self._thread = threading.Thread(target=self.engine.start)

    def __enter__(self) -> HTTPClient:
        started = threading.Event()
        self.engine.callback(started.set)
        self._thread.start()
        assert started.wait(DEADLINE)
        return self.client

    def __exit__(self, *_: object) -> None:
        self.engine.call_from_thread(self.engine.stop)
        self._thread.join(DEADLINE)
        assert not self._thread.is_alive()
        self.engine.close()


def test_requests_from_another_thread() -> None:
    with RogueServer(replying(OK)) as server, Running() as client:
        threads: list[threading.Thread] = []
        contents: list[bytes | None] = []

        def ask() -> None:
            for _ in range(10):  # one after the other
                response = client.post(server.url, data=b"spam").wait(DEADLINE)
                contents.append(response.content)

        for _ in range(5):
            threads.append(threading.Thread(target=ask))
            threads[-1].start()
        for thread in threads:
            thread.join(DEADLINE)
        assert contents == [b"fine"] * 50
        assert server.accepted <= 5
        assert not client._exchanges


def test_hooks_are_called_in_the_thread_of_the_engine() -> None:
    with RogueServer(replying(OK)) as server, Running() as client:
        called: list[int] = []
        client.get(server.url, on_response=lambda _: called.append(threading.get_ident())).wait(DEADLINE)
        client.engine.call_from_thread(lambda: called.append(threading.get_ident()))
        deadline = time.monotonic() + DEADLINE
        while len(called) < 2 and time.monotonic() < deadline:
            time.sleep(0.001)
        assert called[0] == called[1] != threading.get_ident()


def test_waiting_in_another_thread_for_an_error_and_with_a_timeout(client: HTTPClient) -> None:
    with RogueServer(silent, sending()) as server, Running() as client:
        exchange = client.get(server.url)
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            exchange.wait(0.05)
        assert 0.04 < time.monotonic() - began < 5
        assert not exchange.done
        exchange.cancel()
        with pytest.raises(RequestCancelled):
            exchange.wait(DEADLINE)
        exchange = client.get(server.url)
        for _ in range(2):
            with pytest.raises(RequestClosed):
                exchange.wait(DEADLINE)


def test_two_threads_wait_for_one() -> None:
    gate = Gate()
    with RogueServer(gate) as server, Running() as client:
        exchange = client.get(server.url)
        responses: list[HTTPResponse] = []
        threads = [threading.Thread(target=lambda: responses.append(exchange.wait(DEADLINE))) for _ in range(4)]
        for thread in threads:
            thread.start()
        gate.open()
        for thread in threads:
            thread.join(DEADLINE)
        assert len(responses) == 4
        assert len(set(responses)) == 1


def test_waiting_runs_the_engine_where_nobody_else_does(client: HTTPClient) -> None:
    gate = Gate()
    with RogueServer(gate) as server:
        exchange = client.get(server.url)
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            exchange.wait(0.1)
        assert 0.09 < time.monotonic() - began < 5
        with pytest.raises(TimeoutError):
            exchange.wait(0)
        assert not exchange.done
        gate.open()
        response = exchange.wait(DEADLINE)
        assert response.content == b"fine"
        assert exchange.wait(0) is response
        assert exchange.response is response


def test_an_error_that_somebody_waits_for_is_not_logged(client: HTTPClient) -> None:
    with RogueServer(sending()) as server, pytest.raises(RequestClosed):
        client.get(server.url).wait(DEADLINE)


def test_an_error_that_nobody_waits_for_is_logged(client: HTTPClient, expect_log: Any) -> None:
    expect_log("GET http://127.0.0.1.* failed: .*has closed the connection without an answer")
    with RogueServer(sending()) as server:
        exchange = client.get(server.url)
        run_until(lambda: exchange.done, DEADLINE)


@pytest.mark.parametrize("same", [False, True], ids=["another origin", "the same origin"])
@pytest.mark.parametrize("hook", ["on_headers", "on_progress", "on_data", "on_response", "on_error"])
def test_waiting_inside_a_hook(hook: str, same: bool, client: HTTPClient) -> None:
    inner: list[HTTPResponse] = []
    pieces: list[bytes] = []
    calls: list[str] = []

    def called(*_: object) -> None:
        if not inner:
            calls.append(hook)
            inner.append(client.get(other.url).wait(DEADLINE))

    hooks: dict[str, Any] = {"on_data": lambda _, data: pieces.append(data), hook: called}
    broken = head("200 OK", "Content-Length: 12") + b"fine"
    script = sending(broken) if hook == "on_error" else replying(OK)
    with RogueServer(script, replying(OK)) as server, RogueServer(replying(OK)) as second:
        other = server if same else second
        exchange = client.get(server.url, **hooks)
        if hook == "on_error":
            run_until(lambda: inner, DEADLINE)
        else:
            assert exchange.wait(DEADLINE).status_code == 200
        assert inner[0].content == b"fine"
        assert calls == [hook]
        if hook in ("on_headers", "on_progress", "on_response"):
            assert pieces == [b"fine"]
        check_usable(client, server)


@pytest.mark.parametrize("hook", ["on_response", "on_error"])
def test_waiting_inside_a_last_hook_with_one_connection(hook: str) -> None:
    inner: list[HTTPResponse] = []
    script = sending() if hook == "on_error" else replying(OK)
    with RogueServer(script, replying(OK)) as server:
        client = HTTPClient(max_connections=1)
        client.get(server.url, **{hook: lambda *_: inner.append(client.get(server.url).wait(DEADLINE))})
        run_until(lambda: inner, DEADLINE)
        assert inner[0].content == b"fine"


def test_waiting_deeper_and_deeper(client: HTTPClient) -> None:
    with RogueServer(replying(OK)) as server:
        depth = 0

        def deeper(_: HTTPResponse) -> None:
            nonlocal depth
            depth += 1
            if depth < 8:
                assert client.get(server.url, on_response=deeper).wait(DEADLINE).content == b"fine"

        client.get(server.url, on_response=deeper).wait(DEADLINE)
        assert depth == 8


def test_waiting_inside_a_hook_with_a_timeout(client: HTTPClient, expect_log: Any) -> None:
    expect_log("on_response of .* failed(.|\n)*TimeoutError")
    with RogueServer(replying(OK)) as server, RogueServer(silent) as other:
        exchange = client.get(other.url)
        client.get(server.url, on_response=lambda _: exchange.wait(0.05)).wait(DEADLINE)
        assert not exchange.done
        exchange.cancel()


# --- Time-outs --------------------------------------------------------------------------------------------------


def check_timed_out(exchange: Exchange, seconds: float, outcome: Outcome) -> None:
    began = time.monotonic()
    run_until(lambda: exchange.done, DEADLINE)
    assert isinstance(outcome.error, RequestTimedOut), outcome.error
    assert seconds - 0.1 < time.monotonic() - began < seconds + 5


@pytest.mark.parametrize("timeout", [0.3, (0.3, 30), (0.3, None), Timeout(connect=0.3, read=30)])
def test_connecting_may_take_too_long(timeout: Any, client: HTTPClient, outcome: Outcome) -> None:
    with full_backlog() as url:
        check_timed_out(client.get(url, timeout=timeout, **outcome.hooks), 0.3, outcome)


def test_so_may_the_handshake(client: HTTPClient, outcome: Outcome) -> None:
    with RogueServer(Caller.read_rest) as server:
        url = server.url.replace("http:", "https:")
        check_timed_out(client.get(url, timeout=(0.3, 30), **outcome.hooks), 0.3, outcome)


@pytest.mark.parametrize("timeout", [0.2, (30, 0.2), (None, 0.2), Timeout(connect=30, read=0.2)])
@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200", head("200 OK", "Content-Length: 9") + b"fine"])
def test_nothing_may_happen_for_too_long(answer: bytes, timeout: Any, client: HTTPClient, outcome: Outcome) -> None:
    with RogueServer(sending(answer, then="wait")) as server:
        check_timed_out(client.get(server.url, timeout=timeout, **outcome.hooks), 0.2, outcome)
        run_until_closed(server)


def test_nothing_may_happen_for_too_long_on_a_connection_that_was_idle(client: HTTPClient, outcome: Outcome) -> None:
    with RogueServer(replying(OK, b"HTTP/1.1 200")) as server:
        client.get(server.url, timeout=30).wait(DEADLINE)
        check_timed_out(client.get(server.url, timeout=0.3, **outcome.hooks), 0.3, outcome)
        assert server.accepted == 1


@pytest.mark.parametrize("chunks", [False, True])
def test_nobody_may_read_an_upload_for_too_long(chunks: bool, client: HTTPClient, outcome: Outcome) -> None:
    with RogueServer(wait_for_end) as server:
        data: Any = itertools.repeat(bytes(65536)) if chunks else bytes(64 * 1024 * 1024)
        exchange = client.post(server.url, data=data, timeout=0.4, **outcome.hooks)
        run_until(lambda: exchange.done, DEADLINE)
        assert isinstance(outcome.error, RequestTimedOut)


@pytest.mark.parametrize("answer", [OK, chunked(*[b"x"] * 10), head("103 Early Hints") * 3 + OK])
def test_a_server_that_is_slow_but_steady_is_waited_for(answer: bytes, client: HTTPClient) -> None:
    def script(caller: Caller) -> None:
        caller.read_request()
        step = max(1, len(answer) // 12)
        for at in range(0, len(answer), step):
            time.sleep(0.07)
            caller.send(answer[at : at + step])
        caller.read_rest()

    with RogueServer(script) as server:
        began = time.monotonic()
        assert client.get(server.url, timeout=0.5).wait(DEADLINE).content in (b"fine", b"x" * 10)
        assert time.monotonic() - began > 0.7


@pytest.mark.parametrize("chunks", [False, True])
def test_so_is_one_that_reads_slowly(chunks: bool, client: HTTPClient) -> None:
    size = 1_000_000

    def script(caller: Caller) -> None:
        caller.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32768)
        request = caller.read_request(body=False)
        left = size
        while left > 0:
            time.sleep(0.05)
            left -= len(caller.sock.recv(min(50_000, left)))
        if "Transfer-Encoding" in request:
            caller.sock.settimeout(0.3)  # the little that the chunks have put on top
            with contextlib.suppress(TimeoutError):
                while caller.sock.recv(65536):
                    pass
        caller.send(OK)
        caller.read_rest()

    with RogueServer(script) as server:
        data: Any = iter([bytes(50_000)] * (size // 50_000)) if chunks else bytes(size)
        began = time.monotonic()
        assert client.post(server.url, data=data, timeout=0.7).wait(DEADLINE).content == b"fine"
        assert time.monotonic() - began > 0.9


@pytest.mark.parametrize("at_the_end", [False, True])
def test_a_paused_response_does_not_time_out(at_the_end: bool, client: HTTPClient) -> None:
    answer = OK if at_the_end else head("200 OK", "Content-Length: 4") + b"fi"

    def script(caller: Caller) -> None:
        caller.read_request()
        caller.send(answer)
        assert resumed.wait(DEADLINE)
        if not at_the_end:
            caller.send(b"ne")
        caller.read_rest()

    def pause(response: HTTPResponse, data: bytes) -> None:
        pieces.append(data)
        if len(pieces) == 1:
            response.pause_body()
            client.engine.defer(0.7, resume, response)

    def resume(response: HTTPResponse) -> None:
        response.resume_body()
        resumed.set()

    resumed = threading.Event()
    pieces: list[bytes] = []
    with RogueServer(script) as server:
        client.get(server.url, on_data=pause, timeout=0.2).wait(DEADLINE)
        assert b"".join(pieces) == b"fine"
        assert resumed.is_set()


@pytest.mark.parametrize(
    "stage", ["connecting", "queued", "waiting", "in the content", "paused", "waiting for a retry"]
)
def test_all_of_it_may_take_too_long(stage: str, outcome: Outcome) -> None:
    client = HTTPClient(max_connections=1, timeout=Timeout(total=0.4))
    with at_stage(stage, client) as (reached, _):
        exchange = reached.exchange
        run_until(lambda: exchange.done, 5)
        assert isinstance(exchange.error, RequestTimedOut)
        assert reached.calls == [f"on_error: {exchange.error!r}"]


def test_all_of_it_may_take_too_long_though_something_always_happens(client: HTTPClient, outcome: Outcome) -> None:
    with RogueServer(sending(head("200 OK"), *[b"x"] * 500, pause=0.02)) as server:
        exchange = client.get(server.url, timeout=Timeout(total=0.4), **outcome.hooks)
        check_timed_out(exchange, 0.4, outcome)


def test_all_of_it_includes_redirects(client: HTTPClient, outcome: Outcome) -> None:
    def script(caller: Caller) -> None:
        while True:
            caller.read_request()
            time.sleep(0.05)
            caller.send(status("302 Found", "Location: /again"))

    with RogueServer(script) as server:
        timeout = Timeout(total=0.4)
        check_timed_out(client.get(server.url, timeout=timeout, max_redirects=10**6, **outcome.hooks), 0.4, outcome)


@pytest.mark.parametrize("timeout", [Timeout(None, None), float("inf"), (None, None)])
def test_for_ever(timeout: Any, client: HTTPClient) -> None:
    with RogueServer(sending(b"HTTP/1.1 200 OK\r\n", b"Content-Length: 0\r\n\r\n", pause=0.1)) as server:
        exchange = client.get(server.url, timeout=timeout)
        assert exchange.request.timeout is None
        assert exchange.wait(DEADLINE).status_code == 200


# --- Made again -------------------------------------------------------------------------------------------------


def test_responses_that_count_as_failures_are_asked_for_again(client: HTTPClient, outcome: Outcome) -> None:
    with RogueServer(replying(BUSY), replying(status("429 Too Many Requests")), replying(OK)) as server:
        exchange = client.get(server.url, retries=Retries(count=2, backoff=0.01), **outcome.hooks)
        assert exchange.wait(DEADLINE).content == b"fine"
        assert len(server.requests) == 3
        assert len(outcome.responses) == outcome.ends == 1


def test_the_last_of_them_is_the_answer(client: HTTPClient, outcome: Outcome) -> None:
    heads: list[int] = []
    with RogueServer(replying(BUSY)) as server:
        response = client.get(
            server.url,
            retries=Retries(count=3, backoff=0.01),
            on_headers=lambda response: heads.append(response.status_code),
            **outcome.hooks,
        ).wait(DEADLINE)
        assert (response.status_code, response.content) == (503, b"busy")
        assert len(server.requests) == 4
        assert heads == [503]
        assert outcome.responses == [response]


@pytest.mark.parametrize("where", ["client", "session", "request", "nowhere"])
def test_retries_are_given_anywhere(where: str) -> None:
    retries: dict[str, Any] = {"retries": Retries(count=1, backoff=0)}
    with RogueServer(replying(BUSY)) as server:
        client = HTTPClient(**retries) if where == "client" else HTTPClient()
        session = client.session(**retries) if where == "session" else client.session()
        session.get(server.url, **(retries if where == "request" else {})).wait(DEADLINE)
        assert len(server.requests) == (1 if where == "nowhere" else 2)


def test_statuses_and_methods_are_those_that_were_named(client: HTTPClient) -> None:
    retries = Retries(count=1, backoff=0, statuses=frozenset({418}), methods=frozenset({"POST"}))
    for code, method, count in [("418 Teapot", "POST", 2), ("418 Teapot", "GET", 1), ("503 Busy", "POST", 1)]:
        with RogueServer(replying(status(code))) as server:
            client.request(method, server.url, retries=retries).wait(DEADLINE)
            assert len(server.requests) == count


@pytest.mark.parametrize("method, count", [*[(method, 2) for method in IDEMPOTENT], ("POST", 1), ("PATCH", 1)])
@pytest.mark.parametrize(
    "script", [replying(head("503 Busy", "Content-Length: 0")), sending(), sending(b"HTTP/1.1 20")]
)
def test_by_default_what_may_be_sent_twice_is(script: Script, method: str, count: int, client: HTTPClient) -> None:
    with RogueServer(script) as server:
        exchange = client.request(method, server.url, retries=Retries(count=1, backoff=0.01))
        with contextlib.suppress(RequestClosed):
            exchange.wait(DEADLINE)
        assert len(server.requests) == count


def test_a_body_is_made_again_unless_it_comes_from_an_iterator(client: HTTPClient) -> None:
    with RogueServer(replying(BUSY)) as server:
        client.put(server.url, data=b"spam", retries=Retries(count=1, backoff=0)).wait(DEADLINE)
        assert [request.body for request in server.requests] == [b"spam", b"spam"]
    with RogueServer(replying(BUSY)) as server:
        response = client.put(server.url, data=iter([b"spam"]), retries=Retries(count=1, backoff=0)).wait(DEADLINE)
        assert response.status_code == 503
        assert len(server.requests) == 1


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_where_no_connection_could_be_made_the_method_does_not_matter(method: str, client: HTTPClient) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.settimeout(DEADLINE)

        def serve() -> None:
            with listener.accept()[0] as connection:
                connection.settimeout(DEADLINE)
                connection.recv(65536)
                connection.sendall(OK)

        thread = threading.Thread(target=serve)
        exchange = client.request(
            method,
            f"http://127.0.0.1:{listener.getsockname()[1]}/",
            retries=Retries(count=1000, backoff=0.02, longest=0.1),
        )
        end = time.monotonic() + 0.2
        run_until(lambda: time.monotonic() > end, DEADLINE)
        assert not exchange.done
        listener.listen()
        thread.start()
        assert exchange.wait(DEADLINE).content == b"fine"
        thread.join(DEADLINE)


def test_a_time_out_without_activity_is_made_again(client: HTTPClient) -> None:
    with RogueServer(silent, replying(OK)) as server:
        exchange = client.get(server.url, timeout=0.2, retries=Retries(count=1, backoff=0))
        assert exchange.wait(DEADLINE).content == b"fine"


def test_what_had_arrived_before_is_forgotten(client: HTTPClient) -> None:
    cut_off = head("200 OK", "Content-Length: 9") + b"spam"
    with RogueServer(sending(cut_off), replying(OK)) as server:
        response = client.get(server.url, retries=Retries(count=1, backoff=0)).wait(DEADLINE)
        assert response.content == b"fine"
        assert response.length == 4


def test_once_on_data_has_got_something_nothing_is_made_again(client: HTTPClient, outcome: Outcome) -> None:
    pieces: list[bytes] = []
    cut_off = head("200 OK", "Content-Length: 9") + b"spam"
    with RogueServer(sending(cut_off), replying(OK)) as server:
        client.get(
            server.url,
            retries=Retries(count=1, backoff=0),
            on_data=lambda _, data: pieces.append(data),
            **outcome.hooks,
        )
        run_until(lambda: outcome.ends, DEADLINE)
        assert isinstance(outcome.error, RequestClosed)
        assert pieces == [b"spam"]
        assert len(server.requests) == 1


def test_before_on_data_has_got_something_it_is(client: HTTPClient) -> None:
    pieces: list[bytes] = []
    with RogueServer(sending(head("200 OK", "Content-Length: 9")), replying(OK)) as server:
        retries = Retries(count=1, backoff=0)
        client.get(server.url, retries=retries, on_data=lambda _, data: pieces.append(data)).wait(DEADLINE)
        assert pieces == [b"fine"]


@pytest.mark.parametrize(
    "answer", [b"rubbish\r\n\r\n", OK + b"eggs", head("200 OK", "Transfer-Encoding: chunked") + b"xy\r\n"]
)
def test_malformed_responses_are_not_asked_for_again(answer: bytes, client: HTTPClient, outcome: Outcome) -> None:
    with RogueServer(sending(answer, then="wait"), replying(OK)) as server:
        client.get(server.url, retries=Retries(count=1, backoff=0.01), **outcome.hooks)
        run_until(lambda: outcome.ends, DEADLINE)
        assert isinstance(outcome.error, MalformedResponse)
        assert len(server.requests) == 1


def test_refused_certificates_are_not_asked_for_again(client: HTTPClient, outcome: Outcome) -> None:
    with RogueServer(replying(OK), context=certificates().expired) as server:
        exchange = client.get(server.url, retries=Retries(count=3, backoff=0.01), **outcome.hooks)
        run_until(lambda: exchange.done, DEADLINE)
        assert isinstance(outcome.error, CertificateError)
        assert server.accepted == 1


@pytest.mark.parametrize("date", [False, True])
def test_retry_after_is_obeyed(date: bool, client: HTTPClient) -> None:
    # RFC 9110 §10.2.3: seconds, or a date, which has no parts of seconds.
    value = formatdate(time.time() + 2, usegmt=True) if date else "1"
    with RogueServer(replying(status("503 Busy", f"Retry-After: {value}")), replying(OK)) as server:
        began = time.monotonic()
        assert client.get(server.url, retries=Retries(count=1, backoff=0)).wait(DEADLINE).content == b"fine"
        assert 0.9 < time.monotonic() - began < 10


@pytest.mark.parametrize("value", ["0", formatdate(0, usegmt=True), "spam", "-3", "1.5", ""])
def test_retry_after_may_be_short_or_malformed(value: str, client: HTTPClient) -> None:
    with RogueServer(replying(status("503 Busy", f"Retry-After: {value}")), replying(OK)) as server:
        began = time.monotonic()
        assert client.get(server.url, retries=Retries(count=1, backoff=0.01)).wait(DEADLINE).content == b"fine"
        assert time.monotonic() - began < 5


@pytest.mark.parametrize("value", ["31", "3600", "9" * 30, formatdate(time.time() + 7200, usegmt=True)])
def test_retry_after_that_is_too_long_makes_it_the_answer(value: str, client: HTTPClient) -> None:
    with RogueServer(replying(status("503 Busy", f"Retry-After: {value}"))) as server:
        assert client.get(server.url, retries=Retries(count=5)).wait(DEADLINE).status_code == 503
        assert len(server.requests) == 1


def test_the_wait_doubles_up_to_the_longest() -> None:
    retries = Retries(count=6, backoff=0.5, longest=3)
    for attempt, most in enumerate([0.5, 1, 2, 3, 3, 3]):
        waits = [retries.delay(attempt, None) for _ in range(100)]
        assert all(wait is not None and most / 2 <= wait <= most for wait in waits)
        assert len(set(waits)) > 1
    assert retries.delay(6, None) is None


# --- Timings ----------------------------------------------------------------------------------------------------


def check_sum(response: HTTPResponse) -> None:
    timings = response.timings
    assert timings is not None
    phases = timings._replace(total=0)
    assert all(phase is None or phase >= 0 for phase in phases)
    assert sum(phase or 0 for phase in phases) == pytest.approx(timings.total, abs=0.05)


@pytest.mark.parametrize("secure", [False, True])
def test_timings_of_a_connection_and_of_its_second_request(secure: bool) -> None:
    heads: list[object] = []
    with RogueServer(replying(OK), context=certificates().good if secure else None) as server:
        client = HTTPClient(ssl_options={"ca_certs": certificates().ca})
        url = server.url.replace("127.0.0.1", "localhost")
        first = client.get(url, on_headers=lambda response: heads.append(response.timings)).wait(DEADLINE)
        second = client.get(url).wait(DEADLINE)
    assert heads == [None]
    check_sum(first)
    check_sum(second)
    assert first.timings is not None
    assert first.timings.dns is not None
    assert first.timings.connect is not None
    assert (first.timings.ssl is not None) == secure
    assert not secure or (first.timings.ssl or 0) > 0
    assert second.timings is not None
    assert (second.timings.dns, second.timings.connect, second.timings.ssl) == (None, None, None)


def test_timings_tell_what_it_was_that_took_so_long() -> None:
    def script(caller: Caller) -> None:
        caller.read_request()
        time.sleep(0.2)
        caller.send(OK[:-2])
        time.sleep(0.4)
        caller.send(OK[-2:])
        caller.read_request()
        caller.send(OK)

    with RogueServer(script) as server:
        client = HTTPClient(max_connections=1)
        first, second = client.get(server.url), client.get(server.url)
        timings = first.wait(DEADLINE).timings
        assert timings is not None
        assert timings.wait == pytest.approx(0.2, abs=0.15)
        assert timings.receive == pytest.approx(0.4, abs=0.15)
        assert timings.blocked < 0.1
        check_sum(first.wait())
        timings = second.wait(DEADLINE).timings
        assert timings is not None
        assert timings.blocked == pytest.approx(0.6, abs=0.25)
        check_sum(second.wait())


def test_timings_of_a_long_upload(client: HTTPClient) -> None:
    def script(caller: Caller) -> None:
        caller.read_request(body=False)
        time.sleep(0.3)
        caller.read(30_000_000)
        caller.send(OK)
        caller.read_rest()

    with RogueServer(script) as server:
        response = client.post(server.url, data=bytes(30_000_000)).wait(DEADLINE)
        assert response.timings is not None
        assert response.timings.send > 0.2
        check_sum(response)


# --- The end ----------------------------------------------------------------------------------------------------


def test_closing_a_client() -> None:
    calls: list[object] = []
    with RogueServer(replying(OK)) as server, RogueServer(silent) as other:
        client = HTTPClient(calls.append, on_error=calls.append, max_connections=2)
        check_usable(client, server)
        calls.clear()
        exchanges = [client.get(other.url) for _ in range(5)]
        run_until(lambda: len(other.requests) == 2, DEADLINE)
        client.close()
        client.close()
        assert all(isinstance(exchange.error, RequestCancelled) for exchange in exchanges)
        run_until_closed(server)
        run_until_closed(other)
        assert not calls
        with pytest.raises(RuntimeError):
            client.get(server.url)
        with pytest.raises(RuntimeError):
            client.session().post(server.url)
        assert other.accepted == 2


def test_closing_a_client_in_a_hook(outcome: Outcome) -> None:
    with RogueServer(replying(OK)) as server:
        client = HTTPClient()
        exchange = client.get(server.url, on_headers=lambda _: client.close(), **outcome.hooks)
        run_until(lambda: exchange.done, DEADLINE)
        assert isinstance(exchange.error, RequestCancelled)
        assert not outcome.ends
        run_until_closed(server)


@pytest.mark.parametrize("name", [name for name in STAGES if name != "paused at the end"])
def test_every_request_is_told_if_the_engine_is_closed(name: str) -> None:
    engine = Engine()
    client = HTTPClient(engine=engine, max_connections=1)
    with at_stage(name, client) as (stage, _):
        run_until(stage.reached, DEADLINE, engine)
        assert not stage.exchange.done
        engine.close()
        assert stage.exchange.done
        assert len(stage.calls) == 1
        assert stage.calls[0].startswith("on_error")
        with pytest.raises((RequestClosed, ConnectionFailed, RequestCancelled)):
            stage.exchange.wait(DEADLINE)


# --- Ctrl-C -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hook", ["on_headers", "on_progress", "on_data", "on_response", "on_error"])
@pytest.mark.parametrize("zipped", [False, True])
def test_ctrl_c_in_a_hook(hook: str, zipped: bool, client: HTTPClient) -> None:
    calls: list[object] = []

    def interrupted(*_: object) -> None:
        calls.append(hook)
        if len(calls) == 1:
            raise KeyboardInterrupt

    content = gzip.compress(b"fine" * 100) if zipped else b"fine" * 100
    answer = status("200 OK", *(["Content-Encoding: gzip"] if zipped else []), content=content)
    script = sending(answer[:-5]) if hook == "on_error" else replying(answer)
    with RogueServer(script, replying(OK)) as server:
        engine = client.engine
        hooks: dict[str, Any] = {"on_error": lambda *_: None, hook: interrupted}
        exchange = client.get(server.url, **hooks)
        with pytest.raises(KeyboardInterrupt):
            engine.start()
        assert calls == [hook]
        run_until(lambda: exchange.done, DEADLINE)
        check_usable(client, server) if hook != "on_response" else None
        client.get(server.url, on_response=lambda _: engine.stop())
        engine.start()
        assert calls == [hook]
        assert not client._exchanges


def test_ctrl_c_in_a_hook_that_is_called_because_of_a_resumption(client: HTTPClient) -> None:
    pieces: list[bytes] = []

    def taken(response: HTTPResponse, data: bytes) -> None:
        pieces.append(data)
        response.pause_body()
        if len(pieces) == 2:
            raise KeyboardInterrupt
        client.engine.defer(0.01, response.resume_body)

    content = gzip.compress(os.urandom(1000) * 300)
    answer = status("200 OK", "Content-Encoding: gzip", content=content)
    with RogueServer(replying(answer, OK), replying(OK)) as server:
        exchange = client.get(server.url, on_data=taken, on_error=lambda *_: None, timeout=1)
        with pytest.raises(KeyboardInterrupt):
            client.engine.start()
        run_until(lambda: exchange.done, 5)
        assert exchange.error is not None
        check_usable(client, server)


def test_ctrl_c_when_asked_about_a_certificate() -> None:
    def interrupted(*_: object) -> bool:
        raise KeyboardInterrupt

    with RogueServer(replying(OK), context=certificates().unknown) as server:
        client = HTTPClient()
        exchange = client.get(server.url, on_ssl_error=interrupted, on_error=lambda *_: None, timeout=1)
        with pytest.raises(KeyboardInterrupt):
            client.engine.start()
        run_until(lambda: exchange.done, SOON)
        assert exchange.error is not None
        assert not server.requests
        assert client.get(server.url, verify_ssl=False).wait(DEADLINE).content == b"fine"


# --- Exceptions in hooks ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("hook", ["on_headers", "on_progress", "on_data"])
def test_what_a_hook_raises_reaches_on_error(hook: str, client: HTTPClient, outcome: Outcome) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("spam")

    with RogueServer(replying(OK)) as server:
        kwargs: dict[str, Any] = {**outcome.hooks, hook: fail}
        client.get(server.url, **kwargs)
        run_until(lambda: outcome.ends, DEADLINE)
        assert isinstance(outcome.error, ZeroDivisionError)
        check_usable(client, server)


@pytest.mark.parametrize("hook", ["on_response", "on_error"])
def test_what_a_last_hook_raises_is_logged(hook: str, client: HTTPClient, expect_log: Any) -> None:
    expect_log(f"{hook} of .*GET.* failed(.|\n)*ZeroDivisionError: spam")

    def fail(*_: object) -> None:
        raise ZeroDivisionError("spam")

    with RogueServer(sending() if hook == "on_error" else replying(OK), replying(OK)) as server:
        kwargs: dict[str, Any] = {hook: fail}
        exchange = client.get(server.url, **kwargs)
        run_until(lambda: exchange.done, DEADLINE)
        check_usable(client, server)


# --- Nothing left behind ------------------------------------------------------------------------------------------


CYCLES: dict[str, tuple[Script, Callable[[HTTPClient, str], Exchange]]] = {
    "get": (replying(OK), lambda client, url: client.get(url)),
    "post": (replying(OK), lambda client, url: client.post(url, data={"a": "b"})),
    "files": (replying(OK), lambda client, url: client.post(url, files={"a": b"b"})),
    "iterator": (replying(OK), lambda client, url: client.post(url, data=iter([b"a", b"b"]))),
    "chunks": (replying(chunked(b"fi", b"ne")), lambda client, url: client.get(url)),
    "gzip": (
        replying(status("200 OK", "Content-Encoding: gzip", content=gzip.compress(b"fine"))),
        lambda client, url: client.get(url),
    ),
    "cookies": (replying(status("200 OK", "Set-Cookie: a=b")), lambda client, url: client.get(url)),
    "hooks": (
        replying(OK),
        lambda client, url: client.get(
            url, on_headers=lambda _: None, on_progress=lambda *_: None, on_data=lambda *_: None
        ),
    ),
    "redirect": (replying(status("302 Found", "Location: /")), lambda client, url: client.get(url, max_redirects=2)),
    "not reused": (replying(OK), lambda client, url: client.get(url, keep_alive=False)),
    "to the end": (sending(head("200 OK") + b"fine"), lambda client, url: client.get(url)),
    "made again": (replying(BUSY), lambda client, url: client.get(url, retries=Retries(count=1, backoff=0))),
    "on disk": (replying(status("200 OK", content=bytes(3_000_000))), lambda client, url: client.get(url)),
    "closed": (sending(), lambda client, url: client.get(url)),
    "malformed": (sending(b"rubbish\r\n\r\n"), lambda client, url: client.get(url)),
    "timed out": (sending(then="wait"), lambda client, url: client.get(url, timeout=0.05)),
    "aborted": (replying(OK), lambda client, url: client.get(url, on_headers=lambda _: False)),
    "not zipped": (
        replying(status("200 OK", "Content-Encoding: gzip", content=b"rubbish")),
        lambda client, url: client.get(url),
    ),
}


def run_to_its_end(begin: Callable[[], Exchange]) -> None:
    exchange = begin()
    run_until(lambda: exchange.done, DEADLINE)
    if exchange.response is not None:
        exchange.response.close()


def wait_for_its_end(begin: Callable[[], Exchange]) -> None:
    with contextlib.suppress(HTTPClientException):
        begin().wait(DEADLINE).close()


@pytest.mark.parametrize("wait", [run_to_its_end, wait_for_its_end])
@pytest.mark.parametrize("secure", [False, True])
@pytest.mark.parametrize("name", CYCLES)
def test_no_request_leaves_a_cycle(name: str, secure: bool, wait: Callable[[Callable[[], Exchange]], None]) -> None:
    script, begin = CYCLES[name]
    client = HTTPClient(ssl_options={"ca_certs": certificates().ca}, on_error=lambda *_: None)
    with RogueServer(script, context=certificates().good if secure else None) as server:

        def collected() -> int:
            gc.collect()
            gc.disable()
            try:
                wait(lambda: begin(client, server.url))
                client.close_idle()
                run_until_closed(server)
                client.engine.poll(0)
                return gc.collect()
            finally:
                gc.enable()

        collected()  # the first time fills caches
        assert collected() == 0
        assert not client._pools
        assert not client._exchanges


@pytest.mark.parametrize("end", ["response", "error", "cancelled", "redirect"])
def test_no_descriptor_is_left(end: str, client: HTTPClient, tmp_path: Any) -> None:
    (tmp_path / "file").write_bytes(b"spam" * 10_000)
    answer = status("302 Found", "Location: /") if end == "redirect" else OK
    script = sending() if end == "error" else replying(answer, OK)
    with RogueServer(script) as server:

        def descriptors() -> int:
            return len(os.listdir("/dev/fd"))

        def upload() -> None:
            with open(tmp_path / "file", "rb") as file:
                exchange = client.post(server.url, files={"a": file}, data={"b": "c"})
                if end == "cancelled":
                    exchange.cancel()
                with contextlib.suppress(RequestClosed, RequestCancelled):
                    exchange.wait(DEADLINE)
            client.close_idle()
            run_until_closed(server)
            run_until(lambda: not server._open, DEADLINE)

        upload()
        before = descriptors()
        for _ in range(5):
            upload()
        run_until(lambda: descriptors() <= before, SOON)  # those of the server too
