"""The income example, as tests use it."""

from __future__ import annotations

import atexit
import functools
import json
import lzma
import os
import shutil
import tempfile
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from tempo_runtime.testing import Server

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "income"
THRESHOLDS = (0.90, 0.95, 0.99)
SEED = 1  # the one the explainer was made with
# Test rows of both classes. Their anchors take 9 to 49 calls to find; some rows' take 300.
ROWS = [0, 1, 2, 3, 4, 7, 9, 11, 12, 13, 15, 17, 18, 20, 21, 91, 181, 247, 314, 351]


@functools.cache
def census() -> Path:
    """UCI's adult.data: the file that TEMPO_ADULT_DATA names, or the one in tests/data, unpacked."""
    if named := os.environ.get("TEMPO_ADULT_DATA"):
        return Path(named)
    folder = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, folder)
    unpacked = Path(folder) / "adult.data"
    unpacked.write_bytes(lzma.decompress((ROOT / "tests/data/adult.data.xz").read_bytes()))
    return unpacked


@dataclass
class Income:
    """The trained example.

    Attributes:
        folder: Holds the artifacts `model` and `explainer`.
        rows: The test rows `ROWS`.
        printed: What training printed.
    """

    folder: Path
    rows: np.ndarray
    printed: str
    _known: dict[tuple[int, float, int], dict[str, Any]] = field(default_factory=dict)

    @property
    def explainer(self) -> Path:
        return self.folder / "explainer"

    @property
    def model(self) -> Path:
        return self.folder / "model"

    @cached_property
    def _alibi(self) -> Any:
        import dill
        import joblib

        with open(self.explainer / "explainer.dill", "rb") as file:
            explainer = dill.load(file)
        predict = joblib.load(self.model / "model.joblib").predict
        explainer.predictor = predict
        explainer.samplers[0].predictor = predict
        return explainer

    def alone(self, row: int, threshold: float = 0.95, seed: int = SEED) -> dict[str, Any]:
        """Return alibi's own explanation of a row, in this process, after `np.random.seed(seed)`."""
        if (row, threshold, seed) not in self._known:
            np.random.seed(seed)
            found = self._alibi.explain(self.rows[row : row + 1], threshold=threshold)
            self._known[row, threshold, seed] = json.loads(found.to_json())["data"]
        return self._known[row, threshold, seed]


def repository(folder: Path, income: Income, **extra: Any) -> Path:
    """A model repository as model-settings/, over the trained artifacts."""
    add_model(folder, "income-sklearn", income.model / "model.joblib")
    add_model(folder, "income-explainer", income.explainer, **extra)
    return folder


def add_model(folder: Path, like: str, uri: Path, name: str = "", **extra: Any) -> None:
    """Adds to a repository a model of model-settings/, perhaps under another name."""
    settings = json.loads((ROOT / "model-settings" / like / "model-settings.json").read_text())
    settings["name"] = name or like
    settings["parameters"]["uri"] = str(uri)
    if extra:
        settings["parameters"]["extra"] |= extra
    place = folder / settings["name"]
    place.mkdir(parents=True)
    (place / "model-settings.json").write_text(json.dumps(settings))


def explain(server: Server, row: np.ndarray, threshold: float, **parameters: Any) -> dict[str, Any]:
    """The explanation of one row, over HTTP."""
    return dict(json.loads(answered(server.http, row, threshold, **parameters))["data"])


def answered(http: httpx.Client, row: np.ndarray, threshold: float, **parameters: Any) -> str:
    """The text that a server answers with."""
    body = {
        "inputs": [payload(row)],
        "parameters": {"parameters": {"threshold": threshold}, **parameters},
    }
    answer = http.post("/v2/models/income-explainer/infer", json=body)
    assert answer.status_code == 200, answer.text
    text: str = answer.json()["outputs"][0]["data"][0]
    return text


def payload(row: np.ndarray) -> dict[str, Any]:
    """A row as the explainer's tensor."""
    rows = np.atleast_2d(row)
    return {
        "name": "payload",
        "shape": list(rows.shape),
        "datatype": "INT64",
        "data": rows.tolist(),
    }


def tensor(**changes: Any) -> dict[str, Any]:
    """A row of zeros with changes."""
    return payload(np.zeros((1, 12), int)) | changes


def request(*tensors: Any, **parameters: Any) -> dict[str, Any]:
    """A request for an explanation."""
    return {"inputs": list(tensors), "parameters": {"parameters": {}, **parameters}}


def essence(explanation: dict[str, Any]) -> tuple[Any, ...]:
    """Return the parts by which two explanations are the same."""
    return explanation["anchor"], explanation["precision"], explanation["coverage"]
