"""A scikit-learn model that waits at a gate, and records its calls."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

gate = threading.Event()
calls: list[tuple[int, int]] = []  # rows, and the thread


def reset() -> None:
    gate.clear()
    calls.clear()


class Gated:
    """Returns the sum of each row."""

    def predict(self, rows: np.ndarray) -> Any:
        calls.append((len(rows), threading.get_ident()))
        gate.wait(20)
        if np.isnan(rows).any():
            raise ValueError("Input X contains NaN.")
        return rows.sum(axis=1)
