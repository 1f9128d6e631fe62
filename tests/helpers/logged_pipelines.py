"""Pipelines whose requests are logged. They travel in artifacts."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import numpy as np
import pandas as pd

from tempo_runtime import (
    InsightsOptions,
    PipelineModels,
    insights,
    model,
    pipeline,
    predictmethod,
)


@model("doubles", insights=InsightsOptions(redact=("secret",)))
def doubles(rows: np.ndarray, secret: str = "") -> np.ndarray:
    return rows * 2


@pipeline("logged", models=PipelineModels(doubles=doubles))
def logged(rows: np.ndarray, note: str = "", user: str = "ada") -> np.ndarray:
    if note == "fail":
        raise ValueError("a value: s3cret")
    if note == "sleep":
        time.sleep(0.2)
    answer = logged.models.doubles(rows, secret="s3cret")
    insights.log({"total": float(answer.sum()), "user": user})
    rows += 100  # after the call, and before the events are written
    return answer


@pipeline("logged-async", models=PipelineModels(doubles=doubles))
async def logged_async(rows: np.ndarray) -> np.ndarray:
    one, two = await asyncio.gather(
        logged_async.models.doubles(rows), logged_async.models.doubles(rows + 1)
    )
    return one + two


@model("logged-echo")
def echo(person: dict) -> dict:
    return person


@pipeline(
    "logged-inner",
    models=PipelineModels(echo=echo),
    insights=InsightsOptions(redact=("iban",)),
)
def logged_inner(iban: str) -> str:
    person = {"iban": iban, "name": "ada"}
    insights.log(person)
    logged_inner.models.echo(person)
    return "done"


@pipeline("logged-outer", models=PipelineModels(inner=logged_inner))
def logged_outer() -> str:
    answer: str = logged_outer.models.inner("s3cret")
    insights.log({"iban": "of the outer"})
    return answer


@pipeline("logged-frame")
class LoggedFrame:
    def __init__(self) -> None:
        self.last = np.zeros(3)

    @predictmethod
    def predict(self, people: pd.DataFrame) -> np.ndarray:
        self.last[:] = people["amount"].sum()  # the same array is returned each time
        return self.last


@model("logged-stream")
def logged_stream(count: int) -> Iterator[int]:
    for number in range(count):
        if number == 7:
            raise ValueError("seven")
        yield number


ALL = (logged, logged_async, logged_inner, logged_outer, LoggedFrame, logged_stream)
CHILDREN = (doubles, echo)
