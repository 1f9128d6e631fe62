"""Mistakes of operators: the status, whose fault it is, and the remedy."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tempo_runtime import save
from tempo_runtime.testing import Server, ServerFailed, serve
from tests.helpers import pipelines
from tests.helpers.income import Income, add_model, explain, request, tensor


def _truncate(folder: Path) -> None:
    content = (folder / "pipeline.dill").read_bytes()
    (folder / "pipeline.dill").write_bytes(content[: len(content) // 2])


def _tamper(folder: Path) -> None:
    content = bytearray((folder / "pipeline.dill").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "pipeline.dill").write_bytes(bytes(content))


def _from_the_future(folder: Path) -> None:
    manifest = json.loads((folder / "tempo.json").read_text())
    manifest |= {"format_version": 99, "tempo_runtime": "9.9"}
    (folder / "tempo.json").write_text(json.dumps(manifest))


DAMAGES: dict[str, tuple[Any, list[str]]] = {
    "missing": (shutil.rmtree, ["income-explainer"]),
    "without tempo.json": (lambda folder: (folder / "tempo.json").unlink(), ["tempo.json", "save"]),
    "truncated": (_truncate, ["pipeline.dill", "not the file that was saved", "again"]),
    "tampered": (_tamper, ["pipeline.dill", "not the file that was saved", "again"]),
    "of a newer format": (_from_the_future, ["9.9", "format 99", "upgrade"]),
}

CHILDREN = {  # explainer -> where it looks for its child
    "asks-for-another": {"transport": "http", "model": "income-forest"},
    "asks-nobody": {"url": "http://127.0.0.1:9"},
}


@pytest.fixture(scope="module")
def troubled(
    income: Income, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Path, Server]]:
    """A copy of the artifact that a test may spoil, and a server that has loaded it.

    The server's other explainers do not reach their child.
    """
    root = tmp_path_factory.mktemp("troubled")
    copy, models = root / "explainer", root / "models"
    shutil.copytree(income.explainer, copy)
    add_model(models, "income-sklearn", income.model / "model.joblib")
    add_model(models, "income-explainer", copy)
    for name, child in CHILDREN.items():
        extra = {"models": {"sklearn": child}}
        add_model(models, "income-explainer", income.explainer, name, **extra)
    with serve(models) as server:
        yield copy, server


@pytest.mark.parametrize("damage", DAMAGES)
def test_an_artifact_is_refused_and_what_was_loaded_goes_on(
    damage: str, income: Income, troubled: tuple[Path, Server]
) -> None:
    folder, server = troubled
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(income.explainer, folder)
    spoil, words = DAMAGES[damage]
    spoil(folder)
    answer = server.http.post("/v2/repository/models/income-explainer/load")
    assert answer.status_code == 422, answer.text
    for word in words:
        assert word in answer.json()["error"]
    assert "Traceback" not in answer.text
    assert explain(server, income.rows[0], 0.9)["anchor"]


def test_a_child_that_is_not_there_is_named_with_its_url(troubled: tuple[Path, Server]) -> None:
    _, server = troubled
    answer = server.post("asks-for-another", request(tensor()))
    assert answer.status_code == 502
    assert "/v2/models/income-forest/infer" in answer.json()["error"]
    assert "check the URL and the model's name" in answer.json()["error"]


def test_a_child_that_is_down_is_named_with_its_url(troubled: tuple[Path, Server]) -> None:
    _, server = troubled
    answer = server.post("asks-nobody", request(tensor()))
    assert answer.status_code == 503
    assert (
        "child 'income-sklearn' cannot be reached at http://127.0.0.1:9" in answer.json()["error"]
    )


def test_settings_that_name_no_child_of_the_pipeline_are_refused(tmp_path: Path) -> None:
    save(pipelines.SyncParent, str(tmp_path))
    settings = json.loads((tmp_path / "model-settings.json").read_text())
    settings["parameters"]["extra"] = {"models": {"forest": {"url": "http://127.0.0.1:9"}}}
    (tmp_path / "model-settings.json").write_text(json.dumps(settings))
    told = "children that the pipeline does not have: forest; its children are: double"
    with pytest.raises(ServerFailed, match=told), serve(tmp_path):
        pass
