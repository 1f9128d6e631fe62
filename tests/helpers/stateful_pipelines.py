"""Pipelines with a state."""

from __future__ import annotations

from typing import Any

from tempo_runtime import Children, PipelineModels, State, StateOptions, pipeline, predictmethod


@pipeline("ledger", state=StateOptions(timeout=1.0))
class Ledger:
    """Does one step with its state for each request."""

    state: State

    @predictmethod
    def do(self, step: str, key: str = "total", amount: float = 1.0, once: str = "") -> Any:
        if step == "count":
            return self.state.incr(key, int(amount), once=once or None)
        if step == "append":
            return len(self.state.update(key, lambda items: [*items, amount], []))
        return self.state.get(key)


@pipeline("async-ledger", state=StateOptions(timeout=1.0))
class AsyncLedger:
    """The same, awaited."""

    state: State

    @predictmethod
    async def do(self, step: str, key: str = "total", amount: float = 1.0) -> Any:
        if step == "count":
            return await self.state.aio.incr(key, int(amount))
        if step == "append":
            items = await self.state.aio.update(key, lambda items: [*items, amount], [])
            return len(items)
        if step == "not awaited":
            return self.state.get(key)
        return await self.state.aio.get(key)


@pipeline("counted", state=StateOptions(ready=True, timeout=1.0))
def counted(by: int) -> int:
    return counted.state.incr("total", by)


@pipeline("branch", models=PipelineModels(ledger=Ledger))
class Branch:
    """Calls a pipeline that has a state."""

    models: Children

    @predictmethod
    def do(self, step: str) -> Any:
        return self.models.ledger(step)
