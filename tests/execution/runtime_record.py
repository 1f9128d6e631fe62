"""A record of the runtimes in `custom.py`; separate, because MLServer executes that module again."""

from __future__ import annotations

import threading
from typing import Any

calls: list[tuple[str, Any]] = []
gate = threading.Event()  # runtimes that wait, wait for this
called = threading.Event()
ended = threading.Event()


def reset() -> None:
    """Forgets everything."""
    calls.clear()
    for event in (gate, called, ended):
        event.clear()


def of(name: str) -> list[Any]:
    """Return the entries of a name, in order."""
    return [value for noted, value in calls if noted == name]
