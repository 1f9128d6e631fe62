"""What the runtimes of `custom.py` have done; not in that module, which MLServer executes anew."""

from __future__ import annotations

import threading
from typing import Any

calls: list[tuple[str, Any]] = []
gate = threading.Event()  # what waits, waits for this
called = threading.Event()
ended = threading.Event()


def reset() -> None:
    """Forgets everything."""
    calls.clear()
    for event in (gate, called, ended):
        event.clear()


def of(name: str) -> list[Any]:
    """What was noted under a name, in order."""
    return [value for noted, value in calls if noted == name]
