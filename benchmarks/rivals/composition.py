"""Two models, or one, are asked at the same time, and their answers are averaged."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import aiohttp
import joblib
import numpy as np
import orjson
import xgboost
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse
from numpy.typing import NDArray

HEADERS = {"content-type": "application/json"}
Rows = NDArray[Any]


def load(path: str) -> Callable[[Rows], Rows]:
    """Return a model's `predict`."""
    if path.endswith(".joblib"):
        return joblib.load(path).predict
    model = xgboost.XGBRegressor()
    model.load_model(path)
    return model.predict


class Threads(MLModel):
    """Has the models in its process, and computes in threads, which do not block the loop."""

    async def load(self) -> bool:
        self.models = [load(path) for path in self.settings.parameters.extra["models"]]
        self.pool = ThreadPoolExecutor(2 * (os.cpu_count() or 1))
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        rows = NumpyCodec.decode_input(payload.inputs[0])
        loop = asyncio.get_running_loop()
        answers = await asyncio.gather(
            *(loop.run_in_executor(self.pool, model, rows) for model in self.models)
        )
        output = NumpyCodec.encode_output("output-0", sum(answers) / len(answers))
        return InferenceResponse(model_name=self.name, outputs=[output])


class Aiohttp(MLModel):
    """Calls the models of other servers over kept connections; encodes the rows once for all."""

    async def load(self) -> bool:
        self.urls = self.settings.parameters.extra["urls"]
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=2.5)
        self.client = aiohttp.ClientSession(connector=connector)
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        rows = NumpyCodec.decode_input(payload.inputs[0])
        tensor = {"name": "x", "shape": rows.shape, "datatype": "FP64", "data": rows.ravel()}
        body = orjson.dumps({"inputs": [tensor]}, option=orjson.OPT_SERIALIZE_NUMPY)
        answers = await asyncio.gather(*(self.ask(url, body) for url in self.urls))
        output = NumpyCodec.encode_output("output-0", sum(answers) / len(answers))
        return InferenceResponse(model_name=self.name, outputs=[output])

    async def ask(self, url: str, body: bytes) -> Rows:
        async with self.client.post(url, data=body, headers=HEADERS) as answer:
            text = await answer.read()
            if answer.status != 200:
                raise RuntimeError(text.decode())
        output = orjson.loads(text)["outputs"][0]
        return np.array(output["data"]).reshape(output["shape"])

    async def unload(self) -> bool:
        await self.client.close()
        return True
