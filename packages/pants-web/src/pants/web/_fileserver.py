"""Serving the files in a directory (manual: "FileServer")."""

from __future__ import annotations

import contextlib
import functools
import os
import re
import time
from collections.abc import Iterable
from typing import Any, Final
from urllib.parse import unquote_to_bytes

from pants.http import HTTPRequest, Refused
from pants.http._answer import Fields
from pants.http._send_file import send_file, send_shortage
from pants.web import _listing, _pages
from pants.web._fileserver_listings import Page, listings_of
from pants.web._fileserver_root import IsADirectory, Root
from pants.web._fileserver_settings import (
    HTML,
    PYTHON_FILES,
    Names,
    checked_defaults,
    checked_directory,
    checked_headers,
)
from pants.web._urls import own_path
from pants.web.errors import HTTPException
from pants.web.module import Module

_METHODS: Final = ("GET", "HEAD")

# Paths of which it is remembered that they may be served: so many, and none longer than this.
_MOST_KNOWN: Final = 1024
_LONGEST_KNOWN: Final = 256

# Seconds after which a directory that was changed is known to have another time if it is changed again: systems count
# it in steps of up to 10 ms.
_SETTLED: Final = 0.1


class FileServer:
    """Serves the files in a directory, and lists them (manual: "FileServer").

    It is a request handler for `pants.http.HTTPServer`, and then serves its directory as a whole site; or it is
    attached to an `Application`, below a path. As a view of a route of one's own it takes the last variable of the
    rule for the path of the file, percent-decoded.

    Everything is done that `pants.http.HTTPRequest.send_file` does: conditions, ranges, and the server's ``sendfile``,
    for which the directory has to be below the server's ``file_root``.

    - A path with an empty segment, ``.`` or ``..`` in it, or with an encoded slash, is a 404. So is what is no regular
      file, or lies outside of the directory because a symbolic link leads there. Nothing that is there can make it
      wait, and nothing but regular files is ever opened: no writer of a FIFO is let in, no device is touched.
    - What is on the blacklist, or hidden, is a 403, whether it exists or not, and so is all below it. So is what
      symbolic links lead to under another name, if its own in the directory is such a one. What may not be read is a
      403 too.
    - A directory without a slash at its end is redirected to where it has one.
    - Listings have a bounded part of each turn of the engine, however many are asked for. One that takes several turns
      is shared by all who ask for it meanwhile, and for a second more if nothing was added to the directory, removed
      or renamed. It is not made to its end if the client goes away, or ends its side of the connection.

    Args:
        path: The directory. A relative one starts at the working directory of this moment. It may be a symbolic link
            that is changed later.
        blacklist: Regular expressions, compiled or as str. What one is found in (`re.search`) is not served, nor is
            anything below it: in the name of a file, and of each directory on the way to it. One that has a slash in it
            is looked for in their paths too, below the root, with and without a slash at the beginning.
        defaults: The names of files of which the first that exists, and may be served, is so for a directory, in place
            of a listing.
        listing: Whether directories are listed. If not, those without a default file are a 403.
        hidden: Whether names that begin with a dot are served, and listed. ``.well-known`` is, in any case.
        precompressed: Whether a neighbour ``.br``, ``.zst`` or ``.gz`` of a file is sent in its place, to whoever takes
            that: see `pants.http.HTTPRequest.send_file`. One that is not served itself is not.
        follow_symlinks: Whether symbolic links may lead out of the directory, wherever that is. What things are called
            there is no matter of the blacklist.
        max_age: Seconds for which files may be used again without asking (``Cache-Control: max-age``). By default
            nothing is said of it.
        headers: Headers to send with files, in place of those that are made here; and with listings, but those that say
            something about the content or for how long it may be kept.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: A pattern is none; a default is no name; ``max_age`` is below 0, or goes with a Cache-Control of
            yours; a header cannot be sent.
        OSError: ``path`` is no directory (NotADirectoryError, FileNotFoundError), or cannot be reached.

    Example:
        >>> import tempfile
        >>> from pants.web import Application, FileServer
        >>> app = Application()
        >>> with tempfile.TemporaryDirectory() as directory:
        ...     FileServer(directory).attach(app, "/files/")
    """

    #: The directory, as an absolute path.
    path: str
    #: The patterns of what is not served.
    blacklist: tuple[re.Pattern[str], ...]
    #: The names of files that are served for a directory.
    defaults: tuple[str, ...]

    def __init__(
        self,
        path: str | os.PathLike[str],
        blacklist: Iterable[str | re.Pattern[str]] = (PYTHON_FILES,),
        defaults: Iterable[str] = ("index.html", "index.htm"),
        *,
        listing: bool = True,
        hidden: bool = False,
        precompressed: bool = False,
        follow_symlinks: bool = False,
        max_age: int | None = None,
        headers: Fields | None = None,
    ) -> None:
        self.path = checked_directory(path)
        self._names = Names(blacklist, hidden)
        self.blacklist = self._names.blacklist
        self.defaults = checked_defaults(defaults)
        self._lists = listing
        self._precompressed = precompressed
        self._file_fields, self._listing_fields = checked_headers(headers, max_age)
        self._root = Root(self.path, follow_symlinks, self._names.check)
        self._known: dict[str, str] = {}  # paths below the root that may be served, as absolute ones

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.path!r}>"

    # --- In an application ----------------------------------------------------------------------------------------

    def attach(self, app: Module, path: str = "/static/", *, rule: str | None = None, name: str | None = None) -> None:
        """Serve the directory below a path of an application (manual: "FileServer.attach").

        Below it is the whole directory; other routes of the application go first where their rules say more. The path
        without the slash at its end is redirected to that with it, unless it has a route.

        Args:
            app: The `Application`, or a `Module` of one.
            path: The path. As the beginning of any rule it may have a domain before it, and variables in it.
            rule: The same; another name that the manual has for it.
            name: The name of the route, for `url_for`: then ``url_for("static", "css/page.css")`` is the URL of a file.
                By default it is made of the path: ``static`` for ``/static/``, ``a_b`` for ``/a/b/``; ``a_b_2`` if that
                is taken.

        Raises:
            TypeError: An argument is of the wrong type.
            ValueError: The path is no rule, has a route already, or the name has been given to another function.
        """
        if rule is not None:
            path = rule
        if not isinstance(app, Module):
            raise TypeError(f"a FileServer is attached to an Application or a Module, not to {app!r}")
        if not isinstance(path, str):
            raise TypeError(f"path is a str, as '/static/', not {path!r}")
        if "/" not in path:
            raise ValueError(f"path begins with a slash, or with a domain and a slash, unlike {path!r}")
        path = f"{path.rstrip('/')}/"
        if name is None:
            name = _free_name(app, re.sub(r"\W+", "_", path).strip("_") or "files")
        app.route(f"{path}<path:path=>", name=name, methods=_METHODS, func=self)
        if path.count("/") > 1:
            with contextlib.suppress(ValueError):  # there is something else already
                app.route(path[:-1], name=f"{name}_without_slash", methods=_METHODS, func=_redirect_to_slash)

    # --- Requests -------------------------------------------------------------------------------------------------

    def __call__(self, request: HTTPRequest, *values: Any) -> None:
        """Answer a request.

        Args:
            request: The request.
            *values: What the variables of a rule have captured; the last is the path of the file.

        Raises:
            Refused, HTTPException: The request is answered with an error, by the application.
            TypeError: The last value is not a str.
            RuntimeError: The request's rule has no variable.
        """
        if values:
            self._serve(request, values[-1], True)
        elif request.match is not None:
            groups = request.match.groups()
            if not groups:
                raise RuntimeError(f"{self!r} serves what the last variable of a rule has captured; use attach()")
            self._serve(request, groups[-1] or "", True)
        else:
            self._handle(request)

    def _handle(self, request: HTTPRequest) -> None:
        """Answer a request without an application, errors included."""
        try:
            if request.method == "OPTIONS":
                request.send_response("", 204, headers={"Allow": "GET, HEAD, OPTIONS"})
                return
            path = request.path
            if "%" in path or not path.isascii():
                path = os.fsdecode(unquote_to_bytes(path.encode("latin-1")))
            self._serve(request, path[1:], False)
        except Refused as refused:
            request.send_response(_pages.error_page(refused.status, f"{refused.reason}."), refused.status, HTML)
        except HTTPException as error:
            request.send_response(_pages.error_page(error.status), error.status, HTML, error.headers)

    def _serve(self, request: HTTPRequest, name: str, in_application: bool) -> None:
        """Answer a request.

        Args:
            request: The request.
            name: The path of the file below the root, decoded.
            in_application: Whether an application has found the path.

        Raises:
            Refused, HTTPException, TypeError: As of `__call__`.
        """
        if request.method not in _METHODS:
            raise HTTPException(405, None, {"Allow": "GET, HEAD"})
        if "%" in request.url and _has_encoded_slash(request.path, name):
            raise Refused(404, "There is no such file")
        path = self._known.get(name)
        is_new = path is None
        if path is None:
            if not isinstance(name, str):
                raise TypeError(f"{self!r} serves a path that is a str, as of the converter 'path', not {name!r}")
            self._names.check(name)
            path = self._root.base + name
        try:
            if path.endswith("/"):
                self._serve_directory(request, name, path, in_application)
            else:
                self._send(request, path)
        except IsADirectory:
            _redirect_to_slash(request)
        if is_new and len(self._known) < _MOST_KNOWN and len(name) <= _LONGEST_KNOWN:
            self._known[name] = path

    def _send(self, request: HTTPRequest, path: str) -> None:
        send_file(
            request,
            path,
            None,
            True,
            self._file_fields,
            precompressed=self._precompressed,
            opener=self._root.open,
            may_send=self._may_send,
        )

    def _may_send(self, path: str) -> bool:
        """Tell whether a neighbour of a file may be sent, by its path."""
        above, slash, name = path[len(self._root.base) :].rpartition("/")
        return self._names.allow(name, above + slash)

    # --- Directories ----------------------------------------------------------------------------------------------

    def _serve_directory(self, request: HTTPRequest, name: str, path: str, in_application: bool) -> None:
        """Answer a request for a directory: with a default file, or a listing.

        Args:
            request: The request.
            name: The path of the directory below the root.
            path: Its absolute path.
            in_application: Whether an application has found the path.
        """
        for default in self.defaults:
            if not self._names.allow(default, name):
                continue
            try:
                self._send(request, path + default)
                return
            except IsADirectory:
                continue
            except Refused as refused:
                if refused.status != 404:
                    raise
        try:
            descriptor, below = self._root.open_directory(path)
        except OSError as error:
            send_shortage(request, error)
            return
        if not self._lists:
            os.close(descriptor)
            raise Refused(403, "This directory is not listed")
        place = _place_of(request, name, links_all=not in_application)
        status = os.fstat(descriptor)
        key = None
        if time.time() - status.st_mtime > _SETTLED:
            key = (self, place, status.st_dev, status.st_ino, status.st_mtime_ns, status.st_ctime_ns)
        # What links have led to has names of its own.
        allows = functools.partial(self._allows, above={name} if below is None else {name, below})
        follow = functools.partial(self._root.follow, directory=descriptor, path=path)
        steps = _listing.make_page(descriptor, place, allows, follow)
        listings_of(request.connection.engine).answer(request, Page(key, self._listing_fields, steps))

    def _allows(self, name: str, above: set[str]) -> bool:
        """Tell whether something is listed.

        Args:
            name: Its name.
            above: The paths of its directory below the root.
        """
        return all(self._names.allow(name, path) for path in above)


def _free_name(app: Module, name: str) -> str:
    """Return a name that no route of a module has: this one, or one with a number behind it."""
    names = (name, *(f"{name}_{number}" for number in range(2, len(app._routes) + 3)))
    return next(name for name in names if name not in app._routes)


def _place_of(request: HTTPRequest, name: str, links_all: bool) -> _listing.Place:
    """Tell where a directory is, for its listing."""
    names = tuple(name.split("/")[:-1])
    here = unquote_to_bytes(request.path.encode("latin-1")).decode(errors="replace")
    root = "/".join(here.split("/")[: -1 - len(names)]) + "/"
    return _listing.Place(root, names, _listing.find_order(request.query), links_all)


def _redirect_to_slash(request: HTTPRequest, *_values: object) -> None:
    """Send the client to the same path with a slash at its end."""
    query = f"?{request.query}" if request.query else ""
    location = f"{own_path(request.script_name + request.path)}/{query}"
    request.send_response("", 301, "text/plain", {"Location": location})


def _has_encoded_slash(path: str, name: str) -> bool:
    """Tell whether a slash in the path of a file is an encoded one, which divides nothing (RFC 3986 §2.2).

    Args:
        path: The request's path, as it was sent.
        name: What is at its end, decoded.
    """
    return "%2f" in path.lower() and any("%2f" in part.lower() for part in path.split("/")[-1 - name.count("/") :])
