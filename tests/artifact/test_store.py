"""The files of an artifact, and what loading them gives."""

# mypy: disable-error-code="type-arg, no-any-return, attr-defined, import-untyped, empty-body"

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

import tempo_runtime
from tempo_runtime import (
    ArtifactDamaged,
    ArtifactError,
    AuthoringError,
    BudgetExceeded,
    Model,
    ModelFramework,
    PipelineModels,
    SettingsError,
    pipeline,
    predictmethod,
)
from tempo_runtime.artifact import store
from tempo_runtime.testing import serve
from tests.helpers.author_module import listing, own_module  # noqa: F401 - a fixture


def manifest(folder: str) -> Any:
    return json.loads(Path(folder, "tempo.json").read_text())


def test_save_writes_the_pipeline_its_code_and_two_descriptions(own: Any) -> None:
    folder = tempo_runtime.save(own.Outer)
    assert sorted(listing(Path(folder))) == [
        "code/owned.py",
        "model-settings.json",
        "pipeline.dill",
        "tempo.json",
        "words.txt",
    ]


def test_tempo_json_tells_what_the_artifact_is(own: Any) -> None:
    found = manifest(tempo_runtime.save(own.Outer))
    assert (found["format_version"], found["tempo_runtime"]) == (2, tempo_runtime.__version__)
    assert found["python"] == ".".join(platform.python_version_tuple()[:2])
    assert (found["name"], found["description"], found["uri"]) == ("outer", "Both.", "s3://outer")
    assert found["packages"]["numpy"] == version("numpy")
    assert [tensor["name"] for tensor in found["signature"]["inputs"]] == ["value", "rows"]
    assert found["signature"]["streams"] is False


def test_tempo_json_tells_where_children_are_from_the_folder(own: Any, tmp_path: Path) -> None:
    children = manifest(tempo_runtime.save(own.two, str(tmp_path / "two")))["children"]
    found = {
        alias: (child["name"], child["platform"], child["uri"], child["folder"])
        for alias, child in children.items()
    }
    assert found == {
        "inner": ("inner", "custom", "", "../inner"),
        "sklearn": ("forest", "sklearn", "s3://forest", "../model"),
    }


def test_tempo_json_has_the_digest_of_every_other_file(own: Any) -> None:
    folder = Path(tempo_runtime.save(own.Outer))
    files = listing(folder)
    del files["tempo.json"], files["model-settings.json"]
    expected = {path: hashlib.sha256(content).hexdigest() for path, content in files.items()}
    assert manifest(str(folder))["files"] == expected


def test_hidden_files_and_caches_are_not_part_of_it(own: Any, tmp_path: Path) -> None:
    for name in (".git/config", "__pycache__/x.pyc", ".DS_Store"):
        (tmp_path / "outer" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "outer" / name).write_text("x")
    assert sorted(manifest(tempo_runtime.save(own.Outer))["files"]) == [
        "code/owned.py",
        "pipeline.dill",
        "words.txt",
    ]


@pytest.mark.parametrize("name", ["Outer", "Inner", "calls"])
def test_no_path_of_this_machine_is_in_an_artifact(own: Any, tmp_path: Path, name: str) -> None:
    folder = Path(tempo_runtime.save(getattr(own, name)))
    for path, content in listing(folder).items():
        assert str(tmp_path).encode() not in content, path


def test_a_saved_instance_is_built_again_with_its_arguments(own: Any, tmp_path: Path) -> None:
    tempo_runtime.save(own.Inner(by=7))
    assert tempo_runtime.load(str(tmp_path / "inner")).predict(6) == 42


def test_a_pipeline_may_be_saved_elsewhere_and_moved_with_its_children(
    own: Any, tmp_path: Path
) -> None:
    tempo_runtime.save(own.Inner(by=10))
    tempo_runtime.save(own.Outer)
    tempo_runtime.save(own.calls)
    moved = tmp_path / "moved"
    moved.mkdir()
    for name in ("inner", "outer", "calls"):
        os.rename(tmp_path / name, moved / name)
    assert tempo_runtime.load(str(moved / "outer")).predict(2) == 24
    assert tempo_runtime.load(str(moved / "calls"))(2) == 21


def test_load_takes_a_relative_folder_and_a_file_in_it(
    own: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tempo_runtime.save(own.Inner(by=3))
    monkeypatch.chdir(tmp_path)
    assert tempo_runtime.load("inner").predict(1) == 3
    assert store.unpickle(store.verify_folder("inner/pipeline.dill"))[0].details.name == "inner"


def test_an_instance_knows_the_folder_it_was_loaded_from(own: Any, tmp_path: Path) -> None:
    folder = tempo_runtime.save(own.Inner, str(tmp_path / "elsewhere"))
    assert tempo_runtime.load(folder).get_tempo().details.local_folder == folder


@pytest.fixture
def homeless(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A pipeline without a local_folder, in a process whose temporary files are the test's."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    @pipeline("homeless")
    class Homeless:
        def __init__(self) -> None:
            self.by = 1

        @predictmethod
        def times(self, value: int) -> int:
            return value * self.by

    return Homeless


def test_saving_with_no_folder_makes_one_and_says_where(
    homeless: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tempo_runtime.save(homeless)
    assert Path(folder).parent == tmp_path
    assert Path(folder).name.startswith("homeless-")
    assert f"has no local_folder, so it is saved in {folder}, which this machine may" in caplog.text
    assert tempo_runtime.load(folder).times(2) == 2


def test_a_pipeline_remembers_the_folder_that_was_made_for_it(homeless: Any) -> None:
    folder = tempo_runtime.save(homeless)
    assert homeless.get_tempo().details.local_folder == folder
    assert tempo_runtime.save(homeless) == folder


def test_an_instance_remembers_its_folder_and_its_class_has_none(homeless: Any) -> None:
    one, other = homeless(), homeless()
    one.by = 3
    folder = tempo_runtime.save(one)
    assert tempo_runtime.save(one) == folder
    assert tempo_runtime.save(other) != folder
    assert homeless.get_tempo().details.local_folder is None
    assert tempo_runtime.load(folder).times(2) == 6


def test_a_save_without_a_folder_that_fails_leaves_none(homeless: Any, tmp_path: Path) -> None:
    instance = homeless()
    instance.lock = open(tmp_path / "held", "w")  # noqa: SIM115
    with instance.lock, pytest.raises(ArtifactError, match="open file"):
        tempo_runtime.save(instance)
    assert [path.name for path in tmp_path.iterdir()] == ["held"]
    assert homeless.get_tempo().details.local_folder is None


def test_saving_what_is_not_a_pipeline_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AuthoringError, match="not a pipeline"):
        tempo_runtime.save(object(), str(tmp_path))


# -- model-settings.json ---------------------------------------------------------------------------


def test_model_settings_name_the_runtime_and_the_tensors(own: Any) -> None:
    settings = json.loads(Path(tempo_runtime.save(own.Inner), "model-settings.json").read_text())
    assert (settings["name"], settings["platform"]) == ("inner", "tempo")
    assert settings["implementation"] == "tempo_runtime.TempoPipelineRuntime"
    assert [tensor["name"] for tensor in settings["inputs"]] == ["value"]
    assert settings["parameters"] == {"uri": ".", "extra": {}}


def test_model_settings_keep_what_their_owner_added(own: Any) -> None:
    folder = tempo_runtime.save(own.Inner)
    path = Path(folder, "model-settings.json")
    settings = json.loads(path.read_text())
    settings["parallel_workers"] = 0
    settings["parameters"] |= {"version": "v2", "extra": {"timeout": 5}}
    path.write_text(json.dumps(settings))
    tempo_runtime.save(own.Inner)
    assert json.loads(path.read_text()) == settings
    assert store.unpickle(store.verify_folder(folder))[1] == {"timeout": 5}


def test_model_settings_that_are_not_json_are_refused_and_nothing_is_changed(own: Any) -> None:
    folder = Path(tempo_runtime.save(own.Inner))
    (folder / "model-settings.json").write_text("{")
    (folder / "more.txt").write_text("more")
    before = listing(folder)
    with pytest.raises(ArtifactError, match=r"model-settings.json is damaged .*correct or remove"):
        tempo_runtime.save(own.Inner)
    assert listing(folder) == before


@pytest.mark.parametrize("text", ["{}", '{"parameters": null}', '{"parameters": {"extra": null}}'])
def test_an_artifact_loads_with_model_settings_that_say_nothing(own: Any, text: str) -> None:
    folder = tempo_runtime.save(own.Inner)
    Path(folder, "model-settings.json").write_text(text)
    assert store.unpickle(store.verify_folder(folder))[1] == {}


@pytest.mark.parametrize("text", ["", "[]", '{"parameters": 1}', '{"parameters": {"extra": "a"}}'])
def test_an_artifact_does_not_load_with_damaged_model_settings(own: Any, text: str) -> None:
    folder = tempo_runtime.save(own.Inner)
    Path(folder, "model-settings.json").write_text(text)
    with pytest.raises(ArtifactDamaged, match=r"model-settings.json"):
        tempo_runtime.load(folder)


# -- saving and loading again ----------------------------------------------------------------------


def test_saving_twice_gives_the_same_bytes(own: Any) -> None:
    folder = Path(tempo_runtime.save(own.Outer))
    before = listing(folder)
    tempo_runtime.save(own.Outer)
    assert listing(folder) == before


def test_two_processes_save_the_same_bytes(own: Any, tmp_path: Path) -> None:
    code = "import sys, owned, tempo_runtime; tempo_runtime.save(owned.calls, sys.argv[1])"
    saved = []
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        command = [sys.executable, "-c", code, str(tmp_path / seed)]
        subprocess.run(command, check=True, cwd=tmp_path, env=environment)
        saved.append(listing(tmp_path / seed))
    assert saved[0] == saved[1]


def test_loading_writes_nothing_and_needs_no_right_to(own: Any, tmp_path: Path) -> None:
    tempo_runtime.save(own.Inner)
    folder = Path(tempo_runtime.save(own.Outer))
    tempo_runtime.load(str(folder)).predict(1)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    try:
        for path in [folder, *folder.rglob("*")]:
            path.chmod(path.stat().st_mode & ~0o222)
        # root may write all the same: then only the listing tells.
        assert tempo_runtime.load(str(folder)).predict(1) == 5
    finally:
        for path in [folder, *folder.rglob("*")]:
            path.chmod(path.stat().st_mode | 0o200)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write to any folder")
def test_saving_to_a_folder_without_the_right_to_leaves_it(own: Any) -> None:
    folder = Path(tempo_runtime.save(own.Inner))
    before = listing(folder)
    folder.chmod(0o500)
    try:
        with pytest.raises(PermissionError):
            tempo_runtime.save(own.Inner(by=9))
        assert listing(folder) == before
    finally:
        folder.chmod(0o700)


# -- settings in model-settings.json ---------------------------------------------------------------


def drawn(tmp_path: Path, *, output: str | None = None, **extra: Any) -> str:
    """The folder of a saved pipeline that draws a number and asks a classifier, with settings."""
    rows = np.array([[0.0], [1.0]])
    (tmp_path / "model").mkdir(exist_ok=True)
    joblib.dump(LogisticRegression().fit(rows, [0, 1]), tmp_path / "model" / "model.joblib")
    forest = Model(
        "forest",
        platform=ModelFramework.SKLearn,
        local_folder=str(tmp_path / "model"),
        output=output,
    )

    @pipeline("drawn", local_folder=str(tmp_path / "drawn"), models=PipelineModels(forest=forest))
    class Drawn:
        @predictmethod
        def predict(self, rows: np.ndarray, calls: int = 1) -> np.ndarray:
            asked = [self.models.forest(rows) for _ in range(calls)]
            return np.append(asked[-1].ravel(), np.random.rand())

    folder = tempo_runtime.save(Drawn)
    path = Path(folder, "model-settings.json")
    settings = json.loads(path.read_text())
    settings["parameters"]["extra"] = extra
    path.write_text(json.dumps(settings))
    return folder


ROWS = np.array([[0.0], [1.0]])


def test_a_loaded_pipeline_answers_with_its_settings_as_it_does_when_served(tmp_path: Path) -> None:
    folder = drawn(tmp_path, seed=7, models={"forest": {"output": "predict_proba"}})
    answer = tempo_runtime.load(folder).predict(ROWS)
    assert answer.shape == (5,)
    assert answer[-1] == np.random.RandomState(7).rand()
    with serve(folder) as server:
        assert server.infer("drawn", rows=ROWS).tolist() == answer.tolist()


def test_an_output_declared_in_code_is_asked_for_wherever_the_pipeline_runs(tmp_path: Path) -> None:
    folder = drawn(tmp_path, output="predict_proba", seed=7)
    child = json.loads(Path(folder, "tempo.json").read_text())["children"]["forest"]
    assert child["output"] == "predict_proba"
    answer = tempo_runtime.load(folder).predict(ROWS)
    assert answer.shape == (5,)
    with serve(folder) as server:
        assert server.infer("drawn", rows=ROWS).tolist() == answer.tolist()


def test_a_setting_wins_over_an_output_declared_in_code(tmp_path: Path) -> None:
    folder = drawn(tmp_path, output="predict_proba", models={"forest": {"output": "predict"}})
    assert tempo_runtime.load(folder).predict(ROWS).shape == (3,)


def test_a_model_without_an_output_is_written_as_before(tmp_path: Path) -> None:
    child = json.loads(Path(drawn(tmp_path), "tempo.json").read_text())["children"]["forest"]
    assert "output" not in child


def test_a_limit_in_its_settings_holds_for_what_is_loaded(tmp_path: Path) -> None:
    loaded = tempo_runtime.load(drawn(tmp_path, max_calls="1"))
    assert loaded.predict(ROWS).shape == (3,)
    with pytest.raises(BudgetExceeded, match="more than its 1 calls to children"):
        loaded.predict(ROWS, calls=2)


def test_the_environment_wins_over_its_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = tempo_runtime.load(drawn(tmp_path, seed=7))
    for seed in (8, 9):
        monkeypatch.setenv("TEMPO_RUNTIME_SEED", str(seed))
        assert loaded.predict(ROWS)[-1] == np.random.RandomState(seed).rand()


def test_a_child_that_its_settings_name_and_it_lacks_is_refused(tmp_path: Path) -> None:
    folder = drawn(tmp_path, models={"forrest": {"output": "predict_proba"}})
    with pytest.raises(SettingsError, match="does not have: forrest; its children are: forest"):
        tempo_runtime.load(folder)


def test_its_settings_are_not_saved_with_what_was_loaded(tmp_path: Path) -> None:
    loaded = tempo_runtime.load(drawn(tmp_path, seed=7))
    again = tempo_runtime.load(tempo_runtime.save(loaded, str(tmp_path / "again")))
    assert again.get_tempo().extra == {}
