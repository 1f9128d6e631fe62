"""A pipeline whose requests wait for each other in different workers. It travels in artifacts."""

from __future__ import annotations

import os
import time

from tempo_runtime import model


def _meet(here: str, other: str) -> None:
    if here:
        open(here, "w").close()
    while other and not os.path.exists(other):
        time.sleep(0.01)


@model("meet")
async def meet(here: str, other: str) -> int:
    """Block the worker until the other file is there, and return the worker's process."""
    _meet(here, other)
    return os.getpid()
