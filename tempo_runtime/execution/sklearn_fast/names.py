"""Warn about arrays without feature names, as scikit-learn does."""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tempo_runtime.execution.sklearn_fast.base import Array


class NamesCheck:
    """Warns, for each step that was fitted to a DataFrame, that an array has no names of columns.

    Args:
        models: The steps that scikit-learn would give the array, or arrays made from it.
    """

    def __init__(self, models: Iterable[Any]) -> None:
        named = [model for model in models if hasattr(model, "feature_names_in_")]
        # The check is a part of a model, which must not be kept alive by it.
        self._models = [weakref.ref(model) for model in named]

    def __call__(self, x: Array) -> None:
        """Warn about an array."""
        for reference in self._models:
            _check(reference(), x)


def _check(model: Any, x: Array) -> None:
    from sklearn.utils import validation

    # scikit-learn's own check: Python's filters and registries of warnings know its place.
    if hasattr(validation, "_check_feature_names"):
        validation._check_feature_names(model, x, reset=False)
    else:  # before 1.6
        model._check_feature_names(x, reset=False)
