"""Compute scikit-learn models in less time, with the same answers.

In a call with a hundred rows, scikit-learn spends most of the time on checks and conversions around each
step and each tree. `accelerate` makes a model do only the arithmetic, and compares the two before.
"""

from __future__ import annotations

import copy
import weakref
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from tempo_runtime.execution.sklearn_fast.base import (
    DTYPES,
    NoFastPath,
    Unsure,
    kind,
    refuse_version,
    refused,
    unfold,
)
from tempo_runtime.execution.sklearn_fast.boosting import (
    BOOSTING,
    HIST_BOOSTING,
    Boosting,
    HistBoosting,
)
from tempo_runtime.execution.sklearn_fast.names import NamesCheck
from tempo_runtime.execution.sklearn_fast.transformers import Chain
from tempo_runtime.execution.sklearn_fast.trees import FORESTS, TREES, Trees

if TYPE_CHECKING:
    from tempo_runtime.execution.sklearn_fast.base import Array, Predictor, Values

FAST = "computed without scikit-learn's checks in each call, with the same answers bit for bit"
_BATCH = 1024  # rows; encoded categories are not sparse here
_COMPARED = 128  # rows


def evaluate(model: Any, fast: bool | None) -> str:
    """Make a model fast if it can be, and return how it is computed, and why.

    Args:
        model: The fitted model.
        fast: Whether it must be fast; false leaves it as it is, and None makes it fast if it can be.

    Raises:
        NoFastPath: If it must be fast, and cannot be.
    """
    if fast is False:
        return "computed by scikit-learn, because `fast_sklearn` is false"
    try:
        accelerate(model)
    except NoFastPath as reason:
        if fast:
            raise
        return f"computed by scikit-learn: {reason}"
    return FAST


def accelerate(model: Any) -> FastModel:
    """Replace the methods of a fitted model by fast ones, which return and raise the same.

    They are first compared with the model's own, bit by bit, on rows made from the model's parameters:
    known and unknown categories, means and deviations, NaN if it is replaced, and numbers below, at and
    above thresholds of the trees.

    Args:
        model: A fitted tree, forest or gradient boosting, or a pipeline of transformers that ends with
            one.

    Raises:
        NoFastPath: If only scikit-learn can compute a step, or there is any difference.
    """
    fast = proved(model)
    reference = weakref.ref(model)  # its methods must not keep it alive
    for method in fast.methods:
        setattr(model, method, partial(_call_fast, fast, reference, method))
    return fast


def proved(model: Any) -> FastModel:
    """Return a fast version of a model, compared with it as `accelerate` does; the model stays as it is.

    Raises:
        NoFastPath: See `accelerate`.
    """
    try:
        fast = FastModel(model)
        _compare(fast, model)
    except NoFastPath:
        raise
    except Exception as error:
        reason = f"is not fitted, or not as expected: {type(error).__name__}: {error}"
        raise refused("", model, reason) from error
    return fast


def _call_fast(fast: FastModel, reference: weakref.ref[Any], method: str, x: Any) -> Any:
    answer = fast.answer(method, x)
    if answer is not None:
        return answer
    model = reference()
    return getattr(type(model), method)(model, x)


class FastModel:
    """A fast version of a model. Safe to call from several threads.

    Args:
        model: As for `accelerate`.

    Raises:
        NoFastPath: If a step cannot be computed without scikit-learn.
    """

    def __init__(self, model: Any) -> None:
        refuse_version(model)
        parts = list(unfold(model))
        if not parts:
            raise refused("", model, "has no step that predicts")
        *before, last = parts
        self.trees = _predictor(*last)
        self.chain = Chain(before, self.trees.takes)
        self._takes = self.chain.steps[0].takes if before else self.trees.takes
        self._check_names = NamesCheck([*self.chain.models, last[1]])

    @property
    def methods(self) -> tuple[str, ...]:
        """Methods that the model has; a regressor does not have `predict_proba`."""
        return self.trees.methods

    def answer(self, method: str, x: Any) -> Array | list[Array] | None:
        """Return what the model's method returns, and warn as it does.

        Args:
            method: `predict` or `predict_proba`.
            x: An array of numbers, shape (n, features).

        Returns:
            The answer; None if only the model itself can answer, such as to anything but numbers.
        """
        answer = self.compute(method, x)
        if answer is not None:
            self._check_names(x)
        return answer

    def compute(self, method: str, x: Any) -> Array | list[Array] | None:
        """Return what `answer` returns, without a warning."""
        rows = type(x) is np.ndarray and x.ndim == 2 and x.dtype in DTYPES
        if not rows or not len(x) or x.shape[1] != self._takes or method not in self.methods:
            return None
        try:
            parts = self._parts([x[i : i + _BATCH] for i in range(0, len(x), _BATCH)])
        except Unsure:
            return None
        numbers = parts[0] if len(parts) == 1 else np.concatenate(parts)
        with np.errstate(all="ignore"):
            return self.trees.answer(method, numbers)

    def _parts(self, batches: list[Array]) -> list[Array]:
        jobs = min(self.trees.jobs, len(batches))
        if jobs == 1:
            return [self._part(batch) for batch in batches]
        with ThreadPoolExecutor(jobs) as pool:
            return list(pool.map(self._part, batches))

    def _part(self, x: Array) -> Array:
        # Where numpy would warn, scikit-learn either computes the answer, or does not warn.
        with np.errstate(all="ignore"):
            return self.trees(self.chain(x))


def _predictor(name: str, model: Any) -> Predictor:
    """Return the fast version of the last step of a model."""
    if kind(model) in TREES | FORESTS:
        return Trees(name, model)
    if kind(model) in BOOSTING:
        return Boosting(name, model)
    if kind(model) in HIST_BOOSTING:
        return HistBoosting(name, model)
    known = "a tree, a forest of trees or gradient boosting"
    raise refused(name, model, f"has no fast path; only {known} has one")


# -- comparison ------------------------------------------------------------------------------------


def _compare(fast: FastModel, model: Any) -> None:
    """Compare the answers of the model and of its trees alone, and the output of each transformer.

    Raises:
        NoFastPath: If there is any difference, or if nothing can be compared.
    """
    values = fast.trees.thresholds()
    model = _in_order(model)
    *steps, (_, last) = unfold(model)
    if steps:
        trees = FastModel(last)
        _compare_answers(trees, last, _rows(values), trees.methods)
    rows = _rows(fast.chain.back(values))
    with np.errstate(all="ignore"):
        integers = np.nan_to_num(rows).clip(-(2**31), 2**31).astype(np.int64)
        batches = rows[:1], rows.astype(np.float32), integers
    _compare_steps(fast, steps, rows)
    compared = _compare_answers(fast, model, rows, fast.methods)
    for batch in batches:
        _compare_steps(fast, steps, batch)
        # `predict` follows from the last method.
        compared += _compare_answers(fast, model, batch, fast.methods[-1:])
    if not compared:
        raise refused("", model, "refuses all rows with which its fast path would be compared")


def _compare_answers(fast: FastModel, model: Any, rows: Array, methods: tuple[str, ...]) -> int:
    """Compare the answers of methods, and return the number of rows that were compared."""
    compared = 0
    for method in methods:
        answer = fast.compute(method, rows)
        if answer is None:
            continue
        compared += len(rows)
        if not _same(answer, _call(model, method, rows)):
            reason = f"has a fast path whose answers to `{method}` differ from its own"
            raise refused("", model, reason)
    return compared


def _compare_steps(fast: FastModel, steps: list[tuple[str, Any]], rows: Array) -> None:
    expected = actual = rows
    for (name, model), step in zip(steps, fast.chain.steps):
        try:
            with np.errstate(all="ignore"):
                actual = step(actual)
        except Unsure:
            return
        expected = _call(model, "transform", expected)
        dense = expected.toarray() if hasattr(expected, "toarray") else expected
        if not _same(actual, dense):
            raise refused(name, model, "has a fast path whose numbers differ from its own")


def _rows(values: Values) -> Array:
    """Return rows made of the values of each column."""
    random = np.random.RandomState(0)
    return np.stack([random.choice(column, _COMPARED) for column in values], axis=1)


def _call(model: Any, method: str, rows: Any) -> Any:
    names = getattr(model, "feature_names_in_", None)
    if names is not None:  # it would warn about an array
        from pandas import DataFrame

        rows = DataFrame(rows, columns=names)
    try:
        with np.errstate(all="ignore"):
            return getattr(model, method)(rows)
    except Exception as error:
        return error


def _in_order(model: Any) -> Any:
    """Return the model, or a copy of it whose forest adds up the trees in their order."""
    if kind(model) == "Pipeline":
        name, last = model.steps[-1]
        in_order = _in_order(last)
        if in_order is not last:
            model = copy.copy(model)
            model.steps = [*model.steps[:-1], (name, in_order)]
    elif kind(model) in FORESTS and model.n_jobs not in (None, 1):
        model = copy.copy(model)
        model.n_jobs = 1
    return model


def _same(actual: Array | list[Array], expected: Any) -> bool:
    if isinstance(actual, list):  # one array for each output
        alike = isinstance(expected, list) and len(actual) == len(expected)
        return alike and all(map(_same, actual, expected))
    if type(expected) is not np.ndarray:
        return False
    if (actual.dtype, actual.shape) != (expected.dtype, expected.shape):
        return False
    if actual.dtype.kind == "O":
        return bool(actual.tolist() == expected.tolist())
    return actual.tobytes() == expected.tobytes()
