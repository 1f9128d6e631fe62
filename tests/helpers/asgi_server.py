"""MLServer's HTTP application in this process, with this package's routes in front of it and without.

Its models can stand for those of a worker, which is in this process as well: what passes between them is
pickled, as it is between two processes.
"""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import AsyncIterator, Coroutine, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

import httpx
from mlserver import MLModel, ModelSettings, Settings
from mlserver.handlers import DataPlane, ModelRepositoryHandlers
from mlserver.parallel.messages import ModelRequestMessage, ModelResponseMessage
from mlserver.parallel.worker import Worker
from mlserver.registry import MultiModelRegistry
from mlserver.repository import ModelRepositoryFactory
from mlserver.rest.server import RESTServer
from prometheus_client import REGISTRY

from tempo_runtime.runtime import inference_route, parallel, plain_route

T = TypeVar("T")
JSON = {"content-type": "application/json"}


class AsgiServer:
    """Both applications have one data plane, and so the same models and metrics.

    Args:
        folders: Folders of models, each with its model-settings.json.
        in_worker: Whether a worker has the models.
        settings: Settings of MLServer.

    Attributes:
        application: The application with this package's routes.
        worker: The worker, whether or not it has the models.
    """

    def __init__(self, *folders: Path, in_worker: bool = False, **settings: Any) -> None:
        _forget_metrics()
        self._loop = asyncio.new_event_loop()
        configured = Settings(metrics_endpoint=None, parallel_workers=0, **settings)
        self.worker = WorkerHere()
        self.registry = MultiModelRegistry([self.worker.load] if in_worker else [])
        self.data_plane = DataPlane(configured, self.registry)
        repository = ModelRepositoryFactory.resolve_model_repository(configured)
        handlers = ModelRepositoryHandlers(repository, self.registry)
        servers = [RESTServer(configured, self.data_plane, handlers) for _ in range(2)]
        self.run(self._load(folders))
        inference_route.extend(servers[0])
        plain_route.extend(servers[0])
        self.application: Any = servers[0]._app
        self._fast, self._plain = (
            httpx.ASGITransport(server._app, raise_app_exceptions=False) for server in servers
        )

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the server's loop."""
        return self._loop.run_until_complete(coroutine)

    def post(
        self,
        path: str,
        body: bytes | list[bytes],
        headers: Mapping[str, str] | list[tuple[str, str]] = JSON,
        *,
        fast: bool = True,
    ) -> httpx.Response:
        """Post a body or its pieces; with `fast`, to the application that has this package's routes."""

        async def pieces() -> AsyncIterator[bytes]:
            for piece in [body] if isinstance(body, bytes) else body:
                yield piece

        async def send() -> httpx.Response:
            transport = self._fast if fast else self._plain
            async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
                return await client.post(path, content=pieces(), headers=headers)

        return self.run(send())

    def close(self) -> None:
        """Unload all models."""
        for registry in (self.registry, self.worker.registry):
            for model in self.run(registry.get_models()):
                self.run(registry.unload(model.name))
        self._loop.close()
        _forget_metrics()

    async def _load(self, folders: tuple[Path, ...]) -> None:
        for folder in folders:
            await self.registry.load(ModelSettings.parse_file(str(folder / "model-settings.json")))


class WorkerHere:
    """A worker in this process, and the dispatcher that asks it.

    Attributes:
        registry: Its models.
        methods: The methods that it was asked to call.
    """

    def __init__(self) -> None:
        self.registry = MultiModelRegistry()
        self.methods: list[str] = []
        self._workers: dict[int, Worker] = {}  # those to ask for their condition
        self._workers_round_robin = iter(())

    async def load(self, model: MLModel) -> MLModel:
        """Load a model here, and return what stands for it."""
        await self.registry.load(model.settings)
        return parallel._stand_in(model, self)

    async def dispatch_request(self, message: ModelRequestMessage) -> ModelResponseMessage:
        """See MLServer's `Dispatcher`."""
        received = pickle.loads(pickle.dumps(message))
        self.methods.append(received.method_name)
        worker = SimpleNamespace(_model_registry=self.registry)
        answer = await Worker._process_request(worker, received)
        returned: ModelResponseMessage = pickle.loads(pickle.dumps(answer))
        if returned.exception:
            raise returned.exception
        return returned


def _forget_metrics() -> None:
    """Let another data plane of this process register its metrics."""
    metrics = {
        metric
        for name, metric in REGISTRY._names_to_collectors.items()
        if name.startswith("model_infer_request")
    }
    for metric in metrics:
        REGISTRY.unregister(metric)
