"""The programs `examples/ws_*.py`, each run as a program with real clients: Pants' own, and another."""

from __future__ import annotations

import json
import os
import pathlib
import signal
import ssl
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import requests
import trustme
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from pants.http import HTTPRequest, WebSocket
from pants.testing import run_until
from tests.http.peers_support import DEADLINE, EXAMPLES, Certificate, run, running, serving

CLIENT = EXAMPLES / "ws_client.py"
SERVERS = ["ws_echo.py", "ws_handshake.py", "ws_lines.py", "ws_rpc.py", "ws_chat.py"]

# The first program of the manual's "pants.http.websocket".
FIRST_PROGRAM = """
from pants.http import HTTPServer, WebSocket
from pants import Engine

class EchoSocket(WebSocket):
    def on_read(self, data):
        self.write(data)

HTTPServer(EchoSocket).listen(8080)
Engine.instance().start()
"""


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")


def websocket(url: str, **kwargs: Any) -> ClientConnection:
    """Another's client."""
    client: ClientConnection = connect(url, proxy=None, open_timeout=DEADLINE, close_timeout=DEADLINE, **kwargs)
    return client


def receive(client: ClientConnection) -> Any:
    return client.recv(DEADLINE)


def closing_code(client: ClientConnection) -> int:
    """The code with which the server closes."""
    with pytest.raises(ConnectionClosed) as caught:
        receive(client)
    assert caught.value.rcvd is not None
    return caught.value.rcvd.code


def ask(url: str, *lines: str, arguments: tuple[object, ...] = (), code: int = 0) -> list[str]:
    """What `ws_client.py` prints, which is given lines to send."""
    text = "".join(f"{line}\n" for line in lines)
    done = run(sys.executable, CLIENT, *arguments, url, stdin=text.encode(), code=code)
    return done.stdout.decode().splitlines()


@pytest.mark.parametrize("name", SERVERS)
def test_the_port_is_8080_by_default(name: str) -> None:
    assert '"PORT", "8080"' in (EXAMPLES / name).read_text()


# --- ws_echo.py -------------------------------------------------------------------------------------------------------


def test_echo() -> None:
    """Manual: "Listening for Connections"; the example of an echo."""
    with running("ws_echo.py") as program:
        assert ask(program.url, "Hello", "", "\u00e4\u20ac\U0001f600") == ["Hello", "", "\u00e4\u20ac\U0001f600"]
        with websocket(program.url) as client:
            for message in ("text", b"\x00\xff", "", b"", "\u20ac" * 20_000, os.urandom(65536)):
                client.send(message)
                assert receive(client) == message


def test_echo_is_the_program_of_the_manual() -> None:
    def essence(program: str) -> set[str]:
        lines = program.replace(": str | bytes", "").replace(" -> None", "").splitlines()
        return {line for line in lines if line and not line.startswith(('"""', "import os", "print", "server"))}

    there = FIRST_PROGRAM.replace("HTTPServer(EchoSocket).listen(8080)\n", "")
    assert essence((EXAMPLES / "ws_echo.py").read_text()) == essence(there)


def test_echo_serves_nothing_else() -> None:
    with running("ws_echo.py") as program:
        answer = requests.get(program.url.replace("ws://", "http://"), timeout=DEADLINE)
        assert (answer.status_code, answer.headers["Upgrade"]) == (426, "websocket")


# --- ws_handshake.py --------------------------------------------------------------------------------------------------


@pytest.fixture
def certificate(tmp_path: pathlib.Path) -> tuple[pathlib.Path, pathlib.Path, pathlib.Path]:
    """The files of the authority, of a certificate for localhost, and of its key."""
    ca, cert, key = tmp_path / "ca.pem", tmp_path / "cert.pem", tmp_path / "key.pem"
    authority = trustme.CA()
    issued = authority.issue_cert("localhost", "127.0.0.1")
    authority.cert_pem.write_to_path(str(ca))
    issued.cert_chain_pems[0].write_to_path(str(cert))
    issued.private_key_pem.write_to_path(str(key))
    return ca, cert, key


def test_handshake(certificate: tuple[pathlib.Path, pathlib.Path, pathlib.Path]) -> None:
    """Manual: "Custom Handshakes"."""
    ca, cert, key = certificate
    with running("ws_handshake.py", "--cert", cert, "--key", key) as program:
        assert program.url.startswith("wss://")
        believing = ("--ca", ca)
        secret = ("--header", "X-Pizza: Funghi")
        assert ask(program.url, arguments=(*believing, *secret)) == ["Welcome to PizzaNet."]
        assert ask(program.url, arguments=believing, code=1) == []
        assert ask(program.url, arguments=secret, code=1) == []  # nobody vouches for the server

        context = ssl.create_default_context(cafile=str(ca))
        with websocket(program.url, ssl=context, additional_headers={"x-pizza": ""}) as client:
            assert receive(client) == "Welcome to PizzaNet."
            assert client.response is not None
            assert client.response.headers["X-Restaurant"] == "PizzaNet"
        with pytest.raises(InvalidStatus) as caught:
            websocket(program.url, ssl=context)
        assert caught.value.response.status_code == 403
        assert caught.value.response.headers["X-Restaurant"] == "PizzaNet"


def test_handshake_without_tls() -> None:
    """Manual: "The following example ... requires a secret HTTP header in the request, and that the connection is
    secured".
    """
    with running("ws_handshake.py") as program:
        assert program.url.startswith("ws://")
        with pytest.raises(InvalidStatus) as caught:
            websocket(program.url, additional_headers={"X-Pizza": "Funghi"})
        assert caught.value.response.status_code == 403


# --- ws_lines.py ------------------------------------------------------------------------------------------------------


def test_lines() -> None:
    """Manual: "Unicode Strings and Byte Strings"; what matters is lines, and not messages."""
    with running("ws_lines.py") as program, websocket(program.url.replace("http", "ws") + "ws") as client:
        client.send("Hello\n\nWor")
        assert [receive(client), receive(client)] == ["Uryyb", ""]
        client.send(["l", "d \u00e4", "\nand"])  # one message in three fragments
        assert receive(client) == "Jbeyq \u00e4"
        client.send(" more\n")
        assert receive(client) == "naq zber"


def test_lines_are_text() -> None:
    """Manual: "the connection will be closed with a protocol error if ... the string types of the read_delimiter and
    the buffer differ". RFC 6455 §7.4.1: 1003, "a type of data it cannot accept".
    """
    with running("ws_lines.py") as program, websocket(program.url.replace("http", "ws") + "ws") as client:
        client.send(b"Hello\n")
        assert closing_code(client) == 1003


@pytest.mark.parametrize("name", ["ws_lines", "ws_chat"])
def test_the_page_is_there(name: str) -> None:
    """It is tried in a browser by `tests/http/test_ws_browser.py`."""
    with running(f"{name}.py") as program:
        answer = requests.get(program.url, timeout=DEADLINE)
        assert (answer.status_code, answer.headers["Content-Type"]) == (200, "text/html")
        assert answer.text == (EXAMPLES / f"{name}.html").read_text()
        assert requests.get(program.url + "nothing", timeout=DEADLINE).status_code == 404
        assert requests.get(program.url + "ws", timeout=DEADLINE).status_code == 426


# --- ws_rpc.py --------------------------------------------------------------------------------------------------------


def test_rpc() -> None:
    """Manual: "WebSocket Messages"; the example of an RPC."""

    def call(client: ClientConnection, message: Any) -> tuple[bool, Any]:
        client.send(message)
        answer = receive(client)
        assert isinstance(answer, str)  # FRAME_TEXT
        found = json.loads(answer)
        return found["ok"], found["result"]

    with running("ws_rpc.py") as program, websocket(program.url) as client:
        assert call(client, '{"method": "rot13", "args": ["test"]}') == (True, "grfg")
        assert call(client, '{"method": "rot13", "kwargs": {"string": "\u00e4 test"}}') == (True, "\u00e4 grfg")
        # "completely reliable, even when the client is sending fragmented messages"
        assert call(client, ['{"method": "rot13", ', '"args": ["te', 'st"]}']) == (True, "grfg")
        assert call(client, b'{"method": "rot13", "args": ["test"]}') == (True, "grfg")
        assert call(client, '{"method": "rot14"}') == (False, "no such method")
        for wrong in ("{", "[]", "{}", '{"method": []}', '{"method": "rot13", "args": [1]}', b"\xff"):
            ok, _ = call(client, wrong)
            assert not ok
        assert call(client, '{"method": "rot13", "args": ["test"]}') == (True, "grfg")


# --- ws_chat.py -------------------------------------------------------------------------------------------------------


def test_chat() -> None:
    with running("ws_chat.py") as program:
        url = program.url.replace("http", "ws") + "ws"
        with websocket(f"{url}?name=Ada") as ada:
            assert receive(ada) == "Ada has come; now there are 1"
            with websocket(f"{url}?name=B%C3%A4r") as bear, websocket(url) as other:
                assert receive(bear) == "B\u00e4r has come; now there are 2"
                for client in (bear, other):
                    assert receive(client) == "Somebody has come; now there are 3"
                assert [receive(ada), receive(ada)] == [
                    "B\u00e4r has come; now there are 2",
                    "Somebody has come; now there are 3",
                ]
                bear.send("Grr <b>")
                assert {receive(client) for client in (ada, bear, other)} == {"B\u00e4r: Grr <b>"}
                other.send(b"\x00")
                assert closing_code(other) == 1003
                assert {receive(client) for client in (ada, bear)} == {"Somebody has gone"}
                bear.send("x" * 4097)
                assert closing_code(bear) == 1009
                assert receive(ada) == "B\u00e4r has gone"
            ada.send("x" * 4096)
            assert receive(ada) == "Ada: " + "x" * 4096


# --- ws_client.py -----------------------------------------------------------------------------------------------------


class Told(WebSocket):
    """Says how it was opened, and what it gets."""

    subprotocols = ("second", "first")

    def on_handshake(self, request: HTTPRequest, headers: dict[str, Any]) -> bool:
        self.told = [request.url, request.headers.get("X-Test", ""), self.subprotocol]
        return True

    def on_connect(self) -> None:
        self.write(json.dumps(self.told))

    def on_read(self, text: str) -> None:
        if text == "bytes":
            self.write(b"\x00\xfe")
        elif text.startswith("close"):
            self.close(reason=int(text.split()[1]), message="as asked")
        elif text == "break":
            self.close(flush=False)
        else:
            self.write(f"got {text}")


@pytest.fixture
def told() -> Iterator[str]:
    with serving(Told) as server:
        yield f"ws://127.0.0.1:{server.local_address[1]}/"


def test_client_prints_what_arrives(told: str) -> None:
    assert ask(told + "a?b=c", "1", "bytes", "\u20ac") == [
        '["/a?b=c", "", null]',
        "got 1",
        "2 bytes: 00 fe",
        "got \u20ac",
    ]


def test_client_has_headers_and_subprotocols(told: str) -> None:
    arguments = ("--header", "X-Test: a: b", "--header", "X-Other:1", "--subprotocol", "first", "--subprotocol", "x")
    done = run(sys.executable, CLIENT, *arguments, told, stdin=b"")
    assert done.stdout == b'["/", "a: b", "first"]\n'
    assert done.stderr == b"The subprotocol is first\nClosed: 1000 Normal closure\n"


@pytest.mark.parametrize(
    "line, code, shown",
    [
        ("close 1000", 0, "Closed: 1000 as asked"),
        ("close 1001", 0, "Closed: 1001 as asked"),
        ("close 4001", 1, "Closed: 4001 as asked"),
        ("break", 1, "Closed: 1006"),
    ],
)
def test_client_tells_how_it_ended(line: str, code: int, shown: str, told: str) -> None:
    """Its input may go on; here it does."""
    done = run(sys.executable, CLIENT, told, stdin=f"{line}\n".encode() + b"more\n" * 10, code=code)
    assert done.stderr.decode().splitlines() == [shown]


def test_client_reads_large_messages() -> None:
    class Large(WebSocket):
        def on_connect(self) -> None:
            self.write("x" * 5_000_000)

    with serving(Large) as server:
        assert ask(f"ws://127.0.0.1:{server.local_address[1]}/") == ["x" * 5_000_000]


def test_client_over_tls(tmp_path: pathlib.Path) -> None:
    certificate = Certificate(tmp_path)
    with serving(Told, context=certificate.server_context) as server:
        url = f"wss://localhost:{server.local_address[1]}/"
        assert ask(url, "1", arguments=("--ca", certificate.ca)) == ['["/", "", null]', "got 1"]


def test_client_that_is_refused() -> None:
    with serving(lambda request: request.send_response("no", 404)) as server:
        done = run(sys.executable, CLIENT, f"ws://127.0.0.1:{server.local_address[1]}/", stdin=b"", code=1)
        assert done.stdout == b""
        assert b"404" in done.stderr
        assert b"Closed" not in done.stderr


@pytest.mark.parametrize("arguments", [["nonsense"], ["ws://a/#b"], ["--header", "Upgrade: x", "ws://a/"]])
def test_client_with_wrong_arguments(arguments: list[str]) -> None:
    done = run(sys.executable, CLIENT, *arguments, code=2)
    assert b"ws_client.py: error: " in done.stderr
    assert b"Traceback" not in done.stderr


def test_client_ends_by_ctrl_c(told: str) -> None:
    """While it waits for its input."""
    with subprocess.Popen(
        [sys.executable, CLIENT, told], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        try:
            assert process.stdout is not None
            os.set_blocking(process.stdout.fileno(), False)
            found = bytearray()

            def has_read() -> bool:
                assert process.stdout is not None
                found.extend(process.stdout.read() or b"")
                return found.endswith(b"\n")

            run_until(has_read, DEADLINE)
            process.send_signal(signal.SIGINT)
            run_until(lambda: process.poll() is not None, DEADLINE)
            assert process.stderr is not None
            assert (process.returncode, process.stderr.read()) == (130, b"")
        finally:
            process.kill()
