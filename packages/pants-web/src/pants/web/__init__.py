"""Web applications on Pants (manual: "pants.web"): so far an `Application`, and converters for its rules."""

from pants.web.application import Application
from pants.web.converters import Converter, register_converter

__all__ = ["Application", "Converter", "register_converter"]
