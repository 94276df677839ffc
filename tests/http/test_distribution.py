"""pants-http as it is installed: what it needs of Pants, and that nothing else of Pants came along."""

from __future__ import annotations

import importlib.metadata
import importlib.resources
import re

import pants.http


def test_it_needs_exactly_its_siblings_in_this_version() -> None:
    version = importlib.metadata.version("pants-http")
    needed = importlib.metadata.requires("pants-http") or []
    assert [line for line in needed if re.match("pants-", line)] == [f"pants-core=={version}"]


def test_nothing_else_of_pants_is_installed_beside_it(layers: set[str]) -> None:
    assert layers == {"pants", "pants.http"}


def test_type_checkers_may_read_it() -> None:
    assert (importlib.resources.files(pants.http) / "py.typed").is_file()
