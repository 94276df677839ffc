"""pants-core as it is installed: what it needs of Pants, and that nothing else of Pants came along."""

from __future__ import annotations

import importlib.metadata
import importlib.resources
import re

import pants


def test_it_needs_nothing_of_pants() -> None:
    needed = importlib.metadata.requires("pants-core") or []
    assert [line for line in needed if re.match("pants-", line)] == []


def test_nothing_else_of_pants_is_installed_beside_it(layers: set[str]) -> None:
    assert layers == {"pants"}


def test_type_checkers_may_read_it() -> None:
    assert (importlib.resources.files(pants) / "py.typed").is_file()


def test_the_version_is_the_one_it_was_released_under() -> None:
    assert pants.__version__ == importlib.metadata.version("pants-core")


def test_the_first_page_s_names_are_here() -> None:
    assert {name for name in pants.__all__ if isinstance(getattr(pants, name), type)} == {
        "Engine",
        "Server",
        "Stream",
    }
