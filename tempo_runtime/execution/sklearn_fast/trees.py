"""Compute scikit-learn's trees and forests without its checks and conversions for each tree."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from tempo_runtime.execution.sklearn_fast.base import Unsure, kind, refuse_patched, refused

if TYPE_CHECKING:
    from tempo_runtime.execution.sklearn_fast.base import Array, Values

_TREES = frozenset(
    (
        "DecisionTreeClassifier",
        "DecisionTreeRegressor",
        "ExtraTreeClassifier",
        "ExtraTreeRegressor",
    )
)
_FORESTS = frozenset(
    (
        "RandomForestClassifier",
        "RandomForestRegressor",
        "ExtraTreesClassifier",
        "ExtraTreesRegressor",
    )
)
_TRIED = 16  # smallest number of trees whose thresholds are tried, in a larger forest
_NODES = 2**17  # largest number of nodes whose thresholds are looked at
_THRESHOLDS = 32  # for each feature


class Trees:
    """A decision tree, or a forest of them, with one output.

    Args:
        name: Name of its step.
        model: The fitted model.

    Attributes:
        takes: Number of input columns.
        classes: The classes, shape (k,); None for a regressor.

    Raises:
        NoFastPath: If the model is anything else.
    """

    def __init__(self, name: str, model: Any) -> None:
        self._is_forest = kind(model) in _FORESTS
        trees = model.estimators_ if self._is_forest else [model]
        if any(kind(tree) not in _TREES for tree in trees):
            raise refused(name, model, "has no fast path; only a tree or a forest of trees has one")
        for tree in trees:
            refuse_patched(name, tree)
        if model.n_outputs_ != 1:
            raise refused(name, model, f"has {model.n_outputs_} outputs")
        if self._is_forest and model.n_jobs not in (None, 1):
            reason = "its threads would add up the trees in any order"
            raise refused(
                name, model, f"has n_jobs={model.n_jobs}: {reason}; save it with n_jobs=1"
            )
        self.takes = model.n_features_in_
        self.classes: Array | None = getattr(model, "classes_", None)
        self._trees = [tree.tree_ for tree in trees]

    def __call__(self, x: Array) -> Array:
        """Return the probabilities of the classes, shape (n, k), or the numbers, shape (n, 1).

        Raises:
            Unsure: If the rows contain NaN, or numbers that are infinite as float32.
        """
        x = x.astype(np.float32, copy=False)
        if not np.isfinite(x).all():
            raise Unsure
        if not self._is_forest:
            return self._trees[0].predict(x)  # type: ignore[no-any-return]
        total = np.zeros((len(x), 1 if self.classes is None else len(self.classes)))
        for tree in self._trees:
            total += tree.predict(x)
        total /= len(self._trees)
        return total

    def thresholds(self) -> Values:
        """Return float32 numbers below, at and above some thresholds of each feature."""
        some = self._trees[:: 1 + len(self._trees) // _TRIED]
        features = np.concatenate([tree.feature for tree in some])
        limits = np.concatenate([tree.threshold for tree in some]).astype(np.float32)
        stride = 1 + len(limits) // _NODES
        features, limits = features[::stride], limits[::stride]
        order = np.lexsort((limits, features))
        starts = np.searchsorted(features[order], np.arange(self.takes + 1))
        return [self._around(limits[order[i:j]]) for i, j in pairwise(starts)]

    def _around(self, limits: Array) -> Array:
        if not len(limits):
            return np.arange(2.0)
        some = limits[np.linspace(0, len(limits) - 1, _THRESHOLDS).astype(int)]
        edges = [np.nextafter(some, np.float32(end)) for end in (-np.inf, np.inf)]
        return np.concatenate([some, *edges], dtype=np.float64)
