"""The distributions, built once per session, and fresh environments to install them into."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
import venv
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Distribution:
    """One of the six, as its pyproject.toml has it."""

    name: str
    path: Path
    module: str
    siblings: tuple[str, ...]
    dependencies: tuple[str, ...]
    extras: dict[str, tuple[str, ...]]

    @property
    def optional(self) -> list[str]:
        """What its extras ask for, taken together."""
        return [requirement for requirements in self.extras.values() for requirement in requirements]

    @property
    def closure(self) -> set[str]:
        """The names of this distribution and of those of the others that come with it."""
        return {self.name}.union(*(DISTRIBUTIONS[sibling].closure for sibling in self.siblings))

    def file_in(self, folder: Path) -> Path:
        """Its one file (wheel or sdist) among those in the folder."""
        (file,) = folder.glob(self.name.replace("-", "_") + "-*")
        return file


def read_distribution(path: Path) -> Distribution:
    with open(path / "pyproject.toml", "rb") as file:
        settings = tomllib.load(file)
    hook = settings["tool"]["hatch"]["metadata"]["hooks"]["custom"]
    name = settings["project"]["name"]
    return Distribution(
        name=name,
        path=path,
        module="pants" if name == "pants-core" else name.replace("-", "."),
        siblings=tuple(hook["siblings"]),
        dependencies=tuple(hook["dependencies"]),
        extras={
            extra: tuple(requirements)
            for extra, requirements in settings["project"].get("optional-dependencies", {}).items()
        },
    )


DISTRIBUTIONS = {
    found.name: found
    for found in (read_distribution(file.parent) for file in sorted(ROOT.glob("packages/*/pyproject.toml")))
}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that takes `distribution` runs once for each."""
    if "distribution" in metafunc.fixturenames:
        metafunc.parametrize("distribution", DISTRIBUTIONS.values(), ids=DISTRIBUTIONS.keys())


@pytest.fixture(scope="session")
def distributions() -> dict[str, Distribution]:
    """All distributions by name."""
    return DISTRIBUTIONS


@pytest.fixture(scope="session")
def version() -> str:
    """The version that all distributions are to have."""
    source = (ROOT / "packages/pants-core/src/pants/_version.py").read_text()
    found = re.search(r'^__version__ = "([^"]+)"$', source, re.MULTILINE)
    assert found is not None
    return found[1]


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return ROOT


def run(*command: str | Path, **options: Any) -> str:
    """Runs a program; its output is returned, or shown in the failure if it fails."""
    # These would make Pants, or anything else, visible in environments that are meant to be fresh.
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONHOME")}
    done: subprocess.CompletedProcess[str] = subprocess.run(
        [str(word) for word in command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
        check=False,
        **options,
    )
    if done.returncode:
        pytest.fail(f"{' '.join(str(word) for word in command)}\nended with {done.returncode}:\n{done.stdout}")
    return done.stdout


@dataclass(frozen=True)
class Environment:
    """A virtual environment that holds nothing but what is installed into it, not even pip."""

    path: Path
    wheelhouse: Path

    @property
    def python(self) -> Path:
        return self.path / "bin" / "python"

    def install(self, *what: str | Path, links: Iterable[Path] = ()) -> None:
        """Installs from the given folders and the wheels of other projects, and from nowhere else.

        In particular not from the network: what is tried is the build at hand, never a release of the same name.
        """
        options = [f"--find-links={folder}" for folder in (*links, self.wheelhouse)]
        run(sys.executable, "-m", "pip", "-qq", "--disable-pip-version-check", "--python", self.python,
            "install", "--no-index", *options, *what)  # fmt: skip

    def look(self, code: str) -> Any:
        """Runs code in the environment, away from the checkout, and returns what it prints as JSON."""
        return json.loads(run(self.python, "-I", "-W", "error", "-c", code, cwd=self.path))


@pytest.fixture(scope="session")
def wheelhouse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Wheels of all that the distributions need from other projects, for their builds as well. Uses the network."""
    folder = tmp_path_factory.mktemp("wheelhouse")
    needed = {requirement for each in DISTRIBUTIONS.values() for requirement in (*each.dependencies, *each.optional)}
    # editables is what hatchling asks for when it makes an editable install.
    run(sys.executable, "-m", "pip", "-qq", "--disable-pip-version-check", "wheel", f"--wheel-dir={folder}",
        "hatchling>=1.27", "editables", *sorted(needed))  # fmt: skip
    return folder


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel of every distribution, built from the checkout."""
    return build("wheel", tmp_path_factory.mktemp("wheels"))


@pytest.fixture(scope="session")
def sdists(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist of every distribution."""
    return build("sdist", tmp_path_factory.mktemp("sdists"))


def build(target: str, folder: Path) -> Path:
    for distribution in DISTRIBUTIONS.values():
        run(sys.executable, "-m", "hatchling", "build", "--target", target, "--directory", folder,
            cwd=distribution.path)  # fmt: skip
    return folder


@pytest.fixture(scope="session")
def wheels_from_sdists(tmp_path_factory: pytest.TempPathFactory, sdists: Path, wheelhouse: Path) -> Path:
    """A folder with the wheel of every distribution, each built from its sdist alone, as an installer does it."""
    folder = tmp_path_factory.mktemp("wheels_from_sdists")
    run(sys.executable, "-m", "pip", "-qq", "--disable-pip-version-check", "wheel", "--no-deps", "--no-index",
        f"--find-links={wheelhouse}", f"--wheel-dir={folder}", *sorted(sdists.iterdir()))  # fmt: skip
    return folder


@pytest.fixture
def new_environment(tmp_path: Path, wheelhouse: Path) -> Callable[[], Environment]:
    """A function that makes an empty environment."""

    def make() -> Environment:
        path = tmp_path / "environment"
        venv.create(path, with_pip=False, symlinks=True)
        return Environment(path, wheelhouse)

    return make
