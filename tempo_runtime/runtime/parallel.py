"""Represent a pipeline that parallel workers serve, in MLServer's main process, and end the workers.

MLServer's own class passes requests on. It always reports that the model is ready, and if a stream fails
in a worker, the client's connection breaks. Ours asks the workers, and answers with an event.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from typing import Any

from mlserver import MLModel
from mlserver.errors import MLServerError
from mlserver.parallel import pool
from mlserver.parallel.errors import WorkerStop
from mlserver.parallel.messages import ModelRequestMessage
from mlserver.parallel.model import ParallelModel
from mlserver.parallel.worker import Worker
from mlserver.types import InferenceRequest, InferenceResponse

from tempo_runtime.execution.runner import is_enough
from tempo_runtime.protocol.messages import mlserver_parameters
from tempo_runtime.request.spans import with_current_span
from tempo_runtime.runtime import dispatch
from tempo_runtime.runtime.error_mapping import over_http, stream_error

CONDITION = "condition"  # method of a pipeline's runtime, called in the workers
Condition = tuple[float, bool]  # the share of free threads, and whether a needed state is away
_MAX_AGE = 0.5  # seconds until the workers are asked again
_TIMEOUT = 5.0  # seconds; a worker that takes longer cannot serve
logger = logging.getLogger(__name__)


class PipelineInWorkers(ParallelModel):  # type: ignore[misc]  # an untyped class
    """A pipeline that parallel workers serve, in MLServer's main process."""

    _loaded = False
    _enough = True
    _state_away = False
    _asked_at = 0.0
    _asking: asyncio.Task[None] | None = None

    @property
    def ready(self) -> bool:
        """Whether the pipeline is loaded, and its workers together have enough free threads."""
        if self._loaded:
            self._ask()
        return self._loaded and self._enough

    @ready.setter
    def ready(self, loaded: bool) -> None:
        self._loaded = loaded

    @property
    def is_state_away(self) -> bool:
        """Whether a worker lacks the state that the pipeline needs; `ready` asks the workers."""
        return self._state_away

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Let a worker answer a request; its spans belong to the current one."""
        if payload.parameters is not None:
            headers = mlserver_parameters(payload.parameters).get("headers") or {}
            payload.parameters.headers = dict(with_current_span(headers)) or None
        response: InferenceResponse = await super().predict(payload)
        return response

    async def predict_stream(
        self, payloads: AsyncIterator[InferenceRequest]
    ) -> AsyncIterator[InferenceResponse]:
        """Yield a worker's answer, which is the last item of a stream, or its error."""
        payload = await anext(payloads)
        parameters = mlserver_parameters(payload.parameters)
        try:
            yield await self.predict(payload)
        except MLServerError as error:
            if not over_http(parameters):
                raise
            yield stream_error(self.name, error)

    def _ask(self) -> None:
        """Ask the workers, unless they were asked just now; a later call uses the answer."""
        asking = self._asking is not None and not self._asking.done()
        if asking or time.monotonic() - self._asked_at < _MAX_AGE:
            return
        self._asked_at = time.monotonic()
        self._asking = asyncio.get_running_loop().create_task(self._ask_workers())

    async def _ask_workers(self) -> None:
        workers = dispatch.ready(self._dispatcher)
        answers = await asyncio.gather(*map(self._condition, workers))
        conditions = [condition for condition in answers if condition is not None]
        shares = [share for share, _ in conditions]
        self._enough = not shares or is_enough(sum(shares) / len(shares))
        self._state_away = any(away for _, away in conditions)

    async def _condition(self, worker: Worker) -> Condition | None:
        """Return a worker's condition; None if it is being replaced."""
        message = ModelRequestMessage(
            model_name=self.name, model_version=self.version, method_name=CONDITION
        )
        try:
            asked = dispatch.call(self._dispatcher, worker, message)
            condition: Condition = await asyncio.wait_for(asked, _TIMEOUT)
        except asyncio.TimeoutError:
            return 0.0, False
        except WorkerStop:
            return None
        except MLServerError:
            logger.exception("a worker of model %r did not report its condition", self.name)
            return None
        return condition


def install() -> None:
    """Make MLServer use `PipelineInWorkers` for pipelines, and end all workers at the same time.

    Other models keep MLServer's own class. Requests go to the worker with the fewest open ones. A
    pipeline that workers cannot serve is refused before they load it.
    """
    dispatch.install()
    pool.ParallelModel = _stand_in
    pool.InferencePool.load_model = _load_model
    pool.InferencePool._close_workers = _close_workers


def is_pipeline(model: MLModel) -> bool:
    """Return whether a model is a pipeline, in this process or in its workers."""
    # Not by its class, because MLServer imports that again for each model.
    return hasattr(model, CONDITION) or isinstance(model, PipelineInWorkers)


_load_in_workers = pool.InferencePool.load_model


async def _load_model(workers: pool.InferencePool, model: MLModel) -> MLModel:
    if is_pipeline(model):
        await model.check_workers(len(workers._workers))
    return await _load_in_workers(workers, model)


def _stand_in(model: MLModel, dispatcher: Any) -> ParallelModel:
    represent = PipelineInWorkers if is_pipeline(model) else ParallelModel
    return represent(model, dispatcher)


async def _close_workers(workers: pool.InferencePool) -> None:
    """End all workers of a pool at the same time.

    MLServer ends them one after the other, which may take longer than the server's `drain_timeout`.
    """
    ending = list(workers._workers.values())
    workers._workers.clear()  # so that a second signal does nothing
    for worker in ending:
        await worker.stop()
    end = time.monotonic() + workers._settings.parallel_workers_timeout
    for worker in ending:
        # Blocks the loop, as MLServer does: a running loop would treat each end as a crash.
        worker.join(max(0.0, end - time.monotonic()))
        if worker.exitcode is None:
            worker.kill()
    callbacks = [callback(worker) for worker in ending for callback in workers._on_worker_stop]
    await asyncio.gather(*callbacks)
