"""The HTTP client against servers that misbehave: an error for each, and a connection that is not used again."""

from __future__ import annotations

import contextlib
import gzip
import itertools
import os
import select
import socket
import ssl
import threading
import time
import zlib
from collections.abc import Iterator
from typing import Any

import brotli
import pytest
import zstandard

from pants.http import HTTPClient
from pants.http.client import (
    ClientLimits,
    ConnectionFailed,
    HTTPResponse,
    MalformedResponse,
    RequestClosed,
    RequestTimedOut,
    ResponseTooLarge,
)
from pants.testing import run_until
from tests.http.client_support import SOON, run_until_closed, sockets_to
from tests.http.peers_support import DEADLINE
from tests.http.rogue_support import (
    FAILING,
    LEFT_OVER,
    STALLING,
    Caller,
    RogueServer,
    Script,
    bomb,
    chunked,
    forwarding,
    head,
    replying,
    sending,
)
from tests.http.ws_client_support import certificates, status

OK = status("200 OK", content=b"fine")
# The seconds between two bytes, where they are to arrive one by one.
TRICKLE = 0.0002

# What `FAILING` ends in. Anything else is malformed.
CUT_OFF = ("closed", "reset", "half closed", "ends ")


# These look like the beginning of a head, for which a client may wait.
NO_HEAD = ("another protocol", "HTTP/0.9")


class Hooks:
    """A client's hooks, which write down what they are told."""

    def __init__(self) -> None:
        self.responses: list[HTTPResponse] = []
        self.errors: list[Exception] = []
        self.heads: list[int] = []

    def client(self, **kwargs: Any) -> HTTPClient:
        return HTTPClient(
            on_response=self.responses.append,
            on_headers=lambda response: self.heads.append(response.status_code),
            on_error=lambda _, error: self.errors.append(error),
            **kwargs,
        )

    @property
    def ends(self) -> int:
        return len(self.responses) + len(self.errors)

    @property
    def error(self) -> Exception:
        """The one that there was."""
        assert not self.responses
        (error,) = self.errors
        return error


@pytest.fixture
def hooks() -> Hooks:
    return Hooks()


class Trickling(Caller):
    """A connection on which the bytes are sent one by one."""

    def __init__(self, caller: Caller) -> None:
        super().__init__(caller.sock, caller.server, caller.number)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, data: bytes) -> Trickling:
        for at in range(len(data)):
            self.sock.sendall(data[at : at + 1])
            time.sleep(TRICKLE)
        return self


def trickling(script: Script) -> Script:
    return lambda caller: script(Trickling(caller))


def after_an_answer(script: Script) -> Script:
    """Misbehave at the second request of a connection."""

    def both(caller: Caller) -> None:
        caller.read_request()
        caller.send(OK)
        script(caller)

    return both


def kind_of(name: str) -> Any:
    """Which exception one of `FAILING` has to end in."""
    if name in NO_HEAD:
        return (MalformedResponse, RequestTimedOut)
    if name == "reset at once":  # which may show while the connection is still being made
        return (RequestClosed, ConnectionFailed)
    if name == "ends in what is zipped":  # the end is the content's regular one
        return MalformedResponse
    return RequestClosed if name.startswith(CUT_OFF) else MalformedResponse


def timeout_of(name: str) -> float:
    return 0.3 if name in NO_HEAD else DEADLINE


def check_still_usable(client: HTTPClient, server: RogueServer, hooks: Hooks, connection: int = 1) -> None:
    """The next request gets a connection of its own, and succeeds; nobody was told twice of the one before."""
    ends = hooks.ends
    response = client.get(server.url).wait(SOON)
    assert response.content == b"fine"
    assert server.requests[-1].connection == connection
    assert hooks.ends == ends + 1
    assert hooks.responses[-1] is response


# --- What fails -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FAILING)
def test_every_misbehaviour_reaches_on_error(name: str, hooks: Hooks) -> None:
    with RogueServer(FAILING[name], replying(OK)) as server:
        client = hooks.client()
        exchange = client.get(server.url, timeout=timeout_of(name))
        run_until(lambda: hooks.ends, DEADLINE)
        assert isinstance(hooks.error, kind_of(name)), hooks.error
        assert exchange.error is hooks.error
        assert str(hooks.error)
        run_until_closed(server)
        check_still_usable(client, server, hooks)
        assert len(hooks.errors) == 1


@pytest.mark.parametrize("name", [name for name in FAILING if "endless" not in name])
def test_every_misbehaviour_reaches_on_error_if_it_arrives_byte_by_byte(name: str, hooks: Hooks) -> None:
    with RogueServer(trickling(FAILING[name]), replying(OK)) as server:
        client = hooks.client()
        client.get(server.url, timeout=timeout_of(name))
        run_until(lambda: hooks.ends, DEADLINE)
        assert isinstance(hooks.error, kind_of(name)), hooks.error
        run_until_closed(server)
        check_still_usable(client, server, hooks)


@pytest.mark.parametrize("name", [name for name in FAILING if name != "reset at once"])
def test_a_connection_that_was_used_before_makes_no_difference(name: str, hooks: Hooks) -> None:
    # A POST, for what may be sent twice is where nothing was answered (RFC 9110 §9.2.2).
    with RogueServer(after_an_answer(FAILING[name]), replying(OK)) as server:
        client = hooks.client()
        client.get(server.url).wait(DEADLINE)
        client.post(server.url, data=b"eggs", timeout=timeout_of(name))
        run_until(lambda: hooks.errors, DEADLINE)
        assert [request.connection for request in server.requests] == [0, 0]
        assert isinstance(hooks.errors[0], kind_of(name)), hooks.errors
        check_still_usable(client, server, hooks)
        assert len(hooks.errors) == 1


@pytest.mark.parametrize("name", FAILING)
def test_whoever_takes_the_content_by_on_data_is_told_as_well(name: str, hooks: Hooks) -> None:
    pieces: list[bytes] = []
    with RogueServer(FAILING[name], replying(OK)) as server:
        client = hooks.client()
        client.get(server.url, on_data=lambda _, data: pieces.append(data), timeout=timeout_of(name))
        run_until(lambda: hooks.ends, DEADLINE)
        assert isinstance(hooks.error, kind_of(name)), hooks.error
        told = len(pieces)
        check_still_usable(client, server, hooks)
        assert len(pieces) == told


def test_what_has_arrived_is_shown_to_on_error() -> None:
    told: list[tuple[HTTPResponse, Exception]] = []
    with RogueServer(FAILING["ends in the body"]) as server:
        client = HTTPClient(on_error=lambda response, error: told.append((response, error)))
        exchange = client.get(server.url)
        run_until(lambda: told, DEADLINE)
    ((response, _),) = told
    assert response.request is exchange.request
    assert response.status == "200 OK"
    assert response.headers["content-length"] == "5"
    assert response.content == b"spa"
    assert response.length == 3


def test_all_of_them_at_once(hooks: Hooks) -> None:
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(RogueServer(script, replying(OK))) for script in FAILING.values()]
        client = hooks.client()
        for name, server in zip(FAILING, servers, strict=True):
            client.get(server.url, timeout=timeout_of(name))
        run_until(lambda: hooks.ends == len(servers), DEADLINE)
        assert not hooks.responses
        timed_out = [error for error in hooks.errors if isinstance(error, RequestTimedOut)]
        assert len(timed_out) <= len(NO_HEAD)
        for error in set(hooks.errors).difference(timed_out):
            assert isinstance(error, (MalformedResponse, RequestClosed, ConnectionFailed))


# --- What is left over, and what stalls -------------------------------------------------------------------------


# What comes before the request, but after the client has begun to send it, is an answer like any other.
AFTER = [name for name in LEFT_OVER if name != "an answer before the request"]


def method_of(name: str) -> str:
    return "HEAD" if name.startswith("HEAD") else "GET"


@pytest.mark.parametrize("slowly", [False, True], ids=["whole", "byte by byte"])
@pytest.mark.parametrize("name", AFTER)
def test_a_connection_with_something_left_over_is_not_used_again(name: str, slowly: bool, hooks: Hooks) -> None:
    script = LEFT_OVER[name]
    with RogueServer(trickling(script) if slowly else script, replying(OK)) as server:
        client = hooks.client()
        client.request(method_of(name), server.url)
        run_until(lambda: hooks.ends, DEADLINE)
        for error in hooks.errors:
            assert isinstance(error, MalformedResponse)
        run_until_closed(server)
        check_still_usable(client, server, hooks)
        assert len(hooks.errors) < 2
        for response in hooks.responses[:-1]:
            assert response.content in (b"spam", None)


@pytest.mark.parametrize(
    "name",
    [
        "more than the length",
        "more after the last chunk",
        "a second answer",
        "a body after 204",
        "a body after 304",
        "HEAD with a body",
        "HEAD with chunks",
    ],
)
def test_what_comes_with_an_answer_and_does_not_belong_to_it_is_an_error(name: str, hooks: Hooks) -> None:
    with RogueServer(LEFT_OVER[name], replying(OK)) as server:
        client = hooks.client()
        client.request(method_of(name), server.url)
        run_until(lambda: hooks.ends, DEADLINE)
        assert isinstance(hooks.error, MalformedResponse)
        assert not isinstance(hooks.error, ResponseTooLarge)


@pytest.mark.parametrize("name", AFTER)
def test_whoever_asks_again_in_a_hook_gets_no_connection_with_something_left_over(name: str) -> None:
    second: list[HTTPResponse | Exception] = []

    def again(response: HTTPResponse, _error: Exception | None = None) -> None:
        # What comes later cannot be known yet; so at once, or when the connection has been closed.
        if name in ("a second answer, later", "closed, though it says otherwise"):
            run_until(lambda: not sockets_to(server.port), SOON)
        client.post(server.url, on_response=second.append, on_error=lambda _, error: second.append(error))

    with RogueServer(LEFT_OVER[name], replying(OK)) as server:
        client = HTTPClient()
        client.request(method_of(name), server.url, on_response=again, on_error=again)
        run_until(lambda: second, DEADLINE)
        assert isinstance(second[0], HTTPResponse), second
        assert second[0].content == b"fine"
        assert server.requests[-1].connection == 1


def test_what_arrives_unasked_closes_an_idle_connection(hooks: Hooks) -> None:
    go_on = threading.Event()

    def script(caller: Caller) -> None:
        caller.read_request()
        caller.send(OK)
        assert go_on.wait(DEADLINE)
        caller.send(b"HTTP/1.1 408 Request Timeout\r\n\r\n")  # as some servers do
        caller.read_rest()

    with RogueServer(script, replying(OK)) as server:
        client = hooks.client()
        client.get(server.url).wait(DEADLINE)
        go_on.set()
        run_until_closed(server)
        check_still_usable(client, server, hooks)
        assert not hooks.errors


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_what_arrives_unasked_while_nobody_looks_is_no_answer_to_the_next_request(method: str, hooks: Hooks) -> None:
    # Between two requests, with the engine not running: the classical way to a poisoned answer.
    go_on = threading.Event()

    def script(caller: Caller) -> None:
        caller.read_request()
        caller.send(OK)
        assert go_on.wait(DEADLINE)
        caller.send(status("200 OK", content=b"poison"))
        caller.read_rest()

    with RogueServer(script, replying(OK)) as server:
        client = hooks.client()
        client.get(server.url).wait(DEADLINE)
        (number,) = sockets_to(server.port)
        go_on.set()
        assert select.select([number], [], [], DEADLINE)[0]
        assert client.request(method, server.url).wait(DEADLINE).content == b"fine"
        assert server.requests[-1].connection == 1


def test_in_the_same_turn_too_what_arrived_unasked_spoils_the_connection() -> None:
    # An idle connection gets something, and in the same turn of the loop another one's hook makes a request.
    go_on = threading.Event()

    def script(caller: Caller) -> None:
        caller.read_request()
        caller.send(OK)
        assert go_on.wait(DEADLINE)
        caller.send(b"eggs")
        caller.read_rest()

    def other(caller: Caller) -> None:
        caller.read_request()
        assert go_on.wait(DEADLINE)
        caller.send(OK)
        caller.read_rest()

    outcome: list[HTTPResponse | Exception] = []

    def then(_response: HTTPResponse) -> None:
        client.post(server.url, on_response=outcome.append, on_error=lambda _, error: outcome.append(error))

    with RogueServer(script, replying(OK)) as server, RogueServer(other) as second:
        client = HTTPClient()
        client.get(server.url).wait(DEADLINE)
        client.get(second.url, on_response=then)
        run_until(lambda: second.requests, DEADLINE)
        (first, last) = sockets_to(server.port) + sockets_to(second.port)
        go_on.set()
        run = select.poll()
        run.register(first, select.POLLIN)
        assert run.poll(DEADLINE * 1000)
        run.unregister(first)
        run.register(last, select.POLLIN)
        assert run.poll(DEADLINE * 1000)  # both are ready when the engine looks
        run_until(lambda: outcome, DEADLINE)
        assert isinstance(outcome[0], HTTPResponse), outcome
        assert outcome[0].content == b"fine"


def test_what_was_there_before_anything_was_asked_is_no_answer(hooks: Hooks) -> None:
    # While the connection is made, a hook of another request keeps the engine busy, until the server has spoken.
    seen: list[int] = []

    def wait_for_input(_: HTTPResponse) -> None:
        for number in sockets_to(server.port):
            seen.extend(select.select([number], [], [], DEADLINE)[0])

    def gated(caller: Caller) -> None:
        caller.read_request()
        assert go_on.wait(DEADLINE)
        caller.send(OK)
        caller.read_rest()

    go_on = threading.Event()
    script = LEFT_OVER["an answer before the request"]
    with RogueServer(script, replying(OK)) as server, RogueServer(gated) as other:
        client = hooks.client()
        client.get(other.url, on_response=wait_for_input)
        run_until(lambda: other.requests, DEADLINE)
        (number,) = sockets_to(other.port)
        go_on.set()
        assert select.select([number], [], [], DEADLINE)[0]
        client.get(server.url)
        run_until(lambda: hooks.ends, DEADLINE)
        assert seen
        assert isinstance(hooks.error, MalformedResponse)
        run_until_closed(server)
        check_still_usable(client, server, hooks)


@pytest.mark.parametrize("name", STALLING)
def test_a_server_that_stalls_is_given_up(name: str, hooks: Hooks) -> None:
    with RogueServer(STALLING[name], replying(OK)) as server:
        client = hooks.client()
        began = time.monotonic()
        client.get(server.url, timeout=0.25)
        run_until(lambda: hooks.ends, DEADLINE)
        assert isinstance(hooks.error, RequestTimedOut), hooks.error
        assert 0.2 < time.monotonic() - began < 5
        run_until_closed(server)
        check_still_usable(client, server, hooks)


# --- Interim answers --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("slowly", [False, True], ids=["whole", "byte by byte"])
@pytest.mark.parametrize(
    "interim",
    [
        head("100 Continue"),
        head("102 Processing") * 3,
        head("103 Early Hints", "Link: </style.css>; rel=preload", "Set-Cookie: a=b"),
        head("199 Whatever"),
        head("100 Continue") + head("103 Early Hints") + head("102 Processing"),
    ],
)
def test_interim_answers_are_passed_over(interim: bytes, slowly: bool, hooks: Hooks) -> None:
    script = replying(interim + OK)
    with RogueServer(trickling(script) if slowly else script) as server:
        client = hooks.client()
        for _ in range(2):
            response = client.get(server.url).wait(DEADLINE)
            assert (response.status, response.content) == ("200 OK", b"fine")
            assert "Link" not in response.headers
        assert server.accepted == 1
        assert hooks.heads == [200, 200]


def test_as_many_interim_answers_as_are_allowed(hooks: Hooks) -> None:
    interim = head("100 Continue")
    with RogueServer(replying(interim * 3 + OK), replying(OK)) as server:
        client = hooks.client(limits=ClientLimits(interim=3))
        assert client.get(server.url).wait(DEADLINE).content == b"fine"
        client = hooks.client(limits=ClientLimits(interim=2))
        assert client.get(server.url).wait(DEADLINE).content == b"fine"
        assert server.accepted == 2


@pytest.mark.parametrize("slowly", [False, True], ids=["whole", "byte by byte"])
def test_an_interim_answer_has_no_content(slowly: bool, hooks: Hooks) -> None:
    # RFC 9110 §15.2: it ends with its head, whatever that says.
    script = sending(head("103 Early Hints", "Content-Length: 4") + b"eggs" + OK, then="wait")
    with RogueServer(trickling(script) if slowly else script, replying(OK)) as server:
        client = hooks.client()
        client.get(server.url)
        run_until(lambda: hooks.ends, DEADLINE)
        assert isinstance(hooks.error, MalformedResponse)
        check_still_usable(client, server, hooks)


# --- Without content ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("slowly", [False, True], ids=["whole", "byte by byte"])
@pytest.mark.parametrize(
    "method, answer",
    [
        ("HEAD", head("200 OK", "Content-Length: 1000")),
        ("HEAD", head("200 OK", "Transfer-Encoding: chunked")),
        ("HEAD", head("200 OK", "Content-Encoding: gzip", "Content-Length: 30")),
        ("HEAD", head("404 Not Found")),
        ("GET", head("204 No Content")),
        ("GET", head("304 Not Modified", "Content-Length: 1000")),
        ("GET", head("304 Not Modified", "Transfer-Encoding: chunked")),
        ("GET", head("304 Not Modified", "Content-Encoding: gzip")),
        ("GET", head("200 OK", "Content-Length: 0")),
        ("GET", head("200 OK", "Content-Length: 0", "Content-Encoding: gzip")),
        ("GET", chunked()),
    ],
)
def test_answers_without_content_leave_the_connection_usable(
    method: str, answer: bytes, slowly: bool, hooks: Hooks
) -> None:
    # RFC 9112 §6.3: to HEAD, and with these statuses, there is none, whatever the fields say.
    script = replying(answer, OK)
    with RogueServer(trickling(script) if slowly else script) as server:
        client = hooks.client()
        response = client.request(method, server.url).wait(DEADLINE)
        assert response.content is None
        assert response.file is None
        assert response.length == 0
        check_still_usable(client, server, hooks, connection=0)


# --- The end of the connection as the end of the content ----------------------------------------------------------


@pytest.mark.parametrize("slowly", [False, True], ids=["whole", "byte by byte"])
@pytest.mark.parametrize("then", ["close", "half"])
@pytest.mark.parametrize("line", [b"HTTP/1.1 200 OK\r\n", b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n"])
def test_content_that_ends_with_the_connection(line: bytes, then: str, slowly: bool, hooks: Hooks) -> None:
    script = sending(line + b"Content-Type: text/plain\r\n\r\nspam", b" and eggs", then=then)
    with RogueServer(trickling(script) if slowly else script, replying(OK)) as server:
        client = hooks.client()
        assert client.get(server.url).wait(DEADLINE).content == b"spam and eggs"
        run_until_closed(server)
        check_still_usable(client, server, hooks)


def test_content_that_ends_with_the_connection_may_be_empty(hooks: Hooks) -> None:
    with RogueServer(sending(head("200 OK"))) as server:
        assert hooks.client().get(server.url).wait(DEADLINE).content is None


@pytest.mark.parametrize("slowly", [False, True], ids=["whole", "byte by byte"])
def test_a_whole_answer_is_no_less_whole_for_the_end_behind_it(slowly: bool, hooks: Hooks) -> None:
    for answer in (OK, chunked(b"fi", b"ne")):
        script = sending(answer, then="half")
        with RogueServer(trickling(script) if slowly else script, replying(OK)) as server:
            client = hooks.client()
            assert client.get(server.url).wait(DEADLINE).content == b"fine"
            run_until_closed(server)
            check_still_usable(client, server, hooks)


def notified(caller: Caller) -> None:
    """End TLS as it wants to be ended: by its close_notify."""
    assert isinstance(caller.sock, ssl.SSLSocket)
    caller.sock.unwrap()


def cut_off(caller: Caller) -> None:
    """End the connection beneath TLS."""
    caller.sock.shutdown(socket.SHUT_RDWR)


def saying(data: bytes, end: Script) -> Script:
    def script(caller: Caller) -> None:
        caller.read_request()
        caller.send(data)
        with contextlib.suppress(OSError):
            end(caller)

    return script


TO_THE_END = head("200 OK") + b"fine"


@pytest.mark.parametrize(
    "answer, end, kind",
    [
        (TO_THE_END, notified, None),
        (TO_THE_END, cut_off, RequestClosed),  # RFC 9112 §9.8: it may have been cut off by anybody
        (head("200 OK"), cut_off, RequestClosed),
        (head("200 OK", "Content-Length: 9") + b"fine", notified, RequestClosed),
        (head("200 OK", "Content-Length: 9") + b"fine", cut_off, RequestClosed),
        (head("200 OK", "Transfer-Encoding: chunked") + b"4\r\nfine\r\n", notified, RequestClosed),
        (head("200 OK", "Transfer-Encoding: chunked") + b"4\r\nfine\r\n", cut_off, RequestClosed),
        (OK, notified, None),
        (OK, cut_off, None),  # RFC 9112 §9.8: the length tells that it is complete
        (chunked(b"fi", b"ne"), notified, None),
        (chunked(b"fi", b"ne"), cut_off, None),
        (status("200 OK", "Connection: close", content=b"fine"), cut_off, None),
        (b"HTTP/1.1 200 OK\r\n", notified, RequestClosed),
        (b"HTTP/1.1 200 OK\r\n", cut_off, RequestClosed),
        (b"", notified, RequestClosed),
        (b"", cut_off, RequestClosed),
    ],
)
def test_ends_of_tls(answer: bytes, end: Script, kind: type[Exception] | None, hooks: Hooks) -> None:
    with RogueServer(saying(answer, end), replying(OK), context=certificates().good) as server:
        client = hooks.client(ssl_options={"ca_certs": certificates().ca})
        client.get(server.url)
        run_until(lambda: hooks.ends, DEADLINE)
        if kind is None:
            assert [response.content for response in hooks.responses] == [b"fine"]
        else:
            assert isinstance(hooks.error, kind)
        run_until_closed(server)
        check_still_usable(client, server, hooks)


def test_a_context_of_ones_own_makes_no_difference_to_an_end_without_notice(hooks: Hooks) -> None:
    with RogueServer(saying(TO_THE_END, cut_off), context=certificates().good) as server:
        hooks.client(ssl_options=certificates().client_context()).get(server.url)
        run_until(lambda: hooks.ends, DEADLINE)
        assert isinstance(hooks.error, RequestClosed)


@pytest.mark.parametrize("name", FAILING)
def test_every_misbehaviour_reaches_on_error_over_tls(name: str, hooks: Hooks) -> None:
    with RogueServer(FAILING[name], replying(OK), context=certificates().good) as server:
        client = hooks.client(ssl_options={"ca_certs": certificates().ca})
        client.get(server.url, timeout=timeout_of(name))
        run_until(lambda: hooks.ends, DEADLINE)
        kinds = kind_of(name)
        if name == "ends in what is zipped":  # cut off without TLS's notice besides
            kinds = (MalformedResponse, RequestClosed)
        assert isinstance(hooks.error, kinds), hooks.error
        check_still_usable(client, server, hooks)


@pytest.mark.parametrize("name", FAILING)
def test_every_misbehaviour_reaches_on_error_through_a_proxy(name: str, hooks: Hooks) -> None:
    # The proxy passes on whatever there is; and where it cannot, it ends the connection.
    with RogueServer(FAILING[name], replying(OK)) as server, RogueServer(forwarding) as proxy:
        client = hooks.client(proxy=proxy.url)
        client.get(server.url, timeout=timeout_of(name))
        run_until(lambda: hooks.ends, DEADLINE)
        kinds: Any = kind_of(name)
        if name == "reset in a body without a length":  # of which the proxy makes a plain end, or a reset
            assert hooks.ends == 1
        else:
            assert isinstance(hooks.error, kinds), hooks.error
        assert client.get(server.url).wait(DEADLINE).content == b"fine"
        assert server.requests[-1].connection == 1


# --- Trailers ---------------------------------------------------------------------------------------------------


def with_trailers(*lines: str) -> bytes:
    trailers = "".join(f"{line}\r\n" for line in lines).encode("latin-1")
    return head("200 OK", "Transfer-Encoding: chunked", "A: head") + b"4\r\nfine\r\n0\r\n" + trailers + b"\r\n"


@pytest.mark.parametrize("slowly", [False, True], ids=["whole", "byte by byte"])
def test_trailers_are_kept_apart_from_the_head(slowly: bool, hooks: Hooks) -> None:
    # RFC 9110 §6.5.1: they are not to be merged into the header fields.
    script = replying(with_trailers("A: trailer", "Digest: x", "Digest: y", "Content-Type: a/b", "Set-Cookie: a=b"), OK)
    with RogueServer(trickling(script) if slowly else script) as server:
        client = hooks.client()
        response = client.get(server.url).wait(DEADLINE)
        assert response.content == b"fine"
        assert response.trailers["a"] == "trailer"
        assert response.trailers.get_list("digest") == ["x", "y"]
        assert response.headers["A"] == "head"
        assert "Digest" not in response.headers
        assert "Content-Type" not in response.headers
        assert not list(client.session().cookies)
        check_still_usable(client, server, hooks, connection=0)


def test_without_trailers_there_are_none(hooks: Hooks) -> None:
    with RogueServer(replying(chunked(b"fine"), OK)) as server:
        client = hooks.client()
        for _ in range(2):
            assert not list(client.get(server.url).wait(DEADLINE).trailers)


@pytest.mark.parametrize("line", ["no colon", ": no name", "A : b", "A: b\0c"])
def test_trailers_that_are_malformed(line: str, hooks: Hooks) -> None:
    with RogueServer(sending(with_trailers(line), then="wait"), replying(OK)) as server:
        client = hooks.client()
        client.get(server.url)
        run_until(lambda: hooks.ends, DEADLINE)
        assert isinstance(hooks.error, MalformedResponse)
        check_still_usable(client, server, hooks)


@pytest.mark.parametrize("slowly", [False, True], ids=["whole", "byte by byte"])
def test_chunks_with_extensions_and_zeros_and_capitals(slowly: bool, hooks: Hooks) -> None:
    # RFC 9112 §7.1.1: what is not known is ignored.
    content = b'4;a=b;c="d e"\r\nspam\r\n000A\r\n and eggs!\r\n0;last\r\n\r\n'
    script = replying(head("200 OK", "Transfer-Encoding: Chunked") + content, OK)
    with RogueServer(trickling(script) if slowly else script) as server:
        client = hooks.client()
        assert client.get(server.url).wait(DEADLINE).content == b"spam and eggs!"
        check_still_usable(client, server, hooks, connection=0)


# --- Limits -----------------------------------------------------------------------------------------------------


def padded_head(size: int) -> bytes:
    """A whole answer whose head is so long; its fields are 50 bytes or less."""
    start, end = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n", b"\r\n"
    left = size - len(start) - len(end)
    assert left > 100
    lines = [b"A: " + b"x" * 45 + b"\r\n"] * (left // 50 - 1)
    left -= 50 * len(lines)
    lines.append(b"B: " + b"y" * (left // 2 - 5) + b"\r\n")
    lines.append(b"C: " + b"z" * (left - left // 2 - 5) + b"\r\n")
    answer = start + b"".join(lines) + end
    assert len(answer) == size
    return answer + b"fine"


def long_field(size: int) -> bytes:
    return head("200 OK", "Content-Length: 4", "A: " + "x" * (size - 3)) + b"fine"


def many_fields(count: int) -> bytes:
    return head("200 OK", "Content-Length: 4", *["A: b"] * (count - 1)) + b"fine"


def many_interim(count: int) -> bytes:
    return head("100 Continue") * count + OK


def long_content(size: int) -> bytes:
    return status("200 OK", content=bytes(size))


def chunked_content(size: int) -> bytes:
    return chunked(bytes(size // 2), bytes(size - size // 2))


def zipped_content(size: int) -> bytes:
    return status("200 OK", "Content-Encoding: gzip", content=gzip.compress(bytes(size)))


def long_trailer(size: int) -> bytes:
    return with_trailers("A: " + "x" * (size - 3))


def many_trailers(count: int) -> bytes:
    return with_trailers(*["A: b"] * count)


LIMITS = {
    "headers": (ClientLimits(headers=2000), padded_head, 2000),
    "header": (ClientLimits(header=200), long_field, 200),
    "header_count": (ClientLimits(header_count=10), many_fields, 10),
    "interim": (ClientLimits(interim=4), many_interim, 4),
    "content": (ClientLimits(content=3000), long_content, 3000),
    "content in chunks": (ClientLimits(content=3000), chunked_content, 3000),
    "content, decoded": (ClientLimits(content=3000), zipped_content, 3000),
    "content, on disk": (ClientLimits(content=3000, spool_size=100), long_content, 3000),
    "header, of trailers": (ClientLimits(header=200), long_trailer, 200),
    "header_count, of trailers": (ClientLimits(header_count=10), many_trailers, 10),
}


@pytest.mark.parametrize("slowly", [False, True], ids=["whole", "byte by byte"])
@pytest.mark.parametrize("name", LIMITS)
def test_up_to_a_limit_all_is_well(name: str, slowly: bool, hooks: Hooks) -> None:
    limits, answer, size = LIMITS[name]
    script = replying(answer(size), OK)
    with RogueServer(trickling(script) if slowly else script) as server:
        client = hooks.client(limits=limits)
        response = client.get(server.url).wait(DEADLINE)
        assert len(response.content or b"") in (4, size)
        check_still_usable(client, server, hooks, connection=0)


@pytest.mark.parametrize("slowly", [False, True], ids=["whole", "byte by byte"])
@pytest.mark.parametrize("name", LIMITS)
def test_beyond_a_limit_a_response_is_too_large(name: str, slowly: bool, hooks: Hooks) -> None:
    limits, answer, size = LIMITS[name]
    script = sending(answer(size + 1), then="wait")
    with RogueServer(trickling(script) if slowly else script, replying(OK)) as server:
        client = hooks.client(limits=limits)
        client.get(server.url)
        run_until(lambda: hooks.ends, DEADLINE)
        assert isinstance(hooks.error, ResponseTooLarge), hooks.error
        run_until_closed(server)
        check_still_usable(client, server, hooks)


@pytest.mark.parametrize(
    "name", ["endless 100s", "an endless reason", "an endless field", "endless fields", "endless trailers"]
)
def test_what_does_not_end_is_too_large(name: str, hooks: Hooks) -> None:
    with RogueServer(FAILING[name]) as server:
        hooks.client().get(server.url)
        run_until(lambda: hooks.ends, DEADLINE)
        assert isinstance(hooks.error, ResponseTooLarge), hooks.error


def test_content_of_any_length_may_be_taken_by_on_data(hooks: Hooks) -> None:
    taken: list[int] = []
    with RogueServer(replying(long_content(1_000_000))) as server:
        client = hooks.client(limits=ClientLimits(content=1000))
        client.get(server.url, on_data=lambda _, data: taken.append(len(data))).wait(DEADLINE)
        assert sum(taken) == 1_000_000


def test_content_without_an_end_is_given_up_at_the_limit(hooks: Hooks) -> None:
    def script(caller: Caller) -> None:
        caller.read_request()
        caller.send(head("200 OK"))
        caller.send_endlessly(b"spam")

    with RogueServer(script) as server:
        client = hooks.client(limits=ClientLimits(content=1_000_000))
        client.get(server.url)
        run_until(lambda: hooks.ends, DEADLINE)
        assert isinstance(hooks.error, ResponseTooLarge)


# --- Bombs ------------------------------------------------------------------------------------------------------

BOMBS: dict[str, Any] = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": brotli.compress,
    "zstd": zstandard.ZstdCompressor().compress,
    "gzip, gzip": lambda data: gzip.compress(gzip.compress(data)),
    "gzip, br": lambda data: brotli.compress(gzip.compress(data)),
    "br, zstd": lambda data: zstandard.ZstdCompressor().compress(brotli.compress(data)),
}
BOMB_SIZE = 24 * 1024 * 1024


@pytest.fixture(scope="module")
def bombs() -> dict[str, Script]:
    return {name: bomb(BOMB_SIZE, coding, name) for name, coding in BOMBS.items()}


@pytest.mark.parametrize("taken", [False, True], ids=["kept", "by on_data"])
@pytest.mark.parametrize("name", BOMBS)
def test_bombs_are_defused(name: str, taken: bool, bombs: dict[str, Script], hooks: Hooks) -> None:
    sizes: list[int] = []
    limits = ClientLimits(free=1024 * 1024, ratio=50)
    with RogueServer(bombs[name], replying(OK)) as server:
        client = hooks.client(limits=limits)
        client.get(server.url, on_data=(lambda _, data: sizes.append(len(data))) if taken else None)
        run_until(lambda: hooks.ends, DEADLINE)
        assert isinstance(hooks.error, ResponseTooLarge)
        assert sum(sizes) < BOMB_SIZE
        assert max(sizes, default=0) <= limits.free
        run_until_closed(server)
        check_still_usable(client, server, hooks)


# The content gives way to others then, and the connection is not used again before all of it is decoded.
@pytest.mark.parametrize("name", ["gzip", "br"])
def test_bombs_are_defused_where_the_content_is_taken_slowly(name: str, bombs: dict[str, Script], hooks: Hooks) -> None:
    with RogueServer(bombs[name], replying(OK)) as server:
        client = hooks.client(limits=ClientLimits(free=1024 * 1024, ratio=50))
        client.get(server.url, on_data=lambda *_: time.sleep(0.02))
        run_until(lambda: hooks.ends, DEADLINE)
        assert isinstance(hooks.error, ResponseTooLarge)
        run_until_closed(server)
        check_still_usable(client, server, hooks)


def test_by_default_bombs_are_defused_too(hooks: Hooks) -> None:
    with RogueServer(bomb(64 * 1024 * 1024)) as server:
        hooks.client().get(server.url)
        run_until(lambda: hooks.ends, DEADLINE)
        assert isinstance(hooks.error, ResponseTooLarge)


@pytest.mark.parametrize("name", BOMBS)
def test_what_is_within_the_limits_is_no_bomb(name: str, hooks: Hooks) -> None:
    size = 1024 * 1024
    with RogueServer(bomb(size, BOMBS[name], name)) as server:
        client = hooks.client(limits=ClientLimits(free=size, ratio=1, content=size))
        response = client.get(server.url).wait(DEADLINE)
        assert response.content == bytes(size)


@pytest.mark.parametrize("name", ["gzip", "deflate", "br", "zstd"])
def test_the_ratio_alone_lets_through_what_is_not_suspicious(name: str, hooks: Hooks) -> None:
    content = b"".join(b"%d bottles of beer\n" % number for number in range(50_000))
    with RogueServer(replying(status("200 OK", f"Content-Encoding: {name}", content=BOMBS[name](content)))) as server:
        client = hooks.client(limits=ClientLimits(free=1, ratio=100))
        assert client.get(server.url).wait(DEADLINE).content == content


@pytest.mark.parametrize("name", ["gzip", "deflate", "br", "zstd"])
@pytest.mark.parametrize("what", ["cut off", "followed by something", "corrupt"])
def test_codings_that_are_broken(name: str, what: str, hooks: Hooks) -> None:
    coded = bytearray(BOMBS[name](bytes(range(256)) * 40))
    if what == "cut off":
        del coded[-5:]
    elif what == "followed by something":
        coded += b"eggs and spam"
    else:
        coded[:4] = b"\xff\x13\x37\xff"
    answer = status("200 OK", f"Content-Encoding: {name}", content=bytes(coded))
    with RogueServer(replying(answer), replying(OK)) as server:
        client = hooks.client()
        client.get(server.url)
        run_until(lambda: hooks.ends, DEADLINE)
        assert isinstance(hooks.error, MalformedResponse)
        assert not isinstance(hooks.error, ResponseTooLarge)


def test_too_many_codings(hooks: Hooks) -> None:
    with RogueServer(bomb(10, lambda data: data, ", ".join(["gzip"] * 100)), replying(OK)) as server:
        client = hooks.client()
        client.get(server.url)
        run_until(lambda: hooks.ends, DEADLINE)
        assert isinstance(hooks.error, MalformedResponse)
        check_still_usable(client, server, hooks)


# --- Answers that do not wait for the request ------------------------------------------------------------------------


class Upload:
    """Content without an end, which counts what was taken of it."""

    def __init__(self, size: int | None = None) -> None:
        self.left = size
        self.taken = 0

    def __iter__(self) -> Iterator[bytes]:
        for _ in itertools.count() if self.left is None else range(self.left):
            self.taken += 1
            yield bytes(16384)


@pytest.mark.parametrize("interim", [b"", head("100 Continue"), head("103 Early Hints")])
def test_a_refusal_ends_an_upload(interim: bytes, hooks: Hooks) -> None:
    # RFC 9112 §9.5: a client that sees an error response should stop sending.
    def script(caller: Caller) -> None:
        caller.read_request(body=False)
        caller.send(interim + status("413 Content Too Large", "Connection: close", content=b"spam"))
        caller.sock.shutdown(socket.SHUT_WR)
        caller.read_rest()  # as a server does that wants its answer to arrive (RFC 9112 §9.6)

    upload = Upload()
    with RogueServer(script, replying(OK)) as server:
        client = hooks.client()
        response = client.post(server.url, data=upload).wait(DEADLINE)
        assert (response.status_code, response.content) == (413, b"spam")
        run_until_closed(server)
        taken = upload.taken
        check_still_usable(client, server, hooks)
        assert upload.taken == taken
        assert not hooks.errors


def test_a_refusal_reaches_an_upload_that_nobody_reads(hooks: Hooks) -> None:
    go_on = threading.Event()

    def script(caller: Caller) -> None:
        caller.read_request(body=False)
        assert go_on.wait(DEADLINE)
        caller.send(status("413 Content Too Large", content=b"spam"))
        caller.read_rest()

    upload = Upload()
    with RogueServer(script, replying(OK)) as server:
        client = hooks.client()
        exchange = client.post(server.url, data=upload)
        taken = -1
        run_until(lambda: server.requests, DEADLINE)
        while taken != upload.taken:  # the kernel takes no more of it
            taken = upload.taken
            client.engine.poll(0.1)
            client.engine.poll(0.1)
        go_on.set()
        assert exchange.wait(DEADLINE).status_code == 413
        run_until_closed(server)
        check_still_usable(client, server, hooks)


def test_a_refusal_with_a_reset_is_an_answer_or_an_error(hooks: Hooks) -> None:
    # RFC 9112 §9.6: the answer may get lost. One of the two it is all the same, and once.
    def script(caller: Caller) -> None:
        caller.read_request(body=False)
        caller.send(status("413 Content Too Large", "Connection: close", content=b"spam"))

    upload = Upload()
    with RogueServer(script, replying(OK)) as server:
        client = hooks.client()
        client.post(server.url, data=upload)
        run_until(lambda: hooks.ends, DEADLINE)
        for response in hooks.responses:
            assert (response.status_code, response.content) == (413, b"spam")
        for error in hooks.errors:
            assert isinstance(error, RequestClosed)
        run_until_closed(server)
        check_still_usable(client, server, hooks)


@pytest.mark.parametrize("reset", [False, True])
def test_a_server_that_goes_in_the_middle_of_an_upload(reset: bool, hooks: Hooks) -> None:
    def script(caller: Caller) -> None:
        caller.read_request(body=False)
        caller.read(100_000)
        if reset:
            caller.reset()

    with RogueServer(script, replying(OK)) as server:
        client = hooks.client()
        client.put(server.url, data=Upload())
        run_until(lambda: hooks.ends, DEADLINE)
        assert isinstance(hooks.error, RequestClosed)
        check_still_usable(client, server, hooks)


def test_an_early_answer_that_keeps_the_connection_open_does_not_mix_it_up(hooks: Hooks) -> None:
    # Whatever becomes of the rest of the content: it is not taken for a request, nor a request for content.
    go_on = threading.Event()

    def script(caller: Caller) -> None:
        request = caller.read_request(body=False)
        caller.send(status("200 OK", content=b"early"))
        assert go_on.wait(DEADLINE)
        try:
            caller.read_body(request)
        except AssertionError:  # the client has ended it
            return
        while True:
            assert caller.read_request().line == "GET / HTTP/1.1"
            caller.send(OK)

    upload = Upload(1000)
    with RogueServer(script, replying(OK)) as server:
        client = hooks.client()
        assert client.post(server.url, data=upload).wait(DEADLINE).content == b"early"
        exchange = client.get(server.url)
        go_on.set()
        assert exchange.wait(DEADLINE).content == b"fine"
        assert [request.method for request in server.requests] == ["POST", "GET"]
        assert server.requests[-1].connection == 1 or upload.taken == 1000


def test_an_early_answer_may_go_on_while_the_upload_does(hooks: Hooks) -> None:
    # An echo: what is sent comes back at once, and neither end has room for all of it.
    size = 4_000_000

    def script(caller: Caller) -> None:
        caller.read_request(body=False)
        caller.send(head("200 OK", f"Content-Length: {size}"))
        left = size
        while left:
            piece = caller.sock.recv(65536)
            assert piece
            caller.send(piece)
            left -= len(piece)
        caller.read_rest()

    content = os.urandom(1000) * (size // 1000)
    with RogueServer(script) as server:
        client = hooks.client()
        assert client.post(server.url, data=content).wait(DEADLINE).content == content
