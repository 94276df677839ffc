"""TLS on streams and servers: options, verification, errors, transfer (manual: "startSSL", "SSL"; DESIGN.md §3).

STARTTLS has a file of its own, `test_starttls`. The peers are Python's ssl module in a thread, openssl and curl.
"""

from __future__ import annotations

import contextlib
import gc
import hashlib
import io
import os
import re
import socket
import ssl
import struct
import subprocess
import time
import warnings
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from netstruct import NetStruct

from pants import Engine, Server, Stream
from pants.errors import HandshakeTimeout
from tests.core.tls_support import (
    DEADLINE,
    PASSWORD,
    Background,
    Certificates,
    Echo,
    Program,
    Recorder,
    RecordingServer,
    Relay,
    accept,
    accept_tls,
    call,
    call_tls,
    certificates,
    listening,
    receive_all,
    receive_exactly,
    receive_rest,
    reset,
    run_turns,
    run_until,
    run_until_closed,
    send_all,
    serve,
)

VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]
MIB = 1024 * 1024


@pytest.fixture
def certs() -> Certificates:
    return certificates()


@pytest.fixture(params=VERSIONS, ids=["1.2", "1.3"])
def version(request) -> ssl.TLSVersion:
    return request.param  # type: ignore[no-any-return]


def at(version: ssl.TLSVersion, context: ssl.SSLContext) -> ssl.SSLContext:
    context.minimum_version = context.maximum_version = version
    return context


def connect(server: Server, ssl_options: Any, connection: Callable[..., Recorder] = Recorder) -> Recorder:
    """A client of a server on 127.0.0.1, by the name localhost where that matters."""
    client = connection(ssl_options=ssl_options)
    client.connect(server.local_address)
    return client


def connected(server: RecordingServer, ssl_options: Any, connection: Callable[..., Recorder] = Recorder):
    """A client and the server's end, both after on_connect."""
    client = connect(server, ssl_options, connection)
    count = len(server.made)
    run_until(lambda: "on_connect" in client.hooks and len(server.made) > count)
    run_until(lambda: "on_connect" in server.made[count].hooks)
    return client, server.made[count]


# --- Options -------------------------------------------------------------------------------------------------------


class TestOptions:
    @pytest.fixture(params=["startSSL", "start_ssl", "constructor"])
    def enable(self, request) -> Callable[..., Any]:
        def by_method(kind: Any, options: Any) -> Any:
            channel = kind()
            assert getattr(channel, request.param)(options) is channel, "it returns the channel"
            return channel

        def by_constructor(kind: Any, options: Any) -> Any:
            return kind(ssl_options=options)

        return by_constructor if request.param == "constructor" else by_method

    @pytest.mark.parametrize("kind", [Stream, Server])
    @pytest.mark.parametrize("options", ["certfile", 5, [("certfile", "x")], object()])
    def test_of_another_type(self, enable, kind, options):
        with pytest.raises(TypeError, match=re.escape(repr(options))):
            enable(kind, options)

    @pytest.mark.parametrize("kind", [Stream, Server])
    def test_unknown_keys_are_named_with_those_allowed(self, enable, kind, certs):
        with pytest.raises(TypeError, match=r"(?s)cert_file.*certfile"):
            enable(kind, {"certfile": certs.good, "cert_file": certs.good})

    @pytest.mark.parametrize("kind", [Stream, Server])
    def test_do_handshake_on_connect(self, enable, kind, certs):
        with pytest.raises(ValueError, match="do_handshake_on_connect"):
            enable(kind, {"certfile": certs.good, "do_handshake_on_connect": True})
        enable(kind, {"certfile": certs.good, "do_handshake_on_connect": False})

    def test_a_server_is_the_server_side(self, enable, certs):
        with pytest.raises(ValueError, match="server_side"):
            enable(Server, {"certfile": certs.good, "server_side": False})
        enable(Server, {"certfile": certs.good, "server_side": True})

    def test_a_context_for_clients_does_not_serve(self, enable, certs):
        with pytest.raises(ValueError, match="client"):
            enable(Server, certs.client_context())

    @pytest.mark.parametrize("options", [{}, {"certfile": None}, {"ca_certs": "x"}])
    def test_a_server_needs_a_certificate(self, enable, options):
        with pytest.raises(ValueError, match="certfile"):
            enable(Server, options)

    def test_so_does_the_server_side_of_a_stream(self, enable):
        with pytest.raises(ValueError, match="certfile"):
            enable(Stream, {"server_side": True})

    @pytest.mark.parametrize("kind", [Stream, Server])
    def test_a_key_needs_its_certificate(self, enable, kind, certs):
        with pytest.raises(ValueError, match="certfile"):
            enable(kind, {"keyfile": certs.keyfile})

    @pytest.mark.parametrize("kind", [Stream, Server])
    def test_missing_files_raise_at_the_call(self, enable, kind, certs):
        for options in (
            {"certfile": certs.missing},
            {"certfile": certs.certfile, "keyfile": certs.missing},
            {"certfile": certs.good, "ca_certs": certs.missing},
        ):
            with pytest.raises(FileNotFoundError):
                enable(kind, options)

    @pytest.mark.parametrize("kind", [Stream, Server])
    def test_files_that_hold_something_else_raise_at_the_call(self, enable, kind, certs):
        for options in (
            {"certfile": certs.garbage},
            {"certfile": certs.certfile},  # the key is missing
            {"certfile": certs.good, "ca_certs": certs.garbage},
            {"certfile": certs.certfile, "keyfile": certs.client},  # another one's key
        ):
            with pytest.raises(ssl.SSLError):
                enable(kind, options)

    @pytest.mark.parametrize("kind", [Stream, Server])
    def test_password(self, enable, kind, certs):
        options = {"certfile": certs.certfile, "keyfile": certs.locked_keyfile}
        with pytest.raises(ssl.SSLError):
            enable(kind, {**options, "password": "wrong"})
        enable(kind, {**options, "password": PASSWORD})
        enable(kind, {**options, "password": lambda: PASSWORD})

    @pytest.mark.parametrize("kind", [Stream, Server])
    def test_unknown_ciphers(self, enable, kind, certs):
        with pytest.raises(ssl.SSLError):
            enable(kind, {"certfile": certs.good, "ciphers": "ROT13"})

    @pytest.mark.parametrize("kind", [Stream, Server])
    @pytest.mark.parametrize("protocols", ["http/1.1", [b"h2"], [5]])
    def test_alpn_protocols_are_a_list_of_str(self, enable, kind, protocols, certs):
        with pytest.raises(TypeError):
            enable(kind, {"certfile": certs.good, "alpn_protocols": protocols})

    def test_server_hostname_is_a_str(self, enable):
        with pytest.raises(TypeError, match="server_hostname"):
            enable(Stream, {"server_hostname": 5})

    @pytest.mark.parametrize("name", ["a..b", ".example.org", "a" * 300, "x.\0y"])
    def test_server_hostname_is_a_name(self, enable, name):
        with pytest.raises(ValueError, match="server_hostname"):
            enable(Stream, {"server_hostname": name})

    @pytest.mark.parametrize("value", [17, "all"])
    def test_cert_reqs_is_one_of_three(self, enable, value, certs):
        for kind in (Stream, Server):
            with pytest.raises((TypeError, ValueError)):
                enable(kind, {"certfile": certs.good, "cert_reqs": value})

    @pytest.mark.parametrize("reqs", [ssl.CERT_OPTIONAL, ssl.CERT_REQUIRED])
    def test_to_verify_clients_a_server_needs_authorities(self, enable, reqs, certs):
        with pytest.raises(ValueError, match="ca_certs"):
            enable(Server, {"certfile": certs.good, "cert_reqs": reqs})
        enable(Server, {"certfile": certs.good, "cert_reqs": reqs, "ca_certs": certs.ca})

    @pytest.mark.parametrize("kind", [Stream, Server])
    def test_ssl_version_is_ignored_with_a_warning(self, kind, certs):
        with pytest.warns(DeprecationWarning, match="ssl_version") as caught:
            kind().startSSL({"certfile": certs.good, "ssl_version": ssl.PROTOCOL_TLS_CLIENT})
        assert [warning.filename for warning in caught] == [__file__], "it points at the caller"

    @pytest.mark.parametrize("kind", [Stream, Server])
    def test_the_dict_is_not_touched(self, enable, kind, certs):
        options = {"certfile": certs.good, "server_side": True, "alpn_protocols": ["x"], "suppress_ragged_eofs": False}
        before = dict(options)
        enable(kind, options)
        assert options == before

    def test_the_dict_is_not_kept(self, enable, certs):
        options: dict[str, Any] = {"certfile": certs.good, "alpn_protocols": ["one"]}
        server = enable(RecordingServer, options)
        options["alpn_protocols"].append("two")
        options.clear()
        client_options: dict[str, Any] = {"ca_certs": certs.ca, "alpn_protocols": ["two", "one"]}
        client = enable(Recorder, client_options)
        client_options["alpn_protocols"].clear()
        client_options.clear()
        client.connect(server.listen(("127.0.0.1", 0)).local_address)
        run_until(lambda: "on_connect" in client.hooks)
        assert client.alpn_protocol == "one"

    def test_what_raised_has_changed_nothing(self, certs):
        server = RecordingServer(Echo)
        with pytest.raises(FileNotFoundError):
            server.startSSL({"certfile": certs.missing})
        server.startSSL({"certfile": certs.good}).listen(("127.0.0.1", 0))
        client = Recorder()
        with pytest.raises(FileNotFoundError):
            client.startSSL({"ca_certs": certs.missing})
        client.startSSL({"ca_certs": certs.ca}).connect(server.local_address)
        run_until(lambda: client.secure)

    @pytest.mark.parametrize("kind", [Stream, Server])
    def test_twice(self, kind, certs):
        channel = kind(ssl_options={"certfile": certs.good})
        with pytest.raises(RuntimeError, match="already"):
            channel.startSSL({"certfile": certs.good})

    def test_twice_on_a_secure_channel(self, certs):
        client, _ = connected(serve({"certfile": certs.good}), {"ca_certs": certs.ca})
        with pytest.raises(RuntimeError, match="already"):
            client.startSSL({"ca_certs": certs.ca})

    @pytest.mark.parametrize("kind", [Stream, Server])
    def test_on_a_closed_channel(self, kind, certs):
        channel = kind()
        channel.close()
        with pytest.raises(RuntimeError, match="closed"):
            channel.startSSL({"certfile": certs.good})
        run_until(lambda: channel.closed)
        with pytest.raises(RuntimeError, match="closed"):
            channel.startSSL({"certfile": certs.good})

    def test_a_socket_is_left_alone_if_the_constructor_raises(self, certs):
        ours, theirs = socket.socketpair()
        with ours, theirs:
            made = []

            class Client(Recorder):
                def __init__(self, **kwargs: Any) -> None:
                    made.append(self)
                    super().__init__(**kwargs)

            with pytest.raises(ValueError, match="host name"):
                Client(socket=ours, ssl_options={"ca_certs": certs.ca})
            theirs.send(b"for nobody")
            run_turns()
            assert made[0].hooks == [], "what was never made has no hooks"
            ours.setblocking(True)
            assert ours.recv(100) == b"for nobody"

    @pytest.mark.parametrize("kind", [Stream, Server])
    def test_a_tls_socket_has_its_options_already(self, kind, certs):
        with certs.server_context().wrap_socket(socket.socket(), server_side=True) as sock:
            with pytest.raises(RuntimeError, match="already"):
                kind(socket=sock, ssl_options={"certfile": certs.good})
            assert sock.fileno() >= 0, "the socket is still the caller's"
            run_turns()


# --- Ways to a secure connection -----------------------------------------------------------------------------------


def by_dict_in_listen(certs: Certificates) -> RecordingServer:
    server = RecordingServer(Echo).startSSL({"certfile": certs.certfile, "keyfile": certs.keyfile})
    return server.listen(("127.0.0.1", 0))


def by_context_in_listen(certs: Certificates) -> RecordingServer:
    return RecordingServer(Echo).startSSL(certs.server_context()).listen(("127.0.0.1", 0))


def by_constructor(certs: Certificates) -> RecordingServer:
    return RecordingServer(Echo, ssl_options={"certfile": certs.good}).listen(("127.0.0.1", 0))


def by_context_in_constructor(certs: Certificates) -> RecordingServer:
    return RecordingServer(Echo, ssl_options=certs.server_context()).listen(("127.0.0.1", 0))


def by_tls_socket(certs: Certificates) -> RecordingServer:
    sock = certs.server_context().wrap_socket(socket.socket(), server_side=True)
    return RecordingServer(Echo, socket=sock).listen(("127.0.0.1", 0))


def by_listening_tls_socket(certs: Certificates) -> RecordingServer:
    sock = certs.server_context().wrap_socket(socket.create_server(("127.0.0.1", 0)), server_side=True)
    return RecordingServer(Echo, socket=sock).listen()


SERVERS = [
    by_dict_in_listen,
    by_context_in_listen,
    by_constructor,
    by_context_in_constructor,
    by_tls_socket,
    by_listening_tls_socket,
]


class TestWays:
    @pytest.mark.parametrize("make", SERVERS)
    def test_server(self, make, version, certs):
        server = make(certs)
        context = at(version, certs.client_context())

        def talk(tls: ssl.SSLSocket) -> tuple[bytes, str | None]:
            tls.sendall(b"hello")
            return receive_exactly(tls, 5), tls.version()

        peer = Background(call_tls, server.local_address, context, talk)
        assert peer.result() == (b"hello", {1.2: "TLSv1.2", 1.3: "TLSv1.3"}[1.2 if version.name[-1] == "2" else 1.3])
        (stream,) = server.made
        run_until(lambda: stream.closed)
        assert stream.hooks == ["on_ssl_handshake", "on_connect", "on_read", "on_end", "on_close"]
        assert stream.secure
        assert server.wrap_errors == []

    @pytest.mark.parametrize("way", ["dict", "context", "constructor", "constructor context", "TLS socket"])
    def test_client(self, way, version, certs):
        options = {"ca_certs": certs.ca}
        client = {
            "dict": lambda: Echo().startSSL(options),
            "context": lambda: Echo().startSSL(certs.client_context()),
            "constructor": lambda: Echo(ssl_options=options),
            "constructor context": lambda: Echo(ssl_options=certs.client_context()),
            "TLS socket": lambda: Echo(
                socket=certs.client_context().wrap_socket(socket.socket(), server_hostname="localhost")
            ),
        }[way]()
        seen: list[str | None] = []
        context = at(version, certs.server_context())
        context.sni_callback = lambda _socket, name, _context: seen.append(name)

        def talk(tls: ssl.SSLSocket) -> bytes:
            tls.sendall(b"hello")
            return receive_exactly(tls, 5)

        with listening() as listener:
            peer = Background(accept_tls, listener, context, talk)
            port = listener.getsockname()[1]
            assert client.connect(("127.0.0.1" if way == "TLS socket" else "localhost", port)) is client
            assert peer.result() == b"hello"
        run_until(lambda: client.closed)
        assert client.hooks == ["on_ssl_handshake", "on_connect", "on_read", "on_end", "on_close"]
        assert seen == ["localhost"], "the name goes into SNI (RFC 6066 §3)"

    @pytest.mark.parametrize("server_side", [False, True])
    def test_a_connected_socket_with_options(self, server_side, certs):
        ours, theirs = socket.socketpair()
        if server_side:
            stream = Echo(socket=ours, ssl_options={"certfile": certs.good, "server_side": True})
            peer = Background(lambda: _tls_over(theirs, certs.client_context(), hostname="localhost"))
        else:
            stream = Echo(socket=ours).startSSL({"ca_certs": certs.ca, "server_hostname": "localhost"})
            peer = Background(lambda: _tls_over(theirs, certs.server_context(), server_side=True))
        assert stream.hooks == [], "no hook runs inside the constructor"
        assert peer.result() == b"hello"
        run_until(lambda: stream.closed)
        assert stream.hooks == ["on_ssl_handshake", "on_connect", "on_read", "on_end", "on_close"]

    @pytest.mark.parametrize("server_side", [False, True])
    @pytest.mark.parametrize("handshaken", [False, True])
    def test_a_connected_tls_socket(self, server_side, handshaken, version, certs):
        ours, theirs = socket.socketpair()
        contexts = at(version, certs.server_context()), at(version, certs.client_context())
        if not server_side:
            contexts = contexts[::-1]
        mine = contexts[0].wrap_socket(
            ours,
            server_side=server_side,
            server_hostname=None if server_side else "localhost",
            do_handshake_on_connect=False,
        )
        peer = Background(
            lambda: _tls_over(
                theirs, contexts[1], server_side=not server_side, hostname="localhost" if server_side else None
            )
        )
        if handshaken:
            mine.do_handshake()
        stream = Echo(socket=mine)
        assert peer.result() == b"hello"
        run_until(lambda: stream.closed)
        assert stream.hooks == ["on_ssl_handshake", "on_connect", "on_read", "on_end", "on_close"]

    def test_a_tls_socket_that_holds_data_already(self, certs):
        """OpenSSL has decrypted more than was asked for; no event of the kernel tells of it."""
        ours, theirs = socket.socketpair()

        def talk(tls: ssl.SSLSocket) -> bytes:
            tls.sendall(b"1 and the rest")
            return tls.recv(100)

        peer = Background(lambda: _wrapped(theirs, certs.server_context(), talk, server_side=True))
        mine = certs.client_context().wrap_socket(ours, server_hostname="localhost")
        assert mine.recv(1) == b"1"
        assert mine.pending() > 0
        stream = Echo(socket=mine)
        assert peer.result() == b" and the rest"
        run_until(lambda: stream.closed)

    def test_a_tls_socket_keeps_its_rule_about_ragged_ends(self, certs):
        ours, theirs = socket.socketpair()
        mine = certs.client_context().wrap_socket(
            ours, server_hostname="localhost", do_handshake_on_connect=False, suppress_ragged_eofs=False
        )
        peer = Background(
            lambda: _wrapped(theirs, certs.server_context(), lambda tls: send_all(tls, b"x"), server_side=True)
        )
        stream = Recorder(socket=mine)
        peer.result()
        run_until(lambda: stream.closed)
        assert stream.hooks[-2:] == ["on_ssl_error", "on_close"]

    def test_an_unconnected_tls_socket_checks_the_name(self, certs):
        """Its context verifies, and it names no host: then the name passed to connect() is verified."""
        context = certs.client_context(check_hostname=False)
        sock = context.wrap_socket(socket.socket())
        context.check_hostname = True
        server = serve({"certfile": certs.wrong_host})
        client = Recorder(socket=sock).connect(server.local_address)
        run_until(lambda: client.closed)
        assert client.hooks == ["on_ssl_handshake_error", "on_close"]
        assert isinstance(client.error, ssl.SSLCertVerificationError)

    @pytest.mark.parametrize("server_side", [False, True])
    def test_a_context_for_both_sides(self, server_side, certs):
        """The old kind of context says nothing about the side; then it is what it is by default, or by server_side."""
        with pytest.warns(DeprecationWarning, match="PROTOCOL_TLS"):
            context = ssl.SSLContext(ssl.PROTOCOL_TLS)
        if server_side:
            context.load_cert_chain(certs.good)
            connected(serve(context), {"ca_certs": certs.ca})
        else:
            context.load_verify_locations(certs.ca)
            context.verify_mode = ssl.CERT_REQUIRED
            connected(serve({"certfile": certs.good}), context)

    def test_nothing_is_wrapped_before_start_ssl(self, certs):
        """Server.startSSL after listen(): connections made in the meantime are in clear (manual)."""
        server = serve(connection=Echo)
        plain = Recorder().connect(server.local_address)
        run_until(lambda: server.made)
        server.startSSL({"certfile": certs.good})
        secure = connect(server, {"ca_certs": certs.ca})
        run_until(lambda: secure.secure and plain.connected)
        plain.write(b"in clear")
        secure.write(b"secure")
        run_until(lambda: plain.data == b"in clear" and secure.data == b"secure")
        assert not plain.secure
        assert [stream.secure for stream in server.made] == [False, True]

    def test_write_in_on_ssl_handshake(self, certs):
        class Early(Recorder):
            def on_ssl_handshake(self) -> None:
                super().on_ssl_handshake()
                self.write(b"early")

        server = serve({"certfile": certs.good}, Echo)
        client = connect(server, {"ca_certs": certs.ca}, Early)
        run_until(lambda: client.data == b"early")
        assert client.hooks == ["on_ssl_handshake", "on_connect", "on_read"]

    @pytest.mark.parametrize("hook", ["on_ssl_handshake", "on_connect"])
    @pytest.mark.parametrize("flush", [True, False])
    def test_close_in_a_hook(self, hook, flush, certs):
        def close(self: Recorder) -> None:
            getattr(Recorder, hook)(self)
            self.close(flush)

        closer = type("Closer", (Recorder,), {hook: close})
        server = serve({"certfile": certs.good})
        client = connect(server, {"ca_certs": certs.ca}, closer)
        run_until(lambda: client.closed and server.made and server.made[0].closed)
        expected = ["on_ssl_handshake", "on_connect"][: 1 + (hook == "on_connect")]
        assert client.hooks == [*expected, "on_close"]
        assert server.made[0].hooks == ["on_ssl_handshake", "on_connect", "on_end", "on_close"]

    def test_a_hook_that_raises(self, certs):
        class Broken(Recorder):
            def on_ssl_handshake(self) -> None:
                raise ZeroDivisionError

        server = serve({"certfile": certs.good}, Echo)
        client = connect(server, {"ca_certs": certs.ca}, Broken)
        run_until(lambda: client.closed)
        assert client.hooks == ["on_error", "on_close"]
        assert isinstance(client.error, ZeroDivisionError)
        connected(server, {"ca_certs": certs.ca})

    def test_not_connected_before_the_handshake(self, certs):
        class Careful(Recorder):
            def on_ssl_handshake(self) -> None:
                super().on_ssl_handshake()
                assert self.connected
                assert self.secure

        with listening() as listener:
            client = Careful(ssl_options={"ca_certs": certs.ca}).connect(listener.getsockname())
            run_until(lambda: client.socket is not None)
            sock, _ = listener.accept()
            with sock:
                sock.settimeout(0)
                received = bytearray()
                run_until(lambda: _try_receive(sock, received))
                assert received[0] == 0x16, "a TLS record of the handshake (RFC 8446 §5.1)"
                assert not client.connected
                assert not client.secure
                with pytest.raises(RuntimeError):
                    client.write(b"too early")
                with pytest.raises(RuntimeError):
                    client.connect(listener.getsockname())
                client.close()
                run_until(lambda: client.closed)
        assert client.hooks == ["on_close"]

    def test_poll_in_a_hook(self, certs):
        """The channel whose hook is running is not entered again; others go on."""

        class Waiting(Echo):
            def on_ssl_handshake(self) -> None:
                super().on_ssl_handshake()
                run_until(lambda: other.data == b"meanwhile")
                assert self.hooks == ["on_ssl_handshake"]

        server = serve({"certfile": certs.good}, Echo)
        waiting = serve({"certfile": certs.good}, Waiting)
        other, _ = connected(server, {"ca_certs": certs.ca})
        other.write(b"meanwhile")
        client = connect(waiting, {"ca_certs": certs.ca})
        run_until(lambda: client.connected)
        client.write(b"afterwards")
        run_until(lambda: client.data == b"afterwards")

    def test_curl(self, peer, certs):
        curl = peer("curl")

        class Page(Recorder):
            def on_connect(self) -> None:
                super().on_connect()
                self.read_delimiter = b"\r\n\r\n"

            def on_read(self, head: bytes) -> None:
                self.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello")
                self.close()

        server = serve({"certfile": certs.good, "alpn_protocols": ["http/1.1"]}, Page)
        url = f"https://localhost:{server.local_address[1]}/"
        command = [curl, "-sS", "--ipv4", "--cacert", certs.ca, "--max-time", "20", "-w", " %{http_code}", url]
        done = Background(lambda: subprocess.run(command, capture_output=True, check=False))
        result = done.result()
        assert (result.stdout, result.stderr) == (b"hello 200", b"")


def _try_receive(sock: socket.socket, into: bytearray) -> bool:
    with contextlib.suppress(BlockingIOError):
        into += sock.recv(65536)
    return bool(into)


def _tls_over(sock: socket.socket, context: ssl.SSLContext, server_side: bool = False, hostname: str | None = None):
    def talk(tls: ssl.SSLSocket) -> bytes:
        tls.sendall(b"hello")
        return receive_exactly(tls, 5)

    return _wrapped(sock, context, talk, server_side, hostname)


def _wrapped(
    sock: socket.socket,
    context: ssl.SSLContext,
    talk: Callable[[ssl.SSLSocket], Any],
    server_side: bool = False,
    hostname: str | None = None,
) -> Any:
    with sock:
        sock.settimeout(DEADLINE)
        with context.wrap_socket(sock, server_side=server_side, server_hostname=hostname) as tls:
            return talk(tls)


# --- What is agreed on ---------------------------------------------------------------------------------------------


class TestNegotiation:
    @pytest.mark.parametrize(
        "offered, served, agreed",
        [(["h2", "http/1.1"], ["http/1.1"], "http/1.1"), (["x"], ["http/1.1"], None), (None, ["h2"], None)],
    )
    def test_alpn(self, offered, served, agreed, version, certs):
        context = at(version, certs.server_context())
        context.set_alpn_protocols(served)
        options: dict[str, Any] = {"ca_certs": certs.ca}
        if offered is not None:
            options["alpn_protocols"] = offered
        client, stream = connected(serve(context), options)
        assert (client.alpn_protocol, stream.alpn_protocol) == (agreed, agreed)

    def test_alpn_in_clear(self):
        server = serve()
        client, _ = connected(server, None)
        assert client.alpn_protocol is None
        assert not client.secure
        assert Stream().alpn_protocol is None

    def test_sni_chooses_the_certificate(self, certs):
        second = certs.server_context(certs.second)

        def choose(tls: ssl.SSLSocket, name: str | None, _context: ssl.SSLContext) -> None:
            if name == "second.example":
                tls.context = second

        server = serve(certs.server_context(sni_callback=choose))
        connected(server, {"ca_certs": certs.ca})
        connected(server, {"ca_certs": certs.ca, "server_hostname": "second.example"})
        client = connect(server, {"ca_certs": certs.ca, "server_hostname": "third.example"})
        run_until(lambda: client.closed)
        assert isinstance(client.error, ssl.SSLCertVerificationError)

    def test_an_sni_callback_that_refuses(self, certs):
        def refuse(*_: object) -> int:
            return ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME

        server = serve(certs.server_context(sni_callback=refuse))
        client = connect(server, {"ca_certs": certs.ca, "server_hostname": "localhost"})
        run_until(lambda: client.closed and server.made and server.made[0].closed)
        assert client.hooks == server.made[0].hooks == ["on_ssl_handshake_error", "on_close"]
        assert "UNRECOGNIZED_NAME" in str(client.error).upper()

    def test_no_sni_for_an_address(self, certs):
        """RFC 6066 §3: literal IPv4 and IPv6 addresses are not permitted there; it is verified all the same."""
        seen: list[str | None] = []
        context = certs.server_context()
        context.sni_callback = lambda _socket, name, _context: seen.append(name)
        connected(serve(context), {"ca_certs": certs.ca})
        assert seen == [None]

    def test_a_name_with_the_root_dot(self, certs, monkeypatch):
        """RFC 6066 §3: "without a trailing dot"; and no certificate has one (RFC 6125 §6.4)."""
        seen: list[str | None] = []
        context = certs.server_context()
        context.sni_callback = lambda _socket, name, _context: seen.append(name)
        server = serve(context)
        port = server.local_address[1]
        _resolve_to(monkeypatch, "127.0.0.1")
        client = Recorder(ssl_options={"ca_certs": certs.ca}).connect(("localhost.", port))
        run_until(lambda: "on_connect" in client.hooks or client.closed)
        assert client.hooks == ["on_ssl_handshake", "on_connect"]
        assert seen == ["localhost"]

    def test_ciphers(self, certs):
        server = serve(at(ssl.TLSVersion.TLSv1_2, certs.server_context()))
        client, _ = connected(server, {"ca_certs": certs.ca, "ciphers": "ECDHE+CHACHA20"})
        assert isinstance(client.socket, ssl.SSLSocket)
        cipher = client.socket.cipher()
        assert cipher is not None
        assert "CHACHA20" in cipher[0]

    def test_no_common_cipher(self, certs):
        server = serve({"certfile": certs.good, "ciphers": "ECDHE+AESGCM"})
        context = at(ssl.TLSVersion.TLSv1_2, certs.client_context())
        context.set_ciphers("ECDHE+CHACHA20")
        client = connect(server, context)
        run_until(lambda: client.closed and server.made and server.made[0].closed)
        assert client.hooks == server.made[0].hooks == ["on_ssl_handshake_error", "on_close"]

    def test_no_common_version(self, certs):
        server = serve(at(ssl.TLSVersion.TLSv1_3, certs.server_context()))
        client = connect(server, at(ssl.TLSVersion.TLSv1_2, certs.client_context()))
        run_until(lambda: client.closed and server.made and server.made[0].closed)
        assert client.hooks == server.made[0].hooks == ["on_ssl_handshake_error", "on_close"]

    def test_resumption(self, peer, certs, version):
        """Session tickets: openssl takes one in a first connection and comes back with it in a second."""
        openssl = peer("openssl")
        server = serve(at(version, certs.server_context()), Echo)
        ticket = certs.missing + ".session"
        where = f"127.0.0.1:{server.local_address[1]}"
        reused = []
        try:
            for option in ("-sess_out", "-sess_in"):
                with Program(openssl, "s_client", "-connect", where, "-CAfile", certs.ca, option, ticket) as client:
                    client.send(b"hello\n")
                    client.wait_for(b"\nhello\n")
                    # In TLS 1.3 the tickets come after the handshake, so before the echo.
                    client.send(b"Q\n")
                    client.wait()
                    reused.append(b"Reused, TLS" in client.output)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(ticket)
        assert reused == [False, True]


# --- Verification --------------------------------------------------------------------------------------------------


class TestVerification:
    @pytest.mark.parametrize("cert", ["wrong_host", "expired", "untrusted"])
    @pytest.mark.parametrize("by", ["dict", "context"])
    def test_a_bad_certificate(self, cert, by, version, certs):
        server = serve(at(version, certs.server_context(getattr(certs, cert))), Echo)
        client = connect(server, {"ca_certs": certs.ca} if by == "dict" else certs.client_context())
        good, _ = connected(serve({"certfile": certs.good}, Echo), {"ca_certs": certs.ca})
        run_until(lambda: client.closed and server.made and server.made[0].closed)
        assert client.hooks == ["on_ssl_handshake_error", "on_close"]
        assert isinstance(client.error, ssl.SSLCertVerificationError)
        assert client.close_error is client.error
        # The server learns of it by an alert; in TLS 1.3 that is possible before it has seen the client's Finished.
        assert server.made[0].hooks == ["on_ssl_handshake_error", "on_close"]
        assert "ALERT" in str(server.made[0].error).upper()
        good.write(b"unharmed")
        run_until(lambda: good.data == b"unharmed")

    def test_the_system_does_not_trust_our_authority(self, certs):
        server = serve({"certfile": certs.good})
        client = connect(server, {})
        run_until(lambda: client.closed)
        assert isinstance(client.error, ssl.SSLCertVerificationError)

    @pytest.mark.parametrize("cert", ["wrong_host", "expired", "untrusted"])
    @pytest.mark.parametrize("more", [{}, {"alpn_protocols": ["x"]}])
    def test_without_verification(self, cert, more, certs):
        server = serve({"certfile": getattr(certs, cert)})
        connected(server, {"cert_reqs": ssl.CERT_NONE, **more})

    @pytest.mark.parametrize("reqs", [None, ssl.CERT_REQUIRED, ssl.CERT_OPTIONAL])
    def test_with_verification_asked_for(self, reqs, certs):
        server = serve({"certfile": certs.untrusted})
        client = connect(server, {"ca_certs": certs.ca, "cert_reqs": reqs})
        run_until(lambda: client.closed)
        assert isinstance(client.error, ssl.SSLCertVerificationError)

    def test_an_integer_means_the_same(self, certs):
        """As with ssl.wrap_socket, whose cert_reqs were integers; 0 is CERT_NONE."""
        connected(serve({"certfile": certs.untrusted}), {"cert_reqs": 0})

    @pytest.mark.parametrize("name, good", [("localhost", True), ("elsewhere.example", False)])
    def test_server_hostname(self, name, good, certs):
        server = serve({"certfile": certs.good})
        client = connect(server, {"ca_certs": certs.ca, "server_hostname": name})
        run_until(lambda: client.secure or client.closed)
        assert client.secure is good

    def test_a_context_without_check_of_the_name(self, certs):
        """The authority is verified, the name is not: for a UNIX socket say, or a private network."""
        ours, theirs = socket.socketpair()
        client = Recorder(socket=ours, ssl_options=certs.client_context(check_hostname=False))
        server = Recorder(socket=theirs, ssl_options={"certfile": certs.wrong_host, "server_side": True})
        run_until(lambda: client.secure and server.secure)

    def test_unix_without_a_name(self, certs, tmp_path):
        path = str(tmp_path / "socket")
        server = RecordingServer(ssl_options={"certfile": certs.good}).listen(path)
        client = Recorder(ssl_options={"ca_certs": certs.ca})
        with pytest.raises(ValueError, match="host name"):
            client.connect(path)
        client.close()
        named = Recorder(ssl_options={"ca_certs": certs.ca, "server_hostname": "localhost"}).connect(path)
        unverified = Recorder(ssl_options={"cert_reqs": ssl.CERT_NONE}).connect(path)
        run_until(lambda: named.secure and unverified.secure)
        late = Recorder().connect(path)
        with pytest.raises(ValueError, match="host name"):
            late.startSSL({"ca_certs": certs.ca})
        run_until(lambda: late.connected)
        with pytest.raises(ValueError, match="host name"):
            late.startSSL({"ca_certs": certs.ca})
        assert late.connected, "what raised has changed nothing"
        assert len(server.made) == 3

    @pytest.mark.parametrize("certfile, good", [("client", True), ("untrusted_client", False), (None, False)])
    @pytest.mark.parametrize("by", ["dict", "context"])
    def test_mutual(self, certfile, good, by, version, certs):
        """A server that asks for a certificate. In TLS 1.3 the client's handshake is over before it is judged."""
        if by == "dict":
            options: Any = {"certfile": certs.good, "ca_certs": certs.ca, "cert_reqs": ssl.CERT_REQUIRED}
        else:
            options = certs.server_context(verify_mode=ssl.CERT_REQUIRED)
            options.load_verify_locations(certs.ca)
        server = serve(options, Echo)
        context = at(version, certs.client_context(certfile and getattr(certs, certfile)))
        bystander, _ = connected(serve({"certfile": certs.good}, Echo), {"ca_certs": certs.ca})

        class Eager(Recorder):
            def on_connect(self) -> None:
                super().on_connect()
                self.write(b"hello")

        client = connect(server, context, Eager)
        if good:
            run_until(lambda: client.data == b"hello")
            (stream,) = server.made
            assert isinstance(stream.socket, ssl.SSLSocket)
            assert stream.socket.getpeercert()
            return
        run_until(lambda: client.closed and server.made and server.made[0].closed)
        assert server.made[0].hooks == ["on_ssl_handshake_error", "on_close"]
        if version is ssl.TLSVersion.TLSv1_2:
            assert client.hooks == ["on_ssl_handshake_error", "on_close"]
        else:
            assert client.hooks == ["on_ssl_handshake", "on_connect", "on_ssl_error", "on_close"]
        assert isinstance(client.error, ssl.SSLError)
        assert "ALERT" in str(client.error).upper()
        bystander.write(b"unharmed")
        run_until(lambda: bystander.data == b"unharmed")

    def test_an_optional_certificate(self, certs):
        options = {"certfile": certs.good, "ca_certs": certs.ca, "cert_reqs": ssl.CERT_OPTIONAL}
        server = serve(options)
        connected(server, {"ca_certs": certs.ca})
        connected(server, {"ca_certs": certs.ca, "certfile": certs.client})
        client = connect(server, {"ca_certs": certs.ca, "certfile": certs.untrusted_client})
        run_until(lambda: client.closed)
        assert "ALERT" in str(client.error).upper()


# --- Failures ------------------------------------------------------------------------------------------------------


@pytest.fixture
def bystander(certs) -> Iterator[Callable[[], None]]:
    """A connection that must not suffer: the function checks that it goes on."""
    client, _ = connected(serve({"certfile": certs.good}, Echo), {"ca_certs": certs.ca})

    def check() -> None:
        client.data.clear()
        client.write(b"unharmed")
        run_until(lambda: client.data == b"unharmed")

    yield check
    check()


@pytest.mark.usefixtures("bystander")
class TestFailures:
    @pytest.mark.parametrize(
        "sent", [b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", b"\0" * 64, b"\x16\x03\x01\xff\xff" + b"x" * 64]
    )
    def test_a_plain_client_on_a_tls_port(self, sent, certs):
        server = serve({"certfile": certs.good}, Echo)

        def talk(sock: socket.socket) -> bytes:
            sock.sendall(sent)
            return receive_all(sock)

        peer = Background(call, server.local_address, talk)
        answer = peer.result()
        assert not answer or answer[0] == 0x15, "an alert (RFC 8446 §5.1), or nothing"
        (stream,) = server.made
        run_until(lambda: stream.closed)
        assert stream.hooks == ["on_ssl_handshake_error", "on_close"]
        assert isinstance(stream.error, ssl.SSLError)
        assert server.channels == {}
        connected(server, {"ca_certs": certs.ca})

    def test_a_tls_client_on_a_plain_port(self, certs):
        server = serve(connection=Echo)
        client = connect(server, {"ca_certs": certs.ca})
        run_until(lambda: client.closed)
        assert client.hooks == ["on_ssl_handshake_error", "on_close"]
        assert isinstance(client.error, ssl.SSLError)

    @pytest.mark.parametrize("silent", [True, False])
    def test_a_stalled_handshake(self, silent, certs):
        """A client that sends nothing, or a part of its first message."""
        server = serve({"certfile": certs.good}, _Impatient)

        def talk(sock: socket.socket) -> bytes:
            if not silent:
                sock.sendall(b"\x16\x03\x01\x02\x00\x01")
            return receive_all(sock)

        peer = Background(call, server.local_address, talk)
        peer.result()
        (stream,) = server.made
        assert stream.hooks == ["on_ssl_handshake_error", "on_close"]
        assert isinstance(stream.error, HandshakeTimeout)
        assert str(_Impatient.handshake_timeout) in str(stream.error)

    def test_a_stalled_server(self, certs):
        with listening() as listener:
            client = _Impatient(ssl_options={"ca_certs": certs.ca}).connect(listener.getsockname())
            run_until(lambda: client.closed)
        assert client.hooks == ["on_ssl_handshake_error", "on_close"]
        assert isinstance(client.error, HandshakeTimeout)

    def test_no_deadline(self, certs):
        class Patient(Recorder):
            handshake_timeout = None

        engine = Engine.instance()
        server = serve({"certfile": certs.good}, Patient)
        with socket.create_connection(server.local_address):
            run_until(lambda: server.made)
            run_until(lambda: engine.time_to_timer() is None)
            run_turns()
            assert server.made[0].hooks == []
            connected(server, {"ca_certs": certs.ca}, Patient)
        run_until(lambda: server.made[0].closed)

    def test_no_timer_is_left_after_success(self, certs):
        engine = Engine.instance()
        client, stream = connected(serve({"certfile": certs.good}), {"ca_certs": certs.ca})
        run_until(lambda: engine.time_to_timer() is None)
        assert client.connected
        assert stream.connected

    @pytest.mark.parametrize("how", ["close", "shutdown", "reset"])
    @pytest.mark.parametrize("sent", [0, 20])
    def test_a_client_that_vanishes_in_the_handshake(self, how, sent, certs):
        server = serve({"certfile": certs.good})
        sock = socket.create_connection(server.local_address)
        run_until(lambda: server.made)
        sock.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03aaaaaaaaaaaaa"[:sent])
        run_turns()
        if how == "reset":
            reset(sock)
        elif how == "close":
            sock.close()
        else:
            sock.shutdown(socket.SHUT_WR)
        (stream,) = server.made
        run_until(lambda: stream.closed)
        sock.close()
        assert stream.hooks == ["on_ssl_handshake_error", "on_close"]
        assert isinstance(stream.error, OSError)
        assert server.channels == {}

    @pytest.mark.parametrize("sent", [b"", b"some bytes"])
    def test_a_client_that_has_gone_before_it_is_accepted(self, sent, certs):
        """Where TLS cannot even be put around the connection: on_ssl_wrap_error, or the handshake fails."""
        server = serve({"certfile": certs.good})
        sock = socket.create_connection(server.local_address)
        sock.sendall(sent)
        reset(sock)
        run_until(lambda: server.wrap_errors or (server.made and server.made[0].closed))
        if server.made:
            assert server.made[0].hooks == ["on_ssl_handshake_error", "on_close"]
        else:
            assert isinstance(server.wrap_errors[0][2], OSError)
        assert server.channels == {}
        connected(server, {"ca_certs": certs.ca})

    def test_a_server_that_has_gone(self, certs):
        with listening() as listener:
            client = Recorder(ssl_options={"ca_certs": certs.ca}).connect(listener.getsockname())

            def vanish(sock: socket.socket) -> None:
                assert sock.recv(1)  # the handshake has begun
                reset(sock)

            Background(accept, listener, vanish).result()
            run_until(lambda: client.closed)
        assert client.hooks == ["on_ssl_handshake_error", "on_close"]
        assert isinstance(client.error, OSError)

    def test_default_hooks_log_and_close(self, certs, expect_log):
        expect_log(r"WARNING.*")
        server = Server(Stream, ssl_options={"certfile": certs.good}).listen(("127.0.0.1", 0))
        client = Stream(ssl_options={}).connect(server.local_address)
        run_until(lambda: client.closed and not server.channels)
        assert any("certificate verify failed" in line.lower() for line in expect_log.lines)
        assert len(expect_log.lines) == 2, "each end once"

    def test_on_ssl_error_by_default_logs_and_closes(self, certs, expect_log):
        expect_log(r"WARNING.*")
        options = {"certfile": certs.good, "ca_certs": certs.ca, "cert_reqs": ssl.CERT_REQUIRED}
        server = serve(options)
        client = Stream(ssl_options=at(ssl.TLSVersion.TLSv1_3, certs.client_context())).connect(server.local_address)
        run_until(lambda: client.closed)
        assert "alert" in expect_log.lines[0].lower()

    def test_the_channel_closes_whatever_the_hook_does(self, certs):
        class Ignorant(Recorder):
            def on_ssl_handshake_error(self, exception: Exception) -> None:
                self.hooks.append("ignored")

        client = connect(serve({"certfile": certs.wrong_host}), {"ca_certs": certs.ca}, Ignorant)
        run_until(lambda: client.closed)
        assert client.hooks == ["ignored", "on_close"]

    def test_an_error_hook_that_raises(self, certs):
        class Broken(Recorder):
            def on_ssl_handshake_error(self, exception: Exception) -> None:
                raise ZeroDivisionError

        client = connect(serve({"certfile": certs.wrong_host}), {"ca_certs": certs.ca}, Broken)
        run_until(lambda: client.closed)
        assert client.hooks == ["on_error", "on_close"]
        assert isinstance(client.error, ZeroDivisionError)

    def test_on_ssl_wrap_error(self, certs, expect_log):
        """The hook gets the socket, the address and the error; by default it logs and closes."""

        class Refusing(ssl.SSLContext):
            def wrap_socket(self, *_: Any, **__: Any) -> Any:
                raise ssl.SSLError("not today")

        context = Refusing(ssl.PROTOCOL_TLS_SERVER)
        server = serve(context)
        peers = [socket.create_connection(server.local_address) for _ in range(2)]
        run_until(lambda: len(server.wrap_errors) == 2)
        for peer, (sock, addr, error) in zip(peers, server.wrap_errors, strict=True):
            assert isinstance(sock, socket.socket)
            assert addr == peer.getsockname()
            assert "not today" in str(error)
            with peer:
                assert peer.recv(1) == b"", "closed"
        assert server.made == []
        expect_log("WARNING.*not today")
        default = Server(ssl_options=context).listen(("127.0.0.1", 0))
        with socket.create_connection(default.local_address) as peer:
            run_until(lambda: expect_log.lines)
            assert peer.recv(1) == b""

    def test_wrapping_fails_in_a_client(self, certs):
        """on_ssl_error is for a problem at the point where TLS is enabled (manual: startSSL)."""

        class Refusing(ssl.SSLContext):
            def wrap_socket(self, *_: Any, **__: Any) -> Any:
                raise ssl.SSLError("not today")

        context = Refusing(ssl.PROTOCOL_TLS_CLIENT)
        client = connect(serve(), context)
        run_until(lambda: client.closed)
        assert client.hooks == ["on_ssl_error", "on_close"]
        assert "not today" in str(client.error)

    def test_garbage_after_the_handshake(self, version, certs):
        """A record that does not decrypt: on_ssl_error, and the peer gets an alert."""
        ours, theirs = socket.socketpair()
        stream = Recorder(socket=ours, ssl_options={"certfile": certs.good, "server_side": True})

        def attack() -> bytes:
            with theirs:
                theirs.settimeout(DEADLINE)
                with at(version, certs.client_context()).wrap_socket(theirs, server_hostname="localhost") as tls:
                    raw = socket.socket(fileno=os.dup(tls.fileno()))
                    with raw:
                        raw.settimeout(DEADLINE)
                        raw.sendall(b"\x17\x03\x03\x00\x20" + b"x" * 32)
                        return receive_all(raw)

        assert Background(attack).result(), "at least the alert"
        run_until(lambda: stream.closed)
        assert stream.hooks == ["on_ssl_handshake", "on_connect", "on_ssl_error", "on_close"]
        assert isinstance(stream.error, ssl.SSLError)

    def test_a_reset_after_the_handshake(self, certs):
        """It is nobody's error: the channel closes and says why."""
        server = serve({"certfile": certs.good})

        def talk(tls: ssl.SSLSocket) -> None:
            run = time.monotonic() + DEADLINE
            while not server.made or "on_connect" not in server.made[0].hooks:
                assert time.monotonic() < run
                time.sleep(0.001)
            reset(tls)

        Background(call_tls, server.local_address, certs.client_context(), talk).result()
        (stream,) = server.made
        run_until(lambda: stream.closed)
        assert stream.hooks == ["on_ssl_handshake", "on_connect", "on_close"]
        assert isinstance(stream.close_error, ConnectionResetError)

    def test_nothing_is_leaked_by_failures(self, certs):
        """No descriptor, no timer, and no cycle that only the collector would find."""
        server = serve({"certfile": certs.wrong_host})
        engine = Engine.instance()
        run_turns()
        descriptors = len(os.listdir("/dev/fd"))
        gc.collect()
        gc.disable()
        try:
            references = []
            for _ in range(20):
                client = connect(server, {"ca_certs": certs.ca})
                plain = socket.create_connection(server.local_address)
                plain.sendall(b"no TLS at all\r\n")
                run_until_closed(client)
                run_until(lambda: len(server.made) == 2 and all(stream.closed for stream in server.made))
                plain.close()
                references += [weakref.ref(client), *map(weakref.ref, server.made)]
                server.made.clear()
                del client
            run_until(lambda: engine.time_to_timer() is None)
            assert [reference for reference in references if reference() is not None] == []
            assert len(os.listdir("/dev/fd")) == descriptors
        finally:
            gc.enable()

    def test_nothing_is_leaked_by_success(self, certs):
        server = serve({"certfile": certs.good}, Echo)
        engine = Engine.instance()
        gc.collect()
        gc.disable()
        try:
            client, stream = connected(server, {"ca_certs": certs.ca})
            client.write(b"hello")
            run_until(lambda: client.data)
            client.close()
            run_until(lambda: client.closed and stream.closed and engine.time_to_timer() is None)
            references = [weakref.ref(client), weakref.ref(stream)]
            server.made.clear()
            client = stream = None
            run_turns()
            assert [reference for reference in references if reference() is not None] == []
        finally:
            gc.enable()

    def test_closing_during_the_handshake(self, certs):
        server = serve({"certfile": certs.good})
        with socket.create_connection(server.local_address) as peer:
            run_until(lambda: server.made)
            server.made[0].close()
            run_until(lambda: server.made[0].closed)
            peer.settimeout(DEADLINE)
            assert peer.recv(100) == b""
        assert server.made[0].hooks == ["on_close"]

    def test_a_server_that_closes_takes_unfinished_handshakes_along(self, certs):
        server = serve({"certfile": certs.good})
        with socket.create_connection(server.local_address) as peer:
            run_until(lambda: server.made)
            server.close()
            run_until(lambda: server.made[0].closed)
            peer.settimeout(DEADLINE)
            assert peer.recv(100) == b""


class _Impatient(Recorder):
    handshake_timeout = 0.05


# --- The end -------------------------------------------------------------------------------------------------------


class TestEnd:
    def test_close_notify_is_sent(self, version, certs):
        """The peer sees an end in order even where it does not suppress ragged ones (RFC 8446 §6.1)."""

        class Goodbye(Recorder):
            def on_connect(self) -> None:
                self.write(b"goodbye")
                self.close()

        server = serve(at(version, certs.server_context()), Goodbye)

        def strict() -> bytes:
            with socket.create_connection(server.local_address, timeout=DEADLINE) as sock:
                tls = certs.client_context().wrap_socket(sock, server_hostname="localhost", suppress_ragged_eofs=False)
                with tls:
                    return receive_all(tls)

        assert Background(strict).result() == b"goodbye"

    def test_close_notify_ends_the_peers_side(self, version, certs):
        """unwrap() sends close_notify and waits for ours, without closing the socket."""
        server = serve(at(version, certs.server_context()), Echo)

        def talk(tls: ssl.SSLSocket) -> bytes:
            tls.sendall(b"hello")
            answer = receive_exactly(tls, 5)
            tls.unwrap().close()
            return answer

        assert Background(call_tls, server.local_address, certs.client_context(), talk).result() == b"hello"
        run_until(lambda: server.made[0].closed)
        assert server.made[0].hooks == ["on_ssl_handshake", "on_connect", "on_read", "on_end", "on_close"]
        assert server.made[0].close_error is None

    @pytest.mark.parametrize("suppressed", [True, False])
    def test_an_end_without_close_notify(self, suppressed, version, certs):
        options = {"certfile": certs.good, "suppress_ragged_eofs": suppressed}
        server = serve(options)

        def talk(tls: ssl.SSLSocket) -> None:
            tls.sendall(b"cut off")
            receive_rest(tls)

        Background(call_tls, server.local_address, at(version, certs.client_context()), talk).result()
        (stream,) = server.made
        run_until(lambda: stream.closed)
        assert stream.data == b"cut off"
        end = "on_end" if suppressed else "on_ssl_error"
        assert stream.hooks == ["on_ssl_handshake", "on_connect", "on_read", end, "on_close"]
        if not suppressed:
            assert isinstance(stream.error, ssl.SSLEOFError)

    def test_an_end_without_close_notify_where_on_accept_is_overridden(self, certs):
        """Whoever makes the stream of an accepted socket, the server's options rule."""
        made = []

        class Own(Server):
            def on_accept(self, socket: socket.socket, addr: Any) -> None:
                made.append(Recorder(socket=socket))

        for suppressed in (True, False):
            options = {"certfile": certs.good, "suppress_ragged_eofs": suppressed}
            server = Own(ssl_options=options).listen(("127.0.0.1", 0))
            Background(call_tls, server.local_address, certs.client_context(), receive_rest).result()
            run_until_closed(made[-1])
        assert [stream.hooks[2] for stream in made] == ["on_end", "on_ssl_error"]

    @pytest.mark.parametrize("suppressed", [True, False])
    def test_an_end_for_which_openssl_gives_no_reason(self, suppressed, certs):
        """As OpenSSL did before its version 3: an end without close_notify, and no reset."""

        class Old(ssl.SSLSocket):
            def recv(self, *args: Any) -> bytes:
                try:
                    return super().recv(*args)
                except ssl.SSLEOFError as error:
                    setattr(error, "reason", None)  # noqa: B010 - the type stubs know of no None
                    raise

        context = certs.client_context()
        context.sslsocket_class = Old
        ours, theirs = socket.socketpair()
        # A UNIX socket tells who its peer was after that has gone, as a TCP socket does after an end in order.
        mine = context.wrap_socket(
            ours, server_hostname="localhost", do_handshake_on_connect=False, suppress_ragged_eofs=suppressed
        )
        peer = Background(lambda: _wrapped(theirs, certs.server_context(), receive_rest, server_side=True))
        stream = Recorder(socket=mine)
        run_until_closed(stream)
        peer.result()
        assert stream.hooks[2] == ("on_end" if suppressed else "on_ssl_error")

    def test_half_open(self, certs):
        """on_end() overridden: what is written after the peer's close_notify still arrives."""

        class Answering(Recorder):
            def on_end(self) -> None:
                self.hooks.append("on_end")
                self.write(b"the answer to " + self.data)
                self.engine.callback(self.close)

        class Asking(Recorder):
            pass

        server = serve({"certfile": certs.good}, Answering)
        proxy_done: list[bytes] = []

        def ask() -> None:
            # Python's SSLSocket cannot half-close; OpenSSL's way is a shutdown of the write side over memory.
            incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            tls = certs.client_context().wrap_bio(incoming, outgoing, server_hostname="localhost")
            with socket.create_connection(server.local_address, timeout=DEADLINE) as sock:
                _pump(sock, incoming, outgoing, tls.do_handshake)
                tls.write(b"all")
                sock.sendall(outgoing.read())
                with contextlib.suppress(ssl.SSLWantReadError):
                    tls.unwrap()
                sock.sendall(outgoing.read())
                proxy_done.append(receive_all(sock))

        Background(ask).result()
        (stream,) = server.made
        run_until(lambda: stream.closed)
        assert stream.hooks == ["on_ssl_handshake", "on_connect", "on_read", "on_end", "on_close"]
        # 0x17 is application data (RFC 8446 §5.1): the answer, after close_notify has come in.
        assert b"\x17\x03\x03" in proxy_done[0]

    def test_the_last_answer_survives_unread_input(self, certs):
        """Closing with input unread would reset the connection, and the reset take the answer along (DESIGN.md §3)."""
        answer = os.urandom(200_000)

        class Curt(Recorder):
            def on_read(self, *args: Any) -> None:
                self.write(answer)
                self.close()

        server = serve({"certfile": certs.good}, Curt)

        def talk(tls: ssl.SSLSocket) -> bytes:
            tls.sendall(b"x" * 100_000)  # far more than is read
            return receive_all(tls)

        assert Background(call_tls, server.local_address, certs.client_context(), talk).result() == answer

    def test_a_tail_without_delimiter_is_dropped(self, certs):
        class Lines(Recorder):
            def on_connect(self) -> None:
                self.read_delimiter = b"\n"

        server = serve({"certfile": certs.good}, Lines)
        Background(
            call_tls, server.local_address, certs.client_context(), lambda tls: send_all(tls, b"one\ntwo\nthr")
        ).result()
        run_until(lambda: server.made[0].closed)
        assert server.made[0].frames == [b"one", b"two"]

    def test_close_while_a_record_is_stuck(self, certs):
        """close(flush=False) while OpenSSL holds half a record that the kernel did not take."""

        class Flood(Recorder):
            def on_connect(self) -> None:
                self.write(b"x" * (16 * MIB))

        server = serve({"certfile": certs.good}, Flood)

        def talk(tls: ssl.SSLSocket) -> None:
            receive_exactly(tls, 1)
            run_deadline = time.monotonic() + DEADLINE
            while not server.made[0].closed:
                assert time.monotonic() < run_deadline
                time.sleep(0.005)

        peer = Background(call_tls, server.local_address, certs.client_context(), talk)
        run_until(lambda: server.made and server.made[0]._send_blocked)
        server.made[0].close(flush=False)
        peer.result()
        assert server.made[0].hooks[-1] == "on_close"

    def test_a_closing_peer_that_takes_nothing(self, certs):
        """close(flush=True) has a deadline."""

        class Flood(Recorder):
            close_timeout = 0.05

            def on_connect(self) -> None:
                self.write(b"x" * (16 * MIB))
                self.close()

        server = serve({"certfile": certs.good}, Flood)

        def talk(tls: ssl.SSLSocket) -> None:
            run_deadline = time.monotonic() + DEADLINE
            while not server.made or not server.made[0].closed:
                assert time.monotonic() < run_deadline
                time.sleep(0.005)

        Background(call_tls, server.local_address, certs.client_context(), talk).result()
        assert isinstance(server.made[0].close_error, TimeoutError)


def _pump(sock: socket.socket, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO, step: Callable[[], Any]) -> Any:
    while True:
        try:
            result = step()
        except ssl.SSLWantReadError:
            sock.sendall(outgoing.read())
            incoming.write(sock.recv(65536))
        else:
            sock.sendall(outgoing.read())
            return result


# --- Transfer ------------------------------------------------------------------------------------------------------


class TestTransfer:
    @pytest.mark.parametrize("size", [1, 16384, 16385, 8 * MIB])
    def test_both_ways_at_once(self, size, version, certs):
        """Neither end reads before it has written all: an end that only wrote would stand still."""

        class Talker(Recorder):
            def on_connect(self) -> None:
                super().on_connect()
                self.write(self.outgoing)

            outgoing = b""

        one, other = os.urandom(size), os.urandom(size)
        server = serve(at(version, certs.server_context()), type("Server", (Talker,), {"outgoing": one}))
        client = connect(server, {"ca_certs": certs.ca}, type("Client", (Talker,), {"outgoing": other}))
        run_until(lambda: len(client.data) >= size and server.made and len(server.made[0].data) >= size)
        assert hashlib.sha256(client.data).digest() == hashlib.sha256(one).digest()
        assert hashlib.sha256(server.made[0].data).digest() == hashlib.sha256(other).digest()

    def test_many_small_writes(self, certs):
        server = serve({"certfile": certs.good}, Echo)
        client, _ = connected(server, {"ca_certs": certs.ca})
        pieces = [b"%d," % number for number in range(20_000)]
        for piece in pieces:
            client.write(piece)
        run_until(lambda: len(client.data) == sum(map(len, pieces)))
        assert client.data == b"".join(pieces)

    def test_python_peer(self, version, certs):
        """A blocking peer that sends and receives in two threads."""
        server = serve(at(version, certs.server_context()), Echo)
        data = os.urandom(4 * MIB)

        def talk(tls: ssl.SSLSocket) -> bytes:
            # The echo comes back only as fast as it is read, so it has to be read meanwhile.
            answer = bytearray()
            for start in range(0, len(data), 65536):
                tls.sendall(data[start : start + 65536])
                answer += receive_exactly(tls, min(65536, len(data) - start))
            return bytes(answer)

        assert Background(call_tls, server.local_address, certs.client_context(), talk).result() == data

    def test_flush_sends_all_that_the_kernel_takes(self, certs):
        """Not a record only (16 KiB): flush() sends now, "any internally buffered data" (manual)."""
        client, stream = connected(serve({"certfile": certs.good}), {"ca_certs": certs.ca})
        assert client.socket is not None
        assert client.socket.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) > 50_000
        client.write(b"x" * 40_000)
        assert client.queued_bytes == 40_000
        client.flush()
        assert client.queued_bytes == 0
        client.write(b"y" * 40_000, flush=True)
        assert client.queued_bytes == 0
        run_until(lambda: len(stream.data) == 80_000)

    def test_on_write(self, certs):
        client, stream = connected(serve({"certfile": certs.good}), {"ca_certs": certs.ca})
        client.write(b"x" * 100_000)
        run_until(lambda: client.writes and len(stream.data) == 100_000)
        run_turns()
        assert client.writes == 1
        assert client.queued_bytes == 0

    def test_a_slow_reader(self, certs):
        """on_high_water, a queue that stays, then on_write when it has gone; nothing is lost."""

        class Producer(Recorder):
            high_water = 100_000
            highs = 0

            def on_high_water(self) -> None:
                self.highs += 1

        server = serve({"certfile": certs.good}, Producer)
        client, stream = connected(server, {"ca_certs": certs.ca})
        client.pause_reading()
        data = os.urandom(16 * MIB)
        stream.write(data)
        run_until(lambda: stream.highs)
        run_turns(50)
        assert 0 < stream.queued_bytes < len(data), "what the kernel has taken does not count any more"
        assert stream.writes == 0
        assert client.data == b""
        client.resume_reading()
        run_until(lambda: len(client.data) == len(data) and stream.writes)
        assert client.data == data
        assert (stream.writes, stream.highs) == (1, 1)

    def test_a_connection_that_breaks_under_load(self, certs):
        server = serve({"certfile": certs.good})
        client, stream = connected(server, {"ca_certs": certs.ca})
        client.pause_reading()
        stream.write(b"x" * (16 * MIB))
        run_until(lambda: stream._send_blocked)
        assert client.socket is not None
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.close_error = ConnectionResetError()  # let it go without ceremony
        client.close(flush=False)
        run_until(lambda: stream.closed)
        assert stream.hooks == ["on_ssl_handshake", "on_connect", "on_close"]
        assert isinstance(stream.close_error, ConnectionError)

    def test_sending_fails_while_reading_is_paused(self, certs):
        server = serve({"certfile": certs.good})
        client, stream = connected(server, {"ca_certs": certs.ca})
        stream.pause_reading()
        assert client.socket is not None
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.close_error = ConnectionResetError()
        client.close(flush=False)
        run_until(lambda: stream.closed)
        assert stream.hooks == ["on_ssl_handshake", "on_connect", "on_close"], "a reset is noticed at once"

    @pytest.mark.parametrize("kind", ["file", "BytesIO", "part"])
    def test_write_file(self, kind, tmp_path, version, certs):
        data = os.urandom(3 * MIB + 17)
        path = tmp_path / "file"
        path.write_bytes(data)

        class Sender(Recorder):
            def on_connect(self) -> None:
                self.write(b"<")
                if kind == "file":
                    with path.open("rb") as file:
                        self.write_file(file)
                elif kind == "part":
                    with path.open("rb") as file:
                        self.write_file(file, nbytes=MIB, offset=1000)
                else:
                    self.write_file(io.BytesIO(data))
                self.write(b">")
                self.close()

        server = serve(at(version, certs.server_context()), Sender)
        got = Background(call_tls, server.local_address, certs.client_context(), receive_all).result()
        expected = data[1000 : 1000 + MIB] if kind == "part" else data
        assert got == b"<" + expected + b">"

    def test_a_file_that_shrinks(self, tmp_path, certs):
        path = tmp_path / "file"
        path.write_bytes(b"x" * (4 * MIB))
        server = serve({"certfile": certs.good})
        _, stream = connected(server, {"ca_certs": certs.ca})
        with path.open("rb") as file:
            stream.write_file(file)
        path.write_bytes(b"x")
        run_until(lambda: stream.closed)
        assert stream.hooks[-2:] == ["on_error", "on_close"]
        assert type(stream.error).__name__ == "FileShrunk"

    @pytest.mark.parametrize("size", [1, 100, 16384, 100_000])
    def test_pause_and_resume(self, size, certs):
        """What OpenSSL holds when reading is paused is handed out when it is resumed, without a new event."""

        class Stepwise(Recorder):
            def on_connect(self) -> None:
                super().on_connect()
                self.read_delimiter = size if size < 65536 else None

            def on_read(self, *args: Any) -> None:
                super().on_read(*args)
                self.pause_reading()

        server = serve({"certfile": certs.good}, Stepwise)
        client, stream = connected(server, {"ca_certs": certs.ca})
        client.write(b"x" * size * 3)
        for total in range(1, 4):
            run_until(lambda: stream.frames)
            run_turns()
            assert len(stream.frames) == 1, "nothing is handed out while reading is paused"
            stream.frames.clear()
            stream.resume_reading()
            if size < 65536:
                assert len(stream.data) == size * total
        while len(stream.data) < size * 3:
            run_until(lambda: stream.frames or len(stream.data) == size * 3)
            stream.frames.clear()
            stream.resume_reading()

    def test_writing_while_reading_is_paused(self, certs):
        server = serve({"certfile": certs.good})
        client, stream = connected(server, {"ca_certs": certs.ca})
        stream.pause_reading()
        client.write(b"unread")
        stream.write(b"x" * (8 * MIB))
        run_until(lambda: len(client.data) == 8 * MIB and stream.writes)
        run_turns()
        assert stream.data == b""
        client.close()
        run_until(lambda: client.closed)
        stream.resume_reading()
        run_until(lambda: stream.closed)
        assert stream.data == b"unread"

    def test_a_peer_that_goes_while_reading_is_paused(self, certs):
        """What it sent before it went may be read when reading is resumed; then comes the end."""
        ours, theirs = socket.socketpair()  # whose other end, unlike TCP's, is reported as gone when it is closed
        stream = Recorder(socket=ours, ssl_options={"certfile": certs.good, "server_side": True})
        stream.pause_reading()
        context = at(ssl.TLSVersion.TLSv1_2, certs.client_context())  # no session ticket is left unread
        Background(
            lambda: _wrapped(theirs, context, lambda tls: tls.sendall(b"the last words"), hostname="localhost")
        ).result()
        run_until(lambda: stream.connected)
        run_turns(10)
        assert not stream.closed
        assert stream.data == b""
        stream.resume_reading()
        run_until(lambda: stream.closed)
        assert stream.data == b"the last words"
        assert stream.hooks == ["on_ssl_handshake", "on_connect", "on_read", "on_end", "on_close"]

    def test_reading_has_to_wait_for_writing(self, certs):
        """OpenSSL may have to send before it goes on reading, a key update say, and the kernel may be full."""

        class Busy(ssl.SSLSocket):
            waits = 3

            def recv(self, *args: Any) -> bytes:
                data = super().recv(1, *args[1:])
                if data == b"!" and self.waits:
                    type(self).waits -= 1
                    raise ssl.SSLWantWriteError
                return data

        context = certs.client_context()
        context.sslsocket_class = Busy
        client, stream = connected(serve({"certfile": certs.good}), context)
        stream.write(b"one!!!!two")
        run_until(lambda: client.data == b"one!two")
        assert Busy.waits == 0
        client.write(b"hello")
        run_until(lambda: stream.data == b"hello")

    def test_paused_before_the_handshake(self, certs):
        class Paused(Recorder):
            def __init__(self, **kwargs: Any) -> None:
                super().__init__(**kwargs)
                self.pause_reading()

        server = serve({"certfile": certs.good}, Paused)
        client, stream = connected(server, {"ca_certs": certs.ca})
        client.write(b"hello")
        client.close()
        run_until(lambda: client.closed)
        run_turns()
        assert stream.hooks == ["on_ssl_handshake", "on_connect"]
        stream.resume_reading()
        run_until(lambda: stream.closed)
        assert stream.hooks == ["on_ssl_handshake", "on_connect", "on_read", "on_end", "on_close"]
        assert stream.data == b"hello"

    def test_more_in_openssl_than_one_read_takes(self, certs):
        """A record is handed out whole, by int delimiters smaller than it, with nothing more to come."""
        server = serve({"certfile": certs.good}, _sized(7))
        client, stream = connected(server, {"ca_certs": certs.ca})
        client.write(bytes(range(256)) * 7)
        run_until(lambda: len(stream.frames) == 256)
        assert b"".join(stream.frames) == bytes(range(256)) * 7

    @pytest.mark.parametrize(
        "delimiter, sent, frames",
        [
            (b"\r\n", b"one\r\ntwo\r\nthree\r\n", [b"one", b"two", b"three"]),
            (3, b"onetwosix", [b"one", b"two", b"six"]),
            (struct.Struct("!HL"), struct.pack("!HL", 1, 2) * 2, [(1, 2), (1, 2)]),
            (NetStruct(b"!H$"), b"\0\5hello\0\3you", [b"hello", b"you"]),
            (re.compile(rb"[,;]"), b"one,two;three,", [b"one", b"two", b"three"]),
        ],
        ids=["bytes", "int", "Struct", "NetStruct", "pattern"],
    )
    @pytest.mark.parametrize("bytewise", [False, True])
    def test_delimiters(self, delimiter, sent, frames, bytewise, certs):
        class Cut(Recorder):
            def on_connect(self) -> None:
                self.read_delimiter = delimiter

        server = serve({"certfile": certs.good}, Cut)

        def talk(tls: ssl.SSLSocket) -> None:
            pieces = [sent[number : number + 1] for number in range(len(sent))] if bytewise else [sent]
            for piece in pieces:
                tls.sendall(piece)  # a record each
            receive_rest(tls)

        Background(call_tls, server.local_address, certs.client_context(), talk).result()
        run_until(lambda: server.made[0].closed)
        assert server.made[0].frames == frames

    def test_a_matching_pattern(self, certs):
        class Matching(Recorder):
            def on_connect(self) -> None:
                self.read_delimiter = re.compile(rb"(\w+)=(\w+);")
                self.regex_search = False

        server = serve({"certfile": certs.good}, Matching)
        Background(
            call_tls, server.local_address, certs.client_context(), lambda tls: send_all(tls, b"a=1;b=2;")
        ).result()
        run_until(lambda: server.made[0].closed)
        assert [match.groups() for match in server.made[0].frames] == [(b"a", b"1"), (b"b", b"2")]

    def test_large_frames(self, certs):
        size = 3 * MIB
        server = serve({"certfile": certs.good}, _sized(size))
        client, stream = connected(server, {"ca_certs": certs.ca})
        data = os.urandom(2 * size)
        client.write(data)
        run_until(lambda: len(stream.frames) == 2)
        assert b"".join(stream.frames) == data

    def test_overflow(self, certs):
        class Limited(Recorder):
            def on_connect(self) -> None:
                super().on_connect()
                self.read_delimiter = b"\n"
                self.buffer_size = 1000

        server = serve({"certfile": certs.good}, Limited)
        client, stream = connected(server, {"ca_certs": certs.ca})
        client.write(b"x" * 100_000)
        run_until(lambda: stream.closed)
        assert stream.hooks == ["on_ssl_handshake", "on_connect", "on_overflow_error", "on_close"]

    def test_an_exception_in_on_read(self, certs):
        class Broken(Recorder):
            def on_read(self, *args: Any) -> None:
                super().on_read(*args)
                raise ZeroDivisionError

            def on_error(self, exception: Exception) -> None:
                self.hooks.append("on_error")

        server = serve({"certfile": certs.good}, Broken)
        client, stream = connected(server, {"ca_certs": certs.ca})
        client.write(b"one")
        run_until(lambda: stream.data == b"one")
        client.write(b"two")
        run_until(lambda: stream.data == b"onetwo")
        assert stream.connected, "on_error() was overridden and did not close"

    def test_other_channels_have_their_turn(self, certs):
        """One that receives without end does not keep the loop to itself."""

        class Endless(Recorder):
            """Writes more whenever it has written."""

            def on_connect(self) -> None:
                super().on_connect()
                self.write(b"x" * MIB)

            def on_write(self) -> None:
                if self.connected:
                    self.write(b"x" * MIB)

        server = serve({"certfile": certs.good}, Endless)
        flooded = connect(server, {"ca_certs": certs.ca})
        run_until(lambda: len(flooded.data) > MIB)
        client, _ = connected(serve({"certfile": certs.good}, Echo), {"ca_certs": certs.ca})
        client.write(b"hello")
        run_until(lambda: client.data == b"hello")
        flooded.close(flush=False)
        run_until(lambda: flooded.closed)


def _sized(size: int) -> type[Recorder]:
    class Sized(Recorder):
        def on_connect(self) -> None:
            super().on_connect()
            self.read_delimiter = size

    return Sized


# --- openssl as the peer: key updates, renegotiation ---------------------------------------------------------------


class TestOpenssl:
    @pytest.fixture
    def s_server(self, peer, certs) -> Iterator[Callable[..., Program]]:
        openssl = peer("openssl")
        with contextlib.ExitStack() as stack:

            def start(*options: str) -> Program:
                command = [openssl, "s_server", "-accept", "127.0.0.1:0", "-naccept", "1", *options]
                return stack.enter_context(Program(*command, "-cert", certs.certfile, "-key", certs.keyfile))

            yield start

    @pytest.mark.parametrize("command", [b"k\n", b"K\n"])
    def test_key_update_from_a_client(self, command, peer, certs):
        """RFC 8446 §4.6.3; K asks us to update ours as well."""
        server = serve({"certfile": certs.good}, Echo)
        where = f"127.0.0.1:{server.local_address[1]}"
        with Program(peer("openssl"), "s_client", "-connect", where, "-CAfile", certs.ca, "-tls1_3") as client:
            client.send(b"before\n")
            run_until(lambda: b"\nbefore\n" in client.output)
            client.send(command)
            run_until(lambda: b"KEYUPDATE" in client.output)
            client.send(b"after\n")
            run_until(lambda: b"\nafter\n" in client.output)
            client.send(b"Q\n")
            run_until(lambda: server.made[0].closed)
        assert server.made[0].data == b"before\nafter\n"
        assert server.made[0].hooks == ["on_ssl_handshake", "on_connect", "on_read", "on_end", "on_close"]

    def test_key_update_while_sending_is_blocked(self, s_server, certs):
        """OpenSSL has to send its own key update to go on reading, and cannot: then reading waits for writing."""
        server = s_server("-tls1_3")
        with Relay(("127.0.0.1", server.port())) as relay:
            client = Recorder(ssl_options={"ca_certs": certs.ca}).connect(relay.address)
            run_until(lambda: client.secure and b"CIPHER is" in server.output)
            relay.hold()
            line = b"~" * 62 + b"\n"
            count = 200_000
            client.write(line * count)
            run_until(lambda: client._send_blocked)
            for command in (b"K\n", b"the answer\n"):
                more = relay.returned + 1
                server.send(command)
                run_until(relay.has_returned(more))
            run_turns(50)
            assert client.queued_bytes > 0
            relay.release()
            run_until(lambda: client.queued_bytes == 0)
            run_until(lambda: b"the answer\n" in client.data)
            run_until(lambda: server.output.count(b"~") == 62 * count)
            client.close()
            run_until(lambda: client.closed)

    def test_renegotiation(self, s_server, certs):
        """TLS 1.2: openssl asks for a new handshake in the middle (RFC 5246 §7.4.1.1); sending then waits for it."""
        server = s_server("-tls1_2")
        client = Recorder(ssl_options={"ca_certs": certs.ca}).connect(("127.0.0.1", server.port()))
        run_until(lambda: client.secure and b"CIPHER is" in server.output)
        line = b"~" * 62 + b"\n"
        written = 0
        for _ in range(5):
            assert isinstance(client.socket, ssl.SSLSocket)
            binding = client.socket.get_channel_binding()
            server.send(b"r\n")
            deadline = time.monotonic() + DEADLINE
            while client.socket.get_channel_binding() == binding:
                assert time.monotonic() < deadline
                client.write(line * 100)
                written += 100
                Engine.instance().poll(0.001)
        # First: openssl does not bear it that data arrives while it waits, in a write of its own, for the handshake.
        run_until(lambda: server.output.count(b"~") == 62 * written)
        server.send(b"the answer\n")
        run_until(lambda: b"the answer\n" in client.data)
        assert client.connected
        client.close()
        run_until(lambda: client.closed)


def _resolve_to(monkeypatch, *hosts: str) -> None:
    """Have every name resolve to these addresses."""
    real = socket.getaddrinfo

    def fake(host, port, family=0, type=0, proto=0, flags=0):  # noqa: A002
        if flags & socket.AI_NUMERICHOST:
            return real(host, port, family, type, proto, flags)
        return [entry for numeric in hosts for entry in real(numeric, port, 0, type, proto, socket.AI_NUMERICHOST)]

    monkeypatch.setattr(socket, "getaddrinfo", fake)


def test_warnings_are_errors_here():
    """The ssl module's own deprecation warnings would fail a test; so nothing deprecated is used."""
    with pytest.raises(DeprecationWarning):
        warnings.warn("x", DeprecationWarning, stacklevel=1)
