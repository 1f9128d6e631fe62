"""Remains of things that a test started: processes, and models that are still served."""

from __future__ import annotations

import httpx
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


def serves(model: str) -> bool:
    """Whether a model answers at its URL; the port may be that of another test's server by now."""
    try:
        answer = httpx.get(model)
    except httpx.TransportError:
        return False
    return answer.status_code == 200 and answer.json().get("name") == model.split("/")[5]
