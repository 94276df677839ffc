"""How a WebSocket ends, whoever ends it, and what on_close() is told (RFC 6455 §7)."""

from __future__ import annotations

import logging
from typing import Any, ClassVar

import pytest

from pants.http import HTTPRequest, HTTPServer, WebSocketError
from pants.testing import MemoryEngine, run_until
from tests.conftest import ExpectedLog
from tests.core.support import client_of
from tests.http.ws_support import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    Echo,
    Frame,
    Recorder,
    closing,
    codes,
    frame,
    message,
    opened,
    opening,
    take_frames,
    ws_site,
)

Told = tuple[int | None, str, type[Exception] | None]


class Kind(Recorder):
    """Notes what on_close() sees."""

    seen: Told | None = None

    def on_close(self) -> None:
        assert self.seen is None
        assert not self.connected
        assert self.closed
        error = self.close_error
        self.seen = (self.close_code, self.close_reason, None if error is None else type(error))


# --- close() --------------------------------------------------------------------------------------------------------


def test_the_closing_handshake() -> None:
    """Manual: "wait for any remaining data to be sent and send a close frame before closing the connection"."""
    with opened(Kind) as (websocket, client):
        websocket.write("last words")
        websocket.close()
        assert not websocket.connected
        assert not websocket.closed
        client.engine.advance()
        words, farewell = client.frames()
        assert words == Frame(TEXT, b"last words")
        assert farewell.opcode == CLOSE
        assert farewell.payload[:2] == (1000).to_bytes(2, "big")
        farewell.payload[2:].decode()  # "a message string to send rather than the default"
        client.engine.advance(1)
        assert "close" not in websocket.names  # the peer has not answered
        assert not client.ended
        client.send(closing(1000))
        assert websocket.is_over
        assert websocket.seen == (1000, "", None)
        assert client.ended  # RFC 6455 §7.1.1: the server closes first
        assert not client.peer.was_reset
        assert client.frames() == []
        client.engine.advance(5)
        assert client.engine.time_to_timer() is None


@pytest.mark.parametrize(
    "code", [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999]
)
@pytest.mark.parametrize("text", [None, "", "Ende", "é" * 61, "x" * 123])
def test_codes_and_messages(code: int, text: str | None) -> None:
    with opened(Kind) as (websocket, client):
        websocket.close(reason=code, message=text)
        client.engine.advance()
        [one] = client.frames()
        assert codes([one]) == [code]
        if text is not None:
            assert one.payload[2:].decode() == text
        client.send(frame(CLOSE, one.payload))
        assert websocket.seen == (code, one.payload[2:].decode(), None)


BAD_CLOSES: list[tuple[dict[str, Any], type[Exception]]] = [
    *[({"reason": reason}, TypeError) for reason in ("bye", 1000.0, None, True, b"")],
    *[({"reason": code}, ValueError) for code in (0, -1, 999, 1004, 1005, 1006, 1015, 1100, 2999, 5000, 65536)],
    *[({"message": text}, TypeError) for text in (b"bye", 1, ["a"])],
    *[({"message": text}, ValueError) for text in ("x" * 124, "é" * 62, "\ud800")],
]


@pytest.mark.parametrize("kwargs, error", BAD_CLOSES)
@pytest.mark.parametrize("flush", [True, False])
def test_bad_arguments_raise_at_the_call(kwargs: dict[str, Any], error: type[Exception], flush: bool) -> None:
    """And it stays open."""
    with opened() as (websocket, client):
        with pytest.raises(error):
            websocket.close(flush, **kwargs)
        client.engine.advance()
        assert client.frames() == []
        assert websocket.connected
        client.send("a")
        assert websocket.reads == ["a"]


def test_closing_at_once() -> None:
    """Manual: "If False, closes the connection immediately, without ensuring all buffered data is sent"."""
    with opened(Kind) as (websocket, client):
        client.peer.window = 5
        websocket.write("x" * 1000)
        client.engine.advance()
        websocket.close(flush=False)
        assert not websocket.connected
        assert websocket.names[-1] != "close"  # never inside the call
        client.peer.window = None
        client.engine.advance()
        assert websocket.is_over
        assert websocket.seen == (1006, "", None)
        assert client.ended
        assert client.peer.received[4:] == b"x"  # what had gone before


def test_closing_again_does_nothing() -> None:
    with opened(Kind) as (websocket, client):
        websocket.close(reason=4000)
        websocket.close(reason=4001)
        client.engine.advance()
        websocket.close()
        client.engine.advance()
        assert codes(client.frames()) == [4000]
        client.send(closing(4000))
        websocket.close()
        websocket.close(flush=False)
        client.engine.advance(60)
        assert websocket.is_over
        assert client.frames() == []


def test_closing_at_once_while_it_closes() -> None:
    with opened(Kind) as (websocket, client):
        websocket.close()
        client.engine.advance(1)
        websocket.close(flush=False)
        client.engine.advance()
        assert websocket.is_over
        assert client.ended


def test_on_read_is_not_called_any_more() -> None:
    """`close`: at once. Pings are answered until the peer's Close frame has come (RFC 6455 §5.5.2)."""

    class Closer(Kind):
        def on_read(self, data: str) -> None:
            self.close()

    with opened(Closer) as (websocket, client):
        client.send("a", "b", frame(PING, "p"), frame(TEXT, "c", fin=False), frame(CONTINUATION, "d"))
        assert websocket.reads == ["a"]
        assert [one.opcode for one in client.frames()] == [CLOSE, PONG]
        client.send("e" * 100_000, frame(PONG), frame(TEXT, b"\xff"), closing(1000), "f", frame(PING))
        assert client.frames() == []
        assert websocket.reads == ["a"]
        assert websocket.is_over
        assert websocket.seen == (1000, "", None)


def test_what_was_written_is_sent_first() -> None:
    with opened(Kind) as (websocket, client):
        client.peer.window = 10
        websocket.write("x" * 1000)
        websocket.close()
        client.engine.advance(2)
        client.peer.window = 500
        client.engine.advance(2)
        client.peer.window = None
        client.engine.advance()
        assert [one.opcode for one in client.frames()] == [TEXT, CLOSE]
        client.send(closing())
        assert websocket.seen == (1000, "", None)


def test_closing_outside_the_loop_and_in_every_hook() -> None:
    for hook in ("on_connect", "on_read", "on_write", "on_pong", "on_high_water", "on_overflow_error", "on_error"):
        kind = type(
            "Closer", (Kind,), {hook: lambda self, *_: self.close(reason=3001), "high_water": 10, "close_timeout": 1}
        )
        with ws_site(kind) as site:
            client = site.ask()
            [websocket] = site.sockets
            if hook == "on_error":
                websocket.on_read = lambda data: 1 / 0
            if hook == "on_write":
                websocket.write("a")
                client.engine.advance()
            if hook == "on_high_water":
                client.peer.window = 0
                websocket.write("x" * 100)
                client.engine.advance()
                client.peer.window = None
            if hook == "on_pong":
                websocket.ping(b"p")
            if hook == "on_overflow_error":
                client.send("x" * 70_000)
            client.send(frame(PONG, "p"), "a", "b")
            assert not websocket.connected
            assert len(websocket.reads) <= 1, hook
            client.engine.advance()
            assert codes(client.frames()) == [3001], hook
            client.send(closing(3001))
            assert websocket.is_over, hook
            assert websocket.seen == (3001, "", None), hook


def test_closing_in_on_close_is_too_late() -> None:
    raised: list[type[Exception]] = []

    class Closer(Recorder):
        def on_close(self) -> None:
            self.close()
            self.close(flush=False)
            try:
                self.write("a")
            except RuntimeError as error:
                raised.append(type(error))

    with opened(Closer) as (websocket, client):
        client.send(closing())
        assert websocket.is_over
        assert raised == [RuntimeError]


# --- The peer closes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunk", [None, 1])
@pytest.mark.parametrize(
    "code, reason, seen",
    [
        *[(code, "bye", (code, "bye", None)) for code in (1000, 1001, 1002, 1009, 1011, 1012, 1014, 3000, 4999)],
        (1000, "", (1000, "", None)),
        (1000, "é" * 61, (1000, "é" * 61, None)),
        (None, "", (1005, "", None)),
    ],
)
def test_the_close_frame_of_the_peer_is_answered(code: int | None, reason: str, seen: Told, chunk: int | None) -> None:
    """RFC 6455 §5.5.1: typically echoing the code; §7.1.5: 1005 where there was none."""
    with opened(Kind) as (websocket, client):
        client.send("a", closing(code, reason), chunk=chunk)
        [one] = client.frames()
        assert one.opcode == CLOSE
        assert one.payload[:2] == (b"" if code is None else code.to_bytes(2, "big"))
        assert client.ended
        assert not client.peer.was_reset
        assert websocket.reads == ["a"]
        assert websocket.is_over
        assert websocket.seen == seen


def test_nothing_is_taken_after_a_close_frame() -> None:
    """RFC 6455 §1.4: after it the peer sends nothing more, and what comes is discarded."""
    with opened(Kind) as (websocket, client):
        client.send("a", closing(4000), "b", frame(PING), frame(3), closing(4001))
        assert websocket.reads == ["a"]
        assert [one.opcode for one in client.frames()] == [CLOSE]
        assert websocket.seen == (4000, "", None)


def test_what_was_written_goes_before_the_answer() -> None:
    with opened(Echo) as (websocket, client):
        client.peer.window = 100
        client.send("x" * 1000, closing(4000))
        client.engine.advance(5)
        assert not websocket.closed
        assert not websocket.connected
        client.peer.window = None
        client.engine.advance()
        assert [one.opcode for one in client.frames()] == [TEXT, CLOSE]
        assert client.ended
        assert websocket.is_over


def test_close_frames_that_cross() -> None:
    """RFC 6455 §7.1.3, §7.1.5: one is sent; the code is that of the first one received."""
    with opened(Kind) as (websocket, client):
        websocket.close(reason=4001)
        client.send(closing(4002, "mine"))
        assert codes(client.frames()) == [4001]
        assert websocket.is_over
        assert websocket.seen == (4002, "mine", None)
        assert client.ended


@pytest.mark.parametrize("closed_before", [True, False])
def test_the_peer_ends_without_a_close_frame(closed_before: bool) -> None:
    """RFC 6455 §7.1.5: 1006; what it had sent is passed on (DESIGN §3)."""
    with opened(Kind) as (websocket, client):
        client.send("a", frame(TEXT, "b", fin=False))
        if closed_before:
            websocket.close()
        client.peer.end()
        client.engine.advance()
        assert websocket.is_over
        assert websocket.reads == ["a"]
        assert websocket.seen is not None
        assert websocket.seen[0] == 1006
        assert client.ended


def test_frames_in_the_same_segment_as_the_end() -> None:
    with opened(Echo) as (websocket, client):
        client.peer._socket.send(message("a") + message("b"))
        client.peer.end()
        assert websocket.reads == ["a", "b"]
        assert client.messages() == ["a", "b"]  # it may still listen
        assert websocket.close_code == 1006


def test_the_peer_resets_the_connection() -> None:
    with opened(Kind) as (websocket, client):
        client.peer.reset()
        assert websocket.is_over
        assert websocket.seen == (1006, "", ConnectionResetError)


def test_the_peer_goes_while_something_is_sent() -> None:
    with opened(Kind) as (websocket, client):
        client.peer.window = 10
        websocket.write("x" * 1000)
        client.engine.advance()
        client.peer.reset()
        assert websocket.is_over
        assert websocket.close_code == 1006


def test_the_client_has_gone_before_it_is_open() -> None:
    requests: list[HTTPRequest] = []
    with MemoryEngine() as engine:
        peer = engine.accept(HTTPServer(requests.append, engine=engine))
        peer.send(opening())
        peer.reset()
        engine.advance()
        websocket = Kind(requests[0])
        engine.advance(60)
        assert not websocket.connected
        assert websocket.closed
        assert "connect" not in websocket.names


@pytest.mark.parametrize("how", ["end", "reset"])
def test_the_client_goes_just_when_it_opens(how: str) -> None:
    requests: list[HTTPRequest] = []
    with MemoryEngine() as engine:
        peer = engine.accept(HTTPServer(requests.append, engine=engine))
        peer.send(opening() + message("a"))
        websocket = Kind(requests[0])
        if how == "end":
            peer.end()
        else:
            peer.reset()
        engine.advance()
        assert websocket.is_over
        assert websocket.close_code == 1006


# --- A peer that does not answer ------------------------------------------------------------------------------------


def test_a_peer_that_does_not_answer_is_cut() -> None:
    """`WebSocketLink.close_timeout`."""
    with opened(Kind) as (websocket, client):
        websocket.close()
        client.engine.advance(9.9)
        assert not websocket.closed
        client.engine.advance(0.2)
        assert websocket.is_over
        assert websocket.seen == (1006, "", TimeoutError)
        assert client.ended


@pytest.mark.parametrize("where", ["in the class", "in on_connect", "later"])
def test_close_timeout_may_be_set(where: str) -> None:
    class Quick(Kind):
        if where == "in the class":
            close_timeout = 2

        def on_connect(self, *_: Any) -> None:
            if where == "in on_connect":
                self.close_timeout = 2

    with opened(Quick) as (websocket, client):
        if where == "later":
            websocket.close_timeout = 2
        websocket.close()
        client.engine.advance(1.9)
        assert not websocket.closed
        client.engine.advance(0.2)
        assert websocket.is_over


def test_without_close_timeout_it_is_waited_for() -> None:
    class Patient(Kind):
        close_timeout = None

    with opened(Patient) as (websocket, client):
        websocket.close()
        client.engine.advance(100_000)
        assert not websocket.closed
        client.send(closing())
        assert websocket.is_over


def test_a_peer_that_sends_on_is_cut_as_well() -> None:
    with opened(Kind) as (websocket, client):
        websocket.close()
        for _ in range(15):
            if not client.ended:
                client.send("still here", frame(PING))
                client.engine.advance(1)
        assert websocket.is_over
        assert websocket.reads == []
        assert websocket.seen == (1006, "", TimeoutError)


def test_a_peer_that_is_still_taking_what_was_written_is_not_cut() -> None:
    """`close_timeout`: seconds to answer, and to take what is left; a slow one that moves is not cut for it."""
    with opened(Kind) as (websocket, client):
        client.peer.window = 0
        websocket.write(b"x" * 300_000)
        websocket.close()
        for _ in range(30):
            client.engine.advance(8)
            client.peer.window = 10_000
        client.engine.advance(8)
        assert not websocket.closed
        client.peer.window = None
        client.engine.advance(1)
        assert codes(client.frames()) == [1000]
        client.send(closing())
        assert websocket.seen == (1000, "", None)


def test_a_peer_that_takes_nothing_of_what_is_left_is_cut() -> None:
    with opened(Kind) as (websocket, client):
        client.peer.window = 0
        websocket.write(b"x" * 300_000)
        websocket.close()
        client.engine.advance(30)
        assert websocket.is_over
        assert websocket.close_code == 1006


@pytest.mark.parametrize("how", ["closed by the peer", "failed"])
def test_a_peer_that_takes_nothing_of_the_answer_is_cut(how: str) -> None:
    with opened(Kind) as (websocket, client):
        client.peer.window = 0
        websocket.write(b"x" * 1000)
        client.engine.advance()
        client.send(closing(4000) if how != "failed" else frame(3))
        client.engine.advance(60)
        assert websocket.is_over
        assert websocket.close_code == (4000 if how != "failed" else 1002)
        client.engine.advance(5)
        assert client.engine.time_to_timer() is None


# --- Peers that break the protocol ----------------------------------------------------------------------------------

VIOLATIONS: dict[str, tuple[int, bytes]] = {
    "a frame that is not masked": (1002, frame(TEXT, "a", mask=None)),
    "a ping that is not masked": (1002, frame(PING, "a", mask=None)),
    "a Close frame that is not masked": (1002, frame(CLOSE, b"\x03\xe8", mask=None)),
    **{f"reserved bit {bit:#x}": (1002, frame(TEXT, "a", rsv=bit)) for bit in (0x10, 0x20, 0x40)},
    "a reserved bit of a ping": (1002, frame(PING, "a", rsv=0x40)),
    **{f"opcode {opcode}": (1002, frame(opcode, "a")) for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)},
    "a long ping": (1002, frame(PING, "x" * 126)),
    "a ping with a long form": (1002, frame(PING, "x", form=2)),
    "a fragmented ping": (1002, frame(PING, "a", fin=False)),
    "a fragmented Close frame": (1002, frame(CLOSE, b"\x03\xe8", fin=False)),
    "nothing to continue": (1002, frame(CONTINUATION, "a")),
    "an end of nothing": (1002, frame(CONTINUATION, fin=False)),
    "text within text": (1002, frame(TEXT, "a", fin=False) + frame(TEXT, "b")),
    "bytes within text": (1002, frame(TEXT, "a", fin=False) + frame(BINARY, "b")),
    "a length of 2 bytes for 125": (1002, frame(BINARY, "x" * 125, form=2)),
    "a length of 8 bytes for 65535": (1002, frame(BINARY, "x" * 65535, form=8)),
    "a length of 8 bytes for none": (1002, frame(BINARY, form=8)),
    "a length of 64 bits": (1002, b"\x82\xff" + b"\xff" * 8 + b"mask"),
    "a Close frame of 1 byte": (1002, frame(CLOSE, b"\x03")),
    **{
        f"the code {code}": (1002, closing(code))
        for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535)
    },
    "a Close frame that is not UTF-8": (1007, closing(1000, b"\xff")),
    "text that is not UTF-8": (1007, frame(TEXT, b"a\xffb")),
    "text that ends in a character": (1007, frame(TEXT, b"a\xe2\x82")),
    "empty fragments without end": (1008, frame(TEXT, fin=False) + frame(CONTINUATION, fin=False) * 2000),
}


@pytest.mark.parametrize("chunk", [None, 1])
@pytest.mark.parametrize("name", VIOLATIONS)
def test_a_peer_that_breaks_the_protocol(name: str, chunk: int | None) -> None:
    """RFC 6455 §7.1.7 and §7.4.1: it is told the code, the connection ends, and nothing is logged as an error."""
    code, data = VIOLATIONS[name]
    with opened(Kind) as (websocket, client):
        client.send("before")
        if chunk:
            for byte in data:
                if client.ended:
                    break
                client.send(bytes([byte]))
        else:
            client.send(data, "after", closing())
        [one] = client.frames()
        assert codes([one]) == [code]
        assert one.payload[2:].decode()
        assert client.ended
        assert not client.peer.was_reset
        assert websocket.reads == ["before"]
        assert websocket.is_over
        assert websocket.seen == (code, one.payload[2:].decode(), WebSocketError)
        assert websocket.close_error.code == code
        client.engine.advance(5)
        assert client.engine.time_to_timer() is None


@pytest.mark.parametrize("name", ["opcode 3", "text that is not UTF-8", "the code 999"])
def test_what_came_before_in_the_same_segment_is_passed_on(name: str) -> None:
    code, data = VIOLATIONS[name]
    with opened(Kind) as (websocket, client):
        client.send("a", frame(TEXT, "b", fin=False), frame(PING, "p"), frame(CONTINUATION, "c"), data)
        assert websocket.reads == ["a", "bc"]
        assert [one.opcode for one in client.frames()] == [PONG, CLOSE]
        assert websocket.close_code == code


def test_a_violation_while_it_closes() -> None:
    """There is one Close frame only."""
    with opened(Kind) as (websocket, client):
        websocket.close(reason=4000)
        client.send(frame(3))
        assert codes(client.frames()) == [4000]
        assert client.ended
        assert websocket.is_over
        assert isinstance(websocket.close_error, WebSocketError)


def test_a_violation_with_the_request() -> None:
    with ws_site(Kind) as site:
        client = site.ask(behind=message("a") + frame(3))
        [websocket] = site.sockets
        assert websocket.names == ["connect", "read", "close"]
        assert codes(client.frames()) == [1002]


# --- Errors in hooks ------------------------------------------------------------------------------------------------


def fails(self: Recorder, *_: Any) -> None:
    raise KeyError("in a hook")


FAILING = ["on_connect", "on_read", "on_write", "on_pong", "on_high_water", "on_overflow_error"]


@pytest.mark.parametrize("hook", FAILING)
def test_an_error_in_a_hook_closes_with_1011(hook: str, expect_log: ExpectedLog) -> None:
    """`WebSocketHooks.on_error`: by default, logs it and closes the WebSocket with the code 1011."""
    expect_log("An error on .*in a hook")
    kind = type("Failing", (Kind,), {hook: fails, "high_water": 10})
    with ws_site(kind) as site:
        other, other_client = site.open() if hook != "on_connect" else (None, None)
        client = site.ask()
        websocket = site.sockets[-1]
        websocket.ping(b"p") if websocket.connected else None
        if websocket.connected and hook in ("on_write", "on_high_water"):
            client.peer.window = 0 if hook == "on_high_water" else None
            websocket.write("x" * 100)
            client.engine.advance()
            client.peer.window = None
        for piece in (frame(PONG, "p"), message("x" * 70_000), message("a")):
            if not client.ended and hook not in ("on_write", "on_high_water", "on_connect"):
                if hook == "on_overflow_error" or len(piece) < 1000:
                    client.send(piece)
        client.engine.advance()
        frames = client.frames()
        assert codes(frames) == [1011]
        assert frames[-1].payload[2:].decode()
        if not client.ended:
            client.send(closing(1011))
        client.engine.advance(12)
        assert websocket.is_over
        assert websocket.close_code == 1011
        assert websocket.names.count(hook.removeprefix("on_")) == 1
        if other is not None and other_client is not None and hook not in ("on_write", "on_high_water"):
            assert other.connected
            other.write("fine")
            client.engine.advance()
            assert other_client.messages() == ["fine"]


def test_an_error_in_on_close_is_logged(expect_log: ExpectedLog) -> None:
    expect_log("on_close of .* failed")
    kind = type("Failing", (Recorder,), {"on_close": fails})
    with ws_site(kind) as site:
        first, second = site.open(), site.open()
        first[1].send(closing())
        assert first[0].is_over
        assert first[1].ended
        assert second[0].connected


def test_an_error_in_on_error_is_logged(expect_log: ExpectedLog) -> None:
    expect_log("on_error of .* failed")
    kind = type("Failing", (Kind,), {"on_error": fails, "on_read": fails})
    with opened(kind) as (websocket, client):
        client.send("a", "b")
        assert codes(client.frames()) == [1011]
        client.engine.advance(60)
        assert websocket.is_over
        assert websocket.reads == ["a"]


@pytest.mark.parametrize("hook", FAILING)
def test_the_program_may_take_errors_itself(hook: str) -> None:
    taken: list[Exception] = []
    kind = type(
        "Failing", (Kind,), {hook: fails, "high_water": 10, "on_error": lambda self, error: taken.append(error)}
    )
    with ws_site(kind) as site:
        client = site.ask()
        [websocket] = site.sockets
        client.peer.window = 0
        websocket.ping(b"p")
        websocket.write("x" * 100)
        client.engine.advance()
        client.peer.window = None
        client.send(frame(PONG, "p"), *(["x" * 70_000] if hook == "on_overflow_error" else []), "a", "b")
        assert [str(error) for error in taken] == ["'in a hook'"] * websocket.names.count(hook.removeprefix("on_"))
        assert taken
        assert websocket.connected
        client.send(closing())
        assert websocket.seen == (1000, "", None)


# --- The server and the engine --------------------------------------------------------------------------------------


def test_a_server_that_closes_tells_its_clients() -> None:
    """RFC 6455 §7.4.1: 1001, "such as a server going down"."""
    with ws_site(Kind) as site:
        pairs = [site.open() for _ in range(3)]
        pairs[0][0].write("last words")
        site.server.close()
        assert not any("close" in websocket.names for websocket, _ in pairs)
        site.engine.advance()
        for websocket, client in pairs:
            frames = client.frames()
            assert codes(frames) == [1001]
            assert (len(frames) == 2) is (websocket is pairs[0][0])
            assert not websocket.connected
        site.engine.advance(60)
        for websocket, client in pairs:
            assert websocket.is_over
            assert client.ended
        assert not site.server.channels


def test_a_server_that_closes_before_it_is_open() -> None:
    requests: list[HTTPRequest] = []
    with MemoryEngine() as engine:
        server = HTTPServer(requests.append, engine=engine)
        peer = engine.accept(server)
        peer.send(opening())
        websocket = Kind(requests[0])
        server.close()
        engine.advance(60)
        assert websocket.closed
        assert websocket.names in (["close"], ["connect", "close"])
        assert peer.ended


def test_a_graceful_shutdown_waits_for_the_handshake() -> None:
    """`HTTPServer.shutdown`."""
    with ws_site(Kind) as site:
        (first, first_client), (second, second_client) = site.open(), site.open()
        site.server.shutdown(30)
        site.engine.advance()
        assert codes(first_client.frames()) == codes(second_client.frames()) == [1001]
        first_client.send(closing(1001))
        assert first.seen == (1001, "", None)
        assert not second.closed
        site.engine.advance(5)
        second_client.send(closing(1001))
        assert second.seen == (1001, "", None)
        site.engine.advance(1)
        assert site.server.closed


@pytest.mark.parametrize("close_timeout, seconds", [(10, 11), (None, 32)])
def test_a_shutdown_has_an_end(close_timeout: float | None, seconds: float) -> None:
    kind = type("Patient", (Kind,), {"close_timeout": close_timeout})
    with ws_site(kind) as site:
        websocket, client = site.open()
        site.server.shutdown(30)
        site.engine.advance(seconds)
        assert websocket.is_over
        assert client.ended
        site.engine.advance(1)
        assert site.server.closed


def test_a_shutdown_while_it_opens() -> None:
    requests: list[HTTPRequest] = []
    with MemoryEngine() as engine:
        server = HTTPServer(requests.append, engine=engine)
        peer = engine.accept(server)
        peer.send(opening())
        server.shutdown(30)
        websocket = Kind(requests[0])
        engine.advance()
        head, _, rest = peer.take().partition(b"\r\n\r\n")
        if head.startswith(b"HTTP/1.1 101"):  # then it is told at once
            assert codes(take_frames(rest)[0]) == [1001]
            peer.send(closing(1001))
        engine.advance(60)
        assert websocket.closed
        assert server.closed


def test_a_connection_that_is_closed_from_elsewhere() -> None:
    """What `HTTPServer.channels` holds are the connections."""
    with ws_site(Kind) as site:
        websocket, client = site.open()
        for connection in list(site.server.channels.values()):
            connection.close()
        assert not websocket.connected
        site.engine.advance()
        assert codes(client.frames()) == [1001]
        assert client.ended
        websocket, client = site.open()
        for connection in list(site.server.channels.values()):
            connection.close(flush=False)
        assert not websocket.connected
        with pytest.raises(RuntimeError):
            websocket.write("a")
        site.engine.advance()
        assert websocket.is_over
        assert client.ended


@pytest.mark.parametrize("state", ["open", "closing", "blocked", "paused", "amid a message"])
def test_an_engine_that_closes(state: str) -> None:
    """`Engine.close`: on_close() is called before it returns."""
    with opened(Kind) as (websocket, client):
        if state == "closing":
            websocket.close()
        elif state == "blocked":
            client.peer.window = 0
            websocket.write("x" * 100)
        elif state == "paused":
            websocket.pause_reading()
            client.send("a")
        elif state == "amid a message":
            client.send(frame(TEXT, "a", fin=False))
        client.engine.close()
        assert websocket.is_over
        assert websocket.close_code == 1006
        with pytest.raises(RuntimeError):
            websocket.write("a")


def test_many_ways_at_once() -> None:
    """on_close() comes once."""
    with opened(Kind) as (websocket, client):
        websocket.close()
        client.site.server.close()
        client.send(closing(), closing())
        websocket.close(flush=False)
        client.engine.advance(60)
        assert websocket.is_over


def test_on_close_may_look_at_the_others() -> None:
    """A chat: those who are left are told."""

    class Chat(Recorder):
        users: ClassVar[set[Chat]] = set()

        def on_connect(self, *_: Any) -> None:
            self.users.add(self)

        def on_close(self) -> None:
            self.users.discard(self)
            for user in self.users:
                user.write(f"{self.close_code}")

    with ws_site(Chat) as site:
        clients = [site.open()[1] for _ in range(3)]
        clients[0].send(closing(4000))
        clients[1].peer.reset()
        assert clients[2].messages() == ["4000", "1006"]
        Chat.users.clear()


def test_what_a_peer_does_is_not_logged_as_a_fault(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG), opened(Kind) as (_, client):
        client.send(frame(3))
        assert [record for record in caplog.records if record.levelno > logging.DEBUG] == []


def test_on_a_real_socket() -> None:
    """Nothing of the last message is lost where the client has sent what nobody reads."""
    made: list[Kind] = []

    class Last(Kind):
        def on_read(self, data: Any) -> None:
            made.append(self)
            self.write(b"x" * 3_000_000)
            self.close(reason=4000)

    server = HTTPServer(Last).listen(("127.0.0.1", 0))
    with client_of(server) as peer:
        peer.send(opening() + message("go") + message("unread" * 1000) + closing(4000))
        data = peer.receive_to_end().partition(b"\r\n\r\n")[2]
        frames, rest = take_frames(data)
        assert [(one.opcode, len(one.payload)) for one in frames[:1]] == [(BINARY, 3_000_000)]
        assert (codes(frames), rest) == ([4000], b"")
        run_until(lambda: made[0].is_over)
        assert made[0].seen == (4000, "", None)
    with client_of(server) as peer:
        peer.send(opening() + frame(3) + b"x" * 100_000)
        assert codes(take_frames(peer.receive_to_end().partition(b"\r\n\r\n")[2])[0]) == [1002]
    run_until(lambda: not server.channels)
    server.close()
