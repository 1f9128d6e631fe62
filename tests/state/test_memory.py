"""A state in memory keeps no more than its values."""

from __future__ import annotations

import asyncio

from tempo_runtime.state.memory import MemoryStore


def test_a_value_that_is_set_again_and_again_takes_no_more_memory() -> None:
    now = [0.0]
    store = MemoryStore(clock=lambda: now[0])

    async def set_many() -> None:
        await store.set("other", b"1", 10)
        for number in range(10_000):
            await store.set("key", b"%d" % number, 3600 + number)

    asyncio.run(set_many())
    assert len(store._ends) < 100
    now[0] = 11
    assert asyncio.run(store.get("other")) is None
    now[0] = 3600 + 9_998
    assert asyncio.run(store.get("key")) == b"9999"
    now[0] += 2
    assert asyncio.run(store.get("key")) is None
