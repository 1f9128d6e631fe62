"""Mistakes of clients and operators: the status, whose fault it is, and the remedy."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tempo_runtime import save
from tempo_runtime.testing import Server, ServerFailed, serve
from tests.helpers import pipelines
from tests.helpers.income import Income, add_model, explain, payload


def tensor(**changes: Any) -> dict[str, Any]:
    return payload(np.zeros((1, 12), int)) | changes


def request(*tensors: Any, **parameters: Any) -> dict[str, Any]:
    return {"inputs": list(tensors), "parameters": {"parameters": {}, **parameters}}


CASES: dict[str, tuple[Any, int, list[str]]] = {
    "missing tensor": (request(), 422, ["'payload' is missing", "send it"]),
    "unknown tensor": (request(tensor(name="paylod")), 422, ["'paylod'", "did you mean 'payload'"]),
    "tensor given twice": (request(tensor(), tensor()), 422, ["'payload'", "twice"]),
    "text in a number": (request(tensor(data=["a"] * 12)), 422, ["'payload'", "INT64", "'a'"]),
    "fraction in an integer": (
        request(tensor(data=[0.5] * 12)),
        422,
        ["'payload'", "INT64", "0.5"],
    ),
    "unknown datatype": (request(tensor(datatype="FLOAT")), 422, ["datatype"]),
    "ragged data": (request(tensor(data=[[1, 2], [3]])), 422, ["'payload'", "ragged"]),
    "shape that disagrees": (request(tensor(shape=[5, 2])), 422, ["'payload'", "[5, 2]", "12"]),
    "negative shape": (request(tensor(shape=[-1, 12])), 422, ["'payload'", "[-1, 12]"]),
    "parameter of the wrong type": (
        request(tensor(), parameters=7),
        422,
        ["'parameters'", "dictionary", "7"],
    ),
    "explainer parameter of the wrong type": (
        request(tensor(), parameters={"threshold": "high"}),
        422,
        ["AnchorTabular", "threshold='high'", "it accepts: threshold"],
    ),
    "explainer parameter that is misspelt": (
        request(tensor(), parameters={"treshold": 0.9}),
        422,
        ["AnchorTabular", "'treshold'", "did you mean 'threshold'"],
    ),
    "seed of the wrong type": (request(tensor(), tempo_seed="x"), 422, ["tempo_seed", "'x'"]),
    "no time at all": (request(tensor(), tempo_timeout=0), 422, ["tempo_timeout", "above 0"]),
    "too little time": (request(tensor(), tempo_timeout=0.001), 504, ["0.001 s", "timeout"]),
    "not JSON": (b"explain, please", 422, ["JSON decode error"]),
    "not a request": (b'{"rows": [1]}', 422, ["inputs"]),
    "a row the child refuses": (
        request(tensor(shape=[1, 2], data=[1, 2])),
        502,
        ["child 'income-sklearn'", "/v2/models/income-sklearn/infer", "500"],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_is_refused_by_status_and_in_words(case: str, each_income_server: Server) -> None:
    body, status, words = CASES[case]
    answer = each_income_server.post("income-explainer", body)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    said = answer.json().get("error") or json.dumps(answer.json()["detail"])
    for word in words:
        assert word in said
    assert "Traceback" not in answer.text
    assert 'File "' not in answer.text


def test_the_server_answers_as_before_after_all_of_them(
    each_income_server: Server, income: Income
) -> None:
    for body, _, _ in CASES.values():
        each_income_server.post("income-explainer", body)
    found = explain(each_income_server, income.rows[0], 0.9)
    assert found["raw"]["instance"] == [income.rows[0].tolist()]


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
