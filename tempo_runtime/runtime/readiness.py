"""Report a server as not ready while a pipeline needs a state that is away, or has no worker.

MLServer answers 400 for a model whose `ready` is false. Such a pipeline still answers its requests, with
503 and the cause if they use the state or need the worker, so only the endpoints that report readiness
take this into account.
"""

from __future__ import annotations

from mlserver.handlers import DataPlane

_server_ready = DataPlane.ready
_model_ready = DataPlane.model_ready


def install() -> None:
    """Make MLServer's endpoints of readiness ask for the state and the workers."""
    DataPlane.ready = _ready
    DataPlane.model_ready = _ready_of


async def _ready(self: DataPlane) -> bool:
    models = await self._model_registry.get_models()
    return bool(await _server_ready(self)) and not any(map(_is_away, models))


async def _ready_of(self: DataPlane, name: str, version: str | None = None) -> bool:
    model = await self._model_registry.get_model(name, version)
    return bool(await _model_ready(self, name, version)) and not _is_away(model)


def _is_away(model: object) -> bool:
    return any(getattr(model, name, False) for name in ("is_state_away", "has_no_worker"))
