"""Rules with variables, converters, domains, and URLs made of them, on the port that PORT names, 8080 if none.

The programs of the manual's "Routing", "Rule Variable Converters" and "Writing a Variable Converter".
"""

import os
from collections import namedtuple
from typing import Any

from pants.http import HTTPRequest
from pants.web import Application, Converter, redirect, register_converter, url_for

app = Application()

USERS = {1: "ada", 2: "grace"}
PAGES = {"welcome": "Welcome!", "about/us": "About us"}

PhoneNumber = namedtuple("PhoneNumber", ["npa", "nxx", "subscriber", "ext"])


@register_converter
class Telephone(Converter):
    regex = (
        r"(?:1[ -]*)?(?:\(? *([2-9][0-9]{2}) *\)?[ -]*)?([2-9](?:1[02-9]|[02-9][0-9]))[ -]*(\d{4})"
        r"(?:[ -]*e?xt?[ -]*(\d+))?"
    )

    def decode(self, request: HTTPRequest, *values: Any) -> PhoneNumber:
        return PhoneNumber(*(int(x) if x else None for x in values))

    def encode(self, request: HTTPRequest, value: PhoneNumber) -> str:
        out = f"{value.npa:03d}-{value.nxx:03d}-{value.subscriber:04d}"
        if value.ext:
            out += f"-ext{value.ext}"
        return out


@app.route("/")
def index(request: HTTPRequest) -> str:
    return "Index Page"


@app.route("/welcome/<name>")
def welcome(request: HTTPRequest, name: str) -> str:
    return f"Hello, {name}!"


@app.route("/user/<int:id>", auto404=True)
def user(request: HTTPRequest, id: int) -> Any:  # noqa: A002
    return USERS.get(id) or ("There is no such user.", 404)


@app.route("/page/<path:slug=welcome>")
def page(request: HTTPRequest, slug: str) -> Any:
    return PAGES.get(slug, ("This does not exist.", 404))


@app.route("/<any(call text im):action>/<int:id>")
def act(request: HTTPRequest, action: str, id: int) -> dict[str, Any]:  # noqa: A002
    return {"action": action, "id": id}


@app.route("<username>.localhost/blog/<int:year>/<slug>")
def post(request: HTTPRequest, username: str, year: int, slug: str) -> str:
    return f"{username} wrote {slug} in {year}"


@app.route("/tel/<telephone:number>")
def telephone(request: HTTPRequest, number: PhoneNumber) -> dict[str, Any]:
    return number._asdict()


@app.route("/office")
def office(request: HTTPRequest) -> Any:
    return redirect(url_for("telephone", PhoneNumber(npa=555, nxx=234, subscriber=5678, ext=115)))


if __name__ == "__main__":
    app.run(int(os.environ.get("PORT", "8080")))
