"""TLS begun in the middle of a connection (manual: "Stream.startSSL"; RFC 3207; CVE-2011-0411).

Who calls startSSL on a connected channel says at which byte the clear part ends. What it has written before goes out
in clear, what it writes after waits for the handshake, and nothing that came in clear is handed out from there on.
"""

from __future__ import annotations

import errno
import socket
import ssl
import time
from typing import Any

import pytest

from pants import Stream
from pants.errors import HandshakeTimeout
from tests.core.tls_support import (
    DEADLINE,
    Background,
    Certificates,
    Program,
    Recorder,
    accept,
    call,
    certificates,
    listening,
    receive_exactly,
    receive_rest,
    reset,
    run_turns,
    run_until,
    serve,
    watched,
)

MIB = 1024 * 1024


@pytest.fixture
def certs() -> Certificates:
    return certificates()


class Upgrading(Recorder):
    """A server's end that speaks a line protocol and turns secure at the line STARTTLS."""

    def on_connect(self) -> None:
        super().on_connect()
        self.read_delimiter = b"\r\n"
        self.write(b"220 hello\r\n")

    def on_read(self, line: bytes) -> None:
        super().on_read(line)
        if line == b"STARTTLS":
            self.write(b"220 go ahead\r\n")
            self.startSSL({"certfile": certificates().good})
        else:
            self.write(b"250 %s %d\r\n" % (line, self.secure))


def receive_line(sock: socket.socket) -> bytes:
    line = b""
    while not line.endswith(b"\r\n"):
        line += receive_exactly(sock, 1)
    return line


def secure(sock: socket.socket, **options: Any) -> ssl.SSLSocket:
    return certificates().client_context().wrap_socket(sock, server_hostname="localhost", **options)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_server_upgrades(version, certs):
    server = serve(connection=Upgrading)

    def talk(sock: socket.socket) -> list[bytes]:
        lines = [receive_line(sock)]
        sock.sendall(b"EHLO\r\n")
        lines.append(receive_line(sock))
        sock.sendall(b"STARTTLS\r\n")
        lines.append(receive_line(sock))
        context = certs.client_context(minimum_version=version, maximum_version=version)
        with context.wrap_socket(sock, server_hostname="localhost") as tls:
            tls.sendall(b"EHLO\r\n")
            lines.append(receive_line(tls))
            receive_rest(tls)
        return lines

    lines = Background(call, server.local_address, talk).result()
    assert lines == [b"220 hello\r\n", b"250 EHLO 0\r\n", b"220 go ahead\r\n", b"250 EHLO 1\r\n"]
    (stream,) = server.made
    run_until(lambda: stream.closed)
    assert stream.hooks == ["on_connect", "on_read", "on_ssl_handshake", "on_read", "on_end", "on_close"]


def test_a_client_upgrades(certs):
    """on_connect comes first, then on_ssl_handshake (manual: "the reverse is true")."""

    class Client(Recorder):
        def on_connect(self) -> None:
            super().on_connect()
            self.read_delimiter = b"\r\n"
            self.write(b"STARTTLS\r\n")

        def on_read(self, line: bytes) -> None:
            super().on_read(line)
            if line == b"220 go ahead":
                self.startSSL({"ca_certs": certs.ca})
                assert self.connected
                assert not self.secure
                self.write(b"secret\r\n")  # waits for the handshake

        def on_ssl_handshake(self) -> None:
            super().on_ssl_handshake()
            self.write(b"more\r\n")

    def talk(sock: socket.socket) -> bytes:
        assert receive_line(sock) == b"STARTTLS\r\n"
        sock.sendall(b"220 go ahead\r\n")
        with certs.server_context().wrap_socket(sock, server_side=True) as tls:
            received = receive_line(tls) + receive_line(tls)
            tls.sendall(b"221 bye\r\n")
            receive_rest(tls)
        return received

    with listening() as listener:
        client = Client().connect(("localhost", listener.getsockname()[1]))
        assert Background(accept, listener, talk).result() == b"secret\r\nmore\r\n"
    run_until(lambda: client.closed)
    assert client.hooks == ["on_connect", "on_read", "on_ssl_handshake", "on_read", "on_end", "on_close"]
    assert client.frames == [b"220 go ahead", b"221 bye"]


def test_a_client_verifies_the_name_it_connected_to(certs):
    class Client(Recorder):
        def on_connect(self) -> None:
            super().on_connect()
            self.startSSL({"ca_certs": certs.ca})

    class Upgraded(Recorder):
        def on_connect(self) -> None:
            super().on_connect()
            self.startSSL({"certfile": certs.wrong_host})

    server = serve(connection=Upgraded)
    client = Client().connect(server.local_address)
    run_until(lambda: client.closed and server.made[0].closed)
    assert client.hooks == server.made[0].hooks == ["on_connect", "on_ssl_handshake_error", "on_close"]
    assert isinstance(client.error, ssl.SSLCertVerificationError)


@pytest.mark.parametrize("when", ["at once", "in on_connect", "while connected"])
def test_start_ssl_after_connect(when, certs):
    """After connect(): on_connect comes first, then on_ssl_handshake (manual: startSSL)."""

    class Client(Recorder):
        def on_connect(self) -> None:
            super().on_connect()
            assert self.connected
            assert not self.secure
            if when == "in on_connect":
                self.startSSL({"ca_certs": certs.ca})
            if when != "while connected":
                self.write(b"waits for the handshake")

    server = serve({"certfile": certs.good})
    client = Client().connect(server.local_address)
    if when == "at once":
        assert client.startSSL({"ca_certs": certs.ca}) is client
    elif when == "while connected":
        run_until(lambda: client.connected)
        run_turns()
        client.startSSL({"ca_certs": certs.ca})
        client.write(b"waits for the handshake")
    run_until(lambda: client.secure and server.made and server.made[0].data == b"waits for the handshake")
    assert client.hooks == ["on_connect", "on_ssl_handshake"]


def test_start_ssl_before_connect(certs):
    server = serve({"certfile": certs.good})
    client = Recorder().startSSL({"ca_certs": certs.ca}).connect(server.local_address)
    run_until(lambda: client.connected)
    assert client.hooks == ["on_ssl_handshake", "on_connect"]


def test_start_ssl_in_the_servers_on_connect(certs):
    class Upgraded(Recorder):
        def on_connect(self) -> None:
            super().on_connect()
            self.startSSL({"certfile": certs.good})

    server = serve(connection=Upgraded)
    client = Recorder(ssl_options={"ca_certs": certs.ca}).connect(server.local_address)
    run_until(lambda: client.secure and server.made[0].secure)
    assert server.made[0].hooks == ["on_connect", "on_ssl_handshake"]


def test_start_ssl_by_a_context(certs):
    class Upgraded(Recorder):
        def on_connect(self) -> None:
            super().on_connect()
            self.start_ssl(certs.server_context())

    server = serve(connection=Upgraded)
    client = Recorder().connect(server.local_address)
    run_until(lambda: client.connected)
    client.start_ssl(certs.client_context())
    run_until(lambda: client.secure and server.made[0].secure)


def test_the_other_way_round(certs):
    """The end that connected may be TLS's server: FTP over TLS does so (RFC 4217 §7)."""

    class Accepted(Recorder):
        def on_connect(self) -> None:
            super().on_connect()
            self.startSSL({"ca_certs": certs.ca, "server_side": False, "server_hostname": "localhost"})

    server = serve(connection=Accepted)
    client = Recorder(ssl_options={"certfile": certs.good, "server_side": True}).connect(server.local_address)
    run_until(lambda: client.secure and server.made[0].secure)


# --- Nothing that came in clear passes for protected (CVE-2011-0411) -----------------------------------------------


@pytest.mark.parametrize("count", [1, 200])
def test_lines_pipelined_in_clear_are_discarded(count, certs):
    """They come in the same segment, and so in the same read, as STARTTLS."""
    server = serve(connection=Upgrading)

    def attack(sock: socket.socket) -> list[bytes]:
        lines = [receive_line(sock)]
        sock.sendall(b"STARTTLS\r\n" + b"RSET\r\n" * count + b"a beginn")
        lines.append(receive_line(sock))
        with secure(sock) as tls:
            tls.sendall(b"EHLO\r\n")
            lines.append(receive_line(tls))
            receive_rest(tls)
        return lines

    lines = Background(call, server.local_address, attack).result()
    assert lines == [b"220 hello\r\n", b"220 go ahead\r\n", b"250 EHLO 1\r\n"]
    run_until(lambda: server.made[0].closed)
    assert server.made[0].frames == [b"STARTTLS", b"EHLO"]


def test_lines_that_wait_in_the_kernel_are_never_handed_out(certs):
    """startSSL is called elsewhere, with lines unread in the kernel: they are discarded, or spoil the handshake."""

    class Paused(Recorder):
        def on_connect(self) -> None:
            super().on_connect()
            self.read_delimiter = b"\r\n"
            self.pause_reading()

    server = serve(connection=Paused)
    with socket.create_connection(server.local_address, timeout=DEADLINE) as sock:
        run_until(lambda: server.made and server.made[0].connected)
        (stream,) = server.made
        sock.sendall(b"RSET\r\n" * 10)
        run_turns()
        stream.startSSL({"certfile": certs.good})
        stream.resume_reading()
        Background(lambda: _ignore_errors(lambda: secure(sock).close())).result()
        run_until(lambda: stream.closed)
    assert stream.frames == []


def test_what_is_buffered_when_start_ssl_is_called_elsewhere_is_discarded(certs):
    server = serve(connection=Upgrading)
    with socket.create_connection(server.local_address, timeout=DEADLINE) as sock:
        assert Background(receive_line, sock).result() == b"220 hello\r\n"
        (stream,) = server.made
        sock.sendall(b"half a li")
        run_until(lambda: stream._read_framer is not None and stream._read_framer.pending)
        stream.startSSL({"certfile": certs.good})

        def go_on() -> bytes:
            with secure(sock) as tls:
                tls.sendall(b"ne\r\n")
                line = receive_line(tls)
                receive_rest(tls)
                return line

        assert Background(go_on).result() == b"250 ne 1\r\n"
        run_until(lambda: stream.closed)


def test_a_delimiter_changed_in_between_does_not_bring_them_back(certs):
    class Changing(Upgrading):
        def on_read(self, line: bytes) -> None:
            super().on_read(line)
            if line == b"STARTTLS":
                self.read_delimiter = None
                self.read_delimiter = b"\n"
                self.resume_reading()

    server = serve(connection=Changing)

    def attack(sock: socket.socket) -> None:
        receive_line(sock)
        sock.sendall(b"STARTTLS\r\nRSET\r\nRSET\n")
        receive_line(sock)
        with secure(sock) as tls:
            tls.sendall(b"EHLO\n")
            receive_line(tls)
            receive_rest(tls)

    Background(call, server.local_address, attack).result()
    run_until(lambda: server.made[0].closed)
    assert server.made[0].frames == [b"STARTTLS", b"EHLO"]


def test_pipelined_in_clear_without_delimiter(certs):
    """All that came in one read is in the hands of on_read already; nothing of it comes again."""

    class Raw(Recorder):
        def on_read(self, data: bytes) -> None:
            super().on_read(data)
            if not self.secure:
                self.write(b"go")
                self.startSSL({"certfile": certs.good})

    server = serve(connection=Raw)

    def attack(sock: socket.socket) -> None:
        sock.sendall(b"STARTTLS\r\nRSET\r\n")
        assert receive_exactly(sock, 2) == b"go"
        with secure(sock) as tls:
            tls.sendall(b"EHLO")
            receive_rest(tls)

    Background(call, server.local_address, attack).result()
    run_until(lambda: server.made[0].closed)
    assert server.made[0].frames == [b"STARTTLS\r\nRSET\r\n", b"EHLO"]


def test_the_handshakes_own_bytes_are_not_swallowed(certs):
    """A peer that begins its handshake before our loop has turned."""
    server = serve()
    with socket.create_connection(server.local_address, timeout=DEADLINE) as sock:
        run_until(lambda: server.made and server.made[0].connected)
        (stream,) = server.made
        stream.startSSL({"certfile": certs.good})
        begun = Background(secure, sock)
        with begun.result() as tls:
            run_until(lambda: stream.secure)
            assert stream.hooks == ["on_connect", "on_ssl_handshake"]
            assert tls.version()


# --- What goes out in clear, and what does not ---------------------------------------------------------------------


def test_all_that_was_written_before_goes_out_in_clear(certs):
    """More than the kernel takes at once, from a peer that is slow: TLS is enabled once all of it is written."""
    before, after = b"b" * (8 * MIB), b"a" * (2 * MIB)
    server = serve()

    def talk(sock: socket.socket) -> bytes:
        received = receive_exactly(sock, len(before))
        with secure(sock) as tls:
            received += receive_exactly(tls, len(after))
            receive_rest(tls)
        return received

    peer = Background(call, server.local_address, talk)
    run_until(lambda: server.made and server.made[0].connected)
    (stream,) = server.made
    stream.write(before)
    stream.startSSL({"certfile": certs.good})
    stream.write(after)
    assert stream.queued_bytes == len(before) + len(after)
    assert peer.result() == before + after
    run_until(lambda: stream.closed)


def test_a_file_before_and_a_file_after(certs, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(bytes(range(256)) * 4096)
    size = path.stat().st_size
    server = serve()

    def talk(sock: socket.socket) -> bytes:
        received = receive_exactly(sock, size)
        with secure(sock) as tls:
            received += receive_exactly(tls, size)
            receive_rest(tls)
        return received

    peer = Background(call, server.local_address, talk)
    run_until(lambda: server.made and server.made[0].connected)
    (stream,) = server.made
    with path.open("rb") as file:
        stream.write_file(file)
        stream.startSSL({"certfile": certs.good})
        stream.write_file(file)
    assert peer.result() == path.read_bytes() * 2
    run_until(lambda: stream.closed)


@pytest.mark.parametrize("flush", [True, False])
def test_flush_does_not_let_out_what_waits_for_the_handshake(flush, certs):
    ours, theirs = socket.socketpair()
    with theirs:
        theirs.settimeout(DEADLINE)
        stream = Recorder(socket=ours)
        run_until(lambda: "on_connect" in stream.hooks)
        stream.write(b"in clear")
        stream.startSSL({"certfile": certs.good, "server_side": True})
        stream.write(b"secret", flush=flush)
        stream.flush()
        run_turns()
        assert theirs.recv(100) == b"in clear"
        theirs.settimeout(0)
        with pytest.raises(BlockingIOError):
            theirs.recv(100)
        theirs.settimeout(DEADLINE)

        def go_on() -> bytes:
            with secure(theirs) as tls:
                return receive_exactly(tls, 6)

        assert Background(go_on).result() == b"secret"
        run_until(lambda: stream.closed)


def test_written_before_the_loop_has_seen_the_channel(certs):
    """ "SSL is only enabled on a channel once all currently pending data has been written" (manual): a PROXY header."""
    ours, theirs = socket.socketpair()
    with theirs:
        theirs.settimeout(DEADLINE)
        stream = Recorder(socket=ours)
        stream.write(b"PROXY UNKNOWN\r\n")
        stream.startSSL({"certfile": certs.good, "server_side": True})

        def talk() -> bytes:
            line = receive_line(theirs)
            with secure(theirs) as tls:
                receive_rest(tls)
            return line

        assert Background(talk).result() == b"PROXY UNKNOWN\r\n"
        run_until(lambda: stream.closed)
    assert "on_ssl_handshake" in stream.hooks
    assert "on_connect" in stream.hooks


def test_on_write_is_not_lost(certs):
    """It comes once the buffer is empty (manual), also if TLS begins right behind what was written."""
    server = serve()

    def talk(sock: socket.socket) -> None:
        receive_exactly(sock, 5)
        with secure(sock) as tls:
            receive_rest(tls)

    peer = Background(call, server.local_address, talk)
    run_until(lambda: server.made and server.made[0].connected)
    (stream,) = server.made
    stream.write(b"hello")
    stream.startSSL({"certfile": certs.good})
    run_until(lambda: stream.secure)
    run_until(lambda: stream.writes)
    peer.result()
    run_until(lambda: stream.closed)
    assert stream.writes == 1


def test_waiting_to_write_during_the_handshake(certs):
    """The kernel's buffer is full when the handshake begins: TLS has to wait until it can send."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    sent = 0
    for size in (65536, 4096, 256, 1):
        while True:
            try:
                sent += ours.send(b"x" * size)
            except BlockingIOError:
                break
    with theirs:
        theirs.settimeout(DEADLINE)
        stream = Recorder(socket=ours, ssl_options={"ca_certs": certs.ca, "server_hostname": "localhost"})
        run_turns(10)
        assert not stream.secure

        def go_on() -> None:
            receive_exactly(theirs, sent)
            with certs.server_context().wrap_socket(theirs, server_side=True) as tls:
                tls.sendall(b"hello")
                receive_rest(tls)

        Background(go_on).result()
        run_until(lambda: stream.closed)
    assert stream.hooks == ["on_ssl_handshake", "on_connect", "on_read", "on_end", "on_close"]
    assert stream.data == b"hello"


# --- Closing, failing ----------------------------------------------------------------------------------------------


def test_close_sends_what_waits_for_the_handshake(certs):
    server = serve()

    def talk(sock: socket.socket) -> bytes:
        line = receive_line(sock)
        with secure(sock, suppress_ragged_eofs=False) as tls:
            return line + receive_line(tls) + tls.recv(1)

    peer = Background(call, server.local_address, talk)
    run_until(lambda: server.made and server.made[0].connected)
    (stream,) = server.made
    stream.write(b"go ahead\r\n")
    stream.startSSL({"certfile": certs.good})
    stream.write(b"goodbye\r\n")
    stream.close()
    assert peer.result() == b"go ahead\r\ngoodbye\r\n", "and then close_notify"
    run_until(lambda: stream.closed)
    assert stream.hooks == ["on_connect", "on_close"], "no hook but on_close after close()"


def test_close_during_the_handshake_sends_what_waits(certs):
    ours, theirs = socket.socketpair()
    with theirs:
        theirs.settimeout(DEADLINE)
        stream = Recorder(socket=ours)
        run_until(lambda: "on_connect" in stream.hooks)
        stream.startSSL({"certfile": certs.good, "server_side": True})
        stream.write(b"goodbye")
        run_turns()
        stream.close()
        run_turns()
        assert not stream.closed

        def go_on() -> bytes:
            with secure(theirs) as tls:
                return receive_exactly(tls, 7)

        assert Background(go_on).result() == b"goodbye"
        run_until(lambda: stream.closed)
    assert stream.hooks == ["on_connect", "on_close"]


@pytest.mark.parametrize("written", [b"", b"goodbye"])
def test_close_without_a_handshake_has_a_deadline(written, certs):
    class Impatient(Recorder):
        close_timeout = 0.05

    ours, theirs = socket.socketpair()
    with theirs:
        stream = Impatient(socket=ours)
        run_until(lambda: "on_connect" in stream.hooks)
        stream.startSSL({"certfile": certs.good, "server_side": True})
        if written:
            stream.write(written)
        stream.close()
        run_until(lambda: stream.closed)
        theirs.settimeout(DEADLINE)
        assert theirs.recv(100) == b""
    assert stream.hooks == ["on_connect", "on_close"]


def test_a_handshake_that_fails_while_closing(certs):
    ours, theirs = socket.socketpair()
    with theirs:
        stream = Recorder(socket=ours)
        run_until(lambda: "on_connect" in stream.hooks)
        stream.startSSL({"certfile": certs.good, "server_side": True})
        stream.write(b"goodbye")
        stream.close()
        run_turns()
        theirs.sendall(b"this is no handshake")
        run_until(lambda: stream.closed)
    assert stream.hooks == ["on_connect", "on_close"], "no hook but on_close after close()"
    assert isinstance(stream.close_error, ssl.SSLError)


def test_abort_drops_what_waits(certs):
    server = serve()
    with socket.create_connection(server.local_address, timeout=DEADLINE) as sock:
        run_until(lambda: server.made and server.made[0].connected)
        (stream,) = server.made
        stream.startSSL({"certfile": certs.good})
        stream.write(b"dropped")
        run_turns()
        stream.close(flush=False)
        run_until(lambda: stream.closed)
        assert sock.recv(100) == b""
    assert stream.hooks == ["on_connect", "on_close"]


def test_a_stalled_handshake(certs):
    class Impatient(Recorder):
        handshake_timeout = 0.05

    server = serve(connection=Impatient)
    with socket.create_connection(server.local_address, timeout=DEADLINE) as sock:
        run_until(lambda: server.made and server.made[0].connected)
        (stream,) = server.made
        stream.startSSL({"certfile": certs.good})
        stream.write(b"never sent in clear")
        run_until(lambda: stream.closed)
        assert sock.recv(100) == b""
    assert stream.hooks == ["on_connect", "on_ssl_handshake_error", "on_close"]
    assert isinstance(stream.error, HandshakeTimeout)


def test_overdue_while_a_hook_polls(certs):
    """The channel whose hook is running is not entered again before that returns (DESIGN.md §3)."""

    class Impatient(Recorder):
        handshake_timeout = 0.05
        inside = False

        def on_idle_timeout(self) -> None:
            self.inside = True
            begun = time.monotonic()
            run_until(lambda: time.monotonic() > begun + 0.1)
            self.inside = False

        def on_ssl_handshake_error(self, exception: Exception) -> None:
            assert not self.inside
            super().on_ssl_handshake_error(exception)

    server = serve(connection=Impatient)
    with socket.create_connection(server.local_address, timeout=DEADLINE):
        run_until(lambda: server.made and server.made[0].connected)
        (stream,) = server.made
        stream.idle_timeout = 0.01
        stream.startSSL({"certfile": certs.good})
        run_until(lambda: stream.closed)
    assert stream.hooks == ["on_connect", "on_ssl_handshake_error", "on_close"]
    assert isinstance(stream.error, HandshakeTimeout)


def test_a_peer_that_goes_on_in_clear(certs):
    server = serve(connection=Upgrading)

    def talk(sock: socket.socket) -> None:
        receive_line(sock)
        sock.sendall(b"STARTTLS\r\n")
        receive_line(sock)
        sock.sendall(b"MAIL FROM: me\r\n")
        while sock.recv(100):
            pass

    Background(call, server.local_address, talk).result()
    (stream,) = server.made
    run_until(lambda: stream.closed)
    assert stream.hooks == ["on_connect", "on_read", "on_ssl_handshake_error", "on_close"]
    assert stream.frames == [b"STARTTLS"]


def test_a_peer_that_has_gone(certs):
    """TLS cannot be put around the connection, or the handshake fails: either hook, and all is cleaned up."""
    server = serve()
    sock = socket.create_connection(server.local_address)
    run_until(lambda: server.made and server.made[0].connected)
    (stream,) = server.made
    before = watched() - 1
    stream.pause_reading()
    sock.sendall(b"unread")
    run_turns()
    reset(sock)
    stream.startSSL({"certfile": certs.good})
    run_until(lambda: stream.closed)
    assert stream.hooks[0] == "on_connect"
    assert stream.hooks[-1] == "on_close"
    assert set(stream.hooks[1:-1]) <= {"on_ssl_error", "on_ssl_handshake_error"}
    assert server.channels == {}
    assert watched() == before


def test_wrapping_fails(certs):
    """A problem at the point where TLS is enabled: on_ssl_error (manual: startSSL)."""

    class Refusing(ssl.SSLContext):
        def wrap_socket(self, sock: Any, *_: Any, **__: Any) -> Any:
            sock.detach()  # as Python's own does before it finds out
            socket.close(fd)
            raise OSError(errno.ENOTCONN, "not today")

    server = serve()
    with socket.create_connection(server.local_address, timeout=DEADLINE) as sock:
        run_until(lambda: server.made and server.made[0].connected)
        (stream,) = server.made
        before = watched() - 1
        fd = stream.fileno()
        stream.startSSL(Refusing(ssl.PROTOCOL_TLS_SERVER))
        run_until(lambda: stream.closed)
        assert sock.recv(1) == b""
    assert stream.hooks == ["on_connect", "on_ssl_error", "on_close"]
    assert server.channels == {}
    assert watched() == before


def test_start_ssl_twice(certs):
    server = serve(connection=Upgrading)

    def talk(sock: socket.socket) -> None:
        receive_line(sock)
        sock.sendall(b"STARTTLS\r\n")
        receive_line(sock)
        with secure(sock) as tls:
            tls.sendall(b"STARTTLS\r\n")
            receive_rest(tls)

    Background(call, server.local_address, talk).result()
    (stream,) = server.made
    run_until(lambda: stream.closed)
    assert stream.hooks == ["on_connect", "on_read", "on_ssl_handshake", "on_read", "on_error", "on_close"]
    assert isinstance(stream.error, RuntimeError)


def test_what_raises_leaves_the_channel_in_clear(certs):
    ours, theirs = socket.socketpair()
    with theirs:
        stream = Recorder(socket=ours)
        run_until(lambda: "on_connect" in stream.hooks)
        for wrong in ({"certfile": certs.missing}, {"cert": 1}, {"ca_certs": certs.ca}, 5):
            with pytest.raises((FileNotFoundError, TypeError, ValueError)):
                stream.startSSL(wrong)  # type: ignore[arg-type]
        theirs.sendall(b"hello")
        run_until(lambda: stream.data == b"hello")
        stream.write(b"hello", flush=True)
        assert theirs.recv(100) == b"hello"


def test_in_a_stream_subclass_that_a_server_makes(certs):
    """Called in the constructor of a connection class: the handshake comes first, then on_connect."""

    class Secured(Recorder):
        def __init__(self, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.startSSL({"certfile": certs.good})

    server = serve(connection=Secured)
    client = Recorder(ssl_options={"ca_certs": certs.ca}).connect(server.local_address)
    run_until(lambda: client.connected and server.made[0].connected)
    assert server.made[0].hooks == ["on_ssl_handshake", "on_connect"]


def test_paused_meanwhile(certs):
    """Reading that is paused stays so over the handshake."""
    server = serve()
    peer = Background(call, server.local_address, lambda sock: _send_one(sock))
    run_until(lambda: server.made and server.made[0].connected)
    (stream,) = server.made
    stream.pause_reading()
    stream.startSSL({"certfile": certs.good})
    run_until(lambda: stream.secure)
    run_turns(10)
    assert stream.data == b""
    stream.resume_reading()
    run_until(lambda: stream.data == b"hello")
    peer.result()
    run_until(lambda: stream.closed)


def _send_one(sock: socket.socket) -> None:
    with secure(sock) as tls:
        tls.sendall(b"hello")
        receive_rest(tls)


def _ignore_errors(function: Any) -> None:
    try:
        function()
    except OSError:
        pass


def test_openssl_smtp(peer, certs):
    """`openssl s_client -starttls smtp` as the other end."""

    class Mail(Upgrading):
        def on_read(self, line: bytes) -> None:
            if line.upper().startswith(b"EHLO"):
                self.write(b"250-localhost\r\n250 STARTTLS\r\n")
            elif line == b"QUIT":
                self.write(b"221 bye\r\n")
                self.close()
            else:
                super().on_read(line)

    openssl = peer("openssl")
    server = serve(connection=Mail)
    where = f"127.0.0.1:{server.local_address[1]}"
    command = [openssl, "s_client", "-connect", where, "-starttls", "smtp", "-CAfile", certs.ca, "-crlf"]
    with Program(*command, "-verify_return_error", "-verify_hostname", "localhost", "-quiet") as client:
        run_until(lambda: server.made and server.made[0].secure)
        client.send(b"NOOP\n")
        run_until(lambda: b"250 NOOP 1" in client.output)
        client.send(b"QUIT\n")
        run_until(lambda: client.process.poll() is not None)
    assert b"221 bye" in client.output
    run_until(lambda: server.made[0].closed)


def test_unconnected():
    """startSSL on a stream that never connects does nothing more than that."""
    stream = Stream().startSSL({})
    stream.close()
    run_until(lambda: stream.closed)
