"""What a server goes through without a restart: it stops listening, gets a new certificate, holds accepting up."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import socket
import ssl
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pants import Server, Stream
from pants.server import BACK_OFF
from tests.conftest import ExpectedLog
from tests.core.support import client_of, descriptors, manual_engine, turns
from tests.core.tls_support import (
    PASSWORD,
    Background,
    Certificates,
    Echo,
    Recorder,
    RecordingServer,
    certificates,
    run_until,
    serve,
)

ANY = ("127.0.0.1", 0)


class Watching(RecordingServer):
    """Writes down its hooks."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.names: list[str] = []
        super().__init__(*args, **kwargs)

    def on_listen(self) -> None:
        self.names.append("listen")

    def on_accept(self, sock: socket.socket, addr: Any) -> None:
        self.names.append("accept")
        super().on_accept(sock, addr)

    def on_error(self, exception: Exception) -> None:
        self.names.append("error")
        super().on_error(exception)

    def on_close(self) -> None:
        self.names.append("close")
        super().on_close()


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        yield Path(name)


@pytest.fixture
def certs() -> Certificates:
    return certificates()


# --- stop_listening --------------------------------------------------------------------------------------------------


def refuses(address: Any) -> bool:
    """Whether nobody listens there."""
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET6 if len(address) == 4 else socket.AF_INET
    with socket.socket(family) as sock:
        return sock.connect_ex(address) in (errno.ECONNREFUSED, errno.ENOENT)


def test_stop_listening() -> None:
    server = Watching(Echo).listen(ANY)
    address = server.local_address
    with client_of(server) as peer:
        run_until(lambda: server.channels)
        server.stop_listening()
        assert refuses(address), "at once"
        assert not server.listening
        assert not server.closed
        assert server.local_address == address
        assert server.socket is None
        peer.send(b"spam")
        assert peer.receive(4) == b"spam", "connections go on"
        assert len(server.channels) == 1
        server.stop_listening()
        turns()
        assert server.names == ["listen", "accept"], "no hook is called for it"
        server.close()
        assert server.closed
        assert peer.receive_to_end() == b""
    assert server.names == ["listen", "accept", "close"]
    assert server.local_address == address
    assert not server.channels


def test_the_port_is_free_again() -> None:
    server = Watching().listen(ANY)
    server.stop_listening()
    assert Watching().listen(server.local_address).local_address == server.local_address


def test_both_sockets_of_one_address() -> None:
    server = Watching().listen(("::", 0, 0, 0))
    port = server.local_address[1]
    server.stop_listening()
    assert refuses(("127.0.0.1", port))
    assert refuses(("::1", port, 0, 0))


def test_the_file_of_a_unix_socket_goes(folder: Path) -> None:
    path = str(folder / "socket")
    server = Watching().listen(path)
    server.stop_listening()
    assert not os.path.exists(path)
    successor = Watching().listen(path)
    server.close()
    turns()
    assert os.path.exists(path), "this is the other server's"
    assert successor.listening


def test_the_file_of_a_successor_is_left(folder: Path) -> None:
    path = str(folder / "socket")
    server = Watching().listen(path)
    os.unlink(path)
    Watching().listen(path)
    server.stop_listening()
    assert os.path.exists(path)


def test_a_server_that_does_not_listen_has_nothing_to_stop() -> None:
    server = Watching()
    server.stop_listening()
    assert server.listen(ANY).listening
    server.close()
    server.stop_listening()
    turns()
    assert server.names == ["listen", "close"]


def test_it_does_not_listen_again() -> None:
    server = Watching().listen(ANY)
    server.stop_listening()
    assert "not listening any more" in repr(server)
    with pytest.raises(RuntimeError, match="make a new one"):
        server.listen(ANY)


@pytest.mark.parametrize("hook", ["on_listen", "on_accept"])
def test_in_a_hook(hook: str) -> None:
    class Stopping(Watching):
        pass

    def stop(self: Watching, *args: Any) -> None:
        getattr(Watching, hook)(self, *args)
        self.stop_listening()

    setattr(Stopping, hook, stop)
    server = Stopping(Echo)
    server.listen(ANY)
    if hook == "on_accept":
        with client_of(server) as first, client_of(server) as second:
            run_until(lambda: server.made)
            first.send(b"spam")
            assert first.receive(4) == b"spam"
            with contextlib.suppress(ConnectionError):  # it was not accepted any more
                assert second.receive(1) == b""
    assert not server.listening
    assert server.names.count("accept") <= 1


def test_in_a_hook_that_polls() -> None:
    class Stopping(Watching):
        def on_accept(self, sock: socket.socket, addr: Any) -> None:
            super().on_accept(sock, addr)
            self.engine.callback(self.stop_listening)
            self.engine.poll(0)
            assert not self.listening

    server = Stopping(Echo).listen(ANY)
    with client_of(server) as peer:
        peer.send(b"spam")
        assert peer.receive(4) == b"spam"


def test_closing_the_engine_calls_on_close() -> None:
    with manual_engine() as engine:
        server = Watching(Echo, engine=engine).listen(ANY)
        with client_of(server):
            turns(2, engine)
            server.stop_listening()
            engine.close()
            assert server.names == ["listen", "accept", "close"]


# --- Where accepting is put off --------------------------------------------------------------------------------------


class Exhausted(Watching):
    """Finds no descriptors for its next connection."""

    def out_of_descriptors(self) -> None:
        assert not self._accept_failed(OSError(errno.EMFILE, "Too many open files"))


def test_stop_listening_while_accepting_is_put_off(expect_log: ExpectedLog) -> None:
    expect_log("cannot accept connections, and tries again")
    before = descriptors()
    with manual_engine() as engine:
        server = Exhausted(engine=engine).listen(ANY)
        server.out_of_descriptors()
        server.stop_listening()
        assert refuses(server.local_address)
        engine.advance(BACK_OFF * 2)
        assert not server.listening
    assert descriptors() <= before


def test_accepting_goes_on_once_a_hook_that_polls_has_returned(expect_log: ExpectedLog) -> None:
    """The time for which it is put off ends while on_accept() is running."""
    expect_log("cannot accept connections, and tries again")
    with manual_engine() as engine:

        class Polling(Exhausted):
            def on_accept(self, sock: socket.socket, addr: Any) -> None:
                super().on_accept(sock, addr)
                if len(self.made) == 1:
                    self.out_of_descriptors()
                    engine.advance(BACK_OFF * 2)
                    assert len(self.made) == 1, "the hook is not entered again"

        server = Polling(Echo, engine=engine).listen(ANY)
        with client_of(server) as first, client_of(server) as second:
            for peer in (first, second):
                peer.send(b"spam")
                assert peer.receive(4) == b"spam"


# --- reload_ssl ------------------------------------------------------------------------------------------------------


def until_connected(client: Stream) -> None:
    run_until(lambda: client.connected or client.closed)


def name_of(certificate: dict[str, Any]) -> str:
    return str(certificate["subjectAltName"][0][1])


def served(server: Server, certs: Certificates) -> str:
    """Whose certificate a new client is shown."""

    def ask() -> str:
        context = certs.client_context(check_hostname=False)
        with socket.create_connection(server.local_address) as sock, context.wrap_socket(sock) as tls:
            tls.sendall(b"spam")
            assert tls.recv(4) == b"spam"
            return name_of(tls.getpeercert() or {})

    return Background(ask).result()


@pytest.fixture
def files(folder: Path, certs: Certificates) -> Callable[[str], dict[str, Any]]:
    """A function that copies a certificate to where the server finds it, and gives the options for it."""

    def install(path: str) -> dict[str, Any]:
        shutil.copy(path, folder / "server.pem")
        return {"certfile": str(folder / "server.pem")}

    return install


def test_the_files_are_read_again(files: Callable[[str], Any], certs: Certificates) -> None:
    server = serve(files(certs.good), Echo)
    assert served(server, certs) == "localhost"
    files(certs.second)
    assert served(server, certs) == "localhost"
    server.reload_ssl()
    assert served(server, certs) == "second.example"
    files(certs.good)
    server.reload_ssl()
    assert served(server, certs) == "localhost"


def test_open_connections_go_on(files: Callable[[str], Any], certs: Certificates) -> None:
    server = serve(files(certs.good), Echo)
    client = Recorder()
    client.startSSL({"ca_certs": certs.ca}).connect(server.local_address)
    run_until(lambda: client.secure and server.made and server.made[0].secure)
    files(certs.second)
    server.reload_ssl()
    assert served(server, certs) == "second.example"
    client.write(b"spam")
    run_until(lambda: client.data == b"spam")


def test_a_handshake_under_way_goes_on(files: Callable[[str], Any], certs: Certificates) -> None:
    server = serve(files(certs.good), Echo)
    client = Recorder()
    client.connect(server.local_address)
    run_until(lambda: server.made)
    files(certs.second)
    server.reload_ssl()
    client.startSSL({"ca_certs": certs.ca, "server_hostname": "localhost"})
    run_until(lambda: client.secure)


def test_other_options(files: Callable[[str], Any], certs: Certificates) -> None:
    """What is given is what the next call reads again."""
    server = serve({"certfile": certs.certfile, "keyfile": certs.keyfile}, Echo)
    server.reload_ssl(files(certs.second))
    assert served(server, certs) == "second.example"
    files(certs.good)
    server.reload_ssl()
    assert served(server, certs) == "localhost"


def test_an_ssl_context(files: Callable[[str], Any], certs: Certificates) -> None:
    context = certs.server_context()
    server = serve(context, Echo)
    with pytest.raises(ValueError, match="load_cert_chain"):
        server.reload_ssl()
    assert served(server, certs) == "localhost"
    context.load_cert_chain(certs.second)
    assert served(server, certs) == "second.example"
    server.reload_ssl(certs.server_context())
    assert served(server, certs) == "localhost"
    server.reload_ssl(files(certs.second))
    assert served(server, certs) == "second.example"
    server.reload_ssl()
    server.reload_ssl(context)
    with pytest.raises(ValueError, match="SSLContext"):
        server.reload_ssl()


def test_a_socket_with_tls(certs: Certificates) -> None:
    plain = socket.create_server(ANY)
    server = Server(Echo, socket=certs.server_context().wrap_socket(plain, server_side=True)).listen()
    with pytest.raises(ValueError, match="SSLContext"):
        server.reload_ssl()
    server.reload_ssl({"certfile": certs.second})
    assert served(server, certs) == "second.example"


def test_all_options_are_kept(folder: Path, certs: Certificates) -> None:
    """Also those whose value is false, and whatever becomes of the dict."""
    options: dict[str, Any] = {
        "certfile": Path(certs.certfile),
        "keyfile": certs.locked_keyfile.encode(),
        "password": PASSWORD,
        "ca_certs": certs.ca,
        "cert_reqs": ssl.CERT_REQUIRED,
        "alpn_protocols": ["one"],
        "suppress_ragged_eofs": False,
    }
    server = serve(options, Echo)
    options["alpn_protocols"].append("two")
    options.clear()
    server.reload_ssl()
    for protocols in (["two", "one"], ["two"]):
        client = Recorder(ssl_options={"ca_certs": certs.ca, "certfile": certs.client, "alpn_protocols": protocols})
        client.connect(server.local_address)
        until_connected(client)
        assert client.alpn_protocol == ("one" if "one" in protocols else None)
    client = Recorder(ssl_options={"ca_certs": certs.ca})
    client.connect(server.local_address)
    run_until(lambda: len(server.made) == 3 and server.made[2].errors)
    assert "peer did not return a certificate" in str(server.made[2].error)
    settings = server._tls_settings
    assert settings is not None
    assert settings.suppress_ragged_eofs is False


def test_from_another_folder(
    files: Callable[[str], Any], folder: Path, certs: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a daemon that goes to / once it has started."""
    files(certs.good)
    monkeypatch.chdir(folder)
    server = serve({"certfile": "server.pem"}, Echo)
    monkeypatch.chdir("/")
    files(certs.second)
    server.reload_ssl()
    assert served(server, certs) == "second.example"


def test_a_deprecated_option_is_told_once(certs: Certificates) -> None:
    with pytest.warns(DeprecationWarning, match="ssl_version"):
        server = serve({"certfile": certs.good, "ssl_version": ssl.PROTOCOL_TLS_SERVER})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        server.reload_ssl()
    with pytest.warns(DeprecationWarning, match="ssl_version") as caught:
        server.reload_ssl({"certfile": certs.good, "ssl_version": ssl.PROTOCOL_TLS_SERVER})
    assert [warning.filename for warning in caught] == [__file__], "it points at the caller"


@pytest.mark.parametrize("wrong", ["missing", "garbage", "mismatched"])
def test_a_failure_changes_nothing(folder: Path, certs: Certificates, wrong: str) -> None:
    certfile, keyfile = folder / "certificate.pem", folder / "key.pem"
    shutil.copy(certs.certfile, certfile)
    shutil.copy(certs.keyfile, keyfile)
    server = serve({"certfile": str(certfile), "keyfile": str(keyfile)}, Echo)
    if wrong == "missing":
        keyfile.unlink()
    else:
        shutil.copy(certs.garbage if wrong == "garbage" else certs.second, certfile)
    kind = FileNotFoundError if wrong == "missing" else ssl.SSLError
    with pytest.raises(kind, match=str(keyfile)):
        server.reload_ssl()
    for options in ({"certfile": certs.missing}, {"certfile": certs.good, "keyfile": certs.client}, {"cert": 1}, {}, 5):
        with pytest.raises((OSError, TypeError, ValueError)):
            server.reload_ssl(options)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="clients"):
        server.reload_ssl(certs.client_context())
    assert served(server, certs) == "localhost"
    shutil.copy(certs.second, certfile)
    shutil.copy(certs.second, keyfile)
    server.reload_ssl()
    assert served(server, certs) == "second.example"


def test_without_tls(certs: Certificates) -> None:
    server = Server()
    for options in (None, {"certfile": certs.good}):
        with pytest.raises(RuntimeError, match=r"startSSL\(\)"):
            server.reload_ssl(options)


def test_on_a_closed_server(certs: Certificates) -> None:
    server = serve({"certfile": certs.good})
    server.close()
    with pytest.raises(RuntimeError, match="closed"):
        server.reload_ssl()


# --- Errors name their files -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Server, Stream])
@pytest.mark.parametrize("part", ["certfile", "keyfile", "ca_certs"])
def test_a_missing_file_is_named(kind: Any, part: str, certs: Certificates) -> None:
    options = {"certfile": certs.certfile, "keyfile": certs.keyfile, "ca_certs": certs.ca, part: certs.missing}
    with pytest.raises(FileNotFoundError, match=r"No such file or directory: .*missing\.pem") as caught:
        kind(ssl_options=options)
    assert caught.value.filename == certs.missing
    assert caught.value.errno == errno.ENOENT


def test_a_folder_is_named(folder: Path, certs: Certificates) -> None:
    with pytest.raises(IsADirectoryError, match=str(folder)):
        Server(ssl_options={"certfile": certs.certfile, "keyfile": folder})


@pytest.mark.parametrize("kind", [Server, Stream])
@pytest.mark.parametrize("part", ["certfile", "keyfile", "ca_certs"])
def test_a_file_that_holds_something_else_is_named(kind: Any, part: str, certs: Certificates) -> None:
    options = {"certfile": certs.certfile, "keyfile": certs.keyfile, "ca_certs": certs.ca, part: certs.garbage}
    with pytest.raises(ssl.SSLError, match=r"\(_ssl\.c:\d+\), in .*garbage\.pem'"):
        kind(ssl_options=options)


def test_files_that_do_not_belong_together_are_named(certs: Certificates) -> None:
    with pytest.raises(ssl.SSLError, match=r"in '.*certificate\.pem' and '.*client\.pem'") as caught:
        Server(ssl_options={"certfile": certs.certfile, "keyfile": certs.client})
    assert caught.value.reason == "KEY_VALUES_MISMATCH"


def test_an_error_of_a_password_function_is_its_own(certs: Certificates) -> None:
    def password() -> str:
        raise PermissionError(errno.EACCES, "Permission denied", "/etc/password")

    with pytest.raises(PermissionError, match="/etc/password"):
        Server(ssl_options={"certfile": certs.certfile, "keyfile": certs.locked_keyfile, "password": password})
