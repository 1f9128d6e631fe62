"""A value that is passed to a child is sent as it was at the call, even if it changes next."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np

from tempo_runtime.testing import FakeModel
from tests.clients.connected_child import Connect, connect

__all__ = ["connect"]


def test_submit_sends_the_array_as_it_was(connect: Connect) -> None:
    with FakeModel("iris", lambda x: x) as fake:
        child = connect(fake.url)
        rows = np.zeros((2, 3))
        futures = []
        for _ in range(20):
            futures.append(child.submit(rows))
            rows += 1
        assert [float(future.result()[0, 0]) for future in futures] == list(map(float, range(20)))


async def test_a_call_in_a_task_sends_the_array_as_it_was(connect: Connect) -> None:
    with FakeModel("iris", lambda x: x) as fake:
        child = connect(fake.url, awaitable=True)
        rows = np.zeros((2, 3))
        task: asyncio.Task[Any] = asyncio.ensure_future(child(rows))
        rows[:] = 9
        assert (await task).tolist() == np.zeros((2, 3)).tolist()
