"""Processes that something a test started has left behind."""

from __future__ import annotations

import psutil


def left(variable: str, value: str) -> list[psutil.Process]:
    """Those with a variable in their environment, and so those that one with it has started."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(variable) == value:
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return [process for process in found if process.status() != psutil.STATUS_ZOMBIE]
