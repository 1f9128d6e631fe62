"""Represent a pipeline that parallel workers serve, in MLServer's main process; end and replace workers.

MLServer's own class passes requests on. It always reports that the model is ready, and gives only the
last item of a stream. Ours asks the workers, and reads their streams item by item.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
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
from tempo_runtime.protocol.messages import Request, mlserver_parameters
from tempo_runtime.protocol.plain import PlainCall
from tempo_runtime.request.spans import with_current_span
from tempo_runtime.runtime import dispatch, worker_streams
from tempo_runtime.runtime.error_mapping import over_http, stream_error

# Methods of a pipeline's runtime, called in the workers.
CONDITION, STREAM = "condition", "stream"
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
        _name_current_span(payload)
        response: InferenceResponse = await super().predict(payload)
        return response

    @property
    def has_no_worker(self) -> bool:
        """Whether each worker has ended and is starting again."""
        return not dispatch.ready(self._dispatcher)

    async def predict_stream(
        self, payloads: AsyncIterator[InferenceRequest]
    ) -> AsyncGenerator[InferenceResponse, None]:
        """Answer each request with the items of a stream in a worker, or with its error."""
        async for payload in payloads:
            _name_current_span(payload)
            parameters = mlserver_parameters(payload.parameters)
            try:
                async with aclosing(self.stream(STREAM, payload)) as items:
                    async for item in items:
                        yield item
            except MLServerError as error:
                if not over_http(parameters):
                    raise
                yield stream_error(self.name, error)

    async def stream(self, method: str, request: Any) -> AsyncGenerator[Any, None]:
        """Yield what a method of the pipeline's runtime yields for a request, in one of the workers."""
        worker, _ = self._dispatcher._get_worker()

        async def ask(name: str, *arguments: Any) -> Any:
            message = ModelRequestMessage(
                model_name=self.name,
                model_version=self.version,
                method_name=name,
                method_args=list(arguments),
            )
            return await dispatch.call(self._dispatcher, worker, message)

        async with aclosing(worker_streams.read(ask, method, request)) as items:
            async for item in items:
                yield item

    def _ask(self) -> None:
        """Ask the workers, unless they were asked just now; a later call uses the answer."""
        asking = self._asking is not None and not self._asking.done()
        if asking or time.monotonic() - self._asked_at < _MAX_AGE:
            return
        self._asked_at = time.monotonic()
        self._asking = asyncio.get_running_loop().create_task(self._ask_condition())

    async def ask_workers(self, method: str, late: Any = None) -> list[Any]:
        """Call a method of the pipeline's runtime in each worker.

        Args:
            method: Its name.
            late: The result of a worker that does not answer in time; None for no result.

        Returns:
            The results; without those of workers that are being replaced, or that raise an error.
        """
        workers = dispatch.ready(self._dispatcher)
        asked = (self._ask_worker(worker, method, late) for worker in workers)
        return [answer for answer in await asyncio.gather(*asked) if answer is not None]

    async def _ask_condition(self) -> None:
        conditions: list[Condition] = await self.ask_workers(CONDITION, late=(0.0, False))
        shares = [share for share, _ in conditions]
        self._enough = not shares or is_enough(sum(shares) / len(shares))
        self._state_away = any(away for _, away in conditions)

    async def _ask_worker(self, worker: Worker, method: str, late: Any) -> Any:
        message = ModelRequestMessage(
            model_name=self.name, model_version=self.version, method_name=method
        )
        try:
            asked = dispatch.call(self._dispatcher, worker, message)
            return await asyncio.wait_for(asked, _TIMEOUT)
        except asyncio.TimeoutError:
            return late
        except WorkerStop:
            return None
        except MLServerError:
            logger.exception("a worker of model %r did not report its %s", self.name, method)
            return None


def _name_current_span(payload: InferenceRequest) -> None:
    """As `name_current_span`, in a request of MLServer's own type."""
    if payload.parameters is not None:
        headers = mlserver_parameters(payload.parameters).get("headers") or {}
        payload.parameters.headers = dict(with_current_span(headers)) or None


def install() -> None:
    """Make MLServer use `PipelineInWorkers` for pipelines, and end all workers at the same time.

    Other models keep MLServer's own class. Requests go to the worker with the fewest open ones. A
    pipeline that workers cannot serve is refused before they load it. The worker that replaces a killed
    one can always answer.
    """
    dispatch.install()
    pool.ParallelModel = _stand_in
    pool.InferencePool.load_model = _load_model
    pool.InferencePool._close_workers = _close_workers
    pool.InferencePool._start_worker = _start_worker


def is_pipeline(model: MLModel) -> bool:
    """Return whether a model is a pipeline, in this process or in its workers."""
    # Not by its class, because MLServer imports that again for each model.
    return hasattr(model, CONDITION) or isinstance(model, PipelineInWorkers)


async def call_here_or_in_worker(
    model: MLModel, method: str, request: Request | PlainCall, *arguments: Any
) -> Any:
    """Call a method of a pipeline's runtime with a request, in this process or in one of its workers."""
    if isinstance(model, PipelineInWorkers):
        name_current_span(request)
        return await model._send(method, request, *arguments)
    return await getattr(model, method)(request, *arguments)


def name_current_span(request: Request | PlainCall) -> None:
    """Let the spans of a worker, which has no other way to know it, belong to the current one."""
    request.parameters["headers"] = with_current_span(request.parameters["headers"])


_load_in_workers = pool.InferencePool.load_model


async def _load_model(workers: pool.InferencePool, model: MLModel) -> MLModel:
    if is_pipeline(model):
        await model.check_workers(len(workers._workers))
    return await _load_in_workers(workers, model)


def _stand_in(model: MLModel, dispatcher: Any) -> ParallelModel:
    represent = PipelineInWorkers if is_pipeline(model) else ParallelModel
    return represent(model, dispatcher)


_start_another = pool.InferencePool._start_worker


async def _start_worker(workers: pool.InferencePool) -> Worker:
    await asyncio.to_thread(release_left_lock, workers._responses)
    return await _start_another(workers)


def release_left_lock(responses: Any) -> None:
    """Release the lock of the workers' queue of answers, if a worker was killed while it held it.

    A worker holds it while it writes an answer. If it is never released, no other worker can answer.

    Args:
        responses: The queue, of `multiprocessing`.
    """
    lock = responses._wlock
    if not lock.acquire(timeout=_TIMEOUT):
        logger.warning("a worker was killed while it sent an answer; its lock is released")
    lock.release()


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
