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
        self.longest = 0.0
        self.task = asyncio.create_task(self._measure())

    @predictmethod
    async def predict(self) -> float:
        """Return the longest silence, in seconds, since the last call."""
        longest, self.longest = self.longest, 0.0
        return longest

    async def _measure(self) -> None:
        while True:
            begin = time.perf_counter()
            await asyncio.sleep(_PAUSE)
            self.longest = max(self.longest, time.perf_counter() - begin - _PAUSE)
