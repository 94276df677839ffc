"""Web applications on Pants (manual: "pants.web"): so far an `Application` with rules that are plain paths."""

from pants.web.application import Application

__all__ = ["Application"]
