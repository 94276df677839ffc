"""IRC for Pants. This is not built yet: the package holds nothing that could be used."""
