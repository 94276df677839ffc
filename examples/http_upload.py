"""A page with a form to upload files by, which tells what came, on the port that PORT names, 8080 if none.

Try it with a browser, or with: curl -F about=me -F files=@README.md http://localhost:8080/
"""

import os
from html import escape

from pants import Engine
from pants.http import HTTPRequest, HTTPServer

FORM = """<!DOCTYPE html>
<title>Upload</title>
<form method="post" enctype="multipart/form-data">
<p><label>About them <input name="about"></label>
<p><label>The files <input type="file" name="files" multiple></label>
<p><button>Upload</button>
</form>
"""


def handle(request: HTTPRequest) -> None:
    if request.path != "/":
        request.send_response("There is nothing here.\n", 404)
    elif request.method in ("GET", "HEAD"):
        send_page(request, FORM)
    elif request.method == "POST":
        send_page(request, describe(request))
    else:
        request.send_response("GET or POST, please.\n", 405, headers={"Allow": "GET, HEAD, POST"})


def describe(request: HTTPRequest) -> str:
    items = [f"<li>{escape(name)} = {escape(value)}</li>" for name, values in request.post.items() for value in values]
    for name, files in request.files.items():
        for upload in files:
            # Not upload["body"], which reads all of it into memory. This may lie on disk.
            size = upload["file"].seek(0, os.SEEK_END)
            kind = f"{upload['filename']}, {upload['content_type']}"
            items.append(f"<li>{escape(name)}: {escape(kind)}, {size} bytes</li>")
    return f"<!DOCTYPE html>\n<title>What came</title>\n<ul>\n{''.join(items)}\n</ul>\n<p><a href=/>Again</a>\n"


def send_page(request: HTTPRequest, page: str) -> None:
    request.send_response(page, content_type="text/html; charset=utf-8")


server = HTTPServer(handle, max_request=1024**3)  # a longer request is answered with 413
server.listen(("127.0.0.1", int(os.environ.get("PORT", "8080"))))
print(f"Serving on http://localhost:{server.local_address[1]}/", flush=True)
Engine.instance().start()
