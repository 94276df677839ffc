"""`IRCClient` that connects, loses its connection, and connects again."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from pants import Engine
from pants.contrib.irc import IRCClient
from pants.testing import MemoryEngine, run_until
from tests.contrib.irc.client_support import DEADLINE, Host, Noting, Script, Seat


class Client(Noting):
    reconnect_delay = 0.01


@pytest.fixture
def host() -> Iterator[Host]:
    host = Host()
    yield host
    host.close()


def connected(host: Host, client: IRCClient | None = None) -> Any:
    client = Client(nick="me", reconnect=True) if client is None else client
    client.connect("127.0.0.1", host.port)
    run_until(lambda: client.registered, DEADLINE)
    return client


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def test_connect(host: Host) -> None:
    """Manual, "server" and "port": those of the connection, or of the next one."""
    client = Noting(nick="me")
    assert (client.server, client.port) == (None, None)
    client.server, client.port = "127.0.0.1", host.port
    assert client.connect() is client
    run_until(lambda: client.registered, DEADLINE)
    assert (client.server, client.port) == ("127.0.0.1", host.port)
    with pytest.raises(RuntimeError):
        client.connect()
    client.close()
    run_until(lambda: client.closed, DEADLINE)
    assert client.take() == [("connect",), ("close",)]
    assert (client.server, client.port) == ("127.0.0.1", host.port)


def test_default_ports() -> None:
    client = IRCClient().connect("127.0.0.1")
    assert client.port == 6667
    client.close(flush=False)
    client = IRCClient(ssl_options={}).connect("127.0.0.1")
    assert client.port == 6697
    client.close(flush=False)


def test_connect_again(host: Host) -> None:
    """A client that has closed can be connected again, and is as new then."""
    client = Noting(nick="me")
    for realname in ("Eric", "John"):
        client.realname = realname
        connected(host, client)
        client.join("#spam")
        run_until(lambda: client.channel("#spam"), DEADLINE)
        client.quit()
        run_until(lambda: client.closed, DEADLINE)
        assert not client.channels
    assert [event[0] for event in client.take("connect", "close")] == ["connect", "close"] * 2
    assert host.seats[1].asked("JOIN") == [["#spam"]]
    assert [seat.asked("USER")[0][3] for seat in host.seats] == ["Eric", "John"]


def test_connect_in_close(host: Host) -> None:
    """It is as new as with connect() afterwards."""

    class Stubborn(Client):
        def irc_close(self) -> None:
            if len(host.seats) < 3:
                self.connect()
                self.join("#eggs")
                self.nick = "you"

    client = connected(host, Stubborn(nick="me"))
    client.join("#spam")
    run_until(lambda: client.channel("#spam"), DEADLINE)
    host.seats[0].close()
    run_until(lambda: not client.registered, DEADLINE)
    assert (client.nick, dict(client.channels)) == ("you", {})
    run_until(lambda: len(host.seats) == 2 and client.channels, DEADLINE)
    assert host.seats[1].asked("JOIN") == [["#eggs"]]
    assert host.seats[1].asked("NICK") == [["you"]]
    host.seats[1].close()
    run_until(lambda: len(host.seats) == 3 and client.registered, DEADLINE)
    host.seats[2].close()
    run_until(lambda: client.closed, DEADLINE)


def test_lost_connection(host: Host) -> None:
    """It joins again the channels that it was in, with their keys, and wants its first nick."""
    client = connected(host)
    for name in ("#spam", "#eggs", "#ham"):
        client.join(name, "sesame" if name == "#eggs" else None)
    run_until(lambda: len(client.channels) == 3, DEADLINE)
    seat = host.seats[0]
    seat.send_command("JOIN", "#forced", _prefix="me!u@h.test")
    seat.send_command("MODE", "#spam", "+k", "open", _prefix="jane!j@h.test")
    seat.send_command("NICK", "you", _prefix="me!u@h.test")
    seat.send_command("PART", "#ham", _prefix="you!u@h.test")
    run_until(lambda: client.nick == "you" and len(client.channels) == 3, DEADLINE)
    client.take()
    seat.close()
    run_until(lambda: len(client.channels) == 3 and len(host.seats) == 2, DEADLINE)
    assert [event[0] for event in client.take("close", "reconnecting", "connect")] == [
        "close",
        "reconnecting",
        "connect",
    ]
    assert host.seats[1].asked("NICK") == [["me"]]
    assert host.seats[1].asked("JOIN") == [["#spam,#eggs,#forced", "open,sesame"]]
    client.quit()
    run_until(lambda: client.closed, DEADLINE)


def test_known_key_is_kept(host: Host) -> None:
    """Also where irc_connect() joins the channel without it."""

    class Joining(Client):
        def irc_connect(self) -> None:
            self.join("#spam")

    client = connected(host, Joining(nick="me", reconnect=True))
    run_until(lambda: client.channel("#spam"), DEADLINE)
    host.seats[0].send_command("MODE", "#spam", "+k", "open", _prefix="jane!j@h.test")
    run_until(lambda: client.channels["#spam"].modes, DEADLINE)
    for number in (1, 2):
        host.seats[-1].close()
        run_until(lambda: len(host.seats) == number + 1 and client.channel("#spam"), DEADLINE)  # noqa: B023 - called here
        assert host.seats[number].asked("JOIN") == [["#spam", "open"]]
    client.close()
    run_until(lambda: client.closed, DEADLINE)


def test_joining_in_close(host: Host) -> None:
    class Joining(Client):
        def irc_close(self) -> None:
            self.join("#eggs")

    client = connected(host, Joining(nick="me", reconnect=True))
    host.seats[0].close()
    run_until(lambda: client.channel("#eggs"), DEADLINE)
    client.close()
    run_until(lambda: client.closed, DEADLINE)


def test_reset(host: Host) -> None:
    client = connected(host)
    sock = host.seats[0].socket
    assert sock is not None
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    host.seats[0].close_error = ConnectionResetError()  # so that the socket does not linger, and closing is a reset
    host.seats[0].close(flush=False)
    run_until(lambda: len(host.seats) == 2 and client.registered, DEADLINE)
    client.close()
    run_until(lambda: client.closed, DEADLINE)


def test_silent_server(host: Host) -> None:
    client = Client(nick="me", reconnect=True)
    connected(host, client)
    client.ping_interval = client.ping_timeout = 0.02
    host.seats[0].pause_reading()
    # The next look at it comes after the 90 seconds that held when the connection was made.
    client._check_silence()
    run_until(lambda: len(host.seats) == 2, DEADLINE)
    client.ping_interval = None
    run_until(lambda: client.registered, DEADLINE)
    client.close()
    run_until(lambda: client.closed, DEADLINE)


def test_registration_that_does_not_end(host: Host, expect_log: Any) -> None:
    """registration_timeout, whatever else the server has to say; then another attempt."""
    expect_log("not accepted by the IRC server .*in time")
    host.welcoming = False
    client = Client(nick="me", reconnect=True)
    client.registration_timeout = 0.05
    client.connect("127.0.0.1", host.port)
    run_until(lambda: host.seats, DEADLINE)

    def talk() -> None:
        for seat in host.seats:
            if seat.connected:
                seat.notice("*", "Wait")

    cancel = Engine.instance().cycle(0.005, talk)
    run_until(lambda: len(host.seats) == 2, DEADLINE)
    cancel()
    assert client.take("close", "reconnecting")[0] == ("close",)
    client.registration_timeout = None
    host.welcoming = True
    run_until(lambda: client.registered, DEADLINE)
    client.close()
    run_until(lambda: client.closed, DEADLINE)


def test_idle_timeout(host: Host) -> None:
    client = connected(host)
    client.idle_timeout = 0.01
    run_until(lambda: len(host.seats) == 2 and client.registered, DEADLINE)
    client.close()
    run_until(lambda: client.closed, DEADLINE)


@pytest.mark.parametrize("stage", range(7))
def test_lost_at_each_stage(stage: int, expect_log: Any) -> None:
    """The server goes after so many lines of CAP LS, NICK, USER, CAP END, JOIN, JOIN; or before the first."""
    if stage < 4:
        expect_log("not accepted by the IRC server")

    class Fickle(Seat):
        def irc_connect(self) -> None:
            super().irc_connect()
            self.check()

        def irc_command(self, command: str, args: list[str], nick: str, user: str, host: str) -> None:
            if command == "CAP":
                self.lines.append((command, args))
                if args[0] == "LS":
                    self.send_command("CAP", "*", "LS", "")
            else:
                super().irc_command(command, args, nick, user, host)
            self.check()

        def check(self) -> None:
            if len(self.server.seats) == 1 and len(self.lines) == stage:
                self.close_error = ConnectionResetError()  # so that closing is a reset
                self.close(flush=False)

    class FickleHost(Host):
        ConnectionClass = Fickle

    host = FickleHost()
    client = Client(nick="me", reconnect=True)
    client.join("#spam")
    client.irc_connect = lambda: client.join("#eggs")
    client.connect("127.0.0.1", host.port)
    run_until(lambda: len(host.seats) == 2 and len(client.channels) == 2, DEADLINE)
    assert [name for name, _ in host.seats[1].lines[:4]] == ["CAP", "NICK", "USER", "CAP"]
    client.quit()
    run_until(lambda: client.closed, DEADLINE)
    host.close()


def test_giving_up_while_closing(host: Host) -> None:
    """close() by the user counts, also where the connection is being closed for the server's leaving."""
    client = connected(host)
    seat = host.seats[0]
    seat.pause_reading()
    client.high_water = None
    client.write(b"x" * 30_000_000)
    assert seat.socket is not None
    seat.socket.shutdown(socket.SHUT_WR)
    run_until(lambda: not client.connected, DEADLINE)
    assert not client.closed
    client.close(flush=False)
    run_until(lambda: client.closed, DEADLINE)
    assert client.take("close", "reconnecting") == [("close",)]


def test_quit_in_close(host: Host) -> None:
    class Quitting(Client):
        def irc_close(self) -> None:
            self.quit()

    client = connected(host, Quitting(nick="me", reconnect=True))
    host.seats[0].close()
    run_until(lambda: client.closed, DEADLINE)
    assert client.take("reconnecting") == []


def test_failing_reconnecting_hook(host: Host, expect_log: Any) -> None:
    """The client does not come back: the hook would fail again at once, and that for ever."""
    expect_log("ArithmeticError")

    class Failing(Client):
        def irc_reconnecting(self, delay: float) -> None:
            raise ArithmeticError

    client = connected(host, Failing(nick="me", reconnect=True))
    host.seats[0].close()
    run_until(lambda: client.closed, DEADLINE)
    assert len(host.seats) == 1


def test_server_that_is_none(host: Host, expect_log: Any) -> None:
    """Attributes that are set to nonsense while the client waits to connect again end that."""
    expect_log("port")
    client = connected(host)
    host.seats[0].close()
    run_until(lambda: client.take("reconnecting"), DEADLINE)
    client.port = 70000
    run_until(lambda: client.closed, DEADLINE)


@pytest.mark.parametrize("last", ["nothing", "ERROR"])
def test_closed_without_being_accepted(host: Host, expect_log: Any, last: str) -> None:
    """Whoever runs the client is told, with what the server has said: that it is full, say."""
    expect_log(rf"not accepted by the IRC server \(closed by it\), which said last: .*{last}")
    host.welcoming = False
    client = Noting(nick="me").connect("127.0.0.1", host.port)
    run_until(lambda: host.seats and host.seats[0].lines, DEADLINE)
    if last == "ERROR":
        host.seats[0].send_command("ERROR", "Too many connections")
    host.seats[0].close()
    run_until(lambda: client.closed, DEADLINE)


def test_closed_without_being_accepted_by_its_own_wish(host: Host) -> None:
    """That needs no explanation."""
    host.welcoming = False
    client = Noting(nick="me").connect("127.0.0.1", host.port)
    run_until(lambda: client.connected, DEADLINE)
    client.quit()
    run_until(lambda: client.closed, DEADLINE)


def test_connecting_before_the_end(host: Host) -> None:
    """It is said from when on that is possible."""
    client = connected(host, Noting(nick="me"))
    client.close()
    with pytest.raises(RuntimeError, match=r"can be connected again when irc_close\(\) is called"):
        client.connect()
    run_until(lambda: client.closed, DEADLINE)


def test_overlong_line(host: Host, expect_log: Any) -> None:
    expect_log("no separator within")
    client = connected(host)
    host.seats[0].write(b"x" * 20000)
    run_until(lambda: len(host.seats) == 2 and client.registered, DEADLINE)
    client.close()
    run_until(lambda: client.closed, DEADLINE)


def test_server_that_comes_back(expect_log: Any) -> None:
    """Attempts that fail are repeated; irc_close() is not called for them."""
    expect_log("refused")
    port = free_port()
    client = Client(nick="me", reconnect=True).connect("127.0.0.1", port)
    run_until(lambda: len(client.events) >= 2, DEADLINE)
    assert {event[0] for event in client.take()} == {"reconnecting"}
    host = Host(port)
    run_until(lambda: client.registered, DEADLINE)
    client.quit()
    run_until(lambda: client.closed, DEADLINE)
    assert client.take("close", "connect") == [("connect",), ("close",)]
    host.close()


def test_failed_attempt_without_reconnecting(expect_log: Any) -> None:
    expect_log("refused")
    client = Noting(nick="me").connect("127.0.0.1", free_port())
    run_until(lambda: client.closed, DEADLINE)
    assert client.take() == [("close",)]


def test_delays(expect_log: Any) -> None:
    """Doubling, up to the limit; up to a half is taken off."""
    expect_log("refused")
    client = Client(nick="me", reconnect=True)
    client.reconnect_delay, client.reconnect_limit = 0.008, 0.03
    client.connect("127.0.0.1", free_port())
    run_until(lambda: len(client.events) >= 4, DEADLINE)
    client.close()
    run_until(lambda: client.closed, DEADLINE)
    for (_, delay), expected in zip(client.take("reconnecting"), [0.008, 0.016, 0.03, 0.03], strict=False):
        assert expected / 2 <= delay <= expected


def test_delays_where_nothing_lasts(host: Host) -> None:
    """A server that accepts the client, and then drops it, is not asked ever so often."""

    class Dropping(Client):
        def irc_connect(self) -> None:
            host.seats[-1].close()

    client = Dropping(nick="me", reconnect=True)
    client.reconnect_delay = 0.004
    client.connect("127.0.0.1", host.port)
    run_until(lambda: len(host.seats) >= 4, DEADLINE)
    client.close()
    run_until(lambda: client.closed, DEADLINE)
    for (_, delay), expected in zip(client.take("reconnecting"), [0.004, 0.008, 0.016], strict=False):
        assert expected / 2 <= delay <= expected


@pytest.mark.parametrize("seconds, delay", [(59.0, 64.0), (61.0, 2.0)])
def test_delay_after_what_has_lasted(seconds: float, delay: float) -> None:
    """A registration that has lasted for a minute makes the failures before it forgotten."""
    with MemoryEngine() as engine:
        script = Script(engine, reconnect=True)
        script.client.server = "irc.test"
        script.client._failures = 5
        script.register()
        engine.advance(seconds)
        script.peer.end()
        ((_, found),) = script.client.take("reconnecting")
        assert delay / 2 <= found <= delay


@pytest.mark.parametrize("method", ["close", "quit"])
def test_giving_up_while_connecting(host: Host, method: str) -> None:
    client = Client(nick="me", reconnect=True).connect("127.0.0.1", host.port)
    getattr(client, method)()
    run_until(lambda: client.closed, DEADLINE)
    assert client.take() == [("close",)]


@pytest.mark.parametrize("method", ["close", "quit"])
def test_giving_up_while_waiting(expect_log: Any, method: str) -> None:
    """irc_close() is called once at the end, where no connection ever was."""
    expect_log("refused")
    client = Client(nick="me", reconnect=True)
    client.reconnect_delay = 1000.0
    client.connect("127.0.0.1", free_port())
    run_until(lambda: client.events, DEADLINE)
    assert not client.closed
    getattr(client, method)()
    run_until(lambda: client.closed, DEADLINE)
    assert [event[0] for event in client.take()] == ["reconnecting", "close"]


def test_giving_up_in_hooks(host: Host) -> None:
    """close() in irc_close() or in irc_reconnecting() stops it."""

    class InClose(Client):
        def irc_close(self) -> None:
            self.close()

    class InReconnecting(Client):
        def irc_reconnecting(self, delay: float) -> None:
            self.close()

    first = connected(host, InClose(nick="me", reconnect=True))
    second = connected(host, InReconnecting(nick="you", reconnect=True))
    for seat in list(host.seats):
        seat.close()
    run_until(lambda: first.closed and second.closed, DEADLINE)
    assert len(host.seats) == 2


def test_connect_while_waiting(host: Host) -> None:
    client = Client(nick="me", reconnect=True)
    client.reconnect_delay = 1000.0
    connected(host, client)
    host.seats[0].close()
    run_until(lambda: any(event[0] == "reconnecting" for event in client.events), DEADLINE)
    client.connect()
    run_until(lambda: client.registered, DEADLINE)
    client.close()
    run_until(lambda: client.closed, DEADLINE)


@pytest.mark.parametrize("method", ["close", "quit"])
def test_not_after_leaving(host: Host, method: str) -> None:
    client = connected(host)
    getattr(client, method)()
    run_until(lambda: client.closed, DEADLINE)
    assert client.take("close", "reconnecting") == [("close",)]


def test_not_after_a_refused_login(host: Host) -> None:
    class Resigned(Client):
        def irc_login_failed(self, reason: str) -> None:
            self.events.append(("login_failed", reason))

    host.welcoming = False
    client = Resigned(nick="me", reconnect=True, password="wrong").connect("127.0.0.1", host.port)
    run_until(lambda: host.seats and host.seats[0].asked("USER"), DEADLINE)
    assert host.seats[0].asked("PASS") == [["wrong"]]
    host.seats[0].send_command("464", "*", "Password incorrect")
    host.seats[0].close()
    run_until(lambda: client.closed, DEADLINE)
    assert client.take() == [("login_failed", "Password incorrect"), ("close",)]


def test_after_a_failing_hook(host: Host, expect_log: Any) -> None:
    """The connection is lost by it, as by anything else: a fault that shows once does not end a bot."""
    expect_log("ArithmeticError")

    class Failing(Client):
        failures = 0

        def irc_connect(self) -> None:
            self.failures += 1
            if self.failures < 3:
                raise ArithmeticError

    client = connected(host, Failing(nick="me", reconnect=True))
    run_until(lambda: client.failures == 3, DEADLINE)
    assert client.connected
    client.close()
    run_until(lambda: client.closed, DEADLINE)


def test_not_after_a_failing_hook_that_closes(host: Host) -> None:
    class Failing(Client):
        def irc_connect(self) -> None:
            raise ArithmeticError

        def on_error(self, exception: Exception) -> None:
            self.close()

    client = Failing(nick="me", reconnect=True).connect("127.0.0.1", host.port)
    run_until(lambda: client.closed, DEADLINE)
    assert len(host.seats) == 1


def test_failing_close_hook(host: Host, expect_log: Any) -> None:
    """It is logged, and keeps nothing from going on."""
    expect_log("ArithmeticError")

    class Failing(Client):
        def irc_close(self) -> None:
            raise ArithmeticError

    client = connected(host, Failing(nick="me", reconnect=True))
    host.seats[0].close()
    run_until(lambda: len(host.seats) == 2 and client.registered, DEADLINE)
    client.close()
    run_until(lambda: client.closed, DEADLINE)


def test_engine_closes_while_waiting(host: Host) -> None:
    client = Client(nick="me", reconnect=True)
    client.reconnect_delay = 1000.0
    connected(host, client)
    host.seats[0].close()
    run_until(lambda: any(event[0] == "reconnecting" for event in client.events), DEADLINE)
    Engine.instance().close()
    assert client.closed


def test_engine_closes(host: Host) -> None:
    client = connected(host)
    Engine.instance().close()
    assert client.closed
    assert client.take("close", "reconnecting") == [("close",)]


@pytest.fixture
def tls(tmp_path: Path) -> tuple[Path, Host]:
    """The certificate to trust, and a server whose own is for 127.0.0.1."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "cert.pem"))
    return tmp_path / "ca.pem", Host(ssl_options={"certfile": str(tmp_path / "cert.pem")})


def test_tls_is_kept(tls: tuple[Path, Host]) -> None:
    """Though the file may have gone since."""
    path, host = tls
    client = Client(nick="me", reconnect=True, ssl_options={"ca_certs": str(path)})
    connected(host, client)
    assert client.secure
    path.unlink()
    host.seats[0].close()
    run_until(lambda: len(host.seats) == 2 and client.registered, DEADLINE)
    assert client.secure
    client.quit()
    run_until(lambda: client.closed, DEADLINE)
    connected(host, client)
    assert client.secure
    client.quit()
    run_until(lambda: client.closed, DEADLINE)
    host.close()


def test_tls_that_fails(tls: tuple[Path, Host], host: Host, expect_log: Any) -> None:
    """A certificate for another name, or a server without TLS: nothing is told to it, and it is tried again."""
    expect_log("<Client .*CERTIFICATE_VERIFY_FAILED")
    expect_log("<Seat .*(?i:alert bad certificate)")
    expect_log("<Client .*(?i:wrong.version.number|record.layer.failure)")
    path, secure_host = tls

    class Plain(Seat):
        def irc_connect(self) -> None:
            super().irc_connect()
            self.notice("*", "Hello")

    host.ConnectionClass = Plain
    for server, port in (("localhost", secure_host.port), ("127.0.0.1", host.port)):
        client = Client(nick="me", reconnect=True, password="sesame", ssl_options={"ca_certs": str(path)})
        client.connect(server, port)
        run_until(lambda: len(client.events) >= 2, DEADLINE)  # noqa: B023 - called here
        client.close()
        run_until(lambda: client.closed, DEADLINE)  # noqa: B023
        events = client.take()
        assert {event[0] for event in events[:-1]} == {"reconnecting"}
        assert events[-1] == ("close",)
    assert not any(seat.asked("PASS") for seat in host.seats + secure_host.seats)
    secure_host.close()
