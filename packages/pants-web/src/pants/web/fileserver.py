"""A server of files (manual: "pants.web.fileserver"): `FileServer`, and a command.

``python -m pants.web.fileserver --help`` tells how it is used.
"""

from pants.web._fileserver import FileServer

__all__ = ["FileServer"]

if __name__ == "__main__":
    import sys

    from pants.web._fileserver_command import main

    sys.exit(main())
