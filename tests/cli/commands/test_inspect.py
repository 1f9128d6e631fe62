"""`tempo-runtime inspect`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from tempo_runtime import (
    Batching,
    Model,
    ModelFramework,
    PipelineModels,
    __version__,
    model,
    pipeline,
    save,
)
from tempo_runtime.artifact import store
from tests.helpers import pipelines
from tests.helpers.command_line import run


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    return Path(save(pipelines.bill, str(tmp_path / "bill")))


def test_inspect_shows_what_it_takes_gives_and_holds(artifact: Path) -> None:
    code, printed, _ = run("inspect", artifact)
    assert code == 0
    for words in (
        "orders: BYTES [1], json",
        "price: FP64 [1], np, optional",
        "pipeline.dill",
        "✓",
    ):
        assert words in printed


def test_an_array_s_sizes_are_those_of_its_annotation(tmp_path: Path) -> None:
    @model("sizes")
    def sizes(
        rows: np.ndarray[tuple[int, Literal[4]], np.dtype[np.float32]], any_rank: np.ndarray
    ) -> float:
        return 0.0

    _, printed, _ = run("inspect", save(sizes, str(tmp_path / "sizes")))
    assert "rows: FP32 [any, 4], np" in printed
    assert "any_rank: any type, np" in printed


def test_digests_are_whole_in_a_narrow_terminal(
    artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    _, printed, _ = run("inspect", artifact)
    text = "".join(line.strip("│ \n") for line in printed.replace("│ digest", "").splitlines())
    assert store.read_description(str(artifact)).digest in text.replace(" ", "").replace("│", "")


def test_inspect_as_json_is_the_description(artifact: Path) -> None:
    code, printed, _ = run("inspect", artifact, "--json")
    assert code == 0
    found, manifest = json.loads(printed), json.loads((artifact / "tempo.json").read_text())
    assert found | manifest == found
    assert found.keys() - manifest.keys() == {"digest", "bytes", "code", "imports"}


def test_a_damaged_artifact_is_reported_and_exits_with_1(artifact: Path) -> None:
    (artifact / "pipeline.dill").write_bytes(b"")
    code, _, told = run("inspect", artifact)
    assert code == 1
    assert told.startswith("Error: ")
    assert "pipeline.dill (0 bytes) is not the file that was saved" in told


def test_a_folder_that_is_not_there_exits_with_2() -> None:
    code, _, told = run("inspect", "/no/such/folder")
    assert code == 2
    assert "/no/such/folder" in told


def test_the_version_is_the_package_s() -> None:
    assert run("--version") == (0, f"tempo-runtime, version {__version__}\n", "")


def test_inspect_shows_which_models_are_called_in_batches_and_for_which_output(
    tmp_path: Path,
) -> None:
    forest = Model("forest", platform=ModelFramework.SKLearn, batching=Batching(max_rows=32))
    forest_too = Model("forest", platform=ModelFramework.SKLearn, output="predict_proba")

    @pipeline("over", models=PipelineModels(child=forest, other=forest_too))
    def over(x: np.ndarray) -> np.ndarray:
        return x

    _, printed, _ = run("inspect", save(over, str(tmp_path / "over")))
    assert "child: forest (sklearn, batches of up to 32 rows)" in printed
    assert "other: forest (sklearn, output predict_proba)" in printed


def test_inspect_shows_which_models_are_on_triton(tmp_path: Path) -> None:
    net = Model("net", platform=ModelFramework.ONNX)

    @pipeline("over", models=PipelineModels(child=net))
    def over(x: np.ndarray) -> np.ndarray:
        return x

    _, printed, _ = run("inspect", save(over, str(tmp_path / "over")))
    assert "child: net (ONNX, on Triton)" in printed
