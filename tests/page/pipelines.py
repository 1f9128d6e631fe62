"""Pipelines that the page is tried with."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from tempo_runtime import Children, PipelineModels, model, pipeline, predictmethod

MARKUP = '<img src="nowhere" onerror="window.hacked = true">'


@dataclass
class Line:
    item: str
    count: int = 1


@dataclass
class Address:
    street: str
    city: str = "Rome"


@model("order")
def order(
    lines: list[Line],
    to: Address,
    size: Literal["small", "large"] = "small",
    gift: bool = False,
    note: str | None = "none",
) -> dict[str, Any]:
    """Place an order.

    Args:
        lines: What is ordered.
        to: Where it goes.
        note: A greeting.
    """
    pieces = sum(line.count for line in lines)
    return {"pieces": pieces, "city": to.city, "size": size, "gift": gift, "note": note}


@model("sums")
def sums(rows: np.ndarray[tuple[int, int], np.dtype[np.float64]], labels: list[str]) -> list[float]:
    if len(rows) != len(labels):
        raise ValueError(f"{len(rows)} rows have {len(labels)} labels")
    return [float(total) for total in rows.sum(axis=1)]


@model("exact")
def exact(number: int, numbers: np.ndarray[tuple[int], np.dtype[np.int64]], real: float) -> Any:
    return {"number": number, "numbers": numbers.tolist(), "real": real}


@model("table")
def table(people: pd.DataFrame) -> pd.DataFrame:
    return people.assign(older=people["age"] + 1)


@model("words")
def words(text: str) -> Iterator[str]:
    """Says a text word by word; after "wait" a file must come."""
    for word in text.split():
        while word == "wait" and not os.path.exists(os.environ["PAGE_GATE"]):
            threading.Event().wait(0.01)
        yield f"{word} "


@model("markup", description=f"Says {MARKUP}")
def markup(text: str = MARKUP) -> dict[str, str]:
    """Say it.

    Args:
        text: Such as <b>bold</b>.
    """
    return {text: text}


@pipeline("shop", models=PipelineModels(sums=sums))
class Shop:
    models: Children

    @predictmethod
    def price(self, rows: list[list[float]], labels: list[str]) -> list[float]:
        """Adds up prices."""
        result: list[float] = self.models.sums(rows=np.array(rows), labels=labels)
        return result


PIPELINES = (order, sums, exact, table, words, markup, Shop)
