"""The lines that `serve` and `deploy` print are run as they stand, and each is answered."""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline

from tempo_runtime import Model, ModelFramework, PipelineModels, model, pipeline, save
from tempo_runtime.cli.calling import checking, example_calls
from tempo_runtime.protocol.messages import Request
from tests.helpers.command_line import Serving, run

ANNOTATIONS = {
    "arrays": {
        "array": "np.ndarray",
        "float_array": "NDArray[np.float32]",
        "int_array": "np.ndarray[tuple[int, int], np.dtype[np.int64]]",
        "shaped_array": "np.ndarray[tuple[int, Literal[4]], np.dtype[np.float32]]",
        "flags": "np.ndarray[tuple[Literal[2]], np.dtype[np.bool_]]",
        "words": "np.ndarray[tuple[int], np.dtype[np.str_]]",
    },
    "scalars": {
        "yes": "bool",
        "count": "int",
        "share": "float",
        "text": "str",
        "texts": "list[str]",
        "blob": "bytes",
        "blobs": "list[bytes]",
        "day": "datetime",
        "days": "list[datetime]",
    },
    "containers": {
        "list_": "list",
        "numbers": "list[int]",
        "rows": "list[list[float]]",
        "dict_": "dict",
        "named": "dict[str, float]",
        "by_number": "dict[int, str]",
        "tuple_": "tuple[int, str]",
        "set_": "set[int]",
        "bare_set": "set",
    },
    "types": {
        "union": "int | str",
        "literal": "Literal['a', 'b']",
        "enum": "Colour",
        "dataclass": "Point",
        "pydantic": "Order",
        "orders": "list[Order]",
        "optional": "Optional[int]",
        "any_": "Any",
        "date": "date",
        "decimal": "Decimal",
    },
    "limits": {
        "uuid": "UUID",
        "over_five": "Annotated[int, Field(gt=5)]",
        "long_text": "Annotated[str, Field(min_length=9)]",
        "two_texts": "Annotated[list[str], Field(min_length=2)]",
        "code": "Annotated[str, Field(pattern='^[A-Z]+$')]",
    },
}
SOURCE = """
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Literal, Optional
from uuid import UUID
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field
from tempo_runtime import model, save

class Colour(Enum):
    RED = "red"

@dataclass
class Point:
    x: float
    label: str = ""

class Order(BaseModel):
    item: Annotated[str, Field(min_length=1, examples=["tea"])]
    amount: Annotated[int, Field(ge=1, le=10)]
    colours: set[Colour]
    parts: list["Order"] = []

"""
MODEL = """
@model({name!r})
def {name}({arguments}) -> str:
    return "ok"
"""
SKLEARN = "mlserver_sklearn.SKLearnModel"
STREAM = """
@model("stream")
def stream(x: int) -> Iterator[str]:
    yield "first"
    yield "ok"
"""


@model("frame")
def frame(table: pd.DataFrame, factor: int = 1) -> float:
    return float(table["size"].sum() * factor)


@model("unknown")
def unknown(table: pd.DataFrame) -> int:
    return len(table)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    root = tmp_path_factory.mktemp("annotations")
    models = [
        MODEL.format(name=name, arguments=", ".join(map(": ".join, arguments.items())))
        for name, arguments in ANNOTATIONS.items()
    ]
    (root / "kinds_of_values.py").write_text("".join([SOURCE, *models, STREAM]))
    code = "import kinds_of_values as kinds\n"
    code += f"for name in {[*ANNOTATIONS, 'stream']}: kinds.save(getattr(kinds, name), name)"
    subprocess.run([sys.executable, "-c", code], cwd=root, check=True)
    save(frame, str(root / "frame"))
    save(unknown, str(root / "unknown"))
    request = {"table": pd.DataFrame({"size": [1.5, 2.0], "name": ["a", "b'c"]})}
    _record(root / "frame", request)
    _readme(root)
    names = [*ANNOTATIONS, "stream", "frame", "unknown", "check"]
    return [root / name for name in names]


def _record(folder: Path, values: dict[str, object]) -> None:
    from tempo_runtime.artifact import store
    from tempo_runtime.cli.calling import arguments as inputs
    from tempo_runtime.protocol import codec
    from tempo_runtime.protocol.signature import Signature

    described = store.read_description(str(folder)).signature.metadata()["inputs"]
    signature = Signature(tuple(map(codec.spec_described, described)))
    request: Request = inputs.Arguments(signature, values).request(tagged=True)
    checking.record(str(folder), request, 60)


def _readme(root: Path) -> None:
    """The pipeline that README begins with."""
    (root / "forest").mkdir()
    fitted = LinearRegression().fit(np.eye(3), [0.0, 1.0, 0.0])
    joblib.dump(fitted, root / "forest/model.joblib")
    forest = Model("forest", platform=ModelFramework.SKLearn, local_folder=str(root / "forest"))

    @pipeline("check", models=PipelineModels(forest=forest), local_folder=str(root / "check"))
    class Check:
        from tempo_runtime import predictmethod

        @predictmethod
        def check(self, rows: np.ndarray, labels: list[int]) -> dict[str, float]:
            predicted = self.models.forest(rows)
            return {"accuracy": float(np.mean(predicted == labels))}

    save(Check)


@pytest.fixture(scope="module")
def printed(folders: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    folder = tmp_path_factory.mktemp("serving")
    with Serving(folder, *map(str, folders), "--port", "0") as serving:
        serving.wait_for("Ctrl-C stops the server")
        yield serving.printed().splitlines()
        assert serving.stop(signal.SIGINT) == 130


def curl(line: str) -> tuple[int, str]:
    """The status and the body that a printed line is answered with."""
    words = [*shlex.split(line), "-w", "\n%{http_code}"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    body, _, status = done.stdout.rpartition("\n")
    return int(status), body


def test_every_printed_curl_line_is_answered_with_200(printed: list[str]) -> None:
    lines = [line for line in printed if line.startswith("curl ")]
    assert len(lines) == len(ANNOTATIONS) + 4  # a stream, a frame, README's, and its forest
    answers = {line: curl(line) for line in lines}
    assert {line: found for line, found in answers.items() if found[0] != 200} == {}


def test_every_printed_predict_line_is_answered(printed: list[str]) -> None:
    lines = [line for line in printed if line.startswith("tempo-runtime predict ")]
    assert len(lines) == len(ANNOTATIONS) + 4
    answers = {line: run(*shlex.split(line)[1:]) for line in lines}
    assert {line: found for line, found in answers.items() if found[0] != 0} == {}


def test_a_streaming_model_is_called_as_a_stream(printed: list[str]) -> None:
    line = next(line for line in printed if "/models/stream/" in line and line.startswith("curl"))
    assert "/infer_stream" in line
    events = [json.loads(part[6:]) for part in curl(line)[1].splitlines() if part.strip()]
    assert [each["outputs"][0]["data"] for each in events] == [["first"], ["ok"]]


def test_a_recorded_example_is_printed(printed: list[str]) -> None:
    line = next(line for line in printed if "/models/frame/" in line and line.startswith("curl"))
    assert json.loads(curl(line)[1])["outputs"][0]["data"] == [3.5]
    assert "# frame: the example recorded in its artifact" in printed


def test_guessed_values_and_unknown_columns_are_named(printed: list[str]) -> None:
    [unknown] = [line for line in printed if line.startswith("# unknown: ")]
    assert "a DataFrame with unknown columns; `tempo-runtime check " in unknown
    assert "# check: rows: the values are guessed; replace them" in printed
    assert "# containers: " not in "".join(printed)


def test_a_model_whose_uri_is_its_file_has_lines_too(folders: list[Path]) -> None:
    file = folders[0].parent / "forest/model.joblib"
    lines = example_calls.lines("forest", str(file), [], "http://h:1", "forest", SKLEARN)
    assert next(lines).startswith("curl -s http://h:1/v2/models/forest/infer ")


def test_a_model_of_texts_has_no_line_with_numbers(tmp_path: Path) -> None:
    words = make_pipeline(TfidfVectorizer(), LogisticRegression())
    joblib.dump(words.fit(["good tea", "bad tea"], [1, 0]), tmp_path / "model.joblib")
    example, note = example_calls.example_of("words", str(tmp_path), [], SKLEARN)
    assert example is None
    assert note == "# words: no line, because its input is unknown"
