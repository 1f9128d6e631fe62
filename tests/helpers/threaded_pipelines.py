"""A pipeline that calls its child in threads of its own. It travels in artifacts."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.pool import ThreadPool
from typing import Any

import numpy as np

from tempo_runtime import Model, ModelFramework, PipelineModels, model, pipeline, predictmethod

Call = Callable[[Any], Any]
POOL = ThreadPoolExecutor(2)  # its threads outlive every request
LEFT: list[threading.Thread] = []
GO_ON = threading.Event()
forest = Model(
    "forest", platform=ModelFramework.SKLearn, local_folder=os.environ.get("TEMPO_TEST_FOREST")
)


@model("part")
def part(rows: np.ndarray) -> np.ndarray:
    return rows * 2


def in_pool(call: Call, parts: list[Any]) -> list[Any]:
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(call, parts))


def in_kept_pool(call: Call, parts: list[Any]) -> list[Any]:
    return list(POOL.map(call, parts))


def in_thread_pool(call: Call, parts: list[Any]) -> list[Any]:
    with ThreadPool(2) as pool:
        return pool.map(call, parts)


def in_joblib(call: Call, parts: list[Any]) -> list[Any]:
    from joblib import Parallel, delayed

    found: list[Any] = Parallel(2, backend="threading")(delayed(call)(each) for each in parts)
    return found


def in_threads(call: Call, parts: list[Any]) -> list[Any]:
    found: dict[int, Any] = {}
    failed: list[Exception] = []

    def run(number: int) -> None:
        try:
            found[number] = call(parts[number])
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(parts))]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    if failed:
        raise failed[0]
    return [found[number] for number in range(len(parts))]


WAYS = {each.__name__: each for each in (in_pool, in_kept_pool, in_thread_pool, in_joblib)}
WAYS["in_threads"] = in_threads


@pipeline("split", models=PipelineModels(part=part))
class Split:
    def __init__(self) -> None:
        self.pool = ThreadPoolExecutor(2)

    @predictmethod
    def predict(self, rows: np.ndarray, way: str, lookup: str = "model") -> np.ndarray:
        models = self.models
        lookups: dict[str, Call] = {
            "model": self.models.part,
            "models": lambda each: models.part(each),
            "late": lambda each: self.models.part(each),
            "function": part,
            "forest": forest,
        }
        parts = np.array_split(rows, 2)
        call = lookups[lookup]
        if way == "in_own_pool":
            return np.concatenate(list(self.pool.map(call, parts)))
        return np.concatenate(WAYS[way](call, parts))


@pipeline("split-async", models=PipelineModels(part=part))
async def split_async(rows: np.ndarray, way: str) -> np.ndarray:
    call, parts = split_async.models.part, np.array_split(rows, 2)

    async def one(each: np.ndarray) -> Any:
        if way == "to_thread":
            return await (await asyncio.to_thread(call, each))
        loop = asyncio.get_running_loop()
        if way == "run_in_executor":
            return await (await loop.run_in_executor(None, call, each))
        return await loop.run_in_executor(None, lambda: asyncio.run(call(each)))

    return np.concatenate(await asyncio.gather(*map(one, parts)))


@pipeline("leaver", models=PipelineModels(part=part))
class Leaver:
    """Leaves a thread, which calls the child during the next request."""

    @predictmethod
    def predict(self, rows: np.ndarray) -> str:
        if LEFT:
            GO_ON.set()
            LEFT[0].join()
            return self.told
        child = self.models.part

        def run() -> None:
            GO_ON.wait()
            try:
                child(rows)
                self.told = "called"
            except Exception as error:
                self.told = str(error)

        LEFT.append(threading.Thread(target=run))
        LEFT[0].start()
        return "left"
