"""Each distribution, installed with what it needs and nothing else: it works, and the layers above it are absent.

From wheels, from sdists, and from mixtures of wheels and editable installs. What is tried is what was just built;
only the wheels of other projects come from outside.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .conftest import Distribution, Environment

MakeEnvironment = Callable[[], "Environment"]

# Prints which of Pants's packages can be imported and from where, and which distributions are installed.
LOOK = """
import importlib, importlib.metadata, json
found = {}
for name in MODULES:
    try:
        found[name] = importlib.import_module(name).__file__
    except ModuleNotFoundError as error:
        # Absent is one thing, present but in want of something else is another.
        if not (name + ".").startswith(error.name + "."):
            raise
installed = {each.metadata["Name"]: each.version for each in importlib.metadata.distributions()}
print(json.dumps([found, {name: installed[name] for name in installed if name.startswith("pants-")}]))
"""


def check(
    environment: Environment, distributions: dict[str, Distribution], expected: set[str], version: str
) -> dict[str, Path]:
    """Sees that the environment has the expected part of Pants and no more; returns the file of each module."""
    modules = [each.module for each in distributions.values()]
    found, versions = environment.look(LOOK.replace("MODULES", repr(modules)))
    assert set(found) == {distributions[name].module for name in expected}
    assert versions == dict.fromkeys(expected, version)
    return {module: Path(file) for module, file in found.items()}


def test_from_wheels(
    distribution: Distribution,
    distributions: dict[str, Distribution],
    wheels: Path,
    new_environment: MakeEnvironment,
    version: str,
) -> None:
    environment = new_environment()
    environment.install(distribution.file_in(wheels), links=[wheels])
    check(environment, distributions, distribution.closure, version)
    assert environment.look("import json, pants; print(json.dumps(pants.__version__))") == version


def test_from_sdists(
    distribution: Distribution,
    distributions: dict[str, Distribution],
    wheels_from_sdists: Path,
    new_environment: MakeEnvironment,
    version: str,
) -> None:
    environment = new_environment()
    environment.install(distribution.file_in(wheels_from_sdists), links=[wheels_from_sdists])
    check(environment, distributions, distribution.closure, version)


@pytest.mark.parametrize(
    "editable",
    [
        ["pants-core"],
        ["pants-http"],
        ["pants-core", "pants-web"],
        ["pants-http", "pants-contrib-telnet"],
        ["pants-core", "pants-contrib-irc", "pants-contrib-qt"],
    ],
    ids="+".join,
)
def test_from_a_mixture_of_editable_installs_and_wheels(
    editable: list[str],
    distributions: dict[str, Distribution],
    wheels: Path,
    new_environment: MakeEnvironment,
    version: str,
    root: Path,
) -> None:
    """The package pants and the namespace pants.contrib are found whole, however their portions are installed."""
    environment = new_environment()
    paths = [word for name in editable for word in ("--editable", distributions[name].path)]
    others = [each.file_in(wheels) for name, each in distributions.items() if name not in editable]
    environment.install(*paths, *others)
    files = check(environment, distributions, set(distributions), version)
    from_checkout = {module for module, file in files.items() if file.is_relative_to(root / "packages")}
    assert from_checkout == {distributions[name].module for name in editable}


def test_a_sibling_of_another_version_is_refused(
    distributions: dict[str, Distribution], wheels: Path, new_environment: MakeEnvironment, tmp_path: Path
) -> None:
    """The pins hold: pants-http does not install beside a pants-core that it was not released with."""
    core = distributions["pants-core"].file_in(wheels)
    links = tmp_path / "links"
    links.mkdir()
    (links / distributions["pants-http"].file_in(wheels).name).symlink_to(distributions["pants-http"].file_in(wheels))
    environment = new_environment()
    with pytest.raises(pytest.fail.Exception, match="pants-core=="):
        environment.install("pants-http", links=[links])
    environment.install(core)
    environment.install("pants-http", links=[links])


def test_extras(distributions: dict[str, Distribution], wheels: Path, new_environment: MakeEnvironment) -> None:
    """pants-http does without what its extras bring, and uses it where it is there."""
    http = distributions["pants-http"]
    wheel = http.file_in(wheels)
    look = "import json, pants.http._compression as c; print(json.dumps(c.Compression().codings))"
    environment = new_environment()
    environment.install(wheel, links=[wheels])
    assert set(environment.look(look)) == ({"gzip"} if sys.version_info < (3, 14) else {"gzip", "zstd"})
    environment.install(f"{wheel}[{','.join(http.extras)}]", links=[wheels])
    assert environment.look(look) == ["br", "zstd", "gzip"]
