"""Shared parts of the replacements for scikit-learn's transformers and trees."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np
from packaging.version import Version

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array: TypeAlias = NDArray[Any]
    Values: TypeAlias = list[Array]  # for each column, numbers at which the answer may change

_OLDEST, _BEFORE = "1.4", "2"  # versions of scikit-learn whose code was read
_METHODS = ("predict", "predict_proba", "transform")
# Without uint64, because versions of numpy differ in its comparison with other types.
DTYPES = frozenset(map(np.dtype, ("i1", "i2", "i4", "i8", "u1", "u2", "u4", "f4", "f8")))


class NoFastPath(ValueError):
    """A model that only scikit-learn itself can compute; the message has the step and the reason."""


class Unsure(Exception):
    """Rows that scikit-learn may refuse, or treat in a way that is not implemented here."""


class Step(Protocol):
    """A transformer.

    Attributes:
        takes: Number of input columns.
        gives: Number of output columns.
        is_sparse: Whether scikit-learn's transformer returns a sparse matrix.
    """

    takes: int
    gives: int
    is_sparse: bool

    def __call__(self, x: Array) -> Array:
        """Return transformed rows, without changing the given ones.

        Raises:
            Unsure: If only scikit-learn itself can transform them.
        """
        ...

    def back(self, values: Values) -> Values:
        """Return inputs that become these values, and those at which the transformation changes."""
        ...


class Predictor(Protocol):
    """The last step of a model: trees.

    Attributes:
        takes: Number of input columns.
        methods: Methods of the model that can be computed.
        jobs: Number of threads that may compute different rows at the same time.
    """

    takes: int
    methods: tuple[str, ...]
    jobs: int

    def __call__(self, x: Array) -> Array:
        """Return what the trees make of rows; its first dimension is theirs.

        Raises:
            Unsure: If only scikit-learn itself can compute them.
        """
        ...

    def answer(self, method: str, numbers: Array) -> Array | list[Array]:
        """Return what the model's method returns, from the numbers of all rows."""
        ...

    def thresholds(self) -> Values:
        """Return, for each column, numbers below, at and above some thresholds."""
        ...


def unfold(model: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the names and steps of a pipeline and of nested ones, except steps that do nothing."""
    refuse_patched(name, model)
    if kind(model) == "Pipeline":
        for step, part in model.steps:
            yield from unfold(part, f"{name} > {step}" if name else step)
    elif not _does_nothing(model):
        yield name, model


def kind(model: Any) -> str:
    """Return the name of a class of scikit-learn; empty for others, as a subclass may do anything."""
    return type(model).__name__ if _in_sklearn(type(model).__module__) else ""


def refuse_version(model: Any) -> None:
    """Refuse models of a version of scikit-learn that may compute in another way."""
    if not kind(model):
        return
    version = sys.modules["sklearn"].__version__
    if not Version(_OLDEST) <= Version(version) < Version(_BEFORE):
        known = f"{_OLDEST} or newer, below {_BEFORE}"
        raise refused("", model, f"is of scikit-learn {version}; only {known}, has fast paths")


def refuse_patched(name: str, model: Any) -> None:
    """Refuse a model of scikit-learn with a method that is not scikit-learn's."""
    if not kind(model):
        return
    for method in _METHODS:
        if method in vars(model) or not _is_sklearns(getattr(type(model), method, None)):
            raise refused(name, model, f"has a method `{method}` that is not scikit-learn's")


def refused(name: str, model: Any, reason: str) -> NoFastPath:
    """Return the error for a step that does not have a fast path."""
    step = f"step {name!r} ({type(model).__name__})" if name else f"a {type(model).__name__}"
    return NoFastPath(f"{step} {reason}")


def refuse_infinity(x: Array) -> None:
    """Leave infinite numbers to scikit-learn, which refuses them before each transformer."""
    if x.dtype.kind == "f" and np.isinf(x).any():
        raise Unsure


def _is_sklearns(function: Any) -> bool:
    """Return whether a function, and each that it wraps, is defined in scikit-learn."""
    while function is not None:
        if not _in_sklearn(getattr(function, "__globals__", {}).get("__name__", "")):
            return False
        function = getattr(function, "__wrapped__", None)
    return True


def _in_sklearn(module: str) -> bool:
    return module.partition(".")[0] == "sklearn"


def _does_nothing(model: Any) -> bool:
    if kind(model) == "FunctionTransformer":
        return model.func is None and not model.validate and not model.kw_args
    return model is None or (isinstance(model, str) and model == "passthrough")
