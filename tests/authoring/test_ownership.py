"""Whose file is it, and that no installed package is carried, however it was installed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tempo_runtime.authoring import ownership
from tempo_runtime.cli.calling import checking
from tempo_runtime.errors import CheckFailed
from tests.helpers.source_tree import importing

LIBRARY = {
    "lib_of_others/__init__.py": "from lib_of_others import deep\n",
    "lib_of_others/deep.py": "",
}
SAVE = """
import sys, tempo_runtime
sys.dont_write_bytecode = True
import mine
tempo_runtime.save(mine.P, "artifact")
"""


def distribution(folder: Path, name: str = "lib-of-others") -> None:
    """Installs a package into a folder, as pip does."""
    info = f"{name.replace('-', '_')}-1.0.dist-info"
    files = {**LIBRARY, f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"}
    record = "".join(f"{path},,\n" for path in (*files, f"{info}/RECORD"))
    write(folder, {**files, f"{info}/RECORD": record})


def write(folder: Path, files: dict[str, str]) -> None:
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)


def wheel(path: Path, metadata: str = "lib_of_others-1.0.dist-info") -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in LIBRARY.items():
            archive.writestr(name, text)
        archive.writestr(f"{metadata}/METADATA", "Name: lib-of-others\nVersion: 1.0\n")


def code_of(project: Path, path: list[Path], python: str = sys.executable) -> list[str]:
    """Saves the pipeline of a project in a process of its own; gives the files of its code."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, [project, *path]))}
    write(project, {"mine.py": importing("import helper\nimport lib_of_others", "value")})
    write(project, {"helper.py": "", "save.py": SAVE})
    command = [python, str(project / "save.py")]
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    code = project / "artifact/code"
    return sorted(str(each.relative_to(code)) for each in code.rglob("*") if each.is_file())


def test_a_folder_of_pip_install_target_is_not_carried(tmp_path: Path) -> None:
    distribution(tmp_path / "target")
    assert code_of(tmp_path / "project", [tmp_path / "target"]) == ["helper.py", "mine.py"]


def test_packages_installed_among_the_authors_files_are_distinguished_from_them(
    tmp_path: Path,
) -> None:
    distribution(tmp_path / "project")
    assert code_of(tmp_path / "project", []) == ["helper.py", "mine.py"]


def test_a_layer_over_a_virtual_environment_is_not_carried(tmp_path: Path) -> None:
    layer = tmp_path / "layer"
    command = [sys.executable, "-m", "venv", "--without-pip", str(layer)]
    subprocess.run(command, check=True)
    [packages] = layer.glob("lib/python3*/site-packages")
    under = next(path for path in sys.path if path.endswith("site-packages"))
    root = Path(ownership.__file__).parents[1]
    # What `uv run --with` makes, of an environment that this package is installed in for editing.
    line = f"import site, sys; site.addsitedir({under!r}); sys.path.append({str(root)!r})"
    (packages / "_layer.pth").write_text(line)
    (packages / "others.txt").write_text("")
    distribution(packages)
    python = str(layer / "bin/python")
    assert code_of(tmp_path / "project", [], python) == ["helper.py", "mine.py"]


@pytest.mark.parametrize("metadata", ["lib_of_others-1.0.dist-info", "EGG-INFO"])
def test_a_wheel_or_egg_that_is_imported_from_is_not_carried(tmp_path: Path, metadata: str) -> None:
    path = tmp_path / "lib.zip"
    wheel(path, metadata)
    assert code_of(tmp_path / "project", [path]) == ["helper.py", "mine.py"]


def test_a_package_linked_from_a_cache_is_not_carried(tmp_path: Path) -> None:
    distribution(tmp_path / "cache")
    packages = tmp_path / "env/site-packages"
    packages.mkdir(parents=True)
    (packages / "lib_of_others").symlink_to(tmp_path / "cache/lib_of_others")
    assert code_of(tmp_path / "project", [packages]) == ["helper.py", "mine.py"]


def test_a_package_that_is_linked_into_the_project_is_not_carried(tmp_path: Path) -> None:
    distribution(tmp_path / "env/site-packages")
    (tmp_path / "project").mkdir()
    source = tmp_path / "env/site-packages/lib_of_others"
    (tmp_path / "project/lib_of_others").symlink_to(source)
    assert code_of(tmp_path / "project", []) == ["helper.py", "mine.py"]


def test_an_editable_install_is_the_authors_and_is_carried(tmp_path: Path) -> None:
    write(tmp_path / "other", LIBRARY)
    write(tmp_path / "other/lib_of_others.egg-info", {"PKG-INFO": "", "SOURCES.txt": "x"})
    info = tmp_path / "env/site-packages/lib_of_others-1.0.dist-info"
    write(
        info,
        {
            "METADATA": "Name: lib-of-others\nVersion: 1.0\n",
            "RECORD": "__editable__.lib_of_others.pth,,\n",
            "direct_url.json": json.dumps({"url": "file:///x", "dir_info": {"editable": True}}),
        },
    )
    assert code_of(tmp_path / "project", [tmp_path / "other", info.parent]) == [
        "helper.py",
        "lib_of_others/__init__.py",
        "lib_of_others/deep.py",
        "mine.py",
    ]


def test_the_standard_library_is_installed_and_a_file_of_its_name_is_not(tmp_path: Path) -> None:
    import statistics

    (tmp_path / "statistics.py").write_text("")
    assert ownership.is_installed(statistics.__file__)
    assert not ownership.is_installed(str(tmp_path / "statistics.py"))


def test_check_does_not_see_the_authors_folders(tmp_path: Path) -> None:
    """Not even where a .pth file of the environment names them."""
    layer = tmp_path / "layer"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(layer)], check=True)
    [packages] = layer.glob("lib/python3*/site-packages")
    under = next(path for path in sys.path if path.endswith("site-packages"))
    root = Path(ownership.__file__).parents[1]
    (packages / "layer.pth").write_text(f"import site; site.addsitedir({under!r})\n{root}\n")
    (packages / "author.pth").write_text(f"{tmp_path / 'project'}\n")
    write(tmp_path / "project", {"left_at_home.py": "SIZE = 1"})
    main = importing("NAME = 'left_' + 'at_home'", "__import__(NAME).SIZE")
    late = main.replace("class P:\n", "class P:\n    def __init__(self): __import__(NAME)\n\n")
    write(tmp_path / "project", {"mine.py": late, "save.py": SAVE})
    python = str(layer / "bin/python")
    subprocess.run([python, "save.py"], cwd=tmp_path / "project", check=True, capture_output=True)
    (tmp_path / "project/artifact/code/left_at_home.py").unlink(missing_ok=True)
    artifact = tmp_path / "project/artifact"
    subprocess.run([python, "-c", "import left_at_home"], check=True, cwd=tmp_path)
    with pytest.raises(CheckFailed, match="left_at_home"):
        checking.ask(python, str(artifact), None, 100)
