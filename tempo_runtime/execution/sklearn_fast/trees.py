"""Compute scikit-learn's trees and forests without its checks and conversions for each tree."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tempo_runtime.execution.sklearn_fast.base import kind, refuse_patched, refused
from tempo_runtime.execution.sklearn_fast.numbers import around, as_float32, cores

if TYPE_CHECKING:
    from tempo_runtime.execution.sklearn_fast.base import Array, Values

TREES = frozenset(
    (
        "DecisionTreeClassifier",
        "DecisionTreeRegressor",
        "ExtraTreeClassifier",
        "ExtraTreeRegressor",
    )
)
FORESTS = frozenset(
    (
        "RandomForestClassifier",
        "RandomForestRegressor",
        "ExtraTreesClassifier",
        "ExtraTreesRegressor",
    )
)
_TRIED = 16  # smallest number of trees whose thresholds are tried, in a larger forest


class Trees:
    """A decision tree, or a forest of them, as a `Predictor`.

    A forest adds up its trees in their order, as scikit-learn does with `n_jobs=1`. With more jobs,
    scikit-learn adds them up in the order in which its threads finish, and its own answers may differ in
    the last bit from one call to the next.

    Args:
        name: Name of its step.
        model: The fitted model.

    Raises:
        NoFastPath: If one of its trees is not scikit-learn's.
    """

    def __init__(self, name: str, model: Any) -> None:
        self._is_forest = kind(model) in FORESTS
        trees = model.estimators_ if self._is_forest else [model]
        refuse_other_trees(name, model, trees)
        self.takes = model.n_features_in_
        self.jobs = cores(model.n_jobs) if self._is_forest else 1
        self.methods = methods_of(model)
        self._trees = [tree.tree_ for tree in trees]
        # One item for each output.
        self._classes: list[Array] = []
        self._has_one_output = model.n_outputs_ == 1
        if "predict_proba" in self.methods:
            self._classes = [model.classes_] if self._has_one_output else model.classes_

    def __call__(self, x: Array) -> Array:
        """See `Predictor`: means of the leaves, shape (n, classes) or (n, outputs, classes)."""
        x = as_float32(x)
        first = self._trees[0].predict(x)
        if not self._is_forest:
            return first  # type: ignore[no-any-return]
        total = np.zeros(first.shape)
        total += first
        for tree in self._trees[1:]:
            total += tree.predict(x)
        total /= len(self._trees)
        return total

    def answer(self, method: str, numbers: Array) -> Array | list[Array]:
        """See `Predictor`."""
        if not self._classes:
            return numbers[:, 0] if self._has_one_output else numbers[:, :, 0]
        if self._has_one_output:
            return numbers if method == "predict_proba" else _labels(self._classes[0], numbers)
        # Outputs with fewer classes than others have empty columns.
        parts = [numbers[:, i, : len(classes)] for i, classes in enumerate(self._classes)]
        if method == "predict_proba":
            return parts
        labels: Array = np.empty((len(numbers), len(parts)), self._classes[0].dtype)
        for i, (classes, part) in enumerate(zip(self._classes, parts)):
            labels[:, i] = _labels(classes, part)
        return labels

    def thresholds(self) -> Values:
        """See `Predictor`."""
        return thresholds(self._trees, self.takes)


def thresholds(trees: list[Any], takes: int) -> Values:
    """Return float32 numbers below, at and above some thresholds of each feature."""
    some = trees[:: 1 + len(trees) // _TRIED]
    features = np.concatenate([tree.feature for tree in some])
    limits = np.concatenate([tree.threshold for tree in some]).astype(np.float32)
    return around(features, limits, takes)


def refuse_other_trees(name: str, model: Any, trees: list[Any]) -> None:
    """Refuse a model with a tree that is not scikit-learn's."""
    for tree in trees:
        if kind(tree) not in TREES:
            raise refused(name, model, f"has no fast path, because a tree is a {type(tree)}")
        refuse_patched(name, tree)


def methods_of(model: Any) -> tuple[str, ...]:
    """Return the methods that a model has; a regressor does not have `predict_proba`."""
    return ("predict", "predict_proba") if hasattr(model, "predict_proba") else ("predict",)


def _labels(classes: Array, probabilities: Array) -> Array:
    labels: Array = classes.take(probabilities.argmax(axis=1), axis=0)
    return labels
