"""What the tests of TLS and of connecting share: certificates, a stream that notes its hooks, peers in threads."""

from __future__ import annotations

import atexit
import contextlib
import datetime as dt
import errno
import functools
import re
import select
import shutil
import socket
import ssl
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Generic, TypeVar

import trustme
from cryptography.hazmat.primitives import serialization

from pants import Engine, Server, Stream

T = TypeVar("T")

# Far beyond what any of it takes: a test that gets there has failed.
DEADLINE = 30.0

PASSWORD = b"open sesame"


# --- Certificates --------------------------------------------------------------------------------------------------


class Certificates:
    """Files with certificates and keys, made once for all tests.

    `ca` is the authority that the peers trust. Each of the others is a file with a key and its certificate.
    """

    def __init__(self, folder: Path) -> None:
        authority, stranger = trustme.CA(), trustme.CA()
        self.ca = str(folder / "ca.pem")
        authority.cert_pem.write_to_path(self.ca)
        self.other_ca = str(folder / "other-ca.pem")
        stranger.cert_pem.write_to_path(self.other_ca)
        past = dt.datetime.now(dt.UTC) - dt.timedelta(days=30)

        def write(name: str, cert: trustme.LeafCert) -> str:
            path = str(folder / f"{name}.pem")
            cert.private_key_and_cert_chain_pem.write_to_path(path)
            return path

        good = authority.issue_cert("localhost", "127.0.0.1", "::1")
        self.good = write("good", good)
        self.wrong_host = write("wrong-host", authority.issue_cert("elsewhere.example"))
        self.expired = write(
            "expired",
            authority.issue_cert("localhost", "127.0.0.1", not_before=past, not_after=past + dt.timedelta(days=1)),
        )
        self.untrusted = write("untrusted", stranger.issue_cert("localhost", "127.0.0.1"))
        self.client = write("client", authority.issue_cert("client@example.org"))
        self.untrusted_client = write("untrusted-client", stranger.issue_cert("mallory@example.org"))
        self.second = write("second", authority.issue_cert("second.example"))
        # The certificate and its key apart, the key a second time under a password.
        self.certfile = str(folder / "certificate.pem")
        Path(self.certfile).write_bytes(b"".join(blob.bytes() for blob in good.cert_chain_pems))
        self.keyfile = str(folder / "key.pem")
        good.private_key_pem.write_to_path(self.keyfile)
        key = serialization.load_pem_private_key(good.private_key_pem.bytes(), None)
        self.locked_keyfile = str(folder / "locked-key.pem")
        Path(self.locked_keyfile).write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.BestAvailableEncryption(PASSWORD),
            )
        )
        self.garbage = str(folder / "garbage.pem")
        Path(self.garbage).write_text("this is no certificate\n")
        self.missing = str(folder / "missing.pem")

    def server_context(self, certfile: str | None = None, **attributes: Any) -> ssl.SSLContext:
        """A context of Python's own for a peer that serves."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certfile or self.good)
        for name, value in attributes.items():
            setattr(context, name, value)
        return context

    def client_context(self, certfile: str | None = None, **attributes: Any) -> ssl.SSLContext:
        """A context of Python's own for a peer that connects."""
        context = ssl.create_default_context(cafile=self.ca)
        if certfile is not None:
            context.load_cert_chain(certfile)
        for name, value in attributes.items():
            setattr(context, name, value)
        return context


@functools.cache
def certificates() -> Certificates:
    folder = tempfile.mkdtemp(prefix="pants-tls-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Certificates(Path(folder))


# --- Streams that note what happens to them ------------------------------------------------------------------------


class Recorder(Stream):
    """Notes its hooks in `hooks` (repeated on_read once), what they were called with, and reacts as by default."""

    def __init__(self, **kwargs: Any) -> None:
        self.hooks: list[str] = []
        self.errors: list[Exception] = []
        self.data = bytearray()
        self.frames: list[Any] = []
        self.writes = 0
        super().__init__(**kwargs)

    def on_connect(self) -> None:
        self.hooks.append("on_connect")

    def on_read(self, *args: Any) -> None:
        if self.hooks[-1:] != ["on_read"]:
            self.hooks.append("on_read")
        if len(args) == 1 and isinstance(args[0], bytes):
            self.data += args[0]
        self.frames.append(args[0] if len(args) == 1 else args)

    def on_write(self) -> None:
        self.writes += 1

    def on_end(self) -> None:
        self.hooks.append("on_end")
        self.close()

    def on_ssl_handshake(self) -> None:
        self.hooks.append("on_ssl_handshake")

    def on_close(self) -> None:
        self.hooks.append("on_close")

    def on_connect_error(self, exception: Exception) -> None:
        self._note("on_connect_error", exception)

    def on_error(self, exception: Exception) -> None:
        self._note("on_error", exception)

    def on_ssl_error(self, exception: Exception) -> None:
        self._note("on_ssl_error", exception)

    def on_ssl_handshake_error(self, exception: Exception) -> None:
        self._note("on_ssl_handshake_error", exception)

    def on_overflow_error(self, exception: Exception) -> None:
        self._note("on_overflow_error", exception)

    def _note(self, hook: str, exception: Exception) -> None:
        self.hooks.append(hook)
        self.errors.append(exception)
        self.close()

    @property
    def error(self) -> Exception:
        """The one error that there was."""
        (error,) = self.errors
        return error


class Echo(Recorder):
    """Writes back what it reads."""

    def on_read(self, *args: Any) -> None:
        super().on_read(*args)
        self.write(*args)


class RecordingServer(Server):
    """Notes the connections that it made in `made`, and the failures to wrap one in `wrap_errors`."""

    def __init__(self, connection: Callable[..., Recorder] = Recorder, **kwargs: Any) -> None:
        self.made: list[Recorder] = []
        self.wrap_errors: list[tuple[Any, Any, Exception]] = []

        def make(**stream_kwargs: Any) -> Recorder:
            stream = connection(**stream_kwargs)
            self.made.append(stream)
            return stream

        super().__init__(make, **kwargs)

    def on_ssl_wrap_error(self, sock: Any, addr: Any, exception: Exception) -> None:
        self.wrap_errors.append((sock, addr, exception))
        sock.close()


def serve(ssl_options: Any = None, connection: Callable[..., Recorder] = Recorder) -> RecordingServer:
    """A server on a free port of 127.0.0.1."""
    server = RecordingServer(connection, ssl_options=ssl_options)
    server.listen(("127.0.0.1", 0))
    return server


def run_until(condition: Callable[[], object], engine: Engine | None = None) -> None:
    """Run the engine until a condition holds."""
    engine = engine or Engine.instance()
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come to hold in time"
        engine.poll(0.01)


def run_until_closed(*streams: Stream) -> None:
    """Run the engine until these are closed."""
    run_until(lambda: all(stream.closed for stream in streams))


def run_turns(count: int = 5) -> None:
    """Run the engine a few turns without waiting, for what must not happen to get its chance."""
    for _ in range(count):
        Engine.instance().poll(0)


def run_until_stuck(stream: Stream) -> None:
    """Run the engine until the kernel takes no more of what the stream has to send."""
    queued = -1
    while queued != stream.queued_bytes:
        queued = stream.queued_bytes
        run_turns(20)
    assert queued


def watched(engine: Engine | None = None) -> int:
    """The number of descriptors that the engine watches, as its repr tells."""
    found = re.search(r"(\d+) descriptors", repr(engine or Engine.instance()))
    assert found is not None
    return int(found[1])


# --- Peers in threads ----------------------------------------------------------------------------------------------


class Background(Generic[T]):
    """A function that runs in a thread; `result` gives what it returned, or raises what it raised."""

    def __init__(self, function: Callable[..., T], *args: Any) -> None:
        self._value: T
        self._error: BaseException | None = None
        self._function: Callable[..., T] | None = function
        self._args = args
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        assert self._function is not None
        try:
            self._value = self._function(*self._args)
        except BaseException as error:
            self._error = error.with_traceback(None)
        finally:
            self._function = None
            self._args = ()

    @property
    def done(self) -> bool:
        return not self._thread.is_alive()

    def result(self) -> T:
        """Run the engine until the thread has ended."""
        run_until(lambda: self.done)
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._value


@contextlib.contextmanager
def listening(family: int = socket.AF_INET, host: str = "127.0.0.1", backlog: int = 8) -> Iterator[socket.socket]:
    """A listening socket that does not accept by itself."""
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.settimeout(DEADLINE)
        listener.bind((host, 0))
        listener.listen(backlog)
        yield listener


def accept(listener: socket.socket, talk: Callable[[socket.socket], T]) -> T:
    """Accept a connection in clear and talk over it; for a thread."""
    connection, _ = listener.accept()
    with connection:
        connection.settimeout(DEADLINE)
        return talk(connection)


def accept_tls(listener: socket.socket, context: ssl.SSLContext, talk: Callable[[ssl.SSLSocket], T]) -> T:
    """Accept a connection with TLS and talk over it; for a thread."""
    return accept(listener, lambda connection: secured(connection, context, talk, server_side=True))


def call(address: Any, talk: Callable[[socket.socket], T]) -> T:
    """Connect in clear and talk; for a thread."""
    with socket.create_connection(address, timeout=DEADLINE) as connection:
        return talk(connection)


def call_tls(
    address: Any, context: ssl.SSLContext, talk: Callable[[ssl.SSLSocket], T], hostname: str = "localhost"
) -> T:
    """Connect with TLS and talk; for a thread."""
    return call(address, lambda connection: secured(connection, context, talk, hostname=hostname))


def secured(
    connection: socket.socket,
    context: ssl.SSLContext,
    talk: Callable[[ssl.SSLSocket], T],
    *,
    server_side: bool = False,
    hostname: str | None = None,
) -> T:
    """Put TLS around a connection and talk; for a thread."""
    with context.wrap_socket(connection, server_side=server_side, server_hostname=hostname) as tls:
        return talk(tls)


def receive_all(sock: socket.socket) -> bytes:
    """What comes until the end."""
    pieces = []
    while piece := sock.recv(65536):
        pieces.append(piece)
    return b"".join(pieces)


def receive_exactly(sock: socket.socket, size: int) -> bytes:
    """That many bytes."""
    data = bytearray()
    while len(data) < size:
        piece = sock.recv(size - len(data))
        assert piece, f"the connection ended after {len(data)} of {size} bytes"
        data += piece
    return bytes(data)


def receive_rest(tls: ssl.SSLSocket) -> bytes:
    """End the connection without TLS's own notice, and wait for the other end to do so.

    Closing while something is unread, be it a session ticket, would reset the connection instead.
    """
    tls.shutdown(socket.SHUT_WR)  # from here on the socket is in clear, as Python does it
    return receive_all(tls)


def send_all(tls: ssl.SSLSocket, data: bytes) -> None:
    """Send that, and nothing more."""
    tls.sendall(data)
    receive_rest(tls)


def reset(sock: socket.socket) -> None:
    """Close a connection with a reset."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    sock.close()


@contextlib.contextmanager
def silent_listener(family: int = socket.AF_INET, host: str = "127.0.0.1") -> Iterator[Any]:
    """The address of a listener that does not answer any more: its backlog is full, so the kernel drops the SYNs."""
    with listening(family, host, backlog=0) as listener, contextlib.ExitStack() as stack:
        address = listener.getsockname()
        for _ in range(64):
            filler = stack.enter_context(socket.socket(family, socket.SOCK_STREAM))
            filler.setblocking(False)
            if filler.connect_ex(address) == errno.EINPROGRESS and not select.select([], [filler], [], 0.2)[1]:
                break
        else:
            raise AssertionError("the backlog did not fill up")
        yield address


def refusing_port(family: int = socket.AF_INET, host: str = "127.0.0.1") -> int:
    """A port at which nobody listens."""
    with socket.socket(family, socket.SOCK_STREAM) as sock:
        sock.bind((host, 0))
        return int(sock.getsockname()[1])


class Program:
    """A real peer in a process of its own: what it prints is collected in `output`."""

    def __init__(self, *command: str) -> None:
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, bufsize=0
        )
        self.output = bytearray()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        while piece := self.process.stdout.read(65536):
            self.output += piece

    def send(self, data: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(data)

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        self._reader.join()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()

    def wait_for(self, text: bytes) -> None:
        """Run the engine until the program has printed that."""
        run_until(lambda: text in self.output)

    def wait(self) -> None:
        """Run the engine until the program has ended."""
        run_until(lambda: self.process.poll() is not None)

    def port(self) -> int:
        """The port of `openssl s_server -accept 127.0.0.1:0`, which it prints."""
        deadline = time.monotonic() + DEADLINE
        while b"\n" not in self.output.partition(b"ACCEPT 127.0.0.1:")[2]:
            assert time.monotonic() < deadline, bytes(self.output)
            time.sleep(0.005)
        return int(self.output.partition(b"ACCEPT 127.0.0.1:")[2].split(b"\n")[0])


class Relay:
    """Passes bytes between a client and a server; the way from the client can be held up."""

    def __init__(self, target: Any) -> None:
        self.returned = 0  # bytes passed from the server to the client
        self._open = True
        self._lock = threading.Lock()
        self._stop = False
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(DEADLINE)
        self.address = self._listener.getsockname()
        self._target = target
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            client, _ = self._listener.accept()
            with client, socket.create_connection(self._target) as server:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 262144)  # soon full
                back = threading.Thread(target=self._pass, args=(server, client), daemon=True)
                back.start()
                self._pass(client, server, held_up=True)
                back.join()

    def _pass(self, source: socket.socket, sink: socket.socket, held_up: bool = False) -> None:
        with contextlib.suppress(OSError):
            while not self._stop:
                with self._lock if held_up else contextlib.nullcontext():
                    if (self._open or not held_up) and select.select([source], [], [], 0.01)[0]:
                        data = source.recv(65536)
                        if not data:
                            break
                        sink.sendall(data)
                        self.returned += 0 if held_up else len(data)
                time.sleep(0.001)  # let hold() have the lock
            sink.shutdown(socket.SHUT_WR)

    def has_returned(self, count: int) -> Callable[[], bool]:
        """A condition: that many bytes have been passed from the server to the client."""
        return lambda: self.returned >= count

    def hold(self) -> None:
        """From now on nothing of the client's reaches the server."""
        with self._lock:
            self._open = False

    def release(self) -> None:
        """Undo `hold`."""
        self._open = True

    def __enter__(self) -> Relay:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop = True
        self._listener.close()
        self._thread.join(DEADLINE)
