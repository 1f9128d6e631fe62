"""tempo.json names the installed packages that a pipeline needs."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import pytest

from tempo_runtime.artifact import declaration


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of installed packages."""
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def install(packages: Path, folder: str, name: str, **files: str) -> None:
    (packages / folder).mkdir()
    named = "PKG-INFO" if folder.endswith(".egg-info") else "METADATA"
    (packages / folder / named).write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 3.2\n")
    for file, text in files.items():
        (packages / folder / file.replace("_txt", ".txt")).write_text(text)


RECORD = """\
Many/__init__.py,sha256=abc,12
Many/deep/inside.py,,
"many/with, comma.py",sha256=abc,12
alone.py,sha256=abc,12
many_data/text.txt,sha256=abc,12
../../../bin/program,sha256=abc,12
Many-3.2.dist-info/RECORD,,
"""


@pytest.mark.parametrize("module", ["Many", "Many.deep.inside", "alone"])
def test_a_package_is_known_by_the_files_of_its_record(packages: Path, module: str) -> None:
    install(packages, "Many-3.2.dist-info", "Many_", RECORD=RECORD)
    assert declaration.packages({module}) == {"Many_": "3.2"}


@pytest.mark.parametrize("module", ["many", "many_data", "deep", "sys", "Many_"])
def test_a_module_that_a_package_does_not_hold_is_not_its_own(packages: Path, module: str) -> None:
    install(packages, "Many-3.2.dist-info", "Many_", RECORD=RECORD)
    assert declaration.packages({module}) == {}


def test_its_list_of_modules_comes_before_its_record(packages: Path) -> None:
    install(packages, "of-3.2.dist-info", "of", top_level_txt="listed\n", RECORD=RECORD)
    assert declaration.packages({"listed.inside"}) == {"of": "3.2"}
    assert declaration.packages({"Many"}) == {}


def test_an_egg_is_known_by_its_files(packages: Path) -> None:
    (packages / "old.py").touch()
    install(packages, "egg-3.2.egg-info", "egg", SOURCES_txt="setup.py\nold.py\n")
    assert declaration.packages({"old"}) == {"egg": "3.2"}


def test_real_packages_have_their_installed_versions() -> None:
    names = {"numpy.linalg": "numpy", "yaml": "PyYAML", "sklearn": "scikit-learn"}
    names["typing_extensions"] = "typing_extensions"
    found = declaration.packages({*names, "json", "tempo_runtime", "nowhere"})
    assert found == {name: version(name) for name in names.values()}
