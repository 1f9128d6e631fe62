"""Each request its own stream of numpy's global random numbers."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any

import numpy as np
import pytest

from tempo_runtime.execution.explain.randomness import stream


def draws() -> list[Any]:
    """Some of everything explainers draw."""
    values = [
        np.random.choice(range(1000), 5).tolist(),
        np.random.rand(2, 2).tolist(),
        np.random.normal(size=3).tolist(),
        np.random.randint(0, 10, 4).tolist(),
        np.random.permutation(6).tolist(),
        np.random.binomial(10, 0.5),
        np.random.uniform(0, 5),
        np.random.random(),
        np.random.sample(),
    ]
    shuffled = list(range(5))
    np.random.shuffle(shuffled)
    return [*values, shuffled]


@pytest.mark.parametrize("seed", [0, 1, 2**32 - 1])
def test_a_stream_gives_what_seeding_the_generator_gives(seed: int) -> None:
    np.random.seed(seed)
    expected = draws()
    with stream(seed):
        assert draws() == expected


def test_streams_side_by_side_do_not_touch_each_other() -> None:
    def drawn(seed: int) -> list[Any]:
        with stream(seed):
            return [draws() for _ in range(20)]

    alone = [drawn(seed) for seed in range(8)]
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(drawn, range(8))) == alone


def test_the_shared_generator_goes_on_as_if_nothing_was_drawn() -> None:
    np.random.seed(5)
    expected = draws()
    np.random.seed(5)
    with stream(1):
        draws()
    assert draws() == expected


def test_seeding_inside_a_stream_seeds_the_stream_only() -> None:
    with stream(1):
        np.random.seed(2)
        inside = np.random.rand()
    with stream(2):
        assert np.random.rand() == inside


def test_state_can_be_read_and_set_inside_a_stream() -> None:
    with stream(1):
        state = np.random.get_state()
        first = np.random.rand()
        np.random.set_state(state)
        assert np.random.rand() == first


async def test_a_stream_holds_over_awaits_and_belongs_to_its_task() -> None:
    async def drawn(seed: int) -> list[float]:
        with stream(seed):
            values = []
            for _ in range(5):
                values.append(np.random.rand())
                await asyncio.sleep(0)
            return values

    alone = [await drawn(seed) for seed in range(3)]
    assert await asyncio.gather(*(drawn(seed) for seed in range(3))) == alone


def test_a_thread_given_the_context_draws_from_its_stream() -> None:
    with stream(1), ThreadPoolExecutor(1) as thread:
        inside = thread.submit(copy_context().run, np.random.rand).result()
    with stream(1):
        assert np.random.rand() == inside


def test_without_a_seed_the_shared_generator_is_used() -> None:
    np.random.seed(3)
    expected = np.random.rand()
    np.random.seed(3)
    with stream(None):
        assert np.random.rand() == expected
