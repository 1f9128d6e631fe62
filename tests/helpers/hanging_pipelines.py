"""Pipelines that hang until a file is there. It travels in artifacts."""

from __future__ import annotations

import os
import time

from tempo_runtime import model


def _wait(path: str) -> str:
    while path and not os.path.exists(path):
        time.sleep(0.01)
    return "done"


@model("hang")
def hang(path: str) -> str:
    return _wait(path)


@model("block")
async def block(path: str) -> str:
    """Blocks the event loop."""
    open(f"{path}.called", "w").close()  # noqa: ASYNC230
    return _wait(path)
