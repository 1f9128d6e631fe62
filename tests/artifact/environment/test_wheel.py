"""A wheel of the tempo_runtime that runs."""

from __future__ import annotations

import email
import importlib.metadata
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import tempo_runtime
from tempo_runtime import EnvironmentFailed
from tempo_runtime.artifact.environment import wheel

PACKAGE = Path(tempo_runtime.__file__).parent


@pytest.fixture(name="built", scope="module")
def built_wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(wheel.build(str(tmp_path_factory.mktemp("wheels"))))


def test_it_holds_the_files_of_the_package_and_no_bytecode(built: Path) -> None:
    with zipfile.ZipFile(built) as archive:
        names = archive.namelist()
    sources = {str(path.relative_to(PACKAGE.parent)) for path in PACKAGE.rglob("*.py")}
    assert sources | {"tempo_runtime/py.typed"} <= set(names)
    assert [name for name in names if "__pycache__" in name or name.endswith(".pyc")] == []
    assert len(names) == len(set(names))


def test_it_says_what_the_installed_one_says(built: Path) -> None:
    info = f"tempo_runtime-{tempo_runtime.__version__}.dist-info"
    with zipfile.ZipFile(built) as archive:
        said = email.message_from_bytes(archive.read(f"{info}/METADATA"))
    installed = importlib.metadata.metadata("tempo_runtime")
    assert said.get_all("Requires-Dist") == installed.get_all("Requires-Dist")
    assert said["Version"] == tempo_runtime.__version__


def test_pip_installs_it_and_its_command_runs(built: Path, tmp_path: Path) -> None:
    pip = ["-m", "pip", "install", "--no-deps", "--no-index", "--no-compile", "--target"]
    run(*pip, str(tmp_path), str(built))
    command = "import sys, tempo_runtime.cli as cli; print(cli.__file__); cli.main(['--version'])"
    printed = run("-c", command, cwd=tmp_path, PYTHONPATH=str(tmp_path)).splitlines()
    assert printed[0] == str(tmp_path / "tempo_runtime/cli/__init__.py")
    assert printed[1].endswith(tempo_runtime.__version__)


def test_the_one_it_installed_builds_the_same_bytes(built: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(built) as archive:
        archive.extractall(tmp_path)
    code = (
        "import sys; from tempo_runtime.artifact.environment import wheel; "
        "print(wheel.build(sys.argv[1]))"
    )
    again = run("-c", code, "again", cwd=tmp_path, PYTHONPATH=str(tmp_path)).strip()
    assert (tmp_path / again).read_bytes() == built.read_bytes()
    assert os.listdir(tmp_path / "again") == [built.name]


def test_one_that_is_not_from_an_index_says_so(built: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(built) as archive:
        archive.extractall(tmp_path)
    code = "from tempo_runtime.artifact.environment import wheel; print(wheel.from_index())"
    assert run("-c", code, cwd=tmp_path, PYTHONPATH=str(tmp_path)).strip() == "True"
    (info,) = tmp_path.glob("*.dist-info")
    (info / "direct_url.json").write_text('{"url": "file:///somewhere", "dir_info": {}}')
    assert run("-c", code, cwd=tmp_path, PYTHONPATH=str(tmp_path)).strip() == "False"


def test_one_that_was_never_installed_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.metadata, "distributions", lambda **_: iter(()))
    with pytest.raises(EnvironmentFailed, match=r"without being installed.*pip install"):
        wheel.build(str(tmp_path / "wheels"))
    assert not (tmp_path / "wheels").exists()


def run(*arguments: str, cwd: Path | None = None, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", *arguments],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
