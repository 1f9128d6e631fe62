"""A small anchor explainer over a rule, as a pipeline. It travels in its artifact."""

from __future__ import annotations

import os
import threading
from typing import Any

import dill
import numpy as np

from tempo_runtime import PipelineModels, model, pipeline, predictmethod

NAMES = ["a", "b", "c", "d", "e"]


def label(rows: np.ndarray) -> np.ndarray:
    """A rule of all columns."""
    score = rows @ np.linspace(-1, 1, rows.shape[1]) + (rows[:, 0] > 0.4) * rows[:, -1]
    return (score > np.linspace(0, 0.6, 3)[:, None]).sum(axis=0)


@model("labels")
def labels(rows: np.ndarray) -> np.ndarray:
    gate = os.environ.get("RULES_GATE")
    if gate and rows[0, 0] < 0:  # a row that a test has made to wait
        with open(f"{gate}.called", "w"):
            pass
        while not os.path.exists(gate):
            threading.Event().wait(0.01)
    return label(rows)


@pipeline("rules", models=PipelineModels(labels=labels))
class Rules:
    def __init__(self) -> None:
        with open(os.path.join(self.get_tempo().details.local_folder, "explainer.dill"), "rb") as f:
            self.explainer = dill.load(f)

    @predictmethod
    def explain(self, payload: np.ndarray, parameters: dict[str, Any] | None = None) -> str:
        self.explainer.reset_predictor(self.models.labels)
        return self.explainer.explain(payload, **(parameters or {})).to_json()
