"""What is in the wheels and sdists: the licence, the types, each file once, and metadata in lock-step."""

from __future__ import annotations

import email.message
import email.parser
import tarfile
import zipfile
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .conftest import Distribution


def names_in(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def metadata_in(wheel: Path) -> email.message.Message:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return email.parser.Parser().parsestr(archive.read(name).decode())


def test_there_are_six(distributions: dict[str, Distribution]) -> None:
    assert {name: each.siblings for name, each in distributions.items()} == {
        "pants-core": (),
        "pants-http": ("pants-core",),
        "pants-web": ("pants-http",),
        "pants-contrib-irc": ("pants-core",),
        "pants-contrib-telnet": ("pants-core",),
        "pants-contrib-qt": ("pants-core",),
    }


def test_the_metadata_pins_siblings_and_keeps_other_requirements(
    distribution: Distribution, wheels: Path, version: str
) -> None:
    metadata = metadata_in(distribution.file_in(wheels))
    pins = [f"{sibling}=={version}" for sibling in distribution.siblings]
    assert metadata["Version"] == version
    required = metadata.get_all("Requires-Dist", [])
    assert sorted(each for each in required if "extra ==" not in each) == sorted([*pins, *distribution.dependencies])
    assert metadata["Requires-Python"] == ">=3.11"


def test_the_metadata_has_the_extras(distribution: Distribution, wheels: Path) -> None:
    metadata = metadata_in(distribution.file_in(wheels))
    assert set(metadata.get_all("Provides-Extra", [])) == set(distribution.extras)
    for extra, requirements in distribution.extras.items():
        marked = [each for each in metadata.get_all("Requires-Dist", []) if f"extra == '{extra}'" in each]
        assert [each.partition(";")[0] for each in marked] == [each.partition(";")[0] for each in requirements]


def test_other_projects_have_a_lower_bound(distribution: Distribution) -> None:
    assert all(">=" in requirement for requirement in (*distribution.dependencies, *distribution.optional))


def test_the_license_is_in_it(distribution: Distribution, wheels: Path, sdists: Path, root: Path) -> None:
    wheel = distribution.file_in(wheels)
    metadata = metadata_in(wheel)
    assert (metadata["License-Expression"], metadata.get_all("License-File")) == ("Apache-2.0", ["LICENSE"])
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/licenses/LICENSE"))
        assert archive.read(name) == (root / "LICENSE").read_bytes()
    sdist = distribution.file_in(sdists)
    with tarfile.open(sdist) as archive:
        assert f"{sdist.name.removesuffix('.tar.gz')}/LICENSE" in archive.getnames()


def test_every_portion_is_marked_as_typed(distribution: Distribution, wheels: Path) -> None:
    names = names_in(distribution.file_in(wheels))
    marked = {str(PurePosixPath(name).parent) for name in names if PurePosixPath(name).name == "py.typed"}
    modules = [name for name in names if name.endswith(".py")]
    assert modules
    for module in modules:
        assert any(module.startswith(folder + "/") for folder in marked), f"{module} is below no py.typed"


def test_the_namespace_belongs_to_core(distribution: Distribution, wheels: Path) -> None:
    names = names_in(distribution.file_in(wheels))
    assert ("pants/__init__.py" in names) == (distribution.name == "pants-core")
    assert ("pants/py.typed" in names) == (distribution.name == "pants-core")
    assert "pants/contrib/__init__.py" not in names


def test_a_wheel_holds_its_own_packages_only(distribution: Distribution, wheels: Path) -> None:
    # `pants/http.py` would be as wrong as a folder: two ways to spell one module.
    own = {
        "pants-core": ("pants/",),
        "pants-http": ("pants/http/", "pants/contrib/http/"),
        "pants-web": ("pants/web/",),
        "pants-contrib-irc": ("pants/contrib/irc/",),
        "pants-contrib-telnet": ("pants/contrib/telnet/",),
        "pants-contrib-qt": ("pants/contrib/qt/",),
    }[distribution.name]
    names = {name for name in names_in(distribution.file_in(wheels)) if ".dist-info/" not in name}
    assert [name for name in sorted(names) if not name.startswith(own)] == []
    if distribution.name == "pants-core":
        above = ("pants/http", "pants/web", "pants/contrib")
        assert [name for name in sorted(names) if name.startswith(above)] == []


def test_no_two_wheels_hold_the_same_file(distributions: dict[str, Distribution], wheels: Path) -> None:
    """Installers overwrite such a file without a word, and uninstalling one distribution breaks the other."""
    owners: dict[str, str] = {}
    for distribution in distributions.values():
        for name in names_in(distribution.file_in(wheels)):
            assert name not in owners, f"{name} is in {owners[name]} and in {distribution.name}"
            owners[name] = distribution.name


def test_a_wheel_built_from_the_sdist_is_the_same(
    distribution: Distribution, wheels: Path, wheels_from_sdists: Path
) -> None:
    def contents(wheel: Path) -> dict[str, int]:
        with zipfile.ZipFile(wheel) as archive:
            return {entry.filename: entry.CRC for entry in archive.infolist()}

    assert contents(distribution.file_in(wheels)) == contents(distribution.file_in(wheels_from_sdists))


def test_an_sdist_holds_what_its_build_needs_and_no_more(distribution: Distribution, sdists: Path) -> None:
    sdist = distribution.file_in(sdists)
    with tarfile.open(sdist) as archive:
        names = [PurePosixPath(name) for name in archive.getnames()]
    assert {name.parts[0] for name in names} == {sdist.name.removesuffix(".tar.gz")}
    at_the_top = {name.parts[1] for name in names if len(name.parts) > 1}
    build_files = {"pyproject.toml", "hatch_build.py", "README.md", "LICENSE", "PKG-INFO", "src"}
    assert at_the_top - {".gitignore"} == build_files


def test_the_copies_are_copies(distribution: Distribution, distributions: dict[str, Distribution], root: Path) -> None:
    """Files that each package has to carry itself say the same in each."""
    hook = distributions["pants-core"].path / "hatch_build.py"
    assert (distribution.path / "hatch_build.py").read_bytes() == hook.read_bytes()
    assert (distribution.path / "LICENSE").read_bytes() == (root / "LICENSE").read_bytes()
