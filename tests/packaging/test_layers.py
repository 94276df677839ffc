"""Imports run down only: web -> http -> core, contrib -> core. Read from the sources, whether or not they run.

Imports of other projects are held against what a distribution says it needs.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .conftest import Distribution


# Every type checker brings it, nothing installs it, and it can be imported under TYPE_CHECKING only.
STUBS_ONLY = {"_typeshed"}

# What the standard library has in a later version than that which runs this.
LATER = {"compression"}


def find_violations(sources: dict[str, Path], distributions: dict[str, Distribution]) -> list[str]:
    """Reads every module below the folders, one folder per distribution, and tells which imports are not allowed."""
    files = {name: sorted(folder.rglob("*.py")) for name, folder in sources.items()}
    owners = {module_name(file, sources[name]): name for name in sources for file in files[name]}
    violations = []
    for name, folder in sources.items():
        for file in files[name]:
            for line, imported in find_imports(file, folder, owners):
                if complaint := judge(imported, distributions[name], owners):
                    violations.append(f"{name}: {file.relative_to(folder)}:{line}: {complaint}")
    return violations


def judge(module: str, importer: Distribution, owners: dict[str, str]) -> str | None:
    """What is wrong with that distribution importing that module; None if nothing is."""
    top = module.partition(".")[0]
    if top == "pants":
        owner = owners.get(module)
        if owner is None:
            return f"no distribution has {module}"
        return None if owner in importer.closure else f"{module} is in {owner}, which is not below"
    # That what an extra brings is not missed where it is not installed, test_installing tells.
    requirements = (*importer.dependencies, *importer.optional)
    needed = {re.split(r"[^\w-]", requirement)[0].replace("-", "_") for requirement in requirements}
    allowed = sys.stdlib_module_names | LATER | needed | STUBS_ONLY
    return None if top in allowed else f"{top} is not among its dependencies"


def find_imports(file: Path, folder: Path, owners: dict[str, str]) -> Iterator[tuple[int, str]]:
    """Line and full module name of each import, wherever it stands: in functions and under TYPE_CHECKING too."""
    package = module_name(file, folder) if file.name == "__init__.py" else module_name(file, folder).rpartition(".")[0]
    for node in ast.walk(ast.parse(file.read_bytes(), file)):
        match node:
            case ast.Import():
                for alias in node.names:
                    yield node.lineno, alias.name
            case ast.ImportFrom():
                base = node.module or ""
                if node.level:
                    above = package.split(".")[: len(package.split(".")) - node.level + 1]
                    base = ".".join([*above, *filter(None, [node.module])])
                for alias in node.names:
                    # What follows `import` is a module, or else something in the module before it.
                    inner = f"{base}.{alias.name}"
                    yield node.lineno, inner if inner in owners else base
            case ast.Call(
                func=ast.Name(id="__import__" | "import_module") | ast.Attribute(attr="import_module"),
                args=[ast.Constant(value=str(name)), *_],
            ):
                yield node.lineno, name


def module_name(file: Path, folder: Path) -> str:
    parts = file.relative_to(folder).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def test_imports_run_down_only(distributions: dict[str, Distribution]) -> None:
    sources = {name: each.path / "src" for name, each in distributions.items()}
    assert all(any(folder.rglob("*.py")) for folder in sources.values())
    assert find_violations(sources, distributions) == []


@pytest.mark.parametrize(
    "importer, statement, complaint",
    [
        ("pants-core", "import pants.http", "pants.http is in pants-http, which is not below"),
        ("pants-core", "from pants import http", "pants.http is in pants-http, which is not below"),
        ("pants-core", "from . import http", "pants.http is in pants-http, which is not below"),
        ("pants-core", "from .http import server", "pants.http.server is in pants-http, which is not below"),
        ("pants-core", "def f():\n    from pants.web import Application", "pants.web is in pants-web"),
        (
            "pants-core",
            "if TYPE_CHECKING:\n    import pants.contrib.irc",
            "pants.contrib.irc is in pants-contrib-irc",
        ),
        ("pants-core", "importlib.import_module('pants.web')", "pants.web is in pants-web"),
        ("pants-core", "__import__('pants.web')", "pants.web is in pants-web"),
        ("pants-core", "import httptools", "httptools is not among its dependencies"),
        ("pants-core", "import brotli", "brotli is not among its dependencies"),
        ("pants-core", "from pants.nowhere import x", "no distribution has pants.nowhere"),
        ("pants-http", "from pants.web import Application", "pants.web is in pants-web, which is not below"),
        ("pants-http", "from ..web import Application", "pants.web is in pants-web, which is not below"),
        ("pants-http", "import pants.contrib.irc", "pants.contrib.irc is in pants-contrib-irc"),
        ("pants-contrib-irc", "import pants.http.server", "pants.http.server is in pants-http"),
        (
            "pants-contrib-irc",
            "from pants.contrib import telnet",
            "pants.contrib.telnet is in pants-contrib-telnet",
        ),
        ("pants-contrib-qt", "from PySide6 import QtCore", "PySide6 is not among its dependencies"),
        ("pants-core", "from pants.engine import Engine", None),
        ("pants-core", "from .engine import Engine", None),
        ("pants-core", "import netstruct, os.path", None),
        ("pants-http", "from pants import Engine", None),
        ("pants-http", "def f():\n    import brotli, zstandard", None),
        ("pants-http", "from compression import zstd", None),
        ("pants-http", "from . import server", None),
        ("pants-http", "from .. import engine", None),
        ("pants-web", "import pants.http.server, pants.engine", None),
        ("pants-contrib-irc", "from ...engine import Engine", None),
        ("pants-contrib-qt", "from qtpy import QtCore", None),
    ],
)
def test_the_reader_tells_good_imports_from_bad(
    importer: str,
    statement: str,
    complaint: str | None,
    distributions: dict[str, Distribution],
    tmp_path: Path,
) -> None:
    """A planted import is found out in all its forms, and none is called bad that is not."""
    sources = {name: tmp_path / name for name in distributions}
    for name, each in distributions.items():
        portion = sources[name] / each.module.replace(".", "/")
        portion.mkdir(parents=True)
        (portion / "__init__.py").write_text("")
        (portion / {"pants-core": "engine.py", "pants-http": "server.py"}.get(name, "other.py")).write_text("")
    planted = sources[importer] / distributions[importer].module.replace(".", "/") / "__init__.py"
    planted.write_text(f"{statement}\n")
    found = find_violations(sources, distributions)
    if complaint is None:
        assert found == []
    else:
        assert len(found) == 1
        assert complaint in found[0]
