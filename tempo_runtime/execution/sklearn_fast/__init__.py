"""Compute scikit-learn models in less time, with the same answers.

In a call with a hundred rows, scikit-learn spends most of the time on checks and conversions around each
step and each tree. `compile_model` returns a model that only does the arithmetic, after proving it
against the original.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from tempo_runtime.execution.sklearn_fast.base import DTYPES, NoFastPath, Unsure, refused, unfold
from tempo_runtime.execution.sklearn_fast.transformers import Chain
from tempo_runtime.execution.sklearn_fast.trees import Trees
from tempo_runtime.protocol.messages import Request, Response, from_mlserver

if TYPE_CHECKING:
    from mlserver import MLModel

    from tempo_runtime.execution.sklearn_fast.base import Array, Values

_METHODS = ("predict", "predict_proba")
_BATCH = 1024  # rows; encoded categories are not sparse here
_PROOF = 300  # rows


def compile_model(model: Any) -> FastModel:
    """Make a fitted model fast, and prove that its answers stay the same.

    The proof compares both models on rows made from the model's parameters: known and unknown categories,
    means and deviations, NaN if it is replaced, and numbers below, at and above thresholds of the trees.

    Raises:
        NoFastPath: If a step cannot be computed without scikit-learn, or the proof fails.
    """
    with warnings.catch_warnings():
        # A model that was fitted to a DataFrame warns about each array.
        warnings.simplefilter("ignore")
        try:
            fast = FastModel(model)
            _prove(fast)
        except AttributeError as error:
            raise NoFastPath(f"a {type(model).__name__} is not fitted: {error}") from error
    return fast


class FastModel:
    """A fast version of a model, with the same answers. Safe to call from several threads.

    Args:
        model: A fitted tree or forest, or a pipeline of transformers that ends with one.

    Raises:
        NoFastPath: If a step cannot be computed without scikit-learn.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self.parts = list(unfold(model))
        if not self.parts:
            raise refused("", model, "has no step that predicts")
        *before, (name, last) = self.parts
        self.trees = Trees(name, last)
        self.chain = Chain(before, self.trees.takes)
        self._takes = self.chain.steps[0].takes if before else self.trees.takes

    def predict(self, x: Any) -> Any:
        """Return the result of the model's `predict`, or raise as it does, for any input."""
        answer = self.answer("predict", x)
        return self.model.predict(x) if answer is None else answer

    def predict_proba(self, x: Any) -> Any:
        """Return the result of the model's `predict_proba`, or raise as it does, for any input."""
        answer = self.answer("predict_proba", x)
        return self.model.predict_proba(x) if answer is None else answer

    def answer(self, method: str, x: Any) -> Array | None:
        """Return the fast answer; None if only the original model can answer.

        Args:
            method: `predict` or `predict_proba`.
            x: An array of numbers, shape (n, features). For anything else the result is None.
        """
        rows = type(x) is np.ndarray and x.ndim == 2 and x.dtype in DTYPES
        if not rows or not len(x) or x.shape[1] != self._takes or method not in self.methods:
            return None
        try:
            # Where numpy would warn, scikit-learn either computes the answer, or does not warn.
            with np.errstate(all="ignore"):
                parts = [
                    self.trees(self.chain(x[i : i + _BATCH])) for i in range(0, len(x), _BATCH)
                ]
        except Unsure:
            return None
        predicted = parts[0] if len(parts) == 1 else np.concatenate(parts)
        if self.trees.classes is None:
            return predicted[:, 0]
        if method == "predict_proba":
            return predicted
        labels: Array = self.trees.classes.take(predicted.argmax(axis=1), axis=0)
        return labels

    @property
    def methods(self) -> tuple[str, ...]:
        """Methods that the model has; a regressor does not have `predict_proba`."""
        return _METHODS if self.trees.classes is not None else _METHODS[:1]


class Shortcut:
    """Answers requests to MLServer's scikit-learn runtime without its codecs.

    Args:
        runtime: A loaded `SKLearnModel`.

    Raises:
        NoFastPath: If its model does not have a fast path.
    """

    def __init__(self, runtime: MLModel) -> None:
        from mlserver.codecs import NumpyCodec
        from mlserver.types import RequestOutput

        self._runtime = runtime
        self._codec = NumpyCodec
        self._outputs = {name: RequestOutput(name=name) for name in _METHODS}
        self._model = compile_model(runtime._model)
        parameters = runtime.settings.parameters
        extra = getattr(parameters, "extra", None) or {}
        self._default = extra.get("predict_fn", "predict")
        # Settings that describe tensors may choose other codecs.
        described = runtime.inputs or getattr(parameters, "content_type", None)
        self._is_plain = not described

    def answer(self, request: Request) -> Response | None:
        """Return the runtime's answer; None if only the runtime itself can answer."""
        x = _array(request) if self._is_plain else None
        if x is None:
            return None
        outputs = []
        for name in request.outputs or [self._default]:
            answer = self._model.answer(name, x)
            if answer is None:
                return None
            outputs.append(self._runtime.encode(answer, self._outputs[name], self._codec))
        return Response([from_mlserver(output) for output in outputs])


def _array(request: Request) -> Array | None:
    """Return the only array of a request, if MLServer's runtime would pass it to its model as it is."""
    if len(request.tensors) != 1 or request.parameters:
        return None
    [tensor] = request.tensors
    data = tensor.data
    is_array = isinstance(data, np.ndarray) and tensor.content_type in (None, "np")
    return data if is_array and list(data.shape) == tensor.shape else None


# -- proof -----------------------------------------------------------------------------------------


def _prove(fast: FastModel) -> None:
    """Compare the answers of the model and of its trees alone, and the output of each transformer.

    Raises:
        NoFastPath: If there is any difference, or if nothing can be compared.
    """
    values = fast.trees.thresholds()
    if fast.chain.steps:
        _prove(FastModel(fast.parts[-1][1]))
    compared = 0
    for rows in _batches(fast.chain.back(values)):
        _compare_steps(fast, rows)
        for method in fast.methods:
            answer = fast.answer(method, rows)
            if answer is None:
                continue
            compared += len(rows)
            if not _same(answer, _call(fast.model, method, rows)):
                reason = f"has a fast path whose answers to `{method}` differ from its own"
                raise refused("", fast.model, reason)
    if not compared:
        raise refused("", fast.model, "refuses all rows that would prove its fast path")


def _compare_steps(fast: FastModel, rows: Array) -> None:
    expected = actual = rows
    for (name, model), step in zip(fast.parts, fast.chain.steps):
        try:
            with np.errstate(all="ignore"):
                actual = step(actual)
        except Unsure:
            return
        expected = _call(model, "transform", expected)
        dense = expected.toarray() if hasattr(expected, "toarray") else expected
        if not _same(actual, dense):
            raise refused(name, model, "has a fast path whose numbers differ from its own")


def _batches(values: Values) -> Iterator[Array]:
    """Yield arrays of rows in several sizes and types, made of the values of each column."""
    random = np.random.RandomState(0)
    rows = np.stack([random.choice(column, _PROOF) for column in values], axis=1)
    for end, size in ((1, 1), (2, 1), (4, 2), (104, 100), (_PROOF, _PROOF - 104)):
        yield rows[end - size : end]
    with np.errstate(all="ignore"):
        yield rows.astype(np.float32)
        yield np.nan_to_num(rows).clip(-(2**31), 2**31).astype(np.int64)


def _call(model: Any, method: str, rows: Array) -> Any:
    try:
        return getattr(model, method)(rows)
    except Exception as error:
        return error


def _same(actual: Any, expected: Any) -> bool:
    if type(expected) is not np.ndarray:
        return False
    if (actual.dtype, actual.shape) != (expected.dtype, expected.shape):
        return False
    return np.array_equal(actual, expected, equal_nan=actual.dtype.kind == "f")
