"""MLServer runtimes, as users write them."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import Any

import numpy as np
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.errors import MLServerError
from mlserver.types import InferenceRequest, InferenceResponse, RequestOutput

from tests.execution import runtime_record


class Custom(MLModel):
    """Answers with its input, and notes what happens to it."""

    async def load(self) -> Any:
        runtime_record.calls.append(("load", _where()))
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        runtime_record.calls.append(("predict", _where()))
        return self.answer(await self.work(payload))

    async def work(self, payload: InferenceRequest) -> Any:
        return self.decode(payload.inputs[0], default_codec=NumpyCodec)

    async def unload(self) -> bool:
        runtime_record.calls.append(("unload", _where()))
        return True

    def answer(self, value: Any) -> InferenceResponse:
        output = self.encode(np.asarray(value), RequestOutput(name="out"), NumpyCodec)
        return InferenceResponse(model_name=self.name, outputs=[output])


class Raw(Custom):
    async def work(self, payload: InferenceRequest) -> Any:
        runtime_record.calls.append(("data", payload.inputs[0].data.root))
        return payload.inputs[0].data.root


class Told(Custom):
    async def work(self, payload: InferenceRequest) -> Any:
        parameters = payload.parameters
        told = {"id": payload.id, "headers": parameters and parameters.headers}
        told["extra"] = self.settings.parameters.extra
        return np.array([json.dumps(told)])


class Blocking(Custom):
    """Does in `async def predict` what MLServer's Hugging Face runtime does there: it computes."""

    async def work(self, payload: InferenceRequest) -> Any:
        runtime_record.called.set()
        runtime_record.gate.wait(30)
        return 1.0


class Patient(Custom):
    async def work(self, payload: InferenceRequest) -> Any:
        runtime_record.called.set()
        try:
            await asyncio.Event().wait()
        finally:
            runtime_record.ended.set()


class Looped(Custom):
    """Makes what belongs to a loop when it is loaded, and needs it later."""

    async def load(self) -> bool:
        self.wake: asyncio.Queue[float] = asyncio.Queue()
        self.echo = asyncio.ensure_future(self.wake.get())
        return bool(await super().load())

    async def work(self, payload: InferenceRequest) -> Any:
        self.wake.put_nowait(2.5)
        return await self.echo


class InThread(Custom):
    """Works in a thread, as MLServer's runtime of alibi explainers does."""

    async def work(self, payload: InferenceRequest) -> Any:
        return await asyncio.to_thread(self._explain)

    def _explain(self) -> float:
        runtime_record.calls.append(("began", None))
        runtime_record.gate.wait(30)
        runtime_record.ended.set()
        return 1.0


class SlowToLoad(Custom):
    async def load(self) -> bool:
        runtime_record.called.set()
        await asyncio.to_thread(runtime_record.gate.wait, 30)
        return bool(await super().load())


class Unready(Custom):
    async def load(self) -> Any:
        return None


class Refusing(Custom):
    async def work(self, payload: InferenceRequest) -> Any:
        raise MLServerError("no such row", 404)


class TimedOut(Custom):
    async def work(self, payload: InferenceRequest) -> Any:
        raise TimeoutError("the database is slow")


class Stuck(Custom):
    async def unload(self) -> bool:
        raise RuntimeError("still in use")


def _where() -> tuple[int, int]:
    return threading.get_ident(), id(asyncio.get_running_loop())
