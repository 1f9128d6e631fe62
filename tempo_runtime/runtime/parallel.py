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
from mlserver.parallel.model import ParallelModel
from mlserver.types import InferenceRequest, InferenceResponse

from tempo_runtime.execution.runner import is_enough
from tempo_runtime.protocol.messages import mlserver_parameters
from tempo_runtime.runtime.error_mapping import over_http, stream_error

SHARE_LEFT = "share_left"  # method of a pipeline's runtime, called in the workers
_MAX_AGE = 0.5  # seconds until the workers are asked again
_TIMEOUT = 5.0  # seconds; a worker that takes longer cannot serve
logger = logging.getLogger(__name__)


class PipelineInWorkers(ParallelModel):  # type: ignore[misc]  # an untyped class
    """A pipeline that parallel workers serve, in MLServer's main process."""

    _loaded = False
    _enough = True
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
        # Calls go to the workers in turn, so this asks each worker once.
        workers = range(len(self._dispatcher._workers))
        answers = await asyncio.gather(*(self._share_left() for _ in workers))
        shares = [share for share in answers if share is not None]
        self._enough = not shares or is_enough(sum(shares) / len(shares))

    async def _share_left(self) -> float | None:
        """Return the next worker's share of free threads; None if it is being replaced."""
        try:
            share: float = await asyncio.wait_for(self._send(SHARE_LEFT), _TIMEOUT)
        except asyncio.TimeoutError:
            return 0.0
        except WorkerStop:
            return None
        except MLServerError:
            logger.exception("a worker of model %r did not report its free threads", self.name)
            return None
        return share


def install() -> None:
    """Make MLServer use `PipelineInWorkers` for pipelines, and end all workers at the same time.

    Other models keep MLServer's own class.
    """
    pool.ParallelModel = _stand_in
    pool.InferencePool._close_workers = _close_workers


def is_pipeline(model: MLModel) -> bool:
    """Return whether a model is a pipeline, in this process or in its workers."""
    # Not by its class, because MLServer imports that again for each model.
    return hasattr(model, SHARE_LEFT) or isinstance(model, PipelineInWorkers)


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
