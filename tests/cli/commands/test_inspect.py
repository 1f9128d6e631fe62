"""`tempo-runtime inspect`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tempo_runtime import (
    Batching,
    Model,
    ModelFramework,
    PipelineModels,
    __version__,
    pipeline,
    save,
)
from tests.helpers import pipelines
from tests.helpers.command_line import run


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    return Path(save(pipelines.bill, str(tmp_path / "bill")))


def test_inspect_shows_what_it_takes_gives_and_holds(artifact: Path) -> None:
    code, printed, _ = run("inspect", artifact)
    assert code == 0
    for words in ("orders: BYTES, json", "price: FP64, np, optional", "pipeline.dill", "✓"):
        assert words in printed


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


def test_inspect_shows_which_models_are_called_in_batches(tmp_path: Path) -> None:
    forest = Model("forest", platform=ModelFramework.SKLearn, batching=Batching(max_rows=32))

    @pipeline("over", models=PipelineModels(child=forest))
    def over(x: np.ndarray) -> np.ndarray:
        return x

    _, printed, _ = run("inspect", save(over, str(tmp_path / "over")))
    assert "child: forest (sklearn, batches of up to 32 rows)" in printed
