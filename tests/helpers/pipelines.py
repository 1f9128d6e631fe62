"""Small pipelines for tests. It travels in their artifacts, so it imports little."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from pydantic import BaseModel

from tempo_runtime import PipelineModels, loadmethod, model, pipeline, predictmethod


class Order(BaseModel):
    item: str
    amount: int = 1


class Bill(BaseModel):
    orders: list[Order]
    total: float


@model("double")
def double(x: np.ndarray) -> np.ndarray:
    return x * 2


@model("echo")
def echo(x: Any) -> Any:
    return x


@model("shapes")
def shapes(x: np.ndarray) -> tuple[np.ndarray, str, int]:
    return x, str(x.dtype), x.ndim


class Scored(NamedTuple):
    label: str
    rows: np.ndarray
    named: bool = False


@model("scored")
def scored(x: np.ndarray) -> Scored:
    return Scored("high", x)


@model("naming")
def naming(x: int, named: bool = False) -> bool:
    return named


@model("bill")
async def bill(orders: list[Order], price: float = 2.0) -> Bill:
    return Bill(orders=orders, total=price * sum(order.amount for order in orders))


@model("frames")
def frames(frame: pd.DataFrame, factor: int = 1) -> pd.DataFrame:
    return frame.assign(n=frame["n"] * factor)


@model("counter")
class Counter:
    """Counts its load method's calls, and says what it runs on."""

    def __init__(self) -> None:
        self.loads = 0

    @loadmethod
    async def load(self) -> None:
        self.loads += 1

    @predictmethod
    def predict(self) -> dict:
        folder = self.get_tempo().details.local_folder
        thread = threading.current_thread() is threading.main_thread()
        return {"loads": self.loads, "folder": folder, "main_thread": thread}


@model("searched")
class Searched:
    """Says what the garbage collector searches, as it may at any time."""

    @predictmethod
    def predict(self) -> dict[str, bool]:
        searched = [id(each) for each in gc.get_objects()] if gc.isenabled() else []
        looked_for = {"mlserver": sys.modules["mlserver"], "the pipeline": type(self)}
        return {name: id(each) in searched for name, each in looked_for.items()}


@model("waiter")
def waiter(path: str) -> str:
    """Says that it is called with a file `PATH.called`, and answers once there is `PATH`."""
    open(f"{path}.called", "w").close()
    while not os.path.exists(path):
        time.sleep(0.01)
    return "done"


@model("count-up")
def count_up(to: int) -> Iterator[int]:
    yield from range(1, to + 1)


@model("acount-up")
async def acount_up(to: int) -> AsyncIterator[int]:
    for number in range(1, to + 1):
        await asyncio.sleep(0)
        yield number


@model("broken")
def broken(kind: str) -> str:
    errors = {"value": ValueError("this is wrong"), "key": KeyError("absent")}
    raise errors[kind]


@pipeline("sync-parent", models=PipelineModels(double=double))
class SyncParent:
    @predictmethod
    def predict(self, x: np.ndarray) -> np.ndarray:
        return self.models.double(x) + 1


@pipeline("async-parent", models=PipelineModels(double=double, other=double))
async def async_parent(x: np.ndarray) -> np.ndarray:
    one, two = await asyncio.gather(async_parent.models.double(x), async_parent.models.other(x=x))
    return one + two


@pipeline("grandparent", models=PipelineModels(parent=SyncParent, aparent=async_parent))
def grandparent(x: np.ndarray) -> np.ndarray:
    return grandparent.models.parent(x) + grandparent.models.aparent(x)


@pipeline("patient", models=PipelineModels(waiter=waiter))
def patient(paths: list[str]) -> int:
    """Calls its child again and again; a deadline ends it between two calls."""
    for number, path in enumerate(paths):
        patient.models.waiter(path)
        with open(path, "a") as file:
            file.write(f"{number}")
    return len(paths)


@model("dice")
def dice(n: int) -> np.ndarray:
    return np.random.randint(0, 1_000_000, n)


ALL = (
    double,
    echo,
    shapes,
    bill,
    frames,
    Counter,
    waiter,
    count_up,
    acount_up,
    broken,
    SyncParent,
    async_parent,
    grandparent,
    patient,
    dice,
)
