"""Three pipelines that call each other, and what each can fail with. It travels in their artifacts."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from mlserver.errors import MLServerError

from tempo_runtime import PipelineModels, pipeline, predictmethod
from tempo_runtime.errors import PayloadError


def look_up(table: pd.DataFrame, column: str) -> Any:
    return table[column]  # the line to blame


def fail(how: str) -> None:
    """Fail in the way that a request asks for."""
    if how == "wrong rows":
        raise PayloadError("row 3 has no price")
    if how == "own status":
        raise MLServerError("there is no such customer", 409)
    if how == "missing column":
        look_up(pd.DataFrame({"a": [1]}), "price")
    if how == "exit":
        sys.exit(3)
    if how == "long":
        raise PayloadError("ä" * 20_000)


@pipeline("prices")
class Prices:
    """The innermost."""

    @predictmethod
    def predict(self, rows: np.ndarray, how: str = "") -> np.ndarray:
        fail(how)
        return rows * 2


@pipeline("shop", models=PipelineModels(prices=Prices))
class Shop:
    """Calls the innermost."""

    models: Any

    @predictmethod
    def predict(self, rows: Any, how: str = "") -> Any:
        if how == "bad call":
            return self.models.prices(rows, amount=3)
        if how == "bad value":
            return self.models.prices(np.array([object()]))
        return self.models.prices(rows, how)


@pipeline("front", models=PipelineModels(shop=Shop))
class Front:
    """Calls what calls the innermost."""

    models: Any

    @predictmethod
    def predict(self, rows: Any, how: str = "") -> Any:
        return self.models.shop(rows, how)


@pipeline("stream", models=PipelineModels(shop=Shop))
class Stream:
    """Streams, and fails where its child does."""

    models: Any

    @predictmethod
    def predict(self, rows: Any, how: str = "") -> Iterator[Any]:
        for _ in range(2):
            yield self.models.shop(rows, how)
