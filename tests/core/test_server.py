"""Servers (manual: "pants.server"; DESIGN §3)."""

from __future__ import annotations

import contextlib
import errno
import gc
import logging
import os
import resource
import socket
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pants import Engine, Server, Stream
from pants.engine import Select
from tests.conftest import ExpectedLog
from tests.core.support import (
    Peer,
    Recorder,
    client_of,
    descriptors,
    manual_engine,
    run_for,
    run_until,
    turns,
)

ANY = ("127.0.0.1", 0)


class Echo(Recorder):
    def on_read(self, data: bytes) -> None:
        self.write(data)


class Watching(Server):
    """Writes down its hooks."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.events: list[tuple[Any, ...]] = []
        super().__init__(*args, **kwargs)

    def on_listen(self) -> None:
        self.events.append(("listen", self.listening, self.local_address))

    def on_accept(self, sock: socket.socket, addr: Any) -> None:
        self.events.append(("accept", sock, addr))
        super().on_accept(sock, addr)

    def on_close(self) -> None:
        self.events.append(("close",))
        super().on_close()

    def on_error(self, exception: Exception) -> None:
        self.events.append(("error", exception))
        super().on_error(exception)

    @property
    def names(self) -> list[str]:
        return [event[0] for event in self.events]


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short path: that of a UNIX socket must not be longer than some 100 bytes."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        yield Path(name)


@pytest.fixture(autouse=True, scope="module")
def many_descriptors() -> Iterator[None]:
    """Room for hundreds of connections, both ends of which are here."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < 4096:
        resource.setrlimit(resource.RLIMIT_NOFILE, (4096 if hard < 0 else min(4096, hard), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def serves(server: Server, address: Any = None) -> bool:
    """Whether a client gets its echo."""
    with client_of(server, address) as peer:
        peer.send(b"spam")
        return peer.receive(4) == b"spam"


def nobody_listens(address: Any, family: int = socket.AF_INET) -> bool:
    with socket.socket(family) as sock:
        return sock.connect_ex(address) in (errno.ECONNREFUSED, errno.ENOENT)


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(ANY)
        return int(sock.getsockname()[1])


# --- The constructor -------------------------------------------------------------------------------------------------


def test_fresh_server() -> None:
    server = Server()
    assert server.engine is Engine.instance()  # "Defaults to the global engine."
    assert server.ConnectionClass is Stream
    assert server.channels == {}
    assert not server.listening
    assert not server.closed
    assert server.socket is None
    assert server.local_address is None
    assert server.remote_address is None
    assert server.fileno() == -1
    assert "not listening" in repr(server)
    server.close()


def test_connection_class_as_argument_and_as_attribute() -> None:
    """ "pass your connection class to the constructor", or "define your connection class as a class attribute"."""

    class MyServer(Server):
        ConnectionClass = Echo

    class Other(Echo):
        pass

    assert Server(Echo).ConnectionClass is Echo
    assert Server(ConnectionClass=Echo).ConnectionClass is Echo
    assert MyServer().ConnectionClass is Echo
    assert MyServer(Other).ConnectionClass is Other
    assert MyServer.ConnectionClass is Echo
    for server in (MyServer().listen(ANY), Server(Other).listen(ANY)):
        with client_of(server):
            while not server.channels:
                turns(1)
            [channel] = server.channels.values()
            assert type(channel) is server.ConnectionClass


def test_connection_class_by_its_other_name() -> None:
    """DESIGN §3: the PEP 8 spelling of the same thing."""
    server = Server(Echo)
    assert server.connection_class is Echo
    server.connection_class = Recorder
    assert server.ConnectionClass is Recorder
    server.ConnectionClass = Echo
    assert server.connection_class is Echo


def test_connection_class_by_its_other_name_in_a_subclass() -> None:
    class MyServer(Server):
        connection_class = Echo

    server = MyServer().listen(ANY)
    assert serves(server)
    [accepted] = [type(channel) for channel in server.channels.values()] or [Echo]
    assert accepted is Echo


def test_function_as_connection_class() -> None:
    """Whatever makes streams of those arguments will do."""
    made = []

    def make(**kwargs: Any) -> Stream:
        made.append(kwargs)
        return Echo(**kwargs)

    server = Server(make).listen(ANY)
    assert serves(server)
    assert len(made) == 1


@pytest.mark.parametrize(
    "arguments, named",
    [
        ({"engine": "engine"}, "'engine'"),
        ({"socket": 7}, "7"),
        ({"ConnectionClass": "Echo"}, "'Echo'"),
        ({"ConnectionClass": 5}, "5"),
        ({"colour": "green"}, "colour"),
    ],
)
def test_wrong_arguments(arguments: dict[str, Any], named: str) -> None:
    with pytest.raises(TypeError, match=named):
        Server(**arguments)


def test_socket_of_another_type() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock, pytest.raises(ValueError, match="SOCK_STREAM"):
        Server(socket=sock)


def test_engine_argument() -> None:
    """The server and its connections belong to it."""
    engine = Engine()
    server = Server(Echo, engine=engine).listen(ANY)
    assert serves(server)
    with client_of(server):
        run_until(lambda: server.channels, engine)
        assert all(channel.engine is engine for channel in server.channels.values())
    server.close()
    engine.close()


# --- Addresses (manual: "listen") ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address, family, host",
    [
        (0, socket.AF_INET, "0.0.0.0"),  # "A single integer is treated as a port"
        (("", 0), socket.AF_INET, "0.0.0.0"),  # "... and converted to a 2-tuple of the form ('', port)"
        (("127.0.0.1", 0), socket.AF_INET, "127.0.0.1"),  # "A 2-tuple is treated as an IPv4 address"
        (["127.0.0.1", 0], socket.AF_INET, "127.0.0.1"),
        (("::1", 0), socket.AF_INET6, "::1"),  # DESIGN §3: "with an address, its own"
        (("::1", 0, 0, 0), socket.AF_INET6, "::1"),  # "a 4-tuple is treated as an IPv6 address"
        (("::", 0, 0, 0), socket.AF_INET6, "::"),
        (("", 0, 0, 0), socket.AF_INET6, "::"),
        (("::", 0), socket.AF_INET6, "::"),
        (("localhost", 0), socket.AF_INET, "127.0.0.1"),
    ],
)
def test_internet_addresses(address: Any, family: int, host: str) -> None:
    """DESIGN §3: "`listen()` resolves and binds before it returns, so `local_address` has the port that 0 became"."""
    server = Watching(Echo)
    assert server.listen(address) is server  # "Returns the channel."
    assert server.listening
    assert server.socket is not None
    assert server.socket.family == family
    assert server.local_address[0] == host
    port = server.local_address[1]
    assert port > 0
    assert server.names == ["listen"]
    assert str(port) in repr(server)
    loopback = ("127.0.0.1", port) if family == socket.AF_INET else ("::1", port, 0, 0)
    assert serves(server, loopback)


def test_a_given_port() -> None:
    port = free_port()
    server = Server(Echo).listen(port)
    assert server.local_address == ("0.0.0.0", port)
    assert serves(server, ("127.0.0.1", port))


def test_name_with_ipv6_only_in_a_4_tuple() -> None:
    server = Server(Echo).listen(("ip6-localhost", 0, 0, 0)) if has_name("ip6-localhost") else None
    if server is None:
        pytest.skip("this machine has no name with an IPv6 address only")
    assert server.local_address[0] == "::1"
    assert serves(server)


def has_name(name: str) -> bool:
    try:
        return bool(socket.getaddrinfo(name, 0, socket.AF_INET6))
    except OSError:
        return False


@pytest.mark.parametrize("address", [("::", 0, 0, 0), ("", 0, 0, 0), ("::", 0), ("0:0:0:0:0:0:0:0", 0)])
def test_ipv6_any_has_an_ipv4_slave(address: Any) -> None:
    """ "... will cause a Server listening on IPv6 INADDR_ANY to create a slave Server that listens on the IPv4
    INADDR_ANY": on the same port, and its connections are the server's.
    """
    server = Watching(Echo).listen(address)
    port = server.local_address[1]
    assert serves(server, ("127.0.0.1", port))
    assert serves(server, ("::1", port, 0, 0))
    addresses = [event[2] for event in server.events if event[0] == "accept"]
    assert [address[0] for address in addresses] == ["127.0.0.1", "::1"]
    server.close()  # "If this channel has an IPv4 slave [...] it will be closed."
    assert nobody_listens(("127.0.0.1", port))
    assert nobody_listens(("::1", port), socket.AF_INET6)


def test_ipv6_any_with_a_given_port() -> None:
    port = free_port()
    server = Server(Echo).listen(("::", port, 0, 0))
    assert serves(server, ("127.0.0.1", port))
    assert serves(server, ("::1", port, 0, 0))


def test_no_slave() -> None:
    server = Server(Echo).listen(("::", 0, 0, 0), slave=False)
    port = server.local_address[1]
    assert serves(server, ("::1", port, 0, 0))
    assert nobody_listens(("127.0.0.1", port))


def test_other_ipv6_addresses_have_no_slave() -> None:
    server = Server(Echo).listen(("::1", 0, 0, 0))
    assert nobody_listens(("127.0.0.1", server.local_address[1]))


def test_slave_whose_port_is_taken() -> None:
    """Half a server would be none; and nothing of it is left behind."""
    before = descriptors()
    with socket.create_server(("0.0.0.0", 0)) as taken:
        port = taken.getsockname()[1]
        server = Watching(Echo)
        with pytest.raises(OSError, match=str(port)) as caught:
            server.listen(("::", port, 0, 0))
        assert caught.value.errno == errno.EADDRINUSE
        assert nobody_listens(("::1", port), socket.AF_INET6)
    assert server.names == []
    del server, caught
    Engine.instance().close()
    assert descriptors() == before


@pytest.mark.parametrize(
    "address, error",
    [
        (None, TypeError),
        (True, TypeError),
        (80.5, TypeError),
        (("127.0.0.1",), TypeError),
        (("127.0.0.1", 0, 0), TypeError),
        (("127.0.0.1", "0"), TypeError),
        ((None, 0), TypeError),
        ((b"127.0.0.1", 0), TypeError),
        (object(), TypeError),
        (-1, ValueError),
        (65536, ValueError),
        (("127.0.0.1", 65536), ValueError),
        (("::1", 0, -1, 0), ValueError),
        ("", ValueError),
        (b"", ValueError),
    ],
)
def test_wrong_addresses(address: Any, error: type[Exception]) -> None:
    """Issue 2, "Bad input": they raise at the call, as test_address has it; the server can be used all the same."""
    server = Watching(Echo)
    with pytest.raises(error):
        server.listen(address)
    assert not server.listening
    assert server.names == []
    server.listen(ANY)
    assert serves(server)


def test_manuals_old_way_of_two_arguments() -> None:
    """ "server.listen('0.0.0.0', 8080)": there the port is what is the backlog here; a host alone is a path."""
    server = Server(Echo)
    with pytest.raises(TypeError):
        server.listen(ANY, backlog="8080")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        server.listen(ANY, backlog=True)
    assert not server.listening


def test_address_in_use() -> None:
    """OSError that names the address; "The channel can be used to try another"."""
    with socket.create_server(ANY) as taken:
        address = taken.getsockname()
        server = Watching(Echo)
        with pytest.raises(OSError, match=f"{address[1]}") as caught:
            server.listen(address)
        assert caught.value.errno == errno.EADDRINUSE
    assert server.names == []
    server.listen(ANY)
    assert serves(server)


def test_address_of_another_machine() -> None:
    with pytest.raises(OSError, match=r"192\.0\.2\.1") as caught:
        Server().listen(("192.0.2.1", 0))
    assert caught.value.errno == errno.EADDRNOTAVAIL


@pytest.mark.parametrize("name", ["no-such-host.invalid", "x" * 70, "a..b"])
def test_name_that_does_not_exist(name: str) -> None:
    server = Watching()
    with pytest.raises(OSError, match=name[:60]):
        server.listen((name, 0))
    assert server.names == []
    server.close()


def test_listening_again_at_once() -> None:
    """A server that is started anew gets its port, though old connections are in TIME_WAIT."""
    server = Server(Echo).listen(ANY)
    address = server.local_address
    with client_of(server) as peer:
        run_until(lambda: server.channels)
        [channel] = server.channels.values()
        channel.close()
        assert peer.receive_to_end() == b""
    server.close()
    turns()
    assert serves(Server(Echo).listen(address))


def test_listening_twice() -> None:
    """ "Calling listen() on [...] a channel that is already listening will raise a RuntimeError." """
    server = Server(Echo).listen(ANY)
    address = server.local_address
    with pytest.raises(RuntimeError, match="listen"):
        server.listen(ANY)
    assert server.local_address == address
    assert serves(server)


def test_listening_after_close() -> None:
    """ "Once closed, a channel cannot be re-opened." """
    for server in (Server(), Server().listen(ANY)):
        server.close()
        for _ in range(2):
            with pytest.raises(RuntimeError, match="closed"):
                server.listen(ANY)
            with pytest.raises(RuntimeError, match="closed"):
                server.startSSL()
            turns()


def test_backlog() -> None:
    """Connections wait in the kernel for the loop, as many as that."""
    server = Server(Echo).listen(ANY, backlog=200)
    clients = [socket.create_connection(server.local_address, timeout=10) for _ in range(100)]
    run_until(lambda: len(server.channels) == 100)
    for client in clients:
        client.close()


# --- UNIX sockets (DESIGN, issue 2) ----------------------------------------------------------------------------------


@pytest.mark.parametrize("form", [str, Path, lambda path: str(path).encode()], ids=["str", "PathLike", "bytes"])
def test_unix_socket(form: Callable[[Path], Any], folder: Path) -> None:
    """ "A single string is treated as a UNIX address." Issue 2: "the file goes at close"."""
    path = folder / "sock"
    server = Watching(Echo).listen(form(path))
    assert path.is_socket()
    assert os.fsencode(server.local_address) == os.fsencode(path)
    assert server.names == ["listen"]
    assert serves(server, str(path))
    server.close()
    assert not path.exists()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="abstract names are Linux's")
@pytest.mark.parametrize("kind", [str, bytes])
def test_abstract_name(kind: type) -> None:
    name = f"\0pants-test-{os.getpid()}"
    server = Server(Echo).listen(name if kind is str else name.encode())
    assert serves(server, name)
    with pytest.raises(OSError) as caught:
        Server().listen(name)
    assert caught.value.errno == errno.EADDRINUSE
    server.close()
    turns()
    assert serves(Server(Echo).listen(name), name)


def dead_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))
        sock.listen()


@pytest.mark.parametrize("listened", [True, False])
def test_file_of_a_dead_server_is_replaced(listened: bool, folder: Path) -> None:
    path = folder / "sock"
    if listened:
        dead_socket(path)
    else:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind(str(path))
    assert path.is_socket()
    server = Server(Echo).listen(path)
    assert serves(server, str(path))


def test_living_server_is_left_alone(folder: Path) -> None:
    path = folder / "sock"
    living = Server(Echo).listen(path)
    server = Watching(Echo)
    with pytest.raises(OSError, match="sock") as caught:
        server.listen(path)
    assert caught.value.errno == errno.EADDRINUSE
    assert str(path) in str(caught.value)
    server.close()
    turns()
    assert path.is_socket()
    assert serves(living, str(path))


def test_living_server_with_a_full_backlog_is_left_alone(folder: Path) -> None:
    path = folder / "sock"
    with socket.socket(socket.AF_UNIX) as living:
        living.bind(str(path))
        living.listen(0)
        clients = []
        while True:
            client = socket.socket(socket.AF_UNIX)
            client.setblocking(False)
            clients.append(client)
            if client.connect_ex(str(path)):
                break
        with pytest.raises(OSError) as caught:
            Server().listen(path)
        assert caught.value.errno == errno.EADDRINUSE
        for client in clients:
            client.close()
    assert path.is_socket()


def test_living_socket_of_another_type_is_left_alone(folder: Path) -> None:
    path = folder / "sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as living:
        living.bind(str(path))
        with pytest.raises(OSError):
            Server().listen(path)
        assert path.is_socket()


@pytest.mark.parametrize("make", [Path.touch, Path.mkdir], ids=["file", "folder"])
def test_what_is_no_socket_is_left_alone(make: Callable[[Path], None], folder: Path) -> None:
    path = folder / "sock"
    make(path)
    with pytest.raises(OSError, match="sock"):
        Server().listen(path)
    assert path.exists()
    assert not path.is_socket()


def test_file_of_a_successor_is_left_alone(folder: Path) -> None:
    """At close, the file goes only if it is still this server's."""
    path = folder / "sock"
    first = Server(Echo).listen(path)
    path.unlink()
    second = Server(Echo).listen(path)
    first.close()
    turns()
    assert path.is_socket()
    assert serves(second, str(path))
    second.close()
    assert not path.exists()


def test_file_that_has_gone_already(folder: Path) -> None:
    path = folder / "sock"
    server = Watching(Echo).listen(path)
    path.unlink()
    server.close()
    turns()
    assert server.names == ["listen", "close"]


def test_file_goes_when_the_engine_closes(folder: Path) -> None:
    path = folder / "sock"
    engine = Engine()
    Server(Echo, engine=engine).listen(path)
    engine.close()
    assert not path.exists()


def test_file_goes_though_the_process_has_moved(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative path is meant as of the call: a daemon moves to another folder afterwards."""
    (folder / "elsewhere").mkdir()
    monkeypatch.chdir(folder)
    server = Server(Echo).listen("sock")
    assert (folder / "sock").is_socket()
    monkeypatch.chdir(folder / "elsewhere")
    server.close()
    assert not (folder / "sock").exists()


@pytest.mark.parametrize("path", ["/no/such/folder/sock", "/" + "x" * 200])
def test_unix_paths_that_cannot_be(path: str) -> None:
    server = Watching(Echo)
    with pytest.raises(OSError, match=path[:20]):
        server.listen(path)
    assert server.names == []
    server.listen(ANY)
    assert serves(server)


# --- Existing sockets (manual: "A pre-existing socket to wrap") -------------------------------------------------------


def test_socket_that_is_bound() -> None:
    sock = socket.socket()
    sock.bind(ANY)
    address = sock.getsockname()
    server = Watching(Echo, socket=sock)
    assert server.local_address == address
    assert not server.listening
    server.listen()
    assert server.local_address == address
    assert server.names == ["listen"]
    assert serves(server)


def test_socket_that_listens() -> None:
    """Connections that came before are served, too."""
    sock = socket.create_server(ANY)
    with socket.create_connection(sock.getsockname()) as early:
        server = Server(Echo, socket=sock).listen()
        peer = Peer(early)
        peer.send(b"spam")
        assert peer.receive(4) == b"spam"
        assert serves(server)


def test_socket_that_is_not_bound() -> None:
    sock = socket.socket(socket.AF_INET6)
    server = Server(Echo, socket=sock).listen(("::1", 0, 0, 0))
    assert server.socket is sock
    assert serves(server)


def test_socket_that_is_not_bound_and_no_address() -> None:
    """Nobody has said where; a port of the kernel's choice on all addresses is not what anyone can have meant."""
    server = Server(Echo, socket=socket.socket())
    with pytest.raises((TypeError, ValueError, OSError)):
        server.listen()
    assert not server.listening
    server.listen(ANY)
    assert serves(server)


@pytest.mark.parametrize("address", ["/run/sock", ("::1", 0, 0, 0), ("::1", 0)])
def test_address_that_does_not_fit_the_socket(address: Any) -> None:
    """ "An error will occur if the given address is [...] of an inappropriate format for the socket"."""
    server = Server(Echo, socket=socket.socket())
    with pytest.raises(ValueError, match="AF_INET"):
        server.listen(address)
    server.listen(ANY)
    assert serves(server)


def test_internet_address_for_a_unix_socket() -> None:
    server = Server(socket=socket.socket(socket.AF_UNIX))
    with pytest.raises(ValueError, match="AF_UNIX"):
        server.listen(ANY)
    server.close()


def test_failing_to_bind_keeps_the_users_socket() -> None:
    with socket.create_server(ANY) as taken:
        sock = socket.socket()
        server = Server(Echo, socket=sock)
        with pytest.raises(OSError):
            server.listen(taken.getsockname())
    assert sock.fileno() >= 0
    server.listen(ANY)
    assert server.socket is sock
    assert serves(server)
    server.close()
    assert sock.fileno() == -1  # it was the server's, and goes with it


SYSTEMD = """
import os, socket, sys
from pants import Engine, Server, Stream
from pants.engine import Select

class Echo(Stream):
    def on_read(self, data):
        self.write(data)
    def on_close(self):
        self.engine.stop()

assert os.environ["LISTEN_FDS"] == "1"
Server(Echo, socket=socket.socket(fileno=int(sys.argv[1]))).listen()
Engine.instance().start()
"""


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6, socket.AF_UNIX])
def test_socket_from_another_process(family: int, folder: Path) -> None:
    """Issue 2: "existing sockets (so systemd socket activation works)": inherited, listening, known by its number."""
    with socket.socket(family) as listener:
        addresses: dict[int, Any] = {
            socket.AF_INET: ANY,
            socket.AF_INET6: ("::1", 0),
            socket.AF_UNIX: str(folder / "sock"),
        }
        listener.bind(addresses[family])
        listener.listen()
        with socket.socket(family) as client:
            client.settimeout(20)
            client.connect(listener.getsockname())
            process = subprocess.Popen(
                [sys.executable, "-c", SYSTEMD, str(listener.fileno())],
                pass_fds=[listener.fileno()],
                env={**os.environ, "LISTEN_FDS": "1"},
            )
            try:
                client.sendall(b"spam")
                assert client.recv(4) == b"spam"
                client.close()
                assert process.wait(20) == 0
            finally:
                process.kill()
                process.wait()


# --- reuse_port ------------------------------------------------------------------------------------------------------


def test_two_servers_on_one_port() -> None:
    """Issue 2: "`reuse_port`": several processes listen on one port; the kernel shares the connections out."""
    one = Server(Echo, reuse_port=True).listen(ANY)
    other = Server(Echo, reuse_port=True).listen(one.local_address)
    assert one.local_address == other.local_address
    clients = [socket.create_connection(one.local_address) for _ in range(64)]
    run_until(lambda: len(one.channels) + len(other.channels) == 64)
    if sys.platform.startswith("linux"):  # others give all to one of them
        assert one.channels
        assert other.channels
    for client in clients:
        client.close()
    one.close()
    turns()
    assert serves(other)


def test_no_second_server_without_it() -> None:
    one = Server(Echo).listen(ANY)
    with pytest.raises(OSError, match=str(one.local_address[1])):
        Server(Echo, reuse_port=True).listen(one.local_address)


# --- Accepting -------------------------------------------------------------------------------------------------------


def test_channels() -> None:
    """Manual, tutorial: `server.channels` holds the connections, "channels retain a reference to the server"."""
    server = Watching(Echo).listen(ANY)
    with client_of(server) as one, client_of(server) as other:
        run_until(lambda: len(server.channels) == 2)
        assert {channel.remote_address for channel in server.channels.values()} == {
            one.sock.getsockname(),
            other.sock.getsockname(),
        }
        for fd, channel in server.channels.items():
            assert channel.fileno() == fd
            assert channel.server is server
            assert channel.connected
            assert channel.local_address == server.local_address
        one.close()
        run_until(lambda: len(server.channels) == 1)
        [left] = server.channels.values()
        assert left.remote_address == other.sock.getsockname()
    run_until(lambda: not server.channels)


def test_channel_is_in_channels_in_on_connect_and_not_in_on_close() -> None:
    """The tutorial's chat tells all channels of the server who came and who went."""
    seen = []

    class Member(Recorder):
        server: Any

        def on_connect(self):
            seen.append(self in self.server.channels.values())

        def on_close(self):
            seen.append(self in self.server.channels.values())

    server = Server(Member).listen(ANY)
    with client_of(server):
        run_until(lambda: seen)
    run_until(lambda: len(seen) == 2)
    assert seen == [True, False]


def test_chat_of_the_tutorial() -> None:
    """Manual, "Taking it to another level", in bytes (DESIGN §3)."""

    class EchoLineToAll(Stream):
        server: Any

        def on_connect(self):
            self.read_delimiter = b"\r\n"
            self.server.write_to_all(b"Connected: %s\r\n" % self.remote_address[0].encode())

        def on_read(self, line):
            self.server.write_to_all(b"%s: %s\r\n" % (self.remote_address[0].encode(), line))

        def on_close(self):
            self.server.write_to_all(b"Disconnected: %s\r\n" % self.remote_address[0].encode())

    class EchoLineToAllServer(Server):
        ConnectionClass = EchoLineToAll

        def write_to_all(self, data):
            for channel in self.channels.values():
                if channel.connected:
                    channel.write(data)

    server = EchoLineToAllServer().listen(ANY)
    with client_of(server) as one:
        assert one.receive(22) == b"Connected: 127.0.0.1\r\n"
        with client_of(server) as other:
            assert other.receive(22) == b"Connected: 127.0.0.1\r\n"
            assert one.receive(22) == b"Connected: 127.0.0.1\r\n"
            other.send(b"hello\r\n")
            assert one.receive(18) == other.receive(18) == b"127.0.0.1: hello\r\n"
        assert one.receive(25) == b"Disconnected: 127.0.0.1\r\n"


def test_on_accept_overridden() -> None:
    """ "Called after the channel has accepted a new connection." What it does with it is the server's own affair."""
    taken: list[tuple[socket.socket, Any]] = []

    class Taking(Server):
        def on_accept(self, sock, addr):
            taken.append((sock, addr))

    server = Taking().listen(ANY)
    with client_of(server) as peer:
        run_until(lambda: taken)
        [(sock, addr)] = taken
        assert addr == peer.sock.getsockname()
        assert server.channels == {}
        stream = Echo(socket=sock)
        peer.send(b"spam")
        assert peer.receive(4) == b"spam"
        assert stream.server is None


def test_on_accept_that_refuses() -> None:
    class Picky(Server):
        def on_accept(self, sock, addr):
            sock.close()

    server = Picky().listen(ANY)
    with client_of(server) as peer:
        assert peer.receive_to_end() == b""
    assert server.channels == {}


def test_exception_in_on_accept(expect_log: ExpectedLog) -> None:
    """DESIGN §3: "that socket is closed, the server lives"."""
    expect_log(r"(?s)on_accept.*ZeroDivisionError")

    class Failing(Watching):
        fails = True

        def on_accept(self, sock, addr):
            if self.fails:
                raise ZeroDivisionError
            super().on_accept(sock, addr)

    server = Failing(Echo).listen(ANY)
    with client_of(server) as peer:
        assert peer.receive_to_end() == b""
    assert server.channels == {}
    server.fails = False
    assert serves(server)
    assert "close" not in server.names


@pytest.mark.parametrize("early", [True, False], ids=["before Stream's", "after Stream's"])
def test_exception_in_a_constructor(early: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """DESIGN §3: the same; and nothing of the half-made channel is left."""
    monkeypatch.setattr(logging.getLogger("pants"), "disabled", True)  # records would keep it
    made = []

    class Failing(Echo):
        def __init__(self, **kwargs):
            made.append(weakref.ref(self))
            if early:
                raise ZeroDivisionError
            super().__init__(**kwargs)
            self.idle_timeout = 0.01
            self.write(b"never sent")
            raise ZeroDivisionError

    server = Server(Failing).listen(ANY)
    before = len(descriptors())
    with client_of(server) as peer:
        assert peer.receive_to_end() == b""
    run_for(0.05)
    assert server.channels == {}
    assert len(descriptors()) == before
    gc.collect()
    [reference] = made
    assert reference() is None
    server.ConnectionClass = Echo
    assert serves(server)


def test_exception_after_the_channel_was_made(expect_log: ExpectedLog) -> None:
    """An overridden on_accept that fails behind the default one: no dead channel stays in `channels`."""
    expect_log("ZeroDivisionError")

    class Failing(Server):
        def on_accept(self, sock, addr):
            super().on_accept(sock, addr)
            raise ZeroDivisionError

    made: list[Recorder] = []

    class Kept(Recorder):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            made.append(self)

    server = Failing(Kept).listen(ANY)
    with client_of(server) as peer:
        assert peer.receive_to_end() == b""
    turns()
    assert server.channels == {}
    [stream] = made
    assert not stream.connected
    assert "connect" not in stream.names


def test_exception_in_on_listen(expect_log: ExpectedLog) -> None:
    """Manual, on_error: "By default, logs the exception and closes the channel"; it is the server that has failed."""
    expect_log(r"(?s)ZeroDivisionError")

    class Failing(Watching):
        def on_listen(self):
            raise ZeroDivisionError

    server = Failing(Echo)
    server.listen(ANY)
    assert isinstance(server.events[0][1], ZeroDivisionError)
    run_until(lambda: "close" in server.names)
    assert server.closed
    assert not server.listening


def test_exception_in_on_listen_and_an_overridden_on_error() -> None:
    class Failing(Server):
        def on_listen(self):
            raise ZeroDivisionError

        def on_error(self, exception):
            pass

    server = Failing(Echo).listen(ANY)
    assert server.listening
    assert serves(server)


def test_exception_in_on_close(expect_log: ExpectedLog) -> None:
    expect_log(r"(?s)on_close.*ZeroDivisionError")

    class Failing(Server):
        def on_close(self):
            raise ZeroDivisionError

    server = Failing(Echo).listen(ANY)
    server.close()
    turns()


def test_hundreds_of_connections_at_once() -> None:
    server = Server(Echo).listen(ANY)
    clients = [socket.create_connection(server.local_address, timeout=10) for _ in range(400)]
    for number, client in enumerate(clients):
        client.sendall(b"%03d" % number)
    run_until(lambda: len(server.channels) == 400)
    for number, client in enumerate(clients):
        peer = Peer(client)
        assert peer.receive(3) == b"%03d" % number
        peer.close()
    run_until(lambda: not server.channels)


def test_a_flood_of_connections_lets_others_have_their_turn() -> None:
    """Accepting is bounded in each turn: a channel that is open already is served meanwhile."""
    server = Server(Echo).listen(ANY)
    with client_of(server) as peer:
        run_until(lambda: server.channels)
        clients = [socket.create_connection(server.local_address, timeout=10) for _ in range(300)]
        peer.sock.send(b"spam")
        turns(1)
        assert len(server.channels) < 301
        turns(1)
        assert peer.now() == b"spam"
        run_until(lambda: len(server.channels) == 301)
        for client in clients:
            client.close()


def test_client_that_vanishes_before_it_is_accepted() -> None:
    """Issue 2: accept survives it. On Linux it is accepted, and found to be gone then."""
    server = Watching(Echo).listen(ANY)
    for _ in range(5):
        with client_of(server) as peer:
            peer.reset()
    assert serves(server)
    run_until(lambda: not server.channels)
    assert "error" not in server.names


def test_accepted_clients_that_have_gone_know_their_address() -> None:
    seen = []

    class Leaving(Recorder):
        def on_close(self):
            seen.append(self.remote_address)

    server = Server(Leaving).listen(ANY)
    with client_of(server) as peer:
        address = peer.sock.getsockname()
        peer.reset()
        run_until(lambda: seen)
    assert seen == [address]


class Erring:
    """A listening socket whose accept() fails now and then, as accept(2) says that it may."""

    def __init__(self, sock: socket.socket, errors: list[OSError]) -> None:
        self.sock = sock
        self.errors = errors

    def accept(self) -> Any:
        if self.errors:
            raise self.errors.pop(0)
        return self.sock.accept()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.sock, name)


@pytest.mark.parametrize("code", [errno.ECONNABORTED, errno.EPROTO, errno.EPERM, errno.ENETDOWN, errno.EINTR])
def test_error_of_a_single_connection(code: int) -> None:
    """accept(2): such an error is about the connection, not about the socket; it is nobody's fault here."""
    server = Watching(Echo).listen(ANY)
    assert server.socket is not None
    server.socket = Erring(server.socket, [OSError(code, os.strerror(code))] * 3)  # type: ignore[assignment]
    assert serves(server)
    assert serves(server)
    assert "error" not in server.names


def test_error_of_the_listening_socket(expect_log: ExpectedLog) -> None:
    expect_log("Bad file descriptor")
    server = Watching(Echo).listen(ANY)
    assert server.socket is not None
    server.socket = Erring(server.socket, [OSError(errno.EBADF, "Bad file descriptor")])  # type: ignore[assignment]
    with client_of(server, server.local_address):
        run_until(lambda: "close" in server.names)
    assert server.names == ["listen", "error", "close"]


class Leaving(BaseException):
    """As a second Ctrl-C raises, or sys.exit()."""


def test_base_exception_in_on_accept() -> None:
    """DESIGN §3: "What is no `Exception` leaves `start()`"; the connection is closed, and the server lives."""

    class Quitting(Server):
        quits = True

        def on_accept(self, sock, addr):
            if self.quits:
                raise Leaving
            super().on_accept(sock, addr)

    server = Quitting(Echo).listen(ANY)
    with client_of(server) as peer:
        cancel = server.engine.defer(10, server.engine.stop)
        with pytest.raises(Leaving):
            server.engine.start()
        cancel()
        assert peer.receive_to_end() == b""
    server.quits = False
    assert serves(server)


def test_poller_that_cannot_watch_the_socket() -> None:
    """select ends at descriptor 1023: listen() says so, and nothing is left behind."""
    engine = Engine(Select())
    before = descriptors()
    with socket.create_server(ANY) as listener:
        os.dup2(listener.fileno(), 1500)
    server = Watching(Echo, engine=engine, socket=socket.socket(fileno=1500))
    with pytest.raises(OSError, match="1500"):
        server.listen()
    assert not server.listening
    assert server.names == []
    server.close()
    engine.poll(0)
    assert descriptors() == before
    engine.close()


def test_connections_that_the_poller_cannot_watch(expect_log: ExpectedLog) -> None:
    """They end in a hook, and in a closed channel; the server goes on."""
    expect_log("1023")
    engine = Engine(Select())
    seen = []

    class Far(Server):
        far = True

        def on_accept(self, sock, addr):
            if self.far:
                os.dup2(sock.fileno(), 1500)
                sock.close()
                sock = socket.socket(fileno=1500)
            super().on_accept(sock, addr)

    class Telling(Echo):
        def on_close(self):
            seen.append(self.names)

    server = Far(Telling, engine=engine).listen(ANY)
    with client_of(server) as peer:
        assert peer.receive_to_end() == b""
    run_until(lambda: seen, engine)
    assert seen == [["connect", "error", "close"]]
    server.far = False
    assert serves(server)
    engine.close()


def test_nested_poll_in_on_accept() -> None:
    """DESIGN §3: "the channel whose hook is running is not entered again"; that goes for servers, too."""

    class Nesting(Server):
        depth = deepest = 0

        def on_accept(self, sock, addr):
            self.depth += 1
            self.deepest = max(self.deepest, self.depth)
            turns(3, self.engine)
            self.depth -= 1
            super().on_accept(sock, addr)

    server = Nesting(Echo).listen(ANY)
    clients = [socket.create_connection(server.local_address) for _ in range(5)]
    run_until(lambda: len(server.channels) == 5)
    assert server.deepest == 1
    for client in clients:
        client.close()


# --- Running out of descriptors --------------------------------------------------------------------------------------


@pytest.fixture
def few_descriptors() -> Iterator[Callable[[int], None]]:
    """A function that leaves so many descriptors to this process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    held: list[int] = []

    def leave(count: int) -> None:
        held.append(os.open(os.devnull, os.O_RDONLY))
        highest = max(int(name.split()[0]) for name in descriptors())
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1 + count, hard))
        with contextlib.suppress(OSError):
            while True:  # fill the gaps below as well
                held.append(os.dup(held[0]))
        for _ in range(count):
            os.close(held.pop())

    yield leave
    for fd in held:
        os.close(fd)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_out_of_descriptors(few_descriptors: Callable[[int], None], expect_log: ExpectedLog) -> None:
    """Issue 2: "accept survives EMFILE by backing off": a line for each back off, no busy loop; and it recovers."""
    expect_log("(?i)too many open files")
    with manual_engine() as engine:
        server = Watching(Echo, engine=engine).listen(ANY)
        clients = [socket.socket() for _ in range(4)]
        few_descriptors(2)
        for client in clients:
            client.connect(server.local_address)
        turns(5, engine)
        accepted = len(server.channels)
        assert accepted == 2
        assert len(expect_log.lines) == 1
        assert run_for(0.2, engine) <= 5  # connections wait; the loop does not turn for them
        assert len(expect_log.lines) == 1
        channel = next(iter(server.channels.values()))  # those that are there are served
        peer = next(Peer(client, engine) for client in clients if client.getsockname() == channel.remote_address)
        peer.send(b"spam")
        assert peer.receive(4) == b"spam"
        engine.advance(5)
        turns(3, engine)
        assert len(server.channels) == accepted
        assert len(expect_log.lines) == 2  # it has tried again
        peer.close()  # that frees both ends' descriptors, enough for the two that wait
        run_until(lambda: len(server.channels) == 1, engine)
        engine.advance(5)
        run_until(lambda: len(server.channels) == 3, engine)
        assert "error" not in server.names
        for client in clients:
            client.close()
        run_until(lambda: not server.channels, engine)


def test_closing_while_out_of_descriptors(
    few_descriptors: Callable[[int], None], expect_log: ExpectedLog, folder: Path
) -> None:
    expect_log("(?i)too many open files")
    with manual_engine() as engine:
        server = Watching(Echo, engine=engine).listen(ANY)
        address = server.local_address
        client = socket.socket()
        probe = socket.socket()
        few_descriptors(0)
        client.connect(address)
        turns(5, engine)
        assert len(expect_log.lines) == 1
        server.close()
        engine.advance(5)
        assert server.names == ["listen", "close"]
        assert probe.connect_ex(address) == errno.ECONNREFUSED
        client.close()
        probe.close()


# --- Closing ---------------------------------------------------------------------------------------------------------


def test_close() -> None:
    """ "The channel will be closed immediately and will cease to accept new connections." DESIGN §3: `on_close` comes
    from the loop, and closes the connections.
    """
    server = Watching(Echo).listen(ANY)
    address = server.local_address
    with client_of(server) as peer:
        run_until(lambda: server.channels)
        [channel] = server.channels.values()
        server.close()
        assert server.closed
        assert not server.listening
        assert nobody_listens(address)
        assert "close" not in server.names
        assert channel.connected  # "Any connections accepted by this channel will remain open"
        assert server.local_address == address
        assert "closed" in repr(server)
        assert peer.receive_to_end() == b""
        run_until(lambda: channel.closed)
        assert server.names[-1] == "close"
        assert server.channels == {}


def test_close_sends_what_the_connections_have_written() -> None:
    server = Server(Echo).listen(ANY)
    with client_of(server) as peer:
        run_until(lambda: server.channels)
        [channel] = server.channels.values()
        channel.write(bytes(3 << 20))
        server.close()
        assert peer.receive_to_end() == bytes(3 << 20)


def test_close_that_keeps_the_connections() -> None:
    """DESIGN §3: "the default `on_close()` closes the connections it accepted. Override it to keep them"."""

    class Keeping(Server):
        def on_close(self):
            pass

    server = Keeping(Echo).listen(ANY)
    with client_of(server) as peer:
        run_until(lambda: server.channels)
        server.close()
        turns(5)
        peer.send(b"spam")
        assert peer.receive(4) == b"spam"
        assert len(server.channels) == 1
    run_until(lambda: not server.channels)


def test_closing_again() -> None:
    server = Watching(Echo).listen(ANY)
    server.close()
    server.close()
    turns()
    server.close()
    turns()
    assert server.names == ["listen", "close"]


def test_closing_what_never_listened() -> None:
    server = Watching()
    server.close()
    turns()
    assert server.names == ["close"]


def test_closing_with_a_socket_of_the_users() -> None:
    sock = socket.socket()
    server = Watching(socket=sock)
    server.close()
    assert sock.fileno() == -1
    turns()
    assert server.names == ["close"]


@pytest.mark.parametrize("where", ["on_listen", "on_accept", "constructor", "on_connect", "on_read", "timer"])
def test_close_inside_a_hook(where: str) -> None:
    class Server_(Watching):
        def on_listen(self):
            super().on_listen()
            if where == "on_listen":
                self.close()

        def on_accept(self, sock, addr):
            super().on_accept(sock, addr)
            if where == "on_accept":
                self.close()

    class Connection(Recorder):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            if where == "constructor":
                server.close()

        def on_connect(self):
            if where == "on_connect":
                server.close()

        def on_read(self, data):
            server.close()

    server = Server_(Connection)
    server.listen(ANY)
    if where == "timer":
        server.engine.callback(server.close)
    elif where != "on_listen":
        with client_of(server) as peer:
            if where == "on_read":
                peer.send(b"x")
            assert peer.receive_to_end() == b""
    run_until(lambda: "close" in server.names)
    turns()
    assert server.names.count("close") == 1
    run_until(lambda: not server.channels)


def test_connections_that_wait_when_it_closes() -> None:
    """What the kernel has accepted and the server has not: refused by the kernel, and nothing else happens."""
    server = Watching(Echo).listen(ANY)
    with client_of(server) as peer:
        server.close()
        turns()
        with pytest.raises(ConnectionError):
            peer.receive_to_end()
    assert server.names == ["listen", "close"]


def test_a_closed_server_leaves_nothing_behind() -> None:
    """DESIGN §7: no leaked sockets, no reference cycles."""

    def use() -> weakref.ref[Server]:
        server = Server(Echo).listen(("::", 0, 0, 0))
        with client_of(server) as peer:
            peer.send(b"spam")
            assert peer.receive(4) == b"spam"
            server.close()
            assert peer.receive_to_end() == b""
        return weakref.ref(server)

    engine = Engine.instance()
    before = descriptors()
    gc.collect()
    gc.disable()
    try:
        gone = use()
        run_until(lambda: not engine.lingering)
        turns()
        assert gone() is None
    finally:
        gc.enable()
    assert descriptors() == before


@pytest.mark.parametrize("listening", [True, False])
def test_closing_the_engine_closes_its_servers(listening: bool, folder: Path) -> None:
    """Engine.close: "Each channel is closed [...]; its ``on_close()`` is called before this returns"."""
    before = descriptors()
    engine = Engine()
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(folder / "given"))
    server = Watching(Echo, engine=engine, socket=sock)
    if listening:
        server.listen()
    engine.close()
    assert server.closed
    assert server.names[-1] == "close"
    assert descriptors() == before


def test_closing_the_engine_while_out_of_descriptors(
    few_descriptors: Callable[[int], None], expect_log: ExpectedLog, folder: Path
) -> None:
    expect_log("(?i)too many open files")
    engine = Engine()
    server = Watching(Echo, engine=engine).listen(folder / "sock")
    with socket.socket(socket.AF_UNIX) as client:
        few_descriptors(0)
        client.connect(str(folder / "sock"))
        turns(3, engine)
        assert len(expect_log.lines) == 1
        engine.close()
    assert server.names == ["listen", "close"]
    assert not (folder / "sock").exists()


def test_unix_clients_have_an_address_that_is_empty(folder: Path) -> None:
    server = Server(Echo).listen(folder / "sock")
    with client_of(server):
        run_until(lambda: server.channels)
        [channel] = server.channels.values()
        assert channel.remote_address in ("", b"", None)
