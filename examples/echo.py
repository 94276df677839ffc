"""The echo server of the manual's first page. Try it with: telnet localhost 4040"""

from pants import Engine, Server, Stream


class Echo(Stream):
    def on_read(self, data: bytes) -> None:
        self.write(data)


Server(Echo).listen(4040)
Engine.instance().start()
