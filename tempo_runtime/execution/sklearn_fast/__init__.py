"""scikit-learn models whose answers take less time, and are the same.

Of a call with a hundred rows, scikit-learn spends most on what it wraps around each step and each
tree. `compile_model` does the arithmetic alone, and is proved against the model before it is used.
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
_AT_ONCE = 1024  # rows; categories are not sparse here
_PROOF = 300  # rows


def compile_model(model: Any) -> FastModel:
    """Make a fitted model fast, and proves that its answers stay the same.

    The proof asks both for rows made of what the model holds: its categories and unknown ones, means
    and spreads, NaN where it is replaced, and numbers below, at and above thresholds of its trees.

    Raises:
        NoFastPath: If a step cannot be computed without scikit-learn, or the proof fails.
    """
    with warnings.catch_warnings():
        # A model that was fitted to a DataFrame warns of every array.
        warnings.simplefilter("ignore")
        try:
            fast = FastModel(model)
            _prove(fast)
        except AttributeError as error:
            raise NoFastPath(f"a {type(model).__name__} is not fitted: {error}") from error
    return fast


class FastModel:
    """A model that answers as it does by itself, in less time. Safe to call from several threads.

    Args:
        model: Trees or a forest, or a pipeline of transformers that ends with them; fitted.

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
        """Return what the model's `predict` gives, or raises, for any input."""
        found = self.answer("predict", x)
        return self.model.predict(x) if found is None else found

    def predict_proba(self, x: Any) -> Any:
        """Return what the model's `predict_proba` gives, or raises, for any input."""
        found = self.answer("predict_proba", x)
        return self.model.predict_proba(x) if found is None else found

    def answer(self, method: str, x: Any) -> Array | None:
        """Return the fast answer; None where only the model itself knows what it answers.

        Args:
            method: `predict` or `predict_proba`.
            x: An array of numbers, shape (n, features); anything else has no fast answer.
        """
        rows = type(x) is np.ndarray and x.ndim == 2 and x.dtype in DTYPES
        if not rows or not len(x) or x.shape[1] != self._takes or method not in self.methods:
            return None
        try:
            # Where numpy would warn, scikit-learn is asked, or warns of nothing.
            with np.errstate(all="ignore"):
                parts = [
                    self.trees(self.chain(x[i : i + _AT_ONCE])) for i in range(0, len(x), _AT_ONCE)
                ]
        except Unsure:
            return None
        found = parts[0] if len(parts) == 1 else np.concatenate(parts)
        if self.trees.classes is None:
            return found[:, 0]
        if method == "predict_proba":
            return found
        labels: Array = self.trees.classes.take(found.argmax(axis=1), axis=0)
        return labels

    @property
    def methods(self) -> tuple[str, ...]:
        """What it answers to; a regressor has no `predict_proba`."""
        return _METHODS if self.trees.classes is not None else _METHODS[:1]


class Shortcut:
    """Requests to MLServer's scikit-learn runtime, without its codecs.

    Args:
        runtime: An `SKLearnModel` that is loaded.

    Raises:
        NoFastPath: If its model has none.
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
        """Return what the runtime would answer; None where it has to be asked itself."""
        x = _array(request) if self._is_plain else None
        if x is None:
            return None
        outputs = []
        for name in request.outputs or [self._default]:
            found = self._model.answer(name, x)
            if found is None:
                return None
            outputs.append(self._runtime.encode(found, self._outputs[name], self._codec))
        return Response([from_mlserver(output) for output in outputs])


def _array(request: Request) -> Array | None:
    """Return the one array of a request that MLServer's runtime would hand to its model."""
    if len(request.tensors) != 1 or request.parameters:
        return None
    [tensor] = request.tensors
    data = tensor.data
    is_array = isinstance(data, np.ndarray) and tensor.content_type in (None, "np")
    return data if is_array and list(data.shape) == tensor.shape else None


# -- proof -----------------------------------------------------------------------------------------


def _prove(fast: FastModel) -> None:
    """Compare answers, those of the trees alone too, and what each transformer makes of rows.

    Raises:
        NoFastPath: If there is any difference, or nothing to compare.
    """
    values = fast.trees.thresholds()
    if fast.chain.steps:
        _prove(FastModel(fast.parts[-1][1]))
    compared = 0
    for rows in _batches(fast.chain.back(values)):
        _compare_steps(fast, rows)
        for method in fast.methods:
            found = fast.answer(method, rows)
            if found is None:
                continue
            compared += len(rows)
            if not _same(found, _asked(fast.model, method, rows)):
                why = f"has a fast path that does not give its answers to `{method}`"
                raise refused("", fast.model, why)
    if not compared:
        raise refused("", fast.model, "takes none of the rows that would prove its fast path")


def _compare_steps(fast: FastModel, rows: Array) -> None:
    wanted = found = rows
    for (name, model), step in zip(fast.parts, fast.chain.steps):
        try:
            with np.errstate(all="ignore"):
                found = step(found)
        except Unsure:
            return
        wanted = _asked(model, "transform", wanted)
        dense = wanted.toarray() if hasattr(wanted, "toarray") else wanted
        if not _same(found, dense):
            raise refused(name, model, "has a fast path that does not give its numbers")


def _batches(values: Values) -> Iterator[Array]:
    """Rows of several sizes and types, made of numbers for each column."""
    random = np.random.RandomState(0)
    rows = np.stack([random.choice(each, _PROOF) for each in values], axis=1)
    for end, size in ((1, 1), (2, 1), (4, 2), (104, 100), (_PROOF, _PROOF - 104)):
        yield rows[end - size : end]
    with np.errstate(all="ignore"):
        yield rows.astype(np.float32)
        yield np.nan_to_num(rows).clip(-(2**31), 2**31).astype(np.int64)


def _asked(model: Any, method: str, rows: Array) -> Any:
    try:
        return getattr(model, method)(rows)
    except Exception as error:
        return error


def _same(found: Any, wanted: Any) -> bool:
    if type(wanted) is not np.ndarray or (found.dtype, found.shape) != (wanted.dtype, wanted.shape):
        return False
    return np.array_equal(found, wanted, equal_nan=found.dtype.kind == "f")
