"""Processes that something a test started has left behind."""

from __future__ import annotations

import psutil


def left(variable: str, value: str) -> list[psutil.Process]:
    """Those with a variable in their environment, and so those that one with it has started."""
    found = []
    for process in psutil.process_iter():
        try:
            held = process.environ().get(variable) == value
            if held and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.Error, OSError):  # it has ended since, or is another user's
            continue
    return found
