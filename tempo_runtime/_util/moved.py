"""Modules that were documented under another name."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable
from typing import Any


def names_of(former: str, *modules: str) -> Callable[[str], Any]:
    """Return a `__getattr__` that looks names up in other modules, with a warning.

    Args:
        former: The module that had the names.
        modules: The public modules that have them now.
    """

    def look_up(name: str) -> Any:
        for module in modules:
            if name in importlib.import_module(module).__all__:
                warnings.warn(
                    f"{former} has moved: import {name} from {module}",
                    DeprecationWarning,
                    stacklevel=2,
                )
                return getattr(importlib.import_module(module), name)
        raise AttributeError(f"module {former!r} has no attribute {name!r}")

    return look_up
