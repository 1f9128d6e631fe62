"""Modules that were documented under another name."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable
from typing import Any


def names_of(module: str, former: str) -> Callable[[str], Any]:
    """Return a module's `__getattr__` that looks names up in another module, with a warning.

    Args:
        module: Where the names are now.
        former: The module that looks them up.
    """

    def look_up(name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(f"module {former!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(module), name)
        warnings.warn(
            f"{former} is {module} now: import {name} from there",
            DeprecationWarning,
            stacklevel=2,
        )
        return value

    return look_up
