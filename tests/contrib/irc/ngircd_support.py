"""An ngircd of a test's own."""

from __future__ import annotations

import contextlib
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

from pants.testing import run_until

DEADLINE = 30.0
# Another process may take a free port before ngircd does.
PORTS_TRIED = 5

CONFIGURATION = """
[Global]
Name = {name}
Info = A server of the tests
AdminInfo1 = Nobody
Listen = 127.0.0.1
MotdPhrase = Hello
{ports}
{global_}
[Limits]
MaxConnectionsIP = 0
MaxPenaltyTime = 0
MaxNickLength = 12
ConnectRetry = 5
[Options]
DNS = no
Ident = no
PAM = no
SyslogFacility = local1
{sections}
"""


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


class Ngircd:
    """An ngircd.

    Args:
        program: Its path, from the fixture ``peer``.
        folder: An empty one, for its files.
        name: The server's name.
        certificate: The files of a certificate and its key, to speak TLS.
        global_: More of the section Global.
        sections: More sections.

    Attributes:
        port: Where it listens, on 127.0.0.1; 0 until it has started once.
    """

    def __init__(
        self,
        program: str,
        folder: Path,
        *,
        name: str = "irc.test",
        certificate: tuple[str, str] | None = None,
        global_: str = "",
        sections: str = "",
    ) -> None:
        self.program = program
        self.folder = folder
        self.name = name
        self.certificate = certificate
        self.global_ = global_
        self.sections = sections
        self.port = 0
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Run it; where it has run before, on the same port."""
        ports = [self.port] * PORTS_TRIED if self.port else [free_port() for _ in range(PORTS_TRIED)]
        for port in ports:
            if self._start_on(port):
                self.port = port
                return
        raise AssertionError(self.log)

    def _start_on(self, port: int) -> bool:
        ports, sections = f"Ports = {port}", self.sections
        if self.certificate is not None:
            certificate, key = self.certificate
            ports = f"Ports = {free_port()}"
            sections += f"\n[SSL]\nCertFile = {certificate}\nKeyFile = {key}\nPorts = {port}\n"
        configuration = self.folder / f"{self.name}.conf"
        configuration.write_text(
            CONFIGURATION.format(name=self.name, ports=ports, global_=self.global_, sections=sections)
        )
        with (self.folder / f"{self.name}.log").open("wb") as log:
            self.process = process = subprocess.Popen(
                [self.program, "-n", "-f", str(configuration)], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        run_until(lambda: process.poll() is not None or ") ready." in self.log, DEADLINE)
        if process.poll() is None:
            return True
        self.stop()
        return False

    @property
    def log(self) -> str:
        return (self.folder / f"{self.name}.log").read_text(errors="replace")

    def stop(self) -> None:
        """Kill it, so that it says goodbye to nobody."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    @contextlib.contextmanager
    def running(self) -> Iterator[Ngircd]:
        """Run it for the length of a block."""
        try:
            self.start()
            yield self
        finally:
            self.stop()
