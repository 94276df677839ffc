"""A site with a directory of files below /files/, on the port that PORT names, or 8080.

web_files.py [DIRECTORY]

Without one it is the directory that this program is in; its own text is on the blacklist by default, as that of any
Python program.
"""

import html
import os
import pathlib
import sys

from pants.http import HTTPRequest
from pants.web import Application, url_for
from pants.web.fileserver import FileServer

directory = sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent

app = Application()
FileServer(directory, max_age=60).attach(app, "/files/")


@app.route("/")
def index(request: HTTPRequest) -> str:
    links = "".join(
        f'<li><a href="{url_for("files", name)}">{html.escape(name)}</a>\n' for name in sorted(os.listdir(directory))
    )
    return (
        f'<!DOCTYPE html>\n<title>Files</title>\n<ul>\n{links}</ul>\n<a href="{url_for("files")}">All about them</a>\n'
    )


app.run(("127.0.0.1", int(os.environ.get("PORT", "8080"))))
