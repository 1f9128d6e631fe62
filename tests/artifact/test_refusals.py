"""A folder that is not a whole artifact is refused before any of it runs, by file and remedy."""

from __future__ import annotations

import inspect
import json
import os
import pickle
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tempo_runtime
from tempo_runtime import ArtifactDamaged, ArtifactError, ArtifactIncompatible, ArtifactMissing
from tempo_runtime._util import atomic_files

SOURCE = """
from tempo_runtime import model, predictmethod

@model("p")
class P:
    @predictmethod
    def predict(self, value: int) -> int:
        return value + 1
"""


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("refusals")
    (root / "refused").mkdir()
    (root / "refused/__init__.py").write_text("")
    (root / "refused/main.py").write_text(SOURCE)
    (root / "artifact").mkdir()
    (root / "artifact/words.txt").write_text("words")
    sys.path.insert(0, str(root))
    try:
        from refused.main import P  # type: ignore[import-not-found]

        tempo_runtime.save(P, str(root / "artifact"))
    finally:
        sys.path.remove(str(root))
        del sys.modules["refused"], sys.modules["refused.main"]
    return root / "artifact"


@pytest.fixture
def folder(template: Path, tmp_path: Path) -> Path:
    """A whole artifact."""
    return Path(shutil.copytree(template, tmp_path / "artifact"))


def refusal(folder: Path, kind: type[ArtifactError]) -> str:
    modules, finders = set(sys.modules), list(sys.meta_path)
    with pytest.raises(ArtifactError) as error:
        tempo_runtime.load(str(folder))
    assert type(error.value) is kind
    assert error.value.status == 422
    assert (set(sys.modules), sys.meta_path) == (modules, finders)
    assert str(folder) in str(error.value)
    return str(error.value)


def change_manifest(folder: Path, change: Callable[[Any], None]) -> None:
    path = folder / "tempo.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))


def test_the_whole_artifact_is_not_refused(folder: Path) -> None:
    assert tempo_runtime.load(str(folder)).predict(1) == 2


@pytest.mark.parametrize("name", ["nowhere", "artifact/code"])
def test_a_folder_without_an_artifact_is_told_how_to_make_one(
    folder: Path, tmp_path: Path, name: str
) -> None:
    assert "has no tempo.json; tempo_runtime.save writes one" in refusal(
        tmp_path / name, ArtifactMissing
    )


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[1]",
        b"3",
        b"null",
        b"\xff\xfe",
        b"{}",
        b'{"format_version": null}',
        b'{"format_version": "x"}',
    ],
)
def test_an_invalid_description_is_refused(folder: Path, content: bytes) -> None:
    (folder / "tempo.json").write_bytes(content)
    message = refusal(folder, ArtifactDamaged)
    assert re.search(
        r"tempo.json is (damaged|not what save writes) \(.+\); copy .*save again", message
    )


@pytest.mark.parametrize("value", [None, [], "text"])
@pytest.mark.parametrize("key", ["files", "packages", "children"])
def test_a_description_that_lacks_a_part_is_refused(folder: Path, key: str, value: Any) -> None:
    change_manifest(folder, lambda manifest: manifest.update({key: value}))
    assert f"tempo.json is not what save writes ({key}: " in refusal(folder, ArtifactDamaged)


def test_a_description_that_names_no_pipeline_is_refused(folder: Path) -> None:
    change_manifest(folder, lambda manifest: manifest["files"].pop("pipeline.dill"))
    assert "names no pipeline.dill; save the pipeline again" in refusal(folder, ArtifactDamaged)


@pytest.mark.parametrize("path", ["../outside", "code/../../outside", "/etc/passwd", ".."])
def test_a_description_that_names_a_file_outside_is_refused(folder: Path, path: str) -> None:
    change_manifest(folder, lambda manifest: manifest["files"].update({path: "0" * 64}))
    message = refusal(folder, ArtifactDamaged)
    assert f"files.{path}: it is outside the artifact" in message


def test_a_save_moves_no_file_from_outside_whatever_the_description_says(folder: Path) -> None:
    beside = folder / atomic_files.NEXT
    beside.mkdir()
    (folder / "outside").write_bytes(b"")
    digest = atomic_files.sha256(b"")
    change_manifest(folder, lambda manifest: manifest["files"].update({"../outside": digest}))
    loaded = tempo_runtime.model("f")(_echo)
    tempo_runtime.save(loaded, str(folder))
    assert not (folder.parent / "outside").exists()
    assert not beside.exists()


def _echo(value: int) -> int:
    return value


def test_a_newer_format_says_to_upgrade(folder: Path) -> None:
    change_manifest(folder, lambda manifest: manifest.update(format_version=3, tempo_runtime="9.0"))
    message = refusal(folder, ArtifactIncompatible)
    assert "saved by tempo_runtime 9.0 in format 3" in message
    assert "upgrade tempo_runtime" in message


def test_another_python_is_named_with_both_remedies(folder: Path) -> None:
    change_manifest(folder, lambda manifest: manifest.update(python="3.9"))
    message = refusal(folder, ArtifactIncompatible)
    assert "was saved by Python 3.9" in message
    assert "save it again with this Python, or serve it with that one" in message


@pytest.mark.parametrize("file", ["pipeline.dill", "code/refused/main.py", "words.txt"])
@pytest.mark.parametrize("damage", ["truncated", "flipped", "emptied", "extended"])
def test_a_changed_file_is_refused_by_name(folder: Path, file: str, damage: str) -> None:
    content = (folder / file).read_bytes()
    middle = len(content) // 2
    flipped = bytes([content[middle] ^ 1])
    damaged = {
        "truncated": content[:middle],
        "flipped": content[:middle] + flipped + content[middle + 1 :],
        "emptied": b"",
        "extended": content + b"\n",
    }[damage]
    (folder / file).write_bytes(damaged)
    message = refusal(folder, ArtifactDamaged)
    assert f"{file} ({len(damaged)} bytes) is not the file that was saved" in message
    assert "copy the whole folder again, or save the pipeline again" in message


@pytest.mark.parametrize("file", ["pipeline.dill", "code/refused/main.py", "words.txt"])
def test_a_file_that_is_gone_is_refused_by_name(folder: Path, file: str) -> None:
    (folder / file).unlink()
    assert f"{file} is missing; copy the whole folder" in refusal(folder, ArtifactDamaged)


class Touch:
    """A pickle that runs code."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def test_a_foreign_pickle_is_refused_before_it_runs(folder: Path, tmp_path: Path) -> None:
    trap = tmp_path / "it-ran"
    (folder / "pipeline.dill").write_bytes(pickle.dumps((Touch(trap), None)))
    assert "pipeline.dill" in refusal(folder, ArtifactDamaged)
    assert not trap.exists()
    pickle.loads((folder / "pipeline.dill").read_bytes())
    assert trap.exists()  # it would have


def test_changed_code_is_refused_before_it_runs(folder: Path, tmp_path: Path) -> None:
    trap = tmp_path / "it-ran"
    (folder / "code/refused/main.py").write_text(f"import os\nos.mkdir({str(trap)!r})\n{SOURCE}")
    assert "code/refused/main.py" in refusal(folder, ArtifactDamaged)
    assert not trap.exists()


@pytest.mark.parametrize("name", ["refused/json.py", "extra.py", "refused/__init__.so", "os.py"])
def test_a_file_added_to_the_code_is_not_part_of_it(folder: Path, name: str) -> None:
    (folder / "code" / name).write_text("raise SystemExit('it ran')")
    loaded = tempo_runtime.load(str(folder))
    assert loaded.predict(1) == 2
    imports = inspect.unwrap(type(loaded).predict).__globals__["__builtins__"]["__import__"]
    package = name.removesuffix(".py").replace("/", ".")
    if package not in ("os", "refused.__init__.so"):
        with pytest.raises(ModuleNotFoundError):
            imports(package)


@pytest.mark.parametrize("content", [b"", b"not a pickle", pickle.dumps(3), pickle.dumps((1, 2))])
def test_a_pickle_of_something_else_is_refused_even_with_its_digest(
    folder: Path, content: bytes
) -> None:
    (folder / "pipeline.dill").write_bytes(content)
    digest = atomic_files.sha256(content)
    change_manifest(folder, lambda manifest: manifest["files"].update({"pipeline.dill": digest}))
    assert "pipeline.dill cannot be read" in refusal(folder, ArtifactError)


def test_other_package_versions_are_logged_and_not_refused(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    change_manifest(
        folder, lambda manifest: manifest.update(packages={"numpy": "0.1", "gone": "2"})
    )
    assert tempo_runtime.load(str(folder)).predict(1) == 2
    assert "'p' was saved with numpy 0.1 (here " in caplog.text
    assert "gone 2 (here nothing)" in caplog.text
