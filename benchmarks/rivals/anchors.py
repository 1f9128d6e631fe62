"""A runtime for anchors written by hand: off the loop, one explanation at a time, seeded.

`explain` compares ours with it, and serves it in a separate process.
"""

from __future__ import annotations

import asyncio
from http.client import HTTPConnection
from typing import Any

import dill
import numpy as np
import orjson
from mlserver import MLModel
from mlserver.codecs import NumpyCodec, StringCodec
from mlserver.types import InferenceRequest, InferenceResponse, Parameters

HEADERS = {"content-type": "application/json"}


class Anchors(MLModel):
    """Explains with alibi, and calls the classifier of another server over a kept connection."""

    async def load(self) -> bool:
        extra = self.settings.parameters.extra
        self.path = extra["path"]
        # One explanation has it at a time: a single connection is all the pool there has to be.
        self.connection = HTTPConnection(extra["address"])
        self.asked: list[int] = []
        self.explainer = await asyncio.to_thread(self.read, extra["explainer"])
        # Neither the explainer nor numpy's generator can serve two.
        self.lock = asyncio.Lock()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        rows = NumpyCodec.decode_input(payload.inputs[0])
        given = payload.parameters
        async with self.lock:
            text = await asyncio.to_thread(self.explain, rows, given.threshold, given.seed)
            parameters = Parameters(calls=len(self.asked), rows=sum(self.asked))
        output = StringCodec.encode_output("explanation", [text])
        return InferenceResponse(model_name=self.name, outputs=[output], parameters=parameters)

    def read(self, path: str) -> Any:
        with open(path, "rb") as file:
            explainer = dill.load(file)
        explainer.predictor = explainer.samplers[0].predictor = self.ask
        self.connection.close()
        return explainer

    def explain(self, rows: np.ndarray, threshold: float, seed: int) -> str:
        self.asked.clear()
        np.random.seed(seed)
        try:
            return str(self.explainer.explain(rows, threshold=threshold).to_json())
        finally:
            self.connection.close()  # idle, the server would; the next call opens it again

    def ask(self, rows: np.ndarray) -> np.ndarray:
        self.asked.append(len(rows))
        datatype = "FP64" if rows.dtype.kind == "f" else "INT64"
        data = np.ascontiguousarray(rows).ravel()
        tensor = {"name": "x", "shape": rows.shape, "datatype": datatype, "data": data}
        body = orjson.dumps({"inputs": [tensor]}, option=orjson.OPT_SERIALIZE_NUMPY)
        self.connection.request("POST", self.path, body, HEADERS)
        answer = self.connection.getresponse()
        text = answer.read()
        if answer.status != 200:
            raise RuntimeError(text.decode())
        return np.array(orjson.loads(text)["outputs"][0]["data"])
