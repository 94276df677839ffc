"""Connecting: address forms, several addresses (RFC 8305), failures, closing meanwhile (manual: "Stream.connect")."""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import pathlib
import socket
import ssl
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pants import Engine, Server, Stream
from pants._connector import interleave
from pants.engine import WRITE
from pants.errors import ConnectError, ConnectTimeout, PantsError, ResolveError
from tests.core.tls_support import (
    DEADLINE,
    Background,
    Certificates,
    Recorder,
    RecordingServer,
    certificates,
    listening,
    refusing_port,
    run_turns,
    run_until,
    serve,
    silent_listener,
    watched,
)

HAS_IPV6 = socket.has_ipv6
with contextlib.suppress(OSError), socket.socket(socket.AF_INET6) as probe:
    probe.bind(("::1", 0))
    HAS_IPV6 = True
needs_ipv6 = pytest.mark.skipif(not HAS_IPV6, reason="no IPv6 on the loopback interface")
linux = pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="Linux only")


@pytest.fixture
def certs() -> Certificates:
    return certificates()


@pytest.fixture
def names(monkeypatch) -> dict[str, Any]:
    """Names and the numeric addresses that they have, or the exception that looking them up raises."""
    table: dict[str, Any] = {}
    real = socket.getaddrinfo

    def look_up(host, port, family=0, type=0, proto=0, flags=0):  # noqa: A002
        if host not in table or flags & socket.AI_NUMERICHOST:
            return real(host, port, family, type, proto, flags)
        if isinstance(table[host], Exception):
            raise table[host]
        found = []
        for numeric in table[host]:
            with contextlib.suppress(socket.gaierror):
                found += real(numeric, port, family, type, proto, socket.AI_NUMERICHOST)
        if not found:
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        return found

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return table


class Clock:
    """A clock that is put forward by hand: what waits for a time is due at once."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.ahead


@pytest.fixture
def clock(monkeypatch) -> Clock:
    """The clock of the test's engine."""
    clock = Clock()
    monkeypatch.setattr(Engine, "clock", clock)
    return clock


def server_on(address: Any) -> RecordingServer:
    return RecordingServer().listen(address)


# --- Address forms -------------------------------------------------------------------------------------------------


class TestForms:
    def check(self, address: Any, server: Server) -> Recorder:
        client = Recorder()
        assert client.connect(address) is client, "it returns the channel"
        assert client.hooks == [], "no hook runs inside connect()"
        assert not client.connected
        run_until(lambda: client.hooks and server.channels)
        assert client.hooks == ["on_connect"]
        assert client.connected
        return client

    def test_host_and_port(self):
        server = server_on(("127.0.0.1", 0))
        client = self.check(server.local_address, server)
        assert client.remote_address == server.local_address
        assert client.local_address[0] == "127.0.0.1"
        (stream,) = server.made
        assert stream.remote_address == client.local_address
        assert stream.local_address == client.remote_address

    def test_a_list_will_do(self):
        server = server_on(("127.0.0.1", 0))
        self.check(list(server.local_address), server)

    def test_port_alone(self):
        """An integer is a port, the same as ('', port): this host."""
        server = server_on(("127.0.0.1", 0))
        self.check(server.local_address[1], server)

    def test_empty_host(self):
        server = server_on(("127.0.0.1", 0))
        self.check(("", server.local_address[1]), server)

    def test_name(self, names):
        names["some.test"] = ["127.0.0.1"]
        server = server_on(("127.0.0.1", 0))
        self.check(("some.test", server.local_address[1]), server)

    def test_short_numeric_form(self):
        server = server_on(("127.0.0.1", 0))
        self.check(("127.1", server.local_address[1]), server)

    @needs_ipv6
    def test_ipv6(self):
        server = server_on(("::1", 0, 0, 0))
        client = self.check(server.local_address, server)
        assert client.remote_address == server.local_address

    @needs_ipv6
    def test_ipv6_as_a_pair(self):
        server = server_on(("::1", 0, 0, 0))
        self.check(("::1", server.local_address[1]), server)

    @needs_ipv6
    def test_ipv6_without_host(self):
        server = server_on(("::1", 0, 0, 0))
        self.check(("", server.local_address[1], 0, 0), server)

    @needs_ipv6
    def test_a_name_for_ipv6(self, names):
        """A 4-tuple is an IPv6 address: the name's other addresses are left alone."""
        names["both.test"] = ["127.0.0.1", "::1"]
        server = server_on(("::1", 0, 0, 0))
        client = self.check(("both.test", server.local_address[1], 0, 0), server)
        assert client.remote_address[0] == "::1"

    @needs_ipv6
    def test_scope_id(self):
        loopback = socket.if_nametoindex("lo") if os.path.exists("/sys/class/net/lo") else socket.if_nametoindex("lo0")
        server = server_on(("::1", 0, 0, 0))
        self.check(("::1", server.local_address[1], 0, loopback), server)

    @pytest.mark.parametrize("kind", [str, os.fsencode, pathlib.Path])
    def test_unix(self, kind, tmp_path):
        path = str(tmp_path / "socket")
        server = server_on(path)
        client = self.check(kind(path), server)
        assert client.remote_address == path

    @linux
    def test_abstract_unix(self):
        name = f"\0pants-{os.getpid()}"
        self.check(name, server_on(name))

    @needs_ipv6
    def test_a_name_with_both_families(self, names):
        names["both.test"] = ["::1", "127.0.0.1"]
        server = server_on(("127.0.0.1", 0))
        client = self.check(("both.test", server.local_address[1]), server)
        assert client.remote_address == server.local_address


# --- Errors at the call --------------------------------------------------------------------------------------------


class TestCall:
    @pytest.mark.parametrize(
        "address",
        [
            None,
            1.5,
            True,
            (),
            ("localhost",),
            ("localhost", 80, 0),
            ("localhost", 80, 0, 0, 0),
            (80, "localhost"),
            (b"localhost", 80),
            ("localhost", "80"),
            ("localhost", True),
            ("localhost", 80, 0, "lo"),
            {"host": "localhost"},
            object(),
        ],
    )
    def test_no_form(self, address):
        stream = Stream()
        with pytest.raises(TypeError) as caught:
            stream.connect(address)
        assert repr(address) in str(caught.value), "it names what was given"
        assert "(host, port)" in str(caught.value), "and what is allowed"

    @pytest.mark.parametrize("address", [-1, 65536, ("localhost", -1), ("localhost", 65536), ("::1", 2**31, 0, 0)])
    def test_port_out_of_range(self, address):
        port = address if isinstance(address, int) else address[1]
        with pytest.raises(ValueError, match=rf"0.*65535.*{port}"):
            Stream().connect(address)

    @pytest.mark.parametrize("address", [("::1", 80, -1, 0), ("::1", 80, 2**20, 0), ("::1", 80, 0, 2**32)])
    def test_ipv6_parts_out_of_range(self, address):
        with pytest.raises(ValueError, match="between 0 and"):
            Stream().connect(address)

    @pytest.mark.parametrize("address", ["", b"", "/tmp/so\0cket", ("local\0host", 80)])
    def test_strings_that_are_no_address(self, address):
        """A NUL would end the path for the kernel: another socket would be connected to."""
        with pytest.raises(ValueError):
            Stream().connect(address)

    def test_what_raised_has_changed_nothing(self):
        server = server_on(("127.0.0.1", 0))
        client = Recorder()
        for wrong in (None, -1, ""):
            with pytest.raises((TypeError, ValueError)):
                client.connect(wrong)
        client.connect(server.local_address)
        run_until(lambda: client.connected)

    @pytest.mark.parametrize("name", ["connect_timeout", "handshake_timeout", "close_timeout", "high_water"])
    @pytest.mark.parametrize("value, error", [("soon", TypeError), (True, TypeError), (-1.0, ValueError)])
    def test_a_bad_setting(self, name, value, error):
        """A wrong setting is refused where it is made, on an instance and in a subclass."""
        with pytest.raises(error, match=name):
            setattr(Recorder(), name, value)
        with pytest.raises(error, match=name):
            type("Odd", (Recorder,), {name: value})

    @pytest.mark.parametrize("name", ["connect_timeout", "handshake_timeout", "close_timeout", "high_water"])
    def test_a_setting(self, name):
        usual = getattr(Recorder(), name)
        assert getattr(type("Mine", (Recorder,), {name: 5})(), name) == 5
        one = Recorder()
        setattr(one, name, None)
        assert getattr(one, name) is None
        delattr(one, name)
        assert getattr(one, name) == usual == getattr(Recorder, name)

    def test_a_setting_that_a_subclass_computes(self):
        class Computing(Recorder):
            @property
            def close_timeout(self):  # type: ignore[override]
                return 7.0

        assert Computing().close_timeout == 7.0

    def test_closed(self):
        stream = Stream()
        stream.close()
        with pytest.raises(RuntimeError, match="closed"):
            stream.connect(("127.0.0.1", 1))
        run_until(lambda: stream.closed)
        with pytest.raises(RuntimeError, match="closed"):
            stream.connect(("127.0.0.1", 1))

    def test_connected(self):
        server = server_on(("127.0.0.1", 0))
        client = Recorder().connect(server.local_address)
        run_until(lambda: client.connected)
        with pytest.raises(RuntimeError):
            client.connect(server.local_address)

    def test_connecting(self):
        server = server_on(("127.0.0.1", 0))
        client = Recorder().connect(server.local_address)
        with pytest.raises(RuntimeError):
            client.connect(server.local_address)
        run_until(lambda: client.connected)

    def test_a_connected_socket(self):
        ours, theirs = socket.socketpair()
        with theirs:
            stream = Stream(socket=ours)
            with pytest.raises(RuntimeError):
                stream.connect(("127.0.0.1", 1))

    def test_an_accepted_one(self):
        server = serve()
        with socket.create_connection(server.local_address):
            run_until(lambda: server.made)
            with pytest.raises(RuntimeError):
                server.made[0].connect(server.local_address)

    @pytest.mark.parametrize(
        "family, addresses",
        [
            (socket.AF_UNIX, [("127.0.0.1", 80), ("::1", 80, 0, 0), ("localhost", 80), 80]),
            (socket.AF_INET, ["/tmp/socket", ("::1", 80, 0, 0), ("::1", 80)]),
            pytest.param(socket.AF_INET6, ["/tmp/socket", ("127.0.0.1", 80)], marks=needs_ipv6),
        ],
    )
    def test_an_address_that_does_not_fit_the_socket(self, family, addresses):
        """ "... or of an inappropriate format for the socket" (manual)."""
        client = Recorder(socket=socket.socket(family, socket.SOCK_STREAM))
        for address in addresses:
            with pytest.raises(ValueError, match="family"):
                client.connect(address)
        client.close()
        run_until(lambda: client.closed)

    def test_writing_before_the_connection(self):
        server = server_on(("127.0.0.1", 0))
        client = Recorder()
        with pytest.raises(RuntimeError):
            client.write(b"x")
        client.connect(server.local_address)
        with pytest.raises(RuntimeError):
            client.write(b"x")
        run_until(lambda: client.connected)
        client.write(b"x")

    def test_addresses_before_the_connection(self):
        client = Stream()
        assert client.local_address is None
        assert client.remote_address is None

    def test_remote_address_set_by_the_user_is_kept(self):
        server = server_on(("127.0.0.1", 0))
        client = Recorder()
        client.remote_address = "somewhere"
        client.connect(server.local_address)
        run_until(lambda: client.connected)
        assert client.remote_address == "somewhere"
        del client.remote_address
        assert client.remote_address == server.local_address


# --- A socket of the user's own ------------------------------------------------------------------------------------


class TestGivenSocket:
    def test_it_is_used(self):
        server = server_on(("127.0.0.1", 0))
        sock = socket.socket()
        sock.bind(("127.0.0.2" if os.path.exists("/proc") else "127.0.0.1", 0))
        where = sock.getsockname()
        client = Recorder(socket=sock).connect(server.local_address)
        run_until(lambda: client.connected and server.made)
        assert client.socket is sock
        assert client.local_address == where == server.made[0].remote_address

    def test_by_name(self, names):
        """A name is looked up for the socket's family, and the first address is used: a socket connects once."""
        names["both.test"] = ["::1", "127.0.0.1"]
        server = server_on(("127.0.0.1", 0))
        client = Recorder(socket=socket.socket()).connect(("both.test", server.local_address[1]))
        run_until(lambda: client.connected)
        assert client.remote_address == server.local_address

    @needs_ipv6
    def test_an_ipv6_socket_by_name(self, names):
        names["both.test"] = ["127.0.0.1", "::1"]
        server = server_on(("::1", 0, 0, 0))
        client = Recorder(socket=socket.socket(socket.AF_INET6)).connect(("both.test", server.local_address[1]))
        run_until(lambda: client.connected)
        assert client.remote_address == server.local_address

    def test_unix(self, tmp_path):
        path = str(tmp_path / "socket")
        server = server_on(path)
        client = Recorder(socket=socket.socket(socket.AF_UNIX)).connect(path)
        run_until(lambda: client.connected and server.made)

    def test_refused(self):
        client = Recorder(socket=socket.socket()).connect(("127.0.0.1", refusing_port()))
        run_until(lambda: client.closed)
        assert client.hooks == ["on_connect_error", "on_close"]

    def test_a_name_that_is_not_found(self, names):
        names["none.test"] = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        client = Recorder(socket=socket.socket()).connect(("none.test", 80))
        run_until(lambda: client.closed)
        assert client.hooks == ["on_connect_error", "on_close"]

    def test_closed_meanwhile(self):
        with silent_listener() as address:
            client = Recorder(socket=socket.socket()).connect(address)
            run_turns()
            client.close()
            run_until(lambda: client.closed)
        assert client.hooks == ["on_close"]


# --- Failures ------------------------------------------------------------------------------------------------------


class TestFailures:
    @pytest.mark.parametrize("host", ["127.0.0.1", "some.test", ""])
    def test_refused(self, host, names):
        names["some.test"] = ["127.0.0.1"]
        address = (host, refusing_port())
        client = Recorder().connect(address)
        assert client.hooks == []
        run_until(lambda: client.closed)
        assert client.hooks == ["on_connect_error", "on_close"]
        error = client.error
        assert isinstance(error, ConnectError)
        assert isinstance(error, PantsError)
        assert isinstance(error, OSError)
        assert not isinstance(error, (ResolveError, ConnectTimeout))
        assert error.errno == errno.ECONNREFUSED
        assert error.address == address
        assert repr(address) in str(error)
        assert os.strerror(errno.ECONNREFUSED) in str(error)

    def test_default_hook_logs_and_closes(self, expect_log):
        port = refusing_port()
        expect_log(rf"WARNING.*127\.0\.0\.1.*{port}.*{os.strerror(errno.ECONNREFUSED)}")
        client = Stream().connect(("127.0.0.1", port))
        run_until(lambda: client.closed)
        assert len(expect_log.lines) == 1

    def test_no_unix_socket(self, tmp_path):
        path = str(tmp_path / "none")
        client = Recorder().connect(path)
        run_until(lambda: client.closed)
        assert isinstance(client.error, ConnectError)
        assert client.error.errno == errno.ENOENT
        assert client.error.address == path
        assert path in str(client.error)

    def test_a_dead_unix_socket(self, tmp_path):
        path = str(tmp_path / "dead")
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind(path)
        client = Recorder().connect(path)
        run_until(lambda: client.closed)
        assert isinstance(client.error, ConnectError)
        assert client.error.errno == errno.ECONNREFUSED

    def test_a_path_too_long(self):
        """The path is well-formed, and the error names it."""
        path = "/tmp/" + "x" * 200
        client = Recorder().connect(path)
        run_until(lambda: client.closed)
        assert client.hooks == ["on_connect_error", "on_close"]
        assert isinstance(client.error, ConnectError)
        assert path in str(client.error)
        assert client.error.errno == errno.ENAMETOOLONG

    @pytest.mark.parametrize("error", [socket.EAI_NONAME, socket.EAI_AGAIN])
    def test_a_name_that_cannot_be_resolved(self, error, names):
        names["none.test"] = socket.gaierror(error, "it is so")
        client = Recorder().connect(("none.test", 80))
        assert client.hooks == []
        run_until(lambda: client.closed)
        assert client.hooks == ["on_connect_error", "on_close"]
        assert isinstance(client.error, ResolveError)
        assert client.error.errno == error
        assert client.error.address == ("none.test", 80)
        assert "none.test" in str(client.error)
        assert "it is so" in str(client.error)

    @pytest.mark.parametrize("host", ["a..b", ".", "a." + "b" * 64 + ".test", "x" * 300, "no such name", "\udc80.test"])
    def test_a_name_that_is_none(self, host):
        client = Recorder().connect((host, 80))
        run_until(lambda: client.closed)
        assert client.hooks == ["on_connect_error", "on_close"]
        assert isinstance(client.error, ResolveError)
        assert repr(host) in str(client.error)

    def test_a_name_without_addresses_that_we_know(self, monkeypatch):
        """A system's resolver may know other families."""
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_: [(socket.AF_UNIX, socket.SOCK_STREAM, 0, "", "x")])
        client = Recorder().connect(("odd.test", 80))
        run_until(lambda: client.closed)
        assert isinstance(client.error, ResolveError)

    @linux
    def test_all_addresses_fail(self, names):
        """The error is the first address's, which was preferred; `errors` has one for each, in order."""
        names["many.test"] = ["127.0.0.1", "127.0.0.2", "127.0.0.3"]
        port = refusing_port()
        client = Recorder().connect(("many.test", port))
        run_until(lambda: client.closed)
        error = client.error
        assert isinstance(error, ConnectError)
        assert error.errno == errno.ECONNREFUSED
        assert error.address == ("many.test", port)
        assert [each.address for each in error.errors] == [(f"127.0.0.{number}", port) for number in (1, 2, 3)]
        assert [each.errno for each in error.errors] == [errno.ECONNREFUSED] * 3
        for each in error.errors:
            assert repr(each.address) in str(error)

    def test_very_many_addresses_fail(self, names):
        """An answer of a name server may have thousands. To connect to this one fails inside the call."""
        names["many.test"] = ["255.255.255.255"] * 2000
        client = Recorder().connect(("many.test", 80))
        run_until(lambda: client.closed)
        assert client.hooks == ["on_connect_error", "on_close"]
        assert isinstance(client.error, ConnectError)
        assert len(client.error.errors) == 2000

    def test_timeout(self, clock):
        with silent_listener() as address:
            client = Recorder().connect(address)
            run_turns()
            assert client.hooks == []
            assert client.connect_timeout is not None
            clock.ahead += client.connect_timeout + 1
            run_until(lambda: client.closed)
        assert client.hooks == ["on_connect_error", "on_close"]
        assert isinstance(client.error, ConnectTimeout)
        assert client.error.errno == errno.ETIMEDOUT
        assert client.error.address == address
        assert repr(address) in str(client.error)

    def test_a_timeout_of_ones_own(self):
        with silent_listener() as address:
            client = Recorder()
            client.connect_timeout = 0.02
            client.connect(address)
            run_until(lambda: client.closed)
        assert isinstance(client.error, ConnectTimeout)

    def test_no_timeout(self, clock):
        with silent_listener() as address:
            client = Recorder()
            client.connect_timeout = None
            client.connect(address)
            run_turns()
            clock.ahead += 1e6
            run_turns()
            assert client.hooks == []
            assert Engine.instance().time_to_timer() is None
            client.close()
            run_until(lambda: client.closed)

    def test_no_timer_is_left_after_success(self):
        server = server_on(("127.0.0.1", 0))
        client = Recorder().connect(server.local_address)
        run_until(lambda: client.connected and server.made)
        run_until(lambda: Engine.instance().time_to_timer() is None)

    def test_no_timer_is_left_after_failure(self):
        client = Recorder().connect(("127.0.0.1", refusing_port()))
        run_until(lambda: client.closed)
        run_until(lambda: Engine.instance().time_to_timer() is None)

    def test_out_of_descriptors(self, monkeypatch):
        """Making the socket fails: that goes to on_connect_error too."""
        made = []

        class Exhausted(socket.socket):
            def __init__(self, *args: Any, **kwargs: Any) -> None:
                made.append(args)
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

        client = Recorder().connect(("127.0.0.1", refusing_port()))
        monkeypatch.setattr(socket, "socket", Exhausted)
        run_until(lambda: client.closed)
        monkeypatch.undo()
        assert made
        assert isinstance(client.error, ConnectError)
        assert client.error.errno == errno.EMFILE

    def test_connect_again_in_the_hook(self):
        """On a channel whose attempt has failed (docs of on_connect_error)."""
        server = server_on(("127.0.0.1", 0))

        class Persistent(Recorder):
            def on_connect_error(self, exception: Exception) -> None:
                self.hooks.append("on_connect_error")
                if len(self.hooks) < 3:
                    self.connect(("127.0.0.1", refusing_port()))
                else:
                    self.connect(server.local_address)

        client = Persistent().connect(("127.0.0.1", refusing_port()))
        run_until(lambda: client.connected)
        assert client.hooks == ["on_connect_error"] * 3 + ["on_connect"]
        run_until(lambda: Engine.instance().time_to_timer() is None)

    def test_connect_again_with_tls(self, certs):
        server = serve({"certfile": certs.good})

        class Persistent(Recorder):
            def on_connect_error(self, exception: Exception) -> None:
                self.hooks.append("on_connect_error")
                self.connect(server.local_address)

        client = Persistent(ssl_options={"ca_certs": certs.ca}).connect(("127.0.0.1", refusing_port()))
        run_until(lambda: client.connected)
        assert client.hooks == ["on_connect_error", "on_ssl_handshake", "on_connect"]

    def test_connect_again_and_poll_in_the_hook(self):
        """The channel whose hook is running is not entered again before that returns (DESIGN.md §3)."""

        class Waiting(Recorder):
            depth = 0

            def on_connect_error(self, exception: Exception) -> None:
                self.hooks.append("on_connect_error")
                self.depth += 1
                assert self.depth == 1
                if len(self.hooks) < 3:
                    self.connect(("127.0.0.1", refusing_port()))
                    run_turns(20)
                else:
                    self.close()
                self.depth -= 1

        client = Waiting().connect(("127.0.0.1", refusing_port()))
        run_until(lambda: client.closed)
        assert client.hooks == ["on_connect_error"] * 3 + ["on_close"]

    def test_a_hook_that_raises(self):
        class Broken(Recorder):
            def on_connect_error(self, exception: Exception) -> None:
                raise ZeroDivisionError

        client = Broken().connect(("127.0.0.1", refusing_port()))
        run_until(lambda: client.closed)
        assert client.hooks == ["on_error", "on_close"]

    @linux
    def test_a_connection_to_itself_is_refused(self):
        """TCP connects a socket to itself where its own port is the one it looks for; nobody listens there."""
        sock = socket.socket()
        sock.bind(("127.0.0.1", 0))
        client = Recorder(socket=sock).connect(sock.getsockname())
        run_until(lambda: client.closed)
        assert client.hooks == ["on_connect_error", "on_close"]
        assert isinstance(client.error, ConnectError)
        assert client.error.errno == errno.ECONNREFUSED

    def test_nothing_is_leaked(self, names):
        names["none.test"] = socket.gaierror(socket.EAI_NONAME, "no such name")
        gc.collect()
        gc.disable()
        try:
            clients = [
                Recorder().connect(("127.0.0.1", refusing_port())),
                Recorder().connect(("none.test", 1)),
                Recorder().connect("/nowhere/socket"),
            ]
            run_until(lambda: all(client.closed for client in clients))
            references = [weakref.ref(client) for client in clients]
            clients.clear()
            run_until(lambda: all(reference() is None for reference in references))
        finally:
            gc.enable()


# --- A UNIX server with a full backlog -----------------------------------------------------------------------------


@linux
class TestUnixBacklog:
    @pytest.fixture
    def full(self, tmp_path) -> Iterator[tuple[str, socket.socket]]:
        """A path whose listener's backlog is full: connect() fails with EAGAIN, and no event tells when it is not."""
        path = str(tmp_path / "socket")
        with contextlib.ExitStack() as stack:
            listener = stack.enter_context(socket.socket(socket.AF_UNIX))
            listener.bind(path)
            listener.listen(0)
            listener.settimeout(DEADLINE)
            while True:
                filler = stack.enter_context(socket.socket(socket.AF_UNIX))
                filler.setblocking(False)
                if filler.connect_ex(path) == errno.EAGAIN:
                    break
            yield path, listener

    def test_retried(self, full):
        path, listener = full
        client = Recorder().connect(path)
        run_turns()
        assert client.hooks == []

        def make_room() -> None:
            for _ in range(2):
                listener.accept()[0].close()

        Background(make_room).result()
        run_until(lambda: client.hooks)
        assert client.hooks[0] == "on_connect"
        run_until(lambda: Engine.instance().time_to_timer() is None)

    def test_timeout(self, full):
        path, _ = full
        client = Recorder()
        client.connect_timeout = 0.12
        client.connect(path)
        run_until(lambda: client.closed)
        assert isinstance(client.error, ConnectTimeout)

    def test_closed_meanwhile(self, full):
        path, _ = full
        client = Recorder().connect(path)
        run_turns()
        client.close()
        run_until(lambda: client.closed)
        assert client.hooks == ["on_close"]
        run_until(lambda: Engine.instance().time_to_timer() is None)

    def test_the_server_dies_meanwhile(self, full):
        path, listener = full
        client = Recorder().connect(path)
        run_turns()
        listener.close()
        run_until(lambda: client.closed)
        assert isinstance(client.error, ConnectError)
        assert client.error.errno == errno.ECONNREFUSED


# --- RFC 8305 ------------------------------------------------------------------------------------------------------


SIX, FOUR = socket.AF_INET6, socket.AF_INET


@pytest.mark.parametrize(
    "given, order",
    [
        ([(SIX, 1)], [1]),
        ([(SIX, 1), (SIX, 2), (FOUR, 3), (FOUR, 4)], [1, 3, 2, 4]),
        ([(FOUR, 1), (FOUR, 2), (SIX, 3)], [1, 3, 2]),
        ([(SIX, 1), (FOUR, 2), (FOUR, 3), (FOUR, 4)], [1, 2, 3, 4]),
        ([(FOUR, 1), (FOUR, 2), (FOUR, 3), (SIX, 4), (SIX, 5)], [1, 4, 2, 5, 3]),
        ([(SIX, 1), (FOUR, 2), (SIX, 3), (FOUR, 4)], [1, 2, 3, 4]),
    ],
)
def test_families_take_turns(given, order):
    """RFC 8305 §4: interleaved, beginning with the first's family, the order within a family kept."""
    assert [address for _, address in interleave(given)] == order


class Attempts:
    """The addresses that connect() was called with, in order, and when."""

    def __init__(self, monkeypatch) -> None:
        attempts: list[Any] = []
        times: list[float] = []
        sockets: list[socket.socket] = []

        class Watched(socket.socket):
            def connect_ex(self, address: Any) -> int:
                attempts.append(address[0])
                times.append(Engine.clock())
                sockets.append(self)
                return super().connect_ex(address)

        monkeypatch.setattr(socket, "socket", Watched)
        self.hosts = attempts
        self.times = times
        self.sockets = sockets

    def reach(self, count: int) -> Callable[[], bool]:
        """A condition: so many have been made."""
        return lambda: len(self.hosts) == count


@linux  # all of 127.0.0.0/8 is this host's there
class TestManyAddresses:
    @pytest.fixture
    def attempts(self, monkeypatch) -> Attempts:
        return Attempts(monkeypatch)

    def test_the_next_one_follows_a_failure_at_once(self, names, attempts):
        names["many.test"] = ["127.0.0.2", "127.0.0.3", "127.0.0.1"]
        server = server_on(("127.0.0.1", 0))
        client = Recorder().connect(("many.test", server.local_address[1]))
        run_until(lambda: client.connected)
        assert client.remote_address == server.local_address
        assert attempts.hosts == ["127.0.0.2", "127.0.0.3", "127.0.0.1"]
        assert attempts.times[-1] - attempts.times[0] < 0.25, "the delay is for addresses that do not answer"
        assert client.hooks == ["on_connect"]

    @needs_ipv6
    def test_families_are_interleaved(self, names, attempts):
        names["many.test"] = ["::1", "127.0.0.2", "127.0.0.3", "127.0.0.4"]
        client = Recorder().connect(("many.test", refusing_port()))
        run_until(lambda: client.closed)
        assert attempts.hosts == ["::1", "127.0.0.2", "127.0.0.3", "127.0.0.4"]
        attempts.hosts.clear()
        names["many.test"] = ["127.0.0.2", "127.0.0.3", "127.0.0.4", "::1"]
        client = Recorder().connect(("many.test", refusing_port()))
        run_until(lambda: client.closed)
        assert attempts.hosts == ["127.0.0.2", "::1", "127.0.0.3", "127.0.0.4"]

    @needs_ipv6
    def test_a_family_that_does_not_work(self, names):
        names["both.test"] = ["::1", "127.0.0.1"]
        server = server_on(("127.0.0.1", 0))
        client = Recorder().connect(("both.test", server.local_address[1]))
        run_until(lambda: client.connected)
        assert client.remote_address == server.local_address

    def test_an_address_that_does_not_answer(self, names, attempts):
        """Another is tried beside it after 250 ms (RFC 8305 §5); the one that answers first wins."""
        with silent_listener() as (_, port):
            names["slow.test"] = ["127.0.0.1", "127.0.0.2"]
            with socket.create_server(("127.0.0.2", port)):
                attempts.hosts.clear()
                attempts.times.clear()
                attempts.sockets.clear()
                client = Recorder().connect(("slow.test", port))
                run_until(lambda: client.connected)
                assert client.remote_address == ("127.0.0.2", port)
                assert attempts.hosts == ["127.0.0.1", "127.0.0.2"]
                assert attempts.times[1] - attempts.times[0] >= 0.25
                assert [sock.fileno() >= 0 for sock in attempts.sockets] == [False, True], "the other is closed"
                run_until(lambda: Engine.instance().time_to_timer() is None)
        assert client.hooks[0] == "on_connect"

    def test_not_before_its_time(self, names, attempts, clock):
        with silent_listener() as (_, port):
            names["slow.test"] = ["127.0.0.1", "127.0.0.1", "127.0.0.1"]
            attempts.hosts.clear()
            client = Recorder().connect(("slow.test", port))
            for count in (1, 2, 3):
                run_until(attempts.reach(count))
                delay = Engine.instance().time_to_timer()
                assert delay is not None
                if count < 3:
                    assert 0 < delay <= 0.25
                    clock.ahead += 0.25
            run_turns()
            assert client.hooks == [], "all of them are still waited for"
            client.close()
            run_until(lambda: client.closed)
            assert client.hooks == ["on_close"]
            run_until(lambda: Engine.instance().time_to_timer() is None)

    @pytest.mark.parametrize("hosts", [["127.0.0.2", "127.0.0.1"], ["127.0.0.1", "127.0.0.2"]])
    def test_timeout_with_some_refused(self, hosts, names, clock, attempts):
        """One refuses, the other does not answer: it is waited for, and ConnectTimeout tells of both."""
        with silent_listener() as (_, port):
            names["slow.test"] = hosts
            attempts.hosts.clear()
            client = Recorder().connect(("slow.test", port))
            run_until(lambda: "127.0.0.1" in attempts.hosts)
            clock.ahead += 1
            run_until(attempts.reach(2))
            run_until(lambda: [sock.fileno() >= 0 for sock in attempts.sockets[-2:]].count(False) == 1)
            run_turns()
            assert client.hooks == []
            clock.ahead += 100
            run_until(lambda: client.closed)
        assert isinstance(client.error, ConnectTimeout)
        assert [each.errno for each in client.error.errors] == [errno.ECONNREFUSED]
        assert client.error.address == ("slow.test", port)

    def test_a_late_failure_while_others_wait(self, names, monkeypatch):
        """An attempt that fails later than at once: the next one follows without waiting for its 250 ms."""
        names["late.test"] = ["127.0.0.1", "127.0.0.2"]
        server = server_on(("127.0.0.2", 0))
        port = server.local_address[1]

        class Late(socket.socket):
            """Pretends that the answer (a refusal) has yet to come, as it has in a wider network."""

            def connect_ex(self, address: Any) -> int:
                code = super().connect_ex(address)
                self.late = code
                return errno.EINPROGRESS if code == errno.ECONNREFUSED else code

            def getsockopt(self, *args: Any) -> Any:
                if args == (socket.SOL_SOCKET, socket.SO_ERROR) and self.late == errno.ECONNREFUSED:
                    return self.late
                return super().getsockopt(*args)

        monkeypatch.setattr(socket, "socket", Late)
        begun = time.monotonic()
        client = Recorder().connect(("late.test", port))
        run_until(lambda: client.connected)
        assert time.monotonic() - begun < 0.25
        assert client.remote_address == server.local_address
        assert client.hooks == ["on_connect"]

    def test_an_event_meant_for_another(self, monkeypatch):
        """Descriptors are used again; an event of the same turn may be for the one that had the number before."""
        handlers: list[Callable[[int], object]] = []
        watch = Engine.watch

        def note(engine: Engine, fd: int, events: int, handler: Callable[[int], object]) -> None:
            handlers.append(handler)
            watch(engine, fd, events, handler)

        with silent_listener() as address:
            client = Recorder()
            monkeypatch.setattr(Engine, "watch", note)
            client.connect(address)
            run_until(lambda: handlers)
            count = watched()
            handlers[0](WRITE)
            run_turns()
            assert client.hooks == []
            assert watched() == count, "it goes on waiting"
            client.close()
            run_until(lambda: client.closed)

    def test_the_losers_are_closed(self, names, attempts, clock):
        """Two answer at the same moment; one is used and the other closed."""
        names["both.test"] = ["127.0.0.1", "127.0.0.2"]
        with silent_listener() as (_, port):
            client = Recorder().connect(("both.test", port))
            run_until(lambda: "127.0.0.1" in attempts.hosts)
            with socket.create_server(("127.0.0.2", port)) as other:
                clock.ahead += 0.3
                run_until(lambda: client.connected)
                other.settimeout(DEADLINE)
                accepted, _ = other.accept()
                accepted.close()
                run_until(lambda: client.closed)
        assert client.hooks == ["on_connect", "on_end", "on_close"]


# --- Closing meanwhile ---------------------------------------------------------------------------------------------


class TestClosing:
    @pytest.mark.parametrize("flush", [True, False])
    def test_at_once(self, flush):
        """close() right after connect(): no attempt's end is told any more, be it good or bad."""
        server = server_on(("127.0.0.1", 0))
        clients = [
            Recorder().connect(address)
            for address in (server.local_address, ("127.0.0.1", refusing_port()), "/nowhere/socket", ("a..b", 80))
        ]
        for client in clients:
            client.close(flush)
            assert client.hooks == [], "on_close comes from the loop"
        run_until(lambda: all(client.closed for client in clients))
        run_turns()
        assert [client.hooks for client in clients] == [["on_close"]] * 4
        run_until(lambda: Engine.instance().time_to_timer() is None)

    def test_while_connecting(self):
        with silent_listener() as address:
            client = Recorder().connect(address)
            run_turns()
            assert "connecting" in repr(client)
            client.close()
            client.close()
            assert "closing" in repr(client)
            run_until(lambda: client.closed)
            run_turns()
        assert client.hooks == ["on_close"]

    def test_in_the_turn_in_which_it_connects(self):
        """Something else closes the channel after the kernel has reported the connection, before its turn has come."""
        server = server_on(("127.0.0.1", 0))
        engine = Engine.instance()
        reader, writer = os.pipe()
        try:
            os.write(writer, b"x")
            client = Recorder()

            def close(_events: int) -> None:
                engine.unwatch(reader)
                client.close()

            engine.watch(reader, 1, close)  # READ; ready before the socket is
            client.connect(server.local_address)
            run_until(lambda: client.closed)
            assert client.hooks == ["on_close"]
            assert not client.connected
            with pytest.raises(RuntimeError):
                client.write(b"x")
        finally:
            os.close(reader)
            os.close(writer)

    def test_in_on_connect(self):
        class Closing(Recorder):
            def on_connect(self) -> None:
                super().on_connect()
                self.close()
                assert not self.connected

        server = server_on(("127.0.0.1", 0))
        client = Closing().connect(server.local_address)
        run_until(lambda: client.closed)
        assert client.hooks == ["on_connect", "on_close"]

    def test_never_connected(self):
        stream = Recorder()
        stream.close()
        assert stream.hooks == []
        run_until(lambda: stream.closed)
        assert stream.hooks == ["on_close"]

    def test_the_engine_closes_meanwhile(self):
        """ "Close the channels and give back all resources": on_close comes before close() returns."""
        engine = Engine()
        with silent_listener() as address:
            connecting = Recorder(engine=engine).connect(address)
            numeric = Recorder(engine=engine).connect(("127.0.0.1", 1))
            named = Recorder(engine=engine).connect(("localhost", 1))
            engine.poll(0)
            fresh = Recorder(engine=engine).connect(address)
            engine.close()
        for client in (connecting, numeric, named, fresh):
            assert client.closed
            assert client.hooks[-1] == "on_close"
            assert client.hooks.count("on_close") == 1

    def test_the_peer_goes_as_soon_as_it_has_accepted(self):
        with listening() as listener:
            client = Recorder().connect(listener.getsockname())
            run_until(lambda: client.connected)
            listener.accept()[0].close()
            run_until(lambda: client.closed)
        assert client.hooks == ["on_connect", "on_end", "on_close"]


# --- The name is the one that TLS verifies -------------------------------------------------------------------------


class TestNameForTLS:
    @pytest.mark.parametrize("name, good", [("localhost", True), ("elsewhere.test", False)])
    def test_name(self, name, good, names, certs):
        names[name] = ["127.0.0.1"]
        server = serve({"certfile": certs.good})
        client = Recorder(ssl_options={"ca_certs": certs.ca}).connect((name, server.local_address[1]))
        run_until(lambda: client.connected or client.closed)
        assert client.connected is good
        if not good:
            assert isinstance(client.error, ssl.SSLCertVerificationError)

    @pytest.mark.parametrize("address", ["int", "empty", "address"])
    def test_this_host(self, address, certs):
        server = serve({"certfile": certs.good})
        port = server.local_address[1]
        form = {"int": port, "empty": ("", port), "address": ("127.0.0.1", port)}[address]
        client = Recorder(ssl_options={"ca_certs": certs.ca}).connect(form)
        run_until(lambda: client.connected)

    @needs_ipv6
    def test_an_ipv6_address(self, certs):
        server = RecordingServer(ssl_options={"certfile": certs.good}).listen(("::1", 0, 0, 0))
        client = Recorder(ssl_options={"ca_certs": certs.ca}).connect(("::1", server.local_address[1]))
        run_until(lambda: client.connected)

    def test_server_hostname_goes_before(self, certs, names):
        names["elsewhere.test"] = ["127.0.0.1"]
        server = serve({"certfile": certs.good})
        options = {"ca_certs": certs.ca, "server_hostname": "localhost"}
        client = Recorder(ssl_options=options).connect(("elsewhere.test", server.local_address[1]))
        run_until(lambda: client.connected)

    def test_a_name_of_other_letters(self, certs, names):
        """An IDN is verified by its A-label (RFC 6125 §6.4.2); here it is another's, and the error says so."""
        names["bücher.test"] = ["127.0.0.1"]
        server = serve({"certfile": certs.good})
        client = Recorder(ssl_options={"ca_certs": certs.ca}).connect(("bücher.test", server.local_address[1]))
        run_until(lambda: client.closed)
        assert isinstance(client.error, ssl.SSLCertVerificationError)
        assert "xn--bcher-kva.test" in str(client.error)
