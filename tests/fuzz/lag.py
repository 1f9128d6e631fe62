"""How long a server's event loop was silent. It travels in an artifact."""

from __future__ import annotations

import asyncio
import time

from tempo_runtime import loadmethod, model, predictmethod

_PAUSE = 0.005


@model("loop-lag")
class LoopLag:
    @loadmethod
    async def load(self) -> None:
        self.longest = self.busiest = 0.0
        self.task = asyncio.create_task(self._measure())

    @predictmethod
    async def predict(self) -> tuple[float, float]:
        """Return the longest silence since the last call, and the most that the loop computed in one."""
        found = self.longest, self.busiest
        self.longest = self.busiest = 0.0
        return found

    async def _measure(self) -> None:
        while True:
            begin, computed = time.perf_counter(), time.thread_time()
            await asyncio.sleep(_PAUSE)
            self.longest = max(self.longest, time.perf_counter() - begin - _PAUSE)
            self.busiest = max(self.busiest, time.thread_time() - computed)
