"""Pipelines that stream. They travel in artifacts."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from tempo_runtime import model


@model("steps")
def steps(gates: list[str]) -> Iterator[int]:
    """Yields the number of its process for each gate, and waits for the gate's file after it."""
    for gate in gates:
        yield os.getpid()
        while not Path(gate).exists():
            time.sleep(0.005)


@model("until")
async def until(fails_at: int) -> AsyncIterator[int]:
    for number in range(100):
        if number == fails_at:
            raise ValueError(f"no {number}")
        yield number


@model("endless")
def endless(end: str) -> Iterator[int]:
    """Never waits; writes a file when it begins, and one when it is ended."""
    Path(f"{end}.begun").touch()
    try:
        while True:
            yield 1
    finally:
        Path(end).touch()


@model("endless-async")
async def endless_async(end: str) -> AsyncIterator[int]:
    """Never waits; writes a file when it begins, and one when it is ended."""
    Path(f"{end}.begun").touch()  # noqa: ASYNC240 - it is empty
    try:
        while True:
            yield 1
    finally:
        Path(end).touch()  # noqa: ASYNC240 - it is empty


ALL = (steps, until, endless, endless_async)
