"""A module of an author, with pipelines whose folders are beside it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

OWN = """
from __future__ import annotations
import os
import numpy as np
from tempo_runtime import Model, ModelFramework, PipelineModels, model, pipeline, predictmethod

HERE = os.path.dirname(__file__)
sklearn = Model("forest", platform=ModelFramework.SKLearn, local_folder=os.path.join(HERE, "model"), uri="s3://forest")

@model("inner", local_folder=os.path.join(HERE, "inner"))
class Inner:
    def __init__(self, by: int = 1) -> None:
        self.by = by

    @predictmethod
    def predict(self, value: int) -> int:
        return value * self.by

@pipeline(
    "outer",
    uri="s3://outer",
    local_folder=os.path.join(HERE, "outer"),
    models=PipelineModels(inner=Inner),
    description="Both.",
)
class Outer:
    def __init__(self) -> None:
        with open(os.path.join(self.get_tempo().details.local_folder, "words.txt")) as file:
            self.words = file.read()

    @predictmethod
    def predict(self, value: int, rows: np.ndarray | None = None) -> int:
        return self.models.inner(value) + len(self.words)

@pipeline("two", models=PipelineModels(inner=Inner, sklearn=sklearn))
def two(value: int) -> int:
    return two.models.inner(value) + two.models.sklearn(value)

@pipeline("calls", models=PipelineModels(inner=Inner), local_folder=os.path.join(HERE, "calls"))
def calls(value: int) -> int:
    return calls.models.inner(value) + 1
"""


@pytest.fixture(name="own")
def own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A module of the author's, in tmp_path, whose pipelines' folders are beside it."""
    (tmp_path / "owned.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    import owned  # type: ignore[import-not-found]

    (tmp_path / "outer").mkdir()
    (tmp_path / "outer/words.txt").write_text("four")
    yield owned
    del sys.modules["owned"]


def listing(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }
