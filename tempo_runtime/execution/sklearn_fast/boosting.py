"""Compute scikit-learn's gradient boosting without its checks, and without threads for few rows.

The sums of the trees are computed here. The rest, such as the link from sums to probabilities, stays
scikit-learn's own code: it runs in a copy of the model that takes the sums as its input.
"""

from __future__ import annotations

import sys
from types import new_class
from typing import TYPE_CHECKING, Any

import numpy as np

from tempo_runtime.execution.sklearn_fast.base import kind, refused
from tempo_runtime.execution.sklearn_fast.numbers import around, as_float32, cores
from tempo_runtime.execution.sklearn_fast.trees import methods_of, refuse_other_trees, thresholds

if TYPE_CHECKING:
    from tempo_runtime.execution.sklearn_fast.base import Array, Values

BOOSTING = frozenset(("GradientBoostingClassifier", "GradientBoostingRegressor"))
HIST_BOOSTING = frozenset(("HistGradientBoostingClassifier", "HistGradientBoostingRegressor"))
_CONSTANT = frozenset(("prior", "most_frequent", "constant", "mean", "median", "quantile"))


class Boosting:
    """A `GradientBoostingClassifier` or `GradientBoostingRegressor`, as a `Predictor`.

    Args:
        name: Name of its step.
        model: The fitted model.

    Raises:
        NoFastPath: If it starts from another model's predictions, or a tree is not scikit-learn's.
    """

    jobs = 1

    def __init__(self, name: str, model: Any) -> None:
        refuse_other_trees(name, model, list(model.estimators_.ravel()))
        is_dummy = kind(model.init_) in ("DummyClassifier", "DummyRegressor")
        if model.init_ != "zero" and not (is_dummy and model.init_.strategy in _CONSTANT):
            raise refused(name, model, "has `init`, a model that is computed before its trees")
        self.takes = model.n_features_in_
        self._first = model._raw_predict_init(np.zeros((1, self.takes), np.float32))
        self._stages = model.estimators_
        self._rate = model.learning_rate
        self._add_stages = sys.modules[type(model).__module__].predict_stages
        self.methods = methods_of(model)
        is_classifier = kind(model).endswith("Classifier")
        taking = _taking_sums(model, "decision_function", _as_decision) if is_classifier else None
        self._rest = taking

    def __call__(self, x: Array) -> Array:
        """See `Predictor`: sums of the trees, shape (n, trees of a stage)."""
        x = as_float32(x)
        total = self._first.repeat(len(x), axis=0)
        self._add_stages(self._stages, x, self._rate, total)
        return total  # type: ignore[no-any-return]

    def answer(self, method: str, numbers: Array) -> Array:
        """See `Predictor`."""
        if self._rest is None:
            return numbers.ravel()
        return getattr(self._rest, method)(numbers)  # type: ignore[no-any-return]

    def thresholds(self) -> Values:
        """See `Predictor`."""
        return thresholds([tree.tree_ for tree in self._stages.ravel()], self.takes)


class HistBoosting:
    """A `HistGradientBoostingClassifier` or `HistGradientBoostingRegressor`, as a `Predictor`.

    scikit-learn starts threads for each tree, which for a hundred rows takes most of the time. Rows do
    not depend on each other, so one thread gives the same numbers.

    Args:
        name: Name of its step.
        model: The fitted model.

    Raises:
        NoFastPath: If it has categorical features.
    """

    def __init__(self, name: str, model: Any) -> None:
        if model.is_categorical_ is not None:
            raise refused(name, model, "has categorical features")
        self.takes = model.n_features_in_
        self.jobs = cores(-1)
        self.methods = methods_of(model)
        self._stages = model._predictors
        self._categories = model._bin_mapper.make_known_categories_bitsets()
        self._first = model._baseline_prediction
        self._width = model.n_trees_per_iteration_
        self._rest = _taking_sums(model, "_raw_predict", _as_it_is)

    def __call__(self, x: Array) -> Array:
        """See `Predictor`: sums of the trees, shape (n, trees of a stage)."""
        x = np.asarray(x, np.float64)
        # The order in memory is scikit-learn's.
        total = np.zeros((len(x), self._width), self._first.dtype, order="F")
        total += self._first
        for trees in self._stages:
            for column, tree in enumerate(trees):
                total[:, column] += tree.predict(x, *self._categories, n_threads=1)
        return total

    def answer(self, method: str, numbers: Array) -> Array:
        """See `Predictor`."""
        return getattr(self._rest, method)(np.asfortranarray(numbers))  # type: ignore[no-any-return]

    def thresholds(self) -> Values:
        """See `Predictor`."""
        nodes = np.concatenate([tree.nodes for trees in self._stages for tree in trees])
        nodes = nodes[(nodes["is_leaf"] == 0) & np.isfinite(nodes["num_threshold"])]
        values = around(nodes["feature_idx"].astype(int), nodes["num_threshold"], self.takes)
        return [np.append(column, np.nan) for column in values]


def _taking_sums(model: Any, method: str, replacement: Any) -> Any:
    """Return a copy of a model with one other method; it does not keep the model alive."""
    replaced = new_class(
        type(model).__name__, (type(model),), {}, lambda names: names.update({method: replacement})
    )
    taking: Any = object.__new__(replaced)
    vars(taking).update(vars(model))
    return taking


def _as_it_is(self: Any, sums: Array) -> Array:
    return sums


def _as_decision(self: Any, sums: Array) -> Array:
    return sums.ravel() if sums.shape[1] == 1 else sums
