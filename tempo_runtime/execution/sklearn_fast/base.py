"""Shared parts of the replacements for scikit-learn's transformers and trees."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array: TypeAlias = NDArray[Any]
    Values: TypeAlias = list[Array]  # for each column, numbers at which the answer may change

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


def unfold(model: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the names and steps of a pipeline and of nested ones, except steps that do nothing."""
    if kind(model) == "Pipeline":
        for step, part in model.steps:
            yield from unfold(part, f"{name} > {step}" if name else step)
    elif not _does_nothing(model):
        yield name, model


def kind(model: Any) -> str:
    """Return the name of a class of scikit-learn; empty for others, as a subclass may do anything."""
    in_sklearn = type(model).__module__.partition(".")[0] == "sklearn"
    return type(model).__name__ if in_sklearn else ""


def refused(name: str, model: Any, reason: str) -> NoFastPath:
    """Return the error for a step that does not have a fast path."""
    step = f"step {name!r} ({type(model).__name__})" if name else f"a {type(model).__name__}"
    return NoFastPath(f"{step} {reason}")


def refuse_infinity(x: Array) -> None:
    """Leave infinite numbers to scikit-learn, which refuses them before each transformer."""
    if x.dtype.kind == "f" and np.isinf(x).any():
        raise Unsure


def _does_nothing(model: Any) -> bool:
    if kind(model) == "FunctionTransformer":
        return model.func is None and not model.validate and not model.kw_args
    return model is None or (isinstance(model, str) and model == "passthrough")
