"""Servers that misbehave, for the tests of the HTTP client, and some that behave: raw sockets in threads.

A server has a script for each connection, which reads and sends what it likes, blocking, and knows nothing of Pants:

    with RogueServer(replying(status("200 OK", content=b"spam"))) as server:
        client.get(server.url)
        run_until(lambda: responses)
    assert server.requests[0].line == "GET / HTTP/1.1"

`FAILING`, `LEFT_OVER` and `STALLING` are scripts for what goes wrong most, by a word on what that is. Certificates,
proxies for CONNECT (`proxying`) and more are in ws_client_support.
"""

from __future__ import annotations

import contextlib
import gzip
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from tests.http.peers_support import DEADLINE
from tests.http.ws_client_support import Caller as _Caller
from tests.http.ws_client_support import status

# What an endless answer ends after all the same; no client may have taken so much of it.
ENDLESS = 64 * 1024 * 1024


class GoneError(Exception):
    """The client has ended the connection between two requests, as it may."""


@dataclass
class Request:
    """What a client has asked.

    Attributes:
        line: The request line.
        fields: Its header fields, with names in lower case.
        body: Without its chunks.
        trailers: The fields after a chunked body.
        connection: The number of the connection that it came on, from 0 on.
    """

    line: str
    fields: list[tuple[str, str]]
    body: bytes = b""
    trailers: bytes = b""
    connection: int = 0

    @property
    def method(self) -> str:
        return self.line.split(" ")[0]

    @property
    def target(self) -> str:
        return self.line.split(" ")[1]

    def all(self, name: str) -> list[str]:
        return [value for found, value in self.fields if found == name.lower()]

    def __getitem__(self, name: str) -> str:
        """The field that comes once."""
        (value,) = self.all(name)
        return value

    def __contains__(self, name: str) -> bool:
        return bool(self.all(name))


class Caller(_Caller):
    """A connection that a `RogueServer` has accepted."""

    def __init__(self, sock: socket.socket, server: RogueServer, number: int) -> None:
        super().__init__(sock)
        self.server = server
        self.number = number

    def read_head(self) -> bytes:
        """Read the head of a request, and not a byte more.

        Raises:
            GoneError: There is none.
        """
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            first = self.sock.recv(1)
            if first:
                head = bytearray(first)
                while not head.endswith(b"\r\n\r\n"):
                    head += self.read(1)
                self._take_apart(bytes(head))
                return self.head
        raise GoneError

    def _take_apart(self, head: bytes) -> None:
        self.head = head
        self.line, *lines = head.decode("latin-1").split("\r\n")[:-2]
        self.fields = [(name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]

    def read_request(self, *, body: bool = True) -> Request:
        """Read a request, with its body unless that is to be left; it is in the server's ``requests`` then.

        Raises:
            GoneError: There is none.
        """
        self.read_head()
        request = Request(self.line, self.fields, connection=self.number)
        if body:
            self.read_body(request)
        self.server.requests.append(request)
        return request

    def read_body(self, request: Request) -> None:
        """Read the body of a request, of which only the head has been read."""
        if "Transfer-Encoding" not in request:
            request.body = self.read(int(request["Content-Length"])) if "Content-Length" in request else b""
            return
        pieces = []
        while size := int(self.read_line(), 16):
            pieces.append(self.read(size))
            assert self.read(2) == b"\r\n"
        while line := self.read_line():
            request.trailers += line + b"\r\n"
        request.body = b"".join(pieces)

    def read_line(self) -> bytes:
        """Read up to a CRLF, which is left out."""
        line = bytearray()
        while not line.endswith(b"\r\n"):
            line += self.read(1)
        return bytes(line[:-2])

    def send_endlessly(self, data: bytes) -> None:
        """Send that over and over, until the client has had enough."""
        data *= max(1, 65536 // len(data))
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            for _ in range(ENDLESS // len(data)):
                self.sock.sendall(data)
            raise AssertionError(f"the client has taken {ENDLESS} bytes of it")


Script = Callable[[Caller], object]


class RogueServer:
    """Accepts connections, and runs a script on each, in a thread. To be used in a ``with`` block.

    A connection is closed when its script is at its end. Leaving the block ends all of them; then an error that a
    script has met is raised, unless it is that the client has gone.

    Args:
        *scripts: For the first connection, the second one and so on; the last is for all further ones too.
        context: For TLS.
        host: Where to listen.
        family: Of which address family.

    Attributes:
        callers: The connections so far; with TLS, those whose handshake has succeeded.
        requests: What `Caller.read_request` has read so far.
        handshake_errors: Why there was no TLS on other connections.
    """

    def __init__(
        self,
        *scripts: Script,
        context: ssl.SSLContext | None = None,
        host: str = "127.0.0.1",
        family: socket.AddressFamily = socket.AF_INET,
    ) -> None:
        self.callers: list[Caller] = []
        self.requests: list[Request] = []
        self.handshake_errors: list[OSError] = []
        self.accepted = 0
        self._errors: list[BaseException] = []
        self._scripts = scripts
        self._context = context
        self._listener = socket.socket(family, socket.SOCK_STREAM)
        self._listener.bind((host, 0))
        self._listener.listen(128)
        self.port: int = self._listener.getsockname()[1]
        self.host = f"[{host}]" if ":" in host else host
        self._waker, self._woken = socket.socketpair()
        self._ending = False
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._threads = [threading.Thread(target=self._accept, daemon=True)]

    @property
    def origin(self) -> str:
        """Its URL without a slash at the end."""
        return f"{'http' if self._context is None else 'https'}://{self.host}:{self.port}"

    @property
    def url(self) -> str:
        return f"{self.origin}/"

    def __enter__(self) -> RogueServer:
        self._threads[0].start()
        return self

    def __exit__(self, kind: object, raised: BaseException | None, _: object) -> None:
        self._ending = True
        self._waker.close()
        self._threads[0].join(DEADLINE)  # which starts no other thread then
        with self._lock:
            for sock in self._open:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(DEADLINE)
        self._listener.close()
        self._woken.close()
        if raised is not None:
            for error in self._errors:
                raised.add_note(f"A script has met {error!r}.")
            return
        if self._errors:
            raise self._errors[0]
        assert not any(thread.is_alive() for thread in self._threads), "a script does not end"

    def _accept(self) -> None:
        while not self._ending:
            ready, _, _ = select.select([self._listener, self._woken], [], [])
            if self._woken in ready:
                return
            sock, _ = self._listener.accept()
            sock.settimeout(DEADLINE)
            script = self._scripts[min(self.accepted, len(self._scripts) - 1)]
            thread = threading.Thread(target=self._run, args=(sock, script, self.accepted), daemon=True)
            self.accepted += 1
            with self._lock:
                self._open.add(sock)
            self._threads.append(thread)
            thread.start()

    def _run(self, sock: socket.socket, script: Script, number: int) -> None:
        try:
            self._talk(sock, script, number)
        except (GoneError, ConnectionError, ssl.SSLError):
            pass
        except BaseException as error:
            if not self._ending:
                self._errors.append(error.with_traceback(None))
        finally:
            with self._lock:
                self._open.discard(sock)
                sock.close()

    def _talk(self, sock: socket.socket, script: Script, number: int) -> None:
        if self._context is None:
            caller = Caller(sock, self, number)
            self.callers.append(caller)
            script(caller)
            return
        try:
            # The plain one stays what is closed, and shut down at the end.
            secured = self._context.wrap_socket(sock.dup(), server_side=True)
        except OSError as error:
            self.handshake_errors.append(error)
            return
        with secured:
            caller = Caller(secured, self, number)
            self.callers.append(caller)
            script(caller)


# --- Answers ----------------------------------------------------------------------------------------------------


def head(code: str = "200 OK", *fields: str) -> bytes:
    """The head of an answer."""
    return "\r\n".join([f"HTTP/1.1 {code}", *fields, "", ""]).encode("latin-1")


def chunked(*pieces: bytes, code: str = "200 OK", fields: Iterable[str] = ()) -> bytes:
    """A whole answer, in chunks."""
    chunks = [b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces]
    return head(code, "Transfer-Encoding: chunked", *fields) + b"".join(chunks) + b"0\r\n\r\n"


# --- Scripts ----------------------------------------------------------------------------------------------------


def replying(*answers: bytes, close: bool = False) -> Script:
    """To each request the next answer; the last is for all further ones too.

    Args:
        *answers: They are sent as they are.
        close: Whether to end the connection after the last one, whatever it says.
    """

    def script(caller: Caller) -> None:
        rest = list(answers)
        while True:
            caller.read_request()
            caller.send(rest[0])
            if len(rest) > 1:
                del rest[0]
            elif close:
                return

    return script


def sending(*pieces: bytes, then: str = "close", pause: float = 0.0) -> Script:
    """To the first request these pieces.

    Args:
        *pieces: They are sent as they are.
        then: What follows: ``close``; ``reset``; ``half`` to shut down sending, and wait for the client to go;
            ``wait`` for just that.
        pause: The seconds after each piece.
    """

    def script(caller: Caller) -> None:
        caller.read_request()
        for piece in pieces:
            caller.send(piece)
            if pause:
                time.sleep(pause)
        if then == "reset":
            caller.reset()
        elif then == "half":
            caller.sock.shutdown(socket.SHUT_WR)
        if then in {"half", "wait"}:
            caller.read_rest()

    return script


def sending_endlessly(data: bytes, start: bytes = b"") -> Script:
    """To the first request something that does not end."""

    def script(caller: Caller) -> None:
        caller.read_request()
        caller.send(start)
        caller.send_endlessly(data)

    return script


def forwarding(caller: Caller) -> None:
    """Be a proxy for http: requests in absolute form, each answered over a connection of its own."""
    request = caller.read_request()
    url = urlsplit(request.target)
    assert url.scheme == "http", request.line
    assert url.hostname is not None, request.line
    path = (url.path or "/") + (f"?{url.query}" if url.query else "")
    fields = [f"{name}: {value}" for name, value in request.fields if not name.startswith(("connection", "proxy-"))]
    lines = [f"{request.method} {path} HTTP/1.1", *fields, "Connection: close"]
    with socket.create_connection((url.hostname, url.port or 80), DEADLINE) as other:
        body = request.body
        if "Transfer-Encoding" in request:
            body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if body else b"0\r\n\r\n"
        other.sendall("\r\n".join([*lines, "", ""]).encode("latin-1") + body)
        # Until either of them ends: the server need not have listened.
        while caller.sock not in select.select([other, caller.sock], [], [], DEADLINE)[0]:
            piece = other.recv(65536)
            if not piece:
                return
            caller.send(piece)


def _gibberish(data: bytes) -> Script:
    return sending(data, then="wait")


def _coded(content: bytes, coding: str = "gzip") -> bytes:
    return status("200 OK", f"Content-Encoding: {coding}", content=content)


def _unasked(caller: Caller) -> None:
    caller.send(status("200 OK", content=b"unasked"))
    caller.read_rest()


def _vanish(caller: Caller) -> None:
    """Not even the request is read."""
    caller.reset()


_LENGTH = "Content-Length: 5"
_CHUNKED = "Transfer-Encoding: chunked"
_ZIPPED = gzip.compress(b"spam" * 1000)

# To each the client has to answer with an error, and to close the connection.
FAILING: dict[str, Script] = {
    # The end comes too early.
    "reset at once": _vanish,
    "closed without a byte": sending(),
    "reset without a byte": sending(then="reset"),
    "ends in the status line": sending(b"HTTP/1.1 20"),
    "ends in the head": sending(b"HTTP/1.1 200 OK\r\nContent-Le"),
    "ends before the head is over": sending(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n"),
    "ends after a 100": sending(head("100 Continue")),
    "ends before the body": sending(head("200 OK", _LENGTH)),
    "ends in the body": sending(head("200 OK", _LENGTH) + b"spa"),
    "half closed in the body": sending(head("200 OK", _LENGTH) + b"spa", then="half"),
    "reset in the body": sending(head("200 OK", _LENGTH) + b"spa", pause=0.05, then="reset"),
    "reset in a body without a length": sending(head() + b"spa", pause=0.05, then="reset"),
    "ends in the size of a chunk": sending(head("200 OK", _CHUNKED) + b"4\r\nspam\r\n1"),
    "ends in a chunk": sending(head("200 OK", _CHUNKED) + b"5\r\nspa"),
    "ends before the last chunk": sending(head("200 OK", _CHUNKED) + b"4\r\nspam\r\n"),
    "ends in the trailers": sending(head("200 OK", _CHUNKED) + b"4\r\nspam\r\n0\r\nA: b\r\n"),
    "ends in what is zipped": sending(head("200 OK", "Content-Encoding: gzip") + _ZIPPED[:20]),
    # The status line.
    "another protocol": _gibberish(b"SSH-2.0-OpenSSH_9.2p1\r\n"),
    "HTTP/0.9": _gibberish(b"<html>Hello, World!</html>\n"),
    "HTTP/2.0": _gibberish(b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n"),
    "a status of two digits": _gibberish(b"HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n"),
    "a status of four digits": _gibberish(b"HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n"),
    "a status of letters": _gibberish(b"HTTP/1.1 two OK\r\nContent-Length: 0\r\n\r\n"),
    "a status below 100": _gibberish(b"HTTP/1.1 099 OK\r\nContent-Length: 0\r\n\r\n"),
    "NUL in the reason": _gibberish(b"HTTP/1.1 200 O\0K\r\nContent-Length: 0\r\n\r\n"),
    "a 101 that nobody asked for": _gibberish(head("101 Switching Protocols", "Upgrade: spam", "Connection: Upgrade")),
    # The fields.
    "a field without a colon": _gibberish(head("200 OK", "Content-Length: 0", "spam")),
    "a field without a name": _gibberish(head("200 OK", "Content-Length: 0", ": spam")),
    "a space before the colon": _gibberish(head("200 OK", "Content-Length : 0")),
    "a space in a name": _gibberish(head("200 OK", "Content-Length: 0", "a b: c")),
    "NUL in a value": _gibberish(head("200 OK", "Content-Length: 0", "A: b\0c")),
    "CR in a value": _gibberish(head("200 OK", "Content-Length: 0", "A: b\rc")),
    # How long the body is.
    "a length that is no number": _gibberish(head("200 OK", "Content-Length: five") + b"spam!"),
    "a length below zero": _gibberish(head("200 OK", "Content-Length: -5") + b"spam!"),
    "a length with a sign": _gibberish(head("200 OK", "Content-Length: +5") + b"spam!"),
    "an empty length": _gibberish(head("200 OK", "Content-Length:") + b"spam!"),
    "a length of 30 digits": _gibberish(head("200 OK", "Content-Length: " + "9" * 30) + b"spam!"),
    "two lengths": _gibberish(head("200 OK", _LENGTH, "Content-Length: 6") + b"spam!"),
    "two lengths in one field": _gibberish(head("200 OK", "Content-Length: 5, 6") + b"spam!"),
    "a length and chunks": _gibberish(head("200 OK", _LENGTH, _CHUNKED) + b"5\r\nspam!\r\n0\r\n\r\n"),
    "chunked twice": _gibberish(head("200 OK", "Transfer-Encoding: chunked, chunked") + b"0\r\n\r\n"),
    "chunked, and then something else": _gibberish(head("200 OK", "Transfer-Encoding: chunked, spam") + b"0\r\n\r\n"),
    "an unknown transfer coding": _gibberish(head("200 OK", "Transfer-Encoding: spam, chunked") + b"0\r\n\r\n"),
    # Chunks.
    "a size that is no number": _gibberish(head("200 OK", _CHUNKED) + b"xyz\r\nspam\r\n"),
    "an empty size": _gibberish(head("200 OK", _CHUNKED) + b"\r\nspam\r\n"),
    "a size below zero": _gibberish(head("200 OK", _CHUNKED) + b"-4\r\nspam\r\n"),
    "a size of 20 digits": _gibberish(head("200 OK", _CHUNKED) + b"f" * 20 + b"\r\nspam\r\n"),
    "a chunk that is longer": _gibberish(head("200 OK", _CHUNKED) + b"4\r\nspam and eggs\r\n0\r\n\r\n"),
    "a chunk that is shorter": _gibberish(head("200 OK", _CHUNKED) + b"4\r\nsp\r\n0\r\n\r\n0\r\n\r\n"),
    # Content codings.
    "zipped rubbish": _gibberish(_coded(b"this is not zipped at all")),
    "zipped, and cut off": _gibberish(_coded(_ZIPPED[:-12])),
    "zipped, with a wrong checksum": _gibberish(_coded(_ZIPPED[:-8] + bytes(8))),
    # No end.
    "endless 100s": sending_endlessly(head("100 Continue")),
    "an endless reason": sending_endlessly(b"OK ", b"HTTP/1.1 200 "),
    "an endless field": sending_endlessly(b"spam ", b"HTTP/1.1 200 OK\r\nA: "),
    "endless fields": sending_endlessly(b"A: b\r\n", b"HTTP/1.1 200 OK\r\n"),
    "an endless extension of a chunk": sending_endlessly(b";a=b", head("200 OK", _CHUNKED) + b"4"),
    "endless trailers": sending_endlessly(b"A: b\r\n", head("200 OK", _CHUNKED) + b"0\r\n"),
}

# To each the answer may be taken (``spam``, where it has a body), but the connection must not be used again. The method
# is GET unless the name begins with another one.
LEFT_OVER: dict[str, Script] = {
    "more than the length": sending(status("200 OK", content=b"spam") + b" and eggs", then="wait"),
    "more after the last chunk": sending(chunked(b"spam") + b"eggs", then="wait"),
    "a second answer": sending(status("200 OK", content=b"spam") + status("200 OK", content=b"eggs"), then="wait"),
    "a second answer, later": sending(
        status("200 OK", content=b"spam"), status("200 OK", content=b"eggs"), pause=0.05, then="wait"
    ),
    "a body after 204": sending(head("204 No Content") + b"eggs", then="wait"),
    "a body after 304": sending(head("304 Not Modified", _LENGTH) + b"eggs!", then="wait"),
    "HEAD with a body": sending(status("200 OK", content=b"eggs"), then="wait"),
    "HEAD with chunks": sending(chunked(b"eggs"), then="wait"),
    "closed, though it says otherwise": replying(
        status("200 OK", "Connection: keep-alive", content=b"spam"), close=True
    ),
    "an answer before the request": _unasked,  # which may as well be an error
}

# To each the client has to answer with its time-out.
STALLING: dict[str, Script] = {
    "no answer": sending(then="wait"),
    "no end of the status line": sending(b"HTTP/1.1 200 ", then="wait"),
    "no end of the head": sending(b"HTTP/1.1 200 OK\r\nA: b\r\n", then="wait"),
    "no answer after a 100": sending(head("100 Continue"), then="wait"),
    "no body": sending(head("200 OK", _LENGTH), then="wait"),
    "no end of the body": sending(head("200 OK", _LENGTH) + b"spa", then="wait"),
    "no end without a length": sending(head() + b"spa", then="wait"),
    "no end of a chunk": sending(head("200 OK", _CHUNKED) + b"4\r\nspa", then="wait"),
    "no last chunk": sending(head("200 OK", _CHUNKED) + b"4\r\nspam\r\n", then="wait"),
    "no end of the trailers": sending(head("200 OK", _CHUNKED) + b"0\r\nA: b\r\n", then="wait"),
}


def bomb(size: int, coding: Callable[[bytes], Any] = gzip.compress, name: str = "gzip") -> Script:
    """An answer whose content is so many bytes of zeros, compressed."""
    return sending(_coded(coding(bytes(size)), name), then="wait")
