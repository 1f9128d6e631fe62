"""BentoML: two services with adaptive batching behind a third, or one service that has both models."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import bentoml
import models
import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.float64]
TRAFFIC = {"timeout": 60}
BATCHING: dict[str, Any] = {"batchable": True, "max_batch_size": 20_000, "max_latency_ms": 1000}


@bentoml.service(workers=1, threads=4, traffic=TRAFFIC)
class InProcess:
    """The smallest overhead: no calls between processes, and no batching."""

    def __init__(self) -> None:
        self.models = [models.load_sklearn(), models.load_xgboost()]
        self.pool = ThreadPoolExecutor(4)

    @bentoml.api(route="/predict")
    async def predict(self, x: Rows) -> Rows:
        loop = asyncio.get_running_loop()
        one, two = await asyncio.gather(
            *(loop.run_in_executor(self.pool, model, x) for model in self.models)
        )
        return (one + two) / 2


@bentoml.service(workers=1, traffic=TRAFFIC)
class Sklearn:
    def __init__(self) -> None:
        self.model = models.load_sklearn()

    @bentoml.api(**BATCHING)
    def predict(self, x: Rows) -> NDArray[Any]:
        return self.model(x)


@bentoml.service(workers=1, traffic=TRAFFIC)
class Xgboost:
    def __init__(self) -> None:
        self.model = models.load_xgboost()

    @bentoml.api(**BATCHING)
    def predict(self, x: Rows) -> NDArray[Any]:
        return self.model(x)


@bentoml.service(workers=1, traffic=TRAFFIC)
class Services:
    """The composition of BentoML's documentation: each service has its own process."""

    one = bentoml.depends(Sklearn)
    two = bentoml.depends(Xgboost)

    @bentoml.api(route="/predict")
    async def predict(self, x: Rows) -> Rows:
        one, two = await asyncio.gather(self.one.to_async.predict(x), self.two.to_async.predict(x))
        return (one + two) / 2
