"""Connect the state of a pipeline, as its settings say."""

from __future__ import annotations

from tempo_runtime.request.metrics import StateMetrics
from tempo_runtime.request.portal import Portal
from tempo_runtime.settings import StateSettings
from tempo_runtime.state import memory
from tempo_runtime.state.state import State
from tempo_runtime.state.store import Store


def connect(
    pipeline: str, version: str, settings: StateSettings, portal: Portal, *, is_async: bool
) -> State:
    """Return the state of a pipeline, without calling its Redis.

    Args:
        pipeline: The pipeline's name.
        version: The version that it is served as; empty for none.
        settings: The settings.
        portal: The loop of the connections.
        is_async: Whether the predict method is `async def`.

    Raises:
        SettingsError: If the client library of Redis is missing.
    """
    metrics = StateMetrics(pipeline)
    if settings.url is None:
        # Without a namespace from its author, a state in memory belongs to this one pipeline.
        named = settings.namespace
        store: Store = (
            memory.MemoryStore(settings.remember)
            if named is None
            else memory.shared(named, settings.remember)
        )
        return State(store, metrics, None, is_async=is_async)
    # Imported here, because few pipelines need it.
    from tempo_runtime.state.redis import RedisStore

    namespace = settings.namespace or (f"{pipeline}/{version}" if version else pipeline)
    redis = RedisStore(settings, namespace, metrics.breaker_is)
    if settings.ready:
        redis.watching = portal.submit(redis.watch())
    return State(redis, metrics, portal, is_async=is_async)
