"""The names of columns in an artifact: from annotations, and those that `save` is given."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pytest

from tempo_runtime import AuthoringError, Columns, Model, load, model, save
from tempo_runtime.artifact import interface
from tempo_runtime.artifact.columns import of
from tempo_runtime.artifact.store import read_description
from tempo_runtime.protocol.openapi import document
from tests.helpers.command_line import run

PEOPLE = Columns(["Age", "Workclass"], {"Workclass": ["Private", "State-gov"]})
NAMED = [{"name": "Age"}, {"name": "Workclass", "categories": ["Private", "State-gov"]}]


@model("oldest")
def oldest(rows: np.ndarray, top: int = 1) -> float:
    return float(rows[:, 0].max())


@model("named")
def named(rows: Annotated[np.ndarray, PEOPLE]) -> float:
    return float(rows[:, 0].max())


def saved(folder: str) -> Any:
    return json.loads(Path(folder, "tempo.json").read_text())


def schema(folder: str) -> Any:
    return saved(folder)["schemas"]["arguments"]["properties"]["rows"]


def test_save_names_the_columns_of_code_that_does_not(tmp_path: Path) -> None:
    folder = save(oldest, str(tmp_path), columns={"rows": PEOPLE})
    assert saved(folder)["columns"] == {"rows": NAMED}
    assert schema(folder)["x-columns"] == NAMED
    assert "columns" not in saved(save(oldest, str(tmp_path / "plain")))


def test_columns_of_an_annotation_are_in_the_schema_and_change_no_call(tmp_path: Path) -> None:
    folder = save(named, str(tmp_path))
    assert (schema(folder)["x-columns"], "columns" in saved(folder)) == (NAMED, False)
    assert load(folder)(rows=[[50, 7]]) == named(rows=[[50, 7]]) == 50.0  # 7 is not a category


def test_the_digest_covers_the_names(tmp_path: Path) -> None:
    folder = str(tmp_path)
    digests = {
        read_description(save(oldest, folder, columns=columns)).digest
        for columns in ({}, {"rows": PEOPLE}, {"rows": Columns(["Age", "Class"])})
    }
    assert len(digests) == 3


def test_openapi_and_inspect_show_the_names(tmp_path: Path) -> None:
    folder = save(oldest, str(tmp_path), columns={"rows": PEOPLE})
    described = interface.described(folder, read_description(folder))
    arguments = document([described], "1")["components"]["schemas"]["oldest.arguments"]
    assert arguments["properties"]["rows"]["x-columns"] == NAMED
    _, printed, _ = run("inspect", folder)
    assert "│ columns        │ rows: Age, Workclass (2 categories)" in printed
    _, printed, _ = run("inspect", save(oldest, folder, columns={}))
    assert "│ columns " not in printed


def test_saving_again_keeps_the_names_until_others_are_given(tmp_path: Path) -> None:
    folder = save(oldest, str(tmp_path), columns={"rows": PEOPLE})
    assert schema(save(oldest, folder))["x-columns"] == NAMED
    assert "x-columns" not in schema(save(oldest, folder, columns={}))


def test_names_that_fit_no_more_are_left_out_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    @model("oldest")
    def changed(rows: np.ndarray[tuple[int, Literal[3]], np.dtype[np.float64]]) -> float:
        return 0.0

    folder = save(oldest, str(tmp_path), columns={"rows": PEOPLE})
    assert "x-columns" not in schema(save(changed, folder))
    assert "its annotation has 3 columns, and 2 are named (Age, Workclass)" in caplog.text


@pytest.mark.parametrize(
    ("target", "columns", "told"),
    [
        (oldest, {"row": PEOPLE}, "there is no argument 'row'; the arguments are: rows, top"),
        (oldest, {"top": PEOPLE}, "top: a value of type int does not have columns"),
        (oldest, {"rows": ["Age", "Sex"]}, "'rows' has list; write Columns"),
        (named, {"rows": Columns(["a", "b"])}, "names the columns Age, Workclass, and not a, b"),
        (Model("forest", local_folder="x"), {"rows": PEOPLE}, "is not a pipeline"),
    ],
)
def test_wrong_names_are_refused_before_anything_is_written(
    tmp_path: Path, target: Any, columns: Any, told: str
) -> None:
    with pytest.raises(AuthoringError, match=told):
        save(target, str(tmp_path / "new"), columns=columns)
    assert not os.path.exists(tmp_path / "new")


def test_names_that_contradict_the_recorded_example_are_refused(tmp_path: Path) -> None:
    folder = save(oldest, str(tmp_path))
    tensor = {"name": "rows", "shape": [1, 3], "datatype": "FP64", "data": [1, 2, 3]}
    Path(folder, "example.json").write_text(json.dumps({"request": {"inputs": [tensor]}}))
    with pytest.raises(
        AuthoringError, match=r"rows: 2 columns are named, and the example in .* has 3"
    ):
        save(oldest, folder, columns={"rows": PEOPLE})
    with pytest.raises(AuthoringError, match="rows: 2 columns are named"):
        save(named, folder)
    save(oldest, folder, columns={"rows": Columns(["a", "b", "c"])})


def test_a_description_that_save_cannot_have_written_is_read_without_its_columns(
    tmp_path: Path,
) -> None:
    folder = save(oldest, str(tmp_path), columns={"rows": PEOPLE})
    for wrong in ([{"name": 1}], {"a": 1}, "text", [[]]):
        content = saved(folder)
        content["schemas"]["arguments"]["properties"]["rows"]["x-columns"] = wrong
        Path(folder, "tempo.json").write_text(json.dumps(content))
        assert of(read_description(folder)) == {}
