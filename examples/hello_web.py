"""The web page of the manual's first page, which is there on the port that PORT names, 8080 if none."""

import os

from pants.http import HTTPRequest
from pants.web import Application

app = Application()


@app.route("/")
def hello(request: HTTPRequest) -> str:
    return "Hello, World!"


app.run(int(os.environ.get("PORT", "8080")))
