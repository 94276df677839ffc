"""`pants.http.Limits`: what is exactly at a limit is served, what is beyond it by one is refused; and the deadlines.

All with settings of one's own, for those are what the class is there for.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from pants.http import Limits
from pants.testing import Peer
from tests.http.support import CHUNKED, Site, get, post, site, take_apart

BEHIND = get(line=b"GET /behind HTTP/1.1")


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(Limits)])
def test_a_limit_is_a_number_above_0(name: str) -> None:
    def limit(value: Any) -> Any:
        return getattr(Limits(**{name: value}), name)

    for wrong in ("1", None, True, b"1", [1]):
        with pytest.raises(TypeError, match=name):
            limit(wrong)
    for low in (0, -1):
        with pytest.raises(ValueError, match=name):
            limit(low)
    assert limit(1) == 1
    if isinstance(getattr(Limits(), name), float):
        assert limit(0.5) == 0.5
        with pytest.raises(ValueError, match=name):
            limit(float("nan"))


# --- Sizes ----------------------------------------------------------------------------------------------------------


def filled(size: int, *fields: bytes, line: bytes = b"GET / HTTP/1.1") -> bytes:
    """A head of a size, by a field more."""
    rest = size - len(get(*fields, b"X: ", line=line))
    assert rest >= 0
    return get(*fields, b"X: " + b"y" * rest, line=line)


def asked(
    size: int, method: bytes = b"GET", *fields: bytes, begin: bytes = b"/", protocol: bytes = b"HTTP/1.1"
) -> bytes:
    """A head with a target of a size."""
    target = begin + b"a" * (size - len(begin))
    return get(b"Connection: keep-alive", *fields, line=b"%b %b %b" % (method, target, protocol))


def one_byte_chunks(size: int) -> bytes:
    return b"1\r\na\r\n" * size + b"0\r\n\r\n"


@dataclasses.dataclass
class Case:
    """A limit and what comes up to it.

    Attributes:
        settings: Of the server: limits and max_request.
        most: What the limit is.
        status: That of what is beyond.
        make: Makes a request that has so much of it.
    """

    settings: dict[str, Any]
    most: int
    status: int
    make: Callable[[int], bytes]


SIZES: dict[str, Case] = {
    # RFC 9110 §15.5.15
    "a target": Case({"request_line": 100}, 100, 414, lambda n: asked(n)),
    "a target of HEAD": Case({"request_line": 90}, 90, 414, lambda n: asked(n, b"HEAD")),
    "a target of PUT": Case({"request_line": 90}, 90, 414, lambda n: asked(n, b"PUT")),
    "a target on HTTP/1.0": Case({"request_line": 90}, 90, 414, lambda n: asked(n, protocol=b"HTTP/1.0")),
    "a URI": Case({"request_line": 90}, 90, 414, lambda n: asked(n, begin=b"http://a/")),
    "a query": Case({"request_line": 90}, 90, 414, lambda n: asked(n, begin=b"/?")),
    "a target of a form": Case({"request_line": 90}, 90, 414, lambda n: asked(n, b"POST", b"Content-Length: 1") + b"b"),
    # RFC 6585 §5
    "a field": Case({"header": 100}, 100, 431, lambda n: get(b"X: " + b"y" * (n - 3))),
    "a field that is not the last": Case({"header": 100}, 100, 431, lambda n: get(b"X: " + b"y" * (n - 3), b"Z: a")),
    "a field of nothing but a name": Case({"header": 100}, 100, 431, lambda n: get(b"X" * (n - 1) + b":")),
    "Host": Case({"header": 100}, 100, 431, lambda n: get(host=b"a" * (n - 6))),
    "a field of a form": Case(
        {"header": 100}, 100, 431, lambda n: post(b"a", b"Content-Length: 1", b"X: " + b"y" * (n - 3))
    ),
    "all fields": Case({"headers": 500}, 500, 431, filled),
    "all fields of a form": Case(
        {"headers": 500}, 500, 431, lambda n: filled(n, b"Content-Length: 1", line=b"POST / HTTP/1.1") + b"a"
    ),
    "all fields, with a target": Case(
        {"headers": 500}, 500, 431, lambda n: get(line=b"GET /%b HTTP/1.1" % (b"a" * (n - len(get()))))
    ),
    "the number of fields": Case({"header_count": 10}, 10, 431, lambda n: get(*[b"X: y"] * (n - 1))),
    "the number of the shortest fields": Case({"header_count": 10}, 10, 431, lambda n: get(*[b"X:"] * (n - 1))),
    "the number of fields of a form": Case(
        {"header_count": 10}, 10, 431, lambda n: post(b"a", b"Content-Length: 1", *[b"X: y"] * (n - 2))
    ),
    "the number of trailers": Case(
        {"header_count": 10}, 10, 431, lambda n: post(b"0\r\n" + b"X: y\r\n" * n + b"\r\n", CHUNKED)
    ),
    # RFC 9110 §15.5.14
    "a body": Case({"max_request": 100}, 100, 413, lambda n: post(b"a" * n)),
    "a body of GET": Case({"max_request": 100}, 100, 413, lambda n: get(b"Content-Length: %d" % n) + b"a" * n),
    "a body in a chunk": Case(
        {"max_request": 100}, 100, 413, lambda n: post(b"%x\r\n%b\r\n0\r\n\r\n" % (n, b"a" * n), CHUNKED)
    ),
    "a body in many chunks": Case({"max_request": 100}, 100, 413, lambda n: post(one_byte_chunks(n), CHUNKED)),
    "a body that is announced": Case(
        {"max_request": 100}, 100, 413, lambda n: post(b"a" * n, b"Content-Length: %d" % n, b"Expect: 100-continue")
    ),
    "a body on HTTP/1.0": Case(
        {"max_request": 100},
        100,
        413,
        lambda n: get(b"Connection: keep-alive", b"Content-Length: %d" % n, line=b"POST / HTTP/1.0") + b"a" * n,
    ),
    "no body at all": Case({"max_request": 0}, 0, 413, lambda n: post(b"a" * n)),
    "no chunk at all": Case({"max_request": 0}, 0, 413, lambda n: post(one_byte_chunks(n), CHUNKED)),
    "a body larger than what is kept in memory": Case(
        {"max_request": 100, "spool_size": 10}, 100, 413, lambda n: post(b"a" * n)
    ),
}  # fmt: skip


def limited(settings: dict[str, Any]) -> Any:
    """A server with these limits."""
    settings = dict(settings)
    own = {"max_request": settings.pop("max_request")} if "max_request" in settings else {}
    return site(limits=Limits(**settings), **own)


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("chunk", [None, 1, 7])
def test_what_is_at_the_limit_is_served_and_what_is_beyond_is_not(name: str, chunk: int | None) -> None:
    case = SIZES[name]
    most = case.make(case.most)
    with limited(case.settings) as web:
        for size in {max(case.most - 1, 0), case.most}:
            peer = web.connect()
            method = most.partition(b" ")[0].decode()
            for _ in range(3):  # the second and the third time it is known
                peer.send(case.make(size), chunk)
                assert [answer.status for answer in take_apart(peer.take(), method)] == [200], size
            assert not peer.ended
        known = web.connect()
        known.send(most, chunk)
        assert [answer.status for answer in take_apart(known.take(), method)] == [200]
        for peer in (known, web.connect()):
            for size in (case.most + 1, case.most + 2, 3 * case.most + 1000):
                peer = peer if size == case.most + 1 else web.connect()
                web.requests.clear()
                with contextlib.suppress(ConnectionError):
                    peer.send(case.make(size) + BEHIND, chunk)
                [answer] = take_apart(peer.received, method)
                assert answer.status == case.status, size
                assert answer.headers["Connection"] == "close"
                assert peer.ended
                assert not web.requests


@pytest.mark.parametrize("name", ["a target", "a target of HEAD", "a query", "all fields, with a target"])
@pytest.mark.parametrize("chunk", [None, 1])
@pytest.mark.parametrize("behind", [b"", BEHIND])
def test_fields_that_were_served_before_do_not_make_a_target_shorter(
    name: str, chunk: int | None, behind: bytes
) -> None:
    case = SIZES[name]
    short = case.make(len(get()) + 10) if "headers" in case.settings else case.make(10)
    with limited(case.settings) as web:
        for size, status in ((case.most, 200), (case.most + 1, case.status)):
            peer = web.connect()
            for _ in range(3):
                peer.send(short)
            assert len(take_apart(peer.take(), *["HEAD" if short.startswith(b"HEAD") else "GET"] * 3)) == 3
            with contextlib.suppress(ConnectionError):
                peer.send(case.make(size) + behind, chunk)
            assert peer.received.startswith(b"HTTP/1.1 %d " % status)
            assert peer.ended is (status != 200)
        assert [request.path for request in web.requests].count("/behind") == bool(behind)


def test_the_fields_are_counted_and_not_the_lines() -> None:
    """Empty lines before a request are no part of it (RFC 9112 §2.2), nor is the last request's head."""
    with limited({"header_count": 2, "headers": 60}) as web:
        peer = web.connect()
        for _ in range(5):
            peer.send(b"\r\n\r\n\r\n" + filled(60))
        assert [answer.status for answer in take_apart(peer.received)] == [200] * 5


def test_a_limit_on_all_fields_below_that_on_one() -> None:
    """Whichever is crossed first."""
    with limited({"header": 1000, "headers": 100, "request_line": 1000}) as web:
        assert [answer.status for answer in web.ask(filled(100))] == [200]
        assert [answer.status for answer in web.ask(filled(101))] == [431]
        assert [answer.status for answer in web.ask(get(line=b"GET /" + b"a" * 200 + b" HTTP/1.1"))] == [431]


# --- Nothing without end --------------------------------------------------------------------------------------------

ENDLESS: dict[str, tuple[bytes, bytes, int]] = {
    "a method": (b"", b"A", 501),
    "a target": (b"GET /", b"a", 414),
    "spaces behind the target": (b"GET / ", b" ", 400),
    "a protocol": (b"GET / HTTP/", b"1", 400),
    "a name": (b"GET / HTTP/1.1\r\n", b"X", 431),
    "a value": (b"GET / HTTP/1.1\r\nX: ", b"y", 431),
    "fields": (b"GET / HTTP/1.1\r\n", b"X: y\r\n", 431),
    "a body by length": (post(b"", b"Content-Length: 100000000"), b"a", 413),
    "a chunk": (post(b"fffffff\r\n", CHUNKED), b"a", 413),
    "chunks": (post(b"", CHUNKED), b"1\r\na\r\n", 413),
    "zeros of a chunk size": (post(b"", CHUNKED), b"0", 400),
    "a chunk extension": (post(b"1;", CHUNKED), b"a", 400),
    "chunk extensions": (post(b"1", CHUNKED), b";a=b", 400),
    "a trailer's name": (post(b"0\r\n", CHUNKED), b"X", 400),
    "a trailer": (post(b"0\r\nX: ", CHUNKED), b"y", 400),
    "trailers": (post(b"0\r\n", CHUNKED), b"X: y\r\n", 431),
}


@pytest.mark.parametrize("name", ENDLESS)
@pytest.mark.parametrize("size", [1, 100, 65536])
def test_what_has_no_end_is_refused(name: str, size: int) -> None:
    """And not much of it is kept until then."""
    beginning, more, status = ENDLESS[name]
    with site(limits=Limits(request_line=1000, header=1000, headers=2000), max_request=10_000) as web:
        peer = web.connect()
        sent = 0
        with contextlib.suppress(ConnectionError):
            peer.send(beginning)
            while sent < 3_000_000 and not peer.ended:
                peer.send(more * size)
                sent += len(more) * size
        assert sent <= 100_000 + len(more) * size
        assert [answer.status for answer in take_apart(peer.received)] == [status]
        assert not web.requests


def test_empty_lines_without_end_keep_nothing() -> None:
    """RFC 9112 §2.2: they are ignored, so that they are no request; what is between requests is idle time."""
    with site(limits=Limits(keep_alive_timeout=5)) as web:
        peer = web.connect()
        for _ in range(1000):
            peer.send(b"\r\n" * 100)
        [connection] = web.server.channels.values()
        assert not connection._held  # type: ignore[attr-defined]
        peer.send(get())
        assert [answer.status for answer in take_apart(peer.take())] == [200]
        web.engine.advance(6)
        assert peer.ended


# --- Deadlines ------------------------------------------------------------------------------------------------------


def begun(web: Site, *pieces: bytes) -> Peer:
    peer = web.connect()
    for piece in pieces:
        peer.send(piece)
    return peer


def status_at(web: Site, peer: Peer, longest: float = 1000.0) -> tuple[list[int], float]:
    """The answers when the connection ends, and after how many seconds that is."""
    start = web.engine.now
    while not peer.ended and web.engine.now - start < longest:
        web.engine.advance(0.125)
    return [answer.status for answer in take_apart(peer.received)], web.engine.now - start


HEADS = [b"G", b"GET / HTTP/1.1\r\n", get()[:-1], b"\r\n" + get()[:-1]]


@pytest.mark.parametrize("data", HEADS)
@pytest.mark.parametrize("before", [b"", get(), post(b"a"), post(b"0\r\n\r\n", CHUNKED)])
def test_header_timeout(data: bytes, before: bytes) -> None:
    """RFC 9110 §15.5.9."""
    with site(limits=Limits(header_timeout=5, body_timeout=60, keep_alive_timeout=100)) as web:
        peer = begun(web, before, data)
        peer.take()
        assert status_at(web, peer) == ([408], 5.0)


@pytest.mark.parametrize("data", HEADS)
def test_header_timeout_behind_a_body_that_took_its_time(data: bytes) -> None:
    with site(limits=Limits(header_timeout=5, body_timeout=60)) as web:
        peer = begun(web, post(b"", b"Content-Length: 2"), b"a", b"b")
        peer.take()
        peer.send(data)
        assert status_at(web, peer) == ([408], 5.0)


@pytest.mark.parametrize("data", HEADS)
def test_header_timeout_longer_than_the_others(data: bytes) -> None:
    with site(limits=Limits(header_timeout=50, body_timeout=5, keep_alive_timeout=10)) as web:
        assert status_at(web, begun(web, data)) == ([408], 50.0)


@pytest.mark.parametrize("pieces", [(b"\r", b"\n"), (get() + b"\r", b"\n"), (b"\r\n\r", b"\n"), (b"\r\n",), (get(),)])
def test_header_timeout_begins_with_the_first_byte_of_the_head(pieces: tuple[bytes, ...]) -> None:
    """RFC 9112 §2.2: an empty line before is no part of it."""
    with site(limits=Limits(header_timeout=5)) as web:
        peer = begun(web, *pieces)
        web.engine.advance(4)
        peer.take()
        peer.send(b"GET / HT")
        assert status_at(web, peer) == ([408], 5.0)


def test_header_timeout_is_for_each_head() -> None:
    with site(limits=Limits(header_timeout=5)) as web:
        peer = web.connect()
        for _ in range(10):
            peer.send(get()[:10])
            web.engine.advance(4)
            peer.send(get()[10:] + get()[:10])  # the next begins with the end of the last
            web.engine.advance(4)
            peer.send(get()[10:])
        assert [answer.status for answer in take_apart(peer.received)] == [200] * 20
        assert not peer.ended


BODIES = {"length": (b"Content-Length: 100000", b"a"), "chunks": (CHUNKED, b"1\r\na\r\n")}


@pytest.mark.parametrize("framing", BODIES)
@pytest.mark.parametrize("header_timeout", [1, 10, 100])
@pytest.mark.parametrize("cut", [0, 10])
def test_body_timeout(framing: str, header_timeout: float, cut: int) -> None:
    """Whatever the time for the head, and whether that came whole."""
    head = post(b"", BODIES[framing][0])
    with site(limits=Limits(header_timeout=header_timeout, body_timeout=10, body_rate=100)) as web:
        peer = begun(web, head[:cut], head[cut:])
        assert status_at(web, peer) == ([408], 10.0)
        peer = begun(web, head[:cut], head[cut:])
        peer.send(b"a" * 999 if framing == "length" else b"3db\r\n" + b"a" * 987)  # 992 bytes
        assert status_at(web, peer) == ([408], 10.0)


@pytest.mark.parametrize("framing", BODIES)
@pytest.mark.parametrize("header_timeout", [1, 100])
def test_body_rate(framing: str, header_timeout: float) -> None:
    field, byte = BODIES[framing]
    with site(limits=Limits(header_timeout=header_timeout, body_timeout=10, body_rate=100)) as web:
        peer = begun(web, post(b"", field))
        for _ in range(40):
            peer.send(byte * 100)  # 200 bytes a second of content at least
            web.engine.advance(0.5)
        assert not peer.ended
        assert peer.received == b""
        statuses, seconds = status_at(web, peer)
        assert statuses == [408]
        assert 0 < seconds <= 20


def test_a_body_that_arrives_in_time_has_no_deadline_behind_it() -> None:
    with site(limits=Limits(header_timeout=5, body_timeout=5, keep_alive_timeout=50)) as web:
        peer = begun(web, post(b"", b"Content-Length: 3"), b"ab")
        web.engine.advance(4)
        peer.send(b"c")
        assert [answer.status for answer in take_apart(peer.take())] == [200]
        web.engine.advance(40)
        assert not peer.ended
        peer.send(get())
        assert [answer.status for answer in take_apart(peer.take())] == [200]


@pytest.mark.parametrize("data", [b"", b"\r\n", get(), post(b"a"), get() + b"\r\n"])
def test_keep_alive_timeout(data: bytes) -> None:
    """RFC 9112 §9.5: a server may close an idle connection at any time, and says nothing then."""
    with site(limits=Limits(keep_alive_timeout=5)) as web:
        peer = begun(web, data)
        peer.take()
        assert status_at(web, peer) == ([], 5.0)


def test_keep_alive_timeout_is_not_for_a_handler() -> None:
    with site(lambda request: None, limits=Limits(keep_alive_timeout=5, header_timeout=5, body_timeout=5)) as web:
        peer = begun(web, get())
        web.engine.advance(100)
        assert not peer.ended
        web.requests[0].send_response("late")
        assert status_at(web, peer)[0] == [200]


@pytest.mark.parametrize("before", [b"", get()])
def test_write_timeout(before: bytes) -> None:
    """A client that takes nothing; the write rate is looked at once in that time."""
    with site(lambda request: request.send_response(b"a" * 100_000), limits=Limits(write_timeout=10)) as web:
        peer = web.connect()
        peer.window = 0
        peer.send(before + get())
        [connection] = web.server.channels.values()
        web.engine.advance(9)
        assert not connection.closed
        web.engine.advance(2)
        assert connection.closed
        assert web.server.counters.slow_readers == 1


@pytest.mark.parametrize("rate, kept", [(100, True), (110, True), (90, False)])
def test_write_rate(rate: int, kept: bool) -> None:
    limits = Limits(write_timeout=10, write_rate=100)
    with site(lambda request: request.send_response(b"a" * 100_000), limits=limits) as web:
        peer = web.connect()
        peer.window = 0
        peer.send(get())
        [connection] = web.server.channels.values()
        for _ in range(60):
            peer.window = rate
            web.engine.advance(1)
        assert connection.closed is not kept
        assert web.server.counters.slow_readers == (not kept)
