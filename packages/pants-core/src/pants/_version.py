"""The version of every Pants distribution; the other packages read it from here."""

__version__ = "2.0.0a1"
