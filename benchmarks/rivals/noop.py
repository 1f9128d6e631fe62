"""Runtimes that only give their input back."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse, ResponseOutput


class Echo(MLModel):
    """Returns the tensor as it came: nothing can do less."""

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        given = payload.inputs[0]
        output = ResponseOutput(
            name="output-0", shape=given.shape, datatype=given.datatype, data=given.data
        )
        return InferenceResponse(model_name=self.name, outputs=[output])


class Arrays(MLModel):
    """Reads an array and writes it, as a runtime that computes does."""

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        array = NumpyCodec.decode_input(payload.inputs[0])
        output = NumpyCodec.encode_output("output-0", array)
        return InferenceResponse(model_name=self.name, outputs=[output])


class Threads(MLModel):
    """Does the same in a thread, as a runtime that computes for long must."""

    async def load(self) -> bool:
        self.pool = ThreadPoolExecutor()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self.pool, self.answer, payload)

    def answer(self, payload: InferenceRequest) -> InferenceResponse:
        array = NumpyCodec.decode_input(payload.inputs[0])
        output = NumpyCodec.encode_output("output-0", array)
        return InferenceResponse(model_name=self.name, outputs=[output])
