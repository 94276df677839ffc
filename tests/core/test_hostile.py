"""What peers and awkward moments once did to a stream, and must not do again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap

import pytest

from pants import Engine, Server, Stream
from pants.errors import ResolveError
from tests.core.support import Recorder, connected, run_until, tcp_pair, turns


def test_frames_behind_one_that_fails_are_handed_out_before_the_end() -> None:
    """DESIGN §3: "Complete frames are delivered first", also where each raises and the channel is kept."""

    class Stubborn(Recorder):
        def on_connect(self):
            self.read_delimiter = b"\n"

        def on_read(self, line):
            raise ValueError(line)

        def on_error(self, exception):
            pass

    with connected(Stubborn) as (stream, peer):
        peer.send(b"".join(b"%d\n" % number for number in range(10)))
        peer.end()
        run_until(lambda: "end" in stream.names)
        assert stream.reads == [b"%d" % number for number in range(10)]
        assert stream.names.index("end") > max(i for i, name in enumerate(stream.names) if name == "read")


@pytest.mark.parametrize("leaving", [SystemExit, KeyboardInterrupt])
def test_an_end_that_is_left_by_no_exception_closes_all_the_same(leaving: type[BaseException]) -> None:
    """DESIGN §3: "What is no Exception leaves start()". The engine can be started again; the channel is not stuck."""

    class Leaving(Recorder):
        def on_end(self):
            raise leaving

    with connected(Leaving) as (stream, peer):
        peer.end()
        with pytest.raises(leaving):
            run_until(lambda: stream.closed)
        run_until(lambda: stream.closed)
        assert stream.names[-1] == "close"


def test_pausing_again_does_not_keep_a_broken_connection() -> None:
    """Issue 2: "whatever a peer does ends in a hook and a closed channel"."""

    class Pausing(Recorder):
        def on_read(self, data):
            self.pause_reading()
            if len(self.reads) == 1:
                self.write(data * 200)

    with connected(Pausing, buffer=4096) as (stream, peer):
        peer.send(b"x" * 3000)
        run_until(lambda: stream.reads)
        peer.sock.send(b"x" * 2000)
        peer.reset()
        stream.write(b"more")
        run_until(lambda: stream.closed)
        assert isinstance(stream.close_error, OSError)
        assert "end" not in stream.names


def test_what_is_left_of_a_batch_after_a_nested_poll_does_not_reach_a_new_owner() -> None:
    """A descriptor's number may belong to another channel by then, which must not be told of the old one's hang-up."""
    engine = Engine.instance()
    made: list[Recorder] = []

    class Keeping(Recorder):
        def on_read(self, data):
            second.close(flush=False)
            while not second.closed:
                engine.poll(0)
            self.kept = tcp_pair()
            made.append(Recorder(socket=self.kept[0]))
            made[0].pause_reading()
            engine.poll(0)

    one, other = tcp_pair()
    two, another = tcp_pair()
    first, second = Keeping(socket=one), Recorder(socket=two)
    turns()
    other.send(b"x")
    another.close()
    run_until(lambda: made)
    made[0].write(bytes(3_000_000))
    received = 0
    first.kept[1].setblocking(False)

    def drain() -> bool:
        nonlocal received
        try:
            received += len(first.kept[1].recv(1 << 20))
        except BlockingIOError:
            pass
        return received == 3_000_000

    run_until(drain)
    for sock in (other, first.kept[1]):
        sock.close()


def test_names_are_resolved_in_a_forked_child() -> None:
    """A child has none of its parent's threads."""
    program = """
        import os, socket
        from pants import Engine, Server, Stream

        class Client(Stream):
            def on_connect_error(self, exception):
                print(type(exception).__name__, flush=True)
                self.engine.stop()

        socket.getaddrinfo = lambda *_: (_ for _ in ()).throw(socket.gaierror(socket.EAI_NONAME, "no such name"))
        def look_up():
            engine = Engine()
            Client(engine=engine).connect(("none.test", 80))
            engine.start()
            engine.close()

        look_up()
        child = os.fork()
        if not child:
            look_up()
            os._exit(0)
        os.waitpid(child, 0)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.split() == [ResolveError.__name__] * 2


def test_a_second_ctrl_c_does_not_tear_the_loops_own_work() -> None:
    """Pressed twice while Pants itself runs, it leaves start() at a boundary; pressed in a hook, at once."""
    engine = Engine.instance()
    sock, other = tcp_pair()
    log: list[str] = []

    class Pressing:
        """Stands for the kernel taking data, in the middle of which the signals arrive."""

        def __getattr__(self, name: str):
            return getattr(sock, name)

        def send(self, data: bytes) -> int:
            sent = sock.send(data)
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
            log.append("sent")
            return sent

    stream = Recorder(socket=sock)
    turns()
    Pressing.__module__ = "pants.pressing"
    stream.socket = Pressing()  # type: ignore[assignment]
    Pressing.send.__globals__["__name__"], name = "pants.pressing", __name__
    try:
        engine.callback(stream.write, b"spam")
        with pytest.raises(KeyboardInterrupt):
            engine.start()
    finally:
        Pressing.send.__globals__["__name__"] = name
    assert log == ["sent"]
    assert stream.queued_bytes == 0
    stream.socket = sock
    assert other.recv(100) == b"spam"
    other.close()


def test_a_second_ctrl_c_leaves_a_hook_at_once() -> None:
    engine = Engine.instance()
    log: list[str] = []

    def hook() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        log.append("first")
        os.kill(os.getpid(), signal.SIGINT)
        log.append("second")

    engine.callback(hook)
    with pytest.raises(KeyboardInterrupt):
        engine.start()
    assert log == ["first"]


def test_a_constructor_that_fails_leaves_no_descriptor_of_a_file(tmp_path) -> None:
    """What a half-made connection had queued is given back."""
    path = tmp_path / "file"
    path.write_bytes(b"spam")

    class Failing(Stream):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            with path.open("rb") as file:
                self.write_file(file)
            raise ValueError("no")

    server = Server()
    sock, other = tcp_pair()
    before = len(os.listdir("/dev/fd"))
    with pytest.raises(ValueError, match="no"):
        Failing(socket=sock, server=server)
    sock.close()
    turns()
    assert len(os.listdir("/dev/fd")) == before - 1
    other.close()
    server.close()
