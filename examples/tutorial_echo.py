"""The tutorial, "Writing a simple server": what you send comes back. Try it with: telnet localhost 4040"""

from pants import Engine, Server, Stream


class Echo(Stream):
    def on_read(self, data: bytes) -> None:
        self.write(data)


server = Server(ConnectionClass=Echo)
server.listen(4040)
Engine.instance().start()
