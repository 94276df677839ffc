"""Pants inside a Qt application. This is not built yet: the package holds nothing that could be used."""
