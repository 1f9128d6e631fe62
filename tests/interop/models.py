"""Pipelines for these tests. It travels in their artifacts, so it imports little."""

from __future__ import annotations

import numpy as np

from tempo_runtime import model


@model("scaled")
def scaled(x: np.ndarray, options: dict, note: str) -> np.ndarray:
    return x * options["by"] + len(note)


@model("non-finite")
def non_finite(count: int) -> np.ndarray:
    return np.array([np.nan, np.inf, -np.inf])[:count]
