"""Give each request to the parallel worker with the fewest open requests.

MLServer's dispatcher gives requests to its workers in turn, so a short request may wait behind a long one
while another worker has nothing to do.
"""

from __future__ import annotations

import asyncio
import logging
from functools import cache
from itertools import islice
from typing import Any

from mlserver.errors import MLServerError
from mlserver.parallel import dispatcher as mlservers
from mlserver.parallel.errors import WorkerStop
from mlserver.parallel.messages import ModelRequestMessage
from mlserver.parallel.worker import Worker

from tempo_runtime.errors import NotReady
from tempo_runtime.protocol.error_details import ErrorInfo, marked

_ATTRIBUTES = frozenset(("_workers", "_workers_round_robin", "_async_responses"))
logger = logging.getLogger(__name__)


@cache
def install() -> None:
    """Make MLServer choose the worker with the fewest open requests.

    A release of MLServer that keeps its workers in another way also keeps its choice, and one warning is
    logged.
    """
    if _is_known():
        mlservers.Dispatcher._get_worker = _with_fewest_open
    else:
        logger.warning(
            "this release of MLServer keeps its parallel workers in an unknown way: they take turns, and "
            "a request may wait behind a long one"
        )


def ready(dispatcher: Any) -> list[Worker]:
    """Return the workers that have loaded all models: only they take turns."""
    turns, workers = dispatcher._workers_round_robin, dispatcher._workers
    return [workers[pid] for pid in set(islice(turns, len(workers))) if pid in workers]


async def call(dispatcher: Any, worker: Worker, message: ModelRequestMessage) -> Any:
    """Call a method of a model in one worker, and return its result.

    The answer is received even if the caller is cancelled: MLServer's task that receives the answers of
    all workers fails at one that nobody waits for.

    Raises:
        WorkerStop: If the worker has ended.
    """
    if worker.pid not in dispatcher._workers:  # then nobody reads what is sent
        raise WorkerStop(worker.exitcode or 0)
    return await asyncio.shield(_sent(dispatcher, worker, message))


async def _sent(dispatcher: Any, worker: Worker, message: ModelRequestMessage) -> Any:
    worker.send_request(message)
    answer = await dispatcher._async_responses.schedule_and_wait(message, worker)
    return answer.return_value


def _is_known() -> bool:
    """Return whether MLServer's dispatcher, and its record of open requests, are as in known releases."""
    attributes = mlservers.Dispatcher.__init__.__code__.co_names
    recorded = mlservers.AsyncResponses.__init__.__code__.co_names
    chooses = hasattr(mlservers.Dispatcher, "_get_worker")
    return chooses and set(attributes) >= _ATTRIBUTES and "_workers_map" in recorded


def _with_fewest_open(dispatcher: Any) -> tuple[Worker, int]:
    turns, workers = dispatcher._workers_round_robin, dispatcher._workers
    open_requests = dispatcher._async_responses._workers_map
    # Only workers that have loaded all models take turns.
    ready = list(islice(turns, len(workers)))
    if not ready:
        error = NotReady(
            "each parallel worker of the server has ended and is starting again; send the request "
            "again later"
        )
        raise MLServerError(marked(str(error), ErrorInfo.of(error)), error.status)
    next(turns)  # so that workers with equally many take turns
    chosen = min(ready, key=lambda pid: len(open_requests.get(pid, ())))
    return workers[chosen], chosen
