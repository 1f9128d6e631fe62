"""A save that is killed at any step leaves the old artifact whole, or the new one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import tempo_runtime
from tempo_runtime import ArtifactMissing
from tests.helpers.artifacts import answer, contents

MAIN = """
{imports}
from tempo_runtime import model

@model("p")
def f() -> str:
    return WORD
"""
# The new version brings a module, changes one, and no longer has another.
VERSIONS = {
    "old": {
        "gone.py": "WORD = 'old'",
        "main.py": MAIN.format(imports="from crash.gone import WORD"),
    },
    "new": {
        "come.py": "WORD = 'new'",
        "main.py": MAIN.format(imports="from crash.come import WORD"),
    },
}
# Each call that changes the folder is a step; the process ends in front of step `limit`.
SAVE = """
import builtins, os, sys
root, folder, limit = sys.argv[1], sys.argv[2], int(sys.argv[3])
sys.dont_write_bytecode = True
sys.path.insert(0, root)
import tempo_runtime
from crash.main import f
step = 0

def counted(function, halfway=False):
    def call(*arguments, **options):
        global step
        step += 1
        if step == limit:
            if halfway:  # the file is there, and has not all of its bytes
                file = arguments[0]
                os.truncate(file, os.fstat(file).st_size // 2)
            os._exit(9)
        return function(*arguments, **options)
    return call

os.replace, os.remove = counted(os.replace), counted(os.remove)
os.fsync = counted(os.fsync, halfway=True)
tempo_runtime.save(f, folder)
"""


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("trees")
    for version, files in VERSIONS.items():
        (root / version / "crash").mkdir(parents=True)
        for name, text in files.items():
            (root / version / "crash" / name).write_text(text)
    return root


def save(tree: Path, folder: Path, limit: int = 0) -> bool:
    """Saves in a process of its own; False when it was killed."""
    command = [sys.executable, "-W", "error", "-c", SAVE, str(tree), str(folder), str(limit)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode in (0, 9), done.stderr
    return done.returncode == 0


@pytest.fixture(scope="module")
def old(trees: Path) -> Path:
    assert save(trees / "old", trees / "artifact")
    return trees / "artifact"


@pytest.fixture(scope="module")
def killed(trees: Path, old: Path) -> list[Path]:
    """The folder after a save of the new version was killed at step 1, 2, ... and none."""
    left: list[Path] = []
    while True:
        left.append(Path(shutil.copytree(old, trees / f"killed-{len(left) + 1}")))
        if save(trees / "new", left[-1], len(left)):
            return left


def test_a_killed_save_leaves_the_old_artifact_or_the_new_one(killed: list[Path]) -> None:
    answers = [answer(folder) for folder in killed]
    commits = answers.index("new")
    assert answers == ["old"] * commits + ["new"] * (len(answers) - commits)
    assert 1 < commits < len(answers) - 1


@pytest.mark.parametrize("version", ["old", "new"])
def test_a_save_after_a_killed_one_gives_what_it_gives_without(
    version: str,
    killed: list[Path],
    old: Path,
    trees: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.syspath_prepend(str(trees / version))
    from crash.main import f  # type: ignore[import-not-found]

    expected = contents(old if version == "old" else killed[-1])
    for number, folder in enumerate(killed):
        copied = Path(shutil.copytree(folder, tmp_path / str(number)))
        tempo_runtime.save(f, str(copied))
        assert contents(copied) == expected
        assert answer(copied) == version
    for name in [name for name in sys.modules if name.partition(".")[0] == "crash"]:
        del sys.modules[name]


def test_a_first_save_that_is_killed_leaves_no_artifact_or_a_whole_one(
    trees: Path, tmp_path: Path
) -> None:
    for limit in (1, 3, 5, 7):
        folder = tmp_path / str(limit)
        assert not save(trees / "new", folder, limit)
        if (folder / "tempo.json").exists():
            assert answer(folder) == "new"
        else:
            with pytest.raises(ArtifactMissing):
                tempo_runtime.load(str(folder))


def test_a_disk_that_is_full_leaves_the_old_artifact(
    old: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(shutil.copytree(old, tmp_path / "full"))
    before = contents(folder)

    def full(file: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)

    @tempo_runtime.model("g")
    def g() -> str:
        return "new"

    with pytest.raises(tempo_runtime.ArtifactError, match="cannot be written: No space left"):
        tempo_runtime.save(g, str(folder))
    assert answer(folder) == "old"
    assert contents(folder) == before


def test_an_interrupted_artifact_is_read_and_not_repaired(
    killed: list[Path], tmp_path: Path
) -> None:
    for number, folder in enumerate(killed):
        copied = Path(shutil.copytree(folder, tmp_path / str(number)))
        before = contents(copied)
        answer(copied)
        assert contents(copied) == before
