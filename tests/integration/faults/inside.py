"""Code that runs inside the servers of these tests. It travels in their artifacts."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from typing import Any

import numpy as np

from tempo_runtime import (
    Model,
    ModelFramework,
    PipelineModels,
    loadmethod,
    model,
    pipeline,
    predictmethod,
)

GATE = "FAULTS_GATE"
_POOLS = ("tempo-", "asyncio_", "AnyIO worker")  # their threads stay, up to a number that is fixed


def asking(aliases: list[str]) -> list[Any]:
    """A sync and an async pipeline, which ask the child they are told to."""
    models: dict[str, Any] = {
        alias: Model("iris", platform=ModelFramework.SKLearn) for alias in aliases
    }
    if "typed" in models:
        models["typed"] = Model(
            "iris", platform=ModelFramework.SKLearn, outputs=np.ndarray[Any, np.dtype[np.int64]]
        )

    @pipeline("ask", models=PipelineModels(**models))
    class Ask:
        @predictmethod
        def predict(self, child: str, x: Any) -> Any:
            return getattr(self.models, child)(x)

    @pipeline("ask-async", models=PipelineModels(**models))
    class AskAsync:
        @predictmethod
        async def predict(self, child: str, x: Any) -> Any:
            return await getattr(self.models, child)(x)

    return [Ask, AskAsync]


@model("census")
async def census() -> dict[str, list[str]]:
    """The server's tasks, and those of its threads that belong to no pool."""
    tasks = [task.get_coro() for task in asyncio.all_tasks()]
    threads = [thread.name for thread in threading.enumerate()]
    return {
        "tasks": sorted(getattr(task, "__qualname__", str(type(task))) for task in tasks),
        "threads": sorted(name for name in threads if not name.startswith(_POOLS)),
    }


@model("gated")
class Gated:
    """Loads when there is a file."""

    @loadmethod
    def load(self) -> None:
        while not os.path.exists(os.environ[GATE]):
            time.sleep(0.01)

    @predictmethod
    def predict(self, x: np.ndarray) -> np.ndarray:
        return x * 2
