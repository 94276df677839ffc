"""An application in several processes: workers_server.py PORT WORKERS. ``/`` tells which process has answered."""

import os
import sys

from pants.http import HTTPRequest
from pants.web import Application

app = Application()


@app.route("/")
def tell(request: HTTPRequest) -> str:
    return str(os.getpid())


app.run(("127.0.0.1", int(sys.argv[1])), workers=int(sys.argv[2]))
