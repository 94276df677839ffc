"""The HTTP client and what is around it: other clients, sessions in use, threads, the engine, the garbage collector."""

from __future__ import annotations

import concurrent.futures
import gc
import gzip
import os
import ssl
import threading
import time
import weakref
from contextlib import closing
from typing import Any

import pytest

from pants import Engine
from pants.http import ClientLimits, HTTPClient, HTTPResponse, HTTPServer
from pants.http._decoding import make_decoder
from pants.http.auth import AuthBase
from pants.http.client import Exchange, MalformedResponse, RequestClosed, RequestTimedOut, Retries, Timeout
from pants.testing import run_until
from tests.http.client_support import run_until_closed
from tests.http.peers_support import DEADLINE
from tests.http.rogue_support import Caller, RogueServer, chunked, replying
from tests.http.ws_client_support import certificates, status

OK = status("200 OK", content=b"fine")


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


# --- Connections that nobody uses -----------------------------------------------------------------------------------


def test_no_more_idle_connections_are_kept_than_wanted() -> None:
    """Docstring: ``max_idle`` to all origins together; the one that has been idle for longest gives way."""
    with (
        closing(HTTPClient(max_idle=2)) as client,
        RogueServer(replying(OK)) as first,
        RogueServer(replying(OK)) as second,
        RogueServer(replying(OK)) as third,
    ):
        for server in (first, second, third, second, third):
            assert client.get(server.url).wait(DEADLINE).content == b"fine"
        assert [server.accepted for server in (first, second, third)] == [1, 1, 1]
        client.get(first.url).wait(DEADLINE)
        assert first.accepted == 2
        client.close()


def test_a_client_that_is_dropped_closes_its_connections() -> None:
    """README; the collector is not needed for it."""
    with RogueServer(replying(OK)) as server:
        gc.disable()
        try:
            HTTPClient().get(server.url).wait(DEADLINE)
            before = descriptors()
            for _ in range(20):
                HTTPClient().get(server.url).wait(DEADLINE)
            run_until(lambda: descriptors() <= before, DEADLINE)
        finally:
            gc.enable()


def test_a_client_that_is_dropped_finishes_what_it_has_begun() -> None:
    seen: list[HTTPResponse] = []
    with RogueServer(replying(OK)) as server:
        HTTPClient(seen.append).get(server.url)
        run_until(lambda: seen, DEADLINE)
        assert seen[0].content == b"fine"
        Engine.instance().poll(0)


@pytest.mark.parametrize(
    "settings",
    [{"verify_ssl": False}, {"ssl_options": {}}, {"ssl_options": {"alpn_protocols": ["x"]}}, {"proxy": False}],
)
def test_settings_of_single_requests_share_connections(settings: dict[str, Any]) -> None:
    with RogueServer(replying(OK)) as server, closing(HTTPClient()) as client:
        for _ in range(5):
            client.get(server.url, **settings).wait(DEADLINE)
        assert server.accepted == 1
        client.close()


def test_equal_options_are_one_way_and_different_ones_are_not() -> None:
    with closing(HTTPClient()) as client:
        routes = [
            client.session(ssl_options=options)._route
            for options in ({"ciphers": "HIGH"}, {"ciphers": "HIGH"}, {"ciphers": "AES256"}, {})
        ]
        assert routes[0] is routes[1]
        assert len(set(routes)) == 3
        assert client.session(verify_ssl=True)._route is not client.session(verify_ssl=False)._route


def test_what_is_queued_may_have_a_deadline() -> None:
    """Docstring of Timeout: ``queue`` is for waiting for a connection."""
    go_on = threading.Event()

    def hold(caller: Caller) -> None:
        caller.read_request()
        go_on.wait(DEADLINE)
        caller.send(OK)
        caller.read_rest()

    with RogueServer(hold) as server, closing(HTTPClient(max_connections=1)) as client:
        first = client.get(server.url)
        second = client.get(server.url, timeout=Timeout(queue=0.1))
        with pytest.raises(RequestTimedOut, match="connection"):
            second.wait(DEADLINE)
        assert not first.done
        go_on.set()
        assert first.wait(DEADLINE).content == b"fine"
        client.close()


# --- Sessions -------------------------------------------------------------------------------------------------------


def test_no_session_reaches_into_a_hook_that_runs_meanwhile() -> None:
    """What a hook asks for, of another site perhaps, does not get what the session around wait() has."""
    with RogueServer(replying(OK, OK, OK, OK)) as server, closing(HTTPClient()) as client:
        inner: list[Exchange] = []
        client.get(server.url + "first", on_response=lambda _: inner.append(client.get(server.url + "inner")))
        with client.session(auth=("me", "secret"), cookies={"sid": "1"}, headers={"X-Token": "secret"}):
            client.get(server.url + "second").wait(DEADLINE)
            run_until(lambda: inner and inner[0].done, DEADLINE)
            client.get(server.url + "third").wait(DEADLINE)
        client.close()
    asked = {request.line.split()[1]: {name for name, _ in request.fields} for request in server.requests}
    secrets = {"authorization", "cookie", "x-token"}
    assert secrets.isdisjoint(asked["/first"] | asked["/inner"])
    assert secrets <= asked["/second"]
    assert secrets <= asked["/third"]


def test_a_hook_may_enter_a_session_of_its_own() -> None:
    def hook(_: HTTPResponse) -> None:
        with client.session(headers={"X-Inner": "1"}):
            client.get(server.url + "inner", on_response=done.append)

    done: list[HTTPResponse] = []
    with RogueServer(replying(OK, OK)) as server, closing(HTTPClient()) as client:
        client.get(server.url, on_response=hook)
        run_until(lambda: done, DEADLINE)
        client.close()
    assert ("x-inner", "1") in server.requests[1].fields


def test_sessions_of_threads_are_their_own() -> None:
    with closing(HTTPClient()) as client, client.session(headers={"X-Main": "1"}):
        seen: list[bool] = []
        thread = threading.Thread(target=lambda: seen.append(client._active is client._session))
        thread.start()
        thread.join(DEADLINE)
        assert seen == [True]
        assert client._active is not client._session


def test_sessions_of_several_clients() -> None:
    with closing(HTTPClient()) as one, closing(HTTPClient()) as other:
        with one.session(timeout=1) as first, other.session(timeout=2) as second, one.session(timeout=3) as third:
            assert one._active is third
            assert other._active is second
        assert first.timeout == 1
        assert one._active is one._session


# --- Threads --------------------------------------------------------------------------------------------------------


def test_many_threads_wait_where_no_engine_runs() -> None:
    """One of them runs it after the other, whoever's response comes first."""

    def answer(caller: Caller) -> None:
        replying(*[OK] * 20)(caller)

    with RogueServer(answer) as server, closing(HTTPClient(max_connections=8)) as client:
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            contents = list(pool.map(lambda _: client.get(server.url).wait(DEADLINE).content, range(40)))
        assert contents == [b"fine"] * 40
        assert client.engine.thread is None
        client.close()


def test_a_thread_that_waits_gives_way_to_start() -> None:
    go_on = threading.Event()

    def hold(caller: Caller) -> None:
        caller.read_request()
        go_on.wait(DEADLINE)
        caller.send(OK)
        caller.read_rest()

    with RogueServer(hold) as server, closing(HTTPClient()) as client:
        engine = client.engine
        contents: list[bytes | None] = []

        def wait() -> None:
            contents.append(client.get(server.url).wait(DEADLINE).content)
            engine.call_from_thread(engine.stop)

        thread = threading.Thread(target=wait)
        thread.start()
        while engine.thread is None:
            time.sleep(0)
        engine.call_from_thread(go_on.set)
        engine.start()
        thread.join(DEADLINE)
        assert contents == [b"fine"]
        client.close()


def test_a_client_may_be_closed_by_another_thread() -> None:
    with RogueServer(replying(OK)) as server:
        client = HTTPClient()
        client.get(server.url).wait(DEADLINE)
        engine = client.engine
        thread = threading.Thread(target=client.close)
        engine.callback(thread.start)
        engine.defer(0.05, engine.stop)
        engine.start()
        thread.join(DEADLINE)
        with pytest.raises(RuntimeError, match="closed"):
            client.get(server.url)


def test_waiting_for_itself_is_an_error() -> None:
    """It would never end."""
    raised: list[Exception] = []

    def hook(_: HTTPResponse) -> None:
        try:
            exchange.wait()
        except RuntimeError as error:
            raised.append(error)

    with RogueServer(replying(OK)) as server, closing(HTTPClient()) as client:
        exchange = client.get(server.url, on_headers=hook)
        assert exchange.wait(DEADLINE).content == b"fine"
        assert raised
        client.close()


# --- The engine -----------------------------------------------------------------------------------------------------


def test_an_engine_that_closes_ends_all_requests() -> None:
    """Each ends by exactly one of the two hooks, those that wait included."""
    engine = Engine()
    ends: list[Exception] = []
    with RogueServer(lambda caller: caller.read_rest()) as server:
        client = HTTPClient(
            on_error=lambda _, error: ends.append(error), on_response=pytest.fail, engine=engine, max_connections=2
        )
        exchanges = [client.get(server.url) for _ in range(10)]
        run_until(lambda: server.accepted == 2, DEADLINE, engine)
        engine.close()
    assert len(ends) == 10
    assert all(exchange.done and isinstance(exchange.error, RequestClosed) for exchange in exchanges)
    with pytest.raises(RuntimeError, match="closed"):
        client.get(server.url)


def test_long_decoding_gives_way_to_others() -> None:
    """However much comes out of a response, other channels have their turn."""
    content = gzip.compress(bytes(40_000_000))
    answer = status("200 OK", "Content-Encoding: gzip", content=content)
    turns = 0

    def count() -> None:
        nonlocal turns
        turns += 1

    limits = ClientLimits(free=100_000_000)
    with RogueServer(replying(answer)) as server, closing(HTTPClient(limits=limits)) as client:
        cancel = client.engine.loop(count)
        response = client.get(server.url).wait(DEADLINE)
        cancel()
        assert response.length == len(content)
        assert sum(map(len, response.iter_content(65536))) == 40_000_000
        response.close()
        client.close()
    assert turns > 5  # it takes some 100 ms, of which a turn may take 10


@pytest.mark.parametrize("inner", ["zstd", "gzip"])
def test_frames_with_nothing_in_them_are_given_up(inner: str) -> None:
    """A few bytes can stand for a million empty frames, which would take seconds."""
    brotli, zstandard = pytest.importorskip("brotli"), pytest.importorskip("zstandard")
    frame = gzip.compress(b"") if inner == "gzip" else zstandard.compress(b"")
    content = brotli.compress(frame * (7 * 1024 * 1024 // len(frame)))
    decoder = make_decoder(f"{inner}, br", max_size=None, max_ratio=100, free=8 * 1024 * 1024)
    assert decoder is not None
    decoder.feed(content)
    with pytest.raises(Exception, match="next to nothing"):
        decoder.read(65536)
    answer = status("200 OK", f"Content-Encoding: {inner}, br", content=content)
    with RogueServer(replying(answer)) as server, closing(HTTPClient()) as client:
        with pytest.raises(MalformedResponse, match="next to nothing"):
            client.get(server.url).wait(DEADLINE)
        client.close()


def test_what_frames_there_are_in_real_life() -> None:
    """Small pieces, each flushed, and a few empty members."""
    zstandard = pytest.importorskip("zstandard")
    pieces = [b"event %d\n" % number for number in range(20_000)]
    compressor = zstandard.ZstdCompressor().compressobj()
    coded = b"".join(
        compressor.compress(piece) + compressor.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK) for piece in pieces
    )
    coded += compressor.flush()
    answers = [
        status("200 OK", "Content-Encoding: zstd", content=coded),
        status("200 OK", "Content-Encoding: gzip", content=gzip.compress(b"") * 100 + gzip.compress(b"spam")),
    ]
    with RogueServer(replying(*answers)) as server, closing(HTTPClient()) as client:
        assert client.get(server.url).wait(DEADLINE).content == b"".join(pieces)
        assert client.get(server.url).wait(DEADLINE).content == b"spam"
        client.close()


# --- Small things ---------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "attribute",
    [
        "max-age",
        "Max-Age=" + "9" * 400,
        "Expires=Thu, 01 Jan " + "9" * 5000 + " 00:00:00 GMT",
        "Expires=",
        "Path",
        "Domain",
    ],
)
def test_odd_attributes_of_cookies_cost_nothing_but_themselves(attribute: str) -> None:
    """RFC 6265 §5.2: what is malformed is ignored, the cookie is taken."""
    answer = status("200 OK", f"Set-Cookie: a=b; {attribute}", "Set-Cookie: c=d", content=b"fine")
    with RogueServer(replying(answer, OK)) as server, closing(HTTPClient()) as client:
        client.get(server.url).wait(DEADLINE)
        client.get(server.url).wait(DEADLINE)
        client.close()
    assert dict(server.requests[1].fields)["cookie"] in ("a=b; c=d", "c=d; a=b")


@pytest.mark.parametrize(
    "date, is_over",
    [
        ("Wed, 21 Oct 2065 07:28:00 GMT", False),
        ("Wednesday, 21-Oct-65 07:28:00 GMT", False),  # two digits: 2065 (RFC 6265 §5.1.1)
        ("Wed Oct 21 07:28:00 2065", False),
        ("21 oct 2065 7:8:9", False),
        ("Wed, 21 Oct 2015 07:28:00 GMT", True),
        ("Wednesday, 21-Oct-85 07:28:00 GMT", True),
        ("Wed, 32 Oct 2015 07:28:00 GMT", False),  # no date: ignored
        ("some day", False),
    ],
)
def test_dates_of_cookies(date: str, is_over: bool) -> None:
    answer = status("200 OK", f"Set-Cookie: a=b; Expires={date}", content=b"fine")
    with RogueServer(replying(answer, OK)) as server, closing(HTTPClient()) as client:
        client.get(server.url).wait(DEADLINE)
        client.get(server.url).wait(DEADLINE)
        client.close()
    assert ("cookie" not in dict(server.requests[1].fields)) is is_over


def test_a_context_for_other_origins_trusts_the_same_and_has_no_certificate() -> None:
    given = ssl.create_default_context()
    given.minimum_version = ssl.TLSVersion.TLSv1_3
    with closing(HTTPClient(ssl_options=given)) as client:
        assert client._session._route.tls.context is given
        foreign = client._session._route.foreign.tls.context
    assert foreign is not given
    assert foreign.get_ca_certs(binary_form=True) == given.get_ca_certs(binary_form=True)
    assert (foreign.verify_mode, foreign.check_hostname) == (given.verify_mode, given.check_hostname)
    assert foreign.minimum_version == given.minimum_version


def test_hooks_that_are_set_later_hear_of_parts_too() -> None:
    seen: list[str] = []
    server = HTTPServer(lambda request: request.send_response("Hello, World!")).listen(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{server.local_address[1]}/"
    with closing(HTTPClient()) as client:
        client.get(url).wait(DEADLINE)
        exchange = client.get(url)
        client.on_headers = lambda response: seen.append("headers")
        client.on_progress = lambda response, received, total: seen.append("progress")
        exchange.wait(DEADLINE)
        client.on_data = lambda _, data: seen.append(data)
        assert client.get(url).wait(DEADLINE).content is None
    assert seen == ["headers", "progress", "headers", b"Hello, World!", "progress"]
    server.close()
    run_until(lambda: server.closed, DEADLINE)


def test_trailers() -> None:
    """RFC 9112 §7.1.2."""
    answer = chunked(b"spam")
    assert answer.endswith(b"\r\n\r\n")
    answer = answer[:-2] + b"X-Digest: 42\r\n\r\n"
    with RogueServer(replying(answer)) as server, closing(HTTPClient()) as client:
        response = client.get(server.url).wait(DEADLINE)
        assert response.content == b"spam"
        assert dict(response.trailers) == {"X-Digest": "42"}
        assert "X-Digest" not in response.headers
        client.close()


# --- What two at once must not do to each other ----------------------------------------------------------------------


def test_one_thread_asks_and_another_waits() -> None:
    """Nobody else runs the engine."""
    with RogueServer(replying(*[OK] * 300)) as server, closing(HTTPClient(max_connections=1)) as client:
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            for _ in range(150):
                assert pool.submit(client.get(server.url).wait, DEADLINE).result().content == b"fine"
                exchange = client.get(server.url)
                other = pool.submit(exchange.wait, DEADLINE)
                assert exchange.wait(DEADLINE).content == b"fine"
                assert other.result(DEADLINE).content == b"fine"
        client.close()


def test_sessions_do_not_reach_into_timers_either() -> None:
    with RogueServer(replying(OK, OK)) as server, closing(HTTPClient()) as client:
        seen: list[Exchange] = []
        client.engine.defer(0, lambda: seen.append(client.get(server.url + "timer")))
        with client.session(headers={"X-Secret": "1"}):
            while not seen or not seen[0].done:
                client.get(server.url + "session").wait(DEADLINE)
        client.close()
    found = {"x-secret" in dict(request.fields) for request in server.requests if "/timer" in request.line}
    assert found == {False}


def test_ctrl_c_in_what_waits_leaves_the_one_before_done() -> None:
    class Interrupting(AuthBase):
        def __call__(self, request: Any) -> None:
            raise KeyboardInterrupt

    with RogueServer(replying(OK, OK)) as server, closing(HTTPClient(max_connections=1)) as client:
        first = client.get(server.url)
        second = client.get(server.url, auth=Interrupting(), on_error=lambda *_: None)
        with pytest.raises(KeyboardInterrupt):
            run_until(lambda: second.done, DEADLINE)
        assert first.wait(DEADLINE).content == b"fine"
        with pytest.raises(RequestClosed):
            second.wait(DEADLINE)
        client.close()


def test_a_taker_that_pauses_polls_and_is_resumed_gets_the_rest() -> None:
    pieces: list[bytes] = []

    def take(response: HTTPResponse, data: bytes) -> None:
        pieces.append(data)
        if len(pieces) == 1:
            response.pause_body()
            client.engine.callback(response.resume_body)
            client.engine.poll(0)
            client.engine.poll(0)

    def script(caller: Caller) -> None:
        caller.read_request()
        caller.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
        told.wait(DEADLINE)
        caller.send(b"world")
        caller.read_rest()

    told = threading.Event()
    with RogueServer(script) as server, closing(HTTPClient()) as client:
        exchange = client.get(server.url, on_data=take)
        run_until(lambda: pieces, DEADLINE)
        told.set()
        exchange.wait(DEADLINE)
        client.close()
    assert b"".join(pieces) == b"helloworld"


def test_cookies_of_a_response_that_is_retried_go_along() -> None:
    busy = status("503 Busy", "Set-Cookie: sid=1", content=b"")
    with RogueServer(replying(busy), replying(OK)) as server, closing(HTTPClient()) as client:
        client.get(server.url, retries=Retries(count=1, backoff=0)).wait(DEADLINE)
        client.close()
    assert ("cookie", "sid=1") in server.requests[1].fields


def test_a_wait_that_is_over_silences_no_error(caplog: pytest.LogCaptureFixture, expect_log: Any) -> None:
    expect_log("has closed the connection")
    go_on = threading.Event()

    def script(caller: Caller) -> None:
        caller.read_request()
        go_on.wait(DEADLINE)

    with RogueServer(script) as server, closing(HTTPClient()) as client:
        exchange = client.get(server.url)
        with pytest.raises(TimeoutError):
            exchange.wait(0.05)
        go_on.set()
        run_until(lambda: exchange.done, DEADLINE)
        client.close()
    assert "has closed the connection" in caplog.text


def test_the_content_is_there_in_on_error() -> None:
    """Docstring: the response, as far as it has arrived."""
    seen: list[bytes | None] = []

    def script(caller: Caller) -> None:
        caller.read_request()
        caller.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")

    limits = ClientLimits(spool_size=2)
    with RogueServer(script) as server, closing(HTTPClient(limits=limits)) as client:
        exchange = client.get(server.url, on_error=lambda response, _: seen.append(response.content))
        run_until(lambda: exchange.done, DEADLINE)
        client.close()
    assert seen == [b"hello"]


def test_headers_of_sessions_are_checked_before_they_change() -> None:
    with closing(HTTPClient(headers={"X-A": "1", "User-Agent": None})) as client:
        headers = client.session().headers
        for wrong in ("a\nb", "\x00"):
            with pytest.raises(ValueError, match="X-A"):
                headers["X-A"] = wrong
        assert headers["X-A"] == "1"
        headers["Host"] = "a"
        headers["Host"] = "b"
        with pytest.raises(ValueError, match="Host"):
            headers.add("Host", "c")
        other = client.session()
        other.headers = headers
        assert dict(other.headers) == dict(headers)
        assert "User-Agent" not in other.headers
        assert "Host" not in client.session().headers


def test_accepted_certificates_share_the_limit_of_connections() -> None:
    """However many hooks accept it."""
    with (
        RogueServer(replying(OK, OK, OK), context=certificates().unknown) as server,
        closing(HTTPClient(max_connections=2, max_idle=0)) as client,
    ):
        exchanges = [client.get(server.url, on_ssl_error=lambda *_: True) for _ in range(6)]
        most = 0
        while not all(exchange.done for exchange in exchanges):
            client.engine.poll(1)
            most = max(most, *(len(pool._connections) for pool in client._pools.values()), 0)
        assert [exchange.wait().content for exchange in exchanges] == [b"fine"] * 6
        client.close()
    assert most <= 2


def test_each_origin_s_certificate_is_asked_about() -> None:
    asked: list[str | None] = []

    def hook(response: HTTPResponse, *_: Any) -> bool:
        asked.append(response.request.url.netloc)
        return True

    with RogueServer(replying(OK), context=certificates().unknown) as second:
        moved = status("302 Found", f"Location: {second.url}", content=b"")
        with RogueServer(replying(moved), context=certificates().unknown) as first, closing(HTTPClient()) as client:
            assert client.get(first.url, on_ssl_error=hook).wait(DEADLINE).content == b"fine"
            client.close()
    assert len(asked) == 2


def test_a_client_that_has_accepted_a_certificate_may_be_dropped() -> None:
    class Accepting(HTTPClient):
        def on_ssl_error(self, response: Any, certificate: Any, exception: Any) -> bool:
            return True

    with RogueServer(replying(OK), context=certificates().unknown) as server:
        gc.disable()
        try:
            client = Accepting()
            client.get(server.url).wait(DEADLINE)
            gone = weakref.ref(client)
            del client
            assert gone() is None
        finally:
            gc.enable()
        Engine.instance().poll(0)
        run_until_closed(server)
