"""Procedures that are called over a WebSocket, in JSON, on the port that PORT names, 8080 if none.

A call is a message such as {"method": "rot13", "args": ["test"]}, and its answer {"ok": true, "result": "grfg"}. There
may be "kwargs" besides. Where ok is false, result says what went wrong.
"""

import codecs
import json
import os
from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

from pants import Engine
from pants.http import FRAME_TEXT, HTTPServer, WebSocket

F = TypeVar("F", bound=Callable[..., Any])


class RPCSocket(WebSocket):
    methods: ClassVar[dict[str, Callable[..., Any]]] = {}

    @classmethod
    def method(cls, name: str) -> Callable[[F], F]:
        """Register a function under a name."""

        def register(function: F) -> F:
            cls.methods[name] = function
            return function

        return register

    def on_read(self, message: str | bytes) -> None:
        try:
            result = self.call(json.loads(message))
            answer = json.dumps({"ok": True, "result": result})
        except Exception as error:  # noqa: BLE001 - the caller is told, whatever it is
            answer = json.dumps({"ok": False, "result": str(error)})
        # This is UTF-8 by now, and would go as binary data if the opcode of text were not asked for.
        self.write(answer.encode(), frame=FRAME_TEXT)

    def call(self, data: Any) -> Any:
        if not isinstance(data, dict):
            raise TypeError("a call is an object")
        method = self.methods.get(data.get("method", ""))
        if method is None:
            raise LookupError("no such method")
        return method(*data.get("args", ()), **data.get("kwargs", {}))


@RPCSocket.method("rot13")
def rot13(string: str) -> str:
    return codecs.encode(string, "rot13")


server = HTTPServer(RPCSocket)
server.listen(("127.0.0.1", int(os.environ.get("PORT", "8080"))))
print(f"Serving on ws://localhost:{server.local_address[1]}/", flush=True)
Engine.instance().start()
