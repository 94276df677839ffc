"""The tutorial, "Taking it to another level": a line goes to everyone. Try it with several: telnet localhost 4040"""

from pants import Engine, Server, Stream


class EchoLineToAll(Stream):
    server: "EchoLineToAllServer"

    def on_connect(self) -> None:
        self.read_delimiter = b"\r\n"
        self.server.write_to_all(b"Connected: %b\r\n" % self.remote_address[0].encode())

    def on_read(self, line: bytes) -> None:
        self.server.write_to_all(b"%b: %b\r\n" % (self.remote_address[0].encode(), line))

    def on_close(self) -> None:
        self.server.write_to_all(b"Disconnected: %b\r\n" % self.remote_address[0].encode())


class EchoLineToAllServer(Server):
    ConnectionClass = EchoLineToAll

    def write_to_all(self, data: bytes) -> None:
        for channel in self.channels.values():
            if channel.connected:
                channel.write(data)


EchoLineToAllServer().listen(4040)
Engine.instance().start()
