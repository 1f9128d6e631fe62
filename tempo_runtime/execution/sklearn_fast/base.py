"""What the stand-ins for scikit-learn's transformers and trees have in common."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array: TypeAlias = NDArray[Any]
    Values: TypeAlias = list[Array]  # for each column, numbers at which an answer may change

# Not uint64: versions of numpy differ in how they compare it with others.
DTYPES = frozenset(map(np.dtype, ("i1", "i2", "i4", "i8", "u1", "u2", "u4", "f4", "f8")))


class NoFastPath(ValueError):
    """A model that only scikit-learn itself can compute; says which step it is, and why."""


class Unsure(Exception):
    """Rows that scikit-learn may refuse, or treat in a way that is not known here."""


class Step(Protocol):
    """A transformer.

    Attributes:
        takes: Columns it is given.
        gives: Columns it makes of them.
        is_sparse: Whether scikit-learn's own makes a sparse matrix.
    """

    takes: int
    gives: int
    is_sparse: bool

    def __call__(self, x: Array) -> Array:
        """Transform rows; leave those it is given as they are.

        Raises:
            Unsure: If scikit-learn has to see them itself.
        """
        ...

    def back(self, values: Values) -> Values:
        """Numbers that come out as these, and those at which it changes what it does."""
        ...


def unfold(model: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the steps of a pipeline and of nested ones, by name, without those that do nothing."""
    if kind(model) == "Pipeline":
        for step, part in model.steps:
            yield from unfold(part, f"{name} > {step}" if name else step)
    elif not _does_nothing(model):
        yield name, model


def kind(model: Any) -> str:
    """Return the name of its class, where that is scikit-learn's own: a subclass may do anything."""
    own = type(model).__module__.partition(".")[0] == "sklearn"
    return type(model).__name__ if own else ""


def refused(name: str, model: Any, why: str) -> NoFastPath:
    """Return the error that says why a step has no fast path."""
    step = f"step {name!r} ({type(model).__name__})" if name else f"a {type(model).__name__}"
    return NoFastPath(f"{step} {why}")


def refuse_infinity(x: Array) -> None:
    """Has scikit-learn refuse it, as it does before each transformer."""
    if x.dtype.kind == "f" and np.isinf(x).any():
        raise Unsure


def _does_nothing(model: Any) -> bool:
    if kind(model) == "FunctionTransformer":
        return model.func is None and not model.validate and not model.kw_args
    return model is None or (isinstance(model, str) and model == "passthrough")
