"""Pipelines that hang until a file is there. It travels in artifacts."""

from __future__ import annotations

import asyncio
import os
import time

from tempo_runtime import model


@model("hang")
def hang(path: str) -> str:
    while path and not os.path.exists(path):
        time.sleep(0.01)
    return "done"


@model("block")
async def block(path: str) -> str:
    """Blocks the event loop."""
    await asyncio.sleep(0)
    open(f"{path}.called", "w").close()
    while not os.path.exists(path):
        time.sleep(0.01)
    return "done"
