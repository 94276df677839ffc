"""Pants: an asynchronous network framework.

The distributions of Pants share this package: `pants-core` owns it, and brings the engine, streams and servers;
`pants-http` adds `pants.http`, `pants-web` adds `pants.web`, the others live in `pants.contrib`.
"""

# Before any import from pants: a sibling may be installed in another folder (an editable install, a user's
# site-packages), and only a path that names all of them finds `pants.http`.
__path__ = __import__("pkgutil").extend_path(__path__, __name__)

from pants._version import __version__
from pants.engine import Engine
from pants.server import Server
from pants.stream import Stream

__all__ = ["Engine", "Server", "Stream", "__version__"]
