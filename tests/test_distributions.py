"""The wheel and the sdist that a release uploads, installed where the repository is not."""

from __future__ import annotations

import email
import email.message
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from configparser import ConfigParser
from pathlib import Path

import pytest

from tests.helpers.made_once import made_once

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "tempo_runtime"
UV = Path(sys.executable).parent / "uv"
_PACKAGES = "lib/python{}.{}/site-packages".format(*sys.version_info)


def _build(folder: Path) -> None:
    """Builds both from a copy of the sources, so that no build leaves anything in the repository."""
    sources = folder / "sources"
    shutil.copytree(
        PACKAGE, sources / "tempo_runtime", ignore=shutil.ignore_patterns("__pycache__")
    )
    for path in ROOT.iterdir():
        if path.is_file():
            shutil.copy(path, sources)
    (sources / "tests").mkdir()
    shutil.copy(__file__, sources / "tests")  # which setuptools would put into an sdist
    for kind in ("--wheel", "--sdist"):  # not the wheel of the sdist: each must be whole by itself
        run(UV, "build", "--quiet", kind, "--out-dir", folder / "dist", sources)


def _install_dependencies(folder: Path) -> None:
    """Makes an environment of what the package requires, in the versions that run here, and pytest."""
    (wheel,) = (folder.parent / "distributions/dist").glob("*.whl")
    installed = run(UV, "pip", "freeze", "--python", sys.executable, "--exclude-editable")
    (folder / "constraints.txt").write_text(installed)
    install = (UV, "pip", "install", "--quiet", "--python", folder / "venv")
    run(UV, "venv", "--quiet", "--python", sys.executable, folder / "venv")
    run(*install, "--constraint", folder / "constraints.txt", wheel, "pytest")
    run(UV, "pip", "uninstall", "--quiet", "--python", folder / "venv", "tempo_runtime")


@pytest.fixture(scope="module", name="built")
def built_distributions(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = made_once(tmp_path_factory, "distributions", _build) / "dist"
    (wheel,), (sdist,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    return {"wheel": wheel, "sdist": sdist}


class Installed:
    """A virtual environment in which one of the two is installed.

    The bytecode of its dependencies is shared with the other: they lie in an environment that both see.
    """

    def __init__(self, folder: Path, distribution: Path, dependencies: Path) -> None:
        run(UV, "venv", "--quiet", "--python", sys.executable, folder)
        self.packages = folder / _PACKAGES
        (self.packages / "dependencies.pth").write_text(f"{dependencies / _PACKAGES}\n")
        run(UV, "pip", "install", "--quiet", "--no-deps", "--python", folder, distribution)
        self._bin = folder / "bin"

    def python(self, *arguments: str, cwd: Path) -> str:
        return run(self._bin / "python", *arguments, cwd=cwd)

    def command(self, *arguments: str, cwd: Path, code: int = 0) -> str:
        return run(self._bin / "tempo-runtime", *arguments, cwd=cwd, code=code)


@pytest.fixture(scope="module", params=["wheel", "sdist"])
def installed(
    request: pytest.FixtureRequest,
    built: dict[str, Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Installed:
    dependencies = made_once(tmp_path_factory, "dependencies", _install_dependencies) / "venv"
    folder = tmp_path_factory.mktemp(request.param) / "venv"
    return Installed(folder, built[request.param], dependencies)


def run(*command: str | Path, cwd: Path | None = None, code: int = 0) -> str:
    # Not PYTHONPATH, nor what makes coverage follow: both would import the repository's package.
    kept = {
        k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "COV", "VIRTUAL_ENV"))
    }
    done = subprocess.run(command, cwd=cwd, env=kept, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


def names_in(distribution: Path) -> set[str]:
    """The files of the package, and no other."""
    if distribution.suffix == ".whl":
        with zipfile.ZipFile(distribution) as archive:
            names = archive.namelist()
    else:
        with tarfile.open(distribution) as archive:
            files = (member for member in archive.getmembers() if member.isfile())
            names = [member.name.partition("/")[2] for member in files]
    return {name for name in names if name.startswith("tempo_runtime/")}


def metadata_of(distribution: Path) -> email.message.Message:
    if distribution.suffix == ".whl":
        with zipfile.ZipFile(distribution) as archive:
            (name,) = (name for name in archive.namelist() if name.endswith("/METADATA"))
            return email.message_from_bytes(archive.read(name))
    with tarfile.open(distribution) as archive:
        file = archive.extractfile(distribution.name.removesuffix(".tar.gz") + "/PKG-INFO")
        assert file is not None
        return email.message_from_bytes(file.read())


@pytest.mark.parametrize("kind", ["wheel", "sdist"])
def test_it_has_every_file_of_the_package(built: dict[str, Path], kind: str) -> None:
    files = {
        str(path.relative_to(ROOT))
        for path in PACKAGE.rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    assert names_in(built[kind]) == files


def test_the_wheel_installs_the_package_alone(built: dict[str, Path]) -> None:
    with zipfile.ZipFile(built["wheel"]) as archive:
        roots = {name.partition("/")[0] for name in archive.namelist()}
    assert {re.sub(r"-.*\.", ".", root) for root in roots} == {
        "tempo_runtime",
        "tempo_runtime.dist-info",
    }


def test_the_sdist_has_what_readers_expect_and_no_tests(built: dict[str, Path]) -> None:
    with tarfile.open(built["sdist"]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"README.md", "LICENSE", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"} <= names
    assert {"setup.cfg", "pyproject.toml"} <= names
    assert [name for name in names if name.startswith("tests")] == []


@pytest.mark.parametrize("kind", ["wheel", "sdist"])
def test_its_metadata_is_that_of_setup_cfg(built: dict[str, Path], kind: str) -> None:
    config = ConfigParser()
    config.read(ROOT / "setup.cfg")
    metadata = metadata_of(built[kind])
    assert metadata["Name"] == config["metadata"]["name"]
    assert metadata["Summary"] == config["metadata"]["description"]
    assert metadata["License"] == config["metadata"]["license"]
    assert set(metadata["Keywords"].split(",")) == set(config["metadata"]["keywords"].split(", "))
    urls = [line.replace(" = ", ", ") for line in config["metadata"]["project_urls"].split("\n")]
    assert metadata.get_all("Project-URL") == urls[1:]
    assert metadata.get_all("Provides-Extra") == list(config["options.extras_require"])
    assert metadata["Description-Content-Type"] == "text/markdown"


def test_an_index_takes_both(built: dict[str, Path]) -> None:
    run(sys.executable, "-m", "twine", "check", "--strict", *built.values())


_IMPORTS = """
import importlib
for module in ("tempo_runtime", "tempo_runtime.kubernetes", "tempo_runtime.testing"):
    loaded = importlib.import_module(module)
    print(loaded.__file__)
    for name in loaded.__all__:
        getattr(loaded, name)
"""


def test_every_public_name_imports(installed: Installed, tmp_path: Path) -> None:
    for line in installed.python("-W", "ignore", "-c", _IMPORTS, cwd=tmp_path).splitlines():
        assert line.startswith(f"{installed.packages}/")


_HELP = """
import click
from click.testing import CliRunner
from tempo_runtime.cli import main

def show(command, *path):
    done = CliRunner().invoke(main, [*path, "--help"])
    assert done.exit_code == 0 and "Usage:" in done.output, (path, done.output)
    print(*path)
    if isinstance(command, click.Group):
        for name, below in command.commands.items():
            show(below, *path, name)

show(main)
"""


def test_each_command_has_its_help(installed: Installed, tmp_path: Path) -> None:
    text = installed.command("--help", cwd=tmp_path)
    shown = installed.python("-W", "ignore", "-c", _HELP, cwd=tmp_path).splitlines()
    assert len(shown) > 20
    assert [path for path in shown[1:] if " " not in path and f"  {path} " not in text] == []


def test_init_writes_each_file_of_the_template(installed: Installed, tmp_path: Path) -> None:
    installed.command("init", "shop", cwd=tmp_path)
    template = PACKAGE / "cli/project/template"
    expected = {
        str(path.relative_to(template)).removesuffix(".template").replace("gitignore", ".gitignore")
        for path in template.rglob("*.template")
    }
    written = {str(path.relative_to(tmp_path / "shop")) for path in tmp_path.rglob("shop/**/*")}
    assert expected <= written


def test_lint_knows_the_fields_of_the_platforms(installed: Installed, tmp_path: Path) -> None:
    (tmp_path / "model.yaml").write_text(
        "apiVersion: mlops.seldon.io/v1alpha1\nkind: Model\nmetadata: {name: shop}\n"
        "spec: {storageUri: 's3://models/shop', requirments: [sklearn]}\n"
    )
    found = installed.command("lint", "model.yaml", "--json", cwd=tmp_path, code=1)
    assert "field-unknown" in found
    assert "requirments" in found


def test_type_checkers_see_its_annotations(installed: Installed) -> None:
    assert (installed.packages / "tempo_runtime/py.typed").is_file()


_PIPELINE = """
from tempo_runtime import pipeline


@pipeline("double", local_folder="artifact")
def double(number: int) -> int:
    return 2 * number
"""
_ROUND_TRIP = """
import sys
from tempo_runtime import load, save

if sys.argv[1] == "save":
    from double import double
    save(double)
else:
    print(load("artifact")(number=21))
"""


def test_it_loads_the_artifact_that_it_saves(installed: Installed, tmp_path: Path) -> None:
    (tmp_path / "double.py").write_text(_PIPELINE)
    (tmp_path / "trip.py").write_text(_ROUND_TRIP)
    installed.python("-W", "ignore", "trip.py", "save", cwd=tmp_path)
    (tmp_path / "double.py").unlink()
    assert installed.python("-W", "ignore", "trip.py", "load", cwd=tmp_path) == "42\n"


_TEST = """
def test_a_fake_model_is_ready(fake_model):
    assert fake_model("prices", answer=1.0).ready
"""


def test_its_pytest_plugin_gives_its_fixtures(installed: Installed, tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["tempo_runtime.testing.plugin"]\n')
    (tmp_path / "test_fake.py").write_text(_TEST)
    printed = installed.python("-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=tmp_path)
    assert "1 passed" in printed
