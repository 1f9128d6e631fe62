"""Ray Serve: a deployment for each model, with batching, and one that calls both."""

from __future__ import annotations

import asyncio
import os
import signal
import threading

import models
import numpy as np
import ray
from ray import serve
from starlette.requests import Request
from starlette.responses import Response

BATCHING = {"max_batch_size": 64, "batch_wait_timeout_s": 0.001}
OPTIONS = {"ray_actor_options": {"num_cpus": 0.3}, "max_ongoing_requests": 128}


async def together(predict: models.Predict, batch: list[models.Rows]) -> list[models.Rows]:
    """Answer several requests with one call, off the event loop."""
    answers = await asyncio.to_thread(predict, np.concatenate(batch))
    return np.split(answers, np.cumsum([len(rows) for rows in batch])[:-1])


@serve.deployment(**OPTIONS)
class Sklearn:
    def __init__(self) -> None:
        self.model = models.load_sklearn()

    @serve.batch(**BATCHING)
    async def predict(self, batch: list[models.Rows]) -> list[models.Rows]:
        return await together(self.model, batch)


@serve.deployment(**OPTIONS)
class Xgboost:
    def __init__(self) -> None:
        self.model = models.load_xgboost()

    @serve.batch(**BATCHING)
    async def predict(self, batch: list[models.Rows]) -> list[models.Rows]:
        return await together(self.model, batch)


@serve.deployment(**OPTIONS)
class Mean:
    def __init__(self, one: serve.handle.DeploymentHandle, two: serve.handle.DeploymentHandle):
        self.one, self.two = one, two

    async def __call__(self, request: Request) -> Response:
        import orjson

        rows = np.array(orjson.loads(await request.body())["x"])
        one, two = await asyncio.gather(
            self.one.predict.remote(rows), self.two.predict.remote(rows)
        )
        content = orjson.dumps((one + two) / 2, option=orjson.OPT_SERIALIZE_NUMPY)
        return Response(content, media_type="application/json")


if __name__ == "__main__":
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    here = os.path.dirname(os.path.abspath(__file__))
    variables = {"PYTHONPATH": here, "MODELS": os.environ["MODELS"], "OMP_NUM_THREADS": "1"}
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        runtime_env={"env_vars": variables},
        object_store_memory=200 << 20,
    )
    serve.start(http_options={"host": "127.0.0.1", "port": int(os.environ["PORT"])})
    serve.run(Mean.bind(Sklearn.bind(), Xgboost.bind()), route_prefix="/predict")
    ended.wait()
    serve.shutdown()
    ray.shutdown()
