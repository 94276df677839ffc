"""The tutorial, "Kicking it up a notch": eight bytes come back at a time. Try it with: telnet localhost 4040"""

from pants import Engine, Server, Stream


class BlockEcho(Stream):
    def on_connect(self) -> None:
        self.read_delimiter = 8

    def on_read(self, block: bytes) -> None:
        self.write(block + b"\r\n")


server = Server(ConnectionClass=BlockEcho)
server.listen(4040)
Engine.instance().start()
